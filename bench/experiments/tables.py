"""Figures of experiments over their seeds, as tables: plain text, Markdown, JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from amodal_perception_ros.evaluation.table import look_up
from experiments.cost import Cost

MISSING = "–"

Scores = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Experiment -> seed -> the evaluator's figures."""


@dataclass(frozen=True)
class Figure:
    """A column.

    Attributes:
        title: its head.
        path: where it is in the evaluator's figures.
        digits: decimals to print.
        better: 1 if more is better, -1 if less is.
    """

    title: str
    path: str
    digits: int = 1
    better: int = 1


FIGURES = (
    Figure("APQ", "panoptic.strict.APQ"),
    Figure("APQ ref.", "panoptic.reference.APQ"),
    Figure("APQ_T^O", "panoptic.strict.APQ_T_O"),
    Figure("APC", "panoptic.strict.APC"),
    Figure("AP_A", "instance.AP_A"),
    Figure("AP_V", "instance.AP_V"),
    Figure("AP_AV", "instance.AP_AV"),
    Figure("AP_IV50", "instance.AP_IV50"),
    Figure("mIoU_total", "semantic.mIoU_total"),
    Figure("ADErr [m]", "depth.ADErr", 2, -1),
    Figure("RMSE_vis [m]", "depth.RMSE_vis", 2, -1),
    Figure("RMSE_hidden [m]", "depth.RMSE_hidden", 2, -1),
    Figure("order", "order.accuracy"),
    Figure("order ≥ 50 px", "order.accuracy_50px"),
)
"""Figures that are compared: per cent unless said."""

OF_MASKS = ("panoptic.", "instance.", "semantic.")
"""Paths of the figures that masks and classes decide, not depth or order, begin so."""

CONDITION_FIGURES = tuple(
    figure for figure in FIGURES if figure.title in ("APQ", "APQ_T^O", "RMSE_hidden [m]", "order")
)
"""Figures of which weathers have their own."""

REFERENCE_WEATHER = "day"


@dataclass(frozen=True)
class Table:
    """Rows of text under heads, the first column being names."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Return the table with aligned columns."""
        lines = [self.heads, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.heads))]
        cells = [
            [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:]))] for line in lines
        ]
        return "\n".join([self.title, *("  ".join(line).rstrip() for line in cells)])

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [self.heads, ("---", *(("---:",) * (len(self.heads) - 1))), *self.rows]
        return "\n".join([self.title, "", *("| " + " | ".join(line) + " |" for line in lines)])


def values_of(by_seed: Mapping[int, Mapping[str, Any]], path: str) -> list[float]:
    """Return a figure of each seed that has it."""
    found = (look_up(figures, path) for figures in by_seed.values())
    return [float(value) for value in found if value is not None]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return mean and spread: the sample standard deviation over the seeds, None for fewer than two."""
    if not values:
        return {"mean": None, "spread": None, "seeds": []}
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "spread": spread, "seeds": list(values)}


def main_table(scores: Scores, costs: Mapping[str, Cost], reference: str) -> Table:
    """Return the table of all experiments: their figures, then what they cost."""
    heads = ("method", *(figure.title for figure in FIGURES), "M parameters", "GFLOP", "latency")
    rows = []
    for name, by_seed in scores.items():
        cells = [_cell(summary(values_of(by_seed, figure.path)), figure.digits) for figure in FIGURES]
        rows.append((name, *cells, *_cost_cells(costs.get(name))))
    title = (
        f"{_seeds(scores)}; per cent, depths in metres; operations of one image; latency of four as a ratio to "
        f"{reference}"
    )
    return Table(title, heads, tuple(rows))


def difference_table(scores: Scores, reference: str) -> Table:
    """Return what each experiment has more than the reference, of the same seed: mean and spread over the seeds."""
    heads = (f"minus {reference}", *(figure.title for figure in FIGURES))
    rows = []
    for name, by_seed in scores.items():
        if name != reference:
            found = [summary(differences(by_seed, scores[reference], figure.path)) for figure in FIGURES]
            rows.append((name, *(_cell(each, figure.digits, "+") for each, figure in zip(found, FIGURES))))
    return Table(f"differences to {reference}, {_seeds(scores)}", heads, tuple(rows))


def differences(by_seed: Mapping[int, Any], reference: Mapping[int, Any], path: str) -> list[float]:
    """Return a figure minus that of the reference, for each seed that both have."""
    pairs = [(look_up(by_seed[seed], path), look_up(reference[seed], path)) for seed in by_seed if seed in reference]
    return [float(a) - float(b) for a, b in pairs if a is not None and b is not None]


def margins(scores: Scores, ours: str, others: Sequence[str], our_masks: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return, for each figure, ours, the best mean of the others with its name, and how much better ours is.

    `margin` is in the figure's unit and above 0 where ours is better; `percent` is the same in per cent of the best.

    Args:
        scores: of all.
        ours: name of our experiment.
        others: those that it is compared with.
        our_masks: those of them whose masks are ours too, so that they are left out of the figures of masks.
    """
    found = []
    for figure in FIGURES:
        means = {name: summary(values_of(scores[name], figure.path))["mean"] for name in (ours, *others)}
        left_out = {ours, *(our_masks if figure.path.startswith(OF_MASKS) else ())}
        rivals = {name: mean for name, mean in means.items() if name not in left_out and mean is not None}
        if means[ours] is None or not rivals:
            continue
        best = max(rivals, key=lambda name: figure.better * rivals[name])
        margin = figure.better * (means[ours] - rivals[best])
        percent = 100 * margin / rivals[best] if rivals[best] else None
        row = {"figure": figure.title, "ours": means[ours], "best": best, "its": rivals[best]}
        found.append({**row, "margin": margin, "percent": percent})
    return found


def margin_table(rows: Sequence[Mapping[str, Any]], ours: str) -> Table:
    """Return `margins` as a table."""
    digits = {figure.title: figure.digits for figure in FIGURES}
    cells = []
    for row in rows:
        d = digits[row["figure"]]
        percent = MISSING if row["percent"] is None else f"{row['percent']:+.0f} %"
        cells.append((row["figure"], f"{row['ours']:.{d}f}", row["best"], f"{row['its']:.{d}f}"))
        cells[-1] += (f"{row['margin']:+.{d}f}", percent)
    heads = ("figure", ours, "best other", "its", "better by", "in % of it")
    title = f"{ours} against the best of the others in each figure; of masks, of those with masks of their own"
    return Table(title, heads, tuple(cells))


def condition_table(scores: Scores, names: Sequence[str]) -> Table:
    """Return the figures by weather, with APQ as a share of that by day."""
    heads = ("weather", "frames", *(figure.title for figure in CONDITION_FIGURES), f"APQ, % of {REFERENCE_WEATHER}")
    rows = []
    for name in names:
        for weather, row in conditions(scores[name]).items():
            cells = [_cell(row[figure.title], figure.digits) for figure in CONDITION_FIGURES]
            share = MISSING if row["share"] is None else f"{row['share']:.0f}"
            rows.append((f"{name}, {weather}", str(row["frames"]), *cells, share))
    return Table(f"by weather, {_seeds(scores)}", heads, tuple(rows))


def conditions(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return weather -> figures (`summary`), number of frames, and APQ as a share of that by day [%]."""
    tables = {seed: figures.get("per_condition", {}).get("weather", {}) for seed, figures in by_seed.items()}
    names = sorted({weather for table in tables.values() for weather in table})
    found: dict[str, dict[str, Any]] = {}
    for weather in names:
        parts = [table[weather] for table in tables.values() if weather in table]
        row = {f.title: summary([part[f.path] for part in parts if f.path in part]) for f in CONDITION_FIGURES}
        found[weather] = {"frames": parts[0]["frames"], **row}
    day = found.get(REFERENCE_WEATHER, {}).get("APQ", {}).get("mean")
    for row in found.values():
        mean = row["APQ"]["mean"]
        row["share"] = 100 * mean / day if day and mean is not None else None
    return found


def as_json(scores: Scores, costs: Mapping[str, Cost], abouts: Mapping[str, str]) -> dict[str, Any]:
    """Return everything in the tables, by experiment, as plain values."""
    return {
        name: {
            "about": abouts[name],
            "seeds": list(by_seed),
            "figures": {figure.title: summary(values_of(by_seed, figure.path)) for figure in FIGURES},
            "weather": conditions(by_seed),
            **({"cost": asdict(costs[name])} if name in costs else {}),
        }
        for name, by_seed in scores.items()
    }


def _cell(row: Mapping[str, Any], digits: int, sign: str = "") -> str:
    if row["mean"] is None:
        return MISSING
    spread = "" if row["spread"] is None else f" ± {row['spread']:.{digits}f}"
    return f"{row['mean']:{sign}.{digits}f}{spread}"


def _cost_cells(cost: Cost | None) -> tuple[str, str, str]:
    if cost is None:
        return MISSING, MISSING, MISSING
    latency = MISSING if cost.latency is None else f"{cost.latency:.2f}"
    return f"{cost.parameters / 1e6:.2f}", f"{cost.gflop:.2f}", latency


def _seeds(scores: Scores) -> str:
    counts = sorted({len(by_seed) for by_seed in scores.values()})
    if counts == [1]:
        return "one seed"
    return f"mean ± standard deviation over {' to '.join(map(str, counts))} seeds"

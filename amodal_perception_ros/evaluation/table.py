"""Which figures head a report, and a plain-text table that compares methods by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A headline figure.

    Attributes:
        title: what it is called; parts of the figure above are indented by two spaces.
        path: where it is in `Evaluator.results()`, its keys joined by dots.
        unit: "%", "m", "0..1", "1" (a ratio) or "n" (a count).
        better: "up", "down", or "" where neither is better.
    """

    title: str
    path: str
    unit: str
    better: str

    @property
    def digits(self) -> int:
        """Decimals to print."""
        return {"%": 1, "m": 2, "0..1": 3, "1": 3, "n": 0}[self.unit]


ROWS: tuple[Row, ...] = (
    Row("APQ (strict)", "panoptic.strict.APQ", "%", "up"),
    Row("  APQ_S", "panoptic.strict.APQ_S", "%", "up"),
    Row("  APQ_T", "panoptic.strict.APQ_T", "%", "up"),
    Row("  APQ_T^V", "panoptic.strict.APQ_T_V", "%", "up"),
    Row("  APQ_T^O", "panoptic.strict.APQ_T_O", "%", "up"),
    Row("APC (strict)", "panoptic.strict.APC", "%", "up"),
    Row("APQ (reference)", "panoptic.reference.APQ", "%", "up"),
    Row("  APQ_T^O", "panoptic.reference.APQ_T_O", "%", "up"),
    Row("APC (reference)", "panoptic.reference.APC", "%", "up"),
    Row("AP_A", "instance.AP_A", "%", "up"),
    Row("AP_V", "instance.AP_V", "%", "up"),
    Row("AP_AV", "instance.AP_AV", "%", "up"),
    Row("AP_IV @ 0.5", "instance.AP_IV50", "%", "up"),
    Row("AIoU", "masks.AIoU", "%", "up"),
    Row("VIoU", "masks.VIoU", "%", "up"),
    Row("OIoU", "masks.OIoU", "%", "up"),
    Row("AIoU, matched", "masks.AIoU_matched", "%", "up"),
    Row("OIoU, matched", "masks.OIoU_matched", "%", "up"),
    Row("occluded px recall", "masks.occluded_recall", "%", "up"),
    Row("occluded px precision", "masks.occluded_precision", "%", "up"),
    Row("object recall", "masks.recall", "%", "up"),
    Row("mIoU", "semantic.mIoU", "%", "up"),
    Row("mIoU_total", "semantic.mIoU_total", "%", "up"),
    Row("order accuracy", "order.accuracy", "%", "up"),
    Row("order recall", "order.recall", "%", "up"),
    Row("  pairs judged", "order.pairs", "n", ""),
    Row("level accuracy", "order.level_accuracy", "%", "up"),
    Row("ADErr", "depth.ADErr", "m", "down"),
    Row("ADErr, weighted", "depth.ADErr_weighted", "m", "down"),
    Row("RMSE visible", "depth.RMSE_vis", "m", "down"),
    Row("RMSE hidden", "depth.RMSE_hidden", "m", "down"),
    Row("ADIW RMSE", "adiw.raw.RMSE", "m", "down"),
    Row("  delta < 1.25", "adiw.raw.delta_1.25", "%", "up"),
    Row("  aligned RMSE", "adiw.aligned.RMSE", "m", "down"),
    Row("simplicity", "shape.simplicity", "1", ""),
    Row("  of the truth", "shape.simplicity_truth", "1", ""),
    Row("convexity", "shape.convexity", "1", ""),
    Row("  of the truth", "shape.convexity_truth", "1", ""),
    Row("hidden cells, recall", "occupancy.hidden_recall", "%", "up"),
    Row("hidden cells, precision", "occupancy.hidden_precision", "%", "up"),
    Row("hidden cells, ECE", "occupancy.hidden_ece", "0..1", "down"),
    Row("hidden cells, Brier", "occupancy.hidden_brier", "0..1", "down"),
    Row("hidden objects, recall", "tracking.hidden_recall", "%", "up"),
    Row("id switches", "tracking.id_switches", "n", "down"),
    Row("invariant violations", "invariants.violations", "n", "down"),
)
"""The figures that tables and comparisons show, in their order."""


def look_up(results: dict[str, Any], path: str) -> Any | None:
    """Return what is at a path of keys joined by dots, or None; a key may itself hold a dot ("delta_1.25")."""
    if path in results:
        return results[path]
    for key, below in results.items():
        if isinstance(below, dict) and path.startswith(f"{key}."):
            found = look_up(below, path[len(key) + 1 :])
            if found is not None:
                return found
    return None


def format_table(results: dict[str, dict[str, Any]]) -> str:
    """Return a table with a row per figure and a column per method.

    Args:
        results: method name -> `Evaluator.results()`. Figures that no method has are left out; the best value of a
            row is marked with an asterisk where methods differ. Where there are intervals, half their width stands
            behind the value.
    """
    names = list(results)
    lines = [["", "unit", *names]]
    for row in ROWS:
        values = [look_up(results[name], row.path) for name in names]
        if any(value is not None for value in values):
            halves = [half_width(results[name], row.path) for name in names]
            lines.append([row.title, row.unit, *_cells(row, values, halves)])
    return align(lines)


def half_width(results: dict[str, Any], path: str) -> float | None:
    """Return half the width of a figure's confidence interval, or None where there is none."""
    interval = look_up(results.get("intervals", {}).get("figures", {}), path)
    return None if interval is None else (interval[1] - interval[0]) / 2.0


def align(lines: list[list[str]]) -> str:
    """Return lines of equally many cells as text: a rule below the first, two columns of words, the others numbers."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "  ".join(cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths))).rstrip()
        for line in ruled
    )


def _cells(row: Row, values: list[float | None], halves: list[float | None]) -> list[str]:
    texts = ["-" if value is None else f"{value:.{row.digits}f}" for value in values]
    known = [float(text) for text in texts if text != "-"]
    marks = [" "] * len(texts)
    if row.better and len(set(known)) > 1:
        best = max(known) if row.better == "up" else min(known)
        marks = ["*" if text != "-" and float(text) == best else " " for text in texts]
    spreads = ["" if half is None or row.unit == "n" else f" ±{half:.{row.digits}f}" for half in halves]
    return [text + mark + spread for text, mark, spread in zip(texts, marks, spreads)]

"""The figures of an evaluation, its runs side by side, and its worst images, as one HTML page without a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from amodal_perception_ros.datasets.files import write_file
from amodal_perception_ros.evaluation.comparison import Comparison, compare, difference_digits
from amodal_perception_ros.evaluation.evaluation import Evaluation
from amodal_perception_ros.evaluation.table import BEST, DIFFERS, DOWN, ROWS, UP, Row, interval_note, look_up
from amodal_perception_ros.evaluation.worst import WorstImage
from amodal_perception_ros.viewing.breakdown_tables import breakdown_tables
from amodal_perception_ros.viewing.charts import Estimate, interval_chart, reliability_chart
from amodal_perception_ros.viewing.error_overlay import INVENTED_COLOR, MISSED_COLOR, WRONG_ORDER_COLOR, draw_errors
from amodal_perception_ros.viewing.figures import (
    DASH,
    digits_of,
    figure_text,
    interval_of,
    interval_text,
    is_known,
    symbol,
)
from amodal_perception_ros.viewing.page import data_uri, encode, render

PICTURE_QUALITY = 80

COLORS = {"missed": MISSED_COLOR, "invented": INVENTED_COLOR, "order": WRONG_ORDER_COLOR}

_NO_FIGURES = frozenset(
    {"name", "source", "frames", "images", "data", "rules", "excluded", "excluded_places", "intervals", "replicates"}
)
"""Keys of results below which no figure stands."""

CHARTED = (
    "panoptic.strict.APQ",
    "panoptic.strict.APC",
    "instance.AP_A",
    "masks.AIoU",
    "masks.OIoU",
    "order.accuracy",
    "depth.ADErr",
    "depth.RMSE_hidden",
    "occupancy.hidden_recall",
    "objects.mAP",
    "tracking.hidden_recall",
)
"""Figures whose values and intervals are drawn where there is more than one method."""


def write_page(evaluation: Evaluation, path: Path | str) -> Path:
    """Write the page of an evaluation; pictures are embedded, and nothing is loaded from anywhere.

    All methods are compared with the first run, the baselines too (`comparison.compare`).

    Args:
        evaluation: the figures of one or more runs and of the baselines; its worst images are read again, one by one.
        path: file to write; its folder is made if it is missing.

    Returns:
        The page.

    Raises:
        EvaluationError: the runs were not scored on the same data by the same rules.
        DatasetError: the file cannot be written.
    """
    runs, baselines = evaluation.runs, evaluation.baselines
    methods = {**runs, **baselines}
    page = render(
        "evaluation.html",
        title="Evaluation of " + ", ".join(runs),
        runs=list(runs),
        baselines=list(baselines),
        facts=_facts(runs),
        excluded=_excluded(methods),
        headline=_headline(methods, compare(methods) if len(methods) > 1 else None),
        first=next(iter(runs)),
        level=_level(runs),
        charts=_interval_charts(methods, set(baselines)),
        reliability=_reliability(methods),
        breakdowns=breakdown_tables(runs, baselines),
        others=_other_figures(methods),
        worst=[_worst(evaluation, run) for run in runs],
        colors={name: f"rgb{color}" for name, color in COLORS.items()},
        definitions=_definitions(methods),
        signs={"up": UP, "down": DOWN, "best": BEST, "differs": DIFFERS},
    )
    path = Path(path)
    write_file(path, page.encode())
    return path


def _facts(runs: Mapping[str, dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return rows (what, text of every run) that say what was scored and how."""
    rows: dict[str, list[str]] = {}
    for number, results in enumerate(runs.values()):
        data = {"frames": results.get("frames"), "images": results.get("images"), **results.get("data", {})}
        rules = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in results.get("rules", {}).items())
        told = {name.replace("_", " "): _fact(value) for name, value in data.items()}
        if "source" in results:
            told = {"source": _fact(results["source"]), **told}
        for name, text in {**told, "rules": rules or DASH, "intervals": interval_note(results)}.items():
            rows.setdefault(name, [DASH] * len(runs))[number] = text
    return list(rows.items())


def _fact(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or DASH
    if isinstance(value, int | float):
        return figure_text(value, 0)
    return DASH if value in (None, "") else str(value)


def _level(runs: Mapping[str, dict[str, Any]]) -> Any:
    """Return the confidence level in per cent, or None where no run has intervals."""
    return next((r["intervals"].get("level", 95) for r in runs.values() if r.get("intervals")), None)


def _excluded(methods: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what was left out: rows (cause, counts of the methods, first places), and the causes that never occur.

    Places are those of the first method that has the cause.
    """
    counts = {name: results.get("excluded", {}) for name, results in methods.items()}
    causes = dict.fromkeys(cause for count in counts.values() for cause in count)
    occurring = [cause for cause in causes if any(count.get(cause) for count in counts.values())]
    rows = []
    for cause in occurring:
        found = next(name for name, count in counts.items() if count.get(cause))
        places = methods[found].get("excluded_places", {}).get(cause, [])
        numbers = [figure_text(count.get(cause, 0), 0) for count in counts.values()]
        rows.append((cause.replace("_", " "), numbers, places))
    never = [cause.replace("_", " ") for cause in causes if cause not in occurring]
    return {"methods": list(methods), "rows": rows, "never": never}


def _present(methods: Mapping[str, dict[str, Any]]) -> Iterator[Row]:
    return (row for row in ROWS if any(look_up(results, row.path) is not None for results in methods.values()))


def _headline(methods: Mapping[str, dict[str, Any]], comparison: Comparison | None) -> list[dict[str, Any]]:
    """Return a row per figure that some method has, with a cell per method."""
    rows = []
    for row in _present(methods):
        values = [look_up(results, row.path) for results in methods.values()]
        best = _best(row, values)
        cells = []
        for (name, results), value in zip(methods.items(), values):
            text = figure_text(value, row.digits)
            low, high = interval_of(results, row.path)
            cells.append(
                {
                    "text": text,
                    "interval": interval_text(low, high, row.digits),
                    "best": text == best,
                    "difference": _difference(row, name, comparison),
                }
            )
        rows.append(
            {
                "title": symbol(row.title),
                "part": row.title.startswith(" "),
                "unit": _unit(row),
                "better": row.better,
                "cells": cells,
            }
        )
    return rows


def _other_figures(methods: Mapping[str, dict[str, Any]]) -> list[tuple[str, Markup, list[tuple[str, str]]]]:
    """Return (group, name, cells of the methods) of all figures that are no headline and in no breakdown."""
    headlines = {row.path for row in ROWS}
    paths = dict.fromkeys(
        path
        for results in methods.values()
        for path in _leaves(results, [key for key in results if key not in _NO_FIGURES and not key.startswith("per_")])
    )
    rows = []
    for keys in paths:
        path = ".".join(keys)
        if path in headlines:
            continue
        values = [look_up(results, path) for results in methods.values()]
        digits = max(digits_of(keys[-1], value) for value in values if value is not None)
        texts = [figure_text(value, digits) for value in values]
        spreads = [interval_text(*interval_of(results, path), digits) for results in methods.values()]
        rows.append((" ".join(keys[:-1]).replace("_", " "), symbol(keys[-1]), list(zip(texts, spreads))))
    return rows


def _leaves(tree: Mapping[str, Any], keys: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the keys that lead to every number below some keys of a tree."""
    for key in keys:
        below = tree.get(key)
        if isinstance(below, Mapping):
            yield from ((key, *rest) for rest in _leaves(below, below))
        elif isinstance(below, int | float):
            yield (key,)


def _unit(row: Row) -> str:
    return {"n": "", "1": "", "0..1": "0 to 1"}.get(row.unit, row.unit)


def _best(row: Row, values: Sequence[Any]) -> str | None:
    """Return the text of the best value, or None where methods do not differ or neither direction is better."""
    known = [value for value in values if is_known(value)]
    if not row.better or len({figure_text(value, row.digits) for value in known}) < 2:
        return None
    return figure_text(max(known) if row.better == "up" else min(known), row.digits)


def _difference(row: Row, name: str, comparison: Comparison | None) -> dict[str, Any] | None:
    """Return the difference to the first run as text, or None where there is none."""
    if comparison is None or name not in comparison.names[1:]:
        return None
    cells = next((c.cells for c in comparison.rows if c.row.path == row.path), None)
    if cells is None:
        return None
    cell = cells[comparison.names.index(name)]
    if not is_known(cell.difference):
        return None
    low, high = cell.difference_interval or (math.nan, math.nan)
    digits = difference_digits(row, cell)
    return {
        "text": figure_text(cell.difference, digits, sign="+"),
        "interval": interval_text(low, high, digits),
        "differs": cell.differs,
    }


def _interval_charts(methods: Mapping[str, dict[str, Any]], soft: set[str]) -> list[dict[str, Any]]:
    charts = []
    for row in ROWS:
        if row.path not in CHARTED:
            continue
        estimates = []
        for name, results in methods.items():
            value = look_up(results, row.path)
            known = float(value) if is_known(value) else math.nan
            estimates.append(Estimate(name, known, *interval_of(results, row.path), soft=name in soft))
        if sum(math.isfinite(estimate.value) for estimate in estimates) > 1:
            title = f"{row.title.strip()} [{row.unit}]"
            chart = interval_chart(title, estimates, row.digits)
            charts.append({"title": symbol(row.title), "unit": _unit(row), "better": row.better, "svg": chart})
    return charts


def _reliability(methods: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    charts = []
    for name, results in methods.items():
        occupancy = results.get("occupancy", {})
        if occupancy.get("reliability"):
            scores = {title: occupancy.get(f"hidden_{title.lower()}") for title in ("ECE", "Brier", "NLL")}
            charts.append(
                {
                    "name": name,
                    "svg": reliability_chart(occupancy["reliability"], name),
                    "scores": {title: figure_text(score, 3) for title, score in scores.items()},
                    "known": figure_text(occupancy.get("hidden_known"), 1),
                }
            )
    return charts


def _worst(evaluation: Evaluation, run: str) -> dict[str, Any]:
    """Return the pictures of a run's worst images; where images cannot be read again, their captions alone."""
    images = [_picture(image) for image in evaluation.worst_images(run)]
    listed = [] if images else [_caption(item) for item in evaluation.runs[run].get("worst", [])]
    return {"run": run, "images": images, "listed": listed}


def _picture(image: WorstImage) -> dict[str, str]:
    errors = image.errors
    true, guess = draw_errors(image.image, image.truth, image.predicted, errors)
    return {
        **_caption(vars(errors)),
        "truth": data_uri(encode(true, ".jpg", PICTURE_QUALITY), ".jpg"),
        "prediction": data_uri(encode(guess, ".jpg", PICTURE_QUALITY), ".jpg"),
    }


def _caption(errors: Mapping[str, Any]) -> dict[str, str]:
    counts = (
        f"{len(errors['missed'])} missed, {len(errors['invented'])} invented, "
        f"{len(errors['order_errors'])} in the wrong order"
    )
    return {"place": f"{errors['sequence']}, frame {errors['index']}, {errors['camera']}", "counts": counts}


def _definitions(methods: Mapping[str, dict[str, Any]]) -> list[tuple[Markup, str, str, str]]:
    """Return (title, unit, better, meaning) of the figures shown; the title of a part names the whole before it."""
    shown = set(_present(methods))
    whole, found = "", []
    for row in ROWS:
        is_part = row.title.startswith(" ")
        whole = whole if is_part else row.title
        if row in shown:
            title = symbol(f"{whole}: {row.title.strip()}" if is_part else row.title)
            found.append((title, _unit(row), row.better, row.meaning))
    return found

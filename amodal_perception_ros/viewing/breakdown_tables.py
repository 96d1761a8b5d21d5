"""Tables of figures by class, by occlusion, by distance, by size and by condition of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from amodal_perception_ros.evaluation.table import ROWS, intervals_at, look_up
from amodal_perception_ros.viewing.figures import digits_of, figure_text, interval_text, symbol

_TITLES = {
    "per_class": "By class",
    "per_occlusion": "By occlusion ratio (hidden share of the amodal mask)",
    "per_distance": "By distance",
    "per_visible_px": "By visible size [px]",
    "per_visibility": "By visible share of 3-D objects in all cameras",
}
_JOINT = {
    "per_class": ("APQ", "OIoU"),
    "per_visibility": ("box_recall", "box_mATE"),
    "per_condition": ("panoptic.strict.APQ", "masks.OIoU"),
}
_JOINT_BINS = ("AIoU", "OIoU")
"""Figures that are shown of all methods in one table."""

_ROW_TITLES = {row.path: row.title for row in ROWS}

Bins = Mapping[str, Mapping[str, Any]]
"""Name of a bin -> name of a figure -> value."""


def breakdown_tables(runs: Mapping[str, dict[str, Any]], baselines: Mapping[str, dict[str, Any]]) -> list[dict]:
    """Return the tables of every breakdown that a run has.

    Returns:
        A dictionary per breakdown: "title"; "joint", a table of all methods or None where there is one method only; and
        "tables", name of the run -> its own table. A table is {"columns": titles, "rows": [(bin, cells)]}, a cell
        (value, interval) as text.
    """
    found = []
    methods = {**runs, **baselines}
    for title, path in _breakdowns(runs.values()):
        bins = {name: look_up(results, path) or {} for name, results in methods.items()}
        spans = {name: intervals_at(results, path) or {} for name, results in methods.items()}
        tables = {name: _table(bins[name], spans[name]) for name in runs if bins[name]}
        found.append({"title": title, "joint": _joint(path.partition(".")[0], bins, spans), "tables": tables})
    return found


def _breakdowns(runs: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the title and the path of every breakdown that some run has."""
    results = list(runs)
    plain = [(title, key) for key, title in _TITLES.items() if any(key in result for result in results)]
    kinds = dict.fromkeys(kind for result in results for kind in result.get("per_condition", {}))
    return plain + [(f"By {kind}", f"per_condition.{kind}") for kind in kinds]


def _names(tables: Iterable[Bins]) -> tuple[list[str], list[str]]:
    """Return all bins and all figures of some tables, in the order in which they first appear."""
    bins: dict[str, None] = {}
    figures: dict[str, None] = {}
    for table in tables:
        for name, row in table.items():
            bins[name] = None
            figures.update(dict.fromkeys(row))
    return list(bins), list(figures)


def _table(bins: Bins, intervals: Bins) -> dict[str, Any]:
    rows, figures = _names([bins])
    return {
        "columns": [_column_title(figure) for figure in figures],
        "rows": [(row, [_cell(bins, intervals, row, figure) for figure in figures]) for row in rows],
    }


def _joint(key: str, bins: Mapping[str, Bins], intervals: Mapping[str, Bins]) -> dict[str, Any] | None:
    """Return a table of the chosen figures of all methods: methods next to each other, below every figure's title."""
    methods = [name for name, table in bins.items() if table]
    rows, present = _names(bins.values())
    figures = [figure for figure in _JOINT.get(key, _JOINT_BINS) if figure in present]
    if len(methods) < 2 or not figures:
        return None
    return {
        "figures": [_column_title(figure) for figure in figures],
        "methods": methods,
        "rows": [
            (row, [_cell(bins[name], intervals[name], row, figure) for figure in figures for name in methods])
            for row in rows
        ],
    }


def _column_title(figure: str) -> Markup:
    return symbol(_ROW_TITLES.get(figure, figure))


def _cell(bins: Bins, intervals: Bins, row: str, figure: str) -> tuple[str, str]:
    value = bins.get(row, {}).get(figure)
    digits = digits_of(figure.rpartition(".")[2], value)
    low, high = intervals.get(row, {}).get(figure) or (None, None)
    return figure_text(value, digits), interval_text(low, high, digits)

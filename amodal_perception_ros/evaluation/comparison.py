"""Compares runs over the same data, with paired confidence intervals of their differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.evaluation.bootstrap import MIN_PARTS, interval
from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.evaluation import Evaluation
from amodal_perception_ros.evaluation.table import DIFFERS, ROWS, Row, align, counted, intervals_at, look_up, row_title


@dataclass(frozen=True)
class Cell:
    """A figure of one run.

    Attributes:
        value: the figure, None where the run has none.
        interval: its confidence interval [low, high], or None.
        difference: value minus that of the first run; None for the first run itself.
        difference_interval: confidence interval of the difference, by paired replicates, or None.
        differs: whether 0 lies outside that interval, of at least `MIN_PARTS` parts.
    """

    value: float | None
    interval: list[float] | None = None
    difference: float | None = None
    difference_interval: list[float] | None = None
    differs: bool = False


@dataclass(frozen=True)
class ComparedRow:
    """A headline figure of every run, in the order of the runs."""

    row: Row
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; the first one is what the others are compared with."""

    names: tuple[str, ...]
    rows: tuple[ComparedRow, ...]


def compare(runs: Mapping[str, dict[str, Any]]) -> Comparison:
    """Compare the results of two or more runs, row by row of the table.

    Replicate b of every run draws the same sequences, so the difference is taken replicate by replicate: what makes a
    sequence easy or hard for all runs cancels.

    Example: run A has the replicates 50, 60, 70 % of a figure and B 51, 61, 71 %. Both intervals are about 19 points
    wide and overlap, but the differences are 1, 1, 1 with the interval [1, 1]: B differs (of 20 sequences or more).

    Args:
        runs: name -> `Evaluator.results` with intervals.

    Raises:
        EvaluationError: there are fewer than two runs, or they were scored on other data, by other rules or with
            other replicates.
    """
    first, *others = runs
    if not others:
        raise EvaluationError(f"a comparison needs at least two runs, there is only '{first}'")
    for name in others:
        _require_comparable(first, runs[first], name, runs[name])
    rows = [(row, [look_up(results, row.path) for results in runs.values()]) for row in ROWS]
    return Comparison(
        tuple(runs),
        tuple(
            ComparedRow(row, tuple(_cell(row.path, results, runs[first]) for results in runs.values()))
            for row, values in rows
            if any(value is not None for value in values)
        ),
    )


def read_runs(paths: Sequence[Path]) -> Evaluation:
    """Return the runs of files written by `amodal evaluate --json`, named by file where their names are the same.

    Raises:
        EvaluationError: a file is missing or of another kind.
    """
    files = {path: Evaluation.from_file(path) for path in paths}
    names = [name for file in files.values() for name in file.runs]
    runs = {
        name if names.count(name) == 1 else (str(path) if len(file.runs) == 1 else f"{path}: {name}"): results
        for path, file in files.items()
        for name, results in file.runs.items()
    }
    return Evaluation(runs, files[paths[0]].baselines)


def format_comparison(comparison: Comparison) -> str:
    """Return a table: value and interval of every run, then its difference to the first, and a line on the mark."""
    first, *others = comparison.names
    lines = [["", "unit", first, *(text for name in others for text in (name, "difference"))]]
    for row in comparison.rows:
        cells = [_value(row.row, row.cells[0])]
        for cell in row.cells[1:]:
            cells += [_value(row.row, cell), _difference(row.row, cell)]
        lines.append([row_title(row.row), row.row.unit, *cells])
    legend = f"[low, high] confidence interval; {DIFFERS} zero lies outside the interval of the difference"
    return "\n".join([f"Difference to {first}", "", align(lines), "", legend])


def difference_digits(row: Row, cell: Cell) -> int:
    """Return how many decimals a difference needs so that no end of an interval without 0 is rounded to 0."""
    ends = [abs(end) for end in cell.difference_interval or () if end and cell.differs]
    return max([row.digits, *(min(math.ceil(-math.log10(2 * end)), row.digits + 3) for end in ends)])


def _require_comparable(first: str, one: dict[str, Any], name: str, other: dict[str, Any]) -> None:
    own, others = one["rules"], other["rules"]
    changed = [f"{key} {own.get(key)} and {others.get(key)}" for key in own if own.get(key) != others.get(key)]
    if changed:
        raise EvaluationError(f"'{first}' and '{name}' were scored by different rules: {', '.join(changed)}")
    if one["data"]["fingerprint"] != other["data"]["fingerprint"]:
        sizes = [
            f"{counted(r['data']['sequences'], 'sequence')} with {counted(r['data']['frames'], 'frame')}"
            for r in (one, other)
        ]
        raise EvaluationError(
            f"'{first}' and '{name}' were scored on different data: {sizes[0]} ({one['data']['fingerprint'][:8]}) "
            f"and {sizes[1]} ({other['data']['fingerprint'][:8]})"
        )
    resamples = [r.get("intervals", {}).get("resamples", 0) for r in (one, other)]
    if resamples[0] != resamples[1]:
        raise EvaluationError(
            f"'{first}' and '{name}' have {resamples[0]} and {resamples[1]} resamples; "
            "score both with the same --resamples"
        )


def _cell(path: str, results: dict[str, Any], first: dict[str, Any]) -> Cell:
    value, reference = look_up(results, path), look_up(first, path)
    spread = intervals_at(results, path)
    if results is first or value is None or reference is None:
        return Cell(value, spread)
    own, other = (
        np.array(r.get("replicates", {}).get(path, []), np.float64)  # None becomes NaN.
        for r in (results, first)
    )
    gap = own - other if own.size == other.size else np.zeros(0)
    if not np.isfinite(gap).any():
        return Cell(value, spread, value - reference)
    low, high = interval(gap)
    differs = results["intervals"]["units"] >= MIN_PARTS and not low <= 0.0 <= high
    return Cell(value, spread, value - reference, [low, high], differs)


def _value(row: Row, cell: Cell) -> str:
    if cell.value is None:
        return "-"
    text = f"{cell.value:.{row.digits}f}"
    return text if cell.interval is None else f"{text} {_range(cell.interval, row.digits)}"


def _difference(row: Row, cell: Cell) -> str:
    if cell.difference is None:
        return "-  "
    digits = difference_digits(row, cell)
    text = f"{cell.difference:+.{digits}f}"
    if cell.difference_interval is not None:
        text += f" {_range(cell.difference_interval, digits)}"
    return f"{text} {DIFFERS if cell.differs else ' '}"


def _range(ends: list[float], digits: int) -> str:
    return f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"

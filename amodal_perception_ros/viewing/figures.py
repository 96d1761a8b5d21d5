"""How figures, their intervals and their names are written on a page."""

from __future__ import annotations

import math
import re
from typing import Any, TypeGuard

from markupsafe import Markup, escape

from amodal_perception_ros.evaluation.table import ROWS, intervals_at

DASH = "–"
"""Stands for what is not known; never a zero."""

_DIGITS = {row.path.rpartition(".")[2]: row.digits for row in ROWS}
_SMALL = re.compile("ece|brier|nll|simplicity|convexity|mASE")
_METRES = re.compile("RMSE|ADErr|MOTP|depth_error|mATE|mAOE")
_INDEXED = re.compile(r"\b([A-Za-z]*[A-Z][A-Za-z]*)_(\w+)")


def is_known(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def figure_text(value: Any, digits: int, sign: str = "") -> str:
    """Return a number with that many decimals; a dash for what is no finite number.

    Args:
        value: anything.
        digits: decimals; thousands are set apart by commas.
        sign: "+" writes the sign of positive numbers too.
    """
    if not is_known(value):
        return DASH
    # Adding zero turns the negative zero of a rounded small number into a plain one.
    return f"{round(value, digits) + 0:{sign},.{digits}f}".replace("-", "−")


def interval_text(low: Any, high: Any, digits: int) -> str:
    """Return "low to high", or nothing where there is no interval."""
    if not (is_known(low) and is_known(high)):
        return ""
    return f"{figure_text(low, digits)} to {figure_text(high, digits)}"


def interval_of(results: dict[str, Any], path: str) -> tuple[float, float]:
    """Return the confidence interval (low, high) of the figure at a path, NaN where there is none."""
    low, high = intervals_at(results, path) or (math.nan, math.nan)
    return (low, high) if is_known(low) and is_known(high) else (math.nan, math.nan)


def digits_of(name: str, value: Any) -> int:
    """Return how many decimals a figure of that name has: per cent 1, metres 2, 0..1 3, counts none."""
    if isinstance(value, int):
        return 0
    if name in _DIGITS:
        return _DIGITS[name]
    if _SMALL.search(name):
        return 3
    return 2 if _METRES.search(name) else 1


def symbol(title: str) -> Markup:
    """Return the name of a figure as it is read.

    Indices of abbreviations are set low and exponents high (`APQ_T^V`), words are set apart (`hidden_cell_recall`).
    """
    text = _INDEXED.sub(lambda found: f"{found[1]}<sub>{found[2]}</sub>", str(escape(title.strip())))
    return Markup(re.sub(r"\^(\w+)", r"<sup>\1</sup>", text).replace("_", " "))

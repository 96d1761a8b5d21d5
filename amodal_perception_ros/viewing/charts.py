"""Small charts as SVG elements of a page; their colours are the page's, in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from amodal_perception_ros.viewing.figures import figure_text

_PLOT = 220.0
_LEFT, _TOP, _BOTTOM = 58.0, 10.0, 42.0
_COUNT_SHARE = 0.3
"""Height of the tallest bar of cell counts, as a share of the plot."""

_NAME_WIDTH, _LINE_WIDTH, _LINE_HEIGHT = 200.0, 220.0, 24.0
_LONGEST_NAME = 28


@dataclass(frozen=True)
class Estimate:
    """A value and its confidence interval (low, high), NaN where unknown; `soft` ones are drawn less prominently."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    soft: bool = False


def reliability_chart(
    bins: Sequence[Mapping[str, Any]], name: str, counted: str = "cells", outcome: str = "occupied"
) -> Markup:
    """Draw how often what is predicted with a probability is true, as "cells" that are "occupied".

    The dots lie on the dashed diagonal where probabilities are honest, below it where they are too high. Bars tell how
    many are behind each dot.

    Args:
        bins: {"from", "to", counted, "probability", outcome}, all but the count in 0..1.
        name: of the run, for readers that show no pictures.
        counted: key of the number behind a bin, and what is counted.
        outcome: key of the share that is true, and what it is called.

    Returns:
        An `<svg>` element.
    """
    svg = _svg(_LEFT + _PLOT + 12, _TOP + _PLOT + _BOTTOM, f"Reliability of {name}: {outcome} share by probability")
    most = max((bin_[counted] for bin_ in bins), default=0)
    for bin_ in bins:
        height = _COUNT_SHARE * bin_[counted] / most if most else 0.0
        left, right = _across(bin_["from"]), _across(bin_["to"])
        box = _shape(svg, "rect", "count", x=left + 1, y=_up(height), width=right - left - 2, height=height * _PLOT)
        _hover(box, f"{bin_[counted]:,} {counted} from {bin_['from']:.1f} to {bin_['to']:.1f}")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _shape(svg, "line", "grid", x1=_across(0), x2=_across(1), y1=_up(tick), y2=_up(tick))
        _text(svg, _LEFT - 6, _up(tick) + 4, f"{tick:g}", "end")
        _text(svg, _across(tick), _up(0) + 16, f"{tick:g}", "middle")
    _shape(svg, "line", "honest", x1=_across(0), y1=_up(0), x2=_across(1), y2=_up(1))
    known = [b for b in bins if math.isfinite(b["probability"]) and math.isfinite(b[outcome])]
    points = [(_across(b["probability"]), _up(b[outcome])) for b in known]
    _shape(svg, "polyline", "curve", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
    for (x, y), bin_ in zip(points, known):
        dot = _shape(svg, "circle", "dot", cx=x, cy=y, r=4)
        _hover(dot, f"said {bin_['probability']:.2f}, found {bin_[outcome]:.2f}, {bin_[counted]:,} {counted}")
    _text(svg, _across(0.5), _up(0) + 34, "predicted probability", "middle")
    side = _text(svg, 0, 0, f"{outcome} share", "middle")
    side.set("transform", f"translate(12 {_up(0.5):.1f}) rotate(-90)")
    return _markup(svg)


def interval_chart(title: str, estimates: Sequence[Estimate], digits: int) -> Markup:
    """Draw values of one figure one below the other, with their intervals, on a common axis.

    A dashed line stands at the first value.

    Args:
        title: what the figure is, for readers that show no pictures.
        estimates: at least one with a known value.
        digits: decimals of the numbers.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: no value is known.
    """
    known = [x for e in estimates for x in (e.value, e.low, e.high) if math.isfinite(x)]
    if not known:
        raise ValueError(f"no value of {title} is known")
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin

    def across(value: float) -> float:
        return _NAME_WIDTH + (value - low) / (high - low) * _LINE_WIDTH

    bottom = len(estimates) * _LINE_HEIGHT
    svg = _svg(_NAME_WIDTH + _LINE_WIDTH + 60, bottom + 22, f"{title}: values and intervals")
    if math.isfinite(estimates[0].value):
        place = across(estimates[0].value)
        _shape(svg, "line", "honest", x1=place, x2=place, y1=0, y2=bottom)
    for number, estimate in enumerate(estimates):
        _add_estimate(svg, estimate, (number + 0.5) * _LINE_HEIGHT, across, digits)
    _shape(svg, "line", "grid", x1=_NAME_WIDTH, x2=_NAME_WIDTH + _LINE_WIDTH, y1=bottom, y2=bottom)
    for value in (low + margin, high - margin) if high - low > 2.01 * margin else (low + margin,):
        _text(svg, across(value), bottom + 16, figure_text(value, digits), "middle")
    return _markup(svg)


def _add_estimate(
    svg: ElementTree.Element, estimate: Estimate, y: float, across: Callable[[float], float], digits: int
) -> None:
    name = estimate.name if len(estimate.name) <= _LONGEST_NAME else estimate.name[: _LONGEST_NAME - 1] + "…"
    _hover(_text(svg, 0, y + 4, name, "start"), estimate.name)
    _text(svg, _NAME_WIDTH + _LINE_WIDTH + 8, y + 4, figure_text(estimate.value, digits), "start")
    if not math.isfinite(estimate.value):
        return
    kind = "soft" if estimate.soft else "own"
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        _shape(svg, "line", f"interval {kind}", x1=across(estimate.low), x2=across(estimate.high), y1=y, y2=y)
    _shape(svg, "circle", f"dot {kind}", cx=across(estimate.value), cy=y, r=4.5)


def _across(value: float) -> float:
    return _LEFT + _PLOT * value


def _up(value: float) -> float:
    return _TOP + _PLOT * (1.0 - value)


def _svg(width: float, height: float, title: str) -> ElementTree.Element:
    svg = ElementTree.Element(
        "svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "class": "chart", "aria-label": title}
    )
    svg.set("style", f"max-width: {width:g}px")
    return svg


def _shape(svg: ElementTree.Element, tag: str, kind: str, **places: float | str) -> ElementTree.Element:
    values = {name: value if isinstance(value, str) else f"{value:.1f}" for name, value in places.items()}
    return ElementTree.SubElement(svg, tag, {"class": kind, **values})


def _text(svg: ElementTree.Element, x: float, y: float, text: str, anchor: str) -> ElementTree.Element:
    element = ElementTree.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    element.text = text
    return element


def _hover(element: ElementTree.Element, text: str) -> None:
    ElementTree.SubElement(element, "title").text = text


def _markup(svg: ElementTree.Element) -> Markup:
    return Markup(ElementTree.tostring(svg, encoding="unicode"))

"""An upright box around the seen surface of an object, completed by the typical size of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from amodal_perception_ros.fusion.priors import ELONGATED, SIZES, SPREADS
from amodal_perception_ros.fusion.ragged import blocks, trimmed_ends, trimmed_range

_ANGLES = np.deg2rad(np.arange(0.0, 90.0, 3.0)).astype(np.float32)
_MIN_POINTS = 8
_LARGEST = 1.5
_SEEN_STDDEV = 0.15
"""Least standard deviation of an extent [m]."""

_HEADING_STDDEV = np.deg2rad(2.0)
_OUTLINE_STDDEV = (0.2, 0.3)
"""Standard deviation of the ends of an outline of LiDAR returns, and of one of amodal depth [m]."""

_STRAY, _STRAY_OF_EDGES = 0.02, 0.03
"""Shares of the points that are cut at each end of an extent, and of the outline whose heading is sought."""


@dataclass(frozen=True, eq=False)
class UprightBox:
    """A box that stands on the ground plane z = 0 of base_link.

    Attributes:
        center: (3,) float64 in base_link [m].
        size: (3,) float64 length, width, height [m].
        yaw: heading against base_link's x axis in (-pi/2, pi/2]: front and back are not told apart [rad].
        covariance: (2, 2) float64 of the centre's x and y in base_link, as far as the extents are not seen whole [m^2].
        size_stddev: (3,) float64 standard deviations of the size [m].
        yaw_stddev: of the heading modulo half a turn [rad]; NaN where nothing was seen of it.
    """

    center: np.ndarray
    size: np.ndarray
    yaw: float
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((2, 2)))
    size_stddev: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    yaw_stddev: float = float("nan")


class Surface(NamedTuple):
    """What is seen of one object.

    Attributes:
        points: (N, 3) float32 in base_link, N >= 1.
        class_id: a thing class.
        sensor: (3,) viewpoint in base_link, from which the unseen side is away.
        shape: (M, 3) points for the heading alone, the more exact ones; fewer than 8 do not count.
    """

    points: np.ndarray
    class_id: int
    sensor: np.ndarray
    shape: np.ndarray


def fit_box(points: np.ndarray, class_id: int, sensor: np.ndarray, shape: np.ndarray | None = None) -> UprightBox:
    """Fit a box to surface points of one object; see `fit_boxes`.

    Args:
        points: (N, 3) float32 in base_link, N >= 1.
        class_id: a thing class.
        sensor: (3,) viewpoint in base_link.
        shape: (M, 3) points for the heading alone (the more exact ones), default `points`.
    """
    return fit_boxes([Surface(points, class_id, sensor, points[:0] if shape is None else shape)])[0]


def fit_boxes(surfaces: Sequence[Surface]) -> list[UprightBox]:
    """Fit a box to each of K surfaces.

    The heading of vehicles minimises the distance of the points to two edges of a rectangle (closeness criterion of
    L-shape fitting, Zhang et al., "Efficient L-Shape Fitting for Vehicle Detection Using Laser Scanners", IV 2017,
    section III); people, and objects with fewer than 8 points, take the vehicle's own heading. An extent that falls
    short of the typical size is completed to it, away from the sensor: the seen surface of an object is nearly always
    less than its outline, and small members of a class are made too long rather than too short. One beyond 1.5 times
    the typical size is stray points and is cut to that.
    """
    if not surfaces:
        return []
    counts = np.array([len(each.points) for each in surfaces])
    typical = np.array([SIZES[each.class_id] for each in surfaces])
    spread = np.array([SPREADS[each.class_id] for each in surfaces])
    angle, turned = _headings(surfaces)
    cos, sin = np.cos(angle), np.sin(angle)
    points = np.concatenate([each.points for each in surfaces])
    low, high = trimmed_range(_along_axes(points, angle, counts), counts, _STRAY)
    sensors = np.array([each.sensor[:2] for each in surfaces], np.float64)
    viewpoint = np.stack([cos * sensors[:, 0] + sin * sensors[:, 1], cos * sensors[:, 1] - sin * sensors[:, 0]], 1)
    top, low, high = high[2], low[:2].T, high[:2].T
    seen = high - low
    length_first = ~turned | _first_axis_is_length(seen, (low + high) / 2 - viewpoint, typical)
    sides = np.where(length_first[:, None], [[0, 1]], [[1, 0]])  # Length and width among the axes, and the other way.
    outline = _complete(
        low, high, np.take_along_axis(typical, sides, 1), np.take_along_axis(spread, sides, 1), viewpoint
    )
    height = np.clip(top, 0.6 * typical[:, 2], 1.3 * typical[:, 2])
    height_stddev = np.where(height == top, _SEEN_STDDEV, spread[:, 2])
    x, y = outline.middle.T
    centers = np.stack([cos * x - sin * y, sin * x + cos * y, height / 2], 1)
    sizes, size_stddevs = (
        np.column_stack([np.take_along_axis(horizontal, sides, 1), vertical])
        for horizontal, vertical in ((outline.extent, height), (outline.extent_stddev, height_stddev))
    )
    yaws = _fold(np.where(length_first, angle, angle + np.pi / 2))
    covariances = rotated_covariance(outline.middle_stddev, angle)
    yaw_stddevs = _heading_stddevs(surfaces, seen.max(axis=1), turned)
    rows = zip(centers, sizes, yaws.tolist(), covariances, size_stddevs, yaw_stddevs.tolist())
    return [UprightBox(*row) for row in rows]


def rotated_covariance(stddev: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the (K, 2, 2) covariances of errors with (K, 2) standard deviations along axes turned by (K,) angles."""
    cos, sin = np.cos(angle), np.sin(angle)
    axes = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    return np.einsum("kij,kj,klj->kil", axes, np.square(stddev), axes)


def _headings(surfaces: Sequence[Surface]) -> tuple[np.ndarray, np.ndarray]:
    """Return (K,) angle in [0, pi/2) of an edge, and (K,) bool whether it was read from the outline (else it is 0)."""
    shapes = [each.shape if len(each.shape) >= _MIN_POINTS else each.points for each in surfaces]
    pairs = enumerate(zip(surfaces, shapes))
    turned = [k for k, (each, shape) in pairs if each.class_id in ELONGATED and len(shape) >= _MIN_POINTS]
    angle, is_turned = np.zeros(len(surfaces)), np.zeros(len(surfaces), bool)
    if turned:
        angle[turned], is_turned[turned] = _closest_angles([shapes[k][:, :2] for k in turned]), True
    return angle, is_turned


def _closest_angles(outlines: list[np.ndarray]) -> np.ndarray:
    """Angles in [0, pi/2) of the rectangles to whose edges the points of each of K outlines are closest."""
    counts = np.array([len(each) for each in outlines])
    xy = np.concatenate(outlines).T
    means = np.add.reduceat(xy, np.cumsum(counts) - counts, axis=1) / counts
    xy = (xy - np.repeat(means, counts, axis=1)).astype(np.float32)
    cos, sin = np.cos(_ANGLES)[:, None, None], np.sin(_ANGLES)[:, None, None]
    angles = np.empty(len(outlines))
    for chosen, (x, y) in blocks(xy, counts, expansion=len(_ANGLES)):
        lacking = np.isinf(x)
        x[lacking] = y[lacking] = 0.0
        nearest = np.full((len(_ANGLES), *x.shape), np.inf, np.float32)
        for values in (cos * x + sin * y, cos * y - sin * x):
            values[:, lacking] = np.inf  # Infinitely far from the edges: it adds nothing.
            low, high = trimmed_ends(values, counts[chosen], _STRAY_OF_EDGES)
            for end in (low, high):
                np.minimum(nearest, np.abs(values - end), out=nearest)
        angles[chosen] = _ANGLES[np.argmax((1.0 / np.maximum(nearest, 0.1)).sum(-1), axis=0)]
    return angles


def _along_axes(points: np.ndarray, angle: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Coordinates of (N, 3) points along their groups' turned axes and upwards, (3, N) float32."""
    cos, sin = (np.repeat(value.astype(np.float32), counts) for value in (np.cos(angle), np.sin(angle)))
    x, y, z = points.T
    return np.stack([cos * x + sin * y, cos * y - sin * x, z])


def _first_axis_is_length(extent: np.ndarray, view: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Which assignment of length and width explains the (K, 2) seen extents best, (K,) bool.

    An extent beyond the typical one is a contradiction. An extent that falls short counts only as far as the (K, 2)
    line of sight shows that side: the side across it is seen whole, the one along it hardly.
    """
    across = 1.0 - np.abs(view) / np.maximum(np.hypot(*view.T), 1e-6)[:, None]
    costs = []
    for typical in (priors[:, :2], priors[:, 1::-1]):
        short = np.maximum(typical - extent, 0.0) * across
        costs.append((2.0 * np.maximum(extent - typical, 0.0) + short).sum(axis=1))
    return costs[0] <= costs[1]


class _Outline(NamedTuple):
    """Completed extents along two axes: (K, 2) float64 each [m]."""

    middle: np.ndarray
    extent: np.ndarray
    middle_stddev: np.ndarray
    extent_stddev: np.ndarray


def _complete(
    low: np.ndarray, high: np.ndarray, typical: np.ndarray, spread: np.ndarray, viewpoint: np.ndarray
) -> _Outline:
    """Extend extents below the typical ones, and cut those beyond 1.5 times, at the end away from the viewpoint.

    An extent that is changed by more than half of the class's spread is as uncertain as that, another one half as
    much; its middle again half as much, for the near end is seen. With the viewpoint in front of neither end, the seen
    part may be any part of the whole.
    """
    extent = high - low
    change = np.clip(extent, typical, _LARGEST * typical) - extent
    share = np.where(viewpoint < low, 0.0, np.where(viewpoint > high, 1.0, 0.5))
    low, high = low - share * change, high + (1.0 - share) * change
    extent_stddev = np.where(np.abs(change) < spread / 2, np.maximum(_SEEN_STDDEV, spread / 2), spread)
    anywhere = np.where(share == 0.5, np.abs(change) / np.sqrt(12.0), 0.0)
    return _Outline((low + high) / 2, high - low, np.hypot(extent_stddev / 2, anywhere), extent_stddev)


def _heading_stddevs(surfaces: Sequence[Surface], longest: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """(K,) standard deviations of headings read from outlines of a longest extent [m], NaN where they were not."""
    exact = np.array([len(each.shape) >= _MIN_POINTS for each in surfaces])
    noise = np.where(exact, *_OUTLINE_STDDEV) / np.maximum(longest, 0.1)
    return np.where(turned, np.minimum(np.hypot(_HEADING_STDDEV, noise), np.pi / np.sqrt(12.0)), np.nan)


def _fold(angle: np.ndarray) -> np.ndarray:
    """Angles modulo half a turn in (-pi/2, pi/2]."""
    folded = (angle + np.pi / 2) % np.pi - np.pi / 2
    return np.where(folded <= -np.pi / 2 + 1e-9, np.pi / 2, folded)

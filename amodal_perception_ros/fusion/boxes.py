"""An upright box around the seen surface of an object, completed by the typical size of its class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.fusion.priors import ELONGATED, SIZES, Size

_ANGLES = np.deg2rad(np.arange(0.0, 90.0, 3.0)).astype(np.float32)
_MIN_POINTS = 8
_LARGEST = 1.5


@dataclass(frozen=True, eq=False)
class UprightBox:
    """A box that stands on the ground plane z = 0 of base_link.

    Attributes:
        center: (3,) float64 in base_link [m].
        size: (3,) float64 length, width, height [m].
        yaw: heading against base_link's x axis in (-pi/2, pi/2]: front and back are not told apart [rad].
    """

    center: np.ndarray
    size: np.ndarray
    yaw: float


def fit_box(points: np.ndarray, class_id: int, sensor: np.ndarray, shape: np.ndarray | None = None) -> UprightBox:
    """Fit a box to surface points of one object.

    The heading of vehicles minimises the distance of the points to two edges of a rectangle (closeness criterion of
    L-shape fitting, Zhang et al., "Efficient L-Shape Fitting for Vehicle Detection Using Laser Scanners", IV 2017,
    section III); people, and objects with fewer than 8 points, take the vehicle's own heading. An extent that falls
    short of the typical size is completed to it, away from the sensor: the seen surface of an object is nearly always
    less than its outline, and small members of a class are made too long rather than too short. One beyond 1.5 times
    the typical size is stray points and is cut to that.

    Args:
        points: (N, 3) float32 in base_link, N >= 1.
        class_id: a thing class.
        sensor: (3,) viewpoint in base_link, from which the unseen side is away.
        shape: (M, 3) points for the heading alone (the more exact ones), default `points`.
    """
    prior = SIZES[class_id]
    shape = points if shape is None or len(shape) < _MIN_POINTS else shape
    angle = 0.0
    if class_id in ELONGATED and len(shape) >= _MIN_POINTS:
        angle = _closest_angle(shape[:, :2])
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    low, high = _robust_range(points[:, :2] @ axes.T.astype(np.float32))
    if class_id in ELONGATED and len(shape) >= _MIN_POINTS:
        first_is_length = _first_axis_is_length(high - low, axes, sensor, (low + high) / 2, prior)
    else:
        first_is_length = True
    typical = np.array([prior.length, prior.width] if first_is_length else [prior.width, prior.length])
    low, high = _complete(low, high, typical, axes @ sensor[:2])
    middle, extent = (low + high) / 2, high - low
    if not first_is_length:
        angle, extent = angle + np.pi / 2, extent[::-1]
    top = float(_robust_range(points[:, 2:])[1][0])
    height = float(np.clip(top, 0.6 * prior.height, 1.3 * prior.height))
    center = np.append(axes.T @ middle, height / 2)
    return UprightBox(center, np.append(extent, height), _fold(angle))


def _closest_angle(xy: np.ndarray) -> float:
    """Angle in [0, pi/2) of the rectangle to whose edges the points are closest."""
    cos, sin = np.cos(_ANGLES)[:, None], np.sin(_ANGLES)[:, None]
    x, y = xy[:, 0] - xy[:, 0].mean(), xy[:, 1] - xy[:, 1].mean()
    nearest = np.minimum(_edge_distance(cos * x + sin * y), _edge_distance(cos * y - sin * x))
    return float(_ANGLES[np.argmax((1.0 / np.maximum(nearest, 0.1)).sum(1))])


def _edge_distance(values: np.ndarray) -> np.ndarray:
    """Distance of (A, N) coordinates to the nearer end of each row's robust range."""
    count = values.shape[1]
    cut = int(0.03 * count)
    ordered = np.partition(values, (cut, count - 1 - cut), axis=1)
    low, high = ordered[:, cut, None], ordered[:, count - 1 - cut, None]
    return np.minimum(np.abs(values - low), np.abs(high - values))


def _robust_range(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest of (N, D) coordinates after cutting 2 % of the points at each end, float64."""
    cut = int(0.02 * len(values))
    ordered = np.partition(values, (cut, len(values) - 1 - cut), axis=0)
    return ordered[cut].astype(np.float64), ordered[len(values) - 1 - cut].astype(np.float64)


def _first_axis_is_length(
    extent: np.ndarray, axes: np.ndarray, sensor: np.ndarray, middle: np.ndarray, prior: Size
) -> bool:
    """Which assignment of length and width explains the seen extents best.

    An extent beyond the typical one is a contradiction. An extent that falls short counts only as far as the view
    shows that side: the side across the line of sight is seen whole, the one along it hardly.
    """
    view = middle - axes @ sensor[:2]
    across = 1.0 - np.abs(view) / max(float(np.linalg.norm(view)), 1e-6)
    costs = []
    for typical in ((prior.length, prior.width), (prior.width, prior.length)):
        short = np.maximum(typical - extent, 0.0) * across
        costs.append(float((2.0 * np.maximum(extent - typical, 0.0) + short).sum()))
    return costs[0] <= costs[1]


def _complete(
    low: np.ndarray, high: np.ndarray, typical: np.ndarray, viewpoint: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Extend extents below the typical ones, and cut those beyond 1.5 times, at the end away from the viewpoint."""
    extent = high - low
    change = np.clip(extent, typical, _LARGEST * typical) - extent
    share = np.where(viewpoint < low, 0.0, np.where(viewpoint > high, 1.0, 0.5))
    return low - share * change, high + (1.0 - share) * change


def _fold(angle: float) -> float:
    """The angle modulo half a turn in (-pi/2, pi/2]."""
    folded = (angle + np.pi / 2) % np.pi - np.pi / 2
    return float(np.pi / 2 if folded <= -np.pi / 2 + 1e-9 else folded)

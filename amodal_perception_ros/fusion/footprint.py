"""The ground that objects cover, as probabilities in grid cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from amodal_perception_ros.fusion.geometry import transform, yaw_of
from amodal_perception_ros.fusion.lidar import GridFrame
from amodal_perception_ros.fusion.objects import PlacedObject
from amodal_perception_ros.fusion.tracks import Track

MIN_PROBABILITY = 0.55
"""Less is not written: a weak suspicion must not read as "rather free"."""

MAX_PROBABILITY = 0.95
"""Inference alone is never surer than that."""

ACROSS_STDDEV = 0.15
"""Standard deviation of a box's centre across the line of sight, where the image shows its place [m]."""


class _Footprint(NamedTuple):
    """A box in odom that is there with a probability, its centre uncertain along length and width [m]."""

    class_id: int
    probability: float
    center: np.ndarray
    size: np.ndarray
    yaw: float
    spread: tuple[float, float]


def hidden_occupancy(
    placed: list[PlacedObject], grid: GridFrame, odom_from_base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how likely each cell lies under one of the objects.

    The probability of a cell is the object's score times the probability that the cell's centre is inside the box
    when the box's centre is normally distributed about its estimate: along the line of sight with the standard
    deviation of the object's distance, across it with 0.15 m, never less than half a cell. Of several objects the
    likeliest counts.

    Returns:
        (size, size) float32 probability, 0 below `MIN_PROBABILITY`, and (size, size) uint8 class id there.
    """
    heading = yaw_of(odom_from_base)
    return _occupancy(
        [
            _Footprint(
                one.evidence.class_id,
                one.evidence.score,
                transform(one.box.center[None], odom_from_base)[0],
                one.box.size,
                one.box.yaw + heading,
                _spread(one),
            )
            for one in placed
        ],
        grid,
    )


def remembered_occupancy(tracks: Iterable[Track], grid: GridFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for tracks: existence times the probability that the cell's centre is inside the box.

    The box's centre is normally distributed with the covariance of the track.
    """
    return _occupancy(
        [
            _Footprint(
                one.class_id, one.existence, one.center, one.size, one.yaw, _deviations(one.cov[:2, :2], one.yaw)
            )
            for one in tracks
        ],
        grid,
    )


def _occupancy(footprints: list[_Footprint], grid: GridFrame) -> tuple[np.ndarray, np.ndarray]:
    probability = np.zeros((grid.size, grid.size), np.float32)
    classes = np.zeros((grid.size, grid.size), np.uint8)
    for one in footprints:
        window = _window(grid, one.center, one.size)
        if window is None:
            continue
        likely = np.minimum(one.probability * _inside(grid, window, one), MAX_PROBABILITY)
        better = (likely >= MIN_PROBABILITY) & (likely > probability[window])
        probability[window][better] = likely[better]
        classes[window][better] = one.class_id
    return probability, classes


def _window(grid: GridFrame, center: np.ndarray, size: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the grid around a box; None when it is outside.

    No margin for the standard deviation is needed: outside the box the probability is below one half.
    """
    reach = float(np.hypot(size[0], size[1])) / 2
    bounds = []
    for first, middle in ((grid.cell_y, center[1]), (grid.cell_x, center[0])):
        low = max(0, int(np.floor((middle - reach) / grid.resolution)) - first)
        high = min(grid.size, int(np.ceil((middle + reach) / grid.resolution)) - first)
        bounds.append(slice(low, high))
    return (bounds[0], bounds[1]) if all(part.start < part.stop for part in bounds) else None


def _spread(one: PlacedObject) -> tuple[float, float]:
    """Standard deviation of a box's centre along its length and along its width [m]."""
    sight = one.box.center[:2] - one.evidence.viewpoint[:2]
    angle = float(np.arctan2(sight[1], sight[0])) - one.box.yaw
    away, across = one.evidence.stddev, min(ACROSS_STDDEV, one.evidence.stddev)
    along_length = float(np.hypot(away * np.cos(angle), across * np.sin(angle)))
    along_width = float(np.hypot(away * np.sin(angle), across * np.cos(angle)))
    return along_length, along_width


def _deviations(cov: np.ndarray, yaw: float) -> tuple[float, float]:
    """Standard deviations along and across a heading of a (2, 2) covariance."""
    axes = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
    along, across = np.sqrt(np.einsum("ki,ij,kj->k", axes, cov, axes))
    return float(along), float(across)


def _inside(grid: GridFrame, window: tuple[slice, slice], one: _Footprint) -> np.ndarray:
    """Probability that the cells' centres lie in the box."""
    x, y = grid.offsets(float(one.center[0]), float(one.center[1]))
    dx, dy = x[window[1]][None, :], y[window[0]][:, None]
    cos, sin = np.float32(np.cos(one.yaw)), np.float32(np.sin(one.yaw))
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    length, width = (max(stddev, grid.resolution / 2) for stddev in one.spread)
    return _between(along, float(one.size[0]) / 2, length) * _between(across, float(one.size[1]) / 2, width)


def _between(offset: np.ndarray, half: float, stddev: float) -> np.ndarray:
    return _normal_cdf((half - offset) / stddev) - _normal_cdf((-half - offset) / stddev)


def _normal_cdf(value: np.ndarray) -> np.ndarray:
    """Logistic approximation of the normal distribution function; off by less than 0.01."""
    return 1.0 / (1.0 + np.exp(-1.702 * np.clip(value, -40.0, 40.0)))

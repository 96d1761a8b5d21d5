"""The ground that objects cover, as probabilities in grid cells."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.fusion.geometry import transform, yaw_of
from amodal_perception_ros.fusion.lidar import GridFrame
from amodal_perception_ros.fusion.objects import PlacedObject

MIN_PROBABILITY = 0.55
"""Less is not written: a weak suspicion must not read as "rather free"."""

MAX_PROBABILITY = 0.95
"""Inference alone is never surer than that."""


def hidden_occupancy(
    placed: list[PlacedObject], grid: GridFrame, odom_from_base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how likely each cell lies under one of the objects.

    The probability of a cell is the object's score times the probability that the cell's centre is inside the box
    when the box's centre is normally distributed about its estimate with the object's standard deviation (half a
    cell at least) along both sides. Of several objects the likeliest counts.

    Returns:
        (size, size) float32 probability, 0 below `MIN_PROBABILITY`, and (size, size) uint8 class id there.
    """
    probability = np.zeros((grid.size, grid.size), np.float32)
    classes = np.zeros((grid.size, grid.size), np.uint8)
    heading = yaw_of(odom_from_base)
    for one in placed:
        center = transform(one.box.center[None], odom_from_base)[0]
        window = _window(grid, center, one.box.size)
        if window is None:
            continue
        stddev = max(one.evidence.stddev, grid.resolution / 2)
        inside = _inside(grid, window, center, one.box.size, one.box.yaw + heading, stddev)
        likely = np.minimum(one.evidence.score * inside, MAX_PROBABILITY)
        better = (likely >= MIN_PROBABILITY) & (likely > probability[window])
        probability[window][better] = likely[better]
        classes[window][better] = one.evidence.class_id
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


def _inside(
    grid: GridFrame, window: tuple[slice, slice], center: np.ndarray, size: np.ndarray, yaw: float, stddev: float
) -> np.ndarray:
    """Probability that the cells' centres lie in the box."""
    x, y = grid.offsets(float(center[0]), float(center[1]))
    dx, dy = x[window[1]][None, :], y[window[0]][:, None]
    cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    return _between(along, float(size[0]) / 2, stddev) * _between(across, float(size[1]) / 2, stddev)


def _between(offset: np.ndarray, half: float, stddev: float) -> np.ndarray:
    return _normal_cdf((half - offset) / stddev) - _normal_cdf((-half - offset) / stddev)


def _normal_cdf(value: np.ndarray) -> np.ndarray:
    """Logistic approximation of the normal distribution function; off by less than 0.01."""
    return 1.0 / (1.0 + np.exp(-1.702 * np.clip(value, -40.0, 40.0)))

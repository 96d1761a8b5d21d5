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

ACROSS_STDDEV = 0.15
"""Standard deviation of a box's centre across the line of sight, where the image shows its place [m]."""


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
    probability = np.zeros((grid.size, grid.size), np.float32)
    classes = np.zeros((grid.size, grid.size), np.uint8)
    heading = yaw_of(odom_from_base)
    for one in placed:
        center = transform(one.box.center[None], odom_from_base)[0]
        window = _window(grid, center, one.box.size)
        if window is None:
            continue
        inside = _inside(grid, window, center, one.box.size, one.box.yaw + heading, _spread(one, grid.resolution))
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


def _spread(one: PlacedObject, resolution: float) -> tuple[float, float]:
    """Standard deviation of a box's centre along its length and along its width [m]."""
    sight = one.box.center[:2] - one.evidence.viewpoint[:2]
    angle = float(np.arctan2(sight[1], sight[0])) - one.box.yaw
    away, across = one.evidence.stddev, min(ACROSS_STDDEV, one.evidence.stddev)
    along_length = float(np.hypot(away * np.cos(angle), across * np.sin(angle)))
    along_width = float(np.hypot(away * np.sin(angle), across * np.cos(angle)))
    return max(along_length, resolution / 2), max(along_width, resolution / 2)


def _inside(
    grid: GridFrame,
    window: tuple[slice, slice],
    center: np.ndarray,
    size: np.ndarray,
    yaw: float,
    spread: tuple[float, float],
) -> np.ndarray:
    """Probability that the cells' centres lie in the box."""
    x, y = grid.offsets(float(center[0]), float(center[1]))
    dx, dy = x[window[1]][None, :], y[window[0]][:, None]
    cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    return _between(along, float(size[0]) / 2, spread[0]) * _between(across, float(size[1]) / 2, spread[1])


def _between(offset: np.ndarray, half: float, stddev: float) -> np.ndarray:
    return _normal_cdf((half - offset) / stddev) - _normal_cdf((-half - offset) / stddev)


def _normal_cdf(value: np.ndarray) -> np.ndarray:
    """Logistic approximation of the normal distribution function; off by less than 0.01."""
    return 1.0 / (1.0 + np.exp(-1.702 * np.clip(value, -40.0, 40.0)))

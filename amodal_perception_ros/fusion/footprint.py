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
    probability = np.zeros(grid.size * grid.size, np.float32)
    classes = np.zeros(grid.size * grid.size, np.uint8)
    if placed:
        centers = transform(np.array([one.box.center for one in placed]), odom_from_base)
        sizes = np.array([one.box.size for one in placed])
        yaws = np.array([one.box.yaw for one in placed]) + yaw_of(odom_from_base)
        owner, row, column = _cells(grid, centers, sizes)
        along, across = _offsets(grid, row, column, centers[owner], yaws[owner])
        under = (np.abs(along) <= sizes[owner, 0] / 2) & (np.abs(across) <= sizes[owner, 1] / 2)
        owner, along, across = owner[under], along[under], across[under]
        half, spread = (sizes[:, :2] / 2).astype(np.float32)[owner], _spreads(placed, grid.resolution)[owner]
        inside = _between(along, half[:, 0], spread[:, 0]) * _between(across, half[:, 1], spread[:, 1])
        score = np.array([one.evidence.score for one in placed], np.float32)
        likely = np.minimum(score[owner] * inside, np.float32(MAX_PROBABILITY))
        chosen = np.flatnonzero(likely >= MIN_PROBABILITY)[::-1]
        chosen = chosen[np.argsort(likely[chosen], kind="stable")]  # Of two values for a cell the last one stays.
        cell = (row * grid.size + column)[under][chosen]
        probability[cell] = likely[chosen]
        classes[cell] = np.array([one.evidence.class_id for one in placed], np.uint8)[owner[chosen]]
    shape = (grid.size, grid.size)
    return probability.reshape(shape), classes.reshape(shape)


def _cells(grid: GridFrame, centers: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N,) number of the box, row and column of the cells around (K, 3) boxes that lie in the grid.

    No margin for the standard deviation is needed: outside the box the probability is below one half.
    """
    reach = np.hypot(sizes[:, 0], sizes[:, 1])[:, None] / 2
    first = np.array([grid.cell_y, grid.cell_x])
    middle = centers[:, 1::-1]
    low = np.clip(np.floor((middle - reach) / grid.resolution).astype(np.int64) - first, 0, grid.size)
    high = np.clip(np.ceil((middle + reach) / grid.resolution).astype(np.int64) - first, low, grid.size)
    rows, columns = (high - low).T
    counts = rows * columns
    owner = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    row = place // columns[owner]
    return owner, low[owner, 0] + row, low[owner, 1] + place - row * columns[owner]


def _offsets(
    grid: GridFrame, row: np.ndarray, column: np.ndarray, centers: np.ndarray, yaws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (N,) float32 offsets of the cells' centres from those of the boxes, along and across the boxes [m]."""
    dx = ((grid.cell_x + column + 0.5) * grid.resolution - centers[:, 0]).astype(np.float32)
    dy = ((grid.cell_y + row + 0.5) * grid.resolution - centers[:, 1]).astype(np.float32)
    cos, sin = np.cos(yaws).astype(np.float32), np.sin(yaws).astype(np.float32)
    return cos * dx + sin * dy, cos * dy - sin * dx


def _spreads(placed: list[PlacedObject], resolution: float) -> np.ndarray:
    """Standard deviations of the boxes' centres along their lengths and along their widths, (K, 2) float32 [m]."""
    sight = np.array([one.box.center[:2] - one.evidence.viewpoint[:2] for one in placed])
    angle = np.arctan2(sight[:, 1], sight[:, 0]) - np.array([one.box.yaw for one in placed])
    away = np.array([one.evidence.stddev for one in placed])
    across = np.minimum(ACROSS_STDDEV, away)
    along_length = np.hypot(away * np.cos(angle), across * np.sin(angle))
    along_width = np.hypot(away * np.sin(angle), across * np.cos(angle))
    return np.maximum(np.stack([along_length, along_width], 1), resolution / 2).astype(np.float32)


def _between(offset: np.ndarray, half: np.ndarray, stddev: np.ndarray) -> np.ndarray:
    return _normal_cdf((half - offset) / stddev) - _normal_cdf((-half - offset) / stddev)


def _normal_cdf(value: np.ndarray) -> np.ndarray:
    """Logistic approximation of the normal distribution function; off by less than 0.01."""
    return 1.0 / (1.0 + np.exp(-1.702 * np.clip(value, -40.0, 40.0)))

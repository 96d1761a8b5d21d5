"""The ground that objects cover, as probabilities in grid cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amodal_perception_ros.fusion.boxes import rotated_covariance
from amodal_perception_ros.fusion.geometry import transform, yaw_of
from amodal_perception_ros.fusion.lidar import GridFrame
from amodal_perception_ros.fusion.objects import PlacedObject, lines_of_sight, sight_stddevs
from amodal_perception_ros.fusion.ragged import members
from amodal_perception_ros.fusion.tracks import Track

MIN_PROBABILITY = 0.55
"""Less is not written: a weak suspicion must not read as "rather free"."""

MAX_PROBABILITY = 0.95
"""Inference alone is never surer than that."""


class _Boxes(NamedTuple):
    """K upright boxes in odom that are there with a probability and whose centres are uncertain.

    Attributes:
        class_ids: (K,) uint8.
        probability: (K,) that they are there.
        centers: (K, 3) [m].
        sizes: (K, 3) [m].
        yaws: (K,) [rad].
        stddev: (K, 2) standard deviations of the centres along the lengths and along the widths [m].
    """

    class_ids: np.ndarray
    probability: np.ndarray
    centers: np.ndarray
    sizes: np.ndarray
    yaws: np.ndarray
    stddev: np.ndarray


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
    if not placed:
        return _nothing(grid)
    evidence, yaws = [one.evidence for one in placed], np.array([one.box.yaw for one in placed])
    boxes = _Boxes(
        class_ids=np.array([one.class_id for one in evidence], np.uint8),
        probability=np.array([one.score for one in evidence]),
        centers=transform(np.array([one.box.center for one in placed]), odom_from_base),
        sizes=np.array([one.box.size for one in placed]),
        yaws=yaws + yaw_of(odom_from_base),
        stddev=_stddev_along(rotated_covariance(sight_stddevs(placed), lines_of_sight(placed)), yaws),
    )
    return _occupancy(boxes, grid)


def remembered_occupancy(tracks: Sequence[Track], grid: GridFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for tracks: existence times the probability that the cell's centre is inside the box.

    The box's centre is normally distributed with the covariance of the track.
    """
    if not tracks:
        return _nothing(grid)
    yaws = np.array([one.yaw for one in tracks])
    boxes = _Boxes(
        class_ids=np.array([one.class_id for one in tracks], np.uint8),
        probability=np.array([one.existence for one in tracks]),
        centers=np.array([one.center for one in tracks]),
        sizes=np.array([one.size for one in tracks]),
        yaws=yaws,
        stddev=_stddev_along(np.array([one.cov[:2, :2] for one in tracks]), yaws),
    )
    return _occupancy(boxes, grid)


def _nothing(grid: GridFrame) -> tuple[np.ndarray, np.ndarray]:
    shape = (grid.size, grid.size)
    return np.zeros(shape, np.float32), np.zeros(shape, np.uint8)


def _occupancy(boxes: _Boxes, grid: GridFrame) -> tuple[np.ndarray, np.ndarray]:
    probability, classes = _nothing(grid)
    owner, row, column = _cells(grid, boxes.centers, boxes.sizes)
    along, across = _offsets(grid, row, column, boxes.centers[owner], boxes.yaws[owner])
    half = (boxes.sizes[:, :2] / 2).astype(np.float32)[owner]
    under = (np.abs(along) <= half[:, 0]) & (np.abs(across) <= half[:, 1])
    owner, row, column, along, across, half = (each[under] for each in (owner, row, column, along, across, half))
    spread = np.maximum(boxes.stddev, grid.resolution / 2).astype(np.float32)[owner]
    inside = _between(along, half[:, 0], spread[:, 0]) * _between(across, half[:, 1], spread[:, 1])
    likely = np.minimum(boxes.probability.astype(np.float32)[owner] * inside, np.float32(MAX_PROBABILITY))
    chosen = np.flatnonzero(likely >= MIN_PROBABILITY)[::-1]
    chosen = chosen[np.argsort(likely[chosen], kind="stable")]  # Of two values for a cell the last one stays.
    cells = row[chosen], column[chosen]
    probability[cells] = likely[chosen]
    classes[cells] = boxes.class_ids[owner[chosen]]
    return probability, classes


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
    owner, place = members(rows * columns)
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


def _stddev_along(cov: np.ndarray, yaws: np.ndarray) -> np.ndarray:
    """(K, 2) standard deviations along and across (K,) headings of (K, 2, 2) covariances."""
    cos, sin = np.cos(yaws), np.sin(yaws)
    axes = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    return np.sqrt(np.einsum("kni,kij,knj->kn", axes, cov, axes))


def _between(offset: np.ndarray, half: np.ndarray, stddev: np.ndarray) -> np.ndarray:
    return _normal_cdf((half - offset) / stddev) - _normal_cdf((-half - offset) / stddev)


def _normal_cdf(value: np.ndarray) -> np.ndarray:
    """Logistic approximation of the normal distribution function; off by less than 0.01."""
    return 1.0 / (1.0 + np.exp(-1.702 * np.clip(value, -40.0, 40.0)))

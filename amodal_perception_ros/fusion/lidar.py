"""Which cells a range scan saw free, and which occupied: 2-D ray casting in polar bins, without a loop over rays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class GridFrame:
    """Where a grid lies in odom.

    Attributes:
        cell_x, cell_y: integer index of the grid's first cell in the endless lattice with corner (0, 0).
        size: cells per side.
        resolution: cell size [m].
    """

    cell_x: int
    cell_y: int
    size: int
    resolution: float

    @property
    def origin(self) -> tuple[float, float]:
        """Lower-left corner of cell (0, 0) in odom [m]."""
        return self.cell_x * self.resolution, self.cell_y * self.resolution

    def flat_index(self, points: np.ndarray) -> np.ndarray:
        """Return the (N,) flat cell index of (N, >=2) odom points, -1 outside the grid."""
        columns = np.floor(points[:, 0] / self.resolution).astype(np.int64) - self.cell_x
        rows = np.floor(points[:, 1] / self.resolution).astype(np.int64) - self.cell_y
        inside = (columns >= 0) & (columns < self.size) & (rows >= 0) & (rows < self.size)
        return np.where(inside, rows * self.size + columns, -1)

    def mask(self, points: np.ndarray) -> np.ndarray:
        """Return a (size, size) boolean array of the cells that hold at least one of the (N, >=2) points."""
        hit = np.zeros(self.size * self.size + 1, bool)
        hit[self.flat_index(points)] = True  # -1 lands in the extra last place
        return hit[:-1].reshape(self.size, self.size)

    def offsets(self, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell centres' (size,) offsets along x and along y from an odom point, float32 [m]."""
        steps = np.arange(self.size, dtype=np.float64) + 0.5
        dx = (self.cell_x + steps) * self.resolution - x
        dy = (self.cell_y + steps) * self.resolution - y
        return dx.astype(np.float32), dy.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Scan:
    """Returns of one sensor, ready for casting.

    Attributes:
        origin: (x, y) of the sensor in odom [m].
        points: (N, 2) float64 returns in odom [m].
        obstacle: (N,) bool, the return lies in the obstacle height band.
        reach: (N,) float32 in [0, 1]: share of the ray (from the sensor) that stays below the top of the band.
    """

    origin: tuple[float, float]
    points: np.ndarray
    obstacle: np.ndarray
    reach: np.ndarray


def make_scan(
    points: np.ndarray, sensor: np.ndarray, odom_from_base: np.ndarray, z_min: float, z_max: float
) -> tuple[Scan, np.ndarray]:
    """Prepare (N, 3) base_link returns of a sensor at (3,) base_link for casting.

    The ground is the plane z = 0 (`ground.height_over_ground` makes it so): what lies below `z_min` is ground, an
    obstacle what lies in [z_min, z_max]. A ray that rises above `z_max` proves nothing beyond the point where it does.

    Returns:
        The scan, and the (N, 3) float64 returns in odom.
    """
    z = points[:, 2]
    odom = points.astype(np.float64) @ odom_from_base[:3, :3].T + odom_from_base[:3, 3]
    above = z > z_max
    rise = np.where(above, z - sensor[2], 1.0)
    reach = np.where(above, np.clip((z_max - sensor[2]) / rise, 0.0, 1.0), 1.0).astype(np.float32)
    origin = odom_from_base[:3, :3] @ sensor + odom_from_base[:3, 3]
    return Scan((float(origin[0]), float(origin[1])), odom[:, :2], (z >= z_min) & ~above, reach), odom


class Cells(NamedTuple):
    """What a scan says about the cells of a grid: three (size, size) boolean arrays without common cells.

    Attributes:
        free: rays passed through, in front of the first obstacle.
        occupied: obstacle returns lie inside.
        glimpsed: ground returns lie inside, but behind the first obstacle of their sector: the ground is seen over,
            beside or *under* something, a parked car for example.
    """

    free: np.ndarray
    occupied: np.ndarray
    glimpsed: np.ndarray


def cast(scan: Scan, grid: GridFrame, bins: int) -> Cells:
    """Cast all rays of a scan over a grid.

    In each of `bins` equal sectors around the sensor, space is free up to the first obstacle or, without one, as far
    as any ray of the sector reached. A sector without returns between two sectors with returns takes the shorter of
    their free ranges.
    """
    if len(scan.points) == 0:
        nothing = np.zeros((grid.size, grid.size), bool)
        return Cells(nothing, nothing.copy(), nothing.copy())
    occupied = grid.mask(scan.points[scan.obstacle])
    offset = (scan.points - scan.origin).astype(np.float32)
    limit = _free_range(_sector(offset[:, 0], offset[:, 1], bins), np.hypot(*offset.T), scan, bins)
    dx, dy = grid.offsets(*scan.origin)
    sector = _sector(dx[None, :], dy[:, None], bins)
    free = dx[None, :] ** 2 + dy[:, None] ** 2 < np.square(limit)[sector]
    ground = grid.mask(scan.points[~scan.obstacle & (scan.reach == 1.0)])
    return Cells(free & ~occupied, occupied, ground & ~free & ~occupied)


def _sector(x: np.ndarray, y: np.ndarray, bins: int) -> np.ndarray:
    """Sector number of directions: 0 starts at -pi, counter-clockwise."""
    sector = ((np.arctan2(y, x) + np.float32(np.pi)) * np.float32(bins / (2 * np.pi))).astype(np.int32)
    return np.minimum(sector, bins - 1, out=sector)


def _free_range(sector: np.ndarray, distance: np.ndarray, scan: Scan, bins: int) -> np.ndarray:
    far = np.zeros(bins, np.float32)
    np.maximum.at(far, sector, distance * scan.reach)
    near = np.full(bins, np.inf, np.float32)
    np.minimum.at(near, sector[scan.obstacle], distance[scan.obstacle])
    limit = np.minimum(far, near)
    seen = np.zeros(bins, bool)
    seen[sector] = True
    left, right = np.roll(limit, 1), np.roll(limit, -1)
    between = ~seen & np.roll(seen, 1) & np.roll(seen, -1)
    return np.where(between, np.minimum(left, right), limit)

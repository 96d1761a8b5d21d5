"""Height of LiDAR returns over the local ground, which may slope away from the vehicle's own plane."""

from __future__ import annotations

import numpy as np

_SECTORS, _RINGS, _RING_WIDTH = 72, 80, 1.0
_RISE = 0.08
_FALL = 0.3
_NOISE = 0.15


def height_over_ground(points: np.ndarray, z_min: float) -> np.ndarray:
    """Return the (N,) float32 height of (N, 3) float32 base_link points over the ground below them.

    Only returns within `z_min` of rising ground are lowered to it; what stands on it keeps its height over the
    vehicle's plane, so that tree crowns and bridges do not sink into the obstacle band where a hedge or a wall was
    taken for rising ground.

    The ground starts under the vehicle at z = 0 and is followed outwards ring by ring (1 m) in 72 sectors: it goes to
    the lowest return of each ring, but rises by at most 8 cm from one ring with returns to the next (however
    far, so that the first return from a distant object is not taken for a hill), falls by at most 30 % and may always
    come back to z = 0. Rings without returns keep the last height. A dip of less than 0.15 m counts as level.
    """
    distance = np.hypot(points[:, 0], points[:, 1])
    ring = np.minimum((distance / _RING_WIDTH).astype(np.int32), _RINGS - 1)
    turn = (np.arctan2(points[:, 1], points[:, 0]) + np.float32(np.pi)) * np.float32(_SECTORS / (2 * np.pi))
    cell = ring * _SECTORS + np.minimum(turn.astype(np.int32), _SECTORS - 1)
    lowest = np.full(_RINGS * _SECTORS, np.inf, np.float32)
    np.minimum.at(lowest, cell, points[:, 2])
    ground = _follow(lowest.reshape(_RINGS, _SECTORS)).ravel()[cell]
    height = points[:, 2] - ground
    return np.where(height < z_min, height, points[:, 2] - np.minimum(ground, 0.0))


def _follow(lowest: np.ndarray) -> np.ndarray:
    """Ground height per (ring, sector) from the lowest return of each, infinite where there is none."""
    ground = np.zeros_like(lowest)
    height = np.zeros(_SECTORS, np.float32)
    gap = np.full(_SECTORS, _RING_WIDTH, np.float32)
    for ring, low in enumerate(lowest):
        seen = np.isfinite(low)
        highest = np.maximum(height + _RISE * _RING_WIDTH, np.minimum(low, 0.0))
        height = np.where(seen, np.clip(low, height - _FALL * gap, highest), height)
        gap = np.where(seen, np.float32(_RING_WIDTH), gap + np.float32(_RING_WIDTH))
        ground[ring] = height
    # The lowest of many returns lies below the ground: a dip within the sensor's noise is none.
    return np.where(ground < 0, np.minimum(ground + _NOISE, 0.0), ground)

"""Which lamps matter where: a grid on the ground, so that a pixel is shaded by few of a street's many lamps."""

from __future__ import annotations

import numpy as np

CELLS, CELL = 64, 3.0
"""Cells per side, and their size [m]."""

SLOTS = 8
"""Lamps that light a cell at most."""

MAX_LAMPS = 64
"""Lamps of a frame."""

REACH = 16.0
"""A lamp reaches as far as the root of this times its power [m]."""


def low_corner(center: np.ndarray) -> np.ndarray:
    """Return the (2,) corner [m] of the grid around a position with the smallest x and y."""
    return np.floor(np.asarray(center)[:2] / CELL) * CELL - 0.5 * CELLS * CELL


def lamp_cells(lamps: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the numbers of the lamps that light each cell, the strongest first, -1 where there are no more.

    Args:
        lamps: (m, 8) x, y, z, power, direction, cosine of the half angle, m <= `MAX_LAMPS`.
        center: position in the middle of the grid [m].

    Returns:
        (CELLS, 2 * CELLS, 4) float32, rows along y; slots 0..3 of all cells in the left half, 4..7 in the right one.
    """
    out = np.full((CELLS, CELLS, SLOTS), -1.0, np.float32)
    if len(lamps):
        middle = (np.arange(CELLS) + 0.5) * CELL
        x, y = low_corner(center)[0] + middle, low_corner(center)[1] + middle
        dx, dy = x[None, :, None] - lamps[:, 0], y[:, None, None] - lamps[:, 1]
        gap = np.maximum(np.hypot(dx, dy) - 0.7 * CELL, 0.0)
        flat = np.hypot(lamps[:, 4], lamps[:, 5])
        along = (dx * lamps[:, 4] + dy * lamps[:, 5]) / (np.hypot(dx, dy) * np.maximum(flat, 1e-9) + 1e-9)
        ahead = (along > lamps[:, 7] - 0.2) | (gap < 2 * CELL) | (flat < 0.5)
        strength = np.where(ahead & (gap**2 < REACH * lamps[:, 3]), lamps[:, 3] / (gap**2 + 9.0), 0.0)
        order = np.argsort(-strength, axis=2, kind="stable")[..., :SLOTS]
        lit = np.take_along_axis(strength, order, 2) > 0
        out[..., : order.shape[2]] = np.where(lit, order, -1)
    return np.concatenate([out[..., :4], out[..., 4:]], 1)

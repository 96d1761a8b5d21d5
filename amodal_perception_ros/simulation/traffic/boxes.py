"""Oriented rectangles on the ground: rows x, y, yaw, length, width [m, rad]."""

from __future__ import annotations

import numpy as np


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return whether rectangles (..., 5) overlap: no axis of either separates them (separating axis theorem)."""
    a, b = np.broadcast_arrays(a, b)
    apart = b[..., :2] - a[..., :2]
    out = np.ones(a.shape[:-1], bool)
    for yaw in (a[..., 2], a[..., 2] + np.pi / 2, b[..., 2], b[..., 2] + np.pi / 2):
        distance = np.abs(apart[..., 0] * np.cos(yaw) + apart[..., 1] * np.sin(yaw))
        out &= distance < _half(a, yaw) + _half(b, yaw)
    return out


def _half(box: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Half the extent of rectangles along a direction."""
    turn = yaw - box[..., 2]
    return 0.5 * (np.abs(np.cos(turn)) * box[..., 3] + np.abs(np.sin(turn)) * box[..., 4])


def widened(boxes: np.ndarray, length: float, width: float) -> np.ndarray:
    """Return rectangles (..., 5) that are longer and wider [m] around the same middle."""
    return boxes + np.array([0.0, 0.0, 0.0, length, width])


def overlapping_pairs(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (m, 2) index pairs (i, j) of overlapping rectangles of two sets (n, 5), (k, 5)."""
    radius = 0.5 * np.hypot(boxes[:, 3], boxes[:, 4])
    reach = radius[:, None] + 0.5 * np.hypot(others[:, 3], others[:, 4])[None]
    apart = boxes[:, None, :2] - others[None, :, :2]
    pairs = np.argwhere((apart**2).sum(-1) < reach**2)
    return pairs[overlap(boxes[pairs[:, 0]], others[pairs[:, 1]])]


def outline(box: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Return (..., 8, 2) corners and middles of the sides of rectangles (..., 5) widened by a margin [m]."""
    unit = np.array([(1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0)], float)
    local = unit * (0.5 * box[..., None, 3:5] + margin)
    c, s = np.cos(box[..., 2, None]), np.sin(box[..., 2, None])
    turned = np.stack([c * local[..., 0] - s * local[..., 1], s * local[..., 0] + c * local[..., 1]], -1)
    return turned + box[..., None, :2]

"""The rolling memory behind the BEV grid: log-odds that move with the vehicle and fade to unknown."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.fusion.lidar import GridFrame

LIMIT = 4.0
"""Log-odds are kept within +-LIMIT, so that one frame or two can change a cell's mind (p = 0.982)."""

FORGOTTEN = 0.2
"""Log-odds nearer to zero are unknown again (p between 0.45 and 0.55)."""


class RollingGrid:
    """Occupancy memory of a square around the vehicle, axis-aligned in odom, snapped to the resolution.

    Attributes:
        frame: where the grid lies now; None before the first `move_to`.
        seen: (size, size) float32 log-odds of occupancy from what was seen, 0 unknown.
        inferred: (size, size) float32 log-odds from hidden parts of objects, 0 where nothing was inferred.
        semantic: (size, size) uint8 class id, 0 unknown.
    """

    def __init__(self, size: int, resolution: float) -> None:
        self._size = size
        self._resolution = resolution
        self.frame: GridFrame | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        shape = (self._size, self._size)
        self.seen = np.zeros(shape, np.float32)
        self.inferred = np.zeros(shape, np.float32)
        self.semantic = np.zeros(shape, np.uint8)

    def move_to(self, x: float, y: float) -> GridFrame:
        """Centre the grid on the cell corner nearest to an odom position [m]; cells that leave it are forgotten."""
        half = self._size // 2
        # The nudge keeps a position half-way between two corners from flipping by rounding.
        cell_x = int(np.floor(x / self._resolution + 0.5 + 1e-6)) - half
        cell_y = int(np.floor(y / self._resolution + 0.5 + 1e-6)) - half
        if self.frame is not None:
            rows, columns = cell_y - self.frame.cell_y, cell_x - self.frame.cell_x
            self.seen = _shifted(self.seen, rows, columns)
            self.inferred = _shifted(self.inferred, rows, columns)
            self.semantic = _shifted(self.semantic, rows, columns)
        self.frame = GridFrame(cell_x, cell_y, self._size, self._resolution)
        return self.frame

    def fade(self, elapsed_s: float, seen_s: float, inferred_s: float) -> None:
        """Let the log-odds decay exponentially with the given time constants [s]."""
        self.seen *= np.float32(np.exp(-elapsed_s / seen_s))
        self.inferred *= np.float32(np.exp(-elapsed_s / inferred_s))
        self.seen[np.abs(self.seen) < FORGOTTEN] = 0.0
        self.inferred[self.inferred < FORGOTTEN] = 0.0

    def observe(self, free: np.ndarray, occupied: np.ndarray, weight: float) -> None:
        """Add log-odds -weight to free and +weight to occupied cells; an observed cell is no longer inferred.

        An obstacle counts at once, however long its cell was free: the negative log-odds are dropped first.
        """
        self.seen[free] = np.maximum(self.seen[free] - weight, -LIMIT)
        self.seen[occupied] = np.minimum(np.maximum(self.seen[occupied], 0.0) + weight, LIMIT)
        self.inferred[free | occupied] = 0.0


def _shifted(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The array seen from an origin moved by whole cells; cells from outside are 0."""
    if rows == 0 and columns == 0:
        return array
    out = np.zeros_like(array)
    size = array.shape[0]
    if abs(rows) < size and abs(columns) < size:
        out[max(0, -rows) : size - max(0, rows), max(0, -columns) : size - max(0, columns)] = array[
            max(0, rows) : size - max(0, -rows), max(0, columns) : size - max(0, -columns)
        ]
    return out


def percent(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Turn log-odds into int8 occupancy 0..100 % where known, -1 elsewhere."""
    out = np.full(values.shape, -1, np.int8)
    out[known] = np.rint(100.0 / (1.0 + np.exp(-values[known]))).astype(np.int8)
    return out

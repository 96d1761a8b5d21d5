"""Where people can be: free of static obstacles and of each other, and smooth ways along a strip around what stands."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from amodal_perception_ros.simulation.town.ways import Path

PERSONAL = 0.62
"""Least distance between people who do not belong together, centre to centre [m]."""

STATIC = 0.42
"""Least distance of a walker's centre from an obstacle's outline [m]; who stands may come as near as `NARROW`."""

NARROW = 0.26

_STEP, _BIN = 0.5, 0.15


@dataclass(eq=False)
class Track:
    """Where somebody is at every time.

    Attributes:
        positions: (times, 2) [m] in odom.
        yaw: (times,) [rad].
        walked: (times,) way walked so far [m].
        moving: (times,) bool.
    """

    positions: np.ndarray
    yaw: np.ndarray
    walked: np.ndarray
    moving: np.ndarray

    @staticmethod
    def standing(position: np.ndarray, yaw: float, count: int) -> Track:
        """Return the track of somebody who stays."""
        still = np.zeros(count)
        return Track(np.tile(np.asarray(position, float), (count, 1)), still + yaw, still, still > 0)

    @staticmethod
    def along(points: np.ndarray, walked: np.ndarray) -> Track:
        """Return the track of somebody who has walked (times,) [m] along a polyline (n, 2)."""
        path = Path(points)
        walked = np.clip(walked, 0, path.length)
        ahead = path.at(np.minimum(walked + 0.3, path.length)) - path.at(np.maximum(walked - 0.3, 0))
        moving = np.zeros(len(walked), bool)
        moving[:-1] = np.diff(walked) > 1e-6
        return Track(path.at(walked), np.arctan2(ahead[:, 1], ahead[:, 0]), walked, moving)

    def beside(self, aside: float, ahead: float) -> Track:
        """Return the track of a companion `aside` [m] to the left and `ahead` of this one."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        offset = np.stack([ahead * c - aside * s, ahead * s + aside * c], 1)
        return Track(self.positions + offset, self.yaw, self.walked, self.moving)


@dataclass(eq=False)
class Walkable:
    """Static obstacles and the tracks of those who are placed already.

    Args:
        outlines: convex polygons (n, 2) in odom [m], in either sense of rotation.
    """

    outlines: list[np.ndarray]
    tracks: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._low = np.array([o.min(0) for o in self.outlines]).reshape(-1, 2)
        self._high = np.array([o.max(0) for o in self.outlines]).reshape(-1, 2)

    def clearance(self, points: np.ndarray) -> np.ndarray:
        """Return the distance [m] of (..., 2) positions from the nearest outline, negative inside, at most 1.

        Beside a corner it is a lower bound.
        """
        flat = np.asarray(points, float).reshape(-1, 2)
        out = np.ones(len(flat))
        near = ((self._high > flat.min(0) - 1) & (self._low < flat.max(0) + 1)).all(1)
        for k in np.flatnonzero(near):
            corners = self.outlines[k]
            step = np.roll(corners, -1, 0) - corners
            normal = np.stack([step[:, 1], -step[:, 0]], 1) / np.hypot(*step.T)[:, None]
            normal *= -np.sign(((corners.mean(0) - corners) * normal).sum(1))[:, None]
            out = np.minimum(out, ((flat[:, None] - corners) * normal).sum(-1).max(1))
        return out.reshape(np.shape(points)[:-1])

    def is_free(self, track: Track, static: float = STATIC, personal: float = PERSONAL) -> bool:
        """Whether a track keeps its distances from obstacles and from everybody placed so far."""
        if self.tracks:
            away = np.stack(self.tracks) - track.positions
            if (away**2).sum(-1).min() < personal**2:
                return False
        return bool(self.clearance(track.positions).min() >= static)

    def place(self, track: Track) -> None:
        """Keep others away from this track."""
        self.tracks.append(track.positions)

    def way(self, path: Path, start: float, end: float, wish: float, half: float) -> np.ndarray | None:
        """Return a polyline along a strip from arc length `start` to `end`, around everything that stands.

        Args:
            path: middle line of the strip.
            start: arc length [m].
            end: arc length [m], larger or smaller.
            wish: preferred place to the left of the path [m].
            half: the strip reaches this far to both sides [m].

        Returns:
            (n, 2) points, or None where there is no way through. The least sum of squared deviations from the wish
            and squared lateral steps, by dynamic programming over a grid.
        """
        count = max(4, int(abs(end - start) / _STEP))
        s, bins = np.linspace(start, end, count), np.arange(-half, half + 1e-6, _BIN)
        grid = path.at(s[:, None], np.broadcast_to(bins, (count, len(bins))))
        standing = [t[0] for t in self.tracks if np.ptp(t, axis=0).max() < 0.05]
        room = self.clearance(grid)
        if standing:
            away = np.linalg.norm(grid[:, :, None] - np.array(standing), axis=-1).min(-1)
            room = np.minimum(room, away - PERSONAL - 0.1 + STATIC)
        cost = 0.15 * (bins - wish) ** 2 + np.where(room < STATIC + 0.06, 1e6, 0.02 / np.maximum(room, 0.05))
        lateral = _cheapest(cost)
        if lateral is None:
            return None
        t = bins[lateral]
        kernel = np.array([1, 2, 3, 4, 3, 2, 1]) / 16
        smooth = np.convolve(np.pad(t, 3, mode="edge"), kernel, "valid")
        return path.at(s, smooth)


def _cheapest(cost: np.ndarray) -> np.ndarray | None:
    """Return the column per row of the cheapest way down a (rows, columns) grid; None if it is blocked (1e6)."""
    rows, columns = cost.shape
    total, back = cost[0], np.zeros((rows, columns), np.int64)
    shifts = np.arange(-2, 3)
    for k in range(1, rows):
        padded = np.pad(total, 2, constant_values=1e9)
        options = np.stack([padded[2 + d : 2 + d + columns] + 0.05 * d * d for d in shifts])
        best = options.argmin(0)
        total, back[k] = cost[k] + options[best, np.arange(columns)], np.arange(columns) + shifts[best]
    column = int(total.argmin())
    if total[column] >= 1e6:
        return None
    out = [column]
    for k in range(rows - 1, 0, -1):
        out.append(int(back[k, out[-1]]))
    return np.array(out[::-1])

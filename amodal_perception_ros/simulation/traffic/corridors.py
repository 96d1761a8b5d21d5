"""The routes of a town as corridors: smooth centre lines with speed limits, and where each lies along the others."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from amodal_perception_ros.simulation.town.ways import Route

STEP = 0.5
"""Distance between samples of a centre line [m], about: each route has a whole number of steps."""

BEYOND = 40
"""Samples by which an open route is continued straight on before its start and behind its end."""

REACH = 7.0
"""Positions farther than this from a centre line have no place along it [m]."""

SIDEWAYS, COMFORT = 2.0, 1.3
"""Comfortable acceleration in bends, and deceleration before them [m/s^2]."""


class Corridors:
    """All routes, sampled alike so that many vehicles on many routes are computed at once.

    Arrays have one row per route; sample k lies at arc length `(k - lead) * step`. Arc lengths on closed routes
    count modulo the length.

    Attributes:
        routes: the routes.
        length, step, lead, count, closed: (R,) of each route [m, m, samples, samples, bool].
        points: (R, K, 2) smoothed centre line in odom [m]; rows are filled up with their last sample.
        heading: (R, K) direction [rad].
        curvature: (R, K) without sign [1/m].
        limit: (R, K) speed limit, lowered in bends and before them [m/s].
        along, aside, turn: (R, R, K) `[b, a, k]`: arc length and left offset on route b of sample k of route a, and
            its heading relative to b's there [m, m, rad]; `along` is inf farther than `REACH` from b.
    """

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self.length = np.array([route.path.length for route in routes])
        self.closed = np.array([route.closed for route in routes])
        steps = np.maximum(4, np.round(self.length / STEP)).astype(np.int64)
        self.step = self.length / steps
        self.lead = np.where(self.closed, 0, BEYOND)
        self.count = np.where(self.closed, steps, steps + 1 + 2 * BEYOND)
        lines = [self._line(k) for k in range(len(routes))]
        longest = int(self.count.max())
        self.points = np.stack([np.pad(line, ((0, longest - len(line)), (0, 0)), mode="edge") for line in lines])
        self.heading = np.zeros(self.points.shape[:2])
        self.curvature, self.limit = np.zeros((2, *self.points.shape[:2]))
        for k, line in enumerate(lines):
            ahead = np.roll(line, -1, 0) - np.roll(line, 1, 0)
            if not self.closed[k]:
                ahead[0], ahead[-1] = line[1] - line[0], line[-1] - line[-2]
            self.heading[k, : len(line)] = np.arctan2(ahead[:, 1], ahead[:, 0])
            self.curvature[k, : len(line)] = self._bend(k)
            self.limit[k, : len(line)] = self._limits(k)
        self.along, self.aside, self.turn = self._cross(lines)

    def _line(self, k: int) -> np.ndarray:
        """Return the samples of a route, smoothed over a metre and continued beyond its ends."""
        route = self.routes[k]
        s = (np.arange(self.count[k]) - self.lead[k]) * self.step[k]
        points = route.path.at(s % self.length[k] if route.closed else s)
        if not route.closed:
            beyond = s - np.clip(s, 0, self.length[k])
            heading = route.path.heading(np.clip(s, 0, self.length[k]))
            points = points + beyond[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        return gaussian_filter1d(points, 2.0, axis=0, mode="wrap" if route.closed else "nearest", truncate=3)

    def _bend(self, k: int) -> np.ndarray:
        """Curvature along a route, over 8 samples."""
        heading = np.unwrap(self.heading[k, : self.count[k]])
        if self.closed[k]:
            turned = 2 * np.pi * np.round((heading[-1] - heading[0]) / (2 * np.pi))
            heading = np.concatenate([heading[-4:] - turned, heading, heading[:4] + turned])
        else:
            heading = np.pad(heading, 4, mode="edge")
        return np.abs(heading[8:] - heading[:-8]) / (8 * self.step[k])

    def _limits(self, k: int) -> np.ndarray:
        """Speed limits along a route: the signed one, that of the bend, and what brakes in time before one."""
        count, step = int(self.count[k]), float(self.step[k])
        limit = np.minimum(self.routes[k].speed, np.sqrt(SIDEWAYS / np.maximum(self.curvature[k, :count], 1e-6)))
        for _ in range(2 if self.closed[k] else 1):
            for i in range(count - 1 if self.closed[k] else count - 2, -1, -1):
                limit[i] = min(limit[i], np.sqrt(limit[(i + 1) % count] ** 2 + 2 * COMFORT * step))
        return limit

    def _cross(self, lines: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        routes, longest = self.points.shape[:2]
        along = np.full((routes, routes, longest), np.inf, np.float32)
        aside, turn = np.zeros_like(along), np.zeros_like(along)
        every = np.concatenate(lines)
        heading = np.concatenate([self.heading[k, : len(line)] for k, line in enumerate(lines)])
        owner = np.repeat(np.arange(routes), self.count)
        sample = np.concatenate([np.arange(n) for n in self.count])
        for b, line in enumerate(lines):
            low, high = line.min(0) - REACH, line.max(0) + REACH
            near = np.flatnonzero(((every > low) & (every < high)).all(1))
            distance, k = cKDTree(line).query(every[near], distance_upper_bound=REACH)
            near, k = near[np.isfinite(distance)], k[np.isfinite(distance)]
            away, forward = every[near] - line[k], self.heading[b, k]
            c, s = np.cos(forward), np.sin(forward)
            place = (b, owner[near], sample[near])
            along[place] = (k - self.lead[b]) * self.step[b] + away[:, 0] * c + away[:, 1] * s
            aside[place] = c * away[:, 1] - s * away[:, 0]
            turn[place] = heading[near] - forward
            along[b, b, : len(line)] = (np.arange(len(line)) - self.lead[b]) * self.step[b]
            aside[b, b], turn[b, b] = 0, 0
        return along, aside, turn

    def sample(self, route: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Return the index of the sample nearest to arc lengths on routes (equal shapes)."""
        k = np.round(s / self.step[route]).astype(np.int64) + self.lead[route]
        return np.where(self.closed[route], k % self.count[route], np.clip(k, 0, self.count[route] - 1))

    def at(self, route: np.ndarray, s: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return (..., 2) positions at arc length s, `offset` to the left of the centre line."""
        u = s / self.step[route] + self.lead[route]
        count = self.count[route]
        u = np.where(self.closed[route], u % count, np.clip(u, 0, count - 1.001))
        k = np.floor(u).astype(np.int64) % count
        share, after = (u - k)[..., None], (k + 1) % count
        a, b = self.points[route, k], self.points[route, after]
        c = np.stack([np.cos(self.heading[route, k]), np.sin(self.heading[route, k])], -1)
        d = np.stack([np.cos(self.heading[route, after]), np.sin(self.heading[route, after])], -1)
        forward = (1 - share) * c + share * d
        left = np.stack([-forward[..., 1], forward[..., 0]], -1)
        return (1 - share) * a + share * b + offset[..., None] * left

    def ahead(self, route: np.ndarray, s: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return how far `target` lies ahead of s on a route; on a ring between -25 m and the length - 25 m."""
        way = target - s
        behind = np.minimum(25.0, 0.4 * self.length[route])
        with np.errstate(invalid="ignore"):
            return np.where(self.closed[route], (way + behind) % self.length[route] - behind, way)

"""Moves all vehicles through a step of time: what each sees, who may go, and that no two ever touch."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from amodal_perception_ros.simulation.traffic.boxes import overlap, overlapping_pairs, widened
from amodal_perception_ros.simulation.traffic.corridors import Corridors
from amodal_perception_ros.simulation.traffic.drivers import STANDSTILL, Drivers, View, accelerate, brake, look
from amodal_perception_ros.simulation.traffic.right_of_way import RightOfWay

FORESIGHT = np.arange(0.0, 4.1, 0.25)
"""Drivers foresee for these times where people on the carriageway will be [s]."""

_BODY, _MARGIN = 0.4, 1.0
_CLEARANCE = 0.1

_SIDEWAYS, _SIDEWAYS_SHARE = 0.6, 0.12
"""Fastest change of the place in the lane [m/s], and its largest share of the speed."""

_LANE_EDGE = 0.1


class People:
    """Where people come onto the corridors, by route.

    Args:
        corridors: the routes.
        positions: (p, rows, 2) of every person over time [m].
        rate_hz: rows per second; the first is at time 0.
    """

    def __init__(self, corridors: Corridors, positions: np.ndarray, rate_hz: float) -> None:
        lines = [corridors.points[k, :n] for k, n in enumerate(corridors.count)]
        positions = positions.reshape(-1, positions.shape[1], 2) if positions.size else np.zeros((0, 1, 2))
        close = cKDTree(np.concatenate(lines)).query(positions, distance_upper_bound=2.5)[0]
        positions = positions[np.isfinite(close).any(1)]
        self.rate_hz, self.rows = rate_hz, positions.shape[1]
        self.along = np.full((len(lines), *positions.shape[:2]), np.inf)
        self.aside = np.full(self.along.shape, np.inf)
        for k, line in enumerate(lines):
            distance, near = cKDTree(line).query(positions, distance_upper_bound=4.0)
            found = np.isfinite(distance)
            away, heading = positions[found] - line[near[found]], corridors.heading[k, near[found]]
            c, s = np.cos(heading), np.sin(heading)
            start = (near[found] - corridors.lead[k]) * corridors.step[k]
            self.along[k][found] = start + c * away[:, 0] + s * away[:, 1]
            self.aside[k][found] = c * away[:, 1] - s * away[:, 0]

    def gaps(self, corridors: Corridors, drivers: Drivers, time: float) -> np.ndarray:
        """Return (n, m) free ways to people who are, or will be, in the way when the driver gets there [m]."""
        rows = np.clip(np.round((time + FORESIGHT) * self.rate_hz), 0, self.rows - 1).astype(np.int64)
        along = self.along[drivers.route][:, :, rows].reshape(len(drivers.s), -1)
        aside = self.aside[drivers.route][:, :, rows].reshape(len(drivers.s), -1)
        when = np.tile(FORESIGHT, self.along.shape[1])
        gap = corridors.ahead(drivers.route[:, None], drivers.s[:, None], along) - drivers.length[:, None] / 2 - _BODY
        inside = np.abs(aside - drivers.offset[:, None]) < drivers.width[:, None] / 2 + _BODY
        speed = np.maximum(drivers.speed[:, None], 1.0)
        passed = gap + drivers.length[:, None] + 1.0 < speed * (when - _MARGIN)
        reached = gap < np.maximum(speed * (when + _MARGIN), 3.0)
        return np.where(inside & (gap > -1.0) & reached & ~passed, gap, np.inf)


class Driving:
    """The vehicles of a town in motion. They pass bicycles that keep right where their own lane is wide enough.

    Attributes:
        corridors, drivers, right_of_way: see the classes.
    """

    def __init__(self, corridors: Corridors, drivers: Drivers, right_of_way: RightOfWay) -> None:
        self.corridors, self.drivers, self.right_of_way = corridors, drivers, right_of_way
        self._home = drivers.offset.copy()
        self._lane_width = np.array([route.width for route in corridors.routes])

    def step(self, time: float, dt: float, people: People | None, ends: np.ndarray) -> None:
        """Move everybody from `time` to `time + dt` [s].

        `people` are those on the carriageway; `ends` is the (n,) way from every driver's front to where his road
        ends for him, inf where he may leave [m].
        """
        d, n = self.drivers, len(self.drivers.s)
        view = look(self.corridors, d)
        halt = np.minimum(self.right_of_way.halts(d, view, time), ends)[:, None]
        gap = np.concatenate([view.gap, halt + STANDSTILL - 0.2], 1)
        leader = np.concatenate([view.speed, np.zeros((n, 1))], 1)
        limit = self.corridors.limit[d.route, self.corridors.sample(d.route, d.s)]
        wished = np.minimum(d.desired, limit)
        acceleration = accelerate(d.speed, wished, gap, leader)
        if people is not None:
            way = people.gaps(self.corridors, d, time).min(1, initial=np.inf)
            acceleration = np.minimum(acceleration, brake(d.speed, way - 1.0))
        speed = np.where(d.present, np.maximum(0.0, d.speed + acceleration * dt), 0.0)
        self._move(d.s + 0.5 * (d.speed + speed) * dt, speed, self._offset(view, dt))

    def _offset(self, view: View, dt: float) -> np.ndarray:
        """Return the (n,) places in the lane after a step: to the left beside two-wheelers, else at home [m]."""
        d = self.drivers
        most = (self._lane_width[d.route] - d.width) / 2 - d.sway - _LANE_EDGE
        target = np.where(view.passing < most, np.maximum(self._home, view.passing), self._home)
        reach = np.minimum(_SIDEWAYS, _SIDEWAYS_SHARE * d.speed) * dt
        return d.offset + np.clip(target - d.offset, -reach, reach)

    def _move(self, s: np.ndarray, speed: np.ndarray, offset: np.ndarray) -> None:
        """Take the new places, but leave where he is whoever would touch another one: it is the one behind."""
        d, here = self.drivers, np.flatnonzero(self.drivers.present)
        before = widened(d.boxes(self.corridors)[here], _CLEARANCE, _CLEARANCE)
        was, d.offset = d.offset, offset
        after = widened(d.boxes(self.corridors, s)[here], _CLEARANCE, _CLEARANCE)
        stays = np.zeros(len(here), bool)
        for _ in range(len(here)):
            boxes = np.where(stays[:, None], before, after)
            pairs = overlapping_pairs(boxes, boxes)
            pairs = pairs[(pairs[:, 0] < pairs[:, 1]) & ~stays[pairs].all(1)]
            if not len(pairs):
                break
            for i, j in pairs:
                behind, other = (i, j) if _ahead(boxes[i], boxes[j]) >= _ahead(boxes[j], boxes[i]) else (j, i)
                stays[other] |= stays[behind] or overlap(before[behind], boxes[other])
                stays[behind] = True
        keep = here[stays]
        s[keep], speed[keep], d.offset[keep] = d.s[keep], 0.0, was[keep]
        d.s, d.speed = s, speed


def _ahead(box: np.ndarray, other: np.ndarray) -> float:
    """Cosine of the bearing of the other one's middle."""
    way = other[:2] - box[:2]
    return float((way[0] * np.cos(box[2]) + way[1] * np.sin(box[2])) / max(np.hypot(*way), 1e-9))

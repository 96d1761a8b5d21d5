"""How vehicles leave the town at the end of their routes, and come in again, out of the ego vehicle's sight."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.traffic.boxes import overlap, widened
from amodal_perception_ros.simulation.traffic.driving import Driving, People
from amodal_perception_ros.simulation.traffic.lineup import Vehicle, kinds
from amodal_perception_ros.simulation.traffic.things import REACH

SIGHT = REACH + 2.0
"""Nobody vanishes or appears nearer to the ego vehicle than this, a little more than things are drawn [m]."""

BEHIND_END = 16.0
"""So far a vehicle drives on straight behind the end of its route until it is out of sight [m]."""

_ENTRY = 2.0


class Departures:
    """Traffic that flows: who is behind the end of his route leaves, and comes in at the start of some route later.

    Both happen only where the ego vehicle is farther away than `SIGHT`, and who was nearer at a row stays until the
    next one: what is seen at a row has a motion to the next. The end of a route that the ego vehicle is close to, and
    the end of its own route, are places to stop at.
    """

    def __init__(self, driving: Driving, vehicles: list[Vehicle], rng: np.random.Generator) -> None:
        self.driving, self.vehicles, self.rng = driving, vehicles, rng
        corridors = driving.corridors
        every = np.arange(len(corridors.routes))
        self._starts = corridors.at(every, np.zeros(len(every)), np.zeros(len(every)))
        self._ends = corridors.at(every, corridors.length, np.zeros(len(every)))
        self._kinds = [kinds(corridors, k) for k in range(len(every))]
        self._density = np.array([0.0 if route.closed else route.density for route in corridors.routes])
        self.note()

    def note(self) -> None:
        """Remember a row: who was in sight there does not leave, who was present comes in again later."""
        places = self.driving.drivers.boxes(self.driving.corridors)[:, :2]
        self._noted = places[0]
        self._seen = self._distance(places) <= SIGHT
        self._outside = ~self.driving.drivers.present

    def step(self, time: float, dt: float, people: People | None) -> None:
        """Move everybody from `time` to `time + dt` [s]."""
        corridors, d = self.driving.corridors, self.driving.drivers
        way = corridors.length[d.route] - d.s - d.length / 2
        distance = self._distance(self._ends)[d.route]
        way = np.where(distance > SIGHT - BEHIND_END, way + BEHIND_END, way)
        free = corridors.closed[d.route] | ((distance > SIGHT + BEHIND_END) & ~self._seen)
        free[0] = corridors.closed[d.route[0]]
        self.driving.step(time, dt, people, np.where(free, np.inf, way))
        hidden = self._distance(d.boxes(corridors)[:, :2]) > SIGHT
        gone = (d.s > corridors.length[d.route]) & ~corridors.closed[d.route] & hidden & ~self._seen & d.present
        d.present &= ~gone
        d.speed[gone] = 0
        for i in np.flatnonzero(~d.present & self._outside):
            if self.rng.random() < dt / _ENTRY:
                self._enter(int(i))

    def _distance(self, points: np.ndarray) -> np.ndarray:
        """(n,) distance of places (n, 2) from where the ego vehicle is, or was at the last row if that is less."""
        ego = self.driving.drivers.boxes(self.driving.corridors)[0, :2]
        return np.minimum(np.hypot(*(points - ego).T), np.hypot(*(points - self._noted).T))

    def _enter(self, i: int) -> None:
        """Let a vehicle in at the start of a route, when there is one for it with room."""
        d, kind = self.driving.drivers, self.vehicles[i].kind
        allowed = np.array([kind in own for own in self._kinds]) & (self._distance(self._starts) > SIGHT)
        weight = np.where(allowed, self._density, 0.0)
        if not weight.sum() > 0:
            return
        d.route[i] = self.rng.choice(len(weight), p=weight / weight.sum())
        d.s[i] = 0.5 * d.length[i]
        boxes = d.boxes(self.driving.corridors)
        room = widened(boxes[i], 2 * (6.0 + d.desired[i]), 0.3)
        if not overlap(room, boxes[d.present]).any():
            d.present[i], d.speed[i] = True, 0.7 * min(d.desired[i], self.driving.corridors.limit[d.route[i], 0])

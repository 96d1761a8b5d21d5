"""Vehicles on the routes at the beginning, and how they leave the town and come in again out of the ego's sight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.boxes import overlap, widened
from amodal_perception_ros.simulation.corridors import Corridors
from amodal_perception_ros.simulation.drivers import BRAKING, Drivers
from amodal_perception_ros.simulation.driving import Driving, People
from amodal_perception_ros.simulation.right_of_way import RightOfWay
from amodal_perception_ros.simulation.things import Population, Thing

EGO_LENGTH, EGO_WIDTH = 4.6, 1.9

WARM_UP = 6.0
"""Traffic flows for this time before the first frame, so that queues and crossings are filled as usual [s]."""

SIGHT = 88.0
"""Routes start and end for others where the ego vehicle is farther away than this, more than things are drawn [m]."""

_WHEELBASE = {"car": 0.6, "truck": 0.6, "bus": 0.55, "motorcycle": 0.65, "bike": 0.55}
_ENTRY = 2.0


@dataclass(frozen=True, eq=False)
class Vehicle:
    """What moves together with a driver: `kind` and its things (a rider and what he rides; none for the ego)."""

    kind: str
    things: tuple[Thing, ...]


def draw_vehicles(
    population: Population, corridors: Corridors, right_of_way: RightOfWay
) -> tuple[list[Vehicle], Drivers]:
    """Put the ego vehicle (first) and others on the routes, none in a crossing and none close to another."""
    draw = _Draw(population, corridors, right_of_way)
    draw.ego()
    spacing = population.draw("traffic.spacing") / max(population.config.traffic, 1e-3)
    for k in range(len(corridors.routes)):
        draw.fill(k, spacing)
    return draw.vehicles, Drivers.collect(draw.rows)


def kinds(corridors: Corridors, route: int) -> list[str]:
    """Return the kinds of vehicles that may use a route."""
    own = corridors.routes[route]
    if own.bicycles:
        return ["bike"]
    wide = ["truck", "bus"] if own.width >= 2.9 else []
    lanes = any(other.bicycles for other in corridors.routes)
    return ["car", "motorcycle", *wide, *([] if lanes else ["bike"])]


class _Draw:
    """Draws vehicles one after the other, each with room between those before."""

    def __init__(self, population: Population, corridors: Corridors, right_of_way: RightOfWay) -> None:
        self.population, self.corridors, self.right_of_way = population, corridors, right_of_way
        self.vehicles: list[Vehicle] = []
        self.rows: list[dict[str, float]] = []
        self.boxes = np.zeros((0, 5))

    def ego(self) -> None:
        population, rng = self.population, self.population.rng
        stands = population.draw("traffic.ego_stands")
        desired = 0.0 if stands else population.draw("traffic.ego_speed")
        routes = population.town.ways.ego_routes
        for _ in range(20):
            route = int(routes[rng.integers(len(routes))])
            share = 1.0 if self.corridors.closed[route] or stands else 0.15
            s = float(rng.uniform(0, share) * self.corridors.length[route]) + 0.5 * EGO_LENGTH
            waits = self._red_ahead(route, s, desired) and not population.draw("traffic.ego_meets_red")
            if not waits and not self.right_of_way.in_block(route, s, EGO_LENGTH):
                break
        row = self._row(route, s, desired, EGO_LENGTH, EGO_WIDTH, 0.6 * EGO_LENGTH)
        row["sway"] = population.draw("traffic.ego_sway")
        self._accept(row, Vehicle("ego", ()))

    def _red_ahead(self, route: int, s: float, speed: float) -> bool:
        """Whether the ego vehicle at s would come to its first signal before or while it is red."""
        signals = self.population.town.ways.signals
        for stop in self.corridors.routes[route].stops:
            if stop.signal is not None and stop.s > s:
                arrival = (stop.s - s) / max(0.8 * speed, 0.1) - WARM_UP
                return signals[stop.signal].state(arrival) != "green"
        return False

    def fill(self, route: int, spacing: float) -> None:
        """Put vehicles on a route from its start to its end."""
        population, rng, own = self.population, self.population.rng, self.corridors.routes[route]
        mean = spacing * (2.0 if own.bicycles else 1.0) / max(own.density, 1e-3)
        s = float(rng.exponential(mean))
        while s < self.corridors.length[route] - 5:
            kind = population.distributions.choose(rng, "traffic.kind", kinds(self.corridors, route))
            group = population.draw("traffic.bike_group") if kind == "bike" else 1
            for _ in range(int(group)):
                s += self._put(route, s, kind) + float(rng.uniform(0.8, 2.0))
            s += float(rng.exponential(mean))

    def _put(self, route: int, s: float, kind: str) -> float:
        """Try to put a vehicle behind arc length s; return its length."""
        population = self.population
        class_models = population.fleet.pick(population.rng, kind)
        size = np.max([models[0].high - models[0].low for _, models, _ in class_models[:1]], 0)
        length, width = float(size[0]), float(size[1])
        row = self._row(route, s + length / 2, self._speed(route, kind), length, width, _WHEELBASE[kind] * length)
        if kind == "bike":
            row["offset"] = self._aside(route, width)
        fits = s + length < self.corridors.length[route] and not self.right_of_way.in_block(route, s, length)
        if fits and self._room(row):
            things = [population.add(class_id, models, palette) for class_id, models, palette in class_models]
            if all(thing is not None for thing in things):
                self._accept(row, Vehicle(kind, tuple(thing for thing in things if thing is not None)))
        return length

    def _speed(self, route: int, kind: str) -> float:
        if kind == "bike":
            return self.population.draw("traffic.bike_speed")
        return self.corridors.routes[route].speed * self.population.draw("traffic.speed")

    def _aside(self, route: int, width: float) -> float:
        """Bicycles keep right in a lane of cars, and anywhere in their own."""
        own, rng = self.corridors.routes[route], self.population.rng
        if own.bicycles:
            return float(rng.uniform(-1, 1)) * max(0.0, (own.width - width) / 2 - 0.25)
        return -(own.width / 2 - 0.6 - float(rng.uniform(0, 0.3)))

    def _row(self, route: int, s: float, desired: float, length: float, width: float, wheelbase: float
             ) -> dict[str, float]:  # fmt: skip
        rng = self.population.rng
        way = max(0.0, self.right_of_way.next_line(route, s) - length / 2 - 1.0)
        spare = max(0.0, (self.corridors.routes[route].width - width) / 2 - 0.2)
        return {
            "route": route, "s": s, "speed": min(0.7 * desired, np.sqrt(2 * BRAKING * way)), "desired": desired,
            "length": length, "width": width,
            "wheelbase": wheelbase, "offset": float(np.clip(rng.normal(0, 0.1), -0.6 * spare, 0.6 * spare)),
            "sway": min(0.06, 0.4 * spare), "phase": float(rng.uniform(0, 2 * np.pi)), "present": True,
        }  # fmt: skip

    def _room(self, row: dict[str, float]) -> bool:
        box = Drivers.collect([row]).boxes(self.corridors)
        return not overlap(widened(box, 5.0 if row["width"] > 1 else 2.0, 0.4), self.boxes).any()

    def _accept(self, row: dict[str, float], vehicle: Vehicle) -> None:
        self.rows.append(row)
        self.vehicles.append(vehicle)
        self.boxes = np.concatenate([self.boxes, Drivers.collect([row]).boxes(self.corridors)])


class Departures:
    """Traffic that flows: who reaches the end of his route leaves, and comes in at the start of some route later.

    Both happen only where the ego vehicle is farther away than `SIGHT`; where it is not, the end of a route is a
    place to stop at. The ego vehicle stops at the end of its route.
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
        """Remember where the ego vehicle is at a row: what it saw there must not vanish before the next one."""
        self._noted = self.driving.drivers.boxes(self.driving.corridors)[0, :2]

    def step(self, time: float, dt: float, people: People | None) -> None:
        """Move everybody from `time` to `time + dt` [s]."""
        corridors, d = self.driving.corridors, self.driving.drivers
        way = corridors.length[d.route] - d.s - d.length / 2
        hidden = self._hidden(self._ends)[d.route]
        hidden[0] = False
        self.driving.step(time, dt, people, np.where(corridors.closed[d.route] | hidden, np.inf, way))
        gone = (d.s + d.length / 2 > corridors.length[d.route]) & ~corridors.closed[d.route] & hidden & d.present
        d.present &= ~gone
        d.speed[gone] = 0
        for i in np.flatnonzero(~d.present):
            if self.rng.random() < dt / _ENTRY:
                self._enter(int(i))

    def _hidden(self, points: np.ndarray) -> np.ndarray:
        ego = self.driving.drivers.boxes(self.driving.corridors)[0, :2]
        return np.minimum(np.hypot(*(points - ego).T), np.hypot(*(points - self._noted).T)) > SIGHT

    def _enter(self, i: int) -> None:
        """Let a vehicle in at the start of a route, when there is one for it with room."""
        d, kind = self.driving.drivers, self.vehicles[i].kind
        weight = np.where([kind in allowed for allowed in self._kinds], self._density, 0.0) * self._hidden(self._starts)
        if not weight.sum() > 0:
            return
        d.route[i] = self.rng.choice(len(weight), p=weight / weight.sum())
        d.s[i] = 0.5 * d.length[i]
        boxes = d.boxes(self.driving.corridors)
        room = widened(boxes[i], 2 * (6.0 + d.desired[i]), 0.3)
        if not overlap(room, boxes[d.present]).any():
            d.present[i], d.speed[i] = True, 0.7 * min(d.desired[i], self.driving.corridors.limit[d.route[i], 0])

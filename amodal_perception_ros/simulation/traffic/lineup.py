"""Who is on the routes at the beginning, and how they drive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.config import LAYOUTS, Stream
from amodal_perception_ros.simulation.traffic.boxes import overlap, widened
from amodal_perception_ros.simulation.traffic.corridors import Corridors
from amodal_perception_ros.simulation.traffic.drivers import BRAKING, Drivers
from amodal_perception_ros.simulation.traffic.right_of_way import RightOfWay
from amodal_perception_ros.simulation.traffic.things import Population, Thing

EGO_LENGTH, EGO_WIDTH = 4.6, 1.9

WARM_UP = 6.0
"""Traffic flows for this time before the first frame, so that queues and crossings are filled as usual [s]."""

WIDE_LANE = 2.8
"""Trucks and buses use lanes from this width on [m]."""

_SWING = 25.0
"""Lane width that they need besides in a bend, times its radius: the room for swinging ends of two [m^2]."""

KERB_CLEARANCE = 0.35
"""Bicycles in a lane of cars stay so far from its right edge, but for their sway [m]."""

_CRUISE = 0.75
"""Mean speed / wished speed that a start of the ego vehicle is judged with."""

_LOOKAHEAD = 8.0
"""Lines that the ego vehicle reaches until then count for its start [s]."""

_QUEUE = 3.0
"""A signal has been green for so long when the ego vehicle comes: a queue before it is on its way [s]."""

_WHEELBASE = {"car": 0.6, "truck": 0.6, "bus": 0.55, "motorcycle": 0.65, "bike": 0.55}


@dataclass(frozen=True, eq=False)
class Vehicle:
    """What moves together with a driver: `kind` and its things (a rider and what he rides; none for the ego)."""

    kind: str
    things: tuple[Thing, ...]


def kinds(corridors: Corridors, route: int) -> list[str]:
    """Return the kinds of vehicles that may use a route."""
    own = corridors.routes[route]
    if own.bicycles:
        return ["bike"]
    # Where lines or a ring do not keep long vehicles apart, their ends swing out towards oncoming ones in bends.
    swing = 0.0 if own.stops or own.closed else _SWING * float(corridors.curvature[route].max())
    wide = ["truck", "bus"] if own.width >= WIDE_LANE + swing else []
    lanes = any(other.bicycles for other in corridors.routes)
    return ["car", "motorcycle", *wide, *([] if lanes else ["bike"])]


class Lineup:
    """Draws vehicles one after the other, each with room between those before; the ego vehicle is the first.

    Attributes:
        vehicles: the drivers' vehicles.
    """

    def __init__(self, population: Population, corridors: Corridors, right_of_way: RightOfWay) -> None:
        self.population, self.corridors, self.right_of_way = population, corridors, right_of_way
        self.vehicles: list[Vehicle] = []
        self._rows: list[dict[str, float]] = []
        self._boxes = np.zeros((0, 5))
        self._free = 0.0
        self._ego()

    @property
    def ego_route(self) -> int:
        """Index of the ego vehicle's route."""
        return int(self._rows[0]["route"])

    def ego_middle(self, duration: float) -> np.ndarray:
        """Return (2,) about the middle of the ego vehicle's way during a time from the first frame on [s]."""
        ego, route = self._rows[0], np.array([self.ego_route])
        s = np.array([ego["s"] + _CRUISE * ego["desired"] * (WARM_UP + 0.5 * duration)])
        if not self.corridors.closed[self.ego_route]:
            s = np.minimum(s, 0.9 * self.corridors.length[route])
        return self.corridors.at(route, s, np.zeros(1))[0]

    def fill(self, people: np.ndarray) -> Drivers:
        """Put vehicles on all routes, none in a block and none on people who stand at (p, 2); return all drivers."""
        feet = np.column_stack([people, np.zeros(len(people)), np.full((len(people), 2), 0.6)])
        self._boxes = np.concatenate([self._boxes, feet])
        spacing = self.population.draw("traffic.spacing") / max(self.population.config.traffic, 1e-3)
        for k in range(len(self.corridors.routes)):
            self._fill(k, spacing)
        return Drivers.collect(self._rows)

    def _ego(self) -> None:
        population, rng = self.population, self.population.rng
        # An own stream per layout: one seed does not stand in all of them.
        layout = LAYOUTS.index(population.town.layout.kind)
        stands = population.distributions.draw(population.config.stream(Stream.EGO, layout), "traffic.ego_stands")
        desired = 0.0 if stands else population.draw("traffic.ego_speed")
        self._free = 0.0 if stands else population.draw("traffic.ego_free_road")
        waits = stands or population.draw("traffic.ego_waits")
        routes = population.town.ways.ego_routes
        for _ in range(40):
            route = int(routes[rng.integers(len(routes))])
            way = 0.0 if self.corridors.closed[route] else desired * (WARM_UP + 9.0)
            last = max(0.15 * self.corridors.length[route], self.corridors.length[route] - way)
            s = float(rng.uniform(0, last)) + 0.5 * EGO_LENGTH
            if (waits or self._is_free(route, s, desired)) and not self.right_of_way.in_block(route, s, EGO_LENGTH):
                break
        row = self._row(route, s, desired, EGO_LENGTH, EGO_WIDTH, 0.6 * EGO_LENGTH)
        row["sway"] = population.draw("traffic.ego_sway")
        self._accept(row, Vehicle("ego", ()))

    def _is_free(self, route: int, s: float, desired: float) -> bool:
        """Whether the ego vehicle at s comes to green signals only, and to no line where it gives way, at first."""
        signals = self.population.town.ways.signals
        for stop in self.corridors.routes[route].stops:
            arrival = (stop.s - s) / (_CRUISE * desired) - WARM_UP
            if stop.s < s or arrival > _LOOKAHEAD:
                continue
            if stop.signal is None or any(signals[stop.signal].state(arrival - k) != "green" for k in (0.0, _QUEUE)):
                return False
        return True

    def _before_ego(self, row: dict[str, float]) -> bool:
        """Whether a vehicle would stand on the stretch before the ego vehicle that stays free for it."""
        ego, route, corridors = self._rows[0], int(row["route"]), self.corridors
        k = corridors.sample(np.array([route]), np.array([row["s"]]))[0]
        along, aside = (table[self.ego_route, route, k] for table in (corridors.along, corridors.aside))
        ahead = float(corridors.ahead(np.int64(self.ego_route), np.float64(ego["s"]), np.float64(along)))
        return 0 < ahead < self._free + row["length"] / 2 and abs(float(aside) + row["offset"]) < 2.0

    def _fill(self, route: int, spacing: float) -> None:
        """Put vehicles on a route from its start to its end."""
        population, rng, own = self.population, self.population.rng, self.corridors.routes[route]
        mix = "traffic.kind_industrial" if population.town.layout.zone == "industrial" else "traffic.kind"
        mean = spacing * (2.0 if own.bicycles else 1.0) / max(own.density, 1e-3)
        s = float(rng.exponential(mean))
        while s < self.corridors.length[route] - 5:
            kind = population.distributions.choose(rng, mix, kinds(self.corridors, route))
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
        if fits and not self._before_ego(row) and self._room(row):
            things = population.add_together(class_models)
            if things:
                self._accept(row, Vehicle(kind, things))
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
        return -(own.width / 2 - KERB_CLEARANCE - width / 2 - float(rng.uniform(0, 0.12)))

    def _row(self, route: int, s: float, desired: float, length: float, width: float, wheelbase: float
             ) -> dict[str, float]:  # fmt: skip
        rng = self.population.rng
        way = max(0.0, self.right_of_way.next_line(route, s) - length / 2 - 1.0)
        spare = max(0.0, (self.corridors.routes[route].width - width) / 2 - 0.2)
        return {
            "route": route, "s": s, "speed": min(0.3 * desired, np.sqrt(2 * BRAKING * way)), "desired": desired,
            "length": length, "width": width,
            "wheelbase": wheelbase, "offset": float(np.clip(rng.normal(0, 0.1), -0.6 * spare, 0.6 * spare)),
            "sway": min(0.06, 0.4 * spare), "phase": float(rng.uniform(0, 2 * np.pi)), "present": True,
        }  # fmt: skip

    def _room(self, row: dict[str, float]) -> bool:
        box = Drivers.collect([row]).boxes(self.corridors)
        return not overlap(widened(box, 5.0 if row["width"] > 1 else 2.0, 0.4), self._boxes).any()

    def _accept(self, row: dict[str, float], vehicle: Vehicle) -> None:
        self._rows.append(row)
        self.vehicles.append(vehicle)
        for thing in vehicle.things:
            thing.lights = thing.driven = True
        self._boxes = np.concatenate([self._boxes, Drivers.collect([row]).boxes(self.corridors)])

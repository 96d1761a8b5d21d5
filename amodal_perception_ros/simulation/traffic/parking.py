"""Parked vehicles: in the town's parking places, double-parked ones, and two-wheelers on the kerb side of walks."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from scipy.spatial import cKDTree

from amodal_perception_ros.simulation.town.town import Town
from amodal_perception_ros.simulation.town.ways import ParkingPlace, Walk
from amodal_perception_ros.simulation.traffic.boxes import outline, overlap, widened
from amodal_perception_ros.simulation.traffic.corridors import Corridors
from amodal_perception_ros.simulation.traffic.fleet import Fleet, Look
from amodal_perception_ros.simulation.traffic.lineup import KERB_CLEARANCE, kinds
from amodal_perception_ros.simulation.traffic.things import Gap, Population, Thing

NEAR = 95.0
"""Places farther than this from the ego vehicle's route stay empty: they are never seen [m]."""

_NARROWEST = 0.45
"""Narrowest gap between vehicles that people go through [m]."""


_DELIVERY_REACH, _DELIVERY_TRIES = 45.0, 40
_DELIVERY_STEP, _DELIVERY_ASIDE = 0.1, 5.0
"""Double-parked vehicles are tried so far from the lane's edge at most, in such steps [m]."""

_STOP_CLEARANCE = 12.0
_PASSAGE = 1.0
"""Width that stays free beside a vehicle on the sidewalk [m]."""


def park_vehicles(population: Population, corridors: Corridors, ego_route: int, middle: np.ndarray) -> list[Gap]:
    """Put vehicles double, fill the parking places with groups, and put two-wheelers on the kerb side of walks.

    Args:
        population: receives the vehicles.
        corridors: the town's routes, which stay free.
        ego_route: index of the ego vehicle's route.
        middle: (2,) about the middle of its way [m].

    Returns:
        The gaps between parked neighbours.
    """
    parking = _Parking(population, corridors, ego_route)
    parking.double_park(corridors, middle)
    rows: dict[int, list[ParkingPlace]] = defaultdict(list)
    for place in population.town.ways.parking:
        rows[place.row].append(place)
    gaps = []
    for row in sorted(rows):
        gaps += parking.fill(sorted(rows[row], key=lambda place: place.number))
    for walk in population.town.ways.walks:
        parking.put_racks(walk)
    return gaps


class _Parking:
    """Parks vehicles where they fit and touch nothing."""

    def __init__(self, population: Population, corridors: Corridors, ego_route: int) -> None:
        self.population = population
        self._ego = cKDTree(corridors.points[ego_route, : corridors.count[ego_route]])
        self._lanes = [_lanes(corridors, population.fleet, bicycles) for bicycles in (False, True)]
        self._cars = self._lanes[0][0]
        self._obstacles = _obstacles(population.town)
        self._boxes = np.zeros((0, 5))

    def fill(self, places: list[ParkingPlace]) -> list[Gap]:
        """Park in a row: groups of vehicles with breaks between them, and single places free inside a group."""
        population, gaps = self.population, []
        before: tuple[int, np.ndarray] | None = None
        group, rest = True, population.draw("parking.group")
        for place in places:
            if rest <= 0:
                group = not group
                rest = population.draw("parking.group" if group else "parking.break")
            rest -= 1
            wanted = population.draw("parking.driveway") if len(places) == 1 else not population.draw("parking.free")
            box = self._park(place) if group and wanted and self._is_near(place.x, place.y) else None
            if box is not None and before is not None and place.number == before[0] + 1:
                gap = self._gap(before[1], box)
                gaps += [] if gap is None else [gap]
            before = None if box is None else (place.number, box)
        return gaps

    def _is_near(self, x: float, y: float) -> bool:
        return bool(self._ego.query((x, y))[0] < NEAR)

    def _toward(self, x: float, y: float) -> np.ndarray:
        """Return the unit vector to the nearest lane of cars."""
        way = self._cars.data[self._cars.query((x, y))[1]] - (x, y)
        return way / max(float(np.hypot(*way)), 1e-6)

    def _park(self, place: ParkingPlace) -> np.ndarray | None:
        """Draw a vehicle that fits into a place, and put it there; return its box."""
        population, rng = self.population, self.population.rng
        toward = self._toward(place.x, place.y)
        across = abs(np.cos(place.yaw) * toward[0] + np.sin(place.yaw) * toward[1]) > 0.7
        turned = population.draw("parking.reverse_across" if across else "parking.reverse_along")
        for _ in range(4):
            look = population.fleet.parked(rng, population.draw(f"parking.{place.kind}"))
            length, width = (look[1][0].high - look[1][0].low)[:2]
            if length > place.length + 0.3 or width > place.width + 0.4:
                continue
            # Broad ones stand a little over the kerb, not over the lane.
            back = max(0.0, ((length - place.length) if across else (width - place.width)) / 2)
            slack = rng.normal(0, 0.12 if across else 0.05), rng.uniform(-0.5, 0.5) * max(0.0, place.length - length)
            along = np.array([np.cos(place.yaw), np.sin(place.yaw)])
            x, y = np.array([place.x, place.y]) - back * toward + (slack[1] if not across else slack[0]) * along
            yaw = place.yaw + np.pi * turned + float(rng.normal(0, 0.012))
            box = np.array([x, y, yaw, length, width])
            if self._add(look, box, 0.0) is not None:
                return box
        return None

    def _is_in_lane(self, box: np.ndarray) -> bool:
        # Slices of the box: a narrow lane could lie between its two sides.
        slices = box + np.linspace(0, -1, 4)[:, None] * np.array([0, 0, 0, 0, box[4]])
        points = outline(slices, 0.05).reshape(-1, 2)
        found = [(lines.query(points), reach) for lines, reach in self._lanes]
        return any((distance < reach[nearest]).any() for (distance, nearest), reach in found)

    def _add(self, look: Look, box: np.ndarray, height: float) -> Thing | None:
        """Park a vehicle unless it would touch another one or stand in a lane."""
        if self._is_in_lane(box) or overlap(box, self._boxes).any():
            return None
        thing = self.population.add(*look, (float(box[0]), float(box[1]), height, float(box[2])))
        if thing is not None:
            self._boxes = np.concatenate([self._boxes, box[None]])
        return thing

    def _gap(self, a: np.ndarray, b: np.ndarray) -> Gap | None:
        """Return the gap between two boxes, None when it is too narrow for people."""
        middle = 0.5 * (a[:2] + b[:2])
        along = (b[:2] - a[:2]) / np.hypot(*(b[:2] - a[:2]))
        across = np.array([-along[1], along[0]])
        across = across if across @ self._toward(*middle) > 0 else -across
        ring = outline(np.stack([a, b])) - middle
        start, end = (ring[0] @ along).max(), (ring[1] @ along).min()
        if end - start < _NARROWEST:
            return None
        x, y = middle + 0.5 * (start + end) * along
        return Gap(float(x), float(y), float(np.arctan2(across[1], across[0])), float((ring @ across).max()))

    def double_park(self, corridors: Corridors, middle: np.ndarray) -> None:
        """Stop vans and short trucks, hazard lights on, beside lanes near the ego vehicle's way.

        Half on the parking strip or the sidewalk, as close to the lane as its broadest vehicles let them.
        """
        rng = self.population.rng
        near = [(k, int(i)) for k, count in enumerate(corridors.count) if not corridors.routes[k].bicycles
                for i in np.flatnonzero(np.hypot(*(corridors.points[k, :count] - middle).T) < _DELIVERY_REACH)
                if self._may_stop(corridors, k, int(i))]  # fmt: skip
        wanted = self.population.draw("parking.double_parked") if near else 0
        for _ in range(_DELIVERY_TRIES):
            if wanted <= 0:
                break
            k, i = near[int(rng.integers(len(near)))]
            look = self.population.fleet.delivery(rng)
            box = self._beside(corridors, k, i, look)
            if box is not None and self._leaves_room(box):
                height = float(self.population.town.ground_height(outline(box)[[0, 2, 4, 6]]).mean())
                thing = self._add(look, box, height)
                if thing is not None:
                    thing.lights = True
                    wanted -= 1

    def _may_stop(self, corridors: Corridors, k: int, i: int) -> bool:
        """Whether sample i of route k lies on a straight piece away from stop lines."""
        s = (i - corridors.lead[k]) * corridors.step[k]
        stops = corridors.routes[k].stops
        straight = corridors.curvature[k, max(0, i - 10) : i + 11].max() < 0.01
        return bool(straight and 0 < s < corridors.length[k] and all(abs(s - o.s) > _STOP_CLEARANCE for o in stops))

    def _beside(self, corridors: Corridors, k: int, i: int, look: Look) -> np.ndarray | None:
        """Return the box of a vehicle to the right of a route's sample, the nearest one that is in no lane."""
        length, width = (look[1][0].high - look[1][0].low)[:2]
        heading = corridors.heading[k, i] + float(self.population.rng.normal(0, 0.012))
        right = np.array([np.sin(heading), -np.cos(heading)])
        first = corridors.routes[k].width / 2
        for aside in np.arange(first, first + _DELIVERY_ASIDE, _DELIVERY_STEP):
            box = np.array([*(corridors.points[k, i] + aside * right), heading, length, width])
            if not self._is_in_lane(box):
                return box
        return None

    def _leaves_room(self, box: np.ndarray) -> bool:
        """Whether nothing stands at a double-parked vehicle, people get past it, and no crossing is near."""
        right = np.array([np.sin(box[2]), -np.cos(box[2])])
        beyond = widened(box, 0.0, _PASSAGE)
        beyond[:2] += 0.5 * _PASSAGE * right
        reach = 0.5 * float(box[3]) + 2.0
        crossings = self.population.town.ways.crossings
        away = all(abs(c.path.local(box[:2])[1]) > reach + c.width / 2 for c in crossings)
        return away and self._obstacles.query(outline(beyond))[0].min() > 0.3

    def put_racks(self, walk: Walk) -> None:
        """Put racks of bicycles and single motorcycles on the side of a walk that is nearer to the road."""
        population, rng = self.population, self.population.rng
        count = rng.poisson(walk.path.length / population.draw("parking.rack_spacing"))
        for s in rng.uniform(0, walk.path.length, count):
            x, y = walk.path.at(float(s))
            if not self._is_near(x, y):
                continue
            heading = float(walk.path.heading(float(s)))
            left = np.array([-np.sin(heading), np.cos(heading)])
            side = 1 if self._toward(x, y) @ left > 0 else -1
            kind = population.draw("parking.rack")
            turn = 0.0 if walk.width < 1.0 else side * np.pi / 2 + float(rng.uniform(-0.6, 0.6))
            place = float(s)
            for _ in range(population.draw(f"parking.rack_{kind}s")):
                look = population.fleet.parked(rng, kind)
                length, width = (look[1][0].high - look[1][0].low)[:2] + 0.06
                step = float(width / abs(np.sin(turn)) if turn else length)
                x, y = walk.path.at(place + 0.5 * step, side * walk.width / 2)
                self._lean(look, np.array([x, y, heading + turn + float(rng.normal(0, 0.03)), length, width]))
                place += step

    def _lean(self, look: Look, box: np.ndarray) -> None:
        """Put a two-wheeler on the sidewalk where nothing stands and nobody crosses the road."""
        if self._obstacles.query(outline(box))[0].min() < 0.3:
            return
        for crossing in self.population.town.ways.crossings:
            if abs(crossing.path.local(box[:2])[1]) < crossing.width / 2 + 1.5:
                return
        self._add(look, box, float(self.population.town.ground_height(box[:2])))


def _lanes(corridors: Corridors, fleet: Fleet, bicycles: bool) -> tuple[cKDTree, np.ndarray]:
    """Return the samples of all lanes for bicycles, or for cars, and how far vehicles there reach to each side [m]."""
    points, reach = [np.full((1, 2), 1e6)], [np.zeros(1)]
    for k, count in enumerate(corridors.count):
        if corridors.routes[k].bicycles == bicycles:
            points.append(corridors.points[k, :count])
            # The corners of a bus of 12 m, whose axles are on the line and 6.6 m apart, swing out (6^2 - 3.3^2) / 2 r.
            swing = 0.0 if bicycles else 12.5
            widest = fleet.widest(kinds(corridors, k)) / 2 + 0.12
            bicycle = corridors.routes[k].width / 2 - (0.15 if bicycles else KERB_CLEARANCE - 0.1)
            reach.append(max(widest, bicycle) + swing * corridors.curvature[k, :count])
    return cKDTree(np.concatenate(points)), np.concatenate(reach)


def _obstacles(town: Town) -> cKDTree:
    """Return points every 0.4 m on the outlines of the town's static obstacles."""
    out = [np.full((1, 2), 1e6)]
    for footprint in town.footprints:
        for a, b in zip(footprint.corners, np.roll(footprint.corners, -1, 0)):
            out.append(a + (b - a) * np.linspace(0, 1, 2 + int(np.hypot(*(b - a)) / 0.4))[:, None])
    return cKDTree(np.concatenate(out))

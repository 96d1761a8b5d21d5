"""The lanes of a layout as routes that vehicles follow, and its traffic signals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from amodal_perception_ros.simulation.town.curves import arc, join, turn_between
from amodal_perception_ros.simulation.town.layouts import Layout
from amodal_perception_ros.simulation.town.pen import Pen
from amodal_perception_ros.simulation.town.roads import Lane, Road
from amodal_perception_ros.simulation.town.ways import Path, Route, Signal, Stop

SIGHT = 72.0
"""The ego vehicle keeps this far from the ends of the roads [m]."""

MAIN, SIDE, ACROSS_MAIN, ACROSS_SIDE = range(4)
"""Signal groups: vehicles of the main and of the side road, people across the main and across the side road."""


def draw_signals(pen: Pen) -> tuple[Signal, ...]:
    """Return the signal groups of a crossing in the order above, with 2 s of red for all between them."""
    main, side = float(pen("street.green_main")), float(pen("street.green_side"))
    yellow, clearance = 3.0, 2.0
    period = main + side + 2 * (yellow + clearance)
    offset = float(pen.rng.uniform(0, period))
    other = offset + main + yellow + clearance
    return (
        Signal(period, offset, main, yellow),
        Signal(period, other, side, yellow),
        Signal(period, other, max(side - 4.0, 5.0), 0.0),
        Signal(period, offset, max(main - 4.0, 5.0), 0.0),
    )


def lay_routes(layout: Layout) -> tuple[tuple[Route, ...], tuple[int, ...]]:
    """Return the routes of a layout, and which of them the ego vehicle may drive.

    Every lane is a route; at a junction one per lane and way on. Those of the ego vehicle are further ones without
    traffic of their own (`density` 0) that keep `SIGHT` from the ends of the roads, and the loops of parking lots.
    """
    routes = _ring_routes(layout) if layout.ring else _junction_routes(layout) if layout.meeting else _through(layout)
    for lot in layout.lots:
        routes += lot.routes()
    own = [_inner(route, layout) for route in routes if not route.bicycles and not route.closed]
    closed = [k for k, route in enumerate(routes) if route.closed]
    ego = (*closed, *range(len(routes), len(routes) + len(own)))
    return tuple(routes + own), ego


def _inner(route: Route, layout: Layout) -> Route:
    start, end = SIGHT, route.path.length - SIGHT
    stops = tuple(replace(stop, s=stop.s - start) for stop in route.stops if start < stop.s < end)
    return replace(route, path=part(route.path, start, end), stops=stops, density=0.0)


def part(path: Path, start: float, end: float) -> Path:
    """Return a path's part from arc length start to end."""
    inside = (path.starts > start + 0.05) & (path.starts < end - 0.05)
    return Path(np.concatenate([path.at(start)[None], path.points[inside], path.at(end)[None]]))


def _through(layout: Layout) -> list[Route]:
    road, out = layout.roads[0], []
    for lane in road.all_lanes():
        ends = (0.0, road.length) if lane.direction > 0 else (road.length, 0.0)
        path = Path(road.line(lane.offset, *ends, longest=400.0))
        out.append(Route(path, lane.width, road.speed, (), lane.bicycles))
    return out


@dataclass(frozen=True, eq=False)
class _Way:
    """A way through a junction: from a lane of one arm to an offset on another, turning by `turn` [rad]."""

    arm: int
    lane: Lane
    target: int
    offset: float
    turn: float

    @property
    def is_left(self) -> bool:
        return self.turn > np.pi / 4


def _junction_routes(layout: Layout) -> list[Route]:
    ways = [way for arm in range(len(layout.roads)) for way in _ways_from(layout, arm)]
    out = []
    for way in ways:
        same = [w for w in ways if w.arm == way.arm and w.lane == way.lane]
        weight = _weight(way) / sum(_weight(w) for w in same)
        out.append(_junction_route(layout, way, weight))
    return out


def _weight(way: _Way) -> float:
    return 2.0 if abs(way.turn) < np.pi / 4 else 1.0


def _ways_from(layout: Layout, arm: int) -> list[_Way]:
    """Left turns leave the inner lane, right turns the outer one; bicycles go straight on or right."""
    road, out = layout.roads[arm], []
    inward = float(road.heading(road.mouth)) + np.pi
    lanes = [lane for lane in road.all_lanes() if lane.direction < 0]
    cars = [lane for lane in lanes if not lane.bicycles]
    for target, other in enumerate(layout.roads):
        if target == arm:
            continue
        turn = float((float(other.heading(other.mouth)) - inward + np.pi) % (2 * np.pi) - np.pi)
        exits = [lane for lane in other.all_lanes() if lane.direction > 0 and not lane.bicycles]
        straight = abs(turn) < np.pi / 4
        for k, lane in enumerate(cars):
            if straight or (turn > 0 and k == 0) or (turn < 0 and k == len(cars) - 1):
                way_out = exits[0 if turn > np.pi / 4 else -1 if turn < -np.pi / 4 else min(k, len(exits) - 1)]
                out.append(_Way(arm, lane, target, way_out.offset, turn))
        if turn < np.pi / 4:
            edge = other.lanes * other.lane_width + (other.bike_lane / 2 if other.bike_lane else -0.8)
            out += [_Way(arm, lane, target, -edge, turn) for lane in lanes if lane.bicycles]
    return out


def _junction_route(layout: Layout, way: _Way, weight: float) -> Route:
    road, other = layout.roads[way.arm], layout.roads[way.target]
    before = road.line(way.lane.offset, road.length, road.mouth, longest=400.0)
    after = other.line(way.offset, other.mouth, other.length, longest=400.0)
    bend = _bend(layout, way, before[-1], after[0])
    path, entry = Path(np.concatenate([before, bend, after])), Path(before).length
    across = Path(np.concatenate([before[-1:], bend, after[:1]])).length
    stops, stop = [], layout.stop_at(way.arm)
    if stop is not None:
        line = entry - (stop - road.mouth) - 0.5
        if layout.signalled:
            stops.append(Stop(line, MAIN if way.arm < 2 else SIDE))
        else:
            stops.append(Stop(line, None, entry + across - line + 4.0))
    if way.is_left and not way.lane.bicycles and (layout.signalled or way.arm < 2):
        stops.append(Stop(entry + 0.3 * across, None, 0.6 * across))
    return Route(path, way.lane.width, road.speed, tuple(stops), way.lane.bicycles, weight)


def _bend(layout: Layout, way: _Way, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Right turns follow the kerb, left turns are as wide as the junction lets them."""
    road, other = layout.roads[way.arm], layout.roads[way.target]
    heading, leaving = float(road.heading(road.mouth)) + np.pi, float(other.heading(other.mouth))
    if abs(way.turn) < np.pi / 4:
        return join(start, heading, end, leaving)
    aside = max(road.driven - abs(way.lane.offset), other.driven - abs(way.offset))
    return turn_between(start, heading, end, leaving, 1e3 if way.is_left else layout.corner + aside)


def _ring_routes(layout: Layout) -> list[Route]:
    out = []
    for arm in range(len(layout.roads)):
        for target in range(len(layout.roads)):
            if target != arm:
                out.append(_ring_route(layout, arm, target))
        if layout.roads[arm].bike_lane:
            out.append(_ring_route(layout, arm, (arm + 1) % len(layout.roads), bicycles=True))
    return out


def _ring_route(layout: Layout, arm: int, target: int, bicycles: bool = False) -> Route:
    """Enter, drive around counter-clockwise, and leave; bicycles keep to the outer edge of the lane."""
    road, other = layout.roads[arm], layout.roads[target]
    radius = layout.ring + (0.5 * layout.ring_width - 0.9 if bicycles else 0.0)
    lane = next(lane for lane in road.all_lanes() if lane.direction < 0 and lane.bicycles == bicycles)
    edge = -other.lane_width / 2
    if bicycles:
        edge = -other.lane_width - (other.bike_lane / 2 if other.bike_lane else -0.8)
    enter, leave = float(road.heading(0.0)), float(other.heading(0.0))
    shift = float(np.clip(8.0 / layout.ring, 0.3, 0.5))
    start, end = enter + shift, enter + (leave - enter) % (2 * np.pi) - shift
    before = road.line(lane.offset, road.length, road.mouth, longest=400.0)
    around = arc(np.zeros(2), radius, start, end)
    after = other.line(edge, other.mouth, other.length, longest=400.0)
    way_in = join(before[-1], enter + np.pi, around[0], start + np.pi / 2)
    way_out = join(around[-1], end + np.pi / 2, after[0], leave)
    path, entry = Path(np.concatenate([before, way_in, around, way_out, after])), Path(before).length
    line = entry - 0.9
    clear = 0.9 + Path(np.concatenate([before[-1:], way_in, around[:1]])).length + 7.0
    share = 1.0 if bicycles else 1.0 / (len(layout.roads) - 1)
    return Route(path, lane.width, road.speed, (Stop(line, None, clear),), bicycles, share)


def arm_ends(roads: tuple[Road, ...]) -> np.ndarray:
    """Return (n, 2) open ends of the roads."""
    ends = [road.axis.points[-1] for road in roads]
    ends += [road.axis.points[0] for road in roads if not road.mouth]
    return np.array(ends)

"""The ways of straight streets and crossings: lanes, signals, parking places, walks and crossings."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.street import HALF_LENGTH, Street, bay_length
from amodal_perception_ros.simulation.ways import Crossing, ParkingPlace, Path, Place, Route, Signal, Stop, Walk, Ways

ALL_RED = 2.0


def ways_of(rng: np.random.Generator, streets: tuple[Street, ...], zebras: tuple[tuple[float, ...], ...]) -> Ways:
    """Return what the streets offer to traffic and pedestrians."""
    signals = _signals(rng) if len(streets) > 1 else ()
    routes = [route for k in range(len(streets)) for route in _through(streets, k)]
    if len(streets) > 1:
        routes += [r for k in range(2) for direction in (1, -1) for r in _turns(streets, k, direction)]
    ego = tuple(k for k, route in enumerate(routes) if not route.bicycles)
    return Ways(
        tuple(routes),
        ego,
        signals,
        tuple(p for k in range(len(streets)) for p in _parking(streets[k], zebras[k], 2 * k)),
        tuple(w for street in streets for w in _walks(street)),
        tuple(c for k, street in enumerate(streets) for c in _crossings(street, zebras[k], k)),
        tuple(p for street in streets for p in _places(rng, street)),
    )


def _signals(rng: np.random.Generator) -> tuple[Signal, ...]:
    """Groups: cars of the main street, cars of the other, people across the main street, people across the other."""
    first, second, offset = float(rng.uniform(14, 30)), float(rng.uniform(10, 20)), float(rng.uniform(0, 60))
    gap = 3.0 + ALL_RED
    period = first + second + 2 * gap
    other = offset + first + gap
    return (
        Signal(period, offset, first),
        Signal(period, other, second),
        Signal(period, other, second - 4, 0.0),
        Signal(period, offset, first - 4, 0.0),
    )


def _line(street: Street, t: float, start: float, end: float) -> np.ndarray:
    count = max(2, int(abs(end - start) / 2))
    return street.point(np.linspace(start, end, count), t)


def _through(streets: tuple[Street, ...], k: int) -> list[Route]:
    street, out = streets[k], []
    for lane in street.all_lanes():
        path = Path(_line(street, lane.offset, -lane.direction * HALF_LENGTH, lane.direction * HALF_LENGTH))
        stops: tuple[Stop, ...] = ()
        if street.gap is not None:
            stops = (Stop(_stop_line(street, lane.direction), k),)
        share = 1.0 if street.gap is None else 0.5
        out.append(Route(path, lane.width, 13.9, stops, lane.bicycles, share))
    return out


def _stop_line(street: Street, direction: int) -> float:
    assert street.gap is not None
    return HALF_LENGTH + (street.gap[0] if direction > 0 else -street.gap[1]) - 4.9


def _turns(streets: tuple[Street, ...], k: int, direction: int) -> list[Route]:
    """Return the right turn from the outer lane and the left turn from the inner one."""
    street, other = streets[k], streets[1 - k]
    assert street.gap is not None and other.gap is not None
    lanes = [lane for lane in street.all_lanes() if lane.direction == direction and not lane.bicycles]
    out = []
    for lane, turn in ((lanes[-1], -1), (lanes[0], 1)):
        heading = street.heading + (0 if direction > 0 else np.pi) + turn * np.pi / 2
        along = 1 if np.cos(heading - other.heading) > 0 else -1
        exits = [e for e in other.all_lanes() if e.direction == along and not e.bicycles]
        target = exits[-1] if turn < 0 else exits[0]
        mouth = street.gap[0] if direction > 0 else street.gap[1]
        leave = other.gap[1] if along > 0 else other.gap[0]
        before = _line(street, lane.offset, -direction * HALF_LENGTH, mouth - direction * 1.0)
        after = _line(other, target.offset, leave + along * 1.0, along * HALF_LENGTH)
        bend = _bend(before[-1], after[0], street.heading, other.heading)
        path = Path(np.concatenate([before, bend, after]))
        stops = [Stop(_stop_line(street, direction), k)]
        if turn > 0:
            waiting = float(Path(before).length + 0.35 * Path(bend).length)
            stops.append(Stop(waiting, None, 0.65 * Path(bend).length))
        out.append(Route(path, lane.width, 13.9, tuple(stops), density=0.25))
    return out


def _bend(start: np.ndarray, end: np.ndarray, heading: float, other: float) -> np.ndarray:
    """Return the inner points of a quadratic curve whose ends have the given axes."""
    a, b = np.array([np.cos(heading), np.sin(heading)]), np.array([np.cos(other), np.sin(other)])
    reach = np.linalg.solve(np.stack([a, -b], 1), end - start)[0]
    corner, u = start + reach * a, np.linspace(0, 1, 14)[1:-1, None]
    return (1 - u) ** 2 * start + 2 * u * (1 - u) * corner + u**2 * end


def _parking(street: Street, zebras: tuple[float, ...], first_row: int) -> list[ParkingPlace]:
    out = []
    for side in (-1, 1):
        strip = street.parking[0 if side > 0 else 1]
        if not strip:
            continue
        step = bay_length(strip)
        length, width = (5.0, 2.4) if strip > 3 else (step - 0.8, 2.0)
        for number, s in enumerate(np.arange(-HALF_LENGTH + 14, HALF_LENGTH - 14, step)):
            near = street.gap is not None and street.gap[0] - 10 < s < street.gap[1] + 10
            if near or any(abs(s - z) < 6 for z in zebras):
                continue
            x, y = street.point(s, side * (street.driven + strip / 2))
            yaw = street.heading + (0.0 if side < 0 else np.pi) + (np.pi / 2 if strip > 3 else 0.0)
            row = first_row + (side > 0)
            out.append(ParkingPlace(float(x), float(y), yaw, length, width, "car", int(row), number))
    return out


def _walks(street: Street) -> list[Walk]:
    out = []
    for side in (-1, 1):
        for start, end in street.arms():
            t = side * (street.curb(side) + 0.5 * (1.0 + street.sidewalk))
            out.append(Walk(Path(_line(street, t, start, end)), street.sidewalk - 1.2))
    return out


def _crossings(street: Street, zebras: tuple[float, ...], k: int) -> list[Crossing]:
    out = []
    for s in zebras:
        line = np.array([street.point(s, -street.curb(-1)), street.point(s, street.curb(1))])
        out.append(Crossing(Path(line), 3.0, None if street.gap is None else 2 + k))
    return out


def _places(rng: np.random.Generator, street: Street) -> list[Place]:
    out = []
    for side in (-1, 1):
        for s in np.arange(-80.0, 80.0, 16.0) + rng.uniform(-6, 6, 10):
            if street.gap is None or not street.gap[0] - 2 < s < street.gap[1] + 2:
                kind = str(rng.choice(["wait", "group"], p=[0.4, 0.6]))
                t = side * (street.curb(side) + (0.7 if kind == "wait" else 0.5 * street.sidewalk))
                x, y = street.point(float(s), t)
                out.append(Place(float(x), float(y), street.heading - side * np.pi / 2, kind))
    return out

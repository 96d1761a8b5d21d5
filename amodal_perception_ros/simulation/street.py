"""A straight street: its cross-section, its lanes and the drawing of its ground."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.meshes import Kind, Material, Part, box, ground_patch, moved, quad

HALF_LENGTH = 165.0
"""Streets run from -HALF_LENGTH to +HALF_LENGTH [m] along their axis."""

SIDEWALK_HEIGHT = 0.15

ROAD, SIDEWALK = BY_NAME["road"].id, BY_NAME["sidewalk"].id
ASPHALT = Material((0.1, 0.1, 0.105), 0.9, Kind.ASPHALT)
MARKING = Material((0.6, 0.6, 0.58), 0.7, Kind.MARKING)
YELLOW_MARKING = Material((0.55, 0.38, 0.05), 0.7, Kind.MARKING)
CURB = Material((0.42, 0.42, 0.41), 0.9)


@dataclass(frozen=True)
class Lane:
    """A lane of a street: `direction` +1 along the axis or -1; `offset` is its centre to the left of the axis [m]."""

    direction: int
    offset: float
    width: float
    bicycles: bool = False


@dataclass(frozen=True)
class Street:
    """Cross-section of a street along an axis through `origin` with `heading`; traffic keeps right.

    Local coordinates: s along the axis, t to its left [m]. Sides: +1 left, -1 right.

    Attributes:
        origin: (x, y) of s = t = 0 [m].
        heading: direction of the axis [rad].
        lanes: number of lanes per direction.
        lane_width: [m].
        bike_lane: width of the bicycle lane per direction, 0 for none [m].
        parking: width of the parking strip (left, right), 0 for none; above 3 m cars stand across [m].
        sidewalk: width of each sidewalk [m].
        gap: (from, to) s interval where another street crosses, else None.
    """

    origin: tuple[float, float]
    heading: float
    lanes: int
    lane_width: float
    bike_lane: float
    parking: tuple[float, float]
    sidewalk: float
    gap: tuple[float, float] | None = None

    def point(self, s: np.ndarray | float, t: np.ndarray | float) -> np.ndarray:
        """Return (..., 2) odom positions of local coordinates."""
        c, d = np.cos(self.heading), np.sin(self.heading)
        return np.stack(
            np.broadcast_arrays(self.origin[0] + c * np.asarray(s) - d * np.asarray(t),
                                self.origin[1] + d * np.asarray(s) + c * np.asarray(t)), -1)  # fmt: skip

    def local(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (s, t) of (..., 2) odom positions."""
        d = points - np.array(self.origin)
        c, e = np.cos(self.heading), np.sin(self.heading)
        return d[..., 0] * c + d[..., 1] * e, -d[..., 0] * e + d[..., 1] * c

    def curb(self, side: int) -> float:
        """Distance of the kerb on that side from the axis [m]."""
        return self.driven + self.parking[0 if side > 0 else 1]

    @property
    def driven(self) -> float:
        """Half width of car and bicycle lanes [m]."""
        return self.lanes * self.lane_width + self.bike_lane

    def edge(self, side: int) -> float:
        """Distance of the outer edge of the sidewalk on that side from the axis [m]."""
        return self.curb(side) + self.sidewalk

    def all_lanes(self) -> list[Lane]:
        """Return car lanes (inner first) and bicycle lanes of both directions."""
        out = []
        for direction in (1, -1):
            out += [
                Lane(direction, -direction * (k + 0.5) * self.lane_width, self.lane_width) for k in range(self.lanes)
            ]
            if self.bike_lane:
                offset = -direction * (self.lanes * self.lane_width + self.bike_lane / 2)
                out.append(Lane(direction, offset, self.bike_lane, bicycles=True))
        return out

    def arms(self) -> list[tuple[float, float]]:
        """Return the s intervals beside the crossing (the whole street without one)."""
        if self.gap is None:
            return [(-HALF_LENGTH, HALF_LENGTH)]
        return [(-HALF_LENGTH, self.gap[0]), (self.gap[1], HALF_LENGTH)]


def draw_street(rng: np.random.Generator, heading: float) -> Street:
    """Draw a cross-section: 1-2 lanes per direction, 40 % with bicycle lanes, five of six sides with parking."""
    lanes = int(rng.choice([1, 2], p=[0.75, 0.25]))
    bike_lane = float(rng.uniform(1.4, 1.9)) if rng.random() < 0.4 else 0.0

    def strip() -> float:
        kind = rng.choice(["none", "along", "across"], p=[0.16, 0.68, 0.16])
        return {"none": 0.0, "along": float(rng.uniform(2.1, 2.4)), "across": float(rng.uniform(5.0, 5.4))}[str(kind)]

    return Street((0.0, 0.0), heading, lanes, float(rng.uniform(3.0, 3.6)), bike_lane, (strip(), strip()),
                  float(rng.uniform(2.4, 5.0)))  # fmt: skip


Place = Callable[[Part, Material, int], None]
"""Adds a part in odom to the town: part, material, class id."""


def draw_ground(street: Street, place: Place, main: bool, zebras: list[float]) -> None:
    """Add carriageway, kerbs, sidewalks and markings; `zebras` are the s of marked crossings."""
    low, high = -street.curb(-1), street.curb(1)

    def local(part: Part) -> Part:
        return moved(part, (*street.origin, 0), street.heading)

    arms = [(-HALF_LENGTH, HALF_LENGTH)] if main else street.arms()
    for start, end in arms:
        for a, b in _pieces(start, end):
            place(local(ground_patch((a, low), (b, high), 0.0)), ASPHALT, ROAD)
    paving = Material((0.34, 0.33, 0.31), 0.9, Kind.PAVING)
    for start, end in street.arms():
        for a, b in _pieces(start, end):
            for side in (-1, 1):
                inner, outer = sorted((side * street.curb(side), side * street.edge(side)))
                place(local(ground_patch((a, inner), (b, outer), SIDEWALK_HEIGHT)), paving, SIDEWALK)
                curb = box(((a + b) / 2, side * (street.curb(side) + 0.06), 0.06), (b - a, 0.16, 0.2))
                place(local(curb), CURB, SIDEWALK)
        _markings(street, start, end, local, place)
    for s in zebras:
        _zebra(street, s, local, place)


def _pieces(start: float, end: float, length: float = 40.0) -> list[tuple[float, float]]:
    cuts = np.linspace(start, end, max(1, int(np.ceil((end - start) / length))) + 1)
    return list(itertools.pairwise(cuts))


def _stripe(s: float, t: float, length: float, width: float, z: float = 0.012) -> Part:
    a, b = length / 2, width / 2
    return quad([(s - a, t - b, z), (s + a, t - b, z), (s + a, t + b, z), (s - a, t + b, z)])


def _markings(street: Street, start: float, end: float, local: Callable[[Part], Part], place: Place) -> None:
    def dashes(t: float, length: float, period: float) -> None:
        for s in np.arange(start + period, end - period / 2, period):
            place(local(_stripe(s, t, length, 0.12)), MARKING, ROAD)

    def line(t: float) -> None:
        for a, b in _pieces(start + 0.5, end - 0.5):
            place(local(_stripe((a + b) / 2, t, b - a, 0.12)), MARKING, ROAD)

    if street.lanes > 1:
        line(0.12)
        line(-0.12)
    else:
        dashes(0.0, 3.0, 7.0)
    for side in (-1, 1):
        for k in range(1, street.lanes):
            dashes(side * k * street.lane_width, 3.0, 9.0)
        if street.bike_lane:
            line(side * street.lanes * street.lane_width)
        strip = street.parking[0 if side > 0 else 1]
        if strip:
            _bays(street, side, strip, start, end, local, place)
    for s, side in ((start, 1), (end, -1)):
        if abs(s) < HALF_LENGTH - 1:
            width = street.lanes * street.lane_width
            place(local(_stripe(s + side * 4.6, side * width / 2, 0.4, width - 0.3)), MARKING, ROAD)


def _bays(street: Street, side: int, strip: float, start: float, end: float, local: Callable[[Part], Part], place: Place
          ) -> None:  # fmt: skip
    step = bay_length(strip)
    edge = side * (street.driven + 0.05)
    for s in np.arange(start + 10.0, end - 10.0, step):
        t = edge + side * strip / 2
        place(local(_stripe(s, t, 0.1, strip - 0.2)), MARKING, ROAD)


def bay_length(strip: float) -> float:
    """Length along the street of one parking place in a strip of that width [m]."""
    return 2.65 if strip > 3 else 6.0


def _zebra(street: Street, s: float, local: Callable[[Part], Part], place: Place) -> None:
    for t in np.arange(-street.driven + 0.4, street.driven, 1.0):
        place(local(_stripe(s, float(t), 3.0, 0.5, 0.016)), MARKING, ROAD)

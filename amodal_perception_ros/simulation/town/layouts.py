"""Draws the layout of a town: its roads, how they meet, and its parking lots."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from shapely import Point

from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.town.curves import turned, winding
from amodal_perception_ros.simulation.town.lots import Lot, draw_lot
from amodal_perception_ros.simulation.town.pen import Pen
from amodal_perception_ros.simulation.town.roads import Road, Strip, intervals, with_round_corners
from amodal_perception_ros.simulation.town.ways import Path

HALF_LENGTH = 165.0
"""Roads end this far from the middle of the town, along their axis [m]."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The plan of a town.

    Attributes:
        kind: one of `config.LAYOUTS`.
        zone: "town", "suburban" or "industrial": how the land beside the roads is used.
        roads: one through road, or the arms of a junction in the origin, the first two of the main road.
        signalled: the junction has traffic lights; otherwise who comes from the arms 2.. gives way.
        ring: radius of a roundabout's lane, 0 for none [m].
        ring_width: width of that lane [m].
        paved: the island of a large roundabout is a paved square with a planted middle, not a lawn.
        corner: radius of the kerb at corners [m].
        lots: parking lots beside the roads.
    """

    kind: str
    zone: str
    roads: tuple[Road, ...]
    signalled: bool = False
    ring: float = 0.0
    ring_width: float = 0.0
    paved: bool = False
    corner: float = 6.0
    lots: tuple[Lot, ...] = ()

    @property
    def square(self) -> bool:
        """Whether the island of the roundabout is large enough for people."""
        return self.ring >= 20

    @property
    def meeting(self) -> bool:
        """Whether the roads are arms of a junction or roundabout."""
        return len(self.roads) > 1

    def crossing_at(self, arm: int) -> float | None:
        """Return s of the pedestrian crossing before the junction, None where there is none."""
        if not self.meeting or (not self.ring and not self.signalled and arm < 2):
            return None
        return self.roads[arm].mouth + (6.5 if self.ring else 2.2 if self.signalled else 1.8)

    def stop_at(self, arm: int) -> float | None:
        """Return s of the line where one waits before the junction, None on a main road without signals."""
        if not self.meeting or (not self.ring and not self.signalled and arm < 2):
            return None
        return self.roads[arm].mouth + (0.4 if self.ring else 4.6 if self.signalled else 4.2)


def draw_layout(config: SequenceConfig, rng: np.random.Generator) -> Layout:
    """Return the plan of a sequence's town, from the sections `layout` and `street` of the distributions."""
    kind = str(Pen(config.distributions, rng, "")("layout.kind")) if config.layout == "random" else config.layout
    zone = kind if kind in ("suburban", "industrial") else "town"
    pen = Pen(config.distributions, rng, zone)
    corner = float(pen("street.corner_radius"))
    if kind == "roundabout":
        return _roundabout(pen, corner)
    if kind == "crossing" or (zone != "town" and pen("layout.side_road")):
        return _junction(pen, kind, corner)
    road = _through_road(pen, kind)
    lots = []
    if kind == "parking_lot":
        sides = (-1, 1) if pen("layout.lots_on_both_sides") else (int(rng.choice([-1, 1])),)
        lots = [draw_lot(pen, road, side) for side in sides]
        road = replace(road, doors=tuple(door for lot in lots for door in lot.doors))
    road = _with_strips(pen, road)
    return Layout(kind, zone, (road,), corner=corner, lots=tuple(replace(lot, road=road) for lot in lots))


def _cross_section(pen: Pen, axis: np.ndarray, single: bool = False) -> Road:
    lanes = 2 if not single and pen("street.two_lanes") else 1
    bike_lane = float(pen("street.bike_lane_width")) if pen("street.bike_lane") else 0.0
    first = float(pen("street.sidewalk"))
    second = float(pen("street.sidewalk")) if pen("street.unequal_sidewalks") else first
    width, speed = float(pen("street.lane_width")), float(pen("street.speed_limit"))
    return Road(Path(axis), lanes, width, bike_lane, (first, second), speed)


def _through_road(pen: Pen, kind: str) -> Road:
    rng, length = pen.rng, 2 * HALF_LENGTH
    if kind in ("straight", "parking_lot") or (pen.zone != "town" and not pen("layout.winding")):
        axis = np.array([(0.0, 0.0), (length, 0.0)])
    else:
        axis = winding(rng, length, _bends(pen, length))
    middle = Path(axis).at(length / 2)
    chord = axis[-1] - axis[0]
    axis = turned(axis - middle, float(rng.uniform(-np.pi, np.pi)) - float(np.arctan2(chord[1], chord[0])))
    road = _cross_section(pen, axis)
    count = int(pen("street.zebras"))
    places = sorted(length / 2 + float(s) for s in rng.uniform(-70, 70, count))
    apart = [s for k, s in enumerate(places) if k == 0 or s - places[k - 1] > 20]
    return replace(road, zebras=tuple(apart) if kind != "parking_lot" else ())


def _bends(pen: Pen, length: float) -> list[tuple[float, float, float]]:
    """Bends one after the other; the whole turning stays below 2 rad so that the road keeps clear of itself."""
    out, s, left = [], float(pen.rng.uniform(20, 70)), 2.0
    while s < length - 60:
        extent, radius = float(pen("street.bend_length")), float(pen("street.bend_radius"))
        angle = min(extent / (2 * radius), left, 1.5)
        out.append((s, extent, angle))
        left -= angle
        s += extent + float(pen("street.between_bends"))
    return out


def _with_strips(pen: Pen, road: Road) -> Road:
    """Add parking: strips that zebras, doors, junctions and drawn breaks interrupt."""
    rng, strips = pen.rng, []
    first = road.mouth + 9.0 if road.mouth else 12.0
    for side in (1, -1):
        kind = str(pen("street.parking"))
        if kind == "none":
            continue
        width = float(pen({"along": "street.parking_along", "across": "street.parking_across",
                           "long": "street.parking_long"}[kind]))  # fmt: skip
        holes = [(z - 5.5, z + 5.5) for z in road.zebras]
        holes += [(s - w / 2 - 9, s + w / 2 + 9) for door, s, w in road.doors if door == side]
        s = first + float(rng.exponential(60.0))
        while s < road.length and pen("street.parking_breaks"):
            extent = float(rng.uniform(6, 18))
            holes.append((s, s + extent))
            s += extent + 20 + float(rng.exponential(50.0))
        for start, end in intervals(first, road.length - 12.0, holes):
            strips.append(Strip(side, start, end, width, kind))
    return replace(road, strips=tuple(strips))


def _arm_axis(pen: Pen, heading: float, clear: float) -> np.ndarray:
    """An axis from the origin outwards, straight for `clear` metres, afterwards sometimes bending."""
    if not pen("layout.bent_arms"):
        return turned(np.array([(0.0, 0.0), (HALF_LENGTH, 0.0)]), heading)
    extent, radius = float(pen("street.bend_length")), float(pen("street.bend_radius"))
    angle = min(extent / (2 * radius), 0.45)
    return turned(winding(pen.rng, HALF_LENGTH, [(clear, extent, angle)]), heading)


def _junction(pen: Pen, kind: str, corner: float) -> Layout:
    """A crossing of two roads, or a side road that ends at a main one."""
    rng = pen.rng
    base, angle = float(rng.uniform(-np.pi, np.pi)), np.radians(float(pen("layout.crossing_angle")))
    headings = [base, base + np.pi, base + angle, base + angle + np.pi]
    if pen.zone != "town" or pen("layout.tee"):
        headings.pop(int(rng.integers(2, 4)))
    arms = []
    for k, heading in enumerate(headings):
        axis = _arm_axis(pen, heading, 45.0)
        if k in (0, 2):
            model = _cross_section(pen, axis, single=k == 2 and len(headings) == 3)
            arms.append(model)
        else:
            flipped = (model.sidewalk[1], model.sidewalk[0])
            if k == 3 and len(headings) == 3:
                flipped = model.sidewalk
            arms.append(replace(model, axis=Path(axis), sidewalk=flipped))
    arms = _with_mouths(arms, Point(0, 0), corner)
    signalled = bool(pen("layout.signals")) and pen.zone != "suburban"
    return Layout(kind, pen.zone, tuple(_with_strips(pen, arm) for arm in arms), signalled, corner=corner)


def _with_mouths(arms: list[Road], middle: shapely.Geometry, corner: float) -> list[Road]:
    """Let every arm's mouth be where its kerbs run parallel again, beyond the rounded corners."""
    area = with_round_corners(shapely.union_all([middle, *(arm.carriageway for arm in arms)]), corner)
    shapely.prepare(area)
    return [replace(arm, mouth=_mouth(arm, area)) for arm in arms]


def _mouth(arm: Road, area: shapely.Geometry) -> float:
    for s in np.arange(2.0, 70.0, 0.5):
        x, y = arm.point(s, np.array([-arm.driven - 0.25, arm.driven + 0.25])).T
        if not shapely.intersects_xy(area, x, y).any():
            return float(s)
    raise ValueError("layout: two arms of a junction run side by side; draw layout.crossing_angle nearer to 90 degrees")


def _roundabout(pen: Pen, corner: float) -> Layout:
    rng, count = pen.rng, int(pen("layout.roundabout_arms"))
    ring, width = float(pen("layout.roundabout_radius")), float(pen("layout.roundabout_lane"))
    spread = rng.uniform(-1, 1, count) * 0.3 * np.pi / count
    headings = float(rng.uniform(-np.pi, np.pi)) + 2 * np.pi * np.arange(count) / count + spread
    disc = Point(0, 0).buffer(ring + width / 2, 24)
    arms = [_cross_section(pen, _arm_axis(pen, float(heading), ring + 35.0), single=True) for heading in headings]
    arms = [_with_strips(pen, arm) for arm in _with_mouths(arms, disc, corner)]
    return Layout("roundabout", pen.zone, tuple(arms), False, ring, width, bool(pen("layout.paved_square")), corner)

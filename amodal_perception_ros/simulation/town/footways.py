"""Where people walk and vehicles park: sidewalks, crossings and the places of parking strips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely
from shapely import LineString, MultiPoint, Point

from amodal_perception_ros.simulation.town.ground import Plan, spread
from amodal_perception_ros.simulation.town.layouts import Layout
from amodal_perception_ros.simulation.town.lots import FIRST_ROW
from amodal_perception_ros.simulation.town.roads import BAY, Road
from amodal_perception_ros.simulation.town.routes import ACROSS_MAIN, ACROSS_SIDE, arm_ends
from amodal_perception_ros.simulation.town.ways import Crossing, ParkingPlace, Path, Walk

CROSSING_WIDTH = 3.0


def lay_walks(layout: Layout, plan: Plan) -> tuple[Walk, ...]:
    """Return the walks: along all sidewalks, around and through parking lots, and around the island of a square."""
    sides = [road.walk(side) for road in layout.roads for side in (-1, 1)]
    width = min(free for _, free in sides)
    roads_only = shapely.union_all([_outline(layout)])
    ends = MultiPoint(arm_ends(layout.roads)).buffer(max(road.front(side) for road in layout.roads for side in (-1, 1)))
    lines = [shapely.boundary(roads_only).difference(ends)]
    band = shapely.union_all([road.band(-road.front(-1), road.front(1), 0, road.length) for road in layout.roads])
    lines += [lot.surface.buffer(0.75, join_style="mitre").boundary.difference(band) for lot in layout.lots]
    clear = shapely.union_all(lines).difference(plan.road.buffer(0.3))
    walks = [Walk(Path(points), width) for points in _pieces(clear)]
    for lot in layout.lots:
        walks += lot.walks()
    if layout.square:
        circle = Point(0, 0).buffer(layout.ring - layout.ring_width / 2 - 1.3, 16).exterior
        walks.append(Walk(Path(shapely.get_coordinates(circle)), 1.6))
    return tuple(walks)


def _outline(layout: Layout) -> shapely.Geometry:
    """The area inside the middle lines of all sidewalks; parking lots do not count."""
    bare = replace(layout, lots=())
    around = min(min(road.sidewalk) for road in layout.roads) / 2
    return spread(bare, lambda road, side: road.walk(side)[0], beyond=around)


def _pieces(lines: shapely.Geometry) -> list[np.ndarray]:
    merged = shapely.line_merge(lines)
    parts = [p for p in shapely.get_parts(merged) if isinstance(p, LineString) and p.length > 4.0]
    return [shapely.get_coordinates(shapely.simplify(p, 0.03)) for p in parts]


def lay_crossings(layout: Layout, plan: Plan) -> tuple[Crossing, ...]:
    """Return the crossings: before junctions, marked ones elsewhere, and over the doors of parking lots."""
    out = []
    for k, road in enumerate(layout.roads):
        s = layout.crossing_at(k)
        if s is not None:
            group = (ACROSS_MAIN if k < 2 else ACROSS_SIDE) if layout.signalled else None
            out.append(_across(road, s, plan, group))
        out += [_across(road, zebra, plan, None) for zebra in road.zebras]
        for side, s, width in road.doors:
            t = side * road.walk(side)[0]
            line = LineString(road.line(t, s - width, s + width)).intersection(plan.road)
            out.append(Crossing(Path(shapely.get_coordinates(line)[[0, -1]]), 1.6))
    return tuple(out)


def _across(road: Road, s: float, plan: Plan, signal: int | None) -> Crossing:
    reach = np.array([-road.front(-1) - 8.0, road.front(1) + 8.0])
    parts = shapely.get_parts(LineString(road.point(s, reach)).intersection(plan.road))
    inside = parts[int(np.argmin(shapely.distance(parts, Point(road.point(s, 0.0)))))]
    return Crossing(Path(shapely.get_coordinates(inside)[[0, -1]]), CROSSING_WIDTH, signal)


def lay_parking(layout: Layout) -> list[ParkingPlace]:
    """Return the places of all strips and lots; one row per strip and side."""
    out = []
    for k, road in enumerate(layout.roads):
        for strip in road.strips:
            t = strip.side * (road.driven + strip.width / 2)
            length, width = {"along": (5.0, 2.0), "across": (5.0, 2.3), "long": (12.0, 2.6)}[strip.kind]
            edges = road.bay_edges(strip)
            for number, s in enumerate(0.5 * (edges[1:] + edges[:-1])):
                x, y = road.point(s, t)
                yaw = float(road.heading(s)) + (0.0 if strip.side < 0 else np.pi)
                yaw += np.pi / 2 if strip.kind == "across" else 0.0
                kind, row = "long" if strip.kind == "long" else "car", 2 * k + (strip.side > 0)
                first = int(strip.start / BAY[strip.kind])
                out.append(ParkingPlace(float(x), float(y), yaw, length, width, kind, row, first + number))
    for k, lot in enumerate(layout.lots):
        out += lot.parking(FIRST_ROW * (k + 1))
    return out

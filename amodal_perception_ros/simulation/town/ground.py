"""The ground of a town: carriageways, sidewalks, islands and land as areas without gaps, and how they are drawn."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Point, Polygon

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, Part
from amodal_perception_ros.simulation.town.layouts import HALF_LENGTH, Layout
from amodal_perception_ros.simulation.town.roads import Road, with_round_corners

SIDEWALK_HEIGHT, TERRAIN_HEIGHT = 0.15, 0.14
WORLD = HALF_LENGTH + 65.0
"""The ground is a square of this half side [m]."""

CELL = 24.0
"""Areas are cut along a grid of this size, so that triangles stay small and belong to one tile [m]."""

ROAD, SIDEWALK, TERRAIN = BY_NAME["road"].id, BY_NAME["sidewalk"].id, BY_NAME["terrain"].id
LOT_CORNER = 1.6
"""Radius of the kerb at the doors of parking lots [m]."""

CURB = Material((0.42, 0.42, 0.41), 0.9)
GRASS = Material((0.09, 0.15, 0.045), 1.0, Kind.GRASS)

AddPart = Callable[[Part, Material, int], None]
"""Adds a part in odom to the town: part, material, class id."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Areas of the ground in odom; together they cover the world without overlap.

    Attributes:
        road: where vehicles drive and park, at height 0.
        sidewalk: at `SIDEWALK_HEIGHT`, kerbs included.
        planted: raised grass in and between carriageways.
        land: the rest, at `TERRAIN_HEIGHT`.
    """

    road: shapely.Geometry
    sidewalk: shapely.Geometry
    planted: shapely.Geometry
    land: shapely.Geometry


def plan_ground(layout: Layout) -> Plan:
    """Return the areas of a layout."""
    planted = [island for lot in layout.lots for island in lot.island_areas]
    paved: list[Polygon] = []
    for lot in layout.lots:
        (planted if lot.green else paved).extend(lot.medians)
    paved_islands = shapely.union_all(paved)
    green = shapely.union_all(planted)
    road = spread(layout, Road.widest_curb, exact=True).difference(shapely.union(green, paved_islands))
    around = min(min(arm.sidewalk) for arm in layout.roads)
    rims = shapely.union_all([road, green, paved_islands]).buffer(1.4)
    walk = shapely.union(spread(layout, Road.front, beyond=around), rims)
    if layout.ring:
        island = _island(layout)
        road = road.difference(island)
        planted_radius = 0.35 * layout.ring if layout.square and layout.paved else layout.ring - layout.ring_width / 2
        core = Point(0, 0).buffer(planted_radius, 24).intersection(island.buffer(-2.5 if layout.square else -0.5))
        walk, green = shapely.union(walk, island), shapely.union(green, core)
    world = shapely.box(-WORLD, -WORLD, WORLD, WORLD)
    sidewalk = walk.difference(shapely.union(road, green))
    return Plan(road, sidewalk, green, world.difference(shapely.union_all([road, sidewalk, green])))


def _island(layout: Layout) -> Polygon:
    return Point(0, 0).buffer(layout.ring - layout.ring_width / 2, 24)


def spread(layout: Layout, reach: Callable[[Road, int], float], exact: bool = False, beyond: float = 0.0
           ) -> shapely.Geometry:  # fmt: skip
    """Return the area around all axes up to `reach(road, side)`, with rounded corners where roads meet.

    Args:
        layout: the roads.
        reach: distance from the axis per road and side [m].
        exact: take the carriageways with their parking strips instead of `reach`.
        beyond: distance around roundabouts [m].
    """
    areas = [road.carriageway if exact else road.band(-reach(road, -1), reach(road, 1), 0, road.length)
             for road in layout.roads]  # fmt: skip
    if layout.ring:
        areas.append(Point(0, 0).buffer(layout.ring + layout.ring_width / 2 + beyond, 24))
    roads = with_round_corners(shapely.union_all(areas), layout.corner)
    lots = [lot.surface for lot in layout.lots]
    return with_round_corners(shapely.union_all([roads, *lots]), LOT_CORNER) if lots else roads


def draw_plan(plan: Plan, paving: Material, land: Material, add: AddPart) -> None:
    """Add all areas and the kerbs. Lower areas reach a little under higher ones, so that no crack stays open."""
    asphalt = Material((0.1, 0.1, 0.105), 0.9, Kind.ASPHALT)
    draw_area(plan.road.buffer(0.06, join_style="mitre"), 0.0, asphalt, ROAD, add)
    draw_area(plan.sidewalk, SIDEWALK_HEIGHT, paving, SIDEWALK, add)
    for area, material in ((plan.planted, GRASS), (plan.land, land)):
        under = area.buffer(0.1, join_style="mitre").difference(plan.road)
        draw_area(under, TERRAIN_HEIGHT, material, TERRAIN, add)
    for ring in rings_of(plan.road):
        draw_curb(ring, add)


def polygons_of(area: shapely.Geometry) -> list[Polygon]:
    """Return the polygons of a geometry, tiny ones left out."""
    return [p for p in shapely.get_parts(area, return_index=False) if isinstance(p, Polygon) and p.area > 1e-4]


def rings_of(area: shapely.Geometry) -> Iterable[np.ndarray]:
    """Yield (n, 2) closed outlines with the area to their left."""
    for polygon in polygons_of(area):
        polygon = shapely.orient_polygons(polygon)
        for ring in (polygon.exterior, *polygon.interiors):
            yield shapely.get_coordinates(ring)


def draw_area(area: shapely.Geometry, z: float, material: Material, cls: int, add: AddPart) -> None:
    """Add a horizontal area at height z, cut along the grid."""
    if area.is_empty:
        return
    low_x, low_y, high_x, high_y = area.bounds
    shapely.prepare(area)
    for i in range(int(np.floor(low_x / CELL)), int(np.ceil(high_x / CELL))):
        column = shapely.intersection(area, shapely.box(i * CELL, low_y - 1, (i + 1) * CELL, high_y + 1))
        if column.is_empty:
            continue
        _, bottom, _, top = column.bounds
        for j in range(int(np.floor(bottom / CELL)), int(np.ceil(top / CELL))):
            for polygon in polygons_of(
                shapely.intersection(column, shapely.box(i * CELL, j * CELL, (i + 1) * CELL, (j + 1) * CELL))
            ):
                add(_flat(polygon, z), material, cls)


def _flat(polygon: Polygon, z: float) -> Part:
    triangles = shapely.get_parts(shapely.constrained_delaunay_triangles(polygon))
    corners = shapely.get_coordinates(triangles).reshape(-1, 4, 2)[:, :3]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    turned = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0
    corners[turned] = corners[turned][:, ::-1]
    flat = corners.reshape(-1, 2)
    vertices = np.concatenate([flat, np.full((len(flat), 1), z)], 1)
    return vertices, np.arange(len(flat)).reshape(-1, 3), flat.copy()


def draw_curb(ring: np.ndarray, add: AddPart, width: float = 0.15) -> None:
    """Add a kerb stone along a closed outline; it stands to the right of it."""
    points = _without_repeats(ring[:-1])
    legs = np.roll(points, -1, 0) - points
    legs /= np.linalg.norm(legs, axis=1, keepdims=True)
    normal = np.stack([legs[:, 1], -legs[:, 0]], 1)
    miter = normal + np.roll(normal, 1, 0)
    miter /= np.maximum((miter * normal).sum(1, keepdims=True), 0.4)
    profile = [(0.0, -0.05), (0.0, 0.16), (width, 0.16), (width, 0.1)]
    rows = np.stack([np.concatenate([points + out * miter, np.full((len(points), 1), z)], 1) for out, z in profile])
    rows = np.concatenate([rows, rows[:, :1]], 1)
    for start in range(0, len(points), 12):
        stop = min(start + 12, len(points))
        if np.ptp(rows[0, start : stop + 1, :2], axis=0).max() < 60:
            add(_skin(rows[:, start : stop + 1]), CURB, SIDEWALK)
        else:
            for k in range(start, stop):
                for piece in _cut(rows[:, k : k + 2], 40.0):
                    add(_skin(piece), CURB, SIDEWALK)


def _without_repeats(points: np.ndarray) -> np.ndarray:
    return points[np.hypot(*(points - np.roll(points, 1, 0)).T) > 1e-3]


def _cut(rows: np.ndarray, longest: float) -> Iterable[np.ndarray]:
    count = max(1, int(np.ceil(np.linalg.norm(rows[0, 1] - rows[0, 0]) / longest)))
    shares = np.linspace(0, 1, count + 1)
    for a, b in itertools.pairwise(shares):
        yield np.stack([rows[:, 0] + s * (rows[:, 1] - rows[:, 0]) for s in (a, b)], 1)


def _skin(rows: np.ndarray) -> Part:
    """Return the surface through rows of points (rows, n, 3), each face with its own texture coordinates."""
    count, n = rows.shape[:2]
    index = np.arange(count * n).reshape(count, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    vertices = rows.reshape(-1, 3)
    return vertices, faces, vertices[:, :2].copy()


def ribbon(left: np.ndarray, right: np.ndarray, z: float) -> Part:
    """Return a flat band between two lines of (n, 2) points."""
    rows = np.stack([np.concatenate([line, np.full((len(line), 1), z)], 1) for line in (right, left)])
    return _skin(rows)

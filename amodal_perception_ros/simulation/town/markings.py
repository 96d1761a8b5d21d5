"""Paint on the carriageways: lane lines, stop lines, crossings and parking bays."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import Kind, Material, quad
from amodal_perception_ros.simulation.town.ground import ROAD, AddPart, ribbon
from amodal_perception_ros.simulation.town.layouts import Layout
from amodal_perception_ros.simulation.town.lots import BAY, BAY_WIDTH, Lot, bay_edges
from amodal_perception_ros.simulation.town.roads import Road

PAINT = Material((0.6, 0.6, 0.58), 0.7, Kind.MARKING)
PAINT_HEIGHT, ZEBRA_HEIGHT = 0.012, 0.016


def draw_markings(layout: Layout, add: AddPart) -> None:
    """Add all paint of a layout."""
    for k, road in enumerate(layout.roads):
        stop, crossing = layout.stop_at(k), layout.crossing_at(k)
        painted = [s for s in (stop, crossing) if s is not None]
        _lane_lines(road, max([road.mouth + 0.5, *(s + 1.6 for s in painted)]), add)
        _bays(road, add)
        for s in road.zebras:
            _zebra(road, s, add)
        if crossing is not None and (layout.signalled or layout.ring):
            _zebra(road, crossing, add)
        if stop is not None:
            _stop_line(road, stop, add, dashed=not layout.signalled)
    for lot in layout.lots:
        _lot_bays(lot, add)


def _dash(road: Road, s: float, t: float, length: float, width: float, add: AddPart, z: float = PAINT_HEIGHT) -> None:
    a, b = length / 2, width / 2
    corners = road.point(np.array([s - a, s + a, s + a, s - a]), np.array([t - b, t - b, t + b, t + b]))
    add(quad([(x, y, z) for x, y in corners]), PAINT, ROAD)


def _dashes(road: Road, start: float, t: float, length: float, period: float, add: AddPart) -> None:
    for s in np.arange(start + period / 2, road.length - 4.0, period):
        _dash(road, float(s), t, length, 0.12, add)


def _line(road: Road, start: float, t: float, add: AddPart) -> None:
    s = road.stations(start, road.length - 0.5)
    for k in range(0, len(s) - 1, 8):
        part = s[k : k + 9]
        add(ribbon(road.point(part, t + 0.06), road.point(part, t - 0.06), PAINT_HEIGHT), PAINT, ROAD)


def _lane_lines(road: Road, start: float, add: AddPart) -> None:
    if road.lanes > 1:
        for t in (-0.12, 0.12):
            _line(road, start, t, add)
    elif road.lane_width >= 2.9:
        _dashes(road, start, 0.0, 3.0, 7.0, add)
    for side in (-1, 1):
        for k in range(1, road.lanes):
            _dashes(road, start, side * k * road.lane_width, 3.0, 9.0, add)
        if road.bike_lane:
            _line(road, start, side * road.lanes * road.lane_width, add)


def _bays(road: Road, add: AddPart) -> None:
    for strip in road.strips:
        for s in road.bay_edges(strip):
            _dash(road, float(s), strip.side * (road.driven + strip.width / 2), 0.1, strip.width - 0.2, add)


def _zebra(road: Road, s: float, add: AddPart) -> None:
    for t in np.arange(-road.driven + 0.4, road.driven, 1.0):
        _dash(road, s, float(t), 3.0, 0.5, add, ZEBRA_HEIGHT)


def _stop_line(road: Road, s: float, add: AddPart, dashed: bool) -> None:
    width = road.lanes * road.lane_width
    if not dashed:
        _dash(road, s, width / 2, 0.4, width - 0.3, add)
        return
    for t in np.arange(0.4, width, 0.9):
        _dash(road, s, float(t), 0.4, 0.5, add)


def _lot_bays(lot: Lot, add: AddPart) -> None:
    for row in range(2 * lot.aisles):
        v = lot.row(row)
        edges = bay_edges(lot.length)
        for u in (*edges, edges[-1] + BAY_WIDTH):
            a, b = 0.05, BAY / 2 - 0.15
            corners = lot.point(np.array([u - a, u + a, u + a, u - a]), np.array([v - b, v - b, v + b, v + b]))
            add(quad([(x, y, PAINT_HEIGHT) for x, y in (corners if lot.side < 0 else corners[::-1])]), PAINT, ROAD)

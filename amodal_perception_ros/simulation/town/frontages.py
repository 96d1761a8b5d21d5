"""The land beside the roads: houses, gardens, driveways, industrial yards, and what closes the horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from amodal_perception_ros.simulation.assets.buildings import BUILDING_FAMILIES
from amodal_perception_ros.simulation.assets.meshes import Kind, Material
from amodal_perception_ros.simulation.town.builder import TownBuilder, rectangle
from amodal_perception_ros.simulation.town.ground import SIDEWALK, TERRAIN, TERRAIN_HEIGHT, draw_area
from amodal_perception_ros.simulation.town.roads import Road
from amodal_perception_ros.simulation.town.ways import ParkingPlace

FAMILIES = {"town": "scenery.city_buildings", "suburban": "scenery.suburb_buildings",
            "industrial": "scenery.industrial_buildings"}  # fmt: skip
NARROWEST = {"town": "tenement", "suburban": "detached", "industrial": "hall"}
DRIVEWAY_ROW = 1000


@dataclass(frozen=True, eq=False)
class Plot:
    """A piece of land beside a road, from s = `start` to `end`; depths are measured from the sidewalk [m]."""

    road: Road
    side: int
    start: float
    end: float

    @property
    def width(self) -> float:
        """Extent along the road [m]."""
        return self.end - self.start

    @property
    def middle(self) -> float:
        """S of its middle."""
        return 0.5 * (self.start + self.end)

    @property
    def yaw(self) -> float:
        """Heading of a building whose front (local -y) looks to the road."""
        return float(self.road.heading(self.middle)) + (0.0 if self.side > 0 else np.pi)

    def point(self, s: float, depth: float) -> np.ndarray:
        """Return the odom position at s and a depth behind the sidewalk's edge."""
        return self.road.point(s, self.side * (self.road.front(self.side) + depth))

    def anywhere(self, rng: np.random.Generator, margin: float, nearest: float, farthest: float) -> np.ndarray:
        """Draw a position about `margin` inside both ends, between two depths."""
        inset = min(margin, 0.45 * self.width)
        s = float(rng.uniform(self.start + inset, self.end - inset))
        return self.point(s, float(rng.uniform(nearest, max(nearest, farthest))))


def build_frontages(builder: TownBuilder) -> None:
    """Line both sides of every road."""
    zone = builder.layout.zone
    for number, road in enumerate(builder.layout.roads):
        for side in (-1, 1):
            setback = float(builder.draw("town.setback"))
            if zone == "town" and setback < 3:
                low, high = sorted(side * (road.front(side) + d) for d in (-0.3, setback + 1.2))
                _pave(builder, road.band(low, high, road.mouth, road.length), builder.paving)
            s = road.mouth + (0.0 if road.mouth else 2.0)
            while s < road.length - 6:
                width = min(float(builder.draw("town.plot_width")), road.length - s)
                plot = Plot(road, side, s, s + width)
                if zone == "town":
                    _town_plot(builder, plot, setback)
                elif zone == "suburban":
                    _garden_plot(builder, plot, DRIVEWAY_ROW + 10 * number + side)
                else:
                    _yard_plot(builder, plot, DRIVEWAY_ROW + 10 * number + side)
                s += width + (float(builder.rng.uniform(2, 6)) if builder.draw("town.passage") else 0.05)


def build_ring_frontages(builder: TownBuilder) -> None:
    """Put houses around a roundabout, between its arms."""
    layout, rng = builder.layout, builder.rng
    radius = layout.ring + layout.ring_width / 2 + max(max(road.sidewalk) for road in layout.roads)
    angle = 0.0
    while layout.ring and angle < 2 * np.pi:
        family = str(builder.draw(FAMILIES[layout.zone]))
        wide, deep, tall = builder.draw_building(family, float(builder.draw("town.plot_width")))
        back = 0.125 * wide**2 / radius + float(rng.uniform(0.3, 2.0))
        outward = np.array([np.cos(angle), np.sin(angle)])
        if builder.put_building(family, (radius + back + deep / 2) * outward, (wide, deep), angle - np.pi / 2, tall):
            angle += 0.5 * wide / radius
        angle += 0.12


def _house(builder: TownBuilder, plot: Plot, setback: float, family: str | None = None) -> bool:
    """Put a building on the plot, farther back or smaller where that does not fit (at corners, in bends)."""
    zone = builder.layout.zone
    family = family or str(builder.draw(FAMILIES[zone]))
    if BUILDING_FAMILIES[family].width[0] > plot.width + 1.0:
        family = NARROWEST[zone]
    narrowest = BUILDING_FAMILIES[family].width[0]
    wide, deep, tall = builder.draw_building(family, plot.width)
    for back, share in ((0.0, 1.0), (0.7, 1.0), (2.0, 1.0), (0.5, 0.75), (5.0, 0.8)):
        width = max(wide * share, narrowest)
        center = plot.point(plot.middle, setback + back + deep / 2)
        if builder.put_building(family, center, (width, deep), plot.yaw, tall):
            return True
    return False


def _town_plot(builder: TownBuilder, plot: Plot, setback: float) -> None:
    use = str(builder.draw("town.plot"))
    if use == "house" and _house(builder, plot, setback):
        return
    if use in ("wall", "fence", "hedge"):
        _front(builder, plot, use, [])
    if use != "park":
        _house(builder, plot, setback + float(builder.rng.uniform(5, 9)))
    _plants(builder, plot, int(builder.rng.integers(1, 5)), 1.0, 6.0 + setback)


def _front(builder: TownBuilder, plot: Plot, kind: str, gaps: list[tuple[float, float]]) -> None:
    """Enclose the plot towards the road, but for gaps (from, to) in s."""
    s = plot.start + 0.2
    while s < plot.end - 1.0:
        stop = min(s + (40.0 if len(plot.road.axis.points) == 2 else 5.0), plot.end - 0.2)
        inside = [g for g in gaps if g[0] < stop and g[1] > s]
        if inside:
            stop = min(stop, inside[0][0])
        if stop - s > 0.8:
            builder.put_enclosure(kind, plot.point(s, 0.3), plot.point(stop, 0.3))
        s = inside[0][1] if inside and stop >= inside[0][0] - 1e-9 else stop


def _plants(builder: TownBuilder, plot: Plot, count: int, nearest: float, farthest: float) -> None:
    for _ in range(count):
        point = plot.anywhere(builder.rng, 0.0, nearest, farthest)
        if builder.rng.random() < 0.6:
            builder.put_tree(point, str(builder.draw("scenery.garden_trees")), 600)
        else:
            builder.put_bush(point)


def _pave(builder: TownBuilder, area: shapely.Geometry, material: Material) -> None:
    """Lay a surface over the land beside roads and sidewalks."""
    cls = SIDEWALK if material is builder.paving else TERRAIN
    draw_area(area.intersection(builder.plan.land), TERRAIN_HEIGHT + 0.012, material, cls, builder.add)


def _surface(builder: TownBuilder) -> Material:
    shade = float(builder.rng.uniform(0.6, 1.3))
    if builder.rng.random() < 0.4:
        return Material((0.13 * shade, 0.13 * shade, 0.13 * shade), 0.9, Kind.ASPHALT)
    return Material((0.32 * shade, 0.3 * shade, 0.27 * shade), 0.9, Kind.PAVING)


def _garden_plot(builder: TownBuilder, plot: Plot, row: int) -> None:
    """A detached house with garden, enclosure, and often a driveway with parked cars."""
    rng, setback = builder.rng, float(builder.draw("town.setback"))
    gaps: list[tuple[float, float]] = []
    house = plot
    paved_side = any(strip.side == plot.side for strip in plot.road.strips)
    if plot.width > 13 and not paved_side and builder.draw("town.driveway"):
        at = plot.end - 2.2 if rng.random() < 0.5 else plot.start + 2.2
        length = setback + float(rng.uniform(1.0, 7.0))
        if _driveway(builder, plot, at, length, row):
            gaps.append((at - 1.6, at + 1.6))
            low, high = (plot.start, plot.end - 4.2) if at > plot.middle else (plot.start + 4.2, plot.end)
            house = Plot(plot.road, plot.side, low, high)
    margin = min(2.0, 0.1 * house.width)
    inner = Plot(plot.road, plot.side, house.start + margin, house.end - margin)
    _house(builder, inner, setback)
    enclosure = str(builder.draw("town.garden_front"))
    if enclosure != "open":
        door = inner.middle + float(rng.uniform(-3, 3))
        _front(builder, plot, enclosure, sorted([*gaps, (door - 0.6, door + 0.6)]))
    if rng.random() < 0.6:
        builder.put_enclosure("hedge" if rng.random() < 0.5 else "fence", plot.point(plot.end - 0.3, 0.8),
                              plot.point(plot.end - 0.3, 12.0))  # fmt: skip
    _plants(builder, plot, int(rng.integers(2, 6)), 1.0, 1.0 + setback)
    _plants(builder, plot, 2, setback + 10, setback + 20)
    for name in ("wheelie bins", "trellis", "shed", "boulder"):
        if rng.random() < 0.2:
            point = plot.anywhere(rng, 1.0, 1.0, 5.0)
            builder.put(name, point, plot.yaw + np.pi, plot.yaw + np.pi / 2)


def _driveway(builder: TownBuilder, plot: Plot, at: float, length: float, row: int) -> bool:
    """A paved strip from the sidewalk with one or two places, often with a garage at its end."""
    heading = plot.yaw + np.pi / 2
    area = rectangle(plot.point(at, length / 2), (length - 0.1, 3.0), heading)
    if length < 5.6 or not builder.is_free(area, paved_too=False):
        return False
    builder.claim(area)
    _pave(builder, area.buffer(0.3, join_style="mitre"), _surface(builder))
    turned = heading + (np.pi if builder.rng.random() < 0.4 else 0.0)
    for number in range(int(length // 5.6)):
        x, y = plot.point(at, 2.9 + 5.6 * number)
        builder.parking.append(ParkingPlace(float(x), float(y), turned, 5.0, 2.0, "car", row, len(builder.parking)))
    if builder.rng.random() < 0.45:
        builder.put_building("garage", plot.point(at, length + 3.3), (3.4, 5.8), plot.yaw, 2.5)
    return True


def _yard_plot(builder: TownBuilder, plot: Plot, row: int) -> None:
    """A hall behind a yard with containers, pallets and lorries, mostly fenced."""
    rng, depth = builder.rng, float(builder.draw("town.setback"))
    margin = 0.08 * plot.width
    built = _house(builder, Plot(plot.road, plot.side, plot.start + margin, plot.end - margin), depth)
    low, high = sorted(plot.side * (plot.road.front(plot.side) + d) for d in (0.0, depth + 1.0))
    yard = plot.road.band(low, high, plot.start, min(plot.end, plot.road.length))
    if built and depth > 5:
        _pave(builder, yard, _surface(builder))
    gate = plot.middle + float(rng.uniform(-0.3, 0.3)) * plot.width
    enclosure = str(builder.draw("town.yard_front"))
    if enclosure != "open":
        _front(builder, plot, enclosure, [(gate - 4, gate + 4)])
    builder.claim(rectangle(plot.point(gate, depth / 2), (6.0, max(depth - 1.0, 1.0)), plot.yaw))
    for _ in range(int(rng.integers(0, 4)) if depth > 6 else 0):
        _lorry_place(builder, plot, depth, row)
    for _ in range(int(builder.draw("town.yard_props"))):
        name = str(builder.draw("town.yard_prop"))
        point = plot.anywhere(rng, 2.0, 1.5, depth - 1.0)
        yaw = plot.yaw + (np.pi / 2 if rng.random() < 0.3 else 0.0) + float(rng.normal(0, 0.05))
        if builder.put(name, point, yaw, plot.yaw + np.pi / 2) and name == "container" and rng.random() < 0.5:
            builder.put(name, point + 2.9 * np.array([-np.sin(yaw), np.cos(yaw)]), yaw, plot.yaw + np.pi / 2)
    _plants(builder, plot, int(rng.integers(0, 3)), 0.8, 3.0)


def _lorry_place(builder: TownBuilder, plot: Plot, depth: float, row: int) -> None:
    rng = builder.rng
    across = depth > 14 and rng.random() < 0.5
    point = plot.anywhere(rng, 7.0, *((7.5, depth - 7.0) if across else (2.5, depth - 2.0)))
    yaw = plot.yaw + (np.pi / 2 if across else np.pi * int(rng.integers(2)))
    area = rectangle(point, (12.6, 3.2), yaw)
    if builder.is_free(area, paved_too=False):
        builder.claim(area)
        x, y = (float(v) for v in point)
        builder.parking.append(ParkingPlace(x, y, yaw, 12.0, 2.6, "long", row, len(builder.parking)))


def build_backdrop(builder: TownBuilder) -> None:
    """Put buildings across the ends of the roads and behind the first row, so that no view reaches the horizon."""
    rng, entry = builder.rng, FAMILIES[builder.layout.zone]
    for road in builder.layout.roads:
        for s, outward in ((road.length, 1), *(() if road.mouth else ((0.0, -1),))):
            heading = float(road.heading(s))
            ahead = np.array([np.cos(heading), np.sin(heading)]) * outward
            for t in np.arange(-54, 55, 18.0):
                family = str(builder.draw(entry))
                wide, deep, tall = builder.draw_building(family, 17.5)
                center = road.point(s, t) + (10 + deep / 2 + 0.15 * abs(t)) * ahead
                builder.put_building(family, center, (wide, deep), heading - outward * np.pi / 2, tall + 3)
    for road in builder.layout.roads:
        for side in (-1, 1):
            for row in (38.0, 72.0):
                s = road.mouth + float(rng.uniform(0, 20))
                while s < road.length:
                    family = str(builder.draw(entry))
                    wide, deep, tall = builder.draw_building(family)
                    plot = Plot(road, side, s, s + wide)
                    center = plot.point(plot.middle, row + deep / 2)
                    builder.put_building(family, center, (wide, deep), plot.yaw, tall, margin=1.0)
                    s += wide + float(rng.uniform(2, 16))


def build_lots(builder: TownBuilder) -> None:
    """Furnish parking lots: trees on islands, hedges and trees on planted strips, a hall behind."""
    rng = builder.rng
    for lot in builder.layout.lots:
        for row, places in enumerate(lot.islands):
            for u in places:
                point = lot.point(u + 1.3, lot.row(row))
                if rng.random() < 0.75:
                    builder.put_tree(point, str(builder.draw("scenery.street_trees")), 600)
                else:
                    builder.put_bush(point)
        if lot.building:
            v = lot.near + lot.depth + 4.0 + lot.building / 2
            width = float(np.clip(lot.length * rng.uniform(0.6, 0.95), 18, 50))
            size = (width, float(np.clip(lot.building, 12, 35)))
            builder.put_building("supermarket", lot.point(lot.length / 2, v), size, lot.heading + np.pi, 6.0)
        for k in range(lot.aisles - 1 if lot.green else 0):
            v = 0.5 * (lot.row(2 * k + 1) + lot.row(2 * k + 2))
            for u in np.arange(10.0, lot.length - 12.0, 8.0):
                if rng.random() < 0.5:
                    builder.put_enclosure("hedge", lot.point(u, v), lot.point(u + 6.0, v))
                else:
                    builder.put_tree(lot.point(u + 3.0, v), str(builder.draw("scenery.street_trees")), 600)
        for u in np.arange(3.0, lot.length, 9.0):
            if rng.random() < 0.5:
                stop = min(u + 7.0, lot.length)
                builder.put_enclosure("hedge", lot.point(u, lot.near - 1.0), lot.point(stop, lot.near - 1.0))

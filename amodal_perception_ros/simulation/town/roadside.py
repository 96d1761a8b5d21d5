"""What stands along the roads: lamps, trees, signs, stops, and props that hide people and vehicles."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.poles import LAMP_STYLES, add_sign, add_street_lamp
from amodal_perception_ros.simulation.town.builder import TownBuilder
from amodal_perception_ros.simulation.town.ground import SIDEWALK_HEIGHT
from amodal_perception_ros.simulation.town.roads import Road
from amodal_perception_ros.simulation.town.ways import Place


def furnish_roads(builder: TownBuilder) -> None:
    """Put furniture and occluders along both sides of every road, and on the island of a square."""
    lamp = int(builder.rng.integers(LAMP_STYLES))
    for road in builder.layout.roads:
        _strip_props(builder, road)
        for side in (-1, 1):
            _lamps(builder, road, side, lamp)
            _crossing_posts(builder, road, side)
            _stops(builder, road, side)
            _props(builder, road, side)
            _trees(builder, road, side)
            _signs(builder, road, side)
    if builder.layout.ring:
        _island(builder)


def _stations(builder: TownBuilder, road: Road, step: float, keep: float = 0.0) -> list[float]:
    """Jittered s along a road, `keep` metres clear of its junction."""
    rng = builder.rng
    begin = road.mouth + keep if road.mouth else 5.0
    places = np.arange(begin + float(rng.uniform(0, step)), road.length - 5.0, step)
    return [float(s) for s in places + rng.uniform(-0.15, 0.15, len(places)) * step if s > begin]


def _kerbside(road: Road, side: int, s: float, distance: float = 0.55) -> np.ndarray:
    return road.point(s, side * (road.curb(side, s) + distance))


def _away(road: Road, side: int, s: float) -> float:
    """Heading from the carriageway to that side."""
    return float(road.heading(s)) + side * np.pi / 2


def _lamps(builder: TownBuilder, road: Road, side: int, style: int) -> None:
    step, height = float(builder.draw("town.lamp_spacing")), float(builder.draw("town.lamp_height"))
    for s in _stations(builder, road, step):
        point = _kerbside(road, side, s, 0.3)
        if builder.put_pole(point):
            x, y = float(point[0]), float(point[1])
            toward = _away(road, side, s) + np.pi
            mesh = builder.tile(x, y)
            builder.lamps.append(add_street_lamp(mesh, x, y, SIDEWALK_HEIGHT, toward, height, style))


def _crossing_posts(builder: TownBuilder, road: Road, side: int) -> None:
    for zebra in road.zebras:
        for ds in (-2.3, 2.3):
            builder.put("bollard", _kerbside(road, side, zebra + ds, 0.3), 0.0)


def _stops(builder: TownBuilder, road: Road, side: int) -> None:
    """Bus stops: a shelter on the sidewalk or behind it, and people who wait."""
    rng = builder.rng
    if not builder.draw("town.bus_stop"):
        return
    s = float(rng.uniform(road.mouth + 14, min(road.length - 30, road.mouth + 90)))
    yaw = _away(road, side, s) - np.pi / 2
    if not _try_across(builder, road, side, s, "bus shelter", yaw):
        return
    for _ in range(int(rng.integers(1, 6))):
        x, y = _kerbside(road, side, s + float(rng.uniform(-4, 4)), float(rng.uniform(0.5, 1.2)))
        builder.add_place(Place(float(x), float(y), yaw - np.pi / 2, "wait"))


def _try_across(builder: TownBuilder, road: Road, side: int, s: float, name: str, yaw: float) -> bool:
    """Try places for a prop between the kerb and the land behind the sidewalk."""
    front, curb = road.front(side), road.curb(side, s)
    for t in (*np.arange(curb + 0.5, front, 0.5), front + 0.4, front + 1.0, front + 1.6):
        if builder.put(name, road.point(s, side * float(t)), yaw, _away(road, side, s)):
            return True
    return False


def _props(builder: TownBuilder, road: Road, side: int) -> None:
    rng, step = builder.rng, float(builder.draw("town.prop_spacing"))
    for s in _stations(builder, road, step, keep=3.0):
        name = str(builder.draw("town.kerb_prop"))
        turn = np.pi if rng.random() < 0.3 else 0.0
        yaw = _away(road, side, s) + np.pi / 2 + turn + float(rng.normal(0, 0.04))
        if name == "bush":
            builder.put_bush(_kerbside(road, side, s, 0.9))
        else:
            _try_across(builder, road, side, s, name, yaw)


def _strip_props(builder: TownBuilder, road: Road) -> None:
    """Let skips and the like take some places of the parking strips along the kerb."""
    for strip in road.strips:
        if strip.kind == "across" or not builder.draw("town.strip_prop"):
            continue
        edges = road.bay_edges(strip)
        if len(edges) < 4:
            continue
        k = int(builder.rng.integers(1, len(edges) - 2))
        s = 0.5 * float(edges[k] + edges[k + 1])
        point = road.point(s, strip.side * (road.driven + strip.width / 2 + 0.1))
        builder.put_on_strip(str(builder.draw("town.strip_prop_kind")), point, float(road.heading(s)),
                             _away(road, strip.side, s))  # fmt: skip


def _trees(builder: TownBuilder, road: Road, side: int) -> None:
    if not builder.draw("town.tree_row"):
        return
    family = str(builder.draw("scenery.street_trees"))
    for s in _stations(builder, road, float(builder.draw("town.tree_spacing")), keep=7.0):
        if abs(s - road.length / 2) < 130 or road.mouth:
            builder.put_tree(_kerbside(road, side, s, 0.6), family)


def _signs(builder: TownBuilder, road: Road, side: int) -> None:
    for s in _stations(builder, road, 26.0, keep=7.0):
        point = _kerbside(road, side, s, 0.35)
        if builder.put_pole(point):
            x, y = float(point[0]), float(point[1])
            facing = float(road.heading(s)) + (np.pi if side < 0 else 0.0)
            add_sign(builder.tile(x, y), builder.rng, x, y, SIDEWALK_HEIGHT, facing)


def _island(builder: TownBuilder) -> None:
    """A planted mound, or on a large island a square with trees, benches and stalls where people stand."""
    rng, layout = builder.rng, builder.layout
    radius = layout.ring - layout.ring_width / 2
    square = layout.square
    props = ["advertising pillar", "kiosk", "bench", "bench", "planter", "market stall", "market stall", "litter bin"]
    for name in props if square else ["boulder", "boulder", "planter"]:
        if rng.random() < 0.7:
            at = _in_disc(rng, radius - 4.5)
            builder.put(name, at, float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi)))
    for _ in range(int(builder.draw("town.island_trees"))):
        builder.put_tree(_in_disc(rng, radius - 2.0), str(builder.draw("scenery.garden_trees")))
    for _ in range(int(rng.integers(2, 9))):
        builder.put_bush(_in_disc(rng, radius - 2.0))
    for _ in range(int(rng.integers(3, 9)) if square else 0):
        x, y = _in_disc(rng, radius - 3.0)
        builder.add_place(Place(float(x), float(y), float(rng.uniform(0, 2 * np.pi)), "group"))


def _in_disc(rng: np.random.Generator, radius: float) -> np.ndarray:
    angle, distance = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.random())
    return distance * np.array([np.cos(angle), np.sin(angle)])


def stand_on_sidewalks(builder: TownBuilder) -> None:
    """Add places on the sidewalks where people talk, and at kerbs where they wait."""
    rng = builder.rng
    for road in builder.layout.roads:
        for side in (-1, 1):
            for s in _stations(builder, road, float(builder.draw("town.group_spacing")), keep=2.0):
                wait = rng.random() < 0.25
                distance, free = road.walk(side)
                t = road.curb(side, s) + 0.6 if wait else distance + float(rng.uniform(-0.4, 0.4)) * free
                x, y = road.point(s, side * t)
                yaw = _away(road, side, s) + np.pi if wait else float(rng.uniform(0, 2 * np.pi))
                builder.add_place(Place(float(x), float(y), yaw, "wait" if wait else "group"))

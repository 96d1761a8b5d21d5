"""The town generator: one street or a crossing with sidewalks, parking, buildings, trees and street furniture."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation import scenery
from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.lanes import ways_of
from amodal_perception_ros.simulation.meshes import Kind, Material, MeshBuilder, Model, Part, ground_patch
from amodal_perception_ros.simulation.street import HALF_LENGTH, SIDEWALK_HEIGHT, Street, draw_ground, draw_street
from amodal_perception_ros.simulation.ways import Ways

TILE = 48.0
"""Static geometry is grouped into square tiles of this size [m], which are culled one by one."""

TERRAIN = BY_NAME["terrain"].id
TERRAIN_HEIGHT = 0.14
GRASS = Material((0.09, 0.15, 0.045), 1.0, Kind.GRASS)
YARD = Material((0.3, 0.28, 0.25), 0.95, Kind.PAVING)


@dataclass(frozen=True, eq=False)
class Footprint:
    """Ground outline of a static obstacle: class id and (n, 2) convex corners in odom [m]."""

    class_id: int
    corners: np.ndarray


@dataclass(eq=False)
class Town:
    """Static world of a sequence.

    Attributes:
        streets: the main street, and the crossing one if there is one.
        tiles: static geometry in odom, grouped by place.
        footprints: outlines of static obstacles between 0.2 and 2.5 m above the ground.
        lamps: (n, 3) positions of street lights [m].
        zebras: per street, s of the marked pedestrian crossings.
        main_green: whether the main street has a green light at the start (with a crossing).
        ways: what the town offers to traffic and pedestrians.
    """

    streets: tuple[Street, ...]
    tiles: list[Model]
    footprints: list[Footprint]
    lamps: np.ndarray
    zebras: tuple[tuple[float, ...], ...]
    main_green: bool
    ways: Ways

    def ground_height(self, points: np.ndarray) -> np.ndarray:
        """Return the ground height [m] at (..., 2) odom positions: 0 on carriageways, else the sidewalk's."""
        road = np.zeros(points.shape[:-1], bool)
        for street in self.streets:
            s, t = street.local(points)
            road |= (t < street.curb(1)) & (t > -street.curb(-1)) & (np.abs(s) <= HALF_LENGTH)
        return np.where(road, 0.0, SIDEWALK_HEIGHT)


@dataclass
class TownBuilder:
    """Collects static geometry by tile, obstacle outlines and lamps while the town is laid out."""

    rng: np.random.Generator
    streets: tuple[Street, ...]
    builders: dict[tuple[int, int], MeshBuilder] = field(default_factory=lambda: defaultdict(MeshBuilder))
    footprints: list[Footprint] = field(default_factory=list)
    lamps: list[np.ndarray] = field(default_factory=list)

    def tile(self, x: float, y: float) -> MeshBuilder:
        """Return the mesh builder of the tile at an odom position."""
        return self.builders[(int(np.floor(x / TILE)), int(np.floor(y / TILE)))]

    def place(self, part: Part, material: Material, cls: int) -> None:
        """Add a part to the tile of its middle."""
        middle = 0.5 * (part[0].min(0) + part[0].max(0))
        self.tile(float(middle[0]), float(middle[1])).add(part, material, cls)

    def outline(self, class_id: int, center: np.ndarray, size: tuple[float, float], yaw: float = 0.0) -> None:
        """Register a rectangular obstacle; thin ones are widened to 0.25 m so that the BEV grid sees them."""
        a, b = max(size[0], 0.25) / 2, max(size[1], 0.25) / 2
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        corners = np.array([(-a, -b), (a, -b), (a, b), (-a, b)]) @ turn.T + np.asarray(center)[:2]
        self.footprints.append(Footprint(class_id, corners))

    def blocked(self, point: np.ndarray, margin: float = 0.0) -> bool:
        """Whether an odom position lies on a street (sidewalks included) or within `margin` [m] of one."""
        for street in self.streets:
            s, t = street.local(point)
            if abs(s) < HALF_LENGTH + 5 and -street.edge(-1) - margin < t < street.edge(1) + margin:
                return True
        return False


def build_town(config: SequenceConfig) -> Town:
    """Return the static world of a sequence."""
    rng = config.stream(2)
    layout = config.distributions.draw(rng, "layout.kind") if config.layout == "random" else config.layout
    streets = _streets(rng, layout)
    zebras = _zebras(rng, streets)
    builder = TownBuilder(rng, streets)
    for k, street in enumerate(streets):
        draw_ground(street, builder.place, k == 0, list(zebras[k]))
    _terrain(builder)
    main_green = bool(rng.random() < 0.55)
    _furniture(builder, zebras)
    if len(streets) > 1:
        _signals(builder, main_green)
    _frontages(builder)
    _backdrop(builder)
    tiles = [builder.builders[key].bake() for key in sorted(builder.builders)]
    return Town(streets, tiles, builder.footprints, np.array(builder.lamps).reshape(-1, 3), zebras, main_green,
                ways_of(config.stream(20), streets, zebras))  # fmt: skip


def _streets(rng: np.random.Generator, layout: str) -> tuple[Street, ...]:
    main = draw_street(rng, 0.0)
    if layout == "straight":
        return (main,)
    cross = draw_street(rng, np.pi / 2)
    main = replace(main, gap=(-cross.curb(1), cross.curb(-1)))
    cross = replace(cross, gap=(-main.curb(-1), main.curb(1)))
    return main, cross


def _zebras(rng: np.random.Generator, streets: tuple[Street, ...]) -> tuple[tuple[float, ...], ...]:
    out: list[tuple[float, ...]] = []
    for street in streets:
        if street.gap is not None:
            out.append((street.gap[0] - 2.2, street.gap[1] + 2.2))
        else:
            out.append(tuple(float(v) for v in rng.uniform(-60, 60, int(rng.integers(0, 3)))))
    return tuple(out)


def _terrain(builder: TownBuilder) -> None:
    main = builder.streets[0]
    reach = HALF_LENGTH + 60
    columns = [(-reach, reach)]
    if len(builder.streets) > 1:
        cross = builder.streets[1]
        columns = [(-reach, -cross.edge(1)), (cross.edge(-1), reach)]
    material = GRASS if builder.rng.random() < 0.6 else YARD
    for x0, x1 in columns:
        for y0, y1 in ((main.edge(1), reach), (-reach, -main.edge(-1))):
            xs = np.linspace(x0, x1, max(2, int((x1 - x0) / TILE) + 1))
            ys = np.linspace(y0, y1, max(2, int((y1 - y0) / TILE) + 1))
            for a, b in itertools.pairwise(xs):
                for c, d in itertools.pairwise(ys):
                    near = min(abs(c), abs(d)) < 45 or min(abs(a), abs(b)) < 45
                    builder.place(
                        ground_patch((a, c), (b, d), TERRAIN_HEIGHT, 24.0), material if near else GRASS, TERRAIN
                    )
    for side in (-1, 1):
        low, high = -main.edge(-1) - 1, main.edge(1) + 1
        ends = sorted((side * HALF_LENGTH, side * reach))
        builder.place(ground_patch((ends[0], low), (ends[1], high), 0.01), GRASS, TERRAIN)
        if len(builder.streets) > 1:
            cross = builder.streets[1]
            patch = ground_patch((-cross.edge(1) - 1, ends[0]), (cross.edge(-1) + 1, ends[1]), 0.01)
            builder.place(patch, GRASS, TERRAIN)


def _along(
    builder: TownBuilder, street: Street, side: int, step: float, margin: float
) -> list[tuple[float, np.ndarray]]:
    """Jittered places (s, position on the kerb-side strip of the sidewalk) clear of the crossing."""
    out = []
    for s in np.arange(-HALF_LENGTH + 5, HALF_LENGTH - 5, step) + builder.rng.uniform(0, step):
        s = float(s + builder.rng.uniform(-0.15, 0.15) * step)
        if street.gap is None or not street.gap[0] - margin < s < street.gap[1] + margin:
            out.append((s, street.point(s, side * (street.curb(side) + 0.55))))
    return out


def _furniture(builder: TownBuilder, zebras: tuple[tuple[float, ...], ...]) -> None:
    rng, z = builder.rng, SIDEWALK_HEIGHT
    lamp_step, lamp_height = float(rng.uniform(20, 30)), float(rng.uniform(5.5, 8))
    for k, street in enumerate(builder.streets):
        for side in (-1, 1):
            toward = street.heading - side * np.pi / 2
            trees = rng.random() < 0.65
            tree_step = float(rng.uniform(9, 16))
            taken: list[float] = []
            for s, (x, y) in _along(builder, street, side, lamp_step, 8.0):
                light = scenery.add_street_lamp(builder.tile(x, y), x, y, z, toward, lamp_height)
                builder.lamps.append(light)
                builder.outline(scenery.POLE, np.array([x, y]), (0.25, 0.25))
                taken.append(s)
            for s, (x, y) in _along(builder, street, side, tree_step, 12.0) if trees else []:
                if abs(s) < 130 and all(abs(s - other) > 3 for other in taken):
                    radius = scenery.add_tree(builder.tile(x, y), rng, x, y, z)
                    builder.outline(scenery.VEGETATION, np.array([x, y]), (2 * radius, 2 * radius))
                    taken.append(s)
            for s, (x, y) in _along(builder, street, side, 26.0, 7.0):
                if all(abs(s - other) > 1.5 for other in taken):
                    facing = street.heading + (np.pi if side < 0 else 0.0)
                    scenery.add_sign(builder.tile(x, y), rng, x, y, z, facing)
                    builder.outline(scenery.POLE, np.array([x, y]), (0.25, 0.25))
            for zebra in zebras[k]:
                for ds in (-2.2, 2.2):
                    x, y = street.point(zebra + ds, side * (street.curb(side) + 0.3))
                    if not any(_on_road(other, np.array([x, y])) for other in builder.streets):
                        scenery.add_bollard(builder.tile(x, y), rng, x, y, z, 0.0)
                        builder.outline(scenery.POLE, np.array([x, y]), (0.25, 0.25))


def _on_road(street: Street, point: np.ndarray) -> bool:
    _, t = street.local(point)
    return bool(-street.curb(-1) - 0.2 < t < street.curb(1) + 0.2)


def _signals(builder: TownBuilder, main_green: bool) -> None:
    """One signal per approach, on the right behind the stop line, looking at the approaching traffic."""
    for k, street in enumerate(builder.streets):
        assert street.gap is not None
        green = main_green if k == 0 else not main_green
        for direction, s in ((1, street.gap[0] - 4.4), (-1, street.gap[1] + 4.4)):
            side = -direction
            x, y = street.point(s, side * (street.curb(side) + 0.35))
            facing = street.heading + (np.pi if direction > 0 else 0.0)
            scenery.add_traffic_light(builder.tile(x, y), x, y, SIDEWALK_HEIGHT, facing, green)
            builder.outline(scenery.POLE, np.array([x, y]), (0.25, 0.25))


def _frontages(builder: TownBuilder) -> None:
    """Line both sides of every street with lots: houses, gardens behind walls or fences, small parks."""
    rng = builder.rng
    urban = float(rng.uniform(0.35, 0.9))
    for k, street in enumerate(builder.streets):
        for side in (-1, 1):
            setback = float(rng.choice([0.3, 0.3, rng.uniform(2, 6)]))
            for start, end in street.arms():
                margin = 0.0 if street.gap is None else (2.0 if k == 0 else 20.0)
                if street.gap is not None:
                    other = builder.streets[1 - k]
                    margin += other.sidewalk
                a = start + (margin if abs(start) < HALF_LENGTH - 1 else 0)
                b = end - (margin if abs(end) < HALF_LENGTH - 1 else 0)
                _lots(builder, street, side, a, b, setback, urban)


def _lots(
    builder: TownBuilder, street: Street, side: int, start: float, end: float, setback: float, urban: float
) -> None:
    rng, s = builder.rng, start
    while s < end - 7:
        width = min(float(rng.uniform(9, 22)), end - s)
        kind = "house" if rng.random() < urban else str(rng.choice(["house", "wall", "fence", "park", "hedge"]))
        front = side * (street.edge(side) + 0.15)
        if kind == "house":
            _house(builder, street, side, s, width, setback, urban)
        else:
            a, b = street.point(s + 0.3, front), street.point(s + width - 0.3, front)
            _enclosure(builder, kind, a, b)
            _house(builder, street, side, s + 1.5, width - 3, setback + float(rng.uniform(5, 9)), urban, kind != "park")
            for _ in range(int(rng.integers(1, 4))):
                t = side * (street.edge(side) + float(rng.uniform(2.5, 5 + setback)))
                x, y = street.point(s + float(rng.uniform(1, width - 1)), t)
                _garden_plant(builder, x, y)
        s += width + (float(rng.uniform(2, 5)) if rng.random() < 0.35 else 0.05)


def _garden_plant(builder: TownBuilder, x: float, y: float) -> None:
    if builder.rng.random() < 0.6:
        radius = scenery.add_tree(builder.tile(x, y), builder.rng, x, y, TERRAIN_HEIGHT, 650)
        builder.outline(scenery.VEGETATION, np.array([x, y]), (2 * radius, 2 * radius))
    else:
        scenery.add_bush(builder.tile(x, y), builder.rng, x, y, TERRAIN_HEIGHT)
        builder.outline(scenery.VEGETATION, np.array([x, y]), (0.9, 0.9))


def _house(builder: TownBuilder, street: Street, side: int, s: float, width: float, setback: float, urban: float,
           wanted: bool = True) -> None:  # fmt: skip
    rng = builder.rng
    depth, height = float(rng.uniform(9, 14)), float(rng.uniform(5, 9) if rng.random() > urban else rng.uniform(9, 22))
    if not wanted or width < 5:
        return
    t = side * (street.edge(side) + setback + depth / 2)
    center = street.point(s + width / 2, t)
    yaw = street.heading + (0.0 if side > 0 else np.pi)
    scenery.add_building(builder.tile(*center), rng, center, (width, depth), yaw, TERRAIN_HEIGHT - 0.1, height)
    builder.outline(scenery.BUILDING, center, (width, depth), yaw)


def _enclosure(builder: TownBuilder, kind: str, a: np.ndarray, b: np.ndarray) -> None:
    rng, middle = builder.rng, 0.5 * (a + b)
    mesh, length = builder.tile(*middle), float(np.linalg.norm(b - a))
    yaw = float(np.arctan2(*(b - a)[::-1]))
    if kind == "wall":
        thickness = scenery.add_wall(mesh, rng, a, b, TERRAIN_HEIGHT)
        builder.outline(scenery.WALL, middle, (length, thickness), yaw)
    elif kind == "fence":
        thickness = scenery.add_fence(mesh, rng, a, b, TERRAIN_HEIGHT)
        builder.outline(scenery.FENCE, middle, (length, thickness), yaw)
    elif kind == "hedge":
        scenery.add_hedge(mesh, rng, a, b, TERRAIN_HEIGHT)
        builder.outline(scenery.VEGETATION, middle, (length, 0.5), yaw)


def _backdrop(builder: TownBuilder) -> None:
    """Houses behind the first row and across the ends of the streets close the horizon."""
    rng, main = builder.rng, builder.streets[0]
    for side in (-1, 1):
        for row in (40.0, 75.0):
            x = -HALF_LENGTH - 30
            while x < HALF_LENGTH + 30:
                width, depth = float(rng.uniform(12, 28)), 12.0
                center = np.array([x + width / 2, side * (main.edge(side) + row + depth / 2)])
                if not builder.blocked(center, width / 2 + 12):
                    height = float(rng.uniform(6, 18))
                    yaw = 0.0 if side > 0 else np.pi
                    scenery.add_building(builder.tile(*center), rng, center, (width, depth), yaw, 0.0, height)
                    builder.outline(scenery.BUILDING, center, (width, depth), yaw)
                x += width + float(rng.uniform(1, 12))
    for street in builder.streets:
        for end in (-1, 1):
            for t in np.arange(-36, 37, 18.0):
                width, depth = 17.0, 12.0
                center = street.point(end * (HALF_LENGTH + 16), t)
                yaw = street.heading + (-np.pi / 2 if end > 0 else np.pi / 2)
                height = float(rng.uniform(7, 16))
                scenery.add_building(builder.tile(*center), rng, center, (width, depth), yaw, 0.0, height)
                builder.outline(scenery.BUILDING, center, (width, depth), yaw)

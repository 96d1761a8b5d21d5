"""Parts that buildings are made of: walls with windows, roofs, chimneys, balconies, doors and shop fronts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets.materials import (
    BUILDING,
    CONCRETE,
    DARK_STEEL,
    GLASS,
    Site,
    metal,
    paint,
    tinted,
)
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, Part, quad

NARROW, WIDE, TALL, BAND = 0, 1, 2, 3
"""Window styles of `Kind.FACADE` (its slot): WIDE and TALL have shop windows in storey 0; TALL stands in bricks."""

FACADE_COLORS = np.array(
    [
        (0.45, 0.36, 0.27), (0.32, 0.14, 0.1), (0.52, 0.5, 0.45), (0.28, 0.29, 0.31), (0.55, 0.45, 0.3),
        (0.38, 0.42, 0.45), (0.6, 0.55, 0.44), (0.36, 0.2, 0.14), (0.5, 0.33, 0.26), (0.42, 0.45, 0.36),
        (0.62, 0.6, 0.58), (0.55, 0.5, 0.28), (0.25, 0.3, 0.36), (0.48, 0.26, 0.2), (0.66, 0.65, 0.6),
        (0.3, 0.38, 0.3), (0.57, 0.42, 0.38), (0.2, 0.2, 0.2),
    ]
)  # fmt: skip
BRICK_COLORS = np.array([(0.32, 0.14, 0.1), (0.36, 0.2, 0.14), (0.24, 0.1, 0.08), (0.42, 0.33, 0.2), (0.22, 0.2, 0.19)])
ROOF_COLORS = np.array(
    [(0.22, 0.08, 0.05), (0.1, 0.09, 0.09), (0.16, 0.1, 0.07), (0.14, 0.15, 0.16), (0.09, 0.13, 0.1)]
)


@dataclass(frozen=True)
class Body:
    """A cuboid part of a building between corners (x0, y0) and (x1, y1) [m] with equal storeys above height z0."""

    site: Site
    x0: float
    y0: float
    x1: float
    y1: float
    z0: float
    floors: int
    floor: float

    @property
    def top(self) -> float:
        """Height of the eaves [m]."""
        return self.z0 + self.floors * self.floor

    @property
    def middle(self) -> tuple[float, float]:
        """Centre of the ground plan."""
        return 0.5 * (self.x0 + self.x1), 0.5 * (self.y0 + self.y1)


def any_of(rng: np.random.Generator, colors: np.ndarray) -> np.ndarray:
    """Return a colour near one of the given ones."""
    return np.clip(colors[rng.integers(len(colors))] * rng.uniform(0.75, 1.25), 0.02, 0.8)


def add_walls(
    body: Body, material: Material, cell: float, blank: tuple[int, ...] = (), first: int = 1, rise: float = 1.0
) -> None:
    """Add four walls of `Kind.FACADE` with one window per cell and storey.

    Args:
        body: what to clad.
        material: of `Kind.FACADE`; its slot is the window style.
        cell: wished width of a window's cell [m].
        blank: walls without windows: 0 front (-y), 1 right (+x), 2 back, 3 left.
        first: number of the lowest storey; 0 may be one with shops.
        rise: windows per storey, above each other.
    """
    corners = [(body.x0, body.y0), (body.x1, body.y0), (body.x1, body.y1), (body.x0, body.y1)]
    low, high = float(first), first + body.floors * rise
    plain = Material(material.color, material.roughness)
    for k, ((xa, ya), (xb, yb)) in enumerate(zip(corners, corners[1:] + corners[:1], strict=True)):
        count = max(1, round(float(np.hypot(xb - xa, yb - ya)) / cell))
        wall = [(xa, ya, body.z0), (xb, yb, body.z0), (xb, yb, body.top), (xa, ya, body.top)]
        windows = quad(wall, [(0, low), (count, low), (count, high), (0, high)])
        body.site.add(windows, plain if k in blank else material, BUILDING)


def add_siding(body: Body, material: Material) -> None:
    """Add four walls of upright ribs (corrugated metal or boards), 0.3 m apart."""
    corners = [(body.x0, body.y0), (body.x1, body.y0), (body.x1, body.y1), (body.x0, body.y1)]
    ribbed = Material(material.color, material.roughness, Kind.ROOF)
    for (xa, ya), (xb, yb) in zip(corners, corners[1:] + corners[:1], strict=True):
        run = float(np.hypot(xb - xa, yb - ya))
        wall = [(xa, ya, body.z0), (xb, yb, body.z0), (xb, yb, body.top), (xa, ya, body.top)]
        body.site.add(quad(wall, [(0, 0), (0, run), (0, run), (0, 0)]), ribbed, BUILDING)


def roof_tiles(rng: np.random.Generator) -> Material:
    """Return a roof covering."""
    return tinted(any_of(rng, ROOF_COLORS), 0.9, Kind.ROOF)


def _surface(corners: list[tuple[float, float, float]]) -> Part:
    """A roof plane of three or four corners, the first edge along the eaves; texture in metres along and up it."""
    points = np.array(corners, float)
    along = points[1] - points[0]
    along /= np.linalg.norm(along)
    offset = points - points[0]
    u = offset @ along
    v = np.linalg.norm(offset - u[:, None] * along, axis=1)
    faces = np.array([(0, 1, 2), (0, 2, 3)] if len(points) == 4 else [(0, 1, 2)])
    return points, faces, np.stack([u, v], -1)


def add_pitched_roof(
    body: Body,
    rise: float,
    tiles: Material,
    gable: Material,
    across: bool = False,
    hip: float = 0.0,
    eaves: float = 0.4,
) -> None:
    """Add a gable roof (hip 0) or hipped roof whose ridge runs along x (or y: `across`), `rise` [m] above the eaves."""
    (cx, cy), z = body.middle, body.top
    a, b = 0.5 * (body.x1 - body.x0), 0.5 * (body.y1 - body.y0)
    if across:
        a, b = b, a

    def at(u: float, v: float, w: float) -> tuple[float, float, float]:
        return (cx - v, cy + u, w) if across else (cx + u, cy + v, w)

    overhang = 0.0 if hip else min(eaves, 0.3)
    length, low = a + (eaves if hip else overhang), z - rise * eaves / b
    ridge = length - hip * min(a, b)
    for s in (-1, 1):
        foot = [at(-s * length, -s * (b + eaves), low), at(s * length, -s * (b + eaves), low)]
        body.site.add(_surface([*foot, at(s * ridge, 0, z + rise), at(-s * ridge, 0, z + rise)]), tiles, BUILDING)
        if hip:
            end = [
                at(s * length, -s * (b + eaves), low),
                at(s * length, s * (b + eaves), low),
                at(s * ridge, 0, z + rise),
            ]
            body.site.add(_surface(end), tiles, BUILDING)
        else:
            triangle = _surface([at(s * a, -b, z), at(s * a, b, z), at(s * a, 0, z + rise)])
            body.site.add((triangle[0], triangle[1], np.zeros((3, 2))), gable, BUILDING)


def add_mansard(body: Body, rng: np.random.Generator, tiles: Material, dormers: bool) -> None:
    """Add a steep roof storey with a flat top and dormer windows to the front."""
    z, rise, inset = body.top, float(rng.uniform(2.2, 3.0)), float(rng.uniform(0.9, 1.4))
    low = [(body.x0, body.y0), (body.x1, body.y0), (body.x1, body.y1), (body.x0, body.y1)]
    high = [
        (body.x0, body.y0 + inset),
        (body.x1, body.y0 + inset),
        (body.x1, body.y1 - inset),
        (body.x0, body.y1 - inset),
    ]
    for k in range(4):
        j = (k + 1) % 4
        plane = [(*low[k], z), (*low[j], z), (*high[j], z + rise), (*high[k], z + rise)]
        body.site.add(_surface(plane), tiles if k % 2 == 0 else CONCRETE, BUILDING)
    body.site.add(quad([(*p, z + rise) for p in high]), tinted((0.15, 0.15, 0.15)), BUILDING)
    if dormers:
        trim = tinted(rng.uniform(0.2, 0.6) * np.ones(3))
        places = np.arange(body.x0 + 1.6, body.x1 - 1.2, float(rng.uniform(2.6, 3.6)))[:8]
        body.site.boxes(trim, BUILDING, *(((x, body.y0 + 0.75, z + 1.05), (1.2, 1.1, 1.5)) for x in places))
        for x in places:
            pane = [(x - 0.45, body.y0 + 0.19, z + 0.5), (x + 0.45, body.y0 + 0.19, z + 0.5),
                    (x + 0.45, body.y0 + 0.19, z + 1.6), (x - 0.45, body.y0 + 0.19, z + 1.6)]  # fmt: skip
            body.site.add(quad(pane), GLASS, BUILDING)


def add_flat_roof(body: Body, rng: np.random.Generator, boxes: int = 2, rim: Material = CONCRETE) -> None:
    """Add a flat roof with a parapet and plant rooms on it."""
    (cx, cy), z, wide, deep = body.middle, body.top, body.x1 - body.x0, body.y1 - body.y0
    body.site.boxes(rim, BUILDING, ((cx, cy, z + 0.25), (wide + 0.3, deep + 0.3, 0.5)))
    plant = [
        (
            (cx + rng.uniform(-0.3, 0.3) * wide, cy + rng.uniform(-0.2, 0.25) * deep, z + 1.1),
            (*rng.uniform(1.2, 3.0, 2), 1.4),
        )
        for _ in range(int(rng.integers(0, boxes + 1)))
    ]
    if plant and min(wide, deep) > 6:
        body.site.boxes(tinted(np.full(3, rng.uniform(0.15, 0.5))), BUILDING, *plant)


def add_chimneys(body: Body, rng: np.random.Generator, count: int, high: float) -> None:
    """Add chimneys along the middle of a roof up to height `high` [m]."""
    brick = tinted(any_of(rng, BRICK_COLORS), 0.9, Kind.BRICK)
    stacks = []
    for x in rng.uniform(body.x0 + 0.8, body.x1 - 0.8, count):
        y = body.middle[1] + float(rng.uniform(-0.2, 0.2)) * (body.y1 - body.y0)
        stacks.append(((x, y, 0.5 * (body.top + high)), (0.6, 0.5, high - body.top)))
    body.site.boxes(brick, BUILDING, *stacks)


def add_door(body: Body, rng: np.random.Generator, x: float, canopy: bool = True) -> None:
    """Add an entrance door with a step and perhaps a canopy to the front."""
    frame, y = tinted(rng.uniform(0.3, 0.7) * np.ones(3)), body.y0
    body.site.boxes(frame, BUILDING, ((x, y - 0.02, body.z0 + 1.15), (1.3, 0.08, 2.3)))
    body.site.boxes(paint(rng), BUILDING, ((x, y - 0.045, body.z0 + 1.08), (1.02, 0.08, 2.12)))
    body.site.boxes(GLASS, BUILDING, ((x, y - 0.075, body.z0 + 1.6), (0.5, 0.04, 0.7)))
    if canopy:
        body.site.boxes(
            tinted(np.full(3, rng.uniform(0.1, 0.6))), BUILDING, ((x, y - 0.4, body.z0 + 2.6), (1.8, 0.85, 0.1))
        )


def add_balconies(body: Body, rng: np.random.Generator, most: int = 12) -> None:
    """Add columns of balconies to the front, from the second storey up; at most `most` in all."""
    step, width = float(rng.uniform(3.6, 5.6)), float(rng.uniform(1.8, 3.0))
    columns = np.arange(body.x0 + 0.6 + width / 2, body.x1 - width / 2, step)
    columns = rng.permutation(columns)[: most // max(1, body.floors - 1)]
    depth = float(rng.uniform(0.7, 1.05))
    places = [(x, body.z0 + k * body.floor) for k in range(1, body.floors) for x in columns]
    if not places:
        return
    rail = (DARK_STEEL, metal(rng), GLASS, paint(rng))[int(rng.integers(4))]
    y = body.y0 - depth / 2
    body.site.boxes(CONCRETE, BUILDING, *(((x, y, z + 0.06), (width, depth, 0.14)) for x, z in places))
    body.site.boxes(rail, BUILDING, *(((x, y - depth / 2 + 0.02, z + 0.6), (width, 0.04, 0.9)) for x, z in places))


def add_bays(body: Body, rng: np.random.Generator, facade: Material, cell: float) -> None:
    """Add one to three bay windows that rise through the storeys above the ground floor."""
    count, width, depth = int(rng.integers(1, 4)), cell * int(rng.integers(1, 3)), float(rng.uniform(0.5, 0.9))
    for x in np.linspace(body.x0, body.x1, count + 2)[1:-1]:
        low = body.z0 + body.floor
        bay = Body(body.site, x - width / 2, body.y0 - depth, x + width / 2, body.y0, low, body.floors - 1, body.floor)
        add_walls(bay, facade, cell)
        body.site.boxes(CONCRETE, BUILDING, ((x, body.y0 - depth / 2, low), (width + 0.1, depth + 0.05, 0.12)),
                        ((x, body.y0 - depth / 2, bay.top), (width + 0.15, depth + 0.08, 0.14)))  # fmt: skip


def add_shop_fronts(body: Body, rng: np.random.Generator, cell: float) -> None:
    """Add name boards of many colours above the shop windows of storey 0, and awnings above some."""
    x, top = body.x0 + 0.2, body.z0 + body.floor
    while x < body.x1 - 2.5:
        width = min(cell * int(rng.integers(1, 4)) - 0.1, body.x1 - 0.2 - x)
        middle = x + width / 2
        board = paint(rng, 0.6)
        if rng.random() < 0.3:
            board = tinted(np.array(board.color) * 0.4, 0.4, Kind.LAMP, 3)
        body.site.boxes(board, BUILDING, ((middle, body.y0 - 0.06, top - 0.24), (width, 0.12, 0.42)))
        if rng.random() < 0.4:
            out, low = float(rng.uniform(0.8, 1.1)), max(top - 0.95, 2.35 + body.z0)
            w = width / 2
            cloth = [(middle - w, body.y0 - 0.02, top - 0.4), (middle + w, body.y0 - 0.02, top - 0.4),
                     (middle + w, body.y0 - out, low), (middle - w, body.y0 - out, low)]  # fmt: skip
            body.site.add(quad(cloth), paint(rng, 0.95), BUILDING)
        x += width + 0.1


def add_gate(body: Body, rng: np.random.Generator, x: float, width: float, height: float) -> None:
    """Add a sectional or roller gate to the front."""
    skin = tinted(np.array(paint(rng).color) * 0.8 + 0.06, 0.6, Kind.ROOF)
    y, low = body.y0 - 0.04, body.z0 + 0.02
    gate = [
        (x - width / 2, y, low),
        (x + width / 2, y, low),
        (x + width / 2, y, low + height),
        (x - width / 2, y, low + height),
    ]
    body.site.add(quad(gate, [(0, 0), (0, 0), (0, height), (0, height)]), skin, BUILDING)
    frame, a = tinted(np.full(3, rng.uniform(0.05, 0.5))), width / 2 + 0.07
    jambs = [((x + s * a, y, low + height / 2), (0.14, 0.1, height)) for s in (-1, 1)]
    body.site.boxes(frame, BUILDING, ((x, y, low + height + 0.08), (width + 0.3, 0.1, 0.16)), *jambs)


def add_panes(body: Body, z: float, height: float, x0: float, x1: float) -> None:
    """Add a strip of glass to the front, from height z, between x0 and x1."""
    y = body.y0 - 0.03
    body.site.add(quad([(x0, y, z), (x1, y, z), (x1, y, z + height), (x0, y, z + height)]), GLASS, BUILDING)


def add_show_windows(body: Body, frame: Material, height: float, x0: float, x1: float) -> None:
    """Add shop windows to the front, from the ground up to a height, between x0 and x1."""
    y, count = body.y0 - 0.03, max(1, round((x1 - x0) / 2.4))
    corners = [(x0, y, body.z0), (x1, y, body.z0), (x1, y, body.z0 + height), (x0, y, body.z0 + height)]
    glazed = Material(frame.color, 0.6, Kind.FACADE, WIDE)
    body.site.add(quad(corners, [(0, 0), (count, 0), (count, 0.94), (0, 0.94)]), glazed, BUILDING)


def door_place(body: Body, rng: np.random.Generator, cell: float, style: int) -> float:
    """Return an x for the door: between two windows, or in the middle of one that is wider than a door."""
    count = max(1, round((body.x1 - body.x0) / cell))
    inner = max(1, count - 1)
    place = int(rng.integers(count)) + 0.5 if style in (WIDE, BAND) or count == 1 else 1 + int(rng.integers(inner))
    return body.x0 + (body.x1 - body.x0) * place / count


def add_cornices(body: Body, material: Material, heights: tuple[float, ...], out: float = 0.1) -> None:
    """Add bands around the body at heights [m]."""
    (cx, cy), wide, deep = body.middle, body.x1 - body.x0 + 2 * out, body.y1 - body.y0 + 2 * out
    body.site.boxes(material, BUILDING, *(((cx, cy, z), (wide, deep, 0.16)) for z in heights))

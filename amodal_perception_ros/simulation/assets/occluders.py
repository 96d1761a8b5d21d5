"""Large props that hide vehicles and people; all of the form `add_x(mesh, rng, x, y, z, yaw)`, see `props`."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.materials import (
    BLACK,
    BUILDING,
    CONCRETE,
    DARK_STEEL,
    GLASS,
    POLE,
    WALL,
    Site,
    metal,
    paint,
    tinted,
    wood,
)
from amodal_perception_ros.simulation.assets.meshes import Kind, MeshBuilder, Part, cylinder, ellipsoid, moved, quad

Footprint = tuple[float, float]


def _poster(site: Site, rng: np.random.Generator, x: float, y: float, z: float, size: Footprint, cls: int) -> None:
    """A picture of a few colour fields on a panel whose front is the plane y, lit at night."""
    width, height = size
    kind, slot = (Kind.LAMP, 3) if rng.random() < 0.35 else (Kind.PLAIN, 0)
    shade = 0.5 if kind == Kind.LAMP else 1.0
    fields = [(0.0, 0.0, 1.0, 1.0)]
    fields += [(*rng.uniform(-0.25, 0.25, 2), *rng.uniform(0.2, 0.55, 2)) for _ in range(int(rng.integers(1, 4)))]
    for k, (u, v, w, h) in enumerate(fields):
        color = tinted(paint(rng).color * np.array(shade), 0.4, kind, slot)
        a, b, c, d = (
            x + (u - w / 2) * width,
            x + (u + w / 2) * width,
            z + (v - h / 2) * height,
            z + (v + h / 2) * height,
        )
        front = y - 0.006 * (k + 1)
        site.add(quad([(a, front, c), (b, front, c), (b, front, d), (a, front, d)]), color, cls)


def add_bus_shelter(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a bus stop shelter: posts, roof, back wall of panes, a bench and an advertising panel at one end.

    Glass is opaque to sensors and truth; half of the shelters have narrow panes that leave a view between them.
    """
    site, frame = Site(mesh, x, y, z, yaw), metal(rng)
    length, width, height = float(rng.uniform(3.2, 5.0)), float(rng.uniform(1.4, 1.8)), float(rng.uniform(2.4, 2.7))
    a, back = length / 2 - 0.1, width / 2 - 0.08
    posts = [((px, back, height / 2), (0.08, 0.08, height)) for px in np.linspace(-a, a, 3)]
    posts += [((px, -back + 0.3, height / 2), (0.07, 0.07, height)) for px in (-a, a)]
    site.boxes(frame, BUILDING, *posts, ((0, 0, height + 0.06), (length, width, 0.12)))
    panes = int(rng.integers(3, 5))
    pitch = 2 * a / panes
    glass = tinted(rng.uniform(0.03, 0.25) * rng.uniform(0.8, 1.2, 3), 0.1, Kind.GLASS)
    strips = ((1.25, 1.8),) if rng.random() < 0.5 else ((0.62, 0.5), (1.55, 0.3), (2.02, 0.2))
    places = [-a + (k + 0.5) * pitch for k in range(panes)]
    site.boxes(glass, BUILDING, *(((px, back, v), (pitch - 0.1, 0.02, h)) for px in places for v, h in strips))
    site.boxes(frame, BUILDING, *(((0, back, v), (2 * a, 0.04, 0.05)) for v in (0.33, 2.17)))
    side = float(rng.choice([-1.0, 1.0]))
    site.boxes(DARK_STEEL, BUILDING, ((side * a, 0.05, 1.2), (0.14, width - 0.5, 2.0)))
    for face in (-1, 1):
        panel = Site(mesh, *_offset(site, side * a + face * 0.071, 0.05), z, yaw + face * np.pi / 2)
        _poster(panel, rng, 0.0, 0.0, 1.2, (width - 0.6, 1.8), BUILDING)
    site.boxes(glass, BUILDING, ((-side * a, 0.1, 1.25), (0.02, width - 0.7, 1.7)))
    seat = wood(rng)
    site.boxes(seat, BUILDING, ((-side * 0.3, back - 0.32, 0.47), (length * 0.55, 0.36, 0.05)))
    site.boxes(frame, BUILDING, *(((-side * 0.3 + s, back - 0.3, 0.22), (0.06, 0.3, 0.44)) for s in (-0.8, 0.8)))
    return length, width


def _offset(site: Site, dx: float, dy: float) -> tuple[float, float]:
    c, s = np.cos(site.yaw), np.sin(site.yaw)
    return float(site.x + c * dx - s * dy), float(site.y + s * dx + c * dy)


def add_container(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a shipping or site container with ribbed sides, of 10, 20 or 40 feet."""
    site, skin = Site(mesh, x, y, z, yaw), paint(rng, 0.6)
    length, width, height = float(rng.choice([2.99, 6.06, 12.19], p=[0.25, 0.6, 0.15])), 2.44, 2.59
    inner, low = tinted(np.array(skin.color) * 0.85, 0.7), 0.12
    roof = (0, 0, height - 0.05), (length - 0.1, width - 0.1, 0.06)
    ends = [((s * (length / 2 - 0.08), 0, height / 2), (0.06, width - 0.1, height - 0.2)) for s in (-1, 1)]
    site.boxes(inner, BUILDING, roof, *ends)
    groove = tinted(np.array(skin.color) * 0.72, 0.7)
    for s in (-1, 1):
        vertices, faces, uv = _corrugated(length - 0.1, s * (width / 2 - 0.01), -0.06 * s, low, height - 0.1)
        outer = np.arange(len(faces)) % 4 == 0
        site.add((vertices, faces[outer], uv), skin, BUILDING, flat=True)
        site.add((vertices, faces[~outer], uv), groove, BUILDING, flat=True)
    corners = [((s * (length / 2 - 0.08), t * (width / 2 - 0.08), height / 2), (0.16, 0.16, height))
               for s in (-1, 1) for t in (-1, 1)]  # fmt: skip
    rails = [((0, t * (width / 2 - 0.04), v), (length, 0.08, 0.16)) for t in (-1, 1) for v in (low, height - 0.08)]
    site.boxes(skin, BUILDING, *corners, *rails)
    bars = [((length / 2 - 0.04, t, height / 2), (0.05, 0.04, height - 0.5)) for t in (-0.6, 0.6)]
    site.boxes(metal(rng), BUILDING, *bars)
    if rng.random() < 0.4 and length > 4:
        site.boxes(GLASS, BUILDING, ((0.5, -width / 2 + 0.02, 1.55), (1.2, 0.04, 0.9)))
        site.boxes(inner, BUILDING, ((-1.4, -width / 2 + 0.02, 1.1), (0.9, 0.04, 2.0)))
    return length, width


def _corrugated(length: float, y: float, depth: float, low: float, high: float) -> Part:
    """A wall along x of trapezoid ribs between the planes y and y + depth; of every four faces the first is outside."""
    ribs = max(6, min(13, round(length / 0.4)))
    share = (np.arange(ribs)[:, None] + np.array([0.0, 0.4, 0.5, 0.9])).ravel() / ribs
    x = np.append(share, 1.0) * length - length / 2
    planes = np.append(np.tile([y, y, y + depth, y + depth], ribs), y)
    vertices = np.concatenate([np.stack([x, planes, np.full(len(x), z)], -1) for z in (low, high)])
    k, n = np.arange(len(x) - 1)[:, None], len(x)
    faces = np.concatenate([np.hstack([k, k + 1, k + 1 + n]), np.hstack([k, k + 1 + n, k + n])])
    return vertices, faces, vertices[:, [0, 2]].copy()


def add_skip(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a builder's skip with slanted ends and a heap of rubble."""
    site, skin = Site(mesh, x, y, z, yaw), paint(rng, 0.7)
    length, width, height = float(rng.uniform(3.2, 4.6)), float(rng.uniform(1.6, 1.9)), float(rng.uniform(1.1, 1.6))
    low, high, half = length / 2 - 0.7, length / 2, width / 2
    for s in (-1, 1):
        y0 = s * (half - 0.06)
        side = [(-low, y0, 0.05), (low, y0, 0.05), (high - 0.08, y0, height), (-high + 0.08, y0, height)]
        site.add(quad(side), skin, WALL)
        x0, x1 = s * low, s * (high - 0.08)
        end = [(x0, -half + 0.06, 0.05), (x0, half - 0.06, 0.05), (x1, half - 0.06, height), (x1, -half + 0.06, height)]
        site.add(quad(end), skin, WALL)
        ribs = [((r * low, s * (half - 0.03), height / 2), (0.09, 0.06, height)) for r in (-0.8, 0.0, 0.8)]
        site.boxes(skin, WALL, *ribs, ((0, s * (half - 0.05), height), (length - 0.1, 0.1, 0.1)))
        site.boxes(skin, WALL, ((s * (high - 0.06), 0, height), (0.12, width, 0.1)))
    heap = tinted(np.array((0.3, 0.25, 0.2)) * rng.uniform(0.5, 1.4), 1.0)
    fill = float(rng.uniform(-0.1, 0.35))
    site.add(ellipsoid((0, 0, height - 0.15), (high - 0.2, half - 0.12, 0.15 + max(fill, 0.05)), 9, 5), heap, WALL)
    for _ in range(4):
        px, py = rng.uniform(-0.5, 0.5) * length * 0.6, rng.uniform(-0.5, 0.5) * width * 0.5
        chunk = moved(_chunk(rng, 0.3), (px, py, height + fill * 0.4))
        site.add(chunk, wood(rng) if rng.random() < 0.5 else CONCRETE, WALL)
    return length, width


def _chunk(rng: np.random.Generator, size: float) -> Part:
    vertices, faces, uv = ellipsoid((0, 0, 0), rng.uniform(0.4, 1.0, 3) * size, 6, 4)
    return vertices * rng.uniform(0.85, 1.0, (len(vertices), 1)), faces, uv


def add_kiosk(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a newspaper or food kiosk with a counter, window, awning and flat roof."""
    site, skin, trim = Site(mesh, x, y, z, yaw), paint(rng, 0.7), paint(rng, 0.6)
    length, width, height = float(rng.uniform(2.4, 4.0)), float(rng.uniform(2.2, 2.8)), float(rng.uniform(2.4, 2.8))
    body, front = width - 0.9, -width / 2 + 0.6
    site.boxes(skin, BUILDING, ((0, 0.15, height / 2), (length - 0.3, body, height)))
    site.boxes(trim, BUILDING, ((0, 0.15, height + 0.1), (length, width - 0.3, 0.2)),
               ((0, front - 0.14, 1.0), (length * 0.8, 0.3, 0.06)))  # fmt: skip
    site.boxes(GLASS, BUILDING, ((0, front - 0.01, 1.6), (length * 0.72, 0.03, 1.0)))
    w, top = length * 0.42, 2.25
    awning = [
        (-w, front, top + 0.15),
        (w, front, top + 0.15),
        (w, front - 0.55, top - 0.15),
        (-w, front - 0.55, top - 0.15),
    ]
    site.add(quad(awning), paint(rng, 0.9), BUILDING)
    _poster(site, rng, 0.0, front - 0.01, 0.5, (length * 0.7, 0.6), BUILDING)
    site.boxes(trim, BUILDING, ((length / 2 - 0.12, 0.25, 1.05), (0.06, 0.8, 2.0)))
    return length, width


def add_advertising_pillar(
    mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float
) -> Footprint:
    """Add a round advertising column with posters and a cap."""
    site, stone = Site(mesh, x, y, z, yaw), CONCRETE if rng.random() < 0.5 else paint(rng)
    radius, height = float(rng.uniform(0.55, 0.7)), float(rng.uniform(2.7, 3.6))
    site.add(moved(cylinder(radius, 0.4, 16), (0, 0, 0.2)), stone, WALL)
    site.add(moved(cylinder(radius * 0.92, height - 0.5, 16), (0, 0, height / 2)), paint(rng, 0.7), WALL)
    site.add(moved(cylinder(radius, 0.25, 16, top=radius * 0.3), (0, 0, height - 0.05)), stone, WALL)
    angle = float(rng.uniform(0, 2 * np.pi))
    for _ in range(int(rng.integers(3, 7))):
        angle += float(rng.uniform(0.6, 1.2))
        site.add(_curved(radius * 0.93, angle, 0.5, float(rng.uniform(0.5, 0.9)), float(rng.uniform(1.2, 1.9))),
                 paint(rng, 0.6), WALL)  # fmt: skip
    return 2 * radius, 2 * radius


def _curved(radius: float, angle: float, span: float, low: float, high: float) -> Part:
    """A piece of a cylinder's wall of `span` [rad] between two heights [m]."""
    a = angle + np.linspace(0, span, 4)
    rim = np.stack([radius * np.cos(a), radius * np.sin(a)], -1)
    vertices = np.concatenate([np.column_stack([rim, np.full(4, low)]), np.column_stack([rim, np.full(4, high)])])
    k = np.arange(3)
    faces = np.concatenate([np.stack([k, k + 1, k + 5], -1), np.stack([k, k + 5, k + 4], -1)])
    return vertices, faces, vertices[:, [0, 2]].copy()


def add_billboard(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a commercial billboard on two posts; its picture looks to -y."""
    site, frame = Site(mesh, x, y, z, yaw), metal(rng)
    length, high = float(rng.uniform(2.6, 4.4)), float(rng.uniform(1.8, 2.8))
    low = float(rng.uniform(0.5, 1.8))
    middle = low + high / 2
    site.boxes(frame, POLE, *(((s * length * 0.32, 0.08, (low + high) / 2), (0.12, 0.12, low + high)) for s in (-1, 1)))
    site.boxes(frame, WALL, ((0, -0.03, middle), (length, 0.1, high)))
    _poster(site, rng, 0.0, -0.08, middle, (length - 0.15, high - 0.15), WALL)
    return length, 0.3


def add_scaffold(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a scaffold of two to four storeys, with decks, rails and perhaps a net."""
    site, steel, plank = Site(mesh, x, y, z, yaw), metal(rng), wood(rng)
    bays, storeys = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    length, width, top = bays * 2.2, 1.0, storeys * 2.0
    columns = [i * 2.2 - length / 2 + 0.03 * (1 - 2 * i / bays) for i in range(bays + 1)]
    tubes = [((cx, s * 0.45, top / 2 + 0.4), (0.05, 0.05, top + 0.8)) for cx in columns for s in (-1, 1)]
    tubes = [((c[0], c[1], top / 2 + 0.4), size) for c, size in tubes]
    for k in range(storeys):
        tubes += [((0, -0.45, 2.0 * (k + 1) + v), (length, 0.04, 0.04)) for v in (0.5, 1.0)][
            : 2 if k < storeys - 1 else 1
        ]
    site.boxes(steel, BUILDING, *tubes)
    site.boxes(plank, BUILDING, *(((0, 0, 2.0 * (k + 1)), (length, 0.85, 0.06)) for k in range(storeys)))
    if rng.random() < 0.4:
        site.boxes(tinted(np.array(paint(rng).color) * 0.8, 1.0, Kind.CLOTH), BUILDING,
                   ((0, -0.485, top / 2 + 1.1), (length - 0.2, 0.01, top - 1.8)))  # fmt: skip
    return length, width


def add_shed(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a wooden garden shed with a pitched roof, a door and a window."""
    site, plank = Site(mesh, x, y, z, yaw), wood(rng)
    length, width, wall = float(rng.uniform(2.0, 3.4)), float(rng.uniform(1.8, 2.6)), float(rng.uniform(1.8, 2.1))
    a, b, ridge = length / 2 - 0.15, width / 2 - 0.15, wall + float(rng.uniform(0.4, 0.7))
    site.boxes(plank, BUILDING, ((0, 0, wall / 2), (2 * a, 2 * b, wall)))
    shadow = tinted(np.array(plank.color) * 0.6, 0.9)
    grooves = [(((k + 0.5) * 2 * a / 9 - a, -b - 0.005, wall / 2), (0.025, 0.01, wall)) for k in range(9)]
    site.boxes(shadow, BUILDING, *grooves)
    for s in (-1, 1):
        gable = (
            np.array([(s * a, -b, wall), (s * a, b, wall), (s * a, 0, ridge)]),
            np.array([(0, 1, 2)]),
            np.zeros((3, 2)),
        )
        site.add(gable, plank, BUILDING)
        y0, z0 = s * (b + 0.15), wall - 0.1
        slope = [(-a - 0.15, y0, z0), (a + 0.15, y0, z0), (a + 0.15, 0, ridge), (-a - 0.15, 0, ridge)]
        site.add(quad(slope), tinted((0.12, 0.1, 0.09), 0.9), BUILDING)
    site.boxes(wood(rng), BUILDING, ((-a * 0.45, -b - 0.02, 0.87), (0.75, 0.05, 1.7)))
    site.boxes(GLASS, BUILDING, ((a * 0.5, -b - 0.02, 1.25), (0.5, 0.05, 0.45)))
    return length, width


def add_toilet(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a portable toilet cabin."""
    site, skin = Site(mesh, x, y, z, yaw), paint(rng, 0.5)
    pale = tinted(np.array(skin.color) * 0.4 + 0.35, 0.5)
    site.boxes(skin, BUILDING, ((0, 0.02, 1.1), (1.06, 1.06, 2.0)), ((0, -0.52, 1.08), (0.74, 0.04, 1.75)))
    site.boxes(pale, BUILDING, ((0, 0, 0.06), (1.14, 1.14, 0.12)), ((0, -0.545, 1.6), (0.5, 0.02, 0.3)),
               ((0, 0, 2.14), (1.14, 1.14, 0.08)), ((0, 0, 2.23), (0.9, 0.9, 0.12)))  # fmt: skip
    site.boxes(BLACK, BUILDING, ((0.3, -0.55, 1.05), (0.06, 0.03, 0.16)))
    return 1.14, 1.14


def add_market_stall(
    mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float
) -> Footprint:
    """Add a market stall: posts, striped canopy, a counter with crates of goods."""
    site, canopy, stripe = Site(mesh, x, y, z, yaw), paint(rng, 0.95), paint(rng, 0.95)
    length, width = float(rng.uniform(2.4, 3.8)), float(rng.uniform(1.8, 2.4))
    a, b, eaves, ridge = length / 2, width / 2, float(rng.uniform(2.0, 2.25)), float(rng.uniform(2.5, 2.9))
    site.boxes(metal(rng), POLE, *(((s * (a - 0.1), t * (b - 0.1), eaves / 2), (0.05, 0.05, eaves))
                                   for s in (-1, 1) for t in (-1, 1)))  # fmt: skip
    count = 7
    for k in range(count):
        x0, x1 = -a + 2 * a * k / count, -a + 2 * a * (k + 1) / count
        cloth = canopy if k % 2 else stripe
        for t in (-1, 1):
            site.add(quad([(x0, t * b, eaves), (x1, t * b, eaves), (x1, 0, ridge), (x0, 0, ridge)]), cloth, BUILDING)
            skirt = [(x0, t * b, eaves - 0.2), (x1, t * b, eaves - 0.2), (x1, t * b, eaves), (x0, t * b, eaves)]
            site.add(quad(skirt), cloth, BUILDING)
    site.boxes(wood(rng), BUILDING, ((0, -b * 0.45, 0.8), (length - 0.4, b * 0.8, 0.08)))
    site.boxes(paint(rng, 0.95), BUILDING, ((0, -b * 0.8, 0.42), (length - 0.4, 0.03, 0.84)))
    for _ in range(5):
        px = float(rng.uniform(-0.4, 0.4)) * (length - 0.8)
        site.boxes(paint(rng, 0.9), BUILDING, ((px, -b * 0.45, 0.95), (0.5, 0.4, float(rng.uniform(0.12, 0.25)))))
    return length, width


def add_pallets(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a stack of pallets, perhaps with wrapped goods on top."""
    site, plank = Site(mesh, x, y, z, yaw), wood(rng)
    count = int(rng.integers(1, 9))
    for k in range(count):
        low = 0.144 * k
        blocks = [((0, s * 0.35, low + 0.045), (1.2, 0.1, 0.09)) for s in (-1, 0, 1)]
        site.boxes(plank, WALL, *blocks, ((0, 0, low + 0.11), (1.2, 0.8, 0.04)))
    if rng.random() < 0.6 and count < 5:
        goods = float(rng.uniform(0.5, 1.3))
        site.boxes(paint(rng, 0.35), WALL, ((0, 0, 0.144 * count + goods / 2), (1.1, 0.74, goods)))
    return 1.2, 0.8


def add_boulder(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a rock, half sunk into the ground."""
    size = float(rng.uniform(0.5, 1.1))
    vertices, faces, uv = ellipsoid((0, 0, 0), (size, size * rng.uniform(0.7, 1.0), size * rng.uniform(0.6, 1.0)), 9, 7)
    bump = 1 + 0.18 * np.sin(vertices @ rng.normal(size=(3, 3)) * 3.0 / size).mean(1, keepdims=True)
    vertices = vertices * bump / 1.18
    vertices[:, 2] = np.maximum(vertices[:, 2] + 0.3 * size, 0.0)
    grey = tinted(np.array((0.3, 0.28, 0.25)) * rng.uniform(0.5, 1.4) * rng.uniform(0.9, 1.1, 3), 1.0)
    Site(mesh, x, y, z, yaw).add((vertices, faces, uv), grey, WALL)
    return 2 * size, 2 * size

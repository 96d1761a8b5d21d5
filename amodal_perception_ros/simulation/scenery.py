"""Parametric street scenery (stuff): trees, poles, lamps, signs, traffic lights, buildings, walls and fences."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Part,
    box,
    capsule,
    cylinder,
    ellipsoid,
    moved,
    quad,
    rotation_z,
)

POLE, SIGN, LIGHT = BY_NAME["pole"].id, BY_NAME["traffic sign"].id, BY_NAME["traffic light"].id
VEGETATION, BUILDING = BY_NAME["vegetation"].id, BY_NAME["building"].id
WALL, FENCE = BY_NAME["wall"].id, BY_NAME["fence"].id

STEEL = Material((0.2, 0.21, 0.22), 0.5)
DARK_STEEL = Material((0.05, 0.06, 0.055), 0.5)
BACK = Material((0.3, 0.3, 0.3), 0.5)
BLACK = Material((0.02, 0.02, 0.02), 0.7)
WHITE = Material((0.75, 0.75, 0.75), 0.5)
CONCRETE = Material((0.38, 0.37, 0.35), 0.9)
STREET_LAMP = Material((1.0, 0.82, 0.55), 0.3, Kind.LAMP, slot=3)

FACADE_COLORS = np.array(
    [
        (0.45, 0.36, 0.27),
        (0.32, 0.14, 0.1),
        (0.52, 0.5, 0.45),
        (0.28, 0.29, 0.31),
        (0.55, 0.45, 0.3),
        (0.38, 0.42, 0.45),
        (0.6, 0.55, 0.44),
        (0.36, 0.2, 0.14),
        (0.5, 0.33, 0.26),
        (0.42, 0.45, 0.36),
        (0.62, 0.6, 0.58),
        (0.55, 0.5, 0.28),
        (0.25, 0.3, 0.36),
        (0.48, 0.26, 0.2),
    ]
)
ROOF_COLORS = np.array([(0.22, 0.08, 0.05), (0.1, 0.09, 0.09), (0.16, 0.1, 0.07), (0.14, 0.15, 0.16)])


def add_tree(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, leaves: int = 900) -> float:
    """Add a tree (trunk, boughs, leaf cards) and return its trunk radius [m]."""
    shape = rng.choice(["round", "tall", "cone"], p=[0.6, 0.25, 0.15])
    size = float(rng.uniform(0.8, 1.35))
    trunk = {"round": rng.uniform(2.0, 3.0), "tall": rng.uniform(1.8, 2.6), "cone": rng.uniform(0.6, 1.2)}[str(shape)]
    shares = {"round": (1.9, 1.9, 1.7), "tall": (1.3, 1.3, 2.8), "cone": (1.5, 1.5, 2.8)}[str(shape)]
    radii = np.array(shares) * size
    radius = 0.13 * size
    bark = Material(tuple(np.array((0.11, 0.075, 0.05)) * rng.uniform(0.7, 1.5)), 1.0)
    center = np.array([x, y, z + trunk + radii[2] * 0.75])
    mesh.add(
        moved(cylinder(radius * 1.25, trunk + 0.6, 9, top=radius * 0.8), (x, y, z + (trunk + 0.6) / 2)),
        bark,
        VEGETATION,
    )
    for _ in range(5):
        direction = rng.normal(size=3) * [1, 1, 0.4] + [0, 0, 0.7]
        end = center + direction / np.linalg.norm(direction) * radii * 0.6
        mesh.add(capsule((x, y, z + trunk * 0.95), end, radius * 0.45, radius * 0.15, 5), bark, VEGETATION)
    points = rng.normal(size=(leaves, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    clumps = points[rng.integers(0, 14, leaves)] * 0.72 + points * rng.uniform(0.1, 0.42, (leaves, 1))
    if shape == "cone":
        clumps[:, :2] *= 0.55 - 0.5 * clumps[:, 2:]
    green = np.array((0.05, 0.15, 0.025)) * rng.uniform(0.7, 1.5) * rng.uniform(0.8, 1.25, 3)
    if rng.random() < 0.12:
        green = np.array((0.24, 0.11, 0.02)) * rng.uniform(0.7, 1.3)
    mesh.add(
        _leaf_cards(rng, center + clumps * radii, float(0.21 * size)),
        Material(tuple(green), 0.9, Kind.LEAF),
        VEGETATION,
    )
    return radius


def _leaf_cards(rng: np.random.Generator, points: np.ndarray, size: float) -> Part:
    """Random small quads; texture u carries a random shade per card."""
    n = len(points)
    a = rng.normal(size=(n, 3))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(a, rng.normal(size=(n, 3)))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    s = rng.uniform(0.6, 1.4, (n, 1)) * size
    corners = np.stack([points - a * s, points - b * s * 0.65, points + a * s, points + b * s * 0.65], 1)
    base = 4 * np.arange(n)[:, None]
    faces = np.stack([base + np.array([0, 1, 2]), base + np.array([0, 2, 3])], 1).reshape(-1, 3)
    height = (points[:, 2] - points[:, 2].min()) / (np.ptp(points[:, 2]) + 1e-9)
    uv = np.stack([np.repeat(rng.random(n), 4), np.repeat(height, 4)], -1)
    return corners.reshape(-1, 3), faces, uv


def add_hedge(mesh: MeshBuilder, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, z: float) -> None:
    """Add a hedge between two ground points."""
    length = float(np.linalg.norm(end - start))
    yaw = float(np.arctan2(*(end - start)[::-1]))
    height = float(rng.uniform(0.7, 1.5))
    middle = (*(0.5 * (start + end)), z)
    color = tuple(np.array((0.035, 0.1, 0.02)) * rng.uniform(0.7, 1.4))
    vertices, faces, _ = box((0, 0, height * 0.46), (length, 0.5, height * 0.9))
    core = (vertices, faces, np.stack([np.full(len(vertices), 0.25), vertices[:, 2] / height], -1))
    mesh.add(moved(core, middle, yaw), Material(color, 1.0, Kind.LEAF), VEGETATION)
    n = int(length * 110)
    points = rng.uniform((-length / 2, -0.3, 0.05), (length / 2, 0.3, height), (n, 3))
    mesh.add(moved(_leaf_cards(rng, points, 0.14), middle, yaw), Material(color, 1.0, Kind.LEAF), VEGETATION)


def add_bush(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float) -> None:
    """Add a round bush."""
    r = float(rng.uniform(0.4, 0.9))
    color = tuple(np.array((0.045, 0.12, 0.025)) * rng.uniform(0.7, 1.6))
    points = rng.normal(size=(110, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = np.array([x, y, z + 0.6 * r]) + points * rng.uniform(0.6, 1.0, (110, 1)) * [r, r, 0.75 * r]
    mesh.add(_leaf_cards(rng, points, 0.2), Material(color, 1.0, Kind.LEAF), VEGETATION)
    core, faces, _ = ellipsoid((x, y, z + 0.55 * r), (r * 0.75, r * 0.75, r * 0.6), 8, 6)
    shade = np.stack([np.full(len(core), 0.2), (core[:, 2] - z) / (1.2 * r)], -1)
    mesh.add(
        (core, faces, shade),
        Material(color, 1.0, Kind.LEAF),
        VEGETATION,
    )


def add_street_lamp(mesh: MeshBuilder, x: float, y: float, z: float, toward: float, height: float) -> np.ndarray:
    """Add a lamp post whose arm points to heading `toward` [rad]; returns the position of its light."""
    arm = 1.7
    mesh.add(moved(cylinder(0.09, height, 10, top=0.055), (x, y, z + height / 2)), STEEL, POLE)
    mesh.add(moved(cylinder(0.14, 0.9, 10, top=0.11), (x, y, z + 0.45)), STEEL, POLE)
    mesh.add(moved(box((arm / 2, 0, height), (arm, 0.07, 0.07)), (x, y, z), toward), STEEL, POLE)
    mesh.add(moved(box((arm, 0, height + 0.01), (0.7, 0.26, 0.1)), (x, y, z), toward), DARK_STEEL, POLE)
    mesh.add(moved(box((arm, 0, height - 0.05), (0.6, 0.2, 0.03)), (x, y, z), toward), STREET_LAMP, POLE)
    return np.array([x, y, z + height - 0.15]) + rotation_z(toward) @ np.array([arm, 0, 0])


def add_bollard(mesh: MeshBuilder, x: float, y: float, z: float) -> None:
    """Add a low bollard."""
    mesh.add(moved(cylinder(0.06, 0.95, 8), (x, y, z + 0.475)), DARK_STEEL, POLE)
    mesh.add(moved(cylinder(0.062, 0.1, 8), (x, y, z + 0.8)), WHITE, POLE)


def add_sign(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, facing: float) -> None:
    """Add a traffic sign on its pole; the plate looks to heading `facing` [rad]."""
    height = float(rng.uniform(2.2, 2.6))
    mesh.add(moved(cylinder(0.032, height + 0.3, 8), (x, y, z + (height + 0.3) / 2)), STEEL, POLE)
    red, blue = Material((0.55, 0.02, 0.02), 0.5), Material((0.02, 0.09, 0.45), 0.5)
    yellow = Material((0.75, 0.5, 0.03), 0.5)
    style = str(rng.choice(["limit", "stop", "yield", "parking", "crossing", "priority", "noentry"]))
    plates: list[tuple[Part, Material]] = []
    sides = {"limit": 20, "stop": 8, "yield": 3, "parking": 4, "crossing": 4, "priority": 4, "noentry": 20}[style]
    turn = {"yield": np.pi / 2 + np.pi, "stop": np.pi / 8, "parking": np.pi / 4, "crossing": np.pi / 4}.get(style, 0.0)
    outer = {
        "limit": red,
        "stop": red,
        "yield": red,
        "parking": blue,
        "crossing": blue,
        "priority": WHITE,
        "noentry": red,
    }
    radius = 0.36 if sides != 4 else 0.42
    plates.append((_plate(sides, radius, turn, 0.06), outer[style]))
    if style in ("limit", "yield"):
        plates.append((_plate(sides, radius * 0.72, turn, 0.075), WHITE))
    if style == "limit":
        plates += [(box((0.085, s, 0), (0.01, 0.09, 0.22)), BLACK) for s in (-0.1, 0.1)]
    if style == "priority":
        plates.append((_plate(4, radius * 0.75, turn, 0.075), yellow))
    if style in ("stop", "noentry"):
        plates.append((box((0.08, 0, 0), (0.01, 0.46, 0.1)), WHITE))
    if style in ("parking", "crossing"):
        plates.append((box((0.08, 0.02, 0), (0.01, 0.16, 0.34)), WHITE))
    plates.append((_plate(sides, radius, turn, 0.045), BACK))
    for part, material in plates:
        mesh.add(moved(part, (x, y, z + height), facing), material, SIGN)


def _plate(sides: int, radius: float, turn: float, x: float) -> Part:
    """A regular polygon in the plane x = const."""
    angle = turn + np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rim = np.stack([np.full(sides, x), radius * np.cos(angle), radius * np.sin(angle)], -1)
    vertices = np.concatenate([rim, [[x, 0, 0]]])
    i = np.arange(sides)
    return vertices, np.stack([np.full(sides, sides), i, (i + 1) % sides], -1), np.zeros((sides + 1, 2))


def add_traffic_light(mesh: MeshBuilder, x: float, y: float, z: float, facing: float, green: bool) -> None:
    """Add a signal on a pole that looks to heading `facing` [rad]; the state is that of the sequence's start."""
    mesh.add(moved(cylinder(0.06, 3.3, 10), (x, y, z + 1.65)), DARK_STEEL, POLE)
    mesh.add(moved(box((0.12, 0, 3.2), (0.24, 0.3, 0.95)), (x, y, z), facing), BLACK, LIGHT)
    colors = ((0.02, 0.8, 0.25), (0.8, 0.4, 0.02), (0.9, 0.03, 0.03))
    for k, color in enumerate(colors):
        lit = k == (0 if green else 2)
        material = Material(color, 0.3, Kind.LAMP) if lit else Material(tuple(0.06 * np.array(color)), 0.3)
        lens = moved(ellipsoid((0.245, 0, 2.9 + 0.3 * k), (0.04, 0.1, 0.1), 10, 6), (x, y, z), facing)
        mesh.add(lens, material, LIGHT)
        mesh.add(moved(box((0.3, 0, 3.02 + 0.3 * k), (0.14, 0.24, 0.02)), (x, y, z), facing), BLACK, LIGHT)


def add_building(
    mesh: MeshBuilder,
    rng: np.random.Generator,
    center: np.ndarray,
    size: tuple[float, float],
    yaw: float,
    z: float,
    height: float,
) -> None:
    """Add a house of ground size (width, depth) [m] whose front looks to local -y."""
    width, depth = size
    color = np.clip(FACADE_COLORS[rng.integers(len(FACADE_COLORS))] * rng.uniform(0.75, 1.25), 0, 0.8)
    style = int(rng.integers(4))
    kind = Kind.FACADE
    facade = Material(tuple(color), 0.85, kind, slot=style)
    at = (*center, z)
    cell_width, floor = float(rng.uniform(2.1, 3.2)), float(rng.uniform(2.8, 3.5))
    floors = max(1, round(height / floor))
    height = floors * floor
    vertices, faces, uv = box((0, 0, height / 2), (width, depth, height))
    uv = uv.copy()
    wall_uv = uv.reshape(6, 4, 2)
    for face in range(4):
        extent = wall_uv[face, :, 0].max()
        wall_uv[face, :, 0] *= max(1, round(extent / cell_width)) / max(extent, 1e-9)
        wall_uv[face, :, 1] /= floor
    mesh.add(moved((vertices, faces, wall_uv.reshape(-1, 2)), at, yaw), facade, BUILDING)
    _roof(mesh, rng, at, yaw, width, depth, height)
    trim = Material(tuple(np.clip(color * 1.25 + 0.05, 0, 0.8)), 0.85)
    mesh.add(moved(box((0, 0, floor * 1.02), (width + 0.16, depth + 0.16, 0.14)), at, yaw), trim, BUILDING)
    if rng.random() < 0.45:
        _balconies(mesh, rng, at, yaw, width, depth, floor, floors)
    door_x = float(rng.uniform(-0.35, 0.35)) * width
    door = Material(tuple(rng.uniform(0.02, 0.25, 3)), 0.5)
    mesh.add(moved(box((door_x, -depth / 2 - 0.03, 1.1), (1.1, 0.1, 2.2)), at, yaw), door, BUILDING)
    mesh.add(moved(box((door_x, -depth / 2 - 0.35, 2.45), (1.7, 0.75, 0.1)), at, yaw), trim, BUILDING)


def _roof(
    mesh: MeshBuilder,
    rng: np.random.Generator,
    at: tuple[float, ...],
    yaw: float,
    width: float,
    depth: float,
    height: float,
) -> None:
    tile = Material(tuple(ROOF_COLORS[rng.integers(len(ROOF_COLORS))] * rng.uniform(0.7, 1.3)), 0.9, Kind.ROOF)
    if height < 13 and rng.random() < 0.65:
        ridge, w, d = height + depth * float(rng.uniform(0.25, 0.45)), width / 2 + 0.3, depth / 2 + 0.45
        for side in (-1, 1):
            corners = [(-w, side * d, height - 0.15), (w, side * d, height - 0.15), (w, 0, ridge), (-w, 0, ridge)]
            uv = [(0, 0), (2 * w, 0), (2 * w, d * 1.2), (0, d * 1.2)]
            mesh.add(moved(quad(corners, uv), at, yaw), tile, BUILDING)
        for side in (-1, 1):
            x = side * width / 2
            gable = (
                np.array([(x, -depth / 2, height), (x, depth / 2, height), (x, 0, ridge - 0.1)]),
                np.array([(0, 1, 2)]),
                np.zeros((3, 2)),
            )
            mesh.add(moved(gable, at, yaw), CONCRETE, BUILDING)
        return
    mesh.add(moved(box((0, 0, height + 0.25), (width + 0.4, depth + 0.4, 0.5)), at, yaw), CONCRETE, BUILDING)
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(-0.35, 0.35) * width, rng.uniform(-0.3, 0.3) * depth
        mesh.add(moved(box((x, y, height + 1.1), (1.8, 1.5, 1.4)), at, yaw), CONCRETE, BUILDING)


def _balconies(
    mesh: MeshBuilder,
    rng: np.random.Generator,
    at: tuple[float, ...],
    yaw: float,
    width: float,
    depth: float,
    floor: float,
    floors: int,
) -> None:
    columns = np.arange(-width / 2 + 2.2, width / 2 - 1.5, 5.2)
    for k in range(1, floors):
        for x in columns:
            z, y = k * floor + 0.1, -depth / 2 - 0.5
            mesh.add(moved(box((x, y, z), (2.4, 1.0, 0.14)), at, yaw), CONCRETE, BUILDING)
            mesh.add(moved(box((x, y - 0.48, z + 0.55), (2.4, 0.05, 0.9)), at, yaw), DARK_STEEL, BUILDING)


def add_wall(mesh: MeshBuilder, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, z: float) -> float:
    """Add a brick or concrete wall between two ground points; returns its thickness [m]."""
    height = float(rng.uniform(1.2, 2.4))
    brick = Material((0.33, 0.13, 0.09), 0.9, Kind.BRICK) if rng.random() < 0.6 else CONCRETE
    middle, yaw, length = (
        (*(0.5 * (start + end)), z),
        float(np.arctan2(*(end - start)[::-1])),
        float(np.linalg.norm(end - start)),
    )
    mesh.add(moved(box((0, 0, height / 2), (length, 0.26, height)), middle, yaw), brick, WALL)
    mesh.add(moved(box((0, 0, height + 0.05), (length, 0.36, 0.1)), middle, yaw), CONCRETE, WALL)
    return 0.26


def add_fence(mesh: MeshBuilder, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, z: float) -> float:
    """Add a wooden or iron fence between two ground points; returns its thickness [m]."""
    length, yaw = float(np.linalg.norm(end - start)), float(np.arctan2(*(end - start)[::-1]))
    middle, height = (*(0.5 * (start + end)), z), float(rng.uniform(1.0, 1.6))
    wood = rng.random() < 0.55
    material = Material(tuple(np.array((0.25, 0.17, 0.1)) * rng.uniform(0.5, 1.6)), 0.9) if wood else DARK_STEEL
    step, bar = (0.16, 0.1) if wood else (0.17, 0.025)
    for x in np.arange(-length / 2, length / 2, step):
        mesh.add(moved(box((x, 0, height / 2), (bar, 0.025, height)), middle, yaw), material, FENCE)
    for share in (0.2, 0.82):
        mesh.add(moved(box((0, 0.025, share * height), (length, 0.04, 0.07)), middle, yaw), material, FENCE)
    for x in np.arange(-length / 2, length / 2 + 0.1, 2.4):
        mesh.add(moved(box((x, 0, (height + 0.12) / 2), (0.1, 0.1, height + 0.12)), middle, yaw), material, FENCE)
    return 0.1

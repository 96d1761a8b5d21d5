"""What lorries carry: boxes, curtains, tippers, tanks, drums and loads. x = 0 is the lorry's front bumper."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import (
    Material,
    MeshBuilder,
    box,
    cylinder,
    moved,
    revolve,
    rounded_box,
    tube,
)
from amodal_perception_ros.simulation.assets.vehicles import (
    BODY,
    CANVAS,
    DARK,
    GLASS,
    METAL,
    SEAM,
    SECOND,
    TYRE,
    extruded,
    hull,
)  # fmt: skip

GRAVEL = Material((0.25, 0.21, 0.16), 1.0)
BRICKS = Material((0.28, 0.09, 0.05), 1.0)
TIMBER = Material((0.34, 0.22, 0.11), 0.9)
PIPES = Material((0.3, 0.31, 0.32), 0.6)

HALF = 1.23
"""Half width of a lorry's body [m]."""


def add_box_body(
    mesh: MeshBuilder, rear: float, front: float, floor: float, top: float, rng: np.random.Generator
) -> None:
    """A closed box with rear doors or a roller shutter and tail lift, sometimes with a cooler over the cab."""
    x, length, height = 0.5 * (rear + front), front - rear, top - floor
    mesh.add(box((x, 0, 0.5 * (floor + top)), (length, 2 * HALF, height)), SECOND)
    _edge_rails(mesh, rear, front, floor, top, METAL)
    for y in (-0.02, 0.02) if rng.random() < 0.6 else ():
        mesh.add(box((rear - 0.005, y * 15, 0.5 * (floor + top)), (0.02, 0.03, height - 0.3)), METAL)
    mesh.add(box((rear, 0, 0.5 * (floor + top)), (0.012, 0.02, height - 0.2)), SEAM)
    if rng.random() < 0.4:
        mesh.add(rounded_box((front + 0.22, 0, top - 0.5), (0.44, 1.6, 0.7), 0.1), DARK)
    if rng.random() < 0.5:
        mesh.add(box((rear - 0.05, 0, floor + 0.55), (0.06, 2.2, 1.3)), METAL)


def _edge_rails(mesh: MeshBuilder, rear: float, front: float, floor: float, top: float, material: Material) -> None:
    x, length = 0.5 * (rear + front), front - rear
    for side in (-1, 1):
        for z in (floor + 0.05, top - 0.04):
            mesh.add(box((x, side * HALF, z), (length + 0.02, 0.04, 0.1)), material)
        for end in (rear, front):
            mesh.add(box((end, side * HALF, 0.5 * (floor + top)), (0.06, 0.05, top - floor)), material)


def add_curtain_body(mesh: MeshBuilder, rear: float, front: float, floor: float, top: float) -> None:
    """A trailer with canvas sides, straps and buckles, a rigid front wall and rear doors."""
    x, length, z = 0.5 * (rear + front), front - rear, 0.5 * (floor + top)
    mesh.add(box((x, 0, z), (length, 2 * HALF - 0.04, top - floor)), CANVAS)
    mesh.add(box((front - 0.03, 0, z), (0.08, 2 * HALF, top - floor)), SECOND)
    mesh.add(box((rear + 0.04, 0, z), (0.1, 2 * HALF, top - floor)), METAL)
    for y in (-0.4, 0.4):
        mesh.add(box((rear - 0.02, y, z), (0.03, 0.035, top - floor - 0.2)), DARK)
    mesh.add(box((rear - 0.012, 0, z), (0.01, 0.02, top - floor)), SEAM)
    for side in (-1, 1):
        mesh.add(box((x, side * HALF, floor + 0.02), (length, 0.06, 0.14)), DARK)
        mesh.add(box((x, side * HALF, top - 0.06), (length, 0.03, 0.12)), METAL)
        for k in range(int(length / 0.75)):
            mesh.add(
                box((rear + 0.5 + 0.75 * k, side * (HALF - 0.015), z - 0.02), (0.045, 0.02, top - floor - 0.2)), DARK
            )


def add_tipper_body(mesh: MeshBuilder, rear: float, front: float, floor: float, rng: np.random.Generator) -> None:
    """A ribbed trough with a canopy over the cab, empty or heaped."""
    height = float(rng.uniform(1.0, 1.35))
    x, length, z = 0.5 * (rear + front), front - rear, floor + height / 2
    for side in (-1, 1):
        mesh.add(box((x, side * (HALF - 0.04), z), (length, 0.08, height)), SECOND)
        mesh.add(box((x, side * HALF, floor + height), (length, 0.14, 0.1)), SECOND)
        for k in range(int(length / 0.7) + 1):
            mesh.add(box((rear + 0.2 + 0.7 * k, side * (HALF + 0.03), z), (0.1, 0.08, height)), SECOND)
    mesh.add(
        extruded(
            [(rear + 0.05, floor), (rear + 0.15, floor), (rear + 0.02, floor + height), (rear - 0.1, floor + height)],
            HALF,
        ),
        SECOND,
    )
    mesh.add(box((front, 0, z + 0.15), (0.1, 2 * HALF, height + 0.3)), SECOND)
    mesh.add(box((front + 0.35, 0, floor + height + 0.3), (0.8, 2 * HALF - 0.3, 0.06)), SECOND)
    mesh.add(box((x, 0, floor), (length, 2 * HALF - 0.05, 0.1)), DARK)
    mesh.add(tube((front - 0.2, 0, 0.8), (front - 0.15, 0, floor + height), 0.1, 8), METAL)
    if rng.random() < 0.6:
        low, peak = floor + 0.3, floor + height
        heap = [(rear + 0.15, low, peak - 0.3, 0.6), (rear + 0.9, low, peak + 0.05, 1.1), (x, low, peak + 0.35, 1.14),
                (front - 0.8, low, peak + 0.1, 1.1), (front - 0.1, low, peak - 0.3, 0.7)]  # fmt: skip
        mesh.add(hull(heap, 12, 2.2), GRAVEL)


def add_tank(mesh: MeshBuilder, rear: float, front: float, floor: float) -> None:
    """An elliptic tank with domed ends, a walkway, manholes, hose tubes and a ladder."""
    x, middle = 0.5 * (rear + front), floor + 1.02
    stations = [(rear, 0.35), (rear + 0.06, 0.7), (rear + 0.25, 0.95), (rear + 0.5, 1.0), (x, 1.0), (front - 0.5, 1.0),
                (front - 0.25, 0.95), (front - 0.06, 0.7), (front, 0.35)]  # fmt: skip
    mesh.add(hull([(sx, middle - 0.88 * k, middle + 0.88 * k, 1.2 * k) for sx, k in stations], 22, 2.2), SECOND)
    for sx in np.linspace(rear + 0.5, front - 0.5, 4):
        mesh.add(
            hull(
                [(sx - 0.03, middle - 0.9, middle + 0.9, 1.22), (sx + 0.03, middle - 0.9, middle + 0.9, 1.22)], 22, 2.2
            ),
            METAL,
        )
        mesh.add(box((sx, 0, floor + 0.08), (0.2, 1.6, 0.3)), DARK)
        mesh.add(moved(cylinder(0.25, 0.14, 10), (min(sx + 0.4, front - 0.4), 0, middle + 0.94)), METAL)
    mesh.add(box((x, 0, middle + 0.9), (front - rear - 0.9, 0.7, 0.05)), DARK)
    for side in (-1, 1):
        mesh.add(box((x, side * 0.42, middle + 1.02), (front - rear - 0.9, 0.03, 0.04)), METAL)
        mesh.add(moved(cylinder(0.09, front - rear - 1.0, 8, "x"), (x, side * 1.08, floor + 0.02)), DARK)
        mesh.add(tube((rear + 0.05, side * 0.2, floor), (rear + 0.02, side * 0.2, middle + 0.9), 0.02, 4), METAL)


def add_flatbed(mesh: MeshBuilder, rear: float, front: float, floor: float, rng: np.random.Generator) -> None:
    """A platform with a headboard and one of four loads: bricks on pallets, timber, pipes, a small excavator."""
    x, length = 0.5 * (rear + front), front - rear
    mesh.add(box((x, 0, floor), (length, 2 * HALF, 0.16)), SECOND)
    mesh.add(box((front, 0, floor + 0.65), (0.08, 2 * HALF, 1.3)), SECOND)
    load = str(rng.choice(["bricks", "timber", "pipes", "excavator"]))
    if load == "bricks":
        for k in range(int(length / 1.35)):
            height = 0.8 + 0.5 * ((k * 7 + int(length * 10)) % 3) / 2
            for side in (-1, 1):
                mesh.add(
                    box((rear + 0.8 + 1.35 * k, side * 0.6, floor + 0.22 + height / 2), (1.1, 1.05, height)), BRICKS
                )
                mesh.add(box((rear + 0.8 + 1.35 * k, side * 0.6, floor + 0.15), (1.15, 1.1, 0.12)), TIMBER)
    elif load == "timber":
        for level, count in enumerate((3, 3, 2)):
            for k in range(count):
                y = (k - (count - 1) / 2) * 0.74
                mesh.add(box((x - 0.1, y, floor + 0.35 + 0.48 * level), (length - 0.5, 0.66, 0.4)), TIMBER)
    elif load == "pipes":
        for level, count in enumerate((4, 3, 2)):
            for k in range(count):
                y = (k - (count - 1) / 2) * 0.56
                mesh.add(moved(cylinder(0.27, length - 0.5, 12, "x"), (x - 0.1, y, floor + 0.36 + 0.48 * level)), PIPES)
        for sx in (rear + 0.8, front - 0.8):
            for side in (-1, 1):
                mesh.add(box((sx, side * 1.15, floor + 0.7), (0.1, 0.08, 1.3)), METAL)
    else:
        _excavator(mesh, x, floor + 0.08)


def _excavator(mesh: MeshBuilder, x: float, floor: float) -> None:
    for side in (-1, 1):
        mesh.add(
            hull(
                [
                    (x - 1.3, floor + 0.12, floor + 0.4, 0.2),
                    (x - 1.15, floor, floor + 0.55, 0.2),
                    (x + 1.1, floor, floor + 0.55, 0.2),
                    (x + 1.25, floor + 0.12, floor + 0.4, 0.2),
                ],
                10,
                6.0,
                side * 0.7,
            ),
            TYRE,
        )
    mesh.add(box((x, 0, floor + 0.55), (1.6, 1.0, 0.3)), DARK)
    mesh.add(rounded_box((x - 0.45, 0, floor + 1.0), (1.5, 1.6, 0.7), 0.15), SECOND)
    mesh.add(rounded_box((x + 0.25, 0.4, floor + 1.35), (0.95, 0.75, 1.3), 0.1), GLASS)
    mesh.add(box((x + 0.25, 0.4, floor + 2.02), (1.0, 0.8, 0.08)), SECOND)
    for a, b, wide in (
        ((x + 0.4, floor + 0.9), (x + 1.5, floor + 2.0), 0.16),
        ((x + 1.5, floor + 2.0), (x + 2.2, floor + 0.9), 0.13),
    ):
        mesh.add(tube((a[0], -0.3, a[1]), (b[0], -0.3, b[1]), wide, 6), SECOND)
    mesh.add(
        extruded(
            [(x + 1.9, floor + 0.1), (x + 2.4, floor + 0.2), (x + 2.3, floor + 0.9), (x + 1.95, floor + 0.8)],
            0.35,
            -0.3,
        ),
        DARK,
    )


def add_refuse_body(mesh: MeshBuilder, rear: float, front: float, floor: float) -> None:
    """A ribbed compactor body with a bulging hopper behind."""
    knee = rear + 1.7
    body = [(front, floor), (front, 3.2), (front - 0.3, 3.35), (knee, 3.35), (knee - 0.1, floor)]
    mesh.add(extruded(body, HALF - 0.06), SECOND)
    hopper = [
        (knee - 0.05, 0.75),
        (knee, 3.42),
        (rear + 1.1, 3.4),
        (rear + 0.25, 2.5),
        (rear, 1.7),
        (rear, 1.3),
        (rear + 0.35, 0.75),
    ]
    mesh.add(extruded(hopper, HALF), SECOND)
    mesh.add(box((rear + 0.1, 0, 1.9), (0.5, 2 * HALF - 0.25, 0.75)), SEAM)
    for side in (-1, 1):
        for x in np.arange(knee + 0.3, front - 0.2, 0.75):
            mesh.add(box((x, side * (HALF - 0.04), 0.5 * (floor + 3.3)), (0.1, 0.08, 3.3 - floor)), SECOND)
        mesh.add(box((0.5 * (knee + front), side * (HALF - 0.03), 1.6), (front - knee, 0.06, 0.1)), SECOND)
        mesh.add(tube((knee - 0.4, side * (HALF + 0.02), 1.2), (rear + 0.6, side * (HALF + 0.02), 2.6), 0.06, 6), METAL)
        mesh.add(box((rear + 0.05, side * (HALF - 0.18), 0.5), (0.35, 0.36, 0.05)), METAL)
        mesh.add(tube((rear, side * (HALF + 0.03), 1.2), (rear, side * (HALF + 0.03), 2.0), 0.02, 5), METAL)


def add_mixer_drum(mesh: MeshBuilder, rear: float, front: float) -> None:
    """A tilted drum on a frame, with hopper, chute and water tank."""
    profile = [
        (0.0, 0.0),
        (0.55, 0.0),
        (0.8, 0.25),
        (1.16, 1.4),
        (1.16, 2.4),
        (0.95, 3.6),
        (0.55, 4.7),
        (0.5, 5.0),
        (0.0, 5.0),
    ]
    vertices, faces, uv = revolve(profile, 20, "x")
    tilt = np.radians(165.0)
    turn = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
    drum = moved((vertices @ turn.T, faces, uv), (front - 0.35, 0, 1.95))
    bands = np.repeat(np.array([0, 0, 0, 1, 0, 1, 0, 0]), 40)
    mesh.add_mixed(drum, [SECOND, BODY], bands)
    mesh.add(box((front - 0.25, 0, 1.5), (0.35, 1.5, 1.0)), DARK)
    mesh.add(moved(cylinder(0.3, 1.9, 12, "y"), (front - 0.25, 0, 2.5)), METAL)
    for side in (-1, 1):
        mesh.add(tube((rear + 1.2, side * 0.8, 1.0), (rear + 0.75, side * 0.5, 3.0), 0.07, 6), DARK)
        mesh.add(box((0.5 * (rear + front) + 0.3, side * 1.1, 1.05), (front - rear - 2.4, 0.25, 0.08)), DARK)
    mesh.add(moved(cylinder(0.3, 0.5, 12, "z", top=0.6), (rear + 0.55, 0, 3.35)), SECOND)
    mesh.add(extruded([(rear, 1.1), (rear + 0.12, 1.05), (rear + 0.75, 2.5), (rear + 0.6, 2.55)], 0.28), METAL)
    mesh.add(box((rear + 0.85, 0, 1.3), (0.1, 1.0, 0.9)), DARK)


def add_fire_body(mesh: MeshBuilder, rear: float, front: float) -> None:
    """Equipment lockers behind roller shutters, a ladder and a lamp mast on the roof."""
    x, length = 0.5 * (rear + front), front - rear
    mesh.add(box((x, 0, 2.0), (length, 2 * HALF, 1.9)), BODY)
    mesh.add(box((x - 0.1, 0, 0.9), (length - 0.3, 2 * HALF - 0.02, 0.5)), BODY)
    width = (length - 0.3) / 3
    for side in (-1, 1):
        for k in range(3):
            mesh.add(box((rear + 0.15 + width * (k + 0.5), side * HALF, 1.9), (width - 0.12, 0.03, 1.35)), METAL)
        mesh.add(box((x, side * HALF, 1.08), (length, 0.03, 0.16)), SECOND)
        mesh.add(box((x, side * 0.35, 3.2), (length - 0.4, 0.06, 0.1)), METAL)
        mesh.add(tube((rear, side * 0.9, 1.0), (rear - 0.02, side * 0.9, 2.9), 0.02, 5), METAL)
    for sx in np.arange(rear + 0.4, front - 0.3, 0.4):
        mesh.add(box((sx, 0, 3.2), (0.05, 0.7, 0.05)), METAL)
    mesh.add(box((rear, 0, 1.9), (0.03, 1.5, 1.4)), METAL)
    mesh.add(box((x, 0.85, 3.05), (length * 0.6, 0.4, 0.25)), DARK)


def add_container(mesh: MeshBuilder, rear: float, front: float, floor: float) -> None:
    """A corrugated 20 foot container on twist locks."""
    x, length, height = 0.5 * (rear + front), front - rear, 2.55
    z = floor + 0.05 + height / 2
    mesh.add(box((x, 0, z), (length, 2.3, height - 0.1)), SECOND)
    for side in (-1, 1):
        for sx in np.arange(rear + 0.3, front - 0.2, 0.28):
            profile = [(-0.1, 0.0), (-0.05, 0.05), (0.05, 0.05), (0.1, 0.0)]
            rib = np.array([(sx + a, side * (1.15 + b)) for a, b in profile])
            _corrugation(mesh, rib, z - 1.12, z + 1.12, side)
        for end in (rear + 0.06, front - 0.06):
            mesh.add(box((end, side * 1.16, z), (0.16, 0.12, height)), SECOND)
        for edge in (floor + 0.12, floor + height - 0.02):
            mesh.add(box((x, side * 1.17, edge), (length, 0.1, 0.14)), SECOND)
    for y in (-0.75, -0.3, 0.3, 0.75):
        mesh.add(box((rear - 0.02, y, z), (0.03, 0.035, height - 0.25)), METAL)
    mesh.add(box((x, 0, floor), (length, 1.2, 0.12)), DARK)


def _corrugation(mesh: MeshBuilder, rib: np.ndarray, low: float, high: float, side: int) -> None:
    n = len(rib)
    vertices = np.concatenate([np.column_stack([rib, np.full(n, low)]), np.column_stack([rib, np.full(n, high)])])
    k = np.arange(n - 1)
    faces = np.concatenate([np.stack([k, k + n, k + 1], 1), np.stack([k + 1, k + n, k + n + 1], 1)])
    mesh.add((vertices, faces if side > 0 else faces[:, ::-1], vertices[:, [0, 2]].copy()), SECOND)


def add_dropside(mesh: MeshBuilder, rear: float, front: float, floor: float, tarpaulin: bool) -> None:
    """A low platform with drop sides; a tarpaulin over hoops, or a ladder rack."""
    x, length, half = 0.5 * (rear + front), front - rear, 1.0
    mesh.add(box((x, 0, floor), (length, 2 * half, 0.12)), DARK)
    for side in (-1, 1):
        mesh.add(box((x, side * half, floor + 0.22), (length, 0.04, 0.4)), SECOND)
        for k in range(3):
            mesh.add(box((rear + length * (k + 0.5) / 3, side * (half + 0.01), floor + 0.22), (0.06, 0.05, 0.4)), METAL)
    for end in (rear, front):
        mesh.add(box((end, 0, floor + 0.22), (0.04, 2 * half, 0.4)), SECOND)
    if tarpaulin:
        cover = [(rear + 0.02, floor + 0.4), (front, floor + 0.4), (front, floor + 1.7), (rear + 0.02, floor + 1.7)]
        mesh.add(extruded(cover, half - 0.03), CANVAS)
        mesh.add(
            extruded(
                [
                    (rear + 0.02, floor + 1.69),
                    (front, floor + 1.69),
                    (front, floor + 1.82),
                    (rear + 0.02, floor + 1.82),
                ],
                half - 0.3,
            ),
            CANVAS,
        )
        return
    mesh.add(box((front - 0.02, 0, floor + 0.85), (0.05, 2 * half - 0.1, 0.05)), METAL)
    for side in (-1, 1):
        mesh.add(box((front - 0.02, side * 0.9, floor + 0.6), (0.05, 0.05, 1.0)), METAL)
    mesh.add(box((x - 0.2, 0.2, floor + 0.35), (length * 0.55, 1.2, 0.55)), TIMBER)


def add_cars_on_decks(mesh: MeshBuilder, rear: float, rng: np.random.Generator) -> None:
    """Two decks on posts with simple cars on them."""
    front = -2.1
    for side in (-1, 1):
        mesh.add(box((0.5 * (rear + front), side * 0.95, 1.05), (front - rear, 0.5, 0.1)), METAL)
        mesh.add(box((0.5 * (rear - 0.6), side * 0.95, 2.72), (-0.6 - rear, 0.5, 0.1)), METAL)
        for x in (rear + 0.15, 0.5 * (rear + front), front + 0.05):
            mesh.add(box((x, side * 1.17, 1.85), (0.16, 0.1, 1.8)), SECOND)
        mesh.add(box((0.5 * (rear - 0.6), side * 1.2, 2.72), (-0.6 - rear, 0.06, 0.2)), SECOND)
    mesh.add(extruded([(-0.6, 2.55), (-0.5, 2.55), (-1.6, 3.0), (-1.9, 2.75)], 1.0), SECOND)
    paints = [SECOND, BODY, Material((0.35, 0.36, 0.38), 0.3), Material((0.05, 0.05, 0.06), 0.3)]
    places = [(rear + 2.0, 1.1), (rear + 2.2, 2.77), (-2.5, 2.77)]
    for x, z in places:
        if rng.random() < 0.8:
            _simple_car(mesh, x, z, paints[rng.integers(len(paints))], float(rng.uniform(0.9, 1.05)))


def _simple_car(mesh: MeshBuilder, x: float, z: float, paint: Material, scale: float) -> None:
    def at(stations: list[tuple[float, float, float, float]]) -> list[tuple[float, float, float, float]]:
        return [(x + a * scale, z + low, z + high * scale, w) for a, low, high, w in stations]

    low = at(
        [
            (-1.95, 0.4, 0.75, 0.65),
            (-1.8, 0.25, 0.9, 0.8),
            (-0.6, 0.2, 0.92, 0.85),
            (0.8, 0.2, 0.88, 0.85),
            (1.7, 0.25, 0.74, 0.78),
            (1.9, 0.4, 0.6, 0.6),
        ]
    )
    mesh.add(hull(low, 12, 4.0), paint)
    mesh.add(
        hull(
            at([(-1.75, 0.8, 0.86, 0.66), (-1.3, 0.8, 1.36, 0.66), (0.1, 0.8, 1.38, 0.66), (0.9, 0.8, 0.84, 0.68)]),
            10,
            3.5,
        ),
        GLASS,
    )
    mesh.add(hull(at([(-1.25, 1.3, 1.4, 0.58), (-0.6, 1.34, 1.46, 0.6), (0.1, 1.32, 1.41, 0.58)]), 8, 3.0), paint)
    for wheel in (-1.2, 1.2):
        mesh.add(moved(cylinder(0.31, 1.66, 14, "y"), (x + wheel * scale, 0, z + 0.31)), TYRE)

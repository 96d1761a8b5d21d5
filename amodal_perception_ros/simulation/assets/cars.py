"""Parametric cars and vans. Local frame as in `vehicles`; slot 1 is the paint, slot 2 the roof and livery bands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from amodal_perception_ros.simulation.assets.car_bodies import (
    TWO_TONE,
    CarShape,
    add_body,
    add_cabin,
    roof_height,
    side_half_width,
)  # fmt: skip
from amodal_perception_ros.simulation.assets.meshes import MeshBuilder, Model, box, moved, quad, rounded_box, tube
from amodal_perception_ros.simulation.assets.vehicles import (
    BEACON,
    BODY,
    DARK,
    GLASS,
    HEADLIGHT,
    INDICATOR,
    METAL,
    PLATE,
    SEAM,
    SEAT,
    TAILLIGHT,
    add_wheel,
    finished,
    hull,
)  # fmt: skip

_SHAPES: dict[str, CarShape] = {
    "sedan": CarShape(4.65, 1.82, 1.45, ((-1, 0.86), (-0.82, 0.95), (-0.62, 0.97), (0.3, 0.93), (0.75, 0.83),
                                         (1, 0.64)),
                      ((-0.74, 0.66), (-0.42, 0.955), (-0.2, 1), (0.02, 0.985), (0.14, 0.95), (0.46, 0.63)),
                      (-0.5, -0.07, 0.3)),
    "hatchback": CarShape(4.0, 1.75, 1.5, ((-1, 0.84), (-0.9, 0.96), (0.4, 0.93), (0.8, 0.82), (1, 0.64)),
                          ((-0.95, 0.64), (-0.8, 0.9), (-0.55, 0.97), (-0.1, 1), (0.14, 0.95), (0.55, 0.62)),
                          (-0.62, -0.1, 0.36)),
    "wagon": CarShape(4.8, 1.84, 1.48, ((-1, 0.86), (-0.92, 0.96), (0.3, 0.92), (0.75, 0.82), (1, 0.64)),
                      ((-0.96, 0.64), (-0.86, 0.9), (-0.72, 0.97), (-0.2, 1), (0.1, 0.96), (0.45, 0.62)),
                      (-0.66, -0.36, 0.0, 0.3), rails=True),
    "suv": CarShape(4.6, 1.9, 1.74, ((-1, 0.98), (-0.92, 1.08), (0.42, 1.06), (0.8, 0.99), (1, 0.78)),
                    ((-0.95, 0.63), (-0.84, 0.92), (-0.7, 0.98), (-0.1, 1), (0.14, 0.96), (0.5, 0.62)),
                    (-0.66, -0.1, 0.34), wheel=0.37, cladding=True, rails=True, clearance=0.26),
    "minivan": CarShape(4.8, 1.9, 1.8, ((-1, 0.98), (-0.95, 1.05), (0.55, 1.0), (0.85, 0.86), (1, 0.68)),
                        ((-0.97, 0.58), (-0.9, 0.93), (-0.75, 0.99), (-0.1, 1), (0.25, 0.95), (0.72, 0.56)),
                        (-0.55, -0.05, 0.44), wheel=0.34, rails=True),
    "van": CarShape(5.5, 2.02, 2.4, ((-1, 1.1), (-0.97, 1.22), (0.6, 1.2), (0.88, 1.04), (1, 0.78)),
                    ((-0.985, 0.54), (-0.97, 0.95), (-0.9, 0.99), (0.1, 1), (0.38, 0.95), (0.74, 0.52)),
                    (0.12, 0.56), solid=(-1.0, 0.12), wheel=0.36, lean=0.12),
    "pickup": CarShape(5.3, 1.95, 1.8, ((-1, 1.04), (-0.98, 1.08), (0.44, 1.08), (0.8, 1.02), (1, 0.8)),
                       ((-0.28, 0.6), (-0.23, 0.94), (-0.14, 0.985), (0.08, 1), (0.2, 0.96), (0.46, 0.6)),
                       (-0.2, 0.1, 0.32), wheel=0.39, bed=(-0.965, -0.3), cladding=True, clearance=0.3),
    "compact": CarShape(3.4, 1.65, 1.52, ((-1, 0.8), (-0.9, 0.94), (0.5, 0.92), (0.86, 0.8), (1, 0.64)),
                        ((-0.96, 0.62), (-0.86, 0.88), (-0.6, 0.97), (-0.1, 1), (0.18, 0.95), (0.66, 0.61)),
                        (-0.5, 0.4), wheel=0.29),
    "coupe": CarShape(4.45, 1.86, 1.3, ((-1, 0.84), (-0.86, 0.93), (-0.6, 0.9), (0.2, 0.86), (0.7, 0.76), (1, 0.56)),
                      ((-0.86, 0.7), (-0.5, 0.9), (-0.24, 1), (-0.06, 0.99), (0.06, 0.94), (0.4, 0.66)),
                      (-0.4, 0.24), wheel=0.34, lean=0.26, clearance=0.17),
    "convertible": CarShape(4.25, 1.8, 1.3, ((-1, 0.82), (-0.85, 0.93), (-0.55, 0.93), (0.2, 0.9), (0.75, 0.8),
                                              (1, 0.6)),
                            ((0.08, 1.0), (0.3, 0.68)), (-0.16, 0.28), wheel=0.33, bed=(-0.44, 0.2)),
    "offroad": CarShape(4.2, 1.84, 1.92, ((-1, 1.02), (-0.985, 1.1), (0.5, 1.1), (0.95, 1.07), (1, 0.9)),
                        ((-0.985, 0.58), (-0.97, 0.95), (-0.92, 0.99), (0.0, 1), (0.3, 0.965), (0.43, 0.58)),
                        (-0.45, 0.02, 0.38), wheel=0.39, lean=0.1, cladding=True, clearance=0.3),
    "shuttle": CarShape(5.1, 1.96, 1.98, ((-1, 1.02), (-0.97, 1.12), (0.6, 1.1), (0.9, 0.96), (1, 0.74)),
                        ((-0.985, 0.55), (-0.96, 0.94), (-0.88, 0.99), (0.1, 1), (0.36, 0.95), (0.76, 0.54)),
                        (-0.6, -0.14, 0.24, 0.56), wheel=0.35, lean=0.13),
}  # fmt: skip
_SHAPES["taxi"] = replace(_SHAPES["minivan"], length=4.45, height=1.66, width=1.84, rails=False, band=True)
_SHAPES["police"] = replace(_SHAPES["wagon"], length=4.95, height=1.58, width=1.88, rails=False, band=True)

CAR_SHAPES: tuple[str, ...] = tuple(_SHAPES)


def build_car(rng: np.random.Generator, shape: str) -> Model:
    """Return a car of one of `CAR_SHAPES`, its size varied by a few per cent."""
    form, mesh = _jittered(_SHAPES[shape], rng), MeshBuilder()
    add_body(mesh, form)
    if shape != "convertible":
        add_cabin(mesh, form)
    _wheels(mesh, form)
    _ends(mesh, form)
    _sides(mesh, form)
    if form.rails:
        _rails(mesh, form)
    if shape in _EXTRAS:
        _EXTRAS[shape](mesh, form, rng)
    return finished(mesh)


def _jittered(shape: CarShape, rng: np.random.Generator) -> CarShape:
    """Return the shape with length, width and height varied by a few per cent."""
    a, b, c = rng.uniform(0.96, 1.05, 3)
    hood = tuple((x, z * c) for x, z in shape.hood)
    return replace(
        shape, length=shape.length * a, width=shape.width * (1 + (b - 1) / 2), height=shape.height * c, hood=hood
    )


def _wheels(mesh: MeshBuilder, shape: CarShape) -> None:
    for x in shape.axles:
        for side in (-1, 1):
            add_wheel(mesh, x, side * (shape.width / 2 - 0.115), shape.wheel, 0.21, side)
        mesh.add(box((x, 0, shape.wheel * 1.55), (shape.wheel * 1.1, shape.width * 0.6, shape.wheel * 1.1)), SEAM)
    mesh.add(box((0, 0, 0.42), (shape.length * 0.84, shape.width * 0.6, 0.26)), DARK)


def _ends(mesh: MeshBuilder, shape: CarShape) -> None:
    """Lamps, grille, air intake, bumpers and plates."""
    half, y = shape.length / 2, shape.width / 2
    front, rear = shape.hood[-1][1] * 0.97, min(shape.hood[0][1] * 0.92, 1.02)
    tall = 0.26 if shape.height > 1.6 else 0.13
    for side in (-1, 1):
        mesh.add(rounded_box((half - 0.06, side * y * 0.62, front - 0.01), (0.13, y * 0.3, 0.12), 0.03), HEADLIGHT)
        mesh.add(
            rounded_box((-half + 0.05, side * y * 0.66, rear - tall / 2 + 0.04), (0.12, y * 0.24, tall), 0.03),
            TAILLIGHT,
        )
        mesh.add(box((half - 0.035, side * y * 0.6, front - 0.24), (0.07, y * 0.2, 0.06)), INDICATOR)
    mesh.add(box((half - 0.005, 0, front - 0.03), (0.02, y * 0.78, 0.11)), DARK)
    mesh.add(box((half - 0.005, 0, front - 0.03), (0.03, 0.12, 0.07)), METAL)
    mesh.add(box((half - 0.02, 0, 0.36), (0.06, y * 1.1, 0.13)), DARK)
    mesh.add(box((half + 0.005, 0, front - 0.16), (0.02, 0.5, 0.11)), PLATE)
    mesh.add(box((-half - 0.005, 0, rear - 0.22), (0.02, 0.5, 0.11)), PLATE)
    mesh.add(box((-half + 0.02, 0, 0.38), (0.07, y * 1.3, 0.14)), DARK)


def _sides(mesh: MeshBuilder, shape: CarShape) -> None:
    """Mirrors, door seams along the body's curve and handles."""
    half, belt = shape.length / 2, shape.hood[2][1]
    levels = shape.clearance + (belt - shape.clearance) * np.array([0.12, 0.22, 0.5, 0.7, 0.86, 0.94])
    x_mirror = half * (shape.roof[-1][0] - 0.09)
    for side in (-1, 1):
        y = side * shape.width / 2
        z = shape.hood[-3][1] + 0.06
        shell = [
            (x_mirror - 0.07, z - 0.05, z + 0.08, 0.1),
            (x_mirror, z - 0.06, z + 0.09, 0.11),
            (x_mirror + 0.09, z - 0.02, z + 0.05, 0.06),
        ]
        mesh.add(hull(shell, 8, 3.0, y + side * 0.08), TWO_TONE)
        mesh.add(box((x_mirror, y - side * 0.04, z - 0.03), (0.06, 0.16, 0.03)), DARK)
        for x in shape.pillars:
            points = [
                (x * half, side * (side_half_width(shape, x * half, level) + 0.005), float(level)) for level in levels
            ]
            for low, high in pairwise(points):
                mesh.add(tube(low, high, 0.007, 3), SEAM)
        for x in shape.pillars[:-1]:
            z = belt - 0.13
            mesh.add(
                box((x * half + 0.14, side * (side_half_width(shape, x * half, z)), z), (0.17, 0.035, 0.025)), DARK
            )


def _rails(mesh: MeshBuilder, shape: CarShape) -> None:
    stops = np.linspace(shape.roof[2][0] - 0.06, shape.roof[-3][0] + 0.04, 5)
    for side in (-1, 1):
        y = side * shape.width * 0.5 * 0.66
        points = [(x * shape.length / 2, y, roof_height(shape, x) + 0.055) for x in stops]
        points = [(points[0][0], y, points[0][2] - 0.08), *points[1:-1], (points[-1][0], y, points[-1][2] - 0.08)]
        for a, b in pairwise(points):
            mesh.add(tube(a, b, 0.016, 5), METAL)


def _roof_box(mesh: MeshBuilder, shape: CarShape, rng: np.random.Generator) -> None:
    if rng.random() < 0.2:
        z = shape.height - 0.01
        mesh.add(
            hull(
                [
                    (-1.8, z + 0.02, z + 0.2, 0.2),
                    (-1.6, z, z + 0.3, 0.36),
                    (-0.5, z, z + 0.32, 0.36),
                    (0.1, z + 0.02, z + 0.16, 0.26),
                ],
                10,
                4.0,
            ),
            DARK,
        )
        for x in (-1.3, -0.5):
            mesh.add(box((x, 0, z), (0.05, shape.width * 0.68, 0.03)), METAL)


def _van_rack(mesh: MeshBuilder, shape: CarShape, rng: np.random.Generator) -> None:
    """Rear doors and, on some, a rack with a ladder."""
    half = shape.length / 2
    mesh.add(box((-half + 0.03, 0, 1.3), (0.05, 0.015, 1.5)), SEAM)
    if rng.random() < 0.5:
        for side in (-1, 1):
            mesh.add(box((-half + 0.05, side * 0.4, shape.height * 0.72), (0.08, 0.55, 0.42)), GLASS)
    if rng.random() < 0.35:
        for x in (-half * 0.75, -half * 0.2, half * 0.25):
            mesh.add(box((x, 0, shape.height + 0.08), (0.05, shape.width * 0.72, 0.04)), METAL)
        for side in (-1, 1):
            mesh.add(box((-half * 0.25, 0.3 + side * 0.18, shape.height + 0.13), (half * 1.3, 0.04, 0.06)), METAL)


def _tailgate(mesh: MeshBuilder, shape: CarShape, rng: np.random.Generator) -> None:
    """The seam of the tailgate, and on some a cargo or a bar behind the cabin."""
    half, top = shape.length / 2, shape.hood[1][1]
    mesh.add(box((-half - 0.005, 0, top - 0.36), (0.02, shape.width * 0.66, 0.015)), SEAM)
    choice = rng.random()
    if choice < 0.3:
        mesh.add(box((-half * 0.66, 0.1, top + 0.05), (half * 0.4, shape.width * 0.55, 0.5)), DARK)
    elif choice < 0.6:
        x = -half * 0.34
        for side in (-1, 1):
            mesh.add(
                tube(
                    (x - 0.4, side * shape.width * 0.36, top - 0.05),
                    (x, side * shape.width * 0.33, top + 0.52),
                    0.035,
                    6,
                ),
                DARK,
            )
        mesh.add(tube((x, -shape.width * 0.33, top + 0.52), (x, shape.width * 0.33, top + 0.52), 0.035, 6), DARK)


def _cockpit(mesh: MeshBuilder, shape: CarShape, rng: np.random.Generator) -> None:
    """Windscreen with its frame, seats, folded top; a convertible has no roof."""
    half, y = shape.length / 2, shape.width / 2
    low, high = (0.27 * half, 0.94 * shape.hood[3][1]), (0.04 * half, shape.height - 0.02)
    corners = [
        (low[0], -y * 0.84, low[1]),
        (low[0], y * 0.84, low[1]),
        (high[0], y * 0.66, high[1]),
        (high[0], -y * 0.66, high[1]),
    ]
    mesh.add(quad(corners), GLASS)
    for a, b in ((1, 2), (2, 3), (3, 0)):
        mesh.add(tube(corners[a], corners[b], 0.026, 5), BODY)
    belt = shape.hood[2][1]
    for x in (-0.2, -0.66):
        for side in (-1, 1):
            mesh.add(
                hull(
                    [(x - 0.2, 0.7, belt + 0.22, 0.16), (x - 0.08, 0.6, belt + 0.2, 0.23), (x, 0.6, belt - 0.1, 0.2)],
                    8,
                    3.0,
                    side * 0.38,
                ),
                SEAT,
            )
    mesh.add(
        hull(
            [
                (-0.56 * half, belt - 0.06, belt + 0.05, 0.5),
                (-0.5 * half, belt - 0.06, belt + 0.1, 0.68),
                (-0.42 * half, belt - 0.1, belt + 0.03, 0.62),
            ],
            10,
            3.0,
        ),
        DARK,
    )
    mesh.add(box((0.19 * half, 0, belt - 0.08), (0.2, y * 1.6, 0.1)), DARK)


def _spare_wheel(mesh: MeshBuilder, shape: CarShape, rng: np.random.Generator) -> None:
    """A wheel on the rear door."""
    spare = MeshBuilder()
    add_wheel(spare, 0, 0, shape.wheel * 0.95, 0.2, 1, spokes=0)
    for part, materials, which, *_ in spare.parts:
        mesh.add_mixed(moved(part, (-shape.length / 2 - 0.1, 0, 0.62), np.pi / 2), materials, which)


def _sign(mesh: MeshBuilder, shape: CarShape, rng: np.random.Generator) -> None:
    mesh.add(rounded_box((-0.1, 0, shape.height + 0.1), (0.16, 0.62, 0.17), 0.04), PLATE)
    mesh.add(box((-0.1, 0, shape.height + 0.09), (0.17, 0.4, 0.07)), DARK)


def _light_bar(mesh: MeshBuilder, shape: CarShape, rng: np.random.Generator) -> None:
    x = -0.12
    mesh.add(box((x, 0, shape.height + 0.03), (0.1, 0.7, 0.05)), DARK)
    mesh.add(rounded_box((x, 0, shape.height + 0.11), (0.24, shape.width * 0.62, 0.13), 0.04), BEACON)


_EXTRAS: dict[str, Callable[[MeshBuilder, CarShape, np.random.Generator], None]] = {
    "wagon": _roof_box, "suv": _roof_box, "minivan": _roof_box, "van": _van_rack, "pickup": _tailgate,
    "convertible": _cockpit, "offroad": _spare_wheel, "taxi": _sign, "police": _light_bar,
}  # fmt: skip

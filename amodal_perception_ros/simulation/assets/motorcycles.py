"""Parametric motorcycles and scooters. Local frame as in `vehicles`; slot 1 paints tank, fairing and mudguards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import (
    Material,
    MeshBuilder,
    Model,
    box,
    capsule,
    ellipsoid,
    quad,
    tube,
)
from amodal_perception_ros.simulation.assets.two_wheelers import FRAME, Mount, add_bar, add_spoked_wheel
from amodal_perception_ros.simulation.assets.vehicles import (
    DARK,
    GLASS,
    HEADLIGHT,
    INDICATOR,
    METAL,
    PLATE,
    SEAT,
    TAILLIGHT,
    arc,
    extruded,
    hull,
)  # fmt: skip

ENGINE = Material((0.11, 0.11, 0.115), 0.4)
CHROME = Material((0.5, 0.5, 0.52), 0.15)
BOX = Material((0.7, 0.7, 0.7), 0.5, FRAME.kind, slot=2)

XZ = tuple[float, float]
Stations = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class MotorcycleShape:
    """Side view of a motorcycle; all points are (x, z) [m].

    Attributes:
        rear, front: x and radius of the wheels.
        tyre: tyre width [m].
        head: upper end of the fork.
        saddle: top of the rider's seat.
        grip, grip_y: left grip and its distance from the middle [m].
        peg: foot rest.
        lamp: middle of the head lamp.
        tail: end of the tail, where the rear lamp sits.
        painted, dark, seats, metal: lofted bodies of (x, lowest z, highest z, half width) stations.
        spokes: per wheel; few are cast wheels.
    """

    rear: tuple[float, float]
    front: tuple[float, float]
    tyre: float
    head: XZ
    saddle: XZ
    grip: XZ
    grip_y: float
    peg: XZ
    lamp: XZ
    tail: XZ
    painted: tuple[Stations, ...]
    dark: tuple[Stations, ...] = ()
    seats: tuple[Stations, ...] = ()
    metal: tuple[Stations, ...] = ()
    spokes: int = 6


_ENGINE: Stations = ((-0.2, 0.3, 0.5, 0.14), (-0.1, 0.24, 0.6, 0.19), (0.12, 0.22, 0.64, 0.19), (0.26, 0.3, 0.5, 0.12))
_STEP: Stations = ((-0.25, 0.22, 0.34, 0.16), (0.0, 0.2, 0.29, 0.19), (0.2, 0.2, 0.29, 0.19), (0.36, 0.22, 0.4, 0.16))
_SHIELD: Stations = ((0.24, 0.22, 0.4, 0.2), (0.3, 0.24, 0.78, 0.22), (0.38, 0.3, 0.98, 0.2), (0.46, 0.5, 1.0, 0.13),
                     (0.52, 0.62, 0.9, 0.07))  # fmt: skip
_SCOOTER_TAIL: Stations = ((-0.86, 0.6, 0.76, 0.07), (-0.74, 0.5, 0.78, 0.15), (-0.45, 0.4, 0.76, 0.2),
                           (-0.2, 0.28, 0.7, 0.18), (-0.1, 0.26, 0.5, 0.13))  # fmt: skip
_SCOOTER_SEAT: Stations = ((-0.8, 0.74, 0.82, 0.09), (-0.6, 0.74, 0.87, 0.14), (-0.36, 0.72, 0.81, 0.14),
                           (-0.14, 0.68, 0.79, 0.08))  # fmt: skip

_SHAPES: dict[str, MotorcycleShape] = {
    "naked": MotorcycleShape(
        (-0.7, 0.31), (0.72, 0.31), 0.16, (0.46, 0.92), (-0.22, 0.81), (0.3, 1.04), 0.36, (-0.12, 0.34), (0.56, 0.86),
        (-0.78, 0.82),
        painted=(((-0.02, 0.74, 0.86, 0.1), (0.12, 0.7, 0.97, 0.16), (0.3, 0.7, 0.98, 0.17), (0.42, 0.76, 0.9, 0.1)),
                 ((-0.8, 0.78, 0.85, 0.04), (-0.62, 0.7, 0.84, 0.11), (-0.4, 0.66, 0.78, 0.12))),
        seats=(((-0.7, 0.8, 0.88, 0.07), (-0.45, 0.77, 0.87, 0.13), (-0.2, 0.74, 0.81, 0.14), (0.0, 0.76, 0.83, 0.09)),
               ),
        metal=(_ENGINE,)),
    "scooter": MotorcycleShape(
        (-0.62, 0.235), (0.66, 0.235), 0.11, (0.44, 0.9), (-0.36, 0.81), (0.3, 1.03), 0.32, (0.1, 0.29), (0.42, 1.04),
        (-0.86, 0.7), painted=(_SHIELD, _SCOOTER_TAIL, ((0.3, 0.95, 1.08, 0.06), (0.38, 0.96, 1.12, 0.12),
                                                        (0.47, 0.98, 1.09, 0.06))),
        dark=(_STEP,), seats=(_SCOOTER_SEAT,)),
    "cruiser": MotorcycleShape(
        (-0.82, 0.32), (0.9, 0.34), 0.17, (0.5, 0.86), (-0.32, 0.68), (0.08, 1.08), 0.42, (0.32, 0.3), (0.62, 0.86),
        (-1.08, 0.66),
        painted=(((-0.18, 0.62, 0.72, 0.09), (0.05, 0.6, 0.86, 0.16), (0.25, 0.62, 0.9, 0.17), (0.44, 0.7, 0.84, 0.08)),
                 ((-1.12, 0.52, 0.62, 0.1), (-0.95, 0.6, 0.72, 0.11), (-0.7, 0.64, 0.72, 0.11))),
        seats=(((-0.85, 0.7, 0.8, 0.08), (-0.6, 0.7, 0.8, 0.13), (-0.48, 0.62, 0.76, 0.16), (-0.3, 0.58, 0.67, 0.16),
                (-0.12, 0.6, 0.69, 0.09)),),
        metal=(((-0.25, 0.24, 0.5, 0.14), (-0.1, 0.2, 0.6, 0.2), (0.2, 0.2, 0.6, 0.2), (0.34, 0.28, 0.5, 0.13)),),
        spokes=14),
    "sport": MotorcycleShape(
        (-0.68, 0.315), (0.7, 0.3), 0.19, (0.44, 0.88), (-0.24, 0.83), (0.34, 0.93), 0.3, (-0.2, 0.4), (0.72, 0.82),
        (-0.84, 0.98),
        painted=(((0.0, 0.74, 0.86, 0.1), (0.14, 0.72, 0.97, 0.16), (0.3, 0.72, 0.97, 0.17), (0.42, 0.78, 0.9, 0.12)),
                 ((-0.1, 0.24, 0.4, 0.13), (0.05, 0.2, 0.7, 0.21), (0.3, 0.28, 0.86, 0.22), (0.5, 0.52, 1.0, 0.19),
                  (0.64, 0.68, 1.0, 0.15), (0.78, 0.74, 0.86, 0.05)),
                 ((-0.9, 0.93, 0.99, 0.03), (-0.72, 0.82, 0.98, 0.1), (-0.4, 0.7, 0.84, 0.13))),
        seats=(((-0.72, 0.95, 1.02, 0.06), (-0.52, 0.88, 0.98, 0.11), (-0.42, 0.78, 0.9, 0.12),
                (-0.2, 0.76, 0.83, 0.13), (0.0, 0.78, 0.85, 0.08)),)),
    "enduro": MotorcycleShape(
        (-0.74, 0.33), (0.76, 0.36), 0.12, (0.46, 1.06), (-0.2, 0.92), (0.28, 1.17), 0.4, (-0.1, 0.4), (0.56, 1.02),
        (-0.86, 0.96),
        painted=(((-0.05, 0.8, 0.92, 0.08), (0.15, 0.68, 1.0, 0.16), (0.32, 0.62, 1.04, 0.2), (0.44, 0.74, 0.98, 0.1)),
                 ((-1.0, 0.95, 1.0, 0.05), (-0.75, 0.86, 0.98, 0.1), (-0.45, 0.78, 0.9, 0.1)),
                 ((0.5, 0.8, 0.86, 0.06), (0.72, 0.8, 0.87, 0.09), (1.0, 0.84, 0.87, 0.04)),
                 ((0.48, 0.92, 1.1, 0.1), (0.55, 0.9, 1.16, 0.13), (0.62, 0.94, 1.1, 0.09))),
        seats=(((-0.8, 0.95, 1.0, 0.06), (-0.5, 0.88, 0.98, 0.11), (-0.1, 0.86, 0.93, 0.12), (0.16, 0.92, 1.0, 0.08)),),
        metal=(((-0.16, 0.36, 0.56, 0.13), (0.0, 0.34, 0.66, 0.16), (0.22, 0.36, 0.62, 0.14)),), spokes=14),
    "tourer": MotorcycleShape(
        (-0.78, 0.32), (0.8, 0.32), 0.18, (0.5, 0.98), (-0.22, 0.82), (0.26, 1.1), 0.38, (-0.04, 0.34), (0.78, 0.92),
        (-1.04, 0.78),
        painted=(((0.0, 0.72, 0.86, 0.12), (0.14, 0.7, 0.98, 0.19), (0.32, 0.7, 1.0, 0.2), (0.45, 0.78, 0.94, 0.14)),
                 ((0.02, 0.26, 0.5, 0.16), (0.25, 0.3, 0.9, 0.28), (0.5, 0.42, 1.12, 0.3), (0.66, 0.6, 1.14, 0.26),
                  (0.84, 0.74, 0.98, 0.1)),
                 ((-1.02, 0.72, 0.84, 0.08), (-0.8, 0.66, 0.86, 0.14), (-0.45, 0.62, 0.8, 0.15))),
        seats=(((-0.85, 0.84, 0.92, 0.13), (-0.5, 0.82, 0.92, 0.17), (-0.38, 0.76, 0.88, 0.17),
                (-0.2, 0.74, 0.82, 0.17), (0.02, 0.76, 0.84, 0.1)),),
        metal=(_ENGINE,)),
    "moped": MotorcycleShape(
        (-0.58, 0.29), (0.62, 0.29), 0.06, (0.4, 0.82), (-0.3, 0.8), (0.2, 1.0), 0.3, (-0.02, 0.27), (0.5, 0.84),
        (-0.7, 0.68),
        painted=(((-0.1, 0.34, 0.46, 0.05), (0.12, 0.34, 0.52, 0.06), (0.3, 0.5, 0.68, 0.05),
                  (0.38, 0.62, 0.78, 0.035)),
                 ((-0.42, 0.46, 0.62, 0.07), (-0.25, 0.4, 0.64, 0.08), (-0.14, 0.36, 0.54, 0.06))),
        seats=(((-0.46, 0.73, 0.81, 0.1), (-0.3, 0.72, 0.8, 0.12), (-0.1, 0.72, 0.78, 0.05)),),
        dark=(((-0.72, 0.66, 0.69, 0.07), (-0.35, 0.67, 0.71, 0.08)),
              ((-0.36, 0.55, 0.74, 0.03), (-0.2, 0.5, 0.74, 0.03))),
        metal=(((-0.2, 0.2, 0.34, 0.08), (-0.05, 0.18, 0.36, 0.1), (0.12, 0.22, 0.34, 0.07)),), spokes=16),
    "delivery": MotorcycleShape(
        (-0.62, 0.24), (0.66, 0.24), 0.11, (0.44, 0.92), (-0.28, 0.81), (0.3, 1.05), 0.33, (0.1, 0.29), (0.43, 1.02),
        (-0.88, 0.7), painted=(_SHIELD, _SCOOTER_TAIL), dark=(_STEP,),
        seats=(((-0.5, 0.74, 0.83, 0.12), (-0.3, 0.72, 0.81, 0.14), (-0.12, 0.68, 0.78, 0.08)),)),
}  # fmt: skip

MOTORCYCLE_SHAPES: tuple[str, ...] = tuple(_SHAPES)

MOTORCYCLE_MOUNTS: dict[str, Mount] = {
    name: Mount((shape.saddle[0], 0.0, shape.saddle[1]), (shape.grip[0], shape.grip_y, shape.grip[1]),
                (shape.peg[0], 0.21, shape.peg[1]))
    for name, shape in _SHAPES.items()
}  # fmt: skip
"""Where the rider of a motorcycle sits."""


def build_motorcycle(rng: np.random.Generator, shape: str) -> Model:
    """Return a motorcycle of one of `MOTORCYCLE_SHAPES`; `rng` varies its equipment."""
    form, mesh = _SHAPES[shape], MeshBuilder()
    for x, radius in (form.rear, form.front):
        width = form.tyre * (0.75 if x > 0 else 1.0)
        add_spoked_wheel(mesh, x, radius, width, form.spokes, 0.005 if form.spokes > 6 else 0.014)
    for bodies, material in ((form.painted, FRAME), (form.dark, DARK), (form.seats, SEAT), (form.metal, ENGINE)):
        for stations in bodies:
            mesh.add(hull(stations), material)
    _fork_and_swing_arm(mesh, form, cover=shape in ("scooter", "delivery"))
    _controls(mesh, form)
    _lamps(mesh, form)
    _EXTRAS[shape](mesh, form, rng)
    return mesh.bake(occlusion=True)


def _fork_and_swing_arm(mesh: MeshBuilder, form: MotorcycleShape, cover: bool) -> None:
    (rear, rear_r), (front, front_r), (x, z) = form.rear, form.front, form.head
    for side in (-1, 1):
        y = side * (form.tyre * 0.4 + 0.03)
        mesh.add(tube((front, y, front_r), (x, y, z), 0.022 + 0.1 * (form.tyre - 0.06), 7), METAL)
        mesh.add(
            tube((rear, side * (form.tyre * 0.5 + 0.03), rear_r), (-0.1, side * 0.08, rear_r + 0.1), 0.025, 6), DARK
        )
        mesh.add(box((form.peg[0], side * 0.2, form.peg[1]), (0.06, 0.1, 0.025)), DARK)
        shock = (rear + 0.22, side * (form.tyre * 0.5 + 0.05), min(form.tail[1], form.saddle[1]) - 0.1)
        mesh.add(tube((rear + 0.04, side * (form.tyre * 0.5 + 0.05), rear_r + 0.05), shock, 0.022, 6), DARK)
    for side in (-1, 1):
        mesh.add(
            tube(
                (front, side * form.tyre * 0.42, front_r),
                (front - 0.02, side * form.tyre * 0.42, front_r * 2 + 0.02),
                0.012,
                4,
            ),
            DARK,
        )
    mesh.add(arc(front, front_r, front_r + 0.03, form.tyre * 0.45, 0.4, 2.7), FRAME)
    mesh.add(arc(rear, rear_r, rear_r + 0.035, form.tyre * 0.55, 0.9, 3.4), DARK)
    mesh.add(capsule((0.1, -0.15, 0.28), (rear - 0.08, -0.2, rear_r + 0.08), 0.03, 0.048, 8), DARK if cover else CHROME)
    if not cover and form.tyre > 0.1:
        up = form.saddle[1] - 0.82
        mesh.add(
            hull(
                [
                    (-0.5, 0.56 + up, 0.74 + up, 0.06),
                    (-0.3, 0.42, 0.76 + up, 0.1),
                    (0.16, 0.42, 0.8 + up, 0.11),
                    (0.4, 0.68 + up, 0.9 + up, 0.05),
                ]
            ),
            DARK,
        )
        mesh.add(tube((form.head[0] - 0.05, 0, form.head[1] - 0.12), (0.2, 0, 0.4), 0.035, 6), DARK)


def _controls(mesh: MeshBuilder, form: MotorcycleShape) -> None:
    x, y, z = form.grip[0], form.grip_y, form.grip[1]
    stem = (form.head[0] - 0.03, 0.0, min(z, form.head[1] + 0.12))
    mesh.add(tube((form.head[0], 0, form.head[1] - 0.08), stem, 0.035, 6), DARK)
    add_bar(mesh, stem, (x, y, z))
    for side in (-1, 1):
        mesh.add(tube((x + 0.04, side * y * 0.75, z), (x + 0.1, side * y, z + 0.13), 0.006, 4), DARK)
        mesh.add(ellipsoid((x + 0.1, side * y, z + 0.15), (0.02, 0.065, 0.042), 8, 5), DARK)


def _lamps(mesh: MeshBuilder, form: MotorcycleShape) -> None:
    (x, z), (tail_x, tail_z) = form.lamp, form.tail
    mesh.add(ellipsoid((x, 0, z), (0.09, 0.095, 0.095), 10, 6), DARK)
    mesh.add(ellipsoid((x + 0.05, 0, z), (0.05, 0.08, 0.08), 10, 6), HEADLIGHT)
    mesh.add(box((tail_x - 0.03, 0, tail_z), (0.03, 0.13, 0.06)), TAILLIGHT)
    plate_x, plate_z = min(tail_x, form.rear[0] - 0.15), max(form.rear[1] + 0.16, tail_z - 0.28)
    mesh.add(tube((tail_x, 0, tail_z), (plate_x - 0.02, 0, plate_z + 0.08), 0.02, 4), DARK)
    mesh.add(box((plate_x - 0.03, 0, plate_z), (0.012, 0.19, 0.17)), PLATE)
    for side in (-1, 1):
        mesh.add(ellipsoid((x - 0.04, side * 0.19, z - 0.06), (0.03, 0.03, 0.022), 6, 4), INDICATOR)
        mesh.add(ellipsoid((tail_x - 0.02, side * 0.15, tail_z - 0.08), (0.03, 0.03, 0.022), 6, 4), INDICATOR)


def _windscreen(mesh: MeshBuilder, low: XZ, high: XZ, half: float) -> None:
    corners = [
        (low[0], -half, low[1]),
        (low[0], half, low[1]),
        (high[0], half * 0.75, high[1]),
        (high[0], -half * 0.75, high[1]),
    ]
    mesh.add(quad(corners), GLASS)


def _top_box(mesh: MeshBuilder, x: float, low: float, size: tuple[float, float, float], material: Material) -> None:
    length, width, height = size
    half = length / 2
    profile = [(x - half, low), (x + half, low), (x + half, low + height * 0.9), (x + half * 0.8, low + height),
               (x - half * 0.8, low + height), (x - half, low + height * 0.9)]  # fmt: skip
    mesh.add(extruded(profile, width / 2), material)
    mesh.add(box((x + 0.05, 0, low - 0.04), (length * 0.7, 0.2, 0.08)), METAL)
    mesh.add(box((x, 0, low + height * 0.55), (length + 0.01, width + 0.01, 0.02)), DARK)


def _plain(mesh: MeshBuilder, form: MotorcycleShape, rng: np.random.Generator) -> None:
    if rng.random() < 0.3:
        _top_box(mesh, form.tail[0] + 0.06, form.tail[1] + 0.07, (0.36, 0.4, 0.28), DARK)


def _cruiser(mesh: MeshBuilder, form: MotorcycleShape, rng: np.random.Generator) -> None:
    mesh.add(capsule((0.1, -0.17, 0.42), (-0.9, -0.22, 0.4), 0.04, 0.055, 8), CHROME)
    if rng.random() < 0.5:
        _windscreen(mesh, (0.56, 0.96), (0.38, 1.3), 0.24)
    if rng.random() < 0.5:
        for side in (-1, 1):
            mesh.add(
                hull(
                    [
                        (-1.02, 0.44, 0.62, 0.05),
                        (-0.98, 0.36, 0.66, 0.08),
                        (-0.62, 0.36, 0.66, 0.08),
                        (-0.58, 0.44, 0.62, 0.05),
                    ],
                    10,
                    4.0,
                    side * 0.24,
                ),
                SEAT,
            )


def _sport(mesh: MeshBuilder, form: MotorcycleShape, rng: np.random.Generator) -> None:
    _windscreen(mesh, (0.68, 0.94), (0.42, 1.12), 0.14)
    mesh.add(hull([(0.42, 0.94, 1.04, 0.1), (0.56, 0.9, 1.07, 0.13), (0.7, 0.84, 0.94, 0.08)], 10), GLASS)


def _tourer(mesh: MeshBuilder, form: MotorcycleShape, rng: np.random.Generator) -> None:
    _windscreen(mesh, (0.72, 1.06), (0.48, 1.42), 0.24)
    for side in (-1, 1):
        mesh.add(
            hull(
                [
                    (-1.08, 0.44, 0.74, 0.08),
                    (-1.02, 0.38, 0.8, 0.13),
                    (-0.52, 0.38, 0.8, 0.13),
                    (-0.46, 0.46, 0.72, 0.08),
                ],
                10,
                5.0,
                side * 0.33,
            ),
            FRAME,
        )
    if rng.random() < 0.7:
        _top_box(mesh, -0.98, 0.92, (0.42, 0.52, 0.34), FRAME)


def _delivery(mesh: MeshBuilder, form: MotorcycleShape, rng: np.random.Generator) -> None:
    _top_box(mesh, -0.72, 0.8, (0.48, 0.5, float(rng.uniform(0.45, 0.55))), BOX)
    if rng.random() < 0.6:
        _windscreen(mesh, (0.48, 1.0), (0.36, 1.36), 0.24)


_EXTRAS: dict[str, Callable[[MeshBuilder, MotorcycleShape, np.random.Generator], None]] = {
    "naked": _plain, "scooter": _plain, "cruiser": _cruiser, "sport": _sport, "enduro": _plain, "tourer": _tourer,
    "moped": _plain, "delivery": _delivery,
}  # fmt: skip

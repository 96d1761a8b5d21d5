"""Parametric bicycles. Local frame as in `vehicles`; slot 1 paints the frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import (
    Material,
    MeshBuilder,
    Model,
    box,
    cylinder,
    ellipsoid,
    moved,
    tube,
)
from amodal_perception_ros.simulation.assets.two_wheelers import FRAME, Mount, add_bar, add_spoked_wheel
from amodal_perception_ros.simulation.assets.vehicles import (
    DARK,
    HEADLIGHT,
    METAL,
    SEAT,
    TAILLIGHT,
    TYRE,
    arc,
    extruded,
    hull,
)

WICKER = Material((0.16, 0.1, 0.05), 0.95)
WOOD = Material((0.22, 0.13, 0.06), 0.8)

XZ = tuple[float, float]


@dataclass(frozen=True)
class BikeShape:
    """Side view of a bicycle; all points are (x, z) [m].

    Attributes:
        rear, front: x and radius of the wheels.
        tyre: tyre width [m].
        crank: pedals' axle.
        saddle: top of the saddle.
        seat_tube, head_low, head_top: upper end of the seat tube and the ends of the head tube.
        grip, grip_y: left grip and its distance from the middle [m].
        step_through: the frame's upper tube runs low.
        mudguards, rack: whether it has them.
        fork: radius of the fork's legs [m].
    """

    rear: tuple[float, float]
    front: tuple[float, float]
    tyre: float
    crank: XZ
    saddle: XZ
    seat_tube: XZ
    head_low: XZ
    head_top: XZ
    grip: XZ
    grip_y: float = 0.28
    step_through: bool = False
    mudguards: bool = True
    rack: bool = True
    fork: float = 0.013


_SHAPES: dict[str, BikeShape] = {
    "city": BikeShape((-0.54, 0.345), (0.55, 0.345), 0.042, (-0.1, 0.29), (-0.29, 0.94), (-0.21, 0.62), (0.37, 0.66),
                      (0.33, 0.86), (0.13, 1.08), step_through=True),
    "racing": BikeShape((-0.48, 0.335), (0.5, 0.335), 0.026, (-0.08, 0.27), (-0.27, 0.98), (-0.22, 0.78), (0.37, 0.68),
                        (0.34, 0.84), (0.45, 0.86), 0.2, mudguards=False, rack=False, fork=0.012),
    "mountain": BikeShape((-0.54, 0.365), (0.59, 0.365), 0.062, (-0.1, 0.32), (-0.31, 0.96), (-0.22, 0.66),
                          (0.37, 0.74), (0.33, 0.88), (0.33, 1.0), 0.36, mudguards=False, rack=False, fork=0.023),
    "cargo": BikeShape((-0.98, 0.335), (1.03, 0.26), 0.05, (-0.54, 0.29), (-0.73, 0.94), (-0.65, 0.66), (-0.12, 0.52),
                       (-0.2, 0.82), (-0.34, 1.08)),
    "folding": BikeShape((-0.5, 0.215), (0.52, 0.215), 0.045, (-0.08, 0.29), (-0.27, 0.92), (-0.15, 0.52),
                         (0.4, 0.5), (0.36, 0.6), (0.29, 1.03), 0.25, step_through=True),
    "child": BikeShape((-0.36, 0.2), (0.38, 0.2), 0.045, (-0.04, 0.2), (-0.16, 0.56), (-0.12, 0.42), (0.26, 0.43),
                       (0.23, 0.54), (0.16, 0.72), 0.22, rack=False),
    "tandem": BikeShape((-0.88, 0.34), (0.9, 0.34), 0.035, (0.28, 0.28), (0.06, 0.95), (0.12, 0.74), (0.74, 0.66),
                        (0.7, 0.84), (0.68, 0.98), 0.27),
    "family": BikeShape((-0.56, 0.345), (0.56, 0.345), 0.045, (-0.08, 0.29), (-0.25, 0.94), (-0.18, 0.7), (0.39, 0.64),
                        (0.34, 0.88), (0.18, 1.06), 0.3, step_through=True),
}  # fmt: skip

BIKE_SHAPES: tuple[str, ...] = tuple(_SHAPES)


BIKE_MOUNTS: dict[str, Mount] = {
    name: Mount((shape.saddle[0], 0.0, shape.saddle[1]), (shape.grip[0], shape.grip_y, shape.grip[1]),
                (shape.crank[0], 0.12, shape.crank[1]), 0.12 if name == "child" else 0.17, name == "child")
    for name, shape in _SHAPES.items()
}  # fmt: skip
"""Where the rider of a bicycle sits (on a tandem, the front one)."""


def build_bike(rng: np.random.Generator, shape: str) -> Model:
    """Return a bicycle of one of `BIKE_SHAPES`; `rng` varies its equipment."""
    form, mesh = _SHAPES[shape], MeshBuilder()
    for x, radius in (form.rear, form.front):
        add_spoked_wheel(mesh, x, radius, form.tyre, 16 if radius > 0.3 else 10, 0.003)
    _frame(mesh, form, 0.026 if shape in ("mountain", "cargo", "folding") else 0.019)
    _controls(mesh, form)
    _drive(mesh, form.rear, form.crank, rng)
    _equipment(mesh, form)
    if shape in _EXTRAS:
        _EXTRAS[shape](mesh, form, rng)
    return mesh.bake(occlusion=True)


def _at(point: XZ, y: float = 0.0) -> tuple[float, float, float]:
    return point[0], y, point[1]


def _frame(mesh: MeshBuilder, shape: BikeShape, thick: float) -> None:
    low, top = shape.head_low, shape.head_top
    between = (low[0] + 0.4 * (top[0] - low[0]), low[1] + 0.4 * (top[1] - low[1]))
    mesh.add(tube(_at(low), _at(top), thick * 1.15, 6), FRAME)
    mesh.add(tube(_at(shape.crank), _at(low), thick, 6), FRAME)
    mesh.add(tube(_at(shape.crank), _at(shape.seat_tube), thick * 0.9, 6), FRAME)
    low_end = (shape.crank[0] - 0.04, shape.crank[1] + 0.14)
    mesh.add(tube(_at(low_end if shape.step_through else shape.seat_tube), _at(between), thick * 0.85, 6), FRAME)
    hub = shape.rear
    for side in (-1, 1):
        y = side * (shape.tyre / 2 + 0.025)
        mesh.add(tube(_at((shape.seat_tube[0], shape.seat_tube[1] - 0.03), side * 0.02), _at(hub, y), 0.009, 5), FRAME)
        mesh.add(tube(_at(shape.crank, side * 0.02), _at(hub, y), 0.01, 5), FRAME)
        foot = shape.front
        mesh.add(tube(_at(foot, y), _at((low[0] + 0.01, max(low[1], foot[1] * 2 + 0.02)), y), shape.fork, 6), FRAME)
    mesh.add(box(_at((low[0] + 0.01, max(low[1], shape.front[1] * 2 + 0.03))), (0.05, shape.tyre + 0.1, 0.04)), FRAME)


def _controls(mesh: MeshBuilder, shape: BikeShape) -> None:
    x, z = shape.saddle
    mesh.add(tube(_at(shape.seat_tube), _at((x + 0.02, z - 0.04)), 0.014, 5), METAL)
    saddle = [(x - 0.13, z - 0.05, z, 0.06), (x - 0.09, z - 0.06, z + 0.005, 0.08), (x, z - 0.05, z, 0.05),
              (x + 0.12, z - 0.045, z - 0.005, 0.022), (x + 0.15, z - 0.035, z - 0.012, 0.012)]  # fmt: skip
    mesh.add(hull(saddle, 8), SEAT)
    if shape.grip[0] > shape.head_top[0] + 0.08:
        _drop_bar(mesh, shape)
        return
    stem = (shape.head_top[0] - 0.02, 0.0, shape.grip[1] - 0.02)
    mesh.add(tube(_at(shape.head_top), stem, 0.015, 6), METAL)
    add_bar(mesh, stem, (shape.grip[0], shape.grip_y, shape.grip[1]), 0.02 if shape.step_through else 0.0)


def _drop_bar(mesh: MeshBuilder, shape: BikeShape) -> None:
    x, z = shape.grip
    top = (shape.head_top[0] + 0.05, 0.0, z + 0.03)
    mesh.add(tube(_at(shape.head_top), top, 0.016, 6), METAL)
    for side in (-1, 1):
        y = side * shape.grip_y
        points = [top, (top[0] + 0.02, y, z + 0.03), (x + 0.04, y, z + 0.02), (x + 0.05, y, z - 0.07),
                  (x - 0.03, y, z - 0.12), (x - 0.1, y, z - 0.12)]  # fmt: skip
        for a, b in pairwise(points):
            mesh.add(tube(a, b, 0.014, 5), DARK)


def _drive(mesh: MeshBuilder, rear: tuple[float, float], crank: XZ, rng: np.random.Generator) -> None:
    big, small = 0.085 if rear[1] > 0.25 else 0.065, 0.035
    mesh.add(moved(cylinder(big, 0.012, 14, "y"), _at(crank, -0.045)), METAL)
    mesh.add(moved(cylinder(small, 0.02, 10, "y"), _at(rear, -0.045)), METAL)
    for z in (-1, 1):
        mesh.add(
            tube(_at((crank[0], crank[1] + z * big), -0.045), _at((rear[0], rear[1] + z * small), -0.045), 0.006, 3),
            DARK,
        )
    length, angle = 0.17 if rear[1] > 0.2 else 0.12, float(rng.uniform(0, 2 * np.pi))
    for side in (-1, 1):
        end = (crank[0] + side * length * np.cos(angle), crank[1] + side * length * np.sin(angle))
        mesh.add(tube(_at(crank, side * 0.06), _at(end, side * 0.07), 0.011, 4), METAL)
        mesh.add(box(_at(end, side * 0.115), (0.085, 0.09, 0.02)), DARK)


def _equipment(mesh: MeshBuilder, shape: BikeShape) -> None:
    if shape.mudguards:
        for (x, radius), start, end in ((shape.rear, 0.5, 3.2), (shape.front, 0.6, 3.0)):
            mesh.add(arc(x, radius, radius + 0.022, shape.tyre * 0.6, start, end), FRAME)
    if shape.rack:
        _rack(mesh, *shape.rear)
    (x, radius), (seat_x, seat_z) = shape.rear, shape.saddle
    lamp = (x - 0.21, 0, radius * 2 + 0.05) if shape.rack else (seat_x - 0.01, 0, seat_z - 0.12)
    mesh.add(box(lamp, (0.04, 0.06, 0.05)), TAILLIGHT)
    mesh.add(ellipsoid((shape.head_top[0] + 0.08, 0, shape.head_top[1] - 0.03), (0.035, 0.035, 0.035), 8, 5), HEADLIGHT)


def _rack(mesh: MeshBuilder, x: float, radius: float) -> None:
    z = radius * 2 + 0.06
    for y in (-0.06, 0.0, 0.06):
        mesh.add(tube((x - 0.2, y, z), (x + 0.2, y, z), 0.006, 4), METAL)
    for y in (-0.06, 0.06):
        mesh.add(tube((x - 0.1, y, z), (x, y, radius), 0.006, 4), METAL)
        mesh.add(tube((x + 0.1, y, z), (x, y, radius), 0.006, 4), METAL)


def _city(mesh: MeshBuilder, shape: BikeShape, rng: np.random.Generator) -> None:
    """A chain case, and often a basket on the handlebar or a bag on the rack."""
    mesh.add(hull([(-0.56, 0.28, 0.4, 0.01), (-0.1, 0.19, 0.39, 0.014), (0.0, 0.24, 0.34, 0.01)], 8, 4.0, -0.05), DARK)
    if rng.random() < 0.5:
        _basket(mesh, 0.52, 0.84)
    if rng.random() < 0.4:
        mesh.add(box((shape.rear[0], 0.17, 0.56), (0.34, 0.13, 0.33)), DARK)


def _basket(mesh: MeshBuilder, x: float, z: float) -> None:
    profile = [(x - 0.13, z), (x + 0.13, z), (x + 0.18, z + 0.24), (x - 0.15, z + 0.24)]
    mesh.add(extruded(profile, 0.18), WICKER)


def _cargo(mesh: MeshBuilder, shape: BikeShape, rng: np.random.Generator) -> None:
    """A long beam with a box between the handlebar and the front wheel, and its steering rod."""
    mesh.add(tube((-0.5, 0, 0.28), (0.1, 0, 0.2), 0.03, 6), FRAME).add(
        tube((0.1, 0, 0.2), (0.74, 0, 0.24), 0.03, 6), FRAME
    )
    mesh.add(tube((0.74, 0, 0.24), (0.92, 0, 0.6), 0.028, 6), FRAME).add(
        tube((-0.12, 0.1, 0.3), (0.98, 0.1, 0.26), 0.012, 4), METAL
    )
    profile = [(-0.02, 0.26), (0.66, 0.26), (0.78, 0.84), (-0.12, 0.76)]
    mesh.add(extruded(profile, 0.31), WOOD if rng.random() < 0.5 else DARK)
    mesh.add(extruded([(-0.08, 0.75), (0.74, 0.81), (0.74, 0.83), (-0.08, 0.785)], 0.27), SEAT)


def _folding(mesh: MeshBuilder, shape: BikeShape, rng: np.random.Generator) -> None:
    """One thick beam with a hinge, and long posts."""
    mesh.add(tube((-0.15, 0, 0.45), (0.4, 0, 0.54), 0.034, 7), FRAME)
    mesh.add(box((0.12, 0, 0.495), (0.05, 0.09, 0.1)), DARK)


def _child(mesh: MeshBuilder, shape: BikeShape, rng: np.random.Generator) -> None:
    """Training wheels on half of them, a flag pole on some."""
    if rng.random() < 0.5:
        for side in (-1, 1):
            mesh.add(tube((-0.36, side * 0.03, 0.2), (-0.36, side * 0.17, 0.08), 0.01, 4), METAL)
            mesh.add(moved(cylinder(0.065, 0.03, 12, "y"), (-0.36, side * 0.18, 0.065)), TYRE)
    if rng.random() < 0.4:
        mesh.add(tube((-0.4, 0.06, 0.2), (-0.5, 0.06, 1.3), 0.005, 3), METAL)
        mesh.add(extruded([(-0.5, 1.28), (-0.49, 1.12), (-0.7, 1.2)], 0.004, 0.06), FRAME)


def _tandem(mesh: MeshBuilder, shape: BikeShape, rng: np.random.Generator) -> None:
    """The rear rider's place: saddle, bar on the front saddle's post, second crank."""
    crank, seat, saddle = (-0.4, 0.28), (-0.54, 0.72), (-0.6, 0.94)
    low = shape.head_low
    mesh.add(tube(_at(crank), _at(shape.crank), 0.024, 6), FRAME).add(tube(_at(crank), _at(seat), 0.019, 6), FRAME)
    mesh.add(tube(_at(seat), _at(shape.seat_tube), 0.017, 6), FRAME)
    mesh.add(tube(_at(crank), _at((low[0] - 0.01, low[1] + 0.06)), 0.016, 6), FRAME)
    for side in (-1, 1):
        mesh.add(tube(_at(seat, side * 0.02), _at(shape.rear, side * 0.045), 0.009, 5), FRAME)
    x, z = saddle
    mesh.add(tube(_at(seat), _at((x + 0.02, z - 0.03)), 0.014, 5), METAL)
    mesh.add(
        hull([(x - 0.13, z - 0.05, z, 0.06), (x - 0.08, z - 0.06, z, 0.08), (x + 0.14, z - 0.04, z - 0.01, 0.015)], 8),
        SEAT,
    )
    add_bar(mesh, (-0.05, 0, 0.9), (-0.12, 0.24, 0.96))
    _drive(mesh, shape.rear, crank, rng)


def _family(mesh: MeshBuilder, shape: BikeShape, rng: np.random.Generator) -> None:
    """A child seat on the rack and a basket in front."""
    x, z = shape.rear[0] - 0.02, 0.8
    mesh.add(extruded([(x - 0.15, z), (x + 0.2, z), (x + 0.22, z + 0.1), (x - 0.14, z + 0.12)], 0.14), DARK)
    mesh.add(
        hull(
            [(x - 0.25, z + 0.2, z + 0.42, 0.1), (x - 0.2, z + 0.02, z + 0.45, 0.15), (x - 0.12, z, z + 0.4, 0.13)], 10
        ),
        DARK,
    )
    for side in (-1, 1):
        mesh.add(
            extruded(
                [(x - 0.14, z + 0.05), (x + 0.12, z - 0.02), (x + 0.16, z - 0.3), (x + 0.06, z - 0.3)],
                0.03,
                side * 0.19,
            ),
            DARK,
        )
    if rng.random() < 0.7:
        _basket(mesh, 0.55, 0.82)


_EXTRAS: dict[str, Callable[[MeshBuilder, BikeShape, np.random.Generator], None]] = {
    "city": _city, "cargo": _cargo, "folding": _folding, "child": _child, "tandem": _tandem, "family": _family,
}  # fmt: skip

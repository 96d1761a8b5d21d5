"""Parametric lorries. Local frame as in `vehicles`; slot 1 paints the cab, slot 2 the body.

While a lorry is being built, x = 0 is its front bumper and everything else lies at negative x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import MeshBuilder, Model, box, cylinder, moved
from amodal_perception_ros.simulation.assets.truck_bodies import (
    add_box_body,
    add_cars_on_decks,
    add_container,
    add_curtain_body,
    add_dropside,
    add_fire_body,
    add_flatbed,
    add_mixer_drum,
    add_refuse_body,
    add_tank,
    add_tipper_body,
)
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
    SECOND,
    TAILLIGHT,
    Shell,
    add_wheel,
    add_wheel_arch,
    finished,
)

AXLE = -1.35
"""x of a lorry's front axle [m]."""


def build_truck(rng: np.random.Generator, shape: str) -> Model:
    """Return a lorry of one of `TRUCK_SHAPES`; `rng` varies its length, height and load."""
    mesh = MeshBuilder()
    _BUILDERS[shape](mesh, rng)
    return finished(mesh)


def _cab(mesh: MeshBuilder, height: float, length: float = 1.85, width: float = 2.42, crew: bool = False,
         scale: float = 1.0) -> None:  # fmt: skip
    """A cab over the engine; `crew` adds a second row of seats, `scale` shrinks heights for light lorries."""
    half, arch, sill = width / 2, 0.6 * scale, 1.55 * scale
    top = height - 0.5 if height > 2.6 * scale else height - 0.35
    levels = [(0.36 * scale, -length, -0.06, half - 0.03), (0.55 * scale, -length, 0.0, half),
              (1.12 * scale, -length, 0.0, half), (sill, -length, -0.03, half),
              (top, -length, -0.17 - 0.08 * (top - sill), half - 0.05), (height - 0.14, -length, -0.36, half - 0.09),
              (height, -length + 0.1, -0.6, half - 0.2)]  # fmt: skip
    panes = [(-1.32, -0.3)] + ([(-length + 0.15, -1.42)] if crew else [])
    stops = [AXLE - arch, AXLE + arch, *(x for pane in panes for x in pane)]
    shell = Shell(levels, [x for x in stops if x > -length + 0.13], 0.15)
    for low, high in panes:
        shell.paint(GLASS, slice(3, 4), low, high)
    shell.paint_ends(GLASS, slice(3, 4))
    shell.paint_ends(DARK, slice(0, 1), corners=True)
    shell.paint(None, slice(0, 2), max(AXLE - arch, -length), AXLE + arch)
    mesh.add_mixed(*shell.part())
    add_wheel_arch(mesh, AXLE, 0.56 * scale, 0.5 * scale, half, 1.12 * scale, arch)
    _cab_details(mesh, half, sill, top, [x for low, high in panes for x in (low - 0.04, high + 0.04)], scale)


def _cab_details(mesh: MeshBuilder, half: float, sill: float, top: float, seams: Sequence[float], scale: float) -> None:
    mesh.add(box((0.0, 0, 1.0 * scale), (0.04, half * 1.35, 0.42 * scale)), DARK)
    mesh.add(box((-0.02, 0, sill - 0.12), (0.03, half * 1.5, 0.05)), DARK)
    mesh.add(box((-0.2, 0, top + 0.06), (0.24, half * 1.75, 0.05)), DARK)
    mesh.add(box((0.01, 0, 0.46 * scale), (0.03, 0.52, 0.12)), PLATE)
    for k in (-0.45, 0.15):
        mesh.add(box((-0.015, k, sill + 0.06), (0.02, 0.6, 0.02)), DARK)
    for side in (-1, 1):
        mesh.add(box((-0.005, side * (half - 0.28), 0.62 * scale), (0.05, 0.36, 0.17)), HEADLIGHT)
        mesh.add(box((-0.04, side * (half - 0.06), 0.62 * scale), (0.06, 0.1, 0.15)), INDICATOR)
        mesh.add(box((-0.06, side * (half + 0.13), 0.5 * (sill + top) + 0.05), (0.08, 0.2, 0.5 * scale)), DARK)
        mesh.add(box((-0.12, side * (half + 0.03), 0.5 * (sill + top) + 0.2), (0.04, 0.2, 0.03)), DARK)
        for x in seams:
            mesh.add(box((x, side * half, 0.5 * (1.15 * scale + sill)), (0.015, 0.012, sill - 1.15 * scale)), SEAM)
        mesh.add(box((seams[0] + 0.15, side * half, sill - 0.1), (0.16, 0.03, 0.03)), DARK)


def _chassis(mesh: MeshBuilder, rear: float, axles: Sequence[float], radius: float = 0.5, width: float = 2.45,
             front_axle: bool = True, start: float = -1.2, guards: bool = True) -> None:  # fmt: skip
    """Rails, wheels (twin ones behind), mudguards and side guards."""
    half, rail = width / 2, radius * 1.75
    low, high = max(axles) + radius + 0.25, (AXLE - radius - 0.3 if front_axle else start)
    for side in (-1, 1):
        mesh.add(box((0.5 * (rear + start), side * 0.4, rail), (start - rear, 0.1, 0.24)), DARK)
        if front_axle:
            add_wheel(mesh, AXLE, side * (half - 0.17), radius, 0.3, side, spokes=0)
        for x in axles:
            add_wheel(mesh, x, side * (half - 0.3), radius, 0.56, side, spokes=0)
        mesh.add(box((max(axles) + radius + 0.12, side * (half - 0.3), 0.62), (0.02, 0.56, 0.5)), DARK)
        mesh.add(box((min(axles) - radius - 0.12, side * (half - 0.3), 0.55), (0.02, 0.56, 0.45)), DARK)
        for z in (0.5, 0.78) if guards and high - low > 0.7 else ():
            mesh.add(box((0.5 * (low + high), side * (half - 0.06), z), (high - low, 0.04, 0.1)), METAL)
    for x in (*axles, *((AXLE,) if front_axle else ())):
        mesh.add(box((x, 0, radius), (0.16, width - 0.6, 0.16)), DARK)


def _rear_end(mesh: MeshBuilder, rear: float, width: float = 2.45) -> None:
    """Rear bumper, lamps and plate."""
    half = width / 2
    mesh.add(box((rear + 0.06, 0, 0.55), (0.1, width - 0.15, 0.12)), DARK)
    mesh.add(box((rear, 0, 0.8), (0.02, 0.52, 0.12)), PLATE)
    for side in (-1, 1):
        mesh.add(box((rear + 0.02, side * (half - 0.28), 0.8), (0.06, 0.42, 0.14)), TAILLIGHT)
        mesh.add(box((rear + 0.015, side * (half - 0.6), 0.8), (0.06, 0.16, 0.13)), INDICATOR)


def _tanks(mesh: MeshBuilder, x: float) -> None:
    """Fuel tank on one side, battery box and air tanks on the other."""
    mesh.add(moved(cylinder(0.3, 0.9, 12, "x"), (x, 0.85, 0.68)), METAL)
    mesh.add(box((x, -0.85, 0.68), (0.8, 0.5, 0.5)), DARK)


def _box(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -2.05 - float(rng.uniform(4.6, 6.4))
    _cab(mesh, 2.75)
    _chassis(mesh, rear, [rear + 1.5])
    _rear_end(mesh, rear)
    _tanks(mesh, -3.0)
    add_box_body(mesh, rear, -2.05, 1.05, float(rng.uniform(3.3, 3.75)), rng)


def _curtain_semi(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -float(rng.uniform(12.2, 13.6))
    _cab(mesh, 3.35, 2.2)
    _chassis(mesh, -5.0, [-4.3], guards=False)
    _tanks(mesh, -3.1)
    _chassis(mesh, rear, [rear + 1.2, rear + 2.45, rear + 3.7], front_axle=False, start=-2.9)
    _rear_end(mesh, rear)
    mesh.add(box((-6.0, 0.7, 0.6), (0.15, 0.1, 0.9)), METAL).add(box((-6.0, -0.7, 0.6), (0.15, 0.1, 0.9)), METAL)
    add_curtain_body(mesh, rear, -2.75, 1.15, 3.9)


def _tipper(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -2.1 - float(rng.uniform(4.6, 5.6))
    _cab(mesh, 2.8)
    _chassis(mesh, rear + 0.25, [rear + 1.2, rear + 2.5])
    _rear_end(mesh, rear + 0.25)
    _tanks(mesh, -2.75)
    add_tipper_body(mesh, rear, -2.0, 1.15, rng)


def _tanker(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -2.15 - float(rng.uniform(5.4, 6.8))
    _cab(mesh, 2.8)
    _chassis(mesh, rear, [rear + 1.3, rear + 2.6])
    _rear_end(mesh, rear)
    _tanks(mesh, -2.9)
    add_tank(mesh, rear + 0.1, -2.15, 1.05)


def _flatbed(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -2.1 - float(rng.uniform(5.2, 6.8))
    _cab(mesh, 2.7)
    _chassis(mesh, rear, [rear + 1.6])
    _rear_end(mesh, rear)
    _tanks(mesh, -3.0)
    add_flatbed(mesh, rear, -2.05, 1.05, rng)


def _refuse(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -2.0 - float(rng.uniform(5.6, 6.4))
    _cab(mesh, 2.65)
    _chassis(mesh, rear + 0.5, [rear + 1.9, rear + 3.2])
    _rear_end(mesh, rear + 0.28)
    _tanks(mesh, -2.8)
    add_refuse_body(mesh, rear, -2.05, 0.95)
    for side in (-1, 1):
        mesh.add(box((-0.9, side * 0.7, 2.72), (0.14, 0.14, 0.12)), INDICATOR)


def _mixer(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -8.3 - float(rng.uniform(0, 0.5))
    _cab(mesh, 2.75)
    _chassis(mesh, rear + 0.5, [rear + 1.5, rear + 2.8])
    _rear_end(mesh, rear + 0.5)
    _tanks(mesh, -2.75)
    add_mixer_drum(mesh, rear, -2.2)


def _fire_engine(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -float(rng.uniform(7.2, 8.2))
    _cab(mesh, 2.85, 2.75, crew=True)
    _chassis(mesh, rear, [rear + 1.7], guards=False)
    _rear_end(mesh, rear)
    add_fire_body(mesh, rear, -2.8)
    mesh.add(box((-0.75, 0, 2.92), (0.3, 1.5, 0.16)), BEACON)


def _car_transporter(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -float(rng.uniform(8.6, 9.6))
    _cab(mesh, 2.6)
    _chassis(mesh, rear, [rear + 2.0, rear + 3.2])
    _rear_end(mesh, rear)
    add_cars_on_decks(mesh, rear, rng)


def _container(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    rear = -2.25 - 6.1
    _cab(mesh, 2.85)
    _chassis(mesh, rear, [rear + 1.2, rear + 2.5])
    _rear_end(mesh, rear)
    _tanks(mesh, -2.9)
    add_container(mesh, rear, -2.25, 1.12)


def _dropside(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    """A light lorry with low drop sides, often with a tarpaulin."""
    rear = -1.75 - float(rng.uniform(3.2, 4.2))
    _cab(mesh, 2.15, 1.72, 1.95, scale=0.74)
    _chassis(mesh, rear, [rear + 1.1], radius=0.37, width=1.98)
    _rear_end(mesh, rear, 1.98)
    add_dropside(mesh, rear, -1.75, 0.82, bool(rng.random() < 0.5))


def _step_van(mesh: MeshBuilder, rng: np.random.Generator) -> None:
    """A walk-in delivery van with a short sloping bonnet."""
    rear, half, axles = -float(rng.uniform(6.2, 7.4)), 1.06, (-0.95, -float(rng.uniform(4.7, 5.0)))
    levels = [(0.42, rear, -0.05, half), (0.6, rear, 0.0, half), (0.98, rear, 0.0, half), (1.3, rear, -0.06, half),
              (1.42, rear, -0.6, half), (2.25, rear, -0.78, half), (2.75, rear, -0.85, half),
              (2.9, rear + 0.08, -1.0, half - 0.1)]  # fmt: skip
    arches = [(x - 0.52, x + 0.52) for x in axles]
    shell = Shell(levels, [*(x for arch in arches for x in arch), -1.75, -1.0, -1.85], 0.12)
    shell.paint_ends(GLASS, slice(4, 5))
    shell.paint(GLASS, slice(4, 5), -1.75, -1.0)
    shell.paint_all(DARK, slice(0, 1))
    shell.paint(SECOND, slice(3, 4), rear, -1.85)
    for low, high in arches:
        shell.paint(None, slice(0, 2), low, high)
    mesh.add_mixed(*shell.part())
    for x in axles:
        add_wheel_arch(mesh, x, 0.46, 0.4, half, 0.98, 0.52)
        for side in (-1, 1):
            add_wheel(mesh, x, side * (half - 0.15), 0.4, 0.26, side, spokes=0)
    _step_van_details(mesh, rear, half)


def _step_van_details(mesh: MeshBuilder, rear: float, half: float) -> None:
    mesh.add(box((0.0, 0, 0.85), (0.03, half * 0.9, 0.36)), DARK).add(
        box((0.0, 0, 0.5), (0.12, half * 1.9, 0.16)), METAL
    )
    mesh.add(box((rear, 0, 1.6), (0.02, 1.3, 2.0)), SEAM).add(box((rear - 0.01, 0, 1.6), (0.02, 1.22, 1.94)), BODY)
    mesh.add(box((rear - 0.02, 0, 2.1), (0.02, 0.8, 0.4)), GLASS).add(
        box((rear, 0, 0.5), (0.14, half * 1.9, 0.14)), DARK
    )
    mesh.add(box((0.065, 0, 0.5), (0.02, 0.5, 0.11)), PLATE).add(box((rear - 0.02, 0, 0.72), (0.02, 0.5, 0.11)), PLATE)
    for side in (-1, 1):
        mesh.add(box((0.0, side * (half - 0.22), 0.85), (0.04, 0.24, 0.22)), HEADLIGHT)
        mesh.add(box((rear, side * (half - 0.12), 1.05), (0.04, 0.14, 0.3)), TAILLIGHT)
        mesh.add(box((-0.55, side * (half + 0.15), 1.75), (0.06, 0.2, 0.36)), DARK)
        mesh.add(box((-0.62, side * (half + 0.03), 1.9), (0.03, 0.2, 0.03)), DARK)
        for x in (-1.8, -0.95):
            mesh.add(box((x, side * half, 1.55), (0.015, 0.012, 1.8)), SEAM)


_BUILDERS: dict[str, Callable[[MeshBuilder, np.random.Generator], None]] = {
    "box": _box, "curtain_semi": _curtain_semi, "tipper": _tipper, "tanker": _tanker, "flatbed": _flatbed,
    "refuse": _refuse, "mixer": _mixer, "fire_engine": _fire_engine, "car_transporter": _car_transporter,
    "container": _container, "dropside": _dropside, "step_van": _step_van,
}  # fmt: skip

TRUCK_SHAPES: tuple[str, ...] = tuple(_BUILDERS)

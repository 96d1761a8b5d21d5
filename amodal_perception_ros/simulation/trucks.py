"""Parametric lorries. Local frame as in `vehicles`; slot 1 is the paint."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.meshes import (
    Material,
    MeshBuilder,
    Model,
    box,
    cylinder,
    ellipsoid,
    moved,
    rounded_box,
)  # fmt: skip
from amodal_perception_ros.simulation.vehicles import (
    BODY,
    DARK,
    GLASS,
    HEADLIGHT,
    SEAM,
    SECOND,
    TAILLIGHT,
    add_wheel,
)  # fmt: skip

TRUCK_SHAPES: tuple[str, ...] = ("box", "tipper", "tank")


def build_truck(rng: np.random.Generator, shape: str) -> Model:
    """Return a lorry: box, tipper or tank body; slot 1 paints the cab, slot 2 the body."""
    mesh = MeshBuilder()
    load = float(rng.uniform(4.2, 6.8))
    height, width = float(rng.uniform(2.2, 2.7)), 2.42
    cab, gap = 1.9, 0.25
    front = (load + cab + gap) / 2
    cab_x = front - cab / 2
    cab_height = float(rng.uniform(2.1, 2.6))
    mesh.add(rounded_box((cab_x, 0, 0.55 + cab_height / 2), (cab, 2.3, cab_height), 0.16), BODY)
    window_z = 0.55 + cab_height * 0.62
    mesh.add(box((front - 0.0, 0, window_z), (0.04, 2.0, cab_height * 0.36)), GLASS)
    mesh.add(box((cab_x + 0.15, 0, window_z), (1.0, 2.33, cab_height * 0.32)), GLASS)
    mesh.add(box((front + 0.01, 0, 1.2), (0.05, 1.6, 0.4)), DARK)
    mesh.add(box((front - 0.05, 0, 0.62), (0.2, 2.3, 0.38)), DARK)
    body_x = -front + load / 2
    _truck_body(mesh, shape, body_x, load, width, height)
    mesh.add(box((-0.2, 0, 0.78), (2 * front - 0.6, 1.0, 0.28)), DARK)
    mesh.add(box((body_x + 0.3, 0, 0.7), (load * 0.4, 2.1, 0.5)), DARK)
    axles = [front - 1.1, -front + 1.2] + ([-front + 2.3] if load > 5.4 else [])
    for x in axles:
        for side in (-1, 1):
            add_wheel(mesh, x, side * 1.02, 0.49, 0.32, side)
    for side in (-1, 1):
        mesh.add(box((front + 0.05, side * 0.92, 0.72), (0.06, 0.34, 0.16)), HEADLIGHT)
        mesh.add(box((-front - 0.01, side * 0.95, 0.85), (0.05, 0.32, 0.14)), TAILLIGHT)
        mesh.add(box((front - 0.15, side * 1.32, window_z), (0.1, 0.2, 0.5)), DARK)
    mesh.add(box((-front - 0.02, 0, 0.6), (0.08, 2.2, 0.14)), DARK)
    return mesh.bake(occlusion=True)


def _truck_body(mesh: MeshBuilder, style: str, x: float, load: float, width: float, height: float) -> None:
    if style == "box":
        mesh.add(rounded_box((x, 0, 1.02 + height / 2), (load, width, height), 0.05), SECOND)
        for side in (-1, 1):
            mesh.add(box((x, side * width / 2, 1.1), (load, 0.03, 0.1)), DARK)
        mesh.add(box((x - load / 2, 0, 1.02 + height / 2), (0.03, 0.04, height * 0.9)), SEAM)
    elif style == "tipper":
        for side in (-1, 1):
            mesh.add(box((x, side * width / 2, 1.55), (load, 0.08, 1.05)), SECOND)
            for k in range(int(load)):
                mesh.add(box((x - load / 2 + 0.5 + k, side * (width / 2 + 0.05), 1.55), (0.09, 0.06, 1.0)), SECOND)
        for end in (-1, 1):
            mesh.add(box((x + end * load / 2, 0, 1.55), (0.08, width, 1.05)), SECOND)
        mesh.add(ellipsoid((x, 0, 1.6), (load * 0.46, width * 0.45, 0.7)), Material((0.25, 0.19, 0.12), 1.0))
        mesh.add(box((x, 0, 1.06), (load, width, 0.08)), DARK)
    else:
        mesh.add(moved(cylinder(1.08, load, 24, "x"), (x, 0, 2.1)), SECOND)
        mesh.add(box((x, 0, 1.05), (load, 1.6, 0.2)), DARK)
        mesh.add(box((x, 0, 3.2), (load * 0.7, 0.5, 0.06)), DARK)

"""Parametric buses. Local frame as in `vehicles`; slot 1 is the paint."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Model,
    box,
    cylinder,
    moved,
    rounded_box,
)  # fmt: skip
from amodal_perception_ros.simulation.vehicles import (
    BODY,
    DARK,
    GLASS,
    HEADLIGHT,
    PLATE,
    SEAM,
    SECOND,
    TAILLIGHT,
    add_wheel,
)  # fmt: skip

BUS_SHAPES: tuple[str, ...] = ("city",)


def build_bus(rng: np.random.Generator, shape: str) -> Model:
    """Return a city bus; slot 1 paints the body, slot 2 the skirt."""
    mesh = MeshBuilder()
    length, width, height = float(rng.uniform(9.0, 12.5)), 2.5, float(rng.uniform(2.85, 3.1))
    half, side_y = length / 2, width / 2
    mesh.add(rounded_box((0, 0, 0.32 + (height - 0.32) / 2), (length, width, height - 0.32), 0.14), BODY)
    mesh.add(box((0, 0, 0.55), (length - 0.5, width + 0.01, 0.42)), SECOND)
    pitch = (length - 1.2) / max(4, round((length - 1.2) / 1.5))
    for k in range(round((length - 1.2) / pitch)):
        x = -half + 0.6 + pitch * (k + 0.5)
        mesh.add(box((x, 0, height * 0.62), (pitch - 0.1, width + 0.03, height * 0.34)), GLASS)
    mesh.add(box((half, 0, height * 0.56), (0.05, 2.2, height * 0.46)), GLASS)
    mesh.add(box((-half, 0, height * 0.66), (0.05, 2.0, height * 0.26)), GLASS)
    mesh.add(box((half + 0.005, 0, height * 0.89), (0.05, 1.5, 0.24)), Material((0.02, 0.02, 0.02), 0.3))
    mesh.add(box((half + 0.03, 0, height * 0.89), (0.02, 0.9, 0.13)), Material((0.9, 0.45, 0.05), 0.5, Kind.LAMP))
    for x in (half - 1.0, -0.6):
        mesh.add(box((x, -side_y - 0.005, 1.3), (1.15, 0.05, 1.95)), GLASS)
        mesh.add(box((x, -side_y - 0.02, 1.3), (0.06, 0.05, 1.95)), DARK)
    for x in (half * 0.48, -half * 0.55):
        for side in (-1, 1):
            add_wheel(mesh, x, side * (side_y - 0.14), 0.48, 0.3, side)
            mesh.add(moved(cylinder(0.56, 0.02, 20, "y"), (x, side * side_y, 0.6)), SEAM)
    for side in (-1, 1):
        mesh.add(box((half + 0.01, side * 0.95, 0.75), (0.06, 0.34, 0.2)), HEADLIGHT)
        mesh.add(box((-half - 0.01, side * 1.02, 0.95), (0.05, 0.2, 0.5)), TAILLIGHT)
        mesh.add(box((half + 0.12, side * 1.28, height * 0.7), (0.12, 0.16, 0.42)), DARK)
    mesh.add(box((0, 0, height + 0.08), (length * 0.35, 1.6, 0.2)), SECOND)
    mesh.add(box((half + 0.02, 0, 0.5), (0.05, 0.52, 0.12)), PLATE)
    mesh.add(box((-half - 0.02, 0, 0.6), (0.05, 0.52, 0.12)), PLATE)
    return mesh.bake(occlusion=True)

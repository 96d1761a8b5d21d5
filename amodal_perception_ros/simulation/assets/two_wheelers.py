"""What bicycles and motorcycles share: where their rider sits, wheels with spokes, mudguards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Point,
    cylinder,
    moved,
    revolve,
    tube,
)
from amodal_perception_ros.simulation.assets.vehicles import DARK, RIM, TYRE

FRAME = Material((0.3, 0.3, 0.3), 0.3, Kind.PAINT, slot=1)


@dataclass(frozen=True)
class Mount:
    """Where a rider touches a two-wheeler, in its own frame [m].

    Attributes:
        saddle: (x, y, z) of the top of the saddle.
        grip: (x, y, z) of the left handlebar grip; the right one mirrors it in y.
        pedal: (x, y, z) of the left foot rest, or of the left end of the pedals' axle.
        crank: radius of the pedals' circle in the x-z plane; 0 for fixed foot rests.
        child: built for a child of 1.0 to 1.4 m.
    """

    saddle: tuple[float, float, float]
    grip: tuple[float, float, float]
    pedal: tuple[float, float, float]
    crank: float = 0.0
    child: bool = False


def add_spoked_wheel(mesh: MeshBuilder, x: float, radius: float, width: float, spokes: int, thick: float = 0.005
                     ) -> None:  # fmt: skip
    """Add a wheel in the middle plane: a round tyre, a rim, a hub and straight spokes."""
    half = width / 2
    inner = radius - 1.1 * width
    profile = [(inner, -half * 0.6), (radius - half, -half), (radius - 0.2 * half, -half * 0.6), (radius, 0),
               (radius - 0.2 * half, half * 0.6), (radius - half, half), (inner, half * 0.6)]  # fmt: skip
    mesh.add(moved(revolve(profile, 24, "y"), (x, 0, radius)), TYRE)
    rim = [(inner, half * 0.6), (inner - 0.016, half * 0.45), (inner - 0.016, -half * 0.45), (inner, -half * 0.6)]
    mesh.add(moved(revolve(rim, 24, "y"), (x, 0, radius)), RIM)
    mesh.add(moved(cylinder(0.06 * radius + 0.012, width + 0.05, 8, "y"), (x, 0, radius)), RIM)
    for k in range(spokes):
        angle = 2 * np.pi * (k + 0.5) / spokes
        end = (x + np.cos(angle) * (inner - 0.01), 0, radius + np.sin(angle) * (inner - 0.01))
        mesh.add(tube((x, 0, radius), end, thick, 3), RIM)


def add_bar(mesh: MeshBuilder, stem: Point, grip: Point, bend: float = 0.0) -> None:
    """Add a handlebar from the stem to both grips; `bend` [m] lifts its middle pieces."""
    x, y, z = grip
    for side in (-1, 1):
        middle = (0.5 * (stem[0] + x) + 0.03, side * y * 0.62, max(stem[2], z) + bend)
        end = (x, side * y, z)
        mesh.add(tube(stem, middle, 0.013, 5), DARK).add(tube(middle, end, 0.013, 5), DARK)
        inward = np.array(end) + (np.array(middle) - end) * 0.55
        mesh.add(tube(inward, end, 0.019, 6), DARK)

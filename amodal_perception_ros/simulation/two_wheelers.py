"""Parametric bicycles and motorcycles. Local frame as in `vehicles`."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Model,
    box,
    capsule,
    cylinder,
    ellipsoid,
    moved,
    revolve,
    tube,
)
from amodal_perception_ros.simulation.vehicles import DARK, HEADLIGHT, RIM, TAILLIGHT, TYRE

FRAME = Material((0.3, 0.3, 0.3), 0.3, Kind.PAINT, slot=1)
METAL = Material((0.3, 0.3, 0.31), 0.4)
SEAT = Material((0.025, 0.022, 0.02), 0.8)


def _spoked_wheel(mesh: MeshBuilder, x: float, radius: float, width: float, spokes: int) -> None:
    inner, half = radius - 0.035 - width / 3, width / 2
    profile = [
        (inner, -half),
        (radius - half * 0.4, -half),
        (radius, 0),
        (radius - half * 0.4, half),
        (inner, half),
        (inner, -half),
    ]
    mesh.add(moved(revolve(profile, 22, "y"), (x, 0, radius)), TYRE)
    mesh.add(moved(cylinder(0.045, width + 0.05, 8, "y"), (x, 0, radius)), RIM)
    for k in range(spokes):
        angle = 2 * np.pi * (k + 0.5) / spokes
        end = (x + np.cos(angle) * (inner + 0.01), 0, radius + np.sin(angle) * (inner + 0.01))
        mesh.add(tube((x, 0, radius), end, 0.006 if width < 0.1 else 0.018, 4), RIM)


def build_bike(rng: np.random.Generator) -> Model:
    """Return a bicycle (city or sport); slot 1 paints the frame."""
    mesh, r = MeshBuilder(), float(rng.uniform(0.32, 0.35))
    sport = rng.random() < 0.5
    hub, crank, seat_top, head = (-0.52, 0, r), (-0.08, 0, 0.31), (-0.26, 0, 0.88), (0.36, 0, 0.86)
    seat_low, front = (-0.2, 0, 0.72), (0.53, 0, r)
    for x in (hub[0], front[0]):
        _spoked_wheel(mesh, x, r, 0.045, 10)
    top = (seat_low, (0.33, 0, 0.76)) if sport else (((-0.14, 0, 0.5)), (0.32, 0, 0.72))
    for a, b in ((hub, crank), (crank, (0.33, 0, 0.7)), top, (crank, seat_top), (front, head), (hub, seat_low)):
        mesh.add(tube(a, b, 0.021, 7), FRAME)
    bar = 0.98 if not sport else 0.94
    mesh.add(tube(head, (0.32, 0, bar), 0.018), METAL).add(
        tube((0.32, -0.27, bar + 0.03), (0.32, 0.27, bar + 0.03), 0.016), DARK
    )
    mesh.add(ellipsoid((-0.28, 0, 0.91), (0.14, 0.075, 0.04)), SEAT)
    mesh.add(moved(cylinder(0.095, 0.02, 14, "y"), (crank[0], -0.03, crank[2])), METAL)
    for side, dx in ((-1, 0.12), (1, -0.12)):
        mesh.add(box((crank[0] + dx, side * 0.12, crank[2] + dx), (0.09, 0.1, 0.025)), DARK)
    if not sport:
        mesh.add(box((-0.53, 0, 0.74), (0.38, 0.14, 0.025)), METAL)
        if rng.random() < 0.5:
            mesh.add(box((0.5, 0, 0.93), (0.26, 0.34, 0.22)), Material((0.16, 0.1, 0.05), 0.95))
    mesh.add(box((-0.74, 0, 0.7), (0.03, 0.06, 0.05)), TAILLIGHT).add(
        box((0.42, 0, 0.8), (0.05, 0.06, 0.06)), HEADLIGHT
    )
    return mesh.bake(occlusion=True)


def build_motorcycle(rng: np.random.Generator) -> Model:
    """Return a motorcycle or a scooter; slot 1 paints tank and fairing."""
    mesh, r = MeshBuilder(), float(rng.uniform(0.29, 0.32))
    scooter = rng.random() < 0.4
    wheel = r * (0.78 if scooter else 1.0)
    for x in (-0.66, 0.7):
        _spoked_wheel(mesh, x, wheel, 0.14, 6)
    mesh.add(tube((0.7, -0.09, wheel), (0.42, -0.09, 0.95), 0.028), METAL).add(
        tube((0.7, 0.09, wheel), (0.42, 0.09, 0.95), 0.028), METAL
    )
    mesh.add(tube((0.34, -0.34, 1.02), (0.4, 0.0, 1.0), 0.02), DARK).add(
        tube((0.34, 0.34, 1.02), (0.4, 0.0, 1.0), 0.02), DARK
    )
    mesh.add(ellipsoid((0.52, 0, 0.9), (0.12, 0.12, 0.13)), FRAME).add(
        ellipsoid((0.61, 0, 0.88), (0.05, 0.09, 0.09)), HEADLIGHT
    )
    mesh.add(ellipsoid((-0.32, 0, 0.8), (0.4, 0.15, 0.075)), SEAT)
    mesh.add(ellipsoid((0.7, 0, wheel * 1.85), (0.26, 0.075, 0.06)), FRAME)
    if scooter:
        mesh.add(ellipsoid((-0.45, 0, 0.55), (0.42, 0.19, 0.24)), FRAME).add(
            box((0.05, 0, 0.27), (0.6, 0.34, 0.08)), DARK
        )
        mesh.add(ellipsoid((0.42, 0, 0.6), (0.08, 0.24, 0.38)), FRAME)
    else:
        mesh.add(ellipsoid((0.1, 0, 0.83), (0.3, 0.17, 0.16)), FRAME).add(
            ellipsoid((0.0, 0, 0.45), (0.3, 0.19, 0.22)), METAL
        )
        mesh.add(capsule((0.1, -0.17, 0.3), (-0.75, -0.2, 0.38), 0.05), METAL)
        mesh.add(tube((-0.66, 0, wheel), (0.0, 0, 0.45), 0.05), DARK)
    mesh.add(ellipsoid((-0.68, 0, 0.82), (0.16, 0.1, 0.07)), FRAME).add(
        box((-0.84, 0, 0.8), (0.04, 0.16, 0.08)), TAILLIGHT
    )
    for side in (-1, 1):
        mesh.add(ellipsoid((0.36, side * 0.36, 1.13), (0.03, 0.07, 0.05), 8, 5), DARK)
    return mesh.bake(occlusion=True)

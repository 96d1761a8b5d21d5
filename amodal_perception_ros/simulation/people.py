"""Parametric people (walking, standing, riding). Local frame as in `vehicles`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Model,
    capsule,
    cylinder,
    ellipsoid,
    moved,
    rings,
)

SHIRT = Material((0.4, 0.4, 0.4), 0.95, Kind.CLOTH, slot=1)
TROUSERS = Material((0.2, 0.2, 0.3), 0.95, Kind.CLOTH, slot=2)
SKIN = Material((0.5, 0.32, 0.23), 0.7, Kind.CLOTH, slot=3)
HAIR = Material((0.05, 0.03, 0.02), 0.8, Kind.CLOTH, slot=4)
SHOE = Material((0.03, 0.028, 0.026), 0.7)

SKIN_COLORS = np.array([(0.58, 0.37, 0.27), (0.5, 0.3, 0.2), (0.36, 0.21, 0.13), (0.2, 0.11, 0.07), (0.62, 0.42, 0.33)])
HAIR_COLORS = np.array(
    [(0.02, 0.015, 0.01), (0.07, 0.04, 0.02), (0.25, 0.16, 0.07), (0.3, 0.29, 0.28), (0.2, 0.07, 0.03)]
)
CLOTH_COLORS = np.array(
    [
        (0.4, 0.04, 0.05), (0.04, 0.07, 0.24), (0.05, 0.05, 0.055), (0.5, 0.45, 0.35), (0.07, 0.22, 0.13),
        (0.6, 0.6, 0.6), (0.32, 0.16, 0.33), (0.62, 0.45, 0.06), (0.12, 0.3, 0.45), (0.2, 0.13, 0.08),
        (0.5, 0.2, 0.08), (0.02, 0.025, 0.05), (0.3, 0.32, 0.34),
    ]
)  # fmt: skip

WALK_PHASES = 8
"""Poses of one walking cycle (two steps)."""


@dataclass(frozen=True)
class Figure:
    """Build and clothing of a person.

    Attributes:
        height: body height [m].
        girth: width factor.
        garment: "trousers", "skirt", "coat" or "shorts".
        backpack, hat, long_hair: what they wear.
    """

    height: float
    girth: float
    garment: str
    backpack: bool
    hat: bool
    long_hair: bool


def draw_figure(rng: np.random.Generator) -> Figure:
    """Draw a figure: 12 % children of 1.05-1.45 m, else adults of 1.55-1.95 m."""
    child = rng.random() < 0.12
    height = rng.uniform(1.05, 1.45) if child else rng.normal(1.73, 0.08)
    garment = str(rng.choice(["trousers", "skirt", "coat", "shorts"], p=[0.55, 0.13, 0.2, 0.12]))
    return Figure(
        float(np.clip(height, 1.05, 1.98)), float(rng.uniform(0.9, 1.22)), garment, bool(rng.random() < 0.25),
        bool(rng.random() < 0.2), bool(rng.random() < 0.35),
    )  # fmt: skip


def person_palette(rng: np.random.Generator) -> np.ndarray:
    """Draw (4, 3) colours: upper and lower clothing, skin, hair."""
    clothes = CLOTH_COLORS[rng.integers(len(CLOTH_COLORS), size=2)] * rng.uniform(0.7, 1.25, (2, 1))
    skin, hair = SKIN_COLORS[rng.integers(len(SKIN_COLORS))], HAIR_COLORS[rng.integers(len(HAIR_COLORS))]
    return np.clip(np.stack([clothes[0], clothes[1], skin, hair]), 0, 1)


def build_walker(figure: Figure) -> tuple[Model, ...]:
    """Return the `WALK_PHASES` poses of one walking cycle; they share the baked ambient occlusion of pose 0."""
    models = [
        build_standing(figure, 2 * np.pi * k / WALK_PHASES, swing=0.5, occlusion=k == 0) for k in range(WALK_PHASES)
    ]
    for model in models[1:]:
        model.vertices["ao"] = models[0].vertices["ao"]
    return tuple(models)


def build_standing(figure: Figure, phase: float = 0.6, swing: float = 0.08, occlusion: bool = True) -> Model:
    """Return one pose: legs and arms swing by `swing` [rad] at `phase` [rad] of the walking cycle."""
    mesh, s, g = MeshBuilder(), figure.height / 1.75, figure.girth
    hip_z = 0.9 * s - 0.03 * s * abs(np.sin(phase)) * swing * 2
    for side, shift in ((-1, 0.0), (1, np.pi)):
        forward = swing * np.sin(phase + shift)
        lift = max(0.0, np.cos(phase + shift)) * swing * 1.3
        _leg(mesh, figure, np.array([0, side * 0.095 * s * g, hip_z]), forward, lift)
        _arm(mesh, figure, side, -forward * 0.85, hip_z)
    _torso(mesh, figure, hip_z)
    _head(mesh, figure, np.array([0.03 * s, 0, hip_z + 0.66 * s]))
    return mesh.bake(occlusion=occlusion)


def _leg(mesh: MeshBuilder, figure: Figure, hip: np.ndarray, forward: float, bend: float) -> None:
    s, g = figure.height / 1.75, figure.girth
    knee = hip + 0.43 * s * np.array([np.sin(forward), 0, -np.cos(forward)])
    shin = forward - bend
    ankle = knee + 0.4 * s * np.array([np.sin(shin), 0, -np.cos(shin)])
    ankle[2] = max(ankle[2], 0.07 * s)
    lower = SKIN if figure.garment in ("shorts", "skirt") else TROUSERS
    mesh.add(capsule(hip, knee, 0.088 * s * g, 0.06 * s), TROUSERS)
    mesh.add(capsule(knee, ankle, 0.06 * s, 0.042 * s), lower)
    mesh.add(
        capsule(ankle + np.array([-0.04 * s, 0, -0.025 * s]), ankle + np.array([0.15 * s, 0, -0.03 * s]), 0.045 * s),
        SHOE,
    )


def _arm(mesh: MeshBuilder, figure: Figure, side: int, forward: float, hip_z: float) -> None:
    s, g = figure.height / 1.75, figure.girth
    shoulder = np.array([0, side * 0.2 * s * g, hip_z + 0.49 * s])
    elbow = shoulder + 0.28 * s * np.array([np.sin(forward), side * 0.12, -np.cos(forward)])
    reach = forward + 0.25 + max(forward, 0) * 0.6
    hand = elbow + 0.25 * s * np.array([np.sin(reach), 0, -np.cos(reach)])
    sleeve = SKIN if figure.garment == "shorts" else SHIRT
    mesh.add(capsule(shoulder, elbow, 0.053 * s * g, 0.045 * s), SHIRT)
    mesh.add(capsule(elbow, hand, 0.043 * s, 0.034 * s), sleeve)
    mesh.add(ellipsoid(hand + np.array([0.01, 0, -0.05 * s]), (0.04 * s, 0.028 * s, 0.07 * s), 7, 5), SKIN)


def _loft(levels: list[tuple[float, float, float, float]], segments: int = 12) -> np.ndarray:
    """Elliptic rings (z, x offset, x radius, y radius) -> (levels, segments, 3)."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    return np.stack(
        [np.stack([x + a * np.cos(angle), b * np.sin(angle), np.full(segments, z)], -1) for z, x, a, b in levels]
    )


def _torso(mesh: MeshBuilder, figure: Figure, hip_z: float, lean: float = 0.0) -> None:
    s, g = figure.height / 1.75, figure.girth
    shape = [(-0.06, 0.1, 0.15), (0.06, 0.115, 0.165), (0.2, 0.11, 0.15), (0.36, 0.125, 0.185), (0.48, 0.105, 0.2),
             (0.54, 0.075, 0.14), (0.57, 0.05, 0.06)]  # fmt: skip
    levels = [(hip_z + z * s, lean * max(z, 0) * s, a * s * g, b * s * g) for z, a, b in shape]
    mesh.add(rings(_loft(levels)), SHIRT)
    if figure.garment in ("skirt", "coat"):
        length = 0.42 if figure.garment == "skirt" else 0.4
        hem = [
            (hip_z - length * s, 0.0, 0.24 * s * g, 0.25 * s * g),
            (hip_z + 0.08 * s, 0.0, 0.125 * s * g, 0.175 * s * g),
        ]
        mesh.add(rings(_loft(hem)), TROUSERS if figure.garment == "skirt" else SHIRT)
    if figure.backpack:
        pack = ellipsoid(((-0.17 + lean * 0.3) * s, 0, hip_z + 0.33 * s), (0.11 * s, 0.15 * s, 0.21 * s))
        mesh.add(pack, Material((0.08, 0.08, 0.1), 0.9, Kind.CLOTH, slot=4))


def _head(mesh: MeshBuilder, figure: Figure, center: np.ndarray, helmet: bool = False) -> None:
    s = figure.height / 1.75
    mesh.add(capsule(center - [0.02 * s, 0, 0.14 * s], center - [0, 0, 0.06 * s], 0.055 * s), SKIN)
    mesh.add(ellipsoid(center + np.array([0, 0, 0.02 * s]), (0.098 * s, 0.08 * s, 0.122 * s)), SKIN)
    mesh.add(ellipsoid(center + np.array([0.1 * s, 0, 0.0]), (0.02 * s, 0.015 * s, 0.025 * s), 6, 4), SKIN)
    cap = center + np.array([-0.02 * s, 0, 0.055 * s])
    if helmet:
        mesh.add(ellipsoid(cap + np.array([0.01, 0, 0.01]), (0.135 * s, 0.115 * s, 0.11 * s)), HAIR)
        return
    mesh.add(ellipsoid(cap, (0.104 * s, 0.09 * s, 0.1 * s)), HAIR)
    if figure.long_hair:
        mesh.add(ellipsoid(center + np.array([-0.06 * s, 0, -0.06 * s]), (0.06 * s, 0.085 * s, 0.15 * s)), HAIR)
    if figure.hat:
        mesh.add(moved(cylinder(0.105 * s, 0.09 * s, 12), center + np.array([-0.01 * s, 0, 0.12 * s])), SHIRT)
        mesh.add(ellipsoid(center + np.array([0.09 * s, 0, 0.085 * s]), (0.09 * s, 0.07 * s, 0.012 * s), 10, 5), SHIRT)


def build_rider(figure: Figure, motorcycle: bool, phase: float) -> Model:
    """Return a seated rider whose origin is the two-wheeler's; `phase` [rad] is the pedal angle."""
    mesh, s, g = MeshBuilder(), figure.height / 1.75, figure.girth
    seat = np.array([-0.28, 0, 0.98]) if not motorcycle else np.array([-0.2, 0, 0.86])
    lean = 0.55 if not motorcycle else 0.35
    for side in (-1, 1):
        hip = seat + np.array([0, side * 0.09 * g, 0])
        if motorcycle:
            foot = np.array([0.02, side * 0.2, 0.3])
        else:
            angle = phase + (0 if side > 0 else np.pi)
            foot = np.array([-0.08 + 0.16 * np.cos(angle), side * 0.11, 0.34 + 0.16 * np.sin(angle)])
        knee = _joint(hip, foot, 0.44 * s, 0.43 * s, side)
        mesh.add(capsule(hip, knee, 0.085 * s * g, 0.06 * s), TROUSERS)
        mesh.add(capsule(knee, foot, 0.058 * s, 0.042 * s), TROUSERS)
        mesh.add(capsule(foot - [0.05, 0, 0.02], foot + np.array([0.13, 0, -0.03]), 0.045 * s), SHOE)
        grip = np.array([0.3, side * 0.24, 1.03]) if not motorcycle else np.array([0.33, side * 0.3, 1.0])
        shoulder = seat + np.array([lean * 0.48 * s, side * 0.19 * s * g, 0.46 * s])
        elbow = 0.5 * (shoulder + grip) + [-0.04, side * 0.06, -0.07]
        mesh.add(capsule(shoulder, elbow, 0.052 * s * g, 0.044 * s), SHIRT)
        mesh.add(capsule(elbow, grip, 0.042 * s, 0.036 * s), SHIRT)
    torso = MeshBuilder()
    _torso(torso, Figure(figure.height, g, "trousers", figure.backpack, False, False), float(seat[2]), lean)
    for part, materials, which, cls in torso.parts:
        mesh.add_mixed(moved(part, (seat[0], 0, 0)), materials, which, cls)
    head = seat + np.array([lean * 0.62 * s + 0.06, 0, 0.64 * s])
    _head(mesh, figure, head, helmet=motorcycle or figure.hat)
    return mesh.bake(occlusion=True)


def _joint(start: np.ndarray, end: np.ndarray, first: float, second: float, side: int) -> np.ndarray:
    """Knee between hip and foot: bends forwards and slightly outwards."""
    span = end - start
    distance = min(float(np.linalg.norm(span)), (first + second) * 0.995)
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    out = np.sqrt(max(first**2 - along**2, 0))
    axis = span / np.linalg.norm(span)
    bend = np.array([1.0, 0.12 * side, 0.3])
    bend -= axis * (bend @ axis)
    return start + axis * along + bend / np.linalg.norm(bend) * out

"""Parametric cars and vans. Local frame as in `vehicles`; slot 1 is the paint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.meshes import MeshBuilder, Model, box, ellipsoid, rings
from amodal_perception_ros.simulation.vehicles import (
    BODY,
    DARK,
    GLASS,
    HEADLIGHT,
    INDICATOR,
    PLATE,
    SEAM,
    TAILLIGHT,
    add_wheel,
)  # fmt: skip


@dataclass(frozen=True)
class CarShape:
    """Proportions of a car body; x positions are fractions of half the length, -1 rear .. 1 front.

    Attributes:
        length, width, height: overall size [m].
        hood: (x, z) top line of the lower body, from rear to front.
        roof: (x, z as a fraction of the height) side line of the cabin, from rear to front.
        pillars: x of the posts between the side windows.
        solid: (from, to) x interval whose sides are sheet metal instead of glass (panel vans).
        wheel: wheel radius [m].
        lean: how far the cabin's sides lean inwards, fraction of the half width.
    """

    length: float
    width: float
    height: float
    hood: tuple[tuple[float, float], ...]
    roof: tuple[tuple[float, float], ...]
    pillars: tuple[float, ...]
    solid: tuple[float, float] = (9.0, 9.0)
    wheel: float = 0.33
    lean: float = 0.2


_SHAPES: dict[str, CarShape] = {
    "sedan": CarShape(4.65, 1.82, 1.45, ((-1, 0.86), (-0.82, 0.94), (-0.62, 0.96), (0.3, 0.92), (0.75, 0.8), (1, 0.62)),
                      ((-0.72, 0.66), (-0.42, 0.955), (-0.2, 1), (0.02, 0.985), (0.14, 0.95), (0.46, 0.63)),
                      (-0.5, -0.07, 0.3)),
    "hatchback": CarShape(4.0, 1.75, 1.5, ((-1, 0.84), (-0.9, 0.96), (0.4, 0.93), (0.8, 0.8), (1, 0.62)),
                          ((-0.95, 0.64), (-0.8, 0.9), (-0.55, 0.97), (-0.1, 1), (0.14, 0.95), (0.55, 0.62)),
                          (-0.62, -0.1, 0.36)),
    "wagon": CarShape(4.75, 1.84, 1.5, ((-1, 0.86), (-0.92, 0.96), (0.3, 0.92), (0.75, 0.8), (1, 0.63)),
                      ((-0.96, 0.64), (-0.86, 0.9), (-0.72, 0.97), (-0.2, 1), (0.1, 0.96), (0.45, 0.62)),
                      (-0.72, -0.36, 0.0, 0.3)),
    "suv": CarShape(4.6, 1.9, 1.72, ((-1, 0.98), (-0.92, 1.08), (0.42, 1.06), (0.8, 0.98), (1, 0.74)),
                    ((-0.95, 0.63), (-0.84, 0.92), (-0.7, 0.98), (-0.1, 1), (0.14, 0.96), (0.5, 0.62)),
                    (-0.66, -0.1, 0.34), wheel=0.37),
    "minivan": CarShape(4.8, 1.9, 1.8, ((-1, 0.98), (-0.95, 1.05), (0.55, 1.0), (0.85, 0.84), (1, 0.66)),
                        ((-0.97, 0.58), (-0.9, 0.93), (-0.75, 0.99), (-0.1, 1), (0.25, 0.95), (0.72, 0.56)),
                        (-0.55, -0.05, 0.44), wheel=0.34),
    "van": CarShape(5.4, 2.0, 2.35, ((-1, 1.1), (-0.97, 1.22), (0.6, 1.2), (0.88, 1.02), (1, 0.75)),
                    ((-0.985, 0.54), (-0.97, 0.95), (-0.9, 0.99), (0.1, 1), (0.38, 0.95), (0.74, 0.52)),
                    (0.12, 0.56), solid=(-1.0, 0.12), wheel=0.36, lean=0.12),
    "pickup": CarShape(5.3, 1.95, 1.8, ((-1, 1.02), (-0.98, 1.06), (0.44, 1.06), (0.8, 0.98), (1, 0.76)),
                       ((-0.22, 0.6), (-0.17, 0.94), (-0.1, 0.985), (0.08, 1), (0.2, 0.96), (0.46, 0.6)),
                       (-0.14, 0.1, 0.32), wheel=0.38),
    "compact": CarShape(3.4, 1.65, 1.52, ((-1, 0.8), (-0.9, 0.94), (0.5, 0.92), (0.86, 0.78), (1, 0.62)),
                        ((-0.96, 0.62), (-0.86, 0.88), (-0.6, 0.97), (-0.1, 1), (0.18, 0.95), (0.66, 0.61)),
                        (-0.5, 0.4), wheel=0.29),
}  # fmt: skip


CAR_SHAPES: tuple[str, ...] = tuple(_SHAPES)


def _jittered(shape: CarShape, rng: np.random.Generator) -> CarShape:
    """Return the shape with length, width and height varied by a few per cent."""
    a, b, c = rng.uniform(0.95, 1.06, 3)
    hood = tuple((x, z * c) for x, z in shape.hood)
    return CarShape(
        shape.length * a, shape.width * (1 + (b - 1) / 2), shape.height * c, hood, shape.roof, shape.pillars,
        shape.solid, shape.wheel, shape.lean,
    )  # fmt: skip


def build_car(rng: np.random.Generator, shape: str) -> Model:
    """Return a car of one of `CAR_SHAPES`, its size varied by a few per cent."""
    return _build(_jittered(_SHAPES[shape], rng))


def _build(shape: CarShape) -> Model:
    mesh = MeshBuilder()
    half_length, half_width = shape.length / 2, shape.width / 2
    axles = (-0.62 * half_length, 0.63 * half_length)
    _lower_body(mesh, shape, axles)
    _cabin(mesh, shape)
    mesh.add(box((0, 0, 0.42), (shape.length * 0.86, shape.width * 0.78, 0.3)), DARK)
    for x in axles:
        for side in (-1, 1):
            add_wheel(mesh, x, side * (half_width - 0.105), shape.wheel, 0.2, side)
    _lights(mesh, shape)
    for side in (-1, 1):
        mirror_x = half_length * (shape.roof[-1][0] - 0.1)
        mesh.add(
            ellipsoid((mirror_x, side * (half_width + 0.07), 1.0 * shape.hood[-3][1]), (0.07, 0.11, 0.075), 8, 6), BODY
        )
        for x in shape.pillars[:-1]:
            z = 0.5 * (0.3 + shape.hood[2][1])
            mesh.add(box((x * half_length, side * (half_width * 0.985), z), (0.012, 0.04, 0.5)), SEAM)
            handle = (x * half_length + 0.16, side * (half_width * 0.97), shape.hood[2][1] - 0.12)
            mesh.add(box(handle, (0.15, 0.05, 0.025)), DARK)
    return mesh.bake(occlusion=True)


def _stations(shape: CarShape, axles: tuple[float, float]) -> np.ndarray:
    half = shape.length / 2
    radius = shape.wheel * 1.17
    arch = radius * np.cos(np.linspace(0, np.pi, 9))
    ends = half - np.array([0.0, 0.02, 0.06, 0.13, 0.22])
    knots = np.concatenate([np.array([x for x, _ in shape.hood]) * half, axles[0] + arch, axles[1] + arch, ends, -ends])
    knots = np.sort(np.concatenate([knots, np.linspace(-half, half, 11)]))
    return knots[np.concatenate([[True], np.diff(knots) > 0.012])]


_SECTION = np.array(
    [
        (0.86, 0.0),
        (0.95, 0.05),
        (0.985, 0.22),
        (1.0, 0.5),
        (0.99, 0.7),
        (0.96, 0.86),
        (0.9, 0.955),
        (0.72, 1.0),
        (0.3, 1.015),
    ]
)
"""Half of a car's cross-section: share of the half width, share of the height from sill to hood."""


def _plan(shape: CarShape, x: np.ndarray) -> np.ndarray:
    """Half width at x: narrower towards the rounded ends."""
    return shape.width / 2 * (1 - 0.13 * np.abs(2 * x / shape.length) ** 7)


def _curve(points: tuple[tuple[float, float], ...], x: np.ndarray) -> np.ndarray:
    xs, zs = np.array(points).T
    return np.interp(x, xs, zs)


def _lower_body(mesh: MeshBuilder, shape: CarShape, axles: tuple[float, float]) -> None:
    x = _stations(shape, axles)
    half, radius = shape.length / 2, shape.wheel * 1.17
    top = _curve(shape.hood, x / half)
    bottom = np.full_like(x, 0.22) + 0.06 * (np.abs(x / half) > 0.9)
    for axle in axles:
        inside = np.maximum(radius**2 - (x - axle) ** 2, 0)
        bottom = np.maximum(bottom, np.where(inside > 0, shape.wheel + np.sqrt(inside), 0))
    near_end = np.clip((half - np.abs(x)) / 0.2, 0, 1)
    round_off = np.sqrt(1 - (1 - near_end) ** 2)
    middle = 0.5 * (top + bottom)
    top = middle + (top - middle) * (0.72 + 0.28 * round_off)
    bottom = middle + (bottom - middle) * (0.8 + 0.2 * round_off)
    width = _plan(shape, x) * (0.9 + 0.1 * round_off)
    y = width[:, None] * _SECTION[:, 0]
    z = bottom[:, None] + (top - bottom)[:, None] * _SECTION[:, 1]
    section = np.stack([np.broadcast_to(x[:, None], y.shape), y, z], -1)
    mirrored = section[:, ::-1] * np.array([1, -1, 1])
    mesh.add(rings(np.concatenate([section, mirrored], 1)), BODY)


def _cabin(mesh: MeshBuilder, shape: CarShape) -> None:
    half = shape.length / 2
    knots = [x for x, _ in shape.roof] + [p + d for p in shape.pillars for d in (-0.018, 0.018)]
    knots += [v for v in shape.solid if -1 <= v <= 1]
    low, high = shape.roof[0][0], shape.roof[-1][0]
    u = np.unique(np.round(np.concatenate([np.clip(knots, low, high), np.linspace(low, high, 9)]), 4))
    x = u * half
    roof = _curve(shape.roof, u) * shape.height
    belt = np.minimum(_curve(shape.hood, u) - 0.03, roof - 0.005)
    width = _plan(shape, x) * (0.935 if shape.solid[0] > 1 else 0.985)
    rise = (roof - belt) / (shape.height - belt.min())

    def ring(share: float, lean: float) -> np.ndarray:
        y = width * (1 - lean * shape.lean * rise)
        return np.stack([x, y, belt + (roof - belt) * share], -1)

    half_ring = np.stack([ring(0.0, 0.0), ring(0.5, 0.42), ring(0.86, 0.85), ring(0.97, 1.15), ring(1.0, 1.6)], 1)
    center = np.stack([x, width * 0.3, roof + 0.015 * rise], -1)[:, None]
    right = np.concatenate([half_ring, center], 1)
    sections = np.concatenate([right, right[:, ::-1] * np.array([1, -1, 1])], 1)
    part = rings(sections, cap=False)
    mesh.add_mixed(part, [BODY, GLASS, DARK], _cabin_materials(shape, u, roof, sections.shape[1]))


def _cabin_materials(shape: CarShape, u: np.ndarray, roof: np.ndarray, ring: int) -> np.ndarray:
    """Which of paint, glass or post each face of the cabin is (two faces per grid cell)."""
    middle = 0.5 * (u[1:] + u[:-1])
    slope = np.abs(np.diff(roof)) / (np.diff(u) * shape.length / 2)
    side = np.ones(len(middle), np.int64)
    for pillar in shape.pillars:
        side[np.abs(middle - pillar) < 0.019] = 2
    side[(middle > shape.solid[0]) & (middle < shape.solid[1])] = 0
    steep_glass = (slope > 0.45) & ~((shape.solid[0] < 9) & (middle < 0))
    which = np.zeros((len(middle), ring), np.int64)
    last = ring - 2
    for segment in (0, 1):
        which[:, segment] = which[:, last - segment] = side
    for segment in (4, 5, 6):
        which[:, segment] = np.where(steep_glass, 1, 0)
    return np.repeat(which.ravel(), 2)


def _lights(mesh: MeshBuilder, shape: CarShape) -> None:
    half, half_width = shape.length / 2, shape.width / 2
    front, rear = shape.hood[-1][1] * 1.02, min(shape.hood[0][1] * 0.94, 1.0)
    for side in (-1, 1):
        mesh.add(ellipsoid((half - 0.13, side * half_width * 0.66, front), (0.13, 0.2, 0.075), 8, 6), HEADLIGHT)
        mesh.add(ellipsoid((-half + 0.09, side * half_width * 0.7, rear), (0.09, 0.17, 0.1), 8, 6), TAILLIGHT)
        mesh.add(box((half - 0.06, side * half_width * 0.64, front - 0.22), (0.1, 0.16, 0.06)), INDICATOR)
    mesh.add(box((half - 0.02, 0, front - 0.12), (0.05, half_width * 0.95, 0.13)), DARK)
    mesh.add(box((half - 0.03, 0, 0.34), (0.07, half_width * 1.3, 0.11)), DARK)
    mesh.add(box((half + 0.005, 0, 0.46), (0.02, 0.5, 0.11)), PLATE)
    mesh.add(box((-half + 0.0, 0, rear - 0.26), (0.03, 0.5, 0.12)), PLATE)
    mesh.add(box((-half + 0.03, 0, 0.36), (0.07, half_width * 1.35, 0.13)), DARK)

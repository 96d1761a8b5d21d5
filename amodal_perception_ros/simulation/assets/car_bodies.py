"""Sheet metal and glass of a car: the lower body and the cabin, each one skin lofted along the car."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, rings
from amodal_perception_ros.simulation.assets.vehicles import BODY, DARK, GLASS, HEADLIGHT, TAILLIGHT

TWO_TONE = Material((0.5, 0.5, 0.5), 0.25, Kind.PAINT, slot=2)
"""Paint of the roof, the mirrors and livery bands."""

Line = tuple[tuple[float, float], ...]


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
        bed: (from, to) x interval that is open from above (a pickup's bed, a convertible's seats).
        clearance: height of the sills above the ground [m].
        rails: roof rails.
        cladding: dark plastic along sills and wheel arches.
        band: a band along the doors in the second colour.
    """

    length: float
    width: float
    height: float
    hood: Line
    roof: Line
    pillars: tuple[float, ...]
    solid: tuple[float, float] = (9.0, 9.0)
    wheel: float = 0.33
    lean: float = 0.2
    bed: tuple[float, float] = (9.0, 9.0)
    clearance: float = 0.21
    rails: bool = False
    cladding: bool = False
    band: bool = False

    @property
    def axles(self) -> tuple[float, float]:
        """X of the rear and the front axle [m]."""
        return -0.31 * self.length, 0.315 * self.length


_SECTION = np.array([(0.86, 0.0), (0.95, 0.05), (0.985, 0.22), (1.0, 0.5), (0.99, 0.7), (0.96, 0.86), (0.9, 0.955),
                     (0.72, 1.0), (0.3, 1.015)])  # fmt: skip
"""Half of a car's cross-section: share of the half width, share of the height from sill to hood."""

_OPEN_SECTION = np.array([(0.86, 0.0), (0.95, 0.05), (0.985, 0.22), (1.0, 0.5), (0.99, 0.7), (0.975, 0.86),
                          (0.95, 1.0), (0.86, 1.0), (0.85, 0.42)])  # fmt: skip
"""The same where the body is open from above: the last point lies on the floor inside."""


def roof_height(shape: CarShape, x: float) -> float:
    """Height of the roof line [m] at x (fraction of half the length)."""
    return float(_curve(shape.roof, np.array(x))) * shape.height


def side_half_width(shape: CarShape, x: float, z: float) -> float:
    """Half width of the lower body [m] at x [m] and height z [m], between the wheels."""
    top = float(_curve(shape.hood, np.array(x / shape.length * 2)))
    share = (z - shape.clearance) / (top - shape.clearance)
    return float(_plan(shape, np.array(x))) * float(np.interp(share, _SECTION[:, 1], _SECTION[:, 0]))


def _plan(shape: CarShape, x: np.ndarray) -> np.ndarray:
    """Half width at x: narrower towards the rounded ends."""
    return shape.width / 2 * (1 - 0.13 * np.abs(2 * x / shape.length) ** 7)


def _curve(points: Line, x: np.ndarray) -> np.ndarray:
    xs, zs = np.array(points).T
    return np.interp(x, xs, zs)


def _stations(shape: CarShape) -> np.ndarray:
    half, radius = shape.length / 2, shape.wheel * 1.17
    arch = radius * np.cos(np.linspace(0, np.pi, 9))
    ends = half - np.array([0.0, 0.02, 0.06, 0.13, 0.22, 0.34])
    walls = [wall * half for wall in shape.bed if abs(wall) <= 1]
    hood = np.array([x for x, _ in shape.hood]) * half
    knots = np.concatenate([hood, *(axle + arch for axle in shape.axles), ends, -ends, np.linspace(-half, half, 9)])
    knots = np.sort(knots)
    knots = knots[np.concatenate([[True], np.diff(knots) > 0.012])]
    for wall in walls:
        knots = knots[np.abs(knots - wall) > 0.02]
    return np.sort(np.concatenate([knots, *([wall - 0.004, wall + 0.004] for wall in walls)]))


def add_body(mesh: MeshBuilder, shape: CarShape) -> None:
    """Add the lower body with wheel arches, wrap-around lamps, sills and, where it is open, a bed."""
    x = _stations(shape)
    half, radius = shape.length / 2, shape.wheel * 1.17
    top = _curve(shape.hood, x / half)
    bottom = np.full_like(x, shape.clearance) + 0.06 * (np.abs(x / half) > 0.9)
    for axle in shape.axles:
        inside = np.maximum(radius**2 - (x - axle) ** 2, 0)
        bottom = np.maximum(bottom, np.where(inside > 1e-6, shape.wheel + np.sqrt(inside), 0))
    near_end = np.clip((half - np.abs(x)) / 0.2, 0, 1)
    round_off = np.sqrt(1 - (1 - near_end) ** 2)
    middle = 0.5 * (top + bottom)
    top = middle + (top - middle) * (0.72 + 0.28 * round_off)
    bottom = middle + (bottom - middle) * (0.8 + 0.2 * round_off)
    width = _plan(shape, x) * (0.9 + 0.1 * round_off)
    is_open = (x > shape.bed[0] * half) & (x < shape.bed[1] * half)
    section = np.where(is_open[:, None, None], _OPEN_SECTION, _SECTION)
    y = width[:, None] * section[..., 0]
    z = bottom[:, None] + (top - bottom)[:, None] * section[..., 1]
    z[is_open, -1] = shape.wheel * 2 + 0.06
    right = np.stack([np.broadcast_to(x[:, None], y.shape), y, z], -1)
    part = rings(np.concatenate([right, right[:, ::-1] * np.array([1, -1, 1])], 1))
    which = _body_materials(shape, 0.5 * (x[1:] + x[:-1]))
    caps = np.zeros(len(part[1]) - which.size * 2, np.int64)
    mesh.add_mixed(
        part, [BODY, DARK, HEADLIGHT, TAILLIGHT, TWO_TONE], np.concatenate([np.repeat(which.ravel(), 2), caps])
    )


def _body_materials(shape: CarShape, x: np.ndarray) -> np.ndarray:
    """Which material each (station, ring) cell of the lower body has."""
    half = shape.length / 2
    which = np.zeros((len(x), 2 * len(_SECTION)), np.int64)

    def paint(rows: np.ndarray, segments: tuple[int, ...], material: int) -> None:
        for segment in segments:
            which[rows, segment] = which[rows, 16 - segment] = material

    which[:, 17] = 1
    paint(np.abs(x) < half, (0,), 1)
    if shape.cladding:
        paint(np.abs(x) < half - 0.1, (1,), 1)
        for axle in shape.axles:
            paint(np.abs(x - axle) < shape.wheel * 1.17, (1, 2), 1)
    if shape.band:
        reach = shape.wheel * 1.17
        paint((x > shape.axles[0] + reach) & (x < shape.axles[1] - reach), (3,), 4)
    paint(x > half - 0.34, (4, 5), 2)
    paint(x < -half + 0.22, (3, 4, 5) if shape.height > 1.6 else (4, 5), 3)
    inside = (x > shape.bed[0] * half) & (x < shape.bed[1] * half)
    paint(inside, (7,), 1)
    which[inside, 8] = 1
    return which


def add_cabin(mesh: MeshBuilder, shape: CarShape) -> None:
    """Add windows, posts and roof."""
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
    which = _cabin_materials(shape, u, roof, sections.shape[1])
    mesh.add_mixed(rings(sections, cap=False), [BODY, GLASS, DARK, TWO_TONE], which)


def _cabin_materials(shape: CarShape, u: np.ndarray, roof: np.ndarray, ring: int) -> np.ndarray:
    """Which of paint, glass, post or roof each face of the cabin is (two faces per grid cell)."""
    middle = 0.5 * (u[1:] + u[:-1])
    slope = np.abs(np.diff(roof)) / (np.diff(u) * shape.length / 2)
    side = np.ones(len(middle), np.int64)
    for pillar in shape.pillars:
        side[np.abs(middle - pillar) < 0.019] = 2
    side[(middle > shape.solid[0]) & (middle < shape.solid[1])] = 0
    steep = slope > 0.3
    glass = steep & ~((shape.solid[0] < 9) & (middle < 0))
    which = np.zeros((len(middle), ring), np.int64)
    last = ring - 2
    for segment in (0, 1):
        which[:, segment] = which[:, last - segment] = side
    for segment in (4, 5, 6):
        which[:, segment] = np.select([glass, steep], [1, 0], 3)
    return np.repeat(which.ravel(), 2)

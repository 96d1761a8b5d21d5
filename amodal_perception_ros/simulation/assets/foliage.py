"""Leaves: their colours by season, cards and dark inner lumps."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.materials import tinted
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, Part

SEASONS = ("spring", "summer", "autumn", "winter")

_GREENS = np.array(
    [(0.05, 0.15, 0.025), (0.08, 0.16, 0.03), (0.035, 0.11, 0.03), (0.1, 0.17, 0.04), (0.06, 0.12, 0.05)]
)
_FOLIAGE: dict[str, np.ndarray] = {
    "spring": np.array(
        [(0.13, 0.24, 0.04), (0.1, 0.2, 0.04), (0.17, 0.25, 0.06), (0.5, 0.32, 0.36), (0.55, 0.53, 0.48)]
    ),
    "summer": _GREENS,
    "autumn": np.array(
        [(0.38, 0.24, 0.03), (0.32, 0.13, 0.02), (0.25, 0.06, 0.02), (0.2, 0.15, 0.03), (0.09, 0.14, 0.03)]
    ),
    "winter": np.array([(0.09, 0.06, 0.03)]),
}
_EVERGREENS = np.array([(0.035, 0.1, 0.035), (0.05, 0.12, 0.035), (0.045, 0.11, 0.075)])


def foliage(rng: np.random.Generator, season: str, evergreen: bool = False) -> Material:
    """Return the leaves of one plant in a season."""
    colors = _EVERGREENS if evergreen else _FOLIAGE[season]
    color = colors[rng.integers(len(colors))] * rng.uniform(1.0, 1.8) * rng.uniform(0.88, 1.14, 3)
    return tinted(color, 0.9, Kind.LEAF)


def around(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return (count, 3) random unit vectors."""
    points = rng.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def leaf_cards(
    rng: np.random.Generator, points: np.ndarray, size: float, center: np.ndarray, radii: np.ndarray
) -> Part:
    """Return small randomly turned quads at (n, 3) points of a crown.

    Texture u carries a random shade per card, v how open to the light it lies in the crown (center, half axes).
    """
    n = len(points)
    a = around(rng, n)
    b = np.cross(a, around(rng, n))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    s = rng.uniform(0.6, 1.4, (n, 1)) * size
    corners = np.stack([points - a * s, points - b * s * 0.65, points + a * s, points + b * s * 0.65], 1)
    corners[..., 2] = np.maximum(corners[..., 2], 0.01)
    base = 4 * np.arange(n)[:, None]
    faces = np.stack([base + np.array([0, 1, 2]), base + np.array([0, 2, 3])], 1).reshape(-1, 3)
    inside = (points - center) / radii
    light = np.clip(0.45 * np.linalg.norm(inside, axis=1) + 0.35 * inside[:, 2] + 0.2, 0, 1)
    return corners.reshape(-1, 3), faces, np.stack([np.repeat(rng.random(n), 4), np.repeat(light, 4)], -1)


def lumps(rng: np.random.Generator, centers: np.ndarray, radii: np.ndarray) -> Part:
    """Return dark icosahedra about (n, 3) centers with (n, 3) half axes [m]: the shaded inside of clumps of leaves."""
    n = len(centers)
    vertices = centers[:, None] + _ICOSAHEDRON * radii[:, None] * rng.uniform(0.8, 1.2, (n, 12, 1))
    faces = (_ICOSAHEDRON_FACES + 12 * np.arange(n)[:, None, None]).reshape(-1, 3)
    shade = np.stack([rng.uniform(0.1, 0.4, (n, 12)), np.tile(0.1 + 0.2 * (_ICOSAHEDRON[:, 2] + 1), (n, 1))], -1)
    return vertices.reshape(-1, 3), faces, shade.reshape(-1, 2)


_GOLDEN = 0.5 * (1 + 5**0.5)
_ICOSAHEDRON = np.array(
    [(0, s, t * _GOLDEN) for s in (-1, 1) for t in (-1, 1)]
    + [(s, t * _GOLDEN, 0) for s in (-1, 1) for t in (-1, 1)]
    + [(t * _GOLDEN, 0, s) for s in (-1, 1) for t in (-1, 1)]
) / np.hypot(1, _GOLDEN)
_ICOSAHEDRON_FACES = np.array(
    [(i, j, k) for i in range(12) for j in range(i) for k in range(j)
     if max(np.linalg.norm(_ICOSAHEDRON[a] - _ICOSAHEDRON[b]) for a, b in ((i, j), (j, k), (k, i))) < 1.1]
)  # fmt: skip

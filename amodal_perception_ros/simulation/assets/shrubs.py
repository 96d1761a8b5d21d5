"""Bushes, hedges and loose leaves."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.foliage import around, foliage, leaf_cards
from amodal_perception_ros.simulation.assets.materials import VEGETATION, Site
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, box, ellipsoid


def add_leaves(
    site: Site, rng: np.random.Generator, low: np.ndarray, high: np.ndarray, count: int, size: float,
    flowers: Material | None = None, season: str = "summer",
) -> None:  # fmt: skip
    """Add leaves (and flowers, one in five) that fill a box of a site."""
    center, radii = 0.5 * (low + high), 0.5 * (high - low)
    points = center + rng.uniform(-1, 1, (count, 3)) * np.maximum(radii - 1.4 * size, 0.02)
    blooms = 0 if flowers is None else count // 5
    green = foliage(rng, season)
    site.add(leaf_cards(rng, points[blooms:], size, center, radii), green, VEGETATION, flat=True)
    if flowers is not None:
        petals = Material(flowers.color, 1.0, Kind.LEAF)
        site.add(leaf_cards(rng, points[:blooms], size * 0.7, center, radii), petals, VEGETATION, flat=True)


def add_hedge(
    mesh: MeshBuilder, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, z: float, season: str = "summer"
) -> float:
    """Add a hedge between two ground points; returns its thickness [m]."""
    length, height = float(np.linalg.norm(end - start)), float(rng.uniform(0.7, 2.0))
    middle = 0.5 * (np.asarray(start) + end)
    site = Site(mesh, float(middle[0]), float(middle[1]), z, float(np.arctan2(*(end - start)[::-1])))
    evergreen = season == "winter" or rng.random() < 0.4
    green = foliage(rng, season, evergreen)
    core, faces, _ = box((0, 0, height * 0.45), (length, 0.48, height * 0.9))
    shade = np.stack([np.full(len(core), 0.15), 0.4 * core[:, 2] / height], -1)
    site.add((core, faces, shade), green, VEGETATION, flat=True)
    points = rng.uniform((-length / 2, -0.26, 0.08), (length / 2, 0.26, height), (int(min(length, 25) * 65), 3))
    face = rng.integers(0, 3, len(points))
    points[face == 0, 1] = -0.26
    points[face == 1, 1] = 0.26
    points[face == 2, 2] = height * 0.92
    cards = leaf_cards(rng, points, 0.15, np.array((0, 0, height / 2)), np.array((length, 0.3, height / 2)))
    site.add(cards, green, VEGETATION, flat=True)
    return 0.6


def add_bush(
    mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, season: str = "summer"
) -> float:
    """Add a round bush; returns its radius [m]."""
    site, r = Site(mesh, x, y, z, 0.0), float(rng.uniform(0.4, 0.95))
    green = foliage(rng, season, season == "winter" or rng.random() < 0.3)
    core, faces, _ = ellipsoid((0, 0, 0.5 * r), (r * 0.7, r * 0.7, r * 0.5), 8, 6)
    shade = np.stack([np.full(len(core), 0.1), core[:, 2] / (1.2 * r)], -1)
    site.add((core, faces, shade), green, VEGETATION)
    points = np.array([0, 0, 0.6 * r]) + around(rng, 130) * rng.uniform(0.6, 0.9, (130, 1)) * [r, r, 0.75 * r]
    site.add(leaf_cards(rng, points, 0.16, np.array([0, 0, 0.6 * r]), np.full(3, r)), green, VEGETATION, flat=True)
    return r

"""Walls and fences between two ground points; hedges are in `trees`."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.materials import CONCRETE, FENCE, WALL, Site, metal, tinted, wood
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder

_STONES = np.array([(0.33, 0.13, 0.09), (0.38, 0.3, 0.2), (0.3, 0.29, 0.27), (0.5, 0.48, 0.42), (0.22, 0.1, 0.07)])
_PLASTERS = np.array([(0.6, 0.58, 0.52), (0.45, 0.36, 0.27), (0.38, 0.37, 0.35), (0.55, 0.5, 0.35), (0.3, 0.33, 0.3)])


def _between(mesh: MeshBuilder, start: np.ndarray, end: np.ndarray, z: float) -> tuple[Site, float]:
    """The site in the middle of two ground points with x along them, and their distance [m]."""
    middle, step = 0.5 * (np.asarray(start) + end), np.asarray(end) - start
    yaw = float(np.arctan2(step[1], step[0]))
    return Site(mesh, float(middle[0]), float(middle[1]), z, yaw), float(np.hypot(*step))


def add_wall(mesh: MeshBuilder, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, z: float) -> float:
    """Add a brick, stone, plastered or concrete wall, with coping and perhaps pillars; returns its thickness [m]."""
    site, length = _between(mesh, start, end, z)
    height, laid = float(rng.uniform(0.6, 2.4)), rng.random() < 0.55
    colors = _STONES if laid else _PLASTERS
    face = tinted(colors[rng.integers(len(colors))] * rng.uniform(0.75, 1.3), 0.9, Kind.BRICK if laid else Kind.PLAIN)
    coping = CONCRETE if rng.random() < 0.6 else tinted(np.array(face.color) * 0.8)
    site.boxes(face, WALL, ((0, 0, height / 2), (length, 0.22, height)))
    site.boxes(coping, WALL, ((0, 0, height + 0.04), (length, 0.3, 0.08)))
    if rng.random() < 0.5 and length > 3:
        places = np.linspace(-length / 2 + 0.18, length / 2 - 0.18, max(2, round(length / 3.0)))[:14]
        site.boxes(face, WALL, *(((x, 0, height / 2 + 0.08), (0.34, 0.3, height + 0.16)) for x in places))
    return 0.3


def add_fence(mesh: MeshBuilder, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, z: float) -> float:
    """Add a fence of pickets, planks, rails, iron bars or wire mesh; returns its thickness [m]."""
    site, length = _between(mesh, start, end, z)
    kind = str(rng.choice(["pickets", "planks", "rails", "bars", "mesh"]))
    height = float(rng.uniform(0.9, 1.3) if kind in ("pickets", "rails") else rng.uniform(1.1, 2.0))
    material = wood(rng) if kind in ("pickets", "planks", "rails") else metal(rng)
    posts = np.linspace(-length / 2 + 0.05, length / 2 - 0.05, max(2, round(length / 2.4) + 1))
    post = material if rng.random() < 0.6 else CONCRETE
    site.boxes(post, FENCE, *(((x, 0.03, (height + 0.1) / 2), (0.09, 0.09, height + 0.1)) for x in posts))
    _FILLINGS[kind](site, length, height, material)
    return 0.16


def _upright(site: Site, length: float, height: float, material: Material, step: float, width: float) -> None:
    """Upright slats and two rails behind them; slats of long fences are wider apart."""
    count = int(np.clip(length / step, 1, 130))
    middles = ((np.arange(count) + 0.5) / count - 0.5) * length
    slats = [((x, -0.03, height / 2 + 0.04), (width, 0.02, height - 0.08)) for x in middles]
    rails = [((0, 0, share * height), (length, 0.035, 0.06)) for share in (0.2, 0.85)]
    site.boxes(material, FENCE, *slats, *rails)


def _rails(site: Site, length: float, height: float, material: Material) -> None:
    site.boxes(material, FENCE, *(((0, -0.03, share * height), (length, 0.03, 0.12)) for share in (0.3, 0.6, 0.92)))


def _planks(site: Site, length: float, height: float, material: Material) -> None:
    """Boards along the fence with narrow gaps: nearly opaque."""
    count = max(3, round(height / 0.19))
    pitch = (height - 0.06) / count
    site.boxes(
        material, FENCE, *(((0, -0.03, 0.06 + (k + 0.5) * pitch), (length, 0.02, pitch * 0.9)) for k in range(count))
    )


def _mesh(site: Site, length: float, height: float, material: Material) -> None:
    """Thin wires; their spacing grows with the fence's length."""
    step = max(0.12, length / 90)
    wires = [((x, 0, height / 2), (0.012, 0.012, height)) for x in np.arange(-length / 2 + step, length / 2, step)]
    wires += [((0, 0, v), (length, 0.012, 0.012)) for v in np.linspace(0.08, height - 0.02, 7)]
    site.boxes(material, FENCE, *wires, ((0, 0, height), (length, 0.04, 0.04)))


_FILLINGS = {
    "pickets": lambda site, length, height, material: _upright(site, length, height, material, 0.16, 0.1),
    "bars": lambda site, length, height, material: _upright(site, length, height, material, 0.15, 0.025),
    "planks": _planks,
    "rails": _rails,
    "mesh": _mesh,
}

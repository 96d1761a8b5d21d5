"""Trees of seven families. Seasons are those of `foliage`.

A tree is a skeleton of tapered tubes (trunk, boughs, twigs); clumps of leaf cards around dark lumps sit at the ends of
its boughs. In winter broad-leaved trees are bare; conifers and palms keep their green.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets.foliage import SEASONS, around, foliage, leaf_cards, lumps
from amodal_perception_ros.simulation.assets.materials import VEGETATION, Site, tinted
from amodal_perception_ros.simulation.assets.meshes import Material, MeshBuilder, tubes


@dataclass(frozen=True)
class Species:
    """Shape of a tree family; lengths in metres at size 1.

    Attributes:
        trunk: lowest and highest clear height of the trunk.
        radii: half axes of the crown.
        thickness: radius of the trunk.
        clumps: number of leaf clumps.
        spread: radius of a clump relative to the crown.
        card: size of a leaf card.
        bark: albedo of the trunk.
    """

    trunk: tuple[float, float]
    radii: tuple[float, float, float]
    thickness: float
    clumps: int
    spread: float
    card: float
    bark: tuple[float, float, float]


SPECIES: dict[str, Species] = {
    "broad": Species((2.2, 3.2), (2.7, 2.7, 2.1), 0.16, 16, 0.4, 0.23, (0.11, 0.08, 0.055)),
    "oval": Species((2.2, 3.0), (1.8, 1.8, 2.7), 0.13, 15, 0.38, 0.21, (0.13, 0.1, 0.075)),
    "column": Species((0.9, 1.5), (0.95, 0.95, 4.4), 0.14, 18, 0.3, 0.18, (0.14, 0.12, 0.09)),
    "birch": Species((2.2, 3.0), (1.7, 1.7, 2.9), 0.08, 15, 0.33, 0.14, (0.5, 0.49, 0.45)),
    "young": Species((1.9, 2.3), (0.8, 0.8, 1.1), 0.04, 8, 0.42, 0.13, (0.16, 0.13, 0.1)),
    "conifer": Species((0.9, 1.6), (1.8, 1.8, 3.6), 0.15, 0, 0.0, 0.24, (0.12, 0.07, 0.045)),
    "palm": Species((4.5, 7.0), (2.0, 2.0, 1.0), 0.15, 0, 0.0, 0.2, (0.2, 0.16, 0.11)),
}
"""The families; the last two are evergreen."""


def add_tree(
    mesh: MeshBuilder,
    rng: np.random.Generator,
    x: float,
    y: float,
    z: float,
    leaves: int = 900,
    family: str = "broad",
    season: str = "summer",
) -> float:
    """Add a tree of a family of `SPECIES` with about `leaves` leaf cards and return its trunk radius [m].

    Raises:
        ValueError: the family or the season is unknown.
    """
    if family not in SPECIES or season not in SEASONS:
        raise ValueError(f"no tree '{family}' in '{season}'; there are {tuple(SPECIES)} and {SEASONS}")
    species, site = SPECIES[family], Site(mesh, x, y, z, float(rng.uniform(0, 2 * np.pi)))
    size = float(rng.uniform(0.7, 1.45))
    bark = tinted(np.array(species.bark) * rng.uniform(0.7, 1.4), 1.0)
    if family == "conifer":
        _conifer(site, rng, species, size, bark, leaves)
    elif family == "palm":
        _palm(site, rng, species, size, bark)
    else:
        _leafy(site, rng, species, size, bark, leaves, season)
    return species.thickness * size


def _leafy(
    site: Site, rng: np.random.Generator, species: Species, size: float, bark: Material, leaves: int, season: str
) -> None:
    """A broad-leaved tree: boughs lead to clumps of leaves on a lumpy ellipsoid."""
    clumps, thick = species.clumps, species.thickness * size
    trunk = float(rng.uniform(*species.trunk)) * (0.6 + 0.4 * size)
    radii = np.array(species.radii) * size * rng.uniform(0.88, 1.12, 3)
    center = np.array([0, 0, trunk + radii[2] * 0.85])
    ends = center + around(rng, clumps) * radii * (1 - species.spread) * rng.uniform(0.45, 1.0, (clumps, 1))
    fork, top = np.array([0, 0, trunk]), np.array([*rng.uniform(-0.2, 0.2, 2) * size, center[2] + 0.5 * radii[2]])
    wanted = ends[:, 2] - 1.1 * np.hypot(ends[:, 0], ends[:, 1])
    along = np.clip((wanted - trunk) / (top[2] - trunk), 0, 0.9)[:, None]
    roots = fork + (top - fork) * along
    stem = np.array([(0, 0, 0), fork, top])
    site.add(
        tubes(stem[:2], stem[1:], thick * np.array([1.2, 0.8]), thick * np.array([0.8, 0.25]), 8), bark, VEGETATION
    )
    wide, thin = np.full(clumps, thick * 0.38), np.full(clumps, thick * 0.12)
    site.add(tubes(roots, ends, wide, thin, 5), bark, VEGETATION)
    if season == "winter":
        _twigs(site, rng, roots, ends, thick, bark)
        return
    green, shares = foliage(rng, season), rng.uniform(0.75, 1.25, (clumps, 1)) * radii * species.spread
    site.add(lumps(rng, ends, 0.62 * shares), green, VEGETATION)
    which = rng.integers(0, clumps, leaves)
    points = ends[which] + around(rng, leaves) * rng.uniform(0.55, 1.0, (leaves, 1)) * shares[which]
    site.add(leaf_cards(rng, points, species.card * size, center, radii), green, VEGETATION, flat=True)


def _twigs(
    site: Site, rng: np.random.Generator, roots: np.ndarray, ends: np.ndarray, thick: float, bark: Material
) -> None:
    """Two generations of ever thinner twigs along the boughs; the last are flat blades."""
    starts, tips, radius = roots, ends, max(0.16 * thick, 0.008)
    for children, share in ((5, 0.62), (7, 0.55)):
        parent = np.repeat(np.arange(len(starts)), children)
        step = tips[parent] - starts[parent]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        first = starts[parent] + step * rng.uniform(0.3, 1.0, (len(parent), 1))
        aim = step / length + 0.75 * rng.normal(size=step.shape) * (1, 1, 0.6) + (0, 0, 0.25)
        aim /= np.linalg.norm(aim, axis=1, keepdims=True)
        starts, tips = first, first + aim * length * share * rng.uniform(0.6, 1.1, (len(parent), 1))
        if children == 5:
            count = np.full(len(starts), radius)
            site.add(tubes(starts, tips, count, 0.4 * count, 3), bark, VEGETATION)
    across = np.cross(tips - starts, around(rng, len(starts)))
    across *= 0.5 * radius / np.linalg.norm(across, axis=1, keepdims=True)
    vertices = np.stack([starts - across, starts + across, tips], 1).reshape(-1, 3)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    site.add((vertices, faces, vertices[:, [0, 2]].copy()), bark, VEGETATION, flat=True)


def _conifer(site: Site, rng: np.random.Generator, species: Species, size: float, bark: Material, leaves: int) -> None:
    """Tiers of drooping boughs that narrow towards the tip."""
    low = float(rng.uniform(*species.trunk)) * size
    height = low + 2 * species.radii[2] * size * float(rng.uniform(0.9, 1.2))
    thick, width = species.thickness * size, species.radii[0] * size * float(rng.uniform(0.8, 1.1))
    site.add(tubes(np.zeros((1, 3)), np.array([[0, 0, height * 0.96]]), np.array([thick]), np.array([0.02]), 7), bark,
             VEGETATION)  # fmt: skip
    share = 1 - np.sqrt(rng.random(leaves))
    tiers = int(rng.integers(8, 12))
    tier = np.ceil(share * tiers) / tiers
    out = rng.random(leaves) ** 0.5
    reach = width * (1.04 - share) * out * (1 + 0.15 * np.sin(rng.uniform(0, 6, tiers + 1)[(tier * tiers).astype(int)]))
    angle = rng.uniform(0, 2 * np.pi, leaves)
    drop = low + (height - low) * (0.45 * share + 0.55 * tier) - 0.25 * reach
    points = np.stack([reach * np.cos(angle), reach * np.sin(angle), np.maximum(drop, 0.95)], -1)
    center, radii = np.array([0, 0, 0.4 * height]), np.array([width, width, 0.6 * height])
    site.add(
        leaf_cards(rng, points, species.card * size, center, radii), foliage(rng, "summer", True), VEGETATION, flat=True
    )


def _palm(site: Site, rng: np.random.Generator, species: Species, size: float, bark: Material) -> None:
    """A bent trunk with a crown of arched fronds."""
    height, thick = float(rng.uniform(*species.trunk)) * size, species.thickness * size
    lean = rng.uniform(-0.06, 0.06, 2) * height
    knots = np.array([(*(lean * s**2), height * s) for s in np.linspace(0, 1, 5)])
    thickness = np.linspace(thick, thick * 0.75, 5)
    site.add(tubes(knots[:-1], knots[1:], thickness[:-1], thickness[1:], 8), bark, VEGETATION)
    green, fronds, pieces = foliage(rng, "summer"), int(rng.integers(16, 26)), 6
    angle, rise = rng.uniform(0, 2 * np.pi, (fronds, 1)), rng.uniform(-0.1, 1.0, (fronds, 1))
    t = np.linspace(0, 1, pieces + 1)
    length = species.radii[0] * size * rng.uniform(0.85, 1.15, (fronds, 1))
    out, up = length * t, length * (rise * t - (0.5 + 0.6 * rise) * t**2)
    spine = np.stack([out * np.cos(angle), out * np.sin(angle), up], -1) + knots[-1]
    across = (
        np.stack([-np.sin(angle), np.cos(angle), np.zeros_like(angle)], -1)
        * (0.05 + 0.28 * np.sin(np.pi * (0.1 + 0.9 * t)))[:, None]
    )
    droop = np.array([0, 0, 0.12])
    rims = np.stack([spine + across - droop, spine, spine - across - droop], 2)
    index = np.arange(fronds * (pieces + 1) * 3).reshape(fronds, pieces + 1, 3)
    a, b, c, d = index[:, :-1, :-1], index[:, 1:, :-1], index[:, 1:, 1:], index[:, :-1, 1:]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], -2).reshape(-1, 3)
    shade = np.repeat(rng.random(fronds), (pieces + 1) * 3)
    uv = np.stack([shade, np.tile(np.repeat(0.3 + 0.7 * t, 3), fronds)], -1)
    site.add((rims.reshape(-1, 3), faces, uv), green, VEGETATION)

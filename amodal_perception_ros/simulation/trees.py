"""Trees of six families, bushes, hedges and loose leaves, coloured by season.

A tree is a skeleton of tapered tubes (trunk, boughs, twigs) and leaf cards in clumps at the ends of its boughs. In
winter broad-leaved trees are bare; conifers and palms keep their green.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.materials import VEGETATION, Site, tinted
from amodal_perception_ros.simulation.meshes import Kind, Material, MeshBuilder, Part, ellipsoid, tubes

SEASONS = ("spring", "summer", "autumn", "winter")


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
        evergreen: keeps its leaves in winter.
    """

    trunk: tuple[float, float]
    radii: tuple[float, float, float]
    thickness: float
    clumps: int
    spread: float
    card: float
    bark: tuple[float, float, float]
    evergreen: bool = False


SPECIES: dict[str, Species] = {
    "broad": Species((2.1, 3.2), (2.3, 2.3, 1.9), 0.15, 16, 0.38, 0.2, (0.11, 0.08, 0.055)),
    "oval": Species((2.1, 2.8), (1.5, 1.5, 2.3), 0.12, 15, 0.36, 0.19, (0.13, 0.1, 0.075)),
    "column": Species((0.9, 1.5), (0.85, 0.85, 4.0), 0.13, 18, 0.3, 0.18, (0.14, 0.12, 0.09)),
    "birch": Species((2.2, 3.0), (1.5, 1.5, 2.4), 0.075, 13, 0.3, 0.13, (0.5, 0.49, 0.45)),
    "conifer": Species((0.5, 1.2), (1.7, 1.7, 3.4), 0.14, 0, 0.0, 0.24, (0.12, 0.07, 0.045), evergreen=True),
    "palm": Species((4.5, 7.0), (2.0, 2.0, 1.0), 0.15, 0, 0.0, 0.2, (0.2, 0.16, 0.11), evergreen=True),
}

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
_EVERGREENS = np.array([(0.02, 0.07, 0.03), (0.03, 0.09, 0.025), (0.03, 0.08, 0.06)])


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
    size = float(rng.uniform(0.75, 1.3))
    bark = tinted(np.array(species.bark) * rng.uniform(0.7, 1.4), 1.0)
    if family == "conifer":
        _conifer(site, rng, species, size, bark, leaves)
    elif family == "palm":
        _palm(site, rng, species, size, bark)
    else:
        _leafy(site, rng, species, size, bark, leaves, season)
    return species.thickness * size


def foliage(rng: np.random.Generator, season: str, evergreen: bool = False) -> Material:
    """Return the leaves of one plant in a season."""
    colors = _EVERGREENS if evergreen else _FOLIAGE[season]
    color = colors[rng.integers(len(colors))] * rng.uniform(0.75, 1.35) * rng.uniform(0.88, 1.14, 3)
    return tinted(color, 0.9, Kind.LEAF)


def _leafy(
    site: Site, rng: np.random.Generator, species: Species, size: float, bark: Material, leaves: int, season: str
) -> None:
    """A broad-leaved tree: boughs lead to clumps of leaves on a lumpy ellipsoid."""
    trunk = float(rng.uniform(*species.trunk)) * (0.6 + 0.4 * size)
    radii = np.array(species.radii) * size * rng.uniform(0.88, 1.12, 3)
    center = np.array([0, 0, trunk + radii[2] * 0.8])
    ends = center + _around(rng, species.clumps) * radii * (1 - species.spread) * rng.uniform(
        0.5, 1.0, (species.clumps, 1)
    )
    thick = species.thickness * size
    foot, fork = np.zeros(3), np.array([*rng.uniform(-0.1, 0.1, 2), trunk])
    top = np.array([*rng.uniform(-0.2, 0.2, 2), center[2] + 0.35 * radii[2]])
    along = rng.uniform(0.0, 0.75, (species.clumps, 1))
    roots = fork + (top - fork) * along
    starts = np.concatenate([[foot, fork], roots])
    tips = np.concatenate([[fork, top], ends])
    wide = np.array([thick * 1.2, thick * 0.8, *np.full(species.clumps, thick * 0.4)])
    thin = np.array([thick * 0.8, thick * 0.3, *np.full(species.clumps, thick * 0.12)])
    site.add(tubes(starts[:2], tips[:2], wide[:2], thin[:2], 8), bark, VEGETATION)
    site.add(tubes(starts[2:], tips[2:], wide[2:], thin[2:], 5), bark, VEGETATION)
    if season == "winter":
        _twigs(site, rng, roots, ends, thick, bark)
        return
    which = rng.integers(0, species.clumps, leaves)
    points = ends[which] + _around(rng, leaves) * rng.uniform(0.3, 1.0, (leaves, 1)) ** 0.5 * radii * species.spread
    site.add(leaf_cards(rng, points, species.card * size, center, radii), foliage(rng, season), VEGETATION, flat=True)


def _twigs(
    site: Site, rng: np.random.Generator, roots: np.ndarray, ends: np.ndarray, thick: float, bark: Material
) -> None:
    """Two generations of ever thinner twigs along the boughs."""
    starts, tips, radius = roots, ends, thick * 0.16
    for children, share in ((5, 0.5), (4, 0.5)):
        parent = np.repeat(np.arange(len(starts)), children)
        step = tips[parent] - starts[parent]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        first = starts[parent] + step * rng.uniform(0.35, 1.0, (len(parent), 1))
        aim = step / length + 0.75 * rng.normal(size=step.shape) * (1, 1, 0.6) + (0, 0, 0.25)
        aim /= np.linalg.norm(aim, axis=1, keepdims=True)
        starts, tips = first, first + aim * length * share * rng.uniform(0.6, 1.1, (len(parent), 1))
        count = len(starts)
        site.add(tubes(starts, tips, np.full(count, radius), np.full(count, radius * 0.4), 3), bark, VEGETATION)
        radius *= 0.6


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
    points = np.stack([reach * np.cos(angle), reach * np.sin(angle), np.maximum(drop, 0.3)], -1)
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


def _around(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) random unit vectors."""
    points = rng.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def leaf_cards(
    rng: np.random.Generator, points: np.ndarray, size: float, center: np.ndarray, radii: np.ndarray
) -> Part:
    """Return small randomly turned quads at (n, 3) points of a crown.

    Texture u carries a random shade per card, v how open to the light it lies in the crown (center, half axes).
    """
    n = len(points)
    a = _around(rng, n)
    b = np.cross(a, _around(rng, n))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    s = rng.uniform(0.6, 1.4, (n, 1)) * size
    corners = np.stack([points - a * s, points - b * s * 0.65, points + a * s, points + b * s * 0.65], 1)
    corners[..., 2] = np.maximum(corners[..., 2], 0.01)
    base = 4 * np.arange(n)[:, None]
    faces = np.stack([base + np.array([0, 1, 2]), base + np.array([0, 2, 3])], 1).reshape(-1, 3)
    inside = (points - center) / radii
    light = np.clip(0.45 * np.linalg.norm(inside, axis=1) + 0.35 * inside[:, 2] + 0.2, 0, 1)
    return corners.reshape(-1, 3), faces, np.stack([np.repeat(rng.random(n), 4), np.repeat(light, 4)], -1)


def add_leaves(
    site: Site, rng: np.random.Generator, low: np.ndarray, high: np.ndarray, count: int, size: float,
    flowers: Material | None = None, season: str = "summer",
) -> None:  # fmt: skip
    """Add leaves (and flowers, one in five) that fill a box of a site."""
    points = rng.uniform(low, high, (count, 3))
    center, radii = 0.5 * (low + high), 0.5 * (high - low)
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
    site.boxes(Material(tuple(0.45 * np.array(green.color)), 1.0, Kind.LEAF), VEGETATION,
               ((0, 0, height * 0.46), (length, 0.5, height * 0.9)))  # fmt: skip
    count = int(min(length, 25.0) * 45 * (0.5 + height))
    low, high = np.array((-length / 2, -0.26, 0.08)), np.array((length / 2, 0.26, height))
    points = rng.uniform(low, high, (count, 3))
    face = rng.integers(0, 3, count)
    points[face == 0, 1] = -0.26
    points[face == 1, 1] = 0.26
    points[face == 2, 2] = height * 0.94
    site.add(leaf_cards(rng, points, 0.14, np.array((0, 0, height / 2)), np.array((length, 0.3, height / 2))), green,
             VEGETATION)  # fmt: skip
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
    points = np.array([0, 0, 0.6 * r]) + _around(rng, 130) * rng.uniform(0.6, 0.9, (130, 1)) * [r, r, 0.75 * r]
    site.add(leaf_cards(rng, points, 0.16, np.array([0, 0, 0.6 * r]), np.full(3, r)), green, VEGETATION, flat=True)
    return r

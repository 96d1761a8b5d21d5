"""Small street furniture and barriers; all of the form `add_x(mesh, rng, x, y, z, yaw)`, see `props`."""

from __future__ import annotations

import itertools

import numpy as np

from amodal_perception_ros.simulation.assets.materials import (
    BLACK,
    CONCRETE,
    FENCE,
    POLE,
    WALL,
    WHITE,
    Site,
    metal,
    paint,
    tinted,
    wood,
)
from amodal_perception_ros.simulation.assets.meshes import MeshBuilder, cylinder, moved, quad, revolve
from amodal_perception_ros.simulation.assets.shrubs import add_leaves

Footprint = tuple[float, float]


def add_bench(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a slatted bench, with a back in two of three."""
    site, slat, legs = Site(mesh, x, y, z, yaw), wood(rng), metal(rng)
    length = float(rng.uniform(1.4, 2.2))
    site.boxes(slat, FENCE, *(((0, v, 0.45), (length, 0.09, 0.04)) for v in (-0.22, -0.1, 0.02, 0.14)))
    if rng.random() < 0.67:
        site.boxes(slat, FENCE, *(((0, 0.24, v), (length, 0.03, 0.09)) for v in (0.6, 0.72, 0.84)))
    for s in (-0.38, 0.38):
        site.boxes(legs, FENCE, *(((s * length, v, 0.215), (0.06, 0.05, 0.43)) for v in (-0.2, 0.2)),
                   ((s * length, 0.255, 0.62), (0.06, 0.03, 0.5)))  # fmt: skip
    return length, 0.56


def add_litter_bin(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a litter bin, round or square, on the ground or on a post."""
    site, skin = Site(mesh, x, y, z, yaw), paint(rng)
    low = float(rng.choice([0.0, 0.35]))
    if low:
        site.add(moved(cylinder(0.04, 1.1, 8), (0, 0.2, 0.55)), metal(rng), POLE)
    if rng.random() < 0.5:
        site.add(moved(revolve([(0.15, 0), (0.21, 0.62), (0.21, 0.68), (0.13, 0.7)], 12), (0, 0, low)), skin, POLE)
        site.add(moved(cylinder(0.13, 0.02, 12), (0, 0, low + 0.68)), BLACK, POLE)
    else:
        site.boxes(skin, POLE, ((0, 0, low + 0.4), (0.4, 0.36, 0.8)))
        site.boxes(BLACK, POLE, ((0, -0.185, low + 0.66), (0.26, 0.02, 0.12)))
    return 0.5, 0.5


def add_bollard(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a low bollard of metal, stone or wood, most with a reflecting band."""
    site, radius, height = Site(mesh, x, y, z, yaw), float(rng.uniform(0.05, 0.1)), float(rng.uniform(0.75, 1.1))
    skin = (metal, paint, wood, lambda _: CONCRETE)[int(rng.integers(4))](rng)
    shape = [(radius, 0), (radius, height - radius), (radius * 0.7, height - 0.3 * radius), (0, height)]
    site.add(revolve(shape, 10), skin, POLE)
    if rng.random() < 0.7:
        site.add(moved(cylinder(radius + 0.003, 0.1, 10), (0, 0, height * 0.82)), WHITE, POLE)
    return 2 * radius + 0.01, 2 * radius + 0.01


def add_planter(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a trough or a round pot of concrete, wood or painted metal with a low plant."""
    site = Site(mesh, x, y, z, yaw)
    skin = (CONCRETE, wood(rng), paint(rng, 0.7))[int(rng.integers(3))]
    length = float(rng.choice([0.8, rng.uniform(1.1, 2.2)]))
    width, height = 0.7, float(rng.uniform(0.4, 0.75))
    if length == 0.8:
        site.add(revolve([(0.28, 0), (0.4, height), (0.34, height), (0, height - 0.06)], 14), skin, WALL)
    else:
        site.boxes(skin, WALL, ((0, 0, height / 2), (length, width, height)))
    tall = float(rng.uniform(0.45, 1.1))
    low, high = (-length * 0.4, -0.26, height - 0.05), (length * 0.4, 0.26, height + tall)
    flowers = paint(rng, 1.0) if rng.random() < 0.5 else None
    add_leaves(site, rng, np.array(low), np.array(high), 120, 0.1, flowers)
    return length, max(width, 0.8)


def add_cabinet(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add an electricity or telephone cabinet."""
    site, skin = Site(mesh, x, y, z, yaw), paint(rng, 0.6)
    length, height = float(rng.uniform(0.6, 1.8)), float(rng.uniform(0.9, 1.6))
    site.boxes(CONCRETE, WALL, ((0, 0, 0.06), (length, 0.4, 0.12)))
    site.boxes(skin, WALL, ((0, 0, 0.09 + height / 2), (length - 0.04, 0.36, height - 0.06)),
               ((0, 0, 0.1 + height), (length, 0.42, 0.05)))  # fmt: skip
    seams = np.linspace(-length / 2, length / 2, max(2, round(length / 0.5)) + 1)[1:-1]
    site.boxes(BLACK, WALL, *(((s, -0.182, 0.1 + height / 2), (0.012, 0.006, height - 0.15)) for s in seams),
               ((length * 0.2, -0.183, height * 0.6), (0.03, 0.01, 0.12)))  # fmt: skip
    return length, 0.42


def add_wheelie_bins(
    mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float
) -> Footprint:
    """Add a row of one to four wheeled bins."""
    site, count = Site(mesh, x, y, z, yaw), int(rng.integers(1, 5))
    pitch = 0.66
    for k in range(count):
        px, turn = (k - (count - 1) / 2) * pitch, float(rng.uniform(-0.06, 0.06))
        body, lid = paint(rng, 0.6), paint(rng, 0.6)
        low, high = 0.22, 0.28
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        rim = [np.column_stack([corners * s, np.full(4, h)]) for s, h in ((low, 0.06), (high, 0.98))]
        for i in range(4):
            j = (i + 1) % 4
            side = quad([rim[0][i], rim[0][j], rim[1][j], rim[1][i]])
            site.add(moved(side, (px, 0, 0), turn), body, WALL)
        lid_box = moved(
            quad([(-0.29, -0.3, 0.99), (0.29, -0.3, 0.99), (0.29, 0.3, 1.08), (-0.29, 0.3, 1.08)]), (px, 0, 0), turn
        )
        site.add(lid_box, lid, WALL)
        site.boxes(lid, WALL, ((px, -0.29, 0.985), (0.56, 0.03, 0.05)), ((px, 0.29, 1.03), (0.56, 0.04, 0.08)))
        site.boxes(BLACK, WALL, *(((px + s * 0.24, 0.2, 0.1), (0.06, 0.2, 0.2)) for s in (-1, 1)))
    return count * pitch, 0.68


def add_bicycle_rack(
    mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float
) -> Footprint:
    """Add a row of hoops to lean bicycles on."""
    site, steel, count = Site(mesh, x, y, z, yaw), metal(rng), int(rng.integers(2, 7))
    pitch = 0.9
    for k in range(count):
        px = (k - (count - 1) / 2) * pitch
        site.boxes(
            steel,
            POLE,
            *(((px, s * 0.35, 0.4), (0.05, 0.05, 0.8)) for s in (-1, 1)),
            ((px, 0, 0.8), (0.05, 0.75, 0.05)),
        )
    return count * pitch, 0.78


def add_trellis(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a lattice screen partly grown over by climbing plants."""
    site, slat = Site(mesh, x, y, z, yaw), wood(rng)
    length, height = float(rng.uniform(1.8, 3.0)), float(rng.uniform(1.6, 2.0))
    uprights = np.linspace(-length / 2 + 0.04, length / 2 - 0.04, int(length / 0.3) + 1)
    site.boxes(slat, FENCE, *(((u, 0, height / 2), (0.05, 0.03, height)) for u in uprights),
               *(((0, 0.02, v), (length, 0.02, 0.04)) for v in np.arange(0.2, height, 0.35)))  # fmt: skip
    share = float(rng.uniform(0.3, 1.0))
    a = -length / 2 if rng.random() < 0.5 else length / 2 - length * share
    add_leaves(site, rng, np.array((a, -0.12, 0.05)), np.array((a + length * share, 0.12, height)), 110, 0.11)
    return length, 0.5


def add_construction_fence(
    mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float
) -> Footprint:
    """Add a site fence: mesh panels on feet, or a red and white (or other) plank barrier."""
    site, steel = Site(mesh, x, y, z, yaw), metal(rng)
    if rng.random() < 0.5:
        length, height = 3.4, 2.0
        bars = [((s, 0, height / 2 + 0.05), (0.045, 0.045, height)) for s in (-1.66, 1.66)]
        bars += [((0, 0, v), (3.3, 0.04, 0.045)) for v in (0.15, height)]
        bars += [((s, 0, height / 2 + 0.05), (0.012, 0.012, height - 0.1)) for s in np.linspace(-1.5, 1.5, 13)]
        bars += [((0, 0, v), (3.3, 0.012, 0.012)) for v in (0.5, 0.9, 1.3, 1.7)]
        site.boxes(steel, FENCE, *bars)
        site.boxes(CONCRETE, FENCE, *(((s, 0, 0.07), (0.22, 0.65, 0.14)) for s in (-1.58, 1.58)))
        return length, 0.66
    length = float(rng.uniform(1.8, 2.8))
    first, second = (paint(rng), WHITE) if rng.random() < 0.6 else (paint(rng), paint(rng))
    fields = np.linspace(-length / 2, length / 2, 9)
    for k, (u, v) in enumerate(itertools.pairwise(fields)):
        site.boxes(
            first if k % 2 else second, FENCE, *(((0.5 * (u + v), 0, h), (v - u, 0.03, 0.22)) for h in (0.4, 0.9))
        )
    site.boxes(steel, FENCE, *(((s * length * 0.42, 0.03, 0.5), (0.05, 0.04, 1.0)) for s in (-1, 1)),
               *(((s * length * 0.42, 0, 0.05), (0.1, 0.7, 0.1)) for s in (-1, 1)))  # fmt: skip
    return length, 0.7


def add_barrier(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a line of plastic or concrete jersey barriers in alternating colours."""
    site, count = Site(mesh, x, y, z, yaw), int(rng.integers(1, 4))
    unit, height = float(rng.uniform(1.2, 1.8)), float(rng.uniform(0.8, 1.0))
    skins = (
        [CONCRETE, CONCRETE] if rng.random() < 0.35 else [paint(rng, 0.5), WHITE if rng.random() < 0.6 else paint(rng)]
    )
    profile = np.array([(-0.25, 0), (-0.25, 0.2 * height), (-0.1, 0.45 * height), (-0.08, height)])
    profile = np.concatenate([profile, profile[::-1] * (-1, 1)])
    for k in range(count):
        x0 = (k - count / 2) * unit
        ends = [np.column_stack([np.full(8, v), profile]) for v in (x0 + 0.02, x0 + unit - 0.02)]
        for i in range(7):
            site.add(quad([ends[0][i], ends[1][i], ends[1][i + 1], ends[0][i + 1]]), skins[k % 2], FENCE)
        for end in ends:
            site.add((end, np.array([(0, 1, 6), (0, 6, 7), (1, 2, 5), (1, 5, 6), (2, 3, 4), (2, 4, 5)]), end[:, 1:]),
                     skins[k % 2], FENCE)  # fmt: skip
    return count * unit, 0.5


def add_guard_rail(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a crash barrier: a W-shaped steel band on short posts."""
    site, steel, length = Site(mesh, x, y, z, yaw), metal(rng), float(rng.uniform(4.0, 8.0))
    profile = [(0.0, 0.44), (-0.08, 0.5), (-0.08, 0.55), (0.0, 0.6), (-0.08, 0.65), (-0.08, 0.7), (0.0, 0.76)]
    for (y0, z0), (y1, z1) in itertools.pairwise(profile):
        site.add(
            quad([(-length / 2, y0, z0), (length / 2, y0, z0), (length / 2, y1, z1), (-length / 2, y1, z1)]),
            steel,
            FENCE,
        )
    posts = np.linspace(-length / 2 + 0.1, length / 2 - 0.1, int(length / 2) + 1)
    site.boxes(steel, FENCE, *(((p, 0.05, 0.34), (0.1, 0.06, 0.68)) for p in posts))
    return length, 0.18


def add_cone(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, yaw: float) -> Footprint:
    """Add a traffic cone."""
    site, skin = Site(mesh, x, y, z, yaw), tinted(np.array((0.65, 0.14, 0.02)) * rng.uniform(0.6, 1.1), 0.6)
    height = float(rng.uniform(0.45, 0.9))
    site.boxes(BLACK if rng.random() < 0.5 else skin, POLE, ((0, 0, 0.02), (0.4, 0.4, 0.04)))
    levels = np.array([0.0, 0.35, 0.55, 0.7, 0.82, 1.0])
    for k, (a, b) in enumerate(itertools.pairwise(levels)):
        radii = 0.15 - 0.12 * np.array([a, b])
        ring = revolve([(radii[0], 0.04 + a * (height - 0.04)), (radii[1], 0.04 + b * (height - 0.04))], 10)
        site.add(ring, WHITE if k in (1, 3) else skin, POLE)
    return 0.4, 0.4

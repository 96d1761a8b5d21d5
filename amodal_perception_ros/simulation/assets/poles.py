"""Street lamps, traffic signs and traffic lights on their posts. Posts come in many paints, plates of many kinds."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.materials import (
    BLACK,
    DARK_STEEL,
    LIGHT,
    POLE,
    SIGN,
    STEEL,
    WHITE,
    Site,
    metal,
    tinted,
)
from amodal_perception_ros.simulation.assets.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Part,
    box,
    cylinder,
    ellipsoid,
    moved,
    quad,
    rotation_z,
    tubes,
)

STREET_LAMP = Material((1.0, 0.82, 0.55), 0.3, Kind.LAMP, slot=3)
BACK = Material((0.3, 0.3, 0.3), 0.5)
RED, BLUE = Material((0.55, 0.02, 0.02), 0.5), Material((0.02, 0.09, 0.45), 0.5)
YELLOW, GREEN = Material((0.75, 0.5, 0.03), 0.5), Material((0.02, 0.2, 0.08), 0.5)

POST_PAINTS = (STEEL, DARK_STEEL, tinted((0.36, 0.37, 0.38), 0.5), tinted((0.02, 0.07, 0.04), 0.5),
               tinted((0.62, 0.62, 0.6), 0.5), tinted((0.14, 0.09, 0.05), 0.9))  # fmt: skip
LAMP_SHAPES = 4
LAMP_STYLES = LAMP_SHAPES * len(POST_PAINTS)
"""Number of styles of street lamps: every shape in every paint."""


def add_street_lamp(
    mesh: MeshBuilder, x: float, y: float, z: float, toward: float, height: float, style: int = 0
) -> np.ndarray:
    """Add a lamp post whose arm points to heading `toward` [rad]; returns the position of its light.

    `style`, 0..`LAMP_STYLES` - 1, names the shape (straight arm, bent arm, post-top globe, angled mast) and the paint.
    """
    site, shape = Site(mesh, x, y, z, toward), style % LAMP_SHAPES
    post = POST_PAINTS[style // LAMP_SHAPES % len(POST_PAINTS)]
    if shape == 2:
        height = min(height, 4.5)
    site.add(moved(cylinder(0.14, 0.9, 10, top=0.11), (0, 0, 0.45)), post, POLE)
    if shape == 0:
        reach = 1.7
        site.add(moved(cylinder(0.09, height, 10, top=0.055), (0, 0, height / 2)), post, POLE)
        site.boxes(post, POLE, ((reach / 2, 0, height), (reach, 0.07, 0.07)))
    elif shape == 1:
        reach, t = 1.6, np.linspace(0, np.pi / 2, 6)
        bend = np.stack([reach * (1 - np.cos(t)), 0 * t, height - reach + reach * np.sin(t)], -1)
        knots = np.concatenate([[(0, 0, 0)], bend])
        radii = np.linspace(0.085, 0.045, len(knots))
        site.add(tubes(knots[:-1], knots[1:], radii[:-1], radii[1:], 8), post, POLE)
    elif shape == 2:
        reach = 0.0
        site.add(moved(cylinder(0.07, height, 10, top=0.05), (0, 0, height / 2)), post, POLE)
        site.add(ellipsoid((0, 0, height + 0.2), (0.2, 0.2, 0.22), 10, 7), STREET_LAMP, POLE)
        site.add(moved(cylinder(0.24, 0.06, 10, top=0.1), (0, 0, height + 0.42)), post, POLE)
        return np.array([x, y, z + height + 0.2])
    else:
        reach = 1.2
        site.add(moved(cylinder(0.09, height, 8, top=0.06), (0, 0, height / 2)), post, POLE)
        top = np.array([[0, 0, height - 0.05]])
        site.add(tubes(top, top + np.array([reach, 0, 0.3]), np.array([0.05]), np.array([0.035]), 6), post, POLE)
        height += 0.3
    site.boxes(DARK_STEEL, POLE, ((reach, 0, height + 0.01), (0.7, 0.26, 0.1)))
    site.boxes(STREET_LAMP, POLE, ((reach, 0, height - 0.05), (0.6, 0.2, 0.03)))
    return np.array([x, y, z + height - 0.15]) + rotation_z(toward) @ np.array([reach, 0, 0])


_PLATES: dict[str, tuple[int, float, Material]] = {
    "limit": (20, 0.0, RED),
    "no entry": (20, 0.0, RED),
    "mandatory": (20, 0.0, BLUE),
    "stop": (8, np.pi / 8, RED),
    "yield": (3, -np.pi / 2, RED),
    "danger": (3, np.pi / 2, RED),
    "diamond": (4, 0.0, YELLOW),
    "priority": (4, 0.0, WHITE),
    "parking": (4, np.pi / 4, BLUE),
    "crossing": (4, np.pi / 4, BLUE),
}
"""Corners, turn [rad] and rim of each kind of plate."""


def add_sign(mesh: MeshBuilder, rng: np.random.Generator, x: float, y: float, z: float, facing: float) -> None:
    """Add one or two traffic signs, or a direction board, on a pole; they look to heading `facing` [rad]."""
    site, height = Site(mesh, x, y, z, facing), float(rng.uniform(2.2, 2.6))
    site.add(moved(cylinder(0.032, height + 0.3, 8), (0, 0, (height + 0.3) / 2)), metal(rng), POLE)
    if rng.random() < 0.15:
        _board(site, rng, height)
        return
    names = list(_PLATES)
    _add_plate(site, rng, names[int(rng.integers(len(names)))], height)
    extra = rng.random()
    if extra < 0.15:
        _add_plate(site, rng, names[int(rng.integers(len(names)))], height - 0.8)
    elif extra < 0.35:
        site.boxes(WHITE if rng.random() < 0.7 else YELLOW, SIGN, ((0.06, 0, height - 0.58), (0.012, 0.5, 0.24)))
        site.boxes(BLACK, SIGN, ((0.068, 0, height - 0.58), (0.008, 0.34, 0.06)))


def _add_plate(site: Site, rng: np.random.Generator, style: str, height: float) -> None:
    """A plate with its drawing, centred at a height."""
    sides, turn, rim = _PLATES[style]
    radius = float(rng.uniform(0.32, 0.4)) * (1.15 if sides < 8 else 1.0)
    plates = [(_plate(sides, radius, turn, 0.06), rim), (_plate(sides, radius, turn, 0.045), BACK)]
    if style in ("limit", "yield", "danger"):
        plates.append((_plate(sides, radius * 0.72, turn, 0.075), YELLOW if rng.random() < 0.15 else WHITE))
    if style in ("limit", "danger"):
        plates += [
            (box((0.085, s, 0), (0.01, 0.09, 0.2)), BLACK) for s in ((-0.1, 0.1) if style == "limit" else (0.0,))
        ]
    if style == "priority":
        plates.append((_plate(4, radius * 0.75, turn, 0.075), YELLOW))
    if style == "diamond":
        plates.append((box((0.075, 0, 0), (0.01, 0.1, 0.3)), BLACK))
    if style in ("stop", "no entry"):
        plates.append((box((0.08, 0, 0), (0.01, 0.46, 0.1)), WHITE))
    if style in ("parking", "crossing", "mandatory"):
        plates.append((box((0.08, 0.02, 0), (0.01, 0.14, 0.32)), WHITE))
    for part, material in plates:
        site.add(moved(part, (0, 0, height)), material, SIGN)


def _board(site: Site, rng: np.random.Generator, height: float) -> None:
    """A direction board with lines of text."""
    ground, text = ((BLUE, WHITE), (GREEN, WHITE), (YELLOW, BLACK), (WHITE, BLACK))[int(rng.integers(4))]
    wide, tall = float(rng.uniform(1.0, 1.9)), float(rng.uniform(0.5, 1.0))
    middle = height + 0.2 - tall / 2
    site.boxes(BACK, SIGN, ((0.05, 0, middle), (0.03, wide, tall)))
    site.boxes(text, SIGN, ((0.068, 0, middle), (0.006, wide - 0.03, tall - 0.03)))
    site.boxes(ground, SIGN, ((0.075, 0, middle), (0.008, wide - 0.08, tall - 0.08)))
    rows = max(1, round(tall / 0.35))
    for k in range(rows):
        v = middle + ((k + 0.5) / rows - 0.5) * (tall - 0.1)
        share = float(rng.uniform(0.4, 0.7))
        site.boxes(
            text, SIGN, ((0.082, 0.06, v), (0.008, share * wide, 0.1)), ((0.082, -wide * 0.4, v), (0.008, 0.1, 0.14))
        )


def _plate(sides: int, radius: float, turn: float, x: float) -> Part:
    """A regular polygon in the plane x = const."""
    angle = turn + np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rim = np.stack([np.full(sides, x), radius * np.cos(angle), radius * np.sin(angle)], -1)
    vertices = np.concatenate([rim, [[x, 0, 0]]])
    i = np.arange(sides)
    return vertices, np.stack([np.full(sides, sides), i, (i + 1) % sides], -1), np.zeros((sides + 1, 2))


_HOUSINGS = (BLACK, DARK_STEEL, tinted((0.62, 0.42, 0.02), 0.5), tinted((0.03, 0.12, 0.07), 0.5))
SIGNAL_STYLES = len(POST_PAINTS) * len(_HOUSINGS)
"""Number of styles of signal masts: every paint of the post with every housing."""


def add_signal_mast(
    mesh: MeshBuilder, x: float, y: float, z: float, facing: float, height: float, lenses: int, style: int = 0
) -> None:
    """Add the mast of a traffic light with its housing, hoods and (three lenses) backing board, but no lenses.

    The housing looks to heading `facing` [rad]; its middle is `height` [m] above the ground z; lenses belong 0.31 m
    apart at local x = 0.24 m. `style` is 0..`SIGNAL_STYLES` - 1.
    """
    site, post = Site(mesh, x, y, z, facing), POST_PAINTS[style % len(POST_PAINTS)]
    housing, tall = _HOUSINGS[style // len(POST_PAINTS) % len(_HOUSINGS)], 0.31 * lenses
    top = height + tall / 2 + 0.1
    site.add(moved(cylinder(0.06, top, 8), (0, 0, top / 2)), post, POLE)
    site.boxes(housing, LIGHT, ((0.13, 0, height), (0.2, 0.3, tall)))
    hoods = [((0.28, 0, height + tall / 2 - 0.31 * k - 0.02), (0.12, 0.22, 0.02)) for k in range(lenses)]
    site.boxes(BLACK, LIGHT, *hoods)
    if lenses == 3:
        a, b = tall / 2 + 0.15, 0.28
        board = [(0.04, -b, height - a), (0.04, b, height - a), (0.04, b, height + a), (0.04, -b, height + a)]
        site.add(quad(board), BLACK, LIGHT, flat=True)

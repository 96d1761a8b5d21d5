"""Class ids, materials and the placing of parts that all scenery (stuff) shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, Part, Point, boxes, moved

POLE, SIGN, LIGHT = BY_NAME["pole"].id, BY_NAME["traffic sign"].id, BY_NAME["traffic light"].id
VEGETATION, BUILDING = BY_NAME["vegetation"].id, BY_NAME["building"].id
WALL, FENCE = BY_NAME["wall"].id, BY_NAME["fence"].id

STEEL = Material((0.2, 0.21, 0.22), 0.5)
DARK_STEEL = Material((0.05, 0.06, 0.055), 0.5)
BLACK = Material((0.02, 0.02, 0.02), 0.7)
WHITE = Material((0.75, 0.75, 0.75), 0.5)
CONCRETE = Material((0.38, 0.37, 0.35), 0.9)
GLASS = Material((0.05, 0.065, 0.07), 0.1, Kind.GLASS)

_PAINTS = np.array(
    [
        (0.05, 0.06, 0.055), (0.2, 0.21, 0.22), (0.42, 0.43, 0.44), (0.7, 0.7, 0.68), (0.03, 0.1, 0.05),
        (0.02, 0.07, 0.2), (0.08, 0.25, 0.45), (0.4, 0.03, 0.025), (0.55, 0.2, 0.02), (0.6, 0.45, 0.05),
        (0.1, 0.28, 0.1), (0.12, 0.07, 0.04), (0.3, 0.24, 0.16), (0.25, 0.06, 0.14), (0.05, 0.22, 0.24),
    ]
)  # fmt: skip
_WOODS = np.array([(0.25, 0.17, 0.1), (0.14, 0.09, 0.05), (0.36, 0.27, 0.17), (0.2, 0.19, 0.17), (0.3, 0.12, 0.05)])
_METALS = np.array([(0.2, 0.21, 0.22), (0.34, 0.35, 0.36), (0.05, 0.06, 0.055), (0.12, 0.13, 0.14), (0.5, 0.5, 0.5)])


@dataclass(frozen=True)
class Site:
    """A place on the ground at which parts are added in their own frame: x along, y across, z up; front is -y."""

    mesh: MeshBuilder
    x: float
    y: float
    z: float
    yaw: float

    def add(self, part: Part, material: Material, cls: int, flat: bool = False) -> None:
        """Add a part; a flat one is never shaded smoothly."""
        self.mesh.add(moved(part, (self.x, self.y, self.z), self.yaw), material, cls, flat)

    def boxes(self, material: Material, cls: int, *centers_and_sizes: tuple[Point, Point]) -> None:
        """Add boxes of one material, each given by its center and size [m]."""
        centers, sizes = zip(*centers_and_sizes)
        self.add(boxes(np.array(centers, float), np.array(sizes, float)), material, cls, flat=True)


def paint(rng: np.random.Generator, roughness: float = 0.5) -> Material:
    """Return a painted surface of any colour, so that the hue does not tell the class."""
    color = np.array(_shade(rng, _PAINTS))
    return tinted(color + rng.uniform(0, 0.6) * (color.mean() - color), roughness)


def wood(rng: np.random.Generator) -> Material:
    """Return raw, stained or (one in three) painted wood."""
    return Material(_shade(rng, _WOODS if rng.random() < 0.67 else _PAINTS), 0.9)


def metal(rng: np.random.Generator) -> Material:
    """Return galvanised, dark or (one in three) painted metal."""
    return Material(_shade(rng, _METALS if rng.random() < 0.67 else _PAINTS), 0.45)


def tinted(
    color: Sequence[float] | np.ndarray, roughness: float = 0.85, kind: Kind = Kind.PLAIN, slot: int = 0
) -> Material:
    """Return a material whose colour is cut to albedos 0.01..0.8."""
    red, green, blue = np.clip(np.asarray(color, float), 0.01, 0.8)
    return Material((float(red), float(green), float(blue)), roughness, kind, slot)


def _shade(rng: np.random.Generator, colors: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = np.clip(colors[rng.integers(len(colors))] * rng.uniform(0.7, 1.3), 0.01, 0.8)
    return float(red), float(green), float(blue)

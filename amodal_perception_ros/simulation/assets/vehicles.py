"""What all vehicles share: materials, wheels, lamps and the primitives their bodies are made of.

Local frame of every vehicle: x forward, y left, z up, origin on the ground below the middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import (
    Kind,
    Material,
    MeshBuilder,
    Model,
    Part,
    box,
    moved,
    revolve,
    rings,
)

BODY = Material((0.5, 0.5, 0.5), 0.25, Kind.PAINT, slot=1)
SECOND = Material((0.7, 0.7, 0.7), 0.4, Kind.PAINT, slot=2)
CANVAS = Material((0.7, 0.7, 0.7), 0.9, Kind.CLOTH, slot=2)
GLASS = Material((0.02, 0.026, 0.03), 0.06, Kind.GLASS)
TYRE = Material((0.018, 0.018, 0.02), 0.9)
RIM = Material((0.3, 0.3, 0.31), 0.35)
WHEEL_DISC = Material((0.17, 0.17, 0.18), 0.5)
METAL = Material((0.3, 0.3, 0.31), 0.4)
DARK = Material((0.022, 0.022, 0.024), 0.6)
SEAM = Material((0.01, 0.01, 0.01), 0.9)
SEAT = Material((0.025, 0.022, 0.02), 0.8)
HEADLIGHT = Material((0.72, 0.71, 0.66), 0.12, Kind.LAMP, slot=1)
TAILLIGHT = Material((0.5, 0.012, 0.012), 0.25, Kind.LAMP, slot=2)
INDICATOR = Material((0.75, 0.3, 0.02), 0.3)
BEACON = Material((0.02, 0.08, 0.6), 0.2)
PLATE = Material((0.75, 0.75, 0.72), 0.5)


def finished(mesh: MeshBuilder) -> Model:
    """Return the baked model, moved along x so that its origin lies under its middle."""
    x = np.concatenate([vertices[faces][..., 0].ravel() for (vertices, faces, _), *_ in mesh.parts])
    middle, out = 0.5 * float(x.min() + x.max()), MeshBuilder()
    for part, materials, which, *_ in mesh.parts:
        out.add_mixed(moved(part, (-middle, 0, 0)), materials, which)
    return out.bake(occlusion=True)


def add_wheel(mesh: MeshBuilder, x: float, y: float, radius: float, width: float, side: int, spokes: int = 5) -> None:
    """Add a wheel whose rim faces `side` (+1 left, -1 right); without spokes it has a solid disc."""
    half = width / 2
    profile = [(0, -half), (radius * 0.93, -half), (radius, -half * 0.7), (radius, half * 0.7), (radius * 0.93, half),
               (radius * 0.68, half), (radius * 0.64, half * 0.6), (0, half * (0.6 if spokes else 0.25))]  # fmt: skip
    part = revolve([(r, side * w) for r, w in profile], 20, "y")
    if side < 0:
        part = part[0], part[1][:, ::-1], part[2]
    which = np.repeat(np.array([0, 0, 0, 0, 0, 2, 1 if spokes else 2]), 40)
    mesh.add_mixed(moved(part, (x, y, radius)), [TYRE, DARK, RIM if spokes else WHEEL_DISC], which)
    mesh.add(moved(_disc(radius * 0.17, side), (x, y + side * half * 0.95, radius)), RIM)
    for k in range(spokes):
        angle = 2 * np.pi * k / spokes + 0.3
        mesh.add(moved(_spoke(radius, angle, side), (x, y + side * half * 0.9, radius)), RIM)


def _disc(radius: float, side: int) -> Part:
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    vertices = np.stack([radius * np.cos(angle), np.zeros(8), radius * np.sin(angle)], 1)
    k = np.arange(1, 7)
    faces = np.stack([np.zeros_like(k), k + 1, k] if side > 0 else [np.zeros_like(k), k, k + 1], 1)
    return vertices, faces, vertices[:, ::2].copy()


def _spoke(radius: float, angle: float, side: int) -> Part:
    a = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-a[1], a[0]]) * radius * 0.11
    inner, outer = a * radius * 0.1, a * radius * 0.66
    points = np.array([inner - across, outer - across * 1.3, outer + across * 1.3, inner + across])
    vertices = np.stack([points[:, 0], np.zeros(4), points[:, 1]], 1)
    faces = np.array([(0, 2, 1), (0, 3, 2)] if side > 0 else [(0, 1, 2), (0, 2, 3)])
    return vertices, faces, points


def hull(
    stations: Sequence[tuple[float, float, float, float]], segments: int = 12, square: float = 2.5, y: float = 0.0
) -> Part:
    """Return a smooth body lofted along x.

    Args:
        stations: (x, lowest z, highest z, half width) [m], from rear to front.
        segments: corners of a section.
        square: exponent of the superelliptic section; 2 is an ellipse, larger is boxier.
        y: middle of the sections [m].
    """
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False) + np.pi / segments
    c, s = np.cos(angle), np.sin(angle)
    across, up = np.sign(c) * np.abs(c) ** (2 / square), np.sign(s) * np.abs(s) ** (2 / square)
    x, low, high, half = np.array(stations, float).T[:, :, None]
    z = (low + high) / 2 + (high - low) / 2 * up
    return rings(np.stack([np.broadcast_to(x, z.shape), y + half * across, z], -1))


def extruded(profile: Sequence[tuple[float, float]], half_width: float, y: float = 0.0) -> Part:
    """Return a star-shaped side view of (x, z) points, extruded to both sides of `y`."""
    points = np.array(profile, float)
    turn = points - np.roll(points, 1, 0)
    area = (np.roll(points, 1, 0)[:, 0] * turn[:, 1] - np.roll(points, 1, 0)[:, 1] * turn[:, 0]).sum()
    points = points if area < 0 else points[::-1]
    sections = [np.stack([points[:, 0], np.full(len(points), y + s * half_width), points[:, 1]], 1) for s in (-1, 1)]
    return rings(np.stack(sections))


def arc(x: float, z: float, radius: float, half_width: float, start: float, end: float, steps: int = 9) -> Part:
    """Return a curved strip around the y axis through (x, z), from angle `start` to `end` [rad], 0 is forward."""
    angle = np.linspace(start, end, steps)
    edge = np.stack([x + radius * np.cos(angle), np.zeros(steps), z + radius * np.sin(angle)], 1)
    offset = np.array([0.0, half_width, 0.0])
    vertices = np.concatenate([edge + offset, edge - offset])
    k = np.arange(steps - 1)
    faces = np.concatenate([np.stack([k, k + steps, k + 1], 1), np.stack([k + 1, k + steps, k + steps + 1], 1)])
    return vertices, faces, vertices[:, :2].copy()


class Shell:
    """Walls of a cab or bus body: rounded rectangles stacked in z; every panel between them has its own material.

    Args:
        levels: (z, rear x, front x, half width) [m] from the lowest to the highest.
        stops: x [m] where the side walls are divided, between rear and front.
        radius: radius of the four upright edges [m].
    """

    def __init__(
        self, levels: Sequence[tuple[float, float, float, float]], stops: Iterable[float], radius: float = 0.12
    ) -> None:
        self.levels, self.stops, self.radius = list(levels), sorted({round(s, 4) for s in stops}), radius
        self._panels = len(self.stops) + 1
        self.ring = 2 * (self._panels + 5)
        self._materials: list[Material] = [BODY]
        self._which = np.zeros((len(self.levels) - 1, self.ring), np.int64)

    def paint(
        self, material: Material | None, levels: slice, low: float = -99, high: float = 99, side: int = 0
    ) -> None:
        """Give side panels between x = low and high a material; None leaves them out. `side` 0 is both."""
        edges = np.array([self.levels[0][1], *self.stops, self.levels[0][2]])
        inside = np.nonzero((0.5 * (edges[1:] + edges[:-1]) > low) & (0.5 * (edges[1:] + edges[:-1]) < high))[0]
        if side >= 0:
            self._set(material, levels, 2 + self._panels - inside)
        if side <= 0:
            self._set(material, levels, self._panels + 8 + inside)

    def paint_ends(self, material: Material, levels: slice, front: bool = True, corners: bool = False) -> None:
        """Give the front (or rear) wall a material, and its rounded corners too if asked."""
        first = 0 if front else self._panels + 5
        wall = [first % self.ring] if not corners else [(first + k) % self.ring for k in (-2, -1, 0, 1, 2)]
        self._set(material, levels, np.array(wall))

    def paint_all(self, material: Material, levels: slice) -> None:
        """Give all panels of some levels a material."""
        self._set(material, levels, np.arange(self.ring))

    def _set(self, material: Material | None, levels: slice, columns: np.ndarray) -> None:
        if material is not None and material not in self._materials:
            self._materials.append(material)
        rows = np.arange(len(self.levels) - 1)[levels]
        self._which[np.ix_(rows, columns)] = -1 if material is None else self._materials.index(material)

    def part(self) -> tuple[Part, list[Material], np.ndarray]:
        """Return the closed shell for `MeshBuilder.add_mixed`."""
        vertices, faces, uv = rings(np.stack([self._section(*level) for level in self.levels]))
        which = np.concatenate([np.repeat(self._which.ravel(), 2), np.zeros(2 * self.ring, np.int64)])
        return (vertices, faces[which >= 0], uv), self._materials, which[which >= 0]

    def _section(self, z: float, rear: float, front: float, half: float) -> np.ndarray:
        r = min(self.radius, half * 0.45)
        bevel = r * (1 - np.sqrt(0.5))
        left = [(np.clip(s, rear + r, front - r), half) for s in self.stops[::-1]]
        points = [(front, -half + r), (front, half - r), (front - bevel, half - bevel), (front - r, half), *left,
                  (rear + r, half), (rear + bevel, half - bevel), (rear, half - r), (rear, -half + r),
                  (rear + bevel, -half + bevel), (rear + r, -half), *((x, -y) for x, y in left[::-1]),
                  (front - r, -half), (front - bevel, -half + bevel)]  # fmt: skip
        return np.array([(x, y, z) for x, y in points], float)


def add_wheel_arch(mesh: MeshBuilder, x: float, radius: float, axle_z: float, half_width: float, top: float,
                   half_length: float) -> None:  # fmt: skip
    """Round off the rectangular wheel openings of a `Shell` on both sides and darken the space behind them."""
    corner = float(np.arctan2(top - axle_z, half_length))
    angle = np.sort(np.concatenate([np.linspace(0, np.pi, 9), [corner, np.pi - corner]]))
    circle = np.stack([x + radius * np.cos(angle), axle_z + radius * np.sin(angle)], 1)
    scale = np.minimum(half_length / np.maximum(np.abs(np.cos(angle)), 1e-6),
                       (top - axle_z) / np.maximum(np.sin(angle), 1e-6))  # fmt: skip
    border = np.stack([x + scale * np.cos(angle), axle_z + scale * np.sin(angle)], 1)
    points, k = np.concatenate([circle, border]), np.arange(10)
    faces = np.concatenate([np.stack([k, k + 1, k + 11], 1), np.stack([k + 1, k + 12, k + 11], 1)])
    for side in (-1, 1):
        vertices = np.stack([points[:, 0], np.full(22, side * half_width), points[:, 1]], 1)
        mesh.add((vertices, faces if side > 0 else faces[:, ::-1], points), BODY)
    mesh.add(box((x, 0, 0.5 * (axle_z + top)), (2 * half_length, 2 * half_width - 0.75, top - axle_z * 0.4)), SEAM)

"""Triangle meshes of the simulator: materials, primitive shapes and the baked vertex format that is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene


class Kind(IntEnum):
    """Kind of surface; each has its own specialised shader."""

    PLAIN = 0
    ASPHALT = 1
    FACADE = 2
    LEAF = 3
    GLASS = 4
    LAMP = 5
    PAINT = 6
    PAVING = 7
    GRASS = 8
    BRICK = 9
    CLOTH = 10
    MARKING = 11
    ROOF = 12


@dataclass(frozen=True)
class Material:
    """Surface of a mesh part.

    Attributes:
        color: linear RGB albedo (of a lamp: its emission colour).
        roughness: 0 mirror .. 1 dull.
        kind: which shader draws it.
        slot: 0 uses `color`; 1..4 takes the colour from the thing's palette, so that one mesh has many looks.
            For facades: the window style 0..3. For lamps: 0 always lit, 1 headlight, 2 tail light.
    """

    color: tuple[float, float, float]
    roughness: float = 0.8
    kind: Kind = Kind.PLAIN
    slot: int = 0


Point = Sequence[float] | np.ndarray
"""Three coordinates [m]."""

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A primitive: (n, 3) vertices [m], (m, 3) faces, (n, 2) texture coordinates [m]."""

VERTEX = np.dtype(
    [
        ("position", "3f4"),
        ("normal", "3f4"),
        ("uv", "2f4"),
        ("color", "4f4"),
        ("slot", "f4"),
        ("ao", "f4"),
        ("cls", "f4"),
    ]
)
"""One drawn corner. `color` is RGB + roughness, `cls` the class id of stuff (0 for things)."""

PALETTE_SIZE = 4


@dataclass(eq=False)
class Model:
    """A baked mesh, ready to be drawn and ray cast.

    Attributes:
        vertices: (3 * triangles,) array of dtype `VERTEX`, three corners per triangle, sorted by material kind.
        ranges: (kind, first corner, number of corners) per material kind.
        low, high: (3,) corners of the axis-aligned bounding box [m].
    """

    vertices: np.ndarray
    ranges: tuple[tuple[int, int, int], ...]
    low: np.ndarray
    high: np.ndarray

    @property
    def triangles(self) -> np.ndarray:
        """(triangles, 3, 3) float32 corner positions."""
        return self.vertices["position"].reshape(-1, 3, 3)


@dataclass
class MeshBuilder:
    """Collects parts with their materials; `bake` turns them into a `Model`."""

    parts: list[tuple[Part, list[Material], np.ndarray, int, bool]] = field(default_factory=list)

    def add(self, part: Part, material: Material, cls: int = 0, flat: bool = False) -> MeshBuilder:
        """Add a part of one material; a flat one is never shaded smoothly (and bakes faster); returns self."""
        return self.add_mixed(part, [material], np.zeros(len(part[1]), np.int64), cls, flat)

    def add_mixed(
        self, part: Part, materials: list[Material], which: np.ndarray, cls: int = 0, flat: bool = False
    ) -> MeshBuilder:
        """Add a part whose face k has the material `materials[which[k]]`; returns self."""
        self.parts.append((part, materials, which, cls, flat))
        return self

    def bake(self, crease_degrees: float = 50.0, occlusion: bool = False) -> Model:
        """Return the drawable model.

        Args:
            crease_degrees: edges flatter than this are shaded smoothly.
            occlusion: bake ambient occlusion of the model on itself and on the ground z = 0.
        """
        counts = [len(part[0]) for part, *_ in self.parts]
        offsets = np.cumsum([0, *counts[:-1]])
        vertices = np.concatenate([part[0] for part, *_ in self.parts])
        faces = np.concatenate([part[1] + k for (part, *_), k in zip(self.parts, offsets)])
        uv = np.concatenate([part[2] for part, *_ in self.parts])
        materials = [material for _, some, *_ in self.parts for material in some]
        before = np.cumsum([0, *(len(some) for _, some, *_ in self.parts[:-1])])
        which = np.concatenate([which + k for (_, _, which, *_), k in zip(self.parts, before)])
        owner = np.repeat(np.arange(len(self.parts)), [len(which) for _, _, which, *_ in self.parts])
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        scaled = _cross(b - a, c - a)
        solid = (scaled**2).sum(1) > 1e-20
        faces, which, owner, scaled = faces[solid], which[solid], owner[solid], scaled[solid]
        corner = np.zeros((len(faces), 3), VERTEX)
        corner["position"], corner["uv"], corner["ao"] = vertices[faces], uv[faces], 1.0
        corner["color"] = np.array([(*m.color, m.roughness) for m in materials], np.float32)[which][:, None]
        corner["slot"] = np.array([m.slot for m in materials], np.float32)[which][:, None]
        corner["cls"] = np.array([cls for *_, cls, _ in self.parts], np.float32)[owner][:, None]
        group = np.where([flat for *_, flat in self.parts], -1, np.arange(len(self.parts)))[owner]
        corner["normal"] = corner_normals(vertices, faces, scaled, group, crease_degrees)
        return _sorted_model(corner, np.array([int(m.kind) for m in materials])[which], occlusion)


def _sorted_model(corners: np.ndarray, kinds: np.ndarray, occlusion: bool) -> Model:
    order = np.argsort(kinds, kind="stable")
    flat = corners[order].reshape(-1)
    if occlusion:
        flat["ao"] = ambient_occlusion(flat)
    values, first, count = np.unique(kinds[order], return_index=True, return_counts=True)
    ranges = tuple((int(k), int(f) * 3, int(c) * 3) for k, f, c in zip(values, first, count))
    return Model(flat, ranges, flat["position"].min(0), flat["position"].max(0))


def corner_normals(
    vertices: np.ndarray, faces: np.ndarray, scaled: np.ndarray, group: np.ndarray, crease_degrees: float
) -> np.ndarray:
    """Return (m, 3, 3) unit normals per face corner, averaged over faces that meet below the crease angle.

    Args:
        vertices: (n, 3) positions.
        faces: (m, 3) indices.
        scaled: (m, 3) face normals, as long as twice the face's area.
        group: (m,) number of the surface a face belongs to, or -1 for flat shading; only faces of one surface are
            averaged.
        crease_degrees: no averaging over sharper edges.
    """
    flat = scaled / (np.linalg.norm(scaled, axis=1, keepdims=True) + 1e-12)
    out = np.repeat(flat[:, None], 3, 1)
    smooth = np.flatnonzero(group >= 0)
    if crease_degrees <= 0 or not len(smooth):
        return out
    _, place = np.unique(_places(vertices[faces[smooth]].reshape(-1, 3)), return_inverse=True)
    key = place.ravel() * (int(group.max()) + 1) + np.repeat(group[smooth], 3)
    index = np.unique(key, return_inverse=True)[1].ravel()
    summed = np.stack([np.bincount(index, np.repeat(scaled[smooth, axis], 3)) for axis in range(3)], 1)
    summed = summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-12)
    averaged = summed[index].reshape(-1, 3, 3)
    keep = (averaged * flat[smooth, None]).sum(-1, keepdims=True) > np.cos(np.radians(crease_degrees))
    out[smooth] = np.where(keep, averaged, out[smooth])
    return out


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product of (n, 3) vectors (np.cross is several times slower)."""
    x, y, z = a.T
    u, v, w = b.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], 1)


def _places(points: np.ndarray) -> np.ndarray:
    """One number per millimetre cell of (n, 3) points, within 1 km of the origin."""
    grid = np.round(points * 1000).astype(np.int64) + (1 << 20)
    return (grid[:, 0] << 42) | (grid[:, 1] << 21) | grid[:, 2]


def ambient_occlusion(vertices: np.ndarray, rays: int = 14, reach: float = 1.2) -> np.ndarray:
    """Return (n,) ambient visibility 0..1 of baked corners, from short rays against the model and the ground."""
    scene = EmbreeScene()
    low, high = vertices["position"].min(0) - 3, vertices["position"].max(0) + 3
    ground = box(((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, -0.05), (high[0] - low[0], high[1] - low[1], 0.1))
    soup = np.concatenate([vertices["position"].reshape(-1, 3, 3), ground[0][ground[1]].astype(np.float32)])
    TriangleMesh(scene, np.ascontiguousarray(soup))
    key = np.round(np.concatenate([vertices["position"] * 200, vertices["normal"] * 6], 1)).astype(np.int64)
    weights = np.array([1, 4099, 16769023, 999983, 7919, 104729], np.int64)
    _, first, inverse = np.unique(key @ weights, return_index=True, return_inverse=True)
    position, normal = vertices["position"][first], vertices["normal"][first]
    direction = np.random.default_rng(3).normal(size=(len(first), rays, 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    direction += normal[:, None]
    direction /= np.linalg.norm(direction, axis=2, keepdims=True) + 1e-9
    origin = np.repeat(position + normal * 0.015, rays, 0).astype(np.float32)
    distance = scene.run(origin, direction.reshape(-1, 3).astype(np.float32), query="DISTANCE").reshape(-1, rays)
    open_share = np.clip(distance / reach, 0, 1).mean(1)
    return (0.2 + 0.8 * open_share)[inverse.ravel()].astype(np.float32)


# Primitive shapes -----------------------------------------------------------------------------------------


def moved(part: Part, offset: Iterable[float] = (0, 0, 0), yaw: float = 0.0) -> Part:
    """Return the part turned about z [rad], then moved [m]."""
    return part[0] @ rotation_z(yaw).T + np.array(tuple(offset), float), part[1], part[2]


def rotation_z(yaw: float) -> np.ndarray:
    """Return the (3, 3) rotation about z [rad]."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


_BOX_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_BOX_QUADS = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
_UPRIGHT_QUAD = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
_FLAT_QUAD = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])


def box(center: Point, size: Point, yaw: float = 0.0) -> Part:
    """Return a box; texture coordinates are metres along each face, v up on vertical faces."""
    return moved(boxes(np.zeros((1, 3)), np.array([size], float)), center, yaw)


def boxes(centers: np.ndarray, sizes: np.ndarray) -> Part:
    """Return many axis-aligned boxes as one part, given (n, 3) centers and sizes [m]; coordinates as of `box`."""
    corners = (_BOX_CORNERS * sizes[:, None])[:, _BOX_QUADS]
    first = np.linalg.norm(corners[:, :, 1] - corners[:, :, 0], axis=-1)
    second = np.linalg.norm(corners[:, :, 2] - corners[:, :, 1], axis=-1)
    upright = (np.abs(corners[:, :, 1, 2] - corners[:, :, 0, 2]) > 1e-9)[..., None]
    across, up = np.where(upright[..., 0], second, first), np.where(upright[..., 0], first, second)
    u = np.where(upright, _UPRIGHT_QUAD[:, 0], _FLAT_QUAD[:, 0]) * across[..., None]
    v = np.where(upright, _UPRIGHT_QUAD[:, 1], _FLAT_QUAD[:, 1]) * up[..., None]
    vertices = (corners + centers[:, None, None]).reshape(-1, 3)
    base = 4 * np.arange(6 * len(sizes))[:, None]
    faces = np.stack([base + np.array([0, 1, 2]), base + np.array([0, 2, 3])], 1).reshape(-1, 3)
    return vertices, faces, np.stack([u, v], -1).reshape(-1, 2)


def quad(corners: Sequence[Sequence[float]], uv: Sequence[Sequence[float]] | None = None) -> Part:
    """Return one quadrilateral of four corners in order."""
    vertices = np.array(corners, float)
    coordinates = vertices[:, :2].copy() if uv is None else np.array(uv, float)
    return vertices, np.array([(0, 1, 2), (0, 2, 3)]), coordinates


def revolve(profile: Sequence[tuple[float, float]], segments: int = 20, axis: str = "z") -> Part:
    """Return the surface of revolution of (radius, height) points about an axis."""
    points = np.array(profile, float)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    vertices = np.concatenate([points[:, None, :1] * ring, np.repeat(points[:, None, 1:], segments, 1)], -1).reshape(
        -1, 3
    )
    faces = _grid_faces(len(points), segments)
    uv = np.stack([np.tile(angle, len(points)), np.repeat(points[:, 1], segments)], -1)
    if axis == "y":
        return vertices[:, [0, 2, 1]], faces[:, ::-1], uv
    if axis == "x":
        return vertices[:, [2, 0, 1]], faces, uv
    return vertices, faces, uv


def _grid_faces(rows: int, ring: int) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(ring), indexing="ij")
    a, b = (i * ring + j).ravel(), (i * ring + (j + 1) % ring).ravel()
    return np.stack([np.stack([a, b, b + ring], -1), np.stack([a, b + ring, a + ring], -1)], 1).reshape(-1, 3)


def cylinder(radius: float, height: float, segments: int = 14, axis: str = "z", top: float | None = None) -> Part:
    """Return a closed cylinder (or cone frustum with another `top` radius), centred at the origin."""
    top = radius if top is None else top
    return revolve([(0, -height / 2), (radius, -height / 2), (top, height / 2), (0, height / 2)], segments, axis)


def ellipsoid(center: Point, radii: Point, segments: int = 12, rows: int = 8) -> Part:
    """Return an ellipsoid."""
    t = np.linspace(0, np.pi, rows)
    vertices, faces, uv = revolve(list(zip(np.sin(t), -np.cos(t))), segments)
    return vertices * np.array(radii, float) + np.array(center, float), faces, uv


def capsule(start: Point, end: Point, radius: float, end_radius: float | None = None, segments: int = 9) -> Part:
    """Return a rounded (tapered) tube from start to end."""
    a, b = np.array(start, float), np.array(end, float)
    length = float(np.linalg.norm(b - a)) or 1e-6
    axis = (b - a) / length
    tip = radius if end_radius is None else end_radius
    t = np.linspace(0, np.pi / 2, 4)
    profile = [(radius * np.sin(x), -radius * np.cos(x)) for x in t]
    profile += [(tip * np.cos(x), length + tip * np.sin(x)) for x in t]
    vertices, faces, uv = revolve(profile, segments)
    side = np.cross(axis, [0.3, 1.0, 0.1])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    return vertices[:, :1] * side + vertices[:, 1:2] * other + vertices[:, 2:] * axis + a, faces, uv


def tube(start: Point, end: Point, radius: float, segments: int = 6) -> Part:
    """Return a thin open tube from start to end."""
    a, b = np.array(start, float), np.array(end, float)
    length = float(np.linalg.norm(b - a))
    vertices, faces, uv = revolve([(radius, 0), (radius, length)], segments)
    axis = (b - a) / length
    side = np.cross(axis, [0.3, 1.0, 0.1])
    side /= np.linalg.norm(side)
    other = np.cross(axis, side)
    return vertices[:, :1] * side + vertices[:, 1:2] * other + vertices[:, 2:] * axis + a, faces, uv


def tubes(starts: np.ndarray, ends: np.ndarray, radii: np.ndarray, end_radii: np.ndarray, segments: int = 6) -> Part:
    """Return many thin open tapered tubes as one part, given (n, 3) ends and (n,) radii [m]."""
    axis = ends - starts
    axis = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    side = np.cross(axis, [0.3, 1.0, 0.1])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(axis, side)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)[:, None]
    ring = side[:, None] * np.cos(angle) + other[:, None] * np.sin(angle)
    low, high = starts[:, None] + ring * radii[:, None, None], ends[:, None] + ring * end_radii[:, None, None]
    vertices = np.stack([low, high], 1).reshape(-1, 3)
    faces = _grid_faces(2, segments)[None] + 2 * segments * np.arange(len(starts))[:, None, None]
    return vertices, faces.reshape(-1, 3), vertices[:, [0, 2]].copy()


def rings(sections: np.ndarray, cap: bool = True) -> Part:
    """Return the skin over closed sections.

    Args:
        sections: (stations, ring, 3) points; every section has the same number of points.
        cap: close both ends with a fan about the section's mean.
    """
    stations, ring = sections.shape[:2]
    vertices, faces = sections.reshape(-1, 3), _grid_faces(stations, ring)
    if cap:
        i = np.arange(ring)
        middle = stations * ring
        last = (stations - 1) * ring
        front = np.stack([np.full(ring, middle), (i + 1) % ring, i], -1)
        back = np.stack([np.full(ring, middle + 1), last + i, last + (i + 1) % ring], -1)
        vertices = np.concatenate([vertices, sections[:1].mean(1), sections[-1:].mean(1)])
        faces = np.concatenate([faces, front, back])
    return vertices, faces, vertices[:, [0, 2]].copy()


def rounded_box(center: Point, size: Point, radius: float, steps: int = 2) -> Part:
    """Return a box with rounded edges along x and chamfered ends."""
    length, width, height = size
    corner = np.linspace(0, np.pi / 2, steps + 1)
    ring = []
    for quarter, (sy, sz) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angle = corner + quarter * np.pi / 2
        ring.append(
            np.stack(
                [
                    sy * (width / 2 - radius) + radius * np.cos(angle),
                    sz * (height / 2 - radius) + radius * np.sin(angle),
                ],
                -1,
            )
        )
    outline = np.concatenate(ring)
    shrink = np.array([1 - 2 * radius / width, 1 - 2 * radius / height])
    stations = [(-length / 2, 1.0), (-length / 2 + radius, 0.0), (length / 2 - radius, 0.0), (length / 2, 1.0)]
    sections = np.stack(
        [
            np.concatenate([np.full((len(outline), 1), x), outline * (1 + inset * 0.6 * (shrink - 1))], 1)
            for x, inset in stations
        ]
    )
    return moved(rings(sections), center)

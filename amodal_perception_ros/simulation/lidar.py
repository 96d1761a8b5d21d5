"""A rotating LiDAR by ray casting (Embree): 32 rings x 1024 azimuths with noise and drop-outs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from amodal_perception_ros.labels import SEGMENT_FACTOR
from amodal_perception_ros.simulation.drawing import Item
from amodal_perception_ros.simulation.meshes import Kind, Model

RINGS, AZIMUTHS = 32, 1024
MAX_RANGE = 90.0
"""Longest measured range [m]."""

RANGE_NOISE = 0.015
"""Standard deviation of the range noise [m]."""

_REFLECTIVITY = {Kind.LAMP: 1.8, Kind.GLASS: 0.15, Kind.MARKING: 2.2, Kind.LEAF: 0.8}


class RayCaster:
    """Casts rays against a town and moving things; every model gets its ray tree once.

    Args:
        tiles: static models in odom.
    """

    def __init__(self, tiles: Sequence[Model]) -> None:
        self._scenes: dict[int, tuple[Model, EmbreeScene, np.ndarray]] = {}
        self._town = EmbreeScene()
        soup = np.concatenate([tile.triangles for tile in tiles]) if tiles else np.zeros((1, 3, 3), np.float32)
        TriangleMesh(self._town, np.ascontiguousarray(soup))
        self._town_albedo = np.concatenate([_albedo(tile) for tile in tiles]) if tiles else np.zeros(1)
        classes = [tile.vertices["cls"][::3] for tile in tiles]
        self._town_class = np.concatenate(classes).astype(np.int64) if tiles else np.zeros(1, np.int64)

    def cast(self, origin: np.ndarray, directions: np.ndarray, items: Sequence[Item]
             ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """Cast rays from one point.

        Args:
            origin: (3,) in odom [m].
            directions: (n, 3) unit vectors in odom.
            items: the moving things.

        Returns:
            (n,) range [m] (inf without a hit), (n,) segment id (0 without a hit), (n,) albedo 0..1 and
            (n,) cosine of the angle of incidence.
        """
        rays = np.ascontiguousarray(directions, np.float32)
        origins = np.broadcast_to(np.asarray(origin, np.float32), rays.shape).copy()
        hit = self._town.run(origins, rays, output=1)
        found = hit["geomID"] >= 0
        distance = np.where(found, hit["tfar"], np.inf)
        triangle = np.where(found, hit["primID"], 0)
        segment = np.where(found, self._town_class[triangle] * SEGMENT_FACTOR, 0)
        albedo = np.where(found, self._town_albedo[triangle], 0.0)
        cosine = _cosine(hit["Ng"], rays)
        for item in items:
            self._cast_item(item, np.asarray(origin, float), directions, distance, segment, albedo, cosine)
        return distance, segment, albedo, cosine

    def _cast_item(self, item: Item, origin: np.ndarray, directions: np.ndarray, distance: np.ndarray,
                   segment: np.ndarray, albedo: np.ndarray, cosine: np.ndarray) -> None:  # fmt: skip
        """Cast the rays that may hit one item in its own frame, and keep the nearer hits (in place)."""
        turn = item.matrix[:3, :3]
        middle = turn @ (0.5 * (item.model.low + item.model.high)) + item.matrix[:3, 3] - origin
        radius = 0.5 * float(np.linalg.norm(item.model.high - item.model.low))
        along = directions @ middle
        near = np.flatnonzero((along > -radius) & (along**2 > middle @ middle - radius**2))
        if not near.size:
            return
        scene, reflect = self._scene(item.model)
        rays = np.ascontiguousarray(directions[near] @ turn, np.float32)
        start = ((origin - item.matrix[:3, 3]) @ turn).astype(np.float32)
        hit = scene.run(np.broadcast_to(start, rays.shape).copy(), rays, output=1)
        closer = (hit["geomID"] >= 0) & (hit["tfar"] < distance[near])
        index = near[closer]
        distance[index] = hit["tfar"][closer]
        segment[index] = item.segment
        albedo[index] = reflect[hit["primID"][closer]]
        cosine[index] = _cosine(hit["Ng"], rays)[closer]

    def _scene(self, model: Model) -> tuple[EmbreeScene, np.ndarray]:
        known = self._scenes.get(id(model))
        if known is None:
            scene = EmbreeScene()
            TriangleMesh(scene, np.ascontiguousarray(model.triangles))
            known = self._scenes[id(model)] = (model, scene, _albedo(model))
        return known[1], known[2]


def _albedo(model: Model) -> np.ndarray:
    value = model.vertices["color"][::3, :3].mean(1).astype(np.float64)
    for kind, first, count in model.ranges:
        value[first // 3 : (first + count) // 3] *= _REFLECTIVITY.get(Kind(kind), 1.0)
    return np.clip(value, 0.02, 1.0)


def _cosine(normals: np.ndarray, rays: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normals, axis=1) + 1e-12
    return np.abs((normals * rays).sum(1)) / length


def lidar_directions(rings: int = RINGS, azimuths: int = AZIMUTHS) -> np.ndarray:
    """Return (rings * azimuths, 3) unit vectors in the LiDAR frame: elevations -25..12 degrees, denser near 0."""
    share = np.linspace(-1, 1, rings)
    elevation = np.radians(np.where(share < 0, -25, 12) * np.abs(share) ** 1.3)[:, None]
    azimuth = np.linspace(-np.pi, np.pi, azimuths, endpoint=False)[None]
    z = np.broadcast_to(np.sin(elevation), (rings, azimuths))
    x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    return np.stack([x, y, z], -1).reshape(-1, 3)


def scan(caster: RayCaster, odom_from_lidar: np.ndarray, items: Sequence[Item], rng: np.random.Generator,
         fog: float = 0.0) -> np.ndarray:  # fmt: skip
    """Return one sweep as (n, 4) float32 x, y, z [m] in the LiDAR frame and intensity 0..1.

    Ranges carry Gaussian noise of `RANGE_NOISE`; a return is lost with 1 % probability, and more often when dark,
    grazing or (in fog) far surfaces send back little light.
    """
    directions = lidar_directions()
    distance, _, albedo, cosine = caster.cast(odom_from_lidar[:3, 3], directions @ odom_from_lidar[:3, :3].T, items)
    noise = rng.normal(0, RANGE_NOISE, len(distance))
    luck = rng.random(len(distance))
    intensity = albedo * (0.15 + 0.85 * cosine)
    with np.errstate(invalid="ignore", over="ignore"):
        signal = intensity * np.exp(-2 * fog * distance) / (1 + (distance / 60) ** 2)
        keep = (distance < MAX_RANGE) & (distance > 0.8) & (luck > 0.01 + 0.4 * np.exp(-signal / 0.004))
    points = directions[keep] * (distance[keep] + noise[keep])[:, None]
    return np.concatenate([points, intensity[keep, None]], 1).astype(np.float32)

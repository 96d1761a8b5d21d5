"""Casts rays (Embree) against a town and its things; every model gets its ray tree once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from amodal_perception_ros.labels import SEGMENT_FACTOR
from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.rendering.drawing import Item

TOWN, NOTHING = -1, -2


@dataclass(eq=False)
class Hits:
    """What n rays met first.

    Attributes:
        distance: (n,) float64 [m], inf without a hit.
        owner: (n,) int64 index of the item, `TOWN` for static geometry, `NOTHING` without a hit.
        triangle: (n,) int64 triangle of the item's model, or of all tiles in order; 0 without a hit.
        segment: (n,) int64 segment id, 0 without a hit.
        normal: (n, 3) unit normals of the surfaces in odom, either side; any without a hit.
        cosine: (n,) float64 cosine of the angle of incidence.
    """

    distance: np.ndarray
    owner: np.ndarray
    triangle: np.ndarray
    segment: np.ndarray
    normal: np.ndarray
    cosine: np.ndarray


class RayCaster:
    """Casts rays against static tiles and moving items.

    Args:
        tiles: static models in odom.
    """

    def __init__(self, tiles: Sequence[Model]) -> None:
        self._scenes: dict[int, tuple[Model, EmbreeScene, np.ndarray]] = {}
        soup = np.concatenate([tile.triangles for tile in tiles]) if tiles else np.zeros((1, 3, 3), np.float32)
        self._town = _tree(soup)
        self._town_segment = np.concatenate([_segments(tile) for tile in tiles]) if tiles else np.zeros(1, np.int64)

    def cast(self, origin: np.ndarray, directions: np.ndarray, items: Sequence[Item],
             near: Sequence[np.ndarray] | None = None) -> Hits:  # fmt: skip
        """Return what rays meet first.

        Args:
            origin: (3,) or (n, 3), in odom [m].
            directions: (n, 3) unit vectors in odom.
            items: the moving things.
            near: per item the rays that may meet it; None lets its bounding sphere decide.
        """
        origin = np.asarray(origin, float)
        rays = np.ascontiguousarray(directions, np.float32)
        hit = self._town.run(np.ascontiguousarray(np.broadcast_to(origin, rays.shape), np.float32), rays, output=1)
        found = hit["geomID"] >= 0
        triangle = np.where(found, hit["primID"], 0).astype(np.int64)
        normal = _unit(hit["Ng"])
        hits = Hits(
            np.where(found, hit["tfar"], np.inf).astype(np.float64),
            np.where(found, TOWN, NOTHING),
            triangle,
            np.where(found, self._town_segment[triangle], 0),
            normal,
            np.abs((normal * rays).sum(1)),
        )
        for index, item in enumerate(items):
            if near is None:
                self._keep(index, item, *self._meet(item, origin, directions), hits)
            elif near[index].size:
                among = near[index]
                chosen, hit = self._meet(item, origin[among], directions[among])
                self._keep(index, item, among[chosen], hit, hits)
        return hits

    def alone(self, origin: np.ndarray, directions: np.ndarray, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Return (m,) the rays that meet an item without anything else, and (m,) their ranges [m]."""
        rays, hit = self._meet(item, np.asarray(origin, float), directions)
        return rays, hit["tfar"].astype(np.float64)

    def hidden(self, origins: np.ndarray, direction: np.ndarray, items: Sequence[Item]) -> np.ndarray:
        """Return (n,) bool: whether anything lies ahead of (n, 3) points in one direction, a (3,) unit vector."""
        directions = np.broadcast_to(np.asarray(direction, float), origins.shape)
        starts, rays = (np.ascontiguousarray(v, np.float32) for v in (origins, directions))
        out = self._town.run(starts, rays, query="OCCLUDED") >= 0
        for item in items:
            out[self._meet(item, origins, directions)[0]] = True
        return out

    def _meet(self, item: Item, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Cast the rays that may hit one item in its own frame; return those that do, and what they hit."""
        turn = item.matrix[:3, :3]
        middle = turn @ (0.5 * (item.model.low + item.model.high)) + item.matrix[:3, 3] - origin
        radius = 0.5 * float(np.linalg.norm(item.model.high - item.model.low))
        along = directions @ middle if origin.ndim == 1 else (directions * middle).sum(1)
        near = np.flatnonzero((along > -radius) & (along**2 > (middle**2).sum(-1) - radius**2))
        rays = np.ascontiguousarray(directions[near] @ turn, np.float32)
        start = (origin - item.matrix[:3, 3]) @ turn
        start = np.broadcast_to(start if origin.ndim == 1 else start[near], rays.shape)
        tree, _ = self._scene(item.model)
        hit = tree.run(np.ascontiguousarray(start, np.float32), rays, output=1)
        met = hit["geomID"] >= 0
        normal = _unit(hit["Ng"][met])
        return near[met], {
            "tfar": hit["tfar"][met],
            "primID": hit["primID"][met].astype(np.int64),
            "normal": normal @ turn.T,
            "cosine": np.abs((normal * rays[met]).sum(1)),
        }

    def _keep(self, index: int, item: Item, rays: np.ndarray, hit: dict[str, np.ndarray], hits: Hits) -> None:
        """Keep an item's hits where they are nearer than those so far."""
        closer = hit["tfar"] < hits.distance[rays]
        chosen, triangle = rays[closer], hit["primID"][closer]
        _, segment = self._scene(item.model)
        hits.distance[chosen] = hit["tfar"][closer]
        hits.owner[chosen] = index
        hits.triangle[chosen] = triangle
        hits.segment[chosen] = np.where(segment[triangle] > 0, segment[triangle], item.segment)
        hits.normal[chosen] = hit["normal"][closer]
        hits.cosine[chosen] = hit["cosine"][closer]

    def _scene(self, model: Model) -> tuple[EmbreeScene, np.ndarray]:
        known = self._scenes.get(id(model))
        if known is None:
            known = self._scenes[id(model)] = (model, _tree(model.triangles), _segments(model))
        return known[1], known[2]


def _tree(triangles: np.ndarray) -> EmbreeScene:
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(triangles))
    return scene


def _segments(model: Model) -> np.ndarray:
    """Segment per triangle of a model: stuff by its class, 0 where the item's own id counts."""
    return model.vertices["cls"][::3].astype(np.int64) * SEGMENT_FACTOR


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)

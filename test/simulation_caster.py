"""An independent witness of the simulator's truth: one Embree scene of all triangles of a frame, in odom."""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from amodal_perception_ros.simulation.rendering.view import FAR


@dataclass
class Seen:
    """What rays met: distance (inf: nothing), segment id, and the met point one frame later, both in odom."""

    distance: np.ndarray
    segment: np.ndarray
    point: np.ndarray
    next_point: np.ndarray


class Witness:
    """Casts rays against all triangles of tiles and items at their place in the frame."""

    def __init__(self, tiles, items):
        now, later, segments = [], [], []
        for tile in tiles:
            now.append(tile.triangles.astype(float))
            later.append(now[-1])
            segments.append(tile.vertices["cls"][::3].astype(int) * 1000)
        for item in items:
            now.append(placed(item.model, item.matrix))
            matrix = item.matrix if item.next_matrix is None else item.next_matrix
            later.append(placed(item.next_model or item.model, matrix))
            stuff = item.model.vertices["cls"][::3].astype(int)
            segments.append(np.where(stuff > 0, stuff * 1000, item.segment))
        self.now, self.later, self.segments = (np.concatenate(parts) for parts in (now, later, segments))
        self.scene = EmbreeScene()
        TriangleMesh(self.scene, np.ascontiguousarray(self.now, np.float32))

    def cast(self, origin, directions):
        """Return `Seen` of rays from one (3,) point along (n, 3) directions; distances are in units of theirs."""
        rays = np.ascontiguousarray(directions, np.float32)
        hit = self.scene.run(np.broadcast_to(np.asarray(origin, np.float32), rays.shape).copy(), rays, output=1)
        found, k = hit["geomID"] >= 0, np.maximum(hit["primID"], 0)
        weight = np.stack([1.0 - hit["u"] - hit["v"], hit["u"], hit["v"]], -1)
        point, next_point = (np.einsum("nk,nkc->nc", weight, corners[k]) for corners in (self.now, self.later))
        return Seen(
            np.where(found, hit["tfar"], np.inf).astype(float),
            np.where(found, self.segments[k], 0),
            np.where(found[:, None], point, np.nan),
            np.where(found[:, None], next_point, np.nan),
        )

    def picture(self, view):
        """Return `Seen` through the (height * width) pixel centres of a view; `distance` is the planar depth."""
        camera, k = view.camera, view.camera.intrinsics
        u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1).reshape(-1, 3)
        seen = self.cast(view.odom_from_camera[:3, 3], rays @ view.odom_from_camera[:3, :3].T)
        seen.segment[seen.distance > FAR] = 0
        return seen


def placed(model, matrix):
    """Return the (n, 3, 3) corners of a model in odom."""
    return model.triangles.astype(float) @ matrix[:3, :3].T + matrix[:3, 3]

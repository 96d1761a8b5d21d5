"""True bird's-eye-view occupancy around the ego vehicle, which cells the sensors reached, and the view from above."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amodal_perception_ros.labels import BY_NAME, SEGMENT_FACTOR
from amodal_perception_ros.scene import BevOccupancy, CameraScene, Evidence, Source, SourceStatus
from amodal_perception_ros.simulation.assets.meshes import Material, MeshBuilder, Model
from amodal_perception_ros.simulation.rendering.drawing import Item, SceneRenderer
from amodal_perception_ros.simulation.rendering.view import SEEN_FROM_ABOVE, View
from amodal_perception_ros.simulation.town.town import Footprint

EXTENT, RESOLUTION = 80.0, 0.2
"""Side of the square grid and of its cells [m]."""

PICTURE_SIZE = 400
"""Pixels of a side of the picture from above."""

Z_MIN, Z_MAX = 0.2, 2.5
LOW_RAY = 0.5
"""A ray clears the cells over which it passes lower than this height above the road [m]."""

GROUND = tuple(BY_NAME[name].id for name in ("road", "sidewalk", "terrain"))
_OVERSAMPLE = 2
_CAMERA_ROWS, _CAMERA_COLUMNS = 96, 512
_AZIMUTHS, _RANGE_STEP = 1440, 0.2


def footprint_model(footprints: Sequence[Footprint]) -> Model | None:
    """Return the outlines of static obstacles as flat polygons at z = 1 m, for the view from above."""
    if not footprints:
        return None
    mesh = MeshBuilder()
    for footprint in footprints:
        n = len(footprint.corners)
        vertices = np.concatenate([footprint.corners, np.ones((n, 1))], 1)
        faces = np.array([(0, k, k + 1) for k in range(1, n - 1)])
        mesh.add((vertices, faces, np.zeros((n, 2))), Material((0.5, 0.5, 0.5)), footprint.class_id)
    return mesh.bake(crease_degrees=0)


def ground_model(tiles: Sequence[Model]) -> Model:
    """Return the ground surfaces (road, sidewalk, terrain) of the town as one model."""
    corners = np.concatenate([tile.vertices for tile in tiles])
    keep = np.isin(corners["cls"], GROUND)
    kept = corners[keep]
    return Model(kept, ((0, 0, len(kept)),), kept["position"].min(0), kept["position"].max(0))


class BevTruth:
    """Makes the true occupancy grid of each frame.

    Args:
        renderer: draws the view from above.
        tiles, footprints: static world.
    """

    def __init__(self, renderer: SceneRenderer, tiles: Sequence[Model], footprints: Sequence[Footprint]) -> None:
        self._renderer = renderer
        static = footprint_model(footprints)
        blank = np.zeros((4, 3))
        self._static = [Item(static, np.eye(4), blank)] if static is not None else []
        self._ground = [Item(ground_model(tiles), np.eye(4), blank)]

    def grid(
        self,
        stamp_ns: int,
        ego: np.ndarray,
        things: Sequence[Item],
        views: Sequence[View],
        scenes: Sequence[CameraScene],
        lidar_origin: np.ndarray,
        lidar_points: np.ndarray,
    ) -> BevOccupancy:
        """Return the grid of one frame, axis-aligned in odom and centred near the ego vehicle.

        `amodal` is the full truth, 0 or 100: cells over which anything stands that reaches into `Z_MIN..Z_MAX`
        (things seen from above, outlines of buildings, walls, fences, poles and trunks), hidden or not. `visible` is
        the same value where a sensor reached the cell, -1 elsewhere; a ray reaches the cells it passes below
        `LOW_RAY` and the cell in which it ends on a surface below `Z_MAX`. `semantic` is the true class of the
        obstacle, else of the ground. `evidence` is LIDAR, CAMERA, or AMODAL_INFERRED for the rest of the known truth.

        Args:
            stamp_ns: time of the frame.
            ego: (2,) position of base_link [m].
            things: things in reach.
            views: the cameras.
            scenes: their truth.
            lidar_origin: (3,) in odom.
            lidar_points: (n, 3) in odom [m].
        """
        count = round(EXTENT / RESOLUTION)
        low = _low_corner(ego)
        near = [item for item in things if item.segment and np.abs(item.matrix[:2, 3] - ego).max() < EXTENT / 2 + 8]
        layers = self._renderer.above(
            low,
            RESOLUTION / _OVERSAMPLE,
            count * _OVERSAMPLE,
            [self._ground, self._static, near],
            [(-1.0, Z_MIN), (0.0, 2.0), (Z_MIN, 8.0)],
        )
        ground = layers[0][::_OVERSAMPLE, ::_OVERSAMPLE] // SEGMENT_FACTOR
        obstacle = np.where(_pooled(layers[2]) > 0, _pooled(layers[2]), _pooled(layers[1])) // SEGMENT_FACTOR
        amodal = np.where(obstacle > 0, 100, 0).astype(np.int8)
        by_lidar = _reached(low, count, lidar_origin, lidar_points - lidar_origin)
        by_camera = np.zeros_like(by_lidar)
        for view, scene in zip(views, scenes):
            by_camera |= _reached(low, count, view.odom_from_camera[:3, 3], _camera_rays(view, scene))
        evidence = np.full((count, count), Evidence.AMODAL_INFERRED, np.uint8)
        evidence[by_camera] = Evidence.CAMERA
        evidence[by_lidar] = Evidence.LIDAR
        names = ["lidar", *(scene.camera.name for scene in scenes)]
        return BevOccupancy(
            stamp_ns,
            RESOLUTION,
            (float(low[0]), float(low[1])),
            np.where(by_lidar | by_camera, amodal, -1).astype(np.int8),
            amodal,
            np.where(obstacle > 0, obstacle, ground).astype(np.uint8),
            evidence,
            Z_MIN,
            Z_MAX,
            tuple(Source(name, SourceStatus.OK, 0) for name in names),
        )

    def picture(self, ego: np.ndarray, things: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
        """Return the RGB picture and the segments of the grid's area as seen from straight above.

        Both have `PICTURE_SIZE` rows and columns, row 0 at the greatest y: (h, w, 3) uint8 and (h, w) uint16.

        Args:
            ego: (2,) position of base_link [m].
            things: things in reach.
        """
        low, cell = _low_corner(ego), EXTENT / PICTURE_SIZE
        everything = [*self._renderer.tiles, *things]
        (segments,) = self._renderer.above(low, cell, PICTURE_SIZE, [everything], [SEEN_FROM_ABOVE])
        return self._renderer.picture_above(low, cell, PICTURE_SIZE), segments[::-1].copy()


def _low_corner(ego: np.ndarray) -> np.ndarray:
    """Lower-left corner of the area around an (2,) ego position, snapped to the cells [m]."""
    return np.round((np.asarray(ego) - EXTENT / 2) / RESOLUTION) * RESOLUTION


def _pooled(segments: np.ndarray) -> np.ndarray:
    n = segments.shape[0] // _OVERSAMPLE
    return segments.reshape(n, _OVERSAMPLE, n, _OVERSAMPLE).max((1, 3))


def _camera_rays(view: View, scene: CameraScene) -> np.ndarray:
    """(n, 3) float32 vectors from the camera to the surface points of its depth picture, in odom's axes [m].

    Every row and column is not needed: about `_CAMERA_ROWS` x `_CAMERA_COLUMNS` rays are taken.
    """
    height, width = scene.depth.shape
    down, right = max(1, height // _CAMERA_ROWS), max(1, width // _CAMERA_COLUMNS)
    depth, k = scene.depth[::down, ::right], view.camera.intrinsics
    u = ((np.arange(0, width, right) + 0.5 - k[0, 2]) / k[0, 0]).astype(np.float32)
    v = ((np.arange(0, height, down) + 0.5 - k[1, 2]) / k[1, 1]).astype(np.float32)
    rows, columns = np.nonzero(depth < EXTENT)
    z = depth[rows, columns]
    return np.stack([u[columns] * z, v[rows] * z, z], -1) @ view.odom_from_camera[:3, :3].T.astype(np.float32)


def _reached(low: np.ndarray, count: int, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Cells that rays, vectors from an origin to surface points, reach, through a polar grid around the origin."""
    ranges = round(EXTENT / _RANGE_STEP)
    swept = np.zeros((_AZIMUTHS, ranges + 1), np.int32)
    if len(rays):
        rays = rays[rays[:, 2] < Z_MAX - origin[2]]
        distance = np.hypot(rays[:, 0], rays[:, 1])
        azimuth = _azimuth_bin(rays[:, 0], rays[:, 1])
        low_part = np.clip((origin[2] - LOW_RAY) / np.maximum(-rays[:, 2], 1e-3), 0, 1)
        start = distance * low_part
        use = distance < EXTENT
        first = (start[use] / _RANGE_STEP).astype(np.int64)
        last = (distance[use] / _RANGE_STEP).astype(np.int64) + 1
        size = swept.size
        flat = azimuth[use] * (ranges + 1)
        change = np.bincount(flat + first, minlength=size) - np.bincount(
            flat + np.minimum(last, ranges), minlength=size
        )
        swept = np.cumsum(change.reshape(swept.shape), 1)
    centers = low[:, None] + (np.arange(count) + 0.5) * RESOLUTION - np.asarray(origin)[:2, None]
    x, y = np.meshgrid(*centers.astype(np.float32))
    bin_r = np.minimum((np.hypot(x, y) / _RANGE_STEP).astype(np.int64), ranges)
    return swept[_azimuth_bin(x, y), bin_r] > 0


def _azimuth_bin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * _AZIMUTHS).astype(np.int64) % _AZIMUTHS

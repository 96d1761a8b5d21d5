"""What the sensors of one set say of a box: seen empty, occupied, hidden, or outside their view.

Only the core of a box is asked about (`CORES`): boxes are placed and sized with an error, vehicles stand clear of the
ground and have windows, and of a person only the trunk fills its place.

- A **camera** sees through a point where its visible depth is clearly farther than the point (by a fifth and
  `DEPTH_MARGIN`, more than a network's depth errs) or the pixel is sky; the point is hidden where the depth is clearly
  nearer, else occupied. The nearest depth of the pixel and its eight neighbours counts, so that nobody is seen through
  beside a thin object's edge. Unknown depth says nothing.
- A **LiDAR ray** passes where it ends behind the core, occupies where it ends in it, and is blocked where it ends in
  front. Rays without a return say nothing: absorbed or into the sky, the cloud does not tell.

Where at least `MIN_RAYS` rays reach the core the LiDAR decides, because its ranges are exact; else the cameras do.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from amodal_perception_ros.fusion.geometry import project, transform, yaw_of
from amodal_perception_ros.fusion.ragged import members
from amodal_perception_ros.labels import BY_NAME, SEGMENT_FACTOR
from amodal_perception_ros.scene import Camera, CameraScene, SurroundFrame, SurroundScene

CORES = np.tile([0.6, 0.25, 0.6], (256, 1))
CORES[[BY_NAME[name].id for name in ("person", "rider")]] = 0.2, 0.5, 0.75
"""Class id -> share of length and width, and lower and upper share of the height, that are solid in the class."""

DEPTH_MARGIN = 0.5
"""Absolute part of what "clearly nearer or farther" means for a camera's depth [m]."""

DEPTH_RATIO = 1.2
"""Relative part of it."""

MIN_RAYS = 4
"""So many LiDAR rays through a core or into it are enough to know."""

_SKY = BY_NAME["sky"].id
_EMPTY, _OCCUPIED, _HIDDEN, _OUTSIDE = range(4)


class Boxes(NamedTuple):
    """n upright boxes in one frame.

    Attributes:
        centers: (n, 3) [m].
        sizes: (n, 3) length, width, height [m].
        yaws: (n,) [rad].
        class_ids: (n,) int64.
    """

    centers: np.ndarray
    sizes: np.ndarray
    yaws: np.ndarray
    class_ids: np.ndarray

    def cores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper corners of the cores in the boxes' own axes, (n, 3) each [m]."""
        across, low, high = CORES[self.class_ids].T
        return (
            np.stack([-across / 2, -across / 2, low - 0.5], axis=1) * self.sizes,
            np.stack([across / 2, across / 2, high - 0.5], axis=1) * self.sizes,
        )


class Sightings(NamedTuple):
    """Shares of n cores, (n,) float64 each, that add up to 1.

    Attributes:
        empty: seen through.
        occupied: a seen surface lies there; whose it is is not asked.
        hidden: something nearer stands in front.
        outside: in no sensor's view, or nothing is known.
    """

    empty: np.ndarray
    occupied: np.ndarray
    hidden: np.ndarray
    outside: np.ndarray


class SensorViews:
    """The cameras' depth and the LiDAR of one set, to be asked about boxes in odom.

    Args:
        frame: the set; its LiDAR's place on the rig is used.
        scene: visible depth and labels of the cameras; cameras without calibration are left out.
        points: (N, 3) float32 LiDAR cloud in base_link, or None.
        pose: (4, 4) odom_from_base.
    """

    def __init__(self, frame: SurroundFrame, scene: SurroundScene, points: np.ndarray | None, pose: np.ndarray) -> None:
        self._cameras = [
            (one.camera, _nearest_depth(one)) for one in scene.cameras.values() if one.camera.is_calibrated
        ]
        self._base_from_odom, self._turn = np.linalg.inv(pose), yaw_of(pose)
        has_rays = points is not None and len(points) > 0
        self._rays = _Rays(points, frame.rig.base_from_lidar[:3, 3]) if points is not None and has_rays else None

    def look_at(self, boxes: Boxes) -> Sightings:
        """Return what the sensors say of boxes in odom."""
        local = boxes._replace(centers=transform(boxes.centers, self._base_from_odom), yaws=boxes.yaws - self._turn)
        shares = _seen_by_cameras(self._cameras, local)
        if self._rays is not None:
            counts = self._rays.count(local)
            decided = counts[:, _EMPTY] + counts[:, _OCCUPIED] >= MIN_RAYS
            shares[decided] = counts[decided] / counts[decided].sum(axis=1, keepdims=True)
        return Sightings(*shares.T)


def _core_points(boxes: Boxes) -> np.ndarray:
    """Return (n, 27, 3) points spread over the cores."""
    steps = np.array([0.0, 0.5, 1.0])
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    low, high = boxes.cores()
    local = low[:, None] + lattice * (high - low)[:, None]
    cos, sin = np.cos(boxes.yaws)[:, None], np.sin(boxes.yaws)[:, None]
    x = cos * local[..., 0] - sin * local[..., 1]
    y = sin * local[..., 0] + cos * local[..., 1]
    return np.stack([x, y, local[..., 2]], -1) + boxes.centers[:, None]


def _nearest_depth(scene: CameraScene) -> np.ndarray:
    """Return (H, W) float32 nearest depth of each pixel's neighbourhood; infinite in the sky, NaN unknown."""
    depth = np.where(scene.labels // SEGMENT_FACTOR == _SKY, np.float32(np.inf), scene.depth)
    unknown = np.isnan(depth)
    depth[unknown] = np.inf
    depth = cv2.erode(depth, np.ones((3, 3), np.uint8))
    depth[unknown] = np.nan
    return depth


def _seen_by_cameras(cameras: list[tuple[Camera, np.ndarray]], boxes: Boxes) -> np.ndarray:
    """Return (n, 4) shares; of several cameras the one that says most counts: empty, occupied, hidden, outside."""
    points = _core_points(boxes)
    flat = points.reshape(-1, 3)
    state: np.ndarray = np.full(len(flat), _OUTSIDE)
    for camera, depth in cameras:
        state = np.minimum(state, _point_states(camera, depth, flat))
    state = state.reshape(points.shape[:2])
    return np.stack([(state == kind).mean(axis=1) for kind in range(4)], axis=1)


def _point_states(camera: Camera, depth: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the (m,) state of (m, 3) base_link points in one camera."""
    state = np.full(len(points), _OUTSIDE)
    inside, columns, rows, z = project(points, camera)
    seen = depth[rows, columns].astype(np.float64)
    found = np.full(len(z), _OCCUPIED)
    found[seen > DEPTH_RATIO * z + DEPTH_MARGIN] = _EMPTY
    found[DEPTH_RATIO * seen + DEPTH_MARGIN < z] = _HIDDEN
    found[np.isnan(seen)] = _OUTSIDE
    state[inside] = found
    return state


class _Rays:
    """LiDAR rays sorted by azimuth, so that a box is compared only with those of its own sector."""

    def __init__(self, points: np.ndarray, origin: np.ndarray) -> None:
        offset = points.astype(np.float64) - origin
        azimuth = np.arctan2(offset[:, 1], offset[:, 0])
        order = np.argsort(azimuth, kind="stable")
        # Two turns, so that a sector across +-pi is one run.
        self._azimuth = np.concatenate([azimuth[order], azimuth[order] + 2 * np.pi])
        self._offset, self._origin = offset[order].astype(np.float32), origin

    def count(self, boxes: Boxes) -> np.ndarray:
        """Return (n, 4) numbers of rays that pass, end in and are blocked in front of the cores; the last is 0."""
        first, length = self._sectors(boxes)
        box, place = members(length)
        ray = place + first[box]
        near, far, ends_inside = self._cross(ray % len(self._offset), box, boxes)
        kind = np.select([far < 1.0, ends_inside], [_EMPTY, _OCCUPIED], _HIDDEN)[near < far]
        box = box[near < far]
        counts = np.bincount(box * 4 + kind, minlength=4 * len(first))
        return counts.reshape(-1, 4).astype(np.float64)

    def _sectors(self, boxes: Boxes) -> tuple[np.ndarray, np.ndarray]:
        """First ray and number of rays of each box's sector; of a box around the sensor there are none."""
        x, y = (boxes.centers[:, :2] - self._origin[:2]).T
        radius, distance = np.hypot(*boxes.cores()[1][:, :2].T), np.hypot(x, y)
        half = np.arcsin(np.minimum(radius / np.maximum(distance, 1e-6), 1.0))
        low = (np.arctan2(y, x) - half + np.pi) % (2 * np.pi) - np.pi
        first = np.searchsorted(self._azimuth, low)
        last = np.searchsorted(self._azimuth, low + 2 * half, side="right")
        return first, np.where(distance > radius, last - first, 0)

    def _cross(self, ray: np.ndarray, box: np.ndarray, boxes: Boxes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The slab test (Kay and Kajiya, 1986) of pairs of a ray and a box.

        Returns:
            Where the rays enter and leave the cores, in units of their length, and whether they end in the whole box.
        """
        cos, sin = np.cos(boxes.yaws), np.sin(boxes.yaws)
        start = self._origin - boxes.centers
        starts = (cos * start[:, 0] + sin * start[:, 1], cos * start[:, 1] - sin * start[:, 0], start[:, 2])
        cos, sin = cos.astype(np.float32)[box], sin.astype(np.float32)[box]
        x, y, z = self._offset[ray].T
        near, far = np.zeros(len(ray), np.float32), np.full(len(ray), np.inf, np.float32)
        ends_inside = np.ones(len(ray), bool)
        lower, upper = boxes.cores()
        for axis, direction in enumerate((cos * x + sin * y, cos * y - sin * x, z)):
            begin = starts[axis].astype(np.float32)[box]
            low, high = ((bound[:, axis] - starts[axis]).astype(np.float32)[box] for bound in (lower, upper))
            slope = 1.0 / np.where(np.abs(direction) < 1e-6, np.float32(1e-6), direction)
            near = np.maximum(near, np.minimum(low * slope, high * slope))
            far = np.minimum(far, np.maximum(low * slope, high * slope))
            ends_inside &= np.abs(begin + direction) <= (boxes.sizes[:, axis] / 2).astype(np.float32)[box]
        return near, far, ends_inside

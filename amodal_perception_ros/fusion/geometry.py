"""Rigid transforms, and LiDAR points seen through the cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.motion_compensation import VehicleOutline, compensate
from amodal_perception_ros.scene import Camera, CameraScene, SurroundFrame, SurroundScene
from amodal_perception_ros.trajectory import is_rigid

MIN_DEPTH = 0.3
"""Nearest planar depth that counts as in front of a camera [m]."""

MAX_DEPTH = 150.0
"""Farthest planar depth that is believed [m]."""


class FusionError(InputError):
    """Sensor data that cannot be placed in space; the message says what, where and what to do."""


def require_pose(odom_from_base: np.ndarray | None, stamp_ns: int) -> np.ndarray:
    """Return the (4, 4) float64 pose of base_link in odom.

    Raises:
        FusionError: there is no pose, it is not finite, or it is no rigid transform.
    """
    where = f"set at {stamp_ns} ns"
    if odom_from_base is None:
        raise FusionError(f"{where}: the BEV grid lives in odom and needs odometry; check the odometry topic")
    pose = np.asarray(odom_from_base, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise FusionError(f"{where}: the odometry pose is not a finite 4 x 4 matrix; the set is skipped")
    if not is_rigid(pose):
        raise FusionError(f"{where}: the odometry pose is no rigid transform; check its quaternion is normalized")
    return pose


def transform(points: np.ndarray, a_from_b: np.ndarray) -> np.ndarray:
    """Move (N, 3) points of frame b into frame a with a (4, 4) transform; float32 stays float32."""
    matrix = a_from_b.astype(points.dtype, copy=False)
    # Three long rows are multiplied several times faster than many short ones.
    return (matrix[:3, :3] @ points.T + matrix[:3, 3:]).T


def yaw_of(a_from_b: np.ndarray) -> float:
    """Heading of frame b's x axis about frame a's z axis [rad]."""
    return float(np.arctan2(a_from_b[1, 0], a_from_b[0, 0]))


def compensated(
    frame: SurroundFrame, scene: SurroundScene, outline: VehicleOutline | None = None
) -> tuple[SurroundFrame, SurroundScene]:
    """Return a set compensated for motion, and its scene with the cameras where the compensated rig has them.

    Both come back as they are when the frame has no trajectory (any more).
    """
    if frame.trajectory is None:
        return frame, scene
    frame = compensate(frame, outline).frame
    placed = {camera.name: camera.base_from_camera for camera in frame.rig.cameras}
    cameras = {
        # Taken from the rig and not multiplied, so that a scene of compensated cameras is not moved again.
        name: replace(seen, camera=replace(seen.camera, base_from_camera=placed[name])) if name in placed else seen
        for name, seen in scene.cameras.items()
    }
    return frame, replace(scene, cameras=cameras)


def lidar_in_base(frame: SurroundFrame) -> np.ndarray | None:
    """Return the finite LiDAR points as (N, 3) float32 in base_link; None without a LiDAR.

    A cloud without a single finite point gives an empty array. The sensor's own zero (no return) is dropped.
    """
    if frame.lidar is None:
        return None
    points = frame.lidar[:, :3].astype(np.float32, copy=False)
    reach = np.einsum("ij,ij->i", points, points)
    points = points[(reach > 0.01) & (reach < 1e6)]  # NaN and infinity fail both comparisons
    return transform(points, frame.rig.base_from_lidar)


def lift_pixels(camera: Camera, columns: np.ndarray, rows: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Lift (N,) pixel indices (centre = index + 0.5) with planar depth [m] to (N, 3) float32 points in base_link."""
    k = camera.intrinsics
    x = (columns + 0.5 - k[0, 2]) / k[0, 0] * depth
    y = (rows + 0.5 - k[1, 2]) / k[1, 1] * depth
    return transform(np.stack([x, y, depth], 1).astype(np.float32), camera.base_from_camera)


def project(
    points: np.ndarray, camera: Camera, farthest: float = np.inf
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Project (N, 3) base_link points, in their own precision, into a camera.

    Returns:
        Of the (M,) points in the image between `MIN_DEPTH` and `farthest` [m]: int64 row of the point, int32 column and
        row of the pixel, and planar depth [m].
    """
    k = camera.intrinsics.astype(points.dtype)
    x, y, z = transform(points, np.linalg.inv(camera.base_from_camera)).T
    index = np.flatnonzero((z > MIN_DEPTH) & (z < farthest))
    depth = z[index]
    u, v = x[index] / depth * k[0, 0] + k[0, 2], y[index] / depth * k[1, 1] + k[1, 2]
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return index[inside], u[inside].astype(np.int32), v[inside].astype(np.int32), depth[inside]


@dataclass(frozen=True, eq=False)
class CameraCloud:
    """The LiDAR points that one camera sees.

    Attributes:
        index: (M,) int64 rows of the base_link cloud.
        columns, rows: (M,) int32 pixel.
        depth: (M,) float32 planar depth [m].
        segment: (M,) uint16 value of the panoptic labels at the pixel, 0 where the point's depth contradicts
            the camera's (the LiDAR sees over or beside what the camera sees).
    """

    index: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    depth: np.ndarray
    segment: np.ndarray


def cloud_in_camera(points: np.ndarray, scene: CameraScene) -> CameraCloud:
    """Project (N, 3) float32 base_link points into a camera and read its labels there.

    A point keeps its label when its depth is within [0.7, 1.4] times the camera's, plus or minus 1 m: wide enough
    for a monocular depth, narrow enough to tell an object from the wall behind it.
    """
    index, columns, rows, depth = project(points, scene.camera, MAX_DEPTH)
    seen = scene.depth[rows, columns]
    contradicts = (depth < 0.7 * seen - 1.0) | (depth > 1.4 * seen + 1.0)
    segment = np.where(contradicts, 0, scene.labels[rows, columns]).astype(np.uint16)
    return CameraCloud(index, columns, rows, depth, segment)


def see_cloud(points: np.ndarray | None, scene: SurroundScene) -> dict[str, CameraCloud]:
    """Return camera name -> the cloud as that camera sees it; empty without a cloud."""
    if points is None:
        return {}
    return {name: cloud_in_camera(points, camera_scene) for name, camera_scene in scene.cameras.items()}

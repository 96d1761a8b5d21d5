"""A camera placed in the world: projection, culling and the rectangle an object may cover; the view from above."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from amodal_perception_ros.scene import Camera

NEAR, FAR = 0.15, 450.0
"""Clipping planes of the cameras [m]."""

EYE_HEIGHT = 150.0
"""Where the view from above has its eye [m]."""

SEEN_FROM_ABOVE = (-20.0, 200.0)
"""Heights that the picture from above and its labels show [m]."""


@dataclass(eq=False)
class View:
    """A camera placed in the world.

    Attributes:
        camera: calibration.
        odom_from_camera: (4, 4) pose of the optical frame.
        projection: (4, 4) clip_from_odom.
        camera_from_odom: (4, 4) the inverse; its third row makes the depth of a point.
    """

    camera: Camera
    odom_from_camera: np.ndarray
    projection: np.ndarray = field(init=False)
    camera_from_odom: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        k, w, h = self.camera.intrinsics, self.camera.width, self.camera.height
        self.camera_from_odom = np.linalg.inv(self.odom_from_camera)
        lens = np.zeros((4, 4))
        lens[0, 0], lens[0, 2] = 2 * k[0, 0] / w, 2 * k[0, 2] / w - 1
        lens[1, 1], lens[1, 2] = -2 * k[1, 1] / h, 1 - 2 * k[1, 2] / h
        lens[2, 2], lens[2, 3] = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
        lens[3, 2] = 1
        self.projection = lens @ self.camera_from_odom

    def rectangle(self, points: np.ndarray, matrix: np.ndarray) -> tuple[int, int, int, int] | None:
        """Return (left, top, right, bottom) [px] that holds all (n, 3) points; None outside the picture.

        Objects that cross the near plane get the whole picture.
        """
        c, w, h = self.camera, self.camera.width, self.camera.height
        camera_from_model = self.camera_from_odom @ matrix
        p = points @ camera_from_model[:3, :3].T + camera_from_model[:3, 3]
        if p[:, 2].max() < NEAR:
            return None
        if p[:, 2].min() < NEAR * 1.01:
            return 0, 0, w, h
        u = p[:, 0] / p[:, 2] * c.intrinsics[0, 0] + c.intrinsics[0, 2]
        v = p[:, 1] / p[:, 2] * c.intrinsics[1, 1] + c.intrinsics[1, 2]
        left, top = max(0, int(np.floor(u.min())) - 1), max(0, int(np.floor(v.min())) - 1)
        right, bottom = min(w, int(np.ceil(u.max())) + 1), min(h, int(np.ceil(v.max())) + 1)
        return (left, top, right, bottom) if left < right and top < bottom else None


@dataclass(eq=False)
class TopView:
    """A square seen from straight above without perspective: x to the right, y upwards.

    Attributes:
        low: (2,) its lower-left corner in odom [m].
        side: its length [m].
        band: (z_min, z_max) that is seen [m].
        odom_from_camera: (4, 4) pose of an eye `EYE_HEIGHT` above the middle, for reflections.
        projection: (4, 4) clip_from_odom.
    """

    low: np.ndarray
    side: float
    band: tuple[float, float]
    odom_from_camera: np.ndarray = field(init=False)
    projection: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        half, middle, span = self.side / 2, 0.5 * (self.band[0] + self.band[1]), 0.5 * (self.band[1] - self.band[0])
        center = np.asarray(self.low, float)[:2] + half
        self.projection = np.diag([1 / half, 1 / half, -1 / span, 1.0])
        self.projection[:3, 3] = [*(-center / half), middle / span]
        self.odom_from_camera = camera_pose(np.array([*center, EYE_HEIGHT]), np.pi / 2, -np.pi / 2)


def box_corners(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the (8, 3) corners of an axis-aligned box."""
    return np.where(_CORNERS, high, low)


_CORNERS = np.array([[k & 1, k & 2, k & 4] for k in range(8)], bool)


def camera_pose(position: np.ndarray, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Return the (4, 4) pose of an optical frame that looks to heading `yaw`, `pitch` upwards [rad].

    A positive `roll` [rad] turns the camera to its right (the picture's content to the left) about its line of sight.
    """
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    level = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, level)
    right = np.cos(roll) * level + np.sin(roll) * down
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    pose[:3, 3] = position
    return pose

"""From a synchronized frame to the network's input; the same code serves training and inference."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from amodal_perception_ros.network import CANONICAL_FOCAL
from amodal_perception_ros.scene import Camera, SurroundFrame

MIN_LIDAR_DEPTH = 0.5
"""Points nearer than this to the image plane [m] are on the vehicle itself and are not projected."""


@dataclass(frozen=True, eq=False)
class View:
    """How a camera's image lies in the network's input: scaled uniformly into the top-left corner.

    Attributes:
        camera: the original camera.
        scale: input pixels per image pixel.
        width, height: size of the scaled image inside the input [px]; the rest is zero padding.
    """

    camera: Camera
    scale: float
    width: int
    height: int

    @property
    def focal(self) -> float:
        """Horizontal focal length at the input's scale [px]."""
        return float(self.camera.intrinsics[0, 0]) * self.scale

    @property
    def depth_scale(self) -> float:
        """Metres per unit of the network's canonical depth."""
        return self.focal / CANONICAL_FOCAL


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """One batch for the network, one entry a camera.

    Attributes:
        image: (B, 3, H, W) float32 RGB in 0..1.
        guidance: (B, 2, H, W) float32; canonical inverse depth of LiDAR points [1/m], and validity 0/1.
        views: B views, in the order of the batch.
    """

    image: np.ndarray
    guidance: np.ndarray
    views: tuple[View, ...]


def view_of(camera: Camera, input_size: tuple[int, int]) -> View:
    """Return the view of a camera in a network input of size (width, height)."""
    scale = min(input_size[0] / camera.width, input_size[1] / camera.height)
    width = min(input_size[0], max(1, round(camera.width * scale)))
    height = min(input_size[1], max(1, round(camera.height * scale)))
    return View(camera, scale, width, height)


def prepare_image(image: np.ndarray, view: View, input_size: tuple[int, int]) -> np.ndarray:
    """Scale a (h, w, 3) uint8 RGB image into a (3, H, W) float32 input in 0..1, zero padded."""
    if image.shape[:2] != (view.height, view.width):
        interpolation = cv2.INTER_AREA if view.scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (view.width, view.height), interpolation=interpolation)
    out = np.zeros((3, input_size[1], input_size[0]), np.float32)
    np.multiply(image.transpose(2, 0, 1), np.float32(1 / 255), out=out[:, : view.height, : view.width])
    return out


def sparse_inverse_depth(
    points: np.ndarray, base_from_lidar: np.ndarray, view: View, input_size: tuple[int, int]
) -> np.ndarray:
    """Project LiDAR points into a camera as guidance (the sparse-depth input of Amodal Depth Anything, section 3).

    Args:
        points: (N, 3+) float32 x, y, z in the LiDAR frame [m].
        base_from_lidar: (4, 4) pose of the LiDAR in base_link.
        view: the camera's view.
        input_size: (width, height) of the network's input.

    Returns:
        (2, H, W) float32: inverse depth [1/m] for the canonical focal length, and validity. The nearest point
        wins where several fall on one pixel.
    """
    out = np.zeros((2, input_size[1], input_size[0]), np.float32)
    camera_from_lidar = np.linalg.inv(view.camera.base_from_camera) @ base_from_lidar
    in_camera = points[:, :3] @ camera_from_lidar[:3, :3].T.astype(np.float32) + camera_from_lidar[:3, 3].astype(
        np.float32
    )
    in_camera = in_camera[np.isfinite(in_camera).all(1) & (in_camera[:, 2] > MIN_LIDAR_DEPTH)]
    k, depth = view.camera.intrinsics, in_camera[:, 2]
    column = np.floor((in_camera[:, 0] / depth * k[0, 0] + k[0, 2]) * view.scale).astype(np.int64)
    row = np.floor((in_camera[:, 1] / depth * k[1, 1] + k[1, 2]) * view.scale).astype(np.int64)
    inside = (column >= 0) & (column < view.width) & (row >= 0) & (row < view.height)
    flat = row[inside] * input_size[0] + column[inside]
    np.maximum.at(out[0].reshape(-1), flat, view.depth_scale / depth[inside])
    out[1] = out[0] > 0
    return out


def prepare(frame: SurroundFrame, input_size: tuple[int, int]) -> NetworkInput:
    """Build the network's batch from the cameras present in a frame, in the rig's order.

    Raises:
        ValueError: the frame holds no image.
    """
    cameras = [camera for camera in frame.rig.cameras if camera.name in frame.images]
    if not cameras:
        raise ValueError("the frame holds no image; at least one camera is needed")
    views = tuple(view_of(camera, input_size) for camera in cameras)
    image = np.stack([prepare_image(frame.images[view.camera.name], view, input_size) for view in views])
    if frame.lidar is None or len(frame.lidar) == 0:
        guidance = np.zeros((len(views), 2, input_size[1], input_size[0]), np.float32)
    else:
        guidance = np.stack(
            [sparse_inverse_depth(frame.lidar, frame.rig.base_from_lidar, view, input_size) for view in views]
        )
    return NetworkInput(image, guidance, views)

"""One camera's data of a sample side by side: picture, segments, depth, levels, flow, motion, LiDAR, from above."""

from __future__ import annotations

import cv2
import numpy as np

from amodal_perception_ros.labels import SEGMENT_FACTOR, color_table
from amodal_perception_ros.scene import Camera, CameraScene, Sample, paste_nearest

FAR = 80.0
"""Depth drawn in the last colour [m]."""

_FONT, _GREY = cv2.FONT_HERSHEY_SIMPLEX, 60


def draw_modalities(sample: Sample, camera: str) -> np.ndarray:
    """Return (2 H, 4 W, 3) uint8 RGB tiles of one camera; what the sample lacks stays grey.

    Args:
        sample: annotated sensor data.
        camera: name of a camera that has an image and truth.
    """
    scene, image = sample.truth.cameras[camera], sample.frame.images[camera]
    tiles = {
        "RGB": image,
        "visible segments": draw_segments(scene.labels),
        "depth": draw_depth(scene.depth),
        "depth of hidden parts": draw_depth(_hidden_depth(scene)),
        "optical flow": draw_flow(sample.flow[camera]) if camera in sample.flow else None,
        "amodal motion": _motion(scene, sample.moving),
        "LiDAR ids": _lidar(sample, scene.camera),
        "from above": _above(sample, image.shape[:2]),
    }
    shown = [_tile(picture, caption, image.shape[:2]) for caption, picture in tiles.items()]
    return np.vstack([np.hstack(shown[:4]), np.hstack(shown[4:])])


def draw_segments(labels: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB class colours of (H, W) segments; things differ a little in brightness."""
    picture = color_table()[labels // SEGMENT_FACTOR].astype(np.float32)
    number = labels % SEGMENT_FACTOR
    return np.clip(picture * np.where(number > 0, 0.7 + 0.06 * (number % 11), 1.0)[..., None], 0, 255).astype(np.uint8)


def draw_depth(depth: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB colours of (H, W) depth [m]: near is bright; NaN is grey."""
    near = 1 - np.log1p(np.nan_to_num(depth, nan=FAR).clip(0, FAR)) / np.log1p(FAR)
    picture = cv2.applyColorMap((255 * near).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].copy()
    picture[np.isnan(depth)] = _GREY
    return picture


def draw_flow(flow: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB: the hue is the direction of (H, W, 2) flow [px], pale is slow; NaN is grey."""
    known = np.isfinite(flow).all(-1)
    x, y = np.where(known[..., None], flow, 0.0).astype(np.float32).transpose(2, 0, 1)
    speed, angle = cv2.cartToPolar(x, y, angleInDegrees=True)
    fast = max(1.0, float(np.quantile(speed[known], 0.98))) if known.any() else 1.0
    hsv = np.stack([angle / 2, 255 * np.minimum(speed / fast, 1), np.full_like(speed, 255)], -1)
    picture = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    picture[~known] = _GREY
    return picture


def _hidden_depth(scene: CameraScene) -> np.ndarray:
    """The nearest hidden surface at every pixel [m]."""
    height, width = scene.labels.shape
    depth = np.full((height, width), np.nan, np.float32)
    for instance in scene.instances:
        whole = np.full_like(depth, np.nan)
        paste_nearest(whole, instance.depth, instance.amodal_mask.x_offset, instance.amodal_mask.y_offset)
        hidden = instance.hidden_mask.to_array(height, width)
        depth[hidden] = np.fmin(depth, whole)[hidden]
    return depth


def _motion(scene: CameraScene, moving: frozenset[int] | None) -> np.ndarray | None:
    """Amodal masks of things: moving ones red, standing ones blue, far ones first."""
    if moving is None:
        return None
    picture = np.full((*scene.labels.shape, 3), _GREY, np.uint8)
    for instance in sorted(scene.instances, key=lambda i: -i.amodal_depth):
        color = (225, 70, 60) if instance.track_id in moving else (70, 110, 190)
        mask = instance.amodal_mask.to_array(*scene.labels.shape)
        picture[mask] = color
        outline = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(picture, outline, -1, (20, 20, 20), 1)
    return picture


def _lidar(sample: Sample, camera: Camera) -> np.ndarray | None:
    """Sweep points in the image, in the colour of the class they lie on."""
    points, segments = sample.frame.lidar, sample.point_segments
    if points is None:
        return None
    camera_from_lidar = np.linalg.inv(camera.base_from_camera) @ sample.frame.rig.base_from_lidar
    optical = points[:, :3] @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    ahead = optical[:, 2] > 0.3
    k = camera.intrinsics
    pixel = optical[ahead, :2] / optical[ahead, 2:] * (k[0, 0], k[1, 1]) + (k[0, 2], k[1, 2])
    picture = np.full((camera.height, camera.width, 3), 25, np.uint8)
    classes = np.zeros(len(points), int) if segments is None else segments // SEGMENT_FACTOR
    colors = np.where((classes > 0)[:, None], color_table()[classes], 200)[ahead]
    inside = ((pixel >= 0) & (pixel < (camera.width, camera.height))).all(1)
    for (x, y), color in zip(pixel[inside].tolist(), colors[inside].tolist()):
        cv2.circle(picture, (int(x), int(y)), 1, color, -1)
    return picture


def _above(sample: Sample, size: tuple[int, int]) -> np.ndarray | None:
    if sample.bev_image is None:
        return None
    side = min(size)
    small = cv2.resize(sample.bev_image, (side, side), interpolation=cv2.INTER_AREA)
    picture = np.full((*size, 3), _GREY, np.uint8)
    left, top = (size[1] - side) // 2, (size[0] - side) // 2
    picture[top : top + side, left : left + side] = small
    return picture


def _tile(picture: np.ndarray | None, caption: str, size: tuple[int, int]) -> np.ndarray:
    tile = np.full((*size, 3), _GREY, np.uint8) if picture is None else picture.copy()
    text = caption if picture is not None else f"{caption}: none"
    for color, offset in (((0, 0, 0), 1), ((255, 255, 255), 0)):
        cv2.putText(tile, text, (8 + offset, 20 + offset), _FONT, 0.5, color, 1, cv2.LINE_AA)
    return tile

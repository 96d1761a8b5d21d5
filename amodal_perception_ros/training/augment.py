"""Augmentation of image records. Every function takes the generator, so a batch depends on nothing but its seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import cv2
import numpy as np

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.training.records import MIN_VISIBLE_PX, SEED_STRIDES, ImageRecord, core_cells

NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((number + 0.5) / 256) for number in range(256)], np.float32)
NORMAL_QUANTILES /= NORMAL_QUANTILES.std()


def photometric(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a (H, W, 3) uint8 image with random blur, saturation, exposure, colour cast, contrast and sensor noise.

    Real cameras differ from rendered images most in these, so the ranges are wide on purpose.
    """
    out = image
    if rng.random() < 0.25:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.2)))
    saturation = rng.uniform(0.4, 1.4)
    out = cv2.transform(out, saturation * np.eye(3) + (1 - saturation) / 3)
    gain = rng.uniform(0.7, 1.35) * rng.uniform(0.9, 1.1, 3)
    gamma = rng.uniform(0.7, 1.5) if rng.random() < 0.5 else 1.0
    tone = np.clip(np.arange(256)[:, None] / 255 * gain + rng.uniform(-0.08, 0.08, 3), 0, 1) ** gamma
    out = cv2.LUT(out, np.rint(tone * 255).astype(np.uint8)[None])
    if rng.random() < 0.5:
        out = cv2.add(out, _noise(out.shape, rng.uniform(0, 0.04) * 255, rng), dtype=cv2.CV_8U)
    return out


def _noise(shape: tuple[int, ...], stddev: float, rng: np.random.Generator) -> np.ndarray:
    """Return (H, W, 3) float32 normal noise of 256 equally likely values: random bytes are ten times as fast."""
    numbers = np.frombuffer(rng.bytes(math.prod(shape)), np.uint8).reshape(shape)
    return cv2.LUT(numbers, stddev * NORMAL_QUANTILES)


@dataclass(frozen=True)
class Augmentation:
    """Strength of the random changes.

    Attributes:
        lidar_dropout: chance that an image loses its LiDAR.
        zoom_probability: chance that an image is zoomed into.
        zoom_limit: largest zoom, as a factor of the focal length.
    """

    lidar_dropout: float = 0.4
    zoom_probability: float = 0.5
    zoom_limit: float = 1.6

    def __post_init__(self) -> None:
        for name in ("lidar_dropout", "zoom_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"augmentation {name} must be in 0..1, got {getattr(self, name)}")
        if self.zoom_limit < 1:
            raise InputError(f"augmentation zoom_limit must be at least 1, got {self.zoom_limit}")


def augment(record: ImageRecord, rng: np.random.Generator, strength: Augmentation) -> ImageRecord:
    """Return a randomly changed copy: zoomed, photometric, LiDAR dropped or thinned, mirrored half of the time."""
    if rng.random() < strength.zoom_probability:
        factor = float(rng.uniform(1, strength.zoom_limit))
        record = zoom(record, factor, float(rng.random()), float(rng.uniform(0.25, 0.75)))
    image = photometric(record.image, rng)
    width, height = record.content
    image[height:] = 0
    image[:, width:] = 0
    changed = drop_lidar(replace(record, image=image), rng, strength.lidar_dropout)
    return mirror(changed) if rng.random() < 0.5 else changed


def zoom(record: ImageRecord, factor: float, x: float, y: float) -> ImageRecord:
    """Return the record of a camera with `factor` times the focal length, which sees a window of the image.

    Canonical depths shrink by the factor. Objects that leave the window are dropped; those of which too little
    stays visible become ignored cells.

    Args:
        record: the original.
        factor: at least 1.
        x: position of the window in the free space, 0 (left) to 1.
        y: the same from the top.
    """
    height, width = record.image.shape[:2]
    left, top = x * (1 - 1 / factor), y * (1 - 1 / factor)
    window = (factor, left, top)
    visible = _warp_all(record.visible, window)
    area = visible.sum((1, 2), dtype=np.int64) / 255 * OUTPUT_STRIDE**2
    keep = area >= MIN_VISIBLE_PX
    ignored = _warp(record.ignored.astype(np.uint8), window, cv2.INTER_NEAREST) > 0
    ignored |= (visible[~keep] > 0).any(0)
    content = np.clip(np.rint(factor * (record.content - [left * width, top * height])), 0, [width, height])
    return replace(
        _zoom_lidar(record, window),
        image=_warp(record.image, window),
        content=content.astype(np.int32),
        stuff=_warp_all(record.stuff, window),
        log_depth=_warp_depth(record.log_depth, window),
        ignored=ignored,
        classes=record.classes[keep],
        levels=record.levels[keep],
        boxes=_zoom_boxes(record.boxes[keep], window),
        seeds=core_cells(visible[keep]),
        visible=visible[keep],
        amodal=_warp_all(record.amodal[keep], window),
        object_log_depth=_warp_depths(record.object_log_depth[keep], window),
        occludes=record.occludes[np.ix_(keep, keep)],
    )


def _warp(values: np.ndarray, window: tuple[float, float, float], interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Magnify the window of an (h, w[, 3]) array to its full size; pixel centres stay half a pixel from corners."""
    factor, left, top = window
    height, width = values.shape[:2]
    inverse = np.array(
        [[1 / factor, 0, left * width + 0.5 / factor - 0.5], [0, 1 / factor, top * height + 0.5 / factor - 0.5]]
    )
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, inverse, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _warp_all(maps: np.ndarray, window: tuple[float, float, float]) -> np.ndarray:
    return np.stack([_warp(values, window) for values in maps]) if len(maps) else maps


def _warp_depth(log_depth: np.ndarray, window: tuple[float, float, float]) -> np.ndarray:
    warped = _warp(log_depth.astype(np.float32), window, cv2.INTER_NEAREST)
    return (warped - np.float32(np.log(window[0]))).astype(np.float16)


def _warp_depths(maps: np.ndarray, window: tuple[float, float, float]) -> np.ndarray:
    return np.stack([_warp_depth(values, window) for values in maps]) if len(maps) else maps


def _zoom_boxes(boxes: np.ndarray, window: tuple[float, float, float]) -> np.ndarray:
    factor, *corner = window
    low = np.clip(factor * (boxes[:, :2] - boxes[:, 2:] / 2 - corner), 0, 1)
    high = np.clip(factor * (boxes[:, :2] + boxes[:, 2:] / 2 - corner), 0, 1)
    return np.concatenate([(low + high) / 2, high - low], 1).astype(np.float32)


def _zoom_lidar(record: ImageRecord, window: tuple[float, float, float]) -> ImageRecord:
    factor, left, top = window
    height, width = record.image.shape[:2]
    row, column = np.divmod(record.lidar_index, width)
    row = np.floor(factor * (row + 0.5 - top * height)).astype(np.int64)
    column = np.floor(factor * (column + 0.5 - left * width)).astype(np.int64)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = (row * width + column)[inside].astype(np.int32)
    return replace(record, lidar_index=index, lidar_inverse=record.lidar_inverse[inside] * np.float32(factor))


def drop_lidar(record: ImageRecord, rng: np.random.Generator, probability: float) -> ImageRecord:
    """Return the record without LiDAR with that probability, else with a random share (30 % to all) of the points."""
    if rng.random() < probability:
        keep = np.zeros(len(record.lidar_index), bool)
    else:
        keep = rng.random(len(record.lidar_index)) < min(1.0, rng.uniform(0.3, 1.7))
    return replace(record, lidar_index=record.lidar_index[keep], lidar_inverse=record.lidar_inverse[keep])


def mirror(record: ImageRecord) -> ImageRecord:
    """Return the record as seen in a mirror (left and right swapped).

    The focal length stays, so canonical depths do too; the principal point moves to the other side with the
    pixels, and nothing in a record refers to it.
    """
    width = record.image.shape[1]
    row, column = np.divmod(record.lidar_index, width)
    boxes, seeds = record.boxes.copy(), record.seeds.copy()
    boxes[:, 0] = 1 - boxes[:, 0]
    for number, stride in enumerate(SEED_STRIDES):
        seeds[:, number, 1] = width // stride - 1 - seeds[:, number, 1]
    flipped = {
        name: np.ascontiguousarray(getattr(record, name)[..., ::-1])
        for name in ("stuff", "log_depth", "ignored", "visible", "amodal", "object_log_depth")
    }
    return replace(
        record,
        image=np.ascontiguousarray(record.image[:, ::-1]),
        lidar_index=(row * width + width - 1 - column).astype(np.int32),
        boxes=boxes,
        seeds=seeds,
        **flipped,
    )

"""Augmentation of image records. Every function takes the generator, so a batch depends on nothing but its seed."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from amodal_perception_ros.training.records import SEED_STRIDES, ImageRecord


def photometric(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a (H, W, 3) uint8 image with random exposure, colour, blur and sensor noise.

    Real cameras differ from rendered images most in these, so the ranges are wide on purpose.
    """
    out = image.astype(np.float32) * np.float32(1 / 255)
    if rng.random() < 0.25:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.2)))
    grey = out.mean(2, keepdims=True)
    out = grey + (out - grey) * np.float32(rng.uniform(0.4, 1.4))
    gain = rng.uniform(0.7, 1.35) * rng.uniform(0.9, 1.1, 3)
    out = out * gain.astype(np.float32) + rng.uniform(-0.08, 0.08, 3).astype(np.float32)
    out = np.clip(out, 0, 1)
    if rng.random() < 0.5:
        out = out ** np.float32(rng.uniform(0.7, 1.5))
    if rng.random() < 0.5:
        out = out + rng.standard_normal(out.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.04))
    return np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8)


def augment(record: ImageRecord, rng: np.random.Generator, lidar_dropout: float) -> ImageRecord:
    """Return a randomly changed copy: photometric, LiDAR dropped or thinned, mirrored with probability 1/2."""
    image = photometric(record.image, rng)
    width, height = record.content
    image[height:] = 0
    image[:, width:] = 0
    changed = drop_lidar(replace(record, image=image), rng, lidar_dropout)
    return mirror(changed) if rng.random() < 0.5 else changed


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

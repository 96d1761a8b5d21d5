"""Falling rain in a picture: streaks in the air and drops on the lens."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np

STREAKS = 420
"""Streaks in a picture in a downpour."""


def add_streaks(light: np.ndarray, rain: float, rng: np.random.Generator) -> np.ndarray:
    """Return (h, w, 3) float32 radiance with streaks that add light from around them.

    Args:
        light: radiance of the scene.
        rain: 0 none .. 1 a downpour.
        rng: places of the streaks.
    """
    height, width = light.shape[:2]
    count = int(rain * STREAKS * width / height / 1.78)
    x, y = rng.uniform(-0.1, 1.1, count) * width, rng.uniform(-0.2, 1, count) * height
    length = rng.exponential(0.05, count).clip(0.015, 0.25) * height
    slant = rng.normal(rng.normal(0, 0.08), 0.03, count)
    veil = np.zeros((height, width), np.uint8)
    ends = np.stack([x, y, x + slant * length, y + length], 1).round().astype(int).tolist()
    for (x0, y0, x1, y1), strength in zip(ends, rng.uniform(30, 140, count).astype(int).tolist(), strict=True):
        cv2.line(veil, (x0, y0), (x1, y1), strength, max(1, height // 360), cv2.LINE_AA)
    soft = cv2.GaussianBlur(veil, (0, 0), 0.5 + height / 900).astype(np.float32)
    small = cv2.resize(light, (8, 6), interpolation=cv2.INTER_AREA)
    around = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return light + (soft * np.float32(0.6 / 255))[..., None] * around


def drop_maps(width: int, height: int, count: int, seed: int) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Return a function from a camera's name to the (height, width) shifts of sampling x and y [px] by its drops.

    A drop is a small lens: what is behind it appears upside down.
    """

    def maps(camera: str) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, zlib.crc32(camera.encode())])
        dx, dy = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        columns, rows = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
        for _ in range(count):
            cx, cy = rng.uniform(0, width), rng.uniform(0, height)
            radius = height * rng.uniform(0.008, 0.03)
            u, v = (columns - cx) / radius, (rows - cy) / (radius * rng.uniform(1.0, 1.4))
            inside = np.clip(1.3 - (u * u + v * v), 0, 0.3) / 0.3
            dx -= inside * 5 * (columns - cx)
            dy -= inside * 5 * (rows - cy)
        return dx, dy

    return maps

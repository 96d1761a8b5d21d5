"""What is drawn, and what every renderer of the simulator offers: pictures and the passes behind the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.rendering.view import TopView, View, box_corners


@dataclass(eq=False)
class Item:
    """Something to draw: a model, its pose, palette, segment id, whether its lamps are on, and a look number 0..1.

    `next_matrix` and `next_model` hold its pose and shape one frame later, None where they stay the same.
    """

    model: Model
    matrix: np.ndarray
    palette: np.ndarray
    segment: int = 0
    lights: bool = False
    look: float = 0.0
    next_matrix: np.ndarray | None = None
    next_model: Model | None = None

    @cached_property
    def corners(self) -> np.ndarray:
        """(8, 4) homogeneous corners of the bounding box in odom."""
        return np.concatenate([box_corners(self.model.low, self.model.high), np.ones((8, 1))], 1) @ self.matrix.T


def in_sight(view: View | TopView, items: Sequence[Item]) -> list[Item]:
    """Return the items whose bounding box may show in a picture (conservative), in their order."""
    if not items:
        return []
    clip = np.stack([item.corners for item in items]) @ view.projection.T
    w = clip[..., 3:]
    outside = np.any(np.all(np.concatenate([clip[..., :3] > w, clip[..., :3] < -w], -1), axis=1), axis=1)
    return [item for item, out in zip(items, outside) if not out]


class SceneRenderer(Protocol):
    """Draws the frames of a sequence; `begin` hands over a frame, `release` frees everything.

    Attributes:
        tiles: the static town as items.
    """

    tiles: list[Item]

    def begin(self, center: np.ndarray, things: Sequence[Item], footprints: np.ndarray, lamps: np.ndarray) -> None:
        """Prepare a frame: the (2,) ego position [m], everything movable, contact shadows and lights."""

    def picture(self, view: View, seed: int) -> np.ndarray:
        """Return the (height, width, 3) uint8 RGB picture of a camera; `seed` varies the sensor noise."""

    def segments(self, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return (H, W) uint16 segment ids and (H, W) float32 planar depth [m]; both are 0 in the sky."""

    def alone(self, view: View, item: Item) -> tuple[int, int, np.ndarray] | None:
        """Return (left, top, (h, w) float32 planar depth [m], 0 outside) of one item without anything else, or None."""

    def flow(self, view: View, next_view: View) -> np.ndarray:
        """Return (H, W, 2) float32 forward optical flow (right, down) [px]; NaN behind the next camera."""

    def above(self, low: np.ndarray, cell: float, count: int, layers: Sequence[Sequence[Item]],
              bands: Sequence[tuple[float, float]]) -> list[np.ndarray]:  # fmt: skip
        """Return per layer the (count, count) uint16 segments seen from straight above within a height band."""

    def picture_above(self, low: np.ndarray, cell: float, count: int) -> np.ndarray:
        """Return a (count, count, 3) uint8 RGB picture of a square from straight above, row 0 at its greatest y."""

    def release(self) -> None:
        """Free the memory of the renderer."""

"""Exact ground truth of one picture: instances with hidden parts, occlusion order and levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.labels import BY_NAME, SEGMENT_FACTOR
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.occlusion import break_cycles, occlusion_levels
from amodal_perception_ros.scene import CameraScene, Instance, OcclusionOrder
from amodal_perception_ros.simulation.drawing import Item, SceneRenderer
from amodal_perception_ros.simulation.view import View


@dataclass(eq=False)
class Layer:
    """One thing drawn alone: its segment, top-left pixel and (h, w) float32 planar depth [m], 0 outside it."""

    segment: int
    left: int
    top: int
    depth: np.ndarray

    @property
    def median(self) -> float:
        """Median depth [m]."""
        return float(np.median(self.depth[self.depth > 0]))


def camera_truth(renderer: SceneRenderer, view: View, items: Sequence[Item], stamp_ns: int) -> CameraScene:
    """Return the truth of one camera; `items` are the things in reach, all drawn by `renderer.begin`."""
    labels, depth = renderer.segments(view)
    layers = []
    for item in items:
        drawn = renderer.alone(view, item)
        if drawn is not None:
            layers.append(Layer(item.segment, *drawn))
    order, levels = occlusion_order(layers)
    instances = [_instance(layer, labels, level) for layer, level in zip(layers, levels)]
    labels = np.where(labels == 0, SKY_SEGMENT, labels).astype(np.uint16)
    visible = np.where(depth > 0, depth, np.nan).astype(np.float32)
    return CameraScene(view.camera, stamp_ns, labels, visible, instances, order)


SKY_SEGMENT = BY_NAME["sky"].id * SEGMENT_FACTOR


def _instance(layer: Layer, labels: np.ndarray, level: int) -> Instance:
    height, width = layer.depth.shape
    window = labels[layer.top : layer.top + height, layer.left : layer.left + width]
    inside = layer.depth > 0
    visible = (window == layer.segment) & inside
    return Instance(
        instance_id=layer.segment,
        class_id=layer.segment // SEGMENT_FACTOR,
        score=1.0,
        visible_mask=RoiMask.from_array(visible, layer.left, layer.top),
        amodal_mask=RoiMask.from_array(inside, layer.left, layer.top),
        occlusion_level=level,
        visible_depth=float(np.median(layer.depth[visible])) if visible.any() else float("nan"),
        amodal_depth=layer.median,
        amodal_depth_stddev=0.0,
        depth=np.where(inside, layer.depth, np.nan).astype(np.float32),
        track_id=layer.segment % SEGMENT_FACTOR,
    )


def occlusion_order(layers: Sequence[Layer]) -> tuple[OcclusionOrder, list[int]]:
    """Return the occlusion order and the level 0..7 of things drawn alone.

    i occludes j when i is nearer on most pixels in which both lie (a tie goes to the smaller median depth). Where
    such edges form a cycle, all edges among its members are directed by median depth and flagged. The level is
    the longest chain of occluders in front (AmodalSynthDrive, section 3.3.1).
    """
    overlap, occludes = _pairwise_overlap(layers)
    occludes, decided = break_cycles(occludes, np.array([layer.median for layer in layers]))
    occluder, occludee = np.nonzero(occludes)
    ids = np.array([layer.segment for layer in layers], np.uint32)
    order = OcclusionOrder(
        occluder_ids=ids[occluder],
        occludee_ids=ids[occludee],
        probability=np.ones(len(occluder), np.float32),
        overlap_px=overlap[occluder, occludee].astype(np.uint32),
        in_cycle=decided[occluder, occludee],
    )
    return order, occlusion_levels(occludes).tolist()


def _pairwise_overlap(layers: Sequence[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, n) int64 overlaps [px] and the (n, n) bool graph "i occludes j" by majority over the overlap."""
    count = len(layers)
    overlap, occludes = np.zeros((count, count), np.int64), np.zeros((count, count), bool)
    boxes = np.array([(a.left, a.top, a.left + a.depth.shape[1], a.top + a.depth.shape[0]) for a in layers]).reshape(
        -1, 4
    )
    for i in range(count):
        low = np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        for k in np.flatnonzero((low < high).all(1)):
            j = i + 1 + int(k)
            a, b = (_cut(layers[m], low[k], high[k]) for m in (i, j))
            both = (a > 0) & (b > 0)
            overlap[i, j] = overlap[j, i] = np.count_nonzero(both)
            if overlap[i, j]:
                in_front, behind = np.count_nonzero((a < b) & both), np.count_nonzero((a > b) & both)
                first = in_front > behind or (in_front == behind and layers[i].median <= layers[j].median)
                occludes[i, j], occludes[j, i] = first, not first
    return overlap, occludes


def _cut(layer: Layer, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return layer.depth[low[1] - layer.top : high[1] - layer.top, low[0] - layer.left : high[0] - layer.left]

"""Exact ground truth of one picture: instances with hidden parts, occlusion order and levels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amodal_perception_ros.labels import BY_NAME, SEGMENT_FACTOR
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.occlusion import Layer, occlusion_order
from amodal_perception_ros.scene import CameraScene, Instance
from amodal_perception_ros.simulation.rendering.drawing import Item, SceneRenderer, in_sight
from amodal_perception_ros.simulation.rendering.view import View


def camera_truth(renderer: SceneRenderer, view: View, items: Sequence[Item], stamp_ns: int) -> CameraScene:
    """Return the truth of one camera; `items` is all that `renderer.begin` got: things, and stuff (segment 0)."""
    labels, depth = renderer.segments(view)
    layers = []
    for item in in_sight(view, [item for item in items if item.segment]):
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

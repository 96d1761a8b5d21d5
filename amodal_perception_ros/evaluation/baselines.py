"""Trivial ways to make a modal scene amodal; a system that does not beat them has learnt nothing about hidden parts.

Each baseline keeps what was predicted to be visible (masks, classes, scores, depth map) and replaces the amodal
masks, the depth of the hidden part, order and levels:

- `amodal_is_visible`: there is no hidden part, no order, and every object is on level 0.
- `amodal_is_box`: the amodal mask is the filled bounding box of the visible mask.
- `amodal_is_amodal_box`: the amodal mask is the filled bounding box of the predicted amodal mask. It is told the
  predicted extent of the hidden part, so it is the harder one to beat.

Both boxes put the hidden part at the median depth of the visible part, and of two overlapping objects the one with
the nearer median hides the other; equal or unknown medians tell nothing. Objects without a visible pixel are dropped:
a modal system does not know them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from amodal_perception_ros.evaluation.decoding import box_overlaps
from amodal_perception_ros.evaluation.graph import longest_chains
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import CameraScene, Instance, OcclusionOrder


def amodal_is_visible(scene: CameraScene) -> CameraScene:
    """Return the scene with amodal := visible."""
    instances = [_with_amodal(instance, instance.visible_mask, 0) for instance in _seen(scene)]
    return replace(scene, instances=instances, order=OcclusionOrder())


def amodal_is_box(scene: CameraScene) -> CameraScene:
    """Return the scene with amodal := filled bounding box of the visible mask."""
    return _boxed(scene, [instance.visible_mask for instance in _seen(scene)])


def amodal_is_amodal_box(scene: CameraScene) -> CameraScene:
    """Return the scene with amodal := filled bounding box of the amodal mask, cut to the image."""
    height, width = scene.labels.shape
    return _boxed(scene, [instance.amodal_mask.clipped(height, width) for instance in _seen(scene)])


Baseline = Callable[[CameraScene], CameraScene]
"""Makes its own prediction of another one."""

BASELINES: dict[str, Baseline] = {
    "amodal := visible": amodal_is_visible,
    "amodal := filled box": amodal_is_box,
    "amodal := filled amodal box": amodal_is_amodal_box,
}
"""Name in the tables -> function."""


def _seen(scene: CameraScene) -> list[Instance]:
    return [instance for instance in scene.instances if instance.visible_mask.area]


def _boxed(scene: CameraScene, extents: list[RoiMask]) -> CameraScene:
    seen = _seen(scene)
    boxes = [
        RoiMask.from_array(np.ones((extent.height, extent.width), bool), extent.x_offset, extent.y_offset)
        for extent in extents
    ]
    order, levels = _depth_order(seen, boxes)
    instances = [_with_amodal(*item) for item in zip(seen, boxes, levels)]
    return replace(scene, instances=instances, order=order)


def _with_amodal(instance: Instance, amodal: RoiMask, level: int) -> Instance:
    """Replace the amodal mask; the hidden part lies at the median depth of the visible part."""
    window = (amodal.x_offset, amodal.y_offset, amodal.width, amodal.height)
    visible = instance.visible_mask.window(*window)
    depth = np.full(visible.shape, np.nan, np.float32)
    own = instance.amodal_mask
    rows, columns = np.nonzero(visible)
    known = instance.depth[rows + amodal.y_offset - own.y_offset, columns + amodal.x_offset - own.x_offset]
    median = float(np.nanmedian(known)) if np.isfinite(known).any() else float("nan")
    depth[amodal.roi()] = median
    depth[rows, columns] = known
    return replace(
        instance,
        amodal_mask=amodal,
        occlusion_level=int(level),
        visible_depth=median,
        amodal_depth=median,
        amodal_depth_stddev=float("nan"),
        depth=depth,
    )


def _depth_order(instances: list[Instance], boxes: list[RoiMask]) -> tuple[OcclusionOrder, np.ndarray]:
    count = len(instances)
    corners = np.array([box.box for box in boxes], np.int64).reshape(count, 4)
    windows, _ = box_overlaps(corners, corners)
    overlap = np.maximum(windows[..., 2:] - windows[..., :2], 0).prod(axis=2)
    median = np.array([instance.visible_depth for instance in instances])
    occludes = (overlap > 0) & (median[:, None] < median)  # Never with NaN.
    occluder, occludee = np.nonzero(occludes)
    ids = np.array([instance.instance_id for instance in instances], np.uint32)
    levels = longest_chains(count, list(zip(occluder.tolist(), occludee.tolist())))
    assert levels is not None, "an order by depth has no cycle"
    order = OcclusionOrder(
        occluder_ids=ids[occluder],
        occludee_ids=ids[occludee],
        probability=np.ones(occluder.size, np.float32),
        overlap_px=overlap[occluder, occludee].astype(np.uint32),
        in_cycle=np.zeros(occluder.size, bool),
    )
    return order, levels

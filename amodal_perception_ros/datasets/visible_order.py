"""The occlusion order that the masks of an image show by themselves, where no file states one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amodal_perception_ros.masks import RoiMask, pairwise_areas
from amodal_perception_ros.occlusion import break_cycles, occlusion_levels
from amodal_perception_ros.scene import OcclusionOrder


def visible_order(masks: Mapping[int, tuple[RoiMask, RoiMask]]) -> tuple[OcclusionOrder, dict[int, int]]:
    """Return the occlusion order that masks show, and instance id -> occlusion level by that order.

    A thing is behind another one that is visible where it is hidden; of two that are behind each other, more pixels
    decide. What is hidden behind something hidden is not known, and edges that form a cycle are left out.

    Args:
        masks: instance id -> visible and amodal mask, the one inside the other.
    """
    visible, amodal = [seen for seen, _ in masks.values()], [whole for _, whole in masks.values()]
    covers, _, _ = pairwise_areas(visible, [whole - seen for seen, whole in masks.values()])
    acyclic, in_cycle = break_cycles(covers > covers.T, np.zeros(len(masks)))
    occludes = acyclic & ~in_cycle
    overlap, _, _ = pairwise_areas(amodal, amodal, occludes)
    order = order_of(np.array(list(masks), np.uint32), np.where(occludes, overlap, 0))
    return order, dict(zip(masks, occlusion_levels(occludes).tolist()))


def order_of(ids: np.ndarray, overlap: np.ndarray) -> OcclusionOrder:
    """Return an order without cycles.

    Args:
        ids: (n,) uint32 instance ids.
        overlap: (n, n) pixels that two amodal masks share where the first hides part of the second, else 0.
    """
    front, behind = np.nonzero(overlap)
    return OcclusionOrder(
        occluder_ids=ids[front],
        occludee_ids=ids[behind],
        probability=np.ones(front.size, np.float32),
        overlap_px=overlap[front, behind].astype(np.uint32),
        in_cycle=np.zeros(front.size, bool),
    )

"""Binary masks as run lengths: one mask (`RoiMask`), and the overlaps of many."""

from amodal_perception_ros.masks.pairwise import pairwise_areas, pairwise_iou
from amodal_perception_ros.masks.roi_mask import RoiMask, run_lengths

__all__ = ["RoiMask", "pairwise_areas", "pairwise_iou", "run_lengths"]

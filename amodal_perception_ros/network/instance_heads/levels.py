"""Occlusion levels in instance heads: which level a token has, and what one map per level holds for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import mlp
from amodal_perception_ros.network.instance_heads.head import object_maps
from amodal_perception_ros.network.loss_terms import masked_l1_rows, mean_of_rows
from amodal_perception_ros.network.targets import Targets
from amodal_perception_ros.scene import OCCLUSION_LEVELS

LEVEL_WEIGHT = 0.5
"""Weight of the cross-entropy of the level."""


class TokenLevel(nn.Module):
    """Occlusion level of a token: 0 for an unoccluded object, n where one of level n - 1 hides a part of it.

    Levels are those of AmodalSynthDrive (Sekkat et al. 2024, section 3.3.1), N = 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logits = mlp(channels, channels, OCCLUSION_LEVELS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the (B, M) int64 level of (B, M, D) tokens."""
        return self.logits(tokens).argmax(-1)

    def loss(self, tokens: Tensor, instance: Tensor, targets: Targets) -> Tensor:
        """Return the weighted cross-entropy of the level of the tokens with an object, (B, M) `instance` >= 0."""
        image, token = torch.nonzero(instance >= 0, as_tuple=True)
        level = targets.levels[image, instance[image, token]]
        entropy = F.cross_entropy(self.logits(tokens).float()[image, token], level, reduction="sum")
        return LEVEL_WEIGHT * entropy / max(1, len(image))


def at_level(maps: Tensor, level: Tensor) -> Tensor:
    """Return (B, M, Q): of (B, N, Q) maps, one per level, that of each of M tokens with (B, M) levels."""
    return torch.gather(maps, 1, level[..., None].expand(-1, -1, maps.shape[2]))


def every_object(targets: Targets) -> Tensor:
    """Return (B, G) int64: every object stands for itself, padding is -1; as `instance` of `object_maps`."""
    return torch.arange(targets.valid.shape[1], device=targets.valid.device).where(targets.valid, -1)


def layer_coverage(targets: Targets) -> Tensor:
    """Return (B, N, Q) share of each cell that the objects of each level cover, hidden parts included."""
    amodal = targets.amodal * targets.valid[..., None]
    empty = amodal.new_zeros(len(amodal), OCCLUSION_LEVELS, amodal.shape[2])
    return empty.scatter_reduce(1, targets.levels[..., None].expand_as(amodal), amodal, "amax")


def object_depth_loss(log_depth: Tensor, targets: Targets, grid: torch.Size) -> Tensor:
    """Return the L1 of (B, N, Q) log depths, one map per level, over each whole object in its level's map.

    Each object counts alike, as in `head.map_losses`.
    """
    (image, row), truth = object_maps(every_object(targets), targets, grid)
    return mean_of_rows(masked_l1_rows(log_depth[image, targets.levels[image, row]], truth.log_depth))

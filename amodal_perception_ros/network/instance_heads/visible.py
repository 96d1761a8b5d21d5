"""Baseline: amodal = visible. What an ordinary panoptic network with a depth head knows of a hidden part: nothing.

It is the floor of every table: ORCNN (Follmann et al. 2019, tables 3 and 4, "MRCNN") evaluates a model of visible
masks in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amodal_perception_ros.network.backbone import mlp
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads.generated_mlp import (
    GeneratedHead,
    GeneratedMLP,
    object_log_depth,
)
from amodal_perception_ros.network.instance_heads.head import (
    DEPTH_COVERAGE,
    InstanceMaps,
    Matched,
    mask_loss,
    object_maps,
)
from amodal_perception_ros.network.loss_terms import masked_l1_rows, mean_of_rows
from amodal_perception_ros.network.targets import LossWeights, Targets


class VisibleOnly(GeneratedHead):
    """(visible, depth residual) = two outputs of one MLP; the amodal mask is the visible one."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.generate = GeneratedMLP(config, masks=1, others=1)
        self.base_depth = mlp(config.channels, config.channels, 1)

    @property
    def mlps(self) -> tuple[GeneratedMLP, ...]:
        """The one MLP (see `GeneratedHead.mlps`)."""
        return (self.generate,)

    def maps(self, base: Tensor, outputs: Sequence[Tensor]) -> InstanceMaps:
        """Make maps of visible logits and the change of the depth (see `GeneratedHead.maps`)."""
        visible, residual = outputs
        return InstanceMaps(visible, visible, object_log_depth(base, residual))

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the losses of `visible_losses`, and the maps at the targets' cells."""
        maps = self.float_maps(tokens, boxes, dense, targets)
        return visible_losses(maps, matched.instance, targets, dense.log_depth.shape[-2:], weights), maps


def visible_losses(
    maps: InstanceMaps, instance: Tensor, targets: Targets, grid: torch.Size, weights: LossWeights
) -> dict[str, Tensor]:
    """Return the losses of the visible mask and of the depth of the visible part (arguments as `head.map_losses`)."""
    where, truth = object_maps(instance, targets, grid)
    mask = mask_loss(maps.visible[where], truth.visible, truth.region, weights.mask_dice, weights.mask_bce)
    seen = truth.log_depth.masked_fill(truth.visible < DEPTH_COVERAGE, torch.nan)
    depth = masked_l1_rows(maps.log_depth[where], seen)
    return {"visible": mean_of_rows(mask), "object_depth": weights.object_depth * mean_of_rows(depth)}

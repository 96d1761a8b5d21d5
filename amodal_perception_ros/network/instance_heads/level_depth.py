"""Baselines for amodal depth: one dense depth map per occlusion level; an object's depth is the map of its level.

AD-DeepLab and ADS-DeepLab (Sekkat et al. 2024, AmodalSynthDrive, section 4.1, "Amodal Depth Estimation"): eight depth
heads D_0..D_7 (equation 1), one more for visible depth (`DenseMaps.log_depth` here), and in the second model the
semantic segments of each level as an auxiliary loss. Both take the level's masks from elsewhere (PAPS there); here the
masks and their losses are ours, so that only the way to depth differs, and the level of a token is predicted. Depth
losses are L1 of the log, each object alike, as of our head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import LOG_DEPTH_CENTRE, conv_bn
from amodal_perception_ros.network.config import STUFF_CLASSES, THING_CLASSES, NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps, FineMaps
from amodal_perception_ros.network.instance_heads.generated_mlp import GeneratedMLP
from amodal_perception_ros.network.instance_heads.head import (
    InstanceHead,
    InstanceMaps,
    Matched,
    cells_of,
    hidden_loss,
    map_losses,
)
from amodal_perception_ros.network.instance_heads.levels import TokenLevel, at_level, object_depth_loss
from amodal_perception_ros.network.loss_terms import masked_l1
from amodal_perception_ros.network.targets import LossWeights, Targets
from amodal_perception_ros.scene import OCCLUSION_LEVELS

HEAD_CHANNELS = 16
"""Channels of each level's own decoder."""

SEGMENTS = STUFF_CLASSES + THING_CLASSES + 1
"""Classes of a level's semantics: stuff (only in level 0), things, nothing."""

SEMANTICS_WEIGHT = 1.0


class LevelDepth(InstanceHead):
    """AD-DeepLab: eight dense depth heads, one per level; masks from generated MLPs as in `InstanceFields`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.generate = GeneratedMLP(config, masks=2)
        self.level = TokenLevel(config.channels)
        # Grouped, the eight heads are one convolution but share nothing.
        self.decoders = conv_bn(config.channels, OCCLUSION_LEVELS * HEAD_CHANNELS)
        self.depth = FineMaps(OCCLUSION_LEVELS * HEAD_CHANNELS, OCCLUSION_LEVELS, groups=OCCLUSION_LEVELS)

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> InstanceMaps:
        """Evaluate M tokens at some cells (see `InstanceHead.at`)."""
        visible, amodal = self.generate.at(self.generate(tokens), boxes, dense.mask_features, cells).unbind(2)
        levels = cells_of(self._level_depths(self.decoders(dense.hidden)), cells)
        return InstanceMaps(visible, amodal, at_level(levels, self.level(tokens)))

    def forward(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> InstanceMaps:
        """Evaluate every token at every cell: maps of shape (B, M, h, w)."""
        visible, amodal = self.generate.everywhere(self.generate(tokens), boxes, dense.mask_features).unbind(2)
        levels = self._level_depths(self.decoders(dense.hidden)).flatten(2)
        return InstanceMaps(visible, amodal, at_level(levels, self.level(tokens)).unflatten(2, visible.shape[2:]))

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the losses of the masks, of the tokens' levels and of the level maps; and the maps at the cells."""
        decoded = self.decoders(dense.hidden)
        levels = cells_of(self._level_depths(decoded), targets.cells).float()
        masks = self.generate.at(self.generate(tokens), boxes, dense.mask_features, targets.cells)
        visible, amodal = masks.float().unbind(2)
        maps = InstanceMaps(visible, amodal, at_level(levels, self.level(tokens)))
        grid = dense.log_depth.shape[-2:]
        parts = map_losses(maps, matched.instance, targets, grid, weights)
        parts["hidden"] = hidden_loss(maps, matched.instance, targets, grid, weights.hidden_dice, weights.hidden_bce)
        parts["level"] = self.level.loss(tokens, matched.instance, targets)
        parts |= level_losses(levels, targets, grid, weights)
        return parts | self.auxiliary_losses(decoded, targets, grid), maps

    def auxiliary_losses(self, decoded: Tensor, targets: Targets, grid: torch.Size) -> dict[str, Tensor]:
        """Return further losses on the (B, C, H/4, W/4) features of the decoders: none here."""
        return {}

    def _level_depths(self, decoded: Tensor) -> Tensor:
        """Return (B, N, h, w) log canonical depths of the levels from the decoders' features."""
        return self.depth(decoded).float() + LOG_DEPTH_CENTRE


def level_losses(log_depth: Tensor, targets: Targets, grid: torch.Size, weights: LossWeights) -> dict[str, Tensor]:
    """Return the losses of (B, N, Q) level depths, each object judged in the map of its true level.

    `object_depth` takes the place of the one that the tokens' predicted levels would give. Level 0 holds all stuff
    besides the objects that nothing hides (section 3.3.1).
    """
    is_stuff = cells_of(targets.stuff, targets.cells).sum(1) > 0.5
    seen = cells_of(targets.log_depth[:, None], targets.cells)[:, 0]
    return {
        "object_depth": weights.object_depth * object_depth_loss(log_depth, targets, grid),
        "stuff_depth": weights.dense_depth * masked_l1(log_depth[:, 0], seen.where(is_stuff, torch.nan)),
    }


class LevelDepthSemantics(LevelDepth):
    """ADS-DeepLab: besides, the decoder of each level must tell the semantic segments of its level.

    The class maps are used in training only, as the auxiliary loss that the paper describes: they shape the features
    that depth is read from. Nothing of them is computed at inference, so the cost there is that of `LevelDepth`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width, segments = OCCLUSION_LEVELS * HEAD_CHANNELS, OCCLUSION_LEVELS * SEGMENTS
        self.semantics = nn.Conv2d(width, segments, 1, groups=OCCLUSION_LEVELS)

    def auxiliary_losses(self, decoded: Tensor, targets: Targets, grid: torch.Size) -> dict[str, Tensor]:
        """Return the cross-entropy of the levels' segments at the targets' cells, summed over the levels.

        The logits have the features' resolution: all target cells within a feature's cell are compared with its.
        """
        features = cells_of(decoded, coarse_cells(targets.cells, grid, decoded.shape[-2:]))
        logits = self.semantics(features[..., None]).float().reshape(len(decoded), OCCLUSION_LEVELS, SEGMENTS, -1)
        entropy = -(level_segments(targets) * logits.log_softmax(2)).sum((1, 2)).mean()
        return {"semantics": SEMANTICS_WEIGHT * entropy}


def coarse_cells(cells: Tensor, grid: torch.Size, coarse: torch.Size) -> Tensor:
    """Return the flat cells of a coarse grid in which flat cells of a finer one lie."""
    row = torch.div(cells, grid[1], rounding_mode="floor")
    column = cells - row * grid[1]
    row = torch.div(row, grid[0] // coarse[0], rounding_mode="floor")
    return row * coarse[1] + torch.div(column, grid[1] // coarse[1], rounding_mode="floor")


def level_segments(targets: Targets) -> Tensor:
    """Return (B, N, 19, Q) shares of each cell that the segments of each level cover; they add up to 1."""
    amodal = targets.amodal * targets.valid[..., None]
    batch, _, count = amodal.shape
    row = targets.levels * SEGMENTS + STUFF_CLASSES + targets.classes
    shares = amodal.new_zeros(batch, OCCLUSION_LEVELS * SEGMENTS, count)
    shares = shares.scatter_reduce(1, row[..., None].expand_as(amodal), amodal, "amax")
    shares[:, :STUFF_CLASSES] = cells_of(targets.stuff, targets.cells)
    shares = shares.reshape(batch, OCCLUSION_LEVELS, SEGMENTS, count)
    total = shares.sum(2)
    shares[:, :, -1] = (1 - total).clamp(min=0)
    return shares / total.clamp(min=1)[:, :, None]

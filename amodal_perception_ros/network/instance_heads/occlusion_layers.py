"""Baseline: objects on layers of the relative occlusion order, grouped by the centre that each cell points at.

After PAPS (Mohan and Valada 2022), as described by AmodalSynthDrive (Sekkat et al. 2024, section 2): amodal masks are
assigned to layers by relative occlusion order, and instances are regressed on each layer. Objects of one layer do not
hide each other (section 3.3.1), so each layer is an ordinary panoptic problem: foreground and offsets to centres.
Here centres and classes are the tokens', as in all heads, and a further layer holds what is visible. PAPS' own
refiner and its hard-pixel cross-entropy are left out; the losses weigh small objects as those of `head.map_losses`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import LOG_DEPTH_CENTRE, conv_bn
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps, FineMaps
from amodal_perception_ros.network.instance_heads.head import (
    DEPTH_COVERAGE,
    InstanceHead,
    InstanceMaps,
    Matched,
    cell_centres,
    cells_of,
    mask_loss,
    object_maps,
)
from amodal_perception_ros.network.instance_heads.levels import (
    TokenLevel,
    at_level,
    every_object,
    layer_coverage,
    object_depth_loss,
)
from amodal_perception_ros.network.loss_terms import masked_l1_rows, mean_of_rows
from amodal_perception_ros.network.targets import LossWeights, Targets
from amodal_perception_ros.scene import OCCLUSION_LEVELS

VISIBLE = OCCLUSION_LEVELS
"""Index of the layer of visible parts, after those of the N levels."""

SIZES = [OCCLUSION_LEVELS + 1, OCCLUSION_LEVELS + 1, OCCLUSION_LEVELS + 1, OCCLUSION_LEVELS]
"""Maps of foreground, offset in x, offset in y (the visible layer included) and log depth."""

OFFSET_UNIT = 0.1
"""Offsets are predicted in tenths of the image's width and height."""

REACH = 0.25
"""A cell belongs to a token if it points to within this share of the box's width and height, plus a cell, of the
box's centre."""

MEMBER_LOGIT = 8.0
"""Logit of a cell that points exactly at the centre, and minus that of one that points far from it."""

CENTRE_WEIGHT = 2.0

FOREGROUND_BIAS = -2.0
"""Foreground logits are offsets from it: most of each layer is empty."""


class OcclusionLayers(InstanceHead):
    """Mask of a token = foreground of the layer of its level, where that layer points at the centre of its box."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.level = TokenLevel(config.channels)
        self.layers = nn.Sequential(conv_bn(config.channels, config.channels), FineMaps(config.channels, sum(SIZES)))

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> InstanceMaps:
        """Evaluate M tokens at some cells (see `InstanceHead.at`)."""
        return self._objects(tokens, boxes, self._layers_at(dense, cells), dense.log_depth.shape[-2:])

    def forward(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> InstanceMaps:
        """Evaluate every token at every cell: maps of shape (B, M, h, w)."""
        height, width = grid = dense.log_depth.shape[-2:]
        cells = torch.arange(height * width, device=tokens.device)[None]
        layers = _read_layers(self.layers(dense.hidden).flatten(2), cells, grid)
        maps = self._objects(tokens, boxes, layers, grid)
        return InstanceMaps(*(values.unflatten(2, (height, width)) for values in maps))

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the losses of the layers and of the tokens' levels, and the maps at the targets' cells."""
        grid = dense.log_depth.shape[-2:]
        layers = Layers(*(values.float() for values in self._layers_at(dense, targets.cells)))
        maps = self._objects(tokens, boxes, layers, grid)
        parts = layer_losses(layers, targets, grid, weights)
        return parts | {"level": self.level.loss(tokens, matched.instance, targets)}, maps

    def _layers_at(self, dense: DenseMaps, cells: Tensor) -> Layers:
        return _read_layers(cells_of(self.layers(dense.hidden), cells), cells, dense.log_depth.shape[-2:])

    def _objects(self, tokens: Tensor, boxes: Tensor, layers: Layers, grid: torch.Size) -> InstanceMaps:
        level = self.level(tokens)
        amodal = _mask(layers, level, boxes, grid)
        visible = _mask(layers, torch.full_like(level, VISIBLE), boxes, grid)
        return InstanceMaps(visible, amodal, at_level(layers.log_depth, level))


class Layers(NamedTuple):
    """Layers at Q cells: (B, N + 1, Q) `foreground` logits and `centre_x`, `centre_y`, the centre that each cell
    points at in fractions of the image; (B, N, Q) `log_depth`.
    """

    foreground: Tensor
    centre_x: Tensor
    centre_y: Tensor
    log_depth: Tensor


def _read_layers(values: Tensor, cells: Tensor, grid: torch.Size) -> Layers:
    foreground, offset_x, offset_y, depth = torch.split(values, SIZES, 1)
    x, y = cell_centres(cells, grid)
    centre_x, centre_y = x[:, None] + OFFSET_UNIT * offset_x, y[:, None] + OFFSET_UNIT * offset_y
    return Layers(foreground + FOREGROUND_BIAS, centre_x, centre_y, depth.float() + LOG_DEPTH_CENTRE)


def _mask(layers: Layers, layer: Tensor, boxes: Tensor, grid: torch.Size) -> Tensor:
    """Return (B, M, Q) logits of "foreground" and "points at the token's centre", as if both were independent.

    So where two tokens claim a cell, that which it points at more exactly is the surer.
    """
    across = (at_level(layers.centre_x, layer) - boxes[..., 0:1]) / (REACH * boxes[..., 2:3] + 1 / grid[1])
    along = (at_level(layers.centre_y, layer) - boxes[..., 1:2]) / (REACH * boxes[..., 3:4] + 1 / grid[0])
    member = MEMBER_LOGIT * (1 - across**2 - along**2).clamp(min=-1)
    foreground = at_level(layers.foreground, layer)
    low, high = torch.minimum(foreground, member), torch.maximum(foreground, member)
    return low - torch.log1p((low - high).exp() + (-high).exp())


def layer_losses(layers: Layers, targets: Targets, grid: torch.Size, weights: LossWeights) -> dict[str, Tensor]:
    """Return the losses of the dense layers, from all objects of the targets.

    Foreground is judged for each object in its layer and in the visible one, inside and outside of the object's
    region, and once over all layers so that those without objects learn to be empty. Offsets are judged relative to
    the object's box.
    """
    (image, row), truth = object_maps(every_object(targets), targets, grid)
    boxes, level = targets.boxes[image, row], targets.levels[image, row]
    visible = (targets.visible * targets.valid[..., None]).sum(1, keepdim=True).clamp(max=1)
    coverage = torch.cat([layer_coverage(targets), visible], 1)
    parts = {"empty": weights.mask_bce * F.binary_cross_entropy_with_logits(layers.foreground, coverage)}
    for name, layer, mask in (
        ("visible", torch.full_like(level, VISIBLE), truth.visible),
        ("amodal", level, truth.amodal),
    ):
        logits, target = layers.foreground[image, layer], coverage[image, layer]
        loss = mask_loss(logits, target, truth.region, weights.mask_dice, weights.mask_bce)
        parts[name] = mean_of_rows(loss)
        at_centre = torch.where(mask >= DEPTH_COVERAGE, 0.0, torch.nan)
        across = (layers.centre_x[image, layer] - boxes[:, 0:1]) / boxes[:, 2:3].clamp(min=1 / grid[1])
        along = (layers.centre_y[image, layer] - boxes[:, 1:2]) / boxes[:, 3:4].clamp(min=1 / grid[0])
        error = masked_l1_rows(across, at_centre) + masked_l1_rows(along, at_centre)
        parts[f"{name}_centre"] = CENTRE_WEIGHT * mean_of_rows(error)
    parts["object_depth"] = weights.object_depth * object_depth_loss(layers.log_depth, targets, grid)
    return parts

"""Heads: dense maps at stride 4, seeds as heat-map peaks, and the tokens read at the seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import LOG_DEPTH_CENTRE, conv_bn, mlp
from amodal_perception_ros.network.config import (
    FEATURE_STRIDE,
    OUTPUT_STRIDE,
    STUFF_CLASSES,
    THING_CLASSES,
    NetworkConfig,
)

HEAT_BIAS = -4.0
"""Start of the heat map's bias: few cells are seeds, so the focal loss should not start by unlearning them."""


class DenseMaps(NamedTuple):
    """Dense outputs at stride 2 and 4, and `hidden` (B, D, H/4, W/4), the layer before them, which tokens read.

    `mask_features` (B, C, H/2, W/2), `stuff_logits` (B, 11, H/2, W/2), `log_depth` (B, H/2, W/2), `heat_logits`
    (B, 1, hs, ws).
    """

    hidden: Tensor
    mask_features: Tensor
    stuff_logits: Tensor
    log_depth: Tensor
    heat_logits: Tensor


class FineMaps(nn.Sequential):
    """1 x 1 convolution from the features at stride 4 to maps at stride 2: each feature cell holds its four finer ones.

    Sub-pixel convolution (Shi et al. 2016): the cost of convolutions at stride 2 is saved.
    """

    def __init__(self, inputs: int, outputs: int, groups: int = 1) -> None:
        ratio = FEATURE_STRIDE // OUTPUT_STRIDE
        super().__init__(nn.Conv2d(inputs, outputs * ratio**2, 1, groups=groups), nn.PixelShuffle(ratio))


class DenseHead(nn.Module):
    """Mask features, stuff logits, log depth and seed heat from the stride-4 (and for seeds at 8, stride-8) map."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.seeds_in_shared = config.seed_stride == FEATURE_STRIDE
        self.sizes = [config.mask_channels, STUFF_CLASSES, 1]
        self.shared = conv_bn(config.channels, config.channels)
        self.maps = FineMaps(config.channels, sum(self.sizes))
        heat_output = nn.Conv2d(config.channels, 1, 1)
        seeds_hidden = nn.Identity() if self.seeds_in_shared else conv_bn(config.channels, config.channels)
        self.heat = nn.Sequential(seeds_hidden, heat_output)
        with torch.no_grad():
            heat_output.get_parameter("bias")[-1] = HEAT_BIAS

    def forward(self, pyramid: list[Tensor]) -> DenseMaps:
        """Map the pyramid to dense outputs."""
        hidden = self.shared(pyramid[0])
        mask_features, stuff, depth = torch.split(self.maps(hidden), self.sizes, 1)
        heat = self.heat(hidden if self.seeds_in_shared else pyramid[1])
        return DenseMaps(hidden, mask_features, stuff, depth[:, 0].float() + LOG_DEPTH_CENTRE, heat)


class Seeds(NamedTuple):
    """Cells chosen as seeds: `score` (B, K) heat in 0..1 (0 = not a peak) and flat `cells` (B, K) int64."""

    score: Tensor
    cells: Tensor


def pick_seeds(heat_logits: Tensor, count: int, forced: Tensor | None = None) -> Seeds:
    """Return the `count` highest 3 x 3 peaks of the heat map (CenterNet, Zhou et al. 2019, section 4).

    Where there are fewer peaks the remaining places go to the hottest other cells with score 0, so that the order
    is well defined: equal values occur only where logits are equal.

    Args:
        heat_logits: (B, 1, hs, ws).
        count: K.
        forced: (B, 1, hs, ws), 1 at cells that must be seeds (training), else 0.

    Raises:
        ValueError: the heat map has fewer than `count` cells.
    """
    rows, columns = heat_logits.shape[-2:]
    if rows * columns < count:
        raise ValueError(f"{count} tokens need a larger input: its heat map has only {columns} x {rows} cells")
    heat = heat_logits.sigmoid()
    is_peak = (F.max_pool2d(heat, 3, 1, 1) == heat).to(heat.dtype)
    ranking = heat + is_peak - 1
    if forced is not None:
        ranking = torch.maximum(ranking, forced)
    score, cells = ranking.flatten(1).topk(count, 1)
    return Seeds(score.clamp(min=0), cells)


class Tokens(NamedTuple):
    """Per-seed outputs: `embedding` (B, K, D), `class_logits` (B, K, T+1), `boxes` (B, K, 4),
    `order_logits` (B, K, K), `occluded_logits` (B, K), `quality_logits` (B, K).
    """

    embedding: Tensor
    class_logits: Tensor
    boxes: Tensor
    order_logits: Tensor
    occluded_logits: Tensor
    quality_logits: Tensor


class TokenHead(nn.Module):
    """Reads a token at each seed from fine features and coarse context, and predicts what a token alone can tell."""

    CONTEXT_LEVEL = 2
    CONTEXT_STRIDE = 16

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.channels
        self.seed_stride = config.seed_stride
        self.read = nn.Linear(2 * channels, channels)
        self.position = mlp(2, channels, channels)
        self.mix = nn.Sequential(nn.LayerNorm(channels), mlp(channels, 2 * channels, channels))
        self.norm = nn.LayerNorm(channels)
        self.classes = nn.Linear(channels, THING_CLASSES + 1)
        self.box = mlp(channels, channels, 4)
        self.order_query = nn.Linear(channels, channels)
        self.order_key = nn.Linear(channels, channels)
        self.occluded = nn.Linear(channels, 1)
        self.quality = mlp(channels, channels, 1)

    def forward(self, hidden: Tensor, pyramid: list[Tensor], index: Tensor) -> Tokens:
        """Build tokens for (B, K) flat seed indices of the heat map."""
        source = hidden if self.seed_stride == FEATURE_STRIDE else pyramid[1]
        context = pyramid[self.CONTEXT_LEVEL]
        height, width = source.shape[-2:]
        row = torch.div(index, width, rounding_mode="floor")
        column = index - row * width
        ratio = self.CONTEXT_STRIDE // self.seed_stride
        coarse_row = torch.div(row, ratio, rounding_mode="floor")
        coarse = coarse_row * context.shape[-1] + torch.div(column, ratio, rounding_mode="floor")
        seed = torch.stack([(column.float() + 0.5) / width, (row.float() + 0.5) / height], -1)
        token = self.read(torch.cat([gather_cells(source, index), gather_cells(context, coarse)], -1))
        token = token + self.position(seed)
        token = self.norm(token + self.mix(token))
        order = torch.bmm(self.order_query(token), self.order_key(token).transpose(1, 2))
        scale = 1 / math.sqrt(token.shape[-1])
        boxes = decode_boxes(self.box(token).float(), seed)
        occluded, quality = self.occluded(token)[..., 0], self.quality(token)[..., 0]
        return Tokens(token, self.classes(token), boxes, order * scale, occluded, quality)


def gather_cells(features: Tensor, index: Tensor) -> Tensor:
    """Return (B, K, C) columns of a (B, C, h, w) map at (B, K) flat indices."""
    channels = features.shape[1]
    return torch.gather(features.flatten(2), 2, index[:, None].expand(-1, channels, -1)).transpose(1, 2)


def decode_boxes(raw: Tensor, seed: Tensor) -> Tensor:
    """Return (B, K, 4) centre and size in image fractions from raw (B, K, 4) and the seed position (B, K, 2)."""
    centre = seed + 0.5 * (0.5 * raw[..., :2]).tanh()
    # Typical log sizes as numbers: a tensor made here would be copied to the device, which a CUDA graph cannot do.
    width = (raw[..., 2:3].clamp(-4, 3) - 2.2).exp()
    height = (raw[..., 3:4].clamp(-4, 3) - 1.6).exp()
    return torch.cat([centre, width, height], -1)

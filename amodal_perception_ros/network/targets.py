"""What the losses compare the network's outputs with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Targets(NamedTuple):
    """Ground truth of B images with up to G objects each, h = H/2, w = W/2; float32 unless said.

    Maps of objects are given at Q cells of each image, `cells`: a sample of them in training, all in validation.

    Attributes:
        stuff: (B, 11, h, w) share of each cell covered by each stuff class.
        log_depth: (B, h, w) log canonical depth of the visible surface, NaN unknown.
        cells: (B, Q) int64 flat cells of the h x w grid.
        valid: (B, G) bool, False for padding.
        classes: (B, G) int64 index into `labels.THINGS`.
        levels: (B, G) int64 occlusion level.
        boxes: (B, G, 4) amodal box inside the image: centre x, centre y, width, height as fractions.
        hidden_share: (B, G) hidden part of the amodal mask's area, 0..1.
        visible, amodal: (B, G, Q) coverage in 0..1.
        object_log_depth: (B, G, Q) log canonical depth of the whole object, NaN unknown.
        occludes: (B, G, G) bool, [i, j]: i hides part of j.
        heat: (B, hs, ws) seed target in 0..1, exactly 1 at the objects' seed cells.
        heat_weight: (B, hs, ws) 0 where the heat map is not supervised (objects too small to be targets), else 1.
        seed_object: (B, hs, ws) int64 object that a seed in this cell stands for, -1 for none.
        forced: (B, 1, hs, ws) 1 at seed cells that are made tokens whatever the heat map says.
    """

    stuff: Tensor
    log_depth: Tensor
    cells: Tensor
    valid: Tensor
    classes: Tensor
    levels: Tensor
    boxes: Tensor
    hidden_share: Tensor
    visible: Tensor
    amodal: Tensor
    object_log_depth: Tensor
    occludes: Tensor
    heat: Tensor
    heat_weight: Tensor
    seed_object: Tensor
    forced: Tensor

    def to(self, device: torch.device) -> Targets:
        """Return the targets on another device."""
        return Targets(*(tensor.to(device, non_blocking=True) for tensor in self))


@dataclass(frozen=True)
class LossWeights:
    """Weight of each part of the loss."""

    heat: float = 1.0
    classes: float = 2.0
    mask_dice: float = 2.0
    mask_bce: float = 2.0
    hidden_dice: float = 0.5
    hidden_bce: float = 0.5
    panoptic: float = 1.0
    stuff_dice: float = 1.0
    box: float = 1.0
    object_depth: float = 2.0
    dense_depth: float = 2.0
    order: float = 1.0
    occluded: float = 0.5
    quality: float = 0.5

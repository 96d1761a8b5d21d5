"""What an instance head is: from tokens to the visible mask, the amodal mask and the depth of each object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.loss_terms import bce_loss, dice_loss, masked_l1_rows, mean_of_rows
from amodal_perception_ros.network.targets import LossWeights, Targets

DEPTH_COVERAGE = 0.25
"""Object depth is supervised where the amodal mask covers at least this share of a cell."""

REGION_SCALE = 1.5
"""Masks are judged inside the true box, enlarged by this factor and by a cell on each side, and outside of it, each
as one mean: a small object counts as much as a large one."""


Window = tuple[slice, slice]
"""Rows and columns of a map."""


class InstanceMaps(NamedTuple):
    """(B, M, Q) or (B, M, h, w) visible logits, amodal logits and log canonical depth of M tokens, or (wh, ww) of one
    token on a window.
    """

    visible: Tensor
    amodal: Tensor
    log_depth: Tensor


class Matched(NamedTuple):
    """(B, M) int64 `instance`, object of each of M tokens (-1 none), and bool `owner`, the token that detects it."""

    instance: Tensor
    owner: Tensor


class InstanceHead(nn.Module):
    """Base of all instance heads. A head has `at` and `forward`, and `losses` where it learns more than the maps.

    In use, maps are made in two steps: the network describes the objects, then `draw` or `everywhere` makes maps of a
    description alone. The second step reads no parameters, so that a head that is only built, from the configuration,
    can draw what an exported network has described. Here the description is the full maps themselves; heads whose maps
    can be drawn one by one describe them more briefly.
    """

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> InstanceMaps:
        """Evaluate M tokens at Q cells of each image.

        Args:
            tokens: (B, M, D).
            boxes: (B, M, 4) centre x, centre y, width, height, normalised to the image.
            dense: outputs of the dense head on an h x w grid.
            cells: (B, Q) int64 flat cells of that grid.

        Returns:
            Maps of shape (B, M, Q).
        """
        raise NotImplementedError

    def forward(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> InstanceMaps:
        """Evaluate every token at every cell: maps of shape (B, M, h, w)."""
        raise NotImplementedError

    def describe(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> tuple[Tensor, ...]:
        """Return what drawing the maps of the tokens needs besides their boxes: tensors whose first dimension is B."""
        return tuple(self(tokens, boxes, dense))

    def everywhere(self, description: tuple[Tensor, ...], boxes: Tensor) -> InstanceMaps:
        """Draw all described tokens at every cell, as `forward` does: maps of shape (B, M, h, w)."""
        return InstanceMaps(*description)

    def draw(
        self, description: tuple[Tensor, ...], boxes: Tensor, image: int, tokens: Tensor, windows: Sequence[Window]
    ) -> list[InstanceMaps]:
        """Draw some tokens of an image, each on its window of the grid.

        Args:
            description: from `describe`.
            boxes: (B, M, 4), as they were described.
            image: number of the image.
            tokens: (n,) int64 numbers of the tokens.
            windows: n windows.

        Returns:
            n maps of the shapes of the windows.
        """
        chosen = [maps[image, tokens] for maps in description]
        return [InstanceMaps(*(maps[number][window] for maps in chosen)) for number, window in enumerate(windows)]

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the weighted parts of the head's loss, and the float32 maps at the targets' cells."""
        maps = self.float_maps(tokens, boxes, dense, targets)
        return map_losses(maps, matched.instance, targets, dense.log_depth.shape[-2:], weights), maps

    def float_maps(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, targets: Targets) -> InstanceMaps:
        """Return the maps at the targets' cells in float32, in which losses are computed at any precision."""
        return InstanceMaps(*(values.float() for values in self.at(tokens, boxes, dense, targets.cells)))


class ObjectMaps(NamedTuple):
    """Targets of the P tokens that stand for an object, at Q cells: (P, Q) each; `region` as in `REGION_SCALE`."""

    visible: Tensor
    amodal: Tensor
    log_depth: Tensor
    region: Tensor


def object_maps(instance: Tensor, targets: Targets, grid: torch.Size) -> tuple[tuple[Tensor, Tensor], ObjectMaps]:
    """Return (image, token) of the P tokens with an object, and their targets.

    Args:
        instance: (B, M) object of each token, -1 for none.
        targets: of the batch.
        grid: (h, w).
    """
    image, token = torch.nonzero(instance >= 0, as_tuple=True)
    row = instance[image, token]
    amodal = targets.amodal[image, row]
    depth = targets.object_log_depth[image, row]
    depth = torch.where(amodal >= DEPTH_COVERAGE, depth, torch.nan)
    region = in_box(targets.boxes[image, row], targets.cells[image], grid)
    return (image, token), ObjectMaps(targets.visible[image, row], amodal, depth, region)


def in_box(boxes: Tensor, cells: Tensor, grid: torch.Size) -> Tensor:
    """Return (P, Q) float32 1 for cells inside the (P, 4) boxes, enlarged as in `REGION_SCALE`, else 0."""
    x, y = cell_centres(cells, grid)
    reach_x = 0.5 * REGION_SCALE * boxes[:, 2:3] + 1 / grid[1]
    reach_y = 0.5 * REGION_SCALE * boxes[:, 3:4] + 1 / grid[0]
    return (((x - boxes[:, 0:1]).abs() <= reach_x) & ((y - boxes[:, 1:2]).abs() <= reach_y)).float()


def cell_centres(cells: Tensor, grid: torch.Size) -> tuple[Tensor, Tensor]:
    """Return x and y of the centres of flat cells of an h x w grid, as fractions of the image."""
    row = torch.div(cells, grid[1], rounding_mode="floor")
    return (cells - row * grid[1] + 0.5) / grid[1], (row + 0.5) / grid[0]


def map_losses(
    maps: InstanceMaps, instance: Tensor, targets: Targets, grid: torch.Size, weights: LossWeights
) -> dict[str, Tensor]:
    """Return the losses of visible mask, amodal mask and object depth.

    Depth is supervised on the whole object, the hidden part included. Each part is the mean over the objects, or 0
    where there are none.
    """
    where, truth = object_maps(instance, targets, grid)
    dice, bce = weights.mask_dice, weights.mask_bce
    visible = mask_loss(maps.visible[where], truth.visible, truth.region, dice, bce)
    amodal = mask_loss(maps.amodal[where], truth.amodal, truth.region, dice, bce)
    depth = weights.object_depth * masked_l1_rows(maps.log_depth[where], truth.log_depth)
    return {"visible": mean_of_rows(visible), "amodal": mean_of_rows(amodal), "object_depth": mean_of_rows(depth)}


def hidden_logits(visible: Tensor, amodal: Tensor) -> Tensor:
    """Return the logits of the hidden part, amodal - relu(visible) (ORCNN, Follmann et al. 2019, section 3.1)."""
    return amodal - F.relu(visible)


def hidden_loss(
    maps: InstanceMaps, instance: Tensor, targets: Targets, grid: torch.Size, dice: float, bce: float
) -> Tensor:
    """Return the loss of the hidden part, ORCNN's invisible mask: mean over objects of dice and binary cross-entropy.

    Objects of which less than a cell is hidden have no dice.
    """
    where, truth = object_maps(instance, targets, grid)
    logits = hidden_logits(maps.visible[where], maps.amodal[where])
    target = (truth.amodal - truth.visible).clamp(min=0)
    overlap = dice_loss(logits, target, truth.region) * (target.sum(1) > 1).float()
    return mean_of_rows(dice * overlap + bce * region_bce(logits, target, truth.region))


def mask_loss(logits: Tensor, target: Tensor, region: Tensor, dice: float, bce: float) -> Tensor:
    """Return (P,) weighted dice + binary cross-entropy of (P, Q) masks."""
    return dice * dice_loss(logits, target, region) + bce * region_bce(logits, target, region)


def region_bce(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return (P,) mean binary cross-entropy inside the region plus that outside."""
    return bce_loss(logits, target, region) + bce_loss(logits, target, 1 - region)


def cells_of(features: Tensor, cells: Tensor) -> Tensor:
    """Return (B, C, Q) columns of a (B, C, h, w) map at (B, Q) flat cells."""
    return torch.gather(features.flatten(2), 2, cells[:, None].expand(-1, features.shape[1], -1))

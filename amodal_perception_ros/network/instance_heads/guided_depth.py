"""Baseline: a second stage that refines the depth of the most hidden objects, guided by what is seen of them.

After Amodal-DAV2 (Li et al. 2024, Amodal Depth Anything, "Key Designs"): observed depth and amodal mask enter through
a guidance convolution beside the image's, zero-initialised so that training starts without them; the features are
layer-normalised before the decoder; the loss is scale-invariant in the log over the whole object. Differences: the
decoder reads a crop of the network's features in place of a ViT's, it corrects the depth of our head in place of
predicting depth afresh, the observed depth is relative to that, and the visible mask guides as well.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads.fields import InstanceFields
from amodal_perception_ros.network.instance_heads.head import (
    REGION_SCALE,
    InstanceHead,
    InstanceMaps,
    Matched,
    cell_centres,
    object_maps,
)
from amodal_perception_ros.network.targets import LossWeights, Targets

REFINED = 16
"""Objects of an image that are refined: those with the largest hidden area."""

CROP = 28
"""Side of an object's crop; it spans the region in which masks are judged (`head.REGION_SCALE`)."""

CHANNELS = 32
GUIDANCE_CHANNELS = 3
"""Observed depth, amodal and visible probability."""

DILATIONS = (1, 2, 4, 8)
"""Of the decoder's 3 x 3 convolutions: they reach 15 cells to each side, half of a crop."""

SILOG_LAMBDA = 0.85


class GuidedDepth(InstanceHead):
    """Our head first; then a small convolutional decoder corrects the depth of the objects that are hidden most."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.first = InstanceFields(config)
        self.read = nn.Conv2d(config.channels, CHANNELS, 1)
        self.guidance = nn.Conv2d(GUIDANCE_CHANNELS, CHANNELS, 3, padding=1)
        layers: list[nn.Module] = [nn.GroupNorm(1, CHANNELS)]
        for dilation in DILATIONS:
            layers += [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
        self.decode = nn.Sequential(*layers, nn.Conv2d(CHANNELS, 1, 1))
        with torch.no_grad():
            for parameter in self.guidance.parameters():
                parameter.zero_()

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> InstanceMaps:
        """Evaluate M tokens at some cells (see `InstanceHead.at`); the most hidden are chosen by these cells."""
        maps = self.first.at(tokens, boxes, dense, cells)
        change = self._change_at(most(hidden_area(maps)), tokens, boxes, dense, cells)
        return maps._replace(log_depth=maps.log_depth + change)

    def forward(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> InstanceMaps:
        """Evaluate every token at every cell: maps of shape (B, M, h, w)."""
        maps = self.first(tokens, boxes, dense)
        height, width = grid = maps.amodal.shape[2:]
        flat = InstanceMaps(*(values.flatten(2) for values in maps))
        chosen = most(hidden_area(flat))
        objects = InstanceMaps(*(_rows(values, chosen).unflatten(2, (height, width)) for values in flat))
        cells = torch.arange(height * width, device=tokens.device)[None]
        region = regions(_rows(boxes, chosen), grid)
        change = paste(self._correct(objects, region, dense), region, cells, grid)
        refined = flat.log_depth + _spread(change, chosen, tokens.shape[1])
        return maps._replace(log_depth=refined.unflatten(2, (height, width)))

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the losses of the first stage and SILog of the refined depth; and the maps at the targets' cells.

        The first stage learns as it does alone: no gradient of the second reaches its masks and depth.
        """
        parts, maps = self.first.losses(tokens, boxes, dense, matched, targets, weights)
        chosen = most(hidden_area(maps).where(matched.instance >= 0, -1.0))
        change = self._change_at(chosen, tokens, boxes, dense, targets.cells)
        is_chosen = torch.zeros_like(matched.owner).scatter(1, chosen, True)
        instance = matched.instance.where(is_chosen, -1)
        where, truth = object_maps(instance, targets, dense.log_depth.shape[-2:])
        refined = maps.log_depth.detach() + change
        parts["guided_depth"] = weights.object_depth * silog_loss(refined[where], truth.log_depth)
        return parts, maps._replace(log_depth=maps.log_depth + change)

    def _change_at(self, chosen: Tensor, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> Tensor:
        """Return (B, M, Q) correction of the log depth, 0 for tokens that are not among the (B, N) chosen."""
        grid = dense.log_depth.shape[-2:]
        with torch.no_grad():
            objects = self.first(_rows(tokens, chosen), _rows(boxes, chosen), dense)
        region = regions(_rows(boxes, chosen), grid)
        change = paste(self._correct(objects, region, dense), region, cells, grid)
        return _spread(change, chosen, tokens.shape[1])

    def _correct(self, objects: InstanceMaps, region: Tensor, dense: DenseMaps) -> Tensor:
        """Return (B * N, 1, S, S) corrections in the crops of N objects an image, from the first stage's maps."""
        observed = dense.log_depth.detach()[:, None] - objects.log_depth
        guidance = torch.stack([observed, objects.amodal.sigmoid(), objects.visible.sigmoid()], 2)
        guidance = crop(guidance.flatten(0, 1), region.flatten(0, 1)[:, None])
        features = crop(self.read(dense.hidden), region)
        return self.decode(features + self.guidance(guidance))


def hidden_area(maps: InstanceMaps) -> Tensor:
    """Return (B, M) expected number of the (B, M, Q) cells in which a token's object is hidden."""
    return (maps.amodal.sigmoid() * (1 - maps.visible.sigmoid())).sum(-1)


def most(rank: Tensor) -> Tensor:
    """Return (B, N) int64 the N = `REFINED` highest of (B, M) ranks, all where there are fewer."""
    return rank.topk(min(REFINED, rank.shape[1]), 1).indices


def regions(boxes: Tensor, grid: torch.Size) -> Tensor:
    """Return (B, N, 4) centre and reach to each side, in fractions of the image, of crops round (B, N, 4) boxes."""
    reach_x = 0.5 * REGION_SCALE * boxes[..., 2:3] + 1 / grid[1]
    reach_y = 0.5 * REGION_SCALE * boxes[..., 3:4] + 1 / grid[0]
    return torch.cat([boxes[..., :2], reach_x, reach_y], -1).detach().float()


def crop(maps: Tensor, region: Tensor) -> Tensor:
    """Return (B * N, C, S, S) bilinear samples of (B, C, h, w) maps in (B, N, 4) regions, 0 outside of the image."""
    batch, count, _ = region.shape
    step = (torch.arange(CROP, device=maps.device) + 0.5) * (2 / CROP) - 1
    x = (region[..., 0:1] + region[..., 2:3] * step)[:, :, None, :].expand(-1, -1, CROP, -1)
    y = (region[..., 1:2] + region[..., 3:4] * step)[:, :, :, None].expand(-1, -1, -1, CROP)
    places = 2 * torch.stack([x, y], -1) - 1
    samples = F.grid_sample(maps.float(), places.reshape(batch, count * CROP, CROP, 2), align_corners=False)
    return samples.unflatten(2, (count, CROP)).transpose(1, 2).flatten(0, 1)


def paste(crops: Tensor, region: Tensor, cells: Tensor, grid: torch.Size) -> Tensor:
    """Return (B, N, Q) bilinear samples of (B * N, 1, S, S) crops at (B or 1, Q) flat cells, 0 outside of a crop."""
    batch, count, _ = region.shape
    x, y = (values[:, None] for values in cell_centres(cells, grid))
    u, v = (x - region[..., 0:1]) / region[..., 2:3], (y - region[..., 1:2]) / region[..., 3:4]
    places = torch.stack([u, v], -1).reshape(batch * count, -1, 1, 2)
    return F.grid_sample(crops.float(), places, align_corners=False).reshape(batch, count, -1)


def silog_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the scale-invariant log loss sqrt(mean d^2 - lambda (mean d)^2) (Eigen et al. 2014, equation 3).

    Args:
        prediction: (P, Q) log depths of P objects; each object counts alike in the means.
        target: (P, Q), NaN where unknown.
    """
    known = torch.isfinite(target)
    error, count = (prediction - target.nan_to_num(0.0)) * known, known.sum(1).clamp(min=1)
    objects = max(1, len(target))
    mean, square = (error.sum(1) / count).sum() / objects, ((error**2).sum(1) / count).sum() / objects
    return (square - SILOG_LAMBDA * mean**2).clamp(min=1e-8).sqrt()


def _rows(values: Tensor, chosen: Tensor) -> Tensor:
    """Return (B, N, C) rows of a (B, M, C) tensor at (B, N) indices."""
    return torch.gather(values, 1, chosen[..., None].expand(-1, -1, values.shape[-1]))


def _spread(values: Tensor, chosen: Tensor, count: int) -> Tensor:
    """Return (B, M, Q), 0 but for the (B, N, Q) rows at (B, N) indices."""
    rows = chosen[..., None].expand_as(values)
    return values.new_zeros(len(values), count, values.shape[2]).scatter(1, rows, values)

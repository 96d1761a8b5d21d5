"""Baseline: three layers in the box of an object: what occludes it, the whole object, what it occludes.

After WALT (Reddy et al. 2022, supplement, "Network Architecture" and "Occluded Layer"): one mask head each for
occluder, amodal object and occluded object, all supervised, so that the object is told from the others in its box.
The seed's masks are per class; here class is the token's, as for all heads. The seed scores the amodal mask only;
the visible mask here is the object's layer without the occluder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
from amodal_perception_ros.network.instance_heads.head import InstanceMaps, Matched, mask_loss, object_maps
from amodal_perception_ros.network.loss_terms import bce_loss, dice_loss, masked_l1_rows, mean_of_rows
from amodal_perception_ros.network.targets import LossWeights, Targets


class Layers(NamedTuple):
    """Occluder, object and occluded of M tokens: logits (B, M, ...), or the coverage that they should have."""

    occluder: Tensor
    amodal: Tensor
    occluded: Tensor


class OccluderLayers(GeneratedHead):
    """Each layer and the depth of the whole object by one generated MLP each."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.occluder = GeneratedMLP(config, masks=1)
        self.amodal = GeneratedMLP(config, masks=1)
        self.occluded = GeneratedMLP(config, masks=1)
        self.depth = GeneratedMLP(config, masks=0, others=1)
        self.base_depth = mlp(config.channels, config.channels, 1)

    @property
    def mlps(self) -> tuple[GeneratedMLP, ...]:
        """Those of the maps (see `GeneratedHead.mlps`); the occluded layer is of use in training only."""
        return self.occluder, self.amodal, self.depth

    def maps(self, base: Tensor, outputs: Sequence[Tensor]) -> InstanceMaps:
        """Make maps of the two layers and the change of the depth (see `GeneratedHead.maps`)."""
        occluder, amodal, residual = outputs
        return InstanceMaps(torch.minimum(amodal, -occluder), amodal, object_log_depth(base, residual))

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the losses of `layer_losses`, and the maps at the targets' cells."""
        parts, features = (self.occluder, self.amodal, self.occluded, self.depth), dense.mask_features
        outputs = (part.at(part(tokens), boxes, features, targets.cells)[:, :, 0].float() for part in parts)
        occluder, amodal, occluded, residual = outputs
        maps = self.maps(self.base_depth(tokens), (occluder, amodal, residual))
        layers = Layers(occluder, amodal, occluded)
        grid = dense.log_depth.shape[-2:]
        return layer_losses(layers, maps.log_depth, matched.instance, targets, grid, weights), maps


def layer_losses(
    layers: Layers, log_depth: Tensor, instance: Tensor, targets: Targets, grid: torch.Size, weights: LossWeights
) -> dict[str, Tensor]:
    """Return the losses of (B, M, Q) layers and of the depth of the whole object (others as in `head.map_losses`).

    Occluder and occluded are judged inside the object's region only, as the seed judges its masks in the box. The
    visible mask has no loss of its own; as all heads' it enters the panoptic loss.
    """
    where, truth = object_maps(instance, targets, grid)
    row = where[0], instance[where]
    coverage = Layers(*(layer[row] for layer in layer_coverage(targets)))
    dice, bce = weights.mask_dice, weights.mask_bce
    parts = {"amodal": mask_loss(layers.amodal[where], coverage.amodal, truth.region, dice, bce)}
    for name, logits, target in (
        ("occluder_layer", layers.occluder[where], coverage.occluder),
        ("occluded_layer", layers.occluded[where], coverage.occluded),
    ):
        present = ((target * truth.region).sum(1) > 1).float()
        overlap = dice_loss(logits, target, truth.region) * present
        parts[name] = dice * overlap + bce * bce_loss(logits, target, truth.region)
    parts["object_depth"] = weights.object_depth * masked_l1_rows(log_depth[where], truth.log_depth)
    return {name: mean_of_rows(values) for name, values in parts.items()}


def layer_coverage(targets: Targets) -> Layers:
    """Return (B, G, Q) coverage in 0..1 of the layers of each object.

    Layers hold the whole (amodal) masks of all objects that hide the object or that it hides. The occluder's holds
    besides whatever else hides the object, such as a pole, and ends where the object is visible: two objects may hide
    one another in parts, as rider and bike.
    """
    occludes = targets.occludes.to(targets.amodal)
    occluder = torch.bmm(occludes.transpose(1, 2), targets.amodal).float()
    occluder = torch.maximum(occluder, targets.amodal - targets.visible).minimum(1 - targets.visible)
    occluded = torch.bmm(occludes, targets.amodal).float().clamp(max=1)
    return Layers(occluder, targets.amodal, occluded)

"""Training losses of the network: assignment of tokens to objects without matching, then one loss per output."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from amodal_perception_ros.network.config import THING_CLASSES
from amodal_perception_ros.network.heads import Seeds, Tokens, pick_seeds
from amodal_perception_ros.network.instance_heads import Matched
from amodal_perception_ros.network.instance_heads.head import cells_of, object_maps
from amodal_perception_ros.network.loss_terms import box_loss, class_dice_loss, focal_loss, masked_l1
from amodal_perception_ros.network.network import AmodalNetwork
from amodal_perception_ros.network.targets import LossWeights, Targets

SECONDARY_WEIGHT = 0.25
"""Class-loss weight of all tokens that own no object, on an object or on background; their class target is "none"."""

OCCLUDER_WEIGHT = 4.0
"""Weight of true occluder pairs in the order loss; they are few among all pairs."""

OCCLUDED_SHARE = 0.02
"""An object counts as occluded for the network when at least this share of it is hidden."""


class Assignment(NamedTuple):
    """Which object each token stands for.

    Attributes:
        instance: (B, K) int64 object of the token's cell, -1 for background.
        owner: (B, K) bool, the one token that must detect its object.
        ignored: (B, K) bool, the cell lies on an object too small to be a target.
        priority: (B, K) owners above other tokens on objects above background, then by heat.
    """

    instance: Tensor
    owner: Tensor
    ignored: Tensor
    priority: Tensor


@torch.no_grad()
def assign(seeds: Seeds, heat_logits: Tensor, targets: Targets) -> Assignment:
    """Assign each seed to the object that covers its cell; the object's strongest seed owns it.

    Strength is predicted heat plus the target, so that owners are seeds close to the visible core and agree with
    what the heat map learns.
    """
    instance = torch.gather(targets.seed_object.flatten(1), 1, seeds.cells)
    heat = torch.gather(heat_logits.float().sigmoid().flatten(1), 1, seeds.cells)
    strength = heat + torch.gather(targets.heat.flatten(1), 1, seeds.cells)
    same = instance[:, :, None] == instance[:, None, :]
    strongest = torch.where(same, strength[:, None, :], -1.0).argmax(-1)
    positive = instance >= 0
    owner = positive & (strongest == torch.arange(instance.shape[1], device=instance.device))
    ignored = (torch.gather(targets.heat_weight.flatten(1), 1, seeds.cells) == 0) & ~positive
    return Assignment(instance, owner, ignored, 4.0 * owner + 2.0 * positive + heat)


def training_losses(
    network: AmodalNetwork,
    image: Tensor,
    guidance: Tensor,
    targets: Targets,
    weights: LossWeights,
    field_tokens: int,
) -> dict[str, Tensor]:
    """Run the network on a batch and return the weighted loss parts; their sum is the loss.

    The instance head is evaluated only for the `field_tokens` tokens an image that matter most (owners first), and
    only at the targets' cells: masks of all tokens at all cells would cost more than the trunk.

    Args:
        network: in training mode.
        image: (B, 3, H, W), as in `AmodalNetwork.forward`.
        guidance: (B, 2, H, W), as there.
        targets: of the same batch.
        weights: of the parts.
        field_tokens: number of tokens per image that get masks, at most the network's K.
    """
    pyramid = network.trunk(image, guidance)
    dense = network.dense(pyramid)
    seeds = pick_seeds(dense.heat_logits.float(), network.config.tokens, targets.forced)
    tokens = network.tokens(dense.hidden, pyramid, seeds.cells)
    assignment = assign(seeds, dense.heat_logits, targets)
    chosen = assignment.priority.topk(min(field_tokens, network.config.tokens), 1).indices
    matched = Matched(torch.gather(assignment.instance, 1, chosen), torch.gather(assignment.owner, 1, chosen))
    embedding, boxes = _rows(tokens.embedding, chosen), _rows(tokens.boxes, chosen)
    parts = token_losses(tokens, assignment, targets, weights)
    learned, maps = network.instances.losses(embedding, boxes, dense, matched, targets, weights)
    parts |= learned
    quality = torch.gather(tokens.quality_logits, 1, chosen).float()
    grid = dense.log_depth.shape[-2:]
    parts["quality"] = weights.quality * quality_loss(quality, maps.amodal, matched.instance, targets, grid)
    stuff = dense.stuff_logits.float()
    parts["panoptic"] = weights.panoptic * panoptic_loss(stuff, maps.visible, matched, targets)
    parts["stuff_dice"] = weights.stuff_dice * class_dice_loss(stuff, targets.stuff)
    parts["heat"] = weights.heat * focal_loss(dense.heat_logits.float()[:, 0], targets.heat, targets.heat_weight)
    parts["dense_depth"] = weights.dense_depth * masked_l1(dense.log_depth.float(), targets.log_depth)
    return parts


def token_losses(tokens: Tokens, assignment: Assignment, targets: Targets, weights: LossWeights) -> dict[str, Tensor]:
    """Return the losses of class, box, "is occluded" and pairwise order."""
    instance, owner = assignment.instance, assignment.owner
    positive, known = instance >= 0, instance.clamp(min=0)
    wanted = torch.where(owner, torch.gather(targets.classes, 1, known), THING_CLASSES)
    weight = torch.where(owner, 1.0, SECONDARY_WEIGHT) * ~assignment.ignored
    entropy = F.cross_entropy(tokens.class_logits.float().flatten(0, 1), wanted.flatten(), reduction="none")
    count = positive.sum().clamp(min=1)
    box = box_loss(tokens.boxes.float(), _rows(targets.boxes, known))
    is_occluded = (torch.gather(targets.hidden_share, 1, known) >= OCCLUDED_SHARE).float()
    occluded = F.binary_cross_entropy_with_logits(tokens.occluded_logits.float(), is_occluded, reduction="none")
    return {
        "class": weights.classes * (entropy * weight.flatten()).sum() / weight.sum().clamp(min=1),
        "box": weights.box * (box * positive).sum() / count,
        "occluded": weights.occluded * (occluded * positive).sum() / count,
        "order": weights.order * order_loss(tokens.order_logits.float(), owner, known, targets.occludes),
    }


def order_loss(order_logits: Tensor, owner: Tensor, known: Tensor, occludes: Tensor) -> Tensor:
    """Return the binary cross-entropy over ordered pairs of owners; [i, j] is 1 where i's object hides j's."""
    count = known.shape[1]
    rows = torch.gather(occludes, 1, known[:, :, None].expand(-1, -1, occludes.shape[2]))
    truth = torch.gather(rows, 2, known[:, None, :].expand(-1, count, -1)).float()
    off_diagonal = ~torch.eye(count, dtype=torch.bool, device=known.device)
    pairs = (owner[:, :, None] & owner[:, None, :] & off_diagonal).float()
    weight = pairs * (1 + (OCCLUDER_WEIGHT - 1) * truth)
    loss = F.binary_cross_entropy_with_logits(order_logits, truth, reduction="none")
    return (loss * weight).sum() / pairs.sum().clamp(min=1)


def quality_loss(logits: Tensor, amodal_logits: Tensor, instance: Tensor, targets: Targets, grid: torch.Size) -> Tensor:
    """Return the cross-entropy of the predicted quality against the amodal IoU that each token's mask has.

    Mask scoring (Mask Scoring R-CNN, Huang et al. 2019), on the amodal mask.

    Args:
        logits: (B, M).
        amodal_logits: (B, M, Q) at the targets' cells; no gradient flows into them.
        instance: (B, M) object of each token, -1 for none.
        targets: of the batch.
        grid: (h, w).
    """
    where, truth = object_maps(instance, targets, grid)
    if len(where[0]) == 0:
        return logits.sum() * 0
    found, real = amodal_logits.detach()[where] > 0, truth.amodal > 0.5
    counted = truth.region > 0
    common, either = ((found & real & counted).sum(1), ((found | real) & counted).sum(1))
    return F.binary_cross_entropy_with_logits(logits[where], common / either.clamp(min=1))


def panoptic_loss(stuff_logits: Tensor, visible_logits: Tensor, matched: Matched, targets: Targets) -> Tensor:
    """Return the cross-entropy of the softmax over stuff classes and the owners' visible masks, per labelled cell.

    Args:
        stuff_logits: (B, 11, h, w).
        visible_logits: (B, M, Q) at the targets' cells.
        matched: objects of the M tokens.
        targets: of the batch.
    """
    image, token = torch.nonzero(matched.owner, as_tuple=True)
    truth = torch.zeros_like(visible_logits)
    truth[image, token] = targets.visible[image, matched.instance[image, token]]
    owned = visible_logits.masked_fill(~matched.owner[..., None], -30.0)
    logits = torch.cat([cells_of(stuff_logits, targets.cells), owned], 1)
    truth = torch.cat([cells_of(targets.stuff, targets.cells), truth], 1)
    labelled = truth.sum(1).clamp(max=1)
    return -(truth * logits.log_softmax(1)).sum() / labelled.sum().clamp(min=1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Return (B, M, C) rows of a (B, K, C) tensor at (B, M) indices."""
    return torch.gather(values, 1, index[..., None].expand(-1, -1, values.shape[-1]))

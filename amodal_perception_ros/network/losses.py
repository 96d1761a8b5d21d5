"""Training losses of the network: assignment of tokens to objects without matching, then one loss per output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from amodal_perception_ros.network.config import THING_CLASSES
from amodal_perception_ros.network.heads import Seeds, Tokens, pick_seeds
from amodal_perception_ros.network.network import AmodalNetwork

SEED_COVERAGE = 0.25
"""A seed cell belongs to the object that covers most of it, if that is at least this share."""

DEPTH_COVERAGE = 0.25
"""Object depth is supervised where the amodal mask covers at least this share of a cell."""

SECONDARY_WEIGHT = 0.25
"""Class-loss weight of all tokens that own no object, on an object or on background; their class target is "none"."""

OCCLUDER_WEIGHT = 4.0
"""Weight of true occluder pairs in the order loss; they are few among all pairs."""


class Targets(NamedTuple):
    """Ground truth of B images with up to G objects each, h = H/4, w = W/4; float32 unless said.

    Attributes:
        stuff: (B, 11, h, w) share of each cell covered by each stuff class.
        log_depth: (B, h, w) log canonical depth of the visible surface, NaN unknown.
        valid: (B, G) bool, False for padding.
        classes: (B, G) int64 index into `labels.THINGS`.
        levels: (B, G) int64 occlusion level.
        boxes: (B, G, 4) amodal box inside the image: centre x, centre y, width, height as fractions.
        visible, amodal: (B, G, h, w) coverage in 0..1.
        object_log_depth: (B, G, h, w) log canonical depth of the whole object, NaN unknown.
        occludes: (B, G, G) bool, [i, j]: i hides part of j.
        heat: (B, hs, ws) seed target in 0..1, exactly 1 at the objects' seed cells.
        heat_weight: (B, hs, ws) 0 where the heat map is not supervised (objects too small to be targets), else 1.
        seeds: (B, G) int64 flat seed cell of each object.
        forced: (B, 1, hs, ws) 1 at seed cells that are made tokens whatever the heat map says.
    """

    stuff: Tensor
    log_depth: Tensor
    valid: Tensor
    classes: Tensor
    levels: Tensor
    boxes: Tensor
    visible: Tensor
    amodal: Tensor
    object_log_depth: Tensor
    occludes: Tensor
    heat: Tensor
    heat_weight: Tensor
    seeds: Tensor
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
    mask_bce: float = 6.0
    hidden_dice: float = 0.3
    hidden_bce: float = 1.8
    panoptic: float = 1.0
    box: float = 1.0
    object_depth: float = 2.0
    dense_depth: float = 2.0
    order: float = 1.0
    level: float = 0.5


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
    stride = targets.visible.shape[-1] // targets.heat.shape[-1]
    coverage = targets.visible if stride == 1 else F.avg_pool2d(targets.visible, stride)
    coverage = coverage.flatten(2) * targets.valid[..., None]
    at_core = torch.zeros_like(coverage).scatter_(2, targets.seeds[..., None], 2.0) * targets.valid[..., None]
    share, covering = (coverage + at_core).max(1)
    share, covering = torch.gather(share, 1, seeds.cells), torch.gather(covering, 1, seeds.cells)
    instance = torch.where(share >= SEED_COVERAGE, covering, -1)
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

    Fields are evaluated only for the `field_tokens` tokens an image that matter most (owners first): the others
    have no mask target, and fields are the costliest part of a step after the trunk.

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
    embedding, boxes = _rows(tokens.embedding, chosen), _rows(tokens.boxes, chosen)
    fields = network.fields(embedding, boxes, dense.mask_features)
    visible, amodal, log_depth = (field.float() for field in fields)
    instance, owner = torch.gather(assignment.instance, 1, chosen), torch.gather(assignment.owner, 1, chosen)
    parts = token_losses(tokens, assignment, targets, weights)
    parts |= field_losses(visible, amodal, log_depth, instance, targets, weights)
    parts["panoptic"] = weights.panoptic * panoptic_loss(dense.stuff_logits.float(), visible, instance, owner, targets)
    parts["heat"] = weights.heat * focal_loss(dense.heat_logits.float()[:, 0], targets.heat, targets.heat_weight)
    parts["dense_depth"] = weights.dense_depth * masked_l1(dense.log_depth.float(), targets.log_depth)
    return parts


def token_losses(tokens: Tokens, assignment: Assignment, targets: Targets, weights: LossWeights) -> dict[str, Tensor]:
    """Return the losses of class, box, level and pairwise order."""
    instance, owner = assignment.instance, assignment.owner
    positive, known = instance >= 0, instance.clamp(min=0)
    wanted = torch.where(owner, torch.gather(targets.classes, 1, known), THING_CLASSES)
    weight = torch.where(owner, 1.0, SECONDARY_WEIGHT) * ~assignment.ignored
    entropy = F.cross_entropy(tokens.class_logits.float().flatten(0, 1), wanted.flatten(), reduction="none")
    count = positive.sum().clamp(min=1)
    box = box_loss(tokens.boxes.float(), _rows(targets.boxes, known))
    levels = F.cross_entropy(
        tokens.level_logits.float().flatten(0, 1), torch.gather(targets.levels, 1, known).flatten(), reduction="none"
    )
    return {
        "class": weights.classes * (entropy * weight.flatten()).sum() / weight.sum().clamp(min=1),
        "box": weights.box * (box * positive).sum() / count,
        "level": weights.level * (levels * positive.flatten()).sum() / count,
        "order": weights.order * order_loss(tokens.order_logits.float(), owner, known, targets.occludes),
    }


def box_loss(boxes: Tensor, target: Tensor) -> Tensor:
    """Return (B, K) L1 of the centre relative to the target's size plus L1 of the log size."""
    size = target[..., 2:].clamp(min=1e-3)
    centre = (boxes[..., :2] - target[..., :2]).abs() / size
    return (centre + (boxes[..., 2:].log() - size.log()).abs()).sum(-1)


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


def field_losses(
    visible: Tensor, amodal: Tensor, log_depth: Tensor, instance: Tensor, targets: Targets, weights: LossWeights
) -> dict[str, Tensor]:
    """Return the losses of the (B, M, h, w) fields of tokens that stand for the (B, M) objects (-1 none)."""
    image_of, token_of = torch.nonzero(instance >= 0, as_tuple=True)
    if len(image_of) == 0:
        zero = (visible.sum() + amodal.sum() + log_depth.sum()) * 0
        return {"visible": zero, "amodal": zero, "hidden": zero, "object_depth": zero}
    object_of = instance[image_of, token_of]
    visible, amodal = visible[image_of, token_of], amodal[image_of, token_of]
    true_visible, true_amodal = targets.visible[image_of, object_of], targets.amodal[image_of, object_of]
    true_hidden = (true_amodal - true_visible).clamp(min=0)
    true_depth = targets.object_log_depth[image_of, object_of]
    true_depth = torch.where(true_amodal >= DEPTH_COVERAGE, true_depth, torch.nan)
    hidden = amodal - F.relu(visible)
    has_hidden = (true_hidden.flatten(1).sum(1) > 1).float()
    hidden_loss = weights.hidden_dice * dice_loss(hidden, true_hidden) * has_hidden
    return {
        "visible": mask_loss(visible, true_visible, weights).mean(),
        "amodal": mask_loss(amodal, true_amodal, weights).mean(),
        "hidden": (hidden_loss + weights.hidden_bce * bce_loss(hidden, true_hidden)).mean(),
        "object_depth": weights.object_depth * masked_l1_rows(log_depth[image_of, token_of], true_depth).mean(),
    }


def mask_loss(logits: Tensor, target: Tensor, weights: LossWeights) -> Tensor:
    """Return (P,) weighted dice + binary cross-entropy of (P, h, w) masks."""
    return weights.mask_dice * dice_loss(logits, target) + weights.mask_bce * bce_loss(logits, target)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return (P,) 1 - soft dice with one cell of smoothing (V-Net, Milletari et al. 2016)."""
    probability, target = logits.sigmoid().flatten(1), target.flatten(1)
    return 1 - (2 * (probability * target).sum(1) + 1) / (probability.sum(1) + target.sum(1) + 1)


def bce_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return (P,) mean binary cross-entropy of (P, h, w) logits against coverage in 0..1."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).mean(1)


def panoptic_loss(
    stuff_logits: Tensor, visible_logits: Tensor, instance: Tensor, owner: Tensor, targets: Targets
) -> Tensor:
    """Return the cross-entropy of the softmax over stuff classes and the owners' visible fields, per labelled cell."""
    image_of, token_of = torch.nonzero(owner, as_tuple=True)
    object_of = instance[image_of, token_of]
    truth = torch.zeros_like(visible_logits)
    truth[image_of, token_of] = targets.visible[image_of, object_of]
    logits = torch.cat([stuff_logits, visible_logits.masked_fill(~owner[..., None, None], -30.0)], 1)
    truth = torch.cat([targets.stuff, truth], 1)
    labelled = truth.sum(1).clamp(max=1)
    log_probability = logits.log_softmax(1)
    return -(truth * log_probability).sum() / labelled.sum().clamp(min=1)


def focal_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss of a heat map (CenterNet, Zhou et al. 2019, equation 1) per seed."""
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = (target == 1).float()
    gain = positive * (1 - probability) ** 2 * probability.log()
    penalty = (1 - positive) * (1 - target) ** 4 * probability**2 * (1 - probability).log()
    return -((gain + penalty) * weight).sum() / positive.sum().clamp(min=1)


def masked_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error where the target is known (not NaN); 0 where nothing is."""
    known = torch.isfinite(target)
    error = (prediction - target.nan_to_num(0.0)).abs() * known
    return error.sum() / known.sum().clamp(min=1)


def masked_l1_rows(prediction: Tensor, target: Tensor) -> Tensor:
    """Return (P,) mean absolute errors of (P, h, w) maps where the target is known (not NaN)."""
    known = torch.isfinite(target)
    error = (prediction - target.nan_to_num(0.0)).abs() * known
    return error.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Return (B, M, C) rows of a (B, K, C) tensor at (B, M) indices."""
    return torch.gather(values, 1, index[..., None].expand(-1, -1, values.shape[-1]))

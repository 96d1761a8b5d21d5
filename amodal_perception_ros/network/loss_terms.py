"""The terms that losses are made of. Each has its minimum, zero, at a perfect prediction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return (P,) 1 - soft dice with one cell of smoothing (V-Net, Milletari et al. 2016).

    Args:
        logits: (P, Q) of P masks at Q cells each.
        target: (P, Q) coverage in 0..1.
        weight: (P, Q) 0 where a cell does not count, else 1.
    """
    probability = logits.sigmoid() * weight
    target = target * weight
    return 1 - (2 * (probability * target).sum(1) + 1) / (probability.sum(1) + target.sum(1) + 1)


def bce_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return (P,) weighted mean binary cross-entropy of (P, Q) logits against coverage in 0..1; 0 without weight."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (entropy * weight).sum(1) / weight.sum(1).clamp(min=1)


def focal_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss of a heat map (CenterNet, Zhou et al. 2019, equation 1) per seed."""
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    positive = (target == 1).float()
    gain = positive * (1 - probability) ** 2 * probability.log()
    penalty = (1 - positive) * (1 - target) ** 4 * probability**2 * (1 - probability).log()
    return -((gain + penalty) * weight).sum() / positive.sum().clamp(min=1)


def box_loss(boxes: Tensor, target: Tensor) -> Tensor:
    """Return (B, K) L1 of the centre relative to the target's size plus L1 of the log size."""
    size = target[..., 2:].clamp(min=1e-3)
    centre = (boxes[..., :2] - target[..., :2]).abs() / size
    return (centre + (boxes[..., 2:].log() - size.log()).abs()).sum(-1)


def masked_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error where the target is known (not NaN); 0 where nothing is."""
    known = torch.isfinite(target)
    error = (prediction - target.nan_to_num(0.0)).abs() * known
    return error.sum() / known.sum().clamp(min=1)


def masked_l1_rows(prediction: Tensor, target: Tensor) -> Tensor:
    """Return (P,) mean absolute errors of (P, Q) values where the target is known (not NaN)."""
    known = torch.isfinite(target)
    error = (prediction - target.nan_to_num(0.0)).abs() * known
    return error.sum(1) / known.sum(1).clamp(min=1)


def mean_of_rows(values: Tensor) -> Tensor:
    """Return the mean of (P,) values; 0, with a gradient, for none."""
    return values.sum() / max(1, len(values))


def class_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - soft dice of the classes that occur, averaged over them, pooled over the batch.

    Cross-entropy alone never learns classes that cover a thousandth of the image; here each counts alike.

    Args:
        logits: (B, C, h, w).
        target: (B, C, h, w) coverage in 0..1; cells without any are left out.
    """
    labelled = target.sum(1, keepdim=True).clamp(max=1)
    probability = logits.softmax(1) * labelled
    common, total = ((probability * target).sum((0, 2, 3)), (probability + target).sum((0, 2, 3)))
    dice = (2 * common + 1) / (total + 1)
    present = (target.sum((0, 2, 3)) > 0).float()
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)

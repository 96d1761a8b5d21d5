"""Which score makes an object, and which probability and area a hidden part, so that the panoptic quality is best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from amodal_perception_ros.evaluation.outcomes import Outcomes
from amodal_perception_ros.perception.calibration import Calibration

SCORES = np.round(np.arange(0.1, 0.81, 0.05), 2)
OCCLUDED = np.round(np.arange(0.0, 0.81, 0.05), 2)
MASK = np.round(np.arange(0.2, 0.66, 0.05), 2)
HIDDEN_PX = (0, 4, 8, 12, 16, 24, 32, 48, 64)
"""The values that are tried."""

_ROUNDS = 2


def quality_sums(outcomes: Outcomes, calibration: Calibration) -> np.ndarray:
    """Return what adds up to the strict quality of things at the thresholds of a calibration, per class.

    It is taken for granted that a dropped object or hidden part changes nothing else in the image: a match stays a
    match, and the pixels of others stay theirs.

    Returns:
        (4, classes) float64: summed IoU of visible parts, their TP + FP + FN, and the same of hidden parts.
    """
    objects = outcomes.objects
    scores = calibration.scores_of_logits(objects["thing_logit"], objects["quality_logit"])
    shown = scores >= calibration.score_threshold
    occluded = calibration.occluded_probability(objects["occluded_logit"]) >= calibration.occluded_threshold
    hiding = shown & (objects["hidden_px"] > 0) & occluded & (objects["hidden_px"] >= calibration.min_hidden_px)
    right, true_hidden = objects["right"], objects["right"] & objects["occluded"]
    true, truly_hidden = outcomes.true_objects.sum(axis=0).T

    def per_class(weight: np.ndarray) -> np.ndarray:
        return np.bincount(objects["class_index"], weight, true.size)

    return np.stack(
        [
            per_class(shown * right * objects["visible_iou"]),
            true + per_class(shown & ~right),
            per_class(hiding * true_hidden * objects["hidden_iou"]),
            truly_hidden + per_class(hiding & ~true_hidden),
        ]
    )


def thing_quality(sums: np.ndarray) -> tuple[float, float]:
    """Return APQ_T and APQ_T^O (strict, per cent) of `quality_sums`: means over the classes that have any segment."""
    iou, count, hidden_iou, hidden_count = sums
    return _mean(iou + hidden_iou, count + hidden_count), _mean(hidden_iou, hidden_count)


def choose_thresholds(outcomes: Outcomes, calibration: Calibration) -> Calibration:
    """Return the calibration with the thresholds that suit the outcomes best.

    The probability of a hidden pixel is that of the best `hidden_iou`; the score threshold that of the best strict
    APQ_T (the rest of APQ hardly depends on it); the least P(occluded) and the least area of a hidden part are those of
    the best strict APQ_T^O. The last two are sought with the other held, twice; of equal qualities the lowest
    thresholds are taken.
    """
    masks = [replace(calibration, mask_probability=float(least)) for least in MASK]
    calibration = max(masks, key=lambda c: (hidden_iou(outcomes.pixels, c), c.mask_probability == 0.5))
    for _ in range(_ROUNDS):
        scores = [replace(calibration, score_threshold=float(score)) for score in SCORES]
        calibration = max(scores, key=lambda c: thing_quality(quality_sums(outcomes, c))[0])
        gates = [
            replace(calibration, occluded_threshold=float(least), min_hidden_px=pixels)
            for pixels in HIDDEN_PX
            for least in OCCLUDED
        ]
        calibration = max(gates, key=lambda c: thing_quality(quality_sums(outcomes, c))[1])
    return calibration


def hidden_iou(pixels: np.ndarray, calibration: Calibration) -> float:
    """Return the mean IoU of predicted and true hidden parts over the objects that have one, from the pixels observed.

    Args:
        pixels: (p,) `outcomes.PIXEL`.
        calibration: its `mask_probability` decides which pixels are predicted as hidden.
    """
    if not pixels["hidden"].any():
        return 0.0
    probability = calibration.amodal_probability(pixels["logit"], pixels["seen"])
    claimed = ~pixels["seen"] & (probability > calibration.mask_probability)
    objects = int(pixels["object"].max()) + 1
    _, number = np.unique(pixels["sequence"].astype(np.int64) * objects + pixels["object"], return_inverse=True)
    common, either, true = (
        np.bincount(number, weight)
        for weight in (claimed & pixels["hidden"], claimed | pixels["hidden"], pixels["hidden"])
    )
    return float((common / np.maximum(either, 1))[true > 0].mean())


def _mean(value: np.ndarray, count: np.ndarray) -> float:
    return 100.0 * float((value[count > 0] / count[count > 0]).mean()) if (count > 0).any() else 0.0

"""Depth of the hidden part of single objects, as given and after alignment to the visible part (ADIW's metrics).

Source: Amodal Depth Anything (ICCV 2025), evaluation on ADIW (Amodal Depth In the Wild), as its public script computes
it: over the invisible pixels of one object with a valid depth, RMSE, share of pixels with a ratio below 1.25 and mean
absolute difference of log10, 1e-5 added to both depths; the mean over objects, also by visible share (> 0.75, > 0.5,
others); each once with the prediction as it is and once with the scale and shift that fit it to the observed depth of
the object's visible pixels best in the sense of least squares.

Where the rule here differs from that script:

- Depth is metric, in metres; ADIW's is relative, in 0..1, so that its published RMSEs are of another unit.
  `object_errors` takes either.
- An image holds many objects: the mean is over objects, where ADIW has one object per image.
- Every method is scored on the hidden pixels of every true object, found or not: where no matched prediction has a
  depth, the predicted visible depth answers (`depth.object_estimate`), for the fit as well. ADIW's methods are told the
  true amodal mask.
- Depths are clipped to 0..`Rules.max_depth`, after alignment. The script keeps negative depths, for which both ratios
  are negative and therefore below 1.25, and log10 is NaN, which drops the image from that mean.
- A fit that says nothing about scale, because the visible depths have fewer than two distinct values in truth or
  prediction, or whose scale is not positive, is replaced by a shift alone (the mean difference): a scale of 0 would
  turn any flat answer, even that of an object nobody found, into the mean of the truth.
- Objects without a scored hidden pixel do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from amodal_perception_ros.evaluation.decoding import HIDDEN_BIT, VISIBLE_BIT
from amodal_perception_ros.evaluation.metrics.depth import bounded, is_scored, object_estimate
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair

EPSILON = 1e-5
"""What the script adds to both depths, in their unit, so that ratios and logarithms exist."""

RATIO = 1.25
"""A pixel is right when the larger of the two ratios of depths is below this."""

STRATA = (">75%", "50-75%", "<=50%")
"""Visible shares of objects: above 0.75, above 0.5, the others."""


@dataclass(frozen=True)
class Alignment:
    """Scale and shift that are applied to predicted depth; `is_shift_only` when the fit said nothing about scale."""

    scale: float = 1.0
    shift: float = 0.0
    is_shift_only: bool = False


@dataclass(frozen=True)
class ObjectErrors:
    """Errors of one object over its scored hidden pixels.

    Attributes:
        rmse: root mean square error, in the unit of the depths.
        delta: share of the pixels, 0..1, whose ratio is below 1.25.
        log10: mean absolute difference of the decimal logarithms.
        pixels: number of scored hidden pixels.
    """

    rmse: float
    delta: float
    log10: float
    pixels: int


def object_errors(
    predicted: np.ndarray,
    truth: np.ndarray,
    visible: np.ndarray,
    hidden: np.ndarray,
    align: bool = False,
    limit: float = np.inf,
) -> ObjectErrors | None:
    """Score the hidden part of one object.

    Three visible pixels and two hidden ones of a wall that recedes. The prediction is relative: half the truth plus 1,
    and at the last pixel too far. On the visible pixels 2 p - 2 is the truth exactly::

        truth       10 12 14 | 16 18
        predicted    6  7  8 |  9 11     rmse  7                         delta  0    log10  0.23187
        2 p - 2     10 12 14 | 16 20     rmse  sqrt((0 + 4) / 2) = 1.414  delta  1    log10  0.02288

    Args:
        predicted: depth of any unit; NaN unknown.
        truth: observed depth on the visible and true depth on the hidden pixels; NaN and negative values, and those
            above the limit, are not scored.
        visible: bool mask of the object's visible part.
        hidden: bool mask of its hidden part; all four arrays have one shape, any.
        align: fit scale and shift on the visible pixels first (`alignment`).
        limit: predictions are clipped to 0..limit, after alignment, and unknown ones count as the limit.

    Returns:
        The errors, or None when there is no hidden pixel to score.

    Raises:
        ValueError: the shapes differ, or a prediction is unknown on a scored pixel and there is no limit.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    shapes = {np.shape(array) for array in (predicted, truth, visible, hidden)}
    if len(shapes) > 1:
        raise ValueError(f"predicted, truth, visible and hidden must have one shape, got {sorted(shapes)}")
    with np.errstate(invalid="ignore"):
        valid = (truth >= 0) & (truth <= limit)
    seen, scored = np.asarray(visible, bool) & valid, np.asarray(hidden, bool) & valid
    unknown = int(np.count_nonzero(np.isnan(predicted) & scored))
    if unknown and not np.isfinite(limit):
        raise ValueError(f"the predicted depth is NaN on {unknown} scored hidden pixels and there is no limit")
    if not scored.any():
        return None
    fit = alignment(predicted[seen], truth[seen]) if align else Alignment()
    return _errors(predicted[scored], truth[scored], fit, limit)


def alignment(predicted: np.ndarray, truth: np.ndarray) -> Alignment:
    """Fit scale and shift that bring predicted to true depths in the sense of least squares.

    Example::

        predicted  6  7  8        truth  10 12 14        scale 2, shift -2
        predicted  6  7  8        truth  14 12 10        scale would be -2: shift alone, 12 - 7 = 5
        predicted  7  7  7        truth  10 12 14        says nothing about scale: shift alone, 5

    Args:
        predicted: (n,) depths, NaN unknown, which are left out.
        truth: (n,) known depths.

    Returns:
        The fit; no known pair gives scale 1 and shift 0.
    """
    known = ~np.isnan(predicted)
    if not known.all():
        predicted, truth = predicted[known], truth[known]
    if not predicted.size:
        return Alignment(is_shift_only=True)
    mean, goal = float(predicted.mean(dtype=np.float64)), float(truth.mean(dtype=np.float64))
    if predicted.min() < predicted.max() and truth.min() < truth.max():
        x = predicted.astype(np.float64) - mean
        scale = float(np.einsum("i,i", x, truth.astype(np.float64)) / np.einsum("i,i", x, x))
        if scale > 0:
            return Alignment(scale, goal - scale * mean)
    return Alignment(1.0, goal - mean, is_shift_only=True)


class HiddenDepthQuality(Metric):
    """ADIW's metrics over the objects of scene pairs, raw and aligned, also by visible share.

    Two cars of 4 px behind a truck (t) at 10 m, each with the two right columns hidden, both 20 and 22 m far; the
    first is found, 1 m too far and 2 m at the last pixel, the second is missed::

        truth   20 22 | 20 22        raw: errors 1 2          rmse sqrt(5 / 2)     = 1.581
        found   21 23 | 21 24        aligned (p - 1): 0 1     rmse sqrt(1 / 2)     = 0.7071
        missed  20 22 | 10 10        raw = aligned: 10 12     rmse sqrt(244 / 2)   = 11.05

        RMSE raw (1.581 + 11.05) / 2 = 6.313, aligned (0.7071 + 11.05) / 2 = 5.876; delta_1.25 50 % in both; all
        in the stratum "<=50%"; matched 50 %

    Missed objects answer with the predicted visible depth, here the truck's.
    """

    def __init__(self) -> None:
        strata = len(STRATA)
        super().__init__(
            errors=np.zeros((2, strata, 3)),
            objects=np.zeros(strata),
            matched=np.zeros(strata),
            shift_only=np.zeros(strata),
            pixels=np.zeros(2),
        )

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        for i in np.flatnonzero(pair.counted & pair.occluded).tolist():
            self._add_object(pair, i)

    def results(self) -> dict[str, Any]:
        """Return the figures; empty when no hidden pixel of an object was scored.

        `raw` and `aligned`: RMSE [m], delta_1.25 [%], log10 and the number of objects; `by_visibility` has the same
        per stratum. `matched` is the share of the objects that were found and `shift_only` of those without a fit
        of scale [%]; `unknown_px` and `unknown_share` [%] tell how many hidden pixels without any predicted depth were
        charged `Rules.max_depth`.
        """
        objects = self.sums["objects"]
        total = objects.sum()
        if not total:
            return {}
        errors, (unknown, pixels) = self.sums["errors"], self.sums["pixels"]
        strata = [(name, errors[:, k], objects[k]) for k, name in enumerate(STRATA) if objects[k]]
        return {
            **_means(errors.sum(1), total),
            "by_visibility": {name: _means(part, count) for name, part, count in strata},
            "matched": 100.0 * float(self.sums["matched"].sum() / total),
            "shift_only": 100.0 * float(self.sums["shift_only"].sum() / total),
            "unknown_px": int(unknown),
            "unknown_share": 100.0 * float(unknown / pixels),
        }

    def _add_object(self, pair: ScenePair, i: int) -> None:
        truth, limit = pair.truth, pair.rules.max_depth
        left, top, right, bottom = box = truth.box(i)
        estimate, part = object_estimate(pair, i), truth.parts[i]
        true_depth, observed = truth.depth(i, box), truth.scene.depth[top:bottom, left:right]
        scored = (part & HIDDEN_BIT > 0) & is_scored(true_depth, limit)
        hidden, hidden_truth = estimate[scored], true_depth[scored]
        if not hidden.size:
            return
        seen = (part & VISIBLE_BIT > 0) & is_scored(observed, limit)
        fit = alignment(estimate[seen], observed[seen])
        share = truth.visible_px[i] / truth.amodal_px[i]
        stratum = 0 if share > 0.75 else 1 if share > 0.5 else 2
        for number, used in enumerate((Alignment(), fit)):
            error = _errors(hidden, hidden_truth, used, limit)
            self.sums["errors"][number, stratum] += error.rmse, error.delta, error.log10
        self.sums["objects"][stratum] += 1
        self.sums["matched"][stratum] += pair.match[i] >= 0
        self.sums["shift_only"][stratum] += fit.is_shift_only
        self.sums["pixels"] += np.count_nonzero(np.isnan(hidden)), hidden.size


def _errors(predicted: np.ndarray, truth: np.ndarray, fit: Alignment, limit: float) -> ObjectErrors:
    estimate = bounded(fit.scale * predicted + fit.shift, limit)
    difference = (estimate - truth).astype(np.float64)
    ratio = np.abs(np.log((estimate + EPSILON) / (truth + EPSILON)))
    return ObjectErrors(
        rmse=float(np.sqrt(np.einsum("i,i", difference, difference) / truth.size)),
        delta=float(np.count_nonzero(ratio < np.log(RATIO)) / truth.size),
        log10=float(ratio.mean(dtype=np.float64) / np.log(10.0)),
        pixels=truth.size,
    )


def _means(errors: np.ndarray, objects: float) -> dict[str, dict[str, float]]:
    """Turn (2, 3) sums over objects into the means of the raw and of the aligned prediction."""
    names = {"raw": errors[0], "aligned": errors[1]}
    return {
        name: {
            "RMSE": float(rmse / objects),
            "delta_1.25": 100.0 * float(delta / objects),
            "log10": float(log10 / objects),
            "objects": int(objects),
        }
        for name, (rmse, delta, log10) in names.items()
    }

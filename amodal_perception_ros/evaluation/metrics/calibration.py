"""Whether probabilities are honest: of what is said to be right with 70 %, 70 % should be right.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017, equation 3, for two outcomes; Brier,
"Verification of forecasts expressed in terms of probability", 1950, in the form for two outcomes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair

BINS = 10

FINEST = 1e-6
"""For the log loss probabilities are kept this far from 0 and 1: one certain error must not make it infinite."""

_SUMS = ("count", "probability", "positive")


def reliability_sums(probability: np.ndarray, outcome: np.ndarray) -> dict[str, np.ndarray]:
    """Return what adds up over (n,) probabilities in 0..1 and their (n,) outcomes, 0 or 1.

    Returns:
        (10,) `count`, `probability` and `positive` outcomes of the bins [0, 0.1), ..., [0.9, 1]; `squared_error` and
        `log_loss` of all.
    """
    probability, outcome = np.asarray(probability, np.float64), np.asarray(outcome, np.float64)
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    of_the_truth = np.where(outcome > 0.5, probability, 1.0 - probability)
    weights = (None, probability, outcome)
    return {
        **{name: np.bincount(bins, weight, BINS).astype(np.float64) for name, weight in zip(_SUMS, weights)},
        "squared_error": np.square(probability - outcome).sum(),
        "log_loss": -np.log(np.clip(of_the_truth, FINEST, 1.0)).sum(),
    }


def reliability_figures(sums: dict[str, np.ndarray]) -> dict[str, float]:
    """Return `ece`, `brier` (0..1) and `nll` (nats) of `reliability_sums`; empty where nothing was summed."""
    count = float(sums["count"].sum())
    if not count:
        return {}
    gaps = np.abs(sums["probability"] - sums["positive"])
    return {
        "ece": float(gaps.sum()) / count,
        "brier": float(sums["squared_error"]) / count,
        "nll": float(sums["log_loss"]) / count,
    }


def reliability_curve(sums: dict[str, np.ndarray]) -> list[dict[str, float]]:
    """Return the bins that hold something as {from, to, count, probability, positive}, the last two as means."""
    return [
        {
            "from": b / BINS,
            "to": (b + 1) / BINS,
            "count": int(sums["count"][b]),
            "probability": float(sums["probability"][b] / sums["count"][b]),
            "positive": float(sums["positive"][b] / sums["count"][b]),
        }
        for b in np.flatnonzero(sums["count"]).tolist()
    ]


class ScoreCalibration(Metric):
    """Scores of instances as probabilities of being right: of the class, and with an amodal IoU above the gate of 0.5.

    Every prediction counts that is matched (right) or a false positive (wrong); ignored ones do not. `score_ece` is the
    expected calibration error over ten bins of equal width, `score_brier` the mean of (score - right)^2, `score_nll`
    the mean of -ln of the probability of what is true; `reliability` are the bins. A single score outside of 0..1 says
    that the scores are no probabilities: then there are no figures. Objects without a prediction have no part in it.

    Example, a truck T, two cars C and D; the prediction invents a person P and misses D::

        truth        CCC.TTT.DDD...
        prediction   CCC.TTT.....PP     scores  C 0.9  T 0.6  P 0.65

        score_ece    bin 0.6..0.7: T and P, mean 0.625, half are right; bin 0.9..1: C
                     (2 |0.625 - 0.5| + |0.9 - 1|) / 3          = 0.117
        score_brier  (0.1^2 + 0.4^2 + 0.65^2) / 3               = 0.198
        score_nll    -(ln 0.9 + ln 0.6 + ln 0.35) / 3           = 0.555
    """

    def __init__(self) -> None:
        super().__init__(**reliability_sums(np.zeros(0), np.zeros(0)), no_probability=np.zeros(()))

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        _, right = pair.matches
        judged = np.concatenate([right, pair.false_positives])
        scores = np.array([pair.predicted.instances[j].score for j in judged], np.float64)
        usable = (scores >= 0.0) & (scores <= 1.0)
        self.sums["no_probability"] += np.count_nonzero(~usable)
        for name, value in reliability_sums(scores[usable], (np.arange(judged.size) < right.size)[usable]).items():
            self.sums[name] += value

    def results(self) -> dict[str, Any]:
        """Return the figures, 0..1 and nats; absent without a prediction, or where scores are no probabilities."""
        if self.sums["no_probability"] or not self.sums["count"].any():
            return {}
        figures = {f"score_{name}": value for name, value in reliability_figures(self.sums).items()}
        return {**figures, "reliability": reliability_curve(self.sums)}

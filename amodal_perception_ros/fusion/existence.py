"""Whether a tracked object is still there: a Bayes filter on its existence.

The model is that of IPDA (Musicki, Evans and Stankovic, "Integrated probabilistic data association", IEEE Transactions
on Automatic Control, 1994) with one measurement at most; r is the probability that the object exists.

- *Time* passes: r := r exp(-dt / memory). The object leaves the scene, unnoticed, at a constant rate. What was detected
  in fewer than `CONFIRMED` sets is more likely to have been an error: its memory is an eighth.
- *It is detected* with score s, the probability that the detection is right: r := r L / (1 - r + r L) with the
  likelihood ratio L = s / (1 - s). A detected object is at least as probable as the set alone says, so r is at least s.
- *It is not detected*: r := r q / (1 - r + r q), where q is the probability of what was seen if the object is there.
  Where it is hidden or outside all views, q = 1: not seeing it says nothing. Where its place was seen through,
  q = `MISS`: a solid object would have been in the way. In between q falls with the share of the box that was seen
  through. The place is uncertain, so q is the mean over the places where the object may be.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.labels import BY_NAME

CONFIRMED = 3
"""An object has to be detected in so many sets to be believed."""

MISS = np.full(256, 1e-3)
MISS[[BY_NAME[name].id for name in ("bike", "motorcycle")]] = 0.2
"""Class id -> probability that sensors see through a box although the object is in it; two-wheelers are hollow."""

HIGHEST = 0.99
"""No object is surer than that."""

_UNCONFIRMED_SHARE = 1 / 8
_SOME, _MOST = 0.25, 0.75
"""Shares of a box seen through at which it begins to count, and from which on it is as good as the whole."""


def after(existence: np.ndarray, detections: np.ndarray, seconds: float, memory_s: float) -> np.ndarray:
    """Return existence probabilities after a time in which nothing was observed.

    Args:
        existence: (n,) before.
        detections: (n,) number of sets in which the objects were detected.
        seconds: the time [s].
        memory_s: time constant of confirmed objects [s].
    """
    memory = np.where(detections >= CONFIRMED, memory_s, _UNCONFIRMED_SHARE * memory_s)
    return existence * np.exp(-seconds / memory)


def detected(existence: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return (n,) existence probabilities after detections with (n,) scores in [0, 1]."""
    score = np.clip(score, 0.0, HIGHEST)
    return np.clip(np.maximum(score, _bayes(existence, score / (1.0 - score))), 0.0, HIGHEST)


def undetected(existence: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """Return (n,) existence probabilities after what would be seen with (n,) likelihood if the objects were there."""
    return _bayes(existence, likelihood)


def likelihood_of_sight(empty: np.ndarray, class_id: np.ndarray) -> np.ndarray:
    """Return the (n,) probability of seeing through (n,) shares of boxes in which objects of (n,) classes are."""
    return 1.0 - (1.0 - MISS[class_id]) * np.clip((empty - _SOME) / (_MOST - _SOME), 0.0, 1.0)


def _bayes(existence: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    return existence * likelihood / (1.0 - existence + existence * likelihood)

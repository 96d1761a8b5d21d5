"""Whether a tracked object is still there: a Bayes filter on its existence.

The model is that of IPDA (Musicki, Evans and Stankovic, "Integrated probabilistic data association", IEEE Transactions
on Automatic Control, 1994) with one measurement at most: r is the probability that the object exists.

- *Time* passes: r := r exp(-dt / memory). The object leaves the scene, unnoticed, at a constant rate.
- *It is detected* with score s, the probability that the detection is right: r := r L / (1 - r + r L) with the
  likelihood ratio L = s / (1 - s). A detected object is at least as probable as the set alone says, so r is at least s.
- *It is not detected*: r := r q / (1 - r + r q), where q is the probability of what was seen if the object is there.
  Where it is hidden or outside all views, q = 1: not seeing it says nothing. Where its place was seen through,
  q = `MISS`: a solid object would have been in the way. In between, the share of the box that was seen through counts.
"""

from __future__ import annotations

import numpy as np

MISS = 1e-3
"""Probability that a sensor sees through a box although the object is in it."""

SEEN_THROUGH = 0.5
"""From this share of the box on it counts as seen through."""

HIGHEST = 0.99
"""No object is surer than that."""


def after(existence: np.ndarray, seconds: float, memory_s: float) -> np.ndarray:
    """Return (n,) existence probabilities after a time in which nothing was observed."""
    return existence * np.exp(-seconds / memory_s)


def detected(existence: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return (n,) existence probabilities after detections with (n,) scores in [0, 1]."""
    score = np.clip(score, 0.0, HIGHEST)
    return np.clip(np.maximum(score, _bayes(existence, score / (1.0 - score))), 0.0, HIGHEST)


def undetected(existence: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """Return (n,) existence probabilities after what would be seen with (n,) likelihood if the objects were there."""
    return _bayes(existence, likelihood)


def likelihood_of_sight(empty: np.ndarray) -> np.ndarray:
    """Return the probability of seeing through a share of a box, (...) in [0, 1], if the object is in it."""
    return 1.0 - (1.0 - MISS) * np.minimum(empty / SEEN_THROUGH, 1.0)


def _bayes(existence: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    return existence * likelihood / (1.0 - existence + existence * likelihood)

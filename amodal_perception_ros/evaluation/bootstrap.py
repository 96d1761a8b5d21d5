"""Confidence intervals by resampling parts of the set: the Poisson bootstrap.

Every part (a sequence, or a single image where there are no sequences) is drawn a Poisson(1) number of times in each
replicate, which tends to the ordinary bootstrap for many parts and needs no memory of the parts (Chamandy et al.,
"Estimating uncertainty for massive data streams", 2012). Frames of one sequence are not independent, hence the part.
"""

from __future__ import annotations

import hashlib

import numpy as np

RESAMPLES = 200
"""Default number of replicates."""


def weights(part: str, resamples: int = RESAMPLES) -> np.ndarray:
    """Return how often a part of the set is drawn in each replicate, (resamples,) float64.

    The numbers follow from the part's name alone: every process and every method draws the same parts, so that the
    difference of two methods can be taken replicate by replicate.
    """
    seed = int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).poisson(1.0, resamples).astype(np.float64)

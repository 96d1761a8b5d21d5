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

LEVEL = 95
"""Confidence level of the intervals [%]."""

MIN_PARTS = 20
"""Fewest parts with which differences are marked. Percentile intervals are too narrow for few parts: of 95 % intervals
of a mean of normal numbers whose true mean is 0, about 49 % of those of 2 parts leave out 0, 25 % of 3, 13 % of 5, 9 %
of 10 and 7 % of 20 (`test_intervals_of_few_parts_are_too_narrow`)."""


def weights(part: str, resamples: int = RESAMPLES) -> np.ndarray:
    """Return how often a part of the set is drawn in each replicate, (resamples,) float64.

    The numbers follow from the part's name alone: every process and every method draws the same parts, so that the
    difference of two methods can be taken replicate by replicate.
    """
    seed = int.from_bytes(hashlib.blake2b(part.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).poisson(1.0, resamples).astype(np.float64)


def interval(replicates: np.ndarray) -> list[float]:
    """Return the percentile interval [low, high] of a figure (Efron and Tibshirani, 1993, section 13.3).

    Example: the replicates 1, 2, 3, 4, 5 and one without the figure give [1.1, 4.9]: the 2.5 % point lies a tenth of
    the way from the first of the five to the second.

    Args:
        replicates: (B,) float64 values, NaN where a replicate drew no data behind the figure; not all NaN.
    """
    tail = (100 - LEVEL) / 2
    low, high = np.nanpercentile(replicates, [tail, 100 - tail])
    return [float(low), float(high)]

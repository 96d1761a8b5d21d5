"""Which detection belongs to which track: global nearest neighbour."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2

from amodal_perception_ros.labels import BY_NAME

NEW_DENSITY = 3e-4
"""Detections of objects that are not tracked yet, per square metre; a pair must explain a detection better."""

OTHER_CLASS = 0.05
"""Probability that a detection has another class of the object's family than most before it."""

_FAMILIES = (("person", "rider"), ("bike", "motorcycle"), ("car", "truck", "bus"))
FAMILY = np.full(256, -1, np.int64)
for _number, _names in enumerate(_FAMILIES):
    FAMILY[[BY_NAME[_name].id for _name in _names]] = _number
"""Class id -> number of the family of classes that are taken for one another; -1 for what is no thing."""


def associate(
    residual: np.ndarray,
    cov: np.ndarray,
    existence: np.ndarray,
    track_class: np.ndarray,
    detection_class: np.ndarray,
    gate: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Assign detections to tracks one-to-one, with the largest sum of log likelihood ratios.

    The ratio of a pair (Blackman and Popoli, "Design and Analysis of Modern Tracking Systems", 1999, section 6.4) is
    r N(residual; 0, S) P(class) / `NEW_DENSITY`. Pairs with a ratio below 1, of different families of classes, or
    with a Mahalanobis distance outside the chi-square gate stay apart.

    Args:
        residual: (n, m, 2) detected minus predicted position [m].
        cov: (n, m, 2, 2) its covariance S [m^2].
        existence: (n,) existence probabilities r of the tracks.
        track_class: (n,) class ids.
        detection_class: (m,) class ids.
        gate: probability with which the detection of a track lies inside the gate.

    Returns:
        Indices of tracks and of detections, (k,) int64 each.
    """
    a, b, d = cov[..., 0, 0], cov[..., 0, 1], cov[..., 1, 1]
    determinant = a * d - b * b
    x, y = residual[..., 0], residual[..., 1]
    distance = (d * x * x - 2 * b * x * y + a * y * y) / determinant
    ratio = np.log(np.maximum(existence, 1e-9))[:, None] - distance / 2 - np.log(2 * np.pi * np.sqrt(determinant))
    same = track_class[:, None] == detection_class
    ratio += np.log(np.where(same, 1.0 - OTHER_CLASS, OTHER_CLASS)) - np.log(NEW_DENSITY)
    allowed = (distance <= chi2.ppf(gate, 2)) & (ratio > 0) & (FAMILY[track_class][:, None] == FAMILY[detection_class])
    tracks, detections = linear_sum_assignment(np.where(allowed, ratio, 0.0), maximize=True)
    real = allowed[tracks, detections]
    return tracks[real], detections[real]

"""Logistic regression of an outcome on logits (Platt, "Probabilistic outputs for support vector machines", 1999)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

PRIOR = 1.0
"""Pull towards the start, as strong as one observation: separable or missing outcomes give finite weights."""

_LEAST_SLOPE = 1e-3


def fit_logistic(logits: np.ndarray, outcome: np.ndarray, start: tuple[float, ...]) -> tuple[float, ...]:
    """Fit P(outcome) = sigmoid(slopes * logits + constant) by maximum likelihood, with slopes that are not negative.

    The result is never less likely than the start on the data it is fitted to.

    Args:
        logits: (n, d) of n observations.
        outcome: (n,) 0 or 1.
        start: d slopes and the constant that say what is believed without data. The first slope stays positive.

    Returns:
        d slopes and the constant.
    """
    design = np.column_stack([logits, np.ones(len(logits))]).astype(np.float64)
    truth, origin = np.asarray(outcome, np.float64), np.array(start, np.float64)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        z, moved = design @ weights, weights - origin
        value = float((np.logaddexp(0.0, z) - truth * z).sum() + PRIOR / 2 * moved @ moved)
        return value, design.T @ (expit(z) - truth) + PRIOR * moved

    bounds = [(_LEAST_SLOPE, None), *[(0.0, None)] * (len(start) - 2), (None, None)]
    found = minimize(loss, origin, jac=True, method="L-BFGS-B", bounds=bounds)
    return tuple(found.x.tolist())

"""What turns the network's logits into probabilities, and the thresholds on them. It travels with the weights.

A network's confidences are not probabilities by themselves (Guo et al. 2017). Logistic regression on sequences that
the network has not learned from corrects them (Platt 1999); `evaluation.calibrate` fits it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from scipy.special import expit, logit

from amodal_perception_ros.network import WeightsError

METADATA_KEY = "calibration"

_LEAST_PROBABILITY = 1e-6
"""Probabilities are kept this far from 0 and 1, so that their logits are finite."""


@dataclass(frozen=True)
class Calibration:
    """Logistic regressions on the network's outputs, and thresholds on the probabilities they give.

    The defaults change nothing: the score is the probability of being a thing, and every object may have a hidden part.

    Attributes:
        score: weights of the logit of P(thing), of the quality logit, and the constant; gives P(true positive), the
            probability that the class is right and the amodal IoU above 0.5.
        amodal: scale and shift of the amodal logits where the object is not seen; gives P(a pixel belongs to the
            object's amodal mask).
        seen: the same where the object is seen.
        occluded: scale and shift of the occluded logits; gives P(a part of the object is hidden).
        score_threshold: least score of an object, in (0, 1).
        occluded_threshold: least P(occluded) of an object with a hidden part, in [0, 1).
        mask_probability: a pixel where the object is not seen is in its amodal mask when P(amodal) is above this, in
            (0, 1).
        min_hidden_px: least area of a hidden part, at the network's input size [px].

    Raises:
        ValueError: a value is not finite, not of its range, or would turn a confidence around.
    """

    score: tuple[float, float, float] = (1.0, 0.0, 0.0)
    amodal: tuple[float, float] = (1.0, 0.0)
    seen: tuple[float, float] = (1.0, 0.0)
    occluded: tuple[float, float] = (1.0, 0.0)
    score_threshold: float = 0.4
    occluded_threshold: float = 0.0
    mask_probability: float = 0.5
    min_hidden_px: int = 0

    def __post_init__(self) -> None:
        for name, count in (("score", 3), ("amodal", 2), ("seen", 2), ("occluded", 2)):
            object.__setattr__(self, name, _weights(name, getattr(self, name), count))
        for name in ("score_threshold", "occluded_threshold", "mask_probability"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < 1:
                raise ValueError(f"calibration {name} must be in 0..1, got {value!r}")
        for name in ("score_threshold", "mask_probability"):
            if getattr(self, name) == 0:
                raise ValueError(f"calibration {name} must be above 0: everything would be chosen")
        pixels = self.min_hidden_px
        if isinstance(pixels, bool) or not isinstance(pixels, int) or pixels < 0:
            raise ValueError(f"calibration min_hidden_px must be a whole number of at least 0, got {pixels!r}")

    def scores(self, thing: np.ndarray, quality_logits: np.ndarray) -> np.ndarray:
        """Return P(true positive) of tokens from their P(thing) and quality logits, all of one shape."""
        return self.scores_of_logits(logit_of(thing), quality_logits)

    def scores_of_logits(self, thing_logits: np.ndarray, quality_logits: np.ndarray) -> np.ndarray:
        """Return P(true positive) of tokens from the logits of P(thing) and of the quality, all of one shape."""
        thing, quality, constant = self.score
        return expit(thing * thing_logits + quality * quality_logits + constant)

    def amodal_probability(self, logits: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return P(amodal) of pixels from their amodal logits and whether the object is seen there, of one shape."""
        (scale, shift), (seen_scale, seen_shift) = self.amodal, self.seen
        return expit(np.where(seen, seen_scale * logits + seen_shift, scale * logits + shift))

    @property
    def amodal_threshold(self) -> float:
        """The amodal logit at which P(amodal) is `mask_probability`; the hidden part of a mask is above it."""
        scale, shift = self.amodal
        return float((logit(self.mask_probability) - shift) / scale)

    def occluded_probability(self, logits: np.ndarray) -> np.ndarray:
        """Return P(a part is hidden) of occluded logits of any shape."""
        scale, shift = self.occluded
        return expit(scale * logits + shift)

    def to_metadata(self) -> dict[str, str]:
        """Return the entry for the metadata of a weights file."""
        return {METADATA_KEY: json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> Calibration:
        """Read what `to_metadata` wrote; weights without a calibration get the one that changes nothing.

        Raises:
            WeightsError: the entry is damaged.
        """
        if METADATA_KEY not in metadata:
            return cls()
        try:
            values = json.loads(metadata[METADATA_KEY])
            if not isinstance(values, dict):
                raise ValueError(f"it is a JSON {type(values).__name__}, not an object")
            known = {field.name for field in fields(cls)}
            if set(values) != known:
                raise ValueError(f"it must hold {sorted(known)}, got {sorted(values)}")
            return cls(**values)
        except ValueError as error:
            raise WeightsError(
                f"the calibration in the weights cannot be used: {error}; calibrate them again"
            ) from error


def logit_of(probability: np.ndarray) -> np.ndarray:
    """Return the finite logits of probabilities of any shape, which may be 0 and 1."""
    return logit(np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))


def _weights(name: str, values: Any, count: int) -> tuple[float, ...]:
    """Return `count` finite weights whose last one is the constant; the others keep the order of the logits."""
    if not isinstance(values, (tuple, list)) or len(values) != count or not all(map(_is_number, values)):
        raise ValueError(f"calibration {name} must be {count} finite numbers, got {values!r}")
    slopes = values[:-1]
    if min(slopes) < 0 or max(slopes) == 0:
        raise ValueError(f"calibration {name} must rise with the network's confidence, got {list(values)}")
    return tuple(float(value) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))

import json
import math

import numpy as np
import pytest

from amodal_perception_ros.network import WeightsError
from amodal_perception_ros.perception.calibration import Calibration

FITTED = Calibration((1.5, 0.5, -1.0), (2.0, -0.25), (0.5, 1.0), 0.3, 0.45, 12)


def test_the_default_changes_nothing():
    identity, logits = Calibration(), np.array([-3.0, 0.0, 2.0])
    assert np.allclose(identity.scores(np.array([0.1, 0.5, 0.9]), logits), [0.1, 0.5, 0.9])
    assert np.array_equal(identity.amodal_logits(logits), logits)
    assert np.allclose(identity.occluded_probability(logits), 1 / (1 + np.exp(-logits)))


def test_probabilities_by_hand():
    # logit(0.8) = ln 4: 1.5 ln 4 + 0.5 * 2 - 1 = ln 8
    assert FITTED.scores(np.array([0.8]), np.array([2.0]))[0] == pytest.approx(8 / 9)
    # 0.5 * 2 ln 3 + 1 = ln 3 + 1
    assert FITTED.occluded_probability(np.array([2 * math.log(3)]))[0] == pytest.approx(3 * math.e / (1 + 3 * math.e))
    assert FITTED.amodal_logits(np.array([1.0]))[0] == 1.75


def test_certain_tokens_have_finite_scores():
    scores = FITTED.scores(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    assert 0 < scores[0] < 1e-6 < 1 - 1e-6 < scores[1] <= 1


def test_it_travels_with_the_metadata():
    assert Calibration.from_metadata({"model_id": "x"} | FITTED.to_metadata()) == FITTED
    assert Calibration.from_metadata({"model_id": "x"}) == Calibration()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": (1.0, 0.0)}, "score must be 3 finite numbers"),
        ({"score": (0.0, 0.0, 1.0)}, "must rise"),
        ({"score": (1.0, -0.1, 0.0)}, "must rise"),
        ({"amodal": (float("nan"), 0.0)}, "amodal must be 2 finite numbers"),
        ({"amodal": (-1.0, 0.0)}, "must rise"),
        ({"occluded": ("1", 0.0)}, "occluded must be 2 finite numbers"),
        ({"score_threshold": 0.0}, "above 0"),
        ({"score_threshold": 1.0}, "in 0..1"),
        ({"occluded_threshold": -0.1}, "in 0..1"),
        ({"min_hidden_px": -1}, "whole number"),
        ({"min_hidden_px": 2.5}, "whole number"),
    ],
)
def test_nonsense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Calibration(**values)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "cannot be used"),
        ("[1]", "JSON list"),
        (json.dumps({"score": [1, 0, 0]}), "must hold"),
        (FITTED.to_metadata()["calibration"].replace("12", "-12"), "min_hidden_px"),
        (FITTED.to_metadata()["calibration"].replace("0.45", "NaN"), "occluded_threshold"),
    ],
)
def test_a_damaged_entry_is_a_weights_error(entry, message):
    with pytest.raises(WeightsError, match=message):
        Calibration.from_metadata({"calibration": entry})

"""Occupancy of hidden ground on grids small enough to work out by hand, and its calibration on large random ones."""

from math import log

import numpy as np
import pytest

from amodal_perception_ros.evaluation import EvaluationError
from amodal_perception_ros.evaluation.metrics.occupancy import HiddenOccupancy
from amodal_perception_ros.evaluation.pairs import FramePair
from amodal_perception_ros.scene import BevOccupancy


def bev(visible, amodal, origin=(0.0, 0.0), resolution=0.5, semantic=None):
    visible, amodal = np.array(visible, np.int8), np.array(amodal, np.int8)
    semantic = np.where(amodal > 0, 26 if semantic is None else semantic, 7).astype(np.uint8)
    return BevOccupancy(0, resolution, origin, visible, amodal, semantic, np.zeros(amodal.shape, np.uint8), 0.2, 2.0)


def occupancy(truth, predicted):
    metric = HiddenOccupancy()
    metric.add_grids(truth, predicted)
    return metric.results()


def test_hidden_cells():
    """The example of `HiddenOccupancy`: a hit, a miss, a wrong claim, an unknown cell and a building."""
    truth = bev([[0, 100, *[-1] * 6]], [[0, 100, 100, 100, 0, 0, 100, -1]], semantic=np.array([[26] * 6 + [11, 0]]))
    predicted = bev([[0, 100, *[-1] * 6]], [[0, 0, 90, 20, 80, -1, 60, 99]])
    result = occupancy(truth, predicted)
    assert (result["hidden_recall"], result["hidden_precision"]) == (50, pytest.approx(200 / 3))
    assert (result["hidden_IoU"], result["hidden_known"]) == (pytest.approx(100 / 3), 80)
    assert result["hidden_ece"] == pytest.approx((0.1 + 0.8 + 0.8 + 0.4) / 4)
    assert result["hidden_brier"] == pytest.approx(0.3625)
    assert result["hidden_nll"] == pytest.approx(-(log(0.9) + 2 * log(0.2) + log(0.6)) / 4)
    assert result["hidden_ece_things"] == pytest.approx((0.1 + 0.8 + 0.8) / 3)
    assert result["hidden_brier_things"] == pytest.approx(1.29 / 3)
    assert result["hidden_nll_things"] == pytest.approx(-(log(0.9) + 2 * log(0.2)) / 3)
    curve = [(b["from"], b["to"], b["cells"], b["probability"], b["occupied"]) for b in result["reliability"]]
    assert curve == [(0.2, 0.3, 1, 0.2, 1), (0.6, 0.7, 1, 0.6, 1), (0.8, 0.9, 1, 0.8, 0), (0.9, 1.0, 1, 0.9, 1)]


def test_recall_by_class():
    truth = bev([[-1] * 4], [[100, 100, 100, 100]], semantic=np.array([[26, 26, 24, 11]]))
    metric = HiddenOccupancy()
    metric.add_grids(truth, bev([[-1] * 4], [[50, 49, 100, 0]]))
    assert metric.breakdown("class") == {
        "person": {"hidden_cell_recall": 100, "hidden_cells": 1},
        "car": {"hidden_cell_recall": 50, "hidden_cells": 2},
    }
    assert metric.breakdown("occlusion") == {}


def test_recall_by_distance():
    """Five cells of 8 m: the outer ones are 16 m from the middle, the others at most 8 m."""
    truth = bev([[-1] * 5], [[100] * 5], resolution=8.0)
    metric = HiddenOccupancy()
    metric.add_grids(truth, bev([[-1] * 5], [[100, 0, 100, 0, 0]], resolution=8.0))
    assert metric.breakdown("distance") == {
        "0-10 m": {"hidden_cell_recall": pytest.approx(100 / 3), "hidden_cells": 3},
        "10-20 m": {"hidden_cell_recall": 50, "hidden_cells": 2},
    }


def test_certainty_is_clipped_at_half_a_per_cent():
    """A grid of whole per cents that is certain and right costs -ln 0.995, certain and wrong -ln 0.005."""
    right = occupancy(bev([[-1, -1]], [[100, 0]]), bev([[-1, -1]], [[100, 0]]))
    wrong = occupancy(bev([[-1, -1]], [[100, 0]]), bev([[-1, -1]], [[0, 100]]))
    assert (right["hidden_nll"], wrong["hidden_nll"]) == (pytest.approx(-log(0.995)), pytest.approx(-log(0.005)))
    assert (right["hidden_brier"], wrong["hidden_brier"], wrong["hidden_ece"]) == (0, 1, 1)


def test_bins_are_closed_below():
    """29 % is below its edge and 30 % on it, although 0.29 * 10 and 0.3 * 10 are inexact; 100 % is in the last."""
    result = occupancy(bev([[-1] * 5], [[0] * 5]), bev([[-1] * 5], [[29, 30, 69, 70, 100]]))
    assert [(b["from"], b["cells"]) for b in result["reliability"]] == [
        (0.2, 1),
        (0.3, 1),
        (0.6, 1),
        (0.7, 1),
        (0.9, 1),
    ]


@pytest.mark.parametrize("percent", [10, 35, 80])
def test_honest_probabilities(percent):
    """Cells occupied as often as predicted: no calibration error, Brier = p(1-p), NLL = the entropy."""
    p, rng = percent / 100, np.random.default_rng(percent)
    occupied = 100 * (rng.random((500, 500)) < p)
    result = occupancy(
        bev(np.full((500, 500), -1), occupied), bev(np.full((500, 500), -1), np.full((500, 500), percent))
    )
    assert result["hidden_ece"] < 0.003
    assert result["hidden_brier"] == pytest.approx(p * (1 - p), abs=0.003)
    assert result["hidden_nll"] == pytest.approx(-p * log(p) - (1 - p) * log(1 - p), abs=0.006)


def test_parts_add_up_to_the_whole():
    rng = np.random.default_rng(5)
    grids = [[bev(*rng.integers(-1, 101, (2, 9, 9))) for _ in range(2)] for _ in range(4)]
    whole, merged = HiddenOccupancy(), HiddenOccupancy()
    for truth, predicted in grids:
        whole.add_grids(truth, predicted)
        part = HiddenOccupancy()
        part.add_grids(truth, predicted)
        merged.merge(part, np.array([1.0, 0.0]))
    for key, value in whole.results().items():
        assert merged.results()[key] == (value if key == "reliability" else pytest.approx(value)), key
    merged.select(0)
    assert merged.results().keys() == whole.results().keys()
    merged.select(1)
    assert merged.results() == {}


def test_frames_without_a_grid():
    """A set without true grids, and a program that predicts none, leave the figures absent."""
    truth, metric = bev([[-1]], [[100]]), HiddenOccupancy()
    for true_bev, predicted in ((None, truth), (truth, None)):
        metric.add(FramePair("", "a", 0, 0, {}, [], None, true_bev, predicted))
    assert metric.results() == {}
    metric.add(FramePair("", "a", 1, 0, {}, [], None, truth, truth))
    assert metric.results()["hidden_recall"] == 100


def test_recall_asks_for_things():
    """A building (class 11) nobody sees into is not asked for, but claiming it is right."""
    truth = bev([[-1, -1, -1]], [[100, 100, 0]], semantic=np.array([[26, 11, 7]]))
    assert occupancy(truth, bev([[-1, -1, -1]], [[100, -1, 0]]))["hidden_recall"] == 100
    result = occupancy(truth, bev([[-1, -1, -1]], [[-1, 100, 0]]))
    assert (result["hidden_recall"], result["hidden_precision"]) == (0, 100)


def test_perfect_and_silent_occupancy():
    truth = bev([[-1, -1, 0]], [[100, 0, 0]])
    perfect = occupancy(truth, truth)
    assert [perfect["hidden_" + key] for key in ("recall", "precision", "IoU", "known")] == [100] * 4
    assert [perfect["hidden_" + key] for key in ("ece", "brier")] == [0, 0]
    silent = occupancy(truth, bev([[-1, -1, 0]], [[-1, -1, 0]]))
    assert silent == {"hidden_recall": 0, "hidden_IoU": 0, "hidden_known": 0}


def test_grids_are_aligned_by_their_origins():
    """The prediction starts one cell to the right and one row up; what it does not cover is unknown."""
    truth = bev(np.full((2, 3), -1), [[100, 0, 0], [0, 0, 100]], origin=(1.0, 1.0))
    predicted = bev(np.full((2, 3), -1), [[0, 100, 5], [5, 5, 5]], origin=(1.5, 1.5))
    result = occupancy(truth, predicted)
    assert (result["hidden_recall"], result["hidden_precision"]) == (50, 100)
    assert result["hidden_known"] == pytest.approx(100 * 2 / 6)


def test_cells_that_do_not_coincide():
    truth = bev([[-1]], [[100]])
    for other in (
        bev([[-1]], [[100]], origin=(0.2, 0.0)),
        bev([[-1]], [[100]], resolution=0.25),
        bev([[-1]], [[100]], origin=(np.nan, 0.0)),
    ):
        with pytest.raises(EvaluationError, match="frame 3: predicted cells"):
            HiddenOccupancy().add_grids(truth, other, "frame 3")


@pytest.mark.parametrize("value", [101, -2])
def test_values_that_are_no_per_cents(value):
    good, bad = bev([[-1, -1]], [[100, 0]]), bev([[-1, -1]], [[0, value]])
    for truth, predicted, whose in ((good, bad, "predicted"), (bad, good, "true")):
        with pytest.raises(EvaluationError, match=f"frame 3: {whose} occupancy is -1 or 0 to 100 %"):
            HiddenOccupancy().add_grids(truth, predicted, "frame 3")

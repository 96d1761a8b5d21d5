"""Occlusion order and levels on drawings small enough to work out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import Thing, drawn, letter_id, order, street, with_instance, without

from amodal_perception_ros.evaluation import Evaluator, amodal_is_visible, evaluate_pairs
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.order import OrderAccuracy
from amodal_perception_ros.evaluation.pairs import FramePair, Rules, pair_scenes

HIDDEN_CAR = Thing("car", 1, (2, 2, 12, 12), 20.0)
FRONT_TRUCK = Thing("truck", 2, (8, 0, 16, 14), 10.0)
PERSON = Thing("person", 3, (13, 2, 18, 20), 5.0)


def order_of(*pairs, **rules):
    metric = OrderAccuracy()
    for truth, predicted in pairs:
        metric.add(pair_scenes(decode(truth), decode(predicted), Rules(**rules)))
    return metric.results()


def test_example_of_the_docstring():
    truth = drawn("CCTTTPPPBB", "T>C P>T P>B", scale=5, C="  hh", T="     h", B="       h")
    predicted = drawn("CCTTTPPP..", "C>T P>T P>C", scale=5, C="  hh", T="     h")
    assert [i.occlusion_level for i in truth.instances] == [1, 2, 0, 1]
    assert [i.occlusion_level for i in predicted.instances] == [1, 0, 2]
    result = order_of((truth, predicted))
    assert (result["edges"], result["pairs"], result["pairs_50px"]) == (3, 2, 1)
    assert result["accuracy"] == result["direction_accuracy"] == 50
    assert result["recall"] == result["precision"] == pytest.approx(100 / 3)
    assert result["share_found"] == pytest.approx(200 / 3)
    assert result["accuracy_50px"] == 0
    assert result["level_accuracy"] == pytest.approx(100 / 3)


def test_missing_and_turned_edges():
    """Truth: truck hides car, person hides truck. Predicted: the first edge turned round, the second kept."""
    truth = street(HIDDEN_CAR, FRONT_TRUCK, PERSON)
    predicted = street(HIDDEN_CAR, FRONT_TRUCK, PERSON)
    edges = predicted.order
    turned = edges.occludee_ids == HIDDEN_CAR.id
    edges.occluder_ids[turned], edges.occludee_ids[turned] = HIDDEN_CAR.id, FRONT_TRUCK.id
    result = evaluate_pairs([(truth, predicted)])["order"]
    assert result["accuracy"] == result["direction_accuracy"] == result["recall"] == result["precision"] == 50
    missing = order_of((truth, without(truth, PERSON.id)))
    assert (missing["accuracy"], missing["recall"], missing["precision"], missing["share_found"]) == (100, 50, 100, 50)
    silent = order_of((truth, amodal_is_visible(truth)))
    assert (silent["accuracy"], silent["recall"]) == (0, 0)
    assert "direction_accuracy" not in silent
    assert "precision" not in silent


def test_gate_of_the_large_overlaps_is_50_px():
    """A car 5 rows high reaches 10 columns (50 px) or 9 columns (45 px) behind the truck."""
    truck = Thing("truck", 2, (8, 0, 20, 14), 10.0)
    for right, large in ((18, 1), (17, 0)):
        scene = street(Thing("car", 1, (2, 2, right, 7), 20.0), truck)
        result = order_of((scene, scene))
        assert (result["pairs"], result["pairs_50px"]) == (1, large)
        assert ("accuracy_50px" in result) == bool(large)


def test_edges_of_left_out_objects_are_not_judged():
    """A person behind the car is invisible: neither its true edge nor the edge of a prediction of it counts."""
    car, person = Thing("car", 1, (2, 2, 12, 12), 5.0), Thing("person", 2, (4, 4, 8, 10), 9.0)
    truth = street(car, person)
    assert len(truth.order) == 1
    assert order_of((truth, truth)) == {"level_accuracy": 100}
    tiny = street(HIDDEN_CAR, FRONT_TRUCK)
    assert "edges" not in order_of((tiny, tiny), min_visible_px=61)


def test_edges_of_inventions_cost_precision_only():
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    ghost = Thing("bike", 9, (20, 2, 24, 6), 3.0)
    invented = with_instance(truth, ghost, visible=np.ones((24, 32), bool))
    invented.order = order([(FRONT_TRUCK.id, HIDDEN_CAR.id), (ghost.id, FRONT_TRUCK.id)])
    result = order_of((truth, invented))
    assert (result["accuracy"], result["recall"], result["precision"]) == (100, 100, 50)


def test_figures_of_what_the_truth_does_not_state_are_absent():
    """The car is behind the truck in two frames; the prediction changes its level in the second."""
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    truth = replace(truth, instances=[replace(i, track_id=k + 1) for k, i in enumerate(truth.instances)])
    changed = replace(truth, instances=[replace(truth.instances[0], occlusion_level=3), truth.instances[1]])
    pairs = [pair_scenes(decode(truth), decode(predicted), Rules()) for predicted in (truth, changed)]

    def results(*missing):
        evaluator = Evaluator(missing=missing)
        for k, pair in enumerate(pairs):
            evaluator.add_frame(FramePair("frame", "town", k, k * 10**8, {"front": pair}, []))
        return evaluator.results()

    whole, levels, neither = results(), results("levels"), results("order", "levels")
    assert whole["order"].keys() - levels["order"].keys() == {"level_accuracy"}
    assert results("order")["order"] == {"level_accuracy": 75}
    assert "order" not in neither
    assert whole["stability"]["level_change"] == whole["per_class"]["car"]["level_change"] / 2 == 50
    for table in (levels["stability"], levels["per_class"]["car"]):
        assert "level_change" not in table
        assert "AIoU_change" in table


def test_levels_of_matched_objects_only():
    truth = drawn("CCTT", "T>C", C="  h")
    predicted = drawn("CCTT", "T>C", C="  h")
    predicted.instances[0].occlusion_level = 2
    assert order_of((truth, predicted))["level_accuracy"] == 50
    assert order_of((truth, without(predicted, letter_id("C"))))["level_accuracy"] == 100

"""What an error costs, on any small scene: the properties that docs/metrics.md states, and their exceptions, drawn."""

import numpy as np
import pytest
from evaluation_random import NAMES, boxes, named_boxes, pairs, quick, renamed, streets
from evaluation_scenes import Thing, drawn, letter_id, street, with_instance, without
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amodal_perception_ros.evaluation import Rules, evaluate_pairs
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.order import OrderAccuracy
from amodal_perception_ros.evaluation.metrics.panoptic import ReferenceQuality, StrictQuality
from amodal_perception_ros.evaluation.pairs import pair_scenes

NUMBER = 50


def strict_of(truth, predicted):
    """Return the strict quality of one image and its matched scenes."""
    strict, pair = StrictQuality(), pair_scenes(decode(truth), decode(predicted), Rules())
    strict.add(pair)
    return strict, pair


def order_of(pair):
    metric = OrderAccuracy()
    metric.add(pair)
    return metric.results()


def class_quality(strict, c):
    return strict.breakdown("class")[strict.classes.labels[c].name]["APQ"]


def rivals(pair, i):
    """Number of predictions that could stand for a true object."""
    return np.count_nonzero(pair.amodal_iou[i] > pair.rules.iou_gate)


def assert_none_raised(after, before):
    for name in ("APQ", "APQ_S", "APQ_T", "APQ_T_V", "APQ_T_O"):
        assert name not in after or after[name] <= before.get(name, 100) + 1e-9, name


@settings(quick, max_examples=80)
@given(pairs, st.data())
def test_dropping_the_only_prediction_of_an_object(pair, data):
    """Exactly the predictions that invent a hidden part and are worse than their class may be dropped with a gain."""
    truth, predicted = pair
    before, matched = strict_of(truth, predicted)
    lonely = [(i, j) for i, j in zip(*matched.matches) if rivals(matched, i) == 1]
    assume(lonely)
    i, j = data.draw(st.sampled_from(lonely))
    c, invents = matched.truth.class_index[i], matched.predicted_occluded[j] and not matched.occluded[i]
    quality = class_quality(before, c)
    after, rest = strict_of(truth, without(predicted, predicted.instances[j].instance_id))
    assert (after.sums["tp"][c], after.sums["fn"][c]) == (before.sums["tp"][c] - 1, before.sums["fn"][c] + 1)
    assert after.sums["hidden_fp"][c] == before.sums["hidden_fp"][c] - invents
    if not invents:
        assert_none_raised(after.results(), before.results())
    assert after.results()["APQ_T_V"] <= before.results()["APQ_T_V"] + 1e-9
    gain = class_quality(after, c) - quality
    assert (gain > 1e-9) == bool(invents and 100 * matched.visible_iou[i, j] < quality - 1e-9)
    assert order_of(rest).get("recall", 0) <= order_of(matched).get("recall", 0)


def test_an_invented_hidden_part_costs_more_than_a_miss():
    """The exception of the property above, as small as it gets: the class goes from (1 + 1/3) / 3 to 1 / 2."""
    truth = drawn("C.DDD")
    predicted = drawn("C.D..", D="   hh")
    dropped = without(predicted, letter_id("D"))
    quality = [strict_of(truth, scene)[0].breakdown("class")["car"] for scene in (predicted, dropped)]
    assert quality[0]["APQ"] == pytest.approx(100 * (1 + 1 / 3) / 3)
    assert quality[1]["APQ"] == pytest.approx(100 / 2)
    assert quality[1]["APQ_T_V"] < quality[0]["APQ_T_V"]


def test_dropping_a_duplicate_raises_the_quality():
    """Why the property speaks of the only prediction: the second one takes over, and a false positive is gone."""
    truth = drawn("CCCC..")
    predicted = drawn("CCC...", D="hhhh")
    assert strict_of(truth, predicted)[0].results()["APQ_T_V"] == 0
    assert strict_of(truth, without(predicted, letter_id("D")))[0].results()["APQ_T_V"] == 75


def test_coverage_does_not_punish_inventions():
    """APC of the car goes from nothing to 3 px of IoU 1/3, although the prediction is a false positive."""
    truth, predicted = drawn("CCC."), drawn("C...")
    (before, _), (after, _) = (strict_of(truth, scene) for scene in (without(predicted, letter_id("C")), predicted))
    assert [q.breakdown("class")["car"]["APC"] for q in (before, after)] == [0, pytest.approx(100 / 3)]
    assert [q.breakdown("class")["car"]["FP"] for q in (before, after)] == [0, 1]


@settings(quick, max_examples=80)
@given(pairs, st.data())
def test_giving_the_only_prediction_of_an_object_another_class(pair, data):
    truth, predicted = pair
    before, matched = strict_of(truth, predicted)
    lonely = [(i, j) for i, j in zip(*matched.matches) if rivals(matched, i) == 1]
    assume(lonely)
    i, j = data.draw(st.sampled_from(lonely))
    instance, own = predicted.instances[j], before.classes.labels[matched.truth.class_index[i]].name
    name = data.draw(st.sampled_from([name for name in NAMES if name != own]))
    after, swapped = strict_of(truth, renamed(predicted, instance, name))
    assume(len(predicted.instances) - 1 in swapped.false_positives)
    if matched.occluded[i] or not matched.predicted_occluded[j]:
        assert_none_raised(after.results(), before.results())
        if matched.visible_iou[i, j] > 0:
            assert after.results()["APQ"] < before.results()["APQ"]
    assert after.results()["APQ_T_V"] <= before.results()["APQ_T_V"] + 1e-9


@quick
@given(streets)
def test_exchanging_all_classes_lowers_the_quality(things):
    swap = dict(zip(NAMES, NAMES[1:] + NAMES[:1]))
    scene, swapped = street(*things), street(*(thing._replace(name=swap[thing.name]) for thing in things))
    assert strict_of(scene, swapped)[0].results()["APQ_T"] < strict_of(scene, scene)[0].results()["APQ_T"]


@settings(quick, max_examples=80)
@given(pairs, named_boxes, boxes)
def test_adding_a_false_positive(pair, row, window):
    """It never raises a strict quality or a precision, nor an AP if no part of it resembles an object's."""
    truth, predicted = pair
    visible = np.zeros(truth.labels.shape, bool)
    visible[window[1] : window[3], window[0] : window[2]] = True
    more = with_instance(predicted, Thing(row[0], NUMBER, row[1], 3.0), visible)
    after, guess = strict_of(truth, more)
    assume(guess.amodal_iou[:, -1].max() <= guess.rules.iou_gate)
    before, matched = strict_of(truth, predicted)
    assert_none_raised(after.results(), before.results())
    if not guess.ignored[-1] and class_quality(after, guess.predicted.class_index[-1]) > 0:
        assert after.results()["APQ"] < before.results()["APQ"]
    one, two = (evaluate_pairs([(truth, scene)]) for scene in (predicted, more))
    if max(iou[:, -1].max() for iou in (guess.amodal_iou, guess.visible_iou, guess.hidden_iou)) < 0.5:
        assert all(value <= one["instance"][name] + 1e-9 for name, value in two.get("instance", {}).items())
    for name in ("AIoU", "VIoU", "OIoU", "recall", "occluded_recall"):
        assert two["masks"].get(name) == one["masks"].get(name)
    assert two["masks"].get("occluded_precision", 0) <= one["masks"].get("occluded_precision", 100) + 1e-9
    assert {**order_of(guess), "precision": 0} == {**order_of(matched), "precision": 0}


# Agreement of the two modes ----------------------------------------------------------------------------------------


@quick
@given(streets, st.data())
def test_both_modes_count_the_same_where_all_is_found_and_apart(things, data):
    """No object lacks a prediction, none is invented, and no two of a class touch: no defect of `reference` shows."""
    things = [thing._replace(name="car") if thing.name == "rider" else thing for thing in things]
    shifts = data.draw(st.lists(st.integers(-1, 1), min_size=len(things), max_size=len(things)))
    moved = [t._replace(box=(max(t.box[0] + by, 0), *t.box[1:])) for t, by in zip(things, shifts)]
    strict, pair = strict_of(street(*things), street(*moved))
    assume((pair.match >= 0).all() and pair.counted.all() and (pair.predicted.visible_px > 0).all())
    assume(np.count_nonzero(pair.amodal_iou) == len(things))
    reference = ReferenceQuality()
    reference.add(pair)
    for name, value in strict.sums.items():
        assert reference.sums[name] == pytest.approx(value), name

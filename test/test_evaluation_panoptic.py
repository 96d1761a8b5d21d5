"""Panoptic quality, and masks and average precision next to it, on scenes small enough to work out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import Thing, drawn, street, with_instance, without

from amodal_perception_ros.evaluation import Rules, evaluate_pairs
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.instance import AveragePrecision
from amodal_perception_ros.evaluation.metrics.panoptic import ReferenceQuality, StrictQuality
from amodal_perception_ros.evaluation.pairs import pair_scenes
from amodal_perception_ros.labels import BY_NAME, ClassList

CAR, TRUCK, PERSON, ROAD, SKY = (BY_NAME[name].index for name in ("car", "truck", "person", "road", "sky"))

# A car of 100 px of which a truck hides 40; the prediction finds 20 of them:
#   truth       ......TTTTTTTT      prediction  ......TTTTTTTT
#               CCCCCChhhhTTTT                  CCCCCChhTTTTTT
HIDDEN_CAR = Thing("car", 1, (2, 2, 12, 12), 20.0)
SHORT_CAR = Thing("car", 1, (2, 2, 10, 12), 22.0)
FRONT_TRUCK = Thing("truck", 2, (8, 0, 16, 14), 10.0)


def pair(truth, predicted, **rules):
    return pair_scenes(decode(truth), decode(predicted), Rules(**rules))


def qualities(*pairs):
    strict, reference = StrictQuality(), ReferenceQuality()
    for truth, predicted in pairs:
        strict.add(pair(truth, predicted))
        reference.add(pair(truth, predicted))
    return strict, reference


def counts(quality, c):
    return tuple(quality.sums[name][c] for name in ("tp", "fp", "fn"))


def hidden_counts(quality, c):
    return tuple(quality.sums[name][c] for name in ("hidden_tp", "hidden_fp", "hidden_fn"))


def cars(*boxes):
    return [Thing("car", number, box, 10.0 + number) for number, box in enumerate(boxes, 1)]


def test_example_of_the_docstring():
    truth = drawn("CCCCCCTTTTTT....DD", "T>C", C="      hhhh")
    predicted = drawn("CCCCCCTTTTTT......", "T>C", C="      hh")
    strict, reference = (quality.results() for quality in qualities((truth, predicted)))
    assert strict == {
        "APQ": pytest.approx(100 * (1 / 2 + 1 + 2 / 3) / 3),
        "APQ_S": pytest.approx(100 * 2 / 3),
        "APQ_T": pytest.approx(75),
        "APQ_T_V": pytest.approx(75),
        "APQ_T_O": pytest.approx(50),
        "APC": pytest.approx(100 * (8 / 12 + 1 + 2 / 3) / 3),
    }
    assert reference == {
        "APQ": pytest.approx(100 * (3 / 4 + 1 + 2 / 3) / 17),
        "APQ_S": pytest.approx(100 * 2 / 3 / 11),
        "APQ_T": pytest.approx(100 * 1.75 / 6),
        "APQ_T_V": pytest.approx(100 * 2 / 6),
        "APQ_T_O": pytest.approx(100 * 0.5 / 6),
        "APC": pytest.approx(100 * (8 / 12 + 1 + 2 / 3) / 17),
    }


def test_shifted_car():
    """100 px each, 80 common: IoU 80 / 120. Road: 768 - 120 common pixels of 768 - 80."""
    truth, predicted = street(*cars((2, 2, 12, 12))), street(*cars((4, 2, 14, 12)))
    strict = evaluate_pairs([(truth, predicted)])["panoptic"]["strict"]
    assert strict["APQ_T_V"] == strict["APQ_T"] == pytest.approx(100 * 2 / 3)
    assert strict["APQ_S"] == pytest.approx(100 * 648 / 688)
    assert strict["APQ"] == pytest.approx(100 * (2 / 3 + 648 / 688) / 2)
    assert "APQ_T_O" not in strict


def test_hidden_part_is_scored_on_its_own():
    """Car: IoU_v 1, IoU_o 20 / 40, so APQ_T,car = (1 + 0.5) / 2; truck: 1 and no hidden part."""
    result = evaluate_pairs([(street(HIDDEN_CAR, FRONT_TRUCK), street(SHORT_CAR, FRONT_TRUCK))])
    strict = result["panoptic"]["strict"]
    assert strict["APQ_T_V"] == 100
    assert strict["APQ_T_O"] == 50
    assert strict["APQ_T"] == 100 * (0.75 + 1) / 2
    assert strict["APQ_S"] == 100
    assert strict["APC"] == pytest.approx(100 * (1 + (60 + 0.5 * 40) / 100 + 1) / 3)
    assert result["panoptic"]["reference"]["APQ_T_O"] == pytest.approx(100 * 0.5 / 6)
    masks = result["masks"]
    assert (masks["AIoU"], masks["VIoU"], masks["OIoU"]) == (pytest.approx(90), 100, 50)
    assert (masks["occluded_recall"], masks["occluded_precision"]) == (50, 100)


def test_misses_count_zero_in_the_headline_overlap():
    truth = street(HIDDEN_CAR, FRONT_TRUCK, Thing("person", 3, (20, 2, 24, 12), 5.0))
    masks = evaluate_pairs([(truth, without(truth, HIDDEN_CAR.id))])["masks"]
    assert masks["AIoU"] == pytest.approx(200 / 3)
    assert masks["AIoU_matched"] == 100
    assert masks["OIoU"] == 0
    assert "OIoU_matched" not in masks
    assert (masks["objects"], masks["occluded_recall"]) == (3, 0)


def test_gate_is_above_one_half():
    """100 px in 200 px is an IoU of exactly 0.5, which is no match; 101 in 200 is one."""
    truth = street(*cars((0, 0, 20, 10)))
    half, more = street(*cars((0, 0, 10, 10))), street(*cars((0, 0, 11, 10)))
    assert counts(qualities((truth, half))[0], CAR) == (0, 1, 1)
    assert counts(qualities((truth, more))[0], CAR) == (1, 0, 0)


# Where `reference` and `strict` differ: the smallest example of each defect, as drawn in docs/metrics.md -------------


def class_results(truth, predicted, name):
    """Return, of a class in strict and in reference, TP, FP, FN, TP_o, FP_o, FN_o and its APQ in per cent."""
    rows = []
    for quality in qualities((truth, predicted)):
        c = BY_NAME[name].index
        row = (*counts(quality, c), *hidden_counts(quality, c))
        iou = quality.sums["iou"][c] + quality.sums["hidden_iou"][c]
        rows.append((*row, 100 * iou / sum(row) if sum(row) else None))
    return rows


def test_defect_missed_objects_are_not_counted():
    strict, reference = class_results(drawn("C.D"), drawn("C.."), "car")
    assert strict == (1, 0, 1, 0, 0, 0, 50)
    assert reference == (1, 0, 0, 0, 0, 0, 100)


def test_defect_an_empty_prediction_costs_one_object():
    strict, reference = class_results(drawn("C.D"), drawn("..."), "car")
    assert strict == (0, 0, 2, 0, 0, 0, 0)
    assert reference == (0, 0, 1, 0, 0, 0, 0)


def test_defect_inventions_in_an_empty_image_cost_one_object():
    strict, reference = class_results(drawn("..."), drawn("C.D"), "car")
    assert strict == (0, 2, 0, 0, 0, 0, 0)
    assert reference == (0, 1, 0, 0, 0, 0, 0)


def test_defect_disjoint_objects_are_a_true_positive():
    strict, reference = class_results(drawn("C.D.."), drawn("C...D"), "car")
    assert strict == (1, 1, 1, 0, 0, 0, pytest.approx(100 / 3))
    assert reference == (2, 0, 0, 0, 0, 0, 50)


def test_defect_a_wrong_class_costs_no_false_positive():
    truth, predicted = drawn("C.T"), drawn("U.T")
    assert class_results(truth, predicted, "car") == [(0, 0, 1, 0, 0, 0, 0)] * 2
    assert class_results(truth, predicted, "bus") == [(0, 1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, None)]


def test_defect_the_hidden_part_of_a_leftover_is_read_off_another_object():
    """The invented car D has a hidden part, the found car C has none; then the other way round, with E invented."""
    strict, reference = class_results(drawn("C.."), drawn("C.D", D=" h"), "car")
    assert strict == (1, 1, 0, 0, 1, 0, pytest.approx(100 / 3))
    assert reference == (1, 1, 0, 0, 0, 0, 50)
    strict, reference = class_results(drawn("CCDD.", D=" h"), drawn("CCDDE", D=" h"), "car")
    assert strict == (2, 1, 0, 1, 0, 0, 75)
    assert reference == (2, 1, 0, 1, 1, 0, 60)


def test_defect_results_depend_on_ids():
    """Two missed cars, the first occluded; only the car with the lower id is counted."""
    rows = class_results(drawn("CDD", "D>C", C=" h"), drawn("..."), "car")
    assert rows == [(0, 0, 2, 0, 0, 1, 0), (0, 0, 1, 0, 0, 1, 0)]
    rows = class_results(drawn("DCC", "C>D", D=" h"), drawn("..."), "car")
    assert rows == [(0, 0, 2, 0, 0, 1, 0), (0, 0, 1, 0, 0, 0, 0)]


def test_defect_invented_stuff_is_free():
    """Sky that is not there; the road loses IoU in both modes."""
    truth, predicted = drawn(".."), drawn(".~")
    assert class_results(truth, predicted, "sky") == [(0, 1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, None)]
    assert class_results(truth, predicted, "road") == [(1, 0, 0, 0, 0, 0, 50)] * 2


def test_defect_disjoint_stuff_is_a_true_positive():
    strict, reference = class_results(drawn("~."), drawn(".~"), "sky")
    assert strict == (0, 1, 1, 0, 0, 0, 0)
    assert reference == (1, 0, 0, 0, 0, 0, 0)


def test_defect_riders_are_not_scored():
    truth = drawn("R.")
    strict, reference = (quality.results() for quality in qualities((truth, truth)))
    assert (strict["APQ"], strict["APQ_T"]) == (100, 100)
    assert (reference["APQ"], reference["APQ_T"]) == (pytest.approx(100 / 17), 0)
    strict, reference = class_results(truth, drawn(".."), "road")
    assert (strict[-1], reference[-1]) == (50, 100)


def test_defect_absent_classes_count_as_zero():
    strict, reference = (quality.results() for quality in qualities((drawn("C."), drawn("C."))))
    assert (strict["APQ"], strict["APQ_S"], strict["APQ_T"]) == (100, 100, 100)
    assert reference["APQ"] == pytest.approx(100 * 2 / 17)
    assert (reference["APQ_S"], reference["APQ_T"]) == (pytest.approx(100 / 11), pytest.approx(100 / 6))


def test_defect_predictions_on_unlabelled_ground_are_wrong():
    strict, reference = class_results(drawn("C  "), drawn("C.D"), "car")
    assert strict == (1, 0, 0, 0, 0, 0, 100)
    assert reference == (1, 1, 0, 0, 0, 0, 50)


def test_defect_predictions_without_a_visible_pixel_do_not_exist():
    strict, reference = class_results(drawn("C.."), drawn("C..", D="  h"), "car")
    assert strict == (1, 1, 0, 0, 1, 0, pytest.approx(100 / 3))
    assert reference == (1, 0, 0, 0, 0, 0, 100)


# Rules --------------------------------------------------------------------------------------------------------------


def test_invented_hidden_part_of_a_visible_object():
    """The truck is whole, but the prediction lets it reach behind the car: FP_o in both modes."""
    car = Thing("car", 1, (2, 2, 12, 12), 5.0)
    truth = street(car, Thing("truck", 2, (12, 0, 20, 14), 10.0))
    predicted = street(car, Thing("truck", 2, (10, 0, 20, 14), 10.0))
    for quality in qualities((truth, predicted)):
        assert counts(quality, TRUCK) == (1, 0, 0)
        assert hidden_counts(quality, TRUCK) == (0, 1, 0)


def test_fully_hidden_objects_are_left_out():
    """A person behind the car: neither its truth nor a prediction of it counts, and it is reported."""
    car, person = Thing("car", 1, (2, 2, 12, 12), 5.0), Thing("person", 2, (4, 4, 8, 10), 9.0)
    truth = street(car, person)
    for predicted in (truth, street(car)):
        result = evaluate_pairs([(truth, predicted)])
        assert result["panoptic"]["strict"]["APQ"] == 100
        assert result["excluded"]["truth_fully_hidden"] == 1
        assert result["excluded"].get("prediction_on_excluded_truth", 0) == len(predicted.instances) - 1
    elsewhere = with_instance(street(car), Thing("person", 9, (20, 4, 24, 10), 9.0))
    assert counts(qualities((truth, elsewhere))[0], PERSON) == (0, 1, 0)


def test_tiny_objects_are_left_out_only_by_an_explicit_rule():
    truth = street(*cars((0, 0, 3, 2), (8, 0, 16, 8)))
    predicted = without(truth, 26001)
    assert evaluate_pairs([(truth, predicted)])["panoptic"]["strict"]["APQ_T"] == 50
    result = evaluate_pairs([(truth, predicted)], Rules(min_visible_px=7))
    assert result["panoptic"]["strict"]["APQ_T"] == 100
    assert result["excluded"]["truth_tiny"] == 1
    assert result["rules"]["min_visible_px"] == 7


def test_predictions_on_unlabelled_ground_are_ignored():
    truth = street(*cars((0, 0, 4, 4)))
    truth.labels[12:] = 0
    predicted = street(*cars((0, 0, 4, 4), (8, 14, 16, 20)))
    result = evaluate_pairs([(truth, predicted)])
    assert result["panoptic"]["strict"]["APQ"] == 100
    assert result["excluded"]["prediction_in_void"] == 1


def test_annotated_objects_without_surface_have_no_stuff_part():
    """Two classes of things and no segmentation: one car of two is found, the truck is not predicted."""
    objects = ClassList.of("objects", stuff={}, things={26: "car", 27: "truck"})
    both = ClassList.of("objects and ground", stuff={7: "road"}, things={26: "car", 27: "truck"})
    for classes in (objects, both):
        truth, predicted = (
            replace(scene, classes=classes, labels=np.zeros_like(scene.labels))
            for scene in (drawn("CCTTDD", "T>C", C="  h"), drawn("CC....", C="  h"))
        )
        strict, reference = StrictQuality(classes), ReferenceQuality(classes)
        for quality in (strict, reference):
            quality.add(pair(truth, predicted))
        assert strict.results() == {
            "APQ": pytest.approx(100 * 2 / 3 / 2),
            "APQ_T": pytest.approx(100 * 2 / 3 / 2),
            "APQ_T_V": 25,
            "APQ_T_O": 100,
            "APC": pytest.approx(100 * 3 / 5 / 2),
        }
        assert reference.results() == {
            "APQ": 50,
            "APQ_T": 50,
            "APQ_T_V": 50,
            "APQ_T_O": 50,
            "APC": pytest.approx(100 * 3 / 5 / 2),
        }


def test_a_rider_of_another_class_list_is_scored():
    classes = ClassList.of("riders", stuff={7: "road"}, things={25: "rider"})
    scene = replace(drawn("R."), classes=classes)
    for quality in (StrictQuality(classes), ReferenceQuality(classes)):
        quality.add(pair(scene, scene))
        assert quality.results()["APQ"] == quality.results()["APQ_T"] == 100


def test_masks_are_cut_to_the_image():
    inside = Thing("car", 1, (0, 2, 8, 10), 9.0)
    truth, predicted = street(inside), street(inside)
    mask = predicted.instances[0].amodal_mask
    wide = type(mask).from_array(np.ones((8, 18), bool), -10, 2)
    predicted.instances[0].amodal_mask = wide
    predicted.instances[0].depth = np.full((8, 18), 9.0, np.float32)
    result = evaluate_pairs([(truth, predicted)])
    assert result["panoptic"]["strict"]["APQ"] == 100
    assert result["masks"]["AIoU"] == 100


def test_breakdowns_by_class_occlusion_and_size():
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    result = evaluate_pairs([(truth, without(truth, HIDDEN_CAR.id))])
    assert result["per_class"]["car"]["recall"] == 0
    assert result["per_class"]["truck"]["APQ_T_V"] == 100
    assert {name: row["objects"] for name, row in result["per_occlusion"].items()} == {"0%": 1, "25-50%": 1}
    assert {name: row["recall"] for name, row in result["per_visible_px"].items()} == {"<64": 0, "64-255": 100}


# Average precision -------------------------------------------------------------------------------------------------


def average_precision(*pairs):
    metric = AveragePrecision()
    for truth, predicted in pairs:
        metric.add(pair(truth, predicted))
    return metric.results()


def test_false_positive_above_the_true_one_halves_ap():
    """Ranked FP, TP: precision 1/2 at every recall."""
    truth = street(*cars((0, 0, 8, 8)))
    predicted = street(*cars((0, 0, 8, 8), (16, 0, 24, 8)))
    predicted.instances[0].score = 0.4
    result = average_precision((truth, predicted))
    assert result["AP_A"] == result["AP_V"] == result["AP_AV"] == pytest.approx(50)


def test_ap_av_needs_both_masks():
    """Amodal IoU 0.8 passes 7 thresholds (0.5 .. 0.8); the visible part is perfect, so AP_AV equals AP_A."""
    truth, predicted = street(HIDDEN_CAR, FRONT_TRUCK), street(SHORT_CAR, FRONT_TRUCK)
    result = average_precision((truth, predicted))
    assert result["AP_A"] == pytest.approx(100 * (0.7 + 1) / 2)
    assert result["AP_V"] == pytest.approx(100)
    assert result["AP_AV"] == pytest.approx(result["AP_A"])
    assert result["AP_IV50"] == pytest.approx(100)


def test_ap_iv_ignores_predictions_meant_for_whole_objects():
    """A whole truck predicted with a hidden part is no false positive of AP_IV, one on the road is."""
    car = Thing("car", 3, (18, 2, 24, 12), 5.0)
    whole = Thing("truck", 4, (24, 0, 31, 14), 12.0)
    hidden_truck = Thing("truck", 5, (2, 2, 12, 12), 20.0)
    truth = street(car, whole, hidden_truck, FRONT_TRUCK)
    stretched = street(car, whole._replace(box=(23, 0, 31, 14)), hidden_truck, FRONT_TRUCK)
    assert average_precision((truth, stretched))["AP_IV50"] == pytest.approx(100)
    invented = with_instance(truth, Thing("truck", 6, (0, 16, 20, 22), 15.0), visible=truth.labels == 7000)
    invented.instances[-1].score = 2.0
    shrunk = invented.instances[-1].visible_mask - type(invented.instances[-1].visible_mask).from_array(
        np.ones((6, 4), bool), 0, 16
    )
    invented.instances[-1].visible_mask = shrunk
    assert average_precision((truth, invented))["AP_IV50"] == pytest.approx(50)

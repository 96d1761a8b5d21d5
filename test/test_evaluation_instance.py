"""Average precision against pycocotools and worked out by hand, its parts and replicates, shapes and breakdowns."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import Thing, street, with_instance, without
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from amodal_perception_ros.evaluation import Rules
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.bins import distance_bin, occlusion_bin, visible_px_bin
from amodal_perception_ros.evaluation.metrics.instance import AveragePrecision, average_precision
from amodal_perception_ros.evaluation.metrics.mask_overlap import MaskOverlap
from amodal_perception_ros.evaluation.metrics.shape import ShapeRegularity
from amodal_perception_ros.evaluation.pairs import pair_scenes
from amodal_perception_ros.labels import ClassList
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import CameraScene, Instance

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def pair(truth, predicted, **rules):
    return pair_scenes(decode(truth), decode(predicted), Rules(**rules))


def scored(metric, *pairs, **rules):
    for truth, predicted in pairs:
        metric.add(pair(truth, predicted, **rules))
    return metric


def precision_of(*pairs, **rules):
    return scored(AveragePrecision(), *pairs, **rules).results()


def with_scores(scene, *scores):
    for instance, score in zip(scene.instances, scores, strict=True):
        instance.score = score
    return scene


def car(number, box, depth=None):
    return Thing("car", number, box, 10.0 + number if depth is None else depth)


# Agreement with pycocotools ------------------------------------------------------------------------------------------


def coco_scores(pairs, kind, min_visible_px=1):
    """AP over 0.50:0.95 and at 0.50 of the masks of one kind; too small true objects are out of the area range."""
    annotations, detections = [], []
    for image, (truth, predicted) in enumerate(pairs, 1):
        for scene, rows in ((truth, annotations), (predicted, detections)):
            for instance in scene.instances:
                if rows is detections and getattr(instance, kind).area == 0:
                    continue
                mask = getattr(instance, kind).to_array(*scene.labels.shape)
                rows.append(
                    {
                        "image_id": image,
                        "category_id": instance.class_id,
                        "iscrowd": 0,
                        "score": instance.score,
                        "segmentation": coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))),
                        "area": min_visible_px if rows is detections else instance.visible_mask.area,
                        "bbox": [0, 0, 1, 1],
                        "id": len(rows) + 1,
                    }
                )
    truth, prediction = COCO(), COCO()
    images = [{"id": image, "height": 24, "width": 32} for image in range(1, len(pairs) + 1)]
    categories = [{"id": class_id} for class_id in sorted({a["category_id"] for a in (*annotations, *detections)})]
    truth.dataset = {"images": images, "categories": categories, "annotations": annotations}
    prediction.dataset = {"images": images, "categories": categories, "annotations": detections}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        prediction.createIndex()
        evaluation = COCOeval(truth, prediction, "segm")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[min_visible_px, 1e9]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    precision = precision[:, :, (precision > -1).all(axis=(0, 1))]
    return (100 * precision.mean(), 100 * precision[0].mean()) if precision.size else None


boxes = st.tuples(st.integers(0, 27), st.integers(0, 19), st.integers(2, 12), st.integers(2, 10)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 32), min(b[1] + b[3], 24))
)
names = st.sampled_from(("car", "truck", "person"))
depths = st.integers(1, 6).map(float)
things = st.lists(st.tuples(names, boxes, depths), max_size=6)
shifts = st.tuples(*[st.integers(-2, 2)] * 4)
scores = st.sampled_from((0.2, 0.5, 0.5, 0.9))  # few values: many ties


@st.composite
def scene_pairs(draw):
    """A truth and a prediction that moves, loses and invents objects, with ties in score and overlap."""
    drawn = draw(things)
    true = [Thing(name, number, box, depth) for number, (name, box, depth) in enumerate(drawn, 1)]
    found = []
    for thing in true:
        for _ in range(draw(st.integers(0, 2))):
            left, top, right, bottom = np.clip(np.add(thing.box, draw(shifts)), 0, (31, 23, 32, 24)).tolist()
            box = (left, top, max(right, left + 1), max(bottom, top + 1))
            found.append(thing._replace(number=len(found) + 20, box=box))
    invented = draw(st.lists(st.tuples(names, boxes, depths), max_size=3))
    found += [Thing(name, 90 + number, box, depth) for number, (name, box, depth) in enumerate(invented)]
    predicted = street(*found)
    return street(*true), with_scores(predicted, *(draw(scores) for _ in predicted.instances))


@quick
@given(st.lists(scene_pairs(), min_size=1, max_size=4), st.sampled_from((1, 12)))
def test_ap_equals_pycocotools(pairs, min_visible_px):
    ours = precision_of(*pairs, min_visible_px=min_visible_px)
    for kind, name in (("amodal_mask", "AP_A"), ("visible_mask", "AP_V")):
        theirs = coco_scores(pairs, kind, min_visible_px)
        if theirs is None:
            assert ours == {}
        else:
            assert (ours[name], ours[name + "50"]) == pytest.approx(theirs, abs=1e-6)


def test_ap_equals_pycocotools_with_more_than_a_hundred_predictions():
    """Only the first hundred of an image and class count; the 130 here tie in score, and some are right."""
    rng = np.random.default_rng(3)
    boxes = [(x, y, x + 3, y + 2) for y in range(0, 24, 2) for x in range(0, 30, 3)]
    true = street(*(car(n, box) for n, box in enumerate(boxes, 1)))
    guesses = [car(n, boxes[rng.integers(len(boxes))]) for n in range(1, 131)]
    predicted = street(*guesses)
    with_scores(predicted, *np.round(rng.random(130), 1).tolist())
    ours = precision_of((true, predicted))
    assert 0 < ours["AP_A"] < 100
    assert ours["AP_A"] == pytest.approx(coco_scores([(true, predicted)], "amodal_mask")[0], abs=1e-6)
    assert ours["AP_V"] == pytest.approx(coco_scores([(true, predicted)], "visible_mask")[0], abs=1e-6)


def test_classes_without_truth_or_predictions():
    """A person without a prediction makes a class of AP 0; a bus without a truth makes none."""
    true = street(car(1, (0, 0, 8, 8)), Thing("person", 2, (10, 0, 14, 8), 5.0))
    predicted = street(car(1, (0, 0, 8, 8)), Thing("bus", 3, (16, 0, 24, 8), 5.0))
    metric = scored(AveragePrecision(), (true, predicted))
    assert metric.results()["AP_A"] == pytest.approx(50)
    assert coco_scores([(true, predicted)], "amodal_mask")[0] == pytest.approx(50)
    per_class = metric.breakdown("class")
    assert {name: row["AP_A"] for name, row in per_class.items()} == pytest.approx({"person": 0, "car": 100})
    assert metric.breakdown("occlusion") == {}


def test_nothing_at_all_has_no_figures():
    assert precision_of() == precision_of((street(), street())) == {}


# Worked out by hand --------------------------------------------------------------------------------------------------


def row_scene(*objects):
    """Instances that are pixels of one row of 100: (class, first pixel, end, visible pixels, score)."""
    classes = ClassList.of("row", {}, {1: "a", 2: "b"})
    labels, instances = np.zeros((1, 100), np.uint16), []
    for number, (class_id, start, stop, seen, score) in enumerate(objects, 1):
        amodal, visible = np.zeros((1, 100), bool), np.zeros((1, 100), bool)
        amodal[0, start:stop], visible[0, start : start + seen] = True, True
        depth = np.full((1, stop - start), 5.0, np.float32)
        masks = RoiMask.from_array(visible), RoiMask.from_array(amodal)
        instances.append(Instance(class_id * 1000 + number, class_id, score, *masks, 0, 5.0, 5.0, 0.0, depth))
    camera = street(width=100, height=1).camera
    return CameraScene(camera, 0, labels, np.full((1, 100), np.nan, np.float32), instances, classes=classes)


def row_precision(truth, predicted):
    return scored(AveragePrecision(row_scene().classes), (row_scene(*truth), row_scene(*predicted))).results()


def test_the_two_cars_of_the_docstring():
    truth = [(1, 0, 39, 39, 1), (1, 60, 80, 20, 1)]
    predicted = [(1, 0, 50, 50, 0.9), (1, 85, 95, 10, 0.8), (1, 60, 80, 20, 0.7)]  # the first IoU: 39 / 50
    expected = 100 * (6 * (51 + 50 * 2 / 3) + 4 * 51 / 3) / 10 / 101
    assert expected == pytest.approx(56.83, abs=0.005)
    result = row_precision(truth, predicted)
    assert result["AP_A"] == result["AP_V"] == result["AP_AV"] == pytest.approx(expected)
    assert result["AP_A50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_ap_av_is_the_minimum_of_both_ious():
    """IoU 0.9 of the whole (9 thresholds), 0.6 of the visible part (3 thresholds): 3 of 10."""
    result = row_precision([(1, 0, 20, 10, 1)], [(1, 0, 18, 6, 1)])
    assert (result["AP_A"], result["AP_V"], result["AP_AV"]) == pytest.approx((90, 30, 30))
    assert result["AP_IV50"] == pytest.approx(100)  # hidden 10..19 and 6..17: 8 of 14 px


def test_occluded_figures_do_not_miss_whole_objects():
    """One occluded object found, one whole object missed: half of all, all of the occluded ones."""
    result = row_precision([(1, 0, 20, 10, 1), (1, 40, 60, 20, 1)], [(1, 0, 20, 10, 1)])
    assert result["AP_A"] == pytest.approx(100 * 51 / 101)
    assert result["AP_A_occluded"] == result["AP_V_occluded"] == result["AP_AV_occluded"] == pytest.approx(100)


def test_predictions_meant_for_whole_objects_are_ignored_in_ap_v_and_ap_iv_of_occluded_ones():
    """
    The whole object 40..59 gets a prediction, ranked first, with an amodal IoU of 0.5 but a visible IoU of 0.25: nobody
    matches it in AP_V, yet it is meant for the whole object. Beyond an amodal IoU of 0.5 it would be a false positive.
    """
    truth, right = [(1, 0, 20, 10, 1), (1, 40, 60, 20, 1)], (1, 0, 20, 10, 0.5)
    meant = row_precision(truth, [right, (1, 40, 50, 5, 0.9)])
    assert meant["AP_V_occluded"] == meant["AP_IV50"] == pytest.approx(100)
    other = row_precision(truth, [right, (1, 40, 49, 5, 0.9)])
    assert other["AP_V_occluded"] == other["AP_IV50"] == pytest.approx(50)
    assert other["AP_A_occluded"] == pytest.approx(50)


def test_a_perfect_prediction_loses_nothing_by_the_rule_for_whole_objects():
    """The occluded object has an amodal IoU of 0.8 with the whole one in front of it."""
    objects = [(1, 0, 20, 20, 1), (1, 4, 20, 2, 1)]
    assert set(np.round(list(row_precision(objects, objects).values()), 9)) == {100}


def test_predictions_without_a_visible_or_hidden_part_take_no_part():
    truth, found = [(1, 0, 20, 10, 1)], (1, 0, 20, 10, 0.5)
    result = row_precision(truth, [found, (1, 50, 60, 0, 0.9), (1, 70, 80, 10, 0.8)])
    assert result["AP_A"] == pytest.approx(100 / 3)
    assert result["AP_V"] == pytest.approx(50)  # without the first one
    assert result["AP_IV50"] == pytest.approx(50)  # without the second one


@quick
@given(st.lists(scene_pairs(), max_size=3), st.sampled_from((1, 12)), st.sampled_from((1, 5)))
def test_ap_from_run_lengths_is_that_of_the_decoded_masks(pairs, visible, hidden):
    rules = {"min_visible_px": visible, "min_hidden_px": hidden}
    for _, predicted in pairs:
        for instance in predicted.instances[:1]:
            instance.amodal_mask = replace(instance.amodal_mask, x_offset=instance.amodal_mask.x_offset - 4)
            instance.visible_mask = replace(instance.visible_mask, x_offset=instance.visible_mask.x_offset - 4)
    assert average_precision(pairs, Rules(**rules)) == pytest.approx(precision_of(*pairs, **rules))


# Parts and replicates ------------------------------------------------------------------------------------------------


@quick
@given(st.lists(scene_pairs(), min_size=1, max_size=4), st.data())
def test_parts_merge_and_replicates_are_the_parts_that_were_drawn(pairs, data):
    drawn = [data.draw(st.integers(0, 2)) for _ in pairs]
    predictions = [instance for _, predicted in pairs for instance in predicted.instances]
    for rank, instance in zip(data.draw(st.permutations(range(len(predictions)))), predictions, strict=True):
        instance.score = rank / 100
    for kind in (AveragePrecision, MaskOverlap):
        total = kind()
        for part, times in zip(pairs, drawn, strict=True):
            total.merge(scored(kind(), part), np.array([1.0, times]))
        whole = scored(kind(), *pairs)
        again = scored(kind(), *(part for part, times in zip(pairs, drawn, strict=True) for _ in range(times)))
        for replicate, expected in ((None, whole), (0, whole), (1, again), (None, whole)):
            total.select(replicate)
            assert total.results() == pytest.approx(expected.results())
            assert total.breakdown("class").keys() == expected.breakdown("class").keys()


# Overlap, shape and bins ---------------------------------------------------------------------------------------------

HIDDEN_CAR = Thing("car", 1, (0, 0, 4, 2), 20.0)
SHORT_CAR = Thing("car", 1, (0, 0, 3, 2), 20.0)
TRUCK = Thing("truck", 2, (2, 0, 6, 2), 10.0)
PERSON = Thing("person", 3, (7, 0, 8, 2), 45.0)


def test_the_overlap_of_the_docstring():
    metric = scored(MaskOverlap(), (street(HIDDEN_CAR, TRUCK, PERSON), street(SHORT_CAR, TRUCK)))
    result = metric.results()
    assert result == pytest.approx(
        {
            "objects": 3,
            "recall": 100 * 2 / 3,
            "AIoU": 100 * (6 / 8 + 1) / 3,
            "VIoU": 100 * 2 / 3,
            "OIoU": 50,
            "AIoU_matched": 100 * (6 / 8 + 1) / 2,
            "VIoU_matched": 100,
            "OIoU_matched": 50,
            "occluded_recall": 50,
            "occluded_precision": 100,
        }
    )
    assert result["AIoU"] == pytest.approx(58.33, abs=0.005)
    recalls = {
        kind: {name: row["recall"] for name, row in metric.breakdown(kind).items()}
        for kind in ("class", "occlusion", "distance", "visible_px")
    }
    assert recalls == {
        "class": {"person": 0, "car": 100, "truck": 100},
        "occlusion": {"0%": 50, "25-50%": 100},
        "distance": {"0-10 m": 100, "10-20 m": 100, "40-80 m": 0},
        "visible_px": {"<64": pytest.approx(100 * 2 / 3)},
    }


def test_invented_hidden_pixels_count_in_the_bins_of_the_prediction():
    """An invented car of 8 hidden px, half of its 16, counts as a car and in the bin 25-50%."""
    truth = street(HIDDEN_CAR, TRUCK)
    seen = np.zeros(truth.labels.shape, bool)
    seen[10:12, 10:14] = True
    invented = with_instance(truth, Thing("car", 9, (10, 10, 14, 14), 30.0), visible=seen)
    metric = scored(MaskOverlap(), (truth, invented))
    assert metric.results()["occluded_precision"] == pytest.approx(100 * 4 / 12)
    assert metric.results()["occluded_recall"] == 100
    assert metric.breakdown("class")["car"]["occluded_precision"] == pytest.approx(100 * 4 / 12)
    assert metric.breakdown("occlusion")["25-50%"]["occluded_precision"] == pytest.approx(100 * 4 / 12)
    nothing_true = scored(MaskOverlap(), (street(), invented)).results()
    assert nothing_true == {"occluded_precision": 0}


def test_the_shapes_of_the_docstring():
    square, corner = (Thing("car", 1, (4, 4, 10, 10), 9.0) for _ in range(2))
    truth, predicted = street(square), street(corner)
    cut = np.ones((6, 6), bool)
    cut[:3, 3:] = False
    mask = RoiMask.from_array(cut, 4, 4)
    predicted.instances[0].amodal_mask = predicted.instances[0].visible_mask = mask
    result = scored(ShapeRegularity(), (truth, predicted)).results()
    true_simplicity = np.sqrt(4 * np.pi * 36) / (20 + np.pi)
    simplicity = np.sqrt(4 * np.pi * 27) / (18 + np.sqrt(2) + np.pi)
    assert result == pytest.approx(
        {
            "objects": 1,
            "simplicity": simplicity,
            "convexity": 27 / 31.5,
            "simplicity_truth": true_simplicity,
            "convexity_truth": 1,
            "simplicity_error": true_simplicity - simplicity,
            "convexity_error": 1 - 27 / 31.5,
        }
    )
    assert [round(value, 3) for value in list(result.values())[1:5]] == [0.817, 0.857, 0.919, 1]


def test_shapes_of_missed_and_of_tiny_objects_are_left_out():
    truth = street(Thing("car", 1, (0, 0, 10, 10), 9.0), Thing("car", 2, (20, 0, 24, 4), 8.0))
    assert scored(ShapeRegularity(), (truth, truth)).results()["objects"] == 1
    assert scored(ShapeRegularity(), (truth, without(truth, 26001))).results() == {}


def test_bins_hold_their_edges():
    assert occlusion_bin(np.array([0, 0.01, 0.25, 0.26, 0.5, 0.75, 0.76, 1.0])).tolist() == [0, 1, 1, 2, 2, 3, 4, 4]
    assert distance_bin(np.array([0.1, 10, 10.1, 20, 40, 80, 81, np.nan])).tolist() == [0, 0, 1, 1, 2, 3, 4, 5]
    assert visible_px_bin(np.array([1, 63, 64, 255, 256, 1023, 1024])).tolist() == [0, 0, 1, 1, 2, 2, 3]

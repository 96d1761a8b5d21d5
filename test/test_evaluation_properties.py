"""What must hold for any small scene: maxima, what names and order must not change, what an error may not raise.

docs/metrics.md states the properties of the strict panoptic quality in words, with the smallest counterexamples of the
stronger statements that are false.
"""

import json
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evaluation_scenes import HEIGHT, WIDTH, Thing, drawn, letter_id, order, street, with_instance, without
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amodal_perception_ros.evaluation import Rules, evaluate_pairs
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.evaluator import Evaluator
from amodal_perception_ros.evaluation.order import OrderAccuracy
from amodal_perception_ros.evaluation.pairs import FramePair, pair_scenes
from amodal_perception_ros.evaluation.panoptic import ReferenceQuality, StrictQuality
from amodal_perception_ros.evaluation.table import ROWS, look_up
from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import AmodalObject, BevOccupancy

NAMES = ("car", "truck", "person", "bus", "rider")
MISSED, INVENTED = 50, 60

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

boxes = st.tuples(st.integers(0, 27), st.integers(0, 19), st.integers(2, 12), st.integers(2, 10)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], WIDTH), min(b[1] + b[3], HEIGHT))
)
named_boxes = st.tuples(st.sampled_from(NAMES), boxes)


def numbered(rows, first=1):
    return [Thing(name, number, box, 5.0 + number) for number, (name, box) in enumerate(rows, first)]


streets = st.lists(named_boxes, min_size=1, max_size=6).map(numbered)


@st.composite
def predictions(draw, things):
    """Lose, move, rename and reorder some of the things, and invent others; every score is different."""
    found = []
    for thing in things:
        fate = draw(st.sampled_from(("found", "found", "moved", "moved", "lost", "renamed")))
        if fate == "moved":
            corners = np.add(thing.box, draw(st.tuples(*[st.integers(-1, 1)] * 4)))
            left, top, right, bottom = (int(v) for v in np.clip(corners, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)))
            thing = thing._replace(box=(left, top, max(right, left + 1), max(bottom, top + 1)))
        if fate == "renamed":
            thing = thing._replace(name=draw(st.sampled_from(NAMES)))
        if fate != "lost":
            found.append(thing._replace(depth=thing.depth + draw(st.sampled_from((0, 0, 1.5)))))
    found += numbered(draw(st.lists(named_boxes, max_size=2)), INVENTED)
    return scored(street(*found), draw(st.randoms(use_true_random=False)))


pairs = streets.flatmap(lambda things: st.tuples(st.just(street(*things)), predictions(things)))


def scored(scene, random):
    ranks = random.sample(range(1, 100), len(scene.instances))
    return replace(scene, instances=[replace(i, score=rank / 100) for i, rank in zip(scene.instances, ranks)])


def relabelled(scene, random):
    """Give every instance another number of its class, and shuffle instances and edges."""
    numbers = random.sample(range(100, 900), len(scene.instances))
    new = {i.instance_id: i.class_id * 1000 + number for i, number in zip(scene.instances, numbers)}
    labels = scene.labels.copy()
    for old, name in new.items():
        labels[scene.labels == old] = name
    instances = [replace(i, instance_id=new[i.instance_id]) for i in scene.instances]
    edges = [(new[int(a)], new[int(b)]) for a, b in zip(scene.order.occluder_ids, scene.order.occludee_ids)]
    random.shuffle(instances)
    random.shuffle(edges)
    return replace(scene, labels=labels, instances=instances, order=order(edges))


def renamed(scene, instance, name):
    """Give one instance another class; its pixels keep theirs in the label image."""
    others = without(scene, instance.instance_id)
    label = Thing(name, INVENTED + 9, None, 0.0).id
    return replace(others, instances=[*others.instances, replace(instance, instance_id=label, class_id=label // 1000)])


def headline(result):
    return {row: look_up(result, row.path) for row in ROWS if look_up(result, row.path) is not None}


def assert_same(after, before):
    """Compare nested results; a score that is 2e-16 apart is the same."""
    assert set(after) == set(before)
    for key, value in before.items():
        if isinstance(value, dict):
            assert_same(after[key], value)
        else:
            assert after[key] == (pytest.approx(value) if isinstance(value, float) else value), key


def figures(result):
    """Results without what names instances and places."""
    return {name: value for name, value in result.items() if name not in ("worst", "excluded_places", "data")}


# Maxima and bounds -------------------------------------------------------------------------------------------------


@quick
@given(streets, st.randoms(use_true_random=False))
def test_the_truth_has_no_error(things, random):
    """Scored against itself under other names, every figure has its best value."""
    scene = street(*things)
    result = evaluate_pairs([(scene, relabelled(scene, random))])
    for row, value in headline(result).items():
        if row.unit == "%" and not row.path.startswith("panoptic.reference"):
            assert value == pytest.approx(100), row
        if row.better == "down":
            assert value <= 0.001 + 1e-9, row
    classes = [name for name in result["per_class"] if name != "rider"]
    assert result["panoptic"]["reference"]["APQ"] == pytest.approx(100 * len(classes) / 17)
    assert "prediction_in_void" not in result.get("excluded", {})
    for kind in ("class", "occlusion", "distance", "visible_px"):
        for row in result[f"per_{kind}"].values():
            assert row.get("APQ", 100) == row.get("AIoU", 100) == row.get("recall", 100) == pytest.approx(100)
    json.dumps(result)


@quick
@given(pairs)
def test_figures_stay_in_their_range(pair):
    for row, value in headline(evaluate_pairs([pair])).items():
        assert math.isfinite(value), row
        assert value >= 0, row
        assert row.unit not in ("%", "0..1") or value <= (100 + 1e-9 if row.unit == "%" else 1), row


# Names, order and grouping -----------------------------------------------------------------------------------------


@quick
@given(pairs, st.randoms(use_true_random=False))
def test_names_and_order_of_instances_change_nothing(pair, random):
    """Except in `reference`, whose leftovers depend on the order of the ids."""
    before = figures(evaluate_pairs([pair]))
    after = figures(evaluate_pairs([tuple(relabelled(scene, random) for scene in pair)]))
    for result in (before, after):
        del result["panoptic"]["reference"]
    assert_same(after, before)


@quick
@given(st.lists(pairs, min_size=2, max_size=5), st.data())
def test_parts_of_a_set_add_up_to_the_whole(images, data):
    """Scores differ between the images: predictions of equal score are ranked in the order of the parts."""
    whole, parts = Evaluator(), [Evaluator(), Evaluator()]
    for number, (truth, predicted) in enumerate(images):
        instances = [replace(i, score=i.score + number / 1000) for i in predicted.instances]
        predicted = replace(predicted, instances=instances)
        whole.add(truth, predicted, f"image {number}")
        parts[data.draw(st.integers(0, 1))].add(truth, predicted, f"image {number}")
    merged = Evaluator()
    for part in parts:
        merged.merge(part)
    assert_same(figures(merged.results()), figures(whole.results()))


@quick
@given(pairs, st.integers(2, 4))
def test_repeating_an_image_changes_no_share(pair, times):
    """Except AP, where equal scores are ranked image by image."""
    once, often = (headline(evaluate_pairs([pair] * count)) for count in (1, times))
    for row, value in once.items():
        if row.unit != "n" and not row.path.startswith("instance"):
            assert often[row] == pytest.approx(value), row


def mirrored(scene):
    """Turn a scene over, left to right."""
    masks = [
        {k: getattr(i, k).to_array(HEIGHT, WIDTH)[:, ::-1] for k in ("visible_mask", "amodal_mask")}
        for i in scene.instances
    ]
    instances = [
        replace(i, depth=i.depth[:, ::-1], **{name: RoiMask.from_array(mask) for name, mask in of_instance.items()})
        for i, of_instance in zip(scene.instances, masks)
    ]
    return replace(scene, labels=scene.labels[:, ::-1], depth=scene.depth[:, ::-1], instances=instances)


@quick
@given(pairs)
def test_turning_the_images_over_changes_nothing(pair):
    assert_same(*(figures(evaluate_pairs([images])) for images in (pair, [mirrored(scene) for scene in pair])))


# Drives ------------------------------------------------------------------------------------------------------------


@st.composite
def drives(draw):
    """Things that move at random through a few frames: one image, boxes and a bird's-eye view each."""
    things = draw(streets)
    frames = []
    for index in range(draw(st.integers(1, 5))):
        scene = street(*things)
        scene.instances = [replace(i, track_id=i.instance_id % 1000) for i in scene.instances]
        seen = {i.track_id: bool(i.visible_mask.area) for i in scene.instances}
        boxes = [box_of(thing, seen[thing.number]) for thing in things]
        cells = draw(arrays(np.int8, (6, 6), elements=st.sampled_from((-1, 0, 100))))
        frames.append((index, scene, boxes, grid(cells)))
        steps = draw(st.lists(st.integers(-3, 3), min_size=len(things), max_size=len(things)))
        things = [
            t._replace(box=(max(t.box[0] + by, 0), t.box[1], max(t.box[2] + by, 1), t.box[3]))
            for t, by in zip(things, steps)
        ]
    return frames


def box_of(thing, seen):
    center, size, velocity = np.array([5.0 * thing.number, thing.box[0] / 8, 0.8]), np.ones(3), np.zeros(3)
    cameras, share = (("front",), 1.0) if seen else ((), 0.0)
    return AmodalObject(thing.number, BY_NAME[thing.name].id, 1.0, center, size, 0.0, velocity, 0.0, share, cameras, 0)


def grid(cells):
    visible, semantic = np.full(cells.shape, -1, np.int8), np.where(cells > 0, BY_NAME["car"].id, BY_NAME["road"].id)
    evidence = np.zeros(cells.shape, np.uint8)
    return BevOccupancy(0, 0.2, (0.0, 0.0), visible, cells, semantic.astype(np.uint8), evidence, 0.2, 2.5)


def drive_results(*sequences):
    """Score the truth of each sequence under other ids against itself; return a whole and a merged evaluator."""
    whole, merged, random = Evaluator(), Evaluator(), Random(0)
    for number, frames in enumerate(sequences):
        new, part = random.sample(range(1, 900), 100), Evaluator()
        for index, scene, boxes, bev in frames:
            predicted = relabelled(scene, random)
            predicted.instances = [replace(i, track_id=new[i.track_id]) for i in predicted.instances]
            found = [replace(one, track_id=new[one.track_id]) for one in boxes]
            pair = pair_scenes(decode(scene), decode(predicted), Rules())
            for evaluator in (whole, part):
                place, cameras = f"frame {index}", {"front": pair}
                stamp, name = index * 10**8, f"sequence {number}"
                evaluator.add_frame(
                    FramePair(place, name, index, stamp, cameras, boxes, found, bev, bev, ego=np.zeros(2))
                )
        merged.merge(part)
    return whole.results(), merged.results()


@quick
@given(st.lists(drives(), min_size=1, max_size=2))
def test_the_truth_of_a_drive_has_no_error_under_other_ids(sequences):
    result, merged = drive_results(*sequences)
    assert_same(figures(merged), figures(result))
    tracking, stability, occupancy = (result.get(name, {}) for name in ("tracking", "stability", "occupancy"))
    recalls = [value for name, value in tracking.items() if "recall" in name]
    assert recalls == pytest.approx([100] * len(recalls))
    for name in (
        "id_switches",
        "id_switches_occlusion",
        "mask_id_switches",
        "false_per_frame",
        "ghosts_per_minute",
        "MOTP",
    ):
        assert tracking.get(name, 0) == 0
    assert tracking.get("MOTA", 100) == pytest.approx(100)
    assert [value for name, value in stability.items() if name != "steps"] == pytest.approx([0] * (len(stability) - 1))
    for name in ("hidden_recall", "hidden_precision", "hidden_IoU", "hidden_known"):
        assert occupancy.get(name, 100) == 100
    assert occupancy.get("hidden_ece", 0) == occupancy.get("hidden_brier", 0) == 0
    assert occupancy.get("hidden_nll", 0) <= 0.0051


# What an error may not raise ---------------------------------------------------------------------------------------


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
    """It never raises a strict quality, an AP or a precision, and changes nothing about the found objects."""
    truth, predicted = pair
    visible = np.zeros(truth.labels.shape, bool)
    visible[window[1] : window[3], window[0] : window[2]] = True
    more = with_instance(predicted, Thing(row[0], MISSED, row[1], 3.0), visible)
    after, guess = strict_of(truth, more)
    assume(guess.amodal_iou[:, -1].max() <= guess.rules.iou_gate)
    before, matched = strict_of(truth, predicted)
    assert_none_raised(after.results(), before.results())
    assert (
        after.results()["APQ"] < before.results()["APQ"] or class_quality(after, guess.predicted.class_index[-1]) == 0
    )
    one, two = (evaluate_pairs([(truth, scene)]) for scene in (predicted, more))
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

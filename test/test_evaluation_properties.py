"""What must hold for any small scene or drive: maxima, bounds, and what names, order and grouping must not change."""

import json
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evaluation_random import mirrored, pairs, quick, relabelled, streets
from evaluation_scenes import street
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amodal_perception_ros.evaluation import Rules, evaluate_pairs
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.evaluator import Evaluator
from amodal_perception_ros.evaluation.pairs import FramePair, pair_scenes
from amodal_perception_ros.evaluation.table import ROWS, look_up
from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.scene import AmodalObject, BevOccupancy


def headline(result):
    return {row: look_up(result, row.path) for row in ROWS if look_up(result, row.path) is not None}


def assert_same(after, before):
    """Compare nested results; a score that is 2e-16 apart is the same."""
    assert set(after) == set(before)
    for key, value in before.items():
        if isinstance(value, dict):
            assert_same(after[key], value)
        elif isinstance(value, list):
            assert_same(dict(enumerate(after[key])), dict(enumerate(value)))
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


@quick
@given(pairs)
def test_turning_the_images_over_changes_nothing(pair):
    assert_same(*(figures(evaluate_pairs([images])) for images in (pair, tuple(map(mirrored, pair)))))


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
    assert result.get("objects", {}).get("mAP", 100) == pytest.approx(100)
    assert [value for name, value in stability.items() if name != "steps"] == pytest.approx([0] * (len(stability) - 1))
    for name in ("hidden_recall", "hidden_precision", "hidden_IoU", "hidden_known"):
        assert occupancy.get(name, 100) == 100
    assert occupancy.get("hidden_ece", 0) == occupancy.get("hidden_brier", 0) == 0
    assert occupancy.get("hidden_nll", 0) <= 0.0051

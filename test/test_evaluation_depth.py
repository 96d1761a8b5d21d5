"""Depth, invariants, baselines and errors on scenes small enough to work out by hand."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from evaluation_scenes import Thing, empty_scene, order, street, with_instance, without
from hypothesis import given
from hypothesis import strategies as st

from amodal_perception_ros.evaluation import (
    BASELINES,
    EvaluationError,
    Evaluator,
    Rules,
    amodal_is_amodal_box,
    amodal_is_box,
    amodal_is_visible,
    evaluate_pairs,
    format_table,
)
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.depth import DepthError
from amodal_perception_ros.evaluation.metrics.invariants import KINDS, InvariantViolations
from amodal_perception_ros.evaluation.pairs import pair_scenes
from amodal_perception_ros.masks import RoiMask

# A car of 100 px at 20 m of which a truck at 10 m hides 40; the prediction finds 20 of them and puts it at 22 m.
HIDDEN_CAR = Thing("car", 1, (2, 2, 12, 12), 20.0)
SHORT_CAR = Thing("car", 1, (2, 2, 10, 12), 22.0)
FRONT_TRUCK = Thing("truck", 2, (8, 0, 16, 14), 10.0)
PIXELS = 32 * 24


def depth_of(truth, predicted, **rules):
    return evaluate_pairs([(truth, predicted)], Rules(**rules))["depth"]


# Depth -------------------------------------------------------------------------------------------------------------


def test_hidden_pixels_fall_back_to_the_visible_depth():
    """20 hidden px at 22 instead of 20 m; the other 20 are charged the truck's 10 m."""
    result = depth_of(street(HIDDEN_CAR, FRONT_TRUCK), street(SHORT_CAR, FRONT_TRUCK))
    assert result["hidden_px"] == 40
    assert result["RMSE_hidden"] == pytest.approx(sqrt((20 * 2**2 + 20 * 10**2) / 40))
    assert result["RMSE_vis"] == pytest.approx(sqrt(60 * 2**2 / PIXELS))


@pytest.mark.parametrize("forget", [amodal_is_visible, lambda scene: without(scene, HIDDEN_CAR.id)])
def test_every_method_is_scored_on_the_same_hidden_pixels(forget):
    """A missed object and one without hidden part both answer with the truck's surface, 10 m too near."""
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    result = depth_of(truth, forget(truth))
    assert (result["hidden_px"], result["RMSE_hidden"]) == (40, 10)


def test_levels():
    """Level 0 (road and truck) is perfect, 1 mm by the floor; level 1: 80 px 2 m off, 20 px fall back, 10 m off."""
    result = depth_of(street(HIDDEN_CAR, FRONT_TRUCK), street(SHORT_CAR, FRONT_TRUCK))
    level_1 = sqrt((80 * 2**2 + 20 * 10**2) / 100)
    assert result["RMSE_0"] == 0
    assert result["RMSE_1"] == pytest.approx(level_1)
    assert result["ADErr"] == pytest.approx(sqrt(1e-3 * level_1))
    level_0_px = PIXELS - 60
    assert result["ADErr_weighted"] == pytest.approx(100 * level_1 / (100 + level_0_px))


def test_object_on_the_wrong_level_is_charged_the_visible_depth():
    truth, predicted = street(HIDDEN_CAR, FRONT_TRUCK), street(HIDDEN_CAR, FRONT_TRUCK)
    predicted.instances[0].occlusion_level = 2
    assert depth_of(truth, predicted)["RMSE_1"] == pytest.approx(sqrt(40 * 10**2 / 100))


def test_levels_do_not_count_fully_hidden_occluders():
    """Truck, then a person wholly behind it, then a car behind both: an image shows the car on level 1, not 2."""
    person = Thing("person", 3, (9, 4, 11, 10), 15.0)
    truth, seen = street(HIDDEN_CAR, FRONT_TRUCK, person), street(HIDDEN_CAR, FRONT_TRUCK)
    truth.order = order([(FRONT_TRUCK.id, person.id), (FRONT_TRUCK.id, HIDDEN_CAR.id), (person.id, HIDDEN_CAR.id)])
    truth.instances[0].occlusion_level = 2
    for predicted in (seen, truth):
        result = evaluate_pairs([(truth, predicted)])
        assert result["order"]["level_accuracy"] == 100
        assert result["depth"]["RMSE_1"] == 0
        assert "RMSE_2" not in result["depth"]


def test_unknown_depth_counts_as_the_limit_and_far_truth_is_not_scored():
    truth, predicted = street(Thing("car", 1, (0, 0, 8, 8), 20.0)), empty_scene()
    predicted.depth[:] = np.nan
    truth.depth[12:] = 200.0
    result = depth_of(truth, predicted, max_depth=80.0)
    assert result["RMSE_vis"] == pytest.approx(sqrt((64 * 60**2 + (12 * 32 - 64) * 30**2) / (12 * 32)))
    predicted.depth[:] = 1000.0
    assert depth_of(truth, predicted, max_depth=80.0)["RMSE_vis"] == pytest.approx(result["RMSE_vis"])


def test_drawn_example_of_depth():
    """The picture in the docstring of `DepthError`."""
    truth = street(Thing("car", 1, (1, 0, 4, 1), 20.0), Thing("truck", 2, (2, 0, 4, 1), 10.0), width=4, height=1)
    predicted = street(Thing("car", 1, (1, 0, 3, 1), 23.0), Thing("truck", 2, (2, 0, 4, 1), 10.0), width=4, height=1)
    result = depth_of(truth, predicted)
    assert result["RMSE_vis"] == 1.5
    assert result["RMSE_hidden"] == pytest.approx(sqrt((3**2 + 10**2) / 2)) == pytest.approx(7.382, abs=1e-3)
    assert result["RMSE_0"] == 0
    assert result["RMSE_1"] == pytest.approx(sqrt((3**2 + 3**2 + 10**2) / 3)) == pytest.approx(6.272, abs=1e-3)
    assert result["ADErr"] == pytest.approx(0.07919, abs=1e-5)
    assert result["ADErr_weighted"] == pytest.approx(3.136, abs=1e-3)
    assert (result["hidden_px"], result["unknown_px"], result["hidden_unknown_px"]) == (2, 0, 0)


def test_perfect_depth_is_the_floor():
    """Level 0 and 1 perfect, 2 to 7 empty: 1 mm in the geometric mean, 0 everywhere else."""
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    result = depth_of(truth, truth)
    assert result["ADErr"] == pytest.approx(1e-3)
    zero = ("ADErr_weighted", "RMSE_vis", "RMSE_hidden", "RMSE_0", "RMSE_1", "unknown_share", "hidden_unknown_share")
    assert [result[name] for name in zero] == [0] * len(zero)
    assert "RMSE_2" not in result


def test_no_depth_at_all():
    """Data sets of masks only: nothing is scored and nothing fails."""
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    truth.depth[:] = np.nan
    for instance in truth.instances:
        instance.depth[:] = np.nan
    assert "depth" not in evaluate_pairs([(truth, street(HIDDEN_CAR, FRONT_TRUCK))])


def test_unknown_pixels_are_counted():
    """The car's amodal depth is unknown in 10 of its 40 hidden px: the truck's 10 m answer, or 80 m for 5 of them."""
    truth, predicted = street(HIDDEN_CAR, FRONT_TRUCK), street(HIDDEN_CAR, FRONT_TRUCK)
    predicted.instances[0].depth[:, 9] = np.nan
    predicted.depth[2:7, 11] = np.nan
    result = depth_of(truth, predicted)
    assert (result["unknown_px"], result["unknown_share"]) == (5, pytest.approx(100 * 5 / PIXELS))
    assert (result["hidden_unknown_px"], result["hidden_unknown_share"]) == (5, 12.5)
    assert result["RMSE_hidden"] == pytest.approx(sqrt((5 * 10**2 + 5 * 60**2) / 40))
    assert result["RMSE_vis"] == pytest.approx(sqrt(5 * 70**2 / PIXELS))


def test_hidden_depth_by_bins():
    """A car at 20 m with 40 % hidden is 2 m off, a person at 41 m with 20 % hidden is missed: 31 m off."""
    person = Thing("person", 3, (6, 14, 16, 19), 41.0)
    front = Thing("truck", 2, (8, 0, 16, 15), 10.0)
    car, far_car = HIDDEN_CAR, HIDDEN_CAR._replace(depth=22.0)
    metric = DepthError()
    truth = street(car, front, person)
    metric.add(pair_scenes(decode(truth), decode(without(street(far_car, front, person), person.id)), Rules()))
    near, missed = ({"RMSE_hidden": error, "hidden_px": px} for error, px in ((2.0, 40), (31.0, 8)))
    assert metric.breakdown("class") == {"person": missed, "car": near}
    assert metric.breakdown("occlusion") == {"0-25%": missed, "25-50%": near}
    assert metric.breakdown("distance") == {"10-20 m": near, "40-80 m": missed}
    assert metric.breakdown("visible_px") == {
        "<64": {"RMSE_hidden": sqrt((40 * 2**2 + 8 * 31**2) / 48), "hidden_px": 48}
    }


def test_objects_without_a_label_image():
    """Depth of data sets that annotate objects only: level 0 is the unoccluded objects, not the ground."""
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    truth.labels[:] = 0
    result = depth_of(truth, street(HIDDEN_CAR, FRONT_TRUCK._replace(depth=12.0)))
    assert (result["RMSE_0"], result["RMSE_1"], result["RMSE_hidden"]) == (2, 0, 0)
    assert result["ADErr_weighted"] == pytest.approx(2 * 112 / (112 + 100))
    assert result["RMSE_vis"] == pytest.approx(sqrt(112 * 2**2 / PIXELS))


def test_any_float_depth_and_masks_that_leave_the_image():
    """A pole one pixel wide and a car half outside, in float64: the same figures as in float32."""
    pole, car = Thing("truck", 2, (4, 0, 5, 24), 10.0), Thing("car", 1, (0, 2, 12, 12), 20.0)
    truth, predicted = street(car, pole), street(car._replace(depth=21.0), pole._replace(depth=11.0))
    for scene in (truth, predicted):
        mask = np.ones((10, 20), bool)
        scene.instances[0].amodal_mask = RoiMask.from_array(mask, -8, 2)
        scene.instances[0].depth = np.full((10, 20), scene.instances[0].amodal_depth, np.float32)
    expected = depth_of(truth, predicted)
    assert (expected["hidden_px"], expected["RMSE_hidden"], expected["RMSE_1"]) == (10, 1, 1)
    for scene in (truth, predicted):
        scene.depth = scene.depth.astype(np.float64)
        for instance in scene.instances:
            instance.depth = instance.depth.astype(np.float64)
    assert depth_of(truth, predicted) == expected


@given(st.floats(0, 20), st.floats(0, 20))
def test_more_depth_error_is_never_better(error, more):
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    results = []
    for added in (error, error + more):
        predicted = street(HIDDEN_CAR, FRONT_TRUCK)
        predicted.depth += np.float32(added)
        for instance in predicted.instances:
            instance.depth = instance.depth + np.float32(added)
        results.append(depth_of(truth, predicted))
    for name in ("ADErr", "ADErr_weighted", "RMSE_vis", "RMSE_hidden", "RMSE_0", "RMSE_1"):
        assert results[0][name] <= results[1][name] + 1e-9


@given(st.integers(0, 2**31))
def test_depth_errors_are_those_of_whole_maps(seed):
    """Tiles, windows and masks against the definition: whole maps D_n of random depth with holes, in float64."""
    rng = np.random.default_rng(seed)
    truth, predicted = (random_street(rng, width=500, height=150) for _ in range(2))
    pair = pair_scenes(decode(truth), decode(predicted), Rules(max_depth=60.0))
    metric = DepthError()
    metric.add(pair)
    result = metric.results()
    seen = np.where(np.isnan(predicted.depth), 60.0, np.clip(predicted.depth, 0.0, 60.0))
    kept = [replace(truth, instances=[i for i, counted in zip(truth.instances, pair.counted) if counted])]
    kept += [replace(predicted, instances=[i for i, bad in zip(predicted.instances, pair.ignored) if not bad])]
    for number, (level, own) in enumerate(zip(*(scene.depth_levels() for scene in kept))):
        level, own = level.astype(float), own.astype(float)
        valid = (level > 0) & (level <= 60)
        error = (np.where(np.isnan(own), seen, np.clip(own, 0, 60)) - level)[valid]
        if valid.any():
            assert result[f"RMSE_{number}"] == pytest.approx(sqrt((error**2).mean()), rel=1e-6, abs=1e-9)
        else:
            assert f"RMSE_{number}" not in result


def random_street(rng, width, height):
    """Overlapping objects without order edges, on random levels, with noisy depth of which a tenth is unknown."""
    names = ("car", "truck", "person")
    corners = rng.integers(0, (width - 10, height - 10), (6, 2))
    ends = corners + rng.integers(2, (200, 60), (6, 2))
    boxes = np.concatenate((corners, ends), 1).tolist()
    scene = street(
        *(Thing(names[n % 3], n + 1, box, 5.0 + 12 * n) for n, box in enumerate(boxes)), width=width, height=height
    )
    scene.order = order([])
    for instance in scene.instances:
        instance.occlusion_level = int(rng.integers(0, 3))
        instance.depth = noisy(rng, instance.depth)
    scene.instances = [i for i in scene.instances if i.visible_mask.area]
    scene.depth = noisy(rng, scene.depth)
    return scene


def noisy(rng, depth):
    noise = rng.normal(0, 5, depth.shape).astype(np.float32)
    return np.where(rng.random(depth.shape) < 0.1, np.float32(np.nan), depth + noise)


# Invariants --------------------------------------------------------------------------------------------------------


def violations(scene):
    metric = InvariantViolations()
    metric.add(decode(scene))
    result = metric.results()
    return {kind: count for kind, count in result["by_kind"].items() if count}, result["violations"]


def test_consistent_scene_has_no_violations():
    assert violations(street(HIDDEN_CAR, FRONT_TRUCK, Thing("person", 3, (4, 4, 6, 11), 5.0))) == ({}, 0)


def test_visible_pixels_outside_the_amodal_mask():
    scene = street(HIDDEN_CAR)
    scene.instances[0].visible_mask = RoiMask.from_array(np.ones((4, 4), bool), 10, 10)
    assert violations(scene) == ({"visible_outside_amodal": 1}, 1)


def test_shared_visible_pixels():
    scene = with_instance(street(HIDDEN_CAR), Thing("car", 3, (4, 4, 8, 8), 19.0), visible=np.ones((24, 32), bool))
    assert violations(scene) == ({"visible_overlap": 1}, 1)


def test_order_edge_without_overlap():
    scene = street(HIDDEN_CAR, Thing("bus", 3, (20, 2, 30, 12), 9.0))
    scene.order = order([(28003, 26001)])
    scene.instances[0].occlusion_level = 1
    assert violations(scene) == ({"edge_without_overlap": 1}, 1)


def test_occluder_behind_its_occludee():
    """The edge is turned round, and the levels with it."""
    scene = street(HIDDEN_CAR, FRONT_TRUCK)
    scene.order = order([(HIDDEN_CAR.id, FRONT_TRUCK.id)])
    scene.instances[0].occlusion_level, scene.instances[1].occlusion_level = 0, 1
    assert violations(scene) == ({"occluder_behind": 1}, 1)
    scene.order.in_cycle[:] = True
    assert violations(scene) == ({}, 0)


def test_hidden_part_in_front_of_the_visible_surface():
    """The truck's surface is at 10 m; the tolerance is 0.2 m + 5 % of the car's depth."""
    for depth, expected in ((9.4, {}), (9.3, {"hidden_in_front": 1})):
        scene = street(HIDDEN_CAR, FRONT_TRUCK)
        scene.order, scene.instances[0].occlusion_level = order([]), 0
        car = scene.instances[0]
        car.depth = np.where(np.isfinite(car.depth), np.float32(depth), np.float32(np.nan))
        assert violations(scene)[0] == expected


def test_cycle_and_levels():
    scene = street(HIDDEN_CAR, FRONT_TRUCK)
    scene.instances[0].occlusion_level = 3
    assert violations(scene) == ({"level_disagrees": 1}, 1)
    scene.order = order([(HIDDEN_CAR.id, FRONT_TRUCK.id), (FRONT_TRUCK.id, HIDDEN_CAR.id)], in_cycle=[True, True])
    assert violations(scene) == ({"unflagged_cycle": 1}, 1)


@pytest.mark.parametrize(("level", "expected"), [(0, {}), (1, {}), (2, {"level_disagrees": 1})])
def test_behind_something_unknown_the_level_may_be_1(level, expected):
    """No order is stated, and the car has a hidden part: on level 1 it is if something without a mask hides it."""
    scene = street(HIDDEN_CAR, FRONT_TRUCK)
    scene.order, scene.instances[0].occlusion_level = order([]), level
    assert violations(scene)[0] == expected


def test_long_chains_are_capped_at_level_7():
    chain = [Thing("car", n, (n, 2, n + 4, 8), float(n)) for n in range(1, 11)]
    scene = street(*chain)
    for instance in scene.instances:
        instance.occlusion_level = min(instance.occlusion_level, 7)
    assert [i.occlusion_level for i in scene.instances] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    assert violations(scene) == ({}, 0)


# Baselines ---------------------------------------------------------------------------------------------------------


def test_amodal_is_visible():
    scene = street(HIDDEN_CAR, FRONT_TRUCK)
    car, truck = amodal_is_visible(scene).instances
    assert car.amodal_mask == car.visible_mask == scene.instances[0].visible_mask
    assert (car.occlusion_level, car.amodal_mask.area, truck.amodal_mask.area) == (0, 60, 112)
    assert len(amodal_is_visible(scene).order) == 0
    assert violations(amodal_is_visible(scene)) == ({}, 0)


def test_filled_boxes():
    """A lamp-post-like truck cuts the car in two: the visible box spans the gap, the amodal box also the end."""
    post = Thing("truck", 2, (5, 0, 7, 14), 10.0)
    wall = Thing("bus", 3, (10, 0, 20, 14), 8.0)
    scene = street(HIDDEN_CAR, post, wall)
    for baseline, right in ((amodal_is_box, 10), (amodal_is_amodal_box, 12)):
        boxed = baseline(scene)
        car = boxed.instance(HIDDEN_CAR.id)
        assert car.amodal_mask.box == (2, 2, right, 12)
        assert car.amodal_mask.area == (right - 2) * 10
        assert np.all(car.depth == 20.0)
        assert car.occlusion_level == 1
        edges = set(zip(boxed.order.occluder_ids.tolist(), boxed.order.occludee_ids.tolist()))
        assert (post.id, HIDDEN_CAR.id) in edges
        assert ((wall.id, HIDDEN_CAR.id) in edges) == (right == 12)
        assert violations(boxed) == ({}, 0)


@pytest.mark.parametrize("depth", [np.nan, 20.0])
def test_boxes_of_unknown_or_equal_depth_hide_nothing(depth):
    """Who is listed first says nothing about who is in front."""
    scene = street(HIDDEN_CAR, FRONT_TRUCK)
    instances = [replace(i, visible_depth=depth, depth=np.full_like(i.depth, depth)) for i in scene.instances]
    boxed = amodal_is_amodal_box(replace(scene, instances=instances))
    assert (len(boxed.order), [i.occlusion_level for i in boxed.instances]) == (0, [0, 0])


def test_box_puts_the_hidden_part_at_the_visible_median():
    scene = street(HIDDEN_CAR, Thing("truck", 2, (5, 0, 7, 14), 10.0))
    car = scene.instances[0]
    car.depth[:, 0] = 18.0
    boxed = amodal_is_box(scene).instances[0]
    assert np.all(boxed.depth[:, 0] == 18.0)
    assert np.all(boxed.depth[:, 3:5] == 20.0)


@pytest.mark.parametrize("baseline", BASELINES.values())
def test_baselines_keep_the_visible_scene(baseline):
    """Fully hidden objects are dropped, and an image without objects stays one."""
    hidden = Thing("person", 3, (9, 4, 12, 10), 15.0)
    scene = street(HIDDEN_CAR, FRONT_TRUCK, hidden)
    result = baseline(scene)
    assert [i.instance_id for i in result.instances] == [HIDDEN_CAR.id, FRONT_TRUCK.id]
    assert all(a.visible_mask == b.visible_mask for a, b in zip(result.instances, scene.instances))
    assert baseline(street()).instances == []


# Errors, table -----------------------------------------------------------------------------------------------------


def test_prediction_of_another_size():
    with pytest.raises(EvaluationError, match=r"pair 0, camera 'front': the prediction is 16 x 8 .* truth is 32 x 24"):
        evaluate_pairs([(street(), empty_scene(width=16, height=8))])


def test_prediction_of_another_camera():
    with pytest.raises(EvaluationError, match="camera 'front': the prediction is for camera 'left'"):
        evaluate_pairs([(street(), street(name="left"))])


def test_duplicate_instance_ids():
    scene = street(HIDDEN_CAR)
    with pytest.raises(EvaluationError, match="frame 7, camera 'front': instance id 26001 appears more than once"):
        Evaluator().add(scene, replace(scene, instances=scene.instances * 2), "frame 7")


def test_instance_id_of_another_class():
    scene = street(HIDDEN_CAR)
    scene.instances[0].instance_id = 27001
    with pytest.raises(EvaluationError, match="instance 27001 has class id 26"):
        evaluate_pairs([(street(), scene)])


def test_order_of_unknown_instances():
    scene = street(HIDDEN_CAR)
    scene.order = order([(26001, 26009)])
    with pytest.raises(EvaluationError, match="names instance 26009"):
        evaluate_pairs([(street(), scene)])


def test_unknown_labels_and_scores():
    scene = street()
    scene.labels[0, 0] = 40001
    with pytest.raises(EvaluationError, match=r"unknown segments \[40001\]"):
        evaluate_pairs([(street(), scene)])
    scene = street(HIDDEN_CAR)
    scene.instances[0].score = float("nan")
    with pytest.raises(EvaluationError, match="instance 26001 has the score nan"):
        evaluate_pairs([(street(), scene)])


@pytest.mark.parametrize("rules", [{"min_visible_px": 0}, {"min_hidden_px": 0}, {"iou_gate": 1.0}, {"max_depth": 0.0}])
def test_senseless_rules(rules):
    with pytest.raises(ValueError, match=next(iter(rules))):
        Rules(**rules)


def test_empty_set_and_frames():
    assert evaluate_pairs([])["images"] == 0
    scenes = [street(name=name) for name in ("front", "left", "front", "left", "front")]
    result = evaluate_pairs([(scene, scene) for scene in scenes])
    assert (result["frames"], result["images"]) == (3, 5)
    assert "order" not in result, "there is no object"
    assert set(result["invariants"]["by_kind"]) == set(KINDS)


def test_table():
    truth = street(HIDDEN_CAR, FRONT_TRUCK)
    results = {"ours": evaluate_pairs([(truth, street(SHORT_CAR, FRONT_TRUCK))])}
    results["amodal := visible"] = evaluate_pairs([(truth, amodal_is_visible(truth))])
    lines = format_table(results).splitlines()
    assert lines[0].split() == ["unit", "ours", "amodal", ":=", "visible"]
    hidden = next(line for line in lines if line.startswith("RMSE hidden"))
    assert hidden.split() == ["RMSE", "hidden", "↓", "m", "7.21●", "10.00"]
    assert not any("hidden cells" in line for line in lines)
    assert len({len(line) for line in lines if line.endswith("●")}) <= 1

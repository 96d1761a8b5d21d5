"""ADIW's hidden depth of single objects: the drawn examples, what alignment forgives, and what is never left out."""

from math import log10, sqrt

import numpy as np
import pytest
from evaluation_scenes import Thing, street, without
from hypothesis import given
from hypothesis import strategies as st

from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.adiw import HiddenDepthQuality, alignment, object_errors
from amodal_perception_ros.evaluation.pairs import Rules, pair_scenes

NAN = np.nan
TRUTH = np.array([10.0, 12, 14, 16, 18])
VISIBLE = np.array([1, 1, 1, 0, 0], bool)


def scored(truth, predicted, rules=None):
    metric = HiddenDepthQuality()
    metric.add(pair_scenes(decode(truth), decode(predicted), rules or Rules()))
    return metric


def quality(truth, predicted, **rules):
    return scored(truth, predicted, Rules(**rules)).results()


# One object --------------------------------------------------------------------------------------------------------


def test_drawn_example_of_one_object():
    predicted = np.array([6.0, 7, 8, 9, 11])
    raw = object_errors(predicted, TRUTH, VISIBLE, ~VISIBLE)
    assert (raw.rmse, raw.delta, raw.pixels) == (7, 0, 2)
    assert raw.log10 == pytest.approx((log10(16 / 9) + log10(18 / 11)) / 2, abs=1e-6)
    assert raw.log10 == pytest.approx(0.23187, abs=1e-5)
    aligned = object_errors(predicted, TRUTH, VISIBLE, ~VISIBLE, align=True)
    assert (aligned.rmse, aligned.delta) == (pytest.approx(sqrt(2)), 1)
    assert aligned.log10 == pytest.approx(log10(20 / 18) / 2, abs=1e-6)
    assert aligned.log10 == pytest.approx(0.02288, abs=1e-5)


def test_drawn_examples_of_alignment():
    fit = alignment(np.array([6.0, 7, 8]), np.array([10.0, 12, 14]))
    assert (fit.scale, fit.shift, fit.is_shift_only) == (pytest.approx(2), pytest.approx(-2), False)
    for predicted, truth in (([6, 7, 8], [14, 12, 10]), ([7, 7, 7], [10, 12, 14]), ([6, 7, 8], [12, 12, 12])):
        fit = alignment(np.array(predicted, float), np.array(truth, float))
        assert (fit.scale, fit.shift, fit.is_shift_only) == (1, 5, True)


def test_alignment_leaves_unknown_depth_out_and_without_any_changes_nothing():
    fit = alignment(np.array([6, NAN, 7, 8], np.float32), np.array([10, 99, 12, 14], np.float32))
    assert (fit.scale, fit.shift) == (pytest.approx(2), pytest.approx(-2))
    for nothing in (np.zeros(0), np.full(3, NAN)):
        fit = alignment(nothing, np.ones(nothing.size))
        assert (fit.scale, fit.shift, fit.is_shift_only) == (1, 0, True)


def test_alignment_is_the_least_squares_fit():
    """The solution of the normal equations, by NumPy."""
    rng = np.random.default_rng(3)
    x = rng.uniform(5, 30, 50)
    y = 1.7 * x - 3 + rng.normal(0, 0.5, 50)
    expected = np.linalg.lstsq(np.stack((x, np.ones_like(x)), 1), y, rcond=None)[0]
    fit = alignment(x, y)
    assert (fit.scale, fit.shift) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


@given(st.floats(0.05, 20), st.floats(-5, 50), st.integers(0, 2**31))
def test_alignment_forgives_scale_and_shift(scale, shift, seed):
    """The aligned figures do not see them; the raw RMSE does."""
    rng = np.random.default_rng(seed)
    predicted, truth = TRUTH + rng.uniform(-0.9, 0.9, 5), TRUTH
    changed = scale * predicted + shift
    before, after = (object_errors(p, truth, VISIBLE, ~VISIBLE, align=True) for p in (predicted, changed))
    assert after.rmse == pytest.approx(before.rmse, abs=1e-6)
    assert after.log10 == pytest.approx(before.log10, abs=1e-6)
    raw = object_errors(changed, truth, VISIBLE, ~VISIBLE).rmse
    assert raw == pytest.approx(sqrt(((np.maximum(changed, 0) - truth)[3:] ** 2).mean()))


@given(st.lists(st.floats(0.5, 60), min_size=5, max_size=5))
def test_perfect_prediction(depths):
    truth = np.array(depths)
    for align in (False, True):
        errors = object_errors(truth, truth, VISIBLE, ~VISIBLE, align=align)
        assert errors.rmse == pytest.approx(0, abs=1e-6)
        assert errors.log10 == pytest.approx(0, abs=1e-6)
        assert errors.delta == 1


@given(st.lists(st.floats(0, 10), min_size=2, max_size=2), st.lists(st.floats(0, 10), min_size=2, max_size=2))
def test_more_error_is_never_better(error, more):
    """All hidden depths too far, and then farther."""
    little, much = (TRUTH + np.array([0, 0, 0, *e]) for e in (error, np.add(error, more)))
    for align in (False, True):
        a, b = (object_errors(p, TRUTH, VISIBLE, ~VISIBLE, align=align) for p in (little, much))
        assert a.rmse <= b.rmse + 1e-9
        assert a.log10 <= b.log10 + 1e-9
        assert a.delta >= b.delta


def test_negative_depth_is_clipped_and_wrong():
    """2 p - 30 fits the visible pixels and turns 9 into -12: 0 after clipping, 16 m off, and not below a ratio."""
    predicted = np.array([20.0, 21, 22, 9, 23])
    errors = object_errors(predicted, TRUTH, VISIBLE, ~VISIBLE, align=True)
    assert errors.rmse == pytest.approx(sqrt((16**2 + 2**2) / 2))
    assert errors.delta == 0.5
    assert np.isfinite(errors.log10)


def test_limit_clips_after_alignment_and_stands_for_the_unknown():
    predicted = np.array([6.0, 7, 8, NAN, 60])
    with pytest.raises(ValueError, match="NaN on 1 scored hidden pixels and there is no limit"):
        object_errors(predicted, TRUTH, VISIBLE, ~VISIBLE)
    for align in (False, True):
        errors = object_errors(predicted, TRUTH, VISIBLE, ~VISIBLE, align=align, limit=50.0)
        assert errors.rmse == pytest.approx(sqrt(((50 - 16) ** 2 + (50 - 18) ** 2) / 2))


def test_only_known_truth_is_scored():
    truth = np.where([0, 0, 0, 0, 1], NAN, TRUTH)
    assert object_errors(TRUTH + 1, truth, VISIBLE, ~VISIBLE).pixels == 1
    assert object_errors(TRUTH, np.full(5, NAN), VISIBLE, ~VISIBLE) is None
    assert object_errors(TRUTH, TRUTH, VISIBLE, np.zeros(5, bool)) is None


def test_arrays_of_different_shapes():
    with pytest.raises(ValueError, match="one shape"):
        object_errors(TRUTH[:4], TRUTH, VISIBLE, ~VISIBLE)


# Scenes ------------------------------------------------------------------------------------------------------------

# Cars of 4 x 1 px of which the truck hides the two right columns.
FOUND = Thing("car", 1, (2, 2, 6, 3), 21.0)
MISSED = Thing("car", 2, (2, 10, 6, 11), 21.0)
TRUCK = Thing("truck", 3, (4, 0, 8, 14), 10.0)


def cars(*things, depths=(20, 22, 20, 22)):
    """Cars (one row of pixels) whose depth changes from column to column, behind the truck."""
    scene = street(*things, TRUCK)
    for thing, instance in zip(things, scene.instances):
        left, top, right, _ = thing.box
        instance.depth = np.array([depths], np.float32)
        seen = scene.labels[top, left:right] == thing.id
        scene.depth[top, left:right][seen] = instance.depth[0, seen]
    return scene


def test_drawn_example_of_two_cars():
    truth = cars(FOUND, MISSED)
    predicted = without(cars(FOUND, MISSED), MISSED.id)
    predicted.instances[0].depth = np.array([[21, 23, 21, 24]], np.float32)
    result = quality(truth, predicted)
    assert result["raw"]["RMSE"] == pytest.approx((sqrt(5 / 2) + sqrt(244 / 2)) / 2)
    assert result["aligned"]["RMSE"] == pytest.approx((sqrt(1 / 2) + sqrt(244 / 2)) / 2)
    assert [result[kind]["delta_1.25"] for kind in ("raw", "aligned")] == [50, 50]
    logs = [log10(21 / 20), log10(24 / 22), log10(20 / 10), log10(22 / 10)]
    assert result["raw"]["log10"] == pytest.approx(sum(logs) / 4, abs=1e-6)
    assert result["raw"]["objects"] == result["aligned"]["objects"] == 2
    assert result["by_visibility"] == {"<=50%": {kind: result[kind] for kind in ("raw", "aligned")}}
    assert (result["matched"], result["shift_only"], result["unknown_px"]) == (50, 0, 0)


def test_strata():
    """20, 25 and 50 % of the cars are hidden; a share of exactly 0.75 is in the middle."""
    boxes = {">75%": (0, 2, 5, 3), "50-75%": (1, 4, 5, 5), "<=50%": (2, 6, 6, 7)}
    things = [Thing("car", n, box, 21.0) for n, box in enumerate(boxes.values(), 1)]
    scene = street(*things, TRUCK)
    result = quality(scene, scene)
    assert list(result["by_visibility"]) == list(boxes)
    for stratum in result["by_visibility"].values():
        assert stratum["raw"] == {"RMSE": 0, "delta_1.25": 100, "log10": 0, "objects": 1}
    assert (result["raw"]["objects"], result["matched"]) == (3, 100)


def test_flat_objects_are_shifted_only():
    """A missed flat car stays wrong by what its front hides: 12 m, although a scale of 0 would make it perfect."""
    car = Thing("car", 1, (2, 2, 6, 3), 22.0)
    truth = street(car, TRUCK)
    result = quality(truth, without(truth, car.id))
    assert result["aligned"]["RMSE"] == 12
    assert (result["matched"], result["shift_only"]) == (0, 100)


def test_scale_and_shift_of_a_whole_prediction():
    """Twice as far and 3 m more: aligned figures stay; those of the raw one do not."""
    truth, predicted = cars(FOUND), cars(FOUND, depths=(20, 23, 21, 24))
    before = quality(truth, predicted)
    predicted.depth = 2 * predicted.depth + 3
    for instance in predicted.instances:
        instance.depth = 2 * instance.depth + 3
    after = quality(truth, predicted)
    for name in ("RMSE", "delta_1.25", "log10"):
        assert after["aligned"][name] == pytest.approx(before["aligned"][name], abs=1e-6)
    assert after["raw"]["RMSE"] > before["raw"]["RMSE"] + 10


def test_unknown_depth_is_charged_the_limit_and_counted():
    truth, predicted = cars(FOUND), cars(FOUND)
    predicted.instances[0].depth = np.array([[20, 22, NAN, 22]], np.float32)
    assert quality(truth, predicted)["raw"]["RMSE"] == pytest.approx(sqrt(10**2 / 2))
    predicted.depth[:] = NAN
    result = quality(truth, predicted, max_depth=50.0)
    assert result["raw"]["RMSE"] == pytest.approx(sqrt(30**2 / 2))
    assert (result["unknown_px"], result["unknown_share"]) == (1, 50)


def test_hidden_truth_beyond_the_limit_or_unknown_does_not_count():
    truth = cars(FOUND, depths=(20, 22, 90, NAN))
    assert quality(truth, truth) == {}
    assert quality(street(TRUCK), street(TRUCK)) == {}


def test_parts_add_up_to_the_whole():
    pairs = [(cars(FOUND, MISSED), cars(FOUND, depths=(21, 22, 24, 25))), (cars(FOUND), cars(FOUND)), (cars(), cars())]
    whole, merged = HiddenDepthQuality(), HiddenDepthQuality()
    for truth, predicted in pairs:
        whole.add(pair_scenes(decode(truth), decode(predicted), Rules()))
        merged.merge(scored(truth, predicted))
    assert merged.results() == whole.results()
    assert whole.results()["raw"]["objects"] == 3

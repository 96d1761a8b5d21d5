"""Temporal stability: a table small enough to work out by hand, and what must hold for any drive."""

import numpy as np
import pytest
from evaluation_scenes import Thing, street, without
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.evaluation import Rules
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.stability import TemporalStability
from amodal_perception_ros.evaluation.pairs import FramePair, pair_scenes

WALL = Thing("bus", 2, (0, 0, 4, 20), 5.0)


def numbered(scene):
    for instance in scene.instances:
        instance.track_id = instance.instance_id % 1000
    return scene


def frame(index, truth, predicted, sequence="drive", rules=None):
    pair = pair_scenes(decode(numbered(truth)), decode(predicted), rules or Rules())
    return FramePair(f"frame {index}", sequence, index, index * 10**8, {truth.camera.name: pair}, [])


def stability(frames, metric=None):
    metric = metric or TemporalStability()
    for one in frames:
        metric.add(one)
    return metric.results()


def car_behind_a_bus():
    """The table drawn in `TemporalStability`: the IoUs are put in by hand, the rest follows from the scenes."""
    truth = street(Thing("car", 1, (2, 2, 12, 12), 20.0), WALL)
    frames = []
    for k, (amodal, hidden, depth, level) in enumerate(
        [(0.8, 0.5, 21, 1), (0.7, 0.1, 19, 1), (0, 0, 0, 0), (0.9, 0.4, 20, 1), (0.6, 0.4, 23, 3)]
    ):
        predicted = street(Thing("car", 1, (2, 2, 12, 12), 20.0), WALL)
        predicted.instances[0].amodal_depth, predicted.instances[0].occlusion_level = depth, level
        if not depth:
            predicted = without(predicted, 26001)
        one = frame(k, truth, predicted)
        pair = one.cameras["front"]
        if depth:
            pair.amodal_iou[0, 0], pair.hidden_iou[0, 0] = amodal, hidden
        pair.counted[1] = False
        frames.append(one)
    return frames


def test_example():
    metric = TemporalStability()
    expected = {
        "flicker": 50,
        "AIoU_change": pytest.approx(20),
        "OIoU_change": pytest.approx(20),
        "depth_error_change": pytest.approx(2.5),
        "level_change": 50,
        "steps": 4,
    }
    assert stability(car_behind_a_bus(), metric) == expected
    assert metric.breakdown("class") == {"car": expected}
    assert metric.breakdown("occlusion") == {"0-25%": expected}
    assert metric.breakdown("distance") == {"10-20 m": expected}


def test_iou_changes_of_drawn_masks():
    """The prediction covers 10 of 10 columns, then 8: the amodal IoU falls by 0.2; no part is hidden."""
    truth = street(Thing("car", 1, (2, 2, 12, 12), 20.0))
    frames = [frame(k, truth, street(Thing("car", 5, (2, 2, right, 12), 20.0))) for k, right in enumerate((12, 10))]
    result = stability(frames)
    assert result["AIoU_change"] == pytest.approx(20)
    assert "OIoU_change" not in result


def test_true_changes_do_not_count():
    """The car drives away and comes out from behind the bus, its prediction 1 m behind it and always right else."""
    frames = []
    for k, (left, depth) in enumerate([(2, 20.0), (3, 22.0), (8, 30.0)]):
        box = (left, 2, left + 8, 10)
        truth = street(Thing("car", 1, box, depth), WALL)
        frames.append(frame(k, truth, street(Thing("car", 1, box, depth + 1.0), WALL)))
    result = stability(frames)
    assert result == {
        "flicker": 0,
        "AIoU_change": 0,
        "OIoU_change": 0,
        "depth_error_change": 0,
        "level_change": 0,
        "steps": 4,
    }


def test_steps_in_which_the_true_level_changes_are_left_out():
    """The bus goes away; the prediction stays on level 1."""
    car = Thing("car", 1, (2, 2, 12, 12), 20.0)
    stuck = street(car)
    stuck.instances[0].occlusion_level = 1
    result = stability([frame(0, street(car, WALL), street(car, WALL)), frame(1, street(car), stuck)])
    assert "level_change" not in result
    assert result["flicker"] == 0


def test_depths_beyond_the_range_and_unknown_ones():
    """The clip is at 30 m: 50 m and unknown are the same answer, 10 m too far; a car at 31 m is not asked for."""
    car = Thing("car", 1, (2, 2, 12, 12), 20.0)
    predicted = [street(car._replace(depth=depth)) for depth in (50.0, float("nan"))]
    rules = Rules(max_depth=30.0)
    frames = [frame(k, street(car), scene, rules=rules) for k, scene in enumerate(predicted)]
    assert stability(frames)["depth_error_change"] == 0
    frames[0] = frame(0, street(car), street(car), rules=rules)
    assert stability(frames)["depth_error_change"] == pytest.approx(10)
    far = car._replace(depth=31.0)
    frames = [frame(k, street(far), street(car), rules=rules) for k in range(2)]
    assert "depth_error_change" not in stability(frames)


def test_only_consecutive_frames_of_one_sequence_and_camera():
    truth = street(Thing("car", 1, (2, 2, 12, 12), 20.0))
    left = street(Thing("car", 1, (2, 2, 12, 12), 20.0), name="left")
    for second in (frame(2, truth, truth), frame(1, truth, truth, "other"), frame(1, left, left)):
        assert stability([frame(0, truth, truth), second]) == {}
    assert stability([frame(0, truth, truth), frame(1, truth, truth)])["steps"] == 1


def test_objects_that_are_not_scored_or_not_followed():
    """Fully hidden in the second frame; without track ids; the id of another object."""
    car, bus = Thing("car", 1, (2, 2, 4, 12), 20.0), Thing("bus", 3, (0, 0, 8, 20), 5.0)
    shown, hidden = street(car), street(car, bus)
    assert stability([frame(0, shown, shown), frame(1, hidden, hidden)]) == {}
    frames = [frame(k, shown, shown) for k in range(2)]
    shown.instances[0].track_id = 0
    assert stability(frames) == {}
    twins = street(car, Thing("car", 2, (8, 2, 12, 12), 20.0))
    frames = [frame(k, twins, twins) for k in range(2)]
    for instance in twins.instances:
        instance.track_id = 4
    assert stability(frames) == {}


# Properties --------------------------------------------------------------------------------------------------------

STATES = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.booleans(), st.booleans()), min_size=1, max_size=5
)


def drawn(states, sequence="drive"):
    """A car behind a bus, at drawn places; the prediction is a little off and sometimes misses one or the other."""
    frames = []
    for k, (x, wall, no_car, no_bus) in enumerate(states):
        bus = Thing("bus", 2, (wall, 0, wall + 6, 20), 5.0)
        truth = street(Thing("car", 1, (x, 2, x + 10, 12), 20.0), bus)
        predicted = street(Thing("car", 1, (x + k % 2, 2, x + 9, 12), 20.0 + k), bus)
        lost = [26001] * no_car + [28002] * no_bus
        frames.append(frame(k, truth, without(predicted, *lost), sequence))
    return frames


@settings(max_examples=25, deadline=None)
@given(STATES)
def test_the_truth_is_perfectly_stable(states):
    frames = [
        frame(k, one.cameras["front"].truth.scene, one.cameras["front"].truth.scene)
        for k, one in enumerate(drawn(states))
    ]
    assert not any(value for key, value in stability(frames).items() if key != "steps")


@settings(max_examples=25, deadline=None)
@given(STATES, STATES)
def test_sequences_add_up(first, second):
    a, b = drawn(first, "a"), drawn(second, "b")
    whole, merged = stability(a + b), TemporalStability()
    for part in (a, b):
        metric = TemporalStability()
        stability(part, metric)
        merged.merge(metric, np.ones(1))
    assert merged.results() == pytest.approx(whole)
    merged.select(0)
    assert merged.results() == pytest.approx(whole)


@settings(max_examples=25, deadline=None)
@given(STATES)
def test_predicted_ids_do_not_matter(states):
    frames, renamed = drawn(states), drawn(states)
    for one in renamed:
        for number, instance in enumerate(one.cameras["front"].predicted.instances):
            instance.track_id = 90 - number
    assert stability(renamed) == stability(frames)

"""Tracking through occlusion: tables small enough to work out by hand, and what must hold for any drive."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import Thing, street, with_instance
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.evaluation import EvaluationError, Rules
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.tracking import BoxTracking, MaskTracking, assign
from amodal_perception_ros.evaluation.pairs import FramePair, pair_scenes
from amodal_perception_ros.scene import AmodalObject

CAR, PERSON = 26, 24
SECOND = 10**9


def box(class_id, x, track_id, seen=True, y=0.0):
    center, size, velocity = np.array([x, y, 0.8]), np.ones(3), np.zeros(3)
    cameras = ("front",) if seen else ()
    return AmodalObject(track_id, class_id, 1.0, center, size, 0.0, velocity, 0.0, float(seen), cameras, 0)


def frame(index, truth, predicted, sequence="drive", cameras=None):
    stamp = 5 * SECOND + index * SECOND
    place = f"sequence {sequence} frame {index}"
    return FramePair(place, sequence, index, stamp, cameras or {}, truth, predicted, ego=np.zeros(2))


def tracked(frames, metric=None):
    metric = metric or BoxTracking()
    for one in frames:
        metric.add(one)
    return metric.results()


# Boxes -------------------------------------------------------------------------------------------------------------


def standing_still():
    """The drive drawn in `BoxTracking`."""
    car = [box(CAR, 10, 1, seen) for seen in (True, False, False, True, True)]
    person = [box(PERSON, 20, 2, seen) for seen in (False, False, True, True, True)]
    found = [[box(CAR, 11, id_)] if id_ else [] for id_ in (7, 7, 0, 9, 9)]
    found[4].append(box(PERSON, 21, 3))
    for predictions in found[:2]:
        predictions.append(box(CAR, 30, 8))
    return [frame(k, [car[k], person[k]], found[k]) for k in range(5)]


def test_example_of_boxes():
    assert tracked(standing_still()) == {
        "hidden_recall": 50,
        "hidden_recall_1s": 100,
        "hidden_recall_2s": 50,
        "hidden_recall_4s": 50,
        "hidden_objects": 2,
        "id_switches": 1,
        "id_switches_occlusion": 1,
        "visible_recall": pytest.approx(100 * 4 / 6),
        "visible_objects": 6,
        "false_per_frame": pytest.approx(2 / 5),
        "ghosts_per_minute": pytest.approx(15),
        "MOTP": pytest.approx(1),
        "MOTA": pytest.approx(25),
    }


def test_breakdown():
    metric = BoxTracking()
    tracked(standing_still(), metric)
    row = {"tracked_hidden_recall": 50, "tracked_hidden_objects": 2}
    assert metric.breakdown("class") == {"car": row}
    assert metric.breakdown("distance") == {"0-10 m": row}
    assert metric.breakdown("occlusion") == {}


def test_hidden_object_that_nobody_saw_is_not_asked_for():
    """Nor is a prediction on it a ghost; a second one there is."""
    hidden = box(CAR, 10, 1, seen=False)
    result = tracked([frame(0, [hidden], [box(CAR, 10.5, 3), box(CAR, 11, 4)])])
    assert "hidden_recall" not in result
    assert result["false_per_frame"] == 1


def test_an_object_that_nobody_saw_gets_what_is_left():
    """The nearer prediction stands for the car that is seen, the other one for the hidden car 1.5 m beside it."""
    truth = [box(CAR, 10, 1), box(CAR, 11, 2, seen=False)]
    result = tracked([frame(0, truth, [box(CAR, 10.2, 3), box(CAR, 12.5, 4)])])
    assert (result["visible_recall"], result["false_per_frame"]) == (100, 0)


def test_range():
    """A true car at 41 m is not asked for; one on it or at 60 m is not wrong, a second one on it is."""
    result = tracked([frame(0, [box(CAR, 41, 1)], [box(CAR, 39.5, 1), box(CAR, 60, 2), box(CAR, 40, 3)])])
    assert result["false_per_frame"] == 1
    assert "visible_recall" not in result
    result = tracked([frame(0, [box(CAR, 40, 1)], [box(CAR, 41, 1)])])
    assert result["visible_recall"] == 100


def test_a_prediction_stays_with_the_object_it_is_on():
    """A car at 40.5 m is seen, one at 39.5 m no longer: the prediction at 40.5 m is not the hidden one."""
    seen, lost = box(CAR, 40.5, 1), box(CAR, 39.5, 2)
    hidden = box(CAR, 39.5, 2, seen=False)
    frames = [frame(0, [seen, lost], [seen, lost]), frame(1, [seen, hidden], [seen])]
    assert tracked(frames)["hidden_recall"] == 0


def test_class_and_gate_decide():
    for predicted, recall in ((box(CAR, 12, 1), 100), (box(CAR, 12.1, 1), 0), (box(PERSON, 10, 1), 0)):
        assert tracked([frame(0, [box(CAR, 10, 1)], [predicted])])["visible_recall"] == recall


def test_a_correspondence_is_kept_while_it_is_valid():
    """At 1 s the other prediction is nearer, but 7 is still within 2 m; at 2 s it is not, and 8 takes over."""
    truth = [box(CAR, 10, 1)]
    frames = [
        frame(0, truth, [box(CAR, 10, 7)]),
        frame(1, truth, [box(CAR, 11.5, 7), box(CAR, 10, 8)]),
        frame(2, truth, [box(CAR, 12.5, 7), box(CAR, 10, 8)]),
    ]
    assert tracked(frames[:2])["id_switches"] == 0
    result = tracked(frames)
    assert (result["id_switches"], result["id_switches_occlusion"]) == (1, 0)


def test_switch_while_hidden_is_one_across_an_occlusion():
    """Found under 9 while it is hidden, and still under 9 when it comes back: one switch."""
    frames = [frame(k, [box(CAR, 10, 1, k != 1)], [box(CAR, 10, id_)]) for k, id_ in enumerate((7, 9, 9, 9))]
    result = tracked(frames)
    assert (result["id_switches"], result["id_switches_occlusion"]) == (1, 1)


def test_switch_long_after_an_occlusion():
    """Hidden at 1 s, found again as itself at 2 s: the change at 3 s has another cause."""
    frames = [frame(k, [box(CAR, 10, 1, k != 1)], [box(CAR, 10, id_)]) for k, id_ in enumerate((7, 7, 7, 9))]
    result = tracked(frames)
    assert (result["id_switches"], result["id_switches_occlusion"]) == (1, 0)


def test_two_swapped_ids_are_two_switches():
    truth = [box(CAR, 10, 1), box(CAR, 20, 2)]
    ids = [(7, 8)] * 3 + [(8, 7)] * 3
    frames = [frame(k, truth, [box(CAR, 10, a), box(CAR, 20, b)]) for k, (a, b) in enumerate(ids)]
    assert tracked(frames)["id_switches"] == 2


def test_sequences_do_not_know_each_other():
    """Ids may be given anew, nothing was seen before, and no time passes between two sequences."""
    first = frame(0, [box(CAR, 10, 1)], [box(CAR, 10, 7), box(CAR, 30, 5)], "a")
    second = frame(9, [box(CAR, 10, 1, seen=False)], [], "b")
    third = frame(11, [box(CAR, 10, 1)], [box(CAR, 10, 8), box(CAR, 30, 5)], "b")
    result = tracked([first, second, third])
    assert result["id_switches"] == 0
    assert "hidden_recall" not in result
    assert result["ghosts_per_minute"] == 60 * 2 / 2


def test_predictions_without_ids_have_no_identities():
    result = tracked([frame(k, [box(CAR, 10, 1, k < 2)], [box(CAR, 10, 0), box(CAR, 30, 0)]) for k in range(4)])
    assert (result["hidden_recall"], result["false_per_frame"]) == (100, 1)
    assert not {"id_switches", "id_switches_occlusion", "ghosts_per_minute", "MOTA"} & set(result)


def test_a_ghost_on_an_empty_street_is_wrong():
    result = tracked([frame(k, [], [box(CAR, 10, 7)]) for k in range(3)])
    assert result == {"false_per_frame": 1, "ghosts_per_minute": 60 / 2}


def test_programs_and_sets_without_boxes_and_sets_without_odometry():
    one = frame(0, [box(CAR, 10, 1)], [box(CAR, 10, 7)])
    assert tracked([replace(one, objects=None), replace(one, ego=None), replace(one, true_objects=None)]) == {}
    assert tracked([replace(one, objects=[])]) == {"visible_recall": 0, "visible_objects": 1, "false_per_frame": 0}


def test_bad_boxes():
    good = box(CAR, 10, 7)
    nowhere = replace(good, center=np.array([np.nan, 0, 0]))
    for predicted, message in (
        ([good, box(CAR, 20, 7)], "sequence drive frame 3: predicted object: track id 7 appears more than once"),
        ([nowhere], "predicted object 7 has its centre at"),
        ([replace(good, class_id=99)], "predicted object 7 has the class id 99"),
    ):
        with pytest.raises(EvaluationError, match=message):
            BoxTracking().add(frame(3, [good], predicted))
    with pytest.raises(EvaluationError, match="true object: track id 7 appears more than once"):
        BoxTracking().add(frame(3, [good, good], []))


@pytest.mark.parametrize(
    ("value", "kept", "match"),
    [
        ([[1.0, 0.9], [0.9, 0.1]], [[0, 0], [0, 0]], [1, 0]),
        ([[1.0, 0.9], [0.9, 0.1]], [[0, 0], [0, 1]], [0, 1]),
        ([[1.0, 0.9], [0.9, -1]], [[1, 0], [0, 0]], [0, -1]),
        ([[0.2, 1.0], [-1, 0.9]], [[0, 0], [0, 0]], [0, 1]),
    ],
)
def test_assignment(value, kept, match):
    """Largest sum; a kept pair goes before it, and before a second pair; two pairs go before one good one."""
    value = np.array(value)
    assert assign(value, value >= 0, np.array(kept, bool)).tolist() == match


# Properties --------------------------------------------------------------------------------------------------------

POSITIONS = st.sampled_from([5.0, 6.0, 10.0, 15.0, 39.0, 45.0])
DRIVES = st.lists(
    st.lists(
        st.tuples(st.sampled_from([CAR, PERSON]), POSITIONS, st.booleans(), st.booleans()), min_size=3, max_size=3
    ),
    min_size=1,
    max_size=6,
)


def drive(states, names, sequence="drive"):
    """Three true objects, each of its own class, with the position, visibility and prediction drawn for each frame."""
    frames = []
    for k, things in enumerate(states):
        truth = [box(CAR, x, n + 1, seen, y=3.0 * n) for n, (_, x, seen, _) in enumerate(things)]
        found = [
            box(class_id, x + 0.5, names[(n + k // 2) % len(names)], y=3.0 * n)
            for n, (class_id, x, _, given_) in enumerate(things)
            if given_
        ]
        frames.append(frame(k, truth, found, sequence))
    return frames


@settings(deadline=None)
@given(DRIVES)
def test_the_truth_is_perfect(states):
    frames = [replace(one, objects=one.true_objects) for one in drive(states, (1, 2, 3))]
    result = tracked(frames)
    for key, value in result.items():
        if "recall" in key or key == "MOTA":
            assert value == 100
        elif key not in ("visible_objects", "hidden_objects"):
            assert value == 0, key


@settings(deadline=None)
@given(DRIVES, st.permutations([1, 2, 3, 4]))
def test_predicted_ids_are_only_names(states, names):
    assert tracked(drive(states, (1, 2, 3, 4))) == tracked(drive(states, [10 * n for n in names]))


@settings(deadline=None)
@given(DRIVES, DRIVES)
def test_sequences_add_up(first, second):
    a, b = drive(first, (1, 2, 3), "a"), drive(second, (4, 5, 6), "b")
    whole, merged = tracked(a + b), BoxTracking()
    for part in (a, b):
        metric = BoxTracking()
        tracked(part, metric)
        merged.merge(metric, np.array([1.0, 2.0]))
    assert merged.results() == pytest.approx(whole)
    merged.select(0)
    assert merged.results() == pytest.approx(whole)


@settings(deadline=None)
@given(DRIVES)
def test_forgetting_a_prediction_never_raises_recall(states):
    frames = drive(states, (1, 2, 3))
    fewer = [replace(one, objects=one.objects[1:]) for one in frames]
    full, less = tracked(frames), tracked(fewer)
    for key in ("hidden_recall", "visible_recall"):
        assert less.get(key, 0) <= full.get(key, 0)


# Masks -------------------------------------------------------------------------------------------------------------

CAR_BOX = (2, 4, 6, 8)
TRUCK = Thing("truck", 9, (0, 0, 12, 16), 5.0)


def following(scene, ids):
    """Give instances track ids by their instance numbers."""
    for instance in scene.instances:
        instance.track_id = ids.get(instance.instance_id % 1000, 0)
    return scene


def image(truth, predicted):
    return pair_scenes(decode(truth), decode(predicted), Rules())


def car_at(box_, number):
    return following(street(Thing("car", number, box_, 20.0)), {number: number})


def passing():
    """The drive drawn in `MaskTracking`."""
    car = following(street(Thing("car", 1, CAR_BOX, 20.0)), {1: 1})
    hidden = following(street(Thing("car", 1, CAR_BOX, 20.0), TRUCK), {1: 1})
    remembered = following(with_instance(street(TRUCK), Thing("car", 4, (2, 4, 5, 8), 20.0)), {4: 4})
    pairs = [image(car, car_at(CAR_BOX, 4)), image(hidden, remembered), image(car, car_at(CAR_BOX, 6))]
    return [frame(k, [], None, cameras={"front": pair}) for k, pair in enumerate(pairs)]


def test_example_of_masks():
    frames = passing()
    assert not frames[1].cameras["front"].truth.visible_px[0]
    assert frames[1].cameras["front"].amodal_iou[0, 1] == 0.75
    metric = MaskTracking()
    assert tracked(frames, metric) == {
        "mask_hidden_recall": 100,
        "mask_hidden_recall_1s": 100,
        "mask_hidden_recall_2s": 100,
        "mask_hidden_recall_4s": 100,
        "mask_hidden_objects": 1,
        "mask_id_switches": 1,
        "mask_id_switches_occlusion": 1,
    }
    row = {"mask_tracked_hidden_recall": 100, "mask_tracked_hidden_objects": 1}
    assert metric.breakdown("class") == {"car": row}
    assert metric.breakdown("distance") == {"10-20 m": row}


def test_instance_hidden_from_the_start_is_not_asked_for():
    assert tracked(passing()[1:2], MaskTracking()) == {}


def test_two_swapped_ids_of_masks_are_two_switches():
    """Whatever the ids are called."""
    places = Thing("car", 1, CAR_BOX, 20.0), Thing("car", 2, (10, 4, 14, 8), 20.0)
    truth = following(street(*places), {1: 1, 2: 2})
    for names in ((1, 2), (70, 7)):
        frames = []
        for k, (a, b) in enumerate([names] * 3 + [names[::-1]] * 3):
            predicted = following(street(*places), {1: a, 2: b})
            frames.append(frame(k, [], None, cameras={"front": image(truth, predicted)}))
        assert tracked(frames, MaskTracking()) == {"mask_id_switches": 2, "mask_id_switches_occlusion": 0}


def test_stamps_that_stand_still():
    """The car is fully hidden in the second frame although no time has passed since it was seen."""
    frames = [replace(one, stamp_ns=0) for one in passing()]
    assert tracked(frames, MaskTracking()) == tracked(passing(), MaskTracking())
    frames = [replace(one, stamp_ns=0) for one in standing_still()]
    result = tracked(frames)
    assert (result["hidden_recall"], result["hidden_recall_1s"]) == (50, 50)
    assert "ghosts_per_minute" not in result


def test_an_object_is_seen_when_any_camera_sees_it():
    """Hidden in the front image, it is not asked for while the left camera shows it, and asked for one second later."""
    front = passing()[1].cameras["front"]
    scene = following(street(Thing("car", 1, CAR_BOX, 20.0), name="left"), {1: 1})
    first = frame(0, [], None, cameras={"front": front, "left": image(scene, scene)})
    second = frame(1, [], None, cameras={"front": front})
    assert "mask_hidden_recall" not in tracked([first], MaskTracking())
    assert tracked([first, second], MaskTracking())["mask_hidden_recall"] == 100


def test_a_prediction_on_a_visible_object_does_not_answer_for_a_hidden_one():
    """Two cars at one place, the nearer seen: the one prediction stands for that one."""
    behind, before = Thing("car", 1, CAR_BOX, 20.0), Thing("car", 2, CAR_BOX, 10.0)
    start = following(street(behind), {1: 1})
    both = following(street(behind, before), {1: 1, 2: 2})
    alone = following(street(before), {2: 2})
    frames = [
        frame(k, [], None, cameras={"front": image(*pair)}) for k, pair in enumerate([(start, start), (both, alone)])
    ]
    assert tracked(frames, MaskTracking())["mask_hidden_recall"] == 0
    frames[1].cameras["front"] = image(both, both)
    assert tracked(frames, MaskTracking())["mask_hidden_recall"] == 100


def test_masks_without_ids():
    """Untracked predictions have recall but no identities; an untracked truth cannot be followed at all."""
    frames = passing()
    for one in frames:
        following(one.cameras["front"].predicted.scene, {})
    result = tracked(frames, MaskTracking())
    assert result["mask_hidden_recall"] == 100
    assert "mask_id_switches" not in result
    for one in frames:
        following(one.cameras["front"].truth.scene, {})
    assert tracked(frames, MaskTracking()) == {}


def test_cameras_have_identities_of_their_own():
    """One object, two cameras, two ids: no switch."""
    pairs = {}
    for name, number in (("front", 4), ("left", 6)):
        truth = following(street(Thing("car", 1, CAR_BOX, 20.0), name=name), {1: 1})
        pairs[name] = image(truth, following(street(Thing("car", number, CAR_BOX, 20.0), name=name), {number: number}))
    frames = [frame(k, [], None, cameras=pairs) for k in range(3)]
    assert tracked(frames, MaskTracking())["mask_id_switches"] == 0


def test_the_same_id_twice_in_an_image():
    scene = following(street(Thing("car", 1, CAR_BOX, 20.0), Thing("car", 2, (10, 4, 14, 8), 20.0)), {1: 5, 2: 5})
    other = following(street(Thing("car", 1, CAR_BOX, 20.0)), {1: 5})
    for pair, whose in ((image(scene, other), "true"), (image(other, scene), "predicted")):
        with pytest.raises(EvaluationError, match=f"camera 'front': {whose} track id 5 appears more than once"):
            MaskTracking().add(frame(0, [], None, cameras={"front": pair}))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(2, 20)), min_size=1, max_size=5))
def test_true_masks_are_perfect(states):
    """A car behind or beside a truck that comes and goes, with the truth as the prediction."""
    frames = []
    for k, (with_car, with_truck, x) in enumerate(states):
        things = [Thing("car", 1, (x, 4, x + 4, 8), 20.0)] * with_car + [TRUCK] * with_truck
        scene = following(street(*things), {1: 1, 9: 9})
        frames.append(frame(k, [], None, cameras={"front": image(scene, scene)}))
    for key, value in tracked(frames, MaskTracking()).items():
        assert value == (100 if "recall" in key else 0) or key == "mask_hidden_objects"

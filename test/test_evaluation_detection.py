"""Average precision of 3-D objects: tables small enough to work out by hand, and a slow second computation."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.evaluation import EvaluationError
from amodal_perception_ros.evaluation.metrics.detection import BoxDetection, average_precision
from amodal_perception_ros.evaluation.pairs import FramePair
from amodal_perception_ros.scene import AmodalObject

CAR, PERSON = 26, 24
SECOND = 10**9


def box(x, score=1.0, track_id=0, class_id=CAR, y=0.0, yaw=0.0, size=(5.0, 2.0, 1.5), visible=1.0):
    """A box in odom; of one with a visible share of 0 no camera sees anything."""
    cameras = ("front",) if visible else ()
    center, velocity = np.array([x, y, 0.75]), np.zeros(3)
    return AmodalObject(track_id, class_id, score, center, np.array(size), yaw, velocity, 0.0, visible, cameras, 0)


def frame(truth, predicted, index=0, sequence="drive"):
    place = f"sequence {sequence} frame {index}"
    return FramePair(place, sequence, index, index * SECOND, {}, truth, predicted, ego=np.zeros(2))


def scored(*frames):
    metric = BoxDetection()
    for one in frames:
        metric.add(one)
    return metric


def figures(truth, predicted):
    return scored(frame(truth, predicted)).results()


def example():
    """The cars drawn in `BoxDetection`; the second one is half hidden."""
    predicted = [
        box(10.3, 0.9, yaw=np.pi, size=(4.0, 2.0, 1.5)),
        box(30.0, 0.8),
        box(21.5, 0.7, yaw=0.2),
    ]
    return frame([box(10, track_id=1), box(20, track_id=2, visible=0.5)], predicted)


AP_NEAR, AP_FAR = 100 * 35.3333333 / 81, 100 * 59.75 / 81

WRONG_FIRST = 20.0
"""A wrong prediction, then the right one: a line from 0 to 1/2, the sum of k / 200 - 0.1 for k = 21..100 over 81."""


def test_example():
    assert scored(example()).results() == pytest.approx(
        {
            "mAP": (AP_NEAR + AP_FAR) / 2,
            "AP_0.5": AP_NEAR,
            "AP_1": AP_NEAR,
            "AP_2": AP_FAR,
            "AP_4": AP_FAR,
            "recall": 100,
            "mATE": 0.9,
            "mASE": 0.1,
            "mAOE": (np.pi + 0.2) / 2,
            "mAOE_half_turn": 0.1,
            "objects": 2,
        }
    )


def test_breakdown_of_the_example():
    """Each bin asks for one car; the false car at 30 m, visible, is wrong where its own bins are."""
    metric = scored(example())
    assert metric.breakdown("class") == {"car": {f"box_{k}": v for k, v in metric.results().items()}}
    by_distance, by_share = metric.breakdown("distance"), metric.breakdown("visibility")
    assert list(by_distance) == ["0-10 m", "10-20 m"]
    assert list(by_share) == [">80%", "40-80%"]
    assert by_distance["0-10 m"]["box_mAP"] == pytest.approx(100)
    assert by_distance["10-20 m"]["box_AP_1"] == 0
    assert by_distance["10-20 m"]["box_AP_2"] == pytest.approx(100)
    assert by_share["40-80%"] == by_distance["10-20 m"]
    # Precision 1, 1/2, 1/3 at recall 1: what comes after full recall costs at that one recall, as in nuScenes' code.
    assert by_share[">80%"]["box_AP_0.5"] == pytest.approx(100 * (89 * 0.9 + 1 / 3 - 0.1) / 81)
    assert by_share[">80%"]["box_mASE"] == pytest.approx(0.2)
    assert by_share["40-80%"]["box_mAOE"] == pytest.approx(0.2)
    assert metric.breakdown("occlusion") == {}


@pytest.mark.parametrize(
    ("share", "name"), [(1, ">80%"), (0.81, ">80%"), (0.8, "40-80%"), (0.4, "0-40%"), (0.01, "0-40%")]
)
def test_bins_of_the_visible_share(share, name):
    assert list(scored(frame([box(10, visible=share)], [])).breakdown("visibility")) == [name]


def test_hidden_object_is_asked_for_once_it_was_seen():
    """A prediction on one that nobody has seen is neither right nor wrong; a second one on it is wrong."""
    hidden = box(10, track_id=1, visible=0)
    assert figures([hidden], [box(10)]) == {}
    other = box(20, track_id=2)
    good = box(20, 0.5)
    assert figures([hidden, other], [box(10, 0.9), good])["mAP"] == pytest.approx(100)
    assert figures([hidden, other], [box(10, 0.9), box(10, 0.8), good])["mAP"] == pytest.approx(WRONG_FIRST)
    later = scored(frame([box(10, track_id=1)], [box(10)]), frame([hidden], [box(13)], 1))
    assert later.results()["objects"] == 2
    row = later.breakdown("visibility")["hidden"]
    assert (row["box_AP_2"], row["box_AP_4"], row["box_recall"]) == (0, pytest.approx(100), 0)
    anew = scored(frame([box(10, track_id=1)], []), frame([hidden], [], 1, "another drive"))
    assert anew.results()["objects"] == 1


def test_prediction_stands_for_the_nearest_object():
    """A prediction nearer to the car that nobody saw does not count; the seen one is left to the next one."""
    truth = [box(10, track_id=1), box(11.5, track_id=2, visible=0)]
    assert figures(truth, [box(11)])["AP_2"] == 0
    assert figures(truth, [box(11), box(9, 0.5)])["AP_2"] == pytest.approx(100)


def test_range():
    """A car at 41 m is not asked for, one on it or at 60 m is not wrong; one found beyond 40 m is right."""
    near, good = box(5, track_id=2), box(5, 0.5)
    assert figures([box(41, track_id=1), near], [box(39.5), box(60), good])["AP_2"] == pytest.approx(100)
    assert figures([near], [box(39.5), good])["AP_2"] == pytest.approx(WRONG_FIRST)
    assert figures([box(40)], [box(41)])["AP_2"] == pytest.approx(100)


def test_threshold_is_open_and_height_does_not_count():
    assert figures([box(10)], [box(12)])["AP_2"] == 0
    high = box(10)
    high.center[2] = 50
    assert figures([box(10)], [high])["mATE"] == 0


def test_class_decides():
    result = figures([box(10), box(20, class_id=PERSON)], [box(10), box(20)])
    assert result["AP_1"] == pytest.approx(100 * (89 * 0.9 + 0.4) / 81 / 2)
    assert result["recall"] == 50


def test_errors_are_means_of_classes():
    truth = [box(10), box(20), box(30, class_id=PERSON)]
    predicted = [box(10), box(21), box(31, class_id=PERSON)]
    assert figures(truth, predicted)["mATE"] == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize(("size", "yaw", "errors"), [(np.nan, 0.0, (1, 0, 0)), (5.0, np.nan, (0, np.pi, np.pi / 2))])
def test_unknown_size_and_heading_count_as_the_worst(size, yaw, errors):
    result = figures([box(10)], [box(10, size=(size, 2.0, 1.5), yaw=yaw)])
    assert (result["mASE"], result["mAOE"], result["mAOE_half_turn"]) == pytest.approx(errors)


@pytest.mark.parametrize(
    ("turn", "full", "half"), [(0.1, 0.1, 0.1), (-3.0, 3.0, np.pi - 3), (2 * np.pi + 1.6, 1.6, np.pi - 1.6)]
)
def test_turns(turn, full, half):
    result = figures([box(10, yaw=1.0)], [box(10, yaw=1.0 + turn)])
    assert (result["mAOE"], result["mAOE_half_turn"]) == pytest.approx((full, half))


def test_nothing_to_score():
    one = example()
    assert scored(replace(one, objects=None), replace(one, ego=None), replace(one, true_objects=None)).results() == {}
    assert figures([], [box(10)]) == {}
    missed = figures([box(10)], [])
    assert missed == {"mAP": 0, "AP_0.5": 0, "AP_1": 0, "AP_2": 0, "AP_4": 0, "recall": 0, "objects": 1}


def test_bad_boxes():
    good = box(10, track_id=7)
    for truth, predicted, message in (
        ([good], [good, box(20, track_id=7)], "predicted object: track id 7 appears more than once"),
        ([good], [replace(good, center=np.array([np.nan, 0, 0]))], "predicted object 7 has its centre at"),
        ([good], [replace(good, existence_probability=np.nan)], "predicted object 7 has the probability nan"),
        ([replace(good, size=np.array([5.0, 0, 1]))], [good], "frame 3: true object 7 has the size"),
        ([replace(good, yaw=np.nan)], [good], "true object 7 has the size .* and the heading nan rad"),
    ):
        with pytest.raises(EvaluationError, match=message):
            BoxDetection().add(frame(truth, predicted, 3))


def test_average_precision_of_weighted_predictions():
    right = np.array([True, False, True])
    assert average_precision(right, 2.0) == pytest.approx(AP_FAR / 100)
    assert average_precision(right, 2.0, np.array([1.0, 0, 1])) == pytest.approx(1)
    assert average_precision(right, 2.0, np.zeros(3)) == 0
    doubled = average_precision(np.repeat(right, 2), 4.0)
    # Twice the same polygon, with corners at half-way: only between the points does it differ.
    assert average_precision(right, 4.0, np.array([2.0, 2, 2])) == pytest.approx(doubled, abs=0.03)


# Properties --------------------------------------------------------------------------------------------------------

PLACES = st.tuples(st.integers(0, 12), st.integers(-1, 1)).map(lambda p: (0.75 * p[0] + 34.0, 0.75 * p[1]))
TRUTHS = st.lists(st.tuples(st.sampled_from([CAR, PERSON]), PLACES, st.sampled_from([0.0, 0.3, 0.6, 1.0])), max_size=5)
FOUND = st.lists(st.tuples(st.sampled_from([CAR, PERSON]), PLACES), max_size=6)
DRIVES = st.tuples(st.lists(st.tuples(TRUTHS, FOUND), min_size=1, max_size=4), st.randoms(use_true_random=False))


def drive(states, random, sequence="drive"):
    """Frames of random places on a grid; every prediction has another score."""
    ranks = random.sample(range(1000), 100)
    frames = []
    for index, (truth, found) in enumerate(states):
        true = [box(x, 1, k + 1, c, y, visible=share) for k, (c, (x, y), share) in enumerate(truth)]
        predicted = [box(x + 0.1, ranks.pop() / 1000, 0, c, y + 0.05, yaw=0.1 * x) for c, (x, y) in found]
        frames.append(frame(true, predicted, index, sequence))
    return frames


def naive(frames, class_id, threshold):
    """AP and true positives (true, predicted) of one class: one prediction of the whole set after the other."""
    seen, truths, predictions = set(), [], []
    for number, one in enumerate(frames):
        for item in one.true_objects:
            if item.cameras:
                seen.add(item.track_id)
            if item.class_id == class_id:
                asked = item.track_id in seen and np.hypot(*item.center[:2]) <= 40
                truths.append((number, item, asked))
        predictions += [(number, item) for item in one.objects if item.class_id == class_id]
    predictions.sort(key=lambda each: -each[1].existence_probability)
    taken, hits, shown, points, pairs = set(), 0, 0, [], []
    positives = sum(asked for *_, asked in truths)
    for number, item in predictions:
        options = []
        for k, (where, true, _) in enumerate(truths):
            distance = float(np.hypot(*(true.center - item.center)[:2]))
            if where == number and k not in taken and distance < threshold:
                options.append((distance, k))
        if options:
            k = min(options)[1]
            taken.add(k)
            if not truths[k][2]:
                continue
            hits += 1
            pairs.append((truths[k][1], item))
        elif np.hypot(*item.center[:2]) > 40:
            continue
        shown += 1
        if positives:
            points.append((Fraction(hits, positives), Fraction(hits, shown)))
    return (read_polygon(points) if positives else None), pairs


def read_polygon(points):
    total = Fraction(0)
    for k in range(11, 101):
        r = Fraction(k, 100)
        before = [p for p in points if p[0] <= r]
        after = [p for p in points if p[0] > r]
        if before and (after or before[-1][0] == r):
            value = before[-1][1]
            if after:
                (r0, p0), (r1, p1) = before[-1], after[0]
                value = p0 + (p1 - p0) * (r - r0) / (r1 - r0)
        else:
            value = points[0][1] if points and not before else Fraction(0)
        total += max(Fraction(0), value - Fraction(1, 10))
    return float(total / 90 / Fraction(9, 10))


@settings(max_examples=150, deadline=None)
@given(DRIVES)
def test_equals_a_slow_second_computation(states):
    frames = drive(*states)
    result = scored(*frames).results()
    values = {t: [naive(frames, c, t)[0] for c in (CAR, PERSON)] for t in (0.5, 1, 2, 4)}
    for threshold, aps in values.items():
        known = [value for value in aps if value is not None]
        if known:
            assert result[f"AP_{threshold:g}"] == pytest.approx(100 * np.mean(known))
    pairs = [found for c in (CAR, PERSON) if (found := naive(frames, c, 2)[1])]
    if pairs:
        distances = [np.mean([np.hypot(*(a.center - b.center)[:2]) for a, b in each]) for each in pairs]
        turns = [np.mean([abs(np.angle(np.exp(1j * (a.yaw - b.yaw)))) for a, b in each]) for each in pairs]
        assert (result["mATE"], result["mAOE"]) == pytest.approx((np.mean(distances), np.mean(turns)))
    else:
        assert "mATE" not in result


@given(DRIVES)
def test_the_truth_is_perfect(states):
    frames = [replace(one, objects=one.true_objects) for one in drive(*states)]
    metric = scored(*frames)
    rows = [
        metric.results(),
        *(row for kind in ("class", "visibility", "distance") for row in metric.breakdown(kind).values()),
    ]
    for row in rows:
        for key, value in row.items():
            if "AP" in key or "recall" in key:
                assert value == pytest.approx(100)
            elif not key.endswith("objects"):
                assert value == pytest.approx(0, abs=1e-7)


@given(DRIVES, DRIVES)
def test_sequences_add_up(first, second):
    a, b = drive(*first, "a"), drive(*second, "b")
    whole, merged = scored(*a, *b), BoxDetection()
    for part, weights in ((a, [1.0, 1, 0]), (b, [1.0, 0, 2])):
        merged.merge(scored(*part), np.array(weights))
    assert_same(merged, whole)
    merged.select(0)
    assert_same(merged, whole)
    merged.select(1)
    assert_same(merged, scored(*a))
    merged.select(None)
    assert_same(merged, whole)


def assert_same(metric, other):
    assert metric.results() == pytest.approx(other.results())
    for kind in ("class", "visibility", "distance"):
        assert metric.breakdown(kind).keys() == other.breakdown(kind).keys()
        for name, row in metric.breakdown(kind).items():
            assert row == pytest.approx(other.breakdown(kind)[name])


@given(DRIVES, st.floats(-3, 3), st.floats(0.1, 1))
def test_scores_are_only_an_order(states, shift, scale):
    frames = drive(*states)
    moved = [
        replace(
            one,
            objects=[replace(o, existence_probability=shift + scale * o.existence_probability) for o in one.objects],
        )
        for one in frames
    ]
    assert_same(scored(*moved), scored(*frames))


@given(DRIVES)
def test_a_false_positive_never_raises_precision(states):
    frames = drive(*states)
    more = [replace(frames[0], objects=[*frames[0].objects, box(20.0, 0.5)]), *frames[1:]]
    before, after = scored(*frames).results(), scored(*more).results()
    for key in before:
        if "AP" in key:
            assert after[key] <= before[key] + 1e-9

"""Parts of a set add up, replicates are weighted sums of parts, and intervals follow from the replicates."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import Thing, street, with_instance, without

from amodal_perception_ros.evaluation.bootstrap import MIN_PARTS, interval, weights
from amodal_perception_ros.evaluation.comparison import compare
from amodal_perception_ros.evaluation.evaluator import Evaluator
from amodal_perception_ros.evaluation.metrics.metric import Sums

CAR, TRUCK = Thing("car", 1, (2, 2, 14, 14), 20.0), Thing("truck", 2, (10, 0, 20, 16), 10.0)
PERSON = Thing("person", 3, (22, 4, 26, 16), 6.0)
TRUTH = street(CAR, TRUCK, PERSON)
SMALL_CAR = Thing("car", 1, (2, 4, 14, 14), 21.0)


SCORES = iter(np.linspace(0.9, 0.1, 100))


def scored(scene):
    """The scene with scores of its own: equal ones would make AP depend on the order of the parts."""
    return replace(scene, instances=[replace(instance, score=float(next(SCORES))) for instance in scene.instances])


def part(*predictions):
    """An evaluator of a sequence whose images hold a car behind a truck, and a person."""
    evaluator = Evaluator()
    for predicted in predictions:
        evaluator.add(TRUTH, predicted)
    return evaluator


PREDICTIONS = {
    "a": [without(TRUTH, CAR.id), TRUTH],
    "b": [street(SMALL_CAR, TRUCK, PERSON), with_instance(TRUTH, Thing("car", 9, (24, 18, 30, 22), 5.0))],
    "c": [without(TRUTH, PERSON.id), street(SMALL_CAR, TRUCK)],
}
PREDICTIONS = {name: [scored(scene) for scene in scenes] for name, scenes in PREDICTIONS.items()}
PARTS = {name: part(*scenes) for name, scenes in PREDICTIONS.items()}


def merged(names, resamples):
    evaluator = Evaluator()
    for name in names:
        evaluator.merge(PARTS[name], name, weights(name, resamples))
    return evaluator


def flat(tree, above=""):
    for key, value in tree.items():
        yield from flat(value, f"{above}{key}.") if isinstance(value, dict) else [(above + key, value)]


def numbers_of(figures):
    """All figures by their place, those of lists of dictionaries (reliability curves) too."""
    for key, value in flat(figures):
        if isinstance(value, list):
            yield from (entry for k, row in enumerate(value) for entry in flat(row, f"{key}.{k}."))
        else:
            yield key, value


class Mean(Sums):
    """Mean of numbers."""

    def __init__(self, numbers=()):
        super().__init__(total=np.array(sum(numbers)), count=np.array(len(numbers)))

    def results(self):
        return {"mean": float(self.sums["total"] / self.sums["count"])}


# Weights and intervals ---------------------------------------------------------------------------------------------


def test_weights_follow_from_the_name_and_are_poisson():
    drawn = weights("town", 20000)
    assert (drawn == weights("town", 20000)).all()
    assert (drawn != weights("village", 20000)).any()
    assert drawn.mean() == pytest.approx(1, abs=0.03)
    assert drawn.var() == pytest.approx(1, abs=0.05)
    assert (drawn == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)


def test_interval_of_the_docstring():
    assert interval(np.array([3, 1, np.nan, 5, 2, 4])) == pytest.approx([1.1, 4.9])


def test_interval_of_a_mean_is_that_of_normal_theory():
    numbers = np.random.default_rng(7).normal(10, 2, 400)
    metric = Mean()
    for k, number in enumerate(numbers):
        metric.merge(Mean([number]), weights(f"part{k}", 1000))
    replicates = []
    for replicate in range(1000):
        metric.select(replicate)
        replicates.append(metric.results()["mean"])
    low, high = interval(np.array(replicates))
    half = 1.96 * numbers.std() / np.sqrt(numbers.size)
    assert (low + high) / 2 == pytest.approx(numbers.mean(), abs=half / 5)
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


@pytest.mark.parametrize(("parts", "wrong"), [(2, 49), (3, 25), (5, 13), (10, 9), (MIN_PARTS, 7)])
def test_intervals_of_few_parts_are_too_narrow(parts, wrong):
    """How many per cent of the 95 % intervals of a mean of normal numbers around 0 leave out 0."""
    random, left_out = np.random.default_rng(0), 0
    for _ in range(1000):
        drawn, numbers = random.poisson(1.0, (200, parts)), random.normal(size=parts)
        with np.errstate(invalid="ignore"):
            low, high = interval(drawn @ numbers / drawn.sum(1))
        left_out += not low <= 0 <= high
    assert left_out / 10 == pytest.approx(wrong, abs=2.5)


# Parts -------------------------------------------------------------------------------------------------------------


def test_parts_add_up_to_the_whole():
    together = part(*PREDICTIONS["a"], *PREDICTIONS["b"])
    whole = merged("ab", 2)
    assert dict(numbers_of(whole.figures())) == pytest.approx(dict(numbers_of(together.figures())))
    assert whole.results()["images"] == together.results()["images"] == 4
    assert whole.excluded == together.excluded


def test_a_replicate_is_the_set_with_parts_repeated():
    """For every figure of every metric: drawing part a twice and c once is scoring them that often."""
    resamples = 12
    evaluator = merged("abc", resamples)
    for replicate in range(resamples):
        for metric in evaluator._metrics():
            metric.select(replicate)
        figures = dict(numbers_of(evaluator.figures()))
        repeated = Evaluator()
        for name in PARTS:
            for _ in range(int(weights(name, resamples)[replicate])):
                repeated.merge(PARTS[name])
        assert figures == pytest.approx(dict(numbers_of(repeated.figures())))
    assert len({tuple(weights(name, resamples)) for name in PARTS}) == 3


def test_average_precision_keeps_a_byte_per_part_and_replicate():
    """Of a large set of single images the weights of the parts are most of what it remembers."""
    metric = dict(merged("abc", 100).images)["instance"]
    assert sum(drawn.nbytes for drawn in metric._part_weights) == 3 * 100


def test_intervals_of_two_parts():
    """Part a finds 5 of 6 objects, part c 4 of 6."""
    evaluator = merged("ac", 40)
    found = evaluator.intervals()
    a, c = weights("a", 40), weights("c", 40)
    with np.errstate(invalid="ignore"):
        expected = 100 * (5 * a + 4 * c) / (6 * a + 6 * c)
    assert np.isnan(expected).any(), "some replicates draw nothing"
    recall = [np.nan if value is None else value for value in found["replicates"]["masks.recall"]]
    assert recall == pytest.approx(expected.tolist(), nan_ok=True)
    assert found["intervals"]["figures"]["masks"]["recall"] == pytest.approx(interval(expected))
    assert interval(expected) == pytest.approx([400 / 6, 500 / 6])
    head = {key: value for key, value in found["intervals"].items() if key != "figures"}
    assert head == {"level": 95, "resamples": 40, "unit": "sequence", "units": 2}


def test_every_figure_that_is_no_count_has_an_interval_around_it():
    evaluator = merged("abc", 100)
    figures, spread = dict(flat(evaluator.figures())), dict(flat(evaluator.intervals()["intervals"]["figures"]))
    assert spread.keys() == {path for path, value in figures.items() if isinstance(value, float)}
    assert all(low <= high for low, high in spread.values())
    low, high = spread["panoptic.strict.APQ"]
    assert low < figures["panoptic.strict.APQ"] < high
    assert dict(flat(evaluator.figures())) == figures, "the whole set is selected again"


def told(value, replicates):
    """Results with one figure, of 20 sequences."""
    return {
        "rules": {},
        "data": {"fingerprint": "town", "sequences": 20, "frames": 20},
        "masks": {"recall": value},
        "intervals": {"resamples": 3, "units": 20, "figures": {"masks": {"recall": interval(np.array(replicates))}}},
        "replicates": {"masks.recall": replicates},
    }


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_differences_are_taken_replicate_by_replicate(order):
    """The example of `compare`, whatever the order of the replicates; the same ones in another order are no pairs."""
    a, b = [50.0, 60.0, 70.0], [51.0, 61.0, 71.0]
    runs = {"A": told(60.0, [a[k] for k in order]), "B": told(61.0, [b[k] for k in order])}
    first, second = compare(runs).rows[0].cells
    assert first.interval == pytest.approx([50.5, 69.5])
    assert second.interval == pytest.approx([51.5, 70.5])
    assert (second.difference, second.difference_interval, second.differs) == (1.0, [1.0, 1.0], True)
    runs["B"] = told(61.0, [b[order[k - 1]] for k in range(3)])
    unpaired = compare(runs).rows[0].cells[1]
    assert unpaired.difference_interval[0] < 0 < unpaired.difference_interval[1]
    assert not unpaired.differs


def test_no_intervals_without_two_parts_or_replicates():
    assert merged("a", 10).intervals() == {}
    evaluator = Evaluator()
    for name in "ab":
        evaluator.merge(PARTS[name])
    assert evaluator.intervals() == {}


def test_fingerprint_tells_truth_and_rules_apart_but_not_the_order_of_parts():
    assert merged("ab", 2).results()["data"] == merged("ba", 2).results()["data"]
    prints = {merged(names, 2).results()["data"]["fingerprint"] for names in ("ab", "ac", "abc")}
    assert len(prints) == 3

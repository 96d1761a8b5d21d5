"""Probabilities: what turns logits into them, fits, what is measured of them, thresholds, and the whole command."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_scenes import drawn, letter_id
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from test_perception import block, car_hides_person
from test_training_data import write_sequences
from training_toy import draw_scene, toy_camera

from amodal_perception_ros.cli import main
from amodal_perception_ros.evaluation import evaluate_pairs
from amodal_perception_ros.evaluation.calibrate import measure
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.logistic import fit_logistic
from amodal_perception_ros.evaluation.metrics.calibration import (
    ScoreCalibration,
    reliability_curve,
    reliability_figures,
    reliability_sums,
)
from amodal_perception_ros.evaluation.metrics.panoptic import StrictQuality
from amodal_perception_ros.evaluation.outcomes import LEAST_SCORE, OBJECT, PIXEL, Outcomes, joined, observe
from amodal_perception_ros.evaluation.pairs import Rules, pair_scenes
from amodal_perception_ros.evaluation.thresholds import choose_thresholds, hidden_iou, quality_sums, thing_quality
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, THINGS
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, WeightsError, load_weights, save_weights
from amodal_perception_ros.perception import PostprocessConfig
from amodal_perception_ros.perception.calibration import Calibration
from amodal_perception_ros.perception.painting import CopyingPainter
from amodal_perception_ros.perception.postprocess import build_scenes
from amodal_perception_ros.perception.preprocess import view_of
from amodal_perception_ros.scene import Rig, Sample, SurroundFrame, SurroundScene

torch.set_num_threads(1)

FITTED = Calibration((1.5, 0.5, -1.0), (2.0, -0.25), (1.0, 3.0), (0.5, 1.0), 0.3, 0.45, 0.5, 12)


def test_the_default_changes_nothing():
    identity, logits = Calibration(), np.array([-3.0, 0.0, 2.0])
    assert np.allclose(identity.scores(np.array([0.1, 0.5, 0.9]), logits), [0.1, 0.5, 0.9])
    for seen in (False, True):
        assert np.allclose(identity.amodal_probability(logits, np.full(3, seen)), 1 / (1 + np.exp(-logits)))
    assert np.allclose(identity.occluded_probability(logits), 1 / (1 + np.exp(-logits)))
    assert identity.amodal_threshold == 0


def test_probabilities_by_hand():
    # logit(0.8) = ln 4: 1.5 ln 4 + 0.5 * 2 - 1 = ln 8
    assert FITTED.scores(np.array([0.8]), np.array([2.0]))[0] == pytest.approx(8 / 9)
    # 0.5 * 2 ln 3 + 1 = ln 3 + 1
    assert FITTED.occluded_probability(np.array([2 * math.log(3)]))[0] == pytest.approx(3 * math.e / (1 + 3 * math.e))
    unseen, seen = FITTED.amodal_probability(np.array([1.0, 1.0]), np.array([False, True]))
    assert unseen == pytest.approx(1 / (1 + math.exp(-1.75)))
    assert seen == pytest.approx(1 / (1 + math.exp(-4)))


@pytest.mark.parametrize("least", [0.3, 0.5, 0.8])
def test_the_mask_is_where_the_probability_is_above_its_threshold(least):
    calibration = replace(FITTED, mask_probability=least)
    on_the_edge = np.array([calibration.amodal_threshold])
    assert calibration.amodal_probability(on_the_edge, np.array([False]))[0] == pytest.approx(least)


def test_certain_tokens_have_finite_scores():
    scores = FITTED.scores(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    assert 0 < scores[0] < 1e-6 < 1 - 1e-6 < scores[1] <= 1


def test_it_travels_with_the_metadata():
    assert Calibration.from_metadata({"model_id": "x"} | FITTED.to_metadata()) == FITTED
    assert Calibration.from_metadata({"model_id": "x"}) == Calibration()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": (1.0, 0.0)}, "score must be 3 finite numbers"),
        ({"score": (0.0, 0.0, 1.0)}, "must rise"),
        ({"score": (1.0, -0.1, 0.0)}, "must rise"),
        ({"amodal": (float("nan"), 0.0)}, "amodal must be 2 finite numbers"),
        ({"amodal": (-1.0, 0.0)}, "must rise"),
        ({"occluded": ("1", 0.0)}, "occluded must be 2 finite numbers"),
        ({"score_threshold": 0.0}, "above 0"),
        ({"mask_probability": 0.0}, "above 0"),
        ({"seen": (0.0, 1.0)}, "seen must rise"),
        ({"score_threshold": 1.0}, "in 0..1"),
        ({"occluded_threshold": -0.1}, "in 0..1"),
        ({"min_hidden_px": -1}, "whole number"),
        ({"min_hidden_px": 2.5}, "whole number"),
    ],
)
def test_nonsense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Calibration(**values)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "cannot be used"),
        ("[1]", "JSON list"),
        (json.dumps({"score": [1, 0, 0]}), "must hold"),
        (FITTED.to_metadata()["calibration"].replace("12", "-12"), "min_hidden_px"),
        (FITTED.to_metadata()["calibration"].replace("0.45", "NaN"), "occluded_threshold"),
    ],
)
def test_a_damaged_entry_is_a_weights_error(entry, message):
    with pytest.raises(WeightsError, match=message):
        Calibration.from_metadata({"calibration": entry})


def test_reliability_by_hand():
    sums = reliability_sums(np.array([0.05, 0.72, 0.78, 1.0]), np.array([0, 1, 0, 1]))
    figures = reliability_figures(sums)
    # Bins 0..0.1: said 0.05, none; 0.7..0.8: said 0.75, half of two; 0.9..1: said 1, all.
    assert figures["ece"] == pytest.approx((0.05 + 2 * 0.25 + 0) / 4)
    assert figures["brier"] == pytest.approx((0.05**2 + 0.28**2 + 0.78**2 + 0) / 4)
    assert figures["nll"] == pytest.approx(-(math.log(0.95) + math.log(0.72) + math.log(0.22)) / 4)
    curve = [(b["from"], b["count"], b["probability"], b["positive"]) for b in reliability_curve(sums)]
    assert curve == [(0.0, 1, 0.05, 0.0), (0.7, 2, pytest.approx(0.75), 0.5), (0.9, 1, 1.0, 1.0)]
    assert reliability_figures(reliability_sums(np.zeros(0), np.zeros(0))) == {}


def test_a_certain_error_costs_much_but_not_everything():
    assert reliability_figures(reliability_sums(np.array([1.0]), np.array([0])))["nll"] == pytest.approx(
        -math.log(1e-6)
    )


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 3), st.floats(-2, 2), st.integers(0, 2**32 - 1))
def test_the_fit_recovers_scale_and_shift_and_is_never_worse(scale, shift, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, 20_000)
    outcome = rng.random(logits.size) < expit(scale * logits + shift)
    fitted = fit_logistic(logits[:, None], outcome, (1.0, 0.0))
    np.testing.assert_allclose(fitted, (scale, shift), atol=0.2)
    before, after = (
        reliability_figures(reliability_sums(p, outcome))
        for p in (expit(logits), expit(fitted[0] * logits + fitted[1]))
    )
    assert after["nll"] <= before["nll"] + 1e-9
    assert after["ece"] < 0.02


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.booleans()), max_size=30))
def test_any_fit_is_a_calibration_and_never_less_likely_than_none(rows):
    logits, outcome = np.array([row[:2] for row in rows]).reshape(-1, 2), np.array([row[2] for row in rows], bool)
    fitted = Calibration(score=fit_logistic(logits, outcome, Calibration().score))

    def loss(calibration):
        p = np.clip(calibration.scores_of_logits(*logits.T), 1e-300, 1 - 1e-16)
        return -np.log(np.where(outcome, p, 1 - p)).sum()

    assert loss(fitted) <= loss(Calibration()) + 1e-6


def test_a_useless_or_a_contrary_logit_gets_no_weight():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 2))
    slope, contrary, _ = fit_logistic(logits, rng.random(5000) < expit(logits[:, 0] - logits[:, 1]), (1.0, 0.0, 0.0))
    assert slope > 0.5
    assert contrary == 0.0


def test_separable_outcomes_give_finite_weights():
    assert max(map(abs, fit_logistic(np.array([[-1.0], [1.0]]), np.array([False, True]), (1.0, 0.0)))) < 10


def calibration_of(*pairs):
    metric = ScoreCalibration()
    for truth, predicted in pairs:
        metric.add(pair_scenes(decode(truth), decode(predicted), Rules()))
    return metric.results()


def with_scores(scene, **scores):
    return replace(
        scene, instances=[replace(i, score=scores.get(LETTER_OF[i.instance_id], 1.0)) for i in scene.instances]
    )


LETTER_OF = {letter_id(letter): letter for letter in "CDTP"}


def test_example_of_the_metric():
    truth = drawn("CCC.TTT.DDD...")
    predicted = with_scores(drawn("CCC.TTT.....PP"), C=0.9, T=0.6, P=0.65)
    result = calibration_of((truth, predicted))
    assert result["score_ece"] == pytest.approx((2 * 0.125 + 0.1) / 3)
    assert result["score_brier"] == pytest.approx((0.01 + 0.16 + 0.4225) / 3)
    assert result["score_nll"] == pytest.approx(-(math.log(0.9) + math.log(0.6) + math.log(0.35)) / 3)
    assert [b["count"] for b in result["reliability"]] == [2, 1]


def test_what_the_metric_leaves_out():
    truth = drawn("CCC.   ....")
    invented = with_scores(drawn("CCC.TTT...."), C=0.8, T=0.3)
    assert calibration_of((truth, invented))["score_ece"] == pytest.approx(0.2), "the truck is on unlabelled ground"
    assert calibration_of((truth, drawn("..........."))) == {}
    assert calibration_of((truth, with_scores(truth, C=1.5))) == {}, "such a score is no probability"


def test_the_evaluation_reports_it():
    scene = drawn("CCC.TTT.")
    assert evaluate_pairs([(scene, scene)])["calibration"]["score_ece"] == 0


class DrawnEngine:
    """Says of any image what was drawn."""

    name, metadata, painter = "drawn", {}, CopyingPainter()

    def __init__(self, output):
        self.output = output

    def run(self, batch):
        return self.output


class DrawnSequence(list):
    name, classes = "drawn", AMODAL_SYNTH_DRIVE


def drawn_street():
    """A car hides the lower half of a person, as `car_hides_person` has it, who is one object too many: a truck."""
    image, scene = draw_scene(toy_camera("front", 128, 64), [(2, 8.0, 24, 32, 80, 56), (0, 12.0, 40, 16, 56, 48)])
    frame = SurroundFrame(0, Rig((scene.camera,)), {"front": image})
    sample = Sample("drawn", 0, frame, SurroundScene(0, {"front": scene}))
    output = car_hides_person()
    truck, kind = 2, [label.name for label in THINGS].index("truck")
    invented = block(2, 6, 24, 30)
    output.class_logits[0, truck] = -50.0
    output.class_logits[0, truck, kind], output.class_logits[0, truck, -1] = 1.0, 0.0
    for masks in output.description[:2]:
        masks[0, truck][invented] = 20.0
    output.boxes[0, truck] = torch.tensor([27 / 32, 4 / 16, 6 / 32, 4 / 16])
    output.quality_logits[0, :3] = torch.tensor([1.0, 2.0, 3.0])
    output.occluded_logits[0, :3] = torch.tensor([4.0, -4.0, 0.5])
    return DrawnEngine(output), DrawnSequence([sample])


@pytest.fixture(scope="module")
def outcomes():
    engine, sequence = drawn_street()
    return joined(list(observe(engine, [sequence, sequence], (128, 64))))


def test_outcomes_of_a_drawn_street(outcomes):
    objects = {int(row["quality_logit"]): row for row in outcomes.objects[outcomes.objects["sequence"] == 1]}
    person, car, truck = (objects[number] for number in (1, 2, 3))
    assert len(outcomes.objects) == 6
    assert (person["right"], car["right"], truck["right"]) == (True, True, False)
    assert (person["occluded"], car["occluded"]) == (True, False)
    assert (person["occluded_logit"], car["occluded_logit"]) == (4.0, -4.0)
    assert truck["thing_logit"] == pytest.approx(1.0, abs=1e-4)
    assert person["hidden_px"] == pytest.approx(16 * 16, abs=4)
    assert person["hidden_iou"] == pytest.approx(1.0, abs=0.02)
    assert (car["hidden_px"], truck["hidden_px"]) == (0, 0)
    names = [AMODAL_SYNTH_DRIVE.labels[row["class_index"]].name for row in (person, car, truck)]
    assert names == ["person", "car", "truck"]
    assert outcomes.true_objects[0].sum(0).tolist() == [2, 1]


def test_pixels_of_a_drawn_street(outcomes):
    """Every second pixel of the person's 16 x 32 and of the car's 56 x 24."""
    pixels = outcomes.pixels[outcomes.pixels["sequence"] == 0]
    assert pixels.size == 8 * 16 + 28 * 12
    assert pixels["inside"].all()
    assert np.count_nonzero(~pixels["seen"]) == 8 * 8, "the lower half of the person"
    assert np.array_equal(pixels["hidden"], ~pixels["seen"])
    assert np.bincount(pixels["object"]).tolist() in ([8 * 16, 28 * 12], [28 * 12, 8 * 16])


def test_quality_without_thresholds_is_that_of_the_evaluation(outcomes):
    engine, sequence = drawn_street()
    view = view_of(sequence[0].frame.rig.cameras[0], (128, 64))
    metric = StrictQuality()
    for scene in build_scenes(
        engine.output, engine.painter, [view], [0], PostprocessConfig(score_threshold=LEAST_SCORE)
    ):
        metric.add(pair_scenes(decode(sequence[0].truth.cameras["front"]), decode(scene), Rules()))
    quality = thing_quality(quality_sums(outcomes, Calibration(score_threshold=LEAST_SCORE)))
    assert quality == pytest.approx((metric.results()["APQ_T"], metric.results()["APQ_T_O"]))
    assert quality[0] == pytest.approx(200 / 3, abs=1), "person and car are perfect, the truck is nothing"


def street_of_spurious_parts():
    """Ten cars with a hidden part that is really there, ten with an invented one, and ten that do not exist."""
    objects = np.zeros(30, OBJECT)
    objects["class_index"], objects["right"], objects["visible_iou"] = 15, np.arange(30) < 20, 0.8
    objects["thing_logit"] = np.where(objects["right"], 2.0, -1.0)
    objects["occluded"], objects["hidden_iou"] = np.arange(30) < 10, np.where(np.arange(30) < 10, 0.6, 0.0)
    objects["occluded_logit"] = np.where(objects["occluded"], 2.0, -2.0)
    objects["hidden_px"] = np.where(objects["occluded"], 50, 5) * objects["right"]
    true_objects = np.zeros((1, len(AMODAL_SYNTH_DRIVE), 2), int)
    true_objects[0, 15] = 20, 10
    return Outcomes(objects, np.zeros(0, PIXEL), true_objects)


def test_thresholds_leave_out_what_costs():
    outcomes = street_of_spurious_parts()
    before = thing_quality(quality_sums(outcomes, Calibration(score_threshold=0.1)))
    assert before == pytest.approx((100 * (16 + 6) / (30 + 20), 100 * 6 / 20))
    chosen = choose_thresholds(outcomes, Calibration())
    # The lowest that are above sigmoid(-1) = 0.27 and sigmoid(-2) = 0.12.
    assert (chosen.score_threshold, chosen.occluded_threshold, chosen.min_hidden_px) == (0.3, 0.15, 0)
    assert thing_quality(quality_sums(outcomes, chosen)) == pytest.approx((100 * (16 + 6) / (20 + 10), 60))


def test_an_area_tells_what_the_probability_does_not():
    outcomes = street_of_spurious_parts()
    outcomes.objects["occluded_logit"] = 0.0
    chosen = choose_thresholds(outcomes, Calibration())
    assert (chosen.occluded_threshold, chosen.min_hidden_px) == (0.0, 8)


def test_hidden_pixels_are_those_of_the_best_overlap():
    """Of an object, 4 pixels say 0.7 (3 of them hidden), 4 say 0.4 (3 hidden) and 8 say 0.2 (1 hidden).

    IoU above 0.65: 3 / (4 + 4); above 0.35: 6 / (8 + 1); above 0.15: 7 / 16.
    """
    pixels = np.zeros(16, PIXEL)
    pixels["logit"] = logit(np.repeat([0.7, 0.4, 0.2], [4, 4, 8]))
    pixels["hidden"] = pixels["inside"] = np.isin(np.arange(16), [0, 1, 2, 4, 5, 6, 8])
    values = [hidden_iou(pixels, Calibration(mask_probability=least)) for least in (0.65, 0.35, 0.15)]
    assert values == pytest.approx([3 / 8, 6 / 9, 7 / 16])
    outcomes = Outcomes(np.zeros(0, OBJECT), pixels, np.zeros((1, len(AMODAL_SYNTH_DRIVE), 2), int))
    assert 0.2 <= choose_thresholds(outcomes, Calibration()).mask_probability < 0.4


def test_measured_on_sequences_that_the_fit_has_not_seen():
    """Tokens twice as sure as they should be: the calibration halves their logits and its error is small elsewhere."""
    rng = np.random.default_rng(0)
    objects = np.zeros(4000, OBJECT)
    objects["sequence"], objects["class_index"] = np.arange(4000) % 4, 15
    truth = rng.normal(0, 1.5, 4000)
    objects["thing_logit"], objects["right"] = 2 * truth, rng.random(4000) < expit(truth)
    true_objects = np.zeros((4, len(AMODAL_SYNTH_DRIVE), 2), int)
    true_objects[:, 15, 0] = 600
    result = measure(Outcomes(objects, np.zeros(0, PIXEL), true_objects), ("a", "b", "c", "d"))
    score = result.figures["score"]
    assert score["count"] == 4000
    assert score["before"]["ece"] > 0.08
    assert score["after"]["ece"] < 0.03
    assert score["after"]["nll"] < score["before"]["nll"]
    np.testing.assert_allclose(result.calibration.score, (0.5, 0, 0), atol=0.1)
    assert "amodal pixel" not in result.figures
    assert re.search(r"score +4000 +0\.", str(result))


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """Three sequences, and untrained weights that claim to have been trained on the third of them."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("held")
    network = AmodalNetwork(NetworkConfig(8, (12, 16, 24, 32), (1, 1, 1, 1), channels=24, tokens=16))
    with torch.no_grad():
        network.instances.generate[-1].bias[-3] += 60.0  # Objects are seen: their visible logits are high.
    told = {"training_sequences": '["c"]', "validation_sequences": '["a", "b"]'}
    save_weights(folder / "raw.safetensors", network, {"model_id": "toy"} | told)
    return write_sequences(folder / "data", ["a", "b", "c"], frames=1), folder / "raw.safetensors"


def test_the_command_writes_calibrated_weights(held, tmp_path, capsys):
    data, weights = held
    out, figures, page = tmp_path / "out.safetensors", tmp_path / "out.json", tmp_path / "out.html"
    command = ["calibrate", "--weights", weights, "--data", data, "--out", out, "--json", figures, "--html", page]
    assert main([*map(str, command)]) == 0
    (before, told), (after, metadata) = load_weights(weights), load_weights(out)
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    assert metadata["calibration_sequences"] == '["a", "b"]'
    assert metadata["model_id"] == told["model_id"]
    calibration, result = Calibration.from_metadata(metadata), json.loads(figures.read_text())
    assert list(calibration.score) == result["calibration"]["score"]
    assert result["figures"]["score"]["after"]["nll"] < result["figures"]["score"]["before"]["nll"]
    assert page.read_text().count("<svg") == 2 * len(result["figures"])
    assert "ECE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (["a", "c"], "sequence c was trained on"),
        (["a", "z"], "no sequence z"),
        (["a"], "needs at least 2 sequences, but the data hold 1 of the 1"),
    ],
)
def test_wrong_sequences_are_refused(held, tmp_path, capsys, sequences, message):
    data, weights = held
    out = tmp_path / "out.safetensors"
    command = ["calibrate", "--weights", weights, "--data", data, "--out", out, "--sequences", *sequences]
    assert main([*map(str, command)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_weights_that_name_no_held_out_sequence_need_names(held, tmp_path, capsys):
    data, weights = held
    network, _ = load_weights(weights)
    save_weights(tmp_path / "bare.safetensors", network, {"model_id": "bare"})
    command = ["calibrate", "--weights", tmp_path / "bare.safetensors", "--data", data, "--out", tmp_path / "out"]
    assert main([*map(str, command)]) == 2
    assert "name some with --sequences" in capsys.readouterr().err


def test_damaged_names_in_the_weights_are_told(held, tmp_path, capsys):
    data, weights = held
    network, told = load_weights(weights)
    save_weights(tmp_path / "odd.safetensors", network, told | {"training_sequences": "c, d"})
    command = ["calibrate", "--weights", tmp_path / "odd.safetensors", "--data", data, "--out", tmp_path / "out"]
    assert main([*map(str, command)]) == 2
    assert "training_sequences of the weights is no list of names: c, d" in capsys.readouterr().err

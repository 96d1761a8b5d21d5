"""Wrong input of an evaluation: an error that names the place, or a count with places at the head of the report."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import Thing, empty_scene, order, street, with_instance
from test_evaluation_run import FRAMES, command, score, write

from amodal_perception_ros.evaluation import EvaluationError, Evaluator, evaluate_pairs
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.invariants import InvariantViolations
from amodal_perception_ros.labels import ClassList
from amodal_perception_ros.masks import RoiMask

CAR, TRUCK = Thing("car", 1, (2, 2, 14, 14), 20.0), Thing("truck", 2, (10, 0, 20, 16), 10.0)
TRUTH = street(CAR, TRUCK)
IMAGE = "frame 7, camera 'front'"


def left_out(predicted, truth=TRUTH):
    """Causes and places after scoring one image."""
    evaluator = Evaluator()
    evaluator.add(truth, predicted, "frame 7")
    results = evaluator.results()
    assert results.get("excluded", {}).keys() == results.get("excluded_places", {}).keys()
    return results.get("excluded", {}), results.get("excluded_places", {})


def altered(scene, number, **changes):
    instances = list(scene.instances)
    instances[number] = replace(instances[number], **changes)
    return replace(scene, instances=instances)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("truth"))


# Counted and named -------------------------------------------------------------------------------------------------


def test_nothing_is_left_out_of_a_perfect_prediction():
    assert left_out(TRUTH) == ({}, {})


def test_fully_hidden_truth_is_named_by_instance():
    person = Thing("person", 3, (12, 4, 14, 10), 15.0)
    causes, places = left_out(TRUTH, street(CAR, TRUCK, person))
    assert causes == {"truth_fully_hidden": 1}
    assert places == {"truth_fully_hidden": [f"{IMAGE}, instance {person.id}"]}


def test_a_mask_that_leaves_the_image_is_cut_and_named():
    """The predicted car reaches 6 columns beyond the left border; inside it is as in the truth."""
    car = TRUTH.instances[0]
    mask = RoiMask.from_array(np.ones((12, 20), bool), x_offset=-6, y_offset=2)
    wide = altered(TRUTH, 0, amodal_mask=mask, depth=np.full((12, 20), 20.0, np.float32))
    causes, places = left_out(wide)
    assert causes == {"prediction_outside_image": 1}
    assert places == {"prediction_outside_image": [f"{IMAGE}, instance {car.instance_id}"]}
    inside = RoiMask.from_array(np.ones((12, 14), bool), x_offset=0, y_offset=2)
    cut = altered(TRUTH, 0, amodal_mask=inside, depth=np.full((12, 14), 20.0, np.float32))
    figures = [evaluate_pairs([(TRUTH, scene)])["panoptic"] for scene in (wide, cut)]
    assert figures[0] == figures[1]
    assert left_out(TRUTH, wide)[0] == {"truth_outside_image": 1}


def test_visible_pixels_outside_the_amodal_mask_do_not_count_and_are_named():
    """A scene refuses such masks; a program may yet change one afterwards."""
    stray = street(CAR, TRUCK)
    mask = stray.instances[1].visible_mask.to_array(24, 32)
    mask[20:22, 25:28] = True
    stray.instances[1].visible_mask = RoiMask.from_array(mask)
    causes, places = left_out(stray)
    assert causes == {"prediction_visible_outside_amodal": 1}
    assert places == {"prediction_visible_outside_amodal": [f"{IMAGE}, instance {TRUCK.id}"]}
    result = evaluate_pairs([(TRUTH, stray)])
    assert result["masks"] == evaluate_pairs([(TRUTH, TRUTH)])["masks"]
    assert result["invariants"]["by_kind"]["visible_outside_amodal"] == 1


def test_unknown_depth_is_charged_and_its_pixels_are_counted():
    predicted = replace(TRUTH, depth=TRUTH.depth.copy())
    predicted.depth[20:22, :10] = np.nan
    causes, places = left_out(predicted)
    assert causes == {"prediction_depth_unknown_px": 20}
    assert places == {"prediction_depth_unknown_px": [IMAGE]}
    charged = evaluate_pairs([(TRUTH, predicted)])["depth"]["RMSE_vis"]
    assert charged == pytest.approx(np.sqrt(20 * (80 - 50) ** 2 / (24 * 32)))


def test_images_without_true_objects_are_scored_and_counted():
    invented = with_instance(empty_scene(), CAR)
    result = evaluate_pairs([(empty_scene(), invented), (TRUTH, TRUTH)])
    assert (result["images"], result["data"]["images_without_objects"]) == (2, 1)
    assert result["per_class"]["car"]["FP"] == 1


def test_only_the_first_places_of_a_cause_are_kept():
    truth = street(*(Thing("person", k, (12, 4, 13 + k % 2, 10), 15.0) for k in range(10, 17)), TRUCK)
    causes, places = left_out(truth, truth)
    assert causes == {"truth_fully_hidden": 7, "prediction_on_excluded_truth": 7}
    assert {len(known) for known in places.values()} == {5}


def test_violations_of_the_docstring():
    car, truck = Thing("car", 1, (0, 0, 2, 4), 10.0), Thing("truck", 2, (4, 0, 5, 4), 20.0)
    scene = street(car, truck)
    scene.order = order([(car.id, truck.id)])
    scene.instances[1].occlusion_level = 1
    metric = InvariantViolations()
    metric.add(decode(scene))
    results = metric.results()
    assert (results["violations"], results["by_kind"]["edge_without_overlap"]) == (1, 1)
    assert results["checked"] == {"images": 1, "instances": 2, "edges": 1}


# Refused, with the place -------------------------------------------------------------------------------------------

OTHERS = ClassList.of("others", stuff={7: "road"}, things={26: "car", 27: "truck"})


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (replace(TRUTH, instances=TRUTH.instances * 2), f"{IMAGE}: instance id {CAR.id} appears more than once"),
        (altered(TRUTH, 0, score=float("nan")), f"{IMAGE}: instance {CAR.id} has the score nan"),
        (altered(TRUTH, 0, instance_id=27001), f"{IMAGE}: instance 27001 has class id 26"),
        (street(CAR, TRUCK, width=40), f"{IMAGE}: the prediction is 40 x 24 pixels, but the truth is 32 x 24"),
        (street(CAR, TRUCK, name="left"), f"{IMAGE}: the prediction is for camera 'left'"),
        (replace(TRUTH, classes=OTHERS), f"{IMAGE}: the prediction speaks the classes of others, the truth those of"),
        (replace(TRUTH, order=order([(26001, 24009)])), f"{IMAGE}: the occlusion order names instance 24009"),
        (replace(TRUTH, labels=TRUTH.labels + np.uint16(60000)), f"{IMAGE}: the label image holds unknown segments"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_place(predicted, message):
    with pytest.raises(EvaluationError) as caught:
        Evaluator().add(TRUTH, predicted, "frame 7")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# On disk, by the command -------------------------------------------------------------------------------------------


def said(capsys, *words):
    """Run the command, which must refuse; return its one line."""
    workers = ("--workers", 1) if "--data" in words else ()
    assert command(*words, *workers) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("amodal: ")]
    assert len(lines) == 1
    return lines[0]


def test_predictions_for_other_frames_are_counted_and_named(data, tmp_path, capsys):
    """One frame too many of the known sequence, and a sequence that the truth lacks."""
    write(tmp_path, frames=FRAMES + 1)
    write(tmp_path, sequences=["village"])
    ours = score(data, ours=tmp_path).runs["ours"]
    assert ours["panoptic"]["strict"]["APQ"] == 100
    assert ours["excluded"] == {"prediction_for_unknown_frame": 1, "prediction_for_unknown_sequence": FRAMES}
    assert ours["excluded_places"] == {
        "prediction_for_unknown_frame": [f"town frame {FRAMES:04d}"],
        "prediction_for_unknown_sequence": ["village"],
    }
    assert command("--data", data, "--predictions", tmp_path, "--workers", 1) == 0
    head = capsys.readouterr().out.split("APQ (strict)")[0]
    assert "prediction_for_unknown_frame" in head
    assert "village" in head


def test_missing_predictions_are_refused(data, tmp_path, capsys):
    short, other, turned = tmp_path / "short", tmp_path / "other", tmp_path / "turned"
    write(short, frames=1)
    write(other, sequences=["village"])
    write(turned, name="left")
    assert "no prediction for frame 0001 of 'town'" in said(capsys, "--data", data, "--predictions", short)
    assert "no prediction for frame 0000 of 'town'" in said(capsys, "--data", data, "--predictions", other)
    assert "camera 'front'" in said(capsys, "--data", data, "--predictions", turned)
    nowhere = tmp_path / "nowhere"
    assert f"{nowhere}: does not exist" in said(capsys, "--data", data, "--predictions", nowhere)


def test_damaged_sequences_are_counted(data, tmp_path):
    write(tmp_path, sequences=["town", "village"])
    next(tmp_path.glob("depth/front/village/*.png")).write_bytes(b"\x89PNG")
    ours = score(tmp_path, ours=tmp_path).runs["ours"]
    assert ours["data"]["sequences"] == 1
    (cause,) = [cause for cause in ours["excluded"] if "cannot be read" in cause]
    assert "village" in ours["excluded_places"][cause][0]


def test_empty_and_doubled_data_are_refused(data, tmp_path, capsys):
    message = said(capsys, "--data", tmp_path, "--predictions", data)
    assert str(tmp_path) in message
    twin = write(tmp_path / "twin")
    message = said(capsys, "--data", data, twin, "--predictions", data)
    assert message.startswith("amodal: sequence town is there twice (")
    assert str(data) in message
    assert str(twin) in message


def test_wrong_words_are_refused(data, tmp_path, capsys):
    run = tmp_path / "run.json"
    assert command("--data", data, "--predictions", data, "--workers", 1, "--json", run) == 0
    capsys.readouterr()
    assert "give --data" in said(capsys)
    assert "give --data" in said(capsys, "--data", data, "--compare", run)
    assert "at least two runs" in said(capsys, "--compare", run)
    assert "--name needs" in said(capsys, "--data", data, "--predictions", data, data, "--name", "one")
    assert "--name needs" in said(capsys, "--data", data, "--predictions", data, data, "--name", "one", "one")
    assert "cannot be called" in said(capsys, "--data", data, "--predictions", data, "--name", "amodal := visible")
    assert f"{tmp_path / 'none.json'}: cannot be read" in said(capsys, "--compare", run, tmp_path / "none.json")
    other = tmp_path / "other.json"
    for content in ("{", "[]", json.dumps({"name": "x"}), json.dumps({"name": "x", "baselines": {}})):
        other.write_text(content)
        assert f"{other}: not written by 'amodal evaluate --json'" in said(capsys, "--compare", run, other)


def test_a_model_says_what_the_data_set_lacks(tmp_path, capsys):
    """Without our description of the sequence it is one of the public data set, which has no calibration."""
    write(tmp_path)
    shutil.rmtree(tmp_path / "images")
    assert command("--data", tmp_path, "--predictions", tmp_path, "--workers", 1) == 0
    capsys.readouterr()
    assert "images/front/town/front_full_0000_rgb.jpg: cannot be read" in said(capsys, "--data", tmp_path)
    for kind in ("sequences", "frames", "depth", "amodal_depth", "lidar", "bboxes", "bev"):
        shutil.rmtree(tmp_path / kind, ignore_errors=True)
    message = "amodal: sequence town has no images and no calibration, which the model needs; score stored predictions"
    assert said(capsys, "--data", tmp_path).startswith(message)
    assert command("--data", tmp_path, "--predictions", tmp_path, "--workers", 1) == 0
    table = capsys.readouterr().out
    assert "AIoU" in table
    assert not any(word in table for word in ("RMSE", "hidden cells", "id switches"))

"""Scoring of sequences: the digest of the truth, what fusion sees, what baselines are told, what is counted once."""

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_scenes import order
from test_datasets_kins import SECOND_RELEASE
from test_evaluation_run import sample, score, write

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter
from amodal_perception_ros.datasets.annotated import Prediction
from amodal_perception_ros.evaluation.decoding import EvaluationError, decode
from amodal_perception_ros.evaluation.digest import TruthDigest
from amodal_perception_ros.evaluation.pairs import Rules
from amodal_perception_ros.evaluation.run import _Total
from amodal_perception_ros.evaluation.scoring import Job, _as_predicted, _Method
from amodal_perception_ros.evaluation.sources import DataSet, StoredPredictions
from amodal_perception_ros.scene import AmodalObject

CAR = AmodalObject(1, 26, 1.0, np.array([9.0, 1, 0]), np.ones(3), 0.0, np.zeros(3), 0.1, 1.0, ("front",), 0)


def frame():
    made = sample(0)
    made.objects = [CAR]
    return made


def digest(made):
    result = TruthDigest("town")
    result.add(made, [decode(scene) for scene in made.truth.cameras.values()])
    return result.hexdigest()


def in_scene(change):
    def changed(made):
        scenes = made.truth.cameras
        scenes["front"] = change(scenes["front"])

    return changed


def first_instance(**changes):
    return in_scene(
        lambda scene: replace(scene, instances=[replace(scene.instances[0], **changes), *scene.instances[1:]])
    )


def deeper(made):
    made.truth.cameras["front"].depth[20, 20] += 0.01


def hidden_deeper(made):
    made.truth.cameras["front"].instances[0].depth[:] += 0.01


def unknown_depth(made):
    made.truth.cameras["front"].depth[20, 20] = np.nan


def moved_box(made):
    made.objects = [replace(CAR, center=CAR.center + 0.01)]


def unseen_box(made):
    made.objects = [replace(CAR, cameras=())]


def other_cell(made):
    made.bev.amodal[7, 7] = 100


def later(made):
    made.frame.stamp_ns += 1


def elsewhere(made):
    made.frame.odom_from_base = made.frame.odom_from_base + 0.01


@pytest.mark.parametrize(
    "change",
    [
        deeper,
        hidden_deeper,
        unknown_depth,
        moved_box,
        unseen_box,
        other_cell,
        later,
        elsewhere,
        first_instance(occlusion_level=2),
        first_instance(track_id=5),
        in_scene(lambda scene: replace(scene, order=order([]))),
    ],
)
def test_digest_tells_all_that_is_scored_apart(change):
    changed = frame()
    change(changed)
    assert digest(changed) != digest(frame())


def test_digest_passes_over_what_machines_round_differently():
    changed = frame()
    changed.truth.cameras["front"].depth += np.float32(1e-5)
    changed.objects = [replace(CAR, center=CAR.center + 1e-9)]
    assert digest(changed) == digest(frame())


def test_fusion_sees_every_frame_whatever_the_truth_holds(tmp_path):
    """Only the first frame has a true grid; the map of the prediction goes on in the others."""
    with SequenceWriter(tmp_path) as writer:
        for k in range(3):
            made = sample(k)
            writer.write(made if k == 0 else replace(made, bev=None))
    (sequence,) = DataSet((tmp_path,)).open(with_images=False)
    method = _Method(_as_predicted, sequence, Rules())
    for k in range(3):
        made = sequence[k]
        assert (made.bev is None) == (k > 0)
        cameras = made.truth.cameras
        _, bev = method._space(made, Prediction(cameras), cameras, "frame")
        assert bev is not None


def test_a_prediction_for_another_camera_is_counted_and_a_missing_one_an_error(tmp_path):
    (sequence,) = DataSet((write(tmp_path),)).open(with_images=False)
    method, scenes = _Method(_as_predicted, sequence, Rules()), sequence[0].truth.cameras
    truth = {"front": decode(scenes["front"])}
    method.check_cameras(truth, Prediction({**scenes, "left": scenes["front"]}), "frame 3")
    assert method.evaluator.excluded == {"prediction_for_unknown_camera": 1}
    assert method.evaluator.excluded.places == {"prediction_for_unknown_camera": ["frame 3, camera 'left'"]}
    with pytest.raises(EvaluationError, match="frame 3: no prediction for camera 'front'"):
        method.check_cameras(truth, Prediction({"left": scenes["front"]}), "frame 3")


def test_baselines_make_their_own_map(tmp_path):
    """The run's grid holds the hidden car; what knows no hidden part cannot be told of it."""
    root = write(tmp_path)
    evaluation = score(root, ours=root)
    assert evaluation.runs["ours"]["occupancy"]["hidden_recall"] == 100
    assert evaluation.baselines["amodal := visible"]["occupancy"]["hidden_recall"] == 0


def test_figures_are_the_same_whenever_they_are_asked_for(tmp_path):
    """What was corrected in the truth is part of the figures, and counted when it is read, not when it is told."""
    path = tmp_path / "kins.json"
    content = json.loads(SECOND_RELEASE)
    content["annotations"][2]["a_segm"] = [[6, 1, 9, 1, 9, 5, 6, 5]]
    path.write_text(json.dumps(content))
    job = Job(DataSet((path,)), {"ours": StoredPredictions(path)}, Rules())
    scorer = job.open()
    total = _Total(job, scorer, 0)
    for part in scorer.score(range(1)):
        total.add(part)
    assert any(cause.startswith("truth_") for cause in total.results("ours")["excluded"])
    assert total.results("ours") == total.results("ours")


def test_repairs_while_reading_are_counted_once(tmp_path):
    """Three images, each a sequence, with an amodal mask that lacks visible pixels: joined in truth, cut in results."""
    one = json.loads(SECOND_RELEASE)
    one["annotations"][2]["a_segm"] = [[6, 1, 9, 1, 9, 5, 6, 5]]
    many = one | {"images": [], "annotations": []}
    for image in (7, 8, 9):
        many["images"].append(one["images"][0] | {"id": image, "file_name": f"{image}.png"})
        entries = [entry | {"id": 100 * image + entry["id"], "image_id": image} for entry in one["annotations"]]
        many["annotations"] += entries
    path = tmp_path / "kins.json"
    path.write_text(json.dumps(many))
    evaluation = score(path, ours=path)
    joined = "truth_amodal masks without part of the visible or hidden mask, joined"
    cut = "prediction_visible or hidden masks that leave the amodal mask, cut"
    excluded = evaluation.runs["ours"]["excluded"]
    assert (excluded[joined], excluded[cut]) == (3, 3)
    assert {results["excluded"].get(joined) for results in evaluation.baselines.values()} == {3}

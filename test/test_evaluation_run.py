"""Evaluation of data sets on disk: stored predictions, a real network, the command and its errors."""

import json

import numpy as np
import pytest
from evaluation_scenes import HEIGHT, WIDTH, Thing, street, without

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter
from amodal_perception_ros.evaluation import BASELINES, EvaluationError, Rules
from amodal_perception_ros.evaluation.run import OURS, evaluate, evaluate_command, stored_predictions
from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, save_weights
from amodal_perception_ros.scene import BevOccupancy, Rig, Sample, SurroundFrame, SurroundScene

FRAMES = 2


def things(frame):
    return (
        Thing("car", 1, (2 + frame, 2, 14 + frame, 14), 20.0),
        Thing("truck", 2, (10, 0, 20, 16), 10.0),
        Thing("person", 3, (22, 4, 26, 16), 6.0),
    )


def true_bev():
    """A grid of unknown cells with one hidden car."""
    visible, amodal = np.full((400, 400), -1, np.int8), np.zeros((400, 400), np.int8)
    amodal[200:205, 300:310] = 100
    semantic = np.where(amodal > 0, BY_NAME["car"].id, BY_NAME["road"].id).astype(np.uint8)
    return BevOccupancy(0, 0.2, (-40.0, -40.0), visible, amodal, semantic, np.zeros((400, 400), np.uint8), 0.2, 2.5)


def sample(frame, change=lambda scene: scene, sequence="town", name="front"):
    scene = change(street(*things(frame), name=name))
    stamp = 100_000_000 * (frame + 1)
    scene.stamp_ns = stamp
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    return Sample(
        sequence,
        frame,
        SurroundFrame(stamp, Rig((scene.camera,)), {name: image}, {name: stamp}, odom_from_base=np.eye(4)),
        SurroundScene(stamp, {name: scene}, "ground truth"),
        [],
        true_bev(),
    )


def write(root, frames=FRAMES, **kwargs):
    with SequenceWriter(root) as writer:
        for frame in range(frames):
            writer.write(sample(frame, **kwargs))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("truth"))


def test_truth_scored_against_itself(data):
    results = evaluate([data], lambda s: s.truth)
    assert list(results) == [OURS, *BASELINES]
    ours = results[OURS]
    assert (ours["frames"], ours["images"]) == (FRAMES, FRAMES)
    assert set(ours["panoptic"]["strict"].values()) == {100}
    assert ours["order"] == {
        "accuracy": 100,
        "direction_accuracy": 100,
        "pairs": 2,
        "edges": 2,
        "share_found": 100,
        "level_accuracy": 100,
    }
    assert ours["invariants"]["violations"] == 0
    assert ours["depth"]["RMSE_hidden"] == pytest.approx(0, abs=0.01)
    assert "hidden_recall" in ours["occupancy"]
    visible = results["amodal := visible"]
    assert visible["masks"]["OIoU"] == 0
    assert visible["depth"]["RMSE_hidden"] == pytest.approx(10, abs=0.01)
    assert visible["depth"]["hidden_px"] == ours["depth"]["hidden_px"]


def test_stored_predictions(data, tmp_path):
    """The car is missing in the stored prediction."""
    stored = write(tmp_path, change=lambda scene: without(scene, 26001))
    ours = evaluate([data], stored_predictions(stored))[OURS]
    assert ours["per_class"]["car"]["FN"] == FRAMES
    assert ours["masks"]["recall"] == pytest.approx(200 / 3)


def test_command_prints_the_table_and_writes_json(data, tmp_path, capsys):
    path = tmp_path / "deep" / "result.json"
    assert evaluate_command([data], predictions=data, json=path) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("APQ (strict)", "OIoU", "RMSE hidden", "amodal := filled box", "left out:"))
    result = json.loads(path.read_text())
    assert result["panoptic"]["strict"]["APQ_T_O"] == 100
    assert set(result["baselines"]) == set(BASELINES)


def test_command_with_a_network(data, tmp_path, capsys):
    """An untrained network scores badly but runs through everything."""
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, AmodalNetwork(NetworkConfig(tokens=8)), {"model_id": "untrained"})
    assert evaluate_command([data], weights=weights, json=tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["images"] == FRAMES
    assert 0 <= result["panoptic"]["strict"]["APQ"] < 50
    assert "ours" in capsys.readouterr().out


def test_rules_reach_every_method(data):
    results = evaluate([data], lambda s: s.truth, Rules(min_visible_px=50))
    assert {r["rules"]["min_visible_px"] for r in results.values()} == {50}
    assert {r["excluded"]["truth_tiny"] for r in results.values()} == {2}


def test_missing_predictions(data, tmp_path):
    short = write(tmp_path / "short", frames=1)
    with pytest.raises(EvaluationError, match="no prediction for frame 1 of sequence town"):
        evaluate([data], stored_predictions(short))
    other = write(tmp_path / "other", sequence="village")
    with pytest.raises(EvaluationError, match="no prediction for frame 0 of sequence town"):
        evaluate([data], stored_predictions(other))
    turned = write(tmp_path / "turned", name="left")
    with pytest.raises(EvaluationError, match="sequence town frame 0: no prediction for camera 'front'"):
        evaluate([data], stored_predictions(turned))

"""The model card says what the file's metadata and the evaluation say, and nothing else."""

import json

import pytest
import torch

from amodal_perception_ros.cli import main
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, save_weights
from amodal_perception_ros.perception.calibration import Calibration
from amodal_perception_ros.viewing.model_card import UNKNOWN, model_card, name_ranges

torch.set_num_threads(1)
SMALL = NetworkConfig(
    stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
)
TRAINED = {
    "model_id": "toy-7",
    "training_sequences": json.dumps(["seq_002001", "seq_002000", "seq_002002", "seq_002100"]),
    "validation_sequences": json.dumps(["seq_002103"]),
    "training_images": "64",
    "steps": "1234",
    "minutes": "56.7",
    "device": "an abacus, 2 cores",
    "command": "amodal train --data data/toy --out runs/toy",
    "torch": "2.0",
    "amodal_depth_relative_stddev": "0.1275",
}


def toy_weights(folder, metadata):
    path = folder / "toy.safetensors"
    save_weights(path, AmodalNetwork(SMALL), metadata)
    return path


def toy_evaluation(folder):
    data = {"sequences": 2, "frames": 4, "images": 16, "fingerprint": "abc", "paths": ["/somewhere/else/val"]}
    content = {
        "name": "ours",
        "source": "weights /somewhere/toy.safetensors, onnxruntime",
        "data": data,
        "rules": {},
        "panoptic": {"strict": {"APQ": 61.234, "APQ_T_O": 12.5}},
        "depth": {"RMSE_hidden": 3.456},
        "intervals": {
            "level": 95,
            "resamples": 200,
            "units": 2,
            "unit": "sequence",
            "figures": {"panoptic": {"strict": {"APQ": [60.04, 62.06]}}},
        },
        "per_condition": {"weather": {"fog": {"frames": 2, "panoptic.strict.APQ": 55.58}}},
        "baselines": {},
    }
    path = folder / "evaluation.json"
    path.write_text(json.dumps(content))
    return path


def row(card, name):
    """Return the cells of the row of that name."""
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_card_repeats_the_metadata(tmp_path):
    calibration = Calibration(score_threshold=0.35).to_metadata()
    card = model_card(toy_weights(tmp_path, TRAINED | calibration))
    assert card.startswith("# Model card: toy-7\n")
    assert row(card, "training sequences (their names end in their seeds)") == [
        "`seq_002000` to `seq_002002` (3), `seq_002100`"
    ]
    assert row(card, "held out for scores on the way, thresholds and calibration") == ["`seq_002103`"]
    for name in ("steps", "minutes", "training_images"):
        assert row(card, name.replace("_", " ")) == [TRAINED[name]]
    assert row(card, "machine") == ["an abacus, 2 cores"]
    assert row(card, "command") == ["`amodal train --data data/toy --out runs/toy`"]
    assert row(card, "score_threshold") == ["`0.35`"]
    assert row(card, "standard deviation of amodal depth, relative to it") == ["0.1275"]
    assert "Fitted on the sequences held out." in card
    assert "At most 9 objects" in card
    assert "Apache-2.0" in card
    assert "None are given" in card
    parameters = sum(value.numel() for value in AmodalNetwork(SMALL).parameters())
    assert row(card, "parameters") == [f"{parameters / 1e6:.2f} million"]
    assert row(card, "thing classes")[0].startswith("person, rider, car")


def test_what_the_file_does_not_record_is_not_invented(tmp_path):
    card = model_card(toy_weights(tmp_path, {"model_id": "bare", "note": "interim"}))
    for name in ("steps", "minutes", "machine", "training images", "command"):
        assert row(card, name) == [UNKNOWN]
    assert "None was fitted" in card
    assert "\ninterim\n" in card


def test_figures_come_with_their_interval_and_command(tmp_path):
    card = model_card(toy_weights(tmp_path, TRAINED), toy_evaluation(tmp_path))
    assert row(card, "APQ (strict)") == ["61.2 %", "60.0 to 62.1"]
    assert row(card, "APQ (strict): APQ_T^O") == ["12.5 %", ""]
    assert "amodal evaluate --data data/val --weights toy.safetensors --engine onnxruntime --json" in card
    assert "scored as: weights toy.safetensors, onnxruntime." in card
    assert "16 images of 2 sequences" in card
    assert row(card, "fog") == ["2", "55.6 %"]
    assert "/somewhere" not in card
    assert "AP_A" not in card


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "none"),
        (["b", "a"], "`a`, `b`"),
        (["s_9", "s_10", "s_11"], "`s_9` to `s_11` (3)"),
        (["s_1", "t_2", "s_3"], "`s_1`, `s_3`, `t_2`"),
    ],
)
def test_consecutive_names_are_one_range(names, text):
    assert name_ranges(names) == text


def test_the_command_writes_the_card_and_refuses_wrong_files(tmp_path, capsys):
    weights, out = toy_weights(tmp_path, TRAINED), tmp_path / "cards" / "toy.md"
    given = ["card", "--weights", str(weights), "--out", str(out)]
    assert main([*given, "--evaluation", str(toy_evaluation(tmp_path))]) == 0
    assert out.read_text() == model_card(weights, tmp_path / "evaluation.json")
    assert main([*given, "--evaluation", str(weights)]) == 2
    assert main(["card", "--weights", str(tmp_path / "absent"), "--out", str(out)]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 2
    assert "not written by 'amodal evaluate --json'" in errors[0]
    assert "no such weights file" in errors[1]

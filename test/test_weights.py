"""Weights files: what a round trip costs, and every kind of wrong file with the one line that explains it."""

import json

import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.labels import LABELS
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, WeightsError, load_weights, save_weights
from amodal_perception_ros.network.weights import ARCHITECTURE, is_onnx

torch.set_num_threads(1)
SMALL = NetworkConfig(
    stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
)
MAX_BYTES = 12_000_000


def make_network(config=SMALL):
    """Return a network whose BatchNorm statistics are not the trivial initial ones."""
    torch.manual_seed(0)
    network = AmodalNetwork(config).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 96), torch.rand(2, 2, 64, 96))
    return network.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    save_weights(path, make_network(), {"model_id": "toy-1", "note": "for tests"})
    return path


def header_of(path):
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata())


def changed(weights, path, tensors=lambda t: t, metadata=lambda m: m):
    """Write a copy of a weights file with other tensors or metadata."""
    save_file(tensors(load_file(str(weights))), str(path), metadata=metadata(header_of(weights)))
    return path


def refused(path, *words):
    """Load a file that must be refused with one line that names it and holds some words."""
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    message = str(caught.value)
    assert isinstance(caught.value, InputError)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def test_what_is_loaded_is_what_was_saved_rounded_to_half_precision(weights):
    network, metadata = load_weights(weights)
    assert (metadata["model_id"], metadata["note"]) == ("toy-1", "for tests")
    assert network.config == SMALL
    assert not network.training
    for (name, loaded), original in zip(network.state_dict().items(), make_network().state_dict().values()):
        assert loaded.dtype == original.dtype, name
        expected = original.half().float() if original.is_floating_point() else original
        assert torch.equal(loaded, expected), name


def test_the_file_holds_half_precision_and_a_second_round_trip_changes_nothing(weights, tmp_path):
    stored = load_file(str(weights))
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    save_weights(tmp_path / "again.safetensors", load_weights(weights)[0], {"model_id": "toy-1", "note": "for tests"})
    again = load_file(str(tmp_path / "again.safetensors"))
    assert all(torch.equal(again[name], value) for name, value in stored.items())
    assert header_of(tmp_path / "again.safetensors") == header_of(weights)


def test_the_file_has_the_usual_permissions(weights, tmp_path):
    (tmp_path / "usual").touch()
    assert weights.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_statistics_beyond_half_precision_stay_exact(tmp_path):
    network = make_network()
    network.trunk.stem[0][1].running_var[0] = 1e6
    path = tmp_path / "large.safetensors"
    save_weights(path, network, {"model_id": "large"})
    kept = [name for name, value in load_file(str(path)).items() if value.dtype == torch.float32]
    assert kept == ["trunk.stem.0.1.running_var"]
    assert torch.equal(load_weights(path)[0].trunk.stem[0][1].running_var, network.trunk.stem[0][1].running_var)


def test_a_round_trip_hardly_changes_the_network(weights):
    network, original = load_weights(weights)[0], make_network()
    image, guidance = torch.rand(1, 3, 64, 96), torch.zeros(1, 2, 64, 96)
    with torch.no_grad():
        loaded, saved = network(image, guidance), original(image, guidance)
    for name in ("stuff_logits", "log_depth", "heat_logits"):
        before, after = getattr(saved, name), getattr(loaded, name)
        assert (after - before).abs().max() < 5e-3 * before.abs().max()


def test_the_default_network_fits_into_the_largest_file(tmp_path):
    path = tmp_path / "default.safetensors"
    save_weights(path, AmodalNetwork(), {"model_id": "default"})
    assert path.stat().st_size <= MAX_BYTES


def test_the_file_says_architecture_configuration_and_classes(weights):
    header = header_of(weights)
    assert header["architecture"] == ARCHITECTURE == "amodal_seeded_fields/2"
    assert NetworkConfig.from_json(header["config"]) == SMALL
    classes = json.loads(header["classes"])
    assert classes["stuff"][:2] == ["road", "sidewalk"]
    assert classes["things"] == ["person", "rider", "car", "bike", "motorcycle", "truck", "bus"]
    assert [*classes["stuff"], *classes["things"]] == [label.name for label in LABELS]


def test_weights_need_a_name_text_and_finite_numbers(tmp_path):
    diverged = AmodalNetwork(SMALL)
    diverged.tokens.classes.bias.data[0] = float("nan")
    path = tmp_path / "w.safetensors"
    for network, metadata, word in (
        (AmodalNetwork(SMALL), {}, "model_id"),
        (AmodalNetwork(SMALL), {"model_id": "x", "steps": 3}, "steps"),
        (diverged, {"model_id": "x"}, "tokens.classes.bias"),
    ):
        with pytest.raises(ValueError, match=word):
            save_weights(path, network, metadata)
    assert list(tmp_path.iterdir()) == []


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


NAME = "tokens.classes.weight"
COUNT = "trunk.stem.0.1.num_batches_tracked"


def other_classes(metadata):
    classes = json.loads(metadata["classes"])
    classes["things"][2] = "tram"
    return {**metadata, "classes": json.dumps(classes)}


def other_config(metadata):
    return {**metadata, "config": json.dumps(json.loads(metadata["config"]) | {"channels": 20})}


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        (None, lambda m: {**m, "architecture": "amodal_seeded_fields/1"}, ["amodal_seeded_fields/1", ARCHITECTURE]),
        (None, lambda m: without(m, "architecture"), ["name no architecture", ARCHITECTURE]),
        (None, other_classes, ['"tram"', '"car"', "AmodalSynthDrive"]),
        (None, lambda m: without(m, "classes"), ["classes None", '"car"']),
        (None, other_config, ["has shape", "20", "train again"]),
        (None, lambda m: {**m, "config": "{"}, ["network configuration", "this version"]),
        (None, lambda m: without(m, "config"), ["network configuration", "this version"]),
        (None, lambda m: {**m, "config": '{"widths": 3}'}, ["network configuration", "this version"]),
        (None, lambda m: {**m, "config": '{"instance_head": "boxes"}'}, ["network configuration", "boxes"]),
        (lambda t: without(t, NAME), None, ["missing", NAME]),
        (lambda t: {**t, "extra": torch.zeros(1)}, None, ["unknown", "extra"]),
        (lambda t: {**t, NAME: t[NAME][:2].clone()}, None, [NAME, "(2, 16)", "(8, 16)"]),
        (lambda t: {**t, NAME: t[NAME] * float("nan")}, None, [NAME, "not finite"]),
        (lambda t: {**t, NAME: t[NAME].long()}, None, [NAME, "torch.int64", "torch.float32"]),
        (lambda t: {**t, COUNT: t[COUNT].float()}, None, [COUNT, "torch.float32", "torch.int64"]),
    ],
)
def test_foreign_weights_are_refused_by_name(weights, tmp_path, tensors, metadata, words):
    same = {"tensors": tensors, "metadata": metadata}
    path = changed(weights, tmp_path / "bad.safetensors", **{k: v for k, v in same.items() if v is not None})
    refused(path, *words)


def test_a_truncated_file_is_refused_at_any_length(weights, tmp_path):
    content, path = weights.read_bytes(), tmp_path / "cut.safetensors"
    for length in (1, 5, 8, 9, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(path, "not a complete safetensors file", f"{length} bytes", "copy the file again")


def test_an_empty_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    (tmp_path / "empty.safetensors").touch()
    refused(tmp_path / "empty.safetensors", "empty", "copy the file again")
    refused(tmp_path / "absent.safetensors", "no such weights file", "amodal train")
    refused(tmp_path, "a folder", ".safetensors")


def test_files_of_another_kind_are_refused(weights, tmp_path):
    path = tmp_path / "model.safetensors"
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph, producer_name="pytorch"), str(path))
    assert is_onnx(path)
    assert not is_onnx(weights)
    refused(path, "ONNX", "engine onnxruntime")
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(path, "not a safetensors file", "amodal train")
    torch.save({"a": torch.zeros(3)}, path)
    refused(path, "not a safetensors file")

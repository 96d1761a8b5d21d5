"""The bench that compares engines: what it counts as equal, and that ONNX Runtime is within its tolerances."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from dataset_samples import make_rig, make_sample

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, save_weights
from amodal_perception_ros.perception import Perception, PostprocessConfig
from amodal_perception_ros.perception.engine import OnnxEngine
from amodal_perception_ros.perception.export import export_onnx
from amodal_perception_ros.perception.preprocess import prepare

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from engine_agreement import Agreement, Tap, compare, equal_scenes
from inference.quantization import quantize

torch.set_num_threads(1)
SIZE = (96, 64)
ALL_TOKENS = PostprocessConfig(score_threshold=0.05)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    config = NetworkConfig(widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, tokens=16)
    network = AmodalNetwork(config)
    with torch.no_grad():  # Seeds and scores are not nearly equal: engines may rank such in another order.
        network.dense.heat[-1].weight *= 30
        network.tokens.classes.weight *= 3
    save_weights(path, network, {"model_id": "untrained"})
    return path


@pytest.fixture(scope="module")
def samples():
    return [make_sample(index, rig=make_rig(*SIZE)) for index in range(2)]


def perception(weights, engine):
    return Perception.from_weights(weights, engine, "cpu", input_size=SIZE, cameras=2, config=ALL_TOKENS, threads=1)


def test_onnx_runtime_is_within_its_tolerances(weights, samples, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = compare(samples, {name: perception(weights, name) for name in ("torch", "onnxruntime")})
    assert found["onnxruntime"].problems(found["torch"]) == []
    assert found["onnxruntime"].mean("pixels") > 0.999
    assert found["onnxruntime"].sums["scenes"][1] == 4
    assert found["torch"].scores == pytest.approx(found["onnxruntime"].scores, abs=0.1)
    assert found["torch"].largest["map_visible"] == 0


def test_another_network_is_outside_them(weights, samples, tmp_path):
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    config = NetworkConfig(widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, tokens=16)
    save_weights(other, AmodalNetwork(config), {"model_id": "other"})
    found = compare(samples[:1], {"a": perception(weights, "torch"), "b": perception(other, "torch")})
    assert found["b"].mean("scenes") == 0
    assert any("stuff_logits" in line for line in found["b"].problems(found["a"]))


def test_scenes_are_equal_only_with_equal_labels_masks_levels_and_edges(samples):
    def scene():
        return make_sample(0, rig=make_rig(*SIZE)).truth.cameras["front"]

    assert equal_scenes(scene(), scene())
    pixel, level, edge, mask, fewer = (scene() for _ in range(5))
    pixel.labels[0, 0] = 11000
    level.instances[0].occlusion_level += 1
    edge.order = dataclasses.replace(edge.order, occluder_ids=edge.order.occludee_ids)
    mask.instances[0].amodal_mask = mask.instances[1].amodal_mask
    fewer.instances.pop()
    for changed in (pixel, level, edge, mask, fewer):
        assert not equal_scenes(changed, scene())


def test_means_and_largest_differences_are_those_of_the_numbers(weights, samples):
    tap = Tap(perception(weights, "torch").engine)
    tap.run(prepare(samples[0].frame, SIZE))
    stuff, seeds, quality = (tap.values[name] for name in ("stuff_logits", "seed_index", "quality_logits"))
    agreement = Agreement()
    agreement.add_outputs({**tap.values, "stuff_logits": stuff + 0.5, "seed_index": seeds.roll(1, 1)}, tap.values)
    assert agreement.mean("stuff_logits") == pytest.approx(0.5, rel=1e-4)
    assert agreement.largest["stuff_logits"] == pytest.approx(0.5, rel=1e-4)
    assert agreement.mean("log_depth") == 0
    assert agreement.mean("seeds") == 1
    # Each token is compared with the other engine's token of the same seed, wherever it stands in the list.
    expected = (quality - quality.roll(-1, 1)).abs().mean()
    assert agreement.mean("quality_logits") == pytest.approx(float(expected), rel=1e-4)
    masks = tap.values["map_amodal"]
    assert masks.shape == (2, 16, 32, 48)
    assert agreement.mean("map_amodal") == pytest.approx(float((masks - masks.roll(-1, 1)).abs().mean()), rel=1e-4)


def test_the_int8_form_is_near_and_keeps_heads_and_metadata(weights, samples, tmp_path):
    model = export_onnx(weights, tmp_path / "float.onnx", SIZE, 2)
    batches = [prepare(sample.frame, SIZE) for sample in samples]
    quantize(model, tmp_path / "int8.onnx", batches)
    exact, lowered = (OnnxEngine(tmp_path / name, "cpu", 1) for name in ("float.onnx", "int8.onnx"))
    assert lowered.metadata == exact.metadata
    assert lowered.metadata["model_id"] == "untrained"
    expected, found = exact.run(batches[0]), lowered.run(batches[0])
    difference = (found.stuff_logits - expected.stuff_logits).abs().mean()
    assert 0 < difference < 0.05 * expected.stuff_logits.std()

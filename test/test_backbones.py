"""Encoders of the transformers library in the network: loaded by name, trained, frozen, stored, exported."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from test_training_data import write_sequences
from transformers import (
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    SegformerConfig,
    SegformerForImageClassification,
    SwinConfig,
    SwinModel,
)

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, load_weights, save_weights
from amodal_perception_ros.network.config import IMAGENET_MEAN, BackboneConfig
from amodal_perception_ros.network.pretrained import new_network
from amodal_perception_ros.perception.export import export_onnx
from amodal_perception_ros.training.config import load_config
from amodal_perception_ros.training.state import new_state, parameter_groups
from amodal_perception_ros.training.train import train

torch.set_num_threads(1)
SIZE = (128, 96)
SMALL = {"channels": 16, "mask_channels": 6, "tokens": 9}
ENCODERS = {
    "dinov2": (
        Dinov2Model,
        Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14),
        [(8, 24, 32), (16, 12, 16), (32, 6, 8), (32, 3, 4)],
    ),
    "swin": (
        SwinModel,
        SwinConfig(embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4, image_size=64),
        [(16, 24, 32), (32, 12, 16), (64, 6, 8), (128, 3, 4)],
    ),
    "segformer": (
        SegformerForImageClassification,
        SegformerConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
        [(8, 24, 32), (16, 12, 16), (24, 6, 8), (32, 3, 4)],
    ),
    "convnext": (
        ConvNextModel,
        ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]),
        [(8, 24, 32), (16, 12, 16), (24, 6, 8), (32, 3, 4)],
    ),
}


@pytest.fixture(scope="module", params=ENCODERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders as the hub has them: weights of a model with its own head or none, and the statistics of its input."""
    root = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    for name, (model, config, _) in ENCODERS.items():
        model(config).save_pretrained(root / name)
    statistics = {
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.5, 0.6, 0.7],
        "image_processor_type": "BitImageProcessor",
    }
    (root / "dinov2" / "preprocessor_config.json").write_text(json.dumps(statistics))
    return root


def make_network(folder, **settings):
    return new_network(NetworkConfig(**SMALL, backbone=BackboneConfig(str(folder), **settings)))


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand((2, 3, SIZE[1], SIZE[0]), generator=generator)
    return image, torch.rand((2, 2, SIZE[1], SIZE[0]), generator=generator)


def test_the_default_network_keeps_the_names_shapes_and_order_of_its_tensors():
    """Weights files, checkpoints and the optimizer's state depend on them."""
    state = AmodalNetwork().state_dict()
    trunk = [f"{name} {tuple(value.shape)}" for name, value in state.items() if name.startswith("trunk.")]
    assert trunk[0] == "trunk.stem.0.0.weight (16, 3, 3, 3)"
    assert trunk[-1] == "trunk.smooth.2.1.num_batches_tracked ()"
    assert hashlib.sha256("\n".join(trunk).encode()).hexdigest()[:16] == "773493579e09aef5"
    everything = "\n".join(f"{name} {tuple(value.shape)}" for name, value in state.items())
    assert hashlib.sha256(everything.encode()).hexdigest()[:16] == "3b829baa34d57e00"


def test_a_configuration_without_a_backbone_says_nothing_of_one():
    assert "backbone" not in json.loads(NetworkConfig().to_json())


def test_a_named_backbone_gives_four_maps_with_its_weights(kind, folders):
    network = make_network(folders / kind).eval()
    with torch.no_grad():
        levels = network.trunk.encode(*inputs())
        pyramid = network.trunk(*inputs())
    assert [tuple(level.shape[1:]) for level in levels] == ENCODERS[kind][2]
    assert [tuple(level.shape) for level in pyramid] == [(2, 16, 96 // s, 128 // s) for s in (4, 8, 16, 32)]
    model, _, _ = ENCODERS[kind]
    stored = model.from_pretrained(folders / kind).state_dict()
    ours = network.trunk.encoder.state_dict()
    equal = [name for name in stored if any(own.endswith(name.split(".", 1)[-1]) for own in ours)]
    assert equal, "no tensor of the folder is found in the network"
    values = {hash(value.numpy().tobytes()) for value in stored.values()}
    loaded = [name for name, value in ours.items() if value.dim() > 1]
    assert loaded
    assert all(hash(ours[name].numpy().tobytes()) in values for name in loaded), "weights are not those of the folder"


def test_the_maps_are_those_of_the_library_for_the_normalised_picture(folders):
    """One map of a plain transformer is at /16: patches of 14 px see the picture scaled by 14/16."""
    network = make_network(folders / "dinov2").eval()
    assert network.config.backbone.mean == (0.1, 0.2, 0.3)
    image, guidance = inputs()
    normalised = (image - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1)
    scaled = torch.nn.functional.interpolate(normalised, size=(84, 112), mode="bilinear", align_corners=False)
    with torch.no_grad():
        tokens = Dinov2Model.from_pretrained(folders / "dinov2").eval()(scaled).last_hidden_state[:, 1:]
        found = network.trunk.encode(image, guidance)[2]
    torch.testing.assert_close(found, tokens.transpose(1, 2).reshape(2, 32, 6, 8), rtol=1e-4, atol=1e-5)
    assert make_network(folders / "swin").config.backbone.mean == IMAGENET_MEAN


def test_guidance_enters_through_the_zero_convolution(kind, folders):
    network = make_network(folders / kind).eval()
    image, guidance = inputs()
    with torch.no_grad():
        without = network.trunk(image, torch.zeros_like(guidance))
        assert all(torch.equal(a, b) for a, b in zip(without, network.trunk(image, guidance)))
        network.trunk.guidance.write.weight += 1
        assert not torch.equal(without[0], network.trunk(image, guidance)[0])


def test_every_trained_parameter_gets_a_gradient(kind, folders):
    """Training in several processes waits for all of them."""
    network = make_network(folders / kind).train()
    pyramid = network.trunk(*inputs())
    sum(level.square().sum() for level in pyramid).backward()
    trained = {name for name, p in network.trunk.named_parameters() if p.requires_grad}
    assert {name for name, p in network.trunk.named_parameters() if p.grad is not None} == trained
    assert any(name.startswith("encoder.") for name in trained)


def test_a_frozen_backbone_keeps_its_weights_and_its_mode(folders):
    network = make_network(folders / "swin", frozen=True).train()
    assert network.trunk.training
    assert not network.trunk.encoder.training
    assert not any(p.requires_grad for p in network.trunk.encoder.parameters())
    assert not any(p.requires_grad for name, p in network.named_parameters() if name.startswith("trunk.encoder"))
    assert network.trunk.guidance.read.weight.requires_grad


def test_weights_need_neither_the_folder_nor_the_hub(kind, folders, tmp_path):
    network = make_network(folders / kind).eval()
    assert network.config.backbone.name == kind, "the folder's path is the machine's business"
    save_weights(tmp_path / "w.safetensors", network, {"model_id": "test"})
    assert str(folders) not in json.dumps(load_weights(tmp_path / "w.safetensors")[1])
    loaded, metadata = load_weights(tmp_path / "w.safetensors")
    assert NetworkConfig.from_json(metadata["config"]) == network.config
    # Files hold half precision.
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-6)


def test_export_agrees_with_torch(kind, folders, tmp_path):
    save_weights(tmp_path / "w.safetensors", make_network(folders / kind), {"model_id": "test"})
    path = export_onnx(tmp_path / "w.safetensors", tmp_path / "w.onnx", SIZE, 2)
    image, guidance = inputs()
    session = onnxruntime.InferenceSession(str(path))
    exported = session.run(None, {"image": image.numpy(), "guidance": guidance.numpy()})
    with torch.no_grad():
        expected = load_weights(tmp_path / "w.safetensors")[0](image, guidance)
    for (name, ours), theirs in zip(expected.named().items(), exported, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-3, atol=1e-3, err_msg=name)


def test_an_architecture_without_a_name_starts_from_random_weights():
    _, settings, shapes = ENCODERS["segformer"]
    network = new_network(NetworkConfig(**SMALL, backbone=BackboneConfig(architecture=settings.to_dict())))
    assert [level.shape[1] for level in network.trunk.encode(*inputs())] == [channels for channels, _, _ in shapes]


CONFIG = """
network: {{channels: 16, mask_channels: 6, tokens: 9, backbone: {{name: {name}, frozen: {frozen}}}}}
input_size: [128, 96]
batch_size: 2
max_minutes: null
max_steps: 2
workers: 0
prepare_workers: 1
device: cpu
field_tokens: 8
backbone_learning_rate: 0.5
"""


@pytest.mark.parametrize("frozen", [False, True])
def test_a_training_starts_from_the_named_backbone(frozen, folders, tmp_path):
    data = write_sequences(tmp_path / "data", ["a", "b"], frames=1)
    (tmp_path / "train.yaml").write_text(CONFIG.format(name=folders / "swin", frozen=str(frozen).lower()))
    config = load_config(tmp_path / "train.yaml")
    network, metadata = load_weights(train([data], tmp_path / "run", config))
    assert str(folders) not in json.dumps(metadata)
    start = make_network(folders / "swin").trunk.encoder.state_dict()
    moved = [
        name
        for name, value in network.trunk.encoder.state_dict().items()
        if value.is_floating_point() and not torch.allclose(value, start[name], rtol=2e-3, atol=1e-5)
    ]
    assert bool(moved) == (not frozen)
    resumed = train([data], tmp_path / "run", config, resume=True)
    assert load_weights(resumed)[1]["steps"] == "2"


def test_the_backbone_learns_at_its_share_of_the_rate(folders, tmp_path):
    (tmp_path / "train.yaml").write_text(CONFIG.format(name=folders / "segformer", frozen="false"))
    config = load_config(tmp_path / "train.yaml")
    state = new_state(config, torch.device("cpu"))
    encoder = {id(parameter) for parameter in state.network.trunk.encoder.parameters()}
    groups = parameter_groups(state.network, config)
    assert {(group["scale"], id(p) in encoder) for group in groups for p in group["params"]} == {
        (0.5, True),
        (1.0, False),
    }
    assert sum(len(group["params"]) for group in groups) == len(list(state.network.parameters()))


def test_what_cannot_be_loaded_is_said_in_one_line(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "config.json").write_bytes((folders / "swin" / "config.json").read_bytes())
    (cut / "model.safetensors").write_bytes((folders / "swin" / "model.safetensors").read_bytes()[:5000])
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_bytes((folders / "swin" / "config.json").read_bytes())
    (other / "model.safetensors").write_bytes((folders / "segformer" / "model.safetensors").read_bytes())
    text = tmp_path / "text"
    text.mkdir()
    (text / "config.json").write_text('{"model_type": "bert"}')
    for folder, word in ((tmp_path / "empty", ""), (cut, ""), (other, "lack"), (text, "no backbone")):
        with pytest.raises(InputError, match=f"backbone '{folder}'.*{word}") as caught:
            make_network(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "name"),
        ({"nam": "x"}, "unknown"),
        ({"name": "x", "std": [0, 1, 1]}, "std"),
        ({"name": "x", "frozen": 1}, "frozen"),
        ({"architecture": {"hidden_size": 3}}, "model_type"),
        ("facebook/dinov2-small", "mapping"),
    ],
)
def test_wrong_settings_are_refused(settings, word):
    with pytest.raises(ValueError, match=word):
        NetworkConfig.from_dict({"backbone": settings})


@pytest.mark.parametrize(
    ("architecture", "word"),
    [
        ({"model_type": "no_such"}, "no_such"),
        ({"model_type": "bert"}, "no backbone"),
        (
            {"model_type": "swin", "depths": [1, 1], "num_heads": [1, 1], "embed_dim": 16, "window_size": 4},
            "stages|maps",
        ),
    ],
)
def test_architectures_that_are_no_encoder_are_refused(architecture, word):
    with pytest.raises(InputError, match=word):
        AmodalNetwork(NetworkConfig(**SMALL, backbone=BackboneConfig(architecture=architecture)))


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "os.environ['HF_HUB_OFFLINE'] = '1'",
            ["'facebook/no-such-model' cannot be loaded", "folder with config.json"],
        ),
        ("sys.modules['transformers'] = None", ["needs the package transformers", "pip install"]),
    ],
    ids=["offline", "not installed"],
)
def test_without_network_or_library_the_message_says_what_to_do(before, words):
    """In an interpreter of its own: the library looks once whether it may use the network."""
    program = f"""
import os, sys
{before}
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import NetworkConfig
from amodal_perception_ros.network.config import BackboneConfig
from amodal_perception_ros.network.pretrained import new_network
try:
    new_network(NetworkConfig(backbone=BackboneConfig("facebook/no-such-model")))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert all(word in done.stdout for word in words), done.stdout

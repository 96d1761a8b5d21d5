"""The network: shapes, batch behaviour, LiDAR guidance, seeds, export and configuration."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, NetworkOutput
from amodal_perception_ros.network.config import INSTANCE_HEAD_NAMES
from amodal_perception_ros.network.heads import pick_seeds

torch.set_num_threads(1)
SMALL = NetworkConfig(
    stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
)


def make_network(config=SMALL, seed=0):
    """Return a network whose BatchNorm statistics are not the trivial initial ones."""
    torch.manual_seed(seed)
    network = AmodalNetwork(config).train()
    for _ in range(3):
        network(torch.rand(4, 3, 64, 96), torch.zeros(4, 2, 64, 96))
    return network.eval()


@pytest.mark.parametrize(("stride", "heat_shape"), [(4, (16, 24)), (8, (8, 12))])
def test_output_shapes_are_static(stride, heat_shape):
    config = NetworkConfig(**{**json.loads(SMALL.to_json()), "seed_stride": stride})
    output = AmodalNetwork(config).eval()(torch.rand(2, 3, 64, 96), torch.zeros(2, 2, 64, 96))
    shapes = {name: tuple(value.shape) for name, value in output.named().items()}
    maps = AmodalNetwork(config).everything(output)
    assert {tuple(value.shape) for value in maps} == {(2, 9, 32, 48)}
    assert shapes == {
        "stuff_logits": (2, 11, 32, 48),
        "log_depth": (2, 32, 48),
        "heat_logits": (2, 1, *heat_shape),
        "seed_score": (2, 9),
        "seed_index": (2, 9),
        "class_logits": (2, 9, 8),
        "boxes": (2, 9, 4),
        "order_logits": (2, 9, 9),
        "occluded_logits": (2, 9),
        "quality_logits": (2, 9),
        "description_0": (2, 6, 32, 48),
        "description_1": (2, 9, 1),
        "description_2": (2, 9, 8 * 6 + 8 + 8 * 4 + 3 * 8 + 3),
    }
    assert NetworkOutput.from_named(output.named()).description == output.description
    assert output.seed_index.dtype == torch.int64


@pytest.mark.parametrize(
    ("image", "guidance", "word"),
    [
        ((1, 3, 60, 96), (1, 2, 60, 96), "multiples of 32"),
        ((1, 4, 64, 96), (1, 2, 64, 96), "image"),
        ((2, 3, 64, 96), (1, 2, 64, 96), "guidance"),
        ((3, 64, 96), (2, 64, 96), "image"),
    ],
)
def test_wrong_input_shapes_are_refused(image, guidance, word):
    with pytest.raises(ValueError, match=word):
        AmodalNetwork(SMALL)(torch.zeros(image), torch.zeros(guidance))


def test_a_batch_equals_its_images_one_by_one():
    network = make_network()
    image, guidance = torch.rand(4, 3, 64, 96), torch.rand(4, 2, 64, 96)
    with torch.no_grad():
        together = network(image, guidance)
        single = [network(image[i : i + 1], guidance[i : i + 1]) for i in range(4)]
    for name, value in together.named().items():
        torch.testing.assert_close(value, torch.cat([each.named()[name] for each in single]))


def test_camera_order_only_permutes_the_outputs():
    network = make_network()
    image, guidance = torch.rand(3, 3, 64, 96), torch.zeros(3, 2, 64, 96)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        straight, permuted = network(image, guidance), network(image[order], guidance[order])
    for name, value in straight.named().items():
        torch.testing.assert_close(value[order], permuted.named()[name])


def test_guidance_starts_without_influence_and_gains_it_by_training():
    network = make_network()
    image = torch.rand(1, 3, 64, 96)
    without, points = torch.zeros(1, 2, 64, 96), torch.zeros(1, 2, 64, 96)
    points[:, 0, ::5, ::3], points[:, 1, ::5, ::3] = 0.1, 1.0
    with torch.no_grad():
        unguided = network(image, without).named()
        assert all(torch.equal(value, unguided[name]) for name, value in network(image, points).named().items())
    network(image, points).log_depth.sum().backward()
    assert network.trunk.guidance.write.weight.grad.abs().sum() > 0
    with torch.no_grad():
        network.trunk.guidance.write.weight += 0.1
        assert not torch.equal(network(image, without).log_depth, network(image, points).log_depth)


def test_guidance_depth_ignores_how_many_points_a_cell_holds():
    branch = AmodalNetwork(SMALL).trunk.guidance
    one, many = torch.zeros(1, 2, 32, 32), torch.zeros(1, 2, 32, 32)
    one[:, 0, 8, 8], one[:, 1, 8, 8] = 0.05, 1
    many[:, 0, 8:12, 8:12], many[:, 1, 8:12, 8:12] = 0.05, 1
    depth = [branch._log_depth(torch.nn.functional.avg_pool2d(g, 4))[0, :, 2, 2] for g in (one, many)]
    torch.testing.assert_close(depth[0][0], torch.tensor(np.log(20.0) - 2.3, dtype=torch.float32))
    torch.testing.assert_close(depth[0][0], depth[1][0])
    assert depth[0][1] == 1 / 16
    assert depth[1][1] == 1


def test_seeds_are_the_peaks_in_descending_order():
    logits = torch.full((1, 1, 6, 8), -6.0)
    logits[0, 0, 1, 1], logits[0, 0, 1, 2], logits[0, 0, 4, 6] = 1.0, 0.5, 3.0
    score, index = pick_seeds(logits, 2)
    assert index.tolist() == [[4 * 8 + 6, 1 * 8 + 1]]
    torch.testing.assert_close(score, torch.tensor([[3.0, 1.0]]).sigmoid())


def test_cells_that_are_not_peaks_score_zero_and_come_last():
    logits = torch.arange(12.0).reshape(1, 1, 3, 4) / 4
    score, index = pick_seeds(logits, 3)
    assert index.tolist() == [[11, 10, 9]]
    assert score[0, 0] > 0.9
    assert score[0, 1:].tolist() == [0, 0]


def test_a_forced_cell_becomes_a_seed():
    logits = torch.randn(1, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    forced = torch.zeros(1, 1, 6, 8)
    forced[0, 0, 3, 3] = 1
    assert pick_seeds(logits, 1, forced).cells.tolist() == [[3 * 8 + 3]]


def test_more_seeds_than_cells_are_refused():
    assert pick_seeds(torch.zeros(1, 1, 2, 3), 6).cells.shape == (1, 6)
    with pytest.raises(ValueError, match="7 tokens need a larger input: its heat map has only 3 x 2 cells"):
        pick_seeds(torch.zeros(1, 1, 2, 3), 7)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_seed_cells_are_distinct(seed):
    logits = torch.randn(1, 1, 6, 8, generator=torch.Generator().manual_seed(seed))
    index = pick_seeds(logits, 20).cells[0].tolist()
    assert len(set(index)) == 20


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_onnx_runtime_gives_the_same_outputs(tmp_path):
    network = make_network()
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    guidance = torch.zeros(2, 2, 64, 96)
    guidance[:, 0, ::4, ::4], guidance[:, 1, ::4, ::4] = 0.07, 1
    with torch.no_grad():
        network.trunk.guidance.write.weight += 0.05
        expected = network(image, guidance)
    path = tmp_path / "network.onnx"
    names = list(expected.named())
    torch.onnx.export(
        network,
        (image, guidance),
        str(path),
        opset_version=18,
        dynamo=False,
        input_names=["image", "guidance"],
        output_names=names,
    )
    for value in onnx.load(str(path)).graph.output:
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), f"{value.name} is not static"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = dict(zip(names, session.run(None, {"image": image.numpy(), "guidance": guidance.numpy()})))
    for name, value in expected.named().items():
        np.testing.assert_allclose(got[name], value.numpy(), atol=1e-3, err_msg=name)


def test_config_round_trip_and_errors():
    config = NetworkConfig(widths=(8, 16, 24, 32), tokens=5, seed_stride=8)
    assert NetworkConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="seed_stride"):
        NetworkConfig(seed_stride=16)
    with pytest.raises(ValueError, match="widths"):
        NetworkConfig(widths=(8, 16, 24))
    with pytest.raises(ValueError, match="unknown network settings"):
        NetworkConfig.from_dict({"layers": 3})
    with pytest.raises(ValueError, match="tokens"):
        NetworkConfig(tokens=0)


@pytest.mark.parametrize("name", ["field", None, ["fields"]])
def test_an_unknown_instance_head_is_refused_with_the_known_names(name):
    with pytest.raises(ValueError, match="unknown network instance_head") as caught:
        NetworkConfig(instance_head=name)
    assert all(known in str(caught.value) for known in INSTANCE_HEAD_NAMES)

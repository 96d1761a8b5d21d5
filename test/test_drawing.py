"""Descriptions of objects and what is drawn of them: on windows, everywhere, of an exported network, for a GPU."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from dataset_samples import make_rig, make_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, NetworkOutput, WeightsError, save_weights
from amodal_perception_ros.network.config import INSTANCE_HEAD_NAMES
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads import make_instance_head
from amodal_perception_ros.perception import Perception, PostprocessConfig
from amodal_perception_ros.perception.engine import OnnxEngine
from amodal_perception_ros.perception.export import export_onnx
from amodal_perception_ros.perception.painting import CopyingPainter, WindowPainter, paint_all
from amodal_perception_ros.perception.postprocess import build_scenes_and_tokens
from amodal_perception_ros.perception.preprocess import prepare
from amodal_perception_ros.perception.torch_engine import Drawn

torch.set_num_threads(1)
SMALL = NetworkConfig(
    stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=20
)
SIZE = (96, 64)
HEIGHT, WIDTH = 16, 24


def make_network(name):
    """Return a network whose BatchNorm statistics and refiner are not the trivial initial ones, and whose seeds are
    clearly ranked.
    """
    torch.manual_seed(0)
    network = AmodalNetwork(NetworkConfig(**{**vars(SMALL), "instance_head": name})).train()
    for _ in range(3):
        network(torch.rand(4, 3, 64, 96), torch.zeros(4, 2, 64, 96))
    with torch.no_grad():
        network.dense.heat[-1].weight *= 30
        if name == "guided_depth":
            network.instances.guidance.weight.normal_()
    return network.eval()


def random_images(count=2):
    generator = torch.Generator().manual_seed(3)
    guidance = torch.zeros(count, 2, 64, 96)
    guidance[:, 0, ::4, ::4], guidance[:, 1, ::4, ::4] = 0.07, 1
    return torch.rand(count, 3, 64, 96, generator=generator), guidance


@pytest.mark.parametrize("name", INSTANCE_HEAD_NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_is_drawn_on_windows_is_part_of_the_whole(name, seed):
    torch.manual_seed(0)
    head = make_instance_head(NetworkConfig(**{**vars(SMALL), "instance_head": name})).eval()
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    dense = DenseMaps(
        random(2, 16, HEIGHT // 2, WIDTH // 2), random(2, 6, HEIGHT, WIDTH), *[random(2, HEIGHT, WIDTH) for _ in "abc"]
    )
    tokens, boxes = random(2, 5, 16), torch.rand(2, 5, 4, generator=generator) + 0.01
    chosen = rng.permutation(5)[: rng.integers(0, 6)]
    corners = [(rng.integers(0, HEIGHT), rng.integers(0, WIDTH)) for _ in chosen]
    windows = [(slice(y, y + rng.integers(1, HEIGHT - y + 1)), slice(x, x + rng.integers(1, 9))) for y, x in corners]
    with torch.no_grad():
        whole = head(tokens, boxes, dense)
        description = head.describe(tokens, boxes, dense)
        for everywhere, expected in zip(head.everywhere(description, boxes), whole):
            assert torch.equal(everywhere, expected)
        drawn = head.draw(description, boxes, 1, torch.from_numpy(chosen), windows)
    assert len(drawn) == len(chosen)
    for maps, token, window in zip(drawn, chosen, windows):
        for found, expected in zip(maps, whole):
            torch.testing.assert_close(found, expected[1, token][window], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", INSTANCE_HEAD_NAMES)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_what_onnx_runtime_describes_a_head_without_parameters_draws_as_torch_does(name, tmp_path):
    network, (image, guidance) = make_network(name), random_images()
    with torch.no_grad():
        expected = network(image, guidance)
        maps = network.everything(expected)
    path, names = tmp_path / "network.onnx", list(expected.named())
    torch.onnx.export(
        network,
        (image, guidance),
        str(path),
        opset_version=18,
        dynamo=False,
        input_names=["image", "guidance"],
        output_names=names,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert all(isinstance(side, int) for output in session.get_outputs() for side in output.shape)
    values = session.run(names, {"image": image.numpy(), "guidance": guidance.numpy()})
    output = NetworkOutput.from_named({key: torch.from_numpy(value) for key, value in zip(names, values)})
    for key, value in output.named().items():
        np.testing.assert_allclose(value, expected.named()[key], atol=1e-3, err_msg=key)
    window = (slice(5, 20), slice(11, 30))
    painted = paint_all(WindowPainter(network.config), output, [np.arange(20)] * 2, [[window] * 20] * 2)
    for number, painting in enumerate(painted):
        for token, drawn in enumerate(painting.objects):
            for found, whole in zip(drawn, maps):
                np.testing.assert_allclose(found, whole[number, token][window], atol=1e-3)


@pytest.mark.parametrize("name", ["fields", "occluder_layers", "guided_depth"])
def test_scenes_drawn_by_the_network_are_those_drawn_on_windows(name):
    """As on a GPU all tokens are drawn by the network and the chosen ones copied; the scenes are the same."""
    network = make_network(name)
    batch = prepare(make_sample(0, rig=make_rig(*SIZE)).frame, SIZE)
    image, guidance = torch.from_numpy(batch.image), torch.from_numpy(batch.guidance)
    with torch.no_grad():
        network.dense.maps[0].bias -= 20.0  # Objects are seen: the logits of stuff are low.
        described, drawn = network(image, guidance), Drawn(network)(image, guidance)
    config = PostprocessConfig(score_threshold=0.02, min_visible_share=0.0)
    objects = 0
    for (own, tokens), (other, same) in zip(
        build_scenes_and_tokens(described, WindowPainter(network.config), batch.views, [0, 0], config),
        build_scenes_and_tokens(drawn, CopyingPainter(), batch.views, [0, 0], config),
    ):
        assert tokens.tolist() == same.tolist()
        objects += len(tokens)
        np.testing.assert_array_equal(own.labels, other.labels)
        np.testing.assert_allclose(own.depth, other.depth, rtol=1e-4)
        for mine, theirs in zip(own.instances, other.instances):
            assert (mine.visible_mask, mine.amodal_mask) == (theirs.visible_mask, theirs.amodal_mask)
            assert mine.occlusion_level == theirs.occlusion_level
    assert objects > 2


def test_an_exported_network_of_another_form_is_refused(tmp_path):
    save_weights(tmp_path / "w.safetensors", AmodalNetwork(SMALL), {"model_id": "x"})
    path = export_onnx(tmp_path / "w.safetensors", tmp_path / "w.onnx", SIZE, 1)
    assert Perception.from_weights(path, "onnxruntime", "cpu", input_size=SIZE, cameras=1).model_id == "x"
    model = onnx.load(path)
    for output in model.graph.output:
        if output.name == "description_0":
            model.graph.output.remove(output)
    onnx.save(model, tmp_path / "old.onnx")
    with pytest.raises(WeightsError, match=r"description_0.* missing; export the weights again"):
        OnnxEngine(tmp_path / "old.onnx", "cpu", 1)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(WeightsError, match=r"no usable network configuration.*; export the weights again"):
        OnnxEngine(tmp_path / "bare.onnx", "cpu", 1)

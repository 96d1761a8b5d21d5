"""The torch engine: folding, lower precision and compilation change the speed and not the answer."""

import numpy as np
import pytest
import torch

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig
from amodal_perception_ros.network.folding import fold_batch_norm
from amodal_perception_ros.perception import Perception
from amodal_perception_ros.perception.engine import create_engine
from amodal_perception_ros.perception.preprocess import NetworkInput
from amodal_perception_ros.perception.torch_engine import TorchEngine

torch.set_num_threads(1)
SMALL = NetworkConfig(
    stem_channels=8, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), channels=16, mask_channels=6, tokens=9
)
DENSE = ("stuff_logits", "log_depth", "heat_logits")


@pytest.fixture
def network():
    """A network whose BatchNorm statistics are not the trivial initial ones."""
    torch.manual_seed(0)
    network = AmodalNetwork(SMALL).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 96) * 3, torch.rand(2, 2, 64, 96))
    return network.eval()


def random_batch(cameras=2):
    rng = np.random.default_rng(0)
    image, guidance = rng.random((cameras, 3, 64, 96)), rng.random((cameras, 2, 64, 96))
    return NetworkInput(image.astype(np.float32), guidance.astype(np.float32), ())


def plain(network, batch):
    with torch.no_grad():
        return network(torch.from_numpy(batch.image), torch.from_numpy(batch.guidance))


def test_folding_leaves_no_normalisation_and_the_same_output(network):
    batch = random_batch()
    before = plain(network, batch)
    counts = [sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())]
    fold_batch_norm(network)
    counts.append(sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()))
    assert counts[0] > 10
    assert counts[1] == 0
    for name, value in plain(network, batch).named().items():
        torch.testing.assert_close(value, before.named()[name], atol=1e-4, rtol=1e-4)


def test_a_batch_norm_before_a_convolution_is_left_alone():
    layers = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 4, 1)).eval()
    fold_batch_norm(layers)
    assert isinstance(layers[0], torch.nn.BatchNorm2d)


def test_the_engine_gives_the_networks_output_for_any_number_of_cameras(network):
    expected = plain(network, random_batch(3))
    engine = TorchEngine(network, {"model_id": "x"}, "cpu", "float32")
    assert engine.name == "torch (cpu, float32)"
    for cameras in (3, 1):
        for name, value in engine.run(random_batch(3)).named().items():
            torch.testing.assert_close(value[:cameras], expected.named()[name][:cameras], atol=1e-4, rtol=1e-4)


def test_bfloat16_is_near_and_computed_in_bfloat16(network):
    expected = plain(network, random_batch())
    engine = TorchEngine(network, {}, "cpu", "bfloat16")
    output = engine.run(random_batch())
    assert output.stuff_logits.dtype == torch.bfloat16
    for name in DENSE:
        reference = getattr(expected, name)
        torch.testing.assert_close(getattr(output, name).float(), reference, atol=0.05, rtol=0.05)


def test_the_network_can_be_traced_whole(network):
    """What torch.compile and CUDA graphs need: no step of the pass looks at a value or leaves PyTorch."""
    image, guidance = (torch.from_numpy(part) for part in (random_batch().image, random_batch().guidance))
    explained = torch._dynamo.explain(network)(image, guidance)
    assert explained.graph_break_count == 0
    assert explained.graph_count == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("acceleration", ["cuda_graph", "compile"])
def test_accelerated_runs_on_a_gpu_equal_plain_ones(network, acceleration):
    expected = plain(network, random_batch())
    engine = TorchEngine(network, {}, "cuda", "float32", acceleration)
    for _ in range(3):
        output = engine.run(random_batch())
        for name in DENSE:
            torch.testing.assert_close(getattr(output, name).cpu(), getattr(expected, name), atol=5e-3, rtol=5e-3)


def test_wrong_accelerations_are_one_clear_line(tmp_path):
    options = {"device": "cpu", "precision": "float32", "input_size": (96, 64), "batch": 2}
    for engine, acceleration, word in (
        ("torch", "tensorrt", "choose one of none, compile, cuda_graph"),
        ("onnxruntime", "compile", "for engine torch"),
    ):
        with pytest.raises(InputError, match=word):
            create_engine(tmp_path / "absent", engine=engine, acceleration=acceleration, **options)
    with pytest.raises(InputError, match="needs a GPU"):
        TorchEngine(AmodalNetwork(SMALL), {}, "cpu", "float32", "cuda_graph")


def test_an_onnx_model_must_be_one(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InputError, match="amodal export") as error:
        Perception.from_weights(path, "onnxruntime")
    assert "\n" not in str(error.value)

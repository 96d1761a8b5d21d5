"""The network in PyTorch: the reference, and with an acceleration the engine for GPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, NetworkOutput
from amodal_perception_ros.network.folding import fold_batch_norm
from amodal_perception_ros.perception.painting import CopyingPainter, Painter, WindowPainter
from amodal_perception_ros.perception.preprocess import NetworkInput

ACCELERATIONS = ("none", "compile", "cuda_graph")
"""none: kernel by kernel. compile: torch.compile, on GPUs with CUDA graphs; the first run takes a minute or more.
cuda_graph: all kernels of a pass are recorded once and started together, which needs no compiler."""

WARM_UP_RUNS = 3
"""Runs before a CUDA graph is recorded, in which libraries choose their algorithms and allocate what they need."""

Forward = Callable[[Tensor, Tensor], NetworkOutput]


class TorchEngine:
    """The network on the CPU or a GPU. A GPU draws the maps of all tokens, which take the place of the description.

    Args:
        network: is taken over: its normalisation is folded and its weights move to the device.
        metadata: of the weights.
        device: "cpu", "cuda" or "cuda:N".
        precision: "float32", or the type of convolutions and matrix products: "float16" or "bfloat16".
        acceleration: one of `ACCELERATIONS`. With any but "none" on a GPU an output is overwritten by the next run.

    Raises:
        InputError: CUDA graphs are asked for on a CPU.
    """

    def __init__(
        self, network: AmodalNetwork, metadata: dict[str, str], device: str, precision: str, acceleration: str = "none"
    ) -> None:
        self.device = torch.device(device)
        details = [str(self.device), precision] + ([acceleration] if acceleration != "none" else [])
        self.name = f"torch ({', '.join(details)})"
        self.metadata = metadata
        self._dtype = torch.float32 if precision == "float32" else getattr(torch, precision)
        if self.device.type == "cuda":
            # Shapes hardly ever change: the library may try its algorithms once for each.
            torch.backends.cudnn.benchmark = True
        network.eval().requires_grad_(False)
        fold_batch_norm(network)
        network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _lower(network, self._dtype)
        on_gpu = self.device.type == "cuda"
        self.painter: Painter = CopyingPainter() if on_gpu else WindowPainter(network.config)
        self._forward = _accelerated(Drawn(network) if on_gpu else network, self.device, acceleration)

    def run(self, batch: NetworkInput) -> NetworkOutput:
        """Return the network's output as tensors on the engine's device, when it is complete."""
        image = torch.from_numpy(batch.image).to(self.device)
        output = self.infer(image, torch.from_numpy(batch.guidance).to(self.device))
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return output

    def infer(self, image: Tensor, guidance: Tensor) -> NetworkOutput:
        """Return the network's output for inputs that are on the device already; a GPU may still be at work on it."""
        lowered = self._dtype != torch.float32
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, self._dtype if lowered else None, enabled=lowered, cache_enabled=False),
        ):
            return self._forward(image.contiguous(memory_format=torch.channels_last), guidance)


class Drawn(nn.Module):
    """A network that draws: its description is the full maps of all tokens."""

    def __init__(self, network: AmodalNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, guidance: Tensor) -> NetworkOutput:
        """Perceive B images (see `AmodalNetwork.forward`)."""
        output = self.network(image, guidance)
        return output._replace(description=tuple(self.network.everything(output)))


def _lower(network: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of convolutions and matrix products as autocast wants them, so that no run converts them."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.to(dtype)


def _accelerated(network: nn.Module, device: torch.device, acceleration: str) -> Forward:
    if acceleration == "cuda_graph":
        if device.type != "cuda":
            raise InputError(
                f"acceleration cuda_graph needs a GPU, the device is {device}; choose none, or compile for the CPU"
            )
        return _CudaGraphs(network)
    return _Compiled(network, device) if acceleration == "compile" else network


class _Compiled:
    def __init__(self, network: nn.Module, device: torch.device) -> None:
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        self._network = torch.compile(network, mode=mode, dynamic=False, fullgraph=True)

    def __call__(self, image: Tensor, guidance: Tensor) -> NetworkOutput:
        torch.compiler.cudagraph_mark_step_begin()
        try:
            return self._network(image, guidance)
        except TorchDynamoException as error:
            cause = " ".join(str(error).split())[:300]
            raise InputError(f"torch.compile does not work here ({cause}); choose acceleration none") from error


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    image: Tensor
    guidance: Tensor
    output: NetworkOutput


class _CudaGraphs:
    """One recording for each number of cameras; input and output keep their places in memory."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._recordings: dict[torch.Size, _Recording] = {}

    def __call__(self, image: Tensor, guidance: Tensor) -> NetworkOutput:
        with torch.cuda.device(image.device):
            recording = self._recordings.get(image.shape)
            if recording is None:
                recording = self._recordings[image.shape] = self._record(image.clone(), guidance.clone())
            recording.image.copy_(image)
            recording.guidance.copy_(guidance)
            recording.graph.replay()
            return recording.output

    def _record(self, image: Tensor, guidance: Tensor) -> _Recording:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._network(image, guidance)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._network(image, guidance)
        return _Recording(graph, image, guidance, output)

"""Engines that run the network: PyTorch is the reference, ONNX Runtime the deployment."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import torch

from amodal_perception_ros import __version__
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import NetworkConfig, NetworkOutput, WeightsError, load_weights
from amodal_perception_ros.network.weights import ARCHITECTURE
from amodal_perception_ros.perception.export import GRAPH, OPSET, export_onnx
from amodal_perception_ros.perception.painting import Painter, WindowPainter
from amodal_perception_ros.perception.preprocess import NetworkInput
from amodal_perception_ros.perception.torch_engine import ACCELERATIONS, TorchEngine

ENGINES = ("torch", "onnxruntime")
PRECISIONS = ("float32", "float16", "bfloat16")


class Engine(Protocol):
    """Runs one batch. `metadata` is what the weights carry: model_id and measured figures.

    `painter` makes objects' maps of the engine's output.
    """

    name: str
    painter: Painter
    metadata: dict[str, str]

    def run(self, batch: NetworkInput) -> NetworkOutput:
        """Return the network's output as tensors for exactly the cameras of the batch."""
        ...


class OnnxEngine:
    """An exported network in ONNX Runtime; the batch size is fixed, absent cameras are zero images."""

    def __init__(self, path: Path, device: str, threads: int) -> None:
        providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            if not _onnx_has_cuda():
                raise InputError(
                    "engine onnxruntime has no CUDA provider here; install onnxruntime-gpu or use device cpu"
                )
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises its own unrelated exception types for any broken file
            raise WeightsError(
                f"{path}: not a usable ONNX model ({str(error).splitlines()[0]}); name one that 'amodal export' has "
                "written with this version, or the .safetensors file"
            ) from error
        self.name = f"onnxruntime ({device})"
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self._shape = tuple(self._session.get_inputs()[0].shape)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.painter: Painter = WindowPainter(_config_of(path, self.metadata, self._outputs))

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) the model was exported for."""
        return int(self._shape[3]), int(self._shape[2])

    def run(self, batch: NetworkInput) -> NetworkOutput:
        """Return the network's output for the cameras of the batch, as tensors on the CPU."""
        count, static = len(batch.image), int(self._shape[0])
        chunks = [self._run_chunk(batch, start, min(start + static, count)) for start in range(0, count, static)]
        whole = [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in zip(*chunks)]
        return NetworkOutput.from_named(dict(zip(self._outputs, map(torch.from_numpy, whole))))

    def _run_chunk(self, batch: NetworkInput, start: int, stop: int) -> list[np.ndarray]:
        missing = int(self._shape[0]) - (stop - start)
        padding = ((0, missing), (0, 0), (0, 0), (0, 0))
        feed = {
            "image": np.pad(batch.image[start:stop], padding),
            "guidance": np.pad(batch.guidance[start:stop], padding),
        }
        outputs = self._session.run(self._outputs, feed)
        return [output[: stop - start] for output in outputs]


def _config_of(path: Path, metadata: dict[str, str], outputs: list[str]) -> NetworkConfig:
    """Return the configuration of an exported network; raises WeightsError where the graph is another one."""
    try:
        config = NetworkConfig.from_json(metadata.get("config", ""))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: no usable network configuration in the model; export the weights again") from error
    missing = {*NetworkOutput._fields[:-1], "description_0"} - set(outputs)
    if missing:
        raise WeightsError(f"{path}: outputs {sorted(missing)} are missing; export the weights again")
    return config


def create_engine(
    weights: Path,
    engine: str,
    device: str,
    precision: str,
    input_size: tuple[int, int],
    batch: int,
    threads: int = 0,
    acceleration: str = "none",
) -> Engine:
    """Load weights into an engine.

    Args:
        weights: a .safetensors file, or for onnxruntime also an exported .onnx file.
        engine: "torch" or "onnxruntime".
        device: "auto", "cpu", "cuda" or "cuda:N"; auto takes the GPU where the engine can use one.
        precision: "float32", "float16" or "bfloat16" (torch only).
        input_size: (width, height) of the network's input; multiples of 32.
        batch: number of cameras.
        threads: of onnxruntime on the CPU; 0 for one per core. PyTorch's are those of the process.
        acceleration: one of `torch_engine.ACCELERATIONS` (torch only).

    Raises:
        WeightsError: the file is missing, truncated or of another architecture.
        InputError: an option is unknown or not available on this machine.
    """
    _check_options(engine, device, precision, input_size, acceleration)
    if engine == "torch":
        network, metadata = load_weights(weights)
        return TorchEngine(network, metadata, _torch_device(device), precision, acceleration)
    onnx_device = device if device != "auto" else "cuda" if _onnx_has_cuda() else "cpu"
    if weights.suffix == ".onnx":
        loaded = OnnxEngine(_existing(weights), onnx_device, threads)
        if loaded.input_size != tuple(input_size):
            raise InputError(
                f"{weights} was exported for input size {loaded.input_size}, but {input_size} is asked for"
            )
        return loaded
    return OnnxEngine(_exported(weights, input_size, batch), onnx_device, threads)


def _check_options(engine: str, device: str, precision: str, input_size: tuple[int, int], acceleration: str) -> None:
    if engine not in ENGINES:
        raise InputError(f"engine '{engine}' is unknown; choose one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision '{precision}' is unknown; choose one of {', '.join(PRECISIONS)}")
    if engine == "onnxruntime" and precision != "float32":
        raise InputError("engine onnxruntime runs in float32 here; choose precision float32 or engine torch")
    if acceleration not in ACCELERATIONS:
        raise InputError(f"acceleration '{acceleration}' is unknown; choose one of {', '.join(ACCELERATIONS)}")
    if engine == "onnxruntime" and acceleration != "none":
        raise InputError(f"acceleration {acceleration} is for engine torch; choose acceleration none")
    if any(side <= 0 or side % 32 for side in input_size):
        raise InputError(f"input size {tuple(input_size)} must be positive multiples of 32")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"device '{device}' is unknown; choose auto, cpu, cuda or cuda:N")


def _onnx_has_cuda() -> bool:
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _torch_device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device '{device}' is asked for, but PyTorch finds no GPU; use device cpu or auto")
    return device


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"{path}: weights file not found")
    return path


def _exported(weights: Path, input_size: tuple[int, int], batch: int) -> Path:
    """Export once per weights file, version, input size and batch; later starts take the copy from the cache."""
    versions = f"{ARCHITECTURE} {OPSET} {GRAPH} {__version__} {torch.__version__}".encode()
    digest = hashlib.sha256(versions + _existing(weights).read_bytes()).hexdigest()[:20]
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "amodal_perception_ros"
    path = root / f"{digest}_{batch}x{input_size[0]}x{input_size[1]}.onnx"
    if not path.is_file():
        export_onnx(weights, path, input_size, batch)
    return path

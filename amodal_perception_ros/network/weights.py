"""Weights on disk: safetensors in half precision, with the network's configuration and classes in the metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.network import AmodalNetwork

ARCHITECTURE = "amodal_seeded_fields/2"
"""Name and version of the architecture; a file that says otherwise is refused."""

AGAIN = "copy the file again from where it came from, or train again"


class WeightsError(InputError):
    """A weights file is missing, damaged, or does not belong to this network."""


def save_weights(path: Path | str, network: AmodalNetwork, metadata: dict[str, str]) -> None:
    """Write the weights atomically, with `metadata` (text, must hold `model_id`), the configuration and the classes.

    Numbers are stored as float16; a tensor with values above 65504, the largest of that type, stays float32.

    Raises:
        ValueError: `model_id` is absent, the metadata are not text, or a weight is not finite.
    """
    path = Path(path)
    if not metadata.get("model_id"):
        raise ValueError("weights metadata must name a 'model_id'")
    bad = [key for key, value in metadata.items() if not isinstance(value, str)]
    if bad:
        raise ValueError(f"weights metadata must be text; these are not: {bad}")
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    diverged = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if diverged:
        raise ValueError(f"weights must be finite; these are not: {diverged[:3]}")
    header = {
        **metadata,
        "architecture": ARCHITECTURE,
        "config": network.config.to_json(),
        "classes": class_names(AMODAL_SYNTH_DRIVE),
    }
    temporary = path.with_name(path.name + ".part")
    # Not save_file, whose files only their owner can read.
    temporary.write_bytes(save({name: _stored(value) for name, value in state.items()}, metadata=header))
    os.replace(temporary, path)


def load_weights(path: Path | str) -> tuple[AmodalNetwork, dict[str, str]]:
    """Read weights written by `save_weights`.

    Returns:
        The network in evaluation mode on the CPU in float32, and the file's metadata (with `model_id` and `config`).

    Raises:
        WeightsError: the file is missing, truncated or foreign, or belongs to another architecture or class list.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    _check_origin(path, metadata)
    try:
        network = AmodalNetwork(NetworkConfig.from_json(metadata.get("config", "")))
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: the network configuration in the file is not one of this program ({_line(error)}); "
            "use weights trained with this version, or the version that made the file"
        ) from error
    _fill(path, network, tensors)
    return network.eval(), metadata


def class_names(classes: ClassList) -> str:
    """Return the names of the stuff and thing classes, in the order of the network's outputs, as JSON."""
    names = [label.name for label in classes.labels]
    return json.dumps({"stuff": names[: classes.stuff_count], "things": names[classes.stuff_count :]})


def _stored(value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value.contiguous()
    half = value.half()
    return (half if bool(torch.isfinite(half).all()) else value.float()).contiguous()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _check_kind(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: not a complete safetensors file ({path.stat().st_size} bytes, {_line(error)}); {AGAIN}"
        ) from error


def _check_kind(path: Path) -> None:
    """Raise WeightsError for what is no safetensors file at first sight."""
    if path.is_dir():
        raise WeightsError(f"{path}: a folder, but a weights file is expected; name the .safetensors file in it")
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; name one that 'amodal train' has written, or none at all")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not start:
        raise WeightsError(f"{path}: empty, so not a complete safetensors file; {AGAIN}")
    if is_onnx(path):
        raise WeightsError(
            f"{path}: an exported ONNX model, but safetensors weights are expected; "
            "name the .safetensors file, or call the file .onnx and choose engine onnxruntime"
        )
    if len(start) == 9 and start[8:] != b"{":
        raise WeightsError(
            f"{path}: not a safetensors file; name the .safetensors file that 'amodal train' has written"
        )


def is_onnx(path: Path) -> bool:
    """Return whether a file starts like an ONNX model: the protobuf fields 1 `ir_version` and 2 `producer_name`."""
    with path.open("rb") as file:
        start = file.read(3)
    return len(start) == 3 and start[0] == 0x08 and start[2] == 0x12


def _check_origin(path: Path, metadata: dict[str, str]) -> None:
    """Raise WeightsError unless architecture and classes are those of this program."""
    architecture, classes = metadata.get("architecture"), metadata.get("classes")
    if architecture != ARCHITECTURE:
        found = (
            f"for architecture '{architecture}'" if architecture else "of another program: they name no architecture"
        )
        raise WeightsError(
            f"{path}: these weights are {found}, this program needs '{ARCHITECTURE}'; "
            "train again with this version, or use the version that made the file"
        )
    expected = class_names(AMODAL_SYNTH_DRIVE)
    if classes != expected:
        raise WeightsError(
            f"{path}: these weights are for the classes {classes}, this program needs {expected}; "
            f"use weights trained on data with the classes of {AMODAL_SYNTH_DRIVE.name}"
        )


def _fill(path: Path, network: AmodalNetwork, tensors: dict[str, Tensor]) -> None:
    expected = network.state_dict()
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(
            f"{path}: the tensors are not those of the file's network configuration: "
            f"missing {missing[:3]}, unknown {unexpected[:3]}; {AGAIN}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{path}: tensor '{name}' has shape {tuple(tensor.shape)}, "
                f"the file's network configuration needs {tuple(expected[name].shape)}; {AGAIN}"
            )
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise WeightsError(
                f"{path}: tensor '{name}' holds {tensor.dtype}, the network needs {expected[name].dtype}; {AGAIN}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: tensor '{name}' holds values that are not finite; {AGAIN}")
    network.load_state_dict(tensors)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

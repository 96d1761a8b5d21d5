"""Weights on disk: safetensors with the network's configuration in the file's metadata."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.network import AmodalNetwork

ARCHITECTURE = "amodal_seeded_fields/1"
"""Name and version of the architecture; a file that says otherwise is refused."""


class WeightsError(InputError):
    """A weights file is missing, damaged, or does not belong to this network."""


def save_weights(path: Path | str, network: AmodalNetwork, metadata: dict[str, str]) -> None:
    """Write the weights atomically, with `metadata` (text, must hold `model_id`) and the network's configuration.

    Raises:
        ValueError: `model_id` is absent or the metadata are not text.
    """
    path = Path(path)
    if not metadata.get("model_id"):
        raise ValueError("weights metadata must name a 'model_id'")
    bad = [key for key, value in metadata.items() if not isinstance(value, str)]
    if bad:
        raise ValueError(f"weights metadata must be text; these are not: {bad}")
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    header = {**metadata, "architecture": ARCHITECTURE, "config": network.config.to_json()}
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, str(temporary), metadata=header)
    os.replace(temporary, path)


def load_weights(path: Path | str) -> tuple[AmodalNetwork, dict[str, str]]:
    """Read weights written by `save_weights`.

    Returns:
        The network in evaluation mode on the CPU, and the file's metadata (with `model_id` and `config`).

    Raises:
        WeightsError: the file is missing, truncated or foreign, or belongs to another architecture.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    architecture = metadata.get("architecture")
    if architecture != ARCHITECTURE:
        raise WeightsError(
            f"{path}: these weights are for architecture '{architecture}', this program needs '{ARCHITECTURE}'"
        )
    try:
        config = NetworkConfig.from_json(metadata.get("config", ""))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: the network configuration in the file cannot be read: {error}") from error
    network = AmodalNetwork(config)
    _fill(path, network, tensors)
    return network.eval(), metadata


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a complete safetensors file: {error}") from error


def _fill(path: Path, network: AmodalNetwork, tensors: dict[str, torch.Tensor]) -> None:
    expected = network.state_dict()
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(f"{path}: tensors do not fit the network: missing {missing[:3]}, unknown {unexpected[:3]}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"{path}: tensor '{name}' has shape {tuple(tensor.shape)}, "
                f"the configuration needs {tuple(expected[name].shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: tensor '{name}' holds values that are not finite")
    network.load_state_dict(tensors)

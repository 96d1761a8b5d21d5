"""What changes during a run, and what it starts with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, load_weights
from amodal_perception_ros.network.pretrained import new_network
from amodal_perception_ros.training.config import TrainConfig


@dataclass
class RunState:
    """Everything that changes during a run.

    Attributes:
        network: that learns.
        average: its averaged weights, the result.
        optimizer: of the network.
        step: steps taken.
        elapsed_s: time that the training loop has taken, in all parts of the run together.
        bad_steps: steps in a row, up to the last one, whose gradients were not finite.
    """

    network: AmodalNetwork
    average: AmodalNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    bad_steps: int = 0


def new_state(config: TrainConfig, device: torch.device) -> RunState:
    """Return a network that is untrained or has the weights of `init`, its average and its optimizer."""
    network = new_network(config.network)
    if config.init is not None:
        start_from(network, Path(config.init))
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = AmodalNetwork(network.config).to(device)
    average.load_state_dict(network.state_dict())
    average.eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(parameter_groups(network, config), lr=config.learning_rate, fused=True)
    return RunState(network, average, optimizer)


def parameter_groups(network: AmodalNetwork, config: TrainConfig) -> list[dict[str, Any]]:
    """Return what the optimizer changes: all weights that are not frozen, by weight decay and share of the rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.dim() > 1 else 0.0
            scale = config.backbone_learning_rate if name.startswith("trunk.encoder.") else 1.0
            groups.setdefault((decay, scale), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "scale": scale} for (decay, scale), members in groups.items()]


def start_from(network: AmodalNetwork, weights: Path) -> None:
    """Copy the values of equal name and shape from a weights file, which may be of another configuration.

    Raises:
        WeightsError: the file cannot be read.
        InputError: nothing in it fits.
    """
    given, own = load_weights(weights)[0].state_dict(), network.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise InputError(f"{weights}: no tensor of it fits the network of this training; leave out the setting 'init'")
    network.load_state_dict(fitting, strict=False)

"""Trains what is not trained yet: finished runs are kept, an interrupted one goes on from its checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, load_weights, save_weights
from amodal_perception_ros.training.checkpoint import FREE_SETTINGS
from amodal_perception_ros.training.config import load_config
from amodal_perception_ros.training.dataset import split_sequences
from amodal_perception_ros.training.sources import AnySequence
from amodal_perception_ros.training.train import CHECKPOINT, WEIGHTS, train
from experiments.changes import applied
from experiments.plan import Experiment, Plan

SETTINGS, IDENTITY, START = "settings.yaml", "experiment.json", "start.safetensors"


class Trainer:
    """Trains the experiments of a plan.

    Attributes:
        validation: digest of the sequences that are scored.

    Raises:
        InputError: data or start weights cannot be read, or a sequence is in the training and the validation data.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        split = split_sequences(plan.data, plan.validation, 0)
        self._data, self.validation = digest_of_sequences(split.train), digest_of_sequences(split.validation)
        self._start = shared_tensors(plan.start) if plan.start else {}

    def weights(self, experiment: Experiment, seed: int) -> Path:
        """Return the weights of an experiment, after training them where that is not done.

        Raises:
            InputError: its folder holds a run of other settings, data or start.
        """
        own, folder = self.plan.trained(experiment), self.plan.folder(experiment, seed)
        settings = self.plan.settings_of(experiment, seed)
        self._claim(folder, own, settings)
        if (folder / WEIGHTS).is_file():
            return folder / WEIGHTS
        (folder / SETTINGS).write_text(yaml.safe_dump(settings, sort_keys=False))
        config = load_config(folder / SETTINGS)
        resume = (folder / CHECKPOINT).is_file()
        print(f"== {own.name}, seed {seed}: {'going on' if resume else 'training'} in {folder}", flush=True)
        with applied(own.changes):
            if self._start:
                write_start(self._start, folder / START, config.network, seed)
                config = replace(config, init=str(folder / START))
            return train(list(self.plan.data), folder, config, resume=resume)

    def _claim(self, folder: Path, own: Experiment, settings: dict[str, Any]) -> None:
        """Note what the folder's run is; raise InputError where it already is another."""
        identity = {
            "settings": {name: value for name, value in settings.items() if name not in FREE_SETTINGS},
            "changes": asdict(own.changes),
            "training_data": self._data,
            "start": digest_of_tensors(self._start),
        }
        path = folder / IDENTITY
        if path.is_file():
            then = json.loads(path.read_text())
            other = [name for name, value in identity.items() if then.get(name) != value]
            if other:
                raise InputError(
                    f"{folder}: holds a run of other {' and '.join(other)}; choose another --out or delete the folder"
                )
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(identity, indent=2) + "\n")


def shared_tensors(weights: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file without those of its instance head, which methods do not share.

    Raises:
        WeightsError: the file cannot be read.
    """
    tensors = load_weights(weights)[0].state_dict()
    return {name: value for name, value in tensors.items() if not name.startswith("instances.")}


def write_start(shared: dict[str, Tensor], path: Path, config: NetworkConfig, seed: int) -> None:
    """Write the weights that a training starts from: the shared ones; what they lack is new and random.

    No method starts with an instance head that is trained, not even that from whose weights the shared ones are.

    Raises:
        InputError: a shared tensor has no place in the network.
    """
    torch.manual_seed(seed)
    network = AmodalNetwork(config)
    own = network.state_dict()
    unfit = [name for name, value in shared.items() if name not in own or own[name].shape != value.shape]
    if unfit:
        raise InputError(f"{len(unfit)} tensors of the start do not fit the network of {path.parent}: {unfit[:3]}")
    network.load_state_dict(shared, strict=False)
    save_weights(path, network, {"model_id": "start"})


def digest_of_sequences(sequences: Iterable[AnySequence]) -> str:
    """Return a digest that tells sequences from others."""
    return digest(f"{sequence.name} {sequence.fingerprint()}".encode() for sequence in sequences)


def digest_of_tensors(tensors: dict[str, Tensor]) -> str:
    """Return a digest of names and values."""
    return digest(name.encode() + value.numpy().tobytes() for name, value in tensors.items())


def digest(parts: Iterable[bytes]) -> str:
    """Return a short hexadecimal digest of some parts in their order."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:16]

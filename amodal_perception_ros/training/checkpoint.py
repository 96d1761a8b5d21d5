"""Checkpoints: everything a run needs to go on as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork
from amodal_perception_ros.training.config import TrainConfig

FREE_SETTINGS = frozenset(
    (
        "cache",
        "checkpoint_minutes",
        "device",
        "init",
        "log_steps",
        "model_id",
        "prepare_workers",
        "threads",
        "validation",
        "validation_images",
        "validation_minutes",
        "workers",
    )
)
"""Settings that a resumed run may change, because no batch and no step depends on them."""


@dataclass
class RunState:
    """Everything that changes during a run."""

    network: AmodalNetwork
    average: AmodalNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    bad_steps: int = field(default=0)


def run_identity(config: TrainConfig, files: dict[tuple[int, int], list[Path]], processes: int) -> dict[str, str]:
    """Return what must be the same when a run is resumed: settings, training images, number of processes, as text.

    Args:
        config: settings; those in `FREE_SETTINGS` do not count.
        files: input size -> record files in order.
        processes: number of processes of the run.
    """
    settings = {name: value for name, value in config.to_dict().items() if name not in FREE_SETTINGS}
    names = [f"{path.parent.name}/{path.name}" for size in sorted(files) for path in files[size]]
    return {
        "settings": json.dumps(settings, sort_keys=True),
        "images": f"{len(names)} {hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:16]}",
        "processes": str(processes),
    }


def save_checkpoint(path: Path, state: RunState, identity: dict[str, str]) -> None:
    """Write the state atomically."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "bad_steps": state.bad_steps,
        "identity": identity,
    }
    temporary = path.with_name(path.name + ".part")
    torch.save(content, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, state: RunState, identity: dict[str, str], device: torch.device) -> None:
    """Restore a state saved by `save_checkpoint`.

    Raises:
        InputError: there is no checkpoint, it is damaged, or it belongs to other settings or data.
    """
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint to resume from")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        stored = content["identity"]
    except Exception as error:  # torch.load raises many types for damaged files
        raise InputError(f"{path}: the checkpoint cannot be read: {error}") from error
    _require_same(path, stored, identity)
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step, state.elapsed_s, state.bad_steps = content["step"], content["elapsed_s"], content["bad_steps"]


def _require_same(path: Path, stored: dict[str, str], identity: dict[str, str]) -> None:
    if stored["settings"] != identity["settings"]:
        raise InputError(
            f"{path}: the run was started with other settings ({_differences(stored, identity)}); "
            "resume with those of config.json beside it, or start a new run"
        )
    for name in ("images", "processes"):
        if stored[name] != identity[name]:
            raise InputError(
                f"{path}: the run was started with other {name} ({stored[name]} then, {identity[name]} now); "
                "resume with the same data folders and number of processes, or start a new run"
            )


def _differences(stored: dict[str, str], identity: dict[str, str]) -> str:
    then, now = (json.loads(values["settings"]) for values in (stored, identity))
    return ", ".join(f"{key}: {_get(then, key)} then, {_get(now, key)} now" for key in _changed(then, now))


def _changed(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    known = [item.name for item in fields(TrainConfig)]
    return [key for key in known if _get(then, key) != _get(now, key)]


def _get(settings: dict[str, Any], key: str) -> Any:
    return settings.get(key)

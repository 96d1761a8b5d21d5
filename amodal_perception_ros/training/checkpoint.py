"""Checkpoints: everything a run needs to go on as if nothing had happened."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import torch

from amodal_perception_ros.datasets.files import write_bytes
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.training.config import TrainConfig
from amodal_perception_ros.training.state import RunState

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
"""Settings that a resumed run may change: no batch depends on them, and no step but for rounding on another device."""


def run_identity(config: TrainConfig, files: dict[tuple[int, int], list[Path]], processes: int) -> dict[str, str]:
    """Return what must be the same when a run is resumed: settings, training images, number of processes, as text.

    Args:
        config: settings; those in `FREE_SETTINGS` do not count.
        files: input size -> record files in order.
        processes: number of processes of the run.
    """
    settings = {name: value for name, value in config.to_dict().items() if name not in FREE_SETTINGS}
    names = [f"{path.parent.name}/{path.name}" for size in sorted(files) for path in files[size]]
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return {
        "settings": json.dumps(settings, sort_keys=True),
        "images": f"{len(names)} with digest {digest}",
        "processes": str(processes),
    }


def save_checkpoint(path: Path, state: RunState, identity: dict[str, str]) -> None:
    """Write the state; a crash on the way leaves the checkpoint before. Raises DatasetError if it cannot be written."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "bad_steps": state.bad_steps,
        "identity": identity,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    draft = path.with_name(path.name + ".part")
    write_bytes(draft, buffer.getbuffer())
    os.replace(draft, path)


def load_checkpoint(path: Path, state: RunState, identity: dict[str, str], device: torch.device) -> None:
    """Restore a state saved by `save_checkpoint`.

    Raises:
        InputError: there is no checkpoint, it is damaged, or it belongs to other settings, data or processes.
    """
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint to resume from; start the run without --resume")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        stored = {name: str(content["identity"][name]) for name in identity}
    except Exception as error:  # torch.load raises many types for damaged files
        raise InputError(
            f"{path}: damaged, or no checkpoint of this program ({type(error).__name__}); start a new run in another "
            "folder, with init: WEIGHTS in its settings if there are any to start from"
        ) from error
    _require_same(path, stored, identity)
    try:
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step, state.elapsed_s, state.bad_steps = content["step"], content["elapsed_s"], content["bad_steps"]
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: the network of the run is another than this version's; start a new run") from error


def _require_same(path: Path, stored: dict[str, str], identity: dict[str, str]) -> None:
    then, now = (_flat(json.loads(values["settings"])) for values in (stored, identity))
    changed = [
        f"{name}: {then.get(name)} then, {now.get(name)} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if changed:
        raise InputError(
            f"{path}: the run was started with other settings ({'; '.join(changed)}); "
            "resume with those of config.json beside it, or start a new run"
        )
    for name, what in (("images", "another list of training images"), ("processes", "another number of processes")):
        if stored[name] != identity[name]:
            raise InputError(
                f"{path}: the run was started with {what} ({stored[name]} then, {identity[name]} now); "
                "resume with that of the run, or start a new one"
            )


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {"network.tokens": 64} of {"network": {"tokens": 64}}."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out

"""The training loop: read it from top to bottom.

A run prepares its data once (records in a cache), then trains until its budget of minutes or steps is used up. The
learning rate follows the share of the budget that is used, so a run that is given 60 minutes ends annealed after 60
minutes whatever the machine's speed. `--resume` goes on from the last checkpoint exactly: the same batches, the
same optimizer state, the same averaged weights.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from amodal_perception_ros.datasets.composites import CompositedSequence, Donors
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, save_weights
from amodal_perception_ros.network.losses import training_losses
from amodal_perception_ros.training.config import TrainConfig
from amodal_perception_ros.training.dataset import Batch, BatchSource, Split, prepare_cache, split_sequences
from amodal_perception_ros.training.validate import validate

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
LOG = "log.jsonl"

FINAL_LEARNING_RATE = 1e-3
"""The schedule ends at this share of the peak learning rate."""

MAX_BAD_STEPS = 20
"""The run stops after so many consecutive steps without finite gradients."""


@dataclass
class RunState:
    """Everything that changes during a run; `sums` and `logged_s` belong to the log, the rest to the checkpoint."""

    network: AmodalNetwork
    average: AmodalNetwork
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    bad_steps: int = 0
    logged_s: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def train(data: list[Path], out: Path, config: TrainConfig, resume: bool = False) -> Path:
    """Train the network and write its averaged weights.

    Args:
        data: data set folders (see `datasets.amodal_synth_drive.read_sequences`).
        out: folder of the run: checkpoint, log (`log.jsonl`, one JSON object a line), settings and weights.
        config: settings.
        resume: go on from the folder's checkpoint; the data and settings must be those of the run.

    Returns:
        Path of the weights file.

    Raises:
        InputError: no data, overlapping training and validation sequences, nothing to resume, or a folder that
            already holds a run.
        RuntimeError: the training diverged.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT).exists() and not resume:
        raise InputError(f"{out} already holds a run; pass --resume to go on, or choose another folder")
    device = choose_device(config.device)
    torch.manual_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    split = split_sequences(data, [Path(path) for path in config.validation], config.holdout_sequences)
    files, held = prepare(split, out, config)
    state = new_state(config, device)
    if resume:
        load_checkpoint(out / CHECKPOINT, state, config, device)
    (out / "config.json").write_text(json.dumps(config.to_dict(), indent=2))
    with flushed_denormals():
        run_loop(state, files, held, out, config, device)
    path = out / WEIGHTS
    scores = validate(state.average, held, len(held), device) if held else {}
    save_weights(path, state.average, describe(state, split, out, config) | calibration(scores))
    return path


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero, which is many times faster on CPUs; restored afterwards."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def choose_device(name: str) -> torch.device:
    """Return the device of a setting; raises InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device '{name}' is not available; use 'cpu' or 'auto'")
    return torch.device(name)


def half_precision(setting: str, device: torch.device) -> bool:
    """Return whether to train in bfloat16; "auto" does on GPUs and on CPUs with matrix units for it (AMX)."""
    if setting == "auto":
        return device.type == "cuda" or bool(torch.cpu._is_amx_tile_supported())
    return setting == "bfloat16"


def prepare(
    split: Split, out: Path, config: TrainConfig
) -> tuple[dict[tuple[int, int], list[Path]], BatchSource | None]:
    """Fill the cache; return input size -> training records, and the validation source if there is any."""
    cache = Path(config.cache) if config.cache else out / "cache"
    donors = Donors(split.train)
    copies = [CompositedSequence(r, donors, seed) for r in split.train for seed in range(config.clip_art)]
    files = prepare_cache([*split.train, *copies], cache, config.sizes(), config.prepare_workers)
    held = prepare_cache(split.validation, cache, [config.input_size], config.prepare_workers)[config.input_size]
    print(f"training on {len(files[config.input_size])} images of {len(split.train)} sequences, ", end="")
    print(f"validating on {len(held)} images of {len(split.validation)}", flush=True)
    if not held:
        return files, None
    spread = held[:: max(1, len(held) // config.validation_images)][: config.validation_images]
    return files, BatchSource(spread, config.batch_size, config.network.seed_stride)


def new_state(config: TrainConfig, device: torch.device) -> RunState:
    """Return an untrained network, its average and its optimizer."""
    network = AmodalNetwork(config.network).to(device).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AmodalNetwork(config.network).to(device)
    average.load_state_dict(network.state_dict())
    average.eval().requires_grad_(False)
    decayed = [p for p in network.parameters() if p.dim() > 1]
    plain = [p for p in network.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return RunState(network, average, torch.optim.AdamW(groups, lr=config.learning_rate))


def run_loop(
    state: RunState,
    files: dict[tuple[int, int], list[Path]],
    held: BatchSource | None,
    out: Path,
    config: TrainConfig,
    device: torch.device,
) -> None:
    """Train until the budget is used up; log, validate and save on the way."""
    started = time.monotonic() - state.elapsed_s
    saved = validated = state.elapsed_s
    for batch in batches(state, files, config, device):
        train_step(state, batch, config, device)
        state.elapsed_s = time.monotonic() - started
        if state.step % config.log_steps == 0:
            log_losses(state, out, config)
        if state.elapsed_s - saved > 60 * config.checkpoint_minutes:
            save_checkpoint(out / CHECKPOINT, state, config)
            saved = state.elapsed_s
        if held is not None and state.elapsed_s - validated > 60 * config.validation_minutes:
            log_validation(state, held, out, device)
            validated = state.elapsed_s = time.monotonic() - started
    if held is not None and validated < state.elapsed_s:
        log_validation(state, held, out, device)
    save_checkpoint(out / CHECKPOINT, state, config)


def progress(state: RunState, config: TrainConfig) -> float:
    """Return the used share of the budget, 0..1."""
    by_time = state.elapsed_s / (60 * config.max_minutes) if config.max_minutes else 0.0
    by_steps = state.step / config.max_steps if config.max_steps else 0.0
    return min(1.0, max(by_time, by_steps))


def batches(
    state: RunState, files: dict[tuple[int, int], list[Path]], config: TrainConfig, device: torch.device
) -> Iterator[Batch]:
    """Yield batches from the state's step on until the budget is used up: first the early size, then the full."""
    phases = [(config.input_size, 1.0)]
    if config.early_size is not None:
        phases.insert(0, (config.early_size, config.early_fraction))
    for size, end in phases:
        if progress(state, config) >= end:
            continue
        source = BatchSource(
            files[size],
            config.batch_size,
            config.network.seed_stride,
            config.seed,
            config.forced_seed_probability,
            config.augmentation if config.augment else None,
            config.cells,
        )
        loader = DataLoader(
            source,
            batch_size=None,
            sampler=range(state.step, sys.maxsize),
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
            pin_memory=device.type == "cuda",
            worker_init_fn=_use_one_thread,
        )
        for batch in loader:
            yield batch
            if progress(state, config) >= end:
                break


def _use_one_thread(_worker: int) -> None:
    cv2.setNumThreads(1)


def learning_rate(used: float, config: TrainConfig) -> float:
    """Return the one-cycle learning rate at a used share of the budget: linear warm-up, then half a cosine."""
    if used < config.warmup:
        return config.learning_rate * max(0.02, used / config.warmup)
    phase = (used - config.warmup) / max(1e-9, 1 - config.warmup)
    floor = FINAL_LEARNING_RATE
    return config.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, phase))))


def train_step(state: RunState, batch: Batch, config: TrainConfig, device: torch.device) -> None:
    """Update the network and its average from one batch; a step without finite gradients changes nothing."""
    image = batch.image.to(device, non_blocking=True, memory_format=torch.channels_last)
    guidance, targets = batch.guidance.to(device, non_blocking=True), batch.targets.to(device)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(progress(state, config), config)
    with torch.autocast(device.type, torch.bfloat16, enabled=half_precision(config.precision, device)):
        parts = training_losses(state.network, image, guidance, targets, config.loss, config.field_tokens)
    state.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(parts.values())).sum().backward()
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.clip_norm)
    state.step += 1
    if not math.isfinite(float(norm)):
        state.bad_steps += 1
        state.sums["skipped"] += 1
        if state.bad_steps >= MAX_BAD_STEPS:
            raise RuntimeError(f"training diverged: {MAX_BAD_STEPS} steps in a row without finite gradients")
        return
    state.bad_steps = 0
    state.optimizer.step()
    update_average(state, config)
    record_losses(state, parts, len(image))


@torch.no_grad()
def update_average(state: RunState, config: TrainConfig) -> None:
    """Move the averaged weights towards the network's; statistics of BatchNorm are averaged the same way."""
    decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
    ours, theirs = state.average.state_dict(), state.network.state_dict()
    names = [name for name in ours if ours[name].is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in names], [theirs[name] for name in names], 1 - decay)
    for name in ours.keys() - set(names):
        ours[name].copy_(theirs[name])


def record_losses(state: RunState, parts: dict[str, Tensor], images: int) -> None:
    """Add the loss parts to the running sums of the log."""
    for name, value in zip(parts, torch.stack(list(parts.values())).tolist()):
        state.sums[f"loss/{name}"] += value
        state.sums["loss"] += value
    state.sums["steps"] += 1
    state.sums["images"] += images


def log_losses(state: RunState, out: Path, config: TrainConfig) -> None:
    """Write the mean losses since the last log line."""
    steps = max(1.0, state.sums.pop("steps", 0.0))
    images, skipped = state.sums.pop("images", 0.0), state.sums.pop("skipped", 0.0)
    means = {name: value / steps for name, value in state.sums.items()}
    used = progress(state, config)
    seconds = state.elapsed_s - state.logged_s
    state.logged_s = state.elapsed_s
    state.sums.clear()
    entry = {"step": state.step, "elapsed_s": round(state.elapsed_s, 1), "progress": round(used, 4)}
    entry |= {"learning_rate": learning_rate(used, config), "skipped": skipped, "images": images}
    entry |= {name: round(value, 5) for name, value in means.items()}
    append(out, entry)
    parts = " ".join(f"{name[5:]} {value:.3f}" for name, value in means.items() if name.startswith("loss/"))
    rate = images / max(1e-9, seconds)
    print(f"[{used:6.1%}] step {state.step} loss {means.get('loss', 0):.3f} {rate:.1f} img/s | {parts}", flush=True)


def log_validation(state: RunState, held: BatchSource, out: Path, device: torch.device) -> None:
    """Score the averaged network on the held-out images and log it."""
    scores = validate(state.average, held, len(held), device)
    append(out, {"step": state.step, "elapsed_s": round(state.elapsed_s, 1), "validation": scores})
    print("validation " + " ".join(f"{name} {value:.3f}" for name, value in scores.items()), flush=True)


def append(out: Path, entry: dict[str, Any]) -> None:
    """Append one JSON object to the log."""
    with (out / LOG).open("a") as file:
        file.write(json.dumps(entry) + "\n")


def save_checkpoint(path: Path, state: RunState, config: TrainConfig) -> None:
    """Write the state atomically."""
    content = {
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "bad_steps": state.bad_steps,
        "network_config": config.network.to_json(),
    }
    temporary = path.with_name(path.name + ".part")
    torch.save(content, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path, state: RunState, config: TrainConfig, device: torch.device) -> None:
    """Restore a state saved by `save_checkpoint`.

    Raises:
        InputError: there is no checkpoint, it is damaged, or it belongs to another network configuration.
    """
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint to resume from")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        stored = content["network_config"]
    except Exception as error:  # torch.load raises many types for damaged files
        raise InputError(f"{path}: the checkpoint cannot be read: {error}") from error
    if stored != config.network.to_json():
        raise InputError(f"{path}: the checkpoint is of another network configuration: {stored}")
    state.network.load_state_dict(content["network"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.step, state.elapsed_s, state.bad_steps = content["step"], content["elapsed_s"], content["bad_steps"]
    state.logged_s = state.elapsed_s


def calibration(scores: dict[str, float]) -> dict[str, str]:
    """Return the measured uncertainty that perception reports with its amodal depths.

    `amodal_depth_relative_stddev` is the root mean square relative error of an object's median depth over the
    validation objects that the network found (amodal IoU above 0.5), with the LiDAR's points in the input. It says
    nothing of missed objects, nor of a vehicle without LiDAR. Empty where no object was found.
    """
    stddev = scores.get("object_depth_stddev", 0.0)
    return {"amodal_depth_relative_stddev": f"{stddev:.4f}"} if stddev > 0 else {}


def describe(state: RunState, split: Split, out: Path, config: TrainConfig) -> dict[str, str]:
    """Return the metadata of the weights file: what they are and how they were made, without the machine's paths."""
    settings = config.to_dict()
    settings["validation"] = [Path(path).name for path in config.validation]
    settings["cache"] = None
    arguments = [Path(argument).name if os.path.isabs(argument) else argument for argument in sys.argv]
    return {
        "model_id": config.model_id or out.resolve().name,
        "training_sequences": json.dumps([reader.name for reader in split.train]),
        "validation_sequences": json.dumps([reader.name for reader in split.validation]),
        "training_config": json.dumps(settings),
        "steps": str(state.step),
        "minutes": f"{state.elapsed_s / 60:.1f}",
        "command": " ".join(arguments),
        "torch": torch.__version__,
    }

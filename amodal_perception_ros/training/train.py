"""The training loop: read it from top to bottom.

A run prepares its data once (records in a cache), then trains until its budget of minutes or steps is used up. The
learning rate follows the share of the budget that is used, so a run that is given 60 minutes ends annealed after 60
minutes whatever the machine's speed. `--resume` goes on from the last checkpoint exactly: the same batches, the
same optimizer state, the same averaged weights. Under `torchrun` each process trains on batches of its own and all
take the same step with the mean of their gradients; the first one logs, validates and saves.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amodal_perception_ros.datasets.files import make_folder, write_bytes
from amodal_perception_ros.errors import InputError, RunError
from amodal_perception_ros.network import AmodalNetwork, save_weights
from amodal_perception_ros.network.losses import training_losses
from amodal_perception_ros.network.targets import Targets
from amodal_perception_ros.training.checkpoint import load_checkpoint, run_identity, save_checkpoint
from amodal_perception_ros.training.config import TrainConfig
from amodal_perception_ros.training.dataset import Batch, BatchSource, Split, prepare_cache, split_sequences
from amodal_perception_ros.training.interrupt import interruptible
from amodal_perception_ros.training.loading import deaths_named, load_batches
from amodal_perception_ros.training.processes import Processes, joined
from amodal_perception_ros.training.run_log import LOG, PICTURES, RunLog, device_name, introduce
from amodal_perception_ros.training.sources import composited
from amodal_perception_ros.training.state import RunState, new_state

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"

FINAL_LEARNING_RATE = 1e-3
"""The schedule ends at this share of the peak learning rate."""

MAX_BAD_STEPS = 20
"""The run stops after so many consecutive steps without finite gradients."""

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

Files = dict[tuple[int, int], list[Path]]
"""Input size -> training records, in order."""


@dataclass(frozen=True)
class Run:
    """What stays the same during a run; `identity` as in `run_identity`."""

    out: Path
    config: TrainConfig
    processes: Processes
    identity: dict[str, str]


def train(
    data: list[Path],
    out: Path,
    config: TrainConfig,
    resume: bool = False,
    format: str | None = None,
    images: Path | None = None,
) -> Path:
    """Train the network and write its averaged weights.

    Args:
        data: data sets of any known format (see `sources.open_training_data`).
        out: folder of the run: checkpoint, log (`log.jsonl`, one JSON object a line), example pictures, settings and
            weights.
        config: settings.
        resume: go on from the folder's checkpoint; data, settings and number of processes must be those of the run.
        format: of the data; None finds out by the content.
        images: folder of the pictures of data that keep them apart.

    Returns:
        Path of the weights file.

    Raises:
        InputError: no data, overlapping training and validation sequences, nothing to resume, other data or settings
            than those of the resumed run, a folder that already holds a run, or a file that cannot be read or written.
        RunError: the training diverged, or a loading process died.
        KeyboardInterrupt: after Ctrl-C, with the state of the last step in the checkpoint.
    """
    with joined(config.device) as processes:
        if (out / CHECKPOINT).exists() and not resume:
            raise InputError(f"{out} already holds a run; pass --resume to go on, or choose another folder")
        make_folder(out)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        held_out = [Path(path) for path in config.validation]
        split = split_sequences(data, held_out, config.holdout_sequences, format, images)
        files, held = prepare(split, out, config, processes)
        state = new_state(config, processes.device)
        run = Run(out, config, processes, run_identity(config, files, processes.count))
        if resume:
            load_checkpoint(out / CHECKPOINT, state, run.identity, processes.device)
        if processes.is_first:
            write_bytes(out / "config.json", json.dumps(config.to_dict(), indent=2).encode())
            introduce(state, config, processes, half_precision(config.precision, processes.device))
        with flushed_denormals():
            scores = run_loop(state, files, held, run)
        if processes.is_first:
            metadata = describe(state, split, len(files[config.input_size]), run) | calibration(scores)
            save_weights(out / WEIGHTS, state.average, metadata)
            print(f"wrote {out / WEIGHTS}, log: {out / LOG}, example pictures: {out / PICTURES}", flush=True)
        processes.wait()
    return out / WEIGHTS


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero, which is many times faster on CPUs; restored afterwards."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def half_precision(setting: str, device: torch.device) -> bool:
    """Return whether to train in bfloat16; "auto" does on GPUs and on CPUs with matrix units for it (AMX)."""
    if setting == "auto":
        return device.type == "cuda" or bool(torch.cpu._is_amx_tile_supported())
    return setting == "bfloat16"


def prepare(split: Split, out: Path, config: TrainConfig, processes: Processes) -> tuple[Files, BatchSource | None]:
    """Fill the cache (the first process does); return the training records, and the validation source if any."""
    if not processes.is_first:
        processes.wait()
    cache = Path(config.cache) if config.cache else out / "cache"
    copies = composited(split.train, config.clip_art)
    files = prepare_cache([*split.train, *copies], cache, config.sizes(), config.prepare_workers)
    held = prepare_cache(split.validation, cache, [config.input_size], config.prepare_workers)[config.input_size]
    if processes.is_first:
        print(f"training on {len(files[config.input_size])} images of {len(split.train)} sequences, ", end="")
        print(f"validating on {len(held)} images of {len(split.validation)}", flush=True)
        processes.wait()
    if not held:
        return files, None
    spread = held[:: max(1, len(held) // config.validation_images)][: config.validation_images]
    return files, BatchSource(spread, config.batch_size, config.network.seed_stride)


class LossModule(nn.Module):
    """Batch to weighted loss parts; a module, because gradients are averaged over processes for calls of one."""

    def __init__(self, network: AmodalNetwork, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, image: Tensor, guidance: Tensor, targets: Targets) -> dict[str, Tensor]:
        """See `training_losses`."""
        return training_losses(self.network, image, guidance, targets, self.config.loss, self.config.field_tokens)


def run_loop(state: RunState, files: Files, held: BatchSource | None, run: Run) -> dict[str, float]:
    """Train until the budget is used up; log, validate and save on the way. Returns the scores of the last validation.

    Raises:
        InputError, RunError, KeyboardInterrupt: see `train`.
    """
    config, processes, checkpoint = run.config, run.processes, run.out / CHECKPOINT
    log, losses = RunLog(run.out), processes.wrap(LossModule(state.network, config))
    if processes.is_first:
        log.forget_after(state.step)
    started = time.monotonic() - state.elapsed_s
    saved = validated = state.elapsed_s
    with interruptible() as interrupt, deaths_named():
        for batch in batches(state, files, config, processes):
            torch.manual_seed(draws_seed(config.seed, state.step, processes))
            parts = train_step(state, losses, batch, config, processes.device)
            state.elapsed_s, stop = processes.agree(time.monotonic() - started, interrupt.requested)
            if processes.is_first:
                log.add(parts, len(batch.image) * processes.count) if parts else log.add_skipped()
                if state.step % config.log_steps == 0:
                    used = progress(state, config)
                    log.write_losses(state.step, state.elapsed_s, used, learning_rate(used, config))
                if stop or state.elapsed_s - saved > 60 * config.checkpoint_minutes:
                    save_checkpoint(checkpoint, state, run.identity)
                    saved = state.elapsed_s
                if held and not stop and state.elapsed_s - validated > 60 * config.validation_minutes:
                    log.validate(state.average, held, processes.device, state.step, state.elapsed_s)
                    validated = time.monotonic() - started
            if stop:
                leave(state, run)
    if not processes.is_first:
        return {}
    save_checkpoint(checkpoint, state, run.identity)
    return log.validate(state.average, held, processes.device, state.step, state.elapsed_s) if held else {}


def leave(state: RunState, run: Run) -> None:
    """End the run on request, all processes together, after the first one has saved; raises KeyboardInterrupt there."""
    if run.processes.is_first:
        print(f"step {state.step} is saved in {run.out}; to go on, repeat the command with --resume", flush=True)
    run.processes.wait()
    if run.processes.is_first:
        raise KeyboardInterrupt
    raise SystemExit(INTERRUPTED)


def progress(state: RunState, config: TrainConfig) -> float:
    """Return the used share of the budget, 0..1."""
    by_time = state.elapsed_s / (60 * config.max_minutes) if config.max_minutes else 0.0
    by_steps = state.step / config.max_steps if config.max_steps else 0.0
    return min(1.0, max(by_time, by_steps))


def batches(state: RunState, files: Files, config: TrainConfig, processes: Processes) -> Iterator[Batch]:
    """Yield this process' batches from the state's step on until the budget is used up: early size, then full.

    A batch depends on the seed and its number only; process r of n takes number step * n + r.
    """
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
        numbers = range(state.step * processes.count + processes.rank, sys.maxsize, processes.count)
        for batch in load_batches(source, numbers, config.workers, processes.device):
            yield batch
            if progress(state, config) >= end:
                break


def learning_rate(used: float, config: TrainConfig) -> float:
    """Return the one-cycle learning rate at a used share of the budget: linear warm-up, then half a cosine."""
    if used < config.warmup:
        return config.learning_rate * max(0.02, used / config.warmup)
    phase = (used - config.warmup) / max(1e-9, 1 - config.warmup)
    floor = FINAL_LEARNING_RATE
    return config.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, phase))))


def draws_seed(seed: int, step: int, processes: Processes) -> int:
    """Return the seed of a step's random numbers, such as an encoder's dropped paths, so that it resumes exactly."""
    return ((seed << 40) + step * processes.count + processes.rank) % 2**63


def train_step(
    state: RunState, losses: nn.Module, batch: Batch, config: TrainConfig, device: torch.device
) -> dict[str, Tensor] | None:
    """Update the network and its average from one batch and return the loss parts.

    A step without finite gradients changes nothing and returns None.

    Raises:
        RunError: too many such steps in a row.
    """
    image = batch.image.to(device, non_blocking=True, memory_format=torch.channels_last)
    guidance, targets = batch.guidance.to(device, non_blocking=True), batch.targets.to(device)
    for group in state.optimizer.param_groups:
        group["lr"] = group["scale"] * learning_rate(progress(state, config), config)
    with torch.autocast(device.type, torch.bfloat16, enabled=half_precision(config.precision, device)):
        parts = losses(image, guidance, targets)
    state.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(parts.values())).sum().backward()
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.clip_norm)
    state.step += 1
    if not math.isfinite(float(norm)):
        state.bad_steps += 1
        if state.bad_steps >= MAX_BAD_STEPS:
            raise RunError(
                f"the training diverged: {MAX_BAD_STEPS} steps in a row without finite gradients at step {state.step}; "
                "start again with a lower learning_rate"
            )
        return None
    state.bad_steps = 0
    state.optimizer.step()
    update_average(state, config)
    return {name: value.detach() for name, value in parts.items()}


@torch.no_grad()
def update_average(state: RunState, config: TrainConfig) -> None:
    """Move the averaged weights towards the network's; statistics of BatchNorm are averaged the same way."""
    decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
    ours, theirs = state.average.state_dict(), state.network.state_dict()
    names = [name for name in ours if ours[name].is_floating_point()]
    torch._foreach_lerp_([ours[name] for name in names], [theirs[name] for name in names], 1 - decay)
    for name in ours.keys() - set(names):
        ours[name].copy_(theirs[name])


def calibration(scores: dict[str, float]) -> dict[str, str]:
    """Return the measured uncertainty that perception reports with its amodal depths.

    `amodal_depth_relative_stddev` is the root mean square relative error of an object's median depth over the
    validation objects that the network found (amodal IoU above 0.5), with the LiDAR's points in the input. It says
    nothing of missed objects, nor of a vehicle without LiDAR. Empty where no object was found.
    """
    stddev = scores.get("object_depth_stddev", 0.0)
    return {"amodal_depth_relative_stddev": f"{stddev:.4f}"} if stddev > 0 else {}


def describe(state: RunState, split: Split, images: int, run: Run) -> dict[str, str]:
    """Return the metadata of the weights file: what they are and how they were made, without the machine's paths.

    Args:
        state: at the end of the run.
        split: sequences trained on and validated on.
        images: number of training images.
        run: of the training.
    """
    settings = {**run.config.to_dict(), "cache": None}
    return {
        "model_id": run.config.model_id or run.out.resolve().name,
        "training_sequences": json.dumps([reader.name for reader in split.train]),
        "validation_sequences": json.dumps([reader.name for reader in split.validation]),
        "training_config": json.dumps(_without_folders(settings)),
        "training_images": str(images),
        "steps": str(state.step),
        "minutes": f"{state.elapsed_s / 60:.1f}",
        "device": device_name(run.processes.device),
        "processes": str(run.processes.count),
        "command": " ".join(_without_folders(sys.argv)),
        "torch": torch.__version__,
    }


def _without_folders(value: Any) -> Any:
    """Return plain values with absolute paths cut to their last part."""
    if isinstance(value, dict):
        return {name: _without_folders(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value

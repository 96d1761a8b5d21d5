"""What a run tells of itself: loss parts, validation scores, example pictures."""

from __future__ import annotations

import json
import math
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor

from amodal_perception_ros.datasets.files import unwritable, write_file
from amodal_perception_ros.network import AmodalNetwork
from amodal_perception_ros.training.config import TrainConfig
from amodal_perception_ros.training.dataset import BatchSource
from amodal_perception_ros.training.pictures import example_pictures
from amodal_perception_ros.training.processes import Processes
from amodal_perception_ros.training.state import RunState
from amodal_perception_ros.training.validate import validate

LOG = "log.jsonl"
PICTURES = "pictures"


def introduce(state: RunState, config: TrainConfig, processes: Processes, half_precision: bool) -> None:
    """Print what is about to be trained, on what, and for how long."""
    parameters = sum(value.numel() for value in state.network.parameters()) / 1e6
    backbone = config.network.backbone
    origin = config.init or (backbone.name if backbone else None) or "scratch"
    print(f"network: {parameters:.2f} million parameters, instance head {config.network.instance_head}, from {origin}")
    threads = f" with {torch.get_num_threads()} threads" if processes.device.type == "cpu" else ""
    precision = "bfloat16" if half_precision else "float32"
    steps = f"{processes.count} x {config.batch_size} images a step"
    print(f"device: {device_name(processes.device)}{threads}, {precision}, {steps}")
    budget = [f"{config.max_minutes:g} minutes"] if config.max_minutes else []
    budget += [f"{config.max_steps} steps"] if config.max_steps else []
    done = f"; {state.step} steps in {_duration(state.elapsed_s)} are done" if state.step else ""
    print(f"budget: {' or '.join(budget)}{done}", flush=True)


def device_name(device: torch.device) -> str:
    """Return "cpu", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _duration(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


class RunLog:
    """Writes OUT/log.jsonl (one JSON object a line), OUT/pictures/ and lines on the terminal."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._sums: dict[str, float] = defaultdict(float)
        self._steps, self._images, self._skipped = 0, 0, 0
        self._since = time.monotonic()

    def forget_after(self, step: int) -> None:
        """Drop the lines of later steps and a line cut short: what a run that was killed wrote after its checkpoint."""
        path = self._out / LOG
        if path.exists():
            kept = [line for line in path.read_text(errors="replace").splitlines() if _step_of(line) <= step]
            draft = path.with_name(path.name + ".part")
            write_file(draft, "".join(line + "\n" for line in kept).encode())
            os.replace(draft, path)

    def add(self, parts: dict[str, Tensor], images: int) -> None:
        """Take the loss parts of a step on so many images."""
        for name, value in zip(parts, torch.stack(list(parts.values())).tolist()):
            self._sums[f"loss/{name}"] += value
            self._sums["loss"] += value
        self._steps += 1
        self._images += images

    def add_skipped(self) -> None:
        """Take note of a step without finite gradients."""
        self._skipped += 1

    def write_losses(self, step: int, elapsed_s: float, used: float, learning_rate: float) -> None:
        """Write the mean losses since the last call (of this process; every process has images of its own)."""
        means = {name: value / max(1, self._steps) for name, value in self._sums.items()}
        entry: dict[str, Any] = {"step": step, "elapsed_s": round(elapsed_s, 1), "progress": round(used, 4)}
        entry |= {"learning_rate": learning_rate, "skipped": self._skipped, "images": self._images}
        self._append(entry | {name: round(value, 5) for name, value in means.items()})
        rate = self._images / max(1e-9, time.monotonic() - self._since)
        parts = " ".join(f"{name[5:]} {value:.3f}" for name, value in means.items() if name.startswith("loss/"))
        left = _duration(elapsed_s * (1 - used) / max(1e-9, used))
        loss = f"loss {means.get('loss', 0):.3f}"
        print(f"[{used:6.1%}] step {step}, {left} left, {rate:.1f} images/s, {loss} | {parts}", flush=True)
        self._sums.clear()
        self._steps, self._images, self._skipped = 0, 0, 0
        self._since = time.monotonic()

    def validate(
        self, network: AmodalNetwork, held: BatchSource, device: torch.device, step: int, elapsed_s: float
    ) -> dict[str, float]:
        """Score the network on the held-out images, write the scores and example pictures, and return the scores."""
        scores = validate(network, held, device)
        self._append({"step": step, "elapsed_s": round(elapsed_s, 1), "validation": scores})
        print("validation " + " ".join(f"{name} {value:.3f}" for name, value in scores.items()), flush=True)
        picture = cv2.imencode(".png", example_pictures(network, held, device))[1]
        write_file(self._out / PICTURES / f"step_{step:06d}.png", picture.tobytes())
        return scores

    def _append(self, entry: dict[str, Any]) -> None:
        path = self._out / LOG
        try:
            with path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise unwritable(path, error) from error


def _step_of(line: str) -> float:
    """Return the step of a line of the log; infinity where the line is not whole."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf

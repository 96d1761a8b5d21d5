"""What a run tells of itself: loss parts, validation scores, example pictures."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor

from amodal_perception_ros.network import AmodalNetwork
from amodal_perception_ros.training.dataset import BatchSource
from amodal_perception_ros.training.pictures import example_pictures
from amodal_perception_ros.training.validate import validate

LOG = "log.jsonl"
PICTURES = "pictures"


class RunLog:
    """Writes OUT/log.jsonl (one JSON object a line), OUT/pictures/ and lines on the terminal."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._sums: dict[str, float] = defaultdict(float)
        self._steps, self._images, self._skipped = 0, 0, 0
        self._since = time.monotonic()

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
        """Write the mean losses since the last call."""
        means = {name: value / max(1, self._steps) for name, value in self._sums.items()}
        entry: dict[str, Any] = {"step": step, "elapsed_s": round(elapsed_s, 1), "progress": round(used, 4)}
        entry |= {"learning_rate": learning_rate, "skipped": self._skipped, "images": self._images}
        self._append(entry | {name: round(value, 5) for name, value in means.items()})
        rate = self._images / max(1e-9, time.monotonic() - self._since)
        parts = " ".join(f"{name[5:]} {value:.3f}" for name, value in means.items() if name.startswith("loss/"))
        print(f"[{used:6.1%}] step {step} loss {means.get('loss', 0):.3f} {rate:.1f} img/s | {parts}", flush=True)
        self._sums.clear()
        self._steps, self._images, self._skipped = 0, 0, 0
        self._since = time.monotonic()

    def validate(
        self, network: AmodalNetwork, held: BatchSource, device: torch.device, step: int, elapsed_s: float
    ) -> dict[str, float]:
        """Score the network on the held-out images, write the scores and example pictures, and return the scores."""
        scores = validate(network, held, len(held), device)
        self._append({"step": step, "elapsed_s": round(elapsed_s, 1), "validation": scores})
        print("validation " + " ".join(f"{name} {value:.3f}" for name, value in scores.items()), flush=True)
        folder = self._out / PICTURES
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"step_{step:06d}.png"), example_pictures(network, held, device))
        return scores

    def _append(self, entry: dict[str, Any]) -> None:
        with (self._out / LOG).open("a") as file:
            file.write(json.dumps(entry) + "\n")

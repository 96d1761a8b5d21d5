"""Settings of a training run, from a YAML file."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network.config import INPUT_MULTIPLE, NetworkConfig
from amodal_perception_ros.network.targets import LossWeights
from amodal_perception_ros.training.augment import Augmentation

PRECISIONS = ("auto", "float32", "bfloat16")

DEVICES = r"auto|cpu|cuda(:\d+)?"

NUMBERS = (
    (("batch_size", "max_steps", "log_steps", "cells", "field_tokens", "validation_images"), int, 1, "positive"),
    (("clip_art", "seed", "threads", "workers", "prepare_workers", "holdout_sequences"), int, 0, "at least 0"),
    (("max_minutes", "learning_rate", "clip_norm"), (int, float), 1e-12, "positive"),
    (
        ("weight_decay", "backbone_learning_rate", "checkpoint_minutes", "validation_minutes"),
        (int, float),
        0,
        "at least 0",
    ),
)
"""Settings that are numbers: names, type, least value and what a message calls it."""

SHARES = ("early_fraction", "warmup", "ema_decay", "forced_seed_probability")

Section = TypeVar("Section", LossWeights, Augmentation)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run.

    Attributes:
        network: sizes of the network.
        loss: weights of the loss parts.
        input_size: (width, height) of the network's input [px], multiples of 32.
        early_size: input size of the first part of the run (cheaper steps), or None.
        early_fraction: share of the schedule that runs at `early_size`.
        batch_size: images per step and process; each is one camera of one frame.
        max_minutes: wall-clock budget of the training loop (without preparing the data), or None.
        max_steps: step budget, or None. The schedule ends with whichever budget ends first; one is needed.
        learning_rate: peak of the one-cycle schedule (AdamW).
        backbone_learning_rate: share of the learning rate that a pretrained backbone learns with.
        weight_decay: of weights, not of biases and normalisation.
        warmup: share of the schedule in which the learning rate rises.
        clip_norm: limit of the gradient's norm.
        ema_decay: decay per step of the averaged weights, which are the result.
        field_tokens: tokens per image whose masks are supervised.
        cells: cells per image (of those at stride 2) at which masks are supervised.
        forced_seed_probability: chance that an object's seed cell becomes a token whatever the heat map says.
        augment: whether images are changed at random (see `augment.augment`).
        augmentation: strength of those changes.
        clip_art: composited copies of every training sequence (see `datasets.composites`) to train on besides it.
        init: weights file to start from (fine-tuning); tensors of equal name and shape are taken. None = untrained.
        seed: of data order, augmentation and initial weights.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "float32" or "bfloat16"; auto takes bfloat16 where the device computes in it.
        threads: CPU threads of each training process; 0 = PyTorch's default.
        workers: processes that load and augment batches, for each training process; 0 = in that process.
        prepare_workers: processes that prepare the cache.
        log_steps: steps between log lines.
        checkpoint_minutes: wall-clock time between checkpoints.
        validation_minutes: wall-clock time between validations.
        validation_images: images of a validation.
        validation: data set folders to validate on; empty = hold out sequences of the training data.
        holdout_sequences: number of held-out sequences (the last by name) when `validation` is empty.
        cache: folder of prepared images; None = OUT/cache.
        model_id: name of the result; None = name of the output folder.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    input_size: tuple[int, int] = (512, 288)
    early_size: tuple[int, int] | None = None
    early_fraction: float = 0.5
    batch_size: int = 8
    max_minutes: float | None = 60.0
    max_steps: int | None = None
    learning_rate: float = 1.2e-3
    backbone_learning_rate: float = 0.1
    weight_decay: float = 0.02
    warmup: float = 0.08
    clip_norm: float = 5.0
    ema_decay: float = 0.998
    field_tokens: int = 40
    cells: int = 3072
    forced_seed_probability: float = 0.6
    augment: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    clip_art: int = 0
    init: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    workers: int = 1
    prepare_workers: int = 2
    log_steps: int = 20
    checkpoint_minutes: float = 3.0
    validation_minutes: float = 10.0
    validation_images: int = 64
    validation: tuple[str, ...] = ()
    holdout_sequences: int = 1
    cache: str | None = None
    model_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("input_size", "early_size"):
            size = getattr(self, name)
            if size is not None:
                object.__setattr__(self, name, tuple(size))
                if len(size) != 2 or any(not isinstance(s, int) or s <= 0 or s % INPUT_MULTIPLE for s in size):
                    raise InputError(f"training {name} must be two multiples of {INPUT_MULTIPLE}, got {list(size)}")
        if isinstance(self.validation, str):
            raise InputError("training validation must be a list of folders: validation: [FOLDER]")
        object.__setattr__(self, "validation", tuple(self.validation))
        if self.max_minutes is None and self.max_steps is None:
            raise InputError("training needs a budget: set max_minutes or max_steps")
        if self.precision not in PRECISIONS:
            raise InputError(f"training precision must be one of {', '.join(PRECISIONS)}, got '{self.precision}'")
        if not re.fullmatch(DEVICES, str(self.device)):
            raise InputError(f"training device must be auto, cpu, cuda or cuda:N, got '{self.device}'")
        for names, kind, least, wanted in NUMBERS:
            for name in names:
                _require_number(name, getattr(self, name), kind, least, wanted)
        for name in SHARES:
            _require_number(name, getattr(self, name), (int, float), 0, "in 0..1")
            if getattr(self, name) > 1:
                raise InputError(f"training {name} must be in 0..1, got {getattr(self, name)}")

    def sizes(self) -> list[tuple[int, int]]:
        """Return the input sizes that the run uses."""
        return [self.input_size] if self.early_size is None else [self.early_size, self.input_size]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)


def load_config(path: Path | None) -> TrainConfig:
    """Read settings from a YAML mapping; None gives the defaults.

    Raises:
        InputError: the file cannot be read, or holds unknown or bad settings.
    """
    if path is None:
        return TrainConfig()
    try:
        values = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot read the training settings: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: training settings must be a mapping, got {type(values).__name__}")
    try:
        values["network"] = NetworkConfig.from_dict(values.get("network") or {})
        values["loss"] = _section(LossWeights, values.get("loss"))
        values["augmentation"] = _section(Augmentation, values.get("augmentation"))
        unknown = sorted(set(values) - {item.name for item in fields(TrainConfig)})
        if unknown:
            raise InputError(f"unknown settings {unknown}")
        return TrainConfig(**values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error


def _require_number(name: str, value: Any, kind: type | tuple[type, ...], least: float, wanted: str) -> None:
    if value is None and name in ("max_minutes", "max_steps"):
        return
    what = "a whole number" if kind is int else "a number"
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if not fits:
        hint = " (YAML takes 1e-3 for text: write 1.0e-3)" if isinstance(value, str) else ""
        raise InputError(f"training {name} must be {what}, got {value!r}{hint}")
    if not least <= value < math.inf:
        raise InputError(f"training {name} must be {wanted}, got {value}")


def _section(kind: type[Section], values: dict[str, float] | None) -> Section:
    unknown = sorted(set(values or {}) - {item.name for item in fields(kind)})
    if unknown:
        raise InputError(f"unknown settings {unknown} of {kind.__name__}")
    return kind(**(values or {}))

"""Calibrates and scores weights with the package's evaluator; figures are kept beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import amodal_perception_ros
from amodal_perception_ros.datasets.annotated import AnnotatedSequence
from amodal_perception_ros.datasets.files import write_file
from amodal_perception_ros.evaluation.calibrate import fit, held_out
from amodal_perception_ros.evaluation.outcomes import joined, observe
from amodal_perception_ros.evaluation.run import evaluate
from amodal_perception_ros.evaluation.sources import DataSet, NetworkReader
from amodal_perception_ros.evaluation.workers import cores
from amodal_perception_ros.network import NetworkOutput, load_weights, save_weights
from amodal_perception_ros.perception import Perception
from amodal_perception_ros.perception.engine import Engine, create_engine
from amodal_perception_ros.perception.preprocess import NetworkInput
from experiments.changes import Changes, applied
from experiments.plan import Experiment, Plan
from experiments.running import Trainer, digest

CALIBRATED = "calibrated.safetensors"

CODE = ("network", "perception", "evaluation")
"""Rooms of the package that figures depend on besides weights and data."""


@dataclass(frozen=True)
class NetworkRun:
    """A trained network, as a run of the evaluator.

    Attributes:
        weights: its file.
        input_size: (width, height) of its input.
        lidar: whether it is given the LiDAR points.
        changes: with which it was trained.
    """

    weights: Path
    input_size: tuple[int, int]
    lidar: bool = True
    changes: Changes = field(default_factory=Changes)
    needs_images: bool = True

    def open(self, truth: Sequence[AnnotatedSequence]) -> NetworkReader:
        """Load the network; raises InputError."""
        with applied(self.changes):
            perception = Perception.from_weights(self.weights, input_size=self.input_size)
        return NetworkReader(perception, self.lidar)


class BlindEngine:
    """An engine that is not given the LiDAR points."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.metadata, self.painter = f"{engine.name} without LiDAR", engine.metadata, engine.painter
        self._engine = engine

    def run(self, batch: NetworkInput) -> NetworkOutput:
        """Return the network's output for the images alone."""
        return self._engine.run(replace(batch, guidance=np.zeros_like(batch.guidance)))


def score(experiment: Experiment, seed: int, trainer: Trainer) -> dict[str, Any]:
    """Return the evaluator's figures of an experiment; what is not trained, calibrated and scored yet is so before.

    Figures are those of a file beside the weights if weights, data, and the package's code are still the same.

    Raises:
        InputError: data cannot be read, trained on, or scored.
    """
    plan, weights = trainer.plan, trainer.weights(experiment, seed)
    trained = plan.trained(experiment)
    size = tuple(plan.settings_of(experiment, seed)["input_size"])
    told = repr((size, experiment.lidar, trained.lidar, asdict(trained.changes), trainer.validation, code_digest()))
    path = weights.with_name(f"scores-{digest([weights.read_bytes(), told.encode()])}.json")
    if not path.is_file():
        print(f"== {experiment.name}, seed {seed}: calibrating and scoring {weights}", flush=True)
        calibrated = calibrate(weights, trained, size, plan)
        run = NetworkRun(calibrated, size, experiment.lidar, trained.changes)
        workers = plan.workers or (1 if torch.cuda.is_available() else cores())
        data, runs = DataSet(plan.validation), {experiment.name: run}
        found = evaluate(data, runs, workers=workers, resamples=0, with_baselines=False)
        figures = found.runs[experiment.name]
        kept = {name: value for name, value in figures.items() if name not in ("worst", "source")}
        write_file(path, (json.dumps(kept, indent=1) + "\n").encode())
    return json.loads(path.read_text())


def calibrate(weights: Path, trained: Experiment, size: tuple[int, int], plan: Plan) -> Path:
    """Write a copy of the weights with a calibration and return its path.

    It is fitted as `amodal calibrate` does it, to the sequences held out of the training: every method has thresholds
    that suit it.

    Raises:
        EvaluationError: fewer than two sequences were held out.
    """
    with applied(trained.changes):
        network, metadata = load_weights(weights)
        engine = create_engine(weights, "torch", "auto", "float32", size, 1)
        sequences = held_out(DataSet(plan.data).open(with_images=True), metadata, None)
        outcomes = joined(list(observe(engine if trained.lidar else BlindEngine(engine), sequences, size)))
        if trained.changes.ignore_quality:
            outcomes.objects["quality_logit"] = 0.0
        path = weights.with_name(CALIBRATED)
        save_weights(path, network, metadata | fit(outcomes).to_metadata())
    return path


def code_digest() -> str:
    """Return a digest of the package's code that figures depend on."""
    root = Path(amodal_perception_ros.__file__).parent
    return digest(path.read_bytes() for room in CODE for path in sorted((root / room).rglob("*.py")))

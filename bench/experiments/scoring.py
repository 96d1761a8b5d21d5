"""Scores weights with the package's evaluator; figures are kept beside the weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import amodal_perception_ros
from amodal_perception_ros.datasets.annotated import AnnotatedSequence, Prediction
from amodal_perception_ros.datasets.files import write_file
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.evaluation.run import evaluate
from amodal_perception_ros.evaluation.sources import DataSet
from amodal_perception_ros.evaluation.workers import cores
from amodal_perception_ros.perception import Perception
from amodal_perception_ros.scene import Sample
from experiments.changes import Changes, applied
from experiments.plan import Experiment
from experiments.running import Trainer, digest

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
            return NetworkReader(Perception.from_weights(self.weights, input_size=self.input_size), self.lidar)


class NetworkReader:
    """Perceives the frames of the data. On the processor it runs in one thread, so that processes share the cores."""

    def __init__(self, perception: Perception, lidar: bool) -> None:
        self.repairs, self.unknown = CauseCount(), CauseCount()
        self._perception, self._lidar = perception, lidar

    def read(self, sample: Sample) -> Prediction:
        """Return what the network says about a frame."""
        frame = sample.frame if self._lidar else replace(sample.frame, lidar=None)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return Prediction(self._perception.perceive(frame).cameras)
        finally:
            torch.set_num_threads(threads)


def score(experiment: Experiment, seed: int, trainer: Trainer) -> dict[str, Any]:
    """Return the evaluator's figures of an experiment; it is trained before, and scored where that is not done.

    Figures are those of a file beside the weights if weights, data, and the package's code are still the same.
    """
    plan, weights = trainer.plan, trainer.weights(experiment, seed)
    changes = plan.trained(experiment).changes
    size = tuple(plan.settings_of(experiment, seed)["input_size"])
    run = NetworkRun(weights, size, experiment.lidar, changes)
    key = digest([weights.read_bytes(), trainer.validation.encode(), repr((size, run.lidar, asdict(changes))).encode()])
    path = weights.with_name(f"scores-{digest([key.encode(), code_digest().encode()])}.json")
    if not path.is_file():
        print(f"== {experiment.name}, seed {seed}: scoring {weights}", flush=True)
        workers = plan.workers or (1 if torch.cuda.is_available() else cores())
        data = DataSet(plan.validation)
        figures = evaluate(data, {experiment.name: run}, workers=workers, resamples=0).runs[experiment.name]
        kept = {name: value for name, value in figures.items() if name not in ("worst", "source")}
        write_file(path, (json.dumps(kept, indent=1) + "\n").encode())
    return json.loads(path.read_text())


def code_digest() -> str:
    """Return a digest of the package's code that figures depend on."""
    root = Path(amodal_perception_ros.__file__).parent
    return digest(path.read_bytes() for room in CODE for path in sorted((root / room).rglob("*.py")))

"""What is scored and against what, as descriptions that any process can open: data sets, predictions, models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from amodal_perception_ros.datasets.annotated import AnnotatedSequence, Prediction, PredictionReader
from amodal_perception_ros.datasets.formats import open_predictions, open_sequences
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.perception import Perception
from amodal_perception_ros.scene import Sample

_PARTS = ("truth", "lidar", "boxes", "bev")


@dataclass(frozen=True)
class DataSet:
    """Annotated sequences on disk.

    Attributes:
        paths: folders or files.
        format: one of `formats.FORMATS`; None finds out by the content.
        images: folder of the pictures of a format that keeps them apart.
    """

    paths: tuple[Path, ...]
    format: str | None = None
    images: Path | None = None

    def open(self, with_images: bool) -> list[AnnotatedSequence]:
        """Return the sequences of all paths.

        Raises:
            EvaluationError: there is no frame, two sequences have the same name, or the classes differ.
            DatasetError: a path holds no data set.
        """
        parts = ("images", *_PARTS) if with_images else _PARTS
        found = [(path, one) for path in self.paths for one in open_sequences(path, self.format, self.images, parts)]
        places: dict[str, Path] = {}
        for path, sequence in found:
            if sequence.name in places:
                where = {str(places[sequence.name]), str(path)}
                raise EvaluationError(
                    f"sequence {sequence.name} is there twice ({', '.join(sorted(where))}); score the data sets apart"
                )
            places[sequence.name] = path
            if sequence.classes != found[0][1].classes:
                raise EvaluationError(
                    f"{path} has the classes of {sequence.classes.name}, {found[0][0]} those of "
                    f"{found[0][1].classes.name}; score the data sets apart"
                )
        sequences = [sequence for _, sequence in found]
        if not sum(map(len, sequences)):
            raise EvaluationError(f"no annotated frames in {', '.join(map(str, self.paths))}")
        return sequences


class Source(Protocol):
    """A run to be scored, as a description that can be sent to another process."""

    @property
    def needs_images(self) -> bool:
        """Whether it looks at the pictures of the data set."""
        ...

    def open(self, truth: Sequence[AnnotatedSequence]) -> PredictionReader:
        """Return what answers for the frames of some sequences."""
        ...


@dataclass(frozen=True)
class StoredPredictions:
    """What another program has written, in any of the formats."""

    path: Path
    format: str | None = None
    needs_images: bool = False

    def __str__(self) -> str:
        return f"predictions {self.path}"

    def open(self, truth: Sequence[AnnotatedSequence]) -> PredictionReader:
        """Return the reader of the files; raises DatasetError where there are none."""
        return open_predictions(self.path, truth, self.format)


@dataclass(frozen=True)
class Model:
    """A network that perceives the pictures of the data set.

    Attributes:
        weights: its file; None for the package's.
        engine: what runs it, see `Perception.from_weights`.
        lidar: whether the network is given the LiDAR's points. The map of a frame is made with them in any case.
    """

    weights: Path | None = None
    engine: str = "torch"
    lidar: bool = True
    needs_images: bool = True

    def __str__(self) -> str:
        return f"weights {self.weights or 'of the package'}, {self.engine}{'' if self.lidar else ', without LiDAR'}"

    def open(self, truth: Sequence[AnnotatedSequence]) -> PredictionReader:
        """Load the network.

        Raises:
            EvaluationError: a sequence lacks what the network needs.
            InputError: wrong weights or engine.
        """
        require_model_input(truth, "score stored predictions instead (--predictions)")
        return NetworkReader(Perception.from_weights(self.weights, engine=self.engine, threads=1), self.lidar)

    @property
    def uses_gpu(self) -> bool:
        """Whether the network runs on a graphics card, of which processes would want a copy each."""
        return self.engine == "torch" and torch.cuda.is_available()


def require_model_input(sequences: Sequence[AnnotatedSequence], advice: str) -> None:
    """Raise EvaluationError, with what to do instead, for a sequence that lacks what the network needs."""
    for sequence in sequences:
        lacking = [piece for piece in ("images", "calibration") if piece in sequence.missing]
        if lacking:
            raise EvaluationError(
                f"sequence {sequence.name} has no {' and no '.join(lacking)}, which the model needs; {advice}"
            )


class NetworkReader:
    """A network as a reader. On the processor it runs in one thread: others would round differently.

    Args:
        perception: the network.
        lidar: whether it is given the LiDAR's points.
    """

    def __init__(self, perception: Perception, lidar: bool = True) -> None:
        self.repairs, self.unknown = CauseCount(), CauseCount()
        self._perception, self._lidar = perception, lidar

    def read(self, sample: Sample) -> Prediction:
        """Return what the network says about a frame."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            frame = sample.frame if self._lidar else replace(sample.frame, lidar=None, lidar_times_s=None)
            return Prediction(self._perception.perceive(frame).cameras)
        finally:
            torch.set_num_threads(threads)

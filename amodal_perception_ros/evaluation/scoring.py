"""Scores the runs and the trivial baselines on one sequence after the other, in one pass over the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace

from amodal_perception_ros.datasets.annotated import AnnotatedSequence, Prediction
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.evaluation.baselines import BASELINES, Baseline
from amodal_perception_ros.evaluation.decoding import DecodedScene, EvaluationError, decode
from amodal_perception_ros.evaluation.digest import TruthDigest
from amodal_perception_ros.evaluation.evaluator import Evaluator
from amodal_perception_ros.evaluation.pairs import FramePair, Rules, pair_scenes
from amodal_perception_ros.evaluation.sources import DataSet, Source
from amodal_perception_ros.evaluation.worst import ImageErrors, WorstImage
from amodal_perception_ros.fusion import BevMapper, FusionError
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, CameraScene, Sample, SurroundScene


@dataclass(eq=False)
class ScoredSequence:
    """The figures of one sequence.

    Attributes:
        position: number of the sequence in the data set.
        digest: tells its truth from that of others.
        methods: name of run or baseline -> evaluator.
        repairs: what was corrected while its truth was read.
    """

    position: int
    digest: str
    methods: dict[str, Evaluator]
    repairs: CauseCount = field(default_factory=CauseCount)


@dataclass(frozen=True)
class Job:
    """What is to be scored: a description that can be sent to another process.

    Attributes:
        data: the truth.
        sources: name -> run.
        rules: what is scored.
        with_baselines: whether the trivial baselines are scored too.
    """

    data: DataSet
    sources: Mapping[str, Source]
    rules: Rules
    with_baselines: bool = True

    @property
    def baselines(self) -> dict[str, Baseline]:
        """The baselines to be scored, by name."""
        return BASELINES if self.with_baselines else {}

    def open(self) -> Scorer:
        """Open the data and the runs."""
        return Scorer(self)


class Scorer:
    """The opened data set and runs.

    Attributes:
        sequences: the truth.
        found: what was corrected while data and predictions were opened: of the truth under "", else by run.
        unknown: run -> predicted frames that the truth lacks, see `PredictionReader.unknown`.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.sequences = job.data.open(any(source.needs_images for source in job.sources.values()))
        self._readers = {name: source.open(self.sequences) for name, source in job.sources.items()}
        self.unknown = {name: reader.unknown for name, reader in self._readers.items()}
        self.found = {name: _taken(reader.repairs) for name, reader in self._readers.items()}
        self.found[""] = CauseCount()
        for sequence in self.sequences:
            self.found[""].merge(_taken(sequence.repairs))

    def score(self, positions: range) -> list[ScoredSequence]:
        """Score some sequences.

        Raises:
            EvaluationError, DatasetError: truth or prediction cannot be scored or read; the message says where.
        """
        return [self._score(position) for position in positions]

    def _score(self, position: int) -> ScoredSequence:
        sequence, job = self.sequences[position], self._job
        methods = {name: _Method(_as_predicted, sequence, job.rules) for name in job.sources}
        first = next(iter(methods))
        trivial = {name: _Method(make, sequence, job.rules) for name, make in job.baselines.items()}
        digest = TruthDigest(sequence.name)
        for index in range(len(sequence)):
            sample = sequence[index]
            where = f"sequence {sequence.name} frame {index}"
            truth = {camera: decode(scene, where) for camera, scene in sample.truth.cameras.items()}
            digest.add(sample, truth.values())
            for name, method in methods.items():
                prediction = self._readers[name].read(sample)
                method.check_cameras(truth, prediction, where)
                method.add(sample, truth, prediction, where)
                if name == first:
                    for baseline in trivial.values():
                        baseline.add(sample, truth, Prediction(prediction.cameras), where)
        for name, method in methods.items():
            method.evaluator.excluded.merge(_taken(self._readers[name].repairs).renamed("prediction_"))
        evaluators = {name: method.evaluator for name, method in (methods | trivial).items()}
        return ScoredSequence(position, digest.hexdigest(), evaluators, _taken(sequence.repairs))


class _Method:
    """A method: how it changes a predicted scene, its figures, and its map of the sequence."""

    def __init__(self, change: Callable[[CameraScene], CameraScene], sequence: AnnotatedSequence, rules: Rules) -> None:
        self._change, self._mapper = change, BevMapper()
        self._has_boxes, self._has_bev = (piece not in sequence.missing for piece in ("boxes", "bev"))
        self.evaluator = Evaluator(sequence.classes, rules)

    def check_cameras(self, truth: dict[str, DecodedScene], prediction: Prediction, where: str) -> None:
        """Raise EvaluationError for a camera without prediction; count predictions for other cameras."""
        missing = [camera for camera in truth if camera not in prediction.cameras]
        if missing:
            raise EvaluationError(f"{where}: no prediction for camera '{missing[0]}'")
        for camera in sorted(set(prediction.cameras) - set(truth)):
            self.evaluator.excluded.note("prediction_for_unknown_camera", f"{where}, camera '{camera}'")

    def add(self, sample: Sample, truth: dict[str, DecodedScene], prediction: Prediction, where: str) -> None:
        """Score one frame."""
        cameras = {camera: self._change(prediction.cameras[camera]) for camera in truth}
        rules = self.evaluator.rules
        pairs = {camera: pair_scenes(truth[camera], decode(scene, where), rules) for camera, scene in cameras.items()}
        objects, bev = self._space(sample, prediction, cameras, where)
        pose = sample.frame.odom_from_base
        self.evaluator.add_frame(
            FramePair(
                where=where,
                sequence=sample.sequence,
                index=sample.index,
                stamp_ns=sample.frame.stamp_ns,
                cameras=pairs,
                true_objects=sample.objects if self._has_boxes else None,
                objects=objects,
                true_bev=sample.bev,
                bev=bev,
                ego=None if pose is None else pose[:2, 3],
            )
        )

    def _space(
        self, sample: Sample, prediction: Prediction, cameras: dict[str, CameraScene], where: str
    ) -> tuple[list[AmodalObject] | None, BevOccupancy | None]:
        """Return the objects and the occupancy that the prediction holds, else those that fusion makes of it.

        Fusion sees every frame, whatever this one's truth holds: what it remembers must not depend on the truth.
        """
        objects, bev = prediction.objects, prediction.bev
        lacking = (objects is None and self._has_boxes) or (bev is None and self._has_bev)
        placed = all(scene.camera.is_calibrated for scene in cameras.values())
        if lacking and placed and sample.frame.odom_from_base is not None:
            try:
                fused = self._mapper.update(sample.frame, SurroundScene(sample.frame.stamp_ns, cameras))
            except FusionError as error:
                raise EvaluationError(f"{where}: {error}") from error
            bev = fused if bev is None else bev
            objects = self._mapper.objects if objects is None else objects
        return objects, bev


def read_again(job: Job, run: str, images: list[ImageErrors]) -> Iterator[WorstImage]:
    """Read images and their predictions once more, with their pictures where there are any."""
    sequences = job.data.open(with_images=True)
    reader = job.sources[run].open(sequences)
    by_name = {sequence.name: sequence for sequence in sequences}
    for errors in images:
        sample = by_name[errors.sequence][errors.index]
        predicted = reader.read(sample).cameras[errors.camera]
        picture = sample.frame.images.get(errors.camera)
        yield WorstImage(errors, picture, sample.truth.cameras[errors.camera], predicted)


def chunks(sequences: list[AnnotatedSequence], frames: int) -> list[range]:
    """Group neighbouring sequences so that each group but the last has at least some frames."""
    groups, start, size = [], 0, 0
    for stop, sequence in enumerate(sequences, 1):
        size += len(sequence)
        if size >= frames or stop == len(sequences):
            groups.append(range(start, stop))
            start, size = stop, 0
    return groups


def _as_predicted(scene: CameraScene) -> CameraScene:
    """Return a copy, so that the track ids that fusion gives to its instances do not reach the other methods."""
    return replace(scene, instances=[copy(instance) for instance in scene.instances])


def _taken(repairs: CauseCount) -> CauseCount:
    """Return what a reader has counted since the last time, and let it count from zero."""
    taken = CauseCount(repairs, repairs.places)
    repairs.clear()
    repairs.places.clear()
    return taken

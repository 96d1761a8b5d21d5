"""All metrics over a set of (truth, prediction) pairs, as one nested dictionary, with confidence intervals."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.evaluation.bootstrap import LEVEL, interval
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.adiw import HiddenDepthQuality
from amodal_perception_ros.evaluation.metrics.bins import KINDS
from amodal_perception_ros.evaluation.metrics.calibration import ScoreCalibration
from amodal_perception_ros.evaluation.metrics.depth import DepthError
from amodal_perception_ros.evaluation.metrics.detection import BoxDetection
from amodal_perception_ros.evaluation.metrics.instance import AveragePrecision
from amodal_perception_ros.evaluation.metrics.invariants import InvariantViolations
from amodal_perception_ros.evaluation.metrics.mask_overlap import MaskOverlap
from amodal_perception_ros.evaluation.metrics.metric import Metric, Sums
from amodal_perception_ros.evaluation.metrics.occupancy import HiddenOccupancy
from amodal_perception_ros.evaluation.metrics.order import EDGE_FIGURES, OrderAccuracy
from amodal_perception_ros.evaluation.metrics.panoptic import ReferenceQuality, StrictQuality
from amodal_perception_ros.evaluation.metrics.semantic import SemanticIoU
from amodal_perception_ros.evaluation.metrics.shape import ShapeRegularity
from amodal_perception_ros.evaluation.metrics.stability import TemporalStability
from amodal_perception_ros.evaluation.metrics.tracking import BoxTracking, MaskTracking
from amodal_perception_ros.evaluation.pairs import FramePair, Rules, ScenePair, pair_scenes
from amodal_perception_ros.evaluation.table import ROWS, look_up, part_name
from amodal_perception_ros.evaluation.worst import ImageErrors, image_errors, keep_worst
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene

_OF_PIECES = {
    "levels": {("order", "level_accuracy"), ("stability", "level_change")}
    | {("depth", name) for name in ("ADErr", "ADErr_weighted", *(f"RMSE_{n}" for n in range(OCCLUSION_LEVELS)))},
    "order": {("order", name) for name in EDGE_FIGURES},
}
"""Figures that need a piece of the truth which it may lack: piece -> places of the metrics, keys."""


class Evaluator:
    """Accumulates every metric frame by frame; memory does not grow with the set but for the scores behind AP.

    Args:
        classes: classes of truth and predictions.
        rules: what is scored; the same for every method that is to be compared.
        missing: what the truth lacks, see `AnnotatedSequence.missing`. Without "levels" or "order" there are no figures
            of them.

    Attributes:
        images: the metrics of the images, each with its place in the results (keys joined by dots).
        frames: the same of the metrics over time and space.
        excluded: what was left out or corrected, by cause, with its places.
        worst: the images with the most errors, the worst first.
    """

    def __init__(
        self, classes: ClassList = AMODAL_SYNTH_DRIVE, rules: Rules | None = None, missing: Collection[str] = ()
    ) -> None:
        self.classes, self.rules = classes, rules or Rules()
        self._unknown = {figure for piece in missing for figure in _OF_PIECES.get(piece, ())}
        self.images: tuple[tuple[str, Metric], ...] = (
            ("panoptic.strict", StrictQuality(classes)),
            ("panoptic.reference", ReferenceQuality(classes)),
            ("instance", AveragePrecision(classes)),
            ("masks", MaskOverlap(classes)),
            ("semantic", SemanticIoU(classes)),
            ("depth", DepthError(classes)),
            ("adiw", HiddenDepthQuality()),
            ("order", OrderAccuracy()),
            ("shape", ShapeRegularity()),
            ("calibration", ScoreCalibration()),
        )
        self.frames: tuple[tuple[str, Metric], ...] = (
            ("occupancy", HiddenOccupancy(classes)),
            ("objects", BoxDetection(classes)),
            ("tracking", BoxTracking(classes)),
            ("tracking", MaskTracking(classes)),
            ("stability", TemporalStability(classes)),
        )
        self.invariants = InvariantViolations()
        self.excluded = CauseCount()
        self.worst: list[ImageErrors] = []
        self._size = Sums(**{name: np.zeros(()) for name in ("frames", "images", "without_objects")})
        self._cameras: Counter[str] = Counter()
        self._parts: list[str] = []
        self._resamples = 0

    def add_frame(self, frame: FramePair) -> None:
        """Add one frame; those of one sequence come in order.

        Raises:
            EvaluationError: the frame cannot be scored; the message names frame, camera and instance.
        """
        for pair in frame.cameras.values():
            self._add_image(pair, frame.sequence, frame.index)
        for _, metric in self.frames:
            metric.add(frame)
        self._size.sums["frames"] += 1

    def add(self, truth: CameraScene, predicted: CameraScene, where: str = "") -> None:
        """Add one image on its own, without what is over time and space; `where` names its frame in messages.

        Raises:
            EvaluationError: the pair cannot be scored; the message names frame, camera and instance.
        """
        pair = pair_scenes(decode(truth, where), decode(predicted, where), self.rules)
        self._cameras[truth.camera.name] += 1
        self._size.sums["frames"] = np.array(max(self._cameras.values()), np.float64)
        self._add_image(pair, where, self._cameras[truth.camera.name] - 1)

    def merge(self, part: Evaluator, digest: str = "", weights: np.ndarray | None = None) -> None:
        """Add a part of the set: a sequence, or a single image. The results depend on the order of the parts.

        Args:
            part: its evaluator.
            digest: tells the truth of the part from that of others; see `results`.
            weights: (B,) how often the part is drawn in each bootstrap replicate (`bootstrap.weights`), or None.
        """
        for own, other in zip(self._metrics(), part._metrics()):
            own.merge(other, weights)
        self.excluded.merge(part.excluded)
        self.worst = keep_worst([*self.worst, *part.worst])
        self._parts.append(digest)
        self._resamples = 0 if weights is None else weights.size

    def results(self) -> dict[str, Any]:
        """Return all figures: per cent for qualities and IoUs, metres for depth; what has no data is absent.

        `data.fingerprint` follows from the digests of the parts and from the rules: results with the same one were
        scored on the same truth.
        """
        size = {name: int(value) for name, value in self._size.sums.items()}
        digest = hashlib.blake2b("".join(sorted(self._parts)).encode() + repr(self.rules).encode(), digest_size=16)
        results = {
            "frames": size["frames"],
            "images": size["images"],
            "data": {
                "sequences": len(self._parts),
                "frames": size["frames"],
                "images": size["images"],
                "images_without_objects": size["without_objects"],
                "classes": self.classes.name,
                "fingerprint": digest.hexdigest(),
            },
            "rules": asdict(self.rules),
            **self.figures(),
            "excluded": dict(self.excluded),
            "excluded_places": self.excluded.places,
            "worst": [asdict(image) for image in self.worst],
        }
        return {name: value for name, value in results.items() if value not in ({}, [])}

    def figures(self) -> dict[str, Any]:
        """Return what the metrics say: the part of `results` that confidence intervals are of."""
        tree: dict[str, Any] = {}
        for path, metric in (*self.images, *self.frames, ("invariants", self.invariants)):
            node = tree
            for name in path.split("."):
                node = node.setdefault(name, {})
            node.update((key, value) for key, value in metric.results().items() if (path, key) not in self._unknown)
        for kind in KINDS:
            table = tree[f"per_{kind}"] = dict[str, dict[str, Any]]()
            for path, metric in (*self.images, *self.frames):
                for name, row in metric.breakdown(kind).items():
                    known = {key: value for key, value in row.items() if (path, key) not in self._unknown}
                    table.setdefault(name, {}).update(known)
        return _known(tree)

    def intervals(self) -> dict[str, Any]:
        """Return the confidence intervals of all figures that are no counts, and the replicates of the headline ones.

        `intervals`: {level, resamples, unit, units, figures: nested as the results, [low, high] each}; `replicates`:
        path of a row of the table -> its value in each replicate, None where it has none. A figure's interval runs
        over the replicates that have it, and a figure that none of them has is absent. Both are absent for fewer than
        two parts or without replicates.
        """
        if len(self._parts) < 2 or not self._resamples:
            return {}
        wanted = [path for path, value in _leaves(self.figures()) if isinstance(value, float)]
        values = np.full((self._resamples, len(wanted)), np.nan)
        column = {path: k for k, path in enumerate(wanted)}
        for replicate in range(self._resamples):
            for metric in self._metrics():
                metric.select(replicate)
            if not self._size.sums["images"]:
                continue  # No part was drawn, which happens where there are few; some figures would be 0, not unknown.
            for path, value in _leaves(self.figures()):
                if path in column:
                    values[replicate, column[path]] = value
        for metric in self._metrics():
            metric.select(None)
        tree: dict[str, Any] = {}
        for path, k in column.items():
            if np.isnan(values[:, k]).all():
                continue
            *above, key = path
            node = tree
            for name in above:
                node = node.setdefault(name, {})
            node[key] = interval(values[:, k])
        unit = part_name(len(self._parts), int(self._size.sums["frames"]), int(self._size.sums["images"]))
        head = {"level": LEVEL, "resamples": self._resamples, "unit": unit, "units": len(self._parts)}
        return {"intervals": {**head, "figures": tree}, "replicates": _headline(column, values)}

    def _add_image(self, pair: ScenePair, sequence: str, index: int) -> None:
        for _, metric in self.images:
            metric.add(pair)
        self.invariants.add(pair.predicted)
        self.excluded.merge(pair.excluded)
        self._size.sums["images"] += 1
        self._size.sums["without_objects"] += not pair.truth.instances
        self.worst = keep_worst([*self.worst, image_errors(pair, sequence, index)])

    def _metrics(self) -> list[Sums]:
        return [*(metric for _, metric in (*self.images, *self.frames)), self.invariants, self._size]


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the table: path -> value."""
    found = {row.path: look_up(results, row.path) for row in ROWS}
    return {path: value for path, value in found.items() if value is not None}


def evaluate_pairs(pairs: Iterable[tuple[CameraScene, CameraScene]], rules: Rules | None = None) -> dict[str, Any]:
    """Score (truth, prediction) pairs, all of the class list of the first; see `Evaluator.results`.

    Raises:
        EvaluationError: a pair cannot be scored; the message names its position, camera and instance.
    """
    evaluator: Evaluator | None = None
    for number, (truth, predicted) in enumerate(pairs):
        evaluator = evaluator or Evaluator(truth.classes, rules)
        evaluator.add(truth, predicted, f"pair {number}")
    return (evaluator or Evaluator(rules=rules)).results()


def _leaves(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _known(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a tree without unknown figures and empty branches."""
    known = {key: _known(value) if isinstance(value, dict) else value for key, value in tree.items()}
    return {k: v for k, v in known.items() if not (v == {} or (isinstance(v, float) and math.isnan(v)))}


def _headline(column: dict[tuple[str, ...], int], values: np.ndarray) -> dict[str, list[float | None]]:
    by_path = {".".join(path): values[:, k] for path, k in column.items()}
    return {
        row.path: [None if math.isnan(value) else value for value in by_path[row.path].tolist()]
        for row in ROWS
        if row.path in by_path
    }

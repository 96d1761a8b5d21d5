"""All metrics over a stream of (truth, prediction) pairs, as one nested dictionary and as a table of methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from amodal_perception_ros.evaluation.decoding import DecodedScene, decode
from amodal_perception_ros.evaluation.depth import DepthError
from amodal_perception_ros.evaluation.instance import AveragePrecision
from amodal_perception_ros.evaluation.invariants import InvariantViolations
from amodal_perception_ros.evaluation.mask_overlap import MaskOverlap
from amodal_perception_ros.evaluation.occupancy import HiddenOccupancy
from amodal_perception_ros.evaluation.order import OrderAccuracy
from amodal_perception_ros.evaluation.pairs import Rules, pair_scenes
from amodal_perception_ros.evaluation.panoptic import ReferenceQuality, StrictQuality
from amodal_perception_ros.evaluation.semantic import SemanticIoU
from amodal_perception_ros.scene import BevOccupancy, CameraScene


class Evaluator:
    """Accumulates every metric image by image; memory does not grow with the set but for the scores behind AP.

    Args:
        rules: what is scored; the same for every method that is to be compared.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.strict, self.reference = StrictQuality(), ReferenceQuality()
        self.masks, self.instance, self.semantic = MaskOverlap(), AveragePrecision(), SemanticIoU()
        self.depth, self.order = DepthError(), OrderAccuracy()
        self.occupancy, self.invariants = HiddenOccupancy(), InvariantViolations()
        self.excluded: Counter[str] = Counter()
        self.images: Counter[str] = Counter()

    def add(self, truth: CameraScene, predicted: CameraScene, where: str = "") -> None:
        """Add one image; `where` names its frame in messages.

        Raises:
            EvaluationError: the pair cannot be scored; the message names frame, camera and instance.
        """
        self.add_decoded(decode(truth, where), decode(predicted, where))

    def add_decoded(self, truth: DecodedScene, predicted: DecodedScene) -> None:
        """Add one image whose truth was decoded before, to score several methods on it."""
        pair = pair_scenes(truth, predicted, self.rules)
        for metric in (
            self.strict,
            self.reference,
            self.masks,
            self.instance,
            self.semantic,
            self.depth,
            self.order,
        ):
            metric.add(pair)
        self.invariants.add(predicted)
        self.excluded.update(pair.excluded)
        self.images[truth.scene.camera.name] += 1

    def add_bev(self, truth: BevOccupancy, predicted: BevOccupancy, where: str = "") -> None:
        """Add the bird's-eye view of one frame.

        Raises:
            EvaluationError: the cells of the grids do not coincide.
        """
        self.occupancy.add_grids(truth, predicted, where)

    def results(self) -> dict[str, Any]:
        """Return all figures: per cent for qualities and IoUs, metres for depth; what has no data is absent."""
        results: dict[str, Any] = {
            "frames": max(self.images.values(), default=0),
            "images": sum(self.images.values()),
            "rules": asdict(self.rules),
            "panoptic": {"strict": self.strict.results(), "reference": self.reference.results()},
            "instance": self.instance.results(),
            "masks": self.masks.results(),
            "semantic": self.semantic.results(),
            "depth": self.depth.results(),
            "order": self.order.results(),
            "occupancy": self.occupancy.results(),
            "invariants": self.invariants.results(),
            "excluded": dict(self.excluded),
            "per_class": self._per_class(),
            "per_occlusion": self.masks.breakdown("occlusion"),
            "per_visible_px": self.masks.breakdown("visible_px"),
        }
        return {name: value for name, value in results.items() if value != {}}

    def _per_class(self) -> dict[str, dict[str, float]]:
        overlap = self.masks.breakdown("class")
        return {name: {**row, **overlap.get(name, {})} for name, row in self.strict.per_class().items()}


def evaluate_pairs(pairs: Iterable[tuple[CameraScene, CameraScene]], rules: Rules | None = None) -> dict[str, Any]:
    """Score (truth, prediction) pairs; see `Evaluator.results`.

    Raises:
        EvaluationError: a pair cannot be scored; the message names its position, camera and instance.
    """
    evaluator = Evaluator(rules)
    for number, (truth, predicted) in enumerate(pairs):
        evaluator.add(truth, predicted, f"pair {number}")
    return evaluator.results()

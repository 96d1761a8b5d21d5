"""Occlusion order: who hides whom, and the relative occlusion levels (`DecodedScene.levels`)."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.scene import OcclusionOrder


class OrderAccuracy(Metric):
    """Counts the true order edges whose two objects are both matched.

    Such an edge is right when the prediction holds the edge between the two matched predictions in the same
    direction; the reverse edge and no edge are both wrong. `direction_accuracy` leaves the missing edges out.
    """

    def __init__(self) -> None:
        names = ("edges", "pairs", "correct", "reversed", "objects", "level_correct")
        super().__init__(**{name: np.zeros(()) for name in names})

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        counterpart, counted = {}, set()
        for instance, j, scored, level in zip(pair.truth.instances, pair.match, pair.counted, pair.truth.levels):
            if scored:
                counted.add(instance.instance_id)
            if j >= 0:
                prediction = pair.predicted.instances[j]
                counterpart[instance.instance_id] = prediction.instance_id
                self.sums["objects"] += 1
                self.sums["level_correct"] += int(level == pair.predicted.levels[j])
        predicted = _edges(pair.predicted.scene.order)
        for occluder, occludee in _edges(pair.truth.scene.order):
            if occluder not in counted or occludee not in counted:
                continue
            self.sums["edges"] += 1
            if occluder in counterpart and occludee in counterpart:
                edge = (counterpart[occluder], counterpart[occludee])
                self.sums["pairs"] += 1
                self.sums["correct"] += edge in predicted
                self.sums["reversed"] += edge not in predicted and edge[::-1] in predicted

    def results(self) -> dict[str, float]:
        """Return accuracies and the share of true edges that could be judged, in per cent, and the numbers."""
        total = {name: float(value) for name, value in self.sums.items()}
        shares = {
            "accuracy": (total["correct"], total["pairs"]),
            "direction_accuracy": (total["correct"], total["correct"] + total["reversed"]),
            "share_found": (total["pairs"], total["edges"]),
            "level_accuracy": (total["level_correct"], total["objects"]),
        }
        results = {name: 100.0 * part / whole for name, (part, whole) in shares.items() if whole}
        return {**results, "pairs": int(total["pairs"]), "edges": int(total["edges"])}


def _edges(order: OcclusionOrder) -> set[tuple[int, int]]:
    return set(zip(map(int, order.occluder_ids), map(int, order.occludee_ids)))

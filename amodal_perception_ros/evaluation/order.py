"""Occlusion order: who hides whom, and the relative occlusion levels (`DecodedScene.levels`)."""

from __future__ import annotations

from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.scene import OcclusionOrder


class OrderAccuracy:
    """Counts the true order edges whose two objects are both matched.

    Such an edge is right when the prediction holds the edge between the two matched predictions in the same
    direction; the reverse edge and no edge are both wrong. `direction_accuracy` leaves the missing edges out.
    """

    def __init__(self) -> None:
        self.edges = self.pairs = self.correct = self.reversed = 0
        self.objects = self.level_correct = 0

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        counterpart, counted = {}, set()
        for instance, j, scored, level in zip(pair.truth.instances, pair.match, pair.counted, pair.truth.levels):
            if scored:
                counted.add(instance.instance_id)
            if j >= 0:
                prediction = pair.predicted.instances[j]
                counterpart[instance.instance_id] = prediction.instance_id
                self.objects += 1
                self.level_correct += int(level == pair.predicted.levels[j])
        predicted = _edges(pair.predicted.scene.order)
        for occluder, occludee in _edges(pair.truth.scene.order):
            if occluder not in counted or occludee not in counted:
                continue
            self.edges += 1
            if occluder in counterpart and occludee in counterpart:
                edge = (counterpart[occluder], counterpart[occludee])
                self.pairs += 1
                self.correct += edge in predicted
                self.reversed += edge not in predicted and edge[::-1] in predicted

    def results(self) -> dict[str, float]:
        """Return accuracies and the share of true edges that could be judged, in per cent, and the numbers."""
        results: dict[str, float] = {}
        if self.pairs:
            results["accuracy"] = 100.0 * self.correct / self.pairs
        if self.correct + self.reversed:
            results["direction_accuracy"] = 100.0 * self.correct / (self.correct + self.reversed)
        results.update(pairs=self.pairs, edges=self.edges)
        if self.edges:
            results["share_found"] = 100.0 * self.pairs / self.edges
        if self.objects:
            results["level_accuracy"] = 100.0 * self.level_correct / self.objects
        return results


def _edges(order: OcclusionOrder) -> set[tuple[int, int]]:
    return set(zip(map(int, order.occluder_ids), map(int, order.occludee_ids)))

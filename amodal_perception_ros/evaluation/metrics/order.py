"""Occlusion order: who hides whom, and the relative occlusion levels (`DecodedScene.levels`).

Source: accuracy over pairs of occluding objects as in Zhan et al., "Self-supervised scene de-occlusion", CVPR 2020; the
levels are AmodalSynthDrive's (section 3.3.1). What a missed or invented object costs is decided here.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.decoding import DecodedScene, as_window, box_overlaps
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair

LARGE_OVERLAP_PX = 50
"""Amodal overlap [px] from which the order of two objects is plain to see (`accuracy_50px`)."""

EDGE_FIGURES = (
    *("accuracy", "recall", "precision", "direction_accuracy", "accuracy_50px", "share_found"),
    *("edges", "pairs", "pairs_50px"),
)
"""The figures that need a stated order."""

_SUMS = ("edges", "pairs", "correct", "reversed", "pairs_50px", "correct_50px", "claims", "objects", "level_correct")


class OrderAccuracy(Metric):
    """Counts true and predicted order edges "occluder hides part of occludee", and objects on the right level.

    - `edges` are the true edges between scored objects, `pairs` those of them whose two objects are both matched. A
      pair is correct when the prediction holds the edge between the two matches in the same direction; the
      reverse edge and no edge are both wrong.
    - `accuracy` = correct / pairs, `recall` = correct / edges (a missed object costs its edges),
      `precision` = correct / predicted edges (between predictions that are not ignored; an edge of an invented
      object is wrong), `direction_accuracy` = correct / (correct + reversed).
    - `accuracy_50px` is the accuracy of the pairs whose true amodal masks overlap by 50 px or more.
    - `level_accuracy` is the share of matched objects on the right occlusion level.

    Example; every character stands for 5 x 5 px. A truck T hides 50 px of a car C; a person P hides 25 px of the
    truck and of a bike B. The prediction misses the bike, turns one edge round and invents another::

        visible  CCTTTPPPBB    true edges       T>C  P>T  P>B    true levels       P 0  T 1  C 2  B 1
        C hidden   hh          predicted edges  C>T  P>T  P>C    predicted levels  P 0  T 2  C 1
        T hidden      h
        B hidden        h

        edges = 3, pairs = 2 (T>C, P>T), correct = 1, reversed = 1, predicted edges = 3
        accuracy = direction_accuracy = 50, recall = precision = 33.3, share_found = 66.7
        accuracy_50px = 0 (of T>C), level_accuracy = 33.3 (of P, T and C)
    """

    def __init__(self) -> None:
        super().__init__(**{name: np.zeros(()) for name in _SUMS})

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        claimed, sums = set(pair.predicted.edges), self.sums
        sums["edges"] += sum(pair.counted[a] and pair.counted[b] for a, b in set(pair.truth.edges))
        for (occluder, occludee), edge in matched_edges(pair):
            correct, large = edge in claimed, _overlap_px(pair.truth, occluder, occludee) >= LARGE_OVERLAP_PX
            sums["pairs"] += 1
            sums["correct"] += correct
            sums["reversed"] += not correct and edge[::-1] in claimed
            sums["pairs_50px"] += large
            sums["correct_50px"] += large and correct
        sums["claims"] += sum(not (pair.ignored[a] or pair.ignored[b]) for a, b in claimed)
        found, predictions = pair.matches
        sums["objects"] += found.size
        sums["level_correct"] += np.count_nonzero(pair.truth.levels[found] == pair.predicted.levels[predictions])

    def results(self) -> dict[str, float]:
        """Return the shares in per cent, absent where they are of nothing, and the edges and pairs if there are any."""
        total = {name: float(value) for name, value in self.sums.items()}
        shares = {
            "accuracy": (total["correct"], total["pairs"]),
            "recall": (total["correct"], total["edges"]),
            "precision": (total["correct"], total["claims"]),
            "direction_accuracy": (total["correct"], total["correct"] + total["reversed"]),
            "accuracy_50px": (total["correct_50px"], total["pairs_50px"]),
            "share_found": (total["pairs"], total["edges"]),
            "level_accuracy": (total["level_correct"], total["objects"]),
        }
        results = {name: 100.0 * part / whole for name, (part, whole) in shares.items() if whole}
        counts = ("edges", "pairs", "pairs_50px") if total["edges"] else ()
        return {**results, **{name: int(total[name]) for name in counts}}


def matched_edges(pair: ScenePair) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the true edges whose two objects are both matched, each with the edge between the matches.

    An edge is an (occluder, occludee) pair of indices of instances.
    """
    edges = dict.fromkeys(pair.truth.edges)
    pairs = (((a, b), (int(pair.match[a]), int(pair.match[b]))) for a, b in edges)
    return [(edge, match) for edge, match in pairs if min(match) >= 0]


def _overlap_px(scene: DecodedScene, first: int, second: int) -> int:
    windows, touching = box_overlaps(scene.boxes[[first]], scene.boxes[[second]])
    if not touching[0, 0]:
        return 0
    window = as_window(windows[0, 0])
    return int(np.count_nonzero(scene.part(first, window) & scene.part(second, window)))

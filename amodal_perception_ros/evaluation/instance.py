"""Average precision of amodal, visible, both and invisible masks: AP_A, AP_V, AP_AV and AP_IV at IoU 0.5.

Source: Follmann et al., "Learning to See the Invisible", section 3.3, on the rules of COCO (greedy matching by score,
precision read at 101 recalls, at most 100 predictions per image and class, mean over classes). AP_AV demands the IoU
of the amodal and of the visible masks, that is, their minimum; predictions without a visible part take no part in it
and in AP_V. AP_IV50 runs over occluded objects: a prediction without a hidden part takes no part, and one whose
amodal mask has an IoU of 0.5 or more with an unoccluded object is ignored unless it matches an occluded one. Unlike
the other metrics AP is not a sum: about 30 bytes per prediction are kept.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from amodal_perception_ros.evaluation.pairs import ScenePair

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds of AP_A, AP_V and AP_AV."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_MAX_PREDICTIONS = 100


class AveragePrecision:
    """Collects per class the scores of predictions and whether each is right at every threshold."""

    def __init__(self) -> None:
        self.curves: dict[str, defaultdict[int, _Curve]] = {
            name: defaultdict(_Curve) for name in ("AP_A", "AP_V", "AP_AV", "AP_IV50")
        }

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        scores = np.array([instance.score for instance in pair.predicted.instances])
        for c in np.union1d(pair.truth.class_index, pair.predicted.class_index):
            rows = np.flatnonzero(pair.truth.class_index == c)
            columns = np.flatnonzero(pair.predicted.class_index == c)
            columns = columns[np.argsort(-scores[columns], kind="stable")][:_MAX_PREDICTIONS]
            self._add_class(pair, int(c), rows, columns, scores)

    def results(self) -> dict[str, float]:
        """Return the mean over the classes with a true object in per cent; absent when there is none."""
        results = {}
        for name, curves in self.curves.items():
            values = [curve.average_precision() for curve in curves.values() if curve.positives]
            if values:
                results[name] = 100.0 * float(np.mean(values))
        return results

    def _add_class(self, pair: ScenePair, c: int, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        wanted = pair.counted[rows]
        seen = columns[pair.predicted.visible_px[columns] > 0]
        amodal, visible = pair.amodal_iou[np.ix_(rows, seen)], pair.visible_iou[np.ix_(rows, seen)]
        for name, chosen, iou in (
            ("AP_A", columns, pair.amodal_iou[np.ix_(rows, columns)]),
            ("AP_V", seen, visible),
            ("AP_AV", seen, np.minimum(amodal, visible)),
        ):
            right, ignored = _greedy(iou, wanted, THRESHOLDS)
            self.curves[name][c].add(scores[chosen], right, ignored, int(wanted.sum()))
        self._add_hidden(pair, c, rows, columns[pair.predicted_occluded[columns]], scores)

    def _add_hidden(self, pair: ScenePair, c: int, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        wanted = pair.counted[rows] & pair.occluded[rows]
        hidden = pair.hidden_iou[np.ix_(rows[wanted], columns)]
        right, _ = _greedy(hidden, np.ones(len(hidden), bool), THRESHOLDS[:1])
        on_other = (pair.amodal_iou[np.ix_(rows[~wanted], columns)] >= THRESHOLDS[0]).any(axis=0)
        ignored = ~right & on_other[:, None]
        self.curves["AP_IV50"][c].add(scores[columns], right, ignored, int(wanted.sum()))


class _Curve:
    """Predictions of one class: scores, and (predictions, thresholds) flags."""

    def __init__(self) -> None:
        self.scores: list[np.ndarray] = []
        self.right: list[np.ndarray] = []
        self.ignored: list[np.ndarray] = []
        self.positives = 0

    def add(self, scores: np.ndarray, right: np.ndarray, ignored: np.ndarray, positives: int) -> None:
        self.scores.append(scores)
        self.right.append(right)
        self.ignored.append(ignored)
        self.positives += positives

    def average_precision(self) -> float:
        order = np.argsort(-np.concatenate(self.scores), kind="stable")
        right, ignored = np.concatenate(self.right)[order], np.concatenate(self.ignored)[order]
        hits = np.cumsum(right & ~ignored, axis=0)
        misses = np.cumsum(~right & ~ignored, axis=0)
        values = []
        for hit, miss in zip(hits.T, misses.T):
            precision = hit / np.maximum(hit + miss, 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            at = np.searchsorted(hit / self.positives, _RECALLS, side="left")
            values.append(np.append(envelope, 0.0)[np.minimum(at, envelope.size)].mean())
        return float(np.mean(values))


def _greedy(iou: np.ndarray, wanted: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match predictions to true objects as COCO does.

    Args:
        iou: (n, m), the predictions sorted by falling score.
        wanted: (n,) bool; matching one of the other true objects makes a prediction ignored.
        thresholds: (t,) IoUs.

    Returns:
        (m, t) bool, the prediction has a match; (m, t) bool, that match is not a wanted object.
    """
    true_count, predicted_count = iou.shape
    right = np.zeros((predicted_count, thresholds.size), bool)
    ignored = np.zeros_like(right)
    if true_count == 0:
        return right, ignored
    free = np.ones((true_count, thresholds.size), bool)
    level = np.arange(thresholds.size)
    for j in range(predicted_count):
        usable = free & (iou[:, j, None] >= thresholds)
        has_wanted = (usable & wanted[:, None]).any(axis=0)
        usable &= wanted[:, None] | ~has_wanted
        best = true_count - 1 - np.where(usable, iou[:, j, None], -1.0)[::-1].argmax(axis=0)
        found = usable.any(axis=0)
        free[best[found], level[found]] = False
        right[j] = found
        ignored[j] = found & ~wanted[best]
    return right, ignored

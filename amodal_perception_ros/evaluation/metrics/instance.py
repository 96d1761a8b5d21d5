"""Average precision of amodal, visible, both and invisible masks on the rules of COCO.

Source: Follmann et al., "Learning to See the Invisible" (ORCNN), section 3.3. Predictions of an image and class are
matched greedily by falling score, at most 100 of them; precision is made monotone and read at 101 recalls; AP is the
mean over ten IoU thresholds and over the classes with a true object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.evaluation.metrics.metric import RankedMetric
from amodal_perception_ros.evaluation.pairs import Rules, ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList
from amodal_perception_ros.masks import RoiMask, pairwise_areas
from amodal_perception_ros.scene import CameraScene

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds of the mean; a prediction matches from the threshold on, as in pycocotools."""

_RECALLS = np.linspace(0.0, 1.0, 101)
_MAX_PREDICTIONS = 100

_ALL_OBJECTS, _OCCLUDED_OBJECTS = 0, 1
_ROWS = {
    "AP_A": slice(0, 10),
    "AP_V": slice(10, 20),
    "AP_AV": slice(20, 30),
    "AP_A_occluded": slice(30, 40),
    "AP_V_occluded": slice(40, 50),
    "AP_AV_occluded": slice(50, 60),
    "AP_IV50": slice(60, 61),
    "AP_A50": slice(0, 1),
    "AP_V50": slice(10, 11),
}
_CURVES = 61
_SUBSET = np.repeat((_ALL_OBJECTS, _OCCLUDED_OBJECTS), (30, 31))
"""Which true objects each of the curves runs over."""

_MATCHINGS = np.repeat(np.arange(7), (10, 10, 10, 10, 10, 10, 1))
"""Of which of the seven ways to compare masks each of the curves is, in the order of `_ROWS`."""

_CURVE_THRESHOLDS = np.concatenate((np.tile(THRESHOLDS, 6), THRESHOLDS[:1]))

_RECORD = np.dtype(
    [("class_index", "u2"), ("part", "i4"), ("score", "f8"), ("right", "u1", 8), ("counted", "u1", 8)],
)
"""What is kept of a prediction: for each curve a bit, whether it is right and whether it counts at all."""


@dataclass(eq=False)
class Overlaps:
    """What average precision asks of an image with n true and m predicted objects.

    Attributes:
        true_class, predicted_class: (n,), (m,) int64 class indices.
        scores: (m,) float64 confidences.
        iou: (3, n, m) float64 IoUs of the amodal, visible and hidden masks.
        counted: (n,) bool, the true objects that are scored.
        occluded: (n,) bool, those of them that have a hidden part.
        seen, hiding: (m,) bool, the predictions with a visible part, and with a hidden one.
    """

    true_class: np.ndarray
    predicted_class: np.ndarray
    scores: np.ndarray
    iou: np.ndarray
    counted: np.ndarray
    occluded: np.ndarray
    seen: np.ndarray
    hiding: np.ndarray


class AveragePrecision(RankedMetric):
    """AP of ORCNN: AP_A, AP_V, AP_AV over all objects and over the occluded ones, AP_IV50, and AP_A50, AP_V50.

    - AP_A and AP_V rate the amodal and the visible masks on their own. AP_AV demands that both IoUs reach the threshold
      ("need both to be satisfied"), that is, their minimum.
    - The `_occluded` figures and AP_IV50, the AP of the hidden masks at IoU 0.5, "ignore all non-occluded ground truth
      objects": these are not missed, and what matches one of them does not count.
    - "For the computation of AP_V and AP_IV we ignore the proposals whose amodal masks have an IoU with an ignored
      ground truth of at least 0.5": this stands under those separate evaluations, so it applies to AP_V_occluded and
      AP_IV50, within a class, and to predictions that are not right: a perfect prediction must not lose by it.
    - Predictions without a visible part take no part in AP_V and AP_AV, those without a hidden part none in AP_IV50:
      an IoU with nothing is no measure.
    - True objects that `Rules` leave out are ignored as COCO ignores objects out of its range of sizes.

    Two cars, and three predictions of the class with their amodal IoUs::

        score   IoU with car 1   IoU with car 2   at 0.50 .. 0.75      at 0.80 .. 0.95
        0.9         0.78              0           right                wrong
        0.8           0               0           wrong                wrong
        0.7           0              1.0          right                right

        to 0.75: precision 1/1, 1/2, 2/3 at recall 1/2, 1/2, 1   -> 51 recalls at 1, 50 at 2/3: (51 + 100/3) / 101
        from 0.80: precision 0, 0, 1/3 at recall 0, 0, 1/2       -> 51 recalls at 1/3:          17 / 101
        AP_A = (6 x 84.33 + 4 x 17) / 10 / 101 = 56.83 %

    Unlike the other metrics AP is not a sum (`RankedMetric`): 30 bytes per prediction are kept.

    Args:
        classes: classes of the data set.
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        super().__init__(positives=np.zeros((2, len(classes))))
        self.classes = classes

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        self.add_overlaps(
            Overlaps(
                pair.truth.class_index,
                pair.predicted.class_index,
                np.array([instance.score for instance in pair.predicted.instances]),
                np.array((pair.amodal_iou, pair.visible_iou, pair.hidden_iou)),
                pair.counted,
                pair.counted & pair.occluded,
                pair.predicted.visible_px > 0,
                pair.predicted_occluded,
            )
        )

    def add_overlaps(self, image: Overlaps) -> None:
        """Add one image of which only the overlaps are known."""
        for c in np.union1d(image.true_class[image.counted], image.predicted_class):
            rows, columns = np.flatnonzero(image.true_class == c), np.flatnonzero(image.predicted_class == c)
            self.sums["positives"][:, c] += image.counted[rows].sum(), image.occluded[rows].sum()
            if columns.size:
                columns = columns[np.argsort(-image.scores[columns], kind="stable")]
                self._records.append(_records(image, rows, columns))
        self._forget()

    def results(self) -> dict[str, float]:
        """Return the mean over the classes with a true object in per cent; absent when there is none."""
        values, present = self._curves()
        means = {}
        for name, rows in _ROWS.items():
            classes = present[_SUBSET[rows.start]]
            if classes.any():
                means[name] = 100.0 * float(values[classes, rows].mean())
        return means

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return the same figures per class, the only kind of bin that AP has; empty for the others."""
        if kind != "class":
            return {}
        values, present = self._curves()
        return {
            label.name: {
                name: 100.0 * float(values[c, rows].mean())
                for name, rows in _ROWS.items()
                if present[_SUBSET[rows.start], c]
            }
            for c, label in enumerate(self.classes.labels)
            if present[_ALL_OBJECTS, c]
        }

    def _curves(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the (c, 61) AP of every class and curve, and (2, c) bool, whether the class has such true objects."""
        positives = self.sums["positives"]
        if self._values is None:
            self._sorted = self._sorted or {c: _Predictions(records) for c, records in self._ranked().items()}
            weights = self._weights()
            self._values = np.zeros((len(self.classes), _CURVES))
            for c, predictions in self._sorted.items():
                if positives[_ALL_OBJECTS, c]:
                    self._values[c] = predictions.average_precision(positives[:, c], weights)
        return self._values, positives > 0


def average_precision(pairs: Iterable[tuple[CameraScene, CameraScene]], rules: Rules | None = None) -> dict[str, float]:
    """Return AP alone of (truth, prediction) pairs of one class list: no mask is decoded, but nothing is checked."""
    metric: AveragePrecision | None = None
    for truth, predicted in pairs:
        metric = metric or AveragePrecision(truth.classes)
        metric.add_overlaps(_overlaps(truth, predicted, rules or Rules()))
    return metric.results() if metric else {}


def _overlaps(truth: CameraScene, predicted: CameraScene, rules: Rules) -> Overlaps:
    true_masks, predicted_masks = _masks_inside(truth), _masks_inside(predicted)
    n, m = len(truth.instances), len(predicted.instances)
    true_class, predicted_class = (
        scene.classes.indices(i.class_id for i in scene.instances) for scene in (truth, predicted)
    )
    same_class = true_class[:, None] == predicted_class
    shared, *areas = pairwise_areas(true_masks, predicted_masks, np.tile(same_class, (2, 2)))
    amodal, visible = shared[:n, :m], shared[n:, m:]
    hidden = amodal - shared[:n, m:] - shared[n:, :m] + visible
    true_px, predicted_px = (np.vstack((a, v, a - v)) for a, v in (pixels.reshape(2, -1) for pixels in areas))
    overlap = np.array((amodal, visible, hidden))
    counted = true_px[1] >= rules.min_visible_px
    return Overlaps(
        true_class,
        predicted_class,
        np.array([instance.score for instance in predicted.instances]),
        overlap / np.maximum(true_px[:, :, None] + predicted_px[:, None, :] - overlap, 1),
        counted,
        counted & (true_px[2] >= rules.min_hidden_px),
        predicted_px[1] > 0,
        predicted_px[2] >= rules.min_hidden_px,
    )


def _masks_inside(scene: CameraScene) -> list[RoiMask]:
    """Return the amodal masks, then the visible ones, cut to the image."""
    height, width = scene.labels.shape
    masks = [i.amodal_mask for i in scene.instances] + [i.visible_mask for i in scene.instances]
    return [
        mask
        if mask.x_offset >= 0 and mask.y_offset >= 0 and mask.box[2] <= width and mask.box[3] <= height
        else mask.clipped(height, width)
        for mask in masks
    ]


class _Predictions:
    """The predictions of one class by falling score.

    Attributes:
        part: (n,) number of the part of the set that each belongs to.
        right: for each curve, the indices of the predictions that are right.
        counted: (u, n) bool, which predictions count: the different rows of all curves.
        row: (61,) row of each curve.
    """

    def __init__(self, records: np.ndarray) -> None:
        self.part = records["part"]
        right, counted = (np.unpackbits(records[name], axis=1, count=_CURVES).T for name in ("right", "counted"))
        self.right = [np.flatnonzero(flags) for flags in right]
        self.counted, row = np.unique(counted, axis=0, return_inverse=True)
        self.row = row.ravel()

    def average_precision(self, positives: np.ndarray, part_weights: np.ndarray | None) -> np.ndarray:
        """Return the (61,) AP of each curve in 0..1.

        Args:
            positives: (2,) number of true objects: all, occluded.
            part_weights: (parts,) how often each part of the set counts, or None for once.
        """
        weight = np.ones(self.part.size) if part_weights is None else part_weights[self.part]
        shown = np.cumsum(self.counted * weight, axis=1)
        values = np.zeros(_CURVES)
        for curve, total in enumerate(positives[_SUBSET]):
            right = self.right[curve]
            if total and right.size:
                hits = np.cumsum(weight.take(right))
                # Precision only falls between two right predictions, so that theirs make up the envelope.
                precision = hits / np.maximum(shown[self.row[curve]].take(right), 1.0)
                envelope = np.maximum.accumulate(precision[::-1])[::-1]
                at = np.searchsorted(hits / total, _RECALLS, side="left")
                values[curve] = envelope[at[at < right.size]].sum() / _RECALLS.size
        return values


def _records(image: Overlaps, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return a record for each prediction of one class, which are sorted by falling score."""
    amodal, visible, hidden = image.iou[:, rows[:, None], columns]
    both = np.minimum(amodal, visible)
    counted, occluded = image.counted[rows], image.occluded[rows]
    seen, hiding = image.seen[columns], image.hiding[columns]
    everyone, nobody = np.ones_like(seen), np.zeros_like(seen)
    on_unwanted = (amodal[~occluded] >= THRESHOLDS[0]).any(axis=0)
    taking_part = np.array((everyone, seen, seen, everyone, seen, seen, hiding))
    taking_part &= np.cumsum(taking_part, axis=1) <= _MAX_PREDICTIONS
    found, on_other = _greedy(
        np.array((amodal, visible, both, amodal, visible, both, hidden)),
        np.array((counted, counted, counted, occluded, occluded, occluded, occluded)),
        taking_part,
    )
    ignored = np.array((nobody, nobody, nobody, nobody, on_unwanted, nobody, on_unwanted))
    right = found & ~on_other
    records = np.zeros(columns.size, _RECORD)
    records["class_index"], records["score"] = image.predicted_class[columns[0]], image.scores[columns]
    records["right"] = np.packbits(right, axis=1)
    wrong = taking_part[_MATCHINGS].T & ~on_other & ~ignored[_MATCHINGS].T
    records["counted"] = np.packbits(right | wrong, axis=1)
    return records


def _greedy(iou: np.ndarray, wanted: np.ndarray, taking_part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match as COCO does: by falling score the free true object of largest IoU, a wanted one if there is any.

    Args:
        iou: (7, n, m) float64, the predictions sorted by falling score.
        wanted: (7, n) bool; the other true objects are matched when no wanted one is left.
        taking_part: (7, m) bool, the predictions that are matched.

    Returns:
        (m, 61) bool, the prediction has a match on a curve; (m, 61) bool, that match is not a wanted object.
    """
    _, true_count, predicted_count = iou.shape
    found, on_other = (np.zeros((predicted_count, _CURVES), bool) for _ in range(2))
    # Of equal values the last object is chosen, as in pycocotools: hence the turned order.
    rank = np.where(wanted[:, :, None], iou, iou - 2.0)[_MATCHINGS, ::-1].transpose(2, 1, 0)
    reached = iou[_MATCHINGS, ::-1] >= _CURVE_THRESHOLDS[:, None, None]
    usable = (reached & taking_part[_MATCHINGS, None, :]).transpose(2, 1, 0)
    free = np.ones((true_count, _CURVES), bool)
    curve = np.arange(_CURVES)
    for j in np.flatnonzero(usable.any(axis=(1, 2))):
        value = np.where(usable[j] & free, rank[j], -np.inf)
        best = value.argmax(axis=0)
        value = value[best, curve]
        found[j] = value > -np.inf
        free[best[found[j]], curve[found[j]]] = False
        on_other[j] = found[j] & (value < 0)
    return found, on_other

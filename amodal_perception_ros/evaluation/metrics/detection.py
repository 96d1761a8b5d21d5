"""Average precision of 3-D objects by the distance of their centres, and the errors of place, size and heading.

Source: Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.metrics.bins import bin_names, distance_bin, visibility_bin
from amodal_perception_ros.evaluation.metrics.metric import RankedMetric
from amodal_perception_ros.evaluation.metrics.tracking import RANGE, Boxes, Identities
from amodal_perception_ros.evaluation.pairs import FramePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList
from amodal_perception_ros.scene import AmodalObject

THRESHOLDS = np.array((0.5, 1.0, 2.0, 4.0))
"""A prediction is right when its centre is less than that from the true one, seen from above [m]."""

FLOOR = 0.1
"""Precision is read at recalls above this, and only what exceeds this counts."""

_ERRORS_AT = 2
"""Errors are those of the true positives at this threshold: 2 m."""

_RECALLS = np.arange(11, 101) / 100.0
_ERRORS = ("ATE", "ASE", "AOE", "AOE_half_turn")
_FOUND = 0
"""Column of the error sums that counts the true positives."""

_RECORD = np.dtype(
    [
        ("class_index", "u2"),
        ("part", "i4"),
        ("score", "f8"),
        ("right", "?", 4),
        ("counted", "?", 4),
        ("visibility", "u1", 4),
        ("distance", "u1", 4),
    ]
)
"""What is kept of a prediction: for each threshold, whether it is right, whether it counts at all, and its bins."""


class BoxDetection(RankedMetric):
    """Average precision of boxes within `RANGE` of the vehicle, on the rules of nuScenes.

    Asked for are the true objects that `BoxTracking` asks for: those that a camera sees, and those that none sees but
    one saw in an earlier frame of the sequence. In each frame and class the predictions by falling
    `existence_probability` take the nearest true object, seen from above, that is still free and nearer than the
    threshold. What takes an object that is not asked for (never seen, or out of range), or takes none and is out of
    range itself, does not count. Equal scores keep the order in which they came.

    - `AP_0.5`, `AP_1`, `AP_2`, `AP_4`: precision over recall as a polygon through the predictions by falling score, at
      the 90 recalls 0.11, 0.12, ..., 1: mean of what it exceeds 0.1, over 0.9; then the mean over classes with a true
      object. `mAP`: the mean of the four.
    - `recall`: share of the true `objects` found within 2 m, at any score.
    - Errors of the true positives at 2 m, mean over objects, then over classes: `mATE`, distance of the centres from
      above [m]; `mASE`, 1 - IoU of the boxes put upon each other; `mAOE`, angle between the headings [rad], and
      `mAOE_half_turn`, the same where front and back are one (0 to pi / 2). A prediction of unknown size or heading is
      charged the worst: 1, pi and pi / 2. (nuScenes averages them over recalls above 0.1 instead.)

    `breakdown` holds the same by class, distance to the vehicle, and visible share of the true object in all cameras
    (`bins.VISIBILITY_EDGES`). A prediction that takes no object counts in the bins of its own values.

    Example: two cars of 5 x 2 x 1.5 m, asked for at 10 and 20 m on the x axis, both heading along it::

        score   centre    off               box                    at 0.5 and 1 m   at 2 and 4 m
        0.9     10.3 m    0.3 m from A      4 m long, turned by pi      right           right
        0.8     30 m      -                                             wrong           wrong
        0.7     21.5 m    1.5 m from B      turned by 0.2 rad           wrong           right

        to 1 m:   precision 1, 1/2, 1/3 at recalls 1/2, 1/2, 1/2
                  39 recalls below 1/2 at 1, one at 1/3, none above: (39 x 0.9 + 0.2333) / 90 / 0.9 = 43.62 %
        from 2 m: precision 1, 1/2, 2/3 at recalls 1/2, 1/2, 1
                  39 recalls at 1, one at 1/2, 50 on the line from 1/2 to 2/3, in sum 29.25:
                  (39 x 0.9 + 0.4 + 29.25 - 50 x 0.1) / 90 / 0.9 = 73.77 %
        mAP   (2 x 43.62 + 2 x 73.77) / 4 = 58.69 %    recall  2 of 2 = 100 %
        mATE  (0.3 + 1.5) / 2 = 0.9 m                  mASE    ((1 - 4/5) + 0) / 2 = 0.1
        mAOE  (pi + 0.2) / 2 = 1.671 rad               mAOE_half_turn  (0 + 0.2) / 2 = 0.1 rad
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        self._names = {kind: bin_names(kind, classes) for kind in ("visibility", "distance")}
        self._classes, self._identities = classes, Identities()
        shape = (len(classes), *(len(names) for names in self._names.values()))
        super().__init__(objects=np.zeros(shape), errors=np.zeros((*shape, 1 + len(_ERRORS))))

    def add(self, frame: FramePair) -> None:
        """Add one frame, if truth and program give boxes and the vehicle's place in odom is known.

        Raises:
            EvaluationError: a track id twice in a frame, an unknown class, a centre or a probability that is not
                finite, or a true object whose size or heading is not known.
        """
        if frame.objects is None or frame.ego is None or frame.true_objects is None:
            return
        if self._identities.sequence != frame.sequence:
            self._identities = Identities(frame.sequence)
        truth = Boxes(frame.true_objects, frame.ego, self._classes, f"{frame.where}: true object")
        predicted = Boxes(frame.objects, frame.ego, self._classes, f"{frame.where}: predicted object")
        _require_known(frame)
        seen = np.array([bool(item.cameras) for item in frame.true_objects], bool)
        seconds = [self._identities.seconds_unseen(t, frame.stamp_ns, s) for t, s in zip(truth.track_ids, seen)]
        known = ~np.isnan(np.array(seconds, np.float64))
        wanted = known & (truth.range <= RANGE)
        bins = (truth.class_index, _visibility(frame.true_objects), distance_bin(truth.range))
        np.add.at(self.sums["objects"], tuple(each[wanted] for each in bins), 1)
        match, distance = _match(truth, predicted, _scores(frame.objects))
        self._keep(frame.objects, predicted, match, wanted, bins)
        j = np.flatnonzero(match[_ERRORS_AT] >= 0)
        j = j[wanted[match[_ERRORS_AT, j]]]
        i = match[_ERRORS_AT, j]
        errors = _errors(frame.true_objects, frame.objects, i, j, distance)
        np.add.at(self.sums["errors"], tuple(each[i] for each in bins), errors)

    def results(self) -> dict[str, float]:
        """Return AP and recall in per cent, errors in m, 0..1 and rad; absent without a true object."""
        every = (slice(None), slice(None))
        return _figures(*self._sums_of(every), self._precisions()[:, 0])

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return the same figures by "class", "visibility" or "distance" (`bins.KINDS`); empty for other kinds."""
        precisions = self._precisions()
        if kind == "class":
            objects, errors = self._sums_of((slice(None), slice(None)))
            one = [slice(c, c + 1) for c in range(len(objects))]
            rows = {
                label.name: _figures(objects[c], errors[c], precisions[c, 0])
                for label, c in zip(self._classes.labels, one)
            }
        elif kind in self._names:
            first = 1 + (len(self._names["visibility"]) if kind == "distance" else 0)
            rows = {
                name: _figures(*self._sums_of(_selection(kind, b)), precisions[:, first + b])
                for b, name in enumerate(self._names[kind])
            }
        else:
            return {}
        return {name: {f"box_{key}": value for key, value in row.items()} for name, row in rows.items() if row}

    def _sums_of(self, bins: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        """Return the (c,) true objects and the (c, 5) sums of errors of each class in some bins."""
        chosen = (slice(None), *bins)
        return self.sums["objects"][chosen].sum(axis=(1, 2)), self.sums["errors"][chosen].sum(axis=(1, 2))

    def _keep(
        self,
        objects: Sequence[AmodalObject],
        predicted: Boxes,
        match: np.ndarray,
        wanted: np.ndarray,
        bins: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """Keep a record of every prediction that counts at some threshold."""
        records = np.zeros(len(objects), _RECORD)
        taken = match.T >= 0
        records["class_index"], records["score"] = predicted.class_index, _scores(objects)
        own = {"visibility": _visibility(objects), "distance": distance_bin(predicted.range)}
        for (kind, mine), true in zip(own.items(), bins[1:]):
            records[kind] = np.where(taken, np.append(true, 0)[match.T], mine[:, None])
        records["right"] = taken & np.append(wanted, False)[match.T]
        records["counted"] = np.where(taken, records["right"], (predicted.range <= RANGE)[:, None])
        self._records.append(records[records["counted"].any(axis=1)])
        self._forget()

    def _precisions(self) -> np.ndarray:
        """Return the (c, 1 + bins, 4) AP in 0..1 of every class: over all, by visibility and by distance."""
        if self._values is None:
            self._sorted = self._sorted or {c: self._curves(records) for c, records in self._ranked().items()}
            weights, objects = self._weights(), self.sums["objects"]
            positives = np.concatenate(
                [objects.sum(axis=(1, 2))[:, None], objects.sum(axis=2), objects.sum(axis=1)], axis=1
            )
            self._values = np.zeros((*positives.shape, len(THRESHOLDS)))
            for c, curves in self._sorted.items():
                for (b, threshold), (part, right) in curves.items():
                    if positives[c, b]:
                        weight = None if weights is None else weights[part]
                        self._values[c, b, threshold] = average_precision(right, positives[c, b], weight)
        return self._values

    def _curves(self, records: np.ndarray) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        """Return part and rightness of the predictions of one class that count, by (column of bins, threshold)."""
        chosen = [np.ones((len(records), len(THRESHOLDS)), bool)]
        for kind, names in self._names.items():
            chosen += [records[kind] == b for b in range(len(names))]
        found = {}
        for b, inside in enumerate(chosen):
            for threshold in range(len(THRESHOLDS)):
                rows = np.flatnonzero(inside[:, threshold] & records["counted"][:, threshold])
                right = records["right"][rows, threshold]
                if right.any():
                    found[b, threshold] = records["part"][rows], right
        return found


def average_precision(right: np.ndarray, positives: float, weight: np.ndarray | None = None) -> float:
    """Return nuScenes' AP in 0..1 of (n,) predictions by falling score, of which (n,) bool are right.

    Args:
        right: which ones are right.
        positives: number of true objects, above 0.
        weight: (n,) how often each prediction counts, or None for once.
    """
    if weight is not None:
        right, weight = right[weight > 0], weight[weight > 0]
    if not right.size:
        return 0.0
    hits = np.cumsum(right if weight is None else right * weight)
    shown = np.arange(1, right.size + 1) if weight is None else np.cumsum(weight)
    precision = np.interp(_RECALLS, hits / positives, hits / shown, right=0.0)
    return float(np.maximum(precision - FLOOR, 0.0).mean()) / (1.0 - FLOOR)


def _figures(objects: np.ndarray, errors: np.ndarray, precisions: np.ndarray) -> dict[str, float]:
    """Return the figures of some classes, of which (c,) objects, (c, 5) sums of errors and (c, 4) AP are given."""
    present, found = objects > 0, errors[:, _FOUND] > 0
    if not present.any():
        return {}
    by_threshold = 100.0 * precisions[present].mean(axis=0)
    results = {"mAP": float(by_threshold.mean())}
    results |= {f"AP_{limit:g}": float(value) for limit, value in zip(THRESHOLDS, by_threshold)}
    results["recall"] = 100.0 * float(errors[:, _FOUND].sum() / objects.sum())
    if found.any():
        means = (errors[found, 1:] / errors[found, :1]).mean(axis=0)
        results |= {f"m{name}": float(value) for name, value in zip(_ERRORS, means)}
    return results | {"objects": int(objects.sum())}


def _selection(kind: str, number: int) -> tuple[slice, slice]:
    one, every = slice(number, number + 1), slice(None)
    return (one, every) if kind == "visibility" else (every, one)


def _match(truth: Boxes, predicted: Boxes, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each threshold, the (4, m) true object that each prediction takes or -1; and (n, m) distances [m]."""
    distance = np.hypot(*(truth.centers[:, None] - predicted.centers[None]).transpose(2, 0, 1))
    match = np.full((len(THRESHOLDS), len(scores)), -1)
    near = (distance < THRESHOLDS.max()) & (truth.class_index[:, None] == predicted.class_index)
    free = np.ones((len(THRESHOLDS), len(distance)), bool)
    for j in np.argsort(-scores, kind="stable"):
        candidates = np.flatnonzero(near[:, j])
        if not candidates.size:
            continue
        usable = free[:, candidates] & (distance[candidates, j] < THRESHOLDS[:, None])
        best = candidates[np.where(usable, distance[candidates, j], np.inf).argmin(axis=1)]
        taking = np.flatnonzero(usable.any(axis=1))
        match[taking, j] = best[taking]
        free[taking, best[taking]] = False
    return match, distance


def _errors(
    truth: Sequence[AmodalObject], predicted: Sequence[AmodalObject], i: np.ndarray, j: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """Return (k, 5): 1, and translation, size and heading errors of the pairs (i, j)."""
    size = np.array([truth[k].size for k in i], np.float64).reshape(-1, 3)
    found = np.array([predicted[k].size for k in j], np.float64).reshape(-1, 3)
    shared = np.minimum(size, found).prod(axis=1)
    overlap = shared / (size.prod(axis=1) + found.prod(axis=1) - shared)
    turn = np.array([predicted[b].yaw - truth[a].yaw for a, b in zip(i, j)], np.float64)
    full = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    half = np.minimum(full, np.pi - full)
    worst = {1.0: 1.0 - np.where((found > 0).all(axis=1), overlap, 0.0), np.pi: full, np.pi / 2: half}
    columns = [np.where(np.isfinite(values), values, limit) for limit, values in worst.items()]
    return np.stack([np.ones(len(i)), distance[i, j], *columns], axis=1)


def _scores(objects: Sequence[AmodalObject]) -> np.ndarray:
    return np.array([item.existence_probability for item in objects], np.float64)


def _visibility(objects: Sequence[AmodalObject]) -> np.ndarray:
    fraction = np.array([item.visible_fraction for item in objects], np.float64)
    return visibility_bin(fraction, np.array([bool(item.cameras) for item in objects], bool))


def _require_known(frame: FramePair) -> None:
    for item in frame.true_objects or ():
        if not (np.isfinite([*item.size, item.yaw]).all() and min(item.size) > 0):
            raise EvaluationError(
                f"{frame.where}: true object {item.track_id} has the size {item.size} m and the heading {item.yaw} rad"
            )
    for item in frame.objects or ():
        if not np.isfinite(item.existence_probability):
            raise EvaluationError(
                f"{frame.where}: predicted object {item.track_id} has the probability {item.existence_probability}"
            )

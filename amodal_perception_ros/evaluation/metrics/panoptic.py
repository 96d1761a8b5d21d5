"""Amodal panoptic quality (APQ) and amodal parsing coverage (APC).

Source: Mohan and Valada, "Amodal Panoptic Segmentation", CVPR 2022, as used by AmodalSynthDrive, section 3.3.2.
With v the visible and o the occluded (hidden) part, per class c:

    APQ_S,c   = sum IoU / (TP + FP + FN)                                  stuff, one segment per image
    APQ_T^V,c = sum IoU_v / (TP + FP + FN)                                things, visible parts
    APQ_T^O,c = sum IoU_o / (TP_o + FP_o + FN_o)                          things, hidden parts
    APQ_T,c   = (sum IoU_v + sum IoU_o) / (TP + FP + FN + TP_o + FP_o + FN_o)
    APQ       = (N_S APQ_S + N_T APQ_T) / (N_S + N_T)

A matched true object that is occluded is a TP_o (IoU_o = 0 if the prediction has no hidden part), a missed one an
FN_o. A prediction with a hidden part is an FP_o when it is unmatched or when its true object is not occluded.
APC,c = sum |g| IoU / sum |g| over true segments g; for things over visible and hidden parts together, both of the
same-class prediction that covers the visible part best. Unlabelled ground is left out of stuff and of coverage.

Two modes differ in what becomes TP, FP and FN; see `StrictQuality` and `ReferenceQuality`.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from amodal_perception_ros.evaluation.decoding import DecodedScene, visible_px_on
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, BY_NAME, ClassList

_SUMS = ("iou", "tp", "fp", "fn", "hidden_iou", "hidden_tp", "hidden_fp", "hidden_fn", "covered", "area")

_Areas = tuple[np.ndarray, np.ndarray, np.ndarray]


class _Quality(Metric):
    """Sums per class index that both modes share: IoU, TP, FP and FN of segments and of hidden parts, and coverage."""

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        super().__init__(**{name: np.zeros(len(classes)) for name in _SUMS})
        self.classes = classes
        self.is_stuff = np.arange(len(classes)) < classes.stuff_count

    def _add_coverage(self, pair: ScenePair, scored: np.ndarray, usable: np.ndarray, unlabelled_px: np.ndarray) -> None:
        """Add the coverage of the true things that are scored, by the predictions that are usable."""
        visible, hidden = _labelled_visible_iou(pair, unlabelled_px)[:, usable], pair.hidden_iou[:, usable]
        for i in np.flatnonzero(scored):
            c = pair.truth.class_index[i]
            self.sums["area"][c] += pair.truth.amodal_px[i]
            if visible.shape[1]:
                best = int(visible[i].argmax())
                if visible[i, best] > 0:
                    self.sums["covered"][c] += pair.truth.visible_px[i] * visible[i, best]
                    self.sums["covered"][c] += pair.truth.hidden_px[i] * hidden[i, best]

    def _add_stuff(self, inside: np.ndarray, true_area: np.ndarray, predicted_area: np.ndarray) -> None:
        """Add what both modes agree on: overlap and coverage of the stuff that the truth holds, and its misses."""
        iou = np.where(self.is_stuff, inside / np.maximum(true_area + predicted_area - inside, 1), 0.0)
        self.sums["iou"] += iou
        self.sums["covered"] += true_area * iou
        self.sums["area"] += np.where(self.is_stuff, true_area, 0)

    def _add_match(self, pair: ScenePair, i: int, j: int) -> None:
        c = pair.truth.class_index[i]
        self.sums["tp"][c] += 1
        self.sums["iou"][c] += pair.visible_iou[i, j]
        if pair.occluded[i]:
            self.sums["hidden_tp"][c] += 1
            self.sums["hidden_iou"][c] += pair.hidden_iou[i, j]
        elif pair.predicted_occluded[j]:
            self.sums["hidden_fp"][c] += 1

    def _add_miss(self, pair: ScenePair, i: int) -> None:
        c = pair.truth.class_index[i]
        self.sums["fn"][c] += 1
        self.sums["hidden_fn"][c] += pair.occluded[i]

    def _add_invention(self, c: int, hidden: bool) -> None:
        self.sums["fp"][c] += 1
        self.sums["hidden_fp"][c] += hidden

    def _class_values(self) -> dict[str, np.ndarray]:
        """Return every figure as (c,) values, NaN where it has no segments or does not apply."""
        sums, is_thing = self.sums, ~self.is_stuff
        count = sums["tp"] + sums["fp"] + sums["fn"]
        hidden_count = sums["hidden_tp"] + sums["hidden_fp"] + sums["hidden_fn"]
        quality = _ratio(sums["iou"] + sums["hidden_iou"], count + hidden_count)
        return {
            "APQ": quality,
            "APQ_S": np.where(is_thing, np.nan, quality),
            "APQ_T": np.where(is_thing, quality, np.nan),
            "APQ_T_V": np.where(is_thing, _ratio(sums["iou"], count), np.nan),
            "APQ_T_O": np.where(is_thing, _ratio(sums["hidden_iou"], hidden_count), np.nan),
            "APC": _ratio(sums["covered"], sums["area"]),
        }


class StrictQuality(_Quality):
    """APQ in which everything unmatched counts.

    - Things match one-to-one within a class, on an amodal IoU above 0.5 (`pairs.pair_scenes`): each unmatched true
      object is an FN, each unmatched prediction an FP, so a disjoint pair is one of each and never a TP.
    - The gate is on the amodal masks because the object, not its visible rest, is the answer. Unlike in PQ it does
      not make matches unique (amodal masks overlap), hence the assignment.
    - Stuff: one segment per class and image; a TP needs a common pixel, its IoU is summed without a gate (the
      PQ-dagger of Porzi et al., 2019), a predicted class that the image lacks is an FP, a missed one an FN.
    - True objects below `Rules.min_visible_px`, and predictions on them or on unlabelled ground, are left out.
    - Means run over the classes that appear in truth or prediction.

    Example, one row of 18 pixels. A truck T hides 4 px of a car C; there is another car D; the rest is road. The
    prediction finds truck and car, 2 hidden pixels of it too few, and misses the other car::

        truth         CCCCCCTTTTTT....DD
        C behind T          hhhh
        prediction    CCCCCCTTTTTT......
        C behind T          hh

        car    C is a TP (IoU_v 6/6) and a TP_o (IoU_o 2/4), D an FN:  APQ_T,car = (1 + 0.5) / (2 + 1) = 0.5
        truck  TP with IoU_v 1, nothing hidden:                        APQ_T,truck = 1
        road   4 common of 6 pixels:                                   APQ_S,road = 0.667
        APQ_T = 75, APQ_T_V = (1/2 + 1) / 2 = 75, APQ_T_O = 50, APQ_S = 66.7
        APQ = (0.5 + 1 + 0.667) / 3 = 72.2
        APC: car (6 * 6/6 + 4 * 2/4 + 2 * 0) / 12 = 0.667, truck 1, road 0.667; mean 77.8
    """

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        inside, true_area, predicted_area = _stuff_areas(pair.confusion[:-1])
        self._add_stuff(inside, true_area, predicted_area)
        self.sums["tp"] += self.is_stuff & (inside > 0)
        self.sums["fn"] += self.is_stuff & (true_area > 0) & (inside == 0)
        self.sums["fp"] += self.is_stuff & (predicted_area > 0) & (inside == 0)
        for i, j in zip(*pair.matches):
            self._add_match(pair, i, j)
        for i in np.flatnonzero(pair.counted & (pair.match < 0)).tolist():
            self._add_miss(pair, i)
        for j in pair.false_positives:
            self._add_invention(pair.predicted.class_index[j], pair.predicted_occluded[j])
        self._add_coverage(pair, pair.counted, np.ones(len(pair.predicted.parts), bool), pair.void_px)

    def results(self) -> dict[str, float]:
        """Return APQ, its parts and APC in per cent; a part without any segment is absent."""
        present = {name: values[~np.isnan(values)] for name, values in self._class_values().items()}
        return {name: 100.0 * float(values.mean()) for name, values in present.items() if values.size}

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return, by class, the quality in per cent and the counts behind it; segments have no other bins."""
        if kind != "class":
            return {}
        values, table = self._class_values(), dict[str, dict[str, float]]()
        for label in self.classes.labels:
            if np.isnan(values["APQ"][label.index]):
                continue
            row = {name: 100.0 * float(values[name][label.index]) for name in ("APQ", "APQ_T_V", "APQ_T_O", "APC")}
            row = {name: value for name, value in row.items() if not np.isnan(value)}
            row.update({name.upper(): int(self.sums[name][label.index]) for name in ("tp", "fp", "fn")})
            table[label.name] = row
        return table


class ReferenceQuality(_Quality):
    """APQ as the public AmodalSynthDrive script computes it, its defects included (see docs/metrics.md).

    - Objects and predictions without visible pixels do not exist; the others are taken in the order of their ids.
    - Things are assigned over the whole image at the cost 1 - amodal IoU, 100 across classes, without a gate:
      disjoint objects of one class are a TP with IoU 0; a pair across classes is an FN without an FP.
    - True objects left over because there are fewer predictions are not counted at all.
    - Predictions left over are FP; whether they also are FP_o is read off the last assigned prediction.
    - An image without predictions counts one FN, one without true objects one FP, however many there are.
    - Stuff: every image with the class in the truth counts once; predicting an absent class costs nothing.
    - The label file of AmodalSynthDrive lacks the rider: its true pixels are unlabelled, and means run over the other
      17 classes. A class without segments is 0.
    - A set whose truth holds no stuff at all (annotated objects only) has no stuff part.

    Example, the same row as in `StrictQuality`, with 11 stuff and 6 thing classes::

        truth         CCCCCCTTTTTT....DD
        C behind T          hhhh
        prediction    CCCCCCTTTTTT......
        C behind T          hh

        car    C as before, but D is not counted:  APQ_T,car = (1 + 0.5) / (1 + 1) = 0.75
        APQ_T = (0.75 + 1) / 6 = 29.2, APQ_T_V = 2 / 6 = 33.3, APQ_T_O = 0.5 / 6 = 8.3, APQ_S = 0.667 / 11 = 6.1
        APQ = (0.75 + 1 + 0.667) / 17 = 14.2, APC = (0.667 + 1 + 0.667) / 17 = 13.7
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        super().__init__(classes)
        self.missing = BY_NAME["rider"].index if classes == AMODAL_SYNTH_DRIVE else None

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        labelled, unlabelled_px = pair.confusion[:-1], pair.void_px
        if self.missing is not None:
            labelled = labelled.copy()
            labelled[self.missing] = 0
            unlabelled_px = unlabelled_px + visible_px_on(pair.truth.class_image == self.missing, pair.predicted)
        inside, true_area, predicted_area = _stuff_areas(labelled)
        self._add_stuff(inside, true_area, predicted_area)
        self.sums["tp"] += self.is_stuff & (true_area > 0) & (predicted_area > 0)
        self.sums["fn"] += self.is_stuff & (true_area > 0) & (predicted_area == 0)
        self._add_coverage(pair, pair.truth.visible_px > 0, pair.predicted.visible_px > 0, unlabelled_px)
        self._add_things(pair)

    def results(self) -> dict[str, float]:
        """Return APQ, its parts and APC in per cent."""
        scored = np.arange(len(self.classes)) != self.missing
        if not self.sums["area"][self.is_stuff].any():
            scored &= ~self.is_stuff
        stuff, things = np.count_nonzero(scored & self.is_stuff), np.count_nonzero(scored & ~self.is_stuff)
        counts = {"APQ": stuff + things, "APQ_S": stuff, "APC": stuff + things}
        sums = {name: np.nansum(values[scored]) for name, values in self._class_values().items()}
        return {
            name: 100.0 * float(v) / counts.get(name, things) for name, v in sums.items() if counts.get(name, things)
        }

    def _add_things(self, pair: ScenePair) -> None:
        truths, predictions = _visible_by_id(pair.truth), _visible_by_id(pair.predicted)
        if not truths.size or not predictions.size:
            self._add_one_sided(pair, truths, predictions)
            return
        true_class, predicted_class = pair.truth.class_index[truths], pair.predicted.class_index[predictions]
        iou = pair.amodal_iou[np.ix_(truths, predictions)]
        cost = np.where(true_class[:, None] == predicted_class[None, :], 1.0 - iou, 100.0)
        rows, columns = linear_sum_assignment(cost)
        for row, column in zip(rows, columns):
            if cost[row, column] < 100.0:
                self._add_match(pair, truths[row], predictions[column])
            else:
                self._add_miss(pair, truths[row])
        last = predictions[columns[-1]]
        for column in np.setdiff1d(np.arange(predictions.size), columns):
            self._add_invention(predicted_class[column], pair.predicted_occluded[last])

    def _add_one_sided(self, pair: ScenePair, truths: np.ndarray, predictions: np.ndarray) -> None:
        if truths.size:
            self._add_miss(pair, truths[0])
        elif predictions.size:
            self._add_invention(pair.predicted.class_index[predictions[0]], pair.predicted_occluded[predictions[0]])


def _visible_by_id(decoded: DecodedScene) -> np.ndarray:
    ids = np.array([instance.instance_id for instance in decoded.instances], np.int64)
    order = np.argsort(ids)
    return order[decoded.visible_px[order] > 0]


def _stuff_areas(labelled: np.ndarray) -> _Areas:
    """Return per class the common, true and predicted pixels of the (c, c + 1) confusion on labelled ground."""
    return labelled.diagonal(), labelled.sum(axis=1), labelled.sum(axis=0)[:-1]


def _labelled_visible_iou(pair: ScenePair, unlabelled_px: np.ndarray) -> np.ndarray:
    """Return the visible IoU without the predicted pixels on unlabelled ground."""
    area = pair.truth.visible_px[:, None] + pair.predicted.visible_px[None, :]
    overlap = pair.visible_iou * area / (1.0 + pair.visible_iou)
    return overlap / np.maximum(area - overlap - unlabelled_px[None, :], 1)


def _ratio(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.where(count > 0, value / np.maximum(count, 1), np.nan)

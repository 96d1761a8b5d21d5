"""Mean overlap of amodal, visible and occluded masks (AIoU, VIoU, OIoU), and pixels of the occluded region."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.metrics.bins import KINDS, bin_names, object_bins
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList

_IOUS = ("AIoU", "VIoU", "OIoU")
_OBJECTS, _FOUND, _OCCLUDED, _OCCLUDED_FOUND, _HIT_PX, _TRUE_PX, _PREDICTED_PX = range(3, 10)


class MaskOverlap(Metric):
    """Mean IoUs of objects, the share of objects found, and precision and recall of the pixels of hidden parts.

    The headline figures AIoU, VIoU and OIoU run over all true objects that are scored, a missed object counting 0; the
    `_matched` twins run over the matched ones and answer how good the masks of found objects are. OIoU runs over the
    occluded objects only. `occluded_recall` is the share of all truly hidden pixels that the matched prediction's
    hidden part covers, `occluded_precision` the share of all predicted hidden pixels that are such hits; predictions
    that are ignored do not count.

    A car C goes on for 2 x 2 px (h) behind a truck T; the prediction ends it after 1 x 2. The person P is missed::

        truth      CChhTT.P      prediction   CChTTT..        hits: hh, one above the other
                   CChhTT.P                   CChTTT..

                     amodal   visible   hidden
        car             6/8       4/4      2/4
        truck           8/8       8/8        -
        person            0         0        -
        mean          58.33     66.67       50     recall 66.67, occluded_recall 2/4, occluded_precision 2/2

    Args:
        classes: classes of the data set.
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        self.classes = classes
        bins = {kind: len(bin_names(kind, classes)) for kind in KINDS}
        super().__init__(all=np.zeros((1, 10)), **{kind: np.zeros((count, 10)) for kind, count in bins.items()})

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        objects, invented_px = _object_rows(pair), pair.predicted.hidden_px[pair.false_positives]
        self.sums["all"][0] += objects.sum(axis=0)
        self.sums["all"][0, _PREDICTED_PX] += invented_px.sum()
        predicted_bins = dict(object_bins(pair.predicted))
        for kind, bins in object_bins(pair.truth):
            np.add.at(self.sums[kind], bins[pair.counted], objects)
            np.add.at(self.sums[kind][:, _PREDICTED_PX], predicted_bins[kind][pair.false_positives], invented_px)

    def results(self) -> dict[str, float]:
        """Return the means over all objects in per cent; a mean over nothing is absent."""
        return _figures(self.sums["all"][0])

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return the same means per bin of a kind (`bins.KINDS`); bins without a true object are absent."""
        rows = zip(bin_names(kind, self.classes), self.sums[kind])
        return {name: _figures(row) for name, row in rows if row[_OBJECTS]}


def _object_rows(pair: ScenePair) -> np.ndarray:
    """Return the (k, 10) summands of the k true objects that are scored."""
    found, predictions = pair.matches
    rows = np.zeros((len(pair.match), 10))
    for column, iou in enumerate((pair.amodal_iou, pair.visible_iou, pair.hidden_iou)):
        rows[found, column] = iou[found, predictions]
    rows[~pair.occluded, 2] = 0.0
    rows[:, _OBJECTS] = 1.0
    rows[found, _FOUND] = 1.0
    rows[:, _OCCLUDED] = pair.occluded
    rows[:, _OCCLUDED_FOUND] = pair.occluded & (pair.match >= 0)
    rows[:, _TRUE_PX] = pair.truth.hidden_px
    rows[found, _HIT_PX] = pair.hidden_overlap[found, predictions]
    rows[found, _PREDICTED_PX] = pair.predicted.hidden_px[predictions]
    return rows[pair.counted]


def _figures(row: np.ndarray) -> dict[str, float]:
    results: dict[str, float] = {}
    if row[_OBJECTS]:
        results = {"objects": int(row[_OBJECTS]), "recall": 100.0 * float(row[_FOUND] / row[_OBJECTS])}
    over_all = row[[_OBJECTS, _OBJECTS, _OCCLUDED]]
    over_found = row[[_FOUND, _FOUND, _OCCLUDED_FOUND]]
    for suffix, counts in (("", over_all), ("_matched", over_found)):
        for name, total, count in zip(_IOUS, row, counts):
            if count:
                results[name + suffix] = 100.0 * float(total / count)
    for name, pixels in (("occluded_recall", row[_TRUE_PX]), ("occluded_precision", row[_PREDICTED_PX])):
        if pixels:
            results[name] = 100.0 * float(row[_HIT_PX] / pixels)
    return results

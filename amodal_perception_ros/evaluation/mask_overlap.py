"""Mean overlap of amodal, visible and occluded masks (AIoU, VIoU, OIoU), and pixels of the occluded region.

The headline figures run over all true objects that are scored, a missed object counting 0; the `_matched` twins run
over the matched ones and answer how good the masks of found objects are. OIoU runs over the occluded objects only.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.labels import LABELS

OCCLUSION_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Bins of the occlusion ratio: exactly 0, then (0, 0.25], (0.25, 0.5], (0.5, 0.75] and (0.75, 1)."""

VISIBLE_PX_EDGES = (64, 256, 1024)
"""Bins of the visible size [px]: below 64, 64 to 255, 256 to 1023, and from 1024."""

_Bin = tuple[str, int, str]
_ALL: _Bin = ("all", 0, "all")
_OCCLUSION_NAMES = ("0%", "0-25%", "25-50%", "50-75%", "75-100%")
_SIZE_NAMES = ("<64", "64-255", "256-1023", ">=1024")


class MaskOverlap:
    """Sums IoUs over all objects and per class, occlusion bin and visible-size bin."""

    def __init__(self) -> None:
        self.groups: dict[_Bin, _Group] = {}
        self.hidden_hit = self.hidden_true = self.hidden_predicted = 0

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        found, predictions = pair.matches
        scores = np.zeros((len(pair.match), 3))
        scores[found, 0] = pair.amodal_iou[found, predictions]
        scores[found, 1] = pair.visible_iou[found, predictions]
        scores[found, 2] = pair.hidden_iou[found, predictions]
        truth = pair.truth
        ratio = truth.hidden_px / np.maximum(truth.amodal_px, 1)
        for i in np.flatnonzero(pair.counted):
            for key in _bins(truth.class_index[i], ratio[i], truth.visible_px[i]):
                group = self.groups.setdefault(key, _Group())
                group.add(scores[i], bool(pair.match[i] >= 0), bool(pair.occluded[i]))
        self.hidden_hit += int(pair.hidden_overlap[found, predictions].sum())
        self.hidden_true += int(truth.hidden_px[pair.counted].sum())
        self.hidden_predicted += int(pair.predicted.hidden_px[~pair.ignored].sum())

    def results(self) -> dict[str, float]:
        """Return the means over all objects in per cent; a mean over nothing is absent."""
        results = self.groups[_ALL].results() if _ALL in self.groups else {}
        if self.hidden_true:
            results["occluded_recall"] = 100.0 * self.hidden_hit / self.hidden_true
        if self.hidden_predicted:
            results["occluded_precision"] = 100.0 * self.hidden_hit / self.hidden_predicted
        return results

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return the same means per bin of a kind: "class", "occlusion" or "visible_px"."""
        bins = sorted((place, name) for (group, place, name) in self.groups if group == kind)
        return {name: self.groups[kind, place, name].results() for place, name in bins}


def _bins(class_index: int, ratio: float, visible_px: int) -> list[_Bin]:
    occlusion = int(np.searchsorted(OCCLUSION_EDGES, ratio))
    size = int(np.searchsorted(VISIBLE_PX_EDGES, visible_px, side="right"))
    return [
        _ALL,
        ("class", int(class_index), LABELS[class_index].name),
        ("occlusion", occlusion, _OCCLUSION_NAMES[occlusion]),
        ("visible_px", size, _SIZE_NAMES[size]),
    ]


class _Group:
    """IoU sums of one bin: amodal, visible, occluded."""

    def __init__(self) -> None:
        self.sums = np.zeros(3)
        self.objects = self.found = self.occluded = self.occluded_found = 0

    def add(self, scores: np.ndarray, found: bool, occluded: bool) -> None:
        self.sums += scores * (1.0, 1.0, float(occluded))
        self.objects += 1
        self.found += found
        self.occluded += occluded
        self.occluded_found += found and occluded

    def results(self) -> dict[str, float]:
        results: dict[str, float] = {"objects": self.objects, "recall": 100.0 * self.found / self.objects}
        over_all = (self.objects, self.objects, self.occluded)
        over_found = (self.found, self.found, self.occluded_found)
        for suffix, counts in (("", over_all), ("_matched", over_found)):
            for name, total, count in zip(("AIoU", "VIoU", "OIoU"), self.sums, counts):
                if count:
                    results[name + suffix] = 100.0 * float(total) / count
        return results

"""Mean IoU of the semantic segmentation: of the visible surface (mIoU) and with the hidden parts (mIoU_total).

Source: Breitenstein and Fingscheidt, "Amodal Cityscapes: a new dataset, its generation, and an amodal semantic
segmentation challenge baseline", IV 2022, which AmodalSynthDrive uses (section 3.3). Pixels are counted over the
whole set, per class c, visible (v) and invisible (i):

    IoU_c       = TP_v / (TP + FP + FN)_v
    IoU_total,c = (TP_v + TP_i) / ((TP + FP + FN)_v + (TP + FP + FN)_i)

and both means run over the classes that the truth holds.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.decoding import HIDDEN_BIT, DecodedScene, Window
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList


class SemanticIoU(Metric):
    """Pixel counts of the visible surface and of what is hidden behind it.

    - Unlabelled true pixels are not scored; an unlabelled prediction misses. Images that annotate objects only have
      no semantic figures.
    - The invisible part of a class is the union of the hidden masks of its things. Several classes can be hidden
      behind one pixel, so each is judged on its own. Stuff behind things is not annotated: only its visible half
      counts.
    - A class hidden behind itself is not judged: AmodalSynthDrive leaves out the occlusion of a car by a car.
    - What only left-out true objects hide is not judged for their class, and ignored predictions hide nothing.

    Example, one row of 16 pixels. A truck T hides part of a car C on a road; the prediction finds the whole truck,
    but a hidden part h of the car that is 2 px too short::

        truth      CCCCCCTTTTTT....    prediction  CCCCCCTTTTTT....
        behind           hhhh          behind            hh

        road, truck: IoU = IoU_total = 1
        car:         IoU = 6 / 6,  IoU_total = (6 + 2) / (6 + 4) = 0.8
        mIoU = 100, mIoU_total = 100 (1 + 1 + 0.8) / 3 = 93.3
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        side, hidden = (
            (len(classes) + 1,) * 2,
            {f"hidden_{name}": np.zeros(len(classes)) for name in ("tp", "fp", "fn")},
        )
        super().__init__(confusion=np.zeros(side), **hidden)
        self.classes = classes

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        if not pair.truth.is_segmented:
            return
        self.sums["confusion"] += pair.confusion
        for label in self.classes.labels[self.classes.stuff_count :]:
            self._add_hidden(pair, label.index)

    def results(self) -> dict[str, float]:
        """Return mIoU and mIoU_total in per cent over the classes that the truth holds; absent when it holds none."""
        table = self.breakdown("class")
        if not table:
            return {}
        return {f"m{name}": float(np.mean([row[name] for row in table.values()])) for name in ("IoU", "IoU_total")}

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return IoU and IoU_total in per cent by class; there are no other bins of pixels."""
        if kind != "class":
            return {}
        labelled = self.sums["confusion"][:-1]
        inside, true_area, predicted_area = labelled.diagonal(), labelled.sum(1), labelled.sum(0)[:-1]
        hidden_tp, hidden_fp, hidden_fn = (self.sums[f"hidden_{name}"] for name in ("tp", "fp", "fn"))
        union = true_area + predicted_area - inside
        total = union + hidden_tp + hidden_fp + hidden_fn
        return {
            label.name: {
                "IoU": 100.0 * float(inside[c] / union[c]),
                "IoU_total": 100.0 * float((inside[c] + hidden_tp[c]) / total[c]),
            }
            for c, label in enumerate(self.classes.labels)
            if true_area[c] > 0
        }

    def _add_hidden(self, pair: ScenePair, c: int) -> None:
        truth, predicted = pair.truth, pair.predicted
        of_class = (truth.class_index == c) & (truth.hidden_px > 0)
        true, left_out = np.flatnonzero(of_class & pair.counted), np.flatnonzero(of_class & ~pair.counted)
        found = np.flatnonzero((predicted.class_index == c) & (predicted.hidden_px > 0) & ~pair.ignored)
        if not true.size and not found.size:
            return
        window = _around(np.concatenate((truth.boxes[true], predicted.boxes[found])))
        left, top, right, bottom = window
        surface = truth.class_image[top:bottom, left:right]
        hidden, claimed = _hidden(truth, true, window), _hidden(predicted, found, window)
        judged = (surface != c) & (surface != self.classes.void)
        if left_out.size:
            judged &= hidden | ~_hidden(truth, left_out, window)
        hidden &= judged
        claimed &= judged
        both = np.count_nonzero(hidden & claimed)
        self.sums["hidden_tp"][c] += both
        self.sums["hidden_fp"][c] += np.count_nonzero(claimed) - both
        self.sums["hidden_fn"][c] += np.count_nonzero(hidden) - both


def _around(boxes: np.ndarray) -> Window:
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    return int(left), int(top), int(right), int(bottom)


def _hidden(scene: DecodedScene, objects: np.ndarray, window: Window) -> np.ndarray:
    """Return the union of the hidden masks of some objects inside a window, (h, w) bool."""
    left, top, right, bottom = window
    union = np.zeros((bottom - top, right - left), bool)
    for i in objects:
        x0, y0, x1, y1 = scene.box(i)
        x0, y0, x1, y1 = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
        if x0 < x1 and y0 < y1:
            union[y0 - top : y1 - top, x0 - left : x1 - left] |= scene.part(i, (x0, y0, x1, y1)) & HIDDEN_BIT > 0
    return union

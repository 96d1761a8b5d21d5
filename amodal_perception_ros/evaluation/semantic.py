"""Mean IoU of the visible semantic segmentation."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList


class SemanticIoU(Metric):
    """Pixel confusion over the whole set; unlabelled true pixels are not scored, unlabelled predictions miss."""

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        super().__init__(confusion=np.zeros((len(classes) + 1, len(classes) + 1)))

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        self.sums["confusion"] += pair.confusion

    def results(self) -> dict[str, float]:
        """Return mIoU in per cent over the classes that the truth holds; absent when it holds none."""
        labelled = self.sums["confusion"][:-1]
        inside, true_area, predicted_area = labelled.diagonal(), labelled.sum(1), labelled.sum(0)[:-1]
        present = true_area > 0
        if not present.any():
            return {}
        iou = inside[present] / (true_area + predicted_area - inside)[present]
        return {"mIoU": 100.0 * float(iou.mean())}

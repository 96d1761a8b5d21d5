"""Mean IoU of the visible semantic segmentation."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.pairs import CLASSES, VOID, ScenePair


class SemanticIoU:
    """Pixel confusion over the whole set; unlabelled true pixels are not scored, unlabelled predictions miss."""

    def __init__(self) -> None:
        self.confusion = np.zeros((CLASSES + 1, CLASSES + 1), np.int64)

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        self.confusion += pair.confusion

    def results(self) -> dict[str, float]:
        """Return mIoU in per cent over the classes that the truth holds; absent when it holds none."""
        labelled = self.confusion[:VOID]
        inside, true_area, predicted_area = labelled.diagonal(), labelled.sum(1), labelled.sum(0)[:VOID]
        present = true_area > 0
        if not present.any():
            return {}
        iou = inside[present] / (true_area + predicted_area - inside)[present]
        return {"mIoU": 100.0 * float(iou.mean())}

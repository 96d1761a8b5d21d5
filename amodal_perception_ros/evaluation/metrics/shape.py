"""Simplicity and convexity of predicted amodal masks beside those of the truth."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.datasets.statistics import MIN_SHAPE_PX, convexity, simplicity
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair


class ShapeRegularity(Metric):
    """Mean simplicity and convexity of the amodal masks of matched objects, and how far they are from the truth's.

    Zhu et al., "Semantic amodal segmentation", section 3: simplicity is sqrt(4 pi area) / perimeter, convexity is
    area / area of the convex hull, both 1 for a disc. Whole objects are simpler and more convex than their visible
    parts; masks that are less so than the truth's are ragged, those that are more so are blobs. `_truth` are the means
    of the true masks, `_error` the mean absolute differences. Masks are cut to the image; objects of fewer than
    `MIN_SHAPE_PX` pixels in either mask have no meaningful shape and are left out.

    A square of which the prediction lacks a corner (perimeters run through pixel centres, and half a pixel outwards)::

        truth  ######     prediction  ###...
               ######                 ###...                   truth                        prediction
               ######                 ###...      perimeter    20 + pi = 23.14              18 + sqrt 2 + pi = 22.56
               ######                 ######      simplicity   sqrt(4 pi 36) / 23.14 0.919  sqrt(4 pi 27) / 22.56 0.817
               ######                 ######      convexity    36 / 36               1      27 / 31.5             0.857
               ######                 ######      errors       0.919 - 0.817 = 0.102 and 1 - 0.857 = 0.143
    """

    def __init__(self) -> None:
        super().__init__(objects=np.zeros(()), predicted=np.zeros(2), truth=np.zeros(2), error=np.zeros(2))

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        for i, j in zip(*pair.matches):
            if min(pair.truth.amodal_px[i], pair.predicted.amodal_px[j]) < MIN_SHAPE_PX:
                continue
            true, predicted = (
                np.array((simplicity(mask), convexity(mask)))
                for mask in (pair.truth.parts[i] > 0, pair.predicted.parts[j] > 0)
            )
            self.sums["objects"] += 1
            self.sums["truth"] += true
            self.sums["predicted"] += predicted
            self.sums["error"] += np.abs(predicted - true)

    def results(self) -> dict[str, float]:
        """Return the means in 0..1 and the number of objects behind them; absent without an object."""
        count = float(self.sums["objects"])
        if not count:
            return {}
        results: dict[str, float] = {"objects": int(count)}
        for suffix, name in (("", "predicted"), ("_truth", "truth"), ("_error", "error")):
            mean = self.sums[name] / count
            results["simplicity" + suffix], results["convexity" + suffix] = float(mean[0]), float(mean[1])
        return results

"""Depth errors: the amodal depth error over occlusion levels, visible and hidden surfaces.

Source: AmodalSynthDrive, section 3.3.1, equations 2 and 3. Left open there and decided here:

- Pixels. A level is scored where the truth has a surface on it no farther than `Rules.max_depth`. A method that has
  no depth there is charged its visible depth at that pixel, which is what a system without amodal depth would say,
  and `Rules.max_depth` where that is unknown too. So all methods are scored on exactly the same pixels.
- Range. Predictions are clipped to `Rules.max_depth`.
- Pooling. Squared errors are summed over the pixels of the whole set, so that large objects weigh more.
- Levels. `DecodedScene.levels`: chains through fully hidden objects do not count. The geometric mean runs over the
  levels that occur in the truth; an RMSE below 1 mm counts as 1 mm, so that one perfect level does not make the
  product 0.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.decoding import HIDDEN_BIT, DecodedScene, Window, as_window, box_overlaps
from amodal_perception_ros.evaluation.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.labels import SEGMENT_FACTOR
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene, Instance, paste_nearest

RMSE_FLOOR = 1e-3
"""Smallest RMSE [m] of a level in the geometric mean."""


class DepthError(Metric):
    """Squared depth errors on visible surfaces, on hidden parts and per occlusion level.

    Every sum holds pairs: the sum of squared errors [m^2] and the number of pixels.
    """

    def __init__(self) -> None:
        super().__init__(visible=np.zeros(2), hidden=np.zeros(2), levels=np.zeros((OCCLUSION_LEVELS, 2)))

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        limit = pair.rules.max_depth
        modal = _bounded(pair.predicted.scene.depth.astype(np.float32, copy=False), limit, np.float32(limit))
        self.sums["visible"] += _squared_error(pair.truth.scene.depth, modal, limit)
        self._add_hidden(pair, modal)
        self._add_levels(pair, modal)

    def results(self) -> dict[str, float]:
        """Return errors in metres; an error over no pixel is absent."""
        results: dict[str, float] = {}
        total, pixels = self.sums["levels"].T
        present = pixels > 0
        if present.any():
            rmse, weight = np.sqrt(total[present] / pixels[present]), pixels[present]
            results["ADErr"] = float(np.exp(np.log(np.maximum(rmse, RMSE_FLOOR)).mean()))
            results["ADErr_weighted"] = float((rmse * weight).sum() / weight.sum())
        errors = {"RMSE_vis": self.sums["visible"], "RMSE_hidden": self.sums["hidden"]}
        errors.update({f"RMSE_{number}": error for number, error in enumerate(self.sums["levels"])})
        results.update({name: float(np.sqrt(error[0] / error[1])) for name, error in errors.items() if error[1]})
        results["hidden_px"] = float(self.sums["hidden"][1])
        return results

    def _add_hidden(self, pair: ScenePair, modal: np.ndarray) -> None:
        truth, predicted, limit = pair.truth, pair.predicted, pair.rules.max_depth
        windows, touching = box_overlaps(truth.boxes, predicted.boxes)
        for i in np.flatnonzero(pair.counted & (truth.hidden_px > 0)).tolist():
            left, top, right, bottom = box = truth.box(i)
            estimate = modal[top:bottom, left:right].copy()
            j = int(pair.match[i])
            if j >= 0 and touching[i, j]:
                window = as_window(windows[i, j])
                inner = estimate[window[1] - top : window[3] - top, window[0] - left : window[2] - left]
                inner[:] = _bounded(predicted.depth(j, window), limit, inner)
            hidden = truth.parts[i] & HIDDEN_BIT > 0
            self.sums["hidden"] += _squared_error(
                np.where(hidden, truth.depth(i, box), np.float32(np.nan)), estimate, limit
            )

    def _add_levels(self, pair: ScenePair, modal: np.ndarray) -> None:
        height, width = modal.shape
        true_level = np.where(pair.counted, pair.truth.levels, -1)
        level = np.where(pair.ignored, -1, pair.predicted.levels)
        for number in range(OCCLUSION_LEVELS):
            objects = _chosen(pair.truth, true_level == number)
            window = (0, 0, width, height) if number == 0 else _hull(objects, width, height)
            left, top, right, bottom = window
            if left >= right or top >= bottom:
                continue
            true_map = _level_map(pair.truth.scene, objects, number, window)
            own = _level_map(pair.predicted.scene, _chosen(pair.predicted, level == number), number, window)
            estimate = _bounded(own, pair.rules.max_depth, modal[top:bottom, left:right])
            self.sums["levels"][number] += _squared_error(true_map, estimate, pair.rules.max_depth)


def _squared_error(truth: np.ndarray, estimate: np.ndarray, limit: float) -> tuple[float, int]:
    """Compare (h, w) float32 maps where the truth is in (0, limit]: sum of squares [m^2] and number of pixels."""
    valid = (truth > 0) & (truth <= np.float32(limit))
    difference = np.where(valid, estimate - truth, np.float32(0))
    return float(np.einsum("ij,ij->i", difference, difference).sum(dtype=np.float64)), int(np.count_nonzero(valid))


def _bounded(depth: np.ndarray, limit: float, otherwise: np.ndarray | np.float32) -> np.ndarray:
    """Clip float32 depth [m] to [0, limit] and fill what is unknown."""
    return np.where(np.isnan(depth), otherwise, np.clip(depth, np.float32(0), np.float32(limit)))


def _chosen(scene: DecodedScene, chosen: np.ndarray) -> list[Instance]:
    return [scene.instances[i] for i in np.flatnonzero(chosen)]


def _hull(objects: list[Instance], width: int, height: int) -> Window:
    if not objects:
        return 0, 0, 0, 0
    boxes = np.array([instance.amodal_mask.box for instance in objects])
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    return max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]), width), min(int(high[1]), height)


def _level_map(scene: CameraScene, objects: list[Instance], number: int, window: Window) -> np.ndarray:
    """Rebuild a window of D_n (`CameraScene.depth_levels`) from the objects of that level."""
    left, top, right, bottom = window
    if number == 0:
        depth = np.where(scene.labels % SEGMENT_FACTOR == 0, scene.depth, np.float32(np.nan))
    else:
        depth = np.full((bottom - top, right - left), np.nan, np.float32)
    for instance in objects:
        mask = instance.amodal_mask
        paste_nearest(depth, instance.depth, mask.x_offset - left, mask.y_offset - top)
    return depth

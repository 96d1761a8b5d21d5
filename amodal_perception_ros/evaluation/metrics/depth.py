"""Depth errors: the amodal depth error over occlusion levels, visible and hidden surfaces.

Source: AmodalSynthDrive, section 3.3.1, equations 2 and 3. Left open there and decided here:

- Pixels. A level is scored where the truth has a surface on it, farther than 0 and no farther than
  `Rules.max_depth`. A method that has no depth there is charged its visible depth at that pixel, which is what a
  system without amodal depth would say, and `Rules.max_depth` where that is unknown too; such pixels are counted. So
  all methods are scored on exactly the same pixels.
- Range. Predictions are clipped to 0..`Rules.max_depth`.
- Pooling. Squared errors are summed over the pixels of the whole set, so that large objects weigh more.
- Level 0 holds the stuff and the objects nothing hides; where a data set annotates objects only, it holds those alone.
- Levels. `DecodedScene.levels`: chains through fully hidden objects do not count. The geometric mean runs over the
  levels that occur in the truth, and its root is their number: an empty level has no RMSE, and the paper's N = 8
  would leave the mean undefined. An RMSE below 1 mm counts as 1 mm, so that one perfect level does not make the
  product 0; a perfect prediction has an ADErr of 1 mm.
- Occurrence. The seed paper has the geometric mean only. The weighted mean of a later version is said to weigh a level
  by its occurrence; here that is the level's share of all scored pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from amodal_perception_ros.evaluation.decoding import HIDDEN_BIT, DecodedScene, Window
from amodal_perception_ros.evaluation.metrics.bins import KINDS, bin_names, object_bins
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, SEGMENT_FACTOR, ClassList
from amodal_perception_ros.scene import OCCLUSION_LEVELS, paste_nearest

RMSE_FLOOR = 1e-3
"""Smallest RMSE [m] of a level in the geometric mean."""

_TILE_HEIGHT, _TILE_WIDTH = 120, 480
"""Images are worked through in tiles [px]: temporary maps stay in the processor's cache, and those without objects of a
level cost next to nothing."""


class DepthError(Metric):
    """Squared depth errors on visible surfaces, on hidden parts and per occlusion level.

    A car (c) of 4 px at 20 m stands behind a truck (t) at 10 m on a road (.) at 50 m. The prediction puts the car at
    23 m and finds only the nearer of its two hidden columns::

        visible      car, true       car, predicted   depth error [m] of the car, level 1
        . c t t      . c c c         . c c            3  3  10    (the last one: the truck's 10 m answer)

        RMSE_vis     1 visible car pixel is 3 m off, 3 are right     sqrt(9 / 4)              = 1.5
        RMSE_hidden  2 hidden pixels: 3 and 10 m off                 sqrt((9 + 100) / 2)      = 7.382
        RMSE_0       road and truck (3 px) are right                 0, in the mean 0.001
        RMSE_1       3 px of the car                                 sqrt((9 + 9 + 100) / 3)  = 6.272
        ADErr        sqrt(0.001 * 6.272)                                                      = 0.07919
        ADErr_weighted  (3 * 0 + 3 * 6.272) / 6                                               = 3.136

    Every sum holds pairs: the sum of squared errors [m^2] and the number of pixels.

    Args:
        classes: the classes of the breakdown.
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        self._names = {kind: bin_names(kind, classes) for kind in KINDS}
        super().__init__(
            visible=np.zeros(2),
            hidden=np.zeros(2),
            levels=np.zeros((OCCLUSION_LEVELS, 2)),
            unknown=np.zeros(2),
            **{f"hidden_{kind}": np.zeros((len(names), 2)) for kind, names in self._names.items()},
        )

    def add(self, pair: ScenePair) -> None:
        """Add one image."""
        height, width = pair.truth.scene.depth.shape
        for top in range(0, height, _TILE_HEIGHT):
            for left in range(0, width, _TILE_WIDTH):
                self._add_tile(pair, (left, top, min(left + _TILE_WIDTH, width), min(top + _TILE_HEIGHT, height)))
        self._add_hidden(pair)

    def results(self) -> dict[str, float]:
        """Return errors in metres; an error over no pixel is absent.

        `unknown_px` counts the pixels that are charged `Rules.max_depth` because the prediction knows no depth there,
        of the visible and of the hidden ones; the shares are per cent.
        """
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
        if hidden_px := int(self.sums["hidden"][1]):
            results["hidden_px"] = hidden_px
        for prefix, unknown, scored in zip(("", "hidden_"), self.sums["unknown"], errors.values()):
            if scored[1]:
                results[f"{prefix}unknown_px"] = int(unknown)
                results[f"{prefix}unknown_share"] = 100.0 * float(unknown / scored[1])
        return results

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return `RMSE_hidden` [m] and its `hidden_px` per bin of the true object, of a kind of `bins.KINDS`."""
        rows = zip(self._names[kind], self.sums[f"hidden_{kind}"].tolist())
        return {name: {"RMSE_hidden": (t / n) ** 0.5, "hidden_px": int(n)} for name, (t, n) in rows if n}

    def _add_tile(self, pair: ScenePair, tile: Window) -> None:
        limit, (left, top, right, bottom) = pair.rules.max_depth, tile
        truth = pair.truth.scene.depth[top:bottom, left:right]
        scored = is_scored(truth, limit)
        modal, unknown = _bounded(pair.predicted.scene.depth[top:bottom, left:right], limit)
        self.sums["visible"] += _squared_error(truth, modal, scored)
        self.sums["unknown"][0] += np.count_nonzero(unknown & scored)
        self._add_levels(pair, tile, modal, scored)

    def _add_levels(self, pair: ScenePair, tile: Window, modal: np.ndarray, scored: np.ndarray) -> None:
        limit, (left, top, right, bottom) = pair.rules.max_depth, tile
        true_objects = _in_window(pair.truth, pair.counted, tile)
        objects = _in_window(pair.predicted, ~pair.ignored, tile)
        true_levels, levels = pair.truth.levels[true_objects], pair.predicted.levels[objects]
        has_front = (true_levels == 0).any() or (levels == 0).any()
        if pair.truth.is_segmented and not has_front:
            stuff = _is_stuff(pair.truth.scene.labels[top:bottom, left:right])
            surface = pair.truth.scene.depth[top:bottom, left:right]
            self.sums["levels"][0] += _squared_error(surface, modal, scored & stuff)
        for number in ([0] if has_front else []) + sorted(set(true_levels.tolist()) - {0}):
            true_map = _level_map(pair.truth, true_objects[true_levels == number], number, tile)
            estimate = _level_map(pair.predicted, objects[levels == number], number, tile)
            missing = np.isnan(estimate)
            np.clip(estimate, np.float32(0), np.float32(limit), out=estimate)
            _fill(estimate, missing, modal)
            self.sums["levels"][number] += _squared_error(true_map, estimate, is_scored(true_map, limit))

    def _add_hidden(self, pair: ScenePair) -> None:
        truth, limit = pair.truth, pair.rules.max_depth
        bins = dict(object_bins(truth))
        for i in np.flatnonzero(pair.counted & (truth.hidden_px > 0)).tolist():
            true_depth = truth.depth(i, truth.box(i))
            scored = (truth.parts[i] & HIDDEN_BIT > 0) & is_scored(true_depth, limit)
            estimate, unknown = _bounded(object_estimate(pair, i), limit)
            error = _squared_error(true_depth, estimate, scored)
            self.sums["hidden"] += error
            self.sums["unknown"][1] += np.count_nonzero(unknown & scored)
            for kind, index in bins.items():
                self.sums[f"hidden_{kind}"][index[i]] += error


def is_scored(truth: np.ndarray, limit: float) -> np.ndarray:
    """Return where a true depth [m] is known and in (0, limit]."""
    return (truth > 0) & (truth <= np.float32(limit))


def bounded(depth: np.ndarray, limit: float) -> np.ndarray:
    """Clip depth [m] to 0..limit; unknown depth becomes the limit."""
    return _bounded(depth, limit)[0]


def object_estimate(pair: ScenePair, i: int) -> np.ndarray:
    """Return what a prediction says about the depth of a true object, whatever it found of it.

    Returns:
        (h, w) float32 depth [m] over the box of the true object: of the matched prediction where that has one, else
        the predicted visible depth; NaN where that is unknown too.
    """
    left, top, right, bottom = pair.truth.box(i)
    estimate = pair.predicted.scene.depth[top:bottom, left:right].astype(np.float32)
    j = int(pair.match[i])
    if j >= 0:
        box = pair.predicted.box(j)
        window = max(left, box[0]), max(top, box[1]), min(right, box[2]), min(bottom, box[3])
        own = pair.predicted.depth(j, window)
        inner = estimate[window[1] - top : window[3] - top, window[0] - left : window[2] - left]
        _fill(inner, ~np.isnan(own), own)
    return estimate


def _level_map(scene: DecodedScene, objects: np.ndarray, number: int, window: Window) -> np.ndarray:
    """Rebuild a window of D_n (`CameraScene.depth_levels`) from the objects of that level."""
    left, top, right, bottom = window
    depth = np.full((bottom - top, right - left), np.nan, np.float32)
    if number == 0 and scene.is_segmented:
        stuff = _is_stuff(scene.scene.labels[top:bottom, left:right])
        _fill(depth, stuff, scene.scene.depth[top:bottom, left:right])
    for i in objects.tolist():
        mask = scene.instances[i].amodal_mask
        paste_nearest(depth, scene.instances[i].depth, mask.x_offset - left, mask.y_offset - top)
    return depth


def _in_window(scene: DecodedScene, chosen: np.ndarray, window: Window) -> np.ndarray:
    low, high = scene.boxes[:, :2], scene.boxes[:, 2:]
    return np.flatnonzero(chosen & (low < window[2:]).all(1) & (high > window[:2]).all(1))


def _bounded(depth: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Clip depth [m] to 0..limit, the unknown being the limit; return it and where it was unknown."""
    clipped = np.clip(depth, np.float32(0), np.float32(limit))
    unknown = np.isnan(clipped)
    if unknown.any():
        clipped[unknown] = limit
    return clipped, unknown


def _squared_error(truth: np.ndarray, estimate: np.ndarray, scored: np.ndarray) -> tuple[float, int]:
    """Compare (h, w) depths [m] where they are scored: the sum of squares [m^2] and the number of pixels."""
    truth, estimate = np.asarray(truth, np.float32), np.asarray(estimate, np.float32)
    return cv2.norm(truth, estimate, cv2.NORM_L2SQR, scored.view(np.uint8)), int(np.count_nonzero(scored))


def _fill(target: np.ndarray, where: np.ndarray, source: np.ndarray) -> None:
    """Copy the chosen pixels; several times faster than NumPy's `where` and `copyto`."""
    cv2.copyTo(np.asarray(source, np.float32), where.view(np.uint8), target)


def _is_stuff(labels: np.ndarray) -> np.ndarray:
    """Return where segments have instance number 0; NumPy divides many numbers at once, but takes remainders singly."""
    return labels // SEGMENT_FACTOR * np.uint16(SEGMENT_FACTOR) == labels

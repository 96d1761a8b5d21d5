"""Temporal stability: how much what is said of an object jumps from one image of a camera to the next."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.metrics.bins import KINDS, bin_names, object_bins
from amodal_perception_ros.evaluation.metrics.depth import bounded, is_scored
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import FramePair, ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList

_FOUND, _AIOU, _OIOU, _DEPTH, _LEVEL, _TRUE_LEVEL = range(6)
"""Columns of what is remembered of an object in an image."""

_FIGURES = ("flicker", "AIoU_change", "OIoU_change", "depth_error_change", "level_change")
_SCALES = (100.0, 100.0, 100.0, 1.0, 100.0)


class TemporalStability(Metric):
    """Changes between consecutive frames of what one camera's prediction says of one true object (`track_id`).

    Only changes of the errors count, so that an object may move, turn and disappear behind another one; and only
    objects that are scored in both images. A step is such an object in two images of frames k and k + 1.

    - `flicker`: share of the steps in which exactly one of the two images finds the object (`ScenePair.match`). The
      other figures are over the steps in which both do, whichever ids the predictions have.
    - `AIoU_change`: mean |change| of the amodal IoU, in points of a per cent. `OIoU_change`: of the hidden IoU, over
      the steps in which the object is occluded in both images.
    - `depth_error_change`: mean |change| [m] of the error of the median amodal depth, over the steps in which the
      true one is known and at most `Rules.max_depth` in both images; a prediction is clipped to that, and an unknown
      one counts as it.
    - `level_change`: share of the steps with an unchanged true occlusion level whose predicted level changes.

    All figures depend on the frame rate: compare them between methods on the same data only. A method that finds
    nothing is perfectly stable, and one without hidden parts has an `OIoU_change` of 0: read them next to recall and
    OIoU.

    Example: a car, occluded in all frames, always on level 1 and 20 m away, in five frames of a camera::

        frame              0     1     2     3     4          changes over the steps 0-1, 1-2, 2-3, 3-4
        found             yes   yes   no    yes   yes         2 of 4 steps flicker               flicker     50
        amodal IoU        0.8   0.7    -    0.9   0.6         0.1 and 0.3                        AIoU_change 20
        hidden IoU        0.5   0.1    -    0.4   0.4         0.4 and 0                          OIoU_change 20
        predicted depth   21    19     -    20    23          errors +1 -1 and 0 +3: 2 and 3 m   depth_error_change 2.5
        predicted level   1     1      -    1     3           unchanged, changed                 level_change 50
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        self._names = {kind: bin_names(kind, classes) for kind in KINDS}
        shape = (2, len(_FIGURES))
        kinds = {kind: np.zeros((len(names), *shape)) for kind, names in self._names.items()}
        super().__init__(all=np.zeros(shape), **kinds)
        self._last: dict[str, tuple[str, int, dict[int, np.ndarray]]] = {}

    def add(self, frame: FramePair) -> None:
        """Add one frame; true objects without a track id, or with that of another one in the image, are left out."""
        for camera, pair in frame.cameras.items():
            facts, track_ids = _facts(pair), _track_ids(pair)
            sequence, index, before = self._last.get(camera, ("", -1, {}))
            if sequence == frame.sequence and index + 1 == frame.index:
                again = [(i, _step(before[t], facts[i])) for t, i in track_ids.items() if t in before]
                self._add_steps(pair, again)
            self._last[camera] = (frame.sequence, frame.index, {t: facts[i] for t, i in track_ids.items()})

    def results(self) -> dict[str, float]:
        """Return shares and IoUs in per cent and depth in metres, and the steps; what has no step is absent."""
        return _figures(self.sums["all"])

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return the same figures per bin of a kind (`bins.KINDS`) that the true object is in in the later image."""
        rows = zip(self._names[kind], self.sums[kind])
        return {name: _figures(row) for name, row in rows if row[1, 0]}

    def _add_steps(self, pair: ScenePair, steps: list[tuple[int, np.ndarray]]) -> None:
        bins = dict(object_bins(pair.truth))
        for i, step in steps:
            self.sums["all"] += step
            for kind, index in bins.items():
                self.sums[kind][index[i]] += step


def _track_ids(pair: ScenePair) -> dict[int, int]:
    """Return track id -> index of the true objects that are scored and can be followed."""
    ids = [instance.track_id for instance in pair.truth.instances]
    return {t: i for i, t in enumerate(ids) if t and pair.counted[i] and ids.count(t) == 1}


def _facts(pair: ScenePair) -> np.ndarray:
    """Return what is remembered of n true objects, (n, 6) float64, NaN where it does not apply."""
    found, predictions = pair.matches
    facts = np.full((len(pair.match), 6), np.nan)
    facts[:, _FOUND] = pair.match >= 0
    facts[found, _AIOU] = pair.amodal_iou[found, predictions]
    facts[found, _OIOU] = pair.hidden_iou[found, predictions]
    facts[~pair.occluded, _OIOU] = np.nan
    limit = pair.rules.max_depth
    depth = np.array([instance.amodal_depth for instance in pair.truth.instances], np.float64)
    estimate = np.array([instance.amodal_depth for instance in pair.predicted.instances], np.float64)
    facts[found, _DEPTH] = bounded(estimate[predictions], limit) - depth[found]
    facts[~is_scored(depth, limit), _DEPTH] = np.nan
    facts[found, _LEVEL] = pair.predicted.levels[predictions]
    facts[:, _TRUE_LEVEL] = pair.truth.levels
    return facts


def _step(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the (2, 5) change and count behind each figure."""
    change = np.abs(after - before)
    values = change[[_FOUND, _AIOU, _OIOU, _DEPTH, _LEVEL]]
    values[-1] = np.nan if change[_TRUE_LEVEL] else np.minimum(values[-1], 1.0)
    known = ~np.isnan(values)
    return np.stack([np.where(known, values, 0.0), known.astype(np.float64)])


def _figures(row: np.ndarray) -> dict[str, float]:
    total, steps = row
    results = {
        name: scale * float(value / count)
        for name, scale, value, count in zip(_FIGURES, _SCALES, total, steps)
        if count
    }
    return results | {"steps": int(steps[0])} if steps[0] else {}

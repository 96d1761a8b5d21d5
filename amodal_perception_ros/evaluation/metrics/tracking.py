"""Tracking through occlusion: whether what nobody sees any more is still known, and known again when it comes back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.metrics.bins import bin_names, distance_bin, distances
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import FramePair, ScenePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList
from amodal_perception_ros.scene import AmodalObject, Instance

GATE = 2.0
"""A predicted box can stand for a true one of its class whose centre is at most this far [m], seen from above."""

RANGE = 40.0
"""Boxes farther from the vehicle [m] are neither asked for nor wrong; half the side of the simulator's grid."""

_AGES = (np.inf, 1.0, 2.0, 4.0)
_AGE_NAMES = ("", "_1s", "_2s", "_4s")


class Identities:
    """What is remembered of the true objects of one sequence: when each was last seen, and as what it was found."""

    def __init__(self, sequence: str | None = None) -> None:
        self.sequence = sequence
        self._last_seen: dict[int, int] = {}
        self._known_as: dict[Hashable, int] = {}
        self._hidden_since: set[Hashable] = set()

    def seconds_unseen(self, track_id: int, stamp_ns: int, seen: bool) -> float:
        """Return the time since any part of an object was seen [s]: 0 when it is seen now, NaN if it never was."""
        if track_id and seen:
            self._last_seen[track_id] = stamp_ns
        last = stamp_ns if seen else self._last_seen.get(track_id)
        return float("nan") if last is None else (stamp_ns - last) / 1e9

    def known_as(self, key: Hashable) -> int:
        """Return the predicted id under which a true object was last found, 0 for none."""
        return self._known_as.get(key, 0)

    def note(self, key: Hashable, seen: bool, found_as: int) -> np.ndarray:
        """Remember that a true object is there, and the predicted id under which it is found (0 for none).

        Returns:
            (3,) float64, 0 or 1: it is found under an id; under another one than the last time; this change came across
            an occlusion, that is, the object was fully hidden in some frame since it was last both seen and found.
        """
        if not seen:
            self._hidden_since.add(key)
        if not found_as:
            return np.zeros(3)
        switched = self.known_as(key) not in (0, found_as)
        across = switched and key in self._hidden_since
        self._known_as[key] = found_as
        if seen:
            self._hidden_since.discard(key)
        return np.array([1, switched, across], np.float64)


class _Tracking(Metric):
    """Recall of fully hidden objects that were seen before, and changes of identity.

    The sums of hidden objects hold pairs: how many there are, how many are found.
    """

    def __init__(self, classes: ClassList, prefix: str, **sums: np.ndarray) -> None:
        self._names = {kind: bin_names(kind, classes) for kind in ("class", "distance")}
        kinds = {f"hidden_{kind}": np.zeros((len(names), 2)) for kind, names in self._names.items()}
        super().__init__(hidden=np.zeros((len(_AGES), 2)), ids=np.zeros(3), **kinds, **sums)
        self._prefix, self._identities = prefix, Identities()

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return the recall of fully hidden objects by "class" or "distance" (`bins.KINDS`); empty for other kinds."""
        key = f"{self._prefix}tracked_hidden"
        rows = zip(self._names[kind], self.sums[f"hidden_{kind}"].tolist()) if kind in self._names else ()
        return {name: {f"{key}_recall": 100.0 * hits / n, f"{key}_objects": int(n)} for name, (n, hits) in rows if n}

    def _starts(self, frame: FramePair) -> bool:
        """Forget the objects of another sequence; return whether the frame is the first one of its own."""
        starts = self._identities.sequence != frame.sequence
        if starts:
            self._identities = Identities(frame.sequence)
        return starts

    def _add_hidden(
        self, class_index: np.ndarray, distance: np.ndarray, seconds: np.ndarray, found: np.ndarray
    ) -> None:
        """Add k fully hidden objects: (k,) class index, distance [m], time unseen [s], and whether they are found."""
        objects = np.stack([np.ones(len(found)), found], axis=1)
        self.sums["hidden"] += (seconds <= np.array(_AGES)[:, None]) @ objects
        for kind, bins in (("class", class_index), ("distance", distance_bin(distance))):
            np.add.at(self.sums[f"hidden_{kind}"], bins, objects)

    def _identity_results(self) -> dict[str, float]:
        sums, prefix, results = self.sums, self._prefix, dict[str, float]()
        for name, (count, found) in zip(_AGE_NAMES, sums["hidden"].tolist()):
            if count:
                results[f"{prefix}hidden_recall{name}"] = 100.0 * found / count
        if sums["hidden"][0, 0]:
            results[f"{prefix}hidden_objects"] = int(sums["hidden"][0, 0])
        found_by_id, switches, across = sums["ids"]
        if found_by_id:
            results[f"{prefix}id_switches"] = int(switches)
            results[f"{prefix}id_switches_occlusion"] = int(across)
        return results


class BoxTracking(_Tracking):
    """Predicted boxes against true ones, within `RANGE` of the vehicle.

    Asked for are the true objects that a camera sees, and those that none sees but one saw in an earlier frame of the
    sequence; all predictions count, whatever their probability. Frame by frame, predictions are assigned one-to-one
    to true objects of their class within `GATE`, as in CLEAR MOT (Bernardin and Stiefelhagen, "Evaluating multiple
    object tracking performance", 2008, section 2.1): pairs of ids that belonged together before stay together while
    they can, then as many pairs as possible with the smallest sum of distances. Objects out of range take part in this,
    those never seen get what is left.

    - `hidden_recall`: share of the fully hidden objects that are found; `hidden_recall_1s`, `_2s`, `_4s` are over
      those last seen at most so long ago. `hidden_objects` counts them, every frame anew. `visible_recall` and
      `visible_objects`: the same of those that are seen.
    - `id_switches`: how often an object is found under another predicted id than the last time;
      `id_switches_occlusion`: when it was fully hidden in between, or is now.
    - `false_per_frame`: predictions in range that stand for nothing; those assigned to an object that is not asked for
      (never seen, or out of range) are neither right nor wrong. `ghosts_per_minute`: distinct predicted ids of a
      sequence that are false in some frame, over the time from its first to its last frame.
    - `MOTP`: mean distance of the assigned centres [m]. `MOTA`: 1 - (missed + false + id switches) / asked for.

    Figures with ids are absent when the predictions have none (`track_id` 0).

    Example: a car and a person stand still, one frame per second; `(...)` fully hidden, `!` nothing there::

        time [s]                        0      1      2      3     4
        car,    true id 1 at 10 m     seen  (hidden hidden) seen  seen
          found 1 m beside it as id     7      7      -      9     9
        person, true id 2 at 20 m    (hidden hidden)  seen  seen  seen      not asked for at 0 and 1: never seen
          found 1 m beside it as id     -      -      -      -     3
        car predicted at 30 m as id     8!     8!

        hidden_recall     1 of 2 = 50 (1 s: 1 of 1 = 100; 2 s and 4 s: 50)      visible_recall  4 of 6 = 66.7
        id_switches       1 (7 to 9), across an occlusion 1                     MOTP            1 m
        false_per_frame   2 / 5 = 0.4    ghosts_per_minute  1 in 4 s = 15       MOTA  1 - (3 + 2 + 1) / 8 = 25
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        names = ("visible", "visible_found", "distance", "matches", "false", "tracked", "ghosts", "frames", "seconds")
        self._classes, self._ghosts, self._stamp_ns = classes, set[int](), 0
        super().__init__(classes, "", **{name: np.zeros(()) for name in names})

    def add(self, frame: FramePair) -> None:
        """Add one frame, if truth and program give boxes and the vehicle's place in odom is known.

        Raises:
            EvaluationError: a track id twice in a frame, an unknown class, or a centre that is not finite.
        """
        if frame.objects is None or frame.ego is None or frame.true_objects is None:
            return
        if self._starts(frame):
            self._ghosts, self._stamp_ns = set(), frame.stamp_ns
        self.sums["seconds"] += max(0, frame.stamp_ns - self._stamp_ns) / 1e9
        self.sums["frames"] += 1
        self._stamp_ns = frame.stamp_ns
        truth = Boxes(frame.true_objects, frame.ego, self._classes, f"{frame.where}: true object")
        predicted = Boxes(frame.objects, frame.ego, self._classes, f"{frame.where}: predicted object")
        seen = np.array([bool(item.cameras) for item in frame.true_objects], bool)
        seconds = np.array(
            [self._identities.seconds_unseen(t, frame.stamp_ns, s) for t, s in zip(truth.track_ids, seen)]
        )
        known = ~np.isnan(seconds)
        match, distance = self._match(truth, predicted, known)
        counted = known & (truth.range <= RANGE)
        found, hidden = counted & (match >= 0), counted & ~seen
        self._add_hidden(truth.class_index[hidden], truth.range[hidden], seconds[hidden], found[hidden])
        self.sums["visible"] += np.count_nonzero(counted & seen)
        self.sums["visible_found"] += np.count_nonzero(found & seen)
        self.sums["matches"] += np.count_nonzero(found)
        self.sums["distance"] += distance[found, match[found]].sum()
        self._add_false(predicted, match)
        self._add_ids(truth, predicted, counted, seen, match)

    def results(self) -> dict[str, float]:
        """Return recalls and MOTA in per cent, MOTP in metres, counts and rates; what has no data is absent."""
        sums, results = self.sums, self._identity_results()
        if sums["visible"]:
            results["visible_recall"] = 100.0 * float(sums["visible_found"] / sums["visible"])
            results["visible_objects"] = int(sums["visible"])
        if sums["frames"]:
            results["false_per_frame"] = float(sums["false"] / sums["frames"])
        if sums["tracked"] and sums["seconds"]:
            results["ghosts_per_minute"] = 60.0 * float(sums["ghosts"] / sums["seconds"])
        if sums["matches"]:
            results["MOTP"] = float(sums["distance"] / sums["matches"])
        asked = sums["visible"] + sums["hidden"][0, 0]
        if sums["tracked"] and asked:
            wrong = asked - sums["matches"] + sums["false"] + sums["ids"][1]
            results["MOTA"] = 100.0 * float(1.0 - wrong / asked)
        return results

    def _match(self, truth: Boxes, predicted: Boxes, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) index of the prediction or -1 and the (n, m) distances [m]; never seen objects come last."""
        distance = np.hypot(*(truth.centers[:, None] - predicted.centers[None]).transpose(2, 0, 1))
        allowed = (distance <= GATE) & (truth.class_index[:, None] == predicted.class_index)
        known_as = np.array([self._identities.known_as(track_id) for track_id in truth.track_ids], np.int64)
        kept = (known_as[:, None] == predicted.track_ids) & (known_as[:, None] > 0)
        match = assign(GATE - distance, allowed & known[:, None], kept)
        allowed[:, match[match >= 0]] = False
        return np.where(known, match, assign(GATE - distance, allowed & ~known[:, None], kept)), distance

    def _add_false(self, predicted: Boxes, match: np.ndarray) -> None:
        wrong = predicted.range <= RANGE
        wrong[match[match >= 0]] = False
        self.sums["false"] += np.count_nonzero(wrong)
        ghosts = {int(track_id) for track_id in predicted.track_ids[wrong] if track_id} - self._ghosts
        self.sums["ghosts"] += len(ghosts)
        self._ghosts |= ghosts

    def _add_ids(
        self, truth: Boxes, predicted: Boxes, counted: np.ndarray, seen: np.ndarray, match: np.ndarray
    ) -> None:
        self.sums["tracked"] += np.count_nonzero(predicted.track_ids)
        for i in np.flatnonzero(counted & (truth.track_ids > 0)):
            found_as = int(predicted.track_ids[match[i]]) if match[i] >= 0 else 0
            self.sums["ids"] += self._identities.note(int(truth.track_ids[i]), bool(seen[i]), found_as)


class MaskTracking(_Tracking):
    """Predicted instances against true ones, camera by camera.

    - `mask_hidden_recall` (`_1s`, `_2s`, `_4s`, `mask_hidden_objects`): as `hidden_recall` of `BoxTracking`, of the
      instances of objects of which no camera shows a pixel, in each image into which their amodal mask reaches. Found
      is one that a prediction of its class covers with an amodal IoU above `Rules.iou_gate`, one-to-one; predictions
      that are matched to visible objects do not answer. An object counts when some camera showed it in an earlier
      frame.
    - `mask_id_switches`, `mask_id_switches_occlusion`: as those of the boxes, for every camera on its own, with the
      image's matches (`ScenePair.match`). Absent when predictions have no ids.

    Example: a car C (true id 1) is passed by a truck T that hides it for one frame; one frame per second::

        time [s]                0          1          2
        truth                .CCCC...   TTTTTT..   .CCCC...
        predicted car        .4444...   .444....   .6666...      its mask, drawn with its id

        mask_hidden_recall = 1 of 1 = 100 (amodal IoU 3/4, last seen 1 s ago)
        mask_id_switches = 1 (4 to 6), mask_id_switches_occlusion = 1
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        super().__init__(classes, "mask_")

    def add(self, frame: FramePair) -> None:
        """Add one frame; true instances without a track id are not followed.

        Raises:
            EvaluationError: a track id twice in an image.
        """
        self._starts(frame)
        track_ids = {
            camera: _track_ids(pair.truth.instances, f"{frame.where}, camera '{camera}': true track id")
            for camera, pair in frame.cameras.items()
        }
        seen: set[int] = set()
        for camera, pair in frame.cameras.items():
            seen.update(track_ids[camera][pair.truth.visible_px > 0].tolist())
        everything = {int(track_id) for ids in track_ids.values() for track_id in ids}
        seconds = {t: self._identities.seconds_unseen(t, frame.stamp_ns, t in seen) for t in everything - {0}}
        for camera, pair in frame.cameras.items():
            where = f"{frame.where}, camera '{camera}': predicted track id"
            ids = _track_ids(pair.predicted.instances, where)
            self._add_image(camera, pair, track_ids[camera], ids, seen, seconds)

    def results(self) -> dict[str, float]:
        """Return recalls in per cent and counts; what has no data is absent."""
        return self._identity_results()

    def _add_image(
        self,
        camera: str,
        pair: ScenePair,
        true_ids: np.ndarray,
        ids: np.ndarray,
        seen: set[int],
        seconds: dict[int, float],
    ) -> None:
        is_seen = np.array([int(track_id) in seen for track_id in true_ids], bool)
        unseen = np.array([seconds.get(int(track_id), np.nan) for track_id in true_ids], np.float64)
        asked = ~is_seen & ~np.isnan(unseen) & (pair.truth.amodal_px > 0)
        free = np.ones(len(ids), bool)
        free[pair.match[pair.match >= 0]] = False
        allowed = (pair.amodal_iou > pair.rules.iou_gate) & asked[:, None] & free
        known_as = np.array([self._identities.known_as((camera, int(t))) for t in true_ids], np.int64)
        kept = (known_as[:, None] == ids) & (known_as[:, None] > 0)
        match = np.where(asked, assign(pair.amodal_iou, allowed, kept), pair.match)
        self._add_hidden(pair.truth.class_index[asked], distances(pair.truth)[asked], unseen[asked], match[asked] >= 0)
        for i in np.flatnonzero(true_ids):
            found_as = int(ids[match[i]]) if match[i] >= 0 else 0
            self.sums["ids"] += self._identities.note((camera, int(true_ids[i])), bool(is_seen[i]), found_as)


class Boxes:
    """Boxes as arrays, seen from above: (n, 2) centres, (n,) distance to the vehicle [m], class index, track id."""

    def __init__(self, objects: Sequence[AmodalObject], ego: np.ndarray, classes: ClassList, what: str) -> None:
        self.track_ids = _track_ids(objects, f"{what}: track id")
        self.centers = np.array([item.center[:2] for item in objects], np.float64).reshape(-1, 2)
        for item in objects:
            if item.class_id not in classes.by_id:
                raise EvaluationError(
                    f"{what} {item.track_id} has the class id {item.class_id}, unknown to {classes.name}"
                )
            if not np.isfinite(item.center[:2]).all():
                raise EvaluationError(f"{what} {item.track_id} has its centre at {item.center}")
        self.class_index = classes.indices(item.class_id for item in objects)
        self.range = np.hypot(*(self.centers - np.asarray(ego)[:2]).T)


def assign(value: np.ndarray, allowed: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Assign predictions to true objects one-to-one.

    Of all assignments of allowed pairs, the one with most kept pairs; of those, the one with most pairs; of those, the
    one with the largest sum of values.

    Args:
        value: (n, m) float64 at least 0 and below 10.
        allowed: (n, m) bool.
        kept: (n, m) bool, pairs that belonged together before.

    Returns:
        (n,) int64 index of the prediction, -1 for none.
    """
    worth = np.where(allowed, value + 1e4 + 1e8 * kept, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    match = np.full(value.shape[0], -1, np.int64)
    real = worth[rows, columns] > 0
    match[rows[real]] = columns[real]
    return match


def _track_ids(items: Sequence[AmodalObject] | Sequence[Instance], what: str) -> np.ndarray:
    """Return the (n,) int64 track ids, 0 untracked; none but 0 may appear twice."""
    ids = np.array([item.track_id for item in items], np.int64)
    known, counts = np.unique(ids[ids != 0], return_counts=True)
    if (counts > 1).any():
        raise EvaluationError(f"{what} {known[counts > 1][0]} appears more than once")
    return ids

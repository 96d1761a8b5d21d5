"""One true and one predicted camera scene, matched once for all metrics.

Matching decides which prediction stands for which true object. Every image metric in this room reads the resulting
`ScenePair`, every metric over time and space the `FramePair` of all cameras.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.evaluation.decoding import (
    HIDDEN_BIT,
    VISIBLE_BIT,
    DecodedScene,
    EvaluationError,
    as_window,
    box_overlaps,
    equal_runs,
    place_of,
    visible_px_on,
)
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, CameraScene

_TIE_WEIGHT = 1e-9


@dataclass(frozen=True)
class Rules:
    """What is scored; the same for every method.

    Attributes:
        min_visible_px: true objects with fewer visible pixels are excluded and counted. 1 excludes only the fully
            hidden ones, about which a single image says nothing.
        min_hidden_px: an object is occluded when at least that many of its pixels are hidden.
        iou_gate: a match needs an amodal IoU above this.
        max_depth: surfaces farther than this [m] are not scored, and predictions are clipped to it.
    """

    min_visible_px: int = 1
    min_hidden_px: int = 1
    iou_gate: float = 0.5
    max_depth: float = 80.0

    def __post_init__(self) -> None:
        if self.min_visible_px < 1 or self.min_hidden_px < 1:
            raise ValueError("min_visible_px and min_hidden_px must be at least 1")
        if not 0.0 <= self.iou_gate < 1.0:
            raise ValueError(f"iou_gate must be in [0, 1), got {self.iou_gate}")
        if not self.max_depth > 0.0:
            raise ValueError(f"max_depth must be positive, got {self.max_depth}")


@dataclass(eq=False)
class ScenePair:
    """A true scene, a predicted scene and how their objects correspond (n true, m predicted objects).

    Attributes:
        truth, predicted: the decoded scenes.
        rules: what is scored.
        amodal_iou, visible_iou, hidden_iou: (n, m) float64, 0 for objects of different classes.
        hidden_overlap: (n, m) int64 pixels hidden in both objects.
        counted: (n,) bool, the true objects that are scored.
        match: (n,) int64 index of the matched prediction, -1 for a miss or an object that is not counted.
        void_px: (m,) int64 visible pixels of each prediction on unlabelled ground.
        ignored: (m,) bool, unmatched predictions that are neither right nor wrong: on an excluded true object
            or on unlabelled ground.
        confusion: (c + 1, c + 1) int64 pixels by true and predicted class index of the visible surface, void last.
        excluded: true objects and predictions that are left out or corrected, by cause, with frame, camera and
            instance; "prediction_depth_unknown_px" counts pixels that are scored as the rules say.
    """

    truth: DecodedScene
    predicted: DecodedScene
    rules: Rules
    amodal_iou: np.ndarray
    visible_iou: np.ndarray
    hidden_iou: np.ndarray
    hidden_overlap: np.ndarray
    counted: np.ndarray
    match: np.ndarray
    void_px: np.ndarray
    ignored: np.ndarray
    confusion: np.ndarray
    excluded: CauseCount

    @property
    def occluded(self) -> np.ndarray:
        """(n,) bool, the true objects with a hidden part."""
        return self.truth.hidden_px >= self.rules.min_hidden_px

    @property
    def predicted_occluded(self) -> np.ndarray:
        """(m,) bool, the predictions with a hidden part."""
        return self.predicted.hidden_px >= self.rules.min_hidden_px

    @property
    def matches(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the matched true objects and of their predictions."""
        found = np.flatnonzero(self.match >= 0)
        return found, self.match[found]

    @property
    def false_positives(self) -> np.ndarray:
        """Indices of the predictions that are wrong: neither matched nor ignored."""
        free = ~self.ignored
        free[self.match[self.match >= 0]] = False
        return np.flatnonzero(free)


@dataclass(eq=False)
class FramePair:
    """Truth and prediction of one frame of a sequence, all cameras together.

    Attributes:
        where: name of the frame, for messages.
        sequence: name of the sequence; frames of one sequence come in order.
        index: number of the frame in it.
        stamp_ns: its reference stamp.
        cameras: camera name -> matched scenes.
        true_objects: boxes in odom, or None where the data set has none.
        objects: predicted boxes in odom, or None where the program gives none.
        true_bev, bev: occupancy, or None.
        ego: (2,) position of base_link in odom [m], or None where the data set has no odometry.
    """

    where: str
    sequence: str
    index: int
    stamp_ns: int
    cameras: dict[str, ScenePair]
    true_objects: list[AmodalObject] | None
    objects: list[AmodalObject] | None = None
    true_bev: BevOccupancy | None = None
    bev: BevOccupancy | None = None
    ego: np.ndarray | None = None


def pair_scenes(truth: DecodedScene, predicted: DecodedScene, rules: Rules) -> ScenePair:
    """Match the objects of two decoded scenes of one image.

    Matching is one-to-one within a class: of all assignments that use only pairs with an amodal IoU above
    `rules.iou_gate`, the one with the largest sum of IoUs; equal sums are decided by the visible IoU.

    Raises:
        EvaluationError: the scenes are of different cameras, image sizes or class lists.
    """
    if truth.classes != predicted.classes:
        raise EvaluationError(
            f"{place_of(truth.where, truth.scene)}: the prediction speaks the classes of {predicted.classes.name}, "
            f"the truth those of {truth.classes.name}"
        )
    if truth.scene.camera.name != predicted.scene.camera.name:
        raise EvaluationError(
            f"{place_of(truth.where, truth.scene)}: the prediction is for camera '{predicted.scene.camera.name}'"
        )
    if truth.scene.labels.shape != predicted.scene.labels.shape:
        raise EvaluationError(
            f"{place_of(truth.where, truth.scene)}: the prediction is {_size(predicted.scene)} pixels, "
            f"but the truth is {_size(truth.scene)}"
        )
    amodal, visible, hidden = _overlaps(truth, predicted)
    amodal_iou = _iou(amodal, truth.amodal_px, predicted.amodal_px)
    counted = truth.visible_px >= rules.min_visible_px
    visible_iou = _iou(visible, truth.visible_px, predicted.visible_px)
    match = _match(np.where(counted[:, None], amodal_iou, 0.0), visible_iou, rules.iou_gate)
    void_px = _void_px(truth, predicted)
    on_excluded, in_void = _ignored(predicted.visible_px, void_px, amodal_iou, counted, match, rules.iou_gate)
    return ScenePair(
        truth=truth,
        predicted=predicted,
        rules=rules,
        amodal_iou=amodal_iou,
        visible_iou=visible_iou,
        hidden_iou=_iou(hidden, truth.hidden_px, predicted.hidden_px),
        hidden_overlap=hidden,
        counted=counted,
        match=match,
        void_px=void_px,
        ignored=on_excluded | in_void,
        confusion=_confusion(truth.class_image, predicted.class_image, truth.classes.void + 1),
        excluded=_excluded(truth, predicted, rules, counted, on_excluded, in_void),
    )


def _excluded(
    truth: DecodedScene,
    predicted: DecodedScene,
    rules: Rules,
    counted: np.ndarray,
    on_excluded: np.ndarray,
    in_void: np.ndarray,
) -> CauseCount:
    excluded, image = CauseCount(), place_of(truth.where, truth.scene)
    for cause, side, chosen in (
        ("truth_fully_hidden", truth, truth.visible_px == 0),
        ("truth_tiny", truth, ~counted & (truth.visible_px > 0)),
        ("prediction_on_excluded_truth", predicted, on_excluded),
        ("prediction_in_void", predicted, in_void),
    ):
        for i in np.flatnonzero(chosen):
            excluded.note(cause, f"{image}, instance {side.instances[i].instance_id}")
    for name, side in (("truth", truth), ("prediction", predicted)):
        excluded.merge(side.corrected.renamed(f"{name}_"))
    surface = (truth.scene.depth > 0) & (truth.scene.depth <= rules.max_depth)
    unknown = int(np.count_nonzero(surface & np.isnan(predicted.scene.depth)))
    excluded.note("prediction_depth_unknown_px", image, unknown)
    return excluded


def _overlaps(truth: DecodedScene, predicted: DecodedScene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = (len(truth.parts), len(predicted.parts))
    amodal, visible, hidden = (np.zeros(shape, np.int64) for _ in range(3))
    windows, touching = box_overlaps(truth.boxes, predicted.boxes)
    touching &= truth.class_index[:, None] == predicted.class_index[None, :]
    for i, j in np.argwhere(touching):
        window = as_window(windows[i, j])
        both = truth.part(i, window) & predicted.part(j, window)
        amodal[i, j] = np.count_nonzero(both)
        visible[i, j] = np.count_nonzero(both & VISIBLE_BIT)
        hidden[i, j] = np.count_nonzero(both & HIDDEN_BIT)
    return amodal, visible, hidden


def _void_px(truth: DecodedScene, predicted: DecodedScene) -> np.ndarray:
    if not truth.is_segmented:
        return np.zeros(len(predicted.parts), np.int64)
    return visible_px_on(truth.class_image == truth.classes.void, predicted)


def _iou(overlap: np.ndarray, area: np.ndarray, other_area: np.ndarray) -> np.ndarray:
    union = area[:, None] + other_area[None, :] - overlap
    return overlap / np.maximum(union, 1)


def _match(iou: np.ndarray, tie_break: np.ndarray, gate: float) -> np.ndarray:
    value = np.where(iou > gate, iou + _TIE_WEIGHT * tie_break, 0.0)
    rows, columns = linear_sum_assignment(value, maximize=True)
    match = np.full(iou.shape[0], -1, np.int64)
    real = value[rows, columns] > 0
    match[rows[real]] = columns[real]
    return match


def _ignored(
    visible_px: np.ndarray,
    void_px: np.ndarray,
    amodal_iou: np.ndarray,
    counted: np.ndarray,
    match: np.ndarray,
    gate: float,
) -> tuple[np.ndarray, np.ndarray]:
    free = np.ones(amodal_iou.shape[1], bool)
    free[match[match >= 0]] = False
    on_others = np.where(~counted[:, None] & free[None, :], amodal_iou, 0.0)
    second = _match(on_others, np.zeros_like(on_others), gate)
    on_excluded = np.zeros_like(free)
    on_excluded[second[second >= 0]] = True
    in_void = free & ~on_excluded & (2 * void_px > visible_px)
    return on_excluded, in_void


def _confusion(truth: np.ndarray, predicted: np.ndarray, side: int) -> np.ndarray:
    joint = truth.astype(np.uint16) * np.uint16(side) + predicted
    starts, lengths = equal_runs(joint)
    pixels = np.bincount(joint.ravel()[starts], lengths, side * side)
    return pixels.astype(np.int64).reshape(side, side)


def _size(scene: CameraScene) -> str:
    return f"{scene.labels.shape[1]} x {scene.labels.shape[0]}"

"""One true and one predicted camera scene, decoded and matched once for all metrics.

Decoding turns run lengths into small per-object arrays, clipped to the image; matching decides which prediction
stands for which true object. Every metric in this room reads the resulting `ScenePair`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.evaluation.graph import longest_chains
from amodal_perception_ros.labels import LABELS, SEGMENT_FACTOR, id_table
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene, Instance

CLASSES = len(LABELS)
"""Number of classes; class index `CLASSES` stands for unlabelled pixels ("void")."""

VOID = CLASSES

AMODAL_BIT, VISIBLE_BIT, HIDDEN_BIT = 1, 2, 4
"""Bits of `DecodedScene.parts`: a visible pixel is 3 (amodal and visible), a hidden one 5 (amodal and hidden)."""

Window = tuple[int, int, int, int]
"""Left, top, right, bottom [px], right and bottom exclusive."""

_UNKNOWN = VOID + 1
_TIE_WEIGHT = 1e-9


class EvaluationError(InputError):
    """A truth or prediction that cannot be scored; the message names frame, camera and, if any, instance."""


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
class DecodedScene:
    """A camera scene with its masks as arrays inside the image.

    Attributes:
        scene: the scene itself.
        where: name of the frame, for messages.
        class_index: (n,) int64 `Label.index` of each instance.
        boxes: (n, 4) int64 left, top, right, bottom (exclusive) of each amodal mask, clipped to the image.
        parts: n arrays (h, w) uint8 over `boxes`: 0, or `AMODAL_BIT` with `VISIBLE_BIT` or `HIDDEN_BIT`.
        visible_px, hidden_px: (n,) int64 pixels inside the image.
        levels: (n,) int64 occlusion level of each instance; in a scene with fully hidden objects the longest chain of
            visible occluders instead of what is stated, because an image shows nothing of the others.
        classes: (H, W) uint8 class index of the visible surface, `VOID` where unlabelled.
    """

    scene: CameraScene
    where: str
    class_index: np.ndarray
    boxes: np.ndarray
    parts: list[np.ndarray]
    visible_px: np.ndarray
    hidden_px: np.ndarray
    levels: np.ndarray
    classes: np.ndarray

    @property
    def instances(self) -> list[Instance]:
        """The instances of the scene."""
        return self.scene.instances

    @property
    def amodal_px(self) -> np.ndarray:
        """(n,) int64 pixels of the amodal masks inside the image."""
        return self.visible_px + self.hidden_px

    def box(self, index: int) -> Window:
        """Return the box of an object."""
        return as_window(self.boxes[index])

    def part(self, index: int, window: Window) -> np.ndarray:
        """Return the part bits of an object inside a window, which must lie in its box."""
        left, top = self.boxes[index, :2]
        return self.parts[index][window[1] - top : window[3] - top, window[0] - left : window[2] - left]

    def depth(self, index: int, window: Window) -> np.ndarray:
        """Return the object's depth [m] inside a window, which must lie in its box."""
        instance = self.instances[index]
        left, top = instance.amodal_mask.x_offset, instance.amodal_mask.y_offset
        return instance.depth[window[1] - top : window[3] - top, window[0] - left : window[2] - left]


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
        confusion: (19, 19) int64 pixels by true and predicted class index of the visible surface.
        excluded: reason -> number of true objects or predictions that are left out.
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
    excluded: dict[str, int]

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


def decode(scene: CameraScene, where: str = "") -> DecodedScene:
    """Decode the masks of a scene, cut to the image, and check the scene.

    Raises:
        EvaluationError: duplicate or inconsistent instance ids, unknown classes in the label image, or order
            edges that name no instance.
    """
    label = _place(where, scene)
    _check_instances(scene, label)
    height, width = scene.labels.shape
    boxes, parts = [], []
    for instance in scene.instances:
        box, part = _decode_instance(instance, height, width)
        boxes.append(box)
        parts.append(part)
    table = id_table()
    visible_px = np.array([np.count_nonzero(part & VISIBLE_BIT) for part in parts], np.int64)
    return DecodedScene(
        scene=scene,
        where=where,
        class_index=np.array([table[i.class_id] for i in scene.instances], np.int64),
        boxes=np.array(boxes, np.int64).reshape(-1, 4),
        parts=parts,
        visible_px=visible_px,
        hidden_px=np.array([np.count_nonzero(part & HIDDEN_BIT) for part in parts], np.int64),
        levels=_levels(scene, visible_px),
        classes=_class_image(scene, label),
    )


def pair_scenes(truth: DecodedScene, predicted: DecodedScene, rules: Rules) -> ScenePair:
    """Match the objects of two decoded scenes of one image.

    Matching is one-to-one within a class: of all assignments that use only pairs with an amodal IoU above
    `rules.iou_gate`, the one with the largest sum of IoUs; equal sums are decided by the visible IoU.

    Raises:
        EvaluationError: the scenes are of different cameras or image sizes.
    """
    if truth.scene.camera.name != predicted.scene.camera.name:
        raise EvaluationError(
            f"{_place(truth.where, truth.scene)}: the prediction is for camera '{predicted.scene.camera.name}'"
        )
    if truth.scene.labels.shape != predicted.scene.labels.shape:
        raise EvaluationError(
            f"{_place(truth.where, truth.scene)}: the prediction is {_size(predicted.scene)} pixels, "
            f"but the truth is {_size(truth.scene)}"
        )
    amodal, visible, hidden = _overlaps(truth, predicted)
    amodal_iou = _iou(amodal, truth.amodal_px, predicted.amodal_px)
    counted = truth.visible_px >= rules.min_visible_px
    visible_iou = _iou(visible, truth.visible_px, predicted.visible_px)
    match = _match(np.where(counted[:, None], amodal_iou, 0.0), visible_iou, rules.iou_gate)
    void_px = visible_px_on(truth.classes == VOID, predicted)
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
        confusion=_confusion(truth.classes, predicted.classes),
        excluded={
            "truth_fully_hidden": int(np.count_nonzero(truth.visible_px == 0)),
            "truth_tiny": int(np.count_nonzero(~counted & (truth.visible_px > 0))),
            "prediction_on_excluded_truth": int(np.count_nonzero(on_excluded)),
            "prediction_in_void": int(np.count_nonzero(in_void)),
        },
    )


def as_window(row: np.ndarray) -> Window:
    """Return a row of four numbers as a window."""
    left, top, right, bottom = map(int, row)
    return left, top, right, bottom


def box_overlaps(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersect (n, 4) with (m, 4) boxes.

    Returns:
        (n, m, 4) int64 windows left, top, right, bottom and (n, m) bool, whether the window has pixels.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.concatenate((low, high), axis=2), (low < high).all(axis=2)


def visible_px_on(ground: np.ndarray, scene: DecodedScene) -> np.ndarray:
    """Return the (n,) int64 visible pixels of each object of a scene on a (H, W) bool ground."""
    pixels = np.zeros(len(scene.parts), np.int64)
    if ground.any():
        for j, (left, top, right, bottom) in enumerate(scene.boxes):
            pixels[j] = np.count_nonzero(ground[top:bottom, left:right] & (scene.parts[j] & VISIBLE_BIT > 0))
    return pixels


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


def _confusion(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    side = CLASSES + 1
    joint = truth.astype(np.uint16) * np.uint16(side) + predicted
    return np.bincount(joint.ravel(), minlength=side * side).reshape(side, side)


def _decode_instance(instance: Instance, height: int, width: int) -> tuple[Window, np.ndarray]:
    left, top, right, bottom = instance.amodal_mask.box
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return (0, 0, 0, 0), np.zeros((0, 0), np.uint8)
    window = (left, top, right - left, bottom - top)
    amodal = instance.amodal_mask.window(*window)
    visible = instance.visible_mask.window(*window)
    part = np.where(amodal, np.uint8(AMODAL_BIT | HIDDEN_BIT), np.uint8(0))
    part[visible & amodal] = AMODAL_BIT | VISIBLE_BIT
    return (left, top, right, bottom), part


def _levels(scene: CameraScene, visible_px: np.ndarray) -> np.ndarray:
    if (visible_px == 0).any() and len(scene.order):
        index = {instance.instance_id: i for i, instance in enumerate(scene.instances)}
        edges = [(index[int(a)], index[int(b)]) for a, b in zip(scene.order.occluder_ids, scene.order.occludee_ids)]
        levels = longest_chains(len(scene.instances), [(a, b) for a, b in edges if visible_px[a] > 0])
        if levels is not None:
            return levels
    return np.array([min(i.occlusion_level, OCCLUSION_LEVELS - 1) for i in scene.instances], np.int64)


def _class_image(scene: CameraScene, label: str) -> np.ndarray:
    table = np.full(2**16, _UNKNOWN, np.uint8)
    for entry in LABELS:
        table[entry.id * SEGMENT_FACTOR : (entry.id + 1) * SEGMENT_FACTOR] = entry.index
    table[0] = VOID
    classes = table[scene.labels]
    unknown = classes == _UNKNOWN
    if unknown.any():
        raise EvaluationError(f"{label}: the label image holds unknown segments {np.unique(scene.labels[unknown])[:5]}")
    return classes


def _check_instances(scene: CameraScene, label: str) -> None:
    ids = [instance.instance_id for instance in scene.instances]
    for instance in scene.instances:
        if ids.count(instance.instance_id) > 1:
            raise EvaluationError(f"{label}: instance id {instance.instance_id} appears more than once")
        if not np.isfinite(instance.score):
            raise EvaluationError(f"{label}: instance {instance.instance_id} has the score {instance.score}")
        if instance.instance_id // SEGMENT_FACTOR != instance.class_id:
            raise EvaluationError(f"{label}: instance {instance.instance_id} has class id {instance.class_id}")
    for end in (scene.order.occluder_ids, scene.order.occludee_ids):
        for stray in set(map(int, end)) - set(ids):
            raise EvaluationError(f"{label}: the occlusion order names instance {stray}, which the scene lacks")


def _place(where: str, scene: CameraScene) -> str:
    return f"{where + ', ' if where else ''}camera '{scene.camera.name}'"


def _size(scene: CameraScene) -> str:
    return f"{scene.labels.shape[1]} x {scene.labels.shape[0]}"

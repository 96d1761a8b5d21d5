"""A camera scene with its masks as arrays: run lengths decoded, cut to the image and checked once for all metrics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.errors import CauseCount, InputError
from amodal_perception_ros.evaluation.graph import longest_chains
from amodal_perception_ros.labels import SEGMENT_FACTOR, ClassList
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene, Instance

AMODAL_BIT, VISIBLE_BIT, HIDDEN_BIT = 1, 2, 4
"""Bits of `DecodedScene.parts`: a visible pixel is 3 (amodal and visible), a hidden one 5 (amodal and hidden)."""

Window = tuple[int, int, int, int]
"""Left, top, right, bottom [px], right and bottom exclusive."""


class EvaluationError(InputError):
    """A truth or prediction that cannot be scored; the message names frame, camera and, if any, instance."""


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
        edges: (occluder, occludee) indices of the instances, as in the scene's order.
        class_image: (H, W) uint8 class index of the visible surface, `classes.void` where unlabelled.
        is_segmented: whether every pixel is annotated; data sets of objects only leave the label image empty.
        corrected: what was cut off, by cause: "outside_image" (pixels of a mask), "visible_outside_amodal".
    """

    scene: CameraScene
    where: str
    class_index: np.ndarray
    boxes: np.ndarray
    parts: list[np.ndarray]
    visible_px: np.ndarray
    hidden_px: np.ndarray
    levels: np.ndarray
    edges: list[tuple[int, int]]
    class_image: np.ndarray
    is_segmented: bool
    corrected: CauseCount

    @property
    def classes(self) -> ClassList:
        """What class ids and indices mean."""
        return self.scene.classes

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


def decode(scene: CameraScene, where: str = "") -> DecodedScene:
    """Decode the masks of a scene, check the scene, and cut masks to the image and visible masks to amodal ones.

    Raises:
        EvaluationError: duplicate or inconsistent instance ids, unknown classes in the label image, or order
            edges that name no instance.
    """
    label = place_of(where, scene)
    _check_instances(scene, label)
    height, width = scene.labels.shape
    boxes, parts = [], []
    for instance in scene.instances:
        box, part = _decode_instance(instance, height, width)
        boxes.append(box)
        parts.append(part)
    edges = _edges(scene)
    visible_px = np.array([np.count_nonzero(part & VISIBLE_BIT) for part in parts], np.int64)
    return DecodedScene(
        scene=scene,
        where=where,
        class_index=scene.classes.indices(i.class_id for i in scene.instances),
        boxes=np.array(boxes, np.int64).reshape(-1, 4),
        parts=parts,
        visible_px=visible_px,
        hidden_px=np.array([np.count_nonzero(part & HIDDEN_BIT) for part in parts], np.int64),
        levels=_levels(scene, edges, visible_px),
        edges=edges,
        class_image=_class_image(scene, label),
        is_segmented=bool(scene.labels.any()),
        corrected=_corrected(scene, visible_px, label),
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


def equal_runs(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (r,) first flat indices and (r,) lengths of the runs of equal values, row by row, in an image.

    Images of labels hold few runs, so that work per run is an order of magnitude faster than work per pixel.
    """
    flat = image.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    return starts, np.diff(starts, append=flat.size)


def visible_px_on(ground: np.ndarray, scene: DecodedScene) -> np.ndarray:
    """Return the (n,) int64 visible pixels of each object of a scene on a (H, W) bool ground."""
    pixels = np.zeros(len(scene.parts), np.int64)
    if ground.any():
        for j, (left, top, right, bottom) in enumerate(scene.boxes):
            pixels[j] = np.count_nonzero(ground[top:bottom, left:right] & (scene.parts[j] & VISIBLE_BIT > 0))
    return pixels


def _decode_instance(instance: Instance, height: int, width: int) -> tuple[Window, np.ndarray]:
    left, top, right, bottom = instance.amodal_mask.box
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return (0, 0, 0, 0), np.zeros((0, 0), np.uint8)
    window = (left, top, right - left, bottom - top)
    amodal = instance.amodal_mask.window(*window)
    visible = instance.visible_mask.window(*window)
    part = amodal.view(np.uint8) * np.uint8(AMODAL_BIT | HIDDEN_BIT)
    part ^= (visible & amodal).view(np.uint8) * np.uint8(HIDDEN_BIT | VISIBLE_BIT)
    return (left, top, right, bottom), part


def _corrected(scene: CameraScene, visible_px: np.ndarray, label: str) -> CauseCount:
    corrected = CauseCount()
    height, width = scene.labels.shape
    for instance, seen in zip(scene.instances, visible_px.tolist()):
        place = f"{label}, instance {instance.instance_id}"
        left, top, right, bottom = instance.amodal_mask.box
        if left < 0 or top < 0 or right > width or bottom > height:
            corrected.note("outside_image", place)
            seen = instance.visible_mask.clipped(height, width).area - seen
        else:
            seen = instance.visible_mask.area - seen
        if seen:
            corrected.note("visible_outside_amodal", place)
    return corrected


def _edges(scene: CameraScene) -> list[tuple[int, int]]:
    index = {instance.instance_id: i for i, instance in enumerate(scene.instances)}
    return [(index[int(a)], index[int(b)]) for a, b in zip(scene.order.occluder_ids, scene.order.occludee_ids)]


def _levels(scene: CameraScene, edges: list[tuple[int, int]], visible_px: np.ndarray) -> np.ndarray:
    if (visible_px == 0).any() and edges:
        levels = longest_chains(len(scene.instances), [(a, b) for a, b in edges if visible_px[a] > 0])
        if levels is not None:
            return levels
    return np.array([min(i.occlusion_level, OCCLUSION_LEVELS - 1) for i in scene.instances], np.int64)


def _class_image(scene: CameraScene, label: str) -> np.ndarray:
    classes = scene.classes
    unknown_index = classes.void + 1
    table = np.full(2**16, unknown_index, np.uint8)
    for entry in classes.labels:
        table[entry.id * SEGMENT_FACTOR : (entry.id + 1) * SEGMENT_FACTOR] = entry.index
    table[0] = classes.void
    starts, lengths = equal_runs(scene.labels)
    segments = scene.labels.ravel()[starts]
    values = table[segments]
    if (values == unknown_index).any():
        unknown = np.unique(segments[values == unknown_index])[:5]
        raise EvaluationError(f"{label}: the label image holds unknown segments {unknown}")
    return np.repeat(values, lengths).reshape(scene.labels.shape)


def _check_instances(scene: CameraScene, label: str) -> None:
    ids = set[int]()
    for instance in scene.instances:
        if instance.instance_id in ids:
            raise EvaluationError(f"{label}: instance id {instance.instance_id} appears more than once")
        ids.add(instance.instance_id)
        if not np.isfinite(instance.score):
            raise EvaluationError(f"{label}: instance {instance.instance_id} has the score {instance.score}")
        if instance.instance_id // SEGMENT_FACTOR != instance.class_id:
            raise EvaluationError(f"{label}: instance {instance.instance_id} has class id {instance.class_id}")
    for end in (scene.order.occluder_ids, scene.order.occludee_ids):
        for stray in set(map(int, end)) - ids:
            raise EvaluationError(f"{label}: the occlusion order names instance {stray}, which the scene lacks")


def place_of(where: str, scene: CameraScene) -> str:
    """Return how messages name an image: its frame and camera."""
    return f"{where + ', ' if where else ''}camera '{scene.camera.name}'"

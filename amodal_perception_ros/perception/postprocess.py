"""From the network's output to one `CameraScene` a camera: panoptic labels, amodal masks, occlusion order and depth.

Few objects fill much of an image, so everything after the choice of tokens runs on the objects' windows in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from amodal_perception_ros.labels import MAX_INSTANCE_NUMBER, SEGMENT_FACTOR, STUFF, THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.network import NetworkOutput
from amodal_perception_ros.occlusion import break_cycles, occlusion_levels
from amodal_perception_ros.perception.calibration import Calibration
from amodal_perception_ros.perception.composition import (
    Patch,
    compose,
    push_hidden_depth_back,
    trim_hidden_parts,
)
from amodal_perception_ros.perception.order_evidence import order_evidence
from amodal_perception_ros.perception.painting import Painter
from amodal_perception_ros.perception.parallel import for_each_image
from amodal_perception_ros.perception.preprocess import View
from amodal_perception_ros.perception.selection import Detections, select
from amodal_perception_ros.scene import CameraScene, Instance, OcclusionOrder

_STUFF_SEGMENTS = np.array([label.id * SEGMENT_FACTOR for label in STUFF], np.uint16)
_THING_IDS = np.array([label.id for label in THINGS], np.int64)


@dataclass(frozen=True)
class PostprocessConfig:
    """Thresholds of the post-processing.

    Attributes:
        calibration: what makes probabilities of the network's logits, and thresholds on them; comes with the weights.
        score_threshold: a token is an object when its score reaches this, in (0, 1); None takes the calibration's.
        duplicate_iou: of two tokens whose visible masks overlap by more than this IoU, the weaker is dropped.
        min_visible_share: a token that keeps less than this share of its own visible mask after the panoptic
            competition is a duplicate and dropped.
        min_visible_px: objects with fewer visible pixels (at the network's input size, by whole cells of its grid) are
            dropped.
        depth_order_weight: how many units of order logit one unit of log-depth difference is worth.
        visible_order_weight: order logit for an overlap in which only the occluder is visible.
        hidden_depth_tolerance: a hidden part may lie in front of the visible surface by this share of its depth; the
            rest is cut off.
        depth_relative_stddev: standard deviation of the amodal depth relative to the depth, measured on
            validation data; NaN when unknown.
    """

    calibration: Calibration = field(default_factory=Calibration)
    score_threshold: float | None = None
    duplicate_iou: float = 0.5
    min_visible_share: float = 0.25
    min_visible_px: int = 4
    depth_order_weight: float = 4.0
    visible_order_weight: float = 4.0
    hidden_depth_tolerance: float = 0.3
    depth_relative_stddev: float = float("nan")


def build_scenes(
    output: NetworkOutput,
    painter: Painter,
    views: Sequence[View],
    stamps_ns: Sequence[int],
    config: PostprocessConfig,
) -> list[CameraScene]:
    """Turn a network output into one scene a camera, at the camera's resolution.

    The results satisfy the invariants of the task: visible masks are disjoint subsets of amodal masks, the order
    graph is acyclic, levels are its longest paths, and a hidden part is not nearer than the surface that hides it.

    Args:
        output: of B images.
        painter: of the engine that made it.
        views: B cameras in the order of the batch.
        stamps_ns: B stamps.
        config: thresholds.
    """
    return [scene for scene, _ in build_scenes_and_tokens(output, painter, views, stamps_ns, config)]


def build_scenes_and_tokens(
    output: NetworkOutput,
    painter: Painter,
    views: Sequence[View],
    stamps_ns: Sequence[int],
    config: PostprocessConfig,
) -> list[tuple[CameraScene, np.ndarray]]:
    """Return what `build_scenes` does, each with the (n,) int64 tokens of the network that its instances are."""
    threshold = config.score_threshold
    selections = select(
        output,
        painter,
        config.calibration,
        config.calibration.score_threshold if threshold is None else threshold,
        config.duplicate_iou,
        config.min_visible_share,
        config.min_visible_px,
    )

    def scene(image: int) -> tuple[CameraScene, np.ndarray]:
        return _scene(selections[image](), views[image], stamps_ns[image], config)

    return for_each_image(scene, range(len(views)))


def _scene(
    detections: Detections, view: View, stamp_ns: int, config: PostprocessConfig
) -> tuple[CameraScene, np.ndarray]:
    calibration = config.calibration
    may_hide = detections.occluded >= calibration.occluded_threshold
    patches, winner, surface = compose(detections, view, may_hide, calibration.amodal_threshold)
    evidence = order_evidence(
        detections, calibration.amodal_threshold, config.depth_order_weight, config.visible_order_weight
    )
    medians = np.array([_median(patch.depth[patch.amodal]) for patch in patches])
    occludes, decided = break_cycles(evidence > 0, medians)
    trim_hidden_parts(patches, occludes, winner, surface, config.hidden_depth_tolerance, calibration.min_hidden_px)
    push_hidden_depth_back(patches, occlusion_levels(occludes, levels=len(patches) + 1), surface)
    ids = _instance_ids(detections.classes)
    seen = np.flatnonzero([patch.visible.any() for patch in patches])
    placed = [_at_camera(patches[k], view) for k in seen]
    instances = [
        _instance(patches[k], one, int(ids[k]), float(detections.scores[k]), config) for k, one in zip(seen, placed)
    ]
    kept = np.flatnonzero([instance.visible_mask.area > 0 for instance in instances])
    instances, placed, seen = [instances[k] for k in kept], [placed[k] for k in kept], seen[kept]
    order, levels = _camera_order(instances, placed, _Graph(evidence, occludes, decided).of(seen))
    for instance, level in zip(instances, levels.tolist()):
        instance.occlusion_level = level
    segments = np.concatenate([_STUFF_SEGMENTS, ids]).astype(np.uint16)[_to_camera(winner, view)]
    surface[np.isinf(surface)] = np.nan
    scene = CameraScene(view.camera, stamp_ns, segments, _to_camera(surface, view), instances, order)
    return scene, detections.index[seen]


@dataclass(frozen=True, eq=False)
class _Graph:
    """Occlusion among n objects: (n, n) log-odds, acyclic edges, and edges that depth decided in a cycle."""

    evidence: np.ndarray
    occludes: np.ndarray
    decided: np.ndarray

    def of(self, index: np.ndarray) -> _Graph:
        """Return the graph of some of the objects."""
        among = np.ix_(index, index)
        return _Graph(self.evidence[among], self.occludes[among], self.decided[among])


def _camera_order(instances: list[Instance], placed: list[_Placed], graph: _Graph) -> tuple[OcclusionOrder, np.ndarray]:
    """Return the order of the instances that overlap in the camera, and their levels."""
    boxes = np.array([instance.amodal_mask.box for instance in instances], np.int64).reshape(-1, 4)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    edges = np.argwhere(graph.occludes & (low < high).all(2))
    overlap = np.array([_overlap(placed[i], placed[j], *low[i, j], *high[i, j]) for i, j in edges.tolist()], np.int64)
    edges, overlap = edges[overlap > 0], overlap[overlap > 0]
    chosen = (edges[:, 0], edges[:, 1])
    occludes = np.zeros_like(graph.occludes)
    occludes[chosen] = True
    ids = np.array([instance.instance_id for instance in instances], np.uint32)
    order = OcclusionOrder(
        occluder_ids=ids[chosen[0]],
        occludee_ids=ids[chosen[1]],
        probability=(1 / (1 + np.exp(-graph.evidence[chosen]))).astype(np.float32),
        overlap_px=overlap.astype(np.uint32),
        in_cycle=graph.decided[chosen],
    )
    return order, occlusion_levels(occludes)


def _instance_ids(class_index: np.ndarray) -> np.ndarray:
    """Return the (n,) segment ids: per class 1, 2, 3... in the order given."""
    count = np.zeros(len(THINGS), np.int64)
    ids = np.zeros(len(class_index), np.int64)
    for k, index in enumerate(class_index):
        count[index] = min(count[index] + 1, MAX_INSTANCE_NUMBER)
        ids[k] = _THING_IDS[index] * SEGMENT_FACTOR + count[index]
    return ids


@dataclass(eq=False)
class _Placed:
    """An object's masks and depth on the camera's pixels from (x, y)."""

    x: int
    y: int
    visible: np.ndarray
    amodal: np.ndarray
    depth: np.ndarray


def _at_camera(patch: Patch, view: View) -> _Placed:
    """Bring an object to the camera's resolution (nearest neighbour)."""
    rows, columns = patch.window
    if _same_size(view):
        return _Placed(columns.start, rows.start, patch.visible, patch.amodal, patch.depth)
    y, down = _camera_pixels(rows, _source_pixels(view.height, view.camera.height))
    x, across = _camera_pixels(columns, _source_pixels(view.width, view.camera.width))
    index = np.ix_(down, across)
    return _Placed(x, y, patch.visible[index], patch.amodal[index], patch.depth[index])


def _overlap(first: _Placed, second: _Placed, left: int, top: int, right: int, bottom: int) -> int:
    """Return the pixels that two amodal masks share inside a window of the camera."""
    both = (one.amodal[top - one.y : bottom - one.y, left - one.x : right - one.x] for one in (first, second))
    return int(np.count_nonzero(np.logical_and(*both)))


def _instance(patch: Patch, placed: _Placed, instance_id: int, score: float, config: PostprocessConfig) -> Instance:
    """Return the instance; its level comes with the order. Medians are those at the network's input size."""
    amodal = RoiMask.from_array(placed.amodal, placed.x, placed.y)
    unoccluded = placed.amodal is placed.visible
    visible = amodal if unoccluded else RoiMask.from_array(placed.visible, placed.x, placed.y)
    left, top = amodal.x_offset - placed.x, amodal.y_offset - placed.y
    roi = (slice(top, top + amodal.height), slice(left, left + amodal.width))
    median = _median(patch.depth[patch.amodal])
    return Instance(
        instance_id=instance_id,
        class_id=instance_id // SEGMENT_FACTOR,
        score=score,
        visible_mask=visible,
        amodal_mask=amodal,
        occlusion_level=0,
        visible_depth=median if patch.amodal is patch.visible else _median(patch.depth[patch.visible]),
        amodal_depth=median,
        amodal_depth_stddev=median * config.depth_relative_stddev,
        depth=np.where(placed.amodal[roi], placed.depth[roi], np.float32(np.nan)),
    )


def _median(values: np.ndarray) -> float:
    """Return the median; of two in the middle, the larger. NaN of nothing."""
    middle = values.size // 2
    return float(np.partition(values, middle)[middle]) if values.size else float("nan")


def _same_size(view: View) -> bool:
    return (view.width, view.height) == (view.camera.width, view.camera.height)


def _camera_pixels(pixels: slice, source: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the first camera pixel that shows some input pixels, and which of them each camera pixel shows."""
    first, last = np.searchsorted(source, [pixels.start, pixels.stop])
    return int(first), source[first:last] - pixels.start


@lru_cache(maxsize=16)
def _source_pixels(size: int, camera_size: int) -> np.ndarray:
    """Return the (camera_size,) input pixel nearest to the centre of each camera pixel."""
    return np.floor((np.arange(camera_size) + 0.5) * size / camera_size).astype(np.int64)


def _to_camera(image: np.ndarray, view: View) -> np.ndarray:
    """Bring a (h, w) map at the input's size to the camera's resolution (nearest neighbour)."""
    if _same_size(view):
        return image
    columns, rows = (_source_pixels(view.width, view.camera.width), _source_pixels(view.height, view.camera.height))
    return image.take(columns, axis=1).take(rows, axis=0)

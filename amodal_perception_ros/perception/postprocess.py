"""From the network's output to a `CameraScene`: panoptic labels, amodal masks, occlusion order and depth.

Everything after the choice of tokens runs on small NumPy regions of interest: on a CPU that is several times
faster than full-size tensors, and on a GPU only the chosen tokens' fields leave the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from amodal_perception_ros.labels import BY_NAME, MAX_INSTANCE_NUMBER, SEGMENT_FACTOR, STUFF, THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.network import NetworkOutput
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.occlusion import break_cycles, occlusion_levels
from amodal_perception_ros.perception.preprocess import View
from amodal_perception_ros.scene import CameraScene, Instance, OcclusionOrder

_STUFF_SEGMENTS = np.array([label.id * SEGMENT_FACTOR for label in STUFF], np.uint16)
_THING_IDS = np.array([label.id for label in THINGS], np.int64)
_SKY_CHANNEL = STUFF.index(BY_NAME["sky"])


@dataclass(frozen=True)
class PostprocessConfig:
    """Thresholds of the post-processing.

    Attributes:
        score_threshold: a token is an object when its probability of being a thing reaches this, in (0, 1).
        duplicate_iou: of two tokens whose visible masks overlap by more than this IoU, the weaker is dropped.
        min_visible_share: a token that keeps less than this share of its own visible mask after the panoptic
            competition is a duplicate and dropped.
        min_visible_px: objects with fewer visible pixels (at the network's input size) are dropped.
        depth_order_weight: how many units of order logit one unit of log-depth difference is worth.
        visible_order_weight: order logit for an overlap in which only the occluder is visible.
        hidden_depth_tolerance: a hidden part may lie in front of the visible surface by this share of its depth; the
            rest is cut off.
        depth_relative_stddev: standard deviation of the amodal depth relative to the depth, measured on
            validation data; NaN when unknown.
    """

    score_threshold: float = 0.4
    duplicate_iou: float = 0.5
    min_visible_share: float = 0.25
    min_visible_px: int = 4
    depth_order_weight: float = 4.0
    visible_order_weight: float = 4.0
    hidden_depth_tolerance: float = 0.3
    depth_relative_stddev: float = float("nan")


@dataclass(eq=False)
class _Fields:
    """One camera's chosen tokens on the network's grid (h, w at 1/4 of the input), in NumPy; `index` names them."""

    index: np.ndarray
    stuff: np.ndarray
    log_depth: np.ndarray
    probability: np.ndarray
    visible: np.ndarray
    amodal: np.ndarray
    object_log_depth: np.ndarray
    order: np.ndarray


@dataclass(eq=False)
class _Object:
    """One object on its region of interest at the input's size: top-left (x, y), masks, depth in metres."""

    token: int
    x: int
    y: int
    visible_logit: np.ndarray
    amodal: np.ndarray
    depth: np.ndarray
    visible: np.ndarray

    def area_of(self, image: np.ndarray) -> np.ndarray:
        """View of a full-size image on this object's region of interest."""
        height, width = self.amodal.shape
        return image[self.y : self.y + height, self.x : self.x + width]

    def overlap(self, other: _Object) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Slices of the common region in this object's and the other's arrays, or None."""
        left, top = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.amodal.shape[1], other.x + other.amodal.shape[1])
        bottom = min(self.y + self.amodal.shape[0], other.y + other.amodal.shape[0])
        if left >= right or top >= bottom:
            return None
        own, others = ((slice(top - o.y, bottom - o.y), slice(left - o.x, right - o.x)) for o in (self, other))
        return own, others


def build_scene(
    output: NetworkOutput, batch_index: int, view: View, stamp_ns: int, config: PostprocessConfig
) -> CameraScene:
    """Turn one camera's part of a network output into a scene at the camera's resolution.

    See `build_scene_and_tokens`.
    """
    return build_scene_and_tokens(output, batch_index, view, stamp_ns, config)[0]


def build_scene_and_tokens(
    output: NetworkOutput, batch_index: int, view: View, stamp_ns: int, config: PostprocessConfig
) -> tuple[CameraScene, list[int]]:
    """Return the scene of one camera at its resolution, and the network's token behind each of its instances.

    The scene satisfies the invariants of the task: visible masks are disjoint subsets of amodal masks, the order
    graph is acyclic, levels are its longest paths, and a hidden part is not nearer than the surface that hides it.
    """
    fields = _choose(output, batch_index, config)
    objects = [_cut_out(fields, token, view) for token in range(len(fields.visible))]
    objects, winner = _compete(fields, objects, view, config)
    for number, item in enumerate(objects):
        item.visible = item.area_of(winner) == len(STUFF) + number
        item.amodal |= item.visible
    surface = _surface_depth(fields, objects, winner, view)
    evidence = _order_evidence(objects, fields.order, config)
    occludes, decided = break_cycles(evidence > 0, _median_depths(objects))
    _trim_hidden_parts(objects, occludes, surface, config)
    _push_hidden_depth_back(objects, occludes, surface)
    graph = _Graph(evidence, occludes, decided)
    scene, kept = _assemble(objects, winner, surface, fields, graph, view, stamp_ns, config)
    return scene, [int(fields.index[objects[k].token]) for k in kept]


def _choose(output: NetworkOutput, batch_index: int, config: PostprocessConfig) -> _Fields:
    """Take the tokens that are objects off the device, strongest first, without duplicates."""
    probability = _softmax(_numpy(output.class_logits[batch_index]))
    thing = 1.0 - probability[:, -1]
    candidates = np.flatnonzero(thing >= config.score_threshold)
    candidates = candidates[np.argsort(-thing[candidates], kind="stable")]
    visible = _numpy(output.visible_logits[batch_index][candidates])
    mask = (visible > 0).reshape(len(candidates), visible.shape[1] * visible.shape[2]).astype(np.float32)
    overlap = mask @ mask.T
    area = overlap.diagonal()
    iou = overlap / np.maximum(area[:, None] + area[None] - overlap, 1)
    kept: list[int] = []
    for candidate in range(len(candidates)):
        if not kept or iou[candidate, kept].max() <= config.duplicate_iou:
            kept.append(candidate)
    index = candidates[kept]
    return _Fields(
        index=index,
        stuff=_numpy(output.stuff_logits[batch_index]),
        log_depth=_numpy(output.log_depth[batch_index]),
        probability=probability[index],
        visible=visible[kept],
        amodal=_numpy(output.amodal_logits[batch_index][index]),
        object_log_depth=_numpy(output.object_log_depth[batch_index][index]),
        order=_numpy(output.order_logits[batch_index])[np.ix_(index, index)],
    )


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def _upsample(maps: np.ndarray) -> np.ndarray:
    """Bilinear (h, w) or (h, w, c) grid -> input pixels, cell centres aligned."""
    return cv2.resize(maps, None, fx=OUTPUT_STRIDE, fy=OUTPUT_STRIDE, interpolation=cv2.INTER_LINEAR)


def _cut_out(fields: _Fields, token: int, view: View) -> _Object:
    """Bring one token's fields to the input's size on the region where any of its masks can be."""
    height, width = fields.log_depth.shape
    claimed = (fields.visible[token] > fields.stuff.max(0)) | (fields.visible[token] > 0) | (fields.amodal[token] > 0)
    rows, columns = np.flatnonzero(claimed.any(1)), np.flatnonzero(claimed.any(0))
    if rows.size == 0:
        rows = columns = np.zeros(1, np.int64)
    # Two cells of margin keep the border of the interpolation outside the masks.
    top, bottom = max(0, rows[0] - 2), min(height, rows[-1] + 3)
    left, right = max(0, columns[0] - 2), min(width, columns[-1] + 3)
    stacked = np.stack(
        [part[token, top:bottom, left:right] for part in (fields.visible, fields.amodal, fields.object_log_depth)], -1
    )
    x, y = int(left) * OUTPUT_STRIDE, int(top) * OUTPUT_STRIDE
    full = _upsample(np.ascontiguousarray(stacked))[: max(0, view.height - y), : max(0, view.width - x)]
    amodal = full[..., 1] > 0
    return _Object(token, x, y, full[..., 0], amodal, np.exp(full[..., 2]) * view.depth_scale, np.zeros_like(amodal))


def _compete(
    fields: _Fields, objects: list[_Object], view: View, config: PostprocessConfig
) -> tuple[list[_Object], np.ndarray]:
    """Let stuff and objects compete for pixels; objects that win too little are dropped and their pixels given away.

    Returns:
        The surviving objects and the (H, W) winning channel: stuff first, then objects in the returned order.
    """
    stuff_winner, stuff_best = _stuff(fields.stuff, view)
    winner = _paint(objects, stuff_winner, stuff_best)
    won = np.bincount(winner.ravel(), minlength=len(STUFF) + len(objects))[len(STUFF) :]
    claimed = np.array([np.count_nonzero(item.visible_logit > 0) for item in objects])
    keep = (won >= config.min_visible_px) & (won >= config.min_visible_share * claimed)
    if keep.all():
        return objects, winner
    survivors = [item for item, kept in zip(objects, keep) if kept]
    return survivors, _paint(survivors, stuff_winner, stuff_best)


def _stuff(logits: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Winning stuff channel and its logit per pixel; classes that win no cell of the grid are left out."""
    present = np.unique(logits.argmax(0))
    best = _upsample(logits[present[0]])[: view.height, : view.width]
    winner = np.full(best.shape, present[0], np.int16)
    for channel in present[1:]:
        logit = _upsample(logits[channel])[: view.height, : view.width]
        winner[logit > best] = channel
        np.maximum(best, logit, out=best)
    return winner, best


def _paint(objects: list[_Object], stuff_winner: np.ndarray, stuff_best: np.ndarray) -> np.ndarray:
    winner, best = stuff_winner.copy(), stuff_best.copy()
    for number, item in enumerate(objects):
        region = item.area_of(best)
        won = item.visible_logit > region
        item.area_of(winner)[won] = len(STUFF) + number
        region[won] = item.visible_logit[won]
    return winner


def _surface_depth(fields: _Fields, objects: list[_Object], winner: np.ndarray, view: View) -> np.ndarray:
    """Return the (H, W) float32 depth of the visible surface [m]: dense head for stuff, own field for objects."""
    depth = np.exp(_upsample(fields.log_depth)[: view.height, : view.width]) * np.float32(view.depth_scale)
    for item in objects:
        np.copyto(item.area_of(depth), item.depth, where=item.visible)
    depth[winner == _SKY_CHANNEL] = np.inf
    return depth


def _median_depths(objects: list[_Object]) -> np.ndarray:
    return np.array([np.median(item.depth[item.amodal]) for item in objects])


def _order_evidence(objects: list[_Object], order_logits: np.ndarray, config: PostprocessConfig) -> np.ndarray:
    """Return the antisymmetric (n, n) log-odds that i occludes j; 0 where their amodal masks do not overlap.

    Three witnesses: the pair logits, the depths in the overlap, and who is visible there.
    """
    evidence = np.zeros((len(objects), len(objects)))
    for i, first in enumerate(objects):
        for j in range(i + 1, len(objects)):
            second = objects[j]
            common = first.overlap(second)
            if common is None:
                continue
            own, others = common
            both = first.amodal[own] & second.amodal[others]
            if both.any():
                behind = np.median(second.depth[others][both]) / np.median(first.depth[own][both])
                seen = np.count_nonzero(first.visible[own] & both) - np.count_nonzero(second.visible[others] & both)
                logit = order_logits[first.token, second.token] - order_logits[second.token, first.token]
                total = (
                    logit
                    + config.depth_order_weight * np.log(behind)
                    + config.visible_order_weight * seen / np.count_nonzero(both)
                )
                evidence[i, j] = total if total != 0 else np.finfo(np.float64).tiny
                evidence[j, i] = -evidence[i, j]
    return evidence


def _trim_hidden_parts(
    objects: list[_Object], occludes: np.ndarray, surface: np.ndarray, config: PostprocessConfig
) -> None:
    """Remove hidden pixels that nothing hides (in place): a hidden part needs a visible surface in front of it.

    Where an object is seen that lies behind, or a surface clearly farther away (the sky always is), the hidden part
    would have to be visible; the field has spilled over.
    """
    for i, item in enumerate(objects):
        limit = item.depth * (1 + config.hidden_depth_tolerance)
        item.amodal &= item.visible | (item.area_of(surface) <= limit)
        for j in np.flatnonzero(occludes[i]):
            common = item.overlap(objects[j])
            if common is not None:
                own, others = common
                item.amodal[own] &= ~objects[j].visible[others]


def _push_hidden_depth_back(objects: list[_Object], occludes: np.ndarray, surface: np.ndarray) -> None:
    """Make hidden depth at least that of what hides it, unoccluded occluders first (in place)."""
    for i in np.argsort(occlusion_levels(occludes, levels=len(objects) + 1), kind="stable"):
        item = objects[i]
        hidden = item.amodal & ~item.visible
        np.maximum(item.depth, item.area_of(surface), out=item.depth, where=hidden)
        for j in np.flatnonzero(occludes[i]):
            common = item.overlap(objects[j])
            if common is not None:
                own, others = common
                shared = objects[j].amodal[others] & ~objects[j].visible[others] & item.amodal[own]
                depth = objects[j].depth[others]
                np.maximum(depth, item.depth[own], out=depth, where=shared)


@dataclass(frozen=True, eq=False)
class _Graph:
    """Occlusion among n objects: (n, n) log-odds, acyclic edges, and edges that depth decided in a cycle."""

    evidence: np.ndarray
    occludes: np.ndarray
    decided: np.ndarray


def _assemble(
    objects: list[_Object],
    winner: np.ndarray,
    surface: np.ndarray,
    fields: _Fields,
    graph: _Graph,
    view: View,
    stamp_ns: int,
    config: PostprocessConfig,
) -> tuple[CameraScene, list[int]]:
    """Bring everything to the camera's resolution and number the instances; what has no pixel left there is dropped.

    Returns:
        The scene, and the numbers of the objects that its instances are.
    """
    tokens = [item.token for item in objects]
    classes = fields.probability[tokens, :-1].argmax(-1) if tokens else np.zeros(0, np.int64)
    ids = _instance_ids(classes)
    segments = np.concatenate([_STUFF_SEGMENTS, ids]).astype(np.uint16)[winner]
    scores = fields.probability[tokens, classes]
    instances = [_instance(*entry, view, config) for entry in zip(objects, ids.tolist(), scores.tolist())]
    seen = np.flatnonzero([instance.visible_mask.area > 0 for instance in instances])
    order, levels = _camera_order([instances[k] for k in seen], graph, seen)
    for k, level in zip(seen, levels):
        instances[k].occlusion_level = int(level)
    depth = np.where(np.isinf(surface), np.float32(np.nan), surface)
    labels, depth = _to_camera(segments, view), _to_camera(depth, view)
    scene = CameraScene(view.camera, stamp_ns, labels, depth, [instances[k] for k in seen], order)
    return scene, seen.tolist()


def _camera_order(instances: list[Instance], graph: _Graph, index: np.ndarray) -> tuple[OcclusionOrder, np.ndarray]:
    """Return the order of the instances (numbers `index` in the graph) that overlap in the camera, and their levels."""
    occludes = graph.occludes[np.ix_(index, index)].copy()
    edges = np.argwhere(occludes)
    overlap = np.array([instances[i].amodal_mask.intersection_area(instances[j].amodal_mask) for i, j in edges], int)
    occludes[tuple(edges[overlap == 0].T)] = False
    edges, overlap = edges[overlap > 0], overlap[overlap > 0]
    ids = np.array([instance.instance_id for instance in instances], np.uint32)
    chosen = (index[edges[:, 0]], index[edges[:, 1]])
    decided = graph.decided[chosen]
    order = OcclusionOrder(
        occluder_ids=ids[edges[:, 0]],
        occludee_ids=ids[edges[:, 1]],
        probability=(1 / (1 + np.exp(-graph.evidence[chosen]))).astype(np.float32),
        overlap_px=overlap.astype(np.uint32),
        in_cycle=decided,
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


def _instance(item: _Object, instance_id: int, score: float, view: View, config: PostprocessConfig) -> Instance:
    """Return the instance at the camera's resolution; its level comes with the order."""
    rows, y = _camera_pixels(item.y, item.amodal.shape[0], view.height, view.camera.height)
    columns, x = _camera_pixels(item.x, item.amodal.shape[1], view.width, view.camera.width)
    seen, whole, depth = (part[rows][:, columns] for part in (item.visible, item.amodal, item.depth))
    visible, amodal = RoiMask.from_array(seen, x, y), RoiMask.from_array(whole, x, y)
    left, top = amodal.x_offset - x, amodal.y_offset - y
    patch = np.where(whole, depth, np.nan)[top : top + amodal.height, left : left + amodal.width].astype(np.float32)
    median = float(np.median(depth[whole])) if amodal.area else float("nan")
    return Instance(
        instance_id=instance_id,
        class_id=instance_id // SEGMENT_FACTOR,
        score=score,
        visible_mask=visible,
        amodal_mask=amodal,
        occlusion_level=0,
        visible_depth=float(np.median(depth[seen])) if visible.area else float("nan"),
        amodal_depth=median,
        amodal_depth_stddev=median * config.depth_relative_stddev,
        depth=patch,
    )


def _camera_pixels(start: int, count: int, size: int, camera_size: int) -> tuple[np.ndarray, int]:
    """Nearest-neighbour scaling of `count` input pixels from `start`: source indices into them, first camera pixel."""
    source = _source_pixels(size, camera_size)
    first, last = np.searchsorted(source, [start, start + count])
    return source[first:last] - start, int(first)


def _source_pixels(size: int, camera_size: int) -> np.ndarray:
    """Return the (camera_size,) input pixel nearest to the centre of each camera pixel."""
    return np.floor((np.arange(camera_size) + 0.5) * size / camera_size).astype(np.int64)


def _to_camera(image: np.ndarray, view: View) -> np.ndarray:
    """Bring a (h, w) map at the input's size to the camera's resolution (nearest neighbour)."""
    camera = view.camera
    if (view.width, view.height) == (camera.width, camera.height):
        return image
    columns, rows = _source_pixels(view.width, camera.width), _source_pixels(view.height, camera.height)
    return image.take(columns, axis=1).take(rows, axis=0)

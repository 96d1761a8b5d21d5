"""From the network's output to a `CameraScene`: panoptic labels, amodal masks, occlusion order and depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from amodal_perception_ros.labels import BY_NAME, MAX_INSTANCE_NUMBER, SEGMENT_FACTOR, STUFF, THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.network import NetworkOutput
from amodal_perception_ros.perception.occlusion import break_cycles, occlusion_levels
from amodal_perception_ros.perception.preprocess import View
from amodal_perception_ros.scene import CameraScene, Instance, OcclusionOrder

STRIDE = 4
"""Input pixels per cell of the network's masks."""

_STUFF_SEGMENTS = np.array([label.id * SEGMENT_FACTOR for label in STUFF], np.uint16)
_THING_IDS = np.array([label.id for label in THINGS], np.int64)
_SKY = BY_NAME["sky"].id * SEGMENT_FACTOR


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
        depth_relative_stddev: standard deviation of the amodal depth relative to the depth, measured on
            validation data; NaN when unknown.
    """

    score_threshold: float = 0.5
    duplicate_iou: float = 0.5
    min_visible_share: float = 0.25
    min_visible_px: int = 4
    depth_order_weight: float = 4.0
    depth_relative_stddev: float = float("nan")


@dataclass(eq=False)
class _Tokens:
    """The kept tokens of one camera at the input's size: masks (n, h, w) bool, depth (n, h, w) in metres."""

    class_index: np.ndarray
    score: np.ndarray
    visible: np.ndarray
    amodal: np.ndarray
    depth: np.ndarray
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def median_depth(self) -> np.ndarray:
        """Return the (n,) median depth of the amodal masks [m]."""
        return np.array([np.median(depth[mask]) for depth, mask in zip(self.depth, self.amodal)], np.float64)


def build_scene(
    output: NetworkOutput, batch_index: int, view: View, stamp_ns: int, config: PostprocessConfig
) -> CameraScene:
    """Turn one camera's part of a network output into a scene at the camera's resolution.

    The result satisfies the invariants of the task: visible masks are disjoint subsets of amodal masks, the order
    graph is acyclic, levels are its longest paths, and hidden depth is not nearer than the occluder's depth.
    """
    index = _select_tokens(output, batch_index, config)
    index, winner = _compete(output, batch_index, index, view, config)
    tokens = _gather(output, batch_index, index, winner, view)
    dense_depth = _upsample(output.log_depth[batch_index, None], view)[0].exp().cpu().numpy() * view.depth_scale
    order, occludes = _occlusion_order(tokens, config)
    _push_hidden_depth_back(tokens, occludes)
    return _assemble(tokens, winner, dense_depth, order, occludes, view, stamp_ns, config)


def _upsample(maps: torch.Tensor, view: View) -> torch.Tensor:
    """Bilinear (n, h, w) -> (n, H, W) maps at the input's size, cut to the image."""
    full = F.interpolate(maps[None].float(), scale_factor=STRIDE, mode="bilinear", align_corners=False)[0]
    return full[:, : view.height, : view.width]


def _select_tokens(output: NetworkOutput, batch_index: int, config: PostprocessConfig) -> torch.Tensor:
    """Indices of the tokens that are objects, strongest first, without duplicates."""
    thing = 1.0 - output.class_logits[batch_index].float().softmax(-1)[:, -1]
    index = (thing >= config.score_threshold).nonzero()[:, 0]
    index = index[thing[index].argsort(descending=True, stable=True)]
    mask = (output.visible_logits[batch_index, index] > 0).flatten(1).float()
    overlap = mask @ mask.T
    area = overlap.diagonal()
    iou = (overlap / (area[:, None] + area[None] - overlap).clamp(min=1)).cpu().numpy()
    kept: list[int] = []
    for candidate in range(len(index)):
        if not kept or iou[candidate, kept].max() <= config.duplicate_iou:
            kept.append(candidate)
    return index[kept]


def _compete(
    output: NetworkOutput, batch_index: int, index: torch.Tensor, view: View, config: PostprocessConfig
) -> tuple[torch.Tensor, np.ndarray]:
    """Let stuff and tokens compete for pixels; tokens that win too little are dropped and their pixels given away.

    Returns:
        The surviving tokens and the (H, W) winning channel: stuff first, then tokens in the returned order.
    """
    logits = _upsample(torch.cat([output.stuff_logits[batch_index], output.visible_logits[batch_index, index]]), view)
    winner = logits.argmax(0)
    won = torch.bincount(winner.flatten(), minlength=len(logits))[len(STUFF) :]
    claimed = (logits[len(STUFF) :] > 0).flatten(1).sum(1)
    keep = (won >= config.min_visible_px) & (won >= config.min_visible_share * claimed)
    if not bool(keep.all()):
        channels = torch.cat([torch.ones(len(STUFF), dtype=torch.bool, device=keep.device), keep])
        winner = logits[channels].argmax(0)
    return index[keep], winner.cpu().numpy()


def _gather(output: NetworkOutput, batch_index: int, index: torch.Tensor, winner: np.ndarray, view: View) -> _Tokens:
    """Masks, depth, class and order of the surviving tokens; amodal = amodal field united with visible."""
    visible = winner[None] == np.arange(len(STUFF), len(STUFF) + len(index))[:, None, None]
    fields = torch.cat([output.amodal_logits[batch_index, index], output.object_log_depth[batch_index, index]])
    full = _upsample(fields, view) if len(index) else fields.new_zeros(0, view.height, view.width)
    probability = output.class_logits[batch_index, index].float().softmax(-1).cpu().numpy()
    return _Tokens(
        class_index=probability[:, :-1].argmax(-1),
        score=1.0 - probability[:, -1],
        visible=visible,
        amodal=visible | (full[: len(index)] > 0).cpu().numpy(),
        depth=full[len(index) :].exp().cpu().numpy() * view.depth_scale,
        order=output.order_logits[batch_index][index][:, index].float().cpu().numpy(),
    )


def _occlusion_order(tokens: _Tokens, config: PostprocessConfig) -> tuple[OcclusionOrder, np.ndarray]:
    """Edges between objects whose amodal masks overlap, directed by the pair logits together with the depth there.

    Returns the order with token indices in place of instance ids, and the acyclic (n, n) graph.
    """
    count = len(tokens)
    flat = tokens.amodal.reshape(count, -1).astype(np.float32)
    overlap = (flat @ flat.T).astype(np.int64)
    first, second = np.nonzero(np.triu(overlap, 1))
    evidence = np.zeros((count, count), np.float64)
    for i, j in zip(first, second):
        both = tokens.amodal[i] & tokens.amodal[j]
        behind = np.log(np.median(tokens.depth[j][both]) / np.median(tokens.depth[i][both]))
        evidence[i, j] = tokens.order[i, j] - tokens.order[j, i] + config.depth_order_weight * behind
        evidence[j, i] = -evidence[i, j]
    tie = (overlap > 0) & (evidence == 0) & np.triu(np.ones((count, count), bool), 1)
    occludes, decided = break_cycles((evidence > 0) | tie, tokens.median_depth())
    occluder, occludee = np.nonzero(occludes)
    probability = 1 / (1 + np.exp(-evidence[occluder, occludee]))
    order = OcclusionOrder(
        occluder_ids=occluder.astype(np.uint32),
        occludee_ids=occludee.astype(np.uint32),
        probability=probability.astype(np.float32),
        overlap_px=overlap[occluder, occludee].astype(np.uint32),
        in_cycle=decided[occluder, occludee],
    )
    return order, occludes


def _push_hidden_depth_back(tokens: _Tokens, occludes: np.ndarray) -> None:
    """Make hidden depth at least the occluder's depth there, nearest occluders first (in place)."""
    for occluder in np.argsort(occlusion_levels(occludes, levels=len(tokens) + 1), kind="stable"):
        for occludee in np.flatnonzero(occludes[occluder]):
            both = tokens.amodal[occluder] & tokens.amodal[occludee] & ~tokens.visible[occludee]
            np.maximum(tokens.depth[occludee], tokens.depth[occluder], out=tokens.depth[occludee], where=both)


def _assemble(
    tokens: _Tokens,
    winner: np.ndarray,
    dense_depth: np.ndarray,
    order: OcclusionOrder,
    occludes: np.ndarray,
    view: View,
    stamp_ns: int,
    config: PostprocessConfig,
) -> CameraScene:
    """Number the instances and bring everything to the camera's resolution."""
    ids = _instance_ids(tokens.class_index)
    segments = np.concatenate([_STUFF_SEGMENTS, ids]).astype(np.uint16)[winner]
    depth = dense_depth.copy()
    for visible, own in zip(tokens.visible, tokens.depth):
        depth[visible] = own[visible]
    depth[segments == _SKY] = np.nan
    levels = occlusion_levels(occludes)
    instances = [_instance(tokens, k, int(ids[k]), int(levels[k]), view, config) for k in range(len(tokens))]
    order.occluder_ids = ids[order.occluder_ids].astype(np.uint32)
    order.occludee_ids = ids[order.occludee_ids].astype(np.uint32)
    return CameraScene(
        view.camera, stamp_ns, _to_camera(segments, view), _to_camera(depth, view).astype(np.float32), instances, order
    )


def _instance_ids(class_index: np.ndarray) -> np.ndarray:
    """Return the (n,) segment ids: per class 1, 2, 3... in the order given."""
    count = np.zeros(len(THINGS), np.int64)
    ids = np.zeros(len(class_index), np.int64)
    for k, index in enumerate(class_index):
        count[index] += 1
        ids[k] = _THING_IDS[index] * SEGMENT_FACTOR + min(count[index], MAX_INSTANCE_NUMBER)
    return ids


def _instance(tokens: _Tokens, k: int, instance_id: int, level: int, view: View, config: PostprocessConfig) -> Instance:
    visible = RoiMask.from_array(_to_camera(tokens.visible[k], view))
    amodal = RoiMask.from_array(_to_camera(tokens.amodal[k], view))
    left, top, right, bottom = amodal.box
    depth = np.where(amodal.roi(), _to_camera(tokens.depth[k], view)[top:bottom, left:right], np.nan)
    median = float(np.nanmedian(depth))
    seen = visible.window(left, top, right - left, bottom - top)
    return Instance(
        instance_id=instance_id,
        class_id=instance_id // SEGMENT_FACTOR,
        score=float(tokens.score[k]),
        visible_mask=visible,
        amodal_mask=amodal,
        occlusion_level=level,
        visible_depth=float(np.median(depth[seen])),
        amodal_depth=median,
        amodal_depth_stddev=median * config.depth_relative_stddev,
        depth=depth.astype(np.float32),
    )


def _to_camera(image: np.ndarray, view: View) -> np.ndarray:
    """Bring a (h, w) map at the input's size to the camera's resolution (nearest neighbour)."""
    size = (view.camera.width, view.camera.height)
    if (view.width, view.height) == size:
        return image
    kind = np.uint8 if image.dtype == bool else image.dtype
    return cv2.resize(image.astype(kind), size, interpolation=cv2.INTER_NEAREST).astype(image.dtype)

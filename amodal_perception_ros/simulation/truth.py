"""Exact ground truth of one picture: instances with hidden parts, occlusion order and levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene, Instance, OcclusionOrder
from amodal_perception_ros.simulation.renderer import Item, Renderer
from amodal_perception_ros.simulation.view import View


@dataclass(eq=False)
class Layer:
    """One thing drawn alone: its segment, top-left pixel and (h, w) float32 planar depth [m], 0 outside it."""

    segment: int
    left: int
    top: int
    depth: np.ndarray

    @property
    def median(self) -> float:
        """Median depth [m]."""
        return float(np.median(self.depth[self.depth > 0]))


def camera_truth(renderer: Renderer, view: View, items: Sequence[Item], stamp_ns: int) -> CameraScene:
    """Return the truth of one camera; `items` are the things in reach, all drawn by `renderer.begin`."""
    labels, depth = renderer.segments(view)
    layers = []
    for item in items:
        drawn = renderer.alone(view, item)
        if drawn is not None:
            layers.append(Layer(item.segment, *drawn))
    order, levels = occlusion_order(layers)
    instances = [_instance(layer, labels, level) for layer, level in zip(layers, levels)]
    labels = np.where(labels == 0, SKY_SEGMENT, labels).astype(np.uint16)
    visible = np.where(depth > 0, depth, np.nan).astype(np.float32)
    return CameraScene(view.camera, stamp_ns, labels, visible, instances, order)


SKY_SEGMENT = 23 * 1000


def _instance(layer: Layer, labels: np.ndarray, level: int) -> Instance:
    height, width = layer.depth.shape
    window = labels[layer.top : layer.top + height, layer.left : layer.left + width]
    inside = layer.depth > 0
    visible = (window == layer.segment) & inside
    return Instance(
        instance_id=layer.segment,
        class_id=layer.segment // 1000,
        score=1.0,
        visible_mask=RoiMask.from_array(visible, layer.left, layer.top),
        amodal_mask=RoiMask.from_array(inside, layer.left, layer.top),
        occlusion_level=level,
        visible_depth=float(np.median(layer.depth[visible])) if visible.any() else float("nan"),
        amodal_depth=layer.median,
        amodal_depth_stddev=0.0,
        depth=np.where(inside, layer.depth, np.nan).astype(np.float32),
        track_id=layer.segment % 1000,
    )


def occlusion_order(layers: Sequence[Layer]) -> tuple[OcclusionOrder, list[int]]:
    """Return the occlusion order and the level 0..7 of things drawn alone.

    i occludes j when i is nearer on most pixels in which both lie (a tie goes to the smaller median depth). Where
    such edges form a cycle, all edges among its members are directed by median depth and flagged. The level is
    the longest chain of occluders in front (AmodalSynthDrive, section 3.3.1).
    """
    edges = _pairwise_edges(layers)
    n = len(layers)
    medians = [layer.median for layer in layers]
    cyclic = np.zeros(len(edges), bool)
    if edges:
        rows, columns = np.array([e[0] for e in edges]), np.array([e[1] for e in edges])
        graph = csr_array((np.ones(len(edges)), (rows, columns)), shape=(n, n))
        component = connected_components(graph, directed=True, connection="strong")[1]
        cyclic = component[rows] == component[columns]
        for k in np.flatnonzero(cyclic):
            i, j, overlap = edges[k]
            if (medians[i], i) > (medians[j], j):
                edges[k] = (j, i, overlap)
    levels = _longest_chains(n, edges)
    ids = [layer.segment for layer in layers]
    order = OcclusionOrder(
        np.array([ids[i] for i, _, _ in edges], np.uint32),
        np.array([ids[j] for _, j, _ in edges], np.uint32),
        np.ones(len(edges), np.float32),
        np.array([overlap for _, _, overlap in edges], np.uint32),
        cyclic,
    )
    return order, [min(level, OCCLUSION_LEVELS - 1) for level in levels]


def _pairwise_edges(layers: Sequence[Layer]) -> list[tuple[int, int, int]]:
    """(occluder, occludee, overlap in pixels) by majority over the overlap."""
    edges = []
    boxes = np.array([(a.left, a.top, a.left + a.depth.shape[1], a.top + a.depth.shape[0]) for a in layers]).reshape(
        -1, 4
    )
    for i in range(len(layers)):
        low = np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        for k in np.flatnonzero((low < high).all(1)):
            j = i + 1 + int(k)
            a, b = (_cut(layers[m], low[k], high[k]) for m in (i, j))
            both = (a > 0) & (b > 0)
            overlap = int(both.sum())
            if overlap:
                in_front = int(((a < b) & both).sum())
                behind = int(((a > b) & both).sum())
                first = in_front > behind or (in_front == behind and layers[i].median <= layers[j].median)
                edges.append((i, j, overlap) if first else (j, i, overlap))
    return edges


def _cut(layer: Layer, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return layer.depth[low[1] - layer.top : high[1] - layer.top, low[0] - layer.left : high[0] - layer.left]


def _longest_chains(n: int, edges: list[tuple[int, int, int]]) -> list[int]:
    """Longest path that ends at each node of an acyclic graph."""
    followers: list[list[int]] = [[] for _ in range(n)]
    waiting = [0] * n
    for i, j, _ in edges:
        followers[i].append(j)
        waiting[j] += 1
    level = [0] * n
    free = [k for k in range(n) if waiting[k] == 0]
    while free:
        i = free.pop()
        for j in followers[i]:
            level[j] = max(level[j], level[i] + 1)
            waiting[j] -= 1
            if waiting[j] == 0:
                free.append(j)
    return level

"""The occlusion-order graph of one image: edges, cycles and relative occlusion levels.

Follows AmodalSynthDrive (section 3.3): level 0 is unoccluded, level n is occluded by at least one object of level
n-1 and by none of a higher level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from amodal_perception_ros.scene import OCCLUSION_LEVELS, OcclusionOrder


@dataclass(eq=False)
class Layer:
    """One whole thing as if alone: its segment, top-left pixel and (h, w) float32 planar depth [m], 0 outside it."""

    segment: int
    left: int
    top: int
    depth: np.ndarray

    @property
    def median(self) -> float:
        """Median depth [m]."""
        return float(np.median(self.depth[self.depth > 0]))


def occlusion_order(layers: Sequence[Layer]) -> tuple[OcclusionOrder, list[int]]:
    """Return the occlusion order and the level 0..7 of things drawn alone.

    i occludes j when i is nearer on most pixels in which both lie (a tie goes to the smaller median depth). Where
    such edges form a cycle, all edges among its members are directed by median depth and flagged. The level is
    the longest chain of occluders in front (AmodalSynthDrive, section 3.3.1).
    """
    overlap, occludes = pairwise_overlap(layers)
    return ordered([layer.segment for layer in layers], overlap, occludes, [layer.median for layer in layers])


def ordered(
    ids: Sequence[int], overlap: np.ndarray, occludes: np.ndarray, depth: Sequence[float]
) -> tuple[OcclusionOrder, list[int]]:
    """Return the order and the levels 0..7 of a graph, its cycles broken by median depth.

    Args:
        ids: of the n objects.
        overlap: (n, n) pixels in which both lie.
        occludes: (n, n) bool, [i, j] means i occludes j.
        depth: median depths [m].
    """
    occludes, decided = break_cycles(occludes, np.array(depth))
    occluder, occludee = np.nonzero(occludes)
    names = np.array(ids, np.uint32)
    order = OcclusionOrder(
        occluder_ids=names[occluder],
        occludee_ids=names[occludee],
        probability=np.ones(len(occluder), np.float32),
        overlap_px=overlap[occluder, occludee].astype(np.uint32),
        in_cycle=decided[occluder, occludee],
    )
    return order, occlusion_levels(occludes).tolist()


def pairwise_overlap(layers: Sequence[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, n) int64 overlaps [px] and the (n, n) bool graph "i occludes j" by majority over the overlap."""
    count = len(layers)
    overlap, occludes = np.zeros((count, count), np.int64), np.zeros((count, count), bool)
    boxes = np.array([(a.left, a.top, a.left + a.depth.shape[1], a.top + a.depth.shape[0]) for a in layers]).reshape(
        -1, 4
    )
    for i in range(count):
        low = np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        for k in np.flatnonzero((low < high).all(1)):
            j = i + 1 + int(k)
            a, b = (_cut(layers[m], low[k], high[k]) for m in (i, j))
            both = (a > 0) & (b > 0)
            overlap[i, j] = overlap[j, i] = np.count_nonzero(both)
            if overlap[i, j]:
                in_front, behind = np.count_nonzero((a < b) & both), np.count_nonzero((a > b) & both)
                first = in_front > behind or (in_front == behind and layers[i].median <= layers[j].median)
                occludes[i, j], occludes[j, i] = first, not first
    return overlap, occludes


def _cut(layer: Layer, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return layer.depth[low[1] - layer.top : high[1] - layer.top, low[0] - layer.left : high[0] - layer.left]


def break_cycles(occludes: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make an occlusion graph acyclic: inside every cycle the nearer object occludes the farther one.

    Args:
        occludes: (n, n) bool, [i, j] means i occludes j.
        depth: (n,) median depth of each object [m]; ties go to the lower index.

    Returns:
        The acyclic (n, n) graph, and the (n, n) edges whose direction was decided by depth.
    """
    count = len(depth)
    if count == 0:
        return occludes.copy(), occludes.copy()
    _, component = connected_components(csr_array(occludes), directed=True, connection="strong")
    in_cycle = (occludes | occludes.T) & (component[:, None] == component[None])
    rank = np.empty(count, np.int64)
    rank[np.lexsort((np.arange(count), np.nan_to_num(depth, nan=np.inf)))] = np.arange(count)
    decided = in_cycle & (rank[:, None] < rank[None])
    return (occludes & ~in_cycle) | decided, decided


def occlusion_levels(occludes: np.ndarray, levels: int = OCCLUSION_LEVELS) -> np.ndarray:
    """Return the (n,) relative occlusion levels of an acyclic graph: the longest path, capped at levels - 1."""
    level = np.zeros(len(occludes), np.int64)
    for _ in range(levels - 1):
        if not occludes.any():
            break
        level = np.where(occludes, level[:, None] + 1, 0).max(0)
    return np.minimum(level, levels - 1)

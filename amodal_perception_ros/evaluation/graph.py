"""Longest chains of occluders, computed apart from the code that is being scored."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.scene import OCCLUSION_LEVELS


def longest_chains(count: int, edges: list[tuple[int, int]]) -> np.ndarray | None:
    """Return the (n,) int64 longest path into every node, capped at level 7, or None for a graph with a cycle.

    Args:
        count: number of nodes.
        edges: (occluder, occludee) indices.
    """
    levels = np.zeros(count, np.int64)
    for _ in range(count):
        raised = levels.copy()
        for occluder, occludee in edges:
            raised[occludee] = max(raised[occludee], levels[occluder] + 1)
        if (raised == levels).all():
            return np.minimum(levels, OCCLUSION_LEVELS - 1)
        levels = raised
    return np.zeros(0, np.int64) if count == 0 else None

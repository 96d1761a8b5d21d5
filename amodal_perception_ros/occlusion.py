"""The occlusion-order graph of one image: edges, cycles and relative occlusion levels.

Follows AmodalSynthDrive (section 3.3): level 0 is unoccluded, level n is occluded by at least one object of level
n-1 and by none of a higher level.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from amodal_perception_ros.scene import OCCLUSION_LEVELS


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

"""Who hides whom: the pair logits of the network weighed against what its masks and depths say."""

from __future__ import annotations

import cv2
import numpy as np

from amodal_perception_ros.perception.selection import Detections, shared_cells

_NEIGHBOURS = np.ones((3, 3), np.uint8)


def order_evidence(
    detections: Detections, amodal_threshold: float, depth_weight: float, visible_weight: float
) -> np.ndarray:
    """Return the antisymmetric (n, n) log-odds that i occludes j; 0 for objects that neither overlap nor touch.

    Three witnesses: the pair logits; the mean log depths where the amodal masks, grown by one cell, overlap; and who
    is seen there.
    """
    masks, count = [], len(detections.objects)
    for number, (maps, window) in enumerate(zip(detections.objects, detections.windows)):
        whole = (maps.amodal > amodal_threshold) | (detections.winner[window] == number)
        masks.append(cv2.dilate(whole.view(np.uint8), _NEIGHBOURS).view(bool))
    shared = shared_cells(masks, detections.windows, detections.log_depth.shape)
    row, column = np.divmod(shared.cells, detections.log_depth.shape[1])
    first, second = (_log_depth(detections, part, row, column) for part in (shared.first, shared.second))
    seen = detections.winner[row, column]
    more_seen = (seen == shared.first).astype(np.float64) - (seen == shared.second)
    area = shared.sums(count)
    total = shared.sums(count, depth_weight * (second - first) + visible_weight * more_seen) / np.maximum(area, 1)
    total += detections.order - detections.order.T
    upper = np.where(area > 0, np.where(total == 0, np.finfo(np.float64).tiny, total), 0)
    return upper - upper.T


def _log_depth(detections: Detections, objects: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the log depth of the (p,) objects at (p,) rows and columns of the grid inside their windows."""
    maps = [each.log_depth for each in detections.objects]
    values = np.concatenate([np.zeros(0, np.float32), *(each.ravel() for each in maps)])
    start = np.cumsum([0, *(each.size for each in maps)])
    places = [(rows.start, columns.start, columns.stop - columns.start) for rows, columns in detections.windows]
    top, left, width = np.array(places, np.int64).reshape(-1, 3)[objects].T
    return values[start[objects] + (row - top) * width + column - left]

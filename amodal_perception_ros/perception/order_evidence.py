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
    maps, tokens, count = detections.maps, detections.token, len(detections.token)
    masks = []
    for number, (token, window) in enumerate(zip(tokens, detections.windows)):
        whole = (maps.amodal[token][window] > amodal_threshold) | (detections.winner[window] == number)
        masks.append(cv2.dilate(whole.view(np.uint8), _NEIGHBOURS).view(bool))
    shared = shared_cells(masks, detections.windows, maps.log_depth.shape)
    row, column = np.divmod(shared.cells, maps.log_depth.shape[1])
    first, second = (maps.object_log_depth[tokens[part], row, column] for part in (shared.first, shared.second))
    seen = detections.winner[row, column]
    more_seen = (seen == shared.first).astype(np.float64) - (seen == shared.second)
    area = shared.sums(count)
    total = shared.sums(count, depth_weight * (second - first) + visible_weight * more_seen) / np.maximum(area, 1)
    total += detections.order - detections.order.T
    upper = np.where(area > 0, np.where(total == 0, np.finfo(np.float64).tiny, total), 0)
    return upper - upper.T

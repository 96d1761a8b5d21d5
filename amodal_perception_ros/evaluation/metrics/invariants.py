"""What must hold in every scene, whatever the truth: consistency of masks, depth, order and levels.

Kinds of violations, and what one of them is:

- `visible_outside_amodal`: an instance with a visible pixel outside its amodal mask or outside the image.
- `visible_overlap`: two instances that share a visible pixel.
- `edge_without_overlap`: an order edge between instances whose amodal masks share no pixel.
- `occluder_behind`: an order edge whose occluder is farther than the occludee, by the medians of both depths over the
  common pixels and beyond the tolerance. Edges flagged as part of a cycle (a rider and his bike) are exempt.
- `hidden_in_front`: an instance that lies in front of the visible surface, beyond the tolerance, on more than 5 % of
  its hidden pixels.
- `unflagged_cycle`: an image whose order graph has a cycle.
- `level_disagrees`: an instance whose level is not the longest chain of occluders above it (7 at most), neither without
  nor with an unknown occluder of everything that has a hidden part: where no order is stated, or something without a
  mask is in front, what is occluded may be on level 1.

The tolerance is 0.2 m + 5 % of the nearer surface's depth.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.decoding import (
    AMODAL_BIT,
    HIDDEN_BIT,
    VISIBLE_BIT,
    DecodedScene,
    Window,
    as_window,
    box_overlaps,
)
from amodal_perception_ros.evaluation.graph import longest_chains
from amodal_perception_ros.evaluation.metrics.metric import Metric

KINDS = (
    "visible_outside_amodal",
    "visible_overlap",
    "edge_without_overlap",
    "occluder_behind",
    "hidden_in_front",
    "unflagged_cycle",
    "level_disagrees",
)

_CHECKED = ("images", "instances", "edges")
_HIDDEN_SHARE = 0.05


def tolerance(depth: np.ndarray | float) -> np.ndarray | float:
    """Return the depth tolerance [m] at a depth [m]."""
    return 0.2 + 0.05 * depth


class InvariantViolations(Metric):
    """Counts violations by kind, and what was checked.

    Example: of two instances, A (`a`) is claimed to hide B (`b`) with amodal masks that share no pixel:

        a a . . b      edge_without_overlap 1: nothing of B is behind A
        a a . . b      level_disagrees 0, if A is on level 0 and B on level 1

    gives `violations` 1 in 1 image with 2 instances and 1 edge.
    """

    def __init__(self) -> None:
        super().__init__(**{name: np.zeros(()) for name in (*KINDS, *_CHECKED)})

    def add(self, scene: DecodedScene) -> None:
        """Add one predicted scene."""
        self.sums["images"] += 1
        self.sums["instances"] += len(scene.instances)
        self.sums["edges"] += len(scene.scene.order)
        stray = [i.visible_mask.area - int(seen) for i, seen in zip(scene.instances, scene.visible_px)]
        self.sums["visible_outside_amodal"] += sum(pixels > 0 for pixels in stray)
        self.sums["visible_overlap"] += _shared_visible(scene)
        self._add_edges(scene)
        self.sums["hidden_in_front"] += sum(_in_front(scene, j) for j in np.flatnonzero(scene.hidden_px).tolist())

    def results(self) -> dict[str, object]:
        """Return the number of violations, the same by kind, and what was checked."""
        by_kind = {kind: int(self.sums[kind]) for kind in KINDS}
        checked = {name: int(self.sums[name]) for name in _CHECKED}
        return {"violations": sum(by_kind.values()), "by_kind": by_kind, "checked": checked}

    def _add_edges(self, scene: DecodedScene) -> None:
        windows, touching = box_overlaps(scene.boxes, scene.boxes)
        for (occluder, occludee), flagged in zip(scene.edges, scene.scene.order.in_cycle):
            window = as_window(windows[occluder, occludee])
            if not touching[occluder, occludee]:
                self.sums["edge_without_overlap"] += 1
                continue
            common = _common(scene, occluder, occludee, window, AMODAL_BIT)
            if not common.any():
                self.sums["edge_without_overlap"] += 1
            elif not flagged:
                front = _median(scene.depth(occluder, window)[common])
                back = _median(scene.depth(occludee, window)[common])
                self.sums["occluder_behind"] += bool(front > back + tolerance(back))
        self._add_levels(scene)

    def _add_levels(self, scene: DecodedScene) -> None:
        count = len(scene.instances)
        behind_unknown = [(count, i) for i in np.flatnonzero(scene.hidden_px).tolist()]
        stated = longest_chains(count, scene.edges)
        with_unknown = longest_chains(count + 1, scene.edges + behind_unknown)
        if stated is None or with_unknown is None:
            self.sums["unflagged_cycle"] += 1
            return
        claimed = np.array([instance.occlusion_level for instance in scene.instances], np.int64)
        self.sums["level_disagrees"] += int(np.count_nonzero((claimed != stated) & (claimed != with_unknown[:count])))


def _shared_visible(scene: DecodedScene) -> int:
    windows, touching = box_overlaps(scene.boxes, scene.boxes)
    pairs = np.argwhere(np.triu(touching, 1))
    return sum(bool(_common(scene, i, j, as_window(windows[i, j]), VISIBLE_BIT).any()) for i, j in pairs)


def _common(scene: DecodedScene, i: int, j: int, window: Window, bit: int) -> np.ndarray:
    return (scene.part(i, window) & scene.part(j, window) & bit) > 0


def _in_front(scene: DecodedScene, j: int) -> bool:
    left, top, right, bottom = box = scene.box(j)
    hidden = scene.parts[j] & HIDDEN_BIT > 0
    depth = scene.depth(j, box)[hidden]
    surface = scene.scene.depth[top:bottom, left:right][hidden]
    with np.errstate(invalid="ignore"):
        before = np.count_nonzero(depth < surface - tolerance(depth))
    return bool(before > _HIDDEN_SHARE * depth.size)


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")

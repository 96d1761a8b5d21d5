"""Which tokens are objects: confident enough, no duplicates, and seen in the image; everything on their windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from amodal_perception_ros.network import NetworkOutput
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.network.instance_heads import Window
from amodal_perception_ros.network.instance_heads.head import REGION_SCALE
from amodal_perception_ros.perception.calibration import Calibration
from amodal_perception_ros.perception.painting import ObjectMaps, Painter

MARGIN = 1
"""Cells that a window reaches beyond the region in which masks are judged: interpolation and touching objects read
them."""


@dataclass(eq=False)
class Detections:
    """One camera's n objects, strongest first, on the network's grid (h, w).

    Attributes:
        stuff: (11, h, w) stuff logits of the image.
        log_depth: (h, w) log canonical depth of what is seen.
        objects: n maps of the objects on their windows.
        windows: n windows of the grid; outside of its window a cell is not the object.
        index: (n,) the network's token that each object is.
        classes: (n,) index into `labels.THINGS`.
        scores: (n,) probability that the object is right.
        occluded: (n,) probability that a part of it is hidden.
        order: (n, n) pair logits, [i, j] high: i occludes j.
        winner: (h, w) int16 object that is seen in each cell, -1 for stuff.
    """

    stuff: np.ndarray
    log_depth: np.ndarray
    objects: list[ObjectMaps]
    windows: list[Window]
    index: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    occluded: np.ndarray
    order: np.ndarray
    winner: np.ndarray

    def keep(self, chosen: np.ndarray) -> Detections:
        """Return the objects at the (m,) ascending indices; the cells of the others become stuff."""
        number = np.full(len(self.index) + 1, -1, np.int16)
        number[chosen] = np.arange(len(chosen))
        return replace(
            self,
            objects=[self.objects[k] for k in chosen],
            windows=[self.windows[k] for k in chosen],
            index=self.index[chosen],
            classes=self.classes[chosen],
            scores=self.scores[chosen],
            occluded=self.occluded[chosen],
            order=self.order[np.ix_(chosen, chosen)],
            winner=number[self.winner],
        )


def select(
    output: NetworkOutput,
    painter: Painter,
    calibration: Calibration,
    score_threshold: float,
    duplicate_iou: float,
    min_visible_share: float,
    min_visible_px: int,
) -> list[Callable[[], Detections]]:
    """Return, for each image of a batch, what finds its objects; see `PostprocessConfig` for the thresholds.

    What is returned may be called in different threads.

    From a GPU there are two transfers for all images together: what each token says, and the maps of the chosen ones.
    """
    tokens = _token_values(output)
    scores = calibration.scores(1.0 - tokens.probability[..., -1], tokens.quality)
    chosen = [_strongest(row, score_threshold) for row in scores]
    grid = (output.log_depth.shape[1], output.log_depth.shape[2])
    windows = [
        object_windows(boxes[index], seed[index], grid) for boxes, seed, index in zip(tokens.boxes, tokens.seed, chosen)
    ]
    paintings = painter.paint(output, chosen, windows)

    def detect(image: int) -> Detections:
        index = chosen[image]
        detections = Detections(
            *paintings[image](),
            windows=windows[image],
            index=index,
            classes=tokens.probability[image][index, :-1].argmax(-1),
            scores=scores[image][index],
            occluded=calibration.occluded_probability(tokens.occluded[image][index]),
            order=tokens.order[image][np.ix_(index, index)],
            winner=np.full(grid, -1, np.int16),
        )
        return _seen(_without_duplicates(detections, duplicate_iou), min_visible_share, min_visible_px)

    return [partial(detect, image) for image in range(len(paintings))]


class _TokenValues(NamedTuple):
    """(B, K, 8) class probabilities, (B, K) quality and occluded logits, (B, K, 4) boxes, (B, K, K) order logits, and
    (B, K, 2) seed column and row as fractions of the image.
    """

    probability: np.ndarray
    quality: np.ndarray
    occluded: np.ndarray
    boxes: np.ndarray
    order: np.ndarray
    seed: np.ndarray


def _token_values(output: NetworkOutput) -> _TokenValues:
    single = [part[..., None] for part in (output.quality_logits, output.occluded_logits, output.seed_index)]
    parts = [output.class_logits, *single, output.boxes, output.order_logits]
    host = torch.cat([part.float() for part in parts], -1).cpu().numpy()
    classes, quality, occluded, cell, boxes, order = np.split(host, np.cumsum([p.shape[-1] for p in parts])[:-1], -1)
    rows, width = output.heat_logits.shape[-2:]
    return _TokenValues(
        probability=_softmax(classes),
        quality=quality[..., 0],
        occluded=occluded[..., 0],
        boxes=boxes,
        order=order,
        seed=np.concatenate([(cell % width + 0.5) / width, (cell // width + 0.5) / rows], -1),
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def _strongest(scores: np.ndarray, threshold: float) -> np.ndarray:
    candidates = np.flatnonzero(scores >= threshold)
    return candidates[np.argsort(-scores[candidates], kind="stable")]


def object_windows(boxes: np.ndarray, seeds: np.ndarray, grid: tuple[int, int]) -> list[Window]:
    """Return the windows of objects: where `head.REGION_SCALE` judges masks, the seed, and a margin.

    Args:
        boxes: (n, 4) centre x, centre y, width, height as fractions of the image.
        seeds: (n, 2) x and y inside the image.
        grid: (h, w).
    """
    size = np.array([grid[1], grid[0]])
    reach = 0.5 * REGION_SCALE * boxes[:, 2:] + 1 / size
    first = np.floor(np.minimum(boxes[:, :2] - reach, seeds) * size).astype(np.int64) - MARGIN
    last = np.ceil(np.maximum(boxes[:, :2] + reach, seeds) * size).astype(np.int64) + MARGIN
    ends = np.concatenate([first.clip(min=0), last.clip(max=size)], 1)
    return [(slice(top, bottom), slice(left, right)) for left, top, right, bottom in ends.tolist()]


MAX_PAIRS = 300_000
"""About so many cells shared by two masks are looked at; where many masks overlap, a sample of the cells."""


class SharedCells(NamedTuple):
    """(p,) cells that two of n masks share: flat `cells` of the grid, the masks' numbers `first` < `second`, and the
    `weight` of each: the number of cells that it stands for.
    """

    cells: np.ndarray
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray

    def sums(self, count: int, values: np.ndarray | float = 1.0) -> np.ndarray:
        """Return the (count, count) float64 sums over the cells of (p,) values at [first, second], 0 below."""
        pair = self.first * count + self.second
        return np.bincount(pair, self.weight * values, count * count).reshape(count, count)


def shared_cells(masks: list[np.ndarray], windows: list[Window], shape: tuple[int, int]) -> SharedCells:
    """Return what n bool masks, given on their windows of a grid of that shape, have in common.

    Few cells are in several masks, so that this is cheaper than n * n overlaps or a product of full masks. Where it is
    not so, `MAX_PAIRS` keeps it cheap: cells in few masks are all taken, of the others a sample that stands for them.
    """
    times = np.zeros(shape, np.int16)
    for mask, window in zip(masks, windows):
        times[window] += mask
    several = np.flatnonzero(times > 1)
    chance = _chances(times.ravel()[several])
    # A sequence that spreads evenly over 0..1 (multiples of the golden ratio) is the same for the same masks.
    taken = several * 0.6180339887498949 % 1 < chance
    several, chance = several[taken], chance[taken]
    place = np.full(shape, -1, np.int32)
    place.ravel()[several] = np.arange(several.size)
    found = [part[mask & (part >= 0)] for mask, part in zip(masks, (place[window] for window in windows))]
    cells = np.concatenate([place[:0, 0], *found])
    owner = np.repeat(np.arange(len(found)), [len(part) for part in found])
    by_cell = np.argsort(cells, kind="stable")
    cells, owner = cells[by_cell], owner[by_cell]
    first = [np.flatnonzero(cells[step:] == cells[:-step]) for step in range(1, int(times.max()))]
    second = [index + step for step, index in enumerate(first, 1)]
    one, other = (np.concatenate([by_cell[:0], *parts]) for parts in (first, second))
    shared = cells[one]
    return SharedCells(several[shared], owner[one], owner[other], 1 / chance[shared])


def _chances(times: np.ndarray) -> np.ndarray:
    """Return the chance in (0, 1] with which each of (c,) cells is taken that lie in so many masks."""
    pairs = times.astype(np.float64) * (times - 1) / 2
    return np.minimum(1, max(1.0, MAX_PAIRS / max(1, times.size)) / pairs)


def _without_duplicates(detections: Detections, limit: float) -> Detections:
    """Drop the weaker of two objects whose visible masks overlap by more than an IoU."""
    masks = [maps.visible > 0 for maps in detections.objects]
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    kept: list[int] = []
    for k, area in enumerate(areas):
        # The IoU is at most the ratio of the areas, which spares most pairs.
        similar = [j for j in kept if min(area, areas[j]) > limit * max(area, areas[j])]
        shared = (_shared_area(masks[j], masks[k], detections.windows[j], detections.windows[k]) for j in similar)
        if not any(both > limit * (area + areas[j] - both) for j, both in zip(similar, shared)):
            kept.append(k)
    return detections.keep(np.array(kept, np.int64))


def _shared_area(first: np.ndarray, second: np.ndarray, first_window: Window, second_window: Window) -> int:
    """Return the cells that two masks on windows of the grid share."""
    low = [max(a.start, b.start) for a, b in zip(first_window, second_window)]
    high = [min(a.stop, b.stop) for a, b in zip(first_window, second_window)]
    if low[0] >= high[0] or low[1] >= high[1]:
        return 0
    parts = (
        mask[tuple(slice(a - one.start, b - one.start) for a, b, one in zip(low, high, window))]
        for mask, window in ((first, first_window), (second, second_window))
    )
    return int(np.count_nonzero(np.logical_and(*parts)))


def _seen(detections: Detections, min_share: float, min_px: int) -> Detections:
    """Let stuff and objects compete for the cells, and drop objects that win too few of those they claim."""
    best, winner = detections.stuff.max(0), detections.winner.copy()
    claimed = np.zeros(len(detections.objects), np.int64)
    for k, (maps, window) in enumerate(zip(detections.objects, detections.windows)):
        region = best[window]
        claimed[k] = np.count_nonzero(maps.visible > 0)
        np.copyto(winner[window], k, where=maps.visible > region)
        np.maximum(region, maps.visible, out=region)
    won = np.bincount(winner[winner >= 0], minlength=len(claimed))
    kept = (won * OUTPUT_STRIDE**2 >= max(1, min_px)) & (won >= min_share * claimed)
    return replace(detections, winner=winner).keep(np.flatnonzero(kept))

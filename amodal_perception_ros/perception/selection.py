"""Which tokens are objects: confident enough, no duplicates, and seen in the image.

Full maps are read here only, and only every fourth input pixel of them; everything later works on the objects' windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from amodal_perception_ros.network import NetworkOutput
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.perception.calibration import Calibration

SCAN_STRIDE = 4
"""Windows are searched at every fourth input pixel."""

MARGIN = 2
"""Cells of the search that a window reaches beyond the cells found: the masks end inside it."""

Window = tuple[slice, slice]
"""Rows and columns of a map."""


class Maps(NamedTuple):
    """(11, h, w) stuff logits and (h, w) log depth of an image, (T, h, w) visible and amodal logits and log depth of T
    tokens.
    """

    stuff: np.ndarray
    log_depth: np.ndarray
    visible: np.ndarray
    amodal: np.ndarray
    object_log_depth: np.ndarray


@dataclass(eq=False)
class Detections:
    """One camera's n objects, strongest first, on the network's grid (h, w).

    Attributes:
        maps: of the image and of T tokens, in NumPy.
        token: (n,) row of each object in the maps of tokens.
        index: (n,) the network's token that each object is.
        windows: of each object, n windows of the grid that hold its masks.
        classes: (n,) index into `labels.THINGS`.
        scores: (n,) probability that the object is right.
        occluded: (n,) probability that a part of it is hidden.
        order: (n, n) pair logits, [i, j] high: i occludes j.
        winner: (h, w) int16 object that is seen in each cell, -1 for stuff.
    """

    maps: Maps
    token: np.ndarray
    index: np.ndarray
    windows: list[Window]
    classes: np.ndarray
    scores: np.ndarray
    occluded: np.ndarray
    order: np.ndarray
    winner: np.ndarray

    def keep(self, chosen: np.ndarray) -> Detections:
        """Return the objects at the (m,) ascending indices; the cells of the others become stuff."""
        number = np.full(len(self.token) + 1, -1, np.int16)
        number[chosen] = np.arange(len(chosen))
        return replace(
            self,
            token=self.token[chosen],
            index=self.index[chosen],
            windows=[self.windows[k] for k in chosen],
            classes=self.classes[chosen],
            scores=self.scores[chosen],
            occluded=self.occluded[chosen],
            order=self.order[np.ix_(chosen, chosen)],
            winner=number[self.winner],
        )


def select(
    output: NetworkOutput,
    calibration: Calibration,
    score_threshold: float,
    duplicate_iou: float,
    min_visible_share: float,
    min_visible_px: int,
) -> list[Detections]:
    """Return the objects of each image of a batch; see `PostprocessConfig` for the thresholds.

    From a GPU there are two transfers for all images together: what each token says, and the maps of the chosen ones.
    """
    tokens = _token_values(output)
    scores = calibration.scores(1.0 - tokens.probability[..., -1], tokens.quality)
    chosen = [_strongest(row, score_threshold) for row in scores]
    found = []
    for image, (maps, row) in enumerate(_maps(output, chosen)):
        index = chosen[image]
        detections = Detections(
            maps=maps,
            token=row,
            index=index,
            windows=_windows(maps, row, tokens.seed[image][index], calibration.amodal_threshold),
            classes=tokens.probability[image][index, :-1].argmax(-1),
            scores=scores[image][index],
            occluded=calibration.occluded_probability(tokens.occluded[image][index]),
            order=tokens.order[image][np.ix_(index, index)],
            winner=np.full(maps.log_depth.shape, -1, np.int16),
        )
        detections = _without_duplicates(detections, duplicate_iou)
        found.append(_seen(detections, min_visible_share, min_visible_px))
    return found


class _TokenValues(NamedTuple):
    """(B, K, 8) class probabilities, (B, K) quality and occluded logits, (B, K, K) order logits, and (B, K, 2) seed
    row and column as fractions of the image.
    """

    probability: np.ndarray
    quality: np.ndarray
    occluded: np.ndarray
    order: np.ndarray
    seed: np.ndarray


def _token_values(output: NetworkOutput) -> _TokenValues:
    columns = [output.class_logits, output.quality_logits[..., None], output.occluded_logits[..., None]]
    values = torch.cat([part.float() for part in (*columns, output.seed_index[..., None], output.order_logits)], -1)
    host = values.cpu().numpy()
    count = output.class_logits.shape[-1]
    rows, width = output.heat_logits.shape[-2:]
    cell = host[..., count + 2]
    return _TokenValues(
        probability=_softmax(host[..., :count]),
        quality=host[..., count],
        occluded=host[..., count + 1],
        order=host[..., count + 3 :],
        seed=np.stack([(cell // width + 0.5) / rows, (cell % width + 0.5) / width], -1),
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def _strongest(scores: np.ndarray, threshold: float) -> np.ndarray:
    candidates = np.flatnonzero(scores >= threshold)
    return candidates[np.argsort(-scores[candidates], kind="stable")]


def _maps(output: NetworkOutput, chosen: list[np.ndarray]) -> list[tuple[Maps, np.ndarray]]:
    """Return the maps of each image and the rows of its chosen tokens; from a GPU these tokens' alone, in one copy."""
    dense = (output.stuff_logits, output.log_depth)
    fields = (output.visible_logits, output.amodal_logits, output.object_log_depth)
    if output.visible_logits.device.type == "cpu":
        host = [part.float().numpy() for part in (*dense, *fields)]
        return [(Maps(*(part[image] for part in host)), index) for image, index in enumerate(chosen)]
    return copied_maps(dense, fields, chosen)


def copied_maps(
    dense: Sequence[torch.Tensor], fields: Sequence[torch.Tensor], chosen: list[np.ndarray]
) -> list[tuple[Maps, np.ndarray]]:
    """Copy the dense maps and those of the chosen tokens from their device, in the precision of the first field."""
    device = fields[0].device
    most = max(map(len, chosen))
    padded = torch.tensor(np.stack([np.pad(index, (0, most - len(index))) for index in chosen]), device=device)
    image = torch.arange(len(chosen), device=device)[:, None]
    parts = [*dense, *(part[image, padded] for part in fields)]
    narrow = fields[0].dtype
    flat = torch.cat([part.to(narrow).flatten(1) for part in parts], 1).cpu().float().numpy()
    ends = np.cumsum([part[0].numel() for part in parts])[:-1]
    shapes = [tuple(part.shape[1:]) for part in parts]
    return [
        (Maps(*(values.reshape(shape) for values, shape in zip(np.split(row, ends), shapes))), np.arange(len(index)))
        for row, index in zip(flat, chosen)
    ]


def _windows(maps: Maps, token: np.ndarray, seed: np.ndarray, amodal_threshold: float) -> list[Window]:
    """Return a window for each token around its seed and all cells where one of its masks can be."""
    step = SCAN_STRIDE // OUTPUT_STRIDE
    height, width = maps.log_depth.shape
    bound = maps.stuff[:, ::step, ::step].max(0)
    claimed = np.empty((len(token), *bound.shape), bool)
    for found, one in zip(claimed, token):
        np.greater(maps.visible[one, ::step, ::step], bound, out=found)
        found |= maps.amodal[one, ::step, ::step] > amodal_threshold
    row, column = (seed * claimed.shape[1:]).astype(np.int64).T
    claimed[np.arange(len(token)), row, column] = True
    return [
        (
            slice(max(0, top - MARGIN) * step, min(height, (bottom + MARGIN) * step)),
            slice(max(0, left - MARGIN) * step, min(width, (right + MARGIN) * step)),
        )
        for (top, bottom), (left, right) in zip(_extent(claimed, 2), _extent(claimed, 1))
    ]


def _extent(claimed: np.ndarray, axis: int) -> list[list[int]]:
    """Return first and last + 1 of the rows (axis 2) or columns (1) used in each of n bool maps; each has a cell."""
    used = claimed.max(axis)
    return np.stack([used.argmax(1), used.shape[1] - used[:, ::-1].argmax(1)], 1).tolist()


class SharedCells(NamedTuple):
    """All (p,) cells that two of n masks share: flat `cells` of the grid, and the masks' numbers `first` < `second`."""

    cells: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def sums(self, count: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the (count, count) sums of (p,) weights, by default 1, at [first, second]; 0 below the diagonal."""
        return np.bincount(self.first * count + self.second, weights, count * count).reshape(count, count)


def shared_cells(masks: list[np.ndarray], windows: list[Window], shape: tuple[int, int]) -> SharedCells:
    """Return what n bool masks, given on their windows of a grid of that shape, have in common.

    Few cells are in several masks, so that this is cheaper than n * n overlaps or a product of full masks.
    """
    times = np.zeros(shape, np.int16)
    for mask, window in zip(masks, windows):
        times[window] += mask
    number = np.arange(times.size).reshape(shape)
    found = [number[window][mask & (times[window] > 1)] for mask, window in zip(masks, windows)]
    cells = np.concatenate([number[:0, 0], *found])
    owner = np.repeat(np.arange(len(found)), [len(part) for part in found])
    by_cell = np.argsort(cells, kind="stable")
    cells, owner = cells[by_cell], owner[by_cell]
    first = [np.flatnonzero(cells[step:] == cells[:-step]) for step in range(1, int(times.max()))]
    second = [index + step for step, index in enumerate(first, 1)]
    one, other = (np.concatenate([by_cell[:0], *parts]) for parts in (first, second))
    return SharedCells(cells[one], owner[one], owner[other])


def _without_duplicates(detections: Detections, limit: float) -> Detections:
    """Drop the weaker of two objects whose visible masks overlap by more than an IoU."""
    maps, windows, count = detections.maps, detections.windows, len(detections.token)
    masks = [maps.visible[token][window] > 0 for token, window in zip(detections.token, windows)]
    shared = shared_cells(masks, windows, maps.log_depth.shape).sums(count)
    area = np.array([np.count_nonzero(mask) for mask in masks])
    clash = shared > limit * np.maximum(area[:, None] + area - shared, 1)
    kept = np.ones(count, bool)
    for k in np.flatnonzero(clash.any(0)):
        kept[k] = not (clash[:, k] & kept).any()
    return detections.keep(np.flatnonzero(kept))


def _seen(detections: Detections, min_share: float, min_px: int) -> Detections:
    """Let stuff and objects compete for the cells, and drop objects that win too few of those they claim."""
    maps = detections.maps
    best, winner = maps.stuff.max(0), np.full(maps.log_depth.shape, -1, np.int16)
    claimed = np.zeros(len(detections.token), np.int64)
    for k, (token, window) in enumerate(zip(detections.token, detections.windows)):
        logit, region = maps.visible[token][window], best[window]
        claimed[k] = np.count_nonzero(logit > 0)
        np.copyto(winner[window], k, where=logit > region)
        np.maximum(region, logit, out=region)
    won = np.bincount(winner[winner >= 0], minlength=len(claimed))
    kept = (won * OUTPUT_STRIDE**2 >= max(1, min_px)) & (won >= min_share * claimed)
    return replace(detections, winner=winner).keep(np.flatnonzero(kept))

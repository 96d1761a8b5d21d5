"""Binary masks as a region of interest (ROI) and run lengths: small, exact and allowed to leave the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MAX_LAYERS = 8
"""Masks with more runs in one column are compared as arrays: `pairwise_intersections`."""


@dataclass(frozen=True, eq=False)
class RoiMask:
    """A binary mask in image coordinates.

    Attributes:
        x_offset, y_offset: top-left pixel of the ROI; negative when the mask leaves the image.
        width, height: size of the ROI in pixels; 0 x 0 is the empty mask.
        counts: (n,) uint32 COCO run lengths of the ROI: column-major, the first run counts zeros.
    """

    x_offset: int
    y_offset: int
    width: int
    height: int
    counts: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", np.ascontiguousarray(self.counts, np.uint32))
        if self.width < 0 or self.height < 0:
            raise ValueError(f"mask ROI size {self.width} x {self.height} is negative")
        total = int(self.counts.sum(dtype=np.int64))
        if total != self.width * self.height:
            raise ValueError(
                f"run lengths cover {total} pixels, but the ROI {self.width} x {self.height} "
                f"has {self.width * self.height}"
            )

    @classmethod
    def empty(cls) -> RoiMask:
        """Return the mask without pixels."""
        return cls(0, 0, 0, 0, np.zeros(0, np.uint32))

    @classmethod
    def from_array(cls, mask: np.ndarray, x_offset: int = 0, y_offset: int = 0) -> RoiMask:
        """Encode a (H, W) boolean array whose top-left pixel lies at the offset; the ROI is made tight."""
        mask = np.asarray(mask, bool)
        if mask.ndim != 2:
            raise ValueError(f"a mask is a (H, W) array, got shape {mask.shape}")
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if rows.size == 0:
            return cls.empty()
        top, left = int(rows[0]), int(columns[0])
        roi = mask[top : rows[-1] + 1, left : columns[-1] + 1]
        return cls(x_offset + left, y_offset + top, roi.shape[1], roi.shape[0], run_lengths(roi))

    def roi(self) -> np.ndarray:
        """Return the ROI as a (height, width) boolean array."""
        values = np.zeros(self.counts.size, bool)
        values[1::2] = True
        return np.repeat(values, self.counts).reshape(self.width, self.height).T

    def to_array(self, height: int, width: int) -> np.ndarray:
        """Return the (height, width) boolean image of the mask; parts outside that image are cut off."""
        return self.window(0, 0, width, height)

    def window(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return the (height, width) boolean array of the mask seen through a window at pixel (x, y)."""
        out = np.zeros((height, width), bool)
        left, top = max(x, self.x_offset), max(y, self.y_offset)
        right = min(x + width, self.x_offset + self.width)
        bottom = min(y + height, self.y_offset + self.height)
        if left < right and top < bottom:
            out[top - y : bottom - y, left - x : right - x] = self.roi()[
                top - self.y_offset : bottom - self.y_offset, left - self.x_offset : right - self.x_offset
            ]
        return out

    @property
    def area(self) -> int:
        """Number of pixels of the mask."""
        return int(self.counts[1::2].sum(dtype=np.int64))

    @property
    def box(self) -> tuple[int, int, int, int]:
        """ROI as (left, top, right, bottom) pixels, right and bottom exclusive."""
        return self.x_offset, self.y_offset, self.x_offset + self.width, self.y_offset + self.height

    def clipped(self, height: int, width: int) -> RoiMask:
        """Return the part of the mask inside an image of that size."""
        return RoiMask.from_array(self.to_array(height, width))

    def __and__(self, other: RoiMask) -> RoiMask:
        frame = self._common_frame(other)
        return RoiMask.from_array(self.window(*frame) & other.window(*frame), frame[0], frame[1])

    def __or__(self, other: RoiMask) -> RoiMask:
        frame = self._joint_frame(other)
        return RoiMask.from_array(self.window(*frame) | other.window(*frame), frame[0], frame[1])

    def __sub__(self, other: RoiMask) -> RoiMask:
        frame = (self.x_offset, self.y_offset, self.width, self.height)
        return RoiMask.from_array(self.roi() & ~other.window(*frame), frame[0], frame[1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RoiMask):
            return NotImplemented
        return self.area == other.area == self.intersection_area(other)

    def intersection_area(self, other: RoiMask) -> int:
        """Number of pixels in both masks."""
        frame = self._common_frame(other)
        return int(np.count_nonzero(self.window(*frame) & other.window(*frame))) if frame[2] and frame[3] else 0

    def iou(self, other: RoiMask) -> float:
        """Intersection over union; 1.0 when both masks are empty."""
        intersection = self.intersection_area(other)
        union = self.area + other.area - intersection
        return 1.0 if union == 0 else intersection / union

    def is_subset_of(self, other: RoiMask) -> bool:
        """Whether every pixel of this mask is a pixel of the other."""
        return self.intersection_area(other) == self.area

    def _common_frame(self, other: RoiMask) -> tuple[int, int, int, int]:
        left, top = max(self.box[0], other.box[0]), max(self.box[1], other.box[1])
        right, bottom = min(self.box[2], other.box[2]), min(self.box[3], other.box[3])
        return left, top, max(0, right - left), max(0, bottom - top)

    def _joint_frame(self, other: RoiMask) -> tuple[int, int, int, int]:
        masks = [mask for mask in (self, other) if mask.width and mask.height]
        if not masks:
            return 0, 0, 0, 0
        left, top = min(m.box[0] for m in masks), min(m.box[1] for m in masks)
        right, bottom = max(m.box[2] for m in masks), max(m.box[3] for m in masks)
        return left, top, right - left, bottom - top


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Return the (n,) int64 COCO run lengths of a non-empty (H, W) boolean array (see `RoiMask.counts`)."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [flat.size])))
    return np.concatenate(([0], runs)) if flat[0] else runs


def pairwise_intersections(
    masks: Sequence[RoiMask], others: Sequence[RoiMask], wanted: np.ndarray | None = None
) -> np.ndarray:
    """Return the (n, m) int64 numbers of pixels that n masks share with m others, from their run lengths.

    A mask becomes intervals of rows, one per column; a column with k runs is spread over k layers. Only columns that
    the boxes of two masks share are compared, those of all pairs at once. Of pairs that are not `wanted`, (n, m) bool,
    the number is 0.
    """
    everyone, split = [*masks, *others], len(masks)
    boxes = np.array([mask.box for mask in everyone], np.int64).reshape(-1, 4)
    left, top = (np.maximum.outer(edge[:split], edge[split:]) for edge in boxes[:, :2].T)
    right, bottom = (np.minimum.outer(edge[:split], edge[split:]) for edge in boxes[:, 2:].T)
    touching = (left < right) & (top < bottom)
    rows, columns = np.nonzero(touching if wanted is None else touching & wanted)
    result = np.zeros(left.shape, np.int64)
    if rows.size:
        intervals = _ColumnIntervals(everyone, boxes)
        ragged = intervals.ragged[rows] | intervals.ragged[columns + split]
        for i, j in zip(rows[ragged], columns[ragged]):
            result[i, j] = masks[i].intersection_area(others[j])
        rows, columns = rows[~ragged], columns[~ragged]
        result[rows, columns] = intervals.shared(rows, columns + split)
    return result


class _ColumnIntervals:
    """Masks as intervals of rows, by layer, mask and column.

    Args:
        masks: n masks.
        boxes: (n, 4) int64, their boxes.

    Attributes:
        ragged: (n,) bool, the masks that need more than `_MAX_LAYERS` layers and are not complete here.
    """

    def __init__(self, masks: Sequence[RoiMask], boxes: np.ndarray) -> None:
        width = boxes[:, 2] - boxes[:, 0]
        begin = np.cumsum(width) - width
        self._first_column = begin - boxes[:, 0]
        self._columns = int(width.sum())
        self._layers = np.ones(len(masks), np.int64)
        self._left, self._right = [boxes[:, 0]], [boxes[:, 2]]
        self.ragged = np.zeros(len(masks), bool)
        column, interval = _column_runs(masks, boxes, begin)
        layers = [self._layer(column, interval)]
        while (left_over := np.flatnonzero(layers[-1].take(column) != interval)).size:
            column, interval = column[left_over], interval[left_over]
            owner = np.searchsorted(begin, column, side="right") - 1
            if len(layers) == _MAX_LAYERS:
                self.ragged[owner] = True
                break
            layers.append(self._layer(column, interval))
            self._layers[owner] = len(layers)
            self._left.append(np.full(len(masks), np.iinfo(np.int64).max))
            self._right.append(np.full(len(masks), np.iinfo(np.int64).min))
            np.minimum.at(self._left[-1], owner, column - self._first_column[owner])
            np.maximum.at(self._right[-1], owner, column - self._first_column[owner] + 1)
        self._intervals = np.concatenate(layers) if len(layers) > 1 else layers[0]

    def _layer(self, column: np.ndarray, interval: np.ndarray) -> np.ndarray:
        layer = np.zeros(self._columns, np.int64)
        layer[column] = interval
        return layer

    def shared(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the (p,) int64 pixels that p pairs of masks share; their boxes must overlap."""
        combinations = self._layers[first] * self._layers[second]
        pair = np.repeat(np.arange(first.size), combinations)
        layer, other = np.divmod(_count_up(combinations), self._layers[second][pair])
        first, second = first[pair], second[pair]
        lefts, rights = np.array(self._left), np.array(self._right)
        left = np.maximum(lefts[layer, first], lefts[other, second])
        width = np.minimum(rights[layer, first], rights[other, second]) - left
        kept = np.flatnonzero(width > 0)
        width, left = width[kept], left[kept]
        begin = np.cumsum(width) - width
        step = np.arange(width.sum())
        ends = []
        for mask, level in ((first[kept], layer[kept]), (second[kept], other[kept])):
            column = np.repeat(self._first_column[mask] + left + level * self._columns - begin, width)
            column += step
            ends.append(self._intervals.take(column).view(np.int32))
        both = np.minimum(*ends)
        pixels = both[0::2] + both[1::2]
        np.maximum(pixels, 0, out=pixels)
        sums = np.add.reduceat(pixels, begin, dtype=np.int64)
        return np.bincount(pair[kept], sums, combinations.size).astype(np.int64)


def _column_runs(masks: Sequence[RoiMask], boxes: np.ndarray, begin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of masks, cut at the ends of columns.

    Args:
        masks: n masks.
        boxes: (n, 4) int64, their boxes.
        begin: (n,) int64, number of each mask's first column.

    Returns:
        (r,) int64 number of the run's column; (r,) int64 its last row + 1 and minus its first row, as two int32: one
        value to look up, and the lesser of two such pairs are those of their intersection.
    """
    pieces = [mask.counts[: mask.counts.size & ~1] for mask in masks]
    pixels = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum()
    # Quotients and sums of whole numbers below 2**23 are exact in 32 bits, which is faster.
    number = np.float32 if max(pixels, np.abs(boxes).max()) < 2**23 else np.float64
    counts, runs = np.concatenate(pieces, dtype=number), np.array([piece.size // 2 for piece in pieces])
    length = counts[1::2]
    stop = np.cumsum(counts[0::2] + length)
    before = np.concatenate((np.zeros(1, number), stop))[np.cumsum(runs) - runs]
    heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1)
    before, tall, top, offset = (
        np.repeat(values.astype(number), runs) for values in (before, heights, boxes[:, 1], begin)
    )
    stop -= before
    start = stop - length
    column = np.floor(start / tall)
    above = column * tall
    start -= above
    stop -= above
    column += offset
    longer = np.flatnonzero(stop > tall)
    more = ((stop[longer] - 1) // tall[longer]).astype(np.int64)
    run, step = np.repeat(longer, more), _count_up(more) + 1
    rest = np.minimum(stop[run] - step * tall[run], tall[run])
    np.minimum(stop, tall, out=stop)
    stop += top
    start += top
    ends = np.empty((column.size + run.size, 2), np.int32)
    ends[: column.size, 0], ends[column.size :, 0] = stop, rest + top[run]
    ends[: column.size, 1], ends[column.size :, 1] = np.negative(start, out=start), -top[run]
    columns = np.empty(len(ends), np.int64)
    columns[: column.size], columns[column.size :] = column, column[run] + step
    interval = ends.view(np.int64)[:, 0]
    if not length.all():
        kept = np.flatnonzero(ends[:, 0] > -ends[:, 1])
        columns, interval = columns[kept], interval[kept]
    return columns, interval


def _count_up(lengths: np.ndarray) -> np.ndarray:
    """Return 0, 1, ... lengths[0] - 1, 0, 1, ... lengths[1] - 1, and so on."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - lengths, lengths)

"""Binary masks as a region of interest (ROI) and run lengths: small, exact and allowed to leave the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_MAX_RUNS = 8
"""Masks with more runs in one column are compared as arrays: `pairwise_areas`."""

_MAX_PIXELS = 1 << 31


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
        if self.width * self.height >= _MAX_PIXELS:
            raise ValueError(f"mask ROI size {self.width} x {self.height} is not below {_MAX_PIXELS} pixels")
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


def pairwise_iou(masks: Sequence[RoiMask], others: Sequence[RoiMask]) -> np.ndarray:
    """Return the (n, m) float64 IoUs of n masks and m others, from their run lengths; 0.0 where both are empty."""
    shared, areas, other_areas = pairwise_areas(masks, others)
    return shared / np.maximum(areas[:, None] + other_areas - shared, 1)


def pairwise_areas(
    masks: Sequence[RoiMask], others: Sequence[RoiMask], wanted: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how many pixels n masks share with m others, and how many each has, from their run lengths.

    A mask becomes intervals of rows, one per column, and those of all pairs are compared at once, in the columns that
    both masks have. Where columns hold several runs, a mask is made of several such strips.

    Args:
        masks: n masks.
        others: m masks.
        wanted: (n, m) bool, the pairs to compare; None for all.

    Returns:
        (n, m) int64 shared pixels, 0 for pairs that are not wanted; (n,) and (m,) int64 pixels of each mask.
    """
    everyone, n, m = [*masks, *others], len(masks), len(others)
    if not everyone:
        return np.zeros((0, 0), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    left, top = np.array([[mask.x_offset for mask in everyone], [mask.y_offset for mask in everyone]])
    width, height = np.array([[mask.width for mask in everyone], [mask.height for mask in everyone]])
    column, rows, areas = _column_runs(everyone, top, width, height)
    strips, ragged = _strips(left, width, column, rows)
    first, second = np.flatnonzero(strips.mask < n), np.flatnonzero(strips.mask >= n)
    i, j, bottom = strips.mask[first], strips.mask[second], top + height
    begin = np.maximum.outer(strips.left[first], strips.left[second])
    end = np.minimum.outer(strips.right[first], strips.right[second])
    touching = (begin < end) & (np.maximum.outer(top[i], top[j]) < np.minimum.outer(bottom[i], bottom[j]))
    if wanted is not None:
        touching &= wanted[np.ix_(i, j - n)]
    a, b = np.nonzero(touching)
    begin, width, i, j = begin[a, b], (end - begin)[a, b], i[a], j[b]
    pixels = _shared_rows(strips.rows, strips.origin[first[a]] + begin, strips.origin[second[b]] + begin, width)
    shared = np.bincount(i * m + j - n, pixels, n * m).astype(np.int64).reshape(n, m)
    unsure = ragged[i] | ragged[j]
    for one, other in {*zip(i[unsure].tolist(), j[unsure].tolist())}:
        shared[one, other - n] = everyone[one].intersection_area(everyone[other])
    return shared, areas[:n], areas[n:]


class _Strips(NamedTuple):
    """Masks as strips, which have at most one run in a column.

    Attributes:
        mask: (s,) number of the mask that each strip belongs to; first comes a strip of every mask.
        left, right: (s,) its first column and its last + 1.
        origin: (s,) where column 0 of the image would stand in `rows`.
        rows: (c,) int64, the run of every column of every strip, see `_column_runs`; 0 where there is none.
    """

    mask: np.ndarray
    left: np.ndarray
    right: np.ndarray
    origin: np.ndarray
    rows: np.ndarray


def _strips(left: np.ndarray, width: np.ndarray, column: np.ndarray, rows: np.ndarray) -> tuple[_Strips, np.ndarray]:
    """Sort the runs of n masks into strips; also (n,) bool, the masks with too many runs in a column for that."""
    masks = np.arange(left.size)
    start = np.cumsum(width) - width
    # A run of no pixels at the end of a mask stands in the column after it, where it does no harm.
    table = np.zeros(width.sum() + 1, np.int64)
    table[column] = rows
    further = np.flatnonzero(table.take(column) != rows)
    further = further[np.argsort(column[further], kind="stable")]
    column, rows = column[further], rows[further]
    mask = np.searchsorted(start, column, side="right") - 1
    layer = np.arange(column.size) - np.searchsorted(column, column)
    ragged = np.zeros(left.size, bool)
    ragged[mask[layer >= _MAX_RUNS - 1]] = True
    strip = np.minimum(layer, _MAX_RUNS - 1) * left.size + mask
    low, high = np.full(_MAX_RUNS * left.size, table.size), np.zeros(_MAX_RUNS * left.size, np.int64)
    np.minimum.at(low, strip, column)
    np.maximum.at(high, strip, column + 1)
    used = np.flatnonzero(high)
    owner, size = used % left.size, (high - low)[used]
    shift = np.zeros(low.size, np.int64)
    shift[used] = table.size + np.cumsum(size) - size - low[used]
    table = np.concatenate((table, np.zeros(size.sum(), np.int64)))
    table[column + shift[strip]] = rows
    origin = start - left
    return _Strips(
        np.concatenate((masks, owner)),
        np.concatenate((left, low[used] - origin[owner])),
        np.concatenate((left + width, high[used] - origin[owner])),
        np.concatenate((origin, origin[owner] + shift[used])),
        table,
    ), ragged


def _shared_rows(rows: np.ndarray, first: np.ndarray, second: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the (p,) pixels that p pairs of strips share.

    Args:
        rows: of `_Strips`.
        first: (p,) where their shared columns begin in `rows`, for the one strip.
        second: (p,) and for the other.
        width: (p,) number of these columns, at least 1.
    """
    begin, count = np.cumsum(width) - width, np.arange(width.sum())
    runs = []
    for start in (first, second):
        place = np.repeat(start - begin, width)
        place += count
        runs.append(rows.take(place).view(np.int32))
    both = np.minimum(*runs)
    pixels = both[0::2] + both[1::2]
    np.maximum(pixels, 0, out=pixels)
    return np.add.reduceat(pixels, begin, dtype=np.int32)


def _column_runs(
    masks: Sequence[RoiMask], top: np.ndarray, width: np.ndarray, height: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the runs of n masks, cut at the ends of columns.

    Args:
        masks: n masks.
        top: (n,) int64 of their boxes.
        width: (n,) int64.
        height: (n,) int64.

    Returns:
        (r,) int64 number of the run's column, counted over all masks; (r,) int64 its last row + 1 and minus its first
        row, as two int32: one value to look up, and the lesser of two such pairs are those of their intersection;
        (n,) int64 pixels of each mask.
    """
    pieces = [mask.counts[: mask.counts.size & ~1] for mask in masks]
    runs = np.array([piece.size // 2 for piece in pieces])
    # Sums over many masks may exceed 32 bits, but their differences within a mask come out right all the same.
    counts = np.concatenate(pieces).view(np.int32)
    length = counts[1::2]
    stop = np.cumsum(counts[0::2] + length, dtype=np.int32)
    first, solid = np.cumsum(runs) - runs, runs > 0
    areas = np.zeros(len(masks), np.int64)
    areas[solid] = np.add.reduceat(length, first[solid], dtype=np.int32)
    before = np.concatenate((np.zeros(1, np.int32), stop))[first]
    tall, top, before, offset = (
        np.repeat(values.astype(np.int32), runs)
        for values in (np.maximum(height, 1), top, before, np.cumsum(width) - width)
    )
    stop -= before
    start = stop - length
    # The quotients of whole numbers below 2**24 are rounded down rightly in 32 bits, which is faster.
    number = np.float32 if (width * height).max() < 1 << 24 else np.float64
    column = np.divide(start, tall, dtype=number).astype(np.int32)
    above = column * tall - top
    stop -= above
    bottom = tall + top
    longer = np.flatnonzero(stop > bottom)
    more = (stop[longer] - top[longer] - 1) // tall[longer]
    rest, step = np.repeat(longer, more), _count_up(more) + 1
    columns, rows = np.empty(stop.size + rest.size, np.int64), np.empty((stop.size + rest.size, 2), np.int32)
    np.add(column, offset, out=columns[: stop.size])
    columns[stop.size :] = columns[rest] + step
    np.minimum(stop, bottom, out=rows[: stop.size, 0])
    rows[stop.size :, 0] = np.minimum(stop[rest] - step * tall[rest], bottom[rest])
    np.subtract(above, start, out=rows[: stop.size, 1])
    rows[stop.size :, 1] = -top[rest]
    return columns, rows.view(np.int64)[:, 0], areas


def _count_up(lengths: np.ndarray) -> np.ndarray:
    """Return 0, 1, ... lengths[0] - 1, 0, 1, ... lengths[1] - 1, and so on."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)

"""Overlaps of many masks with many others, from their run lengths alone: no mask becomes pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amodal_perception_ros.masks.roi_mask import RoiMask

_MAX_RUNS = 8
"""Masks with more runs in one column are compared as arrays: `pairwise_areas`."""


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

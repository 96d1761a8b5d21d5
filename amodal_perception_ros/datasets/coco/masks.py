"""Masks of COCO files, polygons or run lengths, as `RoiMask`: the pixels that pycocotools gives, within bounds.

Compressed run lengths are expanded here and not by pycocotools, whose C code trusts the numbers in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from amodal_perception_ros.masks import RoiMask

MAX_PIXELS = 1 << 26
"""Largest image or mask that is decoded (8192 x 8192): a damaged file must not ask for all memory."""

REACH = 10
"""A mask may leave the image by this many times its longer side; the time and memory of polygons grow with it."""

_POINTS = 3


class MaskError(ValueError):
    """A value is no mask of the image; the message says why."""


def compact(value: Any) -> Any:
    """Return polygons or uncompressed run lengths as arrays, which need a fifth of the memory; the rest unchanged."""
    if not isinstance(value, list) or not value:
        return value
    try:
        if isinstance(value[0], list):
            return [np.asarray(part, np.float64) for part in value]
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return value


def decode_mask(value: Any, height: int, width: int, padded: bool = False) -> RoiMask:
    """Return a mask as COCO files give it.

    Args:
        value: polygons `[[x, y, ...], ...]`, one polygon `[x, y, ...]`, run lengths `{"size": [rows, columns],
            "counts": str or list}`, each as in the file or after `compact`; None or empty is the mask without pixels.
        height: of the image [px].
        width: of the image [px].
        padded: run lengths may be of a larger image with the same top left corner (D2SA pads images with zeros); the
            mask then leaves the image.

    Raises:
        MaskError: not a mask, or of another image size.
    """
    if value is None or (isinstance(value, (list, dict, str, np.ndarray)) and len(value) == 0):
        return RoiMask.empty()
    if isinstance(value, dict):
        return _from_run_lengths(value, height, width, padded)
    if isinstance(value, (list, np.ndarray)):
        flat = not isinstance(value[0], (list, np.ndarray))
        return _from_polygons([value] if flat else value, height, width)
    raise MaskError(f"{type(value).__name__} instead of polygons or run lengths")


def _from_polygons(parts: Any, height: int, width: int) -> RoiMask:
    polygons = [_polygon(part, REACH * max(height, width)) for part in parts]
    areas = [polygon for polygon in polygons if polygon.size >= 2 * _POINTS]
    if not areas:
        return RoiMask.empty()
    merged = coco_mask.merge(coco_mask.frPyObjects(areas, height, width))
    return _from_runs(_expanded(merged["counts"].decode("ascii")), height)


def _polygon(part: Any, reach: float) -> np.ndarray:
    try:
        polygon = np.asarray(part, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise MaskError("a polygon holds something else than numbers") from error
    if polygon.ndim != 1 or polygon.size % 2:
        raise MaskError("a polygon is no list x, y, x, y, ...")
    if not (np.abs(polygon) <= reach).all():
        raise MaskError("a polygon has coordinates that are no numbers or far outside the image")
    return polygon


def _from_run_lengths(rle: dict[str, Any], height: int, width: int, padded: bool) -> RoiMask:
    rows, columns = _size(rle.get("size"))
    fits = rows >= height and columns >= width if padded else (rows, columns) == (height, width)
    if not fits:
        raise MaskError(f"for an image of {rows} rows and {columns} columns instead of {height} and {width}")
    runs = _runs(rle.get("counts"))
    if runs.size == 0:
        return RoiMask.empty()
    if (runs < 0).any() or int(runs.sum()) != rows * columns:
        raise MaskError(f"run lengths cover {int(runs.sum())} of {rows * columns} pixels")
    return _from_runs(runs, rows)


def _size(value: Any) -> tuple[int, int]:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(type(v) is int for v in value):
        raise MaskError("run lengths without 'size': [rows, columns]")
    rows, columns = value
    if rows <= 0 or columns <= 0 or rows * columns > MAX_PIXELS:
        raise MaskError(f"for an image of {rows} rows and {columns} columns")
    return rows, columns


def _runs(counts: Any) -> np.ndarray:
    """Return the (n,) int64 run lengths, column-major, the first run counts zeros."""
    if isinstance(counts, str):
        return _expanded(counts)
    if not isinstance(counts, (list, np.ndarray)):
        raise MaskError("run lengths without 'counts'")
    try:
        values = np.asarray(counts, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise MaskError("'counts' holds something else than numbers") from error
    if values.ndim != 1 or not (np.abs(values) <= MAX_PIXELS).all() or (values % 1 != 0).any():
        raise MaskError("'counts' is no list of run lengths")
    return values.astype(np.int64)


def _expanded(text: str) -> np.ndarray:
    """Return the (n,) int64 run lengths of a compressed COCO string.

    Each number is written as groups of 5 bits, lowest first, in characters from "0"; bit 5 says that a further group
    follows, bit 4 of the last group is the sign. From the fourth number on, they are differences to the last but one.
    """
    if not text.isascii():
        raise MaskError("'counts' is no compressed run-length string")
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    if codes.size == 0:
        return codes
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20:
        raise MaskError("'counts' is no compressed run-length string")
    ends = np.flatnonzero(codes & 0x20 == 0)
    first = np.concatenate(([0], ends[:-1] + 1))
    shift = 5 * (np.arange(codes.size) - np.repeat(first, ends - first + 1))
    if shift.max() > 30:
        raise MaskError("'counts' holds a run longer than any image")
    values = np.add.reduceat((codes & 0x1F) << shift, first)
    values[codes[ends] & 0x10 > 0] -= (np.int64(32) << shift[ends])[codes[ends] & 0x10 > 0]
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _from_runs(runs: np.ndarray, rows: int) -> RoiMask:
    """Return the mask of run lengths in an image of that many rows, decoding only the columns that it touches."""
    ends = np.cumsum(runs)
    ones = 1 + 2 * np.flatnonzero(runs[1::2])
    if ones.size == 0:
        return RoiMask.empty()
    first, last = int(ones[0]), int(ones[-1])
    start, end = int(ends[first] - runs[first]), int(ends[last])
    left, right = start // rows, -(-end // rows)
    counts = np.concatenate(([start - left * rows], runs[first : last + 1], [right * rows - end]))
    return RoiMask.from_array(RoiMask(0, 0, right - left, rows, counts).roi(), left, 0)

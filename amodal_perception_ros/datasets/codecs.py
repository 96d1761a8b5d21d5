"""Encodings of single files of a data set: images, depth, labels, masks, flow, LiDAR and BEV.

Every reader raises `DatasetError` with the path of the file when it is missing, truncated or of another kind, every
writer when it cannot be written (a full disk, for example).
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from amodal_perception_ros.datasets.coco import masks as coco_masks
from amodal_perception_ros.datasets.files import DatasetError, read_json, write_bytes
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, LABELS, SEGMENT_FACTOR, ClassList
from amodal_perception_ros.masks import RoiMask, run_lengths

DEPTH_SCALE = 256.0
"""PNG value of 1 m of depth (KITTI's convention); 0 is unknown."""

MAX_DEPTH = 65535 / DEPTH_SCALE
"""Largest depth [m] that a depth PNG holds; what is farther away is stored as unknown."""

LIDAR_STEP = 1.0 / 256.0
"""Resolution [m] of stored LiDAR coordinates up to 127 m; it doubles with every doubling of the range beyond.

A power of two leaves the low bits of the restored float32 coordinates zero, so that recorded clouds compress well.
"""

FLOW_MIN, FLOW_MAX = -1687.0, 695.0
"""Range [px] of a flow PNG of AmodalSynthDrive; its 16 bits resolve (695 + 1687) / 65535 = 0.036 px."""

_FLOW_SCALE = 65535.0 / (FLOW_MAX - FLOW_MIN)
_ROAD, _ROAD_LINE = 7, 34
_VOID = frozenset({0, 255})
_UNLABELLED = {AMODAL_SYNTH_DRIVE.name: _VOID | {35, 36}}
_BEV_UNKNOWN = 255
_TAIL = 64
_END_MARKS = {".jpg": b"\xff\xd9", ".png": b"IEND", ".npz": b"PK\x05\x06"}
_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_HEADER = struct.Struct(">16sII")
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 2]


def write_image(path: Path, image: np.ndarray, quality: int) -> None:
    """Write a (H, W, 3) uint8 RGB image as JPEG of that quality."""
    write_bytes(path, encode_jpeg(image, quality))


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return a (H, W, 3) uint8 RGB image as JPEG bytes."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[
        1
    ].tobytes()


def read_image(path: Path) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB picture of a JPEG or PNG file."""
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def write_depth(path: Path, depth: np.ndarray) -> None:
    """Write a uint16 depth PNG of an array from `quantise_depth`."""
    _write_png(path, depth)


def quantise_depth(depth: np.ndarray) -> np.ndarray:
    """Return float depth [m, NaN unknown] as uint16 in steps of 1/256 m; unknown and beyond `MAX_DEPTH` are 0."""
    scaled = np.rint(depth * np.float32(DEPTH_SCALE))
    known = scaled <= 65535.0
    return np.where(known, np.maximum(scaled, 1.0), 0.0).astype(np.uint16)


def restore_depth(values: np.ndarray) -> np.ndarray:
    """Return uint16 depth values as float32 metres, NaN where 0."""
    depth = values.astype(np.float32)
    depth *= np.float32(1.0 / DEPTH_SCALE)
    depth[values == 0] = np.nan
    return depth


def read_depth(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the (H, W) uint16 values of a depth PNG."""
    return _read_uint16(path, shape)


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Write (H, W) uint16 segment ids as AmodalSynthDrive does: stuff as its class id, things as class*1000+number."""
    _write_png(path, _TO_DISK[labels])


def read_labels(path: Path) -> np.ndarray:
    """Return the (H, W) uint16 segments of a PNG of `write_labels`; what is of no class is 0, unlabelled."""
    return labels_of(read_label_values(path), AMODAL_SYNTH_DRIVE)[0]


def read_label_values(path: Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Return the (H, W) uint16 values of a PNG of segments: stuff as its class id, things as class*1000+number."""
    return _read_uint16(path, shape)


def labels_of(values: np.ndarray, classes: ClassList) -> tuple[np.ndarray, dict[int, int]]:
    """Return (H, W) uint16 segments with stuff as class*1000, and class id -> pixels of what has no such segment.

    Those are 0, unlabelled. Not counted are 0 and 255 and, in AmodalSynthDrive, "other" (35) and water (36), which are
    unlabelled by definition; its road lines (34) are road.
    """
    table, pixels = _from_disk(classes), np.bincount(values.ravel(), minlength=65536)
    lost: dict[int, int] = {}
    for value in np.flatnonzero((pixels > 0) & (table == 0)).tolist():
        class_id = value // SEGMENT_FACTOR or value
        if value not in _UNLABELLED.get(classes.name, _VOID):
            lost[class_id] = lost.get(class_id, 0) + int(pixels[value])
    return table[values], lost


def write_classes(path: Path, classes: np.ndarray) -> None:
    """Write an (H, W) uint8 map of class ids (or of other small codes) as an 8-bit grey PNG."""
    _write_png(path, classes)


def write_flow(path: Path, flow: np.ndarray) -> None:
    """Write (H, W, 2) float optical flow (right, down) [px] as AmodalSynthDrive does.

    A 16-bit RGB PNG: red and green are `(flow - FLOW_MIN) / (FLOW_MAX - FLOW_MIN) * 65535`, blue is 1 where the flow is
    known. Unknown (NaN) flow and flow beyond the range are 0 in all channels, which the public loader reads as -1687
    px and leaves out as larger than 1000 px.
    """
    right, down = flow[..., 0], flow[..., 1]
    valid = (right >= FLOW_MIN) & (right <= FLOW_MAX) & (down >= FLOW_MIN) & (down <= FLOW_MAX)
    channels = [valid.astype(np.uint16)]
    for part in (down, right):
        known = np.where(valid, part, np.float32(FLOW_MIN))
        channels.append(np.rint((known - FLOW_MIN) * _FLOW_SCALE).astype(np.uint16))
    _write_png(path, cv2.merge(channels))


def read_flow(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W, 2) float32 optical flow (right, down) [px], NaN where unknown."""
    values = _decode(path, cv2.IMREAD_UNCHANGED)
    if values.dtype != np.uint16 or values.shape != (*shape, 3):
        raise DatasetError(f"{path}: expected a 16-bit RGB PNG of {shape} pixels, got {values.dtype} {values.shape}")
    flow = (values[..., 2:0:-1] / _FLOW_SCALE + FLOW_MIN).astype(np.float32)
    flow[values[..., 0] == 0] = np.nan
    return flow


def _to_disk() -> np.ndarray:
    table = np.arange(65536, dtype=np.uint16)
    for label in LABELS:
        if not label.is_thing:
            table[label.id * SEGMENT_FACTOR] = label.id
    return table


@lru_cache
def _from_disk(classes: ClassList) -> np.ndarray:
    table = np.zeros(65536, np.uint16)
    for label in classes.labels:
        if label.is_thing:
            first = label.id * SEGMENT_FACTOR
            table[first : first + SEGMENT_FACTOR] = np.arange(first, first + SEGMENT_FACTOR)
        else:
            table[label.id] = label.id * SEGMENT_FACTOR
    if classes == AMODAL_SYNTH_DRIVE:
        table[_ROAD_LINE] = table[_ROAD]
    return table


_TO_DISK = _to_disk()


def encode_mask(mask: RoiMask, height: int, width: int) -> dict[str, Any]:
    """Return the part of a mask inside the image as compressed COCO RLE `{"size": [H, W], "counts": str}`."""
    left, right = max(0, mask.x_offset), min(width, mask.x_offset + mask.width)
    if left >= right:
        counts = [height * width]
    else:
        counts = run_lengths(mask.window(left, 0, right - left, height)).tolist()
        counts[0] += left * height
        tail = (width - right) * height
        if len(counts) % 2:
            counts[-1] += tail
        elif tail:
            counts.append(tail)
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def decode_mask(path: Path, key: str, rle: Any, shape: tuple[int, int]) -> RoiMask:
    """Return the mask of a COCO RLE (compressed or not; None and an empty list are the empty mask)."""
    if rle and not isinstance(rle, dict):
        raise DatasetError(f"{path}: '{key}' is not a COCO run-length mask")
    try:
        return coco_masks.decode_mask(rle, *shape)
    except coco_masks.MaskError as error:
        raise DatasetError(f"{path}: '{key}' is not a COCO run-length mask of the image ({error})") from error


class Sweep(NamedTuple):
    """A stored LiDAR sweep: (N, 4) float32 x, y, z [m], intensity; (N,) segment ids and rings, or None."""

    points: np.ndarray
    segments: np.ndarray | None
    rings: np.ndarray | None


def write_lidar(
    path: Path, points: np.ndarray, segments: np.ndarray | None = None, rings: np.ndarray | None = None
) -> None:
    """Write (N, 4) float32 x, y, z, intensity: coordinates as int16 and intensity as uint8 steps.

    Args:
        path: NPZ file.
        points: the sweep.
        segments: (N,) uint16 segment id of every point; stuff is stored as its class id, as in `write_labels`.
        rings: (N,) uint8 ring of every point.

    Raises:
        ValueError: coordinates are not finite, rings are not of 0..255, or the columns have different lengths.
    """
    xyz = points[:, :3]
    span = float(np.abs(xyz).max()) if len(points) else 0.0
    if not math.isfinite(span):
        raise ValueError(f"{path}: LiDAR points hold NaN or infinite coordinates; drop them before writing")
    step = LIDAR_STEP * 2.0 ** max(0, math.ceil(math.log2(max(span, 1.0) / (32767.0 * LIDAR_STEP))))
    strength = np.clip(np.nan_to_num(points[:, 3]), 0.0, None)
    unit = max(1.0, float(strength.max(initial=0.0))) / 255.0
    plain = {
        "xyz": np.rint(xyz / step).astype(np.int16),
        "intensity": np.rint(strength / unit).astype(np.uint8),
        "step": np.array([step, unit]),
    }
    packed = {}
    if segments is not None:
        packed["segment"] = _TO_DISK[segments]
    if rings is not None:
        packed["ring"] = np.asarray(rings).astype(np.uint8)
        if not np.array_equal(packed["ring"], rings):
            raise ValueError(f"{path}: the rings of LiDAR points are 0..255, got {np.min(rings)}..{np.max(rings)}")
    for name, column in packed.items():
        if column.shape != (len(points),):
            raise ValueError(f"{path}: {len(points)} LiDAR points but '{name}' of shape {column.shape}")
    write_bytes(path, _npz(plain, packed))


def _npz(plain: dict[str, np.ndarray], packed: dict[str, np.ndarray]) -> bytes:
    """Return an NPZ file whose noisy columns lie uncompressed, the repetitive ones compressed: small and quick."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for columns, method in ((plain, zipfile.ZIP_STORED), (packed, zipfile.ZIP_DEFLATED)):
            for name, values in columns.items():
                member = zipfile.ZipInfo(f"{name}.npy")
                member.compress_type = method
                with archive.open(member, "w") as file:
                    np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
    return buffer.getvalue()


def read_lidar(path: Path) -> Sweep:
    """Return the sweep of `write_lidar`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
        xyz, intensity, (step, unit) = columns["xyz"], columns["intensity"], columns["step"]
        points = np.empty((len(xyz), 4), np.float32)
        points[:, :3] = xyz * np.float32(step)
        points[:, 3] = intensity * np.float32(unit)
        extra = [columns.get(name) for name in ("segment", "ring")]
        if any(column is not None and column.shape != (len(points),) for column in extra):
            raise ValueError("columns of different lengths")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{path}: not a LiDAR sweep of this format ({error})") from error
    segments, rings = extra
    return Sweep(points, None if segments is None else labels_of(segments, AMODAL_SYNTH_DRIVE)[0], rings)


def write_bev(path: Path, visible: np.ndarray, amodal: np.ndarray, semantic: np.ndarray, evidence: np.ndarray) -> None:
    """Write four BEV grids as the red, green, blue and alpha channels of one PNG; occupancy -1 is stored as 255."""
    channels = [semantic, amodal.view(np.uint8), visible.view(np.uint8), evidence]
    _write_png(path, cv2.merge([np.ascontiguousarray(c) for c in channels]))


def read_bev(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the visible, amodal (int8), semantic and evidence (uint8) grids of a BEV PNG."""
    picture = _decode(path, cv2.IMREAD_UNCHANGED)
    if picture.ndim != 3 or picture.shape[2] != 4 or picture.dtype != np.uint8:
        raise DatasetError(f"{path}: a BEV grid is an 8-bit RGBA PNG, got {picture.dtype} {picture.shape}")
    semantic, amodal, visible, evidence = (np.ascontiguousarray(picture[..., c]) for c in range(4))
    for grid in (visible, amodal):
        if np.any((grid > 100) & (grid != _BEV_UNKNOWN)):
            raise DatasetError(f"{path}: occupancy must be 0..100 or 255 (unknown), got {int(grid.max())}")
    return visible.view(np.int8), amodal.view(np.int8), semantic, evidence


def png_size(path: Path) -> tuple[int, int]:
    """Return height and width [px] of a PNG file by its header."""
    try:
        with path.open("rb") as file:
            header = file.read(_PNG_HEADER.size)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    return _png_size(path, header)


def _png_size(path: Path, content: bytes) -> tuple[int, int]:
    """Return the size in a PNG's first bytes, before anything of that size is allocated."""
    if len(content) < _PNG_HEADER.size or not content.startswith(_PNG_START):
        raise DatasetError(f"{path}: not a PNG file, or truncated ({len(content)} bytes)")
    _, width, height = _PNG_HEADER.unpack_from(content)
    if not 0 < width * height <= coco_masks.MAX_PIXELS:
        raise DatasetError(f"{path}: a PNG of {width} x {height} pixels; expected 1 to {coco_masks.MAX_PIXELS} pixels")
    return height, width


def check_complete(path: Path) -> None:
    """Raise DatasetError where a file is missing or truncated; pictures and sweeps are not decoded."""
    if path.suffix == ".json":
        read_json(path)
        return
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    if _END_MARKS[path.suffix] not in tail:
        raise DatasetError(f"{path}: truncated ({size} bytes)")


def _write_png(path: Path, picture: np.ndarray) -> None:
    write_bytes(path, cv2.imencode(".png", picture, _PNG)[1].tobytes())


def _read_uint16(path: Path, shape: tuple[int, int] | None) -> np.ndarray:
    values = _decode(path, cv2.IMREAD_UNCHANGED)
    if values.dtype != np.uint16 or values.shape != (shape or values.shape[:2]):
        size = f" of {shape} pixels" if shape else ""
        raise DatasetError(f"{path}: expected a 16-bit grey PNG{size}, got {values.dtype} {values.shape}")
    return values


def _decode(path: Path, mode: int) -> np.ndarray:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith(_PNG_START):
        _png_size(path, content)
    # OpenCV fills what a truncated file lacks with grey; the end marks of PNG and JPEG tell such files apart.
    complete = any(_END_MARKS[suffix] in content[-_TAIL:] for suffix in (".png", ".jpg"))
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), mode) if complete else None
    if picture is None:
        raise DatasetError(f"{path}: not a picture, or truncated ({len(content)} bytes)")
    return picture

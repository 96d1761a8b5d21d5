"""One image of a sample as compact training data: the network's exact input and its targets at stride 2.

Preparing an image costs far more than a training step may wait for, so records are made once and kept in a cache.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.labels import SEGMENT_FACTOR, UNLABELLED
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.network.config import OUTPUT_STRIDE
from amodal_perception_ros.perception.preprocess import View, prepare
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene, Instance, Sample, paste_nearest
from amodal_perception_ros.training.classes import ClassMap, class_map

RECORD_FORMAT = 2
"""To be raised when `make_records` makes something else of a sample: caches of another format are not used."""

MIN_VISIBLE_PX = 12.0
"""Objects with less visible area at the input's scale are not targets; their cells are ignored by the heat map."""

DEPTH_RANGE = (0.3, 300.0)
"""Depth targets [m] are clipped to this range."""

SEED_STRIDES = (4, 8)


@dataclass(eq=False)
class ImageRecord:
    """Training data of one image with G target objects; H x W input, h = H/2, w = W/2. Coverage is 0..255.

    Attributes:
        image: (H, W, 3) uint8 RGB, as the network sees it.
        content: (2,) int32 width and height of the image inside the input; the rest is padding.
        lidar_index: (P,) int32 flat input pixels that hold a LiDAR point.
        lidar_inverse: (P,) float32 canonical inverse depth [1/m] there.
        stuff: (11, h, w) uint8 coverage of each stuff class.
        log_depth: (h, w) float16 log canonical visible depth, NaN unknown.
        ignored: (h, w) bool, cells that show an object too small to be a target.
        classes: (G,) int64 index into `labels.THINGS`.
        levels: (G,) int64 occlusion level.
        boxes: (G, 4) float32 amodal box inside the image: centre x, centre y, width, height as fractions.
        seeds: (G, 2, 2) int64 row and column of the visible core's cell, for each of `SEED_STRIDES`.
        visible, amodal: (G, h, w) uint8 coverage.
        object_log_depth: (G, h, w) float16 log canonical depth of the whole object, NaN unknown.
        occludes: (G, G) bool, [i, j]: i hides part of j.
    """

    image: np.ndarray
    content: np.ndarray
    lidar_index: np.ndarray
    lidar_inverse: np.ndarray
    stuff: np.ndarray
    log_depth: np.ndarray
    ignored: np.ndarray
    classes: np.ndarray
    levels: np.ndarray
    boxes: np.ndarray
    seeds: np.ndarray
    visible: np.ndarray
    amodal: np.ndarray
    object_log_depth: np.ndarray
    occludes: np.ndarray

    def save(self, path: Path) -> None:
        """Write the record atomically; the objects' maps are cut to their boxes of cells."""
        arrays = {item.name: getattr(self, item.name) for item in fields(self)}
        rois = [_cell_roi(mask) for mask in self.amodal]
        for name in ("visible", "amodal", "object_log_depth"):
            cut = [values[y0:y1, x0:x1].ravel() for values, (y0, y1, x0, x1) in zip(arrays[name], rois)]
            arrays[name] = np.concatenate(cut) if cut else np.zeros(0, arrays[name].dtype)
        arrays["rois"] = np.array(rois, np.int32).reshape(-1, 4)
        temporary = path.with_name(path.name + ".part")
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> ImageRecord:
        """Read what `save` wrote; raises InputError for a damaged file."""
        try:
            with np.load(path) as file:
                arrays = dict(file)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: damaged cache file, delete it to have it made again: {error}") from error
        rois = arrays.pop("rois")
        for name, empty in (("visible", 0), ("amodal", 0), ("object_log_depth", np.nan)):
            arrays[name] = _paste_rois(arrays[name], rois, arrays["log_depth"].shape, empty)
        return cls(**arrays)


def make_records(sample: Sample, input_size: tuple[int, int]) -> dict[str, ImageRecord]:
    """Return camera name -> record for every camera of a sample that has an image and truth.

    What a data set does not say is unknown, not background: depth without a calibration or without depth is NaN,
    unlabelled cells have no stuff, and objects of a class that the network lacks become ignored cells, as do unlabelled
    pixels of an image that has labels (data sets that annotate objects only have none).
    """
    inputs = prepare(sample.frame, input_size)
    records = {}
    for image, guidance, view in zip(inputs.image, inputs.guidance, inputs.views):
        scene = sample.truth.cameras.get(view.camera.name)
        if scene is not None:
            records[view.camera.name] = _make_record(image, guidance, view, scene)
    return records


def _make_record(image: np.ndarray, guidance: np.ndarray, view: View, scene: CameraScene) -> ImageRecord:
    size = (image.shape[2], image.shape[1])
    offset = -np.log(view.depth_scale)
    known = class_map(scene.classes)
    targets, ignored = _split_targets(scene, view, known)
    segments = scene.labels.astype(np.int32) // SEGMENT_FACTOR
    visible, amodal, depths = _object_maps(targets, view, size, offset)
    lidar_index = np.flatnonzero(guidance[1]).astype(np.int32)
    ignored_cells = np.zeros((size[1] // OUTPUT_STRIDE, size[0] // OUTPUT_STRIDE), bool)
    for instance in ignored:
        ignored_cells |= _coverage(_on_image(instance.visible_mask, scene), view, size) > 0
    if segments.any():
        ignored_cells |= _coverage(segments == UNLABELLED, view, size) > 0
    return ImageRecord(
        image=np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8),
        content=np.array([view.width, view.height], np.int32),
        lidar_index=lidar_index,
        lidar_inverse=guidance[0].ravel()[lidar_index],
        stuff=np.stack([_to_bytes(_coverage(np.isin(segments, ids), view, size)) for ids in known.stuff]),
        log_depth=_log_depth(scene.depth, view, size, offset).astype(np.float16),
        ignored=ignored_cells,
        classes=np.array([known.things[instance.class_id] for instance in targets], np.int64),
        levels=np.array([min(instance.occlusion_level, OCCLUSION_LEVELS - 1) for instance in targets], np.int64),
        boxes=_boxes([_on_image(instance.amodal_mask, scene) for instance in targets], view, size),
        seeds=core_cells(visible),
        visible=visible,
        amodal=amodal,
        object_log_depth=depths,
        occludes=_occludes(targets, scene),
    )


def _split_targets(scene: CameraScene, view: View, known: ClassMap) -> tuple[list[Instance], list[Instance]]:
    """Return the instances that are targets, and the visible ones that are too small or of no class of the network.

    Fully hidden ones are out.
    """
    targets, ignored = [], []
    for instance in scene.instances:
        visible_px = instance.visible_mask.area * view.scale**2
        if visible_px >= MIN_VISIBLE_PX and instance.class_id in known.things:
            targets.append(instance)
        elif visible_px > 0:
            ignored.append(instance)
    return targets, ignored


def _object_maps(
    instances: list[Instance], view: View, size: tuple[int, int], offset: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    height, width = view.camera.height, view.camera.width
    shape = (len(instances), size[1] // OUTPUT_STRIDE, size[0] // OUTPUT_STRIDE)
    visible, amodal = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    depths = np.full(shape, np.nan, np.float16)
    for row, instance in enumerate(instances):
        visible[row] = _to_bytes(_coverage(instance.visible_mask.to_array(height, width), view, size))
        amodal[row] = _to_bytes(_coverage(instance.amodal_mask.to_array(height, width), view, size))
        depth = np.full((height, width), np.nan, np.float32)
        paste_nearest(depth, instance.depth, instance.amodal_mask.x_offset, instance.amodal_mask.y_offset)
        depths[row] = _log_depth(depth, view, size, offset)
    return visible, np.maximum(amodal, visible), depths


def _on_image(mask: RoiMask, scene: CameraScene) -> np.ndarray:
    return mask.to_array(*scene.depth.shape)


def _scaled(values: np.ndarray, view: View, size: tuple[int, int], interpolation: int) -> np.ndarray:
    """Scale a float32 image-sized map as the image is scaled and place it in the (H, W) input, zero padded."""
    if values.shape != (view.height, view.width):
        values = cv2.resize(values, (view.width, view.height), interpolation=interpolation)
    if values.shape == (size[1], size[0]):
        return values
    out = np.zeros((size[1], size[0]), np.float32)
    out[: view.height, : view.width] = values
    return out


def _cells(values: np.ndarray) -> np.ndarray:
    """Return the mean of each 4 x 4 cell."""
    return cv2.resize(
        values, (values.shape[1] // OUTPUT_STRIDE, values.shape[0] // OUTPUT_STRIDE), interpolation=cv2.INTER_AREA
    )


def _coverage(mask: np.ndarray, view: View, size: tuple[int, int]) -> np.ndarray:
    """Return (h, w) float32 share of each cell covered by a (camera height, camera width) boolean mask."""
    return _cells(_scaled(mask.astype(np.float32), view, size, cv2.INTER_AREA))


def _log_depth(depth: np.ndarray, view: View, size: tuple[int, int], offset: float) -> np.ndarray:
    """Return (h, w) float32 mean log canonical depth of the known pixels of each cell, NaN where none is known."""
    known = np.isfinite(depth) & (depth > 0)
    log_depth = np.log(np.clip(np.where(known, depth, 1.0), *DEPTH_RANGE)).astype(np.float32) * known
    share = _cells(_scaled(known.astype(np.float32), view, size, cv2.INTER_NEAREST))
    total = _cells(_scaled(log_depth, view, size, cv2.INTER_NEAREST))
    return np.where(share > 0, total / np.maximum(share, 1e-6) + offset, np.nan)


def _boxes(masks: list[np.ndarray], view: View, size: tuple[int, int]) -> np.ndarray:
    """Return (G, 4) boxes of full-resolution masks as fractions of the input."""
    boxes = np.zeros((len(masks), 4), np.float32)
    unit = np.array([view.scale / size[0], view.scale / size[1]])
    for row, mask in enumerate(masks):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        low = np.array([columns[0], rows[0]]) * unit
        high = np.array([columns[-1] + 1, rows[-1] + 1]) * unit
        boxes[row] = [*(low + high) / 2, *(high - low)]
    return boxes


def core_cells(coverage: np.ndarray) -> np.ndarray:
    """Return (G, 2, 2) int64 row and column of the core of (G, h, w) uint8 coverages, for each of `SEED_STRIDES`."""
    cells = [[_core_cell(mask, stride // OUTPUT_STRIDE) for stride in SEED_STRIDES] for mask in coverage]
    return np.array(cells, np.int64).reshape(-1, len(SEED_STRIDES), 2)


def _core_cell(coverage: np.ndarray, ratio: int) -> tuple[int, int]:
    """Return row and column of the cell deepest inside the visible part; ties go to the one nearest its centroid."""
    y0, y1, x0, x1 = _cell_roi(coverage)
    y0, x0 = y0 // ratio * ratio, x0 // ratio * ratio
    y1, x1 = -(-y1 // ratio) * ratio, -(-x1 // ratio) * ratio
    cells = coverage[y0:y1, x0:x1].astype(np.float32) / 255
    cells = cells.reshape((y1 - y0) // ratio, ratio, (x1 - x0) // ratio, ratio).mean((1, 3))
    inside = np.pad((cells >= 0.5).astype(np.uint8), 1)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1] + cells
    rows, columns = np.mgrid[: cells.shape[0], : cells.shape[1]]
    centre = (rows * cells).sum() / cells.sum(), (columns * cells).sum() / cells.sum()
    depth -= 0.02 * np.hypot(rows - centre[0], columns - centre[1])
    row, column = np.unravel_index(int(np.where(cells > 0, depth, -np.inf).argmax()), cells.shape)
    return int(row) + y0 // ratio, int(column) + x0 // ratio


def _occludes(instances: list[Instance], scene: CameraScene) -> np.ndarray:
    row_of = {instance.instance_id: row for row, instance in enumerate(instances)}
    occludes = np.zeros((len(instances), len(instances)), bool)
    for occluder, occludee in zip(scene.order.occluder_ids, scene.order.occludee_ids):
        if int(occluder) in row_of and int(occludee) in row_of:
            occludes[row_of[int(occluder)], row_of[int(occludee)]] = True
    return occludes


def _to_bytes(coverage: np.ndarray) -> np.ndarray:
    return np.rint(coverage * 255).astype(np.uint8)


def _cell_roi(coverage: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _paste_rois(flat: np.ndarray, rois: np.ndarray, shape: tuple[int, ...], empty: float) -> np.ndarray:
    out = np.full((len(rois), *shape), empty, flat.dtype)
    start = 0
    for row, (y0, y1, x0, x1) in enumerate(rois):
        count = (y1 - y0) * (x1 - x0)
        out[row, y0:y1, x0:x1] = flat[start : start + count].reshape(y1 - y0, x1 - x0)
        start += count
    return out

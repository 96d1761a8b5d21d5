"""The truth of one image on disk: visible segments, amodal masks, occlusion levels and order, depth of every level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.files import DatasetError, from_number, read_json, to_number, write_json
from amodal_perception_ros.datasets.sequence_layout import Layout
from amodal_perception_ros.labels import BY_ID, SEGMENT_FACTOR
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import (
    OCCLUSION_LEVELS,
    Camera,
    CameraScene,
    Instance,
    OcclusionOrder,
    paste_nearest,
)


def write_scene(layout: Layout, camera: str, frame: int, scene: CameraScene) -> dict[str, Any]:
    """Write the truth of one image; returns the amodal segments as they were written."""
    codecs.write_labels(layout.labels(camera, frame), scene.labels)
    visible_depth = codecs.quantise_depth(scene.depth)
    codecs.write_depth(layout.depth(camera, frame), visible_depth)
    levels = _level_depths(scene.instances, visible_depth)
    for level, values in levels.items():
        if level > 0:
            codecs.write_depth(layout.level_depth(camera, frame, level), values)
    entries: dict[str, Any] = {}
    for instance in scene.instances:
        entry = _instance_entry(instance, scene)
        if _write_instance_depth(layout.instance_depth(camera, frame, instance.instance_id), instance, levels):
            entry["own_depth"] = True
        entries[str(instance.instance_id)] = entry
    for edge in range(len(scene.order)):
        occluders = entries[str(int(scene.order.occludee_ids[edge]))].setdefault("occluders", [])
        occluders.append(_edge_entry(scene.order, edge))
    write_json(layout.masks(camera, frame), entries)
    write_json(layout.levels(camera, frame), _level_lists(scene.instances))
    return entries


def _level_depths(instances: list[Instance], visible_depth: np.ndarray) -> dict[int, np.ndarray]:
    """Return the uint16 depth map of every level with objects; level 0 is the visible depth."""
    maps: dict[int, np.ndarray] = {}
    for instance in instances:
        level = instance.occlusion_level
        if level == 0:
            continue
        target = maps.setdefault(level, np.full(visible_depth.shape, np.nan, np.float32))
        paste_nearest(target, instance.depth, instance.amodal_mask.x_offset, instance.amodal_mask.y_offset)
    return {0: visible_depth} | {level: codecs.quantise_depth(values) for level, values in maps.items()}


def _write_instance_depth(path: Path, instance: Instance, levels: dict[int, np.ndarray]) -> bool:
    """Write the instance's own depth over its ROI if its level's map does not hold all of it; return whether."""
    own = codecs.quantise_depth(instance.depth)
    mask = instance.amodal_mask
    shared = _cut(levels[instance.occlusion_level], mask)
    if not own.size or (shared is not None and np.array_equal(own, np.where(mask.roi(), shared, 0))):
        return False
    codecs.write_depth(path, own)
    return True


def _cut(values: np.ndarray, mask: RoiMask) -> np.ndarray | None:
    """Return the ROI of a mask cut from an image, None where the ROI leaves the image."""
    left, top, right, bottom = mask.box
    if left < 0 or top < 0 or right > values.shape[1] or bottom > values.shape[0]:
        return None
    return values[top:bottom, left:right]


def _instance_entry(instance: Instance, scene: CameraScene) -> dict[str, Any]:
    height, width = scene.labels.shape
    amodal = instance.amodal_mask
    # What lies outside the image is cut off, not occluded.
    hidden = instance.hidden_mask.clipped(height, width)
    occluded = hidden.area > 0
    entry: dict[str, Any] = {
        "occluded": occluded,
        "occlusion_mask": codecs.encode_mask(hidden, height, width) if occluded else [],
        "amodal_mask": codecs.encode_mask(amodal, height, width),
        "category_id": instance.class_id,
        "track_id": instance.track_id,
        "visible_depth": to_number(instance.visible_depth, 4),
        "amodal_depth": to_number(instance.amodal_depth, 4),
    }
    if instance.visible_mask.area == 0:
        entry["fully_hidden"] = True
    left, top, right, bottom = amodal.box
    if left < 0 or top < 0 or right > width or bottom > height:
        own = RoiMask(0, 0, amodal.width, amodal.height, amodal.counts)
        entry["full_mask"] = {"offset": [left, top], **codecs.encode_mask(own, amodal.height, amodal.width)}
    if instance.score != 1.0:
        entry["score"] = to_number(instance.score, 6)
    if np.isfinite(instance.amodal_depth_stddev):
        entry["amodal_depth_stddev"] = to_number(instance.amodal_depth_stddev, 4)
    return entry


def _edge_entry(order: OcclusionOrder, edge: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": int(order.occluder_ids[edge]), "overlap_px": int(order.overlap_px[edge])}
    if order.probability[edge] != 1.0:
        entry["probability"] = to_number(order.probability[edge], 6)
    if order.in_cycle[edge]:
        entry["in_cycle"] = True
    return entry


def _level_lists(instances: list[Instance]) -> dict[str, list[int]]:
    """Return level -> segment ids. Public loaders stop at the first empty level, so 0 fills level 0 and gaps."""
    deepest = max((instance.occlusion_level for instance in instances), default=0)
    levels: dict[str, list[int]] = {str(n): [0] if n <= deepest else [] for n in range(OCCLUSION_LEVELS)}
    for instance in instances:
        levels[str(instance.occlusion_level)].append(instance.instance_id)
    return {n: [i for i in ids if i] if n != "0" and len(ids) > 1 else ids for n, ids in levels.items()}


def _read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Return the amodal segments of an `_ampano.json`."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not a map of segment id to amodal segment")
    for key, entry in content.items():
        if not (key.isdecimal() and isinstance(entry, dict)):
            raise DatasetError(f"{path}: segment '{key}' is not an amodal segment")
    return content


@dataclass
class SceneReader:
    """Reads the truth of the images of one sequence.

    Attributes:
        layout: where its files are.
        has_depth, has_levels: whether the sequence holds these pieces.
        trusted: written by `write_scene`, so that visible masks need no search outside their amodal masks.
        repairs: counts what is corrected or dropped, by cause.
    """

    layout: Layout
    has_depth: bool
    has_levels: bool
    trusted: bool
    repairs: Counter[str]

    def read(self, number: int, camera: Camera, stamp_ns: int, with_depth: bool = True) -> CameraScene:
        """Return the truth of one image; its depths are NaN when there are none or they are not asked for."""
        layout, shape = self.layout, (camera.height, camera.width)
        labels, unknown = codecs.read_labels(layout.labels(camera.name, number), shape)
        if unknown:
            self.repairs["pixels of a thing with an unknown class, read as unlabelled"] += unknown
        with_depth = with_depth and self.has_depth
        depths = {0: np.full(shape, np.nan, np.float32)}
        if with_depth:
            depths[0] = codecs.restore_depth(codecs.read_depth(layout.depth(camera.name, number), shape))
        levels = self._levels(number, camera.name)
        path = layout.masks(camera.name, number)
        instances, edges = [], []
        for key, entry in _read_entries(path).items():
            try:
                instance = self._instance(path, int(key), entry, labels, levels)
                if instance is None:
                    continue
                if with_depth:
                    self._add_depth(instance, entry, camera.name, number, depths)
                edges += [(edge, instance.instance_id) for edge in entry.get("occluders", [])]
            except DatasetError:
                raise
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise DatasetError(f"{path}: segment '{key}' is not an amodal segment ({error!r})") from error
            instances.append(instance)
        return CameraScene(camera, stamp_ns, labels, depths[0], instances, _order(edges))

    def files(self, number: int, camera: str) -> Iterator[Path]:
        """Yield the files that the truth of one image must have."""
        layout, masks = self.layout, self.layout.masks(camera, number)
        yield layout.labels(camera, number)
        yield masks
        if self.has_depth:
            yield layout.depth(camera, number)
            levels = self._levels(number, camera) or {}
            for level in sorted({level for segment, level in levels.items() if level and segment}):
                yield layout.level_depth(camera, number, level)
            own = [key for key, entry in _read_entries(masks).items() if entry.get("own_depth")]
            yield from (layout.instance_depth(camera, number, int(key)) for key in own)
        if self.has_levels:
            yield layout.levels(camera, number)

    def _levels(self, number: int, camera: str) -> dict[int, int] | None:
        if not self.has_levels:
            return None
        path = self.layout.levels(camera, number)
        try:
            content = read_json(path)
            levels = {int(segment): int(level) for level, ids in content.items() for segment in ids}
        except (AttributeError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: not a map of level to segment ids ({error!r})") from error
        if not set(levels.values()) <= set(range(OCCLUSION_LEVELS)):
            raise DatasetError(f"{path}: holds level {max(levels.values())}, known are 0..{OCCLUSION_LEVELS - 1}")
        return levels

    def _instance(
        self, path: Path, segment: int, entry: dict[str, Any], labels: np.ndarray, levels: dict[int, int] | None
    ) -> Instance | None:
        """Return the instance of an entry without its depth; None for stuff and unknown classes."""
        class_id = segment // SEGMENT_FACTOR
        if class_id not in BY_ID or not BY_ID[class_id].is_thing:
            self.repairs["segments that are no thing, skipped"] += segment >= SEGMENT_FACTOR
            return None
        visible, amodal = self._masks(path, segment, entry, labels)
        if amodal.area == 0:
            self.repairs["segments without a pixel, skipped"] += 1
            return None
        occluded = visible.area < amodal.area
        return Instance(
            instance_id=segment,
            class_id=class_id,
            score=entry.get("score", 1.0),
            visible_mask=visible,
            amodal_mask=amodal,
            occlusion_level=int(occluded) if levels is None else levels.get(segment, int(occluded)),
            visible_depth=from_number(entry.get("visible_depth")),
            amodal_depth=from_number(entry.get("amodal_depth")),
            amodal_depth_stddev=from_number(entry.get("amodal_depth_stddev")),
            depth=np.full((amodal.height, amodal.width), np.nan, np.float32),
            track_id=int(entry.get("track_id", 0)),
        )

    def _masks(self, path: Path, segment: int, entry: dict[str, Any], labels: np.ndarray) -> tuple[RoiMask, RoiMask]:
        """Return the visible and amodal mask; pixels seen outside the amodal mask are added to it and counted."""
        full = entry.get("full_mask")
        if full:
            own = codecs.decode_mask(path, "full_mask", full, (full["size"][0], full["size"][1]))
            x, y = full["offset"]
            amodal = RoiMask(own.x_offset + x, own.y_offset + y, own.width, own.height, own.counts)
        else:
            amodal = codecs.decode_mask(path, "amodal_mask", entry.get("amodal_mask"), labels.shape)
        left, top = max(0, amodal.x_offset), max(0, amodal.y_offset)
        right, bottom = amodal.box[2], amodal.box[3]
        visible = RoiMask.from_array(labels[top : max(top, bottom), left : max(left, right)] == segment, left, top)
        if not self.trusted:
            everywhere = RoiMask.from_array(labels == segment)
            if everywhere.area != visible.area or not visible.is_subset_of(amodal):
                self.repairs["amodal masks without part of the visible mask, joined"] += bool(entry.get("occluded"))
                visible, amodal = everywhere, amodal | everywhere
        return visible, amodal

    def _add_depth(
        self, instance: Instance, entry: dict[str, Any], camera: str, number: int, depths: dict[int, np.ndarray]
    ) -> None:
        """Fill the instance's depth from its own file or its level's map (cached in `depths`)."""
        mask, layout, level = instance.amodal_mask, self.layout, instance.occlusion_level
        if entry.get("own_depth"):
            path = layout.instance_depth(camera, number, instance.instance_id)
            instance.depth = codecs.restore_depth(codecs.read_depth(path, (mask.height, mask.width)))
            return
        if level not in depths:
            path = layout.level_depth(camera, number, level)
            depths[level] = codecs.restore_depth(codecs.read_depth(path, depths[0].shape))
        shared = _cut(depths[level], mask)
        if shared is None:
            path = layout.masks(camera, number)
            raise DatasetError(f"{path}: segment {instance.instance_id} leaves the image but has no depth of its own")
        instance.depth = np.where(mask.roi(), shared, np.float32(np.nan))


def _order(edges: list[tuple[dict[str, Any], int]]) -> OcclusionOrder:
    return OcclusionOrder(
        occluder_ids=np.array([edge["id"] for edge, _ in edges], np.uint32),
        occludee_ids=np.array([occludee for _, occludee in edges], np.uint32),
        probability=np.array([edge.get("probability", 1.0) for edge, _ in edges], np.float32),
        overlap_px=np.array([edge["overlap_px"] for edge, _ in edges], np.uint32),
        in_cycle=np.array([edge.get("in_cycle", False) for edge, _ in edges], bool),
    )

"""The truth of one image on disk: visible segments, amodal masks, occlusion levels and order, depth of every level."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.amodal_segments import (
    SegmentedImage,
    SegmentReader,
    read_entries,
    read_levels,
)
from amodal_perception_ros.datasets.files import DatasetError, to_number, write_json
from amodal_perception_ros.datasets.sequence_layout import Layout
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE
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


_KNOWN_ERRORS: dict[tuple[str, str, int], dict[int, int]] = {
    ("20230702032750_SoftRainSunset", "front", 22): {21: 27},
    ("20230706030929_WetCloudyNoon", "front", 71): {11: 26},
}
"""Start of the sequence's name, camera and frame of AmodalSynthDrive -> class id of a thing -> right class id.

A truck is given as vegetation and a car as building (found by the authors of S-AModal, whose loader corrects them).
"""


class SceneReader:
    """Reads the annotations of the images of one sequence.

    Args:
        layout: where its files are.
        has_depth, has_levels: whether the sequence holds these pieces.
        ours: written by `write_scene`, with the occlusion order; of no program's making also without contradiction.
        predicted: a program made them.
        repairs: counts what is corrected or dropped, by cause.
    """

    def __init__(
        self, layout: Layout, has_depth: bool, has_levels: bool, ours: bool, predicted: bool, repairs: CauseCount
    ) -> None:
        self._layout, self._has_depth, self._has_levels = layout, has_depth, has_levels
        self._has_order = ours
        self._segments = SegmentReader(AMODAL_SYNTH_DRIVE, repairs, ours and not predicted, predicted)

    def read(self, number: int, camera: Camera, stamp_ns: int, with_depth: bool = True) -> CameraScene:
        """Return the annotations of one image; its depths are NaN when there are none or they are not asked for."""
        layout, shape = self._layout, (camera.height, camera.width)
        path = layout.masks(camera.name, number)
        mistaken = {} if self._segments.predicted else _known_errors(layout.sequence, camera.name, number)
        image = self._segments.read(layout.labels(camera.name, number), path, shape, mistaken)
        order, levels = self._order(path, image)
        if self._has_levels:
            levels |= image.stated_levels(layout.levels(camera.name, number), self._segments.repairs)
        with_depth = with_depth and self._has_depth
        depths = {0: np.full(shape, np.nan, np.float32)}
        if with_depth:
            depths[0] = codecs.restore_depth(codecs.read_depth(layout.depth(camera.name, number), shape))
        instances = []
        for segment in image.segments:
            try:
                instance = segment.instance(levels[segment.id])
                if with_depth:
                    self._add_depth(instance, segment.entry, camera.name, number, depths)
            except DatasetError:
                raise
            except ValueError as error:
                raise DatasetError(f"{path}: segment '{segment.id}' is not an amodal segment ({error!r})") from error
            instances.append(instance)
        return CameraScene(camera, stamp_ns, image.labels, depths[0], instances, order)

    def files(self, number: int, camera: str) -> Iterator[Path]:
        """Yield the files that the annotations of one image must have."""
        layout, masks = self._layout, self._layout.masks(camera, number)
        yield layout.labels(camera, number)
        yield masks
        if self._has_depth:
            yield layout.depth(camera, number)
            levels = read_levels(layout.levels(camera, number)) if self._has_levels else {}
            for level in sorted({level for segment, level in levels.items() if level and segment}):
                yield layout.level_depth(camera, number, level)
            own = [segment for segment, entry in read_entries(masks).items() if entry.get("own_depth")]
            yield from (layout.instance_depth(camera, number, segment) for segment in own)
        if self._has_levels:
            yield layout.levels(camera, number)

    def _add_depth(
        self, instance: Instance, entry: dict[str, Any], camera: str, number: int, depths: dict[int, np.ndarray]
    ) -> None:
        """Fill the instance's depth from its own file or its level's map (cached in `depths`)."""
        mask, layout, level = instance.amodal_mask, self._layout, instance.occlusion_level
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

    def _order(self, path: Path, image: SegmentedImage) -> tuple[OcclusionOrder, dict[int, int]]:
        """Return the occlusion order and the levels by it: as stated, else as the labels show them."""
        if self._has_order or any("occluders" in segment.entry for segment in image.segments):
            occluded = {s.id: int(s.visible.area < s.amodal.area) for s in image.segments}
            return self._stated_order(path, image), occluded
        return image.visible_order()

    def _stated_order(self, path: Path, image: SegmentedImage) -> OcclusionOrder:
        """Return the order that the JSON states, without segments that were dropped."""
        known = {segment.id for segment in image.segments}
        edges = []
        try:
            for segment in image.segments:
                for edge in segment.entry.get("occluders", []):
                    occluder = image.renamed.get(edge["id"], edge["id"])
                    if occluder in known:
                        edges.append((occluder, segment.id, edge))
                    else:
                        place = f"{path}: segment {segment.id} behind {occluder}"
                        self._segments.repairs.note("occluders that are no segment of the image, dropped", place)
            return OcclusionOrder(
                occluder_ids=np.array([occluder for occluder, _, _ in edges], np.uint32),
                occludee_ids=np.array([occludee for _, occludee, _ in edges], np.uint32),
                probability=np.array([edge.get("probability", 1.0) for _, _, edge in edges], np.float32),
                overlap_px=np.array([edge["overlap_px"] for _, _, edge in edges], np.uint32),
                in_cycle=np.array([edge.get("in_cycle", False) for _, _, edge in edges], bool),
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise DatasetError(f"{path}: 'occluders' is not a list of segments in front ({error!r})") from error


def _known_errors(sequence: str, camera: str, number: int) -> dict[int, int]:
    for (start, name, frame), mistaken in _KNOWN_ERRORS.items():
        if sequence.startswith(start) and (camera, number) == (name, frame):
            return mistaken
    return {}

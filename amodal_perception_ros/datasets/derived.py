"""Labels that follow from others, in the form and under the names in which public loaders expect them.

Everything here can be computed from the visible segments, the amodal masks, the levels and the moving things of a
frame; the files exist for programs that do not read ours. See docs/data-format.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.files import make_folder, write_json
from amodal_perception_ros.datasets.sequence_layout import Layout
from amodal_perception_ros.labels import SEGMENT_FACTOR
from amodal_perception_ros.scene import CameraScene, Instance

MOVING_VISIBLE, MOVING_HIDDEN = 1, 2
"""Bits of the amodal motion segmentation."""


def semantic_map(labels: np.ndarray) -> np.ndarray:
    """Return the (H, W) uint8 visible class ids of (H, W) uint16 segments; 0 is unlabelled."""
    return (labels // SEGMENT_FACTOR).astype(np.uint8)


def thing_segments(labels: np.ndarray) -> np.ndarray:
    """Return the (H, W) uint16 segments of the things among (H, W) segments, 0 elsewhere."""
    return np.where(labels % SEGMENT_FACTOR > 0, labels, 0).astype(np.uint16)


def amodal_semantic_maps(scene: CameraScene) -> list[np.ndarray]:
    """Return the amodal semantic segmentation: for every occlusion level an (H, W) uint8 map of class ids.

    Map n holds the whole objects of level n, hidden parts included, the nearer one (median depth) where two overlap; 0
    elsewhere. Stuff has no hidden part; see `semantic_map`. The list ends with the deepest level that has an object.
    """
    deepest = max((instance.occlusion_level for instance in scene.instances), default=-1)
    maps = [np.zeros(scene.labels.shape, np.uint8) for _ in range(deepest + 1)]
    for instance in sorted(scene.instances, key=lambda each: -each.amodal_depth):
        window, inside = _window(instance, scene.labels.shape)
        maps[instance.occlusion_level][window][inside] = instance.class_id
    return maps


def motion_map(scene: CameraScene, moving: Collection[int]) -> np.ndarray:
    """Return the amodal motion segmentation, (H, W) uint8.

    Args:
        scene: truth of one image.
        moving: track ids of the moving things.

    Returns:
        Bit 0 (`MOVING_VISIBLE`) where a moving thing is seen, bit 1 (`MOVING_HIDDEN`) where a moving thing is hidden
        behind something else (which may move, too: 3); 0 elsewhere.
    """
    out = np.zeros(scene.labels.shape, np.uint8)
    for instance in scene.instances:
        if instance.track_id in moving:
            window, inside = _window(instance, scene.labels.shape)
            seen = scene.labels[window] == instance.instance_id
            out[window] |= np.where(seen, MOVING_VISIBLE, np.where(inside, MOVING_HIDDEN, 0)).astype(np.uint8)
    return out


def _window(instance: Instance, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the part of the image that the amodal mask's box covers, and the mask there."""
    mask = instance.amodal_mask
    left, top = max(0, mask.box[0]), max(0, mask.box[1])
    right, bottom = max(left, min(shape[1], mask.box[2])), max(top, min(shape[0], mask.box[3]))
    return (slice(top, bottom), slice(left, right)), mask.window(left, top, right - left, bottom - top)


def write_derived(
    layout: Layout, camera: str, frame: int, scene: CameraScene, entries: dict[str, Any], moving: Collection[int] | None
) -> None:
    """Write the derived labels of one image.

    Args:
        layout: where the files go.
        camera: name of the camera.
        frame: number of the frame.
        scene: its truth.
        entries: the amodal segments as `annotation.write_scene` writes them.
        moving: track ids of the moving things; None if unknown, then there is no motion segmentation.
    """
    codecs.write_classes(layout.semantic(camera, frame), semantic_map(scene.labels))
    path = layout.instances(camera, frame)
    codecs.write_labels(path.with_suffix(".png"), thing_segments(scene.labels))
    shape = scene.labels.shape
    inside = {str(i.instance_id) for i in scene.instances if i.amodal_mask.clipped(*shape).area > 0}
    write_json(path, {key: _public_entry(entry) for key, entry in entries.items() if key in inside})
    path = layout.amodal_semantic(camera, frame)
    make_folder(path.parent)
    names = {}
    for level, classes in enumerate(amodal_semantic_maps(scene)):
        names[str(level)] = {"file_name": f"{path.stem}_{level}.png"}
        codecs.write_classes(path.with_name(names[str(level)]["file_name"]), classes)
    write_json(path, {"seg": names})
    if moving is not None:
        codecs.write_classes(layout.motion(camera, frame), motion_map(scene, moving))


def _public_entry(entry: dict[str, Any]) -> dict[str, Any]:
    keys = ("occluded", "fully_hidden", "occlusion_mask", "amodal_mask", "category_id", "track_id")
    return {key: entry[key] for key in keys if key in entry}

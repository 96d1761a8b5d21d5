"""A digest of the truth that is scored: results of the same one may be compared.

Depths, positions and angles are rounded to thousandths (mm), which every machine agrees on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from amodal_perception_ros.evaluation.decoding import DecodedScene
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, Sample

_FARTHEST = 1e12


class TruthDigest:
    """Digest of the truth of a sequence: of all that is scored, and when and where it was seen.

    Args:
        name: name of the sequence.
    """

    def __init__(self, name: str) -> None:
        self._digest = hashlib.blake2b(name.encode(), digest_size=16)

    def add(self, sample: Sample, scenes: Iterable[DecodedScene]) -> None:
        """Add a frame and its decoded images."""
        pose = sample.frame.odom_from_base
        self._add(str(sample.frame.stamp_ns), _thousandths([] if pose is None else pose))
        for scene in scenes:
            self._add_scene(scene)
        for thing in sample.objects:
            self._add_box(thing)
        if sample.bev is not None:
            self._add_grid(sample.bev)

    def hexdigest(self) -> str:
        """Return the digest as text."""
        return self._digest.hexdigest()

    def _add_scene(self, scene: DecodedScene) -> None:
        instances = scene.instances
        self._add(scene.scene.camera.name, scene.class_image, scene.class_index, scene.boxes, scene.levels)
        self._add(np.array(scene.edges, np.int64), np.array([i.track_id for i in instances], np.int64))
        self._add(_thousandths(scene.scene.depth), *scene.parts)
        self._add(_thousandths([(i.visible_depth, i.amodal_depth) for i in instances]))
        self._add(*(_thousandths(instance.depth) for instance in instances))

    def _add_box(self, thing: AmodalObject) -> None:
        self._add(f"{thing.track_id} {thing.class_id} {' '.join(thing.cameras)}")
        self._add(_thousandths([*thing.center, *thing.size, thing.yaw]))

    def _add_grid(self, bev: BevOccupancy) -> None:
        self._add(_thousandths([bev.resolution, *bev.origin]), bev.visible, bev.amodal, bev.semantic)

    def _add(self, *values: np.ndarray | str) -> None:
        for value in values:
            if isinstance(value, str):
                self._digest.update(value.encode())
            else:
                self._digest.update(str(value.shape).encode())
                self._digest.update(np.ascontiguousarray(value).data)


def _thousandths(values: Any) -> np.ndarray:
    """Return rounded values, int64; all unknown ones are the same."""
    limited = np.fmin(np.fmax(np.asarray(values) * 1000, -_FARTHEST), _FARTHEST)  # These pass over NaN.
    return np.rint(limited).astype(np.int64)

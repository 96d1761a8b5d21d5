"""Counts what a data set holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from amodal_perception_ros.datasets.amodal_synth_drive import read_sequences
from amodal_perception_ros.labels import BY_ID, SEGMENT_FACTOR, THINGS
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene


@dataclass
class DatasetStatistics:
    """What a data set holds; `str()` is a table.

    Attributes:
        sequences, frames, images: how many.
        instances: class name -> instances with a visible pixel, over all images.
        occluded: class name -> those of `instances` with a hidden part.
        hidden: class name -> instances without a visible pixel.
        levels: (8,) instances of each occlusion level, fully hidden ones included.
        classes_per_image: mean number of the 18 classes visible in an image.
        bytes_per_frame: mean size on disk of a frame with all its cameras.
    """

    sequences: int = 0
    frames: int = 0
    images: int = 0
    instances: Counter[str] = field(default_factory=Counter)
    occluded: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    levels: np.ndarray = field(default_factory=lambda: np.zeros(OCCLUSION_LEVELS, np.int64))
    classes_per_image: float = 0.0
    bytes_per_frame: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"{self.sequences} sequences, {self.frames} frames, {self.images} images, "
            f"{self.classes_per_image:.1f} classes per image, {self.bytes_per_frame / 1e6:.2f} MB per frame",
            f"{'class':<12}{'instances':>10}{'per image':>10}{'occluded':>10}{'fully hidden':>14}",
        ]
        for name in [label.name for label in THINGS]:
            lines.append(self._row(name, self.instances[name], self.occluded[name], self.hidden[name]))
        lines.append(self._row("all", self.instances.total(), self.occluded.total(), self.hidden.total()))
        lines.append("instances per occlusion level: " + "  ".join(f"{n}: {c}" for n, c in enumerate(self.levels)))
        return "\n".join(lines)

    def _row(self, name: str, instances: int, occluded: int, hidden: int) -> str:
        share = f"{100 * occluded / instances:.0f} %" if instances else "-"
        return f"{name:<12}{instances:>10}{instances / max(1, self.images):>10.2f}{share:>10}{hidden:>14}"


def dataset_statistics(path: Path | str) -> DatasetStatistics:
    """Count the content of a data set; raises DatasetError where there is none."""
    statistics, classes, size = DatasetStatistics(), 0, 0
    for reader in read_sequences(path):
        statistics.sequences += 1
        statistics.frames += len(reader)
        size += reader.size_bytes()
        for index in range(len(reader)):
            for camera in reader.rig.cameras:
                statistics.images += 1
                classes += _count_image(reader.scene(index, camera.name, with_depth=False), statistics)
    statistics.classes_per_image = classes / max(1, statistics.images)
    statistics.bytes_per_frame = size / max(1, statistics.frames)
    return statistics


def _count_image(scene: CameraScene, statistics: DatasetStatistics) -> int:
    """Add one image to the counts; returns its number of visible classes."""
    for instance in scene.instances:
        name = BY_ID[instance.class_id].name
        statistics.levels[instance.occlusion_level] += 1
        if instance.visible_mask.area == 0:
            statistics.hidden[name] += 1
        else:
            statistics.instances[name] += 1
            statistics.occluded[name] += instance.occlusion_ratio > 0
    return len(np.unique(scene.labels[scene.labels > 0] // SEGMENT_FACTOR))

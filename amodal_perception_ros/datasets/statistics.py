"""Counts what a data set holds, as figure 4 and table 2 of AmodalSynthDrive's paper do (section 3.4)."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from amodal_perception_ros.datasets.amodal_synth_drive import readable_sequences
from amodal_perception_ros.labels import BY_ID, LABELS, SEGMENT_FACTOR, THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.occlusion import occlusion_levels
from amodal_perception_ros.scene import OCCLUSION_LEVELS, CameraScene

RATIOS = ("0", "0-25", "25-50", "50-75", "75-100", "100")
"""Bins of the hidden share of an object [%]; the first and the last are exact."""

MIN_SHAPE_PX = 20
"""Masks of fewer pixels have no meaningful shape and do not count in simplicity and convexity."""

PUBLISHED_SIMPLICITY = {
    "KINS": (0.709, 0.830),
    "KITTI-360-APS": (0.778, 0.884),
    "BDD100K-APS": (0.697, 0.821),
    "AmodalSynthDrive": (0.571, 0.654),
}
"""Mean simplicity of modal and amodal masks (AmodalSynthDrive, table 2)."""


def simplicity(mask: np.ndarray) -> float:
    """Return sqrt(4 pi area) / perimeter of a (h, w) boolean mask: 1 for a disc, 0.886 for a square.

    Zhu et al., "Semantic amodal segmentation", section 3. The perimeter is the length of all outlines through the
    pixel centres, moved out by half a pixel (a disc of pixels comes out at about 0.95).
    """
    outlines, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lengths = np.array([cv2.arcLength(outline, True) for outline in outlines])
    is_hole = tree[0, :, 3] >= 0
    perimeter = np.where(is_hole, np.maximum(lengths - np.pi, 0), lengths + np.pi).sum()
    return min(1.0, float(np.sqrt(4 * np.pi * np.count_nonzero(mask)) / perimeter))


def convexity(mask: np.ndarray) -> float:
    """Return area / area of the convex hull of a (h, w) boolean mask (Zhu et al., section 3)."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = cv2.convexHull(np.concatenate(outlines)) + np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
    hull = cv2.convexHull(corners.reshape(-1, 1, 2).astype(np.float32))
    return float(np.count_nonzero(mask) / cv2.contourArea(hull))


@dataclass
class DatasetStatistics:
    """What a data set holds; `str()` is a table beside the published figures of AmodalSynthDrive.

    Instances count where at least one pixel is visible; levels are chains of such instances, as in AmodalSynthDrive,
    which renders visible objects only.

    Attributes:
        sequences, frames, images: how many.
        segments: class name -> visible segments over all images: instances of things, one per image of stuff.
        occluded: class name -> instances with a hidden part.
        hidden: class name -> instances without a visible pixel.
        levels: (8,) instances of each occlusion level.
        ratios: (6,) instances by hidden share (`RATIOS`); the last are the fully hidden ones.
        classes: (19,) images by number of visible classes.
        orders: (8,) images by highest occlusion level.
        simplicity, convexity: lists of (modal, amodal) of the instances with at least `MIN_SHAPE_PX` in both masks.
        bytes_per_frame: mean size on disk of a frame with all its cameras.
    """

    sequences: int = 0
    frames: int = 0
    images: int = 0
    segments: Counter[str] = field(default_factory=Counter)
    occluded: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    levels: np.ndarray = field(default_factory=lambda: np.zeros(OCCLUSION_LEVELS, np.int64))
    ratios: np.ndarray = field(default_factory=lambda: np.zeros(len(RATIOS), np.int64))
    classes: np.ndarray = field(default_factory=lambda: np.zeros(len(LABELS) + 1, np.int64))
    orders: np.ndarray = field(default_factory=lambda: np.zeros(OCCLUSION_LEVELS, np.int64))
    simplicity: list[tuple[float, float]] = field(default_factory=list)
    convexity: list[tuple[float, float]] = field(default_factory=list)
    bytes_per_frame: float = 0.0

    def add(self, scene: CameraScene) -> None:
        """Count one image."""
        self.images += 1
        present = np.unique(scene.labels[scene.labels > 0] // SEGMENT_FACTOR)
        self.classes[len(present)] += 1
        self.segments.update(BY_ID[c].name for c in present.tolist() if not BY_ID[c].is_thing)
        levels = visible_levels(scene)
        for instance, level in zip(scene.instances, levels.tolist()):
            name, ratio = BY_ID[instance.class_id].name, instance.occlusion_ratio
            if instance.visible_mask.area == 0:
                self.hidden[name] += 1
                self.ratios[-1] += 1
                continue
            self.segments[name] += 1
            self.occluded[name] += ratio > 0
            self.levels[level] += 1
            self.ratios[0 if ratio == 0 else min(4, int(ratio * 4) + 1)] += 1
            self._add_shape(instance.visible_mask, instance.amodal_mask)
        seen = [instance.visible_mask.area > 0 for instance in scene.instances]
        self.orders[levels[seen].max(initial=0)] += 1

    def _add_shape(self, visible: RoiMask, amodal: RoiMask) -> None:
        if visible.area >= MIN_SHAPE_PX:
            modal, whole = visible.roi(), amodal.roi()
            self.simplicity.append((simplicity(modal), simplicity(whole)))
            self.convexity.append((convexity(modal), convexity(whole)))

    @property
    def instances(self) -> int:
        """Instances with a visible pixel."""
        return sum(self.segments[label.name] for label in THINGS)

    def shape(self, values: list[tuple[float, float]]) -> tuple[float, float]:
        """Return the mean (modal, amodal) of `simplicity` or `convexity`; NaN without a shape."""
        modal, amodal = np.mean(values, 0) if values else (float("nan"), float("nan"))
        return float(modal), float(amodal)

    def __str__(self) -> str:
        lines = [
            f"{self.sequences} sequences, {self.frames} frames, {self.images} images, "
            f"{self.bytes_per_frame / 1e6:.2f} MB per frame",
            f"{'class':<14}{'segments':>10}{'per image':>10}{'occluded':>10}{'fully hidden':>14}",
        ]
        lines += [self._row(label.name, label.is_thing) for label in LABELS]
        lines += ["", f"{'':<44}{'here':>8}  AmodalSynthDrive (as far as published)"]
        lines += [f"{what:<44}{here:>8}  {published}" for what, here, published in self._comparison()]
        return "\n".join(lines)

    def _row(self, name: str, is_thing: bool) -> str:
        count = self.segments[name]
        share = f"{100 * self.occluded[name] / count:.0f} %" if count and is_thing else "-"
        hidden = str(self.hidden[name]) if is_thing else "-"
        return f"{name:<14}{count:>10}{count / max(1, self.images):>10.2f}{share:>10}{hidden:>14}"

    def _comparison(self) -> list[tuple[str, str, str]]:
        shares = [f"{100 * n / max(1, self.images):.0f} %" for n in (self.classes[12:].sum(), self.orders[2:5].sum())]
        per_image = self.instances / max(1, self.images)
        (modal, amodal), (solid, whole) = self.shape(self.simplicity), self.shape(self.convexity)
        levels = " ".join(f"{100 * n / max(1, self.levels.sum()):.0f}" for n in self.levels)
        ratios = " ".join(f"{100 * n / max(1, self.ratios[:-1].sum()):.0f}" for n in self.ratios[:-1])
        return [
            ("instances per image", f"{per_image:.1f}", "more than 16.7 (1M annotations on 60 000 images)"),
            ("images with 12 to 18 classes", shares[0], "a notable peak between 12 and 18"),
            ("images with highest level 2 to 4", shares[1], "most"),
            ("highest level", str(int(np.flatnonzero(self.orders).max(initial=0))), "8 levels, 0 to 7"),
            ("simplicity of modal masks", f"{modal:.3f}", "0.571 (KINS 0.709)"),
            ("simplicity of amodal masks", f"{amodal:.3f}", "0.654 (KINS 0.830)"),
            ("convexity of modal masks", f"{solid:.3f}", "-"),
            ("convexity of amodal masks", f"{whole:.3f}", "-"),
            (f"instances by level 0..7 [%]: {levels}", "", "a figure without numbers"),
            (f"by hidden share {', '.join(RATIOS[:-1])} % [%]: {ratios}", "", "a figure without numbers"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and means as plain values for JSON; what has no value is absent."""
        out: dict[str, Any] = {
            "sequences": self.sequences,
            "frames": self.frames,
            "images": self.images,
            "bytes_per_frame": self.bytes_per_frame,
            "segments": dict(self.segments),
            "occluded": {name: int(count) for name, count in self.occluded.items()},
            "fully_hidden": dict(self.hidden),
            "instances_by_level": self.levels.tolist(),
            "instances_by_hidden_share": dict(zip(RATIOS, self.ratios.tolist())),
            "images_by_classes": self.classes.tolist(),
            "images_by_highest_level": self.orders.tolist(),
        }
        if self.simplicity:
            out["simplicity"] = dict(zip(("modal", "amodal"), self.shape(self.simplicity)))
            out["convexity"] = dict(zip(("modal", "amodal"), self.shape(self.convexity)))
        return out


def visible_levels(scene: CameraScene) -> np.ndarray:
    """Return the (n,) occlusion levels of the instances, counting chains of visible occluders only."""
    number = {instance.instance_id: k for k, instance in enumerate(scene.instances)}
    occludes = np.zeros((len(number), len(number)), bool)
    for occluder, occludee in zip(scene.order.occluder_ids.tolist(), scene.order.occludee_ids.tolist()):
        if occluder in number and occludee in number:
            seen = scene.instances[number[occluder]].visible_mask.area > 0
            occludes[number[occluder], number[occludee]] = seen
    return occlusion_levels(occludes)


def dataset_statistics(path: Path | str) -> DatasetStatistics:
    """Count the content of a data set; sequences that cannot be read are named and left out.

    Raises:
        DatasetError: there is none, or none that can be read.
    """
    statistics, size, readers = DatasetStatistics(), 0, readable_sequences([path])
    with tqdm(total=sum(map(len, readers)), unit="frame", desc="counting", disable=not sys.stderr.isatty()) as bar:
        for reader in readers:
            statistics.sequences += 1
            statistics.frames += len(reader)
            size += reader.size_bytes()
            for index in range(len(reader)):
                for camera in reader.rig.cameras:
                    statistics.add(reader.scene(index, camera.name, with_depth=False))
                bar.update()
    statistics.bytes_per_frame = size / max(1, statistics.frames)
    return statistics

"""Amodal panoptic labels of one image, `_ampano.png` with `_ampano.json`, read with every contradiction mended.

The form is that of AmodalSynthDrive and of KITTI-360-APS and BDD100K-APS (Mohan and Valada, "Amodal panoptic
segmentation", CVPR 2022): the PNG holds the visible segments, the JSON the hidden parts of the things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.coco.masks import REACH
from amodal_perception_ros.datasets.files import DatasetError, from_number, read_json
from amodal_perception_ros.datasets.visible_order import visible_order
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import MAX_INSTANCE_NUMBER, SEGMENT_FACTOR, ClassList
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import OCCLUSION_LEVELS, Instance, OcclusionOrder


@dataclass(frozen=True, eq=False)
class Segment:
    """One thing of an image.

    Attributes:
        id: segment id `class id * 1000 + number`.
        visible, amodal: masks; visible is a subset of amodal.
        entry: what the JSON says of it.
        numbers: score, visible_depth, amodal_depth and amodal_depth_stddev of `scene.Instance`.
        track_id: 0 when untracked.
    """

    id: int
    visible: RoiMask
    amodal: RoiMask
    entry: dict[str, Any]
    numbers: dict[str, float]
    track_id: int

    @classmethod
    def of(cls, id_: int, visible: RoiMask, amodal: RoiMask, entry: dict[str, Any]) -> Segment:
        """Return the segment of an entry; raises TypeError, ValueError or OverflowError for what are no numbers."""
        numbers = {key: from_number(entry.get(key)) for key in ("visible_depth", "amodal_depth", "amodal_depth_stddev")}
        numbers["score"] = float(entry.get("score", 1.0))
        track_id = int(entry.get("track_id") or 0)
        if abs(track_id) > np.iinfo(np.int64).max:
            raise OverflowError(f"'track_id' has {track_id.bit_length()} bits")
        return cls(id_, visible, amodal, entry, numbers, track_id)

    def instance(self, level: int) -> Instance:
        """Return the thing, on an occlusion level, without depth."""
        return Instance(
            instance_id=self.id,
            class_id=self.id // SEGMENT_FACTOR,
            visible_mask=self.visible,
            amodal_mask=self.amodal,
            occlusion_level=level,
            depth=np.full((self.amodal.height, self.amodal.width), np.nan, np.float32),
            track_id=self.track_id,
            **self.numbers,
        )


@dataclass
class SegmentedImage:
    """What the files of one image say.

    Attributes:
        labels: (H, W) uint16 visible segments as in `scene.CameraScene.labels`.
        segments: the things, in the order of the file.
        renamed: segment id in the files -> the right one, where they differ.
        stated: segment ids of the JSON, also of what was dropped.
    """

    labels: np.ndarray
    segments: list[Segment]
    renamed: dict[int, int] = field(default_factory=dict)
    stated: frozenset[int] = frozenset()

    def visible_order(self) -> tuple[OcclusionOrder, dict[int, int]]:
        """Return the occlusion order that the image shows, and segment id -> occlusion level (see `visible_order`)."""
        return visible_order({segment.id: (segment.visible, segment.amodal) for segment in self.segments})

    def stated_levels(self, path: Path, repairs: CauseCount) -> dict[int, int]:
        """Return segment id -> occlusion level of a `_rel.json` (see `read_levels`); levels of others are counted."""
        levels = read_levels(path)
        for stray in sorted(levels.keys() - self.stated - {0}):
            repairs.note("levels of segments that the JSON lacks, ignored", f"{path}: segment {stray}")
        return {self.renamed.get(segment, segment): level for segment, level in levels.items()}


class SegmentReader:
    """Reads amodal panoptic labels.

    Args:
        classes: what class ids mean.
        repairs: counts what is corrected or dropped, by cause; of an image that is read again, once.
        trusted: the files are as `annotation.write_scene` writes them, so that contradictions need not be looked for.
        predicted: a program made the files: a thing of which the PNG has no pixel is taken to be fully hidden, and
            visible things without an amodal mask keep their class; in the truth both are errors, and dropped. A visible
            part outside the amodal mask is cut off in predictions, whose amodal masks are scored as they are; in the
            truth it is the amodal mask that lacks it.
    """

    def __init__(self, classes: ClassList, repairs: CauseCount, trusted: bool = False, predicted: bool = False) -> None:
        self.classes, self.repairs, self.trusted, self.predicted = classes, repairs, trusted, predicted
        self._counted: set[Path] = set()
        self._found = CauseCount()

    def read(
        self, png: Path, masks: Path, shape: tuple[int, int] | None = None, mistaken: Mapping[int, int] | None = None
    ) -> SegmentedImage:
        """Return the segments of an image.

        Args:
            png: visible segments.
            masks: JSON of the amodal masks.
            shape: rows and columns that the image must have; None takes any.
            mistaken: class id -> right class id of the image's things, where the published file is known to be wrong.

        Raises:
            DatasetError: a file is missing, damaged, or of another kind or size; the message names it.
        """
        self._found = CauseCount()
        values, entries = codecs.read_label_values(png, shape), read_entries(masks)
        renamed, stated = dict[int, int](), frozenset(entries)
        if not self.trusted:
            entries, renamed = self._with_right_ids(masks, entries, values, mistaken or {})
            for old, new in renamed.items():
                values = np.where(values == old, np.uint16(new), values)
        labels, unknown = codecs.labels_of(values, self.classes)
        for class_id, pixels in unknown.items():
            self._found.note(f"pixels of {self._odd_class(class_id)}, read as unlabelled", str(png), pixels)
        places = None if self.trusted else _boxes(labels)
        segments = []
        for segment, entry in entries.items():
            try:
                masks_of = self._masks(masks, segment, entry, labels, places)
                if masks_of is not None:
                    segments.append(Segment.of(segment, *masks_of, entry))
            except DatasetError:
                raise
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
                raise DatasetError(f"{masks}: segment '{segment}' is not an amodal segment ({error!r})") from error
        if places is not None:
            labels = self._without_strays(png, labels, set(places) - {segment.id for segment in segments}, set(entries))
        if self._found and png not in self._counted:
            self._counted.add(png)
            self.repairs.merge(self._found)
        return SegmentedImage(labels, segments, renamed, stated)

    def _odd_class(self, class_id: int) -> str:
        if class_id in self.classes.by_id:
            return f"class {class_id} ({self.classes.by_id[class_id].name}) with a number of the wrong kind"
        return f"class {class_id}, which {self.classes.name} lacks"

    def _is_thing(self, class_id: object) -> bool:
        label = self.classes.by_id.get(class_id) if isinstance(class_id, int) else None
        return label is not None and label.is_thing

    def _with_right_ids(
        self, path: Path, entries: dict[int, dict[str, Any]], values: np.ndarray, mistaken: Mapping[int, int]
    ) -> tuple[dict[int, dict[str, Any]], dict[int, int]]:
        """Return the entries of things under ids that agree with their classes, and what was renamed."""
        right: dict[int, dict[str, Any]] = {}
        renamed: dict[int, int] = {}
        wrong: list[tuple[int, int]] = []
        for segment, entry in entries.items():
            class_id = self._class_of(path, segment, entry, mistaken)
            if class_id is None:
                continue
            if class_id == segment // SEGMENT_FACTOR:
                right[segment] = entry
            else:
                wrong.append((segment, class_id))
        taken = right.keys() | {int(value) for value in np.unique(values)} if wrong else set()
        for segment, class_id in wrong:
            numbers = (segment % SEGMENT_FACTOR, *range(MAX_INSTANCE_NUMBER, 0, -1))
            free = next((new for n in numbers if (new := class_id * SEGMENT_FACTOR + n) not in taken), None)
            if free is None:
                self._found.note("segments of a class that has no number left, dropped", f"{path}: segment {segment}")
                continue
            taken.add(free)
            right[free], renamed[segment] = entries[segment], free
        return right, renamed

    def _class_of(self, path: Path, segment: int, entry: dict[str, Any], mistaken: Mapping[int, int]) -> int | None:
        """Return the class of a thing, None for stuff and where id and category name two things."""
        place, own = f"{path}: segment {segment}", segment // SEGMENT_FACTOR
        stated = entry.get("category_id", own)
        if own == 0:  # Bare class ids are of stuff.
            if self._is_thing(segment):
                self._found.note("things without a number, dropped", place)
            return None
        if not isinstance(stated, int):
            raise DatasetError(f"{place} is not an amodal segment: 'category_id' is {stated!r}")
        if stated in mistaken or own in mistaken:
            self._found.note("things that the published file gives a known wrong class, corrected", place)
            return mistaken.get(stated, mistaken.get(own, own))
        if stated == own and self._is_thing(own):
            return own
        if self._is_thing(own) and self._is_thing(stated):
            self._found.note("segments whose id and category name two things, dropped", place)
            return None
        if not self._is_thing(own) and not self._is_thing(stated):
            self._found.note("segments that are no thing, dropped", place)
            return None
        self._found.note("segments whose id or category is no thing, given the class of the other", place)
        return own if self._is_thing(own) else stated

    def _masks(
        self,
        path: Path,
        segment: int,
        entry: dict[str, Any],
        labels: np.ndarray,
        places: dict[int, tuple[slice, slice]] | None,
    ) -> tuple[RoiMask, RoiMask] | None:
        """Return the visible and amodal mask of a thing, None for what is dropped."""
        amodal = _amodal_mask(path, entry, labels.shape)
        if places is None:
            left, top, right, bottom = amodal.box
            window = labels[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] == segment
            return RoiMask.from_array(window, max(0, left), max(0, top)), amodal
        visible = RoiMask.empty()
        if segment in places:
            rows, columns = places[segment]
            visible = RoiMask.from_array(labels[rows, columns] == segment, columns.start, rows.start)
        hidden = codecs.decode_mask(path, "occlusion_mask", entry.get("occlusion_mask"), labels.shape)
        return self._mended(f"{path}: segment {segment}", entry, visible, amodal, hidden, labels.shape)

    def _mended(
        self,
        place: str,
        entry: dict[str, Any],
        visible: RoiMask,
        amodal: RoiMask,
        hidden: RoiMask,
        shape: tuple[int, int],
    ) -> tuple[RoiMask, RoiMask] | None:
        """Return visible and amodal mask without contradiction: what the PNG shows is visible, the rest is hidden."""
        note = self._found.note
        if amodal.area == 0:  # Published for what is not occluded.
            amodal = visible | hidden
        if amodal.area == 0:
            note("segments without a pixel, dropped", place)
            return None
        if visible.area == 0 and not (entry.get("fully_hidden") or hidden == amodal):
            if not self.predicted:
                note("segments of the JSON without a pixel in the PNG and not fully occluded, dropped", place)
                return None
            note("segments of the JSON without a pixel in the PNG, taken as fully hidden", place)
        if not visible.is_subset_of(amodal):
            if self.predicted:
                note("visible parts outside the amodal mask, cut", place)
                visible = visible & amodal
            else:
                note("amodal masks without part of the visible mask, joined", place)
                amodal = amodal | visible
        rest = amodal - visible
        if entry.get("full_mask"):
            rest = rest.clipped(*shape)
        if hidden.intersection_area(visible):
            note("occlusion masks that reach into the visible part, cut", place)
        elif hidden != rest and not (self.predicted and hidden.area == 0):
            note("occlusion masks that are not what the amodal mask hides, replaced by that", place)
        if not self.predicted and "occluded" in entry and bool(entry["occluded"]) != (rest.area > 0):
            note("occluded flags that contradict the masks, corrected", place)
        return visible, amodal

    def _without_strays(self, png: Path, labels: np.ndarray, segments: set[int], known: set[int]) -> np.ndarray:
        """Forget the pixels of things without an amodal mask, whose truth is unknown; count those without an entry."""
        strays = [s for s in sorted(segments) if self._is_thing(s // SEGMENT_FACTOR)]
        outcome = "keep their class only" if self.predicted else "read as unlabelled"
        for stray in set(strays) - known:
            self._found.note(f"visible things without an amodal mask, {outcome}", f"{png}: segment {stray}")
        return labels if self.predicted or not strays else np.where(np.isin(labels, strays), np.uint16(0), labels)


def read_entries(path: Path) -> dict[int, dict[str, Any]]:
    """Return segment id -> amodal segment of an `_ampano.json`."""
    content = read_json(path, unique_keys=True)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not a map of segment id to amodal segment")
    entries: dict[int, dict[str, Any]] = {}
    for key, entry in content.items():
        if not (key.isdecimal() and len(key) <= 9 and isinstance(entry, dict)):
            raise DatasetError(f"{path}: segment '{key}' is not an amodal segment")
        if int(key) in entries:
            raise DatasetError(f"{path}: segment {int(key)} appears twice")
        entries[int(key)] = entry
    return entries


def read_levels(path: Path) -> dict[int, int]:
    """Return segment id -> occlusion level of a `_rel.json`; raises DatasetError naming the file."""
    content, known = read_json(path, unique_keys=True), {str(level) for level in range(OCCLUSION_LEVELS)}
    if not isinstance(content, dict) or not all(isinstance(ids, list) for ids in content.values()):
        raise DatasetError(f"{path}: not a map of level to lists of segment ids")
    levels: dict[int, int] = {}
    for level, ids in content.items():
        if level not in known:
            raise DatasetError(f"{path}: holds level {level!a}, known are 0..{OCCLUSION_LEVELS - 1}")
        for segment in ids:
            if type(segment) is not int:
                raise DatasetError(f"{path}: level {level} holds {segment!a}, which is no segment id")
            if levels.setdefault(segment, int(level)) != int(level) and segment:  # 0 fills empty levels.
                raise DatasetError(f"{path}: segment {segment} is on the levels {levels[segment]} and {level}")
    return levels


def _boxes(labels: np.ndarray) -> dict[int, tuple[slice, slice]]:
    """Return segment id -> rows and columns of its box."""
    return {number: box for number, box in enumerate(ndimage.find_objects(labels), 1) if box is not None}


def _amodal_mask(path: Path, entry: dict[str, Any], shape: tuple[int, int]) -> RoiMask:
    full = entry.get("full_mask")
    if not full:
        return codecs.decode_mask(path, "amodal_mask", entry.get("amodal_mask"), shape)
    (height, width), (x, y) = full["size"], map(int, full["offset"])
    own = codecs.decode_mask(path, "full_mask", full, (height, width))
    mask = RoiMask(own.x_offset + x, own.y_offset + y, own.width, own.height, own.counts)
    if max(map(abs, mask.box)) > REACH * max(shape):
        raise ValueError(f"'full_mask' lies at {mask.box}, too far outside the image")
    return mask

"""Other programs' results for KINS, COCOA, COCOA-cls and D2SA, matched to the truth by image id.

A list of results as COCO's servers take it, `[{image_id, category_id, segmentation, score}, ...]`; a folder with two
such lists, of amodal and of visible masks, as AISFormer, VRSP-Net and other codes on detectron2 write them; or a file
in a form of the truth whose annotations (or COCOA's regions) have a `score`. The amodal mask is under one of
`AMODAL_KEYS`; a result without a visible or hidden mask claims to be wholly visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amodal_perception_ros.datasets.annotated import CAMERA, AnnotatedSequence, Prediction
from amodal_perception_ros.datasets.coco.annotation_file import (
    read_annotations,
    read_content,
    require_key,
)
from amodal_perception_ros.datasets.coco.cocoa import read_regions
from amodal_perception_ros.datasets.coco.kins import add_cluster_order
from amodal_perception_ros.datasets.coco.scenes import CocoSequence
from amodal_perception_ros.datasets.files import DatasetError, is_folder
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.scene import Sample

_AMODAL_LIST, _VISIBLE_LIST = "coco_instances_amodal_results.json", "coco_instances_visible_results.json"


class CocoPredictions:
    """Results for the images of a data set (a `PredictionReader`).

    Where the truth is scored without classes (COCOA), the `category_id` of a result says nothing. What the results do
    not state of the occlusion order, their masks show (see `visible_order`).

    Args:
        path: JSON file of the results, or folder of the two lists.
        truth: the sequences of the data set's reader.

    Attributes:
        repairs: what was corrected or dropped, with file and place in the list; "images without results" counts
            images that are scored as without a detection.
        unknown: see `PredictionReader`; places are ids of images.

    Raises:
        DatasetError: the file holds no results, it names an image id that several files of the truth have, or the truth
            is none of these data sets.
    """

    def __init__(self, path: Path, truth: Sequence[AnnotatedSequence]) -> None:
        self._path, self.repairs, self._was_read = path, CauseCount(), set[str]()
        sequences = [sequence for sequence in truth if isinstance(sequence, CocoSequence)]
        if not sequences or len(sequences) < len(truth):
            raise DatasetError(
                f"{path}: a file of results needs a truth whose images have ids: KINS, COCOA, COCOA-cls, D2SA"
            )
        self._images = {sequence.name: sequence.image for sequence in sequences}
        self._rules = sequences[0].rules
        self._collect(_read_entries(path))

    def read(self, sample: Sample) -> Prediction:
        """Return the results for an image; raises DatasetError where the sample is of another data set."""
        image = self._images.get(sample.sequence)
        if image is None:
            raise DatasetError(f"{self._path}: the truth that it was opened for has no image '{sample.sequence}'")
        repairs = CauseCount() if image.name in self._was_read else self.repairs
        self._was_read.add(image.name)
        return Prediction({CAMERA: self._rules.scene(image, self._contents[image.id], repairs)})

    def _collect(self, entries: list[Any]) -> None:
        require_key(self._path, "results", entries, ("image_id",))
        images = {image.id: image for image in self._images.values()}
        repeated = Counter(image.id for image in self._images.values())
        known: dict[int, Any] = {}
        unknown: dict[int, Any] = {}
        for number, entry in enumerate(entries):
            image_id: Any = entry.get("image_id") if isinstance(entry, dict) else None
            if type(image_id) in (int, str) and repeated[image_id] > 1:
                raise DatasetError(
                    f"{self._path}: results for image {image_id!a}, of which the data hold {repeated[image_id]}; "
                    "score each file of the data with results of its own"
                )
            is_unknown = type(image_id) in (int, str) and image_id not in images
            (unknown if is_unknown else known)[number] = entry
        self.unknown = CauseCount()
        for id_ in dict.fromkeys(entry["image_id"] for entry in unknown.values()):
            self.unknown.note("unknown_frame", f"image {id_!a}")
        if any("regions" in entry for entry in known.values() if isinstance(entry, dict)):
            self._contents = read_regions(self._path, known, images, self.repairs)
            has_order = any(len(content.in_front) for content in self._contents.values())
        else:
            known = self._of_known_classes(known)
            self._contents = read_annotations(self._path, known, images, self._rules.classes, self.repairs)
            has_order = add_cluster_order(self._contents, known)
        self._rules = replace(self._rules, has_order=has_order, predicted=True)
        self._count_gaps()

    def _of_known_classes(self, entries: dict[int, Any]) -> dict[int, Any]:
        """Give every result the only class of a truth without classes."""
        if not self._rules.classless:
            return entries
        only = {"category_id": self._rules.classes.labels[0].id}
        return {number: {**entry, **only} if isinstance(entry, dict) else entry for number, entry in entries.items()}

    def _count_gaps(self) -> None:
        for id_, content in self._contents.items():
            if not content.regions:
                self.repairs.note("images without results", f"{self._path.name}, image {id_!a}")
            for region in content.regions:
                if region.score is None:
                    self.repairs.note("results without a score, taken as 1", region.place)
                if region.visible is None and region.hidden is None:
                    self.repairs.note("results without a visible mask, taken as wholly visible", region.place)


def _read_entries(path: Path) -> list[Any]:
    """Return the results or annotations of a file, or of the two lists in a folder."""
    if is_folder(path):
        return _paired(path, _read_entries(path / _AMODAL_LIST), _read_entries(path / _VISIBLE_LIST))
    content = read_content(path)
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DatasetError(f"{path}: neither a list of results nor a file with a list 'annotations'")
    for entry in entries if entries is content else ():
        if isinstance(entry, dict):
            entry.pop("id", None)  # In a list of results it means nothing to COCO's API either.
    return entries


def _paired(folder: Path, amodal: list[Any], visible: list[Any]) -> list[Any]:
    """Join the results at equal places of two lists: the visible mask of the one comes to the other."""
    if len(amodal) != len(visible):
        raise DatasetError(f"{folder}: {_AMODAL_LIST} has {len(amodal)} results, {_VISIBLE_LIST} {len(visible)}")
    pairs = []
    for number, (whole, part) in enumerate(zip(amodal, visible)):
        both = isinstance(whole, dict) and isinstance(part, dict)
        if not both or any(str(whole.get(key)) != str(part.get(key)) for key in ("image_id", "category_id", "score")):
            raise DatasetError(f"{folder}: result {number} of {_VISIBLE_LIST} is not of the object in {_AMODAL_LIST}")
        pairs.append({**whole, "visible_mask": part.get("segmentation")})
    return pairs

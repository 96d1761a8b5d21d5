"""What KINS, COCOA, COCOA-cls and D2SA share: JSON files in the manner of COCO with an amodal and a visible mask.

A file is parsed once and cut into images; masks stay encoded until the scene of an image is asked for. Errors of the
whole file are a `DatasetError`, those of one annotation leave it out and are counted.
"""

from __future__ import annotations

import mmap
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets.coco.masks import MAX_PIXELS, compact
from amodal_perception_ros.datasets.files import DatasetError, is_file, read_json
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import SEGMENT_FACTOR, ClassList

AMODAL_KEYS = ("amodal_segm", "a_segm", "segmentation")
"""Names of the amodal mask: those of aistron's results, of KINS 2020, of the others; the first one there counts."""

VISIBLE_KEYS = ("visible_segm", "i_segm", "inmodal_seg", "visible_mask", "visible_segmentation")
"""Names of the visible mask."""

HIDDEN_KEYS = ("occluded_segm", "invisible_mask")
"""Names of the hidden mask."""

_LAST_CLASS = 2**32 // SEGMENT_FACTOR - 1
"""Largest class id whose instance ids fit into 32 bits."""

_MASK_KEYS = AMODAL_KEYS + VISIBLE_KEYS + HIDDEN_KEYS + ("counts",)


@dataclass(frozen=True)
class CocoImage:
    """An entry of a file's `images`.

    Attributes:
        id: what annotations and results call it.
        name: file name without folder and ending, unique in the file.
        file_name: as in the file.
        width, height: [px].
    """

    id: int | str
    name: str
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """One annotated or predicted object, its masks as in the file (see `masks.decode_mask`).

    Attributes:
        number: what `ImageContent.in_front` calls it.
        place: file and annotation, for messages.
        class_id: id in the file's class list.
        score: confidence, or None where the file has none.
        amodal: the whole object.
        visible: its visible part, or None where the file has none.
        hidden: its hidden part, or None where the file has none; without both, all of the object is visible.
    """

    number: int
    place: str
    class_id: int
    score: float | None
    amodal: Any
    visible: Any
    hidden: Any


@dataclass(eq=False)
class ImageContent:
    """What a file says of one image.

    Attributes:
        regions: its objects.
        in_front: (p, 2) int64 pairs of region numbers, the first one nearer where the two overlap.
    """

    regions: list[Region] = field(default_factory=list)
    in_front: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))


def read_content(path: Path) -> Any:
    """Return the content of a JSON file, polygons and uncompressed run lengths as arrays; raises DatasetError."""
    return read_json(path, object_hook=_compacted)


def read_lists(path: Path, content: Any, *keys: str) -> list[list[Any]]:
    """Return lists of a file by key; raises DatasetError naming the one that is not there."""
    for key in keys:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DatasetError(f"{path}: no list '{key}'; expected a COCO file with {', '.join(keys)}")
    return [content[key] for key in keys]


def read_images(path: Path, entries: Sequence[Any], repairs: CauseCount) -> dict[int | str, CocoImage]:
    """Return the images of a file by id; those that cannot be used are left out and counted.

    Raises:
        DatasetError: there is none.
    """
    require_key(path, "images", entries, ("id",), ("file_name",), ("width",), ("height",))
    images: dict[int | str, CocoImage] = {}
    names: set[str] = set()
    for position, entry in enumerate(entries):
        cause, place = _image_problem(entry, images), f"{path.name}, image {_id_of(entry, position)}"
        if cause:
            repairs.note(cause, place)
            continue
        name = Path(entry["file_name"]).stem
        while name in names:
            name += f"-{entry['id']}"
        names.add(name)
        images[entry["id"]] = CocoImage(
            entry["id"], name, entry["file_name"], _side(entry["width"]), _side(entry["height"])
        )
    if not images:
        raise DatasetError(f"{path}: none of the {len(entries)} 'images' has an id, a file name and a size")
    return images


def read_classes(path: Path, entries: Sequence[Any], name: str) -> ClassList:
    """Return the things of a file's `categories`, with the file's ids and names.

    Raises:
        DatasetError: no categories or too many, ids that are no positive numbers, or ids or names that are not unique.
    """
    try:
        things = {entry["id"]: str(entry["name"]) for entry in entries}
        if not things or len(things) < len(entries) or not all(type(i) is int and 0 < i <= _LAST_CLASS for i in things):
            raise ValueError(f"ids {[entry['id'] for entry in entries][:10]} must be unique, from 1 to {_LAST_CLASS}")
        return ClassList.of(name, stuff={}, things=things)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: 'categories' is no list of classes with id and name ({error!r})") from error


def require_key(path: Path, what: str, entries: Sequence[Any], *alternatives: Sequence[str]) -> None:
    """Raise DatasetError where no entry of a list has a key (or none of its alternative names): a wrong format."""
    if not entries:
        return
    for names in alternatives:
        if not any(isinstance(entry, dict) and any(name in entry for name in names) for entry in entries):
            raise DatasetError(f"{path}: no entry of '{what}' has {' or '.join(map(repr, names))}")


def read_annotations(
    path: Path,
    entries: Mapping[int, Any],
    images: Mapping[int | str, CocoImage],
    classes: ClassList,
    repairs: CauseCount,
    visible_required: bool = False,
) -> dict[int | str, ImageContent]:
    """Return the content of every image; annotations that cannot be used are left out and counted.

    Args:
        path: for messages.
        entries: place in the file's list -> annotation; the place becomes the region's number.
        images: of the file.
        classes: of the file.
        repairs: where it is counted.
        visible_required: every annotation must have a visible mask; else one without is of a wholly visible object.

    Raises:
        DatasetError: no annotation has a key that all must have.
    """
    required = [("image_id",), ("category_id",), AMODAL_KEYS] + [VISIBLE_KEYS] * visible_required
    require_key(path, "annotations", list(entries.values()), *required)
    contents: dict[int | str, ImageContent] = {id_: ImageContent() for id_ in images}
    known: set[str] = set()
    for number, entry in entries.items():
        place = f"{path.name}, annotation {_id_of(entry, number)}"
        cause = _annotation_problem(entry, images, classes)
        if not cause and _id_of(entry, number) in known:
            cause = "annotations with the id of another one, left out"
        if not cause and visible_required and not _first(entry, VISIBLE_KEYS):
            cause = "annotations without a visible mask, left out"
        if cause:
            repairs.note(cause, place)
            continue
        known.add(_id_of(entry, number))
        contents[entry["image_id"]].regions.append(to_region(entry, number, place, entry["category_id"]))
    return contents


def mask_problem(entry: Any) -> str:
    """Return why an entry of a file is no object with a mask and a score; empty if it is one."""
    if not isinstance(entry, dict):
        return "annotations that are no JSON object, left out"
    if not _first(entry, AMODAL_KEYS):
        return "annotations without an amodal mask, left out"
    score = entry.get("score", 1.0)
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not abs(score) <= sys.float_info.max:
        return "annotations with a score that is no number, left out"
    return ""


def to_region(entry: Mapping[str, Any], number: int, place: str, class_id: int) -> Region:
    """Return an entry without a `mask_problem` as a region."""
    keys = (_first(entry, names) for names in (AMODAL_KEYS, VISIBLE_KEYS, HIDDEN_KEYS))
    amodal, visible, hidden = (entry.get(key) for key in keys)
    return Region(number, place, class_id, entry.get("score"), amodal, visible, hidden)


def is_key(value: Any, known: Iterable[Any]) -> bool:
    """Return whether a value of a file is a key of a map made from files: numbers and texts only, no booleans."""
    return type(value) in (int, str) and value in known


def has_keys(path: Path, *keys: str) -> bool:
    """Return whether a path is a file that holds all of these JSON keys, without parsing it."""
    return matches(path, *(f'"{key}"\\s*:' for key in keys))


def matches(path: Path, *patterns: str) -> bool:
    """Return whether a path is a file in which all of these regular expressions are found."""
    if not is_file(path) or not path.stat().st_size:
        return False
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(re.search(pattern.encode(), content) for pattern in patterns)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def _compacted(entry: dict[str, Any]) -> dict[str, Any]:
    for key in _MASK_KEYS:
        if key in entry:
            entry[key] = compact(entry[key])
    return entry


def _id_of(entry: Any, position: int) -> str:
    """Return how messages name an entry: by its id, or by its place in the list."""
    id_ = entry.get("id") if isinstance(entry, dict) else None
    return ascii(id_) if type(id_) in (int, str) else f"at position {position}"


def _image_problem(entry: Any, images: Mapping[Any, CocoImage]) -> str:
    if not isinstance(entry, dict) or type(entry.get("id")) not in (int, str):
        return "images without an id, left out"
    if entry["id"] in images:
        return "images with the id of another one, left out"
    name = entry.get("file_name")
    if not isinstance(name, str) or not name.isprintable() or not Path(name).stem:
        return "images without a file name, left out"
    if not 0 < _side(entry.get("width")) * _side(entry.get("height")) <= MAX_PIXELS:
        return f"images without a size up to {MAX_PIXELS} pixels, left out"
    return ""


def _side(value: Any) -> int:
    """Return the side of an image [px], 0 where it is no whole positive number."""
    whole = (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_PIXELS and value % 1 == 0
    )
    return int(value) if whole else 0


def _first(entry: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return the first of some keys under which an entry has a value, empty if there is none."""
    return next((key for key in keys if entry.get(key) is not None), "")


def _annotation_problem(entry: Any, images: Mapping[int | str, CocoImage], classes: ClassList) -> str:
    cause = mask_problem(entry)
    if cause:
        return cause
    if not is_key(entry.get("image_id"), images):
        return "annotations of images that the file does not list, left out"
    if not is_key(entry.get("category_id"), classes.by_id):
        return "annotations with an unknown category, left out"
    return "crowd regions, left out" if entry.get("iscrowd") else ""

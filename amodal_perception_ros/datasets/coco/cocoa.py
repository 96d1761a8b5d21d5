"""COCOA (Zhu et al., Semantic Amodal Segmentation, CVPR 2017): amodal regions, things and stuff, on images of COCO.

`COCO_amodal_{train,val,test}2014.json` holds one annotation per image with its `regions`: `segmentation` is the amodal
polygon, `visible_mask` and `invisible_mask` are there for occluded regions only. The `name` of a region is free text,
so the data set has one class, "region", for things and stuff (`isStuff`) alike: the authors score it without classes.
`depth_constraint` is "1-2,1-3": region 1 is in front of regions 2 and 3, counted from 1 in the order of the list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets.coco.annotation_file import (
    AMODAL_KEYS,
    CocoImage,
    ImageContent,
    has_keys,
    is_key,
    mask_problem,
    read_content,
    read_images,
    read_lists,
    require_key,
    to_region,
)
from amodal_perception_ros.datasets.coco.scenes import CocoSequence, SceneRules, to_sequences
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import ClassList

REGION = 1
"""Id of the only class."""

CLASSES = ClassList.of("COCOA", stuff={}, things={REGION: "region"})


def holds_cocoa(path: Path) -> bool:
    """Return whether a path is an annotation file of COCOA."""
    return has_keys(path, "annotations", "regions", "depth_constraint")


def read_cocoa(path: Path, images: Path | None, parts: Collection[str]) -> list[CocoSequence]:
    """Return the images of an annotation file.

    Args:
        path: the JSON file.
        images: folder of the pictures, needed only for the part "images".
        parts: what samples hold: "truth", "images".

    Raises:
        DatasetError: not an annotation file of COCOA; the message names file and key.
    """
    content, repairs = read_content(path), CauseCount()
    pictures, annotations = read_lists(path, content, "images", "annotations")
    known = read_images(path, pictures, repairs)
    contents = read_regions(path, dict(enumerate(annotations)), known, repairs)
    return to_sequences(known, contents, SceneRules(CLASSES, has_order=True, classless=True), images, parts, repairs)


def read_regions(
    path: Path, entries: Mapping[int, Any], images: Mapping[int | str, CocoImage], repairs: CauseCount
) -> dict[int | str, ImageContent]:
    """Return the content of every image from annotations with `regions`; those that cannot be used are counted.

    Args:
        path: for messages.
        entries: place in the file's list -> annotation.
        images: of the file.
        repairs: where it is counted.

    Raises:
        DatasetError: no annotation has a key that all must have.
    """
    require_key(path, "annotations", list(entries.values()), ("image_id",), ("regions",))
    contents: dict[int | str, ImageContent] = {}
    for position, entry in entries.items():
        image_id: Any = entry.get("image_id") if isinstance(entry, dict) else None
        place = (
            f"{path.name}, annotation at position {position}"
            if image_id is None
            else f"{path.name}, image {image_id!a}"
        )
        if not is_key(image_id, images):
            repairs.note("annotations of images that the file does not list, left out", place)
        elif not isinstance(entry.get("regions"), list):
            repairs.note("annotations without a list of regions, left out", place)
        elif image_id in contents:
            repairs.note("further annotations of an image, left out", place)
        else:
            contents[image_id] = _image_content(entry, place, repairs)
    lists = [entry.get("regions") for entry in entries.values() if isinstance(entry, dict)]
    everything = [region for regions in lists if isinstance(regions, list) for region in regions]
    require_key(path, "regions", everything, AMODAL_KEYS)
    return {id_: contents.get(id_, ImageContent()) for id_ in images}


def _image_content(annotation: Mapping[str, Any], place: str, repairs: CauseCount) -> ImageContent:
    """Return the regions of one annotation, numbered from 1."""
    content = ImageContent()
    for number, entry in enumerate(annotation["regions"], 1):
        where, cause = f"{place}, region {number}", mask_problem(entry)
        if cause:
            repairs.note(cause, where)
        else:
            content.regions.append(to_region(entry, number, where, REGION))
    count = len(annotation["regions"])
    content.in_front = _constraints(annotation.get("depth_constraint"), count, place, repairs)
    return content


def _constraints(text: Any, count: int, place: str, repairs: CauseCount) -> np.ndarray:
    """Return (p, 2) pairs of region numbers, the front one first; those of unknown regions are left out and counted."""
    pairs = []
    for item in str(text).split(",") if text else []:
        front, _, back = (part.strip() for part in item.partition("-"))
        known = all(number.isdecimal() and len(number) < 10 and 1 <= int(number) <= count for number in (front, back))
        if known and int(front) != int(back):
            pairs.append((int(front), int(back)))
        else:
            repairs.note("occlusion orders of unknown regions, left out", f"{place}: {item!a}")
    return np.array(pairs, np.int64).reshape(-1, 2)

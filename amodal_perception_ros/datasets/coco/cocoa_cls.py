"""COCOA-cls and D2S amodal (Follmann et al., Learning to See the Invisible, WACV 2019), which share one file form.

COCO files whose `segmentation` is the amodal mask; `visible_mask` and `invisible_mask` (run lengths) are there for
occluded objects only. D2S amodal pads images with zeros until they contain all amodal masks (section 4.3).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from amodal_perception_ros.datasets.coco.annotation_file import (
    has_keys,
    matches,
    read_annotations,
    read_classes,
    read_content,
    read_images,
    read_lists,
)
from amodal_perception_ros.datasets.coco.scenes import CocoSequence, SceneRules, to_sequences
from amodal_perception_ros.errors import CauseCount

_OTHERS = ("regions", "inmodal_seg", "i_segm")


def holds_cocoa_cls(path: Path) -> bool:
    """Return whether a path is an annotation file in this form that names no images of D2S."""
    return _has_form(path) and not _names_d2s(path)


def holds_d2sa(path: Path) -> bool:
    """Return whether a path is an annotation file in this form that names images of D2S."""
    return _has_form(path) and _names_d2s(path)


def read_cocoa_cls(path: Path, images: Path | None, parts: Collection[str]) -> list[CocoSequence]:
    """Return the images of an annotation file of COCOA-cls.

    Args:
        path: the JSON file.
        images: folder of the pictures, needed only for the part "images".
        parts: what samples hold: "truth", "images".

    Raises:
        DatasetError: not an annotation file of this form; the message names file and key.
    """
    return _read(path, images, parts, "COCOA-cls", padded=False)


def read_d2sa(path: Path, images: Path | None, parts: Collection[str]) -> list[CocoSequence]:
    """Return the images of an annotation file of D2S amodal (see `read_cocoa_cls`); masks may leave the image."""
    return _read(path, images, parts, "D2SA", padded=True)


def _read(path: Path, images: Path | None, parts: Collection[str], name: str, padded: bool) -> list[CocoSequence]:
    content, repairs = read_content(path), CauseCount()
    pictures, annotations, categories = read_lists(path, content, "images", "annotations", "categories")
    known, classes = read_images(path, pictures, repairs), read_classes(path, categories, name)
    contents = read_annotations(path, dict(enumerate(annotations)), known, classes, repairs)
    return to_sequences(known, contents, SceneRules(classes, padded=padded), images, parts, repairs)


def _has_form(path: Path) -> bool:
    masks = has_keys(path, "visible_mask") or has_keys(path, "invisible_mask")
    return masks and has_keys(path, "annotations") and not any(has_keys(path, key) for key in _OTHERS)


def _names_d2s(path: Path) -> bool:
    return matches(path, r'"file_name"\s*:\s*"[^"]*D2S_')

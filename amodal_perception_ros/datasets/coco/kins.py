"""KINS (Qi et al., CVPR 2019), amodal and visible masks of seven classes on the images of KITTI's object benchmark.

Both releases: `instances_{train,val}.json` with `segmentation` and `inmodal_seg`, and `update_{train,test}_2020.json`
with `a_segm`, `i_segm` and the occlusion order. The authors' description of the order (the release notes of the data
set): `oco_id` is the cluster of connected objects; `ico_id` is the relative order in the cluster by distance to the
camera, 0 without overlap, else counted from 1 and by one more with every occlusion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets.coco.annotation_file import (
    ImageContent,
    has_keys,
    read_annotations,
    read_classes,
    read_content,
    read_images,
    read_lists,
)
from amodal_perception_ros.datasets.coco.scenes import CocoSequence, SceneRules, to_sequences
from amodal_perception_ros.errors import CauseCount

NAME = "KINS"


def holds_kins(path: Path) -> bool:
    """Return whether a path is an annotation file of KINS."""
    return has_keys(path, "annotations") and (has_keys(path, "inmodal_seg") or has_keys(path, "a_segm", "i_segm"))


def read_kins(path: Path, images: Path | None, parts: Collection[str]) -> list[CocoSequence]:
    """Return the images of an annotation file.

    Args:
        path: the JSON file.
        images: folder of the pictures (KITTI's `image_2`), needed only for the part "images".
        parts: what samples hold: "truth", "images".

    Raises:
        DatasetError: not an annotation file of KINS; the message names file and key.
    """
    content, repairs = read_content(path), CauseCount()
    pictures, annotations, categories = read_lists(path, content, "images", "annotations", "categories")
    known, classes = read_images(path, pictures, repairs), read_classes(path, categories, NAME)
    entries = dict(enumerate(annotations))
    contents = read_annotations(path, entries, known, classes, repairs, visible_required=True)
    has_order = add_cluster_order(contents, entries)
    return to_sequences(known, contents, SceneRules(classes, has_order=has_order), images, parts, repairs)


def add_cluster_order(contents: Mapping[int | str, ImageContent], entries: Mapping[int, Mapping[str, Any]]) -> bool:
    """Add the order among the annotations of every image; returns whether the file has any."""
    for content in contents.values():
        content.in_front = cluster_order((region.number, entries[region.number]) for region in content.regions)
    return any("ico_id" in entries[region.number] for content in contents.values() for region in content.regions)


def cluster_order(annotations: Iterable[tuple[int, Mapping[str, Any]]]) -> np.ndarray:
    """Return who is in front of whom by the clusters of the release of 2020.

    Args:
        annotations: numbers and annotations of one image.

    Returns:
        (p, 2) int64 pairs of numbers of the same cluster, the one with the smaller order (nearer to the camera) first.
        Where the two do not overlap, the pair says nothing about occlusion.
    """
    clusters = defaultdict(list)
    for number, annotation in annotations:
        cluster, order = annotation.get("oco_id"), annotation.get("ico_id")
        if type(cluster) is int and type(order) is int and order > 0:
            clusters[cluster].append((order, number))
    pairs = [np.zeros((0, 2), np.int64)]
    for members in clusters.values():
        rank = {order: place for place, order in enumerate(sorted({order for order, _ in members}))}
        ranks, numbers = np.array([(rank[order], number) for order, number in members], np.int64).T
        pairs.append(numbers[np.argwhere(ranks[:, None] < ranks)])
    return np.concatenate(pairs)

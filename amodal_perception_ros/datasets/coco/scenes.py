"""Images of COCO-like files as sequences of one sample, and their regions as camera scenes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.annotated import CAMERA
from amodal_perception_ros.datasets.coco.annotation_file import CocoImage, ImageContent, Region
from amodal_perception_ros.datasets.coco.masks import MaskError, decode_mask
from amodal_perception_ros.datasets.files import DatasetError, is_file
from amodal_perception_ros.datasets.visible_order import order_of, visible_order
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import MAX_INSTANCE_NUMBER, SEGMENT_FACTOR, ClassList
from amodal_perception_ros.masks import RoiMask, pairwise_areas
from amodal_perception_ros.occlusion import occlusion_levels
from amodal_perception_ros.scene import (
    Camera,
    CameraScene,
    Instance,
    OcclusionOrder,
    Rig,
    Sample,
    SurroundFrame,
    SurroundScene,
)

_MISSING = ("calibration", "stamps", "odometry", "depth", "lidar", "boxes", "bev", "flow", "motion", "segments")


@dataclass(frozen=True)
class SceneRules:
    """How the regions of one data set become instances.

    Attributes:
        classes: what class ids mean.
        padded: see `masks.decode_mask`.
        has_order: whether the files tell which object is in front.
        classless: whether the only class stands for objects of all kinds.
        predicted: whether a program made the regions: the visible masks are cut to the amodal ones, which are scored as
            they are, and without a stated order that of the masks counts (`visible_order`). In the truth the amodal
            masks are joined with the visible ones, and only the stated order is known.
    """

    classes: ClassList
    padded: bool = False
    has_order: bool = False
    classless: bool = False
    predicted: bool = False

    def scene(self, image: CocoImage, content: ImageContent, repairs: CauseCount) -> CameraScene:
        """Return the scene of an image: uncalibrated, without depth and segments."""
        instances: dict[int, Instance] = {}
        numbers: Counter[int] = Counter()
        for region in sorted(content.regions, key=lambda region: -_score(region)):
            masks = self._decoded(region, image, repairs)
            if masks is None:
                continue
            if numbers[region.class_id] == MAX_INSTANCE_NUMBER:
                repairs.note(
                    f"objects beyond the {MAX_INSTANCE_NUMBER} best of a class in one image, left out", region.place
                )
                continue
            numbers[region.class_id] += 1
            instances[region.number] = _instance(region, numbers[region.class_id], *masks, image)
        order = self._order(instances, content, repairs)
        _set_levels(instances, order)
        shape = (image.height, image.width)
        return CameraScene(
            camera=Camera.uncalibrated(CAMERA, image.width, image.height),
            stamp_ns=0,
            labels=np.zeros(shape, np.uint16),
            depth=np.full(shape, np.nan, np.float32),
            instances=list(instances.values()),
            order=order,
            classes=self.classes,
        )

    def _decoded(self, region: Region, image: CocoImage, repairs: CauseCount) -> tuple[RoiMask, RoiMask] | None:
        """Return the visible and the amodal mask of a region, the one inside the other; None where it is left out."""
        try:
            amodal, visible, hidden = (
                None if value is None else decode_mask(value, image.height, image.width, self.padded)
                for value in (region.amodal, region.visible, region.hidden)
            )
        except MaskError as error:
            repairs.note("objects with a mask that cannot be decoded, left out", f"{region.place}: {error}")
            return None
        amodal = amodal or RoiMask.empty()
        if visible is not None and hidden is not None and visible.intersection_area(hidden):
            repairs.note("hidden masks that reach into the visible mask, cut", region.place)
        stray = [part for part in (visible, hidden) if part is not None and not part.is_subset_of(amodal)]
        if stray and self.predicted:
            repairs.note("visible or hidden masks that leave the amodal mask, cut", region.place)
            visible = None if visible is None else visible & amodal
        elif stray:
            # What is seen of a true object, or known to be hidden, belongs to it: the amodal mask lacks pixels.
            repairs.note("amodal masks without part of the visible or hidden mask, joined", region.place)
            amodal = reduce(or_, stray, amodal)
        if visible is None:
            visible = amodal if hidden is None else amodal - hidden
        if _pixels(amodal, image) == 0:
            repairs.note("objects without a pixel in the image, left out", region.place)
            return None
        if _pixels(visible, image) == 0:
            repairs.note("objects without a visible pixel, kept as fully hidden", region.place)
        return visible, amodal

    def _order(self, instances: Mapping[int, Instance], content: ImageContent, repairs: CauseCount) -> OcclusionOrder:
        if self.has_order:
            return _stated_order(instances, content, repairs)
        if not self.predicted:
            return OcclusionOrder()
        order, _ = visible_order({i.instance_id: (i.visible_mask, i.amodal_mask) for i in instances.values()})
        return order


class CocoSequence:
    """One image of a COCO-like file as a sequence of one sample (an `AnnotatedSequence`).

    Attributes:
        image: its entry in the file.
        rules: how regions become instances.
        name, classes, missing, repairs, info: see `AnnotatedSequence`; the repairs of the masks come with the sample.
    """

    def __init__(
        self, image: CocoImage, content: ImageContent, rules: SceneRules, folder: Path | None, parts: Collection[str]
    ) -> None:
        self.image, self.rules, self._content = image, rules, content
        self._folder = folder if "images" in parts else None
        self._with_truth, self._was_read = "truth" in parts, False
        self.name, self.classes = image.name, rules.classes
        self.missing = _MISSING + (() if rules.has_order else ("order", "levels")) + (() if folder else ("images",))
        self.repairs = CauseCount()
        self.info: dict[str, Any] = {}

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        """Return the only sample; raises DatasetError where the picture is asked for and cannot be read."""
        if index not in (0, -1):
            raise IndexError(f"frame {index} of image '{self.name}'")
        camera = Camera.uncalibrated(CAMERA, self.image.width, self.image.height)
        cameras = {}
        if self._with_truth:
            repairs = CauseCount() if self._was_read else self.repairs
            cameras[CAMERA] = self.rules.scene(self.image, self._content, repairs)
            self._was_read = True
        pictures = {CAMERA: _picture(self._folder, self.image)} if self._folder else {}
        return Sample(
            sequence=self.name,
            index=0,
            frame=SurroundFrame(
                stamp_ns=0, rig=Rig((camera,)), images=pictures, image_stamps_ns=dict.fromkeys(pictures, 0)
            ),
            truth=SurroundScene(0, cameras, "ground truth"),
        )

    def fingerprint(self) -> str:
        """Return a hexadecimal digest of the image's annotations and of the size of its picture's file."""
        path = None if self._folder is None else _picture_path(self._folder, self.image)
        regions = [(r.class_id, r.amodal, r.visible, r.hidden) for r in self._content.regions]
        names = [(label.id, label.name) for label in self.classes.labels]
        facts = [vars(self.image), regions, self._content.in_front, names, path.stat().st_size if path else None]
        return hashlib.sha256(json.dumps(facts, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Return what JSON does not know as something that it does."""
    return value.tolist() if isinstance(value, np.ndarray) else repr(value)


def to_sequences(
    images: Mapping[int | str, CocoImage],
    contents: Mapping[int | str, ImageContent],
    rules: SceneRules,
    folder: Path | None,
    parts: Collection[str],
    repairs: CauseCount,
) -> list[CocoSequence]:
    """Return the images of a file as sequences; the first one also carries what was repaired in the file as a whole."""
    sequences = [CocoSequence(image, contents[id_], rules, folder, parts) for id_, image in images.items()]
    sequences[0].repairs.merge(repairs)
    return sequences


def _pixels(mask: RoiMask, image: CocoImage) -> int:
    """Number of pixels of a mask in the image."""
    left, top, right, bottom = mask.box
    if min(left, top) >= 0 and right <= image.width and bottom <= image.height:
        return mask.area
    return int(np.count_nonzero(mask.window(0, 0, image.width, image.height)))


def _score(region: Region) -> float:
    return 1.0 if region.score is None else float(region.score)


def _instance(region: Region, number: int, visible: RoiMask, amodal: RoiMask, image: CocoImage) -> Instance:
    return Instance(
        instance_id=region.class_id * SEGMENT_FACTOR + number,
        class_id=region.class_id,
        score=_score(region),
        visible_mask=visible,
        amodal_mask=amodal,
        occlusion_level=int(_pixels(visible, image) < _pixels(amodal, image)),
        visible_depth=np.nan,
        amodal_depth=np.nan,
        amodal_depth_stddev=np.nan,
        depth=np.full((amodal.height, amodal.width), np.nan, np.float32),
    )


def _stated_order(instances: Mapping[int, Instance], content: ImageContent, repairs: CauseCount) -> OcclusionOrder:
    """Return the edges between overlapping objects; those of a cycle, or onto what is seen whole, are left out."""
    numbers, masks = list(instances), [instance.amodal_mask for instance in instances.values()]
    place = np.full(1 + max([*numbers, *content.in_front.ravel().tolist()], default=0), -1)
    place[numbers] = np.arange(len(numbers))
    front, back = place[content.in_front].T
    stated = np.zeros((len(numbers), len(numbers)), bool)
    known = (front >= 0) & (back >= 0)
    stated[front[known], back[known]] = True
    overlap, _, _ = pairwise_areas(masks, masks, stated)
    places = {region.number: region.place for region in content.regions}

    def leave_out(edges: np.ndarray, cause: str) -> None:
        for i, k in np.argwhere(edges):
            repairs.note(cause, f"{places[numbers[i]]}, in front of region {numbers[k]}")
        overlap[edges] = 0

    is_whole = np.array([instance.occlusion_level == 0 for instance in instances.values()], bool)
    leave_out((overlap > 0) & is_whole, "occlusion orders onto objects without a hidden pixel, left out")
    if numbers:
        _, component = connected_components(csr_array(overlap > 0), directed=True, connection="strong")
        in_cycle = (overlap > 0) & (component[:, None] == component)
        leave_out(in_cycle, "occlusion orders that form a cycle, left out")
    return order_of(np.array([instance.instance_id for instance in instances.values()], np.uint32), overlap)


def _set_levels(instances: Mapping[int, Instance], order: OcclusionOrder) -> None:
    """Set the level of every instance to the longest chain of objects in front of it.

    What is occluded by nothing that is known has something unknown in front of it, and so is on level 1.
    """
    place = {instance.instance_id: i for i, instance in enumerate(instances.values())}
    unknown = len(place)
    occludes = np.zeros((unknown + 1, unknown + 1), bool)
    occludes[[place[int(a)] for a in order.occluder_ids], [place[int(b)] for b in order.occludee_ids]] = True
    occludes[unknown, :unknown] = [instance.occlusion_level > 0 for instance in instances.values()]
    for instance, level in zip(instances.values(), occlusion_levels(occludes)):
        instance.occlusion_level = int(level)


def _picture_path(folder: Path, image: CocoImage) -> Path | None:
    paths = (folder / image.file_name, folder / Path(image.file_name).name)
    return next((path for path in paths if is_file(path)), None)


def _picture(folder: Path, image: CocoImage) -> np.ndarray:
    """Return the (height, width, 3) uint8 RGB picture; a smaller file is padded with black right and below."""
    path = _picture_path(folder, image)
    if path is None:
        place = folder / image.file_name
        raise DatasetError(f"{place}: no such picture; give the folder that '{image.file_name}' is in")
    picture = codecs.read_image(path)
    rows, columns = picture.shape[:2]
    if rows > image.height or columns > image.width:
        raise DatasetError(f"{path}: {columns} x {rows} pixels, but annotated are {image.width} x {image.height}")
    return np.pad(picture, ((0, image.height - rows), (0, image.width - columns), (0, 0)))

"""Folders of `_ampano.png` + `_ampano.json` files: KITTI-360-APS, BDD100K-APS and data sets of own classes.

The form of the files is in `amodal_segments`; Mohan and Valada, "Amodal panoptic segmentation", CVPR 2022, section 4,
describes the data sets. How the folders below the root are laid out is free.
"""

from __future__ import annotations

import hashlib
import json
import os
import string
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.amodal_segments import SegmentReader
from amodal_perception_ros.datasets.annotated import CAMERA, NOMINAL_PERIOD_NS, AnnotatedSequence, Prediction
from amodal_perception_ros.datasets.files import DatasetError, is_file, is_folder, read_json
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import ClassList
from amodal_perception_ros.scene import Camera, CameraScene, Rig, Sample, SurroundFrame, SurroundScene

CLASS_FILE = "classes.json"
"""Own classes of a data set, in its folder: {"name": str, "stuff": {id: name}, "things": {id: name}}."""

MAX_CLASS_ID = 64
"""Largest class id of which 999 things fit into 16 bits."""

_STUFF = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
}

KITTI_360_APS = ClassList.of(
    "KITTI-360-APS",
    _STUFF,
    {24: "pedestrian", 25: "cyclist", 26: "car", 27: "truck", 28: "other vehicle", 31: "van", 32: "two-wheeler"},
)
"""10 stuff and 7 thing classes; the ids are those of Cityscapes at the same places, an assumption."""

BDD100K_APS = ClassList.of(
    "BDD100K-APS",
    _STUFF,
    {24: "pedestrian", 25: "rider", 26: "car", 27: "truck", 28: "bus", 33: "bicycle"},
)
"""10 stuff and 6 thing classes; the ids are Cityscapes', an assumption."""

_PNG, _JSON, _LEVELS = "_ampano.png", "_ampano.json", "_rel.json"
_PICTURES = (".png", ".jpg", ".jpeg", "_rgb.png", "_rgb.jpg", "_leftImg8bit.png")
_MISSING = ("calibration", "stamps", "odometry", "depth", "lidar", "boxes", "bev", "flow", "motion", "imu", "gnss")


class PanopticSequence:
    """The images of one drive, or a single image, with their amodal panoptic labels (an `AnnotatedSequence`).

    Args:
        root: folder of the data set.
        name: see `AnnotatedSequence`.
        images: names of the images: path of their files relative to the root, without `_ampano.png`.
        classes: what class ids mean.
        pictures: folder of the pictures, laid out as the labels; None where they lie beside the labels or nowhere.
        parts: what samples hold: "truth", "images".

    Attributes:
        root, images: as given.
        name, classes, missing, repairs, info: see `AnnotatedSequence`. The stamps are made up, one every 0.1 s.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        images: list[str],
        classes: ClassList,
        pictures: Path | None = None,
        parts: Collection[str] = ("images", "truth"),
    ) -> None:
        self.name, self.images, self.classes = name, images, classes
        self.repairs, self.info = CauseCount(), dict[str, Any]()
        self.root, self._pictures, self._parts = root, pictures or root, frozenset(parts)
        self._labels = SegmentReader(classes, self.repairs)
        lacking = [*_MISSING]
        if not is_file(_file(root, images[0], _LEVELS)):
            lacking.append("levels")
        if self._picture_path(images[0]) is None:
            if pictures is not None:
                raise DatasetError(f"{pictures / images[0]}: no such picture, with any of {', '.join(_PICTURES)}")
            lacking.append("images")
        self.missing = tuple(lacking)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Return a frame; raises DatasetError naming the file that is missing or wrong."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of sequence '{self.name}', which has {len(self)}")
        index %= len(self)
        image, stamp_ns = self.images[index], index * NOMINAL_PERIOD_NS
        height, width = codecs.png_size(_file(self.root, image, _PNG))
        camera = Camera.uncalibrated(CAMERA, width, height)
        cameras = {}
        if "truth" in self._parts:
            cameras[CAMERA] = read_image(self._labels, self.root, image, camera, stamp_ns)
        pictures = self._picture(image, camera) if "images" in self._parts and "images" not in self.missing else {}
        stamps = dict.fromkeys(pictures, stamp_ns)
        frame = SurroundFrame(stamp_ns, Rig((camera,)), pictures, stamps)
        return Sample(self.name, index, frame, SurroundScene(stamp_ns, cameras, "ground truth"))

    def fingerprint(self) -> str:
        """Return a hexadecimal digest of the classes and of the names and sizes of the files."""
        paths = [_file(self.root, image, suffix) for image in self.images for suffix in (_PNG, _JSON)]
        paths += [path for path in map(self._picture_path, self.images) if path is not None]
        sizes = [path.stat().st_size if is_file(path) else None for path in paths]
        facts = [self.images, sizes, [(label.id, label.name, label.is_thing) for label in self.classes.labels]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def check(self) -> None:
        """Look at the label files without decoding them; raises DatasetError naming the one that is missing or cut."""
        if "truth" in self._parts:
            for image in self.images:
                codecs.check_complete(_file(self.root, image, _PNG))
                codecs.check_complete(_file(self.root, image, _JSON))

    def _picture_path(self, image: str) -> Path | None:
        paths = (_file(self._pictures, image, suffix) for suffix in _PICTURES)
        return next((path for path in paths if is_file(path)), None)

    def _picture(self, image: str, camera: Camera) -> dict[str, np.ndarray]:
        path = self._picture_path(image)
        if path is None:
            raise DatasetError(f"{self._pictures / image}: no such picture, with any of {', '.join(_PICTURES)}")
        picture = codecs.read_image(path)
        if picture.shape[:2] != (camera.height, camera.width):
            size = f"{picture.shape[1]} x {picture.shape[0]}"
            raise DatasetError(f"{path}: {size} pixels, but its labels have {camera.width} x {camera.height}")
        return {CAMERA: picture}


class PanopticPredictions:
    """Predictions as files of the same relative paths as the truth's (a `PredictionReader`).

    Args:
        path: folder of the predictions.
        truth: sequences that they are for.

    Attributes:
        repairs, unknown: see `PredictionReader`.

    Raises:
        DatasetError: the folder holds no predictions.
    """

    def __init__(self, path: Path, truth: Sequence[AnnotatedSequence]) -> None:
        self._path, self.repairs = path, CauseCount()
        self._images = {s.name: s.images for s in truth if isinstance(s, PanopticSequence)}
        self._readers = {s.name: SegmentReader(s.classes, self.repairs, predicted=True) for s in truth}
        known = {image for images in self._images.values() for image in images}
        roots = {s.root for s in truth if isinstance(s, PanopticSequence)}
        self.unknown = CauseCount()
        for image in find_images(path):
            if image not in known:
                is_there = any(is_file(_file(root, image, suffix)) for root in roots for suffix in (_PNG, _JSON))
                self.unknown.note("skipped_frame" if is_there else "unknown_frame", image)

    def read(self, sample: Sample) -> Prediction:
        """Return the prediction for a frame; raises DatasetError naming the file that is missing or wrong."""
        image = self._images[sample.sequence][sample.index]
        camera = sample.frame.rig.camera(CAMERA)
        scene = read_image(self._readers[sample.sequence], self._path, image, camera, sample.frame.stamp_ns)
        return Prediction({CAMERA: scene})


def read_image(reader: SegmentReader, root: Path, image: str, camera: Camera, stamp_ns: int) -> CameraScene:
    """Return the scene of one image: no depth, the order that the labels show, levels by it or by a `_rel.json`.

    Raises:
        DatasetError: a file is missing, damaged or of another size than the camera's; the message names it.
    """
    shape = (camera.height, camera.width)
    content = reader.read(_file(root, image, _PNG), _file(root, image, _JSON), shape)
    order, levels = content.visible_order()
    relations = _file(root, image, _LEVELS)
    if is_file(relations):
        levels |= content.stated_levels(relations, reader.repairs)
    instances = [segment.instance(levels[segment.id]) for segment in content.segments]
    depth = np.full(shape, np.nan, np.float32)
    return CameraScene(camera, stamp_ns, content.labels, depth, instances, order, reader.classes)


def read_drives(path: Path, images: Path | None, parts: Collection[str], classes: ClassList) -> list[PanopticSequence]:
    """Return the images of a folder as drives: those whose paths differ in the number at the end only, in its order.

    A drive is named by that path without a separator at its end, where no other drive has that name.

    Args:
        path: folder of the labels.
        images: folder of the pictures, laid out as the labels; None where they lie beside them.
        parts: "truth", "images".
        classes: used where the folder has no `CLASS_FILE`.

    Raises:
        DatasetError: there are no labels, or a first picture is missing.
    """
    drives: dict[str, list[str]] = {}
    for image in find_images(path):
        drives.setdefault(image.rstrip(string.digits), []).append(image)
    short = {start: start.rstrip("/_-") or path.resolve().name for start in drives}
    taken = Counter(short.values())
    classes, sequences = classes_of(path) or classes, []
    for start, files in drives.items():
        name = short[start] if taken[short[start]] == 1 else start or "."
        files.sort(key=lambda image: (int(image[len(start) :] or 0), image))
        sequences.append(PanopticSequence(path, name, files, classes, images, parts))
    return sequences


def read_images(
    path: Path, images: Path | None, parts: Collection[str], classes: ClassList | None
) -> list[PanopticSequence]:
    """Return every image of a folder as a sequence of its own; see `read_drives`.

    Raises:
        DatasetError: there are no labels, no classes are known, or a picture is missing.
    """
    classes = classes_of(path) or classes
    if classes is None:
        raise DatasetError(f"{path / CLASS_FILE}: no such file; it names the classes of the labels in this folder")
    return [PanopticSequence(path, image, [image], classes, images, parts) for image in find_images(path)]


def holds_labels(path: Path) -> bool:
    """Return whether there is a label image below a folder."""
    return is_folder(path) and next(_label_files(path), None) is not None


def holds_own_classes(path: Path) -> bool:
    """Return whether a folder holds labels and names their classes."""
    return is_file(path / CLASS_FILE) and holds_labels(path)


def find_images(path: Path) -> list[str]:
    """Return the names of the labelled images below a folder, sorted; raises DatasetError where there is none."""
    if not is_folder(path):
        raise DatasetError(f"{path}: no such folder")
    names = set(_label_files(path))
    if not names:
        raise DatasetError(f"{path}: holds no *{_PNG} with *{_JSON}")
    return sorted(names)


def classes_of(path: Path) -> ClassList | None:
    """Return the classes of a folder's `CLASS_FILE`, None where it has none; raises DatasetError naming the file."""
    file = path / CLASS_FILE
    if not is_file(file):
        return None
    content = read_json(file)
    try:
        stuff, things = (_names(content[kind]) for kind in ("stuff", "things"))
        classes = ClassList.of(str(content["name"]), stuff, things)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f'{file}: not {{"name": str, "stuff": {{id: name}}, "things": {{id: name}}}} ({error!r})'
        ) from error
    wrong = [label.id for label in classes.labels if not 0 < label.id <= MAX_CLASS_ID]
    if wrong:
        raise DatasetError(f"{file}: class ids are 1..{MAX_CLASS_ID}, got {wrong}")
    return classes


def _names(content: Mapping[str, str]) -> dict[int, str]:
    return {int(class_id): str(name) for class_id, name in content.items()}


def _label_files(path: Path) -> Iterator[str]:
    """Yield the names of the images below a folder that have a PNG or JSON of labels, once or twice."""
    for file in _files_below(path):
        for suffix in (_PNG, _JSON):
            if file.name.endswith(suffix):
                yield file.relative_to(path).as_posix().removesuffix(suffix)


def _files_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder; links to folders are followed, but not back to one of those above."""
    place = os.path.realpath(folder)
    if place in above:
        return
    try:
        with os.scandir(folder) as found:
            entries = [(Path(entry.path), entry.is_dir()) for entry in found]
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: cannot be read ({error.strerror})") from error
    for path, is_dir in entries:
        if is_dir:
            yield from _files_below(path, (*above, place))
        else:
            yield path


def _file(root: Path, image: str, suffix: str) -> Path:
    return root / f"{image}{suffix}"

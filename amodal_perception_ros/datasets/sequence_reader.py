"""Reads annotated sequences, ours and AmodalSynthDrive's; only what is asked for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.annotated import NOMINAL_PERIOD_NS
from amodal_perception_ros.datasets.annotation import SceneReader
from amodal_perception_ros.datasets.files import DatasetError, entries, is_file, is_folder, read_json
from amodal_perception_ros.datasets.sequence_json import (
    bev_from_json,
    frame_from_json,
    gnss_from_json,
    imu_from_json,
    moving_from_json,
    object_from_json,
    rig_from_json,
    rig_to_json,
    unknown_frame,
)
from amodal_perception_ros.datasets.sequence_layout import BEV_CAMERA, Layout
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE
from amodal_perception_ros.scene import (
    AmodalObject,
    BevOccupancy,
    Camera,
    CameraScene,
    Rig,
    Sample,
    SurroundFrame,
    SurroundScene,
)

PARTS = ("images", "truth", "lidar", "boxes", "bev", "bev_image", "flow")
"""What a `SequenceReader` can read or leave out."""

_PIECES = (
    "images",
    "calibration",
    "stamps",
    "odometry",
    "depth",
    "levels",
    "lidar",
    "point_segments",
    "point_rings",
    "boxes",
    "bev",
    "bev_image",
    "bev_labels",
    "flow",
    "motion",
    "imu",
    "gnss",
)
_CAMERA_ORDER = ("front", "right", "back", "left")
_PUBLISHED_NAME = re.compile(r"\d{14}_(?P<weather>[A-Za-z]+)_(?P<layout>Town\w+)")


class SequenceReader:
    """One sequence as a list of samples: `reader[i]`, `len(reader)`, iteration.

    `reader[i]` reads the files of `parts` only; other parts of the sample are empty or None. Stamps, odometry, IMU,
    GNSS and the moving things are always there.

    Args:
        base: folder of the data set or split.
        name: name of the sequence.
        rig: calibration instead of the stored one.
        parts: any of `PARTS`.
        predicted: whether a program made the annotations. Depth is then read from sequences without a description too
            (docs/data-format.md is what such a program followed; the encoding of published depth is unknown), and
            nothing is taken to be as `SequenceWriter` writes it.
        repairs: count of corrections to add to; None starts one.

    Attributes:
        name: name of the sequence.
        missing: pieces that the sequence lacks (the public data set has no calibration, for example): any of
            "images", "calibration", "stamps", "odometry", "depth", "levels", "lidar", "point_segments", "point_rings",
            "boxes", "bev", "bev_image", "bev_labels", "flow", "motion", "imu", "gnss". Samples then hold the value for
            unknown there (NaN depth and camera matrices, level 1 for occluded things, None, empty lists, stamps at
            10 Hz); `require` raises instead. Other readers may lack "segments" too, the segmentation of every pixel.
        repairs: what was corrected or dropped while reading, by cause.
        classes: AmodalSynthDrive's.
        base: folder of the data set or split.
        info: what is recorded of the making; of AmodalSynthDrive weather and town, which its names hold.
        rig: calibration of the sequence; uncalibrated cameras of the size of the label images where it has none.
        numbers: number of every frame in the names of its files.
        cameras: names of the cameras that have pictures or labels; `rig` may lack some.

    Raises:
        DatasetError: the description of the sequence cannot be read.
        ValueError: an unknown part.
    """

    def __init__(
        self,
        base: Path,
        name: str,
        rig: Rig | None = None,
        parts: Collection[str] = PARTS,
        predicted: bool = False,
        repairs: CauseCount | None = None,
    ) -> None:
        if not set(parts) <= set(PARTS):
            raise ValueError(f"unknown parts {sorted(set(parts) - set(PARTS))}; known are {PARTS}")
        self.name, self.classes, self._parts = name, AMODAL_SYNTH_DRIVE, frozenset(parts)
        self.repairs = CauseCount() if repairs is None else repairs
        self.info: dict[str, Any] = {}
        self.base, self._layout, self._has_own_rig = base, Layout(base, name), rig is None
        self.cameras = self._find_cameras()
        ours = is_file(self._layout.marker())
        if ours:
            pieces = self._read_marker(self._layout.marker(), rig)
        else:
            self.numbers = self._find_frames()
            self.rig = rig or self._uncalibrated_rig()
            pieces = self._find_pieces(predicted) | ({"calibration"} if rig else set())
            if match := _PUBLISHED_NAME.fullmatch(name):
                self.info = {"resolved": match.groupdict()}
        if any(is_folder(self._layout.image(camera, 0).parent) for camera in self.cameras):
            pieces.add("images")
        self.missing = tuple(piece for piece in _PIECES if piece not in pieces)
        self._scenes = SceneReader(
            self._layout,
            has_depth="depth" not in self.missing,
            has_levels="levels" not in self.missing,
            ours=ours,
            predicted=predicted,
            repairs=self.repairs,
        )

    def require(self, *pieces: str) -> None:
        """Raise DatasetError naming those of the pieces (see `missing`) that the sequence lacks."""
        lacking = [piece for piece in pieces if piece in self.missing]
        if lacking:
            hint = "; give the calibration as `rig`" if "calibration" in lacking else ""
            raise DatasetError(f"sequence '{self.name}' in {self._layout.base} has no {', '.join(lacking)}{hint}")

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        index = self._checked(index)
        number, content, path = self.numbers[index], self._frame_content(index), self._frame_path(index)
        parts = self._parts
        sweep = self._sweep(index, content) if "lidar" in parts else None
        above = "bev_image" in parts
        bev_image, bev_labels = self._layout.image(BEV_CAMERA, number), self._layout.bev_labels(number)
        return Sample(
            sequence=self.name,
            index=index,
            frame=self._frame(index, content, sweep, "images" in parts),
            truth=self._truth(number, content, "truth" in parts),
            objects=self.objects(index) if "boxes" in parts else [],
            bev=self._bev(number, content) if "bev" in parts else None,
            moving=moving_from_json(path, content["moving"]),
            flow={name: self.flow(index, name) for name in content["flow"]} if "flow" in parts else {},
            point_segments=None if sweep is None else sweep.segments,
            point_rings=None if sweep is None else sweep.rings,
            bev_image=codecs.read_image(bev_image) if above and content["bev_image"] else None,
            bev_labels=codecs.read_labels(bev_labels) if above and content["bev_labels"] else None,
            imu=imu_from_json(path, content["imu"]),
            gnss=gnss_from_json(path, content["gnss"]),
        )

    def image(self, index: int, camera: str) -> np.ndarray:
        """Return one (H, W, 3) uint8 RGB image."""
        path, size = self.image_path(index, camera), self.rig.camera(camera)
        image = codecs.read_image(path)
        if image.shape[:2] != (size.height, size.width):
            raise DatasetError(f"{path}: {image.shape[1]} x {image.shape[0]}, calibrated {size.width} x {size.height}")
        return image

    def image_path(self, index: int, camera: str) -> Path:
        """Return the JPEG file of one image."""
        return self._layout.image(camera, self.numbers[self._checked(index)])

    def scene(self, index: int, camera: str, with_depth: bool = True) -> CameraScene:
        """Return the truth of one camera without reading the rest of the frame; all depth is NaN if not asked for."""
        index = self._checked(index)
        stamps = self._frame_content(index)["truth_stamps_ns"]
        if camera not in stamps:
            raise DatasetError(f"frame {index} of sequence '{self.name}' has no truth of camera '{camera}'")
        return self._scenes.read(self.numbers[index], self.rig.camera(camera), stamps[camera], with_depth)

    def lidar(self, index: int) -> np.ndarray | None:
        """Return the (N, 4) float32 sweep, or None where the frame has none."""
        index = self._checked(index)
        sweep = self._sweep(index, self._frame_content(index))
        return None if sweep is None else sweep.points

    def flow(self, index: int, camera: str) -> np.ndarray:
        """Return the (H, W, 2) float32 forward optical flow (right, down) [px] of one image, NaN where unknown."""
        size = self.rig.camera(camera)
        return codecs.read_flow(
            self._layout.flow(camera, self.numbers[self._checked(index)]), (size.height, size.width)
        )

    def objects(self, index: int) -> list[AmodalObject]:
        """Return the 3-D boxes of a frame."""
        if "boxes" in self.missing:
            return []
        path = self._layout.boxes(self.numbers[self._checked(index)])
        content = read_json(path)
        try:
            return [object_from_json(item) for item in content]
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: not a list of 3-D boxes ({error!r})") from error

    def size_bytes(self) -> int:
        """Return the size of the sequence's files on disk."""
        folders = [self._layout.base / f for f in self._layout.folders([c.name for c in self.rig.cameras])]
        return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())

    def fingerprint(self) -> str:
        """Return a hexadecimal digest that tells the sequence from others of its name without reading its files.

        It covers calibration, frames, what is recorded of its making, and the sizes of pictures and annotations.
        """
        layout = self._layout
        paths = [
            path(camera.name, number)
            for number in self.numbers
            for camera in self.rig.cameras
            for path in (layout.image, layout.labels, layout.masks)
        ]
        sizes = [path.stat().st_size if path.is_file() else None for path in paths]
        facts = [rig_to_json(self.rig), self.numbers, self.info, sizes]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """Look at every file of the chosen parts without decoding it.

        Raises:
            DatasetError: a file is missing or truncated, or a description is wrong; the message names it.
        """
        for index in range(len(self)):
            for path in self._files(index):
                codecs.check_complete(path)

    def _files(self, index: int) -> Iterator[Path]:
        """Yield the files of the chosen parts that a frame must have."""
        layout, number, content = self._layout, self.numbers[index], self._frame_content(index)
        if "images" in self._parts:
            yield from (layout.image(camera, number) for camera in content["image_stamps_ns"])
        if "truth" in self._parts:
            for camera in content["truth_stamps_ns"]:
                yield from self._scenes.files(number, camera)
        if "flow" in self._parts:
            yield from (layout.flow(camera, number) for camera in content["flow"])
        single = [
            ("lidar", layout.lidar(number), content["lidar"]),
            ("boxes", layout.boxes(number), "boxes" not in self.missing),
            ("bev", layout.bev(number), content["bev"] is not None),
            ("bev_image", layout.image(BEV_CAMERA, number), content["bev_image"]),
            ("bev_image", layout.bev_labels(number), content["bev_labels"]),
        ]
        yield from (path for part, path, there in single if there and part in self._parts)

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of sequence '{self.name}', which has {len(self)}")
        return index % len(self)

    def _read_marker(self, marker: Path, rig: Rig | None) -> set[str]:
        """Take over the sequence's description; returns the pieces that it lists."""
        content = read_json(marker)
        try:
            self.numbers = list(range(int(content["frames"])))
            self.rig = rig_from_json(marker, content["rig"]) if rig is None else rig
            self.info, pieces = content["info"], content["pieces"]
            if not isinstance(self.info, dict) or not isinstance(pieces, list) or not set(pieces) <= set(_PIECES):
                raise ValueError("'info' is a map, 'pieces' a list of names")
            return set(pieces)
        except DatasetError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{marker}: not a sequence description ({error!r})") from error

    def _find_cameras(self) -> list[str]:
        kinds = [self._layout.base / kind for kind in ("images", "amodal_panoptic_seg")]
        cameras = [camera for kind in kinds if is_folder(kind) for camera in entries(kind)]
        found = {camera.name for camera in cameras if (camera / self.name).exists()}
        found.discard(BEV_CAMERA)
        return [c for c in _CAMERA_ORDER if c in found] + sorted(found - set(_CAMERA_ORDER))

    def _find_frames(self) -> list[int]:
        """Return the numbers of the frames of a public sequence, of whichever camera and kind of file."""
        pattern = re.compile(r"_full_(\d+)_(?:rgb\.jpg|ampano\.png|ampano\.json)$")
        folders = [
            path(camera, 0).parent for camera in self.cameras for path in (self._layout.image, self._layout.masks)
        ]
        files = [path for folder in folders if is_folder(folder) for path in entries(folder)]
        numbers = {int(match.group(1)) for path in files if (match := pattern.search(path.name))}
        if not numbers:
            raise DatasetError(
                f"{self._layout.base}: sequence '{self.name}' has no frames: *_ampano.png in "
                f"amodal_panoptic_seg/CAMERA/{self.name} or *_rgb.jpg in images/CAMERA/{self.name}"
            )
        return sorted(numbers)

    def _uncalibrated_rig(self) -> Rig:
        """Return cameras of the size of the first label images."""
        first = self.numbers[0]
        sizes = {camera: codecs.png_size(self._layout.labels(camera, first)) for camera in self.cameras}
        return Rig(tuple(Camera.uncalibrated(camera, width, height) for camera, (height, width) in sizes.items()))

    def _find_pieces(self, predicted: bool) -> set[str]:
        """Return the pieces of a public sequence: those of which any image has a file."""
        layout = self._layout
        images = [(camera, number) for camera in self.cameras for number in self.numbers]
        paths = {"levels": layout.levels, "flow": layout.flow} | ({"depth": layout.depth} if predicted else {})
        pieces = {piece for piece, path in paths.items() if any(path(*image).is_file() for image in images)}
        has_bev_image = any(layout.image(BEV_CAMERA, number).is_file() for number in self.numbers)
        return pieces | ({"bev_image"} if has_bev_image else set())

    def _frame_path(self, index: int) -> Path:
        return self._layout.frame(self.numbers[index])

    def _frame_content(self, index: int) -> dict[str, Any]:
        """Return the description of a frame, of the rig's cameras only."""
        path = self._frame_path(index)
        if "stamps" not in self.missing:
            content = frame_from_json(path, read_json(path))
        else:
            number = self.numbers[index]
            content = unknown_frame(self.cameras, index * NOMINAL_PERIOD_NS, "images" not in self.missing)
            content["flow"] = [name for name in self.cameras if self._layout.flow(name, number).is_file()]
            content["bev_image"] = self._layout.image(BEV_CAMERA, number).is_file()
        return content | self._of_rig(path, content, self.rig)

    def _of_rig(self, path: Path, content: dict[str, Any], rig: Rig) -> dict[str, Any]:
        """Leave out cameras that a given rig lacks; the stored one must have all."""
        known, stamps = {camera.name for camera in rig.cameras}, ("image_stamps_ns", "truth_stamps_ns")
        for key in (*stamps, "flow"):
            if self._has_own_rig and not known.issuperset(content[key]):
                raise DatasetError(
                    f"{path}: '{key}' has cameras {sorted(set(content[key]) - known)} that the rig lacks"
                )
        maps = {key: {name: stamp for name, stamp in content[key].items() if name in known} for key in stamps}
        return maps | {"flow": [name for name in content["flow"] if name in known]}

    def _frame(
        self, index: int, content: dict[str, Any], sweep: codecs.Sweep | None, with_images: bool
    ) -> SurroundFrame:
        stamps, odometry = content["image_stamps_ns"], content["odom_from_base"]
        names = [camera.name for camera in self.rig.cameras if camera.name in stamps]
        return SurroundFrame(
            stamp_ns=content["stamp_ns"],
            rig=self.rig,
            images={name: self.image(index, name) for name in names} if with_images else {},
            image_stamps_ns=stamps,
            lidar=None if sweep is None else sweep.points,
            lidar_stamp_ns=content["lidar_stamp_ns"],
            odom_from_base=None if odometry is None else np.array(odometry, np.float64),
            missing=tuple(content["missing"]),
            odom_stamp_ns=content.get("odom_stamp_ns"),
        )

    def _truth(self, number: int, content: dict[str, Any], wanted: bool) -> SurroundScene:
        stamps = content["truth_stamps_ns"] if wanted else {}
        cameras = [camera for camera in self.rig.cameras if camera.name in stamps]
        scenes = {camera.name: self._scenes.read(number, camera, stamps[camera.name]) for camera in cameras}
        return SurroundScene(content["stamp_ns"], scenes, content["model_id"])

    def _sweep(self, index: int, content: dict[str, Any]) -> codecs.Sweep | None:
        return codecs.read_lidar(self._layout.lidar(self.numbers[index])) if content["lidar"] else None

    def _bev(self, number: int, content: dict[str, Any]) -> BevOccupancy | None:
        if content["bev"] is None:
            return None
        return bev_from_json(self._layout.frame(number), content["bev"], codecs.read_bev(self._layout.bev(number)))

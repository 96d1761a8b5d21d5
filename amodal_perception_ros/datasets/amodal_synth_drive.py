"""Annotated sequences on disk in the layout of AmodalSynthDrive, extended by what its description leaves open.

The tree, file names and encodings are in docs/data-format.md. Names and encodings of images, panoptic labels,
amodal masks and levels follow the public loaders of AmodalSynthDrive (Sekkat et al., 2024), so the real data set
is read as it is; depth, calibration, odometry, LiDAR, boxes and BEV are this project's and documented as such.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.annotation import SceneReader, write_scene
from amodal_perception_ros.datasets.codecs import DatasetError
from amodal_perception_ros.datasets.sequence_layout import (
    SPLITS,
    Layout,
    object_from_json,
    object_to_json,
    rig_from_json,
    rig_to_json,
)
from amodal_perception_ros.scene import (
    AmodalObject,
    BevOccupancy,
    CameraScene,
    Rig,
    Sample,
    Source,
    SourceStatus,
    SurroundFrame,
    SurroundScene,
)

__all__ = ["DatasetError", "SequenceReader", "SequenceWriter", "read_sequence", "read_sequences"]

_CAMERA_ORDER = ("front", "right", "back", "left")
_NOMINAL_PERIOD_NS = 100_000_000
_FRAME_KEYS = {
    "stamp_ns",
    "image_stamps_ns",
    "truth_stamps_ns",
    "lidar_stamp_ns",
    "odom_from_base",
    "missing",
    "model_id",
    "lidar",
}


class SequenceWriter:
    """Writes the samples of one sequence; use it as a context manager.

    Files go to a hidden folder beside the tree; leaving the context moves them into place and writes
    `sequences/NAME.json` last. A sequence without that file does not exist for the reader, so an interrupted
    or failed run leaves nothing half-written behind.

    Args:
        root: folder of the data set; made when missing.
        split: "train", "val" or "test", which becomes a folder below the root; None for none.
        jpeg_quality: quality of the images, 1..100.
        info: JSON-able facts about the sequence (seed, generator settings) kept in `sequences/NAME.json`.

    Raises:
        DatasetError: a finished sequence of that name exists.
        ValueError: samples of several sequences or out of order.
    """

    def __init__(
        self,
        root: Path | str,
        split: str | None = None,
        jpeg_quality: int = 95,
        info: dict[str, Any] | None = None,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got '{split}'")
        self._base = Path(root) / split if split else Path(root)
        self._quality, self._info = jpeg_quality, dict(info or {})
        self._partial: Layout | None = None
        self._rig: Rig | None = None
        self._frames = 0

    def __enter__(self) -> SequenceWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, sample: Sample) -> None:
        """Write the next frame; `sample.index` must count from 0."""
        if self._partial is None:
            self._begin(sample)
        layout = self._partial
        assert layout is not None
        if sample.sequence != layout.sequence or sample.index != self._frames:
            raise ValueError(
                f"expected frame {self._frames} of sequence '{layout.sequence}', "
                f"got frame {sample.index} of '{sample.sequence}'"
            )
        for name, image in sample.frame.images.items():
            codecs.write_image(layout.image(name, sample.index), image, self._quality)
        for name, scene in sample.truth.cameras.items():
            write_scene(layout, name, sample.index, scene)
        _write_frame(layout, sample)
        self._frames += 1

    def close(self) -> None:
        """Move the sequence into place; without a written frame this does nothing."""
        if self._partial is None or self._rig is None:
            return
        layout, cameras = Layout(self._base, self._partial.sequence), [c.name for c in self._rig.cameras]
        for folder in layout.folders(cameras):
            target = self._base / folder
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._partial.base / folder, target)
        marker = layout.marker()
        marker.parent.mkdir(parents=True, exist_ok=True)
        draft = self._partial.base / marker.name
        content = {"name": layout.sequence, "frames": self._frames, "rig": rig_to_json(self._rig), "info": self._info}
        codecs.write_json(draft, content)
        os.replace(draft, marker)
        self.abort()

    def abort(self) -> None:
        """Remove what was written so far."""
        if self._partial is not None:
            shutil.rmtree(self._partial.base, ignore_errors=True)
            # Other processes may still write there; the last one removes the common folder.
            with suppress(OSError):
                self._partial.base.parent.rmdir()
        self._partial = None

    def _begin(self, sample: Sample) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_\-]+", sample.sequence):
            raise ValueError(f"sequence name '{sample.sequence}' may hold letters, digits, _ and - only")
        marker = Layout(self._base, sample.sequence).marker()
        if marker.exists():
            raise DatasetError(f"{marker}: the sequence exists already; delete this file to write it again")
        partial = self._base / ".partial" / sample.sequence
        shutil.rmtree(partial, ignore_errors=True)
        self._partial, self._rig = Layout(partial, sample.sequence), sample.frame.rig
        for folder in self._partial.folders([c.name for c in self._rig.cameras]):
            (partial / folder).mkdir(parents=True)


def _write_frame(layout: Layout, sample: Sample) -> None:
    frame, index = sample.frame, sample.index
    content: dict[str, Any] = {
        "stamp_ns": frame.stamp_ns,
        "image_stamps_ns": {name: frame.image_stamps_ns.get(name, frame.stamp_ns) for name in frame.images},
        "truth_stamps_ns": {name: scene.stamp_ns for name, scene in sample.truth.cameras.items()},
        "lidar_stamp_ns": frame.lidar_stamp_ns,
        "odom_from_base": None if frame.odom_from_base is None else frame.odom_from_base.tolist(),
        "missing": list(frame.missing),
        "model_id": sample.truth.model_id,
        "lidar": frame.lidar is not None,
    }
    if frame.lidar is not None:
        codecs.write_lidar(layout.lidar(index), frame.lidar)
    if sample.bev is not None:
        bev = sample.bev
        codecs.write_bev(layout.bev(index), bev.visible, bev.amodal, bev.semantic, bev.evidence)
        content["bev"] = {
            "stamp_ns": bev.stamp_ns,
            "resolution": bev.resolution,
            "origin": [float(v) for v in bev.origin],
            "z_min": bev.z_min,
            "z_max": bev.z_max,
            "sources": [{"name": s.name, "status": s.status.name, "age_ns": s.age_ns} for s in bev.sources],
        }
    codecs.write_json(layout.frame(index), content)
    codecs.write_json(layout.boxes(index), [object_to_json(o) for o in sample.objects])


class SequenceReader:
    """One sequence as a list of samples: `reader[i]`, `len(reader)`, iteration.

    Attributes:
        name: name of the sequence.
        missing: pieces that the sequence lacks (the public data set has no calibration, for example): any of
            "calibration", "stamps", "odometry", "depth", "levels", "lidar", "boxes", "bev". Samples then hold the
            value for unknown there (NaN depth, level 1 for occluded things, None, empty lists, stamps at 10 Hz);
            `require` raises instead.
        repairs: what was corrected or dropped while reading, by cause.
    """

    def __init__(self, base: Path, name: str, rig: Rig | None = None) -> None:
        self.name, self.repairs = name, Counter[str]()
        self.info: dict[str, Any] = {}
        self._layout, self._rig = Layout(base, name), rig
        marker = self._layout.marker()
        if marker.is_file():
            content = codecs.read_json(marker)
            try:
                self._numbers = list(range(int(content["frames"])))
                self._rig = rig_from_json(marker, content["rig"]) if rig is None else rig
                self.info = dict(content.get("info", {}))
            except (KeyError, TypeError) as error:
                raise DatasetError(f"{marker}: not a sequence description ({error!r})") from error
        else:
            self._numbers = self._find_frames()
        self.missing = self._find_missing()
        self._scenes = SceneReader(
            self._layout,
            has_depth="depth" not in self.missing,
            has_levels="levels" not in self.missing,
            trusted=marker.is_file(),
            repairs=self.repairs,
        )

    @property
    def rig(self) -> Rig:
        """Calibration of the sequence; raises DatasetError where the data set has none."""
        if self._rig is None:
            self.require("calibration")
        assert self._rig is not None
        return self._rig

    def require(self, *pieces: str) -> None:
        """Raise DatasetError naming those of the pieces (see `missing`) that the sequence lacks."""
        lacking = [piece for piece in pieces if piece in self.missing]
        if lacking:
            hint = "; give the calibration as `rig`" if "calibration" in lacking else ""
            raise DatasetError(f"sequence '{self.name}' in {self._layout.base} has no {', '.join(lacking)}{hint}")

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        index = self._checked(index)
        content = self._frame_content(index)
        images, scenes = {}, {}
        for camera in self.rig.cameras:
            if camera.name in content["image_stamps_ns"]:
                images[camera.name] = self.image(index, camera.name)
            if camera.name in content["truth_stamps_ns"]:
                scenes[camera.name] = self._scenes.read(
                    self._numbers[index], camera, content["truth_stamps_ns"][camera.name]
                )
        odometry = content["odom_from_base"]
        frame = SurroundFrame(
            stamp_ns=content["stamp_ns"],
            rig=self.rig,
            images=images,
            image_stamps_ns=content["image_stamps_ns"],
            lidar=codecs.read_lidar(self._layout.lidar(self._numbers[index])) if content["lidar"] else None,
            lidar_stamp_ns=content["lidar_stamp_ns"],
            odom_from_base=None if odometry is None else np.array(odometry, np.float64),
            missing=tuple(content["missing"]),
        )
        truth = SurroundScene(frame.stamp_ns, scenes, content["model_id"])
        return Sample(self.name, index, frame, truth, self.objects(index), self._bev(index, content.get("bev")))

    def image(self, index: int, camera: str) -> np.ndarray:
        """Return one (H, W, 3) uint8 RGB image."""
        path, size = self.image_path(index, camera), self.rig.camera(camera)
        image = codecs.read_image(path)
        if image.shape[:2] != (size.height, size.width):
            raise DatasetError(f"{path}: {image.shape[1]} x {image.shape[0]}, calibrated {size.width} x {size.height}")
        return image

    def image_path(self, index: int, camera: str) -> Path:
        """Return the JPEG file of one image."""
        return self._layout.image(camera, self._numbers[self._checked(index)])

    def scene(self, index: int, camera: str, with_depth: bool = True) -> CameraScene:
        """Return the truth of one camera without reading the rest of the frame; all depth is NaN if not asked for."""
        index = self._checked(index)
        stamps = self._frame_content(index)["truth_stamps_ns"]
        return self._scenes.read(self._numbers[index], self.rig.camera(camera), stamps[camera], with_depth)

    def lidar(self, index: int) -> np.ndarray | None:
        """Return the (N, 4) float32 sweep, or None where the frame has none."""
        index = self._checked(index)
        present = self._frame_content(index)["lidar"]
        return codecs.read_lidar(self._layout.lidar(self._numbers[index])) if present else None

    def objects(self, index: int) -> list[AmodalObject]:
        """Return the 3-D boxes of a frame."""
        if "boxes" in self.missing:
            return []
        path = self._layout.boxes(self._numbers[self._checked(index)])
        try:
            return [object_from_json(item) for item in codecs.read_json(path)]
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{path}: not a list of 3-D boxes ({error!r})") from error

    def size_bytes(self) -> int:
        """Return the size of the sequence's files on disk."""
        folders = [self._layout.base / f for f in self._layout.folders([c.name for c in self.rig.cameras])]
        return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.iterdir())

    def fingerprint(self) -> str:
        """Return a hexadecimal digest that tells the sequence from others of its name without reading its files.

        It covers calibration, frames, what is recorded of its making, and the sizes of pictures and annotations.
        """
        layout = self._layout
        paths = [
            path(camera.name, number)
            for number in self._numbers
            for camera in self.rig.cameras
            for path in (layout.image, layout.labels, layout.masks)
        ]
        sizes = [path.stat().st_size if path.is_file() else None for path in paths]
        facts = [rig_to_json(self.rig), self._numbers, self.info, sizes]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of sequence '{self.name}', which has {len(self)}")
        return index % len(self)

    def _find_frames(self) -> list[int]:
        pattern = re.compile(r"_full_(\d+)_rgb\.jpg$")
        for camera in self._find_cameras():
            folder = self._layout.image(camera, 0).parent
            numbers = [int(m.group(1)) for p in folder.iterdir() if (m := pattern.search(p.name))]
            if numbers:
                return sorted(numbers)
        raise DatasetError(f"{self._layout.base}: sequence '{self.name}' has no images/CAMERA/{self.name}/*_rgb.jpg")

    def _find_cameras(self) -> list[str]:
        found = {p.parent.name for p in (self._layout.base / "images").glob(f"*/{self.name}")} - {"bev"}
        return [c for c in _CAMERA_ORDER if c in found] + sorted(found - set(_CAMERA_ORDER))

    def _find_missing(self) -> tuple[str, ...]:
        camera = self._rig.cameras[0].name if self._rig else self._find_cameras()[0]
        first, layout = self._numbers[0] if self._numbers else 0, self._layout
        has_frame = layout.frame(first).is_file()
        present = {
            "calibration": self._rig is not None,
            "stamps": has_frame,
            "odometry": has_frame,
            "depth": layout.depth(camera, first).is_file(),
            "levels": layout.levels(camera, first).is_file(),
            "lidar": has_frame,
            "boxes": layout.boxes(first).is_file(),
            "bev": layout.bev(first).is_file(),
        }
        return tuple(piece for piece, there in present.items() if not there)

    def _frame_content(self, index: int) -> dict[str, Any]:
        if "stamps" in self.missing:
            cameras = self._find_cameras()
            stamps = dict.fromkeys(cameras, index * _NOMINAL_PERIOD_NS)
            return {
                "stamp_ns": index * _NOMINAL_PERIOD_NS,
                "image_stamps_ns": stamps,
                "truth_stamps_ns": stamps,
                "lidar_stamp_ns": None,
                "odom_from_base": None,
                "missing": [],
                "model_id": "ground truth",
                "lidar": False,
            }
        path = self._layout.frame(self._numbers[index])
        content = codecs.read_json(path)
        if not isinstance(content, dict) or not set(content) >= _FRAME_KEYS:
            lacking = sorted(_FRAME_KEYS - set(content)) if isinstance(content, dict) else "all keys"
            raise DatasetError(f"{path}: lacks {lacking}")
        for key in ("image_stamps_ns", "truth_stamps_ns"):
            if not isinstance(content[key], dict):
                raise DatasetError(f"{path}: '{key}' is not a map of camera to stamp")
        if content["odom_from_base"] is not None and np.shape(content["odom_from_base"]) != (4, 4):
            raise DatasetError(f"{path}: 'odom_from_base' is not a 4 x 4 matrix")
        return content

    def _bev(self, index: int, header: dict[str, Any] | None) -> BevOccupancy | None:
        if header is None:
            return None
        number = self._numbers[index]
        visible, amodal, semantic, evidence = codecs.read_bev(self._layout.bev(number))
        try:
            sources = tuple(Source(s["name"], SourceStatus[s["status"]], s["age_ns"]) for s in header["sources"])
            x, y = header["origin"]
            geometry = {key: header[key] for key in ("stamp_ns", "resolution", "z_min", "z_max")}
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{self._layout.frame(number)}: 'bev' is not a grid description ({error!r})") from error
        return BevOccupancy(
            origin=(float(x), float(y)),
            visible=visible,
            amodal=amodal,
            semantic=semantic,
            evidence=evidence,
            sources=sources,
            **geometry,
        )


def read_sequences(path: Path | str, rig: Rig | None = None) -> list[SequenceReader]:
    """Return the sequences of a data set, sorted by name within each split.

    Args:
        path: folder of the data set or of one split of it, or FOLDER/NAME for a single sequence.
        rig: calibration for data sets that have none (the public AmodalSynthDrive); else the stored one is used.

    Raises:
        DatasetError: there is no sequence.
    """
    path = Path(path)
    readers = [SequenceReader(base, name, rig) for base in _bases(path) for name in _names(base)]
    if not readers:
        readers = [SequenceReader(base, path.name, rig) for base in _bases(path.parent) if path.name in _names(base)]
    if not readers:
        state = "holds no finished sequence" if path.is_dir() else "does not exist"
        raise DatasetError(f"{path}: {state}; expected images/CAMERA/SEQUENCE/*_rgb.jpg in it or in a split of it")
    return readers


def read_sequence(path: Path | str, rig: Rig | None = None) -> SequenceReader:
    """Return the only sequence at a path (see `read_sequences`); raises DatasetError naming all where several are."""
    readers = read_sequences(path, rig)
    if len(readers) > 1:
        names = ", ".join(reader.name for reader in readers[:5])
        raise DatasetError(
            f"{path}: holds {len(readers)} sequences ({names}, ...); choose one as {path}/{readers[0].name}"
        )
    return readers[0]


def _bases(root: Path) -> list[Path]:
    candidates = [root, root / "full"] + [root / split for split in SPLITS] + [root / s / "full" for s in SPLITS]
    return [base for base in candidates if (base / "images").is_dir()]


def _names(base: Path) -> list[str]:
    if (base / "sequences").is_dir():
        return sorted(path.stem for path in (base / "sequences").glob("*.json"))
    return sorted({path.name for path in (base / "images").glob("*/*") if path.is_dir() and path.parent.name != "bev"})

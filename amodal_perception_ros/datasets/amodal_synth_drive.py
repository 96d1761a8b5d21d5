"""Annotated sequences on disk in the layout of AmodalSynthDrive, extended by what its description leaves open.

The tree, file names and encodings are in docs/data-format.md. Names and encodings of images, panoptic labels,
amodal masks and levels follow the public loaders of AmodalSynthDrive (Sekkat et al., 2024), so the real data set
is read as it is; depth, calibration, odometry, LiDAR, boxes and BEV are this project's and documented as such.
"""

from __future__ import annotations

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
from amodal_perception_ros.datasets.codecs import DatasetError
from amodal_perception_ros.labels import BY_ID, SEGMENT_FACTOR
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import (
    OCCLUSION_LEVELS,
    AmodalObject,
    BevOccupancy,
    Camera,
    CameraScene,
    Instance,
    OcclusionOrder,
    Rig,
    Sample,
    Source,
    SourceStatus,
    SurroundFrame,
    SurroundScene,
    paste_nearest,
)

__all__ = ["DatasetError", "SequenceReader", "SequenceWriter", "read_sequence", "read_sequences"]

SPLITS = ("train", "val", "test")
_CAMERA_ORDER = ("front", "right", "back", "left")
_NOMINAL_PERIOD_NS = 100_000_000
_PER_CAMERA = ("images", "amodal_panoptic_seg", "depth", "amodal_depth")
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
_PER_FRAME = ("frames", "bboxes", "lidar", "bev")


class _Layout:
    """Paths of the files of one sequence below a base folder."""

    def __init__(self, base: Path, sequence: str) -> None:
        self.base, self.sequence = base, sequence

    def folders(self, cameras: list[str]) -> list[Path]:
        """Return the folders of the sequence, relative to the base."""
        per_camera = [Path(kind, camera, self.sequence) for kind in _PER_CAMERA for camera in cameras]
        return per_camera + [Path(kind, self.sequence) for kind in _PER_FRAME]

    def marker(self) -> Path:
        return self.base / "sequences" / f"{self.sequence}.json"

    def image(self, camera: str, frame: int) -> Path:
        return self._camera_file("images", camera, frame, "rgb.jpg")

    def labels(self, camera: str, frame: int) -> Path:
        return self._camera_file("amodal_panoptic_seg", camera, frame, "ampano.png")

    def masks(self, camera: str, frame: int) -> Path:
        return self._camera_file("amodal_panoptic_seg", camera, frame, "ampano.json")

    def levels(self, camera: str, frame: int) -> Path:
        return self._camera_file("amodal_panoptic_seg", camera, frame, "rel.json")

    def depth(self, camera: str, frame: int) -> Path:
        return self._camera_file("depth", camera, frame, "depth.png")

    def level_depth(self, camera: str, frame: int, level: int) -> Path:
        return self._camera_file("amodal_depth", camera, frame, f"amdepth_{level}.png")

    def instance_depth(self, camera: str, frame: int, segment: int) -> Path:
        return self._camera_file("amodal_depth", camera, frame, f"amdepth_{segment}.png")

    def frame(self, frame: int) -> Path:
        return self._frame_file("frames", frame, "frame.json")

    def boxes(self, frame: int) -> Path:
        return self._frame_file("bboxes", frame, "bboxes.json")

    def lidar(self, frame: int) -> Path:
        return self._frame_file("lidar", frame, "lidar.npz")

    def bev(self, frame: int) -> Path:
        return self._frame_file("bev", frame, "bev.png")

    def _camera_file(self, kind: str, camera: str, frame: int, suffix: str) -> Path:
        return self.base / kind / camera / self.sequence / f"{camera}_full_{frame:04d}_{suffix}"

    def _frame_file(self, kind: str, frame: int, suffix: str) -> Path:
        return self.base / kind / self.sequence / f"full_{frame:04d}_{suffix}"


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
        self._partial: _Layout | None = None
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
            _write_scene(layout, name, sample.index, scene)
        _write_frame(layout, sample)
        self._frames += 1

    def close(self) -> None:
        """Move the sequence into place; without a written frame this does nothing."""
        if self._partial is None or self._rig is None:
            return
        layout, cameras = _Layout(self._base, self._partial.sequence), [c.name for c in self._rig.cameras]
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
        marker = _Layout(self._base, sample.sequence).marker()
        if marker.exists():
            raise DatasetError(f"{marker}: the sequence exists already; delete this file to write it again")
        partial = self._base / ".partial" / sample.sequence
        shutil.rmtree(partial, ignore_errors=True)
        self._partial, self._rig = _Layout(partial, sample.sequence), sample.frame.rig
        for folder in self._partial.folders([c.name for c in self._rig.cameras]):
            (partial / folder).mkdir(parents=True)


def _write_scene(layout: _Layout, camera: str, frame: int, scene: CameraScene) -> None:
    codecs.write_labels(layout.labels(camera, frame), scene.labels)
    visible_depth = codecs.quantise_depth(scene.depth)
    codecs.write_depth(layout.depth(camera, frame), visible_depth)
    levels = _level_depths(scene.instances, visible_depth)
    for level, values in levels.items():
        if level > 0:
            codecs.write_depth(layout.level_depth(camera, frame, level), values)
    entries: dict[str, Any] = {}
    for instance in scene.instances:
        entry = _instance_entry(instance, scene)
        if _write_instance_depth(layout.instance_depth(camera, frame, instance.instance_id), instance, levels):
            entry["own_depth"] = True
        entries[str(instance.instance_id)] = entry
    for edge in range(len(scene.order)):
        occluders = entries[str(int(scene.order.occludee_ids[edge]))].setdefault("occluders", [])
        occluders.append(_edge_entry(scene.order, edge))
    codecs.write_json(layout.masks(camera, frame), entries)
    codecs.write_json(layout.levels(camera, frame), _level_lists(scene.instances))


def _level_depths(instances: list[Instance], visible_depth: np.ndarray) -> dict[int, np.ndarray]:
    """Return the uint16 depth map of every level with objects; level 0 is the visible depth."""
    maps: dict[int, np.ndarray] = {}
    for instance in instances:
        level = instance.occlusion_level
        if level == 0:
            continue
        target = maps.setdefault(level, np.full(visible_depth.shape, np.nan, np.float32))
        paste_nearest(target, instance.depth, instance.amodal_mask.x_offset, instance.amodal_mask.y_offset)
    return {0: visible_depth} | {level: codecs.quantise_depth(values) for level, values in maps.items()}


def _write_instance_depth(path: Path, instance: Instance, levels: dict[int, np.ndarray]) -> bool:
    """Write the instance's own depth over its ROI if its level's map does not hold all of it; return whether."""
    own = codecs.quantise_depth(instance.depth)
    mask = instance.amodal_mask
    shared = _cut(levels[instance.occlusion_level], mask)
    if not own.size or (shared is not None and np.array_equal(own, np.where(mask.roi(), shared, 0))):
        return False
    codecs.write_depth(path, own)
    return True


def _cut(values: np.ndarray, mask: RoiMask) -> np.ndarray | None:
    """Return the ROI of a mask cut from an image, None where the ROI leaves the image."""
    left, top, right, bottom = mask.box
    if left < 0 or top < 0 or right > values.shape[1] or bottom > values.shape[0]:
        return None
    return values[top:bottom, left:right]


def _instance_entry(instance: Instance, scene: CameraScene) -> dict[str, Any]:
    height, width = scene.labels.shape
    amodal, hidden = instance.amodal_mask, instance.hidden_mask
    occluded = hidden.area > 0
    entry: dict[str, Any] = {
        "occluded": occluded,
        "occlusion_mask": codecs.encode_mask(hidden, height, width) if occluded else [],
        "amodal_mask": codecs.encode_mask(amodal, height, width),
        "category_id": instance.class_id,
        "track_id": instance.track_id,
        "visible_depth": codecs.number(instance.visible_depth, 4),
        "amodal_depth": codecs.number(instance.amodal_depth, 4),
    }
    left, top, right, bottom = amodal.box
    if left < 0 or top < 0 or right > width or bottom > height:
        own = RoiMask(0, 0, amodal.width, amodal.height, amodal.counts)
        entry["full_mask"] = {"offset": [left, top], **codecs.encode_mask(own, amodal.height, amodal.width)}
    if instance.score != 1.0:
        entry["score"] = codecs.number(instance.score, 6)
    if np.isfinite(instance.amodal_depth_stddev):
        entry["amodal_depth_stddev"] = codecs.number(instance.amodal_depth_stddev, 4)
    return entry


def _edge_entry(order: OcclusionOrder, edge: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": int(order.occluder_ids[edge]), "overlap_px": int(order.overlap_px[edge])}
    if order.probability[edge] != 1.0:
        entry["probability"] = codecs.number(order.probability[edge], 6)
    if order.in_cycle[edge]:
        entry["in_cycle"] = True
    return entry


def _level_lists(instances: list[Instance]) -> dict[str, list[int]]:
    """Return level -> segment ids. Public loaders stop at the first empty level, so 0 fills level 0 and gaps."""
    deepest = max((instance.occlusion_level for instance in instances), default=0)
    levels: dict[str, list[int]] = {str(n): [0] if n <= deepest else [] for n in range(OCCLUSION_LEVELS)}
    for instance in instances:
        levels[str(instance.occlusion_level)].append(instance.instance_id)
    return {n: [i for i in ids if i] if n != "0" and len(ids) > 1 else ids for n, ids in levels.items()}


def _write_frame(layout: _Layout, sample: Sample) -> None:
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
    codecs.write_json(layout.boxes(index), [_object_to_json(o) for o in sample.objects])


def _object_to_json(thing: AmodalObject) -> dict[str, Any]:
    return {
        "track_id": thing.track_id,
        "class_id": thing.class_id,
        "existence_probability": codecs.number(thing.existence_probability, 6),
        "center": [codecs.number(v, 6) for v in thing.center],
        "size": [codecs.number(v, 6) for v in thing.size],
        "yaw": codecs.number(thing.yaw, 9),
        "velocity": [codecs.number(v, 6) for v in thing.velocity],
        "position_stddev": codecs.number(thing.position_stddev, 6),
        "visible_fraction": codecs.number(thing.visible_fraction, 6),
        "cameras": list(thing.cameras),
        "last_seen_ns": thing.last_seen_ns,
    }


def _object_from_json(item: dict[str, Any]) -> AmodalObject:
    def vector(key: str) -> np.ndarray:
        return np.array([codecs.from_number(v) for v in item[key]], np.float64)

    return AmodalObject(
        track_id=item["track_id"],
        class_id=item["class_id"],
        existence_probability=codecs.from_number(item["existence_probability"]),
        center=vector("center"),
        size=vector("size"),
        yaw=codecs.from_number(item["yaw"]),
        velocity=vector("velocity"),
        position_stddev=codecs.from_number(item["position_stddev"]),
        visible_fraction=codecs.from_number(item["visible_fraction"]),
        cameras=tuple(item["cameras"]),
        last_seen_ns=item["last_seen_ns"],
    )


def rig_to_json(rig: Rig) -> dict[str, Any]:
    """Return a rig as JSON: per camera name, width, height [px], intrinsics (3 x 3), base_from_camera (4 x 4)."""
    cameras = [
        {
            "name": camera.name,
            "width": camera.width,
            "height": camera.height,
            "intrinsics": np.asarray(camera.intrinsics, np.float64).tolist(),
            "base_from_camera": np.asarray(camera.base_from_camera, np.float64).tolist(),
        }
        for camera in rig.cameras
    ]
    return {"cameras": cameras, "base_from_lidar": np.asarray(rig.base_from_lidar, np.float64).tolist()}


def rig_from_json(path: Path, content: dict[str, Any]) -> Rig:
    """Return the rig of `rig_to_json`; raises DatasetError naming the file."""
    try:
        cameras = tuple(
            Camera(
                item["name"],
                int(item["width"]),
                int(item["height"]),
                np.array(item["intrinsics"], np.float64),
                np.array(item["base_from_camera"], np.float64),
            )
            for item in content["cameras"]
        )
        return Rig(cameras, np.array(content["base_from_lidar"], np.float64))
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not a rig calibration ({error!r})") from error


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
        self._layout, self._rig = _Layout(base, name), rig
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
                scenes[camera.name] = self._scene(index, camera, content["truth_stamps_ns"][camera.name])
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
        return self._scene(index, self.rig.camera(camera), stamps[camera], with_depth)

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
            return [_object_from_json(item) for item in codecs.read_json(path)]
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{path}: not a list of 3-D boxes ({error!r})") from error

    def size_bytes(self) -> int:
        """Return the size of the sequence's files on disk."""
        folders = [self._layout.base / f for f in self._layout.folders([c.name for c in self.rig.cameras])]
        return sum(file.stat().st_size for folder in folders if folder.is_dir() for file in folder.iterdir())

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

    def _scene(self, index: int, camera: Camera, stamp_ns: int, with_depth: bool = True) -> CameraScene:
        number, layout, shape = self._numbers[index], self._layout, (camera.height, camera.width)
        labels, unknown = codecs.read_labels(layout.labels(camera.name, number), shape)
        if unknown:
            self.repairs["pixels of a thing with an unknown class, read as unlabelled"] += unknown
        with_depth = with_depth and "depth" not in self.missing
        depths = {0: np.full(shape, np.nan, np.float32)}
        if with_depth:
            depths[0] = codecs.restore_depth(codecs.read_depth(layout.depth(camera.name, number), shape))
        levels = self._levels(number, camera.name)
        path = layout.masks(camera.name, number)
        instances, edges = [], []
        for key, entry in codecs.read_json(path).items():
            try:
                instance = self._instance(path, int(key), entry, labels, levels)
                if instance is None:
                    continue
                if with_depth:
                    self._add_depth(instance, entry, camera.name, number, depths)
                edges += [(edge, instance.instance_id) for edge in entry.get("occluders", [])]
            except DatasetError:
                raise
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise DatasetError(f"{path}: segment '{key}' is not an amodal segment ({error!r})") from error
            instances.append(instance)
        return CameraScene(camera, stamp_ns, labels, depths[0], instances, _order(edges))

    def _levels(self, number: int, camera: str) -> dict[int, int] | None:
        if "levels" in self.missing:
            return None
        path = self._layout.levels(camera, number)
        try:
            content = codecs.read_json(path)
            levels = {int(segment): int(level) for level, ids in content.items() for segment in ids}
        except (AttributeError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: not a map of level to segment ids ({error!r})") from error
        if not set(levels.values()) <= set(range(OCCLUSION_LEVELS)):
            raise DatasetError(f"{path}: holds level {max(levels.values())}, known are 0..{OCCLUSION_LEVELS - 1}")
        return levels

    def _instance(
        self, path: Path, segment: int, entry: dict[str, Any], labels: np.ndarray, levels: dict[int, int] | None
    ) -> Instance | None:
        """Return the instance of an entry without its depth; None for stuff and unknown classes."""
        class_id = segment // SEGMENT_FACTOR
        if class_id not in BY_ID or not BY_ID[class_id].is_thing:
            self.repairs["segments that are no thing, skipped"] += segment >= SEGMENT_FACTOR
            return None
        visible, amodal = self._masks(path, segment, entry, labels)
        if amodal.area == 0:
            self.repairs["segments without a pixel, skipped"] += 1
            return None
        occluded = visible.area < amodal.area
        return Instance(
            instance_id=segment,
            class_id=class_id,
            score=entry.get("score", 1.0),
            visible_mask=visible,
            amodal_mask=amodal,
            occlusion_level=int(occluded) if levels is None else levels.get(segment, int(occluded)),
            visible_depth=codecs.from_number(entry.get("visible_depth")),
            amodal_depth=codecs.from_number(entry.get("amodal_depth")),
            amodal_depth_stddev=codecs.from_number(entry.get("amodal_depth_stddev")),
            depth=np.full((amodal.height, amodal.width), np.nan, np.float32),
            track_id=int(entry.get("track_id", 0)),
        )

    def _masks(self, path: Path, segment: int, entry: dict[str, Any], labels: np.ndarray) -> tuple[RoiMask, RoiMask]:
        """Return the visible and amodal mask; pixels seen outside the amodal mask are added to it and counted."""
        full = entry.get("full_mask")
        if full:
            own = codecs.decode_mask(path, "full_mask", full, (full["size"][0], full["size"][1]))
            x, y = full["offset"]
            amodal = RoiMask(own.x_offset + x, own.y_offset + y, own.width, own.height, own.counts)
        else:
            amodal = codecs.decode_mask(path, "amodal_mask", entry.get("amodal_mask"), labels.shape)
        left, top = max(0, amodal.x_offset), max(0, amodal.y_offset)
        right, bottom = amodal.box[2], amodal.box[3]
        visible = RoiMask.from_array(labels[top : max(top, bottom), left : max(left, right)] == segment, left, top)
        if not self._layout.marker().is_file():
            everywhere = RoiMask.from_array(labels == segment)
            if everywhere.area != visible.area or not visible.is_subset_of(amodal):
                self.repairs["amodal masks without part of the visible mask, joined"] += bool(entry.get("occluded"))
                visible, amodal = everywhere, amodal | everywhere
        return visible, amodal

    def _add_depth(
        self, instance: Instance, entry: dict[str, Any], camera: str, number: int, depths: dict[int, np.ndarray]
    ) -> None:
        """Fill the instance's depth from its own file or its level's map (cached in `depths`)."""
        mask, layout, level = instance.amodal_mask, self._layout, instance.occlusion_level
        if entry.get("own_depth"):
            path = layout.instance_depth(camera, number, instance.instance_id)
            instance.depth = codecs.restore_depth(codecs.read_depth(path, (mask.height, mask.width)))
            return
        if level not in depths:
            path = layout.level_depth(camera, number, level)
            depths[level] = codecs.restore_depth(codecs.read_depth(path, depths[0].shape))
        shared = _cut(depths[level], mask)
        if shared is None:
            path = layout.masks(camera, number)
            raise DatasetError(f"{path}: segment {instance.instance_id} leaves the image but has no depth of its own")
        instance.depth = np.where(mask.roi(), shared, np.float32(np.nan))

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


def _order(edges: list[tuple[dict[str, Any], int]]) -> OcclusionOrder:
    return OcclusionOrder(
        occluder_ids=np.array([edge["id"] for edge, _ in edges], np.uint32),
        occludee_ids=np.array([occludee for _, occludee in edges], np.uint32),
        probability=np.array([edge.get("probability", 1.0) for edge, _ in edges], np.float32),
        overlap_px=np.array([edge["overlap_px"] for edge, _ in edges], np.uint32),
        in_cycle=np.array([edge.get("in_cycle", False) for edge, _ in edges], bool),
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

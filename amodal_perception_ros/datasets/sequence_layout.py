"""Where the files of a sequence are, and the JSON form of rigs and 3-D boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets import codecs
from amodal_perception_ros.datasets.codecs import DatasetError
from amodal_perception_ros.scene import AmodalObject, Camera, Rig

SPLITS = ("train", "val", "test")
_PER_CAMERA = ("images", "amodal_panoptic_seg", "depth", "amodal_depth")
_PER_FRAME = ("frames", "bboxes", "lidar", "bev")


class Layout:
    """Paths of the files of one sequence below a base folder."""

    def __init__(self, base: Path, sequence: str) -> None:
        self.base, self.sequence = base, sequence

    def folders(self, cameras: list[str]) -> list[Path]:
        """Return the folders of the sequence, relative to the base."""
        per_camera = [Path(kind, camera, self.sequence) for kind in _PER_CAMERA for camera in cameras]
        return per_camera + [Path(kind, self.sequence) for kind in _PER_FRAME]

    def marker(self) -> Path:
        """Description of the finished sequence; a sequence without it is not finished."""
        return self.base / "sequences" / f"{self.sequence}.json"

    def image(self, camera: str, frame: int) -> Path:
        """JPEG picture."""
        return self._camera_file("images", camera, frame, "rgb.jpg")

    def labels(self, camera: str, frame: int) -> Path:
        """Visible segments, uint16 PNG."""
        return self._camera_file("amodal_panoptic_seg", camera, frame, "ampano.png")

    def masks(self, camera: str, frame: int) -> Path:
        """Amodal segments, JSON."""
        return self._camera_file("amodal_panoptic_seg", camera, frame, "ampano.json")

    def levels(self, camera: str, frame: int) -> Path:
        """Occlusion level to segment ids, JSON."""
        return self._camera_file("amodal_panoptic_seg", camera, frame, "rel.json")

    def depth(self, camera: str, frame: int) -> Path:
        """Visible depth, uint16 PNG."""
        return self._camera_file("depth", camera, frame, "depth.png")

    def level_depth(self, camera: str, frame: int, level: int) -> Path:
        """Depth of all objects of a level, uint16 PNG."""
        return self._camera_file("amodal_depth", camera, frame, f"amdepth_{level}.png")

    def instance_depth(self, camera: str, frame: int, segment: int) -> Path:
        """Depth of one object over the box of its amodal mask, uint16 PNG."""
        return self._camera_file("amodal_depth", camera, frame, f"amdepth_{segment}.png")

    def frame(self, frame: int) -> Path:
        """Stamps, odometry and BEV geometry, JSON."""
        return self._frame_file("frames", frame, "frame.json")

    def boxes(self, frame: int) -> Path:
        """3-D boxes, JSON."""
        return self._frame_file("bboxes", frame, "bboxes.json")

    def lidar(self, frame: int) -> Path:
        """LiDAR sweep, NPZ."""
        return self._frame_file("lidar", frame, "lidar.npz")

    def bev(self, frame: int) -> Path:
        """BEV grids, RGBA PNG."""
        return self._frame_file("bev", frame, "bev.png")

    def _camera_file(self, kind: str, camera: str, frame: int, suffix: str) -> Path:
        return self.base / kind / camera / self.sequence / f"{camera}_full_{frame:04d}_{suffix}"

    def _frame_file(self, kind: str, frame: int, suffix: str) -> Path:
        return self.base / kind / self.sequence / f"full_{frame:04d}_{suffix}"


def object_to_json(thing: AmodalObject) -> dict[str, Any]:
    """Return a 3-D box as JSON; unknown numbers are null."""
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


def object_from_json(item: dict[str, Any]) -> AmodalObject:
    """Return the 3-D box of `object_to_json`; raises KeyError or TypeError for other content."""

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

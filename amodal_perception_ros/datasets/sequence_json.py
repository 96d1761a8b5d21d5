"""The JSON form of what describes a sequence and its frames: rigs, 3-D boxes, stamps, poses and readings."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from amodal_perception_ros.datasets.files import DatasetError, from_number, to_number
from amodal_perception_ros.scene import (
    AmodalObject,
    BevOccupancy,
    Camera,
    GnssFix,
    ImuReading,
    Rig,
    Sample,
    Source,
    SourceStatus,
    isotropic_covariance,
)

_NOTHING: dict[str, Any] = {
    "stamp_ns": 0,
    "image_stamps_ns": {},
    "truth_stamps_ns": {},
    "lidar_stamp_ns": None,
    "odom_from_base": None,
    "missing": [],
    "model_id": "ground truth",
    "lidar": False,
    "moving": None,
    "imu": None,
    "gnss": None,
    "bev": None,
    "bev_image": False,
    "bev_labels": False,
    "flow": [],
}
"""Every key of a frame's description; "odom_stamp_ns" is there only where it is known to differ from "stamp_ns"."""


def frame_to_json(sample: Sample) -> dict[str, Any]:
    """Return what the description of a frame holds beside its files."""
    frame = sample.frame
    return {
        "stamp_ns": frame.stamp_ns,
        "image_stamps_ns": {name: frame.image_stamps_ns.get(name, frame.stamp_ns) for name in frame.images},
        "truth_stamps_ns": {name: scene.stamp_ns for name, scene in sample.truth.cameras.items()},
        "lidar_stamp_ns": frame.lidar_stamp_ns,
        "odom_from_base": None if frame.odom_from_base is None else frame.odom_from_base.tolist(),
        "missing": list(frame.missing),
        "model_id": sample.truth.model_id,
        "lidar": frame.lidar is not None,
        "moving": None if sample.moving is None else sorted(sample.moving),
        "imu": None if sample.imu is None else _imu_to_json(sample.imu),
        "gnss": None if sample.gnss is None else vars(sample.gnss),
        "bev": None if sample.bev is None else _bev_to_json(sample.bev),
        "bev_image": sample.bev_image is not None,
        "bev_labels": sample.bev_labels is not None,
        "flow": sorted(sample.flow),
        **({} if frame.odom_stamp_ns is None else {"odom_stamp_ns": frame.odom_stamp_ns}),
    }


def frame_from_json(path: Path, content: Any) -> dict[str, Any]:
    """Return what `frame_to_json` made; raises DatasetError naming the file and what is wrong."""
    if not isinstance(content, dict) or not set(content) >= set(_NOTHING):
        lacking = sorted(set(_NOTHING) - set(content)) if isinstance(content, dict) else "all keys"
        raise DatasetError(f"{path}: lacks {lacking}")
    checks = [
        ("stamp_ns", "a stamp", _is_stamp),
        ("lidar_stamp_ns", "a stamp or null", _is_stamp_or_none),
        ("odom_stamp_ns", "a stamp or null", _is_stamp_or_none),
        ("image_stamps_ns", "a map of camera to stamp", _is_stamps),
        ("truth_stamps_ns", "a map of camera to stamp", _is_stamps),
        ("flow", "a list of cameras", _is_names),
        ("missing", "a list of sensors", _is_names),
        ("odom_from_base", "a 4 x 4 matrix of numbers", _is_pose_or_none),
        ("bev", "a grid description", lambda value: isinstance(value, (dict, NoneType))),
        ("model_id", "a text", lambda value: isinstance(value, str)),
        *(
            (key, "true or false", lambda value: isinstance(value, bool))
            for key in ("lidar", "bev_image", "bev_labels")
        ),
    ]
    for key, what, is_right in checks:
        if not is_right(content.get(key)):
            raise DatasetError(f"{path}: '{key}' is not {what}")
    return content


def _is_stamp(value: object) -> bool:
    return isinstance(value, int)


def _is_stamp_or_none(value: object) -> bool:
    return isinstance(value, (int, NoneType))


def _is_stamps(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_stamp, value.values()))


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_pose_or_none(value: object) -> bool:
    if value is None:
        return True
    try:
        return np.array(value, np.float64).shape == (4, 4)
    except (TypeError, ValueError):
        return False


def unknown_frame(cameras: list[str], stamp_ns: int, with_images: bool = True) -> dict[str, Any]:
    """Return the description of a frame of which nothing but its labels and perhaps its pictures is known."""
    stamps = dict.fromkeys(cameras, stamp_ns)
    images = stamps if with_images else {}
    return {**_NOTHING, "stamp_ns": stamp_ns, "image_stamps_ns": images, "truth_stamps_ns": stamps}


def _imu_to_json(imu: ImuReading) -> dict[str, Any]:
    vectors = ("orientation", "angular_velocity", "linear_acceleration")
    return {"stamp_ns": imu.stamp_ns, **{name: np.asarray(getattr(imu, name), float).tolist() for name in vectors}}


def imu_from_json(path: Path, item: dict[str, Any] | None) -> ImuReading | None:
    """Return the reading under "imu" of a frame's description; raises DatasetError naming the file."""
    if item is None:
        return None
    try:
        orientation = np.array(item["orientation"], np.float64)
        turn = np.array(item["angular_velocity"], np.float64)
        force = np.array(item["linear_acceleration"], np.float64)
        if (orientation.shape, turn.shape, force.shape) != ((4,), (3,), (3,)):
            raise ValueError("a vector has a wrong length")
        return ImuReading(int(item["stamp_ns"]), orientation, turn, force)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: 'imu' is not an inertial measurement ({error!r})") from error


def gnss_from_json(path: Path, item: dict[str, Any] | None) -> GnssFix | None:
    """Return the fix under "gnss" of a frame's description; raises DatasetError naming the file."""
    if item is None:
        return None
    try:
        numbers = [float(item[key]) for key in ("latitude", "longitude", "altitude", "stddev")]
        return GnssFix(int(item["stamp_ns"]), *numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: 'gnss' is not a satellite position ({error!r})") from error


def moving_from_json(path: Path, item: list[int] | None) -> frozenset[int] | None:
    """Return the track ids under "moving" of a frame's description; raises DatasetError naming the file."""
    if item is None:
        return None
    try:
        return frozenset(int(track) for track in item)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: 'moving' is not a list of track ids ({error!r})") from error


def _bev_to_json(bev: BevOccupancy) -> dict[str, Any]:
    return {
        "stamp_ns": bev.stamp_ns,
        "resolution": bev.resolution,
        "origin": [float(v) for v in bev.origin],
        "z_min": bev.z_min,
        "z_max": bev.z_max,
        "sources": [{"name": s.name, "status": s.status.name, "age_ns": s.age_ns} for s in bev.sources],
    }


def bev_from_json(
    path: Path, item: dict[str, Any], grids: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> BevOccupancy:
    """Return the grid whose geometry is under "bev" of a frame's description and whose cells `codecs.read_bev` gave.

    Raises:
        DatasetError: the geometry is wrong; the message names the file.
    """
    try:
        sources = tuple(Source(s["name"], SourceStatus[s["status"]], s["age_ns"]) for s in item["sources"])
        x, y = item["origin"]
        stamp_ns, resolution, z_min, z_max = (item[key] for key in ("stamp_ns", "resolution", "z_min", "z_max"))
        return BevOccupancy(stamp_ns, resolution, (float(x), float(y)), *grids, z_min, z_max, sources)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: 'bev' is not a grid description ({error!r})") from error


def object_to_json(thing: AmodalObject) -> dict[str, Any]:
    """Return a 3-D box as JSON; unknown numbers are null; deviations and turn rates that nobody stated are left out."""
    stated: dict[str, Any] = {}
    if not np.array_equal(thing.covariance, isotropic_covariance(thing.position_stddev)):
        stated["covariance"] = [[to_number(v, 6) for v in row] for row in thing.covariance]
    if np.isfinite(thing.size_stddev).any():
        stated["size_stddev"] = [to_number(v, 6) for v in thing.size_stddev]
    if np.isfinite(thing.yaw_rate):
        stated["yaw_rate"] = to_number(thing.yaw_rate, 6)
    return {
        "track_id": thing.track_id,
        "class_id": thing.class_id,
        "existence_probability": to_number(thing.existence_probability, 6),
        "center": [to_number(v, 6) for v in thing.center],
        "size": [to_number(v, 6) for v in thing.size],
        "yaw": to_number(thing.yaw, 9),
        "velocity": [to_number(v, 6) for v in thing.velocity],
        "position_stddev": to_number(thing.position_stddev, 6),
        "visible_fraction": to_number(thing.visible_fraction, 6),
        "cameras": list(thing.cameras),
        "last_seen_ns": thing.last_seen_ns,
        **stated,
    }


def object_from_json(item: dict[str, Any]) -> AmodalObject:
    """Return the 3-D box of `object_to_json`; raises KeyError, TypeError or ValueError for other content."""

    def vector(key: str) -> np.ndarray:
        return np.array([from_number(v) for v in item[key]], np.float64)

    stated: dict[str, Any] = {}
    if "covariance" in item:
        stated["covariance"] = np.array([[from_number(v) for v in row] for row in item["covariance"]], np.float64)
    if "size_stddev" in item:
        stated["size_stddev"] = vector("size_stddev")
    if "yaw_rate" in item:
        stated["yaw_rate"] = from_number(item["yaw_rate"])
    return AmodalObject(
        track_id=item["track_id"],
        class_id=item["class_id"],
        existence_probability=from_number(item["existence_probability"]),
        center=vector("center"),
        size=vector("size"),
        yaw=from_number(item["yaw"]),
        velocity=vector("velocity"),
        position_stddev=from_number(item["position_stddev"]),
        visible_fraction=from_number(item["visible_fraction"]),
        cameras=tuple(item["cameras"]),
        last_seen_ns=item["last_seen_ns"],
        **stated,
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

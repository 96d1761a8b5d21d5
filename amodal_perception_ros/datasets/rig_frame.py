"""Reads one synchronized frame of any rig of 1 to 8 cameras from a JSON description (docs/data-format.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets.codecs import read_image
from amodal_perception_ros.datasets.files import DatasetError, read_json
from amodal_perception_ros.scene import Camera, Rig, SurroundFrame
from amodal_perception_ros.trajectory import Trajectory, is_rigid

MAX_CAMERAS = 8
_DEFAULT_LAYOUT = "float32 x,y,z,intensity,ring"


def read_rig_frame(path: Path | str) -> SurroundFrame:
    """Return the frame that a JSON file describes; files it names are relative to its folder.

    Camera names become lower case without a leading "cam_": CAM_FRONT_LEFT is `front_left`. Stamps are rounded to
    microseconds. The ego frame becomes base_link, the global frame odom. NaN points are kept as the sensor gave them.

    Raises:
        DatasetError: a file or key is missing or wrong; the message names both.
    """
    path = Path(path)
    content = read_json(path)
    described = _get(path, content, "cameras", dict)
    if not 1 <= len(described) <= MAX_CAMERAS:
        raise DatasetError(f"{path}: 'cameras' holds {len(described)}; 1 to {MAX_CAMERAS} are supported")
    stamp = _stamp(path, content, "timestamp_s")
    cameras, images, stamps = [], {}, {}
    for key, item in described.items():
        name, where = _camera_name(path, key), f"cameras.{key}"
        images[name] = read_image(path.parent / _get(path, item, f"{where}.file", str))
        cameras.append(_camera(path, item, where, name, images[name]))
        stamps[name] = _stamp(path, item, f"{where}.timestamp_s") if "timestamp_s" in item else stamp
    lidar, base_from_lidar, lidar_stamp, times = _lidar(path, content, stamp)
    try:
        rig = Rig(tuple(cameras), base_from_lidar)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    pose = _transform(path, content, "ego2global") if content.get("ego2global") is not None else None
    trajectory = _trajectory(path, content) if content.get("trajectory") is not None else None
    return SurroundFrame(
        stamp, rig, images, stamps, lidar, lidar_stamp, pose, lidar_times_s=times, trajectory=trajectory
    )


def _trajectory(path: Path, content: dict[str, Any]) -> Trajectory:
    """Return the vehicle's motion from a list of stamps and poses."""
    items = _get(path, content, "trajectory", list)
    stamps = [_stamp(path, item, f"trajectory[{k}].timestamp_s") for k, item in enumerate(items)]
    poses = [_transform(path, item, f"trajectory[{k}].ego2global") for k, item in enumerate(items)]
    try:
        return Trajectory(np.array(stamps, np.int64), np.array(poses).reshape(-1, 4, 4))
    except ValueError as error:
        raise DatasetError(f"{path}: 'trajectory': {error}") from error


def _camera(path: Path, item: dict[str, Any], where: str, name: str, image: np.ndarray) -> Camera:
    intrinsics = _matrix(path, item, f"{where}.cam2img", 3)
    try:
        return Camera(name, image.shape[1], image.shape[0], intrinsics, _transform(path, item, f"{where}.cam2ego"))
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{path}: '{where}.cam2img': {error}") from error


def _camera_name(path: Path, key: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", key.lower()).strip("_").removeprefix("cam_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise DatasetError(f"{path}: camera '{key}' gives no ROS name; it must begin with a letter")
    return name


def _lidar(
    path: Path, content: dict[str, Any], stamp: int
) -> tuple[np.ndarray | None, np.ndarray, int | None, np.ndarray | None]:
    """Return (N, 4) points or None, base_from_lidar, the sweep's stamp, and (N,) times of the points or None."""
    if content.get("lidar") is None:
        return None, np.eye(4), None, None
    item = _get(path, content, "lidar", dict)
    file = path.parent / _get(path, item, "lidar.file", str)
    kind, _, names = str(item.get("layout", _DEFAULT_LAYOUT)).partition(" ")
    fields = [name.strip() for name in names.split(",")]
    if kind != "float32" or not {"x", "y", "z"} <= set(fields):
        raise DatasetError(f"{path}: 'lidar.layout' is '{item['layout']}', expected like '{_DEFAULT_LAYOUT}'")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror})") from error
    if len(raw) % (4 * len(fields)):
        raise DatasetError(f"{file}: {len(raw)} bytes are no multiple of {4 * len(fields)}, the size of one point")
    table = np.frombuffer(raw, "<f4").reshape(-1, len(fields))
    points = np.zeros((len(table), 4), np.float32)
    for column, field in enumerate(("x", "y", "z", "intensity")):
        if field in fields:
            points[:, column] = table[:, fields.index(field)]
    lidar_stamp = _stamp(path, item, "lidar.timestamp_s") if "timestamp_s" in item else stamp
    times = table[:, fields.index("time")].copy() if "time" in fields else None
    return points, _transform(path, item, "lidar.lidar2ego"), lidar_stamp, times


def _get(path: Path, content: Any, where: str, kind: type) -> Any:
    """Return the value of the last key of `where` in `content`."""
    key = where.rpartition(".")[2]
    if not isinstance(content, dict) or key not in content:
        raise DatasetError(f"{path}: '{where}' is missing")
    if not isinstance(content[key], kind):
        raise DatasetError(f"{path}: '{where}' is not a {kind.__name__}: {str(content[key])[:60]}")
    return content[key]


def _stamp(path: Path, content: Any, where: str) -> int:
    """Return seconds as nanoseconds, rounded to the microsecond that a float64 of Unix time resolves."""
    try:
        return round(float(content[where.rpartition(".")[2]]) * 1e6) * 1000
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DatasetError(f"{path}: '{where}' is missing or not a time in seconds") from error


def _matrix(path: Path, content: Any, where: str, size: int) -> np.ndarray:
    rows = _get(path, content, where, list)
    try:
        matrix = np.array(rows, np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        raise DatasetError(f"{path}: '{where}' is not a {size} x {size} matrix of finite numbers")
    return matrix


def _transform(path: Path, content: Any, where: str) -> np.ndarray:
    matrix = _matrix(path, content, where, 4)
    if not is_rigid(matrix) or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise DatasetError(f"{path}: '{where}' is not a rigid transform (rotation and translation, row-major)")
    return matrix

"""From sensor messages to arrays: images, calibration, point clouds and poses.

Every function raises `ConversionError` for a message that cannot be used; its `cause` is a short key under which
the caller counts the dropped message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, Transform
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from amodal_perception_ros.ros.distro import load_cv_bridge, quaternion_from_rotation, rotation_from_quaternion
from amodal_perception_ros.scene import Camera

NANOSECONDS = 1_000_000_000


class ConversionError(ValueError):
    """A message that cannot be used.

    Attributes:
        cause: short key for a counter of dropped messages, e.g. "size_mismatch".
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def stamp_to_ns(stamp: Time) -> int:
    """Return a ROS time as integer nanoseconds."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def ns_to_stamp(nanoseconds: int) -> Time:
    """Return integer nanoseconds as a ROS time; raises ValueError beyond the range of a message (year 2038)."""
    sec, nanosec = divmod(int(nanoseconds), NANOSECONDS)
    if not -(2**31) <= sec < 2**31:
        raise ValueError(f"time {nanoseconds} ns does not fit the 32-bit seconds of builtin_interfaces/Time")
    return Time(sec=sec, nanosec=nanosec)


@dataclass(frozen=True)
class _Encoding:
    dtype: str
    channels: int
    to_rgb: int | None = None


_ENCODINGS = {
    "rgb8": _Encoding("u1", 3),
    "bgr8": _Encoding("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": _Encoding("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Encoding("u1", 4, cv2.COLOR_BGRA2RGB),
    "mono8": _Encoding("u1", 1, cv2.COLOR_GRAY2RGB),
    "mono16": _Encoding("u2", 1, cv2.COLOR_GRAY2RGB),
    "16UC1": _Encoding("u2", 1, cv2.COLOR_GRAY2RGB),
    "32FC1": _Encoding("f4", 1, cv2.COLOR_GRAY2RGB),
}
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def image_to_array(message: Image) -> np.ndarray:
    """Return the pixels of an image in their own type, without a copy where the layout allows it.

    Returns:
        (H, W) or (H, W, channels) uint8, uint16 or float32 in the machine's byte order.

    Raises:
        ConversionError: unknown_encoding, empty_image or size_mismatch.
    """
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ConversionError(
            "unknown_encoding",
            f"image encoding '{message.encoding}' is not one of {', '.join(_ENCODINGS)}",
        )
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise ConversionError("empty_image", f"image of {width} x {height} pixels")
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    row = width * encoding.channels * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if step < row or data.size != step * height:
        raise ConversionError(
            "size_mismatch",
            f"{message.encoding} image of {width} x {height} pixels needs a step of at least {row} bytes and "
            f"step * height bytes of data; step is {step} and the data has {data.size} bytes",
        )
    rows = np.ascontiguousarray(data.reshape(height, step)[:, :row])
    pixels = rows.view(dtype).astype(dtype.newbyteorder("="), copy=False)
    return pixels.reshape(height, width, encoding.channels) if encoding.channels > 1 else pixels


def image_to_rgb(message: Image) -> np.ndarray:
    """Return an image as (H, W, 3) uint8 RGB.

    Grey images give equal channels. mono16 and 16UC1 keep their upper eight bits; 32FC1 is brightness in 0..1 with
    NaN as black. Encodings that are not known here go through cv_bridge where that is installed.

    Raises:
        ConversionError: unknown_encoding, empty_image, size_mismatch, or value_range for a 32FC1 image with values
            outside 0..1 (a depth image on a camera's topic, say).
    """
    if message.encoding not in _ENCODINGS:
        return _rgb_by_cv_bridge(message)
    pixels = image_to_array(message)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype == np.float32:
        pixels = _brightness_to_uint8(pixels)
    to_rgb = _ENCODINGS[message.encoding].to_rgb
    return pixels if to_rgb is None else cv2.cvtColor(pixels, to_rgb)


def _brightness_to_uint8(values: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(values, nan=0.0)
    low, high = float(known.min()), float(known.max())
    if low < 0.0 or high > 1.0:
        raise ConversionError(
            "value_range", f"32FC1 camera image with values {low:g} .. {high:g}; brightness must be in 0 .. 1"
        )
    return np.rint(known * 255.0).astype(np.uint8)


def _rgb_by_cv_bridge(message: Image) -> np.ndarray:
    bridge = load_cv_bridge()
    known = ", ".join(_ENCODINGS)
    if bridge is None:
        raise ConversionError(
            "unknown_encoding",
            f"image encoding '{message.encoding}' is not one of {known}; install cv_bridge to convert others",
        )
    try:
        return np.ascontiguousarray(bridge.CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except (bridge.CvBridgeError, ValueError, TypeError, cv2.error) as error:
        raise ConversionError(
            "unknown_encoding", f"cv_bridge cannot convert image encoding '{message.encoding}': {error}"
        ) from error


def compressed_to_rgb(message: CompressedImage) -> np.ndarray:
    """Return a JPEG or PNG image as (H, W, 3) uint8 RGB.

    The kind is recognized by the data, not by `format`. An EXIF orientation is ignored, because the calibration is
    for the sensor's pixel grid.

    Raises:
        ConversionError: unknown_encoding (neither JPEG nor PNG) or corrupt_image (truncated or undecodable).
    """
    data = bytes(message.data)
    if data.startswith(_JPEG_START):
        kind, end = "JPEG", _JPEG_END
    elif data.startswith(_PNG_START):
        kind, end = "PNG", _PNG_END
    else:
        raise ConversionError(
            "unknown_encoding",
            f"compressed image of {len(data)} bytes with format '{message.format}' is neither JPEG nor PNG",
        )
    # Some writers pad the file; OpenCV 4 decodes a truncated JPEG into a partly grey picture without an error.
    if not data.rstrip(b"\x00").endswith(end):
        raise ConversionError("corrupt_image", f"{kind} image of {len(data)} bytes is truncated")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ConversionError("corrupt_image", f"{kind} image of {len(data)} bytes cannot be decoded")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def camera_from_info(
    message: CameraInfo, name: str, base_from_camera: np.ndarray, image_size: tuple[int, int] | None = None
) -> tuple[Camera, tuple[str, ...]]:
    """Return the camera that a CameraInfo describes, and warnings.

    The images are taken as rectified: their intrinsics are the left 3 x 3 of P where P is filled, else K. Binning and
    the region of interest are applied to them, so that they fit the delivered image. R is not applied: as in
    image_geometry, the image's frame is the rectified one.

    Args:
        message: the calibration; P or K must be filled.
        name: name of the camera on the rig.
        base_from_camera: (4, 4) pose of the optical frame in the base frame.
        image_size: (width, height) of the image that it must fit, if there is one.

    Returns:
        The camera, and one line per reason why results may be inexact (distortion in the images).

    Raises:
        ConversionError: bad_camera_info (zero or non-finite intrinsics, no size) or camera_info_size (another size
            than the image).
    """
    raw = np.array(message.k, np.float64).reshape(3, 3)
    rectified = np.array(message.p, np.float64).reshape(3, 4)[:, :3]
    intrinsics = rectified.copy() if rectified[0, 0] > 0 else raw.copy()
    if not np.isfinite(intrinsics).all() or intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        raise ConversionError(
            "bad_camera_info",
            f"CameraInfo of camera '{name}' is not calibrated: {'P' if rectified[0, 0] > 0 else 'K'} = "
            f"{intrinsics.ravel().tolist()}; focal lengths must be positive",
        )
    warnings = () if np.any(intrinsics != raw) else _distortion_warnings(message, name)
    binning_x, binning_y = max(1, message.binning_x), max(1, message.binning_y)
    width = (message.roi.width or message.width) // binning_x
    height = (message.roi.height or message.height) // binning_y
    if width == 0 or height == 0:
        raise ConversionError("bad_camera_info", f"CameraInfo of camera '{name}' has the size {width} x {height}")
    if image_size is not None and (width, height) != tuple(image_size):
        raise ConversionError(
            "camera_info_size",
            f"CameraInfo of camera '{name}' is for {width} x {height} pixels, but its image has "
            f"{image_size[0]} x {image_size[1]}",
        )
    intrinsics[0, 2] -= message.roi.x_offset
    intrinsics[1, 2] -= message.roi.y_offset
    intrinsics[0] /= binning_x
    intrinsics[1] /= binning_y
    return Camera(name, width, height, intrinsics, base_from_camera), warnings


def _distortion_warnings(message: CameraInfo, name: str) -> tuple[str, ...]:
    """Say that a lens distorts, for a calibration that does not tell of rectification by a P of its own."""
    if not np.any(np.asarray(message.d, np.float64)):
        return ()
    coefficients = [round(float(value), 6) for value in message.d]
    return (
        f"camera '{name}' has lens distortion ({message.distortion_model}, D = {coefficients}); a pinhole is assumed, "
        "so rectify its images first (image_proc)",
    )


_POINT_TYPES = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 8: "<f8"}


_TIME_FIELDS = ("t", "time", "timestamp", "time_stamp")
"""Names under which drivers give each point's time."""


class Cloud(NamedTuple):
    """The usable points of a cloud.

    Attributes:
        points: (N, 4) float32 x, y, z [m], intensity.
        dropped: number of points left out for a NaN or infinite coordinate.
        times_s: (N,) float32 seconds after the cloud's stamp, as the sensor gave them; None without a time field.
    """

    points: np.ndarray
    dropped: int
    times_s: np.ndarray | None


def cloud_to_points(message: PointCloud2) -> Cloud:
    """Return the usable points of a cloud and their times.

    Fields may have any order, offset and data type. A missing or non-finite intensity is 0. Times are integers of
    nanoseconds (`t` of Ouster's driver, `time_stamp` of Autoware's), float32 seconds (`time` of Velodyne's), both
    relative to the stamp, or float64: seconds relative or absolute (`timestamp` of Hesai's and RoboSense's) or
    absolute nanoseconds (Livox's), whichever lies nearest to the stamp.

    Raises:
        ConversionError: big_endian, missing_fields, bad_fields or size_mismatch.
    """
    record = _point_record(message)
    row = message.width * message.point_step
    data = np.frombuffer(message.data, np.uint8)
    count = message.width * message.height
    if data.size != message.row_step * message.height or (count and message.row_step < row):
        raise ConversionError(
            "size_mismatch",
            f"cloud of {message.width} x {message.height} points with point_step {message.point_step} needs a "
            f"row_step of at least {row} and row_step * height bytes of data; row_step is {message.row_step} and the "
            f"data has {data.size} bytes",
        )
    if count == 0:
        return Cloud(np.zeros((0, 4), np.float32), 0, None)
    rows = np.ascontiguousarray(data.reshape(message.height, message.row_step)[:, :row])
    records = rows.reshape(count, message.point_step).view(record)[:, 0]
    points = np.zeros((count, 4), np.float32)
    names = record.names or ()
    with np.errstate(over="ignore", invalid="ignore"):
        for column, name in enumerate(names[: 4 if "intensity" in names else 3]):
            points[:, column] = records[name]
    points[~np.isfinite(points[:, 3]), 3] = 0.0
    usable = np.isfinite(points[:, :3]).all(axis=1)
    times = _relative_times(records[names[-1]], message.header.stamp) if names[-1] in _TIME_FIELDS else None
    if not usable.all():
        points, times = points[usable], None if times is None else times[usable]
    return Cloud(points, count - len(points), times)


def _relative_times(values: np.ndarray, stamp: Time) -> np.ndarray:
    """Return (N,) float32 seconds after the cloud's stamp; see `cloud_to_points`."""
    times = values.astype(np.float64)
    if values.dtype.kind in "iu":
        times *= 1e-9
    elif values.dtype.itemsize == 8:
        seconds = stamp_to_ns(stamp) * 1e-9
        readings = [times, times - seconds, times * 1e-9 - seconds]
        with np.errstate(invalid="ignore"):
            nearest = [abs(float(np.median(reading))) for reading in readings]
        times = readings[int(np.argmin(nearest))]
    with np.errstate(over="ignore"):
        return times.astype(np.float32)


def _point_record(message: PointCloud2) -> np.dtype:
    """Return the structured type that reads x, y, z and, where they exist, intensity and time from one point."""
    if message.is_bigendian:
        raise ConversionError("big_endian", "big-endian point clouds are not supported; publish little-endian ones")
    fields = {field.name: field for field in reversed(message.fields)}
    missing = [name for name in ("x", "y", "z") if name not in fields]
    if missing:
        raise ConversionError(
            "missing_fields", f"cloud lacks the fields {missing}; it has {[field.name for field in message.fields]}"
        )
    names = [name for name in ("x", "y", "z", "intensity") if name in fields]
    names += [name for name in _TIME_FIELDS if name in fields][:1]
    for name in names:
        field = fields[name]
        size = np.dtype(_POINT_TYPES.get(field.datatype, "V0")).itemsize
        if size == 0 or field.offset + size > message.point_step:
            raise ConversionError(
                "bad_fields",
                f"field '{name}' of the cloud has datatype {field.datatype} at offset {field.offset}, which does not "
                f"fit a point of {message.point_step} bytes",
            )
    return np.dtype(
        {
            "names": names,
            "formats": [_POINT_TYPES[fields[name].datatype] for name in names],
            "offsets": [fields[name].offset for name in names],
            "itemsize": message.point_step,
        }
    )


def matrix_from_values(translation: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Return the (4, 4) rigid transform of a translation [m] and a quaternion x, y, z, w.

    Raises:
        ConversionError: not_finite or zero_quaternion.
    """
    translation, quaternion = np.asarray(translation, np.float64), np.asarray(quaternion, np.float64)
    if not (np.isfinite(translation).all() and np.isfinite(quaternion).all()):
        raise ConversionError(
            "not_finite", f"pose is not finite: position {translation.tolist()}, orientation {quaternion.tolist()}"
        )
    if np.linalg.norm(quaternion) < 1e-6:
        raise ConversionError("zero_quaternion", f"orientation {quaternion.tolist()} is the zero quaternion")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_from_quaternion(quaternion)
    matrix[:3, 3] = translation
    return matrix


def pose_to_matrix(message: Pose) -> np.ndarray:
    """Return a pose as a (4, 4) matrix; raises ConversionError (not_finite, zero_quaternion)."""
    position, orientation = message.position, message.orientation
    return matrix_from_values(
        np.array([position.x, position.y, position.z]),
        np.array([orientation.x, orientation.y, orientation.z, orientation.w]),
    )


def transform_to_matrix(message: Transform) -> np.ndarray:
    """Return a transform as a (4, 4) matrix; raises ConversionError (not_finite, zero_quaternion)."""
    translation, rotation = message.translation, message.rotation
    return matrix_from_values(
        np.array([translation.x, translation.y, translation.z]),
        np.array([rotation.x, rotation.y, rotation.z, rotation.w]),
    )


def matrix_to_pose(matrix: np.ndarray) -> Pose:
    """Return a (4, 4) rigid transform as a pose."""
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = (float(value) for value in matrix[:3, 3])
    x, y, z, w = (float(value) for value in quaternion_from_rotation(matrix[:3, :3]))
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = x, y, z, w
    return pose


def odometry_to_matrix(message: Odometry) -> np.ndarray:
    """Return the (4, 4) pose of the message's child frame in its header's frame.

    Raises:
        ConversionError: not_finite or zero_quaternion.
    """
    return pose_to_matrix(message.pose.pose)

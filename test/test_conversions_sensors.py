"""Sensor messages to arrays: known answers, every layout that drivers use, and each bad input's cause."""

from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField

from amodal_perception_ros.ros import distro
from amodal_perception_ros.ros.sensor_conversions import (
    ConversionError,
    camera_from_info,
    cloud_to_points,
    compressed_to_rgb,
    image_to_array,
    image_to_rgb,
    matrix_to_pose,
    ns_to_stamp,
    odometry_to_matrix,
    pose_to_matrix,
    stamp_to_ns,
)

pytestmark = pytest.mark.ros

RGB = np.array([[[1, 2, 3], [40, 50, 60]], [[250, 0, 7], [9, 99, 199]]], np.uint8)


def image_message(pixels, encoding, padding=0, big_endian=False):
    """A message as a driver makes it: rows followed by `padding` bytes."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = rows.view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    message = Image(height=height, width=width, encoding=encoding, step=rows.shape[1], is_bigendian=int(big_endian))
    message.data = array("B", rows.tobytes())
    return message


def cause_of(function, *arguments):
    with pytest.raises(ConversionError) as caught:
        function(*arguments)
    assert str(caught.value)
    return caught.value.cause


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.dstack([RGB, np.full((2, 2), 77, np.uint8)])),
        ("bgra8", np.dstack([RGB[..., ::-1], np.full((2, 2), 77, np.uint8)])),
    ],
)
def test_colour_images_become_rgb_whatever_the_order_and_row_padding(encoding, pixels, padding):
    rgb = image_to_rgb(image_message(pixels, encoding, padding))
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, RGB)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    ("encoding", "values", "expected"),
    [
        ("mono8", np.array([[0, 128], [255, 3]], np.uint8), [[0, 128], [255, 3]]),
        ("mono16", np.array([[0, 0x80FF], [0xFFFF, 0x0300]], np.uint16), [[0, 128], [255, 3]]),
        ("16UC1", np.array([[0x0100, 0x7F00], [0xFE01, 0]], np.uint16), [[1, 127], [254, 0]]),
        ("32FC1", np.array([[0.0, 1.0], [0.2, np.nan]], np.float32), [[0, 255], [51, 0]]),
    ],
)
def test_grey_images_become_equal_channels(encoding, values, expected, big_endian):
    rgb = image_to_rgb(image_message(values, encoding, padding=3, big_endian=big_endian))
    np.testing.assert_array_equal(rgb, np.repeat(np.array(expected, np.uint8)[..., None], 3, axis=2))


@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    padding=st.integers(0, 9),
    big_endian=st.booleans(),
    kind=st.sampled_from([("16UC1", np.uint16), ("32FC1", np.float32), ("mono8", np.uint8)]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_arrays_survive_every_padding_and_byte_order(height, width, padding, big_endian, kind, seed):
    encoding, dtype = kind
    values = np.random.default_rng(seed).integers(0, 255, (height, width)).astype(dtype)
    decoded = image_to_array(image_message(values, encoding, padding, big_endian))
    assert decoded.dtype == dtype
    assert decoded.dtype.isnative
    np.testing.assert_array_equal(decoded, values)


def test_a_tight_rgb8_image_is_not_copied():
    message = image_message(RGB, "rgb8")
    assert np.shares_memory(image_to_rgb(message), np.frombuffer(message.data, np.uint8))


def test_unusable_images_name_their_cause():
    good = image_message(RGB, "rgb8")
    short = image_message(RGB, "rgb8")
    short.data = short.data[:-1]
    narrow = image_message(RGB, "rgb8")
    narrow.step = 5
    empty = Image(height=0, width=4, encoding="rgb8", step=12)
    depth = image_message(np.array([[12.5, 3.0]], np.float32), "32FC1")
    assert image_to_rgb(good).shape == (2, 2, 3)
    assert cause_of(image_to_rgb, short) == "size_mismatch"
    assert cause_of(image_to_rgb, narrow) == "size_mismatch"
    assert cause_of(image_to_rgb, empty) == "empty_image"
    assert cause_of(image_to_rgb, depth) == "value_range"
    assert cause_of(image_to_array, image_message(RGB, "no_such_encoding")) == "unknown_encoding"


def test_an_encoding_beyond_our_own_needs_cv_bridge():
    bayer = image_message(np.full((4, 4), 90, np.uint8), "bayer_rggb8")
    if distro.load_cv_bridge() is None:
        with pytest.raises(ConversionError, match=r"'bayer_rggb8'.*install cv_bridge") as caught:
            image_to_rgb(bayer)
        assert caught.value.cause == "unknown_encoding"
    else:
        np.testing.assert_array_equal(image_to_rgb(bayer), np.full((4, 4, 3), 90, np.uint8))


def compressed(pixels_rgb, extension):
    ok, data = cv2.imencode(extension, cv2.cvtColor(pixels_rgb, cv2.COLOR_RGB2BGR))
    assert ok
    return data.tobytes()


SMOOTH = np.dstack([np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))] * 3) // np.array([1, 2, 4], np.uint8)


def test_png_is_exact_and_jpeg_is_close():
    png = CompressedImage(format="rgb8; png compressed bgr8", data=array("B", compressed(SMOOTH, ".png")))
    jpeg = CompressedImage(format="jpeg", data=array("B", compressed(SMOOTH, ".jpg")))
    np.testing.assert_array_equal(compressed_to_rgb(png), SMOOTH)
    assert np.abs(compressed_to_rgb(jpeg).astype(int) - SMOOTH).max() < 16


def test_padding_after_a_jpeg_is_harmless():
    data = compressed(SMOOTH, ".jpg") + b"\x00" * 7
    assert compressed_to_rgb(CompressedImage(format="jpeg", data=array("B", data))).shape == SMOOTH.shape


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_image_is_corrupt(extension, share):
    data = compressed(SMOOTH, extension)
    message = CompressedImage(format="jpeg", data=array("B", data[: int(len(data) * share)]))
    assert cause_of(compressed_to_rgb, message) == "corrupt_image"


def test_a_jpeg_with_a_destroyed_header_is_corrupt():
    data = bytearray(compressed(SMOOTH, ".jpg"))
    data[3:200] = bytes(197)
    assert cause_of(compressed_to_rgb, CompressedImage(data=array("B", data))) == "corrupt_image"


@pytest.mark.parametrize("data", [b"", b"GIF89a......", b"\x00" * 12])
def test_other_compressions_are_unknown(data):
    message = CompressedImage(format="16UC1; compressedDepth", data=array("B", data))
    assert cause_of(compressed_to_rgb, message) == "unknown_encoding"


def camera_info(**changes):
    message = CameraInfo(width=8, height=6, k=[4.0, 0.0, 4.0, 0.0, 5.0, 3.0, 0.0, 0.0, 1.0])
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_camera_info_gives_the_camera_and_warns_of_distortion():
    pose = np.diag([1.0, 1.0, 1.0, 1.0])
    camera, warnings = camera_from_info(camera_info(), "front", pose, (8, 6))
    assert (camera.name, camera.width, camera.height, warnings) == ("front", 8, 6, ())
    np.testing.assert_array_equal(camera.intrinsics, [[4, 0, 4], [0, 5, 3], [0, 0, 1]])
    bent = camera_info(d=[0.1, 0.0, 0.0, 0.0, 0.0], distortion_model="plumb_bob")
    _, warnings = camera_from_info(bent, "front", pose)
    assert len(warnings) == 1
    assert "distortion" in warnings[0]
    assert "0.1" in warnings[0]


def test_a_rectified_image_has_the_intrinsics_of_the_projection_matrix():
    # The right camera of a stereo pair; its lens distorts, and P tells that the image was rectified.
    projection = [6.0, 0.0, 3.5, -1.2, 0.0, 6.5, 2.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    message = camera_info(p=projection, d=[0.1, 0.0, 0.0, 0.0, 0.0], distortion_model="plumb_bob")
    camera, warnings = camera_from_info(message, "front", np.eye(4))
    np.testing.assert_array_equal(camera.intrinsics, [[6, 0, 3.5], [0, 6.5, 2.5], [0, 0, 1]])
    assert warnings == ()
    message.binning_x = message.binning_y = 2
    camera, _ = camera_from_info(message, "front", np.eye(4))
    np.testing.assert_array_equal(camera.intrinsics, [[3, 0, 1.75], [0, 3.25, 1.25], [0, 0, 1]])


def test_a_projection_matrix_equal_to_k_tells_nothing_of_rectification():
    projection = [4.0, 0.0, 4.0, 0.0, 0.0, 5.0, 3.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    camera, warnings = camera_from_info(camera_info(p=projection, d=[0.1]), "front", np.eye(4))
    np.testing.assert_array_equal(camera.intrinsics, [[4, 0, 4], [0, 5, 3], [0, 0, 1]])
    assert len(warnings) == 1


def test_a_projection_matrix_is_enough():
    message = camera_info(k=[0.0] * 9, p=[6.0, 0.0, 3.5, 0.0, 0.0, 6.5, 2.5, 0.0, 0.0, 0.0, 1.0, 0.0])
    assert camera_from_info(message, "front", np.eye(4))[0].intrinsics[1, 1] == 6.5
    message.p[5] = 0.0
    assert cause_of(camera_from_info, message, "front", np.eye(4)) == "bad_camera_info"


def test_binning_and_region_of_interest_move_the_intrinsics():
    message = camera_info(binning_x=2, binning_y=2)
    message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = 2, 2, 4, 4
    camera, _ = camera_from_info(message, "front", np.eye(4), (2, 2))
    # The principal point (4, 3) lies at (2, 1) in the region, and at (1, 0.5) after binning by two.
    np.testing.assert_array_equal(camera.intrinsics, [[2, 0, 1], [0, 2.5, 0.5], [0, 0, 1]])


def test_unusable_calibrations_name_their_cause():
    assert cause_of(camera_from_info, CameraInfo(width=8, height=6), "front", np.eye(4)) == "bad_camera_info"
    broken = camera_info(k=[float("nan"), 0.0, 4.0, 0.0, 5.0, 3.0, 0.0, 0.0, 1.0])
    assert cause_of(camera_from_info, broken, "front", np.eye(4)) == "bad_camera_info"
    assert cause_of(camera_from_info, camera_info(width=0), "front", np.eye(4)) == "bad_camera_info"
    assert cause_of(camera_from_info, camera_info(), "front", np.eye(4), (16, 12)) == "camera_info_size"


NUMPY_OF = {
    PointField.INT8: "<i1",
    PointField.UINT8: "<u1",
    PointField.INT16: "<i2",
    PointField.UINT16: "<u2",
    PointField.INT32: "<i4",
    PointField.UINT32: "<u4",
    PointField.FLOAT32: "<f4",
    PointField.FLOAT64: "<f8",
}


def cloud_message(columns, point_step, height=1, row_padding=0):
    """A cloud of (name, offset, datatype, values) columns."""
    count = len(columns[0][3])
    record = np.dtype(
        {
            "names": [c[0] for c in columns],
            "offsets": [c[1] for c in columns],
            "formats": [NUMPY_OF[c[2]] for c in columns],
            "itemsize": point_step,
        }
    )
    points = np.zeros(count, record)
    for name, _, _, values in columns:
        points[name] = values
    width = count // height
    rows = np.frombuffer(points.tobytes(), np.uint8).reshape(height, width * point_step)
    rows = np.pad(rows, ((0, 0), (0, row_padding)), constant_values=0xCD)
    return PointCloud2(
        height=height,
        width=width,
        fields=[PointField(name=n, offset=o, datatype=d, count=1) for n, o, d, _ in columns],
        point_step=point_step,
        row_step=rows.shape[1],
        data=array("B", rows.tobytes()),
    )


def xyzi(points):
    columns = np.asarray(points, np.float32).T
    return cloud_message(
        [(name, 4 * i, PointField.FLOAT32, columns[i]) for i, name in enumerate(("x", "y", "z", "intensity"))], 16
    )


def test_the_clouds_of_carla_give_their_points():
    points, dropped, _ = cloud_to_points(xyzi([[1, 2, 3, 0.5], [-4, 5.5, -6, 0.25]]))
    assert dropped == 0
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, [[1, 2, 3, 0.5], [-4, 5.5, -6, 0.25]])


def test_fields_may_have_any_order_offset_and_type():
    message = cloud_message(
        [
            ("ring", 0, PointField.UINT16, [1, 2]),
            ("intensity", 3, PointField.UINT8, [200, 3]),
            ("z", 5, PointField.FLOAT64, [1.5, -2.5]),
            ("x", 13, PointField.INT16, [-7, 8]),
            ("y", 17, PointField.FLOAT32, [0.25, 4.0]),
        ],
        point_step=23,
        height=2,
        row_padding=6,
    )
    points, dropped, _ = cloud_to_points(message)
    assert dropped == 0
    np.testing.assert_array_equal(points, [[-7, 0.25, 1.5, 200], [8, 4, -2.5, 3]])


def timed_cloud(name, datatype, values, stamp_ns=0):
    """A cloud with a time field behind x, y, z; one point is NaN."""
    xyz = [(axis, 4 * i, PointField.FLOAT32, [1.0, np.nan, 3.0]) for i, axis in enumerate("xyz")]
    message = cloud_message([*xyz, (name, 16, datatype, values)], 24)
    message.header.stamp = ns_to_stamp(stamp_ns)
    return message


NOW_NS = 1_700_000_000_250_000_000


@pytest.mark.parametrize(
    ("name", "datatype", "values", "stamp_ns"),
    [
        ("t", PointField.UINT32, [0, 50_000_000, 100_000_000], NOW_NS),  # Ouster
        ("time_stamp", PointField.UINT32, [0, 50_000_000, 100_000_000], NOW_NS),  # Autoware
        ("time", PointField.FLOAT32, [0.0, 0.05, 0.1], NOW_NS),  # Velodyne
        ("timestamp", PointField.FLOAT64, [0.0, 0.05, 0.1], NOW_NS),  # relative seconds
        ("timestamp", PointField.FLOAT64, [1.7e9 + 0.25, 1.7e9 + 0.3, 1.7e9 + 0.35], NOW_NS),  # Hesai, RoboSense
        ("timestamp", PointField.FLOAT64, [1.7e18 + 2.5e8, 1.7e18 + 3e8, 1.7e18 + 3.5e8], NOW_NS),  # Livox
        ("timestamp", PointField.FLOAT64, [7.0, 7.05, 7.1], 7_000_000_000),  # absolute, in a simulation
        ("timestamp", PointField.FLOAT64, [0.0, 0.05, 0.1], 7_000_000_000),  # relative, in a simulation
    ],
)
def test_times_of_points_are_seconds_after_the_stamp(name, datatype, values, stamp_ns):
    points, dropped, times = cloud_to_points(timed_cloud(name, datatype, values, stamp_ns))
    assert (len(points), dropped) == (2, 1)
    assert times.dtype == np.float32
    assert times == pytest.approx([0.0, 0.1], abs=1e-6)


def test_times_before_the_stamp_are_negative():
    _, _, times = cloud_to_points(timed_cloud("time", PointField.FLOAT32, [-0.1, -0.05, 0.0], NOW_NS))
    assert times == pytest.approx([-0.1, 0.0])
    absolute = np.array([NOW_NS - 100_000_000, NOW_NS, NOW_NS]) * 1e-9
    _, _, times = cloud_to_points(timed_cloud("timestamp", PointField.FLOAT64, absolute, NOW_NS))
    assert times == pytest.approx([-0.1, 0.0], abs=1e-6)


@pytest.mark.parametrize("values", [[np.nan] * 3, [0.0, 0.0, np.inf], [1e300, 0.0, -1e300]])
def test_absurd_times_are_passed_on_as_they_are(values):
    """`motion_compensation` judges them."""
    _, _, times = cloud_to_points(timed_cloud("timestamp", PointField.FLOAT64, values, NOW_NS))
    assert not (np.isfinite(times).all() and np.ptp(times) < 1)


def test_a_cloud_without_times_has_none():
    assert cloud_to_points(xyzi([[1, 2, 3, 0.5]])).times_s is None


def test_a_cloud_without_intensity_gets_zeros():
    columns = [(name, 4 * i, PointField.FLOAT32, [1.0, 2.0]) for i, name in enumerate("xyz")]
    points, _, _ = cloud_to_points(cloud_message(columns, 12))
    np.testing.assert_array_equal(points, [[1, 1, 1, 0], [2, 2, 2, 0]])


def test_points_that_are_not_finite_are_dropped_and_counted():
    nan, inf = float("nan"), float("inf")
    message = xyzi([[1, 2, 3, 4], [nan, 0, 0, 0], [0, inf, 0, 0], [0, 0, -inf, 0], [5, 6, 7, nan]])
    points, dropped, _ = cloud_to_points(message)
    assert dropped == 3
    np.testing.assert_array_equal(points, [[1, 2, 3, 4], [5, 6, 7, 0]])


def test_a_coordinate_beyond_float32_is_dropped():
    columns = [(name, 8 * i, PointField.FLOAT64, [1.0, 1e300]) for i, name in enumerate("xyz")]
    points, dropped, _ = cloud_to_points(cloud_message(columns, 24))
    assert dropped == 1
    np.testing.assert_array_equal(points, [[1, 1, 1, 0]])


def test_an_empty_cloud_is_valid():
    message = xyzi(np.zeros((0, 4)))
    points, dropped, _ = cloud_to_points(message)
    assert points.shape == (0, 4)
    assert dropped == 0


def test_unusable_clouds_name_their_cause():
    big = xyzi([[1, 2, 3, 4]])
    big.is_bigendian = True
    flat = cloud_message([("x", 0, PointField.FLOAT32, [1.0]), ("y", 4, PointField.FLOAT32, [1.0])], 8)
    short = xyzi([[1, 2, 3, 4], [5, 6, 7, 8]])
    short.data = short.data[:-4]
    narrow = xyzi([[1, 2, 3, 4], [5, 6, 7, 8]])
    narrow.row_step, narrow.height = 16, 2
    beyond = xyzi([[1, 2, 3, 4]])
    beyond.fields[2].offset = 13
    unknown = xyzi([[1, 2, 3, 4]])
    unknown.fields[0].datatype = 99
    assert cause_of(cloud_to_points, big) == "big_endian"
    assert cause_of(cloud_to_points, flat) == "missing_fields"
    assert cause_of(cloud_to_points, PointCloud2()) == "missing_fields"
    assert cause_of(cloud_to_points, short) == "size_mismatch"
    assert cause_of(cloud_to_points, narrow) == "size_mismatch"
    assert cause_of(cloud_to_points, beyond) == "bad_fields"
    assert cause_of(cloud_to_points, unknown) == "bad_fields"


def odometry(position, orientation):
    message = Odometry()
    pose = message.pose.pose
    pose.position.x, pose.position.y, pose.position.z = position
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = orientation
    return message


def test_odometry_is_the_pose_of_the_vehicle_whatever_the_length_of_its_quaternion():
    # A quarter turn to the left: the vehicle's x axis points along y of the odometry frame.
    expected = [[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 0.5], [0, 0, 0, 1]]
    for length in (1.0, 3.0):
        message = odometry((10.0, 20.0, 0.5), (0.0, 0.0, length * np.sqrt(0.5), length * np.sqrt(0.5)))
        np.testing.assert_allclose(odometry_to_matrix(message), expected, atol=1e-12)


def test_unusable_odometry_names_its_cause():
    assert cause_of(odometry_to_matrix, odometry((0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))) == "zero_quaternion"
    assert cause_of(odometry_to_matrix, odometry((np.nan, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))) == "not_finite"
    assert cause_of(odometry_to_matrix, odometry((0.0, 0.0, 0.0), (0.0, np.inf, 0.0, 1.0))) == "not_finite"


@given(
    st.tuples(*[st.floats(-100, 100)] * 3),
    st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(v * v for v in q) > 0.01),
)
@settings(max_examples=50, deadline=None)
def test_poses_round_trip(position, orientation):
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = position
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = orientation
    matrix = pose_to_matrix(pose)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1.0)
    np.testing.assert_allclose(pose_to_matrix(matrix_to_pose(matrix)), matrix, atol=1e-9)


@given(st.integers(-(2**31) * 10**9, (2**31) * 10**9 - 1))
def test_stamps_round_trip_to_the_nanosecond(nanoseconds):
    stamp = ns_to_stamp(nanoseconds)
    assert 0 <= stamp.nanosec < 10**9
    assert stamp_to_ns(stamp) == nanoseconds


def test_stamps_have_known_values_and_a_range():
    assert stamp_to_ns(Time(sec=3, nanosec=5)) == 3_000_000_005
    assert stamp_to_ns(Time()) == 0
    with pytest.raises(ValueError, match="32-bit"):
        ns_to_stamp(2**31 * 10**9)

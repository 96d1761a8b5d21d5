"""From a set of messages to a frame, against known answers."""

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("amodal_perception_ros.msg")

from hypothesis import given, settings
from hypothesis import strategies as st
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField

from amodal_perception_ros.ros.frame_builder import FrameBuilder
from amodal_perception_ros.ros.message_conversions import image_to_message, make_header, points_to_cloud
from amodal_perception_ros.ros.parameter_table import check_values
from amodal_perception_ros.ros.parameters import PerceptionParameters
from amodal_perception_ros.ros.transforms import TransformTree
from amodal_perception_ros.synchronizer import SensorSet

MS = 1_000_000
FORWARD = [0.0, 0.0, 1.6, -0.5, 0.5, -0.5, 0.5]


def builder(**values):
    given_values = {
        "cameras": ["front", "back"],
        "extrinsics.front": FORWARD,
        "extrinsics.back": FORWARD,
        "extrinsics.lidar": [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0],
        **values,
    }
    made = FrameBuilder(PerceptionParameters.from_values(check_values(given_values)), TransformTree())
    info = CameraInfo(width=8, height=4)
    info.k = [5.0, 0.0, 4.0, 0.0, 5.0, 2.0, 0.0, 0.0, 1.0]
    made.calibrate("front", info)
    made.calibrate("back", info)
    return made


def image(value=7):
    return image_to_message(np.full((4, 8, 3), value, np.uint8), make_header(0, "optical"))


def driving(made, milliseconds, speed=10.0):
    """Let a vehicle drive along x; its odometry at the given stamps is noted."""
    for ms in milliseconds:
        message = odometry(speed)
        message.pose.pose.position.x = speed * ms / 1000
        made.note_odometry(ms * MS, message)
    return made


def x_of(frame, camera):
    return frame.rig.camera(camera).base_from_camera[0, 3]


def odometry(speed=0.0, yaw_rate=0.0):
    message = Odometry(header=make_header(0, "odom"), child_frame_id="base_link")
    message.pose.pose.orientation.w = 1.0
    message.twist.twist.linear.x = speed
    message.twist.twist.angular.z = yaw_rate
    return message


def sensor_set(stamp_ns=0, **payloads):
    missing = tuple(name for name in ("front", "back", "lidar", "odometry") if name not in payloads)
    reference = "lidar" if "lidar" in payloads else next(iter(payloads))
    return SensorSet(stamp_ns, reference, payloads, missing, 0)


def test_a_complete_set_becomes_a_frame():
    points = np.array([[1, 2, 3, 0.5]], np.float32)
    cloud = points_to_cloud(points, make_header(0, "lidar"))
    built = builder().build(
        sensor_set(100 * MS, front=(90 * MS, image(1)), back=(110 * MS, image(2)), lidar=(100 * MS, cloud),
                   odometry=(100 * MS, odometry()))
    )  # fmt: skip
    frame = built.frame
    assert (frame.stamp_ns, frame.lidar_stamp_ns, frame.missing) == (100 * MS, 100 * MS, ())
    assert frame.image_stamps_ns == {"front": 90 * MS, "back": 110 * MS}
    assert frame.images["back"].shape == (4, 8, 3)
    assert np.all(frame.images["back"] == 2)
    assert np.array_equal(frame.lidar, points)
    assert [camera.name for camera in frame.rig.cameras] == ["front", "back"]
    # The optical axis (z) of a camera that looks forward is the body's x axis.
    assert frame.rig.camera("front").base_from_camera[:3, 2] == pytest.approx([1, 0, 0], abs=1e-12)
    assert frame.rig.base_from_lidar[2, 3] == 2.0
    assert np.array_equal(frame.odom_from_base, np.eye(4))
    assert (built.drops, built.warnings) == ([], {})


@settings(deadline=None)
@given(st.floats(-30, 30), st.integers(-40, 40))
def test_odometry_is_moved_to_the_sets_stamp_by_its_twist(speed, milliseconds):
    payloads = {"front": (0, image()), "odometry": (0, odometry(speed))}
    frame = builder().build(sensor_set(milliseconds * MS, **payloads)).frame
    assert frame.odom_from_base[0, 3] == pytest.approx(speed * milliseconds / 1000)


def test_yaw_rate_turns_the_pose():
    frame = builder().build(sensor_set(20 * MS, front=(0, image()), odometry=(0, odometry(yaw_rate=np.pi)))).frame
    assert frame.odom_from_base[:2, 0] == pytest.approx([np.cos(0.02 * np.pi), np.sin(0.02 * np.pi)])


def test_an_odometry_offset_is_no_motion():
    made = builder(**{"sync.offset_ms.odometry": 30.0})
    frame = made.build(sensor_set(100 * MS, front=(100 * MS, image()), odometry=(130 * MS, odometry(10.0)))).frame
    assert frame.odom_from_base[0, 3] == pytest.approx(0.0)
    assert frame.odom_stamp_ns == 130 * MS
    assert made.build(sensor_set(200 * MS, front=(200 * MS, image()))).frame.odom_stamp_ns is None


def test_a_twist_that_is_not_finite_counts_as_standing_still():
    frame = builder().build(sensor_set(20 * MS, front=(0, image()), odometry=(0, odometry(float("nan"))))).frame
    assert np.array_equal(frame.odom_from_base, np.eye(4))


def test_a_camera_that_came_once_stays_on_the_rig():
    made = builder()
    made.build(sensor_set(front=(0, image()), back=(0, image())))
    frame = made.build(sensor_set(100 * MS, front=(100 * MS, image()))).frame
    assert [camera.name for camera in frame.rig.cameras] == ["front", "back"]
    assert frame.missing == ("back", "lidar", "odometry")


def test_distortion_is_a_warning():
    made = builder()
    info = CameraInfo(width=8, height=4, distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0])
    info.k = [5.0, 0.0, 4.0, 0.0, 5.0, 2.0, 0.0, 0.0, 1.0]
    made.calibrate("front", info)
    built = made.build(sensor_set(front=(0, image())))
    assert built.frame is not None
    assert "rectify" in built.warnings["distortion.front"]


def test_cameras_and_points_are_compensated_by_the_noted_odometry():
    """10 m/s: 40 ms are 0.4 m. The sweep lasts from 0 to 0.1 s and is placed at its middle."""
    made = driving(builder(), range(0, 301, 20))
    cloud = points_to_cloud(np.array([[20, 0, 0, 0.5], [20, 0, 0, 0.5]], np.float32), make_header(0, "lidar"))
    frame = made.build(
        sensor_set(100 * MS, front=(140 * MS, image()), back=(60 * MS, image()), lidar=(100 * MS, cloud))
    ).frame
    assert (x_of(frame, "front"), x_of(frame, "back")) == pytest.approx((0.4, -0.4))
    assert frame.rig.base_from_lidar[0, 3] == 0.0
    assert frame.trajectory is None
    timed = timed_cloud([0, 100_000_000])
    built = made.build(sensor_set(100 * MS, front=(100 * MS, image()), lidar=(100 * MS, timed)))
    frame = built.frame
    assert frame.rig.base_from_lidar[0, 3] == pytest.approx(0.5)
    assert frame.lidar[:, 0] == pytest.approx([19.5, 20.5], abs=1e-5)
    assert built.uncompensated == {}


def timed_cloud(nanoseconds):
    """Points at x = 20 m with a field `t`, as Ouster's driver makes them."""
    records = np.zeros(len(nanoseconds), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("t", "<u4")])
    records["x"], records["t"] = 20.0, nanoseconds
    fields = [PointField(name=name, offset=4 * i, datatype=7 if i < 3 else 6, count=1) for i, name in enumerate("xyzt")]
    return PointCloud2(
        header=make_header(0, "lidar"), height=1, width=len(records), fields=fields, point_step=16,
        row_step=16 * len(records), data=records.tobytes(),
    )  # fmt: skip


def test_motion_compensation_can_be_switched_off():
    made = driving(builder(**{"sync.motion_compensation": False}), range(0, 301, 20))
    late = sensor_set(100 * MS, front=(100 * MS, image()), back=(140 * MS, image()))
    assert x_of(made.build(late).frame, "back") == 0.0
    built = builder(use_odometry=False).build(late)
    assert (x_of(built.frame, "back"), built.uncompensated) == (0.0, {})


def test_offsets_of_clocks_are_no_motion():
    """Front and odometry run 30 ms ahead of the LiDAR, which runs 10 ms ahead of the rest."""
    offsets = {"front": 40.0, "lidar": 10.0, "odometry": 40.0}
    made = builder(**{f"sync.offset_ms.{name}": value for name, value in offsets.items()})
    driving(made, range(0, 301, 20))
    cloud = points_to_cloud(np.array([[20, 0, 0, 0.5]], np.float32), make_header(0, "lidar"))
    parts = {"front": (140 * MS, image()), "back": (120 * MS, image()), "lidar": (110 * MS, cloud)}
    frame = made.build(sensor_set(100 * MS, **parts)).frame
    assert (x_of(frame, "front"), x_of(frame, "back")) == pytest.approx((0.0, 0.2), abs=1e-9)


def bad_odometry(kind):
    message = odometry()
    if kind == "not finite":
        message.pose.pose.position.y = float("nan")
    elif kind == "no orientation":
        message.pose.pose.orientation.w = 0.0
    elif kind == "huge orientation":
        message.pose.pose.orientation.w = 1e200
    else:
        message.header.frame_id = "map"
    return message


@pytest.mark.parametrize("kind", ["not finite", "no orientation", "huge orientation", "another frame"])
def test_bad_odometry_is_not_part_of_the_motion(kind):
    made = builder()
    for ms in range(0, 201, 20):
        made.note_odometry(ms * MS, bad_odometry(kind))
    late = sensor_set(100 * MS, front=(100 * MS, image()), back=(140 * MS, image()))
    assert made.build(late).uncompensated == {"back": "no odometry"}
    driving(made, range(0, 201, 40))
    made.note_odometry(100 * MS, bad_odometry(kind))
    assert made.build(late).uncompensated == {}


def test_after_a_jump_of_time_the_old_motion_is_forgotten():
    made = driving(builder(), range(0, 301, 20))
    made.forget_motion()
    late = sensor_set(100 * MS, front=(100 * MS, image()), back=(140 * MS, image()))
    assert made.build(late).uncompensated == {"back": "no odometry"}


def test_messages_out_of_order_and_repeated_ones_make_the_same_motion():
    made = driving(builder(), [100, 0, 200, 200, 300, 100])
    frame = made.build(sensor_set(100 * MS, back=(100 * MS, image()), front=(150 * MS, image()))).frame
    assert x_of(frame, "front") == pytest.approx(0.5)

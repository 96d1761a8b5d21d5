"""The tree of frames: chains, time jumps, what cannot be used, and what a missing link is called."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from amodal_perception_ros.ros.sensor_conversions import matrix_from_values, ns_to_stamp
from amodal_perception_ros.ros.transforms import (
    TransformError,
    TransformListener,
    TransformTree,
    matrix_from_pose_values,
)

pytestmark = pytest.mark.ros

# The optical frame of a camera that looks ahead: z forward, x right, y down (REP-103).
BASE_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
OPTICAL = (-0.5, 0.5, -0.5, 0.5)


def transform(parent, child, translation=(0.0, 0.0, 0.0), quaternion=(0.0, 0.0, 0.0, 1.0), stamp_ns=0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = ns_to_stamp(stamp_ns)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = (float(v) for v in translation)
    q.x, q.y, q.z, q.w = (float(v) for v in quaternion)
    return message


def test_a_camera_on_a_vehicle_has_known_axes():
    tree = TransformTree()
    tree.update([transform("base_link", "front", (1.5, 0.0, 1.2), OPTICAL)], is_static=True)
    base_from_camera = tree.target_from_source("base_link", "front")
    # A point 10 m ahead, 2 m to the right and 1 m below the camera.
    np.testing.assert_allclose(base_from_camera @ [2, 1, 10, 1], [11.5, -2, 0.2, 1], atol=1e-12)
    np.testing.assert_allclose(base_from_camera[:3, :3], BASE_FROM_OPTICAL[:3, :3], atol=1e-12)


def test_chains_go_up_and_down_through_the_common_ancestor():
    tree = TransformTree()
    tree.update(
        [
            transform("map", "base_link", (100, 50, 0), (0, 0, np.sqrt(0.5), np.sqrt(0.5))),
            transform("base_link", "mast", (0, 0, 2)),
            transform("mast", "lidar", (0, 0, 0.5)),
            transform("base_link", "front", (1.5, 0, 1.2), OPTICAL),
        ],
        is_static=True,
    )
    np.testing.assert_allclose(tree.target_from_source("front", "lidar") @ [0, 0, 0, 1], [0, -1.3, -1.5, 1], atol=1e-9)
    # One metre ahead of the vehicle, which faces +y of the map.
    np.testing.assert_allclose(tree.target_from_source("map", "base_link") @ [1, 0, 0, 1], [100, 51, 0, 1], atol=1e-9)
    np.testing.assert_array_equal(tree.target_from_source("lidar", "lidar"), np.eye(4))
    np.testing.assert_array_equal(tree.target_from_source("never_seen", "never_seen"), np.eye(4))


poses = st.tuples(*[st.floats(-50, 50)] * 3, *[st.floats(-1, 1)] * 4).filter(lambda v: sum(q * q for q in v[3:]) > 0.01)


@given(st.lists(st.tuples(st.integers(0, 100), poses), min_size=1, max_size=8), st.data())
@settings(max_examples=40, deadline=None)
def test_lookups_are_inverse_and_compose_in_every_tree(links, data):
    tree = TransformTree()
    for index, (parent, pose) in enumerate(links):
        tree.update([transform(f"f{parent % (index + 1)}", f"f{index + 1}", pose[:3], pose[3:])], is_static=True)
    frames = st.sampled_from([f"f{i}" for i in range(len(links) + 1)])
    a, b, c = data.draw(frames), data.draw(frames), data.draw(frames)
    a_from_b, b_from_c = tree.target_from_source(a, b), tree.target_from_source(b, c)
    np.testing.assert_allclose(a_from_b @ tree.target_from_source(b, a), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(a_from_b @ b_from_c, tree.target_from_source(a, c), atol=1e-6)


def test_the_newest_moving_transform_counts_and_late_ones_do_not():
    tree = TransformTree()
    tree.update([transform("base_link", "lidar", (1, 0, 0), stamp_ns=1_000_000_000)], is_static=False)
    tree.update([transform("base_link", "lidar", (2, 0, 0), stamp_ns=1_100_000_000)], is_static=False)
    assert not tree.update([transform("base_link", "lidar", (9, 0, 0), stamp_ns=1_050_000_000)], is_static=False)
    assert tree.target_from_source("base_link", "lidar")[0, 3] == 2


def test_a_jump_back_in_time_forgets_moving_transforms_only():
    tree = TransformTree()
    tree.update([transform("base_link", "front", (1, 0, 0))], is_static=True)
    tree.update(
        [transform("map", "base_link", stamp_ns=90 * 10**9), transform("map", "other", stamp_ns=90 * 10**9)],
        is_static=False,
    )
    assert tree.update([transform("map", "base_link", (5, 0, 0), stamp_ns=10**9)], is_static=False)
    assert tree.target_from_source("map", "front")[0, 3] == 6
    with pytest.raises(TransformError, match="'other'"):
        tree.target_from_source("map", "other")


def test_transforms_from_parameters_go_first_and_stay():
    tree = TransformTree()
    tree.fix("base_link", "front", matrix_from_pose_values([1.5, 0, 1.2, *OPTICAL]))
    tree.update([transform("base_link", "front", (9, 9, 9))], is_static=True)
    tree.clear()
    np.testing.assert_allclose(tree.target_from_source("base_link", "front")[:3, 3], [1.5, 0, 1.2])


@pytest.mark.parametrize("values", [[1.0] * 6, [0.0] * 7, [0, 0, np.nan, 0, 0, 0, 1]])
def test_a_pose_of_a_parameter_file_is_checked(values):
    with pytest.raises(ValueError, match=r"7|seven|zero quaternion|not finite|x, y, z"):
        matrix_from_pose_values(values)


def test_leading_slashes_do_not_matter():
    tree = TransformTree()
    tree.update([transform("/base_link", "/front", (1, 0, 0))], is_static=True)
    assert tree.target_from_source("base_link", "/front")[0, 3] == 1


def test_unusable_transforms_are_counted_and_change_nothing():
    tree = TransformTree()
    tree.update([transform("base_link", "front", (1, 0, 0))], is_static=True)
    tree.update(
        [
            transform("base_link", "front", (np.nan, 0, 0)),
            transform("base_link", "front", quaternion=(0, 0, 0, 0)),
            transform("", "front"),
            transform("front", "front"),
        ],
        is_static=True,
    )
    assert dict(tree.rejected) == {"not_finite": 1, "zero_quaternion": 1, "bad_frames": 2}
    assert tree.target_from_source("base_link", "front")[0, 3] == 1


def test_errors_name_the_missing_link():
    tree = TransformTree()
    with pytest.raises(TransformError, match=r"'front' and 'base_link' \(known frames: none\)"):
        tree.target_from_source("base_link", "front")
    tree.update([transform("base_link", "mast"), transform("rig", "front")], is_static=True)
    with pytest.raises(TransformError, match=r"mentions 'back' \(known frames: base_link, front, mast, rig\)"):
        tree.target_from_source("base_link", "back")
    with pytest.raises(TransformError, match="the link between 'rig' and 'base_link' is missing"):
        tree.target_from_source("mast", "front")


def test_a_loop_is_an_error():
    tree = TransformTree()
    tree.update([transform("a", "b"), transform("b", "c"), transform("c", "a")], is_static=True)
    with pytest.raises(TransformError, match="loop"):
        tree.target_from_source("d", "a")


@pytest.fixture
def graph():
    context = rclpy.Context()
    rclpy.init(context=context)
    clock = [Parameter("use_sim_time", value=True)]
    sender = rclpy.create_node("sender", context=context)
    follower = rclpy.create_node("follower", context=context, parameter_overrides=clock)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(follower)
    yield sender, follower, executor
    executor.shutdown()
    sender.destroy_node()
    follower.destroy_node()
    rclpy.shutdown(context=context)


def spin_until(executor, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    assert condition()


def knows(tree, target, source):
    try:
        tree.target_from_source(target, source)
    except TransformError:
        return False
    return True


def test_the_listener_follows_late_and_resets_when_the_clock_jumps_back(graph):
    sender, follower, executor = graph
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = sender.create_publisher(TFMessage, "/tf_static", latched)
    moving = sender.create_publisher(TFMessage, "/tf", 10)
    clock = sender.create_publisher(Clock, "/clock", 10)
    static.publish(TFMessage(transforms=[transform("base_link", "front", (1, 0, 0))]))

    tree, resets = TransformTree(), []
    listener = TransformListener(follower, tree, lambda: resets.append(True))
    spin_until(executor, lambda: moving.get_subscription_count() == 1 and clock.get_subscription_count() == 1)
    clock.publish(Clock(clock=ns_to_stamp(50 * 10**9)))
    moving.publish(TFMessage(transforms=[transform("map", "base_link", (5, 0, 0), stamp_ns=50 * 10**9)]))
    spin_until(executor, lambda: knows(tree, "map", "front"))
    spin_until(executor, lambda: follower.get_clock().now().nanoseconds == 50 * 10**9)
    resets.clear()

    clock.publish(Clock(clock=ns_to_stamp(50 * 10**9 - 1)))
    spin_until(executor, lambda: follower.get_clock().now().nanoseconds == 50 * 10**9 - 1)
    assert knows(tree, "map", "front")
    assert not resets

    clock.publish(Clock(clock=ns_to_stamp(10**9)))
    spin_until(executor, lambda: bool(resets))
    assert not knows(tree, "map", "front")
    assert knows(tree, "base_link", "front")
    listener.close()


def test_a_matrix_from_values_is_rigid():
    np.testing.assert_allclose(matrix_from_values(np.array([1, 2, 3]), np.array(OPTICAL))[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(matrix_from_values(np.zeros(3), np.array(OPTICAL)), BASE_FROM_OPTICAL, atol=1e-12)

"""Scenes to messages and back: in memory, through serialization and through DDS; the standard twins' values."""

import math
import time
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from message_scenes import (
    assert_same_bev,
    assert_same_object,
    assert_same_scene,
    camera,
    random_bev,
    random_scene,
    some_objects,
)

pytest.importorskip("rclpy")
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import Marker

from amodal_perception_ros import msg as messages
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.ros.message_conversions import (
    bev_from_message,
    bev_to_cloud,
    bev_to_message,
    bev_to_occupancy_grid,
    image_to_message,
    make_header,
    mask_from_message,
    mask_to_message,
    objects_from_message,
    objects_to_markers,
    objects_to_message,
    scene_from_messages,
    scene_to_depth,
    scene_to_panoptic,
)
from amodal_perception_ros.ros.sensor_conversions import ConversionError, cloud_to_points, image_to_rgb
from amodal_perception_ros.scene import BevOccupancy, CameraScene

pytestmark = pytest.mark.ros


def info_of(one_camera):
    return CameraInfo(width=one_camera.width, height=one_camera.height, k=one_camera.intrinsics.ravel())


def scene_messages(scene):
    header = make_header(scene.stamp_ns, "front_optical")
    return scene_to_panoptic(scene, header, "tiny-1"), scene_to_depth(scene, header)


def through_bytes(message):
    return deserialize_message(serialize_message(message), type(message))


def empty_scene():
    one = camera()
    return CameraScene(one, 0, np.zeros((48, 64), np.uint16), np.full((48, 64), np.nan, np.float32))


@given(st.integers(0, 10_000), st.integers(0, 12))
@settings(max_examples=25, deadline=None)
def test_every_scene_comes_back_from_its_serialized_messages(seed, instances):
    scene = random_scene(seed, instances)
    panoptic, depth = (through_bytes(message) for message in scene_messages(scene))
    assert_same_scene(scene_from_messages(panoptic, depth, info_of(scene.camera)), scene)


def test_an_empty_scene_comes_back():
    scene = empty_scene()
    panoptic, depth = (through_bytes(message) for message in scene_messages(scene))
    assert_same_scene(scene_from_messages(panoptic, depth, info_of(scene.camera)), scene)


def test_depth_levels_are_those_of_the_core():
    scene = random_scene(3, instances=8)
    panoptic, depth = scene_messages(scene)
    rebuilt = scene_from_messages(panoptic, depth, info_of(scene.camera))
    np.testing.assert_array_equal(rebuilt.depth_levels(), scene.depth_levels())


def test_fields_of_a_panoptic_message():
    scene = random_scene(1, instances=2)
    panoptic, depth = scene_messages(scene)
    assert panoptic.header.frame_id == depth.header.frame_id == panoptic.labels.header.frame_id == "front_optical"
    assert (panoptic.camera_name, panoptic.width, panoptic.height, panoptic.model_id) == ("front", 64, 48, "tiny-1")
    assert (panoptic.labels.encoding, panoptic.labels.step, len(panoptic.labels.data)) == ("16UC1", 128, 128 * 48)
    assert (depth.visible_depth.encoding, depth.visible_depth.step) == ("32FC1", 256)
    for message, instance in zip(panoptic.instances, scene.instances):
        expected = 1 - instance.visible_mask.area / instance.amodal_mask.area
        assert message.occlusion_ratio == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def graph():
    """A publishing and a subscribing node in contexts of their own, so that messages travel through DDS."""
    contexts = [rclpy.Context(), rclpy.Context()]
    nodes = []
    for name, context in zip(("writer", "reader"), contexts):
        rclpy.init(context=context)
        nodes.append(rclpy.create_node(name, context=context, enable_rosout=False, start_parameter_services=False))
    executor = SingleThreadedExecutor(context=contexts[1])
    executor.add_node(nodes[1])
    yield (*nodes, executor)
    executor.shutdown()
    for node, context in zip(nodes, contexts):
        node.destroy_node()
        rclpy.shutdown(context=context)


def through_dds(graph, sent):
    """Publish messages of one type and return what the other node received."""
    writer, reader, executor = graph
    kind, topic, received = type(sent[0]), f"round_trip_{type(sent[0]).__name__}", []
    subscription = reader.create_subscription(kind, topic, received.append, 100)
    publisher = writer.create_publisher(kind, topic, 100)
    deadline = time.monotonic() + 30
    while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    for message in sent:
        publisher.publish(message)
    while len(received) < len(sent) and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.5)
    writer.destroy_publisher(publisher)
    reader.destroy_subscription(subscription)
    assert len(received) == len(sent)
    return received


def test_scenes_come_back_through_dds(graph):
    scenes = [random_scene(5, 7), empty_scene(), random_scene(6, 64, 512, 288), random_scene(7, 3, 1920, 1080)]
    pairs = [scene_messages(scene) for scene in scenes]
    panoptic = through_dds(graph, [pair[0] for pair in pairs])
    depth = through_dds(graph, [pair[1] for pair in pairs])
    assert len(panoptic[2].instances) == 64
    for scene, labels, depths in zip(scenes, panoptic, depth):
        assert_same_scene(scene_from_messages(labels, depths, info_of(scene.camera)), scene)


def test_grids_and_objects_come_back_through_dds(graph):
    grids = [random_bev(0), random_bev(1, 320, 320)]
    for received, grid in zip(through_dds(graph, [bev_to_message(g, "odom") for g in grids]), grids):
        assert received.header.frame_id == "odom"
        assert_same_bev(bev_from_message(received), _as_float32(grid))
    received = through_dds(graph, [objects_to_message(some_objects(), 9, "odom"), objects_to_message([], 9, "odom")])
    assert [len(message.objects) for message in received] == [3, 0]
    for actual, expected in zip(objects_from_message(received[0]), some_objects()):
        assert_same_object(actual, expected)
    assert [each.hidden for each in received[0].objects] == [False, True, False]


def _as_float32(grid):
    """The message holds the resolution and heights as float32; those of `random_bev` are exact in it."""
    assert all(float(np.float32(value)) == value for value in (grid.resolution, grid.z_min, grid.z_max))
    return grid


def test_messages_that_contradict_each_other_name_their_cause():
    scene = random_scene(2, instances=3)
    info = info_of(scene.camera)

    def cause(change, calibration=info):
        panoptic, depth = (through_bytes(message) for message in scene_messages(scene))
        change(panoptic, depth)
        with pytest.raises(ConversionError) as caught:
            scene_from_messages(panoptic, depth, calibration)
        return caught.value.cause

    def shift(panoptic, depth):
        depth.header.stamp.nanosec ^= 1

    def forget_patch(panoptic, depth):
        depth.patches.pop()

    def break_mask(panoptic, depth):
        panoptic.instances[0].amodal_mask.counts = array("I", [1])

    def break_labels(panoptic, depth):
        panoptic.labels.data = panoptic.labels.data[:-2]

    def leave_amodal(panoptic, depth):
        panoptic.instances[0].visible_mask = mask_to_message(RoiMask.from_array(np.ones((48, 64), bool)))

    def break_order(panoptic, depth):
        panoptic.order.probability = array("f", [0.5])

    assert cause(shift) == "not_one_image"
    assert cause(forget_patch) == "inconsistent"
    assert cause(break_mask) == "bad_mask"
    assert cause(break_labels) == "size_mismatch"
    assert cause(leave_amodal) == "inconsistent"
    assert cause(break_order) == "inconsistent"
    assert cause(lambda *_: None, CameraInfo()) == "bad_camera_info"
    assert cause(lambda *_: None, info_of(camera(32, 24))) == "camera_info_size"


def test_a_bev_message_with_missing_cells_is_refused():
    message = bev_to_message(random_bev(0), "odom")
    message.semantic = message.semantic[:-1]
    with pytest.raises(ConversionError, match="'semantic' has 599 cells, not 30 x 20"):
        bev_from_message(message)


def test_a_mask_that_leaves_the_image_keeps_its_offset():
    mask = RoiMask.from_array(np.array([[1, 0], [1, 1]], bool), -5, 1000)
    message = mask_to_message(mask)
    assert (message.x_offset, message.y_offset, message.width, message.height) == (-5, 1000, 2, 2)
    assert list(message.counts) == [0, 2, 1, 1]
    assert mask_from_message(through_bytes(message)) == mask


def test_images_of_pictures_keep_their_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    message = through_bytes(image_to_message(picture[:, ::-1], make_header(1, "a")))
    np.testing.assert_array_equal(image_to_rgb(message), picture[:, ::-1])
    with pytest.raises(ValueError, match="no image encoding"):
        image_to_message(picture.astype(np.float64), make_header(1, "a"))


def small_bev():
    """Two rows and three columns with every kind of value."""
    amodal = np.array([[-1, 0, 25], [26, 49, 100]], np.int8)
    zeros = np.zeros((2, 3), np.uint8)
    return BevOccupancy(7_000_000_002, 0.5, (10.0, -4.0), amodal, amodal, zeros, zeros, 0.25, 1.75)


def test_the_occupancy_grid_follows_nav2():
    grid = bev_to_occupancy_grid(small_bev(), "odom")
    assert list(grid.data) == [-1, 0, 0, -1, -1, 100]
    assert (grid.info.width, grid.info.height, grid.info.resolution) == (3, 2, 0.5)
    assert (grid.info.origin.position.x, grid.info.origin.position.y, grid.info.origin.orientation.w) == (10, -4, 1)
    assert (grid.header.frame_id, grid.header.stamp.sec, grid.header.stamp.nanosec) == ("odom", 7, 2)


def test_the_occupancy_grid_follows_autoware():
    assert list(bev_to_occupancy_grid(small_bev(), "map", "autoware").data) == [50, 1, 25, 26, 49, 99]


def test_another_convention_is_refused():
    with pytest.raises(ValueError, match="'ros1' is not one of nav2, autoware"):
        bev_to_occupancy_grid(small_bev(), "odom", "ros1")


def test_occupied_cells_become_points_at_their_centres():
    cloud = through_bytes(bev_to_cloud(small_bev(), "odom", ground_z=2.0))
    points, dropped, _ = cloud_to_points(cloud)
    # Row 1, column 2: x = 10 + 2.5 * 0.5, y = -4 + 1.5 * 0.5; the height band's middle is 1 m above the ground.
    np.testing.assert_allclose(points, [[11.25, -3.25, 3.0, 1.0]])
    assert dropped == 0
    assert cloud.header.frame_id == "odom"


def test_a_grid_without_obstacles_gives_an_empty_cloud():
    bev = small_bev()
    bev.amodal = np.zeros_like(bev.amodal)
    points, _, _ = cloud_to_points(through_bytes(bev_to_cloud(bev, "odom")))
    assert points.shape == (0, 4)


def test_markers_keep_their_ids_and_expire():
    _, *markers = through_bytes(objects_to_markers(some_objects(), 3_000_000_000, "odom", 0.5)).markers
    again = objects_to_markers(list(reversed(some_objects())), 4_000_000_000, "odom", 0.5).markers
    assert {(m.ns, m.id) for m in markers} == {
        ("objects", 7), ("objects_caption", 7), ("objects", 8), ("objects_caption", 8),
        ("untracked", 2), ("untracked_caption", 2),
    }  # fmt: skip
    assert {(m.ns, m.id) for m in again if m.ns == "objects"} == {("objects", 7), ("objects", 8)}
    assert all(m.lifetime.sec == 0 and m.lifetime.nanosec == 500_000_000 for m in markers)
    car, caption, hidden = markers[0], markers[1], markers[2]
    assert car.type == Marker.CUBE
    assert (car.scale.x, car.scale.y, car.scale.z) == (4.5, 1.9, 1.6)
    assert 2 * math.atan2(car.pose.orientation.z, car.pose.orientation.w) == pytest.approx(2.5)
    assert (car.color.b, car.color.a) == pytest.approx((142 / 255, 0.7))
    assert caption.text == "car 7, 50% visible"
    assert hidden.color.a < car.color.a
    assert markers[3].text == "person 8, hidden"


def test_markers_of_an_earlier_set_are_deleted_first():
    for objects in (some_objects(), []):
        first, *others = objects_to_markers(objects, 3_000_000_000, "odom").markers
        assert (first.action, first.header.frame_id, first.header.stamp.sec) == (Marker.DELETEALL, "odom", 3)
        assert [marker.action for marker in others] == [Marker.ADD] * 2 * len(objects)


def test_only_edges_decided_by_depth_have_the_probability_one_half():
    scene = random_scene(4, instances=4)
    scene.order.probability = np.array([0.5, 0.9, 0.25], np.float32)
    scene.order.in_cycle = np.array([False, True, False])
    panoptic, depth = (through_bytes(message) for message in scene_messages(scene))
    assert panoptic.order.probability[0] == pytest.approx(0.5)
    assert [value == 0.5 for value in panoptic.order.probability] == [False, True, False]
    assert panoptic.order.probability[2] == 0.25
    order = scene_from_messages(panoptic, depth, info_of(scene.camera)).order
    np.testing.assert_array_equal(order.in_cycle, scene.order.in_cycle)


def test_message_constants_equal_the_vocabulary_of_the_core():
    from amodal_perception_ros.labels import LABELS, SEGMENT_FACTOR
    from amodal_perception_ros.scene import Evidence, SourceStatus

    for label in LABELS:
        name = "CLASS_" + label.name.upper().replace(" ", "_")
        assert getattr(messages.AmodalPanoptic, name) == label.id
        if label.is_thing:
            assert getattr(messages.AmodalInstance, name) == getattr(messages.AmodalObject, name) == label.id
    assert messages.AmodalPanoptic.SEGMENT_FACTOR == SEGMENT_FACTOR
    for evidence in Evidence:
        assert getattr(messages.BevOccupancy, f"EVIDENCE_{evidence.name}") == evidence
    for status in SourceStatus:
        assert getattr(messages.BevOccupancy, f"STATUS_{status.name}") == status

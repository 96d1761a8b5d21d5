"""The visualizer node in a real graph."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("amodal_perception_ros.msg")

from amodal_perception_ros.msg import AmodalDepth, AmodalPanoptic  # noqa: E402
from message_scenes import random_scene  # noqa: E402
from rclpy.qos import ReliabilityPolicy  # noqa: E402
from ros_graph import Graph, Listener, parameters, stamp_ns, wait_until  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from amodal_perception_ros.ros.message_conversions import (  # noqa: E402
    image_to_message,
    make_header,
    scene_to_depth,
    scene_to_panoptic,
)
from amodal_perception_ros.ros.sensor_conversions import image_to_rgb, stamp_to_ns  # noqa: E402
from amodal_perception_ros.ros.visualizer_node import StampPairs, VisualizerNode  # noqa: E402
from amodal_perception_ros.viewing.overlay import draw_overlay  # noqa: E402

DOMAIN = int(os.environ.get("ROS_DOMAIN_ID", "30"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=200))
def test_pairs_are_complete_of_one_stamp_and_memory_is_bounded(events):
    pairs = StampPairs(dict.fromkeys("abc", lambda message: 10 + message[1]), held_stamps=5, held_bytes=200)
    for now, (kind, stamp) in enumerate(events):
        parts = pairs.put(kind, stamp, (kind, stamp), now)
        if parts is not None:
            assert parts == {name: (name, stamp) for name in "abc"}
        assert len(pairs) <= 5
        assert 0 <= pairs.bytes <= 200
        assert (pairs.bytes == 0) == (len(pairs) == 0)


def test_a_pair_forgets_what_came_before_it():
    pairs = StampPairs({"a": len, "b": len})
    pairs.put("a", 1, "lost", 0)
    pairs.put("a", 2, "image", 0)
    pairs.put("a", 3, "next", 0)
    assert pairs.put("b", 2, "result", 0) == {"a": "image", "b": "result"}
    assert len(pairs) == 1
    assert pairs.put("b", 1, "too late", 0) is None
    assert pairs.put("b", 3, "result", 0) == {"a": "next", "b": "result"}
    assert pairs.bytes == len("too late")


def test_images_wait_for_slow_results_as_long_as_they_fit():
    second = 10**9
    pairs = StampPairs({"image": len, "result": len}, held_ns=3 * second, held_bytes=10**6)
    for tick in range(60):
        assert pairs.put("image", tick, b"pixels", tick * second // 20) is None
    assert pairs.put("result", 0, b"r", 3 * second) == {"image": b"pixels", "result": b"r"}
    pairs.put("image", 100, b"pixels", 6 * second)
    assert pairs.put("result", 58, b"r", 6 * second) is None
    assert pairs.put("image", 101, bytes(10**6), 6 * second) is None
    assert len(pairs) == 1


def test_results_that_never_find_an_image_are_counted():
    pairs = StampPairs({"image": len, "result": len}, held_ns=10)
    pairs.put("result", 1, b"of an image before the subscription", 0)
    pairs.put("image", 2, b"pixels", 0)
    pairs.put("result", 3, b"its image was lost", 0)
    pairs.put("image", 4, b"pixels", 0)
    assert pairs.put("result", 4, b"r", 0) is not None
    assert pairs.without_first == 1
    nothing_came = StampPairs({"image": len, "result": len}, held_ns=10)
    nothing_came.put("result", 1, b"r", 0)
    nothing_came.put("result", 2, b"r", 11)
    assert nothing_came.without_first == 1


@pytest.fixture
def graphs():
    """Two contexts: one for the node under test, one for its surroundings."""
    made = [Graph(DOMAIN), Graph(DOMAIN)]
    yield made
    for graph in made:
        graph.close()


class Scene:
    """One camera's image and result messages at a tick."""

    def __init__(self, tick):
        self.scene = random_scene(tick)
        height, width = self.scene.labels.shape
        self.pixels = np.random.default_rng(tick).integers(0, 255, (height, width, 3)).astype(np.uint8)
        header = make_header(stamp_ns(tick), "front_optical")
        self.image = image_to_message(self.pixels, header)
        self.panoptic = scene_to_panoptic(self.scene, header, "untrained")
        self.depth = scene_to_depth(self.scene, header)
        self.info = CameraInfo(header=header, width=width, height=height)
        self.info.k = self.scene.camera.intrinsics.ravel()


class Source:
    """Publishes what the visualizer subscribes."""

    def __init__(self, node):
        kinds = {"image": Image, "panoptic": AmodalPanoptic, "amodal_depth": AmodalDepth, "camera_info": CameraInfo}
        self.publishers = {topic: node.create_publisher(kind, f"front/{topic}", 10) for topic, kind in kinds.items()}

    def send(self, made, **left_out):
        messages = {
            "camera_info": made.info,
            "image": made.image,
            "panoptic": made.panoptic,
            "amodal_depth": made.depth,
        }
        for topic, message in messages.items():
            if topic not in left_out:
                self.publishers[topic].publish(message)

    def count(self):
        return sum(publisher.get_subscription_count() for publisher in self.publishers.values())


def test_overlay_is_drawn_from_the_messages_of_one_stamp_and_only_on_demand(graphs):
    own, around = graphs
    node = own.add(VisualizerNode(context=own.context, parameter_overrides=parameters(cameras=["front"])))
    source_node = around.add(rclpy.node.Node("source", context=around.context))
    source = Source(source_node)
    wait_until(lambda: source_node.count_publishers("front/overlay"), 30)
    assert source.count() == 0

    listener = around.add(Listener(around.context, cameras=()))
    listener.listen("front/overlay", Image)
    wait_until(lambda: source.count() == 4, 30)
    asked = {
        topic: source_node.get_subscriptions_info_by_topic(f"/front/{topic}")[0].qos_profile.reliability
        for topic in source.publishers
    }
    results = {"panoptic": ReliabilityPolicy.RELIABLE, "amodal_depth": ReliabilityPolicy.RELIABLE}
    sensors = {"image": ReliabilityPolicy.BEST_EFFORT, "camera_info": ReliabilityPolicy.BEST_EFFORT}
    assert asked == {**results, **sensors}
    first, second = Scene(1), Scene(2)
    source.send(first, panoptic=None)
    source.send(second)
    overlay = listener.wait_for("front/overlay")[0]
    assert stamp_to_ns(overlay.header.stamp) == stamp_ns(2)
    assert overlay.header.frame_id == "front_optical"
    assert overlay.encoding == "rgb8"
    assert np.array_equal(image_to_rgb(overlay), draw_overlay(second.pixels, second.scene))

    broken = Scene(3)
    broken.image.encoding = "yuv422"
    source.send(broken)
    source.send(Scene(4))
    assert stamp_to_ns(listener.wait_for("front/overlay", 2)[1].header.stamp) == stamp_ns(4)

    around.executor.remove_node(listener)
    own.stop()
    node.close()


def test_inputs_are_left_when_nobody_looks_any_more(graphs):
    own, around = graphs
    options = parameters(cameras=["front"], image_transport="compressed")
    node = own.add(VisualizerNode(context=own.context, parameter_overrides=options))
    looker = rclpy.node.Node("looker", context=around.context)
    subscription = looker.create_subscription(Image, "front/overlay", lambda message: None, 5)
    publisher = looker.create_publisher(CompressedImage, "front/image/compressed", 5)
    wait_until(publisher.get_subscription_count, 30)
    looker.destroy_subscription(subscription)
    wait_until(lambda: publisher.get_subscription_count() == 0, 30)
    own.stop()
    node.close()

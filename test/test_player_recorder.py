"""The bag player and the recorder: every byte through real processes, files that others can read, and bad input."""

import re
import signal
import threading
import time
from array import array
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import yaml
from dataset_samples import make_rig
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer
from message_scenes import (
    assert_same_bev,
    assert_same_object,
    assert_same_scene,
    random_bev,
    random_scene,
    some_objects,
)
from ros_processes import Program, new_domain

pytest.importorskip("rclpy")
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo, Image

from amodal_perception_ros.datasets.bag import BagTopic, open_bag, write_bag
from amodal_perception_ros.ros import message_conversions as convert
from amodal_perception_ros.ros.bag_player import Pacer, PlayOptions, offered_qos
from amodal_perception_ros.ros.interfaces import UnknownTypeError, message_class, message_definition
from amodal_perception_ros.ros.recorder import BagFile, matching_qos
from amodal_perception_ros.scene import SurroundFrame

pytestmark = pytest.mark.ros

RELIABLE = QoSProfile(depth=5)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def frames(count):
    rig, rng = make_rig(), np.random.default_rng(0)
    for index in range(count):
        stamp = 1_700_000_000_000_000_000 + index * 100_000_000
        images = {c.name: rng.integers(0, 255, (c.height, c.width, 3)).astype(np.uint8) for c in rig.cameras}
        pose = np.eye(4)
        pose[0, 3] = index
        yield SurroundFrame(
            stamp, rig, images, dict.fromkeys(images, stamp), rng.random((50, 4)).astype(np.float32), stamp, pose
        )


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    return write_bag(frames(6), tmp_path_factory.mktemp("bag") / "drive.mcap")


def by_topic(path):
    with open_bag(path) as bag:
        messages = defaultdict(list)
        for message in bag.messages():
            messages[message.topic].append(message.data)
        return {topic.topic: topic for topic in bag.topics}, dict(messages)


def test_a_played_bag_is_recorded_byte_for_byte(drive, tmp_path):
    env, out = new_domain(), tmp_path / "copy.mcap"
    topics, messages = by_topic(drive)
    # The player's own clock takes the place of the recorded one.
    messages.pop("/clock", None)
    count = sum(len(values) for values in messages.values())
    with (
        Program("recorder", "--out", out, "--exclude", "/clock", env=env) as recorder,
        Program("bag_player", drive, "--rate", 2, "--clock", "--wait-for-subscribers", env=env) as player,
    ):
        code, text, _ = player.finish()
        assert (code, text) == (0, f"played {count} messages of {drive}\n")
        recorder.interrupt()
        code, text, _ = recorder.finish()
    assert code == 0
    assert f"recorded {count} messages of {len(messages)} topics" in text
    copied_topics, copied = by_topic(out)
    assert set(copied) == set(messages)
    for name, expected in messages.items():
        # DDS fills the last word of a message.
        assert [data[: len(one)] for data, one in zip(copied[name], expected)] == expected, name
        assert all(len(data) - len(one) < 4 for data, one in zip(copied[name], expected))
    for name in messages:
        copy, topic = copied_topics[name], topics[name]
        assert (copy.type, copy.count, copy.latched, copy.reliable) == (
            topic.type, topic.count, topic.latched, topic.reliable,
        )  # fmt: skip
    assert copied_topics["/tf_static"].latched


def test_a_latched_message_reaches_a_recorder_that_comes_late(drive, tmp_path):
    env, out = new_domain(), tmp_path / "late.mcap"
    with Program("bag_player", drive, "--loop", "--wait-for-subscribers", "/odometry", env=env) as player:
        with Program("recorder", "/odometry", "--out", tmp_path / "first.mcap", env=env) as first:
            first.wait_for_line("recording /odometry")
            with Program("recorder", "/tf_static", "--out", out, env=env) as late:
                late.wait_for_line("recording /tf_static")
                late.interrupt()
                assert late.finish()[0] == 0
            first.interrupt()
            assert first.finish()[0] == 0
        player.interrupt()
        assert player.finish()[0] == 0
    topics, messages = by_topic(out)
    assert list(topics) == ["/tf_static"]
    assert messages["/tf_static"][0] == by_topic(drive)[1]["/tf_static"][0]


def test_only_the_named_topics_are_recorded(drive, tmp_path):
    env, out = new_domain(), tmp_path / "some.mcap"
    chosen = ["/odometry", "/front/camera_info"]
    with (
        Program("recorder", *chosen, "--out", out, env=env) as recorder,
        Program("bag_player", drive, "--rate", 4, "--wait-for-subscribers", *chosen, env=env) as player,
    ):
        assert player.finish()[0] == 0
        recorder.interrupt()
        assert recorder.finish()[0] == 0
    topics, messages = by_topic(out)
    assert set(topics) == set(chosen)
    assert {name: len(values) for name, values in messages.items()} == dict.fromkeys(chosen, 6)


def test_what_is_lost_on_the_way_is_counted(tmp_path):
    """A recorder that stands still loses best-effort images, which do not fit into the middleware's shared memory."""
    env, out, sent = new_domain(), tmp_path / "gaps.mcap", 60
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=int(env["ROS_DOMAIN_ID"]))
    try:
        node = Node("camera", context=context, start_parameter_services=False)
        publisher = node.create_publisher(Image, "/image", BEST_EFFORT)
        with Program("recorder", "/image", "--out", out, env=env) as recorder:
            recorder.wait_for_line("recording /image")
            while publisher.get_subscription_count() == 0:
                time.sleep(0.02)
            # A gap is known when messages before and after it came.
            publisher.publish(Image())
            time.sleep(0.5)
            recorder.process.send_signal(signal.SIGSTOP)
            for _ in range(sent - 2):
                publisher.publish(Image(data=array("B", bytes(700_000))))
            recorder.process.send_signal(signal.SIGCONT)
            time.sleep(0.5)
            publisher.publish(Image())
            time.sleep(0.5)
            recorder.interrupt()
            code, text, errors = recorder.finish()
    finally:
        rclpy.try_shutdown(context=context)
    assert code == 0
    lost = int(re.search(r"recorder: (\d+) messages of /image were lost on the way", errors)[1])
    recorded = int(re.search(r"recorded (\d+) messages", text)[1])
    assert 0 < lost <= sent - recorded


def test_a_looping_player_stops_on_ctrl_c(drive):
    with Program("bag_player", drive, "--loop", "--rate", 50, env=new_domain()) as player:
        player.wait_for_line("playing")
        player.interrupt()
        code, text, _ = player.finish(10)
    assert code == 0
    assert text.startswith("played ")


def test_bags_that_cannot_be_played_end_with_code_2_and_one_line(drive, tmp_path):
    truncated, foreign = tmp_path / "truncated.mcap", tmp_path / "foreign.mcap"
    truncated.write_bytes(drive.read_bytes()[:-1000])
    foreign.write_bytes(b"PK\x03\x04" + bytes(500))
    # The index at the end of the file is whole, the first chunk is not.
    damaged = tmp_path / "damaged.mcap"
    damaged.write_bytes(drive.read_bytes()[:60] + bytes(500) + drive.read_bytes()[560:])
    cases = {
        tmp_path / "absent.mcap": "no such recording",
        damaged: "damaged recording",
        truncated: "truncated",
        foreign: "not an MCAP file",
    }
    for path, reason in cases.items():
        with Program("bag_player", path, env=new_domain()) as player:
            code, text, errors = player.finish()
        assert (code, text) == (2, "")
        *news, last = errors.splitlines()
        assert last.startswith(f"bag_player: {path}: ")
        assert reason in last
        assert len(news) == (path == damaged)  # it was already playing


def test_types_that_are_not_installed_are_left_out_and_named(tmp_path):
    mixed, strange = tmp_path / "mixed.mcap", tmp_path / "strange.mcap"
    for path, types in (
        (mixed, {"/a": "strange_msgs/msg/Thing", "/b": "std_msgs/msg/Empty"}),
        (strange, {"/a": "strange_msgs/msg/Thing"}),
    ):
        with path.open("wb") as stream:
            writer = Writer(stream)
            writer.start(profile="ros2")
            for topic, name in types.items():
                schema = writer.register_schema(name, "ros2msg", b"uint8 structure_needs_at_least_one_member\n")
                writer.add_message(writer.register_channel(topic, "cdr", schema), 1, b"\x00\x01\x00\x00\x00", 1)
            writer.finish()
    with Program("bag_player", mixed, env=new_domain()) as player:
        code, text, errors = player.finish()
    assert (code, text) == (0, f"played 1 messages of {mixed}\n")
    assert "/a is not played: message type 'strange_msgs/msg/Thing' is not installed" in errors
    with Program("bag_player", strange, env=new_domain()) as player:
        code, _, errors = player.finish()
    assert code == 2
    assert "no message type of the recording is installed" in errors


def test_waiting_for_what_never_comes_ends_with_code_2(drive):
    for arguments, reason in (
        (["/no_such_topic"], "no topic /no_such_topic"),
        (["/odometry", "--wait-timeout", "0.2"], "nobody subscribed to /odometry in 0.2 s"),
    ):
        with Program("bag_player", drive, "--wait-for-subscribers", *arguments, env=new_domain()) as player:
            code, _, errors = player.finish()
        assert code == 2
        assert reason in errors


def test_an_existing_recording_is_kept_unless_told_otherwise(drive, tmp_path):
    path = tmp_path / "old.mcap"
    path.write_text("precious")
    with Program("recorder", "--out", path, env=new_domain()) as recorder:
        code, _, errors = recorder.finish()
    assert code == 2
    assert "exists already" in errors
    assert path.read_text() == "precious"
    with Program("recorder", "--out", tmp_path / "no" / "folder.mcap", env=new_domain()) as recorder:
        code, _, errors = recorder.finish()
    assert code == 2
    assert "cannot be written" in errors


def info_of(one_camera):
    return CameraInfo(width=one_camera.width, height=one_camera.height, k=one_camera.intrinsics.ravel())


def test_every_own_message_comes_back_through_a_bag(tmp_path):
    scenes = [random_scene(seed, instances) for seed, instances in ((0, 0), (1, 6), (2, 64))]
    header = [convert.make_header(scene.stamp_ns, "front_optical") for scene in scenes]
    sent = {
        "/front/panoptic": [convert.scene_to_panoptic(s, h, "tiny") for s, h in zip(scenes, header)],
        "/front/amodal_depth": [convert.scene_to_depth(s, h) for s, h in zip(scenes, header)],
        "/bev": [convert.bev_to_message(random_bev(4), "odom")],
        "/objects": [convert.objects_to_message(some_objects(), 7, "odom")],
    }
    bag = BagFile(tmp_path / "own.mcap")
    for topic, messages in sent.items():
        bag.add_topic(topic, f"amodal_perception_ros/msg/{type(messages[0]).__name__}", [LATCHED])
        for number, message in enumerate(messages):
            bag.write(topic, serialize_message(message), number + 1, number + 1)
    bag.close()

    _, raw = by_topic(tmp_path / "own.mcap")
    back = {t: [deserialize_message(d, type(sent[t][0])) for d in data] for t, data in raw.items()}
    for scene, panoptic, depth in zip(scenes, back["/front/panoptic"], back["/front/amodal_depth"]):
        assert_same_scene(convert.scene_from_messages(panoptic, depth, info_of(scene.camera)), scene)
    assert_same_bev(convert.bev_from_message(back["/bev"][0]), random_bev(4))
    for one, other in zip(convert.objects_from_message(back["/objects"][0]), some_objects()):
        assert_same_object(one, other)


def test_a_reader_without_ros_decodes_our_messages_by_the_embedded_definitions(tmp_path):
    scene = random_scene(1, 6)
    message = convert.scene_to_panoptic(scene, convert.make_header(scene.stamp_ns, "front_optical"), "tiny")
    bag = BagFile(tmp_path / "own.mcap")
    type_name = "amodal_perception_ros/msg/AmodalPanoptic"
    bag.add_topic("/front/panoptic", type_name, [RELIABLE])
    bag.write("/front/panoptic", serialize_message(message), 5, 4)
    bag.close()
    with open_bag(tmp_path / "own.mcap") as opened:
        store = get_typestore(Stores.EMPTY)
        store.register(get_types_from_msg(opened.topics[0].definition, type_name))
        decoded = store.deserialize_cdr(next(iter(opened.messages())).data, type_name)
    assert decoded.model_id == "tiny"
    assert [each.instance_id for each in decoded.instances] == [each.instance_id for each in scene.instances]
    counts = decoded.instances[2].amodal_mask.counts
    np.testing.assert_array_equal(counts, scene.instances[2].amodal_mask.counts)


def test_the_file_is_laid_out_as_rosbag2_expects(tmp_path):
    bag = BagFile(tmp_path / "a.mcap")
    bag.add_topic("/odometry", "nav_msgs/msg/Odometry", [RELIABLE, BEST_EFFORT])
    bag.write("/odometry", serialize_message(message_class("nav_msgs/msg/Odometry")()), 10, 9)
    bag.write("/odometry", serialize_message(message_class("nav_msgs/msg/Odometry")()), 30, 29)
    bag.close()
    with (tmp_path / "a.mcap").open("rb") as stream:
        reader = make_reader(stream)
        assert reader.get_header().profile == "ros2"
        schema, channel, message = next(iter(reader.iter_messages()))
        record = {m.name: m.metadata for m in reader.iter_metadata()}["rosbag2"]
    assert (schema.name, schema.encoding, channel.message_encoding) == ("nav_msgs/msg/Odometry", "ros2msg", "cdr")
    assert (message.log_time, message.publish_time) == (10, 9)
    assert schema.data.decode().count("MSG: ") == 9
    reliable, best_effort = yaml.safe_load(channel.metadata["offered_qos_profiles"])
    assert (reliable["reliability"], best_effort["reliability"], reliable["durability"]) == (1, 2, 2)
    assert reliable["deadline"] == {"sec": 0, "nsec": 0}
    metadata = yaml.safe_load(record["serialized_metadata"])
    assert (metadata["version"], metadata["message_count"], metadata["duration"]) == (8, 2, {"nanoseconds": 20})
    assert metadata["topics_with_message_count"][0]["topic_metadata"]["name"] == "/odometry"


def test_a_recorder_asks_for_what_all_publishers_offer():
    assert matching_qos([RELIABLE, RELIABLE]).reliability == ReliabilityPolicy.RELIABLE
    assert matching_qos([RELIABLE, BEST_EFFORT]).reliability == ReliabilityPolicy.BEST_EFFORT
    assert matching_qos([LATCHED]).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert matching_qos([LATCHED, RELIABLE]).durability == DurabilityPolicy.VOLATILE


def test_a_player_offers_what_was_recorded():
    static = offered_qos(BagTopic("/tf_static", "tf2_msgs/msg/TFMessage", 40, True, True, ""))
    assert (static.durability, static.reliability, static.depth) == (
        DurabilityPolicy.TRANSIENT_LOCAL, ReliabilityPolicy.RELIABLE, 40,
    )  # fmt: skip
    for name in ("/tf_static", "/robot/tf_static"):
        unrecorded = offered_qos(BagTopic(name, "tf2_msgs/msg/TFMessage", 1, False, True, ""))
        assert unrecorded.durability == DurabilityPolicy.TRANSIENT_LOCAL
    cloud = offered_qos(BagTopic("/lidar", "sensor_msgs/msg/PointCloud2", 4000, False, False, ""))
    assert (cloud.durability, cloud.reliability, cloud.depth) == (
        DurabilityPolicy.VOLATILE, ReliabilityPolicy.BEST_EFFORT, 10,
    )  # fmt: skip


@given(st.lists(st.integers(0, 20_000_000), min_size=1, max_size=20).map(sorted), st.floats(1, 20))
@settings(max_examples=20, deadline=None)
def test_the_clock_runs_forward_and_never_ahead_of_the_messages(stamps, rate):
    ticks = []
    pacer = Pacer(0, PlayOptions(rate=rate, clock_hz=2000), ticks.append, threading.Event())
    for stamp in stamps:
        assert pacer.wait_until(stamp)
        assert all(tick <= stamp for tick in ticks)
    assert ticks[0] == 0
    assert all(one <= other for one, other in pairwise(ticks))


def test_a_stopped_pacer_does_not_wait():
    stop = threading.Event()
    stop.set()
    assert not Pacer(0, PlayOptions(), lambda _: None, stop).wait_until(10**18)


def test_message_types_are_found_by_name():
    assert message_class("sensor_msgs/msg/CameraInfo") is CameraInfo
    for name in ("no_such_msgs/msg/Thing", "sensor_msgs/msg/NoSuchThing"):
        with pytest.raises(UnknownTypeError, match=name):
            message_class(name)
        with pytest.raises(UnknownTypeError, match=name):
            message_definition(name)

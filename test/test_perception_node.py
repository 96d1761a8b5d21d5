"""The perception node in a real graph: real messages over DDS, an untrained network, synthetic sensors."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("amodal_perception_ros.msg")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from nav_msgs.msg import OccupancyGrid  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_graph import (  # noqa: E402
    CAMERAS,
    HEIGHT,
    WIDTH,
    Graph,
    Listener,
    RigDriver,
    parameters,
    stamp,
    stamp_ns,
    untrained_weights,
    values_of,
    wait_until,
)
from rosgraph_msgs.msg import Clock  # noqa: E402
from std_msgs.msg import Float64  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from amodal_perception_ros.errors import InputError  # noqa: E402
from amodal_perception_ros.fusion import BevConfig  # noqa: E402
from amodal_perception_ros.ros.diagnostics import STAGES  # noqa: E402
from amodal_perception_ros.ros.message_conversions import image_to_message, make_header, points_to_cloud  # noqa: E402
from amodal_perception_ros.ros.parameter_table import ParameterError, check_values  # noqa: E402
from amodal_perception_ros.ros.parameters import PerceptionParameters  # noqa: E402
from amodal_perception_ros.ros.perception_node import PerceptionNode, bev_config, sync_config  # noqa: E402
from amodal_perception_ros.ros.sensor_conversions import ns_to_stamp, stamp_to_ns  # noqa: E402
from amodal_perception_ros.synchronizer import SyncConfig  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NODE = [sys.executable, str(ROOT / "scripts" / "perception_node"), "--ros-args"]
DOMAIN = os.environ.get("ROS_DOMAIN_ID", "30")
OUTPUTS = [f"{name}/{kind}" for name in CAMERAS for kind in ("panoptic", "amodal_depth")] + [
    "bev",
    "occupancy_grid",
    "occupied_points",
    "objects",
    "markers",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return untrained_weights(tmp_path_factory.mktemp("weights") / "untrained.safetensors")


class Bench:
    """The node under test, and in a context of their own a rig that drives it and a listener."""

    def __init__(self, weights, compressed=False, transforms=True, **overrides):
        self.own, self.graph = Graph(int(DOMAIN)), Graph(int(DOMAIN))
        defaults = {
            "cameras": list(CAMERAS),
            "weights": str(weights),
            "device": "cpu",
            "input_size": [128, 96],
            "bev__extent_m": 20.0,
            "diagnostics__period_s": 0.2,
            "image_transport": "compressed" if compressed else "raw",
        }
        options = parameters(**{**defaults, **overrides})
        try:
            self.node = self.own.add(PerceptionNode(context=self.own.context, parameter_overrides=options))
            self.rig = self.graph.add(RigDriver(self.graph.context, compressed=compressed))
            self.listener = self.graph.add(Listener(self.graph.context))
            self.rig.wait_for_subscribers(overrides.get("use_lidar", True), overrides.get("use_odometry", True))
            self.listener.wait_for_publishers(self.node)
            if transforms:
                self.rig.publish_transforms()
                wait_until(lambda: self.knows_transforms(), 30)
        except BaseException:
            self.own.close()
            self.graph.close()
            raise

    def knows_transforms(self):
        try:
            self.node._transforms.target_from_source("base_link", "lidar_link")
        except LookupError:
            return False
        return True

    def close(self):
        self.own.stop()
        self.node.close()
        self.own.close()
        self.graph.close()


@pytest.fixture
def start(weights):
    """Return a function that starts a bench."""
    benches = []

    def make(**options):
        benches.append(Bench(weights, **options))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def stamps(messages):
    return [stamp_to_ns(message.header.stamp) for message in messages]


def test_every_output_carries_the_sensors_stamp_and_its_frame(start):
    bench = start()
    for tick in range(3):
        bench.rig.tick(tick)
        for topic in OUTPUTS:
            bench.listener.wait_for(topic, tick + 1)
    expected = [stamp_ns(tick) for tick in range(3)]
    for topic in OUTPUTS:
        messages = bench.listener.received[topic]
        if topic != "markers":
            assert stamps(messages) == expected, topic
            frame = f"{topic.split('/')[0]}_optical" if "/" in topic else "odom"
            assert {message.header.frame_id for message in messages} == {frame}
    panoptic = bench.listener.received["front/panoptic"][0]
    assert (panoptic.camera_name, panoptic.width, panoptic.height) == ("front", WIDTH, HEIGHT)
    assert panoptic.model_id == "untrained"
    assert panoptic.labels.header == panoptic.header
    bev = bench.listener.received["bev"][-1]
    assert bev.info.width * bev.info.height == len(bev.amodal)
    assert set(bev.source_status) == {0}


def test_diagnostics_and_debug_topics_tell_how_it_goes(start):
    bench = start()
    bench.listener.listen("debug/pipeline_latency_ms", Float64)
    for stage in STAGES:
        bench.listener.listen(f"debug/processing_time/{stage}_ms", Float64)
    bench.listener.wait_for_publishers(bench.node)
    for tick in range(3):
        bench.rig.tick(tick)
        bench.listener.wait_for("front/panoptic", tick + 1)
        bench.listener.wait_for("debug/pipeline_latency_ms", tick + 1)
    message, values = bench.listener.wait_for_diagnostics(lambda _, v: v["sets_out"] == "3")
    assert message == "running"
    assert [values[k] for k in ("ticks_in", "sets_complete", "sets_partial")] == ["3", "3", "0"]
    assert values["model_id"] == "untrained"
    assert values["engine"].startswith("torch")
    for stage in STAGES:
        assert 0 <= float(values[f"latency_ms.{stage}.median"]) <= float(values[f"latency_ms.{stage}.p95"])
        bench.listener.wait_for(f"debug/processing_time/{stage}_ms", 3)
    parts = sum(bench.listener.received[f"debug/processing_time/{stage}_ms"][2].data for stage in STAGES[:-1])
    assert parts <= bench.listener.received["debug/processing_time/tick_ms"][2].data
    assert {f"rate_hz.{s}" for s in (*CAMERAS, "lidar", "odometry")} <= set(values)
    status = bench.listener.received["/diagnostics"][-1].status[0]
    assert status.name == "/amodal_perception: perception"


def test_grid_is_latched_and_subscriptions_accept_every_publisher(start):
    bench = start()
    bench.rig.tick(0)
    bench.listener.wait_for("bev")
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    late = rclpy.node.Node("late", context=bench.graph.context)
    grids: list[OccupancyGrid] = []
    late.create_subscription(OccupancyGrid, "occupancy_grid", grids.append, qos)
    bench.graph.add(late)
    wait_until(lambda: grids, 30)
    assert stamps(grids) == [stamp_ns(0)]
    offered = bench.listener.get_publishers_info_by_topic("/occupancy_grid")[0].qos_profile
    assert offered.reliability == ReliabilityPolicy.RELIABLE
    assert offered.durability == DurabilityPolicy.TRANSIENT_LOCAL
    for topic in ("/front/image", "/front/camera_info", "/lidar/points", "/odometry"):
        asked = bench.listener.get_subscriptions_info_by_topic(topic)[0].qos_profile
        assert asked.reliability == ReliabilityPolicy.BEST_EFFORT


def test_reliability_is_a_parameter_of_images_and_clouds_and_an_override_stays_with_its_topic(start):
    overrides = {
        "qos_overrides./front/camera_info.subscription.reliability": "reliable",
        "qos_overrides./back/image.subscription.depth": 3,
    }
    bench = start(sensor_reliability="reliable", **overrides)
    asked = {
        subscription.topic_name: (subscription.qos_profile.reliability.name, subscription.qos_profile.depth)
        for subscription in bench.node.subscriptions
    }
    assert asked["/front/camera_info"] == ("RELIABLE", 5)
    assert asked["/back/camera_info"] == ("BEST_EFFORT", 5)
    assert asked["/front/image"] == asked["/lidar/points"] == ("RELIABLE", 5)
    assert asked["/back/image"] == ("RELIABLE", 3)
    assert asked["/odometry"] == ("BEST_EFFORT", 100)


def test_a_camera_that_never_sends_is_a_missing_source_from_the_first_set(start):
    bench = start(sync__reference="back", sync__timeout_ms=50.0, use_lidar=False)
    bench.rig.tick(0, front=None, front_info=None)
    bev = bench.listener.wait_for("bev")[0]
    assert dict(zip(bev.sources, bev.source_status)) == {
        "front": bev.STATUS_MISSING, "back": bev.STATUS_OK, "odometry": bev.STATUS_OK,
    }  # fmt: skip


def unknown_encoding(rig, tick):
    message = rig.image("front", tick)
    message.encoding = "yuv422"
    return {"front": message}


def short_data(rig, tick):
    message = rig.image("front", tick)
    message.data = message.data[:-10]
    return {"front": message}


def info_of_another_size(rig, tick):
    message = rig.info("front", tick)
    message.width = 640
    return {"front_info": message}


def info_all_zero(rig, tick):
    message = rig.info("front", tick)
    message.k = np.zeros(9)
    return {"front_info": message}


def unknown_frame(rig, tick):
    message = rig.image("front", tick)
    message.header.frame_id = "nowhere"
    return {"front": message}


def cloud_of(values):
    def make(rig, tick):
        return {"lidar": points_to_cloud(values, make_header(stamp_ns(tick), "lidar_link"))}

    return make


def cloud_without_x(rig, tick):
    message = rig.cloud(tick)
    message.fields = message.fields[1:]
    return {"lidar": message}


def odometry_not_finite(rig, tick):
    message = rig.pose(tick)
    message.pose.pose.position.y = float("nan")
    return {"odometry": message}


def odometry_of_another_frame(rig, tick):
    message = rig.pose(tick)
    message.header.frame_id = "map"
    return {"odometry": message}


@pytest.mark.parametrize(
    ("make", "cause", "words", "lost"),
    [
        (unknown_encoding, "unknown_encoding", "yuv422", "front"),
        (short_data, "size_mismatch", "camera 'front'", "front"),
        (info_of_another_size, "camera_info_size", "640 x 96", "front"),
        (info_all_zero, "bad_camera_info", "not calibrated", "front"),
        (unknown_frame, "no_transform", "'nowhere'", "front"),
        (cloud_of(np.zeros((0, 4), np.float32)), "empty_cloud", "is empty", "lidar"),
        (cloud_of(np.full((7, 4), np.nan, np.float32)), "empty_cloud", "no finite point among 7", "lidar"),
        (cloud_without_x, "missing_fields", "lacks the fields ['x']", "lidar"),
        (odometry_not_finite, "bad_odometry", "not finite", "odometry"),
        (odometry_of_another_frame, "bad_odometry", "odom_frame", "odometry"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", None),
)
def test_bad_input_is_reported_counted_and_survived(start, make, cause, words, lost):
    bench = start()
    bench.rig.tick(0)
    bench.listener.wait_for("bev", 1)
    bench.rig.tick(1, **make(bench.rig, 1))
    message, values = bench.listener.wait_for_diagnostics(lambda text, _: words in text)
    assert values[f"dropped.{cause}"] == "1"
    assert f"sets came without {lost}" in message
    bench.listener.wait_for("back/panoptic", 2)
    bench.rig.tick(2)
    bench.listener.wait_for("back/panoptic", 3)
    good = [stamp_ns(0), stamp_ns(2)] if lost == "front" else [stamp_ns(tick) for tick in range(3)]
    assert stamps(bench.listener.wait_for("front/panoptic", len(good))) == good
    with_grid = [stamp_ns(0), stamp_ns(2)] if lost == "odometry" else [stamp_ns(tick) for tick in range(3)]
    assert stamps(bench.listener.wait_for("bev", len(with_grid))) == with_grid
    _, values = bench.listener.wait_for_diagnostics(lambda _, v: v["sets_out"] == "3")
    assert (values["sets_complete"], values["sets_partial"]) == ("2", "1")


def test_a_truncated_jpeg_costs_one_image(start):
    bench = start(compressed=True)
    broken = bench.rig.image("front", 0)
    broken.data = broken.data[: len(broken.data) // 2]
    bench.rig.tick(0, front=broken)
    _message, values = bench.listener.wait_for_diagnostics(lambda text, _: "truncated" in text)
    assert values["dropped.corrupt_image"] == "1"
    bench.rig.tick(1)
    assert stamps(bench.listener.wait_for("front/panoptic")) == [stamp_ns(1)]
    assert stamps(bench.listener.wait_for("back/panoptic", 2)) == [stamp_ns(0), stamp_ns(1)]


def test_a_late_camera_is_compensated_once_there_is_odometry_and_named_before(start):
    """Its motion within 30 ms follows from two poses 100 ms apart, but not from one."""
    bench = start()
    for tick in range(2):
        late = bench.rig.image("front", tick)
        late.header.stamp = ns_to_stamp(stamp_ns(tick) + 30_000_000)
        bench.rig.tick(tick, front=late)
        bench.listener.wait_for("front/panoptic", tick + 1)
    _, values = bench.listener.wait_for_diagnostics(
        lambda text, _: "motion of front is not compensated: a single" in text
    )
    assert values["uncompensated.front"] == "1"
    _, values = bench.listener.wait_for_diagnostics(lambda _, v: v["sets_out"] == "2")
    assert values["uncompensated.front"] == "1"
    assert [key for key in values if key.startswith("uncompensated.")] == ["uncompensated.front"]


def test_a_missing_camera_leads_to_a_partial_set_that_names_it(start):
    bench = start(sync__timeout_ms=50.0)
    bench.rig.tick(0)
    bench.listener.wait_for("bev", 1)
    bench.rig.tick(1, front=None)
    bev = bench.listener.wait_for("bev", 2)[1]
    statuses = dict(zip(bev.sources, bev.source_status))
    assert statuses["front"] == bev.STATUS_MISSING
    assert statuses["back"] == bev.STATUS_OK
    _message, values = bench.listener.wait_for_diagnostics(lambda text, _: "without front" in text)
    assert (values["sets_complete"], values["sets_partial"]) == ("1", "1")


def test_a_rig_that_sends_nothing_is_reported_with_the_expected_topics(start):
    bench = start(diagnostics__sensor_timeout_s=0.3)
    message, _ = bench.listener.wait_for_diagnostics(lambda text, _: "no sensor sends anything" in text)
    for topic in ("/front/image", "/back/image", "/lidar/points", "/odometry"):
        assert topic in message
    assert bench.listener.received["/diagnostics"][-1].status[0].level == b"\x01"


def test_a_silent_sensor_is_named_with_its_topic(start):
    bench = start(diagnostics__sensor_timeout_s=0.5, sync__timeout_ms=20.0)
    tick = 0

    def named(text, _):
        nonlocal tick
        bench.rig.tick(tick, lidar=None)
        tick += 1
        return "nothing on /lidar/points since the start" in text

    message, _ = bench.listener.wait_for_diagnostics(named)
    assert "/front/image" not in message


def test_without_odometry_scenes_are_published_and_the_missing_grid_is_reported(start):
    bench = start(sync__timeout_ms=50.0)
    bench.rig.tick(0, odometry=None)
    bench.listener.wait_for("front/panoptic")
    message, _ = bench.listener.wait_for_diagnostics(lambda text, _: "no grid" in text)
    assert "odometry" in message
    assert bench.listener.received["bev"] == []
    assert bench.listener.received["objects"] == []


def test_a_rig_without_lidar_and_odometry_is_complete_without_them(start):
    bench = start(use_lidar=False, use_odometry=False)
    bench.rig.tick(0)
    bench.listener.wait_for("front/panoptic")
    message, values = bench.listener.wait_for_diagnostics(lambda _, v: v["sets_out"] == "1")
    assert values["sets_complete"] == "1"
    assert message == "running"


def test_too_few_usable_cameras_drop_the_set(start):
    bench = start(sync__min_cameras=2)
    bench.rig.tick(0, **unknown_encoding(bench.rig, 0))
    _, values = bench.listener.wait_for_diagnostics(lambda _, v: "dropped.too_few_cameras" in v)
    assert values["sets_out"] == "0"
    bench.rig.tick(1)
    assert stamps(bench.listener.wait_for("back/panoptic")) == [stamp_ns(1)]


def hold_inference(bench):
    """Make inference wait; returns the events that it is busy and that it may go on."""
    busy, go_on = threading.Event(), threading.Event()
    perceive = bench.node._perception.perceive

    def slow(frame):
        busy.set()
        assert go_on.wait(60)
        return perceive(frame)

    bench.node._perception.perceive = slow
    return busy, go_on


def test_newest_wins_when_inference_is_slow_and_every_set_is_accounted_for(start):
    bench = start(diagnostics__sensor_timeout_s=30.0)
    busy, go_on = hold_inference(bench)
    bench.rig.tick(0)
    assert busy.wait(30)
    for tick in range(1, 12):
        bench.rig.tick(tick)
        wait_until(lambda n=tick + 1: bench.node._synchronizer.emitted == n, 30, bench.listener.diagnosis)
    go_on.set()
    _message, values = bench.listener.wait_for_diagnostics(lambda _, v: v["sets_out"] == "2")
    assert (values["ticks_in"], values["sets_complete"], values["dropped.superseded"]) == ("12", "12", "10")
    assert stamps(bench.listener.wait_for("bev", 2)) == [stamp_ns(0), stamp_ns(11)]


def test_a_bag_that_starts_again_is_processed_again(start):
    bench = start(diagnostics__sensor_timeout_s=30.0)
    for loop in range(2):
        for tick in range(0, 60, 20):
            bench.rig.tick(tick)
            wait_until(lambda n=3 * loop + tick // 20 + 1: bench.node._synchronizer.received["lidar"] == n, 30)
        wait_until(lambda: stamp_ns(40) in stamps(bench.listener.received["bev"]), 30, bench.listener.diagnosis)
        bench.listener.received["bev"].clear()
    bench.listener.wait_for_diagnostics(lambda _, v: v["ticks_in"] == "6")
    texts = [values_of(report)[0] for report in bench.listener.received["/diagnostics"]]
    assert any("time went back" in text for text in texts)


def test_a_leap_of_the_odometry_restarts_the_map(start):
    bench = start()
    bench.rig.tick(0)
    bench.listener.wait_for("bev", 1)
    leap = bench.rig.pose(1)
    leap.pose.pose.position.x = 5000.0
    bench.rig.tick(1, odometry=leap)
    message, _ = bench.listener.wait_for_diagnostics(lambda text, _: "odometry jump" in text)
    assert "map was restarted" in message
    assert bench.listener.wait_for("bev", 2)[1].info.origin.position.x == pytest.approx(4990.0)


def test_default_parameters_are_the_defaults_of_synchronizer_and_grid():
    parameters = PerceptionParameters.from_values(check_values({}))
    offsets_ns = dict.fromkeys(SyncConfig().sensors, 0)
    assert sync_config(parameters) == SyncConfig(window_ns=45_000_000, offsets_ns=offsets_ns)
    assert bev_config(parameters) == BevConfig()


def test_exhausted_gpu_memory_moves_the_network_to_the_cpu_once(start):
    bench = start()

    def exhausted(frame):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    bench.node._perception.perceive = exhausted
    bench.rig.tick(0)
    assert stamps(bench.listener.wait_for("bev")) == [stamp_ns(0)]
    message, values = bench.listener.wait_for_diagnostics(lambda text, _: "GPU's memory" in text)
    assert "input_size" in message
    assert values["engine"] == "torch (cpu, float32)"


def test_a_defect_in_one_set_is_counted_and_the_next_set_passes(start):
    bench = start()
    perceive = bench.node._perception.perceive

    def fails_once(frame):
        bench.node._perception.perceive = perceive
        raise RuntimeError("broken once")

    bench.node._perception.perceive = fails_once
    bench.rig.tick(0)
    message, values = bench.listener.wait_for_diagnostics(lambda _, v: v.get("dropped.failed") == "1")
    assert "RuntimeError: broken once" in message
    bench.rig.tick(1)
    assert stamps(bench.listener.wait_for("bev")) == [stamp_ns(1)]
    _, values = bench.listener.wait_for_diagnostics(lambda _, v: v["sets_out"] == "1")
    assert values["sets_complete"] == "2"


def test_unusable_transforms_are_counted(start):
    bench = start()
    link = TransformStamped(header=make_header(0, "base_link"), child_frame_id="loose")
    link.transform.rotation.w = 0.0
    bench.rig.static.publish(TFMessage(transforms=[link]))
    message, _ = bench.listener.wait_for_diagnostics(lambda _, v: v.get("dropped.transform_zero_quaternion") == "1")
    assert "/tf_static" in message


def test_extrinsics_from_parameters_need_no_transforms(start):
    poses = {f"extrinsics__{name}": [0.0, 0.0, 1.6, -0.5, 0.5, -0.5, 0.5] for name in CAMERAS}
    bench = start(transforms=False, extrinsics__lidar=[0.0, 0.0, 1.9, 0.0, 0.0, 0.0, 1.0], **poses)
    bench.rig.tick(0)
    bench.listener.wait_for("bev")
    assert "dropped.no_transform" not in bench.listener.wait_for_diagnostics(lambda _, v: v["sets_out"] == "1")[1]


def test_switched_off_outputs_do_not_exist(start):
    bench = start(publish__bev=False, publish__panoptic=False, publish__debug=False)
    bench.rig.tick(0)
    bench.listener.wait_for("objects")
    topics = {name for name, _ in bench.node.get_publisher_names_and_types_by_node("amodal_perception", "/")}
    assert "/objects" in topics
    assert not {"/bev", "/front/panoptic", "/debug/pipeline_latency_ms"} & topics


def test_simulated_time_is_used_for_reports_only(start):
    bench = start(use_sim_time=True)
    clock = bench.rig.create_publisher(Clock, "/clock", 30)
    wait_until(clock.get_subscription_count, 30)
    clock.publish(Clock(clock=stamp(5)))
    wait_until(lambda: stamps(bench.listener.received["/diagnostics"])[-1:] == [stamp_ns(5)], 30)
    bench.rig.tick(3)
    assert stamps(bench.listener.wait_for("bev")) == [stamp_ns(3)]


def test_a_last_report_goes_out_when_the_node_closes(start):
    bench = start(diagnostics__period_s=60.0)
    bench.rig.tick(0)
    bench.listener.wait_for("bev")
    assert bench.listener.received["/diagnostics"] == []
    bench.own.stop()
    bench.node.close()
    _, values = values_of(bench.listener.wait_for("/diagnostics")[0])
    assert values["sets_out"] == "1"


def test_sets_that_the_end_leaves_undone_are_counted(start):
    bench = start(diagnostics__period_s=60.0)
    busy, go_on = hold_inference(bench)
    bench.rig.tick(0)
    assert busy.wait(30)
    bench.rig.tick(1)
    wait_until(lambda: bench.node._synchronizer.emitted == 2, 30, bench.listener.diagnosis)
    bench.own.stop()
    assert not bench.node.close()
    _, values = values_of(bench.listener.wait_for("/diagnostics")[0])
    assert (values["sets_complete"], values["sets_out"], values["dropped.shutdown"]) == ("2", "0", "2")
    go_on.set()
    bench.node._worker.join(30)
    assert bench.node.close()


BUSY_NODE = """
import os, signal, sys, threading, time
from amodal_perception_ros.ros.node_main import ConfiguredNode, spin_until_signal

class BusyNode(ConfiguredNode):
    def close(self):
        super().close()
        return False

def make():
    threading.Thread(target=time.sleep, args=(300,)).start()
    os.kill(os.getpid(), signal.SIGTERM)
    return BusyNode("busy")

sys.exit(spin_until_signal(make))
"""


def test_a_call_that_cannot_be_interrupted_does_not_keep_the_process():
    done = subprocess.run(
        [sys.executable, "-c", BUSY_NODE],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "ROS_DOMAIN_ID": DOMAIN, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_grey_image_is_an_image(start):
    bench = start()
    grey = image_to_message(np.zeros((HEIGHT, WIDTH, 3), np.uint8), make_header(stamp_ns(0), "front_optical"))
    grey.encoding, grey.step, grey.data = "mono8", WIDTH, grey.data[: HEIGHT * WIDTH]
    bench.rig.tick(0, front=grey)
    bench.listener.wait_for("front/panoptic")


def run_node(*arguments):
    """Run the executable; returns the finished process."""
    return subprocess.run(
        [*NODE, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "ROS_DOMAIN_ID": DOMAIN, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def truncated(path, weights):
    path.write_bytes(weights.read_bytes()[:1000])


def foreign(path, weights):
    from safetensors.torch import load_file, save_file

    save_file(load_file(str(weights)), str(path), metadata={"architecture": "another/7", "model_id": "x"})


def test_missing_weights_are_one_line_at_the_start(tmp_path):
    path = tmp_path / "nowhere.safetensors"
    done = run_node("-p", f"weights:={path}")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith(f"error: {path}: no such weights file")


@pytest.mark.parametrize(
    ("make", "words"),
    [(truncated, "not a complete safetensors file"), (foreign, "another/7")],
    ids=["truncated", "another architecture"],
)
def test_unusable_weights_are_refused_at_the_start(weights, tmp_path, make, words):
    path = tmp_path / "broken.safetensors"
    make(path, weights)
    with pytest.raises(InputError, match=words) as error:
        Bench(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_parameter_file_is_one_line_at_the_start(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("cameras: [\n")
    done = run_node("--params-file", str(path))
    assert done.returncode == 2
    assert str(path) in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_wrong_parameter_is_one_line_at_the_start():
    done = run_node("-p", "bev.resolution_m:=-1.0")
    assert done.returncode == 2
    assert done.stderr.strip() == ("error: parameter 'bev.resolution_m' must be a number in 0.05 .. 5.0 [m], got -1.0")


def test_a_node_with_a_wrong_parameter_is_refused(weights):
    with pytest.raises(ParameterError, match="min_cameras"):
        Bench(weights, sync__min_cameras=5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals_end_the_node_cleanly(weights, number):
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "scripts" / "perception_node"),
            "--ros-args",
            "-p",
            f"weights:={weights}",
            "-p",
            "input_size:=[128, 96]",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": DOMAIN, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = iter(process.stderr.readline, "")
    assert any("ready: untrained" in line for line in lines)
    process.send_signal(number)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in rest

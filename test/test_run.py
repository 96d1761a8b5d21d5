"""`amodal run`: a recording through real processes, and whatever can go wrong ends cleanly."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from dataset_samples import make_rig

pytest.importorskip("rclpy")
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rich.console import Console
from ros_graph import untrained_weights
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from amodal_perception_ros.datasets.bag import open_bag, write_bag
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.ros.message_conversions import make_header
from amodal_perception_ros.ros.processes import large_message_environment, reserved_domain
from amodal_perception_ros.ros.recorder import BagFile
from amodal_perception_ros.ros.run import RunError, run
from amodal_perception_ros.ros.run_plan import plan_run
from amodal_perception_ros.ros.run_summary import counters, perception_status, print_summary
from amodal_perception_ros.scene import SurroundFrame

pytestmark = pytest.mark.ros

TICKS = 4


def frames(ticks=TICKS):
    rig, rng = make_rig(), np.random.default_rng(0)
    for index in range(ticks):
        stamp = 1_700_000_000_000_000_000 + index * 500_000_000
        images = {c.name: rng.integers(0, 255, (c.height, c.width, 3)).astype(np.uint8) for c in rig.cameras}
        pose = np.eye(4)
        pose[0, 3] = index
        cloud = (rng.normal(size=(500, 4)) * 10).astype(np.float32)
        yield SurroundFrame(stamp, rig, images, dict.fromkeys(images, stamp), cloud, stamp, pose)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def drive(folder):
    return write_bag(frames(), folder / "drive.mcap")


@pytest.fixture(scope="module")
def params(folder):
    return write_params(folder / "params.yaml", untrained_weights(folder / "weights.safetensors"))


def write_params(path, weights, cameras=("front", "right"), transport="compressed"):
    path.write_text(
        "/**:\n  ros__parameters:\n"
        f"    cameras: [{', '.join(cameras)}]\n    image_transport: {transport}\n"
        f"    weights: '{weights}'\n    input_size: [128, 96]\n"
    )
    return path


def test_a_recording_goes_through_all_processes(drive, params, tmp_path):
    summary = run(drive, tmp_path / "out", params)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert list(summary) == [
        "ticks_in", "sets_complete", "sets_partial", "sets_out", "dropped", "instances", "occluded_instances",
        "hidden_cells", "latency_ms", "engine", "model_id",
    ]  # fmt: skip
    assert summary["ticks_in"] == TICKS
    assert summary["sets_complete"] + summary["sets_partial"] == TICKS
    assert summary["sets_out"] >= 1
    assert summary["sets_out"] + summary["dropped"].get("superseded", 0) == TICKS
    assert summary["model_id"] == "untrained"
    assert summary["latency_ms"]["tick"]["median"] <= summary["latency_ms"]["tick"]["p95"]
    with open_bag(tmp_path / "out" / "amodal.mcap") as bag:
        counts = {topic.topic: topic.count for topic in bag.topics}
    for topic in ("/front/panoptic", "/right/amodal_depth", "/bev", "/objects", "/occupied_points"):
        assert counts[topic] == summary["sets_out"], topic
    assert counts["/lidar/points"] == counts["/odometry"] == counts["/front/image/compressed"] == TICKS
    assert counts["/tf_static"] == 1
    assert "/clock" not in counts
    decode_without_ros(tmp_path / "out" / "amodal.mcap")
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    names = {path.name for path in (tmp_path / "out" / "pictures").iterdir()}
    assert {"tick_000_front.jpg", "tick_000_right.jpg", "tick_000_bev.png"} <= names


def decode_without_ros(path):
    """Decode every message by the definitions in the file, as Foxglove does."""
    store = get_typestore(Stores.EMPTY)
    with open_bag(path) as bag:
        for topic in bag.topics:
            store.register(get_types_from_msg(topic.definition, topic.type))
        for message in bag.messages():
            store.deserialize_cdr(message.data, message.type)


RARE_REPORTS = "amodal_perception:\n  ros__parameters:\n    diagnostics: {period_s: 60.0}\n"


def test_the_topics_and_frames_of_carla_are_mapped_by_their_files(params, tmp_path, capsys):
    config = Path(__file__).resolve().parents[1] / "config"
    bag = write_bag(frames(), tmp_path / "carla.mcap", profile="carla")
    mine = tmp_path / "carla.yaml"
    text = (config / "carla.yaml").read_text()
    weights = params.read_text().split("weights: ")[1].split()[0].strip("'")
    text = text.replace('["front", "right", "back", "left"]', '["front", "right"]')
    mine.write_text(f"{text}\n    weights: {weights}\n    input_size: [128, 96]\n{RARE_REPORTS}")
    (tmp_path / "carla.topics.yaml").write_text((config / "carla.topics.yaml").read_text())
    summary = run(bag, tmp_path / "out", mine)
    assert summary["ticks_in"] == TICKS
    assert summary["sets_out"] >= 1
    # The end of the run did not wait for the reports that the file wants once a minute.
    assert "no news" not in capsys.readouterr().err
    with open_bag(tmp_path / "out" / "amodal.mcap") as recording:
        topics = {topic.topic for topic in recording.topics}
    assert "/front/panoptic" in topics
    assert "/carla/ego_vehicle/rgb_front/camera_info" in topics
    # Raw input images are in the source recording already.
    assert "/carla/ego_vehicle/rgb_front/image" not in topics


def test_unusable_input_is_an_input_error(drive, folder, tmp_path):
    foreign = tmp_path / "foreign.mcap"
    foreign.write_bytes(b"not a bag")
    with pytest.raises(InputError, match="not an MCAP file"):
        run(foreign, tmp_path / "out")
    with pytest.raises(InputError, match="no such recording"):
        run(tmp_path / "absent.mcap", tmp_path / "out")
    with pytest.raises(InputError, match=r"none of the cameras east, west is in the recording"):
        run(drive, tmp_path / "out", write_params(tmp_path / "east.yaml", "", ("east", "west")))
    with pytest.raises(InputError, match=r"absent\.safetensors"):
        run(drive, tmp_path / "out", write_params(tmp_path / "weights.yaml", tmp_path / "absent.safetensors"))
    with pytest.raises(InputError, match="would be replaced"):
        run(drive.rename(folder / "amodal.mcap"), folder)
    (folder / "amodal.mcap").rename(drive)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot be written"):
        run(drive, tmp_path / "file")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("/**:\n  ros__parameters:\n    cameras: 7\n")
    with pytest.raises(InputError, match=r"wrong\.yaml: parameter 'cameras'"):
        run(drive, tmp_path / "out", wrong)
    assert not (tmp_path / "out" / "summary.json").exists()


# A test suite that runs in the background inherits an ignored SIGINT; Ctrl-C must reach the run all the same.
RUN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from amodal_perception_ros.ros.run import run; run(*sys.argv[1:])"
)


def start_run(bag, out, params):
    """A run in a process of its own that plays a long recording; returns once sets come out."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(bag), str(out), str(params)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    pause, deadline = threading.Event(), time.monotonic() + 120
    log = out / "logs" / "bag_player.log"
    while not (log.exists() and "playing" in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        pause.wait(0.1)
    return process


def programs_of(out):
    """Processes whose command line names the folder of the run."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"{out}/logs/fastdds.xml" in environment or str(out) in command:
                found[int(entry.name)] = command
    return found


@pytest.fixture(scope="module")
def long_drive(folder):
    return write_bag(frames(60), folder / "long.mcap")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_run_ends_every_process(long_drive, params, tmp_path, number):
    out = tmp_path / "out"
    process = start_run(long_drive, out, params)
    assert len(programs_of(out)) >= 3
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    if number == signal.SIGKILL:  # nobody is left to wait for them
        pause, deadline = threading.Event(), time.monotonic() + 30
        while programs_of(out) and time.monotonic() < deadline:
            pause.wait(0.1)
    assert programs_of(out) == {}
    # The recorder closed its file: what came until then can be read.
    with open_bag(out / "amodal.mcap") as bag:
        assert bag.message_count > 0


def test_a_program_that_dies_ends_the_run_and_shows_its_log(long_drive, params, tmp_path):
    out = tmp_path / "out"
    process = start_run(long_drive, out, params)
    victim = next(pid for pid, command in programs_of(out).items() if "perception_node" in command)
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "RunError: perception_node ended with exit code -9" in errors
    assert "ready: untrained" in errors
    assert programs_of(out) == {}


def test_a_failing_program_raises_where_run_was_called(drive, params, tmp_path, monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_that_does_not_exist")
    with pytest.raises(RunError, match=r"ended with exit code"):
        run(drive, tmp_path / "out", params)
    assert programs_of(tmp_path / "out") == {}


# The plan of a run without a parameter file.


def make_bag(path, topics):
    """A recording with one default message per topic, or the given one."""
    bag = BagFile(path)
    for number, (topic, message) in enumerate(topics.items()):
        kind = type(message)
        bag.add_topic(topic, f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}", [QoSProfile(depth=1)])
        bag.write(topic, serialize_message(message), number + 1, number + 1)
    bag.close()
    return path


def planned(tmp_path, topics):
    with open_bag(make_bag(tmp_path / "bag.mcap", topics)) as bag:
        return plan_run(bag, None, tmp_path / "derived.yaml")


def odometry(frame="map", child="vehicle"):
    message = Odometry(header=make_header(1, frame), child_frame_id=child)
    message.pose.pose.orientation.w = 1.0
    return message


def test_sensors_and_frames_are_found_whatever_their_topics_are_called(tmp_path):
    plan = planned(
        tmp_path,
        {
            "/rig/cam_left/image_rect": Image(),
            "/rig/cam_left/image_rect/compressed": CompressedImage(),
            "/rig/cam_left/camera_info": CameraInfo(),
            "/rig/cam_left/depth": Image(),
            "/rig/cam_right/image_rect/compressed": CompressedImage(),
            "/rig/cam_right/camera_info": CameraInfo(),
            "/rig/radar": PointCloud2(),
            "/rig/velodyne_points": PointCloud2(),
            "/localization/pose": odometry(),
        },
    )
    assert plan.cameras == {
        "cam_left": ("/rig/cam_left/image_rect/compressed", "/rig/cam_left/camera_info"),
        "cam_right": ("/rig/cam_right/image_rect/compressed", "/rig/cam_right/camera_info"),
    }
    assert dict(plan.remaps) == {
        "cam_left/image/compressed": "/rig/cam_left/image_rect/compressed",
        "cam_left/camera_info": "/rig/cam_left/camera_info",
        "cam_right/image/compressed": "/rig/cam_right/image_rect/compressed",
        "cam_right/camera_info": "/rig/cam_right/camera_info",
        "lidar/points": "/rig/velodyne_points",
        "odometry": "/localization/pose",
    }
    text = plan.params[0].read_text()
    for line in ("image_transport: compressed", "use_lidar: true", "odom_frame: map", "base_frame: vehicle"):
        assert line in text
    assert plan.notes == ()


def test_a_rectified_image_is_taken_where_there_is_a_raw_one_too(tmp_path):
    topics = {}
    for side in ("left", "direct"):  # the camera's namespace says nothing about its images
        for image in ("image", "image_unrectified", "image_rect_color"):
            topics[f"/{side}/{image}"] = Image()
        topics[f"/{side}/camera_info"] = CameraInfo()
    plan = planned(tmp_path, topics)
    assert plan.cameras["left"] == ("/left/image_rect_color", "/left/camera_info")
    assert plan.cameras["direct"] == ("/direct/image_rect_color", "/direct/camera_info")
    assert plan.notes == tuple(
        f"/{side}/image_rect_color is used, not /{side}/{other}"
        for side in ("left", "direct")
        for other in ("image", "image_unrectified")
    )


def test_a_rectified_raw_image_is_taken_before_a_compressed_one_that_is_not(tmp_path):
    topics = {
        "/a/image_raw/compressed": CompressedImage(),
        "/a/image_rect": Image(),
        "/a/camera_info": CameraInfo(),
    }
    plan = planned(tmp_path, topics)
    assert plan.cameras == {"a": ("/a/image_rect", "/a/camera_info")}
    assert "image_transport: raw" in plan.params[0].read_text()


def test_a_recording_with_one_raw_camera_only_needs_nothing_else(tmp_path):
    plan = planned(tmp_path, {"/image_raw": Image(), "/camera_info": CameraInfo()})
    assert list(plan.cameras.values()) == [("/image_raw", "/camera_info")]
    text = plan.params[0].read_text()
    for line in ("image_transport: raw", "use_lidar: false", "use_odometry: false"):
        assert line in text


def test_a_file_without_cameras_goes_on_top_of_what_the_recording_tells(tmp_path):
    bag = make_bag(tmp_path / "bag.mcap", {"/a/image": Image(), "/a/camera_info": CameraInfo(), "/odom": odometry()})
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**:\n  ros__parameters:\n    use_odometry: false\n    sync: {window_ms: 30.0}\n")
    with open_bag(bag) as opened:
        plan = plan_run(opened, mine, tmp_path / "derived.yaml")
    assert plan.params == (tmp_path / "derived.yaml", mine)
    assert set(plan.inputs) == {"/a/image", "/a/camera_info"}


def test_cameras_of_the_same_name_get_names_of_their_own(tmp_path):
    topics = {}
    for side in ("left", "right"):
        topics[f"/{side}/camera/image"] = Image()
        topics[f"/{side}/camera/camera_info"] = CameraInfo()
    assert len(planned(tmp_path, topics).cameras) == 2


def test_a_recording_without_usable_cameras_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"no camera found.*its topics are /front/image, /odometry"):
        planned(tmp_path, {"/front/image": Image(), "/odometry": odometry()})
    many = {}
    for number in range(9):
        many |= {f"/c{number}/image": Image(), f"/c{number}/camera_info": CameraInfo()}
    with pytest.raises(InputError, match="9 cameras"):
        planned(tmp_path, many)


def test_unusable_odometry_does_not_name_frames(tmp_path):
    topics = {"/front/image": Image(), "/front/camera_info": CameraInfo(), "/odom": Odometry()}
    assert "base_frame" not in planned(tmp_path, topics).params[0].read_text()


def test_counters_are_read_from_the_nodes_own_status():
    values = {
        "ticks_in": "20", "sets_complete": "17", "sets_partial": "2", "sets_out": "18", "dropped.late": "3",
        "latency_ms.tick.median": "12.5", "latency_ms.tick.p95": "20.0", "engine": "torch", "model_id": "m", "x": "y",
    }  # fmt: skip
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    other = DiagnosticStatus(name="camera driver: status")
    message = DiagnosticArray(status=[other, DiagnosticStatus(name="/amodal_perception: perception", values=pairs)])
    status = perception_status(message)
    assert status == values
    assert perception_status(DiagnosticArray(status=[other])) is None
    known = counters(status)
    assert known == {
        "ticks_in": 20, "sets_complete": 17, "sets_partial": 2, "sets_out": 18, "dropped": {"late": 3},
        "latency_ms": {"tick": {"median": 12.5, "p95": 20.0}}, "engine": "torch", "model_id": "m",
    }  # fmt: skip
    console = Console(record=True, width=100)
    print_summary({**known, "instances": 5, "occluded_instances": 2, "hidden_cells": 9}, console)
    text = console.export_text()
    for words in ("ticks in", "dropped: late", "12.5", "torch, m"):
        assert words in text


def test_two_runs_get_two_domains():
    with reserved_domain() as one, reserved_domain() as other:
        assert one != other
        assert {one, other} <= set(range(1, 101))


def test_a_profile_of_the_user_is_kept(tmp_path, monkeypatch):
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    ours = large_message_environment(tmp_path)
    assert all(Path(value).read_text().startswith("<?xml") for value in ours.values())
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "mine.xml")
    assert large_message_environment(tmp_path) == {}

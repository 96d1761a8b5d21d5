"""Reports of data sets and of recorded runs, from the files that the package itself writes."""

import json
import re
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_samples import make_rig, make_sample

from amodal_perception_ros.datasets.amodal_synth_drive import DatasetError, SequenceWriter
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.scene import Sample
from amodal_perception_ros.viewing.view import MAX_TICKS, readable_zoom, spread, view

pytest.importorskip("rclpy")
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message

from amodal_perception_ros.ros.message_conversions import (
    bev_to_message,
    image_to_message,
    make_header,
    objects_to_message,
    scene_to_depth,
    scene_to_panoptic,
)
from amodal_perception_ros.ros.recorder import BagFile
from amodal_perception_ros.ros.recording_report import view_recording, write_run_report
from amodal_perception_ros.ros.sensor_conversions import matrix_to_pose

FRAMES = 3


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    rig = make_rig(width=512, height=256)
    return [make_sample(index, rig=rig) for index in range(FRAMES)]


def record(
    path: Path,
    samples: list[Sample],
    with_results: bool = True,
    with_images: bool = True,
    damaged: Collection[int] = (),
) -> Path:
    """Record samples as `amodal run` would, the truth in place of what was perceived.

    Of the samples in `damaged` the images and results end after their header's frame.
    """
    bag, known = BagFile(path), set()

    def write(topic: str, message: object, stamp_ns: int) -> None:
        kind = type(message)
        if topic not in known:
            known.add(topic)
            bag.add_topic(topic, f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}", [QoSProfile(depth=5)])
        data = serialize_message(message)
        end = 16 + len(message.header.frame_id) + 1 if cut and kind is not Odometry else None
        bag.write(topic, data[:end], stamp_ns, stamp_ns)

    for number, sample in enumerate(samples):
        cut = number in damaged
        stamp = sample.frame.stamp_ns
        odometry = Odometry(header=make_header(stamp, "odom"), child_frame_id="base_link")
        assert sample.frame.odom_from_base is not None
        odometry.pose.pose = matrix_to_pose(sample.frame.odom_from_base)
        write("/odometry", odometry, stamp)
        for name, scene in sample.truth.cameras.items():
            header = make_header(scene.stamp_ns, f"{name}_optical")
            if with_images:
                write(f"/{name}/image", image_to_message(sample.frame.images[name], header), scene.stamp_ns)
            if with_results:
                write(f"/{name}/panoptic", scene_to_panoptic(scene, header, "truth"), scene.stamp_ns)
                write(f"/{name}/amodal_depth", scene_to_depth(scene, header), scene.stamp_ns)
        if with_results and sample.bev is not None:
            write("/bev", bev_to_message(sample.bev, "odom"), stamp)
            write("/objects", objects_to_message(sample.objects, stamp, "odom"), stamp)
    bag.close()
    return path


def pictures(out: Path) -> dict[str, np.ndarray]:
    return {path.name: cv2.imread(str(path))[..., ::-1] for path in sorted((out / "pictures").iterdir())}


def titles(page: Path) -> list[str]:
    return re.findall(r'data-title="([^"]*)"', page.read_text())


def test_a_data_set_becomes_a_report(samples: list[Sample], tmp_path: Path) -> None:
    with SequenceWriter(tmp_path / "data") as writer:
        for sample in samples:
            writer.write(sample)
    page = view(tmp_path / "data", tmp_path / "out")
    assert len(titles(page)) == FRAMES
    shown = pictures(tmp_path / "out")
    assert {name for name in shown if name.startswith("tick_000")} >= {"tick_000_front.jpg", "tick_000_right.jpg"}
    assert shown["tick_000_front.jpg"].shape == (512, 1024, 3)
    assert f">{sum(len(s.instances) for x in samples for s in x.truth.cameras.values())}</b>" in page.read_text()


def test_a_folder_without_a_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nothing"):
        view(tmp_path / "nothing", tmp_path / "out")


@pytest.mark.ros
def test_a_recorded_run_gives_the_pictures_of_its_scenes(samples: list[Sample], tmp_path: Path) -> None:
    """The recording of the truth and the data set it came from give the same overlays."""
    recording = record(tmp_path / "amodal.mcap", samples)
    (tmp_path / "summary.json").write_text(json.dumps({"ticks_in": 4711}))
    page = view_recording(tmp_path, tmp_path / "run")
    assert "4711" in page.read_text()
    assert len(titles(page)) == FRAMES
    with SequenceWriter(tmp_path / "data") as writer:
        for sample in samples:
            writer.write(sample)
    view(tmp_path / "data", tmp_path / "truth")
    drawn, expected = pictures(tmp_path / "run"), pictures(tmp_path / "truth")
    only_truth = {name for name in expected if "modalities" in name}
    assert drawn.keys() == expected.keys() - only_truth
    assert len(only_truth) == FRAMES
    for name in drawn:
        # The data set's images went through JPEG, the recording's did not.
        difference = np.abs(drawn[name].astype(int) - expected[name].astype(int))
        assert difference.mean() < (6 if name.endswith("jpg") else 1), name
    assert view_recording(recording, tmp_path / "alone").is_file()


@pytest.mark.ros
def test_only_what_is_drawn_is_decoded(tmp_path: Path) -> None:
    """So memory does not grow with the drive: the messages of all other ticks could not even be decoded."""
    rig = make_rig()
    drive = [make_sample(index, rig=rig) for index in range(MAX_TICKS + 3)]
    skipped = set(range(len(drive))) - set(spread(len(drive)))
    assert len(skipped) == 3
    damaged = record(tmp_path / "damaged.mcap", drive, damaged=skipped)
    write_run_report(damaged, tmp_path / "a", {})
    write_run_report(record(tmp_path / "whole.mcap", drive), tmp_path / "b", {})
    a, b = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    assert len({name[:8] for name in a}) == MAX_TICKS
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in b)


@pytest.mark.ros
def test_images_may_come_from_another_recording(samples: list[Sample], tmp_path: Path) -> None:
    results = record(tmp_path / "results.mcap", samples, with_images=False)
    images = record(tmp_path / "images.mcap", samples, with_results=False)
    both = record(tmp_path / "both.mcap", samples)
    write_run_report(results, tmp_path / "a", {}, images=images)
    write_run_report(both, tmp_path / "b", {})
    write_run_report(results, tmp_path / "c", {})
    a, b, c = (pictures(tmp_path / name) for name in "abc")
    assert all(np.array_equal(a[name], b[name]) for name in b)
    assert not np.array_equal(c["tick_000_front.jpg"], b["tick_000_front.jpg"])  # classes in place of the image


@pytest.mark.ros
def test_a_recording_without_results_is_named(samples: list[Sample], tmp_path: Path) -> None:
    empty = record(tmp_path / "input.mcap", samples, with_results=False)
    with pytest.raises(InputError, match=r"input\.mcap: holds no panoptic messages"):
        view_recording(empty, tmp_path / "out")
    (tmp_path / "text.mcap").write_text("no recording")
    with pytest.raises(InputError, match="not an MCAP file"):
        view_recording(tmp_path / "text.mcap", tmp_path / "out")


def test_ticks_are_spread_evenly_with_both_ends() -> None:
    assert spread(0) == []
    assert spread(1) == [0]
    assert spread(5, 12) == [0, 1, 2, 3, 4]
    assert spread(101, 5) == [0, 25, 50, 75, 100]


def test_zoom_brings_images_to_a_readable_width() -> None:
    assert [readable_zoom(width) for width in (512, 960, 1920, 4096, 320)] == [2, 1, 1, 1, 3]

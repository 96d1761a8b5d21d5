"""What `amodal run` sets up for a recording: the nodes' parameters and topics.

A parameter file that names the cameras, or that has a topics file, decides. Otherwise cameras, LiDAR, odometry and
frames are taken from the recording, whatever its topics are called, and the file's parameters go on top.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message

from amodal_perception_ros.datasets.bag import Bag, BagTopic
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.ros.parameter_table import (
    LIDAR,
    ODOMETRY,
    PARAMETERS,
    ParameterError,
    check_values,
    flatten,
)
from amodal_perception_ros.ros.sensor_conversions import ConversionError, odometry_to_matrix
from amodal_perception_ros.ros.topics import read_parameters, remappings, topics_file_of

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, CLOUD, ODOMETRY_TYPE = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/PointCloud2", "nav_msgs/msg/Odometry"

_MAX_CAMERAS = next(spec.lengths[1] for spec in PARAMETERS if spec.name == "cameras" and spec.lengths)
_RESERVED = frozenset({LIDAR, ODOMETRY, "debug"})
_TRANSFORMS = ("/tf", "/tf_static")
_CLOUD_NAMES = ("lidar", "points", "velodyne")


@dataclass(frozen=True)
class RunPlan:
    """How to run the nodes on a recording.

    Attributes:
        params: parameter files of the perception node; a later one overrides an earlier one.
        remaps: (relative topic of the node, topic of the recording).
        inputs: topics of the recording that the node subscribes to.
        cameras: camera name -> (image topic, camera_info topic).
        notes: what the user should know.
    """

    params: tuple[Path, ...]
    remaps: tuple[tuple[str, str], ...]
    inputs: tuple[str, ...]
    cameras: dict[str, tuple[str, str]]
    notes: tuple[str, ...] = ()


def plan_run(bag: Bag, params: Path | None, derived: Path) -> RunPlan:
    """Decide parameters and topics.

    Args:
        bag: the open recording.
        params: parameter file of the user; its topics file (see `topics.remappings`) counts too.
        derived: where the parameters that were taken from the recording are written.

    Raises:
        InputError: the recording has no usable camera, or none that the parameter file names; a file is wrong.
    """
    derived.unlink(missing_ok=True)
    given = {} if params is None else _given(params)
    if params is not None and ("cameras" in given or topics_file_of(params) is not None):
        return _plan(bag, (params,), given, tuple(remappings(params)))
    values, remaps, notes = _derive(bag)
    text = "# Written by `amodal run` for this recording.\n"
    derived.write_text(text + yaml.safe_dump({"/**": {"ros__parameters": values}}, sort_keys=False))
    files = (derived,) if params is None else (derived, params)
    return _plan(bag, files, {**values, **given}, remaps, notes)


def _given(params: Path) -> dict[str, Any]:
    """Return the parameters that a file sets, without defaults, after a check of all of them."""
    try:
        read_parameters(params)
    except ParameterError as error:
        raise InputError(f"{params}: {error}") from error
    given: dict[str, Any] = {}
    for section in yaml.safe_load(params.read_text(encoding="utf-8")).values():
        given.update(flatten(section["ros__parameters"]))
    return given


def _plan(
    bag: Bag,
    files: tuple[Path, ...],
    values: dict[str, Any],
    remaps: tuple[tuple[str, str], ...],
    notes: tuple[str, ...] = (),
) -> RunPlan:
    settings: dict[str, Any] = dict(check_values(values))
    names = dict(remaps)
    recorded = {topic.topic for topic in bag.topics}

    def topic_of(name: str) -> str:
        return "/" + names.get(name, name).lstrip("/")

    suffix = "/compressed" if settings["image_transport"] == "compressed" else ""
    cameras = {
        name: (topic_of(f"{name}/image{suffix}"), topic_of(f"{name}/camera_info")) for name in settings["cameras"]
    }
    present = {name: topics for name, topics in cameras.items() if recorded.issuperset(topics)}
    if not present:
        image, info = next(iter(cameras.values()))
        raise InputError(
            f"{bag.path}: none of the cameras {', '.join(cameras)} is in the recording (looked for {image} with "
            f"{info}); its topics are {', '.join(sorted(recorded))}"
        )
    wanted = [topic for topics in cameras.values() for topic in topics]
    wanted += [topic_of("lidar/points")] if settings["use_lidar"] else []
    wanted += [topic_of("odometry")] if settings["use_odometry"] else []
    missing = tuple(f"{topic} is not in the recording" for topic in wanted if topic not in recorded)
    inputs = [topic for topic in (*wanted, *_TRANSFORMS) if topic in recorded]
    return RunPlan(files, remaps, tuple(inputs), present, notes + missing)


def _derive(bag: Bag) -> tuple[dict[str, Any], tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return parameters and remappings for the sensors of the recording, and what the user should know of them."""
    transport, cameras, notes = _find_cameras(bag)
    suffix = "/compressed" if transport == "compressed" else ""
    remaps = {f"{name}/image{suffix}": image for name, (image, _) in cameras.items()}
    remaps |= {f"{name}/camera_info": info for name, (_, info) in cameras.items()}
    values: dict[str, Any] = {"cameras": list(cameras), "image_transport": transport}
    cloud = _first(bag.topics, CLOUD, _CLOUD_NAMES)
    odometry = _first(bag.topics, ODOMETRY_TYPE, ("odom",))
    values |= {"use_lidar": cloud is not None, "use_odometry": odometry is not None}
    if cloud is not None:
        remaps["lidar/points"] = cloud
    if odometry is not None:
        remaps["odometry"] = odometry
        values |= _frames(bag, odometry)
    return values, tuple((name, topic) for name, topic in remaps.items() if f"/{name}" != topic), notes


def _find_cameras(bag: Bag) -> tuple[str, dict[str, tuple[str, str]], tuple[str, ...]]:
    """Return the transport that gives most cameras, camera name -> (image topic, camera_info topic), and notes.

    Of equally many cameras those with more rectified images count, then compressed ones.
    """
    found = {transport: _cameras(bag.topics, kind) for transport, kind in (("compressed", COMPRESSED), ("raw", IMAGE))}

    def merit(transport: str) -> tuple[int, int]:
        cameras, _ = found[transport]
        return len(cameras), sum(_is_rectified(image) for image, _ in cameras.values())

    transport = max(found, key=merit)
    cameras, notes = found[transport]
    if not cameras:
        topics = ", ".join(sorted(topic.topic for topic in bag.topics))
        raise InputError(
            f"{bag.path}: no camera found: needs an Image or CompressedImage topic beside a camera_info topic; "
            f"its topics are {topics}"
        )
    if len(cameras) > _MAX_CAMERAS:
        raise InputError(
            f"{bag.path}: {len(cameras)} cameras ({', '.join(cameras)}), but at most {_MAX_CAMERAS} are supported; "
            "choose some with --params"
        )
    return transport, cameras, notes


def _cameras(topics: Iterable[BagTopic], kind: str) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """Return camera name -> (image topic, camera_info topic), and notes on cameras that have several images."""
    topics = list(topics)
    infos = {topic.topic.rsplit("/", 1)[0]: topic.topic for topic in topics if topic.type == CAMERA_INFO}
    images: dict[str, list[str]] = {}
    for topic in (topic.topic for topic in topics if topic.type == kind and not _is_depth(topic.topic)):
        stem = _image_name(topic)[0]
        if stem in infos:
            images.setdefault(stem, []).append(topic)
    best = {stem: min(names, key=lambda name: (not _is_rectified(name), len(name))) for stem, names in images.items()}
    cameras: dict[str, tuple[str, str]] = {}
    for stem in sorted(best, key=lambda stem: len(best[stem])):
        cameras[_camera_name(stem, cameras)] = (best[stem], infos[stem])
    notes = [f"{best[stem]} is used, not {name}" for stem in images for name in images[stem] if name != best[stem]]
    order = {topic.topic: number for number, topic in enumerate(topics)}
    return dict(sorted(cameras.items(), key=lambda item: order[item[1][0]])), tuple(notes)


def _image_name(topic: str) -> tuple[str, str]:
    """Return the namespace of a camera's image topic and the image's own name."""
    stem, _, name = topic.removesuffix("/compressed").rpartition("/")
    return stem, name


def _is_rectified(topic: str) -> bool:
    return re.search(r"(?<!un)rect", _image_name(topic)[1], re.IGNORECASE) is not None


def _is_depth(topic: str) -> bool:
    return re.search(r"depth|disparity|segmentation|mask", topic, re.IGNORECASE) is not None


def _camera_name(stem: str, taken: Iterable[str]) -> str:
    """Return a name that may be a topic's prefix and is unique, from the last part of the camera's namespace."""
    parts = [re.sub(r"\W", "_", part) for part in stem.strip("/").split("/")]
    for length in range(1, len(parts) + 1):
        name = "_".join(parts[-length:])
        name = name if re.match(r"[A-Za-z]", name) and name not in _RESERVED else f"camera_{name}"
        if name not in taken:
            return name
    return f"{'_'.join(parts)}_{len(list(taken))}"


def _first(topics: Iterable[BagTopic], kind: str, hints: tuple[str, ...]) -> str | None:
    """Return the topic of a type whose name holds one of the hints, else the first of that type, else None."""
    names = [topic.topic for topic in topics if topic.type == kind]
    return next((name for name in names if any(hint in name.lower() for hint in hints)), names[0] if names else None)


def _frames(bag: Bag, topic: str) -> dict[str, Any]:
    """Return the frames of the first usable odometry message."""
    for message in bag.messages([topic]):
        odometry = deserialize_message(message.data, Odometry)
        try:
            odometry_to_matrix(odometry)
        except ConversionError:
            continue
        if odometry.header.frame_id and odometry.child_frame_id:
            return {"odom_frame": odometry.header.frame_id, "base_frame": odometry.child_frame_id}
    return {}

"""Pictures and an HTML page of a recorded run, drawn from its messages alone."""

from __future__ import annotations

import contextlib
import json
import struct
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from amodal_perception_ros.datasets.bag import Bag, open_bag
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.labels import SEGMENT_FACTOR, color_table
from amodal_perception_ros.msg import AmodalDepth, AmodalObjectArray, AmodalPanoptic
from amodal_perception_ros.msg import BevOccupancy as BevMessage
from amodal_perception_ros.ros.message_conversions import (
    bev_from_message,
    objects_from_message,
    scene_from_messages,
)
from amodal_perception_ros.ros.sensor_conversions import (
    NANOSECONDS,
    ConversionError,
    compressed_to_rgb,
    image_to_rgb,
    odometry_to_matrix,
)
from amodal_perception_ros.scene import CameraScene
from amodal_perception_ros.viewing.bev_picture import draw_bev
from amodal_perception_ros.viewing.overlay import draw_overlay
from amodal_perception_ros.viewing.report import Tick, write_report
from amodal_perception_ros.viewing.view import MAX_TICKS, readable_zoom, spread

SUMMARY = "summary.json"
RECORDING = "amodal.mcap"

MAX_CAMERA_AGE_NS = 100_000_000
"""A camera's result belongs to a tick when its stamp is at most this far from the tick's."""

_PANOPTIC, _DEPTH, _BEV, _OBJECTS = (
    f"amodal_perception_ros/msg/{name}"
    for name in ("AmodalPanoptic", "AmodalDepth", "BevOccupancy", "AmodalObjectArray")
)
_ODOMETRY = "nav_msgs/msg/Odometry"
_RESULTS: dict[str, Any] = {
    _PANOPTIC: AmodalPanoptic,
    _DEPTH: AmodalDepth,
    _BEV: BevMessage,
    _OBJECTS: AmodalObjectArray,
    _ODOMETRY: Odometry,
}
_IMAGES: dict[str, Any] = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}

_CDR_START = 4
"""Bytes before the first field of a serialized message; the second of them is odd for little-endian data."""

Key = tuple[str, int]
"""Frame and stamp [ns]: results of a camera carry the exact header of its image."""


def view_recording(source: Path | str, out: Path | str) -> Path:
    """Draw a recorded run (`amodal run`) into a report; with a directory, its summary.json is shown too.

    Raises:
        InputError: it is no recording, or it holds no amodal results.
    """
    source = Path(source)
    recording, summary = source, {}
    if source.is_dir() and (source / RECORDING).is_file():
        recording = source / RECORDING
        if (source / SUMMARY).is_file():
            summary = json.loads((source / SUMMARY).read_text(encoding="utf-8"))
    return write_run_report(recording, out, summary)


def write_run_report(
    recording: Path | str, out: Path | str, summary: Mapping[str, Any], images: Path | str | None = None
) -> Path:
    """Write report.html and the pictures of a recorded run.

    Args:
        recording: with panoptic and depth messages; bev, objects and odometry are drawn where they are.
        out: directory of the report.
        summary: figures to show (see `viewing.report.write_report`).
        images: recording with the cameras' images; None looks for them in `recording`. Where an image is missing
            the classes of its pixels are drawn instead.

    Returns:
        The page.

    Raises:
        InputError: a recording cannot be read, or holds no panoptic messages.
    """
    with open_bag(recording) as bag:
        index = _Index(bag)
        if not index.ticks:
            raise InputError(f"{recording}: holds no panoptic messages with their depth; record them with `amodal run`")
        # A long drive has more than fits into memory: only what is drawn is read.
        cameras = {index.ticks[i]: index.cameras_of(index.ticks[i]) for i in spread(len(index.ticks), MAX_TICKS)}
        results = _Results(bag, cameras)
    with open_bag(images or recording) as bag:
        pictures = _read_images(bag, {key for topics in cameras.values() for key in topics.values()})
    ticks = [results.draw(tick, index.ticks[0], pictures) for tick in cameras]
    return write_report(out, summary, ticks, "Amodal perception of a recorded drive")


class _Index:
    """Frame and stamp of every result of a recording, so that ticks can be chosen before anything is decoded.

    Attributes:
        ticks: reference stamps [ns], in order.
    """

    def __init__(self, bag: Bag) -> None:
        self._panoptic: dict[str, set[Key]] = defaultdict(set)
        self._depth: set[Key] = set()
        bev: set[int] = set()
        for item in bag.messages({topic.topic for topic in bag.topics if topic.type in (_PANOPTIC, _DEPTH, _BEV)}):
            key = _key_of(item.data)
            if item.type == _PANOPTIC:
                self._panoptic[item.topic].add(key)
            elif item.type == _DEPTH:
                self._depth.add(key)
            else:
                bev.add(key[1])
        first = next(iter(self._panoptic.values()), set())
        self.ticks = sorted(bev if bev and first else {stamp for _, stamp in first})

    def cameras_of(self, tick: int) -> dict[str, Key]:
        """Return panoptic topic -> frame and stamp of the camera's result that belongs to a tick."""
        found = {}
        for topic, keys in self._panoptic.items():
            nearest = min(keys & self._depth, key=lambda key: (abs(key[1] - tick), key), default=None)
            if nearest is not None and abs(nearest[1] - tick) <= MAX_CAMERA_AGE_NS:
                found[topic] = nearest
        return found


class _Results:
    """The decoded results of some ticks.

    Args:
        bag: the recording.
        cameras: chosen tick [ns] -> panoptic topic -> frame and stamp (see `_Index.cameras_of`).
    """

    def __init__(self, bag: Bag, cameras: Mapping[int, Mapping[str, Key]]) -> None:
        self._cameras = cameras
        self._keys = {key for topics in cameras.values() for key in topics.values()}
        self._panoptic: dict[tuple[str, Key], AmodalPanoptic] = {}
        self._depth: dict[Key, AmodalDepth] = {}
        self._bev: dict[int, BevMessage] = {}
        self._objects: dict[int, AmodalObjectArray] = {}
        self._poses: dict[int, np.ndarray] = {}
        for item in bag.messages({topic.topic for topic in bag.topics if topic.type in _RESULTS}):
            key = _key_of(item.data)
            if self._wanted(item.type, key):
                self._add(item.topic, key, deserialize_message(item.data, _RESULTS[item.type]))

    def _wanted(self, type_name: str, key: Key) -> bool:
        if type_name in (_PANOPTIC, _DEPTH):
            return key in self._keys
        if type_name == _ODOMETRY:
            return any(abs(key[1] - tick) <= MAX_CAMERA_AGE_NS for tick in self._cameras)
        return key[1] in self._cameras

    def _add(self, topic: str, key: Key, message: Any) -> None:
        if isinstance(message, AmodalPanoptic):
            self._panoptic[topic, key] = message
        elif isinstance(message, AmodalDepth):
            self._depth[key] = message
        elif isinstance(message, BevMessage):
            self._bev[key[1]] = message
        elif isinstance(message, AmodalObjectArray):
            self._objects[key[1]] = message
        else:
            with contextlib.suppress(ConversionError):  # a broken pose is not drawn
                self._poses[key[1]] = odometry_to_matrix(message)

    def draw(self, tick: int, begin: int, pictures: Mapping[Key, np.ndarray]) -> Tick:
        """Draw one tick; its title is the time since `begin` [ns]."""
        overlays = {}
        for topic, key in self._cameras[tick].items():
            panoptic = self._panoptic[topic, key]
            scene = _scene(panoptic, self._depth[key])
            image = pictures.get(key)
            if image is None or image.shape[:2] != scene.labels.shape:
                image = color_table()[scene.labels // SEGMENT_FACTOR]
            overlays[panoptic.camera_name] = draw_overlay(image, scene, readable_zoom(scene.camera.width))
        bev = None
        if tick in self._bev:
            objects = objects_from_message(self._objects[tick]) if tick in self._objects else []
            bev = draw_bev(bev_from_message(self._bev[tick]), objects, self._pose(tick))
        return Tick(f"{(tick - begin) / NANOSECONDS:.2f} s", overlays, bev)

    def _pose(self, tick: int) -> np.ndarray | None:
        nearest = min(self._poses, key=lambda stamp: abs(stamp - tick), default=None)
        return None if nearest is None or abs(nearest - tick) > MAX_CAMERA_AGE_NS else self._poses[nearest]


def _key_of(data: bytes) -> Key:
    """Return frame and stamp of a serialized message that begins with a std_msgs/Header; nothing else is decoded."""
    seconds, nanoseconds, length = struct.unpack_from("<iII" if data[1] & 1 else ">iII", data, _CDR_START)
    frame = _CDR_START + 12
    return bytes(data[frame : frame + length]).rstrip(b"\0").decode(), seconds * NANOSECONDS + nanoseconds


def _scene(panoptic: AmodalPanoptic, depth: AmodalDepth) -> CameraScene:
    # Overlays are drawn in pixels; any valid calibration of that size will do.
    focal, width, height = float(panoptic.width), panoptic.width, panoptic.height
    info = CameraInfo(width=width, height=height)
    info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    return scene_from_messages(panoptic, depth, info)


def _read_images(bag: Bag, wanted: set[Key]) -> dict[Key, np.ndarray]:
    """Return the wanted images as RGB; those that do not decode are left out."""
    found: dict[Key, np.ndarray] = {}
    for item in bag.messages({topic.topic for topic in bag.topics if topic.type in _IMAGES}):
        key = _key_of(item.data)
        if key not in wanted or key in found:
            continue
        message = deserialize_message(item.data, _IMAGES[item.type])
        try:
            found[key] = compressed_to_rgb(message) if item.type.endswith("CompressedImage") else image_to_rgb(message)
        except ConversionError:
            continue
    return found

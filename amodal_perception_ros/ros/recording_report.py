"""Pictures and an HTML page of a recorded run, drawn from its messages alone."""

from __future__ import annotations

import json
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
    stamp_to_ns,
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

_RESULTS: dict[str, Any] = {
    f"amodal_perception_ros/msg/{kind.__name__}": kind
    for kind in (AmodalPanoptic, AmodalDepth, BevMessage, AmodalObjectArray)
}
_IMAGES: dict[str, Any] = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_ODOMETRY = "nav_msgs/msg/Odometry"

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
        results = _Results(bag)
    if not results.ticks:
        raise InputError(f"{recording}: holds no panoptic messages with their depth; record them with `amodal run`")
    chosen = [results.ticks[index] for index in spread(len(results.ticks), MAX_TICKS)]
    wanted = {key for stamp in chosen for key in results.cameras_of(stamp).values()}
    with open_bag(images or recording) as bag:
        pictures = _read_images(bag, wanted)
    ticks = [results.draw(stamp, pictures) for stamp in chosen]
    return write_report(out, summary, ticks, "Amodal perception of a recorded drive")


class _Results:
    """The results of a recording by stamp, still serialized: a long drive has more than fits decoded into memory.

    Attributes:
        ticks: reference stamps [ns], in order.
    """

    def __init__(self, bag: Bag) -> None:
        self._panoptic: dict[str, dict[Key, bytes]] = defaultdict(dict)
        self._depth: dict[Key, bytes] = {}
        self._bev: dict[int, BevMessage] = {}
        self._objects: dict[int, AmodalObjectArray] = {}
        self._poses: dict[int, np.ndarray] = {}
        types = {topic.topic for topic in bag.topics if topic.type in _RESULTS or topic.type == _ODOMETRY}
        for item in bag.messages(types):
            self._add(item.type, item.data)
        panoptic = [stamp for keys in self._panoptic.values() for _, stamp in keys]
        first = next(iter(self._panoptic.values()), {})
        self.ticks = sorted(self._bev) if self._bev and panoptic else sorted(stamp for _, stamp in first)

    def _add(self, type_name: str, data: bytes) -> None:
        if type_name == _ODOMETRY:
            message = deserialize_message(data, Odometry)
            try:
                self._poses[stamp_to_ns(message.header.stamp)] = odometry_to_matrix(message)
            except ConversionError:
                return  # a broken pose is not drawn
            return
        message = deserialize_message(data, _RESULTS[type_name])
        stamp = stamp_to_ns(message.header.stamp)
        if isinstance(message, AmodalPanoptic):
            self._panoptic[message.camera_name][message.header.frame_id, stamp] = data
        elif isinstance(message, AmodalDepth):
            self._depth[message.header.frame_id, stamp] = data
        elif isinstance(message, BevMessage):
            self._bev[stamp] = message
        else:
            self._objects[stamp] = message

    def cameras_of(self, tick: int) -> dict[str, Key]:
        """Return camera name -> frame and stamp of the result that belongs to a tick."""
        found = {}
        for camera, keys in self._panoptic.items():
            complete = [key for key in keys if key in self._depth]
            nearest = min(complete, key=lambda key: abs(key[1] - tick), default=None)
            if nearest is not None and abs(nearest[1] - tick) <= MAX_CAMERA_AGE_NS:
                found[camera] = nearest
        return found

    def draw(self, tick: int, pictures: Mapping[Key, np.ndarray]) -> Tick:
        """Draw one tick."""
        overlays = {}
        for camera, key in self.cameras_of(tick).items():
            scene = self._scene(camera, key)
            image = pictures.get(key)
            if image is None or image.shape[:2] != scene.labels.shape:
                image = color_table()[scene.labels // SEGMENT_FACTOR]
            overlays[camera] = draw_overlay(image, scene, readable_zoom(scene.camera.width))
        bev = None
        if tick in self._bev:
            objects = objects_from_message(self._objects[tick]) if tick in self._objects else []
            bev = draw_bev(bev_from_message(self._bev[tick]), objects, self._pose(tick))
        return Tick(f"{(tick - self.ticks[0]) / NANOSECONDS:.2f} s", overlays, bev)

    def _pose(self, tick: int) -> np.ndarray | None:
        nearest = min(self._poses, key=lambda stamp: abs(stamp - tick), default=None)
        return None if nearest is None or abs(nearest - tick) > MAX_CAMERA_AGE_NS else self._poses[nearest]

    def _scene(self, camera: str, key: Key) -> CameraScene:
        panoptic = deserialize_message(self._panoptic[camera][key], AmodalPanoptic)
        depth = deserialize_message(self._depth[key], AmodalDepth)
        # Overlays are drawn in pixels; any valid calibration of that size will do.
        focal, width, height = float(panoptic.width), panoptic.width, panoptic.height
        info = CameraInfo(width=width, height=height)
        info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
        return scene_from_messages(panoptic, depth, info)


def _read_images(bag: Bag, wanted: set[Key]) -> dict[Key, np.ndarray]:
    """Return the wanted images as RGB; those that do not decode are left out."""
    found: dict[Key, np.ndarray] = {}
    for item in bag.messages({topic.topic for topic in bag.topics if topic.type in _IMAGES}):
        message = deserialize_message(item.data, _IMAGES[item.type])
        key = (message.header.frame_id, stamp_to_ns(message.header.stamp))
        if key not in wanted or key in found:
            continue
        try:
            found[key] = compressed_to_rgb(message) if item.type.endswith("CompressedImage") else image_to_rgb(message)
        except ConversionError:
            continue
    return found

"""The visualizer node: draws each camera's amodal result over its image, for RViz and Foxglove.

Image, panoptic and depth messages of one stamp belong together, exactly. A camera's inputs are subscribed only
while somebody subscribes to its overlay. Topics and parameters are in docs/node.md.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from amodal_perception_ros.msg import AmodalDepth, AmodalPanoptic
from amodal_perception_ros.ros.message_conversions import image_to_message, scene_from_messages
from amodal_perception_ros.ros.node_main import ConfiguredNode, sensor_qos, spin_until_signal
from amodal_perception_ros.ros.parameter_table import VISUALIZER_PARAMETERS
from amodal_perception_ros.ros.parameters import declare
from amodal_perception_ros.ros.sensor_conversions import (
    ConversionError,
    compressed_to_rgb,
    image_to_rgb,
    stamp_to_ns,
)
from amodal_perception_ros.viewing.overlay import draw_overlay

CHECK_PERIOD_S = 0.2
"""How often it is looked whether somebody wants an overlay."""

HELD_S = 5.0
HELD_STAMPS = 200
HELD_BYTES = 256 * 2**20
"""How long, how many and how large messages of one camera wait for the others of their stamp.

256 MiB are 31 raw 1920 x 1080 images of four channels.
"""

QUEUE_DEPTH = 10

_BYTES: dict[str, Callable[[Any], int]] = {
    "image": lambda message: len(message.data),
    "panoptic": lambda message: len(message.labels.data),
    "depth": lambda message: len(message.visible_depth.data),
}
"""Size of what is large in each kind of message; the first kind is what the others are drawn over."""


class StampPairs:
    """Collects messages of several kinds until one stamp has all of them. Bounded; the order of arrival decides.

    Args:
        sizes: kind -> function that gives a message's size in bytes.
        held_ns: longest time that an incomplete stamp is kept.
        held_stamps: most incomplete stamps that are kept.
        held_bytes: most bytes that are kept; the newest stamp may be larger.

    Attributes:
        bytes: size of what is kept.
        without_first: number of stamps given up because the first kind never came; stamps from before its first
            message do not count, they are older than the subscription.
    """

    def __init__(
        self,
        sizes: Mapping[str, Callable[[Any], int]],
        held_ns: int = round(HELD_S * 1e9),
        held_stamps: int = HELD_STAMPS,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self._sizes = dict(sizes)
        self._first = next(iter(self._sizes))
        self._held_ns, self._held_stamps, self._held_bytes = held_ns, held_stamps, held_bytes
        self._waiting: OrderedDict[int, tuple[int, dict[str, Any]]] = OrderedDict()
        self._since: int | None = None
        self.bytes = 0
        self.without_first = 0

    def put(self, kind: str, stamp_ns: int, message: Any, now_ns: int) -> dict[str, Any] | None:
        """Add a message that came at `now_ns` of a steady clock.

        Returns:
            kind -> message when the stamp is complete, which forgets all that came before; else None.
        """
        _, parts = self._waiting.setdefault(stamp_ns, (now_ns, {}))
        if kind in parts:
            self.bytes -= self._sizes[kind](parts[kind])
        parts[kind] = message
        if kind == self._first:
            self._since = stamp_ns if self._since is None else min(self._since, stamp_ns)
        self.bytes += self._sizes[kind](message)
        if len(parts) == len(self._sizes):
            while self._pop() != stamp_ns:
                pass
            return parts
        while len(self._waiting) > 1 and self._is_full(now_ns):
            self._pop()
        return None

    def __len__(self) -> int:
        return len(self._waiting)

    def _is_full(self, now_ns: int) -> bool:
        oldest_ns, _ = next(iter(self._waiting.values()))
        too_old = now_ns - oldest_ns > self._held_ns
        return too_old or len(self._waiting) > self._held_stamps or self.bytes > self._held_bytes

    def _pop(self) -> int:
        """Forget the oldest stamp and return it."""
        stamp_ns, (_, parts) = self._waiting.popitem(last=False)
        self.bytes -= sum(self._sizes[kind](message) for kind, message in parts.items())
        self.without_first += self._first not in parts and (self._since is None or stamp_ns > self._since)
        return stamp_ns


class CameraOverlay:
    """One camera's inputs and its overlay topic."""

    def __init__(self, node: Node, camera: str, compressed: bool, reliability: str) -> None:
        self._node = node
        self._camera = camera
        self._compressed = compressed
        self._reliability = reliability
        self._publisher = node.create_publisher(Image, f"{camera}/overlay", 5)
        self._subscriptions: list[Subscription] = []
        self._pairs = StampPairs(_BYTES)
        self._without_image = 0
        self._info: CameraInfo | None = None

    def check_demand(self) -> None:
        """Subscribe to the inputs when the overlay has found its first subscriber, and leave them after the last."""
        wanted = self._publisher.get_subscription_count() > 0
        if wanted and not self._subscriptions:
            self._subscribe()
        elif not wanted and self._subscriptions:
            for subscription in self._subscriptions:
                self._node.destroy_subscription(subscription)
            self._subscriptions.clear()
            self._pairs, self._without_image = StampPairs(_BYTES), 0

    def _subscribe(self) -> None:
        image = (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        inputs = (
            (CameraInfo, "camera_info", self._calibrate, "best_effort"),
            (*image, partial(self._receive, "image"), self._reliability),
            (AmodalPanoptic, "panoptic", partial(self._receive, "panoptic"), "reliable"),
            (AmodalDepth, "amodal_depth", partial(self._receive, "depth"), "reliable"),
        )
        for kind, topic, callback, reliability in inputs:
            qos = sensor_qos(QUEUE_DEPTH, reliability)
            self._subscriptions.append(self._node.create_subscription(kind, f"{self._camera}/{topic}", callback, qos))

    def _calibrate(self, info: CameraInfo) -> None:
        self._info = info

    def _receive(self, kind: str, message: Any) -> None:
        parts = self._pairs.put(kind, stamp_to_ns(message.header.stamp), message, time.monotonic_ns())
        if self._pairs.without_first > self._without_image:
            self._without_image = self._pairs.without_first
            self._node.get_logger().warning(
                f"{self._without_image} results of camera '{self._camera}' had no image to draw over: it never came or "
                "was no longer held; see sensor_reliability in docs/node.md",
                throttle_duration_sec=5.0,
            )
        if parts is None or self._info is None:
            return
        image = parts["image"]
        try:
            pixels = compressed_to_rgb(image) if self._compressed else image_to_rgb(image)
            scene = scene_from_messages(parts["panoptic"], parts["depth"], self._info)
        except ConversionError as error:
            self._node.get_logger().warning(
                f"no overlay for camera '{self._camera}': {error}", throttle_duration_sec=5.0
            )
            return
        self._publisher.publish(image_to_message(draw_overlay(pixels, scene), image.header))


class VisualizerNode(ConfiguredNode):
    """Publishes `<camera>/overlay` of every camera.

    Args:
        name: name of the node.
        node_options: passed on to `rclpy.node.Node`.

    Raises:
        InputError: a parameter is wrong.
    """

    def __init__(self, name: str = "amodal_visualizer", **node_options: Any) -> None:
        super().__init__(name, **node_options)
        values: dict[str, Any] = declare(self, VISUALIZER_PARAMETERS)
        compressed = values["image_transport"] == "compressed"
        reliability = values["sensor_reliability"]
        self._overlays = [CameraOverlay(self, camera, compressed, reliability) for camera in values["cameras"]]
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(CHECK_PERIOD_S, self._check_demand, clock=steady)

    def _check_demand(self) -> None:
        for overlay in self._overlays:
            overlay.check_demand()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return spin_until_signal(VisualizerNode, args)

"""The visualizer node: draws each camera's amodal result over its image, for RViz and Foxglove.

Image, panoptic and depth messages of one stamp belong together, exactly. A camera's inputs are subscribed only
while somebody subscribes to its overlay. Topics and parameters are in docs/node.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from amodal_perception_ros.msg import AmodalDepth, AmodalPanoptic
from amodal_perception_ros.ros.message_conversions import image_to_message, scene_from_messages
from amodal_perception_ros.ros.node_main import ConfiguredNode, spin_until_signal
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

HELD_STAMPS = 20
"""Images that wait for their results, per camera: two seconds at 10 Hz."""

_BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class StampPairs:
    """Collects messages of several kinds until one stamp has all of them. Bounded; the order of arrival decides.

    Args:
        kinds: names of what belongs together.
        held: most incomplete stamps that are kept.
    """

    def __init__(self, kinds: Sequence[str], held: int = HELD_STAMPS) -> None:
        self._kinds = tuple(kinds)
        self._held = held
        self._waiting: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def put(self, kind: str, stamp_ns: int, message: Any) -> dict[str, Any] | None:
        """Add a message; return kind -> message when its stamp is complete, which forgets all that came before."""
        parts = self._waiting.setdefault(stamp_ns, {})
        parts[kind] = message
        if len(parts) == len(self._kinds):
            while self._waiting.popitem(last=False)[0] != stamp_ns:
                pass
            return parts
        if len(self._waiting) > self._held:
            self._waiting.popitem(last=False)
        return None

    def __len__(self) -> int:
        return len(self._waiting)


class CameraOverlay:
    """One camera's inputs and its overlay topic."""

    def __init__(self, node: Node, camera: str, compressed: bool) -> None:
        self._node = node
        self._camera = camera
        self._compressed = compressed
        self._publisher = node.create_publisher(Image, f"{camera}/overlay", 5)
        self._subscriptions: list[Subscription] = []
        self._pairs = StampPairs(("image", "panoptic", "depth"))
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
            self._pairs = StampPairs(("image", "panoptic", "depth"))

    def _subscribe(self) -> None:
        image = (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        inputs = (
            (CameraInfo, "camera_info", self._calibrate),
            (*image, partial(self._receive, "image")),
            (AmodalPanoptic, "panoptic", partial(self._receive, "panoptic")),
            (AmodalDepth, "amodal_depth", partial(self._receive, "depth")),
        )
        for kind, topic, callback in inputs:
            self._subscriptions.append(
                self._node.create_subscription(kind, f"{self._camera}/{topic}", callback, _BEST_EFFORT)
            )

    def _calibrate(self, info: CameraInfo) -> None:
        self._info = info

    def _receive(self, kind: str, message: Any) -> None:
        parts = self._pairs.put(kind, stamp_to_ns(message.header.stamp), message)
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
        self._overlays = [CameraOverlay(self, camera, compressed) for camera in values["cameras"]]
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(CHECK_PERIOD_S, self._check_demand, clock=steady)

    def _check_demand(self) -> None:
        for overlay in self._overlays:
            overlay.check_demand()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return spin_until_signal(VisualizerNode, args)

"""A real ROS graph in one process for tests of the nodes: a rig that publishes, a listener, and a node under test."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rclpy
from amodal_perception_ros.msg import AmodalDepth, AmodalObjectArray, AmodalPanoptic, BevOccupancy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, save_weights
from amodal_perception_ros.ros.message_conversions import flat_array, image_to_message, make_header, points_to_cloud
from amodal_perception_ros.ros.sensor_conversions import ns_to_stamp

WIDTH, HEIGHT = 128, 96
CAMERAS = ("front", "back")
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
# Optical frames (z forward, x right, y down) that look forward and backward, as x, y, z, w.
ORIENTATION = {"front": (-0.5, 0.5, -0.5, 0.5), "back": (0.5, 0.5, -0.5, -0.5)}


def untrained_weights(path: Path) -> Path:
    """Write a small network with random weights: it proves the plumbing and finds nothing sensible."""
    config = NetworkConfig(stem_channels=4, widths=(4, 8, 8, 8), depths=(1, 1, 1, 1), channels=8, tokens=8)
    save_weights(path, AmodalNetwork(config), {"model_id": "untrained"})
    return path


class Graph:
    """A context in a domain of its own, with one executor thread for all nodes added to it."""

    def __init__(self, domain_id: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.executor = SingleThreadedExecutor(context=self.context)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def add(self, node: Node) -> Node:
        self.executor.add_node(node)
        return node

    def stop(self) -> None:
        """Stop spinning, so that nodes can be destroyed."""
        self._stop.set()
        self._thread.join(5)

    def close(self) -> None:
        self.stop()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)

    def _spin(self) -> None:
        while not self._stop.is_set():
            self.executor.spin_once(timeout_sec=0.05)


def parameters(**values: object) -> list[Parameter]:
    """Parameter overrides; `__` in a name stands for a dot."""
    return [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]


class RigDriver(Node):
    """Publishes a synthetic rig: two cameras, a LiDAR, odometry and static transforms."""

    def __init__(self, context: Context, cameras: tuple[str, ...] = CAMERAS, compressed: bool = False) -> None:
        super().__init__("rig_driver", context=context)
        self.cameras = cameras
        suffix, kind = ("/compressed", CompressedImage) if compressed else ("", Image)
        self.compressed = compressed
        self.images = {name: self.create_publisher(kind, f"{name}/image{suffix}", 10) for name in cameras}
        self.infos = {name: self.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in cameras}
        self.lidar = self.create_publisher(PointCloud2, "lidar/points", 10)
        self.odometry = self.create_publisher(Odometry, "odometry", 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.static = self.create_publisher(TFMessage, "/tf_static", latched)
        self.random = np.random.default_rng(1)

    def publish_transforms(self) -> None:
        links = []
        for name in self.cameras:
            link = TransformStamped(header=make_header(0, "base_link"), child_frame_id=f"{name}_optical")
            x, y, z, w = ORIENTATION[name]
            rotation = link.transform.rotation
            rotation.x, rotation.y, rotation.z, rotation.w = x, y, z, w
            link.transform.translation.z = 1.6
            links.append(link)
        lidar = TransformStamped(header=make_header(0, "base_link"), child_frame_id="lidar_link")
        lidar.transform.translation.z = 1.9
        self.static.publish(TFMessage(transforms=[*links, lidar]))

    def image(self, camera: str, tick: int) -> Image | CompressedImage:
        pixels = self.random.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        header = make_header(stamp_ns(tick), f"{camera}_optical")
        if not self.compressed:
            return image_to_message(pixels, header)
        encoded = cv2.imencode(".jpg", pixels)[1]
        return CompressedImage(header=header, format="jpeg", data=flat_array("B", encoded.reshape(-1)))

    def info(self, camera: str, tick: int) -> CameraInfo:
        message = CameraInfo(header=make_header(stamp_ns(tick), f"{camera}_optical"), width=WIDTH, height=HEIGHT)
        message.distortion_model = "plumb_bob"
        message.d = [0.0] * 5
        message.k = [64.0, 0.0, 64.0, 0.0, 64.0, 48.0, 0.0, 0.0, 1.0]
        return message

    def cloud(self, tick: int) -> PointCloud2:
        angle = np.linspace(-np.pi, np.pi, 500, endpoint=False, dtype=np.float32)
        points = np.stack([10 * np.cos(angle), 10 * np.sin(angle), np.full_like(angle, -1.0), angle], 1)
        return points_to_cloud(points, make_header(stamp_ns(tick), "lidar_link"))

    def pose(self, tick: int) -> Odometry:
        message = Odometry(header=make_header(stamp_ns(tick), "odom"), child_frame_id="base_link")
        message.pose.pose.position.x = 0.5 * tick
        message.pose.pose.orientation.w = 1.0
        message.twist.twist.linear.x = 5.0
        return message

    def tick(self, tick: int, **replaced: object) -> None:
        """Publish one set; `front=message` or `lidar=None` replaces or leaves out a message."""
        for name in self.cameras:
            self._send(self.infos[name], replaced.get(f"{name}_info", ...), lambda n=name: self.info(n, tick))
        self._send(self.odometry, replaced.get("odometry", ...), lambda: self.pose(tick))
        for name in self.cameras:
            self._send(self.images[name], replaced.get(name, ...), lambda n=name: self.image(n, tick))
        self._send(self.lidar, replaced.get("lidar", ...), lambda: self.cloud(tick))

    @staticmethod
    def _send(publisher: object, message: object, make: Callable[[], object]) -> None:
        if message is not None:
            publisher.publish(make() if message is ... else message)

    def wait_for_subscribers(self, lidar: bool = True, odometry: bool = True) -> None:
        publishers = [*self.images.values(), *self.infos.values(), self.static]
        publishers += [self.lidar] * lidar + [self.odometry] * odometry
        wait_until(lambda: all(publisher.get_subscription_count() for publisher in publishers), 30)


class Listener(Node):
    """Collects every output topic: `received[topic]` is the list of messages in order."""

    def __init__(self, context: Context, cameras: tuple[str, ...] = CAMERAS) -> None:
        super().__init__("listener", context=context)
        self.received: dict[str, list] = defaultdict(list)
        self.topics: dict[str, Subscription] = {}
        self.reports_seen = 0
        topics = {
            "bev": BevOccupancy,
            "occupancy_grid": OccupancyGrid,
            "occupied_points": PointCloud2,
            "objects": AmodalObjectArray,
            "markers": MarkerArray,
            "/diagnostics": DiagnosticArray,
        }
        for name in cameras:
            topics |= {f"{name}/panoptic": AmodalPanoptic, f"{name}/amodal_depth": AmodalDepth}
        for topic, kind in topics.items():
            self.listen(topic, kind)

    def listen(self, topic: str, kind: type, qos: object = 50) -> None:
        self.topics[topic] = self.create_subscription(kind, topic, self.received[topic].append, qos)

    def wait_for_publishers(self, node: Node) -> None:
        """Wait until what `node` publishes is matched with this listener in both directions."""
        mine = {subscription.topic_name: subscription for subscription in self.topics.values()}
        both = [(own, mine[own.topic_name]) for own in node.publishers if own.topic_name in mine]
        assert both
        wait_until(lambda: all(t.get_subscription_count() and m.get_publisher_count() for t, m in both), 30)

    def wait_for(self, topic: str, count: int = 1, timeout_s: float = 30.0) -> list:
        wait_until(lambda: len(self.received[topic]) >= count, timeout_s, lambda: f"{topic}: {self.diagnosis()}")
        return self.received[topic]

    def wait_for_diagnostics(self, ready: Callable[[str, dict], bool], timeout_s: float = 30.0) -> tuple[str, dict]:
        """Return message text and values of the first report after the last one found that satisfies `ready`."""

        def found() -> int | None:
            reports = enumerate(self.received["/diagnostics"][self.reports_seen :], self.reports_seen)
            return next((index for index, report in reports if ready(*values_of(report))), None)

        wait_until(lambda: found() is not None, timeout_s, self.diagnosis)
        index = found()
        assert index is not None
        self.reports_seen = index + 1
        return values_of(self.received["/diagnostics"][index])

    def diagnosis(self) -> str:
        reports = self.received["/diagnostics"]
        return str(values_of(reports[-1])) if reports else "no diagnostics came"


def values_of(report: DiagnosticArray) -> tuple[str, dict[str, str]]:
    """Return text and key -> value of the perception status."""
    status = report.status[0]
    return status.message, {pair.key: pair.value for pair in status.values}


def stamp_ns(tick: int) -> int:
    return START_NS + tick * PERIOD_NS


def stamp(tick: int) -> object:
    return ns_to_stamp(stamp_ns(tick))


def wait_until(ready: Callable[[], object], timeout_s: float, why: Callable[[], str] = str) -> None:
    """Wait for a condition; AssertionError with an explanation when it does not come true."""
    end = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < end, f"waited {timeout_s} s in vain. {why()}"
        time.sleep(0.01)

"""Publishes what was perceived: this package's messages and their standard twins, each with its QoS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Header
from visualization_msgs.msg import MarkerArray

from amodal_perception_ros.msg import AmodalDepth, AmodalObjectArray, AmodalPanoptic
from amodal_perception_ros.msg import BevOccupancy as BevOccupancyMessage
from amodal_perception_ros.ros.diagnostics import STAGES
from amodal_perception_ros.ros.message_conversions import (
    bev_to_cloud,
    bev_to_message,
    bev_to_occupancy_grid,
    objects_to_markers,
    objects_to_message,
    scene_to_depth,
    scene_to_panoptic,
)
from amodal_perception_ros.ros.parameters import PerceptionParameters
from amodal_perception_ros.scene import AmodalObject, BevOccupancy, SurroundFrame, SurroundScene

RESULT_QOS = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""What nav2's static layer expects of a map: a late subscriber still gets the newest one."""

MARKER_LIFETIME_S = 1.0

Outgoing = list[tuple[Publisher, Any]]


class ScenePublisher:
    """Owns the output topics.

    Args:
        node: the node that publishes.
        parameters: cameras, `publish.*`, the odometry frame and the grid's convention.
    """

    def __init__(self, node: Node, parameters: PerceptionParameters) -> None:
        self._parameters = parameters
        self._publishers: dict[str, Publisher] = {}
        topics: dict[str, tuple[type, QoSProfile]] = {
            "bev": (BevOccupancyMessage, RESULT_QOS),
            "occupancy_grid": (OccupancyGrid, LATCHED_QOS),
            "occupied_points": (PointCloud2, RESULT_QOS),
            "objects": (AmodalObjectArray, RESULT_QOS),
            "markers": (MarkerArray, RESULT_QOS),
        }
        for name, (message_type, qos) in topics.items():
            if name in parameters.publish:
                self._publishers[name] = node.create_publisher(message_type, name, qos)
        for camera in parameters.cameras:
            for name, message_type in (("panoptic", AmodalPanoptic), ("amodal_depth", AmodalDepth)):
                if name in parameters.publish:
                    topic = f"{camera}/{name}"
                    self._publishers[topic] = node.create_publisher(message_type, topic, RESULT_QOS)
        if "debug" in parameters.publish:
            for topic in ("pipeline_latency_ms", *(f"processing_time/{stage}_ms" for stage in STAGES)):
                self._publishers[topic] = node.create_publisher(Float64, f"debug/{topic}", RESULT_QOS)

    def convert_cameras(self, scene: SurroundScene, headers: Mapping[str, Header]) -> Outgoing:
        """Return the messages of every camera; each carries its image's header."""
        outgoing: Outgoing = []
        for name, camera_scene in scene.cameras.items():
            header = headers[name]
            self._add(outgoing, f"{name}/panoptic", partial(scene_to_panoptic, camera_scene, header, scene.model_id))
            self._add(outgoing, f"{name}/amodal_depth", partial(scene_to_depth, camera_scene, header))
        return outgoing

    def convert_world(self, frame: SurroundFrame, bev: BevOccupancy, objects: list[AmodalObject]) -> Outgoing:
        """Return grid, points, objects and markers, all in the odometry frame at the frame's stamp."""
        if frame.odom_from_base is None:
            raise ValueError("grid and objects need the frame's pose in odom")
        odom, stamp_ns = self._parameters.odom_frame, frame.stamp_ns
        ground_z = float(frame.odom_from_base[2, 3])
        outgoing: Outgoing = []
        self._add(outgoing, "bev", partial(bev_to_message, bev, odom))
        self._add(outgoing, "occupancy_grid", partial(bev_to_occupancy_grid, bev, odom, self._parameters.convention))
        self._add(outgoing, "occupied_points", partial(bev_to_cloud, bev, odom, ground_z))
        self._add(outgoing, "objects", partial(objects_to_message, objects, stamp_ns, odom))
        self._add(outgoing, "markers", partial(objects_to_markers, objects, stamp_ns, odom, MARKER_LIFETIME_S))
        return outgoing

    def publish(self, outgoing: Outgoing) -> None:
        """Send converted messages."""
        for publisher, message in outgoing:
            publisher.publish(message)

    def publish_latencies(self, stages_ms: Mapping[str, float], pipeline_ms: float) -> None:
        """Send the debug topics of one tick."""
        values = {f"processing_time/{stage}_ms": value for stage, value in stages_ms.items()}
        for topic, value in {**values, "pipeline_latency_ms": pipeline_ms}.items():
            if topic in self._publishers:
                self._publishers[topic].publish(Float64(data=float(value)))

    def _add(self, outgoing: Outgoing, topic: str, make: Callable[[], Any]) -> None:
        """Convert only what somebody can receive; a latched topic is also for those who come later."""
        publisher = self._publishers.get(topic)
        if publisher is not None and (topic == "occupancy_grid" or publisher.get_subscription_count() > 0):
            outgoing.append((publisher, make()))

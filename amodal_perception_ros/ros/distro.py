"""The one seam between a full ROS 2 distribution and ROS 2 from Python wheels.

The wheels hold rclpy, Fast DDS and the message packages. What a distribution has and they lack, and what stands in:

=================  ==========================================================================================
launch_ros         launch files are for the distribution; `amodal run` starts the same executables
tf2_ros            `transforms.TransformTree` follows /tf and /tf_static in both environments
message_filters    `amodal_perception_ros.synchronizer` in both environments
rosbag2            `bag_player` and `recorder` in both environments, over the same file format
tf_transformations transforms3d, which it wraps
cv_bridge          `sensor_conversions` converts the common encodings; the rest need cv_bridge
=================  ==========================================================================================

Only the last two, the variable that keeps packets on the machine and a module that moved after Humble differ at run
time, and only here.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

try:
    from tf_transformations import quaternion_from_matrix as _quaternion_from_matrix
    from tf_transformations import quaternion_matrix as _quaternion_matrix
except ImportError:
    from transforms3d.quaternions import mat2quat, quat2mat

    def _quaternion_matrix(xyzw: np.ndarray) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, :3] = quat2mat(np.roll(xyzw, 1))
        return matrix

    def _quaternion_from_matrix(matrix: np.ndarray) -> np.ndarray:
        return np.roll(mat2quat(matrix[:3, :3]), -1)


try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

__all__ = [
    "LOCALHOST_ONLY",
    "SubscriptionEventCallbacks",
    "load_cv_bridge",
    "quaternion_from_rotation",
    "rotation_from_quaternion",
]

_BEFORE_DISCOVERY_RANGE = ("humble",)

LOCALHOST_ONLY: dict[str, str] = (
    {"ROS_LOCALHOST_ONLY": "1"}
    if os.environ.get("ROS_DISTRO") in _BEFORE_DISCOVERY_RANGE
    else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
)
"""Environment with which no packet of a node leaves the machine."""


def rotation_from_quaternion(xyzw: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation of a (4,) quaternion x, y, z, w of any length above zero."""
    return np.asarray(_quaternion_matrix(xyzw / np.linalg.norm(xyzw)))[:3, :3]


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Return the (4,) unit quaternion x, y, z, w of a (3, 3) rotation."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    return np.asarray(_quaternion_from_matrix(matrix))


def load_cv_bridge() -> Any | None:
    """Return the cv_bridge module, or None where it is absent or cannot be loaded.

    It is loaded on demand: a cv_bridge built for NumPy 1 fails on import under NumPy 2 (vision_opencv issue 535).
    """
    try:
        import cv_bridge
    except (ImportError, AttributeError):
        return None
    return cv_bridge

"""The newest odometry messages, from which the vehicle's motion around a set is read."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from nav_msgs.msg import Odometry
from scipy.spatial.transform import Rotation

from amodal_perception_ros.trajectory import Trajectory

CAPACITY = 2000
"""Messages that are kept: 5 s at 400 Hz."""


class OdometryHistory:
    """Written by the callbacks and read by the worker, so every method takes its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poses: deque[tuple[int, tuple[float, ...]]] = deque(maxlen=CAPACITY)

    def add(self, stamp_ns: int, message: Odometry) -> None:
        """Take over a message of the right frames; one that is not finite or has no orientation is left out."""
        position, q = message.pose.pose.position, message.pose.pose.orientation
        values = (position.x, position.y, position.z, q.x, q.y, q.z, q.w)
        if np.isfinite(values).all() and 1e-6 < max(map(abs, values[3:])) < 1e6:
            with self._lock:
                self._poses.append((stamp_ns, values))

    def clear(self) -> None:
        """Forget everything, after time has jumped back."""
        with self._lock:
            self._poses.clear()

    def around(self, stamp_ns: int, margin_ns: int, offset_ns: int = 0) -> Trajectory:
        """Return the motion within `margin_ns` of a stamp; of messages with the same stamp the newest counts.

        Args:
            stamp_ns: where to look, in the clock that the trajectory is to have.
            margin_ns: how far from it.
            offset_ns: by how much the messages' stamps run ahead of that clock.
        """
        with self._lock:
            corrected = ((stamp - offset_ns, values) for stamp, values in self._poses)
            near = {stamp: values for stamp, values in corrected if abs(stamp - stamp_ns) <= margin_ns}
        stamps = sorted(near)
        values = np.array([near[stamp] for stamp in stamps], np.float64).reshape(-1, 7)
        poses = np.tile(np.eye(4), (len(stamps), 1, 1))
        poses[:, :3, 3] = values[:, :3]
        if len(stamps):
            poses[:, :3, :3] = Rotation.from_quat(values[:, 3:]).as_matrix()
        return Trajectory(np.array(stamps, np.int64), poses)

"""Frames of the sensors: follows /tf and /tf_static as a tree of rigid transforms.

A sensor is rigid on its vehicle, so the newest transform of every link is what a lookup needs; there is no history
and no interpolation. That makes one implementation enough for a ROS distribution and for the wheels, which have no
tf2. Frames follow REP-103 and REP-105. The frames of CARLA's cameras are optical although their names do not say
so (`carla_camera_publisher` of the bridge turns them), so nothing is added to what /tf says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from amodal_perception_ros.ros.sensor_conversions import (
    ConversionError,
    matrix_from_values,
    stamp_to_ns,
    transform_to_matrix,
)

JUMP_NS = 1_000_000_000
"""Time that goes back by less than this is disorder: a late transform, or a clock that was set right. By this or more,
it is another run of the bag or simulator."""


class TransformError(LookupError):
    """Two frames are not connected; the message names the missing link."""


@dataclass(frozen=True)
class _Link:
    parent: str
    parent_from_child: np.ndarray
    stamp_ns: int
    is_static: bool


def matrix_from_pose_values(values: Sequence[float]) -> np.ndarray:
    """Return the (4, 4) transform of the seven numbers x, y, z [m], qx, qy, qz, qw of a parameter file.

    Raises:
        ValueError: not seven finite numbers, or a zero quaternion.
    """
    if len(values) != 7:
        raise ValueError(f"a pose is x, y, z, qx, qy, qz, qw; got {len(values)} numbers")
    return matrix_from_values(np.asarray(values[:3], np.float64), np.asarray(values[3:], np.float64))


class TransformTree:
    """The newest transform of every child frame to its parent.

    Attributes:
        rejected: cause -> number of transforms that could not be used (see `ConversionError.cause`).
    """

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._fixed: dict[str, _Link] = {}
        self.rejected: Counter[str] = Counter()

    def fix(self, parent: str, child: str, parent_from_child: np.ndarray) -> None:
        """Set a (4, 4) transform from the parameters; it goes before what /tf says and survives `clear`."""
        self._fixed[_plain(child)] = _Link(_plain(parent), np.asarray(parent_from_child, np.float64), 0, True)

    def update(self, transforms: Iterable[TransformStamped], is_static: bool) -> bool:
        """Take over transforms of one message; late ones are ignored, unusable ones counted in `rejected`.

        Returns:
            Whether time jumped back, in which case the other moving transforms were forgotten: they are of another
            run of the bag or simulator.
        """
        jumped = False
        for transform in transforms:
            parent, child = _plain(transform.header.frame_id), _plain(transform.child_frame_id)
            if not parent or not child or parent == child:
                self.rejected["bad_frames"] += 1
                continue
            try:
                matrix = transform_to_matrix(transform.transform)
            except ConversionError as error:
                self.rejected[error.cause] += 1
                continue
            link = _Link(parent, matrix, stamp_to_ns(transform.header.stamp), is_static)
            known = self._links.get(child)
            if known is not None and not (known.is_static or is_static) and link.stamp_ns < known.stamp_ns:
                if link.stamp_ns > known.stamp_ns - JUMP_NS:
                    continue
                jumped = True
                self.clear()
            self._links[child] = link
        return jumped

    def clear(self) -> None:
        """Forget moving transforms; static ones and those from parameters stay."""
        self._links = {child: link for child, link in self._links.items() if link.is_static}

    def target_from_source(self, target: str, source: str) -> np.ndarray:
        """Return the (4, 4) float64 transform that maps points of `source` into `target`.

        Raises:
            TransformError: a frame is unknown, the frames are in different trees, or the links form a loop.
        """
        source_chain = self._chain_to_root(_plain(source))
        target_chain = self._chain_to_root(_plain(target))
        for frame, target_ancestor in target_chain.items():
            if frame in source_chain:
                return np.linalg.inv(target_ancestor) @ source_chain[frame]
        raise TransformError(self._explain(_plain(target), _plain(source), target_chain, source_chain))

    def _link(self, child: str) -> _Link | None:
        return self._fixed.get(child) or self._links.get(child)

    def _chain_to_root(self, frame: str) -> dict[str, np.ndarray]:
        """Return frame -> (4, 4) ancestor_from_frame for the frame itself and its ancestors, nearest first."""
        chain = {frame: np.eye(4)}
        current = frame
        while (link := self._link(current)) is not None:
            if link.parent in chain:
                raise TransformError(f"the transforms of frames {list(chain)} form a loop")
            chain[link.parent] = link.parent_from_child @ chain[current]
            current = link.parent
        return chain

    def _explain(
        self, target: str, source: str, target_chain: dict[str, np.ndarray], source_chain: dict[str, np.ndarray]
    ) -> str:
        links = {**self._links, **self._fixed}
        known = set(links) | {link.parent for link in links.values()}
        start = f"no transform from '{source}' to '{target}': "
        unknown = [name for name in (source, target) if name not in known]
        if unknown:
            names = " and ".join(f"'{name}'" for name in unknown)
            listing = ", ".join(sorted(known)) or "none"
            return f"{start}nothing on /tf or /tf_static mentions {names} (known frames: {listing})"
        source_root, target_root = list(source_chain)[-1], list(target_chain)[-1]
        return (
            f"{start}'{source}' leads up to '{source_root}' and '{target}' to '{target_root}'; "
            f"the link between '{source_root}' and '{target_root}' is missing"
        )


def _plain(frame: str) -> str:
    """Return the frame name without the leading slash of ROS 1."""
    return frame.lstrip("/")


class TransformListener:
    """Feeds a `TransformTree` from /tf and /tf_static.

    Callbacks run in the node's executor. `on_reset` is called after moving transforms were forgotten because time
    jumped back.
    """

    def __init__(self, node: Node, tree: TransformTree, on_reset: Callable[[], None] | None = None) -> None:
        self._node = node
        self._tree = tree
        self._on_reset = on_reset
        moving = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        static = QoSProfile(
            depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", self._on_moving, moving),
            node.create_subscription(TFMessage, "/tf_static", self._on_static, static),
        ]
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-JUMP_NS), on_clock_change=True)
        self._jump_handle = node.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)

    def close(self) -> None:
        """Stop following."""
        self._jump_handle.unregister()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_moving(self, message: TFMessage) -> None:
        if self._tree.update(message.transforms, is_static=False) and self._on_reset is not None:
            self._on_reset()

    def _on_static(self, message: TFMessage) -> None:
        self._tree.update(message.transforms, is_static=True)

    def _on_jump(self, jump: TimeJump) -> None:
        del jump
        self._tree.clear()
        if self._on_reset is not None:
            self._on_reset()

"""How an executable of this package runs its node: one thread, clean ends, one line for wrong input."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from amodal_perception_ros.errors import InputError


class ConfiguredNode(Node):
    """A node whose parameters `parameters.declare` can declare and check."""

    def __init__(self, name: str, **node_options: Any) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **node_options)

    def close(self) -> bool:
        """Say the last words and destroy the node; returns whether every thread of it has ended."""
        self.destroy_node()
        return True


def sensor_qos(depth: int, reliability: str = "best_effort") -> QoSProfile:
    """Return a new profile for a sensor's topic; best effort matches every publisher, reliable or not."""
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy[reliability.upper()])


def spin_until_signal(make_node: Callable[[], ConfiguredNode], args: list[str] | None = None) -> int:
    """Make a node and run it until SIGINT or SIGTERM.

    Args:
        make_node: makes the node; raises InputError for wrong parameters and files.
        args: command line, default `sys.argv`.

    Returns:
        0 after a clean end, 2 for wrong input (one line on stderr).
    """
    # rclpy's own handlers would shut the context down before the node's last words are out.
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError and its kin: unreadable parameter file, unknown --ros-args
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        node = make_node()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    all_ended = True
    try:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
    except ExternalShutdownException:
        pass
    finally:
        executor.remove_node(node)
        all_ended = node.close()
        executor.shutdown()
        rclpy.try_shutdown()
    if not all_ended:
        # A thread is in a native call. Python's own end would pull the library away from under it, and crash.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0

"""Records topics into one rosbag2 MCAP file, which Foxglove and `ros2 bag play` open.

Messages are stored as they came over the wire. The definitions of their types are embedded, this package's included,
so that the file can be read where the package is not installed. rosbag2's own recorder is not part of the ROS 2
wheels; on a distribution `ros2 bag record` does the same.

What the middleware reports as lost on the way is counted and named at the end. It does not report messages that a
full queue of QUEUE_DEPTH pushed out; the recorder does nothing but write, so that its queues stay short.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
import yaml
from mcap.writer import CompressionType, Writer
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from amodal_perception_ros.ros.distro import SubscriptionEventCallbacks
from amodal_perception_ros.ros.interfaces import UnknownTypeError, message_class, message_definition
from amodal_perception_ros.ros.sensor_conversions import NANOSECONDS

METADATA_VERSION = 8
"""rosbag2 metadata version: the last that writes QoS as numbers, which Humble reads too."""

DISCOVERY_PERIOD_S = 0.1
QUEUE_DEPTH = 200
DRAIN_S = 0.3
"""A stopped recorder goes on until nothing came for this long, so that what was already sent is in the file."""

NEVER_RECORDED = frozenset({"/rosout", "/parameter_events"})


class BagFile:
    """One MCAP file in rosbag2's layout.

    Attributes:
        counts: topic -> number of messages.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._writer = Writer(self._stream, compression=CompressionType.ZSTD)
        self._writer.start(profile="ros2", library="amodal_perception_ros")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._topics: dict[str, dict[str, str]] = {}
        self._span_ns: tuple[int, int] | None = None
        self.path = path
        self.counts: Counter[str] = Counter()

    def add_topic(self, topic: str, type_name: str, offered: Sequence[QoSProfile]) -> None:
        """Add a topic with the QoS that its publishers offer.

        Raises:
            UnknownTypeError: the definition of the type is not installed.
        """
        if type_name not in self._schemas:
            text = message_definition(type_name)
            self._schemas[type_name] = self._writer.register_schema(type_name, "ros2msg", text.encode())
        qos = yaml.safe_dump([_qos_entry(profile) for profile in offered], sort_keys=False)
        self._channels[topic] = self._writer.register_channel(
            topic, "cdr", self._schemas[type_name], {"offered_qos_profiles": qos}
        )
        self._topics[topic] = {"type": type_name, "offered_qos_profiles": qos}

    def write(self, topic: str, data: bytes, log_ns: int, publish_ns: int | None = None) -> None:
        """Append one serialized message with the time [ns] of its reception and, where known, of its publication."""
        published = log_ns if publish_ns is None else publish_ns
        self._writer.add_message(self._channels[topic], log_ns, data, published, self.counts[topic])
        self.counts[topic] += 1
        first, last = self._span_ns or (log_ns, log_ns)
        self._span_ns = (min(first, log_ns), max(last, log_ns))

    def close(self) -> None:
        """Write rosbag2's metadata and the index, and close the file."""
        text = yaml.safe_dump(self._metadata(), sort_keys=False)
        self._writer.add_metadata("rosbag2", {"serialized_metadata": text})
        self._writer.finish()
        self._stream.close()

    def _metadata(self) -> dict[str, Any]:
        first, last = self._span_ns or (0, 0)
        span = {
            "duration": {"nanoseconds": last - first},
            "starting_time": {"nanoseconds_since_epoch": first},
            "message_count": self.counts.total(),
        }
        topics = [
            {
                "topic_metadata": {
                    "name": topic,
                    "serialization_format": "cdr",
                    "type_description_hash": "",
                    **properties,
                },
                "message_count": self.counts[topic],
            }
            for topic, properties in self._topics.items()
        ]
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            **span,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self.path.name],
            "files": [{"path": self.path.name, **span}],
            "custom_data": None,
            "ros_distro": os.environ.get("ROS_DISTRO", ""),
        }


def _qos_entry(profile: QoSProfile) -> dict[str, Any]:
    """Return rosbag2's YAML form of a QoS profile (version 8: policies as the numbers of rmw)."""

    def time_of(duration: Duration) -> dict[str, int]:
        return {"sec": duration.nanoseconds // NANOSECONDS, "nsec": duration.nanoseconds % NANOSECONDS}

    return {
        "history": int(profile.history),
        "depth": profile.depth,
        "reliability": int(profile.reliability),
        "durability": int(profile.durability),
        "deadline": time_of(profile.deadline),
        "lifespan": time_of(profile.lifespan),
        "liveliness": int(profile.liveliness),
        "liveliness_lease_duration": time_of(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": False,
    }


def matching_qos(offered: Sequence[QoSProfile]) -> QoSProfile:
    """Return a subscription's QoS that matches every publisher and asks for as much as all of them offer."""
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in offered)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=QUEUE_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class Recorder(Node):
    """Subscribes to the selected topics as soon as they have a publisher, and writes what comes.

    Args:
        bag: the file to write.
        topics: topic names; empty records all topics.
        exclude: topics that are left out when all are recorded.

    Attributes:
        lost: topic -> number of messages that the middleware lost.
    """

    def __init__(self, bag: BagFile, topics: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        super().__init__("recorder", enable_rosout=False, start_parameter_services=False)
        self._bag = bag
        self._wanted = frozenset(self.resolve_topic_name(topic) for topic in topics)
        self._excluded = NEVER_RECORDED | {self.resolve_topic_name(topic) for topic in exclude}
        self._known: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.create_timer(DISCOVERY_PERIOD_S, self._discover)
        self._discover()

    def _discover(self) -> None:
        for topic, types in self.get_topic_names_and_types():
            if topic in self._known or not self._selected(topic):
                continue
            offered = [info.qos_profile for info in self.get_publishers_info_by_topic(topic)]
            if offered:
                self._known.add(topic)
                self._subscribe(topic, types[0], offered)

    def _selected(self, topic: str) -> bool:
        return topic in self._wanted if self._wanted else topic not in self._excluded

    def _subscribe(self, topic: str, type_name: str, offered: list[QoSProfile]) -> None:
        try:
            kind = message_class(type_name)
            self._bag.add_topic(topic, type_name, offered)
        except UnknownTypeError as error:
            self.get_logger().warning(f"{topic} is not recorded: {error}")
            return
        self.create_subscription(
            kind,
            topic,
            partial(self._store, topic),
            matching_qos(offered),
            event_callbacks=SubscriptionEventCallbacks(message_lost=partial(self._count_lost, topic)),
            raw=True,
        )
        self.get_logger().info(f"recording {topic}")

    def _store(self, topic: str, data: bytes) -> None:
        self._bag.write(topic, data, time.time_ns())

    def _count_lost(self, topic: str, event: Any) -> None:
        self.lost[topic] += event.total_count_change


def record(
    path: Path, topics: Sequence[str], exclude: Sequence[str], stop: threading.Event
) -> tuple[Counter[str], Counter[str]]:
    """Record until `stop` is set; rclpy must be initialized.

    Returns:
        Topic -> number of messages in the file, and topic -> number of messages that the middleware lost.
    """
    bag = BagFile(path)
    node = Recorder(bag, topics, exclude)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        _drain(executor, bag)
    except ExternalShutdownException:
        pass
    finally:
        executor.shutdown()
        node.destroy_node()
        bag.close()
    return bag.counts, node.lost


def _drain(executor: SingleThreadedExecutor, bag: BagFile) -> None:
    count, quiet_since = bag.counts.total(), time.monotonic()
    deadline = quiet_since + 10 * DRAIN_S
    while time.monotonic() < min(quiet_since + DRAIN_S, deadline):
        executor.spin_once(timeout_sec=DRAIN_S / 3)
        if bag.counts.total() != count:
            count, quiet_since = bag.counts.total(), time.monotonic()


def _arguments(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="recorder", description="Record ROS 2 topics into a rosbag2 MCAP file.")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="topics to record (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="MCAP file to write")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="TOPIC", help="leave these out of all topics")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM.

    Returns:
        0 after the file was closed, 2 when it cannot be written (one line on stderr).
    """
    command = sys.argv if args is None else ["recorder", *args]
    options = _arguments(remove_ros_args(command)[1:])
    if options.out.exists() and not options.overwrite:
        print(f"recorder: {options.out} exists already; --overwrite replaces it", file=sys.stderr)
        return 2
    # rclpy's own handlers would end the context before the file is complete.
    rclpy.init(args=command, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        counts, lost = record(options.out, options.topics, options.exclude, stop)
    except OSError as error:
        print(f"recorder: {options.out} cannot be written: {error.strerror or error}", file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
    for topic, count in lost.items():
        print(f"recorder: {count} messages of {topic} were lost on the way", file=sys.stderr)
    print(f"recorded {counts.total()} messages of {len(counts)} topics into {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Plays a rosbag2 recording on its topics, in real time, with the QoS with which it was recorded.

Messages go out as the bytes that were recorded, so a type needs to be installed but not decoded. rosbag2's own player
is not part of the ROS 2 wheels; on a distribution `ros2 bag play` does the same.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock

from amodal_perception_ros.datasets.bag import Bag, BagError, BagTopic, open_bag
from amodal_perception_ros.ros.interfaces import UnknownTypeError, message_class
from amodal_perception_ros.ros.progress import Progress
from amodal_perception_ros.ros.sensor_conversions import NANOSECONDS, ns_to_stamp

MIN_DEPTH = 10
MAX_LATCHED_DEPTH = 100
ACKNOWLEDGE_S = 2.0
"""How long reliable subscribers have to receive a latched message, and at the end everything."""


@dataclass(frozen=True)
class PlayOptions:
    """How to play.

    Attributes:
        rate: speed against the recording.
        loop: start again at the end, until stopped.
        clock_hz: rate of /clock in real time; 0 publishes no clock.
        wait_for: topics that must have a subscriber before the first message, or two where a topic is named twice;
            an empty tuple stands for all topics, None does not wait.
        wait_timeout_s: longest time to wait for them.
    """

    rate: float = 1.0
    loop: bool = False
    clock_hz: float = 0.0
    wait_for: tuple[str, ...] | None = None
    wait_timeout_s: float = 60.0


def is_latched(topic: BagTopic) -> bool:
    """Whether a topic is offered to subscribers that come late: as recorded, and static transforms always.

    Not every writer of recordings records the QoS, and static transforms may be sent only once.
    """
    return topic.latched or topic.topic.rsplit("/", 1)[-1] == "tf_static"


def offered_qos(topic: BagTopic) -> QoSProfile:
    """Return the QoS with which a topic is offered.

    A latched topic keeps as many messages as it has (up to a bound): /tf_static is recorded from several publishers
    that latch one message each, and one player stands for all of them.
    """
    latched = is_latched(topic)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max(MIN_DEPTH, min(topic.count, MAX_LATCHED_DEPTH)) if latched else MIN_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class BagPlayer(Node):
    """Publishes a recording.

    Args:
        bag: the open recording.
        options: how to play it.
        stop: ends playing early when set.

    Raises:
        BagError: no message type of the recording is installed.
    """

    def __init__(self, bag: Bag, options: PlayOptions, stop: threading.Event) -> None:
        super().__init__("bag_player", enable_rosout=False, start_parameter_services=False)
        self._bag = bag
        self._options = options
        self._stop = stop
        self._publishers_of: dict[str, Publisher] = {}
        self._latched = frozenset(topic.topic for topic in bag.topics if is_latched(topic))
        self._clock_publisher = self.create_publisher(Clock, "/clock", MIN_DEPTH) if options.clock_hz > 0 else None
        missing: dict[str, str] = {}
        for topic in bag.topics:
            # A recorded clock would contradict our own.
            if topic.topic == "/clock" and self._clock_publisher is not None:
                continue
            try:
                kind = message_class(topic.type)
            except UnknownTypeError as error:
                missing[topic.topic] = str(error)
                continue
            self._publishers_of[topic.topic] = self.create_publisher(kind, topic.topic, offered_qos(topic))
        if not self._publishers_of:
            raise BagError(f"{bag.path}: no message type of the recording is installed")
        for name, reason in missing.items():
            self.get_logger().warning(f"{name} is not played: {reason}")

    def wait_for_subscribers(self) -> None:
        """Wait until the topics of `wait_for` have their subscribers.

        Raises:
            BagError: a topic is not in the recording, or nobody subscribes in time.
        """
        names = [self.resolve_topic_name(name) for name in self._options.wait_for or ()] or list(self._publishers_of)
        needed = Counter(names)
        unknown = sorted(set(needed) - set(self._publishers_of))
        if unknown:
            raise BagError(f"{self._bag.path}: no topic {', '.join(unknown)} to wait for")
        deadline = time.monotonic() + self._options.wait_timeout_s
        while waiting := [n for n in needed if self._publishers_of[n].get_subscription_count() < needed[n]]:
            if time.monotonic() > deadline:
                raise BagError(
                    f"{self._bag.path}: nobody subscribed to {', '.join(waiting)} in {self._options.wait_timeout_s:g} s"
                )
            if self._stop.wait(0.02):
                return

    def play(self) -> int:
        """Play to the end (for ever with `loop`) and return the number of published messages.

        Raises:
            BagError: the recording is damaged.
        """
        self.get_logger().info(f"playing {self._bag.path}")
        count = 0
        while not self._stop.is_set():
            count += self._play_once()
            if not self._options.loop:
                break
        for publisher in self._publishers_of.values():
            if not self._stop.is_set():
                publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))
        return count

    def _play_once(self) -> int:
        count, first_ns = 0, self._bag.start_ns
        pacer = Pacer(first_ns, self._options, self._publish_clock, self._stop)
        with Progress("play", (self._bag.end_ns - first_ns) / NANOSECONDS, "s") as progress:
            for topic, _, stamp_ns, data in self._bag.messages(list(self._publishers_of)):
                if not pacer.wait_until(stamp_ns):
                    break
                self._publish(topic, data)
                count += 1
                progress.reach((stamp_ns - first_ns) / NANOSECONDS, f"{count} messages")
        return count

    def _publish(self, topic: str, data: bytes) -> None:
        publisher = self._publishers_of[topic]
        publisher.publish(data)
        if topic in self._latched:
            # The first image must not overtake the transforms that it needs.
            publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))

    def _publish_clock(self, stamp_ns: int) -> None:
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=ns_to_stamp(stamp_ns)))


class Pacer:
    """Maps recorded time to real time, and ticks the clock while it waits.

    The clock ticks once at the start.

    Args:
        first_ns: recorded time that is now.
        options: speed and rate of the clock.
        tick: called with the recorded time [ns] at every tick of the clock.
        stop: ends waiting when set.
    """

    def __init__(self, first_ns: int, options: PlayOptions, tick: Callable[[int], None], stop: threading.Event) -> None:
        self._first_ns, self._rate, self._tick, self._stop = first_ns, options.rate, tick, stop
        self._begin = time.monotonic()
        self._period = 1.0 / options.clock_hz if options.clock_hz > 0 else math.inf
        self._clock_due = self._begin + self._period
        if options.clock_hz > 0:
            tick(first_ns)

    def wait_until(self, stamp_ns: int) -> bool:
        """Sleep until it is that recorded time; False when stopped before."""
        due = self._begin + (stamp_ns - self._first_ns) / NANOSECONDS / self._rate
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= self._clock_due:
                self._tick(self._first_ns + round((min(now, due) - self._begin) * self._rate * NANOSECONDS))
                self._clock_due = now + self._period
            if now >= due:
                return True
            self._stop.wait(min(due, self._clock_due) - now)
        return False


def _positive(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _arguments(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bag_player", description="Play a rosbag2 recording on ROS 2 topics.")
    parser.add_argument("bag", type=Path, help="MCAP file or rosbag2 directory")
    parser.add_argument("--rate", type=_positive, default=1.0, help="speed against the recording (default 1)")
    parser.add_argument("--loop", action="store_true", help="start again at the end, until stopped")
    parser.add_argument(
        "--clock", type=_positive, nargs="?", const=50.0, default=0.0, metavar="HZ", help="publish /clock (50 Hz)"
    )
    parser.add_argument(
        "--wait-for-subscribers",
        nargs="*",
        metavar="TOPIC",
        help="begin when these topics (default: all of the recording) have a subscriber; name one twice for two",
    )
    parser.add_argument("--wait-timeout", type=_positive, default=60.0, metavar="S", help="give up after S (60)")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> int:
    """Play a recording until its end, SIGINT or SIGTERM.

    Returns:
        0 at the end or when stopped, 2 when the recording cannot be played (one line on stderr).
    """
    command = sys.argv if args is None else ["bag_player", *args]
    options = _arguments(remove_ros_args(command)[1:])
    rclpy.init(args=command, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    wait_for = None if options.wait_for_subscribers is None else tuple(options.wait_for_subscribers)
    play_options = PlayOptions(options.rate, options.loop, options.clock, wait_for, options.wait_timeout)
    try:
        with open_bag(options.bag) as bag:
            player = BagPlayer(bag, play_options, stop)
            if wait_for is not None:
                player.wait_for_subscribers()
            count = player.play()
            player.destroy_node()
    except BagError as error:
        print(f"bag_player: {error}", file=sys.stderr)
        return 2
    finally:
        rclpy.try_shutdown()
    print(f"played {count} messages of {options.bag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

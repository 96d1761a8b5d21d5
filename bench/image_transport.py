"""How many raw images arrive between two processes, and how late: `env/run python bench/image_transport.py`.

Four topics, 15 bursts at 5 Hz, with the middleware's defaults and with the profile that `amodal run` gives its
programs (`ros/processes.py`). Needs ROS 2.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from amodal_perception_ros.ros.processes import large_message_environment, reserved_domain

TOPICS, BURSTS, PERIOD_S = [f"image_{number}" for number in range(4)], 15, 0.2
SIZES = {"0.59 MB (512 x 288 bgra8)": 512 * 288 * 4, "8.3 MB (1920 x 1080 bgra8)": 1920 * 1080 * 4}


def publish(size: int) -> None:
    """Send all bursts once somebody listens."""
    node = rclpy.create_node("camera")
    publishers = [node.create_publisher(Image, topic, 10) for topic in TOPICS]
    while not all(publisher.get_subscription_count() for publisher in publishers):
        time.sleep(0.05)
    time.sleep(0.5)
    message = Image(height=1, width=size, step=size, encoding="mono8", data=array("B", bytes(size)))
    for _ in range(BURSTS):
        for publisher in publishers:
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
            publisher.publish(message)
        time.sleep(PERIOD_S)
    time.sleep(2.0)


def receive(reliability: ReliabilityPolicy, size: int) -> list[float]:
    """Return the latency [ms] of each message of a publishing process that arrives."""
    node, latencies = rclpy.create_node("listener"), []

    def on_image(data: bytes) -> None:
        seconds, nanoseconds = struct.unpack_from("<iI", data, 4)
        latencies.append(1e3 * (time.time() - seconds - 1e-9 * nanoseconds))

    for topic in TOPICS:
        node.create_subscription(Image, topic, on_image, QoSProfile(depth=5, reliability=reliability), raw=True)
    sender = subprocess.Popen([sys.executable, __file__, "--publish", str(size)])
    while sender.poll() is None:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    return latencies


def main() -> None:
    """Measure all cases; each runs in a process of its own because profiles are read once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--receive", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish or args.receive:
        rclpy.init()
        if args.publish:
            publish(args.publish)
        else:
            latencies = receive(ReliabilityPolicy[args.receive[0]], int(args.receive[1]))
            print(f"{len(latencies)} of {len(TOPICS) * BURSTS}, latency at most {max(latencies, default=0):.0f} ms")
        rclpy.shutdown()
        return
    with tempfile.TemporaryDirectory() as scratch, reserved_domain() as domain:
        base = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        profiles = {"default": base, "profile": {**base, **large_message_environment(Path(scratch))}}
        for name, size in SIZES.items():
            for reliability in ("BEST_EFFORT", "RELIABLE"):
                for profile, environment in profiles.items():
                    command = [sys.executable, __file__, "--receive", reliability, str(size)]
                    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                    print(f"{name}, {reliability.lower()}, {profile}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()

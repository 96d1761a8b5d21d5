"""The perception node: sensor topics in, amodal scenes, grid and objects out.

Callbacks only enqueue. The executor's thread runs the synchronizer, one worker thread converts, perceives and
publishes; between them lies a mailbox of one place, so that the newest set wins when inference is slower than the
sensors. Inputs, outputs, parameters and limits are in docs/node.md.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from amodal_perception_ros.fusion import BevConfig, BevMapper, TrackConfig
from amodal_perception_ros.perception import Perception
from amodal_perception_ros.perception.postprocess import PostprocessConfig
from amodal_perception_ros.ros.diagnostics import NodeHealth
from amodal_perception_ros.ros.frame_builder import BuiltFrame, FrameBuilder
from amodal_perception_ros.ros.node_main import ConfiguredNode, sensor_qos, spin_until_signal
from amodal_perception_ros.ros.parameter_table import LIDAR, ODOMETRY
from amodal_perception_ros.ros.parameters import PerceptionParameters, declare
from amodal_perception_ros.ros.scene_publisher import Outgoing, ScenePublisher
from amodal_perception_ros.ros.sensor_conversions import stamp_to_ns
from amodal_perception_ros.ros.transforms import TransformListener, TransformTree
from amodal_perception_ros.scene import SurroundFrame, SurroundScene
from amodal_perception_ros.synchronizer import CAUSES, LatestSet, SensorSet, SyncConfig, Synchronizer

POLL_PERIOD_S = 0.02
"""How often the synchronizer's time-out is looked at."""

JOIN_TIMEOUT_S = 1.5
"""How long a shutdown waits for the set in work."""

SENSOR_DEPTH, ODOMETRY_DEPTH = 5, 100
"""Messages that wait for a busy executor, of each topic."""


@dataclass(frozen=True, eq=False)
class Arrival:
    """A message and when it came, on the steady clock [ns]."""

    message: Any
    arrival_ns: int


@dataclass(frozen=True, eq=False)
class Task:
    """A set for the worker, and when it left the synchronizer on the steady clock [ns]."""

    sensor_set: SensorSet
    newest_arrival_ns: int
    emitted_ns: int


class PerceptionNode(ConfiguredNode):
    """Subscribes to the sensors, perceives each synchronized set, and publishes what was found.

    Args:
        name: name of the node.
        node_options: passed on to `rclpy.node.Node` (context, namespace, parameter_overrides, ...).

    Raises:
        InputError: a parameter is wrong, the weights are missing, truncated or of another architecture, or engine,
            device and precision do not go together on this machine.
    """

    def __init__(self, name: str = "amodal_perception", **node_options: Any) -> None:
        super().__init__(name, **node_options)
        self._settings = PerceptionParameters.from_values(declare(self))
        self._perception = load_perception(self._settings)
        self._transforms = TransformTree()
        self._frames = FrameBuilder(self._settings, self._transforms)
        self._synchronizer = Synchronizer(sync_config(self._settings))
        self._mapper = BevMapper(bev_config(self._settings), self._settings.sensors, track_config(self._settings))
        self._output = ScenePublisher(self, self._settings)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._mailbox: LatestSet[Task] = LatestSet()
        self._epoch = 0
        self._last_tick_ns: int | None = None
        self._closing = False
        self._fell_back = False
        topics = self._subscribe()
        timeout_ns = round(self._settings.sensor_timeout_s * 1e9)
        self._health = NodeHealth(topics, timeout_ns, time.monotonic_ns())
        self._listener = TransformListener(self, self._transforms)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(POLL_PERIOD_S, self._poll, clock=steady)
        self.create_timer(self._settings.diagnostics_period_s, self.report, clock=steady)
        self._worker = threading.Thread(target=self._work, name="perception worker", daemon=True)
        self._worker.start()
        self.get_logger().info(
            f"ready: {self._perception.model_id} on {self._perception.engine.name}, "
            f"cameras {', '.join(self._settings.cameras)}"
        )

    def close(self) -> bool:
        """Stop the worker, say a last time how it went, and destroy the node; more calls do nothing more.

        Returns:
            Whether the worker has ended; it may still be in a native call that cannot be interrupted.
        """
        if not self._closing:
            self._closing = True
            self._mailbox.close()
            if (waiting := self._mailbox.get(0.0)) is not None:
                self._abandon(waiting)
            self._worker.join(JOIN_TIMEOUT_S)
            if self._worker.is_alive():
                self._note_shutdown()
            if self.context.ok():
                self.report()
            self._listener.close()
            super().close()
        return not self._worker.is_alive()

    def report(self) -> None:
        """Publish the diagnostics and log what is newly wrong."""
        self._health.set_dropped(self._synchronizer.drops, CAUSES)
        rejected = {f"transform_{cause}": count for cause, count in self._transforms.rejected.items()}
        self._health.set_dropped(rejected, dict.fromkeys(rejected, "unusable transforms on /tf or /tf_static"))
        facts = {"engine": self._perception.engine.name, "model_id": self._perception.model_id}
        stamp = self.get_clock().now().to_msg()
        message, news = self._health.report(self.get_fully_qualified_name(), stamp, time.monotonic_ns(), facts)
        self._diagnostics.publish(message)
        for problem in news:
            self.get_logger().warning(problem)

    def _subscribe(self) -> dict[str, str]:
        """Subscribe to every sensor in use and return sensor -> resolved topic."""
        compressed = self._settings.image_transport == "compressed"
        image_type, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
        reliability = self._settings.sensor_reliability
        topics: dict[str, tuple[type, str, QoSProfile]] = {
            name: (image_type, f"{name}/image{suffix}", sensor_qos(SENSOR_DEPTH, reliability))
            for name in self._settings.cameras
        }
        if self._settings.use_lidar:
            topics[LIDAR] = (PointCloud2, "lidar/points", sensor_qos(SENSOR_DEPTH, reliability))
        if self._settings.use_odometry:
            topics[ODOMETRY] = (Odometry, "odometry", sensor_qos(ODOMETRY_DEPTH))
        for name in self._settings.cameras:
            qos = sensor_qos(SENSOR_DEPTH)
            self._listen(CameraInfo, f"{name}/camera_info", qos, partial(self._frames.calibrate, name))
        return {
            name: self._listen(kind, topic, qos, partial(self._receive, name))
            for name, (kind, topic, qos) in topics.items()
        }

    def _listen(self, kind: type, topic: str, qos: QoSProfile, callback: Any) -> str:
        """Subscribe; an override of the topic's QoS is written into `qos`, so each subscription has its own."""
        options = QoSOverridingOptions.with_default_policies()
        return self.create_subscription(kind, topic, callback, qos, qos_overriding_options=options).topic_name

    def _receive(self, sensor: str, message: Any) -> None:
        arrival_ns = time.monotonic_ns()
        self._health.received(sensor, arrival_ns)
        stamp_ns = stamp_to_ns(message.header.stamp)
        if sensor == ODOMETRY:
            self._frames.note_odometry(stamp_ns, message)
        sets = self._synchronizer.add(sensor, stamp_ns, Arrival(message, arrival_ns), arrival_ns)
        self._note_jump()
        if sensor == self._synchronizer.reference and stamp_ns != self._last_tick_ns:
            self._last_tick_ns = stamp_ns
            self._health.count("ticks_in")
        self._hand_over(sets)

    def _poll(self) -> None:
        self._hand_over(self._synchronizer.poll(time.monotonic_ns()))

    def _note_jump(self) -> None:
        if self._synchronizer.resets != self._epoch:
            self._epoch = self._synchronizer.resets
            self._frames.forget_motion()
            before, after = self._synchronizer.last_jump_ns or (0, 0)
            self._health.problem(
                "reset",
                f"time went back from {before / 1e9:.3f} s to {after / 1e9:.3f} s (a restarted bag or simulator); "
                "synchronization and map were restarted",
            )

    def _hand_over(self, sets: Sequence[SensorSet]) -> None:
        for sensor_set in sets:
            arrivals = [payload.arrival_ns for _, payload in sensor_set.payloads.values()]
            replaced = self._mailbox.put(Task(sensor_set, max(arrivals), time.monotonic_ns()))
            if replaced is not None:
                self._count_set(replaced.sensor_set.missing)
                self._health.dropped(
                    "superseded", "sets dropped as 'superseded': inference is slower than the sensors; "
                    "lower their rate or input_size, or choose a faster engine or device",
                )  # fmt: skip

    def _count_set(self, missing: Sequence[str]) -> None:
        self._health.count("sets_partial" if missing else "sets_complete")
        if missing:
            self._health.problem("partial", f"sets came without {', '.join(missing)}; check these sensors")

    def _abandon(self, task: Task) -> None:
        """Count a set that the node's end leaves undone."""
        self._count_set(task.sensor_set.missing)
        self._note_shutdown()

    def _note_shutdown(self) -> None:
        self._health.dropped("shutdown", "a set was dropped as 'shutdown': the node ended before its results were out")

    def _work(self) -> None:
        while (task := self._mailbox.get()) is not None:
            if self._closing:
                self._abandon(task)
                return
            try:
                self._process(task)
            except Exception as error:  # the node outlives a defect in one set; it is counted and logged in full
                if self._closing:
                    self._note_shutdown()
                    return
                self.get_logger().error(f"a set failed:\n{traceback.format_exc()}")
                self._health.dropped("failed", f"a set failed with {type(error).__name__}: {error}; see the log")

    def _process(self, task: Task) -> None:
        """Take one set from messages to messages."""
        watch = Stopwatch(task)
        try:
            built = self._frames.build(self._unwrapped(task.sensor_set))
        except Exception:
            self._count_set(task.sensor_set.missing)
            raise
        self._note_build(built, task.sensor_set)
        if built.frame is None:
            return
        watch.lap("convert_in")
        scene = self._perceive(built.frame)
        watch.laps_ms.update(scene.timings_ms)
        watch.restart()
        outgoing_world = self._fuse(built.frame, scene, watch)
        outgoing = self._output.convert_cameras(scene, built.headers) + outgoing_world
        watch.lap("convert_out")
        if self._closing:
            self._note_shutdown()
            return
        self._output.publish(outgoing)
        watch.lap("publish")
        self._finish(built.frame.stamp_ns, watch)

    def _perceive(self, frame: SurroundFrame) -> SurroundScene:
        """Run the network; when the GPU's memory is exhausted, go on on the CPU, once."""
        try:
            return self._perception.perceive(frame)
        except torch.cuda.OutOfMemoryError:
            if self._fell_back:
                raise
        self._fell_back = True
        self._health.problem(
            "gpu_memory",
            "the GPU's memory is exhausted, the network runs on the CPU from now on; free GPU memory and restart the "
            "node, or choose a smaller input_size or precision float16",
        )
        on_cpu = replace(self._settings, device="cpu", precision="float32", acceleration="none")
        self._perception = load_perception(on_cpu)
        return self._perception.perceive(frame)

    def _fuse(self, frame: SurroundFrame, scene: SurroundScene, watch: Stopwatch) -> Outgoing:
        """Update the map and its objects; without a pose there is neither."""
        if frame.odom_from_base is None:
            if self._settings.use_odometry:
                self._health.problem("no_pose", "no grid and no objects are published: the set has no odometry")
            return []
        resets, dropped = self._mapper.resets.copy(), self._mapper.dropped_tracks
        bev = self._mapper.update(frame, scene)
        for cause in self._mapper.resets - resets:
            self._health.problem(f"map.{cause}", f"the map was restarted after a {cause}; check the localization")
        if self._mapper.dropped_tracks > dropped:
            self._health.problem(
                "tracks", "there are more objects than track.max_tracks; the least probable ones were forgotten"
            )
        watch.lap("fusion")
        return self._output.convert_world(frame, bev, self._mapper.objects)

    def _finish(self, stamp_ns: int, watch: Stopwatch) -> None:
        now_ns = self.get_clock().now().nanoseconds
        for stage, milliseconds in watch.finished().items():
            self._health.latency(stage, milliseconds)
        self._health.count("sets_out")
        self._output.publish_latencies(watch.laps_ms, (now_ns - stamp_ns) / 1e6)

    def _note_build(self, built: BuiltFrame, sensor_set: SensorSet) -> None:
        for cause, reason in built.drops:
            self._health.dropped(cause, reason)
        for key, warning in built.warnings.items():
            self._health.problem(key, warning)
        for sensor, cause in built.uncompensated.items():
            self._health.uncompensated(sensor, cause)
        self._count_set(built.frame.missing if built.frame is not None else sensor_set.missing)

    @staticmethod
    def _unwrapped(sensor_set: SensorSet) -> SensorSet:
        payloads = {name: (stamp, arrival.message) for name, (stamp, arrival) in sensor_set.payloads.items()}
        return SensorSet(sensor_set.stamp_ns, sensor_set.reference, payloads, sensor_set.missing, sensor_set.epoch)


class Stopwatch:
    """Measures the stages of one tick on the steady clock.

    Attributes:
        laps_ms: stage -> milliseconds.
    """

    def __init__(self, task: Task) -> None:
        self._newest_arrival_ns = task.newest_arrival_ns
        self._mark_ns = time.monotonic_ns()
        self.laps_ms: dict[str, float] = {
            "synchronize": (task.emitted_ns - task.newest_arrival_ns) / 1e6,
            "queue": (self._mark_ns - task.emitted_ns) / 1e6,
        }

    def lap(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now_ns = time.monotonic_ns()
        self.laps_ms[stage] = (now_ns - self._mark_ns) / 1e6
        self._mark_ns = now_ns

    def restart(self) -> None:
        """Begin a stage now."""
        self._mark_ns = time.monotonic_ns()

    def finished(self) -> dict[str, float]:
        """Add "tick", from the newest sensor message in to now, and return all stages."""
        self.laps_ms["tick"] = (time.monotonic_ns() - self._newest_arrival_ns) / 1e6
        return self.laps_ms


def sync_config(parameters: PerceptionParameters) -> SyncConfig:
    """Return the synchronizer's configuration for checked parameters."""
    return SyncConfig(
        cameras=parameters.cameras,
        lidar=LIDAR if parameters.use_lidar else None,
        odometry=ODOMETRY if parameters.use_odometry else None,
        reference=parameters.reference or None,
        window_ns=round(parameters.window_ms * 1e6),
        timeout_ns=round(parameters.timeout_ms * 1e6),
        alive_ns=round(parameters.alive_ms * 1e6),
        jump_ns=round(parameters.jump_ms * 1e6),
        offsets_ns={
            name: round(offset * 1e6) for name, offset in parameters.offset_ms.items() if name in parameters.sensors
        },
        min_cameras=parameters.min_cameras,
    )


def bev_config(parameters: PerceptionParameters) -> BevConfig:
    """Return the grid's configuration for checked parameters."""
    return BevConfig(
        extent_m=parameters.extent_m,
        resolution_m=parameters.resolution_m,
        z_min=parameters.z_min_m,
        z_max=parameters.z_max_m,
        ego_length_m=parameters.ego_length_m,
        ego_width_m=parameters.ego_width_m,
        ego_center_x_m=parameters.ego_center_x_m,
    )


def track_config(parameters: PerceptionParameters) -> TrackConfig:
    """Return the tracks' configuration for checked parameters."""
    return TrackConfig(
        memory_s=parameters.track_memory_s,
        min_existence=parameters.track_min_existence,
        gate=parameters.track_gate,
        max_tracks=parameters.max_tracks,
    )


def load_perception(parameters: PerceptionParameters) -> Perception:
    """Load the network and run it once, so that what is wrong with it shows at the start and the first set is fast.

    Raises:
        InputError: see `Perception.from_weights`.
    """
    perception = Perception.from_weights(
        weights=parameters.weights or None,
        engine=parameters.engine,
        device=parameters.device,
        precision=parameters.precision,
        acceleration=parameters.acceleration,
        input_size=parameters.input_size,
        cameras=len(parameters.cameras),
        config=PostprocessConfig(score_threshold=parameters.score_threshold or None),
    )
    perception.warm_up(len(parameters.cameras))
    return perception


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code (2 for wrong parameters or weights)."""
    return spin_until_signal(PerceptionNode, args)

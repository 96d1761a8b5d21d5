"""`amodal run`: a recording through player, perception node and recorder, each a process, over real ROS 2 topics.

The run has a ROS domain of its own and no packet leaves the machine. Nothing starts before the one it feeds is
ready, which the graph tells; nothing outlives the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from amodal_perception_ros.datasets.bag import Bag, open_bag
from amodal_perception_ros.errors import InputError, RunError
from amodal_perception_ros.ros.distro import LOCALHOST_ONLY
from amodal_perception_ros.ros.interfaces import is_installed
from amodal_perception_ros.ros.processes import Program, large_message_environment, reserved_domain
from amodal_perception_ros.ros.progress import Progress
from amodal_perception_ros.ros.recorder import NEVER_RECORDED
from amodal_perception_ros.ros.recording_report import write_run_report
from amodal_perception_ros.ros.run_plan import IMAGE, RunPlan, plan_run
from amodal_perception_ros.ros.run_summary import counters, perception_status, print_summary, summarize
from amodal_perception_ros.ros.sensor_conversions import NANOSECONDS, stamp_to_ns

RECORDING, SUMMARY, REPORT = "amodal.mcap", "summary.json", "report.html"
PERCEPTION_NODE, RECORDER_NODE = "amodal_perception", "recorder"

START_TIMEOUT_S = 180.0
"""How long the perception node may load its network and the others may find each other."""

REPORT_PERIOD_S = 1.0
"""The node's diagnostics period in a run, whatever the parameter files say: its reports tell when a run is over."""

IDLE_TIMEOUT_S = 30.0
"""A run whose recording has ended is over, too, when the node counted nothing new for this long."""

_UNFINISHED = ("superseded", "failed", "too_few_cameras")
"""Causes for which a set that was begun gives no result."""


def run(bag: Path | str, out: Path | str, params: Path | str | None = None, rate: float = 1.0) -> dict[str, Any]:
    """Play a recording through the perception node and record what comes out.

    Writes into `out`: amodal.mcap (all topics but the raw input images), summary.json, report.html with its
    pictures, the programs' logs, and run.param.yaml with the parameters that were taken from the recording.

    Args:
        bag: rosbag2 recording (.mcap file or directory).
        out: directory of the results; those of an earlier run in it are replaced.
        params: parameter file of the nodes. Unless it names the cameras, sensors and frames are taken from the
            recording.
        rate: speed against the recording.

    Returns:
        The contents of summary.json.

    Raises:
        InputError: the recording, the parameters or the weights cannot be used.
        RunError: a program failed.
        KeyboardInterrupt: Ctrl-C or SIGTERM; every program has ended.
    """
    out = Path(out)
    with open_bag(bag) as opened, _terminable():
        _clear(out, opened.path)
        plan = plan_run(opened, None if params is None else Path(params), out / "run.param.yaml")
        for note in plan.notes:
            print(f"note: {note}", file=sys.stderr)
        with reserved_domain() as domain:
            environment = {**LOCALHOST_ONLY, **large_message_environment(out / "logs"), "ROS_DOMAIN_ID": str(domain)}
            os.environ.update(LOCALHOST_ONLY)
            with Watcher(domain) as watcher:
                _Run(opened, plan, out, rate, environment, watcher).execute()
    return _report(Path(bag), out)


def _clear(out: Path, bag: Path) -> None:
    """Make the directory and remove the results of an earlier run."""
    if bag.resolve() == (out / RECORDING).resolve():
        raise InputError(f"{bag}: would be replaced by the results of this run; choose another directory for them")
    try:
        (out / "logs").mkdir(parents=True, exist_ok=True)
        for old in (out / RECORDING, out / SUMMARY, out / REPORT, *(out / "pictures").glob("tick_*")):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error


def _report(bag: Path, out: Path) -> dict[str, Any]:
    """Write summary and report of the finished run, print the summary and return it."""
    summary = summarize(out / RECORDING)
    (out / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print_summary(summary)
    skipped = summary["dropped"].get("superseded", 0)
    if skipped:
        print(f"note: this machine is slower than the recording, {skipped} sets were skipped; a lower rate keeps them")
    if summary["sets_out"]:
        print(f"wrote {write_run_report(out / RECORDING, out, summary, images=bag)}")
    else:
        print(f"note: nothing was perceived; {out / 'logs' / 'perception_node.log'} says why", file=sys.stderr)
    return summary


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread, where signals do not arrive anyway
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Watcher:
    """A node that looks at the graph, the clock and the perception node's diagnostics; a context manager.

    Attributes:
        clock_ns: newest time on /clock, or None.
        reports: number of perception diagnostics so far.
        status: newest diagnostics of the perception node (see `run_summary.perception_status`).
    """

    def __init__(self, domain: int) -> None:
        self.clock_ns: int | None = None
        self.reports = 0
        self.status: dict[str, str] = {}
        self._domain = domain
        self._context = rclpy.Context()

    def __enter__(self) -> Watcher:
        rclpy.init(
            args=[], context=self._context, domain_id=self._domain, signal_handler_options=SignalHandlerOptions.NO
        )
        self._node = Node(
            "run_watcher",
            context=self._context,
            enable_rosout=False,
            start_parameter_services=False,
            use_global_arguments=False,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._node.create_subscription(Clock, "/clock", self._on_clock, 10)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def spin(self, seconds: float = 0.05) -> None:
        """Let news in, for at most that long."""
        self._executor.spin_once(timeout_sec=seconds)

    def subscribes(self, node: str, topics: Sequence[str]) -> bool:
        """Whether the node of that name subscribes to all the topics."""
        return all(
            any(info.node_name == node for info in self._node.get_subscriptions_info_by_topic(topic))
            for topic in topics
        )

    def published_by(self, node: str) -> list[str]:
        """Return the topics that the node of that name publishes; none before it is known."""
        try:
            return [topic for topic, _ in self._node.get_publisher_names_and_types_by_node(node, "/")]
        except NodeNameNonExistentError:
            return []

    def _on_clock(self, message: Clock) -> None:
        self.clock_ns = stamp_to_ns(message.clock)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        status = perception_status(message)
        if status is not None:
            self.status = status
            self.reports += 1


class _Run:
    """One run from start to end."""

    def __init__(
        self, bag: Bag, plan: RunPlan, out: Path, rate: float, environment: dict[str, str], watcher: Watcher
    ) -> None:
        self._bag, self._plan, self._out, self._rate = bag, plan, out, rate
        self._environment, self._watcher = environment, watcher
        self._programs: list[Program] = []

    def execute(self) -> None:
        """Start the programs, wait for the last result, and end them in the order of the data."""
        try:
            excluded = ["/clock", *(topic.topic for topic in self._bag.topics if topic.type == IMAGE)]
            recorder = self._start("recorder", ["--out", str(self._out / RECORDING), "--exclude", *excluded])
            perception = self._start("perception_node", self._perception_arguments())
            self._wait("the perception node and the recorder", self._ready)
            recorded = [t.topic for t in self._bag.topics if t.topic not in excluded and is_installed(t.type)]
            # A topic that both take is named twice, which waits for two subscribers.
            awaited = [*self._plan.inputs, *recorded]
            player = self._start(
                "bag_player",
                [str(self._bag.path), "--rate", str(self._rate), "--clock", "--wait-for-subscribers", *awaited],
            )
            self._follow(player)
            self._settle()
            perception.stop()
            self._watcher.spin(0.2)
            recorder.stop()
            self._check_ends(perception, recorder)
            for line in recorder.log_tail().splitlines():
                if line.startswith("recorder: "):  # what was lost
                    print(f"note: {line}", file=sys.stderr)
        finally:
            for program in reversed(self._programs):
                program.stop()

    def _perception_arguments(self) -> list[str]:
        arguments = ["--ros-args", "-p", "use_sim_time:=true"]
        for path in self._plan.params:
            arguments += ["--params-file", str(path)]
        # Named for the node, because a file's section of that name overrides what is set for all nodes.
        arguments += ["-p", f"{PERCEPTION_NODE}:diagnostics.period_s:={REPORT_PERIOD_S}"]
        for source, target in self._plan.remaps:
            arguments += ["-r", f"{source}:={target}"]
        return arguments

    def _start(self, module: str, arguments: Sequence[str]) -> Program:
        program = Program(module, arguments, self._environment, self._out / "logs" / f"{module}.log")
        self._programs.append(program)
        return program

    def _ready(self) -> bool:
        if not self._watcher.subscribes(PERCEPTION_NODE, self._plan.inputs):
            return False
        results = [topic for topic in self._watcher.published_by(PERCEPTION_NODE) if topic not in NEVER_RECORDED]
        return bool(results) and self._watcher.subscribes(RECORDER_NODE, results)

    def _follow(self, player: Program) -> None:
        """Show progress until the player has ended."""
        span = (self._bag.end_ns - self._bag.start_ns) / NANOSECONDS
        with Progress("run", span, "s") as progress:
            while player.exit_code is None:
                self._watcher.spin(0.1)
                self._check_running(player)
                if self._watcher.clock_ns is not None:
                    progress.reach((self._watcher.clock_ns - self._bag.start_ns) / NANOSECONDS, self._note())
            self._check_ends(player)
            progress.reach(span, self._note())

    def _note(self) -> str:
        known = counters(self._watcher.status)
        return f"{known['sets_out']} sets out, {sum(known['dropped'].values())} dropped"

    def _settle(self) -> None:
        """Wait until two reports in a row say the same and no set is in work, or nothing changed for long."""
        changed, seen, before = time.monotonic(), self._watcher.reports, None
        while time.monotonic() - changed < IDLE_TIMEOUT_S:
            self._watcher.spin(0.1)
            self._check_running()
            if self._watcher.reports == seen:
                continue
            seen, now = self._watcher.reports, counters(self._watcher.status)
            now.pop("latency_ms")
            if now != before:
                before, changed = now, time.monotonic()
            elif _in_work(now) == 0:
                return
        print(f"note: no news from the perception node for {IDLE_TIMEOUT_S:g} s", file=sys.stderr)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not condition():
            self._watcher.spin(0.05)
            self._check_running()
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {program.name}\n{program.log_tail()}" for program in self._programs)
                raise RunError(f"{what} did not get ready in {START_TIMEOUT_S:g} s\n{tails}")

    def _check_running(self, *may_end: Program) -> None:
        """Raise when a program has ended that should not; those of `may_end` and successful players may."""
        for program in self._programs:
            if program.exit_code is not None and program not in may_end and program.name != "bag_player":
                self._fail(program)

    def _check_ends(self, *programs: Program) -> None:
        for program in programs:
            if program.exit_code != 0:
                self._fail(program)

    def _fail(self, program: Program) -> None:
        if program.exit_code == 2:
            # The program said in its last line what is wrong.
            reason = (program.log_tail().splitlines() or ["refused its input"])[-1]
            raise InputError(reason.removeprefix(f"{program.name}: ").removeprefix("error: "))
        raise RunError(
            f"{program.name} ended with exit code {program.exit_code}; the end of {program.log}:\n{program.log_tail()}"
        )


def _in_work(known: dict[str, Any]) -> int:
    """Return how many sets the node has begun and not finished."""
    ended = known["sets_out"] + sum(known["dropped"].get(cause, 0) for cause in _UNFINISHED)
    return known["sets_complete"] + known["sets_partial"] - ended

"""What the perception node says about itself: counters, latencies and sensor health as a DiagnosticArray.

`NodeHealth` is written by the callbacks and by the worker thread and read by the diagnostics timer, so every method
takes its lock. Times are nanoseconds of a steady clock, not of ROS time: health is about the real time that passes.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

STAGES = (
    "synchronize",
    "queue",
    "convert_in",
    "preprocess",
    "inference",
    "postprocess",
    "fusion",
    "convert_out",
    "publish",
    "tick",
)
"""Stages of a tick in their order.

"synchronize" is from the arrival of a set's newest message to the set's departure from the synchronizer, "queue" the
wait for the worker, "tick" from the arrival of the newest message to the last message out.
"""

HARMLESS_CAUSES = frozenset({"decimated", "unmatched"})
"""Drops that are no fault: a sensor is faster than the reference."""

HISTORY = 1000
"""Number of ticks over which latencies are summarised."""


@dataclass
class SensorHealth:
    """One sensor: its topic, the arrival times of its newest messages [ns], and how many came."""

    topic: str
    arrivals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=20))
    count: int = 0

    def rate_hz(self, now_ns: int, timeout_ns: int) -> float:
        """Mean rate of the newest messages; 0.0 when the sensor is silent or too young to tell."""
        if len(self.arrivals_ns) < 2 or now_ns - self.arrivals_ns[-1] > timeout_ns:
            return 0.0
        span = self.arrivals_ns[-1] - self.arrivals_ns[0]
        return 1e9 * (len(self.arrivals_ns) - 1) / span if span > 0 else 0.0


class NodeHealth:
    """Counters and latencies of one perception node.

    Args:
        topics: sensor name -> resolved topic, for the messages to the user.
        sensor_timeout_ns: a sensor silent for longer is missing.
        now_ns: steady time of the node's start.
    """

    def __init__(self, topics: Mapping[str, str], sensor_timeout_ns: int, now_ns: int) -> None:
        self._lock = threading.Lock()
        self._sensors = {name: SensorHealth(topic) for name, topic in topics.items()}
        self._timeout_ns = sensor_timeout_ns
        self._start_ns = now_ns
        self._counts: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._uncompensated: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._problems: dict[str, str] = {}
        self._known: frozenset[str] = frozenset()
        self._latency_ms: dict[str, deque[float]] = {stage: deque(maxlen=HISTORY) for stage in STAGES}

    def received(self, sensor: str, arrival_ns: int) -> None:
        """Note the arrival of one message."""
        with self._lock:
            health = self._sensors[sensor]
            health.arrivals_ns.append(arrival_ns)
            health.count += 1

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter: ticks_in, sets_complete, sets_partial or sets_out."""
        with self._lock:
            self._counts[name] += n

    def dropped(self, cause: str, reason: str, n: int = 1) -> None:
        """Count dropped messages or sets; `reason` is the sentence for the user and stays until the next report."""
        with self._lock:
            self._dropped[cause] += n
            self._problems[cause] = reason

    def problem(self, key: str, reason: str) -> None:
        """Report something that is wrong, without a drop, in the next report."""
        with self._lock:
            self._problems[key] = reason

    def uncompensated(self, sensor: str, cause: str) -> None:
        """Count a sensor of a set that stayed without motion compensation."""
        with self._lock:
            self._uncompensated[sensor] += 1
            self._problems[f"uncompensated.{sensor}"] = f"the motion of {sensor} is not compensated: {cause}"

    def set_dropped(self, totals: Mapping[str, int], reasons: Mapping[str, str]) -> None:
        """Take over drop totals that are counted elsewhere (the synchronizer's)."""
        with self._lock:
            for cause, total in totals.items():
                if total > self._dropped[cause] and cause not in HARMLESS_CAUSES:
                    self._problems[cause] = f"messages dropped as '{cause}': {reasons.get(cause, cause)}"
                self._dropped[cause] = total

    def latency(self, stage: str, milliseconds: float) -> None:
        """Note how long one stage of one tick took."""
        with self._lock:
            self._latency_ms[stage].append(milliseconds)

    def counters(self) -> dict[str, int]:
        """Return the counters, "uncompensated.<sensor>" and "dropped.<cause>"."""
        with self._lock:
            counts = {name: self._counts[name] for name in ("ticks_in", "sets_complete", "sets_partial", "sets_out")}
            counts |= {f"uncompensated.{sensor}": n for sensor, n in sorted(self._uncompensated.items())}
            return counts | {f"dropped.{cause}": n for cause, n in sorted(self._dropped.items()) if n}

    def report(
        self, node_name: str, stamp: Time, now_ns: int, facts: Mapping[str, str]
    ) -> tuple[DiagnosticArray, list[str]]:
        """Return the diagnostics message and the problems that the last one did not have; a new period begins.

        Args:
            node_name: fully qualified name of the node.
            stamp: ROS time of the report.
            now_ns: steady time of the report.
            facts: further key -> value pairs, e.g. engine and model_id.
        """
        values = {key: str(value) for key, value in self.counters().items()} | dict(facts)
        with self._lock:
            for stage, history in self._latency_ms.items():
                if history:
                    values[f"latency_ms.{stage}.median"] = f"{np.median(history):.3f}"
                    values[f"latency_ms.{stage}.p95"] = f"{np.percentile(history, 95):.3f}"
            problems = {**self._sensor_problems(now_ns), **self._problems}
            news = [text for key, text in problems.items() if key not in self._known]
            self._known = frozenset(problems)
            self._problems.clear()
            for name, health in self._sensors.items():
                values[f"rate_hz.{name}"] = f"{health.rate_hz(now_ns, self._timeout_ns):.2f}"
                if health.arrivals_ns:
                    values[f"age_s.{name}"] = f"{(now_ns - health.arrivals_ns[-1]) / 1e9:.3f}"
        return _message(f"{node_name}: perception", stamp, list(problems.values()), values), news

    def _sensor_problems(self, now_ns: int) -> dict[str, str]:
        silent_ns = {
            name: now_ns - (health.arrivals_ns[-1] if health.arrivals_ns else self._start_ns)
            for name, health in self._sensors.items()
        }
        missing = [name for name, silence in silent_ns.items() if silence > self._timeout_ns]
        if len(missing) == len(self._sensors):
            topics = ", ".join(health.topic for health in self._sensors.values())
            return {"missing": f"no sensor sends anything; is the rig or the bag running? expected topics: {topics}"}
        problems = {}
        for name in missing:
            health = self._sensors[name]
            since = f"for {silent_ns[name] / 1e9:.1f} s" if health.count else "since the start"
            problems[f"missing.{name}"] = (
                f"{name} is missing: nothing on {health.topic} {since}; check its driver, topic name and QoS"
            )
        return problems


def _message(name: str, stamp: Time, problems: list[str], values: Mapping[str, str]) -> DiagnosticArray:
    status = DiagnosticStatus(
        level=DiagnosticStatus.WARN if problems else DiagnosticStatus.OK,
        name=name,
        message="; ".join(problems) or "running",
        hardware_id="",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message

"""Time-stamped sensor streams become synchronized sets; plain Python without ROS, clocks or threads of its own.

The rule, with a timing drawing, is in `docs/synchronization.md`. In short: one stream is the reference (the LiDAR
while it is alive, else the first camera that is); each of its messages asks every other stream for its nearest
message inside a window. The set leaves when all have answered, when every stream that has not answered is known to
have passed by or to be dead, or when the time-out is over. Every message ends in exactly one set or is counted as
dropped by sensor and cause.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

MILLISECOND = 1_000_000
"""Nanoseconds in a millisecond."""

CAUSES = {
    "late": "stamped at or before a set that has already left (slow transport, or a straggler)",
    "unmatched": "no reference message chose it (its sensor is faster than the reference, or out of phase)",
    "incomplete": "part of a set that did not reach min_cameras",
    "overflow": "the sensor's queue was full while no set could be formed",
    "duplicate": "the same sensor repeated a stamp",
    "future": "stamped far ahead of every sensor, and the sensor itself then went back to normal",
    "reset": "from before a backwards time jump",
    "decimated": "odometry that no set needed, because odometry is faster than the sets (no fault)",
}
"""Why a message never became part of a set."""


@dataclass(frozen=True)
class SyncConfig:
    """What to synchronize, and how patiently.

    Attributes:
        cameras: names of the camera streams, in the rig's order.
        lidar: name of the LiDAR stream, or None.
        odometry: name of the odometry stream, or None; it may be much faster than the rest.
        reference: stream that sets the pace; None means the LiDAR, or the first camera without one. When it is
            dead the LiDAR and then the cameras stand in, in order.
        window_ns: a message fits a set when its stamp is at most this far from the reference's [ns]. Keep it
            below half the period of the reference, so that a message fits one set only.
        timeout_ns: how long a reference message waits for the others, on the arrival clock [ns].
        alive_ns: a stream silent for longer, while others deliver, is dead: nobody waits for it [ns].
        jump_ns: stamps that go back by more are a time jump, not a straggler [ns].
        offsets_ns: sensor -> constant by which its stamps run ahead of the reference's [ns]; subtracted first.
        min_cameras: least number of cameras in a set.
        queue_depth: most messages held of one camera or LiDAR.
        odometry_depth: most messages held of the odometry.
        behind_limit: that many messages of one stream in a row behind its own newest stamp are a time jump too,
            however short (a looping bag shorter than `jump_ns`).
    """

    cameras: tuple[str, ...] = ("front", "right", "back", "left")
    lidar: str | None = "lidar"
    odometry: str | None = "odometry"
    reference: str | None = None
    window_ns: int = 40 * MILLISECOND
    timeout_ns: int = 100 * MILLISECOND
    alive_ns: int = 500 * MILLISECOND
    jump_ns: int = 1000 * MILLISECOND
    offsets_ns: dict[str, int] = field(default_factory=dict)
    min_cameras: int = 1
    queue_depth: int = 10
    odometry_depth: int = 200
    behind_limit: int = 5

    def __post_init__(self) -> None:
        names = self.sensors
        if len(set(names)) != len(names):
            raise ValueError(f"sensor names must be unique, got {names}")
        if not 1 <= self.min_cameras <= len(self.cameras):
            raise ValueError(f"min_cameras is {self.min_cameras}; it must be in 1..{len(self.cameras)} (the cameras)")
        if self.reference is not None and self.reference not in self.pacemakers:
            raise ValueError(f"reference '{self.reference}' is neither a camera nor the LiDAR: {self.pacemakers}")
        unknown = sorted(set(self.offsets_ns) - set(names))
        if unknown:
            raise ValueError(f"offsets_ns names unknown sensors {unknown}; sensors: {names}")
        for name in ("window_ns", "timeout_ns"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("alive_ns", "jump_ns", "queue_depth", "odometry_depth", "behind_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def sensors(self) -> tuple[str, ...]:
        """Every stream: cameras, LiDAR, odometry."""
        return (*self.cameras, *(name for name in (self.lidar, self.odometry) if name is not None))

    @property
    def pacemakers(self) -> tuple[str, ...]:
        """The streams that may be the reference, best first."""
        usual = (*(name for name in (self.lidar,) if name is not None), *self.cameras)
        if self.reference is None or self.reference not in usual:
            return usual
        return (self.reference, *(name for name in usual if name != self.reference))

    @property
    def pause_ns(self) -> int:
        """A longer gap between any two messages is a pause of everything, and counts as this long for `alive_ns`."""
        return max(self.timeout_ns, self.alive_ns // 5)


@dataclass(frozen=True, eq=False)
class SensorSet:
    """Messages that belong together.

    Attributes:
        stamp_ns: the reference message's stamp minus that sensor's offset; strictly increasing in an epoch.
        reference: the sensor that gave `stamp_ns`.
        payloads: sensor -> (stamp as the sensor gave it [ns], payload).
        missing: configured sensors without a message in the set, in configuration order.
        epoch: number of time jumps before this set.
    """

    stamp_ns: int
    reference: str
    payloads: dict[str, tuple[int, Any]]
    missing: tuple[str, ...]
    epoch: int

    @property
    def complete(self) -> bool:
        """Whether no sensor is missing."""
        return not self.missing


@dataclass(frozen=True, eq=False)
class _Message:
    """One message; `stamp` is offset-corrected, `raw` as the sensor gave it."""

    sensor: str
    stamp: int
    raw: int
    payload: Any
    arrival: int


@dataclass
class _Verdict:
    """What the time gate decided: messages to take, messages to drop with their causes, and whether time restarted."""

    admit: list[_Message] = field(default_factory=list)
    drop: list[tuple[_Message, str]] = field(default_factory=list)
    restart: bool = False


class _TimeGate:
    """Tells time jumps (a looping bag, a restarted simulation) from single messages with a wrong stamp.

    Each stream is compared with itself. A message far behind its own stream's newest (or far ahead of everything)
    is held as a suspect. A second one like it, from the same stream or near it from another, proves a jump; the
    stream's return to normal proves a stray.
    """

    def __init__(self, config: SyncConfig) -> None:
        self._config = config
        self.newest: dict[str, int] = {}
        self.period: dict[str, int] = {}
        self.suspects: dict[str, _Message] = {}
        self._behind: Counter[str] = Counter()
        self._old_newest: int | None = None
        self._restarted_at = 0
        self._latest_arrival = 0

    def offer(self, message: _Message) -> _Verdict:
        """Judge one message."""
        if self._is_from_before_the_jump(message):
            return _Verdict(drop=[(message, "reset")])
        direction = self._direction(message)
        return self._judge_suspect(message, direction) if direction else self._judge_normal(message)

    def drop_suspects(self) -> list[tuple[_Message, str]]:
        """Give up on the held suspects."""
        drops = [(message, self._stray_cause(message)) for message in self.suspects.values()]
        self.suspects.clear()
        return drops

    def _direction(self, message: _Message) -> int:
        own = self.newest.get(message.sensor)
        if own is None:
            return 0
        if message.stamp < own - self._config.jump_ns:
            return -1
        # After a pause the stamps may go ahead by as much as the arrival clock did.
        paused = max(0, message.arrival - self._latest_arrival)
        return int(message.stamp > max(self.newest.values()) + paused + self._config.jump_ns)

    def _stray_cause(self, message: _Message) -> str:
        return "late" if self._direction(message) < 0 else "future"

    def _judge_normal(self, message: _Message) -> _Verdict:
        verdict = _Verdict(admit=[message])
        stray = self.suspects.pop(message.sensor, None)
        if stray is not None:
            verdict.drop.append((stray, self._stray_cause(stray)))
        own = self.newest.get(message.sensor)
        if own is not None and message.stamp < own:
            self._behind[message.sensor] += 1
            verdict.restart = self._behind[message.sensor] >= self._config.behind_limit
        elif own is None or message.stamp > own:
            self._behind[message.sensor] = 0
        if verdict.restart:
            verdict.drop += self._restart(message.arrival)
        self._note(message)
        return verdict

    def _judge_suspect(self, message: _Message, direction: int) -> _Verdict:
        allies = [other for other in self.suspects.values() if self._are_allies(message, other, direction)]
        verdict = _Verdict()
        if not allies:
            stray = self.suspects.pop(message.sensor, None)
            if stray is not None:
                verdict.drop.append((stray, self._stray_cause(stray)))
            self.suspects[message.sensor] = message
            return verdict
        for ally in allies:
            del self.suspects[ally.sensor]
        if direction < 0:
            verdict.restart = True
            verdict.drop += self._restart(message.arrival)
        verdict.admit = [*allies, message]
        for admitted in verdict.admit:
            self._note(admitted)
        return verdict

    def _are_allies(self, message: _Message, other: _Message, direction: int) -> bool:
        if self._direction(other) != direction:
            return False
        return other.sensor == message.sensor or abs(other.stamp - message.stamp) <= self._config.jump_ns

    def _restart(self, arrival: int) -> list[tuple[_Message, str]]:
        drops = [(message, "reset") for message in self.suspects.values()]
        self._old_newest = max(self.newest.values())
        self._restarted_at = arrival
        self.newest.clear()
        self.suspects.clear()
        self._behind.clear()
        return drops

    def _is_from_before_the_jump(self, message: _Message) -> bool:
        """Whether a stream that has not jumped yet still delivers the old time (topics are not ordered mutually)."""
        if self._old_newest is None or message.sensor in self.newest:
            return False
        if message.arrival - self._restarted_at > self._config.timeout_ns:
            return False
        return abs(message.stamp - self._old_newest) < abs(message.stamp - max(self.newest.values()))

    def _note(self, message: _Message) -> None:
        own = self.newest.get(message.sensor)
        if own is None or message.stamp > own:
            if own is not None:
                self.period[message.sensor] = message.stamp - own
            self.newest[message.sensor] = message.stamp
        self._latest_arrival = message.arrival


class Synchronizer:
    """Turns messages of several sensors into `SensorSet`s. Not thread-safe; deterministic in its arguments.

    Args:
        config: what to synchronize.

    Attributes:
        received: sensor -> number of messages given to `add`.
        dropped: (sensor, cause) -> number of messages; the causes are the keys of `CAUSES`.
        resets: number of backwards time jumps so far.
        last_jump_ns: (newest stamp before, first stamp after) the last jump [ns], or None.
        emitted: number of sets so far.
    """

    def __init__(self, config: SyncConfig) -> None:
        self.config = config
        self.received: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.resets = 0
        self.last_jump_ns: tuple[int, int] | None = None
        self.emitted = 0
        self._gate = _TimeGate(config)
        self._queues: dict[str, list[_Message]] = {name: [] for name in config.sensors}
        self._horizon: int | None = None
        self._had_odometry = False
        self._used: dict[str, int] = {}
        self._agrees: dict[str, bool] = {}
        self._now: int | None = None
        self._last_arrival: int | None = None
        self._active = 0
        self._seen: dict[str, int] = dict.fromkeys(config.sensors, 0)

    def add(self, sensor: str, stamp_ns: int, payload: Any, arrival_ns: int) -> list[SensorSet]:
        """Take one message and return the sets that can leave now, oldest first.

        Args:
            sensor: name of the stream, one of `config.sensors`.
            stamp_ns: the sensor's stamp [ns]; any integer, 0 included.
            payload: the message; never looked into.
            arrival_ns: time of arrival on a steady clock [ns] (not the sensors' clock, which may jump).

        Raises:
            ValueError: the sensor is not configured.
        """
        if sensor not in self._queues:
            raise ValueError(f"unknown sensor '{sensor}'; configured sensors: {list(self._queues)}")
        self.received[sensor] += 1
        self._advance_clock(arrival_ns)
        self._note_activity(arrival_ns)
        corrected = stamp_ns - self.config.offsets_ns.get(sensor, 0)
        newest_before = max(self._gate.newest.values(), default=0)
        verdict = self._gate.offer(_Message(sensor, corrected, stamp_ns, payload, arrival_ns))
        if verdict.restart:
            self._restart(newest_before, verdict.admit[0].stamp)
        for message, cause in verdict.drop:
            self._drop(message, cause)
        for message in verdict.admit:
            self._enqueue(message)
        return self._emit_ready()

    def poll(self, now_ns: int) -> list[SensorSet]:
        """Return the sets whose time-out is over at `now_ns` on the arrival clock."""
        self._advance_clock(now_ns)
        return self._emit_ready()

    def flush(self) -> list[SensorSet]:
        """Emit what can be emitted without waiting any longer, and drop the rest: the end of a recording."""
        sets = self._emit_ready(final=True)
        for message, cause in self._gate.drop_suspects():
            self._drop(message, cause)
        for sensor, queue in self._queues.items():
            for message in queue:
                self._drop(message, "decimated" if sensor == self.config.odometry else "unmatched")
            queue.clear()
        return sets

    @property
    def drops(self) -> Counter[str]:
        """Dropped messages by cause, all sensors together."""
        total: Counter[str] = Counter()
        for (_, cause), count in self.dropped.items():
            total[cause] += count
        return total

    @property
    def held(self) -> int:
        """Messages that are waiting."""
        return sum(len(queue) for queue in self._queues.values()) + len(self._gate.suspects)

    @property
    def reference(self) -> str:
        """The stream that sets the pace now: the first that is worth waiting for."""
        pacemakers = self.config.pacemakers
        return next((name for name in pacemakers if self._is_worth_waiting_for(name)), pacemakers[0])

    def is_alive(self, sensor: str) -> bool:
        """Whether the stream has delivered within `alive_ns`, or the synchronizer is younger than that.

        Time counts only while some sensor delivers: after a pause of all of them nobody is dead. Repeated stamps
        are no sign of life.
        """
        return self._active - self._seen[sensor] <= self.config.alive_ns

    def agrees_in_time(self, sensor: str) -> bool:
        """Whether the stream's last message came within `jump_ns` of a living camera's (else the LiDAR's) newest.

        False for a sensor whose clock has another origin: nobody waits for it, and it cannot be the reference.
        """
        return self._agrees.get(sensor, True)

    def _note_agreement(self, message: _Message) -> None:
        newest, cameras, lidar = self._gate.newest, self.config.cameras, self.config.lidar
        others = [name for name in newest if name != message.sensor and self.is_alive(name)]
        witnesses = [name for name in others if name in cameras] or [name for name in others if name == lidar]
        near = [abs(newest[name] - message.stamp) <= self.config.jump_ns for name in witnesses]
        self._agrees[message.sensor] = any(near) or not near

    def _is_worth_waiting_for(self, sensor: str) -> bool:
        return self.is_alive(sensor) and self.agrees_in_time(sensor)

    def _advance_clock(self, now: int) -> None:
        self._now = now if self._now is None else max(self._now, now)

    def _note_activity(self, arrival: int) -> None:
        """Count the time between messages, however often `poll` is called in between."""
        if self._last_arrival is None:
            self._last_arrival = arrival
        step = max(0, arrival - self._last_arrival)
        self._last_arrival += step
        self._active += min(step, self.config.pause_ns)

    def _restart(self, before: int, after: int) -> None:
        self.resets += 1
        self.last_jump_ns = (before, after)
        self._horizon = None
        self._used.clear()
        self._agrees.clear()
        for queue in self._queues.values():
            for message in queue:
                self._drop(message, "reset")
            queue.clear()

    def _drop(self, message: _Message, cause: str) -> None:
        self.dropped[message.sensor, cause] += 1

    def _enqueue(self, message: _Message) -> None:
        sensor = message.sensor
        queue, used = self._queues[sensor], self._used.get(sensor)
        position = bisect_left(queue, message.stamp, key=_stamp)
        is_repeated = position < len(queue) and queue[position].stamp == message.stamp
        if is_repeated or message.stamp == used:
            self._drop(message, "duplicate")
            return
        self._seen[sensor] = self._active
        self._note_agreement(message)
        if any(limit is not None and message.stamp <= limit for limit in (self._horizon, used)):
            self._drop(message, "decimated" if sensor == self.config.odometry and self._had_odometry else "late")
            return
        queue.insert(position, message)
        is_odometry = sensor == self.config.odometry
        if len(queue) > (self.config.odometry_depth if is_odometry else self.config.queue_depth):
            self._drop(queue.pop(0), "decimated" if is_odometry else "overflow")

    def _emit_ready(self, final: bool = False) -> list[SensorSet]:
        sets = []
        while (reference := self._next_reference(final)) is not None:
            anchor = self._queues[reference][0]
            parts = self._match(anchor, final)
            if parts is None:
                break
            made = self._decide(anchor, parts)
            if made is not None:
                sets.append(made)
        self.emitted += len(sets)
        return sets

    def _next_reference(self, final: bool) -> str | None:
        """The stream whose oldest message is decided next; None when that stream has none."""
        if final:
            return next((name for name in self.config.pacemakers if self._queues[name]), None)
        reference = self.reference
        return reference if self._queues[reference] else None

    def _match(self, anchor: _Message, final: bool) -> list[_Message] | None:
        """The anchor and what goes with it, or None while waiting for more promises a better set."""
        patient = not final and self._now is not None and self._now - anchor.arrival < self.config.timeout_ns
        parts = [anchor]
        for sensor in self.config.sensors:
            if sensor == anchor.sensor:
                continue
            candidate = self._nearest(sensor, anchor)
            answered = self._has_passed(sensor, anchor) if candidate is None else self._is_settled(candidate, anchor)
            if patient and not answered and self._is_worth_waiting_for(sensor):
                return None
            if candidate is not None:
                parts.append(candidate)
        return parts

    def _nearest(self, sensor: str, anchor: _Message) -> _Message | None:
        """The stream's message nearest to the anchor, inside the window and not nearer to the next anchor."""

        def distance(message: _Message) -> int:
            return abs(message.stamp - anchor.stamp)

        queue = self._queues[sensor]
        position = bisect_left(queue, anchor.stamp, key=_stamp)
        following = self._queues[anchor.sensor][1:2]
        for message in sorted(queue[max(0, position - 1) : position + 1], key=distance):
            belongs_to_next = following and abs(message.stamp - following[0].stamp) < distance(message)
            if distance(message) <= self.config.window_ns and not belongs_to_next:
                return message
        return None

    def _has_passed(self, sensor: str, anchor: _Message) -> bool:
        newest = self._gate.newest.get(sensor)
        return newest is not None and newest > anchor.stamp + self.config.window_ns

    def _is_settled(self, candidate: _Message, anchor: _Message) -> bool:
        """Whether no later message of the stream can be nearer, judged by the stream's last period."""
        if candidate.stamp >= anchor.stamp or self._gate.newest[candidate.sensor] > anchor.stamp:
            return True
        period = self._gate.period.get(candidate.sensor)
        return period is None or 2 * (anchor.stamp - candidate.stamp) <= period

    def _decide(self, anchor: _Message, parts: list[_Message]) -> SensorSet | None:
        """Emit or drop the set, and drop what can no longer belong to any set."""
        odometry = self.config.odometry
        emit = sum(part.sensor in self.config.cameras for part in parts) >= self.config.min_cameras
        for part in parts:
            if emit or part.sensor != odometry:
                self._queues[part.sensor].remove(part)
                self._used[part.sensor] = part.stamp
            if not emit and part.sensor != odometry:
                self._drop(part, "incomplete")
        self._horizon = anchor.stamp
        self._had_odometry = any(part.sensor == odometry for part in parts)
        for sensor, queue in self._queues.items():
            limit = max(anchor.stamp, self._used.get(sensor, anchor.stamp))
            while queue and queue[0].stamp <= limit:
                self._drop(queue.pop(0), "decimated" if sensor == odometry else "unmatched")
        if not emit:
            return None
        payloads = {part.sensor: (part.raw, part.payload) for part in parts}
        missing = tuple(name for name in self.config.sensors if name not in payloads)
        return SensorSet(anchor.stamp, anchor.sensor, payloads, missing, self.resets)


def _stamp(message: _Message) -> int:
    return message.stamp


_Item = TypeVar("_Item")


class LatestSet(Generic[_Item]):
    """A mailbox of one place between the receiving thread and the single worker: the newest item wins.

    Attributes:
        superseded: number of items that were replaced before the worker took them.
    """

    def __init__(self) -> None:
        self.superseded = 0
        self._condition = threading.Condition()
        self._item: _Item | None = None
        self._closed = False

    def put(self, item: _Item) -> _Item | None:
        """Offer an item; returns the unconsumed one it replaces (counted as superseded), or None.

        An item put after `close` is not taken: it is returned and counted in the same way.
        """
        with self._condition:
            if self._closed:
                self.superseded += 1
                return item
            replaced, self._item = self._item, item
            self.superseded += replaced is not None
            self._condition.notify()
            return replaced

    def get(self, timeout_s: float | None = None) -> _Item | None:
        """Take the item, waiting for one at most `timeout_s` (None: for ever); None on time-out or when closed.

        After `close` the last item can still be taken.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake the worker for good."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

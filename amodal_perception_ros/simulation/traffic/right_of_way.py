"""Who goes first: signals, give-way lines, and the places where routes cross or join.

Where two routes come closer than two vehicles are wide, and do not run alike, they share a *zone*. Zones that follow
each other without room to wait in between form a *block* of the route. A driver asks for a whole block when he comes
near, waits before it until he gets all of it, and gives its zones back one by one as he leaves them. He gets it when

- nobody of the other route of a zone has it,
- behind it there is room for his vehicle (nobody enters a crossing that he cannot leave), and
- nobody asked before him who goes first: straight on before turning before a give-way line; alike ones in the order
  in which they asked; after 10 s of waiting everybody is alike.

Taking everything at once and never waiting inside makes a circle of drivers that wait for each other impossible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.town.ways import Stop, Ways
from amodal_perception_ros.simulation.traffic.corridors import Corridors
from amodal_perception_ros.simulation.traffic.drivers import Drivers, View

WAITING_ROOM = 6.0
"""Zones of a route closer together than this belong to one block [m]."""

PATIENCE = 10.0
_MARGIN = 0.6

_LINE = 25.0
"""A line belongs to the block that begins within this distance behind it [m]."""


@dataclass(frozen=True)
class Span:
    """The part of a route in a zone that it shares with another route: `side` 0 or 1 says which of the two it is."""

    zone: int
    side: int
    start: float
    end: float


@dataclass(frozen=True)
class Block:
    """Zones of a route that are entered together, the line before them, and the rank (small goes first)."""

    line: float
    spans: tuple[Span, ...]
    start: float
    end: float
    rank: int
    clear: float


class RightOfWay:
    """Permissions to enter, over time.

    Args:
        corridors: the routes.
        ways: signals.
    """

    def __init__(self, corridors: Corridors, ways: Ways) -> None:
        self.corridors, self.signals = corridors, ways.signals
        spans = _spans(corridors)
        self.blocks = [_blocks(corridors, k, spans[k]) for k in range(len(corridors.routes))]
        self._lines, self._signal = _signal_lines(corridors)
        most = max((len(blocks) for blocks in self.blocks), default=0)
        self._places = np.full((3, len(self.blocks), most), np.nan)
        for k, blocks in enumerate(self.blocks):
            for b, block in enumerate(blocks):
                self._places[:, k, b] = block.line, block.start, block.end
        self._granted: set[tuple[int, int]] = set()
        self._asked: dict[tuple[int, int], float] = {}

    def in_block(self, route: int, s: float, margin: float) -> bool:
        """Whether an arc length lies in a block of the route or before it behind its line, or within a margin [m]."""
        length = self.corridors.length[route]
        for block in self.blocks[route]:
            first = min(block.line, block.start)
            away = abs(s - 0.5 * (first + block.end))
            if self.corridors.closed[route]:
                away = min(away % length, -away % length)
            if away < 0.5 * (block.end - first) + margin:
                return True
        return False

    def next_line(self, route: int, s: float) -> float:
        """Return the way from an arc length to the next line before a block [m]; inf without one."""
        way = self.corridors.ahead(np.int64(route), np.float64(s), self._places[0, route])
        return float(np.where(way > 0, way, np.inf).min(initial=np.inf))

    def halts(self, drivers: Drivers, view: View, time: float) -> np.ndarray:
        """Return (n,) way from every driver's front to where he has to stop [m], inf where he may go on.

        Call once per step of time; permissions are kept from one step to the next.
        """
        halt = self._red(drivers, time)
        line, start, end = (
            self.corridors.ahead(drivers.route[:, None], drivers.s[:, None], place[drivers.route])
            for place in self._places
        )
        front = drivers.length[:, None] / 2
        line, start, end = line - front, start - front, end + front
        with np.errstate(invalid="ignore"):
            near = (line < drivers.speed[:, None] ** 2 / 3 + 12) & (end > 0) & drivers.present[:, None]
        keys = [(int(i), int(b)) for i, b in np.argwhere(near)]
        self._granted &= set(keys)
        self._asked = {key: self._asked.get(key, time) for key in keys}
        stuck = self._stuck(drivers, view, end)
        for i, b in keys:
            if start[i, b] < 0:
                self._granted.add((i, b))
            elif line[i, b] > 0 and (halt[i] < start[i, b] or (stuck[i, b] and _can_stop(drivers, i, line[i, b]))):
                self._granted.discard((i, b))
        claims = self._held(drivers)
        waiting = [key for key in keys if key not in self._granted]
        for i, b in sorted(waiting, key=lambda key: self._order(drivers, key, time)):
            block = self.blocks[drivers.route[i]][b]
            if halt[i] < start[i, b]:
                self._asked[(i, b)] = time
                continue
            leave = not stuck[i, b] and self._clear(view, i, line[i, b], block)
            if leave and all((span.zone, 1 - span.side) not in claims for span in block.spans):
                self._granted.add((i, b))
            else:
                halt[i] = min(halt[i], max(line[i, b], 0.0))
            if leave:
                claims |= {(span.zone, span.side) for span in block.spans}
        return halt

    def _red(self, drivers: Drivers, time: float) -> np.ndarray:
        """Way to the nearest red signal, or yellow one before which one can stop with 3 m/s^2."""
        states = np.array([("green", "yellow", "red").index(signal.state(time)) for signal in self.signals] + [0])
        lines = self._lines[drivers.route]
        way = self.corridors.ahead(drivers.route[:, None], drivers.s[:, None], lines) - drivers.length[:, None] / 2
        state = states[self._signal[drivers.route]]
        with np.errstate(invalid="ignore"):
            need = drivers.speed[:, None] ** 2 / (2 * np.maximum(way, 0.1))
            stop = (way > 0) & (((state == 2) & (need < 8)) | ((state == 1) & (need < 3)))
        return np.where(stop, way, np.inf).min(1, initial=np.inf)

    def _stuck(self, drivers: Drivers, view: View, end: np.ndarray) -> np.ndarray:
        """(n, blocks) whether a slow vehicle ahead leaves no room behind the block."""
        slow = np.where(view.along & (view.speed < 2.0), view.gap, np.inf).min(1, initial=np.inf)
        with np.errstate(invalid="ignore"):
            return slow[:, None] < end + 1.5

    def _held(self, drivers: Drivers) -> set[tuple[int, int]]:
        """(zone, side) of all spans that a driver with permission has not left yet."""
        held = set()
        for i, b in self._granted:
            route = int(drivers.route[i])
            for span in self.blocks[route][b].spans:
                rear = drivers.s[i] - drivers.length[i] / 2
                if self.corridors.ahead(drivers.route[i], rear, np.float64(span.end)) > 0:
                    held.add((span.zone, span.side))
        return held

    def _order(self, drivers: Drivers, key: tuple[int, int], time: float) -> tuple[int, float, int]:
        asked = self._asked[key]
        rank = 0 if time - asked > PATIENCE else self.blocks[drivers.route[key[0]]][key[1]].rank
        return rank, asked, key[0]

    def _clear(self, view: View, driver: int, line: float, block: Block) -> bool:
        """Whether nobody is across the first `clear` metres behind a give-way line."""
        gap = view.gap[driver]
        across = (gap > line - 1) & (gap < line + block.clear) & ~(view.along[driver] & (view.speed[driver] > 1))
        return not across.any()


def _can_stop(drivers: Drivers, i: int, way: float) -> bool:
    return bool(drivers.speed[i] ** 2 / (2 * max(way, 0.1)) < 2.5)


def _signal_lines(corridors: Corridors) -> tuple[np.ndarray, np.ndarray]:
    """(R, S) arc lengths of stop lines with signals, and the signals' indices (-1: none)."""
    stops = [[stop for stop in route.stops if stop.signal is not None] for route in corridors.routes]
    most = max((len(row) for row in stops), default=0)
    lines, signal = np.full((len(stops), most), np.nan), np.full((len(stops), most), -1)
    for k, row in enumerate(stops):
        for j, stop in enumerate(row):
            lines[k, j], signal[k, j] = stop.s, -1 if stop.signal is None else stop.signal
    return lines, signal


def _half(corridors: Corridors, route: int) -> float:
    """Half the width of the broadest vehicles on a route."""
    return 0.5 if corridors.routes[route].bicycles else min(1.3, corridors.routes[route].width / 2 - 0.2)


def _spans(corridors: Corridors) -> list[list[Span]]:
    """Return the zones' parts of every route."""
    out: list[list[Span]] = [[] for _ in corridors.routes]
    zone = 0
    for a in range(len(out)):
        for b in range(a + 1, len(out)):
            for part_a, part_b in _zones(corridors, a, b):
                out[a].append(Span(zone, 0, *part_a))
                out[b].append(Span(zone, 1, *part_b))
                zone += 1
    return [sorted(row, key=lambda span: span.start) for row in out]


def _zones(corridors: Corridors, a: int, b: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return the parts (from, to) of routes a and b where they cross or join; where they part is none."""
    count = int(corridors.count[a])
    tables = (corridors.along, corridors.aside, corridors.turn)
    along, aside, turn = (table[b, a, :count].astype(float) for table in tables)
    s = (np.arange(count) - corridors.lead[a]) * corridors.step[a]
    reach = _half(corridors, a) + _half(corridors, b) + 0.2
    near = np.abs(aside) < reach
    near &= np.isfinite(along) & (s >= 0) & (s <= corridors.length[a])
    near &= corridors.closed[b] | ((along >= 0) & (along <= corridors.length[b]))
    joint = near & (np.abs(aside) < 0.8) & (np.cos(turn) > 0.97)
    conflict = near & ~joint & (np.abs(np.sin(turn)) > 0.17)
    out = []
    for run in _runs(near, bool(corridors.closed[a])):
        if not conflict[run].any():
            continue
        first = int(np.argmax(conflict[run]))
        if joint[run[:first]].any():
            continue
        later = joint[run[first:]]
        until = first + int(np.argmax(later)) if later.any() else len(run)
        last = first + int(np.flatnonzero(conflict[run[first:until]])[-1])
        part = run[first : last + 1]
        on_b = along[part]
        if corridors.closed[b]:
            length = corridors.length[b]
            on_b = on_b[0] + (on_b - on_b[0] + length / 2) % length - length / 2
        begin = s[part[0]]
        end = begin + (last - first) * corridors.step[a]
        # Across b the route takes up its own breadth of it.
        wide = reach * np.abs(np.sin(turn[part])) + _MARGIN
        out.append(((begin - _MARGIN, end + _MARGIN), ((on_b - wide).min(), (on_b + wide).max())))
    return out


def _runs(mask: np.ndarray, closed: bool) -> list[np.ndarray]:
    """Return the index runs where a mask is true; on a ring a run may go through the start."""
    index = np.arange(len(mask))
    if closed and mask.any() and not mask.all():
        index = np.roll(index, -int(np.argmin(mask)))
    cuts = np.flatnonzero(np.diff(mask[index].astype(int))) + 1
    return [part for part in np.split(index, cuts) if len(part) and mask[part[0]]]


def _blocks(corridors: Corridors, k: int, spans: list[Span]) -> list[Block]:
    """Group the zones of a route, and find the line before each group."""
    groups: list[list[Span]] = []
    for span in spans:
        if groups and span.start - max(other.end for other in groups[-1]) < WAITING_ROOM:
            groups[-1].append(span)
        else:
            groups.append([span])
    ends = [-np.inf] + [max(span.end for span in group) for group in groups]
    blocks = [_block(corridors, k, group, before) for group, before in zip(groups, ends)]
    for stop in corridors.routes[k].stops:
        inside = any(b.line <= stop.s <= b.end for b in blocks)
        if stop.signal is None and stop.clear > 0 and not inside:
            blocks.append(Block(stop.s, (), stop.s, stop.s + stop.clear, 2, stop.clear))
    return blocks


def _block(corridors: Corridors, k: int, spans: list[Span], left: float) -> Block:
    """Return a block of a route; the one before it ends at `left`."""
    start, end = spans[0].start, max(span.end for span in spans)
    stops = [stop for stop in corridors.routes[k].stops if max(left, start - _LINE) <= stop.s]
    before: list[Stop] = [stop for stop in stops if stop.s <= start + _MARGIN]
    line = min(before[-1].s, start) if before else start
    ends = corridors.sample(np.array([k, k]), np.array([start, end]))
    turn = corridors.heading[k, ends[1]] - corridors.heading[k, ends[0]]
    turning = abs((turn + np.pi) % (2 * np.pi) - np.pi) > 0.6
    gives_way = any(stop.signal is None and stop.s <= end for stop in stops)
    clear = before[-1].clear if before and before[-1].signal is None else 0.0
    return Block(line, tuple(spans), start, end, 2 if gives_way else 1 if turning else 0, clear)

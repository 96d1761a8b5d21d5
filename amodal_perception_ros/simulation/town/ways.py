"""What a town offers to those who move in it: lanes to drive, signals, parking places, walks and crossings.

All positions are in odom [m], headings in rad. The town generator makes these; traffic and pedestrians use them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Path:
    """A polyline by arc length.

    Attributes:
        points: (n, 2) float64 corners, n >= 2, no two following ones equal.
        starts: (n,) arc length at every corner.
    """

    points: np.ndarray
    starts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        lengths = np.hypot(*np.diff(self.points, axis=0).T)
        if self.points.ndim != 2 or len(self.points) < 2 or not (lengths > 0).all():
            raise ValueError(f"a path needs at least two points, no two following ones equal; got {self.points.shape}")
        object.__setattr__(self, "starts", np.concatenate([[0.0], np.cumsum(lengths)]))

    @property
    def length(self) -> float:
        """Arc length of the whole path."""
        return float(self.starts[-1])

    def at(self, s: np.ndarray | float, t: np.ndarray | float = 0.0) -> np.ndarray:
        """Return (..., 2) positions at arc length s (clamped to the path) and t to the left of it."""
        heading = self.heading(s)
        on = np.stack([np.interp(s, self.starts, self.points[:, k]) for k in range(2)], -1)
        return on + np.asarray(t)[..., None] * np.stack([-np.sin(heading), np.cos(heading)], -1)

    def heading(self, s: np.ndarray | float) -> np.ndarray:
        """Return the direction at arc length s."""
        leg = np.clip(np.searchsorted(self.starts, s, side="right") - 1, 0, len(self.points) - 2)
        step = np.diff(self.points, axis=0)[leg]
        return np.arctan2(step[..., 1], step[..., 0])

    def local(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (s, t) of the nearest place on the path to (..., 2) positions; t > 0 lies to its left."""
        flat = np.asarray(points, float).reshape(-1, 1, 2)
        start, step = self.points[:-1], np.diff(self.points, axis=0)
        share = np.clip(((flat - start) * step).sum(-1) / (step**2).sum(-1), 0, 1)
        away = flat - (start + share[..., None] * step)
        leg = np.argmin((away**2).sum(-1), 1)
        row = np.arange(len(flat))
        s = self.starts[leg] + share[row, leg] * np.diff(self.starts)[leg]
        cross = step[leg, 0] * away[row, leg, 1] - step[leg, 1] * away[row, leg, 0]
        t = np.copysign(np.hypot(*away[row, leg].T), cross)
        shape = np.shape(points)[:-1]
        return s.reshape(shape), t.reshape(shape)


@dataclass(frozen=True)
class Signal:
    """A traffic signal group: `green` of every `period` seconds from `offset`, then `yellow` seconds, else red."""

    period: float
    offset: float
    green: float
    yellow: float = 3.0

    def state(self, time: float) -> str:
        """Return "green", "yellow" or "red" at a time [s]."""
        phase = (time - self.offset) % self.period
        return "green" if phase < self.green else "yellow" if phase < self.green + self.yellow else "red"


@dataclass(frozen=True)
class Stop:
    """A line at arc length `s` of a route: signal group `signal` of the town, or None where one gives way there.

    Who gives way at a line waits until the next `clear` metres of his route behind it are free of the others.
    """

    s: float
    signal: int | None = None
    clear: float = 0.0


@dataclass(frozen=True, eq=False)
class Route:
    """A lane's centre line that vehicles follow from its start to its end; traffic keeps right.

    Attributes:
        path: centre line, corners at most 2 m apart where it bends.
        width: of the lane [m].
        speed: limit [m/s]; in bends the driver slows down by himself.
        stops: lines where one waits, by growing s.
        bicycles: a bicycle lane.
        density: factor on the number of vehicles.
        closed: the end leads on to the start (a ring).
    """

    path: Path
    width: float
    speed: float
    stops: tuple[Stop, ...] = ()
    bicycles: bool = False
    density: float = 1.0
    closed: bool = False


@dataclass(frozen=True)
class ParkingPlace:
    """A rectangle for one vehicle; `yaw` is along its length, `kind` "car" (2 x 5 m) or "long" (2.6 x 12 m).

    `row` groups the places of one strip and counts along it by `number`; people step out between neighbours.
    """

    x: float
    y: float
    yaw: float
    length: float
    width: float
    kind: str
    row: int
    number: int


@dataclass(frozen=True, eq=False)
class Walk:
    """A strip that people walk along in both directions: its middle line and width [m]."""

    path: Path
    width: float


@dataclass(frozen=True, eq=False)
class Crossing:
    """A way for people across a carriageway from kerb to kerb, `width` wide; `signal` is their group or None."""

    path: Path
    width: float
    signal: int | None = None


@dataclass(frozen=True)
class Place:
    """Where people stand: `kind` "wait" (bus stop, kerb), "group" (talking), "behind" (half hidden by a prop)."""

    x: float
    y: float
    yaw: float
    kind: str


@dataclass(frozen=True, eq=False)
class Ways:
    """All of it for one town.

    Attributes:
        routes: lanes; `ego_routes` indexes those that the ego vehicle may drive.
        signals: signal groups.
        parking, walks, crossings, places: see the classes.
    """

    routes: tuple[Route, ...]
    ego_routes: tuple[int, ...]
    signals: tuple[Signal, ...] = ()
    parking: tuple[ParkingPlace, ...] = ()
    walks: tuple[Walk, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    places: tuple[Place, ...] = ()

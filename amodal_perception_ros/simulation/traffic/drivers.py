"""Drivers: where they are, what is in their way, and how they speed up and brake.

Intelligent driver model: Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and
microscopic simulations", Physical Review E 62 (2000), equation 3; free-road and interaction terms are not added but
the smaller one counts, and above the wished speed braking is bounded, as in Treiber and Kesting, "Traffic Flow
Dynamics" (2013), section 11.3.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from amodal_perception_ros.simulation.traffic.corridors import Corridors

ACCELERATION, BRAKING, HEADWAY, STANDSTILL = 1.6, 2.2, 1.3, 2.2
"""Parameters of the driver model [m/s^2, m/s^2, s, m]."""

EMERGENCY = 8.0
"""Strongest braking [m/s^2]."""

_DAMPING = 2 * float(np.sqrt(ACCELERATION * BRAKING))
_PARTS = np.array([-1 / 3, 0.0, 1 / 3])
"""Every vehicle is seen as three pieces, centred here along its length."""

SWAY_LENGTH = 45.0

_IGNORED = 0.8

_PASSING, _PASSED, _BESIDE = 25.0, 3.0, 0.3
"""A two-wheeler is passed from so far behind it to so far ahead of it, with so much room between [m]."""


@dataclass(eq=False)
class Drivers:
    """All vehicles that may drive, one array element each; the ego vehicle is the first.

    Attributes:
        route: index of the route.
        s: arc length of the vehicle's middle on it [m].
        speed, desired: now, and wished on a free road [m/s].
        length, width, wheelbase: [m].
        offset: wished place to the left of the route [m]; it sways around it by `sway` [m] with a `phase` [rad].
        present: in the town; the others wait outside to come in.
    """

    route: np.ndarray
    s: np.ndarray
    speed: np.ndarray
    desired: np.ndarray
    length: np.ndarray
    width: np.ndarray
    wheelbase: np.ndarray
    offset: np.ndarray
    sway: np.ndarray
    phase: np.ndarray
    present: np.ndarray

    @classmethod
    def collect(cls, rows: list[dict[str, float]]) -> Drivers:
        """Return drivers from one mapping of attributes each; `route` and `present` get their types."""
        kinds = {"route": np.int64, "present": bool}
        columns = {f.name: np.array([row[f.name] for row in rows], kinds.get(f.name, float)) for f in fields(cls)}
        return cls(**columns)

    def boxes(self, corridors: Corridors, s: np.ndarray | None = None) -> np.ndarray:
        """Return (n, 5) rectangles x, y, yaw, length, width: both axles are on the route's line."""
        s = self.s if s is None else s
        ends = []
        for half in (-0.5, 0.5):
            axle = s + half * self.wheelbase
            sway = self.sway * np.sin(2 * np.pi * axle / SWAY_LENGTH + self.phase)
            ends.append(corridors.at(self.route, axle, self.offset + sway))
        middle, forward = 0.5 * (ends[0] + ends[1]), ends[1] - ends[0]
        yaw = np.arctan2(forward[:, 1], forward[:, 0])
        return np.column_stack([middle, yaw, self.length, self.width])


@dataclass(eq=False)
class View:
    """What every driver sees in his corridor, (n, m) each for m pieces of other vehicles.

    Attributes:
        gap: free way up to it from the driver's own front [m]; inf where it is not in the corridor.
        speed: its speed along the corridor, 0 for oncoming ones [m/s].
        along: whether it goes roughly the same way.
        passing: (n,) left offset at which the driver passes those on two wheels on his right; -inf without any [m].
    """

    gap: np.ndarray
    speed: np.ndarray
    along: np.ndarray
    passing: np.ndarray


def look(corridors: Corridors, drivers: Drivers) -> View:
    """Return what is in every driver's corridor, whatever route it is on."""
    n, route = len(drivers.s), drivers.route
    owner = np.repeat(np.arange(n), len(_PARTS))
    s = (drivers.s[:, None] + _PARTS * drivers.length[:, None]).ravel()
    k = corridors.sample(route[owner], s)
    rest = (s / corridors.step[route[owner]] + corridors.lead[route[owner]] - k) * corridors.step[route[owner]]
    rest = np.where(np.abs(rest) < 1, rest, 0.0)
    place = (route[:, None], route[owner][None], k[None])
    turn = corridors.turn[place]
    c, d = np.cos(turn), np.abs(np.sin(turn))
    ahead = corridors.ahead(route[:, None], drivers.s[:, None], corridors.along[place] + c * rest)
    half_length, half_width = drivers.length[owner] / 6, drivers.width[owner] / 2
    place_aside = corridors.aside[place] + c * drivers.offset[owner]
    aside = place_aside - drivers.offset[:, None]
    room = drivers.width[:, None] / 2 + d * half_length + np.abs(c) * half_width + np.where(c < -0.5, 0.05, 0.2)
    front = drivers.length[:, None] / 2
    seen = (np.abs(aside) < room) & (ahead > front - 1.0) & drivers.present[owner]
    seen &= owner[None] != np.arange(n)[:, None]
    gap = ahead - front - np.abs(c) * half_length - d * half_width
    speed = np.maximum(0, c * drivers.speed[owner])
    lane = np.array([own.width for own in corridors.routes])[route][:, None]
    beside = (drivers.width[owner] < 1.0) & drivers.present[owner] & (drivers.width[:, None] > 1.0) & (c > 0.9)
    beside &= (place_aside < 0) & (place_aside > -lane / 2) & (gap < _PASSING) & (ahead > -front - _PASSED)
    passing = place_aside + half_width + drivers.width[:, None] / 2 + _BESIDE
    passing = np.where(beside, passing, -np.inf).max(1, initial=-np.inf)
    return View(np.where(seen, gap, np.inf), speed, c > 0.5, passing)


def accelerate(speed: np.ndarray, desired: np.ndarray, gap: np.ndarray, leader: np.ndarray) -> np.ndarray:
    """Return (n,) accelerations [m/s^2] of drivers (n,) with obstacles (n, m): free way and speed of each."""
    wished = np.maximum(desired, 0.1)
    free = np.where(
        speed <= wished,
        ACCELERATION * (1 - (speed / wished) ** 4),
        -BRAKING * (1 - (wished / np.maximum(speed, 0.1)) ** (4 * ACCELERATION / BRAKING)),
    )
    v = speed[:, None]
    wish = STANDSTILL + np.maximum(0, v * HEADWAY + v * (v - leader) / _DAMPING)
    held = ACCELERATION * (1 - (wish / np.maximum(gap, 0.3)) ** 2)
    value = np.minimum(free, held.min(1, initial=ACCELERATION))
    return np.clip(np.where(desired > 0, value, -BRAKING), -EMERGENCY, ACCELERATION)


def brake(speed: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return (n,) accelerations that stop within a way (n,) [m], inf where there is no need."""
    need = speed**2 / (2 * np.maximum(way, 0.2))
    return np.where(np.isfinite(way) & (need > _IGNORED) | (way < 1.0), -np.minimum(need, EMERGENCY), np.inf)

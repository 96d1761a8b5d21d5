"""People who leave the walks: over crossings, on green where there is a signal, and between parked vehicles."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.town.ways import Crossing, Path, Signal
from amodal_perception_ros.simulation.traffic.crowd import Crowd
from amodal_perception_ros.simulation.traffic.things import Gap
from amodal_perception_ros.simulation.traffic.walkable import NARROW, PERSONAL, Track

ATTEMPTS = 8
_KERB = 0.45
"""Who waits to cross stands this far behind the kerb [m]."""


def use_crossing(crowd: Crowd, crossing: Crossing, signal: Signal | None) -> None:
    """Let somebody walk up to a crossing, wait for green if need be, cross and walk on for some metres."""
    rng, person, horizon = crowd.rng, crowd.anybody(), float(crowd.times[-1])
    for _ in range(ATTEMPTS):
        speed = min(float(crowd.draw("crossing_speed")), 1.3 * crowd.speed_of(person))
        before, points, over = _way_over(crowd, crossing)
        duration = (before + over) / speed
        arrival = float(rng.uniform(-0.8 * over / speed, max(horizon, 1.0)))
        start = (
            arrival if signal is None else start_on_green(signal, arrival, over / speed, float(crowd.draw("reaction")))
        )
        walked = np.clip((crowd.times - arrival) * speed + before, 0, before)
        walked = np.where(crowd.times > start, before + (crowd.times - start) * speed, walked)
        track = Track.along(points, walked)
        if duration > 0 and crowd.is_free(person, track, NARROW):
            crowd.put(person, track)
            return


def _way_over(crowd: Crowd, crossing: Crossing) -> tuple[float, np.ndarray, float]:
    """Return the way up to the kerb [m], the polyline, and the way from there to behind the other kerb [m]."""
    rng, path = crowd.rng, crossing.path
    points = path.points if rng.random() < 0.5 else path.points[::-1]
    aside = float(rng.uniform(-0.5, 0.5)) * max(crossing.width - 0.6, 0.0)
    line = Path(np.array(points)).at(np.array([0.0, path.length]), aside)
    direction = (line[1] - line[0]) / np.linalg.norm(line[1] - line[0])
    left = np.array([-direction[1], direction[0]])
    near, far = line[0] - _KERB * direction, line[1] + _KERB * direction
    # The walks run along the kerbs: people come and go mostly sideways.
    come = -direction * float(rng.uniform(0.3, 1.0)) + left * float(rng.choice([-1, 1])) * float(rng.uniform(0.5, 5))
    leave = direction * float(rng.uniform(0.3, 1.0)) + left * float(rng.choice([-1, 1])) * float(rng.uniform(0.5, 5))
    corners = np.array([near + come, near, far, far + leave])
    return float(np.linalg.norm(come)), corners, float(np.linalg.norm(far - near))


def start_on_green(signal: Signal, arrival: float, duration: float, reaction: float) -> float:
    """Return when somebody who arrives at a time starts: at once while green lasts long enough, else on next green."""
    phase = (arrival - signal.offset) % signal.period
    if phase + min(0.6 * duration, 0.5 * signal.green) <= signal.green:
        return arrival
    return arrival - phase + signal.period + reaction


def step_out(crowd: Crowd, gap: Gap) -> None:
    """Let somebody stand in a gap, step forwards to look past the vehicles, or walk out over the carriageway."""
    rng, kind = crowd.rng, crowd.draw("step_out")
    ahead = np.array([np.cos(gap.heading), np.sin(gap.heading)])
    middle = np.array([gap.x, gap.y])
    person = crowd.anybody(("adult", "teenager", "child"))
    if kind == "stand":
        inward = float(rng.uniform(-0.8, 0.5)) * gap.half
        crowd.stand(person, middle + inward * ahead, gap.heading + float(rng.normal(0, 0.7)))
        return
    start = middle - (gap.half + float(rng.uniform(0.2, 1.4))) * ahead
    edge = middle + (gap.half - 0.1) * ahead
    speed = float(crowd.draw("step_out_speed"))
    if kind == "cross" and crowd.runners and crowd.draw("run"):
        person = crowd.runners[int(rng.integers(len(crowd.runners)))]
        speed = float(crowd.draw("run_speed"))
    delay = float(rng.uniform(-2.0, max(1.5, 0.6 * float(crowd.times[-1]))))
    ways = [np.array([start, middle, edge])]
    if kind == "cross":
        ways = [np.concatenate([ways[0], far]) for far in _far_sides(crowd, edge, ahead)] + ways
    for points in ways:
        track = Track.along(points, np.maximum(crowd.times - delay, 0) * speed)
        if crowd.is_free(person, track, NARROW, PERSONAL):
            crowd.put(person, track)
            return


def _far_sides(crowd: Crowd, edge: np.ndarray, ahead: np.ndarray) -> list[np.ndarray]:
    """Return ends of ways to the walk on the other side, slanting to both sides, in random order."""
    far = _opposite_walk(crowd, edge, ahead)
    if far is None:
        return []
    left = np.array([-ahead[1], ahead[0]])
    return [(edge + far * ahead + drift * left)[None] for drift in crowd.rng.permutation(np.arange(-6.0, 6.5, 1.5))]


def _opposite_walk(crowd: Crowd, edge: np.ndarray, ahead: np.ndarray) -> float | None:
    """Return the distance [m] to the nearest walk straight ahead, between 3 and 25 m."""
    reach = np.arange(3.0, 25.0, 0.5)
    line = edge + reach[:, None] * ahead
    best: float | None = None
    for walk in crowd.population.town.ways.walks:
        inside = np.flatnonzero(np.abs(walk.path.local(line)[1]) < walk.width / 2)
        if len(inside) and (best is None or reach[inside[0]] < best):
            best = float(reach[inside[0]])
    return best

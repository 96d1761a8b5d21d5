"""Pedestrians: walking along, standing in groups, crossing, and stepping out between parked vehicles."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation import people
from amodal_perception_ros.simulation.street import Street
from amodal_perception_ros.simulation.things import PERSON, Population, Thing

STRIDE = 1.45
"""Way walked in one cycle of two steps by a person of 1.75 m [m]."""


def add_pedestrians(
    population: Population, gaps: list[np.ndarray], center: np.ndarray, times: np.ndarray, factor: float
) -> list[Thing]:
    """Populate the surroundings of the ego path.

    Per sequence 18-34 people walk along the sidewalks, 8-18 stand in groups, 5-11 wait or step out between
    parked vehicles and 2-7 cross at marked crossings (all times `factor`), within about 60 m of `center`.

    Args:
        population: receives the people.
        gaps: (x, y, street index) between parked vehicles.
        center: (2,) middle of the ego path in odom [m].
        times: (frames,) time of each frame [s].
        factor: on the number of people.
    """
    rng, first = population.rng, len(population.things)
    counts = [round(factor * rng.integers(a, b)) for a, b in ((18, 35), (8, 19), (5, 12), (2, 8))]
    streets = population.town.streets
    for _ in range(counts[0]):
        _walk_along(population, streets[rng.integers(len(streets))], center, times)
    placed = 0
    while placed < counts[1]:
        size = min(int(rng.integers(1, 4)), counts[1] - placed)
        _stand(population, streets[rng.integers(len(streets))], center, size)
        placed += size
    near = [g for g in gaps if np.hypot(*(g[:2] - center)) < 55]
    for k in rng.permutation(len(near))[: counts[2]]:
        _step_out(population, streets[int(near[k][2])], near[k][:2], times)
    for _ in range(counts[3]):
        _use_crossing(population, times)
    return population.things[first:]


def _near(population: Population, street: Street, center: np.ndarray) -> float:
    s, t = street.local(center)
    reach = 60.0 if abs(t) < 30 else 35.0
    return float((s if abs(t) < 30 else 0.0) + population.rng.uniform(-reach, reach))


def _walker(population: Population) -> Thing | None:
    rng = population.rng
    models = population.fleet.walkers[rng.integers(len(population.fleet.walkers))]
    return population.add(PERSON, models, people.person_palette(rng), (0.0, 0.0, 0.0, 0.0))


def _follow(
    population: Population, thing: Thing | None, way: np.ndarray, speed: float, delay: float, times: np.ndarray
) -> None:
    """Let a thing walk a polyline (n, 2) at a speed [m/s] after a delay [s]; it stands before and afterwards."""
    if thing is None:
        return
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(way, axis=0).T))])
    walked = np.clip((times - delay) * speed, 0, lengths[-1])
    position = np.stack([np.interp(walked, lengths, way[:, k]) for k in range(2)], -1)
    leg = np.clip(np.searchsorted(lengths, walked, side="right") - 1, 0, len(way) - 2)
    direction = np.diff(way, axis=0)[leg]
    moving = (walked > 0) & (walked < lengths[-1])
    thing.poses[:, :2] = position
    thing.poses[:, 2] = population.town.ground_height(position)
    thing.poses[:, 3] = np.arctan2(direction[:, 1], direction[:, 0])
    heading = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    thing.velocity[:, :2] = np.where(moving[:, None], heading * speed, 0)
    cycle = walked / STRIDE + population.rng.random()
    thing.phase[:] = np.where(moving, np.floor(cycle * people.WALK_PHASES) % people.WALK_PHASES, 0).astype(np.int64)


def _walk_along(population: Population, street: Street, center: np.ndarray, times: np.ndarray) -> None:
    rng, side = population.rng, int(population.rng.choice([-1, 1]))
    s = _near(population, street, center)
    t = side * (street.curb(side) + rng.uniform(min(1.6, street.sidewalk - 1.2), street.sidewalk - 0.4))
    speed, direction = float(rng.uniform(0.8, 1.7)), int(rng.choice([-1, 1]))
    distance = speed * float(times[-1]) + 1
    if street.gap is not None:
        inside = street.gap[0] - 1 < s < street.gap[1] + 1
        s = street.gap[1] + 3 if inside else s
        if (s - street.gap[0]) * (s + direction * distance - street.gap[0]) < 0:
            direction = -direction
    end = float(np.clip(s + direction * distance, -150, 150))
    _follow(population, _walker(population), street.point(np.array([s, end]), t), speed, 0.0, times)


def _stand(population: Population, street: Street, center: np.ndarray, size: int) -> None:
    rng = population.rng
    for _ in range(10):
        side, s = int(rng.choice([-1, 1])), _near(population, street, center)
        if street.gap is not None and street.gap[0] - 2 < s < street.gap[1] + 2:
            s = street.gap[1] + float(rng.uniform(1.5, 4))
        middle = street.point(s, side * (street.curb(side) + rng.uniform(0.9, max(1.2, street.sidewalk - 0.6))))
        if population.is_clear(middle, 1.5):
            break
    for k in range(size):
        angle = 2 * np.pi * k / max(size, 2) + rng.uniform(-0.4, 0.4)
        x, y = middle + (0.5 if size > 1 else 0.0) * np.array([np.cos(angle), np.sin(angle)])
        z = float(population.town.ground_height(np.array([x, y])))
        model = population.fleet.standers[rng.integers(len(population.fleet.standers))]
        pose = (x, y, z, angle + np.pi if size > 1 else float(rng.uniform(0, 2 * np.pi)))
        population.add(PERSON, (model,), people.person_palette(rng), pose)


def _step_out(population: Population, street: Street, gap: np.ndarray, times: np.ndarray) -> None:
    """From the sidewalk between two parked vehicles; a third stays there, the others cross the street."""
    rng = population.rng
    s, t = (float(v) for v in street.local(gap))
    side = 1 if t > 0 else -1
    start, between = side * (street.curb(side) + rng.uniform(0.3, 1.5)), side * (street.driven + 0.4)
    drift = float(rng.uniform(-0.3, 0.3))
    if rng.random() < 0.33:
        way = [(s, start), (s + drift, 0.5 * (start + between))]
    else:
        far = -side * (street.driven + 0.3)
        way = [(s, start), (s, between), (s + drift * 4, far)]
    points = np.array([street.point(a, b) for a, b in way])
    delay = float(rng.uniform(-1.5, max(2.0, 0.5 * times[-1])))
    _follow(population, _walker(population), points, float(rng.uniform(0.9, 2.2)), delay, times)


def _use_crossing(population: Population, times: np.ndarray) -> None:
    rng, town = population.rng, population.town
    places = [(k, z) for k in range(len(town.streets)) for z in town.zebras[k]]
    if not places:
        return
    k, zebra = places[rng.integers(len(places))]
    street, side = town.streets[k], int(rng.choice([-1, 1]))
    s = zebra + float(rng.uniform(-1.2, 1.2))
    way = np.array([street.point(s, side * (street.curb(side) + 1)), street.point(s, -side * (street.curb(-side) + 1))])
    delay = float(rng.uniform(-6, max(1.0, 0.6 * times[-1])))
    _follow(population, _walker(population), way, float(rng.uniform(0.9, 1.6)), delay, times)

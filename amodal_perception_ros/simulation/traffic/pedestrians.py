"""Pedestrians: walking along, standing in groups, waiting, crossing, and stepping out between parked vehicles."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.config import Stream
from amodal_perception_ros.simulation.town.ways import Place, Walk
from amodal_perception_ros.simulation.traffic.boxes import outline
from amodal_perception_ros.simulation.traffic.crossing_people import step_out, use_crossing
from amodal_perception_ros.simulation.traffic.crowd import REACH, Crowd
from amodal_perception_ros.simulation.traffic.things import Gap, Population, Thing
from amodal_perception_ros.simulation.traffic.walkable import Track, Walkable
from amodal_perception_ros.simulation.traffic.walkers import build_runners, build_walkers
from amodal_perception_ros.simulation.weather import draw_weather

EVERY_AGE = ("adult", "elderly", "teenager", "child")

ATTEMPTS = 8
"""Somebody for whom no free way is found in so many draws stays at home."""


def add_pedestrians(
    population: Population, gaps: list[Gap], center: np.ndarray, times: np.ndarray, factor: float
) -> list[Thing]:
    """Populate the surroundings of the ego path; call it when the parked vehicles are in the population.

    Numbers and habits are section `pedestrians` of the distributions, the numbers multiplied by `factor`.
    People use `population.town.ways` and the gaps only, and keep clear of the town's footprints, of the things that
    are in the population already, and of each other.

    Args:
        population: receives the people; `times` has one element per row of its trajectories.
        gaps: between parked vehicles.
        center: (2,) middle of the ego path in odom [m].
        times: (rows,) time of every row [s].
        factor: on the number of people.

    Returns:
        The people, as things of class person whose `poses`, `velocity` and `phase` are complete.
    """
    config = population.config
    rng = config.stream(Stream.PEDESTRIANS)
    rain, looks = draw_weather(config).rain > 0, config.stream(Stream.PEOPLE)
    bodies = build_walkers(looks, config.distributions, rain)
    runners = build_runners(looks, config.distributions, rain)
    walkable = Walkable(_outlines(population, center))
    crowd = Crowd(population, bodies, runners, walkable, np.asarray(center, float), times, rng, config.distributions)

    def count(entry: str) -> int:
        return round(factor * crowd.draw(entry))

    _fill_places(crowd, factor)
    ways = population.town.ways
    crossings = [c for c in ways.crossings if crowd.is_near(c.path.points).any()]
    for _ in range(count("crossing") if crossings else 0):
        crossing = crossings[int(rng.integers(len(crossings)))]
        use_crossing(crowd, crossing, ways.signals[crossing.signal] if crossing.signal is not None else None)
    near = [gap for gap in gaps if crowd.is_near(np.array([gap.x, gap.y]))]
    for k in rng.permutation(len(near))[: count("step_outs")]:
        step_out(crowd, near[int(k)])
    walks = [(walk, _near_part(crowd, walk)) for walk in ways.walks]
    walks = [(walk, part) for walk, part in walks if len(part)]
    for _ in range(count("parties") if walks else 0):
        _walk_along(crowd, walks)
    return crowd.things


def _outlines(population: Population, center: np.ndarray) -> list[np.ndarray]:
    """Return the outlines of static obstacles and parked things around the ego path."""
    out = [footprint.corners for footprint in population.town.footprints]
    for thing in population.things:
        out.append(outline(thing.ground_boxes()[0])[::2])
    return [o for o in out if np.hypot(*(o - center).T).min() < REACH + 40]


def _near_part(crowd: Crowd, walk: Walk) -> np.ndarray:
    """Return the arc lengths of a walk within reach, one per metre."""
    s = np.arange(0.0, walk.path.length, 1.0)
    return s[crowd.is_near(walk.path.at(s))]


# Standing ---------------------------------------------------------------------------------------------------


def _fill_places(crowd: Crowd, factor: float) -> None:
    """Let people talk at some of the places for groups, wait at bus stops and kerbs, and stand behind props."""
    places = [p for p in crowd.population.town.ways.places if crowd.is_near(np.array([p.x, p.y]))]
    order = [places[int(k)] for k in crowd.rng.permutation(len(places))]
    for place in [p for p in order if p.kind == "group"][: round(factor * crowd.draw("groups"))]:
        _talk(crowd, place)
    for place in [p for p in order if p.kind == "wait"]:
        if crowd.draw("wait_at_place") and crowd.rng.random() < factor:
            _wait(crowd, place)
    for place in [p for p in order if p.kind == "behind"]:
        if crowd.draw("behind_at_place") and crowd.rng.random() < factor:
            yaw = place.yaw + float(crowd.rng.normal(0, 0.6))
            crowd.stand(crowd.anybody(), np.array([place.x, place.y]), yaw)


def _talk(crowd: Crowd, place: Place) -> None:
    """A circle of people who face each other."""
    rng, size = crowd.rng, crowd.draw("group_size")
    radius = 0.0 if size == 1 else max(0.48, 0.4 / np.sin(np.pi / size)) + float(rng.uniform(0, 0.15))
    turn = float(rng.uniform(0, 2 * np.pi))
    for k, body in enumerate(crowd.party(((), *[EVERY_AGE] * (size - 1)))):
        angle = turn + 2 * np.pi * k / size + float(rng.uniform(-0.12, 0.12))
        position = np.array([place.x + radius * np.cos(angle), place.y + radius * np.sin(angle)])
        yaw = angle + np.pi + float(rng.normal(0, 0.25))
        crowd.stand(body, position, yaw, "talking" if size > 1 and rng.random() < 0.5 else None)


def _wait(crowd: Crowd, place: Place) -> None:
    """A row of people who look where the bus or the gap in the traffic comes from."""
    rng = crowd.rng
    for k in range(crowd.draw("waiting")):
        aside = (k + 1) // 2 * (1 if k % 2 else -1) * float(rng.uniform(0.65, 1.1))
        back = float(rng.uniform(0, 0.5))
        c, s = np.cos(place.yaw), np.sin(place.yaw)
        position = np.array([place.x - aside * s - back * c, place.y + aside * c - back * s])
        crowd.stand(crowd.anybody(), position, place.yaw + float(rng.normal(0, 0.5)))


# Walking along ----------------------------------------------------------------------------------------------

_PARTIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "single": ((),),
    "pair": ((), ("adult", "elderly", "teenager")),
    "family": (("adult",), ("child",), ("adult", "child"), ("child",)),
    "crowd": ((), (), (), (), ()),
}
"""Ages of the members; () is anybody."""


def _walk_along(crowd: Crowd, walks: list[tuple[Walk, np.ndarray]]) -> None:
    """Send a party along one of the walks; long sequences bring it back on the other side of the walk."""
    rng = crowd.rng
    kind = crowd.draw("party")
    members = crowd.party(_PARTIES[kind])
    if kind in ("family", "crowd"):
        members = members[: int(rng.integers(3, len(members) + 1))]
    weights = np.array([len(part) for _, part in walks], float)
    for _ in range(ATTEMPTS):
        walk, part = walks[int(rng.choice(len(walks), p=weights / weights.sum()))]
        speed = min(crowd.speed_of(member) for member in members)
        points = _stroll(crowd, walk, float(rng.choice(part)), speed * float(crowd.times[-1]) + 2.0)
        if points is None:
            continue
        leader = Track.along(points, speed * crowd.times + 0.5)
        tracks = _formation(crowd, leader, len(members))
        if all(crowd.is_free(member, track) for member, track in zip(members, tracks)):
            for member, track in zip(members, tracks):
                crowd.put(member, track)
            return


def _formation(crowd: Crowd, leader: Track, size: int) -> list[Track]:
    """Return tracks two by two behind each other, side by side where the leader's right-hand side is free."""
    rng, tracks = crowd.rng, [leader]
    narrow = size > 1 and not crowd.walkable.is_free(leader.beside(-0.7, 0.0))
    for k in range(1, size):
        row, column = (k, 0) if narrow else divmod(k, 2)
        aside = -0.68 * column + float(rng.uniform(-0.02, 0.02))
        tracks.append(leader.beside(aside, -(0.95 if not narrow else 0.8) * row - float(rng.uniform(0.0, 0.12))))
    return tracks


def _stroll(crowd: Crowd, walk: Walk, start: float, length: float) -> np.ndarray | None:
    """Return a polyline of some length along a walk, keeping a preferred side; it turns around at the ends."""
    rng = crowd.rng
    half = max(0.0, walk.width / 2 - 0.25)
    direction, pieces, left, place = float(rng.choice([-1, 1])), [], length, start
    end = walk.path.length
    for _ in range(8):
        target = float(np.clip(place + direction * left, 0.0, end))
        if abs(target - place) > 1.0:
            wish = -direction * float(rng.triangular(-0.5, 0.5, 1.0)) * half
            points = crowd.walkable.way(walk.path, place, target, wish, half)
            if points is None:
                return None
            pieces.append(points)
        left -= abs(target - place)
        place, direction = target, -direction
        if left <= 0.01:
            break
    return _rounded(np.concatenate(pieces)) if pieces else None


def _rounded(points: np.ndarray) -> np.ndarray:
    """Drop points that repeat their predecessor."""
    keep = np.concatenate([[True], np.hypot(*np.diff(points, axis=0).T) > 1e-6])
    return points[keep]

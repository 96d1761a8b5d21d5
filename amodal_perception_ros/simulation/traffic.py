"""Moving vehicles and the ego vehicle: they keep their lane and distance, and stop at red and for people.

Intelligent driver model: Treiber, Hennecke, Helbing, "Congested traffic states in empirical observations and
microscopic simulations", Physical Review E 62 (2000), equation 3.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from amodal_perception_ros.simulation import people
from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.pedestrians import add_pedestrians
from amodal_perception_ros.simulation.street import HALF_LENGTH, Lane, Street
from amodal_perception_ros.simulation.things import (
    BIKE,
    BUS,
    CAR,
    MOTORCYCLE,
    RIDER,
    TRUCK,
    Population,
    Thing,
    build_fleet,
    bus_palette,
    car_palette,
    cargo_palette,
    park_vehicles,
)
from amodal_perception_ros.simulation.town import Town

EGO_LENGTH = 4.6
RING = 2 * HALF_LENGTH
"""Lanes are closed rings: a vehicle that leaves at one end enters at the other."""

ACCELERATION, BRAKING, HEADWAY, STANDSTILL = 1.6, 2.2, 1.3, 2.2
"""Parameters of the driver model [m/s^2, m/s^2, s, m]."""

_DAMPING = 2 * float(np.sqrt(ACCELERATION * BRAKING))


@dataclass(eq=False)
class Driver:
    """A vehicle on a lane: `way` is the distance driven along the lane's direction [m], wrapped to the ring."""

    street: int
    lane: Lane
    way: float
    speed: float
    desired: float
    length: float
    offset: float
    things: tuple[Thing, ...] = ()


@dataclass(eq=False)
class Traffic:
    """All things of a sequence, the ego path and the lights.

    Attributes:
        things: with their poses at every frame.
        ego: (frames, 4) x, y, z, yaw of base_link in odom.
        ego_speed: (frames,) [m/s].
        times: (frames,) [s].
    """

    things: list[Thing]
    ego: np.ndarray
    ego_speed: np.ndarray
    times: np.ndarray


@dataclass(eq=False)
class _Signals:
    """Red and green over time: the first street that is green turns red at `switch`, 3 s later the other goes."""

    main_green: bool
    switch: float

    def red(self, street: int, time: float) -> bool:
        first = 0 if self.main_green else 1
        if street == first:
            return time >= self.switch
        return time < self.switch + 3.0


@dataclass(eq=False)
class _Scene:
    town: Town
    drivers: list[Driver]
    walkers: list[Thing]
    signals: _Signals
    wobble: np.ndarray
    people: list[list[tuple[float, float]]] = field(default_factory=list)
    by_lane: dict[tuple[int, Lane], list[Driver]] = field(init=False)

    def __post_init__(self) -> None:
        self.by_lane = defaultdict(list)
        for driver in self.drivers:
            self.by_lane[(driver.street, driver.lane)].append(driver)


def build_traffic(config: SequenceConfig, town: Town) -> Traffic:
    """Return every thing of the sequence with its trajectory, and the ego path."""
    rng = config.stream(3)
    times = np.arange(config.frames) / config.rate_hz
    fleet = build_fleet(rng)
    population = Population(config.frames, town, fleet, rng)
    signals = _Signals(town.main_green, float(rng.uniform(2, 14)))
    drivers = _spawn(population, config, signals)
    ego = drivers[0]
    center = _point(town.streets[ego.street], ego, 0.5 * min(config.frames / config.rate_hz, 10) * ego.speed)
    gaps = park_vehicles(population)
    walkers = add_pedestrians(population, gaps, center, times, config.traffic)
    scene = _Scene(town, drivers, walkers, signals, rng.uniform(0, 2 * np.pi, 2))
    return _drive(scene, population.things, times)


def _spawn(population: Population, config: SequenceConfig, signals: _Signals) -> list[Driver]:
    """Put the ego vehicle (first) and the other vehicles on their lanes."""
    rng, streets = population.rng, population.town.streets
    drivers = [_spawn_ego(population)]
    for k, street in enumerate(streets):
        for lane in street.all_lanes():
            way = -HALF_LENGTH + float(rng.uniform(5, 25))
            while way < HALF_LENGTH - 12:
                kind = _draw_kind(rng, lane, street.bike_lane > 0)
                driver = _make_driver(population, k, lane, way, kind)
                way += driver.length / 2
                driver.way = way
                if _spawn_allowed(street, k, driver, drivers, signals):
                    _add_things(population, driver, kind)
                    drivers.append(driver)
                    spread = (60.0 if lane.bicycles else 28.0) / max(config.traffic, 0.05)
                    way += driver.length / 2 + 3.0 + float(rng.exponential(spread))
                else:
                    way += 6.0
    return drivers


def _spawn_ego(population: Population) -> Driver:
    rng, streets = population.rng, population.town.streets
    index = int(rng.integers(len(streets)))
    lanes = [lane for lane in streets[index].all_lanes() if not lane.bicycles]
    lane = lanes[rng.integers(len(lanes))]
    standing = rng.random() < 0.15
    desired = 0.0 if standing else float(rng.uniform(4, 12))
    way = float(rng.uniform(-70, -12))
    return Driver(
        index, lane, way, desired * float(rng.uniform(0.4, 1.0)), desired, EGO_LENGTH, float(rng.normal(0, 0.1))
    )


def _draw_kind(rng: np.random.Generator, lane: Lane, has_bike_lane: bool) -> str:
    if lane.bicycles:
        return "bike"
    bikes = 0.03 if has_bike_lane else 0.12
    p = np.array([0.62, 0.08, 0.09, 0.11, bikes])
    return str(rng.choice(["car", "truck", "bus", "motorcycle", "bike"], p=p / p.sum()))


def _make_driver(population: Population, street: int, lane: Lane, way: float, kind: str) -> Driver:
    rng = population.rng
    lengths = {"car": 4.8, "truck": 8.8, "bus": 12.6, "motorcycle": 2.1, "bike": 1.9}
    fast = float(rng.uniform(2.5, 6)) if kind == "bike" else float(rng.uniform(7, 13))
    offset = float(rng.normal(0, 0.12))
    if kind == "bike" and not lane.bicycles:
        offset = -lane.direction * (lane.width / 2 - 0.95)
    return Driver(street, lane, way, fast * float(rng.uniform(0.5, 1)), fast, lengths[kind], offset)


def _spawn_allowed(street: Street, index: int, driver: Driver, others: list[Driver], signals: _Signals) -> bool:
    for other in others:
        if other.street == driver.street and other.lane == driver.lane:
            distance = abs((driver.way - other.way + RING / 2) % RING - RING / 2)
            if distance < 0.5 * (driver.length + other.length) + 2.5:
                return False
    if street.gap is None:
        return True
    s = driver.way * driver.lane.direction
    half = driver.length / 2 + 1
    in_crossing = street.gap[0] - half < s < street.gap[1] + half
    return not (in_crossing and signals.red(index, 0.0))


def _add_things(population: Population, driver: Driver, kind: str) -> None:
    rng, fleet, origin = population.rng, population.fleet, (0.0, 0.0, 0.0, 0.0)

    def pick(models: list) -> tuple:
        return (models[rng.integers(len(models))],)

    if kind == "car":
        things = [population.add(CAR, (pick(fleet.cars)[0][1],), car_palette(rng), origin)]
    elif kind == "truck":
        things = [population.add(TRUCK, pick(fleet.trucks), cargo_palette(rng), origin)]
    elif kind == "bus":
        things = [population.add(BUS, pick(fleet.buses), bus_palette(rng), origin)]
    else:
        motor = kind == "motorcycle"
        vehicle = pick(fleet.motorcycles if motor else fleet.bikes)
        things = [
            population.add(MOTORCYCLE if motor else BIKE, vehicle, car_palette(rng), origin),
            population.add(
                RIDER, pick(fleet.motorcyclists if motor else fleet.cyclists), people.person_palette(rng), origin
            ),
        ]
    driver.things = tuple(thing for thing in things if thing is not None)
    for thing in driver.things:
        thing.lights = True
    if things[0] is not None:
        driver.length = float(things[0].high[0] - things[0].low[0])


def _point(street: Street, driver: Driver, ahead: float = 0.0) -> np.ndarray:
    s = (driver.way + ahead) * driver.lane.direction
    return street.point(s, driver.lane.offset + driver.offset)


def _drive(scene: _Scene, things: list[Thing], times: np.ndarray) -> Traffic:
    ego = np.zeros((len(times), 4))
    ego_speed = np.zeros(len(times))
    interval = float(times[1] - times[0]) if len(times) > 1 else 0.1
    steps = max(1, int(np.ceil(interval / 0.05)))
    for frame, time in enumerate(times):
        for k, driver in enumerate(scene.drivers):
            street = scene.town.streets[driver.street]
            heading = street.heading + (0.0 if driver.lane.direction > 0 else np.pi)
            pose = np.array([*_point(street, driver), 0.0, heading])
            velocity = driver.speed * np.array([np.cos(heading), np.sin(heading), 0])
            if k == 0:
                ego[frame] = _wobbled(pose, driver.way, scene.wobble)
                ego_speed[frame] = driver.speed
            for thing in driver.things:
                thing.poses[frame] = pose
                thing.velocity[frame] = velocity
        scene.people = [_people_on_road(scene, street, frame) for street in scene.town.streets]
        for _ in range(steps):
            _step(scene, float(time), interval / steps)
    return Traffic(things, ego, ego_speed, times)


def _wobbled(pose: np.ndarray, way: float, phase: np.ndarray) -> np.ndarray:
    """The ego vehicle sways a little in its lane: heading follows the derivative of the lateral motion."""
    k = 2 * np.pi / 45
    lateral = 0.15 * np.sin(k * way + phase[0])
    slope = 0.15 * k * np.cos(k * way + phase[0])
    heading = pose[3]
    normal = np.array([-np.sin(heading), np.cos(heading)])
    return np.array([*(pose[:2] + lateral * normal), pose[2], heading + np.arctan(slope)])


def _step(scene: _Scene, time: float, dt: float) -> None:
    accelerations = [_acceleration(scene, driver, time, k == 0) for k, driver in enumerate(scene.drivers)]
    for driver, acceleration in zip(scene.drivers, accelerations):
        speed = max(0.0, driver.speed + acceleration * dt)
        driver.way = (driver.way + 0.5 * (driver.speed + speed) * dt + HALF_LENGTH) % RING - HALF_LENGTH
        driver.speed = speed


def _acceleration(scene: _Scene, driver: Driver, time: float, is_ego: bool) -> float:
    """Driver model against the nearest of: leader, red light, person on the lane, end of the ego's road."""
    if driver.desired <= 0:
        return -BRAKING
    obstacles = [(60.0, driver.desired)]
    for other in scene.by_lane[(driver.street, driver.lane)]:
        if other is not driver:
            gap = (other.way - driver.way) % RING - 0.5 * (other.length + driver.length)
            obstacles.append((gap, other.speed))
    street = scene.town.streets[driver.street]
    front = driver.way + driver.length / 2
    if street.gap is not None and scene.signals.red(driver.street, time):
        line = -street.gap[1] - 5.2 if driver.lane.direction < 0 else street.gap[0] - 5.2
        if line - front + 1.5 >= 0:
            obstacles.append((line - front + STANDSTILL, 0.0))
    for s, t in scene.people[driver.street]:
        if abs(t - driver.lane.offset - driver.offset) < 1.7:
            gap = s * driver.lane.direction - front
            if -1 < gap < 30:
                obstacles.append((gap, 0.0))
    if is_ego:
        obstacles.append((HALF_LENGTH - 30 - front, 0.0))
    return min(_idm(driver, max(gap, 0.3), speed) for gap, speed in obstacles)


def _people_on_road(scene: _Scene, street: Street, frame: int) -> list[tuple[float, float]]:
    positions = np.array([thing.poses[frame, :2] for thing in scene.walkers]).reshape(-1, 2)
    s, t = street.local(positions)
    on_road = (np.abs(t) < street.driven) & (np.abs(s) < HALF_LENGTH)
    return list(zip(s[on_road].tolist(), t[on_road].tolist()))


def _idm(driver: Driver, gap: float, leader_speed: float) -> float:
    dynamic = driver.speed * HEADWAY + driver.speed * (driver.speed - leader_speed) / _DAMPING
    wish = STANDSTILL + max(0.0, dynamic)
    value = ACCELERATION * (1 - (driver.speed / driver.desired) ** 4 - (wish / gap) ** 2)
    return min(max(value, -8.0), ACCELERATION)

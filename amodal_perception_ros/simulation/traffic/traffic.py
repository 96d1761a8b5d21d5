"""The things of a sequence with their trajectories: parked ones, people, vehicles in motion, and the ego vehicle."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.labels import MAX_INSTANCE_NUMBER
from amodal_perception_ros.simulation.assets.riders import pedal_phase
from amodal_perception_ros.simulation.config import SequenceConfig, Stream
from amodal_perception_ros.simulation.town.town import Town
from amodal_perception_ros.simulation.traffic.corridors import Corridors
from amodal_perception_ros.simulation.traffic.departures import Departures
from amodal_perception_ros.simulation.traffic.driving import Driving, People
from amodal_perception_ros.simulation.traffic.fleet import build_fleet
from amodal_perception_ros.simulation.traffic.lineup import WARM_UP, Lineup, Vehicle
from amodal_perception_ros.simulation.traffic.parking import park_vehicles
from amodal_perception_ros.simulation.traffic.pedestrians import add_pedestrians
from amodal_perception_ros.simulation.traffic.right_of_way import RightOfWay
from amodal_perception_ros.simulation.traffic.things import Population, Thing

LONGEST_STEP = 0.1

AWAY = 10_000.0
"""Vehicles that are not in town stand this far from it [m]."""


@dataclass(eq=False)
class Traffic:
    """All things of a sequence and the ego path. Rows: one per frame, and one more after the last frame.

    Attributes:
        population: the things with their poses at every row.
        ego: (frames + 1, 4) x, y, z, yaw of base_link in odom; yaw is continuous [m, rad].
        ego_speed: (frames + 1,) [m/s].
        times: (frames + 1,) [s].
    """

    population: Population
    ego: np.ndarray
    ego_speed: np.ndarray
    times: np.ndarray

    @property
    def things(self) -> list[Thing]:
        """All things."""
        return self.population.things


@dataclass(eq=False)
class _Record:
    """Boxes (n, 5), speeds, ways driven [m] and presence (n,) of all vehicles, row by row."""

    boxes: list[np.ndarray]
    speed: list[np.ndarray]
    way: list[np.ndarray]
    present: list[np.ndarray]


def build_traffic(config: SequenceConfig, town: Town) -> Traffic:
    """Return every thing of the sequence with its trajectory, and the ego path."""
    rng = config.stream(Stream.TRAFFIC)
    times = np.arange(config.frames + 1) / config.rate_hz
    population = Population(config, town, build_fleet(rng, config.distributions), rng)
    corridors = Corridors(town.ways.routes)
    right_of_way = RightOfWay(corridors, town.ways)
    lineup = Lineup(population, corridors, right_of_way)
    middle = lineup.ego_middle(min(config.frames / config.rate_hz, 10.0))
    gaps = park_vehicles(population, corridors, lineup.ego_route, middle)
    walkers = add_pedestrians(population, gaps, middle, times, config.traffic)
    positions = np.array([walker.poses[:, :2] for walker in walkers]).reshape(len(walkers), len(times), 2)
    driving = Driving(corridors, lineup.fill(positions[:, 0]), right_of_way)
    departures = Departures(driving, lineup.vehicles, rng)
    record = _drive(departures, People(corridors, positions, config.rate_hz), times)
    _place(lineup.vehicles, record, times)
    lost = {walker.track_id for walker, touched in zip(walkers, _touched(positions, record)) if touched}
    population.things = [thing for thing in population.things if thing.track_id not in lost]
    if population.refused:
        warnings.warn(
            f"{config.sequence_name}: {population.refused} vehicles and people are left out: a sequence has track ids "
            f"for {MAX_INSTANCE_NUMBER} things", stacklevel=2,
        )  # fmt: skip
    boxes, speed = np.stack(record.boxes)[:, 0], np.stack(record.speed)[:, 0]
    ego = np.column_stack([boxes[:, :2], np.zeros(len(times)), np.unwrap(boxes[:, 2])])
    return Traffic(population, ego, speed, times)


def _drive(departures: Departures, people: People, times: np.ndarray) -> _Record:
    """Let traffic flow until the last time, and note every row; before the first one people stand still."""
    driving, record = departures.driving, _Record([], [], [], [])
    for k in range(round(WARM_UP / LONGEST_STEP)):
        departures.step(k * LONGEST_STEP - WARM_UP, LONGEST_STEP, people)
        departures.note()
    way = np.zeros(len(driving.drivers.s))
    for k, time in enumerate(times):
        d = driving.drivers
        record.boxes.append(d.boxes(driving.corridors))
        record.speed.append(d.speed.copy())
        record.way.append(way.copy())
        record.present.append(d.present.copy())
        if k + 1 < len(times):
            interval = float(times[k + 1] - time)
            steps = int(np.ceil(interval / LONGEST_STEP - 1e-6))
            for i in range(steps):
                departures.step(float(time) + i * interval / steps, interval / steps, people)
                way += d.speed * interval / steps
            departures.note()
    return record


def _place(vehicles: list[Vehicle], record: _Record, times: np.ndarray) -> None:
    """Write the trajectories into the vehicles' things."""
    boxes, way, present = (np.stack(rows) for rows in (record.boxes, record.way, record.present))
    stays = present[1:] & present[:-1]
    for k, vehicle in enumerate(vehicles):
        yaw = np.unwrap(boxes[:, k, 2])
        motion = np.where(stays[:, k, None], np.diff(boxes[:, k, :2], axis=0) / np.diff(times)[:, None], 0.0)
        for thing in vehicle.things:
            thing.poses[:, :2] = np.where(present[:, k, None], boxes[:, k, :2], AWAY + 20.0 * k)
            thing.poses[:, 3] = yaw
            thing.velocity[:, :2] = np.concatenate([motion, motion[-1:]])
            if len(thing.models) > 1:
                thing.phase[:] = pedal_phase(way[:, k] + 1.7 * k)


def _touched(positions: np.ndarray, record: _Record) -> np.ndarray:
    """(p,) whether a person's way (p, rows, 2) meets a vehicle: he could not know, and is left out."""
    out = np.zeros(len(positions), bool)
    for row, (boxes, present) in enumerate(zip(record.boxes, record.present)):
        away = positions[:, row, None] - boxes[present, :2]
        c, s = np.cos(boxes[present, 2]), np.sin(boxes[present, 2])
        ahead, aside = np.abs(away[..., 0] * c + away[..., 1] * s), np.abs(away[..., 1] * c - away[..., 0] * s)
        out |= ((ahead < boxes[present, 3] / 2 + 0.25) & (aside < boxes[present, 4] / 2 + 0.25)).any(1)
    return out

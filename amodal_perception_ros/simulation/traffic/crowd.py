"""The people of a sequence while it is being populated: who they are, and tracks that become things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from amodal_perception_ros.simulation.assets import poses
from amodal_perception_ros.simulation.assets.belongings import room_for
from amodal_perception_ros.simulation.assets.figures import draw_palette
from amodal_perception_ros.simulation.distributions import Distributions
from amodal_perception_ros.simulation.traffic.things import PERSON, Population, Thing
from amodal_perception_ros.simulation.traffic.walkable import NARROW, PERSONAL, STATIC, Track, Walkable
from amodal_perception_ros.simulation.traffic.walkers import Walker

REACH = 60.0
"""People are put within this distance of the middle of the ego path [m]."""

SMALL = 1.2
"""Children below this height are with somebody [m]."""

MAX_SPEED = 3.0
"""Nobody is faster [m/s]."""


@dataclass(eq=False)
class Crowd:
    """Puts people into a population.

    Attributes:
        population: receives them.
        bodies: the different bodies; each person takes one and own colours.
        runners: bodies that run.
        walkable: obstacles and everybody placed so far.
        center: (2,) middle of the ego path in odom [m].
        times: (rows,) time of every row of the trajectories [s].
        rng, distributions: for every choice.
        things: everybody placed so far.
    """

    population: Population
    bodies: list[Walker]
    runners: list[Walker]
    walkable: Walkable
    center: np.ndarray
    times: np.ndarray
    rng: np.random.Generator
    distributions: Distributions
    things: list[Thing] = field(default_factory=list)

    def draw(self, entry: str) -> Any:
        """Draw an entry of section `pedestrians`."""
        return self.distributions.draw(self.rng, f"pedestrians.{entry}")

    def is_near(self, points: np.ndarray) -> np.ndarray:
        """Return (...,) bool: whether (..., 2) positions are within `REACH`."""
        return np.linalg.norm(np.asarray(points, float) - self.center, axis=-1) < REACH

    def anybody(self, ages: tuple[str, ...] = ()) -> Walker:
        """Return a random body of one of the ages, if there is any; by default of any age but no small child alone."""
        if ages:
            fitting = [body for body in self.bodies if body.figure.age in ages]
        else:
            fitting = [body for body in self.bodies if body.figure.height >= SMALL]
        fitting = fitting or self.bodies
        return fitting[int(self.rng.integers(len(fitting)))]

    def party(self, ages: tuple[tuple[str, ...], ...]) -> list[Walker]:
        """Return a body for each member's ages, different ones as far as a few draws find them."""
        out: list[Walker] = []
        for wanted in ages:
            options = [self.anybody(wanted) for _ in range(4)]
            out.append(next((body for body in options if body not in out), options[0]))
        return out

    def speed_of(self, person: Walker) -> float:
        """Draw a walking speed [m/s] by age."""
        entry = person.figure.age if person.figure.age in ("elderly", "child") else "adult"
        return float(np.clip(self.draw(f"speed.{entry}"), 0.4, MAX_SPEED - 0.4))

    def is_free(self, person: Walker, track: Track, static: float = STATIC, personal: float = PERSONAL) -> bool:
        """Whether there is room for somebody and what he pushes or pulls, and nobody would be faster than allowed."""
        steps = np.hypot(*np.diff(track.positions, axis=0).T)
        if (steps > MAX_SPEED * np.diff(self.times)).any():
            return False
        return all(self.walkable.is_free(part, static, personal) for part in _parts(person, track))

    def stand(self, person: Walker, position: np.ndarray, yaw: float, pose: str | None = None,
              personal: float = PERSONAL) -> bool:  # fmt: skip
        """Let somebody stand where there is room; whether there is."""
        track = Track.standing(position, yaw, len(self.times))
        if not self.is_free(person, track, NARROW, personal):
            return False
        self.put(person, track, pose)
        return True

    def put(self, person: Walker, track: Track, pose: str | None = None) -> None:
        """Make a thing that follows a track; while it stands it takes a standing pose."""
        rng, names = self.rng, poses.STANDING
        still = names.index(pose) if pose is not None else int(rng.integers(len(names) - 1))
        palette = draw_palette(rng, person.figure.age == "elderly")
        # Who never walks has the box of his standing pose only.
        walks = bool(track.moving.any())
        thing = self.population.add(PERSON, person.models if walks else person.models[still : still + 1], palette)
        if thing is None:
            return
        thing.poses[:, :2] = track.positions
        thing.poses[:, 2] = self._heights(track)
        thing.poses[:, 3] = track.yaw
        thing.velocity[:-1, :2] = np.diff(track.positions, axis=0) / np.diff(self.times)[:, None]
        thing.velocity[-1] = thing.velocity[-2] if len(self.times) > 1 else 0.0
        start = person.stride * rng.random()
        if walks:
            thing.phase[:] = np.where(track.moving, person.walking_phase(track.walked + start), still)
        for part in _parts(person, track):
            self.walkable.place(part)
        self.things.append(thing)

    def _heights(self, track: Track) -> np.ndarray:
        """Return the ground under a track, kerbs taken over half a metre."""
        ahead = 0.25 * np.stack([np.cos(track.yaw), np.sin(track.yaw)], 1) * track.moving[:, None]
        height = self.population.town.ground_height
        return 0.5 * height(track.positions) + 0.25 * (
            height(track.positions + ahead) + height(track.positions - ahead)
        )


def _parts(person: Walker, track: Track) -> list[Track]:
    """Return the tracks of a person and of the middle of his pram or suitcase."""
    ahead = room_for(person.figure)
    return [track] if ahead is None else [track, track.beside(0.0, ahead)]

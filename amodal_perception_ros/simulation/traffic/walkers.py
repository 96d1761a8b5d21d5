"""Pedestrians' models: per figure a few standing poses and a walking cycle, all of the same triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets import poses
from amodal_perception_ros.simulation.assets.bodies import build_body
from amodal_perception_ros.simulation.assets.figures import Figure, draw_figure, draw_runner_figure
from amodal_perception_ros.simulation.assets.gait import RUN, Gait, moving, walking_gait
from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.distributions import Distributions

WALK_PHASES = 16
"""Poses of one walking cycle (two steps)."""


@dataclass(frozen=True, eq=False)
class Walker:
    """A figure with its poses.

    Attributes:
        figure: build, clothing and belongings.
        models: first the poses `poses.STANDING`, then `WALK_PHASES` poses of the walking cycle.
        stride: way walked in one cycle [m].
    """

    figure: Figure
    models: tuple[Model, ...]
    stride: float

    def walking_phase(self, walked: np.ndarray) -> np.ndarray:
        """Return (n,) int64 numbers of the pose nearest to a way walked (n,) [m]."""
        step = np.round(np.asarray(walked) / self.stride * WALK_PHASES).astype(np.int64) % WALK_PHASES
        return len(poses.STANDING) + step


def build_walker(figure: Figure, gait: Gait | None = None) -> Walker:
    """Return a figure in all its poses; it walks as fits its age unless another gait is given."""
    gait = gait or walking_gait(figure)
    body = build_body(figure)
    standing = [poses.standing(figure, body.skeleton, name) for name in poses.STANDING]
    walking = [moving(figure, body.skeleton, gait, k / WALK_PHASES) for k in range(WALK_PHASES)]
    return Walker(figure, tuple(body.posed(pose) for pose in (*standing, *walking)), gait.stride * figure.height)


def build_walkers(rng: np.random.Generator, distributions: Distributions, rain: bool) -> list[Walker]:
    """Draw and build the different bodies of one sequence (`people.figures` of the distributions)."""
    count = distributions.draw(rng, "people.figures")
    return [build_walker(draw_figure(rng, distributions, rain)) for _ in range(count)]


def build_runners(rng: np.random.Generator, distributions: Distributions, rain: bool) -> list[Walker]:
    """Draw and build bodies that run instead of walking (`people.runners` of the distributions)."""
    count = distributions.draw(rng, "people.runners")
    return [build_walker(draw_runner_figure(rng, distributions, rain), RUN) for _ in range(count)]

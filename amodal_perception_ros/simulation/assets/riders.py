"""Riders of bicycles and motorcycles: the same bodies as pedestrians, seated, with pedalling poses."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.bodies import build_body
from amodal_perception_ros.simulation.assets.figures import Figure, Measures, draw_rider_figure
from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.assets.poses import Poser, rotation
from amodal_perception_ros.simulation.assets.skeleton import SIDES, Body, Pose
from amodal_perception_ros.simulation.assets.two_wheelers import Mount
from amodal_perception_ros.simulation.distributions import Distributions

PEDAL_PHASES = 8
"""Poses of one turn of the pedals."""

PEDAL_WAY = 5.0
"""Way cycled in one turn of the pedals [m]: a city gear, 60 turns a minute at 5 m/s."""


def draw_rider(rng: np.random.Generator, distributions: Distributions, mount: Mount) -> tuple[Model, ...]:
    """Draw and build a rider for a two-wheeler; those without cranks carry motorcyclists."""
    return build_rider(draw_rider_figure(rng, distributions, mount.crank == 0, mount.child), mount)


def build_rider(figure: Figure, mount: Mount) -> tuple[Model, ...]:
    """Return a rider in the frame of his vehicle: `PEDAL_PHASES` poses of the same triangles, one without cranks.

    While he cycles, let `Thing.phase` follow the way: `pedal_phase(way)`.
    """
    body, count = build_body(figure), PEDAL_PHASES if mount.crank else 1
    return tuple(body.posed(_riding(body, figure, mount, 2 * np.pi * k / count)) for k in range(count))


def pedal_phase(way: np.ndarray) -> np.ndarray:
    """Return (n,) int64 numbers of the pedalling pose after a way (n,) [m]."""
    return np.round(np.asarray(way) / PEDAL_WAY * PEDAL_PHASES).astype(np.int64) % PEDAL_PHASES


def _riding(body: Body, figure: Figure, mount: Mount, angle: float) -> Pose:
    """One pose; the left crank points `angle` [rad] below forwards, as it turns while cycling forwards."""
    m = Measures.of(figure)
    root = np.array(mount.saddle) + np.array([0.0, 0.0, 0.045 * m.height])
    grip = np.array(mount.grip)
    lean = _lean(m, root, grip)
    poser = Poser(body.skeleton, root)
    poser.trunk(rotation("y", 0.75 * lean), rotation("y", lean), rotation("y", 0.12 if lean < 0.6 else 0.2))
    for sign, side in zip((1, -1), SIDES):
        turn = angle + (0.0 if sign > 0 else np.pi)
        foot = np.array(mount.pedal) * [1, sign, 1] + mount.crank * np.array([np.cos(turn), 0, -np.sin(turn)])
        pitch = 0.15 + 0.25 * np.cos(turn) if mount.crank else 0.0
        # The pedal lies under the ball of the foot, the foot rest under its middle.
        ball = 0.05 * m.height if mount.crank else 0.03 * m.height
        ankle = foot + np.array([-ball * np.cos(pitch), 0.0, m.ankle + ball * np.sin(pitch)])
        poser.leg(side, ankle, pitch, np.array([1.0, sign * (0.1 if mount.crank else 0.35), 0.3]))
        wrist = grip * [1, sign, 1] + np.array([-0.04 * m.height, 0.0, 0.015 * m.height])
        poser.hand(side, wrist, np.array([-0.3, sign * 0.8, -0.7]))
    return poser.pose


def _lean(m: Measures, root: np.ndarray, grip: np.ndarray) -> float:
    """Return the trunk's lean [rad] at which the hands reach the grips with slightly bent arms."""
    arm = 0.9 * (m.upper_arm + m.forearm + 0.045 * m.height)
    trunk, best, error = m.shoulder - m.hip, 0.1, np.inf
    for lean in np.linspace(0.05, 1.1, 43):
        shoulder = root + np.array([trunk * np.sin(lean), m.shoulder_half, trunk * np.cos(lean)])
        apart = abs(float(np.linalg.norm(shoulder - grip)) - arm)
        if apart < error - 1e-9:
            best, error = float(lean), apart
    return best

"""Walking and running cycles.

The gait follows Winter, "Biomechanics and Motor Control of Human Movement", 4th edition, chapter 5: walking, each foot
stands for 60 % of the cycle, the heel strikes with raised toes, and pushes off over the toes; running, both feet are in
the air between the steps. Feet are placed first and the legs follow by inverse kinematics, so that a standing foot
moves backwards exactly as fast as the person moves forwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets.figures import Figure, Measures
from amodal_perception_ros.simulation.assets.poses import REACH, Poser, hold, rotation
from amodal_perception_ros.simulation.assets.skeleton import SIDES, Pose, Skeleton, smooth


@dataclass(frozen=True)
class Gait:
    """How somebody moves.

    Attributes:
        stance: share of the cycle in which a foot is on the ground.
        stride: way of one cycle of two steps, in body heights.
        ahead: where the foot lands in front of the hip, in strides.
        strike: raised toes at landing; `push` raised heel at take-off [rad].
        push: see `strike`.
        lift: height of the swinging foot, in body heights.
        crouch: lowering of the hips, in body heights.
        swing: of the arms; `bend` of the elbows; `lean` of the trunk [rad].
        bend: see `swing`.
        lean: see `swing`.
    """

    stance: float
    stride: float
    ahead: float
    strike: float
    push: float
    lift: float
    crouch: float
    swing: float
    bend: float
    lean: float


WALK = Gait(0.6, 0.8, 0.27, 0.3, 0.75, 0.03, 0.008, 0.42, 0.22, 0.05)
SHUFFLE = Gait(0.6, 0.62, 0.27, 0.23, 0.58, 0.023, 0.012, 0.22, 0.25, 0.28)
RUN = Gait(0.36, 1.15, 0.15, 0.08, 0.95, 0.17, 0.025, 0.7, 1.35, 0.17)


def walking_gait(figure: Figure) -> Gait:
    """Return how a figure walks: the old take shorter steps and stoop."""
    return SHUFFLE if figure.age == "elderly" else WALK


def moving(figure: Figure, skeleton: Skeleton, gait: Gait, cycle: float) -> Pose:
    """Return the pose at a share 0..1 of the cycle; the left foot lands at 0."""
    m = Measures.of(figure)
    phases = {side: (cycle + shift) % 1.0 for side, shift in zip(SIDES, (0.0, 0.5))}
    feet = {side: _foot(m, gait, phase) for side, phase in phases.items()}
    leg = REACH * (m.hip - m.ankle)
    supports = [
        feet[side][0][1] + np.sqrt(max(leg**2 - feet[side][0][0] ** 2, 0))
        for side, phase in phases.items()
        if phase <= gait.stance
    ]
    swing = np.cos(2 * np.pi * cycle)  # +1 when the left foot is in front
    sway = 0.01 * m.height * np.sin(2 * np.pi * (cycle + 0.02))  # over the standing left foot at 0.25
    poser = Poser(skeleton, np.array([0.0, sway, min(m.hip - gait.crouch * m.height, *supports, np.inf)]))
    chest = rotation("z", 0.12 * swing) @ rotation("y", gait.lean)
    poser.trunk(rotation("z", -0.09 * swing), chest, rotation("y", 0.03))
    for sign, side in zip((1, -1), SIDES):
        (x, z), pitch = feet[side]
        poser.leg(side, np.array([x, sign * m.hip_half * 0.75, z]), pitch, np.array([1.0, sign * 0.08, 0.0]))
        # Arms swing against the legs; hands that hold something keep still.
        if not hold(poser, figure, m, side):
            forward = -sign * swing * gait.swing
            poser.arm(side, forward + 0.02, gait.bend + 0.3 * max(forward, 0.0))
    return poser.pose


def _foot(m: Measures, gait: Gait, u: float) -> tuple[tuple[float, float], float]:
    """Return (x, z) of the ankle against the hips and the pitch of a foot at a share u of its own cycle.

    The tip of the shoe is led: it stands still on the ground during the stance and swings forwards afterwards.
    """
    tip, length, stance = 0.104 * m.height, gait.stride * m.height, gait.stance
    ahead = gait.ahead * length + tip
    if u <= stance:
        x, lift = ahead - length * u, 0.0
        pitch = (
            _ease(gait.push, (u - 0.6 * stance) / (0.43 * stance)) - gait.strike + _ease(gait.strike, 6 * u / stance)
        )
    else:
        w = (u - stance) / (1 - stance)
        slope = -length * (1 - stance)
        x = _hermite(ahead - length * stance, ahead, slope, w)
        pitch = gait.push - _ease(gait.push, w / 0.6) - _ease(gait.strike, 2 * w - 1)
        lift = gait.lift * m.height * np.sin(np.pi * w) ** 2
    # The foot turns about the tip when its heel is up, about the heel when its toes are up.
    heel = 0.042 * m.height
    lift += max(0.0, np.sin(-pitch) * (tip + heel))
    return (float(x - tip * np.cos(pitch) + m.ankle * np.sin(pitch)),
            float(lift + tip * np.sin(pitch) + m.ankle * np.cos(pitch))), pitch  # fmt: skip


def _ease(amount: float, x: float) -> float:
    return amount * float(smooth(np.array(x)))


def _hermite(a: float, b: float, slope: float, w: float) -> float:
    """Return the cubic from a at w = 0 to b at 1 with equal slopes at both ends."""
    return (2 * w**3 - 3 * w**2 + 1) * a + (2 * w**3 - 3 * w**2 + w) * slope + (3 * w**2 - 2 * w**3) * b

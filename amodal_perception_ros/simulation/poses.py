"""Poses of people: walking cycle, standing and riding.

The gait follows Winter, "Biomechanics and Motor Control of Human Movement", 4th edition, chapter 5: each foot stands
for 60 % of the cycle, the heel strikes with raised toes, and pushes off over the toes. Feet are placed first and the
legs follow by inverse kinematics, so that a standing foot moves backwards exactly as fast as the person walks.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.belongings import PRAM_HANDLE, SUITCASE_HANDLE
from amodal_perception_ros.simulation.figures import Figure, Measures
from amodal_perception_ros.simulation.skeleton import SIDES, Pose, Skeleton, smooth

STANCE = 0.6
"""Share of the cycle in which a foot is on the ground."""

STANDING = ("relaxed", "leaning", "talking")
"""Names of the standing poses."""

_FORWARD = np.array([1.0, 0.0, 0.0])
_REACH = 0.995
"""A leg or arm is never stretched beyond this share of its length."""


def stride(figure: Figure) -> float:
    """Return the way of one cycle of two steps [m]: 0.8 of the height, less for the old."""
    return figure.height * (0.62 if figure.age == "elderly" else 0.8)


def rotation(axis: str, angle: float) -> np.ndarray:
    """Return the (3, 3) rotation about an axis "x", "y" or "z" [rad]."""
    c, s, k = np.cos(angle), np.sin(angle), "xyz".index(axis)
    out = np.eye(3)
    a, b = (k + 1) % 3, (k + 2) % 3
    out[a, a] = out[b, b] = c
    out[a, b], out[b, a] = -s, s
    return out


class Poser:
    """Builds one pose bone by bone: first `trunk`, then legs, arms and head."""

    def __init__(self, skeleton: Skeleton, root: np.ndarray) -> None:
        self.skeleton = skeleton
        self.pose = Pose(np.asarray(root, float))

    def trunk(self, pelvis: np.ndarray, chest: np.ndarray, head: np.ndarray) -> None:
        """Turn pelvis, chest and head (3, 3)."""
        self.pose.turns.update(pelvis=pelvis, chest=chest, head=head)

    def leg(self, side: str, ankle: np.ndarray, pitch: float, knee: np.ndarray = _FORWARD) -> None:
        """Bring the ankle to a place [m] with the knee towards `knee`; `pitch` > 0 points the toes down [rad]."""
        self._reach((f"thigh_{side}", f"shin_{side}", f"foot_{side}"), ankle, knee)
        self.pose.turns[f"foot_{side}"] = rotation("y", pitch)

    def hand(self, side: str, wrist: np.ndarray, elbow: np.ndarray) -> None:
        """Bring the hand to a place [m] with the elbow towards `elbow`."""
        self._reach((f"upper_{side}", f"fore_{side}", f"carried_{side}"), wrist, elbow)

    def arm(self, side: str, swing: float, bend: float, out: float = 0.06) -> None:
        """Swing an arm forwards and bend its elbow [rad]."""
        sign = 1 if side == "left" else -1
        turn = rotation("z", 0.0) @ rotation("x", sign * (out - 0.1))
        self.pose.turns[f"upper_{side}"] = turn @ rotation("y", -swing)
        self.pose.turns[f"fore_{side}"] = rotation("z", -sign * 0.15) @ turn @ rotation("y", -swing - bend)

    def _reach(self, bones: tuple[str, str, str], target: np.ndarray, towards: np.ndarray) -> None:
        start = self.skeleton.joint(self.pose, bones[0])
        rest = [self.skeleton.joints[bone] for bone in bones]
        first, second = (float(np.linalg.norm(rest[k + 1] - rest[k])) for k in (0, 1))
        span = target - start
        distance = float(np.clip(np.linalg.norm(span), abs(first - second) + 0.01, (first + second) * _REACH))
        axis = span / np.linalg.norm(span)
        along = (first**2 - second**2 + distance**2) / (2 * distance)
        away = towards - axis * (towards @ axis)
        away /= np.linalg.norm(away)
        middle = start + axis * along + away * np.sqrt(max(first**2 - along**2, 0.0))
        # At rest knees bend forwards and elbows backwards: the pole of the rest pose, towards the bend.
        pole = _FORWARD if bones[0].startswith("thigh") else -_FORWARD
        end = start + axis * distance
        self.pose.turns[bones[0]] = _aligned(rest[1] - rest[0], pole, middle - start, away)
        self.pose.turns[bones[1]] = _aligned(rest[2] - rest[1], pole, end - middle, away)


def _aligned(old: np.ndarray, old_pole: np.ndarray, new: np.ndarray, new_pole: np.ndarray) -> np.ndarray:
    """Return the rotation that takes a direction and the pole beside it to new ones."""
    return _frame(new, new_pole) @ _frame(old, old_pole).T


def _frame(direction: np.ndarray, pole: np.ndarray) -> np.ndarray:
    x = direction / np.linalg.norm(direction)
    y = pole - x * (pole @ x)
    y /= np.linalg.norm(y)
    z = np.array([x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]])
    return np.stack([x, y, z], 1)


def walking(figure: Figure, skeleton: Skeleton, cycle: float) -> Pose:
    """Return the pose at a share 0..1 of the walking cycle; the left heel strikes at 0."""
    m, length = Measures.of(figure), stride(figure)
    feet = {side: _foot(m, length, (cycle + shift) % 1.0) for side, shift in zip(SIDES, (0.0, 0.5))}
    leg = m.hip - m.ankle
    supports = []
    for side, shift in zip(SIDES, (0.0, 0.5)):
        if (cycle + shift) % 1.0 <= STANCE:
            ankle = feet[side][0]
            supports.append(ankle[1] + np.sqrt(max((_REACH * leg) ** 2 - ankle[0] ** 2, 0)))
    swing = np.cos(2 * np.pi * cycle)  # +1 when the left foot is in front
    sway = 0.01 * m.height * np.sin(2 * np.pi * (cycle + 0.02))  # over the standing left foot at 0.25
    height = min(m.hip - 0.008 * m.height, *supports)
    stoop = 0.28 if figure.age == "elderly" else 0.05
    poser = Poser(skeleton, np.array([0.0, sway, height]))
    poser.trunk(rotation("z", -0.09 * swing), rotation("z", 0.12 * swing) @ rotation("y", stoop), rotation("y", 0.03))
    for sign, side in zip((1, -1), SIDES):
        (x, z), pitch = feet[side]
        poser.leg(side, np.array([x, sign * m.hip_half * 0.75, z]), pitch, np.array([1.0, sign * 0.08, 0.0]))
    _walking_arms(poser, figure, m, swing)
    return poser.pose


def _foot(m: Measures, length: float, u: float) -> tuple[tuple[float, float], float]:
    """Return (x, z) of the ankle against the hips and the pitch of a foot at a share u of its own cycle.

    The tip of the shoe is led: it stands still on the ground during the stance and swings forwards afterwards.
    """
    tip, scale = 0.104 * m.height, length / (0.8 * m.height)
    ahead = 0.27 * length + tip
    if u <= STANCE:
        x = ahead - length * u
        pitch = -0.3 * scale * (1 - smooth(np.array(u / 0.1))) + 0.75 * scale * smooth(np.array((u - 0.36) / 0.26))
        lift = 0.0
    else:
        w = (u - STANCE) / (1 - STANCE)
        start, end, slope = ahead - length * STANCE, ahead, -length * (1 - STANCE)
        x = _hermite(start, end, slope, slope, w)
        pitch = 0.75 * scale * (1 - smooth(np.array(w / 0.6))) - 0.3 * scale * smooth(np.array((w - 0.5) / 0.5))
        lift = 0.03 * m.height * np.sin(np.pi * w) ** 2
    pitch = float(pitch)
    # The foot turns about the tip when its heel is up, about the heel when its toes are up.
    heel = 0.042 * m.height
    lift += max(0.0, np.sin(-pitch) * (tip + heel))
    return (float(x - tip * np.cos(pitch) + m.ankle * np.sin(pitch)),
            float(lift + tip * np.sin(pitch) + m.ankle * np.cos(pitch))), pitch  # fmt: skip


def _hermite(a: float, b: float, slope_a: float, slope_b: float, w: float) -> float:
    return (
        (2 * w**3 - 3 * w**2 + 1) * a + (w**3 - 2 * w**2 + w) * slope_a
        + (3 * w**2 - 2 * w**3) * b + (w**3 - w**2) * slope_b
    )  # fmt: skip


def _walking_arms(poser: Poser, figure: Figure, m: Measures, swing: float) -> None:
    """Arms swing against the legs; hands that hold something keep still."""
    amount = 0.22 if figure.age == "elderly" else 0.42
    for sign, side in zip((1, -1), SIDES):
        forward = -sign * swing * amount
        if not _holding(poser, figure, m, side):
            poser.arm(side, forward + 0.02, 0.22 + 0.3 * max(forward, 0.0))


def _holding(poser: Poser, figure: Figure, m: Measures, side: str) -> bool:
    """Place a hand that holds a pram, suitcase, umbrella or full bag; False for an empty hand."""
    sign = 1 if side == "left" else -1
    if figure.carry == "pram":
        poser.hand(side, PRAM_HANDLE * [1, sign, 1], np.array([-1.0, sign * 0.5, -0.6]))
    elif figure.carry == "suitcase" and side == "right":
        poser.hand(side, SUITCASE_HANDLE * m.height / 1.75, np.array([-1.0, -0.4, 0.0]))
    elif figure.carry == "umbrella" and side == "right":
        hand = np.array([0.16 * m.height, -0.1 * m.height, m.shoulder - 0.16 * m.height])
        poser.hand(side, hand, np.array([-0.6, -0.5, -1.0]))
    elif figure.carry == "shopping":
        poser.arm(side, 0.02, 0.1, out=0.14)
    else:
        return False
    return True


def standing(figure: Figure, skeleton: Skeleton, name: str) -> Pose:
    """Return one of the `STANDING` poses; who has a phone looks at it unless he talks."""
    m = Measures.of(figure)
    shift = {"relaxed": 0.0, "leaning": 0.022, "talking": -0.012}[name] * m.height
    stoop = 0.25 if figure.age == "elderly" else 0.02
    nod = 0.4 if figure.phone and name != "talking" else 0.02
    poser = Poser(skeleton, np.array([0.0, shift, m.hip - 0.012 * m.height]))
    poser.trunk(rotation("x", shift * 1.5), rotation("y", stoop) @ rotation("z", shift * 3), rotation("y", nod))
    for sign, side in zip((1, -1), SIDES):
        relaxed_knee = name == "leaning" and sign < 0
        ankle = np.array([0.045 * m.height if relaxed_knee else 0.0, sign * m.hip_half * 1.05, m.ankle])
        poser.leg(side, ankle, 0.0, np.array([1.0, sign * 0.3, 0.0]))
        if not _holding(poser, figure, m, side):
            _idle_arm(poser, figure, m, side, name)
    return poser.pose


def _idle_arm(poser: Poser, figure: Figure, m: Measures, side: str, name: str) -> None:
    h, sign = m.height, 1 if side == "left" else -1
    if name == "talking":
        reach = np.array([0.2 * h, sign * 0.1 * h, m.shoulder - (0.14 if sign > 0 else 0.2) * h])
        poser.hand(side, reach, np.array([-1.0, sign * 0.5, -1.0]))
    elif figure.phone and sign < 0:
        poser.hand(side, np.array([0.18 * h, -0.03 * h, m.shoulder - 0.1 * h]), np.array([-0.6, -0.7, -1.0]))
    elif name == "leaning" and sign > 0:
        poser.hand(side, np.array([0.05 * h, m.hip_half + 0.05 * h, m.hip + 0.01 * h]), np.array([-1.0, 0.6, 0.0]))
    else:
        poser.arm(side, 0.03, 0.18)

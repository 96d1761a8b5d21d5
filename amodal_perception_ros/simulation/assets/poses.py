"""Poses of people bone by bone, by inverse kinematics, and how they stand; see `gait` and `riders` for the others."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.belongings import PRAM_HANDLE, SUITCASE_HANDLE
from amodal_perception_ros.simulation.assets.figures import Figure, Measures
from amodal_perception_ros.simulation.assets.skeleton import SIDES, Pose, Skeleton

STANDING = ("relaxed", "leaning", "talking")
"""Names of the standing poses."""

_FORWARD = np.array([1.0, 0.0, 0.0])
REACH = 0.995
"""A leg or arm is never stretched beyond this share of its length."""


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
        distance = float(np.clip(np.linalg.norm(span), abs(first - second) + 0.01, (first + second) * REACH))
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


def hold(poser: Poser, figure: Figure, m: Measures, side: str) -> bool:
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
        if not hold(poser, figure, m, side):
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

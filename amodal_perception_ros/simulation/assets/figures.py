"""Who a simulated person is: age, size, clothing and belongings, drawn from section `people` of the distributions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from amodal_perception_ros.simulation.assets.skeleton import SIDES, Skeleton
from amodal_perception_ros.simulation.distributions import Distributions

SKIN_COLORS = np.array([(0.58, 0.37, 0.27), (0.5, 0.3, 0.2), (0.36, 0.21, 0.13), (0.2, 0.11, 0.07), (0.62, 0.42, 0.33)])
HAIR_COLORS = np.array(
    [(0.02, 0.015, 0.01), (0.07, 0.04, 0.02), (0.25, 0.16, 0.07), (0.12, 0.06, 0.03), (0.2, 0.07, 0.03)]
)
GREY_HAIR = np.array([(0.4, 0.39, 0.38), (0.55, 0.54, 0.52), (0.22, 0.21, 0.2)])
TOP_COLORS = np.array(
    [
        (0.4, 0.04, 0.05), (0.04, 0.07, 0.24), (0.05, 0.05, 0.055), (0.5, 0.45, 0.35), (0.07, 0.22, 0.13),
        (0.6, 0.6, 0.6), (0.32, 0.16, 0.33), (0.62, 0.45, 0.06), (0.12, 0.3, 0.45), (0.2, 0.13, 0.08),
        (0.5, 0.2, 0.08), (0.02, 0.025, 0.05), (0.3, 0.32, 0.34), (0.02, 0.02, 0.022), (0.7, 0.68, 0.62),
    ]
)  # fmt: skip
BOTTOM_COLORS = np.array(
    [
        (0.03, 0.05, 0.12), (0.06, 0.1, 0.2), (0.02, 0.02, 0.025), (0.3, 0.24, 0.16), (0.12, 0.12, 0.13),
        (0.16, 0.11, 0.07), (0.1, 0.17, 0.28), (0.5, 0.48, 0.42), (0.05, 0.08, 0.06), (0.04, 0.04, 0.05),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """Build, clothing and belongings of a person.

    Attributes:
        age: "child", "teenager", "adult" or "elderly".
        woman: the build is a woman's.
        height: body height [m].
        girth: width factor.
        top, bottom, pattern, hair, headwear, carry: names in the `choice` entries of section `people`; `carry` may
            also be "umbrella".
        phone: looks at a phone while standing.
        tint: (r, g, b) linear colour of the belongings.
    """

    age: str
    woman: bool
    height: float
    girth: float
    top: str
    bottom: str
    pattern: str
    hair: str
    headwear: str
    carry: str
    phone: bool
    tint: tuple[float, float, float]


def draw_figure(rng: np.random.Generator, distributions: Distributions, rain: bool = False) -> Figure:
    """Draw a pedestrian; in rain some carry an umbrella or wear a hood."""

    def draw(entry: str) -> str:
        return str(distributions.draw(rng, f"people.{entry}"))

    age, woman = draw("age"), distributions.draw(rng, "people.woman")
    height = _draw_height(rng, distributions, age, woman)
    girth = float(np.clip(distributions.draw(rng, "people.girth"), 0.8, 1.4))
    carry, headwear = draw("carry"), draw("headwear")
    if rain:
        carry = "umbrella" if distributions.draw(rng, "people.umbrella_in_rain") else carry
        headwear = "hood" if distributions.draw(rng, "people.hood_in_rain") else headwear
    bottom = draw("bottom_woman" if woman else "bottom_man")
    top = draw("top")
    if age in ("child", "teenager"):
        carry = "none" if carry in ("pram", "suitcase") else carry
        top = "sweater" if top in ("suit", "coat", "high_visibility") else top
    if bottom == "dress" and top not in ("jacket", "coat"):
        top = "shirt"
    tint = TOP_COLORS[rng.integers(len(TOP_COLORS))] * rng.uniform(0.6, 1.1)
    return Figure(age, woman, height, girth, top, bottom, draw("pattern"), draw("hair_woman" if woman else "hair_man"),
                  headwear, carry, bool(distributions.draw(rng, "people.phone")),
                  (float(tint[0]), float(tint[1]), float(tint[2])))  # fmt: skip


def draw_runner_figure(rng: np.random.Generator, distributions: Distributions, rain: bool) -> Figure:
    """Draw somebody who runs: not old, and with nothing in the hands."""
    figure = draw_figure(rng, distributions, rain)
    age = "adult" if figure.age == "elderly" else figure.age
    bottom = "shorts" if figure.bottom in ("skirt", "dress") else figure.bottom
    carry = figure.carry if figure.carry == "backpack" else "none"
    return replace(figure, age=age, bottom=bottom, carry=carry, phone=False)


def draw_rider_figure(rng: np.random.Generator, distributions: Distributions, motorcycle: bool, child: bool) -> Figure:
    """Draw a rider without belongings but a backpack; motorcyclists wear jackets and full helmets."""
    figure = draw_figure(rng, distributions)
    if child:
        age, height = "child", float(distributions.draw(rng, "people.height_child_rider"))
    else:
        age, height = "adult" if figure.age == "child" else figure.age, max(figure.height, 1.5)
    helmeted = motorcycle or distributions.draw(rng, "people.cyclist_helmet")
    headwear = "full_helmet" if motorcycle else "helmet" if helmeted else "none"
    backpack = "backpack" if distributions.draw(rng, "people.rider_backpack") else "none"
    bottom = "trousers" if motorcycle or figure.bottom in ("skirt", "dress") else figure.bottom
    top = "jacket" if motorcycle or figure.top == "coat" else figure.top
    return replace(figure, age=age, height=height, headwear=headwear, carry=backpack, bottom=bottom, top=top,
                   phone=False)  # fmt: skip


def _draw_height(rng: np.random.Generator, distributions: Distributions, age: str, woman: bool) -> float:
    if age in ("child", "teenager"):
        return float(distributions.draw(rng, f"people.height_{age}"))
    height = distributions.draw(rng, "people.height_woman" if woman else "people.height_man")
    return float(np.clip(height * (0.97 if age == "elderly" else 1.0), 1.45, 2.0))


def draw_palette(rng: np.random.Generator, elderly: bool = False) -> np.ndarray:
    """Draw (4, 3) linear colours: upper and lower clothing, skin, hair."""
    hair_colors = GREY_HAIR if elderly and rng.random() < 0.8 else HAIR_COLORS
    top = TOP_COLORS[rng.integers(len(TOP_COLORS))] * rng.uniform(0.7, 1.25)
    bottom = BOTTOM_COLORS[rng.integers(len(BOTTOM_COLORS))] * rng.uniform(0.7, 1.3)
    skin, hair = SKIN_COLORS[rng.integers(len(SKIN_COLORS))], hair_colors[rng.integers(len(hair_colors))]
    return np.clip(np.stack([top, bottom, skin, hair]), 0, 1)


@dataclass(frozen=True)
class Measures:
    """Heights and widths of a body [m], from the standing height and age.

    Children have larger heads and shorter legs; proportions after Winter, "Biomechanics and Motor Control of Human
    Movement", 4th edition, figure 4.1.

    Attributes:
        height: of the whole body; `girth` is the width factor.
        ankle, knee, hip, shoulder, chin: heights of joints.
        head: from chin to crown.
        hip_half, shoulder_half: half the distance between the joints.
        upper_arm, forearm: lengths; the hand comes on top.
    """

    height: float
    girth: float
    ankle: float
    knee: float
    hip: float
    shoulder: float
    chin: float
    head: float
    hip_half: float
    shoulder_half: float
    upper_arm: float
    forearm: float

    @staticmethod
    def of(figure: Figure) -> Measures:
        """Return the measures of a figure."""
        h, wide = figure.height, float(np.sqrt(figure.girth))
        young = float(np.clip((1.6 - h) / 0.7, 0, 1))
        head = 0.13 * h + 0.05 * max(1.75 - h, 0)
        hip, ankle = h * (0.525 - 0.05 * young), 0.046 * h
        return Measures(
            h, figure.girth, ankle, ankle + 0.505 * (hip - ankle), hip, h - head - 0.052 * h, h - head, head,
            0.052 * h * wide * (1.06 if figure.woman else 1.0),
            0.103 * h * wide * (0.9 if figure.woman else 1.0), 0.168 * h, 0.148 * h,
        )  # fmt: skip

    def skeleton(self) -> Skeleton:
        """Return the joints at rest: straight legs, arms hanging slightly outwards."""
        joints = {"ground": np.zeros(3), "pelvis": np.array([0, 0, self.hip]),
                  "chest": np.array([-0.01 * self.height, 0, self.hip + 0.1 * self.height]),
                  "head": np.array([-0.008 * self.height, 0, self.chin])}  # fmt: skip
        for sign, side in zip((1, -1), SIDES):
            hip, out = sign * self.hip_half, np.array([0, sign * 0.13, -1.0]) / np.hypot(0.13, 1)
            joints[f"thigh_{side}"] = np.array([0, hip, self.hip])
            joints[f"shin_{side}"] = np.array([0, hip, self.knee])
            joints[f"foot_{side}"] = np.array([0, hip, self.ankle])
            shoulder = np.array([-0.008 * self.height, sign * self.shoulder_half, self.shoulder])
            joints[f"upper_{side}"] = shoulder
            joints[f"fore_{side}"] = shoulder + out * self.upper_arm
            joints[f"carried_{side}"] = shoulder + out * (self.upper_arm + self.forearm + 0.045 * self.height)
        return Skeleton(joints)

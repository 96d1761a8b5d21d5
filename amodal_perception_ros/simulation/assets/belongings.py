"""What people carry: bags, suitcases, umbrellas, prams. Bound to the bones that hold them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from amodal_perception_ros.simulation.assets.figures import Figure, Measures
from amodal_perception_ros.simulation.assets.meshes import (
    Kind,
    Material,
    box,
    cylinder,
    ellipsoid,
    moved,
    revolve,
    rounded_box,
    tube,
)
from amodal_perception_ros.simulation.assets.skeleton import BodyBuilder, rigid

DARK = Material((0.03, 0.03, 0.032), 0.7)
METAL = Material((0.3, 0.3, 0.31), 0.4)

PRAM_HANDLE = np.array([0.42, 0.22, 0.98])
"""Left hand on a pram, for any walker [m]; the right one is its mirror image."""
SUITCASE_HANDLE = np.array([-0.16, -0.3, 0.74])
"""Right hand on a trolley suitcase for a person of 1.75 m [m]; scales with height."""


def add_belongings(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    """Add what `figure.carry` names."""
    adders = {"backpack": _backpack, "handbag": _handbag, "shopping": _shopping, "suitcase": _suitcase,
              "umbrella": _umbrella, "pram": _pram}  # fmt: skip
    if figure.carry in adders:
        adders[figure.carry](builder, figure, m)
    if figure.phone and figure.carry in ("none", "backpack"):
        wrist = builder.skeleton.joints["carried_right"]
        center = wrist + np.array([0.03 * m.height, 0, -0.01 * m.height])
        builder.add(box(center, (0.012, 0.075, 0.15)), Material((0.02, 0.02, 0.025), 0.2), rigid("fore_right"))


def _tinted(figure: Figure) -> Material:
    return Material(figure.tint, 0.85, Kind.PLAIN)


def _backpack(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    h = m.height
    center = (-0.105 * h * np.sqrt(m.girth) - 0.01 * h, 0, m.shoulder - 0.12 * h)
    builder.add(rounded_box(center, (0.09 * h, 0.16 * h, 0.25 * h), 0.03 * h, 1), _tinted(figure), rigid("chest"))
    pocket = box((center[0] - 0.045 * h, 0, center[2] - 0.05 * h), (0.05 * h, 0.12 * h, 0.1 * h))
    builder.add(pocket, DARK, rigid("chest"))
    for sign in (1, -1):
        corners = [(0.072, 0.055, -0.13), (0.045, 0.06, 0.0), (-0.02, 0.06, 0.03)]
        points = [np.array([x * h, sign * y * h, m.shoulder + z * h]) for x, y, z in corners]
        for start, end in pairwise(points):
            builder.add(tube(start, end, 0.014 * h, 4), DARK, rigid("chest"))


def _handbag(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    h, y = m.height, -(m.shoulder_half + 0.045 * m.height)
    builder.add(rounded_box((-0.01 * h, y, m.hip + 0.02 * h), (0.16 * h, 0.055 * h, 0.11 * h), 0.015 * h),
                _tinted(figure), rigid("pelvis"))  # fmt: skip
    builder.add(tube((0.02 * h, y, m.hip + 0.07 * h), (-0.005 * h, -0.55 * m.shoulder_half, m.shoulder + 0.03 * h),
                     0.006 * h, 4), DARK, rigid("chest"))  # fmt: skip


def _shopping(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    """One or two bags that hang from the hands."""
    sides = ("left", "right") if figure.girth > 1.0 else ("left",)
    for side in sides:
        hand = builder.skeleton.joints[f"carried_{side}"] - [0, 0, 0.02 * m.height]
        tall = min(0.36, float(hand[2]) - 0.14)
        bag = box(hand - [0, 0, 0.12 + tall / 2], (0.3, 0.13, tall))
        builder.add(bag, _tinted(figure), rigid(f"carried_{side}"))
        for dx in (-0.08, 0.08):
            builder.add(tube(hand, hand + np.array([dx, 0, -0.12]), 0.006, 3), DARK, rigid(f"carried_{side}"))


def _suitcase(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    """A trolley suitcase that is pulled, tilted, its wheels on the ground."""
    hand, ground = SUITCASE_HANDLE * m.height / 1.75, rigid("ground")
    wheel = np.array([hand[0] - 0.5, hand[1], 0.05])
    axis = (hand - wheel) / np.linalg.norm(hand - wheel)
    vertices, faces, uv = rounded_box((0, 0, 0), (0.6, 0.4, 0.24), 0.05, 1)
    other = np.array([-axis[2], 0, axis[0]])
    turned = vertices[:, :1] * axis + vertices[:, 1:2] * np.array([0, 1.0, 0]) + vertices[:, 2:] * other
    builder.add((turned + wheel + 0.33 * axis + 0.06 * other, faces, uv), _tinted(figure), ground)
    for dy in (-0.1, 0.1):
        side = np.array([0, dy, 0])
        builder.add(tube(wheel + 0.6 * axis + side, hand + side, 0.009, 4), METAL, ground)
        builder.add(moved(cylinder(0.045, 0.03, 6, "y"), wheel + 1.4 * side), DARK, ground)
    builder.add(tube(hand - [0, 0.11, 0], hand + np.array([0, 0.11, 0]), 0.014, 3), DARK, ground)


def _umbrella(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    h, hand, upright = m.height, builder.skeleton.joints["carried_right"], rigid("carried_right")
    top = hand + np.array([0, 0, 0.42 * h])
    builder.add(tube(hand - [0, 0, 0.08], top, 0.009, 4), METAL, upright)
    wide = min(1.0, m.height / 1.6)
    profile = [(0.0, 0.0), (0.22 * wide, -0.03), (0.4 * wide, -0.1), (0.52 * wide, -0.21)]
    vertices, faces, uv = revolve(profile, 10)
    inward = np.array([-0.02, 0.12, 0.02])
    builder.add((vertices + top + inward, faces[:, ::-1], uv), _tinted(figure), upright)


def _pram(builder: BodyBuilder, figure: Figure, m: Measures) -> None:
    """Pushed in front; its handle is at `PRAM_HANDLE`."""
    ground, handle = rigid("ground"), PRAM_HANDLE
    for y in (-0.24, 0.24):
        for x, radius in ((0.62, 0.11), (1.12, 0.09)):
            builder.add(moved(cylinder(radius, 0.04, 9, "y"), (x, y, radius)), DARK, ground)
        side = np.array([0, y, 0])
        builder.add(
            tube(np.array([1.12, 0, 0.12]) + side, np.array([handle[0], 0, handle[2]]) + side, 0.014, 3), METAL, ground
        )
        builder.add(tube(np.array([0.62, 0, 0.13]) + side, np.array([0.95, 0, 0.55]) + side, 0.014, 3), METAL, ground)
    builder.add(tube((handle[0], -0.25, handle[2]), (handle[0], 0.25, handle[2]), 0.016, 3), DARK, ground)
    builder.add(rounded_box((0.9, 0, 0.62), (0.72, 0.4, 0.24), 0.07, 1), _tinted(figure), ground)
    builder.add(ellipsoid((1.08, 0, 0.74), (0.26, 0.21, 0.26), 7, 4), _tinted(figure), ground)
    builder.add(ellipsoid((0.84, 0, 0.74), (0.22, 0.16, 0.07), 6, 4), Material((0.55, 0.5, 0.45), 0.95), ground)


def room_for(figure: Figure) -> float | None:
    """Return how far ahead (or behind, if negative) belongings on wheels reach from the person [m]; None without."""
    return {"pram": 0.85, "suitcase": -0.6}.get(figure.carry)

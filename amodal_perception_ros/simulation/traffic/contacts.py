"""Where things and obstacles touch the ground and keep the light of the sky from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amodal_perception_ros.simulation.traffic.things import BIKE, PERSON, RIDER, Thing

_OUTLINE = 0.65
"""Strength of the shadow along walls, poles and hedges."""


def contacts_of_things(things: Sequence[Thing], index: int) -> np.ndarray:
    """Return (n, 7) x, y, cos yaw, sin yaw, half length, half width [m], strength 0..1 of things at a frame."""
    rows = []
    for thing in things:
        x, y, _, yaw = thing.poses[index]
        size = 0.5 * (thing.high - thing.low)
        strength = 0.55 if thing.class_id in (PERSON, RIDER, BIKE) else 0.95
        rows.append((x, y, np.cos(yaw), np.sin(yaw), size[0] * 0.92, size[1] * 0.85, strength))
    return np.array(rows, float).reshape(-1, 7)


def contacts_of_outlines(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n, 7) as above: one row per edge of the (k, 2) outlines [m] of static obstacles."""
    if not outlines:
        return np.zeros((0, 7))
    start = np.concatenate(list(outlines))
    end = np.concatenate([np.roll(corners, -1, 0) for corners in outlines])
    length = np.maximum(np.hypot(*(end - start).T), 1e-9)
    along = (end - start) / length[:, None]
    wide, strength = np.full(len(start), 0.05), np.full(len(start), _OUTLINE)
    return np.column_stack([0.5 * (start + end), along, 0.5 * length, wide, strength])

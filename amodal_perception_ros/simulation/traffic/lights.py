"""The lamps that light a frame: street lamps, headlights and tail lights."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.traffic.things import BIKE, RIDER, Thing
from amodal_perception_ros.simulation.weather import Weather

REACH = 95.0
"""Street lamps farther than this from the ego vehicle light nothing that is seen [m]."""

STREET_LAMP, HEADLIGHT, TAIL_LIGHT = 34.0, 120.0, 2.5
"""Powers; the colour of the light follows from them."""

NEAREST = 10
"""Vehicles whose lights light what is around them."""


def lamps_around(street_lamps: np.ndarray, weather: Weather, things: list[Thing], ego: np.ndarray, index: int
                 ) -> np.ndarray:  # fmt: skip
    """Return the lamps of a frame.

    Args:
        street_lamps: (n, 3) positions in odom [m].
        weather: without lamps nothing is lit.
        things: everything movable in reach.
        ego: (4,) x, y, z [m] and yaw [rad] of the ego vehicle, whose headlights are lit too.
        index: frame.

    Returns:
        (m, 8) x, y, z, power, direction of the beam, cosine of its half angle (-1: all around).
    """
    if not weather.lamps:
        return np.zeros((0, 8))
    near = street_lamps[np.hypot(*(street_lamps[:, :2] - ego[:2]).T) < REACH]
    out = [(*lamp, STREET_LAMP, 0.0, 0.0, -1.0, 0.25) for lamp in near]
    out += _beams(ego, 2.2, HEADLIGHT, 1)
    lit = [t for t in things if t.lights and t.class_id not in (RIDER, BIKE)]
    lit.sort(key=lambda t: float(np.hypot(*(t.poses[index, :2] - ego[:2]))))
    for thing in lit[:NEAREST]:
        out += _beams(thing.poses[index], float(thing.high[0]) + 0.1, HEADLIGHT, 1)
        out += _beams(thing.poses[index], float(thing.low[0]) - 0.1, TAIL_LIGHT, -1)
    return np.array(out)


def _beams(pose: np.ndarray, forward: float, power: float, direction: int) -> list[tuple[float, ...]]:
    """A pair of lamps at the front (direction 1) or the back (-1) of a vehicle."""
    x, y, z, yaw = pose
    c, s = float(np.cos(yaw)), float(np.sin(yaw))
    axis = (0.99 * direction * c, 0.99 * direction * s, -0.05)
    half_angle = 0.85 if direction > 0 else 0.0
    return [(x + c * forward - s * side, y + s * forward + c * side, z + 0.7, power, *axis, half_angle)
            for side in (-0.6, 0.6)]  # fmt: skip

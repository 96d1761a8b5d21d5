"""Colours of vehicles, drawn from the section `vehicles` of the distributions.

All kinds draw from the same paints, so that a colour does not give away the class.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import PALETTE_SIZE
from amodal_perception_ros.simulation.distributions import Distributions

PAINTS: dict[str, tuple[float, float, float]] = {
    "silver": (0.62, 0.62, 0.62), "white": (0.78, 0.77, 0.74), "black": (0.03, 0.03, 0.034), "grey": (0.24, 0.25, 0.27),
    "anthracite": (0.1, 0.105, 0.115), "red": (0.45, 0.02, 0.025), "blue": (0.02, 0.07, 0.3),
    "steel_blue": (0.05, 0.16, 0.33), "dark_green": (0.03, 0.13, 0.08), "green": (0.1, 0.33, 0.17),
    "orange": (0.5, 0.26, 0.03), "beige": (0.34, 0.29, 0.2), "yellow": (0.6, 0.45, 0.05),
    "burgundy": (0.16, 0.03, 0.06), "ice_blue": (0.27, 0.36, 0.42),
}  # fmt: skip
"""Linear RGB albedo of the paints of the entry `vehicles.paint`."""

BRIGHTEST = 0.9
"""Highest albedo of a paint."""


def draw_livery(rng: np.random.Generator, distributions: Distributions, kind: str) -> np.ndarray:
    """Draw the palette of a vehicle.

    Args:
        rng: source of the randomness.
        distributions: its section `vehicles` is used.
        kind: "car", "truck", "bus", "bike" or "motorcycle"; the entry `second_<kind>` says what the second colour is.

    Returns:
        (PALETTE_SIZE, 3) linear RGB: main paint, second colour (load body, skirt, roof or box), grey.
    """
    main = _paint(rng, distributions)
    second = {
        "paint": lambda: main,
        "light": lambda: np.array(PAINTS["white"]) * rng.uniform(0.85, 1.05),
        "dark": lambda: np.array(PAINTS["black"]),
        "shade": lambda: main * 0.5,
        "other": lambda: _paint(rng, distributions),
    }[distributions.draw(rng, f"vehicles.second_{kind}")]()
    palette = np.full((PALETTE_SIZE, 3), 0.3)
    palette[:2] = np.clip([main, second], 0, BRIGHTEST)
    return palette


def _paint(rng: np.random.Generator, distributions: Distributions) -> np.ndarray:
    name = distributions.draw(rng, "vehicles.paint")
    return np.array(PAINTS[name]) * distributions.draw(rng, "vehicles.paint_brightness")

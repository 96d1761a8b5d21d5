"""Draws the entries of the distributions that shape a town, and refuses values that no town can be built from."""

from __future__ import annotations

from typing import Any

import numpy as np

from amodal_perception_ros.simulation.assets.props import PROPS
from amodal_perception_ros.simulation.config import LAYOUTS
from amodal_perception_ros.simulation.distributions import Distributions

LIMITS: dict[str, tuple[float, float]] = {
    "layout.crossing_angle": (50, 130),
    "layout.roundabout_arms": (2, 5),
    "layout.roundabout_radius": (11, 45),
    "layout.roundabout_lane": (3.5, 9),
    "layout.lot_length": (34, 150),
    "layout.lot_aisles": (1, 4),
    "layout.lot_bays_per_island": (2, 1000),
    "layout.lot_building_depth": (10, 60),
    "street.lane_width": (2.4, 5),
    "street.bike_lane_width": (1, 4),
    "street.sidewalk": (1.4, 12),
    "street.speed_limit": (1, 40),
    "street.parking_along": (2.0, 3.5),
    "street.parking_across": (4.8, 7),
    "street.parking_long": (2.6, 4.5),
    "street.zebras": (0, 6),
    "street.corner_radius": (2, 14),
    "street.bend_length": (15, 250),
    "street.bend_radius": (18, 100000),
    "street.between_bends": (0, 1000),
    "street.green_main": (6, 300),
    "street.green_side": (6, 300),
    "town.plot_width": (6, 200),
    "town.setback": (0.2, 40),
    "town.yard_props": (0, 60),
    "town.lamp_spacing": (5, 1000),
    "town.lamp_height": (3, 20),
    "town.tree_spacing": (3, 1000),
    "town.prop_spacing": (2, 1000),
    "town.island_trees": (0, 60),
    "town.group_spacing": (2, 1000),
}
"""Lowest and highest values that work."""


_ENCLOSURES = ("hedge", "fence", "wall")
CHOICES: dict[str, tuple[str, ...]] = {
    "layout.kind": LAYOUTS,
    "street.parking": ("none", "along", "across", "long"),
    "town.plot": ("house", "park", "yard", *_ENCLOSURES),
    "town.garden_front": ("open", *_ENCLOSURES),
    "town.yard_front": ("open", *_ENCLOSURES),
    "town.kerb_prop": ("bush", *PROPS),
    "town.yard_prop": tuple(PROPS),
    "town.strip_prop_kind": tuple(PROPS),
}
"""Names that entries may give."""


class Pen:
    """Draws for one zone: the entry `name_zone` where there is one, else `name`."""

    def __init__(self, entries: Distributions, rng: np.random.Generator, zone: str) -> None:
        self.entries, self.rng, self.zone = entries, rng, zone

    def __call__(self, entry: str) -> Any:
        """Return a value of an entry.

        Raises:
            ValueError: the value is outside `LIMITS` or not among `CHOICES`.
        """
        special = f"{entry}_{self.zone}"
        name = special if special in self.entries else entry
        value = self.entries.draw(self.rng, name)
        low, high = LIMITS.get(entry, (-np.inf, np.inf))
        if entry in LIMITS and not low <= value <= high:
            raise ValueError(f"distributions: '{name}' gave {value:g}; a town needs {low:g} to {high:g}")
        if entry in CHOICES and value not in CHOICES[entry]:
            raise ValueError(f"distributions: '{name}' gave '{value}'; there are {', '.join(CHOICES[entry])}")
        return value

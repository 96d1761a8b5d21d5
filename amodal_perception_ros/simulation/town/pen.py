"""Draws the entries of the distributions that shape a town, each as its zone has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from amodal_perception_ros.simulation.distributions import Distributions


class Pen:
    """Draws for one zone: the entry `name_zone` where there is one, else `name`."""

    def __init__(self, entries: Distributions, rng: np.random.Generator, zone: str) -> None:
        self.entries, self.rng, self.zone = entries, rng, zone

    def __call__(self, entry: str) -> Any:
        """Return a value of an entry."""
        special = f"{entry}_{self.zone}"
        return self.entries.draw(self.rng, special if special in self.entries else entry)

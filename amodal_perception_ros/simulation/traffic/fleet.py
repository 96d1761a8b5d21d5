"""The models that the things of a sequence share, and their colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.assets import bikes, buses, cars, motorcycles, trucks
from amodal_perception_ros.simulation.assets.figures import draw_palette
from amodal_perception_ros.simulation.assets.liveries import draw_livery
from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.assets.riders import draw_rider
from amodal_perception_ros.simulation.distributions import Distributions

PERSON, RIDER, CAR = BY_NAME["person"].id, BY_NAME["rider"].id, BY_NAME["car"].id
BIKE, MOTORCYCLE = BY_NAME["bike"].id, BY_NAME["motorcycle"].id
TRUCK, BUS = BY_NAME["truck"].id, BY_NAME["bus"].id

CLASSES = {"car": CAR, "truck": TRUCK, "bus": BUS, "bike": BIKE, "motorcycle": MOTORCYCLE}

_TALL, _SHORT = 1.9, 9.0
"""Vans and trucks for delivery are higher and shorter than this [m]."""

Look = tuple[int, tuple[Model, ...], np.ndarray]
"""Class id, models and palette of a thing."""


@dataclass(eq=False)
class Fleet:
    """The models of a sequence; every thing takes one of them and an own palette.

    Attributes:
        vehicles: per kind ("car", "truck", "bus", "bike", "motorcycle") its models.
        riders: for "bike" and "motorcycle" who rides each of them, as poses of one body.
        distributions: for the colours.
    """

    vehicles: dict[str, list[Model]]
    riders: dict[str, list[tuple[Model, ...]]]
    distributions: Distributions

    def widest(self, kinds: Sequence[str]) -> float:
        """Width of the broadest vehicle of some kinds [m]."""
        return max(float(model.high[1] - model.low[1]) for kind in kinds for model in self.vehicles[kind])

    def parked(self, rng: np.random.Generator, kind: str) -> Look:
        """Draw a vehicle without a rider."""
        models = self.vehicles[kind]
        return CLASSES[kind], (models[int(rng.integers(len(models)))],), draw_livery(rng, self.distributions, kind)

    def delivery(self, rng: np.random.Generator) -> Look:
        """Draw a vehicle that delivers: a van or a short truck, any truck where there is none."""
        every = [(kind, model) for kind in ("car", "truck") for model in self.vehicles[kind]]
        short = [
            (kind, model)
            for kind, model in every
            if model.high[2] > _TALL and np.ptp((model.low[0], model.high[0])) < _SHORT
        ]
        chosen = short or [(kind, model) for kind, model in every if kind == "truck"]
        kind, model = chosen[int(rng.integers(len(chosen)))]
        return CLASSES[kind], (model,), draw_livery(rng, self.distributions, kind)

    def pick(self, rng: np.random.Generator, kind: str) -> list[Look]:
        """Draw a vehicle, and with two wheels its rider."""
        k = int(rng.integers(len(self.vehicles[kind])))
        out: list[Look] = [(CLASSES[kind], (self.vehicles[kind][k],), draw_livery(rng, self.distributions, kind))]
        if kind in self.riders:
            out.append((RIDER, self.riders[kind][k], draw_palette(rng)))
        return out


_BUILDERS: dict[str, tuple[Sequence[str], Callable[[np.random.Generator, str], Model]]] = {
    "car": (cars.CAR_SHAPES, cars.build_car),
    "truck": (trucks.TRUCK_SHAPES, trucks.build_truck),
    "bus": (buses.BUS_SHAPES, buses.build_bus),
    "bike": (bikes.BIKE_SHAPES, bikes.build_bike),
    "motorcycle": (motorcycles.MOTORCYCLE_SHAPES, motorcycles.build_motorcycle),
}


def build_fleet(rng: np.random.Generator, distributions: Distributions) -> Fleet:
    """Build the models of one sequence: numbers and shapes of every kind follow the section `fleet`."""
    chosen = {kind: _draw_shapes(rng, distributions, kind) for kind in _BUILDERS}
    models = {kind: [_BUILDERS[kind][1](rng, shape) for shape in shapes] for kind, shapes in chosen.items()}
    return Fleet(
        vehicles=models,
        riders={
            kind: [draw_rider(rng, distributions, mounts[shape]) for shape in chosen[kind]]
            for kind, mounts in (("bike", bikes.BIKE_MOUNTS), ("motorcycle", motorcycles.MOTORCYCLE_MOUNTS))
        },
        distributions=distributions,
    )


def _draw_shapes(rng: np.random.Generator, distributions: Distributions, kind: str) -> list[str]:
    """Draw different shapes of a kind by their weights, as many as wanted or as have a weight."""
    weights = distributions.weights(f"fleet.{kind}")
    known = [shape for shape in _BUILDERS[kind][0] if weights.get(shape, 0) > 0]
    share = np.array([weights[shape] for shape in known])
    count = min(int(distributions.draw(rng, f"fleet.{kind}_models")), len(known))
    return [known[k] for k in rng.choice(len(known), count, replace=False, p=share / share.sum())]

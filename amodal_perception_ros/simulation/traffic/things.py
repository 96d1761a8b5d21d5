"""The movable objects of a sequence, each with its models, look and trajectory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from amodal_perception_ros.labels import MAX_INSTANCE_NUMBER, segment_id
from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.distributions import Distributions
from amodal_perception_ros.simulation.town.town import Town
from amodal_perception_ros.simulation.traffic.fleet import BIKE, BUS, CAR, MOTORCYCLE, PERSON, RIDER, TRUCK, Fleet

__all__ = [
    "BIKE", "BUS", "CAR", "MOTORCYCLE", "PERSON", "RIDER", "TRUCK", "Gap", "Population", "Thing",
]  # fmt: skip


@dataclass(eq=False)
class Thing:
    """One movable object over a whole sequence.

    Attributes:
        class_id: Cityscapes id.
        track_id: 1..999, unique in the sequence.
        models: its poses; a rigid object has one.
        palette: (4, 3) linear RGB colours of slots 1..4.
        poses: (frames + 1, 4) x, y, z, yaw in odom [m, rad]; the last row is the instant after the last frame.
        velocity: (frames + 1, 3) [m/s] in odom.
        phase: (frames + 1,) index into `models`.
        lights: head and tail lights are lit (in the dark).
        driven: somebody drives or rides it, or it is the rider.
    """

    class_id: int
    track_id: int
    models: tuple[Model, ...]
    palette: np.ndarray
    poses: np.ndarray
    velocity: np.ndarray
    phase: np.ndarray
    lights: bool = False
    driven: bool = False
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.low = np.min([model.low for model in self.models], 0)
        self.high = np.max([model.high for model in self.models], 0)

    @property
    def segment(self) -> int:
        """Segment id `class * 1000 + track`, the thing's instance id in every camera."""
        return segment_id(self.class_id, self.track_id)

    def model(self, frame: int) -> Model:
        """Return the mesh at a frame."""
        return self.models[int(self.phase[frame])]

    def matrix(self, frame: int) -> np.ndarray:
        """Return the (4, 4) odom_from_model transform at a frame."""
        x, y, z, yaw = self.poses[frame]
        c, s = np.cos(yaw), np.sin(yaw)
        return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Gap:
    """A gap between two parked neighbours, through which people step out onto the carriageway.

    Attributes:
        x, y: its middle in odom [m].
        heading: direction through the gap towards the carriageway, the unit vector (cos, sin) [rad].
        half: way from the middle to where the vehicles end on the carriageway's side [m]; the same to the other side.
    """

    x: float
    y: float
    heading: float
    half: float


class Population:
    """Collects the things of a sequence and gives out track ids.

    Attributes:
        config, town, fleet, rng: of the sequence.
        rows: of every trajectory, one more than there are frames.
        things: in the order of their track ids.
    """

    def __init__(self, config: SequenceConfig, town: Town, fleet: Fleet, rng: np.random.Generator) -> None:
        self.config, self.town, self.fleet, self.rng = config, town, fleet, rng
        self.rows = config.frames + 1
        self.things: list[Thing] = []

    @property
    def distributions(self) -> Distributions:
        """The random distributions of the sequence."""
        return self.config.distributions

    def draw(self, entry: str) -> Any:
        """Draw a value of an entry of the distributions."""
        return self.distributions.draw(self.rng, entry)

    def add(self, class_id: int, models: tuple[Model, ...], palette: np.ndarray,
            pose: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)) -> Thing | None:  # fmt: skip
        """Add a thing standing at (x, y, z, yaw); None when the sequence has no track id left."""
        number = 1 + max((thing.track_id for thing in self.things), default=0)
        if number > MAX_INSTANCE_NUMBER:
            return None
        poses = np.tile(np.array(pose, float), (self.rows, 1))
        thing = Thing(class_id, number, models, palette, poses, np.zeros((self.rows, 3)),
                      np.zeros(self.rows, np.int64))  # fmt: skip
        self.things.append(thing)
        return thing

    def is_clear(self, point: np.ndarray, radius: float) -> bool:
        """Whether no thing stands within `radius` [m] of an odom position at the first frame."""
        if not self.things:
            return True
        places = np.array([thing.poses[0, :2] for thing in self.things])
        return bool(np.hypot(*(places - point).T).min() > radius)

"""The movable objects of a sequence, each with its models, look and trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from amodal_perception_ros.labels import MAX_INSTANCE_NUMBER, segment_id
from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.distributions import Distributions
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.town.town import Town
from amodal_perception_ros.simulation.traffic.fleet import (
    BIKE,
    BUS,
    CAR,
    MOTORCYCLE,
    PERSON,
    RIDER,
    TRUCK,
    Fleet,
    Look,
)

__all__ = [
    "BIKE", "BUS", "CAR", "MOTORCYCLE", "PERSON", "REACH", "RIDER", "TRUCK", "Gap", "Population", "Thing",
    "pose_matrix",
]  # fmt: skip

REACH = 80.0
"""Things farther than this from the ego vehicle are neither drawn nor annotated [m]."""


@dataclass(eq=False)
class Thing:
    """One movable object over a whole sequence.

    Attributes:
        class_id: Cityscapes id.
        track_id: 1..999, unique in the sequence.
        models: its poses; a rigid object has one.
        palette: (4, 3) linear RGB colours of slots 1..4.
        poses: (frames + 1, 4) x, y, z, yaw in odom [m, rad]; the last row is the instant after the last frame.
        velocity: (frames + 1, 3) mean velocity up to the next row, in the last row that of the one before [m/s].
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
        return pose_matrix(self.poses[frame])

    def ground_boxes(self) -> np.ndarray:
        """Return the (frames + 1, 5) ground rectangles of its bounding box: x, y, yaw, length, width [m, rad]."""
        middle, size = 0.5 * (self.low + self.high)[:2], (self.high - self.low)[:2]
        x, y, _, yaw = self.poses.T
        c, s = np.cos(yaw), np.sin(yaw)
        places = x + c * middle[0] - s * middle[1], y + s * middle[0] + c * middle[1]
        return np.column_stack([*places, yaw, np.tile(size, (len(yaw), 1))])

    def item(self, frame: int) -> Item:
        """Return what is drawn of it at a frame, `frames - 1` at most."""
        return Item(
            self.model(frame), self.matrix(frame), self.palette, self.segment, self.lights,
            look=(self.track_id * 0.6180339887) % 1.0, next_matrix=self.matrix(frame + 1),
            next_model=self.model(frame + 1),
        )  # fmt: skip


def pose_matrix(pose: np.ndarray) -> np.ndarray:
    """Return the (4, 4) transform to odom of a pose x, y, z, yaw [m, rad]."""
    x, y, z, yaw = pose
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
        refused: number of things for which no track id was left.
    """

    def __init__(self, config: SequenceConfig, town: Town, fleet: Fleet, rng: np.random.Generator) -> None:
        self.config, self.town, self.fleet, self.rng = config, town, fleet, rng
        self.rows = config.frames + 1
        self.things: list[Thing] = []
        self.refused = 0

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
        added = self.add_together([(class_id, models, palette)], pose)
        return added[0] if added else None

    def add_together(self, looks: Sequence[Look], pose: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
                     ) -> tuple[Thing, ...]:  # fmt: skip
        """Add things that belong together, as a rider and what he rides; none when there are not track ids for all."""
        first = 1 + max((thing.track_id for thing in self.things), default=0)
        if first + len(looks) - 1 > MAX_INSTANCE_NUMBER:
            self.refused += len(looks)
            return ()
        added = tuple(self._standing(first + k, look, pose) for k, look in enumerate(looks))
        self.things += added
        return added

    def _standing(self, track_id: int, look: Look, pose: tuple[float, float, float, float]) -> Thing:
        class_id, models, palette = look
        poses = np.tile(np.array(pose, float), (self.rows, 1))
        return Thing(class_id, track_id, models, palette, poses, np.zeros((self.rows, 3)),
                     np.zeros(self.rows, np.int64))  # fmt: skip

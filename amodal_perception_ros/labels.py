"""The 18 classes of AmodalSynthDrive (11 stuff, 7 things), their ids and colours.

Two numbers name a class. `Label.id` is the Cityscapes id: it is what files and messages carry
(`segment = id * 1000 + instance`). `Label.index` is the contiguous 0..17 number that the network predicts:
stuff first (0..10), then things (11..17).
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

UNLABELLED = 0
"""Segment id and class id of a pixel or object without a class."""

SEGMENT_FACTOR = 1000
"""A segment id is `class id * SEGMENT_FACTOR + instance number`; stuff has instance number 0."""

MAX_INSTANCE_NUMBER = SEGMENT_FACTOR - 1

MAX_CLASSES = 254
"""Images hold class indices as bytes, of which two more stand for void and unknown."""


@dataclass(frozen=True)
class Label:
    """One class: Cityscapes `id`, contiguous `index`, `name`, RGB `color` (0..255) and thing/stuff."""

    id: int
    index: int
    name: str
    color: tuple[int, int, int]
    is_thing: bool


_STUFF = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
)
_THINGS = (
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (33, "bike", (119, 11, 32)),
    (32, "motorcycle", (0, 0, 230)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
)

LABELS: tuple[Label, ...] = tuple(
    Label(id_, index, name, color, index >= len(_STUFF)) for index, (id_, name, color) in enumerate(_STUFF + _THINGS)
)
STUFF: tuple[Label, ...] = tuple(label for label in LABELS if not label.is_thing)
THINGS: tuple[Label, ...] = tuple(label for label in LABELS if label.is_thing)


@dataclass(frozen=True)
class ClassList:
    """The classes of one data set, stuff first, so that `labels[i].index == i`.

    Everything that is annotated or predicted in a data set of its own classes carries its list; the network and the
    messages speak `AMODAL_SYNTH_DRIVE`.
    """

    name: str
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if [label.index for label in self.labels] != list(range(len(self.labels))):
            raise ValueError(f"classes of {self.name}: the indices must count from 0")
        if any(a.is_thing and not b.is_thing for a, b in zip(self.labels, self.labels[1:])):
            raise ValueError(f"classes of {self.name}: stuff comes before things")
        if len(self.by_id) != len(self.labels) or UNLABELLED in self.by_id:
            raise ValueError(f"classes of {self.name}: ids must be unique and not {UNLABELLED}")
        if len(self.labels) > MAX_CLASSES:
            raise ValueError(f"classes of {self.name}: {len(self.labels)}, but at most {MAX_CLASSES} can be told apart")
        names = [label.name for label in self.labels]
        if len(set(names)) < len(names) or not all(name and name.isprintable() for name in names):
            raise ValueError(f"classes of {self.name}: names must be unique and printable")

    @classmethod
    def of(cls, name: str, stuff: Mapping[int, str], things: Mapping[int, str]) -> ClassList:
        """Return a list of classes given as id -> name, with colours of evenly spread hues."""
        items = [(*item, False) for item in stuff.items()] + [(*item, True) for item in things.items()]
        hues = (index * 0.618034 % 1.0 for index in range(len(items)))
        colors = (tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.7, 0.9)) for hue in hues)
        return cls(
            name,
            tuple(
                Label(id_, index, label, (red, green, blue), is_thing)
                for index, ((id_, label, is_thing), (red, green, blue)) in enumerate(zip(items, colors))
            ),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def by_id(self) -> dict[int, Label]:
        """Class id -> class."""
        return {label.id: label for label in self.labels}

    @cached_property
    def stuff_count(self) -> int:
        """Number of stuff classes: indices below it are stuff, the others things."""
        return sum(not label.is_thing for label in self.labels)

    def indices(self, class_ids: Iterable[int]) -> np.ndarray:
        """Return the (n,) int64 indices of n class ids; raises KeyError for one that is not in the list."""
        return np.array([self.by_id[class_id].index for class_id in class_ids], np.int64)

    @property
    def void(self) -> int:
        """Index that stands for unlabelled ground."""
        return len(self.labels)


AMODAL_SYNTH_DRIVE = ClassList("AmodalSynthDrive", LABELS)

BY_ID: dict[int, Label] = {label.id: label for label in LABELS}
BY_NAME: dict[str, Label] = {label.name: label for label in LABELS}


def segment_id(class_id: int, instance_number: int = 0) -> int:
    """Return the uint16 segment id of a class and instance number.

    Raises:
        ValueError: the class is unknown, or the number does not fit its kind (stuff 0, things 1..999).
    """
    label = BY_ID.get(class_id)
    if label is None:
        raise ValueError(f"unknown class id {class_id}; known ids: {sorted(BY_ID)}")
    low, high = (1, MAX_INSTANCE_NUMBER) if label.is_thing else (0, 0)
    if not low <= instance_number <= high:
        raise ValueError(f"instance number {instance_number} of {label.name} must be in {low}..{high}")
    return class_id * SEGMENT_FACTOR + instance_number


def color_table() -> np.ndarray:
    """Return a (256, 3) uint8 RGB table indexed by class id; unknown ids are black."""
    table = np.zeros((256, 3), np.uint8)
    for label in LABELS:
        table[label.id] = label.color
    return table

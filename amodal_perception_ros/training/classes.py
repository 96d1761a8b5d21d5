"""Which class of the network a class of another data set is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from amodal_perception_ros.labels import STUFF, THINGS, ClassList

_SAME = {
    "bicycle": "bike",
    "cyclist": "rider",
    "motorbike": "motorcycle",
    "pedestrian": "person",
    "person_sitting": "person",
    "person-sitting": "person",
    "van": "car",
}
"""Other names of the network's classes, in KINS, KITTI-360-APS and BDD100K-APS."""


@dataclass(frozen=True)
class ClassMap:
    """What a data set's classes are to the network.

    Attributes:
        stuff: for each of `labels.STUFF` the class ids that are it.
        things: class id -> index into `labels.THINGS`.
        unknown: names of the classes that are none of the network's.
    """

    stuff: tuple[tuple[int, ...], ...]
    things: dict[int, int]
    unknown: tuple[str, ...]


@lru_cache(maxsize=8)
def class_map(classes: ClassList) -> ClassMap:
    """Return the map of a class list: classes are the same where their names are, or are known as other names."""
    names = {label.id: _SAME.get(label.name.lower(), label.name.lower()) for label in classes.labels}
    stuff = tuple(tuple(id_ for id_, name in names.items() if name == label.name) for label in STUFF)
    index = {label.name: index for index, label in enumerate(THINGS)}
    things = {label.id: index[names[label.id]] for label in classes.labels if names[label.id] in index}
    known = {id_ for ids in stuff for id_ in ids} | set(things)
    return ClassMap(stuff, things, tuple(label.name for label in classes.labels if label.id not in known))

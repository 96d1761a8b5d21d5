"""Typical sizes of the seven thing classes: what fusion assumes about the side of an object nobody sees."""

from __future__ import annotations

from typing import NamedTuple

from amodal_perception_ros.labels import BY_NAME


class Size(NamedTuple):
    """Length (along the heading), width and height [m]."""

    length: float
    width: float
    height: float


SIZES: dict[int, Size] = {
    BY_NAME["person"].id: Size(0.6, 0.6, 1.75),
    BY_NAME["rider"].id: Size(0.9, 0.6, 1.75),
    BY_NAME["car"].id: Size(4.5, 1.85, 1.55),
    BY_NAME["bike"].id: Size(1.75, 0.6, 1.1),
    BY_NAME["motorcycle"].id: Size(2.1, 0.8, 1.3),
    BY_NAME["truck"].id: Size(7.5, 2.5, 3.0),
    BY_NAME["bus"].id: Size(11.5, 2.6, 3.2),
}
"""Class id -> size of a common member of the class; round figures, not fitted to any data set."""

ELONGATED = frozenset(BY_NAME[name].id for name in ("car", "bike", "motorcycle", "truck", "bus"))
"""Classes whose heading can be read from their outline; people are as long as they are wide."""

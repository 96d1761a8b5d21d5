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
    BY_NAME["person"].id: Size(0.75, 0.65, 1.75),
    BY_NAME["rider"].id: Size(0.9, 0.65, 1.75),
    BY_NAME["car"].id: Size(4.6, 1.95, 1.65),
    BY_NAME["bike"].id: Size(1.7, 0.6, 1.25),
    BY_NAME["motorcycle"].id: Size(2.1, 0.8, 1.4),
    BY_NAME["truck"].id: Size(7.0, 2.5, 2.85),
    BY_NAME["bus"].id: Size(10.8, 2.9, 3.4),
}
"""Class id -> size of a common member of the class; round figures near the averages of driving data sets."""

SPREADS: dict[int, Size] = {
    BY_NAME["person"].id: Size(0.3, 0.12, 0.15),
    BY_NAME["rider"].id: Size(0.2, 0.12, 0.15),
    BY_NAME["car"].id: Size(0.5, 0.25, 0.2),
    BY_NAME["bike"].id: Size(0.3, 0.25, 0.15),
    BY_NAME["motorcycle"].id: Size(0.3, 0.25, 0.15),
    BY_NAME["truck"].id: Size(2.0, 0.3, 0.5),
    BY_NAME["bus"].id: Size(2.8, 0.4, 0.4),
}
"""Class id -> standard deviation of the size of members of the class about `SIZES`; round figures."""

ELONGATED = frozenset(BY_NAME[name].id for name in ("car", "bike", "motorcycle", "truck", "bus"))
"""Classes whose heading can be read from their outline; people are as long as they are wide."""

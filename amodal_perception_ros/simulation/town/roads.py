"""A road: its axis, its cross-section and the places along it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from shapely import Polygon

from amodal_perception_ros.simulation.town.ways import Path

BAY = {"along": 6.2, "across": 2.65, "long": 14.0}
"""Length along the road of one parking place by the kind of strip [m]."""


@dataclass(frozen=True)
class Lane:
    """A lane: `direction` +1 along the axis or -1; `offset` is its centre to the left of the axis [m]."""

    direction: int
    offset: float
    width: float
    bicycles: bool = False


@dataclass(frozen=True)
class Strip:
    """Parking between carriageway and kerb from s = `start` to `end`; `kind` is a key of `BAY`."""

    side: int
    start: float
    end: float
    width: float
    kind: str


@dataclass(frozen=True, eq=False)
class Road:
    """A road along an axis; traffic keeps right. Local coordinates: s along it, t to its left [m]; sides: +1 left.

    Attributes:
        axis: its middle line, points at most 2 m apart where it bends.
        lanes: number of car lanes per direction.
        lane_width: [m].
        bike_lane: width of the bicycle lane per direction, 0 for none [m].
        sidewalk: width of the sidewalks (left, right) [m].
        speed: limit [m/s].
        mouth: s where the junction that the axis starts in ends; 0 without one.
        strips: parking.
        zebras: s of marked pedestrian crossings outside junctions.
        doors: (side, s, width) of entrances to lots, where no parking and no furniture may be.
    """

    axis: Path
    lanes: int
    lane_width: float
    bike_lane: float
    sidewalk: tuple[float, float]
    speed: float
    mouth: float = 0.0
    strips: tuple[Strip, ...] = ()
    zebras: tuple[float, ...] = ()
    doors: tuple[tuple[int, float, float], ...] = ()

    @property
    def length(self) -> float:
        """Length of the axis [m]."""
        return self.axis.length

    @cached_property
    def _headings(self) -> np.ndarray:
        legs = np.diff(self.axis.points, axis=0)
        angle = np.unwrap(np.arctan2(legs[:, 1], legs[:, 0]))
        return np.concatenate([angle[:1], 0.5 * (angle[1:] + angle[:-1]), angle[-1:]])

    def heading(self, s: np.ndarray | float) -> np.ndarray:
        """Return the direction of the axis, smooth over its corners."""
        return np.interp(s, self.axis.starts, self._headings)

    def point(self, s: np.ndarray | float, t: np.ndarray | float) -> np.ndarray:
        """Return (..., 2) odom positions of local coordinates; s is clamped to the axis."""
        s, t = np.broadcast_arrays(np.asarray(s, float), np.asarray(t, float))
        on = np.stack([np.interp(s, self.axis.starts, self.axis.points[:, k]) for k in range(2)], -1)
        heading = self.heading(s)
        return on + t[..., None] * np.stack([-np.sin(heading), np.cos(heading)], -1)

    def stations(self, start: float, end: float, longest: float = 20.0) -> np.ndarray:
        """Return s values from start to end that include the axis' corners."""
        corners = self.axis.starts[(self.axis.starts > start + 0.1) & (self.axis.starts < end - 0.1)]
        cuts = np.array([start, *corners, end])
        parts = [np.linspace(a, b, int(np.ceil((b - a) / longest)) + 1)[:-1] for a, b in itertools.pairwise(cuts)]
        return np.concatenate([*parts, [end]])

    def line(self, t: float, start: float, end: float, longest: float = 20.0) -> np.ndarray:
        """Return (n, 2) points of a line at t from s = start to end (backwards when end < start)."""
        s = self.stations(min(start, end), max(start, end), longest)
        return self.point(s if end > start else s[::-1], t)

    def band(self, right: float, left: float, start: float, end: float) -> Polygon:
        """Return the area between t = right and t = left from s = start to end."""
        return Polygon(np.concatenate([self.line(right, start, end), self.line(left, end, start)]))

    @property
    def driven(self) -> float:
        """Half width of car and bicycle lanes [m]."""
        return self.lanes * self.lane_width + self.bike_lane

    def curb(self, side: int, s: float) -> float:
        """Distance of the kerb on that side from the axis at s [m]."""
        at = [p.width for p in self.strips if p.side == side and p.start <= s <= p.end]
        return self.driven + max(at, default=0.0)

    def widest_curb(self, side: int) -> float:
        """Largest distance of the kerb on that side from the axis [m]."""
        return self.driven + max((p.width for p in self.strips if p.side == side), default=0.0)

    def front(self, side: int) -> float:
        """Distance of the outer edge of the sidewalk on that side from the axis [m]."""
        return self.widest_curb(side) + self.sidewalk[0 if side > 0 else 1]

    def walk(self, side: int) -> tuple[float, float]:
        """Return distance from the axis and width of the part of the sidewalk that people walk along [m]."""
        width = self.sidewalk[0 if side > 0 else 1]
        free = max(width - 1.2, 0.9)
        return self.front(side) - 0.2 - free / 2, free

    def all_lanes(self) -> list[Lane]:
        """Return car lanes (inner first) and bicycle lanes of both directions."""
        out = []
        for way in (1, -1):
            out += [Lane(way, -way * (k + 0.5) * self.lane_width, self.lane_width) for k in range(self.lanes)]
            if self.bike_lane:
                offset = -way * (self.lanes * self.lane_width + self.bike_lane / 2)
                out.append(Lane(way, offset, self.bike_lane, bicycles=True))
        return out

    def bay_edges(self, strip: Strip) -> np.ndarray:
        """Return s of the lines between the places of a strip; on the inside of bends they are farther apart."""
        s = np.linspace(strip.start, strip.end, int(2 * (strip.end - strip.start)) + 2)
        edges = [self.point(s, strip.side * (self.driven + t)) for t in (0.0, strip.width)]
        way = np.concatenate([[0.0], np.min([np.hypot(*np.diff(e, axis=0).T) for e in edges], 0).cumsum()])
        return np.interp(np.arange(0.0, way[-1], BAY[strip.kind]), way, s)

    @cached_property
    def carriageway(self) -> shapely.Geometry:
        """Area of lanes and parking strips."""
        bands = [self.band(-self.driven, self.driven, 0.0, self.length)]
        for p in self.strips:
            low, high = sorted((p.side * (self.driven - 0.5), p.side * (self.driven + p.width)))
            bands.append(self.band(low, high, p.start, p.end))
        return shapely.union_all(bands)


def intervals(start: float, end: float, holes: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the parts of [start, end] outside the holes that are at least 8 long."""
    cuts, out = start, []
    for a, b in sorted(holes):
        if a > cuts:
            out.append((cuts, min(a, end)))
        cuts = max(cuts, b)
    out.append((cuts, end))
    return [(a, b) for a, b in out if b - a >= 8.0]


def with_round_corners(area: shapely.Geometry, radius: float) -> shapely.Geometry:
    """Round the inner corners of an area; gaps narrower than twice the radius [m] are filled."""
    return area.buffer(radius, 6).buffer(-radius, 6).simplify(0.01)

"""A parking lot beside a road: aisles with rows of bays between two entrances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Polygon

from amodal_perception_ros.simulation.town.curves import rounded
from amodal_perception_ros.simulation.town.pen import Pen
from amodal_perception_ros.simulation.town.roads import Road
from amodal_perception_ros.simulation.town.ways import ParkingPlace, Path, Route, Stop, Walk

AISLE, BAY, BAY_WIDTH, CROSS, MEDIAN, VERGE = 6.2, 5.2, 2.6, 7.2, 2.4, 2.0
"""Widths: aisle, depth of a bay, its width, the cross aisles at both ends, strip between rows, lot to sidewalk [m]."""

FIRST_ROW = 100


@dataclass(frozen=True, eq=False)
class Lot:
    """A rectangular parking lot. Local coordinates: u along the near lanes' traffic, v away from the road [m].

    Attributes:
        road, side: what it lies beside.
        start: s of u = 0.
        length, depth: extent along u and v [m].
        aisles: number of aisles, each with a row of bays on both sides.
        green: the strips between the rows are planted; otherwise people walk there.
        islands: per row (2 per aisle), u of the planted islands between bays.
        building: depth of the hall behind the lot, 0 for none [m].
    """

    road: Road
    side: int
    start: float
    length: float
    aisles: int
    green: bool
    islands: tuple[tuple[float, ...], ...]
    building: float

    def point(self, u: np.ndarray | float, v: np.ndarray | float) -> np.ndarray:
        """Return (..., 2) odom positions of local coordinates."""
        way = -self.side
        return self.road.point(self.start + way * np.asarray(u, float), self.side * np.asarray(v, float))

    @property
    def heading(self) -> float:
        """Heading of u in odom [rad]."""
        return float(self.road.heading(self.start)) + (0.0 if self.side < 0 else np.pi)

    @property
    def near(self) -> float:
        """V of the lot's edge at the road."""
        return self.road.front(self.side) + VERGE

    @property
    def depth(self) -> float:
        """Extent away from the road [m]."""
        return self.aisles * (AISLE + 2 * BAY) + (self.aisles - 1) * MEDIAN

    def aisle(self, k: int) -> float:
        """Return v of an aisle's middle."""
        return self.near + BAY + AISLE / 2 + k * (AISLE + 2 * BAY + MEDIAN)

    def rectangle(self, u0: float, u1: float, v0: float, v1: float) -> Polygon:
        """Return an area in odom."""
        return Polygon(self.point(np.array([u0, u1, u1, u0]), np.array([v0, v0, v1, v1])))

    @property
    def doors(self) -> tuple[tuple[int, float, float], ...]:
        """Both entrances as `Road.doors`."""
        way = -self.side
        return tuple((self.side, self.start + way * u, CROSS) for u in (CROSS / 2, self.length - CROSS / 2))

    @property
    def surface(self) -> shapely.Geometry:
        """What vehicles drive and stand on, entrances included, islands not yet cut out."""
        inner = self.road.driven - 0.5
        doors = [self.rectangle(u, u + CROSS, inner, self.near + 1.0) for u in (0.0, self.length - CROSS)]
        return shapely.union_all([self.rectangle(0, self.length, self.near, self.near + self.depth), *doors])

    @property
    def medians(self) -> list[Polygon]:
        """Raised strips between neighbouring rows."""
        ends = (CROSS + 1.0, self.length - CROSS - 1.0)
        return [
            self.rectangle(*ends, self.aisle(k) + AISLE / 2 + BAY, self.aisle(k) + AISLE / 2 + BAY + MEDIAN)
            for k in range(self.aisles - 1)
        ]

    @property
    def island_areas(self) -> list[Polygon]:
        """Planted islands between bays."""
        out = []
        for row, places in enumerate(self.islands):
            v = self.row(row)
            out += [self.rectangle(u + 0.2, u + BAY_WIDTH - 0.2, v - BAY / 2 + 0.3, v + BAY / 2) for u in places]
        return out

    def row(self, row: int) -> float:
        """Return v of a row's middle."""
        return self.aisle(row // 2) + (1 if row % 2 else -1) * (AISLE + BAY) / 2

    def parking(self, first_row: int) -> list[ParkingPlace]:
        """Return the bays."""
        out = []
        for row, islands in enumerate(self.islands):
            for number, u in enumerate(bay_edges(self.length)):
                if all(abs(u - other) > 0.1 for other in islands):
                    x, y = self.point(u + BAY_WIDTH / 2, self.row(row))
                    yaw = self.heading + np.pi / 2
                    out.append(ParkingPlace(float(x), float(y), yaw, 5.0, 2.3, "car", first_row + row, number))
        return out

    def walks(self) -> list[Walk]:
        """Return the strips between rows, where they are not planted."""
        if self.green:
            return []
        out = []
        for k in range(self.aisles - 1):
            v = self.aisle(k) + AISLE / 2 + BAY + MEDIAN / 2
            line = self.point(np.array([CROSS + 1.5, self.length - CROSS - 1.5]), np.full(2, v))
            out.append(Walk(Path(line), MEDIAN - 0.8))
        return out

    def routes(self) -> list[Route]:
        """Return ways through every other aisle from and to the near lane, and the loop of the first two aisles."""
        out = [self._through(k) for k in range(0, self.aisles, 2)]
        if self.aisles > 1:
            out.append(self._loop())
        return out

    def _through(self, k: int) -> Route:
        road, way = self.road, -self.side
        lane = (road.lanes - 0.5) * road.lane_width
        begin = -(self.start if way > 0 else road.length - self.start)
        end = begin + road.length
        enter, leave = CROSS / 2 - 1.6, self.length - CROSS / 2 + 1.6
        corners = [(begin, lane), (enter, lane), (enter, self.aisle(k)), (leave, self.aisle(k)), (leave, lane),
                   (end, lane)]  # fmt: skip
        u, v = np.array(corners).T
        path = Path(rounded(self.point(u, v), 5.0))
        kerb, _ = path.local(self.point(leave, road.widest_curb(self.side) + 1.0))
        merge, _ = path.local(self.point(leave - 4.5, self.aisle(k)))
        stops = (Stop(float(merge), None, 9.0), Stop(float(kerb), None, 16.0))
        return Route(path, 3.0, 7.0, stops, density=0.3)

    def _loop(self) -> Route:
        first, second = self.aisle(0), self.aisle(1)
        a, b = CROSS / 2 + 1.6, self.length - CROSS / 2 - 1.6
        u, v = np.array([(a, first), (b, first), (b, second), (a, second)]).T
        return Route(Path(rounded(self.point(u, v), 4.5, closed=True)), 3.0, 5.0, density=0.8, closed=True)


def bay_edges(length: float) -> np.ndarray:
    """Return u of the bays' near edges."""
    count = int((length - 2 * CROSS - 2.6) / BAY_WIDTH)
    first = (length - count * BAY_WIDTH) / 2
    return first + BAY_WIDTH * np.arange(count)


def draw_lot(pen: Pen, road: Road, side: int) -> Lot:
    """Draw a lot beside the middle of a straight road, from the section `layout`."""
    length, aisles = float(pen("layout.lot_length")), int(pen("layout.lot_aisles"))
    start = road.length / 2 + side * length / 2
    bays = bay_edges(length)
    islands = []
    for _ in range(2 * aisles):
        every = int(pen("layout.lot_bays_per_island"))
        islands.append(tuple(float(u) for u in bays[every // 2 :: every]) if every else ())
    building = float(pen("layout.lot_building_depth")) if pen("layout.lot_building") else 0.0
    return Lot(road, side, start, length, aisles, bool(pen("layout.lot_green")), tuple(islands), building)

"""Collects the static geometry of a town while it is laid out, and keeps its parts out of each other's way."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import Point, Polygon

from amodal_perception_ros.simulation.assets.buildings import BUILDING_FAMILIES, add_building
from amodal_perception_ros.simulation.assets.enclosures import add_fence, add_wall
from amodal_perception_ros.simulation.assets.materials import BUILDING, FENCE, POLE, VEGETATION, WALL
from amodal_perception_ros.simulation.assets.meshes import Material, MeshBuilder, Model, Part
from amodal_perception_ros.simulation.assets.props import PROPS
from amodal_perception_ros.simulation.assets.shrubs import add_bush, add_hedge
from amodal_perception_ros.simulation.assets.trees import add_tree
from amodal_perception_ros.simulation.distributions import Distributions
from amodal_perception_ros.simulation.town.ground import SIDEWALK_HEIGHT, TERRAIN_HEIGHT, WORLD, Plan
from amodal_perception_ros.simulation.town.layouts import Layout
from amodal_perception_ros.simulation.town.pen import Pen
from amodal_perception_ros.simulation.town.ways import ParkingPlace, Place

TILE = 48.0
"""Static geometry is grouped into square tiles of this size [m], which are culled one by one."""

HIDING = ("bus shelter", "container", "kiosk", "skip", "advertising pillar", "billboard", "shed", "toilet",
          "market stall", "wheelie bins", "cabinet", "planter", "trellis", "construction fence")  # fmt: skip
"""Props behind which people may stand."""


@dataclass(frozen=True, eq=False)
class Footprint:
    """Ground outline of a static obstacle: class id and (n, 2) convex corners in odom [m]."""

    class_id: int
    corners: np.ndarray


class TownBuilder:
    """Adds what is asked for where nothing else is in the way.

    Args:
        rng: for everything random in the town.
        distributions: of the sequence.
        layout, plan: roads and ground.
        parking: places on the carriageways.
        corridors: area that stays clear besides carriageways: where people walk, and in front of crossings.
        paving: of the sidewalks.
    """

    def __init__(self, rng: np.random.Generator, distributions: Distributions, layout: Layout, plan: Plan,
                 parking: list[ParkingPlace], corridors: shapely.Geometry, paving: Material) -> None:  # fmt: skip
        self.rng, self.layout, self.plan = rng, layout, plan
        self.draw = Pen(distributions, rng, layout.zone)
        self.season = str(self.draw("scenery.season"))
        self.footprints: list[Footprint] = []
        self.lamps: list[np.ndarray] = []
        self.places: list[Place] = []
        self.parking, self.paving = parking, paving
        self._builders: dict[tuple[int, int], MeshBuilder] = defaultdict(MeshBuilder)
        self._clear = shapely.union(plan.road, corridors)
        self._paved = shapely.union(plan.road, plan.sidewalk)
        shapely.prepare(self._clear)
        shapely.prepare(self._paved)
        self._claims: list[shapely.Geometry] = []

    # Geometry ---------------------------------------------------------------------------------------------

    def tile(self, x: float, y: float) -> MeshBuilder:
        """Return the mesh builder of the tile at an odom position."""
        return self._builders[(int(np.floor(x / TILE)), int(np.floor(y / TILE)))]

    def add(self, part: Part, material: Material, cls: int) -> None:
        """Add a part to the tile of its middle."""
        middle = 0.5 * (part[0].min(0) + part[0].max(0))
        self.tile(float(middle[0]), float(middle[1])).add(part, material, cls)

    def bake(self) -> list[Model]:
        """Return the drawable tiles."""
        return [self._builders[key].bake() for key in sorted(self._builders)]

    # Room -------------------------------------------------------------------------------------------------

    def is_free(self, area: shapely.Geometry, paved_too: bool = True) -> bool:
        """Whether an area is inside the world and clear of roads, ways and of everything claimed before.

        Args:
            area: to be looked at.
            paved_too: it may lie on sidewalks.
        """
        low_x, low_y, high_x, high_y = area.bounds
        if max(-low_x, -low_y, high_x, high_y) > WORLD - 1:
            return False
        if (self._clear if paved_too else self._paved).intersects(area):
            return False
        return not self._claims or not bool(shapely.intersects(self._claims, area).any())

    def claim(self, area: shapely.Geometry) -> None:
        """Keep later things out of an area."""
        self._claims.append(area)

    def outline(self, class_id: int, area: Polygon) -> None:
        """Register an obstacle and claim its ground."""
        self.footprints.append(Footprint(class_id, shapely.get_coordinates(area.exterior)[:-1]))
        self.claim(area)

    def height(self, x: float, y: float) -> float:
        """Return the ground height beside the carriageways [m]."""
        return SIDEWALK_HEIGHT if shapely.intersects_xy(self._paved, x, y) else TERRAIN_HEIGHT

    # Objects ----------------------------------------------------------------------------------------------

    def put(self, name: str, point: np.ndarray, yaw: float, away: float | None = None) -> bool:
        """Put a prop where there is room; `away` is the heading behind it, where someone may stand."""
        prop, (x, y) = PROPS[name], (float(point[0]), float(point[1]))
        if not self.is_free(rectangle(point, (prop.length, prop.width), yaw)):
            return False
        z = self.height(x, y)
        size = prop.add(self.tile(x, y), self.rng, x, y, z, yaw)
        self.outline(prop.class_id, rectangle(point, size, yaw))
        if away is not None and name in HIDING:
            self._hide(np.asarray(point), away, size[1] / 2 + 0.55)
        return True

    def put_on_strip(self, name: str, point: np.ndarray, yaw: float, away: float) -> None:
        """Put a prop on a parking strip; the places under it are no longer offered. `away` as for `put`."""
        prop = PROPS[name]
        area = rectangle(point, (prop.length + 0.4, prop.width), yaw)
        size = prop.add(self.tile(*point), self.rng, float(point[0]), float(point[1]), 0.0, yaw)
        self.outline(prop.class_id, rectangle(point, size, yaw))
        self.parking = [p for p in self.parking if not area.intersects(ground_of(p))]
        if name in HIDING:
            self._hide(np.asarray(point), away, prop.width / 2 + 0.75)

    def _hide(self, point: np.ndarray, away: float, distance: float) -> None:
        x, y = point + distance * np.array([np.cos(away), np.sin(away)])
        self.add_place(Place(float(x), float(y), away + float(self.rng.uniform(-1.5, 1.5)), "behind"))

    def add_place(self, place: Place) -> None:
        """Offer a place where people stand, unless it is on a carriageway or an obstacle."""
        here = Point(place.x, place.y).buffer(0.3)
        if not self.plan.road.intersects(here) and not shapely.intersects(self._claims, here).any():
            self.places.append(place)
            self.claim(here)

    def put_tree(self, point: np.ndarray, family: str, leaves: int = 900) -> bool:
        """Put a tree where there is room for its trunk."""
        x, y = float(point[0]), float(point[1])
        if not self.is_free(rectangle(point, (0.5, 0.5), 0.0)):
            return False
        radius = add_tree(self.tile(x, y), self.rng, x, y, self.height(x, y), leaves, family, self.season)
        self.outline(VEGETATION, rectangle(point, (max(2 * radius, 0.25),) * 2, 0.0))
        return True

    def put_bush(self, point: np.ndarray) -> bool:
        """Put a bush where there is room."""
        x, y = float(point[0]), float(point[1])
        if not self.is_free(rectangle(point, (1.7, 1.7), 0.0)):
            return False
        radius = add_bush(self.tile(x, y), self.rng, x, y, self.height(x, y), self.season)
        self.outline(VEGETATION, rectangle(point, (1.4 * radius,) * 2, 0.0))
        return True

    def put_pole(self, point: np.ndarray) -> bool:
        """Claim the ground of a thin post where there is room."""
        area = rectangle(point, (0.25, 0.25), 0.0)
        if not self.is_free(area):
            return False
        self.outline(POLE, area)
        return True

    def put_enclosure(self, kind: str, start: np.ndarray, end: np.ndarray) -> None:
        """Put a wall, fence or hedge between two points where there is room."""
        length, yaw = float(np.linalg.norm(end - start)), float(np.arctan2(*(end - start)[::-1]))
        middle = 0.5 * (start + end)
        if length < 1.0 or not self.is_free(rectangle(middle, (length, 0.4), yaw), paved_too=False):
            return
        mesh = self.tile(*middle)
        if kind == "hedge":
            cls, thickness = VEGETATION, add_hedge(mesh, self.rng, start, end, TERRAIN_HEIGHT, self.season)
        elif kind == "wall":
            cls, thickness = WALL, add_wall(mesh, self.rng, start, end, TERRAIN_HEIGHT)
        else:
            cls, thickness = FENCE, add_fence(mesh, self.rng, start, end, TERRAIN_HEIGHT)
        self.outline(cls, rectangle(middle, (length, min(max(thickness, 0.25), 0.5)), yaw))

    def put_building(self, family: str, center: np.ndarray, size: tuple[float, float], yaw: float, height: float,
                     margin: float = 0.0) -> bool:  # fmt: skip
        """Put a building whose front looks to local -y where there is room for it and `margin` around it [m]."""
        area = rectangle(center, size, yaw)
        if not self.is_free(area.buffer(margin, join_style="mitre") if margin else area, paved_too=False):
            return False
        x, y = float(center[0]), float(center[1])
        add_building(self.tile(x, y), self.rng, center, size, yaw, TERRAIN_HEIGHT - 0.1, height, family)
        self.outline(BUILDING, area)
        return True

    def draw_building(self, family: str, width: float | None = None) -> tuple[float, float, float]:
        """Draw width, depth and height that suit a family [m]; a wished width is cut to what the family has."""
        limits = BUILDING_FAMILIES[family]
        wide = float(self.rng.uniform(*limits.width)) if width is None else float(np.clip(width, *limits.width))
        return wide, float(self.rng.uniform(*limits.depth)), float(self.rng.uniform(*limits.height))


def ground_of(place: ParkingPlace) -> Polygon:
    """Return the ground of a parking place."""
    return rectangle(np.array([place.x, place.y]), (place.length, place.width), place.yaw)


def rectangle(center: np.ndarray, size: tuple[float, float], yaw: float) -> Polygon:
    """Return a rectangle of (length, width) [m] with its length along yaw [rad]."""
    a, b = size[0] / 2, size[1] / 2
    c, s = np.cos(yaw), np.sin(yaw)
    corners = np.array([(-a, -b), (a, -b), (a, b), (-a, b)]) @ np.array([[c, s], [-s, c]])
    return Polygon(corners + np.asarray(center)[:2])

"""The town generator: from the layout to ground, buildings, furniture, and the ways of traffic and pedestrians."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely
from shapely import LineString, Point

from amodal_perception_ros.simulation.assets.meshes import Kind, Material, Model
from amodal_perception_ros.simulation.config import SequenceConfig, Stream
from amodal_perception_ros.simulation.town.builder import Footprint, TownBuilder
from amodal_perception_ros.simulation.town.footways import lay_crossings, lay_parking, lay_walks
from amodal_perception_ros.simulation.town.frontages import (
    build_backdrop,
    build_frontages,
    build_lots,
    build_ring_frontages,
)
from amodal_perception_ros.simulation.town.ground import GRASS, SIDEWALK_HEIGHT, Plan, draw_plan, plan_ground
from amodal_perception_ros.simulation.town.layouts import Layout, draw_layout
from amodal_perception_ros.simulation.town.markings import draw_markings
from amodal_perception_ros.simulation.town.pen import Pen
from amodal_perception_ros.simulation.town.roadside import furnish_roads, stand_on_sidewalks
from amodal_perception_ros.simulation.town.routes import draw_signals, lay_routes
from amodal_perception_ros.simulation.town.signal_heads import SignalHead, build_signal_heads
from amodal_perception_ros.simulation.town.ways import Ways


@dataclass(eq=False)
class Town:
    """Static world of a sequence.

    Attributes:
        layout: the plan it was built from.
        tiles: static geometry in odom, grouped by place.
        footprints: outlines of static obstacles between 0.2 and 2.5 m above the ground.
        lamps: (n, 3) positions of street lights [m].
        ways: what the town offers to traffic and pedestrians.
        signal_heads: lenses of the traffic lights. Each frame at time t draws, for every head, the model
            `head.models[ways.signals[head.signal].state(t)]` at `head.matrix` as stuff (segment 0).
    """

    layout: Layout
    tiles: list[Model]
    footprints: list[Footprint]
    lamps: np.ndarray
    ways: Ways
    signal_heads: list[SignalHead]
    _road: shapely.Geometry

    def ground_height(self, points: np.ndarray) -> np.ndarray:
        """Return the ground height [m] at (..., 2) odom positions: 0 on carriageways, else the sidewalk's."""
        points = np.asarray(points, float)
        return np.where(shapely.intersects_xy(self._road, points[..., 0], points[..., 1]), 0.0, SIDEWALK_HEIGHT)


def build_town(config: SequenceConfig) -> Town:
    """Return the static world of a sequence."""
    rng = config.stream(Stream.TOWN)
    layout = draw_layout(config, rng)
    plan = plan_ground(layout)
    ways = _lay_ways(config, layout, plan)
    paving, parking = _paving(rng), lay_parking(layout)
    builder = TownBuilder(rng, config.distributions, layout, plan, parking, _corridors(ways), paving)
    draw_plan(plan, paving, _land(rng), builder.add)
    draw_markings(layout, builder.add)
    heads = build_signal_heads(builder)
    furnish_roads(builder)
    build_lots(builder)
    build_ring_frontages(builder)
    build_frontages(builder)
    build_backdrop(builder)
    stand_on_sidewalks(builder)
    ways = replace(ways, parking=tuple(builder.parking), places=tuple(builder.places))
    shapely.prepare(plan.road)
    lamps = np.array(builder.lamps).reshape(-1, 3)
    return Town(layout, builder.bake(), builder.footprints, lamps, ways, heads, plan.road)


def _lay_ways(config: SequenceConfig, layout: Layout, plan: Plan) -> Ways:
    routes, ego_routes = lay_routes(layout)
    signals = (
        draw_signals(Pen(config.distributions, config.stream(Stream.SIGNALS), layout.zone)) if layout.signalled else ()
    )
    return Ways(routes, ego_routes, signals, (), lay_walks(layout, plan), lay_crossings(layout, plan))


def _corridors(ways: Ways) -> shapely.Geometry:
    """What stays clear of furniture: the middle of all walks, and the kerbs at crossings."""
    areas = [LineString(walk.path.points).buffer(min(0.45, walk.width / 2 - 0.1)) for walk in ways.walks]
    for crossing in ways.crossings:
        areas += [Point(end).buffer(crossing.width / 2) for end in crossing.path.points[[0, -1]]]
    return shapely.union_all(areas)


def _paving(rng: np.random.Generator) -> Material:
    shade = np.array((0.34, 0.33, 0.31)) * rng.uniform(0.75, 1.15) * rng.uniform(0.94, 1.06, 3)
    return Material((float(shade[0]), float(shade[1]), float(shade[2])), 0.9, Kind.PAVING)


def _land(rng: np.random.Generator) -> Material:
    return GRASS if rng.random() < 0.6 else Material((0.3, 0.28, 0.25), 0.95, Kind.PAVING)

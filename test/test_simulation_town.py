"""The town generator: every layout's ground, ways and obstacles fit together."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
import shapely
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from shapely import LineString, Point

from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.simulation.config import LAYOUTS, SequenceConfig
from amodal_perception_ros.simulation.limits import LIMITS
from amodal_perception_ros.simulation.town.builder import rectangle
from amodal_perception_ros.simulation.town.curves import join, rounded
from amodal_perception_ros.simulation.town.footways import lay_crossings, lay_parking, lay_walks
from amodal_perception_ros.simulation.town.ground import SIDEWALK_HEIGHT, WORLD, Plan, plan_ground
from amodal_perception_ros.simulation.town.layouts import Layout, draw_layout
from amodal_perception_ros.simulation.town.pen import Pen
from amodal_perception_ros.simulation.town.routes import (
    ACROSS_MAIN,
    ACROSS_SIDE,
    MAIN,
    SIDE,
    arm_ends,
    draw_signals,
    lay_routes,
)
from amodal_perception_ros.simulation.town.town import Town, build_town
from amodal_perception_ros.simulation.town.ways import Path, Route

GROUND = [BY_NAME[name].id for name in ("road", "sidewalk", "terrain")]
SEEDS = (1, 2, 3, 4, 5)
CASES = [(layout, seed) for layout in LAYOUTS for seed in SEEDS]
TOWNS = [(layout, 11) for layout in LAYOUTS]


@cache
def planned(kind: str, seed: int) -> tuple[Layout, Plan]:
    config = SequenceConfig(seed=seed, layout=kind)
    layout = draw_layout(config, config.stream(2))
    return layout, plan_ground(layout)


@cache
def town(kind: str, seed: int) -> Town:
    return build_town(SequenceConfig(seed=seed, layout=kind))


def corridor(route: Route) -> shapely.Geometry:
    """What a car (2 m wide) or a bicycle covers."""
    return LineString(route.path.points).buffer(0.4 if route.bicycles else 1.0, cap_style="flat")


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_ground_areas_cover_the_world_once(kind: str, seed: int) -> None:
    _, plan = planned(kind, seed)
    areas = [plan.road, plan.sidewalk, plan.planted, plan.land]
    assert sum(area.area for area in areas) == pytest.approx((2 * WORLD) ** 2, rel=1e-9)
    assert max(a.intersection(b).area for a, b in combinations(areas, 2)) < 1e-6


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_routes_run_on_the_road(kind: str, seed: int) -> None:
    layout, plan = planned(kind, seed)
    road = plan.road.buffer(0.02)
    for number, route in enumerate(lay_routes(layout)[0]):
        beside = corridor(route).difference(road)
        assert beside.area < 0.02, f"route {number} leaves the road near {beside.centroid}"


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_routes_have_neither_jumps_nor_kinks(kind: str, seed: int) -> None:
    layout, _ = planned(kind, seed)
    for route in lay_routes(layout)[0]:
        legs = np.diff(route.path.points, axis=0)
        length, heading = np.hypot(*legs.T), np.unwrap(np.arctan2(legs[:, 1], legs[:, 0]))
        turn = np.abs(np.diff(heading))
        assert turn.max(initial=0) < 0.35
        bending = np.concatenate([turn > 0.002, [False]]) | np.concatenate([[False], turn > 0.002])
        straight_on = np.minimum(length[:-1], length[1:])
        assert straight_on[turn > 0.05].max(initial=0) <= 2.3
        assert bending.sum() == 0 or length.min() > 1e-4
        marks = [stop.s for stop in route.stops]
        assert marks == sorted(marks)
        assert all(stop.s > 0 and stop.s + stop.clear < route.path.length for stop in route.stops)
        if route.closed:
            np.testing.assert_allclose(route.path.points[0], route.path.points[-1], atol=1e-9)


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_ego_routes_are_long_and_keep_away_from_the_ends_of_the_roads(kind: str, seed: int) -> None:
    layout, _ = planned(kind, seed)
    routes, ego = lay_routes(layout)
    ends = shapely.MultiPoint(arm_ends(layout.roads))
    assert ego
    for route in (routes[k] for k in ego):
        assert not route.bicycles
        assert route.closed or route.path.length >= 160
        assert LineString(route.path.points).distance(ends) > 65


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_a_lane_s_shares_add_up_and_each_way_on_is_taken(kind: str, seed: int) -> None:
    layout, _ = planned(kind, seed)
    routes, ego = lay_routes(layout)
    shares: dict[tuple[float, float], float] = {}
    for k, route in enumerate(routes):
        if k not in ego and not layout.lots:
            start = tuple(np.round(route.path.points[0], 3))
            shares[start] = shares.get(start, 0.0) + route.density
    np.testing.assert_allclose(list(shares.values()), 1.0)
    if layout.meeting:
        ways = {(arm_of(layout, r.path.points[0]), arm_of(layout, r.path.points[-1])) for r in routes if r.density}
        arms = range(len(layout.roads))
        assert {(a, b) for a in arms for b in arms if a != b} <= ways


def arm_of(layout: Layout, end: np.ndarray) -> int:
    return int(np.argmin([np.hypot(*(road.axis.points[-1] - end)) for road in layout.roads]))


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_walks_keep_off_the_road_and_crossings_lead_from_kerb_to_kerb(kind: str, seed: int) -> None:
    layout, plan = planned(kind, seed)
    walks = lay_walks(layout, plan)
    assert sum(walk.path.length for walk in walks) > 400
    raised = shapely.union(plan.sidewalk, plan.planted).buffer(0.05)
    for walk in walks:
        line = LineString(walk.path.points)
        assert not line.intersects(plan.road)
        assert line.difference(raised).length < 0.2
    kerbs = plan.road.boundary
    for crossing in lay_crossings(layout, plan):
        start, end = crossing.path.points[0], crossing.path.points[-1]
        assert Point(start).distance(kerbs) < 0.05
        assert Point(end).distance(kerbs) < 0.05
        assert LineString([start, end]).difference(plan.road.buffer(0.01)).length < 0.05
        beyond = (end - start) / np.hypot(*(end - start)) * 0.3
        assert not plan.road.intersects(Point(start - beyond))
        assert not plan.road.intersects(Point(end + beyond))


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_parking_places_lie_on_the_road_beside_the_lanes(kind: str, seed: int) -> None:
    layout, plan = planned(kind, seed)
    places = lay_parking(layout)
    areas = [rectangle(np.array([p.x, p.y]), (p.length, p.width), p.yaw) for p in places]
    lanes = shapely.union_all([corridor(route) for route in lay_routes(layout)[0]])
    road = plan.road.buffer(0.25)
    pairs = shapely.STRtree(areas).query(areas, "intersects").T if areas else []
    assert not [(a, b) for a, b in pairs if a < b and areas[a].intersection(areas[b]).area > 0.01]
    assert all(area.within(road) for area in areas)
    assert not any(area.intersects(lanes) for area in areas)
    assert len({(p.row, p.number) for p in places}) == len(places)


def test_signals_never_let_conflicting_groups_go_together() -> None:
    signalled = 0
    for seed in range(12):
        config = SequenceConfig(seed=seed, layout="crossing")
        layout = draw_layout(config, config.stream(2))
        if not layout.signalled:
            continue
        signalled += 1
        signals = draw_signals(Pen(config.distributions, config.stream(20), layout.zone))
        for time in np.arange(0.0, 2 * signals[0].period, 0.25):
            state = [signal.state(time) for signal in signals]
            assert "red" in (state[MAIN], state[SIDE])
            assert state[ACROSS_MAIN] == "red" or state[MAIN] == "red"
            assert state[ACROSS_SIDE] == "red" or state[SIDE] == "red"
    assert signalled >= 4


@pytest.mark.parametrize(("kind", "seed"), TOWNS)
def test_no_obstacle_stands_on_a_lane_a_walk_or_a_parking_place(kind: str, seed: int) -> None:
    built = town(kind, seed)
    obstacles = [shapely.Polygon(f.corners) for f in built.footprints]
    assert len(obstacles) > 50
    tree = shapely.STRtree(obstacles)
    lanes = [corridor(route) for route in built.ways.routes]
    places = [rectangle(np.array([p.x, p.y]), (p.length, p.width), p.yaw) for p in built.ways.parking]
    middles = [LineString(walk.path.points) for walk in built.ways.walks]
    for area in (*lanes, *places, *middles):
        assert not len(tree.query(area, "intersects"))


@pytest.mark.parametrize(("kind", "seed"), TOWNS)
def test_the_ground_has_no_holes_and_the_height_it_says(kind: str, seed: int) -> None:
    built = town(kind, seed)
    soup = np.concatenate([tile.vertices for tile in built.tiles])
    corners = soup.reshape(-1, 3)
    ground = corners[np.isin(corners["cls"][:, 0], GROUND)]["position"]
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(ground))
    rng = np.random.default_rng(0)
    x, y = (np.mgrid[-150:150:0.9, -150:150:0.9] + rng.uniform(0, 0.5, (2, 1, 1))).reshape(2, -1)
    origin = np.stack([x, y, np.full_like(x, 5.0)], 1).astype(np.float32)
    down = np.tile(np.array([[0, 0, -1]], np.float32), (len(x), 1))
    distance = scene.run(origin, down, query="DISTANCE")
    assert distance.max() < 6.0
    height = 5.0 - distance
    said = built.ground_height(np.stack([x, y], 1))
    assert np.mean(np.abs(height - said) < 0.025) > 0.998
    assert np.abs(height - said).max() < SIDEWALK_HEIGHT + 0.03


@pytest.mark.parametrize(("kind", "seed"), TOWNS)
def test_people_can_stand_where_the_town_says(kind: str, seed: int) -> None:
    built = town(kind, seed)
    _, plan = planned(kind, seed)
    obstacles = shapely.union_all([shapely.Polygon(f.corners) for f in built.footprints])
    assert {place.kind for place in built.ways.places} >= {"group", "behind"}
    for place in built.ways.places:
        here = Point(place.x, place.y)
        assert not plan.road.intersects(here)
        assert here.distance(obstacles) > 0.25
        assert place.kind != "behind" or here.distance(obstacles) < 1.2


def test_every_approach_of_a_signalled_crossing_has_a_light_that_shows_each_state() -> None:
    built = next(t for t in (build_town(SequenceConfig(seed=seed, layout="crossing")) for seed in range(9))
                 if t.layout.signalled)  # fmt: skip
    heads = built.signal_heads
    for arm, road in enumerate(built.layout.roads):
        group = MAIN if arm < 2 else SIDE
        near = [h for h in heads if h.signal == group and np.hypot(*(h.matrix[:2, 3] - road.point(road.mouth, 0))) < 16]
        assert near
        toward = near[0].matrix[:3, 0] @ np.array([*(road.point(60.0, 0) - near[0].matrix[:2, 3]), 0.0])
        assert toward > 0
    for head in heads:
        assert {state: len(model.vertices) for state, model in head.models.items()} == dict.fromkeys(
            ("red", "yellow", "green"), len(head.models["red"].vertices)
        )
        assert set(head.models["red"].vertices["cls"]) == {BY_NAME["traffic light"].id}


def test_equal_seeds_build_equal_towns_and_others_differ() -> None:
    first, again = town("suburban", 11), build_town(SequenceConfig(seed=11, layout="suburban"))
    assert [t.vertices.tobytes() for t in first.tiles] == [t.vertices.tobytes() for t in again.tiles]
    assert [f.corners.tobytes() for f in first.footprints] == [f.corners.tobytes() for f in again.footprints]
    assert [r.path.points.tobytes() for r in first.ways.routes] == [r.path.points.tobytes() for r in again.ways.routes]
    assert first.ways.parking == again.ways.parking
    assert first.ways.places == again.ways.places
    assert first.ways.signals == again.ways.signals
    roads = [planned("straight", seed)[0].roads[0] for seed in SEEDS]
    assert len({(road.lane_width, road.sidewalk, road.driven) for road in roads}) == len(SEEDS)


def test_random_layouts_follow_their_weights() -> None:
    only = SequenceConfig(seed=3, overrides={"layout": {"kind": {"choice": {"roundabout": 1}}}})
    assert draw_layout(only, only.stream(2)).kind == "roundabout"
    configs = [SequenceConfig(seed=seed) for seed in range(60)]
    assert {draw_layout(config, config.stream(2)).kind for config in configs} == set(LAYOUTS)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_towns_can_be_built_at_the_limits(kind: str, which: int) -> None:
    overrides: dict[str, dict[str, float]] = {}
    for entry, ends in LIMITS.items():
        section, name = entry.split(".")
        if section in ("layout", "street"):
            overrides.setdefault(section, {})[name] = ends[which]
    config = SequenceConfig(seed=5, layout=kind, overrides=overrides)
    layout = draw_layout(config, config.stream(2))
    plan, (routes, ego) = plan_ground(layout), lay_routes(layout)
    assert plan.road.is_valid
    assert ego
    assert lay_walks(layout, plan)
    lay_crossings(layout, plan)
    lay_parking(layout)
    road = plan.road.buffer(0.3)
    assert all(LineString(route.path.points).difference(road).length < 0.5 for route in routes)


def test_a_join_of_equal_legs_is_close_to_a_circular_arc() -> None:
    points = join(np.array([0.0, -10.0]), np.pi / 2, np.array([-10.0, 0.0]), np.pi)
    np.testing.assert_allclose(np.hypot(points[:, 0] + 10, points[:, 1] + 10), 10.0, rtol=3e-4)


def test_a_rounded_square_has_the_length_of_its_sides_and_arcs() -> None:
    square = np.array([(0.0, 0.0), (20.0, 0.0), (20.0, 20.0), (0.0, 20.0)])
    path = Path(rounded(square, 5.0, closed=True))
    assert path.length == pytest.approx(4 * 10 + 2 * np.pi * 5, rel=2e-3)

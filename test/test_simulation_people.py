"""People of the street simulator: figures, gait, riders, and how they keep to their ways and apart."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.simulation.assets import poses
from amodal_perception_ros.simulation.assets.bikes import BIKE_MOUNTS
from amodal_perception_ros.simulation.assets.bodies import build_body
from amodal_perception_ros.simulation.assets.figures import (
    Figure,
    Measures,
    draw_figure,
    draw_palette,
    draw_rider_figure,
)
from amodal_perception_ros.simulation.assets.gait import RUN
from amodal_perception_ros.simulation.assets.motorcycles import MOTORCYCLE_MOUNTS
from amodal_perception_ros.simulation.assets.riders import PEDAL_PHASES, PEDAL_WAY, build_rider, pedal_phase
from amodal_perception_ros.simulation.assets.skeleton import BONES, INDEX, Pose
from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.distributions import Distributions
from amodal_perception_ros.simulation.town.town import build_town
from amodal_perception_ros.simulation.town.ways import Path, Signal
from amodal_perception_ros.simulation.traffic.crossing_people import start_on_green
from amodal_perception_ros.simulation.traffic.things import PERSON
from amodal_perception_ros.simulation.traffic.traffic import build_traffic
from amodal_perception_ros.simulation.traffic.walkable import PERSONAL, STATIC, Track, Walkable
from amodal_perception_ros.simulation.traffic.walkers import WALK_PHASES, build_walker

DISTRIBUTIONS = Distributions()
PLAIN = Figure(
    "adult", False, 1.75, 1.0, "tshirt", "trousers", "plain", "short", "none", "none", False, (0.1, 0.1, 0.3)
)
DRESSED = [
    PLAIN,
    replace(PLAIN, age="elderly", woman=True, height=1.6, top="coat", bottom="skirt", hair="bun", carry="suitcase"),
    replace(PLAIN, age="child", height=0.95, top="sweater", bottom="shorts", headwear="cap", carry="backpack"),
    replace(PLAIN, woman=True, height=1.7, top="shirt", bottom="dress", hair="long", headwear="hat", carry="pram"),
    replace(PLAIN, height=1.98, girth=1.3, top="high_visibility", headwear="hood", carry="umbrella"),
    replace(PLAIN, top="jacket", pattern="stripes", carry="shopping", hair="bald", phone=True),
]


@pytest.fixture(scope="module")
def walkers():
    return [build_walker(figure) for figure in DRESSED]


# Figures ----------------------------------------------------------------------------------------------------


def test_drawn_figures_span_children_to_tall_adults():
    rng = np.random.default_rng(0)
    figures = [draw_figure(rng, DISTRIBUTIONS) for _ in range(600)]
    heights = np.array([figure.height for figure in figures])
    children = np.array([figure.age == "child" for figure in figures])
    assert 0.9 <= heights.min() < 1.0
    assert 1.9 < heights.max() <= 2.0
    assert 0.08 < children.mean() < 0.18  # 13 % of the distribution
    assert heights[children].max() <= 1.45
    assert {figure.carry for figure in figures} == {"none", "backpack", "handbag", "shopping", "suitcase", "pram"}
    assert not any(figure.carry == "pram" for figure in figures if figure.age == "child")


def test_umbrellas_come_with_rain():
    rng = np.random.default_rng(1)
    wet = [draw_figure(rng, DISTRIBUTIONS, rain=True).carry for _ in range(200)]
    dry = [draw_figure(rng, DISTRIBUTIONS).carry for _ in range(200)]
    assert 0.35 < wet.count("umbrella") / 200 < 0.65
    assert "umbrella" not in dry


def test_overrides_reach_the_figures():
    rng = np.random.default_rng(2)
    only = Distributions({"people": {"age": {"choice": {"child": 1}}, "height_child": 1.2}})
    assert {draw_figure(rng, only).height for _ in range(5)} == {1.2}


def test_palettes_are_albedos():
    rng = np.random.default_rng(3)
    palettes = np.stack([draw_palette(rng) for _ in range(100)])
    assert palettes.shape == (100, 4, 3)
    assert palettes.min() >= 0
    assert palettes.max() <= 1
    assert len(np.unique(palettes[:, 0], axis=0)) == 100


def test_body_is_as_tall_as_its_figure(walkers):
    for walker in walkers:
        if walker.figure.carry != "umbrella" and walker.figure.headwear == "none":
            assert walker.models[0].high[2] == pytest.approx(walker.figure.height, rel=0.035)
        assert walker.models[0].low[2] == pytest.approx(0.0, abs=0.01)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), rain=st.booleans())
def test_any_figure_keeps_to_the_triangle_budget(seed, rain):
    body = build_body(draw_figure(np.random.default_rng(seed), DISTRIBUTIONS, rain))
    assert 600 < len(body.rest.triangles) <= 1600
    assert np.isfinite(body.rest.vertices["position"]).all()
    assert body.weights.sum(1) == pytest.approx(np.ones(len(body.weights)))
    assert body.weights.min() >= 0
    assert (body.rest.vertices["cls"] == 0).all()


# Poses ------------------------------------------------------------------------------------------------------


def test_all_poses_have_the_same_triangles(walkers):
    for walker in walkers:
        assert len(walker.models) == len(poses.STANDING) + WALK_PHASES
        first = walker.models[0]
        for model in walker.models[1:]:
            assert model.ranges == first.ranges
            for name in ("uv", "color", "slot", "ao", "cls"):
                assert (model.vertices[name] == first.vertices[name]).all()
            assert (model.vertices["position"] != first.vertices["position"]).any()
            moved = np.linalg.norm(model.vertices["position"] - first.vertices["position"], axis=1)
            assert moved.max() < 0.75 * walker.figure.height


def test_rest_pose_reproduces_the_body():
    body = build_body(PLAIN)
    again = body.posed(Pose(body.skeleton.joints["pelvis"]))
    assert again.vertices["position"] == pytest.approx(body.rest.vertices["position"], abs=1e-6)
    assert np.abs(np.linalg.norm(again.vertices["normal"], axis=1) - 1).max() < 1e-5


def test_turning_a_thigh_takes_shin_and_foot_along():
    skeleton = Measures.of(PLAIN).skeleton()
    pelvis = skeleton.joints["pelvis"]
    up = poses.rotation("y", -np.pi / 2)  # the leg points forwards
    turns = {f"{bone}_left": up for bone in ("thigh", "shin")}
    hip, foot = (skeleton.joints[f"{bone}_left"] for bone in ("thigh", "foot"))
    expected = hip + np.array([hip[2] - foot[2], 0, 0])
    assert skeleton.joint(Pose(pelvis, turns), "foot_left") == pytest.approx(expected)
    matrices = skeleton.matrices(Pose(pelvis, turns))
    assert matrices[INDEX["chest"]] == pytest.approx(np.eye(4)[:3])
    assert matrices.shape == (len(BONES), 3, 4)


def _soles(walker, k):
    """Return the vertices of both shoes in a walking pose, as (2, n, 3)."""
    rest = walker.models[0].vertices["position"]
    low = Measures.of(walker.figure).ankle
    out = []
    for sign in (1, -1):
        shoe = (rest[:, 2] < 0.9 * low) & (sign * rest[:, 1] > 0) & (np.abs(rest[:, 1]) < 0.12 * walker.figure.height)
        out.append(walker.models[len(poses.STANDING) + k].vertices["position"][shoe])
    return out


@pytest.mark.parametrize("number", [0, 1, 2])
def test_feet_stay_on_or_above_the_ground_and_one_always_stands(walkers, number):
    walker = replace_belongings(walkers[number])
    for k in range(WALK_PHASES):
        lows = [sole[:, 2].min() for sole in _soles(walker, k)]
        assert min(lows) == pytest.approx(0.0, abs=0.03)
        assert max(lows) < 0.2 * walker.figure.height


@pytest.mark.parametrize("number", [0, 1, 2])
def test_standing_foot_does_not_slide(walkers, number):
    """Follow the lowest shoe through the world while the body moves on by a stride a cycle."""
    walker = replace_belongings(walkers[number])
    step = walker.stride / WALK_PHASES
    slides = []
    for k in range(WALK_PHASES):
        now, then = _soles(walker, k), _soles(walker, (k + 1) % WALK_PHASES)
        for before, after in zip(now, then):
            low = 0.005 * walker.figure.height
            ground = (before[:, 2] < low) & (after[:, 2] < low)
            if ground.any():
                slides.append(np.abs(after[ground, 0] + step - before[ground, 0]).max())
    assert len(slides) >= WALK_PHASES / 2
    assert max(slides) < 0.04


def test_runners_leave_the_ground_and_do_not_slide_on_it():
    runner = build_walker(PLAIN, RUN)
    step = runner.stride / WALK_PHASES
    lows = np.array([[sole[:, 2].min() for sole in _soles(runner, k)] for k in range(WALK_PHASES)])
    assert runner.stride == pytest.approx(1.15 * 1.75)
    assert (lows.min(1) > 0.02).any()
    assert lows.min() > -0.03
    for k in range(WALK_PHASES):
        for before, after in zip(_soles(runner, k), _soles(runner, (k + 1) % WALK_PHASES)):
            ground = (before[:, 2] < 0.015) & (after[:, 2] < 0.015)
            assert not ground.any() or np.abs(after[ground, 0] + step - before[ground, 0]).max() < 0.06


def replace_belongings(walker):
    """Return the same person without anything that could touch the ground."""
    return build_walker(replace(walker.figure, carry="none"))


def test_pose_is_the_one_nearest_to_the_way_walked(walkers):
    walker = walkers[0]
    first = len(poses.STANDING)
    step = walker.stride / WALK_PHASES
    ways = np.array([0.0, 0.49 * step, 0.51 * step, walker.stride - 0.4 * step, walker.stride * 7 + 3 * step])
    assert (walker.walking_phase(ways) - first).tolist() == [0, 0, 1, 0, 3]
    assert walker.stride == pytest.approx(0.8 * 1.75)


# Riders -----------------------------------------------------------------------------------------------------


def test_riders_touch_saddle_grips_and_pedals():
    rng = np.random.default_rng(5)
    for mount in (*BIKE_MOUNTS.values(), *MOTORCYCLE_MOUNTS.values()):
        figure = draw_rider_figure(rng, DISTRIBUTIONS, mount.crank == 0, mount.child)
        rider = build_rider(replace(figure, carry="none"), mount)
        assert len(rider) == (PEDAL_PHASES if mount.crank else 1)
        for model in rider:
            assert len(model.vertices) == len(rider[0].vertices)
            points = model.vertices["position"]
            assert np.linalg.norm(points - mount.saddle, axis=1).min() < 0.16
            for sign in (1, -1):
                assert np.linalg.norm(points - np.array(mount.grip) * [1, sign, 1], axis=1).min() < 0.14
            assert points[:, 2].min() > -0.02


def test_pedals_turn_once_in_the_pedal_way():
    ways = np.linspace(0, PEDAL_WAY, PEDAL_PHASES + 1)
    assert pedal_phase(ways).tolist() == [*range(PEDAL_PHASES), 0]


# Ways -------------------------------------------------------------------------------------------------------

SQUARE = np.array([(4.0, -0.5), (5.0, -0.5), (5.0, 0.5), (4.0, 0.5)])


def test_clearance_from_a_square():
    walkable = Walkable([SQUARE, SQUARE[::-1] + np.array([0, 30])])
    points = np.array([(3.5, 0.0), (4.5, 0.0), (4.5, 0.7), (4.9, 0.0), (0.0, 0.0), (4.5, 29.3)])
    assert walkable.clearance(points) == pytest.approx([0.5, -0.5, 0.2, -0.1, 1.0, 0.2])


def test_way_leads_around_an_obstacle_and_somebody_who_stands():
    walkable = Walkable([SQUARE])
    walkable.place(Track.standing(np.array([9.0, 0.3]), 0.0, 3))
    path = Path(np.array([(0.0, 0.0), (14.0, 0.0)]))
    points = walkable.way(path, 0.0, 14.0, 0.0, 1.5)
    assert points[0, 0] == 0.0
    assert points[-1, 0] == 14.0
    assert np.abs(points[:, 1]).max() <= 1.5
    assert walkable.clearance(points).min() >= STATIC - 0.05
    assert np.linalg.norm(points - [9.0, 0.3], axis=1).min() >= PERSONAL - 0.05
    assert walkable.way(path, 0.0, 14.0, 0.0, 0.6) is None  # the square fills the strip


def test_track_follows_its_way_and_companions_keep_beside():
    corner = np.array([(0.0, 0.0), (4.0, 0.0), (4.0, 4.0)])
    track = Track.along(corner, np.array([0.0, 2.0, 6.0, 9.0, 9.0]))
    assert track.positions.tolist() == [[0, 0], [2, 0], [4, 2], [4, 4], [4, 4]]
    assert track.yaw == pytest.approx([0, 0, np.pi / 2, np.pi / 2, np.pi / 2])
    assert track.moving.tolist() == [True, True, True, False, False]
    assert track.beside(0.7, 0.0).positions[1] == pytest.approx([2, 0.7])
    assert track.beside(0.0, -1.0).positions[2] == pytest.approx([4, 1])


def test_people_know_who_is_already_there():
    walkable = Walkable([])
    line = np.array([(0.0, 0.0), (10.0, 0.0)])
    walkable.place(Track.along(line, np.linspace(0, 10, 11)))
    meets = Track.along(line[::-1], np.linspace(0, 10, 11))
    assert not walkable.is_free(meets)
    assert walkable.is_free(meets.beside(1.0, 0.0))


def test_people_start_on_green_that_lasts_long_enough():
    signal = Signal(period=30.0, offset=5.0, green=10.0)  # green 5..15, 35..45
    assert start_on_green(signal, 6.0, 8.0, 1.0) == 6.0
    assert start_on_green(signal, 11.0, 8.0, 1.0) == 36.0  # of 8 s over the road only 4 would be green
    assert start_on_green(signal, 20.0, 8.0, 0.5) == 35.5
    assert start_on_green(signal, 4.0, 8.0, 0.5) == 5.5


# Behaviour in a town ----------------------------------------------------------------------------------------

SEQUENCES = [SequenceConfig(seed, frames=60, rate_hz=5.0, layout=layout, weather="day", bev=False)
             for seed, layout in ((11, "crossing"), (12, "straight"))]  # fmt: skip


@pytest.fixture(scope="module", params=SEQUENCES, ids=["crossing", "straight"])
def street(request):
    town = build_town(request.param)
    return request.param, town, build_traffic(request.param, town)


def _people(traffic):
    return [thing for thing in traffic.things if thing.class_id == PERSON]


def test_enough_people_stand_and_walk(street):
    config, _, traffic = street
    people = _people(traffic)
    moving = [np.ptp(person.poses[:, :2], axis=0).max() > 0.5 for person in people]
    assert 30 <= len(people) <= 160
    assert sum(moving) >= 12
    assert len(people) - sum(moving) >= 5
    assert all(person.poses.shape == (config.frames + 1, 4) for person in people)


def test_nobody_walks_through_anybody(street):
    _, _, traffic = street
    positions = np.stack([person.poses[:, :2] for person in _people(traffic)])
    away = np.linalg.norm(positions[:, None] - positions, axis=-1)
    i, j = np.triu_indices(len(positions), 1)
    assert away[i, j].min() >= 0.55


def test_nobody_is_inside_anything_static(street):
    _, town, traffic = street
    outlines = [footprint.corners for footprint in town.footprints]
    for thing in traffic.things:
        still = np.ptp(thing.poses, axis=0).max() < 1e-9
        if thing.class_id != PERSON and still:
            (a, b), (c, d) = thing.low[:2], thing.high[:2]
            matrix = thing.matrix(0)
            outlines.append(np.array([(a, b), (c, b), (c, d), (a, d)]) @ matrix[:2, :2].T + matrix[:2, 3])
    walkable = Walkable(outlines)
    clearance = [walkable.clearance(person.poses[:, :2]).min() for person in _people(traffic)]
    assert min(clearance) > 0.2


def test_nobody_jumps_and_velocities_are_those_of_the_motion(street):
    config, _, traffic = street
    for person in _people(traffic):
        step = np.diff(person.poses[:, :3], axis=0) * config.rate_hz
        assert np.hypot(step[:, 0], step[:, 1]).max() <= 3.0
        assert person.velocity[:-1, :2] == pytest.approx(step[:, :2], abs=1e-9)
        assert np.abs(step[:, 2]).max() / config.rate_hz < 0.2


def test_phase_stands_when_the_person_stands(street):
    _, _, traffic = street
    for person in _people(traffic):
        step = np.hypot(*np.diff(person.poses[:, :2], axis=0).T)
        if len(person.models) == 1:
            assert step.max() < 1e-9
        else:
            walking = person.phase[:-1] >= len(poses.STANDING)
            assert (walking == (step > 1e-6)).all()


def test_people_keep_to_walks_crossings_places_and_gaps(street):
    """Off the walks people are near a crossing's strip, a place to stand, or stepping across between vehicles."""
    _, town, traffic = street
    ways, outside = town.ways, 0
    people = _people(traffic)
    for person in people:
        points = person.poses[:, :2]
        on = np.zeros(len(points), bool)
        for strip in (*ways.walks, *ways.crossings):
            on |= np.abs(strip.path.local(points)[1]) < strip.width / 2 + 1.3
        for place in ways.places:
            on |= np.hypot(*(points - [place.x, place.y]).T) < 2.5
        outside += not on.all()
    assert outside <= 0.25 * len(people)


def test_nobody_steps_onto_a_signalled_crossing_without_green():
    overrides = {"pedestrians": {"crossing": 14, "parties": 0, "step_outs": 0}}
    config = replace(SEQUENCES[0], frames=200, overrides=overrides)
    town = build_town(config)
    traffic = build_traffic(config, town)
    entered = 0
    for crossing in (c for c in town.ways.crossings if c.signal is not None):
        signal = town.ways.signals[crossing.signal]
        for person in _people(traffic):
            s, t = crossing.path.local(person.poses[:, :2])
            inside = (s > 0.2) & (s < crossing.path.length - 0.2) & (np.abs(t) < crossing.width / 2)
            for row in np.flatnonzero(inside[1:] & ~inside[:-1]):
                entered += 1
                # A step or two before, when he left the kerb, it was green.
                assert "green" in {signal.state(traffic.times[row] - lag) for lag in (0.0, 0.5, 1.0)}
    assert entered >= 1


def test_equal_settings_give_equal_people():
    config = replace(SEQUENCES[1], frames=3)
    first, second = (_people(build_traffic(config, build_town(config))) for _ in range(2))
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert (a.poses == b.poses).all()
        assert (a.phase == b.phase).all()
        assert (a.palette == b.palette).all()
        assert (a.models[0].vertices == b.models[0].vertices).all()


def test_no_people_without_traffic():
    config = replace(SEQUENCES[1], frames=2, traffic=0.0)
    town = build_town(config)
    assert _people(build_traffic(config, town)) == []

"""Vehicles on hand-made ways and in whole towns keep their distance, their lane and the rules, and never touch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.simulation.assets.bikes import BIKE_SHAPES
from amodal_perception_ros.simulation.assets.buses import BUS_SHAPES
from amodal_perception_ros.simulation.assets.cars import CAR_SHAPES
from amodal_perception_ros.simulation.assets.motorcycles import MOTORCYCLE_SHAPES
from amodal_perception_ros.simulation.assets.trucks import TRUCK_SHAPES
from amodal_perception_ros.simulation.config import LAYOUTS, SequenceConfig
from amodal_perception_ros.simulation.distributions import Distributions
from amodal_perception_ros.simulation.town.town import build_town
from amodal_perception_ros.simulation.town.ways import Path, Route, Signal, Stop, Ways
from amodal_perception_ros.simulation.traffic import things
from amodal_perception_ros.simulation.traffic.boxes import overlap, overlapping_pairs, widened
from amodal_perception_ros.simulation.traffic.corridors import Corridors
from amodal_perception_ros.simulation.traffic.departures import SIGHT, Departures
from amodal_perception_ros.simulation.traffic.drivers import ACCELERATION, EMERGENCY, Drivers, accelerate, brake, look
from amodal_perception_ros.simulation.traffic.driving import Driving, People
from amodal_perception_ros.simulation.traffic.lineup import EGO_LENGTH, EGO_WIDTH, Vehicle
from amodal_perception_ros.simulation.traffic.right_of_way import RightOfWay
from amodal_perception_ros.simulation.traffic.things import CAR, PERSON, REACH, RIDER, TRUCK
from amodal_perception_ros.simulation.traffic.traffic import AWAY, build_traffic

DT = 0.1


def line(start, end, **kind):
    points = np.linspace(start, end, 2 + int(np.hypot(*np.subtract(end, start)) / 2))
    return Route(Path(points), **{"width": 3.4, "speed": 13.9, **kind})


def ring(radius, **kind):
    angle = np.linspace(0, 2 * np.pi, 121)
    points = radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    return Route(Path(points), **{"width": 3.4, "speed": 13.9, "closed": True, **kind})


def driver(route, s, speed=8.0, desired=12.0, length=4.6):
    return {"route": route, "s": s, "speed": speed, "desired": desired, "length": length, "width": 1.9,
            "wheelbase": 0.6 * length, "offset": 0.0, "sway": 0.0, "phase": 0.0, "present": True}  # fmt: skip


def drive(ways, rows, seconds, people=None):
    """Let drivers go on ways that nobody leaves; return s, speed and boxes at every step."""
    corridors = Corridors(ways.routes)
    driving = Driving(corridors, Drivers.collect(rows), RightOfWay(corridors, ways))
    out = []
    for k in range(int(seconds / DT)):
        d = driving.drivers
        out.append((d.s.copy(), d.speed.copy(), d.boxes(corridors)))
        way = corridors.length[d.route] - d.s - d.length / 2
        driving.step(k * DT, DT, people, np.where(corridors.closed[d.route], np.inf, way))
    s, speed, boxes = zip(*out)
    return np.stack(s), np.stack(speed), np.stack(boxes)


def touching(boxes, tolerance=0.0):
    narrow = widened(boxes, -tolerance, -tolerance)
    pairs = overlapping_pairs(narrow, narrow)
    return pairs[pairs[:, 0] < pairs[:, 1]]


def test_rectangles_overlap():
    here = np.array([0, 0, 0, 4, 2.0])
    assert overlap(here, np.array([3.9, 0, 0, 4, 2.0]))
    assert not overlap(here, np.array([4.1, 0, 0, 4, 2.0]))
    # The corner of a square of 2 m turned by 45 degrees reaches sqrt(2) m.
    assert overlap(here, np.array([3.3, 0, np.pi / 4, 2, 2.0]))
    assert not overlap(here, np.array([3.0, 2.0, np.pi / 4, 2, 2.0]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_rectangles_overlap_where_a_point_of_one_lies_in_the_other(seed):
    rng = np.random.default_rng(seed)
    a, b = np.column_stack([rng.uniform(-3, 3, (2, 2)), rng.uniform(-4, 4, 2), rng.uniform(0.5, 5, (2, 2))])
    unit = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 81)] * 2), -1).reshape(-1, 2) * a[3:]
    turn = np.array([[np.cos(a[2]), np.sin(a[2])], [-np.sin(a[2]), np.cos(a[2])]])
    back = np.array([[np.cos(b[2]), -np.sin(b[2])], [np.sin(b[2]), np.cos(b[2])]])
    local = np.abs((unit @ turn + a[:2] - b[:2]) @ back)
    if (local < 0.5 * b[3:]).all(1).any():
        assert overlap(a, b)
    elif not (local < 0.5 * b[3:] + 0.15).all(1).any():
        assert not overlap(a, b)


def test_speed_limit_of_a_bend_is_that_of_its_radius():
    corridors = Corridors((ring(20.0), line((0, 50), (100, 50))))
    # 2 m/s^2 to the side on a radius of 20 m: sqrt(40) m/s.
    np.testing.assert_allclose(corridors.limit[0, : corridors.count[0]], np.sqrt(40), rtol=0.03)
    assert (corridors.limit[1, : corridors.count[1]] == 13.9).all()


def test_a_route_continues_straight_on_and_a_ring_comes_round():
    corridors = Corridors((line((0, 0), (100, 0)), ring(20.0)))
    zero = np.zeros(1)
    np.testing.assert_allclose(corridors.at(np.array([0]), np.array([-5.0]), zero)[0], (-5, 0), atol=1e-6)
    np.testing.assert_allclose(corridors.at(np.array([0]), np.array([104.0]), zero + 1)[0], (104, 1), atol=1e-6)
    length = corridors.length[1]
    a, b = (corridors.at(np.array([1]), np.array([s]), zero) for s in (3.0, 3.0 + length))
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert corridors.ahead(np.int64(1), np.float64(length - 2), np.float64(3.0)) == pytest.approx(5.0)


def test_a_route_knows_where_others_run_along_it():
    corridors = Corridors((line((0, 0), (100, 0)), line((50, -50), (50, 50)), line((0, 3), (100, 3))))
    k = corridors.sample(np.array([1]), np.array([52.0]))[0]
    assert corridors.along[0, 1, k] == pytest.approx(50, abs=0.3)
    assert corridors.aside[0, 1, k] == pytest.approx(2, abs=0.3)
    assert corridors.turn[0, 1, k] == pytest.approx(np.pi / 2)
    assert corridors.aside[0, 2, corridors.sample(np.array([2]), np.array([30.0]))[0]] == pytest.approx(3, abs=1e-5)
    assert np.isinf(corridors.along[0, 1, corridors.sample(np.array([1]), np.array([80.0]))[0]])


def test_driver_model_at_known_points():
    def value(v, wished, gap, leader):
        return accelerate(np.array([v]), np.array([wished]), np.array([[gap]]), np.array([[leader]]))[0]

    assert value(0.0, 10.0, np.inf, 0.0) == pytest.approx(1.6)
    assert value(10.0, 10.0, np.inf, 0.0) == pytest.approx(0.0)
    assert value(5.0, 10.0, np.inf, 0.0) == pytest.approx(1.6 * (1 - 1 / 16))
    assert value(0.0, 10.0, 2.2, 0.0) == pytest.approx(0.0)
    # Following at 10 m/s: the wished gap is 2.2 + 1.3 * 10 m, where the interaction cancels the acceleration.
    assert value(10.0, 20.0, 15.2, 10.0) == pytest.approx(0.0)
    assert value(20.0, 20.0, 1.0, 0.0) == -8.0
    assert value(3.0, 0.0, np.inf, 0.0) == -2.2


def test_a_column_stops_behind_who_stands():
    ways = Ways((line((0, 0), (300, 0)),), (0,))
    rows = [driver(0, 200, 0, 0)] + [driver(0, 150 - 25 * k, 12, 13 - k) for k in range(5)]
    s, speed, _ = drive(ways, rows, 40)
    gaps = s[:, :-1] - s[:, 1:] - 4.6
    assert gaps.min() > 1.0
    assert speed[-1].max() < 0.05
    assert gaps[-1].max() < 4.0
    assert np.diff(speed, axis=0).min() / DT > -4.0


def test_drivers_see_whoever_is_in_their_corridor():
    ways = Ways((line((0, 0), (300, 0)), line((0, -60), (300, 60))), (0,))
    corridors = Corridors(ways.routes)
    drivers = Drivers.collect([driver(0, 130), driver(1, corridors.length[1] / 2)])
    # The other one crosses at (150, 0), 20 m ahead, turned by atan(0.4): its rear third is the nearest piece.
    turn = np.arctan(0.4)
    piece = 4.6 / 6 * np.cos(turn) + 1.9 / 2 * np.sin(turn)
    assert look(corridors, drivers).gap[0].min() == pytest.approx(20 - 2.3 - 4.6 / 3 * np.cos(turn) - piece, abs=0.3)


def test_nobody_runs_a_red_light_and_all_go_on_green():
    signal = Signal(period=40, offset=12, green=20)
    ways = Ways((line((0, 0), (300, 0), stops=(Stop(150.0, 0),)),), (0,), (signal,))
    s, _, _ = drive(ways, [driver(0, 120 - 20 * k) for k in range(4)], 32)
    over = s + 2.3 > 150
    for k in range(len(s) - 1):
        if (over[k + 1] & ~over[k]).any():
            assert signal.state(k * DT) != "red"
    assert not over[int(12 / DT)].any()
    assert over[-1].all()


def test_a_car_passes_a_cyclist_inside_its_lane_and_a_bus_waits_behind():
    for width, passes in ((1.9, True), (2.55, False)):
        ways = Ways((line((0, 0), (400, 0), width=3.4), line((0, 3.4), (400, 3.4), width=3.4)), (0,))
        cyclist = {**driver(0, 60, 4, 4, 1.8), "width": 0.6, "offset": -1.25}
        rows = [{**driver(0, 20, 8, 10), "width": width}, cyclist]
        s, _, boxes = drive(ways, rows, 30)
        assert (s[-1, 0] > s[-1, 1] + 10) == passes
        assert max(len(touching(row)) for row in boxes) == 0
        assert (boxes[:, 0, 1] + width / 2).max() < 1.7, "leaves its lane"
        if passes:
            # 0.6 / 2 + 1.9 / 2 + 0.3 m between the middles while side by side, and back in the middle afterwards.
            beside = np.abs(s[:, 0] - s[:, 1]) < 2
            np.testing.assert_allclose(boxes[beside, 0, 1], 0.3, atol=0.02)
            assert boxes[-1, 0, 1] == pytest.approx(0, abs=0.01)


def crossing(*kinds):
    """Four approaches with a lane each; a kind is the keyword arguments of one."""
    ends = [((-120, -1.7), (180, -1.7)), ((120, 1.7), (-180, 1.7)),
            ((1.7, -120), (1.7, 180)), ((-1.7, 120), (-1.7, -180))]  # fmt: skip
    return Ways(tuple(line(*end, **kind) for end, kind in zip(ends, kinds)), (0,))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_a_crossing_without_signals_is_passed_by_all_and_nobody_touches(seed):
    rng, rows = np.random.default_rng(seed), []
    for route in range(4):
        s = 100.0
        for _ in range(3):
            length = float(rng.choice([1.9, 4.6, 12.0]))
            s -= length / 2 + float(rng.uniform(3, 14))
            rows.append(driver(route, s, 4.0, float(rng.uniform(5, 13)), length))
            s -= length / 2
    s, speed, boxes = drive(crossing({}, {}, {}, {}), rows, 60)
    assert max(len(touching(row)) for row in boxes) == 0
    assert (s[-1] > 125).all(), "somebody waits for ever"
    assert np.diff(speed, axis=0).max() / DT < ACCELERATION + 1e-6


def test_who_gives_way_waits_for_the_others():
    ways = crossing({}, {}, {"stops": (Stop(112.0, None, 8.0),)}, {})
    rows = [driver(2, 70, 10, 10)] + [driver(0, 95 - 22 * k, 10, 10) for k in range(3)]
    s, _, boxes = drive(ways, rows, 30)
    enters = [int(np.argmax(s[:, k] + 2.3 > 116)) for k in range(4)]
    assert enters[0] > max(enters[1:])
    assert s[-1, 0] > 130
    assert max(len(touching(row)) for row in boxes) == 0


def test_nobody_enters_a_crossing_that_he_cannot_leave():
    rows = [driver(0, 129, 0, 0), driver(0, 90, 8, 10), driver(2, 60, 8, 10)]
    s, _, _ = drive(crossing({}, {}, {}, {}), rows, 25)
    assert s[-1, 1] + 2.3 < 120, "stands in the crossing"
    assert s[-1, 2] > 150


def test_drivers_stop_for_people_on_the_lane_only_and_go_on_afterwards():
    ways = Ways((line((0, 0), (300, 0)),), (0,))
    times = np.arange(0, 40, 0.1)
    crosses = np.stack([np.full(len(times), 60.0), np.clip(times - 15, 0, 8)], -1)
    beside = np.tile([30.0, 2.2], (len(times), 1))
    people = People(Corridors(ways.routes), np.stack([crosses, beside]), 10.0)
    s, speed, _ = drive(ways, [driver(0, 10, 12, 12)], 35, people)
    front = s[:, 0] + 2.3
    assert 50 < front[int(15 / DT)] < 59.7
    assert speed[: int(1.5 / DT), 0].min() > 7
    assert s[-1, 0] > 100
    assert np.diff(speed[:, 0]).min() / DT > -5


def test_braking_needs_no_more_than_the_way_left():
    assert brake(np.array([10.0]), np.array([25.0]))[0] == pytest.approx(-2.0)
    assert np.isinf(brake(np.array([10.0]), np.array([np.inf])))[0]
    assert brake(np.array([20.0]), np.array([1.5]))[0] == -EMERGENCY


@pytest.mark.parametrize("interval", [1, 10, 40])
def test_traffic_leaves_and_comes_in_out_of_sight(interval):
    """Rows are noted every 0.1, 1 and 4 s."""
    ways = Ways((line((-200, -1.7), (184, -1.7)), line((-100, 1.7), (100, 1.7), density=0.0)), (1,))
    corridors = Corridors(ways.routes)
    rows = [driver(1, 60, 8, 8)] + [driver(0, 40 + 40 * k, 8, 10) for k in range(8)]
    driving = Driving(corridors, Drivers.collect(rows), RightOfWay(corridors, ways))
    vehicles = [Vehicle("ego", ())] + [Vehicle("car", ())] * 8
    departures = Departures(driving, vehicles, np.random.default_rng(0))
    before, row, changes = driving.drivers.present.copy(), driving.drivers.boxes(corridors), 0
    for k in range(600):
        present = driving.drivers.present.copy()
        departures.step(k * DT, DT, None)
        after, now = driving.drivers.present.copy(), driving.drivers.boxes(corridors)
        changed = present != after
        assert (np.hypot(*(now[changed, :2] - now[0, :2]).T) > SIGHT - 1e-6).all()
        assert len(touching(now[after])) == 0
        if k % interval == interval - 1:
            departures.note()
            left = before & ~after
            assert (np.hypot(*(row[left, :2] - row[0, :2]).T) > SIGHT).all()
            before, row, changes = after, now, changes + int((before != after).sum())
    assert before[0]
    assert driving.drivers.s[0] + EGO_LENGTH / 2 <= corridors.length[1]
    assert changes > 8


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [("car", CAR_SHAPES), ("truck", TRUCK_SHAPES), ("bus", BUS_SHAPES), ("bike", BIKE_SHAPES),
     ("motorcycle", MOTORCYCLE_SHAPES)],
)  # fmt: skip
def test_every_shape_has_a_weight(kind, shapes):
    weights = Distributions().weights(f"fleet.{kind}")
    assert set(weights) == set(shapes)
    assert len(shapes) >= 8


# Whole towns.


@pytest.fixture(scope="module", params=LAYOUTS)
def sequence(request):
    config = SequenceConfig(seed=3, layout=request.param, frames=50)
    town = build_town(config)
    return config, town, build_traffic(config, town)


def in_town(thing):
    return thing.poses[:, 0] < AWAY / 2


def drives(thing):
    return bool(np.abs(thing.velocity).max() > 0.05)


def is_standing_delivery(thing):
    lit = thing.lights and thing.class_id in (CAR, TRUCK)
    return lit and in_town(thing)[0] and np.ptp(thing.poses, 0).max() == 0


def rectangle(thing, row):
    return (*thing.poses[row, [0, 1, 3]], *(thing.high - thing.low)[:2])


def test_no_two_vehicles_of_a_town_touch(sequence):
    _, _, traffic = sequence
    vehicles = [thing for thing in traffic.things if thing.class_id not in (PERSON, RIDER)]
    for row in range(len(traffic.times)):
        boxes = [(*traffic.ego[row, [0, 1, 3]], EGO_LENGTH, EGO_WIDTH)]
        boxes += [rectangle(thing, row) for thing in vehicles if in_town(thing)[row]]
        assert len(touching(np.array(boxes), 0.04)) == 0, row


def test_no_moving_vehicle_touches_people(sequence):
    _, _, traffic = sequence
    people = np.stack([thing.poses for thing in traffic.things if thing.class_id == PERSON])
    moving = [thing for thing in traffic.things if thing.lights and thing.class_id != RIDER]
    for row in range(len(traffic.times)):
        boxes = [(*traffic.ego[row, [0, 1, 3]], EGO_LENGTH, EGO_WIDTH), *(rectangle(t, row) for t in moving)]
        feet = np.column_stack([people[:, row, :2], np.zeros(len(people)), np.full((len(people), 2), 0.3)])
        assert len(overlapping_pairs(np.array(boxes), feet)) == 0, row


def test_trajectories_have_a_row_more_and_the_ego_vehicle_moves_smoothly(sequence):
    config, _, traffic = sequence
    rows = config.frames + 1
    assert traffic.ego.shape == (rows, 4)
    assert traffic.ego_speed.shape == traffic.times.shape == (rows,)
    assert len({thing.track_id for thing in traffic.things}) == len(traffic.things)
    for thing in traffic.things:
        assert thing.poses.shape == (rows, 4)
        assert thing.velocity.shape == (rows, 3)
        assert thing.phase.shape == (rows,)
        assert thing.phase.max() < len(thing.models)
    assert np.abs(np.diff(traffic.ego[:, 3])).max() < 0.12
    change = np.diff(traffic.ego_speed) * config.rate_hz
    assert change.min() >= -EMERGENCY - 1e-6
    assert change.max() <= ACCELERATION + 1e-6
    way = np.hypot(*np.diff(traffic.ego[:, :2], axis=0).T) * config.rate_hz
    np.testing.assert_allclose(way, 0.5 * (traffic.ego_speed[1:] + traffic.ego_speed[:-1]), atol=0.4, rtol=0.05)


def test_moving_vehicles_stay_in_their_lanes(sequence):
    _, town, traffic = sequence
    for thing in traffic.things:
        here = in_town(thing)
        if drives(thing) and thing.class_id != PERSON and here.any():
            places = thing.poses[here][::10, :2]
            off = np.stack([np.abs(r.path.local(places)[1]) - r.width / 2 for r in town.ways.routes])
            assert off.min(0).max() < 0.3, thing.track_id


@pytest.mark.parametrize("layout", ["straight", "curve", "crossing", "suburban"])
def test_double_parked_vehicles_stand_beside_the_lanes_and_everybody_passes(layout):
    overrides = {"parking": {"double_parked": 3}, "traffic": {"ego_stands": 0}}
    config = SequenceConfig(seed=5, layout=layout, frames=20, overrides=overrides)
    town = build_town(config)
    traffic = build_traffic(config, town)
    lanes = town.ways.routes
    aside = {t: min(abs(float(r.path.local(t.poses[0, :2])[1])) - r.width / 2 for r in lanes) for t in traffic.things}
    standing = [t for t in traffic.things if is_standing_delivery(t) and aside[t] > 0.3]
    assert standing
    obstacles = np.array([rectangle(thing, 0) for thing in standing])
    for thing, box in zip(standing, obstacles):
        assert thing.high[2] > 1.7
        # Room for a vehicle of 2.4 m in the middle of every lane.
        for route in town.ways.routes:
            s = np.arange(0, route.path.length, 0.5)
            x, y = route.path.at(s).T
            size = np.tile([1.0, 1.2 if route.bicycles else 2.4], (len(s), 1))
            assert not overlap(np.column_stack([x, y, route.path.heading(s), size]), box).any()
    for row in range(len(traffic.times)):
        others = [(*traffic.ego[row, [0, 1, 3]], EGO_LENGTH, EGO_WIDTH)]
        others += [rectangle(t, row) for t in traffic.things if t not in standing and in_town(t)[row]]
        assert len(overlapping_pairs(obstacles, np.array(others))) == 0, row


def test_the_ego_vehicle_starts_where_signals_and_lines_let_it_go_on():
    overrides = {"traffic": {"ego_stands": 0, "ego_waits": 0}}
    for layout in ("crossing", "roundabout"):
        for seed in range(3):
            config = SequenceConfig(seed=seed, layout=layout, frames=100, traffic=0.0, overrides=overrides)
            traffic = build_traffic(config, build_town(config))
            assert traffic.ego_speed[:-1].sum() / config.rate_hz > 25, (layout, seed)


def test_velocity_is_the_motion(sequence):
    config, _, traffic = sequence
    for thing in traffic.things:
        both = in_town(thing)[1:] & in_town(thing)[:-1]
        if drives(thing) and thing.class_id != PERSON and both.any():
            assert thing.lights
            step = np.diff(thing.poses[:, :3], axis=0) * config.rate_hz
            np.testing.assert_allclose(thing.velocity[:-1][both], step[both], atol=1e-9)
            assert (thing.velocity[-1] == thing.velocity[-2]).all()
            assert (thing.velocity[:-1][~both] == 0).all()


def test_nothing_in_reach_vanishes_before_the_next_row():
    overrides = {"pedestrians": dict.fromkeys(("parties", "crossing", "step_outs", "groups"), 0)}
    config = SequenceConfig(505, 10, rate_hz=0.25, layout="parking_lot", overrides=overrides)
    traffic = build_traffic(config, build_town(config))
    away = np.stack([np.hypot(*(thing.poses[:, :2] - traffic.ego[:, :2]).T) for thing in traffic.things])
    assert (away[:, 1:][away[:, :-1] < REACH] < AWAY / 2).all()
    assert (away > AWAY / 2).any()


def test_without_track_ids_things_are_left_out_whole_and_it_is_said(monkeypatch):
    overrides = {"traffic": {"kind": {"choice": {"bike": 1, "car": 0, "truck": 0, "bus": 0, "motorcycle": 0}}}}
    config = SequenceConfig(seed=3, layout="crossing", frames=3, overrides=overrides)
    town = build_town(config)
    needed = len(build_traffic(config, town).things)
    for most in (needed - 2, needed - 3):
        monkeypatch.setattr(things, "MAX_INSTANCE_NUMBER", most)
        with pytest.warns(UserWarning, match="seq_000003: [0-9]+ vehicles and people are left out"):
            traffic = build_traffic(config, town)
        assert max(thing.track_id for thing in traffic.things) <= most
        for thing in traffic.things:
            assert thing.poses[0, :2].any()
        driven = [thing for thing in traffic.things if thing.driven]
        assert all((a.poses == b.poses).all() for a, b in zip(driven[::2], driven[1::2], strict=True))


def test_equal_settings_give_equal_traffic():
    config = SequenceConfig(seed=4, layout="crossing", frames=5)
    a, b = (build_traffic(config, build_town(config)) for _ in range(2))
    assert (a.ego == b.ego).all()
    assert [t.segment for t in a.things] == [t.segment for t in b.things]
    assert all((x.poses == y.poses).all() and (x.palette == y.palette).all() for x, y in zip(a.things, b.things))

"""Tracks: identity, object permanence and their bounds, in an exact world."""

import copy

import numpy as np
import pytest
from fusion_world import BUILDING, Box, observe, pose
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.fusion import BevConfig, BevMapper, TrackConfig, existence
from amodal_perception_ros.fusion.association import associate
from amodal_perception_ros.fusion.boxes import UprightBox
from amodal_perception_ros.fusion.evidence import ObjectEvidence
from amodal_perception_ros.fusion.objects import PlacedObject
from amodal_perception_ros.fusion.tracks import Tracker
from amodal_perception_ros.fusion.visibility import Sightings
from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.scene import Evidence, SurroundFrame, SurroundScene

CAR, TRUCK, PERSON = (BY_NAME[name].id for name in ("car", "truck", "person"))
VAN = Box("car", 12, 0, (5.0, 2.0, 2.2), np.pi / 2, 1)
WALL = Box("building", 24, 0, (1, 60, 6))
MS = 1_000_000


def person(x, y):
    return Box("person", x, y, (0.6, 0.6, 1.75), 0, 2)


def see(mapper, boxes, k, odom_from_base=None, lidar=True, cameras=("front",)):
    """Give the k-th set at 10 Hz to a mapper, without the instances of which nothing is visible."""
    frame, scene = observe(boxes, odom_from_base, 10**9 + k * 100 * MS, lidar, 0.1, cameras, columns=512)
    for camera in scene.cameras.values():
        camera.instances = [one for one in camera.instances if one.visible_mask.area >= 8]
    grid = mapper.update(frame, scene)
    return grid, scene


def only(mapper, class_id):
    (found,) = [one for one in mapper.objects if one.class_id == class_id]
    return found


def at(bev, x, y, layer):
    row, column = (int(np.floor((v - o) / bev.resolution)) for v, o in zip((y, x), (bev.origin[1], bev.origin[0])))
    return int(getattr(bev, layer)[row, column])


def walk(k):
    """A person who walks behind the van at 1.5 m/s, and comes out at its other end."""
    return person(17.0, -6.0 + 0.15 * k)


@pytest.mark.parametrize("lidar", [True, False])
def test_a_person_keeps_its_id_while_it_walks_behind_a_van(lidar):
    mapper, ids, hidden = BevMapper(), set(), 0
    for k in range(80):
        see(mapper, [VAN, walk(k), WALL], k, lidar=lidar)
        found = only(mapper, PERSON)
        ids.add(found.track_id)
        if found.hidden:
            hidden += 1
            assert (found.cameras, found.visible_fraction) == ((), 0.0)
            assert found.last_seen_ns == 10**9 + (k - hidden) * 100 * MS
            assert np.linalg.norm(found.center[:2] - [17.0, -6.0 + 0.15 * k]) < (0.5 if hidden < 25 else 3.0)
        else:
            hidden = 0
            assert found.last_seen_ns == 10**9 + k * 100 * MS
    assert len(ids) == 1
    assert found.velocity[:2] == pytest.approx([0.0, 1.5], abs=0.3)


def test_hidden_existence_decays_with_its_time_constant_and_the_place_grows_uncertain():
    mapper = BevMapper(track_config=TrackConfig(memory_s=2.0))
    for k in range(10):
        see(mapper, [VAN, person(17.0, -4.0), WALL], k)
    before = only(mapper, PERSON)
    screen = Box("building", 10, -3, (1, 8, 3))
    rest = []
    for k in range(10, 30):
        see(mapper, [VAN, person(17.0, -4.0), screen, WALL], k)
        rest.append(only(mapper, PERSON))
    assert all(one.hidden for one in rest)
    ratio = rest[-1].existence_probability / before.existence_probability
    assert ratio == pytest.approx(np.exp(-2.0 / 2.0), rel=0.02)
    assert rest[-1].position_stddev > rest[5].position_stddev > before.position_stddev
    assert {one.track_id for one in rest} == {before.track_id}


def test_the_grid_remembers_a_hidden_car_where_its_track_is_for_longer_than_its_cells():
    mapper = BevMapper(BevConfig(seen_memory_s=0.3, inferred_memory_s=0.3))
    car = Box("car", 16, -3, (4.5, 1.9, 1.6), 0, 1)
    for k in range(15):
        see(mapper, [car], k)
    screen = Box("building", 10, -3, (1, 8, 3))
    for k in range(15, 35):
        grid, _ = see(mapper, [car, screen], k)
    assert only(mapper, CAR).hidden
    assert at(grid, 16, -3, "visible") == -1
    assert 55 <= at(grid, 16, -3, "amodal") <= 80
    assert at(grid, 16, -3, "evidence") == Evidence.REMEMBERED
    assert at(grid, 16, -3, "semantic") == CAR


@pytest.mark.parametrize("lidar", [True, False])
def test_what_is_seen_empty_is_gone_at_once(lidar):
    mapper = BevMapper()
    for k in range(10):
        see(mapper, [Box("car", 12, 3, (4.5, 1.9, 1.6), 0.3, 1), WALL], k, lidar=lidar)
    assert only(mapper, CAR).existence_probability > 0.95
    grid, _ = see(mapper, [WALL], 10, lidar=lidar)
    assert mapper.objects == []
    assert at(grid, 12, 3, "amodal") <= 50


def test_what_vanished_in_a_shadow_is_gone_when_the_shadow_is():
    mapper = BevMapper()
    for k in range(10):
        see(mapper, [person(17.0, -4.0), WALL], k)
    screen = Box("building", 10, -3, (1, 8, 3))
    for k in range(10, 15):
        see(mapper, [screen, WALL], k)
    assert only(mapper, PERSON).hidden
    see(mapper, [WALL], 15)
    assert mapper.objects == []


def test_a_place_that_another_object_fills_is_no_proof():
    """A van stops where a person is remembered to be: the person may be behind its panels' depth."""
    mapper = BevMapper()
    for k in range(10):
        see(mapper, [person(12.0, 0.0), WALL], k)
    before = only(mapper, PERSON)
    see(mapper, [VAN, WALL], 10)
    found = only(mapper, PERSON)
    assert found.track_id == before.track_id
    assert found.existence_probability == pytest.approx(before.existence_probability * np.exp(-0.1 / 8.0), rel=0.01)


def test_out_of_all_views_an_object_stays():
    mapper = BevMapper()
    for k in range(10):
        see(mapper, [VAN], k)
    frame, _ = observe([VAN])
    for k in range(10, 20):
        stamp = 10**9 + k * 100 * MS
        silent = SurroundFrame(stamp, frame.rig, {}, odom_from_base=pose())
        mapper.update(silent, SurroundScene(stamp, {}))
    found = only(mapper, CAR)
    assert found.hidden
    assert found.existence_probability == pytest.approx(0.99 * np.exp(-1.0 / 8.0), rel=1e-3)
    assert np.linalg.norm(found.center[:2] - [12, 0]) < 0.5


@pytest.mark.parametrize("backwards", [False, True])
def test_heading_follows_the_way_a_vehicle_drives(backwards):
    """The box's heading is within 90 degrees of the vehicle's own; an oncoming car drives against it."""
    mapper, sign = BevMapper(), -1.0 if backwards else 1.0
    for k in range(25):
        car = Box("car", 14 - sign * 4 + sign * 0.6 * k, 5, (4.5, 1.9, 1.6), 0.0, 1)
        see(mapper, [car], k, cameras=("front", "left"))
    found = only(mapper, CAR)
    assert abs(np.cos(found.yaw) - sign) < 0.02
    assert found.velocity[0] == pytest.approx(6.0 * sign, abs=0.7)
    assert abs(found.yaw_rate) < 0.1
    assert found.covariance.shape == (6, 6)
    assert 0 < np.sqrt(found.covariance[5, 5]) < 0.2
    assert np.diag(found.covariance)[3:5].tolist() == [-1, -1]
    assert found.position_stddev**2 == pytest.approx(np.linalg.eigvalsh(found.covariance[:2, :2]).max())


def test_a_parked_car_stands_still_in_odom_while_the_vehicle_drives():
    mapper = BevMapper()
    for k in range(20):
        x = 0.5 * k
        see(mapper, [Box("car", 20 - x, 4, (4.5, 1.9, 1.6), 0.0, 1)], k, pose(x))
    found = only(mapper, CAR)
    assert np.hypot(*found.velocity[:2]) < 0.2
    assert np.linalg.norm(found.center[:2] - [20, 4]) < 0.5


def test_a_cut_in_corner_of_two_cameras_is_one_track_and_its_instances_get_the_id():
    mapper = BevMapper()
    _, scene = see(mapper, [Box("bus", 9, 9, (11.5, 2.6, 3.2), 2.4, 4)], 0, cameras=("front", "left"))
    ids = [one.track_id for camera in scene.cameras.values() for one in camera.instances]
    assert len(ids) == 2
    assert ids == [mapper.objects[0].track_id] * 2
    assert set(mapper.objects[0].cameras) == {"front", "left"}


def test_an_instance_that_has_a_track_id_keeps_it():
    frame, scene = observe([VAN])
    scene.cameras["front"].instances[0].track_id = 77
    mapper = BevMapper()
    mapper.update(frame, scene)
    assert scene.cameras["front"].instances[0].track_id == 77
    assert mapper.objects[0].track_id == 1


def test_the_first_set_gives_the_boxes_of_the_set():
    mapper = BevMapper()
    see(mapper, [VAN, person(8.0, 3.0)], 0)
    van = only(mapper, CAR)
    assert np.linalg.norm(van.center[:2] - [12, 0]) < 0.5
    assert np.isnan(van.velocity).all()
    assert np.isnan(van.yaw_rate)
    assert np.diag(only(mapper, PERSON).covariance)[3:].tolist() == [-1, -1, -1]
    assert van.covariance[2, 2] > 0
    assert np.isfinite(van.size_stddev).all()


@pytest.mark.parametrize("jump", ["odometry", "time"])
def test_a_jump_forgets_the_tracks_and_gives_no_id_again(jump):
    mapper = BevMapper()
    for k in range(3):
        see(mapper, [VAN], 5 + k)
    before = only(mapper, CAR).track_id
    moved = pose(500.0) if jump == "odometry" else pose()
    see(mapper, [VAN], 8 if jump == "odometry" else 0, moved)
    after = only(mapper, CAR)
    assert after.track_id == before + 1
    assert np.linalg.norm(after.center[:2] - moved[:2, 3] - [12, 0]) < 0.5


class Nothing:
    """Sensors that see nothing of any box."""

    def look_at(self, boxes):
        nothing = np.zeros(len(boxes.centers))
        return Sightings(nothing, nothing, nothing, nothing + 1)


def detection(x, y, class_id=CAR, score=0.9, size=(4.5, 1.9, 1.6), yaw=0.0):
    points = np.zeros((20, 3), np.float32)
    evidence = ObjectEvidence(
        class_id, 0, score, points, np.ones(20, bool), points[:0], np.zeros(3), 0.2, 0.1, 50, 99, False, ("front",), ()
    )  # fmt: skip
    return PlacedObject(evidence, UprightBox(np.array([x, y, size[2] / 2]), np.array(size), yaw))


def feed(tracker, sets, seconds=0.1):
    for k, placed in enumerate(sets):
        tracker.update(placed, np.eye(4), k * 100 * MS, seconds, Nothing())
    return tracker


def test_crossing_walkers_keep_their_ids():
    size = (0.7, 0.7, 1.75)
    sets = [
        [detection(10, -2 + 0.13 * k, PERSON, size=size), detection(10.9, 2 - 0.13 * k, PERSON, size=size)]
        for k in range(31)
    ]
    tracker = feed(Tracker(), sets)
    assert [track.track_id for track in tracker.tracks] == [1, 2]
    first, second = tracker.tracks
    assert first.mean[1] == pytest.approx(1.9, abs=0.15)
    assert second.mean[1] == pytest.approx(-1.9, abs=0.15)


def test_the_order_of_detections_does_not_matter():
    rng = np.random.default_rng(3)
    sets = [[detection(8 + 6 * i + 0.2 * k, 5 * i - 10) for i in range(5)] for k in range(8)]
    tracker = feed(Tracker(), sets)
    shuffled = feed(Tracker(), [sets[0]] + [[one[i] for i in rng.permutation(5)] for one in sets[1:]])
    for one, other in zip(tracker.tracks, shuffled.tracks):
        assert np.allclose(one.mean, other.mean)
    assert len(tracker.tracks) == 5


def test_class_is_that_of_most_detections_and_families_do_not_mix():
    tracker = feed(Tracker(), [[detection(10, 0, TRUCK if k == 3 else CAR)] for k in range(6)])
    assert [track.class_id for track in tracker.tracks] == [CAR]
    tracker = feed(Tracker(), [[detection(10, 0)], [detection(10, 0, PERSON)]])
    assert sorted(track.class_id for track in tracker.tracks) == [PERSON, CAR]


def test_size_is_the_mean_over_the_sets():
    tracker = feed(Tracker(), [[detection(10, 0, size=(4.0 + 0.2 * (k % 2), 1.9, 1.6))] for k in range(40)])
    assert tracker.tracks[0].size[0] == pytest.approx(4.1, abs=0.02)


def test_tracks_are_bounded_and_the_least_probable_go():
    tracker = Tracker(TrackConfig(max_tracks=3))
    feed(tracker, [[detection(10 * k, 0, score=0.3 + 0.1 * k) for k in range(1, 7)]])
    assert tracker.dropped == 3
    assert [round(track.mean[0]) for track in tracker.tracks] == [40, 50, 60]


def test_two_tracks_of_one_object_become_one():
    tracker = feed(Tracker(), [[detection(10, 0), detection(10.3, 0.3)], [detection(10.1, 0.1)]])
    assert len(tracker.tracks) == 1


def test_boxes_that_are_not_finite_are_left_out():
    tracker = feed(Tracker(), [[detection(np.nan, 0), detection(10, 0)]])
    assert len(tracker.tracks) == 1


def test_what_was_hardly_ever_detected_is_soon_forgotten():
    config = TrackConfig(memory_s=8.0)
    glimpsed = feed(Tracker(config), [[detection(10, 0)]] * 2 + [[]] * 10)
    known = feed(Tracker(config), [[detection(10, 0)]] * 3 + [[]] * 10)
    assert glimpsed.tracks[0].existence == pytest.approx(0.975 * np.exp(-1.0), rel=0.01)
    assert known.tracks[0].existence == pytest.approx(0.99 * np.exp(-1.0 / 8), rel=0.02)
    assert feed(Tracker(config), [[detection(10, 0)]] * 2 + [[]] * 24).tracks == []


coordinate = st.floats(-40, 40)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(coordinate, coordinate, st.sampled_from([CAR, TRUCK, PERSON]), st.floats(0, 1), st.floats(-2, 2)),
            max_size=6,
        ),
        max_size=12,
    ),
    st.floats(0, 2),
)
def test_any_detections_give_finite_bounded_tracks_with_new_ids(sets, seconds):
    tracker, known = Tracker(TrackConfig(max_tracks=5)), set()
    for k, one in enumerate(sets):
        placed = [detection(x, y, label, score, yaw=yaw) for x, y, label, score, yaw in one]
        tracker.update(placed, np.eye(4), k, seconds, Nothing())
        ids = [track.track_id for track in tracker.tracks]
        assert len(ids) == len(set(ids)) <= 5
        assert all(track_id > max(known, default=0) for track_id in set(ids) - known)
        known |= set(ids)
        for track in tracker.tracks:
            item = track.to_object()
            assert np.isfinite(item.center).all()
            assert 0.0 <= item.existence_probability <= 0.99
            assert -np.pi <= item.yaw <= np.pi
            assert item.position_stddev > 0
            assert item.hidden == (track.detection is None)


def test_existence_by_hand():
    half = np.array([0.5])
    assert existence.detected(half, np.array([0.8]))[0] == pytest.approx(0.8)
    assert existence.detected(np.array([0.8]), np.array([0.8]))[0] == pytest.approx(16 / 17)
    assert existence.detected(np.array([0.1]), np.array([0.4]))[0] == pytest.approx(0.4)
    assert existence.undetected(half, np.array([1.0]))[0] == 0.5
    assert existence.undetected(half, np.array([0.25]))[0] == pytest.approx(0.2)
    assert existence.undetected(np.array([0.99]), np.array([1e-3]))[0] == pytest.approx(0.09, abs=0.001)
    sight = existence.likelihood_of_sight(np.array([0.0, 0.25, 0.5, 0.75, 1.0]), np.full(5, CAR))
    assert sight == pytest.approx([1.0, 1.0, 0.5005, 0.001, 0.001])


def test_of_two_detections_the_likelier_pairing_counts_and_the_gate_holds():
    """Tracks at 0 and 3 m, detections at 2 and 5 m: together they are nearer than the nearest pair and the rest."""
    residual = np.array([[[2.0, 0], [5.0, 0]], [[-1.0, 0], [2.0, 0]]])
    cov = np.tile(np.eye(2), (2, 2, 1, 1))
    cars = np.array([CAR, CAR])
    tracks, detections = associate(residual, cov, np.ones(2), cars, cars, 0.99)
    assert (tracks.tolist(), detections.tolist()) == ([0, 1], [0, 1])
    tracks, detections = associate(residual, cov, np.ones(2), cars, cars, 0.8)  # 2 m is outside of 1.79 m
    assert (tracks.tolist(), detections.tolist()) == ([1], [0])
    tracks, _ = associate(residual, cov, np.ones(2), cars, np.array([PERSON, PERSON]), 0.99)
    assert tracks.tolist() == []


@pytest.mark.parametrize("wrong", [{"memory_s": 0}, {"min_existence": 0}, {"gate": 1.0}, {"max_tracks": 0}])
def test_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrackConfig(**wrong)


def test_same_input_gives_the_same_tracks():
    def run():
        mapper = BevMapper(BevConfig(extent_m=40))
        for k in range(6):
            see(mapper, [VAN, walk(k)], k)
        return copy.deepcopy(mapper.objects)

    for one, other in zip(run(), run()):
        assert np.array_equal(one.center, other.center)
        assert np.array_equal(one.covariance, other.covariance, equal_nan=True)


def test_a_building_is_no_track():
    mapper = BevMapper()
    grid, _ = see(mapper, [WALL], 0)
    assert mapper.objects == []
    assert BUILDING in grid.semantic

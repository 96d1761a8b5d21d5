"""Lifting instances to boxes in an exact world, where the answer is known."""

import numpy as np
import pytest
from fusion_world import Box, observe, pose
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.fusion import FusionError, lift_objects
from amodal_perception_ros.fusion.boxes import Surface, fit_box, fit_boxes
from amodal_perception_ros.fusion.evidence import gather_evidence
from amodal_perception_ros.fusion.geometry import cloud_in_camera
from amodal_perception_ros.fusion.priors import SIZES, SPREADS
from amodal_perception_ros.fusion.ragged import trimmed_range
from amodal_perception_ros.labels import THINGS

VAN = Box("car", 12, 0, (5.0, 2.0, 2.2), np.pi / 2, 1)
PEDESTRIAN = Box("person", 15, 0.3, (0.6, 0.6, 1.7), 0, 2)


def yaw_error(a, b):
    """Difference of headings modulo half a turn [rad]."""
    return abs((a - b + np.pi / 2) % np.pi - np.pi / 2)


def by_class(objects, name):
    return [one for one in objects if one.class_id == Box(name, 0, 0, (1, 1, 1)).class_id]


def test_every_thing_class_has_a_size():
    assert set(SIZES) == {label.id for label in THINGS}
    assert all(size.length >= size.width > 0 and size.height > 0 for size in SIZES.values())


def test_hidden_pedestrian_behind_a_van_is_placed():
    (person,) = by_class(lift_objects(*observe([VAN, PEDESTRIAN])), "person")
    assert person.visible_fraction == 0
    assert person.cameras == ()
    assert person.last_seen_ns == 0
    assert np.allclose(person.center[:2], [15, 0.3], atol=0.35)
    assert person.size[2] == pytest.approx(1.7, abs=0.15)


@pytest.mark.parametrize("yaw", np.deg2rad([0, 20, 45, 70, 90, 120, 155]))
@pytest.mark.parametrize("place", [(10, 0), (8, 9), (0, -11), (-14, 3)])
@pytest.mark.parametrize("lidar", [True, False])
def test_box_of_a_car_at_any_heading(yaw, place, lidar):
    car = Box("car", *place, (4.5, 1.85, 1.55), yaw, 1)
    (found,) = lift_objects(*observe([car], lidar=lidar))
    assert np.linalg.norm(found.center[:2] - place) < 0.75
    assert yaw_error(found.yaw, yaw) < np.deg2rad(10)
    assert np.allclose(found.size[:2], (4.5, 1.85), atol=0.9)
    assert found.center[2] == pytest.approx(0.775, abs=0.2)


def test_lidar_corrects_the_scale_of_the_networks_depth():
    frame, scene = observe([VAN])
    for camera in scene.cameras.values():
        for instance in camera.instances:
            instance.depth *= 1.25
    (anchored,) = lift_objects(frame, scene)
    (exact,) = lift_objects(*observe([VAN]))
    assert np.allclose(anchored.size, exact.size, atol=0.1)
    frame.lidar = None
    (free,) = lift_objects(frame, scene)
    assert np.linalg.norm(anchored.center[:2] - [12, 0]) < 0.5
    assert np.linalg.norm(free.center[:2] - [12, 0]) > 2.0
    assert anchored.position_stddev < 0.3


def test_stray_returns_behind_a_person_do_not_move_it():
    person = Box("person", 10, 0, (0.6, 0.6, 1.7), 0, 1)
    frame, scene = observe([person])
    (expected,) = lift_objects(frame, scene)
    stray = [[x, y, z, 0] for x in (12.0, 12.6, 13.2) for y in (-0.1, 0.0, 0.1) for z in (-1.0, -0.7)]
    frame.lidar = np.concatenate([frame.lidar, np.array(stray, np.float32)])
    (found,) = lift_objects(frame, scene)
    assert np.linalg.norm(found.center[:2] - expected.center[:2]) < 0.1
    assert np.allclose(found.size, expected.size, atol=0.1)


def test_returns_that_contradict_the_cameras_depth_have_no_label():
    scene = observe([])[1].cameras["front"]
    scene.labels[:] = 26001
    scene.depth[:] = 10.0
    points = np.array([[d + 0.5, 0.1, 1.4] for d in (10.0, 14.9, 15.1, 6.1, 5.9)], np.float32)
    cloud = cloud_in_camera(points, scene)
    assert cloud.segment.tolist() == [26001, 26001, 0, 26001, 0]
    assert np.allclose(cloud.depth, [10.0, 14.9, 15.1, 6.1, 5.9])


def test_stddev_is_the_instances_or_a_tenth_of_the_distance():
    for stddev, expected in ((0.7, 0.7), (float("nan"), 0.1 * 10.5)):
        frame, scene = observe([VAN], lidar=False, stddev=stddev)
        (one,) = gather_evidence(scene.cameras["front"], None, None)
        assert one.stddev == pytest.approx(expected, rel=0.05)
        # The van's depth along the line of sight is completed: half of the class's spread in width comes on top.
        (found,) = lift_objects(frame, scene)
        assert found.position_stddev == pytest.approx(np.hypot(expected, SPREADS[26].width / 2), rel=0.05)


@pytest.mark.parametrize("turn", [0.0, 1.1])
def test_position_is_less_certain_along_the_line_of_sight(turn):
    """A pedestrian 15 m ahead, known to 2 m in distance: half of the typical spread in size comes on top."""
    frame, scene = observe([Box("person", 15, 0, (0.6, 0.6, 1.7), 0, 2)], pose(30, 5, turn), lidar=False, stddev=2.0)
    (person,) = lift_objects(frame, scene)
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    along, across = np.sqrt(np.diag(axes.T @ person.covariance[:2, :2] @ axes))
    assert along == pytest.approx(2.0, abs=0.05)
    assert across < 0.2
    assert person.position_stddev == pytest.approx(along, rel=1e-3)
    assert person.covariance[2, 2] == pytest.approx((0.15 / 2) ** 2 + 0.1**2)
    assert np.diag(person.covariance)[3:].tolist() == [-1, -1, -1]  # People have no heading that can be seen.


def test_unseen_length_makes_the_place_and_the_size_uncertain():
    """Of the bus ahead the rear is seen, and half of what its length may be off is its centre's error."""
    (bus,) = lift_objects(*observe([Box("bus", 16, 0, (11.5, 2.6, 3.2), 0, 4)]))
    assert bus.size_stddev[0] == SPREADS[28].length
    assert bus.size_stddev[1] < 0.5
    assert np.sqrt(bus.covariance[0, 0]) == pytest.approx(np.hypot(SPREADS[28].length / 2, 0.15), rel=0.02)
    assert np.sqrt(bus.covariance[1, 1]) < 0.3
    assert np.sqrt(bus.covariance[5, 5]) < np.deg2rad(10)


def test_whole_side_of_a_car_is_more_certain_than_its_rear():
    rear, side = (lift_objects(*observe([Box("car", 12, 0, (5.0, 1.9, 1.6), yaw, 1)]))[0] for yaw in (0.0, np.pi / 2))
    assert side.size_stddev[0] < rear.size_stddev[0]
    assert side.covariance[5, 5] < rear.covariance[5, 5]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 3)), min_size=1, max_size=40))
def test_boxes_of_any_points_are_finite_and_their_covariances_proper(points):
    for class_id in SIZES:
        box = fit_box(np.array(points, np.float32), class_id, np.zeros(3))
        assert np.isfinite(box.center).all()
        assert (box.size > 0).all()
        assert (box.size_stddev > 0).all()
        assert np.linalg.eigvalsh(box.covariance).min() > 0
        assert np.isnan(box.yaw_stddev) or 0 < box.yaw_stddev <= np.pi / np.sqrt(12) + 1e-9


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.sampled_from(sorted(SIZES))), min_size=1, max_size=12), st.integers(0, 9)
)
def test_boxes_do_not_depend_on_their_company(groups, seed):
    """Fitted together or alone, whatever the numbers of points."""
    rng = np.random.default_rng(seed)
    surfaces = [
        Surface(rng.normal(20, 3, (n, 3)).astype(np.float32), label, rng.normal(0, 1, 3), np.zeros((0, 3), np.float32))
        for n, label in groups
    ]
    for one, together in zip(surfaces, fit_boxes(surfaces)):
        alone = fit_box(one.points, one.class_id, one.sensor)
        for name, value in vars(alone).items():
            np.testing.assert_allclose(getattr(together, name), value, atol=1e-5, err_msg=name)


def test_trimmed_range_of_each_group_is_that_of_its_sorted_values():
    rng = np.random.default_rng(0)
    counts = np.array([1, 7, 300, 49, 50, 51, 2, 1000, 99])
    values = rng.normal(size=(2, counts.sum())).astype(np.float32)
    low, high = trimmed_range(values, counts, 0.02)
    for k, group in enumerate(np.split(values, np.cumsum(counts)[:-1], axis=1)):
        cut, ordered = int(0.02 * counts[k]), np.sort(group, axis=1)
        assert low[:, k].tolist() == ordered[:, cut].tolist()
        assert high[:, k].tolist() == ordered[:, -1 - cut].tolist()


@pytest.mark.parametrize("track", [0, 7])
def test_a_bus_in_two_cameras_is_one_object(track):
    frame, scene = observe([Box("bus", 9, 9, (11.5, 2.6, 3.2), 2.4, 4)])
    assert sum(len(camera.instances) for camera in scene.cameras.values()) == 2
    for camera in scene.cameras.values():
        for instance in camera.instances:
            instance.track_id = track
    (bus,) = lift_objects(frame, scene)
    assert set(bus.cameras) == {"front", "left"}
    assert bus.track_id == track
    assert np.linalg.norm(bus.center[:2] - [9, 9]) < 1.0


def test_neighbours_in_one_camera_stay_apart():
    boxes = [Box("person", 10, 0.5 * k, (0.5, 0.5, 1.7), 0, k + 1) for k in range(4)]
    assert len(lift_objects(*observe(boxes))) == 4


def test_different_track_ids_are_never_merged():
    frame, scene = observe([Box("bus", 9, 9, (11.5, 2.6, 3.2), 2.4, 4)])
    for number, camera in enumerate(scene.cameras.values(), 1):
        for instance in camera.instances:
            instance.track_id = number
    assert len(lift_objects(frame, scene)) == 2


def test_objects_move_with_the_pose_and_stay_in_base_without_odometry():
    boxes = [Box("car", 10, 3, (4.5, 1.85, 1.55), 0.4, 1)]
    moved = pose(100.0, -50.0, 1.1)
    (in_odom,) = lift_objects(*observe(boxes, moved))
    frame, scene = observe(boxes)
    frame.odom_from_base = None
    (in_base,) = lift_objects(frame, scene)
    expected = moved @ np.append(in_base.center, 1)
    assert np.allclose(in_odom.center, expected[:3])
    assert yaw_error(in_odom.yaw, in_base.yaw + 1.1) < 1e-6
    assert in_base.track_id == 0
    assert np.isnan(in_base.velocity).all()


def test_score_is_the_existence_probability_and_bad_depth_leaves_the_instance_out():
    frame, scene = observe([VAN, PEDESTRIAN])
    van, person = scene.cameras["front"].instances
    van.score = 0.4
    person.depth[:] = np.nan
    (one,) = lift_objects(frame, scene)
    assert one.existence_probability == pytest.approx(0.4)
    van.depth[:] = np.inf
    assert lift_objects(frame, scene) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.0])
def test_bad_pose_is_refused(bad):
    frame, scene = observe([VAN])
    frame.odom_from_base[0, 0] = bad
    with pytest.raises(FusionError, match="set at 1000000000 ns: the odometry pose"):
        lift_objects(frame, scene)


@pytest.mark.parametrize("cloud", [np.zeros((0, 4)), np.full((50, 4), np.nan), np.full((50, 4), np.inf)])
def test_useless_cloud_is_as_no_cloud(cloud):
    frame, scene = observe([VAN])
    frame.lidar = None
    (without,) = lift_objects(frame, scene)
    frame.lidar = cloud.astype(np.float32)
    (useless,) = lift_objects(frame, scene)
    assert np.array_equal(without.center, useless.center)


def test_box_from_a_single_point_has_the_typical_size_behind_it():
    car = SIZES[26]
    box = fit_box(np.array([[10.0, 0, 0.8]], np.float32), 26, np.zeros(3))
    assert np.allclose(box.size[:2], [car.length, car.width])
    assert np.allclose(box.center[:2], [10 + car.length / 2, 0])
    assert box.yaw == 0


def test_rear_of_a_car_is_completed_away_from_the_viewer():
    rear = np.array([[10.0, y, z] for y in np.linspace(-0.9, 0.9, 20) for z in (0.3, 0.8, 1.4)], np.float32)
    box = fit_box(rear, 26, np.zeros(3))
    assert box.center[0] == pytest.approx(10 + SIZES[26].length / 2, abs=0.05)
    assert np.allclose(box.size[:2], SIZES[26][:2])
    assert yaw_error(box.yaw, 0) < np.deg2rad(3)

"""Sensors of one set at different times: what they saw must come together at the set's stamp."""

import dataclasses

import numpy as np
import pytest
from fusion_world import Box, camera_scene, observe, rig
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trajectory import MS, START, drive, pose_on_circle

from amodal_perception_ros.fusion import BevConfig, BevMapper, lift_objects
from amodal_perception_ros.fusion.geometry import lidar_in_base
from amodal_perception_ros.motion_compensation import VehicleOutline, compensate
from amodal_perception_ros.perception.preprocess import prepare
from amodal_perception_ros.scene import SurroundFrame, SurroundScene

CURVE = {"speed": 15.0, "turn_rate": 0.5}
LATE_MS = 40
CAR = Box("car", 12.0, 1.0, (4.6, 1.95, 1.65), number=1)


def frame_of(points, circle, late_ms=LATE_MS, width=512, **options):
    """A set whose cameras all come `late_ms` after its LiDAR; odometry at 50 Hz."""
    setup = rig(width, width * 9 // 16)
    images = {camera.name: np.zeros((camera.height, width, 3), np.uint8) for camera in setup.cameras}
    points = np.column_stack([points, np.zeros(len(points))]).astype(np.float32)
    values = {
        "stamp_ns": START,
        "rig": setup,
        "images": images,
        "image_stamps_ns": dict.fromkeys(images, START + late_ms * MS),
        "lidar": points,
        "lidar_stamp_ns": START,
        "odom_from_base": np.eye(4),
        "trajectory": drive(range(-200, 201, 20), **circle),
    }
    return SurroundFrame(**{**values, **options})


def pixel(camera, base_from_camera, point):
    x, y, z = (np.linalg.inv(base_from_camera) @ [*point, 1.0])[:3]
    return camera.intrinsics[:2] @ [x / z, y / z, 1.0], z


def projection_error(frame, name, point, circle, late_ms=LATE_MS):
    """Pixels between where a frame's rig projects a point of base_link at the set's stamp and where the camera saw it.

    The camera sees it from the exact place of the vehicle at the image's stamp.
    """
    mounted = rig(512, 288).camera(name)
    true, _ = pixel(mounted, pose_on_circle(late_ms / 1000, **circle) @ mounted.base_from_camera, point)
    camera = frame.rig.camera(name)
    return float(np.hypot(*(pixel(camera, camera.base_from_camera, point)[0] - true)))


@pytest.mark.parametrize(
    ("name", "point", "circle", "expected"),
    [
        # f = 256 px. At 15 m/s the vehicle is 0.6 m farther after 40 ms.
        # Front camera, 10 m before it and 3 m to the side: 256 (3 / 9.4 - 3 / 10).
        ("front", (10.5, -3.0, 1.5), {"speed": 15.0}, 4.902),
        # Left camera, 10 m before it, straight ahead: 256 * 0.6 / 10.
        ("left", (0.0, 10.5, 1.5), {"speed": 15.0}, 15.36),
        # At 0.5 rad/s on a radius of 30 m the vehicle is 30 sin 0.02 = 0.600 m ahead, 30 (1 - cos 0.02) = 0.006 m to
        # the left and turned by 0.02 rad. (10.5 - 0.600, -0.006) turned by -0.02 rad is (9.898, -0.204), less the
        # 0.5 m of the camera before base_link: 256 * 0.204 / 9.398.
        ("front", (10.5, 0.0, 1.5), CURVE, 5.55),
    ],
)
def test_a_late_camera_sees_a_point_where_the_lidar_has_it(name, point, circle, expected):
    frame = frame_of([np.subtract(point, (0, 0, 1.9))], circle)
    assert projection_error(frame, name, point, circle) == pytest.approx(expected, abs=0.01)
    compensation = compensate(frame)
    assert compensation.faults == {}
    assert projection_error(compensation.frame, name, point, circle) < 0.02


def test_the_networks_guidance_lies_on_what_the_camera_sees():
    """f = 128 px: at 10 m the left camera's image has moved by 7.68 px, from 128.64 to 120.96."""
    frame = frame_of([[0.05, 10.5, -0.4]], {"speed": 15.0}, width=256)
    rows, columns = {}, {}
    for key, given_frame in (("raw", frame), ("compensated", compensate(frame).frame)):
        guidance = prepare(given_frame, (256, 160)).guidance[3, 1]  # left
        (rows[key],), (columns[key],) = np.nonzero(guidance)
    assert rows["raw"] == rows["compensated"] == 72
    # The vehicle drives on: what was straight to the left is now behind, on the left of the left camera's image.
    assert (columns["raw"], columns["compensated"]) == (128, 120)


@settings(deadline=None)
@given(st.integers(-80, 80), st.floats(-20, 20), st.floats(-0.8, 0.8))
def test_what_is_compensated_and_moved_back_is_what_was(late_ms, speed, turn_rate):
    circle = {"speed": speed, "turn_rate": turn_rate}
    frame = frame_of([[20.0, 3, 0]], circle, late_ms=late_ms)
    frame.lidar_stamp_ns = START + late_ms * MS
    moved = compensate(frame).frame
    motion = pose_on_circle(late_ms / 1000, **circle)
    for camera in moved.rig.cameras:
        back = np.linalg.inv(motion) @ camera.base_from_camera
        np.testing.assert_allclose(back, frame.rig.camera(camera.name).base_from_camera, atol=2e-3)
    world = lidar_in_base(moved)
    np.testing.assert_allclose(world, lidar_in_base(frame) @ motion[:3, :3].T + motion[:3, 3], atol=5e-3)


def wall_seen_by_a_moving_lidar(circle, stamps_ms, distance=20.0):
    """LiDAR points of the wall x = distance of base_link at START, each from where the vehicle is at its time."""
    mounted = rig().base_from_lidar
    across = np.linspace(-15, 15, len(stamps_ms))
    wall = np.column_stack(
        [np.full(len(across), distance), across, np.linspace(0.2, 3, len(across)), np.ones(len(across))]
    )
    seen = [np.linalg.inv(pose_on_circle(ms / 1000, **circle) @ mounted) @ p for ms, p in zip(stamps_ms, wall)]
    return np.array(seen)[:, :3], wall[:, :3]


@pytest.mark.parametrize("circle", [{"speed": 15.0}, CURVE])
@pytest.mark.parametrize("first_ms", [0, -100, -50])
def test_a_wall_seen_by_a_moving_lidar_is_flat_again(circle, first_ms):
    times = np.linspace(first_ms, first_ms + 100, 301)
    points, wall = wall_seen_by_a_moving_lidar(circle, times)
    frame = frame_of(points, circle, lidar_times_s=(times / 1000).astype(np.float32))
    raw = lidar_in_base(frame)
    assert np.ptp(raw[:, 0]) > 0.8
    moved = compensate(frame).frame
    np.testing.assert_allclose(lidar_in_base(moved), wall, atol=5e-3)
    assert moved.lidar_times_s is None
    # Its rays start where the sensor was in the middle of the sweep.
    middle = pose_on_circle((first_ms + 50) / 1000, **circle) @ frame.rig.base_from_lidar
    np.testing.assert_allclose(moved.rig.base_from_lidar, middle, atol=2e-3)


def test_a_sweep_with_a_stamp_only_moves_as_one():
    frame = frame_of([[20.0, 0, 0]], {"speed": 10.0}, lidar_stamp_ns=START - 50 * MS)
    moved = compensate(frame).frame
    assert np.array_equal(moved.lidar, frame.lidar)
    assert lidar_in_base(moved)[0] == pytest.approx([19.5, 0, 1.9], abs=1e-5)


def test_the_vehicles_own_returns_and_the_sensors_zeros_stay():
    """The bonnet goes where the vehicle goes; the sensor's (0, 0, 0) is no place that could move."""
    bonnet, zero, nothing = [2.0, 0.3, -0.9], [0.0, 0, 0], [np.nan, np.inf, -np.inf]
    times = np.array([0.1, 0.1, 0.1, 0.0], np.float32)
    frame = frame_of([bonnet, zero, nothing, [30, 0, 0]], {"speed": 15.0}, lidar_times_s=times)
    own, kept, lost, _ = compensate(frame).frame.lidar[:, :3]
    assert (kept == 0).all()
    assert not np.isfinite(lost).any()
    in_base = compensate(frame).frame.rig.base_from_lidar @ [*own, 1]
    assert in_base[:3] == pytest.approx([2.0, 0.3, 1.0], abs=1e-5)
    shorter = compensate(frame, VehicleOutline(length=3.0)).frame
    in_base = shorter.rig.base_from_lidar @ [*shorter.lidar[0, :3], 1]
    assert in_base[:3] == pytest.approx([3.5, 0.3, 1.0], abs=1e-5)


def test_a_frame_without_a_trajectory_is_the_same_object():
    frame = frame_of([[20.0, 0, 0]], {"speed": 10.0}, trajectory=None)
    assert compensate(frame).frame is frame
    moved = compensate(dataclasses.replace(frame, trajectory=drive(range(-200, 201, 20)))).frame
    assert compensate(moved).frame is moved


def test_simultaneous_sensors_need_no_odometry_and_stay_bit_for_bit():
    frame = frame_of([[20.0, 0, 0]], {}, late_ms=0, trajectory=drive([]))
    compensation = compensate(frame)
    assert compensation.faults == {}
    assert compensation.frame.lidar is frame.lidar
    assert compensation.frame.rig.cameras == frame.rig.cameras


def test_clock_offsets_are_no_motion():
    frame = frame_of([[20.0, 0, 0]], {"speed": 15.0}, lidar_stamp_ns=START + 30 * MS)
    frame.clock_offsets_ns = {"front": LATE_MS * MS, "back": LATE_MS * MS - 20 * MS, "lidar": 30 * MS}
    moved = compensate(frame).frame
    assert moved.rig.camera("front") is frame.rig.camera("front")
    assert moved.lidar is frame.lidar
    ahead = moved.rig.camera("back").base_from_camera - frame.rig.camera("back").base_from_camera
    assert ahead[:3, 3] == pytest.approx([0.3, 0, 0])


@pytest.mark.parametrize(
    ("trajectory", "cause"),
    [
        (drive([]), "no odometry"),
        (drive([0]), "a single odometry pose"),
        (drive([-400, -380, -170]), "odometry ends too early"),
        (drive([-300, -280, -20, 300]), "a gap in the odometry"),
    ],
)
def test_what_cannot_be_compensated_stays_and_is_named(trajectory, cause):
    frame = frame_of([[20.0, 0, 0]], {}, trajectory=trajectory)
    compensation = compensate(frame)
    assert compensation.faults == dict.fromkeys(frame.images, cause)
    for camera in frame.rig.cameras:
        assert compensation.frame.rig.camera(camera.name) is camera
    assert compensation.frame.lidar is frame.lidar


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0.0, 1.2], "more than 1 s"),
        ([5.0, 5.1], "more than 1 s"),
        ([0.0, np.nan], "not finite"),
    ],
)
def test_absurd_times_of_points_are_not_trusted(times, words):
    points = [[20.0, 0, 0], [30.0, 0, 0]]
    frame = frame_of(points, {"speed": 15.0}, lidar_stamp_ns=START - 20 * MS)
    frame.lidar_times_s = np.array(times, np.float32)
    compensation = compensate(frame)
    assert words in compensation.faults["lidar"]
    # The sweep as a whole is still moved by its stamp.
    assert lidar_in_base(compensation.frame)[:, 0] == pytest.approx([19.7, 29.7], abs=1e-5)


def late_set(late_ms=LATE_MS, lidar=False, speed=15.0):
    """A set and its true scene with all cameras `late_ms` late, of a world at rest in base_link at the set's stamp."""
    frame, _ = observe([CAR], stamp_ns=START, lidar=lidar)
    ahead = speed * late_ms / 1000
    then = dataclasses.replace(CAR, x=CAR.x - ahead)
    scenes = {c.name: camera_scene(c, [then], START + late_ms * MS) for c in frame.rig.cameras}
    frame.image_stamps_ns = dict.fromkeys(scenes, START + late_ms * MS)
    frame.trajectory = drive(range(-200, 201, 20), speed=speed)
    return frame, SurroundScene(START, scenes)


@pytest.mark.parametrize("lidar", [True, False])
def test_objects_stand_where_they_stood_at_the_sets_stamp(lidar):
    (expected,) = lift_objects(*observe([CAR], lidar=lidar))
    frame, scene = late_set(lidar=lidar)
    (found,) = lift_objects(frame, scene)
    assert found.center == pytest.approx(expected.center, abs=0.05)
    if not lidar:
        (raw,) = lift_objects(dataclasses.replace(frame, trajectory=None), scene)
        assert raw.center[0] - expected.center[0] == pytest.approx(-0.6, abs=0.05)


def test_fusion_compensates_once_whoever_did_it_before():
    frame, scene = late_set(lidar=True)
    moved = compensate(frame).frame
    placed = {name: dataclasses.replace(one, camera=moved.rig.camera(name)) for name, one in scene.cameras.items()}
    perceived = dataclasses.replace(scene, cameras=placed)
    expected = BevMapper().update(frame, scene)
    for again in (BevMapper().update(frame, perceived), BevMapper().update(moved, perceived)):
        assert np.array_equal(again.amodal, expected.amodal)


def test_track_ids_reach_the_instances_of_the_scene_that_was_given():
    frame, scene = late_set(lidar=True)
    given_instances = [one for camera in scene.cameras.values() for one in camera.instances]
    mapper = BevMapper()
    mapper.update(frame, scene)
    (track,) = mapper.objects
    assert [one.track_id for one in given_instances if one.visible_mask.area] == [track.track_id]
    assert [one for camera in scene.cameras.values() for one in camera.instances] == given_instances


def test_the_cameras_own_casting_is_compensated():
    config = BevConfig(extent_m=40.0)
    still = BevMapper(config).update(*observe([CAR], lidar=False, stamp_ns=START))
    frame, scene = late_set()
    late = BevMapper(config).update(frame, scene)
    raw = BevMapper(config).update(dataclasses.replace(frame, trajectory=None), scene)
    wrong = [int(((bev.visible > 50) & (still.visible < 50)).sum()) for bev in (late, raw)]
    assert wrong[0] < wrong[1] / 2


def test_times_need_one_value_a_point():
    with pytest.raises(ValueError, match="one value a point"):
        frame_of([[20.0, 0, 0]], {}, lidar_times_s=np.zeros(2, np.float32))

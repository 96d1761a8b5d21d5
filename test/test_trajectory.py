"""Interpolated motion against known answers: straight drives, circles, and what counts as unknown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from amodal_perception_ros.trajectory import Trajectory

MS = 1_000_000
START = 1_700_000_000_000_000_000
"""Nanoseconds since 1970 that a float64 does not resolve."""


def pose_on_circle(seconds, speed=15.0, turn_rate=0.0, x=0.0, y=0.0):
    """Pose of a vehicle that starts along x and turns left at a constant rate [rad/s]."""
    heading = turn_rate * seconds
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec([0, 0, heading]).as_matrix()
    if abs(turn_rate) > 1e-6:
        radius = speed / turn_rate
        matrix[:2, 3] = radius * np.sin(heading) + x, radius * (1 - np.cos(heading)) + y
    else:
        matrix[:2, 3] = speed * seconds + x, y
    return matrix


def drive(milliseconds, start=START, **circle):
    stamps = start + np.array(milliseconds, np.int64) * MS
    poses = [pose_on_circle(ms / 1000, **circle) for ms in milliseconds]
    return Trajectory(stamps, np.array(poses).reshape(-1, 4, 4))


def at(trajectory, *milliseconds, start=START):
    return trajectory.poses_at(start + np.array(milliseconds, np.int64) * MS)


def test_between_two_poses_lies_their_mean():
    first, last = np.eye(4), np.eye(4)
    last[:3, :3] = Rotation.from_rotvec([0, 0, 0.2]).as_matrix()
    last[:3, 3] = 1.0, 2.0, 0.5
    (middle,) = at(Trajectory(START + np.array([0, 100]) * MS, np.array([first, last])), 50)
    assert middle[:3, 3] == pytest.approx([0.5, 1.0, 0.25])
    assert Rotation.from_matrix(middle[:3, :3]).as_rotvec() == pytest.approx([0, 0, 0.1])


@settings(deadline=None)
@given(st.floats(-20, 20), st.floats(-1, 1).filter(lambda rate: abs(rate) > 1e-3), st.integers(-150, 350))
def test_a_circle_is_followed_and_extrapolated(speed, turn_rate, ms):
    """A chord of 20 ms deviates by at most v w h^2 / 8 = 1 mm, an extrapolated one by v (w h)^2 / 24 per second."""
    trajectory = drive(range(0, 201, 20), speed=speed, turn_rate=turn_rate)
    np.testing.assert_allclose(at(trajectory, ms)[0], pose_on_circle(ms / 1000, speed, turn_rate), atol=6e-3)


def test_odometry_far_from_its_origin_loses_nothing():
    near = drive(range(0, 101, 20))
    far = drive(range(0, 101, 20), x=6e5, y=5e6)
    moved = at(far, 50)[0][:3, 3] - at(far, 0)[0][:3, 3]
    assert moved == pytest.approx(at(near, 50)[0][:3, 3], abs=1e-8)


@pytest.mark.parametrize(
    ("first", "last", "fault"),
    [
        (0, 100, None),
        (-200, 0, None),
        (100, 300, None),
        (-201, 0, "odometry begins too late"),
        (0, 301, "odometry ends too early"),
    ],
)
def test_extrapolation_ends_after_two_tenths_of_a_second(first, last, fault):
    trajectory = drive(range(0, 101, 20))
    assert trajectory.fault(START + first * MS, START + last * MS) == fault
    if fault:
        with pytest.raises(ValueError, match=fault):
            at(trajectory, first, last)


def test_without_poses_and_with_a_single_one_nothing_is_known():
    assert drive([]).fault(START, START) == "no odometry"
    alone = drive([0])
    assert alone.fault(START, START) is None
    assert alone.fault(START, START + MS) == "a single odometry pose"


def test_a_gap_is_unknown_only_where_it_is_crossed():
    trajectory = drive([0, 20, 40, 291, 311])
    assert trajectory.fault(START, START + 40 * MS) is None
    assert trajectory.fault(START + 291 * MS, START + 311 * MS) is None
    assert trajectory.fault(START + 40 * MS, START + 291 * MS) == "a gap in the odometry"
    # Beyond the end the motion of the last 100 ms counts, which the gap is a part of.
    assert trajectory.fault(START + 311 * MS, START + 320 * MS) == "a gap in the odometry"


@pytest.mark.parametrize("kind", ["place", "heading"])
def test_a_jump_is_unknown_only_where_it_is_crossed(kind):
    trajectory = drive(range(0, 201, 10))
    poses = trajectory.poses.copy()
    if kind == "place":
        poses[10:, 1, 3] += 0.3
    else:
        poses[10:, :3, :3] = Rotation.from_rotvec([0, 0, 0.06]).as_matrix()
    jumping = Trajectory(trajectory.stamps_ns, poses)
    assert jumping.fault(START, START + 90 * MS) is None
    assert jumping.fault(START + 100 * MS, START + 200 * MS) is None
    assert jumping.fault(START + 85 * MS, START + 95 * MS) == "a jump of the odometry"


@pytest.mark.parametrize("turn_rate", [0.0, 0.5])
def test_hard_braking_in_a_curve_is_no_jump(turn_rate):
    seconds = np.arange(0, 1.0, 0.02)
    heading, speed = turn_rate * seconds, 20.0 - 9.0 * seconds
    poses = np.tile(np.eye(4), (len(seconds), 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.outer(heading, [0, 0, 1])).as_matrix()
    poses[:, 0, 3], poses[:, 1, 3] = (np.cumsum(speed * f(heading)) * 0.02 for f in (np.cos, np.sin))
    trajectory = Trajectory(START + np.rint(seconds * 1e9).astype(np.int64), poses)
    assert trajectory.fault(START, START + 980 * MS) is None


@pytest.mark.parametrize(
    ("stamps", "change", "words"),
    [
        ([0, 0], None, "strictly increase"),
        ([5, 0], None, "strictly increase"),
        ([0, 5, 9], None, "got"),
        ([0, 5], (0, 3, np.nan), "not finite"),
        ([0, 5], (0, 0, 2.0), "no rigid transform"),
        ([0, 5], (0, 0, -1.0), "no rigid transform"),
    ],
)
def test_what_is_no_trajectory_is_refused(stamps, change, words):
    poses = np.tile(np.eye(4), (2, 1, 1))
    if change:
        poses[1, change[0], change[1]] = change[2]
    with pytest.raises(ValueError, match=words):
        Trajectory(np.array(stamps, np.int64), poses)

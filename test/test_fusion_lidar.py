"""Ray casting with answers worked out by hand, and what must hold for any scan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.fusion.lidar import GridFrame, Scan, cast, make_scan

GRID = GridFrame(-10, -10, 20, 1.0)


def scan_of(points, obstacle, reach=None, origin=(0.5, 0.5)):
    points = np.asarray(points, np.float64).reshape(-1, 2)
    return Scan(
        origin,
        points,
        np.broadcast_to(obstacle, len(points)).copy(),
        np.ones(len(points), np.float32) if reach is None else np.asarray(reach, np.float32),
    )


def cell(mask, x, y):
    return bool(mask[y + 10, x + 10])


def test_a_wall_is_occupied_free_before_and_unknown_behind():
    wall = np.column_stack([np.full(2001, 5.5), np.linspace(-9.4, 10.4, 2001)])
    free, occupied, _glimpsed = cast(scan_of(wall, True), GRID, 720)
    expected = np.zeros((20, 20), bool)
    expected[:, 15] = True  # x in [5, 6), all rows that the wall crosses
    expected[0, 15] = True
    assert np.array_equal(occupied, expected)
    for x in range(0, 5):
        assert cell(free, x, 0)
        assert not cell(occupied, x, 0)
    assert not any(cell(free, x, 0) for x in range(5, 10))
    assert not any(cell(free, x, 0) for x in range(-10, 0))
    assert cell(free, 2, 2)
    assert cell(free, 4, -4)
    assert not cell(free, 0, 5)  # straight to the left: the sector met no wall


def test_one_ray_frees_the_cells_of_its_sector_only():
    free, occupied, _glimpsed = cast(scan_of([[7.5, 0.5]], True), GRID, 720)
    assert [cell(free, x, 0) for x in range(10)] == [True] * 7 + [False] * 3  # the sensor's own cell too
    assert free.sum() == 7
    assert occupied.sum() == 1
    assert cell(occupied, 7, 0)


def test_ground_seen_behind_an_obstacle_is_glimpsed_and_the_gap_unknown():
    free, occupied, glimpsed = cast(scan_of([[4.5, 0.5], [8.5, 0.5]], [True, False]), GRID, 720)
    assert [x for x in range(10) if cell(free, x, 0)] == [0, 1, 2, 3]
    assert [x for x in range(10) if cell(glimpsed, x, 0)] == [8]
    assert cell(occupied, 4, 0)


def test_two_obstacles_on_one_ray_are_both_occupied_and_free_ends_at_the_first():
    free, occupied, _glimpsed = cast(scan_of([[4.5, 0.5], [8.5, 0.5]], True), GRID, 720)
    assert [x for x in range(10) if cell(free, x, 0)] == [0, 1, 2, 3]
    assert [x for x in range(10) if cell(occupied, x, 0)] == [4, 8]


def test_ray_above_the_band_frees_only_the_part_below_its_top():
    # The sensor is 1.5 m high, the return 3.5 m high and 8 m away, the band ends at 2.5 m: half-way, 4 m.
    scan, _ = make_scan(np.array([[8.0, 0, 3.5]], np.float32), np.array([0, 0, 1.5]), np.eye(4), 0.2, 2.5)
    assert scan.reach[0] == pytest.approx(0.5)
    free, occupied, _glimpsed = cast(scan, GridFrame(-10, -10, 40, 0.5), 8)
    assert not occupied.any()
    row = free[10]  # y in [0, 0.5), which the sector [0, 45) degrees holds from x = 0.5 on
    assert [float(c * 0.5 - 5) for c in np.flatnonzero(row)] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]


def test_height_band_edges_count_as_obstacles():
    points = np.array([[5, 0, z] for z in (0.19, 0.2, 2.5, 2.51)], np.float32)
    scan, _ = make_scan(points, np.array([0, 0, 1.5]), np.eye(4), np.float32(0.2), np.float32(2.5))
    assert scan.obstacle.tolist() == [False, True, True, False]


def test_the_pose_moves_sensor_and_points():
    pose = np.array([[0, -1, 0, 3.0], [1, 0, 0, 4.0], [0, 0, 1, 0], [0, 0, 0, 1]])
    scan, odom = make_scan(np.array([[2, 0, 1]], np.float32), np.array([1.0, 0, 2.0]), pose, 0.2, 2.5)
    assert scan.origin == (3.0, 5.0)
    assert np.allclose(odom, [[3, 6, 1]])


def test_an_empty_sector_between_two_seen_takes_the_shorter_range():
    angle = 2 * np.pi / 16
    directions = [np.array([np.cos(a), np.sin(a)]) for a in (angle / 2, 2.5 * angle)]
    origin = np.array([0.5, 0.5])
    free, _, _ = cast(scan_of([origin + 9 * directions[0], origin + 5 * directions[1]], False), GRID, 16)
    between = origin + np.array([np.cos(1.5 * angle), np.sin(1.5 * angle)]) * 4.0
    beyond = origin + np.array([np.cos(1.5 * angle), np.sin(1.5 * angle)]) * 6.5
    assert cell(free, *np.floor(between).astype(int))
    assert not cell(free, *np.floor(beyond).astype(int))


def test_empty_scan_and_points_outside_the_grid():
    free, occupied, glimpsed = cast(scan_of(np.zeros((0, 2)), True), GRID, 720)
    assert not free.any()
    assert not occupied.any()
    assert not glimpsed.any()
    assert GRID.flat_index(np.array([[-10.0, -10.0], [9.99, 9.99], [10.0, 0], [0, -10.01]])).tolist() == [
        0,
        399,
        -1,
        -1,
    ]
    _, occupied, _ = cast(scan_of([[500.0, 0.5], [-500.0, 3]], True), GRID, 720)
    assert not occupied.any()


POINTS = st.lists(
    st.tuples(st.floats(-12, 12), st.floats(-12, 12), st.booleans()).filter(lambda p: np.hypot(p[0], p[1]) > 0.1),
    min_size=1,
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(POINTS)
def test_free_never_lies_behind_the_first_obstacle_of_its_sector(points):
    xy = np.array([p[:2] for p in points])
    obstacle = np.array([p[2] for p in points])
    free, occupied, glimpsed = cast(scan_of(xy, obstacle, origin=(0.0, 0.0)), GRID, 36)
    assert (free.astype(int) + occupied + glimpsed).max() <= 1
    assert np.array_equal(occupied, GRID.mask(xy[obstacle]))
    assert (GRID.mask(xy[~obstacle]) <= (free | occupied | glimpsed)).all()
    turn = (np.arctan2(xy[:, 1], xy[:, 0]) + np.pi) / (2 * np.pi) * 36
    sector = np.where(np.abs(turn - np.rint(turn)) < 1e-3, -1, np.floor(turn))  # -1: on a border, either side is right
    for row, column in np.argwhere(free):
        x, y = column - 9.5, row - 9.5
        own = np.floor((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 36)
        blocking = np.hypot(*xy[obstacle & (sector == own)].T)
        assert not (blocking < np.hypot(x, y) - 1e-3).any()

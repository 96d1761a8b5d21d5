"""The BEV grid: known answers in an exact world, memory, invariants, bad input."""

import numpy as np
import pytest
from fusion_world import BUILDING, ROAD, Box, observe, pose, sweep
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.fusion import BevConfig, BevMapper, FusionError
from amodal_perception_ros.fusion.boxes import UprightBox
from amodal_perception_ros.fusion.evidence import ObjectEvidence
from amodal_perception_ros.fusion.footprint import hidden_occupancy, remembered_occupancy
from amodal_perception_ros.fusion.lidar import GridFrame
from amodal_perception_ros.fusion.objects import PlacedObject
from amodal_perception_ros.fusion.tracks import Track
from amodal_perception_ros.scene import Evidence, SourceStatus, SurroundFrame, SurroundScene

VAN = Box("car", 12, 0, (5.0, 2.0, 2.2), np.pi / 2, 1)
PEDESTRIAN = Box("person", 15, 0.3, (0.6, 0.6, 1.7), 0, 2)
WALL = Box("building", 0, 20, (60, 1, 6))
MS = 1_000_000


def at(bev, x, y, layer):
    row, column = (int(np.floor((v - o) / bev.resolution)) for v, o in zip((y, x), (bev.origin[1], bev.origin[0])))
    return int(getattr(bev, layer)[row, column])


def silent(frame, stamp_ns, odom_from_base):
    """A set in which every sensor but the odometry is missing."""
    return SurroundFrame(stamp_ns, frame.rig, {}, odom_from_base=odom_from_base), SurroundScene(stamp_ns, {})


def test_hidden_pedestrian_is_in_amodal_and_not_in_visible():
    bev = BevMapper().update(*observe([VAN, PEDESTRIAN, WALL]))
    assert at(bev, 15, 0.3, "visible") == -1
    assert at(bev, 15, 0.3, "amodal") >= 80
    assert at(bev, 15, 0.3, "evidence") == Evidence.AMODAL_INFERRED
    assert at(bev, 15, 0.3, "semantic") == PEDESTRIAN.class_id


def test_van_wall_road_and_the_unknown():
    bev = BevMapper().update(*observe([VAN, PEDESTRIAN, WALL]))
    assert at(bev, 11.1, 0, "visible") >= 90
    assert at(bev, 11.1, 0, "semantic") == VAN.class_id
    assert at(bev, 12, 0, "visible") == -1
    assert at(bev, 12, 0, "amodal") >= 80
    assert at(bev, 0.1, 19.55, "visible") >= 90
    assert at(bev, 0.1, 19.55, "semantic") == BUILDING
    assert at(bev, 6, 0, "amodal") == at(bev, 6, 0, "visible") == 10
    assert at(bev, 6, 0, "evidence") == Evidence.LIDAR
    assert ROAD in bev.semantic
    for x, y in ((18, 0), (0, 25)):
        assert at(bev, x, y, "visible") == at(bev, x, y, "amodal") == -1
        assert at(bev, x, y, "evidence") == Evidence.UNKNOWN
        assert at(bev, x, y, "semantic") == 0


def test_shape_types_and_band_are_those_of_the_configuration():
    config = BevConfig(extent_m=20, resolution_m=0.5, z_min=0.3, z_max=2.0)
    bev = BevMapper(config).update(*observe([WALL]))
    for name, dtype in (("visible", np.int8), ("amodal", np.int8), ("semantic", np.uint8), ("evidence", np.uint8)):
        assert getattr(bev, name).shape == (40, 40)
        assert getattr(bev, name).dtype == dtype
    assert (bev.resolution, bev.z_min, bev.z_max, bev.stamp_ns) == (0.5, 0.3, 2.0, 10**9)


@pytest.mark.parametrize("x", [0.0, 0.24, 0.26, -0.24, 100.13, -73.4])
def test_origin_is_a_whole_number_of_cells_and_the_vehicle_in_the_middle(x):
    config = BevConfig(extent_m=20, resolution_m=0.5)
    bev = BevMapper(config).update(*observe([], pose(x, -x)))
    for origin, ego in zip(bev.origin, (x, -x)):
        assert origin / 0.5 == pytest.approx(round(origin / 0.5), abs=1e-9)
        assert abs(origin + 10 - ego) <= 0.25 + 1e-6


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (3, 2), (-39, 5)])
def test_memory_rolls_with_the_vehicle_by_whole_cells(shift):
    config = BevConfig(extent_m=20, resolution_m=0.5, seen_memory_s=1e9, inferred_memory_s=1e9)
    frame, scene = observe([Box("car", 6, 1, (4.5, 1.8, 1.5), 0.3, 1)])
    mapper = BevMapper(config)
    before = mapper.update(frame, scene)
    step = np.array(shift) * 0.5
    after = mapper.update(*silent(frame, 2 * 10**9, pose(*step)))
    assert np.allclose(np.array(after.origin) - before.origin, step)
    for name in ("visible", "amodal"):
        old, new = getattr(before, name), getattr(after, name)
        for row in range(40):
            for column in range(40):
                r, c = row + shift[1], column + shift[0]
                expected = old[r, c] if 0 <= r < 40 and 0 <= c < 40 else -1
                assert new[row, column] == expected
    assert set(np.unique(after.evidence)) <= {Evidence.UNKNOWN, Evidence.REMEMBERED}


def test_what_is_no_longer_seen_fades_to_unknown():
    frame, scene = observe([VAN, PEDESTRIAN])
    mapper = BevMapper(BevConfig(seen_memory_s=2.0, inferred_memory_s=0.5))
    first = mapper.update(frame, scene)
    known, seen, inferred = [], [], []
    for k in range(1, 120):
        bev = mapper.update(*silent(frame, 10**9 + k * 100 * MS, pose()))
        known.append(int((bev.amodal >= 0).sum()))
        seen.append(at(bev, 11.1, 0, "visible"))
        inferred.append(at(bev, 15, 0.3, "amodal"))
    assert known[0] == (first.amodal >= 0).sum()
    assert known[-1] == 0
    assert seen[0] > seen[10] >= 50
    assert inferred.index(-1) < seen.index(-1)


def test_repeated_evidence_hardens_and_contrary_evidence_wins_quickly():
    mapper = BevMapper()
    values = []
    for k in range(4):
        bev = mapper.update(*observe([VAN], stamp_ns=10**9 + k * 100 * MS))
        values.append(at(bev, 11.1, 0, "visible"))
    assert values[0] == 90
    assert values[-1] >= 97
    for k in range(4, 7):
        bev = mapper.update(*observe([], stamp_ns=10**9 + k * 100 * MS))
    assert at(bev, 11.1, 0, "visible") <= 10
    assert at(bev, 12, 0, "amodal") <= 10
    assert at(bev, 12, 0, "semantic") in (0, ROAD)


def test_an_obstacle_counts_at_once_where_it_was_free_for_long():
    mapper = BevMapper()
    for k in range(5):
        bev = mapper.update(*observe([], stamp_ns=10**9 + k * 100 * MS))
    assert at(bev, 11.1, 0, "visible") <= 2
    bev = mapper.update(*observe([VAN], stamp_ns=10**9 + 500 * MS))
    assert at(bev, 11.1, 0, "visible") == 90
    assert at(bev, 12, 0, "amodal") >= 80


def test_odometry_jump_and_time_jump_drop_the_memory_and_are_counted():
    frame, scene = observe([VAN])
    mapper = BevMapper()
    mapper.update(frame, scene)
    bev = mapper.update(*silent(frame, 10**9 + 100 * MS, pose(20.0)))
    assert mapper.resets == {"odometry jump": 1}
    assert (bev.amodal == -1).all()
    mapper.update(*observe([VAN], pose(20.0), stamp_ns=10**9 + 200 * MS))
    bev = mapper.update(*silent(frame, 10**9, pose(20.0)))
    assert mapper.resets == {"odometry jump": 1, "time jump": 1}
    assert (bev.amodal == -1).all()


def test_fast_driving_is_no_jump():
    mapper = BevMapper()
    for k in range(5):
        mapper.update(*observe([VAN], pose(5.0 * k), stamp_ns=10**9 + k * 100 * MS))
    assert not mapper.resets


def test_without_lidar_the_cameras_see_free_and_occupied():
    bev = BevMapper().update(*observe([VAN, PEDESTRIAN, WALL], lidar=False, stddev=0.1))
    assert at(bev, 6, 0, "visible") == 30
    assert at(bev, 6, 0, "evidence") == Evidence.CAMERA
    assert at(bev, 11.1, 0, "visible") == 70
    assert at(bev, 15, 0.3, "visible") == -1
    assert at(bev, 15, 0.3, "amodal") >= 80
    assert at(bev, 25, 0, "visible") == -1
    status = {source.name: source.status for source in bev.sources}
    assert status["lidar"] == SourceStatus.MISSING
    assert status["odometry"] == status["front"] == SourceStatus.OK


@pytest.mark.parametrize(
    "cloud", [np.zeros((0, 4)), np.full((9, 4), np.nan), np.full((9, 4), np.inf), np.zeros((9, 4))]
)
def test_useless_cloud_is_as_no_lidar(cloud):
    frame, scene = observe([VAN, WALL], lidar=False)
    expected = BevMapper().update(frame, scene)
    frame.lidar = cloud.astype(np.float32)
    bev = BevMapper().update(frame, scene)
    assert np.array_equal(bev.amodal, expected.amodal)
    assert {s.name: s.status for s in bev.sources}["lidar"] == SourceStatus.MISSING


def test_nan_points_among_good_ones_change_nothing():
    frame, scene = observe([VAN, WALL])
    expected = BevMapper().update(frame, scene)
    bad = np.array([[np.nan, 1, 1, 0], [np.inf, 0, 0, 0], [1, -np.inf, 2, 0], [1e30, 0, 0, 0]], np.float32)
    frame.lidar = np.concatenate([bad, frame.lidar, bad])
    assert np.array_equal(BevMapper().update(frame, scene).amodal, expected.amodal)


def test_no_odometry_is_a_clear_error():
    frame, scene = observe([VAN])
    frame.odom_from_base = None
    with pytest.raises(FusionError, match="needs odometry"):
        BevMapper().update(frame, scene)


@pytest.mark.parametrize("bad", [np.full((4, 4), np.nan), np.diag([1.0, 1, 2, 1]), np.diag([1.0, 1, -1, 1])])
def test_bad_pose_is_refused_and_the_memory_kept(bad):
    frame, scene = observe([VAN])
    mapper = BevMapper(BevConfig(seen_memory_s=1e9, inferred_memory_s=1e9))
    first = mapper.update(frame, scene)
    frame.odom_from_base = bad
    with pytest.raises(FusionError, match="odometry pose"):
        mapper.update(frame, scene)
    again = mapper.update(*silent(frame, 10**9 + 100 * MS, pose()))
    assert np.array_equal(again.visible, first.visible)


def test_sources_report_status_and_age():
    frame, scene = observe([VAN], cameras=("front", "left"))
    mapper = BevMapper(BevConfig(late_ms=100))
    frame.image_stamps_ns = {"front": 10**9 - 20 * MS, "left": 10**9 - 150 * MS}
    frame.lidar_stamp_ns = 10**9
    table = {s.name: (s.status, s.age_ns) for s in mapper.update(frame, scene).sources}
    assert table == {
        "front": (SourceStatus.OK, 20 * MS),
        "left": (SourceStatus.LATE, 150 * MS),
        "lidar": (SourceStatus.OK, 0),
        "odometry": (SourceStatus.OK, 0),
    }
    table = {s.name: (s.status, s.age_ns) for s in mapper.update(*silent(frame, 2 * 10**9, pose())).sources}
    assert table["left"] == (SourceStatus.MISSING, 1150 * MS)
    assert table["lidar"] == (SourceStatus.MISSING, 1000 * MS)


def test_a_camera_that_never_came_is_missing_and_a_sensor_that_is_not_expected_is_absent():
    frame, scene = observe([VAN], cameras=("front",))
    frame.odom_stamp_ns = frame.stamp_ns - 30 * MS
    mapper = BevMapper(sensors=("front", "left", "odometry"))
    first = {s.name: (s.status, s.age_ns) for s in mapper.update(frame, scene).sources}
    assert first == {
        "front": (SourceStatus.OK, 0),
        "left": (SourceStatus.MISSING, 0),
        "odometry": (SourceStatus.OK, 30 * MS),
    }
    later = mapper.update(*silent(frame, frame.stamp_ns + 500 * MS, pose())).sources
    assert {s.name: s.age_ns for s in later} == {"front": 500 * MS, "left": 500 * MS, "odometry": 0}


def test_weak_instances_leave_cells_unknown():
    frame, scene = observe([VAN, PEDESTRIAN])
    for instance in scene.cameras["front"].instances:
        instance.score = 0.4
    bev = BevMapper().update(frame, scene)
    assert at(bev, 15, 0.3, "amodal") == -1
    assert at(bev, 12, 0, "amodal") == -1


def test_ground_glimpsed_under_a_vehicle_does_not_clear_its_footprint():
    frame, scene = observe([VAN])
    under = np.array([[12.0, y, -1.9, 0] for y in np.linspace(-2, 2, 60)], np.float32)
    frame.lidar = np.concatenate([frame.lidar, under])
    bev = BevMapper().update(frame, scene)
    assert at(bev, 12, 0, "visible") == 10
    assert at(bev, 12, 0, "amodal") >= 80
    assert at(bev, 12, 0, "evidence") == Evidence.AMODAL_INFERRED


def test_a_phantom_does_not_overrule_what_the_lidar_saw_free():
    frame, scene = observe([Box("person", 8, 0.1, (0.6, 0.6, 1.7), 0, 1)], stddev=2.0)
    frame.lidar = sweep([])
    bev = BevMapper().update(frame, scene)
    assert at(bev, 8, 0.1, "amodal") == 10


def test_a_weaker_inference_does_not_weaken_a_remembered_obstacle():
    mapper = BevMapper(BevConfig(camera_stddev_m=0.05))
    for k in range(4):
        mapper.update(*observe([VAN], stamp_ns=10**9 + k * 100 * MS))
    frame, scene = observe([VAN], stamp_ns=10**9 + 400 * MS, stddev=0.1)
    frame.lidar = frame.lidar[frame.lidar[:, 0] < 0]
    scene.cameras["front"].instances[0].score = 0.7
    bev = mapper.update(frame, scene)
    assert at(bev, 11.1, 0, "visible") >= 95
    assert (bev.amodal >= bev.visible).all()


def test_depth_that_leaks_over_an_edge_marks_nothing():
    frame, scene = observe([VAN, Box("building", 28, 0, (1, 40, 6))], lidar=False)
    front = scene.cameras["front"]
    on_van = front.labels == VAN.segment
    leak = int(np.flatnonzero(on_van.any(0))[0]) & ~1
    front.depth[on_van.any(1), leak] = 17.0
    bev = BevMapper().update(frame, scene)
    k = front.camera.intrinsics
    y = -(leak + 0.5 - k[0, 2]) / k[0, 0] * 17.0
    assert at(bev, 17.5, y, "visible") < 50


def boxed(class_id, center, size, yaw=0.0, stddev=0.0, score=1.0):
    nothing = np.zeros((0, 3), np.float32)
    evidence = ObjectEvidence(
        class_id, 0, score, nothing, np.zeros(0, bool), nothing, np.zeros(3), stddev, 0.1, 1, 1, False, (), ()
    )
    return PlacedObject(evidence, UprightBox(np.array([*center, 0.8]), np.array(size), yaw))


def probability_at(grid, layer, x, y):
    return float(layer.ravel()[grid.flat_index(np.array([[x, y]]))[0]])


def test_uncertainty_of_a_footprint_lies_along_the_line_of_sight():
    grid = GridFrame(-100, -100, 200, 0.2)
    crosswise = boxed(26, (10, 0.1), (4.6, 1.95, 1.6), np.pi / 2, stddev=1.0)
    probability, classes = hidden_occupancy([crosswise], grid, np.eye(4))
    assert probability_at(grid, probability, 10, 2.0) == pytest.approx(0.67 * 0.99, abs=0.05)
    assert probability_at(grid, probability, 10, 2.6) == 0
    assert probability_at(grid, probability, 11.1, 0.1) == 0
    assert set(np.unique(classes)) == {0, 26}


def test_of_overlapping_objects_the_likelier_counts():
    grid = GridFrame(-100, -100, 200, 0.2)
    sure = boxed(27, (10, 0), (4, 2, 2), score=0.9)
    weak = boxed(26, (10, 0), (6, 2, 2), score=0.6)
    probability, classes = hidden_occupancy([sure, weak], grid, np.eye(4))
    assert probability_at(grid, probability, 10.1, 0.1) == pytest.approx(0.9, abs=0.01)
    assert probability_at(grid, classes, 10.1, 0.1) == 27
    assert probability_at(grid, classes, 12.5, 0.1) == 26


def test_uncertainty_of_a_remembered_footprint_is_that_of_its_track():
    """1 m along x against half extents of 2.3 and 0.95 m: 98 % and 66 % of the normal distribution; 0.98 exists."""
    grid = GridFrame(-100, -100, 200, 0.2)
    cov = np.diag([1.0, 0.01, 1, 1, 0.01, 0.01])
    for heading, share in ((0.0, 0.95), (np.pi / 2, 0.98 * 0.658), (np.pi, 0.95)):
        mean = np.array([10.1, 0.1, 0, 0, heading, 0])
        track = Track(1, {26: 1.0}, mean, cov, np.array([4.6, 1.9, 1.6]), 0.98)
        probability, classes = remembered_occupancy([track], grid)
        assert probability_at(grid, probability, 10.1, 0.1) == pytest.approx(share, abs=0.015)
        assert probability_at(grid, classes, 10.1, 0.1) == 26
    probability, classes = remembered_occupancy([], grid)
    assert not probability.any()
    assert not classes.any()


def test_own_returns_are_ignored():
    frame, scene = observe([])
    hood = np.array([[2.0, y, -1.0, 0] for y in np.linspace(-1, 1, 50)], np.float32)
    expected = BevMapper().update(frame, scene)
    frame.lidar = np.concatenate([frame.lidar, hood])
    bev = BevMapper().update(frame, scene)
    assert np.array_equal(bev.visible, expected.visible)


def test_no_camera_scene_at_all_still_maps_the_lidar():
    frame, _ = observe([VAN])
    bev = BevMapper().update(frame, SurroundScene(10**9, {}))
    assert at(bev, 11.1, 0, "visible") == 90
    assert np.array_equal(bev.visible, bev.amodal)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution_m": 0},
        {"extent_m": 0.1},
        {"extent_m": 8000.0},
        {"z_min": 3.0},
        {"sectors": 2},
        {"lidar_hit": 0.5},
        {"camera_hit": 1.0},
        {"seen_memory_s": 0},
    ],
)
def test_wrong_configuration_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0] + "|cells"):
        BevConfig(**wrong)


THINGS = st.tuples(
    st.sampled_from(["person", "car", "truck", "bus", "bike", "building"]),
    st.floats(-18, 18),
    st.floats(-18, 18),
    st.floats(0, 3),
)


def boxes_of(things):
    sizes = {"person": (0.6, 0.6, 1.7), "car": (4.4, 1.8, 1.5), "truck": (7, 2.5, 3), "bus": (11, 2.6, 3.2)}
    return [
        Box(name, x, y, sizes.get(name, (1.7, 0.6, 1.1)), yaw, 0 if name == "building" else number)
        for number, (name, x, y, yaw) in enumerate(things, 1)
        if np.hypot(x, y) > 7
    ]


@settings(max_examples=12, deadline=None)
@given(st.lists(THINGS, max_size=6), st.booleans(), st.floats(0, 3))
def test_layers_agree_in_any_scene(things, lidar, stddev):
    frame, scene = observe(boxes_of(things), lidar=lidar, stddev=stddev, columns=256)
    bev = BevMapper(BevConfig(extent_m=40, resolution_m=0.5)).update(frame, scene)
    assert ((bev.visible == -1) | ((bev.visible >= 0) & (bev.visible <= 100))).all()
    assert (bev.amodal[bev.visible >= 50] >= 50).all()
    assert (bev.amodal >= bev.visible).all()
    assert ((bev.amodal == -1) == (bev.evidence == Evidence.UNKNOWN)).all()
    assert (bev.visible[bev.amodal == -1] == -1).all()
    assert (bev.semantic[bev.amodal == -1] == 0).all()
    inferred = bev.evidence == Evidence.AMODAL_INFERRED
    assert (bev.amodal[inferred] >= 55).all()
    assert (bev.semantic[inferred] >= 24).all()


@settings(max_examples=10, deadline=None)
@given(
    st.lists(THINGS, max_size=5), st.integers(-4000, 4000), st.integers(-4000, 4000), st.floats(-3, 3), st.booleans()
)
def test_moving_everything_by_whole_cells_moves_the_grid(things, columns, rows, yaw, lidar):
    config = BevConfig(extent_m=40, resolution_m=0.5)
    boxes = boxes_of(things)
    here = BevMapper(config).update(*observe(boxes, pose(0.1, 0.2, yaw), lidar=lidar, columns=256))
    moved = pose(0.1 + 0.5 * columns, 0.2 + 0.5 * rows, yaw)
    there = BevMapper(config).update(*observe(boxes, moved, lidar=lidar, columns=256))
    assert np.allclose(np.array(there.origin) - here.origin, (0.5 * columns, 0.5 * rows))
    for name in ("visible", "amodal", "semantic", "evidence"):
        # A point or cell centre exactly on a border may fall to either side when large numbers are added.
        assert (getattr(here, name) != getattr(there, name)).mean() < 1e-3


def test_same_input_gives_the_same_grid():
    def run():
        mapper = BevMapper()
        for k in range(3):
            bev = mapper.update(*observe([VAN, PEDESTRIAN], pose(0.33 * k), stamp_ns=10**9 + k * 100 * MS))
        return bev

    first, second = run(), run()
    for name in ("visible", "amodal", "semantic", "evidence"):
        assert np.array_equal(getattr(first, name), getattr(second, name))

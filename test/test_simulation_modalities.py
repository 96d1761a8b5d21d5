"""Flow, LiDAR, IMU, GNSS and the rig on cases worked out by hand."""

import numpy as np
import pytest

from amodal_perception_ros.scene import Camera
from amodal_perception_ros.simulation import SequenceConfig
from amodal_perception_ros.simulation.assets.meshes import Kind, Material, MeshBuilder, box, quad
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.rendering.truth_renderer import TruthRenderer
from amodal_perception_ros.simulation.rendering.view import View, camera_pose
from amodal_perception_ros.simulation.sensing.inertial import GRAVITY, Datum, draw_datum, gnss_fixes, imu_readings
from amodal_perception_ros.simulation.sensing.lidar import AZIMUTHS, Lidar, LidarSensor, draw_lidar, lidar_directions
from amodal_perception_ros.simulation.sensing.rig import CAMERA_YAWS, draw_rig

GREY = Material((0.5, 0.5, 0.5))
IMU_ERRORS = ("gyro_noise", "gyro_bias", "accelerometer_noise", "accelerometer_bias", "orientation_noise")
QUIET = {"imu": dict.fromkeys(IMU_ERRORS, 0), "gnss": {"noise": 0, "bias": 0}}


def moved(x=0.0, y=0.0, z=0.0, yaw=0.0):
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


# Optical flow


def camera_view(position=(0, 0, 0), yaw=0.0):
    """A camera of 100 x 80 px, focal length 50 px, looking along x."""
    camera = Camera("front", 100, 80, np.array([[50.0, 0, 50], [0, 50, 40], [0, 0, 1]]), np.eye(4))
    return View(camera, camera_pose(np.array(position, float), yaw))


@pytest.fixture(scope="module")
def flow_of():
    """Draws one item and returns the flow from the first view to the second."""
    renderer = TruthRenderer(100, 80, [])

    def draw(item, view, next_view):
        renderer.things = [item]
        return renderer.flow(view, next_view), renderer.segments(view)[0] > 0

    yield draw
    renderer.release()


CUBE = MeshBuilder().add(box((0, 0, 0), (2, 2, 2)), GREY).bake()


def cube(matrix, next_matrix=None, model=CUBE, next_model=None):
    return Item(model, matrix, np.zeros((4, 3)), 26001, next_matrix=next_matrix, next_model=next_model)


def test_a_thing_that_moves_aside_moves_by_focal_length_times_shift_over_depth(flow_of):
    flow, thing = flow_of(cube(moved(6), moved(6, -0.4, -0.2)), camera_view(), camera_view())
    assert thing.sum() == 20 * 20  # its front face is 5 m away
    assert flow[thing] == pytest.approx(np.tile([50 * 0.4 / 5, 50 * 0.2 / 5], (400, 1)), abs=1e-4)
    assert flow[~thing] == pytest.approx(0, abs=1e-4)


def test_driving_towards_a_standing_thing_spreads_it_from_the_middle(flow_of):
    flow, thing = flow_of(cube(moved(6)), camera_view(), camera_view((1, 0, 0)))
    rows, columns = np.nonzero(thing)
    from_middle = np.stack([columns + 0.5 - 50, rows + 0.5 - 40], -1)
    assert flow[thing] == pytest.approx(from_middle * (5 / 4 - 1), abs=1e-4)
    assert flow[~thing] == pytest.approx(0, abs=1e-4)  # the sky is at infinity


def test_turning_left_moves_everything_to_the_right(flow_of):
    flow, thing = flow_of(cube(moved(6)), camera_view(), camera_view(yaw=0.1))
    assert flow[40, 50, 0] == pytest.approx(50 * np.tan(0.01 + 0.1) - 0.5, abs=0.02)
    assert (flow[..., 0] > 4).all()
    assert thing.any()


def test_a_thing_that_changes_its_shape_moves_by_its_vertices(flow_of):
    wide = MeshBuilder().add(box((0, 0, 0), (2, 4, 2)), GREY).bake()
    flow, thing = flow_of(cube(moved(6), next_model=wide), camera_view(), camera_view())
    columns = np.nonzero(thing)[1]
    assert flow[thing][:, 0] == pytest.approx(columns + 0.5 - 50, abs=1e-4)
    longer = MeshBuilder().add(box((0, 0, 0), (2, 2, 2)), GREY).add(box((0, 0, 3), (1, 1, 1)), GREY).bake()
    with pytest.raises(ValueError, match="equal vertices: 36 and 72"):
        flow_of(cube(moved(6), next_model=longer), camera_view(), camera_view())


def test_flow_is_unknown_where_a_point_gets_behind_the_camera_and_known_where_it_leaves_the_picture(flow_of):
    flow, thing = flow_of(cube(moved(6), moved(-3)), camera_view(), camera_view())
    assert np.isnan(flow[thing]).all()
    assert np.isfinite(flow[~thing]).all()
    flow, thing = flow_of(cube(moved(6), moved(6, 20)), camera_view(), camera_view())
    assert flow[thing][:, 0] == pytest.approx(np.full(400, -200.0), rel=1e-5)


# LiDAR


def plain_lidar(**values):
    return Lidar(**{"rings": 32, "range_noise": 0.0, "divergence": 0.002, "grazing_noise": 0.0, "half_range": 1000.0,
                    "dropout": 0.0, "intensity_noise": 0.0, "backscatter": 0.0} | values)  # fmt: skip


def wall(distance, color=0.5, kind=Kind.PLAIN, cls=12):
    """A square across the x axis, as wide as its distance to each side."""
    d = distance
    corners = [(d, -d, -d), (d, d, -d), (d, d, d), (d, -d, d)]
    return MeshBuilder().add(quad(corners), Material((color, color, color), 0.8, kind), cls).bake()


def sweep_of(tiles, items=(), extinction=0.0, wet=0.0, seed=0, **values):
    sensor = LidarSensor(plain_lidar(**values), tiles, extinction, wet)
    return sensor.sweep(np.eye(4), list(items), np.random.default_rng(seed))


def test_points_lie_on_a_wall_with_its_id_their_ring_and_lambert_s_intensity():
    sweep = sweep_of([wall(10)])
    x, y, z, intensity = sweep.points.T
    assert x == pytest.approx(np.full(len(x), 10.0), abs=1e-3)
    assert (sweep.segments == 12_000).all()
    elevation = np.arctan2(z, np.hypot(x, y))
    expected = np.arcsin(lidar_directions(32).reshape(32, AZIMUTHS, 3)[:, 0, 2])
    assert elevation == pytest.approx(expected[sweep.rings], abs=1e-4)
    assert (np.diff(expected) > 0).all()
    cosine = x / np.linalg.norm(sweep.points[:, :3], axis=1)
    assert intensity == pytest.approx((0.08 + 0.6 * 0.5) * cosine, abs=1e-4)


def test_a_thing_s_own_colour_counts_and_signs_and_markings_shine():
    item = Item(MeshBuilder().add(box((0, 0, 0), (0.1, 40, 40)), Material((0, 0, 0), 0.5, Kind.PAINT, 1)).bake(),
                moved(10), np.zeros((4, 3)), 26001)  # fmt: skip
    values = []
    for shade in (0.0, 0.8):
        item.palette = np.full((4, 3), shade)
        sweep = sweep_of([], [item])
        assert (sweep.segments == 26001).all()
        tilted = np.abs(sweep.points[:, 1]) > 5  # off the mirror-like reflection
        values.append(np.median(sweep.points[tilted, 3]))
    assert values[1] > 5 * values[0] > 0
    sign, plain = sweep_of([wall(10, cls=20)]), sweep_of([wall(10)])
    assert sign.points[:, 3].min() > 1.5 * plain.points[:, 3].max()


def test_dark_far_grazing_and_glassy_surfaces_lose_echoes():
    def share(distance, color, kind=Kind.PLAIN, half_range=60.0):
        return len(sweep_of([wall(distance, color, kind)], half_range=half_range).points) / len(
            sweep_of([wall(distance, color, kind)], half_range=1e6).points
        )

    assert share(10, 0.5) > 0.99
    assert share(70, 0.9) > share(70, 0.2) > share(70, 0.0) > 0.0
    assert share(40, 0.0) > share(85, 0.0)
    assert share(30, 0.5, Kind.GLASS) < 0.2 < share(30, 0.5, Kind.PLAIN)
    road = MeshBuilder().add(quad([(-90, -90, -2), (90, -90, -2), (90, 90, -2), (-90, 90, -2)]),
                             Material((0.1, 0.1, 0.1), 0.9, Kind.ASPHALT), 7).bake()  # fmt: skip
    ranges = [np.linalg.norm(sweep_of([road], wet=wet, half_range=60.0).points[:, :3], axis=1) for wet in (0.0, 1.0)]
    assert np.quantile(ranges[1], 0.95) < 0.8 * np.quantile(ranges[0], 0.95)
    assert ranges[1].min() == pytest.approx(ranges[0].min(), abs=0.1)


def test_half_range_and_dropout_are_what_their_names_say():
    black = wall(50, 0.0333)  # 8 % + 0.6 * 3.33 % = 10 % reflectance
    full = len(sweep_of([black], half_range=1e6).points)
    assert len(sweep_of([black], half_range=1e6, dropout=0.25).points) / full == pytest.approx(0.75, abs=0.03)
    sweep = sweep_of([black], half_range=50.0)
    straight = (np.abs(sweep.points[:, 1:3]) < 5).all(1)
    complete = sweep_of([black], half_range=1e6)
    middle = (np.abs(complete.points[:, 1:3]) < 5).all(1)
    assert straight.sum() / middle.sum() == pytest.approx(0.5, abs=0.06)


def test_range_noise_has_its_spread_and_grows_where_the_beam_grazes():
    def error(sweep):
        length = np.linalg.norm(sweep.points[:, :3], axis=1)
        cosine = sweep.points[:, 0] / length
        return length - 10 / cosine, cosine

    noise, _ = error(sweep_of([wall(10)], range_noise=0.02, half_range=1e5))
    assert noise.std() == pytest.approx(0.02, rel=0.05)
    assert noise.mean() == pytest.approx(0, abs=0.001)
    noise, cosine = error(sweep_of([wall(10)], grazing_noise=0.1, half_range=1e5))
    near = np.abs(cosine - 0.8) < 0.03
    assert noise[near].std() == pytest.approx(0.1 * 12.5 * 0.002 * 0.75, rel=0.15)
    assert noise[cosine > 0.99].std() < 0.3 * noise[near].std()


def test_fog_dims_far_surfaces_and_sends_back_echoes_of_its_own():
    clear, fog = sweep_of([wall(30)]), sweep_of([wall(30)], extinction=0.03, backscatter=0.5, half_range=60.0)
    own = fog.segments == 0
    assert own.sum() > 100
    assert (np.linalg.norm(fog.points[own, :3], axis=1) < 43).all()
    assert np.median(fog.points[own, 3]) < 0.05
    assert fog.points[~own, 0] == pytest.approx(np.full((~own).sum(), 30.0), abs=1e-3)
    assert np.median(fog.points[~own, 3]) < 0.3 * np.median(clear.points[:, 3])
    assert (clear.segments > 0).all()


def test_the_device_is_drawn_from_its_distributions():
    devices = [draw_lidar(SequenceConfig(seed)) for seed in range(40)]
    assert {d.rings for d in devices} == {32, 64}
    assert len({d.half_range for d in devices}) == 40
    assert draw_lidar(SequenceConfig(0, overrides={"lidar": {"rings": 64}})).rings == 64


# IMU and GNSS


def path(count, rate, speed, radius):
    """Poses on a circle to the left, from the origin, at constant speed."""
    angle = np.arange(count) / rate * speed / radius
    return np.array([moved(radius * np.sin(a), radius * (1 - np.cos(a)), 0.0, a) for a in angle])


def test_imu_in_a_bend_feels_gravity_the_turn_and_the_centripetal_force():
    config = SequenceConfig(1, 30, overrides=QUIET)
    readings = imu_readings(config, path(31, 10, 8.0, 20.0), list(range(30)))
    for reading in readings:
        assert reading.angular_velocity == pytest.approx([0, 0, 8 / 20], abs=1e-9)
    for reading in readings[1:]:
        assert reading.linear_acceleration == pytest.approx([0, 8.0**2 / 20, GRAVITY], rel=2e-3, abs=1e-9)
    assert readings[10].orientation == pytest.approx([0, 0, np.sin(0.2), np.cos(0.2)], abs=1e-9)


def test_imu_at_rest_shows_only_gravity_and_one_frame_is_enough():
    (reading,) = imu_readings(SequenceConfig(1, 1, overrides=QUIET), np.array([moved(), moved()]), [5])
    assert reading.stamp_ns == 5
    assert reading.linear_acceleration.tolist() == [0, 0, 9.81]
    assert reading.angular_velocity.tolist() == [0, 0, 0]


def test_imu_integrates_back_to_the_odometry():
    """Yaw by the trapezoidal rule, position by Verlet's from the first step: within 1 mrad and 5 cm after 20 s."""
    rate, count = 10, 200
    time = np.arange(count + 1) / rate
    yaw = 0.8 * np.sin(0.5 * time) + 0.1 * time
    speed = 6 + 3 * np.sin(0.9 * time)
    step = np.stack([speed * np.cos(yaw), speed * np.sin(yaw)], -1) / rate
    xy = np.concatenate([[[0, 0]], np.cumsum(step[:-1], 0)])
    poses = np.array([moved(*p, 0.0, a) for p, a in zip(xy, yaw)])
    readings = imu_readings(SequenceConfig(1, count, overrides=QUIET), poses, list(range(count)))
    rates = np.array([r.angular_velocity[2] for r in readings])
    heading = np.concatenate([[0], np.cumsum(0.5 * (rates[1:] + rates[:-1]) / rate)])
    assert heading == pytest.approx(yaw[:-1], abs=0.001)
    position = [*poses[:2, :3, 3]]
    for k in range(1, count):
        turn = moved(yaw=heading[k])[:3, :3]
        acceleration = turn @ readings[k].linear_acceleration - [0, 0, GRAVITY]
        position.append(2 * position[-1] - position[-2] + acceleration / rate**2)
    assert np.array(position) == pytest.approx(poses[:, :3, 3], abs=0.05)


def test_imu_noise_and_bias_have_their_size():
    sizes = {"gyro_noise": 0.01, "gyro_bias": {"normal": [0.1, 0]}, "accelerometer_noise": 0.2,
             "accelerometer_bias": {"normal": [0.5, 0]}, "orientation_noise": 0.02}  # fmt: skip
    config = SequenceConfig(1, 2000, overrides={"imu": sizes})
    readings = imu_readings(config, np.tile(np.eye(4), (2001, 1, 1)), list(range(2000)))
    rate = np.array([r.angular_velocity for r in readings])
    force = np.array([r.linear_acceleration for r in readings]) - [0, 0, GRAVITY]
    turn = np.array([r.orientation for r in readings])
    assert rate.mean(0) == pytest.approx([0.1] * 3, abs=0.002)
    assert rate.std(0) == pytest.approx([0.01] * 3, rel=0.1)
    assert force.mean(0) == pytest.approx([0.5] * 3, abs=0.03)
    assert force.std(0) == pytest.approx([0.2] * 3, rel=0.1)
    assert 2 * turn[:, :3].std(0) == pytest.approx([0.02] * 3, rel=0.1)


def earth_centred(latitude, longitude, altitude):
    """Rigorous WGS 84: geodetic to Earth-centred Cartesian coordinates [m]."""
    phi, lam, e2 = np.radians(latitude), np.radians(longitude), 6.69437999014e-3
    normal = 6378137.0 / np.sqrt(1 - e2 * np.sin(phi) ** 2)
    horizontal = (normal + altitude) * np.cos(phi)
    return np.array([horizontal * np.cos(lam), horizontal * np.sin(lam), (normal * (1 - e2) + altitude) * np.sin(phi)])


def rigorous_odom(datum, latitude, longitude, altitude):
    phi, lam = np.radians(datum.latitude), np.radians(datum.longitude)
    east = np.array([-np.sin(lam), np.cos(lam), 0])
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    turn = np.stack([east, np.cross(up, east), up])
    return turn @ (earth_centred(latitude, longitude, altitude)
                   - earth_centred(datum.latitude, datum.longitude, datum.altitude))  # fmt: skip


@pytest.mark.parametrize("datum", [Datum(49.0, 8.4, 120.0), Datum(-60.0, 179.9999, 800.0), Datum(0.0, -180.0, 0.0)])
def test_gnss_converts_to_odom_within_its_stated_error(datum):
    rng = np.random.default_rng(0)
    for point in np.concatenate(
        [[[0, 0, 0], [250, 0, 0], [0, -250, 0]], rng.uniform(-176, 176, (50, 3)) * [1, 1, 0.1]]
    ):
        place = datum.geodetic(point)
        assert datum.odom(*place) == pytest.approx(point, abs=1e-6)
        assert np.linalg.norm(rigorous_odom(datum, *place) - point) < 0.02
        assert -180 <= place[1] < 180


def test_gnss_error_is_white_noise_plus_a_slow_bias():
    sizes = {"noise": 0.05, "bias": 2.0, "bias_time": 60}
    errors = []
    for seed in range(40):
        config = SequenceConfig(seed, 100, overrides={"gnss": sizes})
        datum = draw_datum(config)
        fixes = gnss_fixes(config, datum, np.zeros((100, 3)), list(range(100)))
        assert fixes[0].stddev == pytest.approx(np.hypot(2.0, 0.05))
        errors.append([datum.odom(f.latitude, f.longitude, f.altitude) for f in fixes])
    errors = np.array(errors)
    assert errors[:, 0].std() == pytest.approx(2.0, rel=0.2)
    steps = np.diff(errors, axis=1)
    drift = 2.0 * np.sqrt(2 * 0.1 / 60)  # a Gauss-Markov process moves by sigma sqrt(2 dt / T) in a step
    assert steps.std() == pytest.approx(np.hypot(drift, np.sqrt(2) * 0.05), rel=0.05)


def test_without_noise_a_fix_is_the_odometry():
    config = SequenceConfig(3, 5, overrides=QUIET)
    positions, datum = np.random.default_rng(1).uniform(-90, 90, (5, 3)), draw_datum(config)
    for position, fix in zip(positions, gnss_fixes(config, datum, positions, [10, 20, 30, 40, 50])):
        assert datum.odom(fix.latitude, fix.longitude, fix.altitude) == pytest.approx(position, abs=1e-6)


# The rig


def test_cameras_look_around_and_their_mounting_errors_are_small():
    offsets = []
    for seed in range(30):
        rig = draw_rig(SequenceConfig(seed))
        for camera in rig.cameras:
            pose = camera.base_from_camera
            assert pose[:3, :3] @ pose[:3, :3].T == pytest.approx(np.eye(3), abs=1e-12)
            assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
            offset = np.degrees(np.arctan2(pose[1, 2], pose[0, 2])) - CAMERA_YAWS[camera.name]
            offsets.append([(offset + 180) % 360 - 180, np.degrees(np.arcsin(pose[2, 0])), pose[2, 3]])
    yaw, tilt, height = np.array(offsets).T
    assert 0.5 < yaw.std() < 0.9
    assert np.abs(yaw).max() < 2.2
    assert 0.3 < tilt.std() < 0.7  # roll turns the picture's right axis out of the horizontal plane
    assert 1.5 < height.min() < height.max() < 2.0


def test_a_rolled_camera_sees_the_horizon_tilted():
    pose = camera_pose(np.zeros(3), 0.3, 0.1, np.radians(90))
    straight = camera_pose(np.zeros(3), 0.3, 0.1)
    assert pose[:3, 2] == pytest.approx(straight[:3, 2])
    assert pose[:3, 0] == pytest.approx(straight[:3, 1])  # its right is what was down: turned clockwise
    assert pose[:3, 1] == pytest.approx(-straight[:3, 0])

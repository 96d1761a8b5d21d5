"""Recordings: what a bag holds is what the frames held, other tools can read it, and a bad file is named."""

import io

import cv2
import numpy as np
import pytest
from dataset_samples import make_rig, make_sample
from mcap.reader import make_reader
from rosbags.rosbag2 import StoragePlugin, Writer

from amodal_perception_ros.datasets.bag import BagError, open_bag, write_bag
from amodal_perception_ros.datasets.bag_messages import jazzy
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.scene import SurroundFrame
from amodal_perception_ros.trajectory import Trajectory

FRAMES = 4


def frames(count=FRAMES):
    rig = make_rig()
    return [make_sample(index, rig=rig).frame for index in range(count)]


def samples(count=FRAMES):
    rig = make_rig()
    return [make_sample(index, rig=rig) for index in range(count)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return write_bag(frames(), tmp_path_factory.mktemp("bag") / "drive.mcap", jpeg_quality=95)


@pytest.fixture(scope="module")
def carla(tmp_path_factory):
    return write_bag(iter(frames()), tmp_path_factory.mktemp("bag") / "carla.mcap", "carla")


def decoded(path, *topics):
    with open_bag(path) as bag:
        return [(m.topic, m.stamp_ns, jazzy().deserialize_cdr(m.data, m.type)) for m in bag.messages(topics or None)]


def ns(header):
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def matrix(transform):
    q, t = transform.rotation, transform.translation
    x, y, z, w = q.x, q.y, q.z, q.w
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = t.x, t.y, t.z
    return out


def test_topics_types_and_qos(recorded):
    with open_bag(recorded) as bag:
        assert {t.topic: (t.type, t.count) for t in bag.topics if t.topic != "/clock"} == {
            "/front/image/compressed": ("sensor_msgs/msg/CompressedImage", FRAMES),
            "/right/image/compressed": ("sensor_msgs/msg/CompressedImage", FRAMES),
            "/front/camera_info": ("sensor_msgs/msg/CameraInfo", FRAMES),
            "/right/camera_info": ("sensor_msgs/msg/CameraInfo", FRAMES),
            "/lidar/points": ("sensor_msgs/msg/PointCloud2", FRAMES),
            "/odometry": ("nav_msgs/msg/Odometry", FRAMES),
            "/tf": ("tf2_msgs/msg/TFMessage", FRAMES),
            "/tf_static": ("tf2_msgs/msg/TFMessage", 1),
        }
        assert [t.topic for t in bag.topics if t.latched] == ["/tf_static"]
        assert all(t.reliable and t.definition for t in bag.topics)
        stamps = [m.stamp_ns for m in bag.messages()]
        assert stamps == sorted(stamps)
        assert (bag.start_ns, bag.end_ns, bag.message_count) == (stamps[0], stamps[-1], len(stamps))
        assert list(bag.messages(["/nothing"])) == []


def test_images_and_calibration_are_the_frames(recorded):
    given = frames()
    for number, (_, stamp, message) in enumerate(decoded(recorded, "/right/image/compressed")):
        assert message.format == "jpeg"
        assert message.header.frame_id == "right_optical"
        assert ns(message.header) == stamp == given[number].image_stamps_ns["right"]
        picture = cv2.imdecode(message.data, cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(picture.astype(int) - given[number].images["right"]).mean() < 2.0
    camera = given[0].rig.camera("right")
    for _, _, info in decoded(recorded, "/right/camera_info"):
        assert (info.width, info.height, info.distortion_model) == (96, 64, "plumb_bob")
        assert np.array_equal(info.k.reshape(3, 3), camera.intrinsics)
        assert np.array_equal(info.p.reshape(3, 4)[:, :3], camera.intrinsics)
        assert np.array_equal(info.r.reshape(3, 3), np.eye(3))
        assert not info.d.any()


def test_clouds_are_the_frames(recorded):
    for given, (_, stamp, cloud) in zip(frames(), decoded(recorded, "/lidar/points")):
        assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
            (name, 4 * i, 7, 1) for i, name in enumerate(("x", "y", "z", "intensity"))
        ]
        assert (cloud.header.frame_id, cloud.height, cloud.width, cloud.point_step) == ("lidar", 1, 200, 16)
        assert stamp == given.lidar_stamp_ns
        assert np.array_equal(cloud.data.view("<f4").reshape(-1, 4), given.lidar)


def test_transforms_and_odometry_are_the_frames(recorded):
    given = frames()
    ((_, stamp, static),) = decoded(recorded, "/tf_static")
    assert stamp == min(m[1] for m in decoded(recorded))
    rig = given[0].rig
    expected = {f"{c.name}_optical": c.base_from_camera for c in rig.cameras} | {"lidar": rig.base_from_lidar}
    assert [t.child_frame_id for t in static.transforms] == list(expected)
    for transform in static.transforms:
        assert transform.header.frame_id == "base_link"
        assert np.allclose(matrix(transform.transform), expected[transform.child_frame_id])
    moving, odometry = decoded(recorded, "/tf"), decoded(recorded, "/odometry")
    for frame, (_, _, tf), (_, _, odom) in zip(given, moving, odometry):
        (transform,) = tf.transforms
        assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "base_link")
        assert ns(transform.header) == frame.stamp_ns
        assert np.allclose(matrix(transform.transform), frame.odom_from_base)
        assert (odom.header.frame_id, odom.child_frame_id) == ("odom", "base_link")
        assert odom.pose.pose.position.x == pytest.approx(frame.odom_from_base[0, 3])
        # The frames turn by 0.05 rad in 0.1 s.
        assert odom.twist.twist.angular.z == pytest.approx(0.5)
        assert odom.twist.twist.angular.x == pytest.approx(0.0, abs=1e-9)
    # They move 0.8 m along odom's x in 0.1 s; frame 2 is turned by 0.1 rad.
    linear = odometry[2][2].twist.twist.linear
    assert (linear.x, linear.y) == pytest.approx((8 * np.cos(0.1), -8 * np.sin(0.1)))


def test_the_clock_runs_ahead_of_every_message(recorded):
    now = 0
    for topic, stamp, message in decoded(recorded):
        if topic == "/clock":
            now = message.clock.sec * 1_000_000_000 + message.clock.nanosec
            assert now == stamp
        assert now == stamp


def test_a_single_frame_has_an_unknown_velocity_and_absent_sensors_no_topics(tmp_path):
    path = write_bag(frames(1), tmp_path / "one.mcap")
    ((_, _, odometry),) = decoded(path, "/odometry")
    assert odometry.twist.covariance[0] == odometry.twist.covariance[35] == 1e6
    assert odometry.twist.twist.linear.x == 0.0
    full = frames(1)[0]
    bare = SurroundFrame(full.stamp_ns, full.rig, {"front": full.images["front"]})
    with open_bag(write_bag([bare], tmp_path / "bare.mcap")) as bag:
        topics = {t.topic for t in bag.topics}
    assert topics == {"/clock", "/tf_static", "/front/image/compressed", "/front/camera_info"}


def test_motion_around_the_frames_and_times_of_points_are_recorded(tmp_path):
    """Each frame knows the poses 100 ms before and after it, every 50 ms: what two frames know is written once."""
    given = samples(2)
    for sample in given:
        frame = sample.frame
        stamps = frame.stamp_ns + np.arange(-2, 3) * 50_000_000
        poses = np.tile(frame.odom_from_base, (5, 1, 1))
        poses[:, 0, 3] += np.arange(-2, 3)
        frame.trajectory = Trajectory(stamps, poses)
        frame.lidar_times_s = np.linspace(0, 0.1, len(frame.lidar), dtype=np.float32)
        sample.point_rings = np.arange(len(frame.lidar)).astype(np.uint8)
    path = write_bag(given, tmp_path / "drive.mcap")
    odometry = decoded(path, "/odometry")
    step = given[1].frame.stamp_ns - given[0].frame.stamp_ns
    assert step == 100_000_000
    assert [stamp - given[0].frame.stamp_ns for _, stamp, _ in odometry] == [
        50_000_000 * k for k in (-2, -1, 0, 1, 2, 3, 4)
    ]
    before = given[0].frame.trajectory.poses[0, 0, 3]
    assert odometry[0][2].pose.pose.position.x == pytest.approx(before)
    for sample, (_, _, cloud) in zip(given, decoded(path, "/lidar/points")):
        assert [(f.name, f.offset) for f in cloud.fields[4:]] == [("time", 16), ("ring", 20)]
        table = cloud.data.reshape(-1, cloud.point_step)
        assert np.array_equal(table[:, 16:20].copy().view("<f4")[:, 0], sample.frame.lidar_times_s)
        assert np.array_equal(table[:, 20:22].copy().view("<u2")[:, 0], sample.point_rings)


@pytest.mark.parametrize("late", [False, True])
def test_the_lidars_transform_precedes_its_first_sweep_whenever_that_comes(tmp_path, late):
    """The sweep is stamped before the pictures of its frame; or the first frame has none at all."""
    given = frames(2)
    for frame in given:
        frame.lidar_stamp_ns = frame.stamp_ns - 30_000_000
    if late:
        given[0].lidar = given[0].lidar_stamp_ns = None
    messages = decoded(write_bag(given, tmp_path / "drive.mcap"))
    topics = [topic for topic, _, _ in messages if topic != "/clock"]
    assert topics[0] == "/tf_static"
    assert topics.count("/lidar/points") == (1 if late else 2)
    static = next(message for topic, _, message in messages if topic == "/tf_static")
    (lidar,) = (t for t in static.transforms if t.child_frame_id == "lidar")
    assert np.allclose(matrix(lidar.transform), given[0].rig.base_from_lidar)
    assert ns(lidar.header) == messages[0][1] == (given[0].lidar_stamp_ns or given[0].stamp_ns)


def test_the_carla_profile_is_the_bridges(carla):
    given = frames()
    ego = "/carla/ego_vehicle"
    with open_bag(carla) as bag:
        assert {t.topic: t.type for t in bag.topics} == {
            f"{ego}/rgb_front/image": "sensor_msgs/msg/Image",
            f"{ego}/rgb_right/image": "sensor_msgs/msg/Image",
            f"{ego}/rgb_front/camera_info": "sensor_msgs/msg/CameraInfo",
            f"{ego}/rgb_right/camera_info": "sensor_msgs/msg/CameraInfo",
            f"{ego}/lidar": "sensor_msgs/msg/PointCloud2",
            f"{ego}/odometry": "nav_msgs/msg/Odometry",
            "/tf": "tf2_msgs/msg/TFMessage",
            "/clock": "rosgraph_msgs/msg/Clock",
        }
        assert not any(t.latched for t in bag.topics)
    for number, (_, _, image) in enumerate(decoded(carla, f"{ego}/rgb_right/image")):
        assert (image.encoding, image.step, image.header.frame_id) == ("bgra8", 96 * 4, "ego_vehicle/rgb_right")
        pixels = image.data.reshape(64, 96, 4)
        assert np.array_equal(pixels[..., 2::-1], given[number].images["right"])
        assert (pixels[..., 3] == 255).all()
        # One stamp for all sensors of a tick, from the start of the recording, cut like the bridge's floats.
        assert abs(ns(image.header) - (50_000_000 + number * 100_000_000)) < 1000
    tf = decoded(carla, "/tf")
    assert len(tf) == FRAMES
    for _, stamp, message in tf:
        pairs = {t.child_frame_id: t.header.frame_id for t in message.transforms}
        assert pairs == {
            "ego_vehicle/rgb_front": "ego_vehicle",
            "ego_vehicle/rgb_right": "ego_vehicle",
            "ego_vehicle/lidar": "ego_vehicle",
            "ego_vehicle": "map",
        }
        assert all(ns(t.header) == stamp for t in message.transforms)
    (_, _, odometry) = decoded(carla, f"{ego}/odometry")[0]
    assert (odometry.header.frame_id, odometry.child_frame_id) == ("map", "ego_vehicle")
    assert not odometry.twist.covariance.any()
    (_, _, cloud) = decoded(carla, f"{ego}/lidar")[0]
    assert (cloud.height, cloud.is_dense, cloud.point_step) == (1, False, 16)


def test_inertial_and_satellite_readings_and_rings_are_the_samples(tmp_path):
    given = samples()
    path = write_bag(iter(given), tmp_path / "drive.mcap")
    imu, gnss = decoded(path, "/imu/data"), decoded(path, "/gnss/fix")
    assert (len(imu), len(gnss)) == (FRAMES, FRAMES)
    for sample, (_, stamp, message) in zip(given, imu):
        assert ns(message.header) == stamp == sample.imu.stamp_ns
        assert message.header.frame_id == "base_link"
        q, turn, force = message.orientation, message.angular_velocity, message.linear_acceleration
        assert (q.x, q.y, q.z, q.w) == tuple(sample.imu.orientation)
        assert (turn.x, turn.y, turn.z) == (0.01, -0.02, 0.5)
        assert (force.x, force.y, force.z) == (0.1, 0.4, 9.81)
    for sample, (_, _, message) in zip(given, gnss):
        assert (message.latitude, message.longitude, message.altitude) == (sample.gnss.latitude, 7.8314, 270.25)
        assert (message.status.status, message.status.service, message.position_covariance_type) == (0, 1, 2)
        assert message.position_covariance.tolist() == [2.25, 0, 0, 0, 2.25, 0, 0, 0, 2.25]
    for sample, (_, _, cloud) in zip(given, decoded(path, "/lidar/points")):
        fields = [(f.name, f.offset, f.datatype) for f in cloud.fields]
        assert fields == [("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("intensity", 12, 7), ("ring", 16, 4)]
        assert (cloud.point_step, cloud.row_step) == (18, 18 * 200)
        rows = cloud.data.reshape(-1, 18)
        assert np.array_equal(rows[:, :16].copy().view("<f4"), sample.frame.lidar)
        assert np.array_equal(rows[:, 16:].copy().view("<u2")[:, 0], sample.point_rings)


def test_the_carla_profile_has_the_bridges_inertial_and_satellite_sensors(tmp_path):
    path = write_bag(samples(2), tmp_path / "carla.mcap", "carla")
    ego = "/carla/ego_vehicle"
    (_, stamp, imu), _ = decoded(path, f"{ego}/imu")
    (_, _, gnss), _ = decoded(path, f"{ego}/gnss")
    assert stamp == ns(imu.header) == ns(gnss.header)
    assert abs(stamp - 50_000_000) < 1000
    assert (imu.header.frame_id, gnss.header.frame_id) == ("ego_vehicle/imu", "ego_vehicle/gnss")
    # What the bridge does not fill stays as the message's default.
    assert (gnss.status.status, gnss.status.service, gnss.position_covariance_type) == (0, 0, 0)
    assert not gnss.position_covariance.any()
    (_, _, cloud), _ = decoded(path, f"{ego}/lidar")
    assert ([f.name for f in cloud.fields], cloud.point_step) == (["x", "y", "z", "intensity"], 16)
    (_, _, tf), _ = decoded(path, "/tf")
    mounted = {t.child_frame_id: matrix(t.transform) for t in tf.transforms if t.header.frame_id == "ego_vehicle"}
    assert set(mounted) == {f"ego_vehicle/{n}" for n in ("rgb_front", "rgb_right", "lidar", "imu", "gnss")}
    assert np.array_equal(mounted["ego_vehicle/imu"], np.eye(4))


def test_other_mcap_tools_can_read_it(recorded):
    reader = make_reader(io.BytesIO(recorded.read_bytes()))
    assert reader.get_header().profile == "ros2"
    summary = reader.get_summary()
    assert {chunk.compression for chunk in summary.chunk_indexes} == {"zstd"}
    for channel in summary.channels.values():
        schema = summary.schemas[channel.schema_id]
        assert (channel.message_encoding, schema.encoding) == ("cdr", "ros2msg")
    clouds = next(s for s in summary.schemas.values() if s.name == "sensor_msgs/msg/PointCloud2")
    # The types it is made of are embedded too.
    assert b"MSG: sensor_msgs/PointField" in clouds.data
    assert b"MSG: std_msgs/Header" in clouds.data
    (metadata,) = (m for m in reader.iter_metadata() if m.name == "rosbag2")
    assert "drive.mcap" in metadata.metadata["serialized_metadata"]
    assert sum(1 for _ in reader.iter_messages()) == summary.statistics.message_count


def test_a_folder_and_its_file_are_both_bags(tmp_path, recorded):
    folder = write_bag(frames(), tmp_path / "drive", jpeg_quality=95)
    assert sorted(p.name for p in folder.iterdir()) == ["drive.mcap", "metadata.yaml"]
    with open_bag(folder) as a, open_bag(folder / "drive.mcap") as b, open_bag(recorded) as c:
        messages = list(a.messages())
        assert messages == list(b.messages()) == list(c.messages())
        assert [t for t in a.topics] == [t for t in b.topics]
    with pytest.raises(BagError, match="drive: exists already"):
        write_bag(frames(1), folder)


def test_a_file_is_replaced_only_by_a_finished_one(tmp_path):
    path = write_bag(frames(2), tmp_path / "x.mcap")
    before = path.read_bytes()

    def failing():
        yield from frames(1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_bag(failing(), path)
    with pytest.raises(BagError, match="no frames to write"):
        write_bag([], path)
    assert path.read_bytes() == before
    write_bag(frames(1), path)
    assert path.read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["x.mcap"]
    with pytest.raises(ValueError, match="unknown bag profile 'x'"):
        write_bag(frames(1), path, "x")


def truncated(path, recorded, share):
    content = recorded.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def test_bad_recordings_are_named(tmp_path, recorded):
    def make(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    (tmp_path / "folder").mkdir()
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "metadata.yaml").write_text("nonsense: [")
    with Writer(tmp_path / "nothing", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection("/a", "std_msgs/msg/String", typestore=jazzy())
    cases = {
        tmp_path / "no.mcap": "no such recording",
        make("empty.mcap", b""): "the file is empty",
        make("text.mcap", b"hello, this is not a bag"): "not an MCAP file",
        make("magic.mcap", b"\x89MCAP0\r\n"): "truncated MCAP file",
        make("hollow.mcap", b"\x89MCAP0\r\n" * 2): "not a readable rosbag2 recording",
        make("old.bag", b"#ROSBAG V2.0\n"): "not a rosbag2 recording",
        make("fake.db3", b"not a database"): "not a readable rosbag2 recording",
        truncated(tmp_path / "half.mcap", recorded, 0.5): "truncated MCAP file",
        truncated(tmp_path / "most.mcap", recorded, 0.99): "truncated MCAP file",
        tmp_path / "folder": r"metadata\.yaml is missing",
        tmp_path / "lost": "not a readable rosbag2 recording",
        tmp_path / "nothing": "holds no messages",
    }
    for path, message in cases.items():
        with pytest.raises(BagError, match=message) as caught:
            open_bag(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value), str(caught.value)
        assert isinstance(caught.value, InputError)


def test_damage_inside_is_found_while_reading(tmp_path, recorded):
    content = bytearray(recorded.read_bytes())
    content[2000:12000] = bytes(10000)
    path = tmp_path / "damaged.mcap"
    path.write_bytes(content)
    with open_bag(path) as bag, pytest.raises(BagError, match=r"damaged\.mcap: damaged recording"):
        list(bag.messages())

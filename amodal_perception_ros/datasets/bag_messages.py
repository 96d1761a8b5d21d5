"""Turns samples into ROS 2 messages for a bag, under the topic names and encodings of a profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore
from scipy.spatial.transform import Rotation

from amodal_perception_ros.datasets.bag_profiles import CARLA_STEP_NS, Profile
from amodal_perception_ros.datasets.codecs import encode_jpeg
from amodal_perception_ros.scene import Camera, GnssFix, ImuReading, Sample, SurroundFrame

_UNKNOWN_VARIANCE = 1e6
_UINT16, _FLOAT32 = 4, 7
_GPS = 1
_FOREVER = QosTime(0, 0)


class Outgoing(NamedTuple):
    """One message of a bag: topic, type, stamp [ns] and the message itself."""

    topic: str
    type: str
    stamp_ns: int
    message: Any


@cache
def jazzy() -> Typestore:
    """Return the message types of ROS 2 Jazzy."""
    return get_typestore(Stores.ROS2_JAZZY)


def qos(topic: str) -> Qos:
    """Return the QoS that a topic is offered with: reliable, depth 10; /tf_static is kept for late subscribers."""
    latched = topic == "/tf_static"
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


def messages(samples: Iterable[Sample], profile: Profile, jpeg_quality: int) -> Iterator[Outgoing]:
    """Yield the messages of samples in order of time within each frame."""
    previous: SurroundFrame | None = None
    start_ns, odometry_ns = 0, -(2**63)
    for sample, following in _with_next(samples):
        current = sample.frame
        if previous is None:
            start_ns = current.stamp_ns - CARLA_STEP_NS if profile.one_stamp else 0
        between = odometry_ns, 2**63 if following is None else following.stamp_ns
        builder = _Builder(profile, jpeg_quality, sample, start_ns, between)
        batch = builder.build(_twist(previous, current, following), first=previous is None)
        yield from sorted(batch, key=lambda outgoing: outgoing.stamp_ns)
        odometry_ns = max((out.stamp_ns for out in batch if out.topic == profile.odometry), default=odometry_ns)
        previous = current


def _with_next(samples: Iterable[Sample]) -> Iterator[tuple[Sample, SurroundFrame | None]]:
    waiting: Sample | None = None
    for sample in chain(samples, (None,)):
        if waiting is not None:
            yield waiting, None if sample is None else sample.frame
        waiting = sample


def _twist(
    previous: SurroundFrame | None, current: SurroundFrame, following: SurroundFrame | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return linear [m/s] and angular [rad/s] velocity in the base frame by central difference; None if unknown."""
    first = previous if previous is not None and previous.odom_from_base is not None else current
    last = following if following is not None and following.odom_from_base is not None else current
    seconds = (last.stamp_ns - first.stamp_ns) * 1e-9
    if seconds <= 0 or current.odom_from_base is None:
        return None
    assert first.odom_from_base is not None
    assert last.odom_from_base is not None
    turn = Rotation.from_matrix(last.odom_from_base[:3, :3] @ first.odom_from_base[:3, :3].T).as_rotvec()
    move = last.odom_from_base[:3, 3] - first.odom_from_base[:3, 3]
    base_from_odom = current.odom_from_base[:3, :3].T
    return base_from_odom @ move / seconds, base_from_odom @ turn / seconds


class _Builder:
    """Makes the messages of one frame."""

    def __init__(
        self, profile: Profile, jpeg_quality: int, sample: Sample, start_ns: int, between: tuple[int, int]
    ) -> None:
        self._profile, self._quality, self._start_ns = profile, jpeg_quality, start_ns
        self._after_ns, self._before_ns = between
        self._sample, self._frame = sample, sample.frame
        self._types = jazzy().types

    def build(self, twist: tuple[np.ndarray, np.ndarray] | None, first: bool) -> list[Outgoing]:
        frame, profile = self._frame, self._profile
        stamp = self._stamp(frame.stamp_ns)
        out: list[Outgoing] = []
        moving = [] if profile.static_extrinsics else self._extrinsics(stamp)
        if profile.static_extrinsics and first:
            # Before everything else: the earliest stamp of the frame, so that no data precede their transform.
            earliest = min(stamp, self._stamp(self._lidar_stamp_ns), *map(self._stamp, frame.image_stamps_ns.values()))
            out.append(self._tf("/tf_static", earliest, self._extrinsics(earliest)))
        if self._sample.imu is not None:
            out.append(self._imu(self._stamp(self._sample.imu.stamp_ns), self._sample.imu))
        if self._sample.gnss is not None:
            out.append(self._gnss(self._stamp(self._sample.gnss.stamp_ns), self._sample.gnss))
        if frame.odom_from_base is not None:
            moving.append(self._transform(stamp, profile.odom_frame, profile.base_frame, frame.odom_from_base))
        if moving:
            out.append(self._tf("/tf", stamp, moving))
        if frame.odom_from_base is not None:
            out.append(self._odometry(stamp, frame.odom_from_base, twist))
            out += [self._odometry(other, pose, twist) for other, pose in self._poses_around()]
        for name, image in frame.images.items():
            image_stamp = self._stamp(frame.image_stamps_ns.get(name, frame.stamp_ns))
            out.append(self._camera_info(image_stamp, frame.rig.camera(name)))
            out.append(self._image(image_stamp, name, image))
        if frame.lidar is not None:
            out.append(self._cloud(self._stamp(self._lidar_stamp_ns), frame.lidar))
        return [self._clock(s) for s in sorted({outgoing.stamp_ns for outgoing in out})] + out

    def _poses_around(self) -> list[tuple[int, np.ndarray]]:
        """Poses of the trajectory that no other frame gives; none where all sensors carry one stamp."""
        frame = self._frame
        if frame.trajectory is None or self._profile.one_stamp:
            return []
        poses = zip(frame.trajectory.stamps_ns.tolist(), frame.trajectory.poses)
        return [(at, pose) for at, pose in poses if self._after_ns < at < self._before_ns and at != frame.stamp_ns]

    @property
    def _lidar_stamp_ns(self) -> int:
        return self._frame.stamp_ns if self._frame.lidar_stamp_ns is None else self._frame.lidar_stamp_ns

    def _stamp(self, stamp_ns: int) -> int:
        if not self._profile.one_stamp:
            return stamp_ns
        elapsed = (self._frame.stamp_ns - self._start_ns) / 1e9
        seconds = int(elapsed)
        return seconds * 1_000_000_000 + int((elapsed - seconds) * 1e9)

    def _make(self, type_: str, **fields: Any) -> Any:
        return self._types[type_](**fields)

    def _time(self, stamp_ns: int) -> Any:
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        return self._make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        return self._make("std_msgs/msg/Header", stamp=self._time(stamp_ns), frame_id=frame_id)

    def _vector(self, values: np.ndarray) -> Any:
        return self._make("geometry_msgs/msg/Vector3", x=float(values[0]), y=float(values[1]), z=float(values[2]))

    def _quaternion(self, rotation: np.ndarray) -> Any:
        x, y, z, w = (float(v) for v in Rotation.from_matrix(rotation).as_quat())
        return self._make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)

    def _transform(self, stamp_ns: int, parent: str, child: str, matrix: np.ndarray) -> Any:
        transform = self._make(
            "geometry_msgs/msg/Transform",
            translation=self._vector(matrix[:3, 3]),
            rotation=self._quaternion(matrix[:3, :3]),
        )
        header = self._header(stamp_ns, parent)
        return self._make(
            "geometry_msgs/msg/TransformStamped", header=header, child_frame_id=child, transform=transform
        )

    def _extrinsics(self, stamp_ns: int) -> list[Any]:
        """The rig's transforms, the LiDAR's too: a frame without a sweep says nothing of those that follow."""
        profile, rig = self._profile, self._frame.rig
        children = [(profile.camera_frame.format(c.name), c.base_from_camera) for c in rig.cameras]
        children.append((profile.lidar_frame, rig.base_from_lidar))
        in_base = {profile.imu_frame: self._sample.imu, profile.gnss_frame: self._sample.gnss}
        known = [name for name, reading in in_base.items() if reading is not None and name != profile.base_frame]
        children += [(name, np.eye(4)) for name in known]
        return [self._transform(stamp_ns, profile.base_frame, child, matrix) for child, matrix in children]

    def _tf(self, topic: str, stamp_ns: int, transforms: list[Any]) -> Outgoing:
        type_ = "tf2_msgs/msg/TFMessage"
        return Outgoing(topic, type_, stamp_ns, self._make(type_, transforms=transforms))

    def _clock(self, stamp_ns: int) -> Outgoing:
        type_ = "rosgraph_msgs/msg/Clock"
        return Outgoing("/clock", type_, stamp_ns, self._make(type_, clock=self._time(stamp_ns)))

    def _odometry(self, stamp_ns: int, pose: np.ndarray, twist: tuple[np.ndarray, np.ndarray] | None) -> Outgoing:
        """Zero covariance means not stated (as CARLA's); an unknown twist has a huge one."""
        linear, angular = twist if twist is not None else (np.zeros(3), np.zeros(3))
        variance = np.zeros((6, 6)) if twist is not None else np.eye(6) * _UNKNOWN_VARIANCE
        position = self._make("geometry_msgs/msg/Point", x=float(pose[0, 3]), y=float(pose[1, 3]), z=float(pose[2, 3]))
        type_ = "nav_msgs/msg/Odometry"
        message = self._make(
            type_,
            header=self._header(stamp_ns, self._profile.odom_frame),
            child_frame_id=self._profile.base_frame,
            pose=self._make(
                "geometry_msgs/msg/PoseWithCovariance",
                pose=self._make(
                    "geometry_msgs/msg/Pose", position=position, orientation=self._quaternion(pose[:3, :3])
                ),
                covariance=np.zeros(36),
            ),
            twist=self._make(
                "geometry_msgs/msg/TwistWithCovariance",
                twist=self._make("geometry_msgs/msg/Twist", linear=self._vector(linear), angular=self._vector(angular)),
                covariance=variance.ravel(),
            ),
        )
        return Outgoing(self._profile.odometry, type_, stamp_ns, message)

    def _camera_info(self, stamp_ns: int, camera: Camera) -> Outgoing:
        k = np.asarray(camera.intrinsics, np.float64)
        type_ = "sensor_msgs/msg/CameraInfo"
        message = self._make(
            type_,
            header=self._header(stamp_ns, self._profile.camera_frame.format(camera.name)),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.column_stack([k, np.zeros(3)]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=self._make(
                "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )
        return Outgoing(self._profile.camera_info.format(camera.name), type_, stamp_ns, message)

    def _image(self, stamp_ns: int, camera: str, image: np.ndarray) -> Outgoing:
        topic = self._profile.image.format(camera)
        header = self._header(stamp_ns, self._profile.camera_frame.format(camera))
        if self._profile.compressed:
            type_ = "sensor_msgs/msg/CompressedImage"
            data = np.frombuffer(encode_jpeg(image, self._quality), np.uint8)
            return Outgoing(topic, type_, stamp_ns, self._make(type_, header=header, format="jpeg", data=data))
        type_ = "sensor_msgs/msg/Image"
        height, width = image.shape[:2]
        pixels = np.full((height, width, 4), 255, np.uint8)
        pixels[..., :3] = image[..., ::-1]
        message = self._make(
            type_,
            header=header,
            height=height,
            width=width,
            encoding="bgra8",
            is_bigendian=0,
            step=width * 4,
            data=pixels.ravel(),
        )
        return Outgoing(topic, type_, stamp_ns, message)

    def _imu(self, stamp_ns: int, imu: ImuReading) -> Outgoing:
        """Covariances are 0: not stated."""
        type_ = "sensor_msgs/msg/Imu"
        x, y, z, w = (float(v) for v in imu.orientation)
        message = self._make(
            type_,
            header=self._header(stamp_ns, self._profile.imu_frame),
            orientation=self._make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
            orientation_covariance=np.zeros(9),
            angular_velocity=self._vector(imu.angular_velocity),
            angular_velocity_covariance=np.zeros(9),
            linear_acceleration=self._vector(imu.linear_acceleration),
            linear_acceleration_covariance=np.zeros(9),
        )
        return Outgoing(self._profile.imu, type_, stamp_ns, message)

    def _gnss(self, stamp_ns: int, gnss: GnssFix) -> Outgoing:
        """A fix with diagonal covariance, or as the CARLA bridge leaves it: status 0, covariance of unknown kind."""
        type_, stated = "sensor_msgs/msg/NavSatFix", self._profile.states_noise
        message = self._make(
            type_,
            header=self._header(stamp_ns, self._profile.gnss_frame),
            status=self._make("sensor_msgs/msg/NavSatStatus", status=0, service=_GPS if stated else 0),
            latitude=gnss.latitude,
            longitude=gnss.longitude,
            altitude=gnss.altitude,
            position_covariance=(np.eye(3) * gnss.stddev**2 if stated else np.zeros((3, 3))).ravel(),
            position_covariance_type=2 if stated else 0,
        )
        return Outgoing(self._profile.gnss, type_, stamp_ns, message)

    def _cloud(self, stamp_ns: int, points: np.ndarray) -> Outgoing:
        type_, rings, times = "sensor_msgs/msg/PointCloud2", self._sample.point_rings, self._frame.lidar_times_s
        values = dict(zip(("x", "y", "z", "intensity"), points.T))
        if times is not None and not self._profile.one_stamp:
            values["time"] = times
        columns = [(name, "<f4") for name in values]
        if self._profile.rings and rings is not None:
            columns.append(("ring", "<u2"))
            values["ring"] = rings
        records = np.empty(len(points), np.dtype(columns))
        step = records.itemsize
        for name, column in values.items():
            records[name] = column
        fields = [
            self._make(
                "sensor_msgs/msg/PointField",
                name=name,
                offset=4 * column,
                datatype=_UINT16 if kind == "<u2" else _FLOAT32,
                count=1,
            )
            for column, (name, kind) in enumerate(columns)
        ]
        message = self._make(
            type_,
            header=self._header(stamp_ns, self._profile.lidar_frame),
            height=1,
            width=len(points),
            fields=fields,
            is_bigendian=False,
            point_step=step,
            row_step=step * len(points),
            data=records.view(np.uint8).ravel(),
            is_dense=False,
        )
        return Outgoing(self._profile.lidar, type_, stamp_ns, message)

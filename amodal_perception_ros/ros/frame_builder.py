"""From a synchronized set of messages to a `SurroundFrame`: conversion, calibration and frames of the sensors.

A message that cannot be used costs its sensor's part of the set only; the rest goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from amodal_perception_ros.motion_compensation import Compensation, VehicleOutline, compensate
from amodal_perception_ros.ros.odometry_history import OdometryHistory
from amodal_perception_ros.ros.parameter_table import LIDAR, ODOMETRY
from amodal_perception_ros.ros.parameters import PerceptionParameters
from amodal_perception_ros.ros.sensor_conversions import (
    Cloud,
    ConversionError,
    camera_from_info,
    cloud_to_points,
    compressed_to_rgb,
    image_to_rgb,
    odometry_to_matrix,
)
from amodal_perception_ros.ros.transforms import TransformError, TransformTree, matrix_from_pose_values
from amodal_perception_ros.scene import Camera, Rig, SurroundFrame
from amodal_perception_ros.synchronizer import SensorSet

_MOTION_MARGIN_NS = 500_000_000
"""How far beyond the synchronization window the odometry is looked at: a sweep and some more [ns]."""


@dataclass(eq=False)
class BuiltFrame:
    """The outcome of one set.

    Attributes:
        frame: the input of the perception, compensated for motion, or None when fewer than `min_cameras` images
            were usable.
        headers: camera name -> header of its image, which its output messages copy.
        drops: (cause, sentence for the user) of each message that could not be used.
        warnings: key -> sentence for the user, for what is doubtful but was used.
        uncompensated: sensor -> why its motion against the set's stamp was not compensated.
    """

    frame: SurroundFrame | None = None
    headers: dict[str, Header] = field(default_factory=dict)
    drops: list[tuple[str, str]] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)
    uncompensated: dict[str, str] = field(default_factory=dict)


class FrameBuilder:
    """Builds frames; keeps the newest calibration of every camera and the newest odometry.

    Args:
        parameters: names of sensors and frames, extrinsics.
        transforms: where the poses of sensors without a parameter come from.
    """

    def __init__(self, parameters: PerceptionParameters, transforms: TransformTree) -> None:
        self._parameters = parameters
        self._transforms = transforms
        self._fixed = {name: matrix_from_pose_values(pose) for name, pose in parameters.extrinsics.items()}
        self._infos: dict[str, CameraInfo] = {}
        self._cameras: dict[str, Camera] = {}
        self._base_from_lidar = np.eye(4)
        self._offsets_ns = {name: round(offset * 1e6) for name, offset in parameters.offset_ms.items()}
        self._odometry_history = OdometryHistory()

    def calibrate(self, camera: str, info: CameraInfo) -> None:
        """Take over a camera's newest CameraInfo."""
        self._infos[camera] = info

    def note_odometry(self, stamp_ns: int, message: Odometry) -> None:
        """Remember a pose of the vehicle, also one that no set will hold."""
        if self._is_of_our_frames(message):
            self._odometry_history.add(stamp_ns, message)

    def forget_motion(self) -> None:
        """Forget the vehicle's motion, after time has jumped back."""
        self._odometry_history.clear()

    def build(self, sensor_set: SensorSet) -> BuiltFrame:
        """Convert a set whose payloads are messages."""
        built = BuiltFrame()
        images = {}
        for name in self._parameters.cameras:
            if name in sensor_set.payloads:
                image = self._image(name, sensor_set.payloads[name][1], built)
                if image is not None:
                    images[name] = image
        cloud = self._lidar(sensor_set, built)
        odom_from_base = self._odometry(sensor_set, built)
        if len(images) < self._parameters.min_cameras:
            built.drops.append(
                ("too_few_cameras", f"a set had {len(images)} usable images, sync.min_cameras is "
                 f"{self._parameters.min_cameras}")
            )  # fmt: skip
            return built
        usable = {*images, *([LIDAR] if cloud is not None else []), *([ODOMETRY] if odom_from_base is not None else [])}
        rig = Rig(
            tuple(self._cameras[n] for n in self._parameters.cameras if n in self._cameras), self._base_from_lidar
        )
        frame = SurroundFrame(
            stamp_ns=sensor_set.payloads[sensor_set.reference][0],
            rig=rig,
            images=images,
            image_stamps_ns={name: sensor_set.payloads[name][0] for name in images},
            lidar=cloud.points if cloud is not None else None,
            lidar_times_s=cloud.times_s if cloud is not None else None,
            lidar_stamp_ns=sensor_set.payloads[LIDAR][0] if cloud is not None else None,
            odom_from_base=odom_from_base,
            odom_stamp_ns=sensor_set.payloads[ODOMETRY][0] if odom_from_base is not None else None,
            missing=tuple(name for name in self._parameters.sensors if name not in usable),
        )
        compensation = self._compensate(frame, sensor_set.reference)
        built.frame, built.uncompensated = compensation.frame, compensation.faults
        return built

    def _compensate(self, frame: SurroundFrame, reference: str) -> Compensation:
        parameters = self._parameters
        if not (parameters.motion_compensation and parameters.use_odometry):
            return Compensation(frame)
        offsets = {name: offset - self._offsets_ns[reference] for name, offset in self._offsets_ns.items()}
        margin_ns = round(parameters.window_ms * 1e6) + _MOTION_MARGIN_NS
        frame.clock_offsets_ns = offsets
        frame.trajectory = self._odometry_history.around(frame.stamp_ns, margin_ns, offsets[ODOMETRY])
        outline = VehicleOutline(parameters.ego_length_m, parameters.ego_width_m, parameters.ego_center_x_m)
        return compensate(frame, outline)

    def _image(self, name: str, message: Any, built: BuiltFrame) -> np.ndarray | None:
        try:
            image = compressed_to_rgb(message) if isinstance(message, CompressedImage) else image_to_rgb(message)
            info = self._infos.get(name)
            if info is None:
                raise ConversionError("no_camera_info", "no CameraInfo has come yet; is its topic remapped?")
            base_from_camera = self._pose_of(name, message.header.frame_id)
            size = (image.shape[1], image.shape[0])
            camera, warnings = camera_from_info(info, name, base_from_camera, size)
        except (ConversionError, TransformError) as error:
            built.drops.append((_cause(error), f"camera '{name}': image dropped: {error}"))
            return None
        self._cameras[name] = camera
        built.headers[name] = message.header
        built.warnings.update((f"distortion.{name}", warning) for warning in warnings)
        return image

    def _lidar(self, sensor_set: SensorSet, built: BuiltFrame) -> Cloud | None:
        if LIDAR not in sensor_set.payloads:
            return None
        message = sensor_set.payloads[LIDAR][1]
        try:
            cloud = cloud_to_points(message)
            if len(cloud.points) == 0:
                what = "is empty" if cloud.dropped == 0 else f"has no finite point among {cloud.dropped}"
                raise ConversionError("empty_cloud", f"the cloud {what}")
            self._base_from_lidar = self._pose_of(LIDAR, message.header.frame_id)
        except (ConversionError, TransformError) as error:
            built.drops.append((_cause(error), f"lidar: cloud dropped: {error}"))
            return None
        return cloud

    def _odometry(self, sensor_set: SensorSet, built: BuiltFrame) -> np.ndarray | None:
        if ODOMETRY not in sensor_set.payloads:
            return None
        stamp_ns, message = sensor_set.payloads[ODOMETRY]
        try:
            self._check_frames(message)
            offset_ns = round(self._parameters.offset_ms[ODOMETRY] * 1e6)
            pose = odometry_to_matrix(message) @ _motion(message, (sensor_set.stamp_ns - stamp_ns + offset_ns) / 1e9)
        except ConversionError as error:
            built.drops.append(("bad_odometry", f"odometry dropped: {error}"))
            return None
        return pose

    def _check_frames(self, message: Odometry) -> None:
        if not self._is_of_our_frames(message):
            raise ConversionError(
                "wrong_frame",
                f"it is the pose of '{message.child_frame_id}' in '{message.header.frame_id}', but the parameters "
                f"base_frame and odom_frame are '{self._parameters.base_frame}' and '{self._parameters.odom_frame}'",
            )

    def _is_of_our_frames(self, message: Odometry) -> bool:
        odom, base = message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/")
        # Some drivers leave the child frame empty; it then can only be the vehicle.
        return odom == self._parameters.odom_frame.lstrip("/") and base in (self._parameters.base_frame.lstrip("/"), "")

    def _pose_of(self, sensor: str, frame_id: str) -> np.ndarray:
        """Return base_from_sensor (4, 4): the parameter where it is set, else what /tf says."""
        fixed = self._fixed.get(sensor)
        if fixed is not None:
            return fixed
        return self._transforms.target_from_source(self._parameters.base_frame, frame_id)


def _cause(error: ConversionError | TransformError) -> str:
    return error.cause if isinstance(error, ConversionError) else "no_transform"


def _motion(message: Odometry, seconds: float) -> np.ndarray:
    """Return the (4, 4) motion of the body within `seconds` at the message's twist (linear, and yaw rate only).

    Roll and pitch rates are left out: over a synchronization window they matter little, and CARLA's bridge gives
    them a wrong sign. A twist that is not finite counts as standing still.
    """
    linear = message.twist.twist.linear
    velocity = np.array([linear.x, linear.y, linear.z])
    yaw = message.twist.twist.angular.z * seconds
    motion = np.eye(4)
    if np.isfinite(velocity).all() and np.isfinite(yaw):
        motion[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        motion[:3, 3] = velocity * seconds
    return motion

"""Names and encodings of recordings: our own, and those of the CARLA ROS bridge."""

from __future__ import annotations

from dataclasses import dataclass

CARLA_STEP_NS = 50_000_000
"""Time of the bridge's first tick in synchronous mode (`fixed_delta_seconds` 0.05)."""


@dataclass(frozen=True)
class Profile:
    """Names and encodings of a recording.

    Attributes:
        image, camera_info: topic patterns with "{}" for the camera's name.
        lidar, odometry, imu, gnss: topics.
        camera_frame: pattern of the optical frame's name.
        base_frame, odom_frame, lidar_frame: frame names.
        imu_frame, gnss_frame: frame names; both coincide with the base frame.
        compressed: JPEG in CompressedImage, else raw bgra8 in Image.
        rings: clouds carry the ring of every point where it is known.
        states_noise: readings carry their standard deviation and the kind of fix where they are known.
        static_extrinsics: sensor transforms once on /tf_static, else every tick on /tf.
        one_stamp: all sensors of a tick carry the frame's stamp, counted from the start of the recording (the
            first frame is at 0.05 s) and cut to nanoseconds from a float, as the CARLA bridge does in synchronous mode.
    """

    image: str
    camera_info: str
    lidar: str
    odometry: str
    imu: str
    gnss: str
    camera_frame: str
    base_frame: str
    odom_frame: str
    lidar_frame: str
    imu_frame: str
    gnss_frame: str
    compressed: bool
    rings: bool
    states_noise: bool
    static_extrinsics: bool
    one_stamp: bool


PROFILES: dict[str, Profile] = {
    "default": Profile(
        image="/{}/image/compressed",
        camera_info="/{}/camera_info",
        lidar="/lidar/points",
        odometry="/odometry",
        imu="/imu/data",
        gnss="/gnss/fix",
        camera_frame="{}_optical",
        base_frame="base_link",
        odom_frame="odom",
        lidar_frame="lidar",
        imu_frame="base_link",
        gnss_frame="base_link",
        compressed=True,
        rings=True,
        states_noise=True,
        static_extrinsics=True,
        one_stamp=False,
    ),
    "carla": Profile(
        image="/carla/ego_vehicle/rgb_{}/image",
        camera_info="/carla/ego_vehicle/rgb_{}/camera_info",
        lidar="/carla/ego_vehicle/lidar",
        odometry="/carla/ego_vehicle/odometry",
        imu="/carla/ego_vehicle/imu",
        gnss="/carla/ego_vehicle/gnss",
        camera_frame="ego_vehicle/rgb_{}",
        base_frame="ego_vehicle",
        odom_frame="map",
        lidar_frame="ego_vehicle/lidar",
        imu_frame="ego_vehicle/imu",
        gnss_frame="ego_vehicle/gnss",
        compressed=False,
        rings=False,
        states_noise=False,
        static_extrinsics=False,
        one_stamp=True,
    ),
}

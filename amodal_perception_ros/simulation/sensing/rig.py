"""The sensor rig of a sequence: four cameras around the vehicle and a LiDAR on its roof."""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.scene import Camera, Rig
from amodal_perception_ros.simulation.config import SequenceConfig, Stream
from amodal_perception_ros.simulation.rendering.view import camera_pose

CAMERA_YAWS = {"front": 0.0, "right": -90.0, "back": 180.0, "left": 90.0}
"""Direction of each camera [degrees], by name in the order of the rig."""

_PLACES = {"front": (0.8, 0.0), "right": (0.0, -0.5), "back": (-0.8, 0.0), "left": (0.0, 0.5)}


def draw_rig(config: SequenceConfig) -> Rig:
    """Return the rig of a sequence: cameras front, right, back and left, and the LiDAR in the middle.

    Field of view, height and pitch of all cameras, and the small errors of each one's mounting are drawn from the
    section `rig` of the distributions.
    """
    rng, draw = config.stream(Stream.RIG), config.distributions.draw
    square, fov = draw(rng, "rig.square_fov"), draw(rng, "rig.fov")
    fov = 90.0 if square else fov
    height, pitch = draw(rng, "rig.camera_height"), draw(rng, "rig.camera_pitch")
    focal = config.width / 2 / np.tan(np.radians(fov) / 2)
    intrinsics = np.array([[focal, 0, config.width / 2], [0, focal, config.height / 2], [0, 0, 1.0]])
    base_from_lidar = np.eye(4)
    base_from_lidar[:3, 3] = (0.0, 0.0, draw(rng, "rig.lidar_height"))
    cameras = []
    for name, yaw in CAMERA_YAWS.items():
        place = np.array([*_PLACES[name], height]) + [draw(rng, "rig.camera_offset") for _ in range(3)]
        yaw, tilt = yaw + draw(rng, "rig.camera_yaw"), pitch + draw(rng, "rig.camera_tilt")
        pose = camera_pose(place, np.radians(yaw), np.radians(tilt), np.radians(draw(rng, "rig.camera_roll")))
        cameras.append(Camera(name, config.width, config.height, intrinsics.copy(), pose))
    return Rig(tuple(cameras), base_from_lidar)

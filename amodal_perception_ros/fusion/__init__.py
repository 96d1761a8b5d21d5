"""From per-camera scenes to the space around the vehicle: 3-D objects and bird's-eye-view occupancy."""

from amodal_perception_ros.fusion.bev import BevConfig, BevMapper
from amodal_perception_ros.fusion.geometry import FusionError
from amodal_perception_ros.fusion.objects import lift_objects
from amodal_perception_ros.fusion.tracks import TrackConfig

__all__ = ["BevConfig", "BevMapper", "FusionError", "TrackConfig", "lift_objects"]

"""From sensor data to amodal scenes: preprocess, engine, postprocess."""

from amodal_perception_ros.perception.engine import ENGINES, PRECISIONS, create_engine
from amodal_perception_ros.perception.perception import Perception, default_weights
from amodal_perception_ros.perception.postprocess import PostprocessConfig

__all__ = ["ENGINES", "PRECISIONS", "Perception", "PostprocessConfig", "create_engine", "default_weights"]

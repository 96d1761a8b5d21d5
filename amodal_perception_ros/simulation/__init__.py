"""Procedural street simulator: AmodalSynthDrive-class sensor data with exact amodal ground truth."""

from amodal_perception_ros.simulation.config import SequenceConfig
from amodal_perception_ros.simulation.sequence import simulate

__all__ = ["SequenceConfig", "simulate"]

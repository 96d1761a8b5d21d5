"""The amodal network: seeded dynamic fields. Pure tensors in, tensors out; static shapes; no custom operators."""

from amodal_perception_ros.network.config import CANONICAL_FOCAL, NetworkConfig
from amodal_perception_ros.network.network import AmodalNetwork, NetworkOutput
from amodal_perception_ros.network.weights import WeightsError, load_weights, save_weights

__all__ = [
    "CANONICAL_FOCAL",
    "AmodalNetwork",
    "NetworkConfig",
    "NetworkOutput",
    "WeightsError",
    "load_weights",
    "save_weights",
]

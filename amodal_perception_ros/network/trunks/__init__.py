"""Trunks: the network's own convolutional encoder, or one of the `transformers` library."""

from amodal_perception_ros.network.backbone import Trunk
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.trunks.conv_trunk import ConvTrunk
from amodal_perception_ros.network.trunks.transformers_trunk import TransformersTrunk

__all__ = ["Trunk", "make_trunk"]


def make_trunk(config: NetworkConfig) -> Trunk:
    """Return the trunk of a configuration, with random weights.

    Raises:
        InputError: its backbone cannot be built here (see `TransformersTrunk`).
    """
    return ConvTrunk(config) if config.backbone is None else TransformersTrunk(config, config.backbone)

"""The network that a training starts from."""

from __future__ import annotations

from dataclasses import replace

from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.network import AmodalNetwork
from amodal_perception_ros.network.trunks.library import load_encoder
from amodal_perception_ros.network.trunks.transformers_trunk import TransformersTrunk


def new_network(config: NetworkConfig) -> AmodalNetwork:
    """Return an untrained network; a backbone with a name has the weights that are found under it.

    The network's own `config` then says all that is needed to build it without them: the backbone's architecture and
    the statistics of its input.

    Raises:
        InputError: the backbone cannot be loaded (see `library.load_encoder`).
    """
    if config.backbone is None or config.backbone.name is None:
        return AmodalNetwork(config)
    encoder, backbone = load_encoder(config.backbone)
    network = AmodalNetwork(replace(config, backbone=backbone))
    assert isinstance(network.trunk, TransformersTrunk)
    network.trunk.encoder.load_state_dict(encoder.state_dict())
    return network

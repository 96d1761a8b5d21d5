"""Baseline: visible and amodal mask of an object by heads that share nothing but the trunk.

After Amodal-EfficientPS, the naive baseline of AmodalSynthDrive (Sekkat et al. 2024, section 3.3.2): a panoptic
network with an amodal mask head beside its mask head, neither of which knows of the other. The seed has no object
depth; here it has an MLP of its own, which lends nothing to either mask.
"""

from __future__ import annotations

from amodal_perception_ros.network.backbone import mlp
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.instance_heads.generated_mlp import GeneratedHead, GeneratedMLP


class IndependentMasks(GeneratedHead):
    """Visible mask, amodal mask and depth by one generated MLP each; its losses relate none to another."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.visible = GeneratedMLP(config, masks=1)
        self.amodal = GeneratedMLP(config, masks=1)
        self.depth = GeneratedMLP(config, masks=0, others=1)
        self.base_depth = mlp(config.channels, config.channels, 1)

    @property
    def mlps(self) -> tuple[GeneratedMLP, ...]:
        """One for each map (see `GeneratedHead.mlps`)."""
        return self.visible, self.amodal, self.depth

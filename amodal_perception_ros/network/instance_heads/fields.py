"""Instance fields, ours: one generated MLP per object draws visible mask, amodal mask and depth together."""

from __future__ import annotations

from torch import Tensor

from amodal_perception_ros.network.backbone import mlp
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads.generated_mlp import GeneratedHead, GeneratedMLP
from amodal_perception_ros.network.instance_heads.head import InstanceMaps, Matched, hidden_loss
from amodal_perception_ros.network.targets import LossWeights, Targets


class InstanceFields(GeneratedHead):
    """(visible, amodal, depth residual) = three outputs of one MLP: the masks and the depth share its hidden layer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.generate = GeneratedMLP(config, masks=2, others=1)
        self.base_depth = mlp(config.channels, config.channels, 1)

    @property
    def mlps(self) -> tuple[GeneratedMLP, ...]:
        """The one MLP (see `GeneratedHead.mlps`)."""
        return (self.generate,)

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the losses of the three maps and of the hidden part between the masks, and the maps."""
        parts, maps = super().losses(tokens, boxes, dense, matched, targets, weights)
        grid = dense.log_depth.shape[-2:]
        hidden = hidden_loss(maps, matched.instance, targets, grid, weights.hidden_dice, weights.hidden_bce)
        return parts | {"hidden": hidden}, maps

"""Baseline: visible and amodal mask heads, linked by a loss on what is hidden between them.

After ORCNN (Follmann et al. 2019): two heads of the same architecture (section 3.1), the logits of the invisible mask
are those of the amodal mask minus relu of those of the visible mask, and the three masks have equal losses (equation
1). Here each mask loss has a dice term besides the cross-entropy, as those of all heads; the hidden part that is
scored is, as for all heads, amodal without visible.
"""

from __future__ import annotations

from torch import Tensor

from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads.head import InstanceMaps, Matched, hidden_loss
from amodal_perception_ros.network.instance_heads.independent import IndependentMasks
from amodal_perception_ros.network.targets import LossWeights, Targets


class ORCNN(IndependentMasks):
    """Independent masks with the loss of the invisible mask, which brings their logits to the same scale."""

    def losses(
        self,
        tokens: Tensor,
        boxes: Tensor,
        dense: DenseMaps,
        matched: Matched,
        targets: Targets,
        weights: LossWeights,
    ) -> tuple[dict[str, Tensor], InstanceMaps]:
        """Return the losses of the heads and of the invisible mask, and the maps at the targets' cells."""
        parts, maps = super().losses(tokens, boxes, dense, matched, targets, weights)
        grid = dense.log_depth.shape[-2:]
        hidden = hidden_loss(maps, matched.instance, targets, grid, weights.mask_dice, weights.mask_bce)
        return parts | {"hidden": hidden}, maps

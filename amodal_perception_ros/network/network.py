"""The amodal network: one forward pass for all cameras gives panoptic, amodal masks, depth and occlusion order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from amodal_perception_ros.network.config import INPUT_MULTIPLE, NetworkConfig
from amodal_perception_ros.network.heads import DenseHead, TokenHead, pick_seeds
from amodal_perception_ros.network.instance_heads import InstanceMaps, make_instance_head
from amodal_perception_ros.network.trunks import make_trunk


class NetworkOutput(NamedTuple):
    """Raw outputs for B images, K tokens, h = H/2, w = W/2; float32 unless said.

    Attributes:
        stuff_logits: (B, 11, h, w), classes in the order of `labels.STUFF`.
        log_depth: (B, h, w) log of the visible canonical depth (see `CANONICAL_FOCAL`).
        heat_logits: (B, 1, hs, ws) seed heat map.
        seed_score: (B, K) heat of each token's seed in 0..1, descending.
        seed_index: (B, K) int64 flat cell of each seed in the heat map.
        class_logits: (B, K, 8), 7 things in the order of `labels.THINGS`, last = no object.
        boxes: (B, K, 4) amodal box inside the image: centre x, centre y, width, height as fractions of the input.
        order_logits: (B, K, K), entry [i, j] high: i occludes j.
        occluded_logits: (B, K) high: a part of the object is hidden.
        quality_logits: (B, K) logit of the expected IoU of the amodal mask.
        description: what the instance head draws the tokens' masks and depth from (see `InstanceHead`); its form is the
            head's business, the first dimension of each tensor is B.
    """

    stuff_logits: Tensor
    log_depth: Tensor
    heat_logits: Tensor
    seed_score: Tensor
    seed_index: Tensor
    class_logits: Tensor
    boxes: Tensor
    order_logits: Tensor
    occluded_logits: Tensor
    quality_logits: Tensor
    description: tuple[Tensor, ...]

    def named(self) -> dict[str, Tensor]:
        """Return all tensors by name, the parts of the description as description_0, description_1..."""
        parts = {f"description_{number}": part for number, part in enumerate(self.description)}
        return {name: getattr(self, name) for name in self._fields[:-1]} | parts

    @classmethod
    def from_named(cls, values: Mapping[str, Tensor]) -> NetworkOutput:
        """Build what `named` took apart."""
        others = {name: values[name] for name in cls._fields[:-1]}
        parts = (values[f"description_{number}"] for number in range(len(values) - len(others)))
        return cls(**others, description=tuple(parts))


class AmodalNetwork(nn.Module):
    """Heat-map seeds -> K tokens -> the instance head's masks and depth, with "fields" one small MLP per token."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        self.trunk = make_trunk(self.config)
        self.dense = DenseHead(self.config)
        self.tokens = TokenHead(self.config)
        self.instances = make_instance_head(self.config)

    def forward(self, image: Tensor, guidance: Tensor) -> NetworkOutput:
        """Perceive B images.

        Args:
            image: (B, 3, H, W) float32 RGB in 0..1; H and W multiples of 32.
            guidance: (B, 2, H, W) float32 projected LiDAR: canonical inverse depth [1/m] (0 without a point) and
                validity 0/1. All zeros means no LiDAR.

        Raises:
            ValueError: the input shapes do not fit.
        """
        check_input(image, guidance)
        pyramid = self.trunk(image, guidance)
        dense = self.dense(pyramid)
        seeds = pick_seeds(dense.heat_logits, self.config.tokens)
        tokens = self.tokens(dense.hidden, pyramid, seeds.cells)
        return NetworkOutput(
            stuff_logits=dense.stuff_logits,
            log_depth=dense.log_depth,
            heat_logits=dense.heat_logits,
            seed_score=seeds.score,
            seed_index=seeds.cells,
            class_logits=tokens.class_logits,
            boxes=tokens.boxes,
            order_logits=tokens.order_logits,
            occluded_logits=tokens.occluded_logits,
            quality_logits=tokens.quality_logits,
            description=self.instances.describe(tokens.embedding, tokens.boxes, dense),
        )

    def everything(self, output: NetworkOutput) -> InstanceMaps:
        """Return the maps of all tokens at every cell, (B, K, h, w), that an output describes."""
        return self.instances.everywhere(output.description, output.boxes)


def check_input(image: Tensor, guidance: Tensor) -> None:
    """Raise ValueError unless image is (B, 3, H, W), guidance (B, 2, H, W), H and W multiples of 32."""
    if image.dim() != 4 or image.shape[1] != 3:
        raise ValueError(f"image must be (B, 3, H, W), got {tuple(image.shape)}")
    batch, _, height, width = image.shape
    if tuple(guidance.shape) != (batch, 2, height, width):
        raise ValueError(f"guidance must be {(batch, 2, height, width)}, got {tuple(guidance.shape)}")
    if height % INPUT_MULTIPLE or width % INPUT_MULTIPLE:
        raise ValueError(f"input size {width} x {height} must be multiples of {INPUT_MULTIPLE}")

"""The network's own encoder: small residual convolutions, fast on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import GuidanceBranch, Trunk, conv_bn
from amodal_perception_ros.network.config import NetworkConfig

RGB_MEAN = (0.45, 0.45, 0.45)
RGB_STD = (0.25, 0.25, 0.25)


class ResidualBlock(nn.Module):
    """Basic residual block (He et al. 2016, figure 5 left)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, stride=stride)
        self.second = conv_bn(outputs, outputs, relu=False)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_bn(inputs, outputs, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, h, w) to (B, outputs, h / stride, w / stride)."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ConvTrunk(Trunk):
    """Stem and four stages of residual blocks; the guidance joins the stem's features, so all stages see it."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        widths = config.widths
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(RGB_STD).view(1, 3, 1, 1), persistent=False)
        self.stem = nn.Sequential(
            conv_bn(3, config.stem_channels, stride=2), conv_bn(config.stem_channels, widths[0], stride=2)
        )
        self.guidance = GuidanceBranch(config.guidance_channels, widths[0])
        inputs = (widths[0], *widths[:3])
        self.stages = nn.ModuleList(
            _stage(i, o, depth, 1 if level == 0 else 2)
            for level, (i, o, depth) in enumerate(zip(inputs, widths, config.depths))
        )
        self.add_pyramid(widths, config)

    def encode(self, image: Tensor, guidance: Tensor) -> list[Tensor]:
        """Return the stages' maps (see `Trunk.encode`)."""
        x = self.stem((image - self.mean) / self.std) + self.guidance(guidance)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


def _stage(inputs: int, outputs: int, depth: int, stride: int) -> nn.Sequential:
    first = ResidualBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(ResidualBlock(outputs, outputs, 1) for _ in range(depth - 1)))

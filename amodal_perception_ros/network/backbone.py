"""What trunks share: an encoder's four maps to a feature pyramid, LiDAR guidance, and the layers they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.config import FEATURE_STRIDE, NetworkConfig

LOG_DEPTH_CENTRE = 2.3
"""About log(10 m): depth outputs and guidance are offsets from it, so that the untrained network starts sensibly.

It is added in float32: bfloat16 would round log depths to steps of one to three per cent of the depth."""


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Return convolution + BatchNorm (+ ReLU); the normalisation folds into the convolution at export."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return a perceptron with one hidden ReLU layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))


class GuidanceBranch(nn.Module):
    """Brings projected LiDAR depth to stride 4 as features to be added to the stem's.

    The last convolution is zero-initialised, so training starts from the image-only network and LiDAR can only
    earn its influence (Amodal Depth Anything, Li et al. 2024, guidance convolution).
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        super().__init__()
        self.read = nn.Conv2d(4, hidden, 3, padding=1)
        self.write = nn.Conv2d(hidden, outputs, 1)
        with torch.no_grad():
            for parameter in self.write.parameters():
                parameter.zero_()

    def forward(self, guidance: Tensor) -> Tensor:
        """Map (B, 2, H, W) inverse depth [1/m] and validity to (B, outputs, H/4, W/4)."""
        fine = F.avg_pool2d(guidance, FEATURE_STRIDE)
        coarse = F.interpolate(F.avg_pool2d(fine, 4), scale_factor=4.0, mode="nearest")
        return self.write(F.relu(self.read(torch.cat([self._log_depth(fine), self._log_depth(coarse)], 1))))

    @staticmethod
    def _log_depth(pooled: Tensor) -> Tensor:
        """Turn (B, 2, h, w) averaged inverse depth and validity into log depth where there are points, and density."""
        inverse, density = pooled[:, :1], pooled[:, 1:]
        mean = inverse / density.clamp(min=1e-6)
        log_depth = -mean.clamp(min=1e-3).log() - LOG_DEPTH_CENTRE
        return torch.cat([log_depth * (density > 0).to(pooled.dtype), density], 1)


class GlobalAttention(nn.Module):
    """One pre-norm transformer layer over all positions of the coarsest map."""

    HEADS = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(channels)
        self.norm_mlp = nn.LayerNorm(channels)
        self.query_key = nn.Linear(channels, 2 * channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.mlp = mlp(channels, 2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        batch, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        normed = self.norm_attention(tokens)
        positions = position_encoding(height, width, channels, x.device).to(x.dtype)
        query, key = self.query_key(normed + positions).chunk(2, -1)
        mixed = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(self.value(normed)))
        mixed = mixed.transpose(1, 2).reshape(batch, height * width, channels)
        tokens = tokens + self.output(mixed)
        tokens = tokens + self.mlp(self.norm_mlp(tokens))
        return tokens.transpose(1, 2).reshape(batch, channels, height, width)

    def _split(self, x: Tensor) -> Tensor:
        batch, length, channels = x.shape
        return x.reshape(batch, length, self.HEADS, channels // self.HEADS).transpose(1, 2)


def position_encoding(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Return (height * width, channels) float32 sines and cosines of the normalised row and column."""
    frequency = 2.0 ** torch.arange(channels // 4, device=device, dtype=torch.float32).clamp(max=6)
    parts = []
    for size in (height, width):
        angle = (torch.arange(size, device=device, dtype=torch.float32) / size * 2 * math.pi)[:, None] * frequency
        parts.append(torch.cat([angle.sin(), angle.cos()], 1))
    rows = parts[0][:, None].expand(height, width, -1)
    columns = parts[1][None].expand(height, width, -1)
    return torch.cat([rows, columns], 2).reshape(height * width, channels)


class Trunk(nn.Module):
    """Image and guidance to a feature pyramid with `config.channels` channels: one global attention layer at stride 32,
    and from there back to stride 4 (Feature Pyramid Networks, Lin et al. 2017).

    A trunk makes the layers of its encoder, then calls `add_pyramid`, and implements `encode`.
    """

    def add_pyramid(self, widths: Sequence[int], config: NetworkConfig) -> None:
        """Add the layers after the encoder.

        Args:
            widths: channels of the encoder's maps at /4, /8, /16, /32.
            config: of the network.
        """
        self.lateral = nn.ModuleList(nn.Conv2d(width, config.channels, 1) for width in widths)
        self.attention = GlobalAttention(config.channels)
        self.coordinates = nn.Conv2d(2, config.channels, 1, bias=False)
        self.smooth = nn.ModuleList(conv_bn(config.channels, config.channels) for _ in range(3))

    def encode(self, image: Tensor, guidance: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) RGB in 0..1 and (B, 2, H, W) guidance to (B, widths[i], ., .) maps at /4, /8, /16, /32."""
        raise NotImplementedError

    def forward(self, image: Tensor, guidance: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) RGB in 0..1 and (B, 2, H, W) guidance to four (B, D, ., .) maps at /4, /8, /16, /32."""
        levels = self.encode(image, guidance)
        x = self.attention(self.lateral[3](levels[3]))
        pyramid = [x]
        for level in (2, 1, 0):
            x = self.lateral[level](levels[level]) + F.interpolate(x, scale_factor=2.0, mode="nearest")
            if level == 0:
                x = x + self.coordinates(coordinate_channels(x))
            x = self.smooth[level](x)
            pyramid.append(x)
        return pyramid[::-1]


def coordinate_channels(like: Tensor) -> Tensor:
    """Return (1, 2, h, w) column and row positions in -1..1 for a map of shape (B, C, h, w)."""
    height, width = like.shape[-2:]
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    return torch.stack([x[None].expand(height, width), y[:, None].expand(height, width)])[None]

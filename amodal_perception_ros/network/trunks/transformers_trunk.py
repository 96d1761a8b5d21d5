"""An encoder of the `transformers` library with what it needs to take the place of the network's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network.backbone import GuidanceBranch, Trunk
from amodal_perception_ros.network.config import BackboneConfig, NetworkConfig
from amodal_perception_ros.network.trunks.library import build_encoder, maps_of, patch_size_of

STRIDES = (4, 8, 16, 32)

PLAIN_STRIDE = 16
"""Stride at which an encoder with one map sees the image, whatever its patch size: the image is scaled for it."""

_PROBE = 64
"""Side [px] of the image that shows an encoder's maps."""


class SimpleFeaturePyramid(nn.Module):
    """One map at /16 to maps at /4, /8, /16, /32 (ViTDet, Li et al. 2022, section 3, "simple feature pyramid").

    BatchNorm takes the place of LayerNorm, as everywhere in the network.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.at_4 = nn.Sequential(
            nn.ConvTranspose2d(channels, half, 2, 2),
            nn.BatchNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
        )
        self.at_8 = nn.ConvTranspose2d(channels, half, 2, 2)
        self.widths = (quarter, half, channels, channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (B, C, h, w) to four maps of `widths` channels at 4, 2, 1 and 1/2 times its size."""
        return [self.at_4(x), self.at_8(x), x, F.max_pool2d(x, 2)]


class TransformersTrunk(Trunk):
    """An encoder of the library; the guidance is added to its map at /4.

    Encoders with four stages (Swin, SegFormer, ConvNeXt) give their own four maps; of those with one (DINOv2 and other
    plain vision transformers) `SimpleFeaturePyramid` makes four.

    Raises:
        InputError: the library is not installed, the backbone's architecture is not known yet (see
            `pretrained.new_network`), or its maps are at other strides.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: NetworkConfig, backbone: BackboneConfig) -> None:
        super().__init__()
        if backbone.architecture is None:
            raise InputError(f"the architecture of backbone '{backbone.name}' is not known; start with new_network")
        self.frozen = backbone.frozen
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.encoder = build_encoder(backbone.architecture)
        self.patch_size = patch_size_of(self.encoder)
        widths = self._probe(backbone)
        if self.patch_size is not None:
            self.pyramid = SimpleFeaturePyramid(widths[0])
            widths = self.pyramid.widths
        self.guidance = GuidanceBranch(config.guidance_channels, widths[0])
        self.add_pyramid(widths, config)

    def train(self, mode: bool = True) -> TransformersTrunk:
        """Set the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def encode(self, image: Tensor, guidance: Tensor) -> list[Tensor]:
        """Return four maps (see `Trunk.encode`)."""
        maps = self._maps((image - self.mean) / self.std)
        levels = list(maps) if self.patch_size is None else self.pyramid(maps[0])
        levels[0] = levels[0] + self.guidance(guidance)
        return levels

    def _maps(self, x: Tensor) -> Sequence[Tensor]:
        if self.patch_size not in (None, PLAIN_STRIDE):
            size = [side // PLAIN_STRIDE * self.patch_size for side in x.shape[-2:]]
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return maps_of(self.encoder, x)

    @torch.enable_grad()
    def _probe(self, backbone: BackboneConfig) -> tuple[int, ...]:
        """Return the channels of the encoder's maps; what never gets a gradient, or shall get none, is not trained.

        Parameters such as the mask token of a pretraining take no part, and training in several processes waits for
        the gradient of every parameter that is to be trained.
        """
        maps = self._maps(torch.zeros(1, 3, _PROBE, _PROBE))
        strides = STRIDES if self.patch_size is None else (PLAIN_STRIDE,)
        found = [tuple(values.shape[-2:]) for values in maps]
        if found != [(_PROBE // stride, _PROBE // stride) for stride in strides]:
            raise InputError(
                f"backbone '{backbone.name}': maps of {found} for an image of {_PROBE} px, not at {strides}"
            )
        torch.stack([values.float().square().sum() for values in maps]).sum().backward()
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(parameter.grad is not None and not self.frozen)
            parameter.grad = None
        return tuple(values.shape[1] for values in maps)

"""What a user would combine today, from `transformers`: published architectures written out, with random weights.

Speed does not depend on the weights. Sources: Mask2Former (Cheng et al. 2022) with Swin-T (Liu et al. 2021), the
configuration of `facebook/mask2former-swin-tiny-cityscapes-panoptic`; Depth Anything V2 Small (Yang et al. 2024), the
configuration of `depth-anything/Depth-Anything-V2-Small-hf`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
Size = tuple[int, int]


def mask2former_swin_tiny() -> nn.Module:
    """Return the panoptic network: Swin-T, deformable pixel decoder of 6 layers, 9 decoder layers, 100 queries."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        image_size=224,
        patch_size=4,
        embed_dim=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.3,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=256,
        mask_feature_size=256,
        hidden_dim=256,
        encoder_feedforward_dim=1024,
        encoder_layers=6,
        decoder_layers=10,
        num_attention_heads=8,
        dim_feedforward=2048,
        num_queries=100,
        num_labels=19,
        feature_strides=[4, 8, 16, 32],
    )
    return Mask2FormerForUniversalSegmentation(config).eval()


def depth_anything_v2_small() -> nn.Module:
    """Return the depth network: DINOv2 ViT-S/14 with a DPT head."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        image_size=518,
        patch_size=14,
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        out_indices=[3, 6, 9, 12],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=384,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64,
        head_hidden_size=32,
        depth_estimation_type="relative",
    )
    return DepthAnythingForDepthEstimation(config).eval()


def edges_800_1333(size: Size) -> Size:
    """Return Mask2Former's size by paper and by the default of its processor: shorter side 800, longer at most 1333,
    padded to multiples of 32.
    """
    scale = min(800 / min(size), 1333 / max(size))
    width, height = (32 * -(-round(scale * side) // 32) for side in size)
    return width, height


def square_384(size: Size) -> Size:
    """Return the size in the processor file that is published with the Mask2Former weights: always 384 x 384."""
    return 384, 384


def edges_518(size: Size) -> Size:
    """Return Depth Anything's size: the side that needs less scaling becomes 518, both multiples of 14."""
    scale = min((518 / side for side in size), key=lambda factor: abs(1 - factor))
    width, height = (14 * round(scale * side / 14) for side in size)
    return width, height


@dataclass
class Peer:
    """A published network and the input size that its processor makes of an image's size."""

    name: str
    build: Callable[[], nn.Module]
    input_size: Callable[[Size], Size]


PEERS = (
    Peer("Mask2Former-Swin-T, 800/1333", mask2former_swin_tiny, edges_800_1333),
    Peer("Mask2Former-Swin-T, 384x384", mask2former_swin_tiny, square_384),
    Peer("Depth-Anything-V2-Small", depth_anything_v2_small, edges_518),
)


class PeerRunner:
    """Runs one peer on the images of a rig: resize and normalise, then all images in one batch; no post-processing."""

    def __init__(self, peer: Peer, device: torch.device, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self._peer, self._device, self._dtype = peer, device, dtype
        self.network = peer.build().to(device)

    def prepare(self, images: list[np.ndarray]) -> Tensor:
        """Return the (B, 3, H, W) float32 input for B (h, w, 3) uint8 images of one size."""
        height, width = images[0].shape[:2]
        size = self._peer.input_size((width, height))
        scaled = [cv2.resize(image, size, interpolation=cv2.INTER_LINEAR) for image in images]
        batch = (np.stack(scaled).astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
        return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)).to(self._device)

    def __call__(self, images: list[np.ndarray]) -> None:
        """Prepare the images and run the network."""
        self.infer(self.prepare(images))

    def infer(self, pixels: Tensor) -> None:
        """Run the network; a GPU may still be at work afterwards."""
        lowered = self._dtype != torch.float32
        dtype = self._dtype if lowered else None
        with torch.inference_mode(), torch.autocast(self._device.type, dtype, enabled=lowered):
            self.network(pixel_values=pixels)

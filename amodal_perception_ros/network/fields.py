"""Instance fields: each token generates a tiny MLP over shared features that draws one object.

Related: CondInst (Tian et al. 2020, dynamic mask heads) and SOLOv2 (Wang et al. 2020, dynamic kernels). Here the
MLP reads the coordinates of the object's own box and emits visible mask, amodal mask and depth together.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import LOG_DEPTH_CENTRE, mlp
from amodal_perception_ros.network.config import NetworkConfig

FIELDS = 3
"""Visible logit, amodal logit, log-depth residual."""

MASK_BIAS = -2.0
"""Start of the mask logits: most of the image is not the object."""

COORDINATE_TERMS = 4
"""u, u^2, v, v^2 of the box-frame coordinates."""

COORDINATE_LIMIT = 4.0
"""Box-frame coordinates are -1..1 inside the box and stop growing here, which keeps their squares small."""


class InstanceFields(nn.Module):
    """h = relu(W1 F + b1 + a1 u + a2 u^2 + a3 v + a4 v^2); (visible, amodal, residual) = W2 h + b2."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.hidden, self.features = config.field_hidden, config.mask_channels
        self.sizes = [
            self.hidden * self.features,
            self.hidden,
            self.hidden * COORDINATE_TERMS,
            FIELDS * self.hidden,
            FIELDS,
        ]
        numbers = nn.Linear(config.channels, sum(self.sizes))
        self.generate = nn.Sequential(nn.Linear(config.channels, config.channels), nn.ReLU(inplace=True), numbers)
        self.base_depth = mlp(config.channels, config.channels, 1)
        with torch.no_grad():
            numbers.bias[-FIELDS:-1] += MASK_BIAS

    def forward(self, tokens: Tensor, boxes: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate every token's field at every pixel.

        Args:
            tokens: (B, M, D).
            boxes: (B, M, 4) centre x, centre y, width, height, normalised to the image.
            features: (B, C, h, w) mask features F.

        Returns:
            Visible logits, amodal logits and object log depth, each (B, M, h, w).
        """
        batch, count, _ = tokens.shape
        channels, height, width = features.shape[1:]
        rows = batch * count
        w1, b1, a, w2, b2 = torch.split(self.generate(tokens), self.sizes, -1)
        w1 = w1.reshape(batch, count * self.hidden, channels) * (1 / math.sqrt(channels))
        shared = torch.bmm(w1, features.flatten(2)).reshape(rows, self.hidden, height, width)
        along_x, along_y = self._coordinate_terms(a, boxes, height, width)
        along_y = along_y + b1.reshape(rows, self.hidden, 1, 1)
        hidden = F.relu(shared + along_x + along_y).flatten(2)
        fields = torch.bmm(w2.reshape(rows, FIELDS, self.hidden), hidden) + b2.reshape(rows, FIELDS, 1)
        fields = fields.reshape(batch, count, FIELDS, height, width)
        depth = self.base_depth(tokens)[..., None] + 0.5 * fields[:, :, 2] + LOG_DEPTH_CENTRE
        return fields[:, :, 0], fields[:, :, 1], depth

    def _coordinate_terms(self, a: Tensor, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the column part (rows, hidden, 1, w) and the row part (rows, hidden, h, 1) of the hidden layer."""
        rows = boxes.shape[0] * boxes.shape[1]
        a = a.reshape(rows, self.hidden, COORDINATE_TERMS, 1)
        u = box_coordinates(boxes[..., 0], boxes[..., 2], width).reshape(rows, 1, width)
        v = box_coordinates(boxes[..., 1], boxes[..., 3], height).reshape(rows, 1, height)
        along_x = a[:, :, 0] * u + a[:, :, 1] * u * u
        along_y = a[:, :, 2] * v + a[:, :, 3] * v * v
        return along_x[:, :, None, :], along_y[:, :, :, None]


def box_coordinates(centre: Tensor, size: Tensor, count: int) -> Tensor:
    """Return (B, M, count) positions of the pixel centres along one axis, -1..1 inside the box."""
    pixels = (torch.arange(count, device=centre.device, dtype=centre.dtype) + 0.5) / count
    relative = 2 * (pixels - centre[..., None]) / size[..., None]
    return relative.clamp(-COORDINATE_LIMIT, COORDINATE_LIMIT)

"""Instance fields: each token generates a tiny MLP over shared features that draws one object.

Related: CondInst (Tian et al. 2020, dynamic mask heads) and SOLOv2 (Wang et al. 2020, dynamic kernels). Here the
MLP reads the coordinates of the object's own box and emits visible mask, amodal mask and depth together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import LOG_DEPTH_CENTRE, mlp
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads.head import InstanceHead, InstanceMaps, cell_centres, cells_of

FIELDS = 3
"""Visible logit, amodal logit, log-depth residual."""

MASK_BIAS = -2.0
"""Start of the mask logits: most of the image is not the object."""

COORDINATE_TERMS = 4
"""u, u^2, v, v^2 of the box-frame coordinates."""

COORDINATE_LIMIT = 4.0
"""Box-frame coordinates are -1..1 inside the box and stop growing here, which keeps their squares small."""


class InstanceFields(InstanceHead):
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

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> InstanceMaps:
        """Evaluate the tokens' fields at some cells (see `InstanceHead.at`)."""
        layer = self._layer(tokens)
        x, y = cell_centres(cells, dense.mask_features.shape[-2:])
        u = _box_coordinates(x[:, None], boxes[..., 0:1], boxes[..., 2:3])
        v = _box_coordinates(y[:, None], boxes[..., 1:2], boxes[..., 3:4])
        terms = torch.stack([u, u * u, v, v * v], 2).flatten(0, 1)
        shared = torch.bmm(layer.features, cells_of(dense.mask_features, cells))
        shared = shared.reshape(len(terms), self.hidden, -1) + layer.bias
        hidden = F.relu(shared + torch.bmm(layer.coordinates, terms))
        return self._maps(layer, hidden, tokens, (cells.shape[1],))

    def forward(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> InstanceMaps:
        """Evaluate every token's field at every cell: maps of shape (B, M, h, w)."""
        layer = self._layer(tokens)
        height, width = dense.mask_features.shape[-2:]
        shared = torch.bmm(layer.features, dense.mask_features.flatten(2)).reshape(-1, self.hidden, height, width)
        along_x, along_y = self._separate_terms(layer.coordinates[..., None], boxes, height, width)
        hidden = F.relu(shared + along_x + (along_y + layer.bias[..., None])).flatten(2)
        return self._maps(layer, hidden, tokens, (height, width))

    def _layer(self, tokens: Tensor) -> _Layer:
        batch, count, _ = tokens.shape
        rows = batch * count
        w1, b1, a, w2, b2 = torch.split(self.generate(tokens), self.sizes, -1)
        return _Layer(
            features=w1.reshape(batch, count * self.hidden, self.features) * (1 / math.sqrt(self.features)),
            bias=b1.reshape(rows, self.hidden, 1),
            coordinates=a.reshape(rows, self.hidden, COORDINATE_TERMS),
            weight=w2.reshape(rows, FIELDS, self.hidden),
            end=b2.reshape(rows, FIELDS, 1),
        )

    def _maps(self, layer: _Layer, hidden: Tensor, tokens: Tensor, shape: tuple[int, ...]) -> InstanceMaps:
        fields = (torch.bmm(layer.weight, hidden) + layer.end).reshape(*tokens.shape[:2], FIELDS, *shape)
        base = self.base_depth(tokens).reshape(*tokens.shape[:2], *([1] * len(shape)))
        return InstanceMaps(fields[:, :, 0], fields[:, :, 1], base + 0.5 * fields[:, :, 2] + LOG_DEPTH_CENTRE)

    def _separate_terms(self, a: Tensor, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the column part (rows, hidden, 1, w) and the row part (rows, hidden, h, 1) of the hidden layer.

        On the full grid the coordinates are separable, which saves most of their cost.
        """
        rows = boxes.shape[0] * boxes.shape[1]
        u = _box_coordinates(_centres(width, boxes), boxes[..., 0:1], boxes[..., 2:3]).reshape(rows, 1, width)
        v = _box_coordinates(_centres(height, boxes), boxes[..., 1:2], boxes[..., 3:4]).reshape(rows, 1, height)
        along_x = a[:, :, 0] * u + a[:, :, 1] * u * u
        along_y = a[:, :, 2] * v + a[:, :, 3] * v * v
        return along_x[:, :, None, :], along_y[:, :, :, None]


class _Layer(NamedTuple):
    """The generated MLPs of R = B * M tokens: `features` (B, M * hidden, C), `bias` (R, hidden, 1), `coordinates`
    (R, hidden, 4), `weight` (R, 3, hidden), `end` (R, 3, 1).
    """

    features: Tensor
    bias: Tensor
    coordinates: Tensor
    weight: Tensor
    end: Tensor


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def _box_coordinates(position: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """Return positions along one axis in the box's frame: -1..1 inside the box."""
    return (2 * (position - centre) / size).clamp(-COORDINATE_LIMIT, COORDINATE_LIMIT)

"""Tiny MLPs generated from tokens: each draws maps of one object from shared features and its own box's coordinates.

Related: CondInst (Tian et al. 2020, dynamic mask heads) and SOLOv2 (Wang et al. 2020, dynamic kernels).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import LOG_DEPTH_CENTRE
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads.head import InstanceHead, InstanceMaps, cell_centres, cells_of

MASK_BIAS = -2.0
"""Start of the mask logits: most of the image is not the object."""

COORDINATE_TERMS = 4
"""u, u^2, v, v^2 of the box-frame coordinates."""

COORDINATE_LIMIT = 4.0
"""Box-frame coordinates are -1..1 inside the box and stop growing here, which keeps their squares small."""

RESIDUAL_SCALE = 0.5
"""Log depth within an object changes by about this much for a unit of its generated output."""


class GeneratedMLP(nn.Sequential):
    """h = relu(W1 F + b1 + a1 u + a2 u^2 + a3 v + a4 v^2); outputs = W2 h + b2, all numbers made from the token.

    As a module it maps tokens (B, M, D) to those numbers; `at` and `everywhere` evaluate the MLPs.

    Args:
        config: D tokens' channels, C mask features F, hidden units of the MLP.
        masks: number of outputs that are mask logits; they come first and start low.
        others: number of further outputs.
    """

    def __init__(self, config: NetworkConfig, masks: int, others: int = 0) -> None:
        hidden, features, outputs = config.field_hidden, config.mask_channels, masks + others
        sizes = [hidden * features, hidden, hidden * COORDINATE_TERMS, outputs * hidden, outputs]
        numbers = nn.Linear(config.channels, sum(sizes))
        super().__init__(nn.Linear(config.channels, config.channels), nn.ReLU(inplace=True), numbers)
        self.hidden, self.features, self.outputs, self.sizes = hidden, features, outputs, sizes
        with torch.no_grad():
            numbers.bias[-outputs:][:masks] += MASK_BIAS

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> Tensor:
        """Return (B, M, outputs, Q) at (B, Q) flat cells; arguments as in `InstanceHead.at`."""
        layer = self._layer(tokens)
        x, y = cell_centres(cells, dense.mask_features.shape[-2:])
        u = _box_coordinates(x[:, None], boxes[..., 0:1], boxes[..., 2:3])
        v = _box_coordinates(y[:, None], boxes[..., 1:2], boxes[..., 3:4])
        terms = torch.stack([u, u * u, v, v * v], 2).flatten(0, 1)
        shared = torch.bmm(layer.features, cells_of(dense.mask_features, cells))
        shared = shared.reshape(len(terms), self.hidden, -1) + layer.bias
        hidden = F.relu(shared + torch.bmm(layer.coordinates, terms))
        return self._outputs(layer, hidden, tokens, (cells.shape[1],))

    def everywhere(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> Tensor:
        """Return (B, M, outputs, h, w) at every cell."""
        layer = self._layer(tokens)
        height, width = dense.mask_features.shape[-2:]
        shared = torch.bmm(layer.features, dense.mask_features.flatten(2)).reshape(-1, self.hidden, height, width)
        along_x, along_y = _separate_terms(layer.coordinates[..., None], boxes, height, width)
        hidden = F.relu(shared + along_x + (along_y + layer.bias[..., None])).flatten(2)
        return self._outputs(layer, hidden, tokens, (height, width))

    def _layer(self, tokens: Tensor) -> _Layer:
        batch, count, _ = tokens.shape
        rows = batch * count
        w1, b1, a, w2, b2 = torch.split(self(tokens), self.sizes, -1)
        return _Layer(
            features=w1.reshape(batch, count * self.hidden, self.features) * (1 / math.sqrt(self.features)),
            bias=b1.reshape(rows, self.hidden, 1),
            coordinates=a.reshape(rows, self.hidden, COORDINATE_TERMS),
            weight=w2.reshape(rows, self.outputs, self.hidden),
            end=b2.reshape(rows, self.outputs, 1),
        )

    def _outputs(self, layer: _Layer, hidden: Tensor, tokens: Tensor, shape: tuple[int, ...]) -> Tensor:
        return (torch.bmm(layer.weight, hidden) + layer.end).reshape(*tokens.shape[:2], self.outputs, *shape)


Evaluate = Callable[[GeneratedMLP], Tensor]
"""Evaluates an MLP at the cells that are asked for: (B, M, outputs, Q) or (B, M, outputs, h, w)."""


class GeneratedHead(InstanceHead):
    """Base of the heads whose maps are all drawn by generated MLPs: only what the outputs mean differs."""

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> InstanceMaps:
        """Evaluate the tokens' MLPs at some cells (see `InstanceHead.at`)."""
        return self.maps(tokens, lambda generated: generated.at(tokens, boxes, dense, cells))

    def forward(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> InstanceMaps:
        """Evaluate the tokens' MLPs at every cell: maps of shape (B, M, h, w)."""
        return self.maps(tokens, lambda generated: generated.everywhere(tokens, boxes, dense))

    def maps(self, tokens: Tensor, evaluate: Evaluate) -> InstanceMaps:
        """Make the maps of (B, M, D) tokens from the outputs of the head's MLPs."""
        raise NotImplementedError


def object_log_depth(base: Tensor, residual: Tensor) -> Tensor:
    """Return (B, M, ...) log canonical depth: (B, M, 1) of the whole object plus the (B, M, ...) change within it."""
    base = base.reshape(*base.shape[:2], *([1] * (residual.dim() - 2)))
    return base + RESIDUAL_SCALE * residual + LOG_DEPTH_CENTRE


class _Layer(NamedTuple):
    """The generated MLPs of R = B * M tokens: `features` (B, M * hidden, C), `bias` (R, hidden, 1), `coordinates`
    (R, hidden, 4), `weight` (R, outputs, hidden), `end` (R, outputs, 1).
    """

    features: Tensor
    bias: Tensor
    coordinates: Tensor
    weight: Tensor
    end: Tensor


def _separate_terms(a: Tensor, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the column part (rows, hidden, 1, w) and the row part (rows, hidden, h, 1) of the hidden layer.

    On the full grid the coordinates are separable, which saves most of their cost.
    """
    rows = boxes.shape[0] * boxes.shape[1]
    u = _box_coordinates(_centres(width, boxes), boxes[..., 0:1], boxes[..., 2:3]).reshape(rows, 1, width)
    v = _box_coordinates(_centres(height, boxes), boxes[..., 1:2], boxes[..., 3:4]).reshape(rows, 1, height)
    along_x = a[:, :, 0] * u + a[:, :, 1] * u * u
    along_y = a[:, :, 2] * v + a[:, :, 3] * v * v
    return along_x[:, :, None, :], along_y[:, :, :, None]


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def _box_coordinates(position: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """Return positions along one axis in the box's frame: -1..1 inside the box."""
    return (2 * (position - centre) / size).clamp(-COORDINATE_LIMIT, COORDINATE_LIMIT)

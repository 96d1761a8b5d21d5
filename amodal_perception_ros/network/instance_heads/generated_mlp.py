"""Tiny MLPs generated from tokens: each draws maps of one object from shared features and its own box's coordinates.

Related: CondInst (Tian et al. 2020, dynamic mask heads) and SOLOv2 (Wang et al. 2020, dynamic kernels).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.network.backbone import LOG_DEPTH_CENTRE
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import DenseMaps
from amodal_perception_ros.network.instance_heads.head import (
    InstanceHead,
    InstanceMaps,
    Window,
    cell_centres,
    cells_of,
)

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

    As a module it maps tokens (B, M, D) to those numbers (B, M, N), in which all its parameters are used; `at`,
    `everywhere` and `on_windows` evaluate the MLPs.

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

    def at(self, numbers: Tensor, boxes: Tensor, features: Tensor, cells: Tensor) -> Tensor:
        """Return (B, M, outputs, Q) at (B, Q) flat cells of the (B, C, h, w) mask features."""
        layer = self._layer(numbers)
        x, y = cell_centres(cells, features.shape[-2:])
        u = _box_coordinates(x[:, None], boxes[..., 0:1], boxes[..., 2:3])
        v = _box_coordinates(y[:, None], boxes[..., 1:2], boxes[..., 3:4])
        terms = torch.stack([u, u * u, v, v * v], 2).flatten(0, 1)
        shared = torch.bmm(layer.features, cells_of(features, cells)).reshape(len(terms), self.hidden, -1) + layer.bias
        hidden = F.relu(shared + torch.bmm(layer.coordinates, terms))
        return self._outputs(layer, hidden).unflatten(0, numbers.shape[:2])

    def everywhere(self, numbers: Tensor, boxes: Tensor, features: Tensor) -> Tensor:
        """Return (B, M, outputs, h, w) at every cell of the (B, C, h, w) mask features."""
        layer, grid = self._layer(numbers), features.shape[-2:]
        shared = torch.bmm(layer.features, features.flatten(2)).reshape(-1, self.hidden, *grid)
        along_x, along_y = _separate_terms(layer, boxes, grid)
        hidden = F.relu(shared + along_x + along_y).flatten(2)
        return self._outputs(layer, hidden).reshape(*numbers.shape[:2], self.outputs, *grid)

    def on_windows(self, numbers: Tensor, boxes: Tensor, features: Tensor, windows: Sequence[Window]) -> list[Tensor]:
        """Return (outputs, wh, ww) of the (n, N) numbers and (n, 4) boxes on n windows of (C, h, w) mask features."""
        layer = self._layer(numbers[None])
        along_x, along_y = _separate_terms(layer, boxes[None], features.shape[-2:])
        weights = layer.features.unflatten(1, (len(windows), self.hidden))[0]
        drawn = []
        for number, (rows, columns) in enumerate(windows):
            part = features[:, rows, columns]
            hidden = (weights[number] @ part.flatten(1)).unflatten(1, part.shape[1:])
            hidden += along_x[number, ..., columns]
            hidden += along_y[number, :, rows]
            outputs = torch.addmm(layer.end[number], layer.weight[number], hidden.relu_().flatten(1))
            drawn.append(outputs.unflatten(1, part.shape[1:]))
        return drawn

    def _layer(self, numbers: Tensor) -> _Layer:
        batch, count, _ = numbers.shape
        rows = batch * count
        w1, b1, a, w2, b2 = torch.split(numbers, self.sizes, -1)
        return _Layer(
            features=w1.reshape(batch, count * self.hidden, self.features) * (1 / math.sqrt(self.features)),
            bias=b1.reshape(rows, self.hidden, 1),
            coordinates=a.reshape(rows, self.hidden, COORDINATE_TERMS),
            weight=w2.reshape(rows, self.outputs, self.hidden),
            end=b2.reshape(rows, self.outputs, 1),
        )

    def _outputs(self, layer: _Layer, hidden: Tensor) -> Tensor:
        return torch.bmm(layer.weight, hidden) + layer.end


class GeneratedHead(InstanceHead):
    """Base of the heads whose maps are all drawn by generated MLPs: only what the outputs mean differs.

    The description is the mask features, the depth of each whole object, and the numbers of its MLPs.
    """

    base_depth: nn.Module
    """Maps tokens (B, M, D) to the log depth of the whole object (B, M, 1)."""

    @property
    def mlps(self) -> tuple[GeneratedMLP, ...]:
        """The MLPs that the maps are made of."""
        raise NotImplementedError

    def maps(self, base: Tensor, outputs: Sequence[Tensor]) -> InstanceMaps:
        """Make maps (..., Q) or (..., h, w) from the base depth (..., 1) and the outputs of all MLPs in their order.

        Here they are visible logits, amodal logits and the change of the depth within the object.
        """
        visible, amodal, residual = outputs
        return InstanceMaps(visible, amodal, object_log_depth(base, residual))

    def at(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps, cells: Tensor) -> InstanceMaps:
        """Evaluate the tokens' MLPs at some cells (see `InstanceHead.at`)."""
        features, *described = self.describe(tokens, boxes, dense)
        return self._evaluated(described, lambda mlp, numbers: mlp.at(numbers, boxes, features, cells))

    def forward(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> InstanceMaps:
        """Evaluate the tokens' MLPs at every cell: maps of shape (B, M, h, w)."""
        return self.everywhere(self.describe(tokens, boxes, dense), boxes)

    def describe(self, tokens: Tensor, boxes: Tensor, dense: DenseMaps) -> tuple[Tensor, ...]:
        """Return mask features (B, C, h, w), base depth (B, M, 1), and the numbers of each MLP (B, M, N)."""
        return (dense.mask_features, self.base_depth(tokens), *(mlp(tokens) for mlp in self.mlps))

    def everywhere(self, description: tuple[Tensor, ...], boxes: Tensor) -> InstanceMaps:
        """Draw all described tokens at every cell (see `InstanceHead.everywhere`)."""
        features, *described = description
        return self._evaluated(described, lambda mlp, numbers: mlp.everywhere(numbers, boxes, features))

    def draw(
        self, description: tuple[Tensor, ...], boxes: Tensor, image: int, tokens: Tensor, windows: Sequence[Window]
    ) -> list[InstanceMaps]:
        """Draw some tokens of an image, each on its window (see `InstanceHead.draw`)."""
        features, base, *numbers = (part[image] for part in description)
        boxes = boxes[image, tokens]
        drawn = [mlp.on_windows(own[tokens], boxes, features, windows) for mlp, own in zip(self.mlps, numbers)]
        return [
            self.maps(one, [output for part in parts for output in part]) for one, *parts in zip(base[tokens], *drawn)
        ]

    def _evaluated(self, described: list[Tensor], evaluate: Callable[[GeneratedMLP, Tensor], Tensor]) -> InstanceMaps:
        base, *numbers = described
        outputs = [output for mlp, own in zip(self.mlps, numbers) for output in evaluate(mlp, own).unbind(2)]
        return self.maps(base, outputs)


def object_log_depth(base: Tensor, residual: Tensor) -> Tensor:
    """Return log canonical depth: (..., 1) of the whole object plus the (..., Q) or (..., h, w) change within it."""
    base = base.reshape(*base.shape[:-1], *([1] * (residual.dim() - base.dim() + 1)))
    return base.float() + RESIDUAL_SCALE * residual.float() + LOG_DEPTH_CENTRE


class _Layer(NamedTuple):
    """The generated MLPs of R = B * M tokens: `features` (B, M * hidden, C), `bias` (R, hidden, 1), `coordinates`
    (R, hidden, 4), `weight` (R, outputs, hidden), `end` (R, outputs, 1).
    """

    features: Tensor
    bias: Tensor
    coordinates: Tensor
    weight: Tensor
    end: Tensor


def _separate_terms(layer: _Layer, boxes: Tensor, grid: torch.Size) -> tuple[Tensor, Tensor]:
    """Return the column part (R, hidden, 1, w) and the row part (R, hidden, h, 1), bias included, of the hidden layer.

    On the grid the coordinates are separable, which saves most of their cost.
    """
    height, width = grid
    a, rows = layer.coordinates[..., None], layer.coordinates.shape[0]
    u = _box_coordinates(_centres(width, boxes), boxes[..., 0:1], boxes[..., 2:3]).reshape(rows, 1, width)
    v = _box_coordinates(_centres(height, boxes), boxes[..., 1:2], boxes[..., 3:4]).reshape(rows, 1, height)
    along_x = a[:, :, 0] * u + a[:, :, 1] * u * u
    along_y = a[:, :, 2] * v + a[:, :, 3] * v * v + layer.bias
    return along_x[:, :, None, :], along_y[:, :, :, None]


def _centres(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def _box_coordinates(position: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """Return positions along one axis in the box's frame: -1..1 inside the box."""
    return (2 * (position - centre) / size).clamp(-COORDINATE_LIMIT, COORDINATE_LIMIT)

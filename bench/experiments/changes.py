"""What experiments change and the package has no setting for, because it did not earn one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import torch.nn.functional as F
from torch import Tensor, nn

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import network as network_module
from amodal_perception_ros.network.backbone import mlp
from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.heads import TokenHead
from amodal_perception_ros.training import dataset, train
from amodal_perception_ros.training.dataset import BatchSource


@dataclass(frozen=True)
class Changes:
    """Changes of the package's code while an experiment runs.

    Attributes:
        relation_layers: layers of self-attention among the tokens of an image.
        uniform_cells: masks are learned at cells drawn with equal chance, not more often near objects.
        paired: every composited image (`clip_art: 1`) is in one batch with the picture it was made of.
        ignore_quality: the score of an object is calibrated on its class alone.
    """

    relation_layers: int = 0
    uniform_cells: bool = False
    paired: bool = False
    ignore_quality: bool = False


@contextmanager
def applied(changes: Changes) -> Iterator[None]:
    """Change the package's code inside the block. Processes that are forked inside it are changed too."""
    with ExitStack() as stack:
        if changes.relation_layers:
            head = partial(RelatedTokenHead, layers=changes.relation_layers)
            stack.enter_context(patch.object(network_module, "TokenHead", head))
        if changes.uniform_cells:
            stack.enter_context(patch.object(dataset, "CELLS_PER_OBJECT", 0))
        if changes.paired:
            stack.enter_context(patch.object(train, "BatchSource", PairedBatches))
        yield


class RelatedTokenHead(TokenHead):
    """A token head whose tokens see each other before anything is read from them."""

    def __init__(self, config: NetworkConfig, layers: int) -> None:
        super().__init__(config)
        self.norm = RelatedNorm(config.channels, layers)


class RelatedNorm(nn.LayerNorm):
    """The token head's last normalisation, followed by relation layers; its own parameters keep their names."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__(channels)
        self.relations = nn.ModuleList(RelationLayer(channels) for _ in range(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, K, D) to the same shape."""
        tokens = super().forward(tokens)
        for layer in self.relations:
            tokens = layer(tokens)
        return tokens


class RelationLayer(nn.Module):
    """A pre-norm transformer layer over the tokens of an image (Relation Networks, Hu et al. 2018).

    Its outputs start at zero, so that a network that starts from weights without it starts as good as they are.
    """

    HEADS = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        self.mlp = mlp(channels, 2 * channels, channels)
        for last in (self.output, self.mlp[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, K, D) to the same shape."""
        batch, count, channels = tokens.shape
        mixed = self.query_key_value(self.norm_attention(tokens))
        query, key, value = mixed.reshape(batch, count, 3, self.HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, count, channels)
        tokens = tokens + self.output(seen)
        return tokens + self.mlp(self.norm_mlp(tokens))


class PairedBatches(BatchSource):
    """Batches of pictures each beside its composite, in which pasted objects hide parts of what the picture shows.

    The files are all pictures, then the composites in the same order, as `clip_art: 1` gives them.
    """

    def _indices(self, step: int) -> list[int]:
        if self.seed is None:
            return super()._indices(step)
        pairs, half = self.batch_size // 2, len(self.files) // 2
        name, copy = (self.files[k].parent.name.rsplit("-", 2)[0] for k in (0, half))
        if self.batch_size % 2 or len(self.files) % 2 or copy != f"{name}_clip0":
            raise InputError("paired batches need an even batch_size and clip_art: 1")
        positions = range(step * pairs, (step + 1) * pairs)
        chosen = [int(dataset._order(self.seed, one // half, half)[one % half]) for one in positions]
        return [index for picture in chosen for index in (picture, picture + half)]

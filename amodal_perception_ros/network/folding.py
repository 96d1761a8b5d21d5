"""Inference form of a network: each BatchNorm becomes part of the convolution before it."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(network: nn.Module) -> None:
    """Replace, in place, each convolution that a BatchNorm follows in a `Sequential` by one convolution of both.

    The network must be in evaluation mode and cannot be trained afterwards. Its outputs stay the same up to rounding.
    """
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place, (layer, following) in enumerate(pairwise(list(sequence))):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                sequence[place] = fuse_conv_bn_eval(layer, following)
                sequence[place + 1] = nn.Identity()

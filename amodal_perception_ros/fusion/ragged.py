"""Many small groups of points at once: members by group, and order statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 1 << 17
"""Most values in a block: what a core's cache holds."""


def members(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (N,) group and (N,) place in it, from 0, of the members of groups with (K,) int64 counts, in order."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]


def blocks(values: np.ndarray, counts: np.ndarray, expansion: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut (D, N) values, of which the first counts[0] columns belong to group 0 and so on, into blocks of like groups.

    Args:
        values: (D, N) float32.
        counts: (K,) int64 columns of each group, at least 1; their sum is N.
        expansion: how many values the caller makes of each one of a block, which limits the size of the blocks.

    Yields:
        (B,) int64 numbers of the groups and their (D, B, n) float32 values, n the most of their counts; infinity where
        a group has fewer. Every group comes exactly once.
    """
    starts = np.cumsum(counts) - counts
    by_size = np.argsort(counts, kind="stable")
    first = 0
    while first < len(by_size):
        limit = max(16, counts[by_size[first]] * 5 // 4)  # So that little of a block is filled up.
        last = int(np.searchsorted(counts[by_size], limit, side="right"))
        fitting = max(1, _BLOCK // (int(limit) * len(values) * expansion))
        chosen = by_size[first : min(last, first + fitting)]
        place = np.arange(int(counts[chosen[-1]]))
        lacking = place >= counts[chosen][:, None]
        block = values[:, starts[chosen][:, None] + np.where(lacking, 0, place)]
        block[:, lacking] = np.inf
        yield chosen, block
        first += len(chosen)


def trimmed_range(values: np.ndarray, counts: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest values of groups without a share of the columns at each end.

    Args:
        values: (D, N) float32, see `blocks`.
        counts: (K,) int64.
        share: of the columns that are cut at each end, rounded down.

    Returns:
        (D, K) float64 each.
    """
    low, high = np.empty((2, len(values), len(counts)))
    for chosen, block in blocks(values, counts):
        low[:, chosen], high[:, chosen] = (ends[..., 0] for ends in trimmed_ends(block, counts[chosen], share))
    return low, high


def trimmed_ends(block: np.ndarray, counts: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The same of a (D, B, n) block that is filled up with infinity, as (D, B, 1) each."""
    ordered = np.sort(block, axis=-1)
    cut = (share * counts).astype(np.int64)
    group = np.arange(len(counts))
    return ordered[:, group, cut][..., None], ordered[:, group, counts - 1 - cut][..., None]

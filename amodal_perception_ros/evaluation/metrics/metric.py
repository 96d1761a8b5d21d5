"""What all metrics have in common: their memory is a set of sums, so that parts of a data set add up.

Parts can be scored in different processes and merged, and a weighted sum of parts is a bootstrap replicate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np


class Sums:
    """Named arrays that add up over the parts of a set.

    Args:
        sums: named arrays that start at zero and to which every image adds.

    Attributes:
        sums: the named float64 arrays.
    """

    def __init__(self, **sums: np.ndarray) -> None:
        self.sums = {name: np.asarray(value, np.float64) for name, value in sums.items()}
        self._whole, self._replicates = self.sums, dict[str, np.ndarray]()

    def merge(self, part: Sums, weights: np.ndarray | None = None) -> None:
        """Add what another one of the same kind has summed.

        Args:
            part: the figures of a part of the set: a sequence, or a single image.
            weights: (B,) how often the part is drawn in each bootstrap replicate (`bootstrap.weights`), or None.
        """
        for name, value in part.sums.items():
            self._whole[name] += value
            if weights is not None:
                if name not in self._replicates:
                    self._replicates[name] = np.zeros((weights.size, *value.shape))
                self._replicates[name] += np.multiply.outer(weights, value)

    def select(self, replicate: int | None) -> None:
        """Let `sums` be those of a bootstrap replicate, or of the whole (None)."""
        if replicate is None:
            self.sums = self._whole
        else:
            self.sums = {name: values[replicate] for name, values in self._replicates.items()}


class Metric(Sums, ABC):
    """One group of figures of a set of images; `results` reads nothing but `sums`."""

    @abstractmethod
    def results(self) -> dict[str, Any]:
        """Return the figures of what was added; a figure without data behind it is absent."""

    @abstractmethod
    def add(self, item: Any) -> None:
        """Add what the metric looks at: the matched scenes of an image, a frame, or a scene."""

    def breakdown(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return figures by the bins of a kind (`bins.KINDS`): bin -> figures; empty where the metric has none."""
        return {}

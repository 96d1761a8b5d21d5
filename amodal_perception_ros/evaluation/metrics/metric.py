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


class RankedMetric(Metric):
    """A metric that asks for all predictions of the set by falling score, which is no sum.

    A record per prediction is kept, and a byte per part of the set and bootstrap replicate. Records are structured
    arrays with at least the fields "score" and "part", the number of the part of the set that they belong to.
    """

    def __init__(self, **sums: np.ndarray) -> None:
        super().__init__(**sums)
        self._records: list[np.ndarray] = []
        self._part_weights: list[np.ndarray] = []
        self._replicate: int | None = None
        self._sorted: dict[int, Any] = {}
        self._values: np.ndarray | None = None

    def merge(self, part: Sums, weights: np.ndarray | None = None) -> None:
        """Add another set's predictions; merge parts in a fixed order, which decides between equal scores."""
        super().merge(part, weights)
        assert isinstance(part, RankedMetric)
        if part._records:
            records = np.concatenate(part._records)
            records["part"] = len(self._part_weights)
            self._records.append(records)
        self._part_weights.append(np.zeros(0, np.uint8) if weights is None else weights.astype(np.uint8))
        self._forget()

    def select(self, replicate: int | None) -> None:
        """Let `results` speak of a bootstrap replicate, or of the whole (None)."""
        super().select(replicate)
        self._replicate, self._values = replicate, None

    def _forget(self) -> None:
        """Drop what was computed from the records."""
        self._sorted, self._values = {}, None

    def _ranked(self) -> dict[int, np.ndarray]:
        """Return the records of each class index by falling score; equal scores keep their order."""
        if not self._records:
            return {}
        records = np.concatenate(self._records)
        records = records[np.argsort(-records["score"], kind="stable")]
        return {int(c): records[records["class_index"] == c] for c in np.unique(records["class_index"])}

    def _weights(self) -> np.ndarray | None:
        """Return (parts,) how often each part counts in the selected replicate, or None for once."""
        chosen = self._replicate
        return None if chosen is None else np.array([weight[chosen] for weight in self._part_weights], np.float64)

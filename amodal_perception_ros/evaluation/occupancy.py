"""Occupancy of hidden ground in the bird's-eye view: what is found, and whether its probabilities are honest.

A hidden cell is one that the truth knows (`amodal` >= 0) and that no sensor sees (`visible` = -1 in the truth). Recall
asks for cells under things only: what stands inside a building is not an amodal question.
"""

from __future__ import annotations

import numpy as np

from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.scene import BevOccupancy

_IS_THING = np.isin(np.arange(256), [label.id for label in THINGS])
_BINS = 10
_OCCUPIED = 50


class HiddenOccupancy:
    """Recall of hidden occupied cells, and the expected calibration error (ECE) over hidden cells.

    - `hidden_recall`: share of the hidden cells that a thing occupies with a predicted occupancy of at least 50 %; a
      cell that is unknown to the prediction or outside its grid is missed.
    - `hidden_precision`: share of the hidden cells with such a prediction that are occupied, by anything.
    - `hidden_ece`: over the hidden cells with a predicted probability, in ten bins of equal width, the mean distance
      between the mean probability and the share that is occupied (Guo et al., 2017), weighted by cells.
    - `hidden_known`: share of the hidden cells behind `hidden_ece`.
    """

    def __init__(self) -> None:
        self.hidden = self.things = self.found = self.claimed = self.right = 0
        self.bin_cells, self.bin_probability, self.bin_occupied = (np.zeros(_BINS) for _ in range(3))

    def add(self, truth: BevOccupancy, predicted: BevOccupancy, where: str = "") -> None:
        """Add one frame; the grids may cover different areas.

        Raises:
            EvaluationError: the cells of the grids do not coincide.
        """
        estimate = _on_grid_of(truth, predicted, where)
        hidden = (truth.visible < 0) & (truth.amodal >= 0)
        occupied = truth.amodal[hidden] >= _OCCUPIED
        thing = occupied & _IS_THING[truth.semantic[hidden]]
        estimate = estimate[hidden]
        claimed = estimate >= _OCCUPIED
        self.hidden += occupied.size
        self.things += int(np.count_nonzero(thing))
        self.found += int(np.count_nonzero(thing & claimed))
        self.claimed += int(np.count_nonzero(claimed))
        self.right += int(np.count_nonzero(occupied & claimed))
        known = estimate >= 0
        probability = estimate[known] / 100.0
        bins = np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
        self.bin_cells += np.bincount(bins, minlength=_BINS)
        self.bin_probability += np.bincount(bins, probability, _BINS)
        self.bin_occupied += np.bincount(bins, occupied[known], _BINS)

    def results(self) -> dict[str, float]:
        """Return shares in per cent and the ECE in 0..1; what has no cell behind it is absent."""
        results: dict[str, float] = {}
        if self.things:
            results["hidden_recall"] = 100.0 * self.found / self.things
        if self.claimed:
            results["hidden_precision"] = 100.0 * self.right / self.claimed
        known = self.bin_cells.sum()
        if known:
            results["hidden_ece"] = float(np.abs(self.bin_probability - self.bin_occupied).sum() / known)
        if self.hidden:
            results["hidden_known"] = 100.0 * float(known) / self.hidden
        return results


def _on_grid_of(truth: BevOccupancy, predicted: BevOccupancy, where: str) -> np.ndarray:
    """Return the predicted amodal occupancy on the cells of the truth, -1 where it has none."""
    shift = (np.asarray(predicted.origin, float) - np.asarray(truth.origin, float)) / truth.resolution
    column, row = np.rint(shift).astype(int)
    if not np.isclose(predicted.resolution, truth.resolution) or np.abs(shift - np.rint(shift)).max() > 0.05:
        raise EvaluationError(
            f"{where + ': ' if where else ''}predicted cells of {predicted.resolution} m from {predicted.origin} "
            f"do not coincide with the true ones of {truth.resolution} m from {truth.origin}"
        )
    height, width = truth.amodal.shape
    rows, columns = predicted.amodal.shape
    out = np.full((height, width), -1, np.int8)
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + rows, height), min(column + columns, width)
    if top < bottom and left < right:
        out[top:bottom, left:right] = predicted.amodal[top - row : bottom - row, left - column : right - column]
    return out

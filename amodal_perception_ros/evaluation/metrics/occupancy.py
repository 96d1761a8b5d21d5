"""Occupancy of hidden ground in the bird's-eye view: what is found, and whether its probabilities are honest."""

from __future__ import annotations

from typing import Any

import numpy as np

from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.metrics.bins import bin_names, distance_bin
from amodal_perception_ros.evaluation.metrics.metric import Metric
from amodal_perception_ros.evaluation.pairs import FramePair
from amodal_perception_ros.labels import AMODAL_SYNTH_DRIVE, ClassList
from amodal_perception_ros.scene import BevOccupancy

_BINS = 10
_OCCUPIED = 50
_FINEST = 0.005
"""A grid holds whole per cents: 0 and 100 stand for everything up to half a per cent away, so NLL is capped there."""
_ALL, _THINGS = 0, 1
"""Rows of the calibration sums: all hidden cells; those that are free or occupied by a thing."""


class HiddenOccupancy(Metric):
    """What is claimed of the cells that the truth knows (`amodal` >= 0) and no sensor sees (true `visible` = -1).

    Seen is what a ray of this frame's LiDAR or cameras reaches low above the ground; what only an earlier frame saw is
    hidden all the same, so a memory helps.

    - `hidden_recall`: share of the hidden cells occupied by a *thing* with a predicted occupancy of at least 50 %; a
      cell that is unknown to the prediction or outside its grid is missed. Only things, because what stands inside a
      building is not an amodal question.
    - `hidden_precision`: share of the hidden cells with such a prediction that are occupied, by anything.
    - `hidden_IoU`: the cells counted as found by the recall, over those of the recall and the claims of free cells.
    - `hidden_known`: share of the hidden cells with a predicted probability p; the figures below are over these.
    - `hidden_ece`: expected calibration error: the distance between the mean p and the occupied share of each of ten
      bins of equal width ([0, 0.1), ..., [0.9, 1]), averaged over cells (Guo et al., "On calibration of modern neural
      networks", ICML 2017, equation 3, with p as the confidence in "occupied").
    - `hidden_brier`: mean of (p - occupied)^2 (Brier, "Verification of forecasts expressed in terms of probability",
      1950, in the form for two outcomes, 0..1).
    - `hidden_nll`: mean of -ln of the probability of what is there; p is clipped to [0.005, 0.995] first because a grid
      of whole per cents cannot say more, so a perfect grid scores 0.005.
    - `hidden_ece_things`, `hidden_brier_things`, `hidden_nll_things`: the same without the cells occupied by stuff.
    - `reliability`: the bins that hold cells, as {from, to, cells, probability, occupied} (all hidden cells).

    Example, eight cells in a row, of which the third to the seventh are hidden (`?` unknown)::

        true visible        0   car     ?       ?       ?       ?      ?       ?
        true amodal         0   car    car     car      0       0   building   ?
        predicted amodal    0     0     90      20     80       ?     60      99
                                       hit   missed  wrong          right

        hidden_recall      1 of 2 = 50             hidden_precision  2 of 3 = 66.7
        hidden_IoU         1 of (2 + 1) = 33.3     hidden_known      4 of 5 = 80
        hidden_ece         (|0.9 - 1| + |0.2 - 1| + |0.8 - 0| + |0.6 - 1|) / 4 = 0.525
        hidden_brier       (0.01 + 0.64 + 0.64 + 0.16) / 4                     = 0.3625
        hidden_nll         -(ln 0.9 + ln 0.2 + ln 0.2 + ln 0.6) / 4            = 0.9588
        hidden_ece_things  (0.1 + 0.8 + 0.8) / 3                               = 0.567
    """

    def __init__(self, classes: ClassList = AMODAL_SYNTH_DRIVE) -> None:
        counts = {name: np.zeros(()) for name in ("hidden", "claimed", "right")}
        self._names = {kind: bin_names(kind, classes) for kind in ("class", "distance")}
        things = {f"things_{kind}": np.zeros((len(names), 2)) for kind, names in self._names.items()}
        scores = {name: np.zeros(2) for name in ("squared_error", "log_loss")}
        bins = {name: np.zeros((2, _BINS)) for name in ("bin_cells", "bin_probability", "bin_occupied")}
        super().__init__(**counts, **things, **scores, **bins)
        self._thing_index = np.full(256, -1)
        for label in classes.labels[classes.stuff_count :]:
            if label.id < self._thing_index.size:  # A grid holds class ids as bytes.
                self._thing_index[label.id] = label.index

    def add(self, frame: FramePair) -> None:
        """Add one frame, if it has a true and a predicted grid; they may cover different areas.

        Raises:
            EvaluationError: the cells of the grids do not coincide.
        """
        if frame.true_bev is not None and frame.bev is not None:
            self.add_grids(frame.true_bev, frame.bev, frame.where)

    def add_grids(self, truth: BevOccupancy, predicted: BevOccupancy, where: str = "") -> None:
        """Add the two grids of one frame; `where` names it in messages. See `add`."""
        hidden = (truth.visible < 0) & (truth.amodal >= 0)
        estimate = _on_grid_of(truth, predicted, where)[hidden]
        occupied, claimed = truth.amodal[hidden] >= _OCCUPIED, estimate >= _OCCUPIED
        index = np.where(occupied, self._thing_index[truth.semantic[hidden]], -1)
        thing = index >= 0
        self.sums["hidden"] += occupied.size
        self.sums["claimed"] += np.count_nonzero(claimed)
        self.sums["right"] += np.count_nonzero(occupied & claimed)
        cells = np.stack([np.ones(index.size), claimed], axis=1)[thing]
        distance = np.hypot(*(np.argwhere(hidden)[thing] + 0.5 - np.array(hidden.shape) / 2).T) * truth.resolution
        for kind, bins in (("class", index[thing]), ("distance", distance_bin(distance))):
            np.add.at(self.sums[f"things_{kind}"], bins, cells)
        known = estimate >= 0
        self._add_probabilities(_ALL, estimate[known], occupied[known])
        known &= thing | ~occupied
        self._add_probabilities(_THINGS, estimate[known], occupied[known])

    def results(self) -> dict[str, Any]:
        """Return shares in per cent, calibration in 0..1 (NLL in nats); what has no cell behind it is absent."""
        sums, results = self.sums, dict[str, Any]()
        (things, found), claimed = sums["things_class"].sum(axis=0), float(sums["claimed"])
        if things:
            results["hidden_recall"] = 100.0 * float(found / things)
        if claimed:
            results["hidden_precision"] = 100.0 * float(sums["right"]) / claimed
        union = things + claimed - sums["right"]
        if union:
            results["hidden_IoU"] = 100.0 * float(found / union)
        if sums["hidden"]:
            results["hidden_known"] = 100.0 * float(sums["bin_cells"][_ALL].sum() / sums["hidden"])
        results |= self._calibration(_ALL, "") | self._calibration(_THINGS, "_things")
        if sums["bin_cells"][_ALL].any():
            results["reliability"] = self._reliability()
        return results

    def breakdown(self, kind: str) -> dict[str, dict[str, float]]:
        """Return the recall of hidden cells by "class" or "distance" (`bins.KINDS`); empty for other kinds.

        The distance is seen from above, from the middle of the true grid, which is where the vehicle is.
        """
        rows = zip(self._names[kind], self.sums[f"things_{kind}"].tolist()) if kind in self._names else ()
        return {name: {"hidden_cell_recall": 100.0 * hits / n, "hidden_cells": int(n)} for name, (n, hits) in rows if n}

    def _add_probabilities(self, row: int, percent: np.ndarray, occupied: np.ndarray) -> None:
        sums, probability = self.sums, percent / 100.0
        bins = np.minimum(percent.astype(np.int64) * _BINS // 100, _BINS - 1)
        sums["bin_cells"][row] += np.bincount(bins, minlength=_BINS)
        sums["bin_probability"][row] += np.bincount(bins, probability, _BINS)
        sums["bin_occupied"][row] += np.bincount(bins, occupied, _BINS)
        sums["squared_error"][row] += np.square(probability - occupied).sum()
        of_the_truth = np.where(occupied, probability, 1.0 - probability)
        sums["log_loss"][row] -= np.log(np.clip(of_the_truth, _FINEST, 1.0 - _FINEST)).sum()

    def _calibration(self, row: int, suffix: str) -> dict[str, float]:
        sums = self.sums
        cells = sums["bin_cells"][row].sum()
        if not cells:
            return {}
        gaps = np.abs(sums["bin_probability"][row] - sums["bin_occupied"][row])
        return {
            f"hidden_ece{suffix}": float(gaps.sum() / cells),
            f"hidden_brier{suffix}": float(sums["squared_error"][row] / cells),
            f"hidden_nll{suffix}": float(sums["log_loss"][row] / cells),
        }

    def _reliability(self) -> list[dict[str, float]]:
        cells = self.sums["bin_cells"][_ALL]
        return [
            {
                "from": b / _BINS,
                "to": (b + 1) / _BINS,
                "cells": int(cells[b]),
                "probability": float(self.sums["bin_probability"][_ALL, b] / cells[b]),
                "occupied": float(self.sums["bin_occupied"][_ALL, b] / cells[b]),
            }
            for b in np.flatnonzero(cells).tolist()
        ]


def _on_grid_of(truth: BevOccupancy, predicted: BevOccupancy, where: str) -> np.ndarray:
    """Return the predicted amodal occupancy on the cells of the truth, -1 where it has none."""
    place = where + ": " if where else ""
    for name, grid in (("true", truth), ("predicted", predicted)):
        strange = grid.amodal[(grid.amodal < -1) | (grid.amodal > 100)]
        if strange.size:
            raise EvaluationError(f"{place}{name} occupancy is -1 or 0 to 100 %, but the grid holds {strange[0]}")
    shift = (np.asarray(predicted.origin, float) - np.asarray(truth.origin, float)) / truth.resolution
    if not (np.isclose(predicted.resolution, truth.resolution) and np.abs(shift - np.rint(shift)).max() <= 0.05):
        raise EvaluationError(
            f"{place}predicted cells of {predicted.resolution} m from {predicted.origin} "
            f"do not coincide with the true ones of {truth.resolution} m from {truth.origin}"
        )
    column, row = np.rint(shift).astype(int)
    height, width = truth.amodal.shape
    rows, columns = predicted.amodal.shape
    out = np.full((height, width), -1, np.int8)
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + rows, height), min(column + columns, width)
    if top < bottom and left < right:
        out[top:bottom, left:right] = predicted.amodal[top - row : bottom - row, left - column : right - column]
    return out

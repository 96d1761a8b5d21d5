"""Pictures of a data set's statistics, arranged as figure 4 of AmodalSynthDrive's paper."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amodal_perception_ros.datasets.statistics import PUBLISHED_SIMPLICITY, RATIOS, DatasetStatistics
from amodal_perception_ros.labels import LABELS

_STUFF, _THING, _OTHER = "#4477aa", "#ee7733", "#999999"


def draw_statistics(statistics: DatasetStatistics, path: Path) -> None:
    """Write a PNG with the histograms of a data set: classes, occlusion levels and ratios, and simplicity."""
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(15, 8), layout="constrained")
        axes = figure.subplots(2, 3)
        _segments(axes[0, 0], statistics)
        present = np.flatnonzero(statistics.classes)
        last = int(present.max(initial=0)) + 1
        _bars(axes[0, 1], range(last), statistics.classes[:last], "images by number of visible classes", _STUFF)
        _bars(axes[0, 2], RATIOS, statistics.ratios, "instances by hidden share [%]", _THING)
        _bars(axes[1, 0], range(8), statistics.levels, "visible instances by occlusion level", _THING)
        _bars(axes[1, 1], range(8), statistics.orders, "images by highest occlusion level", _STUFF)
        _simplicity(axes[1, 2], statistics)
        figure.suptitle(f"{statistics.sequences} sequences, {statistics.frames} frames, {statistics.images} images")
        figure.savefig(path, dpi=100)


def _bars(axes: Axes, names: object, counts: np.ndarray, title: str, color: str) -> None:
    labels = [str(name) for name in names]  # type: ignore[attr-defined]
    drawn = axes.bar(labels, counts, color=color)
    share = counts / max(1, counts.sum())
    axes.bar_label(drawn, [f"{100 * s:.0f} %" if s else "" for s in share], fontsize=8)
    axes.set_title(title)


def _segments(axes: Axes, statistics: DatasetStatistics) -> None:
    ordered = sorted(LABELS, key=lambda label: -statistics.segments[label.name])
    counts = [statistics.segments[label.name] for label in ordered]
    axes.bar([label.name for label in ordered], counts, color=[_THING if x.is_thing else _STUFF for x in ordered])
    axes.tick_params(axis="x", rotation=60)
    axes.set_yscale("symlog")
    axes.set_title("visible segments per class (orange: things)")


def _simplicity(axes: Axes, statistics: DatasetStatistics) -> None:
    rows = {**PUBLISHED_SIMPLICITY, "here": statistics.shape(statistics.simplicity)}
    place = np.arange(len(rows))
    for offset, (kind, color) in enumerate((("modal", _OTHER), ("amodal", _THING))):
        drawn = axes.bar(place + 0.4 * offset, [pair[offset] for pair in rows.values()], 0.4, color=color, label=kind)
        axes.bar_label(drawn, fmt="%.3f", fontsize=8)
    axes.set_xticks(place + 0.2, list(rows), rotation=15)
    axes.set_title("mean simplicity of masks (lower is harder)")
    axes.legend(loc="lower right")

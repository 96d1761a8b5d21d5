"""Writes a run's pictures and figures as one HTML page that needs nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.viewing.page import data_uri, encode, render

HEADLINES = {
    "ticks_in": "sensor ticks in",
    "sets_complete": "sets complete",
    "sets_partial": "sets partial",
    "sets_out": "sets out",
    "instances": "instances",
    "occluded_instances": "of them occluded",
    "hidden_cells": "hidden cells on the map",
}
"""Keys of a run's summary that are shown large, and their captions; see `amodal run`."""


@dataclass(eq=False)
class Tick:
    """The pictures of one synchronized set.

    Attributes:
        title: what stands above it, e.g. "tick 12, 1.200 s".
        overlays: camera name -> (H, W, 3) uint8 RGB, in the order in which they are shown.
        bev: (H, W, 3) uint8 RGB bird's-eye view, or None.
    """

    title: str
    overlays: dict[str, np.ndarray] = field(default_factory=dict)
    bev: np.ndarray | None = None


def write_report(
    out_dir: Path | str, summary: Mapping[str, Any], ticks: Sequence[Tick], title: str = "Amodal perception"
) -> Path:
    """Write `out_dir`/report.html with the pictures embedded, and every picture as a file beside it.

    Pictures go to `out_dir`/pictures as tick_NNN_CAMERA.jpg and tick_NNN_bev.png.

    Args:
        out_dir: directory, made if it is missing.
        summary: the run's figures. Known counts are shown large; "latency_ms" ({stage: {"median", "p95"}}) and
            "dropped" ({cause: number}) become tables; everything else becomes rows of a table.
        ticks: the pictures in order of time; may be empty.
        title: heading of the page.

    Returns:
        The page.

    Raises:
        OSError: the directory cannot be written.
    """
    out_dir = Path(out_dir)
    pictures = out_dir / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    shown = []
    for number, tick in enumerate(ticks):
        stem = f"tick_{number:03d}"
        overlays = {name: _save(pictures / f"{stem}_{name}.jpg", picture) for name, picture in tick.overlays.items()}
        bev = None if tick.bev is None else _save(pictures / f"{stem}_bev.png", tick.bev)
        shown.append({"title": tick.title, "overlays": overlays, "bev": bev})
    latency = summary.get("latency_ms") or {}
    known = {*HEADLINES, "latency_ms", "dropped"}
    page = render(
        "report.html",
        title=title,
        headlines=[(caption, summary[key]) for key, caption in HEADLINES.items() if key in summary],
        latency=latency,
        slowest=max((float(row["p95"]) for row in latency.values()), default=1.0) or 1.0,
        dropped=summary.get("dropped"),
        facts={key: value for key, value in summary.items() if key not in known},
        ticks=shown,
    )
    path = out_dir / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _save(path: Path, picture: np.ndarray) -> str:
    """Write an RGB picture to a file and return it as a data URI."""
    content = encode(picture, path.suffix)
    path.write_bytes(content)
    return data_uri(content, path.suffix)

"""`amodal view` of a data set: its truth as pictures and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amodal_perception_ros.datasets.amodal_synth_drive import read_sequence
from amodal_perception_ros.scene import Sample
from amodal_perception_ros.viewing.bev_picture import draw_bev
from amodal_perception_ros.viewing.modalities import draw_modalities
from amodal_perception_ros.viewing.overlay import draw_overlay
from amodal_perception_ros.viewing.report import Tick, write_report

MAX_TICKS = 12
"""Frames on one page, spread evenly: some megabytes are still quick to open."""

READABLE_WIDTH_PX = 1024


def spread(count: int, most: int = MAX_TICKS) -> list[int]:
    """Return at most `most` indices in 0..count-1, evenly spread, first and last included."""
    return sorted({round(value) for value in np.linspace(0, count - 1, min(count, most))}) if count else []


def readable_zoom(width: int) -> int:
    """Return the whole factor that brings an image of that width [px] nearest to a readable size."""
    return max(1, round(READABLE_WIDTH_PX / width))


def view(source: Path | str, out: Path | str) -> Path:
    """Draw the truth of one sequence into a report.

    Args:
        source: folder of a data set with one sequence, or FOLDER/NAME for one of several.
        out: directory of the report.

    Returns:
        The page.

    Raises:
        DatasetError: there is no such sequence, or more than one.
    """
    reader = read_sequence(source)
    samples = [reader[index] for index in spread(len(reader))]
    ticks = [_tick(sample) for sample in samples]
    return write_report(out, _facts(reader.name, len(reader), samples), ticks, f"Truth of {reader.name}")


def _tick(sample: Sample) -> Tick:
    overlays = {
        name: draw_overlay(sample.frame.images[name], scene, readable_zoom(scene.camera.width))
        for name, scene in sample.truth.cameras.items()
        if name in sample.frame.images
    }
    if overlays:
        overlays["modalities"] = draw_modalities(sample, next(iter(overlays)))
    bev = None if sample.bev is None else draw_bev(sample.bev, sample.objects, sample.frame.odom_from_base)
    return Tick(f"frame {sample.index}, {sample.frame.stamp_ns / 1e9:.3f} s", overlays, bev)


def _facts(name: str, frames: int, samples: Sequence[Sample]) -> dict[str, Any]:
    scenes = [scene for sample in samples for scene in sample.truth.cameras.values()]
    instances = [instance for scene in scenes for instance in scene.instances]
    return {
        "instances": len(instances),
        "occluded_instances": sum(instance.occlusion_level > 0 for instance in instances),
        "sequence": name,
        "frames": frames,
        "frames shown (and counted above)": len(samples),
    }

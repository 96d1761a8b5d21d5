"""The bins of all breakdowns: class, occlusion ratio, distance, visible size and visible share of an object.

A true object, and a prediction matched to it, counts in the true object's bins; a prediction without a true object
counts in the bins of its own values.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from amodal_perception_ros.evaluation.decoding import DecodedScene
from amodal_perception_ros.labels import ClassList

OCCLUSION_EDGES = (0.0, 0.25, 0.5, 0.75)
"""Bins of the occlusion ratio: exactly 0, then (0, 0.25], (0.25, 0.5], (0.5, 0.75] and (0.75, 1]."""

DISTANCE_EDGES = (10.0, 20.0, 40.0, 80.0)
"""Bins of the planar depth [m]: to 10 m, then (10, 20], (20, 40], (40, 80], beyond, and unknown."""

VISIBLE_PX_EDGES = (64, 256, 1024)
"""Bins of the visible size [px]: below 64, 64 to 255, 256 to 1023, and from 1024."""

VISIBILITY_EDGES = (0.4, 0.8)
"""Bins of the visible share of a 3-D object: above 0.8, (0.4, 0.8], to 0.4, fully hidden, and unknown."""

_NAMES = {
    "occlusion": ("0%", "0-25%", "25-50%", "50-75%", "75-100%"),
    "distance": ("0-10 m", "10-20 m", "20-40 m", "40-80 m", ">80 m", "unknown"),
    "visible_px": ("<64", "64-255", "256-1023", ">=1024"),
    "visibility": (">80%", "40-80%", "0-40%", "hidden", "unknown"),
}

KINDS = ("class", *_NAMES)
"""By what results are broken down; the visibility is that of 3-D objects in all cameras together."""


def bin_names(kind: str, classes: ClassList) -> tuple[str, ...]:
    """Return the names of the bins of a kind (`KINDS`), in order; classes are the things and stuff of the list."""
    return tuple(label.name for label in classes.labels) if kind == "class" else _NAMES[kind]


def occlusion_bin(ratio: np.ndarray) -> np.ndarray:
    """Return the int64 bins of hidden shares 0..1."""
    return np.searchsorted(OCCLUSION_EDGES, ratio)


def distance_bin(depth: np.ndarray) -> np.ndarray:
    """Return the int64 bins of planar depths [m]; NaN, an unknown depth, is the last one."""
    depth = np.asarray(depth, np.float64)
    return np.where(np.isnan(depth), len(DISTANCE_EDGES) + 1, np.searchsorted(DISTANCE_EDGES, depth))


def visible_px_bin(pixels: np.ndarray) -> np.ndarray:
    """Return the int64 bins of visible sizes [px]."""
    return np.searchsorted(VISIBLE_PX_EDGES, pixels, side="right")


def visibility_bin(fraction: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the int64 bins of (n,) visible shares 0..1 (NaN unknown) of objects of which (n,) bool some are seen."""
    shown = len(VISIBILITY_EDGES) - np.searchsorted(VISIBILITY_EDGES, fraction)
    hidden = len(VISIBILITY_EDGES) + 1
    return np.where(seen, np.where(np.isnan(fraction), hidden + 1, shown), hidden)


def distances(scene: DecodedScene) -> np.ndarray:
    """Return the (n,) float64 planar depth [m] of each object: its visible part's, else the whole's, NaN unknown."""
    depth = np.array([(i.visible_depth, i.amodal_depth) for i in scene.instances], np.float64).reshape(-1, 2)
    return np.where(np.isnan(depth[:, 0]), depth[:, 1], depth[:, 0])


def object_bins(scene: DecodedScene) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every kind with the (n,) int64 bin of each object of a scene."""
    yield "class", scene.class_index
    yield "occlusion", occlusion_bin(scene.hidden_px / np.maximum(scene.amodal_px, 1))
    yield "distance", distance_bin(distances(scene))
    yield "visible_px", visible_px_bin(scene.visible_px)

"""How much of every thing the ego vehicle sees, from few rays: fast enough to try out changes of a scene."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from amodal_perception_ros.scene import OCCLUSION_LEVELS
from amodal_perception_ros.simulation.rendering.drawing import Item
from amodal_perception_ros.simulation.rendering.raycasting import RayCaster

RATIO_BINS = ("0", "0-25", "25-50", "50-75", "75-100", "100")
"""Bins of the hidden share of a thing [%]; the first and the last are exact."""

MIN_RAYS = 3
"""Things hit by fewer rays, alone, are too small to count."""

_AZIMUTHS, _ELEVATIONS = 600, np.radians(np.arange(-22.0, 9.0, 0.7))


@dataclass(eq=False)
class Instant:
    """The rays around the ego vehicle at one time.

    Attributes:
        frame: index of the frame.
        origin: (3,) where the rays start, in odom [m].
        directions: (n, 3) unit vectors.
        town: (n,) range of static geometry [m], inf without.
        alone: track id -> (rays it is hit by, their ranges [m]) as if nothing else were there.
    """

    frame: int
    origin: np.ndarray
    directions: np.ndarray
    town: np.ndarray
    alone: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Histograms:
    """Counts over things and instants: (6,) by hidden share (`RATIO_BINS`), and (8,) visible ones by level."""

    ratios: np.ndarray
    levels: np.ndarray


class OcclusionSurvey:
    """Casts rays around the ego vehicle at some frames, and counts occlusion ratios and levels.

    Args:
        caster: the town.
        origins: frame -> (3,) middle of the cameras in odom [m].
    """

    def __init__(self, caster: RayCaster, origins: dict[int, np.ndarray]) -> None:
        azimuth = np.linspace(-np.pi, np.pi, _AZIMUTHS, endpoint=False)
        flat = np.stack([np.cos(azimuth), np.sin(azimuth)], -1)
        rays = np.concatenate(
            [np.concatenate([flat * np.cos(e), np.full((_AZIMUTHS, 1), np.sin(e))], 1) for e in _ELEVATIONS]
        )
        self._caster = caster
        self.instants = [
            Instant(frame, origin, rays, caster.cast(origin, rays, ()).distance) for frame, origin in origins.items()
        ]

    def hits(self, instant: Instant, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Return the rays that an item is hit by, alone, and their ranges [m]."""
        return self._caster.alone(instant.origin, instant.directions, item)

    def histograms(self, changed: dict[int, list[tuple[np.ndarray, np.ndarray]]], without: Iterable[int] = ()
                   ) -> Histograms:  # fmt: skip
        """Count all things, as if some more were there (track id -> hits per instant) and some were not."""
        ratios, levels = np.zeros(len(RATIO_BINS), np.int64), np.zeros(OCCLUSION_LEVELS, np.int64)
        gone = set(without)
        for k, instant in enumerate(self.instants):
            things = [hits for track, hits in instant.alone.items() if track not in gone]
            things += [hits[k] for hits in changed.values()]
            ratio, level = _occlusion(things, instant.town)
            ratios += np.bincount(_ratio_bin(ratio), minlength=len(RATIO_BINS))
            levels += np.bincount(level[ratio < 1], minlength=OCCLUSION_LEVELS)
        return Histograms(ratios, levels)


def _ratio_bin(ratio: np.ndarray) -> np.ndarray:
    inner = np.minimum(np.floor(ratio * 4).astype(np.int64) + 1, 4)
    return np.where(ratio == 0, 0, np.where(ratio == 1, len(RATIO_BINS) - 1, inner))


def _occlusion(things: list[tuple[np.ndarray, np.ndarray]], town: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (m,) hidden shares and levels of the things with at least `MIN_RAYS`; hidden ones are in no chain."""
    count = len(things)
    if not count:
        return np.zeros(0), np.zeros(0, np.int64)
    size = np.array([len(rays) for rays, _ in things])
    owner = np.repeat(np.arange(count), size)
    rays = np.concatenate([rays for rays, _ in things])
    ranges = np.concatenate([ranges for _, ranges in things])
    order = np.lexsort((ranges, rays))
    owner, rays, ranges = owner[order], rays[order], ranges[order]
    first = np.ones(len(rays), bool)
    first[1:] = rays[1:] != rays[:-1]
    visible = np.bincount(owner[first & (ranges <= town[rays])], minlength=count)
    mean = np.bincount(owner, ranges, count) / np.maximum(size, 1)
    shown = visible[owner] > 0
    owner, rays = owner[shown], rays[shown]
    pairs = np.stack([owner[:-1], owner[1:]], 1)[rays[1:] == rays[:-1]]
    pairs = pairs[mean[pairs[:, 0]] < mean[pairs[:, 1]]]
    level = np.zeros(count, np.int64)
    for _ in range(OCCLUSION_LEVELS - 1):
        np.maximum.at(level, pairs[:, 1], np.minimum(level[pairs[:, 0]] + 1, OCCLUSION_LEVELS - 1))
    counted = size >= MIN_RAYS
    ratio = 1 - visible / np.maximum(size, 1)
    return ratio[counted], level[counted]

"""Settings of a simulated sequence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np

from amodal_perception_ros.simulation.distributions import Distributions

MAX_SEED = 2**31 - 1

WEATHERS = ("day", "overcast", "dusk", "night", "fog", "rain")
LAYOUTS = ("straight", "curve", "crossing", "roundabout", "parking_lot", "suburban", "industrial")
RENDERERS = ("auto", "opengl", "raycast")

MAX_TEXTURE = 16384
"""Largest width and height of a supersampled picture, what OpenGL drivers offer today [px]."""


class Stream(IntEnum):
    """What a random stream of a sequence is for; each is independent of the others."""

    WEATHER = 1
    TOWN = 2
    TRAFFIC = 3
    RIG = 4
    LIDAR_NOISE = 5
    PICTURE_NOISE = 6
    CAMERA_LOOK = 9
    LIDAR = 11
    DATUM = 12
    IMU = 13
    GNSS = 14
    SIGNALS = 20
    PEDESTRIANS = 30
    PEOPLE = 31
    OCCLUSION = 40
    EGO = 50


@dataclass(frozen=True)
class SequenceConfig:
    """One sequence of the street simulator; equal settings give bit-identical output.

    Attributes:
        seed: 0..2**31-1; everything random follows from it.
        frames: number of samples.
        rate_hz: samples per second.
        width, height: image size of the four cameras [px].
        weather: one of `WEATHERS`, or "random" to draw one (`weather.kind` of the distributions).
        supersample: the picture is averaged from supersample x supersample shaded points per pixel.
        bev: also make the BEV occupancy truth (a fifth of the time; training does not need it).
        name: name of the sequence, of letters, digits, _ and -; None makes "seq_<seed>".
        layout: one of `LAYOUTS`, or "random".
        traffic: factor on the number of moving vehicles and pedestrians.
        overrides: entries of the distributions that differ from `distributions.yaml`, nested like it.
        renderer: "opengl", "raycast" (Embree, plainer pictures), or "auto": OpenGL where there is one.

    Raises:
        ValueError: a value is outside its range or not of its type.
    """

    seed: int
    frames: int = 100
    rate_hz: float = 10.0
    width: int = 512
    height: int = 288
    weather: str = "random"
    supersample: int = 2
    bev: bool = True
    name: str | None = None
    layout: str = "random"
    traffic: float = 1.0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    renderer: str = "auto"

    def __post_init__(self) -> None:
        for name in ("seed", "frames", "width", "height", "supersample"):
            _check(name, _is(getattr(self, name), Integral), getattr(self, name), "a whole number")
        for name in ("rate_hz", "traffic"):
            _check(name, _is(getattr(self, name), Real), getattr(self, name), "a number")
        _check("bev", isinstance(self.bev, bool), self.bev, "True or False")
        _check("seed", 0 <= self.seed <= MAX_SEED, self.seed, f"0..{MAX_SEED}")
        _check("frames", self.frames >= 1, self.frames, "at least 1")
        _check("rate_hz", 0.1 <= self.rate_hz <= 1000, self.rate_hz, "0.1..1000")
        _check("width", 16 <= self.width <= 8192, self.width, "16..8192 px")
        _check("height", 16 <= self.height <= 8192, self.height, "16..8192 px")
        _check("supersample", 1 <= self.supersample <= 4, self.supersample, "1..4")
        for name in ("width", "height"):
            size = getattr(self, name) * self.supersample
            _check(f"{name} * supersample", size <= MAX_TEXTURE, size, f"at most {MAX_TEXTURE} px")
        _check("traffic", 0 <= self.traffic <= 3, self.traffic, "0..3")
        _check("weather", self.weather in (*WEATHERS, "random"), self.weather, f"random or {WEATHERS}")
        _check("layout", self.layout in (*LAYOUTS, "random"), self.layout, f"random or {LAYOUTS}")
        _check("renderer", self.renderer in RENDERERS, self.renderer, f"{RENDERERS}")
        named = self.name is None or (isinstance(self.name, str) and _NAME.fullmatch(self.name) is not None)
        _check("name", named, self.name, "letters, digits, _ and -")
        Distributions(self.overrides)

    @property
    def sequence_name(self) -> str:
        """The name of the sequence."""
        return self.name if self.name is not None else f"seq_{self.seed:06d}"

    @cached_property
    def distributions(self) -> Distributions:
        """The random distributions with this sequence's overrides."""
        return Distributions(self.overrides)

    def stream(self, purpose: Stream, *keys: int) -> np.random.Generator:
        """Return the random generator of one purpose, and of a frame, camera, ... (keys >= 0) where there are several.

        All are independent of each other.
        """
        # numpy pads short seeds with zeros, so that a key of 0 would give the stream without it.
        return np.random.default_rng([self.seed, purpose, *(key + 1 for key in keys)])


_NAME = re.compile(r"[A-Za-z0-9_-]+")


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _check(name: str, ok: bool, value: object, allowed: str) -> None:
    if not ok:
        raise ValueError(f"SequenceConfig.{name} = {value!r}; allowed: {allowed}")

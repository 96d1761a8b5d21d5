"""Settings of a simulated sequence, and its weather."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from amodal_perception_ros.simulation.distributions import Distributions

MAX_SEED = 2**31 - 1

WEATHERS = ("day", "overcast", "dusk", "night", "fog", "rain")
LAYOUTS = ("straight", "crossing")
RENDERERS = ("auto", "opengl", "raycast")


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
        name: name of the sequence; None makes "seq_<seed>".
        layout: one of `LAYOUTS`, or "random".
        traffic: factor on the number of moving vehicles and pedestrians.
        overrides: entries of the distributions that differ from `distributions.yaml`, nested like it.
        renderer: "opengl", "raycast" (Embree, plainer pictures), or "auto": OpenGL where there is one.

    Raises:
        ValueError: a value is outside its range.
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
        _check("seed", 0 <= self.seed <= MAX_SEED, self.seed, f"0..{MAX_SEED}")
        _check("frames", self.frames >= 1, self.frames, "at least 1")
        _check("rate_hz", 0.1 <= self.rate_hz <= 1000, self.rate_hz, "0.1..1000")
        _check("width", 16 <= self.width <= 8192, self.width, "16..8192 px")
        _check("height", 16 <= self.height <= 8192, self.height, "16..8192 px")
        _check("supersample", 1 <= self.supersample <= 4, self.supersample, "1..4")
        _check("traffic", 0 <= self.traffic <= 3, self.traffic, "0..3")
        _check("weather", self.weather in (*WEATHERS, "random"), self.weather, f"random or {WEATHERS}")
        _check("layout", self.layout in (*LAYOUTS, "random"), self.layout, f"random or {LAYOUTS}")
        _check("renderer", self.renderer in RENDERERS, self.renderer, f"{RENDERERS}")
        Distributions(self.overrides)

    @property
    def sequence_name(self) -> str:
        """The name of the sequence."""
        return self.name if self.name is not None else f"seq_{self.seed:06d}"

    @cached_property
    def distributions(self) -> Distributions:
        """The random distributions with this sequence's overrides."""
        return Distributions(self.overrides)

    def stream(self, purpose: int) -> np.random.Generator:
        """Return the random generator of one purpose, independent of the others."""
        return np.random.default_rng([self.seed, purpose])


def _check(name: str, ok: bool, value: object, allowed: str) -> None:
    if not ok:
        raise ValueError(f"SequenceConfig.{name} = {value!r}; allowed: {allowed}")


Color = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """Light and air of a sequence; colours are linear RGB radiance, directions are unit vectors in odom.

    Attributes:
        name: one of `WEATHERS`.
        sun: direction to the sun (or moon).
        sun_color, ambient, fog_color, zenith, horizon: light of sun and sky.
        fog: extinction [1/m].
        clouds: cover 0..1.
        wet: 1 for a wet road.
        lamps: street lamps, windows and headlights are lit.
        exposure: factor before tone mapping.
        noise: standard deviation of the sensor noise (1 = full scale).
        white_balance: colour gain of the camera.
    """

    name: str
    sun: Color
    sun_color: Color
    ambient: Color
    fog_color: Color
    zenith: Color
    horizon: Color
    fog: float
    clouds: float
    wet: bool
    lamps: bool
    exposure: float
    noise: float
    white_balance: Color

    @property
    def casts_shadows(self) -> bool:
        """Whether the sun is strong enough for visible shadows."""
        return max(self.sun_color) > 0.8


def _base(name: str, **values: object) -> Weather:
    common: dict[str, object] = {
        "sun": (0.0, 0.0, 1.0), "fog": 0.002, "clouds": 0.4, "wet": False, "lamps": False, "exposure": 0.9,
        "noise": 0.012, "white_balance": (1.0, 1.0, 1.0),
    }  # fmt: skip
    return Weather(name=name, **{**common, **values})  # type: ignore[arg-type]


_WEATHERS: dict[str, Weather] = {
    "day": _base("day", sun_color=(3.3, 3.05, 2.7), ambient=(0.55, 0.65, 0.85), fog_color=(0.75, 0.82, 0.92),
                 zenith=(0.16, 0.34, 0.74), horizon=(0.72, 0.82, 0.93), fog=0.0015, exposure=0.82),
    "overcast": _base("overcast", sun_color=(0.45, 0.45, 0.45), ambient=(0.72, 0.75, 0.8),
                      fog_color=(0.72, 0.75, 0.79), zenith=(0.55, 0.59, 0.65), horizon=(0.75, 0.78, 0.81),
                      fog=0.004, clouds=1.0, exposure=0.95),
    "dusk": _base("dusk", sun_color=(2.4, 1.25, 0.55), ambient=(0.3, 0.32, 0.44), fog_color=(0.62, 0.46, 0.38),
                  zenith=(0.14, 0.2, 0.42), horizon=(0.95, 0.58, 0.34), fog=0.003, clouds=0.5, lamps=True,
                  exposure=1.0, noise=0.02),
    "night": _base("night", sun_color=(0.05, 0.06, 0.09), ambient=(0.034, 0.038, 0.06),
                   fog_color=(0.02, 0.02, 0.032), zenith=(0.006, 0.008, 0.02), horizon=(0.04, 0.036, 0.045),
                   fog=0.004, lamps=True, exposure=1.8, noise=0.032),
    "fog": _base("fog", sun_color=(0.35, 0.35, 0.35), ambient=(0.75, 0.77, 0.8), fog_color=(0.72, 0.74, 0.76),
                 zenith=(0.7, 0.73, 0.76), horizon=(0.72, 0.74, 0.76), fog=0.024, clouds=0.0),
    "rain": _base("rain", sun_color=(0.3, 0.3, 0.32), ambient=(0.5, 0.54, 0.6), fog_color=(0.5, 0.53, 0.57),
                  zenith=(0.35, 0.38, 0.43), horizon=(0.55, 0.58, 0.62), fog=0.009, clouds=1.0, wet=True,
                  noise=0.02),
}  # fmt: skip


def draw_weather(config: SequenceConfig) -> Weather:
    """Return the weather of a sequence, drawn from the sections `weather` and `camera` of the distributions."""
    rng, draw = config.stream(1), config.distributions.draw
    name = draw(rng, "weather.kind") if config.weather == "random" else config.weather
    base = _WEATHERS[name]
    elevation = np.radians(draw(rng, "weather.dusk_sun_elevation" if name == "dusk" else "weather.sun_elevation"))
    azimuth = rng.uniform(0, 2 * np.pi)
    sun = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    gain = [draw(rng, "camera.colour_gain") for _ in range(3)]
    return replace(
        base,
        sun=(float(sun[0]), float(sun[1]), float(sun[2])),
        exposure=base.exposure * draw(rng, "camera.exposure"),
        fog=base.fog * draw(rng, "weather.fog_density"),
        clouds=float(np.clip(base.clouds * draw(rng, "weather.clouds"), 0, 1)),
        noise=base.noise * draw(rng, "camera.noise"),
        white_balance=(gain[0], gain[1], gain[2]),
    )

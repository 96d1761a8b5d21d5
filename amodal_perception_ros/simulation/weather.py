"""Light, air and wetness of a sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.config import SequenceConfig, Stream

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """Light, air and state of the surfaces; colours are linear RGB radiance, directions are unit vectors in odom.

    Attributes:
        name: one of `config.WEATHERS`.
        sun: direction to the sun (or moon).
        sun_color, ambient, fog_color, zenith, horizon: light of sun and sky.
        fog: extinction [1/m].
        clouds: cover 0..1.
        cloud_scale: size of the clouds, 1 is usual; larger numbers are smaller clouds.
        cloud_place: which part of the endless cloud field is overhead.
        wet: the ground is wet and mirrors.
        puddles: share of the wet ground that holds puddles, 0..1.
        rain: falling rain, 0 none .. 1 a downpour.
        wear: cracks, patches, stains and pale old asphalt, 0..1.
        lamps: street lamps and windows are lit.
        lamp_color: light of the street lamps.
        vehicle_lights: radiance of the lamps of moving vehicles; 0 is off.
        exposure: factor before tone mapping that suits this light.
        key: mean brightness (1 = white) that a camera with automatic exposure aims at.
        gain: amplification of the sensor in this light, 1 by day; multiplies the noise.
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
    cloud_scale: float
    cloud_place: tuple[float, float]
    wet: bool
    puddles: float
    rain: float
    wear: float
    lamps: bool
    lamp_color: Color
    vehicle_lights: float
    exposure: float
    key: float
    gain: float

    @property
    def casts_shadows(self) -> bool:
        """Whether the sun is strong enough for visible shadows."""
        return max(self.sun_color) > 0.8


@dataclass(frozen=True)
class _Kind:
    """What the weathers of one name have in common."""

    sun: float
    ambient: Color
    fog_color: Color
    zenith: Color
    horizon: Color
    fog: float
    clouds: float = 0.4
    lamps: bool = False
    vehicle_lights: float = 0.0
    exposure: float = 0.9
    key: float = 0.18
    gain: float = 1.0


_KINDS = {
    "day": _Kind(4.0, (0.5, 0.62, 0.82), (0.75, 0.82, 0.92), (0.16, 0.34, 0.74), (0.72, 0.82, 0.93), 0.0012,
                 exposure=0.8),
    "overcast": _Kind(0.5, (0.72, 0.75, 0.8), (0.8, 0.83, 0.87), (0.75, 0.79, 0.85), (1.05, 1.08, 1.12), 0.003,
                      clouds=1.0),
    "dusk": _Kind(4.0, (0.3, 0.32, 0.44), (0.62, 0.46, 0.38), (0.14, 0.2, 0.42), (0.95, 0.58, 0.34), 0.003,
                  clouds=0.5, lamps=True, vehicle_lights=14.0, exposure=0.9, key=0.13, gain=2.0),
    "night": _Kind(0.07, (0.026, 0.029, 0.046), (0.02, 0.02, 0.032), (0.006, 0.008, 0.02), (0.04, 0.036, 0.045), 0.003,
                   lamps=True, vehicle_lights=25.0, exposure=1.5, key=0.1, gain=3.0),
    "fog": _Kind(0.35, (0.75, 0.77, 0.8), (0.82, 0.84, 0.86), (0.9, 0.93, 0.96), (0.86, 0.88, 0.9), 0.024,
                 clouds=0.0, vehicle_lights=6.0, key=0.28),
    "rain": _Kind(0.35, (0.5, 0.54, 0.6), (0.54, 0.57, 0.61), (0.45, 0.49, 0.55), (0.72, 0.76, 0.8), 0.006,
                  clouds=1.0, vehicle_lights=8.0, gain=1.5),
}  # fmt: skip

_WHITE_LAMP, _SODIUM_LAMP = np.array([0.92, 0.95, 1.0]), np.array([1.0, 0.62, 0.24])

_CLEAR_AIR = np.array([0.05, 0.1, 0.21])
"""Optical depth of clean air at the zenith at 650, 550 and 450 nm (Rayleigh scattering)."""


def sunlight(elevation: float, haze: float) -> np.ndarray:
    """Return the (3,) share of the sun's red, green and blue light that reaches the ground.

    Args:
        elevation: of the sun above the horizon [degrees].
        haze: optical depth of haze at the zenith, equal for all colours.

    The relative air mass is that of Kasten and Young, Applied Optics 28 (1989) 4735.
    """
    air_mass = 1.0 / (np.sin(np.radians(elevation)) + 0.50572 * (elevation + 6.07995) ** -1.6364)
    return np.exp(-(_CLEAR_AIR + haze) * air_mass)


def draw_weather(config: SequenceConfig) -> Weather:
    """Return the weather of a sequence, drawn from the section `weather` of the distributions."""
    rng, draw = config.stream(Stream.WEATHER), config.distributions.draw
    name = draw(rng, "weather.kind") if config.weather == "random" else config.weather
    kind = _KINDS[name]
    elevation = draw(rng, f"weather.sun_elevation.{name}")
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(elevation)
    sun = (np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height))
    haze = draw(rng, "weather.haze")
    light = sunlight(elevation, haze) if name in ("day", "dusk") else np.array([0.94, 0.97, 1.0])
    tint = np.array([draw(rng, "weather.sky_tint") for _ in range(3)])
    level = draw(rng, "weather.ambient")
    rainy, wet = draw(rng, f"weather.rain.{name}"), draw(rng, f"weather.wet.{name}")
    return Weather(
        name=name,
        sun=(float(sun[0]), float(sun[1]), float(sun[2])),
        sun_color=_color(kind.sun * light),
        ambient=_color(level * tint * kind.ambient),
        fog_color=_color(tint * kind.fog_color),
        zenith=_color(tint * _milky(kind.zenith, kind.horizon, 1.8 * haze)),
        horizon=_color(tint * kind.horizon),
        fog=kind.fog * draw(rng, "weather.fog_density") + 0.006 * haze,
        clouds=1.0 if kind.clouds == 1 else min(1.0, kind.clouds * draw(rng, "weather.clouds")),
        cloud_scale=draw(rng, "weather.cloud_scale"),
        cloud_place=(float(rng.uniform(0, 64)), float(rng.uniform(0, 64))),
        wet=rainy or wet,
        puddles=draw(rng, "weather.puddles"),
        rain=draw(rng, "weather.rainfall") if rainy else 0.0,
        wear=draw(rng, "weather.wear"),
        lamps=kind.lamps,
        lamp_color=_color(_WHITE_LAMP + draw(rng, "weather.lamp_warmth") * (_SODIUM_LAMP - _WHITE_LAMP)),
        vehicle_lights=kind.vehicle_lights,
        exposure=kind.exposure,
        key=kind.key,
        gain=kind.gain,
    )


def _color(values: np.ndarray) -> Color:
    return float(values[0]), float(values[1]), float(values[2])


def _milky(zenith: Color, horizon: Color, share: float) -> np.ndarray:
    """The colour overhead in hazy air: a mixture with that of the horizon."""
    share = min(share, 0.8)
    return (1 - share) * np.array(zenith) + share * np.array(horizon)

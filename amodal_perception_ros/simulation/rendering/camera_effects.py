"""Makes a camera's picture from the light of the scene: lens, sensor and image processor, shared by all renderers."""

from __future__ import annotations

import cv2
import numpy as np

from amodal_perception_ros.simulation.rendering.camera_look import CameraLook
from amodal_perception_ros.simulation.rendering.rainfall import add_streaks, drop_maps
from amodal_perception_ros.simulation.weather import Weather

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of linear red, green and blue (ITU-R BT.709)."""

BRIGHTEST = 1e4
"""Light above this is cut before the lens spreads it [radiance]."""

_LEVELS = 4096
_GLARE_CELL = 8
"""The scattered light is computed on cells of this size [px]."""


class Film:
    """Develops the linear light of a scene into finished pictures of one size.

    Order: rain streaks, scattered light, distortion with drops and colour fringes, blur, vignetting, exposure,
    clipping, noise, white balance, tone curve, saturation, sharpening, eight bits.

    Args:
        width, height: picture size [px].
        look: lens, sensor and image processor.
        weather: exposure that suits the light, amplification, rain.
    """

    def __init__(self, width: int, height: int, look: CameraLook, weather: Weather) -> None:
        self.width, self.height, self.look, self.weather = width, height, look, weather
        x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2)[None]
        y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
        self._x, self._y = x, y
        self._radius2 = (x**2 + y**2) / np.float32((width / 2) ** 2 + (height / 2) ** 2)
        self._vignette = (1 - np.float32(look.vignetting) * self._radius2)[..., None]
        self._curve = tone_curve(look)
        dropped = weather.rain > 0 and look.lens_drops > 0
        self._drops = drop_maps(width, height, look.lens_drops, look.drops_seed) if dropped else None
        self._maps: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def develop(self, light: np.ndarray, seed: int, camera: str) -> np.ndarray:
        """Return the (height, width, 3) uint8 RGB picture of (height, width, 3) float32 linear radiance.

        Args:
            light: radiance, 1 is white paper in usual light; what is no number or negative counts as dark.
            seed: of noise and rain streaks.
            camera: its name; the rain drops on its lens differ from those of other cameras and stay.
        """
        look, rng = self.look, np.random.default_rng(seed)
        # A single pixel that is no number would spread through exposure and glare over the whole picture.
        light = np.fmin(np.fmax(light, np.float32(0)), np.float32(BRIGHTEST))
        if self.weather.rain > 0:
            light = add_streaks(light, self.weather.rain, rng)
        if look.glare > 0:
            light = (1 - look.glare) * light + look.glare * scattered(light)
        light = self._bent(light, camera)
        if look.softness > 0:
            light = cv2.GaussianBlur(light, (0, 0), look.softness)
        signal = light * (self._vignette * np.float32(self.exposure(light)))
        gain = self.weather.gain
        shot, read = look.shot_noise * float(np.sqrt(gain)), look.read_noise * gain
        return self._processed(add_noise(np.minimum(signal, look.headroom), shot, read, rng))

    def exposure(self, light: np.ndarray) -> float:
        """Return the factor on the light that an automatic exposure chooses, within one stop of the weather's."""
        usual = self.weather.exposure * self.look.exposure
        if self.look.metering == 0:
            return usual
        mean = float(np.minimum(light @ LUMINANCE * usual, 1.0).mean())
        return usual * float(np.clip((self.weather.key / max(mean, 1e-6)) ** self.look.metering, 0.5, 2.0))

    def _bent(self, light: np.ndarray, camera: str) -> np.ndarray:
        """Sample where the lens looks: radial distortion, per colour, and rain drops."""
        if self.look.distortion == 0 and self.look.colour_fringe == 0 and self._drops is None:
            return light
        name = "" if self._drops is None else camera
        if name not in self._maps:
            self._maps[name] = self._lens_maps(name)
        return cv2.merge([
            cv2.remap(np.ascontiguousarray(light[..., channel]), *maps, cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE)
            for channel, maps in enumerate(self._maps[name])
        ])  # fmt: skip

    def _lens_maps(self, camera: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return per colour where to sample, in the fixed-point form of `cv2.remap`."""
        look, out = self.look, []
        shift = (0.0, 0.0) if self._drops is None else self._drops(camera)
        scale = self.width / float(np.hypot(self.width / 2, self.height / 2))
        for fringe in (look.colour_fringe, 0.0, -look.colour_fringe):
            factor = 1 + (look.distortion + fringe) * scale * self._radius2
            x = self._x * factor + (self.width / 2 - 0.5) + shift[0]
            y = self._y * factor + (self.height / 2 - 0.5) + shift[1]
            out.append(cv2.convertMaps(x.astype(np.float32), y.astype(np.float32), cv2.CV_16SC2))
        return out

    def _processed(self, signal: np.ndarray) -> np.ndarray:
        look = self.look
        signal = np.clip(signal * np.array(look.white_balance, np.float32), 0, look.headroom)
        index = np.sqrt(signal * np.float32(1 / look.headroom)) * np.float32(_LEVELS - 1)
        picture = self._curve[index.astype(np.uint16)]
        if look.saturation != 1:
            mixing = look.saturation * np.eye(3, dtype=np.float32) + (1 - look.saturation) * LUMINANCE[None]
            picture = cv2.transform(picture, mixing)
        if look.sharpening > 0:
            picture = cv2.addWeighted(picture, 1 + look.sharpening, cv2.GaussianBlur(picture, (0, 0), 1.0),
                                      -look.sharpening, 0.0)  # fmt: skip
        return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)


def add_noise(signal: np.ndarray, shot: float, read: float, rng: np.random.Generator) -> np.ndarray:
    """Return a float32 signal with a sensor's noise: its variance is shot^2 * signal + read^2.

    Photons arrive at random, so that their variance grows with their number; reading them out adds a constant.
    """
    if shot == 0 and read == 0:
        return signal
    noise = rng.standard_normal(signal.shape, np.float32)
    return signal + noise * np.sqrt(np.float32(shot**2) * signal + np.float32(read**2))


def tone_curve(look: CameraLook) -> np.ndarray:
    """Return the (4096,) float32 brightness 0..1 of signals (k / 4095)^2 * headroom: film, gamma, S-curve, black.

    The film curve is that of K. Narkowicz, "ACES filmic tone mapping curve" (2016), scaled to reach 1 at `headroom`.
    """
    signal = np.linspace(0, 1, _LEVELS) ** 2 * look.headroom
    bright = np.clip(_filmic(signal) / _filmic(np.array(look.headroom)), 0, 1) ** (1 / look.gamma)
    bright = bright + look.contrast * (bright * bright * (3 - 2 * bright) - bright)
    return (look.black_level + (1 - look.black_level) * bright).astype(np.float32)


def _filmic(x: np.ndarray) -> np.ndarray:
    return x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)


def scattered(light: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) light as a lens spreads it: half near (2 % of the height), half far (10 %); its sum is kept."""
    height, width = light.shape[:2]
    small = (max(1, round(width / _GLARE_CELL)), max(1, round(height / _GLARE_CELL)))
    coarse = cv2.resize(light, small, interpolation=cv2.INTER_AREA)
    near, far = (cv2.GaussianBlur(coarse, (0, 0), share * small[1]) for share in (0.02, 0.1))
    return cv2.resize(0.5 * near + 0.5 * far, (width, height), interpolation=cv2.INTER_LINEAR)

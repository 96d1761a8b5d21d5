"""What a camera of the simulator does to light: its settings and their distributions."""

from __future__ import annotations

from dataclasses import dataclass

from amodal_perception_ros.simulation.config import SequenceConfig, Stream


@dataclass(frozen=True)
class CameraLook:
    """Lens, sensor and image processor of a sequence's cameras; the defaults are those of a clean picture.

    The truth is that of the ideal pinhole camera: `distortion` and `colour_fringe` are what is left after
    rectification, and move picture content by at most about a pixel.

    Attributes:
        exposure: factor on the exposure that suits the weather.
        metering: share of a picture's deviation from the brightness aimed at that exposure evens out, 0..1.
        white_balance: gain of red, green and blue.
        headroom: radiance at which the sensor clips (1 = white paper in usual light).
        shot_noise: standard deviation at radiance 1 without amplification; its variance grows with the signal.
        read_noise: standard deviation in the dark without amplification.
        softness: standard deviation of the lens blur [px].
        glare: share of the light that the lens scatters around.
        vignetting: share of the light lost in the corner; it grows with the square of the distance to the middle.
        distortion: radial shift of the corner as a share of the width, grows with the third power; positive is inwards.
        colour_fringe: as `distortion`, of red against green; blue is shifted as far the other way.
        contrast: strength of the S-curve, 0 is none.
        gamma: of the finished picture.
        black_level: brightness of black in the finished picture, 0..1.
        saturation: factor on the saturation.
        sharpening: strength of the unsharp mask.
        lens_drops: rain drops on each lens while rain falls.
        drops_seed: where they are.
        jpeg_quality: of the written pictures, 1..100.
    """

    exposure: float = 1.0
    metering: float = 0.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    headroom: float = 8.0
    shot_noise: float = 0.0
    read_noise: float = 0.0
    softness: float = 0.0
    glare: float = 0.0
    vignetting: float = 0.0
    distortion: float = 0.0
    colour_fringe: float = 0.0
    contrast: float = 0.0
    gamma: float = 2.2
    black_level: float = 0.0
    saturation: float = 1.0
    sharpening: float = 0.0
    lens_drops: int = 0
    drops_seed: int = 0
    jpeg_quality: int = 95


def draw_camera_look(config: SequenceConfig) -> CameraLook:
    """Return the look of a sequence's cameras, drawn from the section `camera` of the distributions."""
    rng, draw = config.stream(Stream.CAMERA_LOOK), config.distributions.draw
    red, blue = draw(rng, "camera.white_balance"), draw(rng, "camera.white_balance")
    single = ("exposure", "metering", "headroom", "shot_noise", "read_noise", "softness", "glare", "vignetting",
              "distortion", "colour_fringe", "contrast", "gamma", "black_level", "saturation", "sharpening",
              "lens_drops", "jpeg_quality")  # fmt: skip
    values = {name: draw(rng, f"camera.{name}") for name in single}
    return CameraLook(white_balance=(red, 1.0, blue), drops_seed=int(rng.integers(2**31)), **values)

"""IMU and GNSS of the ego vehicle from its trajectory, with noise and bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from amodal_perception_ros.scene import GnssFix, ImuReading
from amodal_perception_ros.simulation.config import SequenceConfig, Stream

GRAVITY = 9.81
"""[m/s^2]"""

_SEMI_MAJOR, _ECCENTRICITY_2 = 6378137.0, 6.69437999014e-3
"""Ellipsoid of WGS 84: semi-major axis [m], first eccentricity squared."""


@dataclass(frozen=True)
class Datum:
    """Where odom lies on the Earth: its origin in WGS 84; x points east, y north, z up.

    The two conversions are exact inverses of each other. They scale east and north by the radii of curvature at the
    origin (first order of the local tangent plane): against the rigorous conversion the error is below 2 cm within
    250 m of the origin up to 60 degrees of latitude.

    Attributes:
        latitude, longitude: [degrees].
        altitude: above the ellipsoid [m].
    """

    latitude: float
    longitude: float
    altitude: float

    def _metres_per_radian(self) -> tuple[float, float]:
        """Along a parallel (east) and along a meridian (north), at the origin's altitude."""
        phi = np.radians(self.latitude)
        root = 1 - _ECCENTRICITY_2 * np.sin(phi) ** 2
        normal = _SEMI_MAJOR / np.sqrt(root)
        meridian = _SEMI_MAJOR * (1 - _ECCENTRICITY_2) / root**1.5
        return float((normal + self.altitude) * np.cos(phi)), float(meridian + self.altitude)

    def geodetic(self, point: np.ndarray) -> tuple[float, float, float]:
        """Return latitude, longitude [degrees] and altitude [m] of a (3,) position in odom."""
        east, north = self._metres_per_radian()
        longitude = self.longitude + np.degrees(point[0] / east)
        return (
            float(self.latitude + np.degrees(point[1] / north)),
            float((longitude + 180) % 360 - 180),
            float(self.altitude + point[2]),
        )

    def odom(self, latitude: float, longitude: float, altitude: float) -> np.ndarray:
        """Return the (3,) position in odom [m] of latitude, longitude [degrees] and altitude [m]."""
        east, north = self._metres_per_radian()
        turn = (longitude - self.longitude + 180) % 360 - 180
        return np.array(
            [np.radians(turn) * east, np.radians(latitude - self.latitude) * north, altitude - self.altitude]
        )


def draw_datum(config: SequenceConfig) -> Datum:
    """Return the place of a sequence on the Earth."""
    rng, draw = config.stream(Stream.DATUM), config.distributions.draw
    return Datum(draw(rng, "gnss.latitude"), draw(rng, "gnss.longitude"), draw(rng, "gnss.altitude"))


def imu_readings(config: SequenceConfig, poses: np.ndarray, stamps_ns: Sequence[int]) -> list[ImuReading]:
    """Return a reading for each stamp.

    The angular rate is the mean of the turns from the previous and to the following frame, the acceleration the
    second difference of the position; at the first frame, which has no previous one, the following turn and
    acceleration stand in. Bias is constant over a sequence, noise is white.

    Args:
        config: settings; the section `imu` of the distributions.
        poses: (n + 1, 4, 4) odom_from_base at the n stamps and one frame after.
        stamps_ns: n stamps.
    """
    rng, draw, count = config.stream(Stream.IMU), config.distributions.draw, len(stamps_ns)
    rate, force = _motion(poses, 1 / config.rate_hz)
    scales = [draw(rng, f"imu.{name}") for name in ("gyro_noise", "accelerometer_noise", "orientation_noise")]
    gyro_bias, force_bias = ([draw(rng, f"imu.{name}_bias") for _ in range(3)] for name in ("gyro", "accelerometer"))
    rate = rate + gyro_bias + scales[0] * rng.normal(size=(count, 3))
    force = force + force_bias + scales[1] * rng.normal(size=(count, 3))
    tilt = Rotation.from_rotvec(scales[2] * rng.normal(size=(count, 3)))
    turn = (Rotation.from_matrix(poses[:-1, :3, :3]) * tilt).as_quat()
    return [ImuReading(stamp, turn[k], rate[k], force[k]) for k, stamp in enumerate(stamps_ns)]


def _motion(poses: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) angular rate [rad/s] and specific force [m/s^2] in base_link of n + 1 poses `step` seconds apart."""
    turn = Rotation.from_matrix(poses[:, :3, :3])
    rates = (turn[:-1].inv() * turn[1:]).as_rotvec() / step
    rate = 0.5 * (np.concatenate([rates[:1], rates[:-1]]) + rates)
    bend = np.diff(poses[:, :3, 3], 2, axis=0) / step**2
    acceleration = np.concatenate([bend[:1] if len(bend) else np.zeros((1, 3)), bend])
    return rate, turn[:-1].inv().apply(acceleration + np.array([0.0, 0.0, GRAVITY]))


def gnss_fixes(config: SequenceConfig, datum: Datum, positions: np.ndarray, stamps_ns: Sequence[int]) -> list[GnssFix]:
    """Return a fix for each stamp.

    The error is white noise plus a bias that wanders as a first-order Gauss-Markov process.

    Args:
        config: settings; the section `gnss` of the distributions.
        datum: where odom lies.
        positions: (n, 3) of base_link in odom [m].
        stamps_ns: n stamps.
    """
    rng, draw = config.stream(Stream.GNSS), config.distributions.draw
    noise, bias, time = (draw(rng, f"gnss.{name}") for name in ("noise", "bias", "bias_time"))
    keep = np.exp(-1 / config.rate_hz / time)
    wander, fixes = bias * rng.normal(size=3), []
    for position, stamp in zip(positions, stamps_ns):
        place = datum.geodetic(position + wander + noise * rng.normal(size=3))
        fixes.append(GnssFix(stamp, *place, stddev=float(np.hypot(noise, bias))))
        wander = keep * wander + bias * np.sqrt(1 - keep**2) * rng.normal(size=3)
    return fixes

"""The motion of objects on the ground plane: a Kalman filter over many objects at once.

State of one object, in odom: x, y [m], vx, vy [m/s], heading psi [rad], turn rate w [rad/s]. One model serves all:

- vehicles follow the nearly coordinated turn (Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking
  and Navigation", 2001, section 11.7): the velocity turns with the rate w, which fades with `TURN_MEMORY_S`, and the
  heading turns with it. The model is not linear, so the filter is an extended Kalman filter. A vehicle does not slip
  sideways: the velocity across the heading is observed to be 0, give or take `SLIP_STDDEV`.
- people have w = 0 without noise, which leaves the constant-velocity model and the linear Kalman filter. Their heading
  is not filtered.

All functions work on n objects: means (n, 6), covariances (n, 6, 6), float64. They change nothing in place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

X, Y, VX, VY, HEADING, TURN = range(6)
"""Places in the state."""

DIMENSION = 6

TURN_MEMORY_S = 4.0
"""Time constant with which a turn rate fades [s]."""

SLIP_STDDEV = 0.3
"""Standard deviation of a vehicle's velocity across its heading [m/s]."""

STANDING_SPEED = 0.5
"""An object that is slower, with a velocity known better than 1 m/s, is taken to stand [m/s]."""

_KNOWN_VELOCITY = 1.0
_STANDING_STDDEV = 0.5
_STANDING_NOISE = 0.02
_UNKNOWN = 1e6
_HUBER = 3.0


class Gaussians(NamedTuple):
    """(n, 6) means and (n, 6, 6) covariances of n states."""

    mean: np.ndarray
    cov: np.ndarray


class Noise(NamedTuple):
    """How objects change their motion.

    Attributes:
        acceleration: (n,) power spectral density of the acceleration [m^2/s^3].
        turn: (n,) power spectral density of the turn acceleration [rad^2/s^3]; 0 for people.
    """

    acceleration: np.ndarray
    turn: np.ndarray


class Measurements(NamedTuple):
    """What a set says of n objects.

    Attributes:
        position: (n, 2) centre in odom [m].
        position_cov: (n, 2, 2) [m^2].
        heading: (n,) heading up to half a turn [rad].
        heading_stddev: (n,) [rad]; infinite where the heading is not known.
    """

    position: np.ndarray
    position_cov: np.ndarray
    heading: np.ndarray
    heading_stddev: np.ndarray


def half_turn_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a - b in [-pi/2, pi/2): the difference of directions whose front and back are not told apart [rad]."""
    return (a - b + np.pi / 2) % np.pi - np.pi / 2


def predict(states: Gaussians, noise: Noise, seconds: float) -> Gaussians:
    """Return the states `seconds` later (0 or more)."""
    mean, jacobian = _move(states.mean, seconds)
    cov = jacobian @ states.cov @ jacobian.transpose(0, 2, 1) + _process_noise(noise, seconds)
    return Gaussians(mean, _symmetric(cov))


def update(states: Gaussians, seen: Measurements, vehicle: np.ndarray) -> Gaussians:
    """Return the states after measurements of their positions and, for vehicles, their headings.

    A heading that contradicts the state by more than 3 standard deviations pulls as if it were 3 away (the weight of
    Huber, "Robust estimation of a location parameter", 1964): length and width of a box may have been mistaken for
    one another. `vehicle` is (n,) bool.
    """
    mean, cov = states
    count = len(mean)
    cos, sin = np.cos(mean[:, HEADING]), np.sin(mean[:, HEADING])
    jacobian = np.zeros((count, 4, DIMENSION))
    jacobian[:, 0, X] = jacobian[:, 1, Y] = jacobian[:, 2, HEADING] = 1.0
    jacobian[:, 3, VX], jacobian[:, 3, VY] = -sin, cos
    jacobian[:, 3, HEADING] = -cos * mean[:, VX] - sin * mean[:, VY]
    residual = np.empty((count, 4))
    residual[:, :2] = seen.position - mean[:, :2]
    residual[:, 2] = half_turn_difference(seen.heading, mean[:, HEADING])
    residual[:, 3] = sin * mean[:, VX] - cos * mean[:, VY]
    noise = np.zeros((count, 4, 4))
    noise[:, :2, :2] = seen.position_cov
    noise[:, 2, 2] = _robust_variance(residual[:, 2], cov[:, HEADING, HEADING], seen.heading_stddev)
    noise[:, 3, 3] = SLIP_STDDEV**2
    noise[~vehicle, 2, 2] = noise[~vehicle, 3, 3] = _UNKNOWN
    return _correct(states, residual, jacobian, noise)


def is_standing(states: Gaussians) -> np.ndarray:
    """Return (n,) whether objects are slower than `STANDING_SPEED`, as far as their velocity is known."""
    variance = states.cov[:, VX, VX] + states.cov[:, VY, VY]
    return (np.hypot(states.mean[:, VX], states.mean[:, VY]) < STANDING_SPEED) & (variance < _KNOWN_VELOCITY**2)


def hold(states: Gaussians, standing: np.ndarray) -> Gaussians:
    """Return the states with the velocity of standing objects observed to be 0 (a zero-velocity update).

    Most objects in a street are parked or wait. Without this the noise of their places would let them drift away
    while they are hidden. The observation is weak (0.5 m/s), so that one that sets off is let go within a second.
    """
    count = len(states.mean)
    jacobian = np.zeros((count, 2, DIMENSION))
    jacobian[:, 0, VX] = jacobian[:, 1, VY] = 1.0
    variance = np.where(standing, _STANDING_STDDEV**2, _UNKNOWN)
    return _correct(states, -states.mean[:, VX : VY + 1], jacobian, variance[:, None, None] * np.eye(2))


def quieter(noise: Noise, standing: np.ndarray) -> Noise:
    """Return the noise with a fiftieth of it for standing objects: what stands mostly stays."""
    share = np.where(standing, _STANDING_NOISE, 1.0)
    return Noise(noise.acceleration * share, noise.turn * share)


def sigma_positions(states: Gaussians, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 5, 2) positions and their (5,) weights that have the states' mean and covariance plus that of a bias.

    A box that is placed wrong in the same way in every set has an error that no averaging removes: `bias` is its
    (n,) standard deviation [m].

    They are the sigma points of the unscented transform for two dimensions with kappa = 1 (Julier and Uhlmann, 1997):
    the mean, and sqrt(3) standard deviations to both sides along two axes.
    """
    root = np.sqrt(3.0) * np.linalg.cholesky(_biased(states, bias))
    offsets = np.concatenate([np.zeros((len(root), 1, 2)), root.transpose(0, 2, 1), -root.transpose(0, 2, 1)], axis=1)
    return states.mean[:, None, :2] + offsets, np.array([2, 1, 1, 1, 1]) / 6.0


def reweigh(states: Gaussians, bias: np.ndarray, positions: np.ndarray, weights: np.ndarray) -> Gaussians:
    """Return the states whose position follows sigma positions with new weights; the rest follows by regression.

    Where a place was seen empty the object is elsewhere: knowledge from not seeing (Koch, "On exploiting 'negative'
    sensor evidence for target tracking and sensor data fusion", 2007). A tenth of the former covariance is kept, so
    that five points that agree do not pretend to be exact.

    Args:
        states: n states.
        bias: (n,) as in `sigma_positions`.
        positions: (n, k, 2) as of `sigma_positions`.
        weights: (n, k), at least 0, with a positive sum in each row.
    """
    weights = weights / weights.sum(axis=1, keepdims=True)
    position = np.einsum("nk,nki->ni", weights, positions)
    spread = positions - position[:, None]
    before = _biased(states, bias)
    after = 0.9 * np.einsum("nk,nki,nkj->nij", weights, spread, spread) + 0.1 * before
    gain = np.linalg.solve(before, states.cov[:, :2, :]).transpose(0, 2, 1)
    mean = states.mean + np.einsum("nij,nj->ni", gain, position - states.mean[:, :2])
    return Gaussians(mean, _symmetric(states.cov + gain @ (after - before) @ gain.transpose(0, 2, 1)))


def _biased(states: Gaussians, bias: np.ndarray) -> np.ndarray:
    return states.cov[:, :2, :2] + np.square(bias)[:, None, None] * np.eye(2)


def turned(states: Gaussians, backwards: np.ndarray) -> Gaussians:
    """Return the states with the heading of some, (n,) bool, turned by half a turn; the velocity stays."""
    mean = states.mean.copy()
    mean[backwards, HEADING] += np.pi
    return Gaussians(mean, states.cov)


def forward_speed(states: Gaussians) -> np.ndarray:
    """Return the (n,) speed along the heading [m/s], negative backwards."""
    mean = states.mean
    return np.cos(mean[:, HEADING]) * mean[:, VX] + np.sin(mean[:, HEADING]) * mean[:, VY]


def _move(mean: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Move (n, 6) means; returns them and the (n, 6, 6) derivative."""
    vx, vy, rate = mean[:, VX], mean[:, VY], mean[:, TURN]
    along, across, d_along, d_across = _arc(rate, seconds)
    cos, sin = np.cos(rate * seconds), np.sin(rate * seconds)
    fade = float(np.exp(-seconds / TURN_MEMORY_S))
    moved = np.stack(
        [
            mean[:, X] + along * vx - across * vy,
            mean[:, Y] + across * vx + along * vy,
            cos * vx - sin * vy,
            sin * vx + cos * vy,
            mean[:, HEADING] + rate * seconds,
            fade * rate,
        ],
        axis=1,
    )
    jacobian = np.tile(np.eye(DIMENSION), (len(mean), 1, 1))
    jacobian[:, X, VX] = jacobian[:, Y, VY] = along
    jacobian[:, X, VY], jacobian[:, Y, VX] = -across, across
    jacobian[:, VX, VX] = jacobian[:, VY, VY] = cos
    jacobian[:, VX, VY], jacobian[:, VY, VX] = -sin, sin
    jacobian[:, X, TURN] = d_along * vx - d_across * vy
    jacobian[:, Y, TURN] = d_across * vx + d_along * vy
    jacobian[:, VX, TURN], jacobian[:, VY, TURN] = -seconds * moved[:, VY], seconds * moved[:, VX]
    jacobian[:, HEADING, TURN] = seconds
    jacobian[:, TURN, TURN] = fade
    return moved, jacobian


def _arc(rate: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """sin(wt)/w and (1 - cos(wt))/w, and their derivatives by w; by their series where the turn is small."""
    angle = rate * seconds
    small = np.abs(angle) < 1e-3
    safe = np.where(small, 1.0, rate)
    sin, cos = np.sin(angle), np.cos(angle)
    along = np.where(small, seconds * (1 - angle**2 / 6), sin / safe)
    across = np.where(small, seconds * angle / 2, (1 - cos) / safe)
    d_along = np.where(small, -(seconds**2) * angle / 3, (angle * cos - sin) / safe**2)
    d_across = np.where(small, seconds**2 / 2, (angle * sin - (1 - cos)) / safe**2)
    return along, across, d_along, d_across


def _process_noise(noise: Noise, seconds: float) -> np.ndarray:
    """(n, 6, 6) covariance of white acceleration and turn acceleration over a time (Bar-Shalom et al., 6.2.2)."""
    block = np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]])
    out = np.zeros((len(noise.acceleration), DIMENSION, DIMENSION))
    for pair, density in (((X, VX), noise.acceleration), ((Y, VY), noise.acceleration), ((HEADING, TURN), noise.turn)):
        out[np.ix_(range(len(out)), pair, pair)] = density[:, None, None] * block
    return out


def _robust_variance(residual: np.ndarray, variance: np.ndarray, stddev: np.ndarray) -> np.ndarray:
    """Variance of a measurement, raised where it contradicts the state by more than 3 standard deviations."""
    own = np.where(np.isfinite(stddev), stddev, np.sqrt(_UNKNOWN)) ** 2
    excess = np.abs(residual) / (_HUBER * np.sqrt(variance + own))
    return own + (variance + own) * (np.maximum(excess, 1.0) - 1.0)


def _correct(states: Gaussians, residual: np.ndarray, jacobian: np.ndarray, noise: np.ndarray) -> Gaussians:
    """The Kalman update, with Joseph's form of the covariance, which stays positive definite."""
    mean, cov = states
    innovation = jacobian @ cov @ jacobian.transpose(0, 2, 1) + noise
    gain = np.linalg.solve(innovation, jacobian @ cov).transpose(0, 2, 1)
    left = np.eye(DIMENSION) - gain @ jacobian
    mean = mean + np.einsum("nij,nj->ni", gain, residual)
    cov = left @ cov @ left.transpose(0, 2, 1) + gain @ noise @ gain.transpose(0, 2, 1)
    return Gaussians(mean, _symmetric(cov))


def _symmetric(cov: np.ndarray) -> np.ndarray:
    return (cov + cov.transpose(0, 2, 1)) / 2

"""The vehicle's motion over a short time: poses from odometry, interpolated, and extrapolated by a little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

MAX_GAP_NS = 250_000_000
"""Between poses farther apart than this the motion counts as unknown [ns]."""

MAX_EXTRAPOLATION_NS = 200_000_000
"""Farther than this from the first or last pose the motion is unknown [ns]."""

_BASELINE_NS = 100_000_000
_MAX_SPEED = 70.0
_JUMP_M, _SPEED_CHANGE = 0.15, 5.0
_JUMP_RAD, _RATE_CHANGE = 0.02, 2.0


def is_rigid(poses: np.ndarray) -> bool:
    """Return whether the rotations of (..., 4, 4) poses are rotations, to 1e-3 and without a mirror."""
    rotations = poses[..., :3, :3]
    orthogonal = np.allclose(rotations @ rotations.swapaxes(-1, -2), np.eye(3), atol=1e-3)
    return orthogonal and not (np.linalg.det(rotations) < 0).any()


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses of base_link in odom, in order of time; it may hold none.

    Attributes:
        stamps_ns: (n,) int64, strictly increasing.
        poses: (n, 4, 4) float64 odom_from_base.

    Raises:
        ValueError: wrong shapes, stamps that do not increase, or a pose that is not finite or not rigid.
    """

    stamps_ns: np.ndarray
    poses: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.stamps_ns)
        if self.stamps_ns.shape != (count,) or self.poses.shape != (count, 4, 4):
            raise ValueError(
                f"a trajectory has (n,) stamps and (n, 4, 4) poses; got {self.stamps_ns.shape} and {self.poses.shape}"
            )
        if self.stamps_ns.dtype != np.int64 or not (np.diff(self.stamps_ns) > 0).all():
            raise ValueError("the stamps of a trajectory are int64 nanoseconds and strictly increase")
        if not np.isfinite(self.poses).all():
            raise ValueError("a pose of the trajectory is not finite")
        if not is_rigid(self.poses):
            raise ValueError("a pose of the trajectory is no rigid transform")

    def fault(self, first_ns: int, last_ns: int) -> str | None:
        """Return in a few words why the motion from one stamp to another is unknown; None where it is known.

        It is unknown without poses, farther than `MAX_EXTRAPOLATION_NS` from them, across a gap longer than
        `MAX_GAP_NS`, and across a jump: a step faster than 70 m/s, or one that leaves the median motion of the
        trajectory by more than 0.15 m + 5 m/s or 0.02 rad + 2 rad/s times its duration. Smaller jumps pass.
        """
        if len(self.stamps_ns) == 0:
            return "no odometry"
        start, end = int(self.stamps_ns[0]), int(self.stamps_ns[-1])
        if start - first_ns > MAX_EXTRAPOLATION_NS:
            return "odometry begins too late"
        if last_ns - end > MAX_EXTRAPOLATION_NS:
            return "odometry ends too early"
        if len(self.stamps_ns) == 1:
            return None if first_ns == last_ns == start else "a single odometry pose"
        used = slice(*self._steps_between(first_ns, last_ns))
        if (np.diff(self.stamps_ns)[used] > MAX_GAP_NS).any():
            return "a gap in the odometry"
        return "a jump of the odometry" if self._jumps[used].any() else None

    def poses_at(self, stamps_ns: np.ndarray) -> np.ndarray:
        """Return the (k, 4, 4) float64 odom_from_base at (k,) int64 stamps.

        Positions are interpolated linearly, rotations on the great arc (Shoemake, "Animating rotation with quaternion
        curves", SIGGRAPH 1985). Beyond the ends, speed along the track and turn rate stay as over the outermost 0.1 s.

        Raises:
            ValueError: the motion between the first and the last of the stamps is unknown (`fault`).
        """
        fault = self.fault(int(stamps_ns.min()), int(stamps_ns.max()))
        if fault is not None:
            raise ValueError(f"the motion between {stamps_ns.min()} and {stamps_ns.max()} ns is unknown: {fault}")
        start, end = self.stamps_ns[[0, -1]]
        poses = self._interpolate(np.clip(stamps_ns, start, end))
        for border, inner, beyond in (
            (start, min(end, start + _BASELINE_NS), stamps_ns < start),
            (end, max(start, end - _BASELINE_NS), stamps_ns > end),
        ):
            if beyond.any():
                poses[beyond] = self._extrapolate(inner, border, stamps_ns[beyond])
        return poses

    def _steps_between(self, first_ns: int, last_ns: int) -> tuple[int, int]:
        """Half-open range of the steps between poses that `poses_at` uses for stamps in first_ns .. last_ns."""
        start, end = int(self.stamps_ns[0]), int(self.stamps_ns[-1])
        low = min(first_ns, end - _BASELINE_NS) if last_ns > end else first_ns
        high = max(last_ns, start + _BASELINE_NS) if first_ns < start else last_ns
        low, high = (min(max(stamp, start), end) for stamp in (low, high))
        begin = int(np.searchsorted(self.stamps_ns, low, side="right")) - 1
        return begin, int(np.searchsorted(self.stamps_ns, high, side="left"))

    @cached_property
    def _jumps(self) -> np.ndarray:
        """(n - 1,) bool: no vehicle moves so from one pose to the next."""
        seconds = np.diff(self.stamps_ns)[:, None] * 1e-9
        velocity = np.diff(self.poses[:, :3, 3], axis=0) / seconds
        turns = self.poses[:-1, :3, :3].swapaxes(1, 2) @ self.poses[1:, :3, :3]
        rate = Rotation.from_matrix(turns).as_rotvec() / seconds
        seconds = seconds[:, 0]
        off = np.linalg.norm(velocity - np.median(velocity, 0), axis=1) * seconds
        twisted = np.linalg.norm(rate - np.median(rate, 0), axis=1) * seconds
        too_fast = np.linalg.norm(velocity, axis=1) > _MAX_SPEED
        return too_fast | (off > _JUMP_M + _SPEED_CHANGE * seconds) | (twisted > _JUMP_RAD + _RATE_CHANGE * seconds)

    def _interpolate(self, stamps_ns: np.ndarray) -> np.ndarray:
        """Poses at stamps that lie between the first and the last pose."""
        poses = np.tile(self.poses[0], (len(stamps_ns), 1, 1))
        if len(self.stamps_ns) == 1:
            return poses
        begin = max(int(np.searchsorted(self.stamps_ns, stamps_ns.min())) - 1, 0)
        used = slice(begin, max(int(np.searchsorted(self.stamps_ns, stamps_ns.max())) + 1, begin + 2))
        # Relative to the first stamp: a float does not resolve nanoseconds since 1970.
        known, asked = ((s - self.stamps_ns[begin]).astype(np.float64) for s in (self.stamps_ns[used], stamps_ns))
        poses[:, :3, :3] = Slerp(known, Rotation.from_matrix(self.poses[used, :3, :3]))(asked).as_matrix()
        for axis in range(3):
            poses[:, axis, 3] = np.interp(asked, known, self.poses[used, axis, 3])
        return poses

    def _extrapolate(self, inner_ns: int, border_ns: int, stamps_ns: np.ndarray) -> np.ndarray:
        """Go on beyond the pose at `border_ns` as from `inner_ns` to there, along the same curve."""
        inner, border = self._interpolate(np.array([inner_ns, border_ns]))
        baseline = float(border_ns - inner_ns) * 1e-9
        turn_rate = Rotation.from_matrix(border[:3, :3] @ inner[:3, :3].T).as_rotvec() / baseline
        velocity = (border[:3, 3] - inner[:3, 3]) / baseline
        seconds = ((stamps_ns - border_ns) * 1e-9)[:, None]
        poses = np.tile(border, (len(stamps_ns), 1, 1))
        poses[:, :3, :3] = Rotation.from_rotvec(turn_rate * seconds).as_matrix() @ border[:3, :3]
        # The chord of the baseline points as the vehicle did in its middle, the new chord as in the middle of that.
        course = Rotation.from_rotvec(turn_rate * (seconds + baseline) / 2)
        poses[:, :3, 3] = border[:3, 3] + course.apply(velocity) * seconds
        return poses

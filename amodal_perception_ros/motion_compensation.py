"""Brings what the sensors of a set saw at their own stamps to the set's stamp, by the vehicle's motion in between.

A standing world is assumed: what moves by itself stays where its sensor saw it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from amodal_perception_ros.scene import Camera, SurroundFrame
from amodal_perception_ros.trajectory import Trajectory

LIDAR = "lidar"
"""Name of the LiDAR in `Compensation.faults` and `SurroundFrame.clock_offsets_ns`."""

MAX_SWEEP_S = 1.0
"""Times of points farther apart, or farther from the sweep's stamp, are wrong [s]."""

_KNOT_S = 0.01
_NO_RETURN_M = 0.1


@dataclass(frozen=True)
class VehicleOutline:
    """Rectangle in base_link whose LiDAR returns are the vehicle's own [m]; the defaults are `BevConfig`'s."""

    length: float = 5.0
    width: float = 2.2
    center_x: float = 0.0

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Return (N,) bool: which of (N, >= 2) points in base_link lie inside."""
        along = np.abs(points[:, 0] - self.center_x) < self.length / 2
        return along & (np.abs(points[:, 1]) < self.width / 2)


@dataclass(frozen=True, eq=False)
class Compensation:
    """A compensated set.

    Attributes:
        frame: as if every sensor had seen the world at `stamp_ns`; it has no trajectory any more.
        faults: sensor -> why it could not be compensated, or of a LiDAR its points one by one.
    """

    frame: SurroundFrame
    faults: dict[str, str] = field(default_factory=dict)


def compensate(frame: SurroundFrame, outline: VehicleOutline | None = None) -> Compensation:
    """Compensate a set for the vehicle's motion between the sensors' stamps and the set's.

    Cameras: `base_from_camera` becomes the pose of the camera at its image's stamp in base_link at the set's stamp.
    LiDAR: `base_from_lidar` likewise, at the middle of the sweep; with times of the points each point is moved into
    that frame (deskewing), but for the vehicle's own returns, which move with it, and the sensor's zeros.

    A frame without a trajectory comes back as it is, so a second call does nothing. A sensor whose motion is unknown
    stays as it is and is named in `faults`; one with the set's stamp needs nothing.

    Args:
        frame: the set; it is not changed.
        outline: what LiDAR returns are the vehicle's own.
    """
    if frame.trajectory is None:
        return Compensation(frame)
    motion = _Motion(frame.trajectory, frame.stamp_ns)
    faults: dict[str, str] = {}
    cameras = _cameras(frame, motion, faults)
    points, base_from_lidar = _lidar(frame, motion, outline or VehicleOutline(), faults)
    rig = replace(frame.rig, cameras=cameras, base_from_lidar=base_from_lidar)
    return Compensation(replace(frame, rig=rig, lidar=points, lidar_times_s=None, trajectory=None), faults)


class _Motion:
    """The vehicle's motion relative to the set's stamp."""

    def __init__(self, trajectory: Trajectory, reference_ns: int) -> None:
        self._trajectory, self._reference_ns = trajectory, reference_ns

    def fault(self, first_ns: int, last_ns: int) -> str | None:
        """Why the motion between two stamps and the set's is unknown; None where there was no time to move."""
        if first_ns == last_ns == self._reference_ns:
            return None
        return self._trajectory.fault(min(first_ns, self._reference_ns), max(last_ns, self._reference_ns))

    def base_from_base_at(self, stamps_ns: np.ndarray) -> np.ndarray:
        """Return (k, 4, 4): base_link at each of the (k,) stamps in base_link at the set's."""
        if (stamps_ns == self._reference_ns).all():
            return np.tile(np.eye(4), (len(stamps_ns), 1, 1))
        poses = self._trajectory.poses_at(np.append(stamps_ns, self._reference_ns))
        return np.linalg.inv(poses[-1]) @ poses[:-1]


def _cameras(frame: SurroundFrame, motion: _Motion, faults: dict[str, str]) -> tuple[Camera, ...]:
    stamps = {}
    for name in frame.images:
        stamp = frame.image_stamps_ns.get(name, frame.stamp_ns) - frame.clock_offsets_ns.get(name, 0)
        fault = motion.fault(stamp, stamp)
        if fault is not None:
            faults[name] = fault
        elif stamp != frame.stamp_ns:
            stamps[name] = stamp
    if not stamps:
        return frame.rig.cameras
    moves = dict(zip(stamps, motion.base_from_base_at(np.array(list(stamps.values())))))
    return tuple(
        replace(camera, base_from_camera=moves[camera.name] @ camera.base_from_camera)
        if camera.name in moves
        else camera
        for camera in frame.rig.cameras
    )


def _lidar(
    frame: SurroundFrame, motion: _Motion, outline: VehicleOutline, faults: dict[str, str]
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the points and base_from_lidar to go with them: deskewed, else moved as one, else as they are."""
    points, times, mounted = frame.lidar, frame.lidar_times_s, frame.rig.base_from_lidar
    if points is None or len(points) == 0:
        return points, mounted
    stamp = frame.stamp_ns if frame.lidar_stamp_ns is None else frame.lidar_stamp_ns
    stamp -= frame.clock_offsets_ns.get(LIDAR, 0)
    choices = [np.zeros(1)]
    if times is not None:
        fault = _times_fault(times)
        if fault is None:
            choices.insert(0, _knots(times))
        else:
            faults[LIDAR] = fault
    for knots in choices:
        stamps = stamp + np.rint(knots * 1e9).astype(np.int64)
        fault = motion.fault(int(stamps[0]), int(stamps[-1]))
        if fault is not None:
            faults.setdefault(LIDAR, fault)
            continue
        if (stamps == frame.stamp_ns).all():
            break
        *moves, middle = motion.base_from_base_at(np.append(stamps, (stamps[0] + stamps[-1]) // 2))
        compensated = middle @ mounted
        xyz = np.ascontiguousarray(points[:, :3].T)
        with np.errstate(over="ignore", invalid="ignore"):  # points that are not finite stay so
            moved = xyz
            if times is not None:
                moved = _deskewed(xyz, times, np.linalg.inv(compensated) @ moves @ mounted, knots)
            moved = _without_what_stays(moved, xyz, mounted, compensated, outline)
        return np.column_stack([moved.T, points[:, 3]]), compensated
    return points, mounted


def _times_fault(times: np.ndarray) -> str | None:
    if not np.isfinite(times).all():
        return "times of points are not finite"
    if max(float(np.ptp(times)), float(np.abs(times).max())) > MAX_SWEEP_S:
        return f"times of points lie more than {MAX_SWEEP_S:g} s apart or from the sweep's stamp"
    return None


def _knots(times: np.ndarray) -> np.ndarray:
    """Return increasing times [s] from the first to the last point, at most 10 ms apart."""
    first, last = float(times.min()), float(times.max())
    return np.linspace(first, last, 1 + int(np.ceil((last - first) / _KNOT_S)))


def _deskewed(xyz: np.ndarray, times: np.ndarray, transforms: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Move (3, N) float32 points, each by the transform of its time.

    The entries of the (K, 4, 4) transforms at the (K,) knots become cubics in time, so that no point needs a matrix
    of its own. A turn of 3 rad/s makes them wrong by 3e-6 over 0.1 s: 0.3 mm at 100 m.
    """
    if len(knots) == 1:
        return _moved(xyz, transforms[0])
    middle, half = (knots[0] + knots[-1]) / 2, (knots[-1] - knots[0]) / 2
    rows = transforms[:, :3].reshape(-1, 12)
    cubic = np.polynomial.polynomial.polyfit((knots - middle) / half, rows, min(3, len(knots) - 1))
    place = (times - np.float32(middle)) / np.float32(half)
    out = np.zeros_like(xyz)
    for coefficients in cubic[::-1].reshape(-1, 3, 4):  # Horner
        out *= place
        out += _moved(xyz, coefficients)
    return out


def _without_what_stays(
    moved: np.ndarray, xyz: np.ndarray, mounted: np.ndarray, compensated: np.ndarray, outline: VehicleOutline
) -> np.ndarray:
    """Return the (3, N) moved points, but the vehicle's own where they were in base_link.

    The sensor's zeros stay zeros: a place without a return must not become a point.
    """
    own = outline.holds(_moved(xyz, mounted).T)
    zero = (xyz * xyz).sum(0) < _NO_RETURN_M**2
    stay = _moved(xyz, np.linalg.inv(compensated) @ mounted)
    return np.where(zero, xyz, np.where(own, stay, moved))


def _moved(xyz: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply the first three rows of a transform to (3, N) float32 points."""
    rows = matrix.astype(np.float32)
    moved: np.ndarray = rows[:3, :3] @ xyz + rows[:3, 3:]
    return moved

"""How far apart sensors of one set see the same thing, and the time it takes: `python bench/motion_compensation.py`.

A vehicle drives exactly at 15 m/s, straight or in a curve of 30 m radius. Odometry comes at 50 Hz, exact or disturbed
(standard deviations 1 cm and 0.1 degree), up to the end or only to the set's stamp, so that later motion is
extrapolated. Cameras of 512 x 288 px (f = 256 px) come 40 ms after the set's stamp, a sweep lasts 100 ms from there.

- camera: pixels between the projection of a point 10 m before the camera, 3 m to the right, and where it saw it;
- wall: metres by which points of a flat wall 20 m ahead leave it (standard deviation);
- speed: CPU time for a set of 65 536 points, and as multiples of the JPEG decode of its four images.

Errors depend on the seed only, times on the machine.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from fusion import cpu_ms
from scipy.spatial.transform import Rotation

from amodal_perception_ros.motion_compensation import compensate
from amodal_perception_ros.scene import Camera, Rig, SurroundFrame
from amodal_perception_ros.trajectory import Trajectory

SPEED, RADIUS, LATE_S, SWEEP_S, POINTS = 15.0, 30.0, 0.04, 0.1, 65_536
START_NS = 1_700_000_000_000_000_000
OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def place(seconds: np.ndarray, curve: bool) -> np.ndarray:
    """Return (n, 4, 4) odom_from_base at (n,) seconds after the set's stamp."""
    poses = np.tile(np.eye(4), (len(seconds), 1, 1))
    heading = SPEED / RADIUS * seconds * curve
    poses[:, :3, :3] = Rotation.from_rotvec(np.outer(heading, [0, 0, 1])).as_matrix()
    poses[:, 0, 3] = RADIUS * np.sin(heading) if curve else SPEED * seconds
    poses[:, 1, 3] = RADIUS * (1 - np.cos(heading))
    return poses


def odometry(curve: bool, last_s: float, noise: float, rng: np.random.Generator) -> Trajectory:
    """Return half a second of odometry before the set's stamp and up to `last_s` after it; noise 1 disturbs it."""
    seconds = np.arange(-0.5, last_s + 0.001, 0.02)
    poses = place(seconds, curve)
    poses[:, :3, 3] += noise * rng.normal(0, 0.01, (len(seconds), 3))
    turned = Rotation.from_rotvec(noise * rng.normal(0, np.deg2rad(0.1), (len(seconds), 3)))
    poses[:, :3, :3] = turned.as_matrix() @ poses[:, :3, :3]
    return Trajectory(START_NS + np.rint(seconds * 1e9).astype(np.int64), poses)


def rig() -> Rig:
    """Return four cameras 1.5 m and a LiDAR 1.9 m over base_link."""
    cameras = []
    for name, yaw in (("front", 0.0), ("right", -np.pi / 2), ("back", np.pi), ("left", np.pi / 2)):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec([0, 0, yaw]).as_matrix() @ OPTICAL
        pose[2, 3] = 1.5
        cameras.append(Camera(name, 512, 288, np.array([[256.0, 0, 256], [0, 256, 144], [0, 0, 1]]), pose))
    lidar = np.eye(4)
    lidar[2, 3] = 1.9
    return Rig(tuple(cameras), lidar)


def make_frame(curve: bool, trajectory: Trajectory | None, setup: Rig) -> tuple[SurroundFrame, np.ndarray]:
    """Return a set that looks at the wall x = 20 m while driving, and the (N, 3) true points in base_link."""
    side = round(POINTS**0.5)
    times = np.tile(np.linspace(0, SWEEP_S, side), side)
    wall = np.column_stack([np.full(POINTS, 20.0), np.tile(np.linspace(-15, 15, side), side),
                            np.repeat(np.linspace(0, 4, side), side), np.ones(POINTS)])  # fmt: skip
    lidar_from_base = np.linalg.inv(place(times, curve) @ setup.base_from_lidar)
    points = np.einsum("nij,nj->ni", lidar_from_base, wall)
    images = {camera.name: np.zeros((288, 512, 3), np.uint8) for camera in setup.cameras}
    stamps = dict.fromkeys(images, START_NS + round(LATE_S * 1e9))
    frame = SurroundFrame(START_NS, setup, images, stamps, points.astype(np.float32), START_NS, np.eye(4),
                          lidar_times_s=times.astype(np.float32), trajectory=trajectory)  # fmt: skip
    return frame, wall[:, :3]


def pixel_error(frame: SurroundFrame, name: str, curve: bool, setup: Rig) -> float:
    """Return how far the frame's camera projects a point from where it saw it [px]."""
    mounted, used = setup.camera(name), frame.rig.camera(name)
    point = mounted.base_from_camera @ [3, 0, 10, 1]
    true = place(np.array([LATE_S]), curve)[0] @ mounted.base_from_camera
    seen, projected = ((np.linalg.inv(pose) @ point)[:3] for pose in (true, used.base_from_camera))
    return 256.0 * float(np.hypot(*(projected[:2] / projected[2] - seen[:2] / seen[2])))


def wall_error(frame: SurroundFrame, wall: np.ndarray) -> float:
    """Return the standard deviation of the points' place along x [m]."""
    pose = frame.rig.base_from_lidar
    assert frame.lidar is not None
    x = frame.lidar[:, :3] @ pose[0, :3] + pose[0, 3] - wall[:, 0]
    return float(np.sqrt(np.mean(x**2)))


def print_speed(setup: Rig, rng: np.random.Generator) -> None:
    """Print the time of one set with and without times of the points."""
    noise = rng.integers(0, 255, (36, 64, 3), dtype=np.uint8)
    code = cv2.imencode(".jpg", cv2.resize(noise, (512, 288), interpolation=cv2.INTER_CUBIC))[1]
    peer = cpu_ms(lambda: [cv2.imdecode(code, cv2.IMREAD_COLOR) for _ in range(4)])
    frame, _ = make_frame(True, odometry(True, 0.5, 0.0, rng), setup)
    whole = cpu_ms(lambda: compensate(frame))
    frame.lidar_times_s = None
    cameras = cpu_ms(lambda: compensate(frame))
    print(f"speed: {whole:.1f} ms with {POINTS} points, {cameras:.1f} ms of it for the cameras; "
          f"{whole / peer:.2f} times the decoding of four images")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the odometry's noise (default 0)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng, setup = np.random.default_rng(args.seed), rig()
    cases = (
        ("not compensated", None, 0.0), ("exact odometry", 0.2, 0.0), ("exact, extrapolated", 0.0, 0.0),
        ("disturbed odometry", 0.2, 1.0), ("disturbed, extrapolated", 0.0, 1.0),
    )  # fmt: skip
    for curve in (False, True):
        print("curve:" if curve else "straight:")
        for title, last_s, noise in cases:
            scores = []
            for _ in range(25 if noise else 1):
                trajectory = None if last_s is None else odometry(curve, last_s, noise, rng)
                frame, wall = make_frame(curve, trajectory, setup)
                used = compensate(frame).frame
                scores.append(
                    [*(pixel_error(used, n, curve, setup) for n in ("front", "left")), wall_error(used, wall)]
                )
            front, left, flat = np.sqrt(np.mean(np.square(scores), axis=0))
            print(f"  {title:24s} front {front:5.2f} px, left {left:5.2f} px, wall {flat:.3f} m")
    print_speed(setup, rng)


if __name__ == "__main__":
    main()

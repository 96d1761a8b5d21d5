"""What fusion finds, and its time, on the simulator's true scenes: `python bench/fusion.py`.

Fed with true masks and depths, what is missing is fusion's own fault. Three measurements:

- accuracy: grid and boxes of each sequence against the simulator's true ones, fully hidden objects included;
- disturbed depth: objects with at least 24 visible pixels, the depth of each multiplied by exp(normal * deviation),
  with and without LiDAR: hidden cells of things found, and inferred cells that are right;
- speed: CPU time of one update, and as multiples of a JPEG decode of the set's four images in the same process.

Accuracies depend on the seeds only (on one OpenGL driver), times on the machine.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import cv2
import numpy as np

from amodal_perception_ros.fusion import BevConfig, BevMapper, lift_objects
from amodal_perception_ros.labels import BY_NAME, THINGS
from amodal_perception_ros.scene import Evidence, Sample
from amodal_perception_ros.simulation import SequenceConfig, simulate

THING_IDS = [label.id for label in THINGS]
CAR, PERSON = BY_NAME["car"].id, BY_NAME["person"].id
MIN_VISIBLE_PX = 24


def share(part: int, whole: int) -> float:
    """Return a part in percent, NaN of nothing."""
    return 100 * part / whole if whole else float("nan")


def grid_scores(samples: list[Sample]) -> list[tuple[float, float, float]]:
    """Return hidden cells found, inferred cells right and free cells wrong of each frame [%]."""
    mapper, scores = BevMapper(), []
    for sample in samples:
        grid, truth = mapper.update(sample.frame, sample.truth), sample.bev
        assert truth is not None
        full = truth.amodal >= 50
        hidden = full & (truth.visible < 50) & np.isin(truth.semantic, THING_IDS)
        inferred = grid.evidence == Evidence.AMODAL_INFERRED
        free = (grid.visible >= 0) & (grid.visible < 50)
        found = int((grid.amodal[hidden] >= 50).sum())
        scores.append(
            (
                share(found, int(hidden.sum())),
                share(int((inferred & full).sum()), int(inferred.sum())),
                share(int((free & full).sum()), int(free.sum())),
            )
        )
    return scores


def box_errors(samples: list[Sample]) -> str:
    """Return the median errors of boxes against the true ones."""
    centers: dict[int, list[float]] = {CAR: [], PERSON: []}
    turns = []
    for sample in samples:
        truth = {one.track_id: one for one in sample.objects}
        for found in lift_objects(sample.frame, sample.truth):
            true = truth[found.track_id]
            if found.class_id in centers:
                centers[found.class_id].append(float(np.linalg.norm(found.center[:2] - true.center[:2])))
            if found.class_id == CAR:
                turns.append(abs((found.yaw - true.yaw + np.pi / 2) % np.pi - np.pi / 2))
    car, person = (np.median(centers[label]) for label in (CAR, PERSON))
    return (
        f"centre of cars {car:.2f} m, of people {person:.2f} m, heading of cars {np.rad2deg(np.median(turns)):.1f} deg"
    )


def disturb(samples: list[Sample], deviation: float, lidar: bool) -> list[Sample]:
    """Return copies with wrong depths and without what a camera hardly sees."""
    rng, samples = np.random.default_rng(0), copy.deepcopy(samples)
    for sample in samples:
        if not lidar:
            sample.frame.lidar = None
        for scene in sample.truth.cameras.values():
            scene.instances = [each for each in scene.instances if each.visible_mask.area >= MIN_VISIBLE_PX]
            for each in scene.instances:
                each.depth = each.depth * np.float32(np.exp(rng.normal(0, deviation)))
                each.amodal_depth_stddev, each.track_id = deviation * each.amodal_depth, 0
    return samples


def cpu_ms(action: Callable[[], object], repeats: int = 15) -> float:
    """Return the median CPU time of an action [ms]."""
    action()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def print_speed(sample: Sample, mapper: BevMapper) -> None:
    """Print the time of an update with and without LiDAR."""
    codes = [cv2.imencode(".jpg", image)[1] for image in sample.frame.images.values()]
    peer = cpu_ms(lambda: [cv2.imdecode(code, cv2.IMREAD_COLOR) for code in codes])
    blind = copy.copy(sample.frame)
    blind.lidar = None
    count, points = sum(len(s.instances) for s in sample.truth.cameras.values()), len(sample.frame.lidar)
    print(f"speed: {count} instances, {points} points; decoding {len(codes)} images takes {peer:.1f} ms")
    for name, frame in (("with LiDAR", sample.frame), ("without", blind)):
        duration = cpu_ms(lambda frame=frame: mapper.update(frame, sample.truth))
        print(f"  update {name}: {duration:.1f} ms, {duration / peer:.1f} times the decoding")
    print(f"  of it lift_objects: {cpu_ms(lambda: lift_objects(sample.frame, sample.truth)):.1f} ms")


def main() -> None:
    """Simulate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 11], help="sequences (default 3 11)")
    parser.add_argument("--frames", type=int, default=4, help="frames of each (default 4)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    drives = [list(simulate(SequenceConfig(seed=seed, frames=args.frames, supersample=1))) for seed in args.seeds]
    for seed, samples in zip(args.seeds, drives):
        instances = np.mean([sum(len(s.instances) for s in each.truth.cameras.values()) for each in samples])
        print(f"sequence {seed}: {instances:.0f} instances per frame, {box_errors(samples)}")
        names = ("hidden cells found", "inferred cells right", "free cells wrong")
        for name, column in zip(names, zip(*grid_scores(samples))):
            print(f"  {name}: {min(column):.1f} to {max(column):.1f} %")
    for deviation in (0.0, 0.05, 0.15):
        for lidar in (True, False):
            frames = [score for samples in drives for score in grid_scores(disturb(samples, deviation, lidar))]
            found, right, _ = (np.mean(column) for column in zip(*frames))
            print(f"depth off by {deviation:.0%}, LiDAR {lidar}: found {found:.0f} %, right {right:.0f} %")
    print_speed(drives[0][-1], BevMapper(BevConfig()))


if __name__ == "__main__":
    main()

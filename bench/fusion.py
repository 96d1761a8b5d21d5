"""What fusion finds, and its time, on the simulator's true scenes: `python bench/fusion.py`.

Fed with true masks and depths, what is missing is fusion's own fault. Three measurements:

- accuracy: grid and boxes of each sequence against the simulator's true ones, fully hidden objects included;
- disturbed depth: objects with at least 24 visible pixels, the depth of each multiplied by exp(normal * deviation),
  with and without LiDAR: hidden cells of things found, and inferred cells that are right;
- honesty: normalised estimation error squared (NEES, Bar-Shalom et al., "Estimation with applications to tracking and
  navigation", 2001, section 5.4) of the boxes' places in the plane: 2 on average, and below 5.99 for 95 %, where the
  covariances are right; the same of sizes and headings, in standard deviations;
- borders: whether two cameras' views of one object become one, without track ids;
- speed: CPU time of one update, and as multiples of a JPEG decode of the set's four images in the same process; its
  growth with the numbers of objects and cells, as a table and, with `--plot FILE`, as a picture.

Accuracies depend on the seeds only (on one OpenGL driver), times on the machine.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from amodal_perception_ros.datasets.amodal_synth_drive import read_sequences
from amodal_perception_ros.fusion import BevConfig, BevMapper, lift_objects
from amodal_perception_ros.fusion.evidence import ObjectEvidence, gather_evidence
from amodal_perception_ros.fusion.geometry import lidar_in_base, see_cloud
from amodal_perception_ros.fusion.objects import merge
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


def disturb(samples: list[Sample], deviation: float, lidar: bool, tracked: bool = False) -> list[Sample]:
    """Return copies with wrong depths, without what a camera hardly sees, and without track ids unless asked for."""
    rng, samples = np.random.default_rng(0), copy.deepcopy(samples)
    for sample in samples:
        if not lidar:
            sample.frame.lidar = None
        for scene in sample.truth.cameras.values():
            scene.instances = [each for each in scene.instances if each.visible_mask.area >= MIN_VISIBLE_PX]
            for each in scene.instances:
                each.depth = each.depth * np.float32(np.exp(rng.normal(0, deviation)))
                each.amodal_depth_stddev = deviation * each.amodal_depth
                each.track_id = each.track_id if tracked else 0
    return samples


def print_honesty(drives: list[list[Sample]]) -> None:
    """Print how far the boxes' errors are what their covariances say."""
    for deviation, lidar in ((0.05, True), (0.05, False), (0.15, False)):
        rows = []
        for sample in (each for samples in drives for each in disturb(samples, deviation, lidar, tracked=True)):
            truth = {one.track_id: one for one in sample.objects}
            for found in lift_objects(sample.frame, sample.truth):
                true = truth[found.track_id]
                error = (found.center - true.center)[:2]
                turn = (found.yaw - true.yaw + np.pi / 2) % np.pi - np.pi / 2
                variance = found.covariance[5, 5]
                heading = turn / np.sqrt(variance) if variance > 0 else np.nan
                nees = error @ np.linalg.solve(found.covariance[:2, :2], error)
                rows.append([nees, *(found.size - true.size) / found.size_stddev, heading])
        nees, *others = np.array(rows).T
        within = [100 * np.mean(np.abs(each[np.isfinite(each)]) < 1.96) for each in others]
        print(
            f"depth off by {deviation:.0%}, LiDAR {lidar}, {len(nees)} boxes: NEES mean {nees.mean():.2f}, "
            f"median {np.median(nees):.2f}, {100 * np.mean(nees < 5.99):.0f} % below 5.99; within 1.96 deviations: "
            f"length {within[0]:.0f} %, width {within[1]:.0f} %, height {within[2]:.0f} %, heading {within[3]:.0f} %"
        )


@dataclass(eq=False)
class NamedEvidence(ObjectEvidence):
    """Evidence that knows which true objects it is of; merging does not look at it."""

    names: tuple[int, ...] = ()

    def join(self, other: ObjectEvidence) -> ObjectEvidence:
        """Return both views' evidence and names."""
        assert isinstance(other, NamedEvidence)
        return NamedEvidence(**vars(super().join(other)), names=self.names + other.names)


def print_borders(drives: list[list[Sample]]) -> None:
    """Print how many of the views that are a second or third one of their object were joined to it."""
    for deviation, lidar in ((0.05, True), (0.05, False), (0.15, False)):
        frames = further = duplicates = wrong = 0
        for sample in (each for samples in drives for each in disturb(samples, deviation, lidar, tracked=True)):
            points = lidar_in_base(sample.frame)
            clouds, views = see_cloud(points, sample.truth), []
            for name, scene in sample.truth.cameras.items():
                evidence = gather_evidence(scene, clouds.get(name), points)
                named = [NamedEvidence(**vars(each), names=(each.track_id,)) for each in evidence]
                views.append([replace(each, track_id=0) for each in named])
            placed = [set(one.evidence.names) for one in merge(views)]
            seen = Counter(each.names[0] for view in views for each in view)
            frames, further = frames + 1, further + sum(count - 1 for count in seen.values())
            duplicates += sum(map(len, placed)) - len(seen)
            wrong += sum(len(names) > 1 for names in placed)
        joined = share(further - duplicates, further)
        print(
            f"depth off by {deviation:.0%}, LiDAR {lidar}: of {further} further views {joined:.0f} % joined; per frame "
            f"{duplicates / frames:.2f} duplicates, {wrong / frames:.2f} objects of several true ones"
        )


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


def cost_of(sample: Sample, config: BevConfig, instances: int) -> float:
    """Return the CPU time of an update [ms] with the instances of the most visible pixels."""
    ranked = [each for scene in sample.truth.cameras.values() for each in scene.instances]
    ranked.sort(key=lambda each: -each.visible_mask.area)
    chosen = {id(each) for each in ranked[:instances]}
    cameras = {
        name: replace(scene, instances=[each for each in scene.instances if id(each) in chosen])
        for name, scene in sample.truth.cameras.items()
    }
    mapper, scene = BevMapper(config), replace(sample.truth, cameras=cameras)
    return cpu_ms(lambda: mapper.update(sample.frame, scene))


def print_costs(sample: Sample, picture: Path | None) -> None:
    """Print, and draw if asked for, the cost of an update over the numbers of objects and cells."""
    total = sum(len(scene.instances) for scene in sample.truth.cameras.values())
    counts, extents = sorted({1, 20, 40, 80, total}), (40.0, 80.0, 160.0)
    costs = {extent: [cost_of(sample, BevConfig(extent_m=extent), count) for count in counts] for extent in extents}
    print("CPU time of an update [ms] with so many instances: " + " ".join(f"{count:6}" for count in counts))
    for extent, row in costs.items():
        size = BevConfig(extent_m=extent).size
        print(f"  {size:4} x {size:4} cells {'':27}" + " ".join(f"{cost:6.1f}" for cost in row))
    if picture is not None:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 4))
        for extent, row in costs.items():
            size = BevConfig(extent_m=extent).size
            axes.plot(counts, row, marker="o", label=f"{size} x {size} cells")
        axes.set(xlabel="instances", ylabel="CPU time of an update [ms]", ylim=(0, None))
        axes.legend()
        figure.savefig(picture, dpi=120, bbox_inches="tight")


def main() -> None:
    """Simulate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 11], help="sequences (default 3 11)")
    parser.add_argument("--frames", type=int, default=4, help="frames of each (default 4)")
    parser.add_argument("--plot", type=Path, help="picture of the cost over objects and cells")
    parser.add_argument("--data", type=Path, help="only honesty and borders, on the sequences of a data set")
    args = parser.parse_args()
    if args.data:
        stored = [list(sequence) for sequence in read_sequences(args.data, parts=("truth", "lidar", "boxes"))]
        print_honesty(stored)
        print_borders(stored)
        return
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
    print_honesty(drives)
    print_borders(drives)
    print_speed(drives[0][-1], BevMapper(BevConfig()))
    print_costs(drives[0][-1], args.plot)


if __name__ == "__main__":
    main()

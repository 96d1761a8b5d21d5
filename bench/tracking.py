"""What becomes of objects that nobody sees any more: `python bench/tracking.py`.

Fusion gets the simulator's true masks and depths, without what a camera hardly sees (fewer than 24 visible pixels of
512 x 288, or the same share of another size) and without track ids; the depth of each object is multiplied by
exp(normal * deviation), drawn anew in each frame. Compared are

- tracks: what `BevMapper.objects` holds;
- drop when unseen: the same tracks as far as they are detected in the frame; a lost one is forgotten;
- keep for N seconds: the same filter without negative evidence: a lost track moves on as predicted for N seconds.

All rows are over the same detections. The figures are those of `evaluation/metrics/tracking.py` (BoxTracking):
recall of fully hidden objects that were seen at most 1, 2, 4 s ago, changes of identity (in all, and across an
occlusion), distinct ghosts per minute, false boxes per frame. They depend on the sequences only. CPU times are those of
one call in this process.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from amodal_perception_ros.datasets.amodal_synth_drive import read_sequences
from amodal_perception_ros.evaluation.metrics.tracking import BoxTracking
from amodal_perception_ros.evaluation.pairs import FramePair
from amodal_perception_ros.fusion.geometry import lidar_in_base, require_pose, see_cloud
from amodal_perception_ros.fusion.objects import PlacedObject, place
from amodal_perception_ros.fusion.tracks import TrackConfig, Tracker
from amodal_perception_ros.fusion.visibility import Boxes, SensorViews, Sightings
from amodal_perception_ros.scene import Sample
from amodal_perception_ros.simulation import SequenceConfig, simulate

FOREVER = 1e9
MIN_VISIBLE = 24 / (512 * 288)
COLUMNS = {
    "hidden_recall_1s": "1 s",
    "hidden_recall_2s": "2 s",
    "hidden_recall_4s": "4 s",
    "visible_recall": "seen",
    "id_switches": "switches",
    "id_switches_occlusion": "occluded",
    "ghosts_per_minute": "ghosts/min",
    "false_per_frame": "false",
    "MOTP": "MOTP",
}


class Blind(SensorViews):
    """Sensors that say nothing of any place."""

    def __init__(self) -> None: ...

    def look_at(self, boxes: Boxes) -> Sightings:
        """Return that all boxes are outside the view."""
        nothing = np.zeros(len(boxes.centers))
        return Sightings(nothing, nothing, nothing, nothing + 1.0)


@dataclass(eq=False)
class Method:
    """A way to treat what is lost, and its figures.

    Attributes:
        keep_s: a lost object is kept so long [s]; None leaves it to the tracks' own model.
        metric: what is measured.
        cpu_s: CPU time of each update of the tracks.
    """

    keep_s: float | None = None
    metric: BoxTracking = field(default_factory=BoxTracking)
    cpu_s: list[float] = field(default_factory=list)

    def follow(self, sequence: str, drive: list[tuple[Sample, list[PlacedObject], np.ndarray | None]]) -> None:
        """Track the objects of one sequence and score them."""
        tracker, last_ns = Tracker() if self.keep_s is None else Tracker(TrackConfig(memory_s=FOREVER)), None
        seen_ns: dict[int, int] = {}
        for sample, placed, points in drive:
            frame, pose = sample.frame, require_pose(sample.frame.odom_from_base, sample.frame.stamp_ns)
            seconds = 0.0 if last_ns is None else (frame.stamp_ns - last_ns) * 1e-9
            last_ns = frame.stamp_ns
            start = time.process_time()
            views = SensorViews(frame, sample.truth, points, pose) if self.keep_s is None else Blind()
            tracker.update(placed, pose, frame.stamp_ns, seconds, views)
            self.cpu_s.append(time.process_time() - start)
            if self.keep_s is not None:
                seen_ns |= {track.track_id: frame.stamp_ns for track in tracker.tracks if track.detection}
                oldest_ns = frame.stamp_ns - self.keep_s * 1e9
                tracker.tracks = [track for track in tracker.tracks if seen_ns[track.track_id] >= oldest_ns]
            self.metric.add(
                FramePair(
                    where=f"{sequence} frame {sample.index}",
                    sequence=sequence,
                    index=sample.index,
                    stamp_ns=frame.stamp_ns,
                    cameras={},
                    true_objects=sample.objects,
                    objects=[track.to_object() for track in tracker.tracks],
                    ego=pose[:2, 3],
                )
            )


def disturbed(samples: Iterable[Sample], deviation: float, lidar: bool) -> Iterator[Sample]:
    """Yield copies with wrong depths, without track ids and without what a camera hardly sees."""
    rng = np.random.default_rng(0)
    for sample in copy.deepcopy(list(samples)):
        if not lidar:
            sample.frame.lidar = None
        for scene in sample.truth.cameras.values():
            least = MIN_VISIBLE * scene.labels.size
            scene.instances = [each for each in scene.instances if each.visible_mask.area >= least]
            scene.depth = scene.depth.copy()
            for each in scene.instances:
                factor = np.float32(np.exp(rng.normal(0, deviation)))
                scene.depth[scene.labels == each.instance_id] *= factor
                each.depth = each.depth * factor
                each.amodal_depth_stddev, each.track_id = deviation * each.amodal_depth, 0
        yield sample


def detect(sample: Sample) -> tuple[Sample, list[PlacedObject], np.ndarray | None]:
    """Lift the objects of one frame."""
    points = lidar_in_base(sample.frame)
    return sample, place(sample.truth, points, see_cloud(points, sample.truth)), points


def table(methods: dict[str, Method]) -> str:
    """Return the figures, one row per method."""
    lines = [f"  {'':18s}" + "".join(f"{name:>11s}" for name in COLUMNS.values()) + f"{'CPU ms':>11s}"]
    for name, method in methods.items():
        results = method.metric.results()
        cells = "".join(f"{results.get(key, float('nan')):11.2f}" for key in COLUMNS)
        lines.append(f"  {name:18s}{cells}{1e3 * float(np.median(method.cpu_s)):11.1f}")
    return "\n".join(lines)


def main() -> None:
    """Make or read sequences, track, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="data set with annotated sequences at 10 Hz instead of simulated ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[501, 502, 503], help="sequences (default 501 502 503)")
    parser.add_argument("--frames", type=int, default=40, help="frames of each (default 40)")
    parser.add_argument("--depth", type=float, nargs="+", default=[0.0, 0.1], help="deviations (default 0 0.1)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.data:
        drives = {one.name: list(one) for one in read_sequences(args.data)}
    else:
        shape = {"frames": args.frames, "width": 256, "height": 144, "supersample": 1, "bev": False}
        drives = {f"seed {seed}": list(simulate(SequenceConfig(seed=seed, **shape))) for seed in args.seeds}
    for deviation in args.depth:
        for lidar in (True, False):
            methods = {"tracks": Method(), "drop when unseen": Method(0.0)}
            methods |= {f"keep for {seconds:.0f} s": Method(seconds) for seconds in (1.0, 2.0, 4.0)}
            for name, samples in drives.items():
                drive = [detect(sample) for sample in disturbed(samples, deviation, lidar)]
                for method in methods.values():
                    method.follow(name, drive)
            hidden = methods["tracks"].metric.results().get("hidden_objects", 0)
            print(f"depth off by {deviation:.0%}, LiDAR {lidar}: recall [%] of {hidden} hidden objects seen at most")
            print(table(methods))


if __name__ == "__main__":
    main()

"""Time of the metrics for one image: `python bench/evaluation_speed.py [--size 1920x1080] [--objects 40]`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from amodal_perception_ros.evaluation import BASELINES, Evaluator, Rules
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.pairs import pair_scenes
from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import Camera, CameraScene, Instance


def random_scene(width: int, height: int, objects: int, seed: int, jitter: float) -> CameraScene:
    """Return overlapping ellipses on stripes of road, building and sky; the same seed with a jitter moves them."""
    rng, shift = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    labels = np.repeat(np.array([23000, 11000, 7000], np.uint16), -(-height // 3))[:height, None].repeat(width, 1)
    depth = np.full((height, width), 60.0, np.float32)
    free = np.ones((height, width), bool)
    instances = []
    for number in range(1, objects + 1):
        size = rng.uniform(0.03, 0.2, 2) * (width, height * 1.5) * (1 + jitter * shift.normal(size=2))
        center = rng.uniform(0, 1, 2) * (width, height) + jitter * size * shift.normal(size=2)
        distance, label = 4.0 + number, THINGS[rng.integers(len(THINGS))]
        x, y = np.ogrid[:width, :height]
        amodal = (((x - center[0]) / size[0]) ** 2 + ((y - center[1]) / size[1]) ** 2 < 0.25).T
        visible = amodal & free
        free &= ~amodal
        segment = label.id * 1000 + number
        labels[visible], depth[visible] = segment, distance
        if visible.any():
            mask = RoiMask.from_array(amodal)
            own = np.where(mask.roi(), np.float32(distance), np.float32(np.nan))
            seen = RoiMask.from_array(visible)
            instances.append(Instance(segment, label.id, 0.9, seen, mask, 0, distance, distance, 0.0, own))
    intrinsics = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]], float)
    return CameraScene(Camera("front", width, height, intrinsics, np.eye(4)), 0, labels, depth, instances)


def median_ms(action: Callable[[], object], repeats: int = 9) -> float:
    """Return the median duration of an action [ms]."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    """Print the time of every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--objects", type=int, default=40)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    truth = random_scene(width, height, args.objects, 1, 0.0)
    predicted = random_scene(width, height, args.objects, 1, 0.05)
    evaluator = Evaluator()
    true_side, predicted_side = decode(truth), decode(predicted)
    pair = pair_scenes(true_side, predicted_side, Rules())
    steps: dict[str, Callable[[], object]] = {
        "decode one scene": lambda: decode(truth),
        "overlap and matching": lambda: pair_scenes(true_side, predicted_side, Rules()),
        "APQ strict": lambda: evaluator.strict.add(pair),
        "APQ reference": lambda: evaluator.reference.add(pair),
        "mask overlap": lambda: evaluator.masks.add(pair),
        "average precision": lambda: evaluator.instance.add(pair),
        "order": lambda: evaluator.order.add(pair),
        "depth": lambda: evaluator.depth.add(pair),
        "invariants": lambda: evaluator.invariants.add(predicted_side),
        "all metrics, with decoding": lambda: evaluator.add(truth, predicted),
    }
    steps.update({name: lambda make=make: make(predicted) for name, make in BASELINES.items()})
    print(f"{width} x {height}, {len(truth.instances)} true and {len(predicted.instances)} predicted objects")
    for name, step in steps.items():
        print(f"{name:28s} {median_ms(step):8.2f} ms")


if __name__ == "__main__":
    main()

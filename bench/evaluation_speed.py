"""Speed of the metrics beside pycocotools: `python bench/evaluation_speed.py [--size 1920x1080] [--objects 40]`.

Prints, as CPU time of one process: IoUs of masks and average precision of a set, each beside pycocotools and from the
same masks; every step of one image; and, with `--frames N`, the wall time and peak memory of the evaluation of a whole
data set of N and 10 N frames with one and two processes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from amodal_perception_ros.datasets.coco.masks import decode_mask
from amodal_perception_ros.datasets.sequence_writer import SequenceWriter
from amodal_perception_ros.evaluation import BASELINES, Evaluator, Rules
from amodal_perception_ros.evaluation.decoding import decode
from amodal_perception_ros.evaluation.metrics.instance import average_precision
from amodal_perception_ros.evaluation.metrics.panoptic import ReferenceQuality, StrictQuality
from amodal_perception_ros.evaluation.pairs import pair_scenes
from amodal_perception_ros.evaluation.run import evaluate
from amodal_perception_ros.evaluation.sources import DataSet, StoredPredictions
from amodal_perception_ros.labels import THINGS
from amodal_perception_ros.masks import RoiMask, pairwise_iou
from amodal_perception_ros.scene import Camera, CameraScene, Instance, Rig, Sample, SurroundFrame, SurroundScene

Pair = tuple[CameraScene, CameraScene]
Step = Callable[[], object]


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
            seen, score = RoiMask.from_array(visible), float(shift.uniform(0.3, 1.0))
            instances.append(Instance(segment, label.id, score, seen, mask, 0, distance, distance, 0.0, own))
    intrinsics = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]], float)
    return CameraScene(Camera("front", width, height, intrinsics, np.eye(4)), 0, labels, depth, instances)


def scene_pair(width: int, height: int, objects: int, seed: int) -> Pair:
    """Return a truth and a prediction that is a little off."""
    return random_scene(width, height, objects, seed, 0.0), random_scene(width, height, objects, seed, 0.05)


def median_ms(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Return the median CPU time of each step [ms]; the steps take turns, so that all meet the same conditions."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if turn:
                times[name].append(time.process_time() - start)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def compare(title: str, theirs: Step, ours: Step, repeats: int) -> None:
    """Print the time of pycocotools, ours and their ratio."""
    times = median_ms({"theirs": theirs, "ours": ours}, repeats)
    ratio = times["theirs"] / times["ours"]
    print(f"{title:44s} {times['theirs']:9.2f} {times['ours']:9.2f} {ratio:8.2f}")


# Masks and average precision beside pycocotools ----------------------------------------------------------------------


def compressed(mask: RoiMask, scene: CameraScene) -> dict[str, Any]:
    """Return a mask as pycocotools keeps it: a run-length string of the whole image."""
    return coco.encode(np.asfortranarray(mask.to_array(*scene.labels.shape).astype(np.uint8)))


def compare_masks(width: int, height: int) -> None:
    """IoUs of all pairs of masks, from what each program keeps in memory and from strings as files hold them."""
    for objects in (40, 100):
        truth, predicted = scene_pair(width, height, objects, 1)
        for kind in ("amodal", "visible"):
            sides = [[getattr(i, f"{kind}_mask") for i in scene.instances] for scene in (truth, predicted)]
            coded = [[compressed(mask, truth) for mask in side] for side in sides]
            crowd = [0] * len(coded[1])
            assert (pairwise_iou(*sides) == coco.iou(*coded, crowd)).all()
            name = f"IoU of {len(coded[0])} x {len(coded[1])} {kind} masks"
            compare(name, lambda c=coded, n=crowd: coco.iou(*c, n), lambda s=sides: pairwise_iou(*s), 41)
        texts = [[{**rle, "counts": rle["counts"].decode()} for rle in side] for side in coded]

        def from_text(texts: list[list[dict[str, Any]]] = texts) -> np.ndarray:
            return pairwise_iou(*([decode_mask(rle, height, width) for rle in side] for side in texts))

        compare("  the same read from strings", lambda c=coded, n=crowd: coco.iou(*c, n), from_text, 5)


def coco_set(pairs: list[Pair], kind: str) -> tuple[COCO, COCO]:
    """Return truth and predictions of a set as pycocotools holds them after loading."""
    sides: list[list[dict[str, Any]]] = [[], []]
    for image, pair in enumerate(pairs):
        for scene, rows in zip(pair, sides):
            for instance in scene.instances:
                mask = getattr(instance, kind)
                row = {"image_id": image, "category_id": instance.class_id, "iscrowd": 0, "score": instance.score}
                row |= {"segmentation": compressed(mask, scene), "area": mask.area, "bbox": [0, 0, 1, 1]}
                rows.append({**row, "id": len(rows) + 1})
    held = []
    for rows in sides:
        side = COCO()
        side.dataset = {
            "images": [{"id": image, "height": 1, "width": 1} for image in range(len(pairs))],
            "categories": [{"id": label.id} for label in THINGS],
            "annotations": rows,
        }
        side.createIndex()
        held.append(side)
    return held[0], held[1]


def coco_average_precision(sides: tuple[COCO, COCO]) -> float:
    """Return pycocotools' AP in per cent, of one range of areas."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(*sides, "segm")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e9]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return 100.0 * float(precision[precision > -1].mean())


def compare_average_precision(width: int, height: int, objects: int, images: int) -> None:
    """AP_A and AP_V of a set: two passes of pycocotools, one of ours, which gives the other APs too."""
    different = [scene_pair(width, height, objects, seed) for seed in range(1, 6)]
    pairs = [different[k % len(different)] for k in range(images)]
    with contextlib.redirect_stdout(io.StringIO()):
        sets = [coco_set(pairs, kind) for kind in ("amodal_mask", "visible_mask")]
    theirs, ours = [coco_average_precision(one) for one in sets], average_precision(pairs)
    assert np.allclose(theirs, (ours["AP_A"], ours["AP_V"]), atol=1e-6), (theirs, ours)
    title = f"AP_A and AP_V of {images} images x {objects} objects"
    compare(title, lambda: [coco_average_precision(one) for one in sets], lambda: average_precision(pairs), 3)


# One image and a whole set -------------------------------------------------------------------------------------------


def measure_steps(width: int, height: int, objects: int) -> None:
    """Print the time of every step of one image."""
    truth, predicted = scene_pair(width, height, objects, 1)
    evaluator, strict, reference = Evaluator(), StrictQuality(), ReferenceQuality()
    true_side, predicted_side = decode(truth), decode(predicted)
    pair = pair_scenes(true_side, predicted_side, Rules())

    def panoptic() -> None:
        fresh = pair_scenes(decode(truth), decode(predicted), Rules())
        strict.add(fresh)
        reference.add(fresh)

    steps: dict[str, Step] = {
        "decode one scene": lambda: decode(truth),
        "overlap and matching": lambda: pair_scenes(true_side, predicted_side, Rules()),
        "APQ strict and reference, from run lengths": panoptic,
    }
    steps |= {path: lambda metric=metric: metric.add(pair) for path, metric in evaluator.images}
    steps["invariants"] = lambda: evaluator.invariants.add(predicted_side)
    steps["all metrics, from run lengths"] = lambda: evaluator.add(truth, predicted)
    steps |= {name: lambda make=make: make(predicted) for name, make in BASELINES.items()}
    print(f"\n{width} x {height}, {len(truth.instances)} true and {len(predicted.instances)} predicted objects")
    for name, milliseconds in median_ms(steps, 9).items():
        print(f"{name:44s} {milliseconds:9.2f} ms")


def write_set(root: Path, frames: int, width: int, height: int) -> None:
    """Write truth and predictions of sequences of ten frames, in the data set format."""
    different = [scene_pair(width, height, 20, seed) for seed in range(4)]
    for first in range(0, frames, 10):
        for side, folder in enumerate(("truth", "predicted")):
            with SequenceWriter(root / folder, derived=False) as writer:
                for index in range(min(10, frames - first)):
                    scene, stamp = different[(first + index) % len(different)][side], index + 1
                    frame = SurroundFrame(stamp, Rig((scene.camera,)), {}, odom_from_base=np.eye(4))
                    answer = SurroundScene(stamp, {"front": scene}, "ground truth")
                    writer.write(Sample(f"part{first // 10:04d}", index, frame, answer))


def evaluate_set(root: Path, workers: int) -> tuple[float, float, float]:
    """Return wall time [s] and the peak memory of the main process and of the largest worker [MB]."""
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        evaluate(DataSet((root / "truth",)), {"ours": StoredPredictions(root / "predicted")}, workers=workers)
    seconds = time.perf_counter() - start
    # Not of getrusage, whose figure starts from the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    own = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return seconds, own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def measure_sets(frames: int, width: int, height: int) -> None:
    """Print the cost of whole sets, each evaluated in a process of its own."""
    print(f"\nwhole set, {width} x {height}, 20 objects, prediction and three baselines ({os.cpu_count()} cores)")
    for count in (frames, 10 * frames):
        with tempfile.TemporaryDirectory() as folder:
            write_set(Path(folder), count, width, height)
            for workers in (1, 2):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    seconds, main_mb, worker_mb = process.submit(evaluate_set, Path(folder), workers).result()
                each = f", the largest worker {worker_mb:.0f} MB" if workers > 1 else ""
                print(f"{count:5d} frames, {workers} at once: {seconds:7.1f} s, {main_mb:.0f} MB{each}")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--images", type=int, default=100, help="of the set whose AP is measured")
    parser.add_argument("--frames", type=int, default=0, help="of the whole set that is evaluated; 0 for none")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    print(f"{'[ms of CPU]':44s} {'pycocotools':>9s} {'ours':>7s} {'ratio':>8s}")
    compare_masks(width, height)
    compare_average_precision(width, height, args.objects, args.images)
    measure_steps(width, height, args.objects)
    if args.frames:
        measure_sets(args.frames, 512, 288)


if __name__ == "__main__":
    main()

"""What simulated data cost in CPU time, stage by stage, all labels written: `python bench/simulator_speed.py`.

Seconds are CPU seconds of the whole process, so that OpenGL's own threads are in. The first table is the default size
over all weathers; the last column of the second divides by its first row. Times on N cores are arithmetic from one
process (one process per core shares nothing but the disk).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceWriter
from amodal_perception_ros.simulation import SequenceConfig, sequence
from amodal_perception_ros.simulation.config import WEATHERS

SIZES = ((512, 288, 1), (512, 288, 2), (960, 540, 1), (960, 540, 2), (1920, 1080, 1))
MANY = 20_000


def timed(seconds: Counter[str], stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, adding its CPU time to a stage."""

    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.process_time() - start

    return run


def simulate_and_write(config: SequenceConfig) -> Counter[str]:
    """Return the CPU seconds of every stage of a sequence; "build" is once, the others are sums over its frames."""
    seconds: Counter[str] = Counter()
    original = sequence.camera_truth
    runner = timed(seconds, "build", sequence.SequenceRunner)(config)
    renderer = runner.renderer
    renderer.picture = timed(seconds, "pictures", renderer.picture)
    renderer.flow = timed(seconds, "flow", renderer.flow)
    runner.sweep = timed(seconds, "LiDAR", runner.sweep)
    runner.bev.grid = timed(seconds, "BEV", runner.bev.grid)
    runner.bev.picture = timed(seconds, "BEV", runner.bev.picture)
    sequence.camera_truth = timed(seconds, "ids, depth, masks", original)
    try:
        with tempfile.TemporaryDirectory() as folder, SequenceWriter(folder) as writer:
            for index in range(config.frames):
                sample = timed(seconds, "frame", runner.sample)(index)
                timed(seconds, "writing", writer.write)(sample)
    finally:
        sequence.camera_truth = original
        runner.release()
    parts = sum(seconds[stage] for stage in ("pictures", "flow", "LiDAR", "BEV", "ids, depth, masks"))
    seconds["rest"] = seconds["frame"] - parts
    seconds["frame"] += seconds["writing"]
    return seconds


def print_stages(seed: int, frames: int) -> float:
    """Print the stages at the default size over all weathers; return the mean CPU seconds of a frame."""
    total: Counter[str] = Counter()
    for number, weather in enumerate(WEATHERS):
        seconds = simulate_and_write(SequenceConfig(seed + number, frames=frames, weather=weather))
        print(f"  {weather:9s} {seconds['frame'] / frames:.2f} s/frame, {seconds['build']:.1f} s to build", flush=True)
        total.update(seconds)
    count = frames * len(WEATHERS)
    for stage in ("pictures", "ids, depth, masks", "flow", "LiDAR", "BEV", "rest", "writing"):
        print(f"  {stage:18s} {total[stage] / count:6.3f} s {100 * total[stage] / total['frame']:5.1f} %")
    frame, build = total["frame"] / count, total["build"] / len(WEATHERS)
    print(f"  {'all':18s} {frame:6.3f} s: {1 / frame:.2f} frames of four cameras per second and core")
    for length in (4, 100):
        each = frame + build / length
        hours = " ".join(f"{MANY * each / cores / 3600:5.1f} h on {cores} cores," for cores in (2, 16))
        print(f"  {MANY} frames in sequences of {length}: {hours} with {build:.1f} s to build a sequence")
    return frame


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="first sequence (default 1)")
    parser.add_argument("--frames", type=int, default=5, help="frames of each case (default 5)")
    args = parser.parse_args()
    print("4 cameras of 512 x 288, supersample 2, all labels, written:", flush=True)
    print_stages(args.seed, args.frames)
    base = None
    for width, height, supersample in SIZES:
        config = SequenceConfig(args.seed, frames=args.frames, width=width, height=height, supersample=supersample,
                                weather="day")  # fmt: skip
        each = simulate_and_write(config)["frame"] / args.frames
        base = base or each
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{width} x {height}, supersample {supersample}, day: {each:.2f} s/frame, {each / base:.1f} of the first; "
            f"peak so far {memory:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()

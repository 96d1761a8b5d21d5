"""CPU seconds per simulated frame (four cameras, LiDAR, all truth): `python bench/simulator_speed.py`.

Seconds count the whole process, so that OpenGL's own threads are in. The last column divides by the first row.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from amodal_perception_ros.simulation import SequenceConfig, simulate

CASES = (
    (512, 288, 1, "day"),
    (512, 288, 2, "day"),
    (512, 288, 2, "night"),
    (960, 540, 1, "day"),
    (1920, 1080, 1, "day"),
)


def seconds(config: SequenceConfig) -> tuple[float, float]:
    """Return the CPU seconds of the first frame, town included, and the median of the others."""
    times, frames = [], simulate(config)
    for _ in range(config.frames):
        start = time.process_time()
        next(frames)
        times.append(time.process_time() - start)
    return times[0], float(np.median(times[1:]))


def main() -> None:
    """Measure every case and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="sequence (default 1)")
    parser.add_argument("--frames", type=int, default=6, help="frames of each case (default 6)")
    args = parser.parse_args()
    base = None
    for width, height, supersample, weather in CASES:
        config = SequenceConfig(
            seed=args.seed,
            frames=args.frames,
            width=width,
            height=height,
            supersample=supersample,
            weather=weather,
        )
        first, each = seconds(config)
        base = base or each
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{width} x {height}, supersample {supersample}, {weather:5s}: {each:.2f} s/frame, "
            f"{each / base:.2f} of the first case; {first - each:.1f} s to build the sequence; "
            f"peak so far {memory:.0f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Size and time of the sequence format for simulated frames: `python bench/data_speed.py`.

The peer is `numpy.savez_compressed` of the same pictures, depths, labels and points (without the amodal truth), in
the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from amodal_perception_ros.datasets.amodal_synth_drive import PARTS, SequenceWriter, read_sequence
from amodal_perception_ros.scene import Sample
from amodal_perception_ros.simulation import SequenceConfig, simulate


def save_plainly(sample: Sample, path: Path) -> None:
    """Write the peer's file."""
    arrays = {f"{name}_image": image for name, image in sample.frame.images.items()}
    for name, scene in sample.truth.cameras.items():
        arrays |= {f"{name}_labels": scene.labels, f"{name}_depth": scene.depth}
    np.savez_compressed(path, lidar=sample.frame.lidar, **arrays)


READS = {"all": PARTS, "what training needs": ("images", "truth", "lidar")}


def reading_time(root: Path, parts: Sequence[str]) -> float:
    """Return the CPU seconds of reading some parts of every frame."""
    reader = read_sequence(root, parts=parts)
    start = time.process_time()
    for index in range(len(reader)):
        reader[index]
    return time.process_time() - start


def main() -> None:
    """Simulate, write, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=3, help="sequence (default 3)")
    parser.add_argument("--frames", type=int, default=6, help="frames (default 6)")
    args = parser.parse_args()
    samples = list(simulate(SequenceConfig(seed=args.seed, frames=args.frames, supersample=1)))
    instances = np.mean([sum(len(scene.instances) for scene in each.truth.cameras.values()) for each in samples])
    with tempfile.TemporaryDirectory() as scratch:
        root, plain = Path(scratch) / "data", Path(scratch) / "plain"
        plain.mkdir()
        start = time.process_time()
        for number, sample in enumerate(samples):
            save_plainly(sample, plain / f"{number}.npz")
        peer_write = time.process_time() - start
        start = time.process_time()
        with SequenceWriter(root) as writer:
            for sample in samples:
                writer.write(sample)
        write = time.process_time() - start
        reads = {name: reading_time(root, parts) for name, parts in READS.items()}
        start = time.process_time()
        read_sequence(root).check()
        check = time.process_time() - start
        sizes: Counter[str] = Counter()
        for path in root.rglob("*"):
            sizes[path.relative_to(root).parts[0]] += path.stat().st_size if path.is_file() else 0
        peer_size = sum(path.stat().st_size for path in plain.iterdir())
    frames = len(samples)
    print(f"{frames} frames of four 512 x 288 cameras, {instances:.0f} instances each")
    print(f"{sizes.total() / frames / 1e6:.2f} MB per frame, {sizes.total() / peer_size:.2f} of the peer's: ", end="")
    print(", ".join(f"{name} {size / frames / 1e6:.3f}" for name, size in sizes.most_common()))
    print(f"writing {1e3 * write / frames:.0f} ms per frame (CPU), {write / peer_write:.2f} of the peer's")
    print("reading [ms per frame, CPU]: " + ", ".join(f"{name} {1e3 * t / frames:.0f}" for name, t in reads.items()))
    print(f"checking {1e3 * check / frames:.1f} ms per frame (CPU)")


if __name__ == "__main__":
    main()

"""How well clip art works on a data set with known amodal truth: `python bench/clip_art.py data/val`.

Counts whether objects that modal labels and depth show as fully visible really are, and how many pasted objects find a
plausible place; times are CPU milliseconds per image.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np

from amodal_perception_ros.datasets.amodal_synth_drive import read_sequences
from amodal_perception_ros.datasets.clip_art import composite
from amodal_perception_ros.datasets.cutouts import PASTED, find_cutouts, is_unhidden

HIDDEN = 0.02
"""Objects with a larger hidden share are not fully visible."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="data set directory")
    parser.add_argument("--min-area", type=int, default=400, help="least visible pixels of an object (default 400)")
    args = parser.parse_args()
    counts, causes, seconds, images = Counter[str](), Counter[str](), Counter[str](), 0
    rng, pool = np.random.default_rng(0), []
    for reader in read_sequences(args.data, parts=("images", "truth")):
        for camera in reader.rig.cameras:
            image, scene = reader.image(0, camera.name), reader.scene(0, camera.name)
            images += 1
            for instance in scene.instances:
                if instance.class_id in PASTED and instance.visible_mask.area >= args.min_area:
                    whole = "whole" if instance.occlusion_ratio < HIDDEN else "hidden"
                    counts[f"{whole} {'taken' if is_unhidden(scene, instance) else 'left'}"] += 1
            start = time.process_time()
            pool += find_cutouts(image, scene, args.min_area)
            middle = time.process_time()
            chosen = [pool[k] for k in rng.integers(len(pool), size=4)] if pool else []
            result = composite(image, scene, chosen, rng)
            seconds.update(find=middle - start, paste=time.process_time() - middle)
            causes.update(result.rejected)
            causes["pasted"] += len(result.pasted)
    taken = counts["whole taken"] + counts["hidden taken"]
    print(f"{images} images; {taken} objects look fully visible, {counts['whole taken']} of them are")
    print(f"{counts['whole taken'] + counts['whole left']} fully visible objects in all")
    print(", ".join(f"{count} {cause}" for cause, count in causes.most_common()))
    print(", ".join(f"{what} {1000 * total / max(1, images):.0f} ms per image" for what, total in seconds.items()))


if __name__ == "__main__":
    main()

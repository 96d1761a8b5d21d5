"""What a data set holds, class by class: `python bench/data_contents.py data/val`."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from amodal_perception_ros.datasets.amodal_synth_drive import readable_sequences
from amodal_perception_ros.labels import BY_ID

MIN_VISIBLE_PX = 20


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="data set directory")
    args = parser.parse_args()
    pictures = sequences = 0
    instances: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    levels: Counter[int] = Counter()
    hidden: list[float] = []
    for reader in readable_sequences([args.data], parts=("truth",)):
        sequences += 1
        in_sequence: set[str] = set()
        for index in range(len(reader)):
            for camera in reader.rig.cameras:
                pictures += 1
                for each in reader.scene(index, camera.name, with_depth=False).instances:
                    name = BY_ID[each.class_id].name
                    instances[name] += 1
                    if each.visible_mask.area >= MIN_VISIBLE_PX:
                        seen[name] += 1
                        in_sequence.add(name)
                        levels[each.occlusion_level] += 1
                        hidden.append(each.occlusion_ratio)
        shown.update(in_sequence)
    print(f"{pictures} pictures of {sequences} sequences")
    for name, number in instances.most_common():
        print(
            f"{name:12s} {number / pictures:6.1f} instances per picture, {seen[name] / pictures:5.1f} with at least "
            f"{MIN_VISIBLE_PX} visible pixels; {shown[name]} sequences show one"
        )
    for limit in (0.05, 0.25, 0.5):
        part = sum(ratio > limit for ratio in hidden) / max(1, len(hidden))
        print(f"hidden by more than {limit:.0%}: {part:.0%} of those with at least {MIN_VISIBLE_PX} visible pixels")
    total = max(1, levels.total())
    print("levels: " + ", ".join(f"{level}: {levels[level] / total:.0%}" for level in sorted(levels)))


if __name__ == "__main__":
    main()

"""How far designing brings occlusion towards what is wanted, and what it costs: `python bench/occlusion_design.py`.

Builds sequences without drawing them. Distances are total variation distances of the histograms of hidden shares and of
occlusion levels to the wanted ones, summed: 0 is equal, 2 is as far as can be.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from amodal_perception_ros.simulation import SequenceConfig
from amodal_perception_ros.simulation.rendering.raycasting import RayCaster
from amodal_perception_ros.simulation.town.town import build_town
from amodal_perception_ros.simulation.traffic.occlusion_design import design_occlusion
from amodal_perception_ros.simulation.traffic.traffic import build_traffic


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="first sequence (default 1)")
    parser.add_argument("--sequences", type=int, default=20, help="number of sequences (default 20)")
    args = parser.parse_args()
    rows = []
    for seed in range(args.seed, args.seed + args.sequences):
        config = SequenceConfig(seed, frames=20, rate_hz=2.0, overrides={"occlusion": {"designed": {"chance": 1.0}}})
        town = build_town(config)
        traffic = build_traffic(config, town)
        caster = RayCaster(town.tiles)
        start = time.process_time()
        design = design_occlusion(traffic.population, traffic.ego, caster)
        if design is not None:
            spent = time.process_time() - start
            rows.append((design.before, design.after, design.planted, design.removed, len(traffic.things), spent))
    before, after, planted, removed, things, seconds = np.mean(rows, 0)
    print(f"{len(rows)} sequences: distance {before:.2f} before, {after:.2f} after")
    print(
        f"{planted:.1f} things planted, {removed:.1f} removed, {things:.0f} in the end; {seconds:.2f} s CPU a sequence"
    )


if __name__ == "__main__":
    main()

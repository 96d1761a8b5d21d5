"""Share of the post-processing in a tick, by number of objects: `python bench/postprocess_speed.py --data data/val`.

Perception end to end on the same frames (LiDAR and all cameras to scenes), in one process, with each engine. Lower
score thresholds let more tokens be objects, which gives the time by number of objects. Medians; the share is what
counts, the milliseconds are those of the machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from network_speed import STAGES, read_frames

from amodal_perception_ros.perception import ENGINES, Perception
from amodal_perception_ros.scene import SurroundFrame

SCORE_THRESHOLDS = (None, 0.2, 0.05, 0.01)
"""None is the threshold that the weights come with."""

FRAMES = 12
BAR = 0.2
"""Largest share of the tick that post-processing should take with the weights' own threshold."""


def time_stages(perception: Perception, frames: list[SurroundFrame], rounds: int) -> tuple[float, dict[str, float]]:
    """Return the mean number of objects in a tick and the median time of each stage [ms]."""
    perception.warm_up(len(frames[0].images))
    scenes = [perception.perceive(frame) for _ in range(rounds) for frame in frames]
    objects = np.mean([sum(len(camera.instances) for camera in scene.cameras.values()) for scene in scenes])
    return float(objects), {stage: float(np.median([scene.timings_ms[stage] for scene in scenes])) for stage in STAGES}


def main() -> None:
    """Print one row an engine and threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="annotated sequences with pictures")
    parser.add_argument("--weights", type=Path, help="safetensors file; default: the package's")
    parser.add_argument("--device", default="auto", help="of engine torch")
    parser.add_argument("--precision", default="float32", help="of engine torch")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 288), help="width and height of the images [px]")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of network and libraries")
    parser.add_argument("--rounds", type=int, default=3, help="passes over the frames")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    size = (given.size[0], given.size[1])
    frames = read_frames(given.data, FRAMES, size)
    print(f"{len(frames)} frames of {len(frames[0].images)} cameras at {size[0]}x{size[1]}, {given.threads} threads")
    print(
        "engine | score threshold | objects in a tick | preprocess | inference | postprocess [ms] | share of the tick"
    )
    for engine in ENGINES:
        on_device = {"device": given.device, "precision": given.precision} if engine == "torch" else {"device": "cpu"}
        perception = Perception.from_weights(
            given.weights, engine, input_size=size, threads=given.threads, cameras=len(frames[0].images), **on_device
        )
        weights_config = perception.config
        for threshold in SCORE_THRESHOLDS:
            perception.config = dataclasses.replace(weights_config, score_threshold=threshold)
            objects, stages = time_stages(perception, frames, given.rounds)
            share = stages["postprocess"] / sum(stages.values())
            verdict = "" if threshold else f" ({'meets' if share <= BAR else 'misses'} the bar of {BAR:.0%})"
            times = " | ".join(f"{stages[stage]:.1f}" for stage in STAGES)
            name = perception.engine.name
            print(
                f"{name} | {threshold or 'of the weights'} | {objects:.1f} | {times} | {share:.1%}{verdict}", flush=True
            )


if __name__ == "__main__":
    main()

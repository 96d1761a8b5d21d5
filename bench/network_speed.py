"""Speed of perception beside what a user would combine today: `python bench/network_speed.py --data data/val`.

Ours is everything from images and LiDAR to scenes: preprocessing, network, post-processing. The peers are
Mask2Former-Swin-T (panoptic) and Depth-Anything-V2-Small from `transformers`, eager, resize and network only: their
post-processing is left out, and they give no amodal output. All see the same images in turn on the same threads, in
one process; ratios are of medians. Where there is a GPU, a second part times the network in half precision at
960x544 with each acceleration, and its share of the roofline.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from inference.gpu import measure_gpu
from inference.published_models import PEERS, PeerRunner
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from amodal_perception_ros.evaluation.sources import DataSet
from amodal_perception_ros.network import load_weights
from amodal_perception_ros.perception import Perception, default_weights
from amodal_perception_ros.scene import Rig, SurroundFrame

CPU = torch.device("cpu")
STAGES = ("preprocess", "inference", "postprocess")


def read_frames(data: Path, count: int, size: tuple[int, int]) -> list[SurroundFrame]:
    """Return frames spread over a data set, with cameras of a given size."""
    sequences = DataSet((data,)).open(with_images=True)
    chosen = sequences[:: max(1, len(sequences) // count)][:count]
    return [scaled(sequence[0].frame, size) for sequence in chosen]


def scaled(frame: SurroundFrame, size: tuple[int, int]) -> SurroundFrame:
    """Return the frame as cameras of another size would give it."""
    cameras = []
    for camera in frame.rig.cameras:
        ratio = np.array([[size[0] / camera.width], [size[1] / camera.height], [1.0]])
        cameras.append(dataclasses.replace(camera, width=size[0], height=size[1], intrinsics=camera.intrinsics * ratio))
    images = {name: cv2.resize(image, size) for name, image in frame.images.items()}
    return dataclasses.replace(frame, rig=Rig(tuple(cameras), frame.rig.base_from_lidar), images=images)


class Ours:
    """Perception as one contender; remembers the stages of each run [ms]."""

    def __init__(self, perception: Perception) -> None:
        self.perception, self.name = perception, f"ours, {perception.engine.name}"
        self.stages: list[dict[str, float]] = []

    def __call__(self, frame: SurroundFrame) -> None:
        """Perceive a frame."""
        self.stages.append(dict(self.perception.perceive(frame).timings_ms))

    def shares(self) -> dict[str, float]:
        """Return the median of each stage [ms]."""
        return {stage: float(np.median([run[stage] for run in self.stages[1:]])) for stage in STAGES}


def our_engines(weights: Path, size: tuple[int, int], cameras: int, threads: int) -> list[Ours]:
    """Return perception with each engine; bfloat16 only where the CPU has matrix units for it."""
    options = [("onnxruntime", "float32"), ("torch", "float32")]
    if torch.cpu._is_amx_tile_supported():
        options.append(("torch", "bfloat16"))
    return [
        Ours(Perception.from_weights(weights, engine, "cpu", precision, size, cameras, threads=threads))
        for engine, precision in options
    ]


def run_in_turn(contenders: dict[str, Callable[[SurroundFrame], None]], frames: list[SurroundFrame], rounds: int):
    """Return the median wall time of each contender [ms], after a first round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run(frames[number % len(frames)])
            if number:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def giga_flops(network: nn.Module, *inputs: torch.Tensor) -> float:
    """Return the GFLOP of matrix products and convolutions of one pass."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return counter.get_total_flops() / 1e9


def million_parameters(network: nn.Module) -> float:
    """Return the number of parameters in millions."""
    return sum(value.numel() for value in network.parameters()) / 1e6


def gemm_rate() -> float:
    """Return the rate of float32 matrix products of 2048 x 2048 [GFLOP/s], the best of five."""
    a, times = torch.rand(2048, 2048), []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times) / 1e9


def measure_cpu(weights: Path, frames: list[SurroundFrame], args: argparse.Namespace) -> dict[str, Any]:
    """Time all contenders on the CPU and print the table."""
    size, cameras = args.size, len(frames[0].images)
    ours = our_engines(weights, size, cameras, args.threads)
    peers = {} if args.no_peers else {peer.name: PeerRunner(peer, CPU, torch.float32) for peer in PEERS}
    contenders: dict[str, Callable[[SurroundFrame], None]] = {each.name: each for each in ours}
    for name, runner in peers.items():
        contenders[name] = lambda frame, runner=runner: runner(list(frame.images.values()))
    milliseconds = run_in_turn(contenders, frames, args.rounds)
    network = load_weights(weights)[0]
    blank = torch.zeros(1, 3, size[1], size[0]), torch.zeros(1, 2, size[1], size[0])
    costs = {each.name: (million_parameters(network), cameras * giga_flops(network, *blank)) for each in ours}
    for name, runner in peers.items():
        image = runner.prepare(list(frames[0].images.values())[:1])
        costs[name] = (million_parameters(runner.network), cameras * giga_flops(runner.network, image))
    rows = {
        name: {"ms": value, "parameters_m": costs[name][0], "gflop": costs[name][1]}
        for name, value in milliseconds.items()
    }
    result = {"threads": args.threads, "gemm_gflop_per_s": gemm_rate(), "rows": rows}
    result["stages_ms"] = {each.name: each.shares() for each in ours}
    print_cpu(result, ours[0].name, f"{cameras} x {size[0]}x{size[1]}")
    return result


def print_cpu(result: dict[str, Any], first: str, what: str) -> None:
    """Print times, ratios to our default engine, the stages and the sums of pairs of peers."""
    rate = result["gemm_gflop_per_s"]
    print(f"CPU, {what}, {result['threads']} threads; a float32 matrix product runs at {rate:.0f} GFLOP/s")
    print(f"{'':36s} {'[ms]':>9s} {'ratio':>7s} {'M param.':>9s} {'GFLOP':>8s} {'of GEMM rate':>12s}")
    rows = dict(result["rows"])
    depth = rows.get("Depth-Anything-V2-Small")
    for name in [name for name in rows if name.startswith("Mask2Former")]:
        rows[f"{name} + Depth"] = {key: rows[name][key] + depth[key] for key in depth}
    for name, row in rows.items():
        ratio, share = row["ms"] / rows[first]["ms"], row["gflop"] / row["ms"] * 1e3 / rate
        text = f"{row['ms']:9.1f} {ratio:6.2f}x {row['parameters_m']:9.2f} {row['gflop']:8.1f} {share:12.0%}"
        print(f"{name:36s} {text}")
    for name, stages in result["stages_ms"].items():
        total = sum(stages.values())
        text = ", ".join(f"{stage} {value:.1f} ms ({value / total:.0%})" for stage, value in stages.items())
        print(f"{name}: {text}")


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of WIDTHxHEIGHT."""
    width, height = map(int, text.split("x"))
    return width, height


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set whose images are perceived")
    parser.add_argument("--weights", type=Path, help="safetensors file (default: the package's)")
    parser.add_argument("--size", type=parse_size, default=(512, 288), help="of images and network on the CPU")
    parser.add_argument("--gpu-size", type=parse_size, default=(960, 544), help="of images and network on the GPU")
    parser.add_argument("--frames", type=int, default=5, help="frames that are perceived in turn (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every contender (default: all cores)")
    parser.add_argument("--no-peers", action="store_true", help="ours only, without transformers")
    parser.add_argument("--no-cpu", action="store_true", help="the GPU part only")
    parser.add_argument("--peak-tflops", type=float, help="half-precision peak of a GPU that is not in the table")
    parser.add_argument("--bandwidth", type=float, help="memory bandwidth of such a GPU [GB/s]")
    parser.add_argument("--json", type=Path, help="write the figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    weights, result = args.weights or default_weights(), {}
    if not args.no_cpu:
        result["cpu"] = measure_cpu(weights, read_frames(args.data, args.frames, args.size), args)
    if torch.cuda.is_available():
        frames = read_frames(args.data, args.frames, args.gpu_size)
        result["gpu"] = measure_gpu(weights, frames, args)
    else:
        print("no GPU here: its part is left out")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""GPU part of `bench/network_speed.py`: network and post-processing in half precision, and the roofline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.network import AmodalNetwork, load_weights
from amodal_perception_ros.perception import Perception
from amodal_perception_ros.perception.preprocess import prepare
from amodal_perception_ros.perception.torch_engine import ACCELERATIONS, TorchEngine
from amodal_perception_ros.scene import SurroundFrame
from inference.published_models import PEERS, PeerRunner

RUNS = 50
WARM_UP = 10
BAR_MS = 6.0
"""Network and post-processing together should take no longer."""

PEAKS = {
    "H200": (989, 4800),
    "H100": (989, 3350),
    "A100": (312, 2039),
    "L40S": (362, 864),
    "L4": (121, 300),
    "RTX 4090": (165, 1008),
}
"""Dense half-precision TFLOP/s with float32 sums, and memory bandwidth [GB/s], by the makers' data sheets."""


class Traffic(TorchDispatchMode):
    """Adds up the bytes that kernels read and write when each runs on its own, as in eager mode."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and count its tensors, unless it only makes a view."""
        result = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def network_ms(engine: TorchEngine, image: torch.Tensor, guidance: torch.Tensor) -> float:
    """Return the median time of the network [ms], between events on the device, inputs being there."""
    times = []
    for number in range(RUNS + WARM_UP):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        engine.infer(image, guidance)
        end.record()
        torch.cuda.synchronize()
        if number >= WARM_UP:
            times.append(start.elapsed_time(end))
    return float(np.median(times))


def roofline(network: AmodalNetwork, image: torch.Tensor, guidance: torch.Tensor) -> tuple[float, float, float]:
    """Return GFLOP, and the GB to move at least (weights, inputs and outputs once) and kernel by kernel (float16)."""
    engine = TorchEngine(network, {}, "cuda", "float16")
    with FlopCounterMode(display=False) as counter, Traffic() as traffic:
        output = engine.infer(image, guidance)
    weights = [*network.parameters(), *network.buffers()]
    least = sum(
        tensor.numel() * tensor.element_size() for tensor in (*weights, image, guidance, *output.named().values())
    )
    return counter.get_total_flops() / 1e9, least / 1e9, traffic.bytes / 1e9


def peak_of(name: str, args: argparse.Namespace) -> tuple[float, float] | None:
    """Return TFLOP/s and GB/s of the GPU, from the options or the table; None where neither knows it."""
    if args.peak_tflops and args.bandwidth:
        return args.peak_tflops, args.bandwidth
    # The longest match: an L40S is no L4.
    found = [key for key in PEAKS if key in name]
    return PEAKS[max(found, key=len)] if found else None


def measure_gpu(weights: Path, frames: list[SurroundFrame], args: argparse.Namespace) -> dict[str, Any]:
    """Time each acceleration and the peers, print the table and the roofline."""
    name, size, cameras = torch.cuda.get_device_name(), args.gpu_size, len(frames[0].images)
    print(f"\n{name}, {cameras} x {size[0]}x{size[1]}, float16")
    rows = {}
    batch = prepare(frames[0], size)
    image, guidance = torch.from_numpy(batch.image).cuda(), torch.from_numpy(batch.guidance).cuda()
    for acceleration in ACCELERATIONS:
        perception = Perception.from_weights(
            weights, "torch", "cuda", "float16", size, cameras, acceleration=acceleration
        )
        assert isinstance(perception.engine, TorchEngine)
        try:
            network = network_ms(perception.engine, image, guidance)
        except InputError as error:  # No compiler here: the others can still be measured.
            print(f"{acceleration}: {error}")
            continue
        stages = [perception.perceive(frames[run % len(frames)]).timings_ms for run in range(RUNS + WARM_UP)][WARM_UP:]
        medians = {stage: float(np.median([each[stage] for each in stages])) for stage in stages[0]}
        rows[acceleration] = {"network": network, **medians}
        both = network + medians["postprocess"]
        print(
            f"{acceleration:12s} network {network:6.2f} ms, post-processing {medians['postprocess']:6.2f} ms, together "
            f"{both:6.2f} ms ({'within' if both <= BAR_MS else 'above'} {BAR_MS:g} ms); preprocessing "
            f"{medians['preprocess']:.2f} ms, network with upload {medians['inference']:.2f} ms"
        )
    gflop, least, moved = roofline(load_weights(weights)[0], image, guidance)
    result: dict[str, Any] = {"device": name, "ms": rows, "gflop": gflop, "least_gb": least, "eager_gb": moved}
    print(f"{gflop:.1f} GFLOP, {1e3 * least:.1f} MB at least, {1e3 * moved:.0f} MB kernel by kernel")
    peak = peak_of(name, args)
    if peak is None:
        print("the peaks of this GPU are not known here: give --peak-tflops and --bandwidth for the roofline")
    else:
        result["roofline"] = print_roofline(rows, gflop, least, moved, peak)
    if not args.no_peers:
        result["peers_ms"] = measure_peers(frames, min(row["network"] + row["postprocess"] for row in rows.values()))
    return result


def print_roofline(
    rows: dict[str, dict[str, float]], gflop: float, least: float, moved: float, peak: tuple[float, float]
) -> dict[str, float]:
    """Print which share of the time the peaks alone account for, for the fastest network."""
    arithmetic, fused, eager = gflop / peak[0], 1e3 * least / peak[1], 1e3 * moved / peak[1]
    fastest = min(row["network"] for row in rows.values())
    print(
        f"roofline at {peak[0]:g} TFLOP/s and {peak[1]:g} GB/s: arithmetic {arithmetic:.3f} ms, memory {fused:.3f} ms "
        f"at least and {eager:.3f} ms kernel by kernel; the fastest network ({fastest:.2f} ms) runs at "
        f"{max(arithmetic, fused) / fastest:.1%} of the lower bound and {max(arithmetic, eager) / fastest:.1%} of that "
        "of separate kernels"
    )
    return {"arithmetic_ms": arithmetic, "memory_ms": fused, "eager_memory_ms": eager, "fastest_ms": fastest}


def measure_peers(frames: list[SurroundFrame], ours: float) -> dict[str, float]:
    """Time the peers in float16 on the same images, and print their ratio to our network and post-processing."""
    found = {}
    for peer in PEERS:
        runner, times = PeerRunner(peer, torch.device("cuda"), torch.float16), []
        pixels = runner.prepare(list(frames[0].images.values()))
        for number in range(RUNS // 5 + WARM_UP):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            runner.infer(pixels)
            end.record()
            torch.cuda.synchronize()
            if number >= WARM_UP:
                times.append(start.elapsed_time(end))
        found[peer.name] = float(np.median(times))
        print(f"{peer.name}: network {found[peer.name]:.1f} ms, {found[peer.name] / ours:.1f} times ours")
    return found

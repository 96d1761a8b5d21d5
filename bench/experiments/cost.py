"""What networks cost: parameters, operations and time of one forward pass and of drawing the objects.

Weights do not matter for any of it: random ones give boxes of the usual sizes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from amodal_perception_ros.network import AmodalNetwork, NetworkConfig, NetworkOutput, save_weights
from amodal_perception_ros.perception.engine import Engine, create_engine
from amodal_perception_ros.perception.painting import Painter, WindowPainter, paint_all
from amodal_perception_ros.perception.preprocess import NetworkInput
from amodal_perception_ros.perception.selection import object_windows
from experiments.changes import applied
from experiments.plan import Plan

CAMERAS = 4
"""Images of the batch whose time is measured."""

OBJECTS = 25
"""Tokens of each image that are drawn: about as many as a street has objects."""


@dataclass(frozen=True)
class Cost:
    """Cost of a network.

    Attributes:
        parameters: number of learned values.
        gflop: 10^9 floating point operations of one image; a multiplication and an addition are two.
        latency_ms: median time of the engine's forward pass of `CAMERAS` images with the maps of `OBJECTS` objects in
            each; None if not measured.
        latency: the same as a ratio to the reference.
    """

    parameters: int
    gflop: float
    latency_ms: float | None = None
    latency: float | None = None


def measure_costs(plan: Plan, reference: str, repeats: int, engine: str = "torch") -> dict[str, Cost]:
    """Return the cost of every experiment that trains.

    Args:
        plan: the experiments.
        reference: whose time is 1; one of them.
        repeats: forward passes whose median is taken, after one that does not count; the networks take turns, so that
            all meet the same conditions. 0 measures no time.
        engine: "torch" or "onnxruntime".
    """
    runs, costs = {}, {}
    for experiment in plan.experiments.values():
        if experiment.weights_of:
            continue
        settings = plan.settings_of(experiment, plan.seeds[0])
        size = tuple(settings["input_size"])
        batch = random_batch(*size)
        with applied(experiment.changes), tempfile.TemporaryDirectory() as folder:
            network = AmodalNetwork(NetworkConfig.from_dict(settings.get("network", {}))).eval()
            count = sum(parameter.numel() for parameter in network.parameters())
            costs[experiment.name] = Cost(count, gflop(partial(perceive_first, network, batch)))
            if repeats:
                path = Path(folder) / "random.safetensors"
                save_weights(path, network, {"model_id": "random"})
                loaded = create_engine(path, engine, "auto", "float32", size, CAMERAS)
                runs[experiment.name] = (loaded, batch)
    times = median_ms(runs, repeats)
    if not times:
        return costs
    ratio = {name: time_ms / times[reference] for name, time_ms in times.items()}
    return {name: replace(cost, latency_ms=times[name], latency=ratio[name]) for name, cost in costs.items()}


def random_batch(width: int, height: int) -> NetworkInput:
    """Return a batch of noise with LiDAR points in one of 32 pixels."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((CAMERAS, 3, height, width), generator=generator)
    hit = (torch.rand((CAMERAS, 1, height, width), generator=generator) < 1 / 32).float()
    return NetworkInput(image.numpy(), torch.cat([0.1 * hit, hit], 1).numpy(), ())


def gflop(step: Callable[[], None]) -> float:
    """Return 10^9 floating point operations of the convolutions and matrix products of a step."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        step()
    return counter.get_total_flops() / 1e9


def perceive_first(network: AmodalNetwork, batch: NetworkInput) -> None:
    """Run the network on the first image and draw its objects."""
    output = network(torch.from_numpy(batch.image[:1]), torch.from_numpy(batch.guidance[:1]))
    paint_objects(output, WindowPainter(network.config))


def median_ms(runs: dict[str, tuple[Engine, NetworkInput]], repeats: int) -> dict[str, float]:
    """Return the median time of each engine's forward pass and drawing [ms]."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, (engine, batch) in runs.items():
            start = time.perf_counter()
            paint_objects(engine.run(batch), engine.painter)
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items() if values}


def paint_objects(output: NetworkOutput, painter: Painter) -> None:
    """Draw the first `OBJECTS` tokens of each image on the windows of their boxes."""
    boxes, grid = output.boxes[:, :OBJECTS].float().cpu().numpy(), tuple(output.log_depth.shape[1:])
    windows = [object_windows(each, each[:, :2].clip(0, 0.999), grid) for each in boxes]
    paint_all(painter, output, [np.arange(len(each)) for each in boxes], windows)

"""`amodal bench`: the stages of a tick, from the newest sensor message in to the last message out, in a real graph."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from amodal_perception_ros.datasets.bag import open_bag
from amodal_perception_ros.errors import InputError
from amodal_perception_ros.perception import ENGINES
from amodal_perception_ros.ros.run import run

DEMO_BAG = Path(__file__).resolve().parents[2] / "demo" / "drive.mcap"

TICK_PERIOD_S = 1.5
"""The recording is slowed down to one tick in this time, so that every tick is processed and none waits."""

OVERHEAD_STAGES = ("synchronize", "convert_in", "convert_out", "publish")
"""Stages that are not perception; they should stay a small share of the tick."""


def bench(
    bag: Path | None = None,
    engine: str = "onnxruntime",
    size: tuple[int, int] = (512, 288),
    json_path: Path | None = None,
) -> dict[str, Any]:
    """Time the perception node on a recording, with each engine in turn, and print the stages.

    Args:
        bag: recording to replay; None takes the demo drive of the source tree.
        engine: the engine whose stages are printed; the others are its peers.
        size: (width, height) of the network's input [px].
        json_path: where to write the figures.

    Returns:
        machine, engine, size, cameras, stages_ms {stage: {median, p95}}, tick_ms {median, p95},
        peers {engine: {ms, ratio}}; ratio is the peer's median tick over the engine's.

    Raises:
        InputError: the recording cannot be used or has too few ticks.
    """
    if bag is None and not DEMO_BAG.is_file():
        raise InputError("the demo drive is only in a source tree; name a recording with --bag")
    bag = bag or DEMO_BAG
    ticks, seconds, cameras = _extent(bag)
    print(f"{ticks} ticks of {cameras} cameras, one every {TICK_PERIOD_S:g} s", flush=True)
    rate = seconds / (ticks - 1) / TICK_PERIOD_S
    figures = {name: _run_once(bag, name, size, rate) for name in (engine, *(e for e in ENGINES if e != engine))}
    own = figures[engine]
    tick = own["latency_ms"]["tick"]
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "engine": own["engine"],
        "size": list(size),
        "cameras": cameras,
        "stages_ms": {stage: value for stage, value in own["latency_ms"].items() if stage != "tick"},
        "tick_ms": tick,
        "peers": {
            other["engine"]: {
                "ms": other["latency_ms"]["tick"]["median"],
                "ratio": other["latency_ms"]["tick"]["median"] / tick["median"],
            }
            for name, other in figures.items()
            if name != engine
        },
    }
    if json_path:
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _print(result)
    return result


def _run_once(bag: Path, engine: str, size: tuple[int, int], rate: float) -> dict[str, Any]:
    """Run the recording through the node with one engine; returns its summary."""
    print(engine, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        params = Path(scratch) / "bench.param.yaml"
        settings = {"engine": engine, "input_size": list(size)}
        params.write_text(yaml.safe_dump({"/**": {"ros__parameters": settings}}), encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            summary = run(bag, Path(scratch) / "out", params=params, rate=rate)
    if "tick" not in summary["latency_ms"]:
        raise InputError(f"{bag}: no tick of the recording was perceived; drops: {summary['dropped']}")
    return summary


def _extent(bag: Path) -> tuple[int, float, int]:
    """Return ticks, seconds from the first to the last message, and cameras of a recording."""
    with open_bag(bag) as opened:
        images = [topic for topic in opened.topics if topic.type.rsplit("/", 1)[-1] in ("Image", "CompressedImage")]
        if not images or images[0].count < 2:
            raise InputError(f"{bag}: a benchmark needs a recording with at least two images of a camera")
        return images[0].count, (opened.end_ns - opened.start_ns) / 1e9, len(images)


def _print(result: dict[str, Any]) -> None:
    title = f"{result['engine']}, {result['cameras']} cameras at {result['size'][0]}x{result['size'][1]}"
    table = Table("stage", "median [ms]", "p95 [ms]", title=f"{title}, {result['machine']}")
    for column in table.columns[1:]:
        column.justify = "right"
    for stage, value in {**result["stages_ms"], "tick": result["tick_ms"]}.items():
        table.add_row(stage, f"{value['median']:.1f}", f"{value['p95']:.1f}")
    console = Console()
    console.print(table)
    overhead = sum(result["stages_ms"][stage]["median"] for stage in OVERHEAD_STAGES if stage in result["stages_ms"])
    console.print(
        f"conversion, synchronization and publishing: {overhead / result['tick_ms']['median']:.0%} of the tick"
    )
    for peer, value in result["peers"].items():
        console.print(f"peer {peer}: {value['ms']:.1f} ms, {value['ratio']:.2f} times the tick of {result['engine']}")

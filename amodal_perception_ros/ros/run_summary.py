"""What a recorded run contains: the figures of `summary.json` and the table on the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message
from rich.console import Console
from rich.table import Table

from amodal_perception_ros.datasets.bag import open_bag
from amodal_perception_ros.msg import AmodalPanoptic, BevOccupancy

COUNTERS = ("ticks_in", "sets_complete", "sets_partial", "sets_out")
_LATENCY = re.compile(r"latency_ms\.(?P<stage>.+)\.(?P<figure>median|p95)")
_DROPPED = "dropped."
_PANOPTIC = "amodal_perception_ros/msg/AmodalPanoptic"
_BEV = "amodal_perception_ros/msg/BevOccupancy"
_DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"


def perception_status(message: DiagnosticArray) -> dict[str, str] | None:
    """Return key -> value of the perception node's status, or None when the message is of another node."""
    for status in message.status:
        if status.name.endswith(": perception"):
            return {pair.key: pair.value for pair in status.values}
    return None


def counters(status: Mapping[str, str]) -> dict[str, Any]:
    """Return the counters, drops, latencies, engine and model of a perception node's status.

    Returns:
        The keys of `summary.json` that the node itself knows: ticks_in, sets_complete, sets_partial, sets_out,
        dropped {cause: n}, latency_ms {stage: {median, p95}}, engine, model_id.
    """
    latency: dict[str, dict[str, float]] = {}
    for key, value in status.items():
        if match := _LATENCY.fullmatch(key):
            latency.setdefault(match["stage"], {})[match["figure"]] = float(value)
    return {
        **{name: int(status.get(name, 0)) for name in COUNTERS},
        "dropped": {key[len(_DROPPED) :]: int(value) for key, value in status.items() if key.startswith(_DROPPED)},
        "latency_ms": latency,
        "engine": status.get("engine", ""),
        "model_id": status.get("model_id", ""),
    }


def summarize(recording: Path) -> dict[str, Any]:
    """Return the contents of `summary.json` for a recorded run.

    `instances` counts the instances of all panoptic messages, `occluded_instances` those of occlusion level 1 and
    above, `hidden_cells` the grid cells of all grids whose evidence is AMODAL_INFERRED. Everything else is what the
    perception node said last.

    Raises:
        BagError: the file cannot be read.
    """
    instances = occluded = hidden = 0
    status: dict[str, str] = {}
    with open_bag(recording) as bag:
        wanted = [topic.topic for topic in bag.topics if topic.type in (_PANOPTIC, _BEV, _DIAGNOSTICS)]
        for message in bag.messages(wanted):
            if message.type == _PANOPTIC:
                levels = [each.occlusion_level for each in deserialize_message(message.data, AmodalPanoptic).instances]
                instances += len(levels)
                occluded += sum(level > 0 for level in levels)
            elif message.type == _BEV:
                evidence = np.asarray(deserialize_message(message.data, BevOccupancy).evidence)
                hidden += int((evidence == BevOccupancy.EVIDENCE_AMODAL_INFERRED).sum())
            else:
                status = perception_status(deserialize_message(message.data, DiagnosticArray)) or status
    known = counters(status)
    tail = {key: known.pop(key) for key in ("latency_ms", "engine", "model_id")}
    return {**known, "instances": instances, "occluded_instances": occluded, "hidden_cells": hidden, **tail}


def print_summary(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print counters and latencies as two tables."""
    console = console or Console()
    counts = Table("what", "number", title="Run")
    counts.columns[1].justify = "right"
    for key in (*COUNTERS, "instances", "occluded_instances", "hidden_cells"):
        counts.add_row(key.replace("_", " "), str(summary[key]))
    for cause, number in summary["dropped"].items():
        counts.add_row(f"dropped: {cause}", str(number))
    console.print(counts)
    latency = Table("stage", "median [ms]", "p95 [ms]", title=f"Latency: {summary['engine']}, {summary['model_id']}")
    for column in latency.columns[1:]:
        column.justify = "right"
    for stage, figures in summary["latency_ms"].items():
        latency.add_row(stage, f"{figures['median']:.1f}", f"{figures['p95']:.1f}")
    console.print(latency)

"""The model card of a weights file: what it is, how it was made, what was measured, in Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from amodal_perception_ros.evaluation.evaluation import Evaluation
from amodal_perception_ros.evaluation.table import ROWS, Row, interval_note, intervals_at, look_up
from amodal_perception_ros.labels import STUFF, THINGS
from amodal_perception_ros.network import AmodalNetwork, load_weights
from amodal_perception_ros.network.weights import ARCHITECTURE
from amodal_perception_ros.perception import ENGINES
from amodal_perception_ros.perception.calibration import METADATA_KEY, Calibration

UNKNOWN = "not recorded in the file"

PURPOSE = (
    "Amodal panoptic segmentation, amodal depth and occlusion order for the images of all cameras of a vehicle in one "
    "forward pass, metric where LiDAR points are given: stuff classes and visible depth of every pixel; for each "
    "object its class, visible mask, whole (amodal) mask, the depth of the whole object and who hides whom."
)

LIMITS = (
    "For research and integration tests. Not for the planning or control of a real vehicle.",
    "Learned from simulated streets only, unless the training data say otherwise; nothing is known of its quality on "
    "real images beyond what is measured here.",
    "Masks and boxes end at the border of the image. Objects that are hidden entirely are not found.",
    "One training run: the spread between runs is not known from this card.",
)

LICENCE = "Apache-2.0, like the code."


def model_card(weights: Path, evaluation: Path | None = None) -> str:
    """Return the model card of a weights file as Markdown.

    Args:
        weights: the file; what is said of the training is taken from its metadata.
        evaluation: what `amodal evaluate --json` wrote for these weights; None for a card without figures.

    Raises:
        WeightsError: the weights cannot be used.
        EvaluationError: the evaluation is not one.
    """
    network, metadata = load_weights(weights)
    parts = [
        f"# Model card: {metadata['model_id']}",
        PURPOSE,
        *([metadata["note"]] if "note" in metadata else []),
        "## Architecture and size",
        _table(_architecture(weights, network)),
        "## Training",
        _table(_training(metadata)),
        "## Measured figures",
        "None are given with this card."
        if evaluation is None
        else _figures(weights, Evaluation.from_file(evaluation), evaluation),
        "## Calibration",
        _calibration(metadata),
        "## Limits",
        "\n".join(f"- {line}" for line in (*LIMITS, f"At most {network.config.tokens} objects in an image.")),
        "## Licence",
        LICENCE,
    ]
    return "\n\n".join(parts) + "\n"


def name_ranges(names: Iterable[str]) -> str:
    """Return names that end in numbers as ranges: `a_01`, `a_02`, `a_03`, `b` becomes "`a_01` to `a_03` (3), `b`"."""
    numbered = []
    for name in names:
        found = re.fullmatch(r"(.*?)(\d+)", name)
        numbered.append((found[1], int(found[2]), name) if found else (name, 0, name))
    texts = []
    # Consecutive numbers have the same distance from their place in the list.
    for _, group in groupby(enumerate(sorted(numbered)), key=lambda item: (item[1][0], item[1][1] - item[0])):
        members = [name for _, (_, _, name) in group]
        last = f" to `{members[-1]}` ({len(members)})" if len(members) > 1 else ""
        texts.append(f"`{members[0]}`{last}")
    return ", ".join(texts) or "none"


def _architecture(weights: Path, network: AmodalNetwork) -> dict[str, str]:
    width, height = 512, 288
    image, guidance = torch.zeros(1, 3, height, width), torch.zeros(1, 2, height, width)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image, guidance)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        "file": f"`{weights.name}`, {weights.stat().st_size / 1e6:.1f} MB, half precision, computed in float32",
        "architecture": f"`{ARCHITECTURE}`, instance head `{network.config.instance_head}`",
        "parameters": f"{parameters / 1e6:.2f} million",
        "arithmetic": f"{counter.get_total_flops() / 1e9:.1f} GFLOP for an image of {width} x {height}",
        "settings": f"`{network.config.to_json()}`",
        "stuff classes": ", ".join(label.name for label in STUFF),
        "thing classes": ", ".join(label.name for label in THINGS),
    }


def _training(metadata: dict[str, str]) -> dict[str, str]:
    def names(key: str) -> str:
        return name_ranges(json.loads(metadata[key])) if key in metadata else UNKNOWN

    machine = metadata.get("device", UNKNOWN)
    processes = metadata.get("processes", "1")
    return {
        "training sequences (their names end in their seeds)": names("training_sequences"),
        "training images": metadata.get("training_images", UNKNOWN),
        "held out for scores on the way, thresholds and calibration": names("validation_sequences"),
        "steps": metadata.get("steps", UNKNOWN),
        "minutes": metadata.get("minutes", UNKNOWN),
        "machine": machine if processes == "1" else f"{machine}, {processes} processes",
        "command": f"`{metadata['command']}`" if "command" in metadata else UNKNOWN,
        "settings": f"`{metadata['training_config']}`" if "training_config" in metadata else UNKNOWN,
        "PyTorch": metadata.get("torch", UNKNOWN),
    }


def _figures(weights: Path, evaluation: Evaluation, path: Path) -> str:
    results = next(iter(evaluation.runs.values()))
    data = results["data"]
    folders = " ".join(f"data/{Path(folder).name}" for folder in data["paths"])
    source = re.sub(r"\S*/", "", results.get("source", UNKNOWN))
    engine = source.rpartition(", ")[2]
    options = f"--weights {weights.name}" + (f" --engine {engine}" if engine in ENGINES else "")
    lines = [
        f"{data['images']} images of {data['sequences']} sequences, fingerprint of the truth `{data['fingerprint']}`; "
        f"scored as: {source}. Intervals: {interval_note(results)}. What each figure means: "
        "[metrics](../docs/metrics.md).",
        f"```\namodal evaluate --data {folders} {options} --json {path.name}\n```",
        "\n".join(["| figure | value | interval |", "|---|---|---|", *_rows_of(results)]),
    ]
    conditions = results.get("per_condition", {})
    return "\n\n".join(lines + [_conditions(kind, values) for kind, values in conditions.items()])


def _rows_of(results: dict[str, Any]) -> list[str]:
    """Return a row for each figure that is there; parts of a figure are named after it."""
    lines, whole = [], ""
    for row in ROWS:
        part = row.title.startswith(" ")
        whole = whole if part else row.title
        value, interval = look_up(results, row.path), intervals_at(results, row.path)
        if value is None:
            continue
        limits = interval if interval and None not in interval else []
        title = f"{whole}: {row.title.strip()}" if part else row.title
        text = " to ".join(f"{limit:.{row.digits}f}" for limit in limits)
        lines.append(f"| {title} | {_number(row, value)} | {text} |")
    return lines


def _number(row: Row, value: float) -> str:
    unit = {"%": " %", "m": " m"}.get(row.unit, "")
    return f"{value:.{row.digits}f}{unit}"


def _conditions(kind: str, values: dict[str, dict[str, Any]]) -> str:
    shown = [row for row in ROWS if any(row.path in figures for figures in values.values())][:5]
    lines = [f"| {kind} | frames | " + " | ".join(row.title.strip() for row in shown) + " |"]
    lines.append("|---" * (len(shown) + 2) + "|")
    for name, figures in values.items():
        cells = [_number(row, figures[row.path]) if row.path in figures else "" for row in shown]
        lines.append(f"| {name} | {figures['frames']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _calibration(metadata: dict[str, str]) -> str:
    fitted = METADATA_KEY in metadata
    rows = {name: f"`{value}`" for name, value in asdict(Calibration.from_metadata(metadata)).items()}
    rows["standard deviation of amodal depth, relative to it"] = metadata.get("amodal_depth_relative_stddev", UNKNOWN)
    origin = "Fitted on the sequences held out." if fitted else "None was fitted: these values change nothing."
    return f"{origin}\n\n{_table(rows)}"


def _table(rows: dict[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|"] + [f"| {name} | {text} |" for name, text in rows.items()])

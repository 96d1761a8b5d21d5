"""Small training runs: settings, data, and the command line in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from amodal_perception_ros.network import NetworkConfig
from amodal_perception_ros.training.config import TrainConfig

torch.set_num_threads(1)
CPU = torch.device("cpu")
SMALL = NetworkConfig(stem_channels=8, widths=(12, 16, 24, 32), depths=(1, 1, 1, 1), channels=24, tokens=16)
SETTINGS = {
    "input_size": (128, 96),
    "batch_size": 4,
    "max_minutes": None,
    "max_steps": 6,
    "workers": 0,
    "prepare_workers": 1,
    "device": "cpu",
    "precision": "float32",
    "log_steps": 2,
    "field_tokens": 8,
    "cells": 512,
    "threads": 1,
}


def make_config(**changes):
    return TrainConfig(**{"network": SMALL, **SETTINGS, **changes})


def write_config(path, **changes):
    """Write the settings of `make_config` as YAML."""
    settings = {"network": json.loads(SMALL.to_json()), **SETTINGS, **changes}
    path.write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    return path


def read_log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def start(*arguments, processes=1):
    """Start `amodal ARGUMENTS`, under torchrun with several processes, in a session of its own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "amodal_perception_ros.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def run(*arguments, processes=1):
    """Run `amodal ARGUMENTS` to its end and return exit code, output and errors."""
    process = start(*arguments, processes=processes)
    try:
        output, errors = process.communicate(timeout=500)
    finally:
        process.kill()
    return process.returncode, output, errors


def same(first, second):
    """Whether two state dicts are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

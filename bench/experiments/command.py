"""The command line of the benches, and their loop: train, score, write tables; again after every result."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from amodal_perception_ros.datasets.files import write_file
from amodal_perception_ros.errors import InputError
from experiments.cost import Cost, measure_costs
from experiments.plan import FOLDER, Plan, merge, read_experiments, read_yaml
from experiments.running import Trainer
from experiments.scoring import score
from experiments.tables import Scores, Table, as_json

Tables = Callable[[Scores, dict[str, Cost]], list[Table]]


def build_parser(description: str | None, experiments: str) -> argparse.ArgumentParser:
    """Return the options that benches share.

    Args:
        description: of the bench.
        experiments: name of its YAML file.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("--data", type=Path, nargs="+", required=True, help="data set folders to train on")
    option("--validation", type=Path, nargs="+", required=True, help="data set folders to score on; never trained on")
    option("--out", type=Path, required=True, help="folder of trainings and tables; run again to go on")
    option("--experiments", type=Path, default=FOLDER / experiments, help=f"what is compared (default {experiments})")
    option("--config", type=Path, default=FOLDER / "common.yaml", help="training settings of all (default common.yaml)")
    option("--only", nargs="+", metavar="NAME", help="some of the experiments (default all)")
    option("--seeds", type=int, nargs="+", default=[0], help="of the trainings (default 0)")
    option("--start", type=Path, help="weights whose trunk, dense head and token head all start from")
    option("--steps", type=int, help="of each training")
    option("--size", type=_size, metavar="WxH", help="of the network's input")
    option("--cache", type=Path, help="folder of prepared images (default OUT/cache)")
    option("--workers", type=int, help="processes of the evaluation (default one per core)")
    option("--repeats", type=int, default=20, help="forward passes whose median time is given; 0 = none (default 20)")
    option("--engine", default="torch", help="engine whose time is given: torch or onnxruntime (default torch)")
    return parser


def plan_of(args: argparse.Namespace, reference: str) -> Plan:
    """Return what is to be done; the reference is always among the experiments. Raises InputError."""
    only = None if args.only is None else [*args.only, reference]
    given: dict[str, Any] = {"max_steps": args.steps, "input_size": args.size}
    given = {name: value for name, value in given.items() if value is not None}
    cache = str((args.cache or args.out / "cache").resolve())
    settings = merge(read_yaml(args.config), {**given, "cache": cache})
    if "max_steps" not in settings or settings.get("max_minutes", 0) is not None:
        raise InputError(f"{args.config}: equal budgets need 'max_minutes: null', and 'max_steps' there or as --steps")
    if "input_size" not in settings:
        raise InputError(f"{args.config}: needs 'input_size', or give --size")
    return Plan(
        experiments=read_experiments(args.experiments, only),
        data=tuple(args.data),
        validation=tuple(args.validation),
        out=args.out,
        settings=settings,
        seeds=tuple(dict.fromkeys(args.seeds)),
        start=args.start,
        workers=args.workers,
    )


def run(plan: Plan, reference: str, tables: Tables, name: str, repeats: int, engine: str) -> None:
    """Train and score all experiments, seed by seed, and write NAME.txt, NAME.md and NAME.json after each.

    Raises:
        InputError: something cannot be read, trained or scored.
    """
    trainer, scores = Trainer(plan), dict[str, dict[int, dict[str, Any]]]()
    costs = measure_costs(plan, reference, 0)
    planned = [(experiment, seed) for seed in plan.seeds for experiment in plan.experiments.values()]
    for number, (experiment, seed) in enumerate(planned, 1):
        scores.setdefault(experiment.name, {})[seed] = score(experiment, seed, trainer)
        same_truth(scores)
        if reference in scores:
            write(plan, name, tables(scores, costs), scores, costs)
        print(f"== {number} of {len(planned)} done: {experiment.name}, seed {seed}", flush=True)
    costs = measure_costs(plan, reference, repeats, engine)
    print("\n" + write(plan, name, tables(scores, costs), scores, costs), flush=True)


def same_truth(scores: Scores) -> None:
    """Raise InputError unless all figures are of the same truth."""
    prints = {figures["data"]["fingerprint"] for by_seed in scores.values() for figures in by_seed.values()}
    if len(prints) > 1:
        raise InputError("the validation data changed while they were scored; run again")


def write(plan: Plan, name: str, tables: Sequence[Table], scores: Scores, costs: dict[str, Cost]) -> str:
    """Write the tables as text, Markdown and JSON; return the text."""
    abouts = {one.name: one.about for one in plan.experiments.values() if one.name in scores}
    tables = [table for table in tables if table.rows]
    text = "\n\n".join(table.text() for table in tables) + "\n\n" + "\n".join(f"{k}: {v}" for k, v in abouts.items())
    lines = "\n".join(f"- {key}: {about}" for key, about in abouts.items())
    markdown = "\n\n".join(table.markdown() for table in tables) + "\n\n" + lines
    content = {
        "settings": {key: value for key, value in plan.settings.items() if key != "cache"},
        "start": plan.start.name if plan.start else None,
        "images": next(iter(next(iter(scores.values())).values()))["images"],
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__},
        "experiments": as_json(scores, costs, abouts),
    }
    for ending, written in ((".txt", text), (".md", markdown), (".json", json.dumps(content, indent=2))):
        write_file(plan.out / f"{name}{ending}", (written + "\n").encode())
    return text


def _size(text: str) -> list[int]:
    width, height = map(int, text.split("x"))
    return [width, height]

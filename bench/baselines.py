"""Ours beside the methods of the literature: `python bench/baselines.py --data D --validation V --out OUT`.

Trains every method of `bench/experiments/baselines.yaml` and scores it with the package's evaluator. All have the same
data, steps, seeds, trunk, tokens and, with `--start`, the same start; they differ in the instance head alone. Writes
`baselines.txt`, `.md` and `.json` to OUT. Run the same command again after an interruption: what is done is kept.

A start for all, trained once, which favours none but the naive method:
    amodal train --data data/train --out runs/start --config bench/experiments/start.yaml
    python bench/baselines.py ... --start runs/start/weights.safetensors --steps 3000 --seeds 0 1
"""

from __future__ import annotations

import sys

from experiments.command import build_parser, plan_of, run
from experiments.cost import Cost
from experiments.tables import Scores, Table, condition_table, main_table, margin_table, margins

from amodal_perception_ros.errors import InputError, RunError

OURS, OURS_WITHOUT_LIDAR = "fields", "fields_lidar_dropped"

OUR_MASKS = ("level_depth", "level_depth_semantics", "guided_depth")
"""Baselines for depth: their masks are ours, so in figures of masks there is nothing to compare."""


def tables(scores: Scores, costs: dict[str, Cost]) -> list[Table]:
    """Return the table of methods, ours against the best of the others, and ours by weather."""
    found = [main_table(scores, costs, OURS)]
    others = [name for name in scores if name not in (OURS, OURS_WITHOUT_LIDAR)]
    if others:
        found.append(margin_table(margins(scores, OURS, others, OUR_MASKS), OURS))
    return [*found, condition_table(scores, [name for name in (OURS, OURS_WITHOUT_LIDAR) if name in scores])]


def main(arguments: list[str] | None = None) -> None:
    """Train, score, and print the tables."""
    args = build_parser(__doc__, "baselines.yaml").parse_args(arguments)
    try:
        run(plan_of(args, OURS), OURS, tables, "baselines", args.repeats, args.engine)
    except (InputError, RunError) as error:
        sys.exit(f"baselines: {error}")


if __name__ == "__main__":
    main()

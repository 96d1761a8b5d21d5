"""Ours with one part changed at a time: `python bench/ablations.py --data D --validation V --out OUT`.

Trains every variant of `bench/experiments/ablations.yaml` and scores it with the package's evaluator, all with the
same data, steps, seeds and, with `--start`, the same start. Writes `ablations.txt`, `.md` and `.json` to OUT, which
may be that of `baselines.py`: ours is then trained once. Run the same command again after an interruption.
"""

from __future__ import annotations

import sys

from experiments.command import build_parser, plan_of, run
from experiments.cost import Cost
from experiments.tables import Scores, Table, condition_table, difference_table, main_table

from amodal_perception_ros.errors import InputError, RunError

OURS = "fields"


def tables(scores: Scores, costs: dict[str, Cost]) -> list[Table]:
    """Return the table of variants, their differences to ours, and ours by weather."""
    return [main_table(scores, costs, OURS), difference_table(scores, OURS), condition_table(scores, [OURS])]


def main(arguments: list[str] | None = None) -> None:
    """Train, score, and print the tables."""
    args = build_parser(__doc__, "ablations.yaml").parse_args(arguments)
    try:
        run(plan_of(args, OURS), OURS, tables, "ablations", args.repeats, args.engine)
    except (InputError, RunError) as error:
        sys.exit(f"ablations: {error}")


if __name__ == "__main__":
    main()

"""Scores runs (models or stored predictions) and the trivial baselines on annotated data, in one pass."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from amodal_perception_ros.datasets.files import write_file
from amodal_perception_ros.errors import CauseCount
from amodal_perception_ros.evaluation.baselines import BASELINES
from amodal_perception_ros.evaluation.bootstrap import RESAMPLES, weights
from amodal_perception_ros.evaluation.comparison import compare, format_comparison
from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.evaluation import Evaluation
from amodal_perception_ros.evaluation.evaluator import Evaluator, headline
from amodal_perception_ros.evaluation.pairs import Rules
from amodal_perception_ros.evaluation.scoring import Job, ScoredSequence, Scorer, chunks, read_again
from amodal_perception_ros.evaluation.sources import DataSet, Model, Source
from amodal_perception_ros.evaluation.table import counted, format_table, interval_note, part_name
from amodal_perception_ros.evaluation.workers import cores, score_in_workers

_CHUNK_FRAMES = 4
_CONDITIONS = ("weather", "layout")


def evaluate(
    data: DataSet,
    sources: Mapping[str, Source],
    rules: Rules | None = None,
    workers: int | None = None,
    resamples: int = RESAMPLES,
    with_baselines: bool = True,
) -> Evaluation:
    """Score runs and the baselines made from the first run's visible masks on every frame of a data set.

    The results do not depend on the number of processes.

    Args:
        data: the truth.
        sources: name -> run.
        rules: what is scored.
        workers: number of processes; None for one per core, or a single one where a graphics card runs a network.
        resamples: bootstrap replicates behind the confidence intervals; 0 leaves them out.
        with_baselines: whether the baselines are scored, which takes most of the time.

    Raises:
        EvaluationError: there are no frames, or a prediction cannot be scored.
        InputError: data, weights or predictions cannot be read.
    """
    repeated = [name for name in sources if name in BASELINES]
    if repeated or not sources:
        raise EvaluationError(f"a run cannot be called '{repeated[0]}'" if repeated else "there is no run to score")
    job = Job(data, dict(sources), rules or Rules(), with_baselines)
    scorer = job.open()
    total = _Total(job, scorer, resamples)
    groups = chunks(scorer.sequences, _CHUNK_FRAMES)
    workers = min(workers or _default_workers(sources), len(groups))
    scored = score_in_workers(job, groups, workers) if workers > 1 else (scorer.score(group) for group in groups)
    for one in _with_progress(scored, [len(sequence) for sequence in scorer.sequences]):
        total.add(one)
    results = {name: total.results(name) for name in _with_bar([*sources, *job.baselines])}
    runs = {name: results.pop(name) for name in sources}
    return Evaluation(runs, results, partial(read_again, job))


def report(evaluation: Evaluation) -> str:
    """Return the text that `amodal evaluate` prints: what was scored and what was not, the table, the comparison.

    Figures from files stand in the comparison alone.

    Raises:
        EvaluationError: the runs cannot be compared.
    """
    first = next(iter(evaluation.runs.values()))
    size = first["data"]
    named = (
        ("images",)
        if part_name(size["sequences"], size["frames"], size["images"]) == "image"
        else ("frames", "images", "sequences")
    )
    lines = [f"{', '.join(counted(size[name], name[:-1]) for name in named)} ({size['classes']})"]
    if size["images_without_objects"]:
        lines.append(f"images without true objects, scored too: {size['images_without_objects']}")
    for name, results in evaluation.runs.items():
        lines += _left_out(name, results)
    lines.append(f"confidence intervals: {interval_note(first)}")
    texts = ["\n".join(lines)]
    if evaluation.reread is not None:
        texts.append(format_table(evaluation.runs | evaluation.baselines))
    if evaluation.reread is None or len(evaluation.runs) > 1:
        texts.append(format_comparison(compare(evaluation.runs)))
    return "\n\n".join(texts)


def write_json(evaluation: Evaluation, path: Path) -> None:
    """Write the figures as strict JSON, and the folder where it is missing; raises DatasetError."""
    write_file(path, (json.dumps(evaluation.to_dict(), indent=2, allow_nan=False) + "\n").encode())


class _Total:
    """The figures of the whole set: those of its sequences, merged in their order."""

    def __init__(self, job: Job, scorer: Scorer, resamples: int) -> None:
        self._scorer, self._resamples, self._rules = scorer, resamples, job.rules
        self._runs = tuple(job.sources)
        self._told = {name: {"source": str(source)} for name, source in job.sources.items()}
        self._paths = [str(path) for path in job.data.paths]
        self._methods = {name: self._evaluator() for name in (*job.sources, *job.baselines)}
        self._conditions: dict[tuple[str, str, str], Evaluator] = {}
        self._note_repairs(scorer.found[""])
        for name in self._runs:
            excluded = self._methods[name].excluded
            excluded.merge(scorer.found[name].renamed("prediction_"))
            excluded.merge(scorer.unknown[name].renamed("prediction_for_"))

    def add(self, part: ScoredSequence) -> None:
        """Add a sequence."""
        sequence = self._scorer.sequences[part.position]
        drawn = weights(sequence.name, self._resamples) if self._resamples else None
        for name, evaluator in part.methods.items():
            self._methods[name].merge(evaluator, part.digest, drawn)
        self._note_repairs(part.repairs)
        resolved = sequence.info.get("resolved", {})
        for kind in _CONDITIONS:
            for name in self._runs if kind in resolved else ():
                key = name, kind, resolved[kind]
                self._conditions.setdefault(key, self._evaluator()).merge(part.methods[name], part.digest)

    def results(self, name: str) -> dict[str, Any]:
        """Return the figures of a run or baseline, in the form of the JSON file."""
        evaluator = self._methods[name]
        results = {"name": name, **self._told.get(name, {}), **evaluator.results(), **evaluator.intervals()}
        results["data"]["paths"] = self._paths
        if name not in self._runs:
            results.pop("worst", None)
        conditions = dict[str, dict[str, Any]]()
        for (run, kind, value), part in sorted(self._conditions.items()):
            if run == name:
                figures = part.results()
                conditions.setdefault(kind, {})[value] = {"frames": figures["frames"], **headline(figures)}
        return results | ({"per_condition": conditions} if conditions else {})

    def _note_repairs(self, of_truth: CauseCount) -> None:
        for evaluator in self._methods.values():
            evaluator.excluded.merge(of_truth.renamed("truth_"))

    def _evaluator(self) -> Evaluator:
        sequences = self._scorer.sequences
        missing = {piece for sequence in sequences for piece in sequence.missing}
        return Evaluator(sequences[0].classes, self._rules, missing)


def _default_workers(sources: Mapping[str, Source]) -> int:
    return 1 if any(isinstance(source, Model) and source.uses_gpu for source in sources.values()) else cores()


def _left_out(name: str, results: dict[str, Any]) -> list[str]:
    excluded, places = results.get("excluded", {}), results.get("excluded_places", {})
    if not excluded:
        return [f"{name}: nothing was left out or corrected"]
    lines = [f"{name}: left out or corrected"]
    width = len(str(max(excluded.values())))
    return lines + [f"  {n:{width}} {cause}: {'; '.join(places[cause][:2])}" for cause, n in excluded.items()]


def _with_bar(names: list[str]) -> Iterator[str]:
    """Pass on the names of methods, with a bar on a terminal and a line in a log: their intervals take a while."""
    on_terminal = sys.stderr.isatty()
    if not on_terminal:
        print(f"evaluated all frames, now figures and intervals of {len(names)} methods", file=sys.stderr, flush=True)
    yield from tqdm(names, unit="method", desc="intervals", disable=not on_terminal)


def _with_progress(scored: Iterator[list[ScoredSequence]], frames: list[int]) -> Iterator[ScoredSequence]:
    """Pass on what was scored, with a bar on a terminal and at most ten lines in a log."""
    start, on_terminal, done, told = time.monotonic(), sys.stderr.isatty(), 0, 0
    with tqdm(total=sum(frames), unit="frame", desc="evaluate", disable=not on_terminal) as bar:
        for group in scored:
            for one in group:
                yield one
                done += frames[one.position]
                bar.update(frames[one.position])
            if not on_terminal and done * 10 // sum(frames) > told:
                told = done * 10 // sum(frames)
                left = (time.monotonic() - start) / max(1, done) * (sum(frames) - done)
                text = f"evaluated {done} of {sum(frames)} frames, about {tqdm.format_interval(left)} left"
                print(text, file=sys.stderr, flush=True)

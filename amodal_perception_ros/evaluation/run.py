"""Scores a model, or stored predictions, and the trivial baselines on annotated sequences in one pass."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from amodal_perception_ros.datasets.amodal_synth_drive import SequenceReader, read_sequences, readable_sequences
from amodal_perception_ros.evaluation.baselines import BASELINES
from amodal_perception_ros.evaluation.decoding import EvaluationError, decode
from amodal_perception_ros.evaluation.evaluator import Evaluator
from amodal_perception_ros.evaluation.pairs import Rules
from amodal_perception_ros.evaluation.table import format_table
from amodal_perception_ros.fusion.bev import BevMapper
from amodal_perception_ros.perception import Perception
from amodal_perception_ros.scene import BevOccupancy, CameraScene, Sample, SurroundScene

Predictor = Callable[[Sample], SurroundScene]

OURS = "ours"
"""Name of the scored model in tables and results."""


def evaluate(data: Sequence[Path], predict: Predictor, rules: Rules | None = None) -> dict[str, dict[str, Any]]:
    """Score a predictor and the baselines made from its visible masks on every frame of some data sets.

    Sequences that cannot be read are named and left out.

    Args:
        data: data set or sequence directories.
        predict: called with each sample; must look at `sample.frame` only.
        rules: what is scored.

    Returns:
        Method name -> figures (`Evaluator.results`); the predictor's are under "ours".

    Raises:
        EvaluationError: there are no frames, or a prediction cannot be scored.
    """
    sequences = readable_sequences(data, parts=("images", "truth", "lidar", "bev"))
    methods = {OURS: _Method(_as_predicted, rules), **{n: _Method(make, rules) for n, make in BASELINES.items()}}
    for sample in _samples(sequences):
        _add_frame(methods, sample, predict(sample))
    if not methods[OURS].evaluator.images:
        raise EvaluationError(f"no annotated frames in {', '.join(map(str, data))}")
    return {name: method.evaluator.results() for name, method in methods.items()}


def stored_predictions(root: Path) -> Predictor:
    """Return a predictor that reads what another program wrote in the data set format, by sequence and frame."""
    sequences = {sequence.name: sequence for sequence in read_sequences(root, parts=("truth",))}

    def predict(sample: Sample) -> SurroundScene:
        sequence = sequences.get(sample.sequence)
        if sequence is None or sample.index >= len(sequence):
            raise EvaluationError(f"{root} has no prediction for frame {sample.index} of sequence {sample.sequence}")
        return sequence[sample.index].truth

    return predict


def evaluate_command(
    data: Sequence[Path],
    weights: Path | None = None,
    predictions: Path | None = None,
    json: Path | None = None,
    engine: str = "torch",
) -> int:
    """Run `amodal evaluate`: print the table, write the JSON file if asked; returns the exit code 0.

    Raises:
        InputError: wrong data, weights or predictions.
    """
    if predictions is not None:
        predict = stored_predictions(predictions)
    else:
        perception = Perception.from_weights(weights, engine=engine)

        def predict(sample: Sample) -> SurroundScene:
            return perception.perceive(sample.frame)

    results = evaluate(data, predict)
    ours = results[OURS]
    print(f"{ours['frames']} frames, {ours['images']} images")
    print(format_table(results))
    print("left out: " + ", ".join(f"{reason} {count}" for reason, count in ours["excluded"].items()))
    if json is not None:
        baselines = {name: results[name] for name in BASELINES}
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(json_format.dumps({**ours, "baselines": baselines}, indent=2) + "\n")
    return 0


class _Method:
    """A method: how it changes a predicted camera scene, its figures, and its map of the current sequence."""

    def __init__(self, change: Callable[[CameraScene], CameraScene], rules: Rules | None) -> None:
        self.change = change
        self.evaluator = Evaluator(rules)
        self._mapper, self._sequence = BevMapper(), ""

    def map(self, sample: Sample, prediction: SurroundScene) -> BevOccupancy:
        """Return the occupancy after this frame; the memory starts afresh with every sequence."""
        if sample.sequence != self._sequence:
            self._mapper, self._sequence = BevMapper(), sample.sequence
        return self._mapper.update(sample.frame, prediction)


def _as_predicted(scene: CameraScene) -> CameraScene:
    return scene


def _add_frame(methods: dict[str, _Method], sample: Sample, prediction: SurroundScene) -> None:
    where = f"sequence {sample.sequence} frame {sample.index}"
    missing = [camera for camera in sample.truth.cameras if camera not in prediction.cameras]
    if missing:
        raise EvaluationError(f"{where}: no prediction for camera '{missing[0]}'")
    truth = {camera: decode(scene, where) for camera, scene in sample.truth.cameras.items()}
    for method in methods.values():
        cameras = {camera: method.change(prediction.cameras[camera]) for camera in truth}
        for camera, scene in cameras.items():
            method.evaluator.add_decoded(truth[camera], decode(scene, where))
        if sample.bev is not None and sample.frame.odom_from_base is not None:
            estimate = method.map(sample, replace(prediction, cameras=cameras))
            method.evaluator.add_bev(sample.bev, estimate, where)


def _samples(sequences: list[SequenceReader]) -> Iterator[Sample]:
    """Yield every sample with a progress bar on a terminal, a line per sequence in a log."""
    on_terminal = sys.stderr.isatty()
    total = sum(map(len, sequences))
    with tqdm(total=total, unit="frame", desc="evaluate", disable=not on_terminal) as bar:
        for number, sequence in enumerate(sequences, 1):
            for index in range(len(sequence)):
                yield sequence[index]
                bar.update()
            if not on_terminal:
                print(f"evaluated sequence {number} of {len(sequences)}: {sequence.name}", file=sys.stderr, flush=True)

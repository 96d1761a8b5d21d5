"""Makes the probabilities of a network honest on sequences that it has not learned from, and says how honest they are.

Source: Platt 1999 (see `logistic`); what is measured: Guo et al. 2017 (see `metrics.calibration`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from amodal_perception_ros.datasets.annotated import AnnotatedSequence
from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.logistic import fit_logistic
from amodal_perception_ros.evaluation.metrics.calibration import (
    reliability_curve,
    reliability_figures,
    reliability_sums,
)
from amodal_perception_ros.evaluation.outcomes import Outcomes, joined, observe
from amodal_perception_ros.evaluation.sources import DataSet, require_model_input
from amodal_perception_ros.evaluation.table import align
from amodal_perception_ros.evaluation.thresholds import choose_thresholds, quality_sums, thing_quality
from amodal_perception_ros.network import WeightsError, load_weights, save_weights
from amodal_perception_ros.perception import create_engine
from amodal_perception_ros.perception.calibration import Calibration

FOLDS = 5
"""What is measured of a sequence comes from a fit to the other folds."""

INPUT_SIZE = (512, 288)

_Probabilities = Callable[[Calibration, Outcomes], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    """A fitted calibration and what it does on sequences that it was not fitted to.

    Attributes:
        calibration: fitted to all sequences.
        sequences: their names.
        figures: title -> {"count", "before", "after"}: the last two hold "ece", "brier", "nll" and the "reliability"
            bins (`metrics.calibration`) without the calibration and, cross-validated, with it.
        quality: {"APQ_T", "APQ_T_O"} -> {"before", "after"}: strict, per cent, as `thresholds.quality_sums` reckons
            them, with the default thresholds and, cross-validated, with the chosen ones.
    """

    calibration: Calibration
    sequences: tuple[str, ...]
    figures: dict[str, dict[str, Any]]
    quality: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return what `amodal calibrate --json` writes."""
        calibration = json.loads(next(iter(self.calibration.to_metadata().values())))
        return {
            "sequences": list(self.sequences),
            "calibration": calibration,
            "figures": self.figures,
            "quality": self.quality,
        }

    def __str__(self) -> str:
        lines = [["", "of", "ECE", "after", "Brier", "after", "NLL", "after"]]
        for title, row in self.figures.items():
            pairs = [f"{row[side][name]:.4f}" for name in ("ece", "brier", "nll") for side in ("before", "after")]
            lines.append([title, str(row["count"]), *pairs])
        c, quality = self.calibration, self.quality
        gains = [f"{name} {row['before']:.1f} -> {row['after']:.1f}" for name, row in quality.items()]
        return "\n".join(
            [
                align(lines),
                "",
                f"score: {c.score[0]:.3f} logit P(thing) + {c.score[1]:.3f} quality logit + {c.score[2]:.3f}, "
                f"amodal: {c.amodal[0]:.3f} logit + {c.amodal[1]:.3f}, "
                f"where seen {c.seen[0]:.3f} logit + {c.seen[1]:.3f}, "
                f"occluded: {c.occluded[0]:.3f} logit + {c.occluded[1]:.3f}",
                f"thresholds: score {c.score_threshold:g}, hidden pixel {c.mask_probability:g}, "
                f"occluded {c.occluded_threshold:g}, "
                f"hidden part {c.min_hidden_px} px",
                f"strict quality of things, others left as they are: {', '.join(gains)}",
                f"fitted to {len(self.sequences)} sequences; 'after' is measured on sequences that a fit has not seen",
            ]
        )


def calibrate(weights: Path, data: Sequence[Path], out: Path, names: Sequence[str] | None = None) -> CalibrationResult:
    """Fit a calibration of a weights file and write a copy of the weights with it.

    Args:
        weights: a .safetensors file.
        data: data sets with truth.
        out: the file to write; may be the same.
        names: sequences to fit to; None for those that the weights name as held out of their training.

    Raises:
        WeightsError: the weights cannot be used.
        EvaluationError: the data hold no such sequences, or the network was trained on one of them.
        DatasetError: the data cannot be read.
    """
    network, metadata = load_weights(weights)
    sequences = held_out(DataSet(tuple(data)).open(with_images=True), metadata, names)
    require_model_input(sequences, "calibrate on other data")
    engine = create_engine(weights, "torch", "auto", "float32", INPUT_SIZE, 1)
    observed = tqdm(
        observe(engine, sequences, INPUT_SIZE), "calibrate", len(sequences), unit="sequence", file=sys.stderr
    )
    outcomes = joined(list(observed))
    result = measure(outcomes, tuple(sequence.name for sequence in sequences))
    told = {"calibration_sequences": json.dumps(result.sequences)}
    save_weights(out, network, metadata | result.calibration.to_metadata() | told)
    return result


def held_out(
    sequences: Sequence[AnnotatedSequence], metadata: dict[str, str], names: Sequence[str] | None
) -> list[AnnotatedSequence]:
    """Return the sequences to fit to: at least two, none of which the weights were trained on; see `calibrate`.

    Raises:
        EvaluationError: there are no such sequences.
    """
    trained = _told(metadata, "training_sequences")
    wanted = _told(metadata, "validation_sequences") if names is None else list(names)
    learned = [name for name in wanted if name in trained]
    if learned:
        raise EvaluationError(
            f"sequence {learned[0]} was trained on: the network is surer of it than of new ones; name others"
        )
    known = {sequence.name: sequence for sequence in sequences}
    absent = [name for name in wanted if name not in known]
    if names is not None and absent:
        raise EvaluationError(f"the data have no sequence {absent[0]}; they have {', '.join(sorted(known)[:5])}, ...")
    chosen = [known[name] for name in wanted if name in known]
    if len(chosen) < 2:
        raise EvaluationError(
            f"calibration needs at least 2 sequences, but the data hold {len(chosen)} of the {len(wanted)} that "
            + ("are named" if names is not None else "the weights name as held out; name some with --sequences")
        )
    return chosen


def _told(metadata: dict[str, str], key: str) -> list[str]:
    """Return the names of sequences that weights tell, none where they tell nothing."""
    try:
        return [str(name) for name in json.loads(metadata.get(key, "[]"))]
    except (ValueError, TypeError) as error:
        raise WeightsError(f"the entry {key} of the weights is no list of names: {metadata[key][:40]}") from error


def fit(outcomes: Outcomes) -> Calibration:
    """Fit logistic regressions to outcomes and choose the thresholds on what they give."""
    objects, pixels, identity = outcomes.objects, outcomes.pixels, Calibration()
    found = objects[objects["right"]]
    logits = np.column_stack([objects["thing_logit"], objects["quality_logit"]])
    thing, quality, constant = fit_logistic(logits, objects["right"], identity.score)
    (scale, shift), (seen_scale, seen_shift) = (
        fit_logistic(part["logit"][:, None], part["inside"], identity.amodal)
        for part in (pixels[~pixels["seen"]], pixels[pixels["seen"]])
    )
    steepness, middle = fit_logistic(found["occluded_logit"][:, None], found["occluded"], identity.occluded)
    calibration = Calibration((thing, quality, constant), (scale, shift), (seen_scale, seen_shift), (steepness, middle))
    return choose_thresholds(outcomes, calibration)


def measure(outcomes: Outcomes, names: tuple[str, ...]) -> CalibrationResult:
    """Fit to all outcomes, and measure by cross-validation over the sequences, of which `names` are the names."""
    folds = [np.arange(len(names))[fold::FOLDS] for fold in range(min(FOLDS, len(names)))]
    held = [(fit(outcomes.of(np.setdiff1d(np.arange(len(names)), fold))), outcomes.of(fold)) for fold in folds]
    return CalibrationResult(fit(outcomes), names, _figures(held), _quality(held))


def _figures(held: Sequence[tuple[Calibration, Outcomes]]) -> dict[str, dict[str, Any]]:
    figures = {}
    for title, probabilities in _KINDS.items():
        before = _sums([probabilities(Calibration(), part) for _, part in held])
        after = _sums([probabilities(calibration, part) for calibration, part in held])
        if before["count"].any():
            figures[title] = {
                "count": int(before["count"].sum()),
                **{
                    side: {**reliability_figures(sums), "reliability": reliability_curve(sums)}
                    for side, sums in (("before", before), ("after", after))
                },
            }
    return figures


def _sums(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    probability, outcome = (np.concatenate(column) for column in zip(*parts))
    return reliability_sums(probability, outcome)


def _quality(held: Sequence[tuple[Calibration, Outcomes]]) -> dict[str, dict[str, float]]:
    before = thing_quality(np.sum([quality_sums(part, Calibration()) for _, part in held], axis=0))
    after = thing_quality(np.sum([quality_sums(part, calibration) for calibration, part in held], axis=0))
    return {name: {"before": b, "after": a} for name, b, a in zip(("APQ_T", "APQ_T_O"), before, after)}


def _scores(calibration: Calibration, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    objects = outcomes.objects
    return calibration.scores_of_logits(objects["thing_logit"], objects["quality_logit"]), objects["right"]


def _occluded(calibration: Calibration, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    found = outcomes.objects[outcomes.objects["right"]]
    return calibration.occluded_probability(found["occluded_logit"]), found["occluded"]


def _amodal(calibration: Calibration, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    pixels = outcomes.pixels
    return calibration.amodal_probability(pixels["logit"], pixels["seen"]), pixels["inside"]


def _unseen(calibration: Calibration, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    pixels = outcomes.pixels[~outcomes.pixels["seen"]]
    return calibration.amodal_probability(pixels["logit"], pixels["seen"]), pixels["inside"]


_KINDS: dict[str, _Probabilities] = {
    "score": _scores,
    "amodal pixel": _amodal,
    "amodal pixel, not seen": _unseen,
    "occluded": _occluded,
}

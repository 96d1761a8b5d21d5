"""Metrics of amodal perception: definitions and rules are in docs/metrics.md.

`evaluate_pairs` scores pairs of true and predicted camera scenes, `Evaluator` does so one by one, `format_table`
compares methods, `run.evaluate` reads data sets and scores runs next to the trivial baselines, in processes, and
`comparison.compare` tells by how much runs differ.
"""

from amodal_perception_ros.evaluation.baselines import (
    BASELINES,
    amodal_is_amodal_box,
    amodal_is_box,
    amodal_is_visible,
)
from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.evaluator import Evaluator, evaluate_pairs
from amodal_perception_ros.evaluation.pairs import Rules
from amodal_perception_ros.evaluation.table import format_table

__all__ = [
    "BASELINES",
    "EvaluationError",
    "Evaluator",
    "Rules",
    "amodal_is_amodal_box",
    "amodal_is_box",
    "amodal_is_visible",
    "evaluate_pairs",
    "format_table",
]

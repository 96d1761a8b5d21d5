"""What an evaluation found: the figures of every run, and a way back to the images that are most wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.worst import ImageErrors, WorstImage

Reread = Callable[[str, list[ImageErrors]], Iterator[WorstImage]]
"""Reads images of a run again."""


@dataclass(eq=False)
class Evaluation:
    """The figures of one or more runs over the same data.

    Attributes:
        runs: name -> figures (`Evaluator.results`, with intervals), in the order in which they were given.
        baselines: name -> figures of the trivial baselines, made from the visible masks of the first run.
        reread: reads images of a run again; None for figures that come from a file.
    """

    runs: dict[str, dict[str, Any]]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    reread: Reread | None = None

    def worst_images(self, run: str) -> Iterator[WorstImage]:
        """Read the worst images of a run again, the worst first; none where the data are not at hand."""
        worst = [_image_errors(item) for item in self.runs[run].get("worst", [])]
        return iter(()) if self.reread is None else self.reread(run, worst)

    def to_dict(self) -> dict[str, Any]:
        """Return what `amodal evaluate --json` writes: the first run's figures, "baselines" and further "runs"."""
        first, *others = self.runs
        # Only runs are compared from files; the replicates of the baselines would be most of the file.
        baselines = {
            name: {key: value for key, value in results.items() if key != "replicates"}
            for name, results in self.baselines.items()
        }
        content = {**self.runs[first], "baselines": baselines}
        return {**content, "runs": {name: self.runs[name] for name in others}} if others else content

    @classmethod
    def from_file(cls, path: Path) -> Evaluation:
        """Read what `amodal evaluate --json` wrote.

        Raises:
            EvaluationError: there is no such file, or it is not of that kind.
        """
        try:
            content = json.loads(path.read_text())
            baselines, others = content.pop("baselines"), content.pop("runs", {})
            runs = {content["name"]: content, **others}
            lacking = {key for results in runs.values() for key in ("data", "rules") if key not in results}
            if lacking:
                raise KeyError(*sorted(lacking))
            return cls(runs, baselines)
        except OSError as error:
            raise EvaluationError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(f"{path}: not written by 'amodal evaluate --json' ({error!r})") from error


def _image_errors(item: dict[str, Any]) -> ImageErrors:
    edges = tuple((a, b) for a, b in item["order_errors"])
    return ImageErrors(
        item["sequence"], item["index"], item["camera"], tuple(item["missed"]), tuple(item["invented"]), edges
    )

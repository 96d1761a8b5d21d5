"""What is compared: experiments from a YAML file, and what all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from amodal_perception_ros.errors import InputError
from experiments.changes import Changes

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Experiment:
    """One row of a table.

    Attributes:
        name: of the row and of its folder.
        about: what it is, in one line.
        settings: what differs from the common training settings, see `TrainConfig`.
        changes: what differs and is no setting of the package.
        weights_of: experiment whose weights are scored; "" trains its own.
        lidar: whether the network is given the LiDAR points when it is scored.
    """

    name: str
    about: str
    settings: dict[str, Any] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    weights_of: str = ""
    lidar: bool = True


@dataclass(frozen=True)
class Plan:
    """What all experiments share.

    Attributes:
        experiments: name -> experiment, in the order of the table.
        data: training data set folders.
        validation: data set folders that are scored.
        out: folder of the results; one folder in it for each experiment and seed.
        settings: common training settings.
        seeds: of the trainings.
        start: weights whose trunk, dense head and token head initialise every training; None = untrained.
        workers: processes of the evaluation; None = one per core.
    """

    experiments: dict[str, Experiment]
    data: tuple[Path, ...]
    validation: tuple[Path, ...]
    out: Path
    settings: dict[str, Any]
    seeds: tuple[int, ...] = (0,)
    start: Path | None = None
    workers: int | None = None

    def trained(self, experiment: Experiment) -> Experiment:
        """Return the experiment whose weights an experiment is scored with."""
        return self.experiments[experiment.weights_of] if experiment.weights_of else experiment

    def folder(self, experiment: Experiment, seed: int) -> Path:
        """Return the folder of a training."""
        return self.out / self.trained(experiment).name / f"seed{seed}"

    def settings_of(self, experiment: Experiment, seed: int) -> dict[str, Any]:
        """Return all training settings of an experiment; its own win over the common ones."""
        own = self.trained(experiment)
        merged = merge(self.settings, own.settings)
        return {**merged, "seed": seed, "model_id": f"{own.name}-seed{seed}"}


def merge(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return common settings with some replaced; mappings in them are merged the same way."""
    merged = dict(common)
    for key, value in own.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file; raises InputError."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a mapping, got {type(content).__name__}")
    return content


def read_experiments(path: Path, chosen: list[str] | None = None) -> dict[str, Experiment]:
    """Read a YAML file: name -> {about, settings, changes, weights_of, lidar}.

    Args:
        path: the file.
        chosen: names that are wanted; None for all. Those whose weights they are scored with come along.

    Raises:
        InputError: the file cannot be read, or a name, key or reference in it is unknown.
    """
    found = {name: _experiment(path, name, values) for name, values in read_yaml(path).items()}
    for one in found.values():
        if one.weights_of and (one.weights_of not in found or found[one.weights_of].weights_of):
            raise InputError(f"{path}: '{one.name}' takes the weights of '{one.weights_of}', which trains none")
    unknown = sorted(set(chosen or ()) - found.keys())
    if unknown:
        raise InputError(f"unknown experiments {unknown}; {path.name} has {', '.join(found)}")
    wanted = set(chosen or found)
    wanted |= {found[name].weights_of for name in wanted}
    return {name: one for name, one in found.items() if name in wanted}


def _experiment(path: Path, name: str, values: Any) -> Experiment:
    known = {item.name for item in fields(Experiment)} - {"name"}
    if not isinstance(values, dict) or "about" not in values or not set(values) <= known:
        raise InputError(f"{path}: '{name}' must be a mapping with 'about' and at most {sorted(known)}")
    try:
        return Experiment(name, **{**values, "changes": Changes(**values.get("changes", {}))})
    except TypeError as error:
        raise InputError(f"{path}: '{name}': {error}; changes are {sorted(asdict(Changes()))}") from error

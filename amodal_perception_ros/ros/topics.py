"""Topic names of a rig: which topics of a vehicle or simulator stand for the nodes' relative ones.

Plain Python, so that the launch file and tests use it without a running ROS graph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from amodal_perception_ros.errors import InputError
from amodal_perception_ros.ros.parameter_table import Value, check_values, flatten

CAMERA = "{camera}"
"""Stands for the name of each camera, in both columns of a topics file."""

_TOPIC = re.compile(r"[~/]?[A-Za-z0-9_{}]+(/[A-Za-z0-9_{}]+)*")


class TopicsError(InputError):
    """A topics or parameter file cannot be used; the message names the file and what is wrong."""


def topics_file_of(params_file: Path) -> Path | None:
    """Return the topics file that belongs to a parameter file: `NAME.topics.yaml` beside `NAME.yaml`, or None."""
    path = params_file.with_suffix(".topics.yaml")
    return path if path.is_file() else None


def remappings(params_file: Path, topics_file: Path | None = None) -> list[tuple[str, str]]:
    """Return the remappings (from, to) for the nodes of a rig.

    A topics file maps relative topics of the nodes to those of the rig, for example
    "{camera}/image": /carla/ego_vehicle/rgb_{camera}/image. An image topic stands for its compressed twin too.

    Args:
        params_file: parameter file of the nodes, which names the cameras.
        topics_file: YAML mapping; None takes the one that belongs to the parameter file, if there is one.

    Raises:
        TopicsError: a file is missing or is not such a mapping.
        ParameterError: a value in the parameter file is wrong.
    """
    cameras: Any = read_parameters(params_file)["cameras"]
    topics_file = topics_file or topics_file_of(params_file)
    if topics_file is None:
        return []
    pairs: dict[str, str] = {}
    for source, target in _load(topics_file).items():
        if not all(isinstance(name, str) and _TOPIC.fullmatch(name) for name in (source, target)):
            raise TopicsError(f"{topics_file}: '{source}: {target}' does not map one topic name to another")
        for camera in cameras if CAMERA in source else [""]:
            pairs[source.replace(CAMERA, camera)] = target.replace(CAMERA, camera)
    images = {f"{camera}/image" for camera in cameras}
    twins = {f"{name}/compressed": f"{pairs[name]}/compressed" for name in images & pairs.keys()}
    return sorted({**twins, **pairs}.items())


def read_parameters(params_file: Path) -> dict[str, Value]:
    """Return every parameter of the perception node as a parameter file sets it, else its default.

    Sections for several node names are taken together.

    Raises:
        TopicsError: the file is missing or is no parameter file.
        ParameterError: a value is wrong.
    """
    values: dict[str, Any] = {}
    for section in _load(params_file).values():
        parameters = section.get("ros__parameters") if isinstance(section, Mapping) else None
        if not isinstance(parameters, Mapping):
            raise TopicsError(f"{params_file}: not a ROS parameter file, 'ros__parameters' is missing")
        values.update(flatten(parameters))
    return check_values(values)


def _load(path: Path) -> Mapping[Any, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TopicsError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise TopicsError(f"{path}: not a YAML mapping")
    return content

"""The one table of node parameters: declarations, JSON schema, YAML file and documentation all come from it.

Plain Python, so that a parameter file can be checked without a running ROS graph.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from amodal_perception_ros.errors import InputError

LIDAR = "lidar"
ODOMETRY = "odometry"
"""Names of the two sensors that are not cameras, in parameters, diagnostics and `missing`."""

DEFAULT_CAMERAS = ("front", "right", "back", "left")
OUTPUTS = ("panoptic", "amodal_depth", "bev", "occupancy_grid", "occupied_points", "objects", "markers", "debug")
"""What can be switched off under `publish.*`."""

MAX_CELLS = 4000
"""Most grid cells a side."""

Value = bool | int | float | str | list[str] | list[int] | list[float]


class ParameterError(InputError):
    """A parameter has a wrong type or value; the message is one line that names it and what is allowed."""


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: dotted name; a name that ends with ".*" stands for one parameter per sensor.
        default: value when nothing is set; its type (and its elements' type) is the parameter's type. For a
            per-sensor parameter without a default it is only an example of the type.
        description: what it does, a full sentence.
        unit: "" for a number without a unit.
        minimum, maximum: inclusive range of the number or of every element.
        multiple_of: the integer or every element is a multiple of this.
        choices: allowed strings.
        pattern: regular expression that the string or every element matches entirely.
        lengths: least and greatest number of elements of a list.
        has_default: False when the parameter may stay unset.
    """

    name: str
    default: Value
    description: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: int | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    lengths: tuple[int, int] | None = None
    has_default: bool = True

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return isinstance(self.default, list)

    @property
    def element_type(self) -> type:
        """Python type of the value or of its elements."""
        return type(self.default[0]) if isinstance(self.default, list) else type(self.default)

    @property
    def per_sensor(self) -> bool:
        """Whether the parameter exists once per sensor."""
        return self.name.endswith(".*")

    def check(self, value: Any, name: str | None = None) -> Value:
        """Return the value in the parameter's type; integers are accepted where a float is expected.

        Raises:
            ParameterError: wrong type, range, choice or length.
        """
        name = name or self.name
        if not self.is_list:
            return self._check_element(value, name)
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
            raise ParameterError(f"parameter '{name}' must be {self.allowed()}, got {value!r}")
        least, most = self.lengths or (0, len(value))
        if not least <= len(value) <= most:
            raise ParameterError(f"parameter '{name}' must be {self.allowed()}, got {len(value)} elements")
        return [self._check_element(element, name) for element in value]  # type: ignore[return-value]

    def _check_element(self, given: Any, name: str) -> Any:
        kind = self.element_type
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        value: Any = float(given) if kind is float and is_number else given
        is_kind = type(value) is kind
        accepted = (
            is_kind
            and (not self.choices or value in self.choices)
            and (not self.pattern or re.fullmatch(self.pattern, value) is not None)
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )
        if not accepted:
            raise ParameterError(f"parameter '{name}' must be {self.allowed()}, got {value!r}")
        return value

    def allowed(self) -> str:
        """Return the allowed values in words, e.g. "a number in 0.0 .. 1.0 [m]"."""
        kind = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}[self.element_type]
        if self.choices:
            kind = "one of " + ", ".join(self.choices)
        if self.minimum is not None or self.maximum is not None:
            kind += f" in {self.minimum} .. {self.maximum}"
        if self.multiple_of is not None:
            kind += f" divisible by {self.multiple_of}"
        if self.pattern:
            kind += f" that matches {self.pattern}"
        if self.is_list:
            count = "" if self.lengths is None else f"{self.lengths[0]} to {self.lengths[1]} "
            count = f"{self.lengths[0]} " if self.lengths and self.lengths[0] == self.lengths[1] else count
            kind = f"a list of {count}elements, each {kind}"
        return f"{kind} [{self.unit}]" if self.unit else kind


_NAME = "[A-Za-z][A-Za-z0-9_]*"
_FRAME = "[A-Za-z0-9_/]+"

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "cameras",
        list(DEFAULT_CAMERAS),
        "Names of the cameras, which are also the prefixes of their topics; the order is the batch order.",
        pattern=_NAME,
        lengths=(1, 8),
    ),
    ParameterSpec(
        "image_transport",
        "raw",
        "Which image topic is subscribed: <camera>/image (raw) or <camera>/image/compressed (compressed).",
        choices=("raw", "compressed"),
    ),
    ParameterSpec(
        "sensor_reliability",
        "best_effort",
        "QoS with which images and clouds are subscribed: best_effort takes them from every publisher, but large ones "
        "may get lost; reliable loses none, but gets nothing from publishers that are best effort.",
        choices=("best_effort", "reliable"),
    ),
    ParameterSpec(
        "base_frame",
        "base_link",
        "Body frame of the vehicle, on the ground: x forward, y left, z up; the child frame of the odometry.",
        pattern=_FRAME,
    ),
    ParameterSpec(
        "odom_frame",
        "odom",
        "Fixed frame of the odometry; grids, objects and markers are published in it.",
        pattern=_FRAME,
    ),
    ParameterSpec(
        "extrinsics.*",
        [0.0],
        "Pose of a sensor's frame in base_frame as x, y, z [m], qx, qy, qz, qw; a camera's frame is the optical "
        "one. Where it is set it is used instead of /tf and /tf_static.",
        lengths=(7, 7),
        has_default=False,
    ),
    ParameterSpec("weights", "", "File with the network's weights; empty selects the weights of this package."),
    ParameterSpec("engine", "torch", "What executes the network.", choices=("torch", "onnxruntime")),
    ParameterSpec(
        "device",
        "auto",
        "Device of the engine; auto takes the first CUDA device, else the CPU.",
        pattern=r"auto|cpu|cuda(:[0-9]+)?",
    ),
    ParameterSpec(
        "precision",
        "float32",
        "Arithmetic of the network; the others are for engine torch on a GPU.",
        choices=("float32", "float16", "bfloat16"),
    ),
    ParameterSpec(
        "acceleration",
        "none",
        "How engine torch starts the network: kernel by kernel, compiled (a minute or more at the start), or as a CUDA "
        "graph.",
        choices=("none", "compile", "cuda_graph"),
    ),
    ParameterSpec(
        "input_size",
        [512, 288],
        "Width and height to which images are scaled for the network.",
        unit="px",
        minimum=64,
        maximum=4096,
        multiple_of=32,
        lengths=(2, 2),
    ),
    ParameterSpec(
        "score_threshold",
        0.0,
        "Least score, the probability that an object is right, with which it is reported; 0 takes the one chosen for "
        "the weights.",
        minimum=0.0,
        maximum=0.99,
    ),
    ParameterSpec("use_lidar", True, "Whether the rig has a LiDAR; without one depth is the network's alone."),
    ParameterSpec(
        "use_odometry", True, "Whether the rig has odometry; without it no grid and no 3-D objects are published."
    ),
    ParameterSpec(
        "sync.reference",
        "",
        "Sensor that sets the pace: lidar or a camera; empty selects the LiDAR, else the first camera.",
        pattern=f"({_NAME})?",
    ),
    ParameterSpec(
        "sync.window_ms",
        45.0,
        "A message belongs to a set when its stamp is at most this far from the reference stamp; keep it below half "
        "the period of the reference. The default suits 10 Hz rigs whose cameras fire along the LiDAR's sweep.",
        unit="ms",
        minimum=0.0,
        maximum=1000.0,
    ),
    ParameterSpec(
        "sync.timeout_ms",
        100.0,
        "A set that is not complete this long after its reference message arrived is processed without the "
        "missing sensors, or dropped if there are fewer than sync.min_cameras.",
        unit="ms",
        minimum=0.0,
        maximum=10000.0,
    ),
    ParameterSpec(
        "sync.alive_ms",
        500.0,
        "A sensor that is silent for longer while others deliver is not waited for.",
        unit="ms",
        minimum=1.0,
        maximum=60000.0,
    ),
    ParameterSpec(
        "sync.jump_ms",
        1000.0,
        "Stamps that go back by more than this are a restart of the bag or simulator.",
        unit="ms",
        minimum=1.0,
        maximum=60000.0,
    ),
    ParameterSpec("sync.min_cameras", 1, "Least number of cameras in a set that is processed.", minimum=1, maximum=8),
    ParameterSpec(
        "sync.offset_ms.*",
        0.0,
        "By how much the stamps of a sensor (a camera, lidar or odometry) run ahead of the reference's; it is "
        "subtracted for matching and motion compensation, published stamps stay the sensor's.",
        unit="ms",
        minimum=-1000.0,
        maximum=1000.0,
    ),
    ParameterSpec(
        "sync.motion_compensation",
        True,
        "Whether what the cameras and the LiDAR of a set saw at their own stamps is moved to the set's stamp by the "
        "vehicle's motion in between; needs use_odometry.",
    ),
    ParameterSpec(
        "bev.extent_m",
        80.0,
        "Side of the square grid, which is centred on the vehicle.",
        unit="m",
        minimum=5.0,
        maximum=400.0,
    ),
    ParameterSpec("bev.resolution_m", 0.2, "Side of a grid cell.", unit="m", minimum=0.05, maximum=5.0),
    ParameterSpec(
        "bev.z_min_m",
        0.2,
        "Lower end of the height band above the local ground (without a LiDAR: above base_frame) that counts as an "
        "obstacle.",
        unit="m",
        minimum=-10.0,
        maximum=10.0,
    ),
    ParameterSpec(
        "bev.z_max_m",
        2.5,
        "Upper end of that height band.",
        unit="m",
        minimum=-10.0,
        maximum=10.0,
    ),
    ParameterSpec(
        "bev.ego_length_m",
        5.0,
        "Length of the vehicle's own rectangle in base_frame; LiDAR returns inside are the vehicle itself.",
        unit="m",
        minimum=0.0,
        maximum=30.0,
    ),
    ParameterSpec("bev.ego_width_m", 2.2, "Width of the vehicle's own rectangle.", unit="m", minimum=0.0, maximum=10.0),
    ParameterSpec(
        "bev.ego_center_x_m",
        0.0,
        "Where the centre of that rectangle lies ahead of base_frame.",
        unit="m",
        minimum=-15.0,
        maximum=15.0,
    ),
    ParameterSpec(
        "bev.convention",
        "nav2",
        "Cell values of occupancy_grid: nav2 publishes -1 (unknown), 0, 100; autoware publishes 1..99, 50 unknown.",
        choices=("nav2", "autoware"),
    ),
    ParameterSpec(
        "track.memory_s",
        8.0,
        "Time constant with which the existence probability of an object that is not detected decays; one that was "
        "detected in fewer than three sets decays eight times as fast.",
        unit="s",
        minimum=0.1,
        maximum=600.0,
    ),
    ParameterSpec(
        "track.min_existence",
        0.1,
        "An object that is there with a smaller probability is forgotten.",
        minimum=0.001,
        maximum=0.95,
    ),
    ParameterSpec(
        "track.gate",
        0.99,
        "Probability with which what is detected of an object lies near enough to its track to be taken for it.",
        minimum=0.5,
        maximum=0.9999,
    ),
    ParameterSpec(
        "track.max_tracks",
        256,
        "Most objects that are remembered at a time; the least probable ones are forgotten.",
        minimum=1,
        maximum=2000,
    ),
    *(
        ParameterSpec(f"publish.{output}", True, f"Whether {topics} published.")
        for output, topics in zip(
            OUTPUTS,
            (
                "<camera>/panoptic is",
                "<camera>/amodal_depth is",
                "bev is",
                "occupancy_grid is",
                "occupied_points is",
                "objects is",
                "markers is",
                "debug/pipeline_latency_ms and debug/processing_time/*_ms are",
            ),
            strict=True,
        )
    ),
    ParameterSpec(
        "diagnostics.period_s", 1.0, "Time between two messages on /diagnostics.", unit="s", minimum=0.1, maximum=60.0
    ),
    ParameterSpec(
        "diagnostics.sensor_timeout_s",
        1.0,
        "A sensor that sent nothing for this long is reported as missing.",
        unit="s",
        minimum=0.05,
        maximum=60.0,
    ),
)

VISUALIZER_PARAMETERS = tuple(
    spec for spec in PARAMETERS if spec.name in ("cameras", "image_transport", "sensor_reliability")
)

SCHEMA_FILE = "config/schema/surround.schema.json"
YAML_FILE = "config/surround.param.yaml"


def sensors(cameras: Iterable[str]) -> tuple[str, ...]:
    """Return the names of all sensors of a rig with these cameras."""
    return (*cameras, LIDAR, ODOMETRY)


def expand(specs: Iterable[ParameterSpec], cameras: Iterable[str]) -> dict[str, ParameterSpec]:
    """Return concrete parameter name -> spec, with per-sensor parameters written out."""
    table: dict[str, ParameterSpec] = {}
    for spec in specs:
        if spec.per_sensor:
            stem = spec.name[:-1]
            # Odometry has no frame of its own on the rig: it is the pose of base_frame.
            names = [s for s in sensors(cameras) if not (s == ODOMETRY and stem == "extrinsics.")]
            table.update((stem + name, spec) for name in names)
        else:
            table[spec.name] = spec
    return table


def check_values(values: Mapping[str, Any], specs: Iterable[ParameterSpec] = PARAMETERS) -> dict[str, Value]:
    """Return every parameter of `specs` with its checked value: the given one, else the default.

    Args:
        values: dotted parameter name -> value; names that are not in the table are ignored (see `unknown_names`).
        specs: the parameters of the node.

    Raises:
        ParameterError: one line that names the parameter, what is allowed and what it got.
    """
    specs = tuple(specs)
    by_name = {spec.name: spec for spec in specs}
    cameras = by_name["cameras"].check(values.get("cameras", list(DEFAULT_CAMERAS)))
    _check_camera_names(cameras)  # type: ignore[arg-type]
    checked: dict[str, Value] = {}
    for name, spec in expand(specs, cameras).items():  # type: ignore[arg-type]
        if name in values:
            checked[name] = spec.check(values[name], name)
        elif spec.has_default:
            checked[name] = spec.default
    _check_relations(checked)
    return checked


def unknown_names(names: Iterable[str], cameras: Iterable[str]) -> list[str]:
    """Return the names that are no parameter of this package (and not one of ROS itself), sorted."""
    known = {*expand(PARAMETERS, cameras), "use_sim_time", "start_type_description_service"}
    return sorted(n for n in names if n not in known and not n.startswith("qos_overrides."))


def _check_camera_names(cameras: list[str]) -> None:
    reserved = sorted({LIDAR, ODOMETRY, "debug"} & set(cameras))
    if reserved:
        raise ParameterError(f"parameter 'cameras': the name '{reserved[0]}' is reserved, rename that camera")
    if len(set(cameras)) != len(cameras):
        raise ParameterError(f"parameter 'cameras' must have unique names, got {cameras}")


def _check_relations(values: Mapping[str, Any]) -> None:
    """Raise ParameterError where two parameters contradict each other."""
    cameras, least = len(values["cameras"]), values.get("sync.min_cameras", 1)
    if least > cameras:
        raise ParameterError(f"parameter 'sync.min_cameras' is {least}, but 'cameras' names only {cameras}")
    low, high = values.get("bev.z_min_m", 0.0), values.get("bev.z_max_m", 1.0)
    if low >= high:
        raise ParameterError(f"parameter 'bev.z_min_m' ({low} m) must be below 'bev.z_max_m' ({high} m)")
    cells = values.get("bev.extent_m", 1.0) / values.get("bev.resolution_m", 1.0)
    if cells > MAX_CELLS:
        raise ParameterError(
            f"parameters 'bev.extent_m' and 'bev.resolution_m' give {cells:.0f} cells a side; at most {MAX_CELLS}"
        )
    reference = values.get("sync.reference", "")
    if reference and reference not in (*values["cameras"], *([LIDAR] if values["use_lidar"] else [])):
        raise ParameterError(
            f"parameter 'sync.reference' is '{reference}', which is neither a camera nor a LiDAR in use"
        )
    for name, pose in values.items():
        if name.startswith("extrinsics.") and not 0.99 < sum(q * q for q in pose[3:]) < 1.01:
            raise ParameterError(f"parameter '{name}': the quaternion {pose[3:]} must have length 1")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the nested `ros__parameters` of a YAML file as dotted name -> value."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a parameter file of these nodes."""
    root: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    for spec in PARAMETERS:
        *groups, leaf = spec.name.split(".")
        node = root
        for group in groups:
            empty = {"type": "object", "properties": {}, "additionalProperties": False}
            node = node["properties"].setdefault(group, empty)
        if leaf == "*":
            node["additionalProperties"] = _schema_of(spec)
        else:
            node["properties"][leaf] = _schema_of(spec)
    # Every ROS node has this one.
    root["properties"]["use_sim_time"] = {
        "type": "boolean",
        "description": "Whether time comes from /clock (bags, simulators).",
        "default": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parameters of the amodal perception nodes",
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"ros__parameters": root},
            "required": ["ros__parameters"],
            "additionalProperties": False,
        },
    }


def _schema_of(spec: ParameterSpec) -> dict[str, Any]:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    element: dict[str, Any] = {"type": kinds[spec.element_type]}
    optional = {
        "minimum": spec.minimum,
        "maximum": spec.maximum,
        "multipleOf": spec.multiple_of,
        "enum": list(spec.choices) or None,
        "pattern": f"^({spec.pattern})$" if spec.pattern else None,
    }
    element.update((key, value) for key, value in optional.items() if value is not None)
    entry = element
    if spec.is_list:
        entry = {"type": "array", "items": element}
        if spec.lengths is not None:
            entry.update(minItems=spec.lengths[0], maxItems=spec.lengths[1])
    entry["description"] = f"{spec.description} [{spec.unit}]" if spec.unit else spec.description
    if spec.unit:
        entry["unit"] = spec.unit
    if spec.has_default:
        entry["default"] = spec.default
    return entry


def yaml_text() -> str:
    """Return the text of the default parameter file, every parameter with its description."""
    lines = [
        "# Default parameters of the amodal perception nodes. Written from the table in",
        "# amodal_perception_ros/ros/parameter_table.py; config/schema/surround.schema.json is its JSON schema.",
        "/**:",
        "  ros__parameters:",
    ]
    open_groups: list[str] = []
    for spec in PARAMETERS:
        *groups, leaf = spec.name.split(".")
        if not spec.has_default:
            # Stays a comment: ROS has no value for "unset".
            lines += _yaml_comment(spec, "    ")
            lines += [f"    # {groups[0]}:", "    #   front: [1.5, 0.0, 1.6, -0.5, 0.5, -0.5, 0.5]"]
            continue
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(groups, open_groups)))
        lines += [f"{'  ' * (depth + 2)}{groups[depth]}:" for depth in range(shared, len(groups))]
        open_groups = groups
        indent = "  " * (len(groups) + 2)
        lines += _yaml_comment(spec, indent)
        names = sensors(DEFAULT_CAMERAS) if spec.per_sensor else (leaf,)
        lines += [f"{indent}{name}: {json.dumps(spec.default)}" for name in names]
    return "\n".join(lines) + "\n"


def _yaml_comment(spec: ParameterSpec, indent: str) -> list[str]:
    text = f"{spec.description} [{spec.unit}]" if spec.unit else spec.description
    return textwrap.wrap(text, 112, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def markdown_table() -> str:
    """Return the parameters as a Markdown table."""
    rows = ["| parameter | default | allowed | meaning |", "|---|---|---|---|"]
    for spec in PARAMETERS:
        name = spec.name.replace("*", "<sensor>")
        default = json.dumps(spec.default) if spec.has_default else "unset"
        allowed = spec.allowed().replace("|", "\\|")
        description = spec.description.replace("|", "\\|")
        rows.append(f"| `{name}` | `{default}` | {allowed} | {description} |")
    return "\n".join(rows) + "\n"

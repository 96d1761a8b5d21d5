"""The parameter table, the JSON schema, the YAML file, the documentation and the node's declarations are one."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amodal_perception_ros.ros.parameter_table import (
    PARAMETERS,
    SCHEMA_FILE,
    YAML_FILE,
    ParameterError,
    check_values,
    expand,
    flatten,
    markdown_table,
    schema,
    unknown_names,
    yaml_text,
)

rclpy = pytest.importorskip("rclpy")
from amodal_perception_ros.ros.parameters import PerceptionParameters, declare  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = check_values({})


def parameters_of(text: str) -> dict:
    return flatten(yaml.safe_load(text)["/**"]["ros__parameters"])


def test_schema_file_is_the_tables():
    assert json.loads((ROOT / SCHEMA_FILE).read_text()) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())


def test_yaml_file_is_the_tables_and_valid():
    text = (ROOT / YAML_FILE).read_text()
    assert text == yaml_text()
    assert parameters_of(text) == DEFAULTS
    jsonschema.validate(yaml.safe_load(text), schema())


def parameter_files():
    return [path for path in sorted((ROOT / "config").glob("*.yaml")) if "ros__parameters" in path.read_text()]


def test_the_default_file_is_among_the_parameter_files():
    assert ROOT / YAML_FILE in parameter_files()


@pytest.mark.parametrize("file", parameter_files(), ids=lambda path: path.name)
def test_every_parameter_file_is_valid(file):
    jsonschema.validate(yaml.safe_load(file.read_text()), schema())
    values = parameters_of(file.read_text())
    check_values(values)
    assert unknown_names(values, values.get("cameras", DEFAULTS["cameras"])) == []


def test_documentation_holds_the_table():
    assert markdown_table() in (ROOT / "docs" / "node.md").read_text()


def test_extrinsics_example_of_the_yaml_file_is_valid():
    example = re.search(r"#   front: (\[.*\])", yaml_text())
    assert check_values({"extrinsics.front": json.loads(example[1])})["extrinsics.front"][2] == 1.6


@pytest.mark.parametrize("spec", PARAMETERS, ids=lambda spec: spec.name)
def test_every_parameter_is_described_and_its_default_allowed(spec):
    assert spec.description.endswith(".")
    if spec.has_default:
        assert spec.check(spec.default) == spec.default


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("engine", "tensorflow", "one of torch, onnxruntime"),
        ("sync.window_ms", -1.0, "0.0 .. 1000.0"),
        ("sync.window_ms", "fast", "a number"),
        ("sync.window_ms", float("nan"), "0.0 .. 1000.0"),
        ("sync.window_ms", True, "a number"),
        ("sync.min_cameras", 2.0, "an integer"),
        ("sync.min_cameras", 5, "names only 4"),
        ("input_size", [512, 290], "divisible by 32"),
        ("input_size", [512], "2 elements"),
        ("input_size", 512, "a list"),
        ("cameras", [], "1 to 8 elements"),
        ("cameras", ["a"] * 2, "unique"),
        ("cameras", [f"c{i}" for i in range(9)], "1 to 8 elements"),
        ("cameras", ["front/left"], "matches"),
        ("cameras", ["lidar"], "reserved"),
        ("cameras", "front", "a list"),
        ("device", "gpu", "cuda"),
        ("bev.z_min_m", 3.0, "below 'bev.z_max_m'"),
        ("bev.extent_m", 4000, "5.0 .. 400.0"),
        ("sync.reference", "top", "neither a camera"),
        ("extrinsics.front", [0.0] * 7, "length 1"),
        ("extrinsics.front", [0.0] * 6, "7 elements"),
        ("base_frame", "", "matches"),
    ],
)
def test_a_wrong_value_is_one_line_with_name_and_reason(name, value, reason):
    with pytest.raises(ParameterError, match=re.escape(reason)) as error:
        check_values({name: value})
    assert f"'{name}'" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_grid_of_too_many_cells_is_refused():
    with pytest.raises(ParameterError, match="8000 cells a side; at most 4000"):
        check_values({"bev.extent_m": 400.0, "bev.resolution_m": 0.05})


@given(st.floats(0, 1000) | st.integers(0, 1000))
def test_an_integer_stands_for_a_float(value):
    checked = check_values({"sync.window_ms": value})["sync.window_ms"]
    assert checked == value
    assert type(checked) is float


@given(st.sampled_from(sorted(expand(PARAMETERS, ["front"]))), st.none() | st.integers(max_value=-2000) | st.binary())
def test_a_value_no_parameter_allows_is_refused_with_its_name(name, value):
    with pytest.raises(ParameterError, match=re.escape(f"parameter '{name}' must be")):
        check_values({"cameras": ["front"], name: value})


def test_per_sensor_parameters_follow_the_cameras():
    values = check_values({"cameras": ["nose"], "sync.offset_ms.nose": 3, "sync.offset_ms.front": 5})
    assert values["sync.offset_ms.nose"] == 3.0
    assert "sync.offset_ms.front" not in values
    assert unknown_names(["sync.offset_ms.front", "use_sim_time", "sync.windw_ms"], ["nose"]) == [
        "sync.offset_ms.front",
        "sync.windw_ms",
    ]


@pytest.fixture
def make_node():
    """Return a function that makes a node with these parameters in a context of its own."""
    context = rclpy.context.Context()
    rclpy.init(context=context, domain_id=71)
    nodes = []

    def make(**overrides):
        given_values = [rclpy.parameter.Parameter(name.replace("__", "."), value=v) for name, v in overrides.items()]
        node = rclpy.node.Node(
            "parameter_test",
            context=context,
            parameter_overrides=given_values,
            automatically_declare_parameters_from_overrides=True,
        )
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_declared_parameters_are_the_table(make_node):
    node = make_node(sync__window_ms=20, cameras=["front"])
    values = declare(node)
    assert values["sync.window_ms"] == 20.0
    for name, spec in expand(PARAMETERS, ["front"]).items():
        assert node.has_parameter(name) == spec.has_default
        if spec.has_default:
            descriptor = node.describe_parameter(name)
            assert descriptor.read_only
            assert descriptor.description == spec.description
            assert node.get_parameter(name).value == values[name]
    limits = node.describe_parameter("sync.window_ms").floating_point_range[0]
    assert (limits.from_value, limits.to_value) == (0.0, 1000.0)


def test_declared_parameters_cannot_change_at_run_time(make_node):
    node = make_node()
    declare(node)
    result = node.set_parameters([rclpy.parameter.Parameter("engine", value="onnxruntime")])[0]
    assert not result.successful


def test_typed_view_holds_every_value(make_node):
    node = make_node(publish__markers=False, extrinsics__lidar=[0.0, 0.0, 1.9, 0.0, 0.0, 0.0, 1.0])
    parameters = PerceptionParameters.from_values(declare(node))
    assert parameters.cameras == ("front", "right", "back", "left")
    assert parameters.extrinsics == {"lidar": (0.0, 0.0, 1.9, 0.0, 0.0, 0.0, 1.0)}
    assert parameters.offset_ms["odometry"] == 0.0
    assert "markers" not in parameters.publish
    assert "bev" in parameters.publish
    assert parameters.input_size == (512, 288)


def test_a_wrong_value_given_to_a_node_names_the_parameter(make_node):
    with pytest.raises(ParameterError, match=r"'bev.resolution_m'.*0.05"):
        declare(make_node(bev__resolution_m=0.0))

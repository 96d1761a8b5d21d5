"""The launch file, parameter files and RViz displays fit the nodes; launch itself runs where it is installed."""

import ast
import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from amodal_perception_ros.datasets.bag_profiles import PROFILES
from amodal_perception_ros.ros.parameter_table import (
    DEFAULT_CAMERAS,
    PARAMETERS,
    ParameterError,
    check_values,
    expand,
    flatten,
    schema,
)
from amodal_perception_ros.ros.topics import TopicsError, read_parameters, remappings, topics_file_of

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config"
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PARAMETER_FILES = sorted(path for path in CONFIG.glob("*.yaml") if "ros__parameters:" in path.read_text())
RVIZ = yaml.safe_load((ROOT / "rviz" / "amodal.rviz").read_text())
DISPLAYS = RVIZ["Visualization Manager"]["Displays"]


def calls(tree: ast.AST, name: str) -> list[dict[str, ast.expr]]:
    """Keyword arguments of every call of a function; the first positional argument is named ""."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]
    return [
        dict([("", arg) for arg in node.args[:1]] + [(str(k.arg), k.value) for k in node.keywords]) for node in found
    ]


@pytest.fixture(params=LAUNCH_FILES, ids=lambda path: path.name)
def launch_tree(request: pytest.FixtureRequest) -> ast.Module:
    return ast.parse(request.param.read_text())


def test_every_launch_argument_has_a_default_and_a_description(launch_tree: ast.Module) -> None:
    declared = calls(launch_tree, "DeclareLaunchArgument")
    assert declared
    for argument in declared:
        description = argument["description"]
        assert isinstance(description, ast.Constant)
        assert len(description.value) > 10
        assert "default_value" in argument


def test_every_launch_configuration_is_a_declared_argument(launch_tree: ast.Module) -> None:
    declared = {ast.literal_eval(argument[""]) for argument in calls(launch_tree, "DeclareLaunchArgument")}
    read = [argument[""] for argument in calls(launch_tree, "LaunchConfiguration")]
    assert {node.value for node in read if isinstance(node, ast.Constant)} <= declared


def test_launched_executables_exist(launch_tree: ast.Module) -> None:
    executables = {ast.literal_eval(node["executable"]) for node in calls(launch_tree, "Node")}
    assert executables - {"rviz2"} <= {path.name for path in (ROOT / "scripts").iterdir()}
    assert "perception_node" in executables


def test_files_that_the_launch_file_names_exist(launch_tree: ast.Module) -> None:
    strings = {node.value for node in ast.walk(launch_tree) if isinstance(node, ast.Constant)}
    for folder, name in (("config", "surround.param.yaml"), ("rviz", "amodal.rviz")):
        assert {folder, name} <= strings
        assert (ROOT / folder / name).is_file()


def test_overrides_are_parameters_with_a_launch_argument(launch_tree: ast.Module) -> None:
    names = {spec.name for spec in PARAMETERS}
    declared = {ast.literal_eval(argument[""]) for argument in calls(launch_tree, "DeclareLaunchArgument")}
    (overrides,) = [
        ast.literal_eval(node.value)
        for node in launch_tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OVERRIDES"
    ]
    assert set(overrides) <= names & declared


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.name)
def test_parameter_files_hold_known_parameters_with_allowed_values(path: Path) -> None:
    import jsonschema

    content = yaml.safe_load(path.read_text())
    jsonschema.validate(content, schema())
    values = flatten(content["/**"]["ros__parameters"])
    assert set(values) <= {*expand(PARAMETERS, read_parameters(path)["cameras"])}  # type: ignore[arg-type]
    assert check_values(values) == read_parameters(path)


def test_carla_files_fit_the_bridge_profile_of_recordings() -> None:
    bridge = PROFILES["carla"]
    parameters = read_parameters(CONFIG / "carla.yaml")
    assert parameters["base_frame"] == bridge.base_frame
    assert parameters["odom_frame"] == bridge.odom_frame
    assert parameters["image_transport"] == ("compressed" if bridge.compressed else "raw")
    assert parameters["sensor_reliability"] == "reliable"
    topics = dict(remappings(CONFIG / "carla.yaml"))
    assert topics.pop("lidar/points") == bridge.lidar
    assert topics.pop("odometry") == bridge.odometry
    for camera in DEFAULT_CAMERAS:
        assert topics.pop(f"{camera}/image") == bridge.image.format(camera)
        assert topics.pop(f"{camera}/image/compressed") == bridge.image.format(camera) + "/compressed"
        assert topics.pop(f"{camera}/camera_info") == bridge.camera_info.format(camera)
    assert topics == {}


def test_carla_rig_spawns_the_sensors_behind_the_topics() -> None:
    (vehicle,) = json.loads((CONFIG / "carla_objects.json").read_text())["objects"]
    sensors = {sensor["id"]: sensor for sensor in vehicle["sensors"]}
    prefix = f"/carla/{vehicle['id']}/"
    topics = dict(remappings(CONFIG / "carla.yaml"))
    for camera, yaw in zip(DEFAULT_CAMERAS, (0.0, -90.0, 180.0, 90.0), strict=True):
        sensor = sensors.pop(topics[f"{camera}/image"].removeprefix(prefix).removesuffix("/image"))
        assert sensor["type"] == "sensor.camera.rgb"
        assert sensor["spawn_point"]["yaw"] == yaw
    assert sensors.pop(topics["lidar/points"].removeprefix(prefix))["type"] == "sensor.lidar.ray_cast"
    assert sensors.pop(topics["odometry"].removeprefix(prefix))["type"] == "sensor.pseudo.odom"
    assert [sensor["type"] for sensor in sensors.values()] == ["sensor.pseudo.tf"]


def test_default_parameters_need_no_remapping() -> None:
    assert topics_file_of(CONFIG / "surround.param.yaml") is None
    assert remappings(CONFIG / "surround.param.yaml") == []


_names = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), min_size=1, max_size=8, unique=True)


@given(cameras=_names.filter(lambda names: not {"lidar", "odometry", "debug"} & set(names)))
def test_topics_are_mapped_for_every_camera(cameras: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("topics")
    (folder / "rig.yaml").write_text(yaml.safe_dump({"/**": {"ros__parameters": {"cameras": cameras}}}))
    (folder / "rig.topics.yaml").write_text('"{camera}/image": /cam_{camera}/image_rect\nlidar/points: /velodyne')
    expected = {"lidar/points": "/velodyne"}
    for camera in cameras:
        expected[f"{camera}/image"] = f"/cam_{camera}/image_rect"
        expected[f"{camera}/image/compressed"] = f"/cam_{camera}/image_rect/compressed"
    assert dict(remappings(folder / "rig.yaml")) == expected


def test_a_named_topics_file_wins_over_the_one_beside_the_parameters(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("odometry: /pose")
    assert remappings(CONFIG / "carla.yaml", tmp_path / "other.yaml") == [("odometry", "/pose")]


def test_an_explicit_compressed_topic_wins_over_the_twin_of_the_raw_one(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text('"{camera}/image": /c/{camera}\n"front/image/compressed": /special')
    topics = dict(remappings(CONFIG / "surround.param.yaml", tmp_path / "t.yaml"))
    assert topics["front/image/compressed"] == "/special"
    assert topics["left/image/compressed"] == "/c/left/compressed"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("- front", "not a YAML mapping"),
        ("a: [", "cannot be read"),
        ("front/image: 3", "does not map one topic name to another"),
        ("front image: /x", "does not map one topic name to another"),
    ],
)
def test_a_bad_topics_file_is_named(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(TopicsError, match=reason) as caught:
        remappings(CONFIG / "surround.param.yaml", path)
    assert str(path) in str(caught.value)


def test_a_bad_parameter_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TopicsError, match=r"gone\.yaml: cannot be read"):
        read_parameters(tmp_path / "gone.yaml")
    (tmp_path / "p.yaml").write_text("/**:\n  cameras: [front]")
    with pytest.raises(TopicsError, match="'ros__parameters' is missing"):
        read_parameters(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text("/**:\n  ros__parameters:\n    cameras: 3")
    with pytest.raises(ParameterError, match="cameras"):
        read_parameters(tmp_path / "p.yaml")


def test_rviz_shows_overlays_lidar_map_and_markers() -> None:
    topics = {display["Topic"]["Value"]: display for display in DISPLAYS if "Topic" in display}
    kinds = {topic: display["Class"].removeprefix("rviz_default_plugins/") for topic, display in topics.items()}
    overlays = {f"{camera}/overlay": "Image" for camera in DEFAULT_CAMERAS}
    # Relative names, which RViz resolves in its own namespace.
    assert kinds == {
        **overlays,
        "lidar/points": "PointCloud2",
        "occupied_points": "PointCloud2",
        "occupancy_grid": "Map",
        "markers": "MarkerArray",
    }


def test_rviz_frames_are_the_ones_that_the_launch_file_sets() -> None:
    """The fixed frame is an argument of RViz, and the launch file puts the base frame into the view."""
    manager = RVIZ["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "odom"
    assert manager["Views"]["Current"]["Target Frame"] == "base_link"
    assert (ROOT / "rviz" / "amodal.rviz").read_text().count("base_link") == 1
    assert '"Target Frame: base_link"' in (ROOT / "launch" / "surround.launch.py").read_text()


def test_rviz_subscribes_with_a_qos_that_the_publishers_fulfil() -> None:
    by_topic = {display["Topic"]["Value"]: display["Topic"] for display in DISPLAYS if "Topic" in display}
    assert by_topic["occupancy_grid"]["Durability Policy"] == "Transient Local"
    others = [topic for name, topic in by_topic.items() if name != "occupancy_grid"]
    assert {topic["Durability Policy"] for topic in others} == {"Volatile"}
    assert by_topic["lidar/points"]["Reliability Policy"] == "Best Effort"


@pytest.mark.ros
@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None, reason="the ROS 2 wheels have no launch_ros; a distribution has"
)
def test_launch_makes_the_nodes_with_the_bridge_topics() -> None:
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch.utilities import perform_substitutions

    context = LaunchContext()
    given = {
        "params_file": str(CONFIG / "carla.yaml"),
        "visualizer": "false",
        "rviz": "true",
        "base_frame": "hero",
        "image_transport": "compressed",
    }
    context.launch_configurations.update(given)
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / "surround.launch.py"))
    entities = source.get_launch_description(context).entities
    for argument in entities:
        if isinstance(argument, DeclareLaunchArgument):
            argument.visit(context)
    nodes = {node.node_executable: node for node in entities[-1].visit(context)}
    conditions = {name: node.condition is None or node.condition.evaluate(context) for name, node in nodes.items()}
    assert conditions == {"perception_node": True, "visualizer_node": False, "rviz2": True}
    nodes["perception_node"]._perform_substitutions(context)
    assert dict(nodes["perception_node"].expanded_remapping_rules) == dict(remappings(CONFIG / "carla.yaml"))
    assert nodes["perception_node"].node_name == "/amodal_perception"
    command = [perform_substitutions(context, part) for part in nodes["rviz2"].cmd]
    display = Path(command[command.index("-d") + 1])
    assert "Target Frame: hero" in display.read_text()
    assert command[command.index("-f") + 1] == "map"
    display.unlink()

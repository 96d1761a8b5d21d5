"""The house rules, checked on the source: who may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "amodal_perception_ros"
NAME = PACKAGE.name

ROOMS = (
    "errors", "labels", "masks", "trajectory", "scene", "occlusion", "motion_compensation", "network", "perception",
    "fusion", "simulation", "datasets", "training", "evaluation", "viewing", "synchronizer", "ros", "cli",
)  # fmt: skip
"""From CONTRIBUTING.md: the data flows one way; a room imports itself and rooms before it in this list."""

SIMULATOR = ("assets", "rendering", "town", "traffic", "sensing")
"""Folders of the simulator in the order of their data flow; a module imports its own folder and those before it."""

ROS_PACKAGES = {
    "rclpy", "sensor_msgs", "nav_msgs", "geometry_msgs", "std_msgs", "visualization_msgs", "diagnostic_msgs",
    "builtin_interfaces", "rosgraph_msgs", "tf2_msgs", "tf2_ros", "cv_bridge", "message_filters", "launch",
    "launch_ros", "ament_index_python", "rosidl_runtime_py", "rosidl_parser", "rcl_interfaces",
}  # fmt: skip


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path):
    """Names of all modules that a file imports, at any depth of the code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_list_of_rooms_is_complete():
    assert {room(path) for path in modules()} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("path", [p for p in modules() if room(p) != "ros"], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_ros_room_knows_ros(path):
    for name in imported(path):
        assert name.split(".")[0] not in ROS_PACKAGES, f"imports {name}"
        assert not name.startswith((f"{NAME}.msg", f"{NAME}.srv")), f"imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_only_rooms_before_them(path):
    own = room(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == NAME and len(parts) > 1 and parts[1] in ROOMS and own in ROOMS:
            assert ROOMS.index(parts[1]) <= ROOMS.index(own), f"{own} imports {name}"


def test_optional_imports_live_in_one_place():
    for path in modules():
        guarded = [
            node
            for block in ast.walk(ast.parse(path.read_text()))
            if isinstance(block, ast.Try)
            for node in ast.walk(block)
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert not guarded or path == PACKAGE / "ros" / "distro.py", f"{path}: import inside try"


def test_the_core_runs_where_ros_cannot_be_imported():
    """Import every module outside ros in an interpreter in which rclpy and the messages do not exist."""
    parts = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in modules() if room(path) != "ros"]
    names = [".".join(part for part in path if part != "__init__") for path in parts]
    assert f"{NAME}.datasets.bag" in names
    program = f"""
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ROS_PACKAGES!r}:
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Refuse())
for name in {names!r}:
    importlib.import_module(name)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=PACKAGE.parent)


def test_the_simulator_does_without_torch():
    """Each of its processes would need 200 MB more."""
    program = f"import sys, {NAME}.simulation; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=PACKAGE.parent)


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "simulation").glob("*/*.py")), ids=lambda p: str(p.relative_to(PACKAGE / "simulation"))
)
def test_folders_of_the_simulator_import_only_those_before_them(path):
    allowed = SIMULATOR[: SIMULATOR.index(path.parent.name) + 1]
    for name in imported(path):
        parts = name.split(".")
        if parts[:2] == [NAME, "simulation"] and len(parts) > 2 and parts[2] in SIMULATOR:
            assert parts[2] in allowed, f"imports {name}"
        assert not name.startswith(f"{NAME}.simulation.sequence"), "the sequence is built of the folders"


@pytest.mark.parametrize("path", sorted((PACKAGE / "evaluation" / "metrics").glob("*.py")), ids=lambda p: p.name)
def test_metrics_know_matched_scenes_only(path):
    """They import one another, what decodes and matches scenes, and nothing of the evaluation that uses them."""
    allowed = ("metrics", "graph", "decoding", "pairs")
    for name in imported(path):
        parts = name.split(".")
        if parts[:2] == [NAME, "evaluation"] and len(parts) > 2:
            assert parts[2] in allowed, f"imports {name}"


@pytest.mark.parametrize("module", ["graph", "decoding", "pairs", "baselines"])
def test_what_metrics_are_made_of_knows_no_metric(module):
    path = PACKAGE / "evaluation" / f"{module}.py"
    assert not [name for name in imported(path) if name.startswith(f"{NAME}.evaluation.metrics")]

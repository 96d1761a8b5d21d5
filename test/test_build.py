"""The colcon build, installed plainly and with symbolic links, as a ROS 2 user gets it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "amodal_perception_ros"
EXECUTABLES = sorted(path.name for path in (ROOT / "scripts").iterdir())

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(
        not (ROOT / ".venv").exists(),
        reason="builds with the wheels in .venv; a distribution's colcon has built already",
    ),
]


@pytest.fixture(scope="module")
def build_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One build tree for both kinds of installation, so that the messages are compiled once (symlink goes first)."""
    return tmp_path_factory.mktemp("colcon")


@pytest.fixture(scope="module", params=["symlink", "plain"])
def prefix(request: pytest.FixtureRequest, build_base: Path) -> Path:
    install_base = build_base / f"install_{request.param}"
    # An unoptimised build compiles faster, and speed is not at stake here. colcon says nothing about links when they
    # are not wanted, so a build tree that had them would keep them.
    cmake_arguments = ["-DCMAKE_BUILD_TYPE=Debug", f"-DAMENT_CMAKE_SYMLINK_INSTALL={request.param == 'symlink'}"]
    bases = ["--build-base", build_base / "build", "--install-base", install_base]
    command = [ROOT / "env" / "build", *cmake_arguments, *bases]
    done = subprocess.run(command, cwd=build_base, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return install_base


def run_installed(prefix: Path, command: str) -> str:
    """Run a command with the installation sourced, from a directory without the package's sources."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}
    script = f"set -e; source '{prefix}/local_setup.bash'; {command}"
    done = subprocess.run(["bash", "-c", script], cwd=prefix, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_links_are_made_only_when_asked_for(prefix: Path) -> None:
    share = prefix / PACKAGE / "share" / PACKAGE
    assert (share / "config" / "surround.param.yaml").is_symlink() == (prefix.name == "install_symlink")


def test_every_executable_is_where_ros2_run_looks(prefix: Path) -> None:
    folder = prefix / PACKAGE / "lib" / PACKAGE
    found = sorted(path.name for path in folder.iterdir() if os.access(path, os.X_OK))
    assert found == EXECUTABLES


def test_modules_and_messages_come_from_the_install_space(prefix: Path) -> None:
    code = (
        f"import {PACKAGE}, {PACKAGE}.labels, {PACKAGE}.msg; "
        f"print({PACKAGE}.__version__, {PACKAGE}.__file__, {PACKAGE}.msg.AmodalPanoptic.CLASS_CAR)"
    )
    version, file, car = run_installed(prefix, f'python -c "{code}"').split()
    assert version == "0.1.0"
    assert Path(file).is_relative_to(prefix)
    assert car == "26"


def test_the_command_line_starts_from_the_install_space(prefix: Path) -> None:
    assert "simulate" in run_installed(prefix, f"{prefix}/{PACKAGE}/lib/{PACKAGE}/amodal --help")


@pytest.mark.parametrize("folder", ["config", "launch", "rviz", "weights"])
def test_data_files_are_installed(prefix: Path, folder: str) -> None:
    source = {p.relative_to(ROOT) for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    share = prefix / PACKAGE / "share" / PACKAGE
    assert source
    assert {path for path in source if not (share / path).is_file()} == set()

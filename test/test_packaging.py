"""The package's descriptions of itself agree: package.xml, setup.py, scripts/, requirements, rosdep keys, version."""

import ast
import importlib.util
import re
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

import amodal_perception_ros

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir())

# Imported module -> (requirement of the wheels' environment, rosdep key).
LIBRARIES = {
    "cv2": ("opencv-python-headless", "python3-opencv"),
    "embreex": ("embreex", "python3-embreex-pip"),
    "jinja2": ("jinja2", "python3-jinja2"),
    "markupsafe": ("jinja2", "python3-jinja2"),  # Part of it.
    "mcap": ("mcap", "python3-mcap-pip"),
    "moderngl": ("moderngl", "python3-moderngl-pip"),
    "numpy": ("numpy", "python3-numpy"),
    "onnx": ("onnx", "python3-onnx-pip"),
    "onnxruntime": ("onnxruntime", "python3-onnxruntime-pip"),
    "onnxscript": ("onnxscript", "python3-onnxscript-pip"),
    "pycocotools": ("pycocotools", "python3-pycocotools-pip"),
    "rich": ("rich", "python3-rich"),
    "rosbags": ("rosbags", "python3-rosbags-pip"),
    "safetensors": ("safetensors", "python3-safetensors-pip"),
    "scipy": ("scipy", "python3-scipy"),
    "matplotlib": ("matplotlib", "python3-matplotlib"),
    "shapely": ("shapely", "python3-shapely-pip"),
    "torch": ("torch", "python3-pytorch-pip"),
    "tqdm": ("tqdm", "python3-tqdm"),
    "transforms3d": ("transforms3d", "python3-transforms3d"),
    "yaml": ("pyyaml", "python3-yaml"),
}
# Needed by another library at run time, never imported by us: torch.onnx exports through onnxscript.
INDIRECT = {"onnxscript"}
# Imported where a setting asks for it; an extra of setup.py with a file of its own.
OPTIONAL = {"transformers"}
# ROS packages that the wheels lack; ros/distro.py and launch/ use them where they are.
DISTRIBUTION_ONLY = {"cv_bridge", "launch", "launch_ros", "tf_transformations"}


def dependencies() -> set[str]:
    return {element.text or "" for element in MANIFEST if element.tag in ("depend", "exec_depend")}


def required_names(*files: str) -> set[str]:
    lines = [line for name in files for line in (ROOT / name).read_text().splitlines() if line[:1] not in ("", "#")]
    return {re.split(r"[\[=<>!~]", line)[0].lower() for line in lines}


def imported_packages() -> set[str]:
    """Top-level names of all imports of the package that are neither its own nor the standard library's."""
    names: set[str] = set()
    for path in (ROOT / "amodal_perception_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - {"amodal_perception_ros"}


def test_version_is_the_same_everywhere() -> None:
    version = MANIFEST.findtext("version")
    assert amodal_perception_ros.__version__ == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_entry_points_are_the_scripts() -> None:
    entries = dict(re.findall(r'"(\w+) = ([\w.]+):main"', (ROOT / "setup.py").read_text()))
    imports = {path.name: re.findall(r"^from ([\w.]+) import main$", path.read_text(), re.M) for path in SCRIPTS}
    assert imports == {name: [module] for name, module in entries.items()}


def test_cmake_installs_every_script() -> None:
    assert re.findall(r"scripts/(\w+)", (ROOT / "CMakeLists.txt").read_text()) == [path.name for path in SCRIPTS]


def test_cmake_generates_every_message() -> None:
    listed = re.findall(r"msg/(\w+)\.msg", (ROOT / "CMakeLists.txt").read_text())
    assert listed == sorted(path.stem for path in (ROOT / "msg").glob("*.msg"))


@pytest.mark.parametrize(
    "path", [*SCRIPTS, ROOT / "env/run", ROOT / "env/build", ROOT / ".ci/run"], ids=lambda p: p.name
)
def test_executables_have_the_mode_that_a_symlink_install_keeps(path: Path) -> None:
    assert path.stat().st_mode & stat.S_IXUSR
    recorded = subprocess.run(["git", "ls-files", "-s", path], cwd=ROOT, capture_output=True, text=True).stdout
    if recorded:  # a source archive has no git
        assert recorded.startswith("100755")


def machine_check():
    spec = importlib.util.spec_from_file_location("check_machine", ROOT / "env/check_machine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_graphics_libraries_are_a_warning_that_names_the_packages() -> None:
    (warning,) = machine_check().simulator_warnings(("libm.so.6", "libabsent.so.1"))
    assert warning.startswith("libabsent.so.1 cannot be loaded")
    assert machine_check().simulator_warnings(("libm.so.6",)) == []
    packages = "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"
    assert packages in warning
    for path in ("docs/installation.md", "docs/simulator.md", "amodal_perception_ros/simulation/rendering/graphics.py"):
        assert packages in (ROOT / path).read_text(), path


def test_the_demo_needs_no_graphics_library() -> None:
    """So a machine without them gets a warning, no error."""
    modules = ["cli", "ros.run", "ros.bag_player", "ros.perception_node", "ros.recorder"]
    code = (
        f"import importlib, sys; [importlib.import_module('amodal_perception_ros.' + m) for m in {modules}]; "
        "print([m for m in sys.modules if m.split('.')[0] in ('moderngl', 'embreex') or '.simulation' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_every_import_is_a_declared_dependency() -> None:
    required, keys = required_names("requirements.txt"), dependencies()
    libraries = {name for name, (requirement, key) in LIBRARIES.items() if requirement in required and key in keys}
    assert imported_packages() - libraries - keys - OPTIONAL == set()


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_every_optional_import_is_an_extra_and_loaded_on_demand_only(name: str) -> None:
    assert required_names(f"requirements-{name}.txt") == {name}
    code = (
        "import sys; from amodal_perception_ros.network import AmodalNetwork; "
        f"AmodalNetwork(); print({name!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_ros_package_comes_with_the_wheels_or_is_known_to_be_missing() -> None:
    ros_packages = imported_packages() - set(LIBRARIES) - OPTIONAL
    missing = {name for name in ros_packages if importlib.util.find_spec(name) is None}
    assert missing <= DISTRIBUTION_ONLY


def test_no_dependency_is_declared_in_vain() -> None:
    used = imported_packages() | INDIRECT
    assert {name for name in LIBRARIES if name not in used} == set()
    assert required_names("requirements.txt") == {requirement for requirement, _ in LIBRARIES.values()}


def test_local_rosdep_keys_are_used_and_install_the_required_package() -> None:
    keys = yaml.safe_load((ROOT / "rosdep.yaml").read_text())
    assert set(keys) <= dependencies()
    requirement_of = {key: requirement for requirement, key in LIBRARIES.values()}
    for key, rule in keys.items():
        assert rule == {system: {"pip": {"packages": [requirement_of[key]]}} for system in ("debian", "ubuntu")}


def test_setup_describes_an_installable_package() -> None:
    command = [sys.executable, "setup.py", "--name", "--version", "--license"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["amodal_perception_ros", amodal_perception_ros.__version__, "Apache-2.0"]

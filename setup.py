"""Installs the Python package without ROS: `pip install -e .`. colcon uses CMakeLists.txt instead."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()


def requirements(name: str) -> list[str]:
    """Return the requirements of a file, without comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name=MANIFEST.findtext("name"),
    version=MANIFEST.findtext("version"),
    description=" ".join((MANIFEST.findtext("description") or "").split()),
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["amodal_perception_ros*"]),
    package_data={"amodal_perception_ros": ["**/*.html", "**/*.glsl", "**/*.yaml", "**/*.json"]},
    data_files=[
        (f"share/amodal_perception_ros/{folder}", sorted(str(p.relative_to(ROOT)) for p in (ROOT / folder).glob("*.*")))
        for folder in ("weights", "config")
    ],
    install_requires=requirements("requirements.txt"),
    extras_require={name: requirements(f"requirements-{name}.txt") for name in ("ros", "dev", "transformers")},
    entry_points={
        "console_scripts": [
            "amodal = amodal_perception_ros.cli:main",
            "bag_player = amodal_perception_ros.ros.bag_player:main",
            "perception_node = amodal_perception_ros.ros.perception_node:main",
            "recorder = amodal_perception_ros.ros.recorder:main",
            "visualizer_node = amodal_perception_ros.ros.visualizer_node:main",
        ]
    },
)

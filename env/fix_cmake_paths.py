"""Replace the paths of the machine that built the ROS 2 wheels in their exported CMake files.

Run with the Python of the virtual environment that holds the wheels, after every installation.
"""

import re
import sys
import sysconfig
from pathlib import Path

_BUILDER = re.compile(r"/opt/python/cp3\d+-cp3\d+/(include/python3\.\d+|lib/python3\.\d+/site-packages)")


def fix_cmake_paths(prefix: Path, include: str, site_packages: str) -> int:
    """Rewrite `prefix`/share/**/*.cmake in place and return the number of files changed."""
    changed = 0
    for path in sorted((prefix / "share").rglob("*.cmake")):
        text = path.read_text(encoding="utf-8")
        fixed = _BUILDER.sub(lambda m: include if m[1].startswith("include") else site_packages, text)
        if fixed != text:
            path.write_text(fixed, encoding="utf-8")
            changed += 1
    return changed


if __name__ == "__main__":
    paths = sysconfig.get_paths()
    count = fix_cmake_paths(Path(sys.prefix), paths["include"], paths["purelib"])
    print(f"CMake files of the ROS 2 wheels adapted to this machine: {count}")

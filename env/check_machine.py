"""Say in one line each what this machine lacks for the environment of ROS 2 wheels; exit code 2 if anything.

What only the simulator and its tests lack is a warning: the demo and everything else run without it.

Run by `make` with the Python that is to make the virtual environment, so it keeps to syntax that old ones parse.
"""

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig

_DISTRO = "use a ROS 2 distribution instead (docs/installation.md)"


def python_problems() -> list:
    """What is wrong with the running Python."""
    found = []
    name = "Python %d.%d at %s" % (sys.version_info[0], sys.version_info[1], sys.executable)  # noqa: UP031
    if platform.python_implementation() != "CPython" or not (3, 10) <= sys.version_info[:2] <= (3, 13):
        found.append(name + ": the ROS 2 wheels are for CPython 3.10 to 3.13; name one with `make PYTHON=python3.12`")
    if importlib.util.find_spec("ensurepip") is None:
        found.append(name + " cannot make virtual environments: install its venv package (apt install python3-venv)")
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.isfile(header):
        found.append(name + " has no C headers (" + header + "): install them (apt install python3-dev)")
    return found


def system_problems() -> list:
    """What is wrong with the operating system and its tools."""
    found = []
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        found.append(system + " on " + machine + ": the ROS 2 wheels are for Linux on x86_64 only; " + _DISTRO)
    elif platform.libc_ver()[0] != "glibc":
        found.append("the C library is not glibc, for which the ROS 2 wheels are made; " + _DISTRO)
    for tool in ("gcc", "g++", "make"):
        if shutil.which(tool) is None:
            found.append("no " + tool + " on the PATH: install a compiler (apt install build-essential)")
    return found


def simulator_warnings(libraries: tuple = ("libEGL.so.1", "libGL.so.1")) -> list:
    """What the simulator, with its tests, lacks on this machine."""
    missing = []
    for name in libraries:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    packages = "apt install libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri"
    text = "%s cannot be loaded, without which `amodal simulate` and its tests fail (%s)"
    return [text % (" and ".join(missing), packages)] if missing else []


if __name__ == "__main__":
    for warning in simulator_warnings():
        sys.stderr.write("warning: " + warning + "\n")
    problems = python_problems() + system_problems()
    for problem in problems:
        sys.stderr.write("error: " + problem + "\n")
    sys.exit(2 if problems else 0)

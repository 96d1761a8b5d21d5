"""Programs of this package as child processes in a ROS domain of their own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_DOMAINS = range(1, 101)
"""Domains whose ports lie below the ephemeral range of Linux."""

_PORT_BASE = 32768
"""The domain coordinator of ament_cmake_ros reserves a domain by binding port 32768 + domain; so do we."""

_STOP_SIGNALS = ((signal.SIGINT, 6.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
"""What ends a program, and how long [s] it has to follow."""

_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Where Fast DDS 2 (up to Jazzy) and Fast DDS 3 look for profiles."""

_FAST_DDS_PROFILE = """<?xml version="1.0" encoding="UTF-8" ?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>shared_memory</transport_id>
      <type>SHM</type>
      <segment_size>{segment_bytes}</segment_size>
      <port_queue_capacity>8192</port_queue_capacity>
    </transport_descriptor>
    <transport_descriptor>
      <transport_id>udp</transport_id>
      <type>UDPv4</type>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="large_messages" is_default_profile="true">
    <rtps>
      <userTransports>
        <transport_id>shared_memory</transport_id>
        <transport_id>udp</transport_id>
      </userTransports>
      <useBuiltinTransports>false</useBuiltinTransports>
    </rtps>
  </participant>
</profiles>
"""
_SEGMENT_BYTES = range(4 * 2**20, 64 * 2**20)
"""Least and greatest useful size of a segment; every process of a run has one."""

_SHARED_MEMORY = Path("/dev/shm")


def large_message_environment(folder: Path) -> dict[str, str]:
    """Return the environment with which Fast DDS carries images through shared memory without loss.

    Its default segment of half a megabyte is smaller than one raw 512 x 288 image: in bursts of four such images
    every second best-effort message was lost, with this profile none. A profile that the user has set is kept.
    Where shared memory is scarce (a container) the segment is smaller, or the default stays.

    Args:
        folder: where the profile file is written.
    """
    free = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else 0
    segment = min(_SEGMENT_BYTES.stop, free // 8)
    if any(variable in os.environ for variable in _PROFILE_VARIABLES) or segment < _SEGMENT_BYTES.start:
        return {}
    path = folder.resolve() / "fastdds.xml"
    path.write_text(_FAST_DDS_PROFILE.format(segment_bytes=segment), encoding="utf-8")
    return dict.fromkeys(_PROFILE_VARIABLES, str(path))


@contextlib.contextmanager
def reserved_domain() -> Iterator[int]:
    """Reserve a ROS domain that no other run on this machine uses.

    Raises:
        RuntimeError: all are taken.
    """
    for domain in random.sample(_DOMAINS, len(_DOMAINS)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as place:
            try:
                place.bind(("127.0.0.1", _PORT_BASE + domain))
            except OSError:
                continue
            yield domain
            return
    raise RuntimeError(f"all ROS domains {_DOMAINS[0]}..{_DOMAINS[-1]} are in use on this machine")


def end_with_parent() -> None:
    """Let the kernel send this process SIGTERM when the process that started it dies, even of SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


class Program:
    """A program of `amodal_perception_ros.ros` in a process of its own, with its output in a log file.

    It runs in a session of its own, so that Ctrl-C reaches only the process that supervises it.

    Args:
        module: name of the module, which has a `main`.
        arguments: command line arguments.
        environment: what is added to the environment.
        log: file for stdout and stderr.
    """

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = module
        self.log = log
        code = (
            "import sys; from amodal_perception_ros.ros.processes import end_with_parent; end_with_parent(); "
            f"from amodal_perception_ros.ros.{module} import main; sys.exit(main())"
        )
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", code, *arguments],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._process.poll()

    def log_tail(self) -> str:
        """Return the last lines of its output."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])

    def stop(self) -> int:
        """End it if it runs, first politely, and return its exit code."""
        for number, patience_s in _STOP_SIGNALS:
            if self.exit_code is not None:
                break
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        return self._process.wait()

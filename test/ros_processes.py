"""Programs of this package in processes of their own, in a ROS domain that no other test uses."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

_numbers = itertools.count()


def new_domain() -> dict[str, str]:
    """Environment with a ROS domain of its own (Linux leaves 0..101 free of ephemeral ports)."""
    domain = 1 + (os.getpid() * 7 + next(_numbers)) % 100
    return {**os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


class Program:
    """One running program; a context manager that leaves no process behind."""

    def __init__(self, module: str, *arguments: object, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", f"amodal_perception_ros.ros.{module}", *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait_for_line(self, text: str) -> None:
        """Read stderr up to the line that holds the text; the test's time-out ends a wait in vain."""
        for line in self.process.stderr:
            if text in line:
                return
        raise AssertionError(f"the program ended without saying '{text}'")

    def finish(self, timeout: float = 60) -> tuple[int, str, str]:
        """Wait for the end; return exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

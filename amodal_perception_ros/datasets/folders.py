"""Looking into folders, making and locking them, with errors that name the path."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amodal_perception_ros.datasets.codecs import DatasetError, unwritable


def is_file(path: Path) -> bool:
    """Return whether there is a file; raises DatasetError where the system refuses to tell."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Return whether there is a folder; raises DatasetError where the system refuses to tell."""
    return stat.S_ISDIR(_mode(path))


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted; raises DatasetError where it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are missing; raises DatasetError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, made with its folder, and remove it afterwards.

    The lock is the system's, not the file: that of a killed process is free again.

    Args:
        path: the lock file.
        busy: what the error says if somebody else holds it.

    Raises:
        DatasetError: somebody else holds the lock, or the file cannot be made.
    """
    descriptor = _lock(path, busy)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, busy: str) -> int:
    while True:
        make_folder(path.parent)
        descriptor = None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
            os.close(descriptor)  # Its holder has just removed the file: lock the one that is there now.
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise DatasetError(busy) from error
            if not isinstance(error, FileNotFoundError):  # File or folder have just been removed by their last user.
                raise unwritable(path, error) from error


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{path}: cannot be read ({error.strerror or error})")

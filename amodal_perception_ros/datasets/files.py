"""Files and folders of data sets: JSON, whole or not at all, looking, making and locking; errors name the path."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from amodal_perception_ros.errors import InputError


class DatasetError(InputError):
    """A file of a data set is missing or wrong; the message names the path and what is expected there."""


def read_json(path: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None, unique_keys: bool = False) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        object_hook: replaces every object while it is parsed (see `json.loads`).
        unique_keys: whether a key that an object has twice is an error; else the last one counts.
    """
    pairs_hook = _without_repeats if unique_keys else None
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=object_hook, object_pairs_hook=pairs_hook)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not valid JSON ({error})") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key '{next(key for key in keys if keys.count(key) > 1)}' appears twice")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON; see `to_number` for unknown values.

    Raises:
        ValueError: a value is NaN, infinite or of a type that JSON lacks; the message names file and field.
    """
    try:
        text = json.dumps(content, allow_nan=False, default=_plain, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: JSON cannot hold {next(_beyond_json(content), content)}") from error
    write_bytes(path, text.encode())


def _plain(value: object) -> object:
    """Return NumPy's scalars as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value))


def _beyond_json(value: object, key: str = "") -> Iterator[str]:
    """Yield what JSON cannot hold as "KEY = VALUE"."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _beyond_json(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _beyond_json(item, f"{key}[{index}]")
    elif not isinstance(value, (str, int, float, NoneType)) or (isinstance(value, float) and not math.isfinite(value)):
        yield f"{key} = {value!r}"


def replace_json(path: Path, content: Any) -> None:
    """Write strict JSON so that the file holds either the old or the whole new content, whatever happens."""
    draft = path.with_name(f".{path.name}.part")
    try:
        write_json(draft, content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file; raises DatasetError naming it and the free space."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise unwritable(path, error) from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it where they are missing; raises DatasetError."""
    make_folder(path.parent)
    write_bytes(path, content)


def require_writable(path: Path) -> None:
    """Find out before long work whether `write_file` can write a file; its folders are made.

    Raises:
        DatasetError: it cannot.
    """
    make_folder(path.parent)
    existed = path.exists()
    if existed and not (path.is_file() or path.is_dir()):
        return  # A pipe would take the trial for the end of what it is to receive.
    try:
        path.open("ab").close()
    except OSError as error:
        raise unwritable(path, error) from error
    if not existed:
        path.unlink()


def unwritable(path: Path, error: OSError) -> DatasetError:
    """Return the error for a path that the operating system refuses to write."""
    existing = next(parent for parent in (path, *path.absolute().parents) if os.path.exists(parent))
    free = shutil.disk_usage(existing).free
    return DatasetError(f"{path}: cannot be written ({error.strerror or error}; {free / 1e6:.0f} MB free on that disk)")


def to_number(value: float, digits: int | None = None) -> float | None:
    """Return a JSON number, None for NaN."""
    value = float(value)
    if math.isnan(value):
        return None
    return value if digits is None else round(value, digits)


def from_number(value: float | None) -> float:
    """Return NaN for None, else the value."""
    return math.nan if value is None else float(value)


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

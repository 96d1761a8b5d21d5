"""Message types by name: their Python class and the text of their definition."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_PRIMITIVES = frozenset(("bool", "byte", "char", "float32", "float64", "string", "wstring", *_INTEGERS))
_FIELD = re.compile(r"^([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")
_SEPARATOR = "=" * 80


class UnknownTypeError(LookupError):
    """A message type that is not installed; the message says which."""


def message_class(type_name: str) -> Any:
    """Return the Python class of a message type such as "sensor_msgs/msg/Image".

    Raises:
        UnknownTypeError: its package is not installed or has no such message.
    """
    package, name = _split(type_name)
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise UnknownTypeError(f"message type '{type_name}' is not installed: {error}") from error


def is_installed(type_name: str) -> bool:
    """Whether a message type can be published and subscribed here."""
    try:
        message_class(type_name)
    except UnknownTypeError:
        return False
    return True


@cache
def message_definition(type_name: str) -> str:
    """Return the definition of a message type followed by those of all types it uses ("ros2msg" of MCAP).

    Raises:
        UnknownTypeError: a definition is not in the installed share directories.
    """
    parts = [_definition_text(type_name)]
    pending, seen = _used_types(type_name), {type_name}
    while pending:
        name = pending.pop(0)
        if name in seen:
            continue
        seen.add(name)
        package, short = _split(name)
        parts.append(f"{_SEPARATOR}\nMSG: {package}/{short}\n{_definition_text(name)}")
        pending += _used_types(name)
    return "\n".join(parts)


def _split(type_name: str) -> tuple[str, str]:
    package, _, name = type_name.replace("/msg/", "/").partition("/")
    return package, name


@cache
def _definition_text(type_name: str) -> str:
    package, name = _split(type_name)
    try:
        return (Path(get_package_share_directory(package)) / "msg" / f"{name}.msg").read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise UnknownTypeError(f"the definition of message type '{type_name}' is not installed: {error}") from error


def _used_types(type_name: str) -> list[str]:
    """Return the message types of a definition's fields, in order; constants and primitives are left out."""
    package, used = _split(type_name)[0], []
    for line in _definition_text(type_name).splitlines():
        match = _FIELD.match(line.split("#")[0].strip())
        if match is None or match[1] in _PRIMITIVES:
            continue
        owner, _, name = match[1].replace("/msg/", "/").rpartition("/")
        used.append(f"{owner or package}/msg/{name}")
    return used

"""Reads `distributions.yaml`: every random choice of the street simulator in one file, checked when it is loaded.

An entry is one of

    {chance: p}                    True with probability p
    {choice: {name: weight, ...}}  a name, with probability proportional to its weight
    {integer: [low, high]}         a whole number, both ends included
    {uniform: [low, high]}         a number
    {log_uniform: [low, high]}     a number whose logarithm is uniform
    {normal: [mean, stddev]}       a number, cut at 3 standard deviations
    {exponential: mean}            a number >= 0
    a plain number                 itself, every time
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

DEFAULTS = Path(__file__).with_name("distributions.yaml")

Value = float | int | bool | str
_PAIRS = ("integer", "uniform", "log_uniform", "normal")
KINDS = ("chance", "choice", *_PAIRS, "exponential")


class Distributions:
    """The random distributions behind a sequence.

    Args:
        overrides: nested like the file; replaces single entries of it.

    Raises:
        ValueError: an entry is unknown or not one of the kinds above; the message names it.
    """

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._entries = dict(_defaults())
        for key, entry in _flat("", overrides or {}):
            if key not in self._entries:
                section = key.split(".")[0]
                near = sorted(name for name in self._entries if name.startswith(section)) or sorted(
                    {name.split(".")[0] for name in self._entries}
                )
                raise ValueError(f"distributions: no entry '{key}'; there are {', '.join(near)}")
            _check(key, entry)
            self._entries[key] = entry

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def draw(self, rng: np.random.Generator, key: str) -> Any:
        """Draw a value of an entry such as "weather.kind"; raises KeyError for an unknown one."""
        entry = self._entries[key]
        if not isinstance(entry, Mapping):
            return entry
        kind, given = next(iter(entry.items()))
        if kind == "choice":
            weights = np.array(list(given.values()), float)
            return list(given)[int(rng.choice(len(weights), p=weights / weights.sum()))]
        return _NUMBERS[kind](rng, given)

    def weights(self, key: str) -> dict[str, float]:
        """Return name -> weight of a `choice` entry."""
        return {str(name): float(weight) for name, weight in self._entries[key]["choice"].items()}

    def choose(self, rng: np.random.Generator, key: str, names: list[str]) -> str:
        """Draw from a `choice` entry among some of its names; all of weight 0 counts as equal weights."""
        weights = np.array([self.weights(key)[name] for name in names])
        weights = weights if weights.sum() > 0 else np.ones(len(names))
        return names[int(rng.choice(len(names), p=weights / weights.sum()))]


_NUMBERS: dict[str, Any] = {
    "chance": lambda rng, p: bool(rng.random() < p),
    "integer": lambda rng, ends: int(rng.integers(ends[0], ends[1] + 1)),
    "uniform": lambda rng, ends: float(rng.uniform(*ends)),
    "log_uniform": lambda rng, ends: float(np.exp(rng.uniform(np.log(ends[0]), np.log(ends[1])))),
    "normal": lambda rng, given: float(given[0] + given[1] * np.clip(rng.normal(), -3, 3)),
    "exponential": lambda rng, mean: float(rng.exponential(mean)),
}


@cache
def _defaults() -> dict[str, Any]:
    entries = dict(_flat("", yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))))
    for key, entry in entries.items():
        _check(key, entry)
    return entries


def _flat(prefix: str, tree: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return (dotted key, entry) of a nested mapping."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"distributions: '{prefix.rstrip('.')}' is not a mapping of entries")
    out: list[tuple[str, Any]] = []
    for name, value in tree.items():
        leaf = not isinstance(value, Mapping) or (len(value) == 1 and next(iter(value)) in KINDS)
        out += [(f"{prefix}{name}", value)] if leaf else _flat(f"{prefix}{name}.", value)
    return out


def _check(key: str, entry: Any) -> None:
    if isinstance(entry, (int, float)) and not isinstance(entry, bool):
        ok = bool(np.isfinite(entry))
    elif isinstance(entry, Mapping) and len(entry) == 1:
        ok = _is_valid(*next(iter(entry.items())))
    else:
        ok = False
    if not ok:
        raise ValueError(f"distributions: '{key}' is {entry!r}, which is none of a number or {{{', '.join(KINDS)}}}")


def _is_valid(kind: str, given: Any) -> bool:
    if kind == "choice":
        numbers = list(given.values()) if isinstance(given, Mapping) else []
        return bool(numbers) and _all_numbers(numbers) and min(numbers) >= 0 and sum(numbers) > 0
    numbers = given if isinstance(given, list) else [given]
    if not _all_numbers(numbers) or len(numbers) != (2 if kind in _PAIRS else 1):
        return False
    if kind in ("chance", "exponential"):
        return numbers[0] >= 0 and (kind != "chance" or numbers[0] <= 1)
    if kind == "normal":
        return numbers[1] >= 0
    whole = kind != "integer" or all(isinstance(n, int) for n in numbers)
    return whole and numbers[0] <= numbers[1] and (kind != "log_uniform" or numbers[0] > 0)


def _all_numbers(values: list[Any]) -> bool:
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v) for v in values)

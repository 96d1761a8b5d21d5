"""Reads `distributions.yaml`: the random choices of the street simulator in one file, checked when it is loaded.

An entry is one of

    {chance: p}                    True with probability p
    {choice: {name: weight, ...}}  a name, with probability proportional to its weight
    {integer: [low, high]}         a whole number, both ends included
    {uniform: [low, high]}         a number
    {log_uniform: [low, high]}     a number whose logarithm is uniform
    {normal: [mean, stddev]}       a number, cut at 3 standard deviations
    {exponential: mean}            a number >= 0, cut at the entry's upper limit
    a plain number                 itself, every time

An entry of the user keeps to what the file's entry is: true or false, a whole number, a number or one of its names;
numbers lie within `limits.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from amodal_perception_ros.simulation.limits import FLAGS, SAME_NAMES, limits, plain

DEFAULTS = Path(__file__).with_name("distributions.yaml")

Value = float | int | bool | str
_PAIRS = ("integer", "uniform", "log_uniform", "normal")
KINDS = ("chance", "choice", *_PAIRS, "exponential")


class Distributions:
    """The random distributions behind a sequence.

    Args:
        overrides: nested like the file; replaces single entries of it.

    Raises:
        ValueError: an entry is unknown, not one of the kinds above, or gives what the simulator cannot work with;
            the message names it.
    """

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        defaults = _defaults()
        self._entries = dict(defaults)
        for key, entry in _flat("", overrides or {}):
            if key not in self._entries:
                section = key.split(".")[0]
                near = sorted(name for name in self._entries if name.startswith(section)) or sorted(
                    {name.split(".")[0] for name in self._entries}
                )
                raise ValueError(f"distributions: no entry '{key}'; there are {', '.join(near)}")
            _check(key, entry, defaults)
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
        value = _NUMBERS[kind](rng, given)
        return min(value, limits(key)[1]) if kind == "exponential" else value

    def weights(self, key: str) -> dict[str, float]:
        """Return name -> weight of a `choice` entry."""
        return {str(name): float(weight) for name, weight in self._entries[key]["choice"].items()}

    def choose(self, rng: np.random.Generator, key: str, names: list[str]) -> str:
        """Draw from a `choice` entry among some of its names; all of weight 0 counts as equal weights."""
        weights = np.array([self.weights(key).get(name, 0.0) for name in names])
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
        _check(key, entry, entries)
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


def _check(key: str, entry: Any, defaults: Mapping[str, Any]) -> None:
    if isinstance(entry, Mapping) and len(entry) == 1:
        ok = _is_valid(*next(iter(entry.items())))
    else:
        ok = _all_numbers([entry])
    expected = _expected(key, entry, defaults) if ok else f"a number or {{{', '.join(KINDS)}}}"
    if expected is not None:
        raise ValueError(f"distributions: '{key}' is {entry!r}; expected {expected}")


def _expected(key: str, entry: Any, defaults: Mapping[str, Any]) -> str | None:
    """Return what an entry ought to give; None where it does."""
    kind, given = _parts(entry)
    usual_kind, usual = _parts(defaults[key])
    if usual_kind == "chance" or key.startswith(FLAGS):
        return None if kind == "chance" or (kind == "plain" and given in (0, 1)) else "{chance: p}, 0 or 1"
    if usual_kind == "choice" and not _all_numbers(list(usual)):
        names = _names(key, defaults)
        return None if kind == "choice" and names.issuperset(given) else f"a choice among {', '.join(sorted(names))}"
    ends, whole = limits(key), usual_kind in ("integer", "choice", "plain") and _all_whole(usual)
    wanted = f"{'whole ' if whole else ''}numbers from {ends[0]:g} to {ends[1]:g}"
    if kind == "chance" or not _all_numbers(list(given) if kind == "choice" else []):
        return wanted
    if whole and not (kind in ("integer", "choice", "plain") and _all_whole(given)):
        return wanted
    low, high = _span(kind, given)
    return None if ends[0] <= low and high <= ends[1] else wanted


def _parts(entry: Any) -> tuple[str, Any]:
    return next(iter(entry.items())) if isinstance(entry, Mapping) else ("plain", entry)


def _names(key: str, defaults: Mapping[str, Any]) -> set[str]:
    """Return the names that the file gives for an entry, in any zone, or for those with the same names."""
    same = next((group for group in SAME_NAMES if plain(key) in group), (plain(key),))
    return {name for other, entry in defaults.items() if plain(other) in same for name in entry["choice"]}


def _all_whole(given: Any) -> bool:
    values = list(given) if isinstance(given, (Mapping, list)) else [given]
    return all(isinstance(value, int) for value in values)


def _span(kind: str, given: Any) -> tuple[float, float]:
    """Return the lowest and highest value that a distribution of numbers gives; the mean of an exponential one."""
    if kind == "normal":
        return given[0] - 3 * given[1], given[0] + 3 * given[1]
    if kind == "exponential":
        return 0, given
    values = list(given) if isinstance(given, (Mapping, list)) else [given]
    return min(values), max(values)


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
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) and -math.inf < v < math.inf for v in values)

"""The errors that are shown without a traceback, and the count of what was left out without being one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar


class InputError(ValueError):
    """Wrong usage or input. The message is one line that says what is wrong, where, and what to do.

    Programs print it and exit with code 2; every other exception is a defect of the package (exit code 1).
    """


class RunError(RuntimeError):
    """Work under way failed, not for its input; the message says what (of a program: exit code, end of its log)."""


class CauseCount(Counter[str]):
    """Counts what was left out or corrected, by cause, and remembers the first places of every cause.

    A place names file (or sequence, frame and camera) and instance, so that a reader of the report can look it up.

    Attributes:
        places: cause -> its first `SHOWN` places.
    """

    SHOWN: ClassVar[int] = 5

    def __init__(self, counts: Mapping[str, int] | None = None, places: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(counts)
        self.places = {cause: list(known) for cause, known in (places or {}).items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self), self.places)

    def note(self, cause: str, place: str, count: int = 1) -> None:
        """Count something and remember where it was."""
        if count:
            self[cause] += count
            self._remember(cause, [place])

    def merge(self, other: CauseCount) -> None:
        """Add the counts and places of another one."""
        for cause, count in other.items():
            self[cause] += count
            self._remember(cause, other.places.get(cause, []))

    def renamed(self, prefix: str) -> CauseCount:
        """Return the same with a word before every cause."""
        return CauseCount(
            {prefix + cause: count for cause, count in self.items()},
            {prefix + cause: places for cause, places in self.places.items()},
        )

    def _remember(self, cause: str, places: list[str]) -> None:
        known = self.places.setdefault(cause, [])
        known += [place for place in places if place not in known][: self.SHOWN - len(known)]

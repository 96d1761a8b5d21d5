"""Progress of a long command: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

PLAIN_PERIOD_S = 5.0
"""Least time between two lines where there is no terminal."""


class Progress:
    """Shows how much of a known total is done; a context manager.

    Args:
        label: what is going on, e.g. "play".
        total: amount of work.
        unit: unit of the total, e.g. "s".
    """

    def __init__(self, label: str, total: float, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = 0.0
        self._printed = time.monotonic()
        layout = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} {unit} [{elapsed}{postfix}]"
        self._bar = tqdm(
            desc=label, total=total, unit=unit, bar_format=layout, disable=not sys.stderr.isatty(), leave=True
        )

    def reach(self, done: float, note: str = "") -> None:
        """Show that `done` of the total is done, with a short note."""
        done = min(max(done, self._done), self._total)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._done)
        self._done = done
        if self._bar.disable and time.monotonic() - self._printed >= PLAIN_PERIOD_S:
            self._printed = time.monotonic()
            tail = f", {note}" if note else ""
            print(f"{self._label}: {done:.1f} of {self._total:.1f} {self._unit}{tail}", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

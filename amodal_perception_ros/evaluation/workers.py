"""Runs jobs in processes of their own and hands back what they return in the order of the jobs."""

from __future__ import annotations

import os
import signal
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from io import StringIO
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from amodal_perception_ros.evaluation.decoding import EvaluationError
from amodal_perception_ros.evaluation.scoring import Job, ScoredSequence, Scorer

_AHEAD = 2
"""How many groups a process may be ahead of the one that is waited for; results that wait are kept in memory."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score_in_workers(job: Job, groups: Sequence[range], workers: int) -> Iterator[list[ScoredSequence]]:
    """Yield the scored sequences of each group, in the order of the groups.

    Every process has a connection of its own and opens the data itself. The caller must be importable (a script needs
    `if __name__ == "__main__"`), as the processes are spawned.

    Raises:
        EvaluationError, DatasetError: as `Scorer.score`; or a process died.
    """
    crew = [_start(job) for _ in range(workers)]
    try:
        yield from _in_order(groups, [connection for connection, _ in crew])
    finally:
        for connection, process in crew:
            connection.close()
            process.terminate()
        for _, process in crew:
            process.join()


def _in_order(groups: Sequence[range], idle: list[Connection]) -> Iterator[list[ScoredSequence]]:
    waiting, busy = deque(enumerate(groups)), dict[Connection, int]()
    done: dict[int, list[ScoredSequence]] = {}
    ahead = _AHEAD * len(idle)
    for number in range(len(groups)):
        while number not in done:
            while idle and waiting and waiting[0][0] < number + ahead:
                position, group = waiting.popleft()
                connection = idle.pop()
                busy[connection] = position
                with _alive():
                    connection.send(group)
            for connection in cast(list[Connection], wait(list(busy))):
                with _alive():
                    message = connection.recv()
                if isinstance(message, list):
                    done[busy.pop(connection)] = message
                    idle.append(connection)
                else:
                    error, where = message
                    raise error from RuntimeError(where)
        yield done.pop(number)


@contextmanager
def _alive() -> Iterator[None]:
    """Talk to a process that may have died."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise EvaluationError(
            "a process of the evaluation died, probably for want of memory; try fewer of them (--workers 1)"
        ) from error


def _start(job: Job) -> tuple[Connection, BaseProcess]:
    # Spawn, not fork: threads of torch and OpenCV do not survive a fork.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, job), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _serve(connection: Connection, job: Job) -> None:
    """Score the groups that the parent sends, until it closes its end or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # It reaches the parent, which ends this process.
    scorer: Scorer | None = None
    with suppress(EOFError, ConnectionError):
        while True:
            group = connection.recv()
            try:
                if scorer is None:
                    with redirect_stderr(StringIO()):  # The parent has opened the same data and said what it had to.
                        scorer = job.open()
                message: object = scorer.score(group)
            except Exception as error:
                message = error, f"in a process of the evaluation:\n{traceback.format_exc()}"
            connection.send(message)

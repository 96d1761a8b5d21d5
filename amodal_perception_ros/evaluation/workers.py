"""Runs jobs in processes of their own and hands back what they return in the order of the jobs."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, suppress
from io import StringIO
from multiprocessing import get_context, resource_tracker
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
        EvaluationError, DatasetError: as `Scorer.score`, the first in the order of the groups; or a process died.
    """
    crew = list[tuple[Connection, BaseProcess]]()
    try:
        for _ in range(workers):
            crew.append(_start(job))
        yield from _in_order(groups, [connection for connection, _ in crew])
    finally:
        for connection, process in crew:
            connection.close()
            process.terminate()
        for _, process in crew:
            process.join()


def _in_order(groups: Sequence[range], idle: list[Connection]) -> Iterator[list[ScoredSequence]]:
    waiting, busy = deque(enumerate(groups)), dict[Connection, int]()
    done: dict[int, list[ScoredSequence] | Exception] = {}
    ahead = _AHEAD * len(idle)
    for number in range(len(groups)):
        while number not in done:
            while idle and waiting and waiting[0][0] < number + ahead:
                position, group = waiting.popleft()
                connection = idle.pop()
                busy[connection] = position
                with suppress(OSError):  # The process has died, as its answer will tell.
                    connection.send(group)
            for connection in cast(list[Connection], wait(list(busy))):
                answer = done[busy.pop(connection)] = _answer(connection)
                if isinstance(answer, Exception):
                    waiting.clear()  # What comes before it is on its way; which error is the first is decided there.
                else:
                    idle.append(connection)
        scored = done.pop(number)
        if isinstance(scored, Exception):
            raise scored
        yield scored


def _answer(connection: Connection) -> list[ScoredSequence] | Exception:
    """Return what a process has scored, or the error that it met."""
    try:
        message = connection.recv()
    except (EOFError, OSError) as cause:
        text = "a process of the evaluation died, probably for want of memory; try fewer of them (--workers 1)"
        error: Exception = EvaluationError(text)
        error.__cause__ = cause
        return error
    if isinstance(message, list):
        return message
    error, where = message
    error.__cause__ = RuntimeError(where)
    return error


def _start(job: Job) -> tuple[Connection, BaseProcess]:
    # Spawn, not fork: threads of torch and OpenCV do not survive a fork.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, job), daemon=True)
    # The child inherits the mask: Ctrl-C reaches the parent alone, which ends the child. The tracker, which starts with
    # the first child, would lift the mask.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return ours, process


def _serve(connection: Connection, job: Job) -> None:
    """Score the groups that the parent sends, until it closes its end or is gone."""
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
                message = _portable(error), f"in a process of the evaluation:\n{traceback.format_exc()}"
            connection.send(message)


def _portable(error: Exception) -> Exception:
    """Return an error that arrives in another process as it is, else its text."""
    with suppress(Exception):
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}")

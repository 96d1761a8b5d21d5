"""Processes of an evaluation: the order of results and errors, how far ahead they work, and what can reach them."""

import os
import signal
import threading
from multiprocessing import Pipe

import pytest
from test_evaluation_run import write

from amodal_perception_ros.evaluation import EvaluationError
from amodal_perception_ros.evaluation.run import evaluate
from amodal_perception_ros.evaluation.sources import DataSet, StoredPredictions
from amodal_perception_ros.evaluation.workers import _in_order, _portable

GROUPS = [range(k, k + 1) for k in range(9)]


def two_processes():
    """Return our ends of two connections, and the ends of those who get the first and the second group."""
    (ours, first), (also_ours, second) = Pipe(), Pipe()
    return [also_ours, ours], first, second


def test_the_first_error_in_order_is_raised_not_the_first_to_arrive():
    idle, first, second = two_processes()
    second.send((EvaluationError("of the second group"), ""))
    late = threading.Timer(0.2, first.send, [(EvaluationError("of the first group"), "traceback")])
    late.start()
    with pytest.raises(EvaluationError, match="of the first group") as caught:
        list(_in_order(GROUPS, idle))
    assert str(caught.value.__cause__) == "traceback"


def test_results_before_an_error_are_handed_on_first():
    idle, first, second = two_processes()
    second.close()
    late = threading.Timer(0.2, first.send, [["scored"]])
    late.start()
    results = _in_order(GROUPS, idle)
    assert next(results) == ["scored"]
    with pytest.raises(EvaluationError, match="a process of the evaluation died"):
        next(results)


def test_a_process_works_at_most_two_groups_per_process_ahead():
    """While the first group is awaited, the other process gets the next three; results that wait stay in memory."""
    idle, first, second = two_processes()
    early = []

    def answer():
        while second.poll(0.3):
            early.append(second.recv())
            second.send(list(early[-1]))
        for group in GROUPS:
            if group not in early:
                first.send(list(group))

    helper = threading.Thread(target=answer)
    helper.start()
    results = _in_order(GROUPS, idle)
    assert next(results) == [0]
    helper.join()
    assert early == GROUPS[1:4]


class TwoWords(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Locked(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def test_errors_that_cannot_travel_keep_their_text():
    plain = EvaluationError("frame 3")
    assert _portable(plain) is plain
    for error, text in ((TwoWords(1, 2), "TwoWords: 1 and 2"), (Locked(), "Locked: holds a lock")):
        travelling = _portable(error)
        assert (type(travelling), str(travelling)) == (RuntimeError, text)


class Interrupted(StoredPredictions):
    """A run during whose arrival in a process the user presses Ctrl-C."""

    def __setstate__(self, state):
        self.__dict__.update(state)
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_does_not_reach_a_process_that_starts(tmp_path):
    """It is for the parent, which ends its processes; theirs would be tracebacks on the terminal."""
    root = write(tmp_path, sequences=[f"village{k}" for k in range(4)])
    evaluation = evaluate(DataSet((root,)), {"ours": Interrupted(root)}, workers=2, resamples=0)
    assert evaluation.runs["ours"]["frames"] == 8
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())

"""Batches from processes that load and augment them while the network computes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from amodal_perception_ros.errors import InputError, RunError
from amodal_perception_ros.training.dataset import Batch, BatchSource

PREFETCH = 4
"""Batches that each loading process prepares ahead."""


class _WithErrors(Dataset):
    """A source whose input errors are items: DataLoader would hand them over as the text of a traceback."""

    def __init__(self, source: BatchSource) -> None:
        self.source = source

    def __getitem__(self, number: int) -> Batch | InputError:
        try:
            return self.source[number]
        except InputError as error:
            return error


def load_batches(source: BatchSource, numbers: range, workers: int, device: torch.device) -> Iterator[Batch]:
    """Yield the batches of these numbers.

    Args:
        source: of the batches.
        numbers: in the wanted order.
        workers: processes that load; 0 = this one.
        device: that the batches are copied to afterwards.

    Raises:
        InputError: a record cannot be read.
    """
    loader = DataLoader(
        _WithErrors(source),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker,
    )
    for batch in _started(loader):
        if isinstance(batch, InputError):
            raise batch
        yield batch


def _started(loader: DataLoader) -> Iterator[Batch | InputError]:
    """Start the loading processes with one OpenCV thread each.

    They are forks of this process, in which OpenCV's threads do not exist: one that inherits the pool hangs when it
    uses or ends it, so there must be none at the moment of the fork.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return iter(loader)
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def deaths_named() -> Iterator[None]:
    """Raise RunError where a loading process died. PyTorch reports that by a signal, so anywhere in the block."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            "a process that loads batches died, most likely because memory ran out; "
            "go on with --resume, and with fewer workers if it happens again"
        ) from error


def _start_worker(_worker: int) -> None:
    """Leave Ctrl-C, which the terminal sends to all processes, to the training process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

"""The images of a tick side by side: their post-processing is independent, and the network's cores are free by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def for_each_image(work: Callable[[T], R], images: Sequence[T]) -> list[R]:
    """Return what `work` makes of each image, in their order, with as many threads as PyTorch may use.

    NumPy, OpenCV and PyTorch let other threads run during their work. The threads live as long as the call, so that
    a process may be forked between ticks.
    """
    workers = min(torch.get_num_threads(), len(images))
    with _one_thread():
        if workers < 2:
            return [work(image) for image in images]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(work, images))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread: steps take microseconds, and on a busy machine a second thread is long in coming."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

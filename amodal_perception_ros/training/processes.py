"""One training in several processes, as `torchrun` starts them; a single process is the case of one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from amodal_perception_ros.errors import InputError

PATIENCE = timedelta(hours=12)
"""The others wait so long for the first process, which prepares the data and validates."""

SILENCE_S = 60.0
"""A process that fails after another one waits so long for torchrun, which ends all as soon as one has ended."""


@dataclass(frozen=True)
class Processes:
    """One process among all of a run: its number, how many there are, and its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes: logs, checkpoints and weights."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are the mean over all processes after each backward pass."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module)

    def agree(self, *values: float) -> list[float]:
        """Return the first process' values in all of them."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(tensor, 0)
        return tensor.tolist()

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.count > 1:
            dist.all_reduce(torch.zeros(1))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), with NCCL on GPUs and Gloo on CPUs.

    Of all errors in several processes the first alone is raised: the others fail alike, or because that one is gone.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; with several processes each takes the GPU of its local rank.

    Raises:
        InputError: the device is not there.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, choose_device(device))
        return
    store, rank, _ = next(dist.rendezvous("env://"))
    # Numbers that the processes agree on stay on the CPU; gradients go the way of their device.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)
    try:
        chosen = choose_device(device)
        if chosen.type == "cuda":
            chosen = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
            torch.cuda.set_device(chosen)
        yield Processes(rank, count, chosen)
    except Exception as error:
        if store.add("failures", 1) == 1:
            raise
        time.sleep(SILENCE_S)
        raise SystemExit(1) from error
    dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """Return the device of a setting; raises InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device '{name}' is not there (GPUs that PyTorch can use: {torch.cuda.device_count()}); "
            "use 'cpu' or 'auto', and start one process a GPU"
        )
    return device

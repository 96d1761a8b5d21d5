"""One training in several processes, as `torchrun` starts them; a single process is the case of one."""

from __future__ import annotations

import os
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

    def agree(self, value: float) -> float:
        """Return the first process' value in all of them."""
        if self.count == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def wait(self) -> None:
        """Return when all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), with NCCL on GPUs and Gloo on CPUs.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; with several processes each takes the GPU of its local rank.

    Raises:
        InputError: the device is not there.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, chosen)
    finally:
        dist.destroy_process_group()


def choose_device(name: str) -> torch.device:
    """Return the device of a setting; raises InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device '{name}' is not available; use 'cpu' or 'auto'")
    return torch.device(name)

"""Several processes that do one job, as torchrun starts them; or a single one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from styleclip_cli.machine.shards import processes, rank


@dataclass(frozen=True)
class World:
    """The processes.

    Attributes:
        rank: Which of them this is, from 0.
        size: How many there are.
        device: Where this one computes.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """This process's part of what all have computed alike."""
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
            values = values / self.size
        return values

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, so that its gradients are averaged over all processes."""
        return module if self.size == 1 else nn.parallel.DistributedDataParallel(module)

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return flag
        said = torch.tensor(float(flag), device=self.device)
        torch.distributed.all_reduce(said)
        return bool(said > 0)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            torch.distributed.barrier()


@contextmanager
def world(device: torch.device, patience: timedelta | None = None) -> Iterator[World]:
    """Join the processes that torchrun started, if it did.

    Args:
        device: Where this one computes: NCCL joins GPUs, gloo joins CPUs.
        patience: How long one may wait for the others; None for torch's own limit, which is minutes.

    Raises:
        UsageError: If the environment is not torchrun's (see `processes`).
    """
    size = processes()
    if size == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    try:
        yield World(rank(), size, str(device))
    finally:
        torch.distributed.destroy_process_group()

"""One part of a job that several processes share without talking to each other. Imports nothing heavy."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from styleclip_cli.errors import UsageError

_MOST = 100_000


@dataclass(frozen=True)
class Shard:
    """Every `count`-th piece of a job, from piece `index` on: nobody has to be asked who does what.

    Attributes:
        index: Which part, from 0.
        count: How many parts there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= _MOST:
            raise UsageError(
                f"there is no shard {self.index} of {self.count}", "0/4, 1/4, 2/4 and 3/4 are four shards"
            )

    def takes(self, piece: int) -> bool:
        """Whether a piece of the job, counted from 0, belongs to this part."""
        return piece % self.count == self.index

    def divided(self, rank: int, size: int) -> Shard:
        """The part of one of `size` processes that share this one."""
        return Shard(self.index + self.count * rank, self.count * size)

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Read "1/4": the second of four parts; None is all of it.

        Raises:
            UsageError: If there is no such part.
        """
        if text is None:
            return cls()
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if match is None:
            raise UsageError(f"--shard must be a part of a whole, not {text!r}", "--shard 0/4")
        return cls(int(match[1]), int(match[2]))


def rank() -> int:
    """Which of torchrun's processes this one is, before torch is imported; 0 if there is only one.

    Raises:
        UsageError: As `processes`.
    """
    return _launched()[0]


def processes() -> int:
    """How many processes torchrun started, before torch is imported; 1 without it.

    Raises:
        UsageError: If the environment names several, but not as torchrun does: each would wait for the
            others, or do the work of all.
    """
    return _launched()[1]


def _launched() -> tuple[int, int]:
    """Rank and number of the processes; RANK alone says nothing, as other programs use the name too."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        return 0, 1
    rank, complete = os.environ.get("RANK", ""), {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    if not (size.isdecimal() and rank.isdecimal() and int(rank) < int(size) and complete):
        raise UsageError(
            f"WORLD_SIZE is {size!r}, but the rest of what torchrun sets is missing or does not fit",
            "start it by torchrun, use --shard, or unset WORLD_SIZE",
        )
    return int(rank), int(size)


def own_device(device: str) -> str:
    """Give each of torchrun's processes on a machine its own GPU.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        The device that this process should take.
    """
    if device not in ("auto", "cuda") or "LOCAL_RANK" not in os.environ:
        return device
    import torch

    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"

"""Long measurements cut into pieces: each is kept when it is done, and it does not matter who does it.

How a job is cut depends on what is measured alone, never on how many processes there are, so the numbers are
the same however it was divided, stopped and gone on with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from styleclip_cli.errors import WeightsError
from styleclip_cli.machine import cache
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.machine.shards import Shard

Report = Callable[[float], None]
"""Takes which part of a piece is done, 0 to 1."""


@dataclass(frozen=True)
class Piece:
    """One part of a job.

    Attributes:
        key: Everything its numbers depend on, as JSON can hold it.
        amount: How much there is to do, in units that mean something to a person.
        compute: Does it.
    """

    key: Mapping[str, Any]
    amount: int
    compute: Callable[[Report], cache.Arrays]


@dataclass(frozen=True)
class Job:
    """A measurement in pieces.

    Attributes:
        kind: Folder of the pieces in the cache.
        schema: Layout of a piece.
        pieces: All of them.
        keep: Whether pieces are kept in the cache.
        remaining: Seconds that some pieces will take, judged by what has been done so far; None where that
            cannot be told.
    """

    kind: str
    schema: str
    pieces: Sequence[Piece]
    keep: bool = True
    remaining: Callable[[Sequence[int]], float | None] = lambda numbers: None

    def missing(self) -> list[int]:
        """Numbers of the pieces that are not in the cache.

        Returns:
            In ascending order.
        """
        return [number for number, piece in enumerate(self.pieces) if not self._kept(piece)]

    def run(self, shard: Shard | None = None, advance: Advance = nothing) -> list[cache.Arrays]:
        """Do the pieces of a shard; those in the cache are read.

        Args:
            shard: Which; None for all.
            advance: Takes what is done, what there is, and the time it will take.

        Returns:
            What was measured, in order.
        """
        shard = shard or Shard()
        mine = [number for number in range(len(self.pieces)) if shard.takes(number)]
        total = sum(self.pieces[number].amount for number in mine)
        began, done, found = time.monotonic(), 0, []
        for place, number in enumerate(mine):
            piece = self.pieces[number]

            def report(part: float, piece: Piece = piece, base: int = done, place: int = place) -> None:
                advance(base + int(piece.amount * part), total, self._estimate(mine[place:], part, began))

            found.append(self._one(piece, report))
            done += piece.amount
            advance(done, total, self._estimate(mine[place + 1 :], 0.0, began))
        return found

    def _one(self, piece: Piece, report: Report) -> cache.Arrays:
        def compute() -> tuple[cache.Arrays, cache.Json]:
            arrays = piece.compute(report)
            check_finite(self.kind, *arrays.values())
            return arrays, {}

        return cache.cached(self.kind, piece.key, self.schema, compute)[0] if self.keep else compute()[0]

    def _estimate(self, ahead: Sequence[int], part: float, began: float) -> str:
        """The time from beginning to end, in words; empty if it cannot be estimated."""
        if not ahead:
            return ""
        each = self.remaining(ahead[:1]), self.remaining(ahead[1:])
        if each[0] is None or each[1] is None:
            return ""
        whole = time.monotonic() - began + each[0] * (1 - part) + each[1]
        return f"about {duration(whole)} in all"

    def _kept(self, piece: Piece) -> bool:
        return any(path.is_file() for path in cache.places(self.kind, piece.key))


def check_finite(kind: str, *arrays: np.ndarray) -> None:
    """Make sure that what was measured are numbers.

    Args:
        kind: What it was.
        arrays: The numbers.

    Raises:
        WeightsError: If they are not.
    """
    if not all(np.isfinite(array).all() for array in arrays):
        raise WeightsError(
            f"what was measured for the {kind} is not finite",
            "the weights may be damaged: styleclip models verify",
        )


def duration(seconds: float) -> str:
    """A length of time as people say it: "40 s", "12 min", "3.5 h".

    Args:
        seconds: How long.

    Returns:
        In words.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

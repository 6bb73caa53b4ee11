"""Measurements by several processes of one command, as torchrun starts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from styleclip_cli.errors import BadInputError, OutputError, PartialFailure, StyleClipError
from styleclip_cli.machine.shards import Shard

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

_PATIENCE = timedelta(days=7)
"""Shards are not equally long, least of all where some were in the cache already."""


def measure(engine: Engine, part: Shard | None = None) -> None:
    """Make the measurements for edits with torchrun's other processes; all return when they are done.

    Args:
        engine: Of the pack.
        part: The shard that these processes divide among them; None for all.
    """
    from styleclip_cli.machine.distributed import world

    with world(engine.device, _PATIENCE) as together:
        engine.measure(part, together)


@contextmanager
def together(engine: Engine, measuring: bool = False) -> Iterator[None]:
    """Make torchrun's processes end together, as torchrun stops all when the first one fails.

    Failures of single faces are raised when all processes are done.

    Args:
        engine: Of the pack.
        measuring: Whether they first make the measurements for directions together.
    """
    from styleclip_cli.machine.distributed import world

    failure: StyleClipError | None = None
    with world(engine.device, _PATIENCE) as others:
        if measuring:
            engine.measure(None, others)
        try:
            yield
        except (BadInputError, OutputError, PartialFailure) as error:
            failure = error
        others.wait()
    if failure is not None:
        raise failure

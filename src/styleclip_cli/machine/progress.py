"""How long steps are reported, whoever listens. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Takes how far one long step is."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report.

        Args:
            done: Parts that are done.
            total: Parts in all.
            note: How it stands, in a few words.
        """


Progress = Callable[[str], AbstractContextManager[Advance]]
"""Reports long steps: called with a title, gives a context whose value takes (done, total)."""

Tell = Callable[[str], None]
"""Takes a remark for a person, of one line."""


@contextmanager
def silent(title: str) -> Iterator[Advance]:
    """Report nothing."""
    yield nothing


def nothing(done: int, total: int, note: str = "") -> None:
    """Report nothing."""


def unheard(remark: str) -> None:
    """Tell nobody."""

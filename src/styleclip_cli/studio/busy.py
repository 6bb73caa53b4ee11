"""What is said to a person on the page: how far long steps are, and what is wrong, without options.

Nothing here knows of the web.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from styleclip_cli.errors import StyleClipError, one_line
from styleclip_cli.machine.progress import Advance, Progress, silent

_MEANT = re.compile(r'did you mean "(.+)"\?')
_OF_COMMANDS = re.compile(r"(^|[\s(])(--[a-z]|styleclip [a-z])")


class Busy:
    """Follows the long steps of an engine, for whoever waits for it.

    Args:
        also: Who else is told, such as a terminal.

    Attributes:
        said: What it is doing now; empty for nothing.
        part: How far that is, from 0 to 1; None if nobody knows.
    """

    def __init__(self, also: Progress = silent) -> None:
        self.said = ""
        self.part: float | None = None
        self._also = also

    @contextmanager
    def __call__(self, title: str) -> Iterator[Advance]:
        """Follow a step."""
        outer = self.said, self.part
        self.said, self.part = title, None
        try:
            with self._also(title) as tell:

                def advance(done: int, total: int, note: str = "") -> None:
                    self.told(title, done, total)
                    tell(done, total, note)

                yield advance
        finally:
            self.said, self.part = outer

    def told(self, title: str, done: int, total: int) -> None:
        """Take how far a step is."""
        self.said = f"{title}: {done} of {total}" if total else title
        self.part = done / total if total else None


def readable(warning: str) -> tuple[str, str]:
    """A warning without what it says to users of the command line.

    Args:
        warning: A sentence of clauses, separated by semicolons.

    Returns:
        The warning, and another sentence that may have been meant; empty if none is named.
    """
    clauses, meant = [], ""
    for clause in warning.split("; "):
        found = _MEANT.fullmatch(clause)
        if found is not None:
            meant = found[1]
        elif not _OF_COMMANDS.search(clause):
            clauses.append(clause)
    return "; ".join(clauses) if clauses or meant else warning, meant


def complaint(error: StyleClipError) -> str:
    """An error in a line, with its hint if that is not about the command line."""
    hint, _ = readable(error.hint) if error.hint and not _OF_COMMANDS.search(error.hint) else ("", "")
    return one_line(error.message) + (f" ({one_line(hint)})" if hint else "")

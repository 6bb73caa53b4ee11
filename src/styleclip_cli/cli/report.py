"""The only owner of the streams: results on stdout, everything else on stderr."""

from __future__ import annotations

import codecs
import io
import json as json_of
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from styleclip_cli.errors import OutputError
from styleclip_cli.machine.progress import Advance, nothing

if TYPE_CHECKING:
    from PIL import Image

_PLAIN_SECONDS = 5.0
"""Off a terminal a long step says so this often at most; a short one says nothing."""


_PLAIN = {"\u2026": ".", "\u2013": "-", "\u2014": "-", "\u2019": "'", "\u2192": ">", "\u00d7": "x"}
"""What is as wide as a letter that a stream's encoding may not have."""


def soften_streams() -> None:
    """Let libraries print on streams that are not UTF-8: what an encoding does not have is spelled out."""
    codecs.register_error("styleclip", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="styleclip")


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    if all(letter in _PLAIN for letter in letters):
        return "".join(_PLAIN[letter] for letter in letters), error.end
    return codecs.backslashreplace_errors(error)


def error(message: str, hint: str = "") -> None:
    """Print the one line a failure is told in, and what to do about it."""
    _write(sys.stderr, f"styleclip: error: {_one_line(message)}")
    if hint:
        _write(sys.stderr, f"  try: {_one_line(hint)}")


def data(text: str, lines: bool = False) -> None:
    """Print what was asked for (never silenced by --quiet): a line, or a text of many lines."""
    if text:
        _write(sys.stdout, text, "\n\t" if lines else "\t")


def plain(text: str) -> str:
    """A text from a file, as a question on stderr may hold it: one line that steers no terminal."""
    return _printable(text, sys.stderr)


def binary(data: bytes) -> None:
    """Write a file's content to stdout.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from None


class Reporter:
    """Tells a person what happens.

    Args:
        quiet: Say nothing but errors.
        notes: Make remarks and show progress; without, there are results and errors alone.
        json: Results are told as JSON lines, by `record`, whether quiet or not.
        aside: Standard output is taken by an image: results are told on standard error.
    """

    def __init__(
        self, quiet: bool = False, notes: bool = True, json: bool = False, aside: bool = False
    ) -> None:
        self.quiet = quiet
        self.notes = notes and not quiet
        self.json = json
        self._results = sys.stderr if aside else sys.stdout
        self._busy = False
        # What deeper layers have to say ("damaged, making it again") goes the same way as notes.
        logger = logging.getLogger("styleclip_cli")
        logger.setLevel(logging.ERROR if quiet else logging.WARNING)
        if _log not in logger.handlers:
            logger.addHandler(_log)

    def result(self, line: str) -> None:
        """Print a result line on stdout."""
        if not self.quiet and not self.json:
            _write(self._results, line)

    def record(self, values: Mapping[str, Any]) -> None:
        """Print a result as one line of JSON on stdout, if that is how results are told."""
        if self.json:
            _write(sys.stdout, json_of.dumps(values, allow_nan=False))

    def note(self, line: str) -> None:
        """Print a remark on stderr."""
        if self.notes:
            _write(sys.stderr, line)

    def picture(self, picture: Image.Image) -> None:
        """Show an image on stderr, if that is a terminal with true colours."""
        from styleclip_cli.pictures.terminal import can_show, to_text

        if not self.quiet and can_show(sys.stderr):
            with suppress(OSError):
                sys.stderr.write(to_text(picture) + "\n")
                sys.stderr.flush()

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str] | None], title: str = "", numbers: int = 0
    ) -> None:
        """Print a table on stdout; off a terminal in plain characters, 160 columns wide.

        Args:
            columns: Their names.
            rows: Texts as they are: nothing in them is taken for markup. None draws a line.
            title: What is above it.
            numbers: How many of the last columns hold numbers.
        """
        if self.quiet:
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        def cell(text: str) -> Text:
            return Text(_printable(text, sys.stdout))

        terminal = _is_terminal(sys.stdout)
        width = None if terminal or "COLUMNS" in os.environ else 160
        table = Table(title=cell(title) if title else None)
        if not terminal:
            table.box = box.ASCII
        for number, column in enumerate(columns, start=1):
            justify: Any = "right" if number > len(columns) - numbers else "left"
            table.add_column(cell(column), justify=justify, overflow="fold")
        for row in rows:
            if row is None:
                table.add_section()
            else:
                table.add_row(*map(cell, row))
        console = Console(
            file=sys.stdout, force_terminal=terminal, no_color=not terminal or None, width=width
        )
        with suppress(BrokenPipeError):
            console.print(table)

    @contextmanager
    def progress(self, title: str, in_bytes: bool = False) -> Iterator[Advance]:
        """Show how far a long step is: a bar on a terminal, a line now and then elsewhere.

        Args:
            title: What is being done ("measuring channel statistics").
            in_bytes: What is counted are bytes.

        Yields:
            A function taking (done, total), and a note.
        """
        if not self.notes or self._busy:  # one bar at a time: a step inside a step is told by the outer one
            yield nothing
            return
        self._busy = True
        # Rich would draw its bar even into a pipe under FORCE_COLOR, so the stream itself is asked.
        show = _bar if _is_terminal(sys.stderr) else _lines
        try:
            with show(plain(title), in_bytes) as advance:
                yield advance
        finally:
            self._busy = False


@contextmanager
def _bar(title: str, in_bytes: bool) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *((DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(title, total=None, note="")

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total or None, note=note)

        yield advance


@contextmanager
def _lines(title: str, in_bytes: bool) -> Iterator[Advance]:
    start = last = time.monotonic()
    told = False

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal last, told
        now = time.monotonic()
        if now - last >= _PLAIN_SECONDS:
            last, told = now, True
            far = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if in_bytes else f"{done} of {total}"
            _write(sys.stderr, f"{title}: {far}{note and '  '}{note}")

    yield advance
    if told:
        _write(sys.stderr, f"{title}: done in {time.monotonic() - start:.1f} s")


def close_streams() -> None:
    """Flush at exit; a reader that left early (`styleclip ... | head`) is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _silence(stream)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _write(sys.stderr, record.getMessage())


_log = _Log()


def _write(stream: TextIO, line: str, keep: str = "\t") -> None:
    try:
        stream.write(_printable(line, stream, keep) + "\n")
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:  # a full disk behind a redirection
        _silence(stream)
        if stream is sys.stdout:
            raise OutputError(f"standard output: cannot be written ({error.strerror})") from None


def _printable(line: str, stream: TextIO, keep: str = "\t") -> str:
    """Spell out what a stream's encoding or a terminal cannot take (file names may hold anything)."""
    clean = "".join(c if c in keep or c.isprintable() else f"\\x{ord(c):02x}" for c in line)
    encoding = stream.encoding or "utf-8"
    return clean.encode(encoding, "backslashreplace").decode(encoding)


def _silence(stream: TextIO) -> None:
    """Let the rest of the run write into nothing: the files are the product, the lines only tell of them."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _one_line(text: str) -> str:
    return " ".join(text.split())

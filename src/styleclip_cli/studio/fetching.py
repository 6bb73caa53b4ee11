"""The download of a model pack from the page: what it will cost, how far it is, how it ended.

Nothing here knows of the web. One download serves all pages.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from styleclip_cli.errors import StyleClipError, WeightsError, one_line
from styleclip_cli.machine.progress import Advance
from styleclip_cli.weights import install, packs, store
from styleclip_cli.weights.fetch import Network
from styleclip_cli.weights.packs import Pack

State = Literal["idle", "running", "failed", "done"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cost:
    """What a download costs.

    Attributes:
        files: How many are missing.
        size: Bytes still to be downloaded, of those whose size is published.
        unknown: How many files have no published size.
        free: Bytes that are free where they will lie; None if that cannot be told.
        folder: Where they will lie.
        hosts: Where they come from.
        licence: The pack's licence.
        to_accept: Whether the licence restricts the use, and was not accepted yet.
    """

    files: int
    size: int
    unknown: int
    free: int | None
    folder: Path
    hosts: tuple[str, ...]
    licence: str
    to_accept: bool

    @property
    def said(self) -> str:
        """Its size, in words."""
        more = f", {self.unknown} of unpublished size" if self.unknown else ""
        files = f"{self.files} file{'s' if self.files > 1 else ''}{more}"
        return f"{in_bytes(self.size)}{' or more' if self.unknown else ''} ({files})"


@dataclass
class Fetching:
    """The download of a pack, and its installation.

    Attributes:
        name: The pack.
        network: How the network may be used.
        state: Whether it runs, and how it ended.
        problem: What went wrong, a line; empty for nothing.
        file: The file that is on its way, or is being converted.
        converting: Whether that file has arrived.
        number: Which of the files it is, from 1.
        files: How many there are.
    """

    name: str
    network: Network
    state: State = "idle"
    problem: str = ""
    file: str = ""
    converting: bool = False
    number: int = 0
    files: int = 0
    _before: int = 0  # bytes of the files that have arrived
    _now: tuple[int, int] = (0, 0)  # bytes of the present one: here, in all
    _total: int = 0
    _began: tuple[float, int] | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def pack(self) -> Pack:
        """The pack, as it is now.

        Raises:
            WeightsError: If there is no such pack.
        """
        return packs.find_pack(self.name)

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return self.state == "running"

    @property
    def offered(self) -> bool:
        """Whether it may be begun: the pack is not here, and the network may be used."""
        return not self.network.offline and not self.pack.usable

    def cost(self) -> Cost:
        """What is announced before anything is downloaded."""
        pack = self.pack
        groups = packs.wanted(pack)
        size, unknown = packs.download_bytes(pack)
        urls = [url for entries in groups if entries[0].source for url in entries[0].source.urls[:1]]
        urls = urls if self.network.mirror is None else [self.network.mirror]
        hosts = tuple(dict.fromkeys(filter(None, (urlsplit(url).hostname for url in urls))))
        to_accept = bool(install.unaccepted(pack))
        folder = store.home()
        return Cost(len(groups), size, unknown, _free(folder), folder, hosts, pack.licence, to_accept)

    @property
    def bytes(self) -> tuple[int, int]:
        """Bytes that have arrived, and those of all files as far as their sizes are known."""
        here, whole = self._now
        return self._before + here, max(self._total, self._before + max(here, whole))

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at the present pace; None if that cannot be told yet."""
        here, total = self.bytes
        if self._began is None or not self.running:
            return None
        seconds, arrived = time.monotonic() - self._began[0], here - self._began[1]
        return (total - here) * seconds / arrived if seconds > 2 and arrived > 0 else None

    def start(self, accepted: bool = False, then: Callable[[], None] = lambda: None) -> None:
        """Begin, or go on after a failure.

        Args:
            accepted: Whether the licence was accepted just now.
            then: Called when it has ended, however it did, by the thread that downloads.

        Raises:
            WeightsError: If the licence is still to be accepted.
            OutputError: If that cannot be written down.
        """
        if self.running:
            return
        licences = install.unaccepted(self.pack)
        if licences and not accepted:
            raise WeightsError(f"the licence of {self.name} was not accepted")
        store.accept_licences(licences)
        self.state, self.problem, self.file, self.number = "running", "", "", 0
        self._before, self._now, self._began = 0, (0, 0), None
        self._stopping.clear()
        # Nothing waits for it at the end: what has arrived is kept, and the next download goes on from there.
        threading.Thread(target=self._run, args=(then,), name="download", daemon=True).start()

    def stop(self) -> None:
        """End it; what has arrived is kept."""
        self._stopping.set()

    def _run(self, then: Callable[[], None]) -> None:
        try:
            install.drop_damaged(self.pack)
            self.files, (self._total, _) = len(packs.wanted(self.pack)), packs.download_bytes(self.pack)
            problems = install.pull(self.pack, self.network, self._progress)
            self.problem = _told(problems, self.pack)
            self.state = "done" if self.pack.usable else "failed"
        except StyleClipError as error:
            self.state, self.problem = "failed", _line(error)
        except Exception as error:
            _log.exception("the download ended")
            self.state, self.problem = "failed", one_line(error)
        then()

    @contextmanager
    def _progress(self, title: str) -> Iterator[Advance]:
        """Follow one file; its conversion comes after it."""
        self._require_going()
        self.file, self.converting = title.removeprefix("downloading "), False
        self.number += 1
        yield self._advance
        self._before, self._now = self._before + max(self._now), (0, 0)
        self.converting = True

    def _advance(self, done: int, total: int, note: str = "") -> None:
        self._require_going()
        self._now = done, total
        if self._began is None:
            self._began = time.monotonic(), self._before + done

    def _require_going(self) -> None:
        if self._stopping.is_set():
            raise WeightsError("the download was stopped", "what has arrived is kept")


def _told(problems: list[StyleClipError], pack: Pack) -> str:
    """What went wrong, a line; empty for nothing."""
    if not problems:
        return ""
    if pack.usable:
        return f"installed, but for its {', '.join(pack.missing)}: {one_line(problems[-1].message)}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _line(problems[0]) + ("" if len({one.message for one in problems}) == 1 else more)


def _line(error: StyleClipError) -> str:
    return one_line(error.message) + (f" ({one_line(error.hint)})" if error.hint else "")


def _free(folder: Path) -> int | None:
    """Bytes that are free on the disk of a folder that may not be there yet."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def in_bytes(count: float) -> str:
    """A number of bytes, in words."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"

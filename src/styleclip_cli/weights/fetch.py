"""Download published weight files: resumed where they stopped, checked before they get their name.

While a file is loading it is `<file>.part`; `<file>.part.json` beside it says from which address it comes
and which version of it (ETag or Last-Modified), so that a later process can ask for the rest.
Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from styleclip_cli import __version__
from styleclip_cli.errors import OutputError, UsageError, WeightsError, one_line
from styleclip_cli.weights.http_checks import (
    BLOCK,
    Interrupted,
    Refused,
    Wrong,
    blocks_of,
    judge,
    network_errors,
    refuse_page,
    refuse_unsafe,
    require_continuation,
    total_size,
    version_of,
)

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)
KEPT_FREE = 200_000_000
"""Bytes of a disk that downloads leave alone, for all else that writes there."""
_LONGEST_WAIT, _LONGEST_TIMEOUT = 30.0, 86_400.0
_OFFLINE = ("STYLECLIP_OFFLINE", "HF_HUB_OFFLINE")
_NO = ("", "0", "false", "no", "off", "n", "f")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Source:
    """A published file: where it can be fetched, and how it is known to be the right one.

    Attributes:
        file: Name under which it is published, such as "e4e_ffhq_encode.pt".
        urls: Addresses, tried in order.
        sha256: SHA-256 of the content, in hex.
        git_sha1: Git blob id (SHA-1 of "blob <size>", a zero byte and the content), where no SHA-256 is
            published.
        size: Bytes, if known.
        others: Other files that hold the same weights, each with its own addresses and hash; tried when
            this one cannot be had.
    """

    file: str
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    git_sha1: str | None = None
    size: int | None = None
    others: tuple[Source, ...] = ()

    @property
    def pinned(self) -> bool:
        """Whether a hash tells the right content from any other, whoever sends it."""
        return bool(self.sha256 or self.git_sha1)

    @property
    def all_urls(self) -> list[str]:
        """All addresses, those of the others last."""
        return [*self.urls, *(url for other in self.others for url in other.urls)]


@dataclass(frozen=True)
class Fetched:
    """A file that is here; `url` is where it came from, empty if it was here already."""

    path: Path
    url: str
    sha256: str
    size: int

    def is_(self, source: Source) -> bool:
        """Whether it is a file whose hash is published."""
        return source.pinned and not _compare(source, self.path)[1]


@dataclass(frozen=True)
class Network:
    """How the network may be used.

    Attributes:
        offline: Never open a connection.
        mirror: An address to which "/<file>" is added; tried before a file's own addresses.
        connect_timeout: Longest wait for a connection, in seconds.
        read_timeout: Longest silence of a server, in seconds.
        attempts: Tries per address; counted anew when one brought the download forward.
        backoff: Seconds before the second try, doubled for each further one.
        least_speed: Bytes a second below which a server counts as silent, and a try as in vain.
        largest: Most bytes of a file whose size is not published.
    """

    offline: bool = False
    mirror: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    attempts: int = 4
    backoff: float = 1.0
    least_speed: float = 1000.0
    largest: int = 8 << 30

    @classmethod
    def from_environment(cls) -> Network:
        """Settings from STYLECLIP_OFFLINE, HF_HUB_OFFLINE, STYLECLIP_MIRROR and STYLECLIP_TIMEOUT.

        Raises:
            UsageError: If one of them makes no sense.
        """
        offline = any(os.environ.get(name, "").lower() not in _NO for name in _OFFLINE)
        mirror = os.environ.get("STYLECLIP_MIRROR") or None
        if mirror and not mirror.startswith(("https://", "http://")):
            raise UsageError(f"STYLECLIP_MIRROR={mirror}: not an address", "such as https://host/folder")
        timeout = os.environ.get("STYLECLIP_TIMEOUT") or str(cls.read_timeout)
        try:
            seconds = float(timeout)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _LONGEST_TIMEOUT:
            limits = f"above 0 and at most {_LONGEST_TIMEOUT:g}"
            raise UsageError(f"STYLECLIP_TIMEOUT={timeout}: not a number of seconds {limits}", "such as 30")
        return cls(offline=offline, mirror=mirror, read_timeout=seconds)


def fetch(source: Source, folder: Path, network: Network, progress: Progress | None = None) -> Fetched:
    """Bring a published file into a folder, unless it is there. The caller keeps other processes out.

    Args:
        source: The file.
        folder: Where to put it; made if missing.
        network: How the network may be used.
        progress: Told the bytes loaded so far and those of the whole file (0 if unknown).

    Returns:
        Where the file is and what it is; its content is what `source` says.

    Raises:
        WeightsError: If no address gives the file.
        OutputError: If it cannot be written; what was loaded is kept, and the next call goes on there.
    """
    path = folder / _plain_name(source.file)
    job = _Job(source, path, network, progress or (lambda done, total: None))
    try:
        return _present(source, path) or _download(job)
    except OSError as error:  # of the disk: those of the network end in Interrupted or Refused
        full = error.errno in _FULL
        raise OutputError(
            f"{error.filename or path}: cannot be written ({error.strerror or error})",
            "make room and run it again: it goes on from there" if full else "choose another folder",
        ) from error


def check(source: Source, path: Path) -> str:
    """Verify that a file is the published one.

    Returns:
        Its SHA-256, in hex.

    Raises:
        WeightsError: If it cannot be read, or its size or a hash is another one.
    """
    try:
        sha256, differences = _compare(source, path)
        if any(not _compare(other, path)[1] for other in source.others if differences and other.pinned):
            return sha256
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    if differences:
        raise WeightsError(f"{path}: not the published file ({differences})", _by_hand(source))
    return sha256


def git_blob(path: Path) -> str:
    """What git calls a file's content, in hex: its SHA-1 with the size before it.

    Raises:
        WeightsError: If it cannot be read.
    """
    try:
        blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: blob).hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None


@dataclass(frozen=True)
class _Job:
    """A file to load, and what is there of it so far."""

    source: Source
    path: Path
    network: Network
    progress: Progress

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part.json")

    @property
    def limit(self) -> int:
        """The most bytes that are taken."""
        return self.source.size or self.network.largest

    def loaded(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def version(self, url: str) -> str:
        """Which version at this address the part belongs to; empty if that is not known."""
        try:
            note = json.loads(self.note.read_bytes())
            version: str = note["version"] if note["url"] == _public(url) else ""
            return version if version.isascii() and version.isprintable() else ""
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return ""  # no note, or a damaged one

    def restart(self, url: str, version: str) -> None:
        """Begin anew. The old bytes go first: they must never lie under a new note."""
        self.drop()
        self.note.write_text(json.dumps({"url": _public(url), "version": version}), encoding="utf-8")

    def drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _present(source: Source, path: Path) -> Fetched | None:
    if not path.exists():
        return None
    sha256, differences = _compare(source, path)
    if not differences:
        return Fetched(path, "", sha256, path.stat().st_size)
    _log.warning("%s: not the published file (%s); it is replaced", path, differences)
    return None


def _download(job: _Job) -> Fetched:
    source, mirror = job.source, job.network.mirror
    if job.network.offline:
        raise WeightsError(f"{_described(source)} is not here, and the network is off", _by_hand(source))
    job.path.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    addresses = [(source, f"{mirror.rstrip('/')}/{quote(source.file)}")] if mirror else []
    addresses += [(one, url) for one in (source, *source.others) for url in one.urls]
    for one, url in addresses:
        try:
            return _load(replace(job, source=one), url)
        except Refused as refusal:
            reasons.append(f"{_host(url)}: {refusal}")
            _log.info("%s: not from %s", source.file, reasons[-1])
    why = "; ".join(reasons) or "no address is known"
    kept = f"; {job.loaded() / 1e6:.1f} MB of it are kept for the next try" if job.loaded() else ""
    raise WeightsError(f"{source.file} could not be downloaded ({why}){kept}", _by_hand(source))


def _load(job: _Job, url: str) -> Fetched:
    """Load from one address, until the file is whole and right or the address has to be given up."""
    refuse_unsafe([url], job.source.pinned)
    tries, furthest, restarted, since = 0, job.loaded(), False, time.monotonic()
    while True:
        # Without a hash, only the same version from the same address is known to fit to what is there.
        offset = job.loaded() if job.source.pinned or job.version(url) else 0
        try:
            _receive(job, url, offset)
            return _install(job, url)
        except Wrong as problem:
            job.drop()
            if restarted or not offset:
                raise Refused(str(problem)) from None
            restarted, wait = True, 0.0  # what was there before may be to blame
        except Interrupted as problem:
            tries, gained, now = tries + 1, job.loaded() - furthest, time.monotonic()
            if gained > job.network.least_speed * (now - since):
                tries, furthest, since = 0, furthest + gained, now
            if tries >= job.network.attempts:
                raise Refused(str(problem)) from None
            backoff = min(_LONGEST_WAIT, job.network.backoff * 2 ** max(tries - 1, 0))
            wait = backoff if problem.wait is None else problem.wait
        time.sleep(wait)


def _receive(job: _Job, url: str, offset: int) -> None:
    """Ask once for everything from `offset` on, and append what comes to the part."""
    if job.source.size is not None and offset >= job.source.size:
        return  # nothing is missing: its content decides
    with _ask(job, url, offset) as response:
        judge(response, job.source.pinned)
        blocks = blocks_of(response, job.network.least_speed, job.network.read_timeout)
        if response.status_code == 206:
            require_continuation(response, offset, job.version(url))
        else:
            offset = 0
        if not offset:
            head = next(blocks, b"")
            refuse_page(head)
            blocks = itertools.chain([head], blocks)
        total = total_size(response, offset, job.source.size)
        if total is not None and total > job.limit:
            raise Refused(f"{total / 1e9:.1f} GB, more than is taken of a file of unpublished size")
        _require_space(job.path.parent, (total or 0) - job.loaded())
        if not offset:
            job.restart(url, version_of(response))
        _append(job, offset, total, blocks)


def _ask(job: _Job, url: str, offset: int) -> Response:
    import requests

    headers = {"User-Agent": f"styleclip-cli/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version := job.version(url):
            headers["If-Range"] = version
    timeout = (job.network.connect_timeout, job.network.read_timeout)
    with network_errors():
        return requests.get(url, headers=headers, stream=True, timeout=timeout)


def _append(job: _Job, done: int, total: int | None, blocks: Iterator[bytes]) -> None:
    with job.part.open("ab", buffering=0) as file:  # unbuffered: a kill loses nothing
        for block in blocks:
            done += len(block)
            if done > (job.limit if total is None else total):
                raise Wrong(f"more than {job.limit if total is None else total} bytes")
            if total is None:  # nobody knows what is still to come
                _require_space(job.path.parent, len(block))
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
            job.progress(done, total or 0)
        os.fsync(file.fileno())
    if total is not None and done < total:
        raise Interrupted(f"ended after {done} of {total} bytes")


def _install(job: _Job, url: str) -> Fetched:
    """Give the whole file its name, if it is the right one."""
    size = job.loaded()
    sha256, differences = _compare(job.source, job.part)
    if differences:
        raise Wrong(differences)
    job.part.replace(job.path)
    with contextlib.suppress(OSError):  # not every system can do it
        folder = os.open(job.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    job.drop()
    return Fetched(job.path, _public(url), sha256, size)


def _compare(source: Source, path: Path) -> tuple[str, str]:
    """The SHA-256 of a file, and in words how it differs from the published one (empty if it does not)."""
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sha256.update(block)
            if source.git_sha1:
                blob.update(block)
    facts = [
        ("size", source.size, size),
        ("SHA-256", source.sha256, sha256.hexdigest()),
        ("git SHA-1", source.git_sha1, blob.hexdigest()),
    ]
    differences = [
        f"{name} {found}, expected {wanted}"
        for name, wanted, found in facts
        if wanted is not None and str(wanted).lower() != str(found)
    ]
    return sha256.hexdigest(), "; ".join(differences)


def _require_space(folder: Path, needed: int) -> None:
    room = max(0, shutil.disk_usage(folder).free - KEPT_FREE)
    if room < needed:
        raise OutputError(
            f"{folder}: {needed / 1e6:.1f} MB are still to come, there is room for {room / 1e6:.1f} MB "
            f"({KEPT_FREE / 1e6:.0f} MB stay free)",
            "make room and run it again, or choose another folder",
        )


def _plain_name(file: str) -> str:
    if file in ("", ".", "..") or Path(file).name != file or "\\" in file or not file.isprintable():
        raise WeightsError(f"{file!r} is not a plain file name", "it must not lead to another folder")
    return file


def _described(source: Source) -> str:
    facts = [f"{source.size / 1e6:.1f} MB"] if source.size is not None else []
    facts += [f"SHA-256 {source.sha256}"] if source.sha256 else []
    facts += [_public(source.urls[0])] if source.urls else []
    return f"{source.file} ({', '.join(facts)})" if facts else source.file


def _by_hand(source: Source) -> str:
    what = _public(source.urls[0]) if source.urls else "it"
    last = unquote(what.partition("?")[0].rpartition("/")[2])
    name = last if Path(last).suffix and last.isprintable() else source.file  # what a browser calls it
    return f"download {what} with a browser and run: styleclip models import {shlex.quote(name)}"


def _public(url: str) -> str:
    """The address without a user's name and password."""
    return re.sub(r"//[^/]*@", "//", url, count=1)


def _host(url: str) -> str:
    found = re.match(r"\w+://([^/?#]+)", _public(url))
    return one_line(found[1] if found else url, 80)

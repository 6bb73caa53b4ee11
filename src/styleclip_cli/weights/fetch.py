"""Download published weight files: resumed where they stopped, checked before they get their name.

While a file is loading it is `<file>.part`; `<file>.part.json` beside it says from which address it comes
and which version of it (ETag or Last-Modified), so that a later process can ask for the rest.
Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import itertools
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from styleclip_cli import __version__
from styleclip_cli.errors import OutputError, UsageError, WeightsError, one_line

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)
_BLOCK = 1 << 20
_LONGEST_WAIT, _LONGEST_RETRY_AFTER, _LONGEST_TIMEOUT = 30.0, 60.0, 86_400.0
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_OFFLINE = ("STYLECLIP_OFFLINE", "HF_HUB_OFFLINE")
_PAGE = "an HTML page instead of the file (a login, quota or error page)"
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
    """

    file: str
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    git_sha1: str | None = None
    size: int | None = None

    @property
    def pinned(self) -> bool:
        """Whether a hash tells the right content from any other, whoever sends it."""
        return bool(self.sha256 or self.git_sha1)


@dataclass(frozen=True)
class Fetched:
    """A file that is here; `url` is where it came from, empty if it was here already."""

    path: Path
    url: str
    sha256: str
    size: int


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
    """

    offline: bool = False
    mirror: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    attempts: int = 4
    backoff: float = 1.0

    @classmethod
    def from_environment(cls) -> Network:
        """Settings from STYLECLIP_OFFLINE, HF_HUB_OFFLINE, STYLECLIP_MIRROR and STYLECLIP_TIMEOUT.

        Raises:
            UsageError: If one of them makes no sense.
        """
        offline = any(os.environ.get(name, "0") not in ("", "0") for name in _OFFLINE)
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
    except OSError as error:  # of the disk: those of the network end in _Interrupted or _Refused
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
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from None
    if differences:
        raise WeightsError(f"{path}: not the published file ({differences})", _by_hand(source))
    return sha256


class _Refused(Exception):
    """This address does not give the file; the next one may."""


class _Wrong(Exception):
    """What is loaded so far cannot become the file."""


class _Interrupted(Exception):
    """The same address may give the file, or the rest of it, when asked again."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


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
    for url in (*([f"{mirror.rstrip('/')}/{quote(source.file)}"] if mirror else []), *source.urls):
        try:
            return _load(job, url)
        except _Refused as refusal:
            reasons.append(f"{_host(url)}: {refusal}")
            _log.info("%s: not from %s", source.file, reasons[-1])
    why = "; ".join(reasons) or "no address is known"
    raise WeightsError(f"{source.file} could not be downloaded ({why})", _by_hand(source))


def _load(job: _Job, url: str) -> Fetched:
    """Load from one address, until the file is whole and right or the address has to be given up."""
    _refuse_unsafe([url], job.source.pinned)
    tries, furthest, restarted = 0, job.loaded(), False
    while True:
        # Without a hash, only the same version from the same address is known to fit to what is there.
        offset = job.loaded() if job.source.pinned or job.version(url) else 0
        try:
            _receive(job, url, offset)
            return _install(job, url)
        except _Wrong as problem:
            job.drop()
            if restarted or not offset:
                raise _Refused(str(problem)) from None
            restarted, wait = True, 0.0  # what was there before may be to blame
        except _Interrupted as problem:
            loaded = job.loaded()
            tries, furthest = (0, loaded) if loaded > furthest else (tries + 1, furthest)
            if tries >= job.network.attempts:
                raise _Refused(str(problem)) from None
            backoff = min(_LONGEST_WAIT, job.network.backoff * 2 ** max(tries - 1, 0))
            wait = backoff if problem.wait is None else problem.wait
        time.sleep(wait)


def _receive(job: _Job, url: str, offset: int) -> None:
    """Ask once for everything from `offset` on, and append what comes to the part."""
    if job.source.size is not None and offset >= job.source.size:
        return  # nothing is missing: its content decides
    with _ask(job, url, offset) as response:
        _judge(response, job.source.pinned)
        blocks = _blocks(response)
        if response.status_code == 206:
            _require_continuation(response, offset, job.version(url))
        else:
            offset = 0
        if not offset:
            head = next(blocks, b"")
            _refuse_page(head)
            blocks = itertools.chain([head], blocks)
        total = _total(response, offset, job.source.size)
        _require_space(job.path.parent, (total or 0) - job.loaded())
        if not offset:
            job.restart(url, _version(response))
        _append(job, offset, total, blocks)


def _ask(job: _Job, url: str, offset: int) -> Response:
    import requests

    headers = {"User-Agent": f"styleclip-cli/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if version := job.version(url):
            headers["If-Range"] = version
    timeout = (job.network.connect_timeout, job.network.read_timeout)
    with _network_errors():
        return requests.get(url, headers=headers, stream=True, timeout=timeout)


def _blocks(response: Response) -> Iterator[bytes]:
    """The body: a beginning long enough to recognise a page by, then up to 1 MiB of what has arrived."""
    # read1, not iter_content: that waits for full blocks, and loses what it has when the connection breaks.
    with _network_errors():
        block = response.raw.read(512)
        while block:
            yield block
            block = response.raw.read1(_BLOCK)


def _append(job: _Job, done: int, total: int | None, blocks: Iterator[bytes]) -> None:
    with job.part.open("ab", buffering=0) as file:  # unbuffered: a kill loses nothing
        for block in blocks:
            done += len(block)
            if total is not None and done > total:
                raise _Wrong(f"more than {total} bytes")
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
            job.progress(done, total or 0)
        os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Interrupted(f"ended after {done} of {total} bytes")


def _install(job: _Job, url: str) -> Fetched:
    """Give the whole file its name, if it is the right one."""
    size = job.loaded()
    sha256, differences = _compare(job.source, job.part)
    if differences:
        raise _Wrong(differences)
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
        while block := file.read(_BLOCK):
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


def _judge(response: Response, pinned: bool) -> None:
    """Go on only with an answer that may carry the file."""
    _refuse_unsafe([*(hop.url for hop in response.history), response.url], pinned)
    status, headers = response.status_code, response.headers
    if status in _TRANSIENT:
        raise _Interrupted(f"HTTP {status}", _retry_after(headers.get("Retry-After", "")))
    if status == 416:
        raise _Wrong("HTTP 416, no such range")
    if status not in (200, 206):
        raise _Refused(one_line(f"HTTP {status} {response.reason or ''}", 80))
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise _Refused(_PAGE)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _Refused("sent compressed, though asked for as it is")


def _refuse_page(head: bytes) -> None:
    """Some hosts say 200 and send a page when a quota is used up or a login is wanted."""
    if not head:
        raise _Refused("nothing was sent")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n\f").lower().startswith((b"<!doctype", b"<html")):
        raise _Refused(_PAGE)


def _require_continuation(response: Response, offset: int, version: str) -> None:
    span = response.headers.get("Content-Range", "")
    if not span.startswith(f"bytes {offset}-"):
        raise _Wrong(one_line(f"sent another range than asked for: {span or 'none'}", 80))
    # Some servers send the rest of another version in spite of If-Range.
    name = "ETag" if version.startswith('"') else "Last-Modified"
    if offset and version and response.headers.get(name, version) != version:
        raise _Wrong("the published file has changed")


def _total(response: Response, offset: int, size: int | None) -> int | None:
    """Size of the whole file, as published or by the answer; None if unknown."""
    rest = _number(response.headers.get("Content-Length", ""))
    total = None if rest is None else offset + rest
    if response.status_code == 206:
        whole = _number(response.headers["Content-Range"].rpartition("/")[2])
        total = total if whole is None else whole
    if size is not None and total not in (None, size):
        raise _Refused(f"size {total}, expected {size}")
    return total if size is None else size


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: {needed / 1e6:.1f} MB are still to come, {free / 1e6:.1f} MB are free",
            "make room and run it again, or choose another folder",
        )


def _refuse_unsafe(hops: Sequence[str], pinned: bool) -> None:
    """Plain http can be altered on the way: it needs a hash that would show it, or a loopback address."""
    encrypted = False
    for hop in hops:
        try:
            scheme, host = urlsplit(hop).scheme, urlsplit(hop).hostname
        except ValueError:
            scheme, host = "", None
        if scheme not in ("http", "https") or not host:
            raise _Refused("not an http or https address")
        if scheme == "http" and not pinned and (encrypted or not _is_loopback(host)):
            raise _Refused("plain http, and no hash is published that would show a change on the way")
        encrypted = encrypted or scheme == "https"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def _network_errors() -> Iterator[None]:
    """Turn all that a broken connection, server or address raises into a reason of a few words."""
    import ssl

    from requests import RequestException, TooManyRedirects
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (RequestException, HTTPError, OSError, ValueError) as error:
        root: BaseException = error
        while deeper := root.__cause__ or next((a for a in root.args if isinstance(a, BaseException)), None):
            root = deeper
        reason = one_line(getattr(root, "strerror", None) or root, 120)
        broken = isinstance(error, (RequestException, HTTPError))  # else: wrong settings of the proxy or TLS
        lasting = isinstance(error, (ValueError, TooManyRedirects)) or isinstance(root, ssl.CertificateError)
        raise (_Interrupted if broken and not lasting else _Refused)(reason) from None


def _retry_after(value: str) -> float | None:
    """Seconds for which a server wants to be left alone, given as such or as a date."""
    try:
        wait = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER)


def _version(response: Response) -> str:
    """What tells this version of a file from others; weak ETags do not."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


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
    return f"download {what} with a browser and run: styleclip models import {source.file}"


def _public(url: str) -> str:
    """The address without a user's name and password."""
    return re.sub(r"//[^/]*@", "//", url, count=1)


def _host(url: str) -> str:
    found = re.match(r"\w+://([^/?#]+)", _public(url))
    return one_line(found[1] if found else url, 80)

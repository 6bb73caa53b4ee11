"""Checks of what a server answers, before a byte of it is kept. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from styleclip_cli.errors import one_line

if TYPE_CHECKING:
    from requests import Response

BLOCK = 1 << 20
_HEAD = 512
_LONGEST_RETRY_AFTER = 60.0
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_PAGE = "an HTML page instead of the file (a login, quota or error page)"


class Refused(Exception):
    """This address does not give the file; the next one may."""


class Wrong(Exception):
    """What is loaded so far cannot become the file."""


class Interrupted(Exception):
    """The same address may give the file, or the rest of it, when asked again."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def judge(response: Response, pinned: bool) -> None:
    """Go on only with an answer that may carry the file."""
    refuse_unsafe([*(hop.url for hop in response.history), response.url], pinned)
    status, headers = response.status_code, response.headers
    if status in _TRANSIENT:
        raise Interrupted(f"HTTP {status}", _retry_after(headers.get("Retry-After", "")))
    if status == 416:
        raise Wrong("HTTP 416, no such range")
    if status not in (200, 206):
        raise Refused(one_line(f"HTTP {status} {response.reason or ''}", 80))
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise Refused(_PAGE)
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused("sent compressed, though asked for as it is")


def refuse_page(head: bytes) -> None:
    """Some hosts say 200 and send a page when a quota is used up or a login is wanted."""
    if not head:
        raise Refused("nothing was sent")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n\f").lower().startswith((b"<!doctype", b"<html")):
        raise Refused(_PAGE)


def require_continuation(response: Response, offset: int, version: str) -> None:
    """A part of a file must be the part that was asked for, of the same version."""
    span = response.headers.get("Content-Range", "")
    if not span.startswith(f"bytes {offset}-"):
        raise Wrong(one_line(f"sent another range than asked for: {span or 'none'}", 80))
    # Some servers send the rest of another version in spite of If-Range.
    name = "ETag" if version.startswith('"') else "Last-Modified"
    if offset and version and response.headers.get(name, version) != version:
        raise Wrong("the published file has changed")


def total_size(response: Response, offset: int, size: int | None) -> int | None:
    """Size of the whole file, as published or by the answer; None if unknown."""
    rest = _number(response.headers.get("Content-Length", ""))
    total = None if rest is None else offset + rest
    if response.status_code == 206:
        whole = _number(response.headers["Content-Range"].rpartition("/")[2])
        total = total if whole is None else whole
    if size is not None and total not in (None, size):
        raise Refused(f"size {total}, expected {size}")
    return total if size is None else size


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def refuse_unsafe(hops: Sequence[str], pinned: bool) -> None:
    """Plain http can be altered on the way: it needs a hash that would show it, or a loopback address."""
    encrypted = False
    for hop in hops:
        try:
            scheme, host = urlsplit(hop).scheme, urlsplit(hop).hostname
        except ValueError:
            scheme, host = "", None
        if scheme not in ("http", "https") or not host:
            raise Refused("not an http or https address")
        if scheme == "http" and not pinned and (encrypted or not is_loopback(host)):
            raise Refused("plain http, and no hash is published that would show a change on the way")
        encrypted = encrypted or scheme == "https"


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, which no other one can reach."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def network_errors() -> Iterator[None]:
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
        raise (Interrupted if broken and not lasting else Refused)(reason) from None


def _retry_after(value: str) -> float | None:
    """Seconds for which a server wants to be left alone, given as such or as a date."""
    try:
        wait = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER)


def version_of(response: Response) -> str:
    """What tells this version of a file from others; weak ETags do not."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")


def blocks_of(response: Response, least_speed: float, patience: float) -> Iterator[bytes]:
    """The body: a beginning long enough to recognise a page by, then up to 1 MiB of what has arrived.

    Args:
        response: The answer.
        least_speed: Bytes a second, on average over each stretch.
        patience: How long a stretch is, in seconds.

    Raises:
        Interrupted: If the connection breaks, or is slower than that.
    """
    head: bytes | None = b""
    begun, came = time.monotonic(), 0
    # read1, not iter_content: that waits for full blocks, and loses what it has when the connection breaks.
    with network_errors():
        while block := response.raw.read1(BLOCK if head is None else _HEAD - len(head)):
            came, passed = came + len(block), time.monotonic() - begun
            if passed > patience:
                if came < least_speed * passed:
                    raise Interrupted(f"too slow ({came / passed:.0f} bytes a second)")
                begun, came = time.monotonic(), 0
            if head is not None:
                head += block
                if len(head) < _HEAD:
                    continue
                block, head = head, None
            yield block
    if head:
        yield head

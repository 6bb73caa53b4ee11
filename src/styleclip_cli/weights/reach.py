"""Whether there is a network at all, asked of all hosts at once, before any is asked for a file.

Imports nothing heavy.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from styleclip_cli.errors import WeightsError, one_line

Host = tuple[str, int]


class NoNetwork(WeightsError):
    """No host can be reached: what is true of one file is true of all."""


def require_network(urls: Iterable[str], seconds: float) -> None:
    """Go on if one of the hosts can be reached.

    Args:
        urls: Addresses that are going to be asked.
        seconds: The longest wait for all of them together.

    Raises:
        NoNetwork: If none can.
    """
    hosts = list(dict.fromkeys(host for host in map(_host, urls) if host is not None))
    if not hosts:
        return
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    for host in hosts:  # looking up a name cannot be stopped, so it is not waited for at the end
        threading.Thread(target=_try, args=(host, seconds, answers), daemon=True).start()
    end, reason = time.monotonic() + seconds, "timed out"
    for _ in hosts:
        try:
            reason = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        if not reason:
            return
    names = list(dict.fromkeys(name for name, _ in hosts))
    rest = f" and {len(names) - 2} other hosts" if len(names) > 2 else ""
    raise NoNetwork(
        f"no network: {one_line(', '.join(names[:2]), 160)}{rest} cannot be reached ({reason})",
        "connect, or name your proxy in HTTPS_PROXY, and run it again: it goes on from there",
    )


def _try(host: Host, seconds: float, answers: queue.SimpleQueue[str]) -> None:
    """Tell why a host cannot be reached; nothing if it can."""
    try:
        socket.create_connection(host, seconds).close()
    except (OSError, ValueError) as error:  # ValueError: a name that can be none
        answers.put(one_line(getattr(error, "strerror", None) or error, 80))
    else:
        answers.put("")


def _host(url: str) -> Host | None:
    """The host that a request goes to: its proxy, if there is one; None for what is no address."""
    from requests.utils import get_environ_proxies, select_proxy

    try:
        found = urlsplit(select_proxy(url, get_environ_proxies(url)) or url)
        if found.hostname is None:
            return None
        return found.hostname, found.port or {"http": 80, "https": 443}.get(found.scheme, 1080)
    except ValueError:
        return None

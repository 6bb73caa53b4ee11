"""Who may speak to the studio: pages that the studio itself served, in a browser that knows its address."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from styleclip_cli.weights.http_checks import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EVERYWHERE = ("0.0.0.0", "::")
# Nothing is loaded from elsewhere, sent elsewhere, or shown inside of another page.
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'none'; "
        b"frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """Refuses requests that are for another host, or that come from another site's page.

    The first is how a site makes a browser speak to its own machine under the site's name (DNS rebinding),
    the second how it does so openly; web sockets are refused by no browser. What a page shows (pictures,
    frames) has no Origin, but browsers say that another site's page asks; a link to the studio may be
    followed. Plain addresses cannot be rebound, so where the studio listens on all of a machine's, each of
    them is as good as its names.

    Args:
        app: What is guarded.
        host: Where it listens.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._everywhere = host in _EVERYWHERE
        names: Iterable[str] = (socket.gethostname(), socket.getfqdn()) if self._everywhere else (host,)
        self._names = {name.casefold() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have it answered."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif (refusal := self._refusal(scope)) is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})
        else:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(refusal, status_code=403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is refused; None if it is not."""
        values = {
            name: [v.decode("latin-1") for k, v in scope["headers"] if k == name]
            for name in (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest")
        }
        hosts, origins = values[b"host"], values[b"origin"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return "This address is not the studio's."
        try:
            foreign = any(urlsplit(origin).netloc != hosts[0] for origin in origins)
        except ValueError:
            foreign = True
        # Other ports of this machine are the same site, but not the same origin.
        elsewhere = set(values[b"sec-fetch-site"]) & {"cross-site", "same-site"}
        if scope["type"] == "http" and elsewhere:
            followed = values[b"sec-fetch-mode"], values[b"sec-fetch-dest"]
            foreign = foreign or followed != (["navigate"], ["document"])
        return "Other pages may not use the studio." if foreign else None

    def _is_ours(self, netloc: str) -> bool:
        try:
            host = (urlsplit(f"//{netloc}").hostname or "").casefold()
        except ValueError:
            return False
        if is_loopback(host) or host in self._names:
            return True
        if not self._everywhere:
            return False
        try:
            return bool(ipaddress.ip_address(host))
        except ValueError:
            return False


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_HEADERS]}
        await send(message)

    return sending

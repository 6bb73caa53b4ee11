"""The studio's server: one engine, many pages, all of them on this machine.

NiceGUI draws the pages and keeps them in touch; FastAPI takes photos and hands out pictures; uvicorn serves.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from nicegui import app as pages
from nicegui import ui
from starlette.requests import ClientDisconnect

from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError, OutputError
from styleclip_cli.machine.progress import Progress, silent
from styleclip_cli.studio.busy import Busy
from styleclip_cli.studio.fetching import Fetching
from styleclip_cli.studio.guard import Guard
from styleclip_cli.studio.models import welcome
from styleclip_cli.studio.page import Page, dress
from styleclip_cli.studio.session import Edits, Session

T = TypeVar("T")
MAX_PAGES = 16
MAX_WAITING = 64
"""Pages that no browser shows (yet): what asks for the address alone, such as a picture's, leaves one."""
_UPLOADS = 2  # are opened at a time
_ARRIVES = 60.0  # seconds within which a photo has to
_PATIENCE = 10.0  # seconds until a page that lost touch is given up, with all that it holds
_log = logging.getLogger(__name__)
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" '
    'fill="#b4532f"/><path d="M16 5v22" stroke="#fff" stroke-width="2"/><circle cx="16" cy="16" r="8" '
    'fill="none" stroke="#fff" stroke-width="2.5"/><path d="M16 8a8 8 0 0 1 0 16z" fill="#fff"/></svg>'
)


class Make(Protocol):
    """Loads the networks of a pack."""

    def __call__(self, models: str, /, *, progress: Progress) -> Engine: ...  # noqa: D102


@dataclass
class Studio:
    """What all pages share.

    Attributes:
        make: Loads a pack's networks: its name, and who is told of long steps.
        fetching: The download of a pack that is offered where it is not here.
        max_bytes: Of a photo's file.
        max_pixels: Of a photo.
        progress: Told of long steps, too.
        directions: Files that pages may choose from.
        engine: Asked by one thread alone, but for optimizations; None before a pack is in use.
        models: What the command line calls its pack.
        pages: Those that were asked for, each by a name that only its own browser knows.
        waiting: Those of them that no browser has connected to, oldest first, and how to give them up.
    """

    make: Make
    fetching: Fetching
    max_bytes: int
    max_pixels: int
    progress: Progress = silent
    directions: Sequence[Path] = ()
    engine: Engine | None = None
    models: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    waiting: dict[Page, Callable[[], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.busy = Busy(self.progress)
        self.edits: Edits | None = None
        self._thread = ThreadPoolExecutor(1, "engine")
        self._apart = ThreadPoolExecutor(1, "apart")

    def load(self, name: str) -> None:
        """Load a pack for the pages that are opened from now on, with what the first edit would wait for.

        Raises:
            StyleClipError: If it cannot be used; the one before stays.
        """
        if self.engine is not None and self.models == name:
            return
        engine = self.make(name, progress=self.busy)
        engine.relevance()
        engine.statistics()
        edits = Edits(engine)
        for path in self.directions:
            try:
                edits.add(path, str(path))
            except BadInputError as error:
                if self.engine is None:
                    raise
                _log.warning("%s", error.message)  # it was for the pack before
        session = Session(engine, name, edits)
        session.generate(1)
        session.change(prompt="smiling")
        session.pictures()
        self.engine, self.edits, self.models = engine, edits, name

    async def use(self, name: str) -> None:
        """Load a pack in the engine's thread; see `load`."""
        await self.ask(self.load, name)

    async def ask(self, work: Callable[..., T], *args: Any) -> T:
        """Have the engine's thread do something."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args))

    async def ask_apart(self, work: Callable[..., T], *args: Any) -> T:
        """Have something long done beside it, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._apart, partial(work, *args))

    @property
    def full(self) -> bool:
        """Whether browsers show as many pages as they may."""
        return len(self.pages) - len(self.waiting) >= MAX_PAGES

    def open(self, give_up: Callable[[], None] = lambda: None) -> Page | None:
        """Begin a page; None if there are too many, or no pack is in use.

        Args:
            give_up: Has it closed, if too many that were begun later wait to be shown as well.
        """
        if self.full or self.engine is None:
            return None
        while len(self.waiting) >= MAX_WAITING:
            oldest, drop = next(iter(self.waiting.items()))
            drop()
            self.close(oldest)
        key = secrets.token_urlsafe(16)
        session = Session(self.engine, self.models, self.edits, self.max_pixels)
        self.pages[key] = page = Page(session, self, f"/studio/{key}")
        self.waiting[page] = give_up
        return page

    def show(self, page: Page) -> bool:
        """Count a page, as a browser has connected to it; False if there are too many."""
        if page in self.waiting and not self.full:
            del self.waiting[page]
        return page not in self.waiting

    def close(self, page: Page) -> None:
        """Forget a page, and its pictures."""
        page.close()
        self.waiting.pop(page, None)
        self.pages = {key: one for key, one in self.pages.items() if one is not page}

    def stop(self) -> None:
        """Have the engine finish what it does, and no more."""
        self.fetching.stop()
        for page in self.pages.values():
            page.stop()
        for thread in (self._thread, self._apart):
            thread.shutdown(wait=False, cancel_futures=True)


def build(studio: Studio, host: str, folder: Path, ready: Callable[[], None] = lambda: None) -> FastAPI:
    """Make the application.

    Args:
        studio: What it shows.
        host: Where it will listen.
        folder: Where photos lie while they arrive and are read.
        ready: Called when it can be used.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    turns = asyncio.Semaphore(_UPLOADS)

    @app.post("/studio/{key}/pictures")
    async def take(key: str, request: Request) -> Response:
        page = studio.pages.get(key)
        if page is None:
            return JSONResponse({"problem": "this page was closed: load it again"}, 404)
        name = Path(unquote(request.headers.get("x-name", ""))).name[-120:] or "photo"
        file = folder / secrets.token_hex(8)
        try:
            async with asyncio.timeout(_ARRIVES):
                fits = await _received(request, file, studio.max_bytes)
            if not fits:
                problem = f"{name}: larger than {studio.max_bytes / 2**20:g} MB"
                return JSONResponse({"problem": problem}, 413)
            async with turns:
                return JSONResponse({"problem": await page.take(file, name)})
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            return JSONResponse({"problem": f"{name}: did not arrive in time"}, 408)
        finally:
            file.unlink(missing_ok=True)

    @app.get("/studio/{key}/{number}/{side}")
    async def give(key: str, number: int, side: str) -> Response:
        page = studio.pages.get(key)
        content = None if page is None else page.picture(number, side)
        if content is None:
            return Response(status_code=404)
        return Response(content, media_type="image/jpeg", headers={"cache-control": "no-store"})

    @ui.page("/", title="styleclip studio", favicon=_ICON, dark=None)
    def index() -> None:
        client = ui.context.client
        if studio.engine is None:
            dress()
            ui.dark_mode(None)
            welcome(studio)
            return
        page = studio.open(client.delete)
        if page is None:
            ui.label(f"{MAX_PAGES} pages of the studio are open already: close one of them.")
            return

        def shown() -> None:
            if not studio.show(page):
                client.run_javascript("location.reload()")  # which says so

        client.on_connect(shown)
        client.on_delete(lambda: studio.close(page))
        page.build()

    pages.on_startup(ready)
    ui.run_with(
        app,
        title="styleclip studio",
        reconnect_timeout=_PATIENCE,
        gzip_middleware_factory=None,  # nothing travels far
        tailwind=False,
        show_welcome_message=False,
    )
    app.add_middleware(Guard, host=host)
    return app


async def _received(request: Request, file: Path, limit: int) -> bool:
    """Write what arrives to a file; False, and no more is read, once it is over the limit."""
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > limit:
        return False
    size = 0
    with file.open("xb") as out:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                return False
            out.write(chunk)
    return True


def serve(studio: Studio, listener: socket.socket, host: str, ready: Callable[[], None]) -> None:
    """Serve until a signal comes; it is raised again when everything is closed.

    Args:
        studio: What to serve.
        listener: Where.
        host: The same as a person said it.
        ready: Called when pages can be opened.

    Raises:
        OutputError: If it cannot be started.
    """
    for name in ("nicegui", "uvicorn"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it tells of what a signal cut off
    with TemporaryDirectory(prefix="styleclip-studio-") as folder:  # for the owner's eyes only
        app = build(studio, host, Path(folder), ready)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="wsproto",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        try:
            server.run([listener])
        finally:
            studio.stop()
        if not server.started:
            raise OutputError("the studio could not be started", "STYLECLIP_DEBUG=1 says more")

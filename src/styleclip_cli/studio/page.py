"""One page of the studio: its parts, and what happens when something is moved."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nicegui import ui
from PIL import Image

from styleclip_cli.errors import StyleClipError, one_line
from styleclip_cli.job.edits import EditMaker
from styleclip_cli.photo.align import NoFaceError
from styleclip_cli.studio.busy import Busy, complaint
from styleclip_cli.studio.controls import Controls
from styleclip_cli.studio.fetching import Fetching
from styleclip_cli.studio.models import as_button
from styleclip_cli.studio.results import Results
from styleclip_cli.studio.session import DIRECTIONS, Session, encoded
from styleclip_cli.studio.stage import Stage, Tile
from styleclip_cli.studio.steps import Steps
from styleclip_cli.studio.subject import Resolved, Subject
from styleclip_cli.studio.where import Where
from styleclip_cli.studio.widgets import Desk, icon

T = TypeVar("T")
STYLE = Path(__file__).parent / "studio.css"
_WAITING = 50  # moves whose pictures have not been seen yet
_SETTLED = 0.4  # seconds without a move after which the job is asked what it thinks of it
_log = logging.getLogger(__name__)


class Host(Protocol):
    """What a page needs of the studio."""

    busy: Busy
    fetching: Fetching
    max_bytes: int

    def ask(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Have the engine's thread do something."""

    def ask_apart(self, work: Callable[..., T], *args: Any) -> Awaitable[T]:
        """Have something long done beside it."""

    def use(self, name: str) -> Awaitable[None]:
        """Use another pack for pages that are opened from now on."""


@dataclass(eq=False)
class Optimizing:
    """An optimization that is under way.

    Attributes:
        busy: How far it is.
        stop: Set to end it with what it has found.
    """

    busy: Busy = field(default_factory=Busy)
    stop: threading.Event = field(default_factory=threading.Event)


class Page:
    """One page.

    Args:
        session: What it works on.
        host: Has things done.
        url: Where its pictures are.
    """

    def __init__(self, session: Session, host: Host, url: str) -> None:
        self.session, self.host, self.url = session, host, url
        self.resolved = Resolved(session.look)
        self.closed = False
        self.optimizing: Optimizing | None = None
        self.stage, self.controls = Stage(self), Controls(self)
        self.steps, self.results, self.where = Steps(self), Results(self), Where(self)
        self._version = 0
        self._began: dict[int, float] = {}
        self._painting = False

    @property
    def front(self) -> Subject | None:
        """The picture that is looked at."""
        return None if self.stage.focus is None else self.stage.focus.subject

    def close(self) -> None:
        """Forget everything."""
        self.closed = True
        self.stop()
        self.stage.tiles.clear()
        self.session.subjects.clear()
        self.session.faceless.clear()

    def picture(self, number: int, side: str) -> bytes | None:
        """What the browser may fetch; None if there is no such picture."""
        tile = self.stage.tiles.get(number)
        return None if tile is None else tile.pictures.get(side)

    def build(self) -> None:
        """Put everything on the page."""
        dress()
        self._dark = ui.dark_mode(None)
        self._desk = Desk(f"{self.url}/pictures", self.host.max_bytes)
        self._desk.on("begin", self.stage.forget)
        self._desk.on("sending", lambda e: self._waiting(e.args))
        self._desk.on("problem", lambda e: self.stage.say(e.args))
        self._desk.on("undo", lambda: self.go(-1))
        self._desk.on("redo", lambda: self.go(1))
        with ui.element("div").classes("studio"):
            self._build_head()
            with ui.element("main"):
                self.stage.build()
            with ui.element("aside"):
                with ui.element("div").classes("controls"):
                    self.controls.build()
                    self.where.build()
                    self.steps.build()
                self.results.build()
        ui.timer(0.25, self.controls.progress)
        self.stage.arrange()
        self.sync()
        self._tell(self.resolved)

    def _build_head(self) -> None:
        with ui.element("header"):
            ui.html("<b>styleclip</b> <span>studio</span>", sanitize=False, tag="h1")
            pack = self.session.engine.pack
            if self.host.fetching.offered:
                as_button(pack.name, self.host)
            else:
                ui.label(pack.name).classes("pack").tooltip(pack.title)
            self._speed = ui.label().classes("speed")
            self._speed.tooltip("From the last move to the picture on the screen")
            ui.space()
            self._undo = icon("undo", "Undo (Ctrl-Z)", lambda: self.go(-1))
            self._redo = icon("redo", "Redo (Ctrl-Shift-Z)", lambda: self.go(1))
            self.stage.grid = icon("grid_view", "All pictures side by side", self.stage.toggle_grid)
            icon("add_photo_alternate", "Add photos", self.choose_files)
            icon("casino", "Add a generated face", self.stage.generate)
            icon("contrast", "Light or dark", self._toggle_dark)

    # What happens.

    async def take(self, file: Path, name: str) -> str:
        """Add a photo, or a direction, that has arrived.

        Returns:
            What is wrong with it; empty for nothing.
        """
        try:
            if Path(name).suffix.lower() in DIRECTIONS:
                await self.host.ask(self.session.add_direction, file, name)
                await self.moved()
                return ""
            subject = await self.host.ask(self.session.add, file, name)
        except NoFaceError:
            self.stage.notice(name)
            return ""
        except StyleClipError as error:
            return complaint(error)
        except Exception:
            _log.exception("a file could not be opened")
            return f"{name}: cannot be opened"
        if self.closed:
            return "this page was closed"
        await self.stage.show(subject)
        return ""

    async def change(self, **changes: Any) -> None:
        """Change the look, as a person moved something."""
        with self.complaining():
            if self.session.change(**changes):
                self.stage.unframe()
                await self.moved()

    async def keep(self) -> None:
        """Keep the edit on top."""
        look, front = self.session.look, self.front
        resolved = await self.host.ask(self.session.resolve, look)
        with self.complaining():
            kept = partial(self.session.accept, resolved, front)
            if look is self.session.look and await self.host.ask(kept):
                await self.moved()

    async def remove(self, index: int) -> None:
        """Take a kept edit away."""
        if index < len(self.session.look.kept):
            self.session.history.remove(index)
            await self.moved()

    async def alter(self, index: int, alpha: float) -> None:
        """Give a kept edit another strength."""
        if index < len(self.session.look.kept) and self.session.history.alter(index, alpha):
            self.stage.unframe()
            await self.moved()

    async def go(self, steps: int) -> None:
        """Go through the history."""
        await self.go_to(self.session.history.place + steps)

    async def go_to(self, place: int) -> None:
        """Go to a place of the history."""
        if self.session.history.go(place):
            await self.moved()

    async def moved(self) -> None:
        """Show what is wanted now."""
        self.stage.forget()
        self.sync()
        await self.repaint()

    async def optimize(self) -> None:
        """Optimize the picture in front, and show how it comes along."""
        tile, look = self.stage.focus, self.session.look
        if tile is None or self.optimizing is not None:
            return
        self.optimizing = now = Optimizing()
        self.controls.progress()
        loop, count = asyncio.get_running_loop(), 0

        def told(done: int, total: int, note: str = "") -> None:
            now.busy.told("optimizing", done, total)

        def framed(image: Image.Image) -> None:
            loop.call_soon_threadsafe(put, encoded(image))

        def put(content: bytes) -> None:
            nonlocal count
            count += 1
            if self.optimizing is now:
                self._put(tile, content, f"{self._version}&frame={count}")

        try:
            with self.complaining():
                await self.host.ask_apart(
                    self.session.optimize, tile.subject, now.stop.is_set, told, look, framed
                )
        finally:
            self.optimizing = None
            self.controls.progress()
        if not self.closed:
            await self.repaint()

    def stop(self) -> None:
        """End an optimization with what it has found."""
        if self.optimizing is not None:
            self.optimizing.stop.set()

    # Rendering: only the newest look, one picture after the other, those that are looked at first.

    async def repaint(self) -> None:
        """Bring all pictures to the present look."""
        self._version += 1
        self._began[self._version] = time.perf_counter()
        if len(self._began) > _WAITING:
            del self._began[min(self._began)]
        if self._painting:
            return  # it is told when it is done with the picture it works on
        self._painting = True
        try:
            while not self.closed and not await self._paint(self._version):
                pass
        except Exception as error:
            _log.exception("a picture could not be made")
            self.stage.say(f"this picture cannot be made: {one_line(error)}")
        finally:
            self._painting = False
        await self._check(self._version)

    async def _paint(self, version: int) -> bool:
        """Bring all pictures to a version; False if there is a newer one meanwhile."""
        resolved = await self.host.ask(self.session.resolve, self.session.look)
        self._tell(resolved)
        tiles = sorted(self.stage.tiles.values(), key=lambda tile: tile is not self.stage.focus)
        for tile in tiles:
            hidden = tile is not self.stage.focus and not self.stage.together
            if version != self._version and (hidden or tile is tiles[0]):
                return False
            try:
                content = await self.host.ask(_rendered, tile.subject, resolved, self.session.edits)
            except StyleClipError as error:
                self.stage.say(complaint(error))
                continue
            if self.closed:
                return True
            self._put(tile, content, str(version))
        return version == self._version

    def _put(self, tile: Tile, content: bytes, version: str) -> None:
        tile.pictures["after"] = content
        if tile.number in self.stage.tiles:
            tile.compare.show(f"{self.url}/{tile.number}/after?v={version}")

    async def _check(self, version: int) -> None:
        """Once nothing has moved for a moment, have the job say what it thinks of the picture in front."""
        await asyncio.sleep(_SETTLED)
        front, resolved = self.front, self.resolved
        if self.closed or version != self._version or front is None or not front.steps(resolved):
            return
        try:
            result = await self.host.ask(front.checked, resolved, self.session.edits)
        except StyleClipError:  # it was said when it was painted
            return
        if not self.closed and version == self._version and front is self.front:
            self.controls.judge(result)
            self.stage.judge(front.doubts(result))

    def shown(self, tile: Tile, version: Any) -> None:
        """The browser shows a picture: say how long that took."""
        if tile is self.stage.focus and version in self._began:
            self._speed.text = f"{1000 * (time.perf_counter() - self._began[version]):.0f} ms"
            self._began = {newer: began for newer, began in self._began.items() if newer > version}

    # What is said.

    def _waiting(self, left: Any) -> None:
        if isinstance(left, int) and left:
            self._speed.text = f"opening {left} photo{'s' if left > 1 else ''} …"
        elif self._speed.text.startswith("opening "):
            self._speed.text = ""

    @contextmanager
    def complaining(self) -> Iterator[None]:
        """Say what went wrong in a line."""
        try:
            yield
        except StyleClipError as error:
            self.stage.say(complaint(error))

    def _tell(self, resolved: Resolved) -> None:
        """Say what the edit on top came to."""
        self.resolved = resolved
        self.stage.write()
        self.controls.tell(resolved)
        self.results.tell()

    def sync(self) -> None:
        """Have all controls say what is wanted."""
        history = self.session.history
        self.controls.sync(history.look)
        self.where.sync(history.look)
        self.steps.sync(history)
        self._undo.set_enabled(history.can_undo)
        self._redo.set_enabled(history.can_redo)

    def choose_files(self) -> None:
        """Open the browser's dialog for files."""
        self._desk.run_method("choose")

    async def _toggle_dark(self) -> None:
        self._dark.value = not await ui.run_javascript("Quasar.Dark.isActive")


def dress() -> None:
    """Give a page its colours."""
    ui.add_css(STYLE)
    ui.colors(primary="#b4532f", negative="#b3261e", positive="#3d7a57", dark="#2a2724", dark_page="#171513")


def _rendered(subject: Subject, resolved: Resolved, maker: EditMaker) -> bytes:
    return encoded(subject.after(resolved, maker))

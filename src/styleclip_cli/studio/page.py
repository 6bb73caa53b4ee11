"""One page of the studio: what is on it, and what happens when something is moved."""

from __future__ import annotations

import io
import itertools
import logging
import math
import time
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nicegui import events, ui
from nicegui.element import Element

from styleclip_cli.edits.directions import Direction
from styleclip_cli.errors import StyleClipError, one_line
from styleclip_cli.studio.look import RECIPE, Wish
from styleclip_cli.studio.session import Resolved, Session, Subject, encoded
from styleclip_cli.studio.widgets import Compare, Desk, field, icon, section, slider, swap

T = TypeVar("T")
_STYLE = Path(__file__).parent / "studio.css"
_REACH = 10.0  # of alpha to both sides
_REACH_OF_MAPPERS = 3.0
_WAITING = 50  # moves whose pictures have not been seen yet
_LINES = 60  # of the history that are shown
_log = logging.getLogger(__name__)


class Ask(Protocol):
    """Has the engine's thread do something."""

    def __call__(self, work: Callable[..., T], *args: Any) -> Awaitable[T]: ...  # noqa: D102


@dataclass(eq=False)
class Tile:
    """A picture on the page.

    Attributes:
        number: What it goes by in addresses.
        subject: What it shows.
        compare: Where.
        pictures: What the browser may fetch, by side.
    """

    number: int
    subject: Subject
    compare: Compare
    pictures: dict[str, bytes]


class Page:
    """One page.

    Args:
        session: What it works on.
        ask: Has the engine's thread do something.
        url: Where its pictures are.
        max_bytes: Of a photo's file.
    """

    def __init__(self, session: Session, ask: Ask, url: str, max_bytes: int) -> None:
        self.session = session
        self._ask = ask
        self._url = url
        self._max_bytes = max_bytes
        self._tiles: dict[int, Tile] = {}
        self._numbers = itertools.count(1)
        self._seeds = itertools.count(2)
        self._focus: Tile | None = None
        self._together = False
        self._version = 0
        self._began: dict[int, float] = {}
        self._painting = False
        self._setting = False
        self._closed = False
        self._resolved = Resolved((), ())
        self._problems: list[str] = []

    def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._tiles.clear()
        self.session.subjects.clear()

    def picture(self, number: int, side: str) -> bytes | None:
        """What the browser may fetch; None if there is no such picture."""
        tile = self._tiles.get(number)
        return None if tile is None else tile.pictures.get(side)

    # What is on it.

    def build(self) -> None:
        """Put everything on the page."""
        ui.add_css(_STYLE)
        ui.colors(
            primary="#b4532f", negative="#b3261e", positive="#3d7a57", dark="#2a2724", dark_page="#171513"
        )
        self._dark = ui.dark_mode(None)
        self._desk = Desk(f"{self._url}/pictures", self._max_bytes)
        self._desk.on("begin", self._forget)
        self._desk.on("sending", lambda e: self._waiting(e.args))
        self._desk.on("problem", lambda e: self._say(e.args))
        self._desk.on("undo", lambda: self._go(-1))
        self._desk.on("redo", lambda: self._go(1))
        with ui.element("div").classes("studio"):
            self._build_head()
            with ui.element("main"):
                self._build_stage()
            with ui.element("aside"):
                with ui.element("div").classes("controls"):
                    self._build_wish()
                    self._build_kept()
                    self._build_history()
                self._build_results()
        self._arrange()
        self._sync()
        self._tell(self._resolved)

    def _build_head(self) -> None:
        with ui.element("header"):
            ui.html("<b>styleclip</b> studio", sanitize=False, tag="h1")
            pack = self.session.engine.pack
            ui.label(pack.name).classes("pack").tooltip(pack.title)
            self._speed = ui.label().classes("speed")
            self._speed.tooltip("From the last move to the picture on the screen")
            ui.space()
            self._undo = icon("undo", "Undo (Ctrl-Z)", lambda: self._go(-1))
            self._redo = icon("redo", "Redo (Ctrl-Shift-Z)", lambda: self._go(1))
            self._grid = icon("grid_view", "All pictures side by side", self._toggle_grid)
            icon("add_photo_alternate", "Add photos", self._choose)
            icon("casino", "Add a generated face", self._generate)
            icon("contrast", "Light or dark", self._toggle_dark)

    def _build_stage(self) -> None:
        self._message = ui.label().classes("message").props('role="status"').on("click", self._forget)
        self._empty = ui.element("div").classes("empty")
        with self._empty, ui.element("div"):
            ui.icon("add_photo_alternate")
            ui.label("Drop photos of faces here").classes("title")
            promise = ui.label("They stay on this computer, and are forgotten when the page is closed.")
            promise.classes("quiet")
            with ui.element("div").classes("choices"):
                ui.button("Choose photos", on_click=self._choose).props("unelevated no-caps")
                ui.button("Try a generated face", on_click=self._generate).props("flat no-caps")
        self._pictures = ui.element("div").classes("pictures")

    def _build_wish(self) -> None:
        wish = self.session.look.wish
        with section("Change"):
            if self.session.edits.mappers:
                self._method = ui.toggle({"global": "Sentence", "mapper": "Mapper"}, value=wish.method)
                self._method.props("no-caps unelevated spread dense")
                self._method.on_value_change(lambda e: self._changed(method=e.value))
            self._sentence = ui.element("div").classes("stack")
            with self._sentence:
                self._prompt = field("What should they become?", "with glasses, smiling, a happy old man …")
                self._prompt.on_value_change(lambda e: self._changed(prompt=e.value or ""))
                self._neutral = field("Instead of", "face", wish.neutral)
                self._neutral.on_value_change(lambda e: self._changed(neutral=e.value or ""))
            self._mapper = ui.select(self.session.edits.mappers, label="Trained for", value=None)
            self._mapper.props("outlined dense options-dense")
            self._mapper.on_value_change(lambda e: self._changed(mapper=e.value or ""))
            self._alpha_label, self._alpha = slider("Strength (alpha)", -_REACH, _REACH, 0.1, wish.alpha)
            self._alpha.on_value_change(lambda e: self._changed(alpha=round(float(e.value), 3)))
            self._alpha.on("change", self._settle)
            self._precision = ui.element("div").classes("stack")
            with self._precision:
                self._beta_label, self._beta = slider("Precision (beta)", 0.0, 1.0, 0.001, 0.0)
                self._beta.on_value_change(lambda e: self._changed(beta=round(float(e.value), 6)))
                self._beta.on("change", self._settle)
                with ui.row().classes("between"):
                    self._channels = ui.label().classes("quiet")
                    self._automatic = ui.switch("automatic", value=True).props("dense size=sm")
                    self._automatic.on_value_change(lambda e: self._set_automatic(e.value))
            self._accept = ui.button("Keep, and add another", icon="add", on_click=self._keep)
            self._accept.props("unelevated no-caps").classes("wide")

    def _build_kept(self) -> None:
        self._kept_section = section("Kept edits")
        with self._kept_section:
            self._kept = ui.element("ol").classes("kept")
        self._kept_shown: tuple[Wish, ...] = ()

    def _build_history(self) -> None:
        with section("History"):
            self._history = ui.element("ol").classes("history")
        self._lines: list[tuple[int, Element, ui.label]] = []

    def _build_results(self) -> None:
        with section("Take it with you").classes("results"):
            with ui.row().classes("buttons"):
                self._save = ui.button("Save image", on_click=self._save_image).props("unelevated no-caps")
                self._save_all = ui.button("Save all", on_click=self._save_images).props("outline no-caps")
                self._recipe = ui.button("Save recipe", on_click=self._save_recipe).props("outline no-caps")
            with ui.element("div").classes("command"):
                self._command = ui.label().classes("code")
                icon("content_copy", "Copy the command", self._copy)

    # What happens.

    async def take(self, file: Path, name: str) -> str:
        """Add a photo that has arrived.

        Returns:
            What is wrong with it; empty for nothing.
        """
        try:
            subject = await self._ask(self.session.add, file, name)
        except StyleClipError as error:
            return f"{one_line(error.message)}{error.hint and f' ({error.hint})'}"
        except Exception:
            _log.exception("a photo could not be opened")
            return f"{name}: cannot be opened"
        if self._closed:
            return "this page was closed"
        await self._show(subject)
        return ""

    async def _generate(self) -> None:
        with self._complaining():
            await self._show(await self._ask(self.session.generate, next(self._seeds)))

    async def _show(self, subject: Subject) -> None:
        """Give a new picture its place."""
        number = next(self._numbers)
        before = await self._ask(encoded, subject.before)
        if self._closed:
            return
        ratio = subject.before.width / subject.before.height
        with self._pictures:
            compare = Compare(subject.name, f"{self._url}/{number}/before?v=0", ratio)
        tile = Tile(number, subject, compare, {"before": before})
        compare.on("pick", lambda: self._look_at(tile))
        compare.on("drop", lambda: self._drop(number))
        compare.on("shown", lambda e: self._shown(tile, e))
        self._tiles[number] = tile
        self._focus = tile
        self._arrange()
        await self._repaint()

    def _drop(self, number: int) -> None:
        tile = self._tiles.pop(number, None)
        if tile is None:
            return
        self.session.drop(tile.subject)
        tile.compare.delete()
        if tile is self._focus:
            self._focus = next(reversed(self._tiles.values()), None)
        self._arrange()
        self._sync()

    def _look_at(self, tile: Tile) -> None:
        self._focus = tile
        self._arrange()

    def _toggle_grid(self) -> None:
        self._together = not self._together
        self._arrange()

    def _arrange(self) -> None:
        """One picture in the middle and the others below, or all side by side."""
        count = len(self._tiles)
        together = self._together and count > 1
        self._empty.set_visibility(count == 0)
        self._pictures.set_visibility(count > 0)
        self._pictures.style(f"--count: {max(1, count)}; --columns: {math.ceil(math.sqrt(count)) or 1}")
        swap(self._pictures, "together" if together else "single", "together single")
        swap(self._pictures, "several" if count > 1 else "alone", "several alone")
        for tile in self._tiles.values():
            focus = tile is self._focus
            tile.compare.place(small=not together and not focus)
            swap(tile.compare, "focus" if focus else "", "focus")
        self._grid.set_enabled(count > 1)
        self._save_all.set_visibility(count > 1)

    def _changed(self, **changes: Any) -> Awaitable[None] | None:
        """Hear of a control: a person moved it, unless it is being set here."""
        return None if self._setting or not self.session.change(**changes) else self._moved()

    def _settle(self) -> None:
        self.session.history.settle()

    def _set_automatic(self, automatic: bool) -> Awaitable[None] | None:
        self._settle()
        edit = self._resolved.wish
        chosen = edit.beta if isinstance(edit, Direction) else 0.1
        return self._changed(beta=None if automatic else float(f"{chosen:.9g}"))

    async def _keep(self) -> None:
        look = self.session.look
        resolved = await self._ask(self.session.resolve, look)
        if look is self.session.look and self.session.accept(resolved):
            await self._moved()

    async def _remove(self, index: int) -> None:
        if index < len(self.session.look.kept):
            self.session.history.remove(index)
            await self._moved()

    async def _go(self, steps: int) -> None:
        await self._go_to(self.session.history.place + steps)

    async def _go_to(self, place: int) -> None:
        if self.session.history.go(place):
            await self._moved()

    async def _moved(self) -> None:
        self._forget()
        self._sync()
        await self._repaint()

    # Rendering: only the newest look, one picture after the other, those that are looked at first.

    async def _repaint(self) -> None:
        self._version += 1
        self._began[self._version] = time.perf_counter()
        if len(self._began) > _WAITING:
            del self._began[min(self._began)]
        if self._painting:
            return  # it is told when it is done with the picture it works on
        self._painting = True
        try:
            while not self._closed and not await self._paint(self._version):
                pass
        except Exception as error:
            _log.exception("a picture could not be made")
            self._say(f"this picture cannot be made: {one_line(error)}")
        finally:
            self._painting = False

    async def _paint(self, version: int) -> bool:
        """Bring all pictures to a version; False if there is a newer one meanwhile."""
        resolved = await self._ask(self.session.resolve, self.session.look)
        self._tell(resolved)
        tiles = sorted(self._tiles.values(), key=lambda tile: tile is not self._focus)
        for tile in tiles:
            hidden = tile is not self._focus and not self._together
            if version != self._version and (hidden or tile is tiles[0]):
                return False
            try:
                content = await self._ask(_rendered, tile.subject, resolved)
            except StyleClipError as error:
                self._say(one_line(error.message))
                continue
            if self._closed:
                return True
            tile.pictures["after"] = content
            if tile.number in self._tiles:
                tile.compare.show(f"{self._url}/{tile.number}/after?v={version}")
        return version == self._version

    def _shown(self, tile: Tile, event: events.GenericEventArguments) -> None:
        """The browser shows a picture: say how long that took."""
        version = event.args if isinstance(event.args, int) else 0
        if tile is self._focus and version in self._began:
            self._speed.text = f"{1000 * (time.perf_counter() - self._began[version]):.0f} ms"
            self._began = {newer: began for newer, began in self._began.items() if newer > version}

    # What is said.

    def _say(self, problem: str) -> None:
        """Say what went wrong, until the next move."""
        self._problems = [*self._problems[-2:], problem]
        self._write_message()

    def _forget(self) -> None:
        """Say it no longer."""
        self._problems = []
        self._write_message()

    def _write_message(self) -> None:
        lines = [*self._problems, self._resolved.problem] if self._resolved.problem else self._problems
        self._message.text = "\n".join(lines)
        self._message.set_visibility(bool(lines))

    def _waiting(self, left: Any) -> None:
        if isinstance(left, int) and left:
            self._speed.text = f"opening {left} photo{'s' if left > 1 else ''} …"
        elif self._speed.text.startswith("opening "):
            self._speed.text = ""

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """Say what went wrong in a line."""
        try:
            yield
        except StyleClipError as error:
            self._say(one_line(error.message))

    def _tell(self, resolved: Resolved) -> None:
        """Say what the wish came to."""
        self._resolved = resolved
        self._write_message()
        edit = resolved.wish
        if isinstance(edit, Direction):
            self._channels.text = f"{edit.num_channels} of {len(edit.delta)} channels change"
            self._beta.reach(0.0, math.floor(resolved.strongest * 1000) / 1000)
            with self._quietly():
                self._beta.value = edit.beta
            self._beta_label.text = f"{edit.beta:.4g}"
        else:
            self._channels.text = ""
            self._beta_label.text = ""
        self._accept.set_enabled(edit is not None)
        self._command.text = self.session.command_line(self._resolved)
        self._recipe.set_enabled(bool(resolved.steps))

    def _sync(self) -> None:
        """Have all controls say what is wanted."""
        history, look = self.session.history, self.session.look
        wish = look.wish
        mapped = wish.method == "mapper"
        reach = _REACH_OF_MAPPERS if mapped else _REACH
        with self._quietly():
            if self.session.edits.mappers:
                self._method.value = wish.method
            self._prompt.value = wish.prompt
            self._neutral.value = wish.neutral
            self._mapper.value = wish.mapper or None
            self._alpha.reach(-reach, reach)
            self._alpha.value = wish.alpha
            self._automatic.value = wish.beta is None
        self._alpha_label.text = f"{wish.alpha:g}"
        self._beta.set_enabled(wish.beta is not None)
        self._sentence.set_visibility(not mapped)
        self._precision.set_visibility(not mapped)
        self._mapper.set_visibility(mapped)
        self._undo.set_enabled(history.can_undo)
        self._redo.set_enabled(history.can_redo)
        self._save.set_enabled(bool(self._tiles))
        self._sync_kept(look.kept)
        self._sync_history()

    def _sync_kept(self, kept: tuple[Wish, ...]) -> None:
        self._kept_section.set_visibility(bool(kept))
        if kept == self._kept_shown:
            return
        self._kept_shown = kept
        self._kept.clear()
        with self._kept:
            for index, step in enumerate(kept):
                with ui.element("li"):
                    ui.label(step.title).classes("name")
                    ui.label(f"{step.alpha:g}").classes("number")
                    icon("close", "Remove this edit", lambda index=index: self._remove(index))

    def _sync_history(self) -> None:
        """Lines are written over where that will do: a slider that moves changes one of them all the time."""
        history = self.session.history
        first = max(0, len(history.entries) - _LINES)
        places = range(len(history.entries) - 1, first - 1, -1)  # the newest comes first
        if list(places) != [place for place, _, _ in self._lines]:
            self._history.clear()
            self._lines = []
            with self._history:
                for place in places:
                    line = ui.element("li").on("click", lambda place=place: self._go_to(place))
                    with line:
                        self._lines.append((place, line, ui.label()))
        for place, line, label in self._lines:
            label.text = history.entries[place].label
            state = "now" if place == history.place else "later" if place > history.place else "earlier"
            swap(line, state, "now later earlier")

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Set controls without hearing of it as if a person had."""
        self._setting = True
        try:
            yield
        finally:
            self._setting = False

    # What is taken away.

    async def _save_image(self) -> None:
        if self._focus is not None:
            with self._complaining():
                name, content = await self._ask(self.session.save, self._focus.subject)
                ui.download.content(content, name, "image/png")

    async def _save_images(self) -> None:
        with self._complaining():
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for number, tile in enumerate(list(self._tiles.values()), start=1):
                    name, content = await self._ask(self.session.save, tile.subject)
                    archive.writestr(f"{number:02d}_{name}", content)
            ui.download.content(packed.getvalue(), "styleclip.zip", "application/zip")

    def _save_recipe(self) -> None:
        ui.download.content(self.session.recipe(self._resolved), RECIPE, "application/toml")

    def _copy(self) -> None:
        ui.clipboard.write(self.session.command_line(self._resolved))
        ui.notify("The command is copied", type="positive", position="bottom-right", timeout=1500)

    def _choose(self) -> None:
        self._desk.run_method("choose")

    async def _toggle_dark(self) -> None:
        self._dark.value = not await ui.run_javascript("Quasar.Dark.isActive")


def _rendered(subject: Subject, resolved: Resolved) -> bytes:
    return encoded(subject.after(resolved))

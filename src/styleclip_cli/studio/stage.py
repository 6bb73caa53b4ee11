"""The middle of the page: pictures before and after, their faces, and what is said of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.element import Element

from styleclip_cli.studio.session import encoded
from styleclip_cli.studio.subject import Subject
from styleclip_cli.studio.widgets import Compare, Warnings, icon, swap

if TYPE_CHECKING:
    from styleclip_cli.studio.page import Page

_MOST_FACES = 30  # that are numbered


@dataclass(eq=False)
class Tile:
    """A picture on the page.

    Attributes:
        number: What it goes by in addresses.
        subject: What it shows.
        compare: Where.
        pictures: What the browser may fetch, by side.
        choosing: Whether its faces are framed, to choose from.
    """

    number: int
    subject: Subject
    compare: Compare
    pictures: dict[str, bytes]
    choosing: bool = False


class Stage:
    """The pictures of a page.

    Args:
        page: Whose they are.

    Attributes:
        tiles: By number.
        focus: The one in front.
        together: Whether all are shown side by side.
        grid: The button for that.
    """

    grid: ui.button

    def __init__(self, page: Page) -> None:
        self.tiles: dict[int, Tile] = {}
        self.focus: Tile | None = None
        self.together = False
        self._page = page
        self._numbers = itertools.count(1)
        self._seeds = itertools.count(2)
        self._problems: list[str] = []
        self._notices: dict[str, Element] = {}
        self._setting = False

    def build(self) -> None:
        """Put it on the page."""
        page = self._page
        self._message = ui.label().classes("message").props('role="status"').on("click", self.forget)
        self._faceless = ui.element("div").classes("faceless")
        self._empty = ui.element("div").classes("empty")
        with self._empty, ui.element("div"):
            ui.icon("add_photo_alternate")
            ui.label("Drop photos of faces here").classes("title")
            promise = ui.label("They stay on this computer, and are forgotten when the page is closed.")
            promise.classes("quiet")
            if page.session.engine.pack.subject:
                knows = ui.label(f"{page.session.engine.pack.name} knows {page.session.engine.pack.subject}.")
                knows.classes("quiet")
            with ui.element("div").classes("choices"):
                ui.button("Choose photos", on_click=page.choose_files).props("unelevated no-caps")
                ui.button("Try a generated face", on_click=self.generate).props("flat no-caps")
        self._pictures = ui.element("div").classes("pictures")
        with ui.element("div").classes("below"):
            self._faces = ui.element("div").classes("faces")
            with self._faces:
                self._count = ui.label().classes("quiet")
                self._which = ui.toggle([], on_change=lambda e: self._chosen(e.value))
                self._which.props("no-caps unelevated dense")
                self._framed = icon("filter_center_focus", "Show the faces in the photo", self._toggle_frames)
            self._warnings = Warnings()

    # Pictures.

    async def generate(self) -> None:
        """Add a face that the generator draws by itself."""
        page = self._page
        with page.complaining():
            await self.show(await page.host.ask(page.session.generate, next(self._seeds)))

    async def show(self, subject: Subject) -> None:
        """Give a new picture its place."""
        page, number = self._page, next(self._numbers)
        before = await page.host.ask(encoded, subject.before)
        if page.closed:
            return
        ratio = subject.before.width / subject.before.height
        with self._pictures:
            compare = Compare(subject.name, f"{page.url}/{number}/before?v=0", ratio)
        tile = Tile(number, subject, compare, {"before": before}, choosing=len(subject.faces) > 1)
        compare.on("pick", lambda: self._look_at(tile))
        compare.on("drop", lambda: self._drop(number))
        compare.on("shown", lambda e: page.shown(tile, e.args))
        compare.on("face", lambda e: self._choose(str(e.args)))
        compare.on("painted", lambda e: page.where.painted(tile, e.args))
        self.tiles[number] = tile
        self.focus = tile
        self.arrange()
        await page.repaint()

    def _drop(self, number: int) -> None:
        tile = self.tiles.pop(number, None)
        if tile is None:
            return
        self._page.session.drop(tile.subject)
        tile.compare.delete()
        if tile is self.focus:
            self.focus = next(reversed(self.tiles.values()), None)
        self.arrange()
        self._page.sync()
        self._page.results.tell()

    async def _look_at(self, tile: Tile) -> None:
        if tile is not self.focus:
            self.focus = tile
            self.arrange()
            await self._page.repaint()

    def toggle_grid(self) -> None:
        """Show all pictures side by side, or one in the middle."""
        self.together = not self.together
        self.arrange()

    def arrange(self) -> None:
        """One picture in the middle and the others below, or all side by side."""
        count = len(self.tiles)
        together = self.together and count > 1
        self._empty.set_visibility(count == 0)
        self._pictures.set_visibility(count > 0)
        self._pictures.style(f"--count: {max(1, count)}; --columns: {math.ceil(math.sqrt(count)) or 1}")
        swap(self._pictures, "together" if together else "single", "together single")
        swap(self._pictures, "several" if count > 1 else "alone", "several alone")
        for tile in self.tiles.values():
            focus = tile is self.focus
            tile.compare.place(small=not together and not focus)
            swap(tile.compare, "focus" if focus else "", "focus")
        self.grid.set_enabled(count > 1)
        self._page.results.count(count)
        self._sync_faces()
        self._page.where.sync_brush()
        self.judge([] if self.focus is None else self.focus.subject.warnings)

    # Faces.

    def _sync_faces(self) -> None:
        """Say which faces there are in the picture in front, and which is edited."""
        tile = self.focus
        count = 0 if tile is None else len(tile.subject.faces)
        self._faces.set_visibility(count > 1)
        for one in self.tiles.values():
            framed = one is tile and one.choosing and count > 1
            one.compare.frame(one.subject.boxes if framed else [], one.subject.numbers)
        if tile is None or count < 2:
            return
        numbers = tile.subject.numbers
        self._count.text = f"{count} faces were found. Edit:"
        options = {str(number): str(number) for number in range(1, min(count, _MOST_FACES) + 1)}
        self._setting = True
        try:
            self._which.set_options(
                options | {"all": "all"}, value="all" if tile.subject.which == "all" else str(numbers[0])
            )
        finally:
            self._setting = False
        swap(self._framed, "on" if tile.choosing else "", "on")

    def _chosen(self, which: str) -> Awaitable[None] | None:
        """Hear of the buttons, unless they are being set here."""
        return None if self._setting else self._choose(which)

    async def _choose(self, which: str) -> None:
        """Edit another face of the picture in front."""
        tile, page = self.focus, self._page
        if tile is None or which is None or len(tile.subject.faces) < 2:
            return
        tile.choosing = False
        with page.complaining():
            await page.host.ask(tile.subject.choose, which)
        self.arrange()
        await page.repaint()

    def unframe(self) -> None:
        """Take the frames away, as they would hide what is edited."""
        if any(tile.choosing for tile in self.tiles.values()):
            for tile in self.tiles.values():
                tile.choosing = False
            self._sync_faces()

    def _toggle_frames(self) -> None:
        if self.focus is not None:
            self.focus.choosing = not self.focus.choosing
            self._sync_faces()

    def notice(self, name: str) -> None:
        """Say that no face was found in a photo, and offer to take it as it is."""
        self._leave(name)
        with self._faceless, ui.element("div").props('role="status"') as made:
            ui.icon("face_retouching_off")
            ui.label(
                f"{name}: no face was found. If it is a cropped face already, it can be used as it is; "
                "otherwise try it upright, and seen from the front."
            )
            with ui.element("div").classes("choices"):
                use = ui.button("Use the picture as it is", on_click=lambda: self._take_as_it_is(name))
                use.props("unelevated no-caps dense")
                ui.button("Leave it out", on_click=lambda: self._leave(name, forget=True)).props(
                    "flat no-caps dense"
                )
        self._notices[name] = made

    async def _take_as_it_is(self, name: str) -> None:
        page = self._page
        self._leave(name)
        if name in page.session.faceless:
            with page.complaining():
                await self.show(await page.host.ask(page.session.take_as_it_is, name))

    def _leave(self, name: str, forget: bool = False) -> None:
        notice = self._notices.pop(name, None)
        if notice is not None:
            notice.delete()
        if forget:
            self._page.session.faceless.pop(name, None)

    # What is said.

    def judge(self, warnings: list[str]) -> None:
        """Say what may be wrong with the picture in front."""
        self._warnings.show(warnings)

    def say(self, problem: str) -> None:
        """Say what went wrong, until the next move."""
        self._problems = [*self._problems[-2:], problem]
        self.write()

    def forget(self) -> None:
        """Say it no longer."""
        self._problems = []
        self.write()

    def write(self) -> None:
        """Say what went wrong, and what is wrong with the edit on top."""
        problem = self._page.resolved.problem
        lines = [*self._problems, problem] if problem else self._problems
        self._message.text = "\n".join(lines)
        self._message.set_visibility(bool(lines))

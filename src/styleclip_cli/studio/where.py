"""Where the picture may change: chips for parts of the face, and a brush."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from nicegui import ui
from PIL import Image

from styleclip_cli.errors import BadInputError
from styleclip_cli.job.region import IN_MEMORY
from styleclip_cli.studio.look import Look
from styleclip_cli.studio.widgets import icon, section, slider, swap

if TYPE_CHECKING:
    from styleclip_cli.studio.page import Page
    from styleclip_cli.studio.stage import Tile

CHIPS = ("hair", "face", "eyes", "brows", "mouth", "skin", "glasses", "hat", "clothes", "background")
"""Parts that all parsers know."""
_USUAL, _LARGEST = 8.0, 30.0  # of the brush, in hundredths of the picture's width


class Where:
    """Chips and brush.

    Args:
        page: Whose they are.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._setting = False
        self._painting = self._erasing = False
        self._chips: dict[str, ui.chip] = {}

    def build(self) -> None:
        """Put them on the page."""
        with section("Where"):
            if "parser" in self._page.session.engine.pack.components:
                with ui.element("div").classes("chips"):
                    for part in CHIPS:
                        chip = ui.chip(part, selectable=True, color=None, on_selection_change=self._changed)
                        self._chips[part] = chip.props("dense square")
            with ui.row().classes("brush"):
                self._brush = icon("brush", "Paint what may change", self._toggle_brush)
                self._eraser = icon("auto_fix_off", "Erase", self._toggle_eraser)
                icon("layers_clear", "Paint nothing: everything may change", self._clear)
                icon("download", f"Save what is painted, as {IN_MEMORY}", self._save)
                self._said = ui.label().classes("quiet")
            with ui.element("div") as self._sizes:
                self._label, self._size = slider("Size of the brush", 1.0, _LARGEST, 0.5, _USUAL)
                self._size.on_value_change(self.sync_brush)
        self.sync_brush()

    def sync(self, look: Look) -> None:
        """Have the chips say what is wanted."""
        self._setting = True
        try:
            for part, chip in self._chips.items():
                chip.selected = part in look.only
        finally:
            self._setting = False

    def sync_brush(self) -> None:
        """Give the picture in front the brush, and the others none."""
        front = self._page.stage.focus
        for tile in self._page.stage.tiles.values():
            brush = {"size": self._size.value / 100, "erase": self._erasing}
            tile.compare.brush(brush if self._painting and tile is front else None)
        swap(self._brush, "on" if self._painting else "", "on")
        swap(self._eraser, "on" if self._painting and self._erasing else "", "on")
        self._eraser.set_enabled(self._painting)
        self._sizes.set_visibility(self._painting)
        self._label.text = f"{self._size.value:g} %"
        painted = front is not None and front.subject.mask is not None
        self._said.text = "only what is painted may change" if painted else ""

    async def _changed(self) -> None:
        if not self._setting:
            self._page.session.history.settle()  # each is a line of its own
            await self._page.change(only=tuple(part for part, chip in self._chips.items() if chip.selected))

    def _toggle_brush(self) -> None:
        self._painting, self._erasing = not self._painting, False
        self._page.stage.unframe()
        self.sync_brush()

    def _toggle_eraser(self) -> None:
        self._erasing = not self._erasing
        self.sync_brush()

    async def painted(self, tile: Tile, address: Any) -> None:
        """Take what was painted on a picture.

        Args:
            tile: The picture.
            address: A PNG as a data URL, as browsers make it; opaque where something was painted.
        """
        with self._page.complaining():
            tile.subject.mask = painted(address, tile.subject.before.size)
            self.sync_brush()
            await self._page.moved()

    async def _clear(self) -> None:
        front = self._page.stage.focus
        if front is not None:
            front.compare.wipe()
            front.subject.mask = None
            self.sync_brush()
            await self._page.moved()

    def _save(self) -> None:
        front = self._page.front
        if front is None or front.mask is None:
            self._page.stage.say("nothing is painted yet")
            return
        data = io.BytesIO()
        front.whole_mask().save(data, "PNG")
        ui.download.content(data.getvalue(), IN_MEMORY, "image/png")


def painted(address: object, size: tuple[int, int]) -> Image.Image | None:
    """What a person painted.

    Args:
        address: A PNG as a data URL: opaque where something may change.
        size: The picture's, in pixels.

    Returns:
        The mask, mode L; None if nothing is painted.

    Raises:
        BadInputError: If it is no such picture.
    """
    try:
        head, _, text = str(address).partition(",")
        if head != "data:image/png;base64":
            raise ValueError
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            if image.size != size:
                raise ValueError
            mask = image.convert("RGBA").getchannel("A")
    except (ValueError, OSError, SyntaxError):  # the last of broken chunks
        raise BadInputError("what was painted did not arrive", "paint it again") from None
    return mask if mask.getbbox() is not None else None

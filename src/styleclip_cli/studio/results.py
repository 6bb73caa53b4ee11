"""What is taken away from the page: pictures, the recipe, the command."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from nicegui import ui

from styleclip_cli.studio.look import RECIPE
from styleclip_cli.studio.widgets import icon, section

if TYPE_CHECKING:
    from styleclip_cli.studio.page import Page


class Results:
    """The lowest part of the page.

    Args:
        page: Whose it is.
    """

    def __init__(self, page: Page) -> None:
        self._page = page

    def build(self) -> None:
        """Put it on the page."""
        with section("Take it with you").classes("results"):
            with ui.row().classes("buttons"):
                self._save = ui.button("Save image", on_click=self._save_image).props("unelevated no-caps")
                self._save_all = ui.button("Save all", on_click=self._save_images).props("outline no-caps")
                self._recipe = ui.button("Save recipe", on_click=self._save_recipe).props("outline no-caps")
            with ui.element("div").classes("command"):
                self._command = ui.label().classes("code")
                icon("content_copy", "Copy the command", self._copy)

    def count(self, pictures: int) -> None:
        """Hear how many pictures there are."""
        self._save.set_enabled(pictures > 0)
        self._save_all.set_visibility(pictures > 1)

    def tell(self) -> None:
        """Say how the same is done elsewhere."""
        page = self._page
        self._command.text = page.session.command_line(page.resolved, page.front)
        self._recipe.set_enabled(bool(page.resolved.look.steps))

    async def _save_image(self) -> None:
        page = self._page
        if page.front is None:
            return
        self._save.props("loading")
        try:
            with page.complaining():
                name, content = await page.host.ask(page.session.save, page.front)
                ui.download.content(content, name, "image/png")
        finally:
            self._save.props(remove="loading")

    async def _save_images(self) -> None:
        page, packed = self._page, io.BytesIO()
        self._save_all.props("loading")
        try:
            with page.complaining():
                with zipfile.ZipFile(packed, "w") as archive:
                    for number, tile in enumerate(list(page.stage.tiles.values()), start=1):
                        name, content = await page.host.ask(page.session.save, tile.subject)
                        archive.writestr(f"{number:02d}_{name}", content)
                ui.download.content(packed.getvalue(), "styleclip.zip", "application/zip")
        finally:
            self._save_all.props(remove="loading")

    async def _save_recipe(self) -> None:
        page = self._page
        with page.complaining():
            recipe = await page.host.ask(page.session.recipe, page.resolved, page.front)
            if recipe is None:
                page.stage.say("there is nothing to repeat yet: the picture in front has no result")
            else:
                ui.download.content(recipe, RECIPE, "application/toml")

    def _copy(self) -> None:
        ui.clipboard.write(self._command.text)
        ui.notify("The command is copied", type="positive", position="bottom-right", timeout=1500)

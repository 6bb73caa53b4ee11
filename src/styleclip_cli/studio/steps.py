"""Lists on the page: the edits that were kept, and the history."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.element import Element

from styleclip_cli.recipe import Step
from styleclip_cli.studio.look import History, title_of
from styleclip_cli.studio.widgets import LiveSlider, icon, section, swap

if TYPE_CHECKING:
    from styleclip_cli.studio.page import Page

_LINES = 60  # of the history that are shown


class Steps:
    """Both lists.

    Args:
        page: Whose they are.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._titles: list[str] = []
        self._sliders: list[tuple[ui.label, LiveSlider]] = []
        self._setting = False
        self._lines: list[tuple[int, Element, ui.label]] = []

    def build(self) -> None:
        """Put them on the page."""
        self._section = section("Kept edits")
        with self._section:
            self._kept = ui.element("ol").classes("kept")
        with section("History"):
            self._history = ui.element("ol").classes("history")

    def sync(self, history: History) -> None:
        """Have them say how it stands."""
        self._sync_kept(history.look.kept)
        self._sync_history(history)

    def _sync_kept(self, kept: tuple[Step, ...]) -> None:
        self._section.set_visibility(bool(kept))
        titles = [title_of(step) for step in kept]
        self._setting = True  # no person moves the sliders
        if titles != self._titles:
            self._titles, self._sliders = titles, []
            self._kept.clear()
            with self._kept:
                for index, step in enumerate(kept):
                    self._build_kept(index, step)
        for (number, moved), step in zip(self._sliders, kept, strict=True):
            reach = self._page.session.edits.reach(step)
            moved.reach(-reach, reach)
            moved.value = step.alpha
            number.text = f"{step.alpha:g}"
        self._setting = False

    def _build_kept(self, index: int, step: Step) -> None:
        """A kept edit: its name, its strength, and a slider for that."""
        with ui.element("li"):
            ui.label(title_of(step)).classes("name")
            moved = LiveSlider(min=-1, max=1, step=0.1).props(f'aria-label="Strength of {index + 1}"')
            moved.on_value_change(lambda e: self._altered(index, e.value))
            moved.on("change", self._page.session.history.settle)
            self._sliders.append((ui.label().classes("number"), moved))
            icon("close", "Remove this edit", lambda: self._page.remove(index))

    def _altered(self, index: int, alpha: float) -> Awaitable[None] | None:
        return None if self._setting else self._page.alter(index, round(float(alpha), 3))

    def _sync_history(self, history: History) -> None:
        """Lines are written over where that will do: a slider that moves changes one of them all the time."""
        first = max(0, len(history.entries) - _LINES)
        places = range(len(history.entries) - 1, first - 1, -1)  # the newest comes first
        if list(places) != [place for place, _, _ in self._lines]:
            self._history.clear()
            self._lines = []
            with self._history:
                for place in places:
                    line = ui.element("li").on("click", lambda place=place: self._page.go_to(place))
                    with line:
                        self._lines.append((place, line, ui.label()))
        for place, line, label in self._lines:
            label.text = history.entries[place].label
            state = "now" if place == history.place else "later" if place > history.place else "earlier"
            swap(line, state, "now later earlier")

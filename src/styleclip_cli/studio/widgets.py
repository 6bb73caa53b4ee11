"""The elements of the studio's page that NiceGUI has not, and those that the page has many of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element

from styleclip_cli.studio.busy import readable


class Compare(Element, component="compare.js"):
    """A picture before and after.

    Args:
        name: What it is called.
        before: Address of the picture before.
        ratio: Width by height.
    """

    def __init__(self, name: str, before: str, ratio: float) -> None:
        super().__init__()
        self._props.update(name=name, before=before, after="", ratio=ratio, small=False, faces=[], brush=None)

    def show(self, after: str) -> None:
        """Show another picture after."""
        self._props["after"] = after

    def brush(self, brush: dict[str, Any] | None) -> None:
        """Have the pointer paint on it.

        Args:
            brush: Its size, in parts of the picture's width, and whether it erases; None for no brush.
        """
        self._props["brush"] = brush

    def wipe(self) -> None:
        """Take away what was painted."""
        self.run_method("wipe")

    def place(self, small: bool) -> None:
        """Put it in the middle, or in the row below."""
        self._props["small"] = small
        swap(self, "beside" if small else "main", "beside main")

    def frame(self, boxes: Sequence[tuple[float, float, float, float]], chosen: Sequence[int]) -> None:
        """Frame faces, so that one can be chosen.

        Args:
            boxes: Left, top, width and height of each, in parts of the picture, from left to right.
            chosen: Numbers of those that are edited.
        """
        sides = ("left", "top", "width", "height")
        self._props["faces"] = [
            {"number": number, "chosen": number in chosen}
            | {side: f"{100 * part:.2f}%" for side, part in zip(sides, box, strict=True)}
            for number, box in enumerate(boxes, start=1)
        ]


class Desk(Element, component="desk.js"):
    """What belongs to the window: photos that are dropped or pasted, and keys.

    Args:
        url: Where photos are sent.
        limit: Bytes of the largest.
    """

    def __init__(self, url: str, limit: int) -> None:
        super().__init__()
        self._props.update(url=url, limit=limit)


class LiveSlider(ui.slider):
    """A slider that the browser moves by itself: an echo from here would pull it back while it is dragged."""

    LOOPBACK = False

    def reach(self, low: float, high: float) -> None:
        """Set where it ends."""
        if (self._props["min"], self._props["max"]) != (low, high):
            self._props.update(min=low, max=high)


class Warnings(Element):
    """Warnings, beside what they are about, until they no longer hold.

    Args:
        on_meant: Told the sentence that was meant, if a warning names one and it is clicked.
    """

    def __init__(self, on_meant: Callable[[str], Any] = lambda sentence: None) -> None:
        super().__init__("ul")
        self.classes("warnings").props('role="status"')
        self._on_meant = on_meant
        self._shown: list[str] = []
        self.set_visibility(False)

    def show(self, warnings: Sequence[str]) -> None:
        """Show these, and no others.

        Args:
            warnings: Sentences, as the job says them.
        """
        lines = list(dict.fromkeys(warnings))
        if lines == self._shown:
            return
        self._shown = lines
        self.clear()
        self.set_visibility(bool(lines))
        with self:
            for text, meant in map(readable, lines):
                with ui.element("li"):
                    ui.icon("warning_amber")
                    with ui.element("div"):
                        ui.label(text)
                        if meant:
                            chip = ui.button(f"Did you mean “{meant}”?", color=None)
                            chip.on_click(lambda meant=meant: self._on_meant(meant))
                            chip.props("flat dense no-caps").classes("meant")


def swap(element: Element, chosen: str, choices: str) -> None:
    """Give an element one of several classes, or none of them."""
    element.classes(add=chosen, remove=" ".join(one for one in choices.split() if one != chosen))


def icon(name: str, label: str, on_click: Callable[..., Any] | None) -> ui.button:
    """A round button with a picture, which is told to who cannot see it."""
    button = ui.button(icon=name, on_click=on_click, color=None).tooltip(label)
    return button.props(f'flat round dense aria-label="{label}"')


def section(title: str) -> Element:
    """A part of the page with a heading."""
    with ui.element("section") as made:
        ui.label(title).classes("heading")
    return made


def field(label: str, placeholder: str, value: str = "") -> ui.input:
    """A line of text that is heard of when nobody has typed for a while."""
    made = ui.input(label, placeholder=placeholder, value=value)
    return made.props("outlined dense debounce=300 maxlength=300 autocomplete=off spellcheck=false")


def number(label: str, value: float, least: float, most: float, step: float) -> ui.number:
    """A field for a number, heard of when nobody has typed for a while."""
    made = ui.number(label, value=value, min=least, max=most, step=step)
    return made.props("outlined dense debounce=500")


def slider(title: str, low: float, high: float, step: float, value: float) -> tuple[ui.label, LiveSlider]:
    """A slider with its title, and the label for its number."""
    with ui.element("div").classes("slider"):
        with ui.row().classes("between"):
            ui.label(title)
            number = ui.label().classes("number")
        made = LiveSlider(min=low, max=high, step=step, value=value).props(f'aria-label="{title}"')
    return number, made

"""The model packs on the page: what a download costs, how far it is, and the page without any pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from styleclip_cli.errors import StyleClipError
from styleclip_cli.studio.busy import complaint
from styleclip_cli.studio.fetching import in_bytes
from styleclip_cli.weights import packs

if TYPE_CHECKING:
    from styleclip_cli.studio.page import Host


class ModelCard:
    """Offers a pack, and follows its download.

    Args:
        host: Whose it is.
        other: Another pack to begin with; None where one is in use.
    """

    def __init__(self, host: Host, other: str | None = None) -> None:
        self._host, self._fetching, self._other = host, host.fetching, other
        self._using = ""
        self._problem = ""

    def build(self) -> None:
        """Put it on the page."""
        fetching, pack = self._fetching, self._fetching.pack
        cost = fetching.cost()
        with ui.element("div").classes("models"):
            ui.label(f"Get {pack.name}" if fetching.offered else pack.name).classes("title")
            ui.label(pack.title)
            with ui.element("div").classes("stack") as self._terms:
                if fetching.offered:
                    self._build_terms()
                elif not pack.usable:
                    ui.label("It is not installed, and the network may not be used.").classes("quiet")
            with ui.element("div").classes("stack") as self._running:
                self._bar = ui.linear_progress(0, show_value=False).props("rounded size=8px")
                with ui.row().classes("between"):
                    self._file, self._bytes = ui.label(), ui.label().classes("quiet")
            self._error = ui.label().classes("problem").props('role="alert"')
            with ui.element("div").classes("choices"):
                self._get = ui.button("", on_click=self._start).props("unelevated no-caps")
                self._stop = ui.button("Stop", on_click=fetching.stop).props("outline no-caps")
                if self._other is not None:
                    name = self._other
                    other = ui.button(f"Try {name} meanwhile", on_click=lambda: self._use(name))
                    other.props("flat no-caps")
                    other.tooltip(packs.find_pack(name).title)
        self._to_accept = cost.to_accept and fetching.offered
        self._sync()
        ui.timer(0.3, self._follow)

    def _build_terms(self) -> None:
        cost = self._fetching.cost()
        free = "" if cost.free is None else f", where {in_bytes(cost.free)} are free"
        ui.label(f"{cost.said} to download").classes("size")
        hosts = f"From {', '.join(cost.hosts)}, into" if cost.hosts else "Into"
        ui.label(f"{hosts} {cost.folder}{free}.").classes("quiet")
        if cost.licence:
            ui.label(f"Licence: {cost.licence}").classes("licence")
        self._accepted = ui.checkbox("I accept this licence", on_change=self._sync).props("dense")
        self._accepted.set_visibility(cost.to_accept)

    # What happens.

    def _start(self) -> None:
        self._problem = ""
        if self._fetching.pack.usable:
            ui.timer(0, lambda: self._use(self._fetching.name), once=True)
            return
        try:
            self._fetching.start(accepted=self._to_accept and bool(self._accepted.value))
        except StyleClipError as error:
            self._problem = complaint(error)
        self._sync()

    async def _use(self, name: str) -> None:
        """Go over to a pack that is here, and begin the page anew."""
        if self._using:
            return
        self._using, self._problem = name, ""
        self._sync()
        try:
            await self._host.use(name)
            ui.navigate.reload()
        except StyleClipError as error:
            self._problem = complaint(error)
        finally:
            self._using = ""
        self._sync()

    async def _follow(self) -> None:
        """Look how far it is; once it is here, go over to it."""
        fetching = self._fetching
        if fetching.state == "done" and not self._problem and self._other is not None:
            await self._use(fetching.name)  # elsewhere it would take pictures off the page
        self._sync()

    def _sync(self) -> None:
        """Say how it stands."""
        fetching, busy = self._fetching, self._host.busy
        running, loading = fetching.running, bool(self._using)
        self._terms.set_visibility(not running and not loading)
        self._running.set_visibility(running or loading)
        self._stop.set_visibility(running)
        if running:
            here, total = fetching.bytes
            self._bar.value = here / total if total else 0.0
            what = "unpacking" if fetching.converting else f"{fetching.number} of {fetching.files}:"
            self._file.text = f"{what} {fetching.file}" if fetching.file else "connecting …"
            self._bytes.text = f"{in_bytes(here)} of {in_bytes(total)}{_left(fetching.seconds_left)}"
        elif loading:
            self._file.text, self._bytes.text = busy.said or f"loading {self._using} …", ""
            self._bar.value = busy.part or 0.0
        self._error.text = self._problem or ("" if running else fetching.problem)
        self._error.set_visibility(bool(self._error.text))
        usable = fetching.pack.usable
        words = f"Use {fetching.name} (on an empty page)" if usable else f"Download {fetching.name}"
        self._get.text = "Try again" if fetching.state == "failed" and not running else words
        self._get.set_visibility(not running and not loading and (usable or fetching.offered))
        self._get.set_enabled(usable or not self._to_accept or bool(self._accepted.value))


def welcome(host: Host) -> None:
    """The page where no pack is in use yet."""
    with ui.element("div").classes("studio welcome"):
        with ui.element("header"):
            ui.html("<b>styleclip</b> <span>studio</span>", sanitize=False, tag="h1")
        with ui.element("main"), ui.element("div").classes("empty"), ui.element("div"):
            ui.icon("face_retouching_natural")
            ui.label("Edit photos of faces by a sentence").classes("title")
            ui.label(
                "This needs a model pack for photos, downloaded once. Photos stay on this computer."
            ).classes("quiet")
            ModelCard(host, packs.TOY).build()


def as_button(name: str, host: Host) -> None:
    """The pack's name in the head, where another one is offered; it says how far that one is."""
    fetching = host.fetching
    with ui.dialog() as offer, ui.card().classes("offer"):
        ModelCard(host).build()
    label = f"Get {fetching.name}"
    button = ui.button(name, color=None, icon="download", on_click=offer.open)
    button.props(f'flat dense no-caps aria-label="{label}"').classes("pack").tooltip(label)

    def follow() -> None:
        here, total = fetching.bytes
        if fetching.running:
            button.text = f"{name}, {fetching.name} {100 * here // max(1, total)} %"
        elif fetching.state == "done":
            button.text = f"{name}, {fetching.name} is here"

    ui.timer(1.0, follow)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {max(1, seconds):.0f} s left"

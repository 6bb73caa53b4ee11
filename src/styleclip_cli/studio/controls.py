"""The controls of the edit that is being tried: how, what, how strongly."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nicegui import ui

from styleclip_cli.edits.directions import Direction
from styleclip_cli.job.result import EditResult
from styleclip_cli.studio.look import Look
from styleclip_cli.studio.session import REACH, REACH_OF_OTHERS
from styleclip_cli.studio.subject import Resolved
from styleclip_cli.studio.widgets import Warnings, field, icon, number, section, slider

if TYPE_CHECKING:
    from styleclip_cli.studio.page import Page

_MOST_ITERATIONS = 2000


class Controls:
    """The controls of the edit on top.

    Args:
        page: Whose they are.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._setting = False
        self._top: object = None

    def build(self) -> None:
        """Put them on the page."""
        session, look = self._page.session, self._page.session.look
        with section("Change"):
            methods = {"global": "Sentence", "direction": "Direction", "optimize": "Optimize"}
            methods |= {"mapper": "Mapper"} if session.edits.mappers else {}
            self._method = ui.toggle(methods, value=look.way)
            self._method.props("no-caps unelevated spread dense").classes("methods")
            self._method.on_value_change(lambda e: self._changed(method=e.value))
            self._sentence = ui.element("div").classes("stack")
            with self._sentence:
                self._build_sentence(look)
            self._mapper = ui.select(session.edits.mappers, label="Trained for", value=None)
            self._mapper.props("outlined dense options-dense")
            self._mapper.on_value_change(lambda e: self._changed(mapper=e.value or ""))
            self._directions = ui.element("div").classes("stack")
            with self._directions:
                self._build_directions()
            self._warnings = Warnings(self._suggest)
            self._optimizing = ui.element("div").classes("stack")
            with self._optimizing:
                self._build_optimization()
            with ui.element("div").classes("working") as self._working:
                self._bar = ui.linear_progress(0, show_value=False).props("rounded size=6px")
                self._said = ui.label().classes("quiet")
            self._working.set_visibility(False)
            self._build_strength(look)
            self._accept = ui.button("Keep, and add another", icon="add", on_click=self._page.keep)
            self._accept.props("unelevated no-caps").classes("wide")

    def _build_sentence(self, look: Look) -> None:
        self._prompt = field("What should they become?", "with glasses, smiling, a happy old man …")
        self._prompt.on_value_change(lambda e: self._changed(prompt=e.value or ""))
        words = self._page.session.engine.pack.words
        if words:
            with self._prompt.add_slot("append"):
                known = icon("format_list_bulleted", "Sentences that it understands", None)
                with known, ui.menu().classes("words"):
                    for word in words:
                        ui.menu_item(word, lambda word=word: self._suggest(word))
        self._neutral = field("Instead of", "face", look.step.neutral or "")
        self._neutral.on_value_change(lambda e: self._changed(neutral=e.value or ""))

    def _build_directions(self) -> None:
        with ui.row().classes("between"):
            self._direction = ui.select([], label="From a file").classes("wide")
            self._direction.props("outlined dense options-dense")
            self._direction.on_value_change(lambda e: self._changed(direction=e.value or ""))
            icon("upload_file", "Load a direction (or drop its file)", self._page.choose_files)
        self._source = ui.label().classes("quiet")

    def _build_optimization(self) -> None:
        usual = self._page.session.engine.optimize_settings
        with ui.row().classes("pair"):
            self._iterations = number("Iterations", usual.steps, 1, _MOST_ITERATIONS, 1)
            self._iterations.on_value_change(lambda e: self._set_number("iterations", e.value))
            self._lambda_id = number("Identity (lambda-id)", usual.lambda_id, 0, 100, 0.01)
            self._lambda_id.on_value_change(lambda e: self._set_number("lambda_id", e.value))
        with ui.row().classes("pair"):
            self._run = ui.button("Optimize", icon="auto_fix_high", on_click=self._page.optimize)
            self._run.props("unelevated no-caps").classes("wide")
            self._stop = ui.button("Stop", icon="stop", on_click=self._page.stop)
            self._stop.props("outline no-caps").classes("wide")
        self._stand = ui.label().classes("quiet")

    def _build_strength(self, look: Look) -> None:
        self._auto = ui.switch("Choose the strength for each face", value=look.auto).props("dense size=sm")
        self._auto.on_value_change(lambda e: self._changed(auto=bool(e.value)))
        self._chosen = ui.label().classes("quiet chosen")
        alpha = look.step.alpha or 0.0
        self._alpha_label, self._alpha = slider("Strength (alpha)", -REACH, REACH, 0.1, alpha)
        self._alpha.on_value_change(lambda e: self._changed(alpha=round(float(e.value), 3)))
        self._alpha.on("change", self._page.session.history.settle)
        self._precision = ui.element("div").classes("stack")
        with self._precision:
            self._beta_label, self._beta = slider("Precision (beta)", 0.0, 1.0, 0.001, 0.0)
            self._beta.on_value_change(lambda e: self._changed(beta=round(float(e.value), 6)))
            self._beta.on("change", self._page.session.history.settle)
            with ui.row().classes("between"):
                self._channels = ui.label().classes("quiet")
                self._automatic = ui.switch("automatic", value=True).props("dense size=sm")
                self._automatic.on_value_change(lambda e: self._set_automatic(e.value))

    # What a person does.

    def _changed(self, **changes: Any) -> Awaitable[None] | None:
        """Hear of a control: a person moved it, unless it is being set here."""
        return None if self._setting else self._page.change(**changes)

    async def _suggest(self, sentence: str) -> None:
        await self._page.change(prompt=sentence)

    def _set_number(self, name: str, value: Any) -> Awaitable[None] | None:
        """Take a number that makes sense; others are being typed."""
        if self._setting or value is None:
            return None
        if name == "iterations":
            value = int(value)
            return self._changed(iterations=value) if 1 <= value <= _MOST_ITERATIONS else None
        return self._changed(lambda_id=float(value)) if 0 <= value <= 100 else None

    def _set_automatic(self, automatic: bool) -> Awaitable[None] | None:
        if self._setting:
            return None
        self._page.session.history.settle()
        edit = self._page.resolved.top
        chosen = edit.beta if isinstance(edit, Direction) else 0.1
        return self._changed(beta=None if automatic else float(f"{chosen:.9g}"))

    # What is said.

    def sync(self, look: Look) -> None:
        """Have the controls say what is wanted."""
        session, step, way = self._page.session, look.step, look.way
        reach = REACH_OF_OTHERS if way == "optimize" else session.edits.reach(step)
        with self._quietly():
            self._method.value = way
            if step.prompt is not None:
                self._prompt.value, self._neutral.value = step.prompt, step.neutral
            self._mapper.value = step.mapper or None
            names = {name: Path(name).stem for name in session.edits.directions}
            self._direction.set_options(names, value=step.direction if step.direction in names else None)
            self._alpha.reach(-reach, reach)
            self._alpha.value = step.alpha
            self._automatic.value = step.beta is None
            self._auto.value = look.auto
            usual = session.engine.optimize_settings
            self._iterations.value = look.optimize.iterations or usual.steps
            given = look.optimize.lambda_id
            self._lambda_id.value = usual.lambda_id if given is None else given
        self._alpha_label.text = "chosen" if look.auto else f"{step.alpha:g}"
        self._alpha.set_enabled(not look.auto)
        self._beta.set_enabled(step.beta is not None and not look.auto)
        self._automatic.set_enabled(not look.auto)
        self._auto.set_enabled(not look.kept)
        self._sentence.set_visibility(step.prompt is not None)
        self._mapper.set_visibility(way == "mapper")
        self._directions.set_visibility(way == "direction")
        self._precision.set_visibility(way == "global")
        self._optimizing.set_visibility(way == "optimize")
        self._auto.set_visibility(way in ("global", "mapper"))
        self._accept.set_visibility(way != "optimize")
        self._chosen.set_visibility(look.auto)

    def tell(self, resolved: Resolved) -> None:
        """Say what the edit on top came to."""
        edit, look = resolved.top, resolved.look
        if edit is not self._top:  # what was said of another one no longer holds
            self._top = edit
            self._warnings.show([])
            self._chosen.text = ""
        self._source.text = ""
        if isinstance(edit, Direction) and look.way == "direction":
            counts = f"; alpha counts {edit.unit}" if edit.unit else ""
            self._source.text = f"{edit.summary()}{counts}" if edit.source else f"found for “{edit.target}”"
        elif isinstance(edit, Direction):
            self._channels.text = f"{edit.num_channels} of {len(edit.delta)} channels change"
            self._beta.reach(0.0, math.floor(resolved.strongest * 1000) / 1000)
            with self._quietly():
                self._beta.value = edit.beta
            self._beta_label.text = "chosen" if look.auto else f"{edit.beta:.4g}"
        else:
            self._channels.text = ""
            self._beta_label.text = ""
        self._accept.set_enabled(edit is not None and (not look.auto or self._page.front is not None))
        self._tell_optimized(self._page.session.look)

    def _tell_optimized(self, look: Look) -> None:
        front = self._page.front
        found = None if front is None else front.optimized.get(front.key(look))
        if front is None:
            text = "Add a picture first."
        elif look.kept:
            text = "An optimization stands alone: remove the kept edits first."
        elif found is None:
            text = "It takes its time, and is made for the picture in front when you press Optimize."
        elif found.cut_short:
            text = f"Stopped after {found.cut_short} of {found.optimization.settings.steps} iterations."
        else:
            text = "Optimized; the strength scales the result."
        self._stand.text = text
        self._alpha.set_enabled(not look.auto and (look.method != "optimize" or found is not None))
        able = front is not None and bool(look.steps) and not look.kept and self._page.optimizing is None
        self._run.set_enabled(able and (found is None or found.cut_short is not None))

    def judge(self, result: EditResult) -> None:
        """Say what the job doubts, and what it chose."""
        self._warnings.show(result.edit_warnings)
        if not self._page.resolved.look.auto or not result.faces:
            return
        lines = []
        for place, face in enumerate(result.faces, start=1):
            parts = [f"alpha {face.alpha:g}"] if isinstance(face.alpha, float) else []
            parts += [f"beta {face.beta:.3g}"] if isinstance(face.beta, float) else []
            parts += [] if face.channels is None else [f"{face.channels} channels"]
            kept = None if face.scores is None else face.scores.identity
            parts += [] if kept is None else [f"identity {kept:.2f}"]
            lines.append((f"face {place}: " if len(result.faces) > 1 else "") + ", ".join(parts))
        self._chosen.text = "\n".join(lines)
        first = result.faces[0]
        if len(result.faces) == 1:
            with self._quietly():
                self._alpha.value = first.alpha
                self._beta.value = first.beta
            self._alpha_label.text = f"{first.alpha:g}"
            self._beta_label.text = f"{first.beta:.4g}" if isinstance(first.beta, float) else ""
            self._channels.text = ""

    def progress(self) -> None:
        """Say how far long steps are."""
        page = self._page
        busy = page.host.busy if page.optimizing is None else page.optimizing.busy
        running = page.optimizing is not None
        self._working.set_visibility(bool(busy.said) or running)
        self._said.text = busy.said or ("optimizing: beginning" if running else "")
        self._bar.value = busy.part or 0.0
        self._stop.set_visibility(running)
        self._run.set_visibility(not running)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Set controls without hearing of it as if a person had."""
        self._setting = True
        try:
            yield
        finally:
            self._setting = False

"""What a person wants of their pictures, and the way they came there: looks, and a history with undo.

A look is what `job.request.EditRequest` says of the edits, with the one on top that is still being tried.
This module imports nothing heavy.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from styleclip_cli.errors import UsageError, one_line
from styleclip_cli.job.region import Region
from styleclip_cli.job.request import EditRequest, OptimizeOptions
from styleclip_cli.recipe import WORDS, MethodName, Recipe, Step
from styleclip_cli.settings import DEFAULT_NEUTRAL, KEEP_IDENTITY, Inverter

RECIPE = "look.toml"
"""What a recipe is called when it is saved."""
_MOST_ENTRIES = 200
_OF_OPTIMIZATION = ("iterations", "lambda_id")
_OF_SENTENCES = ("prompt", "neutral", "beta")
_OF_FILES = ("mapper", "direction")
Way = MethodName | Literal["direction"]
"""How an edit is made, as the page offers it."""
# What a recipe says of one picture, and not of others.
_OF_ONE_PICTURE = ("sample", "fingerprint", "face", "align", "identity", "confidence", "version")


@dataclass(frozen=True)
class Look:
    """What is shown: the edits that were kept, in order, and the one that is being tried on top of them.

    Attributes:
        kept: One after the other.
        step: The one on top; its prompt, mapper or direction is empty for nothing yet.
        method: How that one is made.
        auto: Choose its strength and threshold for each face; only where no other edit was kept.
        optimize: Settings of an optimization.
        only: Parts of the face that may change; none for all.
    """

    kept: tuple[Step, ...] = ()
    step: Step = field(default_factory=lambda: Step(prompt="", neutral=DEFAULT_NEUTRAL, alpha=4.0))
    method: MethodName = "global"
    auto: bool = False
    optimize: OptimizeOptions = field(default_factory=OptimizeOptions)
    only: tuple[str, ...] = ()

    @property
    def way(self) -> Way:
        """The method, or "direction" for a direction from a file."""
        return self.method if self.step.direction is None else "direction"

    @property
    def steps(self) -> tuple[Step, ...]:
        """All edits; the last one only if it says something."""
        return (*self.kept, self.step) if title_of(self.step) else self.kept

    def request(
        self, inverter: Inverter | None = None, face: str = "largest", align: bool = True
    ) -> EditRequest:
        """What the job is asked for.

        Args:
            inverter: How photos are inverted; None for the pack's way.
            face: Which face of a photo.
            align: Whether faces are looked for.

        Returns:
            The request; without steps, and with no metadata, if nothing is wanted yet.
        """
        plain = EditRequest(inverter=inverter, face=face, align=align, region=Region(self.only))
        if not self.steps:
            return replace(plain, alphas=(1.0,), metadata=False)
        request = plain.of_steps(self.steps)
        if self.method == "optimize" and len(self.steps) == 1:
            request = replace(request, method="optimize", optimize=self.optimize)
        if self.auto:
            request = replace(request, alphas=(), keep_identity=KEEP_IDENTITY)
        return request

    def changed(self, changes: Mapping[str, Any]) -> Look:
        """The same with something changed.

        Args:
            changes: New values: method, auto, only, attributes of the step, iterations and lambda_id.

        Raises:
            UsageError: If one makes no sense.
        """
        now, step = self, self.step
        if "method" in changes and changes["method"] != self.way:
            way: Way = changes["method"]
            method: MethodName = "global" if way == "direction" else way
            now = replace(self, method=method, auto=self.auto and way not in ("optimize", "direction"))
            step = beginning(way, step.alpha, step.prompt or "", step.neutral)
        ways = [name for name in _OF_FILES if getattr(step, name) is not None] or _OF_SENTENCES
        names = (*ways, "alpha")
        try:
            step = replace(step, **{name: value for name, value in changes.items() if name in names})
        except ValueError as error:
            raise UsageError(one_line(error)) from None
        own = {name: value for name, value in changes.items() if name in _OF_OPTIMIZATION}
        optimize = replace(self.optimize, **own)
        optimize.check()
        auto = bool(changes.get("auto", now.auto)) and not self.kept and step.direction is None
        if auto and step.beta is not None:
            step = replace(step, beta=None)
        only = tuple(changes.get("only", now.only))
        return replace(now, step=step, optimize=optimize, auto=auto, only=only)


def beginning(way: Way, alpha: float | None, prompt: str = "", neutral: str | None = None) -> Step:
    """An edit that says nothing yet, but perhaps a sentence."""
    if way == "mapper":
        return Step(mapper="", alpha=alpha)
    if way == "direction":
        return Step(direction="", alpha=alpha)
    return Step(prompt=prompt, neutral=DEFAULT_NEUTRAL if neutral is None else neutral, alpha=alpha)


def title_of(step: Step) -> str:
    """What a step is about, in a few words; empty for nothing yet."""
    text = next(one for one in (step.prompt, step.mapper, step.words) if one is not None)
    return " ".join((text or "").split())


@dataclass(frozen=True)
class Entry:
    """A line of the history.

    Attributes:
        label: What was done.
        look: What came of it.
    """

    label: str
    look: Look


class History:
    """Looks, one after the other, with a place in them.

    Moves of one slider follow each other quickly: they are one line until `settle` is called, or something
    else is changed.

    Args:
        look: The first one.

    Attributes:
        entries: From the oldest on.
        place: Which of them is shown.
    """

    def __init__(self, look: Look) -> None:
        self.entries = [Entry("start", look)]
        self.place = 0
        self._moving: frozenset[str] | None = None

    @property
    def look(self) -> Look:
        """The one that is shown."""
        return self.entries[self.place].look

    @property
    def can_undo(self) -> bool:
        """Whether there is one before it."""
        return self.place > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is one after it."""
        return self.place < len(self.entries) - 1

    def change(self, changes: Mapping[str, Any]) -> bool:
        """Change the look.

        Args:
            changes: As `Look.changed` takes them.

        Returns:
            Whether anything is different now.

        Raises:
            UsageError: If one makes no sense.
        """
        look = self.look.changed(changes)
        if look == self.look:
            return False
        what = frozenset(changes)
        self._move(Entry(_label(look, what), look), what)
        return True

    def _move(self, entry: Entry, what: frozenset[str]) -> None:
        """Add a line, or write over the one of the same slider's last move."""
        if what == self._moving and not self.can_redo:
            self.entries[self.place] = entry
        else:
            self._add(entry)
        self._moving = what

    def settle(self) -> None:
        """The next change is a line of its own, even one of the same thing."""
        self._moving = None

    def keep(self, following: Look) -> bool:
        """Keep the edit on top, and begin another one.

        Args:
            following: The look that has it among the kept ones.

        Returns:
            Whether there was one to keep.
        """
        title = title_of(self.look.step)
        if title:
            self._add(Entry(f"kept {title}", following))
        return bool(title)

    def remove(self, index: int) -> None:
        """Take one of the kept edits away."""
        kept = self.look.kept
        rest = (*kept[:index], *kept[index + 1 :])
        self._add(Entry(f"removed {title_of(kept[index])}", replace(self.look, kept=rest)))

    def alter(self, index: int, alpha: float) -> bool:
        """Give one of the kept edits another strength; returns whether it had another one.

        Moves that follow each other are one line, as in `change`.
        """
        kept = list(self.look.kept)
        if kept[index].alpha == alpha:
            return False
        kept[index] = replace(kept[index], alpha=alpha)
        label = f"{title_of(kept[index])}: alpha {alpha:g}"
        self._move(Entry(label, replace(self.look, kept=tuple(kept))), frozenset({"kept", str(index)}))
        return True

    def go(self, place: int) -> bool:
        """Show another one of the looks.

        Returns:
            Whether there is one at that place, and it was not shown before.
        """
        if place == self.place or not 0 <= place < len(self.entries):
            return False
        self.place = place
        self.settle()
        return True

    def _add(self, entry: Entry) -> None:
        self.entries = [*self.entries[: self.place + 1], entry][-_MOST_ENTRIES:]
        self.place = len(self.entries) - 1
        self.settle()


def _label(look: Look, what: frozenset[str]) -> str:
    step = look.step
    if what == {"alpha"}:
        return f"alpha {step.alpha:g}"
    if what == {"beta"}:
        return "beta automatic" if step.beta is None else f"beta {step.beta:g}"
    if what == {"neutral"}:
        return f"instead of {' '.join((step.neutral or '').split())}"
    if what == {"auto"}:
        return "strength chosen for each face" if look.auto else "strength set by hand"
    if what == {"only"}:
        return f"only {', '.join(look.only)}" if look.only else "anywhere"
    if what == {"iterations"}:
        return f"{look.optimize.iterations} iterations"
    if what == {"lambda_id"}:
        return f"lambda-id {look.optimize.lambda_id:g}"
    if "method" in what and "direction" not in what:
        return "saved direction" if look.way == "direction" else WORDS[look.method]
    title = title_of(step) or "nothing"
    return f"optimize {title}" if look.method == "optimize" and title_of(step) else title


def command_line(inputs: Sequence[str], models: str, request: EditRequest) -> str:
    """The command that makes the same pictures, quoted for a shell.

    Mappers have no place among other edits there: it names the recipe then, as `RECIPE`.

    Args:
        inputs: Files and seeds.
        models: The pack.
        request: What is asked for.
    """
    steps, words = request.steps, ["styleclip", "edit", *inputs, "--models", models]
    if len(steps) > 1 and any(step.mapper is not None for step in steps):
        words += ["--recipe", RECIPE]
    else:
        words += ["--method", "optimize"] if request.method == "optimize" else []
        # Of several prompts, each says what it needs or none does.
        spoken = {name for step in steps for name in step.entries()}
        for step in steps:
            automatic = step.prompt is not None and step.beta is None and "beta" in spoken
            entries = _entries(step) | ({"beta": "auto"} if automatic else {})
            if request.auto:
                del entries["alpha"]
            for name, value in entries.items():
                words += [f"--{name}", value if isinstance(value, str) else f"{value:.9g}"]
        words += ["--auto"] if request.auto else []
    words += _options(request)
    return " ".join(map(shlex.quote, words))


def _options(request: EditRequest) -> list[str]:
    """Options of an optimization, of a region, and those for photos."""
    words = []
    if request.method == "optimize":
        for name in _OF_OPTIMIZATION:
            value = getattr(request.optimize, name)
            words += [] if value is None else [f"--{name.replace('_', '-')}", f"{value:.9g}"]
    region = request.region.entries()
    words += [word for name, value in region.items() if value for word in (f"--{name}", value)]
    words += ["--face", request.face] if request.face != "largest" else []
    words += [] if request.align else ["--no-align"]
    return words + (["--inverter", request.inverter] if request.inverter is not None else [])


def recipe_text(models: str, request: EditRequest) -> str:
    """A recipe in TOML that makes the same of other pictures, for `styleclip edit --recipe`.

    Args:
        models: The pack.
        request: What is asked for: sentences, directions and mappers with their strengths.
    """
    import tomli_w

    tables = [{name: _rounded(value) for name, value in _entries(step).items()} for step in request.steps]
    more = {"inverter": request.inverter, **request.region.entries()}
    more = {name: value for name, value in more.items() if value is not None}
    return tomli_w.dumps({"models": models, **more, **({"edit": tables} if tables else {})})


def recipe_of_result(models: str, recipe: Recipe) -> str:
    """The same, from what was chosen or optimized for one picture.

    Args:
        models: The pack.
        recipe: Of that picture.
    """
    import tomli_w

    entries = {name: value for name, value in recipe.entries().items() if name not in _OF_ONE_PICTURE}
    return tomli_w.dumps(entries | {"models": models})


def _entries(step: Step) -> dict[str, Any]:
    """What a step says, in the order in which it is read: what, then how strongly."""
    entries = step.entries()
    return {
        name: entries.pop(name) for name in ("prompt", "neutral", "mapper", "direction") if name in entries
    } | entries


def _rounded(value: Any) -> Any:
    return float(f"{value:.9g}") if isinstance(value, float) else value

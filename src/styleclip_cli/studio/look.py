"""What a person wants of their pictures, and the way they came there: wishes, looks, a history with undo.

This module imports nothing heavy.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from styleclip_cli.settings import DEFAULT_NEUTRAL

Method = Literal["global", "mapper"]
RECIPE = "look.toml"
"""What a recipe is called when it is saved."""
_MOST_ENTRIES = 200


@dataclass(frozen=True)
class Wish:
    """One edit, as a person words it.

    Attributes:
        method: "global": a sentence's direction; "mapper": a trained mapper.
        prompt: What faces should become; empty for nothing yet.
        neutral: What they are now.
        mapper: Name of the mapper; empty for none yet.
        alpha: Strength.
        beta: Smallest relevance of a channel that takes part; None chooses it.
    """

    method: Method = "global"
    prompt: str = ""
    neutral: str = DEFAULT_NEUTRAL
    mapper: str = ""
    alpha: float = 4.0
    beta: float | None = None

    @property
    def title(self) -> str:
        """What is wished for, in a few words; empty for nothing yet."""
        return self.mapper if self.method == "mapper" else " ".join(self.prompt.split())

    def entries(self) -> dict[str, Any]:
        """The options of `styleclip edit` that say the same, by name, in order."""
        if self.method == "mapper":
            return {"mapper": self.mapper, "alpha": self.alpha}
        entries: dict[str, Any] = {"prompt": self.prompt, "neutral": self.neutral, "alpha": self.alpha}
        return entries if self.beta is None else {**entries, "beta": self.beta}


@dataclass(frozen=True)
class Look:
    """What is shown: the edits that were kept, in order, and the one that is being tried.

    Attributes:
        kept: One after the other.
        wish: The one on top of them.
    """

    kept: tuple[Wish, ...] = ()
    wish: Wish = Wish()

    @property
    def steps(self) -> tuple[Wish, ...]:
        """All of them; the last one only if it says something."""
        return (*self.kept, self.wish) if self.wish.title else self.kept


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
        """Change the wish.

        Args:
            changes: New values by name of the attribute.

        Returns:
            Whether anything is different now.
        """
        wish = replace(self.look.wish, **changes)
        if wish == self.look.wish:
            return False
        what = frozenset(changes)
        entry = Entry(_label(wish, what), replace(self.look, wish=wish))
        if what == self._moving and not self.can_redo:
            self.entries[self.place] = entry
        else:
            self._add(entry)
        self._moving = what
        return True

    def settle(self) -> None:
        """The next change is a line of its own, even one of the same thing."""
        self._moving = None

    def keep(self, following: Wish) -> bool:
        """Keep the wish, and begin another one.

        Args:
            following: The one to begin.

        Returns:
            Whether there was one to keep.
        """
        look = self.look
        if not look.wish.title:
            return False
        self._add(Entry(f"kept {look.wish.title}", Look(look.steps, following)))
        return True

    def remove(self, index: int) -> None:
        """Take one of the kept edits away."""
        kept = self.look.kept
        rest = (*kept[:index], *kept[index + 1 :])
        self._add(Entry(f"removed {kept[index].title}", replace(self.look, kept=rest)))

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


def _label(wish: Wish, what: frozenset[str]) -> str:
    if what == {"alpha"}:
        return f"alpha {wish.alpha:g}"
    if what == {"beta"}:
        return "beta automatic" if wish.beta is None else f"beta {wish.beta:g}"
    if what == {"neutral"}:
        return f"instead of {' '.join(wish.neutral.split())}"
    return wish.title or "nothing"


def command_line(
    inputs: Sequence[str], models: str, steps: Sequence[Wish], more: Mapping[str, str] | None = None
) -> str:
    """The command that makes the same pictures, quoted for a shell.

    Mappers have no place among other edits there: it names the recipe then, as `RECIPE`.

    Args:
        inputs: Files and seeds.
        models: The pack.
        steps: Edits, in order.
        more: Other options.
    """
    words = ["styleclip", "edit", *inputs, "--models", models]
    if len(steps) > 1 and any(step.method == "mapper" for step in steps):
        words += ["--recipe", RECIPE]
    else:
        # Of several prompts, each says what it needs or none does.
        spoken = {name for step in steps for name in step.entries()}
        for step in steps:
            entries = step.entries() | ({"beta": "auto"} if step.beta is None and "beta" in spoken else {})
            for name, value in entries.items():
                words += [f"--{name}", value if isinstance(value, str) else f"{value:.9g}"]
    for name, value in (more or {}).items():
        words += [f"--{name}", value]
    return " ".join(map(shlex.quote, words))


def recipe_text(models: str, steps: Sequence[Wish], more: Mapping[str, str] | None = None) -> str:
    """The same as a recipe in TOML, for `styleclip edit --recipe`."""
    import tomli_w

    tables = [{name: _rounded(value) for name, value in step.entries().items()} for step in steps]
    return tomli_w.dumps({"models": models, **(more or {}), **({"edit": tables} if tables else {})})


def _rounded(value: Any) -> Any:
    return float(f"{value:.9g}") if isinstance(value, float) else value

"""The region that edits stay in, as it is asked for. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from styleclip_cli.settings import PART_WORDS

IN_MEMORY = "mask.png"
"""What recipes call a mask that is no file."""


@dataclass(frozen=True)
class Region:
    """Where edits may change an image; both limits hold where both are given. False if there is none.

    Attributes:
        only: Parts of the face, words of `settings.PART_WORDS`.
        mask: A file, or an image in memory: white, or opaque, where something may change.
    """

    only: tuple[str, ...] = ()
    mask: Any = None

    def __bool__(self) -> bool:
        return bool(self.only) or self.mask is not None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts, as parsers name them."""
        return tuple(dict.fromkeys(part for word in self.only for part in PART_WORDS[word]))

    def entries(self) -> dict[str, str | None]:
        """Its entries in a recipe: of a mask only its name, as where it lies is nobody's business."""
        name = None
        if self.mask is not None:
            name = self.mask.name if isinstance(self.mask, Path) else IN_MEMORY
        return {"only": ", ".join(self.only) or None, "mask": name}

"""Several edits, one after the other, each at its own strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from styleclip_cli.edits.edit import Edit
from styleclip_cli.inversion import FaceLatent


@dataclass(frozen=True, eq=False)
class Chain:
    """Edits in order. Steps in style space add up; what moves W+ sees the face as the steps before left it.

    Attributes:
        steps: Edits, each with its strength.
    """

    steps: tuple[tuple[Edit, float], ...]

    @property
    def target(self) -> str:
        """Where all of them lead."""
        return ", then ".join(edit.target for edit, _ in self.steps)

    @property
    def neutral(self) -> str:
        """Where they start."""
        return ", ".join(dict.fromkeys(edit.neutral for edit, _ in self.steps if edit.neutral))

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Edit faces by all steps.

        Args:
            face: One face, or several joined.
            alphas: What the strengths of all steps are multiplied by.

        Returns:
            The face at each.
        """
        results = []
        for factor in alphas:
            now = face
            for edit, alpha in self.steps:
                (now,) = edit.edited(now, [alpha * factor])
            results.append(now)
        return results

    def entries(self) -> Mapping[str, Any]:
        """What a recipe says of it: nothing as a whole, its steps say it."""
        return {}

    def summary(self) -> str:
        """Each step's strength."""
        return "; ".join(f"{edit.target} {alpha:g} ({edit.summary()})" for edit, alpha in self.steps)

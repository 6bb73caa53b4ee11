"""Several edits, applied one after another, each at its own strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from styleclip_cli.edits.edit import Edit
from styleclip_cli.inversion import FaceLatent


@dataclass(frozen=True, eq=False)
class Chain:
    """Edits in order. Offsets in style space add up; edits of W+ start from the result of the edits before.

    Attributes:
        steps: Edits, each with its strength.
    """

    steps: tuple[tuple[Edit, float], ...]

    @property
    def target(self) -> str:
        """The target texts of all edits."""
        return ", then ".join(edit.target for edit, _ in self.steps)

    @property
    def neutral(self) -> str:
        """The neutral texts of all edits."""
        return ", ".join(dict.fromkeys(edit.neutral for edit, _ in self.steps if edit.neutral))

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Edit faces by all steps.

        Args:
            face: One face, or several joined.
            alphas: Factors of the strengths of all steps.

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
        """Its entries in a recipe: none, as each step has its own."""
        return {}

    def summary(self) -> str:
        """The strength of each step."""
        return "; ".join(f"{edit.target} {alpha:g} ({edit.summary()})" for edit, alpha in self.steps)

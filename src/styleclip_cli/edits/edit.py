"""What all methods have in common: a face and strengths in, edited faces out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from styleclip_cli.inversion import Inversion


class Edit(Protocol):
    """One edit, by whichever method.

    Attributes:
        target: What it leads to.
        neutral: What it starts from.
    """

    @property
    def target(self) -> str: ...  # noqa: D102

    @property
    def neutral(self) -> str: ...  # noqa: D102

    def edited(self, face: Inversion, alphas: Sequence[float]) -> list[Inversion]:
        """Edit faces.

        Args:
            face: One face, or several joined.
            alphas: Strengths; 0 leaves the face as it is, negative ones lead the other way.

        Returns:
            The face at each strength.
        """

    def entries(self) -> Mapping[str, Any]:
        """What a recipe says of it beside the texts (see `Recipe`)."""

    def summary(self) -> str:
        """The same in a few words, for the line that tells of a result."""

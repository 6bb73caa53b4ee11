"""What all methods have in common: a face and strengths in, edited faces out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from styleclip_cli.inversion import FaceLatent


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

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
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
        """The same in a few words, for the line about a result."""


def edited_each(
    edit: Edit,
    faces: Sequence[FaceLatent],
    alphas: Sequence[float],
    stopped: Callable[[], bool] = lambda: False,
) -> list[list[FaceLatent] | None]:
    """Edit faces, together those that have no generator of their own.

    Args:
        edit: The edit.
        faces: One after the other, each a single one.
        alphas: Strengths.
        stopped: Asked before each round of work whether to leave the rest undone.

    Returns:
        Each face at each strength; None for those that were left undone.
    """
    alone = [[i] for i, face in enumerate(faces) if face.weight_deltas]
    joint = [i for i, face in enumerate(faces) if not face.weight_deltas]
    results: list[list[FaceLatent] | None] = [None] * len(faces)
    for group in ([joint] if joint else []) + alone:
        if stopped():
            break
        moved = edit.edited(FaceLatent.joined([faces[i] for i in group]), alphas)
        for i, *each in zip(group, *(at_alpha.split() for at_alpha in moved), strict=True):
            results[i] = each
    return results

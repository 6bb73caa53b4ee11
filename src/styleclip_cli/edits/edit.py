"""The interface of all methods: a face and strengths in, edited faces out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from styleclip_cli.inversion import FaceLatent


class Edit(Protocol):
    """An edit by any method.

    Attributes:
        target: The target text.
        neutral: The neutral text.
    """

    @property
    def target(self) -> str: ...  # noqa: D102

    @property
    def neutral(self) -> str: ...  # noqa: D102

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Edit faces.

        Args:
            face: One face, or several joined.
            alphas: Strengths; 0 leaves the face unchanged, negative ones reverse the edit.

        Returns:
            The face at each strength.
        """

    def entries(self) -> Mapping[str, Any]:
        """Its entries in a recipe, except the texts (see `Recipe`)."""

    def summary(self) -> str:
        """A short form of the same, for the line of a result."""


def edited_each(
    edit: Edit,
    faces: Sequence[FaceLatent],
    alphas: Sequence[float],
    stopped: Callable[[], bool] = lambda: False,
) -> list[list[FaceLatent] | None]:
    """Edit faces, in one batch but for those that stand alone.

    Args:
        edit: The edit.
        faces: Single faces.
        alphas: Strengths.
        stopped: Called before each round of work; tells whether to stop.

    Returns:
        Each face at each strength; None for those that were not edited.
    """
    alone = [[i] for i, face in enumerate(faces) if face.alone]
    joint = [i for i, face in enumerate(faces) if not face.alone]
    results: list[list[FaceLatent] | None] = [None] * len(faces)
    for group in ([joint] if joint else []) + alone:
        if stopped():
            break
        moved = edit.edited(FaceLatent.joined([faces[i] for i in group]), alphas)
        for i, *each in zip(group, *(at_alpha.split() for at_alpha in moved), strict=True):
            results[i] = each
    return results

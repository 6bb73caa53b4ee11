"""Scores of an edit: its progress in CLIP space, and the identity that it keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.edit import Edit
from styleclip_cli.errors import UsageError

if TYPE_CHECKING:
    from styleclip_cli.edits.judge import Judge


@dataclass(frozen=True)
class Scores:
    """Scores of an edit, from the images of a face before and after.

    Attributes:
        similarity: Directional CLIP similarity: cosine between the direction from the image before to the
            one after, and that from the neutral to the target text (StyleGAN-NADA's measure); None where
            the edit has no texts.
        progress: How far the embedding moved along the text direction in CLIP space (both ends are on the
            unit sphere: at most 2); None as above.
        identity: Cosine of the identity network's embeddings before and after; None without one.
    """

    similarity: float | None
    progress: float | None
    identity: float | None

    def entries(self) -> dict[str, float | None]:
        """As plain values of four digits."""
        return {k: None if v is None else round(v, 4) for k, v in asdict(self).items()}


def clip_direction(judge: Judge, edit: Edit) -> Tensor | None:
    """The direction in CLIP space that an edit follows; of several in order, the mean of theirs.

    Args:
        judge: Embeds the edit's texts.
        edit: The edit.

    Returns:
        [D] of unit length; None if the edit has no texts that CLIP tells apart.
    """
    if isinstance(edit, Chain):
        directions = [(clip_direction(judge, step), alpha) for step, alpha in edit.steps]
        signed = [one if alpha > 0 else -one for one, alpha in directions if one is not None and alpha != 0]
        if not signed:
            return None
        whole = torch.stack(signed).sum(dim=0)
        length = float(whole.norm())
        return whole / length if length > 0 else None
    if not edit.target or not edit.neutral:
        return None
    try:
        return judge.text_direction(edit.target, edit.neutral)
    except UsageError:  # CLIP sees no difference
        return None


def similarity_and_progress(before: Tensor, after: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Directional similarity and progress of embeddings along a direction.

    Args:
        before: CLIP's embeddings of the images before, [N, D] of unit length.
        after: Those after, [N, D].
        direction: [D], unit length.

    Returns:
        Directional CLIP similarity (Gal et al. 2022, StyleGAN-NADA) [N] in [-1, 1], and progress [N] in
        [-2, 2].
    """
    change = after - before
    progress = change @ direction
    return progress / change.norm(dim=1).clamp_min(1e-9), progress


def scores(
    judge: Judge, before: Tensor, after: Tensor, direction: Tensor | None, sign: float = 1
) -> list[Scores]:
    """Score edits.

    Args:
        judge: Embeds the images.
        before: Images [N, 3, H, W] in [-1, 1], as the generator renders the faces.
        after: The same faces after the edit, [N, 3, H, W].
        direction: The edit's direction in CLIP space, [D] (`clip_direction`); None for none.
        sign: -1 for a negative strength, which reverses the edit.

    Returns:
        One for each face.
    """
    similar: list[float | None] = [None] * len(after)
    far: list[float | None] = [None] * len(after)
    if direction is not None:
        signed = direction * (-1 if sign < 0 else 1)
        embeddings = judge.clip_embeddings(before), judge.clip_embeddings(after)
        cosine, progress = similarity_and_progress(*embeddings, signed)
        similar, far = list(cosine.tolist()), list(progress.tolist())
    same: list[float | None] = [None] * len(after)
    faces = judge.identity_embeddings(before), judge.identity_embeddings(after)
    if faces[0] is not None and faces[1] is not None:
        same = list((faces[0] * faces[1]).sum(dim=1).tolist())
    return [Scores(*each) for each in zip(similar, far, same, strict=True)]

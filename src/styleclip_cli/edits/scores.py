"""How far an edit came, and what it kept: as CLIP and the identity network see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.edit import Edit
from styleclip_cli.errors import UsageError

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

_BATCH = 16


@dataclass(frozen=True)
class Scores:
    """What two pictures of a face say of the edit between them.

    Attributes:
        similarity: Directional CLIP similarity: cosine between the way from the picture before to the one
            after, and the way from the neutral to the target text (StyleGAN-NADA's measure); None where the
            edit has no texts.
        progress: How far the picture went along the text's way, in CLIP space (a chord of the unit sphere,
            0 to 2); None as above.
        identity: Cosine of the identity network's embeddings before and after; None without one.
    """

    similarity: float | None
    progress: float | None
    identity: float | None

    def entries(self) -> dict[str, float | None]:
        """As plain values of four digits."""
        return {k: None if v is None else round(v, 4) for k, v in asdict(self).items()}


def way_of(engine: Engine, edit: Edit) -> Tensor | None:
    """An edit's way in CLIP space, [D] of unit length; None if it has no texts that CLIP tells apart."""
    if isinstance(edit, Chain):
        ways = [(way_of(engine, step), alpha) for step, alpha in edit.steps]
        signed = [way if alpha > 0 else -way for way, alpha in ways if way is not None and alpha != 0]
        if not signed:
            return None
        whole = torch.stack(signed).sum(dim=0)
        length = float(whole.norm())
        return whole / length if length > 0 else None
    if not edit.target or not edit.neutral:
        return None
    try:
        return engine.way(edit.target, edit.neutral)
    except UsageError:  # CLIP sees no difference
        return None


@torch.inference_mode()
def seen_by_clip(engine: Engine, pictures: Tensor) -> Tensor:
    """Unit embeddings [N, D], on the CPU, of pictures [N, 3, H, W] in [-1, 1]."""
    return torch.cat([engine.clip.encode_image(p.clamp(-1, 1)).cpu() for p in pictures.split(_BATCH)])


@torch.inference_mode()
def seen_by_identity(engine: Engine, pictures: Tensor) -> Tensor | None:
    """Unit face embeddings [N, D], on the CPU; None if the pack has no identity network."""
    if not engine.has_identity:
        return None
    parts = pictures.clamp(-1, 1).split(_BATCH)
    return torch.cat([engine.identity.embed(part.to(engine.device)).cpu() for part in parts])


def similarity_and_progress(before: Tensor, after: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
    """Directional CLIP similarity [N], and progress [N], of embeddings [N, D]."""
    change = after - before
    progress = change @ way
    return progress / change.norm(dim=1).clamp_min(1e-9), progress


def scores(
    engine: Engine, before: Tensor, after: Tensor, way: Tensor | None, sign: float = 1
) -> list[Scores]:
    """Score edits.

    Args:
        engine: Whose CLIP and identity network look.
        before: Pictures [N, 3, H, W] in [-1, 1], as the generator draws the faces.
        after: The same faces after the edit, [N, 3, H, W].
        way: The edit's way in CLIP space; None for none.
        sign: -1 for a negative strength, which leads the other way.
    """
    similar: list[float | None] = [None] * len(after)
    far: list[float | None] = [None] * len(after)
    if way is not None:
        seen = [seen_by_clip(engine, pictures) for pictures in (before, after)]
        cosine, progress = similarity_and_progress(seen[0], seen[1], way * (-1 if sign < 0 else 1))
        similar, far = list(cosine.tolist()), list(progress.tolist())
    same: list[float | None] = [None] * len(after)
    faces = [seen_by_identity(engine, pictures) for pictures in (before, after)]
    if faces[0] is not None and faces[1] is not None:
        same = list((faces[0] * faces[1]).sum(dim=1).tolist())
    return [Scores(*each) for each in zip(similar, far, same, strict=True)]

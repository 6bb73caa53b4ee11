"""What a run doubts, and says: sentences that a model pack hardly knows, photos that it cannot draw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.confidence import UNSURE, similar_sentence
from styleclip_cli.edits.directions import Direction
from styleclip_cli.errors import BadInputError, shortened
from styleclip_cli.photo.portrait import likeness
from styleclip_cli.photo.regions import parts_of, region, share_inside

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.edits.edit import Edit
    from styleclip_cli.edits.scores import Scores
    from styleclip_cli.photo.portrait import AlignedCrop
    from styleclip_cli.weights.packs import Pack

INSIDE = 0.2
"""Share of the change that at least lies in the part of the face that a sentence names. Of 648 edits of drawn
faces by sentences that the toy pack knows, one had less; of "with blue lipstick", which it does not, all."""


def _directions(edits: Sequence[Edit]) -> Iterator[Direction]:
    """The directions of which it is known how surely they are understood."""
    for edit in edits[:1]:  # others differ in their thresholds alone
        yield from (one for one in _parts(edit) if one.confidence is not None)


def _parts(edit: Edit) -> list[Direction]:
    """The directions among an edit's steps."""
    steps = [step for step, _ in edit.steps] if isinstance(edit, Chain) else [edit]
    return [step for step in steps if isinstance(step, Direction)]


def confidence_of(edits: Sequence[Edit]) -> float | None:
    """How surely a pack understands an edit: the least of its sentences; None where that is not known."""
    return min((one.confidence for one in _directions(edits) if one.confidence is not None), default=None)


def doubts(edits: Sequence[Edit], pack: Pack) -> list[str]:
    """What may be wrong with an edit, a sentence each.

    Args:
        edits: Of one request.
        pack: Whose networks are to understand it.
    """
    return [f"{doubt}: the result may show anything; {hint}" for doubt, hint in _doubted(edits, pack)]


def refuse_doubtful(edits: Sequence[Edit], pack: Pack) -> None:
    """Refuse an edit by a sentence that the pack hardly knows (--strict).

    Raises:
        BadInputError: If there is one.
    """
    for doubt, hint in _doubted(edits, pack):
        raise BadInputError(doubt, hint)


def _doubted(edits: Sequence[Edit], pack: Pack) -> Iterator[tuple[str, str]]:
    """Sentences that the pack hardly knows: what is said of each, and what to try."""
    for one in _directions(edits):
        if one.confidence is not None and one.confidence < UNSURE:
            said = f'"{shortened(one.target, 60)}" (confidence {one.confidence:.2f})'
            yield f"{pack.name} hardly knows {said}", _instead(one, pack)


def other_faces(portrait: AlignedCrop) -> list[str]:
    """Which of several faces is edited, where nobody chose one.

    Args:
        portrait: The largest.
    """
    if portrait.count < 2:
        return []
    return [
        f"{portrait.count} faces were found; the largest, number {portrait.number} from the left, is edited; "
        "--face NUMBER or all chooses (--preview FILE numbers them)"
    ]


def on_its_side(portrait: AlignedCrop) -> list[str]:
    """Whether a face does not stand upright in its photo, as where the camera did not note how it was held.

    Args:
        portrait: The face.
    """
    east = portrait.quad[3] - portrait.quad[0]
    if east[0] > abs(east[1]) / math.sqrt(3):  # turned by less than 60 degrees
        return []
    return [
        "the face lies on its side or upside down: it is edited as it lies; turn the photo if it should stand"
    ]


def unlike(crop: Tensor, before: Tensor, pack: Pack) -> list[str]:
    """Whether a photo's face is none that a pack can draw.

    Args:
        crop: The face, [3, R, R] in [-1, 1].
        before: The generator's image of its latent.
        pack: Whose generator it is.
    """
    if pack.floor is None or not pack.subject:
        return []
    close = likeness(crop, before)
    if close >= pack.floor:
        return []
    return [
        f"{pack.name} knows {pack.subject}, and what it draws for this face hardly looks like it (likeness "
        f"{close:.2f} of 1): it may be something else, such as a photograph"
    ]


def after_edit(
    edit: Edit,
    measured: Sequence[Scores],
    after: Sequence[Tensor],
    before: Sequence[Tensor],
    crops: Sequence[AlignedCrop | None],
    pack: Pack,
) -> list[str]:
    """What the images of edited faces tell against an edit: one sentence for the first such face.

    Args:
        edit: The edit.
        measured: The scores of each face.
        after: Its image after the edit, [3, R, R] in [-1, 1].
        before: Its image before.
        crops: Where each is in its photo; None for faces that are in none.
        pack: Says below which identity and progress an edit is doubted.
    """
    for number, (scores, *images, crop) in enumerate(zip(measured, after, before, crops, strict=True), 1):
        lost = []
        if scores.identity is not None and scores.identity < pack.identity_floor:
            lost.append(f"hardly the same person any more (identity {scores.identity:.2f})")
        # What is not a sentence's may act anywhere, whatever its file is called.
        parts = () if any(one.source for one in _parts(edit)) else parts_of(edit.target)
        if parts and crop is not None and crop.points is not None:
            mask = region(crop.points, crop.quad, parts, images[0].shape[-1])
            inside = share_inside(images[1], images[0], mask)
            if inside < INSIDE:
                lost.append(
                    f"{1 - inside:.0%} of the change is elsewhere than at the {' and '.join(sorted(parts))}"
                )
        hint = "try a smaller alpha, fewer channels (a higher beta), or auto"
        if scores.progress is not None and scores.progress < pack.progress_floor:
            hint = hint if lost else "the face may show it already; else try a larger alpha, or other words"
            lost.append(f'no progress toward "{shortened(edit.target, 60)}" ({max(scores.progress, 0):.2f})')
        if lost:
            face = f"face {number}: " if len(measured) > 1 else ""
            return [f"{face}{'; '.join(lost)}: {hint}"]
    return []


def _instead(one: Direction, pack: Pack) -> str:
    similar = similar_sentence(one.target, one.neutral, pack.words)
    if similar is not None:
        return f'did you mean "{similar}"?'
    return "other words" + (f", or one of: styleclip models words {pack.name}" if pack.words else "")

"""Choose strength and threshold for each face: the smallest strength that completes the edit.

For each candidate (the same prompt with few style channels and with many) the strength is raised step by
step. The criterion is the progress of the image along the text direction in CLIP space (`Scores.progress`):
it rises, and levels off where the edit is complete; beyond that, only other attributes change. The smallest
strength that reaches 95 % of the largest progress with the identity kept is taken. Among the candidates that
reach at least 80 % of the best one's progress, the one with the highest directional similarity is taken.

The two shares and the steps were set on the toy world's first 30 faces per prompt; `benchmarks/auto.py`
evaluates them on other faces, by a judge that is not CLIP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from styleclip_cli.edits.edit import Edit, edited_each
from styleclip_cli.edits.scores import Scores, clip_direction, similarity_and_progress
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.settings import KEEP_IDENTITY

if TYPE_CHECKING:
    from styleclip_cli.edits.judge import Judge
    from styleclip_cli.renderer import Renderer

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)
"""Steps, in units of the default strength."""
COMPLETE = 0.95
"""Fraction of a candidate's largest progress at which its edit is complete."""
COMPARABLE = 0.8
"""Fraction of the best candidate's progress that another needs to be compared with it."""
NO_PROGRESS = 0.05
"""Less progress than this is none: no edit of the toy world that was wanted made so little."""
_PATIENCE = 2
"""Steps without a gain after which a sweep ends."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The edit and strength chosen for one face.

    Attributes:
        edit: The chosen candidate.
        alpha: Strength.
        edited: The edited face.
        scores: Its scores.
    """

    edit: Edit
    alpha: float
    edited: FaceLatent
    scores: Scores


@dataclass
class AlphaSweep:
    """The strengths tried for one candidate, with their results on the faces that share a choice.

    Attributes:
        keep_identity: Minimum cosine of the face embeddings before and after.
        alphas: Strengths.
        faces: The faces at each.
        each: The scores of each face at each.
        scores: Those of all faces at each: the means, and the lowest identity.
        ended: Whether larger strengths need not be tried.
    """

    keep_identity: float
    alphas: list[float] = field(default_factory=list)
    faces: list[Sequence[FaceLatent]] = field(default_factory=list)
    each: list[Sequence[_Measured]] = field(default_factory=list)
    scores: list[_Measured] = field(default_factory=list)
    ended: bool = False

    def add(self, alpha: float, faces: Sequence[FaceLatent], measured: Sequence[_Measured]) -> None:
        """Take one more step into account; the first one counts whatever it does to the identity.

        Args:
            alpha: Strength.
            faces: The faces at it.
            measured: The scores of each at it.
        """
        together = _Measured.of_all(measured)
        lost = not together.keeps(self.keep_identity)
        if lost and self.alphas:
            self.ended = True
            return
        self.alphas.append(alpha)
        self.faces.append(faces)
        self.each.append(measured)
        self.scores.append(together)
        progress = [one.progress for one in self.scores]
        since_best = len(progress) - 1 - progress.index(max(progress))
        self.ended = lost or since_best >= _PATIENCE

    @property
    def largest(self) -> float:
        """The largest progress of a step."""
        return max(one.progress for one in self.scores)

    @property
    def chosen(self) -> int:
        """Index of the smallest strength at which the edit is complete."""
        if self.largest < NO_PROGRESS:  # it leads nowhere, or the face has it already: as little as can be
            return 0
        return next(i for i, one in enumerate(self.scores) if one.progress >= COMPLETE * self.largest)


class _Measured(NamedTuple):
    """As `Scores`, but without texts progress and similarity are the strength in units of the default."""

    similarity: float
    progress: float
    identity: float | None

    def keeps(self, identity: float) -> bool:
        return self.identity is None or self.identity >= identity

    @classmethod
    def of_all(cls, some: Sequence[_Measured]) -> _Measured:
        """Of several faces: the means, and the lowest identity."""
        identities = [one.identity for one in some if one.identity is not None]
        similarity, progress = (
            sum(values) / len(some) for values in zip(*((one[0], one[1]) for one in some), strict=True)
        )
        return cls(similarity, progress, min(identities, default=None))


def candidates(channels: int) -> list[int]:
    """How many style channels the candidates shift: a tenth of the pack's default, a third, and all.

    Args:
        channels: The pack's default.

    Returns:
        In ascending order, at least 1.
    """
    return sorted({max(1, channels // 10), max(1, channels // 3), channels})


def choose(
    renderer: Renderer,
    judge: Judge,
    faces: Sequence[FaceLatent],
    edits: Sequence[Edit],
    default_alpha: float,
    keep_identity: float = KEEP_IDENTITY,
    advance: Advance = nothing,
    same: bool = False,
) -> list[Choice]:
    """Choose an edit and its strength for each face, or one for all of them.

    Without texts (a direction between two sets of images), the default strength is taken, or the largest
    below it that keeps the identity.

    Args:
        renderer: Renders the faces at each strength.
        judge: Embeds the images.
        faces: Single ones.
        edits: The candidates.
        default_alpha: Strength where none is chosen; negative to reverse the edit.
        keep_identity: Minimum cosine of the face embeddings before and after, from -1 to 1; without an
            identity network any is kept.
        advance: Called with (done, total) steps.
        same: Make the same choice for all faces, by their mean scores and the lowest identity.

    Returns:
        One for each face.
    """
    before = renderer.render(faces)
    seen, known = judge.clip_embeddings(before), judge.identity_embeddings(before)
    direction = clip_direction(judge, edits[0])
    if direction is not None and default_alpha < 0:
        direction = -direction
    factors = [factor for factor in FACTORS if direction is not None or factor <= 1]
    groups = [list(range(len(faces)))] if same else [[i] for i in range(len(faces))]
    sweeps = [[AlphaSweep(keep_identity) for _ in edits] for _ in groups]
    for step, factor in enumerate(factors):
        advance(step, len(factors))
        alpha = factor * default_alpha
        for number, edit in enumerate(edits):
            going = [(own[number], group) for own, group in zip(sweeps, groups, strict=True)]
            going = [(sweep, group) for sweep, group in going if not sweep.ended]
            which = [i for _, group in going for i in group]
            if not which:
                continue
            moved = [each[0] for each in edited_each(edit, [faces[i] for i in which], [alpha]) if each]
            images = renderer.render(moved)
            similarity = progress = torch.full((len(images),), factor)
            if direction is not None:
                embeddings = judge.clip_embeddings(images)
                similarity, progress = similarity_and_progress(seen[which], embeddings, direction)
            embedded = judge.identity_embeddings(images)
            identity: list[float | None] = [None] * len(images)
            if embedded is not None and known is not None:
                identity = list((embedded * known[which]).sum(dim=1).tolist())
            measured = [*map(_Measured, similarity.tolist(), progress.tolist(), identity)]
            at = 0
            for sweep, group in going:
                part = slice(at, at + len(group))
                sweep.add(alpha, moved[part], measured[part])
                at += len(group)
    return [choice for own in sweeps for choice in _best(own, edits, direction is not None)]


def _best(sweeps: Sequence[AlphaSweep], edits: Sequence[Edit], has_texts: bool) -> list[Choice]:
    """The best candidate, and its strength, for each of the faces that share the choice."""
    most = max(sweep.largest for sweep in sweeps)
    able = [n for n, sweep in enumerate(sweeps) if sweep.largest >= COMPARABLE * most] or [0]
    # Even the weakest step of a candidate may change the person too much: others go first.
    keeping = [n for n, sweep in enumerate(sweeps) if sweep.scores[sweep.chosen].keeps(sweep.keep_identity)]
    able = [n for n in able if n in keeping] or keeping or able
    number = max(able, key=lambda n: sweeps[n].scores[sweeps[n].chosen].similarity)
    sweep = sweeps[number]
    at = sweep.chosen if has_texts else len(sweep.alphas) - 1
    choices = []
    for face, (similarity, progress, identity) in zip(sweep.faces[at], sweep.each[at], strict=True):
        scores = Scores(similarity, progress, identity) if has_texts else Scores(None, None, identity)
        choices.append(Choice(edits[number], sweep.alphas[at], face, scores))
    return choices

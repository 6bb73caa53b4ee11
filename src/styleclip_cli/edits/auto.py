"""Choose strength and threshold for each face: as strong as it pays, no stronger.

For each candidate (the same sentence by few style channels and by many) the strength is raised step by
step. What counts is the progress of the picture along the text's way in CLIP space (`Scores.progress`): it
rises, and levels off where the edit is complete; beyond, only other things change. The smallest strength is
taken that makes 95 % of the most there is to be had while the person stays the same. Of the candidates that
go nearly as far as the best (80 %) the one is taken whose change points most in the text's way: the cleanest.

The two shares and the steps were set on the toy world's first 30 faces a prompt; `benchmarks/auto.py`
measures them on others, by a judge that is not CLIP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from styleclip_cli.edits.edit import Edit, edited_each
from styleclip_cli.edits.scores import (
    Scores,
    seen_by_clip,
    seen_by_identity,
    similarity_and_progress,
    way_of,
)
from styleclip_cli.inversion import Inversion
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.settings import KEEP_IDENTITY

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)
"""Steps, in units of the usual strength."""
ENOUGH, NEARLY = 0.95, 0.8
NOTHING = 0.05
"""Less progress than this is none: no edit of the toy world that was wanted made so little."""
_PATIENCE = 2
"""Steps without a gain after which a face is left alone."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen for one face.

    Attributes:
        edit: Of the candidates.
        alpha: Strength.
        edited: The face after it.
        scores: How it did.
    """

    edit: Edit
    alpha: float
    edited: Inversion
    scores: Scores


@dataclass
class _Climb:
    """One candidate on one face: strengths tried, and what came of each."""

    alphas: list[float]
    progress: list[float]
    similarity: list[float]
    identity: list[float | None]
    faces: list[Inversion]
    over: bool = False

    def add(
        self,
        alpha: float,
        face: Inversion,
        progress: float,
        similarity: float,
        identity: float | None,
        keep: float,
    ) -> None:
        """Take one more step into account; the first one counts whatever it does to the person."""
        if identity is not None and identity < keep and self.alphas:
            self.over = True
            return
        self.alphas.append(alpha)
        self.faces.append(face)
        self.progress.append(progress)
        self.similarity.append(similarity)
        self.identity.append(identity)
        best = self.progress.index(max(self.progress))
        lost = identity is not None and identity < keep
        self.over = lost or len(self.progress) - 1 - best >= _PATIENCE

    def keeps(self, keep: float) -> bool:
        """Whether the person stays the same at the chosen strength."""
        identity = self.identity[self.chosen]
        return identity is None or identity >= keep

    @property
    def chosen(self) -> int:
        """The smallest strength that makes nearly the most progress."""
        most = max(self.progress)
        if most < NOTHING:  # it leads nowhere, or the face has it already: as little as can be
            return 0
        return next(i for i, progress in enumerate(self.progress) if progress >= ENOUGH * most)


def candidates(engine: Engine) -> list[int]:
    """How many style channels the candidates move: a tenth of the pack's usual number, a third, and all."""
    usual = engine.direction_settings.channels
    return sorted({max(1, usual // 10), max(1, usual // 3), usual})


def choose(
    engine: Engine,
    faces: Sequence[Inversion],
    edits: Sequence[Edit],
    usual_alpha: float,
    keep_identity: float = KEEP_IDENTITY,
    advance: Advance = nothing,
) -> list[Choice]:
    """Choose an edit and its strength for each face.

    Without texts to go by (a direction between pictures), the usual strength is taken, or the largest below
    it that keeps the person.

    Args:
        engine: Renders, and its CLIP and identity network look.
        faces: Single ones.
        edits: The candidates.
        usual_alpha: Strength where none is chosen; negative to go the other way.
        keep_identity: Least cosine of the face embeddings before and after; without an identity network
            nothing is kept.
        advance: Called with (done, total) steps.
    """
    before = engine.show_each(faces)
    seen, known = seen_by_clip(engine, before), seen_by_identity(engine, before)
    way = way_of(engine, edits[0])
    if way is not None and usual_alpha < 0:
        way = -way
    factors = [factor for factor in FACTORS if way is not None or factor <= 1]
    climbs = [[_Climb([], [], [], [], []) for _ in edits] for _ in faces]
    for step, factor in enumerate(factors):
        advance(step, len(factors))
        alpha = factor * usual_alpha
        for number, edit in enumerate(edits):
            going = [i for i in range(len(faces)) if not climbs[i][number].over]
            if not going:
                continue
            moved = [each[0] for each in edited_each(edit, [faces[i] for i in going], [alpha]) if each]
            pictures = engine.show_each(moved)
            similarity, progress = _seen(engine, seen[going], pictures, way, factor)
            embedded = seen_by_identity(engine, pictures)
            for at, i in enumerate(going):
                same = None if embedded is None or known is None else float(embedded[at] @ known[i])
                climb = climbs[i][number]
                climb.add(alpha, moved[at], float(progress[at]), float(similarity[at]), same, keep_identity)
    return [_best(each, edits, way is not None, keep_identity) for each in climbs]


def _seen(
    engine: Engine, before: Tensor, pictures: Tensor, way: Tensor | None, factor: float
) -> tuple[Tensor, Tensor]:
    if way is None:
        stronger = torch.full((len(pictures),), factor)
        return stronger, stronger
    return similarity_and_progress(before, seen_by_clip(engine, pictures), way)


def _best(climbs: Sequence[_Climb], edits: Sequence[Edit], has_texts: bool, keep: float) -> Choice:
    most = max(max(climb.progress) for climb in climbs)
    able = [n for n, climb in enumerate(climbs) if max(climb.progress) >= NEARLY * most] or [0]
    # Even the weakest step of a candidate may change the person too much: others go first.
    keeping = [n for n, climb in enumerate(climbs) if climb.keeps(keep)]
    able = [n for n in able if n in keeping] or keeping or able
    number = max(able, key=lambda n: climbs[n].similarity[climbs[n].chosen])
    climb = climbs[number]
    at = climb.chosen if has_texts else len(climb.alphas) - 1
    scores = Scores(
        climb.similarity[at] if has_texts else None,
        climb.progress[at] if has_texts else None,
        climb.identity[at],
    )
    return Choice(edits[number], climb.alphas[at], climb.faces[at], scores)

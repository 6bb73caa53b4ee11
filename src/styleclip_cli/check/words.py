"""Checks of sentences: what CLIP says of samples, and what edits by sentences do to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.check import regions
from styleclip_cli.check.report import Value
from styleclip_cli.check.samples import NotApplicableError, Samples
from styleclip_cli.edits import prompts
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.scores import Scores, clip_direction, scores
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.settings import DEFAULT_NEUTRAL

if TYPE_CHECKING:
    from styleclip_cli.weights.expected import ExpectedEdit

_FEW = 6
"""Fewest faces that a correlation is taken over."""


def subject(samples: Samples) -> list[Value]:
    """Share of the samples that CLIP takes for what the pack draws, of several things."""
    texts = samples.expected.subjects
    if len(texts) < 2:
        raise NotApplicableError("the pack says nothing of what it draws")
    clip = samples.engine.networks.clip
    with torch.inference_mode():
        embedded = torch.stack([prompts.text_embedding(clip, text, ("{}",)) for text in texts])
    likest = (samples.seen @ embedded.T).argmax(dim=1)
    share = float((likest == 0).float().mean())
    return [Value(f'share that is "{texts[0]}"', share, samples.expected.bars["subject"])]


def sentences(samples: Samples) -> list[Value]:
    """Largest error of the cosines between texts."""
    clip = samples.engine.networks.clip
    errors = []
    for one in samples.expected.cosines:
        with torch.inference_mode():
            first, second = clip.encode_text([one.first, one.second]).cpu()
        errors.append(abs(float(first @ second) - one.cosine))
    if not errors:
        raise NotApplicableError("the pack states no cosines of texts")
    return [Value("largest error of a cosine", max(errors), samples.expected.bars["sentences"], True)]


def words(samples: Samples) -> list[Value]:
    """Correlation of CLIP's scores with what landmarks and colours say of the same images."""
    faces = [(number, face) for number, face in enumerate(samples.faces) if face is not None]
    if len(faces) < _FEW or not samples.expected.readings:
        raise NotApplicableError(
            "too few faces were found" if len(faces) < _FEW else "the pack has no readings"
        )
    seen = samples.seen[[number for number, _ in faces]]
    values = []
    for one in samples.expected.readings:
        more, _ = prompts.resolve_prompt(one.more, DEFAULT_NEUTRAL)
        less, _ = prompts.resolve_prompt(one.less, DEFAULT_NEUTRAL)
        scored = (seen @ samples.engine.judge.text_direction(more, less)).numpy()
        read = [regions.read(one.of, samples.images[number], face) for number, face in faces]
        values.append(Value(f"{one.of} ({one.more})", _correlation(scored, np.array(read))))
    mean = float(np.mean([value.measured for value in values]))
    return [Value("mean correlation", mean, samples.expected.bars["words"]), *values]


@dataclass(frozen=True, eq=False)
class _Edited:
    """Some samples, edited by an expected edit.

    Attributes:
        expected: The edit.
        numbers: Which samples.
        images: Edited, [M, 3, R, R].
        scores: Of each.
        direction: The edit.
    """

    expected: ExpectedEdit
    numbers: list[int]
    images: Tensor
    scores: list[Scores]
    direction: Direction


def edits(samples: Samples) -> list[_Edited]:
    """Edit the samples that need it most by each of the pack's expected edits; made once.

    Raises:
        NotApplicableError: If the pack has none, or edits would take a long measurement first.
    """
    if "edits" in samples.kept:
        found: list[_Edited] = samples.kept["edits"]
        return found
    if not samples.expected.edits:
        raise NotApplicableError("the pack names no edits")
    if (
        samples.engine.pack.published("relevance") is None
        and samples.engine.left().get("relevance", (0, 0))[0]
    ):
        raise NotApplicableError("its relevance has not been measured (styleclip precompute-stats)")
    found = [_edited(samples, one) for one in samples.expected.edits]
    samples.kept["edits"] = found
    return found


def _edited(samples: Samples, expected: ExpectedEdit) -> _Edited:
    engine = samples.engine
    direction = engine.direction(expected.prompt, expected.neutral)
    along = clip_direction(engine.judge, direction)
    assert along is not None
    found = [face is not None for face in samples.faces] if samples.of_faces else [True] * len(samples.images)
    order = [int(number) for number in (samples.seen @ along).argsort() if found[int(number)]]
    numbers = order[: samples.amounts.edited]
    if not numbers:
        raise NotApplicableError("no face was found")
    before = samples.images[numbers]
    moved = direction.edited(FaceLatent(samples.w_plus[numbers]), [engine.default_alpha])[0]
    after = samples.render(moved, expected.prompt)
    pairs = [image for pair in zip(before, after, strict=True) for image in pair]
    samples.show(expected.prompt, torch.stack(pairs))
    return _Edited(expected, numbers, after, scores(engine.judge, before, after, along), direction)


def similarity(samples: Samples) -> list[Value]:
    """Whether CLIP sees that edits go where their sentences say."""
    bar = samples.expected.bars["similarity"]
    values = []
    for one in edits(samples):
        mean = float(np.mean([each.similarity for each in one.scores]))
        values.append(Value(one.expected.prompt, mean, bar))
    return values


def kept(samples: Samples) -> list[Value]:
    """Whether edits keep the person."""
    bar = samples.expected.bars["kept"]
    return [
        Value(one.expected.prompt, float(np.mean([each.identity for each in one.scores])), bar)
        for one in edits(samples)
    ]


def region(samples: Samples) -> list[Value]:
    """Whether edits change most what their sentences speak of."""
    values = []
    for one in edits(samples):
        found = []
        for number, after in zip(one.numbers, one.images, strict=True):
            face = samples.faces[number]
            assert face is not None
            inside = regions.mask(one.expected.region, face, after.shape[-1])
            found.append(regions.concentration(samples.images[number], after, inside))
        name = f"{one.expected.prompt}: {one.expected.region}"
        values.append(Value(name, float(np.mean(found)), one.expected.inside))
    return values


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0

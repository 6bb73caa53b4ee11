"""Checks of what was measured or trained elsewhere: statistics, relevance and mappers fit the generator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.check.report import Value
from styleclip_cli.check.samples import NotApplicableError, Samples
from styleclip_cli.edits import prompts
from styleclip_cli.edits.scores import similarity_and_progress
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.measure.exact import relevance_job
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import measure_statistics
from styleclip_cli.nets.clip import Clip
from styleclip_cli.settings import DEFAULT_NEUTRAL
from styleclip_cli.weights.files import load_weights

_SIDE = 256
"""Images whose relevance is measured again are rendered no larger: CLIP sees no more."""
_MAPPERS, _MAPPED = 3, 4
"""How many mappers are tried, on how many faces."""


def statistics(samples: Samples) -> list[Value]:
    """Whether the packaged statistics are those of the generator, measured again on fewer samples."""
    engine = samples.engine
    ours = engine.statistics()
    if ours.measured:
        raise NotApplicableError("the packaged ones were measured otherwise, and are not used")
    again = measure_statistics(
        engine.generator, samples.amounts.styles, ours.seed, ours.truncation_psi, progress=samples.advance
    )
    alive = (ours.std > 0) | (again.std > 0)
    std = ours.std[alive].clamp_min(1e-9)
    mean = ((again.mean - ours.mean)[alive] / std).abs()
    spread = ((again.std - ours.std)[alive] / std).abs()
    bar = samples.expected.bars["statistics"]
    return [
        Value("median error of the mean, in standard deviations", float(mean.median()), bar, True),
        Value("and of these", float(spread.median()), bar, True),
    ]


def _again(samples: Samples, clip: Clip, ours: Relevance) -> Tensor:
    """Cosines of packaged rows and rows that are measured again, of the channels that the words use most."""
    engine = samples.engine
    generator = engine.generator
    settings = replace(
        engine.relevance_settings,
        n_images=samples.amounts.pushed,
        stop_at=min(_SIDE, generator.config.resolution),
    )
    job = relevance_job(generator, clip, engine.statistics(), settings)
    row_of = {int(channel): row for row, channel in enumerate(ours.channels)}
    chosen = _most_used(samples, ours)
    starts = {int(piece.key["first"]): piece for piece in job.pieces}
    pieces = []
    for channel in chosen:
        start = max(first for first in starts if first <= channel)
        if starts[start] not in pieces:
            pieces.append(starts[start])
        if len(pieces) == samples.amounts.pieces:
            break
    cosines = []
    for number, piece in enumerate(pieces):
        rows = torch.from_numpy(piece.compute(lambda part: None)["rows"])
        wanted = [row_of[channel] for channel in range(piece.key["first"], piece.key["first"] + len(rows))]
        packaged = ours.matrix[wanted]
        alive = packaged.norm(dim=1) > 0  # others have no effect that could be compared
        cosines.append(F.cosine_similarity(rows[alive], packaged[alive]))
        samples.advance(number + 1, len(pieces), "measuring channels again")
    return torch.cat(cosines)


def _most_used(samples: Samples, ours: Relevance) -> list[int]:
    """Channels in the order in which the packaged rows say that they matter for the pack's words."""
    judge, expected = samples.engine.judge, samples.expected
    texts = [prompts.resolve_prompt(one.prompt, one.neutral) for one in expected.edits]
    texts = texts or [(text, expected.subjects[0]) for text in expected.subjects[1:]]
    if not texts:
        raise NotApplicableError("the pack states no sentences")
    reached = torch.stack([ours.matrix @ judge.text_direction(*pair) for pair in texts]).abs()
    ranks = reached.argsort(dim=1, descending=True).T.flatten()  # the best of each, the next of each ...
    return [int(ours.channels[row]) for row in ranks[:200]]


def relevance(samples: Samples) -> list[Value]:
    """Whether the packaged relevance is that of this generator and this CLIP, as it is built here."""
    engine = samples.engine
    if engine.relevance_mode is not None:
        raise NotApplicableError("the packaged one was measured otherwise, and is not used")
    ours = engine.relevance()
    own = float(_again(samples, engine.networks.clip, ours).median())
    bars = samples.expected.bars
    values = [Value("median cosine of rows measured again", own, bars["relevance"])]
    visual = engine.networks.clip.model.visual
    if "activation" in bars and any(hasattr(module, "gelu") for module in visual.modules()):
        other = float(_again(samples, _with_other_activation(samples), ours).median())
        values.append(Value("more than with the other activation", own - other, bars["activation"]))
    return values


def _with_other_activation(samples: Samples) -> Clip:
    """The pack's CLIP with GELU in the place of QuickGELU, or the other way round."""
    state, _ = load_weights(samples.engine.pack.component("clip"))
    if state.pop("gelu", None) is None:
        state["gelu"] = torch.ones(1)
    return Clip.from_state_dict(state).to(samples.engine.device)


def mapper(samples: Samples) -> list[Value]:
    """Whether the pack's mappers load, move the image, and do so toward their texts."""
    engine = samples.engine
    names = [name for name, entry in engine.pack.mappers.items() if entry.file is not None][:_MAPPERS]
    if not names:
        raise NotApplicableError("none is installed (styleclip mappers pull NAME)")
    face, before = FaceLatent(samples.w_plus[:_MAPPED]), samples.images[:_MAPPED]
    moved, toward, shown = [], [], [before[:2]]
    for name in names:
        edit = engine.mapper(name)
        after = samples.render(edit.edited(face, [1.0])[0], name).clamp(-1, 1)
        moved.append(float((after - before).abs().mean()) / 2)
        text = edit.trained.target or name.replace("_", " ").replace("-", " ")
        along = engine.judge.text_direction(*prompts.resolve_prompt(text, edit.neutral or DEFAULT_NEUTRAL))
        seen = engine.judge.clip_embeddings(after)
        toward.append(float(similarity_and_progress(samples.seen[:_MAPPED], seen, along)[0].mean()))
        shown.append(after[:2])
    samples.show(f"before, and by {', '.join(names)}", torch.cat(shown))
    bars = samples.expected.bars
    values = [Value("least mean change of an image, of 1", min(moved), bars["mapper"])]
    if "mapper_similarity" in bars:
        values.append(Value("mean similarity to its text", float(np.mean(toward)), bars["mapper_similarity"]))
    return values

"""Channelwise relevance from derivatives: what `measure.exact` measures, to first order, at small cost.

The effect of a small push of channel c on a face's embedding e is sigma_c de/ds_c. Its direction is averaged
over faces and brought to unit length, as the paper does with the effect of a push by 5 sigma.

A backward pass gives the derivative of one number by all channels. Embeddings of a generator's faces
differ in few directions of CLIP space, so these numbers are the coordinates in a basis of those: the main
axes of the faces' own embeddings, as many as hold 99.9 % of their variance. No prompt is needed, and every
prompt is free afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from styleclip_cli.errors import UsageError
from styleclip_cli.machine import cache
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.measure.pieces import Job, Piece, Report, check_finite
from styleclip_cli.measure.relevance import Relevance, unit_rows
from styleclip_cli.measure.statistics import StyleStatistics, sample_styles
from styleclip_cli.nets.stylespace import indices_of
from styleclip_cli.settings import RelevanceSettings

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip
    from styleclip_cli.nets.stylegan2 import Generator
    from styleclip_cli.nets.stylespace import StyleLayer

BASIS_SCHEMA = "styleclip.relevance-basis/1"
PIECE_SCHEMA = "styleclip.relevance-gradient/2"
_DEFAULTS = RelevanceSettings(mode="gradient")
_VARIANCE = 0.999
_MOST = 64  # axes
_SEEN = 64  # faces that they are found from, at the least: seeing is quick, and few faces differ in few ways
_PIECE = 4  # faces
_PIXELS = {"cpu": 2**17, "gpu": 2**20}  # of the images whose derivatives are taken together


def estimate_relevance(
    generator: Generator,
    clip: Clip,
    statistics: StyleStatistics,
    settings: RelevanceSettings = _DEFAULTS,
    *,
    fingerprint: str | None = None,
    progress: Advance = nothing,
) -> Relevance:
    """Estimate the relevance of style channels from derivatives.

    Images are those of the exact measurement, rendered no larger than CLIP needs them: at the lowest
    resolution that is not below CLIP's own, or the highest of the layers'.

    Args:
        generator: The generator.
        clip: The image encoder.
        statistics: Mean and std of its style channels.
        settings: How; `sigma` is of no account.
        fingerprint: Hash of the generator's and CLIP's weights; None estimates without the cache.
        progress: Called with (done, total) faces.

    Returns:
        The relevance, on the CPU.

    Raises:
        UsageError: If settings make no sense, or the statistics are of another generator.
    """
    job = gradient_job(generator, clip, statistics, settings, fingerprint=fingerprint)
    # Each piece says along which axes its rows are: those that another machine found differ in rounding.
    sums = sum(
        (torch.tensor(each["rows"]).double() @ torch.tensor(each["axes"]).double())
        for each in job.run(advance=progress)
    )
    assert isinstance(sums, Tensor)
    matrix, space = unit_rows(sums / settings.n_images).float(), generator.style_space
    channels = indices_of(space.editable(settings.layers))
    return Relevance.measured(matrix, channels, space.size, settings, "gradient")


def gradient_job(
    generator: Generator,
    clip: Clip,
    statistics: StyleStatistics,
    settings: RelevanceSettings = _DEFAULTS,
    *,
    fingerprint: str | None = None,
) -> Job:
    """The estimate in pieces of a few faces; see `estimate_relevance`.

    Args:
        generator: As in `estimate_relevance`.
        clip: As in `estimate_relevance`.
        statistics: As in `estimate_relevance`.
        settings: As in `estimate_relevance`.
        fingerprint: As in `estimate_relevance`.

    Returns:
        The job.
    """
    space = generator.style_space
    if settings.n_images < 2:
        raise UsageError(f"relevance from {settings.n_images} images", "use 100 images")
    statistics.check(space)
    layers = space.editable(settings.layers)
    side = _side(generator, clip, layers, settings.stop_at)
    device = next(generator.parameters()).device
    together = max(1, _PIXELS["cpu" if device.type == "cpu" else "gpu"] // side**2)
    shared: dict[str, Any] = {
        "models": fingerprint or "",
        "mode": "gradient",
        "n_images": settings.n_images,
        "seed": settings.seed,
        "truncation_psi": statistics.truncation_psi,
        "side": side,
    }
    keep = fingerprint is not None

    # Made when first needed: a run that finds all in the cache, or only counts, never does.
    @lru_cache(maxsize=1)
    def faces() -> Tensor:
        n = max(settings.n_images, _SEEN)
        return sample_styles(generator, n, settings.seed, statistics.truncation_psi)

    def find_axes(report: Report) -> cache.Arrays:
        with torch.no_grad():
            parts = faces().split(together)
            seen = torch.cat([_see(generator, clip, space.split(part), side) for part in parts])
        check_finite("relevance", seen.numpy())  # what is not has no axes
        return {"axes": main_axes(seen).numpy()}

    @lru_cache(maxsize=1)
    def axes() -> Tensor:
        basis = Job("relevance", BASIS_SCHEMA, [Piece({**shared, "what": "axes"}, 1, find_axes)], keep)
        return torch.tensor(basis.run()[0]["axes"])

    def piece(first: int) -> Piece:
        count = min(_PIECE, settings.n_images - first)

        def compute(report: Report) -> cache.Arrays:
            rows, done = torch.zeros(()), 0
            for styles in faces()[first : first + count].split(together):

                def report_axis(part: float, done: int = done, number: int = len(styles)) -> None:
                    report((done + part * number) / count)

                effects = _unit_effects(
                    generator, clip, styles, layers, statistics.std, axes(), side, report_axis
                )
                rows = rows + effects.sum(dim=0)
                done += len(styles)
            return {"rows": rows.float().numpy(), "axes": axes().numpy()}

        key = {**shared, "layers": settings.layers, "first": first, "count": count}
        return Piece({**key, "statistics": statistics.provenance}, count, compute)

    firsts = range(0, settings.n_images, _PIECE)
    return Job("relevance", PIECE_SCHEMA, [piece(first) for first in firsts], keep)


def main_axes(embeddings: Tensor) -> Tensor:
    """The directions in which embeddings differ most.

    Args:
        embeddings: [N, D].

    Returns:
        [V, D], float32, orthonormal: as many as hold 99.9 % of the variance, at most 64.
    """
    centred = embeddings.double() - embeddings.double().mean(dim=0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    held = values.square().cumsum(0) / values.square().sum().clamp_min(1e-30)
    count = min(int((held < _VARIANCE).sum()) + 1, _MOST, len(axes))
    return axes[:count].float()


def _side(generator: Generator, clip: Clip, layers: Sequence[StyleLayer], stop_at: int | None) -> int:
    """Resolution that images are rendered at."""
    enough = [side for side in generator.config.channels if side >= (stop_at or clip.resolution)]
    highest = max((layer.resolution for layer in layers), default=0)
    return max(min(enough, default=generator.config.resolution), highest)


def _see(generator: Generator, clip: Clip, parts: Sequence[Tensor], side: int) -> Tensor:
    """Embeddings [N, D] of styles, of unit length, on the CPU."""
    return clip.encode_image(generator.synthesize(parts, stop_at=side).clamp(-1.0, 1.0)).cpu()


def _unit_effects(
    generator: Generator,
    clip: Clip,
    styles: Tensor,
    layers: Sequence[StyleLayer],
    std: Tensor,
    axes: Tensor,
    side: int,
    report: Report,
) -> Tensor:
    """Direction of each channel's effect on each face, in coordinates of the axes: [N, K, V], float64."""
    columns = []
    with torch.inference_mode(False), torch.enable_grad():
        parts = list(generator.style_space.split(styles.clone()))
        moved = []
        for layer in layers:
            parts[layer.index] = parts[layer.index].detach().requires_grad_()
            moved.append(parts[layer.index])
        seen = _see(generator, clip, parts, side)
        for done, axis in enumerate(axes):
            gradients = torch.autograd.grad((seen @ axis).sum(), moved, retain_graph=done + 1 < len(axes))
            columns.append(torch.cat(gradients, dim=1).cpu().double())
            report((done + 1) / len(axes))
    spread = torch.cat([std[layer.place] for layer in layers]).double()
    return unit_rows(torch.stack(columns, dim=2) * spread[None, :, None])

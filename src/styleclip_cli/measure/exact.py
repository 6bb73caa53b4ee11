"""Channelwise relevance as the paper measures it: every channel pushed both ways on every face.

For a channel: N faces are rendered with the channel pushed to mean - k sigma and mean + k sigma, both are
seen by CLIP, and the direction between the two embeddings is averaged over the faces (paper section 6,
equation 7 and the text after it; official SingleChannel.py).

What does not change is rendered once. A style channel changes nothing before its own layer, so each face is
rendered up to there, and every push goes on from that. A toRGB layer changes no features at all: the
colours that it adds to the image change, and as later layers only add to those, enlarged, the difference
is enlarged and added to the face's own image.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from styleclip_cli.errors import UsageError
from styleclip_cli.machine.cache import Arrays
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.measure.pieces import Job, Piece, Report
from styleclip_cli.measure.relevance import Relevance, unit_rows
from styleclip_cli.measure.statistics import StyleStatistics, finite, sample_styles
from styleclip_cli.nets import ops
from styleclip_cli.nets.stylegan2 import Block, Features
from styleclip_cli.settings import RelevanceSettings

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip
    from styleclip_cli.nets.stylegan2 import Generator
    from styleclip_cli.nets.stylespace import StyleLayer

PIECE_SCHEMA = "styleclip.relevance-piece/1"
_DEFAULTS = RelevanceSettings()
_PIECE = 16  # channels
_KEPT = 2**30  # bytes of features before a layer that are kept for its next channels
_Render = Callable[[Tensor, Tensor, Tensor], Tensor]


def measure_relevance(
    generator: Generator,
    clip: Clip,
    statistics: StyleStatistics,
    settings: RelevanceSettings = _DEFAULTS,
    *,
    layers: Sequence[StyleLayer] | None = None,
    batch: int | None = None,
    fingerprint: str | None = None,
    progress: Advance = nothing,
) -> Relevance:
    """Measure the relevance of style channels exactly as the paper does.

    Images are the first `n_images` samples of the statistics' kind (same truncation). Each channel is
    pushed on the untouched styles: the official script leaves every channel it has done at its mean, so
    its later layers are measured on nearly equal faces. CLIP sees the images clamped to [-1, 1] by its
    own preprocessing; they are not rounded to 8 bits.

    Args:
        generator: The generator.
        clip: The image encoder.
        statistics: Mean and std of its style channels.
        settings: How. With `stop_at`, layers above that resolution are rendered up to their own.
        layers: Layers to measure; None for those of the settings.
        batch: Images rendered at once; None fits it to the resolution.
        fingerprint: Hash of the generator's and CLIP's weights; None measures without the cache.
        progress: Called with (done, total) channels, and the time it takes in all.

    Returns:
        The relevance of these layers' channels, on the CPU.

    Raises:
        UsageError: If settings make no sense, or the statistics are of another generator.
    """
    job = relevance_job(
        generator, clip, statistics, settings, layers=layers, batch=batch, fingerprint=fingerprint
    )
    rows = [finite(arrays["rows"]) for arrays in job.run(advance=progress)]
    places = [(piece.key["first"], piece.key["count"]) for piece in job.pieces]
    indices = [torch.arange(first, first + count) for first, count in places]
    matrix = torch.cat([torch.zeros(0, clip.embed_dim), *rows])
    channels = torch.cat([torch.zeros(0, dtype=torch.int64), *indices])
    return Relevance.measured(matrix, channels, generator.style_space.size, settings)


def relevance_job(
    generator: Generator,
    clip: Clip,
    statistics: StyleStatistics,
    settings: RelevanceSettings = _DEFAULTS,
    *,
    layers: Sequence[StyleLayer] | None = None,
    batch: int | None = None,
    fingerprint: str | None = None,
) -> Job:
    """The measurement in pieces of up to 16 channels of a layer; see `measure_relevance`.

    Args:
        generator: As in `measure_relevance`.
        clip: As in `measure_relevance`.
        statistics: As in `measure_relevance`.
        settings: As in `measure_relevance`.
        layers: As in `measure_relevance`.
        batch: As in `measure_relevance`.
        fingerprint: As in `measure_relevance`.

    Returns:
        The job.
    """
    space = generator.style_space
    if settings.n_images < 1 or not settings.sigma > 0:
        raise UsageError(
            f"relevance from {settings.n_images} images at {settings.sigma} sigma",
            "use 100 images and 5 sigma",
        )
    statistics.check(space)
    chosen = sorted(space.editable(settings.layers) if layers is None else layers, key=lambda x: x.index)
    probe = _Probe(generator, clip, statistics, settings, batch)
    provenance = statistics.provenance

    def piece(layer: StyleLayer, flat: range) -> Piece:
        def compute(report: Report) -> Arrays:
            return {"rows": probe.measure(layer, flat, report).numpy()}

        key: dict[str, Any] = {
            "models": fingerprint or "",
            "layer": layer.name,
            "first": flat.start,
            "count": len(flat),
            "n_images": settings.n_images,
            "sigma": float(settings.sigma),
            "seed": settings.seed,
            "stop_at": settings.stop_at,
            "statistics": provenance,
        }
        return Piece(key, len(flat), compute)

    cut = [(layer, flat) for layer in chosen for flat in _cut(layer)]

    @cache
    def work(number: int) -> float:
        return probe.work(*cut[number])

    def remaining(numbers: Sequence[int]) -> float | None:
        return probe.seconds(sum(map(work, numbers)))

    pieces = [piece(layer, flat) for layer, flat in cut]
    return Job("relevance", PIECE_SCHEMA, pieces, fingerprint is not None, remaining)


def _cut(layer: StyleLayer) -> Iterator[range]:
    """A layer's channels (flat indices), piece by piece."""
    end = layer.offset + layer.width
    for first in range(layer.offset, end, _PIECE):
        yield range(first, min(first + _PIECE, end))


class _Probe:
    """Pushes channels of one generator and looks with one CLIP."""

    def __init__(
        self,
        generator: Generator,
        clip: Clip,
        statistics: StyleStatistics,
        settings: RelevanceSettings,
        batch: int | None,
    ) -> None:
        self._generator, self._clip, self._statistics = generator, clip, statistics
        self._settings = settings
        self._device = next(generator.parameters()).device
        full = generator.config.resolution
        side = min(full, settings.stop_at or full)
        if batch is None:
            # On a CPU more at once do not pay; they only need memory.
            pixels = 2**18 if self._device.type == "cpu" else 2**24
            batch = min(512, pixels // (side * side))
        self._pairs = max(1, batch // 2)
        self._styles: Tensor | None = None
        self._kept: dict[int, Features] = {}
        self._spent = self._done = 0.0  # seconds, and multiplications in them

    def measure(self, layer: StyleLayer, channels: range, report: Report) -> Tensor:
        """Rows [len(channels), D] of a layer's channels (flat indices), float32 on the CPU."""
        n, cost = self._settings.n_images, self._cost(layer)
        sums = torch.zeros(len(channels), self._clip.embed_dim, dtype=torch.float64)
        # A channel that never varies has nothing to push; it is not rendered and its row stays zero.
        alive = self._alive(channels)
        done = 0
        for styles, start in self._faces(layer) if alive else ():
            render = self._colours(layer, styles, start) if layer.is_rgb else self._rest(layer, styles, start)
            each = torch.cartesian_prod(torch.arange(len(styles)), torch.tensor(alive)).reshape(-1, 2)
            for batch in each.split(self._pairs):
                faces, rows = batch.unbind(1)
                began = time.perf_counter()
                unit = self._differences(render, faces, rows + channels.start)
                self._spent += time.perf_counter() - began
                self._done += 2 * len(batch) * cost
                sums.index_add_(0, rows, unit)
                done += len(batch)
                report(done / (n * len(alive)))
        return unit_rows(sums / n).float()

    def _alive(self, channels: range) -> list[int]:
        """Places of the channels that vary."""
        return (self._statistics.std[channels.start : channels.stop] > 0).nonzero().flatten().tolist()

    def work(self, layer: StyleLayer, channels: range) -> float:
        """Multiplications that some channels of a layer take."""
        return 2 * self._settings.n_images * len(self._alive(channels)) * self._cost(layer)

    def seconds(self, work: float) -> float | None:
        """How long so many multiplications will take, by the speed so far; None before the first."""
        return work * self._spent / self._done if self._done else None

    def _cost(self, layer: StyleLayer) -> float:
        """Multiplications for an image with a channel of this layer pushed, CLIP's with them."""
        space = self._generator.style_space
        end = self._end(layer)
        later = [one for one in space.layers[layer.index :] if one.resolution <= end and not layer.is_rgb]
        visual = sum(p.numel() for p in self._clip.model.visual.parameters())
        # CLIP reads an image in patches of 32 pixels or about that many; each goes through all weights.
        seeing = visual * (self._clip.resolution / 32) ** 2
        return sum(map(self._generator.config.multiplications, later)) + seeing

    def _end(self, layer: StyleLayer) -> int:
        """Resolution that images are rendered at, where this layer's channels are pushed."""
        full = self._generator.config.resolution
        return min(full, max(self._settings.stop_at or full, layer.resolution))

    @torch.inference_mode()
    def _faces(self, layer: StyleLayer) -> Iterator[tuple[Tensor, Features]]:
        """Some faces at a time: their styles, and what they are before the layer.

        The features of all faces stay in memory for the layer's other channels, and for the next layer to
        go on from, where they fit; higher up they are rendered again for each piece.
        """
        if self._styles is None:  # made when first needed: a run that finds all in the cache never does
            n, seed, psi = self._settings.n_images, self._settings.seed, self._statistics.truncation_psi
            self._styles = sample_styles(self._generator, n, seed, psi)
        groups = self._styles.split(2 * self._pairs)
        for number, styles in enumerate(groups):
            kept = self._kept.get(number)
            if kept is not None and kept.layer > layer.index:
                kept = None
            parts = self._generator.style_space.split(styles)
            start = self._generator.features(parts, layer.index, start=kept)
            size = start.x.nbytes + (0 if start.image is None else start.image.nbytes)
            if size * len(groups) <= _KEPT:
                self._kept[number] = start
            yield styles, start

    def _rest(self, layer: StyleLayer, styles: Tensor, start: Features) -> _Render:
        """Renders faces with a channel of a layer set to a value, from that layer on."""
        space = self._generator.style_space

        def render(faces: Tensor, flat: Tensor, values: Tensor) -> Tensor:
            # Indexing copies: the styles that all pushes start from are never written to (defect D-G1).
            pushed = styles[faces]
            pushed[torch.arange(len(faces), device=pushed.device), flat] = values
            parts = space.split(pushed)
            return self._generator.synthesize(parts, stop_at=self._end(layer), start=start.pick(faces))

        return render

    @torch.inference_mode()
    def _colours(self, layer: StyleLayer, styles: Tensor, start: Features) -> _Render:
        """Renders faces with a channel of a toRGB layer set to a value, by what changes in their colours."""
        end = self._end(layer)
        block = self._generator.synthesis[f"b{layer.resolution}"]
        assert isinstance(block, Block)
        conv, x = block.torgb, start.x
        parts = self._generator.style_space.split(styles)
        style = parts[layer.index]
        picture = self._generator.synthesize(parts, stop_at=end, start=start)
        colour = ops.to_rgb(x, conv.weight, style, conv.bias, None)
        weight = conv.weight[:, :, 0, 0]

        def clamped(values: Tensor) -> Tensor:
            return values if conv.clamp is None else values.clamp(-conv.clamp, conv.clamp)

        def render(faces: Tensor, flat: Tensor, values: Tensor) -> Tensor:
            channel = flat - layer.offset
            step = (values - style[faces, channel])[:, None] * weight[:, channel].T
            plain = colour[faces]
            pushed = plain + step[:, :, None, None] * x[faces, channel][:, None]
            difference = clamped(pushed) - clamped(plain)
            while difference.shape[-1] < end:
                difference = ops.upsample_rgb(difference)
            return picture[faces] + difference

        return render

    @torch.inference_mode()
    def _differences(self, render: _Render, faces: Tensor, flat: Tensor) -> Tensor:
        """Unit CLIP differences [P, D] (float64, CPU) of P pairs (face, channel)."""
        mean, reach = self._statistics.mean[flat], self._settings.sigma * self._statistics.std[flat]
        values = torch.cat([mean - reach, mean + reach]).to(self._device)
        faces, flat = (each.to(self._device).repeat(2) for each in (faces, flat))
        images = render(faces, flat, values).clamp(-1.0, 1.0)
        seen = self._clip.encode_image(images).detach().cpu().double()
        below, above = (seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-12)).chunk(2)
        return unit_rows(above - below)

"""What each style channel does to a face, measured in CLIP space (channelwise relevance).

For a channel: N faces are rendered with the channel pushed to mean - k sigma and mean + k sigma, both are
seen by CLIP, and the direction between the two embeddings is averaged over the faces (paper section 7,
equation 7 and the text after it; official SingleChannel.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from styleclip_cli import cache
from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.settings import RelevanceSettings
from styleclip_cli.statistics import StyleStatistics, finite, sample_w_plus

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip
    from styleclip_cli.nets.stylegan2 import Generator
    from styleclip_cli.nets.stylespace import StyleLayer, StyleSpace

SCHEMA = "styleclip.relevance/1"
LAYER_SCHEMA = "styleclip.relevance-layer/1"
_DEFAULTS = RelevanceSettings()
# Embeddings have unit length in float32: a shorter difference is rounding. The smallest real effects seen
# are a hundred times longer.
_DEAD = 1e-6


@dataclass(frozen=True, eq=False)
class Relevance:
    """Direction in CLIP space of each measured style channel.

    Attributes:
        matrix: [K, D], float32, rows of unit length; zero for channels without effect.
        channels: [K], int64, flat StyleSpace indices of the rows, ascending.
        size: Channels of the whole StyleSpace.
        n_images: Pairs of pictures per channel.
        sigma: How far channels were pushed, in standard deviations.
        seed: Seed of the pictures.
        stop_at: Resolution at which pictures were rendered; None for the generator's own.
    """

    matrix: Tensor
    channels: Tensor
    size: int
    n_images: int = _DEFAULTS.n_images
    sigma: float = _DEFAULTS.sigma
    seed: int = _DEFAULTS.seed
    stop_at: int | None = None

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.channels.shape != self.matrix.shape[:1]:
            raise ValueError(f"matrix {tuple(self.matrix.shape)}, channels {tuple(self.channels.shape)}")
        steps = self.channels.diff()
        if len(self.channels) and (
            self.channels[0] < 0 or self.channels[-1] >= self.size or (len(steps) and steps.min() < 1)
        ):
            raise ValueError("channels must ascend and lie inside the StyleSpace")

    def select(self, channels: Tensor) -> Relevance | None:
        """Only the rows of some channels.

        Args:
            channels: Flat indices, ascending.

        Returns:
            The rows, or None if one of the channels was not measured.
        """
        rows = torch.searchsorted(self.channels, channels).clamp_max(max(len(self.channels) - 1, 0))
        if not len(self.channels) or not torch.equal(self.channels[rows], channels):
            return None
        return replace(self, matrix=self.matrix[rows], channels=channels)

    def save(self, path: Path, fingerprint: str = "") -> None:
        """Write it for later.

        Args:
            path: File to write (.npz).
            fingerprint: The generator and CLIP it was measured with.

        Raises:
            OutputError: If the file cannot be written.
        """
        arrays = {"matrix": self.matrix.numpy(), "channels": self.channels.numpy()}
        meta = {
            "size": self.size,
            "n_images": self.n_images,
            "sigma": self.sigma,
            "seed": self.seed,
            "stop_at": self.stop_at,
        }
        cache.save_npz(path, arrays, meta, schema=SCHEMA, key={"models": fingerprint})

    @classmethod
    def load(cls, path: Path, fingerprint: str | None = None, size: int | None = None) -> Relevance:
        """Read what `save` wrote.

        Args:
            path: File to read.
            fingerprint: The generator and CLIP it must have been measured with; None accepts any.
            size: Style channels that the generator must have; None accepts any.

        Raises:
            BadInputError: If the file cannot be used, or belongs to other models.
        """
        expect = {} if fingerprint is None else {"models": fingerprint}
        arrays, meta = cache.load_npz(path, schema=SCHEMA, expect=expect)
        try:
            stop_at = meta["stop_at"]
            relevance = cls(
                matrix=finite(arrays["matrix"]),
                channels=torch.from_numpy(arrays["channels"].astype(np.int64)),
                size=int(meta["size"]),
                n_images=int(meta["n_images"]),
                sigma=float(meta["sigma"]),
                seed=int(meta["seed"]),
                stop_at=None if stop_at is None else int(stop_at),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise BadInputError(f"{path}: not a usable relevance ({error})", "measure it again") from None
        if size is not None and size != relevance.size:
            raise BadInputError(
                f"{path}: for {relevance.size} style channels, this generator has {size}",
                "measure it again: styleclip precompute-stats",
            )
        return relevance

    @classmethod
    def from_official(cls, arrays: Mapping[str, Tensor], space: StyleSpace) -> Relevance:
        """Take relevance out of a published fs3.npy (official SingleChannel.py: 100 images, 5 sigma).

        Its rows are the channels of all layers but toRGB, in order: of all of them, or of those up to 128
        pixels.

        Args:
            arrays: "matrix" [rows, D].
            space: StyleSpace of the generator it is for.

        Raises:
            BadInputError: If it has another number of rows than either.
        """
        matrix = arrays["matrix"]
        for choice in ("fs3", "conv"):
            layers = space.editable(choice)
            if sum(layer.width for layer in layers) == len(matrix):
                channels = torch.cat(
                    [torch.arange(layer.offset, layer.offset + layer.width) for layer in layers]
                )
                lengths = matrix.norm(dim=1, keepdim=True)
                unit = torch.where(lengths > _DEAD, matrix / lengths.clamp_min(_DEAD), torch.zeros(()))
                return cls(unit, channels, space.size)
        raise BadInputError(
            f"the published relevance has {len(matrix)} rows, which is no choice of this generator's layers",
            "measure it: leave it out of the model pack",
        )


def measure_relevance(
    generator: Generator,
    clip: Clip,
    statistics: StyleStatistics,
    n_images: int = _DEFAULTS.n_images,
    sigma: float = _DEFAULTS.sigma,
    layers: Sequence[StyleLayer] | None = None,
    seed: int = _DEFAULTS.seed,
    stop_at: int | None = None,
    batch: int | None = None,
    fingerprint: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Relevance:
    """Measure the relevance of style channels exactly as the paper does.

    Pictures are the first n_images samples of the statistics' kind (same truncation). Each channel is
    pushed on the untouched styles: the official script leaves every channel it has done at its mean, so
    its later layers are measured on nearly equal faces. CLIP sees the pictures clamped to [-1, 1] by its
    own preprocessing; they are not rounded to 8 bits.

    With a fingerprint each layer is kept in the cache when it is done, so a run that was stopped goes on
    there, and the same layers are not measured twice by several processes.

    Args:
        generator: The generator.
        clip: The image encoder.
        statistics: Mean and std of its style channels.
        n_images: Pairs of pictures per channel.
        sigma: How far each channel is pushed, in standard deviations.
        layers: Layers to measure; None for those without toRGB up to 128 pixels (the published choice).
        seed: Seed of the pictures.
        stop_at: Render at this lower resolution only.
        batch: Pictures rendered at once; None fits it to the resolution.
        fingerprint: Hash of the generator's and CLIP's weights; None measures without the cache.
        progress: Called with (done, total) channels.

    Raises:
        UsageError: If settings make no sense, or the statistics are of another generator.
    """
    space = generator.style_space
    if n_images < 1 or not sigma > 0:
        raise UsageError(f"relevance from {n_images} images at {sigma} sigma", "use 100 images and 5 sigma")
    if statistics.widths != tuple(space.widths):
        raise UsageError(
            f"statistics of {len(statistics.mean)} style channels for a generator with {space.size}",
            "measure the statistics of this generator",
        )
    chosen = sorted(space.editable(_DEFAULTS.layers) if layers is None else layers, key=lambda x: x.index)
    total = sum(layer.width for layer in chosen)
    probe = _Probe(generator, clip, statistics, n_images, sigma, seed, stop_at, batch)
    rows: list[Tensor] = []
    done = 0
    for layer in chosen:

        def report(channels: int, base: int = done) -> None:
            if progress is not None:
                progress(base + channels, total)

        rows.append(
            probe.measure(layer, report)
            if fingerprint is None
            else _cached_layer(probe, layer, fingerprint, report)
        )
        done += layer.width
        report(0, done)
    indices = [torch.arange(layer.offset, layer.offset + layer.width) for layer in chosen]
    return Relevance(
        matrix=torch.cat(rows) if rows else torch.zeros(0, clip.embed_dim),
        channels=torch.cat(indices) if indices else torch.zeros(0, dtype=torch.int64),
        size=space.size,
        n_images=n_images,
        sigma=sigma,
        seed=seed,
        stop_at=stop_at,
    )


class _Probe:
    """Pushes channels of one generator and looks with one CLIP."""

    def __init__(
        self,
        generator: Generator,
        clip: Clip,
        statistics: StyleStatistics,
        n_images: int,
        sigma: float,
        seed: int,
        stop_at: int | None,
        batch: int | None,
    ) -> None:
        self.generator, self.clip, self.statistics = generator, clip, statistics
        self.n_images, self.sigma, self.seed, self.stop_at = n_images, float(sigma), seed, stop_at
        self.device = next(generator.parameters()).device
        side = min(generator.config.resolution, stop_at or generator.config.resolution)
        if batch is None:
            # On a CPU few at once: larger feature maps are returned to the system after each layer, and
            # half of the time goes into getting them back (measured: 37 against 19 ms a picture).
            pixels = 2**18 if self.device.type == "cpu" else 2**24
            batch = min(512, pixels // (side * side))
        self.pairs = max(1, batch // 2)
        self._styles: Tensor | None = None

    @property
    def styles(self) -> Tensor:
        """Flat styles [n_images, size]; made when first needed, as a cached run never needs them."""
        if self._styles is None:
            psi = self.statistics.truncation_psi
            with torch.inference_mode():
                self._styles = torch.cat(
                    [
                        self.generator.style_space.concat(self.generator.styles(w_plus))
                        for w_plus in sample_w_plus(self.generator, self.n_images, self.seed, psi, 256)
                    ]
                )
        return self._styles

    def measure(self, layer: StyleLayer, report: Callable[[int], None]) -> Tensor:
        """Rows [layer.width, D] of one layer, float32 on the CPU."""
        n = self.n_images
        sums = torch.zeros(layer.width, self.clip.embed_dim, dtype=torch.float64)
        # A channel that never varies has nothing to push; it is not rendered and its row stays zero.
        alive = [c for c in range(layer.width) if float(self.statistics.std[layer.offset + c]) > 0]
        jobs = torch.cartesian_prod(torch.tensor(alive, dtype=torch.int64), torch.arange(n)).reshape(-1, 2)
        for start in range(0, len(jobs), self.pairs):
            channels, images = jobs[start : start + self.pairs].unbind(1)
            sums.index_add_(0, channels, self._differences(layer, channels, images))
            finished = (start + len(channels)) // n
            report(alive[finished - 1] + 1 if finished else 0)
        lengths = (sums / n).norm(dim=1, keepdim=True)
        return torch.where(lengths > _DEAD, sums / n / lengths.clamp_min(_DEAD), torch.zeros(())).float()

    def _differences(self, layer: StyleLayer, channels: Tensor, images: Tensor) -> Tensor:
        """Unit CLIP differences [P, D] (float64, CPU) of P pairs (channel, image)."""
        count = len(channels)
        flat = channels + layer.offset
        mean, std = self.statistics.mean[flat], self.statistics.std[flat]
        with torch.inference_mode():
            # Indexing copies: the styles that all pairs start from are never written to (defect D-G1).
            styles = self.styles[images.to(self.device).repeat(2)]
            values = torch.cat([mean - self.sigma * std, mean + self.sigma * std])
            rows = torch.arange(2 * count, device=self.device)
            styles[rows, flat.to(self.device).repeat(2)] = values.to(styles)
            parts = self.generator.style_space.split(styles)
            pictures = self.generator.synthesize(parts, noise="const", stop_at=self.stop_at).clamp(-1.0, 1.0)
            seen = self.clip.encode_image(pictures).detach().cpu().double()
            seen = seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-12)
            difference = seen[count:] - seen[:count]
            length = difference.norm(dim=1, keepdim=True)
            unit = torch.where(length > _DEAD, difference / length.clamp_min(_DEAD), torch.zeros(()))
        return unit.clone()


def _content(statistics: StyleStatistics, layer: StyleLayer) -> str:
    """Hash of what a layer's channels are set to and pushed by, wherever the numbers come from."""
    part = slice(layer.offset, layer.offset + layer.width)
    digest = hashlib.sha256(repr([statistics.n, statistics.seed, statistics.truncation_psi]).encode())
    digest.update(statistics.mean[part].numpy().tobytes() + statistics.std[part].numpy().tobytes())
    return digest.hexdigest()


def _cached_layer(
    probe: _Probe, layer: StyleLayer, fingerprint: str, report: Callable[[int], None]
) -> Tensor:
    """Rows of one layer from the cache, or measured and kept there."""
    key: dict[str, Any] = {
        "models": fingerprint,
        "layer": layer.name,
        "width": layer.width,
        "n_images": probe.n_images,
        "sigma": probe.sigma,
        "seed": probe.seed,
        "stop_at": probe.stop_at,
        "statistics": _content(probe.statistics, layer),
    }

    def compute() -> tuple[cache.Arrays, cache.Json]:
        return {"rows": probe.measure(layer, report).numpy()}, {}

    arrays, _ = cache.cached("relevance", key, LAYER_SCHEMA, compute)
    return torch.from_numpy(np.array(arrays["rows"], dtype=np.float32))

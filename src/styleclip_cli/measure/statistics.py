"""Mean and spread of every style channel over sampled faces: the units in which edits are made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.machine import cache
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.measure.pieces import Job, Piece, Report
from styleclip_cli.settings import StatisticsSettings

if TYPE_CHECKING:
    from styleclip_cli.nets.stylegan2 import Generator
    from styleclip_cli.nets.stylespace import StyleSpace

SCHEMA = "styleclip.statistics/1"
PIECE_SCHEMA = "styleclip.statistics-piece/1"
_DEFAULTS = StatisticsSettings()
_PIECE = 10_000  # samples
_PASSED = 1000  # samples that are drawn at once to be passed over


@dataclass(frozen=True, eq=False)
class StyleStatistics:
    """Mean and population standard deviation of each style channel.

    Attributes:
        mean: [size], float32, in StyleSpace order (toRGB layers included).
        std: [size], float32, >= 0.
        widths: Channels of each style layer; they sum to size.
        n: Number of samples.
        seed: Seed of the samples.
        truncation_psi: Truncation of the samples.
        measured: Whether anybody who measures with these settings gets them, but for rounding; and not what
            somebody put into a file.
    """

    mean: Tensor
    std: Tensor
    widths: tuple[int, ...]
    n: int
    seed: int
    truncation_psi: float
    measured: bool = False

    def __post_init__(self) -> None:
        size = sum(self.widths)
        if tuple(self.mean.shape) != (size,) or tuple(self.std.shape) != (size,):
            raise ValueError(
                f"mean {tuple(self.mean.shape)} and std {tuple(self.std.shape)}, widths sum to {size}"
            )

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from, as what depends on them is kept under.

        Measured ones differ from machine to machine in their last bits, which is no other provenance.
        """
        settings = asdict(StatisticsSettings(self.n, self.seed, self.truncation_psi))
        if self.measured:
            return settings
        digest = hashlib.sha256(self.mean.numpy().tobytes() + self.std.numpy().tobytes())
        return {**settings, "content": digest.hexdigest()}

    def check(self, space: StyleSpace) -> None:
        """Make sure that they are of a generator with this style space.

        Args:
            space: The style space.

        Raises:
            UsageError: If they are not.
        """
        if self.widths != tuple(space.widths):
            raise UsageError(
                f"statistics of {len(self.mean)} style channels for a generator with {space.size}",
                "measure the statistics of this generator",
            )

    def save(self, path: Path, fingerprint: str = "") -> None:
        """Write them for later.

        Args:
            path: File to write (.npz).
            fingerprint: The generator they were measured on.

        Raises:
            OutputError: If the file cannot be written.
        """
        arrays, meta = _pack(self)
        cache.save_npz(path, arrays, meta, schema=SCHEMA, key={"generator": fingerprint})

    @classmethod
    def load(
        cls, path: Path, fingerprint: str | None = None, widths: Sequence[int] | None = None
    ) -> StyleStatistics:
        """Read what `save` wrote.

        Args:
            path: File to read.
            fingerprint: The generator they must have been measured on; None accepts any.
            widths: The style layer widths they must have; None accepts any.

        Returns:
            On the CPU.

        Raises:
            BadInputError: If the file cannot be used, or belongs to another generator.
        """
        expect = {} if fingerprint is None else {"generator": fingerprint}
        statistics = _unpack(*cache.load_npz(path, schema=SCHEMA, expect=expect), str(path))
        if widths is not None and tuple(widths) != statistics.widths:
            raise BadInputError(
                f"{path}: for {len(statistics.mean)} style channels, this generator has {sum(widths)}",
                "measure them again: styleclip precompute-stats",
            )
        return statistics

    @classmethod
    def from_official(cls, arrays: Mapping[str, Tensor], widths: Sequence[int]) -> StyleStatistics:
        """Take statistics out of StyleCLIP's S_mean_std (official GetCode.py: 100,000 samples, seed 5).

        Args:
            arrays: "mean" and "std" [size], "widths" [layers].
            widths: The style layer widths of the generator they are for.

        Returns:
            On the CPU.

        Raises:
            BadInputError: If they are for another generator.
        """
        if arrays["widths"].tolist() != list(widths):
            raise BadInputError(
                f"the published statistics are for {len(arrays['mean'])} style channels, this generator has "
                f"{sum(widths)}",
                "measure them: leave them out of the model pack",
            )
        return cls(arrays["mean"], arrays["std"], tuple(widths), _DEFAULTS.n, _DEFAULTS.seed, 0.7)


def sample_styles(generator: Generator, n: int, seed: int, truncation_psi: float) -> Tensor:
    """Styles of the first samples; see `sample_w_plus`.

    Args:
        generator: Whose styles.
        n: How many.
        seed: As in `sample_w_plus`.
        truncation_psi: As in `sample_w_plus`.

    Returns:
        [n, size], on the generator's device.
    """
    space = generator.style_space
    with torch.no_grad():
        batches = sample_w_plus(generator, n, seed, truncation_psi, 256)
        # Tensors of inference mode have no derivatives; copies have.
        return torch.cat([space.concat(generator.styles(w_plus.clone())) for w_plus in batches])


def sample_w_plus(
    generator: Generator, n: int, seed: int, truncation_psi: float, batch: int, first: int = 0
) -> Iterator[Tensor]:
    """Draw latents the way the official preprocessing does.

    The z come from one legacy numpy stream, RandomState(seed), read in order: sample i is the same
    whatever the batch size, and the first k of n samples are the k samples of a smaller run.

    Args:
        generator: Whose latents.
        n: How many.
        seed: Seed of the stream.
        truncation_psi: w = w_avg + psi (w - w_avg), on all layers.
        batch: How many at once.
        first: Number of the first one; those before are passed over.

    Yields:
        W+ [<= batch, num_ws, w_dim] on the generator's device.
    """
    device = next(generator.parameters()).device
    stream = np.random.RandomState(seed)
    for start in range(0, first, _PASSED):
        stream.randn(min(_PASSED, first - start), generator.config.z_dim)
    for start in range(0, n, batch):
        z = stream.randn(min(batch, n - start), generator.config.z_dim).astype(np.float32)
        with torch.inference_mode():
            w_plus = generator.w_plus(torch.from_numpy(z).to(device), truncation_psi=truncation_psi)
        yield w_plus


class _Moments(NamedTuple):
    """Of some samples: how many, their mean, and the sum of squared distances from it; [size], float64."""

    number: int
    mean: Tensor
    squares: Tensor

    def joined(self, other: _Moments) -> _Moments:
        """Those of both together (Chan et al. 1979)."""
        number = self.number + other.number
        shift = other.mean - self.mean
        squares = self.squares + other.squares + shift.square() * (self.number * other.number / number)
        return _Moments(number, self.mean + shift * (other.number / number), squares)


def statistics_job(
    generator: Generator,
    settings: StatisticsSettings = _DEFAULTS,
    batch: int = 1000,
    fingerprint: str | None = None,
) -> Job:
    """The measurement in pieces of 10,000 samples.

    Args:
        generator: The generator to measure.
        settings: How.
        batch: How many samples at once.
        fingerprint: Hash of its weights; None keeps nothing in the cache.

    Returns:
        The job.

    Raises:
        UsageError: If the number of samples or the batch makes no sense.
    """
    if settings.n < 2 or batch < 1:
        raise UsageError(
            f"cannot measure a spread from {settings.n} samples in batches of {batch}", "use 100000 samples"
        )
    space = generator.style_space

    def piece(first: int, count: int) -> Piece:
        def compute(report: Report) -> cache.Arrays:
            found = _Moments(0, *torch.zeros(2, space.size, dtype=torch.float64))
            psi = settings.truncation_psi
            for w_plus in sample_w_plus(generator, count, settings.seed, psi, batch, first):
                with torch.inference_mode():
                    styles = space.concat(generator.styles(w_plus)).cpu().double()
                    mean = styles.mean(dim=0)
                    own = _Moments(len(styles), mean, (styles - mean).square().sum(dim=0))
                    found = found.joined(own)
                report(found.number / count)
            return {"mean": found.mean.numpy(), "squares": found.squares.numpy()}

        key = {**_key(generator, fingerprint or "", settings), "first": first, "count": count}
        return Piece(key, count, compute)

    firsts = range(0, settings.n, _PIECE)
    pieces = [piece(first, min(_PIECE, settings.n - first)) for first in firsts]
    return Job("statistics", PIECE_SCHEMA, pieces, keep=fingerprint is not None)


def measure_statistics(
    generator: Generator,
    n: int = _DEFAULTS.n,
    seed: int = _DEFAULTS.seed,
    truncation_psi: float = _DEFAULTS.truncation_psi,
    batch: int = 1000,
    fingerprint: str | None = None,
    progress: Advance = nothing,
) -> StyleStatistics:
    """Measure mean and population standard deviation of each style channel.

    As the official TensorFlow preprocessing (GetCode.py): 100,000 samples, seed 5, truncated by 0.7 on
    every layer. The official PyTorch variant truncates only the first eight W+ layers, which makes the
    standard deviations of its later layers larger by about 1 / 0.7.

    Memory does not grow with n: batches are merged in float64, in order, to pieces of 10,000 samples, and
    these in order to the whole. So the result depends on the batch size only by rounding, and not at all on
    who measured which piece.

    Args:
        generator: The generator to measure.
        n: Number of samples, at least 2.
        seed: Seed of the samples.
        truncation_psi: Truncation of the samples.
        batch: How many at once.
        fingerprint: Hash of the generator's weights; None keeps no piece in the cache.
        progress: Called with (done, n).

    Returns:
        On the CPU, float32.

    Raises:
        UsageError: If n or batch makes no sense.
    """
    settings = StatisticsSettings(n, seed, truncation_psi)
    job = statistics_job(generator, settings, batch, fingerprint)
    space = generator.style_space
    found = _Moments(0, *torch.zeros(2, space.size, dtype=torch.float64))
    for piece, arrays in zip(job.pieces, job.run(advance=progress), strict=True):
        own = _Moments(piece.amount, torch.tensor(arrays["mean"]), torch.tensor(arrays["squares"]))
        found = found.joined(own)
    std = (found.squares / found.number).sqrt()
    mean, widths = found.mean.float(), tuple(space.widths)
    return StyleStatistics(mean, std.float(), widths, n, seed, truncation_psi, measured=True)


def cached_statistics(
    generator: Generator,
    fingerprint: str,
    settings: StatisticsSettings = _DEFAULTS,
    progress: Advance = nothing,
) -> StyleStatistics:
    """Measure the statistics once per generator and settings; read them from the cache afterwards.

    Args:
        generator: The generator.
        fingerprint: Hash of its weights.
        settings: How to measure.
        progress: Called with (done, n) while measuring.

    Returns:
        On the CPU, float32.
    """

    def compute() -> tuple[cache.Arrays, cache.Json]:
        found = measure_statistics(generator, **asdict(settings), fingerprint=fingerprint, progress=progress)
        return _pack(found)

    key = _key(generator, fingerprint, settings)
    found = _unpack(*cache.cached("statistics", key, SCHEMA, compute), "cached statistics")
    return replace(found, measured=True)


def _key(generator: Generator, fingerprint: str, settings: StatisticsSettings) -> dict[str, Any]:
    """What statistics depend on."""
    widths = list(generator.style_space.widths)
    return {"generator": fingerprint, **asdict(settings), "widths": widths}


def _pack(statistics: StyleStatistics) -> tuple[cache.Arrays, cache.Json]:
    arrays = {"mean": statistics.mean.numpy(), "std": statistics.std.numpy()}
    settings = StatisticsSettings(statistics.n, statistics.seed, statistics.truncation_psi)
    return arrays, {"widths": list(statistics.widths), **asdict(settings)}


def _unpack(arrays: cache.Arrays, meta: cache.Json, origin: str) -> StyleStatistics:
    try:
        return StyleStatistics(
            mean=finite(arrays["mean"]),
            std=finite(arrays["std"]),
            widths=tuple(int(width) for width in meta["widths"]),
            n=int(meta["n"]),
            seed=int(meta["seed"]),
            truncation_psi=float(meta["truncation_psi"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadInputError(f"{origin}: not usable statistics ({error})", "measure them again") from None


def finite(values: Any) -> Tensor:
    """Take numbers out of a file.

    Args:
        values: An array.

    Returns:
        float32.

    Raises:
        ValueError: If one of them is not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    return torch.from_numpy(np.array(values, dtype=np.float32))

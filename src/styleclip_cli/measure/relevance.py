"""Channelwise relevance (paper section 6): what each style channel does to a face, in CLIP space.

`measure.exact` measures it as the paper does; `measure.gradient` estimates it from derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.errors import BadInputError
from styleclip_cli.machine import cache
from styleclip_cli.measure.statistics import finite
from styleclip_cli.nets.stylespace import indices_of
from styleclip_cli.settings import RelevanceSettings

if TYPE_CHECKING:
    from styleclip_cli.nets.stylespace import StyleSpace

SCHEMA = "styleclip.relevance/1"
_DEFAULTS = RelevanceSettings()
DEAD = 1e-6
"""Embeddings have unit length in float32: a shorter difference is rounding. The smallest real effects seen
are a hundred times longer."""


@dataclass(frozen=True, eq=False)
class Relevance:
    """Direction in CLIP space of each measured style channel.

    Attributes:
        matrix: [K, D], float32, rows of unit length; zero for channels without effect.
        channels: [K], int64, flat StyleSpace indices of the rows, ascending.
        size: Channels of the whole StyleSpace.
        n_images: Pairs of images per channel.
        sigma: How far channels were pushed, in standard deviations.
        seed: Seed of the images.
        stop_at: Resolution at which images were rendered; None for the generator's own.
        mode: "exact", or "gradient" if it is an estimate from derivatives.
    """

    matrix: Tensor
    channels: Tensor
    size: int
    n_images: int = _DEFAULTS.n_images
    sigma: float = _DEFAULTS.sigma
    seed: int = _DEFAULTS.seed
    stop_at: int | None = None
    mode: str = "exact"

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.channels.shape != self.matrix.shape[:1]:
            raise ValueError(f"matrix {tuple(self.matrix.shape)}, channels {tuple(self.channels.shape)}")
        steps = self.channels.diff()
        if len(self.channels) and (
            self.channels[0] < 0 or self.channels[-1] >= self.size or (len(steps) and steps.min() < 1)
        ):
            raise ValueError("channels must ascend and lie inside the StyleSpace")

    @classmethod
    def measured(
        cls, matrix: Tensor, channels: Tensor, size: int, settings: RelevanceSettings, mode: str = "exact"
    ) -> Relevance:
        """What was measured.

        Args:
            matrix: As in the attributes.
            channels: As in the attributes.
            size: As in the attributes.
            settings: How it was.
            mode: As in the attributes.

        Returns:
            The relevance.
        """
        how = settings.n_images, settings.sigma, settings.seed, settings.stop_at
        return cls(matrix, channels, size, *how, mode)

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
        meta = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in arrays}
        cache.save_npz(path, arrays, meta, schema=SCHEMA, key={"models": fingerprint})

    @classmethod
    def load(cls, path: Path, fingerprint: str | None = None, size: int | None = None) -> Relevance:
        """Read what `save` wrote.

        Args:
            path: File to read.
            fingerprint: The generator and CLIP it must have been measured with; None accepts any.
            size: Style channels that the generator must have; None accepts any.

        Returns:
            On the CPU.

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
                mode=str(meta.get("mode", "exact")),
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

        Returns:
            On the CPU.

        Raises:
            BadInputError: If it has another number of rows than either.
        """
        matrix = arrays["matrix"]
        for choice in ("fs3", "conv"):
            layers = space.editable(choice)
            if sum(layer.width for layer in layers) == len(matrix):
                return cls(unit_rows(matrix), indices_of(layers), space.size)
        raise BadInputError(
            f"the published relevance has {len(matrix)} rows, which is no choice of this generator's layers",
            "measure it: leave it out of the model pack",
        )


def unit_rows(rows: Tensor) -> Tensor:
    """Bring rows to unit length; those that are nothing but rounding become zero.

    What is not finite stays so, to be refused: as zero it would be taken for a channel without effect.

    Args:
        rows: [..., D].

    Returns:
        [..., D].
    """
    lengths = rows.norm(dim=-1, keepdim=True)
    return torch.where(lengths <= DEAD, rows.new_zeros(()), rows / lengths.clamp_min(DEAD))

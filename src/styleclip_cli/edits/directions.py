"""Global directions: a prompt becomes one direction in style space, the same for every face.

Paper section 6; official MapTS.GetBoundary. Let r be the cosine between a channel's relevance and the text
direction. Channels with |r| < beta are dropped; for the others, r is divided by max |r| and multiplied by the
channel's standard deviation. An edit adds alpha times that, so the most relevant channel is shifted by alpha
standard deviations. (The division by the maximum and the factor of the standard deviation are in the official
code, not in the paper's formula.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.fingerprints import same
from styleclip_cli.machine import cache
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.measure.statistics import StyleStatistics
from styleclip_cli.settings import DirectionSettings

if TYPE_CHECKING:
    from styleclip_cli.inversion import FaceLatent
    from styleclip_cli.nets.stylespace import StyleLayer, StyleSpace

SCHEMA = "styleclip.direction/1"
_DEFAULTS = DirectionSettings()


class TopChannel(NamedTuple):
    """One channel of a direction.

    Attributes:
        layer: Its style layer.
        channel: Its index inside the layer.
        relevance: Cosine between its relevance and the text direction.
        delta: Its shift at alpha = 1.
    """

    layer: StyleLayer
    channel: int
    relevance: float
    delta: float


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in style space.

    Attributes:
        delta: [size], float32: the offset of the styles at alpha = 1; zero in unused channels. For a
            direction found from a text, alpha is the shift of the most relevant channel in standard
            deviations.
        relevance: [size], float32: cosine of each used channel with the text direction; for one that was
            not found from a text, with the direction itself.
        beta: Threshold of |relevance|.
        num_channels: Number of channels that are shifted.
        target: The text it leads to.
        neutral: The text it starts from.
        widths: Channels of each style layer.
        fingerprint: Hash of the generator it is for ("" if not known).
        confidence: How surely the pack understands its text, 0 to 1 (`confidence.confidence`); None if that
            is not known.
        source: What it was made from, if from no text ("SeFa component 3, W+ layers 0-5").
        unit: What alpha counts then ("distance in W").
        alpha: Strength when none is given; None for the pack's.
    """

    delta: Tensor
    relevance: Tensor
    beta: float
    num_channels: int
    target: str
    neutral: str
    widths: tuple[int, ...]
    fingerprint: str = ""
    confidence: float | None = None
    source: str = ""
    unit: str = ""
    alpha: float | None = None

    def __post_init__(self) -> None:
        size = sum(self.widths)
        if tuple(self.delta.shape) != (size,) or tuple(self.relevance.shape) != (size,):
            raise ValueError(f"delta {tuple(self.delta.shape)}, widths sum to {size}")

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Edit faces: alpha times `delta` is added to their styles.

        Args:
            face: One face, or several joined.
            alphas: Strengths.

        Returns:
            The face at each strength.
        """
        return [face.moved(style_offset=alpha * self.delta.to(face.w_plus)[None]) for alpha in alphas]

    def entries(self) -> dict[str, Any]:
        """Its entries in a recipe."""
        if self.source:
            return {"channels": self.num_channels}
        return {"beta": self.beta, "channels": self.num_channels, "confidence": self.confidence}

    def summary(self) -> str:
        """Threshold and number of channels; or what it was made from."""
        return self.source or f"beta {self.beta:.9g}  {self.num_channels} channels"

    def top(self, n: int, style_space: StyleSpace) -> list[TopChannel]:
        """List the most relevant channels, by |relevance|.

        Args:
            n: How many at most.
            style_space: Names the channels.

        Returns:
            At most n, in descending order.
        """
        order = self.relevance.abs().sort(descending=True, stable=True).indices[: min(n, self.num_channels)]
        rows = []
        for flat in order.tolist():
            layer, channel = style_space.locate(flat)
            rows.append(TopChannel(layer, channel, float(self.relevance[flat]), float(self.delta[flat])))
        return rows

    def save(self, path: Path) -> None:
        """Write it as .npz, to be used again.

        Args:
            path: File to write (.npz).

        Raises:
            OutputError: If the file cannot be written.
        """
        arrays = {"delta": self.delta.numpy(), "relevance": self.relevance.numpy()}
        meta = {
            "beta": self.beta,
            "num_channels": self.num_channels,
            "target": self.target,
            "neutral": self.neutral,
            "widths": list(self.widths),
            "fingerprint": self.fingerprint,
            "confidence": self.confidence,
            "source": self.source,
            "unit": self.unit,
            "alpha": self.alpha,
        }
        cache.save_npz(path, arrays, meta, schema=SCHEMA)

    @classmethod
    def load(
        cls, path: Path, widths: Sequence[int] | None = None, fingerprint: str | None = None
    ) -> Direction:
        """Read what `save` wrote.

        Args:
            path: File to read.
            widths: Style layer widths of the generator it is to be used on; None accepts any.
            fingerprint: Hash of that generator; None accepts any.

        Returns:
            The direction.

        Raises:
            BadInputError: If the file is damaged, or the direction is for another generator.
        """
        arrays, meta = cache.load_npz(path, schema=SCHEMA)
        try:
            direction = cls(
                delta=torch.from_numpy(arrays["delta"].astype(np.float32)),
                relevance=torch.from_numpy(arrays["relevance"].astype(np.float32)),
                beta=float(meta["beta"]),
                num_channels=int(meta["num_channels"]),
                target=str(meta["target"]),
                neutral=str(meta["neutral"]),
                widths=tuple(int(width) for width in meta["widths"]),
                fingerprint=str(meta["fingerprint"]),
                confidence=None if meta.get("confidence") is None else float(meta["confidence"]),
                source=str(meta.get("source", "")),
                unit=str(meta.get("unit", "")),
                alpha=None if meta.get("alpha") is None else float(meta["alpha"]),
            )
            if not 0 <= direction.beta <= 1 or not 0 <= (direction.confidence or 0) <= 1:
                raise ValueError("out of range")
            if not math.isfinite(direction.alpha or 0):
                raise ValueError("its strength is not finite")
            if not direction.delta.isfinite().all() or not direction.relevance.isfinite().all():
                raise ValueError("not finite")
        except (KeyError, ValueError, TypeError) as error:
            raise BadInputError(f"{path}: not a usable direction ({error})", "find it again") from None
        if widths is not None and tuple(widths) != direction.widths:
            raise BadInputError(
                f"{path}: for {len(direction.delta)} style channels, this generator has {sum(widths)}",
                "find the direction again with these models",
            )
        # A direction that does not say its generator fits by its widths alone.
        if fingerprint is None or not direction.fingerprint:
            return direction
        if not same(direction.fingerprint, fingerprint):
            raise BadInputError(
                f"{path}: for another generator of the same form",
                "find the direction again with these models",
            )
        return replace(direction, fingerprint=fingerprint)  # by its present name


def find_direction(
    relevance: Relevance,
    statistics: StyleStatistics,
    text_direction: Tensor,
    *,
    beta: float | None = None,
    channels: int = _DEFAULTS.channels,
    rule: Literal["channels", "gui"] = _DEFAULTS.rule,
    gui_threshold: int = _DEFAULTS.gui_threshold,
    target: str = "",
    neutral: str = "",
    fingerprint: str = "",
) -> Direction:
    """Turn a direction in CLIP space into one in style space.

    Args:
        relevance: Relevance of each channel in CLIP space.
        statistics: Standard deviation of each channel.
        text_direction: [D], unit length.
        beta: Smallest |cosine| of a channel that is shifted; None chooses it.
        channels: For rule "channels": how many are shifted.
        rule: "channels", or "gui" for the official interface's choice.
        gui_threshold: For rule "gui": more channels than this.
        target: Text it leads to, kept with it.
        neutral: Text it starts from, kept with it.
        fingerprint: Hash of the generator, kept with it.

    Returns:
        The direction, on the CPU.

    Raises:
        UsageError: If no channel is left, or beta is not a number from 0 to 1.
    """
    size = sum(statistics.widths)
    if relevance.size != size:
        raise UsageError(
            f"relevance for {relevance.size} style channels, statistics of {size}", "measure both again"
        )
    if text_direction.shape != relevance.matrix.shape[1:]:
        raise UsageError(
            f"text direction {tuple(text_direction.shape)}, relevance {tuple(relevance.matrix.shape)}",
            "use one CLIP for both",
        )
    if rule not in ("channels", "gui"):
        raise UsageError(f"no rule {rule!r} for beta", "channels, or gui")
    if beta is not None and not 0.0 <= beta <= 1.0:  # also refuses NaN
        raise UsageError(f"beta {beta:g} is not between 0 and 1", "leave it out to have it chosen")
    cosines = relevance.matrix.double() @ text_direction.detach().cpu().double()  # [K]
    strength = cosines.abs()
    largest = float(strength.max()) if len(strength) else 0.0
    if largest <= 0.0 or not math.isfinite(largest):
        raise UsageError("no measured style channel answers to this text", "use other words, or more layers")
    if beta is None:
        beta = gui_beta(strength, gui_threshold) if rule == "gui" else beta_for_channels(strength, channels)
    kept = (strength >= beta) & (strength > 0)
    if not kept.any():
        usable = math.floor(largest * 1000) / 1000 or math.floor(largest * 1e9) / 1e9
        raise UsageError(
            f"no style channel has a relevance of {beta:g} or more; the largest usable beta is {usable:g}",
            f"--beta {usable:g} or less, or leave it out to have it chosen",
        )
    flat = relevance.channels[kept]
    cosine = torch.zeros(size, dtype=torch.float64)
    cosine[flat] = cosines[kept]
    delta = cosine / largest * statistics.std.double()
    return Direction(
        delta=delta.float(),
        relevance=cosine.float(),
        beta=float(beta),
        num_channels=int(kept.sum()),
        target=target,
        neutral=neutral,
        widths=statistics.widths,
        fingerprint=fingerprint,
    )


def beta_for_channels(strength: Tensor, channels: int) -> float:
    """Choose beta so that a number of channels is kept (more in case of ties).

    The number with the fewest decimals between the last channel kept and the first one dropped is taken, so
    that the printed beta gives the same channels when it is entered.

    Args:
        strength: [K], |cosine| of each channel.
        channels: How many to keep, at least 1; all that answer at all if there are fewer.

    Returns:
        From 0 to 1.

    Raises:
        UsageError: If channels is less than 1.
    """
    if channels < 1:
        raise UsageError(f"cannot keep {channels} style channels", "keep at least one")
    ordered = strength[strength > 0].sort(descending=True).values
    if len(ordered) == 0:
        return 0.0
    kept = float(ordered[min(channels, len(ordered)) - 1])
    below = ordered[ordered < kept]
    dropped = float(below[0]) if len(below) else 0.0
    for digits in range(2, 10):
        beta = math.floor(kept * 10**digits) / 10**digits
        if dropped < beta <= kept:
            return beta
    return kept


def gui_beta(strength: Tensor, threshold: int = _DEFAULTS.gui_threshold) -> float:
    """Choose beta as the official interface does.

    The largest of 0.10, 0.11 ... 0.29 with more than `threshold` channels, else 0.10.

    Args:
        strength: [K], |cosine| of each channel.
        threshold: Officially 20 for FFHQ, 100 for other models.

    Returns:
        From 0.10 to 0.29.
    """
    grid = [step / 100 for step in range(29, 9, -1)]
    return next((beta for beta in grid if int((strength >= beta).sum()) > threshold), 0.1)

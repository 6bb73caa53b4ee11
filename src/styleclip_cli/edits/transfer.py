"""Edits by reference: the hair of a second person on the first.

Style channels that are relevant to the prompt take the styles of the second face; the others stay. The
relevance is that of global directions, in absolute value, as its sign does not matter here. A prompt may
stand for several phrases (see `edits.parts`); a channel is used if it is relevant to any of them.

Without a prompt, whole W+ layers are transferred: style mixing (Karras et al. 2019, section 3.1). As styles
are affine in W+, that too is a selection of style channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from styleclip_cli.edits.directions import beta_for_channels
from styleclip_cli.edits.parts import CHANNELS
from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.nets.stylespace import StyleSpace
from styleclip_cli.synthesize import styles_of_face


@dataclass(frozen=True, eq=False)
class Transfer:
    """Interpolation of a face towards another one, in some style channels.

    Attributes:
        generator: Whose styles these are.
        reference: [1, size], the other face's styles.
        weight: [size] in [0, 1]: weight of each channel at alpha = 1.
        target: What is transferred, in words.
        neutral: The text that its phrases are compared with; "" for style mixing.
        phrases: The phrases that channels were compared with.
        beta: Relevance threshold; None if each phrase had its own.
        layers: The W+ layers of style mixing; empty with a prompt.
    """

    generator: Generator
    reference: Tensor
    weight: Tensor
    target: str
    neutral: str = ""
    phrases: tuple[str, ...] = ()
    beta: float | None = None
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        size = self.generator.style_space.size
        if tuple(self.reference.shape) != (1, size) or tuple(self.weight.shape) != (size,):
            raise ValueError(f"reference {tuple(self.reference.shape)}, weight {tuple(self.weight.shape)}")

    @property
    def num_channels(self) -> int:
        """Number of channels that are used."""
        return int((self.weight > 0).sum())

    def edited(self, face: FaceLatent, alphas: Sequence[float]) -> list[FaceLatent]:
        """Move faces towards the other one.

        Args:
            face: One face, or several joined.
            alphas: Strengths: 1 takes over its styles, negative ones move away from them.

        Returns:
            The face at each strength.
        """
        styles = styles_of_face(self.generator, face)
        step = self.weight.to(styles) * (self.reference.to(styles) - styles)
        return [face.moved(style_offset=alpha * step) for alpha in alphas]

    def entries(self) -> dict[str, Any]:
        """Its entries in a recipe."""
        found: dict[str, Any] = {"beta": self.beta, "channels": self.num_channels}
        return found | ({"layers": ",".join(map(str, self.layers))} if self.layers else {})

    def summary(self) -> str:
        """Threshold, phrases or layers, and number of channels."""
        words = [] if self.beta is None else [f"beta {self.beta:.9g}"]
        if len(self.phrases) > 1:
            words.append(f"{len(self.phrases)} phrases")
        if self.layers:
            words.append(f"{len(self.layers)} layers")
        return "  ".join([*words, f"{self.num_channels} channels"])


def styles_of_one(generator: Generator, face: FaceLatent) -> Tensor:
    """Styles of a reference.

    Args:
        generator: Whose styles.
        face: A single face.

    Returns:
        [1, size].

    Raises:
        UsageError: If it is several faces.
    """
    if len(face.w_plus) != 1:
        raise UsageError(f"{len(face.w_plus)} faces to take from", "one reference")
    return styles_of_face(generator, face)


def relevant_channels(
    relevance: Relevance, directions: Tensor, beta: float | None = None, channels: int | None = None
) -> tuple[Tensor, float | None]:
    """Choose the channels that are relevant to any of some directions in CLIP space.

    Args:
        relevance: Relevance of each channel in CLIP space.
        directions: [P, D], of unit length.
        beta: Smallest |cosine| of a used channel; None chooses one for each direction.
        channels: How many each direction then keeps; None takes `CHANNELS`.

    Returns:
        Weights [size], 1 for used channels and 0 for the others; and beta, if all directions had the same.

    Raises:
        UsageError: If no channel is left, or beta is not a number from 0 to 1.
    """
    if beta is not None and not 0.0 <= beta <= 1.0:  # also refuses NaN
        raise UsageError(f"beta {beta:g} is not between 0 and 1", "leave it out to have it chosen")
    strength = (relevance.matrix.double() @ directions.detach().cpu().double().T).abs()  # [K, P]
    largest = float(strength.max()) if strength.numel() else 0.0
    if largest <= 0.0 or not math.isfinite(largest):
        raise UsageError("no measured style channel answers to this text", "use other words, or more layers")
    count = CHANNELS if channels is None else channels
    betas = [beta_for_channels(column, count) if beta is None else beta for column in strength.T]
    kept = ((strength >= torch.tensor(betas, dtype=torch.float64)) & (strength > 0)).any(dim=1)
    if not kept.any():
        usable = math.floor(largest * 1000) / 1000 or math.floor(largest * 1e9) / 1e9
        raise UsageError(
            f"no style channel has a relevance of {beta:g} or more; the largest usable beta is {usable:g}",
            f"--beta {usable:g} or less, or leave it out to have it chosen",
        )
    weight = torch.zeros(relevance.size)
    weight[relevance.channels[kept]] = 1.0
    return weight, betas[0] if len(set(betas)) == 1 else None


def channels_of_layers(space: StyleSpace, layers: Sequence[int]) -> Tensor:
    """Choose the channels whose styles come from some W+ vectors.

    Args:
        space: Of the generator.
        layers: Numbers of the W+ vectors.

    Returns:
        Weights [size], 1 for those and 0 for the others.

    Raises:
        UsageError: If there are no such layers.
    """
    if not layers or min(layers) < 0 or max(layers) >= space.num_ws:
        raise UsageError(f"this generator has the layers 0 to {space.num_ws - 1}", "some of these")
    weight = torch.zeros(space.size)
    for layer in space.layers:
        if layer.ws_index in layers:
            weight[layer.offset : layer.offset + layer.width] = 1.0
    return weight

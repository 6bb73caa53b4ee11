"""Images -> W+ latents, by methods of rising quality.

`invert` runs the one that is wanted: `encode` asks the encoder; `refine` moves W+ from there until the
generator shows the image; then `features` moves the features of one layer, or `pivotal` the generator itself
a little.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.inversion import features
from styleclip_cli.inversion.encode import content_hash, encode, resized
from styleclip_cli.inversion.features import FeatureResidual
from styleclip_cli.inversion.perceptual import Perceptual
from styleclip_cli.inversion.pivotal import TUNING, from_arrays, pivotal, to_arrays, tuned
from styleclip_cli.inversion.refine import Deadline, ImageLoss, frozen, refine
from styleclip_cli.nets.e4e import Encoder
from styleclip_cli.nets.irse import ArcFace
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import InversionSettings

__all__ = [
    "TUNING",
    "FaceLatent",
    "FeatureResidual",
    "Perceptual",
    "Quality",
    "content_hash",
    "encode",
    "from_arrays",
    "invert",
    "invert_together",
    "measured",
    "refine",
    "resized",
    "to_arrays",
    "tuned",
]

SCHEMA = "styleclip.inversion/1"


@dataclass(frozen=True)
class Quality:
    """How close the generator comes to an image.

    Attributes:
        mse: Mean squared difference, images in [0, 1].
        perceptual: Perceptual distance; 0 is the same, see `perceptual`.
        identity: Cosine of the face embeddings; None without an identity network.
        seconds: What the inversion took.
    """

    mse: float
    perceptual: float
    identity: float | None
    seconds: float

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB."""
        return -10 * math.log10(max(self.mse, 1e-10))


@dataclass(frozen=True, eq=False)
class FaceLatent:
    """What was found for one image, and what edits made of it.

    Several faces can be one: [N, ...] in the place of [1, ...], if none stands `alone` (`joined`, `split`).

    Attributes:
        w_plus: [1, num_ws, w_dim].
        weight_deltas: What the generator's tensors gain for this image, by name; empty if it stays as it is.
        quality: How close it comes; None if that was not measured, or it was edited.
        style_offset: [1, size], what edits in StyleSpace added to the styles of `w_plus`; None for nothing.
        residual: What features gain for this image; None for nothing.
    """

    w_plus: Tensor
    weight_deltas: Mapping[str, Tensor] = field(default_factory=dict)
    quality: Quality | None = None
    style_offset: Tensor | None = None
    residual: FeatureResidual | None = None

    @property
    def alone(self) -> bool:
        """Whether it cannot be joined with others: its generator or its features are its own."""
        return bool(self.weight_deltas) or self.residual is not None

    def moved(self, w_plus: Tensor | None = None, style_offset: Tensor | None = None) -> FaceLatent:
        """The same face after an edit.

        Args:
            w_plus: What is added to W+, of its shape; None for nothing.
            style_offset: What is added to the styles, [N or 1, size]; None for nothing.

        Returns:
            A new one; `quality` no longer holds.
        """
        if style_offset is not None:
            style_offset = style_offset.expand(len(self.w_plus), -1)
            if self.style_offset is not None:
                style_offset = self.style_offset.to(style_offset) + style_offset
        return replace(
            self,
            w_plus=self.w_plus if w_plus is None else self.w_plus + w_plus.to(self.w_plus),
            style_offset=self.style_offset if style_offset is None else style_offset,
            quality=None,
        )

    @classmethod
    def joined(cls, faces: Sequence[FaceLatent]) -> FaceLatent:
        """Several faces as one, to be worked on at once.

        Args:
            faces: One after the other.

        Returns:
            One of N faces.

        Raises:
            ValueError: If one of them stands alone.
        """
        if len(faces) == 1:
            return faces[0]
        if any(face.alone for face in faces):
            raise ValueError("faces with generators or features of their own cannot be joined")
        shifts = [face.style_offset for face in faces if face.style_offset is not None]
        style_offset = None
        if shifts:
            nothing = torch.zeros_like(shifts[0][:1])
            style_offset = torch.cat(
                [
                    nothing.expand(len(f.w_plus), -1) if f.style_offset is None else f.style_offset
                    for f in faces
                ]
            )
        return cls(torch.cat([face.w_plus for face in faces]), style_offset=style_offset)

    def split(self) -> list[FaceLatent]:
        """Each face on its own.

        Returns:
            N of one face.
        """
        if len(self.w_plus) == 1:
            return [self]
        shifts = [None] * len(self.w_plus) if self.style_offset is None else self.style_offset.split(1)
        return [
            replace(self, w_plus=w, style_offset=s) for w, s in zip(self.w_plus.split(1), shifts, strict=True)
        ]

    def to_arrays(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and details to be kept.

        Returns:
            Arrays by name, and details as JSON can hold them.
        """
        arrays = {"w_plus": self.w_plus.detach().cpu().numpy(), **to_arrays(self.weight_deltas)}
        if self.residual is not None:
            arrays |= self.residual.to_arrays()
        if self.style_offset is not None:
            arrays["shift"] = self.style_offset.detach().cpu().numpy()
        return arrays, {} if self.quality is None else asdict(self.quality)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> FaceLatent:
        """What `to_arrays` kept.

        Args:
            arrays: By name.
            details: The quality; empty for none.

        Returns:
            On the CPU.

        Raises:
            ValueError: If it is something else.
        """
        quality = Quality(**details) if details else None
        style_offset = torch.from_numpy(arrays["shift"]).float() if "shift" in arrays else None
        return cls(
            torch.from_numpy(arrays["w_plus"]),
            from_arrays(arrays),
            quality,
            style_offset,
            FeatureResidual.from_arrays(arrays),
        )


def invert(
    image: Tensor,
    encoder_input: Tensor,
    generator: Generator,
    encoder: Encoder,
    perceptual: Perceptual | None,
    identity: ArcFace | None,
    settings: InversionSettings,
    progress: Callable[[int, int], None] | None = None,
) -> FaceLatent:
    """Invert one image.

    Args:
        image: [1, 3, H, W] in [-1, 1].
        encoder_input: The same image as the encoder is to see it, [1, 3, H', W'].
        generator: The generator to match.
        encoder: Image -> W+.
        perceptual: Perceptual distance; None for the encoder alone.
        identity: Face embeddings; None where there are no faces.
        settings: Which method, and how many steps.
        progress: Called with (done, total) steps.

    Returns:
        The latent, on the generator's device.
    """
    began = time.monotonic()
    deadline = Deadline(settings.budget, progress, settings.total_steps)
    w_plus = encode(encoder, encoder_input, generator)
    if settings.inverter == "encoder":  # measuring would take longer than asking it: see `measured`
        return FaceLatent(w_plus)
    assert perceptual is not None
    residual = None
    with tuned(generator, {}):  # noise and weights are moved in place: other threads wait
        w_plus, changes = refine(generator, w_plus, image, settings, perceptual, identity, deadline)
        if settings.inverter == "pivotal":
            changes |= pivotal(generator, w_plus, image, settings, perceptual, changes, deadline)
        if settings.inverter == "features":
            with tuned(generator, changes), frozen(generator, identity):
                target = resized(image.detach().to(w_plus).clone(), generator.config.resolution)
                loss = ImageLoss(target, settings, perceptual, identity)
                residual = features.fit(generator, w_plus, loss, settings, deadline)
    seconds = time.monotonic() - began
    found = FaceLatent(w_plus, changes, residual=residual)
    return measured(found, image, generator, perceptual, identity, seconds)


def invert_together(
    images: Tensor,
    encoder_inputs: Tensor,
    generator: Generator,
    encoder: Encoder,
    perceptual: Perceptual,
    identity: ArcFace | None,
    settings: InversionSettings,
    progress: Callable[[int, int], None] | None = None,
) -> list[FaceLatent]:
    """Invert several images of one person by pivotal tuning: one generator is tuned for all of them.

    Args:
        images: [N, 3, H, W] in [-1, 1].
        encoder_inputs: The same images as the encoder is to see them, [N, 3, H', W'].
        generator: As in `invert`.
        encoder: As in `invert`.
        perceptual: As in `invert`.
        identity: As in `invert`.
        settings: How many steps; the noise stays as it is.
        progress: Called with (done, total) steps.

    Returns:
        One for each image; `weight_deltas` are the same for all.
    """
    began = time.monotonic()
    total = len(images) * settings.steps + settings.pivotal_steps
    deadline = Deadline(settings.budget, progress, total)
    settings = replace(settings, noise=False)
    with tuned(generator, {}):
        codes = encode(encoder, encoder_inputs, generator)
        pivots = torch.cat([
            refine(generator, code, image, settings, perceptual, identity, deadline)[0]
            for code, image in zip(codes.split(1), images.split(1), strict=True)
        ])  # fmt: skip
        changes = pivotal(generator, pivots, images, settings, perceptual, {}, deadline)
    seconds = (time.monotonic() - began) / len(images)
    return [
        measured(FaceLatent(w_plus, changes), image, generator, perceptual, identity, seconds)
        for w_plus, image in zip(pivots.split(1), images.split(1), strict=True)
    ]


@torch.no_grad()
def measured(
    found: FaceLatent,
    image: Tensor,
    generator: Generator,
    perceptual: Perceptual,
    identity: ArcFace | None,
    seconds: float,
) -> FaceLatent:
    """An inversion with how close it comes.

    Args:
        found: What was found for the image.
        image: The image, [1, 3, H, W] in [-1, 1].
        generator: As in `invert`.
        perceptual: As in `invert`.
        identity: As in `invert`.
        seconds: What finding it took.

    Returns:
        The same with its quality.
    """
    with tuned(generator, found.weight_deltas):
        if found.residual is None:
            shown = generator(found.w_plus).clamp(-1, 1)
        else:
            shown = found.residual.synthesize(generator, generator.styles(found.w_plus)).clamp(-1, 1)
    wanted = resized(image.to(shown), shown.shape[-1])
    cosine = None if identity is None else float((identity.embed(shown) * identity.embed(wanted)).sum())
    quality = Quality(
        mse=float(((shown - wanted) / 2).square().mean()),
        perceptual=float(perceptual(shown, perceptual.features(wanted)).mean()),
        identity=cosine,
        seconds=seconds,
    )
    return replace(found, quality=quality)

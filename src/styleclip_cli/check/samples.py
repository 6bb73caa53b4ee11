"""What the checks look at: sampled faces, made once and shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.engine import Engine
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.progress import Advance, nothing
from styleclip_cli.photo.align import OF_FACES, Face
from styleclip_cli.save import to_image
from styleclip_cli.weights.expected import Expected


class NotApplicableError(Exception):
    """A check cannot be made of this pack, and why."""


@dataclass(frozen=True)
class Amounts:
    """How much is looked at.

    Attributes:
        samples: Sampled faces.
        inverted: How many of them are inverted.
        refined: How many of these are refined.
        steps: Steps of refining each.
        edited: Faces that are edited by each sentence.
        pieces: Pieces of the relevance (16 channels each) that are measured again.
        pushed: On how many faces.
        styles: Latents that statistics are measured on.
    """

    samples: int = 32
    inverted: int = 12
    refined: int = 2
    steps: int = 20
    edited: int = 8
    pieces: int = 4
    pushed: int = 6
    styles: int = 4000


LARGE = Amounts(samples=16, inverted=4, refined=1, steps=8, edited=3, pieces=1, pushed=2, styles=2000)
"""Of generators above 256 pixels: a few minutes on two cores."""
_LARGE_FROM = 512
_CROWD, _CROWDS = 8, 1
"""More faces than these in one image are no portrait; after so many such images no more are looked at."""
SHEET_COLUMNS = 8


class Samples:
    """Sampled faces of a pack, with what other checks want to know of them.

    Args:
        engine: The pack's.
        seed: Of the first sample.
        amounts: How much is looked at; None fits it to the resolution.

    Attributes:
        engine: As given.
        expected: What the pack's file expects.
        pictures: What was looked at, in rows with captions, for a sheet.
        advance: Takes how far the check at hand is.
        kept: What several checks use, by name.
    """

    def __init__(self, engine: Engine, seed: int = 0, amounts: Amounts | None = None) -> None:
        self.engine = engine
        self.seed = seed
        self.amounts = amounts or (LARGE if engine.pack.resolution >= _LARGE_FROM else Amounts())
        self.pictures: dict[str, list[Image.Image]] = {}
        self.advance: Advance = nothing
        self.kept: dict[str, Any] = {}

    @property
    def expected(self) -> Expected:
        """What the pack's file expects."""
        return self.engine.pack.expected

    @property
    def of_faces(self) -> bool:
        """Whether the pack can find faces."""
        pack = self.engine.pack
        return pack.alignment in OF_FACES and {"landmarks", "detector"} <= set(pack.components)

    @cached_property
    def w_plus(self) -> Tensor:
        """Their latents, W+ [N, num_ws, w_dim]."""
        return self.engine.sample(range(self.seed, self.seed + self.amounts.samples))

    @cached_property
    def images(self) -> Tensor:
        """Rendered, [N, 3, R, R] in [-1, 1], on the CPU."""
        return self.render(FaceLatent(self.w_plus), "rendering").clamp(-1, 1)

    @cached_property
    def faces(self) -> list[Face | None]:
        """The largest face that the finder sees in each, None where it sees none, or faces everywhere."""
        found: list[Face | None] = []
        everywhere = 0
        for number, image in enumerate(self.images):
            # A finder that sees a crowd in a portrait takes minutes for it, and is broken.
            some = self.engine.landmarker.find(to_image(image)) if everywhere < _CROWDS else []
            everywhere += len(some) > _CROWD
            found.append(some[0] if 0 < len(some) <= _CROWD else None)
            self.advance(number + 1, len(self.images), "finding faces")
        return found

    @cached_property
    def seen(self) -> Tensor:
        """CLIP's embeddings of them, [N, D] of unit length."""
        return self.engine.judge.clip_embeddings(self.images)

    def render(self, face: FaceLatent, note: str = "") -> Tensor:
        """Render faces one by one, telling how far it is.

        Args:
            face: N faces joined.
            note: What it is for.

        Returns:
            [N, 3, R, R], nominally in [-1, 1], on the CPU.
        """
        images = []
        singles = face.split()
        for number, one in enumerate(singles):
            images.append(self.engine.render([one]))
            self.advance(number + 1, len(singles), note)
        return torch.cat(images)

    def show(self, caption: str, images: Sequence[Image.Image] | Tensor) -> None:
        """Put images on the sheet, as a row.

        Args:
            caption: What they are.
            images: Up to eight are shown.
        """
        some = images[:SHEET_COLUMNS]
        self.pictures[caption] = [to_image(one) if isinstance(one, Tensor) else one for one in some]

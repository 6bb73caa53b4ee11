"""Embeddings of images and texts by CLIP and the identity network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from styleclip_cli.edits import prompts
from styleclip_cli.edits.confidence import null_texts
from styleclip_cli.errors import OutputError
from styleclip_cli.machine import cache
from styleclip_cli.machine.progress import Progress, silent
from styleclip_cli.settings import DEFAULT_NEUTRAL

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip
    from styleclip_cli.networks import Networks

ClipPart = Literal["clip", "judge_clip"]
FacePart = Literal["identity", "second_identity"]

_BATCH = 16
_SCHEMA = "styleclip.text-direction/1"
_TEXT_SCHEMA = "styleclip.text/1"
_NULL_SCHEMA = "styleclip.null-directions/1"
_FEW_TEMPLATES = prompts.IMAGENET_TEMPLATES[::20]
"""Enough for what is only compared."""


class Judge:
    """Embeds images and texts with a pack's CLIP and identity network, each loaded when first needed.

    Args:
        networks: The networks of the pack.
        clip: Which CLIP of the pack.
        identity: Which identity network of the pack.
    """

    def __init__(self, networks: Networks, clip: ClipPart = "clip", identity: FacePart = "identity") -> None:
        self._networks, self._part, self._face_part = networks, clip, identity
        self._directions: dict[tuple[str, str], Tensor] = {}

    @property
    def _clip(self) -> Clip:
        return self._networks.judge_clip if self._part == "judge_clip" else self._networks.clip

    @torch.inference_mode()
    def clip_embeddings(self, images: Tensor) -> Tensor:
        """Embed images by CLIP.

        Args:
            images: [N, 3, H, W] in [-1, 1]; values beyond are clamped.

        Returns:
            [N, D] of unit length, on the CPU.
        """
        clip = self._clip
        return torch.cat([clip.encode_image(part.clamp(-1, 1)).cpu() for part in images.split(_BATCH)])

    @torch.inference_mode()
    def identity_embeddings(self, images: Tensor) -> Tensor | None:
        """Embed faces by the identity network.

        Args:
            images: [N, 3, H, W] in [-1, 1]; values beyond are clamped.

        Returns:
            [N, D] of unit length, on the CPU; None if the pack has no such network.
        """
        networks, second = self._networks, self._face_part == "second_identity"
        if self._face_part not in networks.pack.components:
            return None
        identity, device = networks.second_identity if second else networks.identity, networks.device
        parts = images.clamp(-1, 1).split(_BATCH)
        return torch.cat([identity.embed(part.to(device)).cpu() for part in parts])

    def text_direction(self, target: str, neutral: str) -> Tensor:
        """Direction from one text to another in CLIP space.

        Each direction is computed once and cached, so that an edit with a known prompt need not load CLIP.

        Args:
            target: What the face should become.
            neutral: What it is.

        Returns:
            [D] of unit length, on the CPU.

        Raises:
            UsageError: If CLIP sees no difference between the texts.
            BadInputError: If a text is too long for CLIP.
        """
        key = (target, neutral)
        if key not in self._directions:
            texts = [target, neutral, *prompts.IMAGENET_TEMPLATES]
            self._directions[key] = self._kept(
                texts, _SCHEMA, lambda: prompts.text_direction(self._clip, target, neutral)
            )
        return self._directions[key]

    def text_embedding(self, text: str) -> Tensor:
        """Embed a text as it is, without templates.

        Args:
            text: A sentence.

        Returns:
            [D] of unit length, on the CPU.

        Raises:
            BadInputError: If it is too long for CLIP.
        """
        with torch.inference_mode():
            return self._kept([text], _TEXT_SCHEMA, lambda: self._clip.encode_text([text])[0].cpu().clone())

    def null_directions(self, progress: Progress = silent) -> Tensor:
        """Directions of texts that say nothing about a face (`confidence.null_texts`), cached.

        Args:
            progress: Reports how far it is, the first time.

        Returns:
            [N, D], rows of unit length, on the CPU.
        """
        key = [*null_texts(), DEFAULT_NEUTRAL, *_FEW_TEMPLATES]
        return self._kept(key, _NULL_SCHEMA, lambda: self._directions_of_null_texts(progress))

    def _directions_of_null_texts(self, progress: Progress) -> Tensor:
        texts, found = null_texts(), []
        with progress("embedding texts that mean nothing, once") as advance:
            for done in range(0, len(texts), _BATCH):
                some = texts[done : done + _BATCH]
                found.append(prompts.text_directions(self._clip, some, DEFAULT_NEUTRAL, _FEW_TEMPLATES))
                advance(done + len(some), len(texts))
        return torch.cat(found)

    def _kept(self, key: Sequence[str], schema: str, compute: Callable[[], Tensor]) -> Tensor:
        """What CLIP says of texts: the cache's, or computed. The cache knows texts by their hash alone."""
        full = {"clip": self._networks.pack.fingerprint_of(self._part), "texts": _hash(key)}
        try:
            arrays, _ = cache.cached("texts", full, schema, lambda: ({"directions": compute().numpy()}, {}))
            return torch.from_numpy(arrays["directions"])
        except OutputError:  # there is no place for a cache
            return compute()


def _hash(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()

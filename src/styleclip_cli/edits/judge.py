"""CLIP and the identity network as judges: what they see in images, and what CLIP makes of texts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from styleclip_cli.edits import prompts
from styleclip_cli.machine import cache

if TYPE_CHECKING:
    from styleclip_cli.networks import Networks

_BATCH = 16
_SCHEMA = "styleclip.text-direction/1"
_TEMPLATES = hashlib.sha256("\n".join(prompts.IMAGENET_TEMPLATES).encode()).hexdigest()[:16]


class Judge:
    """Embeds images and texts with a pack's CLIP and identity network, each loaded when first needed.

    Args:
        networks: Whose they are.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._directions: dict[tuple[str, str], Tensor] = {}

    @torch.inference_mode()
    def clip_embeddings(self, images: Tensor) -> Tensor:
        """Embed images by CLIP.

        Args:
            images: [N, 3, H, W] in [-1, 1]; values beyond are clamped.

        Returns:
            [N, D] of unit length, on the CPU.
        """
        clip = self._networks.clip
        return torch.cat([clip.encode_image(part.clamp(-1, 1)).cpu() for part in images.split(_BATCH)])

    @torch.inference_mode()
    def identity_embeddings(self, images: Tensor) -> Tensor | None:
        """Embed faces by the identity network.

        Args:
            images: [N, 3, H, W] in [-1, 1]; values beyond are clamped.

        Returns:
            [N, D] of unit length, on the CPU; None if the pack has no identity network.
        """
        if not self._networks.has_identity:
            return None
        identity, device = self._networks.identity, self._networks.device
        parts = images.clamp(-1, 1).split(_BATCH)
        return torch.cat([identity.embed(part.to(device)).cpu() for part in parts])

    def text_direction(self, target: str, neutral: str) -> Tensor:
        """Direction from one text to another in CLIP space.

        CLIP is asked once for each pair, and what it said is kept in the cache: an edit by a known sentence
        need not load CLIP.

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
            self._directions[key] = self._text_direction(target, neutral)
        return self._directions[key]

    def _text_direction(self, target: str, neutral: str) -> Tensor:
        def compute() -> tuple[cache.Arrays, cache.Json]:
            return {"direction": prompts.text_direction(self._networks.clip, target, neutral).numpy()}, {}

        clip = self._networks.pack.fingerprint_of("clip")
        key = {"clip": clip, "target": target, "neutral": neutral, "templates": _TEMPLATES}
        return torch.from_numpy(cache.cached("texts", key, _SCHEMA, compute)[0]["direction"])

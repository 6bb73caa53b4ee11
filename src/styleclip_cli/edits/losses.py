"""Losses of optimization and mappers: the distance of an image from a text, and from the same person.

Official criteria/clip_loss.py and criteria/id_loss.py (paper section 4, equation 1). The text is encoded
once; the networks are frozen, so that no gradient is kept for their weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.edits import prompts
from styleclip_cli.settings import Compare, Preprocessing

if TYPE_CHECKING:
    from styleclip_cli.nets.clip import Clip
    from styleclip_cli.nets.irse import ArcFace


class TextLoss:
    """Distance of images from a text in CLIP space.

    Args:
        clip: The frozen CLIP.
        target: What the image should show.
        neutral: What it shows now.
        compare: How images are compared with the texts.
        preprocessing: How CLIP sees images.
    """

    def __init__(
        self, clip: Clip, target: str, neutral: str, compare: Compare, preprocessing: Preprocessing
    ) -> None:
        self._clip, self._compare, self._preprocessing = clip, compare, preprocessing
        with torch.no_grad():
            if compare == "text":
                # The official loss divides the logits by 100, which is CLIP's scale but for rounding.
                scale = clip.model.logit_scale.exp() / 100
                self._text = (clip.encode_text([target])[0] * scale).clone()
            else:
                self._text = prompts.text_direction(clip, target, neutral).to(clip.model.logit_scale)

    @property
    def relative(self) -> bool:
        """Whether it needs CLIP's embedding before the edit."""
        return self._compare == "direction"

    def __call__(self, images: Tensor, before: Tensor | None = None, crops: Tensor | None = None) -> Tensor:
        """Loss of images.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            before: CLIP's embeddings of the same faces before the edit, [N, D]; needed by "direction".
            crops: [N, K, 3] in [0, 1], K random crops of each image; None for the whole image.

        Returns:
            [N]: 1 - cosine to the text for "text"; 1 - progress along the text direction for "direction".
        """
        seen = self.seen(images, crops)
        if self._compare == "text":
            return 1 - (seen * self._text).sum(dim=1)
        assert before is not None
        return 1 - ((seen - before) * self._text).sum(dim=1)  # no product that autocast would round

    def seen(self, images: Tensor, crops: Tensor | None = None) -> Tensor:
        """CLIP's embeddings of images; the mean of those of crops.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            crops: As in `__call__`.

        Returns:
            [N, D].
        """
        if crops is None:
            return self._clip.encode_image(images, self._preprocessing)
        count = crops.shape[1]
        views = cropped(images.repeat_interleave(count, dim=0), crops.flatten(0, 1))  # [N K, 3, H, W]
        return self._clip.encode_image(views, self._preprocessing).unflatten(0, (-1, count)).mean(1)


def cropped(images: Tensor, crops: Tensor, smallest: float = 0.75) -> Tensor:
    """Cut out crops and resize them, so that CLIP cannot be fooled by single pixels.

    Args:
        images: [N, 3, H, W].
        crops: [N, 3] in [0, 1]: side (from `smallest` to the whole), position from the left, from the top.
        smallest: Side of the smallest crop, relative to the image.

    Returns:
        [N, 3, H, W].
    """
    side = smallest + (1 - smallest) * crops[:, 0]
    place = (crops[:, 1:] * 2 - 1) * (1 - side[:, None])
    grid = torch.zeros(len(images), 2, 3, device=images.device)
    grid[:, 0, 0] = grid[:, 1, 1] = side
    grid[:, :, 2] = place
    where = F.affine_grid(grid, list(images.shape), align_corners=False)
    return F.grid_sample(images, where, padding_mode="reflection", align_corners=False)


class IdentityLoss:
    """How far images are from the same person: 1 - cosine of the face embeddings.

    Args:
        identity: The frozen identity network.
    """

    def __init__(self, identity: ArcFace) -> None:
        self._identity = identity

    def person(self, images: Tensor) -> Tensor:
        """Face embeddings, without gradient.

        Args:
            images: [N, 3, H, W] in [-1, 1].

        Returns:
            [N, D], unit length.
        """
        with torch.no_grad():
            return self._identity.embed(images).clone()

    def __call__(self, images: Tensor, person: Tensor) -> Tensor:
        """Loss of images.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            person: The result of `person` before the edit, [N, D].

        Returns:
            [N], from 0 to 2.
        """
        return 1 - (self._identity.embed(images) * person).sum(dim=1)

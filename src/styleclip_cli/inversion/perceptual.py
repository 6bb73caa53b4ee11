"""Perceptual distance: how different two images look to a network, not to a pixel counter.

Feature maps of a network are compared place by place, each place's channels scaled to unit length first
(LPIPS, Zhang et al. 2018, without the learned weights, whose backbone is not among the packs' networks). The
network is the pack's identity network, whose stages see edges, features and the whole face; packs without
one are compared by CLIP's image embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.nets.clip import Clip
from styleclip_cli.nets.irse import ArcFace

# Images are averaged to this side first: finer detail is what the pixel loss is for.
_SIDE = 128


class Perceptual:
    """A distance between images.

    Args:
        identity: The network whose feature maps are compared; None takes `clip`.
        clip: Used without an identity network.
    """

    def __init__(self, identity: ArcFace | None, clip: Clip | None = None) -> None:
        self._identity, self._clip = identity, clip
        if identity is None and clip is None:
            raise ValueError("a perceptual distance needs a network")

    def features(self, images: Tensor) -> list[Tensor]:
        """What images look like, for `__call__`; differentiable.

        Args:
            images: [N, 3, H, W] in [-1, 1].

        Returns:
            Feature maps, each [N, C, H', W'], channels of unit length.
        """
        if self._identity is None:
            assert self._clip is not None
            return [self._clip.encode_image(images)[:, :, None, None]]  # [N, D, 1, 1]
        if images.shape[-1] > _SIDE:
            images = F.adaptive_avg_pool2d(images, _SIDE)
        return [F.normalize(maps, dim=1) for maps in self._identity.feature_maps(images)]

    def __call__(self, images: Tensor, wanted: list[Tensor]) -> Tensor:
        """Distance of images from others.

        Args:
            images: [N, 3, H, W] in [-1, 1].
            wanted: `features` of the others.

        Returns:
            [N]: 0 for the same, 2 for unrelated ones.
        """
        found = self.features(images)
        terms = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(found, wanted, strict=True)]
        return torch.stack(terms).mean(dim=0)  # [maps, N] -> [N]

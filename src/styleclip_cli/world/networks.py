"""The network that only the world has: the judge."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.building import frozen
from styleclip_cli.nets.landmarks import Conv, Stage, stage_widths

JUDGE_SIDE = 192
"""Side in pixels of what the judge looks at."""


def resized(images: Tensor, side: int) -> Tensor:
    """Pictures of any size -> [N, 3, side, side]."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)


class Judge(nn.Module):
    """Reads all attributes off a picture; independent of every network that edits.

    No editing method ever sees it: it only says, afterwards, what an edit did.

    Args:
        count: How many attributes.
        widths: Channels of the stages, each of which halves the picture.
    """

    def __init__(self, count: int, widths: tuple[int, ...] = (16, 32, 64, 96, 128)) -> None:
        super().__init__()
        self.stem = Conv(3, widths[0], 5, stride=2)
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in pairwise(widths)))
        cells = (JUDGE_SIDE >> len(widths)) ** 2
        self.slim = nn.Conv2d(widths[-1], 48, 1)
        self.head = nn.Sequential(nn.Linear(48 * cells, 320), nn.ReLU(), nn.Linear(320, count))

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in [-1, 1] -> what they show, [N, K] in [0, 1] (see `attributes.shown`)."""
        return self.read(self.features(images)).clamp(0, 1)

    def features(self, images: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in [-1, 1] -> features, [N, F]."""
        return self.slim(self.stages(self.stem(self.sized(images)))).flatten(1)

    @staticmethod
    def sized(images: Tensor) -> Tensor:
        """Pictures of any size -> [N, 3, JUDGE_SIDE, JUDGE_SIDE]."""
        return resized(images, JUDGE_SIDE)

    def read(self, features: Tensor) -> Tensor:
        """Features -> amounts in [-0.02, 1.02]: 0 and 1 are common truths, reached by a finite logit."""
        return torch.sigmoid(self.head(F.relu(features))) * 1.04 - 0.02

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> Judge:
        """Build a frozen judge whose shape is read off its weights.

        Raises:
            WeightsError: If they are not a judge's.
        """

        def build() -> Judge:
            return cls(state["head.2.weight"].shape[0], stage_widths(state, "stages"))

        return frozen(build, state, "a judge")

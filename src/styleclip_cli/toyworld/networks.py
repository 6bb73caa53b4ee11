"""The toy pack's networks: the real architectures at a size that a laptop trains, and the judge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.errors import WeightsError, one_line
from styleclip_cli.toyworld.attributes import COUNT

RESOLUTION = 128


class Judge(nn.Module):
    """Reads all 32 attributes off a picture; independent of every network that edits.

    No editing method ever sees it: it only says, afterwards, what an edit did.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = (width, width * 2, width * 4, width * 5, width * 6)
        layers: list[nn.Module] = []
        previous = 3
        for i, w in enumerate(widths):
            layers += [
                nn.Conv2d(previous, w, 5 if i == 0 else 3, stride=2, padding=2 if i == 0 else 1),
                nn.BatchNorm2d(w),
                nn.ReLU(),
            ]
            previous = w
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(previous * 16, 256), nn.ReLU(), nn.Linear(256, COUNT))

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in [-1, 1] -> what they show, [N, 32] in [0, 1] (see `attributes.shown`)."""
        if images.shape[-1] != RESOLUTION:
            images = F.interpolate(
                images, (RESOLUTION, RESOLUTION), mode="bicubic", align_corners=False, antialias=True
            )
        return self.read(self.features(images)).clamp(0, 1)

    def read(self, features: Tensor) -> Tensor:
        """Feature maps -> amounts in [-0.02, 1.02]: 0 and 1 are common truths, reached by a finite logit."""
        return torch.sigmoid(self.head(features.flatten(1))) * 1.04 - 0.02

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> Judge:
        """Build a frozen judge whose width is read off its weights.

        Raises:
            WeightsError: If they are not a judge's.
        """
        try:
            judge = cls(width=state["features.0.weight"].shape[0])
            judge.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise WeightsError(
                f"not the weights of a judge ({one_line(error)})", "install the pack again"
            ) from None
        return judge.eval().requires_grad_(False)

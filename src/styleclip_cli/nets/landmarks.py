"""Small networks that find upright or turned faces in a photo, and 68 points in each.

A `Finder` looks at the whole photo, small, and says where faces may be; a `Regressor` looks at one of
them, turned upright and scaled, and says where its points are. Both speak of a face's frame, a square
around it, as a similarity (x, y, u, v): its middle, and the vector from there to the middle of its right
side; the point (a, b) of the frame, both in [-1, 1], lies at (x, y) + a (u, v) + b (-v, u).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.building import frozen

POINTS = 68
FINDER_SIDE = 320
"""Side in pixels of the square that a finder looks at."""
STRIDE = 4
"""Pixels of that square per cell of a finder's maps."""
CROP_SIDE = 128
"""Side in pixels of what a regressor looks at."""
DETAIL = 104
"""Pixels across a face's frame that a regressor is shown at most; it looks at an enlargement of them."""

CORNERS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
"""NW, SW, SE and NE of a frame."""


def place(points: Tensor, similarity: Tensor) -> Tensor:
    """Move points of frames to where similarities put them.

    Args:
        points: [N, K, 2], in frames that reach from -1 to 1.
        similarity: [N, 4]: middle x and y, and half the upper edge as a vector.

    Returns:
        [N, K, 2].
    """
    a, b = points.unbind(-1)
    x, y, u, v = similarity[:, None].unbind(-1)  # [N, 1] each
    return torch.stack([x + a * u - b * v, y + a * v + b * u], dim=-1)  # [N, K, 2]


def compose(inner: Tensor, outer: Tensor) -> Tensor:
    """The similarity of frames that are given within other frames.

    Args:
        inner: [N, 4], within the outer frames.
        outer: [N, 4].

    Returns:
        [N, 4].
    """
    middle = place(inner[:, None, :2], outer)[:, 0]
    a, b = inner[:, 2:].unbind(-1)
    u, v = outer[:, 2:].unbind(-1)
    return torch.stack([*middle.unbind(-1), a * u - b * v, a * v + b * u], dim=-1)  # [N, 4]


def sample(
    images: Tensor, similarity: Tensor, side: int = CROP_SIDE, extent: tuple[float, float] | None = None
) -> Tensor:
    """Cut turned squares out of images, bilinearly; what lies outside an image is grey.

    Args:
        images: Shape [N, 3, H, W] in [-1, 1], not much larger than the squares are to be.
        similarity: One square for each, shape [N, 4], pixels.
        side: Side of the squares in pixels.
        extent: Width and height of the images in the pixels of the similarities, if those are not theirs.

    Returns:
        Shape [N, 3, side, side].
    """
    steps = (torch.arange(side, device=images.device) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y], dim=-1).view(1, -1, 2).expand(len(images), -1, -1)  # [N, side², 2]
    size = images.new_tensor(extent or (images.shape[3], images.shape[2]))
    grid = place(places, similarity) / size * 2 - 1
    return F.grid_sample(images, grid.view(-1, side, side, 2), align_corners=False)


class Conv(nn.Sequential):
    """Convolution, normalisation, rectifier; [N, I, H, W] -> [N, O, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Stage(nn.Module):
    """Halve an image, then add to it what one more convolution sees."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = Conv(inputs, outputs, stride=2)
        self.more = Conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H / 2, W / 2]."""
        x = self.down(x)
        return x + self.more(x)


def stage_widths(state: Mapping[str, Tensor], stages: str) -> tuple[int, ...]:
    """Channels of a stem and of the `Stage`s after it, as weights say.

    Args:
        state: Weights of a network with a `stem`.
        stages: Name of the list of its stages.
    """
    count = sum(key.startswith(f"{stages}.") and key.endswith("down.0.weight") for key in state)
    wide = (state[f"{stages}.{i}.down.0.weight"].shape[0] for i in range(count))
    return state["stem.0.weight"].shape[0], *wide


class Finder(nn.Module):
    """Where faces are in a whole photo (as CenterNet, Zhou et al. 2019, with a feature pyramid)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64, 64, 64), top: int = 40) -> None:
        super().__init__()
        self.stem = Conv(3, widths[0], 5, stride=2)
        self.stages = nn.ModuleList(Stage(a, b) for a, b in pairwise(widths))
        self.sides = nn.ModuleList(nn.Conv2d(width, top, 1) for width in widths[1:])
        self.merge = nn.ModuleList(Conv(top, top) for _ in widths[2:])
        self.head = nn.Conv2d(top, 6, 1)

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Look at photos.

        Args:
            photos: Shape [N, 3, H, W] in [-1, 1], sides multiples of 64.

        Returns:
            Logits of a face's middle being in a cell of STRIDE pixels, [N, H / 4, W / 4], and the
            similarities of the frame that it would have, [N, H / 4, W / 4, 4], pixels.
        """
        x = self.stem(photos)
        maps = []
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            maps.append(side(x))
        x = maps.pop()
        for merge in self.merge:
            x = merge(F.interpolate(x, scale_factor=2.0) + maps.pop())
        return self.decode(self.head(x).float())

    @staticmethod
    def decode(x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the head's maps into faces.

        Args:
            x: [N, 6, H, W].

        Returns:
            Logits [N, H, W], and similarities [N, H, W, 4] in pixels.
        """
        heat, dx, dy, size, cos, sin = x.unbind(1)  # [N, H, W] each
        rows, columns = (torch.arange(n, device=x.device) * STRIDE + STRIDE / 2 for n in heat.shape[1:])
        half = torch.exp(size.clamp(-5, 3)) * (FINDER_SIDE / 8)
        length = torch.sqrt(cos * cos + sin * sin + 1e-6)
        middle = columns + dx * half, rows[:, None] + dy * half
        return heat, torch.stack([*middle, half * cos / length, half * sin / length], dim=-1)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Finder:
        """Build the frozen network that a state dict describes.

        Args:
            state: Its tensors.

        Returns:
            The network.

        Raises:
            WeightsError: If it is not such a state dict.
        """

        def build() -> Finder:
            count = sum(key.startswith("sides.") and key.endswith(".weight") for key in state)
            stages = (state[f"stages.{i}.down.0.weight"].shape[0] for i in range(count))
            return cls((state["stem.0.weight"].shape[0], *stages), state["head.weight"].shape[1])

        return frozen(build, state, "a face finder")


class Regressor(nn.Module):
    """Where the points of one face are: a mean shape and a few ways in which it varies, placed in the crop.

    Args:
        variations: How many ways.
        widths: Channels of the stages, each of which halves the image.
        slim: Channels of what the last stage hands on.
        hidden: Width of the layer before the last.
    """

    mean: Tensor
    basis: Tensor

    def __init__(
        self,
        variations: int,
        widths: tuple[int, ...] = (24, 48, 96, 120, 144),
        slim: int = 48,
        hidden: int = 192,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(POINTS, 2))
        self.register_buffer("basis", torch.zeros(variations, POINTS, 2))
        self.stem = Conv(3, widths[0], 5, stride=2)
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in pairwise(widths)))
        cells = (CROP_SIDE >> len(widths)) ** 2
        self.slim = nn.Conv2d(widths[-1], slim, 1)
        self.hidden = nn.Linear(slim * cells, hidden)
        self.head = nn.Linear(hidden, variations + 4 + 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Look at faces.

        Args:
            crops: Shape [N, 3, 128, 128] in [-1, 1]: about the frame of a face, about upright.

        Returns:
            The points in the frame, [N, 68, 2], [-1, 1] across it; the similarity of the frame in the crop,
            [N, 4], [-1, 1] across that; and the logit of there being a face, [N].
        """
        return self.read(self.features(crops).float())

    def features(self, crops: Tensor) -> Tensor:
        """All that the network says, in one row.

        Args:
            crops: [N, 3, 128, 128] in [-1, 1].

        Returns:
            [N, K + 5]: amounts of the K variations, similarity, logit.
        """
        x = self.slim(self.stages(self.stem(crops)))
        return self.head(F.relu(self.hidden(x.flatten(1))))  # [N, K + 5]

    def read(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take a row of `features` apart.

        Args:
            outputs: [N, K + 5].

        Returns:
            Points [N, 68, 2], similarity [N, 4], logit [N].
        """
        amounts, similarity, logit = outputs.split((len(self.basis), 4, 1), dim=1)
        return self.mean + torch.einsum("nk,kpc->npc", amounts, self.basis), similarity, logit[:, 0]

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Regressor:
        """Build the frozen network that a state dict describes.

        Args:
            state: Its tensors.

        Returns:
            The network.

        Raises:
            WeightsError: If it is not such a state dict.
        """

        def build() -> Regressor:
            widths = stage_widths(state, "stages")
            slim, hidden = state["slim.weight"].shape[0], state["hidden.weight"].shape[0]
            return cls(len(state["basis"]), widths, slim, hidden)

        return frozen(build, state, "a landmark network")

"""Parsers of faces: which part each pixel shows, in the same words whatever the network.

Three layouts are known by their tensors: BiSeNet (face-parsing.PyTorch, facexlib's parsing_bisenet.pth),
ParseNet (facexlib's parsing_parsenet.pth), both with the classes of CelebAMask-HQ (Lee et al. 2020), and a
small U-Net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.errors import WeightsError
from styleclip_cli.nets.bisenet import BiSeNet
from styleclip_cli.nets.building import frozen
from styleclip_cli.nets.landmarks import Conv, Stage, stage_widths
from styleclip_cli.nets.parsenet import ParseNet
from styleclip_cli.settings import PARTS

PARSER_SIDE = 128
"""Side in pixels of what the U-Net looks at."""
_AT_ONCE = 4


class UNet(nn.Module):
    """Says which part of a person each pixel shows: a small U-Net (Ronneberger et al. 2015).

    Args:
        classes: How many parts there are.
        widths: Channels at each depth, from the finest.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = (16, 32, 48, 64, 80)) -> None:
        super().__init__()
        self.stem = Conv(3, widths[0])
        self.down = nn.ModuleList(Stage(a, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Conv(a + b, a) for a, b in pairwise(widths))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [N, 3, 128, 128] in [-1, 1] -> logits [N, C, 128, 128]."""
        maps = [self.stem(images)]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        x = maps.pop()
        for conv in reversed(self.up):
            x = conv(torch.cat([maps.pop(), F.interpolate(x, scale_factor=2.0)], dim=1))
        return self.head(x)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> UNet:
        """A network of the shape that weights say."""
        return cls(state["head.weight"].shape[0], stage_widths(state, "down"))


class Layout(NamedTuple):
    """A kind of parser.

    Attributes:
        marks: Tensors that it is known by; the last one's rows are its classes.
        build: Makes the network, of the shape that the weights say.
        side: Side in pixels of what it looks at.
        mean: What is subtracted from pictures in [0, 1], for red, green and blue.
        std: What they are then divided by.
        classes: The part that each of its classes is of, in its order.
    """

    marks: tuple[str, ...]
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]


_HALF = (0.5, 0.5, 0.5)
LAYOUTS: dict[str, Layout] = {
    "BiSeNet": Layout(
        ("cp.resnet.conv1.weight", "ffm.convblk.conv.weight", "conv_out.conv_out.weight"),
        BiSeNet,
        512,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        (
            *("background", "skin", "brows", "brows", "eyes", "eyes", "glasses", "ears", "ears", "earrings"),
            *("nose", "mouth", "mouth", "mouth", "neck", "necklace", "clothes", "hair", "hat"),
        ),
    ),
    "ParseNet": Layout(
        ("encoder.0.conv2d.weight", "body.0.conv1.conv2d.weight", "out_mask_conv.conv2d.weight"),
        ParseNet,
        512,
        _HALF,
        _HALF,
        (
            *("background", "skin", "nose", "glasses", "eyes", "eyes", "brows", "brows", "ears", "ears"),
            *("mouth", "mouth", "mouth", "hair", "hat", "earrings", "necklace", "neck", "clothes"),
        ),
    ),
    "U-Net": Layout(
        ("stem.0.weight", "down.0.down.0.weight", "up.0.0.weight", "head.weight"),
        UNet.of,
        PARSER_SIDE,
        _HALF,
        _HALF,
        (
            *("background", "skin", "hair", "brows", "eyes", "nose", "mouth", "mouth", "glasses", "hat"),
            *("ears", "neck", "clothes"),
        ),
    ),
}
"""By name; the classes of the U-Net are those of the drawn world (`world.parsing.CLASSES`)."""


class Parser(nn.Module):
    """A parser of faces.

    Args:
        network: Normalised pictures [N, 3, S, S] -> logits [N, C, S, S].
        layout: Of which kind it is.

    Attributes:
        parts: Those of `settings.PARTS` that it tells apart.
        side: Side of its maps in pixels.
    """

    mean: Tensor
    std: Tensor
    joins: Tensor

    def __init__(self, network: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.network = network
        self.side = layout.side
        self.parts = tuple(part for part in PARTS if part in layout.classes)
        joins = torch.tensor([[float(part == of) for of in layout.classes] for part in PARTS])  # [P, C]
        self.register_buffer("joins", joins)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(layout, name)).view(3, 1, 1))

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Look at faces, aligned as the pack's photos are.

        Args:
            images: [N, 3, R, R] in [-1, 1].

        Returns:
            How probable each of `settings.PARTS` is at each pixel, [N, P, side, side]; they sum to 1.
        """
        found = [self._probabilities(some) for some in images.clamp(-1, 1).split(_AT_ONCE)]
        return torch.cat(found)

    def _probabilities(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.side:
            shrinks = images.shape[-1] > self.side
            images = F.interpolate(
                images, (self.side, self.side), mode="bilinear", align_corners=False, antialias=shrinks
            )
        logits = self.network(((images + 1) / 2 - self.mean) / self.std)
        return torch.einsum("pc,nchw->nphw", self.joins, logits.softmax(dim=1))

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Parser:
        """Build the frozen parser that a state dict describes; its layout is read off the names.

        Raises:
            WeightsError: If it is not that of a parser.
        """
        for name, layout in LAYOUTS.items():
            if all(mark in state for mark in layout.marks):
                network = frozen(lambda: layout.build(state), state, f"a face parser ({name})")  # noqa: B023
                classes = len(state[layout.marks[-1]])
                if classes != len(layout.classes):
                    raise WeightsError(
                        f"not the weights of a face parser ({name}) of {len(layout.classes)} classes, but of "
                        f"{classes}",
                        "a parser with the classes of CelebAMask-HQ",
                    )
                return cls(network, layout).eval().requires_grad_(False)
        raise WeightsError(
            "not the weights of a face parser (of no known layout)", f"{' or '.join(LAYOUTS)} can be read"
        )

"""ParseNet (Chen et al. 2021, PSFR-GAN) as facexlib has it: residual blocks with mirrored borders."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn


class _Conv(nn.Module):
    """3x3 convolution with mirrored borders, with or without normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, normed: bool = False) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, 3, stride, bias=not normed)
        if normed:
            self.norm = nn.ModuleDict({"norm": nn.BatchNorm2d(outputs)})

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H / stride, W / stride]."""
        x = self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        return self.norm["norm"](x) if hasattr(self, "norm") else x


class _Block(nn.Module):
    """Two convolutions, added to their input.

    Args:
        inputs: Channels.
        outputs: Channels.
        scale: "down" halves the image, "up" doubles it, "none" leaves it.
    """

    def __init__(self, inputs: int, outputs: int, scale: str) -> None:
        super().__init__()
        self.up = scale == "up"
        stride = 2 if scale == "down" else 1
        self.conv1 = _Conv(inputs, outputs, normed=True)
        self.conv2 = _Conv(outputs, outputs, stride, normed=True)
        if scale != "none":
            self.shortcut_func = _Conv(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H', W']."""
        if self.up:
            x = F.interpolate(x, scale_factor=2.0)
        y = self.conv2(F.leaky_relu(self.conv1(x), 0.2))
        return y + (self.shortcut_func(x) if hasattr(self, "shortcut_func") else x)


class ParseNet(nn.Module):
    """Says which part of a face each pixel shows.

    Args:
        state: The weights, which say how many blocks there are, and how wide.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()

        def blocks(name: str, scale: str, first: int = 0) -> list[_Block]:
            count = sum(key.startswith(f"{name}.") and key.endswith("conv1.conv2d.weight") for key in state)
            shapes = [state[f"{name}.{i + first}.conv1.conv2d.weight"].shape for i in range(count)]
            return [_Block(shape[1], shape[0], scale) for shape in shapes]

        stem = _Conv(3, state["encoder.0.conv2d.weight"].shape[0])
        self.encoder = nn.Sequential(stem, *blocks("encoder", "down", 1))
        self.body = nn.Sequential(*blocks("body", "none"))
        self.decoder = nn.Sequential(*blocks("decoder", "up"))
        classes, width = state["out_mask_conv.conv2d.weight"].shape[:2]
        self.out_mask_conv = _Conv(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures [N, 3, H, W] in [-1, 1] -> logits [N, C, H, W]."""
        x = self.encoder(images)
        return self.out_mask_conv(self.decoder(x + self.body(x)))

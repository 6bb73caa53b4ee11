"""IR-SE residual networks: the trunk of e4e encoders, and the ArcFace identity network.

Structure and tensor names are those of the public model_ir_se50.pth (official StyleCLIP
models/facial_recognition). Depth and widths are read off the weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.building import Uninitialised, fill, weights_of


class BlockShape(NamedTuple):
    """Shape of one residual block: input and output channels, stride, squeeze-and-excitation reduction."""

    inputs: int
    outputs: int
    stride: int
    reduction: int


class SqueezeExcite(nn.Module):
    """Scale channels by what the whole image shows (Hu et al. 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        scale = F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(scale))


class Bottleneck(nn.Module):
    """Residual block of IR-SE: norm, conv, PReLU, conv with stride, norm, squeeze-and-excitation."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.stride = shape.stride
        self.shortcut_layer = (
            nn.Sequential(
                nn.Conv2d(shape.inputs, shape.outputs, 1, shape.stride, bias=False),
                nn.BatchNorm2d(shape.outputs),
            )
            if shape.inputs != shape.outputs
            else None
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(shape.inputs),
            nn.Conv2d(shape.inputs, shape.outputs, 3, 1, 1, bias=False),
            nn.PReLU(shape.outputs),
            nn.Conv2d(shape.outputs, shape.outputs, 3, shape.stride, 1, bias=False),
            nn.BatchNorm2d(shape.outputs),
            SqueezeExcite(shape.outputs, shape.reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, W] -> [N, O, H / stride, W / stride]."""
        if self.shortcut_layer is not None:
            shortcut = self.shortcut_layer(x)
        else:
            shortcut = x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride]
        return shortcut + self.res_layer(x)


def input_layer(channels: int, inputs: int = 3) -> nn.Sequential:
    """First layers of an IR-SE network, at full resolution.

    Args:
        channels: What they give.
        inputs: Channels of the image.

    Returns:
        [N, inputs, H, W] -> [N, channels, H, W].
    """
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.PReLU(channels)
    )


def stages(widths: Sequence[int], blocks: Sequence[int], reduction: int = 16) -> list[BlockShape]:
    """Shapes of a network's blocks; each stage halves the image.

    Args:
        widths: Channels of each stage.
        blocks: How many blocks each has.
        reduction: Of squeeze-and-excitation.

    Returns:
        One for each block.
    """
    shapes: list[BlockShape] = []
    previous = widths[0]
    for width, count in zip(widths, blocks, strict=True):
        shapes.append(BlockShape(previous, width, 2, reduction))
        shapes += [BlockShape(width, width, 1, reduction)] * (count - 1)
        previous = width
    return shapes


def shapes_of(state: Mapping[str, Tensor]) -> list[BlockShape]:
    """Read the blocks off a state dict with `body.N.` tensors.

    The image is halved by the first block and by each block that changes its width.

    Args:
        state: Tensors under the names of model_ir_se50.pth.

    Returns:
        One for each block.

    Raises:
        KeyError: If tensors are missing.
    """
    count = len({m.group(1) for key in state if (m := re.match(r"body\.(\d+)\.", key))})
    shapes = []
    for i in range(count):
        weight = state[f"body.{i}.res_layer.1.weight"]
        squeeze = state[f"body.{i}.res_layer.5.fc1.weight"]
        wider = weight.shape[0] != weight.shape[1]
        stride = 2 if i == 0 or wider else 1
        shapes.append(
            BlockShape(weight.shape[1], weight.shape[0], stride, weight.shape[0] // squeeze.shape[0])
        )
    return shapes


class ArcFace(nn.Module):
    """Face identity network (Deng et al. 2019 with the IR-SE backbone).

    Attributes:
        resolution: Side of its input in pixels.
    """

    def __init__(self, shapes: Sequence[BlockShape], embed_dim: int, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.input_layer = input_layer(shapes[0].inputs)
        self.body = nn.Sequential(*(Bottleneck(shape) for shape in shapes))
        width, side = shapes[-1].outputs, -(-resolution // math.prod(shape.stride for shape in shapes))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(width * side * side, embed_dim),
            nn.BatchNorm1d(embed_dim),
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> ArcFace:
        """Build the frozen network that a state dict describes.

        Args:
            state: Tensors under the names of model_ir_se50.pth.

        Returns:
            The frozen network.

        Raises:
            WeightsError: If it is not such a state dict.
        """
        with weights_of("an ArcFace network"):
            shapes = shapes_of(state)
            linear = state["output_layer.3.weight"]
            side = round((linear.shape[1] / shapes[-1].outputs) ** 0.5)
            side *= math.prod(shape.stride for shape in shapes)
            with Uninitialised():
                net = cls(shapes, linear.shape[0], side)
            fill(net, state)
        return net.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed face crops.

        Images of another size are averaged to the network's own; official ID loss, criteria/id_loss.py.

        Args:
            images: [N, 3, H, W] in [-1, 1].

        Returns:
            [N, D], float32, unit length.
        """
        if images.shape[-1] != self.resolution:
            images = F.adaptive_avg_pool2d(images, self.resolution)
        return F.normalize(self.output_layer(self.body(self.input_layer(images))).float(), dim=1)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps at the end of each stage.

        Args:
            images: [N, 3, H, W] in [-1, 1], of any size.

        Returns:
            [N, C, H, W] of each stage.
        """
        x = self.input_layer(images)
        maps = []
        for i, block in enumerate(self.body):
            x = block(x)
            if i + 1 == len(self.body) or getattr(self.body[i + 1], "stride", 1) == 2:
                maps.append(x)
        return maps

    def embed(self, images: Tensor) -> Tensor:
        """Embed aligned photos: the crop of the official ID loss, then `forward`.

        The crop is rows 35 to 223 and columns 32 to 220 of a 256-pixel FFHQ-aligned photo.

        Args:
            images: [N, 3, H, W] in [-1, 1].

        Returns:
            [N, D], float32, unit length.
        """
        if images.shape[-1] != 256:
            images = (
                F.adaptive_avg_pool2d(images, 256)
                if images.shape[-1] > 256
                else F.interpolate(images, (256, 256), mode="bilinear", align_corners=False)
            )
        return self(images[:, :, 35:223, 32:220])

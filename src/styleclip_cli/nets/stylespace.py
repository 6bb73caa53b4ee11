"""StyleSpace: the per-channel scales of a StyleGAN2, as one flat vector and as one tensor per layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from styleclip_cli.settings import LayerChoice


@dataclass(frozen=True)
class StyleLayer:
    """One modulated convolution.

    Attributes:
        index: Place in StyleSpace order.
        name: b4.conv1, b4.torgb, b8.conv0, b8.conv1, b8.torgb, ...
        resolution: Side of its output in pixels.
        width: Number of style channels: the input channels of the convolution.
        is_rgb: True for the layers that turn features into colour.
        ws_index: Which of the W+ vectors its styles come from.
        offset: Flat index of its first channel.
    """

    index: int
    name: str
    resolution: int
    width: int
    is_rgb: bool
    ws_index: int
    offset: int

    @property
    def place(self) -> slice:
        """Where its channels are in flat styles."""
        return slice(self.offset, self.offset + self.width)


def indices_of(layers: Sequence[StyleLayer]) -> Tensor:
    """Flat indices of the channels of some layers.

    Args:
        layers: At least one.

    Returns:
        int64, in the order of the layers.
    """
    return torch.cat([torch.arange(layer.offset, layer.offset + layer.width) for layer in layers])


class StyleSpace:
    """Layer names, widths and wiring of one generator's styles.

    The order is that of all StyleCLIP code (StyleSpace, Wu et al. 2021): conv1 and toRGB at 4 pixels, then
    conv0, conv1 and toRGB at each higher resolution. A toRGB layer shares its W+ vector with the next
    block's conv0.

    Args:
        channels: Feature channels by resolution, from 4 pixels up.

    Attributes:
        layers: The layers in order.
        widths: Their channel counts.
        size: All channels.
        num_ws: Number of W+ vectors.
    """

    def __init__(self, channels: Mapping[int, int]) -> None:
        resolutions = sorted(channels)
        if not resolutions or resolutions != [4 << i for i in range(len(resolutions))]:
            raise ValueError(f"resolutions {resolutions}: expected 4, 8, 16, ... without gaps")
        layers: list[StyleLayer] = []

        def add(name: str, resolution: int, width: int, ws_index: int) -> None:
            offset = layers[-1].offset + layers[-1].width if layers else 0
            rgb = name == "torgb"
            layers.append(
                StyleLayer(len(layers), f"b{resolution}.{name}", resolution, width, rgb, ws_index, offset)
            )

        for resolution in resolutions:
            j = int(math.log2(resolution)) - 2
            if j:
                add("conv0", resolution, channels[resolution // 2], 2 * j - 1)
            add("conv1", resolution, channels[resolution], 2 * j)
            add("torgb", resolution, channels[resolution], 2 * j + 1)
        self.layers = tuple(layers)
        self.widths = tuple(layer.width for layer in layers)
        self.size = sum(self.widths)
        self.num_ws = 2 * len(resolutions)

    def split(self, styles: Tensor) -> list[Tensor]:
        """Cut flat styles into one view per layer.

        Args:
            styles: [..., size].

        Returns:
            One [..., width] per layer.
        """
        return list(styles.split(self.widths, dim=-1))

    def concat(self, styles: Sequence[Tensor]) -> Tensor:
        """Join the layers' styles.

        Args:
            styles: One [..., width] per layer.

        Returns:
            [..., size].
        """
        return torch.cat(list(styles), dim=-1)

    def locate(self, flat: int) -> tuple[StyleLayer, int]:
        """Layer and channel of a flat index.

        Args:
            flat: From 0 to size - 1.

        Returns:
            The layer, and the channel's index inside it.

        Raises:
            IndexError: If it is outside the StyleSpace.
        """
        if not 0 <= flat < self.size:
            raise IndexError(f"style channel {flat} of {self.size}")
        layer = next(layer for layer in reversed(self.layers) if layer.offset <= flat)
        return layer, flat - layer.offset

    def editable(self, layers: LayerChoice = "fs3") -> list[StyleLayer]:
        """Layers that edits may move.

        Args:
            layers: "fs3": all but toRGB, up to 128 pixels, as in the published relevance files (official
                SingleChannel.py); "conv": all but toRGB; "all": all.

        Returns:
            In StyleSpace order.
        """
        return [
            layer
            for layer in self.layers
            if layers == "all" or (not layer.is_rgb and (layers == "conv" or layer.resolution <= 128))
        ]

"""StyleGAN2 (Karras et al. 2020), from what a state dict says: any resolution, any channel table.

Three entrances: z through `w_plus`, W+ through `forward`, styles through `synthesize`. Weights are kept as
they act: equalized-learning-rate factors of the training codes are folded in when a file is read.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets import ops
from styleclip_cli.nets.building import Uninitialised, fill, weights_of
from styleclip_cli.nets.stylespace import StyleLayer, StyleSpace
from styleclip_cli.settings import Precision

Noise = Literal["const", "none"]
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# As NVlabs' generators in half precision (StyleGAN2-ADA's networks.py: num_fp16_res, conv_clamp).
HALF_RESOLUTIONS = 4  # of the highest resolutions
HALF_CLAMP = 256.0
LOWEST_CONFINED = 8
"""From this resolution on features are blended: parts of a face are larger than its cells."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Shape of a generator.

    Attributes:
        z_dim: Length of z.
        w_dim: Length of a w.
        mapping_layers: Fully connected layers from z to w.
        channels: Feature channels by resolution, from 4 pixels up.
        conv_clamp: What the results of all layers are clamped to, as in NVlabs' generators that were
            trained in half precision; None: not at all.
    """

    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channels: Mapping[int, int] = field(default_factory=dict)
    conv_clamp: float | None = None

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return max(self.channels)

    def multiplications(self, layer: StyleLayer) -> int:
        """How many a layer's convolution takes for a picture, done directly.

        Args:
            layer: One of the generator's.

        Returns:
            Their number.
        """
        side = layer.resolution // 2 if layer.name.endswith("conv0") else layer.resolution
        return side * side * layer.width * (3 if layer.is_rgb else 9 * self.channels[layer.resolution])

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> GeneratorConfig:
        """Read the shape off the weights.

        Args:
            state: Tensors under this generator's names.

        Returns:
            The shape.

        Raises:
            WeightsError: If they are not a generator's.
        """
        with weights_of("a StyleGAN2 generator"):
            channels = {
                int(m.group(1)): int(weight.shape[0])
                for key, weight in state.items()
                if (m := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", key))
            }
            layers = sum(1 for key in state if re.fullmatch(r"mapping\.\d+\.weight", key))
            w_dim = int(state["synthesis.b4.conv1.affine.weight"].shape[1])
            z_dim = int(state["mapping.0.weight"].shape[1])
            clamp = float(state["conv_clamp"]) if "conv_clamp" in state else None
            config = cls(z_dim, w_dim, layers, dict(sorted(channels.items())), clamp)
            StyleSpace(config.channels)
        return config


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by styles; with demodulation, noise and leaky ReLU.

    toRGB layers have none of the last three.
    """

    def __init__(self, layer: StyleLayer, out_channels: int, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.is_rgb = layer.is_rgb
        self.up = layer.name.endswith("conv0")
        size = 1 if self.is_rgb else 3
        self.weight = nn.Parameter(
            torch.randn(out_channels, layer.width, size, size) / math.sqrt(layer.width * size**2)
        )
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.affine = nn.Linear(w_dim, layer.width)
        nn.init.normal_(self.affine.weight, std=1 / math.sqrt(w_dim))
        nn.init.ones_(self.affine.bias)
        if not self.is_rgb:
            self.noise_strength = nn.Parameter(torch.zeros(()))
            self.noise_const: Tensor
            self.register_buffer("noise_const", torch.randn(layer.resolution, layer.resolution))

    def forward(self, x: Tensor, styles: Tensor, noise: Noise, half: torch.dtype | None = None) -> Tensor:
        """Convolve, demodulate, add noise and bias, leaky ReLU; not for toRGB layers.

        Args:
            x: Features.
            styles: The scales of their channels.
            noise: As in `Generator.synthesize`.
            half: Precision of the convolution and the results; None for that of the weights.

        Returns:
            [N, O, H', W'].
        """
        power = self.weight.square().sum(dim=(2, 3))  # [O, I]
        demodulation = torch.rsqrt(styles.square() @ power.T + 1e-8)  # [N, O]
        weight: Tensor = self.weight
        clamp = self.clamp
        if half is not None:
            weight, styles, demodulation = normalised(weight, styles, demodulation)
            weight, clamp = weight.to(half), clamp or HALF_CLAMP
        shift = self.noise_const * self.noise_strength if noise == "const" else None
        return ops.styled_conv(x, weight, styles, demodulation, self.bias, shift, self.up, clamp)

    def colour(self, x: Tensor, styles: Tensor, image: Tensor | None) -> Tensor:
        """Add a toRGB layer's colours to the image so far, doubled.

        Args:
            x: [N, I, H, W].
            styles: [N, I].
            image: [N, 3, H / 2, W / 2]; None where there is none yet.

        Returns:
            [N, 3, H, W].
        """
        clamp = self.clamp or HALF_CLAMP if x.dtype in HALVES.values() else self.clamp
        return ops.to_rgb(x, self.weight, styles, self.bias, image, clamp)


def normalised(weight: Tensor, styles: Tensor, demodulation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move the sizes of weights and styles into the demodulation, so that half precision cannot overflow.

    Each output's weights become at most 1 / sqrt(inputs), styles at most 1, and the demodulation makes up
    for both (StyleGAN2-ADA's networks.py, modulated_conv2d): convolutions of features up to 256 then stay
    under 256 sqrt(inputs), less than float16 ends at.

    Args:
        weight: [O, I, 3, 3].
        styles: [N, I].
        demodulation: [N, O].

    Returns:
        The three of them, whose product is what it was.
    """
    # The sizes cancel, so gradients need not go through them.
    sizes = weight.detach().abs().amax(dim=(1, 2, 3)).clamp_min(1e-20) * math.sqrt(weight[0].numel())
    largest = styles.detach().abs().amax(dim=1, keepdim=True).clamp_min(1e-20)
    return weight / sizes[:, None, None, None], styles / largest, demodulation * sizes * largest


class Block(nn.Module):
    """All layers of one resolution."""

    conv0: ModulatedConv | None

    def __init__(
        self, layers: Sequence[StyleLayer], channels: int, w_dim: int, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.conv0 = ModulatedConv(layers[0], channels, w_dim, clamp) if len(layers) == 3 else None
        self.conv1 = ModulatedConv(layers[-2], channels, w_dim, clamp)
        self.torgb = ModulatedConv(layers[-1], 3, w_dim, clamp)


class Features(NamedTuple):
    """Where a rendering stands before a layer.

    Attributes:
        layer: Index of the layer that comes next.
        x: Features [N, C, H, W].
        image: The image so far, [N, 3, R, R]; None before the first toRGB layer.
    """

    layer: int
    x: Tensor
    image: Tensor | None

    def pick(self, rows: Tensor) -> Features:
        """Some of the images, or one several times.

        Args:
            rows: [M], their numbers.

        Returns:
            Those of M images.
        """
        return Features(self.layer, self.x[rows], None if self.image is None else self.image[rows])

    def confined(self, mask: Tensor) -> Features:
        """The second half of the images within a mask, and the first half around it.

        Args:
            mask: [N, 1, H, W] in [0, 1], of the features' size.

        Returns:
            Those of all 2 N images, of which the first N are as they were.
        """

        def joined(both: Tensor) -> Tensor:
            before, after = both.chunk(2)
            return torch.cat([before, before.lerp(after, mask.to(both.dtype))])

        return Features(self.layer, joined(self.x), None if self.image is None else joined(self.image))


class Generator(nn.Module):
    """A StyleGAN2 generator.

    Attributes:
        config: Its shape.
        style_space: Names and wiring of its style channels.
        w_avg: Mean of w, [w_dim]; what truncation moves toward.
        precision: What the layers of the four highest resolutions compute in.
    """

    w_avg: Tensor
    precision: Precision = "fp32"

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.style_space = StyleSpace(config.channels)
        widths = [config.z_dim, *[config.w_dim] * config.mapping_layers]
        self.mapping = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        self.synthesis = nn.ModuleDict()
        for resolution, channels in sorted(config.channels.items()):
            layers = [layer for layer in self.style_space.layers if layer.resolution == resolution]
            self.synthesis[f"b{resolution}"] = Block(layers, channels, config.w_dim, config.conv_clamp)
        self.const = nn.Parameter(torch.randn(config.channels[4], 4, 4))
        ops.channels_last(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> Generator:
        """Build the generator that a state dict describes.

        Args:
            state: Its tensors; "conv_clamp" if activations are clamped.

        Returns:
            The generator, not frozen.

        Raises:
            WeightsError: If it is not such a state dict.
        """
        own = {name: tensor for name, tensor in state.items() if name != "conv_clamp"}
        with Uninitialised():
            generator = cls(GeneratorConfig.from_state_dict(state))
        with weights_of("a StyleGAN2 generator"):
            fill(generator, own)
        return ops.channels_last(generator)

    def with_precision(self, precision: Precision) -> Generator:
        """The same generator, weights and all, that renders in another precision.

        Half precision is for rendering. Gradients go through it too, but those of fp16 want to be scaled
        up lest they vanish. The image is summed up in float32 in any case.

        Args:
            precision: "fp32", "bf16" or "fp16".

        Returns:
            A shallow copy.

        Raises:
            ValueError: If there is no such precision.
        """
        if precision != "fp32" and precision not in HALVES:
            raise ValueError(f"precision {precision!r}, expected fp32, bf16 or fp16")
        twin = copy.copy(self)
        twin.precision = precision
        return twin

    def _half(self, resolution: int) -> torch.dtype | None:
        """The half precision that layers of a resolution compute in; None for those that do not."""
        lowest = max(8, self.config.resolution >> (HALF_RESOLUTIONS - 1))
        return HALVES.get(self.precision) if resolution >= lowest else None

    def _convs(self) -> list[ModulatedConv]:
        convs: list[ModulatedConv] = []
        for block in self.synthesis.values():
            assert isinstance(block, Block)
            convs += [conv for conv in (block.conv0, block.conv1, block.torgb) if conv is not None]
        return convs

    @property
    def affines(self) -> list[nn.Linear]:
        """The layers that turn W+ into styles, in StyleSpace order: weight [width, w_dim], bias [width]."""
        return [conv.affine for conv in self._convs()]

    def map(self, z: Tensor) -> Tensor:
        """The mapping network (Karras et al. 2019).

        Args:
            z: [N, z_dim], standard normal.

        Returns:
            w [N, w_dim].
        """
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            x = F.leaky_relu(layer(x), 0.2) * ops.GAIN
        return x

    def w_plus(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """Turn z into W+, the same w on all layers.

        Args:
            z: [N, z_dim], standard normal.
            truncation_psi: w = w_avg + psi (w - w_avg).

        Returns:
            [N, num_ws, w_dim].
        """
        w_plus = self.map(z).unsqueeze(1).repeat(1, self.style_space.num_ws, 1)  # [N, num_ws, w_dim]
        if truncation_psi != 1.0:
            w_plus = self.w_avg.lerp(w_plus, truncation_psi)
        return w_plus

    def styles(self, w_plus: Tensor) -> list[Tensor]:
        """The affine layers: W+ to styles.

        Args:
            w_plus: [N, num_ws, w_dim].

        Returns:
            One [N, width] per style layer, in StyleSpace order.

        Raises:
            ValueError: If the shape is not that of this generator's W+.
        """
        wanted = (self.style_space.num_ws, self.config.w_dim)
        if w_plus.ndim != 3 or w_plus.shape[1:] != wanted:
            raise ValueError(f"w_plus {tuple(w_plus.shape)}, expected (N, {wanted[0]}, {wanted[1]})")
        layers = self.style_space.layers
        return [
            conv.affine(w_plus[:, layer.ws_index]) for conv, layer in zip(self._convs(), layers, strict=True)
        ]

    def synthesize(
        self,
        styles: Sequence[Tensor],
        noise: Noise = "const",
        stop_at: int | None = None,
        start: Features | None = None,
    ) -> Tensor:
        """Render styles.

        Args:
            styles: One [N, width] per layer, in StyleSpace order.
            noise: "const": the fixed noise buffers; "none": no noise.
            stop_at: Return the image of this lower resolution (skip outputs summed so far).
            start: Go on from there; the styles of earlier layers are not looked at.

        Returns:
            [N, 3, R, R], nominally in [-1, 1].
        """
        layers = self.style_space.layers
        end = len(layers) if stop_at is None else sum(layer.resolution <= stop_at for layer in layers)
        image = self.features(styles, end, noise, start).image
        assert image is not None
        return image

    def features(
        self, styles: Sequence[Tensor], layer: int, noise: Noise = "const", start: Features | None = None
    ) -> Features:
        """Render styles up to a layer, without it.

        Args:
            styles: One [N, width] per layer, in StyleSpace order; those from `layer` on are not looked at.
            layer: Index of the layer.
            noise: As in `synthesize`.
            start: Go on from there.

        Returns:
            Where the rendering stands before the layer.
        """
        if start is None:
            x = self.const.expand(styles[0].shape[0], -1, -1, -1)  # [N, C, 4, 4]
            start = Features(0, x.contiguous(memory_format=torch.channels_last), None)
        first, x, image = start
        layers = zip(self._convs(), self.style_space.layers, styles, strict=True)
        for conv, at, style in list(layers)[first:layer]:
            if conv.is_rgb:
                image = conv.colour(x, style, image)
            else:
                x = conv(x, style, noise, self._half(at.resolution))
        return Features(max(first, layer), x, image)

    def confined(
        self,
        before: Tensor,
        after: Tensor,
        mask: Tensor,
        noise: Noise = "const",
        change: tuple[int, Callable[[Features], Features]] | None = None,
    ) -> Tensor:
        """Render styles within a mask, coherent with others around it (see docs/math.md).

        Args:
            before: Styles around it, [N, size].
            after: Styles within, [N, size].
            mask: [N, 1, R, R] in [0, 1].
            noise: As in `synthesize`.
            change: What is done to the features of all 2 N images, and before which layer.

        Returns:
            [N, 3, R, R], nominally in [-1, 1]; where the mask is 0, what `before` alone gives.
        """
        styles = self.style_space.split(torch.cat([before, after]))
        at: Features | None = None
        for resolution in sorted(self.config.channels):
            end = sum(layer.resolution <= resolution for layer in self.style_space.layers)
            if change is not None and (at is None or at.layer <= change[0]) and change[0] < end:
                at = change[1](self.features(styles, change[0], noise, at))
            at = self.features(styles, end, noise, at)
            if resolution >= LOWEST_CONFINED:
                # The largest value of each cell: a mean would weaken what is smaller than a cell.
                at = at.confined(F.adaptive_max_pool2d(mask, resolution))
        assert at is not None
        assert at.image is not None
        return at.image[len(before) :]

    def forward(self, w_plus: Tensor, noise: Noise = "const", stop_at: int | None = None) -> Tensor:
        """Render W+.

        Args:
            w_plus: [N, num_ws, w_dim].
            noise: As in `synthesize`.
            stop_at: As in `synthesize`.

        Returns:
            [N, 3, R, R], nominally in [-1, 1].
        """
        return self.synthesize(self.styles(w_plus), noise, stop_at)

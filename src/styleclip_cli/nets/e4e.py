"""The e4e encoder (Tov et al. 2021): image -> W+, one w and small offsets from it; also pSp and ReStyle.

Structure and tensor names are those of the public checkpoints' `encoder.` part. An IR-SE trunk gives
feature maps at three depths, joined by a feature pyramid; a small head per W+ vector reads one of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.building import Uninitialised, fill, weights_of
from styleclip_cli.nets.irse import BlockShape, Bottleneck, input_layer, shapes_of

# The first W+ vectors read the deepest map, those from MIDDLE the second, those from FINE the third.
MIDDLE, FINE = 3, 7


class EqualLinear(nn.Module):
    """Linear layer whose weight is scaled by 1 / sqrt(inputs) when used."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I] -> [N, O]."""
        return F.linear(x, self.weight * self.scale, self.bias)


class StyleHead(nn.Module):
    """Halve a feature map until one vector is left."""

    def __init__(self, inputs: int, w_dim: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(halvings):
            layers += [nn.Conv2d(w_dim if i else inputs, w_dim, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, w_dim]."""
        return self.linear(self.convs(x).flatten(1))  # [N, w_dim, 1, 1] -> [N, w_dim]


class Encoder(nn.Module):
    """Image -> W+.

    Attributes:
        input_resolution: Side of its input in pixels.
        offsets: Whether the codes after the first are offsets from it (e4e), or stand alone (pSp).
        iterations: How often it is applied; more than once for ReStyle (Alaluf et al. 2021), whose input
            holds the last reconstruction too.
        rows: Which rows of its square input it reads; None for all.
        latent_avg: What its codes are relative to, [num_ws, w_dim].
    """

    latent_avg: Tensor

    def __init__(
        self,
        shapes: Sequence[BlockShape],
        num_ws: int,
        w_dim: int,
        input_resolution: int,
        *,
        pyramid: bool = True,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        self.input_resolution = input_resolution
        self.offsets = True
        self.iterations = 1
        self.rows: slice | None = None
        self.pyramid = pyramid
        self.input_layer = input_layer(shapes[0].inputs, inputs)
        self.body = nn.Sequential(*(Bottleneck(shape) for shape in shapes))
        ends = [i for i, shape in enumerate(shapes) if i + 1 == len(shapes) or shapes[i + 1].stride == 2]
        self._taps = ends[-3:]
        sides = [input_resolution // math.prod(shape.stride for shape in shapes[: i + 1]) for i in self._taps]
        fine, middle, coarse = (shapes[i].outputs for i in self._taps)
        depth = [sides[2]] * num_ws
        if pyramid:
            self.latlayer1 = nn.Conv2d(middle, coarse, 1)
            self.latlayer2 = nn.Conv2d(fine, coarse, 1)
            depth = [sides[2] if i < MIDDLE else sides[1] if i < FINE else sides[0] for i in range(num_ws)]
        self.styles = nn.ModuleList(StyleHead(coarse, w_dim, int(math.log2(side))) for side in depth)
        self.register_buffer("latent_avg", torch.zeros(num_ws, w_dim), persistent=False)

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], latent_avg: Tensor, notes: Mapping[str, str] | None = None
    ) -> Encoder:
        """Build the encoder that a state dict describes.

        Args:
            state: Tensors named as in an official checkpoint, without `encoder.`.
            latent_avg: What its codes are relative to, [w_dim] or [num_ws, w_dim].
            notes: What the checkpoint's options say and its tensors do not: "offsets" (1 or 0),
                "iterations", "rows" ("32:224"). An e4e encoder needs none.

        Returns:
            The encoder, not frozen.

        Raises:
            WeightsError: If it is not such a state dict.
        """
        notes = notes or {}
        with weights_of("an e4e encoder"):
            shapes = shapes_of(state)
            num_ws = len({m.group(1) for key in state if (m := re.match(r"styles\.(\d+)\.", key))})
            w_dim = state["styles.0.linear.weight"].shape[0]
            # The deepest head halves the deepest map down to one pixel.
            halvings = sum(1 for key in state if re.fullmatch(r"styles\.0\.convs\.\d+\.weight", key))
            side = 2**halvings * math.prod(shape.stride for shape in shapes)
            inputs = state["input_layer.0.weight"].shape[1]
            with Uninitialised():
                net = cls(shapes, num_ws, w_dim, side, pyramid="latlayer1.weight" in state, inputs=inputs)
            fill(net, state)
            net.latent_avg = latent_avg.detach().clone().expand(num_ws, w_dim).contiguous()
            net.offsets = notes.get("offsets", "1") == "1"
            net.iterations = int(notes.get("iterations", "1"))
            if "rows" in notes:
                first, _, last = notes["rows"].partition(":")
                net.rows = slice(int(first), int(last))
        return net

    def codes(self, images: Tensor) -> Tensor:
        """Codes of images, relative to `latent_avg`.

        Args:
            images: [N, 3, R, R] in [-1, 1], with the last reconstruction as three more channels for ReStyle.

        Returns:
            [N, num_ws, w_dim].
        """
        x = self.input_layer(images if self.rows is None else images[:, :, self.rows])
        maps = []
        for i, block in enumerate(self.body):
            x = block(x)
            if i in self._taps:
                maps.append(x)
        fine, middle, coarse = maps
        first = self.styles[0](coarse)
        codes = [first]
        features = coarse
        for i in range(1, len(self.styles)):
            if self.pyramid and i == MIDDLE:
                features = _upsample_add(features, self.latlayer1(middle))
            elif self.pyramid and i == FINE:
                features = _upsample_add(features, self.latlayer2(fine))
            code = self.styles[i](features)
            codes.append(first + code if self.offsets else code)
        return torch.stack(codes, dim=1)  # [N, num_ws, w_dim]

    def forward(self, images: Tensor) -> Tensor:
        """Invert images in one pass.

        Args:
            images: [N, 3, R, R] in [-1, 1].

        Returns:
            W+ [N, num_ws, w_dim].
        """
        return self.codes(images) + self.latent_avg


def _upsample_add(deep: Tensor, shallow: Tensor) -> Tensor:
    """Join two levels of the pyramid at the shallower one's size."""
    return F.interpolate(deep, shallow.shape[-2:], mode="bilinear", align_corners=True) + shallow

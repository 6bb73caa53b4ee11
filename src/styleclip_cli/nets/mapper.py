"""The latent residual mappers of StyleCLIP (paper section 5): a latent in, what to add to it out.

Structure and tensor names are those of the published checkpoints (official mapper/latent_mappers.py):
`course_mapping` (sic), `medium_mapping` and `fine_mapping`, or `mapping` for all layers at once, or
`mapper_0`, `mapper_2`, ... for the layers of StyleSpace.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.building import Uninitialised, fill, weights_of

# The offset of published mappers is a tenth of what the network says (official training/coach.py).
STRENGTH = 0.1
_LEVELS = {"course_mapping": slice(0, 4), "medium_mapping": slice(4, 8), "fine_mapping": slice(8, None)}
_RATE = 0.01
_DEPTH = 4


class MapperLayer(nn.Module):
    """Fully connected layer, stored a hundred times too large, with leaky ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) / _RATE)
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = _RATE / math.sqrt(width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> the same shape."""
        x = F.linear(x, self.weight * self.scale, self.bias * _RATE)
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


class Mapper(nn.Module):
    """Four layers behind a normalisation of axis 1.

    Axis 1 of W+ latents [N, L, w_dim] is the layer axis: so it is in the published mappers, which need it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # Index 0 is the normalisation, which has no tensors.
        self.mapping = nn.Sequential(nn.Identity(), *(MapperLayer(width) for _ in range(_DEPTH)))

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, width] or [N, width] -> the same shape."""
        return self.mapping(x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8))


class LatentMapper(nn.Module):
    """A mapper with the parts that its checkpoint has: levels of W+, all of W+, or style layers."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: Mapper(width) for name, width in widths.items()})

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> LatentMapper:
        """Build the mapper that a state dict describes; levels that it lacks change nothing.

        Raises:
            WeightsError: If it is not a mapper's.
        """
        with weights_of("a StyleCLIP mapper"):
            widths = {
                match[1]: int(tensor.shape[0])
                for key, tensor in state.items()
                if (match := re.fullmatch(r"([a-z]+_mapping|mapping|mapper_\d+)\.mapping\.1\.weight", key))
            }
            with Uninitialised():
                mapper = cls(widths)
            fill(mapper, {f"parts.{key}": tensor for key, tensor in state.items()})
            if not widths:
                raise KeyError("no levels")
        return mapper.eval()

    def forward(self, w_plus: Tensor) -> Tensor:
        """Offset [N, num_ws, w_dim] of W+ latents; an edit adds `STRENGTH` times it."""
        offset = torch.zeros_like(w_plus)
        for name, mapper in self.parts.items():
            layers = _LEVELS.get(name, slice(None))
            offset[:, layers] = mapper(w_plus[:, layers])
        return offset

    def offsets(self, styles: Sequence[Tensor]) -> list[Tensor]:
        """Offsets of styles, one [N, width] per style layer, for a mapper of style layers."""
        return [
            self.parts[f"mapper_{i}"](layer) if f"mapper_{i}" in self.parts else torch.zeros_like(layer)
            for i, layer in enumerate(styles)
        ]

"""The latent residual mappers of StyleCLIP (paper section 5): a latent in, what to add to it out.

Structure and tensor names are those of the published checkpoints (official mapper/latent_mappers.py):
`course_mapping` (sic), `medium_mapping` and `fine_mapping`, or `mapping` for all layers at once, or
`mapper_0`, `mapper_2`, ... for the layers of StyleSpace.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.nets.building import Uninitialised, fill, weights_of
from styleclip_cli.settings import LEVELS, Level, MapperKind, MapperNorm

if TYPE_CHECKING:
    from styleclip_cli.nets.stylespace import StyleSpace

# The offset of published mappers is a tenth of what the network says (official training/coach.py).
STRENGTH = 0.1
_NAMES: dict[str, Level] = {"course_mapping": "coarse", "medium_mapping": "medium", "fine_mapping": "fine"}
_PART = r"((?:course|medium|fine)_mapping|mapping|mapper_\d{1,3})\.mapping\.1\.weight"
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
    """Four layers behind a normalisation.

    Args:
        width: Of the latents.
        norm: Which axis of W+ latents [N, L, w_dim] is normalised. "layers" (axis 1) is what the published
            mappers need: where all layers are the same, it leaves their signs only. "channels" is what the
            paper's generator does to z.
    """

    def __init__(self, width: int, norm: MapperNorm = "layers") -> None:
        super().__init__()
        self.norm = norm
        # Index 0 is the normalisation, which has no tensors.
        self.mapping = nn.Sequential(nn.Identity(), *(MapperLayer(width) for _ in range(_DEPTH)))

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, width] or [N, width] -> the same shape."""
        axis = 1 if self.norm == "layers" else -1
        return self.mapping(x * torch.rsqrt(x.square().mean(dim=axis, keepdim=True) + 1e-8))


class LatentMapper(nn.Module):
    """A mapper with the parts that its checkpoint has: levels of W+, all of W+, or style layers.

    Attributes:
        norm: As in `Mapper`.
    """

    def __init__(self, widths: Mapping[str, int], norm: MapperNorm = "layers") -> None:
        super().__init__()
        self.norm = norm
        self.parts = nn.ModuleDict({name: Mapper(width, norm) for name, width in widths.items()})

    @classmethod
    def new(
        cls,
        kind: MapperKind,
        space: StyleSpace,
        w_dim: int,
        levels: Sequence[Level] = tuple(LEVELS),
        norm: MapperNorm = "channels",
        zero_init: bool = True,
        random: torch.Generator | None = None,
    ) -> LatentMapper:
        """A mapper to be trained.

        Args:
            kind: "levels" (one network per level), "single" (one for all of W+) or "styles" (one per style
                layer but toRGB; official WithoutToRGBStyleSpaceMapper).
            space: Of the generator.
            w_dim: Of the generator.
            levels: Which levels "levels" has; the others change nothing.
            norm: As in `Mapper`.
            zero_init: Start from an offset of nearly nothing; officially from a random one of a tenth.
            random: Draws the first weights.

        Returns:
            The mapper, to be trained.
        """
        widths: dict[str, int]
        if kind == "levels":
            starts = {name: LEVELS[level][0] for name, level in _NAMES.items() if level in levels}
            widths = {name: w_dim for name, start in starts.items() if start < space.num_ws}
        elif kind == "single":
            widths = {"mapping": w_dim}
        else:
            widths = {f"mapper_{layer.index}": layer.width for layer in space.layers if not layer.is_rgb}
        mapper = cls(widths, norm)
        with torch.no_grad():
            for part in mapper.parts.values():
                assert isinstance(part, Mapper)
                layers = [layer for layer in part.mapping if isinstance(layer, MapperLayer)]
                for layer in layers:
                    layer.weight.copy_(torch.randn(layer.weight.shape, generator=random) / _RATE)
                if zero_init:
                    layers[-1].weight.mul_(0.01)
        return mapper

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], norm: MapperNorm = "layers") -> LatentMapper:
        """Build the mapper that a state dict describes; levels that it lacks change nothing.

        Args:
            state: Tensors under the names of the published checkpoints.
            norm: As in `Mapper`.

        Returns:
            The mapper, in evaluation mode.

        Raises:
            WeightsError: If it is not a mapper's.
        """
        with weights_of("a StyleCLIP mapper"):
            widths = {
                match[1]: int(tensor.shape[0])
                for key, tensor in state.items()
                if (match := re.fullmatch(_PART, key))
            }
            with Uninitialised():
                mapper = cls(widths, norm)
            fill(mapper, {f"parts.{key}": tensor for key, tensor in state.items()})
            if not widths:
                raise KeyError("no levels")
        return mapper.eval()

    def tensors(self) -> dict[str, Tensor]:
        """Its weights under the names of the published checkpoints.

        Returns:
            Detached, by name.
        """
        return {key.removeprefix("parts."): tensor.detach() for key, tensor in self.state_dict().items()}

    @property
    def kind(self) -> MapperKind:
        """What it maps."""
        if "mapping" in self.parts:
            return "single"
        return "styles" if any(name.startswith("mapper_") for name in self.parts) else "levels"

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels that it has; all of them if it is not one of levels."""
        return tuple(level for name, level in _NAMES.items() if self.kind != "levels" or name in self.parts)

    def fits(self, space: StyleSpace, w_dim: int) -> bool:
        """Whether its parts have the widths of a generator's latents.

        Args:
            space: Of the generator.
            w_dim: Of the generator.

        Returns:
            True if they do.
        """
        widths = {name: int(part.mapping[1].weight.shape[0]) for name, part in self.parts.items()}  # type: ignore[index, union-attr]
        wanted = {f"mapper_{layer.index}": layer.width for layer in space.layers}
        return widths.items() <= (wanted if self.kind == "styles" else dict.fromkeys(widths, w_dim)).items()

    def forward(self, w_plus: Tensor) -> Tensor:
        """Offset of W+ latents; an edit adds `STRENGTH` times it.

        Args:
            w_plus: [N, num_ws, w_dim].

        Returns:
            [N, num_ws, w_dim].
        """
        offset = torch.zeros_like(w_plus)
        for name, mapper in self.parts.items():
            layers = slice(*LEVELS[_NAMES[name]]) if name in _NAMES else slice(None)
            offset[:, layers] = mapper(w_plus[:, layers])
        return offset

    def offsets(self, styles: Sequence[Tensor]) -> list[Tensor]:
        """Offsets of styles, for a mapper of style layers.

        Args:
            styles: One [N, width] per style layer.

        Returns:
            One [N, width] per style layer; zeros where it has no part.
        """
        return [
            self.parts[f"mapper_{i}"](layer) if f"mapper_{i}" in self.parts else torch.zeros_like(layer)
            for i, layer in enumerate(styles)
        ]

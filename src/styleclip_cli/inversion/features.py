"""Features beside a latent: what one middle layer's features gain, so that the generator shows an image.

A latent describes a face; a hat, a hand or a background it hardly reaches. The features of a middle layer
reach everything (as in the F space of BDInvert, Kang et al. 2021, and the hybrid of features and weights of
Li et al. 2023, "Delving StyleGAN Inversion for Image Editing"). Where an edit changes what these features
show, what they gained belongs to something that is no longer there, and is let go (`FeatureResidual.kept`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.inversion.refine import Deadline, ImageLoss, Plateau
from styleclip_cli.nets.stylegan2 import Features, Generator, Noise
from styleclip_cli.settings import InversionSettings

FINER = 4
"""How many times as fine as the features the image is."""
LET_GO = 1.0
"""Change of the features, in units of their spread, at which 1/e of what they gained is kept: with less,
surroundings of what is edited are let go too; with more, ghosts of the old stay (toy world, 10 photos)."""


@dataclass(frozen=True, eq=False)
class FeatureResidual:
    """What the features before one layer gain for an image.

    Attributes:
        layer: Index of the style layer whose input it is.
        values: [1, C, H, W].
        w_plus: W+ of the image unedited, [1, num_ws, w_dim].
    """

    layer: int
    values: Tensor
    w_plus: Tensor

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays to be kept, by name."""
        return {
            "features.layer": np.asarray(self.layer, np.int64),
            "features.values": self.values.detach().cpu().half().numpy(),
            "features.w_plus": self.w_plus.detach().cpu().numpy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FeatureResidual | None:
        """What `to_arrays` kept; None if there is none among the arrays.

        Raises:
            ValueError: If it is something else.
        """
        if "features.layer" not in arrays:
            return None
        values, w_plus = (
            torch.from_numpy(arrays[f"features.{name}"].astype(np.float32)) for name in ("values", "w_plus")
        )
        if values.ndim != 4 or not bool(values.isfinite().all()):
            raise ValueError(f"features {tuple(values.shape)}")
        return cls(int(arrays["features.layer"]), values, w_plus)

    def check(self, generator: Generator) -> None:
        """Make sure that it is of this generator.

        Raises:
            ValueError: If it is not.
        """
        at = generator.style_space.layers
        if not 0 < self.layer < len(at):
            raise ValueError(f"features before layer {self.layer} of {len(at)}")
        side, width = at[self.layer].resolution, at[self.layer].width
        wanted = (1, width, side, side)
        if at[self.layer].name.endswith("conv0") or tuple(self.values.shape) != wanted:
            raise ValueError(f"features {tuple(self.values.shape)}, expected {wanted}")

    def synthesize(self, generator: Generator, styles: Sequence[Tensor], noise: Noise = "const") -> Tensor:
        """Render styles with what the features gain.

        Args:
            generator: The generator.
            styles: One [N, width] per layer, in StyleSpace order.
            noise: As in `Generator.synthesize`.

        Returns:
            [N, 3, R, R], nominally in [-1, 1].
        """
        there = self.added(generator, generator.features(styles, self.layer, noise), noise)
        return generator.synthesize(styles, noise, start=there)

    def added(self, generator: Generator, there: Features, noise: Noise = "const") -> Features:
        """Features with what they gain.

        Args:
            generator: The generator.
            there: Features before the layer.
            noise: As in `Generator.synthesize`.
        """
        pivot = generator.features(generator.styles(self.w_plus.to(there.x)), self.layer, noise)
        x = there.x + self.kept(there.x, pivot.x) * self.values.to(there.x)
        return Features(there.layer, x.contiguous(memory_format=torch.channels_last), there.image)

    @staticmethod
    def kept(now: Tensor, before: Tensor) -> Tensor:
        """How much of it is kept in each place after an edit: exp(-(d / LET_GO)^4).

        d is the change of the features, as the root mean square over channels, each in units of its spread
        over the image, and over 3 x 3 places.

        Args:
            now: Features after the edit, [N, C, H, W].
            before: Unedited, [1, C, H, W].

        Returns:
            [N, 1, H, W], 0 to 1.
        """
        spread = before.flatten(2).std(dim=2)[..., None, None].clamp_min(1e-6)
        change = ((now - before) / spread).square().mean(dim=1, keepdim=True)
        change = F.avg_pool2d(F.pad(change, (1, 1, 1, 1), mode="replicate"), 3, 1)
        return torch.exp(-((change / LET_GO**2) ** 2))


def layer_of(generator: Generator) -> int:
    """The layer before which features are changed: the toRGB layer at 1 / FINER of the image's side."""
    side = max(8, generator.config.resolution // FINER)
    return next(i for i, at in enumerate(generator.style_space.layers) if at.is_rgb and at.resolution == side)


def fit(
    generator: Generator,
    w_plus: Tensor,
    loss_of: ImageLoss,
    settings: InversionSettings,
    deadline: Deadline,
) -> FeatureResidual:
    """Find what the features have to gain, by Adam.

    Args:
        generator: The generator, frozen; left as it is.
        w_plus: The latent, [1, num_ws, w_dim].
        loss_of: How far a picture is from the image.
        settings: Steps, rate, and the weight of staying near the features of the latent.
        deadline: Counts steps and time.

    Returns:
        What the features gain.
    """
    layer = layer_of(generator)
    with torch.no_grad():
        styles = generator.styles(w_plus)
        start = generator.features(styles, layer)
        spread = start.x.flatten(2).std(dim=2)[..., None, None].clamp_min(1e-6)
    gain = torch.zeros_like(start.x, requires_grad=True)
    optimizer = torch.optim.Adam([gain], lr=settings.feature_rate)
    plateau = Plateau()
    for step in range(settings.feature_steps):
        shown = generator.synthesize(styles, start=Features(layer, start.x + gain * spread, start.image))
        loss = loss_of(shown).sum()
        if deadline.over or plateau.reached(float(loss.detach())):
            deadline.skip(settings.feature_steps - step)
            break
        optimizer.zero_grad(set_to_none=True)
        (loss + settings.lambda_features * gain.square().mean()).backward()
        optimizer.step()
        deadline.step()
    return FeatureResidual(layer, (gain * spread).detach(), w_plus.detach())

"""Move W+ (and, if wanted, the noise) until the generator shows an image.

The usual optimisation of the StyleGAN literature (Image2StyleGAN, Abdal et al. 2019; start from an encoder
and pull back to its code as in e4e, Tov et al. 2021; noise and its regulariser as in StyleGAN2's projector,
Karras et al. 2020, appendix D): Adam against pixels, a perceptual distance, the identity, and the distance
to the encoder's code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from styleclip_cli.inversion.encode import resized
from styleclip_cli.inversion.perceptual import Perceptual
from styleclip_cli.nets.irse import ArcFace
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import InversionSettings

# A plateau: as many steps without this share of improvement end the search.
_PATIENCE, _GAIN = 30, 0.002
_SMALLEST_NOISE = 8


class Deadline:
    """Counts the steps of all methods, reports them, and says when the time is up.

    Args:
        budget: Seconds for the whole inversion; None for no limit.
        progress: Called with (done, total) steps.
        total: How many steps there will be at the most.
    """

    def __init__(self, budget: float | None, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._end = None if budget is None else time.monotonic() + budget
        self._progress, self._total, self._done = progress, total, 0

    def step(self) -> None:
        """Count one step."""
        self._done += 1
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)

    def skip(self, steps: int) -> None:
        """Count steps that are not needed.

        Args:
            steps: How many.
        """
        self._done += steps

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and time.monotonic() >= self._end


class Plateau:
    """Notices that a loss no longer falls.

    Args:
        patience: So many steps without a real gain are a plateau.
    """

    def __init__(self, patience: int = _PATIENCE) -> None:
        self._patience = patience
        self._best, self._since = float("inf"), 0

    def reached(self, loss: float) -> bool:
        """Take the next loss.

        Args:
            loss: The loss.

        Returns:
            True after many steps without a real gain.
        """
        if loss < self._best * (1 - _GAIN):
            self._best, self._since = loss, 0
        else:
            self._since += 1
        return self._since >= self._patience


@contextmanager
def frozen(*networks: nn.Module | None) -> Iterator[None]:
    """No gradients for these networks' weights: they would cost a third of each step and be thrown away."""
    found = [p for net in networks if net is not None for p in net.parameters() if p.requires_grad]
    for parameter in found:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in found:
            parameter.requires_grad_(True)


def refine(
    generator: Generator,
    codes: Tensor,
    images: Tensor,
    settings: InversionSettings,
    perceptual: Perceptual | None = None,
    identity: ArcFace | None = None,
    deadline: Deadline | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Move W+ codes until the generator shows the images.

    The loss of each image is lambda_pixel (L1 + L2) + lambda_perceptual * distance + lambda_identity (1 -
    cosine) + lambda_code (squared distance to the start). Step size and distance are in units of how far the
    codes lie from the mean latent, so that one setting suits generators of any scale.

    Args:
        generator: The generator to match.
        codes: Start, W+ [N, num_ws, w_dim].
        images: What to match, [N, 3, H, W] in [-1, 1].
        settings: Steps, step size and weights; `noise` needs N = 1.
        perceptual: Perceptual distance; without it that term is left out.
        identity: Face embeddings; without them that term is left out.
        deadline: Counts steps and time.

    Returns:
        W+ [N, num_ws, w_dim] with the lowest loss seen for each image, on the generator's device, and what
        the noise buffers gained, by name (empty without `noise`).
    """
    device = next(generator.parameters()).device
    deadline = deadline or Deadline(settings.budget, None, settings.steps)
    # Copies made outside inference mode: autograd refuses tensors that were made inside it.
    start = codes.detach().to(device).clone()
    target = resized(images.detach().to(device).clone(), generator.config.resolution)
    distance = start - generator.w_avg.to(device)
    scale = distance.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-6)
    offset = torch.zeros_like(start, requires_grad=True)  # in units of `scale`
    noise = _Noise(generator) if settings.noise else None
    variables = [offset, *(noise.maps if noise is not None else ())]
    optimizer = torch.optim.Adam(variables, lr=settings.learning_rate)
    loss_of = ImageLoss(target, settings, perceptual, identity)
    best, best_noise = start.clone(), {} if noise is None else noise.gained()
    lowest = torch.full((len(start),), float("inf"), device=device)
    plateau = Plateau()
    with frozen(generator), noise or nullcontext():
        for step in range(settings.steps + 1):
            w_plus = start + offset * scale
            loss = loss_of(generator(w_plus)) + settings.lambda_code * offset.square().mean(dim=(1, 2))
            better = loss.detach() < lowest
            lowest = torch.where(better, loss.detach(), lowest)
            best[better] = w_plus.detach()[better]
            if noise is not None and bool(better.all()):
                best_noise = noise.gained()
            if step == settings.steps or deadline.over or plateau.reached(float(lowest.sum())):
                deadline.skip(settings.steps - step)
                break
            optimizer.zero_grad(set_to_none=True)
            total = loss.sum()
            if noise is not None:
                total = total + settings.lambda_noise * noise.correlation()
            total.backward()
            optimizer.step()
            if noise is not None:
                noise.normalise()
            deadline.step()
    return best, best_noise


class ImageLoss:
    """The loss of `refine` and `pivotal`, but for what regularises them."""

    def __init__(
        self,
        target: Tensor,
        settings: InversionSettings,
        perceptual: Perceptual | None,
        identity: ArcFace | None,
    ) -> None:
        self._target, self._settings = target, settings
        self._perceptual = perceptual if settings.lambda_perceptual > 0 else None
        self._identity = identity if settings.lambda_identity > 0 else None
        with torch.no_grad():
            self._features = self._perceptual.features(target) if self._perceptual is not None else []
            self._person = self._identity.embed(target) if self._identity is not None else None

    def __call__(self, pictures: Tensor, rows: slice | Tensor = slice(None)) -> Tensor:
        """Loss [N] of images; `rows` says which of the targets are theirs."""
        error = pictures - self._target[rows]
        loss = self._settings.lambda_pixel * (error.abs() + error.square()).mean(dim=(1, 2, 3))
        if self._perceptual is not None:
            wanted = [maps[rows] for maps in self._features]
            loss = loss + self._settings.lambda_perceptual * self._perceptual(pictures, wanted)
        if self._identity is not None and self._person is not None:
            cosine = (self._identity.embed(pictures) * self._person[rows]).sum(dim=1)
            loss = loss + self._settings.lambda_identity * (1 - cosine)
        return loss


class _Noise:
    """The noise buffers as variables; inside the context they are the generator's."""

    def __init__(self, generator: Generator) -> None:
        self._owners = {
            name: module for name, module in generator.named_modules() if hasattr(module, "noise_const")
        }
        self._originals = {name: module.noise_const for name, module in self._owners.items()}
        self.maps = [buffer.detach().clone().requires_grad_(True) for buffer in self._originals.values()]

    def __enter__(self) -> None:
        for module, values in zip(self._owners.values(), self.maps, strict=True):
            module.noise_const = values

    def __exit__(self, *_: object) -> None:
        for name, module in self._owners.items():
            module.noise_const = self._originals[name]

    def gained(self) -> dict[str, Tensor]:
        """Differences from the buffers, by the buffers' names."""
        return {
            f"{name}.noise_const": values.detach() - self._originals[name]
            for name, values in zip(self._owners, self.maps, strict=True)
        }

    def correlation(self) -> Tensor:
        """How far the noise is from white: neighbours' products at all scales (StyleGAN2, appendix D)."""
        total = self.maps[0].new_zeros(())
        for values in self.maps:
            level = values[None, None]
            while True:
                for axis in (2, 3):
                    total = total + (level * level.roll(1, dims=axis)).mean().square()
                if level.shape[-1] <= _SMALLEST_NOISE:
                    break
                level = F.avg_pool2d(level, 2)
        return total

    @torch.no_grad()
    def normalise(self) -> None:
        """Zero mean and unit spread, as after each step of StyleGAN2's projector."""
        for values in self.maps:
            values.sub_(values.mean()).mul_(values.square().mean().clamp_min(1e-12).rsqrt())

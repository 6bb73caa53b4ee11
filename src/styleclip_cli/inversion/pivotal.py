"""Pivotal tuning (Roich et al. 2021): move the generator a little, until it shows an image at one latent.

Published settings: 350 steps of Adam at 3e-4 on equalised weights, LPIPS + L2; locality regularisation
pulls images of latents between that one, the pivot, and random ones to what they were. The affine layers,
which turn W+ into styles, stay: directions in style space keep their meaning.

Files keep kernels at different sizes: divided by the square root of their fan in, or not (NVlabs' PyTorch
code), which is the same to the images, as kernels are demodulated. So a kernel's rate is in proportion to
its own size. What equalising means for toRGB, which is not demodulated, is a rate divided by the square
root of the fan in.

What the tensors gain is kept with few numbers: a kernel's gain is a matrix [out, in * k * k] of low rank
(measured on the toy pack: rank 16 keeps all but half a dB, in a sixth of the numbers; at 1024 pixels it is
2 MB instead of 48).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from styleclip_cli.inversion.encode import resized
from styleclip_cli.inversion.perceptual import Perceptual
from styleclip_cli.inversion.refine import Deadline, ImageLoss, Plateau, frozen
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.settings import InversionSettings

_locks: WeakKeyDictionary[Generator, RLock] = WeakKeyDictionary()
RANK = 16
AT_ONCE = 4
"""Images of one person that a step of tuning looks at."""
TUNING = 2
"""Changes with what the same settings lead to."""
# Equalised kernels have a root mean square of about this: 1 before training, 1.3 to 4.1 after (toy pack).
_EQUALISED = 2.0


def pivotal(
    generator: Generator,
    w_plus: Tensor,
    image: Tensor,
    settings: InversionSettings,
    perceptual: Perceptual | None,
    changes: Mapping[str, Tensor],
    deadline: Deadline,
) -> dict[str, Tensor]:
    """Tune the generator around a pivot, or around those of several photos of one person at once.

    Args:
        generator: The generator; left as it was.
        w_plus: The pivots, [N, num_ws, w_dim]; a step looks at `AT_ONCE` of them at the most.
        image: What they are to show, [N, 3, H, W] in [-1, 1].
        settings: Steps, rate, and the weight of locality.
        perceptual: Perceptual distance.
        changes: What tensors have gained already (noise).
        deadline: Counts steps and time.

    Returns:
        What each tuned tensor gains, by name; kernels' gains have a rank of `RANK` at the most.
    """
    w_plus = w_plus.detach().clone()
    target = resized(image.detach().to(w_plus).clone(), generator.config.resolution)
    loss_of = ImageLoss(target, settings, perceptual, None)
    random, order = (torch.Generator().manual_seed(settings.seed + i) for i in range(2))
    plateau = Plateau()
    with tuned(generator, changes), frozen(generator):
        parameters = _tunable(generator)
        originals = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        optimizer = torch.optim.Adam(
            [{"params": [p], "lr": settings.pivotal_rate * _unit(name, p)} for name, p in parameters.items()]
        )
        try:
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            for step in range(settings.pivotal_steps):
                if deadline.over:
                    deadline.skip(settings.pivotal_steps - step)
                    break
                rows = torch.randperm(len(w_plus), generator=order)[:AT_ONCE].to(w_plus.device)
                loss = loss_of(generator(w_plus[rows]), rows).mean()
                if len(w_plus) <= AT_ONCE and plateau.reached(float(loss.detach())):
                    deadline.skip(settings.pivotal_steps - step)
                    break
                if settings.lambda_locality > 0:
                    loss = loss + settings.lambda_locality * _locality(
                        generator, w_plus[rows[:1]], parameters, originals, settings, random
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                deadline.step()
            return {
                name: low_rank(parameter.detach() - originals[name]) for name, parameter in parameters.items()
            }
        finally:
            for name, parameter in parameters.items():
                parameter.requires_grad_(False)
                parameter.grad = None
                parameter.data = originals[name]


@contextmanager
def tuned(generator: Generator, changes: Mapping[str, Tensor]) -> Iterator[Generator]:
    """Tune a generator for a while.

    Args:
        generator: Its tensors are replaced inside the context, and put back afterwards, exactly. Other
            threads that want to enter the context wait, those too that change nothing.
        changes: What is added to tensors, by name.

    Yields:
        The generator.
    """
    with _locks.setdefault(generator, RLock()):
        if not changes:
            yield generator
            return
        tensors: dict[str, Tensor] = {**dict(generator.named_parameters()), **dict(generator.named_buffers())}
        moved = {name: tensors[name].data + change.to(tensors[name]) for name, change in changes.items()}
        with _swapped(tensors, moved):
            yield generator


@contextmanager
def _swapped(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Give tensors other values for a while."""
    before = {name: tensors[name].data for name in values}
    try:
        for name, value in values.items():
            tensors[name].data = value
        yield
    finally:
        for name, value in before.items():
            tensors[name].data = value


def _tunable(generator: Generator) -> dict[str, nn.Parameter]:
    return {
        name: parameter
        for name, parameter in generator.named_parameters()
        if name.startswith("synthesis.") and ".affine." not in name and not name.endswith("noise_strength")
    }


def _unit(name: str, parameter: Tensor) -> float:
    """What a step of 1 on an equalised weight is on this one."""
    if parameter.ndim != 4:
        return 1.0
    if ".torgb." in name:
        return 1 / math.sqrt(parameter[0].numel())
    return float(parameter.detach().square().mean().sqrt()) / _EQUALISED


def _locality(
    generator: Generator,
    pivot: Tensor,
    parameters: Mapping[str, nn.Parameter],
    originals: Mapping[str, Tensor],
    settings: InversionSettings,
    random: torch.Generator,
) -> Tensor:
    """How far an image near the pivot has moved from what the untuned generator shows (section 3.3)."""
    z = torch.randn(1, generator.config.z_dim, generator=random).to(pivot)
    with torch.no_grad():
        near = pivot.lerp(generator.w_plus(z, truncation_psi=0.5), settings.locality_reach)
        with _swapped(parameters, originals):
            before = generator(near)
    return (generator(near) - before).square().mean()


def low_rank(change: Tensor) -> Tensor:
    """The nearest change of low rank (Eckart-Young), for kernels; others stay.

    Args:
        change: [O, I, k, k], or anything else.

    Returns:
        Of the same shape.
    """
    factors = factorised(change)
    return change if factors is None else (factors[0] @ factors[1]).reshape(change.shape).to(change.device)


def factorised(change: Tensor) -> tuple[Tensor, Tensor] | None:
    """Two thin matrices [O, RANK] and [RANK, I * k * k] whose product is nearest to a kernel's change.

    Args:
        change: [O, I, k, k]; anything else has no factors.

    Returns:
        The matrices, on the CPU, or None where they would not be smaller.
    """
    if change.ndim != 4:
        return None
    matrix = change.detach().cpu().flatten(1).double()  # not every device has double precision
    outputs, inputs = matrix.shape
    if RANK * (outputs + inputs) >= outputs * inputs:
        return None
    # Through the smaller Gram matrix: twenty times faster than a singular value decomposition.
    basis = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -RANK:]
    return basis.float(), (basis.T @ matrix).float()


def to_arrays(changes: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Changes as arrays to be kept: half precision, kernels as their two thin matrices.

    Args:
        changes: What is added to tensors, by name.

    Returns:
        By name of the tensor, "tuned." before it.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, change in changes.items():
        factors = factorised(change.cpu())
        if factors is None:
            arrays[f"tuned.{name}"] = change.cpu().half().numpy()
        else:
            arrays[f"tuned.{name}.left"] = factors[0].half().numpy()
            arrays[f"tuned.{name}.right"] = factors[1].half().numpy()
            arrays[f"tuned.{name}.shape"] = np.asarray(change.shape, np.int64)
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Changes as `to_arrays` keeps them; other arrays are passed over.

    Args:
        arrays: As `to_arrays` gives them, among others.

    Returns:
        What is added to tensors, by name.

    Raises:
        ValueError: If they do not fit each other.
    """
    kept = {name[6:]: array for name, array in arrays.items() if name.startswith("tuned.")}
    changes: dict[str, Tensor] = {}
    for name, array in kept.items():
        stem, _, ending = name.rpartition(".")
        if ending == "left":
            shape = tuple(int(n) for n in kept[f"{stem}.shape"])
            left, right = (
                torch.from_numpy(kept[f"{stem}.{side}"].astype(np.float32)) for side in ("left", "right")
            )
            changes[stem] = (left @ right).reshape(shape)  # [O, I, k, k]
        elif ending not in ("right", "shape"):
            changes[name] = torch.from_numpy(array.astype(np.float32))
    return changes

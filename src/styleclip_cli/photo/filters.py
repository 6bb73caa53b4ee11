"""Filters of images [1, C, H, W] on the CPU: blurs, scaling, masks."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_SMALL = 128
"""Up to this side images are blurred by matrices, which is quicker than small convolutions."""


def ramp(values: Tensor, start: float, end: float) -> Tensor:
    """A smooth step.

    Args:
        values: Anything.
        start: Up to here 0.
        end: From here on 1.

    Returns:
        Of the same shape, in [0, 1].
    """
    t = ((values - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def window(side: int, feather: float) -> Tensor:
    """A mask of the whole crop: 0 along its border, rising smoothly to 1.

    Args:
        side: In pixels.
        feather: Width of the rise, in parts of the side.

    Returns:
        [side, side] in [0, 1].
    """
    steps = torch.arange(side, dtype=torch.float32)
    rise = ramp(torch.minimum(steps, steps.flip(0)), 0.0, max(side * feather, 1.0))
    return rise[:, None] * rise[None, :]


def resize(image: Tensor, side: int) -> Tensor:
    """Scale a square image, without aliasing.

    Args:
        image: [1, C, s, s].
        side: In pixels.

    Returns:
        [1, C, side, side].
    """
    if image.shape[-1] == side:
        return image
    return F.interpolate(
        image, (side, side), mode="bilinear", align_corners=False, antialias=side < image.shape[-1]
    )


def blur(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur; borders are repeated.

    Args:
        image: [1, C, h, w].
        sigma: In pixels.

    Returns:
        [1, C, h, w].
    """
    if max(image.shape[-2:]) <= _SMALL:
        down, across = (_blurring(side, sigma) for side in image.shape[-2:])
        return down @ image @ across.T
    kernel = _gaussian(sigma)
    planes = F.pad(image, (len(kernel) // 2,) * 4, mode="replicate").transpose(0, 1)  # channels as a batch
    return F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1)).transpose(0, 1)


def smooth(values: Tensor, reach: int) -> Tensor:
    """Blur with a raised cosine, which ends after `reach` pixels; borders are repeated.

    Args:
        values: [1, 1, h, w].
        reach: In pixels.

    Returns:
        [1, 1, h, w].
    """
    if reach < 1:
        return values
    kernel = torch.hann_window(2 * reach + 3, periodic=False)[1:-1]
    kernel = kernel / kernel.sum()
    padded = F.pad(values, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _gaussian(sigma: float) -> Tensor:
    """A Gaussian of sum 1, as far as 2.5 sigma."""
    reach = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * sigma**2))
    return kernel / kernel.sum()


@lru_cache(maxsize=64)
def _blurring(side: int, sigma: float) -> Tensor:
    """The matrix [side, side] that blurs a column."""
    kernel, places = _gaussian(sigma), torch.arange(side)
    matrix = torch.zeros(side, side)
    for step, weight in enumerate(kernel, start=-(len(kernel) // 2)):
        matrix[places, (places + step).clamp(0, side - 1)] += weight
    return matrix


def dilate(mask: Tensor, reach: int) -> Tensor:
    """Grow a mask, with a soft border.

    Args:
        mask: [1, 1, h, w] in [0, 1].
        reach: By how many pixels.

    Returns:
        Of the same shape.
    """
    if not reach:
        return mask
    soft = blur(F.max_pool2d(mask, 2 * reach + 1, 1, reach), reach / 2)
    return (soft * (1 + 1e-6)).clamp(max=1)  # what was 1 all around is 1 again


def border_distance(side: int) -> Tensor:
    """How far each pixel of a square is from its border.

    Args:
        side: In pixels.

    Returns:
        [side, side], in sides.
    """
    steps = torch.arange(side) + 0.5
    near = torch.minimum(steps, side - steps) / side
    return torch.minimum(near[:, None], near[None, :])


def pixel_grid(side: int) -> Tensor:
    """The middles of a square's pixels, as `grid_sample` reads them.

    Args:
        side: In pixels.

    Returns:
        [1, side, side, 2], (x, y) in [-1, 1].
    """
    steps = (torch.arange(side) + 0.5) / side * 2 - 1
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)[None]


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """Read an image at displaced places.

    Args:
        image: [1, C, s, s].
        displacement: [1, 2, h, w], (x, y) in sides.

    Returns:
        [1, C, s, s].
    """
    side = image.shape[-1]
    places = pixel_grid(side) + 2 * resize(displacement, side).permute(0, 2, 3, 1)
    return F.grid_sample(image, places, "bilinear", "border", align_corners=False)

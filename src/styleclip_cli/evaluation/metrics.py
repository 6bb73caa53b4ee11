"""Differences between images: MSE, PSNR, SSIM, and the region that an edit changes.

All take images [N, 3, H, W] in [-1, 1], as the generator renders them, and compare them as files of eight
bits in [0, 1].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.photo.filters import blur

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
BORDER = _WINDOW // 2
"""Pixels along the border that have no whole window, and so no SSIM."""
REGION_SIDE = 256
"""Side at which the changed region is found, in pixels; larger images are averaged to it."""
REGION_BLUR = 1 / 64
"""Standard deviation of the Gaussian that smooths the difference, in sides."""
REGION_SHARE = 0.25
"""The region is where the smoothed difference exceeds this share of its maximum."""
_LEAST = 1 / 255
_AT_ONCE = 2**20
"""Pixels whose windows are looked at together."""


def eight_bits(images: Tensor) -> Tensor:
    """What a file holds of images.

    Args:
        images: [N, 3, H, W] in [-1, 1]; values beyond are clamped.

    Returns:
        [N, 3, H, W] in [0, 1], multiples of 1/255, float32.
    """
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round() / 255


def mse(a: Tensor, b: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean squared difference.

    Args:
        a: [N, 3, H, W].
        b: [N, 3, H, W].
        where: Pixels that count, [N, 1, H, W], bool; None for all.

    Returns:
        [N]; 0 where no pixel counts.
    """
    squares = (a - b).square().mean(dim=1, keepdim=True)
    return _mean(squares, where)


def psnr(mse: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images in [0, 1], in dB.

    Args:
        mse: Mean squared differences, of any shape.

    Returns:
        Of the same shape; at most 100.
    """
    return -10 * torch.log10(mse.clamp_min(1e-10))


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity at each pixel (Wang et al. 2004), averaged over the colours.

    As published: Gaussian windows of 11 x 11 pixels with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03,
    and population covariances; only whole windows count. The data range is 1.

    Args:
        a: [N, 3, H, W] in [0, 1].
        b: [N, 3, H, W] in [0, 1].

    Returns:
        [N, 1, H - 10, W - 10].
    """
    count = max(1, _AT_ONCE // (a.shape[-1] * a.shape[-2]))
    return torch.cat([_ssim_map(*some) for some in zip(a.split(count), b.split(count), strict=True)])


def _ssim_map(a: Tensor, b: Tensor) -> Tensor:
    mean_a, mean_b, square_a, square_b, product = _windowed([a, b, a * a, b * b, a * b])
    var_a, var_b, both = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    found = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    found = found / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return found.mean(dim=1, keepdim=True)


def ssim(found: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean structural similarity.

    Args:
        found: What `ssim_map` gives, [N, 1, H - 10, W - 10].
        where: Pixels that count, [N, 1, H, W], bool; None for all.

    Returns:
        [N], at most 1; 1 where no pixel counts.
    """
    if where is None:
        return _mean(found, None)
    inside = where[..., BORDER:-BORDER, BORDER:-BORDER]
    return 1 - _mean(1 - found, inside)


def changed_region(before: Tensor, after: Tensor) -> Tensor:
    """Where an edit changes a face: M = [G * |after - before| > share * max(G * |after - before|)].

    The difference is averaged over the colours and to `REGION_SIDE`, and smoothed by a Gaussian G of
    `REGION_BLUR` of the side. The threshold is relative, so that a faint change of everything beside a strong
    one counts as outside. Where the largest smoothed difference is under 1/255 nothing is changed.

    Args:
        before: [N, 3, H, W] in [0, 1].
        after: [N, 3, H, W] in [0, 1].

    Returns:
        [N, 1, H, W], bool.
    """
    side = before.shape[-1]
    difference = (after - before).abs().mean(dim=1)[None].cpu()  # [1, N, H, W]
    if side > REGION_SIDE:
        difference = F.adaptive_avg_pool2d(difference, REGION_SIDE)
    smooth = blur(difference, difference.shape[-1] * REGION_BLUR)
    largest = smooth.amax(dim=(2, 3), keepdim=True)
    region = (smooth > REGION_SHARE * largest) & (largest >= _LEAST)
    full = F.interpolate(region.float(), (side, side), mode="nearest")[0, :, None]
    return (full > 0.5).to(before.device)


def _windowed(planes: list[Tensor]) -> tuple[Tensor, ...]:
    """Gaussian means of images [N, 3, H, W] over whole windows."""
    steps = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    kernel = torch.exp(-steps.square() / (2 * _SIGMA**2))
    weights = (kernel / kernel.sum()).tolist()
    means = torch.cat(planes)
    for axis in (2, 3):  # sums of shifted images are quicker than convolutions of single channels
        length = means.shape[axis] - _WINDOW + 1
        total = means.narrow(axis, 0, length) * weights[0]
        for shift, weight in enumerate(weights[1:], start=1):
            total.add_(means.narrow(axis, shift, length), alpha=weight)
        means = total
    return means.chunk(len(planes))


def _mean(values: Tensor, where: Tensor | None) -> Tensor:
    """Mean of [N, 1, H, W] over pixels; 0 where none counts."""
    if where is None:
        return values.flatten(1).mean(dim=1)
    count = where.flatten(1).sum(dim=1)
    return (values * where).flatten(1).sum(dim=1) / count.clamp_min(1)

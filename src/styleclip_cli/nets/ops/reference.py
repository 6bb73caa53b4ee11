"""Modulated convolution and upsampling in plain PyTorch, shared by the whole batch.

StyleGAN2 scales the weights of a convolution per sample. Scaling its input channels before, and its
output channels after, gives the same numbers with one ordinary convolution for all samples (Karras et al.
2020, section 2.2 read backwards), which is what processors are good at.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

# StyleGAN2's low-pass filter; its gain of 4 makes up for the zeros between samples when upsampling.
FILTER = (1.0, 3.0, 3.0, 1.0)


def modulated_conv(
    x: Tensor, weight: Tensor, styles: Tensor, demodulation: Tensor | None, up: bool
) -> Tensor:
    """Convolve with weights scaled by styles.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k] for a plain convolution; for upsampling, what `resampled` makes of it.
        styles: [N, I].
        demodulation: [N, O], what the result is divided by; None for toRGB.
        up: Double the resolution.

    Returns:
        [N, O, H, W], or twice the height and width.
    """
    x = x * styles[:, :, None, None]
    if up:
        x = F.pixel_shuffle(F.conv2d(x, weight, padding=1), 2)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return x if demodulation is None else x * demodulation[:, :, None, None]


def resampled(weight: Tensor) -> Tensor:
    """Merge upsampling, convolution and low-pass filter into one 3x3 convolution on the low resolution.

    A transposed convolution of stride 2 followed by the 4-tap filter is one transposed 6x6 convolution;
    each of its 2x2 output phases sees 3x3 input pixels, so all four are one convolution with 4 O outputs,
    to be pixel-shuffled.

    Args:
        weight: [O, I, 3, 3].

    Returns:
        [4 O, I, 3, 3].
    """
    taps = weight.new_tensor(FILTER) / 4  # gain 2 per axis over the filter's sum of 8
    kernel = torch.outer(taps, taps)[None, None]
    outputs, inputs = weight.shape[:2]
    merged = F.conv2d(weight.reshape(-1, 1, 3, 3), kernel.flip(2, 3), padding=3).view(outputs, inputs, 6, 6)
    # Output row 2 i + a takes input row i + d through kernel row a + 2 - 2 d, for d = -1, 0, 1.
    rows = [merged[:, :, [a + 4, a + 2, a]] for a in (0, 1)]
    phases = [part[:, :, :, [b + 4, b + 2, b]] for part in rows for b in (0, 1)]
    return torch.stack(phases, dim=1).reshape(outputs * 4, inputs, 3, 3)


def upsample_rgb(x: Tensor) -> Tensor:
    """Double the resolution of a picture with StyleGAN2's filter: [N, 3, H, W] -> [N, 3, 2 H, 2 W].

    Inside the picture this is bilinear interpolation; at the border StyleGAN2 sees zeros.
    """
    padded = F.pad(x, (1, 1, 1, 1))
    return F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 2:-2, 2:-2]


def channels_last(module: M) -> M:
    """Lay out a network's kernels with the channels last, as CPUs and tensor cores like them; returns it."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

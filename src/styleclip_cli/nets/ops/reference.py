"""Modulated convolution and upsampling in plain PyTorch, shared by the whole batch.

StyleGAN2 scales the weights of a convolution per sample. Scaling its input channels before, and its
output channels after, gives the same numbers with one ordinary convolution for all samples (Karras et al.
2020, section 2.2 read backwards), which is what processors are good at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)

# StyleGAN2's low-pass filter; its gain of 4 makes up for the zeros between samples when upsampling.
FILTER = (1.0, 3.0, 3.0, 1.0)
SLOPE = 0.2  # of the leaky ReLU
GAIN = math.sqrt(2)  # what keeps its results' size


def styled_conv(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulation: Tensor,
    bias: Tensor,
    noise: Tensor | None,
    up: bool,
    clamp: float | None = None,
) -> Tensor:
    """A whole layer: convolve with weights scaled by styles, add noise and bias, leaky ReLU times sqrt(2).

    Args:
        x: [N, I, H, W].
        weight: [O, I, 3, 3]. Its precision is that of the convolution and of the results; all else may be
            float32.
        styles: [N, I].
        demodulation: [N, O], what the convolution's result is multiplied by.
        bias: [O].
        noise: [H', W'], added to all channels.
        up: Double the resolution: a transposed convolution of stride 2, then the low-pass filter.
        clamp: Largest size of a result; None for no limit.

    Returns:
        [N, O, H', W'] of the same height and width, or twice those.
    """
    x = (x * styles[:, :, None, None]).to(weight.dtype)
    if up:
        x = low_pass(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
    else:
        x = F.conv2d(x, weight, padding=1)
    shift = bias[:, None, None] if noise is None else bias[:, None, None] + noise
    x = F.leaky_relu(x * demodulation[:, :, None, None] + shift, SLOPE) * GAIN
    x = x if clamp is None else x.clamp(-clamp, clamp)
    return x.to(weight.dtype)


def colours(x: Tensor, weight: Tensor) -> Tensor:
    """Weigh the channels of images.

    Args:
        x: [N, I, H, W].
        weight: [N, 3, I].

    Returns:
        [N, 3, H, W].
    """
    mixed = x.permute(0, 2, 3, 1).flatten(1, 2) @ weight.transpose(1, 2)  # [N, H W, 3]
    return mixed.transpose(1, 2).unflatten(2, x.shape[2:])  # [N, 3, H, W]


def to_rgb(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor,
    image: Tensor | None,
    clamp: float | None = None,
    product: Callable[[Tensor, Tensor], Tensor] = colours,
) -> Tensor:
    """Turn features into colours and add them to the image so far.

    Args:
        x: [N, I, H, W]; all else may be more precise.
        weight: [3, I, 1, 1].
        styles: [N, I].
        bias: [3].
        image: [N, 3, H / 2, W / 2]; None where there is none yet.
        clamp: Largest size of a colour that is added; None for no limit.
        product: Does what `colours` does.

    Returns:
        [N, 3, H, W].
    """
    # Scaling three rows of weights for each image is less than scaling the image.
    colour = product(x, (weight.flatten(1) * styles[:, None]).to(x.dtype)) + bias[:, None, None]
    colour = colour if clamp is None else colour.clamp(-clamp, clamp)
    return colour if image is None else upsample_rgb(image) + colour


def low_pass(x: Tensor) -> Tensor:
    """StyleGAN2's filter after a transposed convolution.

    Rows, then columns: 8 multiplications for each number instead of 16.

    Args:
        x: [N, C, 2 H + 1, 2 W + 1].

    Returns:
        [N, C, 2 H, 2 W].
    """
    channels = x.shape[1]
    # A gain of 2 per axis over the filter's sum of 8. CUDA graphs record no copies from the CPU: filled in.
    taps = x.new_full((4,), FILTER[0] / 4)
    taps[1:3] = FILTER[1] / 4
    rows = taps.view(1, 1, 4, 1).expand(channels, 1, 4, 1)  # [C, 1, 4, 1]
    x = F.conv2d(x, rows, padding=(1, 0), groups=channels)
    return F.conv2d(x, rows.transpose(2, 3), padding=(0, 1), groups=channels)


def upsample_rgb(x: Tensor) -> Tensor:
    """Double the resolution of an image with StyleGAN2's filter.

    Inside the image this is bilinear interpolation; at the border StyleGAN2 sees zeros.

    Args:
        x: [N, 3, H, W].

    Returns:
        [N, 3, 2 H, 2 W].
    """
    padded = F.pad(x, (1, 1, 1, 1))
    return F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 2:-2, 2:-2]


def channels_last(module: M) -> M:
    """Lay out a network's kernels with the channels last, as CPUs and tensor cores like them.

    Args:
        module: The network; changed in place.

    Returns:
        The same.
    """
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

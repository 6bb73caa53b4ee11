"""The operations a generator spends its time in, each done by the fastest that can do it here.

`reference` is plain PyTorch and can do everything; `cpu` and `cuda` call kernels that are built on first use.
"""

from __future__ import annotations

from torch import Tensor

from styleclip_cli.nets.ops import cpu, cuda, reference
from styleclip_cli.nets.ops.reference import GAIN, channels_last, low_pass, upsample_rgb

__all__ = ["GAIN", "channels_last", "low_pass", "styled_conv", "to_rgb", "upsample_rgb"]


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
    """A whole layer; see `reference.styled_conv`."""
    layer = reference.styled_conv
    # Kernels do not broadcast.
    whole = len(styles) == len(demodulation) == len(x)
    if whole and cpu.usable(x, weight, up, bias, noise):
        layer = cpu.styled_conv
    elif cuda.usable(x, weight, bias, noise):
        layer = cuda.styled_conv
    return layer(x, weight, styles, demodulation, bias, noise, up, clamp)


def to_rgb(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor,
    image: Tensor | None,
    clamp: float | None = None,
) -> Tensor:
    """Features to colours; see `reference.to_rgb`."""
    if cuda.usable(x):
        return cuda.to_rgb(x, weight, styles, bias, image, clamp)
    return reference.to_rgb(x, weight, styles, bias, image, clamp, cpu.colours)

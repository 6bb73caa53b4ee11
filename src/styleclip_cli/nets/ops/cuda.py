"""Layers on GPUs: cuDNN's convolutions, and Triton's kernels for all that is around them.

Gradients are those of everything but weights, bias and noise. See `triton_kernels`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.nets.ops import reference
from styleclip_cli.nets.ops.building import switched_off, without
from styleclip_cli.nets.ops.shared import Gradients, Layer, dense, numbers, packed, with_gradients

# Numbers that one program works on: 8 for each of Triton's usual 128 threads, which a thread reads at once in
# half precision.
_TILE = 1024


def usable(x: Tensor, *others: Tensor | None) -> bool:
    """Whether `styled_conv` and `to_rgb` can do a layer.

    Args:
        x: Features [N, I, H, W].
        others: What no gradients may be wanted of.

    Returns:
        True if they can.
    """
    if x.device.type != "cuda" or x.numel() == 0 or switched_off() or torch.compiler.is_compiling():
        return False
    if torch.is_autocast_enabled("cuda"):  # it would change precisions between kernels
        return False
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in others):
        return False
    return _works(x.device)


@cache
def _works(device: torch.device) -> bool:
    """Try the smallest kernel: Triton may be missing, or find no compiler for its own start."""
    try:
        with torch.inference_mode():
            ones = torch.ones(1, 1, 1, 1, device=device)
            return bool(_scaled(ones, ones[:, :, 0, 0], ones.dtype) == 1)
    except Exception as error:  # whatever it is, plain PyTorch can do the work
        without(error)
        return False


def to_rgb(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor,
    image: Tensor | None,
    clamp: float | None = None,
) -> Tensor:
    """As `reference.to_rgb`; gradients are left to it, too."""
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, styles, bias, image)
    ):
        return reference.to_rgb(x, weight, styles, bias, image, clamp)
    x = dense(x)
    n, channels, height, width = x.shape
    pixels, wide = _block(channels)
    y = torch.empty(n, 3, height, width, dtype=_accumulator(x), device=x.device)
    grid = (-(-height * width // pixels), n)
    arguments = (x, weight.flatten(1).contiguous(), styles.contiguous(), bias, packed(image), y)
    sizes = (channels, height, width, 0.0 if clamp is None else clamp)
    flags = {"IMAGE": image is not None, "CLAMP": clamp is not None}
    _launch("to_rgb", grid, *arguments, *sizes, **flags, BP=pixels, BC=wide, ACC=_name(y.dtype))
    return y


def _forward(layer: Layer) -> Tensor:
    x, weight, styles, demodulation, bias, noise, up, clamp = layer
    scaled = _scaled(x, styles, weight.dtype)
    if up:
        z = dense(F.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2))
    else:
        z = dense(F.conv2d(scaled, weight, padding=1))
    n, channels = z.shape[:2]
    height, width = (side - int(up) for side in z.shape[2:])
    y = _empty(n, channels, height, width, z)
    arguments = (z, demodulation.contiguous(), bias, packed(noise), y, channels, height, width)
    flags = {"UP": up, "NOISE": noise is not None, "CLAMP": clamp is not None}
    _launch("finish", _grid(y), *arguments, *numbers(clamp), **flags, **_sizes(y))
    return y


def _backward(gradient: Tensor, y: Tensor, layer: Layer) -> Gradients:
    of_z, of_demodulation = _before_activation(gradient, y, layer)
    if layer.up:
        of_scaled = F.conv2d(_before_low_pass(of_z), layer.weight.transpose(0, 1), stride=2)
    else:
        of_scaled = F.conv_transpose2d(of_z, layer.weight, padding=1)
    of_x, of_styles = _before_styles(of_scaled, layer.x, layer.styles)
    return of_x, of_styles, of_demodulation


styled_conv = with_gradients(_forward, _backward)
"""As `reference.styled_conv`, where `usable`."""


def _scaled(x: Tensor, styles: Tensor, dtype: torch.dtype) -> Tensor:
    x = dense(x)
    y = torch.empty_like(x, dtype=dtype)
    _launch("scale", _grid(x), x, styles.contiguous(), y, x.shape[1], x.shape[2] * x.shape[3], **_sizes(x))
    return y


def _before_activation(gradient: Tensor, y: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """Gradients of the (filtered) convolution's result and of the demodulation."""
    demodulation, noise, clamp = layer.demodulation, layer.noise, layer.clamp
    of_z, sums, pixels = torch.empty_like(y), _sums(y), y.shape[2] * y.shape[3]
    tensors = (dense(gradient), y, demodulation.contiguous(), layer.bias, packed(noise), of_z, sums)
    flags = {"NOISE": noise is not None, "CLAMP": clamp is not None}
    settings = (y.shape[1], pixels, *numbers(clamp))
    _launch("before_activation", _grid(y), *tensors, *settings, **flags, **_sizes(y))
    return of_z, sums.sum(0).to(demodulation.dtype) / demodulation


def _before_low_pass(gradient: Tensor) -> Tensor:
    n, channels, height, width = gradient.shape
    of_z = _empty(n, channels, height + 1, width + 1, gradient)
    _launch("before_low_pass", _grid(of_z), gradient, of_z, channels, height, width, **_sizes(of_z))
    return of_z


def _before_styles(gradient: Tensor, x: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of features and styles."""
    x = dense(x)
    of_x, sums = torch.empty_like(x), _sums(x)
    tensors = (dense(gradient), x, styles.contiguous(), of_x, sums)
    _launch("before_styles", _grid(x), *tensors, x.shape[1], x.shape[2] * x.shape[3], **_sizes(x))
    return of_x, sums.sum(0).to(styles.dtype)


def _launch(name: str, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Start a kernel on the device of its first argument: Triton itself takes the current one."""
    from styleclip_cli.nets.ops import triton_kernels

    with torch.cuda.device_of(arguments[0]):
        getattr(triton_kernels, name)[grid](*arguments, **constants)


def _empty(n: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    """Features with the channels last, even where sizes of 1 leave the layout open."""
    y = torch.empty(n, height, width, channels, dtype=like.dtype, device=like.device)
    return y.permute(0, 3, 1, 2)  # [N, O, H, W]


def _block(channels: int) -> tuple[int, int]:
    """How many pixels and channels a program takes."""
    wide = min(64, max(16, 1 << (channels - 1).bit_length()))
    return _TILE // wide, wide


def _grid(x: Tensor) -> tuple[int, int, int]:
    n, channels, height, width = x.shape
    pixels, wide = _block(channels)
    return -(-height * width // pixels), -(-channels // wide), n


def _sizes(x: Tensor) -> dict[str, Any]:
    pixels, wide = _block(x.shape[1])
    return {"BP": pixels, "BC": wide, "ACC": _name(_accumulator(x))}


def _sums(x: Tensor) -> Tensor:
    """Room for each block of pixels to leave its sums in: added up later, in the same order each time."""
    return torch.empty(_grid(x)[0], *x.shape[:2], dtype=_accumulator(x), device=x.device)


def _accumulator(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _name(dtype: torch.dtype) -> Any:
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32

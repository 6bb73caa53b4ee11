"""Layers on CPUs: calls into `kernels.cpp`, with gradients for everything but weights, bias and noise."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from styleclip_cli.nets.ops import reference
from styleclip_cli.nets.ops.building import library
from styleclip_cli.nets.ops.shared import Gradients, Layer, dense, numbers, packed, with_gradients

_NAMES = {torch.float32: "float", torch.float64: "double"}
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int

# Weights take 36 / 9 of their room once they are prepared, and four times that where the resolution doubles.
# The widest of those layers are so small in pixels that they would gain little for half a gigabyte.
_LARGEST = 20_000_000
# Smaller images are done before a prepared weight is read.
_FEWEST_PIXELS = 64


def usable(x: Tensor, weight: Tensor, up: bool, *others: Tensor | None) -> bool:
    """Whether `styled_conv` can do a layer, and gains by it.

    Args:
        x: Features [N, I, H, W].
        weight: [O, I, 3, 3].
        up: Whether the resolution doubles.
        others: What else no gradients may be wanted of.

    Returns:
        True if it can.
    """
    if not _known(x, weight):
        return False
    if weight.numel() * 4 * (4 if up else 1) > _LARGEST or x.shape[-1] * x.shape[-2] < _FEWEST_PIXELS:
        return False
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (weight, *others)):
        return False
    return _here()


def _known(x: Tensor, weight: Tensor) -> bool:
    """Whether there are kernels for these at all."""
    return x.device.type == "cpu" and x.dtype in _NAMES and weight.dtype == x.dtype and x.numel() > 0


def _here() -> bool:
    """Whether kernels can be called at all; autocast would change precisions between them."""
    busy = torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    return not busy and library() is not None


def colours(x: Tensor, weight: Tensor) -> Tensor:
    """As `reference.colours`, where it pays; with all gradients.

    Args:
        x: [N, I, H, W].
        weight: [N, 3, I].

    Returns:
        [N, 3, H, W].
    """
    if not _known(x, weight) or not _here() or weight.shape != (x.shape[0], 3, x.shape[1]):
        return reference.colours(x, weight)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        product: Any = _Colours.apply
        result: Tensor = product(x, weight)
        return result
    return _colours(x, weight)


class _Colours(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _colours(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        x = dense(x)
        n, inputs, height, width = x.shape
        of_x = torch.empty_like(x)
        of_weight = torch.zeros(weight.shape, dtype=torch.float64)
        arguments = [gradient.contiguous(), x, weight.contiguous(), of_x, of_weight]
        _call("before_colours", x.dtype, arguments, [n, height * width, inputs], [])
        return of_x, of_weight.to(x.dtype)


def _colours(x: Tensor, weight: Tensor) -> Tensor:
    x = dense(x)
    n, inputs, height, width = x.shape
    y = x.new_empty(n, 3, height, width)
    _call("colours", x.dtype, [x, weight.contiguous(), y], [n, height * width, inputs], [])
    return y


def _forward(layer: Layer) -> Tensor:
    x, weight, styles, demodulation, bias, noise, up, clamp = layer
    side = 2 if up else 1
    prepared = _prepared(weight, up, back=False)
    return _convolve(x, prepared, styles, demodulation, bias, noise, side, weight.shape[0], clamp)


def _backward(gradient: Tensor, y: Tensor, layer: Layer) -> Gradients:
    before, of_demodulation = _before_activation(gradient, y, layer)
    prepared = _prepared(layer.weight, layer.up, back=True)
    of_x = _convolve(before, prepared, None, None, None, None, 1, layer.x.shape[1], None)
    of_styles = _before_styles(of_x, dense(layer.x), layer.styles)
    return of_x, of_styles, of_demodulation


styled_conv = with_gradients(_forward, _backward)
"""As `reference.styled_conv`, where `usable`."""


def _convolve(
    x: Tensor,
    prepared: Tensor,
    styles: Tensor | None,
    demodulation: Tensor | None,
    bias: Tensor | None,
    noise: Tensor | None,
    side: int,
    outputs: int,
    clamp: float | None,
) -> Tensor:
    x = dense(x)
    n, inputs, height, width = x.shape
    y = x.new_empty(n, side * height, side * width, outputs).permute(0, 3, 1, 2)  # [N, O, H', W']
    arguments = [x, prepared, packed(styles), packed(demodulation), bias, packed(noise), y]
    done = _call("layer", x.dtype, arguments, [n, height, width, inputs, outputs, side], numbers(clamp))
    if not done:
        raise MemoryError("cannot allocate memory for a layer")
    return y


def _before_activation(gradient: Tensor, y: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """Gradients of the convolution's result [N, side^2 O, H, W] and of the demodulation."""
    n, outputs, high, wide = y.shape
    side = 2 if layer.up else 1
    height, width = high // side, wide // side
    result = y.new_empty(n, height, width, side * side * outputs).permute(0, 3, 1, 2)
    sums = torch.zeros(n, outputs, dtype=torch.float64)
    arguments = [dense(gradient), y, layer.demodulation.contiguous(), layer.bias, packed(layer.noise)]
    sizes = [n, height, width, outputs, side]
    _call("before_activation", y.dtype, [*arguments, result, sums], sizes, numbers(layer.clamp))
    return result, sums.to(y.dtype)


def _before_styles(gradient: Tensor, x: Tensor, styles: Tensor) -> Tensor:
    """Gradient of the styles; that of the scaled inputs becomes that of the inputs in place."""
    n, inputs, height, width = x.shape
    sums = torch.zeros(n, inputs, dtype=torch.float64)
    arguments = [gradient, x, styles.contiguous(), sums]
    _call("before_styles", x.dtype, arguments, [n, height * width, inputs], [])
    return sums.to(x.dtype)


@dataclass
class _Weights:
    """A weight's prepared forms, and what they were made of: tuning swaps a parameter's data."""

    source: Tensor
    version: int
    forms: dict[tuple[bool, bool], Tensor] = field(default_factory=dict)


_cache: Any = WeakTensorKeyDictionary()


def _prepared(weight: Tensor, up: bool, back: bool) -> Tensor:
    """A weight at Winograd's points, once for as long as it stays the same."""
    version = -1 if weight.is_inference() else weight._version
    kept = _cache.get(weight)
    if kept is None or kept.source.data_ptr() != weight.data_ptr() or kept.version != version:
        # Holding the data keeps its address from being given to others.
        kept = _Weights(weight.detach(), version)
        _cache[weight] = kept
    form = kept.forms.get((up, back))
    if form is None:
        sizes = [weight.shape[0], weight.shape[1], 2 if up else 1, int(back)]
        count = getattr(library(), f"packed_size_{_NAMES[weight.dtype]}")(*map(_INT, sizes))
        with torch.inference_mode(False):
            form = torch.empty(count, dtype=weight.dtype)
        _call("prepare", weight.dtype, [weight.detach().contiguous(), form], sizes, [])
        kept.forms[up, back] = form
    return form


def _call(
    name: str,
    dtype: torch.dtype,
    tensors: Sequence[Tensor | None],
    sizes: Sequence[int],
    settings: Sequence[float],
) -> int:
    """Call a kernel; its arguments are always pointers, then sizes, then numbers."""
    number = ctypes.c_float if dtype == torch.float32 else ctypes.c_double
    found: int = getattr(library(), f"{name}_{_NAMES[dtype]}")(
        *(_POINTER(None if t is None else t.data_ptr()) for t in tensors),
        *map(_INT, sizes),
        *map(number, settings),
    )
    return found

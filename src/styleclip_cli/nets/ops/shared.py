"""What kernels for CPUs and for GPUs have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from styleclip_cli.nets.ops.reference import GAIN, SLOPE

Gradients = tuple[Tensor, Tensor, Tensor]
"""Of features, styles and demodulation."""


class Layer(NamedTuple):
    """What a layer takes, of the same names and in the same order as `reference.styled_conv`."""

    x: Tensor
    weight: Tensor
    styles: Tensor
    demodulation: Tensor
    bias: Tensor
    noise: Tensor | None
    up: bool
    clamp: float | None = None


def with_gradients(
    forward: Callable[[Layer], Tensor], backward: Callable[[Tensor, Tensor, Layer], Gradients]
) -> Callable[..., Tensor]:
    """Join a layer's two passes to one that autograd knows; weights, bias and noise get no gradients.

    Args:
        forward: The layer.
        backward: Takes the gradient of its result, the result, and what the layer took.

    Returns:
        As `reference.styled_conv`, with these gradients.
    """

    def styled_conv(*args: Any, **kwargs: Any) -> Tensor:
        layer = Layer(*args, **kwargs)
        if torch.is_grad_enabled() and any(
            t.requires_grad for t in (layer.x, layer.styles, layer.demodulation)
        ):
            function: Any = _StyledConv.apply
            result: Tensor = function(forward, backward, *layer)
            return result
        return forward(layer)

    return styled_conv


class _StyledConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forward: Any, backward: Any, *arguments: Any) -> Tensor:
        y: Tensor = forward(Layer(*arguments))
        ctx.save_for_backward(y, *arguments[:-2])
        ctx.pass_back, ctx.settings = backward, arguments[-2:]
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y, *tensors = ctx.saved_tensors
        of_x, of_styles, of_demodulation = ctx.pass_back(gradient, y, Layer(*tensors, *ctx.settings))
        return None, None, of_x, None, of_styles, of_demodulation, None, None, None, None


def dense(x: Tensor) -> Tensor:
    """Features with the channels last, without gaps.

    Args:
        x: [N, C, H, W].

    Returns:
        [N, C, H, W].
    """
    return x.contiguous(memory_format=torch.channels_last)


def packed(values: Tensor | None) -> Tensor | None:
    """Numbers without gaps.

    Args:
        values: Of any shape; None for none.

    Returns:
        The same.
    """
    return None if values is None else values.contiguous()


def numbers(clamp: float | None) -> list[float]:
    """What kernels are told of the activation.

    Args:
        clamp: Largest size of a result; None for no limit.

    Returns:
        Slope, gain, and the largest size (0 for no limit).
    """
    return [SLOPE, GAIN, 0.0 if clamp is None else clamp]

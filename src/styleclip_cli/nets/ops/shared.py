"""What kernels for CPUs and for GPUs have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from styleclip_cli.nets.ops.reference import GAIN, SLOPE

Gradients = tuple[Tensor, Tensor, Tensor]
"""Of features, styles and demodulation."""


class StyledConv(Protocol):
    """A whole layer; see `reference.styled_conv`."""

    def __call__(  # noqa: D102
        self,
        x: Tensor,
        weight: Tensor,
        styles: Tensor,
        demodulation: Tensor,
        bias: Tensor,
        noise: Tensor | None,
        up: bool,
        clamp: float | None = None,
    ) -> Tensor: ...


def with_gradients(forward: StyledConv, backward: Callable[..., Gradients]) -> StyledConv:
    """Join a layer's two passes to one that autograd knows; weights, bias and noise get no gradients.

    Args:
        forward: The layer.
        backward: Takes the gradient of its result, the result, and what the layer took.

    Returns:
        The layer, differentiable.
    """

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
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, styles, demodulation)):
            layer: Any = _StyledConv.apply
            result: Tensor = layer(forward, backward, x, weight, styles, demodulation, bias, noise, up, clamp)
            return result
        return forward(x, weight, styles, demodulation, bias, noise, up, clamp)

    return styled_conv


class _StyledConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        forward: StyledConv,
        backward: Callable[..., Gradients],
        x: Tensor,
        weight: Tensor,
        styles: Tensor,
        demodulation: Tensor,
        bias: Tensor,
        noise: Tensor | None,
        up: bool,
        clamp: float | None,
    ) -> Tensor:
        y = forward(x, weight, styles, demodulation, bias, noise, up, clamp)
        ctx.save_for_backward(y, x, weight, styles, demodulation, bias, noise)
        ctx.pass_back, ctx.settings = backward, (up, clamp)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_styles, of_demodulation = ctx.pass_back(gradient, *ctx.saved_tensors, *ctx.settings)
        return None, None, of_x, None, of_styles, of_demodulation, None, None, None, None


def dense(x: Tensor) -> Tensor:
    """Features with the channels last, without gaps.

    Args:
        x: [N, C, H, W].

    Returns:
        [N, C, H, W].
    """
    return x.contiguous(memory_format=torch.channels_last)


def numbers(clamp: float | None) -> list[float]:
    """What kernels are told of the activation.

    Args:
        clamp: Largest size of a result; None for no limit.

    Returns:
        Slope, gain, and the largest size (0 for no limit).
    """
    return [SLOPE, GAIN, 0.0 if clamp is None else clamp]

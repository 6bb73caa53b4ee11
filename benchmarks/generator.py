"""Formulations of StyleGAN2's modulated convolution, as whole pictures per second.

`python benchmarks/generator.py [resolution] [batch]`; ratios are within one run.

- ours: activations scaled, one convolution for the batch, transposed for upsampling, rows then columns of
  the low-pass filter.
- square filter: the same with the 4x4 low-pass filter in one convolution.
- merged: upsampling, convolution and filter as one 3x3 convolution with four times the outputs.
- per sample: weights scaled for each sample and convolved in groups, as the official code does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.nets import ops
from styleclip_cli.nets.ops.reference import FILTER
from styleclip_cli.nets.ops.reference import modulated_conv as ours
from styleclip_cli.nets.stylegan2 import Generator, GeneratorConfig

Conv = Callable[[Tensor, Tensor, Tensor, Tensor | None, bool], Tensor]


def square_filter(x: Tensor) -> Tensor:
    """The low-pass filter as one 4x4 convolution."""
    taps = x.new_tensor(FILTER) / 4
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def square(x: Tensor, weight: Tensor, styles: Tensor, demodulation: Tensor | None, up: bool) -> Tensor:
    """Scaled activations, official upsampling."""
    if not up:
        return ours(x, weight, styles, demodulation, up)
    x = square_filter(F.conv_transpose2d(x * styles[:, :, None, None], weight.transpose(0, 1), stride=2))
    return x if demodulation is None else x * demodulation[:, :, None, None]


def merged(x: Tensor, weight: Tensor, styles: Tensor, demodulation: Tensor | None, up: bool) -> Tensor:
    """Scaled activations, everything in one convolution; the weights are merged at each call."""
    if not up:
        return ours(x, weight, styles, demodulation, up)
    taps = weight.new_tensor(FILTER) / 4
    kernel = torch.outer(taps, taps)[None, None].flip(2, 3)
    outputs, inputs = weight.shape[:2]
    whole = F.conv2d(weight.reshape(-1, 1, 3, 3), kernel, padding=3).view(outputs, inputs, 6, 6)
    # Output row 2 i + a takes input row i + d through kernel row a + 2 - 2 d, for d = -1, 0, 1.
    rows = [whole[:, :, [a + 4, a + 2, a]] for a in (0, 1)]
    phases = torch.stack([part[:, :, :, [b + 4, b + 2, b]] for part in rows for b in (0, 1)], dim=1)
    x = F.conv2d(x * styles[:, :, None, None], phases.reshape(outputs * 4, inputs, 3, 3), padding=1)
    x = F.pixel_shuffle(x, 2)
    return x if demodulation is None else x * demodulation[:, :, None, None]


def per_sample(x: Tensor, weight: Tensor, styles: Tensor, demodulation: Tensor | None, up: bool) -> Tensor:
    """Scaled weights, one group per sample."""
    n, inputs, height, width = x.shape
    weights = weight[None] * styles[:, None, :, None, None]
    if demodulation is not None:
        weights = weights * demodulation[:, :, None, None, None]
    x = x.reshape(1, n * inputs, height, width)
    if up:
        weights = weights.transpose(1, 2).reshape(n * inputs, -1, 3, 3)
        x = F.conv_transpose2d(x, weights, stride=2, groups=n)
        return square_filter(x.view(n, -1, *x.shape[-2:]))
    x = F.conv2d(x, weights.flatten(0, 1), padding=weight.shape[-1] // 2, groups=n)
    return x.view(n, -1, height, width)


def main() -> None:
    """Measure and print."""
    resolution = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    batch = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    torch.manual_seed(0)
    channels = {r: min(512, 32768 // r) for r in (4 << i for i in range(9)) if r <= resolution}
    generator = Generator(GeneratorConfig(channels=channels)).eval().requires_grad_(False)
    w_plus = torch.randn(batch, generator.style_space.num_ws, 512)
    variants: dict[str, Conv] = {
        "ours": ours,
        "square filter": square,
        "merged": merged,
        "per sample": per_sample,
    }
    pictures: dict[str, Tensor] = {}
    times: dict[str, list[float]] = {name: [] for name in variants}
    with torch.inference_mode():
        for _ in range(4):  # the variants take turns, so that a busy machine is busy for all
            for name, conv in variants.items():
                ops.modulated_conv = conv
                pictures[name] = generator(w_plus)
                start = time.perf_counter()
                generator(w_plus)
                times[name].append(time.perf_counter() - start)
    best = {name: min(values) for name, values in times.items()}
    for name, value in best.items():
        error = float(
            (pictures[name] - pictures["per sample"]).abs().max() / pictures["per sample"].abs().max()
        )
        print(
            f"{name:14s} {batch / value:7.2f} pictures/s  {best['per sample'] / value:5.2f} x  "
            f"difference {error:.1e}"
        )


if __name__ == "__main__":
    main()

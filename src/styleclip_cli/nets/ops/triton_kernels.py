"""What GPUs do around convolutions, each in one pass over the numbers. Triton comes with torch for CUDA.

Features lie in memory with the channels last; a kernel sees them as pixels [N, P, C], of which each program
takes `BP` x `BC`. Sums are made in `ACC`: float32, or float64 for float64 features. With TRITON_INTERPRET=1
set before this module is imported, all of it runs on CPUs too, slowly, for tests.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tile(channels, pixels, BP: tl.constexpr, BC: tl.constexpr):
    """This program's picture, pixels and channels, where they lie in a picture, and which of them exist."""
    n = tl.program_id(2).to(tl.int64)  # a batch of large pictures has more than 2^31 numbers
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = (p < pixels)[:, None] & (c < channels)[None, :]
    return n, p, c, p[:, None] * channels + c[None, :], inside


@triton.jit
def _low_passed(
    source,
    n,
    row,
    column,
    c,
    inside,
    height,
    width,
    channels,
    BP: tl.constexpr,
    BC: tl.constexpr,
    ACC: tl.constexpr,
):
    """StyleGAN2's filter (1, 3, 3, 1) / 4 along both axes, of the 4 x 4 numbers from (row, column) on."""
    source += n * height * width * channels
    total = tl.zeros((BP, BC), dtype=ACC)
    for a in tl.static_range(4):
        for b in tl.static_range(4):
            i, j = row + a, column + b
            known = inside & ((i >= 0) & (i < height) & (j >= 0) & (j < width))[:, None]
            place = (i * width + j)[:, None] * channels + c[None, :]
            tap = (1.0 if a == 0 or a == 3 else 3.0) * (1.0 if b == 0 or b == 3 else 3.0) / 16
            total += tap * tl.load(source + place, mask=known, other=0.0).to(ACC)
    return total


@triton.jit
def scale(x, styles, y, channels, pixels, BP: tl.constexpr, BC: tl.constexpr, ACC: tl.constexpr):
    """What a convolution is given: y = x * styles, in y's precision."""
    n, _, c, place, inside = _tile(channels, pixels, BP, BC)
    first = n * pixels * channels
    factor = tl.load(styles + n * channels + c, mask=c < channels, other=0.0).to(ACC)
    value = tl.load(x + first + place, mask=inside, other=0.0).to(ACC) * factor[None, :]
    tl.store(y + first + place, value, mask=inside)


@triton.jit
def finish(
    z,
    demodulation,
    bias,
    noise,
    y,
    channels,
    height,
    width,
    slope,
    gain,
    clamp,
    UP: tl.constexpr,
    NOISE: tl.constexpr,
    CLAMP: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Everything after a convolution: low-pass if UP, demodulation, noise, bias, leaky ReLU, gain, clamp.

    z is [N, H, W, C]; if UP, it is [N, H + 1, W + 1, C]. y is [N, H, W, C], noise [H, W].
    """
    pixels = height * width
    n, p, c, place, inside = _tile(channels, pixels, BP, BC)
    first = n * pixels * channels
    if UP:
        row, column = p // width - 1, p % width - 1
        value = _low_passed(z, n, row, column, c, inside, height + 1, width + 1, channels, BP, BC, ACC)
    else:
        value = tl.load(z + first + place, mask=inside, other=0.0).to(ACC)
    value *= tl.load(demodulation + n * channels + c, mask=c < channels, other=0.0).to(ACC)[None, :]
    value += tl.load(bias + c, mask=c < channels, other=0.0).to(ACC)[None, :]
    if NOISE:
        value += tl.load(noise + p, mask=p < pixels, other=0.0).to(ACC)[:, None]
    value = tl.where(value > 0, value, value * slope) * gain
    if CLAMP:
        value = tl.minimum(tl.maximum(value, -clamp), clamp)
    tl.store(y + first + place, value, mask=inside)


@triton.jit
def before_activation(
    gradient,
    y,
    demodulation,
    bias,
    noise,
    of_z,
    sums,
    channels,
    pixels,
    slope,
    gain,
    clamp,
    NOISE: tl.constexpr,
    CLAMP: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Gradient of what `finish` demodulated, and what its programs add to the demodulation's gradient.

    y = gain * leaky(z * d + shift), so its sign tells the leaky ReLU's slope and y itself tells z:

        of_z = gradient * gain * slope * d
        of_d = sum of gradient * gain * slope * z, where z = (y / (gain * slope) - shift) / d

    Nothing comes back from numbers that were clamped. The sums are [blocks of pixels, N, C]; d is left for
    the caller to divide by.
    """
    n, p, c, place, inside = _tile(channels, pixels, BP, BC)
    first = n * pixels * channels
    result = tl.load(y + first + place, mask=inside, other=0.0).to(ACC)
    factor = tl.where(result > 0, gain, gain * slope)
    of_sum = tl.load(gradient + first + place, mask=inside, other=0.0).to(ACC) * factor
    if CLAMP:
        of_sum = tl.where(tl.abs(result) < clamp, of_sum, 0.0)
    d = tl.load(demodulation + n * channels + c, mask=c < channels, other=0.0).to(ACC)
    tl.store(of_z + first + place, of_sum * d[None, :], mask=inside)
    demodulated = result / factor - tl.load(bias + c, mask=c < channels, other=0.0).to(ACC)[None, :]
    if NOISE:
        demodulated -= tl.load(noise + p, mask=p < pixels, other=0.0).to(ACC)[:, None]
    total = tl.sum(tl.where(inside, of_sum * demodulated, 0.0), axis=0)
    row = tl.program_id(0) * tl.num_programs(2) + n
    tl.store(sums + row * channels + c, total, mask=c < channels)


@triton.jit
def before_low_pass(
    gradient,
    of_z,
    channels,
    height,
    width,
    BP: tl.constexpr,
    BC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Gradient [N, H + 1, W + 1, C] of what `finish` filtered to [N, H, W, C]: the filter is symmetric."""
    pixels = (height + 1) * (width + 1)
    n, p, c, place, inside = _tile(channels, pixels, BP, BC)
    row, column = p // (width + 1) - 2, p % (width + 1) - 2
    value = _low_passed(gradient, n, row, column, c, inside, height, width, channels, BP, BC, ACC)
    tl.store(of_z + n * pixels * channels + place, value, mask=inside)


@triton.jit
def before_styles(
    gradient,
    x,
    styles,
    of_x,
    sums,
    channels,
    pixels,
    BP: tl.constexpr,
    BC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Gradients of `scale`: of_x = gradient * styles; sums [blocks of pixels, N, C] of gradient * x."""
    n, _, c, place, inside = _tile(channels, pixels, BP, BC)
    first = n * pixels * channels
    coming = tl.load(gradient + first + place, mask=inside, other=0.0).to(ACC)
    factor = tl.load(styles + n * channels + c, mask=c < channels, other=0.0).to(ACC)
    total = tl.sum(coming * tl.load(x + first + place, mask=inside, other=0.0).to(ACC), axis=0)
    tl.store(of_x + first + place, coming * factor[None, :], mask=inside)
    row = tl.program_id(0) * tl.num_programs(2) + n
    tl.store(sums + row * channels + c, total, mask=c < channels)


@triton.jit
def _upsampled(image, n, k, row, column, height, width, known, ACC: tl.constexpr):
    """Numbers of a picture [N, 3, H, W] doubled: 3/4 of the nearest and 1/4 of the next, per axis."""
    i, j = row // 2, column // 2
    next_i, next_j = i + 2 * (row % 2) - 1, j + 2 * (column % 2) - 1
    plane = (n * 3 + k) * height
    total = tl.zeros_like(row).to(ACC)
    for a in tl.static_range(2):
        for b in tl.static_range(2):
            y = next_i if a else i
            x = next_j if b else j
            here = known & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            tap = (0.25 if a else 0.75) * (0.25 if b else 0.75)
            total += tap * tl.load(image + (plane + y) * width + x, mask=here, other=0.0).to(ACC)
    return total


@triton.jit
def to_rgb(
    x,
    weight,
    styles,
    bias,
    image,
    y,
    channels,
    height,
    width,
    clamp,
    IMAGE: tl.constexpr,
    CLAMP: tl.constexpr,
    BP: tl.constexpr,
    BC: tl.constexpr,
    ACC: tl.constexpr,
):
    """Features [N, H, W, C] -> colours, added to the picture so far [N, 3, H / 2, W / 2] doubled.

    weight is [3, C], y [N, 3, H, W]; there is one program for all channels.
    """
    pixels = height * width
    n = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    known = p < pixels
    red = tl.zeros((BP,), dtype=ACC)
    green = tl.zeros((BP,), dtype=ACC)
    blue = tl.zeros((BP,), dtype=ACC)
    x += n * pixels * channels
    for start in range(0, channels, BC):
        c = start + tl.arange(0, BC)
        some = c < channels
        place = p[:, None] * channels + c[None, :]
        value = tl.load(x + place, mask=known[:, None] & some[None, :], other=0.0).to(ACC)
        value *= tl.load(styles + n * channels + c, mask=some, other=0.0).to(ACC)[None, :]
        red += tl.sum(value * tl.load(weight + c, mask=some, other=0.0).to(ACC)[None, :], axis=1)
        green += tl.sum(value * tl.load(weight + channels + c, mask=some, other=0.0).to(ACC)[None, :], axis=1)
        blue += tl.sum(
            value * tl.load(weight + 2 * channels + c, mask=some, other=0.0).to(ACC)[None, :], axis=1
        )
    for k in tl.static_range(3):
        colour = (red if k == 0 else green if k == 1 else blue) + tl.load(bias + k).to(ACC)
        if CLAMP:
            colour = tl.minimum(tl.maximum(colour, -clamp), clamp)
        if IMAGE:
            colour += _upsampled(image, n, k, p // width, p % width, height // 2, width // 2, known, ACC)
        tl.store(y + (n * 3 + k) * pixels + p, colour, mask=known)

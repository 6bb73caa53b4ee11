"""Noise that pictures are textured with: tiles that repeat without a seam, made once."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 512
_SEED = 20


def _filtered(seed: int, along: float, across: float, slope: float = 1.0) -> Tensor:
    """White noise that is smoothed along both axes, [512, 512], with mean 0 and variance 1.

    Args:
        seed: Of the noise.
        along: Highest frequency down the tile, in periods for each tile.
        across: The same from left to right.
        slope: How fast the amplitude falls below these (0: white, 1: as natural images).
    """
    generator = torch.Generator().manual_seed(_SEED * 1000 + seed)
    white = torch.randn(_SIDE, _SIDE, generator=generator)
    v = torch.fft.fftfreq(_SIDE)[:, None] * _SIDE / along
    u = torch.fft.rfftfreq(_SIDE)[None] * _SIDE / across
    radius = torch.sqrt(u * u + v * v)
    gain = torch.exp(-0.5 * radius**2) / radius.clamp(min=0.1) ** slope
    gain[0, 0] = 0
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=(_SIDE, _SIDE))
    return noise / noise.std()


@lru_cache(maxsize=8)
def tile(kind: str, device: torch.device) -> Tensor:
    """A tile of noise, [1, 1 or 2, 513, 513]: its first row and column are repeated at its end.

    Args:
        kind: "cloud" (soft, in all directions), "strands" (fine, long from top to bottom), "locks" (the same,
            coarser), "hair" (both), "pores" (fine, in all directions), "spots" (the same, coarser),
            "curls" (rings and bends).
        device: Where.
    """
    noise = {
        "cloud": lambda: _filtered(1, 8, 8)[None],
        "strands": lambda: _filtered(2, 2.5, 90, 0.3)[None],
        "locks": lambda: _filtered(3, 2, 20, 0.4)[None],
        "hair": lambda: torch.stack([_filtered(2, 2.5, 90, 0.3), _filtered(3, 2, 20, 0.4)]),
        "pores": lambda: _filtered(4, 110, 110, 0.2)[None],
        "spots": lambda: _filtered(6, 60, 60, 0.2)[None],
        "curls": lambda: _curls()[None],
    }[kind]()
    return F.pad(noise[None], (0, 1, 0, 1), mode="circular").to(device)


def _curls() -> Tensor:
    """Arcs of rings over each other, each lit along its middle: what curly hair looks like."""
    generator = torch.Generator().manual_seed(_SEED)
    count, reach = 1500, 30
    side = torch.arange(2 * reach + 1) - reach
    y, x = torch.meshgrid(side, side, indexing="ij")
    out = torch.zeros(_SIDE, _SIDE)
    numbers = torch.rand(count, 6, generator=generator).tolist()
    for left, top, size, start, shade, flat in numbers:
        radius, turned = 9 + 13 * size, 6.2832 * start
        u = x * math.cos(turned) + y * math.sin(turned)
        v = (y * math.cos(turned) - x * math.sin(turned)) / (0.6 + 0.4 * flat)
        off = (torch.sqrt(u * u + v * v + 1e-6) - radius) / (4.0 + 4.0 * size)
        arc = torch.cos(torch.atan2(v, u)) * 1.6 + 0.4  # strongest on one side
        mask = ((1.1 - off.abs()) * 1.6).clamp(0, 1) * arc.clamp(0, 1)
        look = 1.3 * (1 - off * off) * arc.clamp(0, 1) + 0.25 * torch.sin(off * 7) + 1.2 * (shade - 0.75)
        rows, columns = (side + int(top * _SIDE)) % _SIDE, (side + int(left * _SIDE)) % _SIDE
        part = (rows[:, None], columns[None])
        out[part] = torch.lerp(out[part], look, mask)
    return (out - out.mean()) / out.std()


def read(kind: str, u: Tensor, v: Tensor) -> Tensor:
    """Noise at places in a tile.

    Args:
        kind: As for `tile`.
        u: From left to right, in tiles; goes on beyond [0, 1]. Shape [N, 1, H, W].
        v: Downwards, the same.

    Returns:
        Shape [N, 1, H, W] ("hair": [N, 2, H, W]), with mean 0 and variance 1.
    """
    u, v = torch.broadcast_tensors(u, v)
    if kind == "pores":  # finer than pixels are: the nearest number will do, and is found faster
        flat = tile(kind, u.device).to(u.dtype)[0, 0, :-1, :-1].reshape(-1)
        column, row = (u * _SIDE).long() & (_SIDE - 1), (v * _SIDE).long() & (_SIDE - 1)
        return flat[row * _SIDE + column]
    grid = torch.cat([u, v], dim=1).movedim(1, -1)
    grid = (grid - grid.floor()).mul_(2).sub_(1)
    source = tile(kind, u.device).to(u.dtype).expand(len(u), -1, -1, -1)
    return F.grid_sample(source, grid, padding_mode="border", align_corners=True)

"""What is behind a person: something out of focus."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.world.canvas import Canvas, along, mix, ramp, rgb

_DISCS = 8
_COARSE = 4  # pixels for each that is computed: nothing here is sharp


def background(c: Canvas, a: dict[str, Tensor]) -> Tensor:
    """A blurred photo, [N, 3, H, W]: a wall, lights, or a window and things.

    Args:
        c: Where the pixels are.
        a: Amounts, [N, 1, 1, 1] each.
    """
    height, width = c.x.shape[-2:]
    if min(height, width) < 8 * _COARSE:
        return _blurred(c, a)
    size = (-(-height // _COARSE), -(-width // _COARSE))
    x, y = (F.interpolate(v, size=size, mode="area") for v in (c.x, c.y))
    return F.interpolate(_blurred(replace(c, x=x, y=y), a), size=(height, width), mode="bilinear")


def _blurred(c: Canvas, a: dict[str, Tensor]) -> Tensor:
    x, y = c.x, c.y
    hue = along(
        a["background_warm"], [(0.30, 0.44, 0.62), (0.42, 0.52, 0.46), (0.60, 0.56, 0.50), (0.72, 0.46, 0.28)]
    )
    light = a["background_light"]
    base = hue * (0.22 + 0.78 * light) + (0.30 * (light - 0.4).clamp(min=0))
    other = torch.roll(hue, 1, dims=1) * 0.5 + 0.5 * hue.flip(1)
    t = c.texture[:, :, None, None, None]
    soft = c.noise("cloud", x * 0.10, y * 0.10, 6)
    image = mix(base, base * 0.62, ramp(y + 0.25 * soft + 0.3 * t[:, 1] * x, -0.9, 1.3))
    image = image * (1 + 0.10 * soft)
    kind = a["background_kind"]
    lights, shapes = ramp(kind, 0.30, 0.50) * ramp(-kind, -0.85, -0.6), ramp(kind, 0.60, 0.80)
    image = mix(image, _shapes(c, image, base, other, t), shapes)
    return _lights(c, image, base, t, lights).clamp(0, 1)


def _shapes(c: Canvas, image: Tensor, base: Tensor, other: Tensor, t: Tensor) -> Tensor:
    """Out of focus: a bright window, a dark thing, leaves."""
    x, y = c.x, c.y
    left = 0.35 * torch.tanh(t[:, 2]) - 0.75
    window = ramp(x, left - 0.16, left + 0.10) * ramp(-x, -left - 0.75, -left - 0.50) * ramp(-y, -0.6, -0.2)
    bars = ramp((x - left - 0.31).abs(), 0.0, 0.07)
    out = mix(image, (base * 0.55 + 0.48).clamp(0, 1), 0.75 * window * (0.6 + 0.4 * bars))
    right = 0.75 + 0.3 * torch.tanh(t[:, 3])
    thing = ramp(x, right - 0.38, right - 0.12) * ramp(y + 0.4 * torch.tanh(t[:, 4]), -0.50, -0.22)
    out = mix(out, other * 0.42, 0.7 * thing)
    leaves = c.noise("cloud", x * 0.35, y * 0.35, 7)
    return mix(out, mix(other, base, 0.4) * 0.8, 0.38 * ramp(leaves, 0.2, 1.4))


def _lights(c: Canvas, image: Tensor, base: Tensor, t: Tensor, much: Tensor) -> Tensor:
    """Lights out of focus: discs with soft borders."""
    if not bool((much > 0).any()):
        return image
    for i in range(_DISCS):
        angle = 2.39996 * i
        px = 1.05 * torch.cos(torch.tensor(angle)) * (0.55 + 0.06 * i) + 0.22 * torch.tanh(t[:, i % 8])
        py = -0.30 + 0.75 * torch.sin(torch.tensor(angle)) + 0.20 * torch.tanh(t[:, (i + 3) % 8])
        size = 0.12 + 0.035 * ((i * 5) % 4) + 0.02 * torch.tanh(t[:, (i + 5) % 8])
        r = torch.sqrt((c.x - px) ** 2 + (c.y - py) ** 2 + 1e-6)
        disc = ramp(-r, -size - 0.025, -size + 0.025) * (0.75 + 0.25 * ramp(r, 0.5 * size, size))
        colour = base * 0.45 + rgb(r, 0.62, 0.50 + 0.05 * (i % 3), 0.32 + 0.12 * (i % 3))
        image = mix(image, colour, 0.42 * disc * much)
    return image

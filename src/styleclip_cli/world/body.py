"""What carries the head: neck, shoulders in their clothes, and ears."""

from __future__ import annotations

import torch
from torch import Tensor

from styleclip_cli.world.canvas import Normal, along, blob, ellipse, mix, ramp, rgb
from styleclip_cli.world.geometry import EAR_Y, outline
from styleclip_cli.world.scene import Faces, Part

_SHOULDER = 0.775  # height at which they meet the neck
_HUES = [
    (0.72, 0.14, 0.16),
    (0.85, 0.42, 0.14),
    (0.86, 0.70, 0.25),
    (0.25, 0.50, 0.28),
    (0.15, 0.45, 0.50),
    (0.18, 0.30, 0.62),
    (0.45, 0.24, 0.55),
]


def dyed(hue: Tensor) -> Tensor:
    """Colour of cloth, from red through yellow, green and blue to purple, [N, 3, 1, 1]."""
    return along(hue, _HUES)


def cloth_colour(a: dict[str, Tensor]) -> Tensor:
    """Colour of clothes: black, dark, strong, light, white; [N, 3, 1, 1]."""
    hue, light = dyed(a["clothes_hue"]), a["clothes_light"]
    dark = mix(rgb(hue, 0.07, 0.07, 0.08), hue, (light / 0.5).clamp(0, 1))
    return mix(dark, rgb(hue, 0.93, 0.925, 0.915), ((light - 0.5) / 0.45).clamp(0, 1))


def paint_body(faces: Faces) -> None:
    """Neck and clothes."""
    x, y = faces.at(-0.22)
    f = faces.where((y > 0.25) & (y < 1.2) & (x.abs() < 0.66))
    if f is not None:
        _neck(f)
    f = faces.where(y > 0.70)
    if f is not None:
        _clothes(f)


def _half(f: Faces) -> Tensor:
    """Half width of the neck."""
    return 0.300 + 0.075 * f.m.man - 0.070 * f.m.child + 0.03 * (f.a["cheeks"] - 0.5)


def _in_shadow(f: Faces, colour: Tensor) -> Tensor:
    """A colour below the head, whose shadow falls on it; this changes slowly."""
    coarse = f.halved() or f
    r = outline(f.m, coarse.x + f.light.x * 0.07, coarse.y - 0.12)
    shadow = f.stretched(0.50 * ramp(r, 1.14, 0.80) * ramp(coarse.at(-0.22)[1], 0.2, 0.6))
    return colour * (1 - shadow * rgb(shadow, 0.90, 1.02, 1.08))


def _neck(f: Faces) -> None:
    m, c = f.m, f.canvas
    x, y = f.at(-0.22)
    half = _half(f)
    width = (
        half
        - 0.018 * blob(y - 0.74, x * 0, 0.14, 1.0)
        + 0.16 * ramp(y, 0.66, 1.06) ** 2
        + 0.5 * ramp(y, 0.98, 1.5)
    )
    u = x / width
    cords = blob(x.abs() - 0.13 + 0.18 * (y - 0.8), y - 0.95, 0.05, 0.25)
    apple = blob(x, y - 0.93, 0.05, 0.06) * m.man
    # The two muscles that run from behind the ears to the pit between the collarbones, and the pit.
    cords = cords * 1.6 - 1.2 * blob(x, y - 1.02, 0.045, 0.06)
    n = Normal(u, torch.zeros_like(u), torch.sqrt((1 - u * u).clamp(min=0.04)))
    colour = f.light.lit(f.skin * rgb(x, 0.985, 0.95, 0.94), n, 0.35, 0.30)
    pores = c.noise("pores", x * 0.6, y * 0.6, 2) * c.detail(0.011)
    rings = torch.exp(-(((y - 0.93 - 0.25 * x * x) / 0.012) ** 2)) * (0.05 + 0.16 * m.old)
    colour = colour * (1 + 0.05 * cords + 0.07 * apple - rings + 0.012 * pores)
    mask = c.inside((u.abs() - 1) * half * 0.9) * ramp(y, 0.26, 0.34)
    c.paint(_in_shadow(f, colour).clamp(0, 1), mask, Part.NECK)


def _clothes(f: Faces) -> None:
    a, m, c = f.a, f.m, f.canvas
    x, y = f.at(-0.22)
    half = _half(f)
    ax = x.abs()
    out = (ax - half).clamp(min=0)
    slope = 0.36 + 0.12 * m.child - 0.05 * m.man
    line = _SHOULDER + 0.05 * m.child + slope * out * (0.55 + 0.45 * ramp(out, 0.0, 0.5))
    line = line + 1.6 * (ax - 1.05).clamp(min=0) ** 2
    shirt = ramp(a["collar"], 0.40, 0.60)
    round_neck = ellipse(x, y - _SHOULDER - 0.02, half + 0.035, 0.20 + 0.05 * (1 - m.man))
    open_neck = torch.maximum(ax - (half + 0.02) * (1 - (y - 0.84) / 0.52).clamp(0, 1), _SHOULDER - 0.3 - y)
    neckline = mix(round_neck, open_neck, shirt)
    cloth = torch.maximum(line - y, -neckline)
    folds = c.noise("locks", x * 0.25 + y * 0.10, y * 0.30 - ax * 0.10, 7)
    weave = c.noise("pores", x * 1.0, y * 1.0, 6) * c.detail(0.008)
    n = Normal(
        (x / 1.25).clamp(-0.9, 0.9), -0.45 * ramp(-(y - line), -0.25, 0.0) + 0 * x, torch.ones_like(x) * 0.85
    )
    colour = f.light.lit(cloth_colour(a), n, 0.30, 0.32)
    colour = colour * (1 + 0.075 * folds + 0.025 * weave)
    colour = colour * (1 - 0.20 * torch.exp(-((neckline / 0.05) ** 2)) * (1 - shirt))
    colour = _in_shadow(f, colour)
    mask = c.inside(cloth)
    c.paint(colour.clamp(0, 1), mask, Part.CLOTHES)
    seam = torch.exp(-(((neckline - 0.032) / 0.006) ** 2)) * (1 - shirt) * mask
    c.shade(1 - 0.30 * seam)
    if bool((shirt > 0).any()):
        _collar(f, x, y, half, colour, shirt, mask)


def _collar(
    f: Faces, x: Tensor, y: Tensor, half: Tensor, colour: Tensor, shirt: Tensor, mask: Tensor
) -> None:
    """Two flaps of a shirt, which lie on the cloth beside the open neck."""
    c, ax = f.canvas, x.abs()
    inner = (half + 0.02) * (1 - (y - 0.80) / 0.46)
    flap = torch.maximum(
        torch.maximum(inner - ax, ax - inner - 0.155 + 0.25 * (y - 0.9)), 0.78 + 0.10 * ax - y
    )
    flap = torch.maximum(flap, y - 1.06 - 0.5 * (ax - 0.1))
    under = ramp(flap, 0.045, -0.01)
    c.shade(1 - 0.34 * under * shirt * mask)
    c.paint((colour * 1.05 + 0.02).clamp(0, 1), c.inside(flap) * shirt, Part.CLOTHES)
    button = c.inside(ellipse(x, y - 1.28, 0.018, 0.018))
    c.paint(rgb(x, 0.9, 0.9, 0.88).expand_as(c.image), button * shirt)


def paint_ears(faces: Faces) -> None:
    """Ears, behind the head's border."""
    px, py = faces.at(-0.06)
    high = (px.abs() < 0.85) & (py > -0.32) & (py < 0.36)
    for inside in (high & (px < -0.36), high & (px > 0.36)):
        f = faces.where(inside)
        if f is not None:
            _ear(f)


def _ear(f: Faces) -> None:
    m, c = f.m, f.canvas
    x, y = f.at(-0.06)
    ax = x.abs()
    dx, dy = ax - m.rx - 0.004 * m.ear, y - EAR_Y
    dx = dx - 0.12 * -dy * 0.9 * 0.6
    wide = 0.064 * m.ear * (1 + 0.22 * ramp(-dy, -0.05, 0.15) - 0.22 * ramp(dy, 0.02, 0.17))
    shape = ellipse(dx, dy, wide, 0.185 * m.ear)
    n = Normal((x.sign() * 0.55).expand_as(x), torch.zeros_like(x) - 0.05, torch.full_like(x, 0.83))
    colour = f.light.lit(f.skin * rgb(x, 0.99, 0.88, 0.85), n, 0.4, 0.32)
    rim = blob((shape + 0.016) / 0.012, dx * 0, 1.0, 1.0)
    hollow = ramp(-shape, 0.016, 0.034) * ramp(-dy, -0.10 * 1, 0.02)
    colour = colour * (1 + 0.10 * rim - 0.26 * hollow * rgb(x, 0.8, 1.05, 1.1))
    colour = colour * (1 - 0.22 * ramp(-dx, -0.015, 0.05))
    c.paint(colour.clamp(0, 1), c.inside(shape), Part.EARS)

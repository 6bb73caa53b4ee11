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
    f = faces.where(y > 0.25)
    if f is None:
        return
    x, y = f.at(-0.22)
    m, c = f.m, f.canvas
    half = (0.280 + 0.070 * m.man - 0.075 * m.child + 0.03 * (f.a["cheeks"] - 0.5)).expand_as(x)
    body = torch.maximum(_neck(f, x, y, half), _clothes(f, x, y, half))
    # The head's shadow falls on all of it.
    away = f.light.x
    r = outline(m, f.x + away * 0.07, f.y - 0.12)
    shadow = ramp(r, 1.14, 0.80) * body
    c.shade(1 - 0.50 * shadow * ramp(y, 0.2, 0.6) * rgb(x, 0.90, 1.02, 1.08))


def _neck(f: Faces, x: Tensor, y: Tensor, half: Tensor) -> Tensor:
    """Paints it, and returns where it is."""
    m, c = f.m, f.canvas
    width = half + 0.10 * ramp(y, 0.70, 1.05) ** 2 + 0.5 * ramp(y, 0.98, 1.5)
    u = x / width
    cords = blob(x.abs() - 0.13 + 0.18 * (y - 0.8), y - 0.95, 0.05, 0.25)
    apple = blob(x, y - 0.93, 0.05, 0.06) * m.man
    n = Normal(u, torch.zeros_like(u), torch.sqrt((1 - u * u).clamp(min=0.04)))
    colour = f.light.lit(f.skin * rgb(x, 0.985, 0.95, 0.94), n, 0.35, 0.30)
    pores = c.noise("pores", x * 0.6, y * 0.6, 2) * c.detail(0.011)
    rings = torch.exp(-(((y - 0.93 - 0.25 * x * x) / 0.012) ** 2)) * (0.05 + 0.16 * m.old)
    colour = colour * (1 + 0.05 * cords + 0.07 * apple - rings + 0.012 * pores)
    mask = c.inside((u.abs() - 1) * half * 0.9) * ramp(y, 0.26, 0.34)
    c.paint(colour.clamp(0, 1), mask, Part.NECK)
    return mask


def _clothes(f: Faces, x: Tensor, y: Tensor, half: Tensor) -> Tensor:
    """Paints them, and returns where they are."""
    a, m, c = f.a, f.m, f.canvas
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
    mask = c.inside(cloth)
    c.paint(colour.clamp(0, 1), mask, Part.CLOTHES)
    seam = torch.exp(-(((neckline - 0.032) / 0.006) ** 2)) * (1 - shirt) * mask
    c.shade(1 - 0.30 * seam)
    _collar(f, x, y, half, colour, shirt, mask)
    return mask


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
    f = faces.where((px.abs() < 0.85) & (py > -0.4) & (py < 0.5))
    if f is None:
        return
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

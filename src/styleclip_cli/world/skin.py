"""Skin: the relief of a face, how light falls on it, and what is in its surface."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from styleclip_cli.world.canvas import Normal, along, blob, mix, ramp, rgb, slope
from styleclip_cli.world.geometry import EYE_Y, Measures, lips
from styleclip_cli.world.scene import Faces, Part, hair_colour

_TONES = [
    (0.925, 0.770, 0.680),
    (0.890, 0.710, 0.595),
    (0.795, 0.610, 0.490),
    (0.620, 0.420, 0.300),
    (0.375, 0.240, 0.175),
]


def skin_colour(a: dict[str, Tensor]) -> Tensor:
    """Colour of skin in white light, [N, 3, 1, 1]."""
    return along(a["skin_tone"], _TONES)


def relief(f: Faces) -> Tensor:
    """Height of a face over its background, [N, 1, H, W], from its bones and soft parts."""
    m, a, on, x, y = f.m, f.a, f.on, f.x, f.y
    ax = x.abs()
    r = f.head
    # Flatter in front than a ball: a forehead and cheeks are planes that turn at the temples.
    square = (r * r).clamp(max=1)
    height = 0.46 * torch.sqrt(1 - square * (0.72 + 0.28 * square) + 0.035)
    ex, ey = ax - m.eye_x, y - EYE_Y
    height = height + (0.012 + 0.020 * m.man) * blob(ax - 0.19, y - m.brow_y - 0.03, 0.15, 0.055)
    height = height - (0.050 - 0.022 * a["lid_fold"]) * blob(ex + 0.02, ey, 0.14, 0.085)
    height = height + 0.040 * blob(ex, ey, 0.085, 0.066)
    height = height + 0.026 * (a["cheeks"] + 0.3 + 0.5 * m.child + 1.1 * on["smile"]) * blob(
        ax - 0.31, y - 0.15 + 0.03 * on["smile"], 0.13, 0.11
    )
    height = height - 0.048 * (1 - a["cheeks"]) * (1 - m.child) * blob(ax - 0.36, y - 0.40, 0.10, 0.16)
    height = height + _nose(f, ax)
    height = height + 0.045 * blob(x, y - m.mouth_y + 0.01, 0.24, 0.15)
    height = height - 0.012 * blob(x, y - (m.nose_y + m.mouth_y) / 2 - 0.035, 0.022, 0.055)
    height = height - 0.022 * blob(x, y - m.mouth_y - m.gap - m.lip_low - 0.035, 0.13, 0.030)
    height = height + 0.030 * blob(x, y - m.chin + 0.11, 0.13, 0.085)
    # With age, cheeks sink and hang beside the mouth.
    height = height - 0.030 * m.old * blob(ax - 0.36, y - 0.30, 0.09, 0.14)
    height = height + 0.044 * m.old * blob(ax - 0.27, y - m.mouth_y - 0.15, 0.085, 0.085)
    # The fold from the wings of the nose to the corners of the mouth: cheek above a muzzle.
    fold = _fold(m, ax, y)
    side = ramp(y, m.nose_y - 0.02, m.nose_y + 0.06) * ramp(-y, -m.mouth_y - 0.10, -m.mouth_y + 0.04)
    amount = 0.006 + 0.016 * on["smile"] + 0.022 * m.old + 0.020 * on["wrinkles"] - 0.006 * m.child
    height = height + amount * torch.tanh(fold / 0.032) * torch.exp(-((fold / 0.09) ** 2)) * side
    return height


def _fold(m: Measures, ax: Tensor, y: Tensor) -> Tensor:
    """Distance from the line between the wings of the nose and beside the corners of the mouth."""
    t = (y - m.nose_y) / (m.mouth_y - m.nose_y)
    return (ax - m.nose_w - 0.025 - (m.mouth_w * 1.06 - m.nose_w + 0.02) * t.clamp(-0.5, 1.6)) * 0.85


def _nose(f: Faces, ax: Tensor) -> Tensor:
    """Its bridge, tip and wings."""
    m, x, y = f.m, f.x, f.y
    rise = ramp(y, EYE_Y - 0.08, m.nose_y)
    under = 0.100 - 0.40 * ax.clamp(max=0.2)  # the wings end higher than the tip
    end = ramp(-y, -(m.nose_y + under), -(m.nose_y - 0.012))
    width = 0.042 + 0.30 * m.nose_w * (0.55 + 0.45 * rise)
    bridge = (0.028 + 0.085 * rise) * (1 - 0.4 * m.child) * torch.exp(-((x / width).abs() ** 2.4))
    tip = 0.048 * blob(x, y - m.nose_y - 0.006, m.nose_w * 0.50, 0.062)
    wings = 0.044 * blob(ax - m.nose_w * 0.70, y - m.nose_y - 0.026, m.nose_w * 0.31, 0.048)
    return bridge * end * ramp(y, EYE_Y - 0.16, EYE_Y - 0.02) + (tip + wings) * (0.4 + 0.6 * end)


def _wrinkles(f: Faces, ax: Tensor) -> Tensor:
    """Lines of the forehead, at the eyes, between the brows: grooves with soft sides."""
    m, on, y = f.m, f.on, f.y
    deep = on["wrinkles"] + 0.75 * m.old * m.old * (1 - on["wrinkles"])
    # No line of a forehead is whole or even: some break off, and their distances differ.
    uneven = f.canvas.noise("cloud", f.x * 0.16, y * 0.34, 2)
    broken = f.canvas.noise("cloud", f.x * 0.34, y * 0.9, 3)
    rows = (y - m.brow_y + 0.10 + 0.10 * ax * ax + 0.016 * uneven + 0.003 * broken) / 0.090
    lines = torch.cos(torch.pi * rows.clamp(-2.5, 0.5)).square().square().square()
    forehead = lines * blob(ax, y - m.brow_y + 0.20, 0.26, 0.12) * ramp(broken, -1.8, 0.5)
    frown = blob(ax - 0.042 - 0.15 * (y - m.brow_y), y - m.brow_y - 0.01, 0.012, 0.05)
    fan = (y - EYE_Y) / (ax - m.eye_x - 0.05).clamp(min=0.03)
    crow = torch.cos(fan.clamp(-1.3, 1.3) * 7) ** 6 * blob(ax - m.eye_x - 0.175, y - EYE_Y, 0.05, 0.075)
    crow = crow * ramp(ax, m.eye_x + m.eye_w * 0.9, m.eye_x + m.eye_w * 1.3)
    # Fine creases of old cheeks, which run down and outwards.
    cheek = f.canvas.noise("strands", f.x * 0.30 - 0.10 * f.x.sign() * y, y * 0.16, 5) * f.canvas.detail(
        0.014
    )
    cheek = cheek * (
        blob(ax - 0.34, y - 0.24, 0.13, 0.20) + 0.7 * blob(ax - 0.10, y - m.mouth_y + 0.07, 0.10, 0.05)
    )
    bag = torch.exp(-(((y - EYE_Y - 0.085 + 1.6 * (ax - m.eye_x) ** 2) / 0.014) ** 2))
    bag = bag * blob(ax - m.eye_x, y - EYE_Y - 0.07, 0.09, 0.06)
    brows = forehead * (deep + 0.55 * on["surprised"] * (1 - 0.6 * m.child)).clamp(max=1)
    return (
        -0.0360 * brows
        - 0.016 * frown * (0.35 * deep + on["angry"]).clamp(max=1)
        - 0.0022 * cheek * (0.15 * m.old + deep).clamp(max=1)
        - 0.020 * crow * (deep + 0.3 * on["smile"] * (1 - m.child)).clamp(max=1)
        - 0.020 * bag * (0.25 * (1 - m.child) + deep).clamp(max=1)
    )


class _Soft(NamedTuple):
    """What changes slowly over a face, [N, 1, H, W] each."""

    height: Tensor
    closed: Tensor
    """How little light reaches hollows."""
    red: Tensor
    oily: Tensor
    rings: Tensor
    """Dark skin below the eyes."""
    blush: Tensor

    @classmethod
    def of(cls, f: Faces) -> _Soft:
        """Computed on every second pixel, if there are enough, and stretched."""
        coarse = f.halved()
        if coarse is None:
            return cls.exactly(f)
        fields = torch.cat(cls.exactly(coarse), dim=1)
        more = f.stretched(fields[:, 1:])
        return cls(f.stretched(fields[:, :1], "bicubic"), *more.split(1, dim=1))

    @classmethod
    def exactly(cls, f: Faces) -> _Soft:
        """Computed at each pixel."""
        m, x, y, ax = f.m, f.x, f.y, f.x.abs()
        red = 0.70 * blob(ax - 0.30, y - 0.20, 0.15, 0.13) + 0.62 * blob(x, y - m.nose_y, m.nose_w, 0.08)
        red = (
            red
            + 0.30 * blob(x, y - m.chin + 0.10, 0.13, 0.08)
            - 0.20 * blob(x, y - m.brow_y + 0.16, 0.30, 0.16)
        )
        oily = 0.05 + 0.06 * blob(x, y + 0.40, 0.25, 0.16) + 0.13 * blob(x, y - m.nose_y, 0.05, 0.16)
        oily = oily + 0.05 * blob(ax - 0.33, y - 0.12, 0.12, 0.08)
        rings = 1 - 0.13 * blob(ax - m.eye_x, y - EYE_Y - 0.065, 0.11, 0.05) * (0.35 + 1.1 * m.old)
        rings = rings - 0.10 * (1 - 0.6 * m.child) * blob(ax - m.eye_x + 0.02, y - EYE_Y, 0.15, 0.10)
        blush = f.on["makeup"] * blob(ax - 0.33, y - 0.17 + 0.35 * (ax - 0.33), 0.17, 0.10)
        return cls(relief(f), _hollows(f, ax), red, oily, rings, blush)


def _hollows(f: Faces, ax: Tensor) -> Tensor:
    m, x, y = f.m, f.x, f.y
    # Light that does not reach hollows.
    closed = 0.30 * blob(ax - m.eye_x + 0.045, y - EYE_Y + 0.035, 0.085, 0.055)
    closed = closed + 0.15 * blob(ax - m.eye_x, y - EYE_Y - 0.03, 0.13, 0.06)
    closed = closed + 0.16 * blob(x, y - m.nose_y - 0.088, m.nose_w * 0.75, 0.026)
    closed = closed + 0.22 * blob(x, y - m.mouth_y - m.gap - m.lip_low - 0.03, m.mouth_w * 0.7, 0.028)
    closed = closed + 0.26 * blob(ax - m.mouth_w - 0.012, y - m.mouth_y + m.curve * 0.9, 0.024, 0.026)
    closed = closed + 0.22 * ramp(f.head, 0.80, 1.04) ** 2
    # The nose's shadow on the cheek away from the light.
    away = f.light.x * -1
    shadow = blob(x - away * 0.16, y - m.nose_y + 0.06, 0.06, 0.13) * ramp(x * away.sign(), 0.02, 0.08)
    closed = closed + 0.30 * shadow * away.abs()
    return closed


def paint_head(f: Faces) -> None:
    """The head, without eyes, brows and lips."""
    part = f.where(f.head < 1.10)  # which is known to all that follow
    if part is None:
        return
    f, m, c = part, part.m, part.canvas
    x, y, ax = f.x, f.y, f.x.abs()
    mask = c.inside((f.head - 1) * 0.42)
    soft = _Soft.of(f)
    n = slope(soft.height + _wrinkles(f, ax), c.x, c.y)
    colour = _surface(f, n, ax, soft)
    closed = soft.closed.clamp(0, 1.2)
    colour = colour * torch.exp(-closed) * (1 - closed * rgb(x, 0.0, 0.17, 0.25))  # shade in skin is warm
    c.paint(colour.clamp(0, 1), mask, Part.SKIN)
    if c.labels is not None:
        nose = blob(x, y - m.nose_y - 0.01, m.nose_w * 1.18, 0.115)
        ridge = blob(x, y - 0.06, m.nose_w * 0.75, 0.20)
        shown = (torch.maximum(nose, ridge) > 0.37) & (y < m.nose_y + 0.085) & (y > EYE_Y - 0.02)
        c.labels.masked_fill_(shown & (mask > 0.5), Part.NOSE)
    _nostrils(f)


def _surface(f: Faces, n: Normal, ax: Tensor, soft: _Soft) -> Tensor:
    """Colour of lit skin, [N, 3, H, W]."""
    a, on, m, c = f.a, f.on, f.m, f.canvas
    x, y = f.x, f.y
    albedo = f.skin
    pores = c.noise("pores", x * 0.62, y * 0.62, 0) * c.detail(0.011)
    mottled = c.noise("cloud", x * 0.42, y * 0.42, 1)
    red = soft.red + 0.16 * mottled + 0.35 * m.old * (mottled - 0.4).clamp(0, 2)
    albedo = albedo * (1 - red.clamp(-0.4, 1.3) * rgb(x, -0.01, 0.115, 0.115))
    rough = 0.016 + 0.012 * m.old + 0.006 * m.man - 0.010 * m.child
    albedo = albedo * (1 + rough * pores + 0.016 * mottled)
    albedo = albedo * soft.rings
    albedo = _freckled(f, albedo, ax)
    shaven = 0.62 * on["stubble"] + 0.06 * m.man
    if bool((shaven > 0.01).any()):
        shadow = c.noise("pores", x * 0.9, y * 0.9, 5) * 0.35 * c.detail(0.010)
        roots = mix(hair_colour(a, on) * 0.7, albedo * rgb(x, 0.52, 0.55, 0.60), 0.5)
        area = f.stretched(beard_area(f.halved() or f))
        albedo = mix(albedo, roots, (shaven * area * (0.75 + shadow)).clamp(0, 0.8))
    albedo = mix(albedo, rgb(x, 0.90, 0.36, 0.42) * (0.45 + 0.55 * albedo), 0.28 * soft.blush)
    light = f.light
    # Red light goes further inside: it wraps around more, which makes the shadow's border warm.
    wrap = torch.cat([light.lambert(n, w) for w in (0.42, 0.30, 0.24)], dim=1)
    sky = 0.35 * (1 - 0.35 * n.y) * light.sky
    colour = albedo * torch.sqrt((wrap * light.colour * 0.98 + sky).clamp(min=1e-4))
    gloss = light.glint(n) * (1 + 0.25 * pores) * soft.oily * (1 - 0.3 * m.old)
    colour = colour + gloss * light.colour * (0.9 + 0.5 * a["skin_tone"])
    bright = (colour - 0.80).clamp(min=0)
    return colour - bright * bright / (bright + 0.24)  # it saturates softly, as film does


def _freckled(f: Faces, albedo: Tensor, ax: Tensor) -> Tensor:
    """Freckles on nose, cheeks and forehead: spots where two kinds of noise are high."""
    c, x, y = f.canvas, f.x, f.y
    if not bool((f.on["freckles"] > 0).any()):
        return albedo
    grain = c.noise("spots", x * 0.85, y * 0.85, 3) + 0.4 * c.noise("spots", x * 0.4, y * 0.4, 4)
    where = blob(ax - 0.20, y - 0.14, 0.22, 0.13) + 0.7 * blob(x, y - 0.10, 0.12, 0.14)
    where = (where + 0.30 * blob(x, y + 0.38, 0.35, 0.16) + 0.15 * blob(x, y - 0.5, 0.4, 0.3)).clamp(max=1)
    spots = ramp(grain, 0.90 - 0.55 * where, 1.90 - 0.55 * where) * where
    return mix(albedo, albedo * rgb(x, 0.66, 0.47, 0.36), 0.66 * spots * f.on["freckles"])


def beard_area(f: Faces) -> Tensor:
    """Where a beard grows, from 0 to 1: below a line from the ears to the nose, around the mouth."""
    m, x, y, ax = f.m, f.x, f.y, f.x.abs()
    line = m.nose_y + 0.06 + 0.16 * ramp(-ax, -0.30, -0.12) - 0.36 * ramp(ax, 0.28, 0.54)
    below = ramp(y - line, -0.08, 0.11)
    lip = blob(x, y - (m.nose_y + m.mouth_y) / 2 - 0.055, m.mouth_w * 1.15, 0.050)
    at = lips(m, f.on, x / m.mouth_w)
    mouth = ramp(torch.maximum(torch.maximum(at.top - y, y - at.low), ax - m.mouth_w), -0.004, 0.016)
    return torch.maximum(below, ramp(lip, 0.05, 0.95)) * mouth


def _nostrils(f: Faces) -> None:
    part = f.part(-0.3, -0.05, 0.3, 0.45)
    if part is None:
        return
    f, c, m = part, part.canvas, part.m
    ax, y = f.x.abs(), f.y
    hole = blob(
        ax - m.nose_w * 0.42, y - m.nose_y - 0.062 - 0.05 * (ax - m.nose_w * 0.4), m.nose_w * 0.22, 0.015
    )
    dark = f.skin * rgb(ax, 0.30, 0.19, 0.16)
    c.paint(dark.expand_as(c.image), ramp(hole, 0.20, 1.0) * 0.74)
    # The crease behind the wings.
    dx, dy = ax - m.nose_w * 0.74, y - m.nose_y - 0.030
    ring = torch.sqrt((dx / (m.nose_w * 0.40)) ** 2 + (dy / 0.062) ** 2 + 1e-6)
    crease = torch.exp(-(((ring - 1) / 0.16) ** 2)) * ramp(dx / m.nose_w, 0.02, 0.30) * ramp(dy, -0.05, 0.0)
    c.paint((f.skin * rgb(ax, 0.60, 0.42, 0.36)).expand_as(c.image), crease * 0.34)

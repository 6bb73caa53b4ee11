"""The mouth: what is inside, teeth, lips."""

from __future__ import annotations

import torch
from torch import Tensor

from styleclip_cli.world.canvas import blob, mix, ramp, rgb
from styleclip_cli.world.geometry import Lips, lips
from styleclip_cli.world.scene import Faces, Part


def paint_mouth(faces: Faces) -> None:
    """Inside, teeth, tongue, and lips with their form."""
    f = faces.part(-0.34, 0.26, 0.34, 0.80)
    if f is None:
        return
    on, m, c, x, y = f.on, f.m, f.canvas, f.x, f.y
    t = (x / m.mouth_w).clamp(-1, 1)
    at = lips(m, on, t)
    end = (x.abs() - m.mouth_w) * 0.8
    inside = torch.maximum(torch.maximum(at.inner_top - y, y - at.inner_low), end)
    gap = (at.inner_low - at.inner_top).clamp(min=1e-4)
    depth = ((y - at.inner_top) / gap).clamp(0, 1)
    dark = mix(rgb(x, 0.24, 0.07, 0.065), rgb(x, 0.42, 0.14, 0.13), depth * (1 - t * t))
    tongue = blob(x, y - at.inner_low + 0.010, m.mouth_w * 0.55, 0.030)
    dark = mix(dark, rgb(x, 0.70, 0.34, 0.33), 0.75 * tongue * ramp(m.gap, 0.04, 0.08))
    teeth_low = at.inner_top + torch.minimum(gap * 0.92, 0.034 + 0.012 * on["smile"])
    teeth = (
        c.inside(torch.maximum(inside, y - teeth_low + 0.012 * t * t))
        * ramp(-t.abs(), -0.95, -0.70)
        * (1 - 0.6 * on["sad"])
    )
    width = 0.046
    between = torch.exp(-((((x / width + 0.5) % 1 - 0.5) / 0.07) ** 2)) * c.detail(0.03)
    enamel = rgb(x, 0.93, 0.905, 0.86) * (1 - 0.42 * t * t) * (1 - 0.07 * between)
    enamel = enamel * (0.72 + 0.28 * ramp(y - at.inner_top, 0.0, 0.018)) * (1 - 0.12 * m.old)
    c.paint(dark, c.inside(inside) * ramp(m.gap, 0.004, 0.02), Part.MOUTH)
    c.paint(enamel, teeth * ramp(m.gap, 0.012, 0.03))
    _lips(f, t, at, end)


def _lips(f: Faces, t: Tensor, at: Lips, end: Tensor) -> None:
    a, on, m, c, x, y = f.a, f.on, f.m, f.canvas, f.x, f.y
    upper = torch.maximum(torch.maximum(at.top - y, y - at.inner_top), end)
    lower = torch.maximum(torch.maximum(at.inner_low - y, y - at.low), end)
    up = ((y - at.top) / (at.inner_top - at.top).clamp(min=5e-3)).clamp(0, 1)
    low = ((y - at.inner_low) / (at.low - at.inner_low).clamp(min=5e-3)).clamp(0, 1)
    bare = f.skin * mix(rgb(x, 0.88, 0.64, 0.64), rgb(x, 0.80, 0.62, 0.66), a["skin_tone"])
    bare = mix(bare, f.skin * rgb(x, 0.94, 0.80, 0.78), 0.45 * (1 - a["feminine"]))
    red = rgb(x, 0.70, 0.055, 0.13)
    colour = mix(bare, red, 0.90 * on["lipstick"])
    lines = c.noise("strands", t * 0.20, y * 0.8, 4) * c.detail(0.014)
    grain = 1 + (0.035 + 0.035 * m.old) * lines
    # The upper lip faces down, the lower one up: it catches the light.
    side = 1 + 0.16 * f.light.x * t
    shade_up = (0.70 + 0.14 * (1 - up)) * side * grain
    shade_low = (0.96 + 0.10 * torch.sin(low * 3.14) - 0.24 * low**2) * side * grain
    soft = 1.8
    mask_up, mask_low = c.inside(upper, soft), c.inside(lower, soft)
    c.paint((colour * shade_up).clamp(0, 1), mask_up, Part.LIPS)
    c.paint((colour * shade_low).clamp(0, 1), mask_low, Part.LIPS)
    wet = blob(x - 0.04 * f.light.x, (low - 0.38), m.mouth_w * 0.42, 0.26) * mask_low
    c.image.add_(wet * (0.07 + 0.18 * on["lipstick"]) * (1 + 0.5 * lines).clamp(min=0) * f.light.colour)
    bow = torch.exp(-(((y - at.top + 0.006) / 0.007) ** 2)) * blob(x, y * 0, m.mouth_w * 0.55, 1.0)
    c.image.add_(0.05 * bow * f.light.colour)
    # Where closed lips meet.
    line = torch.exp(-(((y - (at.inner_top + at.inner_low) / 2) / (0.0058 + 0.002 * m.man)) ** 2))
    line = line * ramp(-t.abs(), -1.0, -0.86) * (1 - ramp(m.gap, 0.004, 0.03))
    c.paint((colour * rgb(x, 0.36, 0.26, 0.26)).expand_as(c.image), line * 0.90)
    corner = blob(x.abs() - m.mouth_w * 0.985, y - (at.inner_top + at.inner_low) / 2, 0.018, 0.012)
    c.paint((f.skin * rgb(x, 0.42, 0.27, 0.25)).expand_as(c.image), 0.40 * corner)

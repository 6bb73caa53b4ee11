"""Eyes with lids and lashes, and brows."""

from __future__ import annotations

import torch
from torch import Tensor

from styleclip_cli.world.canvas import along, blob, mix, ramp, rgb
from styleclip_cli.world.geometry import EYE_Y, brow, brow_place, lids
from styleclip_cli.world.scene import Faces, Part, hair_colour


def paint_eyes(faces: Faces) -> None:
    """Both eyes: the ball, the shadow of the lid on it, lids, lashes, and eye shadow."""
    f = faces.part(-0.48, -0.30, 0.48, 0.16)
    if f is None:
        return
    m, c = f.m, f.canvas
    x, y = f.x, f.y
    ax = x.abs()
    u = (ax - m.eye_x) / m.eye_w
    up, low = lids(m, u)
    opening = torch.maximum(torch.maximum(up - y, y - low), (u.abs() - 1) * m.eye_w)
    _shadow_of_makeup(f, u, up, low)
    _crease(f, u, up)
    seen = c.inside(opening)
    c.paint(_ball(f, u, up, low), seen, Part.EYES)
    _lash_lines(f, u, up, low)


def _shadow_of_makeup(f: Faces, u: Tensor, up: Tensor, low: Tensor) -> None:
    c, y = f.canvas, f.y
    lid = ramp(y, up - 0.115, up - 0.03) * ramp(-y, -up - 0.02, -up + 0.004)
    lid = lid * ramp(-(u - 0.2).abs(), -1.55, -0.8)
    under = blob(u - 0.5, y - low - 0.01, 0.55, 0.018)
    colour = mix(f.skin * rgb(u, 0.52, 0.34, 0.42), rgb(u, 0.36, 0.20, 0.34), 0.40)
    c.paint(colour.expand_as(c.image), (0.72 * lid + 0.40 * under) * f.on["makeup"])


def _crease(f: Faces, u: Tensor, up: Tensor) -> None:
    """The fold above the upper lid, and the lid's own light and shade."""
    a, m, c, y = f.a, f.m, f.canvas, f.y
    above = 0.036 * (1 - 0.5 * f.on["surprised"]) + 0.012 * f.on["surprised"] - 0.012 * m.old
    height = up - above * (0.35 + 0.65 * (1 - (u * 0.9) ** 2).clamp(min=0)) - 0.004
    span = ramp(-(u - 0.08).abs(), -1.22, -0.80)
    line = torch.exp(-(((y - height) / 0.0085) ** 2)) * span
    c.paint((f.skin * rgb(u, 0.50, 0.34, 0.29)).expand_as(c.image), line * (0.72 - 0.62 * a["lid_fold"]))
    lit = torch.exp(-(((y - (height + up) / 2) / 0.012) ** 2)) * span * (1 - a["lid_fold"])
    c.shade(1 + 0.10 * lit)
    below = torch.exp(-(((y - up - m.lid_up - m.lid_low - 0.012) / 0.012) ** 2)) * span
    c.shade(1 + 0.05 * below)


def _ball(f: Faces, u: Tensor, up: Tensor, low: Tensor) -> Tensor:
    """Colour of the eyeball, [N, 3, H, W]."""
    a, m, c, x, y = f.a, f.m, f.canvas, f.x, f.y
    # Eyes look at the camera, so that the iris moves against the turn of the head.
    sx = torch.where(x > 0, x - m.eye_x, x + m.eye_x) + f.turn.x * 0.05
    sy = y - EYE_Y + f.turn.y * 0.04 + 0.006 - 0.004 * f.on["surprised"]
    white = rgb(u, 0.905, 0.885, 0.870) * (1 - 0.26 * blob(u.abs() - 1, y - EYE_Y, 0.42, 0.06))
    white = mix(white, rgb(u, 0.86, 0.55, 0.52), 0.75 * blob(u + 0.97, y - EYE_Y - m.tilt, 0.10, 0.030))
    white = mix(white, rgb(u, 0.88, 0.70, 0.62), 0.18 * m.old)
    r = torch.sqrt(sx * sx + sy * sy + 1e-8) / m.iris
    colour = along(
        a["eye_light"],
        [
            (0.165, 0.085, 0.05),
            (0.30, 0.165, 0.085),
            (0.42, 0.33, 0.15),
            (0.36, 0.46, 0.42),
            (0.38, 0.56, 0.74),
        ],
    )
    angle = torch.atan2(sy, sx + 1e-6)
    fibres = c.noise("strands", angle / (2 * torch.pi) * 0.36, r * 0.06, 1) * c.detail(0.012)
    inner = blob(r - 0.48, torch.zeros_like(r), 0.22, 1.0)
    iris = colour * (0.86 + 0.14 * fibres + 0.34 * ramp(sy / m.iris, -0.5, 0.9) + 0.20 * inner)
    iris = iris * (1 - 0.62 * ramp(r, 0.74, 1.02))
    edge = m.iris
    ball = mix(white, iris, c.inside((r - 1) * edge, 1.8))
    ball = mix(ball, rgb(u, 0.02, 0.018, 0.02), c.inside((r - 0.40 - 0.05 * f.on["surprised"]) * edge, 1.8))
    ball = ball * (0.54 + 0.46 * ramp(y - up, -0.004, 0.036))
    ball = ball * (0.90 + 0.10 * ramp(low - y, 0.0, 0.012))
    spot_x, spot_y = 0.30 * f.light.x * 1.2, -0.34
    spark = c.inside(
        (torch.sqrt((sx / m.iris - spot_x) ** 2 + (sy / m.iris - spot_y) ** 2) - 0.20) * edge, 1.6
    )
    fill = blob(sx / m.iris + spot_x * 1.3, sy / m.iris - 0.42, 0.22, 0.16) * (r < 1.0)
    ball = mix(ball, rgb(u, 1.0, 1.0, 1.0), 0.92 * spark)
    return ball + 0.13 * fill


def _lash_lines(f: Faces, u: Tensor, up: Tensor, low: Tensor) -> None:
    """Lash lines, lashes, and a liner if there is makeup."""
    a, m, c, y = f.a, f.m, f.canvas, f.y
    woman, makeup = a["feminine"], f.on["makeup"]
    long = (0.12 + 0.65 * a["lashes"] + 0.15 * woman + 0.35 * makeup) * (1 - 0.3 * m.old)
    dark = mix(rgb(u, 0.10, 0.065, 0.055), f.skin * 0.30, 0.25 - 0.2 * makeup)
    span = ramp(-u.abs(), -1.10, -0.90)
    thick = 0.0065 + 0.0045 * long + 0.006 * makeup * ramp(u, -0.8, 0.9)
    line = torch.exp(-(((y - up + 0.002) / thick) ** 2)) * span
    c.paint(dark.expand_as(c.image), line * (0.80 + 0.2 * long).clamp(max=1))
    # Lashes fan out from the lid: strokes whose foot is where they meet it.
    reach = (0.010 + 0.055 * long) * (0.55 + 0.45 * ramp(u, -0.8, 0.7))
    height = ((up - y) / reach).clamp(-0.5, 1.5)
    foot = u - 0.34 * height * (u + 0.05)
    strokes = 0.5 + 0.5 * torch.sin(foot * 34 + 2 * torch.sin(foot * 9))
    lash = ramp(strokes, 0.35, 0.95) * ramp(-height, -1.0, -0.1) * ramp(height, -0.12, 0.05)
    lash = lash * ramp(-foot.abs(), -1.12, -0.88)
    c.paint(dark.expand_as(c.image), lash * (0.20 + 0.75 * long).clamp(max=0.95))
    under = torch.exp(-(((y - low - 0.003) / 0.0065) ** 2)) * ramp(-u.abs(), -1.02, -0.75)
    tint = mix(f.skin * rgb(u, 0.56, 0.38, 0.34), dark, 0.15 + 0.45 * long * woman)
    c.paint(tint.expand_as(c.image), under * (0.34 + 0.35 * makeup + 0.1 * long))


def paint_brows(faces: Faces) -> None:
    """Brows, hair by hair."""
    f = faces.part(-0.50, -0.50, 0.50, -0.02)
    if f is None:
        return
    a, m, c, x, y = f.a, f.m, f.canvas, f.x, f.y
    middle, half = brow_place(m)
    u = (x.abs() - middle) / half
    line, thick = brow(m, a, f.on, u)
    v = (y - line) / thick
    # Hairs lean outward, and more so further out.
    lean = u * half + v * thick * (0.9 - 0.5 * u)
    side = torch.where(x > 0, 0.37, 0.0)
    hairs = c.noise("strands", lean * 0.62 + side, v * 0.06, 2)
    hairs = hairs * c.detail(0.014)
    mask = ramp(-v.abs() + 0.30 * hairs, -1.15, -0.35) * ramp(-u.abs() + 0.06 * hairs, -1.06, -0.86)
    hair = hair_colour(a, f.on)
    dark = mix(hair * 0.62, rgb(u, 0.16, 0.11, 0.09), 0.38 * (1 - 0.55 * f.on["hair_grey"]))
    dark = mix(dark, f.skin * 0.42, 0.12 + 0.55 * f.on["hair_dye"])
    strength = (0.62 + 0.30 * a["brow_thickness"] + 0.15 * f.on["makeup"]) * (1 - 0.30 * m.child)
    shade = 0.85 + 0.22 * hairs
    c.paint((dark * shade).clamp(0, 1), mask * strength.clamp(max=0.95), Part.BROWS)
    if c.labels is not None:  # thin hair is drawn weakly, but it is a brow all the same
        c.labels.masked_fill_((mask > 0.4).expand_as(c.labels), Part.BROWS)

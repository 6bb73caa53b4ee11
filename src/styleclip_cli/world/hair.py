"""Hair: where it is, how it flows, and how it shines; beards too.

Strands leave a parting at the top and fall over the skull like nested arches: `t` counts them from side to
side (0 at the parting, 1 at the hair's outline), and they run along y.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from styleclip_cli.world.canvas import Normal, blob, mix, ramp, rgb
from styleclip_cli.world.geometry import lips
from styleclip_cli.world.scene import Faces, Part, hair_colour
from styleclip_cli.world.skin import beard_area

_MIDDLE = -0.15  # height at which hair is widest


class Hair(NamedTuple):
    """Measures of hair, [N, 1, 1, 1] each."""

    wide: Tensor
    top: Tensor
    end: Tensor
    """How far down it reaches."""
    curly: Tensor
    wavy: Tensor
    part: Tensor
    """Where the parting is."""
    opaque: Tensor
    bald: Tensor
    short: Tensor
    """1 for hair that ends above the ears."""


def hair_measures(f: Faces) -> Hair:
    """Measures of these people's hair."""
    a, m = f.a, f.m
    bald = f.on["baldness"]
    length, curl, volume = a["hair_length"], a["hair_curl"], a["hair_volume"]
    curly, wavy = ramp(curl, 0.58, 0.86), ramp(curl, 0.22, 0.55)
    some = ramp(length, 0.05, 0.24)
    long = ramp(length, 0.30, 0.60)
    short = 1 - ramp(length, 0.28, 0.46)
    thick = some * (0.040 + 0.020 * short + 0.135 * volume + 0.070 * curly + 0.015 * wavy) * (1 - 0.8 * bald)
    sides = thick * (0.56 + 0.34 * torch.maximum(long, curly * 0.8)) * (1 - 0.6 * f.on["hat"])
    return Hair(
        wide=m.rx + 0.004 + sides + 0.012 * some,
        top=m.top - thick * (1 - f.on["hat"]) + 0.22 * bald + 0.04 * f.on["hat"],
        end=-0.02 + 0.10 * some + 1.35 * ramp(length, 0.34, 1.05),
        curly=curly,
        wavy=wavy,
        part=0.20 * torch.tanh(f.canvas.texture[:, 6, None, None, None]),
        opaque=0.22 + 0.78 * ramp(length, 0.03, 0.19),
        bald=bald,
        short=short,
    )


class Flow(NamedTuple):
    """Hair at each pixel, [N, 1, H, W] each."""

    edge: Tensor
    """Distance to the outline, negative inside."""
    grain: Tensor
    """Light and dark strands, about -2 to 2."""
    n: Normal
    along: Tensor
    """How far strands point towards what would make them shine: they shine where it is 0."""
    ragged: Tensor
    """What moves the borders of hair, about -2 to 2."""
    fine: Tensor
    """Single strands, about -2 to 2."""


def flow(f: Faces, h: Hair, shift: float = 0.0) -> Flow:
    """How hair lies over a canvas; another shift gives other strands."""
    c = f.canvas
    x, y = f.at(0.05)
    coarse = f.halved()
    if coarse is None:
        smooth = _shape(f, h)
    else:
        smooth = f.stretched(torch.cat(_shape(coarse, h), dim=1)).split(1, dim=1)
    t, edge, u, v, z, along, move = smooth
    swing: Tensor | float = 0.0
    moved = t
    if bool((h.wavy > 0).any()):
        lock = c.noise("locks", t * 0.22 + shift, y * 0.10, 0)
        swing = torch.sin(6.2832 * (y * 2.4 + 0.30 * lock + 1.2 * shift) + 2.5 * t)
        moved = t + h.wavy * (1 - 0.5 * h.curly) * 0.085 * swing * ramp(y, h.top, h.top + 0.5)
    # Short hair is brushed to a side, in tufts.
    moved = moved + h.short * 1.1 * h.part * (y - h.top)
    fine, clumps = c.noise("hair", moved * 0.36 + shift, y * (0.12 + 0.16 * h.short), 1).split(1, dim=1)
    fine = fine * c.detail(0.011)
    grain = 0.60 * fine + 0.48 * clumps + 0.20 * h.wavy * swing
    ragged = 0.35 * fine + 0.5 * clumps
    if bool((h.curly > 0).any()):
        rings = c.noise("curls", x * 0.46 + shift, y * 0.46, 3)
        bumps = c.noise("cloud", x * 0.75 + shift, y * 0.75, 5)
        grain = mix(grain, 0.62 * rings + 0.45 * bumps, h.curly)  # curls, and the clumps that they make
        ragged = mix(ragged, 0.20 * rings + 0.9 * bumps, h.curly)
        fine = mix(fine, rings, h.curly)
    # Strands move the outline at the sides, and locks end at their own heights.
    edge = edge - move * ragged
    along = along + 0.07 * clumps + 0.06 * fine + 0.16 * h.wavy * swing
    return Flow(edge, grain, Normal(u, v, z), along, ragged, fine)


def _shape(f: Faces, h: Hair) -> tuple[Tensor, ...]:
    """What of the flow changes slowly, [N, 1, H, W] each.

    Returns:
        The strand's number, distance to the outline without strands, normal (x, y, z), `Flow.along`, and how
        far strands move the outline.
    """
    light = f.light
    x, y = f.at(0.05)
    up = ((_MIDDLE - y) / (_MIDDLE - h.top)).clamp(min=0)
    rise = up.clamp(max=1)
    arch = h.wide * torch.sqrt(1 - 0.93 * rise * rise)
    width = h.wide * (
        1 + (0.10 + 0.16 * h.curly + 0.06 * h.wavy) * ramp(y, _MIDDLE, 0.9) * ramp(h.end, 0.2, 0.9)
    )
    width = width * (1 - 0.22 * ramp(y, h.end - 0.5, h.end + 0.1) * ramp(h.end, 0.1, 0.5))
    across, upright = (x / width) ** 2, up * up
    r = torch.lerp(
        torch.sqrt(across + upright + 1e-8),
        torch.sqrt(torch.sqrt(across * across + upright * upright + 1e-10)),
        0.50,
    )
    move = 0.008 + 0.005 * h.short + 0.008 * h.wavy + 0.018 * h.curly * (1 - 0.8 * h.bald)
    sides, ends = (r - 1) * h.wide * 0.92, y - h.end
    # Under a hat, hair begins at its rim.
    edge = torch.maximum(sides, ends) + 0.6 * f.on["hat"] * ramp(f.m.hairline - y, -0.04, 0.04)
    u, v = (x / h.wide).clamp(-0.98, 0.98), -rise
    z = torch.sqrt((1 - u * u - v * v).clamp(min=0.03))
    half = torch.sqrt(light.x**2 + light.y**2 + (light.z + 1) ** 2)
    along = z * (light.y / half - 0.12) - v * (light.z + 1) / half
    move = mix(move, 0.05 + 0 * x, ramp(ends - sides, -0.03, 0.03))
    return (x - h.part * rise) / arch, edge, u, v, z, along, move


def hair_look(f: Faces, h: Hair, w: Flow, colour: Tensor, dim: float = 1.0) -> Tensor:
    """Colour of hair in its light, [N, 3, H, W]."""
    light = f.light
    grain = w.grain.clamp(-2.2, 2.2)
    pale = colour.mean(dim=1, keepdim=True)
    albedo = colour * (1 + (0.22 - 0.09 * pale + 0.02 * h.curly) * grain)
    # Thin and light hair is more see-through: its shade is warmer.
    albedo = albedo * (1 + (rgb(grain, 0.10, 0.0, -0.10)) * grain.clamp(-1, 1) * 0.35)
    lit = light.lit(albedo.clamp(0.004, 1), w.n, 0.35, 0.26) * dim
    side = light.lambert(w.n, 0.45)
    shine = torch.exp(-((w.along / 0.115) ** 2)) * side * (1 - 0.65 * h.curly)
    wide = torch.exp(-((w.along / 0.30) ** 2)) * side
    strand = (1 + (0.55 - 0.30 * pale) * grain).clamp(min=0)
    glow = colour * (0.55 - 0.40 * pale) * wide * strand
    glow = glow + (0.13 + 0.20 * colour) * (1 - 0.6 * pale) * shine * strand * light.colour
    return lit + dim * glow * 0.85


def paint_back_hair(f: Faces, h: Hair) -> None:
    """Hair behind the head and the neck."""
    x, y = f.at(0.05)
    hanging = torch.maximum(ramp(h.end, 0.10, 0.20), ramp(h.curly, 0, 0.2))  # the head hides shorter hair
    part = f.where((x.abs() < h.wide * 1.3) & (y < h.end + 0.2) & (y > h.top - 0.1) & (hanging > 0))
    if part is None:
        return
    f = part.halved() or part  # little of it is seen, in shadow
    w = flow(f, h, 0.31)
    x, y = f.at(0.05)
    neck = blob(x, y - 0.55, 0.52, 0.55)
    colour = hair_look(f, h, w, hair_colour(f.a, f.on)) * (1 - 0.62 * neck) * 0.86
    mask = _border(f, h, w) * ramp(h.opaque, 0.2, 0.6) * hanging
    painted = part.stretched(torch.cat([colour.clamp(0, 1), mask], dim=1))
    part.canvas.paint(painted[:, :3], painted[:, 3:], Part.HAIR)


def _border(f: Faces, h: Hair, w: Flow) -> Tensor:
    """Share of each pixel within the outline of all hair, which is loose: single strands leave it."""
    loose = 0.006 + 0.006 * h.short + 0.008 * h.curly
    return ramp(w.edge - 0.4 * loose * w.fine, loose + f.canvas.pixel, -loose - f.canvas.pixel)


def opening(f: Faces, h: Hair, ragged: Tensor) -> Tensor:
    """Radius of places in the part of the face that hair leaves free, 1 on its border."""
    coarse = f.halved()
    if coarse is None:
        smooth, move = _opening(f, h)
    else:
        smooth, move = f.stretched(torch.cat(_opening(coarse, h), dim=1)).split(1, dim=1)
    return smooth - move * ragged


def _opening(f: Faces, h: Hair) -> tuple[Tensor, Tensor]:
    """The same without strands, and how far strands move it."""
    a, m, on = f.a, f.m, f.on
    long = ramp(a["hair_length"], 0.34, 0.6)
    hairline = m.hairline + 0.02 * m.old
    hairline = hairline + (m.top - 0.16 - hairline) * h.bald * ramp(h.bald, 0, 0.7)
    fringe = on["fringe"] * (1 - h.bald)
    hairline = mix(hairline, m.brow_y - 0.045, fringe * 0.96)
    middle = -0.16
    x = f.x - 0.35 * h.part * ramp(-f.y, 0.2, 0.65)
    temple = ramp(-f.y, -0.14, 0.00) * (1 - h.bald)
    widest = m.rx * (1.02 - 0.07 * long - (0.125 - 0.05 * long) * temple) + 0.03 * h.bald
    below = ramp(f.y, 0.15, 0.85)
    side = widest - (0.035 + 0.05 * long) * below * long
    v = ((middle - f.y) / (middle - hairline).clamp(min=0.03)).clamp(min=0)
    square = (0.40 - 0.22 * a["feminine"] + 0.45 * fringe + 0.25 * h.bald).clamp(max=0.9)
    # Receding: free at the temples before the middle.
    temples = (
        0.20 * m.man * (0.35 + m.old) * blob(f.x.abs() - 0.27, f.y - hairline, 0.11, 0.20) * (1 - fringe)
    )
    # Long hair falls to both sides of its parting, like curtains.
    curtains = 0.17 * long * (1 - fringe) * (1 - h.bald) * blob(x - 0.5 * h.part, v - 1, 0.17, 0.55)
    move = (0.014 + 0.016 * fringe + 0.010 * h.curly) / (middle - hairline).clamp(min=0.2)
    across, up = (x / side) ** 2, v * v
    r = torch.sqrt(torch.sqrt(across * across + up * up + 1e-10))
    r = torch.lerp(torch.sqrt(across + up + 1e-8), r, square)
    above = ramp(v, 0.1, 0.7)
    return r - temples - curtains, mix(0.012 + 0 * above, move, above)


def paint_front_hair(faces: Faces, h: Hair) -> None:
    """Hair over the skull, beside the face, and the fringe, with its shadow on the face."""
    x, y = faces.at(0.05)
    f = faces.where((x.abs() < h.wide * 1.3) & (y < h.end + 0.2) & (y > h.top - 0.1))
    if f is None:
        return
    c, m = f.canvas, f.m
    w = flow(f, h)
    free = opening(f, h, w.ragged)
    # Hair begins thin: single strands cross its line.
    high = ramp(-f.y, 0.15, 0.40) * (1 - f.on["fringe"])
    soft = 0.025 + 0.04 * (1 - ramp(f.a["hair_length"], 0.05, 0.3)) + (0.045 + 0.025 * m.man) * high
    cover = ramp(free + (0.014 + 0.056 * high) * w.fine, 1.0 - soft * 0.5, 1.0 + soft)
    fade = 0.03 + 0.06 * h.short  # short sides end in sideburns that thin out
    # It leaves the ears free.
    beside = 0.22 * h.short * ramp(f.x.abs() / m.rx, 0.92, 1.02)
    cut = ramp(-(f.y - h.end + beside - 0.03 * w.ragged), -fade, 0.03)
    mask = cover * cut * _border(f, h, w)
    shadow = ramp(free, 0.78, 1.0) * (1 - cover) * ramp(1.02 - f.head, 0, 0.04) * (f.y < 0.9)
    depth = (0.20 + 0.26 * f.on["fringe"] * ramp(-f.y, -0.02, 0.18)) * h.opaque * (1 - h.bald) * cut
    c.shade(1 - (depth * shadow) * rgb(shadow, 0.85, 1.0, 1.08))
    colour = hair_colour(f.a, f.on)
    look = hair_look(f, h, w, colour)
    root = torch.exp(-(((w.n.x * h.wide - h.part) / 0.03) ** 2)) * ramp(-f.y, -m.hairline - 0.14, -m.hairline)
    inner = 0.22 * ramp(free, 1.22, 1.0) * ramp(f.y, -0.2, 0.3)
    look = look * ((1 - 0.30 * (1 - h.curly) * (1 - f.on["fringe"]) * root) * (1 - inner))
    if bool((h.opaque < 0.9).any()):
        shaved = f.skin * rgb(look, 0.74, 0.74, 0.76)
        look = mix(mix(shaved, look, 0.35) * (1 + 0.05 * w.grain), look, ramp(h.opaque, 0.3, 0.9))
    c.paint(look.clamp(0, 1), mask * h.opaque, Part.HAIR)


def paint_beard(faces: Faces, h: Hair) -> None:
    """Beard and moustache."""
    f = faces.part(-0.68, -0.25, 0.68, 1.15)
    if f is None or not bool((f.on["beard"] + f.on["moustache"] > 0).any()):
        return
    m, on, c, x, y = f.m, f.on, f.canvas, f.x, f.y
    spread = x / (0.9 + 0.5 * (y - 0.3))
    swing = torch.sin(6.28 * (y * 3 + 0.4 * c.noise("locks", spread * 0.3, y * 0.15, 3)))
    hairs = c.noise("strands", spread * 0.52 + 0.01 * swing * (h.wavy + h.curly), y * 0.25, 4) * c.detail(
        0.012
    )
    rings = c.noise("curls", x * 0.8, y * 0.8, 5)
    clumps = c.noise("locks", spread * 0.6, y * 0.35, 6)
    grain = mix(0.65 * hairs + 0.6 * clumps, 0.7 * rings + 0.4 * hairs, h.curly * 0.8 + 0.1)
    head = f.head - (0.045 + 0.055 * on["beard"]) * ramp(y, 0.35, 0.85)
    ends = ramp(-(head - 1 - 0.030 * grain), -0.045, 0.02)
    at = lips(m, on, x / m.mouth_w)
    at_top = at.top
    area = beard_area(f)
    area = torch.maximum(
        area,
        blob(x, y - (m.nose_y + m.mouth_y) / 2 - 0.055, m.mouth_w * 1.1, 0.07)
        * ramp(at_top - y, -0.004, 0.012),
    )
    full = ramp(area + 0.14 * grain * (area > 0.02), 0.06, 0.95) * ends * on["beard"]
    arc = y - (at.top - 0.030 + 0.35 * x * x)
    lip = blob(x, arc, m.mouth_w * 1.02 + 0.02, 0.034 + 0.006 * hairs) * ramp(
        y, m.nose_y + 0.05, m.nose_y + 0.085
    )
    lip = ramp(lip + 0.05 * hairs, 0.20, 0.70) * on["moustache"]
    grain = mix(grain, 0.5 * hairs, lip)
    mask = torch.maximum(full, lip)
    n = Normal(x / 0.6, ((y - 0.45) / 0.75).clamp(-0.7, 0.7), (1 - (x / 0.6) ** 2).clamp(min=0.1).sqrt())
    colour = hair_colour(f.a, on)
    colour = mix(colour, rgb(x, 0.30, 0.19, 0.13), 0.30 * (1 - on["hair_grey"])) * 0.84
    look = f.light.lit(colour * (1 + (0.28 - 0.12 * on["hair_grey"]) * grain), n, 0.35, 0.28)
    under = ramp(y, m.chin - 0.02, m.chin + 0.10)
    look = (look + 0.05 * grain.clamp(min=0) * f.light.colour) * (1 - 0.35 * under)
    c.paint(look.clamp(0, 1), mask * 0.96, Part.HAIR)

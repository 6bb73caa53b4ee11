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


def hair_measures(f: Faces) -> Hair:
    """Measures of these people's hair."""
    a, m = f.a, f.m
    bald = f.on["baldness"]
    length, curl, volume = a["hair_length"], a["hair_curl"], a["hair_volume"]
    curly, wavy = ramp(curl, 0.58, 0.86), ramp(curl, 0.22, 0.55)
    some = ramp(length, 0.05, 0.24)
    long = ramp(length, 0.30, 0.60)
    thick = some * (0.025 + 0.120 * volume + 0.070 * curly + 0.015 * wavy) * (1 - 0.8 * bald)
    sides = thick * (0.30 + 0.55 * torch.maximum(long, curly * 0.8))
    return Hair(
        wide=m.rx + 0.004 + sides + 0.012 * some,
        top=m.top - thick * (1 - f.on["hat"]) + 0.22 * bald + 0.04 * f.on["hat"],
        end=-0.02 + 0.10 * some + 1.35 * ramp(length, 0.34, 1.05),
        curly=curly,
        wavy=wavy,
        part=0.20 * torch.tanh(f.canvas.texture[:, 6, None, None, None]),
        opaque=0.22 + 0.78 * ramp(length, 0.03, 0.19),
        bald=bald,
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


def flow(f: Faces, h: Hair, shift: float = 0.0) -> Flow:
    """How hair lies over a canvas; another shift gives other strands."""
    c, light = f.canvas, f.light
    x, y = f.at(0.05)
    rise = ((_MIDDLE - y) / (_MIDDLE - h.top)).clamp(0, 1)
    arch = h.wide * torch.sqrt(1 - 0.93 * rise * rise)
    t = (x - h.part * rise) / arch
    swing: Tensor | float = 0.0
    moved = t
    if bool((h.wavy > 0).any()):
        lock = c.noise("locks", t * 0.22 + shift, y * 0.10, 0)
        swing = torch.sin(6.2832 * (y * 2.4 + 0.30 * lock + 1.2 * shift) + 2.5 * t)
        moved = t + h.wavy * (1 - 0.5 * h.curly) * 0.085 * swing * ramp(y, h.top, h.top + 0.5)
    fine, clumps = c.noise("hair", moved * 0.36 + shift, y * 0.12, 1).split(1, dim=1)
    fine = fine * c.detail(0.011)
    grain = 0.62 * fine + 0.50 * clumps + 0.20 * h.wavy * swing
    ragged = 0.35 * fine + 0.5 * clumps
    if bool((h.curly > 0).any()):
        rings = c.noise("curls", x * 0.46 + shift, y * 0.46, 3)
        grain = mix(grain, rings, h.curly)
        bumps = c.noise("cloud", x * 0.75 + shift, y * 0.75, 5)
        ragged = mix(ragged, 0.30 * rings + bumps, h.curly)
    edge = _edge(f, h, x, y, ragged)
    u = (x / h.wide).clamp(-0.98, 0.98)
    v = -rise
    z = torch.sqrt((1 - u * u - v * v).clamp(min=0.03))
    half = torch.sqrt(light.x**2 + light.y**2 + (light.z + 1) ** 2)
    hy, hz = light.y / half, (light.z + 1) / half
    along = z * (hy - 0.12) - v * hz + 0.07 * clumps + 0.06 * fine + 0.16 * h.wavy * swing
    return Flow(edge, grain, Normal(u, v, z), along, ragged)


def _edge(f: Faces, h: Hair, x: Tensor, y: Tensor, ragged: Tensor) -> Tensor:
    """Distance to the outline of all hair."""
    rise = ((_MIDDLE - y) / (_MIDDLE - h.top)).clamp(min=0)
    falls = ramp(y, _MIDDLE, 0.9)
    width = h.wide * (1 + (0.10 + 0.16 * h.curly + 0.06 * h.wavy) * falls * ramp(h.end, 0.2, 0.9))
    width = width * (1 - 0.22 * ramp(y, h.end - 0.5, h.end + 0.1) * ramp(h.end, 0.1, 0.5))
    u, v = (x / width) ** 2, rise * rise
    r = torch.lerp(torch.sqrt(u + v + 1e-8), torch.sqrt(torch.sqrt(u * u + v * v + 1e-10)), 0.35)
    move = 0.006 + 0.008 * h.wavy + 0.022 * h.curly
    edge = torch.maximum((r - 1) * h.wide * 0.92 - move * ragged, y - h.end - 0.05 * ragged)
    # Under a hat, hair begins at its rim.
    return edge + 0.6 * f.on["hat"] * ramp(f.m.hairline - y, -0.04, 0.04)


def hair_look(f: Faces, h: Hair, w: Flow, colour: Tensor, dim: float = 1.0) -> Tensor:
    """Colour of hair in its light, [N, 3, H, W]."""
    light = f.light
    grain = w.grain.clamp(-2.2, 2.2)
    pale = colour.mean(dim=1, keepdim=True)
    albedo = colour * (1 + (0.23 - 0.09 * pale + 0.03 * h.curly) * grain)
    # Thin and light hair is more see-through: its shade is warmer.
    albedo = albedo * (1 + (rgb(grain, 0.10, 0.0, -0.10)) * grain.clamp(-1, 1) * 0.35)
    lit = light.lit(albedo.clamp(0.004, 1), w.n, 0.35, 0.26) * dim
    side = light.lambert(w.n, 0.45)
    shine = torch.exp(-((w.along / 0.115) ** 2)) * side * (1 - 0.65 * h.curly)
    wide = torch.exp(-((w.along / 0.30) ** 2)) * side
    strand = (1 + 0.55 * grain).clamp(min=0)
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
    f = part
    w = flow(f, h, 0.31)
    x, y = f.at(0.05)
    neck = blob(x, y - 0.55, 0.52, 0.55)
    colour = hair_look(f, h, w, hair_colour(f.a, f.on)) * (1 - 0.62 * neck) * 0.86
    mask = f.canvas.inside(w.edge, 2.0) * ramp(h.opaque, 0.2, 0.6) * hanging
    f.canvas.paint(colour.clamp(0, 1), mask, Part.HAIR)


def opening(f: Faces, h: Hair, ragged: Tensor) -> Tensor:
    """Radius of places in the part of the face that hair leaves free, 1 on its border."""
    a, m, on = f.a, f.m, f.on
    long = ramp(a["hair_length"], 0.34, 0.6)
    hairline = m.hairline + 0.02 * m.old
    hairline = hairline + (m.top - 0.16 - hairline) * h.bald * ramp(h.bald, 0, 0.7)
    fringe = on["fringe"] * (1 - h.bald)
    hairline = mix(hairline, m.brow_y - 0.045, fringe * 0.96)
    middle = -0.16
    x = f.x - 0.35 * h.part * ramp(-f.y, 0.2, 0.65)
    temple = ramp(-f.y, -0.08, 0.06) * (1 - h.bald)
    widest = m.rx * (1.02 - 0.07 * long - (0.125 - 0.05 * long) * temple) + 0.03 * h.bald
    below = ramp(f.y, 0.15, 0.85)
    side = widest - (0.035 + 0.05 * long) * below * long
    v = ((middle - f.y) / (middle - hairline).clamp(min=0.03)).clamp(min=0)
    square = (0.40 - 0.22 * a["feminine"] + 0.45 * fringe + 0.25 * h.bald).clamp(max=0.9)
    # Receding: free at the temples before the middle.
    temples = (
        0.20 * m.man * (0.35 + m.old) * blob(f.x.abs() - 0.27, f.y - hairline, 0.11, 0.20) * (1 - fringe)
    )
    move = (0.010 + 0.016 * fringe + 0.010 * h.curly) / (middle - hairline).clamp(min=0.2)
    across, up = (x / side) ** 2, v * v
    r = torch.sqrt(torch.sqrt(across * across + up * up + 1e-10))
    r = torch.lerp(torch.sqrt(across + up + 1e-8), r, square)
    return r - temples - move * ragged * ramp(v, 0.1, 0.7) - 0.012 * ragged * (1 - ramp(v, 0.1, 0.7))


def paint_front_hair(faces: Faces, h: Hair) -> None:
    """Hair over the skull, beside the face, and the fringe, with its shadow on the face."""
    x, y = faces.at(0.05)
    f = faces.where((x.abs() < h.wide * 1.3) & (y < h.end + 0.2) & (y > h.top - 0.1))
    if f is None:
        return
    c, m = f.canvas, f.m
    w = flow(f, h)
    free = opening(f, h, w.ragged)
    soft = 0.030 + 0.05 * (1 - ramp(f.a["hair_length"], 0.05, 0.3)) + 0.03 * m.man
    cover = ramp(free, 1.0 - soft * 0.5, 1.0 + soft)
    cut = ramp(-(f.y - h.end - 0.03 * w.ragged), -0.03, 0.03)
    mask = cover * cut * c.inside(w.edge, 1.8)
    shadow = ramp(free, 0.78, 1.0) * (1 - cover) * ramp(1.02 - f.head, 0, 0.04) * (f.y < 0.9)
    depth = (0.26 + 0.20 * f.on["fringe"] * ramp(-f.y, -0.02, 0.18)) * h.opaque * (1 - h.bald) * cut
    c.shade(1 - depth * shadow * rgb(shadow, 0.85, 1.0, 1.08))
    colour = hair_colour(f.a, f.on)
    look = hair_look(f, h, w, colour)
    root = blob((w.n.x * h.wide - h.part) / 0.03, f.y * 0, 1.0, 1.0) * ramp(
        -f.y, -m.hairline - 0.14, -m.hairline
    )
    look = look * (1 - 0.30 * root * (1 - h.curly) * (1 - f.on["fringe"]))
    edge = ramp(free, 1.22, 1.0) * ramp(f.y, -0.2, 0.3)
    look = look * (1 - 0.22 * edge)
    shaved = f.skin * rgb(look, 0.74, 0.74, 0.76)
    look = mix(mix(shaved, look, 0.35) * (1 + 0.05 * w.grain), look, ramp(h.opaque, 0.3, 0.9))
    c.paint(look.clamp(0, 1), mask * h.opaque, Part.HAIR)


def paint_beard(faces: Faces, h: Hair) -> None:
    """Beard and moustache."""
    f = faces.part(-0.64, 0.05, 0.64, 1.15)
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
    full = ramp(area + 0.14 * grain * (area > 0.02), 0.12, 0.95) * ends * on["beard"]
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

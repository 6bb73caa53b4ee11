"""What people wear on their heads: hats, glasses, earrings."""

from __future__ import annotations

import torch
from torch import Tensor

from styleclip_cli.world.body import dyed
from styleclip_cli.world.canvas import Normal, blob, box, ellipse, mix, normal, ramp, rgb
from styleclip_cli.world.geometry import DEPTH, EAR_Y, EYE_Y
from styleclip_cli.world.scene import Faces, Part


def paint_hat(faces: Faces) -> None:
    """A knitted cap, or a hat with a brim; what is between them is a mixture of both."""
    x, y = faces.at(0.08)
    f = faces.where((y < 0.05) & (x.abs() < 1.15) & (faces.on["hat"] > 0))
    if f is None:
        return
    brimmed = ramp(f.a["hat_kind"], 0.40, 0.60)
    _knitted(f, f.on["hat"] * (1 - brimmed))
    _brimmed(f, f.on["hat"] * brimmed)


def _hat_shadow(f: Faces, edge: Tensor, much: Tensor) -> None:
    """Shadow on the forehead below an edge: edge is the distance below it."""
    shadow = ramp(-edge, -0.17, 0.0) * (edge > -0.02) * ramp(1.03 - f.head, 0, 0.05)
    f.canvas.shade(1 - 0.42 * shadow * much * rgb(edge, 0.9, 1.0, 1.05))


def _knitted(f: Faces, much: Tensor) -> None:
    m, c = f.m, f.canvas
    x, y = f.at(0.08)
    wide, top = m.rx + 0.055, m.top - 0.07
    rim = m.hairline + 0.20 + 0.10 * (f.x / wide) ** 2
    fold = rim - 0.21
    _hat_shadow(f, f.y - rim, much)
    middle = -0.15
    rise = ((middle - y) / (middle - top)).clamp(min=0)
    r = ((x / wide).abs() ** 2.2 + rise**2.2 + 1e-8) ** (1 / 2.2)
    n = normal((x / wide).clamp(-1, 1) * 0.96, -rise.clamp(max=1) * 0.9)
    arch = wide * torch.sqrt(1 - 0.93 * rise.clamp(max=1) ** 2)
    ribs = torch.sin(torch.asin((x / arch).clamp(-1, 1) * 0.98) * 30)
    knit = 0.6 * ribs * c.detail(0.06) + 0.35 * torch.sin(y * 150 + ribs * 1.2) * c.detail(0.045)
    fluff = c.noise("pores", x, y, 3) * c.detail(0.008)
    colour = dyed(f.a["hat_hue"]) * 0.92
    look = f.light.lit(colour * (1 + 0.13 * knit + 0.05 * fluff), n, 0.35, 0.30)
    body = torch.maximum((r - 1) * 0.5, f.y - rim)
    c.paint(look.clamp(0, 1), c.inside(body, 1.8) * much, Part.HAT)
    # The part that is folded up is thicker.
    band = torch.maximum(torch.maximum((r - 1.0) * 0.5 - 0.022, f.y - rim - 0.008), fold - f.y)
    across = (x / arch).clamp(-1, 1)
    band_n = normal(across * 0.96, ((f.y - (fold + rim) / 2) / 0.16).clamp(-1, 1) * 0.5)
    wide_ribs = torch.sin(torch.asin(across * 0.98) * 26)
    band_look = f.light.lit(
        colour * (1 + 0.15 * wide_ribs * c.detail(0.06) + 0.05 * fluff), band_n, 0.35, 0.30
    )
    c.shade(1 - 0.30 * ramp(f.y - fold, -0.05, -0.005) * c.inside(body) * (f.y < fold) * much)
    c.paint(band_look.clamp(0, 1), c.inside(band, 1.8) * much, Part.HAT)


def _brimmed(f: Faces, much: Tensor) -> None:
    m, c = f.m, f.canvas
    x, y = f.at(0.08)
    wide, top = m.rx + 0.05, m.top - 0.16
    base = m.hairline + 0.06
    lift = 0.35 * f.turn.y
    brim = ellipse(x, y - base - 0.10 * (x * x) + lift * 0.3, 0.98, 0.105 + 0.05 * lift.clamp(-0.1, 0.1))
    _hat_shadow(f, f.y - base - 0.07, much)
    n_brim = Normal(0.2 * x, torch.full_like(x, -0.55), torch.full_like(x, 0.8))
    felt = 1 + 0.045 * c.noise("pores", x, y, 4) * c.detail(0.008) + 0.03 * c.noise("cloud", x, y, 5)
    colour = mix(dyed(f.a["hat_hue"]), rgb(x, 0.40, 0.33, 0.25), 0.30) * 0.86
    crown_w = wide * (1.0 - 0.16 * ramp(base - y, 0.0, base - top))
    dent = 0.05 * blob(x, y * 0, 0.22, 1.0)
    crown = torch.maximum(torch.maximum(x.abs() - crown_w, top + dent + 0.35 * x * x - y), y - base)
    n = normal((x / crown_w).clamp(-1, 1) * 0.97, -0.5 * ramp(top + 0.18 - y, -0.05, 0.18))
    look = f.light.lit(colour * felt, n, 0.30, 0.28)
    c.paint(look.clamp(0, 1), c.inside(crown, 1.8) * much, Part.HAT)
    band = torch.maximum(crown, base - 0.13 - y)
    c.paint((f.light.lit(rgb(x, 0.12, 0.10, 0.09), n, 0.3)).clamp(0, 1), c.inside(band) * much)
    under = ramp(y - base, -0.02, 0.09)
    brim_look = f.light.lit(colour * felt, n_brim, 0.30, 0.30) * (1.05 - 0.45 * under)
    c.paint(brim_look.clamp(0, 1), c.inside(brim, 1.6) * much, Part.HAT)


def paint_glasses(faces: Faces) -> None:
    """Glasses, clear or dark: shadow, frame, lenses with what they mirror."""
    f = faces.part(-0.66, -0.36, 0.66, 0.26)
    worn = torch.maximum(faces.on["glasses"], faces.on["sunglasses"])
    if f is None or not bool((worn > 0).any()):
        return
    m, c, a = f.m, f.canvas, f.a
    # They lie on a plane before the eyes, and bend back at their ends.
    x, y = f.at(DEPTH * 0.88)
    for _ in range(2):
        x, y = f.at(0.0)[0] - f.turn.x * DEPTH * (0.90 - 0.5 * (x / 0.55) ** 2), y
    ax, y = x.abs(), y - EYE_Y - 0.016
    dark = f.on["sunglasses"]
    corner = 0.045 + 0.07 * a["glasses_round"]
    rx, ry = 0.172 + 0.008 * dark, 0.106 + 0.030 * a["glasses_round"] + 0.022 * dark
    lens = box(ax - m.eye_x - 0.008, y, rx, ry, corner)
    bridge = torch.maximum((y + 0.040 - 0.9 * x * x).abs() - 0.011, ax - (m.eye_x + 0.008 - rx) - 0.006)
    hidden = 0.085 * ramp(a["hair_length"], 0.34, 0.60) * (1 - f.on["baldness"])  # arms go below long hair
    ends = torch.maximum(m.eye_x + 0.008 + rx - ax, ax - m.rx + 0.012 + hidden)
    arm = torch.maximum((y + 0.055).abs() - 0.010, ends)
    thick = 0.016 + 0.010 * (1 - a["glasses_round"])
    frame = torch.minimum(torch.minimum((lens - 0.004).abs() - thick * 0.5, bridge), arm)
    # Its shadow on the skin.
    low = box(ax - m.eye_x - 0.008 - 0.0, y - 0.040, rx, ry, corner)
    skin = ramp(1.02 - f.head, 0, 0.04)
    cast = torch.exp(-((low / 0.022) ** 2)) * 0.24 + 0.30 * ramp(-low, -0.02, 0.03) * dark
    c.shade(1 - cast * worn[: len(c.image)] * skin * rgb(x, 0.85, 1.0, 1.05))
    inside = c.inside(lens)
    clear, shaded = f.on["glasses"] * (1 - dark), dark
    c.paint(rgb(x, 0.80, 0.90, 0.95).expand_as(c.image), 0.07 * inside * clear)
    tint = mix(rgb(x, 0.045, 0.045, 0.055), rgb(x, 0.26, 0.20, 0.17), 0.65 * ramp(y, -0.02, 0.13))
    c.paint(tint, inside * shaded * 0.96, Part.GLASSES)
    sky = ramp(-(y + 0.6 * (x - 0.1 * f.light.x)), 0.02, 0.10) * 0.5 + 0.2 * blob(y + 0.03, ax * 0, 0.05, 1.0)
    c.image.add_(inside * sky * (0.17 * shaded + 0.05 * clear) * rgb(x, 0.8, 0.92, 1.0))
    streak = torch.exp(-((((x * x.sign() - m.eye_x) * 0.8 + y + 0.03) / 0.020) ** 2)) * ramp(
        -lens, 0.01, 0.03
    )
    c.image.add_(streak * (0.16 * clear + 0.14 * shaded))
    metal = mix(rgb(x, 0.10, 0.075, 0.065), rgb(x, 0.36, 0.27, 0.17), ramp(a["glasses_round"], 0.55, 0.9))
    rim = metal * (0.85 + 0.55 * ramp(-y, 0.0, 0.12)) + 0.10 * blob((lens - 0.001) / 0.004, y * 0, 1.0, 1.0)
    c.paint(rim.clamp(0, 1), c.inside(frame) * torch.maximum(clear, shaded), Part.GLASSES)
    if c.labels is not None:
        c.labels.masked_fill_((inside > 0.5) & (shaded > 0.5), Part.GLASSES)


def paint_earrings(faces: Faces) -> None:
    """A ring in each lobe, with a stone."""
    px, py = faces.at(-0.04)
    f = faces.where((px.abs() < 0.8) & (py > 0.05) & (py < 0.6) & (faces.on["earrings"] > 0))
    if f is None:
        return
    m, c = f.m, f.canvas
    x, y = f.at(-0.04)
    side = x.sign()
    hidden = ramp(side * f.turn.x, 0.14, 0.24)  # the far ear is behind the cheek
    ax = x.abs() - m.rx - 0.008
    lobe = EAR_Y + 0.165 * m.ear
    ring = (torch.sqrt(ax**2 + ((y - lobe - 0.075) / 1.15) ** 2 + 1e-8) - 0.062).abs() - 0.0115
    stud = ellipse(ax, y - lobe, 0.022, 0.022)
    gold = rgb(x, 0.86, 0.66, 0.28) * (0.70 + 0.45 * torch.sin(ax * 60 + 2).abs())
    much = f.on["earrings"] * (1 - hidden)
    c.shade(1 - 0.25 * blob(ring / 0.02, y * 0, 1.0, 1.0) * (ring > 0) * much)
    c.paint(gold.clamp(0, 1), c.inside(ring) * much)
    c.paint(rgb(x, 1.0, 0.92, 0.70).expand_as(c.image), c.inside(stud) * much)
    c.paint(
        rgb(x, 1, 1, 0.96).expand_as(c.image), 0.85 * blob(ax + 0.006, y - lobe + 0.006, 0.009, 0.009) * much
    )

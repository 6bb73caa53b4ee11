"""Where things are in a face: measures that its drawing and its landmarks follow, and how a head is turned.

Frame units: [-1, 1] across the square that FFHQ's alignment cuts out, x to the right, y down, z towards the
camera. There the middle between the eyes and the middle of the mouth are 0.556 apart, or the eyes 0.5; an
adult's are both (63 and 69 mm, which makes a unit 131 mm), and the other measures follow from that.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from styleclip_cli.world.attributes import INDEX, PRESENCE, faded
from styleclip_cli.world.canvas import blob, ramp

EYE_Y = -0.055
EAR_Y = 0.03
_MIDDLE = -0.12  # height at which the head is widest
_SQUARE = 0.50  # how far a chin is flattened
DEPTH = 0.50
"""How far the middle of the face is in front of its sides."""
MOST_TURN = math.radians(20)


class Measures(NamedTuple):
    """Sizes and places in frame units, each of the shape of the amounts they come from."""

    child: Tensor
    """1 for a small child, 0 for a grown person."""
    old: Tensor
    """0 for a young person, 1 for an old one."""
    man: Tensor
    """1 for a grown man."""
    rx: Tensor
    """Half width of the head."""
    top: Tensor
    chin: Tensor
    hairline: Tensor
    jaw: Tensor
    """How much of the width is left at the corner of the jaw."""
    eye_x: Tensor
    eye_w: Tensor
    """Half width of an eye's opening."""
    lid_up: Tensor
    """How far the upper lid is above the eye's middle."""
    lid_low: Tensor
    tilt: Tensor
    iris: Tensor
    brow_y: Tensor
    brow_thick: Tensor
    nose_y: Tensor
    """Its tip."""
    nose_w: Tensor
    """Half width of its wings."""
    mouth_y: Tensor
    mouth_w: Tensor
    lip_up: Tensor
    lip_low: Tensor
    gap: Tensor
    """How far the lips are apart."""
    curve: Tensor
    """How far the corners of the mouth are raised."""
    ear: Tensor


def amounts(attributes: Tensor, *shape: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Attributes by name.

    Args:
        attributes: Shape [N, K], saturated to [0, 1].
        shape: Shape of one amount, such as (-1, 1, 1, 1).

    Returns:
        The amounts, and how far each presence is drawn (other amounts as they are).
    """
    clamped = attributes.clamp(0, 1)
    a = {name: clamped[:, i].reshape(shape) for name, i in INDEX.items()}
    return a, {name: faded(v) if PRESENCE[INDEX[name]] else v for name, v in a.items()}


def measure(a: dict[str, Tensor], on: dict[str, Tensor]) -> Measures:
    """Measures of people with these amounts, as `amounts` gives them."""
    child = 1 - ramp(a["age"], 0.04, 0.30)
    old = ((a["age"] - 0.34) / 0.62).clamp(0, 1)
    man = (1 - a["feminine"]) * (1 - child)
    woman = a["feminine"] * (1 - child)
    smile, sad, angry, surprised = on["smile"], on["sad"], on["angry"], on["surprised"]
    gap = 0.118 * torch.maximum(on["mouth_open"], 0.85 * surprised) * (1 - 0.35 * smile) + 0.030 * smile
    eye = 0.70 + 0.60 * a["eye_size"]
    mouth_y = 0.495 - 0.062 * child + 0.006 * old
    return Measures(
        child=child,
        old=old,
        man=man,
        rx=0.464 + 0.096 * a["face_width"] + 0.040 * (a["cheeks"] - 0.5) + 0.012 * man + 0.034 * child,
        top=-0.825 - 0.055 * child,
        chin=0.740 + 0.125 * a["face_length"] + 0.03 * man - 0.020 * woman - 0.160 * child + 0.5 * gap,
        hairline=-0.555 - 0.04 * a["face_length"] - 0.03 * child + 0.02 * woman,
        jaw=0.59
        + 0.25 * a["jaw"]
        + 0.06 * man
        - 0.02 * woman
        + 0.05 * child
        + 0.16 * (a["cheeks"] - 0.5)
        + 0.05 * old,
        eye_x=0.213 + 0.040 * a["eye_spacing"] + 0.006 * child,
        eye_w=0.110 + 0.030 * a["eye_size"] + 0.020 * child,
        lid_up=(0.065 + 0.024 * child + 0.007 * woman - 0.013 * old)
        * eye
        * (1 - 0.24 * a["lid_fold"])
        * (1 + 0.34 * surprised - 0.20 * angry - 0.12 * smile - 0.14 * sad),
        lid_low=(0.037 + 0.007 * child) * eye * (1 + 0.16 * surprised - 0.34 * smile - 0.25 * angry),
        tilt=0.027 * (a["eye_tilt"] * 2 - 1) + 0.006 + 0.01 * woman - 0.012 * old - 0.012 * sad,
        iris=0.0525 + 0.013 * child,
        brow_y=EYE_Y
        - 0.152
        - 0.018 * woman
        + 0.010 * man
        - 0.012 * child
        + 0.006 * old
        - 0.062 * surprised
        + 0.030 * angry
        - 0.012 * sad,
        brow_thick=(0.012 + 0.042 * a["brow_thickness"]) * (1 - 0.25 * woman - 0.25 * child + 0.15 * man),
        nose_y=0.172 + 0.085 * a["nose_length"] - 0.070 * child + 0.022 * old + 0.008 * man,
        nose_w=0.090
        + 0.075 * a["nose_width"]
        + 0.010 * man
        - 0.008 * woman
        - 0.034 * child
        + 0.014 * old
        + 0.008 * smile,
        mouth_y=mouth_y,
        mouth_w=(0.143 + 0.066 * a["mouth_width"] - 0.022 * child)
        * (1 + 0.28 * smile - 0.20 * surprised - 0.08 * angry - 0.08 * sad)
        * (1 - 0.08 * on["mouth_open"]),
        lip_up=(0.018 + 0.050 * a["lip_fullness"]) * (1 - 0.25 * old + 0.18 * woman - 0.25 * angry),
        lip_low=(0.028 + 0.060 * a["lip_fullness"]) * (1 - 0.22 * old + 0.16 * woman - 0.2 * angry),
        gap=gap,
        curve=0.050 * smile - 0.042 * sad - 0.016 * angry + 0.002,
        ear=0.78 + 0.40 * a["ears"] + 0.12 * old - 0.02 * child,
    )


def brow(m: Measures, a: dict[str, Tensor], on: dict[str, Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """Height of a brow's middle line at u, from -1 at its inner end to 1, and its half thickness there."""
    arch = 0.004 + 0.070 * a["brow_arch"] + 0.02 * on["surprised"]
    inner = 0.05 * on["angry"] - 0.052 * on["sad"]
    line = m.brow_y + arch * ((u - 0.25) ** 2 - 0.25) + 0.018 * ramp(u, 0.3, 1.0)
    line = line + inner * ramp(-u, -0.7, 1.0) - 0.2 * inner
    return line, m.brow_thick * (0.62 + 0.38 * ramp(-u, -0.9, 0.6)) * (1 - ramp(u.abs(), 0.72, 1.08) * 0.75)


def brow_place(m: Measures) -> tuple[Tensor, Tensor]:
    """Middle of a brow from left to right, and half its length."""
    return m.eye_x + 0.018, 0.148 + 0.01 * m.man - 0.02 * m.child


def lids(m: Measures, u: Tensor) -> tuple[Tensor, Tensor]:
    """Heights of the upper and lower lid at u, from -1 at an eye's inner corner to 1 at its outer one."""
    inside = (1 - u * u).clamp(min=0)
    middle = EYE_Y - m.tilt * u
    up = inside**0.72 * (1 - 0.16 * u - 0.10 * u * u)
    low = inside**0.85 * (1 + 0.18 * u)
    return middle - m.lid_up * up, middle + m.lid_low * low


class Lips(NamedTuple):
    """Heights of the mouth's four lines at some places along it."""

    top: Tensor
    inner_top: Tensor
    inner_low: Tensor
    low: Tensor


def lips(m: Measures, on: dict[str, Tensor], t: Tensor) -> Lips:
    """The mouth's lines at t, from -1 in its left corner to 1 in the right one."""
    t = t.clamp(-1, 1)
    inside = (1 - t * t).clamp(min=0)
    bend = t * t * (0.70 + 0.30 * t * t)  # flat in the middle, so that no grin is a V
    line = m.mouth_y - m.curve * (1.6 * bend - 0.60) + 0.008 * t.abs() * (1 - t.abs()) * 4 * (1 - on["smile"])
    opened = m.gap * torch.sqrt(inside + 1e-5)
    bow = 1 - 0.22 * torch.exp(-((t / 0.13) ** 2)) + 0.10 * torch.exp(-(((t.abs() - 0.27) / 0.16) ** 2))
    thin = 1 - 0.25 * on["smile"]
    upper = line - 0.38 * opened
    lower = line + 0.62 * opened
    return Lips(
        upper - m.lip_up * inside**0.8 * bow * thin,
        upper,
        lower,
        lower + m.lip_low * inside**0.62 * thin,
    )


def outline(m: Measures, x: Tensor, y: Tensor) -> Tensor:
    """Radius of places in the head, 1 on its border: a skull above, cheeks and a jaw below."""
    down = (y - _MIDDLE) / (m.chin - _MIDDLE)
    v = torch.maximum(down, (_MIDDLE - y) / (_MIDDLE - m.top))
    # The jaw narrows little down to the mouth, and then fast.
    below = down.clamp(0, 1.6)
    u, v = (x / (m.rx * (1 - (1 - m.jaw) * below * below))) ** 2, v * v
    ball = torch.sqrt(u + v + 1e-8)
    return torch.lerp(
        ball,
        torch.sqrt(torch.sqrt(u * u + v * v + 1e-10)),
        _SQUARE * (down.clamp(-0.8, 1).abs() + 0.16 * (-down).clamp(0, 0.8)),
    )


def outline_x(m: Measures, y: Tensor) -> Tensor:
    """Half width of the head at a height, by bisection."""
    low, high = torch.zeros_like(m.rx + y), torch.zeros_like(m.rx + y) + 0.8
    for _ in range(24):
        middle = (low + high) / 2
        inside = outline(m, middle, y) < 1
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


class Turn(NamedTuple):
    """How a head is turned: sines of its angles, to the right and down."""

    x: Tensor
    y: Tensor

    def depth(self, m: Measures, x: Tensor, y: Tensor) -> Tensor:
        """How far places of a face are in front of its sides, without its nose."""
        across = 1 - (x / m.rx).clamp(-1.15, 1.15) ** 2
        upright = (1 - 0.20 * (y / 0.8).clamp(0, 1.3) ** 2) * (1 - 0.85 * ramp(-y, 0.30, 0.95))
        return DEPTH * across * upright

    def nose(self, m: Measures, x: Tensor, y: Tensor) -> Tensor:
        """How far the nose is in front of the face."""
        rise = ramp(y, -0.10, m.nose_y) * ramp(-y, -(m.nose_y + 0.09), -m.nose_y)
        return 0.17 * (1 - 0.35 * m.child) * rise * blob(x, torch.zeros_like(y), m.nose_w * 0.95, 1.0)

    def forward(self, m: Measures, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Places in a face that looks ahead, [N, ...], as places before it is turned back."""
        z = self.depth(m, x, y) + self.nose(m, x, y)
        dx, dy = self.recentred(m)
        return x + self.x * z - dx, y + self.y * z - dy

    def recentred(self, m: Measures) -> tuple[Tensor, Tensor]:
        """How far the middle between eyes and mouth moves: pictures follow it, as alignment does."""
        zero = torch.zeros_like(m.rx)
        eyes, mouth = self.depth(m, m.eye_x, zero + EYE_Y), self.depth(m, zero, m.mouth_y)
        z = 0.9 * eyes + 0.1 * mouth
        return self.x * z, self.y * z

    def backward(self, m: Measures, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Inverse of `forward`, by iteration (a contraction up to 20 degrees)."""
        dx, dy = self.recentred(m)
        x, y = x + dx, y + dy
        fx, fy = x - self.x * DEPTH * 0.6, y - self.y * DEPTH * 0.6
        for step in range(5):
            z = self.depth(m, fx, fy)
            if step > 2:
                z = z + self.nose(m, fx, fy)
            fx, fy = x - self.x * z, y - self.y * z
        return fx, fy


def turn(a: dict[str, Tensor]) -> Turn:
    """How heads with these amounts are turned."""
    most = math.sin(MOST_TURN)
    return Turn((a["yaw"] * 2 - 1) * most, -(a["pitch"] * 2 - 1) * most * 0.8)


class Placing(NamedTuple):
    """How a face lies in its frame: a small turn, size and shift, each of the shape of an amount."""

    cos: Tensor
    sin: Tensor
    scale: Tensor
    x: Tensor
    y: Tensor

    def into(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the head as places in the frame."""
        return (
            self.scale * (x * self.cos - y * self.sin) + self.x,
            self.scale * (x * self.sin + y * self.cos) + self.y,
        )

    def back(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Places in the frame as places of the head."""
        x, y = (x - self.x) / self.scale, (y - self.y) / self.scale
        return x * self.cos + y * self.sin, y * self.cos - x * self.sin


def placing(a: dict[str, Tensor]) -> Placing:
    """How faces with these amounts lie in their frames: up to 6 degrees, 8 % and 6 % of the half side."""
    angle = (a["roll"] * 2 - 1) * math.radians(6)
    return Placing(
        torch.cos(angle),
        torch.sin(angle),
        1 + 0.08 * (a["scale"] * 2 - 1),
        0.06 * (a["shift_x"] * 2 - 1),
        0.06 * (a["shift_y"] * 2 - 1),
    )

"""Where things are in a toy face: the measures that its drawing follows.

They are in drawing units (x to the right from the middle, y down); a picture shows ZOOM of them to each side.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from styleclip_cli.toyworld.attributes import INDEX

ZOOM = 0.76  # half the side of the picture, in drawing units
DROP = 0.035  # the picture's middle lies this far below the origin
HEAD_Y = 0.06  # the head's middle
EYE_Y = HEAD_Y - 0.05
JAW = 0.20  # how much narrower the head gets toward the chin
BROW = 0.092  # half a brow's length; its line is BROW_BEND e^2 - BROW_TILT e, with e outward from the eye
BROW_BEND, BROW_TILT = 1.7, 0.16
NOSE_TIP = (0.012, 0.036)  # what the tip's half width adds to the nose's, and its half height
EYE_WHITE = (1.20, 0.76)  # half axes of the white, in radii of the eye
LOWER_LIP = 1.25  # its thickness, in those of the upper lip


class Measures(NamedTuple):
    """Sizes and places in drawing units, each of the shape of the amounts they come from."""

    rx: Tensor
    """Half width of the head."""
    ry: Tensor
    """Half height of the head."""
    eye_x: Tensor
    eye_r: Tensor
    nose_w: Tensor
    nose_y: Tensor
    mouth_y: Tensor
    mouth_w: Tensor
    smile: Tensor
    """From -1, a frown, to 1."""
    brow_y: Tensor


class Lips(NamedTuple):
    """Heights of the mouth's lines at some places along it, in drawing units."""

    bend: Tensor
    """The line along which a closed mouth's lips meet."""
    opening: Tensor
    upper: Tensor
    """Inner border of the upper lip."""
    lower: Tensor
    """Inner border of the lower lip."""
    thick: Tensor
    taper: Tensor
    """Factor of the lips' thickness: 1 in the middle, almost 0 in the corners."""


def ramp(x: Tensor, start: float, end: float) -> Tensor:
    """0 before start, 1 after end, smooth between."""
    t = ((x - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def amounts(attributes: Tensor, *shape: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Attributes by name.

    Args:
        attributes: Shape [N, 32], saturated to [0, 1].
        shape: Shape of one amount, such as (-1, 1, 1, 1).

    Returns:
        The amounts, and how far each is drawn if it is a presence: that fades in between 0.25 and 0.75, so
        that small measuring errors do not draw ghosts.
    """
    clamped = attributes.clamp(0, 1)
    a = {name: clamped[:, i].view(shape) for name, i in INDEX.items()}
    return a, {name: ramp(value, 0.25, 0.75) for name, value in a.items()}


def measure(a: dict[str, Tensor]) -> Measures:
    """Measures of faces with these amounts."""
    ry = 0.43 + 0.11 * a["face_height"]
    eye_r = 0.052 + 0.036 * a["eye_size"]
    return Measures(
        rx=0.335 + 0.11 * a["face_width"],
        ry=ry,
        eye_x=0.125 + 0.055 * a["eye_spacing"],
        eye_r=eye_r,
        nose_w=0.030 + 0.062 * a["nose_width"],
        nose_y=HEAD_Y + 0.42 * ry - 0.06,
        mouth_y=HEAD_Y + 0.60 * ry,
        mouth_w=0.095 + 0.085 * a["mouth_width"],
        smile=a["smile"] * 2 - 1,
        brow_y=EYE_Y - eye_r - 0.055,
    )


def lips(m: Measures, on: dict[str, Tensor], t: Tensor) -> Lips:
    """The mouth's lines at t, from -1 in the left corner to 1 in the right one."""
    bend = m.mouth_y - m.smile * 0.078 * (t * t - 0.35)
    opening = on["mouth_open"] * 0.062 * (1 - t * t)
    taper = torch.sqrt((1 - t * t).clamp(min=0) + 1e-4)
    thick = 0.026 + 0.006 * on["lipstick"]
    return Lips(bend, opening, bend - opening * 0.55, bend + opening, thick, taper)

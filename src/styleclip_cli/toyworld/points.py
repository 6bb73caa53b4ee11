"""The 68 points of toy faces, in frame units: [-1, 1] across the picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from styleclip_cli.toyworld.measures import (
    BROW,
    BROW_BEND,
    BROW_TILT,
    DROP,
    EYE_WHITE,
    EYE_Y,
    HEAD_Y,
    JAW,
    LOWER_LIP,
    NOSE_TIP,
    ZOOM,
    amounts,
    lips,
    measure,
)


def landmarks(attributes: Tensor) -> Tensor:
    """The 68 points of faces, where the renderer draws what they stand for.

    In iBUG's order: jaw 0-16 along the head's outline, brows 17-26 along their middle, ridge of the nose
    27-30 and its lower border 31-35, eyes 36-41 and 42-47 around their whites, outer border of the lips
    48-59, inner border 60-67. Left is the picture's.

    Args:
        attributes: Shape [N, 32], saturated to [0, 1].

    Returns:
        Points (x, y), shape [N, 68, 2], in frame units: [-1, 1] across the picture.
    """
    a, on = amounts(attributes, -1, 1)
    m = measure(a)

    def row(*values: float) -> Tensor:
        return attributes.new_tensor(values)[None]

    def points(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack(torch.broadcast_tensors(x, y), dim=-1)

    def turned(*degrees: float) -> tuple[Tensor, Tensor]:
        angles = [math.radians(d) for d in degrees]
        return row(*map(math.cos, angles)), row(*map(math.sin, angles))

    cos, sin = turned(*(180 - 180 * i / 16 for i in range(17)))
    jaw = points(m.rx * cos * (1 - JAW * sin * sin), HEAD_Y + m.ry * sin)

    outward = row(*(BROW * (1 - i / 2) for i in range(5)))
    brow_y = m.brow_y + BROW_BEND * outward * outward - BROW_TILT * outward
    brows = points(-m.eye_x - outward, brow_y), points(m.eye_x + outward, brow_y).flip(1)

    ridge = points(row(0.0), EYE_Y + (m.nose_y - EYE_Y) * row(0.0, 1 / 3, 2 / 3, 1.0))
    cos, sin = turned(150, 120, 90, 60, 30)
    nostrils = points((m.nose_w + NOSE_TIP[0]) * cos, m.nose_y + NOSE_TIP[1] * sin)

    cos, sin = turned(180, 240, 300, 0, 60, 120)
    white_x, white_y = EYE_WHITE[0] * m.eye_r * cos, EYE_Y + EYE_WHITE[1] * m.eye_r * sin
    eyes = points(-m.eye_x + white_x, white_y), points(m.eye_x + white_x, white_y)

    t = row(-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1)
    at = lips(m, on, t)
    top = points(t * m.mouth_w, at.upper - at.thick * at.taper)
    bottom = points(t * m.mouth_w, at.lower + at.thick * LOWER_LIP * at.taper)[:, 1:-1].flip(1)
    t = row(-0.86, -0.45, 0, 0.45, 0.86)
    at = lips(m, on, t)
    inner_top = points(t * m.mouth_w, at.upper)
    inner_bottom = points(t * m.mouth_w, at.lower)[:, 1:-1].flip(1)

    parts = (jaw, *brows, ridge, nostrils, *eyes, top, bottom, inner_top, inner_bottom)
    return (torch.cat(parts, dim=1) - attributes.new_tensor([0.0, DROP])) / ZOOM

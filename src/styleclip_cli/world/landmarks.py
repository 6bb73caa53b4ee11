"""The 68 points of people, from the truth, in frame units: [-1, 1] across the picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from styleclip_cli.world.geometry import (
    EYE_Y,
    Measures,
    amounts,
    brow,
    brow_place,
    lids,
    lips,
    measure,
    outline,
    placing,
    turn,
)

_JAW_CENTRE = 0.0


def landmarks(attributes: Tensor) -> Tensor:
    """The 68 points of faces, where the renderer draws what they stand for, turned as the heads are.

    In iBUG's order: jaw 0-16 along the head's outline, brows 17-26 along their middle, ridge of the nose
    27-30 and its lower border 31-35, eyes 36-41 and 42-47 along their lids, outer border of the lips 48-59,
    inner border 60-67. Left is the picture's. FFHQ's alignment of these points gives back the frame, but for
    what `roll`, `scale` and `shift` add, for spread faces, and for expressions, which move the mouth.

    Args:
        attributes: Shape [N, K], saturated to [0, 1].

    Returns:
        Points (x, y), shape [N, 68, 2], in frame units: [-1, 1] across the picture.
    """
    a, on = amounts(attributes, -1, 1)
    m = measure(a, on)
    x, y = torch.cat([_jaw(m), *_brows(m, a, on), *_nose(m), *_eyes(m), *_mouth(m, on)], dim=1).unbind(-1)
    return torch.stack(placing(a).into(*turn(a).forward(m, x, y)), dim=-1)


def _row(like: Tensor, *values: float) -> Tensor:
    return like.new_tensor(values)[None]


def _points(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(x, y), dim=-1)


def _both(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Points of the left side from those of the right, [N, P] each."""
    return _points(-x, y), _points(x, y)


def _jaw(m: Measures) -> Tensor:
    """Along the outline, at equal angles from the middle of the head, by bisection."""
    angles = [math.pi * (1 - i / 16) for i in range(17)]
    cos, sin = _row(m.rx, *map(math.cos, angles)), _row(m.rx, *map(math.sin, angles))
    low, high = torch.zeros_like(m.rx + cos), torch.zeros_like(m.rx + cos) + 2
    for _ in range(30):
        middle = (low + high) / 2
        inside = outline(m, middle * cos, _JAW_CENTRE + middle * sin) < 1
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return _points(low * cos, _JAW_CENTRE + low * sin)


def _brows(m: Measures, a: dict[str, Tensor], on: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    u = _row(m.rx, -0.9, -0.45, 0.0, 0.45, 0.9)
    middle, half = brow_place(m)
    left, right = _both(middle + half * u, brow(m, a, on, u)[0])
    return left.flip(1), right


def _nose(m: Measures) -> tuple[Tensor, Tensor]:
    top = EYE_Y - 0.02
    ridge = _points(torch.zeros_like(m.rx), top + (m.nose_y - top) * _row(m.rx, 0.0, 1 / 3, 2 / 3, 1.0))
    low = _points(
        m.nose_w * _row(m.rx, -0.8, -0.4, 0, 0.4, 0.8),
        m.nose_y + _row(m.rx, 0.062, 0.075, 0.082, 0.075, 0.062),
    )
    return ridge, low


def _eyes(m: Measures) -> tuple[Tensor, Tensor]:
    """Outer corner, upper lid, inner corner, lower lid for the left eye; the right one begins inside."""
    u = _row(m.rx, 1.0, 0.36, -0.36, -1.0, -0.36, 0.36)
    up, low = lids(m, u)
    y = torch.cat([up[:, :4], low[:, 4:]], dim=1)
    left, right = _both(m.eye_x + m.eye_w * u, y)
    return left, right[:, [3, 2, 1, 0, 5, 4]]


def _mouth(m: Measures, on: dict[str, Tensor]) -> tuple[Tensor, ...]:
    t = _row(m.rx, -1, -0.6, -0.27, 0, 0.27, 0.6, 1)
    at = lips(m, on, t)
    top, low = _points(t * m.mouth_w, at.top), _points(t * m.mouth_w, at.low)[:, 1:-1].flip(1)
    t = _row(m.rx, -0.86, -0.4, 0, 0.4, 0.86)
    at = lips(m, on, t)
    inner_top = _points(t * m.mouth_w, at.inner_top)
    return top, low, inner_top, _points(t * m.mouth_w, at.inner_low)[:, 1:-1].flip(1)

"""One batch of faces while it is drawn: what every part of the drawing needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.world.canvas import Canvas, Light, mix
from styleclip_cli.world.geometry import Measures, Turn, outline


class Part(IntEnum):
    """Classes of the parsing map."""

    BACKGROUND = 0
    SKIN = 1
    HAIR = 2
    BROWS = 3
    EYES = 4
    NOSE = 5
    LIPS = 6
    MOUTH = 7
    """What is between the lips."""
    GLASSES = 8
    HAT = 9
    EARS = 10
    NECK = 11
    CLOTHES = 12


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces on a canvas.

    Attributes:
        canvas: What they are painted on.
        a: Amounts, [N, 1, 1, 1] each.
        on: How far presences are drawn.
        m: Measures.
        turn: How the heads are turned.
        light: Where light comes from.
        x: Places on the face, as it would be seen from ahead, [N, 1, H, W].
        y: The same, downwards.
    """

    canvas: Canvas
    a: dict[str, Tensor]
    on: dict[str, Tensor]
    m: Measures
    turn: Turn
    light: Light
    x: Tensor
    y: Tensor

    @property
    def skin(self) -> Tensor:
        """Colour of the skin, [N, 3, 1, 1]."""
        from styleclip_cli.world.skin import skin_colour

        return skin_colour(self.a)

    @cached_property
    def head(self) -> Tensor:
        """Radius of places in the head, 1 on its border."""
        return outline(self.m, self.x, self.y)

    def part(self, left: float, top: float, right: float, bottom: float) -> Faces | None:
        """The rows and columns that contain a box in face coordinates; None if there are none."""
        inside = (self.x > left) & (self.x < right) & (self.y > top) & (self.y < bottom)
        return self.where(inside)

    def where(self, inside: Tensor) -> Faces | None:
        """The rows and columns in which a mask [N, 1, H, W] holds anywhere; None if there are none."""
        canvas, area = self.canvas.where(inside)
        if canvas is None:
            return None
        part = replace(self, canvas=canvas, x=self.x[area], y=self.y[area])
        if "head" in vars(self):  # known already
            vars(part)["head"] = self.head[area]
        return part

    def halved(self) -> Faces | None:
        """The same on every second pixel, for what changes slowly; None if there are too few to leave out."""
        c, (height, width) = self.canvas, self.x.shape[-2:]
        if float(c.pixel.max()) > 0.012 or min(height, width) < 16:
            return None
        size = ((height + 1) // 2, (width + 1) // 2)
        x, y, cx, cy = (
            F.interpolate(v, size=size, mode="area")
            for v in (self.x, self.y, c.x.expand_as(self.x), c.y.expand_as(self.x))
        )
        return replace(self, canvas=replace(c, x=cx, y=cy, pixel=c.pixel * 2, labels=None), x=x, y=y)

    def stretched(self, fields: Tensor, mode: str = "bilinear") -> Tensor:
        """Fields [N, C, H, W] of `halved` faces at each pixel."""
        return F.interpolate(fields, size=self.x.shape[-2:], mode=mode)

    def at(self, z: float) -> tuple[Tensor, Tensor]:
        """Places on a plane at this depth, as the head is turned; 0 is that of its sides."""
        dx, dy = self.turn.recentred(self.m)
        c = self.canvas
        return c.x + dx - self.turn.x * z, c.y + dy - self.turn.y * z


def hair_colour(a: dict[str, Tensor], on: dict[str, Tensor]) -> Tensor:
    """Colour of the hair, [N, 3, 1, 1]."""
    from styleclip_cli.world.canvas import along

    natural = along(
        a["hair_light"],
        [
            (0.11, 0.09, 0.09),
            (0.25, 0.165, 0.115),
            (0.43, 0.285, 0.18),
            (0.66, 0.49, 0.30),
            (0.88, 0.74, 0.52),
        ],
    )
    red = mix(along(a["hair_light"] * 0, [(0.56, 0.22, 0.09)] * 2), natural, 0.12)
    natural = mix(natural, red, on["hair_red"])
    grey = along(a["hair_light"], [(0.60, 0.60, 0.61), (0.86, 0.85, 0.83)])
    natural = mix(natural, grey, on["hair_grey"])
    dye = along(
        a["hair_hue"],
        [(0.93, 0.38, 0.62), (0.52, 0.20, 0.70), (0.16, 0.28, 0.78), (0.10, 0.58, 0.66), (0.16, 0.62, 0.26)],
    )
    return mix(natural, dye, torch.as_tensor(on["hair_dye"]))

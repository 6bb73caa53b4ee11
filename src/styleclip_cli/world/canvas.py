"""What pictures are painted on, and the small mathematics of painting: masks, blobs, colours, light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.world.tiles import read


@dataclass(frozen=True, eq=False)
class Canvas:
    """Pictures that are being painted, or a part of them.

    Attributes:
        x: Where each pixel is, from left to right, before the head is turned; [N, 1, H, W], in frame units.
        y: The same, downwards.
        pixel: Distance of pixels, [N, 1, 1, 1].
        image: RGB in [0, 1], [N, 3, H, W]; painted in place.
        labels: Which part of the person is on top, [N, 1, H, W], or None if nobody asks.
        texture: Numbers that place strands, pores and so on, [N, 8].
    """

    x: Tensor
    y: Tensor
    pixel: Tensor
    image: Tensor
    labels: Tensor | None
    texture: Tensor

    def where(self, inside: Tensor) -> tuple[Canvas | None, tuple[Any, ...]]:
        """The rows and columns in which a mask [N, 1, H, W] holds anywhere, if any, and which they are."""
        covered = inside.any(dim=0)[0]
        rows, columns = covered.any(dim=1).nonzero(), covered.any(dim=0).nonzero()
        if not len(rows):
            return None, ()
        # From an even row and column, two at least: what is computed on every second pixel stays in place.
        top = min(int(rows[0]), len(covered) - 2) // 2 * 2
        left = min(int(columns[0]), covered.shape[1] - 2) // 2 * 2
        bottom, right = max(int(rows[-1]), top + 1) // 2 * 2 + 2, max(int(columns[-1]), left + 1) // 2 * 2 + 2
        area = (..., slice(top, bottom), slice(left, right))
        labels = None if self.labels is None else self.labels[area]
        return replace(self, x=self.x[area], y=self.y[area], image=self.image[area], labels=labels), area

    def paint(self, colour: Tensor, mask: Tensor, part: int | None = None) -> None:
        """Paint a colour [N, 3, H, W] where a mask [N, 1, H, W] says, as a part of the parsing map."""
        self.image.lerp_(colour.expand_as(self.image), mask.clamp(0, 1).expand_as(self.image))
        if self.labels is not None and part is not None:
            self.labels.masked_fill_((mask > 0.5).expand_as(self.labels), part)

    def shade(self, factor: Tensor) -> None:
        """Multiply what is painted, by [N, 1 or 3, H, W]."""
        self.image.mul_(factor)

    def inside(self, distance: Tensor, soft: float = 1.3) -> Tensor:
        """Share of each pixel in a shape, from distances that are negative inside it.

        Args:
            distance: In frame units.
            soft: Width of the border in pixels.
        """
        return (0.5 - distance / (self.pixel * soft)).clamp(0, 1)

    def detail(self, period: float) -> Tensor:
        """How far texture of this period, in frame units, can be drawn with these pixels: 0 to 1."""
        return (period / self.pixel / 2.2 - 0.6).clamp(0, 1)

    def noise(self, kind: str, u: Tensor, v: Tensor, number: int) -> Tensor:
        """Noise at places [N, 1, H, W] in a tile, moved by a number of the texture; see `tiles.read`."""
        move = self.texture[:, number % self.texture.shape[1], None, None, None]
        return read(kind, u + 0.19 * move + 0.13 * number, v + 0.23 * move)


def ramp(x: Tensor, start: Tensor | float, end: Tensor | float) -> Tensor:
    """0 before start, 1 after end, smooth between; end may be the smaller one."""
    if isinstance(start, Tensor) or isinstance(end, Tensor):
        t = ((x - start) / (end - start)).clamp(0, 1)
    else:
        t = (x * (1 / (end - start)) - start / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """A where t is 0, b where it is 1."""
    return a + (b - a) * t


def blob(x: Tensor, y: Tensor, sx: Tensor | float, sy: Tensor | float) -> Tensor:
    """A bell of height 1 about the origin, with these widths."""
    u, v = x / sx, y / sy
    return torch.addcmul(u * u, v, v).neg().exp()


def ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Distance to an ellipse about the origin, negative inside, exact on its border to first order."""
    u, v = x / rx, y / ry
    k = torch.sqrt(u * u + v * v + 1e-8)
    return k * (k - 1) / torch.sqrt((u / rx) ** 2 + (v / ry) ** 2 + 1e-8)


def box(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float, corner: Tensor | float) -> Tensor:
    """Distance to a rounded rectangle about the origin, negative inside."""
    qx, qy = x.abs() - rx + corner, y.abs() - ry + corner
    outside = torch.sqrt(qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2 + 1e-10)
    return outside + torch.maximum(qx, qy).clamp(max=0) - corner


def rgb(like: Tensor, *values: float) -> Tensor:
    """A colour, [1, 3, 1, 1]."""
    return like.new_tensor(values).view(1, 3, 1, 1)


def along(t: Tensor, stops: Sequence[tuple[float, ...]]) -> Tensor:
    """Colour at t, from 0 to 1, on a path through colours at equal steps: [N, 1, ...] -> [N, 3, ...]."""
    last = len(stops) - 1
    colour = rgb(t, *stops[0])
    for i in range(last):
        step = (t * last - i).clamp(0, 1)
        colour = colour + (rgb(t, *stops[i + 1]) - rgb(t, *stops[i])) * step
    return colour


class Light:
    """Where light comes from: a soft lamp and the sky.

    Attributes:
        x: Direction to the lamp, each [N, 1, 1, 1]: to the right.
        y: Downwards.
        z: Towards the camera.
        colour: Of the lamp, [N, 3, 1, 1].
    """

    def __init__(self, a: dict[str, Tensor]) -> None:
        x, y = (a["light"] * 2 - 1) * 0.85, -0.12 - 0.62 * a["light_height"]
        length = torch.sqrt(x * x + y * y + 0.55)
        self.x, self.y, self.z = x / length, y / length, 0.7416 / length
        self.colour = mix(rgb(x, 0.91, 0.98, 1.10), rgb(x, 1.10, 0.99, 0.84), a["light_warm"])
        self.sky = mix(rgb(x, 0.98, 1.0, 1.03), rgb(x, 1.03, 1.0, 0.95), a["light_warm"])

    def lambert(self, n: Normal, wrap: float = 0.25) -> Tensor:
        """Light that falls on a surface, [N, 1, H, W]; it wraps around soft things."""
        return ((n.x * self.x + n.y * self.y + n.z * self.z + wrap) / (1 + wrap)).clamp(min=0)

    def glint(self, n: Normal) -> Tensor:
        """Light that a glossy surface reflects to the camera (Blinn, power 24)."""
        z = self.z + 1
        length = torch.sqrt(self.x**2 + self.y**2 + z * z)
        dot = ((n.x * self.x + n.y * self.y + n.z * z) / length).clamp(min=0)
        power = (dot * dot * dot).square().square()  # 12
        return power * power

    def lit(self, albedo: Tensor, n: Normal, wrap: float = 0.3, ambient: float = 0.34) -> Tensor:
        """Colour of a matte thing in this light, [N, 3, H, W]: albedo and result as displayed, in [0, 1]."""
        fall = self.lambert(n, wrap) + ambient * (1 - 0.30 * n.y)
        return albedo * torch.sqrt(self.colour) * torch.sqrt((fall * 1.02).clamp(min=1e-4))


class Normal(NamedTuple):
    """Direction of a surface, each [N, 1, H, W]."""

    x: Tensor
    y: Tensor
    z: Tensor


def normal(x: Tensor, y: Tensor) -> Normal:
    """Normal of a ball at places in [-1, 1] on it; flat beyond its border."""
    r = torch.sqrt(x * x + y * y + 1e-8)
    shrink = r.clamp(max=0.97) / r
    x, y = x * shrink, y * shrink
    return Normal(x, y, torch.sqrt((1 - x * x - y * y).clamp(min=1e-4)))


def slope(height: Tensor, x: Tensor, y: Tensor) -> Normal:
    """Normal of a relief [N, 1, H, W] over the picture, by differences of neighbours.

    Args:
        height: Towards the camera.
        x: Where the pixels are; they are spaced evenly, but may be turned.
        y: The same, downwards.
    """

    def differences(v: Tensor) -> tuple[Tensor, Tensor]:
        wide = F.pad(v, (1, 1, 1, 1), mode="replicate")
        du = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]
        dv = wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
        du[..., [0, -1]] *= 2  # one neighbour only
        dv[..., [0, -1], :] *= 2
        return du, dv

    h, w = height.shape[-2:]
    middle = (..., slice(h // 2, h // 2 + 1), slice(w // 2, w // 2 + 1))
    before = (..., slice(h // 2 - 1, h // 2), slice(w // 2 - 1, w // 2))
    across = (..., middle[1], before[2])
    down = (..., before[1], middle[2])
    xu, yu = x[middle] - x[across], y[middle] - y[across]
    xv, yv = x[middle] - x[down], y[middle] - y[down]
    du, dv = differences(height)
    scale = 0.5 / (xu * yv - xv * yu)
    dx, dy = (du * yv - dv * yu) * scale, (dv * xu - du * xv) * scale
    length = torch.sqrt(dx * dx + dy * dy + 1)
    return Normal(-dx / length, -dy / length, 1 / length)

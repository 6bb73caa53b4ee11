"""What photos of all worlds share: frames in them, and what is behind the faces."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


class Photo(Protocol):
    """What a backdrop fills: a size in pixels, and a seed."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def backdrop(self) -> int:
        """Seed of what is behind the faces."""


def square(centre: NDArray[np.float64], side: float, roll: float) -> NDArray[np.float64]:
    """Corners NW, SW, SE, NE, shape [4, 2], of a square turned clockwise by `roll` degrees."""
    angle = math.radians(roll)
    right = np.array([math.cos(angle), math.sin(angle)]) * side / 2
    down = np.array([-right[1], right[0]])
    return centre + np.stack([-right - down, down - right, right + down, right - down])


def in_frame(where: Tensor, frame: NDArray[np.float64]) -> Tensor:
    """Places of the photo [..., 2], in pixels, as places in a face's frame, [-1, 1] across it."""
    centre, right, down = axes(frame)
    turn = torch.from_numpy(np.stack([right, down], axis=1) / (right @ right)).to(where.dtype)
    return (where - torch.from_numpy(centre).to(where.dtype)) @ turn


def axes(frame: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Middle of a square, and from there to the middles of its right and lower sides; each [2]."""
    return frame.mean(axis=0), (frame[3] - frame[0]) / 2, (frame[1] - frame[0]) / 2


_FAMILIAR = ((0.95, 0.8, 0.7), (0.8, 0.6, 0.45), (0.4, 0.25, 0.17), (0.1, 0.08, 0.08), (0.9, 0.7, 0.3))


def backdrop(scene: Photo, where: Tensor) -> Tensor:
    """Gradients, shapes, stripes, blurred blobs and noise; places [H, W, 2] -> [3, H, W] in [-1, 1]."""
    rng = np.random.default_rng(scene.backdrop)
    short = min(scene.width, scene.height)
    place = (where - torch.tensor([scene.width, scene.height]) / 2) / short
    pixel = float((where[:, 1:] - where[:, :-1]).norm(dim=-1).mean()) / short
    size = np.array([scene.width, scene.height]) / short

    def colour() -> Tensor:
        if rng.random() < 0.3:  # skin, hair and cloth are everywhere, not only where faces are
            values = np.array(_FAMILIAR[int(rng.integers(len(_FAMILIAR)))]) * rng.uniform(0.8, 1.1)
        else:
            values = rng.uniform(0, 1, 3)
        return torch.tensor(values, dtype=torch.float32).view(3, 1, 1)

    def turned(away: float = 1.0) -> tuple[Tensor, Tensor]:
        """Coordinates about a random place, along random axes."""
        angle, middle = rng.uniform(0, math.pi), torch.tensor(rng.uniform(-size / 2, size / 2) * away)
        x, y = (place - middle.float()).unbind(-1)
        cos, sin = math.cos(angle), math.sin(angle)
        return x * cos + y * sin, y * cos - x * sin

    def inside(distance: Tensor) -> Tensor:
        return (0.5 - distance / (1.4 * pixel)).clamp(0, 1)

    x, _ = turned(0.5)
    image = torch.lerp(colour(), colour(), (x / rng.uniform(0.5, 2) + 0.5).clamp(0, 1))
    for _ in range(int(rng.integers(3, 16))):
        x, y = turned()
        a, b = np.exp(rng.uniform(math.log(0.02), math.log(0.5), 2))
        kind = rng.choice(("ellipse", "box", "lure", "stripes", "blob"))
        if kind in ("ellipse", "lure"):
            mask = inside(((x / a) ** 2 + (y / b) ** 2).sqrt().sub(1) * min(a, b))
        elif kind == "box":
            mask = inside(torch.maximum(x.abs() - a, y.abs() - b))
        elif kind == "stripes":
            waves = (torch.sin(x / a * rng.uniform(6, 30)) * 4).clamp(-0.5, 0.5) + 0.5
            mask = waves * inside(torch.maximum(x.abs() - a, y.abs() - b))
        else:
            mask = torch.exp(-((x / a) ** 2) - (y / b) ** 2)
        image = torch.lerp(image, colour(), mask * rng.uniform(0.5, 1))
        if kind == "lure":  # two dots and a bar in an ellipse: what eyes and mouths look like from far
            dots = ((x.abs() - a * 0.4) ** 2 + (y + b * 0.1) ** 2).sqrt() - min(a, b) * rng.uniform(0.08, 0.2)
            bar = torch.maximum(x.abs() - a * 0.4, (y - b * 0.5).abs() - b * 0.08)
            image = torch.lerp(image, colour(), inside(torch.minimum(dots, bar)))
    cells = rng.standard_normal((1, 3, *rng.integers(4, 60, 2))).astype(np.float32)
    cloudy = F.grid_sample(
        torch.from_numpy(cells), place[None] * 1.3, padding_mode="reflection", align_corners=False
    )
    image = image + cloudy[0] * rng.uniform(0, 0.12)
    grain = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32))
    return (image + grain * float(rng.uniform(0, 0.05))).clamp(0, 1) * 2 - 1

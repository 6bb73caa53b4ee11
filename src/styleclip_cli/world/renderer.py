"""Draw people of the world: attributes -> picture, batched, by distances and reliefs in plain torch.

Layers are painted back to front on a `canvas.Canvas`. A picture is a function of the attributes and of the
texture, eight numbers that place strands, pores, folds and lights; both are continuous.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from styleclip_cli.world.attributes import COUNT, TEXTURES
from styleclip_cli.world.background import background
from styleclip_cli.world.body import paint_body, paint_ears
from styleclip_cli.world.canvas import Canvas, Light
from styleclip_cli.world.eyes import paint_brows, paint_eyes
from styleclip_cli.world.geometry import Measures, Turn, amounts, measure, placing, turn
from styleclip_cli.world.hair import hair_measures, paint_back_hair, paint_beard, paint_front_hair
from styleclip_cli.world.mouth import paint_mouth
from styleclip_cli.world.scene import Faces
from styleclip_cli.world.skin import paint_head
from styleclip_cli.world.worn import paint_earrings, paint_glasses, paint_hat


def render(
    attributes: Tensor,
    resolution: int = 256,
    *,
    texture: Tensor | None = None,
    grid: Tensor | None = None,
    backdrop: Tensor | None = None,
) -> Tensor:
    """Draw people.

    Args:
        attributes: Shape [N, K] in the order of `attributes.ATTRIBUTES`; saturated to [0, 1].
        resolution: Side of the square picture in pixels, any; not used with a grid.
        texture: About normal numbers, shape [N, 8]; None is all zeros.
        grid: Where to draw instead of the whole picture, shape [N, H, W, 2], H and W at least 2: the place
            (x, y) of each pixel in the face's frame, [-1, 1] across the usual picture and going on beyond.
            Evenly spaced, turned or not.
        backdrop: What is behind the people instead of their background, shape [N, 3, H, W] in [-1, 1].

    Returns:
        Pictures, shape [N, 3, resolution, resolution] (or as the grid), RGB in [-1, 1].

    Raises:
        ValueError: The attributes have the wrong shape.
    """
    return draw(attributes, resolution, texture, grid, backdrop, labels=False)[0]


def draw(
    attributes: Tensor,
    resolution: int,
    texture: Tensor | None,
    grid: Tensor | None,
    backdrop: Tensor | None,
    *,
    labels: bool,
) -> tuple[Tensor, Tensor | None]:
    """Pictures as `render` gives them, and the parts on top, shape [N, H, W], if `labels`."""
    if attributes.ndim != 2 or attributes.shape[1] != COUNT:
        raise ValueError(f"attributes: expected [N, {COUNT}], got {list(attributes.shape)}")
    a, on = amounts(attributes, -1, 1, 1, 1)
    if grid is None:
        centres = (torch.arange(resolution).to(attributes) + 0.5) / resolution * 2 - 1
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)[None]
    place = placing(a)
    x, y = place.back(grid[:, None, ..., 0], grid[:, None, ..., 1])
    steps = (grid[:, :, 1:] - grid[:, :, :-1]).norm(dim=-1)
    if texture is None:
        texture = attributes.new_zeros(len(attributes), TEXTURES)
    shape = (len(attributes), 3, *x.shape[2:])
    canvas = Canvas(
        x=x,
        y=y,
        pixel=steps.mean(dim=(1, 2)).view(-1, 1, 1, 1) / place.scale,
        image=attributes.new_zeros(shape),
        labels=torch.zeros_like(x, dtype=torch.uint8) if labels else None,
        texture=texture.to(attributes),
    )
    if backdrop is None:
        canvas.image.copy_(background(canvas, a))
    else:
        canvas.image.copy_((backdrop + 1) / 2)
    m = measure(a, on)
    turned = turn(a)
    _paint(Faces(canvas, a, on, m, turned, Light(a), *_ahead(turned, m, x, y)))
    parts = None if canvas.labels is None else canvas.labels[:, 0]
    return canvas.image.clamp(0, 1) * 2 - 1, parts


def _ahead(turned: Turn, m: Measures, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Places of faces as they would be seen from ahead: found on every second pixel, if there are enough."""
    size = x.shape[-2:]
    if min(size) < 160:
        return turned.backward(m, x, y)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    cx, cy = F.interpolate(x, size=half, mode="area"), F.interpolate(y, size=half, mode="area")
    fx, fy = turned.backward(m, cx, cy)
    moved = F.interpolate(torch.cat([fx - cx, fy - cy], dim=1), size=size, mode="bilinear")
    return x + moved[:, :1], y + moved[:, 1:]


def _paint(f: Faces) -> None:
    """All of a person, back to front."""
    h = hair_measures(f)
    paint_back_hair(f, h)
    paint_ears(f)
    paint_body(f)
    paint_head(f)
    paint_mouth(f)
    paint_eyes(f)
    paint_brows(f)
    paint_beard(f, h)
    paint_front_hair(f, h)
    paint_earrings(f)
    paint_glasses(f)
    paint_hat(f)


def render_all(attributes: Tensor, texture: Tensor | None = None, batch: int = 8) -> Tensor:
    """Draw any number of people, a few at once so that memory stays bounded; as `render` otherwise."""
    texture = attributes.new_zeros(len(attributes), TEXTURES) if texture is None else texture
    parts = zip(attributes.split(batch), texture.split(batch), strict=True)
    return torch.cat([render(people, texture=numbers) for people, numbers in parts])

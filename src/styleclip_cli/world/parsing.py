"""Which part of a person each pixel shows: a parsing map from the layers that the renderer paints."""

from __future__ import annotations

from torch import Tensor

from styleclip_cli.world.renderer import draw
from styleclip_cli.world.scene import Part

CLASSES: tuple[str, ...] = tuple(part.name.lower() for part in Part)


def parse(
    attributes: Tensor, resolution: int = 256, *, texture: Tensor | None = None, grid: Tensor | None = None
) -> Tensor:
    """The part on top at each pixel; borders are where it covers half a pixel.

    Args:
        attributes: Shape [N, K].
        resolution: Side of the square map; not used with a grid.
        texture: As `renderer.render` takes it: it moves the borders of hair.
        grid: As `renderer.render` takes it.

    Returns:
        Shape [N, resolution, resolution] (or as the grid), uint8, a number of `CLASSES`.
    """
    parts = draw(attributes, resolution, texture, grid, None, labels=True)[1]
    assert parts is not None
    return parts

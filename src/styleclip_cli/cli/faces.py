"""Get the latent of one input, whatever kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.cli.inputs import Item
from styleclip_cli.cli.report import Reporter

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.engine import Engine


def open_face(item: Item, resolution: int) -> Tensor | None:
    """Decode an item's image, before any network is loaded.

    Args:
        item: A seed, a row of a latent file, or an image.
        resolution: Side of the result in pixels.

    Returns:
        The picture [1, 3, resolution, resolution] in [-1, 1]; None if the item is no image.

    Raises:
        BadInputError: If the file cannot be used.
    """
    if item.path is None or item.row is not None:
        return None
    from styleclip_cli.photo import read_image, to_tensor

    return to_tensor(read_image(item.path), resolution)


def note_alignment(engine: Engine, items: Sequence[Item], reporter: Reporter) -> None:
    """Say what is done with photos, for packs whose encoder wants them cut out in a certain way."""
    if engine.pack.alignment == "ffhq" and any(item.path is not None and item.row is None for item in items):
        reporter.note("the middle square of each picture is taken as an aligned face, as FFHQ's pictures are")


def w_plus_of(engine: Engine, item: Item, face: Tensor | None, steps: int | None = None) -> Tensor:
    """Invert, sample or read a face.

    Args:
        engine: The engine to do it with.
        item: A seed, a row of a latent file, or an image.
        face: What `open_face` returned for it.
        steps: Refinement steps for images (None: the pack's default).

    Returns:
        W+ [1, num_ws, w_dim].

    Raises:
        BadInputError: If a latent file does not fit the generator.
    """
    if face is not None:
        return engine.invert(face, steps=steps)
    if item.seed is not None:
        return engine.sample([item.seed])
    assert item.path is not None
    assert item.row is not None
    return _all_of(engine, item.path)[item.row : item.row + 1]


@lru_cache(maxsize=1)
def _all_of(engine: Engine, path: Path) -> Tensor:
    """Read a file once for all of its faces, which come one after the other."""
    return engine.load_latents(path)

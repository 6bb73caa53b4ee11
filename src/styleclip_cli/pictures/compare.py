"""Before and after under one slider, as a page that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.errors import UsageError
from styleclip_cli.pictures.drawing import as_image
from styleclip_cli.pictures.page import write_page
from styleclip_cli.pictures.sheets import thumbnail
from styleclip_cli.save import Mark

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_SIDE, _SIDE_OF_MANY = 2048, 1280


def slider_html(
    path: Path,
    items: Iterable[tuple[str, Image.Image | Tensor, Image.Image | Tensor]],
    *,
    title: str,
    note: str = "",
    labels: tuple[str, str] = ("original", "edited"),
    marks: tuple[Mark | None, Mark | None] = (None, "edited"),
) -> None:
    """Write a page that shows originals and their edits under a slider, with everything inside.

    A single pair is shown as large as the window allows, up to 2048 pixels; several stand in columns, each
    up to 1280 pixels. Pictures are encoded one by one, as they come.

    Args:
        path: The file (.html), written atomically.
        items: Caption, picture before, picture after; those of a pair should have one size (the second is
            stretched to the first).
        title: Title of the page.
        note: A line below it; may be empty.
        labels: Names of the two sides.
        marks: Whether a network edited or generated them, written into the pictures.

    Raises:
        OutputError: If it cannot be written.
        UsageError: If there are no pairs.
    """
    rest = iter(items)
    first = list(islice(rest, 2))
    if not first:
        raise UsageError("nothing to compare", "at least one picture and its edit")
    many = len(first) > 1

    side = _SIDE_OF_MANY if many else _SIDE

    def fitting() -> Iterator[tuple[str, Image.Image, Image.Image]]:
        for caption, before, after in chain(first, rest):
            left, right = thumbnail(before, side), as_image(after)
            if right.size != left.size:
                right = right.resize(left.size, reducing_gap=3.0)
            yield caption, left, right

    content = {"note": note, "many": many, "labels": labels, "marks": marks}
    write_page(path, "compare.html", title, pairs=fitting(), **content)

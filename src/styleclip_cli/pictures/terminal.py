"""A small picture as text, for terminals with colours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

import numpy as np
from PIL import Image

from styleclip_cli.pictures.drawing import as_image

if TYPE_CHECKING:
    from torch import Tensor

_HALF = "▀"  # its upper half has the colour of letters, its lower half that of the background
_RESET = "\x1b[0m"


def can_show(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream is a terminal that says it has 16 million colours, and can write the half block."""
    if not stream.isatty() or environ.get("TERM") == "dumb" or "NO_COLOR" in environ:
        return False
    if environ.get("COLORTERM", "").lower() not in ("truecolor", "24bit"):
        return False
    try:
        _HALF.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def to_text(picture: Image.Image | Tensor, columns: int = 40, lines: int = 24) -> str:
    """Draw a picture with half blocks: each letter is two pixels, one above the other.

    Args:
        picture: Of any shape; it is shrunk to fit, never enlarged.
        columns: How many letters wide at most.
        lines: How many lines at most.

    Returns:
        Lines with ANSI colours (ECMA-48 SGR 38;2 and 48;2), without a newline at the end.
    """
    image = as_image(picture)
    scale = min(1.0, columns / image.width, 2 * lines / image.height)
    size = (max(1, round(image.width * scale)), max(2, 2 * round(image.height * scale / 2)))
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
    drawn = []
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        letters, last = [], ""
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            colours = f"\x1b[38;2;{';'.join(map(str, above))};48;2;{';'.join(map(str, below))}m"
            letters.append(_HALF if colours == last else colours + _HALF)
            last = colours
        drawn.append("".join(letters) + _RESET)
    return "\n".join(drawn)

"""How sheets are drawn: their paper and ink, letters for any text, and pictures that fit their place."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from styleclip_cli.save import picture_of

if TYPE_CHECKING:
    from torch import Tensor

PAPER = (250, 249, 246)
INK = (46, 44, 42)
FAINT = (128, 124, 118)
RULE = (214, 210, 203)
ACCENT = (176, 92, 60)
MAX_SIDE = 6000
"""Longest side of a sheet whose pictures may be shrunk."""

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
# Pillow brings letters for English alone. For other texts one of these is used, if the machine has it.
_OTHERS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "arial.ttf",
    "msyh.ttc",
    "segoeui.ttf",
)
_NO_LETTER = "\uffff"


def as_image(picture: Image.Image | Tensor) -> Image.Image:
    """Any picture as RGB; what is transparent is laid on paper."""
    image = picture_of(picture)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, PAPER), image).convert("RGB")
    return image.convert("RGB")


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A whole picture of any shape, scaled into a box and centred on paper."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if inner != picture.size:
        picture = picture.resize(inner, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if inner == size:
        return picture
    box = Image.new("RGB", size, PAPER)
    box.paste(picture, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return box


def plain(text: str) -> str:
    """A text on one line, without what cannot be drawn (file names may hold anything)."""
    text = text.encode("utf-8", "replace").decode()  # half of a character, from a name that is no text
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def font_for(text: str, size: int) -> Font:
    """Letters for a text: Pillow's own, or the first others that have all of them (else most of them).

    Args:
        text: What is to be drawn; what no font has is drawn as boxes.
        size: In pixels.
    """
    best, fewest = _usual(size), 0 if text.isascii() else _lacking("", text)
    for name in _OTHERS:
        if not fewest:
            break
        with suppress(OSError):
            lacking = _lacking(name, text)
            if lacking < fewest:
                best, fewest = ImageFont.truetype(name, size), lacking
    return best


@cache
def _usual(size: int) -> Font:
    return ImageFont.load_default(size)


def _lacking(name: str, text: str) -> int:
    return sum(not _has(name, letter) for letter in set(text) if not letter.isascii())


@cache
def _has(name: str, letter: str) -> bool:
    font = _probe(name)
    mask, box = font.getmask(letter), font.getmask(_NO_LETTER)
    return (mask.size, bytes(mask)) != (box.size, bytes(box))


@cache
def _probe(name: str) -> Font:
    return ImageFont.truetype(name, 20) if name else _usual(20)


def wrap(text: str, font: Font, width: int) -> str:
    """Break a caption into lines that fit, at words."""
    letters = max(8, int(width / max(1.0, font.getlength("n"))))
    return "\n".join(textwrap.wrap(text, letters)) or text


def shorten(text: str, font: Font, width: float) -> str:
    """A text that fits on a line; a long one loses its middle, as names tell most at their ends."""
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)  # letters that are kept
    while low < high:
        kept = (low + high + 1) // 2
        if font.getlength(_without_middle(text, kept)) <= width:
            low = kept
        else:
            high = kept - 1
    return _without_middle(text, low)


def _without_middle(text: str, kept: int) -> str:
    ends = kept // 2
    return f"{text[: kept - ends].rstrip()}…{text[len(text) - ends :].lstrip()}"


def text_width(text: str, font: Font) -> int:
    """Of one or more lines, in pixels."""
    return round(_measured(text, font)[0])


def text_height(text: str, font: Font) -> int:
    """Of one or more lines, in pixels."""
    return round(_measured(text, font)[1])


def _measured(text: str, font: Font) -> tuple[float, float]:
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    return box[2], box[3]


def stacked(parts: list[Image.Image], gap: int, margin: int) -> Image.Image:
    """Lay blocks under each other on paper, at the left."""
    width = max(part.width for part in parts) + 2 * margin
    height = sum(part.height for part in parts) + gap * (len(parts) - 1) + 2 * margin
    sheet = Image.new("RGB", (width, height), PAPER)
    y = margin
    for part in parts:
        sheet.paste(part, (margin, y))
        y += part.height + gap
    return sheet

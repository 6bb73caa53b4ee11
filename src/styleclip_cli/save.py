"""Write pictures: whole or not at all, with what made them written inside."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from styleclip_cli import __version__
from styleclip_cli.atomic import atomic
from styleclip_cli.errors import UsageError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_PAPER = (250, 249, 246)
_INK = (46, 44, 42)


def to_image(tensor: Tensor) -> Image.Image:
    """Turn a generator's picture into 8-bit RGB, by round((x + 1) * 127.5).

    Args:
        tensor: [3, H, W] or [1, 3, H, W], nominal range [-1, 1]; what lies outside is clipped.

    Raises:
        UsageError: If it is not finite, which a strength far out of range leads to.
    """
    if tensor.ndim == 4:
        if len(tensor) != 1:
            raise ValueError(f"one picture expected, got {len(tensor)}")
        tensor = tensor[0]
    if not bool(torch.isfinite(tensor).all()):
        raise UsageError(
            "the picture has values that are not finite", "a strength or truncation nearer to zero"
        )
    pixels = ((tensor.detach().float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy()))


def save_image(path: Path, image: Image.Image | Tensor, metadata: Mapping[str, object] | None = None) -> None:
    """Write a picture in the format of its suffix, atomically.

    Args:
        path: .png, .jpg, .jpeg or .webp; missing folders are made.
        image: A picture, or a tensor as `to_image` takes.
        metadata: What made it; written as text into PNG files, with the program's version.

    Raises:
        OutputError: If it cannot be written.
        UsageError: If the suffix is none of these, or the tensor is not finite.
    """
    picture = image if isinstance(image, Image.Image) else to_image(image)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: cannot write this picture format", f"one of {', '.join(FORMATS)}")
    options: dict[str, object] = {"quality": 95} if kind != "PNG" else {"pnginfo": _png_text(metadata or {})}
    if kind == "JPEG":
        options["subsampling"] = 0
    with atomic(path) as temporary:
        picture.save(temporary, format=kind, **options)


def contact_sheet(
    rows: Sequence[Sequence[Image.Image | Tensor]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    *,
    cell: int | None = None,
) -> Image.Image:
    """Lay pictures out on light paper, with captions.

    Args:
        rows: Pictures, row by row; rows may differ in length.
        row_labels: Captions to the left of the rows (may be empty).
        column_labels: Captions above the columns (may be empty).
        cell: Side of a picture on the sheet in pixels; that of the first picture by default.
    """
    pictures = [[p if isinstance(p, Image.Image) else to_image(p) for p in row] for row in rows]
    side = cell or pictures[0][0].width
    gap = max(4, side // 24)
    margin = 2 * gap
    font = ImageFont.load_default(max(12, side // 11))
    columns = max(len(row) for row in pictures)
    above = [_wrap(label, font, side) for label in column_labels]
    beside = [_wrap(label, font, side) for label in row_labels]
    head = max((_height(text, font) + gap for text in above), default=0)
    left = max((_width(text, font) + gap for text in beside), default=0)
    sheet = Image.new(
        "RGB",
        (
            2 * margin + left + columns * side + (columns - 1) * gap,
            2 * margin + head + len(pictures) * side + (len(pictures) - 1) * gap,
        ),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(above):
        center = margin + left + column * (side + gap) + side / 2
        draw.multiline_text((center, margin + head - gap), text, _INK, font, anchor="md", align="center")
    for row, line in enumerate(pictures):
        y = margin + head + row * (side + gap)
        if row < len(beside):
            draw.multiline_text((margin, y + side / 2), beside[row], _INK, font, anchor="lm")
        for column, picture in enumerate(line):
            if picture.size != (side, side):
                picture = picture.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (margin + left + column * (side + gap), y))
    return sheet


_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def _wrap(text: str, font: _Font, width: int) -> str:
    """Break a caption into lines that fit, at words."""
    letters = max(8, int(width / max(1.0, font.getlength("n"))))
    return "\n".join(textwrap.wrap(text, letters)) or text


def _measure(text: str, font: _Font) -> tuple[float, float]:
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    return box[2], box[3]


def _width(text: str, font: _Font) -> int:
    return round(_measure(text, font)[0])


def _height(text: str, font: _Font) -> int:
    return round(_measure(text, font)[1])


def _png_text(metadata: Mapping[str, object]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Software", f"styleclip {__version__}")
    for key, value in metadata.items():
        if value is not None:
            info.add_itxt(f"styleclip:{key}", str(value))
    return info

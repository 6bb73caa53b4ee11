"""Sheets of pictures on light paper: rows and columns, two axes, originals beside their edits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from styleclip_cli.pictures.drawing import (
    FAINT,
    INK,
    MAX_SIDE,
    PAPER,
    RULE,
    Font,
    as_image,
    fitted,
    font_for,
    plain,
    shorten,
    text_height,
    text_width,
    wrap,
)
from styleclip_cli.save import picture_of

if TYPE_CHECKING:
    from torch import Tensor

_CELL = 320
_GRID_CELL = 512
_SHAPE = 4 / 3
"""Width by height of a page of pairs."""


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
    pictures = [[picture_of(picture) for picture in row] for row in rows]
    side = cell or pictures[0][0].width
    gap = max(4, side // 24)
    margin = 2 * gap
    font = font_for("".join([*row_labels, *column_labels]), max(12, side // 11))
    columns = max(len(row) for row in pictures)
    above = [wrap(label, font, side) for label in column_labels]
    beside = [wrap(label, font, side) for label in row_labels]
    head = max((text_height(text, font) + gap for text in above), default=0)
    left = max((text_width(text, font) + gap for text in beside), default=0)
    sheet = Image.new(
        "RGB",
        (
            2 * margin + left + columns * side + (columns - 1) * gap,
            2 * margin + head + len(pictures) * side + (len(pictures) - 1) * gap,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(above):
        center = margin + left + column * (side + gap) + side / 2
        draw.multiline_text((center, margin + head - gap), text, INK, font, anchor="md", align="center")
    for row, line in enumerate(pictures):
        y = margin + head + row * (side + gap)
        if row < len(beside):
            draw.multiline_text((margin, y + side / 2), beside[row], INK, font, anchor="lm")
        for column, picture in enumerate(line):
            if picture.size != (side, side):
                picture = picture.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture, (margin + left + column * (side + gap), y))
    return sheet


def grid(
    pictures: Sequence[Sequence[Image.Image | Tensor | None]],
    x_name: str,
    x_values: Sequence[float | str],
    y_name: str,
    y_values: Sequence[float | str],
    original: Image.Image | Tensor | None = None,
) -> Image.Image:
    """Lay pictures out along two axes, with their names and values; the original stands apart.

    Args:
        pictures: One row for each of `y_values`, from the top; in each one picture for each of `x_values`.
            None leaves a place empty.
        x_name: Title of the axis below.
        x_values: Its ticks; numbers are written as short as they go.
        y_name: Title of the axis at the left.
        y_values: Its ticks.
        original: Shown to the left of the axes, beside the first row.

    Returns:
        The sheet. The longer side of a picture on it is that of the first one, up to 512; less where the
        sheet would be more than 6000 pixels wide or high.

    Raises:
        ValueError: If there are not as many pictures as the axes have places.
    """
    if len(pictures) != len(y_values) or any(len(row) != len(x_values) for row in pictures):
        raise ValueError(f"{len(y_values)} rows of {len(x_values)} pictures expected")
    start = None if original is None else as_image(original)
    first = next((picture for row in pictures for picture in row if picture is not None), None)
    model = start if first is None else as_image(first)
    if model is None:
        raise ValueError("a grid needs a picture")
    side = min(max(model.size), _GRID_CELL, 7 * MAX_SIDE // (8 * (len(x_values) + 2)))
    side = max(8, min(side, 7 * MAX_SIDE // (8 * (len(pictures) + 1))))
    width, height = _box(model.width / model.height, side)
    gap = max(4, side // 24)
    small, large = max(12, side // 13), max(13, side // 11)
    x_ticks, y_ticks = ([_tick(value) for value in values] for values in (x_values, y_values))
    font = font_for("".join([*x_ticks, *y_ticks]), small)
    title = font_for(x_name + y_name, large)
    x_ticks = [shorten(text, font, width) for text in x_ticks]
    y_ticks = [shorten(text, font, width) for text in y_ticks]
    beside = max(text_width(text, font) for text in y_ticks) + gap
    name = _upright(y_name, title)
    apart = width + 3 * gap if start is not None else 0
    margin = 2 * gap
    left = margin + apart + name.width + gap + beside + gap
    right = left + len(x_ticks) * (width + gap) - gap
    bottom = margin + len(pictures) * (height + gap) - gap
    line = text_height("0", font)
    below = gap + line + gap + text_height(x_name, title) + margin
    sheet = Image.new("RGB", (right + margin, bottom + gap + below), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (tick, pieces) in enumerate(zip(y_ticks, pictures, strict=True)):
        y = margin + row * (height + gap)
        draw.text((left - 2 * gap, y + height / 2), tick, INK, font, anchor="rm")
        draw.line([(left - gap - gap // 2, y + height / 2), (left - gap, y + height / 2)], FAINT)
        for column, picture in enumerate(pieces):
            if picture is not None:
                place = (left + column * (width + gap), y)
                sheet.paste(fitted(as_image(picture), (width, height)), place)
    axis = bottom + gap
    for column, tick in enumerate(x_ticks):
        x = left + column * (width + gap) + width / 2
        draw.line([(x, axis), (x, axis + gap // 2)], FAINT)
        draw.text((x, axis + gap), tick, INK, font, anchor="ma")
    draw.line([(left - gap, margin), (left - gap, axis), (right, axis)], FAINT)
    draw.text(((left + right) / 2, axis + gap + line + gap), x_name, INK, title, anchor="ma")
    sheet.paste(name, (margin + apart, (margin + bottom - name.height) // 2))
    if start is not None:
        sheet.paste(fitted(start, (width, height)), (margin, margin))
        label = shorten("original", font, width)
        draw.text((margin + width / 2, margin + height + gap), label, INK, font, anchor="ma")
        rule = margin + width + gap + gap // 2
        draw.line([(rule, margin), (rule, sheet.height - margin)], RULE)
    return sheet


def pairs(
    items: Iterable[tuple[str, Image.Image | Tensor, Image.Image | Tensor]],
    columns: int | None = None,
) -> Image.Image:
    """Lay originals and their edits out side by side, each pair with its caption, on one page.

    Args:
        items: Caption, picture before, picture after; of any shape and size, up to hundreds. Taken one by
            one, and kept no larger than 320 pixels; see `pair_side` for what a sheet of many needs.
        columns: Pairs side by side; None: as many as make a page of about 4 by 3.

    Returns:
        The sheet. Pictures are made smaller until it is at most 6000 pixels wide and high.

    Raises:
        ValueError: If there are none.
    """
    found = [(plain(text), thumbnail(one, _CELL), thumbnail(other, _CELL)) for text, one, other in items]
    if not found:
        raise ValueError("a sheet needs pictures")
    shapes = [picture.width / picture.height for _, *both in found for picture in both]
    largest = max(max(picture.size) for _, *both in found for picture in both)
    page = _page(len(found), columns, min(max(0.5, median(shapes)), 2.0), min(_CELL, largest))
    sheet = Image.new("RGB", page.size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column in range(page.columns):
        for side, label in enumerate(("original", "edited")):
            font = font_for(label, page.letters)
            x = page.left(column) + side * (page.box[0] + page.gap // 2) + page.box[0] / 2
            text = shorten(label, font, page.box[0])
            draw.text((x, page.margin + page.line / 2), text, FAINT, font, anchor="mm")
    for index, (text, before, after) in enumerate(found):
        row, column = divmod(index, page.columns)
        x, y = page.left(column), page.top(row)
        sheet.paste(fitted(before, page.box), (x, y))
        sheet.paste(fitted(after, page.box), (x + page.box[0] + page.gap // 2, y))
        font = font_for(text, page.letters)
        place = (x + page.pair / 2, y + page.box[1] + page.gap // 2 + page.line / 2)
        draw.text(place, shorten(text, font, page.pair), INK, font, anchor="mm")
    return sheet


def pair_side(count: int) -> int:
    """How large pictures have to be, on their longer side, for a sheet of so many pairs.

    Who keeps no more than this of each picture of a batch, keeps about one sheet in memory.
    """
    return min(_CELL, math.ceil(1.25 * _page(max(1, count), None, 1.0, _CELL).cell))


def thumbnail(picture: Image.Image | Tensor, side: int) -> Image.Image:
    """A small copy in RGB, at most so many pixels on its longer side."""
    image = as_image(picture)
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0) if size != image.size else image


@dataclass(frozen=True)
class _Page:
    """Where the pairs of a sheet go, in pixels.

    Attributes:
        count: How many pairs.
        columns: How many of them in a row.
        cell: Longer side of a picture's place.
        box: Width and height of a picture's place.
    """

    count: int
    columns: int
    cell: int
    box: tuple[int, int]

    @property
    def gap(self) -> int:
        return max(4, self.cell // 20)

    @property
    def margin(self) -> int:
        return 2 * self.gap

    @property
    def letters(self) -> int:
        return max(11, self.cell // 16)

    @property
    def line(self) -> int:
        return round(1.3 * self.letters)

    @property
    def pair(self) -> int:
        return 2 * self.box[0] + self.gap // 2

    def left(self, column: int) -> int:
        return self.margin + column * (self.pair + 2 * self.gap)

    def top(self, row: int) -> int:
        return self.margin + self.line + self.gap + row * (self.box[1] + self.line + 2 * self.gap)

    @property
    def size(self) -> tuple[int, int]:
        rows = math.ceil(self.count / self.columns)
        return self.left(self.columns) - 2 * self.gap + self.margin, self.top(rows) - self.gap + self.margin


def _page(count: int, columns: int | None, shape: float, cell: int) -> _Page:
    """The page with the largest places, up to `cell`, that is not too large."""

    def off(page: _Page) -> float:
        return abs(math.log(page.size[0] / page.size[1] / _SHAPE))

    while True:
        box = _box(shape, cell)
        tried = range(1, count + 1) if columns is None else [max(1, min(columns, count))]
        page = min((_Page(count, number, cell, box) for number in tried), key=off)
        excess = max(page.size) / MAX_SIDE
        if excess <= 1 or cell <= 8:
            return page
        cell = max(8, min(cell - 1, int(cell / excess)))


def _box(shape: float, side: int) -> tuple[int, int]:
    """Width and height of a place by its width over height and its longer side."""
    return max(1, round(side * min(1.0, shape))), max(1, round(side * min(1.0, 1 / shape)))


def _tick(value: float | str) -> str:
    return plain(value) if isinstance(value, str) else f"{value:g}"


def _upright(text: str, font: Font) -> Image.Image:
    """A text that reads from the bottom to the top."""
    width, height = text_width(text, font), text_height(text, font)
    strip = Image.new("RGB", (max(1, width), max(1, height)), PAPER)
    ImageDraw.Draw(strip).text((0, 0), text, INK, font)
    return strip.transpose(Image.Transpose.ROTATE_90)

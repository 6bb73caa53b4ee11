"""Line plots side by side, as PNG or SVG: many faint lines, and one that counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from styleclip_cli.pictures.drawing import ACCENT, FAINT, INK, PAPER, RULE, font_for, plain, shorten
from styleclip_cli.pictures.page import write_page
from styleclip_cli.save import save_image

Point = tuple[float, float]
Colour = tuple[int, int, int]
SUFFIXES = frozenset({".png", ".svg"})
_WIDTH, _HEIGHT = 440, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 84, 40, 52
_SMALL, _LARGE = 11, 13
_SCALE = 4
"""Pixels that are drawn for one of the plot; half as many are written, so that lines are smooth."""
_NAMED = 3
"""Faint lines that are named: those that end highest."""


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes:
        title: What is on the vertical axis.
        lines: Points of each line, by name; the last line counts.
        marked: Number of the point of each line that is marked.
        limit: A value on the horizontal axis to draw a line at; None for none.
    """

    title: str
    lines: Mapping[str, Sequence[Point]]
    marked: int
    limit: float | None = None


@dataclass(frozen=True)
class Shape:
    """A line, a dot or a text, in pixels.

    Attributes:
        points: Of a line; the centre of a dot; where a text stands.
        colour: RGB.
        size: Width of a line, radius of a dot, height of a text.
        kind: line, dot, or where a text begins: start, middle, end.
        text: Of a text.
    """

    points: tuple[Point, ...]
    colour: Colour
    size: float
    kind: str = "line"
    text: str = ""


def write_plot(path: Path, panels: Sequence[Panel], title: str, axis: str) -> None:
    """Write plots that share a horizontal axis.

    Args:
        path: The file (.png or .svg), written atomically.
        panels: From left to right.
        title: A line above all.
        axis: What is on the horizontal axis.

    Raises:
        OutputError: If it cannot be written.
    """
    shapes = list(_figure(panels, plain(title), axis))
    size = (_WIDTH * len(panels), _HEIGHT + 24)
    if path.suffix.lower() == ".svg":
        write_page(path, "plot.svg", title, shapes=shapes, size=size, paper=PAPER)
    else:
        save_image(path, _drawn(shapes, size))


def _figure(panels: Sequence[Panel], title: str, axis: str) -> Iterator[Shape]:
    width = _WIDTH * len(panels) - 24
    yield Shape(((12, 20),), INK, _LARGE, "start", shorten(title, font_for(title, _LARGE), width))
    for number, panel in enumerate(panels):
        yield from _panel(panel, axis, _WIDTH * number, 24)


def _panel(panel: Panel, axis: str, x0: float, y0: float) -> Iterator[Shape]:
    points = [point for line in panel.lines.values() for point in line]
    xs = [x for x, _ in points] + ([] if panel.limit is None else [panel.limit])
    across, up = _ticks(min(0.0, *xs), max(xs)), _ticks(0.0, max(y for _, y in points))
    left, right = x0 + _LEFT, x0 + _WIDTH - _RIGHT
    bottom, top = y0 + _HEIGHT - _BOTTOM, y0 + _TOP

    def at(point: Point) -> Point:
        x = (point[0] - across[0]) / (across[-1] - across[0])
        y = (point[1] - up[0]) / (up[-1] - up[0])
        return left + x * (right - left), bottom - y * (bottom - top)

    for value in up:
        y = at((across[0], value))[1]
        yield Shape(((left, y), (right, y)), RULE, 1)
        yield Shape(((left - 8, y + 4),), FAINT, _SMALL, "end", f"{value:g}")
    for value in across:
        x = at((value, up[0]))[0]
        yield Shape(((x, bottom), (x, bottom + 4)), RULE, 1)
        yield Shape(((x, bottom + 18),), FAINT, _SMALL, "middle", f"{value:g}")
    if panel.limit is not None:
        yield Shape((at((panel.limit, up[0])), at((panel.limit, up[-1]))), FAINT, 1)
    yield Shape(((left, top - 14),), INK, _SMALL, "start", panel.title)
    yield Shape((((left + right) / 2, bottom + 38),), FAINT, _SMALL, "middle", axis)
    yield from _lines(panel, {name: [at(p) for p in line] for name, line in panel.lines.items()})


def _lines(panel: Panel, placed: Mapping[str, Sequence[Point]]) -> Iterator[Shape]:
    """Lines with their names; the last one on top, in colour."""
    *faint, main = placed
    named = {main, *sorted(faint, key=lambda name: placed[name][-1][1])[:_NAMED]}
    taken: list[Point] = []
    for name, line in placed.items():
        colour, width = (ACCENT, 2.5) if name == main else (FAINT, 1)
        yield Shape(tuple(line), colour, width)
        yield Shape((line[panel.marked],), colour, 4 if name == main else 2.5, "dot")
    for name in sorted(named, key=lambda name: (name != main, placed[name][-1][1])):
        x, y = placed[name][-1]
        while any(abs(x - a) < _RIGHT and abs(y - b) < _SMALL + 2 for a, b in taken):
            y += 2  # below the names that are there
        taken.append((x, y))
        colour = ACCENT if name == main else FAINT
        text = shorten(plain(name), font_for(name, _SMALL), _RIGHT + 10)
        yield Shape(((x + 6, y + 4),), colour, _SMALL, "start", text)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers at even steps, from at most `low` to at least `high`."""
    span = max(high - low, 1e-6) / 4
    unit = 10 ** math.floor(math.log10(span))
    step = next(unit * each for each in (1, 2, 2.5, 5, 10) if unit * each >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]


def _drawn(shapes: Sequence[Shape], size: tuple[int, int]) -> Image.Image:
    """As an image, twice as large."""
    image = Image.new("RGB", (size[0] * _SCALE, size[1] * _SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    for shape in shapes:
        points = [(x * _SCALE, y * _SCALE) for x, y in shape.points]
        if shape.kind == "line":
            draw.line(points, shape.colour, max(1, round(shape.size * _SCALE)), joint="curve")
        elif shape.kind == "dot":
            draw.circle(points[0], shape.size * _SCALE, shape.colour)
        else:
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.kind]
            font = font_for(shape.text, round(shape.size * _SCALE))
            draw.text(points[0], shape.text, shape.colour, font, anchor=anchor)
    return image.reduce(2)

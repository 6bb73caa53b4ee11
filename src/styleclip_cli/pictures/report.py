"""What a direction does, in pictures: on faces, by layer, and channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from styleclip_cli.edits.directions import Direction, TopChannel
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.progress import Progress, silent
from styleclip_cli.pictures.difference import Difference, difference, share
from styleclip_cli.pictures.drawing import (
    ACCENT,
    FAINT,
    INK,
    PAPER,
    RULE,
    Font,
    font_for,
    plain,
    shorten,
    stacked,
)
from styleclip_cli.pictures.page import write_page
from styleclip_cli.pictures.sheets import contact_sheet, thumbnail
from styleclip_cli.save import save_image, to_image

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.measure.statistics import StyleStatistics
    from styleclip_cli.nets.stylespace import StyleLayer
    from styleclip_cli.renderer import Renderer

SEEDS = (1, 2, 3)
"""Faces of a report; the first two show what single channels do."""
_CHANNEL_FACES = 2
_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Strengths of a report, in usual ones."""
_STDS = 10.0
"""How far a single channel is moved, in its standard deviations: one alone does little."""
_SIDE = 320
"""Pictures of a report have at most so many pixels a side."""


@dataclass(frozen=True)
class LayerPart:
    """What a direction moves of one style layer.

    Attributes:
        layer: Which.
        channels: How many of its channels take part.
        share: Its share of the direction's squared length, 0 to 1.
    """

    layer: StyleLayer
    channels: int
    share: float


@dataclass(frozen=True)
class ChannelPart:
    """What one channel does alone.

    Attributes:
        row: The channel, as `Direction.top` lists it.
        steps: What alpha 1 adds to it, in its standard deviations.
        strips: For some faces, three pictures: the channel moved against the direction, as it is, and along.
        where: Where the last differs from the first, of all faces; None without pictures.
    """

    row: TopChannel
    steps: float
    strips: Sequence[Sequence[Image.Image]] = ()
    where: Difference | None = None


@dataclass(frozen=True)
class DirectionReport:
    """All that a report shows.

    Attributes:
        direction: Whose.
        models: Name of the pack.
        alphas: Strengths of `faces`.
        faces: For each face, its picture at each strength.
        layers: Every style layer that edits may move, or that it moves, in order.
        channels: The top channels, in order; the first of them with pictures.
        stds: How far their pictures move them, in standard deviations.
    """

    direction: Direction
    models: str
    alphas: Sequence[float]
    faces: Sequence[Sequence[Image.Image]]
    layers: Sequence[LayerPart]
    channels: Sequence[ChannelPart]
    stds: float

    @property
    def title(self) -> str:
        """Where the direction leads."""
        return f"Direction: {self.direction.target}"

    @property
    def strengths(self) -> list[str]:
        """The strengths of `faces`, in words."""
        return [f"alpha {alpha:g}" for alpha in self.alphas]

    @property
    def most(self) -> int:
        """The most channels of a layer."""
        return max((part.channels for part in self.layers), default=0) or 1

    @property
    def largest(self) -> float:
        """The largest share of a layer."""
        return max((part.share for part in self.layers), default=0.0) or 1.0

    @property
    def measure(self) -> str:
        """What the relevance of channels is called where none was measured with CLIP."""
        return "cosine" if self.direction.source else "relevance"

    def facts(self) -> list[tuple[str, str]]:
        """What there is to say of it, by name."""
        direction = self.direction
        told = [("neutral", direction.neutral), ("beta", f"{direction.beta:.9g}")]
        if direction.source:
            told = [("from", direction.source), ("alpha counts", direction.unit)]
        return [
            ("target", direction.target),
            *told,
            ("channels", f"{direction.num_channels} of {len(direction.delta)}"),
            ("models", self.models),
        ]


def direction_report(
    renderer: Renderer,
    direction: Direction,
    statistics: StyleStatistics,
    w_plus: Sequence[Tensor],
    *,
    alpha: float,
    models: str,
    top: int = 10,
    shown: int = 8,
    progress: Progress = silent,
) -> DirectionReport:
    """Render what a direction and its top channels do to some faces.

    Args:
        renderer: Renders the faces.
        direction: A direction of its generator.
        statistics: How far channels usually go.
        w_plus: W+ of the faces, [1, num_ws, w_dim] each; the first two show the single channels.
        alpha: The default strength; faces are shown at up to so much, both ways.
        models: Name of the pack.
        top: How many channels are listed.
        shown: How many of these are shown in pictures.
        progress: Reports it.
    """
    space = renderer.generator.style_space
    alphas = [step * alpha for step in _STEPS]
    std = statistics.std
    rows = direction.top(top, space)
    total = len(w_plus) + min(shown, len(rows))
    with progress("rendering the report") as advance:
        faces, starts = [], []
        for done, one in enumerate(w_plus, start=1):
            edited = renderer.render(direction.edited(FaceLatent(one), alphas))
            faces.append([_small(picture) for picture in edited])
            starts.append(renderer.styles(one)[0])
            advance(done, total)
        channels = []
        for number, row in enumerate(rows):
            flat = row.layer.offset + row.channel
            spread = float(std[flat])
            part = ChannelPart(row, row.delta / spread if spread > 0 else 0.0)
            if number < shown:
                change = _STDS * spread * (-1.0 if row.delta < 0 else 1.0)
                strips = [_strip(renderer, start, flat, change) for start in starts[:_CHANNEL_FACES]]
                part = ChannelPart(row, part.steps, strips, _where(strips))
                advance(len(w_plus) + number + 1, total)
            channels.append(part)
    return DirectionReport(
        direction,
        models,
        alphas,
        faces,
        layer_parts(direction, space.layers),
        channels,
        _STDS,
    )


def layer_parts(direction: Direction, layers: Sequence[StyleLayer]) -> list[LayerPart]:
    """How a direction is spread over style layers; toRGB layers are left out where it does not move them.

    Args:
        direction: Which.
        layers: All style layers of its generator, in order.
    """
    moved = direction.delta.double()
    whole = float(moved.square().sum()) or 1.0
    parts = []
    for layer in layers:
        own = moved[layer.place]
        count = int((own != 0).sum())
        if count or not layer.is_rgb:
            parts.append(LayerPart(layer, count, float(own.square().sum()) / whole))
    return parts


def save_report(path: Path, report: DirectionReport) -> None:
    """Write a report as one self-contained page, or as one picture.

    Args:
        path: .html, or a picture's name such as .png; written atomically.
        report: What `direction_report` gave.

    Raises:
        OutputError: If it cannot be written.
        UsageError: If the format is unknown.
    """
    if path.suffix.lower() == ".html":
        write_page(path, "report.html", report.title, report=report, share=share, labels=_labels)
        return
    notes = {name: value for name, value in report.facts() if name != "channels"}
    save_image(path, report_sheet(report), {**notes, "kind": "direction report"}, mark="generated")


def _strip(renderer: Renderer, start: Tensor, flat: int, change: float) -> list[Image.Image]:
    """One face [size] with one channel moved back, left, and moved on."""
    styles = start.repeat(3, 1)
    styles[0, flat] -= change
    styles[2, flat] += change
    return [_small(picture) for picture in renderer.synthesize(styles)]


def _small(picture: Tensor) -> Image.Image:
    return thumbnail(to_image(picture), _SIDE)


def _where(strips: Sequence[Sequence[Image.Image]]) -> Difference:
    """Mean difference between the ends of the strips, over the first face."""
    found = [difference(strip[0], strip[-1]).delta_e for strip in strips]
    return Difference(np.mean(found, axis=0, dtype=np.float32), strips[0][1])


def _labels(part: ChannelPart, stds: float) -> tuple[str, str, str]:
    sign = -1 if part.row.delta < 0 else 1
    return f"{-sign * stds:+g} std", "as it is", f"{sign * stds:+g} std"


# --- as a picture ------------------------------------------------------------------------------------------

_CELL = 240
_WIDTH = 720
_THUMB = 112
_LETTERS = 15
_GREY = (141, 134, 124)


def report_sheet(report: DirectionReport) -> Image.Image:
    """Lay a report out on one sheet of light paper."""
    channels = _channel_rows(report)
    count = len(report.alphas)
    cell = min(_CELL, int(channels.width / (count + (count - 1) / 24)))  # with the sheet's own gaps
    faces = contact_sheet(report.faces, column_labels=report.strengths, cell=cell)
    edge = 2 * max(4, cell // 24)
    faces = faces.crop((edge, edge, faces.width - edge, faces.height - edge))
    width = max(faces.width, channels.width, _WIDTH)
    parts = [
        _title(report, width),
        _heading("On faces", width),
        faces,
        _heading("By layer: channels that take part, and their share of the squared step", width),
        _layer_bars(report, width),
        _heading(
            "Top channels: each moved alone, against the direction and along it, and where it acts", width
        ),
        channels,
    ]
    return stacked(parts, 12, 28)


def _title(report: DirectionReport, width: int) -> Image.Image:
    block = Image.new("RGB", (width, 84), PAPER)
    draw = ImageDraw.Draw(block)
    title = plain(report.title)
    large = font_for(title, 26)
    draw.text((0, 16), shorten(title, large, width), INK, large, anchor="lm")
    line = "  ·  ".join(f"{name}: {plain(value)}" for name, value in report.facts()[1:])
    font = font_for(line, _LETTERS)
    draw.text((0, 56), shorten(line, font, width), FAINT, font, anchor="lm")
    return block


def _heading(words: str, width: int) -> Image.Image:
    block = Image.new("RGB", (width, 34), PAPER)
    draw = ImageDraw.Draw(block)
    font = font_for(words, 17)
    draw.line([(0, 4), (width, 4)], RULE)
    draw.text((0, 22), shorten(words, font, width), INK, font, anchor="lm")
    return block


def _layer_bars(report: DirectionReport, width: int) -> Image.Image:
    line = 22
    block = Image.new("RGB", (width, line * (len(report.layers) + 1)), PAPER)
    draw = ImageDraw.Draw(block)
    font = font_for("", _LETTERS)
    half = (width - 190) // 2
    columns = (0, 150, 190, 190 + half)
    for x, name in zip(columns, ("layer", "pixels", "channels", "share"), strict=True):
        draw.text((x, line / 2), name, FAINT, font, anchor="rm" if name == "pixels" else "lm")
    room = half - 110
    for number, part in enumerate(report.layers, start=1):
        y = number * line + line / 2
        ink = INK if part.channels else FAINT
        draw.text((0, y), part.layer.name, ink, font, anchor="lm")
        draw.text((150, y), f"{part.layer.resolution}", ink, font, anchor="rm")
        told = (
            (columns[2], part.channels / report.most, f"{part.channels} of {part.layer.width}", _GREY),
            (columns[3], part.share / report.largest, share(part.share), ACCENT),
        )
        for x, length, words, colour in told:
            end = x + (max(1, round(length * room)) if length else 0)
            if length:
                draw.rectangle([x, y - 6, end, y + 6], colour)
            draw.text((end + (8 if length else 0), y), words, ink, font, anchor="lm")
    return block


def _channel_rows(report: DirectionReport) -> Image.Image:
    font, small = font_for("", _LETTERS), font_for("", 12)
    left = 190
    strips = max((len(part.strips) for part in report.channels), default=0)
    width = left + (strips * (3 * _THUMB + 2 * 4 + 14) + _THUMB if strips else 260)
    tall, low = _THUMB + 26, 26
    heights = [tall if part.strips else low for part in report.channels]
    block = Image.new("RGB", (width, max(1, sum(heights))), PAPER)
    draw = ImageDraw.Draw(block)
    y = 0
    for part, height in zip(report.channels, heights, strict=True):
        row = part.row
        name = f"{row.layer.name}  {row.channel}"
        if not part.strips:
            told = f"{report.measure} {row.relevance:+.3f}"
            line = f"{name}   {told}   step {row.delta:+.3f} ({part.steps:+.2f} std)"
            draw.text((0, y + low / 2), line, INK, font, anchor="lm")
            y += height
            continue
        draw.text((0, y + 4), name, INK, font_for("", 17))
        lines = (
            f"{row.layer.resolution} pixels",
            f"{report.measure} {row.relevance:+.3f}",
            f"step {row.delta:+.3f}",
            f"= {part.steps:+.2f} std",
        )
        for number, words in enumerate(lines):
            draw.text((0, y + 28 + number * 20), words, FAINT, font)
        x = left
        for strip in part.strips:
            for picture, label in zip(strip, _labels(part, report.stds), strict=True):
                _place(block, picture, label, (x, y), small)
                x += _THUMB + 4
            x += 10
        if part.where is not None:
            _place(block, part.where.heat_map(legend=False), "where", (x, y), small)
        y += height
    return block


def _place(block: Image.Image, picture: Image.Image, label: str, at: tuple[int, int], font: Font) -> None:
    block.paste(picture.resize((_THUMB, _THUMB), Image.Resampling.LANCZOS), at)
    place = (at[0] + _THUMB / 2, at[1] + _THUMB + 9)
    ImageDraw.Draw(block).text(place, label, FAINT, font, anchor="mm")

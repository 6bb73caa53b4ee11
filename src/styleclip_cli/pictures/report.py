"""What a direction does, in pictures: on faces, by layer, and channel by channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from styleclip_cli.pictures.page import img, text, write_page
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
_STYLE = """.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.75rem 0.3rem 0; text-align: right; vertical-align: middle; }
th { font-weight: 600; color: var(--faint); font-size: 0.85rem; white-space: nowrap; }
th.name, td.name { text-align: left; white-space: nowrap; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 1.25rem; margin: 1rem 0; }
.facts dt { color: var(--faint); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.faces td, .faces th { padding: 0 0.3rem 0.3rem 0; text-align: center; }
.faces img { width: 10.5rem; border-radius: 2px; }
.layers td { padding-top: 0.1rem; padding-bottom: 0.1rem; }
.layers td.bar { width: 15rem; }
.layers .bar span { display: block; height: 0.85rem; background: var(--accent); min-width: 1px; }
.layers .bar.count span { background: #8d867c; }
.layers .none td { color: var(--faint); }
.channels td { border-top: 1px solid var(--rule); }
.channels td small { color: var(--faint); font-size: 0.8rem; white-space: nowrap; }
.channels .strip { display: flex; gap: 0.25rem; }
.channels .strip.second { margin-left: 0.6rem; }
.channels figure { text-align: center; }
.channels figcaption { margin: 0; font-size: 0.75rem; color: var(--faint); }
.channels img { width: 5.7rem; max-width: none; border-radius: 2px; }
.channels .strips { display: flex; padding: 0.3rem 0; }"""


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

    def facts(self) -> list[tuple[str, str]]:
        """What there is to say of it, by name."""
        direction = self.direction
        return [
            ("target", direction.target),
            ("neutral", direction.neutral),
            ("beta", f"{direction.beta:.9g}"),
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
        own = moved[layer.offset : layer.offset + layer.width]
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
        write_page(path, report.title, _blocks(report), style=_STYLE)
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


# --- as a page ---------------------------------------------------------------------------------------------


def _blocks(report: DirectionReport) -> Iterator[str]:
    facts = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in report.facts())
    yield f'<dl class="facts">{facts}</dl>'
    yield "<h2>On faces</h2>"
    yield from _faces(report)
    yield "<h2>By layer</h2>"
    yield (
        '<p class="note">Low resolutions shape the head and the hair, high ones colour and fine detail. '
        "The share is that of the squared step.</p>"
    )
    yield from _layers(report)
    yield "<h2>Top channels</h2>"
    yield (
        '<p class="note">Relevance is the cosine between what a channel does and where the direction leads, '
        "as CLIP sees it. The step is what alpha 1 adds, also in the channel's standard deviations (std). "
        f"The faces have this channel alone moved by {report.stds:g} std, against the direction and along "
        "it. The last picture shows where that acts; each has its own scale.</p>"
    )
    yield from _channels(report)


def _faces(report: DirectionReport) -> Iterator[str]:
    yield '<div class="scroll"><table class="faces"><thead><tr>'
    yield "".join(f'<th scope="col">{_alpha(alpha)}</th>' for alpha in report.alphas) + "</tr></thead><tbody>"
    for number, row in enumerate(report.faces, start=1):
        cells = (
            f"<td>{img(picture, f'face {number}, {_alpha(alpha)}', mark='generated')}</td>"
            for alpha, picture in zip(report.alphas, row, strict=True)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _layers(report: DirectionReport) -> Iterator[str]:
    most = max((part.channels for part in report.layers), default=0) or 1
    largest = max((part.share for part in report.layers), default=0.0) or 1.0
    yield '<div class="scroll"><table class="layers"><thead><tr><th class="name" scope="col">layer</th>'
    yield '<th scope="col">pixels</th><th scope="col">channels</th><th></th>'
    yield '<th scope="col">share</th><th></th></tr></thead><tbody>'
    for part in report.layers:
        cells = [
            f'<td class="name">{text(part.layer.name)}</td><td>{part.layer.resolution}</td>',
            f"<td>{part.channels} of {part.layer.width}</td>{_bar('count', part.channels / most)}",
            f"<td>{share(part.share)}</td>{_bar('part', part.share / largest)}",
        ]
        empty = "" if part.channels else ' class="none"'
        yield f"<tr{empty}>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _bar(name: str, part: float) -> str:
    inside = f'<span style="width: {100 * part:.1f}%"></span>' if part else ""
    return f'<td class="bar {name}">{inside}</td>'


def _channels(report: DirectionReport) -> Iterator[str]:
    yield '<div class="scroll"><table class="channels"><thead><tr><th class="name" scope="col">layer</th>'
    yield '<th scope="col">channel</th><th scope="col">pixels</th><th scope="col">relevance</th>'
    yield '<th scope="col">step</th><th></th></tr></thead><tbody>'
    for part in report.channels:
        row = part.row
        yield f'<tr><td class="name">{text(row.layer.name)}</td><td>{row.channel}</td>'
        yield f"<td>{row.layer.resolution}</td><td>{row.relevance:+.3f}</td>"
        yield f"<td>{row.delta:+.3f}<br><small>{part.steps:+.2f} std</small></td>"
        yield '<td><div class="strips">'
        what = f"{row.layer.name}, channel {row.channel}"
        for number, strip in enumerate(part.strips, start=1):
            yield f'<div class="strip{" second" if number > 1 else ""}">'
            for picture, label in zip(strip, _labels(part, report.stds), strict=True):
                shown = img(picture, f"face {number}, {what}: {label}", mark="generated")
                yield f"<figure>{shown}<figcaption>{label}</figcaption></figure>"
            yield "</div>"
        if part.where is not None:
            shown = img(part.where.heat_map(legend=False), f"where {what} acts")
            yield f'<div class="strip second"><figure>{shown}<figcaption>where</figcaption></figure></div>'
        yield "</div></td></tr>"
    yield "</tbody></table></div>"


def _labels(part: ChannelPart, stds: float) -> tuple[str, str, str]:
    sign = -1 if part.row.delta < 0 else 1
    return f"{-sign * stds:+g} std", "as it is", f"{sign * stds:+g} std"


def _alpha(alpha: float) -> str:
    return f"alpha {alpha:g}"


# --- as a picture ------------------------------------------------------------------------------------------

_CELL = 240
_WIDTH = 720
_THUMB = 112
_LETTERS = 15


def report_sheet(report: DirectionReport) -> Image.Image:
    """Lay a report out on one sheet of light paper."""
    channels = _channel_rows(report)
    count = len(report.alphas)
    cell = min(_CELL, int(channels.width / (count + (count - 1) / 24)))  # with the sheet's own gaps
    faces = contact_sheet(report.faces, column_labels=[_alpha(alpha) for alpha in report.alphas], cell=cell)
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
    for x, name, anchor in ((0, "layer", "lm"), (150, "pixels", "rm")):
        draw.text((x, line / 2), name, FAINT, font, anchor=anchor)
    draw.text((columns[2], line / 2), "channels", FAINT, font, anchor="lm")
    draw.text((columns[3], line / 2), "share", FAINT, font, anchor="lm")
    room = half - 110
    most = max((part.channels for part in report.layers), default=0) or 1
    largest = max((part.share for part in report.layers), default=0.0) or 1.0
    for number, part in enumerate(report.layers, start=1):
        y = number * line + line / 2
        ink = INK if part.channels else FAINT
        draw.text((0, y), part.layer.name, ink, font, anchor="lm")
        draw.text((150, y), f"{part.layer.resolution}", ink, font, anchor="rm")
        told = (
            (columns[2], part.channels / most, f"{part.channels} of {part.layer.width}", (141, 134, 124)),
            (columns[3], part.share / largest, share(part.share), ACCENT),
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
            line = f"{name}   relevance {row.relevance:+.3f}   step {row.delta:+.3f} ({part.steps:+.2f} std)"
            draw.text((0, y + low / 2), line, INK, font, anchor="lm")
            y += height
            continue
        draw.text((0, y + 4), name, INK, font_for("", 17))
        lines = (
            f"{row.layer.resolution} pixels",
            f"relevance {row.relevance:+.3f}",
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

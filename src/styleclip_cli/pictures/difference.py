"""Where two pictures differ, and how much of it an eye would see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from styleclip_cli.pictures.drawing import FAINT, INK, PAPER, as_image, font_for, text_width
from styleclip_cli.pictures.sheets import thumbnail

if TYPE_CHECKING:
    from torch import Tensor

JUST_NOTICEABLE = 2.3
"""The Delta E (CIE 1976) that an eye just notices (Mahy et al. 1994, Evaluation of uniform color spaces)."""

Plane = NDArray[np.float32]
_SIDE = 2048
_NARROW = 256
_LEVELS = (10, 20, 30, 40, 60, 80, 100, 150, 260)
"""Where a scale may end; 260 is more than any two colours differ."""
# Linear sRGB -> XYZ (IEC 61966-2-1), divided by the white of D65.
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)
_WHITE = _TO_XYZ.sum(axis=1, keepdims=True)
# Lightness, chroma and hue (degrees) in OKLCH, at even steps: from a dark violet over red to a pale yellow.
_HEAT = (
    (0.30, 0.13, 295.0),
    (0.43, 0.18, 322.0),
    (0.56, 0.19, 362.0),
    (0.69, 0.18, 402.0),
    (0.82, 0.15, 438.0),
    (0.95, 0.09, 464.0),
)


@dataclass(frozen=True, eq=False)
class Difference:
    """How two pictures differ.

    Attributes:
        delta_e: [H, W], float32, >= 0: Delta E of each pixel, CIE 1976: the distance in CIELAB.
        photo: The picture before, of the same size.
    """

    delta_e: Plane
    photo: Image.Image

    @property
    def mean(self) -> float:
        """Mean Delta E of all pixels."""
        return float(self.delta_e.mean(dtype=np.float64))

    @property
    def largest(self) -> float:
        """The largest Delta E."""
        return float(self.delta_e.max())

    @property
    def changed(self) -> float:
        """Share of the pixels whose change an eye would notice, from 0 to 1."""
        return float((self.delta_e > JUST_NOTICEABLE).mean())

    def summary(self) -> str:
        """The numbers in a few words."""
        return f"mean Delta E {self.mean:.2g}, {share(self.changed)} of the pixels visibly changed"

    def heat_map(self, *, legend: bool = True) -> Image.Image:
        """Draw where they differ: colours over a dimmed grey photo, by Delta E.

        What an eye would not notice stays grey.

        Args:
            legend: With the scale, its unit and the numbers below.
        """
        top = self._top()
        grey = np.asarray(self.photo.convert("L"), np.float32) * 0.55 + 52.0
        picture = Image.fromarray(_laid_over(grey, self.delta_e, top))
        if not legend:
            return picture
        if picture.width < _NARROW:  # the legend needs room
            times = -(-_NARROW // picture.width)
            picture = picture.resize((times * picture.width, times * picture.height))
        return self._with_legend(picture, top)

    def _top(self) -> float:
        """Delta E of the hottest colour: all but one in 500 pixels stay below.

        It is rounded up to one of a few numbers, so that maps can be compared.
        """
        high = float(np.quantile(self.delta_e, 0.998))
        return next((float(level) for level in _LEVELS if level >= high), float(_LEVELS[-1]))

    def _with_legend(self, picture: Image.Image, top: float) -> Image.Image:
        width = picture.width
        gap = max(6, width // 48)
        size = max(11, min(28, width // 30))
        font = font_for("", size)
        line, height, margin = round(1.4 * size), max(8, size // 2), 2 * gap
        title = "Delta E (CIE 1976)"
        numbers = f"mean {self.mean:.2g}, {share(self.changed)} visibly changed"
        beside = text_width(title + numbers, font) + 2 * gap < width
        text_y = margin + picture.height + gap
        bar_y = text_y + line * (1 if beside else 2)
        sheet = Image.new("RGB", (width + 2 * margin, bar_y + height + gap // 2 + line + gap), PAPER)
        draw = ImageDraw.Draw(sheet)
        sheet.paste(picture, (margin, margin))
        draw.text((margin, text_y), title, INK, font)
        if beside:
            draw.text((width + margin, text_y), numbers, FAINT, font, anchor="ra")
        else:
            draw.text((margin, text_y + line), numbers, FAINT, font)
        values = np.linspace(0.0, top, width, dtype=np.float32)[None].repeat(height, axis=0)
        sheet.paste(Image.fromarray(_laid_over(np.full_like(values, 140.0), values, top)), (margin, bar_y))
        taken: list[tuple[float, float]] = []
        # Where there is no room, what an eye just notices tells more than where zero is.
        for value in (JUST_NOTICEABLE, 0.0, top / 4, top / 2, 3 * top / 4, top):
            text = f"{value:g}"
            x = margin + min(value / top * width, width - 1)
            wide = text_width(text, font)
            left = min(max(margin, x - wide / 2), margin + width - wide)
            if any(left < right + gap / 2 and start < left + wide + gap / 2 for start, right in taken):
                continue
            taken.append((left, left + wide))
            draw.line([(x, bar_y + height), (x, bar_y + height + gap // 2)], FAINT)
            draw.text((left, bar_y + height + gap // 2 + 2), text, INK, font)
        return sheet


def difference(before: Image.Image | Tensor, after: Image.Image | Tensor) -> Difference:
    """Compare two pictures of one size, pixel by pixel.

    Pictures of more than 2048 pixels a side are compared as they look at that size.

    Raises:
        ValueError: If their sizes differ.
    """
    first, second = as_image(before), as_image(after)
    if first.size != second.size:
        raise ValueError(f"{first.size} and {second.size} pixels cannot be compared")
    first, second = thumbnail(first, _SIDE), thumbnail(second, _SIDE)
    apart = lab(first) - lab(second)
    return Difference(np.sqrt(np.square(apart).sum(axis=0)), first)


def lab(image: Image.Image) -> Plane:
    """CIELAB of an sRGB picture, [3, H, W], float32 (CIE 15:2004; white D65)."""
    values = np.arange(256, dtype=np.float32) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    rgb = linear.astype(np.float32)[np.asarray(image.convert("RGB"))].reshape(-1, 3).T
    xyz = (_TO_XYZ @ rgb) / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    planes = np.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
    return planes.reshape(3, image.height, image.width)


def share(part: float) -> str:
    """A share in per cent: never 0 % for something, nor 100 % for less than all."""
    if 0 < part < 0.01:
        return "less than 1 %"
    return f"{min(round(100 * part), 99) if part < 1 else 100} %"


def _laid_over(grey: Plane, delta_e: Plane, top: float) -> NDArray[np.uint8]:
    """Colours over grey [H, W] of 0 to 255; small differences let the grey through, unseen ones are grey."""
    heat = _heat_colours()[np.clip(delta_e / top * 255, 0, 255).astype(np.uint8)]
    opacity = np.clip(delta_e / JUST_NOTICEABLE - 0.5, 0.0, 3.0)[..., None] / 3.0 * 0.92
    return (grey[..., None] * (1.0 - opacity) + heat * opacity).round().astype(np.uint8)


@cache
def _heat_colours() -> Plane:
    """The colours of a heat map, [256, 3], 0 to 255: lightness grows evenly (OKLab, Ottosson 2020)."""
    stops = np.array(_HEAT)
    at = np.linspace(0, len(stops) - 1, 256)
    light, chroma, hue = (np.interp(at, np.arange(len(stops)), column) for column in stops.T)
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    long = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0, 1)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * coded).round().astype(np.float32)

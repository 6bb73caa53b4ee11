"""Photo -> aligned crop: detect faces, and compute the square that the generator's training images show.

Coordinates are pixels of the photo, x to the right and y down, and (0, 0) is the centre of the first pixel.
A quad is the four corners of a square in the order NW, SW, SE, NE (as seen in the crop), so it can be
turned, and may reach beyond the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from styleclip_cli.errors import BadInputError, UsageError

Points = NDArray[np.float64]

OF_FACES = ("ffhq", "frame")
"""Alignments that need a face; the others cut the same part out of every photo."""

_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)
_MOUTH_CORNERS = (48, 54)
_CAR_SHAPE = 4 / 3
"""Width over height of the images that car generators and their encoders were trained on."""
_BLOCK = 256
"""Lines that are blurred at a time: keeps the memory of a large photo's padding low."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face that was found in a photo.

    Attributes:
        points: Its 68 landmarks [68, 2] in pixels (x, y), in the order of iBUG 300-W.
        score: How sure the finder is, from 0 to 1.
        frame: Corners [4, 2] (NW, SW, SE, NE) of the square that the finder's own generator draws; None if
            it has none.
    """

    points: Points
    score: float
    frame: Points | None = None

    @property
    def eyes(self) -> float:
        """Distance of the eyes in pixels."""
        return float(np.linalg.norm(_measures(self.points)[1]))

    @property
    def size(self) -> float:
        """Side of its FFHQ square in pixels."""
        _, a, b = _measures(self.points)
        return 2.0 * _half_side(a, b)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of its landmarks."""
        (left, top), (right, bottom) = self.points.min(axis=0), self.points.max(axis=0)
        return float(left), float(top), float(right), float(bottom)


class Landmarker(Protocol):
    """Finds faces and their landmarks."""

    def find(self, image: Image.Image) -> list[Face]:
        """Find the faces in an image.

        Args:
            image: Mode RGB.

        Returns:
            Largest first; empty if there is none.
        """
        ...


class NoFaceError(BadInputError):
    """There is no face in a photo; it may still be a cropped face that is taken as it is."""


def no_face() -> NoFaceError:
    """The error for a photo in which no face is found.

    Returns:
        The error, to be raised.
    """
    return NoFaceError(
        "no face was found",
        "a larger face, seen from the front; --no-align, if it is a cropped face already",
    )


def choose(faces: Sequence[Face], which: str | int = "largest") -> list[Face]:
    """Select the requested faces.

    Args:
        faces: What was found.
        which: "largest"; "all", from left to right; or a number, counted from 1 from left to right.

    Returns:
        One, or all from left to right.

    Raises:
        BadInputError: If there are none, or not as many.
        UsageError: If it is none of these words.
    """
    number = str(which)
    if number not in ("largest", "all") and not (number.isascii() and number.isdigit()):
        raise UsageError(f"which face is {which!r}?", "largest, all, or a number, counted from the left")
    if not faces:
        raise no_face()
    if number == "largest":
        return [max(faces, key=lambda face: face.size)]
    ordered = left_to_right(faces)
    if number == "all":
        return ordered
    if not 1 <= int(number) <= len(ordered):
        found = "1 face was found" if len(ordered) == 1 else f"{len(ordered)} faces were found"
        raise BadInputError(f"there is no face {number}: {found}", "they are counted from left to right")
    return [ordered[int(number) - 1]]


def left_to_right(faces: Sequence[Face]) -> list[Face]:
    """Order faces as they are numbered: by the centre of their landmarks.

    Args:
        faces: In any order.

    Returns:
        From left to right.
    """
    return sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1]))


def quad_for(alignment: str, image: Image.Image, face: Face | None = None) -> Points:
    """The square that a generator's images show of a photo, [4, 2].

    Args:
        alignment: As model packs name it: ffhq and frame need a face; square, car and none do not.
        image: The photo.
        face: A face in it.

    Returns:
        [4, 2] in pixels: corners NW, SW, SE, NE.

    Raises:
        BadInputError: If a face is needed and there is none, or it has collapsed.
    """
    if alignment == "car":
        return car_quad(image)
    if alignment not in OF_FACES:
        return square_quad(image)
    if face is None:
        raise no_face()
    if alignment == "ffhq":
        return ffhq_quad(face.points)
    if face.frame is None:
        raise BadInputError("the faces found have no frame", "use the model pack's own landmarks")
    return face.frame


def ffhq_quad(points: Points) -> Points:
    """The square in which the FFHQ data set shows a face.

    Its horizontal axis halves the angle between the line of the eyes and the line across that from the
    eyes to the mouth; its middle lies a little below the eyes (Karras et al. 2019, appendix A; NVlabs'
    ffhq-dataset, recreate_aligned_images).

    Args:
        points: Landmarks [68, 2] in iBUG order.

    Returns:
        Corners [4, 2].

    Raises:
        BadInputError: If eyes and mouth are in one place, or anything is not finite.
    """
    e, a, b = _measures(points)
    x = a - _turned(b)
    length = float(np.hypot(*x))
    if not np.isfinite(points).all() or length < 1e-3 * _half_side(a, b) or length < 1e-6:
        raise BadInputError("a face's landmarks fall together", "its eyes and mouth have to be seen")
    x = x / length * _half_side(a, b)
    y = _turned(x)
    c = e + 0.1 * b
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


def square_quad(image: Image.Image) -> Points:
    """The central square of a photo, as `photo.to_tensor` cuts it.

    It touches the photo's borders, so `cut` needs `padding=False`.

    Args:
        image: The photo.

    Returns:
        [4, 2] in pixels: corners NW, SW, SE, NE.
    """
    width, height = image.size
    side = min(width, height)
    return _upright((width - side) // 2, (height - side) // 2, side)


def car_quad(image: Image.Image) -> Points:
    """The square around the largest 4:3 landscape in the middle of a photo.

    Car generators draw squares whose upper and lower eighth are empty.

    Args:
        image: The photo.

    Returns:
        [4, 2] in pixels: corners NW, SW, SE, NE.
    """
    width, height = image.size
    side = min(width, height * _CAR_SHAPE)
    return _upright((width - side) / 2, (height - side) / 2, side)


def cut(
    image: Image.Image, quad: Points, size: int, transform_size: int | None = None, padding: bool = True
) -> Image.Image:
    """Cut a quad out of a photo as FFHQ was made (NVlabs' ffhq-dataset, recreate_aligned_images).

    The e4e and pSp encoders were trained on crops of 256 made with `transform_size` 256; FFHQ itself is
    1024 made from 4096.

    Args:
        image: Mode RGB.
        quad: Corners [4, 2].
        size: Side of the result in pixels.
        transform_size: Side of the turned image, before it is scaled down to `size`; None: `size`.
        padding: Continue the photo beyond its borders, mirrored and ever more blurred; else it is black.

    Returns:
        The crop, `size` x `size`.

    Raises:
        BadInputError: If the quad lies outside the photo.
    """
    inside = (quad.max(axis=0) > 0) & (quad.min(axis=0) < np.array(image.size) - 1)
    if not np.isfinite(quad).all() or not inside.all():
        raise BadInputError("the face lies outside the photo", "choose another face or photo")
    transform_size = size if transform_size is None else transform_size
    image, quad = _shrunk(image, quad, size)
    side = _side(quad)
    border = max(round(side * 0.1), 3)
    image, quad = _cropped(image, quad, border)
    if padding:
        image, quad = _padded(image, quad, side, border)
    corners = (quad + 0.5).flatten().tolist()  # Pillow counts from the corner of the first pixel
    turned = image.transform(
        (transform_size, transform_size), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR
    )
    return turned if size >= transform_size else turned.resize((size, size), Image.Resampling.LANCZOS)


def _measures(points: Points) -> tuple[Points, Points, Points]:
    """Between the eyes; from the left eye to the right one; from between the eyes to the mouth."""
    left, right = points[_LEFT_EYE].mean(axis=0), points[_RIGHT_EYE].mean(axis=0)
    middle = (left + right) * 0.5
    first, last = _MOUTH_CORNERS
    return middle, right - left, (points[first] + points[last]) * 0.5 - middle


def _half_side(a: Points, b: Points) -> float:
    return max(float(np.hypot(*a)) * 2.0, float(np.hypot(*b)) * 1.8)


def _turned(v: Points) -> Points:
    """A quarter turn, from x to y."""
    return np.array([-v[1], v[0]])


def _upright(left: float, top: float, side: float) -> Points:
    """A quad from its distances to the photo's edges."""
    corners = [[0, 0], [0, side], [side, side], [side, 0]]
    return np.array(corners, np.float64) + np.array([left - 0.5, top - 0.5])


def _side(quad: Points) -> float:
    return float(np.hypot(*(quad[3] - quad[0])))


def _shrunk(image: Image.Image, quad: Points, size: int) -> tuple[Image.Image, Points]:
    """Scale a photo down by a whole number, so that the quad has two to four pixels for one of the crop."""
    factor = int(np.floor(_side(quad) / size * 0.5))
    if factor <= 1:
        return image, quad
    width, height = (max(round(extent / factor), 1) for extent in image.size)
    # The quad is divided by the same number on both axes although the sizes are rounded: so is FFHQ's.
    return image.resize((width, height), Image.Resampling.LANCZOS), quad / factor


def _bounds(quad: Points) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.floor(quad.min(axis=0)).astype(np.int64), np.ceil(quad.max(axis=0)).astype(np.int64)


def _cropped(image: Image.Image, quad: Points, border: int) -> tuple[Image.Image, Points]:
    """Crop a photo to the quad plus a border."""
    low, high = _bounds(quad)
    left, top = np.maximum(low - border, 0).tolist()
    right, bottom = np.minimum(high + border, image.size).tolist()
    return image.crop((left, top, right, bottom)), quad - np.array([left, top])


def _padded(image: Image.Image, quad: Points, side: float, border: int) -> tuple[Image.Image, Points]:
    """Mirror a photo at its borders if the quad comes too close to them, and blur that to a plain colour."""
    low, high = _bounds(quad)
    before = np.maximum(border - low, 0)
    after = np.maximum(high - image.size + border, 0)
    if max(before.max(), after.max()) <= border - 4:
        return image, quad
    left, top = np.maximum(before, round(side * 0.3)).tolist()
    right, bottom = np.maximum(after, round(side * 0.3)).tolist()
    pixels = np.pad(np.asarray(image, np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width, _ = pixels.shape
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    # 1 at the new borders, 0 at the old ones, negative inside.
    far = np.maximum(
        1.0 - np.minimum(x / left, (width - 1 - x) / right),
        1.0 - np.minimum(y / top, (height - 1 - y) / bottom),
    ).astype(np.float32)
    pixels += (gaussian(pixels, side * 0.02) - pixels) * np.clip(far * 3.0 + 1.0, 0.0, 1.0)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(far, 0.0, 1.0)
    padded = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return padded, quad + np.array([left, top])


def gaussian(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur an image.

    The kernel ends at four sigma and the image is mirrored with its outermost pixels, which are the
    defaults of scipy.ndimage.gaussian_filter; FFHQ was made with that.

    Args:
        values: [H, W, C].
        sigma: In pixels.

    Returns:
        [H, W, C].
    """
    radius = int(4.0 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    return _convolved(_convolved(values, kernel, 0), kernel, 1)


def _convolved(values: NDArray[np.float32], kernel: Points, axis: int) -> NDArray[np.float32]:
    """Convolve along one of the first two axes, by way of the spectrum: kernels have hundreds of taps."""
    lines = np.moveaxis(values, axis, -1)
    count, radius = lines.shape[-1], len(kernel) // 2
    length = _smooth_number(count + 2 * radius)
    spectrum = np.fft.rfft(kernel, length)
    out = np.empty(lines.shape, np.float32)
    for start in range(0, len(lines), _BLOCK):
        block = lines[start : start + _BLOCK].astype(np.float64)
        mirrored = np.pad(block, ((0, 0), (0, 0), (radius, radius)), "symmetric")
        result = np.fft.irfft(np.fft.rfft(mirrored, length) * spectrum, length)
        out[start : start + _BLOCK] = result[..., 2 * radius : 2 * radius + count]
    return cast(NDArray[np.float32], np.moveaxis(out, -1, axis))


def _smooth_number(least: int) -> int:
    """The next number 2^k, 3 2^k or 5 2^k: a length that is transformed fast."""
    return min(odd << max((-(-least // odd) - 1).bit_length(), 0) for odd in (1, 3, 5))

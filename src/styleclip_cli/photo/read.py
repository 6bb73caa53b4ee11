"""Read an image from any file, or fail with a one-line message.

Files are untrusted: only the decoders of the formats below run, sizes are read from the
header and refused before a pixel is decoded, and every way in which decoding can fail becomes one error.
"""

from __future__ import annotations

import importlib
import io
import logging
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from styleclip_cli.errors import BadInputError, not_there, one_line
from styleclip_cli.photo import decoders
from styleclip_cli.photo.exif import exif_of, kept_exif

if TYPE_CHECKING:
    from torch import Tensor

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else it speaks of damaged files on stderr
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
MAX_PIXELS = 100_000_000
MIN_SIDE = 16
_MAX_PROFILE = 8 * 2**20
"""Bytes; the largest profiles of printers have three million."""

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_BITS = {"1": 1, "L;2": 2, "L;4": 4, "L": 8}
"""Bits of a grey PNG, by Pillow's name for how they lie."""
_COLOURS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for a profile's colour space."""


@dataclass(frozen=True, eq=False)
class Photo:
    """An image as it was read.

    Attributes:
        image: Upright 8-bit sRGB, mode RGB, with transparency laid on white.
        alpha: The transparency (mode L, upright); None if there is none.
        exif: What is kept of its EXIF data, as a block to be written; its orientation is 1.
        notes: What a person should know ("the first of 12 frames is taken").
    """

    image: Image.Image
    alpha: Image.Image | None
    exif: bytes | None
    notes: tuple[str, ...]


class UnknownFormatError(BadInputError):
    """A file is no image of a known format; it may still be something else."""


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Check an image's header without decoding it.

    Args:
        path: The file.
        max_pixels: The most that is accepted.

    Returns:
        Width and height in pixels as stored (before the orientation is applied).

    Raises:
        BadInputError: If the file cannot be opened, is no image of a known format, or has an
            unusable size (a side under 16 pixels, or more than `max_pixels`).
    """
    with opened(path, max_pixels) as image:
        return image.size


def read_image(path: Path) -> Image.Image:
    """Decode an image to upright 8-bit sRGB (see `read_photo`).

    Args:
        path: The file.

    Returns:
        Mode RGB.
    """
    return read_photo(path).image


def read_photo(path: Path, max_pixels: int = MAX_PIXELS, keep_exif: bool = False) -> Photo:
    """Decode an image.

    Orientation and colour profile are applied, transparency is laid on white and kept beside, and 16-bit,
    float, grey, palette and CMYK images are converted; of an animation the first frame is taken.

    Args:
        path: The file.
        max_pixels: Larger images are refused before they are decoded.
        keep_exif: Keep all EXIF data, the place and the thumbnail with it.

    Returns:
        The photo.

    Raises:
        BadInputError: If it cannot be read (see `probe`), or is damaged or cut off.
    """
    with opened(path, max_pixels) as image:
        return photo_of(image, path, keep_exif, max_pixels)


def photo_of(
    image: Image.Image | np.ndarray, name: object, keep_exif: bool = False, max_pixels: int = MAX_PIXELS
) -> Photo:
    """Decode an opened image, as `read_photo` does.

    Args:
        image: Pillow's, with its orientation, profile and transparency; or bytes [H, W, 3].
        name: What it is called, for messages.
        keep_exif: As in `read_photo`.
        max_pixels: As in `read_photo`, for messages.

    Raises:
        BadInputError: If it is damaged or cut off.
    """
    notes: list[str] = []
    try:
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        _scale_transparent_colour(image)
        image.load()
        exif = exif_of(image, notes)
        colours, alpha = _split(image)
        profile = None if image.mode == "LAB" else image.info.get("icc_profile")  # LAB needs none
        picture = _to_srgb(colours, profile, notes)
        if alpha is not None:
            picture = Image.composite(picture, Image.new("RGB", picture.size, "white"), alpha)
        turn = _TURNS.get(exif.get(Base.Orientation, 1))
        if turn is not None:
            picture = picture.transpose(turn)
            alpha = alpha.transpose(turn) if alpha is not None else None
        picture.info.clear()  # else a writer might find things there that no longer hold
        block = kept_exif(exif, image.info.get("exif"), keep_exif)
        notes += _frames(image)
    except MemoryError:
        raise
    except Image.DecompressionBombError:  # Pillow's own limit, which may be lower than ours
        raise _too_large(name, min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))) from None
    except Exception as error:  # decoders of damaged files raise anything; all of it is the file's fault
        raise BadInputError(
            f"{name}: damaged or cut off ({one_line(error)})", "save it again from another program"
        ) from None
    return Photo(picture, alpha, block, tuple(notes))


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """Cut the central square out of an image and resize it for a network.

    Args:
        image: RGB.
        size: Side of the result in pixels.

    Returns:
        Tensor [1, 3, size, size], float32 in [-1, 1].
    """
    import torch

    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        # Pillow's Lanczos widens with the reduction, so detail above the new sampling rate is removed.
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.permute(2, 0, 1).unsqueeze(0).to(torch.float32) / 127.5 - 1.0


@contextmanager
def opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image and check its header; nothing is decoded.

    Args:
        path: The file.
        max_pixels: The most that is accepted.

    Yields:
        The image, not decoded.

    Raises:
        BadInputError: As `probe`; `UnknownFormatError` if it is no image at all.
    """
    with ExitStack() as stack:
        try:
            _check_file(path, max_pixels)
            # Not by its name: Pillow would map raw TIFF files into memory, and turned ones wrongly.
            file = stack.enter_context(path.open("rb"))
            head = file.read(64)
            if decoders.canvas(head) > max_pixels:
                raise _too_large(path, max_pixels)
            image = stack.enter_context(decoders.opened(file, _formats(path, head), head))
        except BadInputError:
            raise
        except FileNotFoundError:
            raise BadInputError(*not_there(path)) from None
        except Image.DecompressionBombError:  # Pillow's own limit, which may be lower than ours
            raise _too_large(path, min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))) from None
        except Image.UnidentifiedImageError:
            raise UnknownFormatError(
                f"{path}: not a picture in a known format", f"{', '.join(FORMATS)} and HEIC can be read"
            ) from None
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None
        except Exception as error:  # as in read_photo
            raise BadInputError(f"{path}: damaged or cut off ({one_line(error)})") from None
        width, height = image.size
        if width * height > max_pixels:
            raise _too_large(path, max_pixels)
        if min(width, height) < MIN_SIDE:
            raise BadInputError(
                f"{path}: too small ({width}x{height} pixels)", f"a side of at least {MIN_SIDE}"
            )
        yield image


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, the same bytes every time.

    Returns:
        A whole profile.
    """
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # when it was made: now, for littlecms
    return bytes(made)


def _check_file(path: Path, max_pixels: int) -> None:
    """Refuse files that would block (a pipe) or never end (a device)."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise BadInputError(f"{path}: is a folder, not a picture")
    if not stat.S_ISREG(status.st_mode):
        raise BadInputError(f"{path}: is not a file, but a pipe or a device")
    if status.st_size > 16 * max_pixels + 2**26:  # some decoders begin by reading all of it
        raise _too_large(path, max_pixels)


def _formats(path: Path, head: bytes) -> tuple[str, ...]:
    brands = {head[start : start + 4] for start in range(8, len(head), 4)}
    if head[4:8] != b"ftyp" or brands.isdisjoint(_HEIC):
        return FORMATS
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        raise BadInputError(f"{path}: HEIC needs: pip install 'styleclip-cli[heic]'") from None
    return ("HEIF",)


def _too_large(name: object, max_pixels: int) -> BadInputError:
    return BadInputError(f"{name}: too large (over {max_pixels / 1e6:g} megapixels)", "scale it down first")


def _frames(image: Image.Image) -> list[str]:
    """Say so where only the first of several images is taken."""
    if not getattr(image, "is_animated", False) or image.format == "MPO":  # MPO: a phone's JPEG with extras
        return []
    if image.format == "TIFF":  # counting walks through all pages, and there may be millions
        return ["the first of several pages is taken"]
    try:
        return [f"the first of {getattr(image, 'n_frames', 'its')} frames is taken"]
    except Exception:  # a later frame is damaged
        return ["the first of its frames is taken"]


def _scale_transparent_colour(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to the scale of the pixels that Pillow makes of its own.

    Colours of 16 bits become 8: what differs from the transparent colour only in the lower ones goes with it.
    """
    key, tiles = image.info.get("transparency"), getattr(image, "tile", None)
    raw = tiles[0].args if tiles else None
    if image.format != "PNG" or not isinstance(raw, str):
        return
    if isinstance(key, tuple):
        image.info["transparency"] = tuple(one >> 8 if raw == "RGB;16B" else one & 255 for one in key)
    elif isinstance(key, int) and raw in _GREY_BITS:
        bits = _GREY_BITS[raw]
        image.info["transparency"] = (key & (1 << bits) - 1) * 255 // ((1 << bits) - 1)


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Part an image into colours (RGB, L or CMYK) and transparency."""
    if image.mode.startswith(("I", "F")):
        opaque = np.asarray(image) != image.info.get("transparency")
        return _to_8_bit(image), None if np.all(opaque) else Image.fromarray(np.uint8(255) * opaque)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        alpha = layer.getchannel("A")
        grey = image.mode in ("L", "LA", "La", "1")
        colours = layer.getchannel("R") if grey else layer.convert("RGB")
        return colours, alpha if alpha.getextrema() != (255, 255) else None
    if image.mode == "1":
        return image.convert("L"), None
    return image if image.mode in _COLOURS.values() else image.convert("RGB"), None


def _to_srgb(colours: Image.Image, profile: Any, notes: list[str]) -> Image.Image:
    srgb = srgb_profile()
    if not profile or (isinstance(profile, bytes) and profile[36:] == srgb[36:]):
        return colours.convert("RGB")
    try:
        if len(profile) > _MAX_PROFILE:
            raise ValueError("too large")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _COLOURS[source.profile.xcolor_space.strip()]
        if mode != colours.mode and (mode, colours.mode) != ("RGB", "L"):
            raise ValueError("for other colours")
        converted = ImageCms.profileToProfile(
            colours if colours.mode == mode else colours.convert(mode),
            source,
            ImageCms.ImageCmsProfile(io.BytesIO(srgb)),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        assert converted is not None
        return converted
    except (ValueError, KeyError, TypeError, OSError, ImageCms.PyCMSError):
        notes.append("its colour profile is broken and was ignored")
        return colours.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale deep grey values, which Pillow's own conversion would cut off at 255."""
    values = np.asarray(image).astype(np.float32)
    peak = values.max(where=np.isfinite(values), initial=0.0)
    if image.mode.startswith("I"):
        full = 65535.0 if peak > 255 or image.mode.startswith("I;16") else 255.0
    else:
        full = 1.0 if peak <= 1.0 else 255.0 if peak <= 255.0 else 65535.0
    values = np.nan_to_num(values, copy=False, nan=0.0, posinf=full, neginf=0.0)
    return Image.fromarray(np.rint(np.clip(values / full, 0.0, 1.0) * 255.0).astype(np.uint8))

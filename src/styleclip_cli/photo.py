"""Read a picture, whatever a person hands over, or say in one line why not.

Files are material from strangers: only the decoders of the formats below run, sizes are read from the
header and refused before a pixel is decoded, and every way in which decoding can fail becomes one error.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from styleclip_cli.errors import BadInputError, one_line

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
MAX_PIXELS = 100_000_000
MIN_SIDE = 16


def probe(path: Path) -> tuple[int, int]:
    """Check a picture's header without decoding it.

    Returns:
        Width and height in pixels as stored (before the orientation is applied).

    Raises:
        BadInputError: If the file cannot be opened, is no picture of a known format, or has an
            unusable size (a side under 16 pixels, or over 100 megapixels).
    """
    with _opened(path) as image:
        return image.size


def read_image(path: Path) -> Image.Image:
    """Decode a picture to upright 8-bit RGB.

    Orientation tags are applied, transparency is laid on white, and 16-bit, grey, palette and CMYK
    pictures are converted; of an animation the first frame is taken.

    Raises:
        BadInputError: If it cannot be read (see `probe`), or is damaged or cut off.
    """
    with _opened(path) as image:
        try:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
        except MemoryError:
            raise
        except Exception as error:  # decoders of damaged files raise anything; all of it is the file's fault
            raise BadInputError(
                f"{path}: damaged or cut off ({one_line(error)})", "save it again from another program"
            ) from None


def to_tensor(image: Image.Image, size: int) -> Tensor:
    """Cut the middle square out of a picture and scale it for a network.

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
def _opened(path: Path) -> Iterator[Image.Image]:
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder, not a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Image.UnidentifiedImageError:
        raise BadInputError(
            f"{path}: not a picture in a known format", f"{', '.join(FORMATS)} can be read"
        ) from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None
    except Exception as error:  # as in read_image
        raise BadInputError(f"{path}: damaged or cut off ({one_line(error)})") from None
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(path)
        if min(width, height) < MIN_SIDE:
            raise BadInputError(
                f"{path}: too small ({width}x{height} pixels)", f"a side of at least {MIN_SIDE}"
            )
        yield image


def _too_large(path: Path) -> BadInputError:
    return BadInputError(
        f"{path}: too large (over {MAX_PIXELS // 1_000_000} megapixels)", "scale it down first"
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale deep grey values, which Pillow's own conversion would cut off at 255."""
    values = np.asarray(image, dtype=np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=65535.0, neginf=0.0)
    peak = values.max()
    if image.mode.startswith("I"):
        full = 65535.0 if peak > 255 or image.mode.startswith("I;16") else 255.0
    else:
        full = 1.0 if peak <= 1.0 else 255.0 if peak <= 255.0 else 65535.0
    return Image.fromarray(np.rint(np.clip(values / full, 0.0, 1.0) * 255.0).astype(np.uint8))

"""Where an edit may change an image: soft masks of parts of a face, and masks that people made."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageChops
from torch import Tensor

from styleclip_cli.errors import BadInputError
from styleclip_cli.nets.parser import Parser
from styleclip_cli.photo.align import Points, cut
from styleclip_cli.photo.filters import resize, smooth
from styleclip_cli.photo.read import photo_of, read_photo, to_tensor
from styleclip_cli.settings import PARTS

SIDE = 256
"""Masks of parts are made at this size: they are smooth."""
REACH = 3 / 256
"""How far parts are grown, and then how far their borders are soft, in sides of the crop."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Where an edit may change one face's crop and its photo.

    Attributes:
        crop: In the crop, [1, 1, R, R] in [0, 1].
        parts: Of that, what comes of the parts of the face, [1, 1, M, M] in [0, 1]; None without any.
        photo: In the photo, [H, W] in [0, 1]; None for anywhere.
    """

    crop: Tensor
    parts: Tensor | None = None
    photo: NDArray[np.float32] | None = None

    @property
    def nothing(self) -> bool:
        """Whether nothing of the crop may change."""
        return not self.crop.any() or (self.photo is not None and not self.photo.any())

    @property
    def everything(self) -> bool:
        """Whether all of the crop and of the photo may change."""
        return bool((self.crop == 1).all()) and (self.photo is None or bool((self.photo == 1).all()))


def of_parts(parser: Parser, images: Tensor, parts: Collection[str]) -> Tensor:
    """Where some parts of a face are in any of several images of it, a little grown and soft.

    Args:
        parser: Finds them.
        images: The same crop before, after, ..., [K, 3, R, R] in [-1, 1].
        parts: Some of `settings.PARTS`.

    Returns:
        [1, 1, M, M]: 1 at the parts, 0 farther than twice `REACH` from them; 0 everywhere if none is seen.
    """
    device = next(parser.buffers()).device
    numbers = [PARTS.index(part) for part in parts]
    union = parser(images.to(device))[:, numbers].sum(dim=1).amax(dim=0).cpu()  # [h, w]
    reach = round(REACH * SIDE)
    there = (resize(union[None, None], SIDE) > 0.5).float()
    # Grown by as much as the blur then reaches, it stays 1 wherever a part is.
    return smooth(F.max_pool2d(there, 2 * reach + 1, 1, reach), reach).clamp(0, 1)


def read_mask(mask: Path | Image.Image | NDArray[np.uint8], max_pixels: int) -> Image.Image:
    """Read a mask that a person made: its transparency if it has any, else its brightness.

    Args:
        mask: A file, Pillow's image, or bytes [H, W] or [H, W, 3].
        max_pixels: Larger images are refused.

    Returns:
        Mode L: white, or opaque, where something may change.

    Raises:
        BadInputError: If it cannot be read.
    """
    if not isinstance(mask, Path):
        found = photo_of(mask, "the mask", max_pixels=max_pixels)
        return found.image.convert("L") if found.alpha is None else found.alpha
    try:
        status = mask.stat()
        return _kept(mask, max_pixels, status.st_mtime_ns, status.st_size)
    except OSError:
        return _kept(mask, max_pixels, 0, 0)  # says what is wrong with it


@lru_cache(maxsize=1)
def _kept(path: Path, max_pixels: int, changed: int, size: int) -> Image.Image:
    """A mask of many inputs, read once."""
    found = read_photo(path, max_pixels)
    return found.image.convert("L") if found.alpha is None else found.alpha


def of_mask(mask: Image.Image, photo: Image.Image | None, quad: Points | None, side: int) -> Limits:
    """The limits that a person's mask sets.

    Args:
        mask: Mode L, of the photo's size; of the generator's images' size where there is no photo.
        photo: The photo; None for none.
        quad: Corners of the face's crop in the photo [4, 2]; None if the crop is the photo's central square.
        side: Side of the generator's images, in pixels.

    Returns:
        The limits.

    Raises:
        BadInputError: If the mask is of another size.
    """
    size = (side, side) if photo is None else photo.size
    if mask.size != size:
        what = "the generated image" if photo is None else "the photo"
        raise BadInputError(
            f"the mask has {mask.width}x{mask.height} pixels, {what} {size[0]}x{size[1]}",
            "a mask of the same size",
        )
    held = ImageChops.invert(mask).convert("RGB")  # what lies outside the photo is black: not held
    picture = held if quad is None else cut(held, quad, side, padding=False)
    crop = (1 - to_tensor(picture, side)[:, :1]) / 2
    whole = None if photo is None else np.asarray(mask, np.float32) / np.float32(255)
    return Limits(crop, photo=whole)


def both(one: Limits, parts: Tensor) -> Limits:
    """Limits, within parts of the face [1, 1, M, M] only."""
    return Limits(one.crop * resize(parts, one.crop.shape[-1]), parts, one.photo)

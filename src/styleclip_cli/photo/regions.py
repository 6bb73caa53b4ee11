"""Where in a face a sentence is about, from its words and the face's landmarks.

Landmarks are the 68 points of iBUG 300-W: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from styleclip_cli.photo.align import Points
from styleclip_cli.photo.filters import blur

_WORDS = {
    "mouth": "mouth lips? lipstick smil\\w* grin\\w* laugh\\w* teeth tongue",
    "eyes": "eyes? \\w*glasses eyebrows? brows? eyelash\\w* lashes mascara eyeshadow",
    "chin": "\\w*beard\\w* m(?:o)?ustache stubble goatee \\w*shaven shaved chin",
    "hair": "\\w*hair\\w* bald bangs fringe curls afro mohawk ponytail hats? caps?",
    "face": "skin makeup make-up freckles wrinkles \\w+-skinned",
}
_PATTERNS = {part: re.compile(rf"\b(?:{'|'.join(words.split())})\b") for part, words in _WORDS.items()}
_JAW, _BROWS, _NOSE, _EYES, _MOUTH = (
    slice(*ends) for ends in ((0, 17), (17, 27), (27, 36), (36, 48), (48, 68))
)
_GROWN = 0.12
"""How far beyond its landmarks a part reaches, in widths of the face."""


def parts_of(sentence: str) -> set[str]:
    """Parts of a face that a sentence names: mouth, eyes, chin, hair, face; empty if none is known."""
    found = {part for part, pattern in _PATTERNS.items() if pattern.search(sentence.lower())}
    return found if found == {"face"} else found - {"face"}  # "freckles and glasses" is about the eyes


def region(points: Points, quad: Points, parts: Collection[str], size: int) -> Tensor:
    """Where some parts of a face are in its crop.

    Args:
        points: Its landmarks in the photo, [68, 2].
        quad: Corners of the crop in the photo, [4, 2], NW, SW, SE, NE.
        parts: As `parts_of` names them.
        size: Side of the crop, in pixels.

    Returns:
        [size, size], 1 inside and 0 outside.
    """
    axes = np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1)
    places = np.linalg.solve(axes, (points - quad[0]).T).T * size
    width = float(np.linalg.norm(places[16] - places[0]))
    mask = Image.new("L", (size, size))
    draw = ImageDraw.Draw(mask)
    for part in parts:
        own = _points_of(part, places)
        if part == "hair":  # all but the inside of the face
            draw.rectangle((0, 0, size, size), 255)
            draw.polygon([tuple(each) for each in own], 0)
        else:
            _grown(draw, own, _GROWN * width)
    return torch.from_numpy(np.asarray(mask) > 127).float()


def _points_of(part: str, places: Points) -> Points:
    if part == "mouth":
        return places[_MOUTH]
    if part == "eyes":
        return np.concatenate([places[_EYES], places[_BROWS]])
    if part == "chin":
        return np.concatenate([places[2:15], places[31:36]])
    return np.concatenate([places[_JAW], places[_BROWS][::-1]])


def _grown(draw: ImageDraw.ImageDraw, own: Points, reach: float) -> None:
    """Fill the box of some points, and as far around it."""
    (left, top), (right, bottom) = own.min(axis=0) - reach, own.max(axis=0) + reach
    draw.rectangle((left, top, right, bottom), 255)


def share_inside(before: Tensor, after: Tensor, mask: Tensor) -> float:
    """How much of the change of an image lies in a region.

    Args:
        before: [3, R, R] in [-1, 1].
        after: The same image after an edit.
        mask: [R, R], 1 inside.

    Returns:
        From 0 to 1, of the summed squared differences; 1 without any change.
    """
    change = (
        blur((after.clamp(-1, 1) - before.clamp(-1, 1))[None], 0.01 * len(mask))[0].square().sum(dim=0).cpu()
    )
    whole = float(change.sum())
    return float((change * mask).sum()) / whole if whole > 0 else 1.0

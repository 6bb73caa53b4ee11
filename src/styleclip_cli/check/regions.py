"""Where things are in a face's image, and what can be read off it, by landmarks (iBUG 300-W) and colours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from styleclip_cli.photo.align import Face, Points
from styleclip_cli.weights.expected import Reading, Region

_BROWS, _NOSE, _MOUTH = slice(17, 27), slice(27, 36), slice(48, 68)
_BROWS_AND_EYES = [*range(17, 27), *range(36, 48)]
_UPPER_LIP, _LOWER_LIP = slice(61, 64), slice(65, 68)  # the inner edges
_WIDER = {"mouth": 1.6, "eyes": 1.4}
"""Sides of a region in sides of its landmarks' box."""


def five(face: Face) -> Points:
    """Middles of the eyes, tip of the nose and corners of the mouth, [5, 2] in pixels."""
    points = face.points
    eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    return np.stack([*eyes, points[30], points[48], points[54]])


def mask(region: Region, face: Face, side: int) -> Tensor:
    """Where something is in a face's image.

    Args:
        region: mouth, eyes (with brows) or hair (all that is above the brows).
        face: The face.
        side: Of the image in pixels.

    Returns:
        [side, side], bool; False everywhere if the landmarks lie outside of the image.
    """
    rows, columns = torch.arange(side)[:, None], torch.arange(side)[None, :]
    if region == "hair":
        return (rows < float(face.points[_BROWS, 1].min())).expand(side, side)
    points = face.points[_MOUTH if region == "mouth" else _BROWS_AND_EYES]
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2 * _WIDER[region]
    (left, top), (right, bottom) = (middle - half).tolist(), (middle + half).tolist()
    return (columns >= left) & (columns <= right) & (rows >= top) & (rows <= bottom)


def concentration(before: Tensor, after: Tensor, inside: Tensor) -> float:
    """How much more an image changed in a region than as a whole.

    Args:
        before: [3, R, R].
        after: [3, R, R].
        inside: The region, [R, R].

    Returns:
        Mean change there, in mean changes of the image; 0 if nothing changed.
    """
    change = (after.clamp(-1, 1) - before.clamp(-1, 1)).abs().mean(dim=0)
    whole = float(change.mean())
    return float(change[inside].mean()) / whole if whole > 0 and bool(inside.any()) else 0.0


def read(of: Reading, image: Tensor, face: Face) -> float:
    """Read something off a face's image without CLIP.

    Args:
        of: mouth: how far it is open, in distances of the eyes; skin: how light the nose is, from -1 to 1.
        image: [3, R, R] in [-1, 1].
        face: The face in it.
    """
    points = face.points
    if of == "mouth":
        lips = points[_LOWER_LIP].mean(axis=0) - points[_UPPER_LIP].mean(axis=0)
        return float(np.linalg.norm(lips)) / max(face.eyes, 1e-6)
    low, high = points[_NOSE].min(axis=0), points[_NOSE].max(axis=0)
    side = image.shape[-1]
    left, top = np.clip(np.floor(low), 0, side - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), (left + 1, top + 1), side).astype(int).tolist()
    return float(image[:, top:bottom, left:right].mean())

"""Find the faces in a photo, and 68 points in each."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from styleclip_cli.nets.landmarks import (
    CORNERS,
    DETAIL,
    FINDER_SIDE,
    Finder,
    Regressor,
    compose,
    place,
    sample,
)
from styleclip_cli.photo.align import Face

_PROMISING = 0.3  # heat of a cell, from which on it is looked at closely
_MOST = 64  # faces looked at in a photo
_PASSES = 3  # each from a better crop: the last moves by parts of a pixel
_SAME = 0.35  # middles closer than this many frames are of one face


class SmallLandmarker:
    """The two small networks of `nets.landmarks`: one finds faces in the whole photo, one looks closely.

    Faces may be turned by 45 degrees and somewhat beyond the photo's border; those under about 3 % of its
    longer side are missed.
    """

    def __init__(self, finder: Finder, regressor: Regressor, device: torch.device | str = "cpu") -> None:
        self.finder = finder.to(device)
        self.regressor = regressor.to(device)
        self.device = device

    @torch.inference_mode()
    def find(self, image: Image.Image) -> list[Face]:
        """Find faces.

        Args:
            image: A photo, RGB.

        Returns:
            The faces with their frames, the largest first.
        """
        frames = self._candidates(image)
        if not len(frames):
            return []
        for _ in range(_PASSES):
            crops = torch.cat([_cut(image, frame) for frame in frames]).to(self.device)
            points, inner, logits = (answer.cpu() for answer in self.regressor(crops))
            frames = compose(inner, frames)
        # The networks count from the corner of the first pixel, `align` from its middle.
        points = place(points, frames) - 0.5
        corners = place(CORNERS.expand(len(frames), -1, -1), frames) - 0.5
        scores = torch.sigmoid(logits)
        faces = [
            Face(points[i].double().numpy(), float(scores[i]), corners[i].double().numpy())
            for i in _distinct(frames, scores)
        ]
        return sorted(faces, key=_side, reverse=True)

    def _candidates(self, image: Image.Image) -> Tensor:
        """Frames of what looks like faces from far, as similarities [N, 4], pixels of the photo."""
        scale = FINDER_SIDE / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        whole = torch.zeros(1, 3, FINDER_SIDE, FINDER_SIDE)
        whole[0, :, :height, :width] = _tensor(image.resize((width, height), Image.Resampling.BILINEAR))
        heat, frames = self.finder(whole.to(self.device))
        peak = (heat == F.max_pool2d(heat[:, None], 3, 1, 1)[:, 0]) & (torch.sigmoid(heat) > _PROMISING)
        order = heat[peak].argsort(descending=True)[:_MOST]
        return frames[peak][order].cpu() / scale


def _cut(image: Image.Image, crop: Tensor) -> Tensor:
    """Cut a turned square, [4] in pixels, out of a photo for the regressor: [1, 3, 128, 128]."""
    corners = place(CORNERS[None], crop[None])[0]
    limit = torch.tensor(image.size)
    low = corners.amin(dim=0).floor().clamp(min=0).minimum(limit - 1)
    high = corners.amax(dim=0).ceil().minimum(limit).maximum(low + 1)
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    extent = right - left, bottom - top
    # Smaller first, lest detail alias.
    scale = min(1.0, DETAIL / max(1.0, 2 * math.hypot(*crop[2:].tolist())))
    size = math.ceil(extent[0] * scale), math.ceil(extent[1] * scale)
    part = image.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    moved = torch.cat([crop[:2] - low, crop[2:]])
    return sample(_tensor(part)[None], moved[None], extent=extent)


def _tensor(image: Image.Image) -> Tensor:
    """RGB -> [3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def _distinct(frames: Tensor, scores: Tensor) -> list[int]:
    """Which frames are faces, each once: of those in about one place, the surest."""
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        sides = 2 * frames[[i, *kept], 2:].norm(dim=1)
        away = (frames[kept, :2] - frames[i, :2]).norm(dim=1)
        if scores[i] > 0.5 and bool((away > _SAME * sides[1:].maximum(sides[:1])).all()):
            kept.append(i)
    return kept


def _side(face: Face) -> float:
    return 0.0 if face.frame is None else float(np.linalg.norm(face.frame[3] - face.frame[0]))

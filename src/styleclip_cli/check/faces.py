"""Checks of sampled faces: whether they are found, where their landmarks are, and who they are."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from styleclip_cli.check import regions
from styleclip_cli.check.report import Value
from styleclip_cli.check.samples import SHEET_COLUMNS, NotApplicableError, Samples
from styleclip_cli.errors import BadInputError
from styleclip_cli.photo.align import Face, cut, quad_for, square_quad
from styleclip_cli.photo.portrait import numbered
from styleclip_cli.save import to_image

_FILLS = (0.6, 1.6)
"""Sides of a face's own square, in sides of the image, with which it fills the image."""
_SHIFT, _LIGHTER = 0.005, 1.1
"""How the same face is shown again: moved by parts of the side, and its light multiplied."""


def _square(samples: Samples, image: Tensor, face: Face) -> np.ndarray | None:
    """The square that the pack's alignment cuts for a face, [4, 2]; None if its landmarks fall together."""
    try:
        return quad_for(samples.engine.pack.alignment, to_image(image), face)
    except BadInputError:
        return None


def found(samples: Samples) -> list[Value]:
    """Share of the samples in which there is a face that fills the image."""
    side = samples.engine.pack.resolution
    sizes = []
    for image, face in zip(samples.images, samples.faces, strict=True):
        quad = None if face is None else _square(samples, image, face)
        sizes.append(0.0 if quad is None else float(np.linalg.norm(quad[3] - quad[0])) / side)
    pairs = zip(samples.images, samples.faces, strict=True)
    samples.show("samples", [numbered(to_image(image), [face] if face else []) for image, face in pairs])
    filling = [_FILLS[0] <= size <= _FILLS[1] for size in sizes]
    seen = [size for size in sizes if size > 0]
    return [
        Value("share with a face", sum(filling) / len(filling), samples.expected.bars["faces"]),
        Value("its square, of the image", float(np.median(seen)) if seen else 0.0),
    ]


def landmarks(samples: Samples) -> list[Value]:
    """Mean distance of eyes, nose and mouth from their places in aligned faces."""
    side = samples.engine.pack.resolution
    points = np.stack([regions.five(face) for face in _some(samples)])
    places = np.array(samples.expected.places)
    away = np.linalg.norm((points + 0.5) / side - places, axis=2)
    return [Value("distance, of the side", float(away.mean()), samples.expected.bars["landmarks"], True)]


def alignment(samples: Samples) -> list[Value]:
    """Distance of the corners of samples from where aligning them puts these."""
    distances: list[float] = []
    aligned: list[Image.Image] = []
    for image, face in zip(samples.images, samples.faces, strict=True):
        quad = None if face is None else _square(samples, image, face)
        if quad is not None:
            picture = to_image(image)
            away = np.linalg.norm(quad - square_quad(picture), axis=1)
            distances.append(float(away.mean()) / picture.width)
            if len(aligned) < SHEET_COLUMNS:
                aligned.append(cut(picture, quad, picture.width))
    if not distances:
        raise NotApplicableError("no face was found")
    samples.show("aligned", aligned)
    bar = samples.expected.bars["alignment"]
    return [Value("distance of the corners, of the side", float(np.median(distances)), bar, True)]


def identity(samples: Samples) -> list[Value]:
    """How much more alike two images of a face are than two faces."""
    step = max(1, round(_SHIFT * samples.engine.pack.resolution))
    moved = F.pad(samples.images, (step, 0, step, 0), mode="reflect")[..., :-step, :-step]
    again = ((moved + 1) * _LIGHTER - 1).clamp(-1, 1)
    judge = samples.engine.judge
    first, second = judge.identity_embeddings(samples.images), judge.identity_embeddings(again)
    assert first is not None
    assert second is not None
    cosines = first @ second.T
    same = float(cosines.diagonal().mean())
    other = float((cosines.sum() - cosines.trace()) / (cosines.numel() - len(cosines)))
    return [
        Value("cosine of the same face less that of others", same - other, samples.expected.bars["identity"]),
        Value("the same", same),
        Value("others", other),
    ]


def _some(samples: Samples) -> list[Face]:
    some = [face for face in samples.faces if face is not None]
    if not some:
        raise NotApplicableError("no face was found")
    return some

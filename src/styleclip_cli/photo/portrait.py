"""A photo's faces, edited and put back: photo -> align -> invert -> edit -> synthesize -> paste back.

This module joins the stages for photos that contain more than the aligned crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.errors import BadInputError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.profile import stage
from styleclip_cli.photo.align import (
    OF_FACES,
    Face,
    Landmarker,
    Points,
    choose,
    cut,
    left_to_right,
    no_face,
    quad_for,
    square_quad,
)
from styleclip_cli.photo.blend import SPILLED, spill
from styleclip_cli.photo.filters import blur
from styleclip_cli.photo.masks import Limits
from styleclip_cli.photo.paste_back import paste
from styleclip_cli.photo.read import to_tensor
from styleclip_cli.settings import DEFAULT_COMPOSITE, CompositeMode, InversionSettings, Inverter

if TYPE_CHECKING:
    from styleclip_cli.weights.packs import Pack

_TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180)
# A square this close to the whole image, in parts of its side, is the whole image.
_ALIGNED = 0.06
# How far above the pack's floor the likeness of a face has to be for which the photo is turned.
_SURER = 0.2
# Crops are cut from this many pixels a side at the most, and scaled down: four times as many as they have.
_FINEST = 2048


class FaceModel(Protocol):
    """The part of an engine that finds, inverts and renders faces."""

    @property
    def pack(self) -> Pack:
        """Says how photos are aligned, and how large images are."""

    @property
    def encoder_input(self) -> int:
        """The side of what the encoder sees."""

    @property
    def landmarker(self) -> Landmarker:
        """Finds faces."""

    def invert(
        self, image: Tensor, settings: InversionSettings | None = None, *, encoder_input: Tensor | None = None
    ) -> FaceLatent:
        """Find the latent of one image."""

    def settings_for_inversion(self, inverter: Inverter | None = None) -> InversionSettings:
        """How latents are found by a method."""

    def render(self, faces: Sequence[FaceLatent]) -> Tensor:
        """Render faces."""


@dataclass(frozen=True, eq=False)
class AlignedCrop:
    """The part of a photo that a generator's images show.

    Attributes:
        image: The crop at the generator's size, [1, 3, R, R] in [-1, 1].
        encoder_input: The crop at the encoder's size, [1, 3, r, r].
        quad: Where it is in the photo: corners [4, 2], NW, SW, SE, NE.
        aligned: Whether it is the whole photo.
        number: Which of the photo's faces it is, counted from the left.
        count: How many faces were found in the photo; 0 if none was looked for.
        points: The face's 68 landmarks in the photo, [68, 2]; None if no face was looked for.
    """

    image: Tensor
    encoder_input: Tensor
    quad: Points
    aligned: bool
    number: int = 0
    count: int = 0
    points: Points | None = None


@dataclass(frozen=True, eq=False)
class InvertedFace:
    """A face of a photo.

    Attributes:
        portrait: Where it is.
        face: Its latent.
    """

    portrait: AlignedCrop
    face: FaceLatent


@dataclass(frozen=True, eq=False)
class Edited:
    """An edited photo.

    Attributes:
        image: The whole photo with the edited faces in it; of an aligned one the generator's image.
        faces: Each face after the edit.
        crops: Each face's edited image, [1, 3, R, R].
        spilled: Whether an edit changes what is along the border of a face's crop, and fades out there.
    """

    image: Image.Image | Tensor
    faces: Sequence[FaceLatent]
    crops: Sequence[Tensor]
    spilled: bool = False


def portraits(
    engine: FaceModel,
    photo: Image.Image,
    which: str | int = "largest",
    align: bool = True,
    faces: Sequence[Face] | None = None,
) -> list[AlignedCrop]:
    """Cut the crops that the pack's generator can reproduce out of a photo.

    Args:
        engine: Whose pack says how photos are aligned, and finds faces.
        photo: Mode RGB.
        which: Which face: "largest", "all", or a number from left to right.
        align: Look for faces, in packs of faces; else the middle square is taken.
        faces: The photo's faces (`faces_of`), if they are known already.

    Raises:
        BadInputError: If there is no such face.
    """
    alignment = engine.pack.alignment
    if not align or alignment == "none":
        return [_whole(engine, photo)]
    if alignment not in OF_FACES:
        return [_portrait(engine, photo, quad_for(alignment, photo))]
    faces = faces_of(engine, photo) if faces is None else faces
    if not faces:
        raise no_face()
    numbers = {id(face): number for number, face in enumerate(left_to_right(faces), start=1)}
    found = [
        replace(
            _portrait(engine, photo, quad_for(alignment, photo, face)),
            number=numbers[id(face)],
            count=len(faces),
            points=face.points,
        )
        for face in choose(faces, which)
    ]
    # One of several faces is not the photo, even if its square is nearly all of it.
    return found if len(found) == 1 else [replace(portrait, aligned=False) for portrait in found]


def faces_of(engine: FaceModel, photo: Image.Image) -> list[Face]:
    """Find the faces of a photo, also where they lie on their side or on their head.

    The photo is turned where none is found, or where the generator's image of the largest is under the
    pack's floor: finders take some chins for foreheads.

    Args:
        engine: Finds upright faces.
        photo: Mode RGB.

    Returns:
        Largest first, in coordinates of the photo as it is; empty if there is none.
    """
    first: list[Face] = []
    floor = engine.pack.floor
    for turn in (None, *_TURNS):
        turned = photo if turn is None else photo.transpose(turn)
        found = [_turned_back(face, turn, photo) for face in engine.landmarker.find(turned)]
        if found and (floor is None or _likeness(engine, photo, found[0]) >= floor + (_SURER if turn else 0)):
            return found
        if turn is None:
            first = found
    return first


def _likeness(engine: FaceModel, photo: Image.Image, face: Face) -> float:
    """How much what the generator draws for a face looks like it."""
    try:
        crop = _portrait(engine, photo, quad_for(engine.pack.alignment, photo, face))
    except BadInputError:  # no face that could be cut out
        return -1.0
    settings = engine.settings_for_inversion("encoder")
    drawn = engine.render([engine.invert(crop.image, settings, encoder_input=crop.encoder_input)])
    return likeness(crop.image[0], drawn[0])


def _turned_back(face: Face, turn: Image.Transpose | None, photo: Image.Image) -> Face:
    """A face of a turned photo where it is in the photo; pixels are counted from their middles."""
    right, bottom = photo.width - 1, photo.height - 1

    def back(points: Points) -> Points:
        x, y = points[:, 0], points[:, 1]
        if turn is Image.Transpose.ROTATE_90:
            return np.stack([right - y, x], axis=1)
        if turn is Image.Transpose.ROTATE_270:
            return np.stack([y, bottom - x], axis=1)
        return np.stack([right - x, bottom - y], axis=1)

    if turn is None:
        return face
    return Face(back(face.points), face.score, None if face.frame is None else back(face.frame))


def _whole(engine: FaceModel, photo: Image.Image) -> AlignedCrop:
    """The middle square of a photo, as an image of its own."""
    image, encoder_input = (to_tensor(photo, side) for side in (engine.pack.resolution, engine.encoder_input))
    return AlignedCrop(image, encoder_input, square_quad(photo), aligned=True)


def _portrait(engine: FaceModel, photo: Image.Image, quad: Points) -> AlignedCrop:
    size, close = engine.pack.resolution, engine.encoder_input
    if engine.pack.alignment == "car":
        image, encoder_input = (_letterboxed(cut(photo, quad, side, padding=False)) for side in (size, close))
        return AlignedCrop(image, encoder_input, quad, aligned=False)
    whole = square_quad(photo)
    side = float(np.linalg.norm(whole[3] - whole[0]))
    near = photo.width == photo.height and float(np.abs(quad - whole).max()) <= _ALIGNED * side
    if near or np.allclose(quad, whole):  # nothing is turned
        # A larger photo has detail that the generator's image lacks: the edit is laid over it.
        return replace(_whole(engine, photo), aligned=near and photo.width <= size)
    image = to_tensor(cut(photo, quad, size, min(4 * size, max(size, _FINEST))), size)
    # The encoder was trained on crops made without finer ones (e4e, utils/alignment.py).
    encoder_input = image if close == size else to_tensor(cut(photo, quad, close), close)
    return AlignedCrop(image, encoder_input, quad, aligned=False)


def _letterboxed(crop: Image.Image) -> Tensor:
    """A car's crop as LSUN's generators draw it: 4 to 3, between black bars."""
    image = to_tensor(crop, crop.width)
    bar = crop.width // 8
    image[:, :, :bar], image[:, :, crop.width - bar :] = -1.0, -1.0
    return image


def find_faces(
    engine: FaceModel,
    photo: Image.Image,
    which: str | int = "largest",
    align: bool = True,
    settings: InversionSettings | None = None,
    faces: Sequence[Face] | None = None,
) -> list[InvertedFace]:
    """Cut faces out of a photo and find their latents.

    Args:
        engine: Networks.
        photo: Mode RGB.
        which: Which face: "largest", "all", or a number from left to right.
        align: Look for faces; else the middle square is taken.
        settings: How latents are found; None takes the pack's.
        faces: The photo's faces (`faces_of`), if they are known already.

    Raises:
        BadInputError: If there is no such face.
    """
    with stage("find faces"):
        cut_out = portraits(engine, photo, which, align, faces)
    return [
        InvertedFace(one, engine.invert(one.image, settings, encoder_input=one.encoder_input))
        for one in cut_out
    ]


def shown(
    found: Sequence[InvertedFace], edited: Sequence[FaceLatent], limited: bool = False
) -> list[FaceLatent]:
    """The faces that `put_back` needs: edited, and unedited unless they are the whole photo.

    Args:
        found: Faces of a photo.
        edited: The same faces after an edit.
        limited: Whether they are put back within limits.
    """
    faces: list[FaceLatent] = []
    for one, face in zip(found, edited, strict=True):
        faces += [face] if one.portrait.aligned and not limited else [face, one.face]
    return faces


def put_back(
    engine: FaceModel,
    photo: Image.Image,
    found: Sequence[InvertedFace],
    edited: Sequence[FaceLatent],
    mode: CompositeMode = DEFAULT_COMPOSITE,
    pictures: Tensor | None = None,
    limits: Sequence[Limits] = (),
) -> Edited:
    """Render edited faces and put them back where they were.

    Args:
        engine: Networks.
        photo: Mode RGB.
        found: Its faces.
        edited: The same faces after an edit.
        mode: How the edit is put back; see `paste_back.paste`.
        pictures: What `shown` names, rendered already [M, 3, R, R]; None renders it here.
        limits: Where each face may change its photo; none for anywhere.
    """
    if pictures is None:
        pictures = engine.render(shown(found, edited, bool(limits)))
    rendered = iter(pictures)
    image: Image.Image | Tensor = photo
    crops, spilled = [], False
    for number, one in enumerate(found):
        after = next(rendered)
        crops.append(after[None])
        before = next(rendered) if limits or not one.portrait.aligned else None
        within = limits[number] if limits and not limits[number].everything else None
        if one.portrait.aligned and within is None:
            image = after
        elif within is None or not within.nothing:
            assert isinstance(image, Image.Image)
            assert before is not None
            with stage("paste back"):
                image, _ = paste(image, one.portrait.quad, before, after, mode, limits=within)
                spilled |= spill(before, after) > SPILLED
    return Edited(image, edited, crops, spilled)


def likeness(crop: Tensor, drawn: Tensor) -> float:
    """How much a generator's image looks like the face that it is to be.

    The mean of two correlations in the middle of the crop, of luminance and of fine structure. On 294 drawn
    faces the toy pack's encoder reached 0.76 in the middle, and 0.3 in 97 of 100; on 23 real ones (the faces
    of LFW that come with scikit-image) 0.3 in 2.

    Args:
        crop: The face, [3, R, R] in [-1, 1].
        drawn: The generator's image of its latent, [3, R, R].

    Returns:
        From -1 to 1.
    """
    steps = torch.linspace(-1, 1, crop.shape[-1])
    middle = torch.exp(-((steps[None, :] / 0.35) ** 2 + ((steps[:, None] - 0.05) / 0.4) ** 2) / 2)
    middle = middle / middle.sum()
    images = torch.stack([crop.detach().cpu(), drawn.detach().cpu().clamp(-1, 1)]).float()
    fine = images - torch.cat([blur(image[None], 0.04 * len(steps)) for image in images])
    grey = images.mean(dim=1, keepdim=True)
    grey = grey - (grey * middle).sum(dim=(1, 2, 3), keepdim=True)
    found = []
    for one, other in (grey, fine):
        energy = (one * one * middle).sum() * (other * other * middle).sum()
        found.append(float((one * other * middle).sum() / energy.sqrt().clamp(min=1e-9)))
    return sum(found) / 2


def numbered(photo: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """A photo with its faces boxed and numbered, as `choose` counts them, and their landmarks."""
    from PIL import ImageDraw, ImageFont

    picture = photo.copy()
    draw = ImageDraw.Draw(picture)
    width = max(2, round(min(photo.size) / 250))
    font = ImageFont.load_default(max(14, round(min(photo.size) / 18)))
    for number, face in enumerate(left_to_right(faces), start=1):
        left, top, right, bottom = face.box
        draw.rectangle((left, top, right, bottom), outline=(255, 196, 0), width=width)
        for x, y in face.points:
            draw.ellipse((x - width, y - width, x + width, y + width), fill=(0, 200, 255))
        draw.text(
            (left, top),
            str(number),
            (255, 255, 255),
            font,
            anchor="lb",
            stroke_width=width,
            stroke_fill=(0, 0, 0),
        )
    return picture

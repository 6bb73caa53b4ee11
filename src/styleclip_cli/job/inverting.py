"""The stages of `styleclip invert` that differ from those of an edit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from styleclip_cli.job.compose import corners_of
from styleclip_cli.job.faces import latent_of, quality_line, source_name
from styleclip_cli.job.result import EditResult, FaceResult
from styleclip_cli.job.stages import Tools, WorkItem, numbered_faces
from styleclip_cli.photo.portrait import portraits

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class InversionResult(EditResult):
    """The result of one input.

    Attributes:
        names: The name of each of its faces.
        crops: The image that each latent was found for, [3, R, R]; None for seeds and latents.
    """

    names: Sequence[str] = ()
    crops: Sequence[Tensor | None] = ()

    def lines(self, streamed: bool = False) -> list[str]:
        """Lines for the user: additional files, and the error of each latent."""
        told = [quality_line(face) or f"{self.seconds or 0:.1f} s" for face in self.latents]
        each = [f"{name}  {line}" for name, line in zip(self.names, told, strict=True)]
        return [*map(str, self.beside), *each]


def find_faces(one: WorkItem, tools: Tools) -> None:
    """Invert the faces of an input, and measure the errors.

    Raises:
        BadInputError: If there is no such face.
    """
    engine, request, name = tools.engine, tools.plan.request, one.item.name
    result = one.result = InversionResult(name, one.path, method="invert")
    began = time.monotonic()
    if one.photo is None:
        result.latents, result.names, result.crops = [latent_of(engine, one.item)], [name], [None]
        result.faces = [FaceResult(None, None, None, None, None)]
        one.seconds += time.monotonic() - began
        return
    for note in one.photo.notes:
        tools.tell(f"{name}: {note}")
    engine.check_photos(request.align)
    faces = numbered_faces(one, tools)
    result.beside = one.beside
    cut_out = portraits(engine, one.photo.image, request.face, request.align, faces)
    many = request.face == "all"
    result.names = [f"{name}#{n}" if many else name for n in range(1, len(cut_out) + 1)]
    kept = request.preview is not None  # a long batch keeps no images else
    result.crops = [portrait.image[0] if kept else None for portrait in cut_out]
    result.latents = [
        engine.invert(portrait.image, tools.inversion, encoder_input=portrait.encoder_input, measure=True)
        for portrait in cut_out
    ]
    result.faces = [FaceResult(None, None, None, None, corners_of(portrait)) for portrait in cut_out]
    one.seconds += time.monotonic() - began


def edit_faces(some: Sequence[WorkItem], tools: Tools) -> None:
    """Latents are not edited."""


def write(one: WorkItem, tools: Tools) -> None:
    """Write an input's latents, if each input has its own file.

    Raises:
        OutputError: If it cannot be written.
    """
    result = one.result
    assert isinstance(result, InversionResult)
    with one.clocked():
        if one.path is not None:
            tools.engine.save_inversions(one.path, result.latents, [source_name(n) for n in result.names])
            tools.written.append(one.path)
    result.path = result.latent_path = one.path or tools.plan.request.out
    result.seconds = one.seconds

"""Photos in, latents out: what `styleclip invert` does, by the plan and the stages of an edit."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from styleclip_cli.job import stages
from styleclip_cli.job.compose import corners_of
from styleclip_cli.job.faces import latent_of, quality_line, source_name
from styleclip_cli.job.overlap import Stages, overlapped
from styleclip_cli.job.plan import Plan
from styleclip_cli.job.result import EditResult, FaceResult
from styleclip_cli.job.run import Run, tools_of
from styleclip_cli.job.stages import Tools, WorkItem
from styleclip_cli.machine.progress import Tell, unheard
from styleclip_cli.photos.portrait import numbered, portraits
from styleclip_cli.save import save_image

if TYPE_CHECKING:
    from torch import Tensor

    from styleclip_cli.engine import Engine


@dataclass(eq=False)
class InversionResult(EditResult):
    """What became of one input.

    Attributes:
        names: What each of its faces is called.
        crops: The picture that each latent was found for, [3, R, R]; None for what is no photo.
        lines: How close each latent comes, in a few words.
    """

    names: Sequence[str] = ()
    crops: Sequence[Tensor | None] = ()
    lines: Sequence[str] = ()


def invert(
    plan: Plan, engine: Engine, tell: Tell = unheard, boxes: Mapping[str, Path] | None = None
) -> Run[InversionResult]:
    """Find the latents of faces, and how close they come.

    Args:
        plan: What is done; a file of latents is written for each input that has a path.
        engine: Networks.
        tell: Takes remarks.
        boxes: Where a photo goes with its faces numbered, by the name of the input.

    Returns:
        Results as `run.run` gives them.
    """
    tools = tools_of(plan, engine, tell)
    find = partial(_find, boxes=boxes or {})

    def results() -> Generator[InversionResult]:
        each = (stages.read, find, _nothing, _write)
        parts = Stages(*(partial(stage, tools=tools) for stage in each))
        for one, error in overlapped(map(WorkItem, plan.work), parts, fail_fast=plan.request.fail_fast):
            if error is not None:
                yield InversionResult(one.item.name, one.path, error=one.named(error))
            else:
                assert isinstance(one.result, InversionResult)
                yield one.result

    return Run(tools, results())


def _find(one: WorkItem, tools: Tools, boxes: Mapping[str, Path]) -> None:
    """Find the latents of one input's faces."""
    engine, request, name = tools.engine, tools.plan.request, one.item.name
    result = one.result = InversionResult(name, one.path, method="invert")
    began = time.monotonic()
    if one.photo is None:
        result.latents, result.names, result.crops = [latent_of(engine, one.item)], [name], [None]
        result.faces = [FaceResult(None, None, None, None, None)]
        result.lines = [f"{time.monotonic() - began + one.seconds:.1f} s"]
        return
    for note in one.photo.notes:
        tools.tell(f"{name}: {note}")
    engine.check_photos(request.align)
    if name in boxes:
        save_image(boxes[name], numbered(one.photo.image, engine.landmarker.find(one.photo.image)))
        result.beside = [boxes[name]]
    cut_out = portraits(engine, one.photo.image, request.face, request.align)
    many = request.face == "all"
    result.names = [f"{name}#{n}" if many else name for n in range(1, len(cut_out) + 1)]
    result.crops = [portrait.image[0] for portrait in cut_out]
    result.latents = [
        engine.find(portrait.image, tools.inversion, close_up=portrait.close_up, measure=True)
        for portrait in cut_out
    ]
    result.faces = [FaceResult(None, None, None, None, corners_of(portrait)) for portrait in cut_out]
    result.lines = [quality_line(face) for face in result.latents]
    one.seconds += time.monotonic() - began


def _nothing(some: Sequence[WorkItem], tools: Tools) -> None:
    """Latents are not edited."""


def _write(one: WorkItem, tools: Tools) -> None:
    """Write an input's latents, if each has a file of its own."""
    result = one.result
    assert isinstance(result, InversionResult)
    with one.clocked():
        if one.path is not None:
            result.latent_path = one.path
            tools.engine.save_inversions(one.path, result.latents, [source_name(n) for n in result.names])
            tools.written.append(one.path)
    result.seconds = one.seconds

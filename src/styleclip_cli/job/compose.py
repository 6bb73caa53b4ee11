"""Images of edited faces: put back into their photos, alone, or as a strip, a grid, an animation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.scores import clip_direction, scores
from styleclip_cli.errors import shortened
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.job.confine import confined
from styleclip_cli.job.doubts import after_edit, confidence_of, doubts, unlike
from styleclip_cli.job.result import EditResult, FaceResult
from styleclip_cli.photo.portrait import AlignedCrop, put_back, shown
from styleclip_cli.pictures.sheets import contact_sheet, grid
from styleclip_cli.recipe import MAX_WARNINGS, SAVED, WORDS, Recipe, Step
from styleclip_cli.save import picture_of, to_image

if TYPE_CHECKING:
    from styleclip_cli.job.stages import Tools, WorkItem

SMALL_CLIP = 50_000_000
"""Bytes of a CLIP that is loaded in no time; ViT-B/32 has 350 MB, and takes a second."""
SPILL = "the edit changes the background too; what reaches the border of the face's crop is left out"


def render(some: Sequence[WorkItem], tools: Tools) -> None:
    """Make the images of some edited inputs, all faces rendered together, and their results."""
    if not some:
        return
    wanted = [_wanted(one, tools) for one in some]
    pictures = tools.engine.render([face for faces in wanted for face in faces])
    gallery, watcher, request = tools.plan.gallery, tools.watcher, tools.plan.request
    for one, own in zip(some, pictures.split([len(faces) for faces in wanted]), strict=True):
        own, originals = _parted(one, own, tools)
        if one.is_one_picture:
            _compare(one, own, originals, tools)
        one.result = _result(one, own, tools)
        if gallery and one.photo is not None and one.is_one_picture and not request.crop:
            one.before = one.photo.image
        if watcher is not None:
            one.frames = watcher.frames()
        elif gallery.animation is not None:
            one.frames = dict(enumerate(_morph(one, tools)))


def _parted(one: WorkItem, pictures: Tensor, tools: Tools) -> tuple[Tensor, Sequence[Tensor]]:
    """The images of one input within its region, and those of its unedited faces if they are others."""
    originals: Sequence[Tensor] = ()
    if _draws_originals(one, tools):
        pictures, originals = pictures.split([len(pictures) - len(one.faces), len(one.faces)])
    if one.request.region:
        pictures = confined(one, pictures, originals, tools)
    return pictures, originals


def _result(one: WorkItem, pictures: Tensor, tools: Tools) -> EditResult:
    """The result of one input: its image and metadata."""
    image, spilled = _picture(one, pictures, tools)
    photo, metadata = one.photo, tools.plan.request.metadata
    said = doubts(one.edits, tools.engine.pack)
    result = EditResult(
        one.item.name,
        one.path,
        image,
        recipe=_recipe(one, tools, said) if metadata else None,
        mark=("edited" if photo is not None else "generated") if metadata else None,
        exif=photo.exif if photo is not None else None,
        latents=[face for strengths in one.edited for face in strengths],
        faces=[_face(one, number) for number in range(len(one.faces))],
        method=one.request.method_in_recipe,
        prompt=one.edits[0].target,
        neutral=one.edits[0].neutral or None,
        confidence=confidence_of(one.edits),
        edit_warnings=said,
        summary=_summary(one),
        warnings=[*one.warnings, *one.doubts, *([SPILL] if spilled else [])],
    )
    if photo is not None and photo.alpha is not None:
        if photo.image.size == image.size:
            result.alpha = photo.alpha
        else:
            where = one.item.name if one.path is None else one.path
            result.notes.append(f"{where}: the face alone; the photo's transparency is not kept")
    return result


def _draws_originals(one: WorkItem, tools: Tools) -> bool:
    """Whether the unedited faces are rendered too, for comparison, and are not anyhow (`shown`)."""
    if not one.is_one_picture:
        return False
    request, limited = tools.plan.request, bool(one.request.region)
    if limited and one.photo is None:
        return True
    alone = any(found.portrait.aligned for found in one.found) and not limited
    alone = alone or one.photo is None
    return ((request.scores or request.auto) and alone) or _needs_original(one, tools)


def _needs_original(one: WorkItem, tools: Tools) -> bool:
    """Whether the original still has to be rendered for comparison."""
    if not tools.plan.gallery.compares or len(one.faces) > 1:
        return False
    return one.photo is None or tools.plan.request.crop


def _wanted(one: WorkItem, tools: Tools) -> list[FaceLatent]:
    """The faces to render for one input."""
    if not one.is_one_picture:  # the face as it was found, then at each threshold and strength
        return [one.faces[0], *one.edited[0]]
    faces = _shown(one)
    return [*faces, *one.faces] if _draws_originals(one, tools) else faces


def _shown(one: WorkItem) -> list[FaceLatent]:
    """The faces to render for one image of each face."""
    edited = [strengths[0] for strengths in one.edited]
    return edited if one.photo is None else shown(one.found, edited, bool(one.request.region))


def _compare(one: WorkItem, pictures: Tensor, originals: Sequence[Tensor], tools: Tools) -> None:
    """Keep the image before the edit, score the edit where that image is there, and say what is doubtful."""
    if _needs_original(one, tools):
        one.before = to_image(originals[0])
    after, before = _after_and_before(one, pictures, originals)
    if not before:
        return
    engine, request = tools.engine, tools.plan.request
    for found, drawn in zip(one.found, before, strict=True) if one.photo is not None else ():
        if not found.portrait.aligned:
            one.warnings += unlike(found.portrait.image[0], drawn, engine.pack)
            break
    if one.request.method == "transfer" and not request.scores:
        return  # another's face is wanted
    measured = [choice.scores for choice in one.choices]
    if not measured:
        direction = clip_direction(engine.judge, one.edits[0]) if _asks_clip(one, tools) else None
        both = torch.stack(before), torch.stack(after)
        measured = scores(engine.judge, *both, direction, one.alphas[0])
    if request.scores or request.auto:
        one.scores = measured
    left_alone = any(limits.nothing for limits in one.limits)  # which is said already
    if one.request.method != "transfer" and not left_alone:
        crops: list[AlignedCrop | None] = [found.portrait for found in one.found] or [None]
        one.doubts += after_edit(one.edit_of(0), measured, after, before, crops, engine.pack)


def _asks_clip(one: WorkItem, tools: Tools) -> bool:
    """Whether progress toward the sentence is measured: not if a large CLIP were loaded for one photo."""
    request = tools.plan.request
    if one.request.method_in_recipe == SAVED:
        return False
    size = tools.engine.pack.components["clip"].path.stat().st_size
    return request.scores or request.auto or len(tools.plan.work) > 1 or size < SMALL_CLIP


def _after_and_before(
    one: WorkItem, pictures: Tensor, originals: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Images of the faces after the edit, and before it; of the latter none where one was not rendered."""
    rendered, after, before = iter(pictures), [], list(originals)
    for number in range(len(one.faces)):
        after.append(next(rendered))
        pasted = bool(one.request.region) or not one.found or not one.found[number].portrait.aligned
        if one.photo is not None and pasted:  # as `shown` orders them
            drawn = next(rendered)
            before += [] if len(originals) else [drawn]
    return after, before if len(before) == len(after) else []


def _picture(one: WorkItem, pictures: Tensor, tools: Tools) -> tuple[Image.Image, bool]:
    """The image, and whether the edit reaches the border of a face's crop."""
    if len(one.edits) > 1 and not one.choices:
        original, rows = pictures[0], pictures[1:].unflatten(0, (len(one.edits), len(one.alphas)))
        drawn = grid(
            [list(row) for row in rows],
            x_name="alpha",
            x_values=list(one.alphas),
            y_name="beta",
            y_values=_betas(one),
            original=original,
        )
        return drawn, False
    if not one.is_one_picture:
        labels = ["original", *(f"alpha {alpha:g}" for alpha in one.alphas)]
        return contact_sheet([list(pictures)], column_labels=labels), False
    if one.photo is None:
        return to_image(pictures[0]), False
    request = tools.plan.request
    edited = [strengths[0] for strengths in one.edited]
    back = put_back(tools.engine, one.photo.image, one.found, edited, request.composite, pictures, one.limits)
    if not request.crop:
        return picture_of(back.image), back.spilled
    crops = [crop[0] for crop in back.crops]
    return picture_of(crops[0] if len(crops) == 1 else contact_sheet([crops])), back.spilled


def _morph(one: WorkItem, tools: Tools) -> Iterator[Image.Image]:
    """Images from no edit to the full edit, for an animation."""
    from styleclip_cli.pictures.animate import eased

    parts = eased(1.0)
    full = [one.alpha_of(n) if one.choices else max(one.alphas, key=abs) for n in range(len(one.faces))]
    with tools.engine.progress("drawing the animation") as advance:
        for done, part in enumerate(parts):
            moved = [one.edit_of(n).edited(face, [part * full[n]])[0] for n, face in enumerate(one.faces)]
            step = replace(one, edited=[[face] for face in moved], alphas=[part], edits=one.edits[:1])
            drawn = _parted(step, tools.engine.render(_wanted(step, tools)), tools)[0]
            yield _picture(step, drawn, tools)[0]
            advance(done + 1, len(parts))


def _betas(one: WorkItem) -> list[float]:
    return [float(edit.entries()["beta"]) for edit in one.edits]


def _summary(one: WorkItem) -> str:
    """Strengths, and the values that were chosen."""
    parts = []
    for number in range(len(one.faces) if one.choices else 1):
        alphas = [one.alpha_of(number)] if one.choices else one.alphas
        words = f"alpha {', '.join(f'{alpha:g}' for alpha in alphas)}"
        parts.append(f"{words}  {one.edit_of(number).summary()}")
    told = "  |  ".join(parts)
    found = [f"similarity {s.similarity:.2f}" for s in one.scores[:1] if s.similarity is not None]
    found += [f"identity {s.identity:.2f}" for s in one.scores[:1] if s.identity is not None]
    return "  ".join([told, *found])


def _face(one: WorkItem, number: int) -> FaceResult:
    """The entries of one face."""
    said = one.edit_of(number).entries()
    betas = [edit.entries().get("beta") for edit in one.edits]
    strip = list(one.alphas) if not one.choices else []
    corners = None if one.photo is None else corners_of(one.found[number].portrait)
    return FaceResult(
        strip if len(strip) > 1 else one.alpha_of(number),
        betas if len(betas) > 1 and not one.choices else said.get("beta"),
        said.get("channels"),
        one.scores[number] if one.scores else None,
        corners,
    )


def corners_of(portrait: AlignedCrop) -> list[list[float]]:
    """Corners of a face's crop in its photo, to a tenth of a pixel."""
    return [[round(float(x), 1) for x in corner] for corner in portrait.quad]


def _recipe(one: WorkItem, tools: Tools, said: Sequence[str]) -> Recipe:
    """The recipe that reproduces the image."""
    engine, request, settings = tools.engine, tools.plan.request, tools.inversion
    edit, method, photo = one.edit_of(0), one.request.method_in_recipe, one.photo is not None
    entries: dict[str, Any] = {"layers": engine.relevance_settings.layers, "seed": engine.seed}
    if method == WORDS["global"]:
        entries["relevance"] = engine.relevance_mode
    entries |= {**edit.entries(), "identity": request.keep_identity, **one.request.region.entries()}
    entries["warnings"] = tuple([*said, *one.doubts][:MAX_WARNINGS]) or None
    if request.method == "optimize":
        entries |= {"official": request.optimize.official or None, "free": request.optimize.free or None}
    if one.request.method == "mapper" and one.request.steps[0].mapper is not None:
        entries["mapper"] = Path(one.request.steps[0].mapper).name
    if tools.watcher is not None and tools.watcher.cut_short:
        entries["iterations"] = tools.watcher.cut_short
    if isinstance(edit, Chain):
        entries["edits"] = _steps(edit, one.request.steps)
    elif method == SAVED:
        entries["edits"] = _steps(Chain(((edit, one.alpha_of(0)),)), one.request.steps)
    if len(one.edits) > 1 and not one.choices:
        entries |= {"beta": None, "channels": None, "betas": tuple(_betas(one))}
    return Recipe(
        method=method,
        prompt=shortened(edit.target, 1000),
        neutral=edit.neutral,
        alphas=(one.choices[0].alpha,) if one.choices else tuple(one.alphas),
        models=engine.pack.name,
        fingerprint=engine.fingerprint,
        sample=one.item.seed,
        inverter=settings.inverter if photo else None,
        steps=settings.steps if photo and settings.inverter != "encoder" else None,
        noise=settings.noise or None,
        face=request.face if photo else None,
        align=request.align if photo else None,
        composite=request.composite if photo else None,
        literal=True,
        **entries,
    )


def _steps(edit: Chain, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The entries of several edits in a recipe: texts as they were resolved, and no folders."""
    found = []
    for step, (part, alpha) in zip(steps, edit.steps, strict=True):
        if step.prompt is not None:
            beta = part.entries().get("beta")
            entries: dict[str, Any] = {"prompt": part.target, "neutral": part.neutral, "beta": beta}
            entries["literal"] = True
        else:
            entries = {
                name: Path(value).name
                for name, value in (("mapper", step.mapper), ("direction", step.direction))
                if value is not None
            }
        found.append(Step(alpha=alpha, **entries))
    return tuple(found)

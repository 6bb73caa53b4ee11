"""Edits that stay in a region (--only, --mask): where it is, and the edited faces drawn within it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.profile import stage
from styleclip_cli.photo import masks
from styleclip_cli.photo.masks import Limits

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.job.plan import Plan
    from styleclip_cli.job.stages import Tools, WorkItem


class _Drawn(NamedTuple):
    """An edited face that was rendered.

    Attributes:
        place: Which of the images shows it.
        number: Which of the input's faces it is.
        face: Its latent.
        before: The image of the unedited face, [3, R, R].
    """

    place: int
    number: int
    face: FaceLatent
    before: Tensor


def check(plan: Plan, engine: Engine) -> None:
    """Refuse parts of faces that the pack cannot find, before anything is computed.

    Raises:
        WeightsError: If it has no parser.
        UsageError: If its parser does not tell one of them apart.
    """
    words = dict.fromkeys(word for one in plan.work for word in one.request.region.only)
    if words:
        engine.networks.check_parts(words)


def confined(one: WorkItem, pictures: Tensor, originals: Sequence[Tensor], tools: Tools) -> Tensor:
    """Images of edited faces, changed within the region of their input only; keeps its limits.

    Args:
        one: The input; its `limits` are set, one for each face of a single image.
        pictures: What was rendered for it, [M, 3, R, R], as `compose` orders it.
        originals: Images of the unedited faces, where they are not among these.
        tools: The tools of the job.

    Returns:
        [M, 3, R, R].

    Raises:
        BadInputError: If its mask cannot be used.
    """
    result, limits = pictures.clone(), []
    for drawn in _edited(one, pictures, originals):
        within = _limits(one, drawn, pictures[drawn.place], tools)
        limits.append(within)
        if within.nothing:
            result[drawn.place] = drawn.before
            _warn(one)
        elif not within.everything:
            old = one.faces[drawn.number]
            image = tools.engine.renderer.confined([old], [drawn.face], within.crop)[0]
            result[drawn.place] = drawn.before.lerp(image, within.crop[0])
    one.limits = limits
    return result


def _edited(one: WorkItem, pictures: Tensor, originals: Sequence[Tensor]) -> Iterator[_Drawn]:
    """The edited faces among the images of an input."""
    if not one.is_one_picture:  # the unedited face, then one image for each threshold and strength
        for place, face in enumerate(one.edited[0], start=1):
            yield _Drawn(place, 0, face, pictures[0])
        return
    for number, strengths in enumerate(one.edited):
        if one.photo is None:
            yield _Drawn(number, number, strengths[0], originals[number])
        else:  # as `portrait.shown` orders them
            yield _Drawn(2 * number, number, strengths[0], pictures[2 * number + 1])


def _limits(one: WorkItem, drawn: _Drawn, after: Tensor, tools: Tools) -> Limits:
    """Where an edited face may change its image and its photo."""
    region, engine = one.request.region, tools.engine
    photo = None if one.photo is None else one.photo.image
    crop = one.found[drawn.number].portrait if photo is not None else None
    side = after.shape[-1]
    limits = Limits(torch.ones(1, 1, side, side))
    if region.mask is not None:
        mask = masks.read_mask(region.mask, round(tools.plan.request.max_megapixels * 1e6))
        quad = None if crop is None or crop.aligned else crop.quad
        limits = masks.of_mask(mask, photo, quad, side)
    if region.only:
        images = [drawn.before[None], after[None], *([] if crop is None else [crop.image.cpu()])]
        with stage("parse"):
            parts = masks.of_parts(engine.networks.parser, torch.cat(images), region.parts)
        limits = masks.both(limits, parts)
    return limits


def _warn(one: WorkItem) -> None:
    """Say that a face stays as it is."""
    region = one.request.region
    what = f"no {' or '.join(region.only)} is seen in the face, before or after the edit"
    if region.mask is not None:
        what = "the mask leaves nothing of the face" if not region.only else f"{what}, or not under the mask"
    said = f"{what}: it is left as it is"
    if said not in one.warnings:
        one.warnings.append(said)

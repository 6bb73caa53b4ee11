"""What an edit leaves of the old face in a photo, held against the same photo drawn with the true change.

In the region that the truth changes:

ghost    of the fine structure (picture less its blur) that should vanish, the share still there: 1 for the
         untouched photo, 0 for the truth. Only for edits that take something away or move it.
kept     of the fine structure that the truth has, the share that the result has.
energy   fine structure of the result over that of the truth: under 1 is soft, over 1 is noise or doubles.
dB       PSNR to the truth.
outside  mean change of the pixels outside that region, in 255ths.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from styleclip_cli.errors import BadInputError
from styleclip_cli.photo.align import gaussian
from styleclip_cli.photo.portrait import find_faces, put_back
from styleclip_cli.save import to_image
from styleclip_cli.settings import InversionSettings
from styleclip_cli.truth.cases import Case, PhotoEdit, Sight
from styleclip_cli.truth.methods import Editor

if TYPE_CHECKING:
    from styleclip_cli.engine import Engine
    from styleclip_cli.truth.worlds import World

Pixels = NDArray[np.float64]


_CHANGED = 8 / 255
"""Pixels that the truth changes by more are its region, with a margin of three."""


def ghosts(
    engine: Engine,
    world: World,
    case: Case,
    editor: Editor,
    n: int,
    first: int,
    settings: InversionSettings,
) -> dict[str, Any]:
    """Edit photos at the default strength, put the faces back, and measure.

    Args:
        engine: Finds, inverts and renders faces.
        world: Whose people are in the photos.
        case: One of those that it has a photo edit for.
        editor: Its edit.
        n: Photos.
        first: Seed of the first.
        settings: How faces are inverted.

    Returns:
        ghost: mean of |ghost|, a face that is not found counting 1 (None where nothing vanishes); kept, db,
        missed: faces that were not found; photos: how many. Empty for other cases.
    """
    edit = next((edit for edit in world.photo_edits if edit.prompt == case.prompt), None)
    if edit is None:
        return {}
    rows = []
    for scene in scenes_of(world, case, edit, n, first):
        photo = to_image(world.draw_scene(scene))
        truth = to_image(world.draw_scene(scene.with_attribute(0, edit.attribute, edit.after)))
        try:
            found = find_faces(engine, photo, settings=settings)
        except BadInputError:
            continue
        edited = [strengths[0] for strengths in editor.edited([one.face for one in found], [1.0])]
        made = put_back(engine, photo, found, edited).image
        image = made if isinstance(made, Image.Image) else to_image(made)
        row, _ = compared(values(photo), values(truth), values(image), scene.faces[0].side)
        rows.append(row)
    missed = n - len(rows)
    ghost = [*(abs(row[0]) for row in rows), *([1.0] * missed)]
    return {
        "ghost": float(np.mean(ghost)) if edit.vanishes else None,
        "kept": float(np.mean([row[1] for row in rows])) if rows else None,
        "db": float(np.mean([row[3] for row in rows])) if rows else None,
        "missed": missed,
        "photos": n,
    }


def scenes_of(world: World, case: Case, edit: PhotoEdit, n: int, first: int) -> Iterator[Any]:
    """The first n photos, from a seed on, of people whom the case is asked of (see `Case.sights`)."""
    sight = case.sights.get(edit.attribute, Sight())
    for seed in count(first):
        scene = scene_of(world, seed, edit.attribute, edit.before)
        if n > 0 and bool(sight.within(scene.faces[0].attributes[None], case.attributes)):
            n -= 1
            yield scene
        if n <= 0:
            return


def scene_of(world: World, seed: int, attribute: str | None, value: float, scale: float | None = None) -> Any:
    """A photo of one face that has nothing of what is edited.

    Args:
        world: Whose people are in it.
        seed: Same seed, same photo.
        attribute: What will be edited; None for nothing.
        value: Its value in the photo.
        scale: Side of the face's frame, in sides of the world's pictures; None leaves it to chance.

    Returns:
        The photo, to be drawn.
    """
    scene = world.make_scene(seed, count=1, size=(0.35, 0.9), out_of_frame=False)
    for name in world.bare:
        scene = scene.with_attribute(0, name, 0.0)
    if attribute is not None:
        scene = scene.with_attribute(0, "hair_length", 0.6).with_attribute(0, attribute, value)
    return scene if scale is None else scene.scaled(scale * world.resolution / scene.faces[0].side)


def values(image: Image.Image) -> Pixels:
    """Pixels in 0..1, [H, W, 3]."""
    return np.asarray(image, float) / 255


def compared(
    photo: Pixels, truth: Pixels, result: Pixels, side: float
) -> tuple[list[float], NDArray[np.bool_]]:
    """Measure an edited photo.

    Args:
        photo: Before, [H, W, 3] in 0..1.
        truth: As it should be after.
        result: As it is after.
        side: Of the face's frame, in pixels.

    Returns:
        ghost, kept, energy, dB and outside, and the region that the truth changes, [H, W].
    """
    sigma = max(1.0, side / 128) * 1.5
    changed = grown(np.abs(truth - photo).max(2) > _CHANGED, 3)
    old, new, made = (_fine(x, sigma) for x in (photo, truth, result))
    gone = (np.abs(old) > 2 * np.abs(new) + 3 / 255) & changed[..., None]
    energy = (new**2)[changed].sum()
    row = [
        ((old - new) * (made - new))[gone].sum() / max(((old - new) ** 2)[gone].sum(), 1e-9),
        (made * new)[changed].sum() / energy,
        (made**2)[changed].sum() / energy,
        10 * np.log10(1 / max(((result - truth) ** 2)[changed].mean(), 1e-9)),
        255 * np.abs(result - photo)[~changed].mean(),
    ]
    return [float(value) for value in row], changed


def grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """A mask [H, W] and what is next to it, so many times."""
    for _ in range(steps):
        wide = np.pad(mask, 1)
        mask = mask | wide[2:, 1:-1] | wide[:-2, 1:-1] | wide[1:-1, 2:] | wide[1:-1, :-2]
    return mask


def _fine(picture: Pixels, sigma: float) -> Pixels:
    """A picture's fine structure."""
    return picture - gaussian(picture.astype(np.float32), sigma)

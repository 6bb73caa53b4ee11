"""Make the pictures of the documentation: `python docs/pictures.py [photos] [composite] [methods] [beside]`.

Those of the studio are made by `docs/studio_pictures.py`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from PIL import Image, ImageOps

from styleclip_cli.cli import main
from styleclip_cli.edits.edit import Edit
from styleclip_cli.engine import Engine
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.photo.portrait import find_faces, numbered, portraits, put_back, shown
from styleclip_cli.pictures.sheets import contact_sheet
from styleclip_cli.save import picture_of, save_image, to_image
from styleclip_cli.settings import CompositeMode
from styleclip_cli.toyworld.attributes import COUNT, INDEX, attributes_of_normals
from styleclip_cli.toyworld.renderer import render_all
from styleclip_cli.weights.mappers import slug

sys.path.insert(0, str(Path(__file__).parent.parent))
from styleclip_cli.toyworld.scenes import draw, make_scene

FOLDER = Path(__file__).parent
# Held-out scenes: two people, a turned head, a small face, one partly outside the photo.
SCENES: tuple[tuple[int, dict[str, Any], str], ...] = (
    (70_000_109, {"count": 2, "size": (0.3, 0.5), "out_of_frame": False}, "with glasses"),
    (70_000_108, {"count": 1, "size": (0.5, 0.7), "roll": (25.0, 35.0), "out_of_frame": False}, "smiling"),
    (70_000_105, {"count": 1, "size": (0.25, 0.35), "out_of_frame": False}, "with a hat"),
    (70_000_105, {"count": 1, "size": (0.5, 0.7), "out_of_frame": True}, "with sunglasses"),
)
CELL = 160


def cell(image: Image.Image) -> Image.Image:
    """A whole photo in a square cell, on paper."""
    return ImageOps.pad(image, (CELL, CELL), Image.Resampling.LANCZOS, color=(250, 249, 246))


def photos() -> None:
    """From photos to edited photos: every stage, and the three inverters."""
    engine = Engine("toy")
    rows = []
    for seed, wishes, prompt in SCENES:
        photo = to_image(draw(make_scene(seed, sides=(420, 640), presence_rate=0.15, **wishes)))
        direction = engine.direction(prompt, "face")
        portrait = portraits(engine, photo)[0]
        row = [cell(photo), cell(numbered(photo, engine.landmarker.find(photo))), to_image(portrait.image)]
        for inverter in ("encoder", "refine", "pivotal"):
            settings = engine.settings_for_inversion(inverter)  # type: ignore[arg-type]
            found = engine.invert(portrait.image, settings, encoder_input=portrait.encoder_input)
            row.append(to_image(engine.render([found])))
        edited = engine.edit_photo(
            photo,
            direction,
            engine.default_alpha,
            which="all",
            inverter=inverter,  # type: ignore[arg-type]
        )
        assert edited.image is not None
        after = engine.edit(found, direction, [engine.default_alpha])
        row += [to_image(after[0]), cell(edited.image)]
        rows.append(row)
    labels = ["photo", "faces found", "crop", "encoder", "refine", "pivotal", "edited", "put back"]
    prompts = [prompt for _, _, prompt in SCENES]
    save_image(FOLDER / "photos.png", contact_sheet(rows, prompts, labels, cell=CELL), mark="generated")


def composite() -> None:
    """Eight photos by eight sentences, put back in two ways: only adding what changed, and the default."""
    prompts = (
        "smiling",
        "sad",
        "a bald head",
        "with bangs",
        "with blond hair",
        "with glasses",
        "with a beard",
    )
    prompts = (*prompts, "with red lipstick")
    engine = Engine("toy")
    directions = [engine.direction(p, "a head with hair" if "bald" in p else "face") for p in prompts]
    rows = []
    for seed in range(74_000_000, 74_000_008):
        scene = make_scene(seed, count=1, size=(0.55, 0.75), sides=(420, 640), out_of_frame=False)
        for name in ("glasses", "sunglasses", "hat", "beard", "moustache", "fringe", "mouth_open"):
            scene = scene.with_attribute(0, name, 0.0)
        photo = to_image(draw(scene.with_attribute(0, "hair_length", 0.5)))
        found = find_faces(engine, photo)
        row = [cell(photo)]
        for direction in directions:
            edited = direction.edited(found[0].face, [engine.default_alpha])
            pictures = engine.render(shown(found, edited))
            for mode in get_args(CompositeMode)[1::-1]:
                back = put_back(engine, photo, found, edited, mode, pictures)
                row.append(cell(picture_of(back.image)))
        rows.append(row)
    labels = ["photo", *(f"{prompt}: {how}" for prompt in prompts for how in ("residual", "adaptive"))]
    sheet = contact_sheet(rows, [], labels, cell=128)
    save_image(FOLDER / "composite.jpg", sheet, mark="generated", quality=80)


def methods() -> None:
    """Six held-out faces, inverted from their pixels, by four prompts and three methods each."""
    engine = Engine("toy")
    rng = torch.Generator().manual_seed(31_000_000)
    rows, labels = [], ["face"]
    drawn = render_all(_plain(torch.randn(6, COUNT, generator=rng)))
    faces = FaceLatent(engine.invert_w_plus(drawn, keep=False))
    columns = [engine.render([faces])]
    for prompt in ("with glasses", "with a beard", "with red hair", "smiling"):
        edits: list[tuple[str, Edit, float]] = [
            ("global", engine.direction(prompt), engine.default_alpha),
            ("optimize", engine.optimization(prompt), 1.0),
            ("mapper", engine.mapper(slug(prompt)), 1.0),
        ]
        for name, edit, alpha in edits:
            columns.append(engine.render([edit.edited(faces, [alpha])[0]]))
            labels.append(f"{prompt}: {name}")
    rows = [[column[row] for column in columns] for row in range(6)]
    save_image(FOLDER / "methods.png", contact_sheet(rows, [], labels, cell=88), mark="generated")


def _plain(u: torch.Tensor) -> torch.Tensor:
    """Faces without what the prompts ask for."""
    attributes = attributes_of_normals(u)
    for name in ("glasses", "sunglasses", "beard", "hair_red", "hair_grey", "hat"):
        attributes[:, INDEX[name]] = 0.05
    attributes[:, INDEX["smile"]] = attributes[:, INDEX["smile"]] * 0.4
    attributes[:, INDEX["hair_length"]] = attributes[:, INDEX["hair_length"]].clamp(min=0.45)
    return attributes


def beside() -> None:
    """What `styleclip edit` draws beside its results, and what `demo` does."""
    with TemporaryDirectory() as name:
        out = Path(name)
        for number, (seed, wishes, _) in enumerate(SCENES[:3]):
            photo = to_image(draw(make_scene(seed, sides=(420, 640), presence_rate=0.15, **wishes)))
            save_image(out / "photos" / f"holiday-{number + 1}.jpg", photo)
        edit = ["edit", "--models", "toy", "--overwrite", "--quiet"]
        photos = [str(path) for path in sorted((out / "photos").iterdir())]
        run(
            [*edit, *photos, "seed:4-6", "-p", "with sunglasses", "--sheet", "sheet.jpg", "--out", f"{out}/s"]
        )
        grid = ["--alpha=-4:4:5", "--beta", "0.05:0.25:3", "--out", "grid.png"]
        run([*edit, "seed:21", "-p", "smiling", *grid])
        run([*edit, photos[1], "-p", "with sunglasses", "--diff", "--out", f"{out}/d.png"])
        shutil.copy(out / "d_diff.png", FOLDER / "difference.png")
        run(["demo", "--out", f"{out}/demo"])
        shutil.copy(out / "demo" / "demo.png", FOLDER)


def run(arguments: list[str]) -> None:
    """Run a command in the folder of the documents."""
    os.chdir(FOLDER)
    if main(arguments) != 0:
        sys.exit(f"styleclip {' '.join(arguments)} failed")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["photos", "composite", "methods", "beside"]:
        {"photos": photos, "composite": composite, "methods": methods, "beside": beside}[name]()

"""Edits that stay in a region: masks, what is drawn within them, and the commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from networks import generator_state
from parsers import with_parser
from styleclip_cli import Engine
from styleclip_cli.cli import main
from styleclip_cli.cli.completion import parts
from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.edit import Edit
from styleclip_cli.errors import UsageError, WeightsError
from styleclip_cli.job.values import parse_parts
from styleclip_cli.nets.stylegan2 import Generator
from styleclip_cli.photo.masks import REACH, Limits, of_mask, of_parts, read_mask
from styleclip_cli.photo.paste_back import paste
from styleclip_cli.save import to_image
from styleclip_cli.settings import PARTS, OptimizeSettings

FACE = Path(__file__).parent.parent / "examples" / "face.png"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy pack, with a parser that takes what is red for hair."""
    return with_parser("toy", tmp_path_factory.mktemp("parsing") / "toy")


@pytest.fixture(scope="module")
def engine(toy: Path) -> Engine:
    return Engine(toy, device="cpu")


@pytest.fixture(scope="module")
def glasses(engine: Engine) -> Edit:
    return engine.direction("with glasses")


@pytest.fixture(scope="module")
def face() -> Image.Image:
    return Image.open(FACE).convert("RGB")


def pixels(image: Any) -> np.ndarray:
    return np.asarray(image)


def opened(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def changed(one: Any, other: Any) -> np.ndarray:
    """Where two images differ, [H, W]."""
    return (pixels(one) != pixels(other)).any(axis=-1)


# --- the generator ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawing() -> tuple[Generator, torch.Tensor, torch.Tensor]:
    """A generator, and styles of two faces before and after."""
    generator = Generator.from_state_dict(generator_state()).eval().requires_grad_(False)
    w_plus = generator.w_plus(torch.randn(4, 16))
    before, after = generator.style_space.concat(generator.styles(w_plus)).chunk(2)
    return generator, before, after


def test_outside_a_mask_nothing_is_drawn_anew(drawing: tuple[Generator, torch.Tensor, torch.Tensor]) -> None:
    generator, before, after = drawing
    old, new = (generator.synthesize(generator.style_space.split(each)) for each in (before, after))
    mask = torch.zeros(2, 1, 32, 32)
    assert torch.allclose(generator.confined(before, after, mask), old, atol=1e-5)
    assert torch.allclose(generator.confined(before, after, mask + 1), new, atol=1e-5)
    mask[:, :, :, 16:] = 1
    half = generator.confined(before, after, mask)
    assert torch.allclose(half[..., :16], old[..., :16], atol=1e-5)
    assert float((half[..., 16:] - old[..., 16:]).abs().mean()) > 0.1 * float((new - old).abs().mean())
    # What is inside sees what is around it: it is not just cut out of the edited image.
    assert float((half[..., 16:] - new[..., 16:]).abs().mean()) > 1e-3


# --- masks ------------------------------------------------------------------------------------------------


class Square(torch.nn.Module):
    """Sees hair where an image is white."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("none", torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(images), len(PARTS), *images.shape[2:])
        found[:, PARTS.index("hair")] = (images[:, 0] > 0.5).float()
        return found


def test_a_part_is_where_it_was_or_will_be_and_a_little_more() -> None:
    images = torch.full((2, 3, 128, 128), -1.0)
    images[0, :, 20:40, 20:40] = 1
    images[1, :, 80:90, 60:100] = 1
    mask = of_parts(Square(), images, ["hair"])
    assert mask.shape == (1, 1, 256, 256)
    either = (images[0, 0] > 0) | (images[1, 0] > 0)
    large = either.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert bool((mask[0, 0][large] == 1).all())
    reach = round(2 * REACH * 256) + 1
    near = torch.nn.functional.max_pool2d(large[None].float(), 2 * reach + 1, 1, reach)[0] > 0
    assert not mask[0, 0][~near].any()
    assert 0 < float(mask[0, 0][near & ~large].mean()) < 1
    assert not of_parts(Square(), images, ["hat"]).any()
    assert 2 * REACH < 0.03


def test_masks_are_read_by_their_transparency_or_their_brightness(tmp_path: Path) -> None:
    grey = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    rgba = np.dstack([np.full((32, 32, 3), 200, np.uint8), grey])
    for number, image in enumerate((Image.fromarray(grey), Image.fromarray(rgba))):
        path = tmp_path / f"{number}.png"
        image.save(path)
        assert np.array_equal(pixels(read_mask(path, 10**6)), grey)
    Image.new("L", (32, 32)).save(path)  # another one of the same name
    assert not pixels(read_mask(path, 10**6)).any()


def test_what_may_not_change_does_not_when_it_is_laid_over() -> None:
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (90, 120, 3), np.uint8))
    quad = np.array([[20, 10], [15, 70], [75, 75], [80, 15]], np.float64)
    before, after = torch.rand(2, 3, 64, 64) * 2 - 1
    mask = Image.fromarray(random.integers(0, 2, (90, 120), np.uint8) * 255)
    limits = of_mask(mask, photo, quad, 64)
    for mode in ("adaptive", "residual", "replace"):
        free, _ = paste(photo, quad, before, after, mode)
        held, strength = paste(photo, quad, before, after, mode, limits=limits)
        black = pixels(mask) == 0
        assert not changed(held, photo)[black].any()
        assert not strength[black].any()
        assert np.array_equal(pixels(held)[~black], pixels(free)[~black])


def test_limits_know_their_ends() -> None:
    one = torch.ones(1, 1, 8, 8)
    assert Limits(one).everything
    assert not Limits(one, photo=np.zeros((4, 4), np.float32)).everything
    assert Limits(one * 0).nothing


# --- photos -----------------------------------------------------------------------------------------------


def test_a_white_mask_is_none_and_a_black_one_leaves_the_photo(
    engine: Engine, glasses: Edit, face: Image.Image
) -> None:
    white = np.full((256, 256), 255, np.uint8)
    free = engine.edit_photo(face, glasses, 4.0)
    assert np.array_equal(pixels(free.image), pixels(engine.edit_photo(face, glasses, 4.0, mask=white).image))
    black = engine.edit_photo(face, glasses, 4.0, mask=white * 0)
    assert np.array_equal(pixels(black.image), pixels(face))
    assert black.warnings == ["the mask leaves nothing of the face: it is left as it is"]


def test_a_face_at_the_border_of_its_photo(engine: Engine, glasses: Edit, face: Image.Image) -> None:
    cut = face.crop((60, 20, 256, 256))
    free = engine.edit_photo(cut, glasses, 4.0)
    assert free.faces[0].corners is not None
    assert min(x for x, _ in free.faces[0].corners) < -5
    for value, wanted in ((255, free.image), (0, cut)):
        made = engine.edit_photo(cut, glasses, 4.0, mask=Image.new("L", cut.size, value))
        assert np.array_equal(pixels(made.image), pixels(wanted))
        assert any("leaves nothing" in said for said in made.warnings) == (value == 0)


def test_half_of_a_photo(engine: Engine, glasses: Edit, face: Image.Image) -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[:, 128:] = 255
    made = engine.edit_photo(face, glasses, 4.0, mask=mask)
    free = engine.edit_photo(face, glasses, 4.0)
    assert not changed(made.image, face)[:, :128].any()
    assert changed(made.image, face)[:, 140:].sum() > 0.5 * changed(free.image, face)[:, 140:].sum()


@pytest.mark.parametrize("kind", ["direction", "chain", "transfer", "optimize", "mapper"])
def test_every_method_stays_in_its_region(
    kind: str, engine: Engine, glasses: Edit, face: Image.Image
) -> None:
    edit: Edit = glasses
    if kind == "chain":
        edit = Chain(((glasses, 3.0), (engine.direction("smiling"), 3.0)))
    elif kind == "transfer":
        other = engine.invert(torch.rand(1, 3, 128, 128) * 2 - 1)
        edit = engine.mix(other, [4, 5])
    elif kind == "optimize":
        edit = engine.optimization("with glasses", settings=OptimizeSettings(steps=2, learning_rate=0.3))
    elif kind == "mapper":
        edit = engine.mapper("with-glasses")
    alpha = 1.0 if kind != "direction" else 4.0
    mask = np.zeros((256, 256), np.uint8)
    mask[60:160, 128:] = 255
    made = engine.edit_photo(face, edit, alpha, mask=mask)
    assert not changed(made.image, face)[mask == 0].any()
    assert changed(made.image, face).any()


def test_the_part_before_and_after(engine: Engine, glasses: Edit, face: Image.Image) -> None:
    made = engine.edit_photo(face, glasses, 4.0, only="hair")
    assert made.recipe is not None
    assert made.recipe.only == "hair"
    # Red enough in the photo, or before or after the edit: nowhere near black hair, or the blue behind it.
    red = torch.from_numpy(pixels(face)[None, ..., 0] > 130).float()
    near = torch.nn.functional.max_pool2d(red, 25, 1, 12)[0] > 0
    assert not changed(made.image, face)[~near.numpy()].any()
    assert changed(made.image, face).any()


def test_a_part_that_is_not_there(engine: Engine, glasses: Edit, face: Image.Image) -> None:
    made = engine.edit_photo(face, glasses, 4.0, only="hat")
    assert np.array_equal(pixels(made.image), pixels(face))
    assert made.warnings == ["no hat is seen in the face, before or after the edit: it is left as it is"]


def test_both_limits_hold(engine: Engine, glasses: Edit, face: Image.Image) -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[128:] = 255
    made = engine.edit_photo(face, glasses, 8.0, only=["hair"], mask=mask)
    alone = engine.edit_photo(face, glasses, 8.0, only=["hair"])
    assert not changed(made.image, face)[:128].any()
    assert changed(alone.image, face)[:128].any()


def test_generated_faces(
    toy: Path, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = pixels(to_image(engine.synthesize(engine.styles(engine.sample([7])))[0]))
    mask = np.zeros((128, 128), np.uint8)
    mask[:, 64:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    command = [
        "edit",
        "seed:7",
        "--models",
        str(toy),
        "--prompt",
        "smiling",
        "--mask",
        str(tmp_path / "mask.png"),
    ]
    assert main([*command, "--out", str(tmp_path / "out.png")]) == 0
    made = opened(tmp_path / "out.png")
    assert not changed(made, plain)[:, :64].any()
    assert changed(made, plain)[:, 64:].any()
    # A strip: the face as it is, then each strength.
    assert main([*command, "--alpha", "2,4", "--out", str(tmp_path / "strip.png")]) == 0
    assert opened(tmp_path / "strip.png").shape[1] > 3 * 128
    assert main([*command, "--mask", str(FACE), "--out", str(tmp_path / "no.png")]) == 3
    assert "the mask has 256x256 pixels, the generated image 128x128" in capsys.readouterr().err


# --- commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(toy))
    return tmp_path


def test_a_recipe_repeats_its_region(here: Path, face: Image.Image) -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[100:] = 255
    Image.fromarray(mask).save("below.png")
    command = ["edit", str(FACE), "--prompt", "smiling", "--only", "hair,hat", "--mask", "below.png"]
    assert main([*command, "--out", "first.png"]) == 0
    first = opened("first.png")
    assert not changed(first, face)[:100].any()
    assert changed(first, face).any()
    assert main(["edit", str(FACE), "--recipe", "first.png", "--out", "again.png"]) == 0
    assert np.array_equal(opened("again.png"), pixels(first))
    Path("below.png").rename("elsewhere.png")
    assert main(["edit", str(FACE), "--recipe", "first.png", "--out", "third.png"]) == 3
    command = ["edit", str(FACE), "--recipe", "first.png", "--mask", "elsewhere.png", "--out", "third.png"]
    assert main(command) == 0
    assert np.array_equal(opened("third.png"), pixels(first))


def test_rows_of_a_manifest_have_regions_of_their_own(here: Path, face: Image.Image) -> None:
    (here / "masks").mkdir()
    mask = np.zeros((256, 256), np.uint8)
    mask[:, 128:] = 255
    Image.fromarray(mask).save("masks/right.png")
    with (here / "masks" / "rows.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["input", "output", "prompt", "only", "mask"])
        rows.writerow([FACE, "a.png", "with glasses", "", "right.png"])
        rows.writerow([FACE, "b.png", "with glasses", "hat", ""])
    assert main(["edit", "--manifest", "masks/rows.csv", "--out", "out"]) == 0
    made = opened("out/a.png")
    assert changed(made, face).any()
    assert not changed(made, face)[:, :128].any()
    assert np.array_equal(opened("out/b.png"), pixels(face))


def test_transfer_in_a_region(here: Path, face: Image.Image) -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[:128] = 255
    Image.fromarray(mask).save("above.png")
    command = ["transfer", str(FACE), "--from", "seed:3", "--layers", "coarse,medium", "--mask", "above.png"]
    assert main([*command, "--out", "out.png"]) == 0
    made = opened("out.png")
    assert changed(made, face)[:128].any()
    assert not changed(made, face)[128:].any()


def test_wrong_regions(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["edit", str(FACE), "--prompt", "smiling", "--out", "out.png"]

    def told(*options: str) -> str:
        assert main([*command, *options]) > 0
        return capsys.readouterr().err

    assert "unknown --only 'elbows'" in told("--only", "hair,elbows")
    assert "--only background, skin, brows" in told("--only", "elbows")
    assert "no such file" in told("--mask", "nowhere.png")
    Image.new("L", (100, 80)).save("small.png")
    assert "the mask has 100x80 pixels, the photo 256x256" in told("--mask", "small.png")
    Path("text.png").write_text("no image")
    assert "not a picture" in told("--mask", "text.png")
    assert "does not tell earrings from the rest" in told("--only", "earrings")
    said = told("--models", "toy", "--only", "hair")
    assert "the model pack toy has no parser" in said
    assert "ffhq (styleclip models pull NAME --with parser)" in said
    assert not Path("out.png").exists()
    with pytest.raises(UsageError, match="elbows"):
        parse_parts("elbows")


def test_parts_are_completed_one_after_the_other() -> None:
    assert parts("ha") == ["hair", "hat"]
    assert parts("hair,ear") == ["hair,ears", "hair,earrings"]


def test_a_mask_needs_no_parser(here: Path, face: Image.Image, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (256, 256), 255).save("all.png")
    command = ["edit", str(FACE), "--models", "toy", "--prompt", "smiling", "--mask", "all.png", "--json"]
    assert main([*command, "--out", "out.png"]) == 0
    assert json.loads(capsys.readouterr().out)["error"] is None
    assert changed(opened("out.png"), face).any()


def test_an_animation_stays_in_its_region(here: Path) -> None:
    mask = np.zeros((128, 128), np.uint8)
    mask[:, 64:] = 255
    Image.fromarray(mask).save("right.png")
    command = ["edit", "seed:7", "--prompt", "smiling", "--mask", "right.png", "--animation", "a.gif"]
    assert main([*command, "--out", "out.png"]) == 0
    with Image.open("a.gif") as frames:
        shown = [pixels(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(frames)]
    most = np.abs(np.stack(shown) - shown[0]).max(axis=(0, 3))
    assert most[:, 70:].max() > 30
    assert most[:, :60].max() < 10  # of the palette


def test_what_a_pack_without_a_parser_says(pack: Path) -> None:
    with pytest.raises(WeightsError, match="no parser, which finds parts of a face"):
        Engine(pack, device="cpu").edit_photo(np.zeros((32, 32, 3), np.uint8), Chain(()), 1.0, only="hair")

"""Whole photos: faces found, edited and put back, and every photo that has none to edit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.paste_back import compared, scene_of, values
from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError
from styleclip_cli.photo.portrait import numbered, portraits
from styleclip_cli.save import read_metadata, save_image, to_image
from styleclip_cli.toyworld.attributes import COUNT, INDEX, attributes_of_normals
from styleclip_cli.toyworld.renderer import render_all
from styleclip_cli.toyworld.scenes import PlacedFace, Scene, draw, make_scene, square
from styleclip_cli.toyworld.truth import WORLD
from styleclip_cli.truth.judging import read_all
from styleclip_cli.truth.worlds import load_judge
from tests.portraits import edit_photo


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


def people(seeds: list[int]) -> list[torch.Tensor]:
    """Attributes of faces without glasses, hats or sunglasses."""
    found = []
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        attributes = attributes_of_normals(torch.randn(1, COUNT, generator=rng))[0]
        for name in ("glasses", "sunglasses", "hat", "beard"):
            attributes[INDEX[name]] = 0.0
        found.append(attributes)
    return found


def scene(frames: list[tuple[float, float, float, float]], size: tuple[int, int] = (480, 360)) -> Scene:
    """People at (x, y, side, roll)."""
    placed = zip(people(list(range(50, 50 + len(frames)))), frames, strict=True)
    faces = tuple(PlacedFace(a, square(np.array([x, y]), side, roll)) for a, (x, y, side, roll) in placed)
    return Scene(*size, 11, faces)


@pytest.fixture(scope="module")
def two() -> Image.Image:
    return to_image(draw(scene([(130, 190, 210, 0.0), (350, 180, 190, 20.0)])))


def near(quad: np.ndarray, frame: np.ndarray) -> float:
    """Largest distance of the corners in parts of the side (photos count from the first pixel's middle)."""
    side = np.linalg.norm(frame[3] - frame[0])
    return float(np.linalg.norm(quad - (frame - 0.5), axis=1).max() / side)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_faces_are_found_where_they_are(engine: Engine) -> None:
    wanted = scene([(130, 190, 210, 0.0), (350, 180, 190, 20.0)])
    found = portraits(engine, to_image(draw(wanted)), "all")
    assert len(found) == 2
    for portrait, face in zip(found, wanted.faces, strict=True):
        assert near(portrait.quad, face.frame) < 0.03
        assert not portrait.aligned
        assert portrait.image.shape == (1, 3, 128, 128)


def test_the_largest_or_a_numbered_face_is_taken(engine: Engine, two: Image.Image) -> None:
    largest, second = portraits(engine, two)[0], portraits(engine, two, "2")[0]
    assert largest.quad.mean(axis=0)[0] < 240 < second.quad.mean(axis=0)[0]
    with pytest.raises(BadInputError, match="2 faces were found"):
        portraits(engine, two, "3")


def test_a_cropped_face_is_recognised(engine: Engine) -> None:
    picture = to_image(render_all(people([60])[0][None])[0])
    assert portraits(engine, picture)[0].aligned
    assert isinstance(edit_photo(engine, picture, engine.direction("smiling"), 4.0).image, torch.Tensor)


def test_a_larger_crop_keeps_its_pixels(engine: Engine) -> None:
    """The generator's picture has fewer: the edit is laid over the crop, all of which is the quad."""
    picture = to_image(render_all(people([60])[0][None])[0]).resize((300, 300), Image.Resampling.BICUBIC)
    portrait = portraits(engine, picture)[0]
    assert not portrait.aligned
    assert np.allclose(portrait.quad, [[-0.5, -0.5], [-0.5, 299.5], [299.5, 299.5], [299.5, -0.5]])
    edited = edit_photo(engine, picture, engine.direction("with glasses"), 4.0).image
    assert isinstance(edited, Image.Image)
    assert edited.size == (300, 300)


def test_of_several_faces_none_is_the_whole_photo(engine: Engine, monkeypatch) -> None:
    picture = to_image(draw(scene([(64, 64, 128, 0.0)], (128, 128))))
    face = engine.landmarker.find(picture)[0]
    other = replace(face, frame=face.frame * 0.3 + 60)
    monkeypatch.setattr(type(engine.landmarker), "find", lambda self, image: [face, other])
    edited = edit_photo(engine, picture, engine.direction("with glasses"), 4.0, which="all")
    assert isinstance(edited.image, Image.Image)
    assert len(edited.crops) == 2


def test_cars_are_cut_between_black_bars(engine: Engine, monkeypatch) -> None:
    monkeypatch.setattr(engine, "pack", replace(engine.pack, alignment="car"))
    for size in ((400, 300), (400, 400), (300, 500)):
        crop = portraits(engine, Image.new("RGB", size, "white"))[0].image
        assert (crop[:, :, :16] == -1).all()
        assert (crop[:, :, -16:] == -1).all()
        assert (crop[:, :, 20:-20, 20:-20] > 0.98).all()


@pytest.mark.parametrize("mode", ["adaptive", "residual", "replace"])
def test_an_edit_comes_back_into_the_photo(engine: Engine, two: Image.Image, mode: str) -> None:
    direction = engine.direction("with glasses")
    edited = edit_photo(engine, two, direction, 4.0, which="1", mode=mode)  # type: ignore[arg-type]
    assert isinstance(edited.image, Image.Image)
    before, after = np.asarray(two, np.int64), np.asarray(edited.image, np.int64)
    changed = (before != after).any(axis=2)
    assert changed.any()
    assert not changed[:, 250:].any()  # the other person, and the backdrop around
    judge = load_judge(engine)
    crops = torch.cat([portraits(engine, p, "1")[0].image for p in (two, edited.image)])
    glasses = read_all(judge, crops)[:, INDEX["glasses"]]
    assert glasses[0] < 0.3
    assert glasses[1] > 0.6


def test_residual_changes_less_than_replacing(engine: Engine, two: Image.Image) -> None:
    direction = engine.direction("with glasses")
    counts = []
    for mode in ("residual", "replace"):
        after = edit_photo(engine, two, direction, 4.0, which="1", mode=mode).image  # type: ignore[arg-type]
        counts.append(int((np.asarray(after) != np.asarray(two)).any(axis=2).sum()))
    assert counts[0] < 0.5 * counts[1]


def test_closed_lips_do_not_show_through_an_open_mouth(engine: Engine) -> None:
    """Lips and teeth are much structure; a mix of their colours resembles the old line by chance."""
    scene = scene_of(WORLD, 73_000_002, "mouth_open", 0.0)
    photo, true = (to_image(draw(one)) for one in (scene, scene.with_attribute(0, "mouth_open", 1.0)))
    edited = engine.edit_photo(photo, engine.direction("with an open mouth", "face"), engine.default_alpha)
    (ghost, *_), _ = compared(values(photo), values(true), values(edited.image), scene.faces[0].side)
    assert abs(ghost) < 0.15


def test_all_faces_are_edited(engine: Engine, two: Image.Image) -> None:
    edited = edit_photo(engine, two, engine.direction("with a hat"), 4.0, which="all")
    changed = (np.asarray(edited.image) != np.asarray(two)).any(axis=2)
    assert changed[:, :240].any()
    assert changed[:, 240:].any()
    assert len(edited.faces) == len(edited.crops) == 2


def test_faces_are_numbered_on_a_picture(engine: Engine, two: Image.Image) -> None:
    picture = numbered(two, engine.landmarker.find(two))
    assert picture.size == two.size
    assert (np.asarray(picture) != np.asarray(two)).any()


# On the command line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two: Image.Image) -> Path:
    monkeypatch.setenv("STYLECLIP_MODELS", "toy")
    monkeypatch.chdir(tmp_path)
    two.save(tmp_path / "two people \N{GRINNING FACE}.png")
    return tmp_path


NAME = "two people \N{GRINNING FACE}.png"


def one_error(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("styleclip: error:")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return err


def test_a_photo_comes_back_whole_or_as_a_crop(here: Path) -> None:
    assert main(["edit", NAME, "-p", "smiling", "-o", "whole.png", "-q"]) == 0
    assert size_of(here / "whole.png") == (480, 360)
    assert main(["edit", NAME, "-p", "smiling", "-o", "crop.png", "--crop", "-q"]) == 0
    assert size_of(here / "crop.png") == (128, 128)
    assert main(["edit", NAME, "-p", "smiling", "-o", "square.png", "--no-align", "-q"]) == 0
    assert size_of(here / "square.png") == (128, 128)


def test_an_edit_is_replayed_on_another_photo(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = ["edit", NAME, "-p", "with glasses", "-a", "3", "--face", "2", "-o", "first.png", "-q"]
    assert main(edit) == 0
    assert main(["edit", NAME, "--recipe", "first.png", "--face", "2", "-o", "again.png", "-q"]) == 0
    first, again = (np.asarray(Image.open(here / name)) for name in ("first.png", "again.png"))
    assert np.array_equal(first, again)
    assert read_metadata(here / "again.png") == read_metadata(here / "first.png")
    whole = ["--face", "all", "--composite", "replace", "-q"]
    assert main(["edit", NAME, "-p", "with glasses", *whole, "-o", "both.png"]) == 0
    assert main(["edit", NAME, "--recipe", "both.png", "-o", "same.png", "-q"]) == 0
    both, same = (np.asarray(Image.open(here / name)) for name in ("both.png", "same.png"))
    assert np.array_equal(both, same)
    assert main(["info", "again.png"]) == 0
    out = capsys.readouterr().out
    assert "face with glasses" in out
    assert "edited by AI" in out


def test_transparency_and_formats_survive(here: Path) -> None:
    photo = Image.open(here / NAME).convert("RGBA")
    photo.putalpha(Image.new("L", photo.size, 200))
    photo.save(here / "alpha.png")
    assert main(["edit", "alpha.png", "-p", "smiling", "-o", "o.webp", "-q"]) == 0
    with Image.open(here / "o.webp") as image:
        assert image.convert("RGBA").getchannel("A").getextrema() == (200, 200)
    assert main(["edit", "alpha.png", "-p", "smiling", "--format", "jpg", "--quality", "80", "-q"]) == 0
    with Image.open(here / "alpha_smiling.jpg") as image:
        assert image.format == "JPEG"


def test_invert_writes_all_faces_and_numbers_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invert", NAME, "--face", "all", "--faces", "numbered", "-o", "l.npz"]) == 0
    assert "#2  MSE" in capsys.readouterr().out
    assert len(Engine("toy").load_inversions(here / "l.npz")) == 2
    assert size_of(next((here / "numbered").iterdir())) == (480, 360)


def test_twelve_faces(here: Path, capsys: pytest.CaptureFixture[str], engine: Engine) -> None:
    frames = [(75 + 150 * x, 80 + 150 * y, 140, 0.0) for y in range(3) for x in range(4)]
    photo = to_image(draw(scene(frames, (600, 460))))
    count = len(engine.landmarker.find(photo))
    assert count == 12
    photo.save("crowd.png")
    assert main(["edit", "crowd.png", "-p", "smiling", "--face", "13", "-o", "o.png"]) == 3
    assert "12 faces were found" in one_error(capsys.readouterr().err)
    assert main(["edit", "crowd.png", "-p", "smiling", "--face", "all", "-o", "o.png", "-q"]) == 0
    changed = (np.asarray(Image.open("o.png")) != np.asarray(photo)).any(axis=2)
    for x, y, side, _ in frames:
        reach = int(side / 4)
        assert changed[int(y) - reach : int(y) + reach, int(x) - reach : int(x) + reach].any()


def clutter() -> Image.Image:
    return to_image(draw(make_scene(3, count=0)))


def tiny_face() -> Image.Image:
    return to_image(draw(scene([(240, 180, 12, 0.0)])))  # its head is 8 pixels high


def gone() -> Image.Image:
    return to_image(draw(scene([(900, 180, 200, 0.0)])))


@pytest.mark.parametrize("photo", [clutter, tiny_face, gone])
def test_photos_without_a_face(here: Path, capsys: pytest.CaptureFixture[str], photo) -> None:
    photo().save(here / "p.png")
    assert main(["edit", "p.png", "-p", "smiling", "-o", "o.png"]) == 3
    err = one_error(capsys.readouterr().err)
    assert "no face was found" in err
    assert "a larger face, seen from the front" in err
    assert "--no-align" in err
    assert not (here / "o.png").exists()


@pytest.mark.parametrize("roll", [90.0, 180.0])
def test_a_face_turned_too_far_is_no_crash(
    here: Path, capsys: pytest.CaptureFixture[str], roll: float
) -> None:
    to_image(draw(scene([(240, 180, 250, roll)]))).save(here / "p.png")
    assert main(["edit", "p.png", "-p", "smiling", "-o", "o.png"]) in (0, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_files_that_are_no_photos_do_not_stop_the_rest(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty.png").touch()
    (here / "loop.png").symlink_to("loop.png")
    (here / "text.jpg").write_text("hello")
    clutter().save(here / "clutter.png")
    inputs = ["empty.png", "loop.png", "text.jpg", "clutter.png", NAME, f"./{NAME}"]
    assert main(["edit", *inputs, "-p", "smiling", "--out", "out"]) == 7
    captured = capsys.readouterr()
    assert "4 of 5 failed, 1 written" in captured.err  # the same photo twice is one photo
    assert len(list((here / "out").iterdir())) == 1


def test_mistakes_of_photo_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in (
        (["--face", "left"], 2),
        (["--face", "0"], 2),
        (["--face", "all", "--alpha", "2,4"], 2),
        (["--inverter", "encoder", "--inversion-steps", "5"], 2),
        (["--composite", "blend"], 2),
        (["--format", "bmp"], 2),
        (["--recipe", NAME], 3),
        (["--max-megapixels", "0.1"], 3),
    ):
        assert (
            main(["edit", NAME, "-p", "smiling", "-o", "o.png", *arguments]) == code
            or arguments[0] == "--recipe"
        )
        capsys.readouterr()
    assert main(["edit", NAME, "--recipe", NAME, "-o", "o.png"]) == 3
    assert "holds no recipe" in one_error(capsys.readouterr().err)


def test_large_photos_are_refused_or_allowed(here: Path) -> None:
    save_image(here / "p.png", Image.open(here / NAME))
    assert main(["edit", "p.png", "-p", "smiling", "--max-megapixels", "0.17", "-o", "a.png", "-q"]) == 3
    assert main(["edit", "p.png", "-p", "smiling", "--max-megapixels", "0.18", "-o", "a.png", "-q"]) == 0


def test_a_recipe_says_when_weights_are_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = '{"schema": "styleclip.recipe/1", "prompt": "smiling", "models": "toy", "fingerprint": "1234"}'
    (here / "r.json").write_text(text)
    assert main(["edit", NAME, "--recipe", "r.json", "-o", "o.png"]) == 0
    err = capsys.readouterr().err
    assert "other weights" in err
    assert 'target "smiling face"' in err  # what a person writes is joined, as on the command line
    assert read_metadata(here / "o.png")["literal"] is True


def test_errors_name_the_photo(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        clutter().save(here / name)
    assert main(["edit", "a.png", "b.png", "-p", "smiling", "--out", "out"]) == 3
    err = capsys.readouterr().err
    assert "a.png: no face" in err
    assert "b.png: no face" in err


def test_nothing_to_invert_is_no_bug(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "text.png").write_text("hello")
    assert main(["invert", "missing.png", "text.png", "-o", "l.npz"]) == 3
    assert not (here / "l.npz").exists()
    assert "2 of 2 failed" in capsys.readouterr().err


def test_numbered_faces_of_namesakes_do_not_collide(here: Path) -> None:
    for folder in ("a", "b"):
        (here / folder).mkdir()
        Image.open(here / NAME).save(here / folder / "p.png")
    assert main(["invert", "a/p.png", "b/p.png", "--faces", "f", "-o", "l.npz", "-q"]) == 0
    assert len(list((here / "f").iterdir())) == 2
    assert main(["invert", "a/p.png", "--faces", "f", "-o", "m.npz", "-q"]) == 5


def test_an_edit_that_changes_the_background_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = ["edit", NAME, "--face", "1", "--json", "--out"]
    for prompt, warned in (("with blue lipstick", 1), ("with glasses", 0)):
        assert main([*edit, f"{prompt}.png", "--prompt", prompt]) == 0
        out, err = capsys.readouterr()
        assert len([one for one in json.loads(out)["warnings"] if "background" in one]) == warned
        assert ("changes the background too" in err) == bool(warned)


def test_recipes_of_earlier_versions_are_put_back_as_they_were(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit = ["edit", NAME, "--overwrite", "-q", "-p", "smiling", "--out"]
    assert main([*edit, "old.png", "--composite", "residual"]) == 0
    assert main([*edit, "new.png"]) == 0
    for name in ("old", "new"):
        assert main(["edit", NAME, "-q", "--recipe", f"{name}.png", "--out", f"{name}-again.png"]) == 0
    old, new, old_again, new_again = (
        np.asarray(Image.open(f"{name}.png")) for name in ("old", "new", "old-again", "new-again")
    )
    np.testing.assert_array_equal(old, old_again)
    np.testing.assert_array_equal(new, new_again)
    assert (old != new).any()

"""Recipes: what makes an edit replayable survives, and nothing a stranger writes into one does harm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from styleclip_cli import __version__, save
from styleclip_cli.errors import BadInputError
from styleclip_cli.job import recipes
from styleclip_cli.recipe import Recipe

FULL = Recipe(
    prompt="face with glasses 😎",
    neutral="face",
    alphas=(2.5, -4.0),
    beta=0.123456789,
    channels=60,
    layers="fs3",
    models="ffhq",
    fingerprint="ab" * 32,
    seed=5,
    steps=200,
    inverter="e4e",
)


def test_it_survives_json() -> None:
    text = FULL.to_json()
    assert text.isascii()
    assert text == FULL.to_json()
    assert Recipe.from_json(text) == FULL
    assert Recipe.from_json(text.encode()) == FULL
    assert json.loads(text)["schema"] == "styleclip.recipe/1"


def test_what_does_not_apply_is_left_out() -> None:
    assert Recipe(prompt="smiling").entries() == {
        "method": "global directions",
        "prompt": "smiling",
        "version": __version__,
    }


def test_entries_of_later_versions_are_skipped() -> None:
    values = json.loads(FULL.to_json()) | {"brush": "afro", "nested": {"deep": [1]}}
    assert Recipe.from_json(json.dumps(values)) == FULL


def test_people_write_one_alpha() -> None:
    assert Recipe.from_mapping({"prompt": "smiling", "alpha": 4}).alphas == (4.0,)
    assert Recipe.from_mapping({"alpha": [1, 2]}).alphas == (1.0, 2.0)


def test_where_a_pack_lies_is_not_told() -> None:
    assert Recipe(models="/home/someone/packs/mine").models == "mine"
    assert Recipe(models="C:\\Users\\someone\\mine").models == "mine"


BAD = {
    "no JSON": "{",
    "a list": "[1, 2]",
    "a text": '"smiling"',
    "empty": "",
    "nan": '{"beta": NaN}',
    "nan where nobody looks": '{"x": NaN}',
    "infinity": '{"alphas": [Infinity]}',
    "overflow": '{"alphas": [1e999]}',
    "many digits": '{"alphas": [' + "9" * 5000 + "]}",
    "huge": '{"channels": 1' + "0" * 400 + "}",
    "deep": "[" * 60_000,
    "deep inside": '{"prompt": ' + "[" * 30_000 + "]" * 30_000 + "}",
    "too long": '{"prompt": "' + "x" * 2001 + '"}',
    "too large": '{"x": "' + "x" * 70_000 + '"}',
    "a number as prompt": '{"prompt": 7}',
    "a list as prompt": '{"prompt": ["a"]}',
    "half a surrogate pair": '{"prompt": "\\ud800"}',
    "a text as alpha": '{"alphas": ["4"]}',
    "true as alpha": '{"alphas": true}',
    "no alphas": '{"alphas": []}',
    "too many alphas": '{"alphas": [' + ",".join("1" * 257) + "]}",
    "beta out of range": '{"beta": 1.5}',
    "half a channel": '{"channels": 1.5}',
    "a negative seed": '{"seed": -1}',
    "no method": '{"method": 3}',
    "another schema": '{"schema": "styleclip.recipe/9"}',
    "a strange schema": '{"schema": {"a": [1]}}',
}


@pytest.mark.parametrize("name", BAD)
def test_what_makes_no_sense_is_one_clear_error(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        Recipe.from_json(BAD[name], "file.json")
    assert caught.value.message.startswith("file.json: ")
    assert len(caught.value.message) < 250
    assert "\n" not in caught.value.message


def test_bytes_of_no_encoding_are_refused() -> None:
    with pytest.raises(BadInputError, match="not a usable recipe"):
        Recipe.from_json(b'{"prompt": "\xff\xfe\x00"}')


def test_code_asking_for_nonsense_is_told() -> None:
    with pytest.raises(ValueError, match="beta must be a number from 0 to 1"):
        Recipe(beta=float("nan"))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_it_is_loaded_from_an_edited_picture(tmp_path: Path, suffix: str) -> None:
    save.save_image(tmp_path / f"edited.{suffix}", Image.new("RGB", (20, 20)), FULL)
    assert recipes.load(tmp_path / f"edited.{suffix}") == FULL


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.npz", "..", "C:\\secret.npz", "a/b", "~/x/y"])
@pytest.mark.parametrize("what", ["mapper", "direction", "mask"])
def test_a_picture_names_no_file_by_its_path(tmp_path: Path, name: str, what: str) -> None:
    def naming(file: str) -> Recipe:
        return Recipe(mask=file) if what == "mask" else Recipe(edits=[{what: file}, {"prompt": "smiling"}])

    made = naming(name)
    save.save_image(tmp_path / "edited.png", Image.new("RGB", (20, 20)), made)
    with pytest.raises(BadInputError, match="names a file by its path"):
        recipes.load(tmp_path / "edited.png")
    (tmp_path / "own.json").write_text(made.to_json())  # a person's own may
    assert recipes.load(tmp_path / "own.json") == made
    plain = naming("with-glasses.npz")
    save.save_image(tmp_path / "edited.png", Image.new("RGB", (20, 20)), plain)
    assert recipes.load(tmp_path / "edited.png") == plain


def test_it_is_loaded_from_json_and_toml(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(FULL.to_json())
    (tmp_path / "b.toml").write_text('prompt = "smiling"\nneutral = "face"\nalpha = 4\nbeta = 0.1\n')
    assert recipes.load(tmp_path / "a.json") == FULL
    assert recipes.load(tmp_path / "b.toml") == Recipe(
        prompt="smiling", neutral="face", alphas=(4.0,), beta=0.1
    )


@pytest.mark.skipif(os.name == "nt", reason="no such files")
def test_files_that_hold_none_are_one_clear_error(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "plain.png")
    save.save_image(tmp_path / "notes.png", Image.new("RGB", (20, 20)), {"seed": 3})
    (tmp_path / "nan.toml").write_text("beta = nan\n")
    (tmp_path / "bad.toml").write_text("beta = = 3\n")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 20_000)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "large.json").write_text('{"x": "' + "x" * 70_000 + '"}')
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to("loop.json")
    os.mkfifo(tmp_path / "pipe.json")
    names = [path.name for path in tmp_path.iterdir()] + ["absent.json", "absent.png", "a\0.json"]
    for name in names:
        with pytest.raises(BadInputError) as caught:
            recipes.load(tmp_path / name)
        assert "\n" not in caught.value.message, name

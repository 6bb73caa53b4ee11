"""`styleclip info`: what it says of pictures, latents, directions, weights, and of what is none of these."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import PngInfo

from checkpoints import E4E_OPTIONS, encoder_checkpoint, mapper_checkpoint, random_mapper, rosinality_state
from networks import arcface_state, clip_state, encoder_state
from styleclip_cli import __version__, latents, save
from styleclip_cli.cli.info import info
from styleclip_cli.errors import StyleClipError
from styleclip_cli.machine import cache
from styleclip_cli.recipe import Recipe
from styleclip_cli.weights.files import save_weights

RECIPE = Recipe(
    prompt="face with glasses",
    neutral="face",
    alphas=(4.0,),
    beta=0.123456789,
    channels=60,
    models="toy",
    fingerprint="ab12",
)


def run(*names: object, as_json: bool = False) -> int:
    try:
        info([str(name) for name in names], as_json)
    except StyleClipError as error:
        return int(error.exit_code)
    return 0


def told(capsys: pytest.CaptureFixture[str], *names: object) -> dict[str, Any]:
    assert run(*names, as_json=True) == 0
    return json.loads(capsys.readouterr().out)


def photo_of(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0132] = "Maker\0", "Model 7", "2025:01:01 00:00:00"
    exif.get_ifd(IFD.Exif).update({0x9003: "2024:05:06 07:08:09", 0xA434: "A lens"})
    Image.new("RGB", (40, 30), "red").save(path, exif=exif.tobytes())
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_an_edited_picture_tells_its_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = tmp_path / f"моё 😀 {suffix}.{suffix}"
    save.save_image(path, Image.new("RGB", (40, 30)), RECIPE, mark="edited")
    assert run(path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"{suffix}.{suffix}: {save.FORMATS[path.suffix]} picture, 40x30")
    assert f"  made by: styleclip {__version__}" in lines
    assert "  mark: edited by AI (compositeWithTrainedAlgorithmicMedia)" in lines
    for line in (
        "prompt: face with glasses",
        "neutral: face",
        "alphas: 4  (strength)",
        "beta: 0.123456789  (least relevance of a shifted channel)",
        "models: toy",
    ):
        assert f"  {line}" in lines
    found = told(capsys, path)
    assert found["recipe"] == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in RECIPE.entries().items()
        if name != "version"
    }
    assert (found["format"], found["width"], found["height"]) == (save.FORMATS[path.suffix], 40, 30)


def test_a_photo_tells_when_and_with_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, photo_of(tmp_path / "a.jpg"))
    assert found["date"] == "2024:05:06 07:08:09"
    assert found["camera"] == "Maker Model 7"
    assert found["lens"] == "A lens"
    assert (found["made_by"], found["recipe"], found["ai"]) == (None, None, None)
    run(tmp_path / "a.jpg")
    assert "made by: not by styleclip, or it does not say" in capsys.readouterr().out


def test_notes_of_a_generated_face_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save.save_image(tmp_path / "a.png", Image.new("RGB", (40, 30)), {"seed": 7}, mark="generated")
    found = told(capsys, tmp_path / "a.png")
    assert found["recipe"] == {"seed": 7}
    assert (found["date"], found["camera"]) == (None, None)
    assert found["ai"] == "trainedAlgorithmicMedia"


def test_nothing_is_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save.save_image(tmp_path / "a.png", Image.new("RGB", (400, 300)), RECIPE)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: whole.index(b"IDAT") + 20])
    assert told(capsys, tmp_path / "a.png")["recipe"]["prompt"] == "face with glasses"


def test_files_of_ours_tell_what_they_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latents.write(
        tmp_path / "w.npz",
        latents.Latents(np.zeros((3, 4, 8), np.float32), latents.provenance("abc", "toy", ["a", "b", "c"])),
    )
    cache.save_npz(
        tmp_path / "d.npz", {"delta": np.zeros(9)}, {"target": "smiling"}, schema="styleclip.direction/1"
    )
    found = told(capsys, tmp_path / "w.npz")
    assert (found["kind"], found["arrays"]) == ("latents", {"w_plus": [3, 4, 8]})
    assert found["details"]["models"] == "toy"
    assert run(tmp_path / "w.npz", tmp_path / "d.npz") == 0
    out = capsys.readouterr().out
    assert f"w.npz: latents\n  made by: styleclip {__version__}\n  w_plus: 3x4x8\n" in out
    assert "  sources: a, b, c\n" in out
    assert "d.npz: direction\n" in out
    assert "  target: smiling\n" in out


def test_weights_tell_their_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {"a": torch.ones(2, 3), "b": torch.ones(4)}
    save_weights(tmp_path / "a.safetensors", state, {"part": "generator", "layout": "rosinality"})
    found = told(capsys, tmp_path / "a.safetensors")
    assert found["kind"] == "weights"
    assert [(p["part"], p["layout"], p["tensors"], p["numbers"]) for p in found["parts"]] == [
        ("generator", "rosinality", 2, 10)
    ]
    run(tmp_path / "a.safetensors")
    assert "  generator: rosinality, 2 tensors, 10 numbers\n" in capsys.readouterr().out


def test_weights_that_do_not_say_their_part_tell_their_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_weights(tmp_path / "a.safetensors", {"a": torch.ones(2, 3), "b": torch.ones(1)}, {"note": "mine"})
    found = told(capsys, tmp_path / "a.safetensors")["parts"]
    assert [(p["part"], p["numbers"], p["notes"]) for p in found] == [("tensors", 7, {"note": "mine"})]
    save_weights(tmp_path / "b.safetensors", {"a": torch.full((2,), float("nan"))}, {"part": "clip"})
    assert run(tmp_path / "b.safetensors") == 3


def test_published_files_tell_their_parts(capsys: pytest.CaptureFixture[str]) -> None:
    golden = Path(__file__).parent / "golden"
    assert told(capsys, golden / "S_mean_std")["parts"][0]["part"] == "statistics"
    assert told(capsys, golden / "fs3.npy")["parts"][0]["part"] == "relevance"


def test_files_of_other_programs_tell_what_was_taken_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a b.pt"
    torch.save({"g": {f"module.{name}": tensor for name, tensor in rosinality_state().items()}}, path)
    assert run(path) == 0
    lines = capsys.readouterr().out.splitlines()
    taken = "g / module.*; an averaged generator (g_ema), which would draw better, is not in the file"
    assert lines[2:] == [f"    taken: {taken}", f"  use: styleclip models add NAME --generator '{path}'"]
    assert told(capsys, path)["use"] == f"styleclip models add NAME --generator '{path}'"
    for value, use in (
        (
            encoder_checkpoint(encoder_state(), torch.zeros(8, 16), E4E_OPTIONS),
            "--generator GENERATOR --encoder",
        ),
        (mapper_checkpoint(random_mapper(("mapping", 3))), "styleclip edit PHOTO --mapper"),
        (clip_state(), "--clip"),
        (arcface_state(), "--identity"),
    ):
        torch.save(value, path)
        assert f"{use} '{path}'" in told(capsys, path)["use"]


def test_files_that_cannot_be_used_tell_what_they_are(tmp_path: Path, capsys) -> None:
    torch.save({"state": {}, "param_groups": []}, tmp_path / "a.pt")
    with pytest.raises(StyleClipError) as caught:
        info([str(tmp_path / "a.pt")])
    assert "the state of an optimizer, without the network" in caught.value.message
    assert caught.value.hint == "the checkpoint of the network is needed"


def test_latents_of_styleclip_itself_are_latents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "w_plus.npy", np.random.default_rng(0).normal(size=(2, 18, 512)).astype(np.float32))
    found = told(capsys, tmp_path / "w_plus.npy")
    assert (found["kind"], found["arrays"]) == ("latents", {"w_plus": [2, 18, 512]})


def bad_files(folder: Path) -> list[Path]:
    (folder / "text.txt").write_text("hello\n")
    (folder / "empty.png").write_bytes(b"")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "loop.npz").symlink_to("loop.npz")
    os.mkfifo(folder / "pipe.npz")
    os.mkfifo(folder / "pipe.png")
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        array = io.BytesIO()
        np.save(array, np.array("x"))
        archive.writestr("header.npy", array.getvalue())
        archive.writestr("w_plus.npy", bytes(50 * 2**20))
    latents.write(folder / "changed.npz", latents.Latents(np.zeros((1, 4, 8), np.float32)))
    content = bytearray((folder / "changed.npz").read_bytes())
    content[200] ^= 255
    (folder / "changed.npz").write_bytes(content)
    evil = PngInfo()
    evil.add_itxt("styleclip", '{"schema":"styleclip.recipe/1","beta":"\\u001b[31m"}')
    Image.new("RGB", (20, 20)).save(folder / "evil.png", pnginfo=evil)
    return [*sorted(folder.iterdir()), folder / "absent.png", folder / "absent.npz", folder / ("x" * 300)]


@pytest.mark.skipif(os.name == "nt", reason="no such files")
def test_every_bad_file_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in bad_files(tmp_path):
        assert run(path) == 3, path
        assert capsys.readouterr().out == ""
        with pytest.raises(StyleClipError) as caught:
            info([str(path)])
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message


def test_an_archive_that_unpacks_to_more_than_its_size_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpacked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cache, "load_npz", unpacked)
    header = {"schema": "styleclip.w-plus/1", "meta": {}, "sha256": ""}
    np.savez_compressed(tmp_path / "bomb.npz", header=np.array(json.dumps(header)), w_plus=np.zeros(10**6))
    assert run(tmp_path / "bomb.npz") == 3


@pytest.mark.skipif(os.name == "nt", reason="no such files")
def test_one_bad_file_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = bad_files(tmp_path)
    good = photo_of(tmp_path / "z.jpg")
    assert run(*bad, good, good) == 7
    captured = capsys.readouterr()
    assert captured.out.count("z.jpg: JPEG picture, 40x30") == 2
    assert captured.err.count("styleclip: error: ") == len(bad)
    assert run(*bad) == 3
    capsys.readouterr()
    assert run(*bad, good, as_json=True) == 7
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == len(bad) + 1
    assert all("error" in line for line in lines[:-1])
    assert lines[-1]["kind"] == "picture"


def test_escapes_of_strangers_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = Recipe(prompt="a\x1b[31m\nmade by: me", neutral="", version="1\x1b]0;x\x07" + "y" * 80)
    save.save_image(tmp_path / "a.jpg", Image.new("RGB", (20, 20)), hostile)
    assert run(tmp_path / "a.jpg") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "  prompt: a\\x1b[31m made by: me\n" in out
    assert "  neutral: \n" in out


def test_a_picture_without_a_suffix_is_known_by_its_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo_of(tmp_path / "a.jpg").rename(tmp_path / "a")
    assert told(capsys, tmp_path / "a")["format"] == "JPEG"


@pytest.mark.subprocess
def test_it_starts_light_and_reads_pictures_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from styleclip_cli.cli.info import info\n"
        "print([n for n in ('torch', 'numpy', 'PIL') if n in sys.modules])\n"
        "info([sys.argv[1]], True)\n"
        "print('torch' in sys.modules)\n"
    )
    path = photo_of(tmp_path / "a.jpg")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert (lines[0], lines[2]) == ("[]", "False")


def test_it_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from styleclip_cli.cli import main

    photo_of(tmp_path / "a.jpg")
    assert main(["info", str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]) == 7
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{tmp_path / 'a.jpg'}: JPEG picture, 40x30\n")
    assert "1 of 2 could not be read" in captured.err

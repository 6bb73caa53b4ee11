"""One job for the command, Python and the page: the same request, plan and results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from styleclip_cli import Engine, latents
from styleclip_cli.cli import main
from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.job.parsing import edit_request
from styleclip_cli.job.plan import plan
from styleclip_cli.job.request import EXCLUSIONS, refuse
from styleclip_cli.job.run import run
from styleclip_cli.photo.read import photo_of, read_image
from styleclip_cli.recipe import SCHEMA
from styleclip_cli.save import mark_of, read_metadata


@pytest.fixture
def here(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three photos, and the tiny pack as the default one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate("abc"):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "Camera"
        picture = Image.fromarray(noise).resize((48, 40), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "photos" / f"{name}.jpg", exif=exif, quality=95)
    return tmp_path


@pytest.fixture
def engine(here: Path, pack: Path) -> Engine:
    return Engine(pack, device="cpu")


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_python_writes_what_the_command_writes(here: Path, engine: Engine) -> None:
    assert main(["edit", "photos/a.jpg", "-p", "smiling", "-a", "3", "-o", "command.png", "-q"]) == 0
    result = engine.edit_photo("photos/a.jpg", engine.direction("smiling"), 3.0)
    result.save("python.png")
    assert (here / "python.png").read_bytes() == (here / "command.png").read_bytes()
    assert read_metadata(here / "python.png")["schema"] == SCHEMA
    with Image.open("python.png") as written:
        assert mark_of(written) == "compositeWithTrainedAlgorithmicMedia"
        assert written.getexif()[0x010F] == "Camera"
    assert result.record()["alpha"] == 3.0
    assert len(result.latents) == len(result.faces) == 1
    result.save("python.jpg", quality=80)
    assert read_metadata(here / "python.jpg") == read_metadata(here / "python.png")


def test_a_picture_in_memory_is_taken_as_its_file_is(here: Path, engine: Engine) -> None:
    edit = engine.direction("smiling")
    wanted = engine.edit_photo(here / "photos/a.jpg", edit, 3.0)
    with Image.open("photos/a.jpg") as picture:
        found = engine.edit_photo(picture, edit, 3.0)
        upright = photo_of(picture, "a")
    assert upright.image.size == (40, 48), "turned as its EXIF data say"
    assert np.array_equal(np.asarray(upright.image), np.asarray(read_image(here / "photos/a.jpg")))
    assert wanted.image is not None
    assert found.image is not None
    assert np.array_equal(np.asarray(found.image), np.asarray(wanted.image))
    assert found.exif == wanted.exif
    see_through = Image.open("photos/b.jpg").convert("RGB")
    see_through.putalpha(Image.new("L", see_through.size, 100))
    assert photo_of(see_through, "b").alpha is not None
    assert "transparency" in engine.edit_photo(see_through, edit, 3.0).notes[0], "the face alone is written"
    assert see_through.mode == "RGBA", "the caller's is left as it is"
    assert engine.edit_photo(np.asarray(see_through)[..., :3], edit, 3.0).image is not None


def test_many_photos_have_results_in_order_and_a_length(here: Path, engine: Engine) -> None:
    photos = ["photos/a.jpg", "absent.jpg", "photos/b.jpg", Image.open("photos/c.jpg")]
    results = engine.edit_many(photos, engine.direction("smiling"), 2.0)
    assert len(results) == 4
    found = list(results)
    assert [one.error is None for one in found] == [True, False, True, True]
    assert found[1].record()["status"] == "error"
    with pytest.raises(BadInputError, match="no such file"):
        engine.edit_photo("absent.jpg", engine.direction("smiling"), 2.0)


def test_a_request_a_plan_a_run(here: Path, engine: Engine) -> None:
    request = edit_request({"inputs": ["photos"], "prompt": ["smiling"], "alpha": ["2"], "out": here / "o"})
    planned = plan(request)
    assert [one.path.name for one in planned.work if one.path is not None] == [
        f"{name}_smiling.png" for name in "abc"
    ]
    told: list[str] = []
    results = run(planned, engine, told.append)
    assert not (here / "o").exists()
    assert [result.source for result in results] == [f"photos/{name}.jpg" for name in "abc"]
    assert len(results.written) == len(results) == 3
    assert told[0] == 'target "smiling face", neutral "face"'
    assert [text for text in told[1:] if not text.startswith("warning: tiny hardly knows")] == []


@pytest.mark.parametrize("exclusion", EXCLUSIONS, ids=lambda one: f"{one.option}")
def test_each_exclusion_is_refused(exclusion: tuple) -> None:
    option, others, *_ = exclusion
    refuse({option})
    for other in others:
        refuse({other})
        with pytest.raises(UsageError):
            refuse({option, other})


def test_inverting_into_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["invert", "photos", "--out", "l", "--json"]
    for part in ("0/2", "1/2"):
        assert main([*command, "--shard", part]) == 0
    told = rows(capsys)
    assert [row["output"] for row in told] == ["l/a.npz", "l/c.npz", "l/b.npz"]
    assert all(row["method"] == "invert" and row["latent"] == row["output"] for row in told)
    assert all(len(row["faces"]) == 1 and row["faces"][0]["corners"] for row in told)
    assert main(["invert", "photos", "--out", "all.npz", "-q"]) == 0
    whole = latents.read(here / "all.npz").w_plus
    each = np.concatenate([latents.read(here / f"l/{name}.npz").w_plus for name in "abc"])
    assert np.array_equal(whole, each)
    (here / "l/b.npz").unlink()
    assert main([*command, "--skip-existing"]) == 0
    assert sorted(row["status"] for row in rows(capsys)) == ["ok", "skipped", "skipped"]
    assert main([*command, "--name", "{folder}_{stem}"]) == 0
    assert (here / "l/photos_a.npz").is_file()
    (here / "m.csv").write_text("input,output\nphotos/a.jpg,first.npz\nseed:3,\n")
    assert main(["invert", "--manifest", "m.csv", "--out", "m", "-q"]) == 0
    assert sorted(path.name for path in (here / "m").iterdir()) == ["first.npz", "seed3.npz"]
    for more in (["--name", "x"], ["--skip-existing"], ["--shard", "0/2"]):
        assert main(["invert", "photos", "--out", "other.npz", *more]) == 2
    assert main(["invert", "photos", "--out", "other.png"]) == 2
    assert main(["invert"]) == 2


def test_transferring_many(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "photos", "--from", "seed:1", "--layers", "coarse", "--out", "t", "--json"]
    assert main([*command, "--name", "{stem}-{method}.jpg", "--shard", "0/2"]) == 0
    assert [row["output"] for row in rows(capsys)] == ["t/a-transfer.jpg", "t/c-transfer.jpg"]
    assert main([*command, "--name", "{stem}-{method}.jpg", "--skip-existing"]) == 0
    assert sorted(row["status"] for row in rows(capsys)) == ["ok", "skipped", "skipped"]
    (here / "m.csv").write_text("input,output,alpha\nphotos/a.jpg,half.png,0.5\nphotos/b.jpg,,\n")
    assert main(["transfer", "--manifest", "m.csv", *command[2:]]) == 0
    assert [row["alpha"] for row in rows(capsys)] == [0.5, 1.0]
    (here / "m.csv").write_text("input,prompt\nphotos/a.jpg,smiling\n")
    assert main(["transfer", "--manifest", "m.csv", *command[2:]]) == 3

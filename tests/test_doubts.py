"""What is said after an edit that went wrong, and of several faces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli import Engine
from styleclip_cli.cli import main
from styleclip_cli.edits.scores import Scores
from styleclip_cli.job import plan
from styleclip_cli.job.doubts import after_edit
from styleclip_cli.photo.portrait import AlignedCrop
from styleclip_cli.photo.regions import parts_of, region, share_inside
from styleclip_cli.save import read_metadata, save_image, to_image
from styleclip_cli.toyworld.scenes import draw, make_scene
from styleclip_cli.weights.packs import find_pack

QUAD = np.array([[0.0, 0], [0, 64], [64, 64], [64, 0]])
POINTS = np.array([[16 + 2 * i, 30 + 20 * np.sin(np.pi * i / 16)] for i in range(17)] + [[32.0, 20]] * 31)
POINTS = np.concatenate([POINTS, np.array([[26.0 + i % 12, 44 + i % 3] for i in range(20)])])


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("face with blue lipstick", {"mouth"}),
        ("with sunglasses", {"eyes"}),
        ("a smiling woman with curly hair", {"mouth", "hair"}),
        ("with a beard", {"chin"}),
        ("face with makeup", {"face"}),
        ("face with earrings", set()),
        ("a happy old man", set()),
        ("hairy hats on chains", {"hair"}),
    ],
)
def test_parts_that_a_sentence_names(sentence: str, parts: set[str]) -> None:
    assert parts_of(sentence) == parts


def test_where_a_change_is() -> None:
    mouth, hair = (region(POINTS, QUAD, {part}, 64) for part in ("mouth", "hair"))
    assert (float(mouth[45, 32]), float(mouth[10, 32])) == (1, 0)
    assert (float(hair[45, 32]), float(hair[2, 2])) == (0, 1)
    before = torch.zeros(3, 64, 64)
    after = before.clone()
    after[:, 44:47, 28:34] = 1
    assert share_inside(before, after, mouth) > 0.95
    assert share_inside(before, after, hair) < 0.05
    assert share_inside(before, before, mouth) == 1.0
    turned = np.array([[64.0, 0], [0, 0], [0, 64], [64, 64]])  # the crop lies on its side in its photo
    assert region(POINTS, turned, {"mouth"}, 64)[:, 45].sum() > 0


class Named:
    target, neutral = "with lipstick", "face"


def said(scores: Scores, place: tuple[slice, slice], faces: int = 1) -> list[str]:
    before = torch.zeros(3, 64, 64)
    after = before.clone()
    after[:, place[0], place[1]] = 1
    crop = AlignedCrop(before[None], before[None], QUAD, aligned=False, points=POINTS)
    good = Scores(0.7, 0.3, 0.99)
    measured = [*[good] * (faces - 1), scores]
    pictures = [[after] * faces, [before] * faces]
    pictures[0] = [*[before] * (faces - 1), after]
    edit: object = Named()
    return after_edit(edit, measured, *pictures, [crop] * faces, find_pack("toy"))  # type: ignore[arg-type]


MOUTH, TOP = (slice(44, 47), slice(28, 34)), (slice(0, 8), slice(0, 64))


def test_doubts_after_an_edit() -> None:
    assert said(Scores(0.7, 0.3, 0.95), MOUTH) == []
    (lost,) = said(Scores(0.7, 0.3, 0.4), MOUTH)
    assert lost.startswith("hardly the same person any more (identity 0.40): try a smaller alpha")
    (elsewhere,) = said(Scores(0.7, 0.3, 0.95), TOP)
    assert "of the change is elsewhere than at the mouth" in elsewhere
    (nothing,) = said(Scores(0.0, 0.01, 1.0), MOUTH)
    assert nothing.startswith('no progress toward "with lipstick" (0.01): the face may show it')
    (all_of_it,) = said(Scores(0.0, 0.01, 0.1), TOP, faces=2)
    assert all_of_it.startswith("face 2: hardly the same person")
    assert all_of_it.count("try") == 1
    assert said(Scores(None, None, None), MOUTH) == []


def test_packs_without_measured_bars_doubt_less() -> None:
    pack = find_pack("ffhq")
    assert (pack.identity_floor, pack.progress_floor) == (0.4, 0.0)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of two people."""
    path = tmp_path_factory.mktemp("photo") / "p.png"
    save_image(path, to_image(draw(make_scene(31, count=2, sides=(600, 700), out_of_frame=False))))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", "toy")
    shutil.copy(photo, tmp_path)
    return tmp_path


def test_an_edit_that_went_elsewhere_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "p.png", "-p", "with blue lipstick", "-o", "o.png", "--json"]) == 0
    captured = capsys.readouterr()
    warnings = json.loads(captured.out)["warnings"]
    assert any("elsewhere than at the mouth" in warning for warning in warnings)
    assert "elsewhere than at the mouth" in captured.err
    assert json.loads(captured.out)["scores"] is None, "they were not asked for"
    assert any("elsewhere" in warning for warning in read_metadata(here / "o.png")["warnings"])
    assert main(["edit", "p.png", "-p", "with glasses", "-o", "o.png", "--json", "--overwrite"]) == 0
    assert not [one for one in json.loads(capsys.readouterr().out)["warnings"] if "faces were" not in one]


def test_faces_are_numbered_on_the_way(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["edit", "p.png", "-p", "smiling", "--overwrite"]
    assert main([*command, "-o", "o.png", "--preview", "faces.png"]) == 0
    captured = capsys.readouterr()
    assert "2 faces were found" in captured.err
    assert "faces.png" in captured.out
    with Image.open("faces.png") as numbered, Image.open("p.png") as photo:
        assert numbered.size == photo.size
    assert main([*command, "-o", "o.png", "--face", "largest"]) == 0
    assert "faces were found" not in capsys.readouterr().err, "who names one knows of the others"
    assert main([*command, "-o", "out/", "--preview", "numbers/", "-q"]) == 0
    assert [path.name for path in (here / "numbers").iterdir()] == ["p_faces.png"]
    shutil.copy("p.png", "q.png")
    assert main([*command, "q.png", "-o", "out/", "--preview", "faces.png"]) == 2
    assert "--preview FOLDER/" in capsys.readouterr().err


def test_one_strength_for_a_series(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["edit", "seed:1-2", "-p", "with a hat", "--auto", "--json", "--out"]
    assert main([*command, "own/"]) == 0
    alone = {json.loads(line)["alpha"] for line in capsys.readouterr().out.splitlines()}
    assert main([*command, "same/", "--same"]) == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    (alpha,) = {record["alpha"] for record in records}
    assert len({record["beta"] for record in records}) == 1
    assert f"the same for all: alpha {alpha:g}" in captured.err
    assert len(alone) > 1
    assert all(record["scores"]["identity"] > 0.5 for record in records)
    part = ["edit", "seed:1-2", "-p", "with a hat", "--auto", "--same", "--shard", "1/2", "--json", "--out"]
    assert main([*part, "part/"]) == 0
    assert {json.loads(line)["alpha"] for line in capsys.readouterr().out.splitlines()} == {alpha}
    assert main(["edit", "seed:1", "-p", "smiling", "--same", "-o", "x.png"]) == 2


def test_python_has_the_same_warnings(here: Path) -> None:
    engine = Engine("toy", device="cpu")
    result = engine.edit_photo("p.png", engine.direction("with blue lipstick"), 4.0)
    assert any("elsewhere" in warning for warning in result.warnings)


def test_numbered_faces_never_replace_a_photo_or_a_result(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (here / "p.png").read_bytes()
    command = ["edit", "p.png", "-p", "smiling", "--overwrite", "-o", "o.png", "--preview"]
    assert main([*command, "p.png"]) == 5
    assert "is an input" in capsys.readouterr().err
    assert (here / "p.png").read_bytes() == before
    assert main([*command, "o.png"]) == 5
    assert "is to be a result, too" in capsys.readouterr().err
    assert main([*command, "f.png", "--no-align"]) == 2
    assert main(["edit", "seed:1", "-p", "smiling", "-o", "o.png", "--preview", "f.png"]) == 2
    assert "in photos only" in capsys.readouterr().err
    again = ["edit", "p.png", "-p", "smiling", "-o", "out/", "--preview", "f/", "--skip-existing", "-q"]
    assert main(again) == 0
    (here / "out" / "p_smiling.png").unlink()
    assert main(again) == 0, "a preview that was left does not stop a batch that is resumed"


def test_many_doubted_sentences_are_one_recipe(here: Path) -> None:
    prompts = [word for n in range(22) for word in ("-p", f"zorgon blarp{n}")]
    assert main(["edit", "seed:1", *prompts, "-o", "o.png", "-q"]) == 0
    assert len(read_metadata(here / "o.png")["warnings"]) == 20


def test_rows_of_a_manifest_have_a_strength_each_for_all(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where none of a sentence's rows is among the first of all."""
    monkeypatch.setattr(plan, "CHOSEN_ON", 2)
    rows = [f"seed:{n},{'smiling' if n < 2 else 'with a hat'}" for n in range(4)]
    (here / "rows.csv").write_text("input,prompt\n" + "\n".join(rows))
    alphas = []
    for shard in ("0/1", "1/2"):
        command = ["edit", "--manifest", "rows.csv", "--auto", "--same", "--json", "--shard", shard]
        assert main([*command, "--out", f"{shard[0]}{shard[2]}/"]) == 0
        records = map(json.loads, capsys.readouterr().out.splitlines())
        alphas.append({record["prompt"]: record["alpha"] for record in records})
    assert alphas[0] == alphas[1]

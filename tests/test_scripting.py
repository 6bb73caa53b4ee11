"""What scripts rely on: lists, pipes, manifests, names, JSON lines, dry runs, several edits, grids."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from styleclip_cli.cli import main
from styleclip_cli.cli.main import _signals_raise
from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.job import inputs, outputs
from styleclip_cli.job.parsing import edit_request
from styleclip_cli.job.recipes import load
from styleclip_cli.job.request import EditRequest
from styleclip_cli.machine.interrupt import Stopped
from styleclip_cli.recipe import Recipe, Step

PAGES = ("whole", "again", "third")
KEYS = [
    *("schema", "status", "input", "output", "latent", "faces", "method", "prompt", "neutral", "alpha"),
    *("beta", "channels", "scores", "seconds", "confidence", "warnings", "error"),
]


@pytest.fixture
def here(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three photos, one of them broken, and the tiny pack as the default one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))
    for number, name in enumerate(("a.png", "b.png", "deep/er/c.png")):
        picture(tmp_path / "photos" / name, number)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    return tmp_path


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC).save(path)
    return path


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def names(folder: str | Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


# Inputs


def test_lists_patterns_and_folders_in_folders(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "list.txt").write_text("# some\nphotos/a.png\n\nseed:1-2\n")
    (here / "nul.txt").write_bytes(b"photos/a.png\0photos/b.png\0")

    def found(*given: str, recursive: bool = False) -> list[str]:
        return [item.name for item in inputs.expand(given, recursive=recursive)]

    (here / "bom.txt").write_bytes(b"\xef\xbb\xbfphotos/a.png\n")
    assert found("@bom.txt") == ["photos/a.png"]
    picture(here / "#1.png")
    (here / "odd.txt").write_bytes(b"#1.png\0seed:1\0")
    assert found("@odd.txt") == ["#1.png", "seed:1"]
    assert found("@list.txt") == ["photos/a.png", "seed:1", "seed:2"]
    assert found("@nul.txt", "photos/a.png") == ["photos/a.png", "photos/b.png"]
    assert found("photos/[ab].png") == ["photos/a.png", "photos/b.png"]
    assert found("photos") == ["photos/a.png", "photos/b.png", "photos/bad.png"]
    assert found("photos", recursive=True) == [
        *("photos/a.png", "photos/b.png", "photos/bad.png", "photos/deep/er/c.png")
    ]
    picture(here / "@odd.png")
    assert found("@odd.png") == ["@odd.png"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"photos/b.png\n")))
    assert found("@-") == ["photos/b.png"]
    with pytest.raises(BadInputError, match="list cannot be read"):
        found("@none.txt")
    (here / "none.txt").write_text("\n# nothing\n")
    with pytest.raises(BadInputError, match="empty"):
        found("@none.txt")
    with pytest.raises(UsageError, match="only once"):
        found("-", "-")


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_a_pipe(here: Path) -> None:
    command = [sys.executable, "-m", "styleclip_cli", "edit", "-", "--prompt", "smiling", "--out", "-"]
    command += ["--format", "webp"]
    done = subprocess.run(command, input=(here / "photos/a.png").read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as result:
        assert result.format == "WEBP"
    assert "standard output  alpha" in done.stderr.decode()
    assert main(["edit", "photos/a.png", "--prompt", "smiling", "--out", "same.webp", "-q"]) == 0
    assert (here / "same.webp").read_bytes() == done.stdout
    # Nothing, and no picture: one line, and nothing on standard output.
    for data in (b"", b"no picture"):
        done = subprocess.run(command, input=data, capture_output=True)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.startswith(b"styleclip: error: standard input")
        assert b"/tmp" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed:1-2", "--out", "-"],
        ["seed:1", "--out", "-", "--json"],
        ["seed:1", "--out", "-", "--save-latent"],
    ],
)
def test_what_does_not_fit_into_a_pipe(
    here: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", *arguments, "--prompt", "smiling"]) == 2
    assert capsys.readouterr().out == ""


# Names


def test_names_of_results(here: Path) -> None:
    def named(template: str | None, alphas: tuple[float, ...] = (4.0,)) -> list[str]:
        items = inputs.expand(["photos/a.png", "seed:7"])
        asked = EditRequest(steps=(Step(prompt="with glasses", neutral="a face"),), alphas=alphas)
        return outputs.Naming(template, ".jpg").names(items, [asked, asked])

    assert named(None) == ["a_with-glasses.jpg", "seed7_with-glasses.jpg"]
    assert named("{stem}_{prompt}.png") == ["a_with-glasses.png", "seed7_with-glasses.png"]
    assert named("{folder}/{number:03d}{alpha:+g}") == ["photos/001+4.jpg", "/002+4.jpg"[1:]]
    assert named("{seed}-{neutral}-{method}") == ["-a-face-global.jpg", "7-a-face-global.jpg"]
    assert named("same.webp") == ["same.webp", "same-2.webp"]
    for template in (
        "{nothing}",
        "{stem",
        "{stem.__class__}",
        "{0}",
        "{stem!r}",
        "../{stem}",
        "/x",
        "{alpha:+d}",
    ):
        with pytest.raises(UsageError, match="--name"):
            named(template)
    with pytest.raises(UsageError, match="--name"):
        named("{alpha:+g}", (1.0, 2.0))


def test_a_template_on_the_command_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["edit", "photos/a.png", "photos/b.png", "--prompt", "smiling", "--out", "out"]
    assert main([*command, "--name", "{prompt}/{stem}.jpg", "-q"]) == 0
    assert names("out") == ["smiling/a.jpg", "smiling/b.jpg"]
    assert main([*command, "--name", "x.jpg", "--out", "one.jpg", "-q"]) == 2
    assert main([*command, "--name", "{prompt}/{stem}.jpg", "-q"]) == 5


# JSON lines


def test_results_as_json_lines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["edit", "photos", "--prompt", "smiling", "--alpha", "2", "--out", "out", "--json", "--scores"]
    assert main(command) == 7
    told = capsys.readouterr()
    rows = lines(told.out)
    assert all(list(row) == KEYS and row["schema"] == "styleclip.result/1" for row in rows)
    by_name = {row["input"]: row for row in rows}
    assert list(by_name) == ["photos/bad.png", "photos/a.png", "photos/b.png"] or set(by_name) == {
        *("photos/bad.png", "photos/a.png", "photos/b.png")
    }
    good = by_name["photos/a.png"]
    assert good["status"] == "ok"
    assert good["output"] == "out/a_smiling.png"
    assert Path(good["output"]).is_file()
    assert good["alpha"] == 2.0
    assert (good["prompt"], good["neutral"]) == ("smiling face", "face")
    assert good["method"] == "global directions"
    assert 0 <= good["beta"] <= 1
    assert good["channels"] >= 1
    assert 0 < good["seconds"] < 60
    assert good["error"] is None
    assert set(good["scores"]) == {"similarity", "progress", "identity"}
    (face,) = good["faces"]
    assert face["alpha"] == 2.0
    assert np.shape(face["corners"]) == (4, 2)
    bad = by_name["photos/bad.png"]
    assert bad["status"] == "error"
    assert bad["output"] is None
    assert bad["error"]["code"] == 3
    assert "bad.png" in bad["error"]["message"]
    assert "1 of 3 failed, 2 written" in told.err
    # Again, what is there is left out, and quietly.
    assert main([*command, "--skip-existing", "--quiet"]) == 3
    rows = lines(capsys.readouterr().out)
    assert sorted(row["status"] for row in rows) == ["error", "skipped", "skipped"]
    # A strip has many strengths.
    strip = ["edit", "seed:1", "--prompt", "smiling", "--alpha=-2:2:3", "--out", "strip.png", "--json"]
    assert main([*strip, "--save-latent"]) == 0
    (row,) = lines(capsys.readouterr().out)
    assert row["alpha"] == [-2.0, 0.0, 2.0]
    assert row["latent"] == "strip.npz"


@pytest.mark.subprocess
def test_a_dry_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["edit", "photos", "--prompt", "smiling", "--out", "out", "--dry-run"]
    before = names(here)
    assert main(command) == 7
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "photos/a.png -> out/a_smiling.png",
        "photos/b.png -> out/b_smiling.png",
    ]
    assert "1 of 3 failed, 2 would be written" in told.err
    assert main([*command, "--json"]) == 7
    assert [row["status"] for row in lines(capsys.readouterr().out)] == ["planned", "planned", "error"]
    assert names(here) == before
    code = "import sys; from styleclip_cli.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_first_failure_can_be_the_last(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "photos/a.png").rename(here / "photos/z.png")
    assert main(["edit", "photos/bad.png", "photos/z.png", "-p", "smiling", "--out", "o", "--fail-fast"]) == 3
    assert "bad.png" in capsys.readouterr().err
    assert not (here / "o").exists()


# Manifests


def test_a_manifest(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (here / "work.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["input", "output", "prompt", "neutral", "alpha", "beta"])
        writer.writerow(["photos/a.png", "first.jpg", "smiling", "", "2", ""])
        writer.writerow(["photos/a.png", "", "with glasses", "face", "-1.5", "0.01"])
        writer.writerow(["photos/bad.png", "", "", "", "", ""])
        writer.writerow(["seed:3", "sub/third.png", "", "", "", ""])
    command = ["edit", "--manifest", "work.csv", "--out", "o", "--prompt", "old", "--alpha", "1", "--json"]
    assert main(command) == 7
    rows = {row["output"]: row for row in lines(capsys.readouterr().out)}
    assert names("o") == ["a_with-glasses.png", "first.jpg", "sub/third.png"]
    assert rows["o/first.jpg"]["prompt"] == "smiling face"
    assert rows["o/first.jpg"]["alpha"] == 2.0
    assert rows["o/a_with-glasses.png"]["alpha"] == -1.5
    assert rows["o/a_with-glasses.png"]["beta"] == 0.01
    assert (rows["o/sub/third.png"]["prompt"], rows["o/sub/third.png"]["alpha"]) == ("old face", 1.0)
    # Each is what the command alone makes.
    alone = ["edit", "photos/a.png", "--prompt", "with glasses", "--neutral", "face", "--alpha", "-1.5"]
    assert main([*alone, "--beta", "0.01", "--out", "alone.png", "-q"]) == 0
    with Image.open("alone.png") as one, Image.open("o/a_with-glasses.png") as other:
        difference = np.asarray(one).astype(int) - np.asarray(other)
        assert np.abs(difference).max() <= 1


def test_a_manifest_of_json_lines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"input": "seed:1", "prompt": "smiling", "alpha": 2},
        {"input": "seed:1", "edits": [{"prompt": "smiling", "alpha": 2}, {"prompt": "old", "alpha": 1}]},
    ]
    (here / "work.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["edit", "--manifest", "work.jsonl", "--out", "o", "-q"]) == 0
    assert names("o") == ["seed1_smiling-old.png", "seed1_smiling.png"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input,promt\nseed:1,smiling\n", "promt"),
        ("input,prompt,alpha\nseed:1,smiling,much\n", "much"),
        ("prompt\nsmiling\n", "input"),
        ("input,prompt\n", "no rows"),
        ("input,prompt\nseed:1,smiling,4\n", "more cells"),
        ("input,prompt\nseed:1,\n", "row 2: says no prompt"),
        ("input,prompt,beta\nseed:1,smiling,3\n", "beta"),
        ('{"input": "seed:1", "prompt": 4}', "prompt"),
        ('{"input": "seed:1", "edits": []}', "edit"),
        ('{"input": 1}', "input"),
        ("{", "not a usable manifest"),
        ("\xff\xfe", "not a usable manifest"),
    ],
)
def test_manifests_that_make_no_sense(
    here: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "m").write_bytes(text.encode("latin-1"))
    assert main(["edit", "--manifest", "m", "--out", "o"]) == 3
    told = capsys.readouterr().err
    assert words in told
    assert told.count("styleclip: error:") == 1
    assert not (here / "o").exists()


# Several edits, grids


def test_several_edits_are_those_one_after_the_other(here: Path) -> None:
    both = ["edit", "seed:5", "-p", "smiling", "-p", "old", "--alpha", "2,-3", "--out", "both.png"]
    assert main([*both, "--save-latent", "-q"]) == 0
    assert (
        main(["edit", "seed:5", "-p", "smiling", "--alpha", "2", "--save-latent", "--out", "1.png", "-q"])
        == 0
    )
    assert main(["edit", "1.npz", "-p", "old", "--alpha", "-3", "--out", "2.png", "-q"]) == 0
    with Image.open("both.png") as one, Image.open("2.png") as other:
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 1
    recipe = load(here / "both.png")
    assert recipe.edits is not None
    assert [(step.prompt, step.alpha) for step in recipe.edits] == [("smiling face", 2.0), ("old face", -3.0)]
    # The picture is its own recipe, and so is a hand-written one.
    assert main(["edit", "seed:5", "--recipe", "both.png", "--out", "again.png", "-q"]) == 0
    (here / "look.toml").write_text(
        '[[edit]]\nprompt = "smiling"\nalpha = 2\n[[edit]]\nprompt = "old"\nneutral = "face"\nalpha = -3\n'
    )
    assert main(["edit", "seed:5", "--recipe", "look.toml", "--out", "toml.png", "-q"]) == 0
    for name in ("again.png", "toml.png"):
        with Image.open("both.png") as one, Image.open(name) as other:
            assert np.array_equal(np.asarray(one), np.asarray(other)), name
    # A strength of the whole look: half of each.
    assert main(["edit", "seed:5", "--recipe", "look.toml", "--alpha", "0.5", "--out", "half.png", "-q"]) == 0
    assert (
        main(["edit", "seed:5", "-p", "smiling", "-p", "old", "--alpha", "1,-1.5", "--out", "h.png", "-q"])
        == 0
    )
    with Image.open("half.png") as one, Image.open("h.png") as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_a_recipe_with_a_direction_beside_it(here: Path) -> None:
    (here / "sub").mkdir()
    assert main(["find-direction", "--prompt", "old", "--out", "sub/old.npz", "-q"]) == 0
    (here / "sub/look.toml").write_text(
        '[[edit]]\ndirection = "old.npz"\nalpha = 2\n[[edit]]\nprompt = "smiling"\nalpha = 1\n'
    )
    assert main(["edit", "seed:5", "--recipe", "sub/look.toml", "--out", "a.png", "-q"]) == 0
    assert (
        main(["edit", "seed:5", "-p", "old", "-p", "smiling", "--alpha", "2,1", "--out", "b.png", "-q"]) == 0
    )
    with Image.open("a.png") as one, Image.open("b.png") as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[[edit]]\nalpha = 1\n", "needs one of prompt"),
        ('[[edit]]\nprompt = "a"\nmapper = "b"\n', "prompt and mapper"),
        ('[[edit]]\nprompt = "a"\nstrength = 3\n', "strength"),
        ('[[edit]]\nprompt = "a"\nalpha = "much"\n', "alpha"),
        ('[[edit]]\nmapper = "a"\nbeta = 0.5\n', "for prompts"),
        ("edit = []\n", "edits"),
    ],
)
def test_recipes_that_make_no_sense(
    here: Path, toml: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "r.toml").write_text(toml)
    assert main(["edit", "seed:1", "--recipe", "r.toml"]) in (2, 3)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "a", "-p", "b", "-p", "c", "--alpha", "1,2"], "3 prompts and 2 times --alpha"),
        (["-p", "a", "--neutral", "x", "--neutral", "y"], "one --neutral"),
        (["-p", "a", "--beta", "0.1", "--channels", "3"], "exclude"),
        (["-p", "a", "--beta", "0.1,2"], "between 0 and 1"),
        (["-p", "a", "--beta", "nan"], "finite"),
        (["-p", "a", "--alpha", "1:2"], "a range"),
        (["-p", "a", "--alpha", "1:2:1"], "2 to"),
        (["-p", "a", "--alpha", "0:1:20", "--beta", "0:1:20"], "too many"),
        (["-p", "a", "-p", "b", "--method", "optimize"], "one prompt"),
        (["-p", "a", "--manifest", "m.csv"], "exclude"),
        (["-p", "a", "--keep-identity", "0.5"], "--auto"),
        (["-p", "a", "--auto", "--alpha", "3"], "exclude"),
        (["-p", "a", "--auto", "--beta", "0.1,0.2"], "--auto"),
        (["-p", "a", "--slider", "x.png"], "html"),
        (["-p", "a", "--sheet", "x.pdf"], "picture format"),
        (["-p", "a", "--out", "x.png", "--sheet", "x.png"], "already"),
        (["-p", "a", "--animation", "x.gif", "--beta", "0.1,0.2"], "one threshold"),
        (["-p", "a", "--alpha", "1,2", "--sheet", "x.png", "--diff"], "--sheet, --diff"),
        (["-p", "a", "--sheet", "x.png", "--shard", "0/2"], "show all results"),
        (["-p", "a", "--diff", "--out", "-"], "exclude"),
    ],
)
def test_options_that_do_not_go_together(
    here: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", "seed:1", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert names(here) == names(here / "photos") or not list(here.glob("*.png"))


def test_ranges_and_lists() -> None:
    def of(*alphas: str, betas: tuple[str, ...] = ()) -> EditRequest:
        return edit_request({"prompt": ["old"], "alpha": alphas, "beta": betas})

    assert of("-4:4:9").alphas == (-4, -3, -2, -1, 0, 1, 2, 3, 4)
    assert of("0.1:0.3:3", "5").alphas == (0.1, 0.2, 0.3, 5)
    assert of(betas=("auto",)).betas == (None,)
    assert of(betas=("0.1:0.2:2", "auto")).betas == (0.1, 0.2, None)
    options = {"prompt": ["a", "b"], "neutral": ["x"], "alpha": ["3"], "beta": ["0.1", "auto"]}
    two = edit_request(options)
    assert [(step.neutral, step.alpha, step.beta) for step in two.steps] == [("x", 3, 0.1), ("x", 3, None)]


def test_a_grid(here: Path) -> None:
    command = ["edit", "seed:2", "-p", "old", "--alpha", "-2,2", "--beta", "0.0,0.01,0.02", "--out", "g.png"]
    assert main([*command, "-q"]) == 0
    assert main(["edit", "seed:2", "-p", "old", "--alpha", "-2,2", "--out", "strip.png", "-q"]) == 0
    with Image.open("g.png") as grid, Image.open("strip.png") as strip:
        assert grid.height > 2.5 * strip.height - 100
        assert grid.height > 3 * 32
    assert main(["edit", "seed:2", "--recipe", "g.png", "--out", "again.png", "-q"]) == 0
    with Image.open("g.png") as grid, Image.open("again.png") as again:
        assert np.array_equal(np.asarray(grid), np.asarray(again))


# Pictures beside


def test_sheet_page_difference_and_animation(here: Path) -> None:
    command = ["edit", "photos/a.png", "seed:1", "-p", "old", "--out", "o", "--diff"]
    assert main([*command, "--sheet", "s/all.png", "--slider", "s/all.html", "-q"]) == 0
    assert names("o") == [*("a_old.png", "a_old_diff.png", "seed1_old.png", "seed1_old_diff.png")]
    assert names("s") == ["all.html", "all.png"]
    page = (here / "s/all.html").read_text()
    assert page.count("<img") == 4
    assert "seed:1" in page
    assert main(["edit", "photos/a.png", "-p", "old", "--animation", "m.gif", "--out", "x.png", "-q"]) == 0
    with Image.open("m.gif") as film:
        assert film.n_frames > 20
    assert main([*command, "-q"]) == 5
    assert main([*command, "--sheet", "s/all.png", "--overwrite", "-q"]) == 0


def test_a_sheet_shows_what_an_earlier_run_made_too(here: Path) -> None:
    command = [
        "edit",
        "photos/a.png",
        "photos/b.png",
        "photos/deep/er/c.png",
        "-p",
        "old",
        "--out",
        "o",
        "-q",
    ]
    assert main([*command, "--slider", "whole.html"]) == 0
    (here / "o/b_old.png").unlink()
    assert main([*command, "--slider", "again.html", "--skip-existing"]) == 0
    assert main([*command, "--slider", "third.html", "--skip-existing"]) == 0
    captions = [
        re.findall(r"<figcaption>(.*?)</figcaption>", (here / f"{n}.html").read_text()) for n in PAGES
    ]
    assert captions == [["photos/a.png", "photos/b.png", "photos/deep/er/c.png"]] * 3


# Stopping


def test_a_signal_that_comes_while_python_clears_up_is_heard() -> None:
    class Dropped:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    def work() -> None:
        Dropped()
        time.sleep(20)

    with pytest.raises(Stopped) as caught, _signals_raise():
        work()
    assert caught.value.number == signal.SIGTERM


@pytest.mark.slow
@pytest.mark.subprocess(warm="torch")
def test_an_interruption_says_how_to_go_on(here: Path) -> None:
    for number in range(12):
        picture(here / "many" / f"{number:02d}.png", number)
    command = [sys.executable, "-m", "styleclip_cli", "edit", "many", "-p", "smiling", "--out", "o"]
    running = subprocess.Popen(
        [*command, "--method", "optimize", "--batch", "1", "--iterations", "40"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and len(list(here.glob("o/*.png"))) < 2:
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 143, said
    done = len(list(here.glob("o/*.png")))
    assert 2 <= done < 12
    assert f"{done} of 12 are written; the same with --skip-existing goes on" in said
    assert not list(here.glob("o/.*"))
    for path in here.glob("o/*.png"):
        with Image.open(path) as image:
            image.load()
    finished = subprocess.run([*command, "--skip-existing"], capture_output=True, text=True, check=True)
    assert f"{done} of 12 results are there already" in finished.stderr
    assert len(list(here.glob("o/*.png"))) == 12


def test_a_recipe_keeps_its_form() -> None:
    steps = (
        Step(prompt="old face", neutral="face", alpha=2.0, literal=True),
        Step(mapper="smiling", alpha=1.0),
    )
    recipe = Recipe(edits=steps)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_transfer_tells_of_results_in_the_same_way(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["transfer", "photos/a.png", "photos/bad.png", "--from", "seed:1", "--layers", "coarse"]
    assert main([*command, "--json", "--out", "o"]) == 7
    rows = {row["input"]: row for row in lines(capsys.readouterr().out)}
    assert all(list(row) == KEYS for row in rows.values())
    assert rows["photos/a.png"]["method"] == "transfer"
    assert Path(rows["photos/a.png"]["output"]).is_file()
    assert rows["photos/bad.png"]["error"]["code"] == 3


def test_results_in_a_terminal(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["edit", "seed:1", "-p", "old", "--show", "--overwrite"]
    assert main(command) == 0
    assert "\x1b[" not in capsys.readouterr().err
    monkeypatch.setattr("styleclip_cli.pictures.terminal.can_show", lambda stream: True)
    assert main(command) == 0
    assert capsys.readouterr().err.count("\x1b[") > 20


def test_results_among_the_inputs_are_no_inputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "photos/bad.png").unlink()
    command = ["edit", "photos", "-p", "smiling", "--out", "photos"]
    assert main([*command, "-q"]) == 0
    assert [n for n in names("photos") if "/" not in n] == [
        "a.png",
        "a_smiling.png",
        "b.png",
        "b_smiling.png",
    ]
    (here / "photos/b_smiling.png").unlink()
    assert main([*command, "--skip-existing"]) == 0
    told = capsys.readouterr().err
    assert "1 of 3 inputs are results of others" in told
    assert "1 of 2 results are there already" in told
    assert [n for n in names("photos") if "/" not in n] == [
        "a.png",
        "a_smiling.png",
        "b.png",
        "b_smiling.png",
    ]
    # One that becomes itself is an input all the same.
    assert main(["edit", "photos/a.png", "-p", "smiling", "--out", "photos/a.png", "--overwrite", "-q"]) == 0


# What an independent reading found


def test_nothing_of_anybodys_is_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (here / "photos/a.png").read_bytes()
    command = ["edit", "photos/a.png", "-p", "old", "--out", "o"]
    for more in (["--skip-existing"], ["--overwrite"]):
        assert main([*command, "--sheet", "photos/a.png", *more]) == 5
        assert "is an input" in capsys.readouterr().err
    assert main(["edit", "seed:1", "-p", "old", "--save-latent", "--out", "x.png", "-q"]) == 0
    latent = (here / "x.npz").read_bytes()
    (here / "x.png").unlink()
    assert main(["edit", "x.npz", "-p", "old", "--save-latent", "--out", "x.png", "--skip-existing"]) == 5
    assert (here / "x.npz").read_bytes() == latent
    picture(here / "o/a_old_diff.png", 7)
    foreign = (here / "o/a_old_diff.png").read_bytes()
    assert main([*command, "--diff", "--skip-existing"]) == 5
    assert (here / "o/a_old_diff.png").read_bytes() == foreign
    assert (here / "photos/a.png").read_bytes() == before


def test_what_is_missing_beside_results_is_made(here: Path) -> None:
    command = ["edit", "seed:1-3", "-p", "old", "--out", "o", "-q"]
    assert main([*command, "--slider", "p.html"]) == 0
    whole = (here / "p.html").read_text().count("<img")
    (here / "o/seed2_old.png").unlink()
    for _ in range(2):
        assert main([*command, "--slider", "p.html", "--skip-existing"]) == 0
        assert (here / "p.html").read_text().count("<img") == whole == 6
    assert main([*command, "--diff", "--skip-existing"]) == 0
    assert len(list(here.glob("o/*_diff.png"))) == 3


def test_own_products_in_the_folder_are_no_inputs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "photos/bad.png").unlink()
    command = ["edit", "photos", "-p", "old", "--out", "photos", "--diff", "--sheet", "photos/sheet.png"]
    assert main([*command, "-q"]) == 0
    made = names("photos")
    assert main([*command, "--skip-existing"]) == 0
    assert "5 of 7 inputs are results of others" in capsys.readouterr().err
    assert names("photos") == made


def test_a_row_takes_what_it_leaves_out_from_the_command(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(manifest: str, *options: str) -> list[dict]:
        (here / "m.csv").write_text(manifest)
        command = ["edit", "--manifest", "m.csv", "--out", "o", "--json", "--overwrite"]
        assert main([*command, *options]) == 0
        return lines(capsys.readouterr().out)

    (row,) = rows("input\nseed:1\n", "-p", "old", "--alpha", "3,4")
    assert row["alpha"] == [3.0, 4.0]
    (row,) = rows("input\nseed:1\n", "-p", "old", "--beta", "0.0,0.01", "--alpha", "2")
    assert len(row["beta"]) == 2
    (row,) = rows("input,channels\nseed:1,2\n", "-p", "old", "--beta", "0.0")
    assert row["channels"] == 2
    (row,) = rows("input,prompt\nseed:1,smiling\n", "--alpha", "9", "--neutral", "man")
    assert (row["alpha"], row["neutral"]) == (9.0, "man")
    (row,) = rows("input,prompt,alpha\nseed:1,smiling,2\n", "--alpha", "9", "-p", "old")
    assert (row["alpha"], row["prompt"]) == (2.0, "smiling face")


def test_recipes_of_chains_say_how_they_were_found(here: Path) -> None:
    command = ["edit", "seed:5", "-p", "smiling", "-p", "old", "--relevance", "gradient", "--layers", "conv"]
    assert main([*command, "--out", "a.png", "-q"]) == 0
    assert main(["precompute-stats", "--relevance", "exact", "-q"]) == 0
    assert main(["edit", "seed:5", "--recipe", "a.png", "--out", "b.png", "-q"]) == 0
    (here / "l.toml").write_text('[[edit]]\nprompt = "old"\n[[edit]]\nprompt = "smiling"\n')
    assert main(["edit", "seed:5", "--recipe", "l.toml", "--alpha", "0.5,1,2", "--out", "s.png", "-q"]) == 0
    assert main(["edit", "seed:5", "--recipe", "s.png", "--out", "t.png", "-q"]) == 0
    for one, other in (("a.png", "b.png"), ("s.png", "t.png")):
        with Image.open(one) as first, Image.open(other) as second:
            assert np.array_equal(np.asarray(first), np.asarray(second)), one


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("edit @- -p old <&-", 3),
        ("edit --manifest - <&-", 3),
        ("edit seed:1 -p old --out - >&- <&-", 2),
        ("edit seed:1 -p old --out x.png >&- 2>&-", 0),
        ("edit --manifest deep.csv", 3),
        ("edit --manifest nul.jsonl", 3),
        ("edit --manifest numbers.jsonl", 3),
        ("edit --manifest twice.csv --save-latent", 2),
        (f"edit @{'x' * 300} -p old", 3),
        ("edit --manifest long.csv -p old", 7),
        ("edit seed:1 -p old --name '{number:>99999999999}'", 2),
    ],
)
def test_closed_streams_and_odd_manifests(here: Path, command: str, code: int) -> None:
    (here / "deep.csv").write_text("input,edits\nseed:1," + "[" * 100_000 + "\n")
    (here / "nul.jsonl").write_text('{"input": "seed:1", "prompt": "old", "output": "a\\u0000b.png"}')
    (here / "numbers.jsonl").write_text('{"input": "seed:1", "edits": [1]}')
    (here / "twice.csv").write_text("input,output,prompt\nseed:1,a.png,old\nseed:2,a.jpg,old\n")
    (here / "long.csv").write_text(f"input\n{'x' * 300}\nseed:x\nseed:1\n")
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m styleclip_cli {command}'], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr


def test_lines_of_json_may_hold_any_letters(here: Path) -> None:
    (here / "m.jsonl").write_text('{"input": "seed:1", "prompt": "old\u2028man"}\r\n\n', encoding="utf-8")
    assert main(["edit", "--manifest", "m.jsonl", "--out", "o", "-q"]) == 0


def test_the_only_input_that_fails_is_told_of_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "photos/bad.png", "-p", "old", "--json"]) == 3
    (row,) = lines(capsys.readouterr().out)
    assert (row["status"], row["error"]["code"]) == ("error", 3)

"""What is read and written is settled before any model loads."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from styleclip_cli.errors import BadInputError, DeviceError, OutputError, UsageError
from styleclip_cli.job import inputs, outputs, values
from styleclip_cli.job.outputs import output_path
from styleclip_cli.job.parsing import edit_request
from styleclip_cli.job.plan import plan as planned
from styleclip_cli.job.request import EditRequest
from styleclip_cli.recipe import Step


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32)).save(path)
    return path


def test_a_folder_gives_its_images_in_order(here: Path) -> None:
    for name in ("b.png", "a.jpg", "C.PNG", ".hidden.png"):
        picture(here / "photos" / name)
    (here / "photos" / "notes.txt").write_text("")
    (here / "photos" / "folder.png").mkdir()
    names = [item.name for item in inputs.expand(["photos"])]
    assert names == ["photos/C.PNG", "photos/a.jpg", "photos/b.png"]


def test_seeds_and_ranges(here: Path) -> None:
    items = inputs.expand(["seed:7", "seed:1-3", "seed:2"])
    assert [item.seed for item in items] == [7, 1, 2, 3]


def test_each_file_is_taken_once(here: Path) -> None:
    picture(here / "a.png")
    assert len(inputs.expand(["a.png", "./a.png", str(here / "a.png"), "."])) == 1


def test_a_bad_one_among_several_keeps_its_error(here: Path) -> None:
    picture(here / "a.png")
    good, bad = inputs.expand(["a.png", "absent.png"])
    assert good.error is None
    assert isinstance(bad.error, BadInputError)


def test_a_single_bad_one_raises(here: Path) -> None:
    (here / "empty").mkdir()
    for name in ("absent.png", "empty", "a" * 5000, "nul\0.png"):
        with pytest.raises(BadInputError) as caught:
            inputs.expand([name])
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("text", ["", "x", "-1", "3-1", "1-99999999", "4294967296", "1--2", "1,,2", "1.5"])
def test_malformed_seeds(text: str) -> None:
    with pytest.raises(UsageError):
        values.parse_seeds(text)


def test_seed_lists() -> None:
    assert values.parse_seeds("1-3, 9,2") == [1, 2, 3, 9]


def test_alphas() -> None:
    assert values.parse_alphas(["2,4", "-6.5"]) == [2.0, 4.0, -6.5]
    assert values.parse_alphas(None) == []


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "-inf", "", "1,,2", "1e999"])
def test_malformed_alphas(text: str) -> None:
    with pytest.raises(UsageError, match="--alpha"):
        values.parse_alphas([text])


@pytest.mark.parametrize("text", ["tpu", "cuda:x", "cuda:", "CPU", "", "cpu "])
def test_unknown_devices(text: str) -> None:
    with pytest.raises(DeviceError, match="unknown device"):
        values.check_device(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("With glasses!", "with-glasses"), ("a/b\\c..d", "a-b-c-d"), ("???", "edit"), ("с очками", "с-очками")],
)
def test_slug(text: str, expected: str) -> None:
    assert outputs.slug(text) == expected


def test_slug_is_short_and_ends_at_a_word() -> None:
    result = outputs.slug("word " * 100)
    assert len(result) <= 40
    assert set(result.split("-")) == {"word"}


def seeds(count: int) -> list[inputs.Item]:
    return inputs.expand([f"seed:1-{count}"])


def plan(items: list[inputs.Item], out: str | None, overwrite: bool = False) -> list[str]:
    path = None if out is None else Path(out)
    asked = EditRequest(steps=(Step(prompt="smiling"),))
    planned = outputs.plan_outputs(items, [asked] * len(items), path, outputs.Naming(), overwrite=overwrite)
    return [p.as_posix() for p in planned]


def test_one_result_goes_into_a_file_or_a_folder(here: Path) -> None:
    (here / "dotted.folder").mkdir()
    assert plan(seeds(1), "a.jpg") == ["a.jpg"]
    assert plan(seeds(1), "new") == ["new/seed1_smiling.png"]
    assert plan(seeds(1), "dotted.folder") == ["dotted.folder/seed1_smiling.png"]
    assert plan(seeds(1), None) == ["seed1_smiling.png"]
    assert list(here.iterdir()) == [here / "dotted.folder"]


def test_several_results_need_a_folder(here: Path) -> None:
    assert plan(seeds(2), "new") == ["new/seed1_smiling.png", "new/seed2_smiling.png"]
    with pytest.raises(UsageError, match="do not fit"):
        plan(seeds(2), "a.png")


def test_equal_names_are_told_apart(here: Path) -> None:
    items = inputs.expand([str(picture(here / folder / "Face.png")) for folder in "abc"])
    assert plan(items, "o") == ["o/Face_smiling.png", "o/Face_smiling-2.png", "o/Face_smiling-3.png"]


def test_unknown_picture_format(here: Path) -> None:
    with pytest.raises(UsageError, match="picture format"):
        plan(seeds(1), "a.xyz")


def test_what_exists_is_refused(here: Path) -> None:
    (here / "a.png").write_text("old")
    with pytest.raises(OutputError, match="exists"):
        plan(seeds(1), "a.png")
    assert plan(seeds(1), "a.png", overwrite=True) == ["a.png"]


def test_a_file_in_the_way_is_refused(here: Path) -> None:
    (here / "file").write_text("")
    for out in ("file", "file/a.png", "file/deep/a.png"):
        with pytest.raises(OutputError):
            plan(seeds(1), out)
    with pytest.raises(OutputError):
        plan(seeds(2), "file/a")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that refuses even root")
def test_an_unwritable_place_is_refused() -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        plan(seeds(1), "/proc/self/a.png")


@pytest.mark.parametrize("out", ["2024.06.01", "2024.06.01/", "results.png/", "v1.2/"])
def test_a_folder_may_have_dots_and_a_slash_makes_one(out: str, here: Path) -> None:
    arguments = {"inputs": ["seed:1"], "prompt": ["smiling"], "alpha": ["4"], "out": output_path(out)}
    assert [one.path for one in planned(edit_request(arguments)).work] == [Path(out) / "seed1_smiling.png"]


def test_steps_are_of_the_inversion_and_say_so(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = {"inputs": ["a.png"], "prompt": ["smiling"], "alpha": ["4"], "steps": 5}
    assert edit_request(arguments).inversion_steps == 5
    assert "--steps is now --inversion-steps" in caplog.text
    caplog.clear()
    assert edit_request({**arguments, "steps": None, "inversion_steps": 7}).inversion_steps == 7
    assert not caplog.text
    with pytest.raises(UsageError, match="takes --iterations, not --steps"):
        edit_request({**arguments, "method": "optimize"})


@pytest.mark.parametrize("out", ["face.gif", "face.bmp", "face.p"])
def test_a_suffix_that_is_no_picture_is_refused(out: str, here: Path) -> None:
    arguments = {"inputs": ["seed:1"], "prompt": ["smiling"], "alpha": ["4"], "out": output_path(out)}
    with pytest.raises(UsageError, match="cannot write this picture format"):
        planned(edit_request(arguments))


@pytest.mark.parametrize(
    "text", ["input;prompt;alpha\nseed:1;smiling;2,5\n", "input\tprompt\talpha\nseed:1\tsmiling\t2.5\n"]
)
def test_manifests_of_spreadsheets(text: str, here: Path) -> None:
    (here / "rows.csv").write_text(text)
    (one,) = planned(edit_request({"manifest": "rows.csv", "alpha": ["4"]})).work
    assert (one.item.name, one.request.alphas) == ("seed:1", (2.5,))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("smiling,abc,", "row 2, alpha: 'abc' is not a number"),
        ("smiling,,maybe", "row 2, literal: 'maybe' is not true or false"),
    ],
)
def test_a_cell_that_makes_no_sense_is_named(row: str, told: str, here: Path) -> None:
    (here / "rows.csv").write_text(f"input,prompt,alpha,literal\nseed:1,{row}\n")
    with pytest.raises(BadInputError) as caught:
        planned(edit_request({"manifest": "rows.csv", "alpha": ["4"]}))
    assert told in caught.value.message

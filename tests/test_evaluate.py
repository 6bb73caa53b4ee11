"""How edits of drawn faces are judged: what is a success, what else moved, what the command prints."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from styleclip_cli import toml
from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.toyworld.attributes import (
    ATTRIBUTES,
    COUNT,
    INDEX,
    attributes_of_normals,
    shown,
    visibility,
)
from styleclip_cli.toyworld.cases import CASES, EDITS, Case
from styleclip_cli.truth import judging
from styleclip_cli.truth.cases import SPLITS, Target, implied_shifts
from styleclip_cli.truth.evaluate import Faces, evaluate
from styleclip_cli.truth.judging import background_change, clean, crossing, leak, moved
from styleclip_cli.truth.methods import METHODS, OFFICIAL, editor_of, official
from styleclip_cli.truth.photos import compared, grown, scenes_of
from styleclip_cli.truth.worlds import ROOMS, World, load_judge, world_of
from styleclip_cli.weights.packs import WORLDS
from world_training import implied

GLASSES, HAT = Target("glasses"), Target("hat")
BOTH = Case("with glasses and a hat", (GLASSES, HAT))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


@pytest.fixture(scope="module")
def faces(engine: Engine) -> Faces:
    return Faces(engine, load_judge(engine), limit=2)


def readings(*changes: dict[str, float]) -> Tensor:
    """A plain face with some attributes changed, [N, 32]."""
    plain = torch.tensor([0.0 if attribute.presence else 0.5 for attribute in ATTRIBUTES])
    rows = plain.repeat(len(changes), 1)
    for row, change in zip(rows, changes, strict=True):
        for name, value in change.items():
            row[INDEX[name]] = value
    return rows


def test_all_targets_have_to_be_there() -> None:
    read = readings({}, {"glasses": 0.9}, {"glasses": 0.9, "hat": 0.6}, {"hat": 0.5, "glasses": 0.5})
    assert BOTH.holds(read).tolist() == [False, False, True, True]
    assert BOTH.lacks(read).tolist() == [True, False, False, False]
    assert BOTH.margin(read).tolist() == pytest.approx([-0.5, -0.5, 0.1, 0.0])
    assert BOTH.reached(read).tolist() == pytest.approx([0.0, 0.0, 0.6, 0.5])
    black = Case("with black hair", (Target("hair_light", up=False, bar=0.33),))
    assert black.holds(readings({"hair_light": 0.33}, {"hair_light": 0.34})).tolist() == [True, False]
    assert black.changed(readings({"hat": 1.0}))[0, INDEX["hair_light"]] == 0
    assert black.changed(readings({"hat": 1.0}))[0, INDEX["hat"]] == 1


def test_persons_lack_what_is_asked_for_where_it_can_be_seen() -> None:
    people = readings({}, {"glasses": 0.5}, {"sunglasses": 1.0}, {"hat": 1.0}, {"glasses": 0.4})
    (with_glasses,) = (case for case in CASES if case.prompt == "with glasses")
    assert with_glasses.fits(people).tolist() == [True, False, False, True, True]
    assert BOTH.fits(people).tolist() == [True, False, False, False, True]
    (red,) = (case for case in CASES if case.prompt == "with red hair")
    heads = readings({}, {"hat": 1.0}, {"hair_length": 0.2}, {"hair_grey": 0.9}, {"hair_red": 0.9})
    assert red.fits(heads).tolist() == [True, False, False, False, False]


def test_there_are_45_prompts_on_persons_that_no_other_split_has() -> None:
    assert len({case.prompt for case in CASES}) == len(CASES) == 45
    assert sum(len(case.targets) > 1 for case in CASES) == 5
    assert {edit.prompt for edit in EDITS} <= {case.prompt for case in CASES}
    for kind in ("faces", "photos"):
        seeds = sorted(getattr(split, kind) for split in SPLITS.values())
        assert all(after - before >= 1_000_000 for before, after in itertools.pairwise(seeds))


def test_what_moved_is_what_can_be_seen_and_was_not_asked_for() -> None:
    before = readings({}, {}, {}, {"sunglasses": 1.0})
    after = readings(
        {"glasses": 1.0},
        {"glasses": 1.0, "smile": 0.8},
        {"glasses": 1.0, "hat": 1.0, "hair_volume": 1.0},  # hidden by the hat
        {"sunglasses": 1.0, "eye_blue": 1.0},  # hidden by the lenses
    )
    case = Case("with glasses", (GLASSES,))
    assert [row.nonzero().flatten().tolist() for row in moved(case, before, after)] == [
        [],
        [INDEX["smile"]],
        [INDEX["hat"]],
        [],
    ]
    assert clean(case, before, after).tolist() == [True, False, False, False]
    assert clean(BOTH, before, after).tolist() == [False, False, True, False]
    brings = Case("with glasses", (GLASSES,), implied=("smile",))
    assert clean(brings, before, after).tolist() == [True, True, False, False]
    assert moved(brings, before, after, implied=True).sum() == 2
    assert leak(brings, before, after)[1] == 0
    assert float(leak(case, before, after)[1]) == pytest.approx(0.3 / 31, abs=0.001)


def test_leak_is_taken_where_the_target_is_reached() -> None:
    case = Case("with glasses", (GLASSES,))
    values = ((0.1, 0.3, 0.7, 0.9), (0.1, 0.6, 0.6, 0.6), (0.1, 0.2, 0.3, 0.4))  # faces, over strengths
    reads = torch.stack([readings(*({"glasses": face[k]} for face in values)) for k in range(4)])
    leaks = torch.tensor([[0.1, 0.4, 0.1], [0.2, 0.5, 0.2], [0.4, 0.6, 0.3]])
    strength, at_bar = crossing(case, reads, leaks, (0.5, 1.0, 2.0))
    assert strength[:2].tolist() == pytest.approx([0.75, 0.4])
    assert at_bar[:2].tolist() == pytest.approx([0.15, 0.32])
    assert strength[2].isnan()
    assert at_bar[2].isnan()
    found = judging.over_strength(case, reads[0], reads[1:], (0.5, 1.0, 2.0))
    assert found["reached"] == pytest.approx(2 / 3)
    assert [point["target"] for point in found["curve"]] == pytest.approx([1.1 / 3, 1.6 / 3, 1.9 / 3])


def test_background_is_what_no_change_touches() -> None:
    free = torch.zeros(2, 1, 16, 16)
    free[:, :, :8] = 1
    drawings = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    drawings[1][1, :, :8] = 1  # the true change covers all of the backdrop
    pictures = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    pictures[1][:, :, :2] = 2 / 255
    pictures[1][:, :, 6:] = 1.0  # the face, and the margin around it
    found = background_change(free, drawings, pictures)
    assert float(found[0]) == pytest.approx(2 / 5)  # one 255th in two of the five rows that are left
    assert found[1].isnan()


def test_words_imply_what_comes_with_them_in_the_population() -> None:
    rng = torch.Generator().manual_seed(0)
    people = attributes_of_normals(torch.randn(4000, COUNT, generator=rng))
    old = people[:, INDEX["wrinkles"]] > 0.5
    case = Case("old", (Target("wrinkles"),))
    assert implied_shifts(case, people) == {}
    people[old, INDEX["hair_grey"]] = 1.0
    people[old, INDEX["smile"]] *= 0.5
    found = implied_shifts(case, people)
    assert set(found) == {"hair_grey", "smile"}
    assert found["hair_grey"] > 0.6
    assert found["smile"] == pytest.approx(-0.25, abs=0.05)
    assert set(implied_shifts(case, people, threshold=0.5)) == {"hair_grey"}
    both = Case("old with glasses", (Target("wrinkles"), GLASSES))
    assert "hair_grey" in implied_shifts(both, people)
    hat = Case("with a hat", (HAT,))  # hides the fringe: that says nothing about it
    assert implied_shifts(hat, people) == {}


@pytest.mark.parametrize("name", implied.WORLDS)
def test_the_list_of_implied_attributes_is_the_populations(name: str) -> None:
    world, path = implied.WORLDS[name]
    kept = toml.load(path)
    assert kept["n"] >= 100_000
    assert set(kept["implied"]) <= {case.prompt for case in world.cases}
    again = implied.computed(world, n=4_000)
    for prompt, names in kept["implied"].items():  # those that are not close to the threshold
        clear = {attribute for attribute, shift in names.items() if abs(shift) > 0.25}
        assert clear <= set(again["implied"].get(prompt, {}))


@pytest.mark.parametrize("world", [world for world, _ in implied.WORLDS.values()], ids=implied.WORLDS)
def test_worlds_have_people_for_their_prompts(world: World) -> None:
    people = world.people(SPLITS["dev"].faces, 3_000)[:, : len(world.attributes.names)]
    assert len({case.prompt for case in world.cases}) == 45
    assert {edit.prompt for edit in world.photo_edits} <= {case.prompt for case in world.cases}
    for case in world.cases:
        fits = case.fits(people)
        assert int(fits.sum()) >= 15, case.prompt
        shown = world.attributes.shown(case.changed(people[fits]))
        assert bool(case.holds(shown).all()), case.prompt
        assert not bool(case.holds(world.attributes.shown(people[fits])).any()), case.prompt


def test_packs_name_their_world(engine: Engine) -> None:
    assert set(ROOMS) == set(WORLDS)
    assert engine.pack.world == "toy"
    assert world_of(engine.pack) is implied.WORLDS["toy"][0]
    with pytest.raises(UsageError, match="has no judge"):
        world_of(replace(engine.pack, world=""))


def test_photos_are_of_those_whom_it_is_asked_of() -> None:
    world, _ = implied.WORLDS["people"]
    (case,) = (case for case in world.cases if case.prompt == "with a beard")
    (edit,) = (edit for edit in world.photo_edits if edit.prompt == "with a beard")
    scenes = list(scenes_of(world, case, edit, 5, 0))
    assert len(scenes) == 5
    for scene in scenes:
        a = scene.faces[0].attributes
        assert a[case.attributes.index["feminine"]] < 0.35
        assert a[case.attributes.index["age"]] > 0.3


def test_a_value_between_the_ends() -> None:
    from styleclip_cli.world.cases import CASES as OF_PEOPLE

    (purple,) = (case for case in OF_PEOPLE if case.prompt == "with purple hair")
    dye, hue = (purple.attributes.index[name] for name in ("hair_dye", "hair_hue"))
    read = torch.zeros(3, len(purple.attributes.names))
    read[:, hue] = torch.tensor([0.27, 0.27, 0.6])
    read[1:, dye] = 1.0
    assert purple.holds(read).tolist() == [False, True, False]
    assert purple.lacks(read).tolist() == [True, False, False]
    assert purple.changed(read)[:, hue].tolist() == pytest.approx([0.27] * 3)


@pytest.mark.slow
def test_two_runs_are_equal_to_the_digit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("styleclip_cli.truth.evaluate._BATCH", 16)  # persons at a time

    def run() -> Any:
        rows = evaluate(engine, 4, ["with glasses", "with glasses and a hat"]).rows
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    assert run() == run()


@pytest.mark.slow
def test_a_row_says_what_an_obvious_count_says(engine: Engine, faces: Faces) -> None:
    judge = load_judge(engine)
    (case,) = (one for one in CASES if one.prompt == "with brown eyes")
    (row,) = evaluate(engine, 6, [case.prompt], faces=faces).rows
    chosen = faces.for_case(case, 6)
    edit = engine.direction(case.prompt, case.neutral)
    pictures = engine.render([edit.edited(face, [engine.default_alpha])[0] for face in chosen.faces])
    read = judging.read_all(judge, pictures.clamp(-1, 1))
    clean, broken = 0, 0
    for before, after in zip(chosen.read, read, strict=True):
        seen = torch.minimum(visibility(before[None])[0], visibility(after[None])[0]) > 0.5
        wrong = [
            name
            for name, k in INDEX.items()
            if name != "eye_blue" and seen[k] and abs(float(after[k] - before[k])) > 0.25
        ]
        broken += len(wrong)
        clean += float(after[INDEX["eye_blue"]]) <= 0.33 and not wrong
    assert (row["clean"], row["broken"]) == (pytest.approx(clean / 6), pytest.approx(broken / 6))
    assert 0 < row["leak"] <= row["leak_default"]
    assert [point["strength"] for point in row["curve"]] == [0.25, 0.5, 0.75, 1.0, 1.5, 2.0]
    assert row["curve"][3]["leak"] == pytest.approx(row["leak_default"])
    assert 0 < row["background"] < 10
    truth = shown(case.changed(chosen.people))
    assert case.holds(truth).all()


def test_worst_prompts_come_first(engine: Engine, faces: Faces) -> None:
    found = evaluate(engine, 3, ["with glasses", "a bald head", "with black hair"], faces=faces)
    rates = [row["clean"] for row in found.rows]
    assert rates == sorted(rates)
    assert found.mean["clean"] == pytest.approx(sum(rates) / 3)
    assert found.mean["lowest_success"] == min(row["success"] for row in found.rows)


def test_without_persons_there_are_no_figures(
    engine: Engine, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, "lacks", lambda case, read: torch.zeros(len(read), dtype=torch.bool))
    (row,) = evaluate(engine, 3, ["with glasses"], faces=faces).rows
    assert (row["n"], row["success"], row["leak"]) == (0, None, None)


def test_the_official_rule(engine: Engine) -> None:
    found = official(engine, "with glasses", "face")
    assert (found.target, found.neutral) == ("with glasses", "face")
    assert found.beta in [step / 100 for step in range(10, 30)]
    convolutions = engine.generator.style_space.editable("conv")
    moving = found.delta.nonzero().flatten().tolist()
    assert len(moving) == found.num_channels > engine.direction_settings.gui_threshold
    assert all(any(l.offset <= k < l.offset + l.width for l in convolutions) for k in moving)  # noqa: E741
    editor = editor_of(engine, CASES[0], OFFICIAL)
    assert editor.alpha == 3.0
    face = FaceLatent(engine.sample([1]))
    ((half, whole),) = editor.edited([face], [0.5, 1.0])
    assert torch.allclose(whole.style_offset, 3 * found.delta[None])
    assert torch.allclose(half.style_offset, 1.5 * found.delta[None])


@pytest.mark.slow
def test_auto_scales_each_faces_own_strength(engine: Engine) -> None:
    editor = editor_of(engine, CASES[0], "auto")
    faces = FaceLatent(engine.sample([1, 2])).split()
    edited = editor.edited(faces, [1.0, 2.0])
    for face, (once, twice) in zip(faces, edited, strict=True):
        choice = engine.choose(face, CASES[0].prompt, CASES[0].neutral)
        assert torch.allclose(once.style_offset, choice.edited.style_offset)
        assert torch.allclose(twice.style_offset, 2 * choice.edited.style_offset)


def test_ghosts_are_shares_of_what_should_vanish() -> None:
    rng = np.random.default_rng(0)
    truth = np.full((64, 64, 3), 0.5)
    photo = truth.copy()
    photo[20:40, 20:40] += rng.choice((-0.3, 0.3), (20, 20, 1))
    for share in (0.0, 0.5, 1.0):
        (ghost, *_), region = compared(photo, truth + 1e-4 * photo, truth + share * (photo - truth), 64)
        assert ghost == pytest.approx(share, abs=0.01)
    assert region[17:43, 20:40].all()
    assert not region[:16].any()


def test_grown_masks_and_fine_structure_are_as_scipy_has_them() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(1)
    mask = rng.random((40, 50)) > 0.97
    assert np.array_equal(grown(mask, 3), ndimage.binary_dilation(mask, iterations=3))
    photo, truth, result = rng.random((3, 40, 50, 3))
    truth[:, 25:] = photo[:, 25:]
    row, changed = compared(photo, truth, result, 300)
    sigma = 300 / 128 * 1.5
    new, made = (x - ndimage.gaussian_filter(x, (sigma, sigma, 0)) for x in (truth, result))
    assert row[1] == pytest.approx((made * new)[changed].sum() / (new**2)[changed].sum(), rel=1e-4)


# ---- the command -----------------------------------------------------------------------------------


ROW: dict[str, Any] = {
    "prompt": "with glasses",
    "neutral": "face",
    "attribute": "glasses",
    "targets": [{"attribute": "glasses", "up": True, "bar": 0.5}],
    "success": 0.95,
    "clean": 0.81,
    "broken": 0.25,
    "ceiling": 1.0,
    "leak": None,
    "moved": {"hair_length": 0.125},
    "implied": {},
    "n": 4,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Sequence[str] | None, str, str]]:
    """What the command asked for; nothing is measured."""
    found = []

    class Found:
        rows, mean = [ROW], {"success": 0.95, "leak": None}

    def measure(engine, n, prompts, progress, inverter, *, method, faces, split, photos):
        found.append((n, prompts, method, split))
        progress(1, 1)
        return Found

    monkeypatch.setattr("styleclip_cli.truth.evaluate.evaluate", measure)
    return found


def test_a_table_and_a_file(here: Path, asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--n", "4", "-p", "smiling", "-p", "with a hat", "--out", "e.json"]) == 0
    assert asked == [(4, ["smiling", "with a hat"], "global", "dev")]
    captured = capsys.readouterr()
    for word in ("with glasses", "0.95", "0.81", "hair_length 0.12", "split dev", "e.json"):
        assert word in captured.out
    assert captured.err == ""
    written = json.loads((here / "e.json").read_text())
    assert (written["rows"], written["mean"]["success"]) == ([ROW], 0.95)
    assert (written["split"], written["n"], written["models"]) == ("dev", 4, "toy")
    assert main(["evaluate", "--out", "e.json"]) == 5


def test_json_takes_the_place_of_the_table(here: Path, asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--json", "--split", "test"]) == 0
    assert asked == [(40, None, "global", "test")]
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["rows"] == [ROW]
    assert main(["evaluate", "--json", "--method", "all"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert tuple(json.loads(line)) == METHODS
    assert [(n, method) for n, _, method, _ in asked[1:]] == [
        (6 if method == "optimize" else 40, method) for method in METHODS
    ]


@pytest.mark.parametrize("former", [["--json", "e.json"], ["--json=e.json"]])
def test_the_former_json_is_a_file_and_says_so(
    here: Path, asked, former: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *former, "--n", "4"]) == 0
    assert asked == [(4, None, "global", "dev")]
    captured = capsys.readouterr()
    assert "--json FILE is now --out FILE" in captured.err
    assert "with glasses" in captured.out
    assert json.loads((here / "e.json").read_text())["rows"] == [ROW]


@pytest.mark.parametrize("words", [["--json", "-"], ["--out", "-"]])
def test_a_dash_is_standard_output(here: Path, asked, words, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["mean"]["success"] == 0.95
    assert captured.err == ""
    assert list(here.iterdir()) == []


def test_a_spreadsheet(here: Path, asked) -> None:
    assert main(["evaluate", "--out", "e.csv", "-q"]) == 0
    with (here / "e.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["method"], row["prompt"]) == ("global", "with glasses")
    assert (row["success"], row["leak"]) == ("0.95", "")
    assert json.loads(row["moved"]) == ROW["moved"]

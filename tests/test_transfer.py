"""Edits by reference and directions from pictures: what they do, by the toy world's judge; the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from styleclip_cli.cli import main
from styleclip_cli.edits.parts import PARTS, phrases_of
from styleclip_cli.edits.prompts import resolve_prompt
from styleclip_cli.edits.transfer import relevant_channels
from styleclip_cli.engine import Engine
from styleclip_cli.errors import UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.machine.cache import cache_dir
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.save import read_metadata
from styleclip_cli.toyworld.attributes import COUNT, INDEX, attributes_of_normals, visibility
from styleclip_cli.toyworld.renderer import render_all
from styleclip_cli.truth.judging import read_all
from styleclip_cli.truth.worlds import load_judge
from test_cli_commands import face, files, one_error, pixels
from test_cli_startup import probe
from tiny_pack import SIDE

N = 8


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


def drawn(seed: int, n: int = N, **fixed: float) -> Tensor:
    """Pictures of faces, all with some attributes as given."""
    rng = torch.Generator().manual_seed(seed)
    attributes = attributes_of_normals(torch.randn(n, COUNT, generator=rng))
    for name, value in {"sunglasses": 0.0, "hat": 0.0, **fixed}.items():
        attributes[:, INDEX[name]] = value
    return render_all(attributes)


def found(engine: Engine, pictures: Tensor) -> FaceLatent:
    return FaceLatent(engine.invert_w_plus(pictures, keep=False, inverter="encoder"))


def read(engine: Engine, pictures: Tensor) -> Tensor:
    return read_all(load_judge(engine), pictures.clamp(-1, 1))


def leak(before: Tensor, after: Tensor, asked: list[int]) -> float:
    """Mean change of the attributes that were not asked for, where they are in sight."""
    seen = torch.minimum(visibility(before), visibility(after))
    seen[:, asked] = 0
    return float(((after - before).abs() * seen).sum() / seen.sum())


def test_no_strength_and_the_face_itself_change_nothing(engine: Engine) -> None:
    first, second = (FaceLatent(engine.sample([seed])) for seed in (1, 2))
    before = engine.render([first])
    assert torch.equal(engine.edit(first, engine.transfer(second, "hair"), [0.0])[:, 0], before)
    assert torch.equal(engine.edit(first, engine.transfer(first, "hair"), [1.0])[:, 0], before)
    assert torch.equal(engine.edit(first, engine.mix(first), [1.0])[:, 0], before)


def test_glasses_arrive_and_little_else(engine: Engine) -> None:
    first, second = (found(engine, drawn(seed, glasses=value)) for seed, value in ((1, 0.0), (2, 1.0)))
    before, after = read(engine, engine.render([first])), []
    for one, other in zip(first.split(), second.split(), strict=True):
        after.append(read(engine, engine.edit(one, engine.transfer(other, "glasses"), [1.0])[:, 0]))
    glasses = INDEX["glasses"]
    assert float(before[:, glasses].max()) < 0.1
    assert float(torch.cat(after)[:, glasses].min()) > 0.9
    assert leak(before, torch.cat(after), [glasses]) < 0.03


def test_hair_is_more_than_its_presence(engine: Engine) -> None:
    """Colour and length of the other's hair, by the noun alone."""
    dark = {"hair_light": 0.0, "hair_red": 0.0, "hair_grey": 0.0, "hair_length": 0.4, "fringe": 0.0}
    fair = {**dark, "hair_light": 1.0, "hair_length": 1.0, "fringe": 1.0}
    first = found(engine, drawn(3, **dark))
    (other,) = found(engine, drawn(4, 1, **fair)).split()
    edit = engine.transfer(other, "hair")
    before, after = (read(engine, engine.render([one])) for one in edit.edited(first, [0.0, 1.0]))
    wanted = read(engine, engine.render([other]))
    names = ("hair_light", "hair_red", "hair_grey", "hair_length", "hair_volume", "fringe")
    for name in ("hair_light", "hair_length", "fringe"):
        k = INDEX[name]
        moved = (after - before)[:, k].sum() / (wanted - before)[:, k].sum()
        assert 0.8 < float(moved) < 1.1, name
    assert leak(before, after, [INDEX[name] for name in names]) < 0.06


def test_strengths_between_go_part_of_the_way(engine: Engine) -> None:
    one, other = (FaceLatent(engine.sample([seed])) for seed in (1, 2))
    edit = engine.transfer(other, "hair, glasses")
    half, whole = edit.edited(one, [0.5, 1.0])
    assert half.style_offset is not None
    assert whole.style_offset is not None
    torch.testing.assert_close(2 * half.style_offset, whole.style_offset)
    moved = engine.styles(one.w_plus) + whole.style_offset
    taken = edit.weight > 0
    torch.testing.assert_close(moved[:, taken], engine.styles(other.w_plus)[:, taken], atol=1e-5, rtol=0)
    assert not whole.style_offset[:, ~taken].any()


def test_earlier_edits_of_both_faces_count(engine: Engine) -> None:
    """What edits added to the styles: the reference's is taken along, the face's gives way to it."""
    one, other = (FaceLatent(engine.sample([seed])) for seed in (1, 2))
    glasses = engine.direction("with glasses")
    (worn,) = glasses.edited(other, [4.0])
    (away,) = glasses.edited(one, [-4.0])
    shown = engine.edit(away, engine.transfer(worn, "glasses"), [1.0])[:, 0]
    assert float(read(engine, shown)[0, INDEX["glasses"]]) > 0.9


def test_several_faces_at_once_are_each_on_its_own(engine: Engine) -> None:
    faces, (other,) = engine.sample([1, 2]), FaceLatent(engine.sample([3])).split()
    edit = engine.transfer(other, "mouth")
    (both,) = edit.edited(FaceLatent(faces), [1.0])
    for one, alone in zip(both.split(), faces.split(1), strict=True):
        (expected,) = edit.edited(FaceLatent(alone), [1.0])
        torch.testing.assert_close(one.style_offset, expected.style_offset, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layers", [range(4), (1, 4, 11), None])
def test_style_mixing_is_swapping_w_plus_vectors(engine: Engine, layers) -> None:
    first, second = engine.sample([1]), engine.sample([2])
    swapped, numbers = first.clone(), slice(None) if layers is None else list(layers)
    swapped[:, numbers] = second[:, numbers]
    mixed = engine.edit(first, engine.mix(FaceLatent(second), layers), [1.0])[:, 0]
    torch.testing.assert_close(mixed, engine.render([FaceLatent(swapped)]), atol=1e-4, rtol=0)


def test_what_cannot_be_taken_is_refused(engine: Engine) -> None:
    other = FaceLatent(engine.sample([1]))
    with pytest.raises(UsageError, match=r"largest usable beta is 0\.\d") as caught:
        engine.transfer(other, "hair", beta=0.99)
    usable = float(caught.value.hint.split()[1])
    assert engine.transfer(other, "hair", beta=usable).num_channels >= 1
    with pytest.raises(UsageError, match="0 to 11"):
        engine.mix(other, [12])
    with pytest.raises(UsageError, match="0 to 11"):
        engine.mix(other, [])
    with pytest.raises(UsageError, match="2 faces"):
        engine.transfer(FaceLatent(engine.sample([1, 2])), "hair")
    with pytest.raises(UsageError, match="same"):
        engine.transfer(other, "hair, face")


def test_a_channel_takes_part_if_it_answers_to_one_phrase() -> None:
    relevance = Relevance(torch.tensor([[0.9, 0.1], [-0.2, -0.8], [0.3, 0.3]]), torch.tensor([0, 2, 3]), 5)
    both = torch.eye(2)
    assert relevant_channels(relevance, both, channels=1)[0].tolist() == [1, 0, 1, 0, 0]
    assert relevant_channels(relevance, both[:1], channels=2)[0].tolist() == [1, 0, 0, 1, 0]
    weight, beta = relevant_channels(relevance, both, beta=0.85)
    assert (weight.tolist(), beta) == ([1, 0, 0, 0, 0], 0.85)
    for senseless in (-0.1, 1.5, float("nan")):
        with pytest.raises(UsageError):
            relevant_channels(relevance, both, beta=senseless)


def test_a_part_is_asked_about_by_its_phrases() -> None:
    assert phrases_of("The Hair") == list(PARTS["hair"])
    assert phrases_of("eye colour, glasses , eye color") == ["blue eyes", "brown eyes", "glasses"]
    assert phrases_of("her hair") == ["her hair"]
    assert phrases_of("hair", literal=True) == ["hair"]
    assert phrases_of(" , ") == [" , "]
    for phrase in {phrase for phrases in PARTS.values() for phrase in phrases}:
        assert resolve_prompt(phrase, "face")[0].startswith("face with ")


def test_a_direction_between_pictures_adds_what_they_differ_in(engine: Engine) -> None:
    before, after = (drawn(seed, 16, glasses=value) for seed, value in ((5, 0.0), (5, 1.0)))
    direction = engine.direction_between(before, after, target="with", neutral="without")
    assert (direction.target, direction.neutral) == ("with", "without")
    start = found(engine, drawn(6, glasses=0.0))
    shown, edited = (read(engine, engine.render([one])) for one in direction.edited(start, [0.0, 4.0]))
    assert float((edited[:, INDEX["glasses"]] > 0.6).float().mean()) > 0.8
    assert leak(shown, edited, [INDEX["glasses"]]) < 0.05
    with pytest.raises(UsageError, match="no difference"):
        engine.direction_between(before, before)
    with pytest.raises(UsageError, match="empty"):
        engine.direction_between(before, before[:0])


# --- commands, on a pack of tiny random networks --------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two faces and two folders of them, and the tiny pack as the default one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))
    for seed, name in enumerate(("a.png", "b.png", "plain/1.png", "plain/2.png", "hats/1.png", "hats/2.png")):
        face(tmp_path / name, seed)
    return tmp_path


def test_transfer_writes_and_tells(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["transfer", "a.png", "seed:1", "--from", "b.png", "-p", "eye color", "--channels", "5"]
    assert main([*arguments, "-o", "out"]) == 0
    captured = capsys.readouterr()
    assert files(here / "out") == ["a_eye-color-from-b.png", "seed1_eye-color-from-b.png"]
    assert "alpha 1  2 phrases" in captured.out
    assert 'taking blue eyes, brown eyes; neutral "face"' in captured.err
    written = read_metadata(here / "out" / "a_eye-color-from-b.png")
    assert (written["method"], written["prompt"], written["alphas"]) == ("transfer", "eye color", [1])
    assert main(["edit", "a.png", "--recipe", "out/a_eye-color-from-b.png", "-o", "again.png"]) == 2


def test_transfer_of_all_layers_is_the_other_face(here: Path) -> None:
    assert main(["transfer", "a.png", "--from", "b.png", "--layers", "all", "-o", "all.png"]) == 0
    assert main(["transfer", "b.png", "--from", "a.png", "-p", "hat", "-a", "0", "-o", "same.png"]) == 0
    assert np.abs(pixels(here / "all.png") - pixels(here / "same.png")).max() <= 1
    assert (
        main(["transfer", "a.png", "--from", "b.png", "--layers", "coarse", "-a", "0.5,1", "-o", "s.png"])
        == 0
    )
    assert pixels(here / "s.png").shape[1] > 3 * SIDE
    assert read_metadata(here / "s.png")["layers"] == "0,1,2,3"


def test_transfer_takes_from_latents_and_seeds(here: Path) -> None:
    assert main(["invert", "b.png", "-o", "b.npz", "--inversion-steps", "0"]) == 0
    for name, source in (("photo", "b.png"), ("latent", "b.npz")):
        arguments = ["transfer", "seed:1", "--from", source, "-p", "glasses", "--inversion-steps", "0"]
        assert main([*arguments, "-o", f"{name}.png"]) == 0
    np.testing.assert_array_equal(pixels(here / "photo.png"), pixels(here / "latent.png"))
    assert main(["transfer", "a.png", "--from", "seed:3", "-p", "glasses", "-o", "seed.png"]) == 0


BAD = {
    "nobody to take from": (["a.png", "-p", "hair"], 2, "--from"),
    "nothing to take": (["a.png", "--from", "b.png"], 2, "--prompt or --layers"),
    "prompt and layers": (["a.png", "--from", "b.png", "-p", "hair", "--layers", "fine"], 2, "either"),
    "beta of layers": (["a.png", "--from", "b.png", "--layers", "fine", "--beta", "0.1"], 2, "--beta"),
    "unknown layers": (["a.png", "--from", "b.png", "--layers", "some"], 2, "some"),
    "layers that are not there": (["a.png", "--from", "b.png", "--layers", "40"], 2, "40"),
    "missing reference": (["a.png", "--from", "absent.png", "-p", "hair"], 3, "absent.png"),
    "reference is text": (["a.png", "--from", "text.png", "-p", "hair"], 3, "text.png"),
    "several references": (["a.png", "--from", "plain", "-p", "hair"], 2, "2 faces"),
    "several seeds": (["a.png", "--from", "seed:1-3", "-p", "hair"], 2, "3 faces"),
    "which face": (["a.png", "--from", "b.png", "--from-face", "all", "-p", "hair"], 2, "--from-face"),
    "beta too high": (["a.png", "--from", "b.png", "-p", "hair", "--beta", "0.999"], 2, "largest usable"),
    "missing input": (["absent.png", "--from", "b.png", "-p", "hair"], 3, "absent.png"),
    "empty prompt": (["a.png", "--from", "b.png", "-p", " "], 2, "prompt"),
    "alpha abc": (["a.png", "--from", "b.png", "-p", "hair", "-a", "abc"], 2, "abc"),
    "composite": (["a.png", "--from", "b.png", "-p", "hair", "--composite", "x"], 2, "composite"),
}
BAD_SETS = {
    "one side": (["--before", "plain"], 2, "--before and --after"),
    "prompt and pictures": (
        ["--before", "plain", "--after", "hats", "-p", "hats"],
        2,
        "--before and --after",
    ),
    "prompt and a side": (["--after", "hats", "-p", "with a hat"], 2, "--before and --after"),
    "nothing": ([], 2, "--prompt"),
    "neutral for pictures": (["--before", "plain", "--after", "hats", "--neutral", "face"], 2, "--neutral"),
    "same sets": (["--before", "plain", "--after", "plain"], 2, "no difference"),
    "empty folder": (["--before", "plain", "--after", "empty"], 3, "empty"),
    "missing folder": (["--before", "absent", "--after", "hats"], 3, "absent"),
    "text": (["--before", "text.png", "--after", "hats"], 3, "text.png"),
}


@pytest.mark.parametrize(
    ("command", "name"), [*(("transfer", name) for name in BAD), *(("find-direction", n) for n in BAD_SETS)]
)
def test_a_mistake_is_one_line_a_code_and_nothing_else(
    here: Path, command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "text.png").write_text("no picture")
    (here / "empty").mkdir()
    before = files(here)
    arguments, code, words = (BAD if command == "transfer" else BAD_SETS)[name]
    out = "new/o.png" if command == "transfer" else "new/d.npz"
    assert main([command, *arguments, "--out", out]) == code
    captured = capsys.readouterr()
    assert words in one_error(captured.err)
    assert captured.out == ""
    assert files(here) == before


@pytest.mark.subprocess(warm="cli")
@pytest.mark.parametrize(
    "arguments",
    [["a.png", "-p", "hair"], ["a.png", "--from", "b.png"], ["a.png", "--from", "absent.png", "-p", "hair"]],
)
def test_nothing_heavy_is_imported_for_a_mistake(arguments: list[str]) -> None:
    _, last = probe("transfer", *arguments)
    assert last.endswith("heavy=[]")


def test_a_direction_between_folders_is_saved_and_used(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["find-direction", "--before", "plain", "--after", "hats/", "--channels", "7", "--top", "0"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].startswith("hats.npz")
    assert 'target "hats", neutral "plain"' in captured.err
    assert main(["edit", "a.png", "--direction", "hats.npz", "-a", "3", "-o", "o.png"]) == 0
    assert read_metadata(here / "o.png")["channels"] == 7


def test_one_bad_picture_of_a_set_is_told_and_left_out(here: Path, capsys) -> None:
    arguments = ["find-direction", "--before", "seed:1-3", "--after", "hats", "--top", "0", "-o"]
    assert main([*arguments, "whole.npz"]) == 0
    (here / "hats" / "3.png").write_text("no picture")
    capsys.readouterr()
    assert main([*arguments, "partly.npz"]) == 7
    err = capsys.readouterr().err
    assert "hats/3.png" in err
    assert "without the pictures that failed" in err
    with np.load(here / "whole.npz") as whole, np.load(here / "partly.npz") as partly:
        np.testing.assert_array_equal(whole["delta"], partly["delta"])


def test_how_channels_are_found_can_be_said(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["transfer", "seed:1", "--from", "seed:2", "--models", str(pack), "--out", "a.png"]
    assert main([*command, "--prompt", "hair", "--relevance", "gradient", "-q"]) == 0
    assert list((cache_dir() / "relevance").glob("*.npz"))
    assert main([*command, "--layers", "coarse", "--relevance", "gradient"]) == 2
    assert main([*command, "--prompt", "hair", "--relevance", "guess"]) == 2
    assert "guess" in capsys.readouterr().err

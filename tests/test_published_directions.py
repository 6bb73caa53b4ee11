"""Directions that others published, of SeFa and of style channels: exact, and chained with sentences."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli.cli import main
from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.channels import Channel, parse_channels, read_channels
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.published import sefa_components
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError, UsageError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.nets.stylespace import StyleSpace
from styleclip_cli.save import read_metadata
from styleclip_cli.toyworld.attributes import INDEX
from styleclip_cli.truth.judging import read_all
from styleclip_cli.truth.worlds import load_judge
from styleclip_cli.weights.readers import directions


@pytest.fixture(scope="module")
def engine(pack: Path) -> Engine:
    return Engine(pack, device="cpu")


@pytest.fixture(scope="module")
def boundary(engine: Engine) -> np.ndarray:
    """A unit normal, [1, w_dim]."""
    normal = np.random.RandomState(3).randn(1, engine.generator.config.w_dim)
    return normal / np.linalg.norm(normal)


@pytest.fixture
def here(tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with the tiny pack as the default one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECLIP_MODELS", str(pack))
    return tmp_path


def components(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Five orthogonal components [5, 1, width], and their standard deviations."""
    basis = np.linalg.qr(np.random.RandomState(4).randn(width, 5))[0].T
    return basis[:, None].astype(np.float32), np.array([3.0, 2.5, 2.0, 0.7, 0.5], np.float32)


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)


# Exactness.


@pytest.mark.parametrize("layers", [None, (0, 1), (3, 5)])
@pytest.mark.parametrize("each", [False, True], ids=["one for all", "one for each layer"])
def test_a_step_in_w_is_a_step_of_the_styles(
    engine: Engine, tmp_path: Path, layers: Sequence[int] | None, each: bool
) -> None:
    generator = engine.generator
    num_ws, width = generator.style_space.num_ws, generator.config.w_dim
    step = np.random.RandomState(5).randn(num_ws if each else 1, width).astype(np.float32)
    np.save(tmp_path / "step.npy", step)
    direction = engine.published_direction(tmp_path / "step.npy", layers=layers)
    faces = engine.sample([1, 2])
    moved = faces.clone()
    for layer in range(num_ws) if layers is None else layers:
        moved[:, layer] += 1.7 * torch.from_numpy(step[layer if each else 0])
    (edited,) = direction.edited(FaceLatent(faces), [1.7])
    assert edited.style_offset is not None
    torch.testing.assert_close(
        engine.styles(faces) + edited.style_offset, engine.styles(moved), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        engine.render([edited]), engine.render([FaceLatent(moved)]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("layers", [None, (1, 2), (7,)])
def test_sefa_is_an_eigenvector_of_the_affine_weights(engine: Engine, layers: Sequence[int] | None) -> None:
    generator = engine.generator
    space, state = generator.style_space, generator.state_dict()
    last = space.num_ws - 1
    names = ["b4.conv1"] + [f"b{4 << j}.conv{i}" for j in range(1, last // 2 + 1) for i in (0, 1)]
    names += [f"b{4 << (last // 2)}.torgb"]  # alone has the last W+ vector
    rows = []
    for number, name in enumerate(names):
        if layers is None or number in layers:
            for row in state[f"synthesis.{name}.affine.weight"].double().numpy():
                rows.append(row / np.linalg.norm(row))
    _, sizes, vectors = np.linalg.svd(np.stack(rows), full_matrices=True)
    found = sefa_components(generator, layers).numpy()
    for number in range(min(3, len(sizes))):
        assert abs(found[number] @ vectors[number]) == pytest.approx(1, abs=1e-9)
        assert found[number].max() == pytest.approx(np.abs(found[number]).max())
    direction = engine.sefa_direction(2, layers)
    step = torch.zeros(1, space.num_ws, generator.config.w_dim)
    step[:, list(range(space.num_ws) if layers is None else layers)] = torch.from_numpy(found[2]).float()
    wanted = engine.styles(step) - engine.styles(torch.zeros_like(step))
    torch.testing.assert_close(direction.delta, wanted[0], rtol=1e-4, atol=1e-6)
    assert direction.unit == "distance in W"
    with pytest.raises(UsageError, match="no component"):
        engine.sefa_direction(generator.config.w_dim)


# What is read.


def writers(engine: Engine, boundary: np.ndarray) -> dict[str, tuple[Callable[[Path], object], float]]:
    """Files of the published layouts that hold the boundary, or it as a component of deviation 2."""
    num_ws = engine.generator.style_space.num_ws
    tensor = torch.from_numpy(boundary).float()
    comp, std = components(boundary.shape[1])
    comp[2], single = tensor.numpy(), boundary.astype(np.float32)
    archive = {"act_comp": comp, "act_stdev": std, "lat_comp": comp, "lat_stdev": std, "lat_mean": comp[0]}
    pca = {"comp": torch.from_numpy(comp), "std": torch.from_numpy(std), "mean": tensor}

    def zipped(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **archive)

    return {
        "stylegan2_age_w_boundary.npy": (lambda path: np.save(path, boundary), 1),
        "flat.npy": (lambda path: np.save(path, single[0]), 1),
        "age.pt": (lambda path: torch.save(tensor, path), 1),
        "pose.pt": (lambda path: torch.save(tensor.repeat(num_ws, 1), path), 1),
        "pose1.pt": (lambda path: torch.save(tensor.repeat(1, num_ws, 1), path), 1),
        "old.pt": (lambda path: torch.save(tensor, path, _use_new_zipfile_serialization=False), 1),
        "stylegan2-ffhq_style_ipca_c80_n1000000_w.npz": (zipped, 2),
        "ffhq_pca.pt": (lambda path: torch.save(pca, path), 2),
    }


def test_published_layouts_are_read(engine: Engine, boundary: np.ndarray, tmp_path: Path) -> None:
    torch.save(torch.from_numpy(boundary), tmp_path / "plain.pt")
    wanted = engine.published_direction(tmp_path / "plain.pt", layers=(0, 1, 2))
    for name, (write, scale) in writers(engine, boundary).items():
        write(tmp_path / name)
        component = 2 if scale == 2 else None
        found = engine.published_direction(tmp_path / name, component, (0, 1, 2), "it")
        torch.testing.assert_close(found.delta, scale * wanted.delta, msg=name)
        unit = "distance in W" if component is None else "standard deviations of the component"
        assert (found.unit, found.target) == (unit, "it"), name
        assert found.source.endswith(f"{name}, W+ layers 0-2")


def test_lists_of_channels_are_read(engine: Engine, tmp_path: Path) -> None:
    wanted = (Channel(5, 3), Channel(2, 1, -1.5))
    assert parse_channels(["5_3,2_1:-1.5"]) == parse_channels(["5_3", " 2_1:-1.5"]) == wanted
    entries = ["5_3", {"layer": 2, "channel": 1, "weight": -1.5}]
    (tmp_path / "a.json").write_text(json.dumps({"channels": entries}))
    (tmp_path / "a.toml").write_text('channels = ["5_3", {layer = 2, channel = 1, weight = -1.5}]\n')
    (tmp_path / "a.csv").write_text("layer,channel,weight\n5,3,\n2,1,-1.5\n")
    space, std = engine.generator.style_space, engine.statistics().std
    delta = torch.zeros(space.size)
    delta[space.layers[5].offset + 3] = std[space.layers[5].offset + 3]
    delta[space.layers[2].offset + 1] = -1.5 * std[space.layers[2].offset + 1]
    for name in ("a.json", "a.toml", "a.csv"):
        assert read_channels(tmp_path / name) == wanted
        found = engine.published_direction(tmp_path / name)
        torch.testing.assert_close(found.delta, delta)
        assert (found.num_channels, found.target) == (2, "a")


def test_layers_are_counted_as_stylespace_does() -> None:
    """Wu et al. 2021: 9_409 and 15_45 act at 32 and 128 pixels, in networks of 1024."""
    space = StyleSpace({4 << j: min(512, 32768 >> (j + 2)) for j in range(9)})
    assert [space.layers[layer].name for layer in (6, 9, 15)] == ["b16.conv1", "b32.conv1", "b128.conv1"]


def test_what_was_published_is_saved_with_its_unit(
    engine: Engine, boundary: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "age.npy", boundary)
    found = engine.load_direction(tmp_path / "age.npy")
    found.save(tmp_path / "age.npz")
    again = engine.load_direction(tmp_path / "age.npz")
    assert torch.equal(again.delta, found.delta)
    assert (again.source, again.unit, again.alpha) == ("boundary age.npy", "distance in W", 3.0)
    assert again.entries() == {"channels": found.num_channels}
    np.save(tmp_path / "long.npy", 2 * boundary)
    assert engine.load_direction(tmp_path / "long.npy").unit == "its own vector"


# What is refused.


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch executed",)


def harmful(path: Path, _: np.ndarray) -> None:
    path.write_bytes(pickle.dumps(Harmful(), protocol=2))


def archive(**changes: np.ndarray) -> Callable[[Path, np.ndarray], None]:
    """Writes GANSpace's archive with other arrays in it."""

    def write(path: Path, boundary: np.ndarray) -> None:
        comp, std = components(boundary.shape[1])
        np.savez(path, **{"lat_comp": comp, "lat_stdev": std} | changes)

    return write


def text(words: str) -> Callable[[Path, np.ndarray], object]:
    return lambda path, _: path.write_text(words)


def array(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path, np.ndarray], object]:
    """Writes what becomes of the boundary."""
    return lambda path, boundary: np.save(path, change(boundary))


BAD: dict[str, tuple[Callable[[Path, np.ndarray], object], int, str]] = {
    "wide.npy": (array(lambda b: np.append(b, [[1]], axis=1)), 3, "vectors of 1x"),
    "rows.npy": (array(lambda b: b.repeat(3, axis=0)), 3, "vectors of 3x"),
    "nan.npy": (array(lambda b: b * np.nan), 3, "not finite"),
    "huge.npy": (array(lambda b: b * 1e300), 3, "not finite"),
    "zero.npy": (array(lambda b: b * 0), 2, "moves nothing"),
    "whole.npy": (array(lambda b: b.astype(int)), 3, "holds no direction"),
    "cut.npy": (lambda path, _: path.write_bytes(b"\x93NUMPY\x01\x00v"), 3, "broken .npy header"),
    "harm.npy": (harmful, 3, "refused"),
    "harm.pt": (lambda path, _: torch.save({"comp": Harmful()}, path), 3, "refused"),
    "text.pt": (text("hello"), 3, "refused"),
    "stylegan_ffhq_age_boundary.npy": (array(lambda b: b), 3, "in Z"),
    "pca.npz": (archive(), 2, "--component 0 to 4"),
    "z.npz": (archive(lat_stdev=np.ones(5)), 3, "in Z"),
    "odd.npz": (archive(lat_stdev=np.ones(4) * 2), 3, "4 standard deviations"),
    "other.npz": (lambda path, b: np.savez(path, w=b), 3, "holds no direction"),
    "objects.npz": (archive(lat_comp=np.array([Harmful()])), 3, "other things than numbers"),
    "list.json": (text("[1]"), 3, "not a list of channels"),
    "list.toml": (text("channels = 3"), 3, "channels"),
    "list.csv": (text("layer,channel\n0,x\n"), 3, "not a list of channels"),
    "far.json": (text('{"channels": ["99_0"]}'), 2, "99_0"),
    "weight.json": (text('{"channels": ["0_0:inf"]}'), 3, "not finite"),
    "absent.npy": (lambda path, _: None, 3, "no such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_direction_is_one_line(
    here: Path, boundary: np.ndarray, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write, code, words = BAD[name]
    write(here / name, boundary)
    assert main(["find-direction", "--from", name, "-o", "o.npz", "-q"]) == code
    told = capsys.readouterr().err
    assert told.count("error:") == 1
    assert words in told
    assert not (here / "o.npz").exists()
    assert not (here / "executed").exists()


def test_an_archive_takes_no_more_than_it_may(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pca.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("lat_comp.npy", bytes(10**6))
        file.writestr("lat_stdev.npy", bytes(10))
    assert path.stat().st_size < 5000
    monkeypatch.setattr(directions, "_MAX_BYTES", 10**6 - 1)
    with pytest.raises(BadInputError, match=r"lat_comp\.npy would take over"):
        engine.published_direction(path, 0)


MISTAKES = {
    "two ways": (["--sefa", "1", "--prompt", "old"], "say where to"),
    "no way": (["--component", "1"], "say where to"),
    "a component of nothing": (["--prompt", "old", "--component", "1"], "--component is for --from"),
    "a component of a boundary": (["--from", "b.npy", "--component", "1"], "no components"),
    "no such component": (["--sefa", "9999"], "no component 9999"),
    "W+ layers of a prompt": (["--prompt", "old", "--layers", "3"], "unknown --layers"),
    "style layers of SeFa": (["--sefa", "1", "--layers", "fs3"], "unknown layers"),
    "no such layer": (["--sefa", "1", "--layers", "60"], "no layers 60"),
    "layers of channels": (["--stylespace", "5_1", "--layers", "2"], "names layers itself"),
    "no channel": (["--stylespace", "five"], "no channel 'five'"),
    "no such channel": (["--stylespace", "5_9999"], "layer 5 has"),
    "a threshold": (["--sefa", "1", "--beta", "0.1"], "are for --prompt"),
    "an infinite strength": (["--sefa", "1", "--alpha", "inf"], "--alpha"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_options_that_do_not_go_together(
    here: Path, boundary: np.ndarray, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    np.save(here / "b.npy", boundary)
    arguments, words = MISTAKES[name]
    assert main(["find-direction", *arguments, "-o", "o.npz", "-q"]) == 2
    told = capsys.readouterr().err
    assert told.count("error:") == 1
    assert words in told
    assert not (here / "o.npz").exists()


# With sentences.


def test_directions_and_sentences_are_chained_in_any_order(
    here: Path, engine: Engine, boundary: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(here / "age.npy", boundary)
    assert main(["find-direction", "--from", "age.npy", "--layers", "0-3", "--alpha", "2", "-q"]) == 0
    assert main(["find-direction", "--stylespace", "5_3,6_1:-1", "-o", "ears.npz", "-q"]) == 0
    age, ears = ["--direction", "age.npz", "-a", "1.5"], ["--direction", "ears.npz", "-a", "4"]
    sentence = ["--prompt", "old", "-a", "3"]
    options = {"first": age + sentence + ears, "last": sentence + ears + age}
    for name, given in options.items():
        assert main(["edit", "seed:5", *given, "-o", f"{name}.png", "-q"]) == 0
    saved = [engine.load_direction(Path(name)) for name in ("age.npz", "ears.npz")]
    steps = ((saved[0], 1.5), (engine.direction("old"), 3.0), (saved[1], 4.0))
    (wanted,) = Chain(steps).edited(FaceLatent(engine.sample([5])), [1.0])
    offset = sum(alpha * edit.delta for edit, alpha in steps)
    torch.testing.assert_close(wanted.style_offset[0], offset)
    drawn = engine.render([wanted])[0].clamp(-1, 1).add(1).mul(127.5).permute(1, 2, 0).numpy()
    assert np.abs(pixels("first.png") - drawn).max() <= 1
    assert np.abs(pixels("last.png") - pixels("first.png")).max() <= 1
    written = read_metadata(here / "first.png")["edits"]
    assert [(one.get("direction", one.get("prompt")), one["alpha"]) for one in written] == [
        ("age.npz", 1.5),
        ("old face", 3.0),
        ("ears.npz", 4.0),
    ]
    # A picture is its own recipe; so are a list of edits, and a row of a manifest.
    edits = [{"direction": "age.npz", "alpha": 1.5}, {"prompt": "old", "alpha": 3}, {"direction": "ears.npz"}]
    edits[2]["alpha"] = 4
    (here / "rows.jsonl").write_text(json.dumps({"input": "seed:5", "output": "row.png", "edits": edits}))
    assert main(["edit", "seed:5", "--recipe", "first.png", "-o", "again.png", "-q"]) == 0
    assert main(["edit", "--manifest", "rows.jsonl", "-o", ".", "-q"]) == 0
    for name in ("again.png", "row.png"):
        assert np.array_equal(pixels(name), pixels("first.png")), name
    assert main(["edit", "seed:5", *options["first"], "-a", "1", "-o", "x.png", "-q"]) == 2
    assert "3 edits and 4 times --alpha" in capsys.readouterr().err


def test_a_direction_alone_has_its_own_strength_and_is_repeated(
    here: Path, engine: Engine, boundary: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "sub").mkdir()
    np.save(here / "age.npy", boundary)
    assert main(["find-direction", "--from", "age.npy", "--alpha", "1", "--top", "2"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "age.npz  boundary age.npy"
    assert "boundary age.npy; alpha counts distance in W" in told.err
    assert "cosine" in told.out
    assert main(["edit", "seed:5", "--direction", "age.npz", "-o", "sub/a.png"]) == 0
    assert "alpha 1  boundary age.npy" in capsys.readouterr().out
    assert main(["edit", "seed:5", "--direction", "age.npy", "--alpha", "1", "-o", "b.png", "-q"]) == 0
    assert main(["edit", "seed:5", "--recipe", "sub/a.png", "-o", "c.png", "-q"]) == 0
    assert np.array_equal(pixels("sub/a.png"), pixels("b.png"))
    assert np.array_equal(pixels("sub/a.png"), pixels("c.png"))
    assert np.abs(pixels("b.png") - pixels_of(engine, 5)).max() > 1
    made = engine.edit_photo(Image.new("RGB", (48, 48), "teal"), engine.load_direction(Path("age.npz")), 2.0)
    assert [step.entries() for step in made.recipe.edits] == [{"direction": "age.npz", "alpha": 2.0}]


def pixels_of(engine: Engine, seed: int) -> np.ndarray:
    drawn = engine.render([FaceLatent(engine.sample([seed]))])[0]
    return drawn.clamp(-1, 1).add(1).mul(127.5).permute(1, 2, 0).numpy()


@pytest.fixture(scope="module")
def toy() -> Engine:
    return Engine("toy", device="cpu")


def test_no_place_is_expected_of_what_a_file_is_called(toy: Engine, tmp_path: Path) -> None:
    toy.sefa_direction(1, (0, 1, 2, 3)).save(tmp_path / "mouth.npz")
    direction = toy.load_direction(tmp_path / "mouth.npz")
    photo = Path(__file__).parent.parent / "examples" / "face.png"
    found = toy.edit_photo(photo, replace(direction, target="mouth"), 3.0)
    assert not [one for one in found.warnings if "elsewhere" in one]
    said = replace(direction, target="with an open mouth", source="")
    assert [one for one in toy.edit_photo(photo, said, 3.0).warnings if "elsewhere than at the mouth" in one]


def test_a_sentence_still_holds_beside_a_direction(toy: Engine) -> None:
    """By the toy world's own judge: glasses, and no others than the sentence alone gives."""
    faces = FaceLatent(toy.sample(range(1, 9), truncation_psi=0.7))
    direction, sentence = toy.sefa_direction(1, (0, 1, 2, 3)), toy.direction("with glasses")
    judge = load_judge(toy)

    def glasses(*steps: tuple[Direction, float]) -> torch.Tensor:
        (edited,) = Chain(steps).edited(faces, [1.0])
        return read_all(judge, toy.render([edited]).clamp(-1, 1))[:, INDEX["glasses"]]

    alone = glasses((sentence, 4.0))
    for steps in (((direction, 1.5), (sentence, 4.0)), ((sentence, 4.0), (direction, 1.5))):
        both = glasses(*steps)
        assert (
            float((both - glasses((direction, 1.5))).mean()) > 0.5 * float((alone - glasses()).mean()) > 0.2
        )


def test_the_report_says_where_it_is_from(
    here: Path, boundary: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(here / "age.npy", boundary)
    assert main(["find-direction", "--from", "age.npy", "-o", "o.npz", "--report", "o.html"]) == 0
    told = (here / "o.html").read_text()
    for words in ("boundary age.npy", "distance in W", ">cosine<", "alpha 3<"):
        assert words in told
    for words in ("beta", "neutral", "as CLIP sees it"):
        assert words not in told
    assert main(["find-direction", "--sefa", "0", "-o", "p.npz", "--report", "p.png"]) == 0
    assert "SeFa component 0" in str(read_metadata(here / "p.png"))

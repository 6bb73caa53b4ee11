"""What a run doubts: sentences that a pack hardly knows, photos that it cannot draw, other faces."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from styleclip_cli.cli import main
from styleclip_cli.edits.confidence import UNSURE, confidence, null_range, null_texts, similar_sentence
from styleclip_cli.engine import Engine
from styleclip_cli.errors import OutputError
from styleclip_cli.job.doubts import unlike
from styleclip_cli.machine import cache
from styleclip_cli.measure.relevance import Relevance
from styleclip_cli.photo.portrait import faces_of, likeness
from styleclip_cli.save import to_image
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.toyworld.scenes import draw, make_scene
from styleclip_cli.weights.packs import find_pack

# None of these is a null text; the constants were chosen on others.
MEANINGLESS = (
    *("qwertz", "zzz yyy", "lorem ipsum dolor", "blorft", "with a snarkle", "xkcd 1234", "foo bar baz"),
    *("a trombone", "a windmill", "a calculator", "with a keyboard", "a submarine", "an accordion"),
    *("smilling", "with glases", "Mohawk", "con gafas de sol", "戴眼镜", "a zombie", "freckles"),
)
KNOWN = (
    *("wearing glasses", "ginger hair", "a smiling face", "has a beard", "bearded", "bald man", "red lips"),
    *("wearing a hat", "lipstick", "grey haired", "with spectacles", "no hair", "long-haired", "brown eyed"),
)


@pytest.fixture(scope="module")
def toy() -> Engine:
    return Engine("toy")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def axes(n: int, relevant: int) -> Relevance:
    """Channels that each answer to one axis of CLIP space, of the first ones alone."""
    return Relevance(torch.eye(n)[:relevant], torch.arange(relevant), relevant)


def test_confidence_is_how_far_a_text_is_above_what_means_nothing() -> None:
    relevance = axes(8, 4)
    null = torch.zeros(200, 8)
    null[:, 0] = torch.linspace(0.1, 0.3, 200)  # median 0.2, 99th percentile 0.298
    null[:, 7] = (1 - null[:, 0].square()).sqrt()
    for reached, expected in ((0.1, 0.0), (0.2, 0.0), (0.298, 0.5), (0.396, 1.0), (0.9, 1.0)):
        direction = torch.zeros(8)
        direction[2], direction[7] = -reached, (1 - reached**2) ** 0.5
        assert confidence(relevance, direction, null_range(relevance, null)) == pytest.approx(
            expected, abs=0.01
        )


@pytest.mark.slow
def test_the_null_range_of_the_toy_pack_is_what_is_measured(toy: Engine) -> None:
    measured = null_range(toy.relevance(), toy.judge.null_directions())
    assert toy.pack.null_range == pytest.approx(measured, abs=1e-4)


def test_null_texts_are_the_same_every_time_and_none_is_asked_elsewhere() -> None:
    texts = null_texts()
    assert texts == null_texts()
    assert len(set(texts)) == len(texts) > 200
    words = {word for text in texts for word in text.split()} - {"a", "an"}
    others = (*MEANINGLESS, *KNOWN, *(case.prompt for case in CASES))
    assert not words & {word for text in others for word in text.split()}


def test_what_means_nothing_is_doubted_and_what_is_known_is_not(toy: Engine) -> None:
    doubted = [text for text in MEANINGLESS if sure(toy, text) < UNSURE]
    assert len(doubted) >= 0.95 * len(MEANINGLESS), set(MEANINGLESS) - set(doubted)
    assert not [text for text in KNOWN if sure(toy, text) < UNSURE]
    unsure = {case.prompt for case in CASES if sure(toy, case.prompt, case.neutral) < UNSURE}
    assert unsure == {"with a wide nose", "with a narrow nose"}  # and it cannot make them: docs/toyworld.md


def sure(engine: Engine, prompt: str, neutral: str = "face") -> float:
    found = engine.direction(prompt, neutral).confidence
    assert found is not None
    return found


def test_a_direction_keeps_its_confidence(toy: Engine, tmp_path: Path) -> None:
    found = toy.direction("with glasses")
    found.save(tmp_path / "d.npz")
    assert toy.load_direction(tmp_path / "d.npz").confidence == found.confidence == 1.0
    arrays, meta = cache.load_npz(tmp_path / "d.npz", schema="styleclip.direction/1")
    del meta["confidence"]  # an earlier version's
    cache.save_npz(tmp_path / "old.npz", arrays, meta, schema="styleclip.direction/1")
    assert toy.load_direction(tmp_path / "old.npz").confidence is None


def test_a_known_sentence_needs_no_clip(toy: Engine) -> None:
    wanted = toy.direction("with a hat")
    again = Engine("toy")
    assert torch.equal(again.direction("with a hat").delta, wanted.delta)
    assert "clip" not in vars(again.networks)["_kept"]


def test_a_similar_sentence() -> None:
    words = find_pack("toy").words
    assert similar_sentence("smilling face", "face", words) == "smiling"
    assert similar_sentence("face with glases", "face", words) == "with glasses"
    assert similar_sentence("glases", "face", words) == "with glasses"
    assert similar_sentence("a trombone", "face", words) is None
    assert similar_sentence("smiling", "happy", words) is None, "that is what was typed"


def test_a_doubtful_sentence_is_said_once_and_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "seed:1-2", "-p", "with glases", "--models", "toy", "--json"]) == 0
    out, err = capsys.readouterr()
    doubt = 'toy hardly knows "face with glases" (confidence 0.00): the result may show anything; '
    doubt += 'did you mean "with glasses"?'
    assert err.count("hardly knows") == err.count(f"warning: {doubt}\n") == 1
    for line in map(json.loads, out.splitlines()):
        assert (line["confidence"], line["warnings"]) == (0.0, [doubt])
    assert main(["info", "--json", "seed1_with-glases.png"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["confidence"] == 0.0


def test_from_python_too(here: Path, toy: Engine) -> None:
    photo = to_image(draw(make_scene(3, count=1, out_of_frame=False)))
    result = toy.edit_photo(photo, toy.direction("with a trombone"), 4.0)
    assert result.confidence is not None
    assert result.confidence < UNSURE
    assert "hardly knows" in result.edit_warnings[0]
    assert toy.edit_photo(photo, toy.direction("smiling"), 4.0).edit_warnings == []


def test_strict_refuses_doubtful_sentences(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = ["edit", "seed:1", "--models", "toy", "--strict", "-q"]
    assert main([*edit, "-p", "a trombone"]) == 3
    told = 'styleclip: error: toy hardly knows "a trombone" (confidence 0.00)\n'
    assert capsys.readouterr().err == told + "  try: other words, or one of: styleclip models words toy\n"
    assert not list(here.glob("*.png"))
    assert main([*edit, "-p", "with glasses"]) == 0
    (here / "rows.csv").write_text("input,prompt\nseed:1,with a hat\nseed:2,a trombone\n")
    assert main(["edit", "--manifest", "rows.csv", "--models", "toy", "--strict", "-q"]) == 7
    assert [path.name for path in here.glob("*.png")] == ["seed1_with-glasses.png", "seed1_with-a-hat.png"]


def test_a_pack_lists_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "words", "toy"]) == 0
    poor = {"with big eyes", "with small eyes", "with a wide nose", "with a narrow nose", "with a wide mouth"}
    single = {case.prompt for case in CASES if len(case.targets) == 1}
    assert set(capsys.readouterr().out.splitlines()) == single - poor
    assert main(["models", "words", "ffhq"]) == 4


def test_a_face_is_like_itself_and_unlike_others() -> None:
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32))
    smooth = torch.nn.functional.avg_pool2d(noise, 9, 1, 4)
    assert likeness(smooth[0], smooth[0]) == pytest.approx(1.0)
    assert likeness(smooth[0], 0.5 * smooth[0] + 0.2) == pytest.approx(1.0), "light is no other face"
    assert abs(likeness(smooth[0], smooth[1])) < 0.3
    assert likeness(smooth[0], torch.zeros(3, 64, 64)) == pytest.approx(0.0)
    toy = find_pack("toy")
    assert unlike(smooth[0], smooth[0], toy) == []
    assert "toy knows drawn faces" in unlike(smooth[0], smooth[1], toy)[0]
    assert unlike(smooth[0], smooth[1], find_pack("ffhq")) == []


def test_other_faces_are_told_of(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to_image(draw(make_scene(31, count=3, sides=(600, 700), out_of_frame=False))).save("three.png")
    edit = ["edit", "three.png", "-p", "with glasses", "--models", "toy", "--json", "--overwrite"]
    assert main(edit) == 0
    out, err = capsys.readouterr()
    (told,) = [text for text in json.loads(out)["warnings"] if "faces" in text and "found" in text]
    assert told.startswith("3 faces were found; the largest, number 2 from the left, is edited")
    assert f"three.png: {told}" in err
    assert main([*edit, "--face", "1"]) == 0
    assert "faces were found" not in "".join(capsys.readouterr())


def test_a_real_photo_is_no_drawn_face(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skimage import data

    Image.fromarray(data.astronaut()).save("astronaut.png")
    assert main(["edit", "astronaut.png", "-p", "with glasses", "--models", "toy"]) == 0
    assert "astronaut.png: toy knows drawn faces" in capsys.readouterr().err


@pytest.mark.parametrize("turn", ["ROTATE_90", "ROTATE_180", "ROTATE_270"])
def test_a_photo_on_its_side_is_edited_as_it_lies(turn: str, toy: Engine) -> None:
    how = Image.Transpose[turn]
    upright = to_image(draw(make_scene(80_000_002, count=1, out_of_frame=False)))
    edit = toy.direction("with glasses")
    wanted = toy.edit_photo(upright, edit, 4.0)
    made = toy.edit_photo(upright.transpose(how), edit, 4.0)
    assert any("lies on its side" in warning for warning in made.warnings)
    assert not any("lies on its side" in warning for warning in wanted.warnings)
    assert made.image is not None
    assert wanted.image is not None
    difference = np.abs(np.asarray(made.image, float) - np.asarray(wanted.image.transpose(how), float))
    changed = np.abs(np.asarray(wanted.image, float) - np.asarray(upright, float)).mean()
    assert difference.mean() < 0.1 * changed


def test_nothing_is_found_where_there_is_no_face(toy: Engine) -> None:
    """A face of a turned photo counts only if the generator can draw it."""
    wrong = 0
    for seed in range(12):
        noise = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), np.uint8)
        ground = Image.fromarray(noise).resize((320, 320), Image.Resampling.BICUBIC)
        wrong += bool(faces_of(toy, ground)) and not toy.landmarker.find(ground)
    assert wrong == 0


def test_the_cache_knows_no_prompt_and_may_be_missing(
    toy: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLECLIP_CACHE_DIR", str(tmp_path / "cache"))
    wanted = Engine("toy").direction("with a secret hat")
    kept = list((tmp_path / "cache/texts").glob("*.npz"))
    assert len(kept) == 1, "the null texts of the toy pack come with it"
    assert not any(b"secret" in path.read_bytes() for path in kept)

    def nowhere() -> Path:
        raise OutputError("there is no place for the cache folder")

    monkeypatch.setattr(cache, "cache_dir", nowhere)
    assert torch.equal(Engine("toy").direction("with a secret hat").delta, wanted.delta)


def test_doubts_are_said_once_for_each_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"seed:{n},blorft{n % 23}\n" for n in range(25))
    (here / "rows.csv").write_text(f"input,prompt\n{rows}")
    assert main(["edit", "--manifest", "rows.csv", "--models", "toy"]) == 0
    assert capsys.readouterr().err.count("hardly knows") == 23
    assert main(["edit", "seed:1-3", "-p", "blorft", "-p", "smiling", "--models", "toy"]) == 0
    err = capsys.readouterr().err
    assert (err.count("hardly knows"), err.count("target ")) == (1, 1)


def test_generators_of_other_things_have_no_confidence(pack: Path, tmp_path: Path) -> None:
    text = (pack / "pack.toml").read_text()
    other = tmp_path / "other"
    shutil.copytree(pack, other)
    (other / "pack.toml").write_text(re.sub('alignment = ".*"', 'alignment = "square"', text))
    assert Engine(other).direction("smiling").confidence is None

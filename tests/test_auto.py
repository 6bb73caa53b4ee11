"""Strengths chosen for each face, told by the judge of the toy world and not by the CLIP that chooses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from styleclip_cli import Engine
from styleclip_cli.cli import main
from styleclip_cli.edits import auto
from styleclip_cli.edits.auto import FACTORS, Choice
from styleclip_cli.edits.chain import Chain
from styleclip_cli.edits.directions import Direction
from styleclip_cli.edits.edit import Edit, edited_each
from styleclip_cli.edits.scores import clip_direction, scores, similarity_and_progress
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.job.recipes import load
from styleclip_cli.toyworld.attributes import INDEX
from styleclip_cli.toyworld.cases import CASES
from styleclip_cli.truth.cases import SPLITS
from styleclip_cli.truth.evaluate import Faces
from styleclip_cli.truth.judging import leak, read_all, show_all
from styleclip_cli.truth.worlds import load_judge

CASE = {case.prompt: case for case in CASES}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


@pytest.fixture(scope="module")
def faces(engine: Engine) -> Faces:
    return Faces(engine, load_judge(engine), limit=8, first=SPLITS["defaults"].faces)


def candidates(engine: Engine) -> list[int]:
    return auto.candidates(engine.direction_settings.channels)


def choose(
    engine: Engine,
    faces: Sequence[FaceLatent],
    edits: Sequence[Edit],
    alpha: float,
    keep_identity: float = 0.8,
) -> list[Choice]:
    return auto.choose(engine.renderer, engine.judge, faces, edits, alpha, keep_identity)


def directions(engine: Engine, prompt: str) -> list[Direction]:
    case = CASE[prompt]
    return [engine.direction(prompt, case.neutral, channels=n) for n in candidates(engine)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "at_least"), [("with makeup", 0.2), ("with long hair", 0.1), ("with a moustache", 0.0)]
)
def test_it_beats_the_usual_strength(engine: Engine, faces: Faces, prompt: str, at_least: float) -> None:
    """What is too much for one face is too little for another."""
    case, judge = CASE[prompt], load_judge(engine)
    chosen = faces.for_case(case, 8)
    usual = [
        each[0]
        for each in edited_each(engine.direction(prompt, case.neutral), chosen.faces, [engine.default_alpha])
        if each
    ]
    own = [c.edited for c in choose(engine, chosen.faces, directions(engine, prompt), engine.default_alpha)]
    gains = []
    for edited in (usual, own):
        read = read_all(judge, show_all(engine, edited))
        gains.append(float((case.holds(read).float() - leak(case, chosen.read, read)).mean()))
    assert gains[1] > gains[0] + at_least


@pytest.mark.slow
def test_the_person_is_kept(engine: Engine, faces: Faces) -> None:
    chosen = faces.for_case(CASE["with black hair"], 6)
    edits = directions(engine, "with black hair")
    free = choose(engine, chosen.faces, edits, engine.default_alpha, keep_identity=-1.0)
    bound = choose(engine, chosen.faces, edits, engine.default_alpha, keep_identity=0.95)
    assert min(c.scores.identity or 0 for c in free) < 0.95
    weakest = FACTORS[0] * engine.default_alpha
    assert all((c.scores.identity or 0) >= 0.95 or c.alpha == weakest for c in bound)
    assert sum(c.alpha for c in bound) < sum(c.alpha for c in free)


def test_what_a_face_has_is_left_alone(engine: Engine) -> None:
    """Seed 1 wears a hat already."""
    judge = load_judge(engine)
    face = FaceLatent(engine.sample([1]))
    assert float(read_all(judge, engine.render([face]))[0, INDEX["hat"]]) > 0.9
    (choice,) = choose(engine, [face], directions(engine, "with a hat"), engine.default_alpha)
    assert choice.alpha == FACTORS[0] * engine.default_alpha


def test_without_texts_the_person_decides(engine: Engine) -> None:
    found = engine.direction("with glasses")
    silent = Direction(
        found.delta, found.relevance, found.beta, found.num_channels, "after", "", found.widths
    )
    face = FaceLatent(engine.sample([3]))
    (choice,) = choose(engine, [face], [silent], 4.0, keep_identity=-1.0)
    assert choice.alpha == 4.0
    assert choice.scores.similarity is None
    assert choice.scores.identity is not None
    (choice,) = choose(engine, [face], [silent], 4.0, keep_identity=0.9999)
    assert choice.alpha == 1.0


def test_the_other_way(engine: Engine) -> None:
    face = FaceLatent(engine.sample([3]))
    (choice,) = choose(engine, [face], [engine.direction("smiling")], -engine.default_alpha)
    assert choice.alpha < -FACTORS[0] * engine.default_alpha
    assert (choice.scores.similarity or 0) > 0.4
    chain = Chain(((engine.direction("smiling"), 3.0), (engine.direction("with glasses"), 0.0)))
    alone = clip_direction(engine.judge, engine.direction("smiling"))
    assert torch.allclose(clip_direction(engine.judge, chain), alone, atol=1e-6)


def test_scores(engine: Engine) -> None:
    face = FaceLatent(engine.sample([2, 3]))
    edit = engine.direction("with glasses")
    before, after = engine.render([face]), engine.render([edit.edited(face, [4.0])[0]])
    way = clip_direction(engine.judge, edit)
    assert way is not None
    forth = scores(engine.judge, before, after, way)
    assert all(s.similarity is not None and s.similarity > 0.5 for s in forth)
    assert all(s.progress is not None and 0.1 < s.progress < 2 for s in forth)
    assert all(s.identity is not None and 0.8 < s.identity < 1 for s in forth)
    back = scores(engine.judge, before, after, way, sign=-1)
    assert [s.similarity for s in back] == pytest.approx([-(s.similarity or 0) for s in forth])
    both = clip_direction(engine.judge, Chain(((edit, 1.0), (engine.direction("smiling"), -2.0))))
    assert both is not None
    assert float(both.norm()) == pytest.approx(1.0, abs=1e-5)
    assert float(both @ way) > 0.3
    e = torch.eye(3)
    cosine, progress = similarity_and_progress(e[:1], e[1:2], torch.tensor([0.0, 1.0, 0.0]))
    assert float(cosine) == pytest.approx(0.5**0.5)
    assert float(progress) == 1.0


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["edit", "seed:2-3", "-p", "with a hat", "--auto", "--models", "toy", "--out", "o"]
    assert main(command) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2
    assert all("identity 0." in line and "similarity 0." in line for line in told)
    recipe = load(tmp_path / "o" / "seed2_with-a-hat.png")
    assert recipe.identity == 0.8
    assert recipe.alphas is not None
    assert len(recipe.alphas) == 1
    # The recipe of what was chosen makes the same picture.
    repeat = ["edit", "seed:2", "--recipe", "o/seed2_with-a-hat.png", "--models", "toy", "--out", "again.png"]
    assert main([*repeat, "-q"]) == 0
    from PIL import Image, ImageChops

    with Image.open("again.png") as one, Image.open("o/seed2_with-a-hat.png") as other:
        assert max(high for _, high in ImageChops.difference(one, other).getextrema()) <= 1


def test_an_animation_goes_as_far_as_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image, ImageChops, ImageStat

    monkeypatch.chdir(tmp_path)
    command = ["edit", "seed:3", "-p", "with a hat", "--auto", "--models", "toy", "-q"]
    assert main([*command, "--out", "a.png", "--animation", "a.webp"]) == 0
    with Image.open("a.png") as result, Image.open("a.webp") as film:
        film.seek((film.n_frames) // 2)
        turned = film.convert("RGB")
        film.seek(0)
        first = film.convert("RGB")
        mean = [ImageStat.Stat(ImageChops.difference(x, result).convert("L")).sum[0] for x in (turned, first)]
    assert mean[0] < 0.2 * mean[1]


def test_each_face_of_a_photo_is_chosen_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from styleclip_cli.save import save_image, to_image
    from styleclip_cli.toyworld.scenes import draw, make_scene

    monkeypatch.chdir(tmp_path)
    scene = make_scene(70_000_109, sides=(420, 640), count=2, size=(0.3, 0.5), out_of_frame=False)
    save_image(tmp_path / "two.png", to_image(draw(scene)))
    command = ["edit", "two.png", "-p", "with glasses", "--auto", "--face", "all", "--models", "toy"]
    assert main([*command, "--json", "--out", "o.png"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert len(row["faces"]) == 2
    assert all(face["scores"]["identity"] is not None for face in row["faces"])


def test_a_candidate_that_keeps_the_person_goes_first(engine: Engine) -> None:
    face = FaceLatent(engine.sample([7]))
    edits = [engine.direction("with a beard", channels=n) for n in candidates(engine)]
    weakest = [e.edited(face, [FACTORS[0] * engine.default_alpha])[0] for e in edits]
    before = engine.render([face])
    same = [s.identity or 0 for e in weakest for s in scores(engine.judge, before, engine.render([e]), None)]
    assert min(same) < max(same)
    bar = (min(same) + max(same)) / 2
    (choice,) = choose(engine, [face], edits, engine.default_alpha, keep_identity=bar)
    assert (choice.scores.identity or 0) >= bar

"""The studio's pictures: which face is edited, and what is chosen, optimized and doubted for it."""

from __future__ import annotations

import shlex
import threading
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from styleclip_cli.cli import main
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError
from styleclip_cli.inversion import FaceLatent
from styleclip_cli.photo.align import NoFaceError
from styleclip_cli.photo.read import read_image
from styleclip_cli.save import mark_of, read_metadata, save_image, to_image
from styleclip_cli.studio.busy import Busy, complaint, readable
from styleclip_cli.studio.look import RECIPE
from styleclip_cli.studio.session import Edits, Session
from styleclip_cli.studio.subject import Subject
from styleclip_cli.toyworld.scenes import draw, make_scene

FACE = Path(__file__).parent.parent / "examples" / "face.png"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


@pytest.fixture(scope="module")
def edits(engine: Engine) -> Edits:
    return Edits(engine)


@pytest.fixture
def session(engine: Engine, edits: Edits) -> Session:
    return Session(engine, "toy", edits)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of three people."""
    path = tmp_path_factory.mktemp("photos") / "three.png"
    wishes: dict[str, Any] = {"size": (0.3, 0.7), "roll": (-15, 15), "out_of_frame": False}
    scene = make_scene(70_000_105, count=3, sides=(400, 440), presence_rate=0.15, **wishes)
    save_image(path, to_image(draw(scene)))
    return path


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def saved(session: Session, subject: Subject, path: Path) -> Path:
    path.write_bytes(session.save(subject)[1])
    return path


def same(one: Path, other: Path) -> None:
    np.testing.assert_array_equal(pixels(read_image(one)), pixels(read_image(other)))
    assert read_metadata(one) == read_metadata(other)


def run(command: str, out: Path) -> Path:
    """Run the command that the page shows."""
    assert main([*shlex.split(command)[1:], "--out", str(out), "--quiet"]) == 0
    return out


# Which face.


def changed(session: Session, subject: Subject) -> list[bool]:
    """Whether each face's box holds anything new."""
    before, after = pixels(subject.before), pixels(subject.after(session.resolve(), session.edits))
    height, width = before.shape[:2]
    found = []
    for left, top, wide, high in subject.boxes:
        rows = slice(max(0, round(top * height)), round((top + high) * height))
        columns = slice(max(0, round(left * width)), round((left + wide) * width))
        found.append(bool(np.abs(after[rows, columns] - before[rows, columns]).max() > 60))
    return found


def test_the_face_that_is_chosen_is_edited(session: Session, three: Path) -> None:
    subject = session.add(three, "three.png")
    session.change(prompt="with sunglasses")
    largest = max(range(3), key=lambda i: subject.faces[i].size)
    assert subject.numbers == [largest + 1]
    assert changed(session, subject) == [i == largest for i in range(3)]
    assert "--face" not in session.command_line()
    for which in ("1", "2", "3"):
        subject.choose(which)
        assert changed(session, subject) == [str(i) == which for i in (1, 2, 3)]
        assert session.command_line().endswith(f" --face {which}")
    subject.choose("all")
    assert subject.numbers == [1, 2, 3]
    assert changed(session, subject) == [True] * 3
    with pytest.raises(BadInputError, match="no face 4"):
        subject.choose("4")
    assert subject.which == "all"


@pytest.mark.parametrize("which", ["1", "all"])
def test_edit_makes_the_same_of_that_face(
    session: Session, three: Path, which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = session.add(three, "three.png")
    subject.choose(which)
    session.change(prompt="smiling")
    one = saved(session, subject, tmp_path / "page.png")
    monkeypatch.chdir(three.parent)
    same(one, run(session.command_line(), tmp_path / "command.png"))
    assert main(["edit", str(three), "--recipe", str(one), "--out", str(tmp_path / "again.png"), "-q"]) == 0
    same(one, tmp_path / "again.png")


def test_the_command_is_for_one_picture_where_others_need_other_options(
    session: Session, three: Path
) -> None:
    first = session.add(three, "three.png")
    session.add(FACE, "face.png")
    assert " three.png face.png " in session.command_line()
    first.choose("1")
    assert " three.png --models toy --face 1" in session.command_line(front=first)
    assert "--face" not in session.command_line(front=session.subjects[1])


def test_a_photo_without_a_face_can_be_used_as_it_is(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wall.png"
    Image.new("RGB", (300, 200), (90, 120, 150)).save(path)
    with pytest.raises(NoFaceError) as found:
        session.add(path, "wall.png")
    assert complaint(found.value) == "wall.png: no face was found"  # the hint names options
    assert session.subjects == []
    subject = session.take_as_it_is("wall.png")
    assert session.faceless == {}
    assert "hardly looks like it" in subject.warnings[0]
    session.change(prompt="smiling")
    assert session.command_line().endswith(" --no-align")
    monkeypatch.chdir(tmp_path)
    one = saved(session, subject, tmp_path / "page.png")
    same(one, run(session.command_line(), tmp_path / "command.png"))


def test_what_is_written_into_a_photo_is_what_the_command_writes(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[Base.Artist], exif[Base.Orientation] = "somebody", 3
    read_image(FACE).rotate(180).save(tmp_path / "turned.jpg", exif=exif, quality=98)
    subject = session.add(tmp_path / "turned.jpg", "turned.jpg")
    session.change(prompt="with glasses")
    one = saved(session, subject, tmp_path / "page.png")
    monkeypatch.chdir(tmp_path)
    two = run(session.command_line(), tmp_path / "command.png")
    same(one, two)
    with Image.open(one) as first, Image.open(two) as second:
        assert dict(first.getexif()) == dict(second.getexif())
        assert first.getexif()[Base.Artist] == "somebody"
        assert mark_of(first) == mark_of(second) == "compositeWithTrainedAlgorithmicMedia"


# Strengths that are chosen.


def test_auto_is_what_the_command_does(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = session.add(FACE, "face.png")
    session.change(prompt="with glasses", beta=0.2)
    session.change(auto=True)
    assert session.look.step.beta is None
    resolved = session.resolve()
    chosen = subject.checked(resolved, session.edits).faces[0]
    monkeypatch.chdir(FACE.parent)
    one = saved(session, subject, tmp_path / "page.png")
    assert session.command_line() == (
        "styleclip edit face.png --models toy --prompt 'with glasses' --neutral face --auto"
    )
    same(one, run(session.command_line(), tmp_path / "command.png"))
    (tmp_path / RECIPE).write_text(session.recipe(resolved, subject) or "")
    again = tmp_path / "again.png"
    assert main(["edit", "face.png", "--recipe", str(tmp_path / RECIPE), "--out", str(again), "-q"]) == 0
    np.testing.assert_array_equal(pixels(read_image(again)), pixels(read_image(one)))

    shown = pixels(subject.after(resolved, session.edits))
    assert session.accept(resolved, subject)
    (kept,) = session.look.kept
    assert (kept.alpha, kept.beta) == (chosen.alpha, chosen.beta)
    assert not session.look.auto
    assert np.abs(pixels(subject.after(session.resolve(), session.edits)) - shown).max() <= 1
    session.change(prompt="smiling", auto=True)  # not on top of others: the command has no way to say it
    assert not session.look.auto


def test_a_choice_is_made_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = session.add(FACE, "face.png")
    session.change(method="mapper", mapper="smiling", auto=True)
    first = pixels(subject.after(session.resolve(), session.edits))
    assert isinstance(subject.checked(session.resolve(), session.edits).faces[0].alpha, float)
    monkeypatch.setattr("styleclip_cli.job.stages.choose", lambda *_: pytest.fail("chosen again"))
    np.testing.assert_array_equal(pixels(subject.after(session.resolve(), session.edits)), first)


# Optimization.


@pytest.fixture
def optimized(session: Session) -> Subject:
    subject = session.add(FACE, "face.png")
    session.change(method="optimize", prompt="with red hair")
    session.change(iterations=4, lambda_id=0.2)
    return subject


def test_nothing_is_optimized_until_it_is_asked_for(session: Session, optimized: Subject) -> None:
    resolved = session.resolve()
    assert optimized.steps(resolved) == ()
    np.testing.assert_array_equal(pixels(optimized.after(resolved, session.edits)), pixels(optimized.before))
    assert session.recipe(resolved, optimized) is None
    session.optimize(optimized)
    session.change(alpha=0.5)
    half = pixels(optimized.after(session.resolve(), session.edits))
    assert np.abs(half - pixels(optimized.before)).max() > 10
    session.change(alpha=0.0)  # the strength scales what was found
    plain = pixels(optimized.after(session.resolve(), session.edits))
    assert np.abs(plain - half).max() > 10
    session.change(prompt="with a hat")
    assert optimized.steps(session.resolve()) == ()
    assert session.undo()
    assert len(optimized.steps(session.resolve())) == 1
    assert not session.accept()  # it stands alone: a recipe has no optimization among other edits


def test_an_optimized_picture_repeats_itself(
    session: Session, optimized: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int]] = []
    shown: list[Image.Image] = []
    session.optimize(
        optimized, advance=lambda done, total, note="": said.append((done, total)), frame=shown.append
    )
    assert said == [(n, 4) for n in (1, 2, 3, 4)]
    assert [one.size for one in shown] == [optimized.before.size] * len(shown)
    assert shown
    one = saved(session, optimized, tmp_path / "page.png")
    monkeypatch.chdir(FACE.parent)
    assert "--method optimize" in session.command_line()
    same(one, run(session.command_line(), tmp_path / "command.png"))
    recipe = session.recipe(None, optimized)
    assert recipe is not None
    assert {"face", "align", "fingerprint"}.isdisjoint(tomllib.loads(recipe))
    (tmp_path / RECIPE).write_text(recipe)
    for source in (str(one), str(tmp_path / RECIPE)):
        again = tmp_path / "again.png"
        assert main(["edit", "face.png", "--recipe", source, "--out", str(again), "--overwrite", "-q"]) == 0
        np.testing.assert_array_equal(pixels(read_image(again)), pixels(read_image(one)))


def test_a_stopped_optimization_keeps_what_it_found(session: Session, optimized: Subject) -> None:
    made: list[int] = []
    session.optimize(
        optimized, stop=lambda: len(made) >= 2, advance=lambda done, total, note="": made.append(done)
    )
    ((found, _),) = optimized.steps(session.resolve())
    assert made == [1, 2]
    assert found.entries()["iterations"] == 2
    session.optimize(optimized)  # again, to its end
    ((found, _),) = optimized.steps(session.resolve())
    assert found.entries()["iterations"] == 4


def test_others_render_while_a_picture_is_optimized(
    session: Session, optimized: Subject, engine: Engine
) -> None:
    session.change(iterations=200)
    stop, begun = threading.Event(), threading.Event()
    apart = threading.Thread(target=session.optimize, args=(optimized, stop.is_set, lambda *_: begun.set()))
    apart.start()
    try:
        assert begun.wait(60)
        engine.render([FaceLatent(engine.sample([1]))])
        assert apart.is_alive()
    finally:
        stop.set()
        apart.join()


def test_an_optimization_is_of_the_face_that_was_chosen(session: Session, three: Path) -> None:
    subject = session.add(three, "three.png")
    session.change(method="optimize", prompt="with a hat", iterations=2)
    subject.choose("all")
    session.optimize(subject)
    assert len(subject.steps(session.resolve())) == 1
    assert subject.after(session.resolve(), session.edits).size == subject.before.size
    subject.choose("1")
    assert subject.steps(session.resolve()) == ()


# What is said.


@pytest.mark.parametrize(
    ("warning", "text", "meant"),
    [
        (
            'toy hardly knows "a": it may; did you mean "with a hat"?',
            'toy hardly knows "a": it may',
            "with a hat",
        ),
        ("toy hardly knows it; one of: styleclip models words toy", "toy hardly knows it", ""),
        ("2 faces were found; --face NUMBER or all (styleclip invert X)", "2 faces were found", ""),
        ("identity 0.41; a smaller strength", "identity 0.41; a smaller strength", ""),
        ("try --alpha 2", "try --alpha 2", ""),
    ],
)
def test_warnings_are_said_without_options(warning: str, text: str, meant: str) -> None:
    assert readable(warning) == (text, meant)


def test_what_the_job_doubts_is_known_for_what_is_shown(session: Session, three: Path) -> None:
    subject = session.add(three, "three.png")
    session.change(prompt="with glases")
    result = subject.checked(session.resolve(), session.edits)
    assert [readable(one)[1] for one in result.edit_warnings] == ["with glasses"]
    assert not any("faces were found" in one for one in subject.doubts(result))  # which it is can be seen
    read_image(three).transpose(Image.Transpose.ROTATE_90).save(three.with_name("side.png"))
    side = session.add(three.with_name("side.png"), "side.png")
    assert any("on its side" in one for one in side.warnings)
    assert len(side.faces) == 3


def test_long_steps_are_followed() -> None:
    busy = Busy()
    with busy("measuring") as advance:
        assert (busy.said, busy.part) == ("measuring", None)
        advance(3, 12)
        assert (busy.said, busy.part) == ("measuring: 3 of 12", 0.25)
    assert busy.said == ""

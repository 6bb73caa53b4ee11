"""The studio: what a page holds, who may speak to it, and the page itself in a browser."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import shlex
import shutil
import signal
import socket
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from styleclip_cli.cli import main
from styleclip_cli.edits.chain import Chain
from styleclip_cli.engine import Engine
from styleclip_cli.errors import BadInputError, UsageError, WeightsError
from styleclip_cli.job.recipes import load
from styleclip_cli.photo.read import read_image
from styleclip_cli.save import mark_of, read_metadata, to_image
from styleclip_cli.studio.guard import Guard
from styleclip_cli.studio.look import RECIPE, History, Look
from styleclip_cli.studio.session import MAX_PICTURES, Edits, Session
from styleclip_cli.weights.fetch import Network
from tests.portraits import edit_photo
from tests.studios import SECONDS, Running, pixels, started

FACE = Path(__file__).parent.parent / "examples" / "face.png"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy", device="cpu")


@pytest.fixture(scope="module")
def edits(engine: Engine) -> Edits:
    return Edits(engine)


@pytest.fixture
def session(engine: Engine, edits: Edits) -> Session:
    session = Session(engine, "toy", edits)
    session.add(FACE, "face.png")
    return session


def after(session: Session) -> np.ndarray:
    """What the page shows of its first picture."""
    return pixels(session.pictures()[0][2])


def two_edits(session: Session) -> None:
    session.change(prompt="with glasses")
    session.change(alpha=3.0)
    assert session.accept()
    session.change(prompt="smiling", alpha=2.0)


# What a page holds.


def test_edits_add_up_as_a_chain_does(session: Session, engine: Engine) -> None:
    two_edits(session)
    chain = Chain(((engine.direction("with glasses"), 3.0), (engine.direction("smiling"), 2.0)))
    wanted = edit_photo(engine, read_image(FACE), chain, 1.0).image
    assert isinstance(wanted, Image.Image)
    finished = session.subjects[0].finished(session.resolve(), session.edits).image
    assert finished is not None
    np.testing.assert_array_equal(pixels(finished), pixels(wanted))
    assert np.abs(after(session) - pixels(wanted)).max() <= 1  # the preview of a small photo is the same
    assert [step.prompt for step in session.look.steps] == ["with glasses", "smiling"]


def test_a_move_of_a_slider_asks_neither_the_encoder_nor_clip_nor_for_styles_again(
    session: Session, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_edits(session)
    first = after(session)

    def asked(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked again")

    for owner, name in (
        (type(engine.networks.encoder), "forward"),
        (type(engine.networks.clip), "encode_text"),
        (engine, "styles"),
        (engine, "invert"),
    ):
        monkeypatch.setattr(owner, name, asked)
    rendered = []
    show = engine.synthesize
    monkeypatch.setattr(engine, "synthesize", lambda *a, **k: rendered.append(len(a[0])) or show(*a, **k))
    for alpha in (-2.0, 0.5, 6.0):
        session.change(alpha=alpha)
        assert np.abs(after(session) - first).max() > 20
    assert rendered == [1, 1, 1]  # the face before the edit is not rendered again either


def test_beta_is_chosen_as_by_the_command_and_can_be_set(session: Session, engine: Engine) -> None:
    session.change(prompt="with glasses")
    chosen, wanted = session.resolve().top, engine.direction("with glasses")
    assert chosen is not None
    assert chosen.entries() == wanted.entries()
    first = after(session)
    session.change(beta=0.4)
    narrow = session.resolve()
    assert narrow.top is not None
    assert narrow.top.entries()["channels"] < wanted.num_channels
    assert narrow.strongest == float(wanted.relevance.abs().max())
    assert (after(session) != first).any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "with glasses", "neutral": " "}, "the neutral text is empty"),
        ({"prompt": "face"}, "are the same"),
        ({"prompt": "very " * 90 + "old"}, "too long"),
        ({"prompt": "a" * 501}, "too long"),
        ({"prompt": "smiling", "beta": 0.99}, "largest usable beta"),
        ({"method": "mapper", "mapper": str(FACE)}, "no mapper"),
    ],
)
def test_what_makes_no_sense_is_said_and_the_picture_stays(
    session: Session, changes: dict[str, Any], said: str
) -> None:
    session.change(prompt="with glasses")
    session.accept()
    before = after(session)
    session.change(**changes)
    assert said in session.resolve().problem
    np.testing.assert_array_equal(after(session), before)
    assert not session.accept()
    assert [step.prompt for step in session.look.kept] == ["with glasses"]
    assert session.command_line().count("--prompt") == 1  # it tells what is shown


@pytest.mark.parametrize(
    "changes",
    [{"alpha": float("nan")}, {"alpha": 1e999}, {"beta": 2.0}, {"prompt": "\ud800"}, {"lambda_id": -1.0}],
)
def test_values_that_make_no_sense_are_refused(session: Session, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        session.change(**changes)
    assert len(session.history.entries) == 1


def test_undo_and_redo_lead_through_all_that_was_done(session: Session) -> None:
    seen = [after(session)]
    session.change(prompt="with glasses")
    seen.append(after(session))
    for alpha in (4.5, 5.0, 5.5):  # one drag of a slider
        session.change(alpha=alpha)
    seen.append(after(session))
    session.accept()
    session.change(prompt="with a beard")
    seen.append(after(session))
    labels = [entry.label for entry in session.history.entries]
    assert labels == ["start", "with glasses", "alpha 5.5", "kept with glasses", "with a beard"]
    for wanted in (seen[2], seen[2], seen[1], seen[0]):  # keeping an edit changes no picture
        assert session.undo()
        np.testing.assert_array_equal(after(session), wanted)
    assert not session.undo()
    for _ in range(4):
        assert session.redo()
    np.testing.assert_array_equal(after(session), seen[3])
    assert not session.redo()
    session.history.go(1)
    session.change(alpha=1.0)  # what was undone is forgotten
    assert not session.history.can_redo


def test_two_drags_are_two_lines_of_the_history() -> None:
    history = History(Look())
    for alpha in (1.0, 2.0):
        history.change({"alpha": alpha})
    history.settle()
    history.change({"alpha": 3.0})
    assert not history.change({"alpha": 3.0})
    assert [entry.look.step.alpha for entry in history.entries] == [4.0, 2.0, 3.0]


def test_a_kept_edit_can_be_removed(session: Session) -> None:
    session.change(prompt="smiling", alpha=2.0)
    alone = after(session)
    session.change(prompt="")
    two_edits(session)
    session.history.remove(0)
    np.testing.assert_array_equal(after(session), alone)
    assert session.undo()
    assert len(session.look.kept) == 1


def test_a_direction_from_a_file_is_a_slider_among_the_others(
    session: Session, engine: Engine, tmp_path: Path
) -> None:
    found = engine.sefa_direction(1, (0, 1, 2, 3))
    found.save(tmp_path / "upload")
    session.change(prompt="with glasses", alpha=4.0)
    session.accept()
    session.add_direction(tmp_path / "upload", "long.npz")
    assert (session.look.way, session.look.step.alpha) == ("direction", 3.0)
    assert session.history.entries[-1].label == "long"
    session.change(alpha=2.0)
    chain = Chain(((engine.direction("with glasses"), 4.0), (found, 2.0)))
    wanted = pixels(edit_photo(engine, read_image(FACE), chain, 1.0).image)
    assert np.abs(after(session) - wanted).max() <= 1
    assert session.command_line() == (
        "styleclip edit face.png --models toy --prompt 'with glasses' --neutral face --alpha 4 "
        "--direction long.npz --alpha 2"
    )
    assert tomllib.loads(session.recipe() or "")["edit"][1] == {"direction": "long.npz", "alpha": 2.0}
    session.accept()
    assert session.look.way == "direction"
    # Kept edits have sliders too; moves of one are one line.
    for alpha in (1.0, 0.5, 0.0):
        assert session.history.alter(0, alpha)
    assert not session.history.alter(0, 0.0)
    assert [entry.label for entry in session.history.entries[-2:]] == ["kept long", "with glasses: alpha 0"]
    alone = pixels(edit_photo(engine, read_image(FACE), found, 2.0).image)
    assert np.abs(after(session) - alone).max() <= 1
    session.undo()
    assert np.abs(after(session) - wanted).max() <= 1
    session.change(method="global")
    assert session.look.step.prompt == ""
    session.change(method="direction", direction="other.npz")
    assert "no direction 'other.npz'" in session.resolve().problem


def test_what_is_no_direction_is_said_by_its_name(session: Session, tmp_path: Path) -> None:
    np.save(tmp_path / "upload.npy", np.ones((1, 7)))
    with pytest.raises(BadInputError, match=r"^age\.npy: vectors of 1x7"):
        session.add_direction(tmp_path / "upload.npy", "age.npy")
    assert session.look.way == "global"


def test_a_mapper_is_a_wish_too(session: Session, engine: Engine) -> None:
    session.change(method="mapper")
    assert session.look.step.alpha == 1.0
    session.change(mapper="with-a-hat")
    session.change(alpha=0.8)
    wanted = edit_photo(engine, read_image(FACE), engine.mapper("with-a-hat"), 0.8).image
    assert np.abs(after(session) - pixels(wanted)).max() <= 1
    session.accept()
    assert session.look.method == "mapper"
    session.change(method="global")
    assert session.look.step.alpha == engine.default_alpha
    assert session.command_line() == ("styleclip edit face.png --models toy --mapper with-a-hat --alpha 0.8")


def test_the_command_line_says_all_edits_in_order(session: Session) -> None:
    session.subjects[0].name = "-my face's.png"
    session.change(prompt="with glasses", alpha=4.0, beta=0.12)
    session.accept()
    session.change(prompt='it\'s "smiling"; rm -rf $HOME', neutral="a man", alpha=-0.3)
    assert shlex.split(session.command_line()) == [
        *("styleclip", "edit", "./-my face's.png", "--models", "toy"),
        *("--prompt", "with glasses", "--neutral", "face", "--alpha", "4", "--beta", "0.12"),
        *("--prompt", 'it\'s "smiling"; rm -rf $HOME', "--neutral", "a man", "--alpha", "-0.3"),
        *("--beta", "auto"),
    ]
    session.accept()
    session.change(method="mapper", mapper="smiling")
    assert session.command_line().endswith(" --models toy --recipe look.toml")


def test_the_recipe_says_all_edits_in_order(session: Session, tmp_path: Path) -> None:
    session.change(prompt="with glasses", alpha=4.0, beta=0.12)
    session.accept()
    session.change(method="mapper", mapper="smiling")
    assert tomllib.loads(session.recipe()) == {
        "models": "toy",
        "edit": [
            {"prompt": "with glasses", "neutral": "face", "alpha": 4.0, "beta": 0.12},
            {"mapper": "smiling", "alpha": 1.0},
        ],
    }
    (tmp_path / "look.toml").write_text(session.recipe())
    steps = load(tmp_path / "look.toml").edits
    assert steps is not None
    assert [step.words for step in steps] == ["with glasses", "smiling"]


GLASSES = {"prompt": "with glasses", "alpha": 3.3, "beta": 0.2}
BEARD = {"prompt": "with a beard", "neutral": "a face", "alpha": -1.5}
HAT = {"method": "mapper", "mapper": "with-a-hat", "alpha": 0.8}


@pytest.mark.parametrize(
    ("wishes", "way"),
    [
        ([GLASSES], "command"),
        ([GLASSES], "recipe"),
        ([HAT], "command"),
        ([HAT], "recipe"),
        ([BEARD, GLASSES], "command"),
        ([BEARD, GLASSES], "recipe"),
        ([HAT, GLASSES], "recipe"),
        ([HAT, GLASSES], "command"),
    ],
)
def test_edit_makes_the_picture_that_the_studio_saves(
    session: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wishes: list[dict[str, Any]],
    way: str,
) -> None:
    for wish in wishes[:-1]:
        session.change(**wish)
        session.accept()
    session.change(**{"method": "global", **wishes[-1]})
    name, content = session.save(session.subjects[0])
    assert re.fullmatch(r"face_[a-z-]+\.png", name)
    saved, out = tmp_path / "saved.png", tmp_path / "edited.png"
    saved.write_bytes(content)

    monkeypatch.chdir(tmp_path)
    (tmp_path / RECIPE).write_text(session.recipe())
    shutil.copy(FACE, tmp_path / "face.png")
    words = shlex.split(session.command_line())[1:] if way == "command" else ["edit", "face.png"]
    options = [] if way == "command" else ["--recipe", RECIPE]
    assert main([*words, *options, "--out", str(out), "--quiet"]) == 0
    np.testing.assert_array_equal(pixels(read_image(saved)), pixels(read_image(out)))
    assert read_metadata(saved) == read_metadata(out)
    with Image.open(saved) as image:
        assert mark_of(image) == "compositeWithTrainedAlgorithmicMedia"


def test_what_is_painted_may_change_and_nothing_else(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = session.subjects[0]
    session.change(prompt="with glasses")
    subject.mask = Image.new("L", subject.before.size)
    subject.mask.paste(255, (128, 60, 256, 160))
    before, made = pixels(subject.before), after(session)
    black = np.asarray(subject.mask) == 0
    assert np.array_equal(made[black], before[black])
    assert np.abs(made - before).max() > 60
    name, content = session.save(subject)
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    shutil.copy(FACE, "face.png")
    subject.whole_mask().save("mask.png")
    words = shlex.split(session.command_line(front=subject))
    assert words[-2:] == ["--mask", "mask.png"]
    assert main([*words[1:], "--out", "again.png"]) == 0
    assert np.array_equal(pixels(read_image(Path(name))), pixels(read_image(Path("again.png"))))
    recipe = session.recipe(front=subject)
    assert recipe is not None
    Path("look.toml").write_text(recipe)
    assert load(Path("look.toml")).mask == "mask.png"
    subject.mask = None
    assert np.abs(after(session) - made).max() > 60


def test_parts_are_wanted_in_a_look(session: Session, tmp_path: Path) -> None:
    session.change(prompt="smiling")
    assert session.change(only=("mouth", "skin"))
    assert session.history.entries[-1].label == "only mouth, skin"
    assert session.look.request().region.parts == ("mouth", "skin", "nose", "ears", "neck")
    assert session.command_line().endswith("--only 'mouth, skin'")
    recipe = session.recipe()
    assert recipe is not None
    (tmp_path / "look.toml").write_text(recipe)
    assert load(tmp_path / "look.toml").only == "mouth, skin"
    with pytest.raises(WeightsError, match="toy has no parser"):
        after(session)
    session.history.settle()
    session.change(only=())
    assert session.history.entries[-1].label == "anywhere"
    session.undo()
    assert session.look.only == ("mouth", "skin")


def test_only_a_painted_picture_is_a_mask() -> None:
    from styleclip_cli.studio.where import painted

    def address(image: Image.Image) -> str:
        data = io.BytesIO()
        image.save(data, "PNG")
        return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()

    canvas = Image.new("RGBA", (20, 16))
    assert painted(address(canvas), (20, 16)) is None
    canvas.paste((229, 86, 47, 255), (3, 3, 9, 9))
    mask = painted(address(canvas), (20, 16))
    assert mask is not None
    assert (np.asarray(mask) == 255).sum() == 36
    whole = Image.new("RGB", (20, 16), "black")
    assert painted(address(whole), (20, 16)).getextrema() == (255, 255)
    cut = address(canvas)[:-40]
    for wrong in (address(canvas.resize((30, 16))), cut, "data:image/png;base64,", "data:text/plain,a", None):
        with pytest.raises(BadInputError, match="did not arrive"):
            painted(wrong, (20, 16))


def test_a_saved_picture_repeats_itself(session: Session, tmp_path: Path) -> None:
    two_edits(session)
    saved = tmp_path / "saved.png"
    saved.write_bytes(session.save(session.subjects[0])[1])
    out = tmp_path / "again.png"
    assert main(["edit", str(FACE), "--recipe", str(saved), "--out", str(out), "--quiet"]) == 0
    np.testing.assert_array_equal(pixels(read_image(out)), pixels(read_image(saved)))


def test_generated_faces_can_be_edited(engine: Engine, edits: Edits, tmp_path: Path) -> None:
    session = Session(engine, "toy", edits)
    subject = session.generate(7)
    session.change(prompt="smiling")
    wanted = to_image(engine.edit(engine.sample([7]), engine.direction("smiling"), [4.0])[0, 0])
    assert np.abs(after(session) - pixels(wanted)).max() <= 1
    assert session.command_line().startswith("styleclip edit seed:7 --models toy --prompt smiling")
    name, content = session.save(subject)
    assert name == "seed7_smiling.png"
    (tmp_path / name).write_bytes(content)
    told = read_metadata(tmp_path / name)
    assert told is not None
    assert told["sample"] == 7
    with Image.open(io.BytesIO(content)) as image:
        assert mark_of(image) == "trainedAlgorithmicMedia"


def test_a_large_photo_is_shown_smaller_and_saved_in_full(
    engine: Engine, edits: Edits, tmp_path: Path
) -> None:
    read_image(FACE).resize((1500, 1500)).save(tmp_path / "large.png")
    session = Session(engine, "toy", edits)
    subject = session.add(tmp_path / "large.png", "large.png")
    session.change(prompt="with glasses")
    ((_, before, shown),) = session.pictures()
    assert before.size == shown.size == (1024, 1024)
    finished = subject.finished(session.resolve(), session.edits).image
    assert finished is not None
    assert finished.size == (1500, 1500)
    smaller = pixels(finished.resize((1024, 1024), Image.Resampling.LANCZOS))
    assert np.abs(smaller - pixels(shown)).mean() < 1


def test_what_cannot_be_opened_is_told_by_the_name_that_the_person_knows(
    session: Session, tmp_path: Path
) -> None:
    (tmp_path / "0123abcd").write_text("no picture")
    with pytest.raises(BadInputError, match=r"^holiday\.jpg: not a picture"):
        session.add(tmp_path / "0123abcd", "holiday.jpg")
    Image.new("RGB", (300, 300)).save(tmp_path / "wide.png")
    session.max_pixels = 80_000
    with pytest.raises(BadInputError, match=r"^wide\.png: too large"):
        session.add(tmp_path / "wide.png", "wide.png")
    while len(session.subjects) < MAX_PICTURES:
        session.generate(1)
    with pytest.raises(BadInputError, match="at most"):
        session.generate(1)
    session.drop(session.subjects[0])
    assert session.generate(1) in session.subjects


# Who may speak to it.


def answered(host: str, headers: dict[str, str], kind: str = "http") -> bool:
    """Whether a guard lets a request through."""
    pytest.importorskip("starlette")
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    scope = {"type": kind, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    with ThreadPoolExecutor(1) as apart:  # while a browser is driven, this thread has a loop already
        apart.submit(asyncio.run, Guard(app, host)(scope, receive, send)).result()
    return sent[0].get("status") == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("host", "headers", "passes"),
    [
        ("127.0.0.1", {"host": "127.0.0.1:8765"}, True),
        ("127.0.0.1", {"host": "localhost:8765"}, True),
        ("127.0.0.1", {"host": "LOCALHOST"}, True),
        ("127.0.0.1", {"host": "[::1]:8765"}, True),
        ("127.0.0.1", {"host": "evil.example:8765"}, False),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example"}, False),
        ("127.0.0.1", {"host": "localhost@evil.example"}, False),
        ("127.0.0.1", {"host": "[::1"}, False),
        ("127.0.0.1", {"host": ""}, False),
        ("127.0.0.1", {}, False),
        ("127.0.0.1", {"host": "192.168.1.5:8765"}, False),
        ("127.0.0.1", {"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8765"}, True),
        ("127.0.0.1", {"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:9999"}, False),
        ("127.0.0.1", {"host": "127.0.0.1:8765", "origin": "https://evil.example"}, False),
        ("127.0.0.1", {"host": "127.0.0.1:8765", "origin": "null"}, False),
        ("127.0.0.1", {"host": "127.0.0.1:8765", "origin": "http://[::1"}, False),
        ("studio.lan", {"host": "studio.lan:8765"}, True),
        ("studio.lan", {"host": "other.lan:8765"}, False),
        ("0.0.0.0", {"host": "192.168.1.5:8765"}, True),
        ("0.0.0.0", {"host": socket.gethostname()}, True),
        ("0.0.0.0", {"host": "evil.example"}, False),
    ],
)
def test_only_its_own_pages_are_answered(host: str, headers: dict[str, str], passes: bool, kind: str) -> None:
    assert answered(host, headers, kind) is passes


def asked_by(site: str, mode: str = "no-cors", what: str = "image") -> dict[str, str]:
    """What browsers say of a page that has something fetched."""
    said = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": what}
    return {"host": "127.0.0.1:8765", **said}


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        (asked_by("cross-site"), False),
        (asked_by("cross-site", "navigate", "iframe"), False),
        (asked_by("cross-site", "cors", "empty"), False),
        (asked_by("cross-site", "navigate", "document"), True),
        ({"host": "127.0.0.1:8765", "sec-fetch-site": "cross-site"}, False),
        (asked_by("same-site"), False),
        (asked_by("same-site", "navigate", "document"), True),
        (asked_by("same-origin"), True),
        (asked_by("none", "navigate", "document"), True),
    ],
)
def test_other_sites_may_link_to_it_and_not_show_it(headers: dict[str, str], passes: bool) -> None:
    assert answered("127.0.0.1", headers) is passes


def test_pages_count_once_a_browser_shows_them(engine: Engine) -> None:
    server = pytest.importorskip("styleclip_cli.studio.server")
    fetching = server.Fetching("ffhq", Network(offline=True))
    studio = server.Studio(lambda *_, **__: engine, fetching, 2**20, 2**20, engine=engine)
    dropped: list[int] = []
    asked = [studio.open(partial(dropped.append, i)) for i in range(3 * server.MAX_WAITING)]
    assert dropped == list(range(2 * server.MAX_WAITING))
    assert list(studio.pages.values()) == asked[-server.MAX_WAITING :]
    assert all(studio.show(page) for page in asked[-server.MAX_PAGES :])
    assert studio.open() is None
    one, last = asked[-server.MAX_WAITING], asked[-1]
    assert not studio.show(one)
    assert studio.show(last)  # which only connects again
    studio.close(last)
    assert studio.show(one)
    assert studio.open() is None
    studio.close(one)
    assert studio.open() is not None
    studio.stop()


def test_a_taken_port_and_a_missing_library_are_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import styleclip_cli.cli.studio as command

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(command, "find_spec", lambda name: object())
        assert main(["studio", "--models", "toy", "--port", str(port)]) == 5
        said = capsys.readouterr().err
        assert f"cannot listen on 127.0.0.1, port {port}" in said
        assert "--port 0" in said
    assert main(["studio", "--models", "toy", "--host", "no.such.host.invalid"]) == 2
    assert "no address" in capsys.readouterr().err
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(["studio", "--models", "toy"]) == 2
    assert "styleclip-cli[studio]" in capsys.readouterr().err


@pytest.fixture(scope="module")
def kernels(_kernels: Path) -> Path:
    return _kernels


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, kernels: Path) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("studio"), kernels, "--max-megabytes", "1") as studio:
        yield studio


@pytest.mark.subprocess
def test_it_listens_on_this_machine_alone(running: Running) -> None:
    status, page = running.request("GET", "/")
    assert status == 200
    assert "styleclip studio" in page
    assert running.request("GET", "/", headers={"Host": "evil.example"})[0] == 403
    assert running.request("GET", "/", headers={"Origin": "http://evil.example"})[0] == 403
    assert running.request("GET", "/docs")[0] == 404


@pytest.mark.subprocess
def test_a_flood_of_requests_does_not_lock_it(running: Running) -> None:
    flood = {name: value for name, value in asked_by("cross-site").items() if name != "host"}
    assert {running.request("GET", "/", headers=flood)[0] for _ in range(20)} == {403}
    keys = [running.key() for _ in range(20)]  # of something that is no browser
    assert len(set(keys)) == 20
    target, named = f"/studio/{keys[-1]}/pictures", {"X-Name": "face.png"}
    assert running.request("POST", target, FACE.read_bytes(), named) == (200, '{"problem":""}')


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("null", 403), ("http://{netloc}", 101)]
)
def test_foreign_pages_get_no_web_socket(running: Running, origin: str, status: int) -> None:
    host, port = running.netloc.split(":")
    words = [
        "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {running.netloc}",
        f"Origin: {origin.format(netloc=running.netloc)}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
        connection.sendall(("\r\n".join(words) + "\r\n\r\n").encode())
        assert connection.recv(1024).split()[1] == str(status).encode()


@pytest.mark.subprocess
def test_uploads_are_limited_and_nothing_of_them_is_left(running: Running) -> None:
    target = f"/studio/{running.key()}/pictures"
    named = {"X-Name": "..%2F..%2Fholiday.png"}
    assert running.request("POST", target, b"", {**named, "Content-Length": str(2**30)})[0] == 413

    def chunks() -> Iterator[bytes]:  # the length is not told
        for _ in range(5):
            yield b"40000\r\n" + bytes(2**18) + b"\r\n"
        yield b"0\r\n\r\n"

    status, said = running.request("POST", target, chunks(), {**named, "Transfer-Encoding": "chunked"})
    assert status == 413
    assert "holiday.png: larger than 1 MB" in said
    status, said = running.request("POST", target, b"no picture at all", named)
    assert status == 200
    assert "holiday.png: not a picture in a known format" in said
    assert running.request("POST", target, FACE.read_bytes(), named) == (200, '{"problem":""}')
    assert running.request("POST", "/studio/nobody/pictures", FACE.read_bytes(), named)[0] == 404
    assert running.left() == []
    (folder,) = running.folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_nothing_is_left(
    tmp_path: Path, kernels: Path, number: signal.Signals, code: int
) -> None:
    with started(tmp_path, kernels) as studio:
        assert studio.request("POST", f"/studio/{studio.key()}/pictures", FACE.read_bytes())[0] == 200
        studio.process.send_signal(number)
        _, said = studio.process.communicate(timeout=SECONDS)
        assert studio.process.returncode == code
        assert said.splitlines()[-1] == f"styleclip: error: {'interrupted' if code == 130 else 'terminated'}"
        assert list(studio.folder.iterdir()) == []
    assert not (tmp_path / ".nicegui").exists()

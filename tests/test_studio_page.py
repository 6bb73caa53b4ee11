"""The studio's page in a browser."""

from __future__ import annotations

import io
import re
import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from styleclip_cli.photo.read import read_image
from styleclip_cli.save import read_metadata, save_image, to_image
from styleclip_cli.toyworld.scenes import draw, make_scene
from tests.studios import CUT, KEYS, Hand, Running, dropped, launched, opened, pixels, started

FACE = Path(__file__).parent.parent / "examples" / "face.png"


@pytest.fixture(scope="module")
def kernels(_kernels: Path) -> Path:
    return _kernels


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, kernels: Path) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("studio"), kernels, "--max-megabytes", "1") as studio:
        yield studio


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found


@pytest.fixture
def hand(running: Running, browser: Any) -> Iterator[Hand]:
    with opened(browser, running.url) as page:
        page.get_by_text("Drop photos of faces here").wait_for()
        yield Hand(page)


@pytest.fixture
def finger(running: Running, browser: Any) -> Iterator[Hand]:
    """As `hand`, on a phone in the dark."""
    with opened(browser, running.url, 390, 844, has_touch=True, color_scheme="dark") as page:
        page.get_by_text("Drop photos of faces here").wait_for()
        yield Hand(page)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.subprocess
def test_a_person_edits_a_photo_and_takes_it_away(
    hand: Hand, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    page = hand.page
    dropped(page, "face.png", FACE.read_bytes())
    plain = hand.until_painted(-1)
    glasses = hand.type("What should they become?", "with glasses")
    assert np.abs(glasses - plain).max() > 60
    page.get_by_text("100 of 1472 channels change").wait_for()

    moves = page.evaluate(KEYS, [15])
    record_property("milliseconds a move", round(statistics.median(moves)))
    page.get_by_text("alpha 2.5", exact=True).wait_for()

    strength = page.locator(".q-slider").first
    weaker = hand.drag(strength, 0.7, 0.6)
    assert np.abs(weaker - glasses).max() > 10
    alpha = page.locator(".slider .number").first.inner_text()
    assert re.fullmatch(r"[12](\.\d)?", alpha)
    page.get_by_text(f"alpha {alpha}", exact=True).wait_for()

    kept = hand.press("Keep, and add another")
    np.testing.assert_array_equal(kept, weaker)
    both = hand.type("What should they become?", "smiling")
    assert np.abs(both - kept).max() > 30
    command = page.locator(".code")
    assert command.inner_text() == (
        f"styleclip edit face.png --models toy --prompt 'with glasses' --neutral face --alpha {alpha} "
        "--prompt smiling --neutral face --alpha 4"
    )

    page.locator(".tile.main input").focus()
    version = hand.version()
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(hand.until_painted(version), kept)
    assert page.get_by_label("What should they become?").input_value() == ""
    version = hand.version()
    page.keyboard.press("Control+Shift+Z")
    np.testing.assert_array_equal(hand.until_painted(version), both)

    saved = hand.saved("Save image", tmp_path / "saved.png")
    told = read_metadata(saved)
    assert told is not None
    assert [step["prompt"] for step in told["edits"]] == ["face with glasses", "smiling face"]
    assert np.abs(pixels(read_image(saved)) - both).mean() < 3  # but for JPEG, the same
    recipe = hand.saved("Save recipe", tmp_path / "look.toml")
    assert [step["alpha"] for step in tomllib.loads(recipe.read_text())["edit"]] == [float(alpha), 4.0]


@pytest.mark.browser
@pytest.mark.subprocess
def test_the_line_between_before_and_after_is_dragged(hand: Hand) -> None:
    page = hand.page
    page.set_input_files("input[type=file]", FACE)
    hand.until_painted(-1)
    hand.type("What should they become?", "with a hat")
    frame = page.locator(".tile.main .frame")
    at = frame.bounding_box()
    assert at is not None

    def drag(part: float) -> Image.Image:
        page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        page.mouse.down()
        page.mouse.move(at["x"] + at["width"] * part, at["y"] + at["height"] / 2)
        page.mouse.up()
        page.mouse.move(0, 0)
        box = {"x": at["x"], "y": at["y"], "width": at["width"], "height": at["height"] * 0.4}
        return Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")

    before, after = drag(0.999), drag(0.001)
    assert np.abs(pixels(before) - pixels(after)).mean() > 5


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.subprocess
def test_what_may_change_is_painted_and_erased(hand: Hand, tmp_path: Path) -> None:
    page = hand.page
    page.set_input_files("input[type=file]", FACE)
    plain = hand.until_painted(-1)
    free = hand.type("What should they become?", "with glasses")
    assert page.locator(".chips").count() == 0  # the pack has no parser
    page.get_by_role("button", name="Paint what may change").click()
    box = page.locator(".tile.main .frame").bounding_box()
    assert box is not None

    def stroke(*places: tuple[float, float]) -> np.ndarray:
        version = hand.version()
        for number, (x, y) in enumerate(places):
            page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=5)
            if number == 0:
                page.mouse.down()
        page.mouse.up()
        return hand.until_painted(version)

    half = stroke((0.5, 0.46), (0.85, 0.46))
    page.get_by_text("only what is painted may change").wait_for()
    assert np.abs(half - plain)[:, :110].max() < 12  # JPEG
    assert np.abs(half - plain)[:, 140:].max() > 60
    mask = read_image(hand.saved("Save what is painted, as mask.png", tmp_path / "mask.png"))
    assert mask.size == (256, 256)
    assert 0 < (np.asarray(mask) > 0).mean() < 0.2
    assert page.locator(".code").inner_text().endswith(" --mask mask.png")
    page.get_by_role("button", name="Erase").click()
    for _ in range(2):
        erased = stroke((0.45, 0.46), (0.9, 0.46))
    assert np.abs(erased - plain)[:, 140:].max() > 60  # nothing painted is no mask: everything may change
    version = hand.version()
    page.get_by_role("button", name="Paint nothing: everything may change").click()
    np.testing.assert_array_equal(hand.until_painted(version), free)


@pytest.mark.browser
@pytest.mark.subprocess
def test_problems_are_said_and_several_photos_share_the_edit(hand: Hand) -> None:
    page = hand.page
    dropped(page, "notes.txt", b"no picture")
    page.get_by_text("notes.txt: not a picture in a known format").wait_for()
    wall = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(wall, "PNG")
    dropped(page, "wall.png", wall.getvalue())
    said = page.get_by_text("wall.png: no face was found")
    said.wait_for()
    assert "--" not in said.inner_text()
    page.get_by_role("button", name="Use the picture as it is").click()
    hand.until_painted(-1)
    page.get_by_text("hardly looks like it").wait_for()
    assert page.locator(".code").inner_text().endswith(" --no-align")
    page.get_by_role("button", name="Remove this picture").click()
    dropped(page, "huge.png", bytes(2**20 + 1))
    page.get_by_text("huge.png: larger than 1 MB").wait_for()
    page.get_by_role("button", name="Try a generated face").click()
    hand.until_painted(-1)
    page.get_by_role("button", name="Add a generated face").click()
    page.get_by_text("seed:3", exact=True).wait_for()
    first = hand.type("What should they become?", "with glasses")
    page.get_by_label("Instead of").fill("")
    page.get_by_text("the neutral text is empty").wait_for()
    page.get_by_label("Instead of").fill("face")
    page.get_by_text("the neutral text is empty").wait_for(state="hidden")
    page.get_by_role("button", name="All pictures side by side").click()
    page.wait_for_function("() => document.querySelectorAll('.tile.main canvas.after[width]').length === 2")
    page.get_by_role("button", name="All pictures side by side").click()
    page.get_by_role("button", name="Show seed:2").click()
    page.locator(".tile.main figcaption", has_text="seed:2").wait_for()
    assert np.abs(hand.pixels() - first).mean() > 5
    page.get_by_text("Mapper", exact=True).click()
    page.get_by_label("Trained for").click()
    version = hand.version()
    page.get_by_role("option", name="with-a-beard").click()
    hand.until_painted(version)
    page.get_by_text("--mapper with-a-beard --alpha 1").wait_for()
    page.get_by_role("button", name="Remove this picture").first.click()
    page.wait_for_function("() => document.querySelectorAll('.tile').length === 1")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of three people."""
    path = tmp_path_factory.mktemp("photos") / "three.png"
    wishes: dict[str, Any] = {"size": (0.3, 0.7), "roll": (-15, 15), "out_of_frame": False}
    scene = make_scene(70_000_105, count=3, sides=(400, 440), presence_rate=0.15, **wishes)
    save_image(path, to_image(draw(scene)))
    return path


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.subprocess
def test_on_a_phone_a_face_is_chosen_and_a_sentence_put_right(
    finger: Hand, three: Path, tmp_path: Path
) -> None:
    page = finger.page
    assert page.evaluate(CUT) == []
    page.set_input_files("input[type=file]", three)
    plain = finger.until_painted(-1)
    assert page.locator(".face").count() == 3
    finger.tap("Edit face 1")
    page.get_by_text("--face 1").wait_for()
    assert page.locator(".face").count() == 0  # they would hide the result
    wrong = finger.type("What should they become?", "with sunglases")
    version = finger.version()
    page.get_by_role("button", name="Did you mean “with sunglasses”?").tap()
    right = finger.until_painted(version)
    assert np.abs(right - wrong).max() > 20
    assert np.abs(right - plain).max() > 60
    page.locator(".warnings li").wait_for(state="detached")
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    told = read_metadata(finger.saved("Save image", tmp_path / "saved.png"))
    assert told is not None
    assert (told["face"], told["prompt"]) == ("1", "face with sunglasses")
    finger.tap("Sentences that it understands")
    version = finger.version()
    page.get_by_text("with red hair", exact=True).tap()
    finger.until_painted(version)
    assert page.get_by_label("What should they become?").input_value() == "with red hair"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.subprocess
def test_strengths_are_chosen_and_an_optimization_is_stopped(hand: Hand, tmp_path: Path) -> None:
    page = hand.page
    page.set_input_files("input[type=file]", FACE)
    plain = hand.until_painted(-1)
    hand.type("What should they become?", "with glasses")
    version = hand.version()
    page.get_by_text("Choose the strength for each face").click()
    hand.until_painted(version)
    chosen = page.locator(".chosen", has_text="alpha")
    chosen.wait_for()
    alpha = re.match(r"alpha ([\d.]+), beta [\d.]+, \d+ channels, identity 0\.\d+$", chosen.inner_text())
    assert alpha is not None
    told = read_metadata(hand.saved("Save image", tmp_path / "auto.png"))
    assert told is not None
    assert told["alphas"] == [float(alpha[1])]
    assert told["identity"] == 0.8

    version = hand.version()
    page.get_by_text("Optimize", exact=True).first.click()
    np.testing.assert_array_equal(hand.until_painted(version), plain)  # nothing yet
    page.get_by_label("Iterations").fill("400")
    page.get_by_text("400 iterations", exact=True).wait_for()
    page.get_by_role("button", name="Optimize", exact=True).last.click()
    page.get_by_text(re.compile(r"optimizing: [3-9] of 400")).wait_for()
    version = hand.version()
    page.get_by_role("button", name="Stop").click()
    assert np.abs(hand.until_painted(version) - plain).max() > 5
    page.get_by_text(re.compile(r"Stopped after \d+ of 400 iterations")).wait_for()
    told = read_metadata(hand.saved("Save image", tmp_path / "optimized.png"))
    assert told is not None
    assert told["method"] == "latent optimization"
    assert told["iterations"] < 400

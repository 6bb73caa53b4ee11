"""Pictures about pictures: what they show, where, and that pages need nothing but themselves."""

from __future__ import annotations

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from styleclip_cli import Engine
from styleclip_cli.cli import main
from styleclip_cli.errors import OutputError, UsageError
from styleclip_cli.pictures import animate, compare, difference, drawing, report, sheets, terminal
from styleclip_cli.save import mark_of, read_metadata

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
NAMES = [
    "a.jpg",
    "été à Zürich.jpg",
    "日本の写真.jpg",
    "صورة.png",
    "x\udcff\n\x1b[31m.png",
    "",
    "n" * 500 + "_final.jpg",
]


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, colour)


def box_of(sheet: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Where a colour is: left, top, right, bottom."""
    found = (np.asarray(sheet) == colour).all(axis=2)
    ys, xs = np.nonzero(found)
    assert len(xs), colour
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def inked(sheet: Image.Image, box: tuple[int, int, int, int]) -> bool:
    """Whether something dark is drawn there."""
    return int(np.asarray(sheet.crop(box).convert("L")).min()) < 120


# --- sheets ------------------------------------------------------------------------------------------------


def test_contact_sheet_shows_every_picture_unscaled() -> None:
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)], [(255, 0, 255)]]
    rows = [[Image.new("RGB", (64, 64), colour) for colour in row] for row in colours]
    sheet = sheets.contact_sheet(
        rows, ["one", "two", "three"], ["first", "a longer caption that needs lines"]
    )
    pixels = np.asarray(sheet).reshape(-1, 3)
    for row in colours:
        for colour in row:
            assert (pixels == colour).all(axis=1).sum() == 64 * 64
    assert sheet.width > 2 * 64
    assert sheet.height > 3 * 64


def test_contact_sheet_scales_to_the_cell() -> None:
    sheet = sheets.contact_sheet([[torch.ones(3, 16, 16)]], cell=100)
    assert (np.asarray(sheet) == 255).all(axis=2).sum() >= 100 * 100


def test_a_grid_names_both_axes_and_keeps_the_original_apart() -> None:
    rows = [[flat(RED), flat(GREEN)], [flat(BLUE), None]]
    sheet = sheets.grid(rows, "alpha", [-2.0, 4.0], "beta", [0.1, 0.15], flat(YELLOW))
    red, green, blue, own = (box_of(sheet, colour) for colour in (RED, GREEN, BLUE, YELLOW))
    for box in (red, green, blue, own):
        assert (box[2] - box[0], box[3] - box[1]) == (64, 64)
    assert red[1] == green[1] == own[1] < blue[1]
    assert own[2] < red[0] == blue[0] < green[0]
    assert inked(sheet, (red[0], blue[3] + 3, red[2], blue[3] + 26))  # its tick, and that of the other column
    assert inked(sheet, (green[0], blue[3] + 3, green[2], blue[3] + 26))
    assert inked(sheet, (red[0] - 40, red[1] + 20, red[0] - 8, red[3] - 20))
    assert inked(sheet, (red[0] - 40, blue[1] + 20, red[0] - 8, blue[3] - 20))
    assert inked(sheet, (own[0], own[3], own[2], own[3] + 24))


def test_each_tick_stands_at_its_own_place() -> None:
    rows = [[flat(RED), flat(GREEN)], [flat(BLUE), flat(YELLOW)]]

    def drawn(x: list[float], y: list[float], x_name: str = "alpha") -> np.ndarray:
        return np.asarray(sheets.grid(rows, x_name, x, "beta", y).convert("L")).astype(int)

    usual = drawn([1, 2], [1, 2])
    sheet = sheets.grid(rows, "alpha", [1, 2], "beta", [1, 2])
    boxes = {name: box_of(sheet, colour) for name, colour in (("first", RED), ("last", YELLOW))}
    for other, axis, box in (
        (drawn([1, 7], [1, 2]), 1, boxes["last"][0::2]),
        (drawn([7, 2], [1, 2]), 1, boxes["first"][0::2]),
        (drawn([1, 2], [7, 2]), 0, boxes["first"][1::2]),
        (drawn([1, 2], [1, 7]), 0, boxes["last"][1::2]),
    ):
        places = np.nonzero(usual != other)[axis]
        assert box[0] <= places.min()
        assert places.max() < box[1]
    below = np.nonzero(usual != drawn([1, 2], [1, 2], "omega"))[0]
    assert below.min() >= boxes["last"][3]


def test_a_grid_of_many_large_pictures_is_no_giant() -> None:
    rows = [[torch.zeros(3, 600, 600)] * 21] * 2
    sheet = sheets.grid(rows, "alpha", list(range(21)), "beta", [0.1, 0.2], rows[0][0])
    assert 5000 < max(sheet.size) <= drawing.MAX_SIDE
    with pytest.raises(ValueError, match="2 rows of 20"):
        sheets.grid(rows, "alpha", list(range(20)), "beta", [0.1, 0.2])


def test_pairs_stand_side_by_side_in_order() -> None:
    items = [("a", flat(RED), flat(GREEN)), ("b", flat(BLUE), flat(YELLOW))]
    sheet = sheets.pairs(items, columns=1)
    red, green, blue, yellow = (box_of(sheet, colour) for colour in (RED, GREEN, BLUE, YELLOW))
    assert red[1] == green[1] < blue[1] == yellow[1]
    assert red[0] == blue[0] < green[0] == yellow[0]
    assert inked(sheet, (red[0], red[3], green[2], blue[1]))
    assert inked(sheet, (blue[0], blue[3], yellow[2], sheet.height))
    beside = sheets.pairs(iter(items), columns=2)
    assert box_of(beside, RED)[1] == box_of(beside, BLUE)[1]


@pytest.mark.parametrize("count", [1, 2, 7, 60, 400])
def test_pages_of_pairs_have_a_sensible_shape(count: int) -> None:
    small = flat(RED, (200, 200))
    sheet = sheets.pairs([(f"IMG_{i}.jpg", small, small) for i in range(count)])
    assert max(sheet.size) <= drawing.MAX_SIDE
    assert 0.55 < sheet.width / sheet.height < 2.5
    assert sheets.pair_side(count) >= min(320, 0.7 * math.sqrt(6000 * 4500 / count / 2.4))


def test_pairs_of_any_shape_are_shown_whole() -> None:
    shapes = [(640, 480), (480, 640), (1000, 100), (64, 64)]
    for size in shapes:
        sheet = sheets.pairs([("x", flat(RED, size), flat(GREEN, size)), ("y", flat(BLUE), flat(BLUE))])
        left, top, right, bottom = box_of(sheet, GREEN)
        assert (right - left) / (bottom - top) == pytest.approx(size[0] / size[1], rel=0.05)
    with pytest.raises(ValueError, match="needs pictures"):
        sheets.pairs([])


def test_any_name_can_be_a_caption() -> None:
    sheet = sheets.pairs([(name, flat(RED), flat(GREEN)) for name in NAMES])
    assert max(sheet.size) < 2000
    sheets.grid([[flat(RED)]], NAMES[1], [NAMES[2]], NAMES[4], [NAMES[6]])
    sheets.contact_sheet([[flat(RED)]], [NAMES[1]], [NAMES[2]])


def test_long_texts_lose_their_middle() -> None:
    font = drawing.font_for("", 14)
    short = drawing.shorten("IMG_2024_" + "x" * 200 + "_final.jpg", font, 150)
    assert font.getlength(short) <= 150
    assert short.startswith("IMG_2")
    assert short.endswith("nal.jpg")
    assert "…" in short
    assert drawing.shorten("short.jpg", font, 150) == "short.jpg"


def test_what_is_transparent_lies_on_paper() -> None:
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    half.putpixel((1, 0), (255, 0, 0, 255))
    assert [drawing.as_image(half).getpixel((x, 0)) for x in (0, 1)] == [drawing.PAPER, RED]


# --- differences -------------------------------------------------------------------------------------------


def test_lab_is_that_of_the_standard() -> None:
    # White, black, and the primaries of sRGB (Lindbloom's calculator, D65).
    expected = {
        (255, 255, 255): (100.0, 0.0, 0.0),
        (0, 0, 0): (0.0, 0.0, 0.0),
        RED: (53.24, 80.09, 67.20),
        GREEN: (87.73, -86.18, 83.18),
        BLUE: (32.30, 79.19, -107.86),
        (119, 119, 119): (50.03, 0.0, 0.0),
    }
    for colour, values in expected.items():
        assert difference.lab(flat(colour, (1, 1)))[:, 0, 0] == pytest.approx(values, abs=0.15)


def test_a_heat_map_is_hot_where_pictures_differ_and_grey_elsewhere() -> None:
    before = flat((120, 140, 160), (300, 200))
    after = before.copy()
    after.paste((200, 40, 60), (100, 50, 160, 110))
    found = difference.difference(before, after)
    assert found.changed == pytest.approx(60 * 60 / (300 * 200))
    assert found.mean == pytest.approx(found.largest * found.changed, rel=1e-4)
    heat = np.asarray(found.heat_map(legend=False)).astype(int)
    assert heat.shape == (200, 300, 3)
    spread = heat.max(axis=2) - heat.min(axis=2)
    assert spread[55:105, 105:155].min() > 60
    spread[50:110, 100:160] = 0
    assert spread.max() == 0
    with_legend = difference.difference(before, after).heat_map()
    assert with_legend.height > 230
    box = (0, with_legend.height - 25, with_legend.width, with_legend.height)
    assert inked(with_legend, box)


def test_equal_pictures_have_no_heat() -> None:
    picture = torch.rand(3, 40, 30) * 2 - 1
    found = difference.difference(picture, picture)
    assert (found.mean, found.largest, found.changed) == (0.0, 0.0, 0.0)
    heat = np.asarray(found.heat_map(legend=False)).astype(int)
    assert (heat.max(axis=2) == heat.min(axis=2)).all()
    assert "0 %" in found.summary()
    with pytest.raises(ValueError, match="cannot be compared"):
        difference.difference(picture, torch.zeros(3, 30, 40))


def test_what_nobody_would_notice_does_not_count() -> None:
    found = difference.difference(flat((120, 120, 120)), flat((122, 122, 122)))
    assert 0 < found.largest < difference.JUST_NOTICEABLE
    assert found.changed == 0


def test_the_colours_of_heat_grow_evenly_lighter() -> None:
    colours = difference._heat_colours()
    light = difference.lab(Image.fromarray(colours.astype(np.uint8)[None]))[0, 0]
    assert (np.diff(light) > 0).all()
    thirds = np.diff(light[[0, 85, 170, 255]])
    assert thirds.min() > 0.6 * thirds.max()


@pytest.mark.parametrize(
    ("part", "told"),
    [(0.0, "0 %"), (1e-6, "less than 1 %"), (0.126, "13 %"), (0.9999, "99 %"), (1.0, "100 %")],
)
def test_shares_are_told_without_lying(part: float, told: str) -> None:
    assert difference.share(part) == told


# --- pages -------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What is in a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def pictures(self) -> list[Image.Image]:
        uris = [attrs["src"] for attrs in self.named("img")]
        return [Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))) for uri in uris]


def assert_self_contained(page: Page) -> None:
    assert page.source.startswith("<!DOCTYPE html>")
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page.source)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|srcset|javascript:", bare)
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert "href" not in attrs
        assert attrs.get("src", "data:image/").startswith("data:image/")
    policy = next(a["content"] for a in page.named("meta") if "Content-Security" in a.get("http-equiv", ""))
    assert "default-src 'none'" in policy
    assert page.named("html")[0]["lang"] == "en"
    assert all(attrs["alt"] and attrs["width"] and attrs["height"] for attrs in page.named("img"))


def noisy(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1] // 20 + 1, size[0] // 20 + 1, 3))
    return Image.fromarray(pixels.astype(np.uint8)).resize(size)


def test_a_slider_page_holds_both_pictures_and_a_range(tmp_path: Path) -> None:
    before, after = noisy((600, 400)), noisy((600, 400), 1)
    compare.slider_html(
        tmp_path / "sub" / "o.html", [("me.jpg", before, after)], title="smiling", note="alpha 4"
    )
    page = Page(tmp_path / "sub" / "o.html")
    assert_self_contained(page)
    first, second = page.pictures()
    assert (first.format, second.format, first.size) == ("JPEG", "JPEG", (600, 400))
    assert np.abs(np.asarray(first).astype(int) - np.asarray(before)).mean() < 3
    assert np.abs(np.asarray(second).astype(int) - np.asarray(after)).mean() < 3
    assert mark_of(first) is None
    assert mark_of(second) == "compositeWithTrainedAlgorithmicMedia"
    (slider,) = page.named("input")
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "100")
    assert "me.jpg" in slider["aria-label"]
    assert {"smiling", "original", "edited", "me.jpg"} <= {word.strip() for word in page.words}
    assert "alpha 4" in "".join(page.words)


def test_only_the_one_script_may_run(tmp_path: Path) -> None:
    import hashlib

    compare.slider_html(tmp_path / "o.html", [("a", flat(RED), flat(GREEN))], title="t")
    source = (tmp_path / "o.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in source


def test_names_from_strangers_stay_text(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;.jpg"
    items = [(bad, flat(RED), flat(GREEN)), *((name, flat(RED), flat(GREEN)) for name in NAMES)]
    compare.slider_html(tmp_path / "o.html", items, title=bad, note=bad, labels=(bad, bad))
    page = Page(tmp_path / "o.html")
    assert_self_contained(page)
    assert len(page.named("script")) == 1
    assert len(page.named("img")) == 2 * len(items)
    assert bad in page.words
    assert page.named("img")[0]["alt"] == f"{bad}: {bad}"


def test_many_pairs_share_a_page_and_large_ones_are_shrunk(tmp_path: Path) -> None:
    items = ((f"{i}.jpg", noisy((1600, 900)), noisy((800, 450))) for i in range(3))
    compare.slider_html(tmp_path / "o.html", items, title="batch")
    page = Page(tmp_path / "o.html")
    assert_self_contained(page)
    assert [picture.size for picture in page.pictures()] == [(1280, 720)] * 6
    assert len(page.named("input")) == 3


def test_small_pictures_lose_nothing(tmp_path: Path) -> None:
    before = noisy((128, 128))
    compare.slider_html(tmp_path / "o.html", [("a", before, before)], title="t", marks=("generated",) * 2)
    first, _ = Page(tmp_path / "o.html").pictures()
    assert first.format == "PNG"
    np.testing.assert_array_equal(np.asarray(first), np.asarray(before))
    assert mark_of(first) == "trainedAlgorithmicMedia"


def test_a_page_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        compare.slider_html(tmp_path / "o.html", [], title="t")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        compare.slider_html(tmp_path / "file" / "o.html", [("a", flat(RED), flat(RED))], title="t")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- loops -------------------------------------------------------------------------------------------------


def frames_of(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as film:
        assert film.info.get("loop") == 0
        frames, times = [], []
        for frame in ImageSequence.Iterator(film):
            frames.append(np.asarray(frame.convert("RGB")).astype(int))
            times.append(int(frame.info["duration"]))
    return frames, times


def forth(count: int = 6, side: int = 80) -> list[Image.Image]:
    """A bar that moves over a gradient."""
    y, x = np.mgrid[0:side, 0:side]
    ground = np.stack([2 * x, 255 - 2 * y, x + y], -1).clip(0, 255).astype(np.uint8)
    frames = []
    for step in range(count):
        pixels = ground.copy()
        pixels[20:60, 5 + 8 * step : 15 + 8 * step] = (250, 30, 40)
        frames.append(Image.fromarray(pixels))
    return frames


@pytest.mark.parametrize("alpha", [4.0, -2.5, 0.0])
def test_strengths_are_eased_between_both_ends(alpha: float) -> None:
    way = animate.eased(alpha, 9)
    assert (way[0], way[-1], len(way)) == (0.0, alpha, 9)
    steps = np.abs(np.diff(way))
    assert way[4] == pytest.approx(alpha / 2)
    assert steps == pytest.approx(steps[::-1])
    assert (np.diff(steps[:4]) >= 0).all()
    with pytest.raises(UsageError, match="two ends"):
        animate.eased(alpha, 1)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_a_loop_goes_forth_and_back_and_rests_at_both_ends(tmp_path: Path, suffix: str) -> None:
    animate.save_loop(tmp_path / f"o.{suffix}", iter(forth()), mark="edited")
    frames, times = frames_of(tmp_path / f"o.{suffix}")
    assert len(frames) == 10  # 0 to 5, and 4 to 1 again
    assert times == [700, 50, 50, 50, 50, 700, 50, 50, 50, 50]
    for step in range(1, 5):
        assert np.abs(frames[step] - frames[10 - step]).mean() < 4
    for frame, wanted in zip(frames, forth(), strict=False):
        assert np.abs(frame - np.asarray(wanted)).mean() < 9


def test_still_parts_of_a_gif_stay_still(tmp_path: Path) -> None:
    animate.save_loop(tmp_path / "o.gif", forth())
    frames, _ = frames_of(tmp_path / "o.gif")
    np.testing.assert_array_equal(np.array(frames)[:, 61:].std(axis=0), 0)
    for step in range(1, 5):
        np.testing.assert_array_equal(frames[step], frames[10 - step])
    with Image.open(tmp_path / "o.gif") as film:
        assert film.info["comment"].startswith(b"styleclip")


def test_a_film_is_h264_and_whole_when_played_once(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    animate.save_loop(tmp_path / "o.mp4", forth(side=81), mark="generated")
    with av.open(str(tmp_path / "o.mp4")) as film:
        (stream,) = film.streams.video
        assert (stream.codec.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 20)
        assert "generated" in film.metadata["comment"]
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(stream)]
    assert frames[0].shape == (80, 80, 3)
    assert len(frames) == 14 + 14 + 2 * 4
    assert np.abs(frames[0] - frames[-1]).mean() < 4
    assert np.abs(frames[0] - frames[7 + 4 + 3]).mean() > 4


def test_a_loop_renders_each_frame_once(tmp_path: Path) -> None:
    asked: list[float] = []

    def render(strength: float) -> torch.Tensor:
        asked.append(strength)
        return torch.full((3, 600, 300), strength / 4 - 0.5)

    animate.save_loop(tmp_path / "o.webp", map(render, animate.eased(4.0, 5)), mark="generated")
    assert asked == animate.eased(4.0, 5)
    with Image.open(tmp_path / "o.webp") as film:
        assert film.size == (256, 512)
        assert film.n_frames == 8
        assert mark_of(film) == "trainedAlgorithmicMedia"


def test_loops_of_one_frame_or_none(tmp_path: Path) -> None:
    animate.save_loop(tmp_path / "o.gif", forth(1))
    with Image.open(tmp_path / "o.gif") as film:
        assert film.n_frames == 1
    with pytest.raises(UsageError, match="needs frames"):
        animate.save_loop(tmp_path / "p.gif", [])
    with pytest.raises(UsageError, match="cannot write"):
        animate.save_loop(tmp_path / "p.avi", forth())


# --- reports -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("toy")


def direction_report(engine: Engine, direction, seeds: list[int], **options: int):
    return report.direction_report(
        engine.renderer,
        direction,
        engine.statistics(),
        [engine.sample([seed]) for seed in seeds],
        alpha=engine.default_alpha,
        models=engine.pack.name,
        **options,
    )


def test_a_report_shows_the_top_channels_and_all_layers(tmp_path: Path, engine: Engine) -> None:
    direction = engine.direction("with glasses", channels=20)
    found = direction_report(engine, direction, [1, 2], top=5, shown=3)
    assert [part.row for part in found.channels] == direction.top(5, engine.generator.style_space)
    assert sum(part.channels for part in found.layers) == 20
    assert sum(part.share for part in found.layers) == pytest.approx(1.0)
    assert [len(row) for row in found.faces] == [5, 5]
    untouched = engine.render([_face(engine, 1)])[0]
    apart = np.asarray(found.faces[0][2]).astype(int) - np.asarray(drawing.as_image(untouched))
    assert np.abs(apart).max() <= 1
    assert [len(part.strips) for part in found.channels] == [2, 2, 2, 0, 0]

    first = found.channels[0]  # it puts glasses on: the eyes change, the corners do not
    assert abs(first.steps) == pytest.approx(1.0, abs=1e-5)
    assert first.where is not None
    heat = first.where.delta_e
    assert heat[48:72, 32:96].mean() > 10 * heat[100:, :20].mean()

    report.save_report(tmp_path / "r.html", found)
    page = Page(tmp_path / "r.html")
    assert_self_contained(page)
    assert len(page.named("img")) == 2 * 5 + 3 * (2 * 3 + 1)
    words = [word.strip() for word in page.words]
    for row in direction.top(5, engine.generator.style_space):
        assert {row.layer.name, str(row.channel), f"{row.relevance:+.3f}", f"{row.delta:+.3f}"} <= set(words)
    assert "face with glasses" in words

    report.save_report(tmp_path / "r.png", found)
    with Image.open(tmp_path / "r.png") as sheet:
        assert mark_of(sheet) == "trainedAlgorithmicMedia"
        assert max(sheet.size) < 3000
        assert min(sheet.size) > 700
    assert read_metadata(tmp_path / "r.png")["target"] == "face with glasses"


def _face(engine: Engine, seed: int):
    from styleclip_cli.inversion import FaceLatent

    return FaceLatent(engine.sample([seed]))


def test_a_report_of_one_channel_against_its_sign(engine: Engine) -> None:
    direction = engine.direction("smiling", channels=1)
    found = direction_report(engine, direction, [3], top=8)
    (part,) = found.channels
    sign = -1 if part.row.delta < 0 else 1
    assert report._labels(part, found.stds) == (f"{-10 * sign:+d} std", "as it is", f"{10 * sign:+d} std")
    assert len(part.strips) == 1
    report.report_sheet(found)


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_find_direction_writes_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["find-direction", "--models", "toy", "-p", "with a hat", "-o", "hat.npz", "--top", "2"]
    assert main([*arguments, "--report", f"r.{suffix}"]) == 0
    captured = capsys.readouterr()
    assert f"r.{suffix}" in captured.out.splitlines()
    assert captured.out.splitlines()[-1].startswith("hat.npz")
    if suffix == "html":
        assert_self_contained(Page(tmp_path / "r.html"))
    else:
        assert read_metadata(tmp_path / "r.png")["kind"] == "direction report"
    assert main([*arguments, "--report", f"r.{suffix}"]) == 5


def test_reports_are_settled_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["find-direction", "--models", "no such pack", "-p", "smiling", "-o", "d.npz", "--report"]
    assert main([*arguments, "r.pdf"]) == 2
    assert ".html or .png" in capsys.readouterr().err
    (tmp_path / "r.html").write_text("precious")
    assert main([*arguments, "r.html"]) == 5
    assert (tmp_path / "r.html").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_a_report_of_a_direction_between_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["find-direction", "--models", "toy", "--before", "seed:1-3", "--after", "seed:4-6"]
    assert main([*arguments, "-o", "d.npz", "--top", "1", "--report", "r.html"]) == 0
    assert "seed:4-6" in "".join(Page(tmp_path / "r.html").words)


# --- terminals ---------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_a_picture_as_half_blocks() -> None:
    picture = flat(RED, (4, 4))
    picture.paste(BLUE, (0, 1, 4, 2))
    lines = terminal.to_text(picture).split("\n")
    assert lines[0] == "\x1b[38;2;255;0;0;48;2;0;0;255m▀▀▀▀\x1b[0m"
    assert lines[1] == "\x1b[38;2;255;0;0;48;2;255;0;0m▀▀▀▀\x1b[0m"
    lines = terminal.to_text(noisy((300, 200)), 30, 40).split("\n")
    assert [line.count("▀") for line in lines] == [30] * 10


@pytest.mark.parametrize(
    ("environ", "able"),
    [
        ({"COLORTERM": "truecolor"}, True),
        ({"COLORTERM": "24bit", "TERM": "xterm"}, True),
        ({"COLORTERM": "truecolor", "TERM": "dumb"}, False),
        ({"COLORTERM": "truecolor", "NO_COLOR": "1"}, False),
        ({}, False),
    ],
)
def test_only_terminals_with_all_colours_get_pictures(environ: dict[str, str], able: bool) -> None:
    assert terminal.can_show(Screen(), environ) is able
    assert not terminal.can_show(io.StringIO(), environ)

"""Make the pictures of the studio: `python docs/studio_pictures.py`.

Needs Playwright, and a Chromium that is installed.
"""

from __future__ import annotations

import http.server
import io
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from styleclip_cli.save import save_image, to_image
from styleclip_cli.weights.packs import find_pack

sys.path.insert(0, str(Path(__file__).parent.parent))
from styleclip_cli.toyworld.scenes import draw, make_scene

FOLDER = Path(__file__).parent
FACE = FOLDER.parent / "examples" / "face.png"
LIMIT = 290_000  # bytes
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESK, PHONE = (1280, 800), (390, 844)
SCENE = 70_000_105  # a held-out one, of those in docs/pictures.py
PAINTED = "v => Number(document.querySelector('.tile.main canvas.after')?.dataset.version ?? -1) > v"


def photo(path: Path, count: int = 1, **wishes: Any) -> Path:
    """Draw a scene with faces that have to be found."""
    scene = make_scene(SCENE, count=count, presence_rate=0.15, out_of_frame=False, **wishes)
    save_image(path, to_image(draw(scene)))
    return path


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends empty files of the usual pack's names and sizes: fast at first, then slowly."""

    def do_GET(self) -> None:
        """Send one."""
        sources = [entry.source for entry in find_pack("ffhq").entries.values() if entry.source is not None]
        size = next((one.size or 0 for one in sources if one.file == self.path.lstrip("/")), 0)
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        try:
            for done in range(size >> 20):
                self.wfile.write(bytes(1 << 20))
                time.sleep(0.02 if done < 150 else 0.3)
        except OSError:  # the download was stopped
            pass

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def studio(*options: str, **environment: str) -> Iterator[str]:
    """Start a studio, and give its address."""
    command = [sys.executable, "-m", "styleclip_cli", "studio", "--port", "0", "--no-browser", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as started:
        assert started.stdout is not None
        yield started.stdout.readline().strip()
        started.terminate()


class Hand:
    """Does on the page what a person does, and waits for the picture."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def version(self) -> int:
        """Which picture is shown."""
        return int(self.page.locator(".tile.main canvas.after").first.get_attribute("data-version") or 0)

    def until(self, count: int) -> None:
        """Wait for so many pictures."""
        painted = "n => document.querySelectorAll('.tile canvas.after[data-version]').length === n"
        self.page.wait_for_function(painted, arg=count)

    def type(self, text: str) -> None:
        """Wish for something."""
        version = self.version()
        self.page.get_by_label("What should they become?").fill(text)
        self.page.wait_for_function(PAINTED, arg=version)

    def press(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def alpha(self, part: float) -> None:
        """Drag the strength to a part of its way."""
        box = self.page.locator(".q-slider").first.bounding_box()
        at = box["x"] + 6 + (box["width"] - 12) * part, box["y"] + box["height"] / 2
        version = self.version()
        self.page.mouse.click(*at)
        self.page.wait_for_function(PAINTED, arg=version)

    def divide(self, part: float) -> None:
        """Drag the line between before and after."""
        box = self.page.locator(".tile.main .frame").first.bounding_box()
        self.page.mouse.click(box["x"] + box["width"] * part, box["y"] + box["height"] / 2)

    def shoot(self, name: str) -> None:
        """Write what is seen; in fewer colours where the file would be large."""
        self.page.mouse.move(2, 2)
        self.page.wait_for_timeout(800)  # until tooltips are gone
        seen = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        seen.save(FOLDER / name, optimize=True)
        if (FOLDER / name).stat().st_size > LIMIT:
            few = seen.quantize(256, Image.Quantize.MEDIANCUT)
            seen.quantize(palette=few, dither=Image.Dither.FLOYDSTEINBERG).save(FOLDER / name, optimize=True)


def editing(browser: Any, url: str, folder: Path) -> None:
    """Several pictures, several edits, the whole photo before and after; all of them, in the dark."""
    hand = opened(browser, url)
    hand.page.set_input_files("input[type=file]", [photo(folder / "holiday.png", size=(0.5, 0.7)), FACE])
    hand.until(2)
    hand.press("Add a generated face")
    hand.until(3)
    hand.press("Add a generated face")
    hand.until(4)
    hand.press("Show face.png")
    hand.type("with glasses")
    hand.alpha(0.75)
    hand.press("Keep, and add another")
    hand.page.wait_for_timeout(500)
    hand.type("with red hair")
    for part in (0.8, 0.76, 0.72):  # the time of a usual move is shown, not that of a new sentence
        hand.alpha(part)
        hand.page.wait_for_timeout(1500)
    hand.divide(0.36)
    hand.shoot("studio.png")
    hand.press("All pictures side by side")
    hand.press("Light or dark")
    hand.shoot("studio-dark.png")


def choosing(browser: Any, url: str, folder: Path) -> None:
    """Three people to choose from, and a sentence that was misspelt, on a phone."""
    several = photo(folder / "friends.png", 3, size=(0.3, 0.7), roll=(-15, 15), sides=(900, 1000))
    hand = opened(browser, url)
    hand.page.set_input_files("input[type=file]", several)
    hand.until(1)
    hand.shoot("studio-faces.png")
    hand = opened(browser, url, PHONE, color_scheme="dark", has_touch=True)
    hand.page.set_input_files("input[type=file]", several)
    hand.until(1)
    hand.press("Edit face 3")
    hand.page.get_by_text("--face 3").wait_for()
    hand.type("with sunglases")
    hand.page.get_by_text("Did you mean").wait_for()
    hand.shoot("studio-phone.png")


def fetching(browser: Any, folder: Path) -> None:
    """The download of a pack."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as mirror:
        threading.Thread(target=mirror.serve_forever, daemon=True).start()
        home, address = str(folder / "home"), f"http://127.0.0.1:{mirror.server_address[1]}"
        with studio(STYLECLIP_HOME=home, STYLECLIP_MIRROR=address) as url:
            hand = opened(browser, url)
            hand.page.get_by_text("I accept this licence").click()
            hand.press("Download ffhq")
            hand.page.wait_for_timeout(7000)
            hand.shoot("studio-models.png")
        mirror.shutdown()


def opened(browser: Any, url: str, size: tuple[int, int] = DESK, **options: Any) -> Hand:
    """Open a page."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **options)
    page.goto(url)
    return Hand(page)


def main() -> None:
    """Open the studio, use it, and look at it."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sys.exit("no Chromium is installed")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        with studio("--models", "toy") as url:
            editing(browser, url, Path(folder))
            choosing(browser, url, Path(folder))
        fetching(browser, Path(folder))


if __name__ == "__main__":
    main()

"""Make the pictures of the studio: `python docs/studio_pictures.py`.

Needs Playwright, and a Chromium that is installed.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from styleclip_cli.save import save_image, to_image

sys.path.insert(0, str(Path(__file__).parent.parent))
from toyworld_training.scenes import draw, make_scene

FOLDER = Path(__file__).parent
FACE = FOLDER.parent / "examples" / "face.png"
LIMIT = 290_000  # bytes
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1280, "height": 800}
SCENE = 70_000_105  # a held-out one, of those in docs/pictures.py
PAINTED = "v => Number(document.querySelector('.tile.main canvas.after')?.dataset.version ?? -1) > v"


def photo(path: Path) -> Path:
    """Draw a scene with a face that has to be found."""
    wishes: dict[str, Any] = {"count": 1, "size": (0.5, 0.7), "out_of_frame": False}
    save_image(path, to_image(draw(make_scene(SCENE, sides=(640, 800), presence_rate=0.15, **wishes))))
    return path


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


def main() -> None:
    """Open the studio, use it, and look at it."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("no Chromium is installed")
    command = [
        sys.executable,
        "-m",
        "styleclip_cli",
        "studio",
        "--port",
        "0",
        "--no-browser",
        "--models",
        "toy",
    ]
    with (
        TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as studio,
        sync_playwright() as playwright,
    ):
        assert studio.stdout is not None
        url = studio.stdout.readline().strip()
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page(
            viewport=SIZE
        )
        page.goto(url)
        hand = Hand(page)
        page.set_input_files("input[type=file]", [photo(Path(folder) / "holiday.png"), FACE])
        hand.until(2)
        hand.press("Add a generated face")
        hand.until(3)
        hand.press("Add a generated face")
        hand.until(4)
        hand.press("Show face.png")
        hand.type("with glasses")
        hand.alpha(0.75)
        hand.press("Keep, and add another")
        page.wait_for_timeout(500)
        hand.type("with red hair")
        hand.alpha(0.72)
        hand.divide(0.36)
        hand.shoot("studio.png")
        hand.press("All pictures side by side")
        hand.press("Light or dark")
        hand.shoot("studio-dark.png")
        studio.terminate()


if __name__ == "__main__":
    main()

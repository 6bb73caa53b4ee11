"""How long a move in the studio takes, in a real browser: `python benchmarks/studio.py [moves]`.

The studio runs as a command, headless Chromium opens its page with the example photo, and the strength is
moved again and again. Measured is what a person sees: from the move to the new picture on the screen, as the
page itself says it (sending, styles, rendering, putting back, encoding, fetching, drawing); and how many
pictures a second come while the slider is dragged. Needs Playwright and a Chromium that is installed.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from styleclip_cli.bench.timing import machine

HERE = Path(__file__).parent
FACE = HERE.parent / "examples" / "face.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VERSION = "() => Number(document.querySelector('.tile.main canvas.after')?.dataset.version ?? -1)"
PAINTED = f"v => ({VERSION})() > v"


def main() -> None:
    """Measure, print and write."""
    moves = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("no Chromium is installed")
    command = [sys.executable, "-m", "styleclip_cli", "studio", "--port", "0", "--no-browser"]
    with (
        subprocess.Popen([*command, "--models", "toy"], stdout=subprocess.PIPE, text=True) as studio,
        sync_playwright() as playwright,
    ):
        assert studio.stdout is not None
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.goto(studio.stdout.readline().strip())
        page.set_input_files("input[type=file]", FACE)
        page.wait_for_function(PAINTED, arg=-1)
        version = page.evaluate(VERSION)
        page.get_by_label("What should they become?").fill("with glasses")
        page.wait_for_function(PAINTED, arg=version)
        box = page.locator(".q-slider").first.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        seen, clocked = [], []
        for number in range(moves):
            version = page.evaluate(VERSION)
            began = time.perf_counter()
            page.mouse.click(box["x"] + 20 + (box["width"] - 40) * (number * 7 % moves) / moves, middle)
            page.wait_for_function(PAINTED, arg=version)
            clocked.append(1000 * (time.perf_counter() - began))
            page.wait_for_function("() => /\\d+ ms/.test(document.querySelector('.speed').innerText)")
            page.wait_for_timeout(60)  # the label comes a moment after the picture
            seen.append(float(page.locator(".speed").inner_text().split()[0]))
        page.mouse.move(box["x"] + 20, middle)
        page.mouse.down()
        first, began = page.evaluate(VERSION), time.perf_counter()
        pictures = {first}
        for number in range(120):
            page.mouse.move(box["x"] + 20 + (box["width"] - 40) * number / 119, middle)
            pictures.add(page.evaluate(VERSION))
        page.mouse.up()
        rate = (len(pictures) - 1) / (time.perf_counter() - began)
        studio.terminate()
    found = {
        "machine": machine(),
        "moves": moves,
        "median_ms": statistics.median(seen),
        "p95_ms": sorted(seen)[int(0.95 * (len(seen) - 1))],
        "worst_ms": max(seen),
        "clocked_median_ms": statistics.median(clocked),
        "pictures_a_second": rate,
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    (HERE / "results" / "studio.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
